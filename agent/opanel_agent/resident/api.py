"""The local API as a table: who may ask what, how often, how much of it, and what it starts.

`admit` looks at a request's head and answers with its row or a refusal, before a byte of body is read; `respond`
makes of the row and the body either the response, from memory, or the job to start. Both are pure. HTTP itself is
`connection`, sockets are `clients`, jobs are `work`. Nothing here judges a document: a bundle is bytes until evaluate
has read it.

Refusals are RFC 9457 problems: `{type, title, status, code}`; the last part of `type` names the one rule.
"""

import json
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from opanel_agent.core.reasons import Code, Fault

Headers = tuple[tuple[str, str], ...]

HEAD_MAX_BYTES: Final = 8 * 1024
BODY_MAX_BYTES: Final = 64 * 1024
OPTIONS_MAX_BYTES: Final = 1024
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")


@unique
class Who(Enum):
    """`PEERS` is whoever the socket's mode lets connect; `OWNER` is uid 0, or the uid of a user installation."""

    PEERS = "peers"
    OWNER = "owner"


@unique
class Body(Enum):
    """What a request may carry, and how many bytes of it."""

    NONE = 0
    OPTIONS = OPTIONS_MAX_BYTES
    DOCUMENT = BODY_MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row. `shows` is a member of the answer, or "" for all of it; `starts` is an intent of evaluate."""

    who: Who
    body: Body = Body.NONE
    every_s: int = 0  # between two of anyone but the owner
    shows: str | None = None
    starts: str = ""
    ends_running: bool = False


ROUTES: Final[Mapping[str, Mapping[str, Route]]] = {
    "/v1/license": {"GET": Route(who=Who.PEERS, shows="license")},
    "/v1/consent": {"GET": Route(who=Who.PEERS, shows="consent")},
    "/v1/answer": {"GET": Route(who=Who.PEERS, shows="")},
    "/v1/refresh": {"POST": Route(who=Who.PEERS, every_s=60, starts="refresh")},
    "/v1/bundle": {"POST": Route(who=Who.OWNER, body=Body.DOCUMENT, starts="bundle")},
    "/v1/activate": {"POST": Route(who=Who.OWNER, body=Body.OPTIONS, starts="activate")},
    "/v1/release": {"POST": Route(who=Who.OWNER, body=Body.OPTIONS, starts="release")},
    "/v1/remove": {"POST": Route(who=Who.OWNER, starts="remove")},
    # What may leave has become less: whatever runs was started under the wider word.
    "/v1/narrowed": {"POST": Route(who=Who.OWNER, starts="tick", ends_running=True)},
}

PROBLEMS: Final[Mapping[str, tuple[int, Code, str]]] = {
    "request_malformed": (400, Fault.PROTOCOL, "The request is not HTTP/1.1 as this socket speaks it."),
    "options_refused": (400, Fault.USAGE, 'The options are not {"to_file": true or false}.'),
    "document_missing": (400, Fault.USAGE, "There is no document in the request."),
    "owner_only": (403, Fault.NO_PERMISSION, "Only root may ask for this."),
    "path_unknown": (404, Fault.USAGE, "There is no such path."),
    "method_unknown": (405, Fault.USAGE, "The path does not take this method."),
    "request_slow": (408, Fault.PROTOCOL, "The request did not arrive in time."),
    "body_too_large": (413, Fault.USAGE, "The body is larger than the path takes."),
    "refresh_too_soon": (429, Fault.RATE_LIMITED, "The license was refreshed less than a minute ago."),
    "head_too_large": (431, Fault.PROTOCOL, "The request's head is larger than 8 KiB."),
    "connections_taken": (503, Fault.BUSY, "Too many connections are open."),
    "jobs_taken": (503, Fault.BUSY, "Too many jobs are waiting."),
    "answer_not_yet": (503, Fault.NOT_YET, "There is no answer yet."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end, as the kernel told at accept."""

    uid: int
    owner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    body: bytes
    media: str = "application/json"
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A job to start: evaluate, with this intent. The response waits for it."""

    intent: str
    document: bytes = b""
    to_file: bool = False
    ends_running: bool = False

    def frame(self) -> bytes:
        """The job's stdin: one JSON line."""
        told: dict[str, object] = {"schema": 1, "intent": self.intent}
        if self.document:
            told["document"] = _base64url(self.document)
        if self.to_file:
            told["to_file"] = True
        return json.dumps(told).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The last answer of evaluate, each part as the bytes that are served."""

    whole: bytes
    license: bytes
    consent: bytes
    summary: str  # for `systemctl status` and the log

    def part(self, name: str) -> bytes:
        return {"license": self.license, "consent": self.consent}.get(name, self.whole)


def problem(name: str, *, headers: Headers = ()) -> Response:
    """A refusal by its name in PROBLEMS."""
    status, code, title = PROBLEMS[name]
    told = {"type": f"urn:opanel:problem:{name}", "title": title, "status": status, "code": code}
    return Response(status=status, body=_json(told), media="application/problem+json", headers=headers)


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
    if since_refresh_s < route.every_s:
        wait_s = int(route.every_s - since_refresh_s) + 1
        return problem("refresh_too_soon", headers=(("Retry-After", str(wait_s)),))
    return route


def respond(route: Route, body: bytes, answer: Answer | None) -> Response | Start:
    """What an admitted request gets: bytes from memory, or a job."""
    if route.shows is None:
        return _start(route, body)
    if answer is None:
        return problem("answer_not_yet", headers=(("Retry-After", "1"),))
    return Response(status=200, body=answer.part(route.shows))


def told(*, ok: bool | None, error: object, result: object, answer: Answer | None) -> Response:
    """The reply to a POST. `ok` None, with status 202: it goes on by itself."""
    head = _json({"schema": 1, "ok": ok, "error": error, "result": result})
    license_bytes = answer.license if answer else b"null"
    return Response(status=202 if ok is None else 200, body=head[:-1] + b',"license":' + license_bytes + b"}")


def _start(route: Route, body: bytes) -> Response | Start:
    if route.body is Body.DOCUMENT:
        return Start(intent=route.starts, document=body) if body else problem("document_missing")
    to_file = _to_file(body)
    if to_file is None:
        return problem("options_refused")
    return Start(intent=route.starts, to_file=to_file, ends_running=route.ends_running)


def _to_file(body: bytes) -> bool | None:
    """The one option there is; None when the body says anything else."""
    if not body:
        return False
    try:
        options = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if options == {}:
        return False
    match options:
        case {"to_file": bool(to_file)} if len(options) == 1:
            return to_file
    return None


def _base64url(data: bytes) -> str:
    # as core.base64url, without the module base64, which is memory that stays
    return b2a_base64(data, newline=False).translate(_URL_ALPHABET, b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
