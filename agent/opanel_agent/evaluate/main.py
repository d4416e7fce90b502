"""Runs one pass of evaluate: read, record changes, carry out the intent, send reports, decide, answer, write.

One JSON line in (the intent), one JSON line out: the command's result, the answer to serve from now on, and in how many
seconds the next pass is wanted. A command's error comes back beside a fresh answer; only a pass that cannot judge at all
(no root to trust) has none. It never imports httpx.

The gate is asked from a fresh reading before anything is collected and before anything is sent. Everything that is shown
comes from one reading at the end, and from one decision on all purposes.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from opanel_agent import messages
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import WITHDRAW
from opanel_agent.core.consent.gate import Permit
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents.bundle import shards
from opanel_agent.core.errors import AgentError, Bug, Storage, Unreadable, Usage
from opanel_agent.core.license import schedule
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.license.verdict import Verdict
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import Sealed
from opanel_agent.evaluate import answer, command_signals, decision, watched
from opanel_agent.evaluate.answer import Outlook
from opanel_agent.evaluate.consent import changes
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.intent import MAX_INTENT_BYTES, Command, Result
from opanel_agent.evaluate.license import check, commands, install, renew
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting import report
from opanel_agent.evaluate.requests import request_records
from opanel_agent.evaluate.requests.quiet import quiet_permits
from opanel_agent.evaluate.storage import state_files, without_state
from opanel_agent.evaluate.storage.without_state import FilesWithout, FilesWithoutState
from opanel_agent.network.client import LocalNetworkClient
from opanel_agent.network.gate_inputs import Permissions
from opanel_agent.system import log
from opanel_agent.system.clock import LocalClock
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.log import log_event
from opanel_agent.system.machine import LocalMachine
from opanel_agent.system.randomness import OsRandom
from opanel_agent.system.sandbox import LocalSandbox
from opanel_agent.system.storage import resources
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import find

_T = TypeVar("_T")

LONGEST_SLEEP_S: Final = DAY_S
SUSPECT_SLEEP_S: Final = HOUR_S
DENIED_SLEEP_S: Final = 900
DELIVER_SLEEP_S: Final = 10
UNSAVED_SLEEP_S: Final = HOUR_S
UNUSABLE_SLEEP_S: Final = 300


def run(ports: Ports, intent: Members) -> dict[str, Json]:
    """Returns the frame for one intent. Raises AgentError only where no verdict is possible at all."""
    kind = intent.text("intent", max_length=16)
    command = _handler(kind)
    paths = ports.paths
    unsaved = Unsaved()
    unsaved.attempt(paths.state_dir.name, partial(ports.files.make_dir, paths.state_dir, mode=0o700))
    unsaved.attempt(paths.state_dir.name, partial(ports.files.restore_access, paths.state_dir))
    with ExitStack() as held:
        try:
            held.enter_context(state_files.locked(ports.files, paths.lock))
        except Unreadable as trouble:
            return _without_state(ports, without_state.unusable(paths, trouble))
        ports = _open_folders(ports, unsaved)
        context = begin_pass(ports, whole_ledger=kind in _WHOLE_LEDGER)
        install.share_roots(ports, context.inputs.first_root, context.inputs.root)
        unsaved.attempt(paths.bundle.name, partial(install.begin_waiting, context))
        unsaved.attempt(paths.license.name, partial(install.files_of_root, context))
        withdrawn = changes.observe(context)
        unsaved.attempt(paths.bundle.name, partial(commands.finish_answered, context))
        unsaved.attempt(paths.state.name, context.save_state)
        signals = () if kind == WITHDRAW.intent else command_signals.read(intent)  # whose own do_not_track is another
        with command_signals.narrowed(context, signals):
            result, error = _attempt(
                lambda: command(context, intent), context.inputs.settings_refused, quiet=kind in ROUTINES
            )
            if not context.reset:
                _run_reports(context, timed=kind in _TIMED)
        watched_files = watched.stamps(ports.files, paths)  # before `_conclude` reads them for what is shown
        answered, next_run_s = _conclude(context, timed=kind in _TIMED)
        unsaved.attempt(paths.state.name, context.save)
        withdrawn.unsaved += unsaved.files
        if unsaved.files:
            answered = answer.with_reason(answered, Reason.STATE_NOT_SAVED)
            next_run_s = min(next_run_s, UNSAVED_SLEEP_S)
        if not context.reset:
            unsaved.attempt(paths.last_license.name, partial(_keep_license, ports, answered["license"]))
        return {
            "schema": 1,
            "ok": error is None,
            "error": None if error is None else error.to_json(),
            "answer": answered,
            "next_run_s": next_run_s,
            "watch": watched_files,
            "result": None if result is None else {**result, "consent": withdrawn.to_json()},
            "language": context.inputs.settings.language,
        }


def _without_state(ports: Ports, trouble: Storage) -> dict[str, Json]:
    """Returns the frame of a pass that cannot use the state's folder.

    No command is carried out, and what is at hand is judged.

    `provisional`: an answer of before, whose evidence was more than this, stands as long as it said.
    """
    log_event("state_unusable", level="error", error=str(trouble))
    hidden = FilesWithoutState(ports.files, ports.paths, trouble)
    context = begin_pass(replace(ports, files=hidden))
    answered, next_run_s = _conclude(context, timed=False)
    return {
        "schema": 1,
        "ok": False,
        "error": trouble.to_json(),
        "answer": answer.without_state(answered),
        "provisional": True,
        "next_run_s": min(next_run_s, UNUSABLE_SLEEP_S),
        "watch": {},
        "result": None,
        "language": context.inputs.settings.language,
    }


class Unsaved:
    """Collects what could not be written: a full disk must not keep the license from being judged and answered."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def attempt(self, file: str, write: Callable[[], object]) -> Storage | None:
        """Carries out a step that writes; a Storage that it raises is logged and returned."""
        try:
            write()
        except Storage as error:
            self.files.append(file)
            log_event("state_not_saved", level="error", file=file, error=str(error))
            return error
        return None


def _open_folders(ports: Ports, unsaved: Unsaved) -> Ports:
    """Opens the state's folders and sweeps them; a folder that does not open is one that the pass does without."""
    paths = ports.paths
    directories = (paths.held, paths.sent, paths.receipts, paths.erasure, paths.ready)
    for directory in directories:
        unopened = unsaved.attempt(directory.name, partial(state_files.open_folder, ports.files, directory))
        if unopened is not None:
            ports = replace(ports, files=FilesWithout(ports.files, directory, unopened))
    for directory in (paths.state_dir, *directories):
        unsaved.attempt(directory.name, partial(ports.files.sweep, directory))
    return ports


def _keep_license(ports: Ports, license_: Json) -> None:
    """Writes what the daemon serves after a reboot. Where it cannot, none is kept: an older one may say more than this."""
    path = ports.paths.last_license
    try:
        ports.files.write(path, dumps(license_))
    except Storage:
        ports.files.remove(path)
        raise


def _conclude(context: PassContext, *, timed: bool) -> tuple[dict[str, Json], int]:
    """Returns the answer, and in how many seconds the next pass is wanted: one reading of consent, one decision for both.

    A pass that was not started by time has sent no report. One that is ready goes with a pass of its own, soon.
    """
    renew.update_plan(context.state, context.inputs, context.ports.random)
    context.refresh()
    inputs, state = context.inputs, context.state
    decided = decision.decide(inputs, state)
    decision.record(decided, state)
    # An older list that was put back clears nothing.
    if context.lists_accepted.issuperset(shards(inputs.bundle, inputs.root)):
        state.lost = False
    permissions = context.gate.permissions()
    prospect = outlook(context, permissions)
    answered = answer.compose(inputs, state, decided.verdict, permissions, prospect)
    if context.reset:
        return answered, LONGEST_SLEEP_S
    next_run_s = sleep_s(decided.verdict, prospect, context.schedule, context.now)
    ready = not timed and _read_or(unread=False, read=partial(context.reports.ready, context.gate))
    return answered, min(next_run_s, DELIVER_SLEEP_S) if ready else next_run_s


def outlook(context: PassContext, permissions: Permissions) -> Outlook:
    """Returns what waits and when this agent acts next, as the context stands; writes and draws nothing."""
    inputs, state, now = context.inputs, context.state, context.now
    none_held: tuple[Sealed, ...] = ()
    held = _read_or(none_held, context.outbox.held_reports)
    plan = renew.current_plan(inputs, state)
    renewal = Purpose.LICENSE_RENEWAL
    may_renew = isinstance(permissions[renewal], Permit) and bool(context.gate.destinations(renewal))
    return Outlook(
        held_reports=len(held),
        newest={} if context.reset else _read_or({}, partial(request_records.newest_json, context.outbox)),
        next_check_s=now + schedule.wait_s(context.schedule, now),
        next_report_s=report.next_s(state, held, context.gate, permissions, now, purposes=CONSENT_BASED),
        next_advisories_s=report.next_s(
            state, (), context.gate, permissions, now, purposes=(Purpose.SECURITY_ADVISORIES,)
        ),
        next_license_s=install.waiting_until(context.ports.files, context.ports.paths, inputs.root),
        next_renewal_s=renew.next_s(plan, state, now, permitted=may_renew),
        renewal=renew.renewal_json(plan, permitted=may_renew),
    )


def _read_or(unread: _T, read: Callable[[], _T]) -> _T:
    """Returns what is read of the reports; `unread`, and a line in the log, where their folder cannot be read.

    What is only shown of them never keeps the license from being judged.
    """
    try:
        return read()
    except Unreadable as error:
        log_event("reports_failed", level="error", error=str(error))
        return unread


def _run_reports(context: PassContext, *, timed: bool) -> None:
    """Runs the reports' part of a pass. What goes wrong in it is logged, and never keeps the license from being judged.

    Only the passage of time sends one (`timed`): a command that reads, allows or denies opens no connection.
    """
    try:
        changes.record_days(context.outbox, context.now)  # the command may have brought the time: a gap shows only now
        context.reports.make(context.gate, context.read_gate)
        context.save_state()
        context.reports.finish_answered()
        if timed:
            context.reports.deliver(context.read_gate)
        context.outbox.sweep(context.now)
        context.proofs.sweep()
    except AgentError as error:
        log_event("reports_failed", level="error", error=str(error))


def _attempt(
    command: Callable[[], Result], settings_refused: AgentError | None, *, quiet: bool
) -> tuple[Result | None, AgentError | None]:
    """Runs a command; `quiet` says that nobody asked.

    Why a check failed is then among the license's reasons, and shown with them.
    """
    try:
        return command(), None
    except AgentError as raised:
        # A person is helped by the settings' own fault, with its line, and not by the denial that follows from it.
        denied = raised.code is Reason.SETTINGS_REFUSED and settings_refused is not None
        error = settings_refused if denied else raised
        if not quiet:
            log_event("command_failed", error=str(error))
        return None, error


def _tick(context: PassContext) -> Result:
    """Checks the license where it is due and permitted; else renews and looks for advisories, each in its own time."""
    purpose = Purpose.LICENSE_STATUS
    due = schedule.due(context.schedule, context.now) and quiet_permits(context.state, purpose, context.now)
    if due and context.read_gate().permits(purpose):
        return check.check(context)
    renewed, advised = renew.renew(context), check.check_advisories(context, commanded=False)
    return {"asked": advised if renewed is None else [renewed, *advised]}


def _start(context: PassContext) -> Result:
    """Starts without a request, for which a start alone is no reason: a check that was missed is made up a little later."""
    context.schedule = schedule.at_start(
        context.schedule, context.now, context.ports.random.random(), wall_s=context.inputs.clock.wall_s
    )
    return {"asked": []}


def _handler(kind: str) -> Command:
    """Returns the function for an intent. Raises Usage for an unknown one."""
    routine = ROUTINES.get(kind)
    if routine is not None:
        return routine
    from opanel_agent.evaluate.handlers import HANDLERS  # a routine pass needs nothing of them

    command = HANDLERS.get(kind)
    if command is None:
        raise Usage(Fault.USAGE, "intent_unknown", intent=kind)
    return command


ROUTINES: Final[Mapping[str, Command]] = {
    "start": lambda context, _: _start(context),
    "tick": lambda context, _: _tick(context),
}
_TIMED: Final = frozenset({"tick"})
_WHOLE_LEDGER: Final = frozenset({"start", "refresh", "history", "export", "review"})


def sleep_s(found: Verdict, outlook: Outlook, planned: Schedule, now: int) -> int:
    """Returns the seconds until the next check, or the next moment at which time alone changes the verdict; 1 at least."""
    due = schedule.due(planned, now)  # still due: the gate denied it
    check_s = DENIED_SLEEP_S if due else schedule.wait_s(planned, now)
    moments = [now + check_s, now + LONGEST_SLEEP_S]
    wanted = (outlook.next_license_s, outlook.next_report_s, outlook.next_advisories_s, outlook.next_renewal_s)
    moments += [moment for moment in (found.until, *wanted) if moment is not None]
    if Reason.CLOCK_SUSPECT in found.reasons:
        moments.append(now + SUSPECT_SLEEP_S)
    return max(1, min(moments) - now)


def local_ports() -> Ports:
    """Returns this machine's own adapters."""
    files, paths = LocalFiles(), find()
    return Ports(
        files=files,
        paths=paths,
        clock=LocalClock(),
        machine=LocalMachine(os.environ),
        opt_outs=LocalOptOuts(files, paths, os.environ),
        consents=LocalConsents(files, paths, mounts=True),
        catalog=resources.load_catalog(),
        notice=resources.installed_notice(),
        network=LocalNetworkClient(paths),
        sandbox=LocalSandbox(),
        random=OsRandom(),
    )


def main() -> int:
    """Runs the intent on stdin and writes the frame to stdout. Returns 0 whenever a frame was written, errors included."""
    with log.kept() as lines:
        frame = _frame()
    sys.stdout.buffer.write(dumps({**frame, "journal": _journal(lines, frame)}) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def _journal(lines: Iterable[log.Line], frame: Mapping[str, Json]) -> Json:
    """Returns each line with its sentence: the daemon, which passes it on to the journal, has no texts."""
    chosen = frame.get("language")
    lang = messages.language(None, chosen if isinstance(chosen, str) else None, os.environ)
    journal: list[Json] = []
    for event, level, values in lines:
        fields: dict[str, Json] = {
            name: value if isinstance(value, int) else str(value) for name, value in values.items()
        }
        message = messages.translate_event(event, lang, fields)
        journal.append({"event": event, "level": level, "message": message, "fields": fields})
    return journal


def _frame() -> dict[str, Json]:
    try:
        intent = Members(loads(sys.stdin.buffer.read(MAX_INTENT_BYTES + 1), max_bytes=MAX_INTENT_BYTES), "intent")
        intent.constant("schema", 1)
        return run(local_ports(), intent)
    except AgentError as error:
        return _no_answer(error)
    except Exception as unforeseen:  # noqa: BLE001 - a fault of ours is reported by its place, never by its values
        import traceback  # only here

        from opanel_agent.evaluate.reporting import crash  # as above

        crash.note(LocalFiles(), find(), unforeseen)
        where = traceback.extract_tb(unforeseen.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return _no_answer(Bug(Reason.INTERNAL, "unforeseen", kind=type(unforeseen).__name__, place=place))


def _no_answer(error: AgentError) -> dict[str, Json]:
    return {"schema": 1, "ok": False, "error": error.to_json(), "answer": None, "next_run_s": 300, "result": None}
