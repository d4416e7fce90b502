"""Delegations: one row a reseller, one more for each version that was signed for him.

A version is kept for as long as licenses stand under it: what was sold under it lives on as it says.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import func, select

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import NotPermitted
from opanel_authority.books.rows import DelegationRow, Rows
from opanel_authority.books.tables import delegation_versions as _versions
from opanel_authority.books.tables import delegations as _delegations
from opanel_authority.books.tables import editions as _editions
from opanel_authority.books.tables import licenses as _licenses

SLOT: Final = "slot"


class DelegationRepository(Rows):
    """Rows of `delegations` and `delegation_versions`."""

    def add_delegation(self, *, jti: str, name: str, idx: int, directory: str, text: str) -> int:
        """Adds a delegation. Returns the number of its row."""
        values = {"jti": jti, "name": name, "idx": idx, "status": 0, "directory": directory, "version": 0}
        self._connection.execute(_delegations.insert().values(**values, slots_drawn=0))
        number = self._newest_number(_delegations)
        self.add_version(number, jti=jti, text=text)
        return number

    def _newest_number(self, table: Any) -> int:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
        """Returns the number of the row just added: writers take turns, so it is the highest."""
        return int(self._connection.execute(select(func.max(table.c.number))).scalar_one())

    def add_version(self, number: int, *, jti: str, text: str) -> None:
        """Adds another signed delegation for the same reseller, the one that counts from now on."""
        values = {"delegation": number, "jti": jti, "text": text, "replaced_key": 0}
        self._connection.execute(_versions.insert().values(**values))
        self.update_delegation(number, version=self._newest_number(_versions))

    def update_delegation(self, number: int, **values: Any) -> None:
        """Sets columns of `delegations` by their names, for one reseller's number."""
        self._connection.execute(_delegations.update().where(_delegations.c.number == number).values(**values))

    def delegation(
        self, *, name: str | None = None, jti: str | None = None, number: int | None = None
    ) -> DelegationRow | None:
        """Finds a delegation by one of its names; `jti` is any version's."""
        wanted = _delegations.c.number == number
        if name is not None:
            wanted = _delegations.c.name == name
        elif jti is not None:
            wanted = _delegations.c.number.in_(select(_versions.c.delegation).where(_versions.c.jti == jti))
        found = self._delegations(wanted)
        return found[0] if found else None

    def delegations(self) -> tuple[DelegationRow, ...]:
        """Returns every reseller, by name."""
        return self._delegations(_delegations.c.number.is_not(None))

    def _delegations(self, wanted: Any) -> tuple[DelegationRow, ...]:  # noqa: ANN401 - differs between SQLAlchemy 1.4 and 2
        query = select(_delegations, _versions.c.text).where(wanted, _versions.c.number == _delegations.c.version)
        rows = self._connection.execute(query.order_by(_delegations.c.name)).mappings()
        return tuple(DelegationRow(**row) for row in rows)

    def delegation_number(self, jti: str) -> int:
        """Returns the number of the first version's jti, which the owner of a range is called by."""
        query = select(_delegations.c.number).where(_delegations.c.jti == jti)
        return int(self._connection.execute(query).scalar_one())

    def versions(self, number: int | None = None) -> Mapping[int, str]:
        """Returns the text of every version, of one reseller or of all, by its number; the oldest first."""
        query = select(_versions.c.number, _versions.c.text).order_by(_versions.c.number)
        if number is not None:
            query = query.where(_versions.c.delegation == number)
        return {int(row.number): str(row.text) for row in self._connection.execute(query)}

    def replace_version(self, version: int, text: str) -> None:
        """Puts in its place the same delegation under another signature, in every bundle that begins with it."""
        self._connection.execute(_versions.update().where(_versions.c.number == version).values(text=text))

    def mark_stolen(self, number: int) -> None:
        """Marks that the key of every version so far is somebody else's, too: what it signed is to be signed anew."""
        self._connection.execute(_versions.update().where(_versions.c.delegation == number).values(replaced_key=1))

    def draw_slot(self, row: DelegationRow, start: int, end: int, now: int) -> int:
        """Returns the next slot of [start, end).

        After the last, one of a license that was revoked, or that ended long enough ago.

        Raises NotPermitted where every slot is taken.
        """
        name = f"slots-{row.jti}"
        ordinal = max(row.slots_drawn, self._mark(name), self._pending_marks.get(name, 0))
        if start + ordinal < end:
            self.update_delegation(row.number, slots_drawn=ordinal + 1)
            self._pending_marks[name] = ordinal + 1
            return start + ordinal
        freed = self.take_freed(SLOT, str(row.number), start=start, end=end)
        if freed is not None:
            return freed
        given = self._slot_given_back(row.number, Status.REVOKED) or min(
            filter(None, (self._slot_given_back(row.number, each, now) for each in (Status.VALID, Status.SUSPENDED))),
            key=lambda found: int(found.free_at),
            default=None,
        )
        if given is None:
            raise NotPermitted(Reason.NOT_PERMITTED, "slots_full", slots=end - start)
        self._connection.execute(_licenses.update().where(_licenses.c.id == given.id).values(slot=None))
        return int(given.slot)

    def _slot_given_back(self, number: int, status: Status, before: int | None = None) -> Any:  # noqa: ANN401 - as above
        """Returns the license of this status that is free first (by `before`), with its slot.

        A look at the end of an index.
        """
        query = select(_licenses.c.id, _licenses.c.slot, _licenses.c.free_at).where(
            _licenses.c.delegation == number, _licenses.c.status == int(status), _licenses.c.slot.is_not(None)
        )
        if before is not None:
            query = query.where(_licenses.c.free_at <= before)
        return self._connection.execute(query.order_by(_licenses.c.free_at).limit(1)).first()

    def skip_slots(self, row: DelegationRow, slots: int) -> int:
        """Counts, after a restore, half of the slots that are left as given. Returns how many were skipped."""
        skipped = (max(0, slots - row.slots_drawn) + 1) // 2
        self.update_delegation(row.number, slots_drawn=row.slots_drawn + skipped)
        return skipped

    def live_licenses(self, number: int) -> int:
        """Tells how many licenses stand under a reseller whose slot is still theirs and that are not revoked."""
        query = select(func.count()).where(
            _licenses.c.delegation == number, _licenses.c.slot.is_not(None), _licenses.c.status != Status.REVOKED
        )
        return int(self._connection.execute(query).scalar_one())

    def has_editions(self, version: int) -> bool:
        """Tells whether any license was signed under a version, so that the version must be kept."""
        return (
            self._connection.execute(select(_editions.c.number).where(_editions.c.version == version)).first()
            is not None
        )
