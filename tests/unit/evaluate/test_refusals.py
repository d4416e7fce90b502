"""A refusal that the authority names reaches the administrator under that name, through the courier's reply."""

import pytest

from opanel_agent.core.codes import Code, Reason
from opanel_agent.core.errors import AgentError, NotYet, Unavailable, Untrusted
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.reply_errors import error_of
from opanel_agent.system import http


def failure(code: Code, detail: str) -> AgentError:
    """As evaluate reads it from the courier's frame."""
    told = error_of(Reply.decode(Reply(ok=False, code=str(code), detail=detail, status=409).encode()))
    assert told is not None
    return told


@pytest.mark.parametrize("name", sorted(set(http._PROBLEMS) - {"request_refused"}))
def test_a_refusal_by_name_is_final_and_keeps_its_code(name: str) -> None:
    error = failure(http._PROBLEMS[name], f"problem_{name}")
    kind = NotYet if name == "not_yet" else Untrusted
    assert (type(error), error.code, error.detail) == (kind, http._PROBLEMS[name], f"problem_{name}")


def test_any_other_refusal_may_pass() -> None:
    error = failure(Reason.SERVER_ERROR, "problem_request_refused")
    assert (type(error), error.code) == (Unavailable, Reason.SERVER_ERROR)
