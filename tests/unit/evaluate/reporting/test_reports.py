"""A report's life on a fake machine: nothing leaves without a durable yes, and what leaves is what was shown."""

import hashlib
import json
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Storage, Unavailable
from opanel_agent.core.wire.message import Reply, Sealed, head

REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
USAGE = "usage_statistics"
NO = """schema = 1
notice = "2026-12-03"   # the installed one

[purposes.usage_statistics]
allow = false
hold = "72h"

[purposes.crash_reports]
allow = false
"""
YES = NO.replace("allow = false", "allow = true", 1)
AT_ONCE = YES.replace("72h", "0h")
HOUR = 3600


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, _receipt)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def write_consent(agent: Simulated, text: str) -> dict[str, Any]:
    agent.files.put(PATHS.consent, text.encode())
    return agent.change_consent()


def wait(agent: Simulated, seconds: int) -> None:
    """Time passes as on a running server: the daemon starts a pass whenever the last one said."""
    frame = agent.run("tick")
    while seconds > 0:
        step = min(seconds, frame["next_run_s"])
        agent.clock.advance(step)
        seconds -= step
        frame = agent.run("tick")


def reports(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.purpose == USAGE]


def kinds(agent: Simulated) -> list[str]:
    return [entry["kind"] for entry in agent.run("history")["result"]["entries"]]


def held(agent: Simulated) -> list[dict[str, Any]]:
    waiting: list[dict[str, Any]] = agent.run("held")["result"]["held"]
    return waiting


def test_without_an_answer_nothing_is_collected_and_nothing_leaves(agent: Simulated) -> None:
    for _ in range(30):
        agent.clock.advance(signing.DAY)
        agent.run("tick")
    assert reports(agent) == []
    assert held(agent) == []
    assert agent.machine.asked == set()


@pytest.mark.parametrize("text", [NO, YES.replace("2026-12-03", "2020-01-01"), YES.replace("true", '"true"'), "{"])
def test_a_no_an_old_answer_and_a_broken_file_are_a_no(agent: Simulated, text: str) -> None:
    write_consent(agent, text)
    for _ in range(10):
        agent.clock.advance(signing.DAY)
        agent.run("tick")
    assert reports(agent) == []
    assert agent.machine.asked == set()


def test_a_yes_is_recorded_then_a_report_is_held_and_then_leaves(agent: Simulated) -> None:
    write_consent(agent, YES)
    (waiting,) = held(agent)
    assert waiting["why"] == [{"reason": "held", "what": "hold", "place": str(PATHS.consent), "line": 6}]
    assert reports(agent) == []
    wait(agent, 72 * HOUR - 1)
    assert reports(agent) == []
    wait(agent, 2 * HOUR)
    (left,) = reports(agent)
    assert left.id == waiting["id"]
    recorded = kinds(agent)
    order = ["ConsentGiven", "RequestSealed", "RequestAttempted", "RequestAnswered", "ReceiptKept"]
    assert [kind for kind in recorded if kind in order] == order


def test_the_preview_is_what_leaves(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, AT_ONCE.encode())
    agent.run("narrowed")
    shown = agent.run("preview", purpose=USAGE)["result"]
    assert (shown["why"], shown["kept"]) == ([], True)
    assert reports(agent) == []
    agent.change_consent()
    (left,) = reports(agent)
    assert left.body.decode() == shown["body"]
    assert head(left).decode() == shown["head"]
    kept = agent.run("sent", id=left.id)["result"]
    assert (kept["head"], kept["body"]) == (shown["head"], shown["body"])
    assert kept["receipt"]


def test_a_report_says_the_fingerprint_and_nothing_more(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    report = json.loads(left.body)
    assert set(report) == {
        *("schema", "notice", "agent_version", "panel_version", "os_id", "os_version", "kernel", "architecture"),
        *("virtualization", "cpu_class", "memory_class", "install_channel", "license_state", "erasure"),
    }
    assert report["license_state"] == "unlicensed"
    secret = agent.files.read(PATHS.erasure / left.id, max_bytes=32)
    assert secret is not None
    assert hashlib.sha256(secret).hexdigest() == report["erasure"]


@pytest.mark.slow
def test_one_report_a_week(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    wait(agent, 29 * signing.DAY)
    assert 4 <= len(reports(agent)) <= 5
    assert len({sealed.body for sealed in reports(agent)}) == len(reports(agent))


def test_a_withdrawal_purges_what_waits_and_names_what_had_gone(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    write_consent(agent, YES)
    wait(agent, 8 * signing.DAY)
    (waiting,) = held(agent)
    noted = write_consent(agent, NO)["result"]["consent"]
    assert noted["purged"] == [waiting["id"]]
    assert [gone["id"] for gone in noted["gone"]] == [left.id]
    assert noted["ready"]
    assert held(agent) == []
    ready = agent.files.names(PATHS.ready)
    assert len(ready) == 1
    wait(agent, 30 * signing.DAY)
    assert reports(agent) == [left]
    assert kinds(agent).count("ConsentWithdrawn") == 1


def test_a_no_between_sealing_and_sending_counts(agent: Simulated) -> None:
    """The courier reads for itself: evaluate decided a moment before."""
    write_consent(agent, YES)
    wait(agent, 71 * HOUR)
    agent.clock.advance(2 * HOUR)
    outlet = agent.world.network
    original = outlet.courier

    def late(sealed: Sealed, *, signalled: bool) -> Reply:
        agent.files.put(PATHS.consent, NO.encode())
        return original(sealed, signalled=signalled)

    object.__setattr__(outlet, "courier", late)
    agent.run("tick")
    assert reports(agent) == []


@pytest.mark.parametrize("signal", ["do_not_track", "offline"])
def test_an_opt_out_denies_and_its_end_begins_the_hold_anew(agent: Simulated, signal: str) -> None:
    write_consent(agent, YES)
    wait(agent, 71 * HOUR)
    agent.opt_outs.set_signals(**{signal: True})
    agent.run("tick")
    agent.clock.advance(10 * HOUR)
    agent.run("tick")
    assert reports(agent) == []
    agent.opt_outs.set_signals()
    agent.run("tick")
    wait(agent, 71 * HOUR)
    assert reports(agent) == []
    wait(agent, 3 * HOUR)
    assert len(reports(agent)) == 1
    assert {"OptOutSeen", "OptOutGone", "HoldsRestarted"} <= set(kinds(agent))


def test_days_without_a_mark_begin_the_hold_anew(agent: Simulated) -> None:
    write_consent(agent, YES)
    agent.clock.advance(73 * HOUR)  # no pass in between: as after a restored backup
    agent.run("tick")
    assert reports(agent) == []
    assert "GapFound" in kinds(agent)


def test_another_machine_is_asked_again(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    agent.machine.parts |= {"machine_id": "f" * 31 + "0", "dmi_product_uuid": "11111111-2222-4333-8444-555555555555"}
    wait(agent, 8 * signing.DAY)
    assert len(reports(agent)) == 1
    usage = agent.run("tick")["answer"]["consent"]["purposes"][USAGE]
    assert {each["reason"] for each in usage["reasons"]} == {"clone"}
    write_consent(agent, AT_ONCE + "# answered again, for this machine\n")
    assert len(reports(agent)) == 2


def test_what_cannot_be_recorded_does_not_leave(agent: Simulated) -> None:
    write_consent(agent, YES)
    wait(agent, 70 * HOUR)
    agent.clock.advance(3 * HOUR)

    def full(_step: str, path: Any) -> None:
        if path.name.startswith("ledger"):
            raise Storage(Fault.DISK_FULL, "disk_full", path=str(path))

    agent.files.fault = full
    frame = agent.run("tick")
    assert frame["answer"]["license"]["state"] == "unlicensed"  # the license goes on
    assert reports(agent) == []
    agent.files.fault = None
    wait(agent, 2 * HOUR)
    assert len(reports(agent)) == 1


def test_a_broken_ledger_denies_until_somebody_looked(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    agent.files.put(PATHS.ledger, b"rot\n", mode=0o600)
    wait(agent, 8 * signing.DAY)
    assert len(reports(agent)) == 1
    usage = agent.run("tick")["answer"]["consent"]["purposes"][USAGE]
    assert {each["reason"] for each in usage["reasons"]} == {"ledger"}
    agent.run("review")
    wait(agent, 2 * HOUR)
    assert len(reports(agent)) == 2


def test_a_failure_keeps_the_report_and_tries_hours_later(agent: Simulated) -> None:
    agent.network.on("POST", REPORTS, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"), _receipt)
    write_consent(agent, AT_ONCE)
    assert len(held(agent)) == 1
    wait(agent, 600)
    assert len(reports(agent)) == 1
    wait(agent, 8 * HOUR)
    first, second = reports(agent)
    assert first == second
    assert held(agent) == []


def test_a_receipt_for_other_bytes_is_not_kept(agent: Simulated) -> None:
    agent.network.on("POST", REPORTS, ok(signing.receipt(sub="0" * 64), "application/jose", status=202))
    write_consent(agent, AT_ONCE)
    assert agent.files.names(PATHS.receipts) == ()
    assert len(reports(agent)) == 1


def test_a_held_report_is_shown_dropped_or_sent_at_once(agent: Simulated) -> None:
    write_consent(agent, YES)
    (waiting,) = held(agent)
    shown = agent.run("held", action="show", id=waiting["id"])["result"]
    sent = agent.run("held", action="send", id=waiting["id"])
    assert sent["ok"], sent["error"]
    assert [sealed.body.decode() for sealed in reports(agent)] == [shown["body"]]
    wait(agent, 8 * signing.DAY)
    (waiting,) = held(agent)
    assert agent.run("held", action="drop", id=waiting["id"])["result"]["dropped"] == waiting["id"]
    assert held(agent) == []
    assert len(reports(agent)) == 1


@pytest.mark.parametrize("action", ["show", "drop", "send"])
def test_a_report_that_is_not_held_is_named_as_one(agent: Simulated, action: str) -> None:
    """With a cure of its own: that of a request which a command has shown would have the person type it again."""
    error = agent.run("held", action=action, id="usage-0123456789abcdef")["error"]
    assert (error["code"], error["detail"]) == ("usage", "held_report_unknown")
    assert error["values"]["id"] == "usage-0123456789abcdef"


def test_a_report_that_is_denied_cannot_be_sent_at_once_either(agent: Simulated) -> None:
    write_consent(agent, YES)
    (waiting,) = agent.run("held")["result"]["held"]
    agent.opt_outs.set_signals(do_not_track=True)
    frame = agent.run("held", action="send", id=waiting["id"])
    assert frame["error"]["code"] == "opt_out"
    assert reports(agent) == []


@pytest.mark.slow
def test_a_held_report_goes_after_two_weeks_and_a_copy_after_ninety_days(agent: Simulated) -> None:
    write_consent(agent, YES)
    (waiting,) = agent.run("held")["result"]["held"]
    agent.opt_outs.set_signals(do_not_track=True)
    wait(agent, 14 * signing.DAY)
    assert waiting["id"] not in agent.files.names(PATHS.held)
    agent.opt_outs.set_signals()
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    write_consent(agent, NO)
    wait(agent, 90 * signing.DAY)
    assert [name for name in agent.files.names(PATHS.sent) if name.startswith("usage")] == []
    assert agent.files.exists(PATHS.erasure / left.id)


def test_license_and_report_run_apart(agent: Simulated) -> None:
    """Two requests in a row would tell the wire that they are one server's."""
    write_consent(agent, AT_ONCE.replace("0h", "1h"))
    agent.run("refresh")
    before = len(agent.network.sent)
    agent.clock.advance(HOUR)
    agent.run("refresh")
    agent.run("tick")
    assert [sealed.purpose for sealed in agent.network.sent[before:]].count(USAGE) == 0
    wait(agent, 2 * HOUR)
    assert len(reports(agent)) == 1


def test_a_report_that_leaves_is_logged_without_its_values(agent: Simulated, capfd: pytest.CaptureFixture[str]) -> None:
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    secret = json.loads(left.body)["erasure"]
    logged = capfd.readouterr()
    assert secret not in logged.err + logged.out
    assert left.body.decode() not in logged.err + logged.out
    assert "consent_changed" in logged.err


def test_a_pass_that_was_killed_while_sending_is_recorded(agent: Simulated) -> None:
    """And once only: the ledger says what may have gone, before anything is decided about it again."""
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    agent.files.remove(PATHS.sent / f"{left.id}.reply")
    agent.run("tick")
    agent.run("tick")
    ledger = agent.files.read(PATHS.ledger, max_bytes=10**6) or b""
    interrupted = [each for each in map(json.loads, ledger.splitlines()) if each["data"].get("reason") == "interrupted"]
    assert [(each["kind"], each["data"]["id"]) for each in interrupted] == [("RequestFailed", left.id)]
    assert (
        json.loads((agent.files.read(PATHS.sent / f"{left.id}.reply", max_bytes=10**6) or b"").split(b"\n")[0])[
            "detail"
        ]
        == "interrupted"
    )


def test_a_request_that_is_cut_short_a_second_time_is_recorded_again(agent: Simulated) -> None:
    def ended(_sealed: Sealed) -> Reply:
        raise Stopped

    agent.files.put(PATHS.consent, AT_ONCE.encode())
    agent.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{USAGE}", ended)
    with pytest.raises(Stopped):
        agent.change_consent()
    agent.run("narrowed")
    (waiting,) = agent.run("held")["result"]["held"]
    with pytest.raises(Stopped):
        agent.run("held", action="send", id=waiting["id"])
    agent.run("narrowed")
    ledger = agent.files.read(PATHS.ledger, max_bytes=10**6) or b""
    interrupted = [each for each in map(json.loads, ledger.splitlines()) if each["data"].get("reason") == "interrupted"]
    assert [(each["kind"], each["data"]["id"]) for each in interrupted] == [("RequestFailed", waiting["id"])] * 2


def test_rights_over_what_left_are_used_and_answered(agent: Simulated) -> None:
    write_consent(agent, AT_ONCE)
    (left,) = reports(agent)
    agent.network.on("POST", signing.ENDPOINT + "/v1/rights", _promised)
    shown = agent.run("rights", kind="erase", preview=True)["result"]
    secret = agent.files.read(PATHS.erasure / left.id, max_bytes=32)
    assert secret is not None
    assert json.loads(shown["body"]) == {"schema": 1, "kind": "erase", "reveals": [secret.hex()]}
    frame = agent.run("rights", kind="erase", confirm=shown["id"])
    assert frame["ok"], frame["error"]
    assert frame["result"]["due"] == signing.NOW + 30 * signing.DAY
    assert agent.network.sent[-1].body.decode() == shown["body"]
    (owed,) = agent.run("receipts")["result"]["owed"]
    assert owed["due"] == signing.NOW + 30 * signing.DAY


@pytest.mark.parametrize("signal", ["do_not_track", "offline"])
def test_a_right_does_not_depend_on_being_tracked(agent: Simulated, signal: str) -> None:
    write_consent(agent, AT_ONCE)
    agent.opt_outs.set_signals(**{signal: True})
    before = len(agent.network.sent)
    result = agent.run("rights", kind="access")["result"]
    assert result["sent"] is False
    assert result["request"]
    assert len(agent.network.sent) == before


def _promised(sealed: Sealed) -> Reply:
    token = signing.receipt(sealed.body, kind="erase", due=signing.NOW + 30 * signing.DAY)
    return ok(token, "application/jose", status=202)


def test_crashes_wait_for_review_and_none_from_before_the_consent_is_told(agent: Simulated) -> None:
    from opanel_agent.evaluate.reporting import crash

    def fail() -> None:
        try:
            raise ValueError("user@example.com in /home/someone")  # noqa: TRY301
        except ValueError as exc:
            crash.note(agent.files, PATHS, exc)

    fail()
    agent.run("tick")
    assert held(agent) == []
    write_consent(agent, NO.replace("crash_reports]\nallow = false", "crash_reports]\nallow = true"))
    assert held(agent) == []
    fail()
    agent.run("tick")
    (waiting,) = held(agent)
    assert [each["reason"] for each in waiting["why"]] == ["review_pending"]
    shown = agent.run("held", action="show", id=waiting["id"])["result"]
    assert "example.com" not in shown["body"]
    assert "someone" not in shown["body"]
    wait(agent, 5 * signing.DAY)
    assert [sealed for sealed in agent.network.sent if sealed.purpose == "crash_reports"] == []
    agent.network.on("POST", signing.ENDPOINT + "/v1/reports/crash_reports", _receipt)
    assert agent.run("held", action="send", id=waiting["id"])["ok"]


def test_an_export_has_it_all(agent: Simulated) -> None:
    from opanel_agent.core.codec.base64url import unbase64url

    write_consent(agent, AT_ONCE)
    result = agent.run("export")["result"]
    assert result["more"] is None
    data = unbase64url(result["export"])
    assert len(data) == result["size"]
    assert reports(agent)[0].id.encode() in data
