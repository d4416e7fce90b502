"""Effective time: the clock that licenses are judged by, which only moves forward (license-format.md, "Time").

Theory of operation. A `Mark` is persisted and holds two things.

- The **own clock**: where this machine's clock stood at a known CLOCK_BOOTTIME of a known boot. It advances by
  elapsed boot time, whatever the wall clock says, and takes over a wall clock that is ahead: within FAR_S freely, out
  of an allowance of FAR_S that refills with uptime (else a clock that creeps ahead 25 h a reading would be followed
  anywhere); further ahead by RATE seconds a second of uptime, or whole once a fresh list is within FAR_S of the wall
  clock.
- The **lifts**: for each key that signed an accepted status list or root, by how many seconds its newest `iat` was
  ahead of the own clock. The effective time is the own clock plus the greatest lift. A lift never moves the own
  clock, so lifting twice adds nothing, and a lift can be taken back with its key (`drop`): the only way back there
  is. When the own clock jumps by taking over the wall clock, every lift shrinks by as much: what both witnesses say
  counts once.

`disagreed_s` counts boot seconds, not effective ones: neither a lift nor a dropped key can hurry or delay the
suspicion.

A new boot: the boot time before its first reading counts only as far as the wall clock confirms it, because a
container moved to another host, or a state restored there, meets a machine that has been up for a year. A wall clock
wound back by more than FAR_S confirms nothing, and then the boot time counts whole. Who reboots with the clock wound
back hides the time that the machine was off, which nothing on it could have measured, and no more.

Not here: who may lift (the caller passes the `iat` of accepted lists and roots, never of a reseller's document),
reading the clocks, saving the mark.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NewType

from opanel_agent.core.codec.strict_json import Json, Members
from opanel_agent.core.units import DAY_S, HOUR_S

Wall = NewType("Wall", int)
Effective = NewType("Effective", int)

FAR_S: Final = 26 * HOUR_S
"""How far a wall clock may be from a witness and still agree with it: a day and two hours."""
RATE: Final = 2
"""Seconds of a far wall clock taken over a second of uptime."""
LIFT_S: Final = 30 * DAY_S
"""How far a signed time alone lifts above the own clock."""
SUSPECT_S: Final = DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The clocks at one moment. `boottime_s` is CLOCK_BOOTTIME (it runs on through suspend) of the boot `boot_id`."""

    wall_s: Wall
    boottime_s: int
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """Where effective time stood at one reading. `disagreed_s`: boot time since the wall clock ceased to agree."""

    own_s: int
    boottime_s: int
    boot_id: str
    lifts: Mapping[str, int] = field(default_factory=dict)
    allowance_s: int = FAR_S
    disagreed_s: int | None = None


def first(reading: ClockReading, floor_s: int) -> ClockState:
    """The mark of a machine that has none. `floor_s`: the newest time that the package or any document at hand proves.

    The wall clock is believed here, once: there is nothing yet to hold against it.
    """
    return ClockState(own_s=max(reading.wall_s, floor_s), boottime_s=reading.boottime_s, boot_id=reading.boot_id)


def now(mark: ClockState) -> Effective:
    """Effective time at the mark's reading."""
    return Effective(mark.own_s + max(mark.lifts.values(), default=0))


def clock_suspect(mark: ClockState) -> bool:
    """Whether the wall clock has disagreed for 24 h. A reason to look, never an accusation."""
    return mark.disagreed_s is not None and mark.disagreed_s >= SUSPECT_S


def advance(mark: ClockState, reading: ClockReading) -> ClockState:
    """The mark at a later reading."""
    elapsed_s = _elapsed(mark, reading)
    run = replace(mark, own_s=mark.own_s + elapsed_s, boottime_s=reading.boottime_s, boot_id=reading.boot_id)
    ahead_s = max(0, reading.wall_s - run.own_s)
    earned_s = RATE * elapsed_s
    credit_s = run.allowance_s + earned_s
    taken_s = min(ahead_s, earned_s)
    if ahead_s - taken_s <= FAR_S:
        taken_s = min(ahead_s, credit_s)
    adopted = replace(_jump(run, taken_s), allowance_s=min(FAR_S, credit_s - taken_s))
    return _compare(adopted, reading, elapsed_s)


def lift(mark: ClockState, kid: str, iat: int, reading: ClockReading) -> ClockState:
    """The mark after a status list or root with this `iat`, signed by `kid`, was accepted at `reading`.

    A wall clock at or after `iat` (less FAR_S) is a second witness that it is at least `iat`: then the lift has no cap.
    One within FAR_S of `iat` on either side is corroborated, and taken over whole.
    """
    ran = advance(mark, reading)
    if abs(reading.wall_s - iat) <= FAR_S:
        ran = replace(_jump(ran, max(0, reading.wall_s - ran.own_s)), allowance_s=FAR_S)
    ahead_s = iat - ran.own_s
    if iat > reading.wall_s + FAR_S:
        ahead_s = min(ahead_s, LIFT_S)
    if ahead_s > ran.lifts.get(kid, 0):
        ran = replace(ran, lifts={**ran.lifts, kid: ahead_s})
    return _compare(ran, reading, 0)


def drop(mark: ClockState, alive: Collection[str]) -> ClockState:
    """The mark without the lifts of keys that the root no longer names."""
    return replace(mark, lifts={kid: ahead_s for kid, ahead_s in mark.lifts.items() if kid in alive})


def to_json(mark: ClockState) -> dict[str, Json]:
    """Shape of clock.json; `disagreed_s` is absent while the wall clock agrees."""
    told: dict[str, Json] = {
        "schema": 1,
        "own_s": mark.own_s,
        "boottime_s": mark.boottime_s,
        "boot_id": mark.boot_id,
        "lifts": dict(mark.lifts),
        "allowance_s": mark.allowance_s,
    }
    return told if mark.disagreed_s is None else {**told, "disagreed_s": mark.disagreed_s}


def from_json(told: Members) -> ClockState:
    """The mark that `to_json` told; Untrusted for anything else, and the caller starts with `first`."""
    told.constant("schema", 1)
    lifts = told.members("lifts")
    mark = ClockState(
        own_s=told.integer("own_s"),
        boottime_s=told.integer("boottime_s"),
        boot_id=told.text("boot_id"),
        lifts={kid: lifts.integer(kid) for kid in lifts.names()},  # a thumbprint may begin with - or _
        allowance_s=told.integer("allowance_s", high=FAR_S),
        disagreed_s=told.integer("disagreed_s") if told.has("disagreed_s") else None,
    )
    told.end()
    return mark


def _elapsed(mark: ClockState, reading: ClockReading) -> int:
    if reading.boot_id == mark.boot_id:
        # Negative only where a virtual machine's memory is older than its disk: then the clock stands still.
        return max(0, reading.boottime_s - mark.boottime_s)
    since_s = reading.wall_s - mark.own_s
    if since_s < -FAR_S:
        return reading.boottime_s
    return min(reading.boottime_s, max(0, since_s))


def _jump(mark: ClockState, ahead_s: int) -> ClockState:
    """The own clock moved over to the wall clock; a lift keeps only what it is ahead of that."""
    left = {kid: lift_s - ahead_s for kid, lift_s in mark.lifts.items() if lift_s > ahead_s}
    return replace(mark, own_s=mark.own_s + ahead_s, lifts=left)


def _compare(mark: ClockState, reading: ClockReading, elapsed_s: int) -> ClockState:
    if abs(reading.wall_s - now(mark)) <= FAR_S:
        return replace(mark, disagreed_s=None)
    return replace(mark, disagreed_s=0 if mark.disagreed_s is None else mark.disagreed_s + elapsed_s)
