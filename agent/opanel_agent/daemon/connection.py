"""One client's HTTP/1.1, without its socket: bytes in, bytes out, deadlines as numbers.

h11 is the protocol; this is what it leaves to its user: how long a request may take to arrive, how large it may be,
one request at a time, a refusal that the client gets to read, and the end. A phase says what the connection waits
for:

    READING    for a request. Anything malformed, slow or too large is refused, and a refusal leads to
    LINGER     the response is written; what the client still sends is thrown away for a moment, so that it reads the
               response instead of a reset (closing a Unix socket with unread bytes resets it)
    WAITING    for a job. Nothing is read meanwhile
    CLOSED     nothing more happens; the socket is closed once `out` is written

Pipelined requests are answered in order, one for each call of `step`, so that no client has the loop to itself.
"""

from enum import Enum, unique
from typing import NamedTuple, Protocol

import h11

from opanel_agent.core.commands import Route
from opanel_agent.daemon.api import HEAD_MAX_BYTES, HEAD_MAX_LINES, Peer, Response, problem

DRAIN_MAX_BYTES = 1024 * 1024  # thrown away after a refusal; a larger body finds the connection closed


class Timeouts(NamedTuple):
    """How long a client is waited for, in seconds."""

    request_s: float = 2.0  # from the start of a request's turn to its last byte
    write_s: float = 5.0  # for the client to take what was written
    linger_s: float = 0.5  # after a refusal


@unique
class Phase(Enum):
    READING = "reading"
    WAITING = "waiting"
    LINGER = "linger"
    CLOSED = "closed"


class RequestHandler(Protocol):
    """Whoever decides what a request gets."""

    def peer(self, uid: int) -> Peer:
        """Who connects, as far as it decides anything."""
        ...

    def admit(self, method: str, target: str, peer: Peer, now_s: float) -> Route | Response: ...

    def take(self, route: Route, body: bytes, connection: "Connection", now_s: float) -> Response | None:
        """The response; or None when it needs a job, and the connection was told to `wait`."""
        ...

    def late(self, connection: "Connection") -> Response:
        """What a connection is told that has waited long enough; it will not be answered otherwise."""
        ...


class Connection:
    """`receive` what came, `step` while it returns True, send `out`, look at `phase` and `deadline_s`."""

    def __init__(self, peer: Peer, timeouts: Timeouts, now_s: float) -> None:
        self.peer = peer
        self.phase = Phase.READING
        self.out = bytearray()
        self.deadline_s = now_s + timeouts.request_s
        self._timeouts = timeouts
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        self._route: Route | None = None
        self._body = bytearray()
        self._drained = 0
        self._begun = False  # a byte of the current request has come
        self._bodiless = False  # the current request is a HEAD

    def receive(self, data: bytes) -> None:
        """Bytes from the client; empty for the end of them."""
        if self.phase is Phase.LINGER:
            self._drained += len(data)
            if not data or self._drained > DRAIN_MAX_BYTES:
                self.close()
            return
        self._begun = self._begun or bool(data)
        self._http.receive_data(data)

    def step(self, handler: RequestHandler, now_s: float) -> bool:
        """Takes up to one request. True if one was answered at once, and another may be in the buffer already."""
        try:
            while self.phase is Phase.READING:
                if self._http.their_state is h11.IDLE and _too_many_lines(self._http.trailing_data[0]):
                    self.refuse("head_too_large", now_s)
                    return False
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return False
                if self._event(event, handler, now_s):
                    return self.phase is Phase.READING
        except h11.RemoteProtocolError as error:
            # The only hint that means something else than "malformed" is the one for a head that never ends.
            self.refuse("head_too_large" if error.error_status_hint == 431 else "request_malformed", now_s)
        return False

    def answer(self, response: Response, now_s: float) -> None:
        """Writes a response and makes ready for the next request."""
        self._write(response)
        if self._http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._http.start_next_cycle()
            self._route, self._bodiless, self._begun = None, False, bool(self._http.trailing_data[0])
            self._body.clear()
            self.phase = Phase.READING
            self.deadline_s = now_s + max(self._timeouts.request_s, self._timeouts.write_s if self.out else 0)
        else:
            self.deadline_s = now_s + self._timeouts.write_s
            self.close()

    def refuse(self, name: str, now_s: float) -> None:
        """Answers with a problem, and that was the last."""
        self._refuse(problem(name), now_s)

    def wait(self, until_s: float) -> None:
        self.phase = Phase.WAITING
        self.deadline_s = until_s

    def overdue(self, now_s: float) -> None:
        """The deadline has passed in any phase but WAITING: says so to a client that had begun, and ends it."""
        if self.phase is Phase.READING and self._begun and not self.out:
            self.refuse("request_slow", now_s)
        else:
            self.out.clear()
            self.close()

    def close(self) -> None:
        self.phase = Phase.CLOSED

    def _event(self, event: object, handler: RequestHandler, now_s: float) -> bool:
        """Takes one event of h11; True when it ended a request."""
        match event:
            case h11.Request():
                self._head(event, handler, now_s)
            case h11.Data():
                self._more(bytes(event.data), now_s)
            case h11.EndOfMessage() if self._route is not None:
                response = handler.take(self._route, bytes(self._body), self, now_s)
                if response is not None:
                    self.answer(response, now_s)
                return True
            case _:
                self.close()
        return False

    def _head(self, event: h11.Request, handler: RequestHandler, now_s: float) -> None:
        self._bodiless = event.method == b"HEAD"
        if event.http_version not in (b"1.0", b"1.1"):  # h11 takes any digits
            self.refuse("request_malformed", now_s)
            return
        admitted = handler.admit(event.method.decode("latin-1"), event.target.decode("latin-1"), self.peer, now_s)
        if isinstance(admitted, Response):
            self._refuse(admitted, now_s)
            return
        self._route = admitted
        if self._http.they_are_waiting_for_100_continue:
            self._put(h11.InformationalResponse(status_code=100, headers=[]))

    def _more(self, data: bytes, now_s: float) -> None:
        self._body += data
        if self._route is not None and len(self._body) > self._route.body.value:
            self.refuse("body_too_large", now_s)

    def _refuse(self, response: Response, now_s: float) -> None:
        self._write(response, closing=True)
        self.phase = Phase.LINGER
        self.deadline_s = now_s + self._timeouts.linger_s

    def _write(self, response: Response, *, closing: bool = False) -> None:
        headers = [
            ("Content-Type", response.media),
            ("Content-Length", str(len(response.body))),
            ("Cache-Control", "no-store"),
            *response.headers,
        ]
        if closing:
            headers.append(("Connection", "close"))
        self._put(h11.Response(status_code=response.status, headers=headers))
        if not self._bodiless:
            self._put(h11.Data(data=response.body))
        self._put(h11.EndOfMessage())

    def _put(self, event: h11.Event) -> None:
        self.out += self._http.send(event) or b""


def _too_many_lines(data: bytes) -> bool:
    """Whether the head that these bytes begin with has them; h11 would read every one first. Bare LFs end lines too."""
    ends = [end for end in (data.find(b"\n\r\n"), data.find(b"\n\n")) if end >= 0]
    return data.count(b"\n", 0, min(ends, default=len(data))) >= HEAD_MAX_LINES
