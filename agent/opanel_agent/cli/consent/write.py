"""Puts an administrator's answers into force: the file first, durably, then the agent is told.

The order makes an acknowledged "no" final: once the file lies there, no new request is let out; telling the agent ends what
is under way; only then the command answers. One writer at a time, so that two commands cannot lose each other's word.
"""

from collections.abc import Callable, Mapping
from typing import Final

import tomli_w

from opanel_agent.cli import config_folder
from opanel_agent.cli.context import Context
from opanel_agent.cli.output import Shown, Warned
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.edit import with_answers
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.ledger.requests import Stage
from opanel_agent.core.values import frozen
from opanel_agent.messages import describe_error
from opanel_agent.system.storage import resources

FILE_MODE: Final = 0o644


@frozen
class Departed:
    """A report of a purpose that was withdrawn: when it was attempted last, and how far it came."""

    id: str
    at: int
    stage: str


@frozen
class Effect:
    """What the agent made of it. `running` False: it was not there. `error`: what was under way may not have ended.

    Where the agent has ended that, `pending` is why its own pass failed or goes on, and `unsaved` names the files that a
    full disk did not take: each pass tries them again.
    """

    running: bool
    error: AgentError | None = None
    pending: AgentError | None = None
    unsaved: tuple[str, ...] = ()
    purged: tuple[str, ...] = ()
    gone: tuple[Departed, ...] = ()
    ready: str | None = None

    def to_json(self) -> dict[str, Shown]:
        return {
            "running": self.running,
            "cut": self.error is None,
            "pending": None if self.pending is None else str(self.pending.code),
            "unsaved": list(self.unsaved),
            "purged": list(self.purged),
            "gone": [{"id": each.id, "at": each.at, "stage": each.stage} for each in self.gone],
            "ready": self.ready,
        }


def current(world: Context) -> bytes | None:
    """consent.toml as it lies there, judged as the agent judges it; None where there is none. Raises Misconfigured."""
    return world.files.read(world.paths.consent, max_bytes=MAX_BYTES, owners=world.paths.owners)


def answer(world: Context, answers: Mapping[Purpose, bool]) -> None:
    """These answers, durably, to the installed notice. Raises Misconfigured with the line to type, or Storage."""
    installed = resources.installed_notice()

    def made(before: bytes | None) -> bytes:
        if before is None:
            return tomli_w.dumps(consent_file.fresh(installed, answers)).encode()
        return with_answers(before, answers, installed)

    put(world, made)


def put(world: Context, made: Callable[[bytes | None], bytes | None]) -> None:
    """Makes the file anew from what is there; `made` may say None to leave it."""
    path = world.paths.consent
    with config_folder.changing(world, path.parent):
        before = current(world)
        try:
            after = made(before)
        except Misconfigured as refused:
            raise refused.but(file=str(path)) from refused
        if after is not None and after != before:
            world.files.write(path, after, mode=FILE_MODE)


def tell(world: Context) -> Effect:
    """Has the agent end what is under way and act on the new word. Never raises: the file is in force whatever it says."""
    try:
        taken = world.client.hand_over("/v1/narrowed")
    except AgentError as error:
        stopped = error.code is Fault.NOT_RUNNING
        return Effect(running=not stopped, error=None if stopped else error)
    if taken.error is not None and taken.error.code is Fault.NOT_RUNNING:  # it is ending, and its job ended first
        return Effect(running=False)
    told = taken.result.value("consent") if taken.result.has("consent") else None
    return _effect(Members(told if isinstance(told, dict) else {}, "consent"), taken.error)


def warnings(world: Context, effect: Effect) -> tuple[Warned, ...]:
    """What is not done yet. The file is in force all the same."""
    found: list[Warned] = []
    for error, sentence in ((effect.error, "switch.not_cut"), (effect.pending, "switch.pending")):
        if error is not None:
            title, _ = describe_error(error, world.lang)
            found.append(Warned(code=str(error.code), title=world.say(sentence, problem=title)))
    if effect.unsaved:
        files = ", ".join(effect.unsaved)
        found.append(Warned(code=str(Reason.STATE_NOT_SAVED), title=world.say("switch.unsaved", files=files)))
    return tuple(found)


def exit_status(effect: Effect) -> int:
    """0 once nothing is under way any more: what the agent could not do yet takes nothing back."""
    return 0 if effect.error is None else effect.error.exit_status


def _effect(told: Members, pending: AgentError | None) -> Effect:
    names = ("purged", "gone", "ready", "unsaved")
    purged, gone, ready, unsaved = (told.value(name) if told.has(name) else None for name in names)
    return Effect(
        running=True,
        pending=pending,
        unsaved=tuple(name for name in unsaved if isinstance(name, str)) if isinstance(unsaved, list) else (),
        purged=tuple(name for name in purged if isinstance(name, str)) if isinstance(purged, list) else (),
        gone=tuple(_departed(each) for each in gone if isinstance(each, dict)) if isinstance(gone, list) else (),
        ready=ready if isinstance(ready, str) else None,
    )


def _departed(told: Mapping[str, Json]) -> Departed:
    at, stage = told.get("at"), told.get("stage")
    return Departed(
        id=str(told.get("id", "?")),
        at=at if isinstance(at, int) else 0,
        stage=str(stage) if stage in set(Stage) else str(Stage.ATTEMPTED),
    )
