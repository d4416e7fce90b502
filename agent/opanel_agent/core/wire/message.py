"""Defines the two messages between the process that knows the machine and the processes that reach the network.

A *sealed request* is everything that may leave, decided and frozen; a *reply*
is everything that came back. Each is one JSON line and the body behind it. Both
are read with the strict JSON of signed documents, size first, and nothing after
the body is admitted, so that neither side can be made to wait or to guess.

The head that goes over the wire is a function of the sealed request (`head`),
as h11 writes it. That is how a request can be shown before it is sent, and
compared with what a server received.

Left out: the sockets (`network.client`), HTTP (`system.http`), and whether a
request may leave (`core.consent.gate`).
"""

from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from opanel_agent.core.codec import record
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.record import APART, MAY_BE_ABSENT, Octets, Text
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import EVERY_GET, MAX_REPLY_BYTES
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import mask
from opanel_agent.core.values import field, frozen, replace

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
# What is accepted from each address that can be asked, and what may be brought
# there; None for a GET.
_FORMS: Final[Mapping[str, tuple[str, tuple[str | None, ...]]]] = {
    "/v1/activations": (SIGNED, (JOSE,)),
    "/v1/releases": (SIGNED, (JOSE,)),
    "/v1/renewals": (SIGNED, (JOSE,)),
    "/v1/bundles": (SIGNED, (JSON,)),
    "/v1/rights": (SIGNED, (JSON, JOSE)),  # over reports, or over license data
    "/v1/reports/usage_statistics": (JOSE, (JSON,)),
    "/v1/reports/crash_reports": (JOSE, (JSON,)),
    **{get.path: (get.content_type, (None,)) for get in EVERY_GET.values()},
}


@frozen
class Sealed:
    """Holds one request, ready to leave.

    Only method, url, headers and body ever reach the wire.

    - `id`: unique on this server, and `purpose`, as the gate knows it.
    - `headers`: in the order in which they are written.
    - `held_since`: since when a report waits, in seconds since 1970; None for
      what is not held.
    - `reviewed`: somebody has looked at it and released it.
    """

    id: str
    purpose: str
    method: Annotated[str, Text(max_length=8)]
    url: Annotated[str, Text(max_length=MAX_URL)]
    headers: Annotated[Headers, APART]
    body: Annotated[bytes, APART]
    held_since: int | None = None
    reviewed: bool = False

    def encode(self) -> bytes:
        """Returns the frame: one line of JSON, then the body as it is."""
        return _frame(self, self.headers, self.body)

    @staticmethod
    def decode(frame: bytes) -> "Sealed":
        """Returns the request of a frame.

        Raises Untrusted for anything but exactly one sealed request.
        """
        members, headers, body = _split(frame, MAX_BODY_BYTES, "request")
        return record.read(Sealed, members, headers=headers, body=body)


@frozen
class Reply:
    """Holds what a request came to.

    - `ok`: the server took it. Otherwise `code` is a Reason or Fault, `detail`
      the rule or event, `values` what its sentence needs.
    - `retry_after_s`: how long the server asks to be left alone (RFC 9110
      section 10.2.3), in seconds.
    - `status`: the HTTP status, None where there was no response; `url`: what
      was asked.
    - `headers`, `body`: as received; `sent_head`: as it went over the wire.
    """

    ok: bool
    code: str | None = None
    detail: str | None = None
    retry_after_s: int | None = None
    status: int | None = None
    url: Annotated[str | None, Text(max_length=MAX_URL)] = None
    values: Annotated[Mapping[str, str], MAY_BE_ABSENT, Text(max_length=MAX_ERROR_VALUE)] = field(default_factory=dict)
    headers: Annotated[Headers, APART] = ()
    sent_head: Annotated[bytes, Octets(max_length=MAX_LINE_BYTES)] = b""
    body: Annotated[bytes, APART] = b""

    def encode(self) -> bytes:
        """Returns the frame: one line of JSON, then the body as it is."""
        return _frame(replace(self, values=error_values(self.values)), self.headers, self.body)

    @staticmethod
    def decode(frame: bytes) -> "Reply":
        """Returns the reply of a frame: size-capped, and trusted for nothing else.

        Raises Untrusted for anything else.
        """
        members, headers, body = _split(frame, MAX_REPLY_BYTES, "reply")
        reply = record.read(Reply, members, headers=headers, body=body)
        require_error_values(reply.values, "reply")
        return reply


def error_values(values: Mapping[str, object]) -> dict[str, str]:
    """Returns the values of an error that may cross from the network's side:

    ERROR_VALUES, masked, 128 characters each.

    The rest was said by another machine and is dropped, since no sentence has a
    place for it.
    """
    named = ((name, str(values[name])) for name in ERROR_VALUES if name in values)
    return {name: mask(text)[:MAX_ERROR_VALUE] for name, text in named}


def require_error_values(values: Mapping[str, str], where: str) -> None:
    """Raises Untrusted for anything but what `error_values` returned."""
    if error_values(values) != values:
        raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="values")


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
    """Returns a request of ours: the same few headers always, in this order, and none that tells two servers apart.

    No version and no language: `User-Agent` is one word. `DNT` and `Sec-GPC`
    say to whoever is in between that nothing may be made of it. Without a body
    it is a GET.
    """
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
    """Returns one of the GETs that are the same bytes for every customer (of a shard: for all who are in it).

    Raises Untrusted for a word that names none.
    """
    get = EVERY_GET.get(word)
    if get is None:
        raise Untrusted(Reason.FORMAT_INVALID, "fetch_word")
    return seal(request_id=word, purpose=get.purpose, url=mirror.rstrip("/") + get.path, accept=get.content_type)


def written_by_us(sealed: Sealed) -> bool:
    """Tells whether a request is, header by header, what `seal` makes for its address.

    Then nothing is said beside the body, which the catalog has judged.
    """
    form = next((form for path, form in _FORMS.items() if sealed.url.endswith(path)), None)
    if form is None:
        return False
    accept, content_types = form
    return any(_made(sealed, accept, content_type) == sealed for content_type in content_types)


def _made(sealed: Sealed, accept: str, content_type: str | None) -> Sealed:
    """Returns what `seal` makes of the same address and body."""
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
    """Returns the request line and header lines, byte for byte as they go over the wire (RFC 9112 section 3)."""
    parts = urlsplit(sealed.url)
    lines = [f"{sealed.method} {parts.path or '/'} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in sealed.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def body_json(sealed: Sealed) -> bytes:
    """Returns the JSON of a body: the body itself, or the claims of a compact JWS.

    Raises Untrusted where it is neither.
    """
    if dict(sealed.headers).get("Content-Type") != JOSE:
        return sealed.body
    segments = sealed.body.split(b".")
    if len(segments) != 3:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_shape", where="body")
    return unbase64url(segments[1].decode("ascii", "replace"))


def fields_of(sealed: Sealed) -> frozenset[str]:
    """Returns the names of what the body says, read from the bytes themselves; none for a GET.

    Raises Untrusted where they cannot be read: what cannot be read cannot be
    shown to be declared.
    """
    if not sealed.body:
        return frozenset()
    claims = loads(body_json(sealed), max_bytes=MAX_BODY_BYTES)
    if not isinstance(claims, dict):
        raise Untrusted(Reason.FORMAT_INVALID, "member_type", where="body", name="")
    return frozenset(claims)


def _frame(message: Sealed | Reply, headers: Headers, body: bytes) -> bytes:
    """Returns the line of JSON, a newline, and the body, whose length the line has."""
    pairs: list[Json] = [list(pair) for pair in headers]
    return dumps({"schema": 1, **record.to_json(message), "headers": pairs, "body_bytes": len(body)}) + b"\n" + body


def _split(frame: bytes, max_body_bytes: int, where: str) -> tuple[Members, Headers, bytes]:
    """Returns the members that are still to be read, the headers and the body of a frame."""
    line, newline, body = frame.partition(b"\n")
    if not newline:
        raise Untrusted(Reason.FORMAT_INVALID, "frame_cut", where=where)
    members = Members(loads(line, max_bytes=MAX_LINE_BYTES), where)
    members.constant("schema", 1)
    if members.integer("body_bytes", high=max_body_bytes) != len(body):
        raise Untrusted(Reason.FORMAT_INVALID, "frame_cut", where=where)
    return members, _headers(members.value("headers"), where), body


def _headers(value: Json, where: str) -> Headers:
    """Reads pairs of strings of any characters: a header of a foreign server is Latin-1, and is not judged here."""
    pairs: list[tuple[str, str]] = []
    for pair in value if isinstance(value, list) else [None]:
        match pair:
            case [str(name), str(text)]:
                pairs.append((name, text))
            case _:
                raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="headers")
    return tuple(pairs)
