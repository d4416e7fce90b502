"""Where a reason of the gate's comes from, in the reader's words: what stands there, the place, the line."""

from typing import Final, Protocol

from opanel_agent.cli.context import Context

ITS_ENVIRONMENT: Final = "the process environment"
# Places that are no file's and no setting's.
_NAMED: Final = {
    ITS_ENVIRONMENT: "place.environment",
    "machine identity": "place.identity",
    "command": "place.command",
    "body": "place.body",
}


class Placed(Protocol):
    """A ground as the gate made it here, or as the agent told it."""

    @property
    def place(self) -> str: ...
    @property
    def line(self) -> int | None: ...
    @property
    def what(self) -> str | None: ...


def where(world: Context, ground: Placed) -> str:
    """As much of it as is known."""
    place = world.say(_NAMED[ground.place]) if ground.place in _NAMED else ground.place
    if ground.line is not None:
        place = world.say("where.line", place=place, line=ground.line)
    return place if ground.what is None else world.say("where.what", what=ground.what, place=place)
