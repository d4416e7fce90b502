"""`offline on | off`: no request at all; documents come as files."""

from opanel_agent.cli.consent import gate_view, opt_out
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.cli.parser import Options


def on(_: Options, world: Context) -> CommandResult:
    return opt_out.on(world, world.paths.offline, "offline")


def off(_: Options, world: Context) -> CommandResult:
    return opt_out.off(world, world.paths.offline, "offline", lambda: gate_view.offline(world))
