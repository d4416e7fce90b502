"""An opt-out of the shell that a command is typed in narrows the pass that the command starts, and nothing after it."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.consent.opt_outs import COMMAND_ENVIRONMENT
from opanel_agent.system.storage.resources import installed_notice

SHELL = ["DO_NOT_TRACK=1"]
CONSENT = f"""
schema = 1
notice = "{installed_notice()}"
[purposes.usage_statistics]
allow = true
hold = "24h"
"""


@pytest.fixture
def agent() -> Simulated:
    """Installed, and with every consent given: whatever the shell did not forbid would leave."""
    agent = Simulated()
    agent.files.put(PATHS.consent, CONSENT.encode())
    agent.install(signing.bundle(activated=False))
    return agent


def posted(agent: Simulated) -> list[str]:
    return [sealed.url for sealed in agent.network.sent if sealed.method == "POST"]


def places(signals: Any) -> list[str]:
    return [each["place"] for each in signals]


@pytest.mark.parametrize("intent", ["activate", "release"])
def test_a_command_that_sends_is_written_out_and_says_why(agent: Simulated, intent: str) -> None:
    frame = agent.run(intent, do_not_track=SHELL)
    assert frame["ok"] is True
    assert frame["result"]["sent"] is False
    assert places(frame["result"]["why"]) == [COMMAND_ENVIRONMENT]
    assert posted(agent) == []


def test_a_report_that_is_ready_does_not_leave_in_that_pass(agent: Simulated) -> None:
    agent.clock.advance(7 * signing.DAY)
    agent.publish({})
    agent.run("narrowed", do_not_track=SHELL)
    assert posted(agent) == []


def test_no_trace_of_the_shell_is_left(agent: Simulated) -> None:
    answer = agent.run("refresh", do_not_track=SHELL)["answer"]
    assert answer["consent"]["do_not_track"] == []
    kinds = [entry["kind"] for entry in agent.run("history")["result"]["entries"]]
    assert "OptOutSeen" not in kinds


@pytest.mark.parametrize("assignments", ["DO_NOT_TRACK=1", [1], [], ["x" * 65], ["a\u202e"]])
def test_what_is_no_list_of_assignments_still_narrows(agent: Simulated, assignments: Any) -> None:
    """Unclear is a no: what was meant to forbid is never dropped."""
    frame = agent.run("activate", do_not_track=assignments)
    assert frame["ok"] is False or frame["result"]["sent"] is False
    assert posted(agent) == []
