"""Admits and answers the requests of the local socket; `core.commands` has the table of its routes.

`admit` looks at a request's head and answers with its row or a refusal, before a byte of body is read; `respond`
makes of the row and the body either the response, from memory, or the job to start. Both are pure. HTTP itself is
`connection`, sockets are `clients`, jobs are `work`. Nothing here judges a document: a bundle is bytes until evaluate
has read it.

Refusals are RFC 9457 problems: `{type, title, status, code}`; the last part of `type` names the one rule.
"""

import json
from binascii import b2a_base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from opanel_agent.core.codes import Code, Fault
from opanel_agent.core.commands import (
    DOCUMENT_MAX_BYTES,
    EXCHANGE,
    OPTION_TYPES,
    OPTIONS_MAX_BYTES,
    ROUTES,
    Body,
    Route,
    Who,
)
from opanel_agent.core.problems import MEDIA_TYPE, type_of

Headers = tuple[tuple[str, str], ...]
Option = bool | str | list[str]

HEAD_MAX_BYTES: Final = 8 * 1024
HEAD_MAX_LINES: Final = 64  # 1,600 fit into 8 KiB, and cost 1.6 ms to read instead of 0.1 (Python 3.11, 2026-11-24)
BODY_MAX_BYTES: Final = DOCUMENT_MAX_BYTES
OPTION_MAX_CHARS: Final = 64  # each item's, of a list
OPTION_MAX_ITEMS: Final = 64
LONGER: Final[Mapping[str, int]] = {"text": 2000}
NO_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({})
# Members of the answer that say what left this server, or waits to. The panel needs neither.
OWNER_MEMBERS: Final = ("last_left", "reports")
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")

PROBLEMS: Final[Mapping[str, tuple[int, Code, str]]] = {
    "request_malformed": (400, Fault.PROTOCOL, "The request is not HTTP/1.1 as this socket speaks it."),
    "options_refused": (400, Fault.USAGE, "The options are not a JSON object of those that the path takes."),
    "document_missing": (400, Fault.USAGE, "There is no document in the request."),
    "owner_only": (403, Fault.NO_PERMISSION, "Only root may ask for this."),
    "path_unknown": (404, Fault.USAGE, "There is no such path."),
    "method_unknown": (405, Fault.USAGE, "The path does not take this method."),
    "request_slow": (408, Fault.PROTOCOL, "The request did not arrive in time."),
    "body_too_large": (413, Fault.USAGE, "The body is larger than the path takes."),
    "refresh_too_soon": (429, Fault.RATE_LIMITED, "The license was refreshed less than a minute ago."),
    "head_too_large": (431, Fault.PROTOCOL, "The request's head is larger than 8 KiB or has more than 64 lines."),
    "connections_taken": (503, Fault.BUSY, "Too many connections are open."),
    "jobs_taken": (503, Fault.BUSY, "Too many jobs are waiting."),
    "evaluate_failed": (503, Fault.JOB_FAILED, "There is no answer: the last evaluation failed, and says why."),
    "answer_not_yet": (503, Fault.NOT_YET, "There is no answer yet."),
}


class Peer(NamedTuple):
    """Who is at the other end, as the kernel told at accept."""

    uid: int
    owner: bool


class Response(NamedTuple):
    status: int
    body: bytes
    media: str = "application/json"
    headers: Headers = ()


class Start(NamedTuple):
    """A job to start: evaluate, with this intent. The response waits for it."""

    intent: str
    document: bytes = b""
    options: Mapping[str, Option] = NO_OPTIONS
    ends_running_job: bool = False

    def frame(self) -> bytes:
        """The job's stdin: one JSON line."""
        intent: dict[str, object] = {"schema": 1, "intent": self.intent, **self.options}
        if self.document:
            intent["document"] = _base64url(self.document)
        return json.dumps(intent).encode() + b"\n"


class PublishedAnswer(NamedTuple):
    """The last answer of evaluate, each part as the bytes that are served."""

    whole: bytes
    peers: bytes  # all but what is OWNER_MEMBERS
    license: bytes
    consent: bytes
    state: str
    reasons: str  # parted by commas

    @property
    def summary(self) -> str:
        """For `systemctl status`."""
        return f"{self.state} ({self.reasons})"

    def part(self, name: str, *, owner: bool) -> bytes:
        """A member by its name; for "" all that this reader may see."""
        return {"license": self.license, "consent": self.consent}.get(name, self.whole if owner else self.peers)


def problem(name: str, *, headers: Headers = (), error: object = None) -> Response:
    """A refusal by its name in PROBLEMS; `error` is the one behind it, as evaluate told it."""
    status, code, title = PROBLEMS[name]
    members: dict[str, object] = {"type": type_of(name), "title": title, "status": status, "code": code}
    if error is not None:
        members["error"] = error
    return Response(status=status, body=_json(members), media=MEDIA_TYPE, headers=headers)


def admit(method: str, target: str, peer: Peer, *, since_refresh_s: float) -> Route | Response:
    """The row that a request's head asks for, if its peer may ask for it now.

    `since_refresh_s`: how long ago the last refresh that counts was taken, infinity for never.
    """
    rows = ROUTES.get(target)
    if rows is None:
        return problem("path_unknown")
    route = rows.get(method)
    if route is None:
        return problem("method_unknown", headers=(("Allow", ", ".join(rows)),))
    if peer.owner:
        return route
    if route.who is Who.OWNER:
        return problem("owner_only")
    if since_refresh_s < route.min_interval_s:
        wait_s = int(route.min_interval_s - since_refresh_s) + 1
        return problem("refresh_too_soon", headers=(("Retry-After", str(wait_s)),))
    return route


def respond(
    route: Route, body: bytes, answer: PublishedAnswer | None, trouble: object = None, *, owner: bool = False
) -> Response | Start:
    """What an admitted request gets: bytes from memory, or a job. `trouble`: the error that the last job ended with."""
    if route.member is None:
        return _start(route, body)
    if answer is None:
        if trouble is not None:
            return problem("evaluate_failed", error=trouble)
        return problem("answer_not_yet", headers=(("Retry-After", "1"),))
    shown = answer.part(route.member, owner=owner)
    if route.member or trouble is None:
        return Response(status=200, body=shown)
    return Response(status=200, body=shown[:-1] + b',"trouble":' + _json(trouble) + b"}")


def body_json(*, ok: bool | None, error: object, result: object, answer: PublishedAnswer | None) -> Response:
    """The reply to a POST. `ok` None, with status 202: it goes on by itself."""
    head = _json({"schema": 1, "ok": ok, "error": error, "result": result})
    license_bytes = answer.license if answer else b"null"
    return Response(status=202 if ok is None else 200, body=head[:-1] + b',"license":' + license_bytes + b"}")


def _start(route: Route, body: bytes) -> Response | Start:
    if route.body is Body.DOCUMENT and not body.startswith(b"{"):
        return Start(intent=route.intent, document=body) if body else problem("document_missing")
    options = _options(body, route.options)
    if options is None:
        return problem("options_refused")
    if route.body is Body.DOCUMENT:
        return Start(intent=EXCHANGE, options=options) if "key" in options else problem("options_refused")
    return Start(intent=route.intent, options=options, ends_running_job=route.ends_running_job)


def _options(body: bytes, allowed: tuple[str, ...]) -> dict[str, Option] | None:
    """Those that the body names; None when it says anything but what the path takes."""
    if not body:
        return {}
    try:
        options = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(options, dict) or len(body) > OPTIONS_MAX_BYTES:
        return None
    return (
        options if all(name in allowed and _is_valid_option(name, value) for name, value in options.items()) else None
    )


def _is_valid_option(name: str, value: object) -> bool:
    """Whether it is of the option's own type (1 is not true, nor is "true") and no longer than it may be."""
    if type(value) is not OPTION_TYPES[name]:
        return False
    if isinstance(value, bool):
        return True
    items = value if isinstance(value, list) else [value]
    longest = LONGER.get(name, OPTION_MAX_CHARS)
    return len(items) <= OPTION_MAX_ITEMS and all(type(item) is str and len(item) <= longest for item in items)


def _base64url(data: bytes) -> str:
    # as core.base64url, without the module base64, which is memory that stays
    return b2a_base64(data, newline=False).translate(_URL_ALPHABET, b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
