"""Connections: how many at a time, how long each may take to ask, and how long to take its reply.

Anybody can open connections and say nothing, send a body by the drop, or never read the reply. So headers have to be there
ten seconds after a connection was opened or its last reply was complete, the body twenty seconds after its headers, and a
reply has to be taken within two minutes. Where there are more connections than are admitted, the one that has been asking
for the longest time makes room, or else the one that leaves its reply unread for longest. Whoever is being answered and
reads is never cut off for that. (uvicorn's own `limit_concurrency` answers 503 to everybody instead, and its keep-alive
timer knows neither slow headers nor slow bodies.)
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 1024
HEADERS_S: Final = 10.0
BODY_S: Final = 20.0
REPLY_S: Final = 120.0
_Waiting = dict[H11Protocol, asyncio.TimerHandle]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deadlines:
    """What each connection is waited for, with its deadline; in each stage the one waited for longest stands first."""

    headers_s: float
    body_s: float
    reply_s: float
    asking: _Waiting = field(default_factory=dict)
    sending: _Waiting = field(default_factory=dict)  # a body whose headers have come
    answered: _Waiting = field(default_factory=dict)

    def opened(self, connection: H11Protocol) -> None:
        self._wait(connection, self.asking, self.headers_s)

    def received(self, connection: H11Protocol) -> None:
        """Notes that something came: a body has begun, or a request is complete."""
        if connection.conn.their_state is h11.SEND_BODY and connection not in self.sending:
            self._wait(connection, self.sending, self.body_s)
        elif connection.conn.their_state not in {h11.IDLE, h11.SEND_BODY} and connection not in self.answered:
            self._wait(connection, self.answered, self.reply_s)

    def replied(self, connection: H11Protocol) -> None:
        """Notes that the reply is written, though it may not be read yet."""
        if connection.transport.is_closing() or _unread(connection):
            self._wait(connection, self.answered, self.reply_s)
        elif connection.conn.their_state is h11.IDLE:
            self._wait(connection, self.asking, self.headers_s)
        elif connection.conn.their_state is h11.SEND_BODY:  # answered before its body was there
            self._wait(connection, self.sending, self.body_s)

    def leave(self, connection: H11Protocol) -> None:
        for stage in (self.asking, self.sending, self.answered):
            timer = stage.pop(connection, None)
            if timer is not None:
                timer.cancel()

    def make_room(self, newest: H11Protocol) -> None:
        quiet = (each for stage in (self.asking, self.sending) for each in stage if each is not newest)
        unread = (each for each in self.answered if _unread(each))
        self._end(next(quiet, None) or next(unread, newest))

    def _wait(self, connection: H11Protocol, stage: _Waiting, seconds: float) -> None:
        self.leave(connection)
        stage[connection] = connection.loop.call_later(seconds, self._end, connection)

    def _end(self, connection: H11Protocol) -> None:
        """Close it; to write first what nobody reads would take for ever."""
        self.leave(connection)
        if _unread(connection):
            connection.transport.abort()
        else:
            connection.transport.close()


def protocol(
    *,
    max_connections: int = MAX_CONNECTIONS,
    headers_s: float = HEADERS_S,
    body_s: float = BODY_S,
    reply_s: float = REPLY_S,
) -> type[H11Protocol]:
    """Returns the protocol of uvicorn with those limits; each class counts its own connections."""
    deadlines = _Deadlines(headers_s=headers_s, body_s=body_s, reply_s=reply_s)

    class Limited(H11Protocol):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn declares it
            super().connection_made(transport)
            deadlines.opened(self)
            if len(self.connections) > max_connections:
                deadlines.make_room(self)

        def connection_lost(self, exc: Exception | None) -> None:
            deadlines.leave(self)
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            deadlines.received(self)

        def on_response_complete(self) -> None:
            deadlines.leave(self)
            super().on_response_complete()
            deadlines.replied(self)

    return Limited


def _unread(connection: H11Protocol) -> bool:
    return bool(connection.transport.get_write_buffer_size())
