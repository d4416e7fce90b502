"""Killed between two durable steps, or short of one of them: what follows is never wider than what was said before."""

import hashlib
import json
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.opt_outs import Signal, SignalKind, Signals
from opanel_agent.core.errors import Storage
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate.reporting import crash

REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "72h"
"""
AT_ONCE = YES.replace(b"72h", b"0h")
HOUR = 3600


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, _receipt)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def reports(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.purpose == "usage_statistics"]


def kinds(agent: Simulated) -> list[str]:
    return [entry["kind"] for entry in agent.run("history")["result"]["entries"]]


def stop(agent: Simulated, step: str, path: Path) -> None:
    """The process is killed at this step of this file, once."""

    def fault(at: str, of: Path) -> None:
        if (at, of) == (step, path):
            agent.files.fault = None
            raise Stopped

    agent.files.fault = fault


def test_an_older_list_is_refused_though_the_memory_of_the_newer_was_lost(agent: Simulated) -> None:
    agent.publish({})
    agent.run("refresh")
    agent.clock.advance(HOUR)
    agent.publish({})
    newer = signing.status_list({}, iat=agent.clock.wall_s, exp=agent.clock.wall_s + 7 * signing.DAY)

    def once_the_list_is_kept(at: str, of: Path) -> None:
        if (at, of) == ("create", PATHS.state) and agent.files.durable(PATHS.status_list) == newer:
            agent.files.fault = None
            raise Stopped

    agent.files.fault = once_the_list_is_kept
    with pytest.raises(Stopped):
        agent.run("refresh")
    agent.files.crash()
    assert agent.files.durable(PATHS.status_list) == newer
    back = signing.status_list({}, iat=agent.clock.wall_s - HOUR, exp=agent.clock.wall_s + 7 * signing.DAY)
    agent.network.serve(signing.MIRROR + "/v1/status.jwt", back, "application/statuslist+jwt")
    agent.run("refresh")
    assert agent.files.durable(PATHS.status_list) == newer


def test_a_report_that_was_answered_is_not_sent_again(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, AT_ONCE)

    def killed(step: str, path: Path) -> None:
        if step == "unlink" and path.parent == PATHS.held:
            agent.files.fault = None
            raise Stopped

    agent.files.fault = killed
    with pytest.raises(Stopped):
        agent.change_consent()
    agent.files.crash()
    assert len(reports(agent)) == 1
    agent.clock.advance(7 * HOUR)
    agent.run("tick")
    assert len(reports(agent)) == 1
    assert agent.run("held")["result"]["held"] == []
    assert {"RequestAnswered", "ReceiptKept"} <= set(kinds(agent))
    assert agent.files.names(PATHS.receipts) == (f"{reports(agent)[0].id}.jwt",)


def cut_short(agent: Simulated) -> None:
    """The pass ends while the first report is under way."""

    def ended(_sealed: Sealed) -> Reply:
        raise Stopped

    agent.files.put(PATHS.consent, AT_ONCE)
    agent.network.on("POST", REPORTS, ended)
    with pytest.raises(Stopped):
        agent.change_consent()
    agent.files.crash()


def test_a_no_that_ends_a_request_under_way_is_a_withdrawal(agent: Simulated) -> None:
    """It ends the pass in which the consent was first seen, so nothing of that pass is written after the request began."""
    cut_short(agent)
    (cut,) = (sealed.id for sealed in reports(agent))
    agent.network.on("POST", REPORTS, _receipt)
    agent.files.put(PATHS.consent, AT_ONCE.replace(b"true", b"false"))
    withdrawal = agent.change_consent()["result"]["consent"]
    assert withdrawal["purged"] == []  # it may have left, and is named as that alone
    assert [each["id"] for each in withdrawal["gone"]] == [cut]
    assert "ConsentWithdrawn" in kinds(agent)
    agent.files.put(PATHS.consent, AT_ONCE)
    agent.change_consent()
    assert agent.run("held")["result"]["held"] == []
    agent.change_consent()
    assert len(reports(agent)) == 1


def test_a_report_that_was_cut_is_the_next_one(agent: Simulated) -> None:
    """It is not made twice: what was under way when the pass ended is tried again, and then a week passes."""
    cut_short(agent)
    agent.network.on("POST", REPORTS, _receipt)
    for _ in range(3):
        agent.change_consent()
    assert len({sealed.id for sealed in reports(agent)}) == 1


@pytest.mark.parametrize("intent", ["noticed", "review"])
def test_what_could_not_be_recorded_lets_nothing_leave_in_that_pass(agent: Simulated, intent: str) -> None:
    """The disk was full for a moment when an opt-out had gone: the hold has not begun anew, so nobody may count on it."""
    agent.files.put(PATHS.consent, YES)
    agent.change_consent()
    for _ in range(3):
        agent.clock.advance(23 * HOUR)
        agent.run("tick")
    agent.opt_outs.set_signals(do_not_track=True)
    agent.run("tick")
    agent.clock.advance(4 * HOUR)
    agent.opt_outs.set_signals()

    def full(step: str, path: Path) -> None:
        if step == "write" and path == PATHS.ledger:
            agent.files.fault = None
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    agent.files.fault = full
    assert agent.run(intent, lang="tr")["ok"]
    agent.run("tick")
    assert reports(agent) == []
    assert "HoldsRestarted" in kinds(agent)


def test_any_number_of_signals_is_recorded_once(agent: Simulated) -> None:
    many = tuple(
        Signal(kind=SignalKind.FILE, what=f"{number:03}.conf", place="/etc/environment.d") for number in range(200)
    )
    agent.opt_outs.signals = Signals(do_not_track=many)
    for _ in range(3):
        agent.run("tick")
    before = len(kinds(agent))
    for _ in range(5):
        agent.run("tick")
    assert len(kinds(agent)) == before


def test_a_confirmation_is_for_its_own_command(agent: Simulated) -> None:
    agent.install(signing.lines(signing.delegation(), signing.license(iat=signing.NOW - HOUR)))
    shown = agent.run("activate", preview=True)["result"]
    for intent, extra in (
        ("release", {}),
        ("exchange", {"key": signing.KEY}),
        ("rights", {"kind": "access", "text": "x"}),
    ):
        frame = agent.run(intent, confirm=shown["id"], **extra)
        assert frame["error"]["detail"] == "held_unknown", frame
    assert agent.network.sent == []


def crashed() -> Simulated:
    """A crash is noted, and crash reports are allowed: the next pass makes a report of it, to be looked at."""
    agent = Simulated()
    allowed = YES.replace(b"usage_statistics", b"crash_reports").replace(b'hold = "72h"', b"review = true")
    agent.files.put(PATHS.consent, allowed)
    agent.run("tick")
    crash.note(agent.files, PATHS, ArithmeticError())
    return agent


def steps_of_a_pass() -> int:
    agent, steps = crashed(), []
    agent.files.fault = lambda step, path: steps.append((step, path))
    agent.run("tick")
    return len(steps)


@pytest.mark.parametrize("last", range(steps_of_a_pass()))
def test_a_crash_becomes_one_report_wherever_a_pass_is_killed(last: int) -> None:
    agent, left = crashed(), iter(range(last))

    def killed(_: str, __: Path) -> None:
        if next(left, None) is None:
            agent.files.fault = None
            raise Stopped

    agent.files.fault = killed
    with pytest.raises(Stopped):
        agent.run("tick")
    agent.files.crash()
    agent.run("tick")
    (held,) = agent.run("held")["result"]["held"]
    assert held["purpose"] == "crash_reports"
    assert "RequestSealed" in kinds(agent)
    secret = agent.files.read(PATHS.erasure / held["id"], max_bytes=32)
    shown = agent.run("held", action="show", id=held["id"])["result"]["body"]
    assert secret is not None
    assert json.loads(shown)["erasure"] == hashlib.sha256(secret).hexdigest()


def test_another_crash_is_another_report() -> None:
    agent = crashed()
    agent.run("tick")
    crash.note(agent.files, PATHS, LookupError())
    agent.run("tick")
    assert len(agent.run("held")["result"]["held"]) == 2
