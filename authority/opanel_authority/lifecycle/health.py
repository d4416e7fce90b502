"""What needs somebody's attention, and the figures that monitoring draws.

Ready is: the books can be read, the root is good, the keys of the service are there. Health asks more: a reseller's key that
is missing, a status list that nobody signs, a range that fills up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from opanel_agent.core.errors import AgentError
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.tables import activations as _activations
from opanel_authority.books.tables import licenses as _licenses
from opanel_authority.documents import keys
from opanel_authority.documents.delegate import last, warnings_of
from opanel_authority.documents.keys import Role
from opanel_authority.documents.publish import LIFETIME_S
from opanel_authority.messages import sentence

_NEEDED: Final = (Role.ACTIVATION, Role.STATUS, Role.RECEIPT)
_SOON_S: Final = 90 * DAY_S
_STATES: Final = {0: "valid", 1: "revoked", 2: "suspended"}


@dataclass(slots=True, kw_only=True)
class Health:
    """`problems` are sentences; `figures` are counts by name."""

    problems: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)


def ready(authority: Authority) -> list[str]:
    """Returns what keeps the service from answering: empty where nothing does."""
    problems = []
    for role in _NEEDED:
        try:
            authority.key(role)
        except (AgentError, OSError) as error:
            problems.append(f"the {role.value} key cannot be used: {error}")
    try:
        with authority.store.reading() as books:
            books.reserved_entries()
    except AgentError as error:
        problems.append(f"the books cannot be read: {error}")
    return problems


def examine(authority: Authority, *, now: int) -> Health:
    """Examines everything, in time that grows with resellers and not with licenses, but for two counts of an index."""
    found = Health(problems=ready(authority))
    if found.problems:
        return found
    if authority.root.exp < now + _SOON_S:
        found.problems.append("the root expires within 90 days: opanel-authority rotate, or root request")
    found.problems += _in_the_clear((authority.directory / "keys").glob("*.pem"))
    with authority.store.reading() as books:
        _resellers(authority, books, found, now)
        dates = [held.iat for shard in books.shard_numbers() if (held := books.signed_shard(shard)) is not None]
        if any(iat + LIFETIME_S < now + LIFETIME_S // 2 for iat in dates):
            found.problems.append("a status list was not signed for days: is it served or published?")
        if any(iat > now + DAY_S for iat in dates):
            found.problems.append("a status list is dated ahead: see docs/authority.md, The clock")
        found.figures |= _figures(books)
    found.problems += [sentence(each, {}) for each in warnings_of(authority)]
    return found


def _resellers(authority: Authority, books: Books, found: Health, now: int) -> None:
    for row in books.delegations():
        if row.status:
            continue
        may = last(authority, row.text).may
        slots = may.slots.end - may.slots.start
        drawn, entries = books.drawn_share(row.jti)
        if row.directory and not keys.exists(Path(row.directory) / "key.pem"):
            found.problems.append(f"the key of {row.name} is not in {row.directory}: opanel-authority relocate")
        found.problems += _in_the_clear(Path(row.directory).glob("key.pem") if row.directory else ())
        if may.issue_until < now + _SOON_S:
            found.problems.append(f"{row.name} may issue for less than 90 days: opanel-authority reseller")
        if 2 * row.slots_drawn >= slots or 2 * drawn >= entries:
            found.problems.append(f"half of what {row.name} may sell is given out")


def _in_the_clear(files: Iterable[Path]) -> list[str]:
    """Returns key files that are not encrypted although a passphrase is given, or only as an older version did it."""
    if keys.passphrase() is None:
        return []
    return [f"{path} is not encrypted: opanel-authority encrypt-keys" for path in files if not keys.is_encrypted(path)]


def _figures(books: Books) -> dict[str, int]:
    by_status = select(_licenses.c.status, func.count()).group_by(_licenses.c.status)
    counts = {int(row[0]): int(row[1]) for row in books.connection.execute(by_status)}
    seats = select(func.count()).select_from(_activations).where(_activations.c.ended.is_(None))
    return {
        **{f"licenses_{name}": counts.get(status, 0) for status, name in _STATES.items()},
        "activations": int(books.connection.execute(seats).scalar_one()),
        "resellers": len(books.delegations()),
        "status_entries_reserved": books.reserved_entries(),
    }


def metrics(found: Health) -> str:
    """Returns the figures as OpenMetrics text."""
    lines = []
    for name, value in {**found.figures, "problems": len(found.problems)}.items():
        lines += [f"# TYPE opanel_authority_{name} gauge", f"opanel_authority_{name} {value}"]
    return "\n".join([*lines, "# EOF", ""])
