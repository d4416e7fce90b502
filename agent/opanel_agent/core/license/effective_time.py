"""Computes effective time, the clock that licenses are judged by (license-format.md, "Time").

Theory of operation. A `ClockState` is persisted and holds two things.

- The **own clock**: where this machine's clock stood at a known CLOCK_BOOTTIME
  of a known boot. It advances by elapsed boot time, whatever the wall clock
  says, and takes over a wall clock that is ahead: within FAR_S freely, out of
  an allowance of FAR_S that refills with uptime (else a clock that creeps ahead
  25 h a reading would be followed anywhere); further ahead by RATE seconds a
  second of uptime, or whole once a fresh list is within FAR_S of the wall
  clock.
- The **lifts**: for each key that signed an accepted status list or root, by
  how many seconds its newest `iat` is ahead of the own clock (negative: behind
  it). The effective time is the own clock plus the greatest lift above 0. A
  lift never moves the own clock, so lifting twice adds nothing, and a lift goes
  with its key (`drop`). When the own clock jumps by taking over the wall clock,
  every lift shrinks by as much: what both witnesses say counts once.

What only the wall clock said is not forever. `unwitnessed_s` counts the seconds
of the own clock that came from the wall clock alone: the first reading, and all
that was taken over since. As soon as a freshly accepted signed date and the
wall clock agree within FAR_S (`lift`, `corroborate`), the own clock moves to
the wall clock: forward whole, back by at most these seconds. Elapsed boot time
is never taken back, and neither is what a key that the root still names has
signed, because its lift grows by as much as the own clock goes back. So a clock
that was years ahead for a moment locks nobody out, and who sets the clock back
and keeps lists for later hides no more than the time that the machine was off,
which nothing on it could have measured.

`disagreed_s` counts boot seconds, not effective ones: neither a lift nor a
dropped key can hurry or delay the suspicion.

A new boot: the boot time before its first reading counts only as far as the
wall clock confirms it, because a container moved to another host, or a state
restored there, meets a machine that has been up for a year. A wall clock wound
back by more than FAR_S confirms nothing, and then the boot time counts whole.

Not here: who may lift (the caller passes the `iat` of accepted lists and roots,
never of a reseller's document, which may only `corroborate`), reading the
clocks, saving the state.
"""

from collections.abc import Collection, Mapping
from typing import Final, NewType

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import field, frozen, replace

Wall = NewType("Wall", int)
Effective = NewType("Effective", int)

FAR_S: Final = 26 * HOUR_S
"""How far a wall clock may be from a witness and still agree with it: a day and two hours."""
RATE: Final = 2
"""Seconds of a far wall clock taken over a second of uptime."""
UNTOLD_BOOT: Final = "unknown"
"""In a mark, the boot that the kernel did not tell: another one at each reading, never known to be the same."""
LIFT_S: Final = 30 * DAY_S
"""How far a signed time alone lifts above the own clock."""
SUSPECT_S: Final = DAY_S


@frozen
class ClockReading:
    """The clocks at one moment.

    `boottime_s` is CLOCK_BOOTTIME (it runs on through suspend) of the boot
    `boot_id`, None where the kernel does not tell it.
    """

    wall_s: Wall
    boottime_s: int
    boot_id: str | None


@frozen
class ClockState:
    """Where effective time stood at one reading, in seconds.

    `disagreed_s`: boot time since the wall clock ceased to agree.
    `unwitnessed_s`: how much of `own_s` only the wall clock has said.
    """

    own_s: int
    boottime_s: int
    boot_id: str
    lifts: Mapping[str, int] = field(default_factory=dict)
    allowance_s: int = FAR_S
    disagreed_s: int | None = None
    unwitnessed_s: int = 0


def first(reading: ClockReading, floor_s: int) -> ClockState:
    """Returns the mark of a machine that has none.

    `floor_s`: the newest time that the package or any document at hand proves.

    The wall clock is believed here, once: there is nothing yet to hold against
    it.
    """
    return ClockState(
        own_s=max(reading.wall_s, floor_s),
        boottime_s=reading.boottime_s,
        boot_id=reading.boot_id or UNTOLD_BOOT,
        unwitnessed_s=max(0, reading.wall_s - floor_s),
    )


def now(mark: ClockState) -> Effective:
    """Returns effective time at the mark's reading."""
    return Effective(mark.own_s + max(0, *mark.lifts.values(), 0))


def clock_suspect(mark: ClockState) -> bool:
    """Tells whether the wall clock has disagreed for 24 h.

    A reason to look, never an accusation.
    """
    return mark.disagreed_s is not None and mark.disagreed_s >= SUSPECT_S


def advance(mark: ClockState, reading: ClockReading) -> ClockState:
    """Returns the mark at a later reading."""
    elapsed_s = _elapsed(mark, reading)
    boot_id = reading.boot_id or UNTOLD_BOOT
    run = replace(mark, own_s=mark.own_s + elapsed_s, boottime_s=reading.boottime_s, boot_id=boot_id)
    ahead_s = max(0, reading.wall_s - run.own_s)
    earned_s = RATE * elapsed_s
    credit_s = run.allowance_s + earned_s
    taken_s = min(ahead_s, earned_s)
    if ahead_s - taken_s <= FAR_S:
        taken_s = min(ahead_s, credit_s)
    adopted = replace(
        _jump(run, taken_s),
        allowance_s=min(FAR_S, credit_s - taken_s),
        unwitnessed_s=run.unwitnessed_s + taken_s,
    )
    return _compare(adopted, reading, elapsed_s)


def lift(mark: ClockState, kid: str, iat: int, reading: ClockReading) -> ClockState:
    """Returns the mark after a status list or root with this `iat`, signed by `kid`, was accepted at `reading`.

    A wall clock at or after `iat` (less FAR_S) is a second witness that it is
    at least `iat`: then the lift has no cap. One within FAR_S of `iat` on
    either side is corroborated, and taken over whole, forward or back.
    """
    ran = _corroborated(advance(mark, reading), iat, reading)
    ahead_s = iat - ran.own_s
    if iat > reading.wall_s + FAR_S:
        ahead_s = min(ahead_s, LIFT_S)
    if ahead_s > ran.lifts.get(kid, ahead_s - 1):
        ran = replace(ran, lifts={**ran.lifts, kid: ahead_s})
    return _compare(ran, reading, 0)


def corroborate(mark: ClockState, iat: int, reading: ClockReading) -> ClockState:
    """Returns the mark after a freshly accepted document of this `iat` that may not lift: a license, an activation.

    It bears the wall clock out where they agree within FAR_S. Where both say
    that it is later than the own clock, the earlier of the two counts: so the
    time that a server was off is made up. That may be taken back as any wall
    clock's word, because the date is a reseller's.
    """
    ran = _corroborated(advance(mark, reading), iat, reading)
    ahead_s = max(0, min(iat, reading.wall_s) - ran.own_s)
    return _compare(replace(_jump(ran, ahead_s), unwitnessed_s=ran.unwitnessed_s + ahead_s), reading, 0)


def leapt_s(before: ClockState, after: ClockState) -> int:
    """Returns the seconds that effective time went ahead between two marks, beyond the uptime between them.

    0 where it did not.

    Nobody could look at anything here meanwhile: the clock was set, or the
    machine was off. Of a boot that was not told, the uptime since the mark
    before counts alone.
    """
    perhaps_same = after.boot_id == before.boot_id or UNTOLD_BOOT in {after.boot_id, before.boot_id}
    up_s = after.boottime_s - (before.boottime_s if perhaps_same else 0)
    return max(0, now(after) - now(before) - max(0, up_s))


def drop(mark: ClockState, alive: Collection[str]) -> ClockState:
    """Returns the mark without the lifts of keys that the root no longer names."""
    return replace(mark, lifts={kid: ahead_s for kid, ahead_s in mark.lifts.items() if kid in alive})


def to_json(mark: ClockState) -> dict[str, Json]:
    """Returns the shape of clock.json.

    `behind` are the lifts below 0, as how far behind; it, `disagreed_s` and
    `unwitnessed_s` are absent where there is nothing to tell.
    """
    clock_json: dict[str, Json] = {
        "schema": 1,
        "own_s": mark.own_s,
        "boottime_s": mark.boottime_s,
        "boot_id": mark.boot_id,
        "lifts": {kid: ahead_s for kid, ahead_s in mark.lifts.items() if ahead_s >= 0},
        "allowance_s": mark.allowance_s,
    }
    behind: dict[str, Json] = {kid: -ahead_s for kid, ahead_s in mark.lifts.items() if ahead_s < 0}
    if behind:
        clock_json["behind"] = behind
    if mark.disagreed_s is not None:
        clock_json["disagreed_s"] = mark.disagreed_s
    if mark.unwitnessed_s:
        clock_json["unwitnessed_s"] = mark.unwitnessed_s
    return clock_json


def from_json(members: Members) -> ClockState:
    """Returns the mark that `to_json` wrote; Untrusted for anything else, and the caller starts with `first`."""
    members.constant("schema", 1)
    lifts = members.members("lifts")
    ahead = {kid: lifts.integer(kid) for kid in lifts.names()}  # a thumbprint may begin with - or _
    behind = members.members("behind") if members.has("behind") else None
    late = {} if behind is None else {kid: -behind.integer(kid, low=1) for kid in behind.names()}
    mark = ClockState(
        own_s=members.integer("own_s"),
        boottime_s=members.integer("boottime_s"),
        boot_id=members.text("boot_id"),
        lifts={**ahead, **late},
        allowance_s=members.integer("allowance_s", high=FAR_S),
        disagreed_s=members.integer("disagreed_s") if members.has("disagreed_s") else None,
        unwitnessed_s=members.integer("unwitnessed_s", low=1) if members.has("unwitnessed_s") else 0,
    )
    members.end()
    return mark


def _elapsed(mark: ClockState, reading: ClockReading) -> int:
    if reading.boot_id == mark.boot_id:
        # Negative only where a virtual machine's memory is older than its disk:
        # then the clock stands still.
        return max(0, reading.boottime_s - mark.boottime_s)
    since_s = reading.wall_s - mark.own_s
    if since_s < -FAR_S:
        # Of a boot that is not told, or was not, no more than what ran if it
        # is the same: else each reading would count the whole uptime again.
        known = reading.boot_id is not None and mark.boot_id != UNTOLD_BOOT
        before_s = 0 if known or reading.boottime_s < mark.boottime_s else mark.boottime_s
        return reading.boottime_s - before_s
    return min(reading.boottime_s, max(0, since_s))


def _jump(mark: ClockState, ahead_s: int) -> ClockState:
    """Returns the own clock moved by so much, back where it is negative; what each key has signed stays where it is."""
    lifts = {kid: lift_s - ahead_s for kid, lift_s in mark.lifts.items()}
    return replace(mark, own_s=mark.own_s + ahead_s, lifts=lifts)


def _corroborated(mark: ClockState, iat: int, reading: ClockReading) -> ClockState:
    """Returns the own clock at the wall clock, as far as that may be taken back and a signed date bears it out."""
    if abs(reading.wall_s - iat) > FAR_S:
        return mark
    ahead_s = max(reading.wall_s - mark.own_s, -mark.unwitnessed_s)
    return replace(_jump(mark, ahead_s), allowance_s=FAR_S, unwitnessed_s=0)


def _compare(mark: ClockState, reading: ClockReading, elapsed_s: int) -> ClockState:
    if abs(reading.wall_s - now(mark)) <= FAR_S:
        return replace(mark, disagreed_s=None)
    return replace(mark, disagreed_s=0 if mark.disagreed_s is None else mark.disagreed_s + elapsed_s)
