"""The daemon over days that pass at once: when it wakes, when the watchdog is fed, and that nothing grows."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures.daemon.live_daemon import AGENT
from fixtures.processes import ended

TICKS = Path(__file__).parents[2] / "fixtures/daemon/daemon_clock_program.py"
DAY_S = 86_400


def command(directory: Path, *, ticks: int, next_run_s: int, hangs: int = 0) -> list[str]:
    options = {
        "agent": str(AGENT),
        "directory": str(directory),
        "ticks": ticks,
        "next_run_s": next_run_s,
        "hangs": hangs,
    }
    return [sys.executable, "-I", str(TICKS), json.dumps(options)]


@contextmanager
def manager(place: Path) -> Iterator[socket.socket]:
    """Systemd's end of the notification."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as bound:
        bound.bind(str(place))
        bound.setblocking(False)
        yield bound


def lived(place: Path, *, ticks: int, next_run_s: int, watchdog_s: int = 0) -> dict[str, Any]:
    environment = dict(os.environ)
    with manager(place / "n"):
        if watchdog_s:
            environment |= {"NOTIFY_SOCKET": str(place / "n"), "WATCHDOG_USEC": str(watchdog_s * 1_000_000)}
        ran = subprocess.run(
            command(place / "r", ticks=ticks, next_run_s=next_run_s),
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=600,
        )
    cost: dict[str, Any] = json.loads(ran.stdout)
    return cost


def test_it_wakes_for_the_watchdog_and_for_what_is_due(tmp_path: Path) -> None:
    """Ten days of one evaluation each under the unit's WatchdogSec: the loop sleeps once for each, and never else."""
    cost = lived(tmp_path, ticks=11, next_run_s=DAY_S, watchdog_s=60)
    assert cost["slept_s"] == pytest.approx(10 * DAY_S)
    assert 10 * 2880 <= cost["sleeps"] <= 10 * 2880 + 11
    assert 10 * 2880 <= cost["alive"] <= 10 * 2880 + 2


def test_without_a_watchdog_it_wakes_for_what_is_due_and_to_see_that_the_machine_slept(tmp_path: Path) -> None:
    """Select counts no time asleep, so no single sleep is longer than ten minutes."""
    cost = lived(tmp_path, ticks=11, next_run_s=DAY_S)
    assert 10 * 144 <= cost["sleeps"] <= 10 * 144 + 11
    assert cost["alive"] == 0


@pytest.mark.parametrize(("hangs", "fed"), [(1, 0), (2, 5)])
def test_a_turn_that_hangs_does_not_feed_the_watchdog(tmp_path: Path, hangs: int, fed: int) -> None:
    """The turn in which a job's end is looked at and never comes back; the second job begins four seconds later."""
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "2000000"}
    with (
        manager(tmp_path / "n") as heard,
        subprocess.Popen(
            command(tmp_path / "r", ticks=9, next_run_s=4, hangs=hangs), env=environment, stdout=subprocess.PIPE
        ) as hanging,
        ended(hanging),
    ):
        assert hanging.stdout is not None
        assert hanging.stdout.readline() == b"hangs\n"
        before = messages_of(heard)
        hanging.kill()
        hanging.wait()
    assert before.count("WATCHDOG=1") == fed
    assert before[0].startswith("READY=1")


def messages_of(heard: socket.socket) -> list[str]:
    messages = []
    try:
        while True:
            messages.append(heard.recv(1000).decode())
    except BlockingIOError:
        return messages


@pytest.mark.slow
def test_nothing_grows_over_many_ticks(tmp_path: Path) -> None:
    """Twenty thousand; tests/bench/ticks lives through a million."""
    cost = lived(tmp_path, ticks=20_000, next_run_s=60, watchdog_s=60)
    assert cost["late"]["descriptors"] == cost["early"]["descriptors"]
    assert cost["late"]["objects"] <= cost["early"]["objects"] + 10
    assert cost["late"]["rss_kb"] <= cost["early"]["rss_kb"] + 256
