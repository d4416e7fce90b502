"""Both clocks are read together with their boot, and a boot that is not told is unknown rather than guessed."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.simulated.fake_clock import FakeClock
from fixtures.simulated.simulated_agent import Simulated
from fixtures.unreadable import FAULTS, spoil
from opanel_agent.system.clock import BOOT_ID, LocalClock


def test_a_reading_is_of_now() -> None:
    wall, boot = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    reading = LocalClock().read()
    assert 0 <= reading.wall_s - int(wall) <= 60
    assert 0 <= reading.boottime_s - int(boot) <= 60
    assert reading.boot_id == BOOT_ID.read_text().strip()
    assert LocalClock().read().boot_id == reading.boot_id


@pytest.mark.parametrize("fault", FAULTS)
def test_a_boot_that_is_not_told_is_unknown_and_a_line_says_so(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    boot_id = tmp_path / "boot_id"
    spoil(boot_id, fault)
    reading = LocalClock(boot_id).read()
    assert reading.boot_id is None
    assert reading.boottime_s > 0
    assert "collector=boot_id" in capsys.readouterr().err


def test_fetch_and_courier_see_no_boot_and_need_none(tmp_path: Path) -> None:
    """Their unit shows them processes only (ProcSubset=pid), so that no id of this boot is theirs to tell."""
    agent, blind = Simulated(), LocalClock(tmp_path / "boot_id")
    agent.outlet.reading = replace(agent.outlet.reading, clock=blind)
    assert agent.run("refresh")["ok"]
    agent.install(signing.bundle())
    assert agent.run("activate")["error"]["detail"] == "connect_failed"  # it came as far as the network
    assert 0 <= blind.read_wall() - int(time.time()) <= 60


def test_the_fake_moves_when_told() -> None:
    clock = FakeClock(wall_s=1000, boottime_s=10)
    first = clock.read()
    clock.advance(5)
    later = clock.read()
    assert (later.wall_s, later.boottime_s, later.boot_id) == (1005, 15, first.boot_id)
    clock.reboot(off_s=60)
    again = clock.read()
    assert (again.wall_s, again.boottime_s) == (1065, 20)
    assert again.boot_id != first.boot_id
