"""What systemd is told, seen on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from opanel_agent.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The manager's end, and its name as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@opanel-test-{os.getpid()}"
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(name.replace("@", "\0") if name[0] == "@" else name)
    end.settimeout(5)
    yield end, name
    end.close()


def test_what_is_said(manager: tuple[socket.socket, str]) -> None:
    end, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name}, pid=1)
    notifier.ready("no answer yet")
    notifier.status("license active\nREADY=1 (ok\ud800)")
    notifier.alive()
    notifier.stopping()
    assert [end.recv(1000) for _ in range(4)] == [
        b"READY=1\nSTATUS=no answer yet",
        b"STATUS=license active READY=1 (ok?)",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=stopping",
    ]
    notifier.close()


@pytest.mark.parametrize("name", ["", "vsock:2:1", "relative", "/nowhere/at/all"])
def test_nobody_there_is_no_trouble(name: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": name} if name else {}, pid=1)
    notifier.ready("x")
    notifier.close()


def test_a_full_socket_does_not_block(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "n"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "n")}, pid=1)
        for _ in range(10_000):
            notifier.alive()
        notifier.close()


@pytest.mark.parametrize(
    ("environment", "min_interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environment: dict[str, str], min_interval_s: float | None) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere", **environment}, pid=7)
    assert notifier.watchdog_s == min_interval_s
    notifier.close()


def test_without_a_manager_there_is_no_watchdog() -> None:
    assert Notifier({"WATCHDOG_USEC": "30000000"}, pid=7).watchdog_s is None


def test_a_descriptor_is_kept_in_the_place_of_the_last(manager: tuple[socket.socket, str]) -> None:
    end, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name}, pid=1)
    with socket.socket(socket.AF_UNIX) as kept:
        notifier.keep(kept.fileno(), "healed")
        assert end.recv(1000) == b"FDSTOREREMOVE=1\nFDNAME=healed"
        message, (descriptor,), _, _ = socket.recv_fds(end, 1000, 1)
        assert message == b"FDSTORE=1\nFDNAME=healed"
        assert os.path.sameopenfile(descriptor, kept.fileno())
        os.close(descriptor)
    notifier.close()
