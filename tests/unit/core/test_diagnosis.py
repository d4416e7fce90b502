"""What doctor concludes: every check in order and broken, each with its code, and nothing of the machine in a label."""

from dataclasses import replace

import pytest

from opanel_agent.core import diagnosis, route_diagnosis
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.diagnosis import Check, CheckStatus, DiskSpace, Finding, PathFacts, Rule, SkipReason
from opanel_agent.core.license.effective_time import FAR_S
from opanel_agent.core.license.states import State
from opanel_agent.core.route_diagnosis import MirrorRoute
from opanel_agent.core.wire.mirror_probe import MirrorProbe
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

NOW = 1_795_510_800


def outcome(finding: Finding) -> tuple[CheckStatus, str | None, str | None]:
    error = finding.error
    return finding.status, None if error is None else str(error.code), None if error is None else error.detail


OK = (CheckStatus.OK, None, None)


def test_what_was_not_looked_at_is_no_fault_and_a_warning_is_one() -> None:
    fine = (
        Finding(check=Check.ROOT),
        diagnosis.unseen(Check.DNS, SkipReason.OFFLINE),
        diagnosis.needless(Check.DNS, SkipReason.NO_NAME),
    )
    assert diagnosis.sound(fine)
    assert not diagnosis.sound((*fine, diagnosis.root_age(NOW, NOW)))


# the license, the root, the list


@pytest.mark.parametrize(
    ("state", "reasons", "wanted"),
    [
        ("active", ["ok"], OK),
        (
            "active",
            ["isolation_none", "unreachable_dns", "root_old", "settings_refused"],
            OK,
        ),  # told by their own checks
        ("active", ["renew_soon", "ok"], (CheckStatus.WARNING, "renew_soon", "license_state")),
        ("active", ["of_tomorrow"], (CheckStatus.WARNING, "internal", "license_state")),
        ("grace", ["suspended", "ok"], (CheckStatus.WARNING, "suspended", "license_state")),
        ("grace", ["root_old"], (CheckStatus.WARNING, "root_old", "license_state")),
        ("hovering", [], (CheckStatus.FAILED, "internal", "license_state")),
        *(
            (str(state), ["expired"], (CheckStatus.FAILED, "expired", "license_state"))
            for state in State
            if state not in (State.ACTIVE, State.GRACE)
        ),
    ],
)
def test_the_license(state: str, reasons: list[str], wanted: tuple[CheckStatus, str | None, str | None]) -> None:
    assert outcome(diagnosis.license_state(state, reasons)) == wanted


def test_the_root_until_its_last_second() -> None:
    assert outcome(diagnosis.root_age(NOW + 1, NOW)) == OK
    assert outcome(diagnosis.root_age(NOW, NOW)) == (CheckStatus.WARNING, "root_old", "root_ended")


@pytest.mark.parametrize(
    ("failure", "next_run_at", "as_of", "wanted"),
    [
        (None, NOW + 5, NOW - 5, OK),
        (None, None, 0, OK),
        (None, NOW - 7200, NOW - 90_000, OK),
        (None, NOW - 7201, NOW - 90_000, (CheckStatus.WARNING, "job_failed", "check_overdue")),
        (None, NOW - 90_000, NOW - 900, OK),  # it looks again and again, and the gate denies
        ("unreachable_dns", NOW, NOW, (CheckStatus.WARNING, "unreachable_dns", "last_check_failed")),
        ("of_tomorrow", NOW, NOW, (CheckStatus.WARNING, "internal", "last_check_failed")),
    ],
)
def test_the_last_check(
    failure: str | None, next_run_at: int | None, as_of: int, wanted: tuple[CheckStatus, str | None, str | None]
) -> None:
    assert outcome(diagnosis.status_list(failure, next_run_at, as_of, NOW)) == wanted


# the clock


@pytest.mark.parametrize(
    ("effective_s", "served", "wanted"),
    [
        (NOW, [], OK),
        (NOW - FAR_S, [], OK),
        (NOW - FAR_S - 1, [], (CheckStatus.FAILED, "clock_wrong", "clock_apart")),
        (NOW + FAR_S + 1, [NOW], (CheckStatus.FAILED, "clock_wrong", "clock_apart")),
        (None, [NOW + 300], OK),
        (None, [NOW - 301], (CheckStatus.WARNING, "clock_wrong", "clock_from_server")),
        (NOW, [NOW + 86400], (CheckStatus.WARNING, "clock_wrong", "clock_from_server")),
        (NOW, [NOW + 86400, NOW - 1], OK),  # one of the servers has a wrong clock of its own
        (None, [], (CheckStatus.NOT_LOOKED_AT, None, None)),
    ],
)
def test_the_clock(
    effective_s: int | None, served: list[int], wanted: tuple[CheckStatus, str | None, str | None]
) -> None:
    found = diagnosis.clock(NOW, effective_s, served, unknown=SkipReason.NEED_ROOT)
    assert outcome(found) == wanted
    assert found.why == (SkipReason.NEED_ROOT if wanted[0] is CheckStatus.NOT_LOOKED_AT else None)


# files

AGENT, COURIER, GROUP = 100, 101, 200
FILE = PathFacts(kind="file", uid=0, gid=GROUP, mode=0o640)
RULE = Rule(
    path="/etc/opanel-agent/agent.toml",
    label="config/agent.toml",
    kind="file",
    uids=frozenset({0}),
    owner="root",
    modes=0o2755,
    readers={"opanel-agent": (AGENT, frozenset({GROUP}))},
)
BOTH = replace(RULE, readers={**RULE.readers, "opanel-courier": (COURIER, frozenset({COURIER}))})


@pytest.mark.parametrize(
    ("rule", "seen", "detail"),
    [
        (RULE, FILE, None),
        (RULE, replace(FILE, kind="link"), "place_type"),
        (RULE, replace(FILE, uid=AGENT), "place_owner"),
        (RULE, replace(FILE, mode=0o660), "place_mode"),
        (RULE, replace(FILE, mode=0o646), "place_mode"),
        (RULE, replace(FILE, mode=0o4644), "place_mode"),
        (RULE, replace(FILE, mode=0o600), "place_unreadable"),
        (RULE, replace(FILE, gid=0), "place_unreadable"),
        (BOTH, FILE, "place_unreadable"),
        (BOTH, replace(FILE, mode=0o644), None),
        (BOTH, replace(FILE, mode=0o604), "place_unreadable"),  # its group's class fits first, and has no right
        (replace(BOTH, kind="folder"), replace(FILE, kind="folder", mode=0o2755), None),
        (replace(BOTH, kind="folder"), replace(FILE, kind="folder", mode=0o754), "place_unreadable"),
        (replace(RULE, uids=frozenset({AGENT})), replace(FILE, uid=AGENT, mode=0o200), "place_unreadable"),
        (replace(RULE, readers={"root": (0, frozenset())}), replace(FILE, mode=0), None),
    ],
)
def test_a_place(rule: Rule, seen: PathFacts, detail: str | None) -> None:
    error = diagnosis.place(rule, seen)
    assert (None if error is None else error.detail) == detail
    assert error is None or error.code is Fault.FILE_REFUSED


def test_a_mode_is_told_with_the_one_that_it_should_be() -> None:
    error = diagnosis.place(replace(RULE, modes=0o700), replace(FILE, mode=0o764))
    assert error is not None
    assert error.values == {"file": RULE.path, "mode": "0764", "wanted": "0700"}


def test_each_wrong_file_has_a_line_and_many_are_counted() -> None:
    wrong = (RULE, replace(FILE, uid=5))
    assert [outcome(each) for each in diagnosis.files([(RULE, FILE)], denied=False)] == [OK]
    (one,) = diagnosis.files([wrong, (RULE, FILE)], denied=False)
    assert (outcome(one), one.subject, one.label) == (
        (CheckStatus.FAILED, "file_refused", "place_owner"),
        RULE.path,
        "config/agent.toml",
    )
    many = [*diagnosis.files([wrong] * (diagnosis.MANY + 3), denied=False)]
    assert len(many) == diagnosis.MANY + 1
    assert many[-1].error is not None
    assert many[-1].error.values == {"count": 3}
    assert len([*diagnosis.files([wrong] * diagnosis.MANY, denied=False)]) == diagnosis.MANY


def test_what_may_not_be_looked_at_is_said_beside_what_was_found() -> None:
    denied = [*diagnosis.files([(RULE, replace(FILE, uid=5))], denied=True)]
    assert [(each.status, each.why) for each in denied] == [
        (CheckStatus.FAILED, None),
        (CheckStatus.NOT_LOOKED_AT, SkipReason.NEED_ROOT),
    ]
    assert [each.why for each in diagnosis.files([(RULE, FILE)], denied=True)] == [SkipReason.NEED_ROOT]


@pytest.mark.parametrize("name", ["state.json.broken", "sent.broken", "sent.broken-3", "ledger.checkpoint.broken"])
def test_what_the_agent_set_aside_is_a_warning(name: str) -> None:
    rule = replace(RULE, path=f"/var/lib/opanel-agent/{name}")
    (one,) = diagnosis.files([(rule, FILE)], denied=False)
    assert (outcome(one), one.subject) == ((CheckStatus.WARNING, "file_refused", "place_aside"), rule.path)


@pytest.mark.parametrize("name", ["ledger.1.broken", "broken", "state.json", ".broken", "sent.brokenish"])
def test_nothing_else_is_taken_for_it(name: str) -> None:
    """A ledger that was set aside is told of until a person has looked at it, and is kept after that."""
    rule = replace(RULE, path=f"/var/lib/opanel-agent/{name}")
    assert [outcome(each) for each in diagnosis.files([(rule, FILE)], denied=False)] == [OK]


# room

ROOM = DiskSpace(bytes_free=diagnosis.STATE_BYTES, files_free=diagnosis.LEAST_FILES, read_only=False)


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        (ROOM, OK),
        (replace(ROOM, files_free=None), OK),
        (replace(ROOM, bytes_free=diagnosis.STATE_BYTES - 1), (CheckStatus.FAILED, "disk_full", "disk_low")),
        (replace(ROOM, files_free=diagnosis.LEAST_FILES - 1), (CheckStatus.FAILED, "disk_full", "inodes_low")),
        (replace(ROOM, read_only=True), (CheckStatus.FAILED, "io_failed", "disk_read_only")),
    ],
)
def test_the_room(space: DiskSpace, wanted: tuple[CheckStatus, str | None, str | None]) -> None:
    found = diagnosis.disk("/var/lib/x", "state", space, least_bytes=diagnosis.STATE_BYTES)
    assert outcome(found) == wanted
    assert (found.subject, found.label) == ("/var/lib/x", "state")


# isolation


@pytest.mark.parametrize(
    ("level", "system", "wanted"),
    [
        ("kernel", True, OK),
        ("kernel", False, OK),
        ("partial", True, (CheckStatus.WARNING, "isolation_partial", "isolation_partly")),
        ("none", True, (CheckStatus.FAILED, "isolation_none", "isolation_missing")),
        ("of_tomorrow", True, (CheckStatus.FAILED, "isolation_none", "isolation_missing")),
        ("none", False, (CheckStatus.NOT_NEEDED, None, None)),
    ],
)
def test_the_isolation(level: str, system: bool, wanted: tuple[CheckStatus, str | None, str | None]) -> None:
    assert outcome(diagnosis.isolation(level, ["devices", "read_only"], system=system)) == wanted


def test_the_walls_that_do_not_hold_are_named() -> None:
    error = diagnosis.isolation("partial", ["devices", "read_only"], system=True).error
    assert error is not None
    assert error.values == {"walls": "devices, read_only"}


# the two doors


@pytest.mark.parametrize(
    ("code", "detail", "wanted"),
    [
        ("format_invalid", "fetch_word", OK),
        ("settings_refused", "read_failed", (CheckStatus.FAILED, "settings_refused", "door_settings")),
        ("internal", "reply_failed", (CheckStatus.FAILED, "internal", "reply_failed")),
        (None, None, (CheckStatus.FAILED, "internal", "reply_failed")),
    ],
)
def test_a_door(code: str | None, detail: str | None, wanted: tuple[CheckStatus, str | None, str | None]) -> None:
    assert outcome(diagnosis.door(Check.FETCH_DOOR, "fetch", code, detail)) == wanted


def test_a_door_that_is_not_there() -> None:
    found = diagnosis.door_absent(Check.COURIER_DOOR, "courier", "/run/x")
    assert outcome(found) == (CheckStatus.FAILED, "isolation_none", "door_absent")


# the way to a mirror

URL = "https://mirror.example/v1/status.jwt"
STRAIGHT = MirrorRoute(label="mirror-1", named=True, tls=True, proxied=False)
PROXIED = replace(STRAIGHT, proxied=True)
LOCAL = replace(STRAIGHT, named=False, tls=False)


def way(probe: MirrorProbe, route: MirrorRoute = STRAIGHT, *, another_good: bool = False) -> str:
    """One letter a step, in their order: ok, Failed, Warning, -: not reached, .: not needed."""
    findings = [*route_diagnosis.mirror(probe, route, another_good=another_good)]
    assert [each.check for each in findings] == [*route_diagnosis.LAYERS]
    assert {(each.subject, each.label) for each in findings} == {(URL, "mirror-1")}
    assert {each.why for each in findings if each.status is CheckStatus.NOT_LOOKED_AT} <= {SkipReason.NOT_REACHED}
    return "".join(_LETTER[each.status] for each in findings)


_LETTER = {
    CheckStatus.OK: "o",
    CheckStatus.FAILED: "F",
    CheckStatus.WARNING: "W",
    CheckStatus.NOT_NEEDED: ".",
    CheckStatus.NOT_LOOKED_AT: "-",
}
ALL = [*Step]


def good(*without: Step) -> MirrorProbe:
    return MirrorProbe(url=URL, passed=frozenset(ALL) - set(without))


def fault(code: str, detail: str = "x", why: str = "", *, at: Step | None = None, passed: str = "") -> MirrorProbe:
    return MirrorProbe(
        url=URL,
        code=code,
        detail=detail,
        values={"why": why} if why else {},
        failed=at,
        passed=frozenset(map(Step, passed.split())),
    )


@pytest.mark.parametrize(
    ("probe", "route", "letters"),
    [
        (good(Step.PROXY), STRAIGHT, "oo.ooooo"),
        (good(Step.DNS, Step.TCP), PROXIED, "..oooooo"),
        (good(Step.PROXY, Step.TLS, Step.CERTIFICATE), LOCAL, ".o...ooo"),
        (fault("unreachable_dns", at=Step.DNS), STRAIGHT, "F-.-----"),
        (fault("unreachable_tcp", at=Step.TCP, passed="dns"), STRAIGHT, "oF.-----"),
        (fault("proxy_error", at=Step.PROXY), PROXIED, "..F-----"),
        (fault("tls_untrusted", at=Step.TLS, passed="dns tcp"), STRAIGHT, "oo.F----"),
        (fault("unreachable_tcp", "tls_cut", at=Step.TLS, passed="proxy"), PROXIED, "..oF----"),
        (fault("tls_untrusted", at=Step.CERTIFICATE, passed="proxy tls"), PROXIED, "..ooF---"),
        (fault("server_error", at=Step.HTTP, passed="dns tcp tls certificate"), STRAIGHT, "oo.ooF--"),
        (fault("captive_portal", at=Step.TYPE, passed="dns tcp tls certificate http"), STRAIGHT, "oo.oooF-"),
        (fault("server_error", at=Step.CONTENT, passed="tcp http type"), LOCAL, ".o...ooF"),
        (fault("server_error"), STRAIGHT, "--.--F--"),  # of a version that does not say where
        (MirrorProbe(url=URL), STRAIGHT, "--.-----"),  # nothing is ok that was not passed
    ],
)
def test_only_a_step_that_was_passed_is_ok(probe: MirrorProbe, route: MirrorRoute, letters: str) -> None:
    assert way(probe, route) == letters
    assert way(probe, route, another_good=True) == letters.replace("F", "W")


def attempts(*outcomes: Outcome) -> tuple[Attempt, ...]:
    return tuple(Attempt(address=f"192.0.2.{n}", outcome=outcome) for n, outcome in enumerate(outcomes))


def of_addresses(probe: MirrorProbe, route: MirrorRoute) -> list[tuple[Check, str | None, str, str | None]]:
    found = [each for each in route_diagnosis.mirror(probe, route, another_good=False) if each.address is not None]
    assert {(each.subject, each.label) for each in found} <= {(URL, "mirror-1")}
    return [
        (each.check, each.address, str(each.status), each.error.detail if each.error else each.why) for each in found
    ]


def test_beside_an_address_that_connects_the_others_are_at_most_a_warning() -> None:
    probe = replace(good(), attempts=attempts(*Outcome))
    assert of_addresses(probe, STRAIGHT) == [
        (Check.TCP, "192.0.2.0", "ok", None),
        (Check.TCP, "192.0.2.1", "warning", "address_refused"),
        (Check.TCP, "192.0.2.2", "not_needed", "no_route"),
        (Check.TCP, "192.0.2.3", "warning", "address_slow"),
        (Check.TCP, "192.0.2.4", "not_looked_at", "another_address"),
    ]


def test_the_only_address_is_not_told_twice() -> None:
    """The step's own sentence names it."""
    tried = attempts(Outcome.REFUSED)
    failed_ = replace(fault("unreachable_tcp", "connect_failed", at=Step.TCP, passed="dns"), attempts=tried)
    assert of_addresses(replace(failed_, values={"address": "192.0.2.0"}), STRAIGHT) == []
    assert len(of_addresses(failed_, STRAIGHT)) == 1
    assert len(of_addresses(replace(good(), attempts=attempts(Outcome.CONNECTED)), STRAIGHT)) == 1


def test_beside_another_mirror_that_answers_an_address_is_at_most_a_warning() -> None:
    probe = replace(fault("unreachable_tcp", at=Step.TCP), attempts=attempts(Outcome.REFUSED, Outcome.SLOW))
    found = [each for each in route_diagnosis.mirror(probe, STRAIGHT, another_good=True) if each.address]
    assert {each.status for each in found} == {CheckStatus.WARNING}


def test_where_none_connects_each_has_failed_as_what_it_is() -> None:
    tried = attempts(Outcome.SLOW, Outcome.UNREACHABLE, Outcome.REFUSED, Outcome.UNDECIDED)
    probe = replace(fault("proxy_error", "proxy_unreachable", at=Step.PROXY), attempts=tried)
    assert of_addresses(probe, PROXIED) == [
        (Check.PROXY, "192.0.2.0", "failed", "address_slow"),
        (Check.PROXY, "192.0.2.1", "failed", "address_unreachable"),
        (Check.PROXY, "192.0.2.2", "failed", "address_refused"),
        (Check.PROXY, "192.0.2.3", "not_looked_at", "no_time"),
    ]


def error_of(trial: MirrorProbe) -> tuple[str, str, str | None]:
    (found,) = [each.error for each in route_diagnosis.mirror(trial, STRAIGHT, another_good=False) if each.error]
    why = found.values.get("why")
    return str(found.code), found.detail, None if why is None else str(why)


def test_the_code_and_the_cure_are_those_of_the_failure() -> None:
    assert error_of(fault("unreachable_dns", "name_unknown")) == ("unreachable_dns", "name_unknown", None)
    assert error_of(MirrorProbe(url=URL, code="of_tomorrow")) == ("internal", "reply_failed", None)
    for why in ("certificate has expired", "certificate is not yet valid"):
        assert error_of(fault("tls_untrusted", "tls_certificate", why)) == ("tls_untrusted", "tls_dates", why)
    signed = "self-signed certificate in certificate chain"
    assert error_of(fault("tls_untrusted", "tls_certificate", signed)) == (
        Reason.TLS_UNTRUSTED,
        "tls_certificate",
        signed,
    )
    assert error_of(fault("tls_untrusted", "tls_handshake")) == (Reason.TLS_UNTRUSTED, "tls_handshake", None)


def test_a_mirror_that_was_not_tried_and_a_name_service_that_swallows_the_question() -> None:
    untried = [*route_diagnosis.untried(URL, "mirror-9")]
    assert [each.check for each in untried] == [*route_diagnosis.LAYERS]
    assert {(each.status, each.why, each.label) for each in untried} == {
        (CheckStatus.NOT_LOOKED_AT, SkipReason.NO_TIME, "mirror-9")
    }
    assert outcome(route_diagnosis.fetch_silent()) == (CheckStatus.FAILED, "unreachable_dns", "resolver_silent")
