"""Connections: how many at a time, and how long each may take to ask.

Anybody can open connections and say nothing. So headers have to be there ten seconds after a connection was opened or its
last reply was complete, and where there are more connections than are admitted, the one that has said nothing for the
longest time makes room. Whoever is being answered is never cut off for that. (uvicorn's own `limit_concurrency` answers 503
to everybody instead, and its keep-alive timer knows no slow headers.)
"""

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 1024
HEADERS_S: Final = 10.0


def protocol(  # noqa: C901 - a class whose counts are its closure
    *, max_connections: int = MAX_CONNECTIONS, headers_s: float = HEADERS_S
) -> type[H11Protocol]:
    """The protocol of uvicorn with those limits; each class counts its own connections."""
    waiting: dict[H11Protocol, asyncio.TimerHandle] = {}

    class Limited(H11Protocol):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn declares it
            super().connection_made(transport)
            self._wait()
            if len(self.connections) > max_connections:
                longest = next(iter(waiting), self)
                longest.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._asked()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            if self.conn.their_state is not h11.IDLE:
                self._asked()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
                self._wait()

        def _wait(self) -> None:
            self._asked()
            waiting[self] = self.loop.call_later(headers_s, self.transport.close)

        def _asked(self) -> None:
            timer = waiting.pop(self, None)
            if timer is not None:
                timer.cancel()

    return Limited
