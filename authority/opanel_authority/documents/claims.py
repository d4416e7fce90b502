"""Claims of delegations and licenses, from terms; and the terms themselves.

What is not said takes the delegation's own value (features, limits) or the usual one as far as the delegation reaches; what
is said is never trimmed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.controller import Controller
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.license import AUDIENCE, PRODUCT, License
from opanel_agent.core.documents.status_list import shard_uri
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.status_allocation import shard_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationTerms:
    """What a reseller may sell. `days` is how long he may issue; his last license may then run its whole term.

    `slots` counts licenses at a time, `status_entries` those at a time and those that ended less than their safe time ago.
    """

    name: str
    email: str | None = None
    phone: str | None = None
    url: str | None = None
    controller: Controller | None = None
    products: tuple[str, ...] = (PRODUCT,)
    features: tuple[str, ...] = ("backup", "dns", "mail", "migration", "waf")
    tiers: tuple[str, ...] = ("basic", "pro", "enterprise")
    limits: Mapping[str, int] = field(default_factory=dict)
    max_term_days: int = 366
    grace_days: int = 30
    stale_days: int = 3650
    days: int = 1095
    slots: int = 10_000
    depth: int = 0
    status_entries: int = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseTerms:
    """What is sold. None: all of the delegation's features; of tier and days the usual, or the nearest that may be.

    `renews` False: a trial or a prepaid term, which ends when it ends. `order_id` is the reseller's own name for the sale.
    `networks` are the only ones that it may be exchanged, activated and renewed from (`requests.networks`); none for all.
    """

    features: tuple[str, ...] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    tier: str | None = None
    days: int | None = None
    grace_days: int | None = None
    stale_days: int | None = None
    activation: bool = True
    within_days: int = 14
    min_p: int = 0
    seats: int = 1
    renews: bool = True
    order_id: str | None = None
    networks: tuple[str, ...] = ()


def status_ref(authority: Authority, entry: int) -> StatusRef:
    """Returns the entry as an index in the shard that it is in."""
    shard, idx = shard_of(entry)
    return StatusRef(idx=idx, uri=shard_uri(authority.root.status_uri, shard))


def status(authority: Authority, entry: int) -> dict[str, Json]:
    """Returns the claim `status`, of shape: {status_list: {idx, uri}}."""
    ref = status_ref(authority, entry)
    return {"status_list": {"idx": ref.idx, "uri": ref.uri}}


def delegation(
    authority: Authority, terms: DelegationTerms, status_range: tuple[int, int], now: int
) -> dict[str, Json]:
    """Returns all but `jti`, `cnf` and `status`."""
    issue_until = now + terms.days * DAY_S
    return {
        "ver": 1,
        "iss": authority.root.sub,
        "sub": quote(terms.name),  # a StringOrURI (RFC 7519 section 2): names may have spaces and any letters
        "name": terms.name,
        "contact": contact(email=terms.email, phone=terms.phone, url=terms.url),
        **({} if terms.controller is None else {"controller": terms.controller.claim()}),
        "iat": now,
        "nbf": now,
        "exp": issue_until + terms.max_term_days * DAY_S,
        "may": {
            "products": [*sorted(terms.products)],
            "features": [*sorted(terms.features)],
            "tiers": [*sorted(terms.tiers)],
            "limits": dict(terms.limits),
            "max_term_days": terms.max_term_days,
            "grace_days": terms.grace_days,
            "stale_days": terms.stale_days,
            "issue_until": issue_until,
            "slots": [0, terms.slots],
            "depth": terms.depth,
            "status_range": list(status_range),
        },
    }


def terms_of(old: Delegation, *, now: int) -> DelegationTerms:
    """Returns the terms that a delegation was made of; `days` from now on."""
    may = old.may
    return DelegationTerms(
        name=old.name,
        email=old.contact.email,
        phone=old.contact.phone,
        url=old.contact.url,
        controller=old.controller,
        products=tuple(sorted(may.products)),
        features=tuple(sorted(may.features)),
        tiers=tuple(sorted(may.tiers)),
        limits=may.limits,
        max_term_days=may.max_term_days,
        grace_days=may.grace_days,
        stale_days=may.stale_days,
        days=max(0, may.issue_until - now) // DAY_S,
        slots=may.slots.end - may.slots.start,
        depth=may.depth,
        status_entries=may.status_range.end - may.status_range.start,
    )


def license_(parent: Delegation, terms: LicenseTerms, now: int) -> dict[str, Json]:
    """Returns all but `jti`, `sub`, `slot` and `status`."""
    may = parent.may
    features = may.features if terms.features is None else terms.features
    days = min(365, may.max_term_days) if terms.days is None else terms.days
    usual_tier = "pro" if "pro" in may.tiers else min(may.tiers, default="")
    return {
        "ver": 1,
        "iss": parent.sub,
        "aud": AUDIENCE,
        "iat": now,
        "nbf": now,
        "exp": now + days * DAY_S,
        "product": PRODUCT,
        "features": [*sorted(features)],
        "limits": {**may.limits, **terms.limits},
        "tier": usual_tier if terms.tier is None else terms.tier,
        "grace_days": min(14, may.grace_days) if terms.grace_days is None else terms.grace_days,
        "stale_days": min(30, may.stale_days) if terms.stale_days is None else terms.stale_days,
        "activation": {
            "required": terms.activation,
            "within_days": terms.within_days,
            "min_p": terms.min_p,
            "seats": terms.seats,
        },
        "reseller": seller(parent),
    }


def same_again(old: License) -> dict[str, Json]:
    """Returns the claims of a license that a renewal keeps."""
    terms = old.activation
    reseller = old.reseller
    return {
        "ver": 1,
        "iss": old.iss,
        "sub": old.sub,
        "aud": AUDIENCE,
        "product": old.product,
        "features": [*sorted(old.features)],
        "limits": dict(old.limits),
        "tier": old.tier,
        "grace_days": old.grace_days,
        "stale_days": old.stale_days,
        "activation": {
            "required": terms.required,
            "within_days": terms.within_days,
            "min_p": terms.min_p,
            "seats": terms.seats,
        },
        "reseller": {
            "name": reseller.name,
            **contact(email=reseller.email, phone=reseller.phone, url=reseller.url),
        },
        "slot": old.slot,
    }


def seller(parent: Delegation) -> dict[str, Json]:
    """Returns the `reseller` claim: whom the end user calls."""
    parent_contact = parent.contact
    return {
        "name": parent.name,
        **contact(email=parent_contact.email, phone=parent_contact.phone, url=parent_contact.url),
    }


def contact(*, email: str | None, phone: str | None, url: str | None) -> dict[str, Json]:
    """Builds contact claims; a claim that is not given is left out, never null."""
    return {name: text for name, text in (("email", email), ("phone", phone), ("url", url)) if text is not None}
