"""Makes and verifies a request of an agent to an authority, signed by a key that the request itself names.

The signature proves only that one party wrote the request and that the reply
belongs to that party's key; the authority decides by the two digests, of the
license key and of the license. The same request gives the same answer, so an
agent keeps it and sends it again rather than making a new one, and a lost reply
costs no seat.

Components are salted digests of machine identifiers, never the identifiers
(docs/license-format.md, "Activation").

Left out: whether a request may leave (`core.consent.gate`), and what an
authority answers.
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.activation import SALT_BYTES, read_components
from opanel_agent.core.documents.claims import JTI, SHA256_HEX
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ, parse
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.values import frozen

ISSUER: Final = "opanel-agent"
MAX_BYTES: Final = 16 * 1024
NONCE_BYTES: Final = 16
MAX_TEXT: Final = 2000


@unique
class RequestKind(StrEnum):
    """Names what is asked for, and with it the path that the request is posted to."""

    ACTIVATION = "activation"
    RELEASE = "release"
    RENEWAL = "renewal"
    RIGHTS = "rights"


@unique
class Right(StrEnum):
    """Names the rights of a data subject as GDPR does: art. 15 access, 17 erase, 21 object, 16 rectify, 18 restrict.

    KVKK art. 11 has each of them in other words.
    """

    ACCESS = "access"
    ERASE = "erase"
    OBJECT = "object"
    RECTIFY = "rectify"
    RESTRICT = "restrict"


@frozen
class RequestClaims:
    """Holds the claims of a request. `iat` in seconds since 1970.

    - `kind`: what is asked for; `jti`: the request's own name.
    - `key_sha256`, `license_sha256`: which license, in hex.
    - `jwk`: the agent's key, which signs the request.
    - `salt`, `components`: salted digests of the machine's components by type.
    - `nonce`: drawn for the request, so that two of one machine differ.
    - `right`, `text`: there where the kind is `rights` and nowhere else; the
      text, at most 2000 characters, may be missing.
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
    """Returns the payload to sign, with `jws.signing_input(Typ.REQUEST, request.jwk.kid, payload)`."""
    claims: dict[str, Json] = {
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
        claims["right"] = request.right.value
    if request.text is not None:
        claims["text"] = request.text
    return dumps(claims)


def verify(token: bytes) -> RequestClaims:
    """Returns the request if the key that it names signed it.

    That key is the one thing that is read before the signature holds. Raises
    Untrusted for anything else, over MAX_BYTES, and for an unknown kind or
    right.
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
    """Returns the right and what was written.

    Raises Untrusted for a right that is none.
    """
    right = claims.text("right")
    if right not in list(Right):
        raise claims.refuse("right")
    return Right(right), claims.text("text", max_length=MAX_TEXT) if claims.has("text") else None
