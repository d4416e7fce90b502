"""`doctor` on a sound system installation and on one with each fault planted: found, by its code, and by nothing else."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.daemon.fake_daemon import CannedReply, problem
from fixtures.doctor_host import AGENT, DoctorHost, doctor_host
from fixtures.simulated.simulated_agent import PATHS, ROOT_FILE, STATUS_URL
from opanel_agent import __version__
from opanel_agent.cli.doctor import ownership
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.diagnosis import Check
from opanel_agent.core.errors import Bug, NotPermitted, Unavailable
from opanel_agent.core.license import license_key
from opanel_agent.core.route_diagnosis import LAYERS
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.core.wire.message import Reply, fixed_get, head
from opanel_agent.core.wire.mirror_probe import MirrorProbe, encode
from opanel_agent.messages import translate

SECOND: Final = "https://second.example"
EVERY: Final = {str(check) for check in Check}
WAY: Final = {str(layer) for layer in LAYERS}
Found = Mapping[str, tuple[str, str | None]]


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[DoctorHost]:
    with doctor_host(tmp_path) as made:
        yield made


def behind(layer: str, status: str, code: str) -> Found:
    """That step failed, and those behind it not reached; there is no proxy on these routes."""
    order = [str(each) for each in LAYERS]
    after = [each for each in order[order.index(layer) + 1 :] if each != "proxy"]
    return {layer: (status, code)} | dict.fromkeys(after, ("not_looked_at", "not_reached"))


def not_asked(why: str) -> Found:
    return dict.fromkeys(WAY, ("not_looked_at", why))


# in order


def test_a_sound_installation(sick: DoctorHost) -> None:
    seen = sick.see()
    assert (seen.status, sick.found()) == (0, {})
    assert set(sick.checks()) == EVERY
    order = [each["check"] for each in sick.see("--json").json()["result"]["checks"]]
    assert [*dict.fromkeys(order)] == [str(check) for check in Check]
    passed = len({each["check"] for each in sick.see("--json").json()["result"]["checks"] if each["status"] == "ok"})
    assert seen.out == f"No problems found; {passed} checks passed (--verbose lists them)\n"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_check_has_its_own_line_in_words(sick: DoctorHost, lang: Language) -> None:
    sick.lang = lang
    lines = sick.see("--verbose").out.splitlines()
    for check in Check:
        assert sum(translate(f"examined.{check}", lang) in line for line in lines) >= 1, check
    assert all(len(line) <= 80 for line in lines)


def test_problems_stand_first_and_what_passed_is_a_number(sick: DoctorHost) -> None:
    _mirror(Reason.UNREACHABLE_TCP, "connect_failed")(sick)
    _licensed("active", "renew_soon")(sick)
    lines = sick.see().out.splitlines()
    assert lines[0] == f"[FAILED] connection (TCP) ({STATUS_URL})"
    assert "[warning] License" in lines
    assert "[not checked]" not in "".join(lines)  # the steps behind the one that failed
    assert lines[-1].endswith(" checks passed (--verbose lists them)")
    assert sum("checks passed" in line for line in lines) == 1
    listed = sick.see("--verbose").out
    assert listed.startswith("[FAILED] connection (TCP)")
    assert "[ok] Settings\n" in listed
    assert "  [not checked] answer (HTTP): an earlier step failed\n" in listed


def test_a_check_that_failed_in_one_place_is_not_counted_as_passed(sick: DoctorHost) -> None:
    def passed() -> int:
        return int(re.search(r"(\d+) checks passed", sick.see().out)[1])  # type: ignore[index]

    before = passed()
    _room(PATHS.state_dir, bytes_free=0)(sick)
    assert passed() == before - 1


def test_without_verbose_the_request_is_announced_by_its_address_alone(sick: DoctorHost) -> None:
    seen = sick.see()
    assert seen.err.count("\n") == 1
    assert fixed_get("status", signing.MIRROR).url in seen.err
    assert "User-Agent" not in seen.err


def test_the_bytes_are_shown_before_they_leave_and_are_what_left(sick: DoctorHost) -> None:
    sick.settings(f'mirrors = ["{SECOND}"]\n')
    seen = sick.see("--verbose")
    sent = [fixed_get("status", base) for base in (signing.MIRROR, SECOND)]
    assert sick.agent.network.sent == sent
    for each in sent:
        assert each.url in seen.err
        for line in head(each).decode().split("\r\n"):
            assert f"  {line}\n" in seen.err
    assert sick.doors.fetched == ["mirrors"]
    assert sick.doors.pinged == [("fetch", False), ("courier", False)]


# each fault, planted


def _answered(**parts: Any) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.answer |= parts

    return plant


def _licensed(state: str, *reasons: str) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.answer["license"] |= {"state": state, "reasons": list(reasons)}

    return plant


def _lying(path: Path, **changed: Any) -> Callable[[DoctorHost], None]:
    return lambda sick: sick.put(path, **changed)


def _room(path: Path, **changed: Any) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.inspection.spaces[path] = replace(sick.inspection.spaces[path], **changed)

    return plant


def _mirror(code: Reason, detail: str, **values: Any) -> Callable[[DoctorHost], None]:
    return lambda sick: sick.agent.network.on("GET", STATUS_URL, Unavailable(code, detail, **values))


def _clock(ahead_s: int) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.agent.clock.wall_s += ahead_s
        sick.now_s = signing.NOW

    return plant


def _silent_door(program: str) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.doors.silent[program] = Bug(Reason.INTERNAL, "outlet_silent", program=program)

    return plant


def _refused_settings_at(program: str) -> Callable[[DoctorHost], None]:
    def plant(sick: DoctorHost) -> None:
        sick.doors.replies[program] = Reply(ok=False, code="settings_refused", detail="read_failed")

    return plant


def _without_sockets(sick: DoctorHost) -> None:
    sick.doors.isolated = False
    sick.answer["isolation"] = {"level": "none", "missing": ["systemd_sockets"]}


def _put(path: Path, text: str) -> Callable[[DoctorHost], None]:
    return lambda sick: sick.agent.files.put(path, text.encode())


FAULTS: Final[dict[str, tuple[Callable[[DoctorHost], None], Found]]] = {
    "dead DNS": (_mirror(Reason.UNREACHABLE_DNS, "name_unknown"), behind("dns", "failed", "unreachable_dns")),
    "refused port": (_mirror(Reason.UNREACHABLE_TCP, "connect_failed"), behind("tcp", "failed", "unreachable_tcp")),
    "intercepted TLS": (
        _mirror(Reason.TLS_UNTRUSTED, "tls_certificate", why="self-signed certificate"),
        behind("certificate", "failed", "tls_untrusted"),
    ),
    "captive portal": (
        _mirror(Reason.CAPTIVE_PORTAL, "wrong_type"),
        behind("type", "failed", "captive_portal"),
    ),
    "hanging server": (_mirror(Reason.SERVER_ERROR, "reply_slow"), behind("http", "failed", "server_error")),
    "error of the server": (
        _mirror(Reason.SERVER_ERROR, "status_unexpected"),
        behind("http", "failed", "server_error"),
    ),
    "clock far ahead": (_clock(3 * 86400), {"clock": ("failed", "clock_wrong")}),
    "clock far behind": (_clock(-3 * 86400), {"clock": ("failed", "clock_wrong")}),
    "clock an hour off": (_clock(3600), {"clock": ("warning", "clock_wrong")}),
    "someone else's bundle": (_lying(PATHS.bundle, uid=0), {"files": ("failed", "file_refused")}),
    "someone else's report": (_lying(PATHS.held / "x", uid=1000), {"files": ("failed", "file_refused")}),
    "key that others read": (_lying(PATHS.activation_key, mode=0o640), {"files": ("failed", "file_refused")}),
    "code that others write": (
        _lying(Path("/opt/opanel-agent"), kind="folder", uid=0, mode=0o777),
        {"files": ("failed", "file_refused")},
    ),
    "settings that others write": (_lying(PATHS.settings, mode=0o664), {"files": ("failed", "file_refused")}),
    "settings that fetch cannot read": (
        _lying(PATHS.settings, mode=0o640, gid=AGENT),
        {"files": ("failed", "file_refused")},
    ),
    "license that the agent cannot read": (_lying(PATHS.license, gid=0), {"files": ("failed", "file_refused")}),
    "consent of another user": (_lying(PATHS.consent, uid=1000), {"files": ("failed", "file_refused")}),
    "policy that others write": (
        _lying(PATHS.consent_dir / "fleet.toml", mode=0o666),
        {"files": ("failed", "file_refused")},
    ),
    "import that nobody reads": (
        _lying(PATHS.import_dir / "x", uid=0, mode=0o600),
        {"files": ("failed", "file_refused")},
    ),
    "open door": (_lying(PATHS.courier_socket, kind="socket", mode=0o666), {"files": ("failed", "file_refused")}),
    "link for a state": (_lying(PATHS.state, kind="link"), {"files": ("failed", "file_refused")}),
    "device among the state": (_lying(PATHS.state_dir / "x", kind="device"), {"files": ("failed", "file_refused")}),
    "open folder": (_lying(PATHS.held, kind="folder", mode=0o755), {"files": ("failed", "file_refused")}),
    "full disk": (_room(PATHS.state_dir, bytes_free=0), {"disk": ("failed", "disk_full")}),
    "full /run": (_room(PATHS.runtime_dir, bytes_free=4096), {"disk": ("failed", "disk_full")}),
    "no inodes": (_room(PATHS.state_dir, files_free=0), {"disk": ("failed", "disk_full")}),
    "read-only disk": (_room(PATHS.state_dir, read_only=True), {"disk": ("failed", "io_failed")}),
    "a wall missing": (
        _answered(isolation={"level": "partial", "missing": ["network_namespace"]}),
        {"isolation": ("warning", "isolation_partial")},
    ),
    "no isolation": (
        _without_sockets,
        {
            "isolation": ("failed", "isolation_none"),
            "fetch_door": ("failed", "isolation_none"),
            "courier_door": ("failed", "isolation_none"),
        },
    ),
    "fetch silent": (_silent_door("fetch"), {"fetch_door": ("failed", "internal"), **not_asked("door")}),
    "courier silent": (_silent_door("courier"), {"courier_door": ("failed", "internal")}),
    "fetch refuses the settings": (
        _refused_settings_at("fetch"),
        {"fetch_door": ("failed", "settings_refused"), **not_asked("door")},
    ),
    "suspended": (_licensed("suspended", "suspended"), {"license": ("failed", "suspended")}),
    "grace": (_licensed("grace", "status_stale", "ok"), {"license": ("warning", "status_stale")}),
    "ending soon": (_licensed("active", "renew_soon"), {"license": ("warning", "renew_soon")}),
    "no license": (_licensed("unlicensed", "no_license"), {"license": ("failed", "no_license")}),
    "failed check": (
        _answered(last_check={"at": None, "failure": "tls_untrusted"}),
        {"status_list": ("warning", "tls_untrusted")},
    ),
    "check not made": (
        lambda sick: (
            sick.answer.update(next_run={"at": signing.NOW - 86400})
            or sick.answer["license"].update(as_of=signing.NOW - 86400)
        ),
        {"status_list": ("warning", "job_failed")},
    ),
    "roots that lead nowhere": (_put(PATHS.roots, "?"), {"root": ("failed", "format_invalid")}),
    "no root": (
        lambda sick: sick.agent.files.take_away(ROOT_FILE),
        {"root": ("failed", "settings_refused"), **not_asked("no_root")},
    ),
    "no mirror in the region": (lambda sick: sick.settings('region = "mars"\n'), {"http": ("failed", "destination")}),
    "refused consent": (
        _put(PATHS.consent, "schema = 1\nallow = everything\n"),
        {"consent": ("failed", "consent_refused")},
    ),
    "refused policy": (_put(PATHS.consent_dir / "fleet.toml", "?"), {"consent": ("failed", "consent_refused")}),
    "policy by another name": (
        _put(PATHS.consent_dir / "fleet.TOML", "schema = 1\n"),
        {"consent": ("failed", "consent_refused")},
    ),
    "unmounted policies": (
        _put(Path("/etc/fstab"), f"nas:/policies {PATHS.consent_dir} nfs ro 0 0\n"),
        {"consent": ("failed", "consent_refused")},
    ),
    "refused settings": (
        lambda sick: sick.settings("proxy\n"),
        {
            "settings": ("failed", "settings_refused"),
            "release": ("not_looked_at", "settings_refused"),
            "root": ("not_looked_at", "settings_refused"),
            "fetch_door": ("not_looked_at", "settings_refused"),
            "courier_door": ("not_looked_at", "settings_refused"),
            **not_asked("settings_refused"),
        },
    ),
    "trouble": (
        lambda sick: sick.answer.update(trouble=Unavailable(Fault.DISK_FULL, "disk_full").to_json()),
        {"daemon": ("failed", "disk_full")},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_planted_fault_is_found_and_nothing_else(sick: DoctorHost, name: str) -> None:
    plant, wanted = FAULTS[name]
    plant(sick)
    assert sick.found() == wanted
    codes = [code for status, code in wanted.values() if status in ("warning", "failed")]
    for sick.lang in LANGUAGES:
        seen = sick.see()
        assert seen.status == 1
        assert "?" not in re.sub(r"“.*?”", "", seen.out)  # a value that a sentence lacks shows as a question mark
        assert [code for code in codes if f"[{code}]" not in seen.out] == []
        assert seen.out.count(translate("doctor.cure", sick.lang, cure="").strip()) == len(codes)


def test_of_two_mirrors_one_that_fails_is_a_warning(sick: DoctorHost) -> None:
    sick.settings(f'mirrors = ["{SECOND}"]\n')
    assert sick.found() == behind("tcp", "warning", "unreachable_tcp")  # nothing is served there
    _mirror(Reason.UNREACHABLE_DNS, "name_unknown")(sick)
    checks = sick.see("--json").json()["result"]["checks"]
    assert [(each["label"], each["check"], each["status"]) for each in checks if each["code"]] == [
        ("mirror-1", "dns", "failed"),
        ("mirror-2", "tcp", "failed"),
    ]


def test_a_mirror_for_which_no_time_was_left_is_said_to_be_that(sick: DoctorHost) -> None:
    sick.settings(f'mirrors = ["{SECOND}"]\n')
    slow = MirrorProbe(url=STATUS_URL, code="unreachable_dns", detail="name_unknown")
    told_of_another = MirrorProbe(url="https://elsewhere.example/v1/status.jwt")
    sick.doors.replies["mirrors"] = Reply(ok=True, body=encode([slow, told_of_another]))
    checks = sick.see("--json").json()["result"]["checks"]
    assert {each["why"] for each in checks if each["label"] == "mirror-2"} == {"no_time"}
    assert "elsewhere" not in sick.see().out


def test_a_fetch_that_does_not_come_back_is_held_up_by_the_name_service(sick: DoctorHost) -> None:
    sick.doors.silent["mirrors"] = Bug(Reason.INTERNAL, "outlet_timeout", program="fetch")
    assert sick.found() == {"dns": ("failed", "unreachable_dns")}
    sick.doors.silent["mirrors"] = Bug(Reason.INTERNAL, "outlet_silent", program="fetch")
    assert sick.found() == {"http": ("failed", "internal")}


def test_with_a_proxy_the_proxy_is_what_can_be_looked_at(sick: DoctorHost) -> None:
    sick.settings('proxy = "http://user:secret@proxy.example:3128"\n')
    assert sick.checks()["dns"] == sick.checks()["tcp"] == ("not_needed", "by_proxy")
    _mirror(Reason.PROXY_ERROR, "proxy_refused")(sick)
    assert sick.found() == behind("proxy", "failed", "proxy_error")
    assert "secret" not in sick.see().out + sick.see().err


# what it may not do, or cannot


@pytest.mark.parametrize("program", ["fetch", "courier"])
def test_a_door_that_a_signal_keeps_shut_is_no_fault(sick: DoctorHost, program: str) -> None:
    sick.doors.silent[program] = NotPermitted(Reason.NOT_PERMITTED, "outlet_refused", program=program)
    signal = Signal(kind=SignalKind.FILE, what="do-not-track", place="/etc")
    sick.agent.opt_outs.signals = Signals(do_not_track=(signal,))
    assert sick.found()[f"{program}_door"] == ("not_looked_at", "opt_out")
    assert sick.doors.pinged[:2] == [("fetch", False), ("courier", True)]


def test_under_offline_nothing_is_asked_and_the_place_is_said(sick: DoctorHost) -> None:
    sick.agent.opt_outs.set_signals(offline=True)
    assert sick.found() == not_asked("offline")
    seen = sick.see()
    assert (seen.status, seen.err, sick.agent.network.sent, sick.doors.fetched) == (0, "", [], [])
    assert "offline mode is in force; no request was made" in re.sub(r"\s+", " ", seen.out)
    assert "/etc/opanel-agent" in seen.out
    assert seen.out.count("[not checked]") == 1  # one line for the whole way
    assert ("fetch", True) in sick.doors.pinged


def test_where_the_settings_turn_the_check_off_nothing_is_asked(sick: DoctorHost) -> None:
    sick.settings("[license]\ncheck = false\n")
    assert sick.found() == not_asked("turned_off")
    assert sick.agent.network.sent == []


def test_do_not_track_does_not_keep_it_from_asking_what_is_the_same_for_everyone(sick: DoctorHost) -> None:
    sick.agent.opt_outs.set_signals(do_not_track=True)
    assert sick.found() == {}
    assert [each.purpose for each in sick.agent.network.sent] == [Purpose.LICENSE_STATUS]


def test_a_server_that_asked_for_silence_gets_it(sick: DoctorHost) -> None:
    busy = Unavailable(Reason.SERVER_ERROR, "status_unexpected", retry_after_s=3600)
    sick.agent.network.on("GET", STATUS_URL, busy)
    sick.agent.run("refresh")
    sick.agent.network.sent.clear()
    assert sick.found() == not_asked("held_off")
    assert sick.agent.network.sent == []
    sick.agent.clock.advance(3601)
    assert sick.checks()["http"] == ("failed", "server_error")


def test_a_no_that_only_fetch_sees_is_told_as_its_answer(sick: DoctorHost) -> None:
    sick.doors.replies["mirrors"] = Reply(ok=False, code="offline", detail="gate_denied")
    assert sick.found() == {"http": ("failed", "offline")}
    sick.doors.replies["mirrors"] = Reply(ok=True, body=b"{}")
    assert sick.found() == {"http": ("failed", "format_invalid")}
    sick.doors.replies["mirrors"] = Reply(ok=False, code="of_tomorrow")
    assert sick.found() == {"http": ("failed", "internal")}


def test_without_root_it_says_what_it_could_not_look_at(sick: DoctorHost) -> None:
    sick.euid = 1000
    sick.inspection.denied = {PATHS.state_dir, PATHS.courier_dir, PATHS.import_dir}
    sick.deny(PATHS.clock, PATHS.schedule, PATHS.bundle, PATHS.previous_bundle)
    assert sick.found() == {
        "clock": ("not_looked_at", "need_root"),
        "files": ("not_looked_at", "need_root"),
        "fetch_door": ("not_looked_at", "need_root"),
        "courier_door": ("not_looked_at", "need_root"),
        **not_asked("need_root"),
    }
    assert sick.see().status == 0
    assert sick.agent.network.sent == []
    assert sick.see("--report").out.startswith("-------- active ")


def test_without_root_a_clock_behind_the_last_answer_is_still_found(sick: DoctorHost) -> None:
    sick.euid = 1000
    sick.deny(PATHS.clock, PATHS.schedule)
    _clock(-3 * 86400)(sick)
    assert sick.found()["clock"] == ("failed", "clock_wrong")


def test_what_this_user_may_not_read_is_not_called_broken(sick: DoctorHost) -> None:
    sick.euid = 1000
    sick.deny(PATHS.settings, PATHS.consent, PATHS.clock)
    sick.inspection.denied = {PATHS.state_dir.parent}
    found = sick.found()
    assert found["settings"] == found["consent"] == found["disk"] == ("not_looked_at", "need_root")
    sick.deny(Path("/etc/opanel-agent/root.jws"), PATHS.clock)
    assert sick.found()["root"] == ("not_looked_at", "need_root")


def test_a_disk_that_cannot_be_looked_at_is_a_finding(sick: DoctorHost) -> None:
    sick.inspection.broken = {PATHS.state_dir}
    found = sick.found()
    assert found["files"] == found["disk"] == ("failed", "io_failed")


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o300])
def test_a_file_of_the_state_that_the_agent_itself_may_not_read_is_named(sick: DoctorHost, mode: int) -> None:
    sick.inspection.seen[PATHS.state] = replace(sick.inspection.seen[PATHS.state_dir], kind="file", mode=mode)
    (wrong,) = (each for each in sick.see("--json").json()["result"]["checks"] if each["check"] == "files")
    assert (wrong["status"], wrong["subject"]) == ("failed", str(PATHS.state))
    assert f"{PATHS.state}" in wrong["title"]


def test_a_folder_that_was_set_aside_is_named_until_somebody_removes_it(sick: DoctorHost) -> None:
    there = PATHS.state_dir / "sent.broken"
    sick.inspection.seen[there] = sick.inspection.seen[PATHS.state_dir]
    assert sick.found()["files"] == ("warning", "file_refused")
    del sick.inspection.seen[there]
    assert "files" not in sick.found()


def test_a_mark_that_makes_no_sense_is_as_none(sick: DoctorHost) -> None:
    sick.agent.files.put(PATHS.clock, b"?")
    sick.agent.files.put(PATHS.schedule, b'{"schema": 1}')
    assert sick.found() == {}  # the mirror's date is left
    sick.agent.opt_outs.set_signals(offline=True)
    assert sick.found() == {"clock": ("not_looked_at", "no_answer"), **not_asked("offline")}


# the daemon


def test_a_daemon_that_is_busy_or_has_no_answer_yet(sick: DoctorHost) -> None:
    for reply, code in ((problem(503, "not_yet"), "not_yet"), (CannedReply(body=b"?"), "protocol")):
        sick._porter.replies["/v1/answer"] = [reply]
        checks = {each["check"]: each for each in sick.see_as_it_is("--json").json()["result"]["checks"]}
        assert (checks["daemon"]["status"], checks["daemon"]["code"]) == ("failed", code)
        assert checks["license"]["why"] == checks["status_list"]["why"] == checks["isolation"]["why"] == "no_answer"


def test_without_a_daemon_its_last_answer_is_looked_at_and_said_to_be_that(sick: DoctorHost, tmp_path: Path) -> None:
    sick.agent.files.put(PATHS.answer, json.dumps(sick.answer).encode())
    sick._socket = tmp_path / "nobody"
    assert sick.found() == {"daemon": ("failed", "not_running")}
    assert sick.see("--report").out.splitlines()[0].split()[1] == "active"


def test_a_user_who_may_not_ask_is_told(sick: DoctorHost, tmp_path: Path) -> None:
    sick._porter.replies["/v1/answer"] = [problem(403, "no_permission")]
    checks = {each["check"]: each for each in sick.see_as_it_is("--json").json()["result"]["checks"]}
    assert (checks["daemon"]["status"], checks["daemon"]["why"]) == ("not_looked_at", "need_root")


@pytest.mark.parametrize(
    "undecided",
    [{"since": 4, "grace": 2, "until": 3}, {"since": 1, "grace": 2, "until": 2**53 - 1}, {"since": 1}, [], "soon"],
)
def test_days_that_make_no_sense_are_as_none(sick: DoctorHost, undecided: object) -> None:
    unread: list[object] = [{"part": "boot_disk", "file": None, "errno": None}, {"part": 1}, "boot_disk"]
    sick.answer["machine"] = {"key": "ok", "unread": unread, "undecided": undecided}
    assert sick.found() == {"machine": ("warning", "io_failed")}
    assert sick.see().out.count("still valid") == 1


def test_an_older_daemon_that_tells_nothing_of_the_machine(sick: DoctorHost) -> None:
    del sick.answer["machine"]
    assert sick.found() == {"machine": ("not_looked_at", "no_answer")}


def test_an_older_daemon_that_tells_no_isolation(sick: DoctorHost) -> None:
    sick.answer["isolation"] = {"level": None}
    assert sick.found() == {"isolation": ("not_looked_at", "no_answer")}
    sick.answer["isolation"] = {"level": "partial", "missing": None}
    assert sick.found() == {"isolation": ("warning", "isolation_partial")}


# the report

KEY: Final = license_key.digest(signing.KEY)[:8]
PLANTED: Final = (
    *("acme", "Ayşe", "10.9.8.7", "fe80", "hunter2", "0123456789abcdef", "srv-42", "/home", "@", "example", "://"),
    *("Örnek", "+90", "opanel-agent/", "/var", "/etc", "/run", "usage-"),
)


def infect(sick: DoctorHost) -> None:
    """A value that says something about the server in every field that a report could be made of."""
    sick.settings(
        'mirrors = ["https://acme-mirror.example", "https://10.9.8.7"]\nregion = "tr"\n'
        'proxy = "http://ayse:hunter2@proxy.acme.example:3128"\nca_file = "/home/ayse/acme-ca.pem"\n'
    )
    sick.put(Path("/home/ayse/acme-ca.pem"), uid=1000, mode=0o666)
    sick.put(PATHS.consent_dir / "acme.toml", uid=1000)
    sick.put(PATHS.import_dir / "srv-42.acme.example.jws", uid=1000)
    sick.put(PATHS.held / "usage-0123456789abcdef", uid=1000)
    sick.put(PATHS.sent / "usage-0123456789abcdef", uid=1000)
    sick.put(PATHS.sent, kind="folder", mode=0o700)
    sick.put(PATHS.bundle, mode=0o644)
    sick.agent.files.put(PATHS.consent_dir / "acme.toml", b"acme = true")
    for url in ("https://acme-mirror.example/v1/status.jwt", "https://10.9.8.7/v1/status.jwt", STATUS_URL):
        why = "Hostname mismatch, certificate is not valid for 'acme-mirror.example'"
        sick.agent.network.on("GET", url, Unavailable(Reason.TLS_UNTRUSTED, "tls_certificate", why=why))
    sick.answer["license"] |= {
        "state": "grace",
        "reasons": ["suspended", "srv-42.acme.example"],
        "reseller": {
            "name": "Örnek Ayşe",
            "email": "ayse@acme.example",
            "phone": "+90 1",
            "url": "https://acme.example",
        },
        "features": ["acme"],
        "tier": "acme",
    }
    sick.answer["isolation"] = {"level": "partial", "missing": ["10.9.8.7"]}
    sick.answer["machine"] = {
        "key": "acme",
        "unread": [{"part": "srv-42.acme.example", "file": "/home/ayse/wwid", "errno": "acme"}],
        "undecided": {"since": 1, "grace": 2, "until": 3},
    }
    sick.answer["last_check"] = {"at": 1, "failure": "srv-42.acme.example"}
    sick.answer["root"] = {"name": "acme", "seq": 1, "sha256": "acme", "exp": 1}
    sick.answer["last_left"] = {
        "id": "usage-0123456789abcdef",
        "purpose": "acme",
        "at": 1,
        "url": "https://acme.example",
    }
    sick.answer["trouble"] = {"kind": "Bug", "code": "acme", "detail": "job_failed", "values": {"place": "/home/ayse"}}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("flags", [("--report",), ("--report", "--json")])
def test_nothing_that_was_read_is_in_the_report(sick: DoctorHost, lang: Language, flags: tuple[str, ...]) -> None:
    infect(sick)
    sick.lang = lang
    seen = sick.see("--json" if "--json" in flags else "--lang=en")
    on_the_screen = seen.out + seen.err
    out = sick.see(*flags).out
    key = signing.KEY
    words = [*PLANTED, key, key.replace("-", ""), license_key.digest(key), base64url(b"acme")]
    assert [word for word in words if word.lower() in out.lower()] == []
    assert sum(word in on_the_screen for word in PLANTED) > 6  # they were there to be told
    assert KEY in out
    for code in ("tls_untrusted", "file_refused", "consent_refused", "isolation_partial", "internal", "suspended"):
        assert code in out
    for label in (
        "mirror-1",
        "mirror-2",
        "ca_file",
        "config/consent.d/*",
        "config/import.d/*",
        "state/held/*",
        "machine/*",
    ):
        assert label in out
    assert "state/bundle.jws" in out
    assert [each for each in re.findall(r"\d+", re.sub(r"^.*\n", "", out, count=1)) if len(each) > 4] == [] or flags[1:]


def test_a_detail_of_another_version_s_is_not_passed_on(sick: DoctorHost) -> None:
    """What an older or newer daemon calls a fault may be anything."""
    sick.answer["trouble"] = {"kind": "Bug", "code": "internal", "detail": "srv-42.acme.example", "values": {}}
    assert "acme" not in sick.see("--report").out + sick.see("--report", "--json").out


def test_it_begins_with_what_support_asks_first(sick: DoctorHost) -> None:
    _licensed("grace", "suspended", "isolation_none")(sick)
    sick.answer["license"]["since"] = signing.NOW
    first = sick.see("--report").out.splitlines()[0]
    assert first == f"{KEY} grace 2026-11-24T09:00:00Z suspended,isolation_none {__version__}"
    assert re.fullmatch(r"[0-9a-f]{8} .*", first)
    sick.answer["license"] |= {"state": "hovering", "reasons": []}
    assert sick.see("--report").out.splitlines()[0] == f"{KEY} unknown 2026-11-24T09:00:00Z unknown {__version__}"


def test_the_previous_bundle_or_none_tells_the_key(sick: DoctorHost) -> None:
    whole = sick.agent.files.read(PATHS.bundle, max_bytes=10**6) or b""
    sick.agent.files.put(PATHS.bundle, b"spoilt")
    assert sick.see("--report").out.startswith("-------- ")
    sick.agent.files.put(PATHS.previous_bundle, whole)
    assert sick.see("--report").out.startswith(f"{KEY} ")


def test_the_report_without_any_answer(sick: DoctorHost, tmp_path: Path) -> None:
    sick._socket = tmp_path / "nobody"
    seen = sick.see("--report")
    assert (seen.status, seen.out.splitlines()[0]) == (1, f"{KEY} unknown unknown unknown {__version__}")
    result = sick.see("--report", "--json").json()["result"]
    assert {name: result[name] for name in ("key", "state", "since", "reasons", "version")} == {
        "key": KEY,
        "state": "unknown",
        "since": "unknown",
        "reasons": [],
        "version": __version__,
    }
    assert set(result["checks"][0]) == {"check", "label", "status", "code", "detail", "why"}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_check_is_a_line_of_the_report(sick: DoctorHost, lang: Language) -> None:
    sick.lang = lang
    lines = sick.see("--report").out.splitlines()[1:]
    assert [line for line in lines if not re.fullmatch(r"\[[\wı ]+\] [a-z_]+( [\w/.*-]+)* - .+", line)] == []
    assert {line.split("] ")[1].split()[0] for line in lines} == EVERY


def test_a_program_is_told_everything(sick: DoctorHost) -> None:
    _mirror(Reason.UNREACHABLE_DNS, "name_unknown")(sick)
    checks = sick.see("--json").json()
    assert (checks["schema"], checks["result"]["good"]) == (1, False)
    (dns,) = [each for each in checks["result"]["checks"] if each["check"] == "dns"]
    assert dns == {
        "check": "dns",
        "label": "mirror-1",
        "subject": STATUS_URL,
        "address": None,
        "status": "failed",
        "code": "unreachable_dns",
        "detail": "name_unknown",
        "why": None,
        "title": translate("error.name_unknown", "en"),
        "hint": translate("cure.name_unknown", "en"),
    }
    assert sick.see("--json").status == 1


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("/opt/opanel-agent/env-0.1.0-1/lib/python3.11/site-packages/opanel_agent/x.py", "/opt/opanel-agent"),
        ("/usr/lib/opanel-agent/env/lib/python3/site-packages/opanel_agent/x.py", "/usr/lib/opanel-agent"),
    ],
)
def test_the_program_s_place_is_the_installer_s_or_the_package_s(code: str, place: str) -> None:
    assert ownership.program_place(code) == Path(place)
