"""The database of the books: SQLite in one file of mode 0600, or PostgreSQL, through SQLAlchemy Core.

Writers take turns: a writing transaction begins with BEGIN IMMEDIATE (SQLite) or a transaction-level advisory lock
(PostgreSQL), so that several processes and hosts cannot draw one seat, slot or entry twice, nor date two status lists the
same. Within a process they wait for each other before they ask the database: so many of them never look like one that is
locked. Readers take no lock: SQLite's write-ahead log and PostgreSQL's snapshots let them read while somebody writes.

`Store.scrub` empties SQLite's write-ahead log after something was deleted; the cells themselves were overwritten by
`secure_delete`. What an SQL server, a file system or a backup keeps of deleted rows is its operator's to limit.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool, QueuePool

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured, Storage, Usage
from opanel_authority.books.draw_marks import DrawMarks
from opanel_authority.books.repository import Books
from opanel_authority.books.status_allocation import VENDOR, VENDOR_POOL
from opanel_authority.books.tables import META_DATA, VERSION

_BUSY_S: Final = 10
_TURN_S: Final = 60.0
# "opanel" in ASCII: the key of the advisory lock that writers of all hosts take turns by
_WRITER_LOCK: Final = 0x6F70616E656C
_READS: Final = "opanel_reads"


class Store:
    """One database. `create` makes its tables, `open` takes one that has them."""

    def __init__(self, url: URL | Path, *, busy_s: float = _BUSY_S, marks: DrawMarks | None = None) -> None:
        """Takes `busy_s`, which is how long another process is waited for.

        `marks` remember what was drawn beside the database.
        """
        self._url = url if isinstance(url, URL) else URL.create("sqlite", database=str(url))
        self._busy_s = busy_s
        self._marks = marks
        self._open = threading.local()
        self._writer = threading.Lock()
        self._use(pooled=False)

    def _use(self, *, pooled: bool) -> None:
        self._engine = _engine(self._url, self._busy_s, pooled=pooled)
        self._reader = self._engine.execution_options(**{_READS: True})

    @classmethod
    def create(cls, url: URL | Path, *, status_order_key: bytes, marks: DrawMarks | None = None) -> "Store":
        """Makes the tables in a new file, or in a PostgreSQL database that has none.

        Raises Misconfigured for one that has.
        """
        if isinstance(url, Path):
            os.close(os.open(url, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        store = cls(url, marks=marks)
        with store.transaction() as books:
            if inspect(books.connection).get_table_names():
                raise Misconfigured(Fault.FILE_REFUSED, "store_not_empty", path=store.shown)
            META_DATA.create_all(books.connection)
            stamp(books.connection)
            books.add_fact("status_order_key", status_order_key.hex())
            books.new_range(VENDOR, VENDOR_POOL)
        return store

    @classmethod
    def open(cls, url: URL | Path, *, marks: DrawMarks | None = None, any_version: bool = False) -> "Store":
        """Raises Misconfigured where there is no database, or (unless `any_version`) one that another version made."""
        if isinstance(url, Path):
            if not url.is_file():
                raise Misconfigured(Fault.FILE_REFUSED, "store_missing", path=str(url))
            _tighten(url)
        store = cls(url, marks=marks)
        try:
            with store.reading() as books:
                version = books.connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except Storage as error:
            if not isinstance(error.__cause__, DBAPIError) or "alembic_version" not in str(error.__cause__):
                raise
            raise Misconfigured(Fault.FILE_REFUSED, "store_schema", path=store.shown) from error
        if version != VERSION and not any_version:
            raise Misconfigured(Fault.FILE_REFUSED, "store_schema", path=store.shown)
        return store

    @property
    def shown(self) -> str:
        """Where it is, without a password."""
        return str(self._url.database) if self.is_sqlite else self._url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Tells SQLite from PostgreSQL: it has a write-ahead log to scrub, and no sequences."""
        return self._url.get_backend_name() == "sqlite"

    @property
    def engine(self) -> Engine:
        """For migrations and copies of whole tables."""
        return self._engine

    @contextmanager
    def pooled(self) -> Iterator[None]:
        """Keep connections open between transactions, for the time of the block: what `serve` does."""
        self._use(pooled=True)
        try:
            yield
        finally:
            self._engine.dispose()
            self._use(pooled=False)

    @contextmanager
    def transaction(self) -> Iterator[Books]:
        """Opens a writing transaction, all or nothing, after every other writer's.

        One that is begun within it by the same thread, to write or to read, is a part of it. Raises Storage where the
        database cannot be read or written (locked, full, damaged, unreachable).
        """
        outer: Books | None = getattr(self._open, "books", None)
        if outer is not None:
            yield outer
            return
        with self._turn(), self._begun(self._engine) as books:
            self._open.books = books
            try:
                yield books
            finally:
                self._open.books = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for this process's other writers: SQLite lets each try again, and one of many is out of luck for too long."""
        if not self._writer.acquire(timeout=_TURN_S):
            raise Storage(Fault.IO_FAILED, "store_failed", path=self.shown)
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def reading(self) -> Iterator[Books]:
        """Opens one consistent view of the books, which waits for no writer. Raises Storage as `transaction` does."""
        outer: Books | None = getattr(self._open, "books", None)
        if outer is not None:
            yield outer
            return
        with self._begun(self._reader) as books:
            yield books

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Books]:
        try:
            with engine.begin() as connection:
                books = Books(connection, self._marks)
                yield books
                _flush(books)
        except (DBAPIError, PoolTimeout) as error:
            raise Storage(Fault.IO_FAILED, "store_failed", path=self.shown) from error

    def scrub(self) -> None:
        """Take what was deleted out of SQLite's write-ahead log: call it after the transaction that deleted.

        Raises Storage where a reader or another process keeps the log from it for longer than the wait for any lock.
        """
        if not self.is_sqlite:
            return
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            checkpoint = cursor.fetchone()  # (busy, pages in the log, pages copied)
            cursor.close()
            if checkpoint is None or checkpoint[0]:
                raise Storage(Fault.IO_FAILED, "store_failed", path=self.shown)
        except sqlite3.Error as error:
            raise Storage(Fault.IO_FAILED, "store_failed", path=self.shown) from error
        finally:
            raw.close()


def _flush(books: Books) -> None:
    try:
        books.flush_marks()
    except OSError as error:
        path = str(error.filename or "drawn")
        raise Storage(Fault.IO_FAILED, "io_failed", path=path, why=str(error.strerror)) from error


def stamp(connection: Connection) -> None:
    """Say which version the tables have, as Alembic does; `upgrade` and its tests use Alembic itself."""
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": VERSION})


def parsed_url(named: str) -> URL:
    """Returns a PostgreSQL URL. Raises Usage for any other, and where its driver is not installed."""
    try:
        url = make_url(named)
        if url.get_backend_name() != "postgresql":
            raise Usage(Fault.USAGE, "database_url", why="only postgresql URLs")
        create_engine(url, poolclass=NullPool).dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise Usage(Fault.USAGE, "database_url", why=type(error).__name__) from error
    return url


def _tighten(path: Path) -> None:
    """Sets mode 0600 for the books and what SQLite lays beside them.

    A copy or a backup tool may have opened them to others.
    """
    for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if each.exists() and each.stat().st_mode & 0o077 and each.stat().st_uid == os.geteuid():
            each.chmod(0o600)


def _engine(url: URL, busy_s: float, *, pooled: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, busy_s, pooled=pooled)
    engine = create_engine(url, future=True, **({"pool_pre_ping": True} if pooled else {"poolclass": NullPool}))

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if connection.get_execution_options().get(_READS):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:
            connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK)))

    return engine


def _sqlite(url: URL, busy_s: float, *, pooled: bool) -> Engine:
    # without a pool a connection lives for one transaction: none crosses a thread, none outlives its use
    arguments: dict[str, Any] = {"timeout": busy_s, "check_same_thread": not pooled}
    pool: dict[str, Any] = (
        {"poolclass": QueuePool, "pool_size": 16, "max_overflow": 32} if pooled else {"poolclass": NullPool}
    )
    engine = create_engine(url, future=True, connect_args=arguments, **pool)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:  # noqa: ANN401 - the DB-API's own object
        connection.isolation_level = None  # sqlite3 must not begin by itself: we do, below
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
