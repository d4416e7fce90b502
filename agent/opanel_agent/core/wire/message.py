"""What crosses the one socket between the process that knows the machine and the process that reaches the network.

A *sealed request* is everything that may leave, decided and frozen: one JSON line and the body. A *reply* is everything
that came back: one JSON line and the body. Both are read with the strict JSON of signed documents, size first, and
nothing after the body is admitted, so that neither side can be made to wait or to guess.

The head that goes over the wire is a function of the sealed request (`head`), as h11 writes it. That is how a request can
be shown before it is sent, and compared with what a server received.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import FIXED_GETS, MAX_REPLY_BYTES
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import mask

MAX_LINE_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
MAX_URL: Final = 512  # a base of up to `mirrors.MAX_LENGTH` and one of the fixed paths
JOSE: Final = "application/jose"
JSON: Final = "application/json"

ERROR_VALUES: Final = ("address", "schemes", "why")
"""What an error of the network's side may say beside its code: addresses, login schemes, OpenSSL's objection."""
MAX_ERROR_VALUE: Final = 128

Headers = tuple[tuple[str, str], ...]

SIGNED: Final = f"{JOSE}, {JSON}"
# What is accepted from each address that can be asked, and what may be brought there; None for a GET.
_FORMS: Final[Mapping[str, tuple[str, tuple[str | None, ...]]]] = {
    "/v1/activations": (SIGNED, (JOSE,)),
    "/v1/releases": (SIGNED, (JOSE,)),
    "/v1/renewals": (SIGNED, (JOSE,)),
    "/v1/bundles": (SIGNED, (JSON,)),
    "/v1/rights": (SIGNED, (JSON, JOSE)),  # over reports, or over license data
    "/v1/reports/usage_statistics": (JOSE, (JSON,)),
    "/v1/reports/crash_reports": (JOSE, (JSON,)),
    **{get.path: (get.content_type, (None,)) for get in FIXED_GETS.values()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One request, ready to leave. Only method, url, headers and body ever reach the wire."""

    id: str
    purpose: str
    method: str
    url: str
    headers: Headers
    body: bytes
    held_since: int | None = None
    reviewed: bool = False

    def encode(self) -> bytes:
        return _line(
            {
                "schema": 1,
                "id": self.id,
                "purpose": self.purpose,
                "method": self.method,
                "url": self.url,
                "headers": [list(pair) for pair in self.headers],
                "held_since": self.held_since,
                "reviewed": self.reviewed,
                "body_bytes": len(self.body),
            },
            self.body,
        )

    @staticmethod
    def decode(frame: bytes) -> "Sealed":
        """Raises Untrusted for anything but exactly one sealed request."""
        told, body = _split(frame, MAX_BODY_BYTES, "request")
        sealed = Sealed(
            id=told.text("id"),
            purpose=told.text("purpose"),
            method=told.text("method", max_length=8),
            url=told.text("url", max_length=MAX_URL),
            headers=_headers(told.value("headers"), "request"),
            held_since=None if told.value("held_since") is None else told.integer("held_since"),
            reviewed=told.boolean("reviewed"),
            body=body,
        )
        told.end()
        return sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a request came to. `code` is a Reason when `ok` is false; then `detail` and `retry_after_s` may say more."""

    ok: bool
    code: str | None = None
    detail: str | None = None
    retry_after_s: int | None = None
    status: int | None = None
    url: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    headers: Headers = ()
    sent_head: bytes = b""
    body: bytes = b""

    def encode(self) -> bytes:
        return _line(
            {
                "schema": 1,
                "ok": self.ok,
                "code": self.code,
                "detail": self.detail,
                "retry_after_s": self.retry_after_s,
                "status": self.status,
                "url": self.url,
                "values": dict(error_values(self.values)),
                "headers": [list(pair) for pair in self.headers],
                "sent_head": base64url(self.sent_head),
                "body_bytes": len(self.body),
            },
            self.body,
        )

    @staticmethod
    def decode(frame: bytes) -> "Reply":
        """Raises Untrusted for anything but exactly one reply: size-capped, and trusted for nothing else."""
        told, body = _split(frame, MAX_REPLY_BYTES, "reply")
        reply = Reply(
            ok=told.boolean("ok"),
            code=_optional_text(told, "code"),
            detail=_optional_text(told, "detail"),
            retry_after_s=None if told.value("retry_after_s") is None else told.integer("retry_after_s"),
            status=None if told.value("status") is None else told.integer("status"),
            url=None if told.value("url") is None else told.text("url", max_length=MAX_URL),
            values=_error_values_of(told),
            headers=_headers(told.value("headers"), "reply"),
            sent_head=unbase64url(told.text("sent_head", max_length=MAX_LINE_BYTES)),
            body=body,
        )
        told.end()
        return reply


def error_values(values: Mapping[str, object]) -> dict[str, str]:
    """Returns the values of an error that may cross from the network's side, masked, of at most 128 characters each.

    The rest was said by another machine and is dropped: only `ERROR_VALUES` have a place in a sentence.
    """
    named = ((name, str(values[name])) for name in ERROR_VALUES if name in values)
    return {name: mask(text)[:MAX_ERROR_VALUE] for name, text in named}


def read_error_values(value: Json, where: str) -> dict[str, str]:
    """Reads what `error_values` returned. Raises Untrusted for anything else."""
    found = value if isinstance(value, dict) else {"": ""}
    texts = {name: text for name, text in found.items() if isinstance(text, str)}
    if texts != found or error_values(texts) != texts:
        raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="values")
    return texts


def _error_values_of(members: Members) -> dict[str, str]:
    """Reads the values of a reply; none of one that an older version kept."""
    return read_error_values(members.value("values"), "reply") if members.has("values") else {}


def seal(
    *,
    request_id: str,
    purpose: str,
    url: str,
    accept: str,
    body: bytes | None = None,
    content_type: str = JOSE,
    held_since: int | None = None,
) -> Sealed:
    """A request of ours: the same few headers always, in this order, and none that tells two servers apart."""
    headers = [
        ("Host", urlsplit(url).netloc),
        ("User-Agent", "opanel-agent"),
        ("Accept", accept),
        ("Accept-Encoding", "identity"),
        ("DNT", "1"),
        ("Sec-GPC", "1"),
        ("Connection", "close"),
    ]
    if body is not None:
        headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    return Sealed(
        id=request_id,
        purpose=purpose,
        method="GET" if body is None else "POST",
        url=url,
        headers=tuple(headers),
        body=body or b"",
        held_since=held_since,
    )


def fixed_get(word: str, mirror: str) -> Sealed:
    """One of the GETs that are the same bytes for every customer. Raises Untrusted for a word that names none."""
    get = FIXED_GETS.get(word)
    if get is None:
        raise Untrusted(Reason.FORMAT_INVALID, "fetch_word")
    return seal(request_id=word, purpose=get.purpose, url=mirror.rstrip("/") + get.path, accept=get.content_type)


def written_by_us(sealed: Sealed) -> bool:
    """Whether it is, header by header, what `seal` makes for its address, so that nothing is said beside the body."""
    form = next((form for path, form in _FORMS.items() if sealed.url.endswith(path)), None)
    if form is None:
        return False
    accept, content_types = form
    return any(_made(sealed, accept, content_type) == sealed for content_type in content_types)


def _made(sealed: Sealed, accept: str, content_type: str | None) -> Sealed:
    """What `seal` makes of the same address and body."""
    made = seal(
        request_id=sealed.id,
        purpose=sealed.purpose,
        url=sealed.url,
        accept=accept,
        body=None if content_type is None else sealed.body,
        content_type=content_type or "",
        held_since=sealed.held_since,
    )
    return replace(made, reviewed=sealed.reviewed)


def head(sealed: Sealed) -> bytes:
    """The request line and header lines, byte for byte as they go over the wire (RFC 9112, as h11 writes them)."""
    parts = urlsplit(sealed.url)
    lines = [f"{sealed.method} {parts.path or '/'} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in sealed.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def said(sealed: Sealed) -> bytes:
    """What the body says, as JSON: the body itself, or the claims of a compact JWS. Raises Untrusted where it is neither."""
    if dict(sealed.headers).get("Content-Type") != JOSE:
        return sealed.body
    segments = sealed.body.split(b".")
    if len(segments) != 3:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_shape", where="body")
    return unbase64url(segments[1].decode("ascii", "replace"))


def fields_of(sealed: Sealed) -> frozenset[str]:
    """The names of what the body says, read from the bytes themselves.

    Raises Untrusted where they cannot be read: what cannot be read cannot be shown to be declared.
    """
    if not sealed.body:
        return frozenset()
    claims = loads(said(sealed), max_bytes=MAX_BODY_BYTES)
    if not isinstance(claims, dict):
        raise Untrusted(Reason.FORMAT_INVALID, "member_type", where="body", name="")
    return frozenset(claims)


def _line(told: Mapping[str, Json], body: bytes) -> bytes:
    return dumps(dict(told)) + b"\n" + body


def _split(frame: bytes, max_body_bytes: int, where: str) -> tuple[Members, bytes]:
    line, newline, body = frame.partition(b"\n")
    if not newline:
        raise Untrusted(Reason.FORMAT_INVALID, "frame_cut", where=where)
    told = Members(loads(line, max_bytes=MAX_LINE_BYTES), where)
    told.constant("schema", 1)
    if told.integer("body_bytes", high=max_body_bytes) != len(body):
        raise Untrusted(Reason.FORMAT_INVALID, "frame_cut", where=where)
    return told, body


def _headers(value: Json, where: str) -> Headers:
    pairs: list[tuple[str, str]] = []
    for pair in value if isinstance(value, list) else [None]:
        match pair:
            case [str(name), str(text)]:
                pairs.append((name, text))
            case _:
                raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="headers")
    return tuple(pairs)


def _optional_text(told: Members, name: str) -> str | None:
    return None if told.value(name) is None else told.text(name)
