"""A resident that lives on a clock of its own, with jobs in its own process: a program, its only argument JSON.

{"agent": folder of the package, "directory": …, "ticks": how many, "next_run_s": …, "hangs": at which tick, 0 for none}

The real loop, its real socket, signals, desk and diary. Time passes only where the loop would sleep. After the last tick it
ends by SIGTERM and prints what it cost: {"sleeps", "slept_s", "alive", "early", "late"}, the last two being memory,
objects and descriptors after a tenth of the ticks and after all.
"""

import gc
import json
import os
import signal
import sys
import time
from selectors import DefaultSelector, SelectorKey
from typing import Any

told = json.loads(sys.argv[1])
sys.path.insert(0, told["agent"])

from opanel_agent.resident.children import Child, Ended  # noqa: E402
from opanel_agent.resident.claim import Ground  # noqa: E402
from opanel_agent.resident.diary import Diary  # noqa: E402
from opanel_agent.resident.loop import Job, Resident, Terms, World  # noqa: E402
from opanel_agent.resident.notify import Notifier  # noqa: E402

cost: dict[str, Any] = {"sleeps": 0, "slept_s": 0.0, "alive": 0}
ticks = 0


def now_s() -> float:
    return float(cost["slept_s"])


class Hurried(DefaultSelector):
    """Waits for nothing: what it would wait, has passed."""

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found = super().select(0)
        if not found:
            cost["sleeps"] += 1
            cost["slept_s"] += timeout or 0.0
        return found


class Counting(Notifier):
    def alive(self) -> None:
        cost["alive"] += 1
        super().alive()


class Within(Child):
    """A job that has ended before anybody looks."""

    def __init__(self, *_told: object) -> None:
        global ticks  # noqa: PLW0603 - the program is this counter
        ticks += 1
        self.deadline_s = now_s() + 120
        self.stdin = self.stdout = None
        self.pid = 0
        signal.raise_signal(signal.SIGCHLD)

    def reap(self) -> Ended:
        if ticks == told["hangs"]:
            sys.stdout.write("hangs\n")
            sys.stdout.flush()
            time.sleep(600)
        if ticks in (told["ticks"] // 10, told["ticks"]):
            cost["early" if ticks < told["ticks"] else "late"] = weight()
        if ticks == told["ticks"]:
            os.kill(os.getpid(), signal.SIGTERM)
        return Ended(output=frame(), error=None)

    def end(self, error: object) -> None:
        pass


def frame() -> bytes:
    line = {"event": "purged", "level": "info", "message": "m", "fields": {"id": ticks}}
    license_ = {"schema": 1, "state": "grace" if ticks % 7 else "active", "reasons": ["ok"], "as_of": ticks}
    answer = {"schema": 1, "license": license_, "consent": {"schema": 1}, "last_left": None}
    return json.dumps(
        {
            "schema": 1,
            "ok": True,
            "error": None,
            "answer": answer,
            "next_run_s": told["next_run_s"],
            "result": {},
            "journal": [line],
            "language": "tr",
        }
    ).encode()


def weight() -> dict[str, int]:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - as light as what it weighs
        pages = int(statm.read().split()[1])
    return {
        "rss_kb": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        "objects": len(gc.get_objects()),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - as above
    }


place = told["directory"]
ground = Ground(
    directory=place,
    lock=f"{place}/resident.lock",
    socket=f"{place}/agent.sock",
    answer=f"{place}/answer.json",
    owner=os.getuid(),
    make=True,
)
resident = Resident(
    ground,
    Job(command=[], environment={}),
    notifier=Counting(os.environ, pid=os.getpid()),
    diary=Diary(lambda event, **fields: None, "en"),
    terms=Terms(),
    world=World(clock_s=now_s, selector=Hurried, spawn=Within),
)
status = resident.run()
sys.stdout.write(json.dumps(cost) + "\n")
sys.exit(status)
