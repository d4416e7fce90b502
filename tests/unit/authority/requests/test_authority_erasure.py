"""Erased is gone from every file: by a right, by the end of its time, and after a failure in between."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import log_scan
from fixtures.authority.authority_records import everywhere, given, kept, take, use
from fixtures.authority.authority_server import JSON, Served, serving
from fixtures.authority.vendor import DAY, NOW, vendor
from fixtures.data import catalog_bodies
from fixtures.data.catalog_bodies import CATALOG
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import Storage
from opanel_authority.api import app, serve
from opanel_authority.books.database import Store
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.requests import receipts, reports

CRASH = "/v1/reports/crash_reports"
RIGHTS = "/v1/rights"
PLANTED = log_scan.EXCEPTION


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        yield running


def test_an_erased_report_is_gone_from_every_file(served: Served) -> None:
    directory = served.log.parent
    bodies = [
        catalog_bodies.report(f"erased {number}", Purpose.CRASH_REPORTS, exception=PLANTED) for number in range(40)
    ]
    receipts = [given(served, CRASH, body) for body in bodies]
    stays = given(served, CRASH, catalog_bodies.report("stays", Purpose.CRASH_REPORTS, exception="StaysHere"))
    names = [f"erased {number}" for number in range(40)]
    traces = [
        PLANTED,
        *map(catalog_bodies.erasure, names),
        *(each.jti for each in receipts),
        *(each.sub for each in receipts),
    ]
    before = everywhere(directory)
    assert all(trace.encode() in before for trace in traces)
    owed = given(served, RIGHTS, catalog_bodies.right("erase", *names))
    assert (owed.kind, owed.due) == ("erase", owed.iat)  # done: nothing is owed any more
    after = everywhere(directory)
    traces += map(catalog_bodies.secret, names)
    assert [trace for trace in traces if trace.encode() in after] == []
    assert b"StaysHere" in after
    assert reports.received_one(served.vendor.authority, stays.jti)["purpose"] == "crash_reports"
    again = served.ask("POST", CRASH, bodies[0], JSON)
    assert (again.status, again.problem) == (403, "request_refused")


def test_erased_is_gone_from_a_write_ahead_log_too(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    database = tmp_path / "vendor" / "authority.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as reader:
        assert reader.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        reader.execute("SELECT count(*) FROM reports").fetchone()  # keeps the log there
        take(made, "a", Purpose.CRASH_REPORTS, exception=PLANTED)
        assert PLANTED.encode() in (tmp_path / "vendor" / "authority.sqlite-wal").read_bytes()
        use(made, "erase", "a")
        assert PLANTED.encode() not in everywhere(tmp_path)


def test_deleting_and_scrubbing_leave_no_traces(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    names = [f"report {number}" for number in range(40)]
    for name in names:
        take(made, name, Purpose.CRASH_REPORTS, exception=PLANTED)
    with made.authority.store.transaction() as books:
        ReportRepository(books).erase(map(catalog_bodies.erasure, names))
    reports.purge(made.authority, CATALOG, now=made.now)
    assert PLANTED.encode() not in everywhere(tmp_path)


def test_what_is_deleted_meanwhile_is_still_owed(tmp_path: Path) -> None:
    with vendor(tmp_path).authority.store.transaction() as books:
        inbox = ReportRepository(books)
        inbox.owe_scrub()
        owed = inbox.scrub_owed()
        assert owed is not None
        inbox.owe_scrub()
        inbox.scrubbed(owed)
        assert inbox.scrub_owed() not in {None, owed}
        inbox.scrubbed(inbox.scrub_owed() or "")
        assert inbox.scrub_owed() is None


def test_a_deletion_whose_traces_could_not_be_taken_is_made_up_for(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    database = tmp_path / "vendor" / "authority.sqlite"
    take(made, "a", Purpose.CRASH_REPORTS, exception=PLANTED)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode = WAL")
        take(made, "b", Purpose.CRASH_REPORTS, exception=PLANTED)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM reports").fetchone()  # holds the log as it is
        made.authority = replace(made.authority, store=Store(database, busy_s=0))
        with pytest.raises(Storage):
            use(made, "erase", "a", "b")
        assert PLANTED.encode() in everywhere(tmp_path)
        reader.execute("COMMIT")
        assert reports.purge(made.authority, CATALOG, now=made.now) == 0
        assert PLANTED.encode() not in everywhere(tmp_path)


def test_the_catalogs_retention_is_enforced(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    due = {purpose: take(made, "a", purpose).due for purpose in CONSENT_BASED}
    use(made, "object", "b")
    for purpose, moment in sorted(due.items(), key=lambda each: each[1]):
        for now, left in ((moment - 1, 1), (moment, 0)):
            made.now = now
            reports.purge(made.authority, CATALOG, now=now)
            assert kept(made)[purpose.value] == left
    rights_over = NOW // DAY * DAY + 1095 * DAY
    made.now = rights_over - 1
    reports.purge(made.authority, CATALOG, now=rights_over - 1)
    assert len(kept(made)["rights"]) == 1
    assert reports.purge(made.authority, CATALOG, now=rights_over) == 1
    assert kept(made)["rights"] == []
    with made.authority.store.transaction() as books:
        assert not ReportRepository(books).refuses(catalog_bodies.erasure("b"))


def test_a_shorter_retention_counts_for_what_is_there(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    with made.authority.store.transaction() as books:
        assert ReportRepository(books).purge_reports("usage_statistics", today=NOW // DAY, before=NOW // DAY - 1) == 0
        assert ReportRepository(books).purge_reports("usage_statistics", today=NOW // DAY, before=NOW // DAY) == 1


def test_a_longer_retention_does_not_break_the_receipt_s_word(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    due = take(made, "a").due // DAY
    with made.authority.store.transaction() as books:
        assert ReportRepository(books).purge_reports("usage_statistics", today=due - 1, before=0) == 0
        assert ReportRepository(books).purge_reports("usage_statistics", today=due, before=0) == 1


def test_a_report_stays_as_long_as_the_first_of_its_fields_may() -> None:
    sheet = CATALOG.sheets["usage_statistics"]
    kernel = replace(sheet.fields["kernel"], retention_days_there=7)
    narrower = replace(CATALOG, sheets={"usage_statistics": replace(sheet, fields={**sheet.fields, "kernel": kernel})})
    assert receipts.retention_days(narrower, Purpose.USAGE_STATISTICS) == 7


def test_what_is_purged_leaves_no_traces(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    for number in range(40):
        take(made, f"report {number}", Purpose.CRASH_REPORTS, exception=PLANTED)
    made.now += 90 * DAY
    assert reports.purge(made.authority, CATALOG, now=made.now) == 40
    assert PLANTED.encode() not in everywhere(tmp_path)


def test_serve_purges_on_every_later_day(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    take(made, "b", Purpose.CRASH_REPORTS)
    lines: list[str] = []
    looks: list[int] = []

    def purged() -> list[str]:
        """A look in the very moment in which the test moves its clock may find it wrong, and says so."""
        return [each for each in lines if not each.startswith("error clock_wrong")]

    def now() -> int:
        looks.append(made.now)
        return made.now

    with serve._purging(app.Served(authority=made.authority, now=now), lines.append, look_s=0.01):
        for later in (90, 180):
            made.now = NOW + later * DAY
            wait_for(lambda: len(purged()) == later // 90)  # noqa: B023 - called before the next round
        wait_for(lambda: looks[-10:] == [made.now] * 10)
    assert purged() == ["purged 1", "purged 1"]


def wait_for(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_serve_erases_what_is_past_its_time(tmp_path: Path) -> None:
    made = vendor(tmp_path, now=int(time.time()) - 200 * DAY)
    take(made, "a", Purpose.CRASH_REPORTS, exception=PLANTED)
    assert PLANTED.encode() in everywhere(tmp_path)
    made.now = int(time.time())
    with serving(tmp_path, made) as running:
        assert running.logged() == ["purged 1"]
        assert PLANTED.encode() not in everywhere(tmp_path)
