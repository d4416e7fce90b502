"""One damaged, odd or foreign file never takes the license's answer away, nor lets the rest of the promise lapse."""

import json
from pathlib import Path

import pytest

from fakes import forge
from fakes.agent import PATHS, Simulated
from fakes.network import ok
from opanel_agent.core.errors import Storage
from opanel_agent.core.reasons import Fault
from opanel_agent.core.request import Reply, Sealed

REPORTS = forge.ENDPOINT + "/v1/reports/usage_statistics"
YES = b"""schema = 1
notice = "2026-12-01"
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
    return ok(forge.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.mark.parametrize("data", DAMAGE, ids=["empty", "cut", "newer", "huge"])
@pytest.mark.parametrize("name", NAMES)
def test_what_waits_may_be_damaged(agent: Simulated, name: str, data: bytes) -> None:
    agent.files.put(PATHS.consent, YES)
    agent.run("narrowed")
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
    agent.run("narrowed")
    (left,) = agent.network.sent
    agent.files.put(PATHS.sent / f"{name}.{end}", data)
    assert agent.run("tick")["ok"]
    told = agent.run("sent")
    assert told["ok"], told["error"]
    assert [each["id"] for each in told["result"]["sent"]] == [left.id]
    agent.files.put(PATHS.consent, NO)
    withdrawn = agent.run("narrowed")
    assert withdrawn["ok"]
    assert [each["id"] for each in withdrawn["result"]["consent"]["gone"]] == [left.id]


@pytest.mark.parametrize("data", DAMAGE, ids=["empty", "cut", "newer", "huge"])
@pytest.mark.parametrize("end", ["request", "reply", "attempted"])
def test_a_copy_that_the_disk_damaged_stops_nothing(agent: Simulated, end: str, data: bytes) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.run("narrowed")
    (left,) = agent.network.sent
    agent.files.put(PATHS.sent / f"{left.id}.{end}", data)
    assert agent.run("tick")["ok"]
    assert agent.run("sent")["ok"]
    agent.files.put(PATHS.consent, NO)
    assert agent.run("narrowed")["ok"]
    assert agent.run("history")["result"]["entries"][-1]["kind"] == "ConsentWithdrawn"


def test_a_damaged_secret_does_not_keep_a_withdrawal_from_being_done(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"72h", b"0h"))
    agent.run("narrowed")
    (left,) = agent.network.sent
    agent.files.put(PATHS.erasure / left.id, b"")
    agent.files.put(PATHS.consent, NO)
    agent.run("narrowed")
    assert agent.run("history")["result"]["entries"][-1]["kind"] == "ConsentWithdrawn"


def test_a_held_file_is_only_what_its_name_says(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES)
    agent.run("narrowed")
    (waiting,) = agent.run("held")["result"]["held"]
    kept = agent.files.entry(PATHS.held / waiting["id"])
    assert kept is not None
    other = kept.data.replace(waiting["id"].encode(), b"../../etc/x")
    agent.files.put(PATHS.held / waiting["id"], other)
    assert agent.run("held")["result"]["held"] == []


@pytest.mark.parametrize("path", [PATHS.license, PATHS.import_dir / "a.jws"])
@pytest.mark.parametrize("what", [{"owner": 1000}, {"mode": 0o666}, {"kind": "link"}, {"kind": "dir"}])
def test_a_file_of_root_that_does_not_count_stops_nothing(
    agent: Simulated, path: Path, what: dict[str, object]
) -> None:
    good = forge.lines(forge.delegation(), forge.license(iat=forge.NOW - 3600))
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
        forge.lines(forge.delegation(), forge.license(iat=forge.NOW - 3600, jti=f"license-{number}", tier=tier))
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
