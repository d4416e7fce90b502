"""evaluate: one pass. Reads, decides, asks where the decision is to ask, decides again, writes, answers.

One JSON line in (the intent), one JSON line out: what the command came to, the answer to serve from now on, and in how
many seconds it wants to run again. Everything that a command can get wrong comes back as an error beside a fresh answer;
only a pass that cannot judge at all (no root to trust, no state to read) has none. It never imports httpx.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from opanel_agent import messages
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import AgentError, Bug, Usage
from opanel_agent.core.license import schedule
from opanel_agent.core.license.verdict import Verdict
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.evaluate import answer, reset
from opanel_agent.evaluate.consent import changes, records
from opanel_agent.evaluate.context import PassContext, Ports, load_context
from opanel_agent.evaluate.license import check, install, renew
from opanel_agent.evaluate.reporting import crash, report
from opanel_agent.network.client import LocalNetworkClient
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

MAX_INTENT_BYTES: Final = 128 * 1024
LONGEST_SLEEP_S: Final = DAY_S
SUSPECT_SLEEP_S: Final = HOUR_S
DENIED_SLEEP_S: Final = 900

Result = dict[str, Json]


def run(world: Ports, intent: Members) -> dict[str, Json]:
    """The frame for one intent. Raises AgentError only where no verdict is possible at all."""
    kind = intent.text("intent", max_length=16)
    act = _ACTS.get(kind)
    if act is None:
        raise Usage(Fault.USAGE, "intent_unknown", intent=kind)
    paths = world.paths
    directories = (paths.state_dir, paths.held, paths.sent, paths.receipts, paths.erasure, paths.ready)
    for directory in directories:
        world.files.make_dir(directory, mode=0o700)
    with world.files.lock(world.paths.lock):
        for directory in directories:
            world.files.sweep(directory)
        context = load_context(world)
        install.files_of_root(context)
        noted = changes.observe(context)
        context.remember()
        result, error = _attempt(context, lambda: act(context, intent), quiet=kind in _ROUTINE)
        if not context.blank:
            _reports(context, commanded=kind in _COMMANDED)
        found = answer.judge(context)
        told = answer.compose(context, found)
        context.save()
        return {
            "schema": 1,
            "ok": error is None,
            "error": None if error is None else error.to_json(),
            "answer": told,
            "next_run_s": _sleep_s(context, found),
            "result": None if result is None else {**result, "consent": noted.to_json()},
            "language": context.settings.language,
        }


def _reports(context: PassContext, *, commanded: bool) -> None:
    """The reports' part of a pass. What goes wrong in it is said, and never keeps the license from being judged."""
    try:
        changes.days(context)  # the act may have brought the time: then a gap shows only now
        report.make(context)
        context.remember()
        report.deliver(context, commanded=commanded)
        context.outbox.sweep(context.now)
    except AgentError as error:
        log_event("reports_failed", level="error", error=str(error))


def _attempt(
    context: PassContext, act: Callable[[], Result], *, quiet: bool
) -> tuple[Result | None, AgentError | None]:
    """`quiet`: nobody asked. Why a check failed is then among the license's reasons, and told with them."""
    try:
        return act(), None
    except AgentError as told:
        # A person is helped by the settings' own fault, with its line, and not by the denial that follows from it.
        denied = told.code is Reason.SETTINGS_REFUSED and context.settings_refused is not None
        error = context.settings_refused if denied else told
        if not quiet:
            log_event("command_failed", error=str(error))
        return None, error


def _tick(context: PassContext, _intent: Members) -> Result:
    """Looks whether a check is due; one that the gate denies is simply not made, and looked at again later."""
    due = schedule.due(context.schedule, context.now) and check.quiet_permits(context, Purpose.LICENSE_STATUS)
    if due and not check.denied(context, Purpose.LICENSE_STATUS):
        return check.check(context)
    renewed, advised = renew.renew(context), check.look_for_advisories(context, commanded=False)
    return {"asked": advised if renewed is None else [renewed, *advised]}


def _start(context: PassContext, _intent: Members) -> Result:
    """A start alone is no reason for a request: a check that was missed is made up a little later."""
    context.schedule = schedule.at_start(context.schedule, context.now, context.world.chance.random())
    return {"asked": []}


def _refresh(context: PassContext, _intent: Members) -> Result:
    """A server's Retry-After is asked of what asks by itself; a person who asks may always do so."""
    told, beside = check.check(context), check.look_for_advisories(context, commanded=True)
    return {**told, "advisories": beside[-1] if beside else None}


def _document(context: PassContext, intent: Members) -> Result:
    data = unbase64url(intent.text("document", max_length=MAX_INTENT_BYTES))
    return {"typ": install.document(context, data)}


def _remove(context: PassContext, _intent: Members) -> Result:
    install.forget(context)
    return {"removed": True}


def _nothing(_desk: PassContext, _intent: Members) -> Result:
    """The pass itself is what was asked for."""
    return {}


def _errand(errand: check.Errand) -> Callable[[PassContext, Members], Result]:
    def act(context: PassContext, intent: Members) -> Result:
        key = intent.text("key", max_length=64) if intent.has("key") else None
        return check.command(context, errand, _options(intent), key)

    return act


def _options(intent: Members) -> Mapping[str, Json]:
    return {name: intent.value(name) for name in ("preview", "confirm", "to_file") if intent.has(name)}


_ACTS: Final[dict[str, Callable[[PassContext, Members], Result]]] = {
    "start": _start,
    "tick": _tick,
    "refresh": _refresh,
    "bundle": _document,
    "activate": _errand(check.ACTIVATION),
    "release": _errand(check.RELEASE),
    "exchange": _errand(check.EXCHANGE),
    "remove": _remove,
    "narrowed": _nothing,
    "reset": reset.act,
    **records.ACTS,
}
# Intents by which an administrator says that what is ready may go now.
_ROUTINE: Final = frozenset({"start", "tick"})
_COMMANDED: Final = frozenset({"narrowed"})


def _sleep_s(context: PassContext, found: Verdict) -> int:
    """Until the next check, or the next moment at which time alone changes the verdict."""
    if context.blank:
        return LONGEST_SLEEP_S
    due = schedule.due(context.schedule, context.now)  # still due: the gate denied it
    check_s = DENIED_SLEEP_S if due else schedule.wait_s(context.schedule, context.now)
    moments = [context.now + check_s, context.now + LONGEST_SLEEP_S]
    moments += [moment for moment in (found.until, report.next_s(context), renew.next_s(context)) if moment is not None]
    if Reason.CLOCK_SUSPECT in found.reasons:
        moments.append(context.now + SUSPECT_SLEEP_S)
    return max(1, min(moments) - context.now)


def local_world() -> Ports:
    files, paths = LocalFiles(), find()
    return Ports(
        files=files,
        paths=paths,
        clock=LocalClock(),
        machine=LocalMachine(os.environ),
        opt_outs=LocalOptOuts(files, paths, os.environ),
        consents=LocalConsents(files, paths),
        catalog=resources.load_catalog(),
        notice=resources.installed_notice(),
        outlet=LocalNetworkClient(paths),
        cage=LocalSandbox(),
        chance=OsRandom(),
    )


def main() -> int:
    """Exit status 0 whenever a frame was written: what went wrong is in it, and what the journal is to hear."""
    with log.kept() as lines:
        frame = _frame()
    sys.stdout.buffer.write(dumps({**frame, "journal": _journal(lines, frame)}) + b"\n")
    sys.stdout.buffer.flush()
    return 0


def _journal(lines: Iterable[log.Line], frame: Mapping[str, Json]) -> Json:
    """Each line with its sentence: the daemon, which will tell it, knows no texts."""
    chosen = frame.get("language")
    lang = messages.language(None, chosen if isinstance(chosen, str) else None, os.environ)
    told: list[Json] = []
    for event, level, said in lines:
        fields: dict[str, Json] = {
            name: value if isinstance(value, int) else str(value) for name, value in said.items()
        }
        told.append(
            {"event": event, "level": level, "message": messages.translate_event(event, lang, fields), "fields": fields}
        )
    return told


def _frame() -> dict[str, Json]:
    try:
        intent = Members(loads(sys.stdin.buffer.read(MAX_INTENT_BYTES + 1), max_bytes=MAX_INTENT_BYTES), "intent")
        intent.constant("schema", 1)
        return run(local_world(), intent)
    except AgentError as error:
        return _no_answer(error)
    except Exception as unforeseen:  # noqa: BLE001 - a fault of ours is told as one, and its place, never its values
        crash.note(LocalFiles(), find(), unforeseen)
        where = traceback.extract_tb(unforeseen.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return _no_answer(Bug(Reason.INTERNAL, "unforeseen", kind=type(unforeseen).__name__, place=place))


def _no_answer(error: AgentError) -> dict[str, Json]:
    return {"schema": 1, "ok": False, "error": error.to_json(), "answer": None, "next_run_s": 300, "result": None}
