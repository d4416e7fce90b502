"""What changed in the administrator's word since the last pass: recorded before its first effect, and acted upon.

An edit by hand is a valid act. A widening is in the ledger, durably, before anything follows from it; a narrowing counts at
once and is recorded as soon as it can be. What a withdrawal finds waiting is purged first and recorded then; for what had
left already a request for its erasure lies ready. Where the ledger cannot be written, what was to be recorded is found again
by the next pass, and nothing leaves meanwhile.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from opanel_agent import __version__
from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codec.strict_toml import MAX_BYTES
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import Signal
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.license import binding, schedule
from opanel_agent.core.license.binding import Identity
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.consent import rights
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.state import MAX_SIGNALS
from opanel_agent.system.log import log_event

NO_FILE: Final = "none"
# What two machines never share where both have it; a changed one means a clone.


@dataclass(slots=True, kw_only=True)
class Noted:
    """What a pass found: ids that were purged, reports that had left already, and the erasure request that lies ready."""

    purged: list[str]
    gone: list[Json]
    ready: str | None = None

    def to_json(self) -> Json:
        purged: list[Json] = [*self.purged]
        return {"purged": purged, "gone": self.gone, "ready": self.ready}


def observe(context: PassContext) -> Noted:
    """Never raises for the ledger's sake: a ledger that cannot be written denies, and the license goes on."""
    noted = Noted(purged=[], gone=[])
    try:
        _cut_short(context)
        _upgrade(context)
        _machine(context)
        _opt_outs(context)
        _answers(context, noted)
        days(context)
    except Storage as trouble:
        # The book may take another line a moment later; what was to follow from this one has not been done all the same.
        context.unrecorded = trouble.detail
        log_event("ledger_not_written", level="error", error=str(trouble))
    return noted


def _cut_short(context: PassContext) -> None:
    """What a "no" or a crash ended under way: it may have arrived, whole or in part, and the ledger says so.

    Recorded before the mark that it was: a crash in between says it twice rather than never.
    """
    for sealed in context.outbox.interrupted():
        context.book.request(EntryKind.REQUEST_FAILED, context.now, sealed, reason="interrupted")
        context.outbox.keep_reply(
            sealed, Reply(ok=False, code=str(Reason.INTERNAL), detail="interrupted", url=sealed.url)
        )
        log_event("request_interrupted", level="warning", id=sealed.id)


def _upgrade(context: PassContext) -> None:
    if context.memory.version not in (None, __version__):
        context.book.append(EntryKind.UPGRADED, context.now, before=context.memory.version or "", version=__version__)
    context.memory.version = __version__


def _machine(context: PassContext) -> None:
    """Where the hardware is another: every consent was given on another machine. A copy makes its keys anew as well."""
    known = context.memory.identity
    found = binding.identity(known, context.components)
    if found is not Identity.SAME:
        context.book.append(EntryKind.CLONE_FOUND, context.now)
        _become_another(context, copy=found is Identity.COPY)
        log_event("clone_found", level="warning")
    context.memory.identity = {**known, **binding.fingerprints(context.components)}
    if context.memory.clone_of not in (None, _consent_digest(context)):
        context.memory.clone_of = None  # answered again, here
    context.clone = context.memory.clone_of is not None


def _become_another(context: PassContext, *, copy: bool) -> None:
    """What was drawn, sealed or planned for the other machine is its own: two must not ask at one time, nor say the same.

    The key stays where only the hardware is new: by it the server keeps its seat when it is activated again.
    """
    if copy:
        context.world.files.remove(context.world.paths.activation_key)
        context.components.pop("agent_key", None)
    context.outbox.purge(context.outbox.held_items(), context.now, reason="clone")
    context.schedule = schedule.plan_first(context.now, context.world.chance.random())
    memory = context.memory
    memory.clone_of = grant(context)
    memory.reports, memory.retries, memory.quiet_until, memory.quiet_but = {}, {}, None, None


def grant(context: PassContext) -> str | None:
    """The digest of a consent file that says yes to anything; None where there is nothing that could be another's yes."""
    file = context.consent.file
    return _consent_digest(context) if file is not None and any(said.allow for said in file.purposes.values()) else None


def _opt_outs(context: PassContext) -> None:
    """A signal that disappears gives every hold its whole time again."""
    every = {_named(signal): signal for signal in _signals(context)}
    standing = dict(sorted(every.items())[:MAX_SIGNALS])  # as many as the memory keeps: each denies, recorded or not
    for name in sorted(standing.keys() - set(context.memory.signals)):
        signal = standing[name]
        context.book.append(
            EntryKind.OPT_OUT_SEEN, context.now, signal=signal.what, place=signal.place, line=signal.line or 0
        )
    gone = sorted(set(context.memory.signals) - standing.keys())
    if gone:
        context.book.append(EntryKind.OPT_OUT_GONE, context.now, ids=tuple(gone[:16]))
        _restart_holds(context)
    context.memory.signals = sorted(standing)


def days(context: PassContext) -> None:
    """More than 48 h without a mark: a restored backup, perhaps, that knows of no withdrawal in between."""
    if context.book.gap(context.now):
        context.book.append(EntryKind.GAP_FOUND, context.now)
        _restart_holds(context)
    context.book.mark(context.now)


def _restart_holds(context: PassContext) -> None:
    waiting = [sealed for sealed in context.outbox.held_reports() if not sealed.reviewed]
    if not waiting:
        return
    context.book.append(EntryKind.HOLDS_RESTARTED, context.now, count=len(waiting))
    for sealed in waiting:
        context.outbox.restart_hold(sealed, context.now)
    log_event("holds_restarted", level="warning", count=len(waiting))


def _answers(context: PassContext, noted: Noted) -> None:
    digest = _consent_digest(context)
    for purpose in CONSENT_BASED:
        before, now = context.memory.answers.get(purpose, NO_FILE), _answer(context, purpose)
        if before == now:
            # A new ledger (the old one was broken, or lost) begins with the word that stands.
            if now == "given" and context.book.latest(EntryKind.CONSENT_GIVEN, purpose) is None:
                _record(context, EntryKind.CONSENT_GIVEN, purpose, digest)
            continue
        if now in ("refused", NO_FILE):
            _purge(context, purpose, noted)
        kind = _KINDS.get((before in {NO_FILE, "refused"}, now))
        if kind is not None:
            _record(context, kind, purpose, digest)
        log_event("consent_changed", purpose=str(purpose), was=before, now=now)
        context.memory.answers[purpose] = now
    context.memory.consent_sha256 = digest


# (nothing was granted before, what is said now) -> the state of W3C DPV. What is missing is no change of consent.
_KINDS: Final = {
    (True, "given"): EntryKind.CONSENT_GIVEN,
    (False, "given"): EntryKind.CONSENT_GIVEN,
    (True, "refused"): EntryKind.CONSENT_REFUSED,
    (False, "refused"): EntryKind.CONSENT_WITHDRAWN,
    (False, NO_FILE): EntryKind.CONSENT_WITHDRAWN,
    (False, "stale"): EntryKind.CONSENT_INVALIDATED,
    (False, "faulty"): EntryKind.CONSENT_INVALIDATED,
}


def _answer(context: PassContext, purpose: Purpose) -> str:
    """Given · refused · stale (another notice, another machine) · faulty (the file is refused) · none (never asked)."""
    consent = context.consent
    if consent.faults():
        return "faulty"
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if consent.file is None or choice is None:
        return NO_FILE
    if not choice.allow:
        return "refused"
    return "given" if consent.file.notice == context.world.notice and not context.clone else "stale"


def _record(context: PassContext, kind: EntryKind, purpose: Purpose, digest: str) -> None:
    file = context.consent.file
    said: dict[str, str | int] = {"owner": context.world.paths.owner, "notice": context.world.notice}
    if digest != NO_FILE:
        said["file_sha256"] = digest
    if kind is EntryKind.CONSENT_GIVEN and file is not None and file.granted is not None:
        said |= {"by": file.granted.by, "role": file.granted.role, "on": file.granted.on}
    if kind is EntryKind.CONSENT_INVALIDATED:
        said["reason"] = str(_invalid(context))
    context.book.append(kind, context.now, purpose=str(purpose), **said)


def _invalid(context: PassContext) -> Reason:
    if context.consent.faults():
        return Reason.CONSENT_REFUSED
    return Reason.CLONE if context.clone else Reason.NOTICE_CHANGED


def _purge(context: PassContext, purpose: Purpose, noted: Noted) -> None:
    """What waits goes; what had left is named, and the request for its erasure is made ready first."""
    gone = context.outbox.sent_reports(purpose)
    if gone:
        noted.gone += [{"id": name, "purpose": str(purpose), "at": at} for name, at in gone]
        ready = rights.make_ready(context, [name for name, _ in gone])
        noted.ready = None if ready is None else str(ready)
    waiting = [sealed.id for sealed in context.outbox.held_reports() if sealed.purpose == purpose]
    noted.purged += waiting
    context.outbox.purge_held(waiting, context.now, reason="withdrawn")


def _signals(context: PassContext) -> Iterator[Signal]:
    yield from context.signals.do_not_track
    yield from context.signals.offline
    yield from context.consent.signals()


def _named(signal: Signal) -> str:
    return f"{signal.what} in {signal.place}"[:200]


def _consent_digest(context: PassContext) -> str:
    """Of the file's bytes, as they lie there; a refused file counts as none."""
    if context.consent.file is None:
        return NO_FILE
    data = context.world.files.read(context.world.paths.consent, max_bytes=MAX_BYTES)
    return NO_FILE if data is None else hashlib.sha256(data).hexdigest()
