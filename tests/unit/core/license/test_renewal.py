"""When a newer edition is asked for, and which answer is one: the rule alone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import signing
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.errors import NotYet, Untrusted
from opanel_agent.core.license import renewal
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.license.verdict import SKEW_S, Evidence, judge

DAY, NOW = signing.DAY, signing.NOW
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
TERMS = st.integers(1, 4000 * DAY)
DRAWS = st.floats(0, 1, exclude_max=True)


def license_(days: int = 365, **claims: Any) -> Bundle:
    text = signing.license(**{"exp": signing.ISSUED + days * DAY, "activation": FREE, **claims})
    return signing.verified(signing.lines(signing.delegation(), text))


YEAR = license_().license
BEGINS = renewal.begins_s(YEAR.nbf, YEAR.exp)


@pytest.mark.parametrize(("days", "left_days"), [(10, 3), (30, 9), (100, 30), (365, 109.5)])
def test_it_begins_with_thirty_per_cent_of_the_term_left(days: int, left_days: float) -> None:
    assert renewal.begins_s(0, days * DAY) == days * DAY - left_days * DAY


@given(TERMS)
def test_nobody_is_told_to_renew_before_the_agent_has_asked_itself(term_s: int) -> None:
    """The reason `renew_soon` begins when the verdict's rule says so, which is never before 30 % are left."""
    begins = renewal.begins_s(0, term_s)
    shortened = replace(YEAR, nbf=0, iat=0, exp=term_s)
    before = judge(Evidence(now=begins - 1, license=shortened))
    assert "renew_soon" not in before.reasons


# ---- who asks


def test_only_who_can_prove_himself_asks() -> None:
    activated, free, due = signing.verified(), license_(), signing.verified(signing.bundle(activated=False))
    own: dict[str, Any] = {"kid": signing.AGENT.kid, "matches": True, "bad": False}
    assert renewal.wanted(activated, **own)
    assert not renewal.wanted(activated, **{**own, "kid": None})
    assert not renewal.wanted(activated, **{**own, "kid": signing.STATUS.kid})
    assert not renewal.wanted(activated, **{**own, "matches": False})
    assert not renewal.wanted(activated, **{**own, "bad": True})
    assert not renewal.wanted(due, **own), "it must be activated first"
    assert renewal.wanted(free, **{**own, "kid": None})
    assert not renewal.wanted(free, **{**own, "bad": True})
    assert not renewal.wanted(None, **own)


# ---- when


@given(DRAWS)
def test_the_first_request_is_within_a_day_after_the_beginning(draw: float) -> None:
    planned = renewal.plan(None, YEAR, NOW, draw)
    assert BEGINS <= planned.next_s < BEGINS + DAY
    assert not renewal.due(planned, BEGINS - 1)
    assert renewal.due(planned, planned.next_s)
    late = renewal.plan(None, YEAR, BEGINS + 5 * DAY, draw)
    assert BEGINS + 5 * DAY <= late.next_s < BEGINS + 6 * DAY


@given(st.integers(3600, 400 * DAY), DRAWS)
def test_a_short_term_is_asked_about_before_it_ends(term_s: int, draw: float) -> None:
    short = replace(YEAR, exp=YEAR.nbf + term_s)
    planned = renewal.plan(None, short, YEAR.nbf, draw)
    assert renewal.begins_s(short.nbf, short.exp) <= planned.next_s <= short.exp


def test_what_has_ended_is_still_asked_about_at_a_drawn_time() -> None:
    after = YEAR.exp + 10 * DAY
    assert renewal.plan(None, YEAR, after, 0.5).next_s == after + DAY // 2


def test_a_plan_holds_for_its_license() -> None:
    planned = replace(renewal.plan(None, YEAR, NOW, 0.5), asked_at=7, failure="not_yet")
    assert renewal.plan(planned, YEAR, NOW + DAY, 0.1) == planned
    other = license_(jti="license-2").license
    assert renewal.plan(planned, other, NOW, 0.5) == replace(planned, license=other.digest, asked_at=None, failure=None)


def test_a_plan_from_before_time_went_back_is_drawn_anew() -> None:
    ahead = Plan(license=YEAR.digest, next_s=BEGINS + 40 * DAY, asked_at=7, failure="not_yet")
    assert renewal.plan(ahead, YEAR, BEGINS + DAY, 0.0) == replace(ahead, next_s=BEGINS + DAY)
    near = replace(ahead, next_s=BEGINS + 3 * DAY)
    assert renewal.plan(near, YEAR, BEGINS + DAY, 0.0) == near


@given(st.integers(NOW, NOW + 400 * DAY), DRAWS)
def test_after_a_request_the_next_is_on_the_next_day(now: int, draw: float) -> None:
    later = renewal.tomorrow(Plan(license="", next_s=now), now, draw)
    assert later.next_s // DAY == now // DAY + 1


@pytest.mark.parametrize(("asked_s", "held_s"), [(None, 0), (60, 60), (DAY, DAY), (9 * DAY, DAY)])
def test_a_server_may_ask_for_a_day_of_patience(asked_s: int | None, held_s: int) -> None:
    now = NOW // DAY * DAY + DAY - 30
    later = renewal.tomorrow(Plan(license="", next_s=now), now, 0.0, retry_after_s=asked_s)
    assert later.next_s == max(now + 30, now + held_s)


def test_an_attempt_of_today_counts_whatever_the_plan_says() -> None:
    midnight = NOW // DAY * DAY
    assert renewal.asked_today(midnight, midnight + DAY - 1)
    assert not renewal.asked_today(midnight - 1, midnight)
    assert not renewal.asked_today(midnight + 90 * DAY, midnight), "from before time went back"
    assert not renewal.asked_today(None, midnight)


# ---- what


def edition(**claims: Any) -> Any:
    dates = {"iat": NOW, "nbf": NOW}
    return license_(**{"jti": "license-2", **dates, **claims}).license


def test_a_newer_edition_of_the_same_license_is_one() -> None:
    renewal.require_renewal(YEAR, edition(), NOW)
    renewal.require_renewal(YEAR, edition(tier="basic", features=["mail"]), NOW)


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"iat": signing.ISSUED, "nbf": signing.ISSUED}, "renewal_not_newer"),
        ({"iat": signing.ISSUED - 1, "nbf": signing.ISSUED - 1}, "renewal_not_newer"),
        ({"nbf": NOW + SKEW_S + 1}, "renewal_not_begun"),
        ({"iat": NOW + SKEW_S + 1, "nbf": NOW}, "renewal_not_begun"),
    ],
)
def test_what_is_none_yet_is_asked_for_again(claims: dict[str, Any], detail: str) -> None:
    with pytest.raises(NotYet) as caught:
        renewal.require_renewal(YEAR, edition(**claims), NOW)
    assert (caught.value.detail, str(caught.value.code)) == (detail, "not_yet")


@pytest.mark.parametrize("claims", [{"slot": 8}, {"status": signing.status(300)}])
def test_another_license_is_no_renewal(claims: dict[str, Any]) -> None:
    with pytest.raises(Untrusted) as caught:
        renewal.require_renewal(YEAR, edition(**claims), NOW)
    assert caught.value.detail == "renewal_other_license"
    with pytest.raises(Untrusted):
        renewal.require_renewal(replace(YEAR, sub="another"), edition(), NOW)
