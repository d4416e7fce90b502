"""Lets the opt-outs of the shell that a command was typed in narrow the pass that the command started.

The daemon has an environment of its own, so the command passes its opt-outs along with the intent. They can only narrow,
and they hold for that one pass: the answer that is served from then on and the ledger have no trace of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.commands import SIGNALS
from opanel_agent.core.consent.opt_outs import COMMAND_ENVIRONMENT, Signal, SignalKind, Signals
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.values import replace
from opanel_agent.evaluate.context import PassContext
from opanel_agent.system.consent.opt_outs import OptOuts

MAX_ASSIGNMENT: Final = 64


def read(intent: Members) -> tuple[Signal, ...]:
    """Returns the opt-outs of the command that asked. What is no list of assignments is one all the same: it narrows."""
    if not intent.has(SIGNALS):
        return ()
    try:
        assignments = sorted(intent.texts(SIGNALS, max_length=MAX_ASSIGNMENT))
    except Untrusted:
        assignments = []
    return tuple(
        Signal(kind=SignalKind.ENVIRONMENT, what=assignment, place=COMMAND_ENVIRONMENT)
        for assignment in assignments or (SIGNALS,)
    )


@contextmanager
def narrowed(context: PassContext, signals: tuple[Signal, ...]) -> Iterator[None]:
    """Lets every decision within see these opt-outs beside those of the machine. After it, read afresh what is shown."""
    if not signals:
        yield
        return
    ports = context.ports
    context.ports = replace(ports, opt_outs=_WithSignals(ports.opt_outs, signals))
    context.refresh()
    try:
        yield
    finally:
        context.ports = ports
        context.refresh()


class _WithSignals:
    """The opt-outs of the machine and those of a command."""

    def __init__(self, machine: OptOuts, signals: tuple[Signal, ...]) -> None:
        self._machine = machine
        self._signals = signals

    def read(self) -> Signals:
        seen = self._machine.read()
        return seen._replace(do_not_track=(*seen.do_not_track, *self._signals))
