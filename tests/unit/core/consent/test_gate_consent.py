"""A denied report names every ground with the place and the line that it came from, and whatever fails is a "no"."""

import pytest

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading, parse, parse_policy
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
from opanel_agent.core.consent.purposes import CONSENT_BASED, POLICIES, Purpose
from opanel_agent.core.errors import Misconfigured

ENDPOINT = "https://reports.example"
HOUR_S = 3600
PLACE = "/etc/opanel-agent/consent.toml"
TEXT = """\
schema = 1
notice = "2026-12-01"
do_not_track = false

[purposes.usage_statistics]
allow = true
hold = "72h"

[purposes.crash_reports]
allow = true
review = true
"""
LINE = Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3)
OFFLINE = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")


def reading(text: str = TEXT, **more: object) -> ConsentReading:
    return ConsentReading(**{"place": PLACE, "file": parse(text.encode()), **more})  # type: ignore[arg-type]


def report(purpose: str, **changed: object) -> RequestView:
    usual = {"method": "POST", "url": f"{ENDPOINT}/v1/reports/{purpose}", "offending": (), "waited_s": 72 * HOUR_S}
    return RequestView(**(usual | changed))  # type: ignore[arg-type]


def snapshot(purpose: str = "usage_statistics", **changed: object) -> GateInputs:
    usual: dict[str, object] = {
        "signals": Signals(),
        "standing": SettingsView(),
        "destinations": (ENDPOINT,),
        "asked": report(purpose, reviewed=purpose == "crash_reports"),
        "consent": reading(),
        "installed_notice": "2026-12-01",
    }
    return GateInputs(**(usual | changed))  # type: ignore[arg-type]


def grounds(purpose: str = "usage_statistics", **changed: object) -> list[Objection]:
    decided = decide(purpose, snapshot(purpose, **changed))
    return [] if isinstance(decided, Permit) else list(decided.grounds)


def ground(reason: Reason, place: str, line: int | None = None) -> Objection:
    """Of "what in place", or of a place that says it all."""
    what, _, place = place.rpartition(" in ")
    return Objection(reason=reason, place=place, line=line, what=what or None)


@pytest.mark.parametrize("purpose", CONSENT_BASED)
def test_a_report_that_nothing_objects_to_may_leave(purpose: Purpose) -> None:
    assert decide(purpose, snapshot(purpose)) == Permit(purpose=purpose)
    assert decide(purpose, snapshot(purpose, asked=None)) == Permit(purpose=purpose)


def test_a_snapshot_of_which_nothing_is_known_denies() -> None:
    bare = GateInputs(signals=Signals(), standing=SettingsView(), destinations=())
    for purpose in CONSENT_BASED:
        assert grounds(purpose, consent=bare.consent, installed_notice=bare.installed_notice, asked=bare.asked) == [
            ground(Reason.NOT_ASKED, "consent.toml")
        ]
    for purpose in (Purpose.LICENSE_ACTIVATION, Purpose.DATA_RIGHTS):
        assert grounds(purpose, asked=None) == [ground(Reason.NOT_ASKED, "command")]


def test_every_ground_is_told_with_its_place_and_its_line() -> None:
    no = TEXT.replace("2026-12-01", "2025-01-01").replace("do_not_track = false", "do_not_track = true")
    fleet = b'schema = 1\ndo_not_track = true\n[purposes.usage_statistics]\nallow = false\nhold = "30d"\n'
    fault = Misconfigured(Reason.CONSENT_REFUSED, "toml_unknown", file="/d/b.toml", name="x", line=9)
    whole = grounds(
        signals=Signals(do_not_track=(LINE,), offline=(OFFLINE,)),
        standing=SettingsView(refused="toml_syntax"),
        consent=reading(
            no.replace("allow = true", "allow = false", 1),
            policies=(parse_policy(fleet, "/d/a.toml"), parse_policy(b"schema = 1", "/d/c.toml")),
            policies_refused=(fault,),
            in_doubt=(Signal(kind=SignalKind.SETTING, what="do_not_track", place="/d/b.toml", line=4),),
        ),
        ledger="ledger.jsonl line 7",
        clone=True,
        asked=report("usage_statistics", url="https://other.example/x", offending=("hostname", "disk")),
    )
    assert whole == [
        ground(Reason.OFFLINE, "offline in /etc/opanel-agent"),
        ground(Reason.OPT_OUT, "DO_NOT_TRACK=1 in /etc/environment", 3),
        ground(Reason.OPT_OUT, f"do_not_track = true in {PLACE}", 3),
        ground(Reason.OPT_OUT, "do_not_track = true in /d/a.toml", 2),
        ground(Reason.OPT_OUT, "do_not_track in /d/b.toml", 4),
        ground(Reason.SETTINGS_REFUSED, "toml_syntax"),
        ground(Reason.CONSENT_REFUSED, "/d/b.toml", 9),
        ground(Reason.DENIED_BY_FILE, f"allow = false in {PLACE}", 6),
        ground(Reason.NOTICE_CHANGED, f'notice = "2025-01-01" in {PLACE}', 2),
        ground(Reason.POLICY, "allow = false in /d/a.toml", 4),
        ground(Reason.LEDGER, "ledger.jsonl line 7"),
        ground(Reason.CLONE, "machine identity"),
        ground(Reason.HELD, "hold in /d/a.toml", 5),
        ground(Reason.DESTINATION, "https://other.example/x"),
        ground(Reason.FIELD_UNDECLARED, "disk"),
        ground(Reason.FIELD_UNDECLARED, "hostname"),
    ]


def test_a_crash_report_waits_until_it_was_looked_at() -> None:
    pending = report("crash_reports", waited_s=10**9)
    assert grounds("crash_reports", asked=pending) == [ground(Reason.REVIEW_PENDING, f"review in {PLACE}", 11)]
    unreviewed = reading(TEXT.replace("review = true", "review = false"))
    assert grounds("crash_reports", asked=report("crash_reports", waited_s=0), consent=unreviewed) == []
    untold = reading(TEXT.replace("review = true", ""))
    assert grounds("crash_reports", asked=pending, consent=untold) == [
        ground(Reason.REVIEW_PENDING, f"review in {PLACE}")
    ]


def test_a_hold_is_over_at_its_very_second_or_when_it_is_released() -> None:
    held = [ground(Reason.HELD, f"hold in {PLACE}", 7)]
    assert grounds(asked=report("usage_statistics", waited_s=72 * HOUR_S - 1)) == held
    assert grounds(asked=report("usage_statistics", waited_s=72 * HOUR_S)) == []
    assert grounds(asked=report("usage_statistics", waited_s=0, reviewed=True)) == []
    assert grounds(asked=report("usage_statistics", waited_s=0), consent=reading(TEXT.replace("72h", "0h"))) == []
    assert grounds(asked=report("usage_statistics", waited_s=-1), consent=reading(TEXT.replace("72h", "0h"))) != []


def test_a_request_waits_and_is_unreviewed_unless_somebody_says_otherwise() -> None:
    least = RequestView(method="POST", url=f"{ENDPOINT}/v1/reports/crash_reports", offending=())
    assert [each.reason for each in grounds("crash_reports", asked=least)] == [Reason.REVIEW_PENDING]
    least = RequestView(method="POST", url=f"{ENDPOINT}/v1/reports/usage_statistics", offending=())
    assert [each.reason for each in grounds(asked=least)] == [Reason.HELD]


def test_a_refused_file_is_one_ground_and_its_answers_are_none() -> None:
    fault = Misconfigured(
        Reason.CONSENT_REFUSED, "toml_type", file=PLACE, line=6, name="purposes.usage_statistics.allow"
    )
    assert grounds(consent=ConsentReading(place=PLACE, refused=fault)) == [ground(Reason.CONSENT_REFUSED, PLACE, 6)]
    for bare in (
        Misconfigured(Reason.CONSENT_REFUSED, "file_owner"),
        Misconfigured(Reason.CONSENT_REFUSED, "file_owner", file=PLACE, line="6"),  # a text is no line number
    ):
        assert grounds(consent=ConsentReading(place=PLACE, refused=bare)) == [ground(Reason.CONSENT_REFUSED, PLACE)]


def test_a_report_that_the_catalog_was_not_asked_about_is_denied() -> None:
    assert grounds(asked=report("usage_statistics", offending=None)) == [ground(Reason.FIELD_UNDECLARED, "body")]
    assert grounds(asked=report("usage_statistics", fields=None)) == [ground(Reason.FIELD_UNDECLARED, "body")]
    assert grounds(asked=report("usage_statistics", fields=frozenset({"agent_version"}))) == []


def test_what_the_catalog_objects_to_is_denied_for_other_bodies_too() -> None:
    asked = RequestView(
        method="POST", url=f"{ENDPOINT}/v1/rights", fields=frozenset({"schema", "kind", "x"}), offending=("kind",)
    )
    assert grounds("data_rights", asked=asked, commanded=True) == [
        ground(Reason.FIELD_UNDECLARED, "kind"),
        ground(Reason.FIELD_UNDECLARED, "x"),
    ]


def test_a_command_without_a_command_under_refused_settings_has_both_grounds() -> None:
    objections = grounds("license_activation", standing=SettingsView(refused="toml_syntax"), asked=None)
    assert objections == [ground(Reason.SETTINGS_REFUSED, "toml_syntax"), ground(Reason.NOT_ASKED, "command")]


def test_of_refused_settings_nothing_else_is_told() -> None:
    standing = SettingsView(check=False, renew=False, advisories=False, refused="toml_syntax")
    for purpose in (Purpose.LICENSE_STATUS, Purpose.LICENSE_RENEWAL, Purpose.SECURITY_ADVISORIES):
        assert grounds(purpose, standing=standing, asked=None) == [ground(Reason.SETTINGS_REFUSED, "toml_syntax")]


def test_consent_says_nothing_about_the_license() -> None:
    refused = Misconfigured(Reason.CONSENT_REFUSED, "toml_syntax", file=PLACE, line=1)
    nothing = ConsentReading(place=PLACE, refused=refused, policies_refused=(refused,))
    for purpose in set(POLICIES) - set(CONSENT_BASED):
        objections = grounds(purpose, consent=nothing, ledger="broken", clone=True, commanded=True, asked=None)
        assert objections == []


def test_an_opt_out_in_the_consent_file_lets_a_command_write_a_file() -> None:
    opted_out = reading(TEXT.replace("do_not_track = false", "do_not_track = true"))
    for purpose in (Purpose.LICENSE_ACTIVATION, Purpose.DATA_RIGHTS):
        decided = decide(purpose, snapshot(purpose, consent=opted_out, asked=None, commanded=True))
        assert decided == Denial(grounds=(ground(Reason.OPT_OUT, f"do_not_track = true in {PLACE}", 3),), to_file=True)
    decided = decide("usage_statistics", snapshot(consent=opted_out))
    assert isinstance(decided, Denial)
    assert not decided.to_file


@pytest.mark.parametrize(
    ("purpose", "broken", "rows"),
    [
        ("usage_statistics", {"signals": None}, ["_offline", "_opted_out"]),
        ("usage_statistics", {"standing": None}, ["_settings_refused"]),
        ("license_status", {"standing": None, "asked": None}, ["_settings_refused", "_setting"]),
        ("crash_reports", {"asked": 1}, ["_hold", "_review", "_destination", "_fields"]),
        ("usage_statistics", {"destinations": None}, ["_destination"]),
        (
            "usage_statistics",
            {"consent": None},
            ["_offline", "_opted_out", "_refused", "_answer", "_withdrawn", "_notice", "_policies", "_hold", "_review"],
        ),
    ],
)
def test_a_row_that_fails_denies_and_the_others_still_speak(
    purpose: str, broken: dict[str, object], rows: list[str]
) -> None:
    objections = grounds(purpose, **broken, clone=purpose in CONSENT_BASED)
    places = [each.place.partition(":")[0] for each in objections if each.reason is Reason.INTERNAL]
    assert places == rows
    assert (ground(Reason.CLONE, "machine identity") in objections) == (purpose in CONSENT_BASED)


def test_a_fault_of_ours_is_never_carried_by_a_file() -> None:
    decided = decide("data_rights", snapshot("data_rights", signals=None, commanded=True, asked=None))
    assert decided == Denial(
        grounds=(
            ground(Reason.INTERNAL, "_offline: AttributeError"),
            ground(Reason.INTERNAL, "_opted_out: AttributeError"),
        )
    )


@pytest.mark.parametrize("purpose", ["", "usage", "USAGE_STATISTICS", "usage_statistics ", "telemetry"])
def test_another_purpose_is_none(purpose: str) -> None:
    assert decide(purpose, snapshot()) == Denial(grounds=(ground(Reason.INTERNAL, f"purpose {purpose}"),))
