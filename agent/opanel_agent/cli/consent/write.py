"""Puts an administrator's answers into force: the files first, durably, then the agent is told.

The order makes an acknowledged "no" final: once the files lie there, no new request is let out; telling the agent ends what
is under way; only then the command answers. One writer at a time, so that two commands cannot lose each other's word.

A withdrawal is in the record of withdrawals before consent.toml is changed, and holds although that cannot be; a grant ends
withdrawals after the file says yes. So what is cut short in between is a no.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

import tomli_w

from opanel_agent.cli import config_folder
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import Shown, Warned
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import consent_file, withdrawals
from opanel_agent.core.consent.consent_file import ConsentFile, ConsentReading
from opanel_agent.core.consent.edit import with_answers
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.consent.withdrawals import Origin, OwnerRecord, Withdrawable, Withdrawal, Withdrawals
from opanel_agent.core.errors import AgentError, Misconfigured, Storage
from opanel_agent.core.ledger.requests import Stage
from opanel_agent.core.values import frozen
from opanel_agent.messages import describe_error
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.withdrawal_store import WithdrawalStore
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
    """Returns consent.toml as it lies there, judged as the agent judges it; None where there is none.

    Raises Misconfigured.
    """
    return world.files.read(world.paths.consent, max_bytes=MAX_BYTES, owners=world.paths.owners)


def answer(world: Context, answers: Mapping[Purpose, bool]) -> None:
    """Writes these answers to consent.toml, durably, as given to the installed notice.

    Raises Misconfigured with the line to type, or Storage. What is withdrawn is withdrawn even where it raises.
    """
    installed = resources.installed_notice()
    with _alone(world):
        _withdraw(world, [purpose for purpose, allow in answers.items() if not allow])
        _put(world, lambda before: _with(before, answers, installed))
        _grant(world, [purpose for purpose, allow in answers.items() if allow])


class Unwritten(NamedTuple):
    """Holds what kept a denial from its record, and what from consent.toml; None for what was written."""

    record: AgentError | None
    file: AgentError | None


def deny(world: Context, purposes: tuple[Purpose, ...]) -> Unwritten:
    """Withdraws these purposes durably, in the record and in consent.toml, each of which holds by itself.

    Raises Misconfigured or Storage where neither could be written.
    """
    installed = resources.installed_notice()
    answers = dict.fromkeys(purposes, False)
    with _alone(world):
        unwritten = Unwritten(
            record=_failure(lambda: _withdraw(world, [*purposes])),
            file=_failure(lambda: _put(world, lambda before: _with(before, answers, installed))),
        )
    if unwritten.record is not None and unwritten.file is not None:
        raise unwritten.record
    return unwritten


def failures(world: Context, found: Iterable[AgentError]) -> Iterator[Warned]:
    """Yields what could not be written although the "no" holds, with its cure."""
    for failure in found:
        title, hint = describe_error(failure, world.lang)
        yield Warned(code=str(failure.code), title=f"{title}. {hint}")


def _failure(step: Callable[[], None]) -> AgentError | None:
    try:
        step()
    except (Misconfigured, Storage) as failure:
        return failure
    return None


def _with(before: bytes | None, answers: Mapping[Purpose, bool], installed: str) -> bytes:
    if before is None:
        return tomli_w.dumps(consent_file.fresh(installed, answers)).encode()
    return with_answers(before, answers, installed)


def replace_file(
    world: Context, file: ConsentFile, data: bytes, *, keeps: Callable[[ConsentFile], bool]
) -> ConsentFile:
    """Puts a whole file into force, as `answer` does its answers, unless the one that stands is one that it keeps.

    Returns the file in force. Raises Misconfigured or Storage.
    """
    with _alone(world):
        before = current(world)
        stands = None if before is None else consent_file.parse(before)
        if stands is not None and keeps(stands):
            return stands
        _withdraw(world, [purpose for purpose in CONSENT_BASED if not file.allows(purpose)])
        _put(world, lambda _: data)
        _grant(world, [purpose for purpose in CONSENT_BASED if file.allows(purpose)])
        return file


def switched_on(world: Context, subject: Withdrawable) -> AgentError | None:
    """Leaves a trace of an opt-out that its own file puts into force, for the ledger, should the file be gone again.

    Returns why it could not: the opt-out is in force all the same.
    """
    new = Withdrawal(id=_new_id(), subject=subject, by=Origin.COMMAND, at=int(world.now_s()), grants=(), stands=False)

    return _failure(lambda: _keep(world, new))


def opt_out_in_record(world: Context, subject: Withdrawable) -> None:
    """Puts an opt-out into the record, durably, where the file for it cannot be made. Raises Storage."""
    _keep(world, Withdrawal(id=_new_id(), subject=subject, by=Origin.COMMAND, at=int(world.now_s()), grants=()))


def _keep(world: Context, new: Withdrawal) -> None:
    with _alone(world):
        known = _known(world)
        record = withdrawals.owner_withdraws(known, new)
        if record != known.owner:
            _store(world).write_owner(record)


def switched_off(world: Context, subject: Withdrawable) -> None:
    """Ends what the panel, or a command that could not make the file, withdrew in an opt-out's place."""
    with _alone(world):
        known = _known(world)
        if known.standing(subject):
            _store(world).write_owner(withdrawals.owner_grants(known, subject))


@contextmanager
def _alone(world: Context) -> Iterator[None]:
    path = world.paths.consent
    with config_folder.changing(world, path.parent):
        yield


def _put(world: Context, made: Callable[[bytes | None], bytes]) -> None:
    """Makes the file anew from what is there."""
    path = world.paths.consent
    before = current(world)
    try:
        after = made(before)
    except Misconfigured as refused:
        raise refused.but(file=str(path)) from refused
    if after != before:
        world.files.write(path, after, mode=FILE_MODE)


def _withdraw(world: Context, purposes: list[Purpose]) -> None:
    """Keeps the withdrawal of each purpose that may have been granted."""
    for purpose in purposes:
        reading, known = _reading(world), _known(world)
        subject, file = Withdrawable(purpose.value), reading.file
        grant = file.grant if file is not None and file.allows(purpose) else None
        if reading.refused is None and grant is None and not known.agent.given.get(subject):
            continue  # neither said yes now, nor ever
        new = Withdrawal(
            id=_new_id(),
            subject=subject,
            by=Origin.COMMAND,
            at=int(world.now_s()),
            grants=None if reading.faults() else known.grants(subject, grant),
            file_sha256=None if file is None else file.sha256,
        )
        record = withdrawals.owner_withdraws(known, new)
        if record != known.owner:
            _store(world).write_owner(record)


def _grant(world: Context, purposes: list[Purpose]) -> None:
    """Ends every withdrawal of these purposes."""
    for purpose in purposes:
        known = _known(world)
        record = withdrawals.owner_grants(known, Withdrawable(purpose.value))
        if record != known.owner:
            _store(world).write_owner(record)


def _known(world: Context) -> Withdrawals:
    """Returns the record of withdrawals.

    An owner's that cannot be read is made anew, and all that it may have held is withdrawn.
    """
    known = _reading(world).withdrawals
    path = world.paths.withdrawals_of_owner
    if not any(fault.values.get("file") == str(path) for fault in _reading(world).withdrawals_refused):
        return known
    subjects = [*(Withdrawable(purpose.value) for purpose in CONSENT_BASED), Withdrawable.DO_NOT_TRACK]
    damaged = withdrawals.of_damage([_new_id() for _ in subjects], subjects, int(world.now_s()))
    world.files.move(path, path.with_name(f"{path.name}.broken"))
    _store(world).write_owner(OwnerRecord(withdrawals=damaged))
    return _reading(world).withdrawals


def _reading(world: Context) -> ConsentReading:
    return LocalConsents(world.files, world.paths).read()


def _store(world: Context) -> WithdrawalStore:
    return WithdrawalStore(world.files, world.paths)


def _new_id() -> str:
    return os.urandom(withdrawals.ID_BYTES).hex()


def notify_agent(world: Context) -> Effect:
    """Has the agent end what is under way and act on the new word. Never raises: the file is in force whatever it says."""
    try:
        taken = world.client.hand_over("/v1/narrowed")
    except AgentError as error:
        stopped = error.code is Fault.NOT_RUNNING
        return Effect(running=not stopped, error=None if stopped else error)
    if taken.error is not None and taken.error.code is Fault.NOT_RUNNING:  # it is ending, and its job ended first
        return Effect(running=False)
    consent_part = taken.result.value("consent") if taken.result.has("consent") else None
    return _effect(Members(consent_part if isinstance(consent_part, dict) else {}, "consent"), taken.error)


def warnings(world: Context, effect: Effect) -> tuple[Warned, ...]:
    """Returns what is not done yet. The file is in force all the same."""
    found: list[Warned] = []
    for error, sentence in ((effect.error, "switch.not_cut"), (effect.pending, "switch.pending")):
        if error is not None:
            title, _ = describe_error(error, world.lang)
            found.append(Warned(code=str(error.code), title=world.sentence(sentence, problem=title)))
    if effect.unsaved:
        files = ", ".join(effect.unsaved)
        found.append(Warned(code=str(Reason.STATE_NOT_SAVED), title=world.sentence("switch.unsaved", files=files)))
    return tuple(found)


def exit_status(effect: Effect) -> int:
    """Returns 0 once nothing is under way any more: what the agent could not do yet takes nothing back."""
    return 0 if effect.error is None else effect.error.exit_status


def _effect(members: Members, pending: AgentError | None) -> Effect:
    names = ("purged", "gone", "ready", "unsaved")
    purged, gone, ready, unsaved = (members.value(name) if members.has(name) else None for name in names)
    return Effect(
        running=True,
        pending=pending,
        unsaved=tuple(name for name in unsaved if isinstance(name, str)) if isinstance(unsaved, list) else (),
        purged=tuple(name for name in purged if isinstance(name, str)) if isinstance(purged, list) else (),
        gone=tuple(_departed(each) for each in gone if isinstance(each, dict)) if isinstance(gone, list) else (),
        ready=ready if isinstance(ready, str) else None,
    )


def _departed(departed_json: Mapping[str, Json]) -> Departed:
    at, stage = departed_json.get("at"), departed_json.get("stage")
    return Departed(
        id=str(departed_json.get("id", "?")),
        at=at if isinstance(at, int) else 0,
        stage=str(stage) if stage in set(Stage) else str(Stage.ATTEMPTED),
    )
