"""What is done with a license after its sale: by whatever it is called, by whom, and what agents make of it."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, RESELLER, Vendor, vendor
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import Misconfigured, NotPermitted, Untrusted, Usage
from opanel_agent.core.license import license_key
from opanel_authority import clock
from opanel_authority.documents import delegate, publish
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.keys import Role
from opanel_authority.documents.rotate import Rotation, rotate
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.changes import Change, NewTerms
from opanel_authority.lifecycle.handles import find_license

OTHER = "Other"


def handles(issued: Issued) -> dict[str, str]:
    digest = license_key.digest(issued.key)
    return {
        "id": issued.jti,
        "license key": issued.key,
        "as it is typed": issued.key.replace("-", "").lower(),
        "digest": digest,
        "eight digits": digest[:8],
        "order": "order-7",
    }


@pytest.mark.parametrize("name", ["id", "license key", "as it is typed", "digest", "eight digits", "order"])
def test_a_license_is_found_by_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    made = vendor(tmp_path)
    made.issue()
    issued = made.issue(order_id="order-7")
    assert changes.change(made.authority, Change.SUSPEND, handles(issued)[name], now=NOW).id == issued.jti


def test_an_unknown_or_ambiguous_handle_is_told(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name=OTHER, email="a@b.example"), tmp_path / "other", now=NOW)
    made.issue(order_id="1")
    changes.transfer(made.authority, made.issue(order_id="2").jti, OTHER, now=NOW)
    with made.authority.store.reading() as books:
        numbers = {row.name: row.number for row in books.delegations()}
        with pytest.raises(Usage, match="license_unknown"):
            find_license(books, "nothing")
        with pytest.raises(Usage, match="license_unknown"):
            find_license(books, "1", delegation=numbers[OTHER])
        assert find_license(books, "1", delegation=numbers[RESELLER]).order_id == "1"


def test_an_order_is_one_sale(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    first, again = made.issue(order_id="7"), made.issue(order_id="7")
    assert (again.jti, again.key, again.text, again.again) == (first.jti, first.key, first.text, True)
    assert made.issue(order_id="8").jti != first.jti


def test_a_reseller_reaches_only_what_is_his(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    other = delegate.delegate(
        made.authority, DelegationTerms(name=OTHER, email="a@b.example"), tmp_path / "other", now=NOW
    )
    issued = made.issue()
    with made.authority.store.reading() as books:
        stranger = books.delegation(name=OTHER)
    assert stranger is not None
    who = ChangedBy(actor="somebody", delegation=stranger.number)
    acts: list[Any] = [
        lambda: changes.change(made.authority, Change.REVOKE, issued.jti, now=NOW, who=who),
        lambda: changes.change_terms(made.authority, issued.key, NewTerms(seats=2), now=NOW + 1, who=who),
        lambda: changes.lift_move_limit(made.authority, issued.jti, now=NOW, who=who),
        lambda: changes.transfer(made.authority, issued.jti, OTHER, now=NOW, who=who),
        lambda: changes.set_renewal(made.authority, issued.jti, renews=False, now=NOW, who=who),
    ]
    for act in acts:
        with pytest.raises(Usage):
            act()
    with pytest.raises(NotPermitted, match="change_refused"):  # nor what the vendor alone decides
        changes.change(made.authority, Change.RESUME, other.jti, now=NOW, who=who)


def test_each_change_is_logged_with_its_actor_and_reason(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    who = ChangedBy(actor="ayse", reason="not paid")
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW + 5, who=who)
    with made.authority.store.reading() as books:
        rows = [*books.changes(subject=issued.jti)]
    assert [(row["act"], row["actor"], row["at"], row["reason"]) for row in rows] == [
        ("suspend", "ayse", NOW + 5, "not paid"),
        ("issue", "command", NOW, None),
    ]


def test_terms_change_to_the_end_that_was_paid_for(tmp_path: Path) -> None:
    made = vendor(tmp_path, limits={"accounts": 100})
    issued = made.issue(tier="basic", limits={"accounts": 10}, seats=3, days=100)
    machines = [made.activate(issued, f"server {each}") for each in "abc"]
    made.now += 10 * DAY
    terms = NewTerms(tier="enterprise", features=("dns",), limits={"accounts": 50}, seats=1)
    fresh = made.bundle(changes.change_terms(made.authority, issued.key, terms, now=made.now)).license
    assert (fresh.tier, fresh.features, dict(fresh.limits), fresh.activation.seats) == (
        "enterprise",
        frozenset({"dns"}),
        {"accounts": 50},
        1,
    )
    assert fresh.exp == NOW + 100 * DAY
    assert [made.status(each.status.idx) for each in machines] == [0, 3, 3]
    made.now += 1
    with pytest.raises(Untrusted, match="license_wider"):
        changes.change_terms(made.authority, issued.key, NewTerms(limits={"accounts": 101}), now=made.now)


def test_a_transferred_license_keeps_its_key_and_activations(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name=OTHER, email="a@b.example"), tmp_path / "other", now=NOW)
    issued = made.issue()
    activation = made.activate(issued)
    made.now += DAY
    moved = changes.transfer(made.authority, issued.jti, OTHER, now=made.now)
    bundle = made.bundle(moved)
    assert (bundle.license.sub, bundle.license.reseller.name) == (issued.key, OTHER)
    assert bundle.license.exp == made.bundle(issued).license.exp
    assert made.bundle(moved, activation_line(made, issued)).activation == activation
    changes.change(made.authority, Change.SUSPEND, issued.key, now=made.now)
    for each in (made.bundle(issued), bundle):  # whichever edition a machine still has
        assert made.status(each.license.status.idx) == 2


def activation_line(made: Vendor, issued: Issued) -> str:
    with made.authority.store.reading() as books:
        return books.activations(issued.jti)[-1].line + "\n"


def test_a_trial_ends(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    trial = made.issue(days=14, renews=False)
    made.activate(trial)
    made.now = NOW + 13 * DAY
    with pytest.raises(NotPermitted, match="renewal_not_yet"):
        made.renew(trial)
    changes.set_renewal(made.authority, trial.key, renews=True, now=made.now)
    assert made.renew(trial).license.exp == made.now + 14 * DAY


# ---- moves


def test_copies_of_one_key_move_as_seldom_as_machines(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    for _ in range(4):
        made.now += 60
        made.activate(issued)
    with pytest.raises(NotPermitted, match="seats_taken"):
        made.activate(issued)
    changes.lift_move_limit(made.authority, issued.jti, now=made.now)
    made.now += 1
    made.activate(issued)
    made.activate(issued, "server b")


def test_a_suspended_license_is_not_activated_again(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    made.activate(issued)
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW)
    with pytest.raises(NotPermitted) as caught:
        made.answer(made.request(issued, RequestKind.ACTIVATION))
    assert str(caught.value.code) == "suspended"


# ---- the clock


@pytest.mark.parametrize(("off", "detail"), [(3650 * DAY, "clock_ahead"), (-DAY, "clock_behind")])
def test_a_command_under_a_wrong_clock_is_refused(tmp_path: Path, off: int, detail: str) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    before = publish.current_status_list(made.authority, now=NOW)
    with pytest.raises(Misconfigured) as caught:
        changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW + off)
    assert (str(caught.value.code), caught.value.detail) == ("clock_wrong", detail)
    assert publish.current_status_list(made.authority, now=NOW + 60) == before
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW + 60)
    assert made.status(made.bundle(issued).license.status.idx) == 2


def test_a_clock_that_was_accepted_is_taken(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    later = NOW + 400 * DAY
    with made.authority.store.transaction() as books:
        clock.accept(books, later)
    publish.current_status_list(made.authority, now=later)
    with made.authority.store.transaction() as books:
        clock.accept(books, NOW)  # it was wrong all the same: the list is dated a year ahead
    with pytest.raises(Misconfigured, match="list_ahead"):
        publish.current_status_list(made.authority, now=NOW)

    rotate(made.authority, Rotation(role=Role.STATUS, root_keys=tmp_path / "vendor" / "keys"), now=NOW)
    assert made.status(0) == 0


@pytest.mark.slow
def test_many_changes_in_a_second_do_not_run_ahead_of_the_clock(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    for change in (Change.SUSPEND, Change.RESUME) * 200:
        changes.change(made.authority, change, issued.jti, now=NOW)
    with made.authority.store.reading() as books:
        held = books.signed_shard(0)
    assert held is not None
    assert held.iat <= NOW + 361
