"""The agent finds each wall of its cage that does not hold, and the answer says how isolated it is.

That the units raise these walls is shown on a booted system (tests/boot/run).
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fixtures.simulated.simulated_agent import Simulated
from fixtures.unreadable import FAULTS, spoil
from opanel_agent.system.sandbox import WALLS, LocalSandbox, SandboxTests

DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"""
STATUS = """Name:\tpython
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
"""
MOUNTS = """36 35 98:0 / / rw,noatime master:1 - ext3 /dev/root rw,errors=continue
101 36 98:0 /tmp/systemd-private-0f-opanel-agent.service-Xyz/tmp /tmp rw - ext3 /dev/root rw
102 36 98:0 /var/tmp/systemd-private-0f-opanel-agent.service-Abc/tmp /var/tmp rw - ext3 /dev/root rw
"""
# As on the inside of the unit, booted (Debian 12, systemd 252).
FILES = {
    "proc/self/net/dev": DEV,
    "proc/self/status": STATUS,
    "proc/self/mountinfo": MOUNTS,
    "run/systemd/notify": "",
    "run/systemd/journal/socket": "",
    "run/credentials/opanel-agent.service/product_uuid": "absent",
    "run/opanel-agent/agent.sock": "",
    "dev/null": "",
    "dev/urandom": "",
}
TRIES = SandboxTests(
    opens=lambda _family: False,
    maps_code=lambda: False,
    sets_priority=lambda: False,
    read_only=lambda _path: True,
    uid=lambda: 990,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What a process sees; `without` is the same with one thing otherwise."""

    root: Path
    tries: SandboxTests = TRIES

    def write(self, path: str, text: str) -> "Inside":
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        return self

    def trying(self, **tries: Any) -> "Inside":
        return replace(self, tries=replace(self.tries, **tries))

    def missing(self) -> tuple[str, ...]:
        return LocalSandbox(self.root, tries=self.tries).missing()


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    whole = Inside(root=tmp_path)
    for path, text in FILES.items():
        whole.write(path, text)
    return whole


def test_in_the_whole_cage_nothing_is_missing(inside: Inside) -> None:
    assert inside.missing() == ()


@pytest.mark.parametrize(
    ("breach", "code"),
    [
        (lambda it: it.write("proc/self/net/dev", DEV + "  eth0: 9 9\n"), "network_namespace"),
        (lambda it: it.write("proc/self/net/dev", DEV.replace("lo:", "eth0:")), "network_namespace"),
        (lambda it: it.trying(opens=lambda family: family == socket.AF_INET), "internet_sockets"),
        (lambda it: it.trying(opens=lambda family: family == socket.AF_INET6), "internet_sockets"),
        (lambda it: it.trying(opens=lambda family: family == socket.AF_NETLINK), "internet_sockets"),
        (lambda it: it.write("run/dbus/system_bus_socket", ""), "other_services"),
        (lambda it: it.write("run/systemd/resolve/io.systemd.Resolve", ""), "other_services"),
        (lambda it: it.trying(uid=lambda: 0), "own_user"),
        (lambda it: it.write("proc/self/status", STATUS.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")), "privileges"),
        (lambda it: it.write("proc/self/status", STATUS.replace("CapAmb:\t0000000000000000\n", "")), "privileges"),
        *(
            (
                lambda it, name=name: it.write(
                    "proc/self/status", STATUS.replace(f"{name}:\t0000000000000000", f"{name}:\t0000000000001000")
                ),
                "privileges",
            )
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        ),
        (lambda it: it.trying(sets_priority=lambda: True), "system_calls"),
        (lambda it: it.trying(maps_code=lambda: True), "memory_execute"),
        (lambda it: it.trying(read_only=lambda path: path.name != "usr"), "read_only"),
        (lambda it: it.trying(read_only=lambda path: path.name != "etc"), "read_only"),
        (lambda it: it.write("home/ayse/notes", ""), "home_directories"),
        (lambda it: it.write("dev/sda", ""), "devices"),
        (lambda it: it.write("proc/1/status", ""), "processes"),
        (lambda it: it.write("proc/self/mountinfo", MOUNTS.replace(" /var/tmp ", " /mnt ")), "temporary_files"),
        (lambda it: it.write("proc/self/mountinfo", MOUNTS.replace("systemd-private-", "")), "temporary_files"),
    ],
)
def test_each_wall_that_does_not_hold_is_named_and_no_other(
    inside: Inside, breach: Callable[[Inside], Inside], code: str
) -> None:
    assert breach(inside).missing() == (code,)


def test_what_cannot_be_looked_at_is_missing(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "proc/self/net/dev").unlink()
    assert inside.missing() == ("network_namespace",)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("path", "wall"),
    [
        ("proc/self/net/dev", "network_namespace"),
        ("proc/self/status", "privileges"),
        ("proc/self/mountinfo", "temporary_files"),
    ],
)
def test_a_file_of_the_kernel_that_fails_costs_its_wall_and_no_pass(
    inside: Inside, tmp_path: Path, path: str, wall: str, fault: str
) -> None:
    spoil(tmp_path / path, fault)
    assert LocalSandbox(tmp_path, tries=TRIES).missing() == (wall,)


def test_an_empty_list_of_homes_is_still_a_list(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert inside.missing() == ("home_directories",)


def test_this_test_runs_in_no_cage() -> None:
    """The tries are real ones: outside of the unit they succeed."""
    found = LocalSandbox().missing()
    assert {"internet_sockets", "other_services", "privileges", "system_calls", "memory_execute"} <= set(found)
    assert ("own_user" in found) is (os.geteuid() == 0)
    assert set(found) <= WALLS.keys()


def test_an_answer_from_the_whole_cage_says_kernel() -> None:
    answer = Simulated().run("tick")["answer"]
    assert answer["isolation"] == {"level": "kernel", "missing": []}
    assert not {"isolation_partial", "isolation_none"} & set(answer["license"]["reasons"])


def test_an_answer_says_what_is_missing() -> None:
    agent = Simulated()
    agent.cage.without = ("network_namespace", "devices")
    answer = agent.run("tick")["answer"]
    assert answer["isolation"] == {"level": "partial", "missing": ["network_namespace", "devices"]}
    assert "isolation_partial" in answer["license"]["reasons"]


def test_without_systemd_s_sockets_the_walls_do_not_count() -> None:
    agent = Simulated()
    agent.outlet.isolated = False
    answer = agent.run("tick")["answer"]
    assert answer["isolation"] == {"level": "none", "missing": ["systemd_sockets"]}
    assert "isolation_none" in answer["license"]["reasons"]
    assert "isolation_partial" not in answer["license"]["reasons"]
