"""Proves that advisories are kept and told as signed, once each, and that no older set takes their place."""

import pytest

from fakes import forge
from fakes.agent import PATHS, Simulated
from fakes.files import Stopped
from fakes.refusal import refused
from opanel_agent.jobs import advisories
from opanel_agent.jobs.desk import Desk, sit_down

STATE = PATHS.advisories.with_suffix(".json")
HIGH = forge.advisory()
LOW = forge.advisory(jti="advisory-2", seq=2, severity="low", fixed_in=None)
LAST = forge.advisory(jti="advisory-3", seq=3, severity="critical")


@pytest.fixture
def agent() -> Simulated:
    return Simulated()


@pytest.fixture
def desk(agent: Simulated) -> Desk:
    return sit_down(agent.world)


def ids(desk: Desk) -> list[object]:
    return [each["id"] for each in advisories.load(desk) if isinstance(each, dict)]


def test_before_the_first_there_are_none(desk: Desk) -> None:
    assert advisories.load(desk) == []


def test_they_are_told_as_they_were_signed_newest_first(desk: Desk) -> None:
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    newest, oldest = advisories.load(desk)
    assert oldest == {
        "id": "advisory-1",
        "seq": 1,
        "severity": "high",
        "title": {"tr": "Güncelleyin", "en": "Please update"},
        "body": {"tr": "Bir açık kapatıldı.", "en": "A hole was closed."},
        "fixed_in": "0.1.1",
        "exp": forge.NOW + 90 * forge.DAY,
    }
    assert isinstance(newest, dict)
    assert (newest["id"], newest["fixed_in"]) == ("advisory-2", None)


def test_the_next_pass_reads_them_from_the_disk(agent: Simulated, desk: Desk) -> None:
    advisories.adopt(desk, forge.lines(HIGH))
    assert ids(sit_down(agent.world)) == ["advisory-1"]


def test_one_that_has_ended_is_not_told(agent: Simulated, desk: Desk) -> None:
    advisories.adopt(desk, forge.lines(forge.advisory(exp=forge.NOW + 100), LOW))
    agent.clock.advance(99)
    assert ids(sit_down(agent.world)) == ["advisory-2", "advisory-1"]
    agent.clock.advance(1)
    assert ids(sit_down(agent.world)) == ["advisory-2"]


def test_a_set_replaces_the_one_before_whole(desk: Desk) -> None:
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    advisories.adopt(desk, forge.lines(LOW))
    assert ids(desk) == ["advisory-2"]


@pytest.mark.parametrize("older", [forge.lines(HIGH), b""])
def test_an_older_set_takes_nothing_away(desk: Desk, older: bytes) -> None:
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    with refused("advisories_older"):
        advisories.adopt(desk, older)
    assert ids(desk) == ["advisory-2", "advisory-1"]


def test_the_floor_holds_when_the_kept_set_or_the_state_is_lost(agent: Simulated, desk: Desk) -> None:
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    agent.files.take_away(PATHS.advisories)
    with refused("advisories_older"):
        advisories.adopt(desk, forge.lines(HIGH))
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    agent.files.take_away(STATE)
    with refused("advisories_older"):
        advisories.adopt(desk, forge.lines(HIGH))


@pytest.mark.parametrize("junk", [b"{", b'{"schema":1,"floors":{},"told":[],"more":1}', b'{"schema":2}'])
def test_a_broken_state_is_said_and_written_anew(
    agent: Simulated, desk: Desk, junk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(STATE, junk)
    advisories.adopt(desk, forge.lines(HIGH))
    assert "advisories_state_lost" in capsys.readouterr().err
    advisories.adopt(desk, forge.lines(HIGH))
    assert "advisories_state_lost" not in capsys.readouterr().err


def test_a_set_whose_key_the_root_dropped_is_said_and_not_told(
    agent: Simulated, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(PATHS.advisories, forge.lines(forge.advisory(by=forge.STATUS)))
    assert advisories.load(desk) == []
    assert "advisories_refused" in capsys.readouterr().err


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [each for each in capsys.readouterr().err.splitlines() if "security_advisory" in each]


def test_the_journal_has_each_once_and_what_is_grave_as_a_warning(
    agent: Simulated, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    advisories.adopt(desk, forge.lines(HIGH, LOW))
    high, low = told(capsys)
    assert high.startswith("warning: ")
    assert 'id=advisory-1 severity=high title="Please update" fixed_in=0.1.1' in high
    assert low.startswith("info: ")
    assert "fixed_in=none" in low
    advisories.adopt(sit_down(agent.world), forge.lines(HIGH, LOW, LAST))
    (last,) = told(capsys)
    assert last.startswith("warning: ")
    assert "advisory-3" in last


def test_one_that_has_ended_is_not_news(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    advisories.adopt(desk, forge.lines(forge.advisory(exp=forge.NOW)))
    assert told(capsys) == []


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(12))
def test_a_crash_leaves_the_old_set_or_the_new_and_the_floor(
    agent: Simulated, desk: Desk, step: int, *, keep: bool
) -> None:
    advisories.adopt(desk, forge.lines(HIGH))
    agent.files.stop_at(step)
    with pytest.raises(Stopped):
        advisories.adopt(desk, forge.lines(HIGH, LOW))
    agent.files.crash(keep=keep)
    after = sit_down(agent.world)
    assert ids(after) in (["advisory-1"], ["advisory-2", "advisory-1"])
    advisories.adopt(after, forge.lines(HIGH, LOW))
    with refused("advisories_older"):
        advisories.adopt(after, forge.lines(HIGH))
