"""Licenses and their editions.

A license is looked up by the SHA-256 of its key. The key itself stands nowhere but in the signed line, whose `sub` it
is, compressed. The newest edition is the one that is handed out; older ones stay, because their activation requests
name them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select, tuple_

from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.units import DAY_S
from opanel_authority.books.line_codec import pack, unpack
from opanel_authority.books.rows import LicenseRow, Rows
from opanel_authority.books.tables import delegation_versions as _versions
from opanel_authority.books.tables import editions as _editions
from opanel_authority.books.tables import former_entries as _former
from opanel_authority.books.tables import licenses as _licenses

# After `exp` and the grace days, a machine's clock may still be behind: 90 days more, and nobody can hold it as valid.
SAFE_S: Final = 90 * DAY_S
_BATCH: Final = 200
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What is stored of a signed license: its chain's version, its line, when it ends, and when nobody holds it any more."""

    jti: str
    license: str
    version: int
    sha256: str
    line: str
    exp: int
    free_at: int


class LicenseRepository(Rows):
    """Rows of `licenses`, `editions` and `former_entries`."""

    def set_statuses(self, changes: dict[int, int]) -> None:
        """Changes status entries by their global numbers; `StatusRepository` does, in `Books`."""
        raise NotImplementedError

    def add_license(
        self,
        *,
        jti: str,
        delegation: int,
        key_sha256: str,
        slot: int,
        idx: int,
        renews: bool,
        order_id: str | None,
        networks: str | None = None,
        now: int,
    ) -> None:
        """Adds a license without an edition yet: `add_edition` follows in the same transaction."""
        values = {"id": jti, "delegation": delegation, "key_sha256": key_sha256, "slot": slot, "idx": idx}
        more = {"renews": int(renews), "order_id": order_id, "created": now, "status": 0, "networks": networks}
        self._connection.execute(_licenses.insert().values(**values, **more, ends=0, free_at=0, moves_since=0))

    def add_edition(self, edition: Edition) -> None:
        """Adds an edition, the newest from now on."""
        self._connection.execute(
            _editions.insert().values(
                jti=edition.jti,
                license=edition.license,
                version=edition.version,
                sha256=edition.sha256,
                line=pack(edition.line),
            )
        )
        longest = select(_licenses.c.free_at).where(_licenses.c.id == edition.license)
        free_at = max(edition.free_at, int(self._connection.execute(longest).scalar_one()))
        self.update_license(edition.license, ends=edition.exp, free_at=free_at)

    def update_license(self, license_id: str, **values: Any) -> None:
        """Sets columns of `licenses` by their names; status entries do not follow (`set_license_status`)."""
        self._connection.execute(_licenses.update().where(_licenses.c.id == license_id).values(**values))

    def license_of_key(self, key_sha256: str) -> LicenseRow | None:
        """Finds a license by its key's digest (`license_key.digest`: SHA-256 in hex)."""
        return self._license(_licenses.c.key_sha256 == key_sha256)

    def has_key(self, key_sha256: str) -> bool:
        """Tells whether there is a license of a key, without reading it."""
        query = select(_licenses.c.id).where(_licenses.c.key_sha256 == key_sha256)
        return self._connection.execute(query).first() is not None

    def license(self, license_id: str) -> LicenseRow | None:
        """Finds a license by its id, the jti of its first edition."""
        return self._license(_licenses.c.id == license_id)

    def license_of_order(self, delegation: int, order_id: str) -> LicenseRow | None:
        """Finds a license by an order id, which is unique within one reseller only."""
        return self._license((_licenses.c.delegation == delegation) & (_licenses.c.order_id == order_id))

    def license_of_edition(self, jti: str) -> LicenseRow | None:
        """Finds a license by the jti of any of its editions."""
        return self._license(_licenses.c.id.in_(select(_editions.c.license).where(_editions.c.jti == jti)))

    def _license(self, wanted: Any) -> LicenseRow | None:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
        return next(self.licenses(select(_licenses).where(wanted).limit(1)), None)

    def licenses(self, query: Any) -> Iterator[LicenseRow]:  # noqa: ANN401 - as above
        """Yields the rows that a query over `licenses` finds, each with its newest edition's bundle.

        They are all read at once, their editions for some hundred at a time: for many, ask page by page.
        """
        rows = self._connection.execute(query).mappings().all()
        for start in range(0, len(rows), _BATCH):
            several = rows[start : start + _BATCH]
            editions = self._newest_editions([str(row["id"]) for row in several])
            for row in several:
                edition = editions[row["id"]]
                yield LicenseRow(
                    **{name: row[name] for name in _KEPT},
                    renews=bool(row["renews"]),
                    version=int(edition.version),
                    stale_chain=bool(edition.replaced_key),
                    text=f"{edition.text}{unpack(edition.line)}\n",
                )

    def every_license(self, delegation: int, wanted: Any, *, page: int = _PAGE) -> Iterator[LicenseRow]:  # noqa: ANN401 - as above
        """Yields a reseller's licenses for which `wanted` holds, as they were sold; never more than a page is in memory."""
        table = _licenses.c
        query = select(_licenses).where(table.delegation == delegation, wanted).order_by(table.created, table.id)
        found = [*self.licenses(query.limit(page))]
        while found:
            yield from found
            last = found[-1]
            behind = tuple_(table.created, table.id) > (last.created, last.id)
            found = [*self.licenses(query.where(table.created >= last.created, behind).limit(page))]

    def _newest_editions(self, license_ids: Sequence[str]) -> dict[str, Any]:
        """Reads, by license id, line and version of the newest edition, and the chain that it was signed under."""
        newest = select(func.max(_editions.c.number)).where(_editions.c.license.in_(license_ids))
        query = select(
            *(_editions.c.license, _editions.c.line, _editions.c.version, _versions.c.text, _versions.c.replaced_key)
        ).where(_editions.c.number.in_(newest.group_by(_editions.c.license)), _versions.c.number == _editions.c.version)
        return {str(row.license): row for row in self._connection.execute(query)}

    def has_edition(self, license_id: str, sha256: str) -> bool:
        """Tells whether the SHA-256 (hex) of a signed line is that of any edition of the license."""
        query = select(_editions.c.jti).where(_editions.c.license == license_id, _editions.c.sha256 == sha256)
        return self._connection.execute(query).first() is not None

    def set_license_status(self, row: LicenseRow, status: Status) -> None:
        """Sets the status in the row, and in the entry of every edition that may still be about."""
        self.update_license(row.id, status=int(status))
        former = select(_former.c.idx).where(_former.c.license == row.id)
        entries = [int(each.idx) for each in self._connection.execute(former)]
        entries += [] if row.idx is None else [row.idx]
        self.set_statuses(dict.fromkeys(entries, int(status)))

    def keep_former_entry(self, license_id: str, idx: int) -> None:
        """Keeps an entry that older editions name: a change of status changes it, too."""
        self._connection.execute(_former.insert().values(idx=idx, license=license_id))

    def take_slot_back(self, row: LicenseRow, slot: int) -> bool:
        """Takes back the slot that the license was signed with; False where a license that is not revoked has it now."""
        there = (_licenses.c.delegation == row.delegation) & (_licenses.c.slot == slot) & (_licenses.c.id != row.id)
        if (
            self._connection.execute(select(_licenses.c.id).where(there, _licenses.c.status != Status.REVOKED)).first()
            is not None
        ):
            return False
        self._connection.execute(_licenses.update().where(there).values(slot=None))
        self.update_license(row.id, slot=slot)
        return True


_KEPT: Final = (
    *("id", "delegation", "key_sha256", "slot", "idx", "status"),
    *("order_id", "created", "ends", "moves_since", "networks"),
)
