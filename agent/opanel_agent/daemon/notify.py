"""What systemd is told (sd_notify(3)): ready, a sentence for `systemctl status`, alive, stopping.

Nothing happens where `NOTIFY_SOCKET` is not set. A lost message is no error of ours: the socket belongs to the
manager, and a missed watchdog message is its own alarm.
"""

import socket
from collections.abc import Mapping


class Notifier:
    """`watchdog_s`: how often `alive` is due (half of what the unit gives); None without a watchdog."""

    def __init__(self, environment: Mapping[str, str], *, pid: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract address. Other kinds (vsock:) are for machines, not for services.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = self._open() if self._address[:1] in ("/", "\0") else None
        self.watchdog_s = _watchdog_s(environment, pid) if self._socket else None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    @staticmethod
    def _open() -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        return opened

    def _send(self, message: str) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto(message.encode(), self._address)
            except OSError:
                return


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """Half the unit's WatchdogSec, if it was meant for this process (sd_watchdog_enabled(3))."""
    usec = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(usec) / 2_000_000 if usec.isdecimal() and int(usec) > 0 and meant else None
