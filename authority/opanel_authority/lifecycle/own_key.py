"""Resellers who keep their key themselves: the service reserves, they sign on their machine, the service stores.

A reservation is an id, a slot and a status entry, drawn at once and good for a day; one that is not used is lost, as numbers
are cheap and giving one twice is not. An order that is sent again has the same reservation. What is stored was verified as
an agent would, against exactly what was reserved. A newer edition of a license needs no reservation: it has the same key,
slot and entry.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.license import license_key
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow, Kind, LicenseRow
from opanel_authority.books.tables import reservations as _reservations
from opanel_authority.documents import claims, issue
from opanel_authority.documents.delegate import last, require_valid
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.changes import supersede_beyond

GOOD_S: Final = DAY_S


def reserve(authority: Authority, row: DelegationRow, *, order_id: str | None, now: int) -> Mapping[str, Json]:
    """Returns what the reseller signs with: shape {id, slot, status, chain, good_until}.

    Raises NotPermitted where all is given, Usage for an order that is a license already.
    """
    with authority.writing(now) as books:
        require_valid(row)
        issue.require_order(order_id)
        books.connection.execute(_reservations.delete().where(_reservations.c.at <= now - GOOD_S))
        reserved = _of_order(books, row, order_id) or _reserve(authority, books, row, order_id, now)
    entry: Json = claims.status(authority, reserved["idx"])
    held = {"id": reserved["jti"], "slot": reserved["slot"], "good_until": reserved["at"] + GOOD_S}
    return {**held, "status": entry, "chain": row.text}


def _of_order(books: Books, row: DelegationRow, order_id: str | None) -> Mapping[str, Any] | None:
    """Returns the reservation that an order has. Raises Usage where it is a license: one order is one sale."""
    if order_id is None:
        return None
    sold = books.license_of_order(row.number, order_id)
    if sold is not None:
        raise Usage(Fault.USAGE, "order_sold", id=sold.id)
    mine = (_reservations.c.delegation == row.number) & (_reservations.c.order_id == order_id)
    found = books.connection.execute(select(_reservations).where(mine)).mappings().first()
    return None if found is None else dict(found)


def _reserve(
    authority: Authority, books: Books, row: DelegationRow, order_id: str | None, now: int
) -> Mapping[str, Any]:
    slots = last(authority, row.text).may.slots
    slot, idx = books.draw_slot(row, slots.start, slots.end, now), books.draw(row.jti, now)
    values = {"jti": secrets.token_hex(16), "delegation": row.number, "slot": slot, "idx": idx, "at": now}
    books.connection.execute(_reservations.insert().values(**values, order_id=order_id))
    return values


def store(authority: Authority, row: DelegationRow, line: str, *, renews: bool, now: int, who: ChangedBy) -> Issued:
    """Keep a license that the reseller signed.

    Raises Untrusted where an agent would refuse it, NotPermitted for what was not reserved.
    """
    with authority.writing(now) as books:
        require_valid(row)
        text = f"{row.text}{line.strip()}\n"
        verified = bundles.verify(text.encode("ascii", "replace"), authority.root, now=now).license
        digest = license_key.digest(verified.sub)
        old = books.license_of_key(digest)
        if old is None:
            act, license_id = "issue", _first(authority, books, row, verified, renews=renews, now=now)
        else:
            act, license_id = "renew", _newer(authority, old, row, verified)
        issue.keep_edition(books, license_id, row.version, text, verified)
        supersede_beyond(books, license_id, verified.activation.seats, now)
        issue.emit_event(books, license_id, act, now)
        books.log_change(
            at=now,
            actor=who.actor,
            act=act,
            kind=Kind.LICENSE,
            subject=license_id,
            delegation=row.number,
            reason=who.reason,
        )
    return Issued(jti=verified.jti, key=verified.sub, text=text)


def _first(authority: Authority, books: Books, row: DelegationRow, made: License, *, renews: bool, now: int) -> str:
    query = select(_reservations).where(_reservations.c.jti == made.jti, _reservations.c.delegation == row.number)
    reserved = books.connection.execute(query).first()
    if reserved is None or reserved.at <= now - GOOD_S:
        raise NotPermitted(Reason.NOT_PERMITTED, "reservation_unknown")
    for name, here, there in (
        ("slot", made.slot, reserved.slot),
        ("status", made.status, claims.status_ref(authority, reserved.idx)),
    ):
        if here != there:
            raise NotPermitted(Reason.NOT_PERMITTED, "reservation_other", name=name)
    books.connection.execute(_reservations.delete().where(_reservations.c.jti == made.jti))
    books.add_license(
        jti=made.jti,
        delegation=row.number,
        key_sha256=license_key.digest(made.sub),
        slot=reserved.slot,
        idx=reserved.idx,
        renews=renews,
        order_id=reserved.order_id,
        now=now,
    )
    return made.jti


def _newer(authority: Authority, row: LicenseRow, reseller: DelegationRow, made: License) -> str:
    old = bundles.verify(row.text.encode("ascii"), authority.root, now=None).license
    same = {
        "iss": row.delegation == reseller.number,
        "slot": made.slot == row.slot,
        "status": made.status == old.status,
        "iat": made.iat > old.iat,
        "jti": made.jti != old.jti,
    }
    wrong = next((name for name, holds in same.items() if not holds), None)
    if row.status == Status.REVOKED:
        raise NotPermitted(Reason.REVOKED, "renew_revoked")
    if wrong is not None:
        raise NotPermitted(Reason.NOT_PERMITTED, "edition_other", name=wrong)
    return row.id
