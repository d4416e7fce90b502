"""`dnt on | off | explain`: nothing that says anything about this server leaves."""

from opanel_agent.cli.consent import gate_view, opt_out, signals
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.cli.parser import Options
from opanel_agent.core.consent.opt_outs import Signal
from opanel_agent.core.consent.purposes import POLICIES


def on(_: Options, world: Context) -> CommandResult:
    return opt_out.on(world, world.paths.do_not_track, "dnt")


def off(_: Options, world: Context) -> CommandResult:
    return opt_out.off(world, world.paths.do_not_track, "dnt", lambda: _standing(world))


def explain(_: Options, world: Context) -> CommandResult:
    """Shows which signals are seen where, and what they do to each purpose. Needs neither root nor the daemon."""
    reading = gate_view.read(world)
    obeyed, of_shell, offline = reading.do_not_track, reading.of_shell, reading.offline
    lines = [
        world.sentence("dnt.in_force" if obeyed else "dnt.not_in_force"),
        *signals.lines(world, obeyed),
        *([world.sentence("dnt.shell"), *signals.lines(world, of_shell)] if of_shell else []),
        *([world.sentence("offline.in_force"), *signals.lines(world, offline)] if offline else []),
        "",
        world.sentence("dnt.meaning"),
        world.sentence("dnt.under"),
    ]
    for purpose, terms in POLICIES.items():
        under = world.sentence(f"under_dnt.{terms.under_do_not_track}")
        lines.append(world.sentence("dnt.purpose", purpose=world.sentence(f"purpose.{purpose}"), under=under))
    lines += ["", world.sentence("dnt.places")]
    result = {
        "do_not_track": signals.shown((*obeyed, *of_shell)),
        "offline": signals.shown(offline),
        "purposes": {str(purpose): str(terms.under_do_not_track) for purpose, terms in POLICIES.items()},
    }
    return CommandResult(result=result, lines=tuple(lines), warnings=signals.shell_alone(world, obeyed))


def _standing(world: Context) -> tuple[Signal, ...]:
    """Returns every do-not-track that still holds for anything, this shell's among them."""
    reading = gate_view.read(world)
    return (*reading.do_not_track, *reading.of_shell)
