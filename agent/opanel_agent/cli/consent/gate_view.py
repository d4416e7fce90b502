"""What may leave now, as a command sees it: consent, policies and opt-outs read afresh, the gate asked itself.

Two things only the agent knows, that its ledger is in order and that this machine is no copy, and the variables of its
environment; what its last answer says of these is added. It needs neither root nor the daemon.
"""

from typing import Final

from opanel_agent.cli.consent import signals
from opanel_agent.cli.consent.locations import where
from opanel_agent.cli.context import Context
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.output import Shown
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import Denial, GateInputs, Objection, SettingsView, decide
from opanel_agent.core.consent.opt_outs import PROCESS_ENVIRONMENT, Signal
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.network import gate_inputs
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.storage import resources

OF_THE_AGENT: Final = frozenset({Reason.LEDGER, Reason.CLONE})


def consents(world: Context) -> ConsentReading:
    return LocalConsents(world.files, world.paths, mounts=True).read()


def do_not_track(world: Context, consent: ConsentReading) -> tuple[Signal, ...]:
    """Returns every do-not-track that the daemon obeys: in files, in its environment, in consent.toml and consent.d."""
    return (*world.optouts.read().do_not_track, *signals.of_daemon(world), *consent.signals())


def grounds(world: Context, purpose: Purpose, consent: ConsentReading) -> tuple[Objection, ...]:
    """Everything that objects; () where a request would be let out. A command's purpose as if it were given."""
    snapshot = GateInputs(
        signals=world.optouts.read(),
        standing=_standing(world),
        destinations=(),  # nobody is asked to go anywhere yet
        commanded=True,
        consent=consent,
        installed_notice=resources.installed_notice(),
    )
    decided = decide(purpose, snapshot)
    own = decided.grounds if isinstance(decided, Denial) else ()
    return tuple(dict.fromkeys((*own, *_of_the_agent(world, purpose))))


def shown(grounds_: tuple[Objection, ...]) -> Shown:
    return [
        {"reason": str(each.reason), "what": each.what, "place": each.place, "line": each.line} for each in grounds_
    ]


def ground_lines(world: Context, grounds_: tuple[Objection, ...]) -> tuple[str, ...]:
    """Each with the place that it comes from."""
    return tuple(
        world.say("ground.line", reason=world.named("reason", each.reason), where=where(world, each))
        for each in grounds_
    )


def _standing(world: Context) -> SettingsView:
    try:
        return gate_inputs.settings_view(world.settings(), None)
    except Misconfigured as refused:
        return SettingsView(refused=refused.detail)


def _of_the_agent(world: Context, purpose: Purpose) -> tuple[Objection, ...]:
    try:
        purposes = answers.latest(world).part("consent").get("purposes")
    except AgentError:
        return ()  # it will decide for itself when it runs
    told = purposes.get(purpose) if isinstance(purposes, dict) else None
    reasons = told.get("reasons") if isinstance(told, dict) else None
    found = [_ground(each) for each in reasons] if isinstance(reasons, list) else []
    return tuple(
        each
        for each in found
        if each is not None and (each.reason in OF_THE_AGENT or each.place == PROCESS_ENVIRONMENT)
    )


def _ground(told: Json) -> Objection | None:
    """None for what an agent of another version says in another way."""
    if not isinstance(told, dict):
        return None
    reason, place, line, what = (told.get(name) for name in ("reason", "place", "line", "what"))
    if not isinstance(place, str) or reason not in set(Reason):
        return None
    return Objection(
        reason=Reason(str(reason)),
        place=place,
        line=line if isinstance(line, int) else None,
        what=what if isinstance(what, str) else None,
    )
