"""The parts of the proof on booted systems that judge: a check that fails counts, a difference shows, a counter is read."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from architecture import junit_sum
from boot import clock, file_tree, host, link
from boot.checks import Checks
from boot.guest import children, converse

# As a kernel tells it: a line of names and one of numbers for each protocol.
SNMP = "Ip: Forwarding InReceives OutRequests\nIp: 2 5 7\nTcp: ActiveOpens\nTcp: 3\n"
DEVICES = """Inter-|   Receive |  Transmit
 face |bytes    packets errs
    lo:      10       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0
outside:    740       9    0    0    0     0          0         0      500       4    0    0    0     0       0          0
"""


@pytest.mark.parametrize(
    ("check", "good"),
    [
        (lambda checks: checks.same("what", 1, 1), True),
        (lambda checks: checks.same("what", 1, 2), False),
        (lambda checks: checks.like("what", "a+", "aa"), True),
        (lambda checks: checks.like("what", "a+", "aab"), False),
        (lambda checks: checks.soon("what", lambda: True), True),
        (lambda checks: checks.soon("what", lambda: False, 0), False),
    ],
)
def test_a_check_that_fails_counts_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], check: Callable[[Checks], None], good: bool
) -> None:
    checks = Checks(suite="trixie")
    check(checks)
    checks.write(tmp_path / "report.xml")
    counted = junit_sum.of_report((tmp_path / "report.xml").read_bytes())
    assert (counted.passed, counted.failed) == (int(good), int(not good)) == (checks.passed, checks.failed)
    assert capsys.readouterr().out.startswith("trixie    ok      what" if good else "trixie    FAILED  what: ")


def test_a_story_that_ends_early_is_a_failure() -> None:
    checks = Checks(suite="trixie")
    with pytest.raises(ZeroDivisionError), checks.story("short"):
        assert 1 / 0
    assert checks.failed == 1


def test_a_file_system_differs_where_a_file_does(tmp_path: Path) -> None:
    for name in ("kept", "gone", "edited", "opened", "run/pid"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    (tmp_path / "link").symlink_to("kept")
    before = file_tree.read(tmp_path)
    assert file_tree.changed(before, file_tree.read(tmp_path)) == []
    (tmp_path / "gone").unlink()
    (tmp_path / "edited").write_text("after!")
    (tmp_path / "opened").chmod(0o666)
    (tmp_path / "run/pid").unlink()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("gone")
    (tmp_path / "new").mkdir()
    assert file_tree.changed(before, file_tree.read(tmp_path)) == [
        "~ /edited",
        "- /gone",
        "~ /link",
        "+ /new",
        "~ /opened",
    ]


def test_the_kernels_counters_are_read() -> None:
    assert link.counters(SNMP)["Tcp", "ActiveOpens"] == 3
    assert link.counters(SNMP)["Ip", "OutRequests"] == 7
    assert link.packets(DEVICES, "outside") == 13
    with socket.socket(socket.AF_UNIX):
        assert link.counters(Path("/proc/net/snmp").read_text("ascii"))["Udp", "OutDatagrams"] >= 0


def test_the_clock_is_as_far_ahead_as_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("time", "clock_gettime"):
        monkeypatch.setattr(time, name, getattr(time, name))  # put back at the end
    before, booted = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    clock.fake(str(tmp_path / "ahead_s"))
    assert time.time() - before < 60
    (tmp_path / "ahead_s").write_text("86400\n")
    assert 86400 <= time.time() - before < 86460
    assert 86400 <= time.clock_gettime(time.CLOCK_BOOTTIME) - booted < 86460
    assert time.clock_gettime(time.CLOCK_MONOTONIC) < 86400 + booted


def test_what_is_asked_on_a_terminal_is_answered_there() -> None:
    asks = 'for word in one two; do printf "%s? > " $word >/dev/tty; read -r typed </dev/tty; echo "got $typed"; done'
    status, seen = converse(["sh", "-c", f"{asks}; exit 3"], {r"one\? >": "1", r"two\? >": "2"}, os.environ)
    assert status == 3
    assert "got 1\n" in seen
    assert "got 2\n" in seen


def test_children_are_found() -> None:
    assert os.getpid() in children(os.getppid())


def test_it_says_why_nothing_can_be_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    reason = host.cannot(["bookworm"])
    assert reason is not None
    assert ("needs root" if os.geteuid() != 0 else "not installed (apt install") in reason
