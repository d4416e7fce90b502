"""Signals: an opt-out that was found somewhere.

Existence is enough, and its absence never grants anything.

Values only. Where they are looked for is `system.consent.opt_outs` and
`system.consent.consent_store`; what they deny is `core.consent.gate`.
"""

from enum import StrEnum, unique
from typing import Final, NamedTuple

# Places that are no file: the variables of the process that decides, and of the
# command that asked it to.
PROCESS_ENVIRONMENT: Final = "the process environment"
COMMAND_ENVIRONMENT: Final = "the command's environment"


@unique
class SignalKind(StrEnum):
    """Where an opt-out can be said."""

    FILE = "file"
    ENVIRONMENT = "environment"
    SETTING = "setting"


class Signal(NamedTuple):
    """An opt-out found: `what` is the file or the assignment, `place` where it stands, `line` counted from 1."""

    kind: SignalKind
    what: str
    place: str
    line: int | None = None


class Signals(NamedTuple):
    do_not_track: tuple[Signal, ...] = ()
    offline: tuple[Signal, ...] = ()
