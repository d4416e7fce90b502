"""Opens one connection to fetch or courier, and exchanges one question and one answer over it.

Apart from `network.client`, which is imported by every pass: most passes ask nobody.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from opanel_agent.core.consent.purposes import MAX_REPLY_BYTES
from opanel_agent.core.wire.message import MAX_LINE_BYTES
from opanel_agent.system import environment, process
from opanel_agent.system.process import KernelLimits, Streams

_MAX_FRAME_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_REPLY_BYTES


def exchange(connection: socket.socket, question: bytes, deadline: float) -> bytes:
    """Sends the question and returns the answer, both to their end. Raises OSError, TimeoutError among it."""
    connection.settimeout(_left(deadline))
    connection.sendall(question)
    connection.shutdown(socket.SHUT_WR)
    parts: list[bytes] = []
    size = 0
    while True:
        connection.settimeout(_left(deadline))
        part = connection.recv(65536)
        size += len(part)
        if not part or size > _MAX_FRAME_BYTES:
            return b"".join(parts) if size <= _MAX_FRAME_BYTES else b"\n"
        parts.append(part)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextmanager
def connect(path: Path, *, timeout_s: float) -> Iterator[socket.socket]:
    """Connects to a socket of systemd's, which starts the program. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        yield connection


@contextmanager
def start(program: str, *, system: bool, quiet: bool) -> Iterator[socket.socket]:
    """Starts a program that speaks over a socketpair; in the caller's session, so that ending the job ends it as well."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted
            pid = process.start(
                [sys.executable, "-I", "-m", "opanel_agent", program],
                environment.select(os.environ, user_folders=not system),
                Streams(theirs.fileno(), theirs.fileno(), nowhere.fileno() if quiet else None),
                limits=KernelLimits(),
                new_session=False,
            )
        try:
            yield ours
        finally:
            process.end_group(pid)
