"""Renders responses, and remembers what clients that ask in a loop would have worked out again each time.

Heads of plain requests (without a body) that the parser has taken are known by their exact bytes; rendered responses
by the response. Both are bounded, and the oldest entry goes first. Nothing is looked up by anything but equality.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from opanel_agent.daemon.api import Response

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HEADS_MAX: Final = 64
HEAD_MAX_BYTES: Final = 1024  # of one that is remembered: 64 KiB in all
RESPONSES_MAX: Final = 16
BODY_MAX_BYTES: Final = 16 * 1024  # of a response that is remembered
_PHRASES: Final[Mapping[int, str]] = {  # RFC 9110, 15
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Head(NamedTuple):
    """Holds what the head of a request says, as far as it matters here."""

    method: str
    target: str
    close: bool  # no further request follows on this connection


class HttpCache:
    """Holds the heads and responses that were seen last, for all connections."""

    def __init__(self) -> None:
        self.heads: dict[bytes, Head] = {}
        self._responses: dict[tuple[Response, bool, bool], bytes] = {}

    def add_head(self, raw: bytes, head: Head) -> None:
        """Remembers the head of a plain request, if it is short enough."""
        if len(raw) <= HEAD_MAX_BYTES:
            if len(self.heads) >= HEADS_MAX:
                del self.heads[next(iter(self.heads))]
            self.heads[raw] = head

    def render(self, response: Response, *, close: bool, bodiless: bool) -> bytes:
        """Returns the bytes of a response; `close` announces that it is the last, `bodiless` leaves out the body."""
        key = (response, close, bodiless)
        rendered = self._responses.get(key)
        if rendered is not None:
            return rendered
        rendered = _render(response, close=close, bodiless=bodiless)
        if len(response.body) <= BODY_MAX_BYTES:
            if len(self._responses) >= RESPONSES_MAX:
                del self._responses[next(iter(self._responses))]
            self._responses[key] = rendered
        return rendered


def _render(response: Response, *, close: bool, bodiless: bool) -> bytes:
    fields = [
        f"HTTP/1.1 {response.status} {_PHRASES[response.status]}",
        f"Content-Type: {response.media}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in response.headers),
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join([*fields, "", ""]).encode("latin-1") + (b"" if bodiless else response.body)
