"""Names the place that a decision of the gate rests on, in the reader's language: what stands there, place and line."""

from typing import Final, Protocol

from opanel_agent.cli.context import Context
from opanel_agent.core.consent.opt_outs import COMMAND_ENVIRONMENT, PROCESS_ENVIRONMENT
from opanel_agent.core.consent.withdrawals import Origin

# Places that are no file's and no setting's.
_NAMED: Final = {
    PROCESS_ENVIRONMENT: "place.environment",
    COMMAND_ENVIRONMENT: "place.shell",
    "machine identity": "place.identity",
    "command": "place.command",
    "body": "place.body",
}
# What withdrew, which says when instead of where.
_WITHDRAWN: Final = {
    Origin.COMMAND.value: "withdrawn.command",
    Origin.FILE.value: "withdrawn.file",
    Origin.PANEL.value: "withdrawn.panel",
    Origin.DAMAGE.value: "withdrawn.damage",
}


class Placed(Protocol):
    """A ground as the gate made it here, or as the agent told it."""

    @property
    def place(self) -> str: ...
    @property
    def line(self) -> int | None: ...
    @property
    def what(self) -> str | None: ...


def place_name(world: Context, place: str) -> str:
    """Returns a file's path as it is, and the name of what is no file."""
    return world.sentence(_NAMED[place]) if place in _NAMED else place


def where(world: Context, ground: Placed) -> str:
    """Tells the place, as much of it as is known."""
    if ground.place in _WITHDRAWN and ground.what is not None:
        return world.sentence(_WITHDRAWN[ground.place], on=ground.what)
    place = place_name(world, ground.place)
    if ground.line is not None:
        place = world.sentence("where.line", place=place, line=ground.line)
    return place if ground.what is None else world.sentence("where.what", what=ground.what, place=place)
