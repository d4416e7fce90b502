"""The gate permits what the table of purposes says and nothing else, and tells every reason with its place."""

from itertools import product

import pytest

from opanel_agent.core.consent import (
    Asked,
    Denial,
    Ground,
    Permit,
    Signal,
    SignalKind,
    Signals,
    Snapshot,
    Standing,
    decide,
)
from opanel_agent.core.purposes import CONSENT_BASED, FIXED, TERMS, Purpose
from opanel_agent.core.reasons import Reason

MIRROR = "https://mirror.example"
CLAIMS = frozenset(
    {"ver", "iss", "iat", "jti", "kind", "key_sha256", "license_sha256", "jwk", "salt", "components", "nonce"}
)
FILE = Signal(kind=SignalKind.FILE, what="existence", place="/etc/do-not-track")
LINE = Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3)
OFFLINE = Signal(kind=SignalKind.FILE, what="existence", place="/etc/opanel-agent/offline")
REQUESTS = {
    "license_status": Asked(method="GET", url=MIRROR + "/v1/status.jwt"),
    "security_advisories": Asked(method="GET", url=MIRROR + "/v1/advisories.jws"),
    "license_renewal": Asked(method="POST", url=MIRROR + "/v1/renewals", fields=CLAIMS),
    "license_activation": Asked(method="POST", url=MIRROR + "/v1/activations", fields=CLAIMS),
    "data_rights": Asked(method="POST", url=MIRROR + "/v1/rights", fields=frozenset({"schema", "kind", "reveals"})),
}


def snapshot(purpose: str = "license_status", **changed: object) -> Snapshot:
    usual: dict[str, object] = {
        "signals": Signals(),
        "standing": Standing(),
        "destinations": (MIRROR,),
        "asked": REQUESTS.get(purpose),
        "commanded": True,
    }
    return Snapshot(**(usual | changed))  # type: ignore[arg-type]


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
        standing = Standing(check=yes, renew=yes, advisories=yes, refused="settings_toml" if refused else None)
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
    assert set(TERMS) == set(Purpose)
    assert {str(purpose) for purpose in TERMS if purpose not in CONSENT_BASED} == set(REQUESTS)


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
        Ground(reason=Reason.OFFLINE, what="existence", place="/etc/opanel-agent/offline"),
        Ground(reason=Reason.OPT_OUT, what="existence", place="/etc/do-not-track"),
        Ground(reason=Reason.OPT_OUT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3),
        Ground(reason=Reason.NOT_ASKED, place="command"),
        Ground(reason=Reason.DESTINATION, place=MIRROR + "/v1/activations"),
    )


def test_each_setting_governs_its_own_purpose_only() -> None:
    assert reasons("license_status", standing=Standing(check=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("license_renewal", standing=Standing(renew=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("security_advisories", standing=Standing(advisories=False)) == [Reason.DENIED_BY_FILE]
    assert reasons("license_status", standing=Standing(renew=False, advisories=False)) == []
    assert reasons("license_activation", standing=Standing(check=False, renew=False, advisories=False)) == []


def test_a_refused_settings_file_denies_and_says_which_rule() -> None:
    decided = decide("license_status", snapshot(standing=Standing(refused="toml_unknown")))
    assert decided == Denial(grounds=(Ground(reason=Reason.SETTINGS_REFUSED, place="toml_unknown"),))


def test_before_anything_is_collected_destination_and_fields_are_not_asked_yet() -> None:
    assert reasons("license_activation", asked=None, destinations=()) == []


def test_another_region_is_told_from_a_stranger() -> None:
    assert reasons("license_status", destinations=(), elsewhere=(MIRROR,)) == [Reason.REGION]
    assert reasons("license_status", destinations=(), elsewhere=("https://other.example",)) == [Reason.DESTINATION]


@pytest.mark.parametrize(
    "asked",
    [
        Asked(method="GET", url=MIRROR + "/v1/status.jwt?host=a"),
        Asked(method="GET", url=MIRROR + "/v1/status.jwt#a"),
        Asked(method="GET", url=MIRROR + "/v1/reports/usage_statistics"),
        Asked(method="GET", url=MIRROR + "/x/v1/status.jwt"),
        Asked(method="GET", url="https://mirror.example.evil.example/v1/status.jwt"),
        Asked(method="POST", url=MIRROR + "/v1/status.jwt"),
        Asked(method="GET", url="https://["),
    ],
)
def test_a_fixed_get_goes_to_its_paths_on_named_mirrors_only(asked: Asked) -> None:
    assert reasons("license_status", asked=asked) == [Reason.DESTINATION]


@pytest.mark.parametrize(
    ("purpose", "path"), [(purpose, path) for purpose, terms in TERMS.items() for path in sorted(terms.paths)]
)
def test_every_path_of_a_purpose_is_its_destination(purpose: Purpose, path: str) -> None:
    asked = Asked(method="GET" if purpose in FIXED else "POST", url=MIRROR + path, fields=CLAIMS)
    assert Reason.DESTINATION not in reasons(purpose, asked=asked)


def test_a_request_with_a_body_is_posted() -> None:
    asked = Asked(method="GET", url=MIRROR + "/v1/activations", fields=CLAIMS)
    assert reasons("license_activation", asked=asked) == [Reason.DESTINATION]


def test_an_undeclared_field_is_denied_by_name() -> None:
    asked = Asked(method="POST", url=MIRROR + "/v1/activations", fields=CLAIMS | {"hostname", "ip"})
    decided = decide("license_activation", snapshot("license_activation", asked=asked))
    assert decided == Denial(
        grounds=(
            Ground(reason=Reason.FIELD_UNDECLARED, place="hostname"),
            Ground(reason=Reason.FIELD_UNDECLARED, place="ip"),
        )
    )


def test_a_body_that_cannot_be_read_is_denied() -> None:
    asked = Asked(method="POST", url=MIRROR + "/v1/activations", fields=None)
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
