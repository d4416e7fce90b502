"""An answer that was kept is installed, whenever the pass was killed or the disk full: nobody asks a second time for it."""

import contextlib
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from properties.test_simulation import activation_reply

ACTIVATIONS = signing.ENDPOINT + "/v1/activations"
BUNDLES = signing.ENDPOINT + "/v1/bundles"


def prepared(wanted: str) -> tuple[Simulated, dict[str, Any]]:
    """A server that has shown the request; and what confirms it."""
    agent = Simulated()
    agent.network.on("POST", ACTIVATIONS, activation_reply)
    agent.network.on("POST", BUNDLES, ok(signing.bundle(activated=False), "application/jose"))
    if wanted == "activate":
        agent.install(signing.bundle(activated=False))
    key = {"key": signing.KEY} if wanted == "exchange" else {}
    shown = agent.run(wanted, preview=True, **key)
    return agent, {"confirm": shown["result"]["id"], **key}


def is_installed(agent: Simulated, wanted: str) -> bool:
    text = agent.files.read(PATHS.bundle, max_bytes=10**6) or b""
    return text.count(b"\n") == (3 if wanted == "activate" else 2)


def posts(agent: Simulated) -> int:
    return sum(sealed.method == "POST" for sealed in agent.network.sent)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["activate", "exchange"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_pass_that_is_killed_at_any_step_loses_no_answer_that_was_kept(wanted: str, *, keep: bool) -> None:
    agent, confirmed = prepared(wanted)
    before = len(agent.files.steps)
    assert agent.run(wanted, **confirmed)["ok"]
    steps = len(agent.files.steps) - before
    assert is_installed(agent, wanted)
    taken_up = 0
    for step in range(0, steps, 2):
        agent, confirmed = prepared(wanted)
        agent.files.stop_at(step)
        with contextlib.suppress(Stopped):
            agent.run(wanted, **confirmed)
        agent.files.crash(keep=keep)
        kept = agent.files.exists(PATHS.sent / (confirmed["confirm"] + ".reply"))
        asked = posts(agent)
        frame = agent.run("tick")
        assert frame["ok"]
        assert posts(agent) == asked, "taken up without asking again"
        if kept:
            assert is_installed(agent, wanted), step
            assert agent.files.names(PATHS.held) == (), step
            taken_up += 1
    assert taken_up


@pytest.mark.parametrize("wanted", ["activate", "exchange"])
def test_a_disk_that_was_full_takes_the_answer_later(wanted: str) -> None:
    agent, confirmed = prepared(wanted)

    def full(step: str, path: Any) -> None:
        if step == "create" and path == PATHS.bundle:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    agent.files.fault = full
    assert agent.run(wanted, **confirmed)["error"]["code"] == "disk_full"
    frame = agent.run("tick")
    assert frame["answer"]["license"]["reasons"][-1] == "state_not_saved"
    assert not is_installed(agent, wanted)
    agent.files.fault = None
    agent.run("tick")
    assert is_installed(agent, wanted)
    assert (posts(agent), agent.files.names(PATHS.held)) == (1, ())


def test_a_kept_answer_that_is_refused_is_held_no_more() -> None:
    agent, confirmed = prepared("activate")
    agent.network.on("POST", ACTIVATIONS, ok(signing.activation(), "application/jose"))  # of another key
    reply = PATHS.sent / (confirmed["confirm"] + ".reply")

    def killed(step: str, path: Any) -> None:
        if step == "write" and path == PATHS.ledger and agent.files.exists(reply):
            raise Stopped

    agent.files.fault = killed
    with pytest.raises(Stopped):
        agent.run("activate", **confirmed)
    agent.files.fault = None
    agent.files.crash()
    assert agent.files.names(PATHS.held) == (confirmed["confirm"],)
    assert agent.run("tick")["ok"]
    assert agent.files.names(PATHS.held) == ()
    assert not is_installed(agent, "activate")
