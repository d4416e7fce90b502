"""Each kind of life stays within its bound: an honest server is never worse off, and a cheat gains no more than is told."""

import pytest

from opanel_agent.core.license.states import State
from properties import lives
from properties.lives import KINDS, Kind, Life, Row

pytestmark = pytest.mark.slow  # weeks of simulated lives

BY_NAME = {kind.live.__name__: kind for kind in KINDS}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_kind_of_life_stays_within_its_bound(name: str) -> None:
    found = lives.row(BY_NAME[name], range(1, 2))
    assert found.holds, found


@pytest.mark.once  # 6 more lives of each kind are the same on every interpreter
@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_many_lives_of_a_kind_stay_within_its_bound(name: str) -> None:
    found = lives.row(BY_NAME[name], range(100, 106))
    assert found.holds, found


def test_a_bound_can_be_broken() -> None:
    honest, cheat = Kind(lives.lost_files, worst=State.ACTIVE), Kind(lives.never_activates, gain_days=3)
    assert not Row(honest, 1, State.GRACE, None).holds
    assert not Row(cheat, 1, None, 4).holds
    assert Row(honest, 1, State.ACTIVE, None).holds
    assert Row(cheat, 1, None, 3).holds


def test_an_honest_life_that_is_suspended_is_seen() -> None:
    """The table notes what the panel is told."""

    def suspended(life: Life) -> None:
        lives.lost_files(life)
        life.entries = {100: 2}
        life.days(3)

    assert not lives.row(Kind(suspended, worst=State.ACTIVE), range(1, 2)).holds
