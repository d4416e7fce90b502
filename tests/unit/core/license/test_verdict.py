"""Proves the table of license states.

Each state, what it permits, the second at which it begins, which cause wins where several hold, since and until, the
warnings, and that a permit is lost only by signed evidence or elapsed time.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.license import PRODUCT, ActivationTerms, License, Reseller
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.license.binding import Match
from opanel_agent.core.license.states import PERMITS
from opanel_agent.core.license.verdict import (
    NEVER,
    ROWS,
    Action,
    Evidence,
    Period,
    Permits,
    Refusal,
    Sighting,
    State,
    Verdict,
    judge,
    rules_until,
    warning,
)

HOUR = 3600
DAY = 24 * HOUR
NBF = 1_800_000_000
EXP = NBF + 365 * DAY
NOW = NBF + 100 * DAY
GRACE = 14 * DAY

LICENSE = License(
    jti="lic-1",
    sub="key",
    iss="urn:reseller",
    iat=NBF,
    nbf=NBF,
    exp=EXP,
    product=PRODUCT,
    features=frozenset({"mail"}),
    limits={"accounts": 10},
    tier="pro",
    grace_days=14,
    stale_days=30,
    activation=ActivationTerms(required=True, within_days=7, min_p=1, seats=1),
    reseller=Reseller(name="R", email=None, phone=None, url=None),
    slot=0,
    status=StatusRef(idx=1, uri="urn:list"),
    digest="00",
)
WELL = Match(matched=frozenset({"a"}), platform_matched=1, of=1, ok=True, drift=False)
DRIFT = replace(WELL, of=2, drift=True)
ELSEWHERE = replace(WELL, matched=frozenset(), platform_matched=0, ok=False)

ACTIVE = Evidence(now=NOW, license=LICENSE, accepted_at=NBF, activated=True, match=WELL, status_rules_until=NEVER)
REFUSED = replace(
    ACTIVE,
    license=None,
    had_license=True,
    activated=False,
    match=None,
    refused=Refusal(reason=Reason.SIGNATURE_INVALID, since=NOW),
)
NOT_ACTIVATED = replace(ACTIVE, activated=False, match=None, accepted_at=NOW)


def seen(status: int, *, lists_apart_s: int = 0) -> Sighting:
    return Sighting(status=Status(status), first_iat=NOW, last_iat=NOW + lists_apart_s, seen_at=NOW)


def state(evidence: Evidence, now: int) -> State:
    return judge(replace(evidence, now=now)).state


def test_a_good_license_on_its_machine_is_active_and_ok() -> None:
    assert judge(ACTIVE) == Verdict(
        state=State.ACTIVE,
        reasons=(Reason.OK,),
        since=NOW,
        until=EXP,
        permits=Permits(change=True, create=True, paid_features=True),
        next_action=Action.NONE,
        period=None,
    )


@pytest.mark.parametrize(
    ("of", "change", "create", "paid"),
    [
        (State.UNLICENSED, False, False, False),
        (State.REVOKED, False, False, False),
        (State.NOT_YET_VALID, False, False, False),
        (State.EXPIRED, True, False, False),
        (State.SUSPENDED, True, False, False),
        (State.WRONG_MACHINE, True, False, False),
        (State.NOT_ACTIVATED, True, False, False),
        (State.GRACE, True, True, True),
        (State.ACTIVE, True, True, True),
    ],
)
def test_what_each_state_permits(of: State, change: bool, create: bool, paid: bool) -> None:
    assert PERMITS[of] == Permits(run=True, change=change, create=create, paid_features=paid)


def test_the_table_of_permits_is_complete_and_everything_runs_in_every_state() -> None:
    assert set(PERMITS) == set(State)
    assert len(State) == 9
    assert all(permits.run for permits in PERMITS.values())


# Each cause: (evidence, reason, when its grace starts, when its state begins, the state, the action)
CAUSES = {
    "revoked": (replace(ACTIVE, license_sighting=seen(1)), Reason.REVOKED, NOW, NOW + 72 * HOUR, State.REVOKED),
    "exp": (ACTIVE, Reason.EXPIRED, EXP, EXP + GRACE, State.EXPIRED),
    "stale": (
        replace(ACTIVE, status_rules_until=NOW + DAY),
        Reason.STATUS_STALE,
        NOW + DAY,
        NOW + DAY + GRACE,
        State.EXPIRED,
    ),
    "reseller": (
        replace(ACTIVE, delegation_sighting=seen(1)),
        Reason.RESELLER_REVOKED,
        NOW,
        NOW + 30 * DAY,
        State.EXPIRED,
    ),
    "refused": (REFUSED, Reason.SIGNATURE_INVALID, NOW, NOW + 14 * DAY, State.EXPIRED),
    "mismatch": (
        replace(ACTIVE, match=ELSEWHERE, unmatched_since=NOW),
        Reason.MACHINE_MISMATCH,
        NOW,
        NOW + 14 * DAY,
        State.WRONG_MACHINE,
    ),
    "superseded": (
        replace(ACTIVE, activation_sighting=seen(3)),
        Reason.SUPERSEDED,
        NOW,
        NOW + 72 * HOUR,
        State.WRONG_MACHINE,
    ),
    "activation revoked": (
        replace(ACTIVE, activation_sighting=seen(1)),
        Reason.REVOKED,
        NOW,
        NOW + 72 * HOUR,
        State.WRONG_MACHINE,
    ),
    "activation suspended": (
        replace(ACTIVE, activation_sighting=seen(2)),
        Reason.SUSPENDED,
        NOW,
        NOW + 72 * HOUR,
        State.WRONG_MACHINE,
    ),
    "not activated": (
        NOT_ACTIVATED,
        Reason.ACTIVATION_DUE,
        NOW + 7 * DAY,
        NOW + 7 * DAY + GRACE,
        State.NOT_ACTIVATED,
    ),
}

ACTIONS = {
    "revoked": Action.CONTACT_RESELLER,
    "exp": Action.RENEW,
    "stale": Action.CHECK_NETWORK,
    "reseller": Action.CONTACT_RESELLER,
    "refused": Action.REINSTALL_BUNDLE,
    "mismatch": Action.MOVE_BACK_OR_RELEASE,
    "superseded": Action.MOVE_BACK_OR_RELEASE,
    "activation revoked": Action.CONTACT_RESELLER,
    "activation suspended": Action.CONTACT_RESELLER,
    "not activated": Action.ACTIVATE,
}

by_cause = pytest.mark.parametrize("cause", CAUSES)


@by_cause
def test_grace_begins_in_its_second_and_permits_everything(cause: str) -> None:
    evidence, reason, starts, due, _ = CAUSES[cause]
    verdict = judge(replace(evidence, now=starts))
    assert (verdict.state, verdict.reasons, verdict.since, verdict.until) == (State.GRACE, (reason,), starts, due)
    assert verdict.permits == PERMITS[State.ACTIVE]
    assert verdict.period == Period(start_s=starts, end_s=due, state=State.GRACE, reason=reason)
    assert verdict.next_action is ACTIONS[cause]


@by_cause
def test_before_its_grace_the_license_is_active(cause: str) -> None:
    evidence, _, starts, _, _ = CAUSES[cause]
    if starts > NOW:  # else it starts by being seen
        verdict = judge(replace(evidence, now=starts - 1))
        assert (verdict.state, verdict.until) == (State.ACTIVE, starts)


@by_cause
def test_the_state_begins_in_its_second_and_not_before(cause: str) -> None:
    evidence, reason, _, due, becomes = CAUSES[cause]
    assert state(evidence, due - 1) is State.GRACE
    verdict = judge(replace(evidence, now=due))
    assert (verdict.state, verdict.reasons[0], verdict.since) == (becomes, reason, due)
    assert (verdict.permits, verdict.period) == (PERMITS[becomes], None)
    assert verdict.next_action is ACTIONS[cause]
    assert state(evidence, due + 1) is becomes


@by_cause
def test_a_state_says_since_when_it_would_have_held_though_nobody_looked(cause: str) -> None:
    evidence, _, _, due, _ = CAUSES[cause]
    assert judge(replace(evidence, now=due + 5 * DAY)).since == due


def test_nobody_is_told_to_renew_or_activate_what_permits_less_already() -> None:
    revoked = replace(NOT_ACTIVATED, now=EXP - DAY, accepted_at=EXP - DAY, license_sighting=seen(1))
    assert judge(revoked).reasons == (Reason.REVOKED,)


# The causes that no countdown leads to


def test_without_any_license_it_is_unlicensed() -> None:
    verdict = judge(Evidence(now=NOW))
    assert (verdict.state, verdict.reasons) == (State.UNLICENSED, (Reason.NO_LICENSE,))
    assert (verdict.since, verdict.until, verdict.period) == (NOW, None, None)
    assert verdict.next_action is Action.INSTALL_LICENSE


def test_a_refused_bundle_is_no_license_where_none_was_accepted_before() -> None:
    assert judge(replace(REFUSED, had_license=False)).state is State.UNLICENSED


def test_a_removed_license_is_unlicensed_whatever_was_seen_of_it() -> None:
    gone = Evidence(now=NOW + 99 * DAY, license_sighting=seen(1))
    assert judge(gone).state is State.UNLICENSED


def test_a_refusal_beside_a_good_license_changes_nothing() -> None:
    both = replace(ACTIVE, had_license=True, refused=REFUSED.refused)
    assert judge(replace(both, now=NOW + 20 * DAY)).state is State.ACTIVE


def test_before_its_iat_it_is_not_yet_valid_either() -> None:
    """Else a reseller would date it ahead, and no status could be missed until then."""
    ahead = replace(ACTIVE, license=replace(LICENSE, iat=NOW + DAY))
    assert judge(ahead).state is State.NOT_YET_VALID
    assert judge(ahead).until == NOW + DAY - 300
    assert judge(replace(ahead, now=NOW + DAY - 300)).state is State.ACTIVE


def test_before_nbf_it_is_not_yet_valid_but_for_five_minutes_of_skew() -> None:
    verdict = judge(replace(ACTIVE, now=NBF - 301))
    assert (verdict.state, verdict.reasons) == (State.NOT_YET_VALID, (Reason.NOT_YET_VALID,))
    assert (verdict.since, verdict.until) == (NBF - 301, NBF - 300)
    assert verdict.next_action is Action.WAIT
    assert judge(replace(ACTIVE, now=NBF - 301, clock_suspect=True)).next_action is Action.CHECK_CLOCK
    assert state(ACTIVE, NBF - 300) is State.ACTIVE


# Suspension: two lists an hour apart


@pytest.mark.parametrize("apart_s", [0, HOUR - 1])
def test_one_list_or_two_less_than_an_hour_apart_only_warn(apart_s: int) -> None:
    verdict = judge(replace(ACTIVE, license_sighting=seen(2, lists_apart_s=apart_s)))
    assert (verdict.state, verdict.reasons) == (State.GRACE, (Reason.SUSPENDED,))
    assert (verdict.since, verdict.until) == (NOW, EXP + GRACE), "only a list ends it, and no date can be promised"
    assert verdict.permits == PERMITS[State.ACTIVE]
    assert verdict.next_action is Action.CONTACT_RESELLER


@pytest.mark.parametrize("now", [NOW + HOUR - 1, NOW + HOUR, NOW + 9 * DAY])
def test_two_lists_an_hour_apart_suspend_whatever_the_clock_here_says(now: int) -> None:
    verdict = judge(replace(ACTIVE, now=now, license_sighting=seen(2, lists_apart_s=HOUR)))
    assert (verdict.state, verdict.reasons) == (State.SUSPENDED, (Reason.SUSPENDED,))
    assert verdict.since == min(now, NOW + HOUR)
    assert verdict.until == EXP + GRACE


def test_time_alone_never_suspends() -> None:
    once = replace(ACTIVE, license_sighting=seen(2))
    assert state(once, NOW + HOUR - 1) is State.GRACE
    later = judge(replace(once, now=NOW + HOUR))
    assert (later.state, later.until) == (State.GRACE, EXP + GRACE)
    assert later.period == Period(start_s=NOW, end_s=NEVER, state=State.GRACE, reason=Reason.SUSPENDED)
    assert state(once, EXP - 1) is State.GRACE


def test_a_list_made_before_it_was_seen_counts_from_when_it_was_made() -> None:
    older = Sighting(status=Status.SUSPENDED, first_iat=NOW - 600, last_iat=NOW - 600, seen_at=NOW)
    verdict = judge(replace(ACTIVE, license_sighting=older))
    assert (verdict.since, verdict.state) == (NOW - 600, State.GRACE)
    confirmed = replace(older, last_iat=NOW - 600 + HOUR)
    assert state(replace(ACTIVE, license_sighting=confirmed), NOW + 3000) is State.SUSPENDED


def test_suspended_then_revoked_is_no_pardon() -> None:
    revoked = replace(ACTIVE, license_sighting=seen(1), previous_state=State.SUSPENDED, previous_since=NOW - DAY)
    verdict = judge(revoked)
    assert (verdict.state, verdict.since, verdict.until) == (State.SUSPENDED, NOW - DAY, NOW + 72 * HOUR)
    assert verdict.reasons == (Reason.REVOKED,)
    assert state(revoked, NOW + 72 * HOUR) is State.REVOKED


def test_resumed_is_active_at_once() -> None:
    resumed = replace(ACTIVE, previous_state=State.SUSPENDED, previous_since=NOW - DAY)
    assert (judge(resumed).state, judge(resumed).since) == (State.ACTIVE, NOW)


# What the rules leave out


@pytest.mark.parametrize("status", [0, 3])
def test_a_license_is_not_superseded(status: int) -> None:
    assert state(replace(ACTIVE, license_sighting=seen(status)), NOW + 90 * DAY) is State.ACTIVE


@pytest.mark.parametrize("status", [2, 3])
def test_of_a_delegation_only_a_revocation_counts(status: int) -> None:
    assert state(replace(ACTIVE, delegation_sighting=seen(status)), NOW + 90 * DAY) is State.ACTIVE


def test_a_revoked_reseller_ends_at_exp_where_that_comes_before_30_days() -> None:
    revoked = replace(ACTIVE, delegation_sighting=replace(seen(1), seen_at=EXP - 5 * DAY))
    assert judge(replace(revoked, now=EXP - 5 * DAY)).until == EXP
    assert state(revoked, EXP - 1) is State.GRACE
    assert judge(replace(revoked, now=EXP)).reasons[0] is Reason.RESELLER_REVOKED
    assert state(revoked, EXP) is State.EXPIRED


def test_no_activation_is_due_where_none_is_required() -> None:
    free = replace(LICENSE, activation=replace(LICENSE.activation, required=False))
    assert judge(replace(NOT_ACTIVATED, license=free, now=NOW + 60 * DAY)).reasons == (Reason.OK,)


def test_while_there_is_time_to_activate_the_license_is_active_and_says_so() -> None:
    verdict = judge(NOT_ACTIVATED)
    assert (verdict.state, verdict.reasons, verdict.until) == (State.ACTIVE, (Reason.ACTIVATION_DUE,), NOW + 7 * DAY)
    assert verdict.next_action is Action.ACTIVATE
    assert verdict.period == Period(start_s=NOW, end_s=NOW + 7 * DAY, state=State.ACTIVE, reason=Reason.ACTIVATION_DUE)


def test_without_a_note_of_its_acceptance_the_time_to_activate_begins_now() -> None:
    assert judge(replace(NOT_ACTIVATED, accepted_at=None)).until == NOW + 7 * DAY


def test_without_a_note_of_its_beginning_a_mismatch_begins_now() -> None:
    assert judge(replace(ACTIVE, match=ELSEWHERE)).until == NOW + 14 * DAY


def test_status_that_never_gets_stale_and_status_unknown_change_nothing() -> None:
    for until in (NEVER, None):
        assert state(replace(ACTIVE, status_rules_until=until), EXP - 1) is State.ACTIVE


def test_no_grace_days_is_no_grace() -> None:
    strict = replace(ACTIVE, license=replace(LICENSE, grace_days=0))
    assert judge(replace(strict, now=EXP - 1)).until == EXP
    assert state(strict, EXP - 1) is State.ACTIVE
    assert state(strict, EXP) is State.EXPIRED


# A license that became unreadable


@pytest.mark.parametrize("before", [of for of in State if PERMITS[of] != PERMITS[State.ACTIVE]])
def test_damaging_the_license_is_no_way_out_of_a_state(before: State) -> None:
    damaged = replace(REFUSED, previous_state=before, previous_since=NBF)
    for now in (NOW, NOW + 14 * DAY, NOW + 900 * DAY):
        verdict = judge(replace(damaged, now=now))
        assert (verdict.state, verdict.since, verdict.reasons) == (before, NBF, (Reason.SIGNATURE_INVALID,))


@pytest.mark.parametrize("before", [State.ACTIVE, State.GRACE, None])
def test_a_license_that_permitted_everything_has_its_14_days(before: State | None) -> None:
    assert judge(replace(REFUSED, previous_state=before)).state is State.GRACE


def test_a_revocation_seen_before_the_license_became_unreadable_still_comes() -> None:
    both = replace(REFUSED, license_sighting=seen(1))
    assert state(both, NOW + 72 * HOUR - 1) is State.GRACE
    assert state(both, NOW + 72 * HOUR) is State.REVOKED


# Several causes at once

ALL_DUE = EXP + 400 * DAY
ORDERED = [
    ("revoked", State.REVOKED),
    ("exp", State.EXPIRED),
    ("suspended", State.SUSPENDED),
    ("mismatch", State.WRONG_MACHINE),
    ("superseded", State.WRONG_MACHINE),
    ("not activated", State.NOT_ACTIVATED),
]
LONG = replace(LICENSE, exp=ALL_DUE + 1)
APPLY: dict[str, Callable[[Evidence], Evidence]] = {
    "revoked": lambda e: replace(e, license_sighting=seen(1)),
    "not yet valid": lambda e: replace(e, license=replace(LONG, nbf=ALL_DUE + 400, exp=ALL_DUE + DAY)),
    "exp": lambda e: replace(e, license=LICENSE),
    "suspended": lambda e: replace(e, license_sighting=seen(2, lists_apart_s=HOUR)),
    "mismatch": lambda e: replace(e, match=ELSEWHERE, unmatched_since=NOW),
    "superseded": lambda e: replace(e, activation_sighting=seen(3)),
    "not activated": lambda e: replace(e, activated=False),
}
BASE = replace(ACTIVE, now=ALL_DUE, license=LONG)


@pytest.mark.parametrize(
    ("higher", "lower"), [(h, low) for i, h in enumerate(ORDERED) for low in ORDERED[i + 1 :]], ids=str
)
def test_of_two_causes_that_are_due_the_higher_row_wins(higher: tuple[str, State], lower: tuple[str, State]) -> None:
    if {higher[0], lower[0]} == {"revoked", "suspended"}:
        return  # one license has one status
    both = judge(APPLY[higher[0]](APPLY[lower[0]](BASE)))
    assert judge(APPLY[lower[0]](BASE)).state is lower[1]
    assert both.state is higher[1]
    assert len(both.reasons) > 1


@pytest.mark.parametrize("other", ["suspended", "mismatch", "superseded", "not activated"])
def test_not_yet_valid_is_above_what_permits_more(other: str) -> None:
    assert judge(APPLY["not yet valid"](APPLY[other](BASE))).state is State.NOT_YET_VALID


def test_revoked_is_above_not_yet_valid() -> None:
    assert judge(APPLY["not yet valid"](APPLY["revoked"](BASE))).state is State.REVOKED


def test_the_rows_stand_in_the_designs_order() -> None:
    found = [
        countdown.state
        for row in ROWS
        for evidence in (
            APPLY["not yet valid"](BASE),
            Evidence(now=NOW),
            *(of[0] for of in CAUSES.values()),
            APPLY["suspended"](BASE),
        )
        if (countdown := row(evidence)) is not None
    ]
    places = [list(State).index(each) for each in found]
    assert places == sorted(places)
    assert set(found) == set(State) - {State.GRACE, State.ACTIVE}


def test_a_cause_that_is_due_is_told_first_then_those_on_their_way_the_soonest_first() -> None:
    many = replace(
        ACTIVE,
        delegation_sighting=seen(1),  # in 30 days
        activation_sighting=seen(3),  # in 72 h
        match=ELSEWHERE,
        unmatched_since=NOW,  # in 14 days
        remarks=(Reason.UNREACHABLE_DNS, Reason.ISOLATION_NONE),
    )
    running = (Reason.SUPERSEDED, Reason.MACHINE_MISMATCH, Reason.RESELLER_REVOKED)
    remarks = (Reason.UNREACHABLE_DNS, Reason.ISOLATION_NONE)
    verdict = judge(many)
    assert verdict.reasons == (*running, *remarks)
    assert verdict.until == NOW + 72 * HOUR
    assert verdict.period is not None
    assert verdict.period.reason is Reason.SUPERSEDED
    later = judge(replace(many, now=NOW + 20 * DAY))
    assert later.state is State.WRONG_MACHINE
    assert later.reasons == (Reason.MACHINE_MISMATCH, Reason.SUPERSEDED, Reason.RESELLER_REVOKED, *remarks)
    assert later.until == NOW + 30 * DAY


def test_a_reason_is_told_once() -> None:
    twice = replace(ACTIVE, license_sighting=seen(1), activation_sighting=seen(1), remarks=(Reason.REVOKED,))
    assert judge(twice).reasons == (Reason.REVOKED,)


# Remarks change no state

REMARKS = {
    Reason.BINDING_DRIFT: (replace(ACTIVE, match=DRIFT), Action.NONE),
    Reason.CLOCK_SUSPECT: (replace(ACTIVE, clock_suspect=True), Action.CHECK_CLOCK),
    Reason.ROOT_OLD: (replace(ACTIVE, root_exp=NOW), Action.UPDATE_AGENT),
    Reason.UNREACHABLE_TCP: (replace(ACTIVE, remarks=(Reason.UNREACHABLE_TCP,)), Action.CHECK_NETWORK),
    Reason.ISOLATION_NONE: (replace(ACTIVE, remarks=(Reason.ISOLATION_NONE,)), Action.NONE),
}


@pytest.mark.parametrize("remark", REMARKS)
def test_a_remark_is_told_and_changes_no_state(remark: Reason) -> None:
    evidence, action = REMARKS[remark]
    verdict = judge(evidence)
    assert (verdict.state, verdict.reasons, verdict.until, verdict.next_action) == (
        State.ACTIVE,
        (remark,),
        EXP,
        action,
    )


def test_a_root_is_old_from_the_second_it_ends() -> None:
    assert judge(replace(ACTIVE, root_exp=NOW + 1)).reasons == (Reason.OK,)


@pytest.mark.parametrize(("term_days", "ahead_days"), [(365, 30), (120, 30), (40, 10), (4, 1)])
def test_renewal_is_due_in_the_last_quarter_of_a_term_and_the_last_30_days(term_days: int, ahead_days: int) -> None:
    exp = NBF + term_days * DAY
    short = replace(ACTIVE, license=replace(LICENSE, exp=exp))
    starts = exp - ahead_days * DAY
    assert judge(replace(short, now=starts - 1)).reasons == (Reason.OK,)
    verdict = judge(replace(short, now=starts))
    assert (verdict.state, verdict.reasons, verdict.until) == (State.ACTIVE, (Reason.RENEW_SOON,), exp)
    assert verdict.next_action is Action.RENEW
    assert verdict.period == Period(start_s=starts, end_s=exp, state=State.ACTIVE, reason=Reason.RENEW_SOON)
    assert judge(replace(short, now=exp)).reasons == (Reason.EXPIRED,)


def test_of_two_terms_the_one_that_ends_first_is_warned_of() -> None:
    exp = NOW + 5 * DAY
    both = judge(replace(NOT_ACTIVATED, license=replace(LICENSE, exp=exp), now=NOW + DAY))
    assert both.reasons == (Reason.ACTIVATION_DUE, Reason.RENEW_SOON)
    assert both.period is not None
    assert both.period.reason is Reason.RENEW_SOON


# since


@pytest.mark.parametrize("of", [State.ACTIVE, State.GRACE])
def test_a_state_that_goes_on_keeps_its_beginning(of: State) -> None:
    evidence = ACTIVE if of is State.ACTIVE else replace(ACTIVE, license_sighting=seen(1))
    assert judge(replace(evidence, previous_state=of, previous_since=NBF)).since == NBF
    assert judge(replace(evidence, previous_state=State.EXPIRED, previous_since=NBF)).since == NOW
    assert judge(replace(evidence, previous_state=of, previous_since=None)).since == NOW


@by_cause
def test_a_clock_set_back_by_a_dropped_key_does_not_hide_what_was_seen(cause: str) -> None:
    evidence, _, starts, due, _ = CAUSES[cause]
    back = judge(replace(evidence, now=NOW - DAY))
    if starts == NOW:
        assert (back.state, back.since, back.until) == (State.GRACE, NOW - DAY, due)
    else:
        assert back.state is State.ACTIVE


# Permits


seconds = st.integers(0, 800 * DAY).map(lambda ahead_s: NBF - 100 * DAY + ahead_s)
sightings = st.none() | st.builds(
    lambda status, first, apart, late: Sighting(
        status=Status(status), first_iat=first, last_iat=first + apart, seen_at=first + late
    ),
    st.integers(1, 3),
    seconds,
    st.sampled_from([0, HOUR - 1, HOUR, DAY]),
    st.integers(0, DAY),
)
licenses = st.builds(
    lambda nbf, term, grace, required: replace(
        LICENSE,
        nbf=nbf,
        exp=nbf + term,
        grace_days=grace,
        activation=replace(LICENSE.activation, required=required),
    ),
    seconds,
    st.integers(1, 400 * DAY),
    st.integers(0, 30),
    st.booleans(),
)
evidences = st.builds(
    Evidence,
    now=seconds,
    license=st.none() | licenses,
    accepted_at=st.none() | seconds,
    activated=st.booleans(),
    refused=st.none() | st.builds(Refusal, reason=st.just(Reason.CHAIN_INVALID), since=seconds),
    had_license=st.booleans(),
    license_sighting=sightings,
    activation_sighting=sightings,
    delegation_sighting=sightings,
    status_rules_until=st.none() | seconds | st.just(NEVER),
    match=st.sampled_from([None, WELL, DRIFT, ELSEWHERE]),
    unmatched_since=st.none() | seconds,
    root_exp=st.none() | seconds,
    clock_suspect=st.booleans(),
    remarks=st.lists(st.sampled_from([Reason.UNREACHABLE_DNS, Reason.SERVER_ERROR]), max_size=2).map(tuple),
    previous_state=st.none() | st.sampled_from(State),
    previous_since=st.none() | seconds,
)


def no_less(before: Permits, after: Permits) -> bool:
    names = ("run", "change", "create", "paid_features")
    return all(getattr(after, name) >= getattr(before, name) for name in names)


@given(evidences, evidences)
@settings(max_examples=60)
def test_nothing_unsigned_takes_a_permit_at_once(e: Evidence, other: Evidence) -> None:
    """At one moment, with the signed evidence unchanged: whatever else changes, what was permitted still is."""
    before = judge(e)
    worse = replace(
        e,
        clock_suspect=other.clock_suspect,
        remarks=other.remarks,
        root_exp=other.root_exp,
        match=e.match if e.match is None or not e.match.ok else other.match,
        unmatched_since=e.now if e.match is None or e.match.ok else e.unmatched_since,
        previous_state=before.state,
        previous_since=before.since,
    )
    assert no_less(before.permits, judge(worse).permits)


@given(evidences)
@settings(max_examples=60)
def test_a_license_that_becomes_unreadable_takes_and_gives_nothing_at_once(e: Evidence) -> None:
    before = judge(replace(e, refused=None))
    unreadable = replace(
        e,
        license=None,
        had_license=e.license is not None,
        refused=Refusal(reason=Reason.FORMAT_INVALID, since=e.now),
        match=None,
        activation_sighting=None,
        license_sighting=None,
        previous_state=before.state,
        previous_since=before.since,
    )
    assert judge(unreadable).permits == before.permits


@given(evidences)
@settings(max_examples=60)
def test_a_verdict_is_whole(e: Evidence) -> None:
    verdict = judge(e)
    assert verdict.permits == PERMITS[verdict.state]
    assert verdict.reasons
    assert (Reason.OK in verdict.reasons) <= (verdict.state is State.ACTIVE and len(verdict.reasons) == 1)
    assert len(set(verdict.reasons)) == len(verdict.reasons)
    assert verdict.until is None or verdict.until > e.now
    assert (verdict.state is State.GRACE) <= (verdict.period is not None)


@given(evidences)
@settings(max_examples=60)
def test_until_is_the_first_moment_at_which_time_alone_changes_the_state(e: Evidence) -> None:
    e = replace(e, unmatched_since=e.unmatched_since or e.now, accepted_at=e.accepted_at or e.now)
    before = judge(e)
    e = replace(e, previous_state=before.state, previous_since=before.since)  # an unreadable license holds its state
    verdict = judge(e)
    until = e.now + 900 * DAY if verdict.until is None else verdict.until
    for now in sorted({e.now + 1, (e.now + until) // 2, until - 1} - {until}):
        if e.now < now < until:
            assert judge(replace(e, now=now)).state is verdict.state
    if verdict.until is not None:
        assert judge(replace(e, now=until)).state is not verdict.state


# rules_until


@pytest.mark.parametrize(
    ("listed", "newest_iat", "until"),
    [
        (None, NOW, NOW + 30 * DAY),
        ((NOW, NOW + DAY), NBF, NOW + 30 * DAY),
        ((NOW, NOW + 90 * DAY), NBF, NOW + 90 * DAY),
        ((NBF, NBF + DAY), NOW, NBF + 30 * DAY),
    ],
)
def test_a_list_rules_until_its_exp_or_stale_days_the_later(
    listed: tuple[int, int] | None, newest_iat: int, until: int
) -> None:
    iat, exp = listed or (None, None)
    assert rules_until(iat, exp, stale_days=30, newest_iat=newest_iat) == until


def test_a_fresh_activation_proves_nothing_about_the_status_where_an_older_list_was_accepted() -> None:
    assert rules_until(NBF, NBF + DAY, stale_days=30, newest_iat=NOW) == NBF + 30 * DAY
    assert (
        rules_until(NBF, None, stale_days=30, newest_iat=NOW) == NBF + 30 * DAY
    )  # its bytes are lost, its date is not


def test_3650_days_is_never() -> None:
    assert rules_until(NOW, NOW, stale_days=3649, newest_iat=NOW) == NOW + 3649 * DAY
    assert rules_until(NOW, NOW, stale_days=3650, newest_iat=NOW) == NEVER


# Warnings

HUNDRED = Period(start_s=NOW, end_s=NOW + 100, state=State.GRACE, reason=Reason.SUSPENDED)


def given_through(period: Period, moments: list[int]) -> list[tuple[int, str]]:
    given: list[tuple[int, str]] = []
    for now in moments:
        key = warning(period, now, frozenset(key for _, key in given))
        if key is not None:
            given.append((now - period.start_s, key))
    return given


def test_warnings_come_at_100_50_25_and_10_per_cent_once_each() -> None:
    given = given_through(HUNDRED, list(range(NOW - 5, NOW + 105)))
    assert given == [(at, f"grace:suspended:{NOW}:{left}") for at, left in ((0, 100), (50, 50), (75, 25), (90, 10))]


def test_who_was_away_gets_the_latest_warning_only() -> None:
    assert [key for _, key in given_through(HUNDRED, [NOW + 80, NOW + 81])] == [f"grace:suspended:{NOW}:25"]


def test_another_period_has_its_own_warnings() -> None:
    later = replace(HUNDRED, start_s=NOW + 1, end_s=NOW + 101)
    assert warning(later, NOW + 1, frozenset({f"grace:suspended:{NOW}:100"})) == f"grace:suspended:{NOW + 1}:100"


def test_a_wait_without_end_is_warned_of_once() -> None:
    endless = replace(HUNDRED, end_s=NEVER)
    assert len(given_through(endless, [NOW, NOW + DAY, NOW + 900 * DAY])) == 1


@by_cause
def test_each_cause_warns_four_times_on_its_way(cause: str) -> None:
    evidence, reason, starts, due, _ = CAUSES[cause]
    given: list[str] = []
    for now in range(starts, due, HOUR):
        period = judge(replace(evidence, now=now)).period
        assert period is not None
        key = warning(period, now, frozenset(given))
        given += [] if key is None else [key]
    assert given == [f"grace:{reason}:{starts}:{left}" for left in (100, 50, 25, 10)]


def test_states_follow_each_other_as_time_alone_passes() -> None:
    """A life: accepted, never activated, never renewed, and nobody looks but at each `until`."""
    path, now = [], NBF - DAY
    evidence = replace(NOT_ACTIVATED, accepted_at=NBF - DAY)
    while True:
        verdict = judge(replace(evidence, now=now))
        path.append(verdict.state)
        if verdict.until is None:
            break
        now = verdict.until
    assert path == [State.NOT_YET_VALID, State.ACTIVE, State.GRACE, State.NOT_ACTIVATED, State.EXPIRED]
    assert all(a is not b for a, b in pairwise(path))


# ---- where the parts that would decide cannot be read


HIDDEN = replace(ELSEWHERE, undecided=True)


def test_what_cannot_be_read_is_not_told_for_a_week_and_gains_no_time_over_a_mismatch() -> None:
    hidden = replace(ACTIVE, match=HIDDEN, unmatched_since=NOW)
    first = judge(hidden)
    assert (first.state, Reason.MACHINE_MISMATCH in first.reasons, first.until) == (
        State.ACTIVE,
        False,
        NOW + 7 * DAY,
    )
    week = judge(replace(hidden, now=NOW + 7 * DAY))
    assert (week.state, week.reasons[0], week.until) == (State.GRACE, Reason.MACHINE_MISMATCH, NOW + 14 * DAY)
    assert judge(replace(hidden, now=NOW + 14 * DAY)).state is State.WRONG_MACHINE
    shown = replace(hidden, now=NOW + 14 * DAY, match=ELSEWHERE)
    assert judge(shown).state is State.WRONG_MACHINE
