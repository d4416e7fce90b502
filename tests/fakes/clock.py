"""Clocks that only a test moves."""

from opanel_agent.core.effective_time import Reading, Wall

START_S = 1_800_000_000


class FakeClock:
    """`wall_s`, `boottime_s` and `boot_id` may also be set directly: a wall clock can be wrong."""

    def __init__(self, *, wall_s: int = START_S, boottime_s: int = 1000, boot_id: str = "boot-1") -> None:
        self.wall_s = wall_s
        self.boottime_s = boottime_s
        self.boot_id = boot_id
        self._boots = 1

    def read(self) -> Reading:
        return Reading(wall_s=Wall(self.wall_s), boottime_s=self.boottime_s, boot_id=self.boot_id)

    def read_wall(self) -> Wall:
        return Wall(self.wall_s)

    def advance(self, seconds: int) -> None:
        """Time passes: both clocks go on."""
        self.wall_s += seconds
        self.boottime_s += seconds

    def reboot(self, *, off_s: int = 60) -> None:
        """The machine is off for `off_s`: the wall clock goes on, the boot's clock begins anew."""
        self._boots += 1
        self.boot_id = f"boot-{self._boots}"
        self.wall_s += off_s
        self.boottime_s = 20
