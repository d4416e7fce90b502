"""Speaks HTTP/1.1 with one client, without its socket: bytes in, bytes out, deadlines as numbers.

h11 is the only parser. What it takes for a plain request (one without a body) is remembered by the exact bytes of its
head (`http_cache`), since a client that asks in a loop sends the same bytes each time: only those very bytes skip the
parser, so nothing that it would refuse can pass. What h11 leaves to its user is here: how long a request may take to
arrive, how large it may be, one request at a time, a refusal that the client gets to read, and the end. A phase says
what the connection waits for:

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
from opanel_agent.daemon.http_cache import CONTINUE, Head, HttpCache

DRAIN_MAX_BYTES = 1024 * 1024  # thrown away after a refusal; a larger body finds the connection closed
_FIRST_BYTE_MIN = 0x21  # of a request line; a TLS handshake begins lower (h11 checks the same)


class Timeouts(NamedTuple):
    """Says how long a client is waited for, in seconds."""

    request_s: float = 2.0  # from a request's first byte to its last
    idle_s: float = 75.0  # for the next request; as nginx, so that proxies and pools may keep connections
    write_s: float = 5.0  # for the client to take what was written
    linger_s: float = 0.5  # after a refusal


@unique
class Phase(Enum):
    """Names what a connection waits for; the module's header explains each."""

    READING = "reading"
    WAITING = "waiting"
    LINGER = "linger"
    CLOSED = "closed"


class RequestHandler(Protocol):
    """Decides what a request gets."""

    def peer(self, uid: int) -> Peer:
        """Returns who connects, as far as it decides anything."""
        ...

    def admit(self, method: str, target: str, peer: Peer, now_s: float) -> Route | Response:
        """Returns the route of a head, or the response to it: a status of 400 or more ends the connection."""
        ...

    def take(self, route: Route, body: bytes, connection: "Connection", now_s: float) -> Response | None:
        """Returns the response; or None when it needs a job, and the connection was told to `wait`."""
        ...

    def late(self, connection: "Connection", now_s: float) -> Response:
        """Returns the response to a connection that has waited long enough and is not answered otherwise."""
        ...


class Connection:
    """Is one client's protocol state: `receive` bytes, `step` while it returns True, send `out`, look at `deadline_s`."""

    __slots__ = (
        "_begun",
        "_body",
        "_drained",
        "_ended",
        "_head",
        "_input",
        "_parser",
        "_route",
        "_timeouts",
        "answered",
        "cache",
        "closing",
        "deadline_s",
        "out",
        "peer",
        "phase",
    )

    def __init__(self, peer: Peer, timeouts: Timeouts, now_s: float, cache: HttpCache | None = None) -> None:
        self.peer = peer
        self.phase = Phase.READING
        self.out: bytes | memoryview = b""
        self.deadline_s = now_s + timeouts.idle_s
        self.closing = False  # the next response is the last
        self.answered = False  # at least once
        self._timeouts = timeouts
        self.cache = HttpCache() if cache is None else cache
        self._input = b""  # received, and not yet the parser's
        self._ended = False  # the client sends no more
        self._begun = False  # a byte of the current request has come
        self._parser: h11.Connection | None = None  # of the current request, where it is not a known plain one
        self._head = _NO_HEAD
        self._route: Route | None = None  # of a request whose body is still to come
        self._body = bytearray()
        self._drained = 0

    @property
    def reads(self) -> bool:
        """Tells whether bytes of the client are wanted now."""
        return not self.out and self.phase in (Phase.READING, Phase.LINGER)

    @property
    def pending(self) -> bool:
        """Tells whether bytes of a further request have come."""
        return bool(self._input)

    @property
    def idle(self) -> bool:
        """Tells whether nothing of a request has come since the last response."""
        return self.phase is Phase.READING and not self._begun and not self.out

    def receive(self, data: bytes, now_s: float) -> None:
        """Takes bytes from the client; empty for the end of them."""
        if self.phase is Phase.LINGER:
            self._drained += len(data)
            if not data or self._drained > DRAIN_MAX_BYTES:
                self.close()
            return
        if not data:
            self._ended = True
        elif not self._begun:
            self._begun = True
            self.deadline_s = now_s + self._timeouts.request_s
        if self._parser is not None:
            self._parser.receive_data(data)
        else:
            self._input = self._input + data if self._input else data

    def step(self, handler: RequestHandler, now_s: float) -> bool:
        """Takes up to one request. Returns True if one was answered at once, and another may be in the buffer."""
        if self.phase is not Phase.READING or self.out:
            return False
        if self._parser is not None and self._route is not None:
            return self._parse_body(self._parser, self._route, handler, now_s)
        raw = self._next_head(now_s)
        if not raw:
            return False
        head = self.cache.heads.get(raw)
        if head is None:
            return self._parse_head(raw, handler, now_s)
        return self._respond(head, handler.admit(head.method, head.target, self.peer, now_s), handler, now_s)

    def answer(self, response: Response, now_s: float) -> None:
        """Writes a response and makes ready for the next request."""
        close = self._head.close or self.closing
        rendered = self.cache.render(response, close=close, bodiless=self._head.method == "HEAD")
        self.out = bytes(self.out) + rendered if self.out else rendered
        self.answered = True
        self.deadline_s = now_s + self._timeouts.write_s
        if close:
            self.close()
            return
        self._head, self._route, self._body = _NO_HEAD, None, bytearray()
        self._begun = bool(self._input)
        self.phase = Phase.READING

    def written(self, count: int, now_s: float) -> None:
        """Takes note that so many bytes of `out` were sent."""
        if count < len(self.out):
            self.out = memoryview(self.out)[count:]
            return
        self.out = b""
        if self.phase is Phase.READING:
            self.deadline_s = now_s + (self._timeouts.request_s if self._begun else self._timeouts.idle_s)

    def refuse(self, name: str, now_s: float) -> None:
        """Answers with a problem of the API's table, and that was the last response."""
        self._refuse(problem(name), now_s)

    def wait(self, until_s: float) -> None:
        """Waits for a job; `RequestHandler.late` answers after `until_s`."""
        self.phase = Phase.WAITING
        self.deadline_s = until_s

    def overdue(self, now_s: float) -> None:
        """Ends a connection whose deadline has passed (not one that WAITs); a client that had begun is told."""
        if self.phase is Phase.READING and self._begun and not self.out:
            self.refuse("request_slow", now_s)
        else:
            self.out = b""
            self.close()

    def close(self) -> None:
        """Ends it; the socket is closed once `out` is written."""
        self.phase = Phase.CLOSED

    # one request

    def _next_head(self, now_s: float) -> bytes:
        """Returns the next request's head with the empty line that ends it; empty where there is none (yet)."""
        data = self._input
        if data in self.cache.heads:  # most requests come alone and whole
            self._input = b""
            return data
        data = self._input = data.lstrip(b"\r\n")  # empty lines before a request (RFC 9112, 2.2)
        end = _head_end(data)
        if end > HEAD_MAX_BYTES or (not end and len(data) >= HEAD_MAX_BYTES) or _has_too_many_lines(data, end):
            self.refuse("head_too_large", now_s)
        elif end:
            self._input = data[end:]
            return data[:end]
        elif data and (self._ended or data[0] < _FIRST_BYTE_MIN):
            self.refuse("request_malformed", now_s)
        elif self._ended:
            self.close()
        return b""

    def _parse_head(self, raw: bytes, handler: RequestHandler, now_s: float) -> bool:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)
        parser.receive_data(raw)
        try:
            self._head, size = _read_head(parser.next_event())
            bodiless = isinstance(parser.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError:
            self.refuse("request_malformed", now_s)
            return False
        admitted = handler.admit(self._head.method, self._head.target, self.peer, now_s)
        if bodiless:
            self.cache.add_head(raw, self._head)
            return self._respond(self._head, admitted, handler, now_s)
        if isinstance(admitted, Response):
            self._refuse(admitted, now_s)
        elif size > admitted.body.value:
            self.refuse("body_too_large", now_s)
        else:
            return self._begin_body(parser, admitted, handler, now_s)
        return False

    def _respond(self, head: Head, admitted: Route | Response, handler: RequestHandler, now_s: float) -> bool:
        """Answers a request without a body."""
        self._head = head
        response = handler.take(admitted, b"", self, now_s) if isinstance(admitted, Route) else admitted
        if response is None:
            return False
        if response is admitted and response.status >= _FIRST_ERROR:
            self._refuse(response, now_s)
        else:
            self.answer(response, now_s)
        return self.phase is Phase.READING

    def _begin_body(self, parser: h11.Connection, route: Route, handler: RequestHandler, now_s: float) -> bool:
        if parser.they_are_waiting_for_100_continue and not self._input:
            self.out = CONTINUE
        self._parser, self._route = parser, route
        if self._input:
            parser.receive_data(self._input)
            self._input = b""
        if self._ended:
            parser.receive_data(b"")
        return self._parse_body(parser, route, handler, now_s)

    def _parse_body(self, parser: h11.Connection, route: Route, handler: RequestHandler, now_s: float) -> bool:
        try:
            while isinstance(event := parser.next_event(), h11.Data):
                self._body += event.data
                if len(self._body) > route.body.value:
                    self.refuse("body_too_large", now_s)
                    return False
        except h11.RemoteProtocolError:
            self.refuse("request_malformed", now_s)
            return False
        if not isinstance(event, h11.EndOfMessage):
            return False
        self._input, self._parser = bytes(parser.trailing_data[0]), None
        response = handler.take(route, bytes(self._body), self, now_s)
        if response is not None:
            self.answer(response, now_s)
        return self.phase is Phase.READING

    def _refuse(self, response: Response, now_s: float) -> None:
        self._head = self._head._replace(close=True)
        self.answer(response, now_s)
        self.phase = Phase.LINGER
        self.deadline_s = now_s + self._timeouts.linger_s


_NO_HEAD = Head(method="", target="", close=False)
_FIRST_ERROR = 400


def _read_head(request: object) -> tuple[Head, int]:
    """Returns a head and the body's length as it announces it, 0 where it does not.

    Raises h11.RemoteProtocolError for what h11 takes and a server should not: a version that is no HTTP/1 (h11 takes
    any digits), and a length beside a transfer coding, which is how requests are smuggled (RFC 9112, 6.1).
    """
    if not isinstance(request, h11.Request):
        raise h11.RemoteProtocolError("no request")
    headers = list(request.headers)
    named = {name for name, _ in headers}
    if request.http_version not in (b"1.0", b"1.1") or {b"content-length", b"transfer-encoding"} <= named:
        raise h11.RemoteProtocolError("not as this socket speaks it")
    tokens = {
        token.strip() for name, value in headers if name == b"connection" for token in bytes(value).lower().split(b",")
    }
    close = request.http_version == b"1.0" or b"close" in tokens
    size = next((int(value) for name, value in headers if name == b"content-length"), 0)
    return Head(request.method.decode("latin-1"), request.target.decode("latin-1"), close=close), size


def _head_end(data: bytes) -> int:
    """Returns where a head ends, behind its empty line; 0 where it does not. Bare LFs end lines too, as h11 has it."""
    crlf, bare = data.find(b"\n\r\n"), data.find(b"\n\n")
    if crlf >= 0 and (bare < 0 or crlf < bare):
        return crlf + 3
    return bare + 2 if bare >= 0 else 0


def _has_too_many_lines(data: bytes, end: int) -> bool:
    """Tells whether the head that ends there has them: each costs h11 time. Without an end, all that has come counts."""
    lines = data.count(b"\n", 0, end) - 1 if end else data.count(b"\n")
    return lines > HEAD_MAX_LINES
