"""A refusal that the authority names reaches the administrator under that name, through the courier's reply."""

import pytest

from opanel_agent.core.codes import Code, Reason
from opanel_agent.core.errors import AgentError, NotYet, Unavailable, Untrusted
from opanel_agent.core.problems import REFUSALS, REQUEST_REFUSED, Problem
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.requests.reply_errors import error_of


def failure(code: Code, detail: str) -> AgentError:
    """As evaluate reads it from the courier's frame."""
    error = error_of(Reply.decode(Reply(ok=False, code=str(code), detail=detail, status=409).encode()))
    assert error is not None
    return error


@pytest.mark.parametrize("problem", REFUSALS, ids=lambda problem: str(problem.name))
def test_a_refusal_by_name_is_final_and_keeps_its_code(problem: Problem) -> None:
    if problem is not REQUEST_REFUSED:
        error = failure(problem.code, problem.detail)
        assert (type(error), error.code, error.detail) == (problem.error, problem.code, problem.detail)
        assert problem.error in {NotYet, Untrusted}


@pytest.mark.parametrize("detail", ["revoked", "problem_", "problem_problem_revoked", "problem_of_tomorrow"])
def test_what_only_resembles_the_name_of_a_problem_is_none(detail: str) -> None:
    assert type(failure(Reason.SERVER_ERROR, detail)) is Unavailable


def test_any_other_refusal_may_pass() -> None:
    error = failure(Reason.SERVER_ERROR, "problem_request_refused")
    assert (type(error), error.code) == (Unavailable, Reason.SERVER_ERROR)
