"""A clock that a test may set, for every process of one Python: this machine's, and so many seconds more.

`fake(file)` changes what `time.time` and `time.clock_gettime` tell, wall clock and boot time alike, by the number that
the file holds at that moment. A file `*.pth` in an environment calls it before anything of the environment's runs. The
monotonic clock stays, so that what waits for the network waits for as long as it does.
"""

import time

SHIFTED = (time.CLOCK_REALTIME, time.CLOCK_BOOTTIME)


def fake(file: str) -> None:
    wall, gettime = time.time, time.clock_gettime

    def ahead_s() -> int:
        try:
            with open(file, encoding="ascii") as file_:  # noqa: PTH123 - it loads into the daemon, whose size is measured
                return int(file_.read())
        except FileNotFoundError:
            return 0

    time.time = lambda: wall() + ahead_s()
    time.clock_gettime = lambda which: gettime(which) + (ahead_s() if which in SHIFTED else 0)
