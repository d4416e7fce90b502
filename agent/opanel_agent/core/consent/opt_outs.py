"""Defines an opt-out that was found: a file, a variable or a setting that asks not to be tracked, or not to connect.

Its existence is enough, whatever it contains, and its absence never grants
anything. These are values only: where opt-outs are looked for is
`system.consent.opt_outs` and `system.consent.consent_store`, what they deny is
`core.consent.gate`.
"""

from enum import StrEnum, unique
from typing import Final, NamedTuple

# Places that are no file: the variables of the process that decides, and of the
# command that asked it to.
PROCESS_ENVIRONMENT: Final = "the process environment"
COMMAND_ENVIRONMENT: Final = "the command's environment"


@unique
class SignalKind(StrEnum):
    """Names where an opt-out can stand."""

    FILE = "file"
    ENVIRONMENT = "environment"
    SETTING = "setting"
    # Withdrawn through the socket: `what` is the time, `place` an
    # `withdrawals.Origin`.
    WITHDRAWAL = "withdrawal"


class Signal(NamedTuple):
    """Holds an opt-out:

    `what` is the file or the assignment, `place` where it stands, `line`
    counted from 1.
    """

    kind: SignalKind
    what: str
    place: str
    line: int | None = None


class Signals(NamedTuple):
    """Holds every opt-out that was found, by what it asks for.

    Both empty: nothing was found.
    """

    do_not_track: tuple[Signal, ...] = ()
    offline: tuple[Signal, ...] = ()
