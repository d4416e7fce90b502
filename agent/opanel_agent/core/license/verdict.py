"""The license state, as a table (license-format.md, "States").

Theory of operation. What is known is an `Evidence`. Each row of ROWS looks at
it for one cause and answers None, or a `Countdown`: from `starts_s` the cause
is told and everything stays permitted, from `due_s` on it is the state. So

- the **state** is that of the first row, in the table's order, which is due;
  `grace` where none is and any has started; else `active`. The panel keeps
  everything in `grace`.
- **until** is the next moment at which time alone changes the state: the same
  question asked of every later boundary.
- the **period** is the one that warnings are counted in: of a grace, or of a
  term that is nearly over while `active`.

A permit is lost only by signed evidence (a status seen, an `exp`) or by elapsed
effective time: a failed request, a file that became unreadable, a disk that was
changed start a countdown or are a mere remark. An upgrade needs no wait. Where
the license itself has become unreadable, nothing says that things got better:
the state is then held, not judged anew.

What the design leaves open and this table settles: `expired` follows 14 days of
a refused bundle, and the reseller's revocation at 30 days or `exp`; a second
suspending list that never comes leaves the first a grace without end; status 1
or 2 of an activation counts like 3, under its own name; of a delegation only
status 1 counts; a suspended license that is then revoked stays suspended
through its 72 hours.

Not here: what a state permits and what to do about a reason (states), where
evidence comes from, what was seen when (the caller keeps that), what is said to
a person (texts).
"""

from collections.abc import Callable, Iterator
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.license.binding import Match
from opanel_agent.core.license.states import ACTIONS, EVERYTHING, PERMITS, Action, Permits, State
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import frozen

__all__ = [
    "NEVER",
    "ROWS",
    "Action",
    "Countdown",
    "Evidence",
    "Period",
    "Permits",
    "Refusal",
    "Sighting",
    "State",
    "Verdict",
    "begins_s",
    "ends_s",
    "judge",
    "rules_until",
    "warning",
]

NEVER: Final = 2**53 - 1
SKEW_S: Final = 300
"""Tolerated before `nbf`: a license issued a moment ago by somebody whose clock is a little fast is valid now."""
REVOKED_S: Final = 72 * HOUR_S
SUPERSEDED_S: Final = 72 * HOUR_S
SUSPENDED_APART_S: Final = HOUR_S
MISMATCH_S: Final = 14 * DAY_S
UNDECIDED_S: Final = 7 * DAY_S
"""Of MISMATCH_S, for how long nothing is said where the parts that would decide cannot be read."""
REFUSED_S: Final = 14 * DAY_S
RESELLER_S: Final = 30 * DAY_S
RENEW_S: Final = 30 * DAY_S
STALE_NEVER_DAYS: Final = 3650
WARN_AT: Final = (10, 25, 50, 100)
"""Per cent of a period that are left when its warnings are given, the last one first."""


@frozen
class Refusal:
    """The bundle that was accepted before no longer verifies, since `since`."""

    reason: Reason
    since: int


@frozen
class Sighting:
    """A `status` other than VALID that lists gave without a break.

    `first_iat`, `last_iat`: of the first and the last such list. `seen_at`:
    when the first was accepted.
    """

    status: Status
    first_iat: int
    last_iat: int
    seen_at: int


@frozen
class Evidence:
    """Everything that a judgment depends on. All times are effective time.

    `license` None: there is none, or (`refused` and `had_license`) the accepted
    one is unreadable. `unmatched_since`: when the binding began to fail.
    `status_rules_until`: of `rules_until`. `remarks` are told and change no
    state.
    """

    now: int
    license: License | None = None
    accepted_at: int | None = None
    activated: bool = False
    refused: Refusal | None = None
    had_license: bool = False
    license_sighting: Sighting | None = None
    activation_sighting: Sighting | None = None
    delegation_sighting: Sighting | None = None
    status_rules_until: int | None = None
    match: Match | None = None
    unmatched_since: int | None = None
    root_exp: int | None = None
    clock_suspect: bool = False
    remarks: tuple[Reason, ...] = ()
    previous_state: State | None = None
    previous_since: int | None = None


@frozen
class Countdown:
    """One cause on its way: `grace` from `starts_s`, `state` from `due_s` until `ends_s`.

    `seen`: it has started because it was seen, even where a dropped key has set
    the clock back behind `starts_s`.
    """

    state: State
    reason: Reason
    starts_s: int
    due_s: int
    ends_s: int = NEVER
    seen: bool = False

    def is_due(self, now: int) -> bool:
        """Tells whether the state that this leads to holds at `now`: from `due_s` until `ends_s`."""
        return self.due_s <= now < self.ends_s

    def is_running(self, now: int) -> bool:
        """Tells whether it has started, or was seen to, and is not due yet."""
        return (self.seen or self.starts_s <= now) and now < self.due_s


@frozen
class Period:
    """What warnings are counted in, while the state is `state` because of `reason`.

    `end_s` is NEVER for a suspension that waits for its second list, however
    long.
    """

    start_s: int
    end_s: int
    state: State
    reason: Reason


@frozen
class Verdict:
    """`until`: the next change that time alone brings, if any.

    `reasons`: the most important first, never empty.
    """

    state: State
    reasons: tuple[Reason, ...]
    since: int
    until: int | None
    permits: Permits
    next_action: Action
    period: Period | None


Row = Callable[[Evidence], Countdown | None]


def _unlicensed(e: Evidence) -> Countdown | None:
    if e.license is not None or _unreadable(e) is not None:
        return None
    return Countdown(state=State.UNLICENSED, reason=Reason.NO_LICENSE, starts_s=e.now, due_s=e.now)


def _revoked(e: Evidence) -> Countdown | None:
    seen = e.license_sighting
    if seen is None or seen.status is not Status.REVOKED:
        return None
    return _after(State.REVOKED, Reason.REVOKED, seen.seen_at, REVOKED_S, seen=True)


def _not_yet_valid(e: Evidence) -> Countdown | None:
    """Holds until a license begins, and until it was issued: a date in the future would put off when a status counts."""
    if e.license is None:
        return None
    starts_s = begins_s(e.license)
    if e.now >= starts_s:
        return None
    return Countdown(
        state=State.NOT_YET_VALID, reason=Reason.NOT_YET_VALID, starts_s=e.now, due_s=e.now, ends_s=starts_s
    )


def _held(e: Evidence) -> Countdown | None:
    """Holds a state that permitted less where the license became unreadable: damaging a file must not be a cure."""
    refused = _unreadable(e)
    if refused is None or e.previous_state is None or PERMITS[e.previous_state] == EVERYTHING:
        return None
    return Countdown(state=e.previous_state, reason=refused.reason, starts_s=e.now, due_s=e.now)


def _refused(e: Evidence) -> Countdown | None:
    refused = _unreadable(e)
    return None if refused is None else _after(State.EXPIRED, refused.reason, refused.since, REFUSED_S, seen=True)


def _exp(e: Evidence) -> Countdown | None:
    if e.license is None:
        return None
    return _after(State.EXPIRED, Reason.EXPIRED, e.license.exp, e.license.grace_days * DAY_S)


def _stale(e: Evidence) -> Countdown | None:
    if e.license is None or e.status_rules_until is None or e.status_rules_until == NEVER:
        return None
    return _after(State.EXPIRED, Reason.STATUS_STALE, e.status_rules_until, e.license.grace_days * DAY_S)


def _reseller(e: Evidence) -> Countdown | None:
    seen = e.delegation_sighting
    if e.license is None or seen is None or seen.status is not Status.REVOKED:
        return None
    due_s = min(seen.seen_at + RESELLER_S, e.license.exp)
    return _after(State.EXPIRED, Reason.RESELLER_REVOKED, seen.seen_at, due_s - seen.seen_at, seen=True)


def _suspended(e: Evidence) -> Countdown | None:
    seen = e.license_sighting
    if seen is None or seen.status is not Status.SUSPENDED:
        return None
    confirmed_s = seen.first_iat + SUSPENDED_APART_S
    # Only a list can confirm it: until one does, time alone brings nothing.
    due_s = min(confirmed_s, e.now) if seen.last_iat >= confirmed_s else NEVER
    starts_s = min(seen.seen_at, seen.first_iat)
    return Countdown(state=State.SUSPENDED, reason=Reason.SUSPENDED, starts_s=starts_s, due_s=due_s, seen=True)


def _suspended_then_revoked(e: Evidence) -> Countdown | None:
    """Holds the state before a revocation, whose 72 hours are no pardon from a suspension."""
    seen = e.license_sighting
    if seen is None or seen.status is not Status.REVOKED or e.previous_state is not State.SUSPENDED:
        return None
    return Countdown(state=State.SUSPENDED, reason=Reason.REVOKED, starts_s=e.now, due_s=e.now)


def _binding(e: Evidence) -> Countdown | None:
    if e.match is None or e.match.ok:
        return None
    since_s = e.now if e.unmatched_since is None else e.unmatched_since
    if e.match.undecided:  # a copy that hides its hardware gains no more time than one that shows it
        left_s = MISMATCH_S - UNDECIDED_S
        return _after(State.WRONG_MACHINE, Reason.MACHINE_MISMATCH, since_s + UNDECIDED_S, left_s)
    return _after(State.WRONG_MACHINE, Reason.MACHINE_MISMATCH, since_s, MISMATCH_S, seen=True)


def _activation(e: Evidence) -> Countdown | None:
    seen = e.activation_sighting
    if seen is None:
        return None
    reason = {Status.REVOKED: Reason.REVOKED, Status.SUSPENDED: Reason.SUSPENDED}.get(seen.status, Reason.SUPERSEDED)
    return _after(State.WRONG_MACHINE, reason, seen.seen_at, SUPERSEDED_S, seen=True)


def _not_activated(e: Evidence) -> Countdown | None:
    term = _activation_term(e)
    if e.license is None or term is None:
        return None
    return _after(State.NOT_ACTIVATED, Reason.ACTIVATION_DUE, term.end_s, e.license.grace_days * DAY_S)


# The design's order. What is due further up wins.
ROWS: Final[tuple[Row, ...]] = (
    _unlicensed,
    _revoked,
    _not_yet_valid,
    _held,
    _exp,
    _stale,
    _reseller,
    _refused,
    _suspended,
    _suspended_then_revoked,
    _binding,
    _activation,
    _not_activated,
)


def judge(e: Evidence) -> Verdict:
    """Returns the state that this evidence makes."""
    rows = tuple(countdown for row in ROWS if (countdown := row(e)) is not None)
    due = [each for each in rows if each.is_due(e.now)]
    # The soonest first: what comes next is what to act upon. Ties stay in the
    # table's order.
    running = sorted((each for each in rows if each.is_running(e.now)), key=lambda each: each.due_s)
    state = _state(rows, e.now)
    terms = [] if due else [term for term in _terms(e) if term.start_s <= e.now < term.end_s]
    causes = [each.reason for each in (*due, *running)] + [term.reason for term in terms]
    reasons = tuple(dict.fromkeys([*causes, *_remarks(e)])) or (Reason.OK,)
    began_s = due[0].due_s if due else min((each.starts_s for each in running), default=e.now)
    return Verdict(
        state=state,
        reasons=reasons,
        since=e.previous_since if e.previous_state is state and e.previous_since is not None else min(began_s, e.now),
        until=_until(rows, state, e.now),
        permits=PERMITS[state],
        next_action=next((_action(reason, e) for reason in reasons if reason in ACTIONS), Action.NONE),
        period=_period(state, running, terms),
    )


def _action(reason: Reason, e: Evidence) -> Action:
    """Returns the next action: to activate again where the key is still held, since no other server can be meant.

    So does one of which too little can be read, its key perhaps among that.
    That a license begins later is the clock's fault only where the clock is
    suspect.
    """
    if reason is Reason.NOT_YET_VALID and e.clock_suspect:
        return Action.CHECK_CLOCK
    if reason is Reason.MACHINE_MISMATCH and e.match is not None:
        keeps = "agent_key" in e.match.matched or e.match.undecided
        return Action.ACTIVATE if keeps else ACTIONS[reason]
    return ACTIONS[reason]


def begins_s(license_: License) -> int:
    """Returns from when on a license is valid: neither before its `nbf` nor before it was issued, less a little skew."""
    return max(license_.nbf, license_.iat) - SKEW_S


def ends_s(license_: License) -> int:
    """Returns until when a license permits everything, as far as time alone decides: `exp` and its grace."""
    return license_.exp + license_.grace_days * DAY_S


def rules_until(list_iat: int | None, list_exp: int | None, *, stale_days: int, newest_iat: int) -> int:
    """Tells when the status becomes stale.

    `newest_iat`: the newest in the bundle, for where no list was ever accepted.

    Where one was, a newer activation or license proves nothing about the
    status: activating again must not keep a suspended license alive behind a
    mirror that is out of reach.
    """
    if stale_days >= STALE_NEVER_DAYS:
        return NEVER
    stale_s = stale_days * DAY_S
    return max((newest_iat if list_iat is None else list_iat) + stale_s, list_exp or 0)


def warning(period: Period, now: int, given: frozenset[str]) -> str | None:
    """Returns the warning to give now, as the key to record; None where it was given already."""
    if not period.start_s <= now < period.end_s:
        return None
    left, whole = period.end_s - now, period.end_s - period.start_s
    keys = [f"{period.state}:{period.reason}:{period.start_s}:{step}" for step in WARN_AT if left * 100 <= step * whole]
    return keys[0] if keys[0] not in given else None


def _after(state: State, reason: Reason, starts_s: int, length_s: int, *, seen: bool = False) -> Countdown:
    return Countdown(state=state, reason=reason, starts_s=starts_s, due_s=starts_s + length_s, seen=seen)


def _unreadable(e: Evidence) -> Refusal | None:
    return e.refused if e.license is None and e.had_license else None


def _activation_term(e: Evidence) -> Period | None:
    """Returns the time that a license leaves for activating, from acceptance."""
    if e.license is None or e.activated or not e.license.activation.required:
        return None
    start_s = e.now if e.accepted_at is None else e.accepted_at
    end_s = start_s + e.license.activation.within_days * DAY_S
    return Period(start_s=start_s, end_s=end_s, state=State.ACTIVE, reason=Reason.ACTIVATION_DUE)


def _terms(e: Evidence) -> Iterator[Period]:
    """Yields what runs out while everything is still well."""
    term = _activation_term(e)
    if term is not None:
        yield term
    if e.license is not None:
        # The last quarter of the term, so that a month's license is not called
        # due from its first day.
        start_s = e.license.exp - min(RENEW_S, (e.license.exp - e.license.nbf) // 4)
        yield Period(start_s=start_s, end_s=e.license.exp, state=State.ACTIVE, reason=Reason.RENEW_SOON)


def _remarks(e: Evidence) -> Iterator[Reason]:
    if e.match is not None and e.match.drift:
        yield Reason.BINDING_DRIFT
    if e.clock_suspect:
        yield Reason.CLOCK_SUSPECT
    if e.root_exp is not None and e.now >= e.root_exp:
        yield Reason.ROOT_OLD
    yield from e.remarks


def _state(rows: tuple[Countdown, ...], now: int) -> State:
    for each in rows:
        if each.is_due(now):
            return each.state
    return State.GRACE if any(each.is_running(now) for each in rows) else State.ACTIVE


def _until(rows: tuple[Countdown, ...], state: State, now: int) -> int | None:
    bounds = sorted(
        {bound for each in rows for bound in (each.starts_s, each.due_s, each.ends_s) if now < bound < NEVER}
    )
    return next((bound for bound in bounds if _state(rows, bound) is not state), None)


def _period(state: State, running: list[Countdown], terms: list[Period]) -> Period | None:
    if state is State.GRACE:
        return Period(start_s=running[0].starts_s, end_s=running[0].due_s, state=state, reason=running[0].reason)
    if state is State.ACTIVE:
        return min(terms, key=lambda term: term.end_s, default=None)
    return None
