"""Entries, slots and seats: none is given twice, whatever is put back from a copy, and what ended is used again."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from fixtures.authority.vendor import DAY, NOW, RESELLER, Vendor, vendor
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.status_list import SHARD_ENTRIES, shard_uri
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.authority import open_store
from opanel_authority.books.status_allocation import MAX_ENTRIES, VENDOR, shard_of
from opanel_authority.cli import main as cli
from opanel_authority.documents import delegate, issue, publish
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change


def place(made: Vendor, issued: Issued) -> tuple[int, int]:
    license_ = made.bundle(issued).license
    return license_.slot, license_.status.idx


@pytest.mark.parametrize("entries", [0, -1, MAX_ENTRIES + 1, 1 << 30])
def test_entries_that_no_list_could_hold_are_refused_at_once(tmp_path: Path, entries: int) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    with pytest.raises(Usage) as caught:
        delegate.delegate(
            made.authority,
            DelegationTerms(name="Big", email="a@b.example", status_entries=entries),
            tmp_path / "big",
            now=NOW,
        )
    assert caught.value.detail == "status_entries_range"
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW)
    assert made.status(place(made, issued)[1]) == 2


def test_entries_that_are_reserved_already_are_refused_at_once(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    with pytest.raises(NotPermitted) as caught:
        delegate.delegate(
            made.authority,
            DelegationTerms(name="Big", email="a@b.example", status_entries=MAX_ENTRIES),
            tmp_path / "big",
            now=NOW,
        )
    assert caught.value.detail == "status_entries_full"
    assert made.issue().text


@pytest.mark.parametrize("entries", [1, 3, 6])
def test_any_number_of_entries_is_published_whole(tmp_path: Path, entries: int) -> None:
    made = vendor(tmp_path, status_entries=entries)
    for _ in range(entries):
        issued = made.issue()
        changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW)
        assert made.status(place(made, issued)[1]) == 2


def test_half_of_what_there_is_is_told(tmp_path: Path) -> None:
    made = vendor(tmp_path, slots=4, status_entries=8)
    assert [made.issue().warnings for _ in range(4)] == [
        (),
        ("slots_half",),
        ("slots_half",),
        ("slots_half", "entries_half"),
    ]


def test_half_of_all_entries_is_told_when_they_are_reserved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = vendor(tmp_path, now=int(time.time()))
    half = MAX_ENTRIES // 2
    for name, entries, warns in (("Small", 1 << 14, False), ("Huge", half, True), ("Small too", 1, True)):
        arguments = ["--dir", str(made.authority.directory), "--email", "a@b.example", "--status-entries", str(entries)]
        assert cli.main(["delegate", name, *arguments, "-o", str(tmp_path / name), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)["result"]
        assert ("warnings" in result) == warns, name
    assert cli.main(["health", "--dir", str(made.authority.directory)]) == 1
    assert "half of the status entries" in capsys.readouterr().out


def test_books_put_back_from_a_copy_give_nothing_twice(tmp_path: Path) -> None:
    """The copy is of yesterday; one license was sold and activated since."""
    made = vendor(tmp_path)
    old = made.issue()
    for name in ("authority.sqlite", "authority.sqlite-wal"):
        if (tmp_path / "vendor" / name).exists():
            shutil.copy(tmp_path / "vendor" / name, tmp_path / name)
    lost = made.issue()
    seat = made.activate(old)
    for path in (tmp_path / "vendor").glob("authority.sqlite*"):
        path.unlink()
    for path in tmp_path.glob("authority.sqlite*"):
        shutil.copy(path, tmp_path / "vendor" / path.name)
    made.authority = type(made.authority)(
        directory=made.authority.directory, store=open_store(made.authority.directory)
    )
    made.now += 60
    sold = made.issue()
    assert place(made, sold)[0] != place(made, lost)[0]
    assert place(made, sold)[1] != place(made, lost)[1]
    changes.change(made.authority, Change.SUSPEND, sold.jti, now=made.now)
    assert made.status(place(made, lost)[1]) == 0, "the other customer's is not touched"
    again = made.activate(old, "server b")
    assert again.status.idx != seat.status.idx
    assert made.status(seat.status.idx) == 3, "its seat is somebody else's now"
    assert made.status(again.status.idx) == 0


def test_the_slot_and_entry_of_an_ended_license_are_used_again_once_nobody_can_hold_it(tmp_path: Path) -> None:
    made = vendor(tmp_path, slots=1, status_entries=1)
    first = made.issue(days=30, grace_days=10)
    changes.change(made.authority, Change.SUSPEND, first.jti, now=NOW)
    made.now = NOW + (30 + 10 + 90) * DAY - 1
    with pytest.raises(NotPermitted):
        made.issue()
    made.now += 1
    second = made.issue()
    assert place(made, second) == place(made, first)
    assert made.status(place(made, second)[1]) == 0, "nothing of the first sticks to it"
    changes.change(made.authority, Change.REVOKE, first.jti, now=made.now)
    with pytest.raises(NotPermitted):
        changes.change(made.authority, Change.RESUME, first.jti, now=made.now)
    assert made.status(place(made, second)[1]) == 0


def test_a_full_list_fits_into_what_an_agent_takes(tmp_path: Path) -> None:
    """Every entry at random: nothing compresses, and there is no count of suspensions at which it would not fit."""
    made = vendor(tmp_path)
    chance = random.Random(1)  # noqa: S311 - the same list each time
    with made.authority.store.transaction() as books:
        for start in range(0, SHARD_ENTRIES, 65536):
            books.set_statuses({start + at: chance.randrange(4) for at in range(65536)})
    token = publish.current_status_list(made.authority, now=NOW)
    assert len(token) < status_list.MAX_TOKEN_BYTES
    assert len(status_list.accept(token, made.authority.root, floor={}, now=NOW).statuses) == SHARD_ENTRIES


def test_shards_have_names_of_their_own() -> None:
    uri = "https://v.example/v1/status.jwt"
    assert [shard_uri(uri, shard) for shard in (0, 1, 12)] == [
        uri,
        "https://v.example/v1/status/1.jwt",
        "https://v.example/v1/status/12.jwt",
    ]
    assert [shard_of(entry) for entry in (0, SHARD_ENTRIES - 1, SHARD_ENTRIES, 10_000_000)] == [
        (0, 0),
        (0, SHARD_ENTRIES - 1),
        (1, 0),
        (9, 562_816),
    ]


def test_a_delegation_is_prolonged_widened_and_narrowed(tmp_path: Path) -> None:
    made = vendor(tmp_path, days=10, slots=2)
    first = made.issue()
    made.now += 11 * DAY
    delegate.change(made.authority, RESELLER, now=made.now, days=100, slots=5, tiers=("pro",))
    with pytest.raises(Exception, match="license_wider"):
        made.issue(tier="basic")
    second = made.issue(tier="pro")
    assert [each.delegations[0].may.slots.end for each in map(made.bundle, (first, second))] == [2, 5]
    assert place(made, second)[0] == 1
    with pytest.raises(NotPermitted):
        delegate.change(made.authority, RESELLER, now=made.now, slots=1)
    delegate.change(made.authority, RESELLER, now=made.now, status_entries=1 << 15)
    assert made.bundle(made.issue()).delegations[0].may.status_range.end == (1 << 16) + (1 << 15)


def test_a_range_that_cannot_grow_is_told(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name="Next", email="a@b.example"), tmp_path / "next", now=NOW)
    with pytest.raises(NotPermitted) as caught:
        delegate.change(made.authority, RESELLER, now=NOW, status_entries=1 << 15)
    assert caught.value.detail == "status_range_fixed"


def test_a_stolen_key_is_replaced_and_what_was_sold_is_signed_anew(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    old = made.bundle(issued)
    made.now += DAY
    delegate.rekey(made.authority, RESELLER, now=made.now)
    assert made.status(old.delegations[0].status.idx) == 1
    renewed = made.renew(issued)
    assert renewed.activation == activation
    assert renewed.delegations[0].key != old.delegations[0].key
    assert (renewed.license.exp, renewed.license.slot) == (old.license.exp, old.license.slot)
    assert made.status(renewed.delegations[0].status.idx) == 0
    assert made.bundle(made.issue()).delegations[0].key == renewed.delegations[0].key


def revoked(made: Vendor) -> None:
    changes.change(made.authority, Change.REVOKE, RESELLER, now=made.now)


@pytest.mark.parametrize("act", ["issue", "activate", "renew", "renew_by_command"])
def test_a_revoked_delegation_does_nothing_any_more(tmp_path: Path, act: str) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    made.activate(issued)
    made.now = NOW + 300 * DAY
    revoked(made)
    acts: dict[str, Any] = {
        "issue": made.issue,
        "activate": lambda: made.activate(issued, "server b"),
        "renew": lambda: made.renew(issued),
        "renew_by_command": lambda: issue.renew(made.authority, issued.jti, now=made.now),
    }
    with pytest.raises(NotPermitted) as caught:
        acts[act]()
    assert str(caught.value.code) == "revoked"


def test_the_vendors_entries_stay_within_the_lists(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    with made.authority.store.transaction() as books:
        while books.reserved_entries() < MAX_ENTRIES:
            books.new_range("somebody", min(1 << 16, MAX_ENTRIES - books.reserved_entries()))
        books.connection.exec_driver_sql("UPDATE pools SET drawn = \"end\" - first WHERE owner = 'vendor'")
        with pytest.raises(NotPermitted) as caught:
            books.draw(VENDOR, NOW)
    assert caught.value.detail == "status_entries_full"


def test_a_slot_is_given_back_by_who_was_revoked_first_then_by_who_ended_first(tmp_path: Path) -> None:
    made = vendor(tmp_path, slots=4)
    long, short, suspended, gone = (made.issue(days=days, grace_days=0) for days in (60, 30, 20, 300))
    changes.change(made.authority, Change.SUSPEND, suspended.jti, now=NOW)
    changes.change(made.authority, Change.REVOKE, gone.jti, now=NOW)
    made.now = NOW + (60 + 90) * DAY
    for before in (gone, suspended, short, long):
        assert place(made, made.issue(days=300))[0] == place(made, before)[0]
    with pytest.raises(NotPermitted) as caught:
        made.issue()
    assert caught.value.detail == "slots_full"


def test_what_is_free_is_found_without_passing_what_was_given_away(tmp_path: Path) -> None:
    """Of a million licenses half a million may have given theirs away: every sale would pass them."""
    made = vendor(tmp_path, slots=1, status_entries=1)
    made.issue(days=30, grace_days=10)
    made.now = NOW + (30 + 10 + 90) * DAY
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement.startswith("SELECT licenses.") and "ORDER BY licenses.free_at" in statement:
            asked.append((statement, parameters))

    event.listen(made.authority.store.engine, "before_cursor_execute", note)
    made.issue()
    event.remove(made.authority.store.engine, "before_cursor_execute", note)
    with made.authority.store.reading() as books:
        plans = [
            row[-1]
            for statement, parameters in asked
            for row in books.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert [plan.split("INDEX ")[1] for plan in plans] == [
        "ix_licenses_slot (delegation=? AND status=?)",
        *["ix_licenses_slot (delegation=? AND status=? AND free_at<?)"] * 2,
        "ix_licenses_entry (delegation=? AND free_at<?)",
    ]
