"""The assumed fleet is of values that a report can say, each group's shares are whole, and its figure is the entropy."""

import math

import pytest

from opanel_agent.core.reporting import fleet
from opanel_agent.core.reporting.fleet import ORDINARY, WHOLE
from opanel_agent.system.storage.resources import load_catalog

FIELDS = load_catalog().fields("usage_statistics")


def test_the_fleet_says_something_of_every_field_that_tells_something_about_a_server() -> None:
    named = [name for group in ORDINARY for name in group.split()]
    assert sorted(named) == sorted(name for name, field in FIELDS.items() if not field.drawn and not field.constant)


@pytest.mark.parametrize("group", sorted(ORDINARY))
def test_its_shares_are_of_permitted_values_and_add_up_to_the_whole(group: str) -> None:
    for values in ORDINARY[group]:
        row = dict(zip(group.split(), values.split(), strict=True))
        assert [name for name, value in row.items() if not FIELDS[name].admits(value)] == [], values
    assert sum(ORDINARY[group].values()) == WHOLE
    assert min(ORDINARY[group].values()) > 0


@pytest.mark.parametrize(
    ("shares", "bits"),
    [
        ({"a": {"x": 1000}}, 0.0),
        ({"a": {"x": 500, "y": 500}}, 1.0),
        ({"a": {"x": 500, "y": 250, "z": 250}}, 1.5),
        ({"a": {"x": 500, "y": 500}, "b": {"x": 250, "y": 250, "z": 250, "w": 250}}, 3.0),
    ],
)
def test_the_figure_is_shannons(shares: dict[str, dict[str, int]], bits: float) -> None:
    assert fleet.bits(shares) == pytest.approx(bits)


def test_an_ordinary_report_tells_far_less_than_the_most_that_one_can() -> None:
    assert 8 < fleet.bits(ORDINARY) < load_catalog().bits("usage_statistics") / 2
    for group, shares in ORDINARY.items():
        ways = math.prod(FIELDS[name].admitted() for name in group.split())
        assert fleet.bits({group: shares}) <= math.log2(ways), group


def test_what_singles_out_one_server_of_all_is_what_the_sentence_says() -> None:
    assert round(2**fleet.SINGLES_OUT_BITS / 1e9, 1) == 8.6
