"""`offline on | off`: no request at all; documents come as files."""

from typing import Final

from opanel_agent.cli import switch
from opanel_agent.cli.grammar import Command, Options
from opanel_agent.cli.output import Outcome
from opanel_agent.cli.world import World


def on(_: Options, world: World) -> Outcome:
    return switch.on(world, world.paths.offline, "offline")


def off(_: Options, world: World) -> Outcome:
    return switch.off(world, world.paths.offline, "offline", lambda: world.optouts.read().offline)


COMMANDS: Final = (
    Command(words=("offline", "on"), run=on),
    Command(words=("offline", "off"), run=off),
)
