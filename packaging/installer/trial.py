"""The first ten minutes of a new version: where it dies in them, the version before is put back.

opanel-agent-trial.service runs `watch`, and is there only that long. systemd starts a daemon that died anew for ever, so a
death shows in its count of restarts, which a restart by a person sets to 0.
"""

import time
from pathlib import Path
from typing import Final

from installer import previous
from installer.place import PENDING, SERVICE, TRIAL, UNITS, forget, note, one_at_a_time, printed, run, write
from installer.texts import CannotError, Voice

UNIT: Final = UNITS / TRIAL
PERIOD_S: Final = 2.0


def begin() -> None:
    """After an upgrade. Where systemd does not start it, the version is taken as good, as it has answered."""
    note(f"f {UNIT}")
    write(UNIT, Path(__file__).with_name(TRIAL).read_bytes())
    PENDING.unlink(missing_ok=True)
    run("systemctl", "daemon-reload")
    if not (run("systemctl", "-q", "enable", TRIAL) and run("systemctl", "start", TRIAL)):
        end()


def end() -> None:
    """Removes the unit and what it kept; nothing where there is neither."""
    if UNIT.exists():
        run("systemctl", "stop", TRIAL)
        _remove_unit()
    if previous.read() is not None and not PENDING.exists():
        previous.tidy()


def _remove_unit() -> None:
    run("systemctl", "-q", "disable", TRIAL)
    UNIT.unlink(missing_ok=True)
    forget(f"f {UNIT}")
    run("systemctl", "daemon-reload")


def watch(seconds: float, voice: Voice) -> None:
    """Waits so long since the upgrade. Raises CannotError `upgrade` where the version before was put back."""
    kept = previous.read()
    if kept is not None:
        spent = time.time() - previous.RECORD.stat().st_mtime
        dead = died(min(max(seconds - spent, 0.0), seconds))
        with one_at_a_time():
            if dead:
                voice.show("back")
                previous.put_back(kept)
                _remove_unit()
                raise CannotError("upgrade")
            previous.tidy()
    _remove_unit()


def died(seconds: float) -> bool:
    """Whether the daemon was started anew by systemd, or failed, in the time to come or since it was started."""
    end_s = time.monotonic() + seconds
    while True:
        found = dict(line.partition("=")[::2] for line in state().splitlines())
        if found.get("ActiveState") == "failed" or int(found.get("NRestarts") or 0) > 0:
            return True
        if time.monotonic() >= end_s:
            return False
        time.sleep(PERIOD_S)


def state() -> str:
    return printed("systemctl", "show", "-p", "NRestarts,ActiveState", SERVICE)
