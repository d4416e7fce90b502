"""A fleet of servers lives through days, a mirror's outages and a power cut: no minute has three times an ordinary one."""

import heapq
import random
from collections import Counter
from dataclasses import replace

import pytest

from opanel_agent.core.license import schedule
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.units import DAY_S, HOUR_S

pytestmark = pytest.mark.slow  # days of sixty thousand servers

SERVERS = 60_000
ORDINARY = SERVERS / 1440
BEGIN = 1_800_000_000 // DAY_S * DAY_S


def requests_by_minute(
    *, days: int, outage: tuple[int, int] = (0, 0), power_cut: tuple[int, int] = (0, 0), seed: int = 7
) -> Counter[int]:
    """How many servers ask in each minute. Moments are seconds from the beginning; all start again after a power cut."""
    rnd = random.Random(seed)  # noqa: S311 - the same fleet in every run
    plans = [schedule.plan_first(int(rnd.random() * DAY_S) - DAY_S + BEGIN, rnd.random()) for _ in range(SERVERS)]
    queue = [(plan.next_check_s, server) for server, plan in enumerate(plans)]
    heapq.heapify(queue)
    asked: Counter[int] = Counter()
    dark, lit = (BEGIN + moment for moment in power_cut)
    while queue[0][0] < BEGIN + days * DAY_S:
        now, server = heapq.heappop(queue)
        if dark <= now < lit:
            plans[server] = schedule.at_start(plans[server], lit, rnd.random(), wall_s=lit)
        else:
            asked[(now - BEGIN) // 60] += 1
            plans[server] = after(plans[server], now, rnd, failed=outage[0] <= now - BEGIN < outage[1])
        heapq.heappush(queue, (plans[server].next_check_s, server))
    return asked


def after(plan: Schedule, now: int, rnd: random.Random, *, failed: bool) -> Schedule:
    if failed:
        return schedule.after_failure(plan, now, rnd.random())
    return schedule.after_success(plan, now, rnd.random(), sighting=False)


def peak(asked: Counter[int], from_s: int, to_s: int) -> float:
    """The most of any minute, as a multiple of an ordinary one."""
    return max(asked[minute] for minute in range(from_s // 60, to_s // 60)) / ORDINARY


def test_ordinary_days_are_flat() -> None:
    assert peak(requests_by_minute(days=5), DAY_S, 5 * DAY_S) < 1.8  # which is chance, at 42 a minute


@pytest.mark.parametrize("hours", [6, 24, pytest.param(24 * 14, marks=[pytest.mark.slow, pytest.mark.once])])
def test_no_outage_makes_a_storm(hours: int) -> None:
    outage = (2 * DAY_S + 6 * HOUR_S, 2 * DAY_S + (6 + hours) * HOUR_S)
    asked = requests_by_minute(days=5 + hours // 24, outage=outage)
    assert peak(asked, *outage) <= 3
    assert peak(asked, outage[1], outage[1] + 2 * DAY_S) <= 3


def test_a_power_cut_of_an_hour_makes_no_storm() -> None:
    cut = (2 * DAY_S, 2 * DAY_S + HOUR_S)
    assert peak(requests_by_minute(days=4, power_cut=cut), cut[1], cut[1] + DAY_S) <= 3


def test_a_fleet_of_impatient_servers_would_be_seen() -> None:
    """The figure is no constant: with a retry each minute the same count is far above three."""
    rnd = random.Random(1)  # noqa: S311 - as above
    plan = replace(schedule.plan_first(BEGIN, 0.0), watching=True)
    waits = [schedule.after_failure(plan, BEGIN, rnd.random()).next_check_s - BEGIN for _ in range(100)]
    assert DAY_S / (sum(waits) / len(waits)) > 3
