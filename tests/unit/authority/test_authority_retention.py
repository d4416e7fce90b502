"""What is kept of a license after its end, and for how long; and that its slot and entries go on."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import Connection, Engine

from fixtures.authority.vendor import DAY, NOW, Vendor, vendor
from fixtures.data.catalog_bodies import CATALOG
from opanel_agent.core.errors import NotPermitted
from opanel_agent.core.license import license_key
from opanel_authority.books import upgrade
from opanel_authority.books.status_allocation import VENDOR
from opanel_authority.books.tables import VERSION, deliveries
from opanel_authority.cli.main import main
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes, retention, webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests import reports

SAFE = 90
TABLES = ("licenses", "editions", "activations", "answers", "former_entries")


def rows(made: Vendor) -> dict[str, int]:
    with made.authority.store.reading() as books:
        run = books.connection.exec_driver_sql
        return {table: int(run(f"SELECT COUNT(*) FROM {table}").scalar_one()) for table in TABLES}  # noqa: S608


def ended(made: Vendor) -> Issued:
    """A license of 30 days with 10 of grace, activated twice, suspended."""
    issued = made.issue(days=30, grace_days=10, order_id="the customer's own number", networks=("198.51.100.0/24",))
    made.activate(issued)
    made.activate(issued, "server b")
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=made.now)
    return issued


def test_a_license_is_erased_when_its_time_has_passed_and_not_before(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued, stays = ended(made), made.issue(days=365)
    end = NOW + (30 + 10 + SAFE + retention.LICENSE_DAYS) * DAY
    made.now = end - 1
    assert retention.purge(made.authority, now=made.now) >= 0
    assert rows(made)["licenses"] == 2
    with made.authority.writing(made.now) as books:
        books.update_license(stays.jti, free_at=end + 1)
    made.now = end
    assert retention.purge(made.authority, now=made.now) == 1
    assert rows(made) == {"licenses": 1, "editions": 1, "activations": 0, "answers": 0, "former_entries": 0}
    assert retention.purge(made.authority, now=made.now) == 0
    reports.purge(made.authority, CATALOG, now=made.now)
    written = b"".join(path.read_bytes() for path in (tmp_path / "vendor").glob("authority.sqlite*"))
    for trace in (license_key.digest(issued.key), "the customer's own number", "198.51.100.0/24"):
        assert trace.encode() not in written, trace


def test_its_slot_and_entries_are_used_again(tmp_path: Path) -> None:
    made = vendor(tmp_path, slots=1, status_entries=1)
    issued = ended(made)
    held = made.bundle(issued).license
    made.now = NOW + 10 * 365 * DAY
    retention.purge(made.authority, now=made.now)
    with made.authority.writing(made.now) as books:
        run = books.connection.exec_driver_sql
        assert sorted(row[0] for row in run("SELECT kind FROM free_numbers")) == ["entry"] * 3 + ["slot"]
        again = [books.draw(held_by, made.now) for held_by in (owner(made),)]
        assert again == [(1 << 16) + held.status.idx % (1 << 16)]
        row = books.delegations()[0]
        assert books.draw_slot(row, 0, 1, made.now) == held.slot
        with pytest.raises(NotPermitted):
            books.draw_slot(row, 0, 1, made.now)
        run("UPDATE pools SET drawn = \"end\" - first WHERE owner = 'vendor'")
        freed = {books.draw(VENDOR, made.now) for _ in range(2)}
        assert run("SELECT COUNT(*) FROM free_numbers").scalar_one() == 0
        assert max(freed) < 1 << 16
        assert books.draw(VENDOR, made.now) >= 1 << 16, "then a new range"
    assert {made.status(entry) for entry in (*freed, held.status.idx)} == {0}


def owner(made: Vendor) -> str:
    with made.authority.store.reading() as books:
        return books.delegations()[0].jti


def test_the_change_log_goes_by_its_own_age(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=300)
    made.now = NOW + 100 * DAY
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=made.now)
    retention.keep(made.authority, license_days=None, change_days=100, now=made.now)
    assert retention.purge(made.authority, now=made.now) == 4  # init, its root, the reseller, the license
    with made.authority.store.reading() as books:
        assert [row["act"] for row in books.changes()] == ["retention", "suspend"]


def test_the_command_shows_and_sets_the_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = vendor(tmp_path)
    here = ["--dir", str(made.authority.directory), "--json"]

    def retention_of(*arguments: str) -> dict[str, int]:
        assert main(["retention", *arguments, *here]) == 0
        found: dict[str, int] = json.loads(capsys.readouterr().out)["result"]
        return found

    assert retention_of() == {"licenses_days": 1095, "changes_days": 1095}
    with made.authority.store.transaction() as books:
        books.remove_fact("clock")
    assert retention_of("--licenses", "10") == {"licenses_days": 10, "changes_days": 1095}
    assert retention_of() == {"licenses_days": 10, "changes_days": 1095}
    assert main(["retention", "--changes", "-1", *here]) == 64


@contextlib.contextmanager
def disposed(engine: Engine) -> Iterator[Connection]:
    """A connection of an engine that keeps none afterwards."""
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_books_of_version_1_are_upgraded_with_what_is_in_them(tmp_path: Path) -> None:
    with disposed(create_engine(f"sqlite:///{tmp_path}/books", future=True)) as connection:
        command.upgrade(upgrade._config(connection), "0001")
        connection.execute(text("INSERT INTO facts VALUES ('status_order_key', '00')"))
        assert upgrade.upgrade(connection) == ("0001", VERSION)
        assert connection.execute(text("SELECT value FROM facts")).scalar_one() == "00"
        assert connection.execute(text("SELECT networks FROM licenses")).all() == []
        connection.commit()


def test_events_that_were_delivered_go_however_many_there_are(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    who = ChangedBy(actor="test")
    hook = webhooks.add(
        made.authority, "https://a.example/", reseller=None, events=tuple(webhooks.Event), now=NOW, who=who
    )
    with made.authority.writing(NOW) as books:
        for at, count in ((NOW, 5_000), (NOW + DAY, 10)):
            body = json.dumps({"id": "e", "type": "license.issued", "at": at, "license": None, "detail": None})
            row = {"webhook": hook, "body": body, "due": None, "tries": 1, "outcome": "204"}
            books.connection.execute(deliveries.insert(), [row] * count)
        books.connection.execute(deliveries.insert(), [row | {"due": NOW, "body": body.replace(str(at), str(NOW))}])
    made.now = NOW + retention.DELIVERED_DAYS * DAY
    assert retention.purge(made.authority, now=made.now) == 5_000
    with made.authority.store.reading() as books:
        left = books.connection.execute(select(deliveries.c.due)).scalars().all()
    assert sorted(left, key=str) == [NOW, *[None] * 10], "what waits still stays"
