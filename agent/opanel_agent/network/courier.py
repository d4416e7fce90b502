"""Sends one sealed request if the gate permits it by this process's own reading: the courier process.

Evaluate has already decided; the courier decides again by the same function from its own reading, immediately before
sending, so that a "no" said in between counts. It never retries: when to try again is evaluate's decision. It cannot see
who gave a command, and asks about everything else.
"""

from typing import Final

from opanel_agent.core.errors import AgentError
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import MAX_BODY_BYTES, MAX_LINE_BYTES, Reply, Sealed
from opanel_agent.network import gate_inputs
from opanel_agent.network.fetch import WHOLE_S, NetworkInputs, refusal, serve
from opanel_agent.system.http import limits_for
from opanel_agent.system.storage import trust

MAX_FRAME_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_BODY_BYTES


def answer(frame: bytes, reading: NetworkInputs) -> Reply:
    """Returns the reply to one frame. Total: every failure is a reply with its code."""
    try:
        return _send(Sealed.decode(frame), reading)
    except AgentError as error:
        return refusal(error)


def _send(sealed: Sealed, reading: NetworkInputs) -> Reply:
    root = trust.shared_root(reading.files, reading.paths, reading.settings)
    asked = gate_inputs.view_request(sealed, reading.catalog, reading.clock.read_wall())
    reading.sources(root).require(sealed.purpose, request=asked, commanded=True)
    return reading.transport.send(sealed, replace(limits_for(sealed), whole_s=WHOLE_S))


def main() -> int:
    """Runs the process `opanel-agent courier`; returns its exit status, which is 0 whatever the reply says."""
    return serve("courier", MAX_FRAME_BYTES, answer)
