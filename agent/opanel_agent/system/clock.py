"""Reads the wall clock, the boot clock and the boot id they belong to, together.

The wall clock is what the machine believes; CLOCK_BOOTTIME counts since the boot, sleep included, and nobody can set
it. Which of them to believe is not decided here (`core.license.effective_time`).
"""

import time
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.core.license.effective_time import ClockReading, Wall

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """This machine's clocks, in whole seconds."""

    def read(self) -> ClockReading:
        """One reading of both."""
        ...

    def read_wall(self) -> Wall:
        """The wall clock alone: all that fetch and courier need, who see no boot id."""
        ...


class LocalClock:
    """This machine's clocks."""

    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        self._boot_id = boot_id

    def read(self) -> ClockReading:
        """Raises Storage where the kernel does not tell its boot id: elapsed time could not be told from a reboot."""
        return ClockReading(
            wall_s=self.read_wall(),
            boottime_s=int(time.clock_gettime(time.CLOCK_BOOTTIME)),
            boot_id=self._read_boot_id(),
        )

    def read_wall(self) -> Wall:
        """Returns the wall clock in whole seconds since 1970, as any program may have set it."""
        return Wall(int(time.time()))

    def _read_boot_id(self) -> str:
        try:
            boot_id = self._boot_id.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise Storage(Fault.IO_FAILED, "boot_id", file=str(self._boot_id)) from exc
        if not boot_id:
            raise Storage(Fault.IO_FAILED, "boot_id", file=str(self._boot_id))
        return boot_id
