"""Writes times as people read them: the moment in this server's zone, and how far it is from now."""

import time
from typing import Final

from opanel_agent.cli.context import Context
from opanel_agent.core.units import DAY_S, HOUR_S, MINUTE_S

_UNITS: Final = (
    (DAY_S, "time.in_days", "time.ago_days"),
    (HOUR_S, "time.in_hours", "time.ago_hours"),
    (MINUTE_S, "time.in_minutes", "time.ago_minutes"),
)


def moment(seconds: int) -> str:
    """Returns a time to the minute, in this server's zone and saying which. Far ones mean never and have no date."""
    return _written(seconds, "%Y-%m-%d %H:%M %Z")


def day(seconds: int) -> str:
    """Returns the day of a time, in this server's zone."""
    return _written(seconds, "%Y-%m-%d")


def relative(world: Context, seconds: int) -> str:
    """Returns how far a time is from now: `in 30 days`, `5 hours ago`.

    What is ahead is rounded up, what is past down. The unit changes where there are two of the next one, so that no
    count is one.
    """
    distance_s = seconds - int(world.now_s())
    for unit_s, ahead, past in _UNITS:
        if distance_s >= 2 * unit_s:
            return world.sentence(ahead, count=-(-distance_s // unit_s))
        if -distance_s >= 2 * unit_s:
            return world.sentence(past, count=-distance_s // unit_s)
    return world.sentence("time.in_moment" if distance_s > 0 else "time.ago_moment")


def _written(seconds: int, form: str) -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)
