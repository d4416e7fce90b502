"""Delegations and licenses: everything that is handed out verifies, nothing wider than the delegation is ever signed out.

Renewals keep what the activation rests on, and come only when they are due and may be.
"""

import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, RESELLER, Vendor, stranger, vendor
from opanel_agent.core.documents.bundle import verify
from opanel_agent.core.errors import AgentError, Misconfigured, NotPermitted, Untrusted, Usage
from opanel_agent.core.license import license_key
from opanel_authority import authority as authority_home
from opanel_authority.authority import RootTerms
from opanel_authority.documents import delegate, issue
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests import licensing


def test_a_license_verifies_and_says_what_was_asked(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(
        features=("backup", "dns"), limits={"accounts": 100}, tier="basic", days=30, within_days=3, min_p=1, seats=2
    )
    bundle = made.bundle(issued)
    license_ = bundle.license
    assert bundle.activation is None
    assert (license_.sub, license_.jti) == (issued.key, issued.jti)
    assert license_.features == {"backup", "dns"}
    assert (license_.limits, license_.tier) == ({"accounts": 100}, "basic")
    assert (license_.nbf, license_.exp) == (NOW, NOW + 30 * DAY)
    terms = license_.activation
    assert (terms.required, terms.within_days, terms.min_p, terms.seats) == (True, 3, 1, 2)
    assert (license_.reseller.name, license_.reseller.email) == (RESELLER, "destek@ornek.example")


def test_an_authority_of_a_test_is_laid_from_the_first_and_stands_alone(tmp_path: Path) -> None:
    first, second, other = vendor(tmp_path / "a"), vendor(tmp_path / "b"), stranger(tmp_path / "c")
    laid, made = (
        {each.relative_to(top): each.stat().st_mode for each in top.rglob("*")}
        for top in (tmp_path / "b", tmp_path / "c")
    )
    assert laid == made
    assert first.authority.root == second.authority.root != other.authority.root
    issued = first.issue()
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(Usage):
        issue.renew(second.authority, issued.jti, now=second.now)
    again = issue.renew(second.authority, second.issue().jti, now=second.now)
    assert second.bundle(again).license.jti == again.jti


def test_what_is_not_said_comes_from_the_delegation(tmp_path: Path) -> None:
    made = vendor(
        tmp_path,
        features=("waf",),
        tiers=("solo",),
        limits={"accounts": 7},
        max_term_days=60,
        grace_days=5,
        stale_days=9,
    )
    license_ = made.bundle(made.issue()).license
    assert license_.features == {"waf"}
    assert (license_.tier, license_.limits) == ("solo", {"accounts": 7})
    assert (license_.exp - license_.nbf, license_.grace_days, license_.stale_days) == (60 * DAY, 5, 9)


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        ({"features": ("backup", "telepathy")}, "features"),
        ({"tier": "platinum"}, "tier"),
        ({"limits": {"accounts": 501}}, "limits"),
        ({"days": 367}, "exp"),
        ({"grace_days": 31}, "grace_days"),
        ({"stale_days": 61}, "stale_days"),
    ],
)
def test_a_wider_license_is_refused_and_leaves_nothing(tmp_path: Path, terms: dict[str, Any], name: str) -> None:
    made = vendor(tmp_path, limits={"accounts": 500}, stale_days=60)
    with pytest.raises(Untrusted) as caught:
        made.issue(**terms)
    assert (caught.value.detail, caught.value.values["name"]) == ("license_wider", name)
    assert made.bundle(made.issue()).license.slot == 0


@pytest.mark.parametrize("terms", [{"seats": 0}, {"days": 0}, {"limits": {"bad name": 1}}, {"within_days": -1}])
def test_terms_that_make_no_document_are_refused(tmp_path: Path, terms: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        vendor(tmp_path).issue(**terms)


def test_an_issuing_time_ends(tmp_path: Path) -> None:
    made = vendor(tmp_path, days=10)
    made.now = NOW + 10 * DAY
    made.issue()
    made.now += 1
    with pytest.raises(Untrusted) as caught:
        made.issue()
    assert caught.value.values["name"] == "iat"


def test_slots_are_counted_and_a_revoked_licenses_slot_is_free_again(tmp_path: Path) -> None:
    made = vendor(tmp_path, slots=2)
    first, second = made.issue(), made.issue()
    assert [made.bundle(each).license.slot for each in (first, second)] == [0, 1]
    with pytest.raises(NotPermitted) as caught:
        made.issue()
    assert caught.value.detail == "slots_full"
    changes.change(made.authority, Change.REVOKE, first.jti, now=NOW)
    assert made.bundle(made.issue()).license.slot == 0


def test_status_entries_are_the_resellers_own_and_end(tmp_path: Path) -> None:
    made = vendor(tmp_path, status_entries=4)
    other = DelegationTerms(name="Other", phone="+90 212 000 00 00", status_entries=4)
    theirs = delegate.delegate(made.authority, other, tmp_path / "other", now=NOW).may.status_range
    bundles = [made.bundle(made.issue()) for _ in range(4)]
    ours = bundles[0].delegations[0].may.status_range
    assert {bundle.license.status.idx for bundle in bundles} == set(range(ours.start, ours.end))
    assert not set(range(ours.start, ours.end)) & set(range(theirs.start, theirs.end))
    with pytest.raises(NotPermitted) as caught:
        made.issue()
    assert caught.value.detail == "status_range_full"


def test_a_resellers_key_is_his_and_tight(tmp_path: Path) -> None:
    vendor(tmp_path)
    assert stat.S_IMODE((tmp_path / "reseller").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "reseller" / "key.pem").stat().st_mode) == 0o600
    assert (tmp_path / "reseller" / "delegation.jws").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    ("changes", "error", "detail"),
    [
        ({"name": RESELLER}, Usage, "reseller_exists"),
        ({"email": None}, Usage, "contact_missing"),
        ({"email": "not an address"}, Untrusted, "member_value"),
        ({"products": ("another",)}, Untrusted, "license_wider"),
        ({"tiers": ()}, Untrusted, "member_value"),
        ({"slots": 0}, Untrusted, "member_value"),
        ({"days": -2}, Untrusted, "license_wider"),
    ],
)
def test_a_delegation_that_could_issue_nothing_is_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[AgentError], detail: str
) -> None:
    made = vendor(tmp_path)
    terms = DelegationTerms(**{"name": "Other", "email": "a@b.example", **changes})
    with pytest.raises(error) as caught:
        delegate.delegate(made.authority, terms, tmp_path / "other", now=NOW)
    assert caught.value.detail == detail
    assert not (tmp_path / "other" / "key.pem").exists()


def test_an_unknown_reseller_issues_nothing(tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        issue.issue(vendor(tmp_path).authority, "Nobody", LicenseTerms(), now=NOW)
    assert caught.value.detail == "reseller_unknown"


def test_an_expired_root_issues_nothing(tmp_path: Path) -> None:
    authority = authority_home.init(
        tmp_path / "a", RootTerms(name="V", url="https://v.example", region="tr", days=1), now=NOW
    )
    terms = DelegationTerms(name=RESELLER, email="a@b.example")
    delegate.delegate(authority, terms, tmp_path / "reseller", now=NOW)
    with pytest.raises(Untrusted) as caught:
        issue.issue(authority, RESELLER, LicenseTerms(), now=NOW + DAY)
    assert caught.value.detail == "root_expired"


def test_the_license_key_stands_nowhere_but_in_the_signed_line(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    books = (tmp_path / "vendor" / "authority.sqlite").read_bytes()
    for spelling in (issued.key, issued.key.replace("-", "")):
        assert spelling.encode() not in books
    assert license_key.digest(issued.key).encode() in books


# ---- renewal


def due(tmp_path: Path, **terms: Any) -> Vendor:
    made = vendor(tmp_path, **terms)
    made.now = NOW + 340 * DAY
    return made


def test_a_renewal_keeps_what_the_activation_rests_on(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(limits={"accounts": 5}, tier="enterprise", min_p=1)
    activation = made.activate(issued)
    old = made.bundle(issued).license
    made.now = NOW + 340 * DAY
    renewed = made.renew(issued)
    new = renewed.license
    assert renewed.activation == activation
    assert new.exp == made.now + 365 * DAY
    assert (new.iat > old.iat, new.jti != old.jti, new.digest != old.digest) == (True, True, True)
    for same in ("sub", "slot", "status", "features", "limits", "tier", "grace_days", "activation", "reseller"):
        assert getattr(new, same) == getattr(old, same), same
    assert made.renew(issued).license == new


def refused(made: Vendor, issued: Issued) -> str:
    """The name of what kept a renewal from coming."""
    with pytest.raises(NotPermitted) as caught:
        made.renew(issued)
    return str(caught.value.code)


@pytest.mark.parametrize("days", [10, 100, 365])
def test_a_renewal_is_due_with_thirty_per_cent_of_the_term_left(tmp_path: Path, days: int) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=days, activation=False)
    made.now = NOW + days * DAY * 7 // 10 - 1
    assert refused(made, issued) == "not_yet"
    made.now += 1
    assert made.renew(issued).license.exp == made.now + days * DAY


@pytest.mark.parametrize("change", [Change.SUSPEND, Change.REVOKE])
def test_what_is_not_paid_is_not_renewed(tmp_path: Path, change: Change) -> None:
    made = vendor(tmp_path)
    issued = made.issue(activation=False)
    changes.change(made.authority, change, issued.jti, now=NOW)
    made.now = NOW + 340 * DAY
    assert refused(made, issued) == {"suspend": "suspended", "revoke": "revoked"}[change.value]
    changes.change(made.authority, Change.RESUME, issued.jti, now=made.now)
    assert made.renew(issued).license.jti != issued.jti


def test_no_renewal_without_the_resellers_key_or_after_his_time(tmp_path: Path) -> None:
    made = vendor(tmp_path, days=339)
    issued, other = made.issue(activation=False), made.issue(activation=False)
    made.now = NOW + 339 * DAY
    shutil.move(tmp_path / "reseller", tmp_path / "elsewhere")
    with pytest.raises(Misconfigured) as missing:  # not the customer's fault, and not to be kept from the vendor
        made.renew(issued)
    assert missing.value.detail == "reseller_key_missing"
    delegate.relocate(made.authority, RESELLER, tmp_path / "elsewhere", now=made.now)
    assert made.renew(issued).license.jti != issued.jti
    made.now = NOW + 340 * DAY
    assert refused(made, other) == "not_yet"
    made.now = NOW + 366 * DAY
    assert refused(made, other) == "expired"


def test_a_resellers_folder_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name="Other", email="a@b.example"), tmp_path / "other", now=NOW)
    with pytest.raises(Misconfigured) as other:
        delegate.relocate(made.authority, RESELLER, tmp_path / "other", now=NOW)
    assert other.value.detail == "reseller_key_other"


def test_the_last_renewal_still_has_its_whole_term(tmp_path: Path) -> None:
    made = vendor(tmp_path, days=340, max_term_days=365)
    issued = made.issue(activation=False)
    made.now = NOW + 340 * DAY
    assert made.renew(issued).license.exp == NOW + (340 + 365) * DAY


def test_the_newest_edition_is_the_one_that_is_given(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=20, activation=False)
    for _ in range(6):
        made.now += 14 * DAY
        renewed = made.renew(issued)
        given = licensing.bundle(made.authority, license_key.digest(issued.key), now=made.now).body
        assert (given, renewed.license.iat) == (renewed.text, made.now)


def test_what_is_left_of_a_term_is_added_where_that_is_asked(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=30, renews=False)
    made.activate(issued)
    made.now += 20 * DAY
    issue.renew(made.authority, issued.jti, days=30, extend=True, now=made.now)
    assert made.renew(issued).license.exp == NOW + 60 * DAY
    made.now = NOW + 100 * DAY
    issue.renew(made.authority, issued.jti, days=30, extend=True, now=made.now)
    assert made.renew(issued).license.exp == made.now + 30 * DAY, "of one that has ended nothing is left"


def test_a_reseller_renews_when_he_likes_and_for_as_long_as_he_may(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=100)
    old = made.bundle(issued).license
    made.activate(issued)
    made.now += DAY
    again = issue.renew(made.authority, issued.jti, now=made.now)
    given = made.renew(issued)
    assert (given.license.jti, given.license.exp) == (again.jti, made.now + 100 * DAY)
    assert (given.license.sub, given.license.slot, given.license.status) == (old.sub, old.slot, old.status)
    assert given.activation is not None
    assert again.key == issued.key
    made.now += DAY
    longer = issue.renew(made.authority, again.jti, days=366, now=made.now)
    assert made.renew(issued).license.jti == longer.jti
    with pytest.raises(NotPermitted) as soon:
        issue.renew(made.authority, issued.jti, now=made.now - 60)
    assert soon.value.detail == "renew_too_soon"
    made.now += 1
    with pytest.raises(Untrusted) as wider:
        issue.renew(made.authority, issued.jti, days=367, now=made.now)
    assert wider.value.detail == "license_wider"
    assert made.renew(issued).license.jti == longer.jti


def test_what_is_revoked_or_no_license_is_not_renewed(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    made.now += DAY
    for jti in (activation.jti, "nothing"):
        with pytest.raises(Usage) as unknown:
            issue.renew(made.authority, jti, now=made.now)
        assert unknown.value.detail == "license_unknown"
    changes.change(made.authority, Change.REVOKE, issued.jti, now=made.now)
    with pytest.raises(NotPermitted) as revoked:
        issue.renew(made.authority, issued.jti, now=made.now)
    assert revoked.value.detail == "renew_revoked"


def test_a_command_means_the_license_by_any_of_its_editions(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(activation=False)
    made.now = NOW + 340 * DAY
    new = made.renew(issued).license
    changes.change(made.authority, Change.SUSPEND, new.jti, now=made.now)
    assert made.status(new.status.idx) == 2
    changes.change(made.authority, Change.RESUME, issued.jti, now=made.now)
    assert made.status(new.status.idx) == 0


def test_verified_bundles_are_the_very_bytes(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    assert verify(issued.text.encode(), made.authority.root, now=None).text == issued.text.encode()
    with pytest.raises(Untrusted):
        verify(issued.text.replace(".", ".A", 1).encode(), made.authority.root, now=None)
