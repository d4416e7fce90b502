"""Notifies systemd (sd_notify(3)): ready, a status line, alive, stopping, and a socket to keep for the next start.

Nothing happens where `NOTIFY_SOCKET` is not set. A lost message is no error of ours: the socket belongs to the
manager, and a missed watchdog message is its own alarm.
"""

import socket
from array import array
from collections.abc import Mapping


class Notifier:
    """Sends notifications. `watchdog_s`: how often `alive` is due (half the unit's time); None without a watchdog."""

    def __init__(self, environment: Mapping[str, str], *, pid: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract address. Other kinds (vsock:) are for machines, not for services.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = self._open() if self._address[:1] in ("/", "\0") else None
        self.watchdog_s = _watchdog_s(environment, pid) if self._socket else None

    def ready(self, status: str) -> None:
        """Announces that requests are served."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """Sets the line that `systemctl status` shows."""
        self._send(f"STATUS={_one_line(status)}")

    def alive(self) -> None:
        """Resets the watchdog's time."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Announces the end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def keep(self, descriptor: int, name: str) -> None:
        """Has systemd keep a descriptor for the next start, in the place of an earlier one of this name."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._send(f"FDSTORE=1\nFDNAME={name}", descriptor)

    def close(self) -> None:
        """Closes the socket; nothing is sent any more."""
        if self._socket is not None:
            self._socket.close()

    @staticmethod
    def _open() -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        return opened

    def _send(self, message: str, *descriptors: int) -> None:
        if self._socket is None:
            return
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([message.encode("utf-8", "replace")], passed, 0, self._address)
        except OSError:
            return


def _one_line(text: str) -> str:
    """Returns text without what would end an assignment of the protocol's and begin another."""
    return " ".join(text.split())


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """Returns half the unit's WatchdogSec, if it was meant for this process (sd_watchdog_enabled(3))."""
    usec = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(usec) / 2_000_000 if usec.isdecimal() and int(usec) > 0 and meant else None
