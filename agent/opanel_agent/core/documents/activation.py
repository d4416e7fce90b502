"""An activation: the vendor's word that a license and this machine belong together.

Digests of components, never their values; how they are made and matched is
`core.license.binding`. Losing the key that `jkt` names costs one component and
nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.documents.claims import JTI, StatusRef, read_span, read_status
from opanel_agent.core.documents.jws import THUMBPRINT, Envelope, Typ
from opanel_agent.core.documents.keys import PublicKey

DIGEST_BYTES: Final = 16
SALT_BYTES: Final = 16
_MAX_COMPONENTS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """The machine matches iff at least `k` of `components` do, and at least `p` platform-borne ones."""

    salt: bytes
    k: int
    p: int
    components: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """`sub` is the license's; `jkt` the thumbprint of the agent's activation key (RFC 9449 section 6.1)."""

    jti: str
    sub: str
    iss: str
    iat: int
    nbf: int
    exp: int
    bind: Bind
    jkt: str
    seat: int
    status: StatusRef


def read(envelope: Envelope, keys: Mapping[str, PublicKey]) -> Activation:
    """An activation that one of the root's activation `keys` signed."""
    claims = envelope.open(keys, Typ.ACTIVATION)
    confirmation = claims.members("cnf")
    nbf, exp = read_span(claims)
    activation = Activation(
        jti=claims.text("jti", pattern=JTI),
        sub=claims.text("sub"),
        iss=claims.text("iss"),
        iat=claims.integer("iat"),
        nbf=nbf,
        exp=exp,
        bind=_bind(claims.members("bind")),
        jkt=confirmation.text("jkt", pattern=THUMBPRINT),
        seat=claims.integer("seat"),
        status=read_status(claims),
    )
    confirmation.end()
    claims.end()
    return activation


def read_components(said: Members, name: str) -> Mapping[str, bytes]:
    """An object from component types to their digests."""
    inner = said.members(name)
    types = inner.names()
    if len(types) > _MAX_COMPONENTS or not all(NAME.fullmatch(each) for each in types):
        raise said.refuse(name)
    return {each: inner.b64(each, size=DIGEST_BYTES) for each in types}


def _bind(said: Members) -> Bind:
    components = read_components(said, "components")
    # k = 0 would match any machine.
    k = said.integer("k", low=1, high=len(components))
    bind = Bind(salt=said.b64("salt", size=SALT_BYTES), k=k, p=said.integer("p", high=k), components=components)
    said.end()
    return bind
