"""Reads the wall clock, the boot clock and the boot id they belong to, together.

The wall clock is what the machine believes; CLOCK_BOOTTIME counts since the boot, sleep included, and nobody can set
it. Which of them to believe is not decided here (`core.license.effective_time`).
"""

import re
import time
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.license.effective_time import ClockReading, Wall
from opanel_agent.system.log import log_event

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MAX_BYTES: Final = 64


class Clock(Protocol):
    """This machine's clocks, in whole seconds."""

    def read(self) -> ClockReading:
        """Makes one reading of both."""
        ...

    def read_wall(self) -> Wall:
        """Reads the wall clock alone: all that fetch and courier need, who see no boot id."""
        ...


class LocalClock:
    """This machine's clocks."""

    def __init__(self, boot_id: Path = BOOT_ID) -> None:
        self._boot_id = boot_id

    def read(self) -> ClockReading:
        """Returns a reading without a boot id, and logs it, where the kernel does not tell one (random(4))."""
        return ClockReading(
            wall_s=self.read_wall(),
            boottime_s=int(time.clock_gettime(time.CLOCK_BOOTTIME)),
            boot_id=self._read_boot_id(),
        )

    def read_wall(self) -> Wall:
        """Returns the wall clock in whole seconds since 1970, as any program may have set it."""
        return Wall(int(time.time()))

    def _read_boot_id(self) -> str | None:
        try:
            with self._boot_id.open("rb") as file:
                boot_id = file.read(_MAX_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            boot_id, kind = "", type(exc).__name__
        else:
            kind = "no_boot_id"
        if re.fullmatch(_UUID, boot_id):
            return boot_id
        log_event("collector_failed", level="warning", collector="boot_id", kind=kind)
        return None
