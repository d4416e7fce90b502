"""What the vendor and the resellers do with what was sold: stop it, let it go on, change it, hand it over.

What each status may become is a table. A revocation can be taken back (the agent waits 72 hours before it acts on one); an
activation that ended stays ended, because its seat may be somebody else's: activating again takes a minute.

Each change is logged with its actor and reason in the transaction that makes it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Ended, Kind, LicenseRow, Subject
from opanel_authority.documents import claims, issue
from opanel_authority.documents.delegate import last, require_valid
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.publish import sign_changes
from opanel_authority.lifecycle import webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.handles import find_license, find_subject
from opanel_authority.requests import networks


@unique
class Change(StrEnum):
    """Changes of a status that a command or the API asks for, by the names that the change log keeps."""

    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    SUPERSEDE = "supersede"


# whose status a change may change, from which to which
CHANGES: Final[Mapping[tuple[Change, Kind], tuple[frozenset[Status], Status]]] = {
    (Change.SUSPEND, Kind.LICENSE): (frozenset({Status.VALID, Status.SUSPENDED}), Status.SUSPENDED),
    (Change.RESUME, Kind.LICENSE): (frozenset({Status.VALID, Status.REVOKED, Status.SUSPENDED}), Status.VALID),
    (Change.REVOKE, Kind.LICENSE): (frozenset({Status.VALID, Status.REVOKED, Status.SUSPENDED}), Status.REVOKED),
    (Change.REVOKE, Kind.DELEGATION): (frozenset({Status.VALID, Status.REVOKED}), Status.REVOKED),
    (Change.RESUME, Kind.DELEGATION): (frozenset({Status.VALID, Status.REVOKED}), Status.VALID),
    (Change.SUPERSEDE, Kind.ACTIVATION): (frozenset({Status.VALID, Status.SUPERSEDED}), Status.SUPERSEDED),
}


def change(authority: Authority, what: Change, handle: str, *, now: int, who: ChangedBy | None = None) -> Subject:
    """Change a status and publish at once. Raises Usage for an unknown handle, NotPermitted where the table has no row."""
    who = who or ChangedBy()
    with authority.writing(now) as books:
        subject = find_subject(books, handle, delegation=who.delegation)
        row = CHANGES.get((what, subject.kind))
        if row is None or subject.status not in row[0] or (who.delegation and subject.kind is Kind.DELEGATION):
            raise NotPermitted(Reason.NOT_PERMITTED, "change_refused", change=what.value, kind=subject.kind.value)
        _apply(authority, books, subject, row[1], now)
        log(books, what.value, subject, who, now)
        sign_changes(authority, books, now=now)
    return Subject(kind=subject.kind, id=subject.id, idx=subject.idx, status=row[1], delegation=subject.delegation)


def _apply(authority: Authority, books: Books, subject: Subject, status: Status, now: int) -> None:
    match subject.kind:
        case Kind.LICENSE:
            _set_license(authority, books, subject, status)
        case Kind.DELEGATION:
            books.update_delegation(subject.delegation, status=int(status))
            books.set_statuses({subject.idx or 0: int(status)})
        case Kind.ACTIVATION:
            row = books.activation(subject.id)
            if row is not None and row.ended is None:
                books.end_activation(row, Ended.SUPERSEDED, now)
        case _:
            raise Usage(Fault.USAGE, "id_unknown", id=subject.id)


def _set_license(authority: Authority, books: Books, subject: Subject, status: Status) -> None:
    row = books.license(subject.id)
    if row is None:
        raise Usage(Fault.USAGE, "license_unknown", id=subject.id)
    if status is Status.VALID and row.status == Status.REVOKED:
        if row.slot is None and not books.take_slot_back(row, _signed_slot(authority, row)):
            raise NotPermitted(Reason.NOT_PERMITTED, "slot_given_away")
        if row.idx is None:
            raise NotPermitted(Reason.NOT_PERMITTED, "entry_given_away")
    books.set_license_status(row, status)


def _signed_slot(authority: Authority, row: LicenseRow) -> int:
    return bundles.verify(row.text.encode("ascii"), authority.root, now=None).license.slot


def lift_move_limit(authority: Authority, handle: str, *, now: int, who: ChangedBy | None = None) -> LicenseRow:
    """Lifts the limit: moves of this license until now do not count toward the limit of three in 30 days."""
    who = who or ChangedBy()
    with authority.writing(now) as books:
        row = find_license(books, handle, delegation=who.delegation)
        books.update_license(row.id, moves_since=now)
        log(books, "lift_move_limit", _subject(row), who, now)
    return row


def set_renewal(
    authority: Authority, handle: str, *, renews: bool, now: int, who: ChangedBy | None = None
) -> LicenseRow:
    """Sets whether the license is renewed by itself when its term ends."""
    who = who or ChangedBy()
    with authority.writing(now) as books:
        row = find_license(books, handle, delegation=who.delegation)
        books.update_license(row.id, renews=int(renews))
        log(books, "renewal_on" if renews else "renewal_off", _subject(row), who, now)
    return row


def set_networks(
    authority: Authority, handle: str, texts: Iterable[str], *, now: int, who: ChangedBy | None = None
) -> LicenseRow:
    """Sets from which networks the license may be exchanged, activated and renewed from now on; none for all.

    Raises Usage.
    """
    who = who or ChangedBy()
    kept = networks.stored(texts)
    with authority.writing(now) as books:
        row = find_license(books, handle, delegation=who.delegation)
        books.update_license(row.id, networks=kept)
        log(books, "set_networks", _subject(row), who, now)
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTerms:
    """What changes after the sale; None stays as it is. `limits` replaces those that it names."""

    tier: str | None = None
    features: tuple[str, ...] | None = None
    limits: Mapping[str, int] | None = None
    seats: int | None = None
    days: int | None = None


def change_terms(
    authority: Authority,
    handle: str,
    terms: NewTerms,
    *,
    now: int,
    who: ChangedBy | None = None,
    deliver: Callable[[Issued], None] | None = None,
) -> Issued:
    """Issues a newer edition with other terms, to the end that was paid for. Machines beyond fewer seats are superseded.

    `deliver` gets it before it counts, as `issue.issue` has it. Raises Untrusted where it would be wider than the
    delegation.
    """
    who = who or ChangedBy()
    with authority.writing(now) as books:
        row = find_license(books, handle, delegation=who.delegation)
        old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
        made = issue.renew(
            authority,
            row.id,
            days=terms.days,
            now=now,
            actor=who.actor,
            changed=_changed_claims(old, terms),
            act="change",
            reason=who.reason,
            deliver=deliver,
        )
        supersede_beyond(books, row.id, old.activation.seats if terms.seats is None else terms.seats, now)
    return made


def _changed_claims(old: License, terms: NewTerms) -> dict[str, Json]:
    changed: dict[str, Json] = {}
    if terms.tier is not None:
        changed["tier"] = terms.tier
    if terms.features is not None:
        changed["features"] = [*sorted(terms.features)]
    if terms.limits is not None:
        changed["limits"] = {**old.limits, **terms.limits}
    if terms.seats is not None:
        same = claims.same_again(old)["activation"]
        changed["activation"] = {**(same if isinstance(same, dict) else {}), "seats": terms.seats}
    return changed


def supersede_beyond(books: Books, license_id: str, seats: int, now: int) -> None:
    """Supersede the activations whose seats a license has no more."""
    for each in books.activations(license_id):
        if each.ended is None and each.seat >= seats:
            books.end_activation(each, Ended.SUPERSEDED, now)


def transfer(
    authority: Authority,
    handle: str,
    reseller: str,
    *,
    now: int,
    who: ChangedBy | None = None,
    deliver: Callable[[Issued], None] | None = None,
) -> Issued:
    """Moves the license under another reseller: another slot and entry of his, the same key, activations and end.

    `deliver` gets it before it counts, as `issue.issue` has it. Raises Usage for an unknown reseller, NotPermitted where
    it is revoked or he is, Untrusted where his delegation is narrower than the license.
    """
    who = who or ChangedBy()
    with authority.writing(now) as books:
        row = find_license(books, handle, delegation=who.delegation)
        target = books.delegation(name=reseller)
        if target is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        require_valid(target)
        if row.status == Status.REVOKED or row.delegation == target.number:
            raise NotPermitted(Reason.NOT_PERMITTED, "transfer_refused", name=reseller)
        old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
        parent = last(authority, target.text)
        slot = books.draw_slot(target, parent.may.slots.start, parent.may.slots.end, now)
        idx = books.draw(target.jti, now)
        if row.idx is not None:
            books.keep_former_entry(row.id, row.idx)
        books.update_license(row.id, delegation=target.number, slot=slot, idx=idx, order_id=None)
        moved = books.license(row.id)
        if moved is None:
            raise Usage(Fault.USAGE, "license_unknown", id=row.id)
        changed: dict[str, Json] = {"iss": parent.sub, "slot": slot}
        text = issue.edition(
            authority, books, moved, target, term_s=max(1, old.exp - now), now=max(now, old.iat + 1), changed=changed
        )
        books.set_license_status(moved, Status(row.status))
        log(books, "transfer", _subject(moved), who, now)
        fresh = bundles.verify(text.encode("ascii"), authority.root, now=None).license
        made = Issued(jti=fresh.jti, key=fresh.sub, text=text)
        if deliver is not None:
            deliver(made)
    return made


def _subject(row: LicenseRow) -> Subject:
    return Subject(kind=Kind.LICENSE, id=row.id, idx=row.idx, status=row.status, delegation=row.delegation)


def log(books: Books, act: str, subject: Subject, who: ChangedBy, now: int) -> None:
    """Writes a row of the change log, and the webhook that tells of it."""
    row = books.license(subject.id) if subject.kind is Kind.LICENSE else None
    if row is not None and act in webhooks.OF_ACTS:
        webhooks.emit(books, webhooks.OF_ACTS[act], row, now=now, detail=who.reason)
    books.log_change(
        at=now,
        actor=who.actor,
        act=act,
        kind=subject.kind,
        subject=subject.id,
        delegation=subject.delegation,
        reason=who.reason,
    )
