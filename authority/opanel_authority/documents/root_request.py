"""A root that is signed elsewhere: the request that is carried there, the signatures that come back, and the whole root.

The machine of the service makes a request (`requested`) and needs no root key for it. Where a root key is, `described` shows
what the next root says and what the one before it said, and `sign` signs the bytes: it needs the request alone, no books and
no network. Back at the service `assembled` counts the signatures against the old root's threshold and the new one's, as
every agent does. The payload is never serialised again on the way: what was shown is what is signed.

Left out: who may ask for a root. A request proves nothing, so whoever signs compares its digest with the one that he was
given another way.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Untrusted, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Envelope, Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_authority.documents import root_claims
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.documents.root_claims import Claims

MAX_BYTES: Final = 2 * 1024 * 1024
_MAX_ROOT_LINES: Final = 8192
_MAX_LINE: Final = 128 * 1024
_SCHEMA: Final = 1
_KIND: Final = "root"
_IN_TIME: Final = frozenset({"ver", "iat", "exp", "seq"})  # differ in every root


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRequest:
    """`payload` are the bytes to be signed; `roots` all roots before it from the first one on, b"" for the first."""

    payload: bytes
    roots: bytes = b""

    @property
    def digest(self) -> str:
        """SHA-256 of the payload in hex: what the root will have as its digest."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def claims(self) -> Claims:
        """What the root will say."""
        return cast("Claims", loads(self.payload, max_bytes=roots.MAX_BYTES))

    @property
    def before(self) -> Root | None:
        """The root before it; None for the first."""
        return newest(self.roots) if self.roots else None

    @property
    def signers(self) -> Mapping[str, Sequence[PublicKey]]:
        """Whose signatures count: the root keys of the root before it (`old`) and its own (`new`)."""
        own = [
            PublicKey.from_jwk(Members(key, "jwk")) for key in root_claims.keys_by_role(self.claims)[Role.ROOT.value]
        ]
        return {"new": own} if self.before is None else {"old": self.before.keys[Role.ROOT.value], "new": own}

    def encode(self) -> bytes:
        """Returns the file that is carried."""
        request: Json = {
            "schema": _SCHEMA,
            "kind": _KIND,
            "digest": self.digest,
            "payload": base64url(self.payload),
            "roots": [line.decode("ascii") for line in self.roots.splitlines()],
        }
        return dumps(request) + b"\n"


def requested(claims: Claims, before: bytes = b"") -> RootRequest:
    """Returns the request for a root that agents will accept. `before` are all roots so far. Raises Usage or Untrusted."""
    root_claims.require_acceptable(claims)
    return RootRequest(payload=dumps(claims), roots=before)


def decode(data: bytes) -> RootRequest:
    """Reads a request. Raises Usage for any other file, and for a root that no agent would accept after those before it."""
    try:
        read = Members(loads(data.strip(), max_bytes=MAX_BYTES), "request")
        read.constant("schema", _SCHEMA)
        read.constant("kind", _KIND)
        lines = read.as_items(read.value("roots"), "roots", max_items=_MAX_ROOT_LINES)
        text = "".join(read.as_text(line, "roots", max_length=_MAX_LINE) + "\n" for line in lines)
        request = RootRequest(payload=read.b64("payload", size=None), roots=text.encode("ascii", "replace"))
        read.constant("digest", request.digest)
        read.end()
        root_claims.require_acceptable(request.claims)
        before = request.before
        if request.claims["seq"] != (1 if before is None else before.seq + 1):
            raise read.refuse("payload")
    except (Untrusted, KeyError, TypeError, AttributeError) as error:
        why = error.detail if isinstance(error, Untrusted) else "member_type"
        raise Usage(Fault.USAGE, "root_request_unreadable", why=why) from error
    return request


def sign(request: RootRequest, key: PrivateKey) -> str:
    """Returns the root's payload signed by one root key, as one line. Raises Usage for a key that no root names."""
    known = {each.kid for of_root in request.signers.values() for each in of_root}
    if key.public.kid not in known:
        raise Usage(Fault.USAGE, "root_key_unknown", kid=key.public.kid, known=", ".join(sorted(known)))
    return key.sign_payload(Typ.ROOT, request.payload)


def assembled(request: RootRequest, lines: Collection[str]) -> bytes:
    """Returns the whole root: each line whose signature counts, one for each key.

    Raises Usage for a line that is no signature of this very root by a key of it or of the one before it, Misconfigured
    (`root_signatures_missing`) while a threshold is not met.
    """
    found: dict[str, Envelope] = {}
    for line in lines:
        envelope = _signature(request, line)
        found[envelope.kid] = envelope
    old, own = request.before, cast("int", request.claims["threshold"])
    thresholds = {"new": own} if old is None else {"old": old.threshold, "new": own}
    for which, threshold in thresholds.items():
        count = sum(key.kid in found for key in request.signers[which])
        if count < threshold:
            raise Misconfigured(
                Fault.FILE_REFUSED, "root_signatures_missing", found=count, threshold=threshold, which=which
            )
    return b"".join(envelope.token + b"\n" for envelope in found.values())


def newest(text: bytes) -> Root:
    """Returns the last of all roots from the first one on. Raises Untrusted."""
    return roots.walk(roots.first(roots.split(text)[0]), text)


def described(claims: Claims, before: Claims | None) -> dict[str, Json]:
    """Returns what a root says, for a person who signs it, and what of it the root before says otherwise (`changed`)."""
    shown = _shown(claims)
    if before is None:
        return {**shown, "changed": "everything: this is the first root"}
    old = _shown(before)
    changed: list[Json] = [
        {"what": name, "before": _text(old.get(name)), "now": _text(shown.get(name))}
        for name in dict.fromkeys((*old, *shown))
        if name not in _IN_TIME and old.get(name) != shown.get(name)
    ]
    return {**shown, "changed": changed}


def claims_of(root: Root) -> Claims:
    """Returns what a root says, as its own payload has it."""
    line = root.lines.splitlines()[0]
    return cast("Claims", loads(jws.parse(line, max_bytes=roots.MAX_BYTES).payload, max_bytes=roots.MAX_BYTES))


def _signature(request: RootRequest, line: str) -> Envelope:
    known = {key.kid: key for of_root in request.signers.values() for key in of_root}
    try:
        envelope = jws.parse(line.strip().encode("ascii", "replace"), max_bytes=roots.MAX_BYTES)
        if envelope.payload != request.payload:
            raise Usage(Fault.USAGE, "root_signature_other", digest=request.digest)
        envelope.open(known, Typ.ROOT)
    except Untrusted as error:
        raise Usage(Fault.USAGE, "root_signature_refused", why=error.detail) from error
    return envelope


def _shown(claims: Claims) -> dict[str, Json]:
    """Returns a root's claims by name, each short enough for a line."""
    keys, release = root_claims.keys_by_role(claims), cast("Claims", claims["keys"]).get(Role.RELEASE.value)
    places = {f"endpoint {purpose}": each for purpose, each in cast("dict[str, Json]", claims["endpoints"]).items()}
    plain = {name: value for name, value in claims.items() if name not in {"keys", "endpoints", "mirrors"}}
    return {
        **plain,
        **{f"{role} keys": [_thumbprint(key) for key in of_role] for role, of_role in sorted(keys.items())},
        **({"release threshold": release["threshold"]} if isinstance(release, dict) else {}),
        "mirrors": _urls(claims["mirrors"]),
        **{name: _urls(each) for name, each in sorted(places.items())},
    }


def _thumbprint(key: Json) -> str:
    return PublicKey.from_jwk(Members(key, "jwk")).kid


def _urls(places: Json) -> Json:
    return [f"{place['region']}={place['url']}" for place in cast("list[dict[str, str]]", places)]


def _text(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else value if isinstance(value, str) else dumps(value).decode("ascii", "replace")
