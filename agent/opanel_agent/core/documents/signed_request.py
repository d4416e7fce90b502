"""What an agent asks an authority for, signed by a key of its own that the request itself names.

The signature says only that one party wrote it and that the reply belongs to
that party's key; the authority decides by the two digests. The same request
gives the same answer, so it is kept and sent again rather than made anew.

A request by which a right over license data is used (`rights`) says which, and
what its sender wrote, if anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.activation import SALT_BYTES, read_components
from opanel_agent.core.documents.claims import JTI, SHA256_HEX
from opanel_agent.core.documents.jws import Typ, parse
from opanel_agent.core.documents.keys import PublicKey
from opanel_agent.core.errors import Untrusted

ISSUER: Final = "opanel-agent"
MAX_BYTES: Final = 16 * 1024
NONCE_BYTES: Final = 16
MAX_TEXT: Final = 2000


@unique
class RequestKind(StrEnum):
    ACTIVATION = "activation"
    RELEASE = "release"
    RENEWAL = "renewal"
    RIGHTS = "rights"


@unique
class Right(StrEnum):
    """As GDPR names them."""

    ACCESS = "access"
    ERASE = "erase"
    OBJECT = "object"
    RECTIFY = "rectify"
    RESTRICT = "restrict"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClaims:
    """`key_sha256` and `license_sha256` in hex; `components` are salted digests by type.

    `right` is there where the kind is `rights`, and nowhere else; `text` may
    be.
    """

    kind: RequestKind
    jti: str
    key_sha256: str
    license_sha256: str
    jwk: PublicKey
    salt: bytes
    components: Mapping[str, bytes]
    nonce: bytes
    iat: int
    right: Right | None = None
    text: str | None = None


def claims_json(request: RequestClaims) -> bytes:
    """The payload to sign, with `jws.signing_input(Typ.REQUEST, request.jwk.kid, ...)`."""
    said: dict[str, Json] = {
        "ver": 1,
        "iss": ISSUER,
        "iat": request.iat,
        "jti": request.jti,
        "kind": request.kind.value,
        "key_sha256": request.key_sha256,
        "license_sha256": request.license_sha256,
        "jwk": request.jwk.jwk(),
        "salt": base64url(request.salt),
        "components": {name: base64url(digest) for name, digest in request.components.items()},
        "nonce": base64url(request.nonce),
    }
    if request.right is not None:
        said["right"] = request.right.value
    if request.text is not None:
        said["text"] = request.text
    return dumps(said)


def verify(token: bytes) -> RequestClaims:
    """The request, iff the key that it names signed it.

    That key is the one thing read before the signature holds.
    """
    envelope = parse(token, max_bytes=MAX_BYTES)
    key = PublicKey.from_jwk(envelope.unverified(Typ.REQUEST).members("jwk"))
    claims = envelope.open({key.kid: key}, Typ.REQUEST)
    claims.constant("iss", ISSUER)
    claims.value("jwk")
    kind = claims.text("kind")
    if kind not in list(RequestKind):
        raise Untrusted(Reason.FORMAT_INVALID, "request_kind")
    right, text = _right(claims) if kind == RequestKind.RIGHTS else (None, None)
    request = RequestClaims(
        kind=RequestKind(kind),
        jti=claims.text("jti", pattern=JTI),
        key_sha256=claims.text("key_sha256", pattern=SHA256_HEX),
        license_sha256=claims.text("license_sha256", pattern=SHA256_HEX),
        jwk=key,
        salt=claims.b64("salt", size=SALT_BYTES),
        components=read_components(claims, "components"),
        nonce=claims.b64("nonce", size=NONCE_BYTES),
        iat=claims.integer("iat"),
        right=right,
        text=text,
    )
    claims.end()
    return request


def _right(claims: Members) -> tuple[Right, str | None]:
    right = claims.text("right")
    if right not in list(Right):
        raise claims.refuse("right")
    return Right(right), claims.text("text", max_length=MAX_TEXT) if claims.has("text") else None
