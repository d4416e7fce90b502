"""The real daemon, whose first day passes in seconds: a program for tests/bench/daemon, as light as what it weighs.

Where the loop would sleep, time jumps ahead, until a day has passed; jobs are the real evaluate and take the time they take.
"""

import sys
from selectors import DefaultSelector, SelectorKey

from opanel_agent.daemon.loop import Hooks, clock_s, main

DAY_S = 86_400.0
OURS = 2  # what is always watched: the listener and the signals


class Hurried(DefaultSelector):
    ahead_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        whole = Hurried.ahead_s >= DAY_S or len(self.get_map()) > OURS
        found = super().select(timeout if whole else 0.001)
        if not found and not whole:
            Hurried.ahead_s += timeout or 0.0
        return found


if __name__ == "__main__":
    sys.exit(main(hooks=Hooks(clock_s=lambda: clock_s() + Hurried.ahead_s, selector=Hurried)))
