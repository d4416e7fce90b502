"""Keeps runs of different purposes 10 to 60 minutes apart, so that the wire does not show that they come from one server."""

from typing import Final

from opanel_agent.core.units import HOUR_S, MINUTE_S
from opanel_agent.evaluate.storage.state import AgentState

QUIET_MIN_S: Final = 10 * MINUTE_S
QUIET_MAX_S: Final = HOUR_S


def quiet_permits(state: AgentState, purpose: str, now: int) -> bool:
    """Returns whether a run for this purpose may begin: no run of another purpose was made a short while ago."""
    until = state.quiet_until
    return until is None or now >= until or state.quiet_but == purpose


def begin_quiet(state: AgentState, purpose: str, now: int, draw: float) -> None:
    """Keeps other purposes away from now on. `draw` in [0, 1) chooses for how long."""
    state.quiet_until = now + QUIET_MIN_S + int(draw * (QUIET_MAX_S - QUIET_MIN_S))
    state.quiet_but = purpose
