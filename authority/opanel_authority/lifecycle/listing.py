"""Lists of licenses, and what is told of one: to people, to billing systems, to files.

A page is found by where the last one ended (RFC 8288 style cursors), in the order of reseller, time of sale and id: the
millionth page costs what the first one does.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final

from sqlalchemy import and_, select, tuple_

from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Untrusted, Usage
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import ActivationRow, LicenseRow
from opanel_authority.books.tables import MAX_NUMBER
from opanel_authority.books.tables import licenses as _licenses
from opanel_authority.requests import networks

MAX_PAGE: Final = 1000
_PREFIX: Final = 8


@unique
class LicenseState(StrEnum):
    """What the authority knows of a license; what a machine makes of it is the agent's."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which licenses; None is any. Times are seconds since the epoch, from inclusive, to exclusive."""

    delegation: int | None = None
    state: LicenseState | None = None
    order_id: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    ends_from: int | None = None
    ends_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`next_cursor` is None on the last page."""

    items: tuple[dict[str, Json], ...]
    next_cursor: str | None


def page(books: Books, wanted: Filter, *, now: int, cursor: str | None = None, limit: int = 100) -> Page:
    """Returns at most `limit` (to 1000) licenses after the cursor. Raises Usage for a cursor that no page gave."""
    names = {row.number: row.name for row in books.delegations()}
    query = _query(wanted, now)
    if cursor is not None:
        query = query.where(_after(cursor, wanted.delegation))
    limit = max(1, min(MAX_PAGE, limit))
    rows = [*books.licenses(query.limit(limit + 1))]
    items = tuple(summary(row, names, now) for row in rows[:limit])
    return Page(items=items, next_cursor=_cursor(rows[limit - 1]) if len(rows) > limit else None)


def everything(books: Books, wanted: Filter, *, now: int) -> Iterator[dict[str, Json]]:
    """Yields page after page, to the end."""
    cursor: str | None = None
    while True:
        found = page(books, wanted, now=now, cursor=cursor, limit=MAX_PAGE)
        yield from found.items
        cursor = found.next_cursor
        if cursor is None:
            return


def summary(row: LicenseRow, names: Mapping[int, str], now: int) -> dict[str, Json]:
    """Returns what a list tells of a license: never its key."""
    claims = claims_of(row)
    activation = claims["activation"]
    return {
        "id": row.id,
        "key_digits": row.key_sha256[:_PREFIX],
        "reseller": names[row.delegation],
        "order_id": row.order_id,
        "state": state(row, now).value,
        "renews": row.renews,
        "created": row.created,
        "ends": row.ends,
        "tier": claims["tier"],
        "features": claims["features"],
        "limits": claims["limits"],
        "seats": activation["seats"],
        "networks": [*networks.shown(row.networks)],
    }


def detail(books: Books, row: LicenseRow, *, now: int) -> dict[str, Json]:
    """Tells the same as `summary`, with what holds its seats and how often it moved."""
    names = {each.number: each.name for each in books.delegations()}
    every = books.activations(row.id)
    return {
        **summary(row, names, now),
        "activations": [_activation(each) for each in every if each.ended is None],
        "ended_activations": sum(each.ended is not None for each in every),
        "edition": str(claims_of(row)["jti"]),
    }


def state(row: LicenseRow, now: int) -> LicenseState:
    """Returns the state; a stop outlives the end: a suspended license that has ended is still suspended."""
    if row.status == Status.REVOKED:
        return LicenseState.REVOKED
    if row.status == Status.SUSPENDED:
        return LicenseState.SUSPENDED
    return LicenseState.ENDED if row.ends <= now else LicenseState.ACTIVE


def claims_of(row: LicenseRow) -> dict[str, Any]:
    """Returns the claims of the newest edition, which was verified before it was stored."""
    claims: dict[str, Any] = json.loads(unbase64url(row.text.split("\n")[-2].split(".")[1]))
    return claims


def _activation(row: ActivationRow) -> dict[str, Json]:
    return {"id": row.jti, "seat": row.seat, "since": row.iat}


def _query(wanted: Filter, now: int) -> Any:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
    table = _licenses.c
    query = select(_licenses).order_by(table.delegation, table.created, table.id)
    for column, equals in ((table.delegation, wanted.delegation), (table.order_id, wanted.order_id)):
        query = query if equals is None else query.where(column == equals)
    for column, start, end in (
        (table.created, wanted.created_from, wanted.created_to),
        (table.ends, wanted.ends_from, wanted.ends_to),
    ):
        query = query if start is None else query.where(column >= start)
        query = query if end is None else query.where(column < end)
    match wanted.state:
        case LicenseState.SUSPENDED | LicenseState.REVOKED as stopped:
            query = query.where(table.status == int(Status[stopped.name]))
        case LicenseState.ENDED:
            query = query.where(table.status == 0, table.ends <= now)
        case LicenseState.ACTIVE:
            query = query.where(table.status == 0, table.ends > now)
        case None:
            pass
    return query


def _cursor(row: LicenseRow) -> str:
    return base64url(f"{row.delegation} {row.created} {row.id}".encode("ascii"))


def _after(cursor: str, delegation: int | None) -> Any:  # noqa: ANN401 - as above
    """Rows behind the cursor's, as a place in the index: "later, or as late and …" would sort all the rest for each page."""
    try:
        of, created, license_id = unbase64url(cursor).decode("ascii").split(" ")
        place = int(of), int(created), license_id
    except (Untrusted, ValueError) as error:
        raise Usage(Fault.USAGE, "cursor") from error
    if not all(0 <= number <= MAX_NUMBER for number in place[:2]):
        raise Usage(Fault.USAGE, "cursor")
    table = _licenses.c
    if delegation is None:
        return tuple_(table.delegation, table.created, table.id) > place
    if place[0] != delegation:
        return table.delegation > place[0]
    return and_(table.created >= place[1], tuple_(table.created, table.id) > place[1:])
