"""Delegations and licenses: what a reseller may sell, and what he sold.

Nothing here judges whether a document is within its parent: the agent's own verifier does, on the very bytes, before
they are stored or handed out. A reseller's mistake surfaces at the reseller, as the sentence that the customer would
have read.

What is not said takes the delegation's own value (features, limits) or the usual one as far as the delegation
reaches; what is said is never trimmed.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import delegation as delegations
from opanel_agent.core.documents import jws
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.license import AUDIENCE, PRODUCT, License
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.license import license_key
from opanel_agent.core.license.renewal import begins_s
from opanel_agent.core.units import DAY_S
from opanel_authority import keys
from opanel_authority.home import Authority
from opanel_authority.keys import PrivateKey, Role
from opanel_authority.store import VENDOR, Books, DelegationRow, LicenseRow

_REVOKED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationTerms:
    """What a reseller may sell. `days` is how long he may issue; his last license may then run its whole term."""

    name: str
    email: str | None = None
    phone: str | None = None
    url: str | None = None
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
    """What is sold. None: all of the delegation's features; of tier and days the usual, or the nearest that may be."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A license for its buyer. `key` goes into the e-mail and is kept nowhere else; `text` is the bundle."""

    jti: str
    key: str
    text: str


def delegate(authority: Authority, terms: DelegationTerms, directory: Path, *, now: int) -> Delegation:
    """A reseller's key and delegation, in `directory` (key.pem 0600, delegation.jws)."""
    keys.make_directory(directory)
    key = PrivateKey.make(Role.RESELLER)
    with authority.store.transaction() as books:
        if books.delegation(name=terms.name) is not None:
            raise Usage(Fault.USAGE, "reseller_exists", name=terms.name)
        if terms.email is None and terms.phone is None and terms.url is None:
            raise Usage(Fault.USAGE, "contact_missing", name=terms.name)
        jti = secrets.token_hex(16)
        idx = books.draw(VENDOR, now)
        status_range = books.new_range(jti, terms.status_entries)
        claims = {**_delegation_claims(authority, terms, status_range, now), "jti": jti}
        claims["cnf"] = {"jwk": dict(key.public.jwk())}
        claims["status"] = _status(authority, idx)
        line = authority.key(Role.ISSUER).sign(Typ.DELEGATION, claims)
        delegation = _try_out(authority, f"{line}\n", key, now)
        keys.save(key, directory / "key.pem")
        keys.write_private(directory / "delegation.jws", f"{line}\n".encode("ascii"))
        books.add_delegation(
            DelegationRow(jti=jti, name=terms.name, idx=idx, directory=str(directory.resolve()), text=f"{line}\n")
        )
    return delegation


def _try_out(authority: Authority, chain: str, key: PrivateKey, now: int) -> Delegation:
    """The delegation, verified by a license under it that is thrown away. One that could issue none is refused."""
    delegation = _last(authority, chain)
    claims = _license_claims(delegation, LicenseTerms(), now)
    claims |= {"jti": secrets.token_hex(16), "sub": _new_license_key(), "slot": delegation.may.slots.start}
    claims["status"] = _status(authority, delegation.may.status_range.start)
    text = f"{chain}{key.sign(Typ.LICENSE, claims)}\n"
    return bundles.verify(text.encode("ascii"), authority.root, now=now).delegations[-1]


def issue(authority: Authority, reseller: str, terms: LicenseTerms, *, now: int) -> Issued:
    """A license under the reseller's delegation. Raises Untrusted where it would be wider than the delegation."""
    key = _new_license_key()
    with authority.store.transaction() as books:
        row = books.delegation(name=reseller)
        if row is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        parent = _last(authority, row.text)
        jti = secrets.token_hex(16)
        slot = books.free_slot(row.jti, parent.may.slots.start)
        idx = books.draw(row.jti, now)
        claims = _license_claims(parent, terms, now)
        claims |= {"jti": jti, "sub": key, "slot": slot, "status": _status(authority, idx)}
        text, verified = _sign(authority, row, claims, now)
        digest = license_key.digest(key)
        books.add_license(jti=jti, delegation=row.jti, key_sha256=digest, slot=slot, idx=idx)
        books.add_edition(jti=jti, license_id=jti, sha256=verified.license.digest, iat=now, text=text)
    return Issued(jti=jti, key=key, text=text)


def renewed(authority: Authority, books: Books, row: LicenseRow, *, now: int) -> str:
    """The newest bundle of a license, renewed first when it is due and may be.

    Due: from when agents ask, 30 % of the term left. May be: neither suspended nor revoked (what is not paid is suspended),
    and the delegation still issues. The reseller's key has to be where `delegate` put it; where he keeps it himself, he
    renews with `renew`.
    """
    reseller = books.delegation(jti=row.delegation)
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    if reseller is None or now < begins_s(old.nbf, old.exp) or row.status != 0 or not _key_file(reseller).exists():
        return row.text
    parent = _last(authority, reseller.text)
    if now > parent.may.issue_until or now <= old.iat:
        return row.text
    return _next_edition(authority, books, row, reseller, term_s=old.exp - old.nbf, now=now)


def renew(authority: Authority, jti: str, *, days: int | None = None, now: int) -> Issued:
    """A newer edition of a license now, due or not, for `days` or as long as the last; agents that ask are given it.

    Raises Usage for an id that is no license's, NotPermitted for a revoked one, Untrusted where it would be wider than the
    delegation.
    """
    with authority.store.transaction() as books:
        subject = books.subject(jti)
        row = None if subject is None else books.license(subject.id)
        reseller = None if row is None else books.delegation(jti=row.delegation)
        if row is None or reseller is None:
            raise Usage(Fault.USAGE, "license_unknown", id=jti)
        if row.status == _REVOKED:
            raise NotPermitted(Reason.REVOKED, "renew_revoked")
        old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
        if now <= old.iat:
            raise NotPermitted(Fault.NOT_YET, "renew_too_soon")
        term_s = old.exp - old.nbf if days is None else days * DAY_S
        text = _next_edition(authority, books, row, reseller, term_s=term_s, now=now)
        fresh = bundles.verify(text.encode("ascii"), authority.root, now=None).license
    return Issued(jti=fresh.jti, key=fresh.sub, text=text)


def _next_edition(
    authority: Authority, books: Books, row: LicenseRow, reseller: DelegationRow, *, term_s: int, now: int
) -> str:
    """Signed, with the same key, slot and status entry: all that an activation rests on."""
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    claims = _same_again(old) | {"jti": secrets.token_hex(16), "iat": now, "nbf": now, "exp": now + term_s}
    claims["status"] = _status(authority, row.idx)
    text, verified = _sign(authority, reseller, claims, now)
    fresh = verified.license
    books.add_edition(jti=fresh.jti, license_id=row.id, sha256=fresh.digest, iat=now, text=text)
    return text


def _sign(authority: Authority, row: DelegationRow, claims: Mapping[str, Json], now: int) -> tuple[str, Bundle]:
    line = keys.load(_key_file(row), Role.RESELLER).sign(Typ.LICENSE, claims)
    text = f"{row.text}{line}\n"
    return text, bundles.verify(text.encode("ascii"), authority.root, now=now)


def _key_file(row: DelegationRow) -> Path:
    return Path(row.directory) / "key.pem"


def _last(authority: Authority, chain: str) -> Delegation:
    """The delegation that the chain ends in; chains are one link long as yet (a reseller cannot delegate here)."""
    envelope = jws.parse(chain.strip().encode("ascii"), max_bytes=bundles.MAX_BYTES)
    return delegations.read(envelope, authority.root.keys_of(Role.ISSUER))


def _new_license_key() -> str:
    while (key := license_key.make(secrets.token_bytes(16))) is None:
        pass  # one draw in seven has a check character that is hard to type
    return key


def _status(authority: Authority, idx: int) -> dict[str, Json]:
    return {"status_list": {"idx": idx, "uri": authority.root.status_uri}}


def _contact(*, email: str | None, phone: str | None, url: str | None) -> dict[str, Json]:
    return {name: text for name, text in (("email", email), ("phone", phone), ("url", url)) if text is not None}


def _delegation_claims(
    authority: Authority, terms: DelegationTerms, status_range: tuple[int, int], now: int
) -> dict[str, Json]:
    issue_until = now + terms.days * DAY_S
    return {
        "ver": 1,
        "iss": authority.root.sub,
        "sub": quote(terms.name),  # a StringOrURI (RFC 7519 section 2): names may have spaces and any letters
        "name": terms.name,
        "contact": _contact(email=terms.email, phone=terms.phone, url=terms.url),
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


def _license_claims(parent: Delegation, terms: LicenseTerms, now: int) -> dict[str, Json]:
    contact, may = parent.contact, parent.may
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
        "reseller": {
            "name": parent.name,
            **_contact(email=contact.email, phone=contact.phone, url=contact.url),
        },
    }


def _same_again(old: License) -> dict[str, Json]:
    """The claims of a license that a renewal keeps."""
    terms = old.activation
    seller = old.reseller
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
            "name": seller.name,
            **_contact(email=seller.email, phone=seller.phone, url=seller.url),
        },
        "slot": old.slot,
    }
