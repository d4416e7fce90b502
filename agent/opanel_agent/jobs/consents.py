"""What changed in the administrator's word since the last pass: recorded before its first effect, and acted upon.

An edit by hand is a valid act. A widening is in the ledger, durably, before anything follows from it; a narrowing counts at
once and is recorded as soon as it can be. What a withdrawal finds waiting is purged first and recorded then; for what had
left already a request for its erasure lies ready. Where the ledger cannot be written, what was to be recorded is found again
by the next pass, and nothing leaves meanwhile.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from opanel_agent import __version__
from opanel_agent.core import schedule
from opanel_agent.core.consent import Signal
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger import Kind
from opanel_agent.core.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.reasons import Reason
from opanel_agent.core.request import Reply, Sealed
from opanel_agent.core.strict_json import Json
from opanel_agent.core.strict_toml import MAX_BYTES
from opanel_agent.jobs import rights, sent
from opanel_agent.jobs.desk import Desk
from opanel_agent.jobs.memory import MAX_SIGNALS
from opanel_agent.jobs.retention import Rooms
from opanel_agent.system.log import line

NO_FILE: Final = "none"
# What two machines never share where both have it; a changed one means a clone.
_IDENTITY: Final = frozenset({"machine_id", "dmi_product_uuid"})


@dataclass(slots=True, kw_only=True)
class Noted:
    """What a pass found: ids that were purged, reports that had left already, and the erasure request that lies ready."""

    purged: list[str]
    gone: list[Json]
    ready: str | None = None

    def to_json(self) -> Json:
        purged: list[Json] = [*self.purged]
        return {"purged": purged, "gone": self.gone, "ready": self.ready}


def observe(desk: Desk) -> Noted:
    """Never raises for the ledger's sake: a ledger that cannot be written denies, and the license goes on."""
    noted = Noted(purged=[], gone=[])
    try:
        _cut_short(desk)
        _upgrade(desk)
        _machine(desk)
        _opt_outs(desk)
        _answers(desk, noted)
        days(desk)
    except Storage as trouble:
        # The book may take another line a moment later; what was to follow from this one has not been done all the same.
        desk.unrecorded = trouble.detail
        line("ledger_not_written", level="error", error=str(trouble))
    return noted


def held_reports(desk: Desk) -> Iterator[Sealed]:
    """Finished reports that wait, in the order of their names."""
    for name in desk.world.files.names(desk.world.paths.held):
        sealed = sent.waiting(desk, name)
        if sealed is not None and sealed.purpose in CONSENT_BASED:
            yield sealed


def _cut_short(desk: Desk) -> None:
    """What a "no" or a crash ended under way: it may have arrived, whole or in part, and the ledger says so.

    Recorded before the mark that it was: a crash in between says it twice rather than never.
    """
    for sealed in sent.unanswered(desk):
        desk.book.request(Kind.REQUEST_FAILED, desk.now, sealed, reason="interrupted")
        sent.keep_reply(desk, sealed, Reply(ok=False, code=str(Reason.INTERNAL), detail="interrupted", url=sealed.url))
        line("request_interrupted", level="warning", id=sealed.id)


def _upgrade(desk: Desk) -> None:
    if desk.memory.version not in (None, __version__):
        desk.book.append(Kind.UPGRADED, desk.now, before=desk.memory.version or "", version=__version__)
    desk.memory.version = __version__


def _machine(desk: Desk) -> None:
    """A new machine id or product UUID: keys are made anew, and every consent was another machine's."""
    here = {name: _digest(value) for name, value in desk.components.items() if name in _IDENTITY}
    known = desk.memory.identity
    if any(known.get(name, digest) != digest for name, digest in here.items()):
        desk.book.append(Kind.CLONE_FOUND, desk.now)
        _become_another(desk)
        line("clone_found", level="warning")
    desk.memory.identity = {**known, **here}
    if desk.memory.clone_of not in (None, _consent_digest(desk)):
        desk.memory.clone_of = None  # answered again, here
    desk.clone = desk.memory.clone_of is not None


def _become_another(desk: Desk) -> None:
    """What was drawn, sealed or planned for the other machine is its own: two must not ask at one time, nor say the same."""
    desk.world.files.remove(desk.world.paths.activation_key)
    desk.components.pop("agent_key", None)
    rooms = Rooms(files=desk.world.files, paths=desk.world.paths, book=desk.book)
    rooms.purge(rooms.held(), desk.now, reason="clone")
    desk.schedule = schedule.plan_first(desk.now, desk.world.chance.fraction())
    memory = desk.memory
    memory.clone_of = grant(desk)
    memory.reports, memory.retries, memory.quiet_until, memory.quiet_but = {}, {}, None, None


def grant(desk: Desk) -> str | None:
    """The digest of a consent file that says yes to anything; None where there is nothing that could be another's yes."""
    file = desk.consent.file
    return _consent_digest(desk) if file is not None and any(said.allow for said in file.purposes.values()) else None


def _opt_outs(desk: Desk) -> None:
    """A signal that disappears gives every hold its whole time again."""
    every = {_named(signal): signal for signal in _signals(desk)}
    standing = dict(sorted(every.items())[:MAX_SIGNALS])  # as many as the memory keeps: each denies, recorded or not
    for name in sorted(standing.keys() - set(desk.memory.signals)):
        signal = standing[name]
        desk.book.append(Kind.OPT_OUT_SEEN, desk.now, signal=signal.what, place=signal.place, line=signal.line or 0)
    gone = sorted(set(desk.memory.signals) - standing.keys())
    if gone:
        desk.book.append(Kind.OPT_OUT_GONE, desk.now, ids=tuple(gone[:16]))
        _restart_holds(desk)
    desk.memory.signals = sorted(standing)


def days(desk: Desk) -> None:
    """More than 48 h without a mark: a restored backup, perhaps, that knows of no withdrawal in between."""
    if desk.book.gap(desk.now):
        desk.book.append(Kind.GAP_FOUND, desk.now)
        _restart_holds(desk)
    desk.book.mark(desk.now)


def _restart_holds(desk: Desk) -> None:
    waiting = [sealed for sealed in held_reports(desk) if not sealed.reviewed]
    if not waiting:
        return
    desk.book.append(Kind.HOLDS_RESTARTED, desk.now, count=len(waiting))
    for sealed in waiting:
        sent.hold(desk, replace(sealed, held_since=desk.now))
    line("holds_restarted", level="warning", count=len(waiting))


def _answers(desk: Desk, noted: Noted) -> None:
    digest = _consent_digest(desk)
    for purpose in CONSENT_BASED:
        before, now = desk.memory.answers.get(purpose, NO_FILE), _answer(desk, purpose)
        if before == now:
            # A new ledger (the old one was broken, or lost) begins with the word that stands.
            if now == "given" and desk.book.latest(Kind.CONSENT_GIVEN, purpose) is None:
                _record(desk, Kind.CONSENT_GIVEN, purpose, digest)
            continue
        if now in ("refused", NO_FILE):
            _purge(desk, purpose, noted)
        kind = _KINDS.get((before in {NO_FILE, "refused"}, now))
        if kind is not None:
            _record(desk, kind, purpose, digest)
        line("consent_changed", purpose=str(purpose), was=before, now=now)
        desk.memory.answers[purpose] = now
    desk.memory.consent_sha256 = digest


# (nothing was granted before, what is said now) -> the state of W3C DPV. What is missing is no change of consent.
_KINDS: Final = {
    (True, "given"): Kind.CONSENT_GIVEN,
    (False, "given"): Kind.CONSENT_GIVEN,
    (True, "refused"): Kind.CONSENT_REFUSED,
    (False, "refused"): Kind.CONSENT_WITHDRAWN,
    (False, NO_FILE): Kind.CONSENT_WITHDRAWN,
    (False, "stale"): Kind.CONSENT_INVALIDATED,
    (False, "faulty"): Kind.CONSENT_INVALIDATED,
}


def _answer(desk: Desk, purpose: Purpose) -> str:
    """Given · refused · stale (another notice, another machine) · faulty (the file is refused) · none (never asked)."""
    consent = desk.consent
    if consent.faults():
        return "faulty"
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if consent.file is None or choice is None:
        return NO_FILE
    if not choice.allow:
        return "refused"
    return "given" if consent.file.notice == desk.world.notice and not desk.clone else "stale"


def _record(desk: Desk, kind: Kind, purpose: Purpose, digest: str) -> None:
    file = desk.consent.file
    said: dict[str, str | int] = {"owner": desk.world.paths.owner, "notice": desk.world.notice}
    if digest != NO_FILE:
        said["file_sha256"] = digest
    if kind is Kind.CONSENT_GIVEN and file is not None and file.granted is not None:
        said |= {"by": file.granted.by, "role": file.granted.role, "on": file.granted.on}
    if kind is Kind.CONSENT_INVALIDATED:
        said["reason"] = str(_invalid(desk))
    desk.book.append(kind, desk.now, purpose=str(purpose), **said)


def _invalid(desk: Desk) -> Reason:
    if desk.consent.faults():
        return Reason.CONSENT_REFUSED
    return Reason.CLONE if desk.clone else Reason.NOTICE_CHANGED


def _purge(desk: Desk, purpose: Purpose, noted: Noted) -> None:
    """What waits goes; what had left is named, and the request for its erasure is made ready first."""
    gone = sent.reports(desk, purpose)
    if gone:
        noted.gone += [{"id": name, "purpose": str(purpose), "at": at} for name, at in gone]
        ready = rights.make_ready(desk, [name for name, _ in gone])
        noted.ready = None if ready is None else str(ready)
    waiting = [sealed.id for sealed in held_reports(desk) if sealed.purpose == purpose]
    noted.purged += waiting
    rooms = Rooms(files=desk.world.files, paths=desk.world.paths, book=desk.book)
    rooms.purge([kept for kept in rooms.held() if kept.id in waiting], desk.now, reason="withdrawn")


def _signals(desk: Desk) -> Iterator[Signal]:
    yield from desk.signals.do_not_track
    yield from desk.signals.offline
    yield from desk.consent.signals()


def _named(signal: Signal) -> str:
    return f"{signal.what} in {signal.place}"[:200]


def _consent_digest(desk: Desk) -> str:
    """Of the file's bytes, as they lie there; a refused file counts as none."""
    if desk.consent.file is None:
        return NO_FILE
    data = desk.world.files.read(desk.world.paths.consent, max_bytes=MAX_BYTES)
    return NO_FILE if data is None else hashlib.sha256(data).hexdigest()


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8")).hexdigest()
