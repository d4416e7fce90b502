"""What the authority remembers: SQLite in one file of mode 0600, through SQLAlchemy Core.

The tables are in `tables`; the rows of reports, rights and advisories are read and written by `inbox`.

One transaction at a time: each begins with BEGIN IMMEDIATE, so the server and a command cannot draw one seat, slot or
entry twice, nor give two status lists one `iat`. Whatever a method of `Books` read still holds when it writes.

A license is looked up by the SHA-256 of its key. The key itself stands nowhere but in the signed line, whose `sub` it
is. Nothing here says who asked from where: there is no column for an address.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, event, func, select
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage
from opanel_authority.indexes import Pool
from opanel_authority.tables import META_DATA
from opanel_authority.tables import activations as _activations
from opanel_authority.tables import answers as _answers
from opanel_authority.tables import delegations as _delegations
from opanel_authority.tables import editions as _editions
from opanel_authority.tables import entries as _entries
from opanel_authority.tables import facts as _facts
from opanel_authority.tables import licenses as _licenses
from opanel_authority.tables import pools as _pools
from opanel_authority.tables import published as _published

SCHEMA: Final = "2"
VENDOR: Final = "vendor"
VENDOR_POOL: Final = 1 << 16
_BUSY_S: Final = 10


@unique
class Kind(StrEnum):
    """What has an entry in the status list."""

    DELEGATION = "delegation"
    LICENSE = "license"
    ACTIVATION = "activation"


@unique
class Ended(StrEnum):
    """Why an activation holds no seat any more."""

    RELEASED = "released"  # its own machine asked for it
    MOVED = "moved"  # another machine took the seat
    REPLACED = "replaced"  # the same machine activated anew
    SUPERSEDED = "superseded"  # a command of the authority


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose status entry it is. `id` is the jti that the row is kept under."""

    kind: Kind
    id: str
    idx: int
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationRow:
    """`text` is the chain from the vendor on, a line each; `directory` is where the reseller's key is."""

    jti: str
    name: str
    idx: int
    directory: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseRow:
    """A license through all its renewals. `text` is the newest edition's bundle without activation."""

    id: str
    delegation: str
    key_sha256: str
    slot: int
    idx: int
    status: int
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


class Books:
    """The rows, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """For `inbox`, which keeps other rows within the same transaction."""
        return self._connection

    def fact(self, name: str) -> str | None:
        return self._scalar_text(select(_facts.c.value).where(_facts.c.name == name))

    def add_fact(self, name: str, value: str) -> None:
        self._connection.execute(_facts.insert().values(name=name, value=value))

    def remove_fact(self, name: str) -> None:
        self._connection.execute(_facts.delete().where(_facts.c.name == name))

    def new_range(self, owner: str, size: int) -> tuple[int, int]:
        """The next free range [start, end) of status entries, now the owner's."""
        start = self.list_entries()
        self._connection.execute(_pools.insert().values(first=start, end=start + size, owner=owner, drawn=0))
        return start, start + size

    def list_entries(self) -> int:
        """How many entries the status list has: up to the end of the last range."""
        return int(self._connection.execute(select(func.coalesce(func.max(_pools.c.end), 0))).scalar_one())

    def draw(self, owner: str, now: int) -> int:
        """A status entry never drawn before, valid. The vendor's ranges grow; a reseller's stand in his delegation."""
        row = self._connection.execute(
            select(_pools).where(_pools.c.owner == owner, _pools.c.drawn < _pools.c.end - _pools.c.first)
        ).first()
        if row is None and owner != VENDOR:
            raise NotPermitted(Reason.NOT_PERMITTED, "status_range_full")
        if row is None:
            self.new_range(VENDOR, VENDOR_POOL)
            return self.draw(owner, now)
        pool = Pool(key=bytes.fromhex(self.fact("status_order_key") or ""), start=row.first, end=row.end)
        idx = pool.entry(row.drawn)
        self._connection.execute(_pools.update().where(_pools.c.first == row.first).values(drawn=row.drawn + 1))
        self._connection.execute(_entries.insert().values(idx=idx, status=0, changed_at=now))
        return idx

    def set_status(self, idx: int, status: int, now: int) -> None:
        self._connection.execute(_entries.update().where(_entries.c.idx == idx).values(status=status, changed_at=now))

    def not_valid(self) -> dict[int, int]:
        """Every entry whose status is not 0."""
        rows = self._connection.execute(select(_entries.c.idx, _entries.c.status).where(_entries.c.status != 0))
        return {int(row.idx): int(row.status) for row in rows}

    def subject(self, jti: str) -> Subject | None:
        """Whom a `jti` means: a delegation, any edition of a license, an activation."""
        license_id = self._scalar_text(select(_editions.c.license).where(_editions.c.jti == jti))
        for kind, table, column, value in (
            (Kind.DELEGATION, _delegations, _delegations.c.jti, jti),
            (Kind.LICENSE, _licenses, _licenses.c.id, license_id),
            (Kind.ACTIVATION, _activations, _activations.c.jti, jti),
        ):
            query = select(table.c.idx, _entries.c.status).where(column == value, table.c.idx == _entries.c.idx)
            row = self._connection.execute(query).first()
            if row is not None:
                return Subject(kind=kind, id=str(value), idx=int(row.idx), status=int(row.status))
        return None

    def add_delegation(self, row: DelegationRow) -> None:
        self._connection.execute(
            _delegations.insert().values(
                jti=row.jti, name=row.name, idx=row.idx, directory=row.directory, text=row.text
            )
        )

    def delegation(self, *, name: str | None = None, jti: str | None = None) -> DelegationRow | None:
        wanted = _delegations.c.name == name if jti is None else _delegations.c.jti == jti
        row = self._connection.execute(select(_delegations).where(wanted)).mappings().first()
        return None if row is None else DelegationRow(**row)

    def delegations(self) -> tuple[DelegationRow, ...]:
        rows = self._connection.execute(select(_delegations).order_by(_delegations.c.jti)).mappings()
        return tuple(DelegationRow(**row) for row in rows)

    def replace_delegation(self, old: DelegationRow, text: str) -> None:
        """The same delegation under another signature, in every bundle that begins with it as well."""
        self._connection.execute(_delegations.update().where(_delegations.c.jti == old.jti).values(text=text))
        mine = select(_editions.c.number, _editions.c.text).where(
            _editions.c.license == _licenses.c.id, _licenses.c.delegation == old.jti
        )
        for row in self._connection.execute(mine).all():
            whole = text + str(row.text).removeprefix(old.text)
            self._connection.execute(_editions.update().where(_editions.c.number == row.number).values(text=whole))

    def free_slot(self, delegation: str, first: int) -> int:
        """The lowest slot from `first` on that no license holds which is not revoked."""
        query = select(_licenses.c.slot).where(
            _licenses.c.delegation == delegation, _licenses.c.idx == _entries.c.idx, _entries.c.status != 1
        )
        taken = {int(row.slot) for row in self._connection.execute(query)}
        return next(slot for slot in range(first, first + len(taken) + 1) if slot not in taken)

    def slot_given_away(self, license_id: str) -> bool:
        """Whether another license holds the slot of this one, which was revoked meanwhile."""
        mine = select(_licenses.c.delegation, _licenses.c.slot).where(_licenses.c.id == license_id)
        own = self._connection.execute(mine).first()
        if own is None:
            return False
        others = (
            select(_licenses.c.id)
            .where(_licenses.c.delegation == own.delegation, _licenses.c.slot == own.slot, _licenses.c.id != license_id)
            .where(_licenses.c.idx == _entries.c.idx, _entries.c.status != 1)
        )
        return self._connection.execute(others).first() is not None

    def add_license(self, *, jti: str, delegation: str, key_sha256: str, slot: int, idx: int) -> None:
        self._connection.execute(
            _licenses.insert().values(id=jti, delegation=delegation, key_sha256=key_sha256, slot=slot, idx=idx)
        )

    def add_edition(self, *, jti: str, license_id: str, sha256: str, iat: int, text: str) -> None:
        self._connection.execute(
            _editions.insert().values(jti=jti, license=license_id, sha256=sha256, iat=iat, text=text)
        )

    def license_of_key(self, key_sha256: str) -> LicenseRow | None:
        query = (
            select(_licenses, _entries.c.status, _editions.c.text)
            .where(_licenses.c.key_sha256 == key_sha256)
            .where(_licenses.c.idx == _entries.c.idx, _editions.c.license == _licenses.c.id)
            .order_by(_editions.c.number.desc())
        )
        row = self._connection.execute(query).mappings().first()
        return None if row is None else LicenseRow(**row)

    def license(self, license_id: str) -> LicenseRow | None:
        key_sha256 = self._scalar_text(select(_licenses.c.key_sha256).where(_licenses.c.id == license_id))
        return None if key_sha256 is None else self.license_of_key(key_sha256)

    def has_edition(self, license_id: str, sha256: str) -> bool:
        query = select(_editions.c.jti).where(_editions.c.license == license_id, _editions.c.sha256 == sha256)
        return self._connection.execute(query).first() is not None

    def add_activation(self, row: ActivationRow) -> None:
        self._connection.execute(
            _activations.insert().values(
                jti=row.jti,
                license=row.license,
                jkt=row.jkt,
                seat=row.seat,
                idx=row.idx,
                iat=row.iat,
                line=row.line,
            )
        )

    def activations(self, license_id: str) -> tuple[ActivationRow, ...]:
        """All there ever were of a license, the oldest first."""
        query = select(_activations).where(_activations.c.license == license_id).order_by(_activations.c.number)
        return tuple(_activation(dict(row)) for row in self._connection.execute(query).mappings())

    def activation(self, jti: str) -> ActivationRow | None:
        row = self._connection.execute(select(_activations).where(_activations.c.jti == jti)).mappings().first()
        return None if row is None else _activation(dict(row))

    def end_activation(self, row: ActivationRow, why: Ended, now: int) -> None:
        """The seat is free; the list says 3 from the next publication on."""
        changed = _activations.update().where(_activations.c.jti == row.jti).values(ended=why.value, ended_at=now)
        self._connection.execute(changed)
        self.set_status(row.idx, 3, now)

    def answered(self, request_sha256: str) -> str | None:
        """The jti of the activation that this very request was answered with."""
        return self._scalar_text(select(_answers.c.activation).where(_answers.c.request_sha256 == request_sha256))

    def add_answer(self, request_sha256: str, activation: str) -> None:
        self._connection.execute(_answers.insert().values(request_sha256=request_sha256, activation=activation))

    def published(self, name: str) -> tuple[int, str] | None:
        """(iat, token) of what was last signed under this name."""
        row = self._connection.execute(select(_published).where(_published.c.name == name)).first()
        return None if row is None else (int(row.iat), str(row.token))

    def set_published(self, name: str, iat: int, token: str) -> None:
        self._connection.execute(_published.delete().where(_published.c.name == name))
        self._connection.execute(_published.insert().values(name=name, iat=iat, token=token))

    def _scalar_text(self, query: Any) -> str | None:  # noqa: ANN401 - its type's name differs between 1.4 and 2.x
        found = self._connection.execute(query).scalar()
        return None if found is None else str(found)


def _activation(row: dict[str, Any]) -> ActivationRow:
    known = {name: value for name, value in row.items() if name != "number"}
    return ActivationRow(**{**known, "ended": None if row["ended"] is None else Ended(row["ended"])})


class Store:
    """The database file. `create` makes it, `open` takes one that is there."""

    def __init__(self, path: Path, *, busy_s: float = _BUSY_S) -> None:
        """`busy_s` is how long another process is waited for."""
        self._path = path
        self._engine = _engine(path, busy_s)

    @classmethod
    def create(cls, path: Path, *, status_order_key: bytes) -> "Store":
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        store = cls(path)
        with store.transaction() as books:
            META_DATA.create_all(books.connection)
            books.add_fact("schema", SCHEMA)
            books.add_fact("status_order_key", status_order_key.hex())
            books.new_range(VENDOR, VENDOR_POOL)
        return store

    @classmethod
    def open(cls, path: Path) -> "Store":
        if not path.is_file():
            raise Misconfigured(Fault.FILE_REFUSED, "store_missing", path=str(path))
        store = cls(path)
        with store.transaction() as books:
            if books.fact("schema") != SCHEMA:
                raise Misconfigured(Fault.FILE_REFUSED, "store_schema", path=str(path))
        return store

    @contextmanager
    def transaction(self) -> Iterator[Books]:
        """All or nothing. Raises Storage where the database cannot be read or written (locked, full, damaged)."""
        try:
            with self._engine.begin() as connection:
                yield Books(connection)
        except DBAPIError as error:
            raise Storage(Fault.IO_FAILED, "store_failed", path=str(self._path)) from error

    def scrub(self) -> None:
        """Make what was deleted unreadable in every file of the database: call it after the transaction that deleted.

        `secure_delete` has zeroed the cells already; VACUUM writes the file anew without their pages, and then a
        write-ahead log (where an operator chose one) is emptied. Blocks that the file system freed are not ours.
        Raises Storage where another process keeps the database from it for longer than the wait for any lock.
        """
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                cursor.execute(statement)
                told = cursor.fetchone()
                if told is not None and told[0] != 0:  # (busy, …): the log could not be emptied
                    raise Storage(Fault.IO_FAILED, "store_failed", path=str(self._path))
        except sqlite3.Error as error:
            raise Storage(Fault.IO_FAILED, "store_failed", path=str(self._path)) from error
        finally:
            raw.close()


def _engine(path: Path, busy_s: float) -> Engine:
    # NullPool: a connection a transaction, so that none crosses a thread and none outlives its use
    url = URL.create("sqlite", database=str(path))
    engine = create_engine(url, future=True, poolclass=NullPool, connect_args={"timeout": busy_s})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - the DB-API's own object
        connection.isolation_level = None  # sqlite3 must not begin by itself: we do, below
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
