"""One damaged, odd or foreign file never takes the license's answer away, nor lets the rest of the promise lapse."""

import json
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import ADVISORIES_URL, PATHS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage, Unreadable
from opanel_agent.core.wire.message import Reply, Sealed

REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "72h"
"""
NO = YES.replace(b"true", b"false")
NAMES = ("usage-0123456789abcdef", "activation-0123456789abcdef", "x", "..broken")
DAMAGE = (b"", b"{", b'{"schema":9}\n', bytes(2_000_000))


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, _receipt)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.mark.parametrize("data", DAMAGE, ids=["empty", "cut", "newer", "huge"])
@pytest.mark.parametrize("name", NAMES)
def test_what_waits_may_be_damaged(agent: Simulated, name: str, data: bytes) -> None:
    agent.files.put(PATHS.consent, YES)
    agent.change_consent()
    agent.files.put(PATHS.held / name, data)
    frame = agent.run("tick")
    assert frame["ok"]
    assert frame["answer"]["license"]["state"] == "unlicensed"
    assert agent.files.entry(PATHS.held / name) is None, "nobody could look at it or send it"
    assert len(agent.run("held")["result"]["held"]) == 1


@pytest.mark.parametrize("data", DAMAGE, ids=["empty", "cut", "newer", "huge"])
@pytest.mark.parametrize("end", ["request", "reply", "attempted"])
@pytest.mark.parametrize("name", NAMES)
def test_the_copy_of_what_left_may_be_damaged(agent: Simulated, name: str, end: str, data: bytes) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    agent.files.put(PATHS.sent / f"{name}.{end}", data)
    assert agent.run("tick")["ok"]
    frame = agent.run("sent")
    assert frame["ok"], frame["error"]
    assert [each["id"] for each in frame["result"]["sent"]] == [left.id]
    agent.files.put(PATHS.consent, NO)
    withdrawn = agent.change_consent()
    assert withdrawn["ok"]
    assert [each["id"] for each in withdrawn["result"]["consent"]["gone"]] == [left.id]


@pytest.mark.parametrize("data", DAMAGE, ids=["empty", "cut", "newer", "huge"])
@pytest.mark.parametrize("end", ["request", "reply", "attempted"])
def test_a_copy_that_the_disk_damaged_stops_nothing(agent: Simulated, end: str, data: bytes) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    agent.files.put(PATHS.sent / f"{left.id}.{end}", data)
    assert agent.run("tick")["ok"]
    assert agent.run("sent")["ok"]
    agent.files.put(PATHS.consent, NO)
    assert agent.change_consent()["ok"]
    assert agent.run("history")["result"]["entries"][-1]["kind"] == "ConsentWithdrawn"


def test_a_damaged_secret_does_not_keep_a_withdrawal_from_being_done(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    agent.files.put(PATHS.erasure / left.id, b"")
    agent.files.put(PATHS.consent, NO)
    agent.change_consent()
    assert agent.run("history")["result"]["entries"][-1]["kind"] == "ConsentWithdrawn"


def test_a_held_file_is_only_what_its_name_says(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES)
    agent.change_consent()
    (waiting,) = agent.run("held")["result"]["held"]
    kept = agent.files.entry(PATHS.held / waiting["id"])
    assert kept is not None
    other = kept.data.replace(waiting["id"].encode(), b"../../etc/x")
    agent.files.put(PATHS.held / waiting["id"], other)
    assert agent.run("held")["result"]["held"] == []


FRESH = signing.lines(signing.delegation(), signing.license(iat=signing.NOW))
OWN = (
    *("bundle.jws", "roots.jws", "status-list.jwt", "advisories.jws", "advisories.json", "rights.json"),
    *("state.json", "schedule.json", "clock.json", "activation.key", "agent.toml"),
)
NO_FILE: tuple[dict[str, object], ...] = (
    {"data": bytes(2_000_000)},
    {"kind": "link"},
    {"kind": "fifo"},
    {"kind": "dir"},
)


@pytest.mark.parametrize("what", NO_FILE, ids=["huge", "link", "fifo", "dir"])
@pytest.mark.parametrize("name", OWN)
def test_what_can_be_no_file_of_the_state_ends_no_pass(
    agent: Simulated, name: str, what: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    agent.install(FRESH)
    agent.network.serve(ADVISORIES_URL, signing.advisory() + b"\n", "application/jose")
    agent.run("refresh")
    agent.files.put(PATHS.state_dir / name, **what)  # type: ignore[arg-type]
    capsys.readouterr()
    for _ in range(3):
        agent.clock.advance(86_400)
        assert agent.run("tick")["ok"]
        assert agent.run("receipts")["ok"]
    printed = capsys.readouterr().err
    if name == "bundle.jws":
        assert agent.license()["state"] == "grace"  # and not unlicensed: what was accepted has its 14 days
        return
    assert printed.count("state_set_aside") == 1
    assert agent.files.entry(PATHS.state_dir / f"{name}.broken") is not None
    assert agent.license()["state"] == "active"


def test_a_bundle_that_is_none_gives_way_to_the_previous_one_and_to_the_next(agent: Simulated) -> None:
    agent.install(FRESH)
    agent.install(signing.lines(signing.delegation(), signing.license(jti="license-2", iat=signing.NOW)))
    agent.files.put(PATHS.bundle, bytes(70_000))
    license_ = agent.license()
    assert (license_["state"], "format_invalid" in license_["reasons"]) == ("active", True)
    agent.install(FRESH)
    assert "format_invalid" not in agent.license()["reasons"]


def test_what_cannot_even_be_moved_stays(agent: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    def stuck(step: str, path: Path) -> None:
        if step == "rename" and path.name == "advisories.jws":
            raise Storage(Fault.IO_FAILED, "write_failed", file=str(path), errno="ENOTDIR")

    agent.files.put(PATHS.advisories, kind="dir")
    agent.files.fault = stuck
    assert agent.run("tick")["ok"]
    assert "state_stays_broken" in capsys.readouterr().err


def test_a_kept_document_that_holds_no_more_is_said_once(agent: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    agent.run("tick")
    stranger = signing.signer("stranger")
    agent.files.put(PATHS.advisories, signing.advisory(by=stranger) + b"\n")
    agent.files.put(PATHS.status_list, signing.status_list(by=stranger))
    capsys.readouterr()
    for _ in range(3):
        agent.run("tick")
    printed = capsys.readouterr().err
    assert (printed.count("status_list_refused"), printed.count("advisories_refused")) == (1, 1)
    agent.files.put(PATHS.status_list, signing.status_list(by=stranger, iat=signing.NOW))
    agent.run("tick")
    assert capsys.readouterr().err.count("status_list_refused") == 1


def test_a_request_that_nobody_knows_any_more_is_purged(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.change_consent()
    assert agent.run("rights", kind="erase", preview=True)["ok"]
    (waits,) = [name for name in agent.files.names(PATHS.held) if name.startswith("rights-")]
    agent.files.put(PATHS.state_dir / "rights.json", b"rot")
    agent.run("receipts")
    assert waits not in agent.files.names(PATHS.held)
    assert agent.run("history")["result"]["entries"][-1]["data"]["reason"] == "unknown"


def test_a_request_that_nobody_knows_goes_even_where_the_ledger_cannot_say_so(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.change_consent()
    agent.run("rights", kind="erase", preview=True)

    def full(step: str, path: Path) -> None:
        if step == "write" and path.name.startswith("ledger"):
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    agent.files.put(PATHS.state_dir / "rights.json", b"rot")
    agent.files.fault = full
    assert agent.run("receipts")["ok"]
    assert [name for name in agent.files.names(PATHS.held) if name.startswith("rights-")] == []


@pytest.mark.parametrize("path", [PATHS.license, PATHS.import_dir / "a.jws"])
@pytest.mark.parametrize("what", [{"owner": 1000}, {"mode": 0o666}, {"kind": "link"}, {"kind": "dir"}])
def test_a_file_of_root_that_does_not_count_stops_nothing(
    agent: Simulated, path: Path, what: dict[str, object]
) -> None:
    good = signing.lines(signing.delegation(), signing.license(iat=signing.NOW - 3600))
    agent.files.put(path, good, **what)  # type: ignore[arg-type]
    agent.files.put(PATHS.import_dir / "b.jws", good)
    frame = agent.run("tick")
    assert frame["ok"]
    assert frame["answer"]["license"]["state"] == "active"


def test_a_file_of_root_that_cannot_be_read_stops_nothing(agent: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    def unreadable(step: str, path: Path) -> None:
        if step == "read" and path == PATHS.license:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    agent.files.put(PATHS.license, b"x")
    agent.files.fault = unreadable
    for _ in range(3):
        assert agent.run("tick")["ok"]
    assert capsys.readouterr().err.count("document_unreadable") == 1
    agent.files.fault = None
    agent.run("tick")
    assert capsys.readouterr().err.count("document_refused") == 1


def test_what_still_lies_there_is_not_taken_up_again(agent: Simulated) -> None:
    """A year of status lists by hand must not bring the first license back."""
    first, second = (
        signing.lines(signing.delegation(), signing.license(iat=signing.NOW - 3600, jti=f"license-{number}", tier=tier))
        for number, tier in enumerate(("basic", "pro"))
    )
    agent.files.put(PATHS.license, first)
    agent.run("tick")
    agent.install(second)
    for number in range(100):
        agent.files.put(PATHS.import_dir / "list.jws", b"%d" % number)
        agent.run("tick")
    assert agent.license()["tier"] == "pro"


def test_a_heap_of_files_is_taken_up_once(agent: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(100):
        agent.files.put(PATHS.import_dir / f"{number:03}.jws", b"%d" % number)
    agent.run("tick")
    capsys.readouterr()
    agent.run("tick")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "changed", [{"state": "marvellous"}, {"reports": {"new_purpose": 1}}, {"retries": {"new_purpose": 1}}]
)
def test_a_memory_of_a_newer_version_begins_anew(agent: Simulated, changed: dict[str, object]) -> None:
    agent.run("tick")
    kept = agent.files.entry(PATHS.state)
    assert kept is not None
    agent.files.put(PATHS.state, json.dumps({**json.loads(kept.data), **changed}).encode())
    assert agent.run("tick")["ok"]
    assert agent.files.entry(PATHS.state.with_name("state.json.broken")) is not None


# ---- a disk that fails


def lived_in(agent: Simulated) -> None:
    """A license, a status list, a report that left and one that waits, a ledger, a schedule, a key."""
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    free = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
    agent.install(signing.lines(signing.delegation(), signing.license(activation=free)))
    agent.publish({})
    agent.run("refresh")
    agent.run("narrowed")
    agent.files.put(PATHS.consent, YES)
    agent.clock.advance(9 * signing.DAY)
    agent.publish({})
    agent.run("refresh")


def own_files(agent: Simulated) -> list[Path]:
    return sorted(
        path for path in agent.files.snapshot() if path.is_relative_to(PATHS.state_dir) and path != PATHS.lock
    )


@pytest.mark.parametrize("errno", ["EIO", "EACCES"])
def test_one_file_that_cannot_be_read_never_keeps_the_license_from_being_judged(errno: str) -> None:
    """A bad sector, or an owner of before a restore: every file of the state, one at a time."""
    template = Simulated()
    template.network.on("POST", REPORTS, _receipt)
    lived_in(template)
    names = own_files(template)
    assert len(names) >= 10
    for bad in names:
        agent = Simulated()
        agent.network.on("POST", REPORTS, _receipt)
        lived_in(agent)

        def fault(step: str, path: Path, bad: Path = bad) -> None:
            if step == "read" and path == bad:
                raise Unreadable(Fault.IO_FAILED, "read_failed", file=str(path), errno=errno)

        agent.files.fault = fault
        for intent in ("start", "tick"):
            frame = agent.run(intent)
            assert frame["ok"], (bad, frame["error"])
            assert frame["answer"]["license"]["state"] in {"active", "grace"}, bad


@pytest.mark.parametrize("folder", [PATHS.held, PATHS.sent, PATHS.receipts, PATHS.erasure, PATHS.ready])
def test_a_folder_that_cannot_be_listed_is_moved_aside_as_often_as_it_happens(folder: Path) -> None:
    agent = Simulated()
    agent.network.on("POST", REPORTS, _receipt)
    lived_in(agent)
    for end in (".broken", ".broken-2"):
        agent.files.put(folder / "x", b"another's")
        moved: list[Path] = []

        def fault(step: str, path: Path, moved: list[Path] = moved) -> None:
            if step == "rename" and path == folder:
                moved.append(path)
            if step == "names" and path == folder and not moved:
                raise Unreadable(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

        agent.files.fault = fault
        frame = agent.run("start")
        assert frame["ok"], frame["error"]
        assert frame["answer"]["license"]["state"] in {"active", "grace"}
        assert agent.files.exists(folder.with_name(folder.name + end) / "x")
        assert agent.run("tick")["ok"]


@pytest.mark.parametrize("folder", [PATHS.held, PATHS.sent, PATHS.receipts, PATHS.erasure, PATHS.ready])
def test_a_folder_that_can_neither_be_listed_nor_moved_ends_no_pass(folder: Path) -> None:
    """A part of the disk that is lost: what lies there is as if it were not, and takes nothing."""
    agent = Simulated()
    agent.network.on("POST", REPORTS, _receipt)
    lived_in(agent)

    def fault(step: str, path: Path) -> None:
        if path.is_relative_to(folder):
            raise Unreadable(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")

    agent.files.fault = fault
    for intent in ("start", "tick", "narrowed"):
        frame = agent.run(intent)
        assert frame["ok"], frame["error"]
        license_ = frame["answer"]["license"]
        assert (license_["state"], license_["reasons"][-1]) == ("active", "state_not_saved")
    agent.files.fault = None
    assert "state_not_saved" not in agent.license()["reasons"]


def test_a_lock_that_cannot_be_opened_is_moved_aside() -> None:
    agent = Simulated()
    lived_in(agent)
    agent.files.put(PATHS.lock, b"another's")

    def fault(step: str, path: Path) -> None:
        if step == "lock" and agent.files.entry(path) is not None:
            raise Unreadable(Fault.NO_PERMISSION, "write_failed", file=str(path), errno="EACCES")

    agent.files.fault = fault
    frame = agent.run("start")
    assert frame["ok"], frame["error"]
    assert frame["answer"]["license"]["state"] in {"active", "grace"}
    assert agent.files.exists(PATHS.lock.with_name("lock.broken"))


@pytest.mark.parametrize("code", [Fault.DISK_FULL, Fault.IO_FAILED])
def test_a_disk_that_takes_nothing_leaves_a_judged_license_that_goes_on_in_time(code: Fault) -> None:
    agent = Simulated()
    agent.install(signing.bundle(activated=False))
    agent.publish({})
    agent.run("refresh")
    before = agent.license()["state"]
    assert agent.files.exists(PATHS.last_license)

    def full(step: str, path: Path) -> None:
        if step in {"create", "write", "make_dir"}:
            raise Storage(
                code, "disk_full" if code is Fault.DISK_FULL else "write_failed", file=str(path), errno="EROFS"
            )

    agent.files.fault = full
    frame = agent.run("start")
    assert frame["ok"], frame["error"]
    license_ = frame["answer"]["license"]
    assert (license_["state"], license_["reasons"][-1]) == (before, "state_not_saved")
    assert 0 < frame["next_run_s"] <= 3600
    agent.files.put(PATHS.consent, YES.replace(b"true", b"false"))
    unsaved = agent.run("narrowed")["result"]["consent"]["unsaved"]
    assert {"ledger.jsonl", "state.json"} <= set(unsaved)
    assert not agent.files.exists(PATHS.last_license), "after a reboot an older answer would say more than this one"
    agent.clock.advance(400 * signing.DAY)
    assert agent.run("tick")["answer"]["license"]["state"] not in {"active", before}, "the answer is not frozen"
    agent.files.fault = None
    assert agent.run("narrowed")["result"]["consent"]["unsaved"] == []
    assert "state_not_saved" not in agent.run("tick")["answer"]["license"]["reasons"]
