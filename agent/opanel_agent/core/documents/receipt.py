"""Verifies a receipt: the authority's signed statement that a report or a rights request arrived, and what it owes.

`sub` is the SHA-256 of the body that was received, so a receipt belongs to
bytes that are kept here and to nothing else; it names no server. `due` is when
the answer to a rights request is owed at the latest (KVKK art. 13: thirty
days); for a report, when it is erased there at the latest. What an authority
answers to a rights request is again a receipt of the same `sub`, with `due`
equal to `iat`.

Left out: keeping receipts and pursuing what they owe (`core.consent.rights`).
"""

import hashlib
import hmac
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import NAME
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import JTI, SHA256_HEX, URI
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ, parse
from opanel_agent.core.values import field, frozen

MAX_BYTES: Final = 4 * 1024


@frozen
class Receipt:
    """Holds the claims of a verified receipt. Times in seconds since 1970.

    - `sub`: SHA-256 of the body that arrived, in hex.
    - `kind`: the purpose of a report, or what a rights request asked for.
    - `iat`, `due`: when it arrived, and by when what follows is owed.
    - `answer`: what the authority answers in words of its own (`x`), for a person
      to read: nothing here depends on it.
    """

    jti: str
    iss: str
    iat: int
    sub: str
    kind: str
    due: int
    answer: Json = field(default=None, hash=False)

    def answers(self, body: bytes) -> bool:
        """Tells whether these are the bytes that the receipt was given for, compared in constant time."""
        return hmac.compare_digest(self.sub, hashlib.sha256(body).hexdigest())


def verify(token: bytes, root: Root) -> Receipt:
    """Returns the receipt if a receipt key of the root signed it and its issuer is the root's.

    Raises Untrusted: as `Envelope.open` does, `receipt_iss` for another issuer.
    At most MAX_BYTES.
    """
    claims = parse(token, max_bytes=MAX_BYTES).open(root.keys_of("receipt"), Typ.RECEIPT)
    iat = claims.integer("iat")
    receipt = Receipt(
        jti=claims.text("jti", pattern=JTI),
        iss=claims.text("iss", pattern=URI),
        iat=iat,
        sub=claims.text("sub", pattern=SHA256_HEX),
        kind=claims.text("kind", pattern=NAME),
        due=claims.integer("due", low=iat),
        answer=claims.value("x") if claims.has("x") else None,
    )
    claims.end()
    if receipt.iss != root.sub:
        raise Untrusted(Reason.CHAIN_INVALID, "receipt_iss")
    return receipt
