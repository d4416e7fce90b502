"""Parses and opens the envelope of every signed document: a compact JWS (RFC 7515 section 7.1) in one admissible form.

Order, each step before the next: size, shape, header (`parse`); then type, key,
signature, claims (`Envelope.open`). Nothing is read for its meaning before its
signature holds.

The header must equal {alg, kid, typ}. This refuses `crit` (RFC 7515 section
4.1.11), `b64` (RFC 7797), and `jwk`, `jku`, `x5c` and every other way for a
document to bring its own key or rules. The only algorithm is EdDSA over Ed25519
(RFC 8037 section 3.1): a verifier that takes its algorithm from the document is
the known weakness of the format (RFC 8725 section 2.1). `typ` is required and
compared, so that a document of one kind cannot stand for another (RFC 8725
section 3.11).

Left out: the JSON serializations (RFC 7515 section 7.2), encryption, and
signing itself, which the authority and the agent's key module do with
`signing_input` and `assemble`.
"""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.values import frozen

ALGORITHM: Final = "EdDSA"
THUMBPRINT: Final = r"[A-Za-z0-9_-]{43}"
_MAX_HEADER_BYTES: Final = 512
# The header as `signing_input` writes it.
_OWN_HEADER: Final = rb'\{"alg":"EdDSA","kid":"([A-Za-z0-9_-]{43})","typ":"([a-z+-]{1,64})"\}'


@unique
class Typ(StrEnum):
    """Names the kinds of document by their media type without `application/` (RFC 7515 section 4.1.9).

    A key of the root signs only the kind that belongs to its role. The status
    list's name is that of its draft (section 5.1); the others are this format's
    own.
    """

    ROOT = "opanel-root+jws"
    DELEGATION = "opanel-delegation+jwt"
    LICENSE = "opanel-license+jwt"
    ACTIVATION = "opanel-activation+jwt"
    STATUS_LIST = "statuslist+jwt"
    RECEIPT = "opanel-receipt+jwt"
    REQUEST = "opanel-request+jwt"
    ADVISORY = "opanel-advisory+jwt"
    RELEASE = "opanel-release+jws"


@frozen
class Envelope:
    """Holds a document whose shape and header are right, and whose signature has not been checked yet.

    `token` is the whole document, `signing_input` the two segments that the
    signature is over (RFC 7515 section 5.2), `payload` and `signature` are
    decoded.
    """

    token: bytes
    typ: str
    kid: str
    signing_input: bytes
    payload: bytes
    signature: bytes

    @property
    def digest(self) -> str:
        """Returns the SHA-256 of the whole document in hex.

        The shape admits one spelling of a document, so equal digests mean equal
        documents and different ones different documents.
        """
        return hashlib.sha256(self.token).hexdigest()

    def signed_by(self, key: PublicKey) -> bool:
        """Tells whether this key's signature over the document holds."""
        return key.verify(self.signature, self.signing_input)

    def open(self, keys: Mapping[str, PublicKey], typ: Typ) -> Members:
        """Returns the claims, once one of the keys has signed them.

        `keys` are those that the parent names for this type, by thumbprint.
        Raises Untrusted: `jws_typ` for another kind of document, `key_unknown`,
        `signature`. The caller takes every claim and calls `end`.
        """
        where = typ.name.lower()
        if self.typ != typ:
            raise Untrusted(Reason.FORMAT_INVALID, "jws_typ", where=where)
        key = keys.get(self.kid)
        if key is None:
            raise Untrusted(Reason.CHAIN_INVALID, "key_unknown", where=where)
        if not self.signed_by(key):
            raise Untrusted(Reason.SIGNATURE_INVALID, "signature", where=where)
        return self.unverified(typ)

    def unverified(self, typ: Typ) -> Members:
        """Returns the claims before any signature was checked.

        For documents that must be asked for their own key: a root, which is
        signed by the keys that it names, and a request of an agent. Whoever
        calls this verifies before he believes.
        """
        # The envelope's own size was capped before.
        claims = Members(loads(self.payload, max_bytes=len(self.payload)), typ.name.lower())
        if typ is not Typ.STATUS_LIST:  # a status list may come from somebody else's publisher
            claims.constant("ver", 1)
        return claims


def parse(token: bytes, *, max_bytes: int) -> Envelope:
    """Returns the envelope of a compact JWS, after its size, shape and header were checked.

    Raises Untrusted: `jws_size` over `max_bytes`, `jws_shape` for anything but
    three segments of base64url, `jws_header` for any other header. No signature
    is looked at.
    """
    if len(token) > max_bytes:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=max_bytes)
    segments = token.split(b".")
    if len(segments) != 3:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_shape")
    try:
        header, payload, signature = map(unbase64url, segments)
    except Untrusted as error:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_shape") from error
    typ, kid = _header(header)
    return Envelope(
        token=token,
        typ=typ,
        kid=kid,
        signing_input=token[: token.rindex(b".")],
        payload=payload,
        signature=signature,
    )


def signing_input(typ: Typ, kid: str, payload: bytes) -> bytes:
    """Returns the bytes that a signer signs (RFC 7515 section 5.1): header and payload, encoded and joined by a dot."""
    header = dumps({"alg": ALGORITHM, "kid": kid, "typ": typ.value})
    return f"{base64url(header)}.{base64url(payload)}".encode("ascii")


def assemble(signed: bytes, signature: bytes) -> bytes:
    """Returns the compact JWS of a signing input and the signature over it."""
    return signed + b"." + base64url(signature).encode("ascii")


def _header(header: bytes) -> tuple[str, str]:
    """Returns `typ` and `kid` of a header that equals `{alg, kid, typ}`."""
    # What follows would give the same; for three documents in a row it took 15
    # µs, this 2 (2026-11-24).
    if own := re.fullmatch(_OWN_HEADER, header):
        kid, typ = own.groups()
        return typ.decode(), kid.decode()
    parsed = loads(header, max_bytes=_MAX_HEADER_BYTES)
    match parsed:
        case {"alg": "EdDSA", "kid": str(kid), "typ": str(typ), **others} if not others and re.fullmatch(
            THUMBPRINT, kid
        ):
            return typ, kid
        case _:
            raise Untrusted(Reason.FORMAT_INVALID, "jws_header")
