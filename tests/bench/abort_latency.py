"""How long a report stays on the wire after a "no" was typed: from the command's start to the closed connection.

Everything is real, as in tests/integration/daemon/test_abort_latency.py: daemon, evaluate, courier, command, and a
server that never answers. Most of the time is the command's own start, so the same run measures a command that only reads
(`consent check`), and the ratio says what the cutting adds on any machine. Run by tests/bench/run.
"""

import statistics
import sys
import time
from collections.abc import Callable

from fixtures.authority.slow_authority import allowing
from fixtures.daemon.live_agent import Home, live_agent

GOAL_S = 1.0
ROUNDS = 5


def cut(home: Home) -> float:
    with allowing(home) as slow:
        begun = time.monotonic()
        home.type("consent", "deny", "usage_statistics")
        return slow.closed() - begun


def timed(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def main() -> int:
    cuts, reads = [], []
    for _ in range(ROUNDS):
        with live_agent() as home, home.daemon():
            cuts.append(cut(home))
            reads.append(timed(lambda: home.type("consent", "check")))
    middle, alone = statistics.median(cuts), statistics.median(reads)
    outcome = f"goal < {GOAL_S:.0f} s: {'met' if middle < GOAL_S else 'MISSED'}"
    sys.stdout.write(
        f'a "no" cuts a report under way\n  {middle:.2f} s from the command\'s start to the closed connection'
        f" ({min(cuts):.2f} to {max(cuts):.2f}, {ROUNDS} rounds), {outcome}\n"
        f"  {middle / alone:.2f} times a command that only reads ({alone:.2f} s)\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
