"""How long license data and the change log are kept, and their erasure.

A license is kept until nobody can hold it as valid (its end, its grace and 90 days) and then for as many days as
`retention` says. It goes with all that is held of it: editions, activations with their digests, requests, networks, order
id. Its slot and entries are free for others: no document that names them can be valid. Rows of the change log and events
that were delivered go by their own age. The day is not finer than `serve` looks.
"""

import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.delegation_repository import SLOT
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.books.tables import activations, answers, changes, deliveries, editions, former_entries, licenses

LICENSE_DAYS: Final = 1095
CHANGE_DAYS: Final = 1095
DELIVERED_DAYS: Final = 30
_LICENSE_FACT: Final = "retain_licenses_days"
_CHANGE_FACT: Final = "retain_changes_days"
_AT_ONCE: Final = 200  # a writing transaction keeps every other writer waiting
_ROWS_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """In days: of a license after nobody can hold it, of a row of the change log."""

    license_days: int
    change_days: int


def kept(books: Books) -> Retention:
    """Returns what was set, or the defaults."""
    license_days, change_days = books.fact(_LICENSE_FACT), books.fact(_CHANGE_FACT)
    return Retention(
        license_days=LICENSE_DAYS if license_days is None else int(license_days),
        change_days=CHANGE_DAYS if change_days is None else int(change_days),
    )


def keep(
    authority: Authority,
    *,
    license_days: int | None,
    change_days: int | None,
    now: int,
    actor: str = "command",
    reason: str | None = None,
) -> Retention:
    """Set what is not None; what holds from now on."""
    with authority.writing(now) as books:
        for name, days in ((_LICENSE_FACT, license_days), (_CHANGE_FACT, change_days)):
            if days is not None:
                books.set_fact(name, str(days))
        held = kept(books)
        terms = f"licenses {held.license_days} days, changes {held.change_days}"
        books.log_change(
            at=now, actor=actor, act="retention", kind=Kind.BOOKS, subject=terms, delegation=None, reason=reason
        )
        return held


def purge(authority: Authority, *, now: int) -> int:
    """Erases what is past its retention. Returns how many licenses and rows."""
    erased = _purge_deliveries(authority, now)
    for some in (_purge_changes, _purge_licenses):
        while count := some(authority, now):
            erased += count
    return erased


def log_purge(authority: Authority, erased: int, *, now: int, actor: str, reason: str | None = None) -> None:
    """Keep in the change log that so many licenses, rows and reports were erased; nothing where none was."""
    if erased:
        with authority.writing(now) as books:
            subject = f"{erased} erased"
            books.log_change(
                at=now, actor=actor, act="purge", kind=Kind.BOOKS, subject=subject, delegation=None, reason=reason
            )


def _purge_licenses(authority: Authority, now: int) -> int:
    with authority.writing(now) as books:
        before = now - kept(books).license_days * DAY_S
        query = select(licenses.c.id, licenses.c.delegation, licenses.c.slot, licenses.c.idx)
        ended = query.where(licenses.c.free_at <= before).order_by(licenses.c.free_at)
        found = books.connection.execute(ended.limit(_AT_ONCE)).all()
        for row in found:
            _erase(books, row.id)
            if row.slot is not None:
                books.free_number(SLOT, str(row.delegation), row.slot)
            if row.idx is not None:
                books.free_entry(row.idx)
        if found:
            ReportRepository(books).owe_scrub()
    return len(found)


def _erase(books: Books, license_id: str) -> None:
    run = books.connection.execute
    mine = select(activations.c.jti).where(activations.c.license == license_id)
    entries = [*run(select(activations.c.idx).where(activations.c.license == license_id)).scalars()]
    entries += run(select(former_entries.c.idx).where(former_entries.c.license == license_id)).scalars()
    run(answers.delete().where(answers.c.activation.in_(mine)))
    for table in (activations, editions, former_entries):
        run(table.delete().where(table.c.license == license_id))
    run(licenses.delete().where(licenses.c.id == license_id))
    for entry in entries:
        books.free_entry(int(entry))


def _purge_changes(authority: Authority, now: int) -> int:
    with authority.writing(now) as books:
        before = now - kept(books).change_days * DAY_S
        old = select(changes.c.number).where(changes.c.at <= before).limit(_ROWS_AT_ONCE)
        count = books.connection.execute(changes.delete().where(changes.c.number.in_(old))).rowcount
        if count:
            ReportRepository(books).owe_scrub()
    return int(count)


def _purge_deliveries(authority: Authority, now: int) -> int:
    """Returns the oldest stand first: the look ends with as many rows as one takes of which none is past its time."""
    erased, after, more = 0, 0, True
    before = now - DELIVERED_DAYS * DAY_S
    ended = select(deliveries.c.number, deliveries.c.body).where(deliveries.c.due.is_(None))
    while more:
        with authority.writing(now) as books:
            next_ones = ended.where(deliveries.c.number > after).order_by(deliveries.c.number).limit(_ROWS_AT_ONCE)
            rows = books.connection.execute(next_ones).all()
            old = [row.number for row in rows if json.loads(row.body)["at"] <= before]
            for number in old:
                books.connection.execute(deliveries.delete().where(deliveries.c.number == number))
            if old:
                ReportRepository(books).owe_scrub()
        erased, after, more = erased + len(old), rows[-1].number if rows else after, bool(old)
    return erased
