"""Lets time pass in the guest: `days.py CLOCK STEP_S STEPS` moves the faked clock, step by step.

After each step the daemon is asked one thing, which wakes it; what is due by its own reckoning it then begins, and the
next step waits until that has ended. Prints `passes`, how often that was. Standard library only, run in the guest.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

SOCKET = "/run/opanel-agent/agent.sock"
ANSWER = Path("/run/opanel-agent/answer.json")
PATIENCE_S = 100


def daemon() -> int:
    shown = subprocess.run(
        ["/usr/bin/systemctl", "show", "-p", "MainPID", "--value", "opanel-agent.service"],
        check=True,
        capture_output=True,
    )
    return int(shown.stdout)


def wake() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(SOCKET)
        connection.sendall(b"GET /v1/license HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while connection.recv(65536):
            pass


def is_busy(pid: int) -> bool:
    """Whether it has a child: the running job, until the daemon has taken up its end."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text("latin-1").rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            return True
    return False


def step(pid: int) -> int:
    """1 if the daemon had something to do."""
    before = ANSWER.stat().st_mtime_ns
    wake()
    ends_s = time.monotonic() + PATIENCE_S
    while is_busy(pid):
        if time.monotonic() > ends_s:
            sys.exit("cannot go on: a job does not end")
        time.sleep(0.02)
    return int(ANSWER.stat().st_mtime_ns != before)


def main(clock: Path, step_s: int, steps: int) -> None:
    pid, passes = daemon(), 0
    ahead_s = int(clock.read_text("ascii"))
    for _ in range(steps):
        ahead_s += step_s
        moved = clock.with_suffix(".new")
        moved.write_text(f"{ahead_s}\n", "ascii")
        os.replace(moved, clock)  # noqa: PTH105 - as short as it is atomic
        passes += step(pid)
    sys.stdout.write(f"{passes}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
