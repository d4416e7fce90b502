"""Activations: which machine's key holds which seat of a license, and which request each one answered."""

from typing import Any

from sqlalchemy import select

from opanel_agent.core.documents.status_list import Status
from opanel_authority.books.line_codec import pack, unpack
from opanel_authority.books.rows import ActivationRow, Ended, Rows
from opanel_authority.books.tables import activations as _activations
from opanel_authority.books.tables import answers as _answers


class ActivationRepository(Rows):
    """Rows of `activations` and `answers`."""

    def set_statuses(self, changes: dict[int, int]) -> None:
        """Changes status entries by their global numbers; `StatusRepository` does, in `Books`."""
        raise NotImplementedError

    def add_activation(self, row: ActivationRow) -> None:
        """Adds an activation that holds its seat. Raises IntegrityError where its `jti` is there already."""
        self._connection.execute(
            _activations.insert().values(
                jti=row.jti,
                license=row.license,
                jkt=row.jkt,
                seat=row.seat,
                idx=row.idx,
                iat=row.iat,
                line=pack(row.line),
            )
        )

    def activations(self, license_id: str) -> tuple[ActivationRow, ...]:
        """Returns all there ever were of a license, the oldest first."""
        query = select(_activations).where(_activations.c.license == license_id).order_by(_activations.c.number)
        return tuple(_activation(dict(row)) for row in self._connection.execute(query).mappings())

    def activation(self, jti: str) -> ActivationRow | None:
        """Finds an activation by its jti, ended ones too."""
        row = self._connection.execute(select(_activations).where(_activations.c.jti == jti)).mappings().first()
        return None if row is None else _activation(dict(row))

    def end_activation(self, row: ActivationRow, why: Ended, now: int) -> None:
        """Ends an activation: the seat is free; the list says 3 from the next publication on."""
        changed = _activations.update().where(_activations.c.jti == row.jti).values(ended=why.value, ended_at=now)
        self._connection.execute(changed)
        self.set_statuses({row.idx: Status.SUPERSEDED})

    def answered(self, request_sha256: str) -> str | None:
        """Returns the jti of the activation that this very request was answered with."""
        return self._scalar_text(select(_answers.c.activation).where(_answers.c.request_sha256 == request_sha256))

    def add_answer(self, request_sha256: str, activation: str) -> None:
        """Keeps which activation answered a request (SHA-256 in hex), so that the same request gets the same answer."""
        self._connection.execute(_answers.insert().values(request_sha256=request_sha256, activation=activation))


def _activation(row: dict[str, Any]) -> ActivationRow:
    known = {name: value for name, value in row.items() if name != "number"}
    ended = None if row["ended"] is None else Ended(row["ended"])
    return ActivationRow(**{**known, "line": unpack(row["line"]), "ended": ended})
