"""Proves when the next check is made.

Daily at a drawn time, every 15 minutes while watched, back-off with jitter, Retry-After within bounds, a missed check
made up, and that a clock set back silences nothing.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license import schedule
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.units import DAY_S, HOUR_S

NOON = 20_000 * DAY_S + DAY_S // 2
MIDNIGHT = 20_001 * DAY_S
LAST = 1 - 2**-53

draws = st.floats(0, 1, exclude_max=True)
QUIET = Schedule(next_check_s=NOON)


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 600), (0.5, 2100), (0.999, 3597)])
def test_what_is_known_to_have_changed_is_looked_at_within_the_hour(draw: float, wait_s: int) -> None:
    planned = Schedule(next_check_s=NOON + DAY_S)
    assert schedule.soon(planned, NOON, draw).next_check_s == NOON + wait_s
    sooner = Schedule(next_check_s=NOON + 60)
    assert schedule.soon(sooner, NOON, draw) == sooner


def test_the_first_check_comes_within_a_day_and_not_because_of_the_start() -> None:
    assert schedule.plan_first(NOON, 0.5) == Schedule(next_check_s=NOON + DAY_S // 2)
    assert not schedule.due(schedule.plan_first(NOON, 0.001), NOON)


@pytest.mark.parametrize(("draw", "at"), [(0.0, MIDNIGHT), (0.25, MIDNIGHT + DAY_S // 4), (LAST, MIDNIGHT + DAY_S - 1)])
def test_after_a_list_the_next_check_is_some_time_on_the_next_day(draw: float, at: int) -> None:
    planned = schedule.after_success(Schedule(next_check_s=NOON, failures=3, watching=True), NOON, draw, sighting=False)
    assert planned == Schedule(next_check_s=at)


@given(st.lists(draws, min_size=1, max_size=30))
@settings(max_examples=50)
def test_each_day_has_exactly_one_check(drawn: list[float]) -> None:
    plan = QUIET
    for day, draw in enumerate(drawn, start=1):
        plan = schedule.after_success(plan, plan.next_check_s, draw, sighting=False)
        assert plan.next_check_s // DAY_S == NOON // DAY_S + day


def test_a_list_that_gave_this_installation_a_status_is_looked_at_again_in_15_minutes() -> None:
    watched = schedule.after_success(QUIET, NOON, 0.9, sighting=True)
    assert watched == Schedule(next_check_s=NOON + 900, watching=True)
    assert not schedule.due(watched, NOON + 899)
    assert schedule.due(watched, NOON + 900)


@pytest.mark.parametrize(("failures", "least_s", "most_s"), [(0, 900, 10800), (1, 64800, 129600), (40, 64800, 129600)])
def test_a_failure_is_retried_once_soon_and_then_about_once_a_day(failures: int, least_s: int, most_s: int) -> None:
    before = Schedule(next_check_s=NOON, failures=failures)
    soonest = schedule.after_failure(before, NOON, 0.0)
    latest = schedule.after_failure(before, NOON, LAST)
    assert soonest.next_check_s - NOON == least_s
    assert latest.next_check_s - NOON == most_s - 1
    assert soonest.failures == latest.failures == failures + 1


def test_who_is_watched_keeps_looking_every_15_minutes_through_failures_and_stays_watched() -> None:
    plan = schedule.after_failure(Schedule(next_check_s=NOON, failures=9, watching=True), NOON, LAST)
    assert plan.next_check_s == NOON + 899
    assert plan.watching


def test_retry_after_holds_everything_off() -> None:
    plan = schedule.after_failure(QUIET, NOON, 0.0, retry_after_s=3600)
    assert not schedule.due(plan, NOON + 3599)
    assert schedule.due(plan, NOON + 3600)
    assert schedule.held_off_s(plan, NOON + 3599) == 1
    assert schedule.held_off_s(plan, NOON + 3600) == 0


def test_retry_after_is_honoured_up_to_24_hours() -> None:
    plan = schedule.after_failure(QUIET, NOON, 0.0, retry_after_s=10 * DAY_S)
    assert schedule.held_off_s(plan, NOON) == DAY_S
    assert schedule.wait_s(plan, NOON) == DAY_S


def test_a_short_retry_after_does_not_shorten_the_back_off() -> None:
    plan = schedule.after_failure(QUIET, NOON, 0.0, retry_after_s=5)
    assert schedule.wait_s(plan, NOON) == 900


def test_success_ends_the_failures_and_what_a_server_asked_for() -> None:
    held = schedule.after_failure(QUIET, NOON, 0.0, retry_after_s=3600)
    assert schedule.after_success(held, NOON, 0.0, sighting=False) == Schedule(next_check_s=MIDNIGHT)
    assert schedule.after_failure(held, NOON, 0.0).not_before_s == 0


def test_wait_counts_down_to_the_check() -> None:
    assert schedule.wait_s(QUIET, NOON - 10) == 10
    assert schedule.wait_s(QUIET, NOON) == 0
    assert schedule.wait_s(QUIET, NOON + 10) == 0


def test_a_start_alone_is_no_reason() -> None:
    assert schedule.at_start(QUIET, NOON - 1, 0.0, wall_s=NOON - 1) == QUIET


@pytest.mark.parametrize(("draw", "later_s"), [(0.0, 0), (0.5, 3600), (LAST, 7199)])
def test_a_missed_check_is_made_up_within_two_hours_of_the_start(draw: float, later_s: int) -> None:
    started = NOON + 5 * DAY_S
    made_up = schedule.at_start(Schedule(next_check_s=NOON, failures=2, watching=True), started, draw, wall_s=0)
    assert made_up == Schedule(next_check_s=started + later_s, failures=2, watching=True)


def test_starting_again_does_not_put_a_check_off_again() -> None:
    made_up = schedule.at_start(QUIET, NOON + DAY_S, 0.5, wall_s=NOON + DAY_S)
    assert schedule.at_start(made_up, NOON + DAY_S + 60, 0.9, wall_s=NOON + 9 * DAY_S) == made_up


def test_a_check_that_only_the_wall_clock_knows_to_be_missed_is_made_up_too() -> None:
    """Effective time stood still while the machine was off."""
    planned = Schedule(next_check_s=NOON + 20 * HOUR_S)
    woken = schedule.at_start(planned, NOON, 0.5, wall_s=NOON + 5 * DAY_S)
    assert woken.next_check_s == NOON + HOUR_S
    assert schedule.at_start(woken, NOON + 60, 0.9, wall_s=NOON + 5 * DAY_S) == woken
    soon = schedule.at_start(planned, NOON, 0.5, wall_s=NOON + 19 * HOUR_S)
    assert soon.next_check_s == NOON + HOUR_S, "the wall clock has it in an hour, effective time in twenty"
    assert schedule.at_start(planned, NOON, 0.5, wall_s=NOON - 5 * DAY_S) == planned, (
        "one that is behind puts nothing off"
    )


def test_what_is_stored_before_asking_is_the_plan_after_a_failure_that_keeps_what_a_server_asked_for() -> None:
    held = Schedule(next_check_s=NOON, failures=1, not_before_s=NOON - 5)
    stored = schedule.before_asking(held, NOON, 0.5)
    assert stored == replace(schedule.after_failure(held, NOON, 0.5), not_before_s=NOON - 5)
    assert not schedule.due(stored, NOON)
    held = Schedule(next_check_s=NOON + 20 * HOUR_S, not_before_s=NOON + 3 * HOUR_S)
    assert schedule.at_start(held, NOON, 0.5, wall_s=NOON + 5 * DAY_S) == held


def test_a_clock_set_back_by_a_dropped_key_silences_nothing() -> None:
    month_ahead = Schedule(next_check_s=NOON + 30 * DAY_S, not_before_s=NOON + 30 * DAY_S)
    assert schedule.due(month_ahead, NOON)
    assert schedule.due(Schedule(next_check_s=NOON + 2 * DAY_S + 1), NOON)
    assert not schedule.due(Schedule(next_check_s=NOON + 2 * DAY_S), NOON)


moments = st.integers(0, 2**40)
befores = st.builds(Schedule, next_check_s=moments, failures=st.integers(0, 40), watching=st.booleans())


@given(befores, moments, draws, st.booleans() | moments)
@settings(max_examples=60)
def test_no_plan_is_further_ahead_than_two_days(before: Schedule, now: int, draw: float, outcome: bool | int) -> None:
    if isinstance(outcome, bool):
        plan = schedule.after_success(before, now, draw, sighting=outcome)
    else:
        plan = schedule.after_failure(before, now, draw, retry_after_s=outcome)
    assert 0 <= plan.next_check_s - now <= 2 * DAY_S
    assert schedule.due(plan, now + schedule.wait_s(plan, now))


def read(schedule_json: Json) -> Schedule:
    return schedule.from_json(Members(loads(dumps(schedule_json), max_bytes=4096), "schedule.json"))


@pytest.mark.parametrize("kept", [QUIET, Schedule(next_check_s=1, failures=2, not_before_s=3, watching=True)])
def test_what_is_saved_is_read_back(kept: Schedule) -> None:
    assert read(schedule.to_json(kept)) == kept


GOOD = schedule.to_json(QUIET)


@pytest.mark.parametrize(
    "schedule_json",
    [
        [],
        {},
        {**GOOD, "schema": 2},
        {**GOOD, "more": 1},
        {**GOOD, "next_check_s": "soon"},
        {**GOOD, "failures": True},
        {**GOOD, "watching": 1},
        {name: value for name, value in GOOD.items() if name != "not_before_s"},
    ],
)
def test_any_other_file_is_refused(schedule_json: Json) -> None:
    with pytest.raises(Untrusted) as caught:
        read(schedule_json)
    assert caught.value.code is Reason.FORMAT_INVALID
