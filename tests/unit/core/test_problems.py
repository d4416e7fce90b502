"""The table of refusals: one row for each name, code and sentence, and nothing of the daemon's own in it."""

import pytest

from opanel_agent.core import problems
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import NotYet, Unavailable, Untrusted
from opanel_agent.core.problems import REFUSALS, REQUEST_REFUSED, Problem
from opanel_agent.daemon import api


def test_names_and_codes_are_unique_and_of_the_authority_alone() -> None:
    names = {problem.name for problem in REFUSALS}
    assert len(names) == len({problem.code for problem in REFUSALS}) == len(REFUSALS)
    assert not names & set(api.PROBLEMS)


@pytest.mark.parametrize("problem", REFUSALS, ids=lambda problem: str(problem.name))
def test_a_row_is_found_by_code_type_and_detail(problem: Problem) -> None:
    assert problems.by_code(problem.code) is problem
    assert problems.by_type(problems.type_of(problem.name)) is problem
    assert problems.by_detail(problem.detail) is problem
    assert 400 <= problem.status < 500
    assert problem.error in {NotYet, Unavailable, Untrusted}


def test_what_is_not_in_the_table() -> None:
    assert problems.by_code(Reason.HELD) is problems.by_code(Fault.BUSY) is REQUEST_REFUSED
    for type_ in ("revoked", "urn:opanel:problem:", "urn:opanel:problem:of_tomorrow", "about:blank", None, 7, ["x"]):
        assert problems.by_type(type_) is None
    assert problems.by_detail("revoked") is None
