"""A million evaluations and a day of waiting: that nothing of the daemon grows, and how often it wakes.

The real loop on a clock of its own, with jobs in its own process (tests/fixtures/daemon/daemon_clock_program.py). Told are
memory, objects
of the collector and descriptors after a tenth of the ticks and after all, and the loop's sleeps in a day under the
unit's watchdog to those that the watchdog and what is due make necessary. Run by tests/bench/run; TICKS=N for fewer.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import opanel_agent
from bench.daemon import print_line, verdict

TICKS = int(os.environ.get("TICKS", "1000000"))
PROGRAM = Path(__file__).parents[1] / "fixtures/daemon/daemon_clock_program.py"
DAY_S = 86_400
GROWTH_GOAL = 1.02


def lived(ticks: int, next_run_s: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        options = {
            "agent": str(Path(opanel_agent.__file__).parents[1]),
            "directory": f"{place}/r",
            "ticks": ticks,
            "next_run_s": next_run_s,
            "hangs": 0,
        }
        # A manager that nobody reads for: messages to it are lost, as they may be.
        environment = {**os.environ, "NOTIFY_SOCKET": f"{place}/none", "WATCHDOG_USEC": "60000000"}
        ran = subprocess.run(
            [sys.executable, "-I", str(PROGRAM), json.dumps(options)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    cost: dict[str, Any] = json.loads(ran.stdout)
    return cost


def main() -> int:
    day = lived(2, DAY_S)
    due = DAY_S // 30 + 1
    woken = day["sleeps"]
    print_line(
        f"wake-ups in a day, to the watchdog's and what is due: {woken / due:.3f} × ({woken} to {due}); "
        f"goal ≤ 1.0 ×: {verdict(woken <= due)}"
    )
    cost = lived(TICKS, 60)
    for name in ("rss_kb", "objects", "descriptors"):
        late, early = cost["late"][name], cost["early"][name]
        print_line(
            f"daemon {name} after {TICKS} ticks, to after a tenth of them: {late / early:.3f} × ({late} to {early}); "
            f"goal ≤ {GROWTH_GOAL} ×: {verdict(late <= early * GROWTH_GOAL)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
