"""Reads an activation: the vendor's signed statement that a license and this machine belong together.

An activation is the third line of a bundle (docs/license-format.md,
"Activation"). It holds salted digests of the machine's components, never their
values; how these are made and matched is `core.license.binding`. It also names
the agent's own key by its thumbprint, so that a request can later be shown to
come from the installation that was activated.

The document proves what the vendor saw, not what the machine is now: matching
is done anew at every evaluation, and losing the agent's key costs one component
and nothing else.

Left out: whether the activation is in force (`core.documents.bundle` compares
it with the license, `core.license.verdict` with the clock).
"""

import re
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.documents.claims import JTI, StatusRef, read_span, read_status
from opanel_agent.core.jose.jws import THUMBPRINT, Envelope, Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.values import frozen

DIGEST_BYTES: Final = 16
SALT_BYTES: Final = 16
_MAX_COMPONENTS: Final = 16


@frozen
class Bind:
    """Holds what a machine is compared with.

    - `salt`: SALT_BYTES bytes, drawn for one activation, so that two
      activations of a machine cannot be linked by their digests.
    - `k`: how many components must match, 1 to the number of components.
    - `p`: how many of those must be borne by the platform and not by a disk, 0
      to k.
    - `components`: by type, DIGEST_BYTES bytes of a salted SHA-256 each.
    """

    salt: bytes
    k: int
    p: int
    components: Mapping[str, bytes]


@frozen
class Activation:
    """Holds the claims of a verified activation.

    Times in seconds since 1970.

    - `sub`: the license key; `iss`: the vendor, who alone signs activations.
    - `iat`, `nbf`, `exp`: when it was issued, from when and until when it
      holds.
    - `bind`: what the machine is compared with.
    - `jkt`: the thumbprint of the agent's activation key (RFC 7638, used as in
      RFC 9449 section 6.1).
    - `seat`: the number of the server among those that the license allows at
      one time.
    - `status`: its entry in the status list.
    """

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
    """Returns an activation that one of the root's activation keys signed.

    `keys` are by thumbprint. Raises Untrusted: for another type, an unknown
    key, a signature that does not hold, or a claim that is missing, unknown or
    out of bounds. Nothing is read for its meaning before the signature holds.
    """
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


def read_components(members: Members, name: str) -> Mapping[str, bytes]:
    """Returns an object from component types to digests, at most 16 of DIGEST_BYTES bytes each.

    Types are names of the format (NAME); a type that this version does not know
    is kept, since it may match on a newer one. Raises Untrusted for anything
    else.
    """
    inner = members.members(name)
    types = inner.names()
    if len(types) > _MAX_COMPONENTS or not all(re.fullmatch(NAME, each) for each in types):
        raise members.refuse(name)
    return {each: inner.b64(each, size=DIGEST_BYTES) for each in types}


def _bind(members: Members) -> Bind:
    """Returns the binding.

    Raises Untrusted for k = 0, which would match any machine, and for p over k,
    which none could match.
    """
    components = read_components(members, "components")
    # k = 0 would match any machine.
    k = members.integer("k", low=1, high=len(components))
    bind = Bind(salt=members.b64("salt", size=SALT_BYTES), k=k, p=members.integer("p", high=k), components=components)
    members.end()
    return bind
