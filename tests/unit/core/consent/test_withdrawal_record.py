"""The record of withdrawals: what a withdrawal covers, what ends it, and how both files stay small."""

from dataclasses import replace

import pytest

from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.consent.withdrawals import (
    MAX_GRANTS,
    MAX_WITHDRAWALS,
    AgentRecord,
    Origin,
    OwnerRecord,
    Withdrawable,
    Withdrawal,
    Withdrawals,
    agent_gave,
    agent_records,
    agent_withdraws,
    decode,
    encode,
    grant_id,
    of_damage,
    owner_grants,
    owner_withdraws,
)

USAGE, CRASH = Withdrawable.USAGE_STATISTICS, Withdrawable.CRASH_REPORTS
THIS, OTHER = grant_id(None), grant_id({"by": "Ada", "role": "admin", "on": "2026-12-05"})


def made(
    number: int, subject: Withdrawable = USAGE, *, grants: tuple[str, ...] | None = (THIS,), at: int = 0
) -> Withdrawal:
    return Withdrawal(id=f"{number:016x}", subject=subject, by=Origin.COMMAND, at=at or number, grants=grants)


def both(
    owner: tuple[Withdrawal, ...] = (), agent: tuple[Withdrawal, ...] = (), ended: tuple[str, ...] = ()
) -> Withdrawals:
    return Withdrawals(owner=OwnerRecord(withdrawals=owner, ended=ended), agent=AgentRecord(withdrawals=agent))


def test_every_purpose_that_consent_is_asked_for_can_be_withdrawn() -> None:
    assert set(CONSENT_BASED) <= set(Withdrawable)


def test_a_grant_is_what_its_table_says_and_nothing_else_of_the_file() -> None:
    assert len({THIS, OTHER, grant_id({"by": "Ada", "role": "admin", "on": "2026-12-06"})}) == 3
    assert grant_id({"on": "2026-12-05", "role": "admin", "by": "Ada"}) == OTHER


@pytest.mark.parametrize(
    ("grants", "grant", "covered"),
    [((THIS,), THIS, True), ((THIS,), OTHER, False), ((), THIS, False), (None, OTHER, True), ((THIS,), None, True)],
)
def test_what_a_withdrawal_covers(grants: tuple[str, ...] | None, grant: str | None, covered: bool) -> None:
    known = both(agent=(made(1, grants=grants),))
    assert (known.covering(USAGE, grant) is not None) is covered
    assert known.covering(CRASH, grant) is None


def test_the_latest_that_covers_is_named() -> None:
    known = both(owner=(made(1, at=9),), agent=(made(2, at=5), made(3, at=20, grants=())))
    found = known.covering(USAGE, THIS)
    assert found is not None
    assert (found.id, found.day_and_time) == (made(1).id, "1970-01-01 00:00 UTC")


def test_a_grant_ends_the_owner_s_and_the_agent_s() -> None:
    known = both(owner=(made(1), made(2, CRASH)), agent=(made(3), made(4, CRASH)))
    after = replace(known, owner=owner_grants(known, USAGE))
    assert after.standing(USAGE) == ()
    assert [each.id for each in after.standing(CRASH)] == [made(2).id, made(4).id]
    assert [each.id for each in after.unrecorded()] == [made(number).id for number in (1, 2, 3, 4)], (
        "each leaves its trace"
    )


def test_what_was_ended_and_recorded_is_forgotten_by_both() -> None:
    known = both(owner=(made(1),), agent=(made(2),))
    known = replace(known, owner=owner_grants(known, USAGE))
    known = replace(known, agent=agent_records(known, (made(1).id, made(2).id)))
    assert known.agent.withdrawals == ()
    known = replace(known, owner=owner_grants(known, USAGE))
    assert known.owner == OwnerRecord()
    assert agent_records(known, ()).recorded == ()


def test_one_that_stands_is_kept_although_it_is_recorded() -> None:
    known = both(owner=(made(1),), agent=(made(2),))
    known = replace(known, agent=agent_records(known, (made(1).id, made(2).id)))
    assert known.unrecorded() == ()
    assert len(known.standing(USAGE)) == 2
    assert agent_withdraws(known, made(3)).withdrawals == (made(2), made(3))


def test_the_owner_s_later_withdrawal_takes_the_place_of_the_earlier() -> None:
    known = both(owner=(made(1), made(2, CRASH)))
    assert owner_withdraws(known, made(3)) == known.owner, "it ended the same grants"
    later = owner_withdraws(known, made(3, grants=(OTHER, THIS)))
    assert [(each.id, each.stands) for each in later.withdrawals] == [
        (made(1).id, False),
        (made(2).id, True),
        (made(3).id, True),
    ]
    trace = replace(made(4, grants=()), stands=False)
    assert owner_withdraws(known, trace).withdrawals == (made(1), made(2, CRASH), trace)


def test_a_withdrawal_ends_every_grant_that_ever_was() -> None:
    known = replace(both(), agent=AgentRecord(given={USAGE: (OTHER,)}))
    assert known.grants(USAGE, THIS) == tuple(sorted((THIS, OTHER)))
    assert known.grants(USAGE, None) == (OTHER,)
    assert known.grants(CRASH, None) == ()
    assert both(agent=(made(1),)).grants(USAGE, OTHER) == tuple(sorted((THIS, OTHER)))
    assert both(agent=(made(1, grants=None),)).grants(USAGE, OTHER) is None
    many = tuple(grant_id({"on": str(number)}) for number in range(MAX_GRANTS))
    assert replace(both(), agent=AgentRecord(given={USAGE: many})).grants(USAGE, THIS) is None


def test_which_grants_are_remembered() -> None:
    known = both()
    for number in range(MAX_GRANTS + 1):
        known = replace(known, agent=agent_gave(known, USAGE, grant_id({"on": str(number)})))
    known = replace(known, agent=agent_gave(known, USAGE, grant_id({"on": "5"})))
    kept = known.agent.given[USAGE]
    assert len(kept) == MAX_GRANTS
    assert kept[-1] == grant_id({"on": "5"})
    assert grant_id({"on": "0"}) not in kept


def test_a_record_keeps_what_stands_before_what_was_ended() -> None:
    ended = tuple(replace(made(number), stands=False) for number in range(1, MAX_WITHDRAWALS + 1))
    kept = owner_withdraws(both(owner=(made(100, CRASH, at=1), *ended)), made(200)).withdrawals
    assert len(kept) == MAX_WITHDRAWALS
    assert {made(100).id, made(200).id} <= {each.id for each in kept}
    assert ended[0] not in kept


def test_of_a_record_that_cannot_be_read_everything_counts_as_withdrawn() -> None:
    found = of_damage(["0" * 16, "1" * 16], (USAGE, CRASH), 7)
    assert [(each.subject, each.by, each.at, each.grants) for each in found] == [
        (USAGE, Origin.DAMAGE, 7, None),
        (CRASH, Origin.DAMAGE, 7, None),
    ]


def test_one_that_a_later_one_covers_is_forgotten_once_the_ledger_has_it() -> None:
    first, other, second = made(1), made(2, CRASH), made(3, grants=(THIS, OTHER))
    known = both(agent=(first, other, second))
    assert agent_records(known, [other.id, second.id]).withdrawals == (first, other, second)
    assert agent_records(known, [first.id, other.id, second.id]).withdrawals == (other, second)
    any_grant = both(agent=(second, made(4, grants=None)))
    assert agent_records(any_grant, [second.id]).withdrawals == (made(4, grants=None),)


@pytest.mark.parametrize(
    "later", [made(2, grants=(OTHER,)), made(2, CRASH), replace(made(2), stands=False), made(2, grants=())]
)
def test_one_that_no_later_one_covers_stays(later: Withdrawal) -> None:
    known = both(agent=(made(1), later))
    assert made(1) in agent_records(known, [made(1).id, later.id]).withdrawals
    of_any = made(1, grants=None)
    assert of_any in agent_records(both(agent=(of_any, made(2))), [of_any.id]).withdrawals


def test_one_that_a_grant_of_the_owner_s_ended_covers_nothing() -> None:
    known = both(agent=(made(1), made(2)), ended=(made(2).id,))
    assert agent_records(known, [made(1).id]).withdrawals == (made(1), made(2))


def test_edits_for_a_hundred_years_leave_one_withdrawal_of_each_purpose() -> None:
    known = Withdrawals()
    for number in range(200):
        for subject in (USAGE, CRASH):
            grant = grant_id({"on": str(number)})
            known = replace(known, agent=agent_gave(known, subject, grant))
            one = made(2 * number + (subject is CRASH) + 1, subject, grants=known.grants(subject, grant))
            known = replace(known, agent=agent_withdraws(known, one))
            known = replace(known, agent=agent_records(known, [one.id]))
            assert known.covering(subject, grant) is not None
    assert len(known.agent.withdrawals) == 2
    assert known.covering(USAGE, grant_id({"on": "0"})) is not None, "the first grant stays ended"


def test_the_largest_record_can_be_read_again() -> None:
    every = tuple(f"{number:064x}" for number in range(MAX_GRANTS))
    ids = tuple(f"{number:016x}" for number in range(4 * MAX_WITHDRAWALS))
    full = tuple(
        replace(made(number, grants=every, at=253_402_300_799), by=Origin.DAMAGE, file_sha256=THIS)
        for number in range(MAX_WITHDRAWALS)
    )
    agent = AgentRecord(withdrawals=full, recorded=ids, given={str(each): every for each in Withdrawable})
    owner = OwnerRecord(withdrawals=full, ended=ids)
    assert decode(AgentRecord, encode(agent)) == agent
    assert decode(OwnerRecord, encode(owner)) == owner
