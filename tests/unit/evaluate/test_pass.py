"""Proves that a pass reads once what it shows, decides no more than it must, and that a question writes nothing."""

from dataclasses import replace

import pytest

from fixtures import signing
from fixtures.counters import CountedConsents, CountedOptOuts, counted_decisions
from fixtures.simulated_agent import PATHS, Simulated

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


def test_a_tick_with_nothing_due_reads_consent_twice_at_most_and_decides_three_times_at_most(agent: Simulated) -> None:
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
