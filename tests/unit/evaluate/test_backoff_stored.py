"""A pass, a fetch or a courier that dies counts as a failure: when it is tried again is stored before anything is sent."""

from collections.abc import Callable

import pytest

from fixtures import signing
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import ADVISORIES_URL, PATHS, ROOTS_URL, STATUS_URL, Simulated
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.system.storage import resources

HOUR = 3600
USAGE_URL = f"{signing.ENDPOINT}/v1/reports/usage_statistics"
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
YES = (
    f'schema = 1\nnotice = "{resources.installed_notice()}"\n[purposes.usage_statistics]\nallow = true\nhold = "0h"\n'
).encode()


def dies(_: Sealed) -> Reply:
    """The whole pass is killed while it waits for this answer: out of memory, 120 s over, the power."""
    raise Stopped


def asked(agent: Simulated, *urls: str) -> int:
    return sum(sealed.url in urls for sealed in agent.network.sent)


def at_next_pass(agent: Simulated, wait_s: int) -> int:
    """One pass after `wait_s`; returns in how many seconds the next is wanted, 0 where it was killed."""
    agent.clock.advance(wait_s)
    try:
        return int(agent.run("tick")["next_run_s"])
    except Stopped:
        agent.files.crash()
        return 0


def attempts_within(agent: Simulated, seconds: int, *urls: str) -> int:
    """How often it was asked within this time by passes as the daemon makes them: a minute after one that failed."""
    before, ends = asked(agent, *urls), agent.clock.boottime_s + seconds
    wait_s = 60
    while agent.clock.boottime_s + wait_s < ends:
        wait_s = at_next_pass(agent, wait_s) or 60
    return asked(agent, *urls) - before


@pytest.fixture
def agent() -> Simulated:
    agent = Simulated()
    agent.install(signing.lines(signing.delegation(), signing.license(activation=FREE)))
    agent.run("refresh")
    return agent


def test_a_check_that_kills_its_pass_is_made_again_as_after_a_failure(agent: Simulated) -> None:
    for url in (ROOTS_URL, STATUS_URL):
        agent.network.on("GET", url, dies)
    agent.clock.advance(40 * HOUR)  # due
    assert attempts_within(agent, 15 * 60, ROOTS_URL, STATUS_URL) == 1
    assert attempts_within(agent, 72 * HOUR, ROOTS_URL, STATUS_URL) <= 5
    agent.publish({})
    agent.clock.advance(40 * HOUR)
    agent.run("tick")
    assert agent.run("tick")["answer"]["last_check"]["failure"] is None


def test_advisories_that_kill_their_pass_are_asked_for_again_on_another_day(agent: Simulated) -> None:
    agent.network.on("GET", ADVISORIES_URL, dies)
    assert attempts_within(agent, 48 * HOUR, ADVISORIES_URL) in range(1, 5)


def courier_dies(_: Sealed) -> Reply:
    raise Bug(Reason.INTERNAL, "outlet_silent", program="courier")


@pytest.mark.parametrize("death", [dies, courier_dies])
def test_a_report_that_kills_its_pass_or_its_courier_waits_an_hour(
    agent: Simulated, death: Callable[[Sealed], Reply]
) -> None:
    agent.network.on("POST", USAGE_URL, death)
    agent.files.put(PATHS.consent, YES)
    agent.run("narrowed")
    attempts = attempts_within(agent, 24 * HOUR, USAGE_URL)
    assert 2 <= attempts <= 24
