"""What may leave now, as a command sees it: consent, policies and opt-outs read afresh, the gate asked itself.

Some things only the agent knows: that its ledger is in order, that this machine is no copy, where its root of trust sends
to, and the variables of its environment. What its last answer says of these is added. It needs neither root nor the daemon.
"""

from typing import Final, NamedTuple

from opanel_agent.cli.consent import signals
from opanel_agent.cli.consent.locations import where
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import Shown
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.license.status_view import AnswerView
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import Denial, GateInputs, Objection, SettingsView, decide
from opanel_agent.core.consent.opt_outs import PROCESS_ENVIRONMENT, Signal, Signals
from opanel_agent.core.consent.purposes import POLICIES, Basis, Purpose
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.settings_view import settings_view
from opanel_agent.system.storage import resources

OF_THE_AGENT: Final = frozenset({Reason.LEDGER, Reason.CLONE, Reason.REGION})


class GateReading(NamedTuple):
    """Holds one reading of all that decides what may leave now. What a command shows of it rests on the same one.

    - `settings`: what the gate looks at of agent.toml; `settings_refused` is why the file is refused, if it is.
    - `of_shell`: the opt-outs of this command's own environment, which hold for what is sent by a command.
    - `answer`: the agent's last answer; None where there is none, and the agent decides for itself when it runs.
    """

    consent: ConsentReading
    opt_outs: Signals
    settings: SettingsView
    settings_refused: Misconfigured | None
    installed_notice: str
    of_shell: tuple[Signal, ...]
    answer: AnswerView | None

    @property
    def do_not_track(self) -> tuple[Signal, ...]:
        """Returns every do-not-track that the daemon obeys: in files, in its environment, in consent.toml and consent.d."""
        of_daemon = () if self.answer is None else signals.in_answer(self.answer)
        return (*self.opt_outs.do_not_track, *of_daemon, *self.consent.signals())

    @property
    def offline(self) -> tuple[Signal, ...]:
        """Returns all that says offline: the file, and what a command could write into the record alone."""
        return (*self.opt_outs.offline, *self.consent.offline())

    @property
    def readable(self) -> bool:
        """Tells whether this user may read what decides: what only root may read is no fault of the file."""
        refused = () if self.settings_refused is None else (self.settings_refused,)
        faults = (*self.consent.faults(), *refused)
        return all(fault.values.get("errno") not in ("EACCES", "EPERM") for fault in faults)


def consents(world: Context) -> ConsentReading:
    """Reads consent, policies and withdrawals, as the agent does."""
    return LocalConsents(world.files, world.paths, mounts=True).read()


def offline(world: Context) -> tuple[Signal, ...]:
    """Returns all that says offline now."""
    return read_beside(world, None).offline


def read(world: Context) -> GateReading:
    """Reads all that decides, and asks the daemon for its last answer."""
    try:
        answer = answers.latest(world)
    except AgentError:
        answer = None
    return read_beside(world, answer)


def read_beside(world: Context, answer: AnswerView | None) -> GateReading:
    """Reads all that decides, but the answer, which was asked for before."""
    view, refused = _settings(world)
    return GateReading(
        consent=consents(world),
        opt_outs=world.optouts.read(),
        settings=view,
        settings_refused=refused,
        installed_notice=resources.installed_notice(),
        of_shell=signals.of_shell(world),
        answer=answer,
    )


def grounds(reading: GateReading, purpose: Purpose) -> tuple[Objection, ...]:
    """Returns all that objects to a purpose; () where a request would be let out. A command's as if it were given."""
    decided = decide(
        purpose,
        GateInputs(
            signals=_signals(reading, purpose),
            standing=reading.settings,
            destinations=(),  # nobody is asked to go anywhere yet
            commanded=True,
            consent=reading.consent,
            installed_notice=reading.installed_notice,
        ),
    )
    own = decided.grounds if isinstance(decided, Denial) else ()
    return tuple(dict.fromkeys((*own, *_of_the_agent(purpose, reading.answer))))


def present(answer: AnswerView, reading: GateReading) -> AnswerView:
    """Returns the answer with its consent part computed now, from the files and signals as they are.

    An answer is of its pass, and files change between two. Where this user may not read them, the agent's own reading is
    all there is.
    """
    if not reading.readable:
        return answer
    found = {str(purpose): grounds(reading, purpose) for purpose in POLICIES}
    part: dict[str, Json] = {
        **answer.part("consent"),
        "schema": 1,
        "purposes": {
            purpose: {"permitted": not objections, "reasons": objections_json(objections)}
            for purpose, objections in found.items()
        },
        "do_not_track": [_signal_json(signal) for signal in reading.do_not_track],
        "offline": [_signal_json(signal) for signal in reading.offline],
    }
    return answer._replace(members={**answer.members, "consent": part})


def _signal_json(signal: Signal) -> Json:
    return {"what": signal.what, "place": signal.place, "line": signal.line}


def objections_json(objections: tuple[Objection, ...]) -> list[Json]:
    """Returns objections as the answer has them."""
    return [
        {"reason": str(each.reason), "what": each.what, "place": each.place, "line": each.line} for each in objections
    ]


def shown(grounds_: tuple[Objection, ...]) -> Shown:
    """Returns objections as members of a result."""
    return [*objections_json(grounds_)]


def ground_lines(world: Context, purpose: Purpose, grounds_: tuple[Objection, ...]) -> tuple[str, ...]:
    """Returns each objection to a purpose, with the place that it comes from."""
    return tuple(_ground_line(world, purpose, each) for each in grounds_)


def _ground_line(world: Context, purpose: Purpose, ground: Objection) -> str:
    """Returns a withdrawal with the way to grant again, since the file that says yes does not tell it."""
    if ground.reason is Reason.WITHDRAWN:
        return world.sentence("ground.withdrawn", withdrawn=where(world, ground), purpose=str(purpose))
    return world.sentence("ground.line", reason=world.named("reason", ground.reason), where=where(world, ground))


def _signals(reading: GateReading, purpose: Purpose) -> Signals:
    """Returns the opt-outs that decide: what is sent by a command alone is sent under those of its shell, too."""
    found = reading.opt_outs
    if POLICIES[purpose].governor is not Basis.COMMAND:
        return found
    return found._replace(do_not_track=(*found.do_not_track, *reading.of_shell))


def _settings(world: Context) -> tuple[SettingsView, Misconfigured | None]:
    try:
        return settings_view(world.settings(), None), None
    except Misconfigured as refused:
        return SettingsView(refused=refused.detail), refused


def _of_the_agent(purpose: Purpose, answer: AnswerView | None) -> tuple[Objection, ...]:
    purposes = None if answer is None else answer.part("consent").get("purposes")
    purpose_part = purposes.get(purpose) if isinstance(purposes, dict) else None
    reasons = purpose_part.get("reasons") if isinstance(purpose_part, dict) else None
    found = [_ground(each) for each in reasons] if isinstance(reasons, list) else []
    return tuple(
        each
        for each in found
        if each is not None and (each.reason in OF_THE_AGENT or each.place == PROCESS_ENVIRONMENT)
    )


def _ground(objection_json: Json) -> Objection | None:
    """Returns the objection; None for what an agent of another version says in another way."""
    if not isinstance(objection_json, dict):
        return None
    reason, place, line, what = (objection_json.get(name) for name in ("reason", "place", "line", "what"))
    if not isinstance(place, str) or reason not in set(Reason):
        return None
    return Objection(
        reason=Reason(str(reason)),
        place=place,
        line=line if isinstance(line, int) else None,
        what=what if isinstance(what, str) else None,
    )
