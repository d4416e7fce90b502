"""Judges what came back: status, content type, size, form, and a server's refusal (RFC 9457).

A reply is trusted for nothing.

A static file is recognised by its form, because plain web servers and object stores give it any type or none; what has
neither the type that was asked for nor that form was answered by something in between.
"""

import email.utils
from collections.abc import Callable, Iterable
from typing import Final

from opanel_agent.core import problems
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable, Untrusted
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen
from opanel_agent.core.wire.content import has_signed_form
from opanel_agent.core.wire.message import Headers, Reply, Sealed, head
from opanel_agent.core.wire.steps import RequestTrace, Step

MAX_PROBLEM_BYTES: Final = 16 * 1024
MAX_HEADERS_BYTES: Final = 12 * 1024  # as JSON; a frame's line holds 16 KiB
MAX_RETRY_AFTER_S: Final = DAY_S
_DONE: Final = (200, 202)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MISSING: Final = frozenset({404, 410})
_BUSY: Final = frozenset(
    {408, 425, 429}
)  # what a server says that will answer later, as one with an error of its own may
_SERVER_ERRORS: Final = range(500, 600)


@frozen
class Received:
    """A response whose head was read. `chunks` yields the body as it comes; it raises OSError, TimeoutError among it."""

    status: int
    headers: Headers
    chunks: Iterable[bytes]

    def header(self, name: str) -> str:
        """Returns the first value of a header, stripped; "" where it is absent."""
        return next((value.strip() for known, value in self.headers if known.lower() == name), "")

    @property
    def content_type(self) -> str:
        """The media type in lower case without its parameters; "" where none is given."""
        return self.header("content-type").split(";")[0].strip().lower()


def judge_head(received: Received, wall: Callable[[], float]) -> None:
    """Raises Unavailable for every response but 200 and 202 without a content coding, with the code of what it is.

    `wall` is only asked to read a Retry-After that is a date, where the server gives no date of its own.
    """
    _judge_headers(received.headers)
    status = received.status
    if status in _REDIRECTS:
        raise Unavailable(Reason.CAPTIVE_PORTAL, "redirected", status=status)
    if status == 511:  # RFC 6585 6: Network Authentication Required
        raise Unavailable(Reason.CAPTIVE_PORTAL, "network_login", status=status)
    if status == 407:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_refused", status=status)
    if status not in _DONE:
        raise _refusal(received, wall)
    if (received.header("content-encoding").lower() or "identity") != "identity":
        raise Unavailable(Reason.SERVER_ERROR, "content_encoding")


def read_body(received: Received, sealed: Sealed, *, max_bytes: int, trace: RequestTrace) -> Reply:
    """Returns the reply that was asked for, its body read.

    Raises Unavailable where the body is of another type, longer than `max_bytes`, or cut.
    """
    if received.content_type in _accepted(sealed):
        trace.passed.append(Step.TYPE)
        with trace.step(Step.CONTENT):
            body = _body(received, max_bytes)
    else:
        with trace.step(Step.TYPE):
            body = _file_of_another_type(received, sealed, max_bytes)
        trace.passed.append(Step.CONTENT)
    return Reply(
        ok=True,
        status=received.status,
        url=sealed.url,
        headers=received.headers,
        sent_head=head(sealed),
        body=body,
    )


def _file_of_another_type(received: Received, sealed: Sealed, max_bytes: int) -> bytes:
    """Returns the body of a static file whose type is not the one asked for. Raises Unavailable(captive_portal)."""
    foreign = Unavailable(Reason.CAPTIVE_PORTAL, "wrong_type")
    if sealed.method != "GET":
        raise foreign
    try:
        body = _body(received, max_bytes)
    except Unavailable as exc:
        if exc.detail == "reply_too_long":
            raise foreign from exc
        raise
    if not has_signed_form(body):
        raise foreign
    return body


def _accepted(sealed: Sealed) -> frozenset[str]:
    """Returns the media types that the request's own Accept names."""
    accept = next((text for name, text in sealed.headers if name.lower() == "accept"), "")
    return frozenset({part.split(";")[0].strip().lower() for part in accept.split(",")} - {problems.MEDIA_TYPE})


def _body(received: Received, max_bytes: int) -> bytes:
    """Reads at most `max_bytes`: the declared length is only a reason to stop earlier."""
    declared = received.header("content-length")
    if declared.isdigit() and int(declared[:15]) > max_bytes:
        raise Unavailable(Reason.SERVER_ERROR, "reply_too_long", max_bytes=max_bytes)
    body = bytearray()
    for chunk in received.chunks:
        body += chunk
        if len(body) > max_bytes:
            raise Unavailable(Reason.SERVER_ERROR, "reply_too_long", max_bytes=max_bytes)
    return bytes(body)


def _judge_headers(headers: Headers) -> None:
    if len(dumps([list(pair) for pair in headers])) > MAX_HEADERS_BYTES:
        raise Unavailable(Reason.SERVER_ERROR, "reply_head_too_long", max_bytes=MAX_HEADERS_BYTES)


def _refusal(received: Received, wall: Callable[[], float]) -> Unavailable:
    """Returns what a server's refusal means: its problem where it names one of ours, else only its status."""
    refusal = (_problem(received) or _of_status(received.status)).but(status=received.status)
    wait_s = _retry_after_s(received, wall)
    return refusal if wait_s is None else refusal.but(retry_after_s=wait_s)


def _of_status(status: int) -> Unavailable:
    """Returns what a status alone says: only of an error of the server's own is it true that it passes by itself."""
    why = f"HTTP {status}"
    if status in _MISSING:
        return Unavailable(Reason.SERVER_ERROR, "not_found", why=why)
    if status in _BUSY or status in _SERVER_ERRORS:
        return Unavailable(Reason.SERVER_ERROR, "status_unexpected", why=why)
    return Unavailable(Reason.SERVER_ERROR, "not_given_out", why=why)


def _problem(received: Received) -> Unavailable | None:
    if received.content_type != problems.MEDIA_TYPE:
        return None
    try:
        body = loads(_body(received, MAX_PROBLEM_BYTES), max_bytes=MAX_PROBLEM_BYTES)
    except TimeoutError:
        raise
    except (Untrusted, Unavailable, OSError):
        return None  # the status alone says that it was refused
    problem = problems.by_type(body.get("type")) if isinstance(body, dict) else None
    return None if problem is None else Unavailable(problem.code, problem.detail)


def _retry_after_s(received: Received, wall: Callable[[], float]) -> int | None:
    """Reads Retry-After (RFC 9110 10.2.3): seconds, or a date, counted from the server's own Date where it gives one."""
    value = received.header("retry-after")
    if value.isascii() and value.isdigit():
        return min(int(value[:10]), MAX_RETRY_AFTER_S)
    until = served_at(value)
    if until is None:
        return None
    now = served_at(received.header("date"))
    return max(0, min(int(until - (wall() if now is None else now)), MAX_RETRY_AFTER_S))


def served_at(text: str) -> float | None:
    """Returns the moment that a header's date names (RFC 9110 5.6.7), in seconds since 1970; None where it names none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):  # TypeError: what Python 3.9 raised, and some dates still do
        return None
