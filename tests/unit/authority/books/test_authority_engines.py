"""The books in both engines: one story, copies from either to either, migrations, and two processes on one database."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from fixtures.authority import postgresql
from fixtures.authority.authority_server import environment
from fixtures.authority.vendor import DAY, NOW, RESELLER, URL, Vendor
from fixtures.data.catalog_bodies import CATALOG, CATALOGS, report, right
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Misconfigured, Untrusted
from opanel_authority import authority as authority_home
from opanel_authority.authority import RootTerms, make_store, open_home
from opanel_authority.books import backup, upgrade
from opanel_authority.books.database import Store
from opanel_authority.books.tables import META_DATA, VERSION
from opanel_authority.documents import delegate, publish
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import changes, health, listing
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.listing import Filter
from opanel_authority.requests import reports, rights


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with postgresql.cluster() as url:
        yield url


@pytest.fixture
def database(cluster: str) -> str:
    """A database of the test's own in the cluster."""
    return new_database(cluster)


def new_database(cluster: str) -> str:
    name = f"books_{time.monotonic_ns()}"
    with contextlib.closing(create_engine(cluster, isolation_level="AUTOCOMMIT", future=True).connect()) as admin:
        admin.execute(text(f"CREATE DATABASE {name}"))
        admin.engine.dispose()
    return cluster.replace("/postgres?", f"/{name}?")


def on(database: str | None, directory: Path, now: int = NOW) -> Vendor:
    """A vendor with one reseller, and its books there; SQLite for None."""
    terms = RootTerms(name="OPanel", url=URL, region="tr", database=database)
    authority = authority_home.init(directory / "vendor", terms, now=now)
    delegate.delegate(authority, DelegationTerms(name=RESELLER, email="a@b.example"), directory / "r", now=now)
    return Vendor(authority=authority, now=now)


def story(made: Vendor) -> None:
    """What a license lives through, and what is erased."""
    issued = made.issue(order_id="1", seats=2)
    first = made.activate(issued)
    made.activate(issued, "server b")
    made.now += 60
    made.activate(issued, "server c")
    assert made.status(first.status.idx) == 3
    changes.change(made.authority, Change.SUSPEND, "1", now=made.now)
    assert made.status(made.bundle(issued).license.status.idx) == 2
    changes.change(made.authority, Change.RESUME, issued.key, now=made.now)
    assert made.issue(order_id="1").jti == issued.jti
    made.now += 300 * DAY
    assert made.renew(issued, "server b").license.jti != issued.jti
    with made.authority.store.reading() as books:
        (row,) = listing.everything(books, Filter(), now=made.now)
        acts = [each["act"] for each in books.changes()][::-1]
        assert acts[:6] == ["init", "install_root", "delegate", "issue", "suspend", "resume"]
    assert (row["order_id"], row["state"]) == ("1", "active")
    reports.report(made.authority, CATALOGS, Purpose.USAGE_STATISTICS, report("a"), now=made.now)
    rights.right(made.authority, CATALOG, right("erase", "a"), now=made.now)
    assert reports.received(made.authority)["usage_statistics"] == 0
    assert health.examine(made.authority, now=made.now).figures["activations"] == 2


def test_the_story_in_sqlite(tmp_path: Path) -> None:
    story(on(None, tmp_path))


def test_the_story_in_postgresql(tmp_path: Path, database: str) -> None:
    story(on(database, tmp_path))
    assert (tmp_path / "vendor" / "database.url").stat().st_mode & 0o777 == 0o600
    story_again = open_home(tmp_path / "vendor")
    with story_again.store.reading() as books:
        assert books.delegation(name=RESELLER) is not None


def test_two_processes_on_one_database_give_nothing_twice(tmp_path: Path, database: str) -> None:
    made = on(database, tmp_path, now=int(time.time()) - 10)
    program = (
        "import sys, time; from pathlib import Path; from opanel_authority.authority import open_home;"
        "from opanel_authority.documents import issue; from opanel_authority.documents.claims import LicenseTerms\n"
        "authority = open_home(Path(sys.argv[1]))\n"
        "for _ in range(25): issue.issue(authority, sys.argv[2], LicenseTerms(), now=int(time.time()))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "vendor"), RESELLER]
    running = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=60)[1] for process in running] == [b"", b""]
    with made.authority.store.reading() as books:
        rows = [*books.licenses(listing._query(Filter(), NOW))]
    assert len(rows) == 50
    assert sorted(row.slot or 0 for row in rows) == [*range(50)]
    assert len({row.idx for row in rows}) == 50


def test_many_writers_of_one_process_wait_for_each_other_and_none_finds_the_books_locked(tmp_path: Path) -> None:
    """Together they take far longer than the database lets one of them wait."""
    Store.create(tmp_path / "books", status_order_key=bytes(16))
    store = Store(tmp_path / "books", busy_s=0.05)

    def write(number: int) -> None:
        with store.transaction() as books:
            books.set_fact("last", str(number))
            time.sleep(0.02)

    with store.pooled(), ThreadPoolExecutor(30) as pool:
        assert [*pool.map(write, range(60))] == [None] * 60


def restored(made: Vendor, directory: Path, *, exact: bool) -> backup.Restored:
    """The books gone, and filled from the copy."""
    for path in (directory / "vendor").glob("authority.sqlite*"):
        path.unlink()
    store = make_store(directory / "vendor")
    done = backup.restore(store, directory / "copy", now=made.now, actor="test", exact=exact)
    made.authority = open_home(directory / "vendor")
    return done


@pytest.mark.parametrize("drawn", [True, False])
def test_after_a_restore_nothing_is_given_twice(tmp_path: Path, drawn: bool) -> None:
    """`drawn`: the counts beside the books survived."""
    made = on(None, tmp_path)
    old = made.issue()
    backup.backup(made.authority.store, tmp_path / "copy", now=made.now)
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    lost = [made.issue() for _ in range(3)]
    seat = made.activate(old)
    made.now += 60
    if not drawn:
        for path in (tmp_path / "vendor" / "drawn").iterdir():
            path.unlink()
    done = restored(made, tmp_path, exact=drawn)
    assert (done.made_at, done.skipped > 0) == (NOW, not drawn)
    sold = [made.issue() for _ in range(3)]
    taken = {made.bundle(each).license.slot for each in [old, *lost]}
    entries = {made.bundle(each).license.status.idx for each in [old, *lost]}
    for each in sold:
        assert made.bundle(each).license.slot not in taken
        assert made.bundle(each).license.status.idx not in entries
    assert made.activate(old, "server b").status.idx != seat.status.idx
    assert made.status(seat.status.idx) == 3


def test_a_copy_goes_from_sqlite_to_postgresql(tmp_path: Path, database: str) -> None:
    made = on(None, tmp_path)
    issued = made.issue(order_id="7")
    activation = made.activate(issued)
    backup.backup(made.authority.store, tmp_path / "copy", now=made.now)
    (tmp_path / "vendor" / "database.url").write_text(database, "utf-8")
    restored(made, tmp_path, exact=True)
    assert not made.authority.store.is_sqlite
    assert made.issue(order_id="7").key == issued.key
    made.now += 300 * DAY
    assert made.renew(issued).activation == activation
    delegate.delegate(
        made.authority, DelegationTerms(name="Next", email="a@b.example"), tmp_path / "next", now=made.now
    )


def test_after_a_restore_in_postgresql_nothing_is_given_twice(tmp_path: Path, cluster: str) -> None:
    """There are no counts beside these books: what may have been given since the copy is skipped."""
    made = on(new_database(cluster), tmp_path)
    old = made.issue()
    backup.backup(made.authority.store, tmp_path / "copy", now=made.now)
    lost = [made.issue() for _ in range(3)]
    seat = made.activate(old)
    made.now += 60
    (tmp_path / "vendor" / "database.url").write_text(new_database(cluster), "utf-8")
    done = backup.restore(make_store(tmp_path / "vendor"), tmp_path / "copy", now=made.now, actor="test", exact=False)
    made.authority = open_home(tmp_path / "vendor")
    assert (made.authority.store.is_sqlite, done.made_at, done.skipped > 0) == (False, NOW, True)
    given = {made.bundle(each).license.slot: made.bundle(each).license.status.idx for each in [old, *lost]}
    for each in (made.issue() for _ in range(3)):
        place = made.bundle(each).license
        assert place.slot not in given
        assert place.status.idx not in given.values()
    assert made.activate(old, "server b").status.idx != seat.status.idx
    assert made.status(seat.status.idx) == 3


@pytest.mark.parametrize("damage", ["cut", "other", "text"])
def test_a_damaged_copy_restores_nothing(tmp_path: Path, damage: str) -> None:
    made = on(None, tmp_path)
    made.issue()
    backup.backup(made.authority.store, tmp_path / "copy", now=made.now)
    whole = (tmp_path / "copy").read_bytes()
    (tmp_path / "copy").write_bytes({"cut": whole[: len(whole) // 2], "other": b"", "text": b"{}\n"}[damage])
    with pytest.raises(Untrusted):
        restored(made, tmp_path, exact=True)


def test_books_that_are_there_are_not_restored_over(tmp_path: Path) -> None:
    on(None, tmp_path)
    with pytest.raises(FileExistsError):
        make_store(tmp_path / "vendor")


def test_the_log_takes_a_name_that_is_longer_than_its_column(database: str, tmp_path: Path) -> None:
    terms = RootTerms(name="urn:" + "n" * 100, url="http://127.0.0.1:8470", region="tr", database=database)
    made = authority_home.init(tmp_path / "vendor", terms, now=NOW)
    with made.store.reading() as books:
        assert [each["subject"] for each in books.changes()][-1] == "urn:" + "n" * 60


# ---- migrations


def test_the_version_is_the_newest_migration() -> None:
    assert upgrade.newest() == VERSION


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_the_migrations_make_the_tables_that_the_code_has(engine: str, request: pytest.FixtureRequest) -> None:
    url = "sqlite://" if engine == "sqlite" else request.getfixturevalue("database")
    with contextlib.closing(create_engine(url, future=True).connect()) as connection:
        assert upgrade.upgrade(connection) == (None, VERSION)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, META_DATA) == []
        connection.rollback()
        connection.engine.dispose()


def test_books_of_another_version_are_refused_and_upgraded(tmp_path: Path) -> None:
    made = on(None, tmp_path)
    with made.authority.store.transaction() as books:
        books.connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    with pytest.raises(Misconfigured) as caught:
        open_home(tmp_path / "vendor")
    assert caught.value.detail == "store_schema"
    with made.authority.store.transaction() as books:
        books.connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": VERSION})
        assert upgrade.upgrade(books.connection) == (VERSION, VERSION)
    assert publish.current_status_list(open_home(tmp_path / "vendor"), now=NOW)
