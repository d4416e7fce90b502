"""Proves that a pass reads once what it shows, decides no more than it must, and that a question writes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.counters import CountedConsents, CountedOptOuts, counted_decisions
from fixtures.simulated.simulated_agent import PATHS, ROOT_FILE, Simulated
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage, Unreadable
from opanel_agent.evaluate import answer, decision, main
from opanel_agent.evaluate.consent import records
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.license import renew
from opanel_agent.evaluate.requests import quiet, request_records
from opanel_agent.system.storage import trust

YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "72h"
[purposes.crash_reports]
allow = false
"""
MAX_READINGS = 2
MAX_DECISIONS = 3


@pytest.fixture
def agent() -> Simulated:
    """An activated server with a license, a yes, and nothing due."""
    simulated = Simulated()
    simulated.files.put(PATHS.consent, YES)
    simulated.install(signing.bundle())
    simulated.run("refresh")
    simulated.clock.advance(60)
    simulated.run("tick")
    simulated.clock.advance(60)
    return simulated


def test_the_license_s_part_of_every_answer_is_kept_through_a_reboot(agent: Simulated) -> None:
    for intent in ("start", "tick", "remove"):
        license_ = agent.run(intent)["answer"]["license"]
        kept = agent.files.entry(PATHS.last_license)
        assert kept is not None
        assert json.loads(kept.data) == license_
    assert license_["state"] == "unlicensed"


@pytest.mark.parametrize("consent", [YES, None], ids=["allowed", "never asked"])
def test_a_tick_with_nothing_due_reads_consent_twice_at_most_and_decides_three_times_at_most(
    agent: Simulated, consent: bytes | None
) -> None:
    if consent is None:
        agent.files.take_away(PATHS.consent)
        agent.run("tick")
        agent.clock.advance(60)
    consents, opt_outs = CountedConsents(agent.world.consents), CountedOptOuts(agent.opt_outs)
    agent.world = replace(agent.world, consents=consents, opt_outs=opt_outs)
    sent = len(agent.network.sent)
    with counted_decisions() as decisions:
        agent.run("tick")
    assert len(agent.network.sent) == sent, "something was due"
    assert (consents.readings, opt_outs.readings, decisions.count) <= (MAX_READINGS, MAX_READINGS, MAX_DECISIONS)
    assert consents.readings <= MAX_READINGS
    assert opt_outs.readings <= MAX_READINGS
    assert decisions.count <= MAX_DECISIONS


def test_settings_that_end_while_they_are_read_are_kept_as_they_were_judged(agent: Simulated) -> None:
    laid = agent.files.entry(PATHS.settings)
    assert laid is not None
    text = laid.data + b'language = "tr"\n'
    before = agent.run("tick")["answer"]["license"]["state"]
    agent.files.put(PATHS.settings, text)
    readings = 0

    def edited_after_the_first(step: str, path: Path) -> None:
        nonlocal readings
        if (step, path) == ("read", PATHS.settings):
            readings += 1
            if readings > 1:
                raise Storage(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")

    agent.files.fault = edited_after_the_first
    frame = agent.run("tick")
    kept = agent.files.entry(PATHS.last_settings)
    assert (frame["answer"]["license"]["state"], frame["error"], readings) == (before, None, 1)
    assert kept is not None
    assert kept.data == text


@pytest.mark.parametrize("copy", [b"", b"\xff", b"schema = 2\n", b"schema = 1\nlanguage = 7\n"])
def test_refused_settings_beside_a_damaged_copy_leave_the_license_judged(agent: Simulated, copy: bytes) -> None:
    before = agent.run("tick")["answer"]["license"]["state"]
    root = agent.files.entry(ROOT_FILE)
    assert root is not None
    agent.files.put(trust.PACKAGED, root.data)
    agent.files.put(PATHS.settings, b"schema = 1\nmirors = []\n")
    agent.files.put(PATHS.last_settings, copy)
    frame = agent.run("tick")
    assert frame["answer"]["license"]["state"] == before
    assert agent.files.entry(PATHS.last_settings) is None
    assert agent.files.entry(PATHS.last_settings.with_name("agent.toml.broken")) is not None


@pytest.mark.parametrize("folder", [PATHS.held, PATHS.sent], ids=lambda folder: folder.name)
@pytest.mark.parametrize("intent", ["tick", "start"])
def test_no_folder_of_the_reports_that_fails_in_a_pass_keeps_the_license_from_being_judged(
    agent: Simulated, folder: Path, intent: str
) -> None:
    before = agent.run(intent)["answer"]["license"]["state"]
    for failing in range(1, 100):
        listed = 0

        def fails(step: str, path: Path, failing: int = failing) -> None:
            nonlocal listed
            if (step, path) == ("names", folder):
                listed += 1
                if listed == failing:
                    raise Unreadable(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")

        agent.files.fault = fails
        frame = agent.run(intent)
        assert (frame["answer"]["license"]["state"], frame["error"]) == (before, None), failing
        if listed < failing:
            break
    assert 3 < failing < 100


READING_STEPS = {"read", "names", "exists", "lock", "size"}
QUESTIONS: dict[str, Callable[[PassContext], object]] = {
    "decision": lambda current: decision.decide(current.inputs, current.state),
    "permissions": lambda current: current.gate.permissions(),
    "fresh permissions": lambda current: current.read_gate().permissions(),
    "outlook": lambda current: main.outlook(current, current.gate.permissions()),
    "answer": lambda current: answer.compose(
        current.inputs,
        current.state,
        decision.decide(current.inputs, current.state).verdict,
        current.gate.permissions(),
        main.outlook(current, current.gate.permissions()),
    ),
    "sleep": lambda current: main.sleep_s(
        decision.decide(current.inputs, current.state).verdict,
        main.outlook(current, current.gate.permissions()),
        current.schedule,
        current.now,
    ),
    "renewal plan": lambda current: renew.current_plan(current.inputs, current.state),
    "held reports": lambda current: current.outbox.held_reports(),
    "sent requests": lambda current: records.sent(current.outbox, Members({}, "intent")),
    "newest requests": lambda current: request_records.newest_json(current.outbox),
    "interrupted": lambda current: current.outbox.interrupted(),
    "history": lambda current: records.history(current.ledger),
    "receipts": lambda current: records.receipts(
        current.ports.files, current.ports.paths, current.inputs.first_root, current.rights
    ),
    "owed": lambda current: current.rights.owed(),
    "reports sent": lambda current: current.rights.reports_sent(),
    "reports unerased": lambda current: current.rights.reports_unerased(),
    "quiet": lambda current: quiet.quiet_permits(current.state, "license_renewal", current.now),
}


@pytest.mark.parametrize("spoilt", [None, b"junk"], ids=["whole", "spoilt"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_writes_nothing(agent: Simulated, question: str, spoilt: bytes | None) -> None:
    """Neither to the state nor to a file, and no random byte is drawn; not even where a file of the state is spoilt."""
    current = begin_pass(agent.world)
    if spoilt is not None:
        for path in (PATHS.state_dir / "rights.json", PATHS.held / "renewal-0123456789abcdef", PATHS.advisories):
            agent.files.put(path, spoilt)
    before = (current.state.encode(), current.inputs, current.schedule, agent.files.snapshot())
    drawn, agent.files.steps[:] = agent.random.drawn, []
    QUESTIONS[question](current)
    assert (current.state.encode(), current.inputs, current.schedule, agent.files.snapshot()) == before
    assert {step for step, _ in agent.files.steps} <= READING_STEPS
    assert agent.random.drawn == drawn
