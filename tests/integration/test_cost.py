"""What README.md says that an installed agent costs holds: its memory, and the bytes and requests of an ordinary day.

CPU is a time, so that figure is tests/bench's alone.
"""

import re
import sys
from pathlib import Path
from typing import Final

import pytest

from bench import cost
from opanel_agent.core.consent.purposes import FIXED_GETS

README: Final = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
DAYS: Final = 3
# What a public certificate authority's chain has more than the one made here: RSA keys and two intermediates.
CHAIN_BYTES: Final = 4_000

pytestmark = [pytest.mark.slow, pytest.mark.once]


def figure(unit: str, what: str) -> float:
    """The most that README.md says, in its table of costs: `| memory | at most 20 MB … |`."""
    found = re.search(rf"^\| {what} \| at most ([\d.]+) {unit}\b", README, re.MULTILINE)
    assert found, what
    return float(found[1])


def test_what_the_readme_says_of_memory_and_of_bytes_a_day_holds() -> None:
    with cost.server(Path(sys.executable)) as (home, mirror, python, packages):
        rss_kb, _ = cost.weigh(python, home)
        lived = cost.lived(python, home, mirror, cost.lay_clock(home.place, packages), DAYS)
    assert rss_kb / 1024 <= figure("MB", "memory")
    assert set(lived.asked) <= {f"GET {get.path}" for get in FIXED_GETS.values()}
    assert 1 <= len(lived.asked) <= 3 * DAYS + 3  # some time on each day, so one more or less in a few
    bytes_a_day = (lived.sent + lived.received + CHAIN_BYTES * len(lived.asked)) / DAYS
    assert bytes_a_day / 1000 <= figure("kB", "network")
