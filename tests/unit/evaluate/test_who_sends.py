"""Only the passage of time, and commands that say so, open a connection: every other intent in every state opens none."""

from collections.abc import Callable
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate.handlers import HANDLERS
from opanel_agent.evaluate.main import ROUTINES
from opanel_agent.evaluate.reporting import crash
from opanel_agent.system.storage.resources import installed_notice

YES = f"""schema = 1
notice = "{installed_notice()}"
[purposes.usage_statistics]
allow = true
hold = "0h"
[purposes.crash_reports]
allow = true
review = false
""".encode()
SENDS = {
    "tick": "time",
    "refresh": "license refresh",
    "activate": "license activate",
    "release": "license release",
    "exchange": "license install KEY",
    "rights": "data request",
}
QUIET: dict[str, dict[str, Any]] = {
    "start": {},
    "bundle": {"document": base64url(signing.bundle())},
    "remove": {},
    "narrowed": {},
    "withdraw": {"purpose": "usage_statistics"},
    "reset": {"preview": True},
    "preview": {"purpose": "usage_statistics"},
    "held": {"action": "list"},
    "sent": {},
    "purge": {},
    "history": {},
    "receipts": {},
    "review": {},
    "noticed": {"lang": "en"},
    "export": {},
}


def ready(agent: Simulated) -> None:
    """Everything is allowed, a report and a crash wait, nothing holds them, and the status list is due."""
    agent.files.put(PATHS.consent, YES)
    agent.install(signing.bundle())
    agent.run("narrowed")
    agent.run("preview", purpose="usage_statistics")
    crash.note(agent.files, PATHS, ArithmeticError())
    agent.clock.advance(40 * 3600)  # less than the gap after which nothing of before is reported


def withdrawing(agent: Simulated) -> None:
    """As `ready`, and one purpose has just been denied by hand."""
    ready(agent)
    agent.files.put(PATHS.consent, YES.replace(b"allow = true\nreview", b"allow = false\nreview"))


def opted_out(agent: Simulated) -> None:
    ready(agent)
    agent.opt_outs.set_signals(do_not_track=True)


STATES: dict[str, Callable[[Simulated], None]] = {
    "fresh": lambda _: None,
    "ready": ready,
    "withdrawing": withdrawing,
    "opted out": opted_out,
}


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    for name in ("usage_statistics", "crash_reports"):
        simulated.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{name}", _receipt)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def test_every_intent_is_known_to_send_or_not() -> None:
    assert {*SENDS, *QUIET} == {*HANDLERS, *ROUTINES}
    assert not {*SENDS} & {*QUIET}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("intent", QUIET)
def test_a_command_that_does_not_say_so_opens_no_connection(agent: Simulated, intent: str, state: str) -> None:
    STATES[state](agent)
    before = list(agent.network.sent)
    agent.run(intent, **QUIET[intent])
    assert agent.network.sent == before


def test_in_the_ready_state_time_sends(agent: Simulated) -> None:
    """Else the test above would prove nothing."""
    ready(agent)
    before = len(agent.network.sent)
    for _ in range(6):
        agent.clock.advance(1800)
        agent.run("tick")
    purposes = {sealed.purpose for sealed in agent.network.sent[before:]}
    assert purposes >= {"license_status", "usage_statistics", "crash_reports"}


def test_what_a_command_made_ready_goes_soon_with_a_pass_of_its_own(agent: Simulated) -> None:
    agent.run("tick")  # the advisories, so that nothing else is due
    agent.clock.advance(3600)
    agent.files.put(PATHS.consent, YES)
    frame = agent.run("narrowed")
    assert (frame["next_run_s"], [sealed for sealed in agent.network.sent if sealed.method == "POST"]) == (10, [])
    agent.clock.advance(frame["next_run_s"])
    agent.run("tick")
    assert [sealed.purpose for sealed in agent.network.sent if sealed.method == "POST"] == ["usage_statistics"]
