"""The gate permits what the table of purposes says and nothing else, and tells every reason with its place."""

from itertools import product

import pytest

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import (
    Denial,
    GateInputs,
    Objection,
    Permit,
    RequestView,
    SettingsView,
    Signal,
    SignalKind,
    Signals,
    decide,
)
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED, POLICIES, Purpose

MIRROR = "https://mirror.example"
CLAIMS = frozenset(
    {"ver", "iss", "iat", "jti", "kind", "key_sha256", "license_sha256", "jwk", "salt", "components", "nonce"}
)
FILE = Signal(kind=SignalKind.FILE, what="existence", place="/etc/do-not-track")
LINE = Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3)
OFFLINE = Signal(kind=SignalKind.FILE, what="existence", place="/etc/opanel-agent/offline")
REQUESTS = {
    "license_status": RequestView(method="GET", url=MIRROR + "/v1/status.jwt"),
    "security_advisories": RequestView(method="GET", url=MIRROR + "/v1/advisories.jws"),
    "license_renewal": RequestView(method="POST", url=MIRROR + "/v1/renewals", fields=CLAIMS),
    "license_activation": RequestView(method="POST", url=MIRROR + "/v1/activations", fields=CLAIMS),
    "data_rights": RequestView(
        method="POST", url=MIRROR + "/v1/rights", fields=frozenset({"schema", "kind", "reveals"})
    ),
}


def snapshot(purpose: str = "license_status", **changed: object) -> GateInputs:
    usual: dict[str, object] = {
        "signals": Signals(),
        "standing": SettingsView(),
        "destinations": (MIRROR,),
        "asked": REQUESTS.get(purpose),
        "commanded": True,
    }
    return GateInputs(**(usual | changed))  # type: ignore[arg-type]


def reasons(purpose: str, **changed: object) -> list[Reason]:
    decided = decide(purpose, snapshot(purpose, **changed))
    return [] if isinstance(decided, Permit) else [ground.reason for ground in decided.grounds]


def specified(purpose: str, *, offline: bool, opted_out: bool, yes: bool, commanded: bool, refused: bool) -> bool:
    """The design's table, written again, independently."""
    if offline or refused:
        return False
    match purpose:
        case "license_status" | "security_advisories":
            return yes
        case "license_renewal":
            return yes and not opted_out
        case "license_activation" | "data_rights":
            return commanded and not opted_out
    raise AssertionError(purpose)


@pytest.mark.parametrize("purpose", sorted(REQUESTS))
def test_the_whole_lattice_permits_exactly_what_is_specified(purpose: str) -> None:
    permitted = 0
    for offline, opted_out, yes, commanded, refused in product([False, True], repeat=5):
        standing = SettingsView(check=yes, renew=yes, advisories=yes, refused="settings_toml" if refused else None)
        decided = decide(
            purpose,
            snapshot(
                purpose,
                signals=Signals(do_not_track=(FILE,) if opted_out else (), offline=(OFFLINE,) if offline else ()),
                standing=standing,
                commanded=commanded,
            ),
        )
        expected = specified(
            purpose, offline=offline, opted_out=opted_out, yes=yes, commanded=commanded, refused=refused
        )
        assert isinstance(decided, Permit) == expected, (offline, opted_out, yes, commanded, refused)
        permitted += expected
    assert 0 < permitted < 32


def test_every_purpose_has_a_row_and_a_request_in_this_test() -> None:
    assert set(POLICIES) == set(Purpose)
    assert {str(purpose) for purpose in POLICIES if purpose not in CONSENT_BASED} == set(REQUESTS)


def test_an_unknown_purpose_is_denied() -> None:
    assert reasons("telemetry") == [Reason.INTERNAL]


def test_every_reason_is_told_with_its_place_and_line() -> None:
    decided = decide(
        "license_activation",
        snapshot(
            "license_activation",
            signals=Signals(do_not_track=(FILE, LINE), offline=(OFFLINE,)),
            commanded=False,
            destinations=(),
        ),
    )
    assert isinstance(decided, Denial)
    assert decided.grounds == (
        Objection(reason=Reason.OFFLINE, what="existence", place="/etc/opanel-agent/offline"),
        Objection(reason=Reason.OPT_OUT, what="existence", place="/etc/do-not-track"),
        Objection(reason=Reason.OPT_OUT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3),
        Objection(reason=Reason.NOT_ASKED, place="command"),
        Objection(reason=Reason.DESTINATION, place=MIRROR + "/v1/activations"),
    )


def test_each_setting_governs_its_own_purpose_only() -> None:
    assert reasons("license_status", standing=SettingsView(check=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("license_renewal", standing=SettingsView(renew=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("security_advisories", standing=SettingsView(advisories=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("license_status", standing=SettingsView(renew=False, advisories=False)) == []
    assert reasons("license_activation", standing=SettingsView(check=False, renew=False, advisories=False)) == []


def test_a_refused_settings_file_denies_and_says_which_rule() -> None:
    decided = decide("license_status", snapshot(standing=SettingsView(refused="toml_unknown")))
    assert decided == Denial(grounds=(Objection(reason=Reason.SETTINGS_REFUSED, place="toml_unknown"),))


def test_before_anything_is_collected_destination_and_fields_are_not_asked_yet() -> None:
    assert reasons("license_activation", asked=None, destinations=()) == []


def test_another_region_is_told_from_a_stranger() -> None:
    assert reasons("license_status", destinations=(), elsewhere=(MIRROR,)) == [Reason.REGION]
    assert reasons("license_status", destinations=(), elsewhere=("https://other.example",)) == [Reason.DESTINATION]


@pytest.mark.parametrize(
    "asked",
    [
        RequestView(method="GET", url=MIRROR + "/v1/status.jwt?host=a"),
        RequestView(method="GET", url=MIRROR + "/v1/status.jwt#a"),
        RequestView(method="GET", url=MIRROR + "/v1/reports/usage_statistics"),
        RequestView(method="GET", url=MIRROR + "/x/v1/status.jwt"),
        RequestView(method="GET", url="https://mirror.example.evil.example/v1/status.jwt"),
        RequestView(method="POST", url=MIRROR + "/v1/status.jwt"),
        RequestView(method="GET", url="https://["),
    ],
)
def test_a_fixed_get_goes_to_its_paths_on_named_mirrors_only(asked: RequestView) -> None:
    assert reasons("license_status", asked=asked) == [Reason.DESTINATION]


@pytest.mark.parametrize(
    ("purpose", "path"), [(purpose, path) for purpose, terms in POLICIES.items() for path in sorted(terms.paths)]
)
def test_every_path_of_a_purpose_is_its_destination(purpose: Purpose, path: str) -> None:
    asked = RequestView(method="GET" if purpose in FIXED else "POST", url=MIRROR + path, fields=CLAIMS)
    assert Reason.DESTINATION not in reasons(purpose, asked=asked)


def test_a_request_with_a_body_is_posted() -> None:
    asked = RequestView(method="GET", url=MIRROR + "/v1/activations", fields=CLAIMS)
    assert reasons("license_activation", asked=asked) == [Reason.DESTINATION]


def test_an_undeclared_field_is_denied_by_name() -> None:
    asked = RequestView(method="POST", url=MIRROR + "/v1/activations", fields=CLAIMS | {"hostname", "ip"})
    decided = decide("license_activation", snapshot("license_activation", asked=asked))
    assert decided == Denial(
        grounds=(
            Objection(reason=Reason.FIELD_UNDECLARED, place="hostname"),
            Objection(reason=Reason.FIELD_UNDECLARED, place="ip"),
        )
    )


def test_a_body_that_cannot_be_read_is_denied() -> None:
    asked = RequestView(method="POST", url=MIRROR + "/v1/activations", fields=None)
    assert reasons("license_activation", asked=asked) == [Reason.FIELD_UNDECLARED]


def test_a_command_under_an_opt_out_may_be_written_to_a_file_and_only_then() -> None:
    def to_file(purpose: str, **changed: object) -> bool:
        decided = decide(purpose, snapshot(purpose, **changed))
        assert isinstance(decided, Denial)
        return decided.to_file

    opted_out, offline = Signals(do_not_track=(FILE,)), Signals(offline=(OFFLINE,))
    assert to_file("license_activation", signals=opted_out)
    assert to_file("license_activation", signals=offline)
    assert not to_file("license_activation", signals=opted_out, commanded=False)
    assert not to_file("license_activation", signals=opted_out, destinations=())
    assert not to_file("license_renewal", signals=opted_out)
    assert not to_file("license_status", signals=offline)
