"""Admits and answers the requests of the local socket; `core.commands` has the table of its routes.

`admit` maps a request's head to its route or to a refusal before a byte of body is read; `respond` maps the route and
the body to the response, from memory, or to the job to start. Both are pure. HTTP itself is `connection`, sockets are
`connections`, jobs are `job_queue`. Nothing here judges a document: a bundle is bytes until evaluate has read it.

Refusals are RFC 9457 problems: `{type, title, status, code}`; the last part of `type` names the one rule.
"""

import json
from binascii import b2a_base64
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from opanel_agent.core.codes import Code, Fault
from opanel_agent.core.commands import (
    DOCUMENT_MAX_BYTES,
    EXCHANGE,
    INDEX,
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

HEAD_MAX_BYTES: Final = 8 * 1024  # with the empty line that ends it
HEAD_MAX_LINES: Final = 64  # 1,600 fit into 8 KiB, and cost 1.6 ms to read instead of 0.1 (Python 3.11, 2026-11-24)
BODY_MAX_BYTES: Final = DOCUMENT_MAX_BYTES
OPTION_MAX_CHARS: Final = 64  # each item's, of a list
OPTION_MAX_ITEMS: Final = 64
LONG_OPTIONS: Final[Mapping[str, int]] = {"text": 2000}  # most characters, where it is not OPTION_MAX_CHARS
NO_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({})
# Members of the answer that say what left this server, or waits to. The panel needs neither.
OWNER_MEMBERS: Final = ("last_left", "may_have_left", "reports", "requests")
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")

# Members of the answer that say what may leave: what the files say now, and not when they were read last.
OF_CONSENT: Final = ("consent", "")
_OK: Final = 200

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
    "connections_taken": (503, Fault.BUSY, "No descriptor is left for another connection."),
    "jobs_taken": (503, Fault.BUSY, "Too many jobs are waiting."),
    "evaluate_failed": (503, Fault.JOB_FAILED, "There is no answer: the last evaluation failed, and says why."),
    "answer_not_yet": (503, Fault.NOT_YET, "There is no answer yet."),
}


class Peer(NamedTuple):
    """Identifies the client by its uid, as the kernel gave it at accept (SO_PEERCRED)."""

    uid: int
    owner: bool


class Response(NamedTuple):
    """Holds a response before it is rendered as HTTP."""

    status: int
    body: bytes
    media: str = "application/json"
    headers: Headers = ()


class Start(NamedTuple):
    """Describes a job to start: evaluate, with this intent. The response waits for it."""

    intent: str
    document: bytes = b""
    options: Mapping[str, Option] = NO_OPTIONS
    ends_running_job: bool = False

    def frame(self) -> bytes:
        """Returns the job's stdin: one JSON line."""
        intent: dict[str, object] = {"schema": 1, "intent": self.intent, **self.options}
        if self.document:
            intent["document"] = _base64url(self.document)
        return json.dumps(intent).encode() + b"\n"


class PublishedAnswer(NamedTuple):
    """Holds the last answer of evaluate, each part as the bytes that are served; empty for a part that is not known."""

    whole: bytes
    peers: bytes  # all but what is OWNER_MEMBERS
    license: bytes
    consent: bytes
    state: str
    reasons: str  # parted by commas

    @property
    def summary(self) -> str:
        """Returns the state and its reasons in one line, for `systemctl status`."""
        return f"{self.state} ({self.reasons})"

    def part(self, name: str, *, owner: bool) -> bytes:
        """Returns a member by its name; for "" everything that this reader may see."""
        return {"license": self.license, "consent": self.consent}.get(name, self.whole if owner else self.peers)


def problem(name: str, *, headers: Headers = (), error: object = None) -> Response:
    """Returns a refusal by its name in PROBLEMS; `error` is the cause as evaluate reported it."""
    status, code, title = PROBLEMS[name]
    members: dict[str, object] = {"type": type_of(name), "title": title, "status": status, "code": code}
    if error is not None:
        members["error"] = error
    return Response(status=status, body=_json(members), media=MEDIA_TYPE, headers=headers)


def admit(method: str, target: str, peer: Peer, *, since_refresh_s: float) -> Route | Response:
    """Returns the route of a request's head if its peer may use it now, else the refusal.

    HEAD is GET without its body; OPTIONS is answered here with `Allow` (RFC 9110, 9.3.2 and 9.3.7). `since_refresh_s`:
    seconds since the last refresh that counts, infinity for none.
    """
    path = path_of(target)
    routes = ROUTES.get(path, {})
    if method == "OPTIONS" and (routes or path == "*"):
        return Response(status=200, body=b"", headers=(("Allow", _allowed(routes or ("GET", "POST"))),))
    route = routes.get("GET" if method == "HEAD" else method)
    if route is None:
        return problem("method_unknown", headers=(("Allow", _allowed(routes)),)) if routes else problem("path_unknown")
    if peer.owner:
        return route
    if route.who is Who.OWNER:
        return problem("owner_only")
    if since_refresh_s < route.min_interval_s:
        wait_s = int(route.min_interval_s - since_refresh_s) + 1
        return problem("refresh_too_soon", headers=(("Retry-After", str(wait_s)),))
    return route


def path_of(target: str) -> str:
    """Returns the path of a request target without its query; the absolute form is taken too (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        authority, slash, path = rest.partition("/")
        target = slash + path if slash and "?" not in authority else INDEX.path
    return target.partition("?")[0]


def _allowed(methods: Collection[str]) -> str:
    """Returns the value of `Allow`: the methods of a path, HEAD beside GET, and OPTIONS."""
    return ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])


def respond(
    route: Route, body: bytes, answer: PublishedAnswer | None, trouble: object = None, *, owner: bool = False
) -> Response | Start:
    """Returns what an admitted request gets: a response from memory, or the job to start.

    `trouble` is the error that the last evaluation ended with, None where it brought an answer.
    """
    options = _options(body, route) if route.body is not Body.DOCUMENT or body.startswith(b"{") else {}
    if options is None:
        return problem("options_refused")
    if route.intent:
        return _start(route, body, options)
    if route.member is None:
        return Response(status=200, body=_INDEX_BODY)
    return _show(route.member, answer, trouble, owner=owner)


def show_outdated(route: Route, answer: PublishedAnswer | None, trouble: object, *, owner: bool) -> Response:
    """Returns what `respond` returns for an answer of before a change that no job has read yet; a member says so."""
    shown = _show(route.member or "", answer, trouble, owner=owner)
    return shown if shown.status != _OK else shown._replace(body=shown.body[:-1] + b',"outdated":true}')


def _show(member: str, answer: PublishedAnswer | None, trouble: object, *, owner: bool) -> Response:
    shown = answer.part(member, owner=owner) if answer else b""
    if not shown:
        if trouble is not None:
            return problem("evaluate_failed", error=trouble)
        return problem("answer_not_yet", headers=(("Retry-After", "1"),))
    if member or trouble is None:
        return Response(status=200, body=shown)
    return Response(status=200, body=shown[:-1] + b',"trouble":' + _json(trouble) + b"}")


def body_json(*, ok: bool | None, error: object, result: bytes, answer: PublishedAnswer | None) -> Response:
    """Returns the response to a POST; `ok` None stands for a job that goes on without its client (status 202).

    `result` is JSON already.
    """
    head = _json({"schema": 1, "ok": ok, "error": error})
    license_part = answer.license if answer else b"null"
    body = head[:-1] + b',"result":' + result + b',"license":' + license_part + b"}"
    return Response(status=202 if ok is None else 200, body=body)


def _start(route: Route, body: bytes, options: dict[str, Option]) -> Response | Start:
    if route.body is not Body.DOCUMENT:
        return Start(intent=route.intent, options=options, ends_running_job=route.ends_running_job)
    if not body.startswith(b"{"):
        return Start(intent=route.intent, document=body) if body else problem("document_missing")
    return Start(intent=EXCHANGE, options=options) if "key" in options else problem("options_refused")


def _options(body: bytes, route: Route) -> dict[str, Option] | None:
    """Returns the options in the body; None where it is anything but a JSON object of those that the route takes."""
    if not body:
        return {}
    try:
        options = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(options, dict) or len(body) > OPTIONS_MAX_BYTES:
        return None
    return options if all(_is_valid_option(route, name, value) for name, value in options.items()) else None


def _is_valid_option(route: Route, name: str, value: object) -> bool:
    """Tells whether the route takes the option, in its own type (1 is not true, nor is "true"), length and characters."""
    if name not in route.options or type(value) is not (bool if name in route.switches else OPTION_TYPES[name]):
        return False
    if isinstance(value, bool):
        return True
    if route.one_of and value not in route.one_of:
        return False
    items = value if isinstance(value, list) else [value]
    longest = LONG_OPTIONS.get(name, OPTION_MAX_CHARS)
    return len(items) <= OPTION_MAX_ITEMS and all(
        type(item) is str and len(item) <= longest and _is_encodable(item) for item in items
    )


def _is_encodable(text: str) -> bool:
    """Tells whether text has no lone surrogate, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _base64url(data: bytes) -> str:
    # as core.base64url, without the module base64, which is memory that stays
    return b2a_base64(data, newline=False).translate(_URL_ALPHABET, b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


_INDEX_BODY: Final = _json({"schema": 1, "paths": [path for path in ROUTES if path != INDEX.path]})
