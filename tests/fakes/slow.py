"""A server that takes a report and does not answer, and an agent that is in the middle of sending one to it."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from fakes import wire
from fakes.lived import AGENT, Home
from opanel_agent.system.data import installed_notice

REPORTS: Final = "/v1/reports/usage_statistics"
ALLOWED: Final = f"""schema = 1
notice = "{installed_notice()}"

[purposes.usage_statistics]
allow = true
hold = "0h"
"""


@dataclass(slots=True)
class Slow:
    """`arrived` when a whole request did; with `answer` set it is answered, else never. `received`: its bytes."""

    received: bytes = b""
    arrived: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)
    _gone: threading.Event = field(default_factory=threading.Event)
    _gone_at: float = 0.0

    def closed(self) -> float:
        """When the client was seen to go, on the monotonic clock; waits for that."""
        assert self._gone.wait(90), "the connection was never closed"
        return self._gone_at

    def __call__(self, connection: socket.socket) -> None:
        self.arrived.set()
        connection.settimeout(0.01)
        try:
            while not self.answer.is_set():
                try:
                    if not connection.recv(1):
                        return
                except TimeoutError:
                    continue
            connection.sendall(wire.answer("503 Service Unavailable"))
        finally:
            self._gone_at = time.monotonic()
            self._gone.set()


@contextmanager
def allowing(home: Home) -> Iterator[Slow]:
    """Allows reports that wait for nothing; the one that follows is on the wire when this returns."""
    slow = Slow()
    home.rude.says[REPORTS] = slow
    consent = home.config / "consent.toml"
    consent.write_text(ALLOWED)
    consent.chmod(0o600)
    with subprocess.Popen(
        [*AGENT, "consent", "allow", "usage_statistics"],
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as allow:
        try:
            assert slow.arrived.wait(60), home.rude.heard
            slow.received = home.rude.last
            yield slow
        finally:
            slow.answer.set()
            allow.terminate()
