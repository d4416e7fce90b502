"""`dnt on | off | explain`: nothing that says anything about this server leaves."""

from opanel_agent.cli.consent import gate_view, opt_out
from opanel_agent.cli.context import Context
from opanel_agent.cli.output import CommandResult
from opanel_agent.cli.parser import Options
from opanel_agent.core.consent.gate import Signal
from opanel_agent.core.consent.purposes import POLICIES


def on(_: Options, world: Context) -> CommandResult:
    return opt_out.on(world, world.paths.do_not_track, "dnt")


def off(_: Options, world: Context) -> CommandResult:
    return opt_out.off(world, world.paths.do_not_track, "dnt", lambda: _seen(world))


def explain(_: Options, world: Context) -> CommandResult:
    """Which signals are seen where, and what they do to each purpose. Needs neither root nor the daemon."""
    seen, do_not_track = world.optouts.read(), _seen(world)
    lines = [
        world.say("dnt.in_force" if do_not_track else "dnt.not_in_force"),
        *opt_out.signal_lines(world, do_not_track),
        *([world.say("offline.in_force"), *opt_out.signal_lines(world, seen.offline)] if seen.offline else []),
        "",
        world.say("dnt.meaning"),
        world.say("dnt.under"),
    ]
    for purpose, terms in POLICIES.items():
        under = world.say(f"under_dnt.{terms.under_do_not_track}")
        lines.append(world.say("dnt.purpose", purpose=world.say(f"purpose.{purpose}"), under=under))
    lines += ["", world.say("dnt.places")]
    result = {
        "do_not_track": opt_out.shown(do_not_track),
        "offline": opt_out.shown(seen.offline),
        "purposes": {str(purpose): str(terms.under_do_not_track) for purpose, terms in POLICIES.items()},
    }
    return CommandResult(result=result, lines=tuple(lines))


def _seen(world: Context) -> tuple[Signal, ...]:
    """Every signal, those of consent.toml and consent.d among them."""
    return (*world.optouts.read().do_not_track, *gate_view.consents(world).signals())
