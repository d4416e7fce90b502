"""When the status list is asked for next.

Theory of operation. Once each day, at a time drawn anew (UTC days of effective
time): mirrors see no rhythm and no herd. After a list that gave this
installation 1, 2 or 3, every 15 minutes, so that a mistake ends soon after it
is corrected. After a failure once more within a quarter of an hour to three
hours, which mends a network that was down for a moment, and then about once a
day: a list is good for weeks, and a fleet that cannot reach its mirrors must
not storm them. So while an outage lasts, and after it, a mirror sees at most
three times the requests of an ordinary minute (tests/properties/test_fleet_load.py).
`Retry-After` holds everything off for up to 24 h. A check that was missed while
the machine or the agent was off is made up within two hours of the start; a
start alone is no reason. Elapsed time counts there as the wall clock has it,
since effective time knows nothing of the time that the machine was off.

Effective time goes back when the root drops a key. A plan further ahead than
any rule plans is one that was made before that, and counts as due: else a list
that was a month ahead would silence the checks for a month.

Pure: `now` is effective time, `draw` a random number in [0, 1). The caller
saves the Schedule. Not here: whether a request is permitted, which mirror it
goes to, and when documents are renewed.
"""

from typing import Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import frozen, replace

WATCH_S: Final = 900
FIRST_RETRY_S: Final = (900, 3 * HOUR_S)
LATER_RETRY_S: Final = (18 * HOUR_S, 36 * HOUR_S)
RETRY_AFTER_MAX_S: Final = DAY_S
MAKE_UP_S: Final = 2 * HOUR_S
SOON_MIN_S: Final = 600
SOON_SPREAD_S: Final = 3000
AHEAD_MAX_S: Final = 2 * DAY_S
_FAILURES_MAX: Final = 1000


@frozen
class Schedule:
    """`failures` in a row; `not_before_s` as a server asked, or 0; `watching` after a list that gave 1, 2 or 3."""

    next_check_s: int
    failures: int = 0
    not_before_s: int = 0
    watching: bool = False


def plan_first(now: int, draw: float) -> Schedule:
    """Returns the plan of an installation that has none: some time in the day to come."""
    return Schedule(next_check_s=now + int(draw * DAY_S))


def after_success(schedule: Schedule, now: int, draw: float, *, sighting: bool) -> Schedule:
    """Returns the plan once a list was accepted.

    `sighting`: it gave this license, activation or delegation 1, 2 or 3.
    """
    tomorrow_s = (now // DAY_S + 1) * DAY_S
    next_s = now + WATCH_S if sighting else tomorrow_s + int(draw * DAY_S)
    return replace(schedule, next_check_s=next_s, failures=0, not_before_s=0, watching=sighting)


def after_failure(schedule: Schedule, now: int, draw: float, *, retry_after_s: int | None = None) -> Schedule:
    """Returns the plan once no mirror gave a list.

    `retry_after_s`: as the last server asked, if it did.
    """
    failures = min(schedule.failures + 1, _FAILURES_MAX)
    # Whoever watches asks every 15 minutes anyway: waiting longer after a
    # failure would save nobody anything.
    least_s, most_s = FIRST_RETRY_S if failures == 1 else LATER_RETRY_S
    if schedule.watching:
        least_s, most_s = 60, WATCH_S
    wait_s = least_s + int(draw * (most_s - least_s))
    held_s = now + min(retry_after_s, RETRY_AFTER_MAX_S) if retry_after_s else 0
    return replace(schedule, next_check_s=now + wait_s, failures=failures, not_before_s=held_s)


def before_asking(schedule: Schedule, now: int, draw: float) -> Schedule:
    """Returns the plan to store before the list is asked for: the one after a failure, which it is if the pass dies."""
    return replace(after_failure(schedule, now, draw), not_before_s=schedule.not_before_s)


def at_start(schedule: Schedule, now: int, draw: float, *, wall_s: int) -> Schedule:
    """Returns the plan when the agent starts: as it was, or a missed check made up within two hours.

    Where the wall clock is ahead of effective time, the check comes when the
    wall clock says that it is due. One that is planned within two hours anyway
    stays where it is: starting often must not put it off.
    """
    if due(schedule, now):
        return replace(schedule, next_check_s=now + int(draw * MAKE_UP_S))
    if schedule.next_check_s <= now + MAKE_UP_S or held_off_s(schedule, now) > 0 or wall_s <= now:
        return schedule
    left_s = schedule.next_check_s - wall_s
    return replace(schedule, next_check_s=now + (left_s if left_s > 0 else int(draw * MAKE_UP_S)))


def soon(schedule: Schedule, now: int, draw: float) -> Schedule:
    """Returns the plan for a list that is known to have changed.

    Within the hour, not in the same minutes as what changed it.
    """
    return replace(schedule, next_check_s=min(schedule.next_check_s, now + SOON_MIN_S + int(draw * SOON_SPREAD_S)))


def due(schedule: Schedule, now: int) -> bool:
    """Tells whether the check is to be made now."""
    return wait_s(schedule, now) == 0


def wait_s(schedule: Schedule, now: int) -> int:
    """Returns the seconds until the check is due; 0 when it is."""
    planned_s = schedule.next_check_s - now
    if planned_s > AHEAD_MAX_S:
        planned_s = 0
    return max(0, planned_s, held_off_s(schedule, now))


def held_off_s(schedule: Schedule, now: int) -> int:
    """Returns the seconds for which a server's `Retry-After` still asks for silence, commands included; 0 for none."""
    left_s = schedule.not_before_s - now
    return left_s if 0 < left_s <= RETRY_AFTER_MAX_S else 0


def to_json(schedule: Schedule) -> dict[str, Json]:
    """Returns the shape of schedule.json."""
    return {"schema": 1, **record.to_json(schedule)}


def from_json(members: Members) -> Schedule:
    """Returns the schedule that `to_json` wrote; Untrusted for anything else, and the caller starts with `plan_first`."""
    members.constant("schema", 1)
    return record.read(Schedule, members)
