"""Reads a license: a signed statement of what one installation may use, until when, and whom its administrator calls.

`sub` is the license key in its canonical form. Whether the license fits the
delegation that it was issued under is `outside`; whether its time has come or
gone is judged by `core.license.verdict`, because an expired license is still a
true one: it says who the customer is and whom he calls.

Left out: features and limits have no meaning here. They are names that the
panel defines, and the agent passes them on.
"""

from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import JTI, StatusRef, read_contact, read_days, read_span, read_status
from opanel_agent.core.documents.delegation import Delegation, limits_within
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.license import license_key
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen

PRODUCT: Final = "opanel"
AUDIENCE: Final = "opanel-agent"


@frozen
class ActivationTerms:
    """Holds what a license asks of its activation.

    `required`: the license counts only together with an activation, which must
    come within `within_days` days of its first acceptance. `min_p` is the least
    number of platform-borne components that a binding must have, `seats` the
    number of servers at one time, at least 1.
    """

    required: bool
    within_days: int
    min_p: int
    seats: int


@frozen
class Reseller:
    """Holds who sold the license, as `status` shows it: a name, and at least one way to reach him."""

    name: str
    email: str | None
    phone: str | None
    url: str | None


@frozen
class License:
    """Holds the claims of a verified license.

    Times in seconds since 1970, spans in days.

    - `jti`, `sub`: the name of this edition, and the license key in its
      canonical form.
    - `iss`: the delegate who signed it; `reseller`: whom the administrator
      calls.
    - `iat`, `nbf`, `exp`: when it was issued, from when and until when it
      holds.
    - `product`, `tier`, `features`, `limits`: what the panel may do, in the
      panel's own words.
    - `grace_days`: how long everything goes on after the end.
    - `stale_days`: after how many days without a status list the license ends.
    - `activation`: what it asks of an activation.
    - `slot`: its number among the licenses of its delegation; `status`: its
      entry in the status list.
    - `digest`: SHA-256 of the license's line in hex, by which a request names
      it.
    """

    jti: str
    sub: str
    iss: str
    iat: int
    nbf: int
    exp: int
    product: str
    features: frozenset[str]
    limits: Mapping[str, int]
    tier: str
    grace_days: int
    stale_days: int
    activation: ActivationTerms
    reseller: Reseller
    slot: int
    status: StatusRef
    digest: str


def read(envelope: Envelope, keys: Mapping[str, PublicKey]) -> License:
    """Returns a license that one of `keys` signed: the only key of the last delegation, by its thumbprint.

    Raises Untrusted as `Envelope.open` and the claims' readers do;
    `license_product` for a license of another product.
    """
    claims = envelope.open(keys, Typ.LICENSE)
    claims.constant("aud", AUDIENCE)
    nbf, exp = read_span(claims)
    license_ = License(
        jti=claims.text("jti", pattern=JTI),
        sub=_key(claims),
        iss=claims.text("iss"),
        iat=claims.integer("iat"),
        nbf=nbf,
        exp=exp,
        product=_product(claims),
        features=claims.texts("features", pattern=NAME),
        limits=claims.integers("limits"),
        tier=claims.text("tier", pattern=NAME),
        grace_days=read_days(claims, "grace_days"),
        stale_days=read_days(claims, "stale_days"),
        activation=_activation(claims.members("activation")),
        reseller=_reseller(claims.members("reseller")),
        slot=claims.integer("slot"),
        status=read_status(claims),
        digest=envelope.digest,
    )
    claims.end()
    return license_


def outside(license_: License, delegation: Delegation, *, entry: int) -> str | None:
    """Returns the name of the first claim that is outside of the delegation, None where the license is within it.

    `entry` is the number of its status entry through all shards. The term
    counts from `nbf` to `exp`, so a delegation bounds how long a license may
    be, and its `issue_until` when it may be signed.
    """
    may = delegation.may
    within = {
        "product": license_.product in may.products,
        "features": license_.features <= may.features,
        "tier": license_.tier in may.tiers,
        "limits": limits_within(license_.limits, may.limits),
        "exp": license_.exp - license_.nbf <= may.max_term_days * DAY_S,
        "grace_days": license_.grace_days <= may.grace_days,
        "stale_days": license_.stale_days <= may.stale_days,
        "iat": license_.iat <= may.issue_until,
        "slot": license_.slot in may.slots,
        "status": entry in may.status_range,
    }
    return next((name for name, holds in within.items() if not holds), None)


def _key(claims: Members) -> str:
    """Returns the license key.

    Raises Untrusted for a spelling that is not the canonical one: equal keys
    must be equal texts.
    """
    sub = claims.text("sub")
    try:
        canonical = license_key.parse(sub)
    except Untrusted as error:
        raise claims.refuse("sub") from error
    if canonical != sub:
        raise claims.refuse("sub")
    return sub


def _product(claims: Members) -> str:
    """Returns the product.

    Raises Untrusted (`product_mismatch`), a code of its own: the document is
    good, and not for here.
    """
    product = claims.text("product")
    if product != PRODUCT:
        raise Untrusted(Reason.PRODUCT_MISMATCH, "license_product", where=claims.where)
    return product


def _activation(members: Members) -> ActivationTerms:
    """Returns what the license asks of an activation."""
    terms = ActivationTerms(
        required=members.boolean("required"),
        within_days=read_days(members, "within_days"),
        min_p=members.integer("min_p"),
        seats=members.integer("seats", low=1),
    )
    members.end()
    return terms


def _reseller(members: Members) -> Reseller:
    """Tells who sold the license."""
    contact = read_contact(members)
    reseller = Reseller(name=members.text("name"), email=contact.email, phone=contact.phone, url=contact.url)
    members.end()
    return reseller
