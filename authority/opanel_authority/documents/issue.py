"""Licenses: sold, renewed, changed, and given to another reseller.

Nothing here judges whether a license is within its delegation: the agent's own verifier does, on the very bytes, before
they are stored or handed out. A reseller's mistake surfaces at the reseller, as the sentence that the customer would have
read.

An edition is a license at one time. Later ones keep the license key, which is what activations rest on.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import license_key
from opanel_agent.core.license.renewal import begins_s
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.license_repository import SAFE_S, Edition
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow, Kind, LicenseRow
from opanel_authority.documents import claims
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.documents.delegate import key_of, last, new_license_key, require_valid
from opanel_authority.lifecycle import webhooks
from opanel_authority.requests import networks

_ORDER_CHARACTERS: Final = 128
_AHEAD_S: Final = 5  # by so much several changes within seconds may be dated ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A license for its buyer. `key` goes into the e-mail and is kept nowhere else; `text` is the bundle.

    `again`: the order was issued before, and this is it. `warnings` are details of `messages`.
    """

    jti: str
    key: str
    text: str
    again: bool = False
    warnings: tuple[str, ...] = ()


def issue(
    authority: Authority,
    reseller: str,
    terms: LicenseTerms,
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
    deliver: Callable[[Issued], None] | None = None,
) -> Issued:
    """Issues a license under the reseller's delegation; the one there is where the order was issued before.

    `deliver` gets it before it counts: whatever that raises leaves no license behind. Raises Untrusted where it would be
    wider than the delegation, NotPermitted where that is revoked or full, Usage for an unknown reseller.
    """
    with authority.writing(now) as books:
        row = books.delegation(name=reseller)
        if row is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        made = sell_once(authority, books, row, terms, now=now, actor=actor, reason=reason)
        if deliver is not None:
            deliver(made)
    return made


def sell_once(
    authority: Authority,
    books: Books,
    row: DelegationRow,
    terms: LicenseTerms,
    *,
    now: int,
    actor: str,
    reason: str | None = None,
) -> Issued:
    """Sells a new license within a transaction, or the one that this order is already."""
    return of_order(books, row, terms, authority) or _sell(
        authority, books, row, terms, now=now, actor=actor, reason=reason
    )


def _sell(
    authority: Authority,
    books: Books,
    row: DelegationRow,
    terms: LicenseTerms,
    *,
    now: int,
    actor: str,
    reason: str | None,
) -> Issued:
    """Sells a new license, within a transaction."""
    require_valid(row)
    require_order(terms.order_id)
    parent = last(authority, row.text)
    key, jti = new_license_key(), secrets.token_hex(16)
    slots = parent.may.slots
    slot = books.draw_slot(row, slots.start, slots.end, now)
    idx = books.draw(row.jti, now)
    license_claims = claims.license_(parent, terms, now)
    license_claims |= {"jti": jti, "sub": key, "slot": slot, "status": claims.status(authority, idx)}
    text, verified = _sign(authority, row, license_claims, now)
    books.add_license(
        jti=jti,
        delegation=row.number,
        key_sha256=license_key.digest(key),
        slot=slot,
        idx=idx,
        renews=terms.renews,
        order_id=terms.order_id,
        networks=networks.stored(terms.networks),
        now=now,
    )
    keep_edition(books, jti, row.version, text, verified.license)
    books.log_change(
        at=now,
        actor=actor,
        act="issue",
        kind=Kind.LICENSE,
        subject=jti,
        delegation=row.number,
        reason=reason,
    )
    emit_event(books, jti, "issue", now)
    return Issued(jti=jti, key=key, text=text, warnings=warnings_of(books, row, slots.end - slots.start))


def emit_event(books: Books, license_id: str, act: str, now: int) -> None:
    """Have the event of an act of the change log sent to whoever asked for it."""
    row = books.license(license_id)
    if row is not None:
        webhooks.emit(books, webhooks.OF_ACTS[act], row, now=now)


def warnings_of(books: Books, row: DelegationRow, slots: int) -> tuple[str, ...]:
    """Returns what fills up: said once half of it is given out."""
    drawn, entries = books.drawn_share(row.jti)
    return tuple(
        name
        for name, used, size in (("slots_half", row.slots_drawn + 1, slots), ("entries_half", drawn, entries))
        if 2 * used >= size
    )


def of_order(books: Books, row: DelegationRow, terms: LicenseTerms, authority: Authority) -> Issued | None:
    """Returns the license of an order: a billing system that got no reply sends its order again.

    It gets the same license. One order is one sale.
    """
    found = None if terms.order_id is None else books.license_of_order(row.number, terms.order_id)
    if found is None:
        return None
    verified = bundles.verify(found.text.encode("ascii"), authority.root, now=None).license
    return Issued(jti=found.id, key=verified.sub, text=found.text, again=True)


def require_order(order_id: str | None) -> None:
    """Raises Usage for an order id that is not 1 to 128 printable characters."""
    if order_id is not None and not (1 <= len(order_id) <= _ORDER_CHARACTERS and order_id.isprintable()):
        raise Usage(Fault.USAGE, "order_id", most=_ORDER_CHARACTERS)


def renewed(authority: Authority, books: Books, row: LicenseRow, *, now: int) -> str:
    """Returns the newest bundle of a license, renewed first when it is due and may be.

    Due: from when agents ask, 30 % of the term left, or at once where the reseller's key was stolen. May be: neither
    suspended nor revoked (what is not paid is suspended), sold to be renewed, and the delegation still issues. Raises
    Misconfigured where the reseller's key is not where it was put: somebody must see to it.
    """
    reseller = books.delegation(number=row.delegation)
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    if reseller is None or row.status != 0 or reseller.status != 0 or row.idx is None or now <= old.iat:
        return row.text
    if not reseller.directory:  # he keeps his key himself, and stores what he signed
        return row.text
    due = row.renews and now >= begins_s(old.nbf, old.exp)
    if not (due or (row.stale_chain and now < old.exp)) or now > last(authority, reseller.text).may.issue_until:
        return row.text
    term_s = old.exp - old.nbf if due else old.exp - now
    text = edition(authority, books, row, reseller, term_s=term_s, now=now)
    books.log_change(at=now, actor="machine", act="renew", kind=Kind.LICENSE, subject=row.id, delegation=row.delegation)
    emit_event(books, row.id, "renew", now)
    return text


def renewal_hindrance(authority: Authority, books: Books, row: LicenseRow, *, now: int) -> str | None:
    """Returns what keeps a license that is due from being renewed, until the reseller sees to it: a detail.

    None for nothing.
    """
    reseller = books.delegation(number=row.delegation)
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    if reseller is None or not row.renews or now < begins_s(old.nbf, old.exp):
        return None
    if now > last(authority, reseller.text).may.issue_until:
        return "renewal_delegation_ended"
    return None if reseller.directory else "renewal_unsigned"


def renew(
    authority: Authority,
    jti: str,
    *,
    days: int | None = None,
    extend: bool = False,
    now: int,
    actor: str = "command",
    deliver: Callable[[Issued], None] | None = None,
    changed: Mapping[str, Json] | None = None,
    act: str = "renew",
    reason: str | None = None,
) -> Issued:
    """Issues a newer edition of a license now, due or not, for `days` or as long as the last; agents that ask are given it.

    With `extend` what is left of the last term is added: who pays early loses nothing. `changed` are claims that differ from
    the last edition's. Raises Usage for an id that is no license's, NotPermitted for
    a revoked one or a revoked delegation, Untrusted where it would be wider than the delegation.
    """
    with authority.writing(now) as books:
        row = books.license_of_edition(jti) or books.license(jti)
        reseller = None if row is None else books.delegation(number=row.delegation)
        if row is None or reseller is None:
            raise Usage(Fault.USAGE, "license_unknown", id=jti)
        if row.status == Status.REVOKED:
            raise NotPermitted(Reason.REVOKED, "renew_revoked")
        require_valid(reseller)
        if row.slot is None or row.idx is None:
            raise NotPermitted(Reason.NOT_PERMITTED, "slot_given_away")
        old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
        if now < old.iat - _AHEAD_S:
            raise NotPermitted(Fault.NOT_YET, "renew_too_soon")
        now = max(now, old.iat + 1)  # agents take only what is newer
        term_s = _term(old, days, changed, now) + (max(0, old.exp - now) if extend else 0)
        text = edition(authority, books, row, reseller, term_s=term_s, now=now, changed=changed)
        books.log_change(
            at=now, actor=actor, act=act, kind=Kind.LICENSE, subject=row.id, delegation=row.delegation, reason=reason
        )
        emit_event(books, row.id, act, now)
        fresh = bundles.verify(text.encode("ascii"), authority.root, now=None).license
        made = Issued(jti=fresh.jti, key=fresh.sub, text=text)
        if deliver is not None:
            deliver(made)
    return made


def _term(old: License, days: int | None, changed: Mapping[str, Json] | None, now: int) -> int:
    """Returns how long it is good: as long as the last term, or `days`.

    Where only terms change, to the end that was paid for.
    """
    if days is not None:
        return days * DAY_S
    return old.exp - now if changed is not None and now < old.exp else old.exp - old.nbf


def edition(
    authority: Authority,
    books: Books,
    row: LicenseRow,
    reseller: DelegationRow,
    *,
    term_s: int,
    now: int,
    changed: Mapping[str, Json] | None = None,
) -> str:
    """Returns the next edition, signed under the newest delegation, with the same license key."""
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    license_claims = claims.same_again(old) | {
        "jti": secrets.token_hex(16),
        "iat": now,
        "nbf": now,
        "exp": now + term_s,
    }
    license_claims |= {"status": claims.status(authority, row.idx or 0)} | dict(changed or {})
    if reseller.version != row.version:
        license_claims |= {"reseller": claims.seller(last(authority, reseller.text))}
    text, verified = _sign(authority, reseller, license_claims, now)
    keep_edition(books, row.id, reseller.version, text, verified.license)
    return text


def keep_edition(books: Books, license_id: str, version: int, text: str, fresh: License) -> None:
    """Stores a signed license as the newest edition; `version` is the number of the delegation version it stands under.

    Its slot and entry are free after its end, its grace days and 90 days for machines whose clocks are behind.
    """
    books.add_edition(
        Edition(
            jti=fresh.jti,
            license=license_id,
            version=version,
            sha256=fresh.digest,
            line=text.split("\n")[-2],
            exp=fresh.exp,
            free_at=fresh.exp + fresh.grace_days * DAY_S + SAFE_S,
        )
    )


def _sign(authority: Authority, row: DelegationRow, license_claims: Mapping[str, Json], now: int) -> tuple[str, Bundle]:
    line = key_of(row).sign(Typ.LICENSE, license_claims)
    text = f"{row.text}{line}\n"
    return text, bundles.verify(text.encode("ascii"), authority.root, now=now)
