"""The repository of the books: every row, inside one transaction of `database.Store`.

Whatever a method read in a writing transaction still holds when it writes. Nothing here says who asked from where: there
is no column for an address. Rows of reports, rights and advisories are in `report_repository`, look-ups in `search`.
"""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import select

from opanel_authority.books.repositories.activation_repository import ActivationRepository
from opanel_authority.books.repositories.delegation_repository import DelegationRepository
from opanel_authority.books.repositories.license_repository import LicenseRepository
from opanel_authority.books.repositories.status_repository import StatusRepository
from opanel_authority.books.rows import Kind, Subject
from opanel_authority.books.tables import changes as _changes
from opanel_authority.books.tables import facts as _facts

_SUBJECT_LENGTH: Final = 64  # an id is shorter; a name or a folder may be longer than PostgreSQL's column


class Books(DelegationRepository, StatusRepository, LicenseRepository, ActivationRepository):
    """The rows, inside one transaction."""

    def fact(self, name: str) -> str | None:
        """Returns the value of a fact (a name of at most 32 characters), or None."""
        return self._scalar_text(select(_facts.c.value).where(_facts.c.name == name))

    def add_fact(self, name: str, value: str) -> None:
        """Adds a fact. Raises IntegrityError where one of this name is there already."""
        self._connection.execute(_facts.insert().values(name=name, value=value))

    def remove_fact(self, name: str) -> None:
        """Deletes a fact, if there is one of this name."""
        self._connection.execute(_facts.delete().where(_facts.c.name == name))

    def set_fact(self, name: str, value: str) -> None:
        """Adds a fact, or replaces its value."""
        if not self._connection.execute(_facts.update().where(_facts.c.name == name).values(value=value)).rowcount:
            self.add_fact(name, value)

    def subject(self, jti: str) -> Subject | None:
        """Tells whom a `jti` means: any version of a delegation, any edition of a license, an activation."""
        license_ = self.license_of_edition(jti)
        if license_ is not None:
            status, delegation = license_.status, license_.delegation
            return Subject(kind=Kind.LICENSE, id=license_.id, idx=license_.idx, status=status, delegation=delegation)
        reseller = self.delegation(jti=jti)
        if reseller is not None:
            idx, status, delegation = reseller.idx, reseller.status, reseller.number
            return Subject(kind=Kind.DELEGATION, id=reseller.jti, idx=idx, status=status, delegation=delegation)
        activation = self.activation(jti)
        if activation is not None:
            held = self.license(activation.license)
            status = 0 if activation.ended is None else 3
            delegation = 0 if held is None else held.delegation
            return Subject(kind=Kind.ACTIVATION, id=jti, idx=activation.idx, status=status, delegation=delegation)
        return None

    # ---- the change log

    def log_change(
        self,
        *,
        at: int,
        actor: str,
        act: str,
        kind: Kind,
        subject: str,
        delegation: int | None,
        reason: str | None = None,
    ) -> None:
        """Logs who did what to whom, when and why: a row that nothing changes or deletes before its time."""
        values = {"at": at, "actor": actor[:128], "act": act, "kind": kind.value, "subject": subject[:_SUBJECT_LENGTH]}
        self._connection.execute(_changes.insert().values(**values, delegation=delegation, reason=reason))

    def changes(
        self, *, subject: str | None = None, delegation: int | None = None, before: int | None = None, limit: int = 100
    ) -> Iterator[dict[str, Any]]:
        """Yields the newest first."""
        query = select(_changes).order_by(_changes.c.number.desc()).limit(limit)
        if subject is not None:
            query = query.where(_changes.c.subject == subject)
        if delegation is not None:
            query = query.where(_changes.c.delegation == delegation)
        if before is not None:
            query = query.where(_changes.c.number < before)
        yield from (dict(row) for row in self._connection.execute(query).mappings())
