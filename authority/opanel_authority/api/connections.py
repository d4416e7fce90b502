"""Connections: how many at a time, how long each may take to ask, and how long to take its reply.

Anybody can open connections and say nothing, send a body by the drop, or never read the reply. So headers have to be there
ten seconds after a connection was opened or its last reply was complete, the body twenty seconds after its headers, and a
reply has to be taken within two minutes. Where there are more connections than are admitted, the one that has been asking
for the longest time makes room, or else the one that leaves its reply unread for longest. Whoever is being answered and
reads is never cut off for that. (uvicorn's own `limit_concurrency` answers 503 to everybody instead, and its keep-alive
timer knows neither slow headers nor slow bodies.)
"""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 1024
HEADERS_S: Final = 10.0
BODY_S: Final = 20.0
REPLY_S: Final = 120.0
_Waiting = dict[H11Protocol, asyncio.TimerHandle]


def protocol(  # noqa: C901 - a class whose counts are its closure
    *,
    max_connections: int = MAX_CONNECTIONS,
    headers_s: float = HEADERS_S,
    body_s: float = BODY_S,
    reply_s: float = REPLY_S,
) -> type[H11Protocol]:
    """The protocol of uvicorn with those limits; each class counts its own connections."""
    # what a connection is waited for, with its deadline; in each the one that has been waited for longest stands first
    asking: _Waiting = {}
    sending: _Waiting = {}  # a body whose headers have come
    answered: _Waiting = {}

    def wait(connection: H11Protocol, stage: _Waiting, seconds: float) -> None:
        leave(connection)
        stage[connection] = connection.loop.call_later(seconds, end, connection)

    def leave(connection: H11Protocol) -> None:
        for stage in (asking, sending, answered):
            timer = stage.pop(connection, None)
            if timer is not None:
                timer.cancel()

    def end(connection: H11Protocol) -> None:
        """Close it; to write first what nobody reads would take for ever."""
        leave(connection)
        if _unread(connection):
            connection.transport.abort()
        else:
            connection.transport.close()

    def make_room(newest: H11Protocol) -> None:
        quiet = (each for stage in (asking, sending) for each in stage if each is not newest)
        unread = (each for each in answered if _unread(each))
        end(next(quiet, None) or next(unread, newest))

    class Limited(H11Protocol):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn declares it
            super().connection_made(transport)
            wait(self, asking, headers_s)
            if len(self.connections) > max_connections:
                make_room(self)

        def connection_lost(self, exc: Exception | None) -> None:
            leave(self)
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self.conn.their_state is h11.SEND_BODY and self not in sending:
                wait(self, sending, body_s)
            elif self.conn.their_state not in {h11.IDLE, h11.SEND_BODY} and self not in answered:
                wait(self, answered, reply_s)

        def on_response_complete(self) -> None:
            leave(self)
            super().on_response_complete()
            if self.transport.is_closing() or _unread(self):
                wait(self, answered, reply_s)
            elif self.conn.their_state is h11.IDLE:
                wait(self, asking, headers_s)
            elif self.conn.their_state is h11.SEND_BODY:  # answered before its body was there
                wait(self, sending, body_s)

    return Limited


def _unread(connection: H11Protocol) -> bool:
    return bool(connection.transport.get_write_buffer_size())
