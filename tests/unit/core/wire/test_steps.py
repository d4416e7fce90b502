"""A trace holds what was passed and the first, innermost step that was not."""

import pytest

from opanel_agent.core.wire.steps import RequestTrace, Step


def test_a_step_without_a_failure_is_passed() -> None:
    trace = RequestTrace()
    for step in (Step.DNS, Step.TCP):
        with trace.step(step):
            pass
    assert (trace.passed, trace.failed) == ([Step.DNS, Step.TCP], None)


def test_the_innermost_failure_counts() -> None:
    trace = RequestTrace()
    with pytest.raises(OSError, match="x"), trace.step(Step.PROXY), trace.step(Step.TLS):
        raise OSError("x")
    assert (trace.passed, trace.failed) == ([], Step.TLS)
