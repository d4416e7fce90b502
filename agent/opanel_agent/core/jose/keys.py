"""Defines Ed25519 public keys (RFC 8032) as JSON web keys (RFC 8037 section 2), named by their thumbprint (RFC 7638).

Keys come out of documents, so those that `cryptography` would take but nobody
may hold are refused here: non-canonical encodings (RFC 8032 section 5.1.3 step
1), which would give one key two names, and points of low order, for which one
signature fits many messages. A published test key is refused too: its secret
half is in the RFC.

Whether a point lies on the curve is not asked: no signature verifies under one
that does not, and the check costs a square root for each key at each load.
"""

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.values import frozen

_P: Final = 2**255 - 19
_Y_OF_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# The y coordinates of the eight points whose order divides 8. Where x = 0 (y =
# 1 and -1, the only points for which the sign bit could make a second encoding)
# the point is among them.
_LOW_ORDER: Final = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})

# RFC 8037 appendix A.2: its private half is printed in the RFC.
_PUBLISHED: Final = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@frozen
class PublicKey:
    """Holds 32 bytes: a canonical encoding, not of low order.

    Make it with `from_raw` or `from_jwk`, which check that.
    """

    raw: bytes

    @staticmethod
    def from_raw(raw: bytes) -> "PublicKey":
        """Returns the key of 32 bytes.

        Raises Untrusted: `key_size`, `key_not_canonical` for a y coordinate of
        p or more, `key_low_order`. A published test key passes here; `from_jwk`
        refuses it.
        """
        if len(raw) != 32:
            raise Untrusted(Reason.FORMAT_INVALID, "key_size")
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        if y >= _P:
            raise Untrusted(Reason.FORMAT_INVALID, "key_not_canonical")
        if y in _LOW_ORDER:
            raise Untrusted(Reason.FORMAT_INVALID, "key_low_order")
        return PublicKey(raw=raw)

    @staticmethod
    def from_jwk(jwk: Members) -> "PublicKey":
        """Returns the key that a document names: exactly the members `kty`, `crv` and `x` (RFC 8037 section 2).

        Raises Untrusted for any other key, and (`key_published`) for the one
        whose secret everybody can read.
        """
        jwk.constant("kty", "OKP")
        jwk.constant("crv", "Ed25519")
        raw = jwk.b64("x", size=32)
        jwk.end()
        key = PublicKey.from_raw(raw)
        if key.is_published_test_key:
            raise Untrusted(Reason.CHAIN_INVALID, "key_published", where=jwk.where)
        return key

    @property
    def is_published_test_key(self) -> bool:
        """Tells whether this is the key of RFC 8037 appendix A.2, with which anybody can sign."""
        return self.raw == _PUBLISHED

    @property
    def kid(self) -> str:
        """Returns the thumbprint (RFC 7638 section 3):

        SHA-256 over the required members in lexicographic order, without white
        space.
        """
        canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{base64url(self.raw)}"}}'
        return base64url(hashlib.sha256(canonical.encode("ascii")).digest())

    def jwk(self) -> dict[str, Json]:
        """Returns the key as a JSON web key (RFC 8037 section 2)."""
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(self.raw)}

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tells whether the signature over these bytes holds (RFC 8032 section 5.1.7).

        Bytes of any length.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


def by_kid(keys: "tuple[PublicKey, ...]") -> dict[str, PublicKey]:
    """Returns the keys by their thumbprints."""
    return {key.kid: key for key in keys}
