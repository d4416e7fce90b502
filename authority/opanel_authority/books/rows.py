"""Rows of the books as values, and what every repository of rows has in common."""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection

from opanel_authority.books.draw_marks import DrawMarks
from opanel_authority.books.tables import free_numbers as _free


@unique
class Kind(StrEnum):
    """What is changed: three of them have an entry in the status list."""

    DELEGATION = "delegation"
    LICENSE = "license"
    ACTIVATION = "activation"
    API_KEY = "api_key"
    BOOKS = "books"
    WEBHOOK = "webhook"
    ROOT = "root"
    KEY = "key"
    RELEASE = "release"
    REQUEST = "request"


@unique
class Ended(StrEnum):
    """Why an activation holds no seat any more."""

    RELEASED = "released"  # its own machine asked for it
    MOVED = "moved"  # another machine took the seat
    REPLACED = "replaced"  # the same key activated anew
    SUPERSEDED = "superseded"  # a command of the authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose status entry it is. `id` is the jti that the row is kept under, `delegation` the reseller's number."""

    kind: Kind
    id: str
    idx: int | None
    status: int
    delegation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationRow:
    """A reseller. `text` is the newest version's chain from the vendor on, a line each; `directory` is where his key is."""

    number: int
    jti: str
    name: str
    idx: int
    status: int
    directory: str
    version: int
    slots_drawn: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseRow:
    """A license through all its renewals. `text` is the newest edition's bundle without activation.

    `slot` and `idx` are None where an ended license's were given to another; `networks` are as `requests.networks` keeps
    them. `stale_chain`: the reseller's key was stolen after this edition was signed.
    """

    id: str
    delegation: int
    key_sha256: str
    slot: int | None
    idx: int | None
    status: int
    renews: bool
    order_id: str | None
    created: int
    ends: int
    moves_since: int
    version: int
    stale_chain: bool
    networks: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRow:
    """`ended` is None while it holds its seat."""

    jti: str
    license: str
    jkt: str
    seat: int
    idx: int
    iat: int
    line: str
    ended: Ended | None = None
    ended_at: int | None = None


class Rows:
    """A repository: some rows, inside one transaction."""

    def __init__(self, connection: Connection, marks: DrawMarks | None = None) -> None:
        self._connection = connection
        self._marks = marks
        self._pending_marks: dict[str, int] = {}

    @property
    def connection(self) -> Connection:
        """For other repositories, which keep their rows within the same transaction."""
        return self._connection

    def flush_marks(self) -> None:
        """Write the counts of what this transaction drew: right before it commits. Raises OSError."""
        if self._marks is not None:
            for name, count in self._pending_marks.items():
                self._marks.write(name, count)
        self._pending_marks.clear()

    def _mark(self, name: str) -> int:
        return 0 if self._marks is None else self._marks.read(name)

    def free_number(self, kind: str, owner: str, number: int) -> None:
        """Keep a number of an erased license for the next one."""
        self._connection.execute(_free.insert().values(kind=kind, owner=owner, number=number))

    def take_freed(self, kind: str, owner: str, *, start: int = 0, end: int = 1 << 62) -> int | None:
        """Returns a number that was freed, now somebody's again; None where there is none."""
        mine = (_free.c.kind == kind) & (_free.c.owner == owner)
        number = self._connection.execute(
            select(_free.c.number).where(mine, _free.c.number.between(start, end - 1)).limit(1)
        ).scalar()
        if number is not None:
            self._connection.execute(_free.delete().where(mine, _free.c.number == number))
        return None if number is None else int(number)

    def _scalar_text(self, query: Any) -> str | None:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
        found = self._connection.execute(query).scalar()
        return None if found is None else str(found)
