"""Proves the arithmetic of effective time.

It moves forward, but for what only the wall clock said; nobody gains by setting a clock, a wrong clock locks nobody out,
a signed time lifts within its cap, once, and goes with its key.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license import effective_time
from opanel_agent.core.license.effective_time import FAR_S, LIFT_S, ClockReading, ClockState, Wall
from opanel_agent.core.units import DAY_S, HOUR_S

T0 = 1_800_000_000
UP = 5_000


def at(wall_s: int, boottime_s: int = UP, boot_id: str | None = "one") -> ClockReading:
    return ClockReading(wall_s=Wall(wall_s), boottime_s=boottime_s, boot_id=boot_id)


def after(seconds: int, *, ahead_s: int = 0) -> ClockReading:
    """In the same boot, with a wall clock that is `ahead_s` of the truth."""
    return at(T0 + seconds + ahead_s, UP + seconds)


START = effective_time.first(at(T0), T0)  # a document proves it


def now(mark: ClockState) -> int:
    return effective_time.now(mark)


@pytest.mark.parametrize(
    ("reading", "leapt_s"),
    [
        (after(DAY_S), 0),
        (after(DAY_S, ahead_s=HOUR_S), HOUR_S),
        (after(DAY_S, ahead_s=-HOUR_S), 0),
        (at(T0 + DAY_S, 600, "two"), DAY_S - 600),  # off for most of a day
        (at(T0 + DAY_S, DAY_S, "two"), 0),
    ],
)
def test_what_went_by_without_uptime_is_a_leap(reading: ClockReading, leapt_s: int) -> None:
    assert effective_time.leapt_s(START, effective_time.advance(START, reading)) == leapt_s


def test_a_signed_time_ahead_is_a_leap() -> None:
    lifted = effective_time.lift(START, "a", T0 + 3 * DAY_S, after(HOUR_S, ahead_s=3 * DAY_S))
    assert effective_time.leapt_s(START, lifted) == 3 * DAY_S


# The own clock


def test_the_first_mark_believes_the_wall_clock() -> None:
    assert now(START) == T0
    assert not effective_time.clock_suspect(START)


def test_the_first_mark_is_never_before_what_documents_prove() -> None:
    assert now(effective_time.first(at(0), T0)) == T0


def test_time_passes() -> None:
    assert now(effective_time.advance(START, after(DAY_S))) == T0 + DAY_S


@pytest.mark.parametrize("back_s", [1, HOUR_S, FAR_S, FAR_S + 1, 400 * DAY_S])
def test_a_clock_wound_back_is_not_followed(back_s: int) -> None:
    assert now(effective_time.advance(START, after(DAY_S, ahead_s=-back_s))) == T0 + DAY_S


@pytest.mark.parametrize("ahead_s", [1, 10, HOUR_S, FAR_S])
def test_a_clock_a_little_ahead_is_followed(ahead_s: int) -> None:
    assert now(effective_time.advance(START, after(0, ahead_s=ahead_s))) == T0 + ahead_s


def test_a_clock_one_second_further_ahead_is_not() -> None:
    assert now(effective_time.advance(START, after(0, ahead_s=FAR_S + 1))) == T0


def test_a_clock_far_ahead_is_followed_by_two_hours_an_hour() -> None:
    mark = effective_time.advance(START, after(HOUR_S, ahead_s=3650 * DAY_S))
    assert now(mark) == T0 + HOUR_S + 2 * HOUR_S
    for hours in range(2, 11):
        mark = effective_time.advance(mark, after(hours * HOUR_S, ahead_s=3650 * DAY_S))
    assert now(mark) == T0 + 30 * HOUR_S


def test_the_allowance_for_small_steps_is_used_up_and_refills_with_uptime() -> None:
    mark = effective_time.advance(START, after(0, ahead_s=FAR_S))
    assert now(effective_time.advance(mark, after(0, ahead_s=FAR_S + HOUR_S))) == T0 + FAR_S
    later = effective_time.advance(mark, after(10 * HOUR_S, ahead_s=FAR_S))
    assert (
        now(effective_time.advance(later, after(10 * HOUR_S, ahead_s=2 * FAR_S)))
        == T0 + 10 * HOUR_S + FAR_S + 20 * HOUR_S
    )


def test_the_allowance_does_not_grow_beyond_its_size() -> None:
    rested = effective_time.advance(START, after(30 * DAY_S))
    assert rested.allowance_s == FAR_S


# A new boot


def test_a_new_boot_goes_on_by_the_wall_clock() -> None:
    assert now(effective_time.advance(START, at(T0 + HOUR_S, 60, "two"))) == T0 + HOUR_S


def test_a_new_boot_after_a_week_off_catches_up_at_the_slow_rate() -> None:
    booted = effective_time.advance(START, at(T0 + 7 * DAY_S, 60, "two"))
    assert now(booted) == T0 + 60 + 120
    running = effective_time.advance(booted, at(T0 + 7 * DAY_S + HOUR_S, 60 + HOUR_S, "two"))
    assert now(running) == T0 + 180 + 3 * HOUR_S


def test_a_new_boot_with_the_clock_wound_far_back_still_counts_its_boot_time() -> None:
    assert now(effective_time.advance(START, at(0, 9 * DAY_S, "two"))) == T0 + 9 * DAY_S


def test_a_state_moved_to_a_machine_that_has_been_up_for_a_year_does_not_age_by_it() -> None:
    assert now(effective_time.advance(START, at(T0 + HOUR_S, 365 * DAY_S, "two"))) == T0 + HOUR_S
    assert now(effective_time.advance(START, at(T0 - 10, 365 * DAY_S, "two"))) == T0


def test_the_boundary_at_which_a_wall_clock_behind_is_no_witness() -> None:
    assert now(effective_time.advance(START, at(T0 - FAR_S, HOUR_S, "two"))) == T0
    assert now(effective_time.advance(START, at(T0 - FAR_S - 1, HOUR_S, "two"))) == T0 + HOUR_S


def test_a_boot_clock_that_goes_back_within_its_boot_stands_still() -> None:
    back = effective_time.advance(START, at(0, UP - 100))
    assert now(back) == T0
    assert now(effective_time.advance(back, at(0, UP))) == T0 + 100


# Lifts


def test_a_signed_time_lifts_a_clock_that_is_behind() -> None:
    wound_back = effective_time.first(at(T0 - 5 * DAY_S), 0)
    lifted = effective_time.lift(wound_back, "key", T0, at(T0 - 5 * DAY_S))
    assert now(lifted) == T0
    assert now(effective_time.advance(lifted, at(T0 - 5 * DAY_S, UP + HOUR_S))) == T0 + HOUR_S


def test_an_old_signed_time_changes_nothing() -> None:
    assert replace(effective_time.lift(START, "key", T0 - DAY_S, at(T0)), lifts={}) == START


@pytest.mark.parametrize("beyond_s", [1, 300 * DAY_S])
def test_a_signed_time_alone_lifts_by_30_days_at_most(beyond_s: int) -> None:
    assert now(effective_time.lift(START, "key", T0 + LIFT_S - 1, at(T0))) == T0 + LIFT_S - 1
    assert now(effective_time.lift(START, "key", T0 + LIFT_S + beyond_s, at(T0))) == T0 + LIFT_S


def test_the_cap_is_above_elapsed_boot_time() -> None:
    later = effective_time.lift(START, "key", T0 + 900 * DAY_S, after(7 * DAY_S))
    assert now(later) == T0 + 7 * DAY_S + LIFT_S


def test_a_wall_clock_that_is_at_least_there_lifts_the_cap() -> None:
    far = T0 + 200 * DAY_S
    assert now(effective_time.lift(START, "key", far - 3 * DAY_S, at(far))) == far - 3 * DAY_S
    assert now(effective_time.lift(START, "key", far + FAR_S, at(far))) == far + FAR_S
    assert now(effective_time.lift(START, "key", far + FAR_S + 1, at(far))) == T0 + LIFT_S


@pytest.mark.parametrize("off_s", [-FAR_S, 0, FAR_S])
def test_a_fresh_list_corroborates_a_wall_clock_far_ahead(off_s: int) -> None:
    far = T0 + 200 * DAY_S
    mark = effective_time.lift(replace(START, allowance_s=0), "key", far + off_s, at(far))
    assert mark.own_s == far
    assert mark.allowance_s == FAR_S
    assert now(effective_time.drop(mark, ())) == far


@pytest.mark.parametrize("off_s", [-FAR_S - 1, FAR_S + 1])
def test_a_list_one_second_further_away_does_not(off_s: int) -> None:
    far = T0 + 200 * DAY_S
    assert effective_time.lift(START, "key", far + off_s, at(far)).own_s == T0


def test_adopting_the_wall_clock_shrinks_the_lifts_by_as_much() -> None:
    lifted = effective_time.lift(START, "key", T0 + 20 * DAY_S, at(T0))
    jumped = effective_time.advance(lifted, after(0, ahead_s=DAY_S))
    assert (jumped.own_s, dict(jumped.lifts)) == (T0 + DAY_S, {"key": 19 * DAY_S})
    assert now(jumped) == now(lifted)


def test_a_lift_that_the_own_clock_has_overtaken_adds_nothing() -> None:
    lifted = effective_time.lift(START, "key", T0 + HOUR_S, at(T0))
    jumped = effective_time.advance(lifted, after(0, ahead_s=2 * HOUR_S))
    assert (now(jumped), dict(jumped.lifts)) == (T0 + 2 * HOUR_S, {"key": -HOUR_S})


# What only the wall clock said


@pytest.mark.parametrize("ahead_s", [8 * DAY_S, 3650 * DAY_S])
def test_a_first_reading_that_was_wrong_is_taken_back_when_clock_and_list_agree(ahead_s: int) -> None:
    wrong = effective_time.first(at(T0 + ahead_s), T0 - 60 * DAY_S)
    corrected = effective_time.advance(wrong, after(HOUR_S))
    assert now(corrected) == T0 + ahead_s + HOUR_S  # a clock alone takes nothing back
    listed = effective_time.lift(corrected, "key", T0 - HOUR_S, after(2 * HOUR_S))
    assert (now(listed), listed.unwitnessed_s) == (T0 + 2 * HOUR_S, 0)
    assert not effective_time.clock_suspect(listed)


def test_what_was_followed_at_the_slow_rate_is_taken_back_too() -> None:
    """84 hours beside a wall clock that is a year ahead."""
    mark = START
    for hour in range(1, 85):
        mark = effective_time.advance(mark, after(hour * HOUR_S, ahead_s=365 * DAY_S))
    assert now(mark) == T0 + 3 * 84 * HOUR_S
    assert now(effective_time.lift(mark, "key", T0 + 84 * HOUR_S, after(84 * HOUR_S))) == T0 + 84 * HOUR_S


def test_boot_time_is_never_taken_back() -> None:
    ran = effective_time.advance(START, after(40 * DAY_S, ahead_s=-39 * DAY_S))
    replayed = effective_time.lift(ran, "key", T0 + DAY_S, after(40 * DAY_S, ahead_s=-39 * DAY_S))
    assert now(replayed) == T0 + 40 * DAY_S


def test_what_was_signed_is_never_taken_back_but_with_its_key() -> None:
    wrong = effective_time.first(at(T0 + 50 * DAY_S), T0)
    signed = effective_time.lift(wrong, "two", T0 + 20 * DAY_S, at(T0 + 50 * DAY_S))
    back = effective_time.lift(signed, "one", T0, at(T0))
    assert (back.own_s, now(back)) == (T0, T0 + 20 * DAY_S)
    assert now(effective_time.drop(back, {"one"})) == T0


def test_a_license_bears_the_clock_out_and_makes_up_for_the_time_off() -> None:
    woken = at(T0 + 60 * HOUR_S, 60, "two")
    behind = effective_time.advance(START, woken)
    assert now(behind) < T0 + 30 * HOUR_S
    assert now(effective_time.corroborate(behind, T0 + 59 * HOUR_S, woken)) == T0 + 60 * HOUR_S
    old = effective_time.corroborate(behind, T0 + 31 * HOUR_S, at(T0 + 90 * HOUR_S, 60, "two"))
    assert now(old) == T0 + 31 * HOUR_S  # both say that it is at least that late
    assert now(effective_time.corroborate(behind, T0 + 400 * DAY_S, woken)) == T0 + 60 * HOUR_S


def test_a_license_dated_ahead_lifts_nothing() -> None:
    assert now(effective_time.corroborate(START, T0 + 400 * DAY_S, at(T0))) == T0


def test_each_key_has_its_own_lift_and_the_greatest_counts() -> None:
    one = effective_time.lift(START, "one", T0 + 10 * DAY_S, at(T0))
    two = effective_time.lift(one, "two", T0 + 20 * DAY_S, at(T0))
    assert now(two) == T0 + 20 * DAY_S
    assert now(effective_time.drop(two, {"one"})) == T0 + 10 * DAY_S
    assert now(effective_time.drop(two, {"two", "three"})) == T0 + 20 * DAY_S
    assert now(effective_time.drop(two, ())) == T0


def test_a_lower_signed_time_of_the_same_key_takes_nothing_back() -> None:
    high = effective_time.lift(START, "key", T0 + 10 * DAY_S, at(T0))
    assert effective_time.lift(high, "key", T0 + 5 * DAY_S, at(T0)) == high


# A clock that disagrees


@pytest.mark.parametrize("ahead_s", [-FAR_S - 1, 3650 * DAY_S])
def test_a_wall_clock_that_disagrees_for_24_hours_is_suspect(ahead_s: int) -> None:
    mark = effective_time.advance(START, after(0, ahead_s=ahead_s))
    assert mark.disagreed_s == 0
    assert not effective_time.clock_suspect(effective_time.advance(mark, after(DAY_S - 1, ahead_s=ahead_s)))
    assert effective_time.clock_suspect(effective_time.advance(mark, after(DAY_S, ahead_s=ahead_s)))


def test_the_count_goes_on_from_reading_to_reading_and_ends_when_the_clock_agrees() -> None:
    mark = START
    for hours in range(25):
        mark = effective_time.advance(mark, after(hours * HOUR_S, ahead_s=-2 * FAR_S))
    assert effective_time.clock_suspect(mark)
    agreeing = effective_time.advance(mark, after(25 * HOUR_S, ahead_s=-FAR_S))
    assert agreeing.disagreed_s is None
    assert not effective_time.clock_suspect(agreeing)


def test_a_list_that_corroborates_the_wall_clock_ends_the_suspicion() -> None:
    mark = effective_time.advance(START, after(0, ahead_s=90 * DAY_S))
    suspect = effective_time.advance(mark, after(DAY_S, ahead_s=90 * DAY_S))
    assert effective_time.clock_suspect(suspect)
    reading = after(DAY_S, ahead_s=90 * DAY_S)
    assert not effective_time.clock_suspect(effective_time.lift(suspect, "key", reading.wall_s, reading))


def test_a_lift_away_from_the_wall_clock_begins_the_count() -> None:
    lifted = effective_time.lift(START, "key", T0 + 3 * DAY_S, at(T0))
    assert lifted.disagreed_s == 0


def test_a_lift_does_not_hurry_the_count() -> None:
    mark = effective_time.advance(START, after(0, ahead_s=-9 * DAY_S))
    assert not effective_time.clock_suspect(
        effective_time.lift(mark, "key", T0 + 20 * DAY_S, after(60, ahead_s=-9 * DAY_S))
    )


# Whatever happens

walls = st.one_of(
    st.just(0),
    st.integers(-10, 10),
    st.integers(-2 * FAR_S, 2 * FAR_S),
    st.integers(-T0, 4000 * DAY_S),
)
gaps = st.one_of(st.integers(0, HOUR_S), st.integers(0, 5 * DAY_S))
iats = st.integers(-40 * DAY_S, 4000 * DAY_S)


@st.composite
def lives(draw: st.DrawFn, *, lifts: bool = True, reboots: bool = True) -> list[tuple[str, ClockReading, int]]:
    """What happens to a machine: readings with any wall clock, lifts, reboots. The last is the `iat` of a lift, or 0."""
    life = []
    truth, boottime, boot = T0, UP, 1
    for _ in range(draw(st.integers(1, 12))):
        gap = draw(gaps)
        truth, boottime = truth + gap, boottime + gap
        kind = draw(st.sampled_from(["advance", *(["one", "two"] if lifts else []), *(["reboot"] if reboots else [])]))
        if kind == "reboot":
            boot, boottime, truth = boot + 1, draw(st.integers(0, 90)), truth + draw(gaps)
        reading = at(max(0, truth + draw(walls)), boottime, f"boot {boot}")
        near_wall = draw(st.booleans())
        iat = max(0, (reading.wall_s if near_wall else truth) + draw(iats)) if kind in ("one", "two") else 0
        life.append((kind, reading, iat))
    return life


def live(life: list[tuple[str, ClockReading, int]]) -> list[ClockState]:
    marks = [replace(START, boot_id="boot 1")]
    for kind, reading, iat in life:
        lifting = kind in ("one", "two")
        marks.append(
            effective_time.lift(marks[-1], kind, iat, reading)
            if lifting
            else effective_time.advance(marks[-1], reading)
        )
    return marks


@given(lives())
@settings(max_examples=60)
def test_it_goes_back_only_by_what_only_the_wall_clock_said(life: list[tuple[str, ClockReading, int]]) -> None:
    marks = live(life)
    for before, after_ in pairwise(marks):
        assert now(after_) >= now(before) - before.unwitnessed_s


@given(lives(reboots=False))
@settings(max_examples=200)
def test_it_never_goes_back_behind_what_was_signed_and_the_boot_time_since(
    life: list[tuple[str, ClockReading, int]],
) -> None:
    proved = T0
    for (kind, reading, iat), before, mark in zip(life, live(life), live(life)[1:], strict=False):
        proved += reading.boottime_s - before.boottime_s
        if kind in ("one", "two") and iat <= reading.wall_s + FAR_S:
            proved = max(proved, iat)
        assert now(mark) >= proved


@given(lives(reboots=False))
@settings(max_examples=60)
def test_winding_back_gains_nothing_whatever_the_wall_clock_says_boot_time_counts(
    life: list[tuple[str, ClockReading, int]],
) -> None:
    for mark in live(life)[1:]:
        assert mark.own_s >= T0 + mark.boottime_s - UP


@given(lives(lifts=False, reboots=False))
@settings(max_examples=60)
def test_creep_gains_nothing_without_a_list_the_clock_is_a_day_ahead_and_triple_at_most(
    life: list[tuple[str, ClockReading, int]],
) -> None:
    for mark in live(life):
        uptime_s = mark.boottime_s - UP
        assert now(mark) <= T0 + 3 * uptime_s + FAR_S


@given(lives())
@settings(max_examples=60)
def test_the_same_reading_again_changes_nothing(life: list[tuple[str, ClockReading, int]]) -> None:
    for (_, reading, _), mark in zip(life, live(life)[1:], strict=True):
        assert effective_time.advance(mark, reading) == mark


@given(lives())
@settings(max_examples=60)
def test_a_lift_repeated_at_once_adds_nothing(life: list[tuple[str, ClockReading, int]]) -> None:
    mark = live([])[0]
    for kind, reading, iat in life:
        mark = effective_time.lift(mark, kind, iat, reading)
        assert effective_time.lift(mark, kind, iat, reading) == mark


@given(st.lists(st.tuples(gaps, st.integers(0, 4000 * DAY_S)), min_size=1, max_size=20))
@settings(max_examples=60)
def test_lists_without_the_wall_clocks_word_never_accumulate_beyond_30_days(steps: list[tuple[int, int]]) -> None:
    mark, elapsed = START, 0
    for gap, ahead_s in steps:
        elapsed += gap
        reading = after(elapsed)
        mark = effective_time.lift(mark, "key", reading.wall_s + FAR_S + 1 + ahead_s, reading)
        assert now(mark) <= T0 + elapsed + LIFT_S


@given(lives(lifts=False), st.lists(st.integers(FAR_S + 1, 4000 * DAY_S), min_size=12, max_size=12))
@settings(max_examples=60)
def test_dropping_a_key_leaves_what_would_be_without_it(
    life: list[tuple[str, ClockReading, int]], aheads: list[int]
) -> None:
    without = live(life)[-1]
    mark = live([])[0]
    for (_, reading, _), ahead_s in zip(life, aheads, strict=False):
        mark = effective_time.lift(mark, "thief", reading.wall_s + ahead_s, reading)
    dropped = effective_time.drop(mark, {"good"})
    assert (now(dropped), dropped.own_s, dict(dropped.lifts)) == (now(without), without.own_s, {})


@given(st.lists(st.tuples(gaps, st.integers(-10, 10), st.integers(-10, 10) | st.none()), min_size=1, max_size=20))
@settings(max_examples=60)
def test_ten_seconds_of_skew_stay_ten_seconds(steps: list[tuple[int, int, int | None]]) -> None:
    mark, elapsed = START, 0
    for gap, wall_skew, list_skew in steps:
        elapsed += gap
        reading = after(elapsed, ahead_s=wall_skew)
        mark = effective_time.advance(mark, reading)
        if list_skew is not None:
            mark = effective_time.lift(mark, "key", T0 + elapsed + list_skew, reading)
        assert 0 <= now(mark) - (T0 + elapsed) <= 10
        assert mark.disagreed_s is None


@given(lives())
@settings(max_examples=50)
def test_a_mark_is_what_its_file_says(life: list[tuple[str, ClockReading, int]]) -> None:
    for mark in live(life):
        assert read(effective_time.to_json(mark)) == mark


@given(lives(), st.integers(1, 11))
@settings(max_examples=50)
def test_reading_the_clocks_more_often_changes_nothing_for_an_honest_clock(
    life: list[tuple[str, ClockReading, int]], parts: int
) -> None:
    often = START
    for step in range(1, parts + 1):
        often = effective_time.advance(often, after(DAY_S * step // parts))
    assert often == effective_time.advance(START, after(DAY_S))


# The file


def read(clock_json: Json) -> ClockState:
    return effective_time.from_json(Members(loads(dumps(clock_json), max_bytes=65536), "clock.json"))


def test_thumbprints_that_begin_with_a_hyphen_or_underscore_are_kept() -> None:
    mark = replace(START, lifts={"-abc": 1, "_abc": 2}, disagreed_s=7)
    assert read(effective_time.to_json(mark)) == mark


# ---- a boot that the kernel does not tell


def untold(seconds: int, *, ahead_s: int = 0) -> ClockReading:
    """As `after`, where the kernel does not tell its boot id."""
    return at(T0 + seconds + ahead_s, UP + seconds, None)


def test_where_no_boot_is_told_time_runs_with_the_wall_clock() -> None:
    mark = effective_time.first(untold(0), T0)
    for hour in range(1, 24 * 365):
        mark = effective_time.advance(mark, untold(hour * HOUR_S))
    assert now(mark) == T0 + (24 * 365 - 1) * HOUR_S
    assert read(effective_time.to_json(mark)) == mark


def test_a_wall_clock_far_behind_adds_what_ran_since_and_not_the_whole_uptime_again() -> None:
    mark = effective_time.first(untold(0), T0)
    for hour in range(1, 100):
        mark = effective_time.advance(mark, untold(hour * HOUR_S, ahead_s=-30 * DAY_S))
    assert now(mark) == T0 + 99 * HOUR_S


def test_a_boot_that_is_told_again_is_no_more_than_what_ran() -> None:
    mark = effective_time.first(untold(0), T0)
    assert now(effective_time.advance(mark, after(HOUR_S, ahead_s=-30 * DAY_S))) == T0 + HOUR_S
    known = effective_time.advance(START, untold(HOUR_S, ahead_s=-30 * DAY_S))
    assert now(known) == T0 + HOUR_S


def test_uptime_that_went_back_is_a_new_boot_and_counts_whole() -> None:
    mark = effective_time.first(untold(0), T0)
    assert now(effective_time.advance(mark, at(T0 - 30 * DAY_S, 60, None))) == T0 + 60


def test_a_hold_counts_no_uptime_of_before_the_mark_where_no_boot_is_told() -> None:
    mark = effective_time.first(untold(0), T0)
    later = effective_time.advance(mark, at(T0 + 20 * HOUR_S, UP + HOUR_S, None))
    assert effective_time.leapt_s(mark, later) == now(later) - T0 - HOUR_S > 0


GOOD = effective_time.to_json(START)


@pytest.mark.parametrize(
    "clock_json",
    [
        {},
        {**GOOD, "schema": 2},
        {**GOOD, "more": 1},
        {**GOOD, "own_s": "1"},
        {**GOOD, "lifts": [1]},
        {**GOOD, "lifts": {"key": True}},
        {**GOOD, "allowance_s": FAR_S + 1},
        {**GOOD, "disagreed_s": None},
        {name: value for name, value in GOOD.items() if name != "boot_id"},
    ],
)
def test_any_other_file_is_refused(clock_json: Json) -> None:
    with pytest.raises(Untrusted) as caught:
        read(clock_json)
    assert caught.value.code is Reason.FORMAT_INVALID
