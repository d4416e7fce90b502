"""Records what changed in the administrator's consents and opt-outs since the last pass, and acts on it.

An edit by hand is a valid act. A widening is in the ledger, durably, before anything follows from it; a narrowing
counts at once and is recorded as soon as it can be. What a file said that was changed and changed back before a pass
saw it is not known; that it was written is. Then the yes counts anew, and what waited goes. On a withdrawal
(`evaluate.consent.withdrawals`), the held reports of the purpose are purged first and recorded then; for reports that
had left, an erasure request is written to `ready/`. Where the ledger cannot be written, the next pass finds the same
changes again, and nothing leaves meanwhile.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from opanel_agent import __version__
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import Signal, Signals
from opanel_agent.core.consent.opt_outs import SignalKind
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.consent.withdrawals import Withdrawable, Withdrawal
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger.chain import Datum, EntryKind
from opanel_agent.core.ledger.requests import RequestRecord
from opanel_agent.core.license import binding, schedule
from opanel_agent.core.license.binding import Identity
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import field, mutable, replace
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.consent import withdrawals
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.inputs import Inputs
from opanel_agent.evaluate.reporting import crash
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.ledger_file import LedgerFile
from opanel_agent.evaluate.storage.state import MAX_SIGNALS, AgentState
from opanel_agent.system.log import log_event

NO_FILE: Final = "none"


@mutable
class Withdrawn:
    """Holds the effects of this pass's withdrawals: purged ids, reports that left or may have, their erasure request's path.

    `unsaved` names the files that could not be written or removed; the next pass finds the same changes again.
    """

    purged: list[str] = field(default_factory=list)
    gone: list[Json] = field(default_factory=list)
    ready: str | None = None
    unsaved: list[str] = field(default_factory=list)

    def name_gone(self, purpose: Purpose, records: Sequence[RequestRecord]) -> None:
        """Names requests that left or may have, each once: what could not be recorded is looked at twice in a pass."""
        named = {row["id"] for row in self.gone if isinstance(row, dict)}
        self.gone += [
            {"id": record.id, "purpose": str(purpose), "at": record.at, "stage": str(record.stage)}
            for record in records
            if record.id not in named
        ]

    def to_json(self) -> dict[str, Json]:
        """Returns it as the frame carries it."""
        purged: list[Json] = [*dict.fromkeys(self.purged)]
        unsaved: list[Json] = [*dict.fromkeys(self.unsaved)]
        return {"purged": purged, "gone": self.gone, "ready": self.ready, "unsaved": unsaved}


def observe(context: PassContext) -> Withdrawn:
    """Records all changes. Raises nothing for the ledger's sake: one that cannot be written denies, the license goes on."""
    withdrawn = Withdrawn()
    inputs, state, outbox = context.inputs, context.state, context.outbox
    steps: tuple[Callable[[], None], ...] = (
        partial(withdrawals.repair, context),
        partial(context.extend_holds, inputs.leapt_s),
        partial(_record_interrupted, outbox, inputs.now),
        partial(_record_upgrade, context.ledger, state, inputs.now),
        partial(_check_identity, context),
        partial(_record_withdrawals, context, withdrawn),
        partial(_record_signals, context),
        *(partial(_record_answer, context, purpose, withdrawn) for purpose in CONSENT_BASED),
        partial(record_days, outbox, inputs.now),
    )
    for step in steps:
        try:
            step()
        except Storage as trouble:
            # The ledger may take another line a moment later; what was to follow from this one has not been done all the
            # same. No step keeps another from being done: a withdrawal purges whatever the disk refused before it.
            context.unrecorded = context.unrecorded or trouble.detail
            withdrawn.unsaved.append(Path(str(trouble.values.get("file", outbox.paths.ledger))).name)
            log_event("ledger_not_written", level="error", error=str(trouble))
    if context.unrecorded is None:
        state.consent_sha256 = _digest_of(context.inputs.consent)
        state.consent_stamp = context.inputs.consent.stamp
    return withdrawn


def review(context: PassContext) -> dict[str, Json]:
    """Records that a person has reviewed a broken ledger, or the consents that a cloned machine brought along.

    What was held or noted before goes, since the review is what permits. On a cloned machine consents count only from the
    next pass, after it has recorded them for the new machine. Raises Storage.
    """
    denied = context.ledger.fault is not None or context.state.clone_of is not None
    context.ledger.append(EntryKind.REVIEWED, context.now)
    context.state.clone_of = None
    if denied:
        for purpose in CONSENT_BASED:
            _purge_before_grant(context, purpose, Withdrawn())
    return {"reviewed": True}


def grant_digest(consent: ConsentReading) -> str | None:
    """Returns the digest of a consent file that allows anything; None where nothing could be another machine's grant."""
    file = consent.file
    return file.sha256 if file is not None and any(choice.allow for choice in file.purposes.values()) else None


def record_days(outbox: Outbox, now: int) -> None:
    """Writes the daily mark. More than 48 h without one may mean a restored backup, which knows of no withdrawal since."""
    ledger = outbox.ledger
    if ledger.gap(now):
        ledger.append(EntryKind.GAP_FOUND, now)
        _begin_anew(outbox, now)
    ledger.mark(now)


def _record_interrupted(outbox: Outbox, now: int) -> None:
    """Records requests that a "no" or a crash ended under way; they may have arrived, whole or in part.

    The ledger has them as failed.

    Recorded before they are marked as such: a crash in between records them twice rather than never.
    """
    for sealed in outbox.interrupted():
        outbox.ledger.request(EntryKind.REQUEST_FAILED, now, sealed, reason="interrupted")
        outbox.keep_reply(sealed, Reply(ok=False, code=str(Reason.INTERNAL), detail="interrupted", url=sealed.url))
        log_event("request_interrupted", level="warning", id=sealed.id)


def _record_upgrade(ledger: LedgerFile, state: AgentState, now: int) -> None:
    if state.version not in (None, __version__):
        ledger.append(EntryKind.UPGRADED, now, before=state.version or "", version=__version__)
    state.version = __version__


def _check_identity(context: PassContext) -> None:
    """Notices other hardware, where every consent was given for another machine. A copy makes its key anew as well."""
    inputs, state = context.inputs, context.state
    known = state.identity
    found = binding.identity(known, inputs.components, inputs.unread)
    if found is not Identity.SAME:
        context.ledger.append(EntryKind.CLONE_FOUND, inputs.now)
        _become_another(context, copy=found is Identity.COPY)
        log_event("clone_found", level="warning")
    state.identity = {**known, **binding.fingerprints(context.inputs.components, inputs.unread)}
    if state.clone_of not in (None, _digest_of(inputs.consent)):
        state.clone_of = None  # answered again, here
    context.inputs = replace(context.inputs, clone=state.clone_of is not None)


def _become_another(context: PassContext, *, copy: bool) -> None:
    """Drops what was drawn, sealed or planned for the other machine: two must not ask at one time, nor send the same.

    The key stays where only the hardware is new: by it the server keeps its seat when it is activated again.
    """
    ports, inputs, state = context.ports, context.inputs, context.state
    if copy:
        ports.files.remove(ports.paths.activation_key)
        components = {name: value for name, value in inputs.components.items() if name != "agent_key"}
        context.inputs = replace(inputs, components=components, key_id=None)
    outbox = context.outbox
    outbox.purge(outbox.held_items(), inputs.now, reason="clone")
    context.schedule = schedule.plan_first(inputs.now, ports.random.random())
    state.clone_of = grant_digest(inputs.consent)
    state.reports, state.retries, state.quiet_until, state.quiet_but = {}, {}, None, None


def _record_opt_outs(outbox: Outbox, state: AgentState, signals: list[Signal], now: int) -> None:
    """Records each new opt-out once. One that disappears gives every hold its whole time again."""
    every = {_signal_name(signal): signal for signal in signals}
    standing = dict(sorted(every.items())[:MAX_SIGNALS])  # as many as the state keeps: each denies, recorded or not
    for name in sorted(standing.keys() - set(state.signals)):
        signal = standing[name]
        outbox.ledger.append(EntryKind.OPT_OUT_SEEN, now, signal=signal.what, place=signal.place, line=signal.line or 0)
    gone = sorted(set(state.signals) - standing.keys())
    if gone:
        outbox.ledger.append(EntryKind.OPT_OUT_GONE, now, ids=tuple(gone[:16]))
        _begin_anew(outbox, now)
    state.signals = sorted(standing)


def _begin_anew(outbox: Outbox, now: int) -> None:
    """Begins anew after what forbade is gone.

    Every hold has its whole time again, and crashes that were noted meanwhile are forgotten.
    """
    crash.forget(outbox.files, outbox.paths)
    waiting = [sealed for sealed in outbox.held_reports() if not sealed.reviewed]
    if not waiting:
        return
    outbox.ledger.append(EntryKind.HOLDS_RESTARTED, now, count=len(waiting))
    for sealed in waiting:
        outbox.restart_hold(sealed, now)
    log_event("holds_restarted", level="warning", count=len(waiting))


def _record_signals(context: PassContext) -> None:
    signals = [*_all_signals(context.inputs.signals, context.inputs.consent)]
    _record_opt_outs(context.outbox, context.state, signals, context.inputs.now)


def _record_withdrawals(context: PassContext, withdrawn: Withdrawn) -> None:
    """Records what was withdrawn since the last pass, by whatever, and whether or not it was granted again meanwhile."""
    standing = frozenset(map(_signal_name, _all_signals(context.inputs.signals, context.inputs.consent)))

    def reversed_(subject: str, each: Withdrawal) -> None:
        """Records an opt-out that is gone again; one that stood at an earlier pass is known to be gone by its name."""
        paths = context.outbox.paths
        file = paths.do_not_track if subject == Withdrawable.DO_NOT_TRACK else paths.offline
        known = {_signal_name(Signal(kind=SignalKind.FILE, what=file.name, place=str(file.parent)))}
        known.add(_signal_name(Signal(kind=SignalKind.WITHDRAWAL, what=each.day_and_time, place=each.by.value)))
        if known & (standing | set(context.state.signals)):
            return
        context.ledger.append(
            EntryKind.OPT_OUT_SEEN, context.now, signal=subject, place=each.by.value, line=0, withdrawn_at=each.at
        )
        context.ledger.append(EntryKind.OPT_OUT_GONE, context.now, ids=(f"{subject} in {each.by.value}",))
        _begin_anew(context.outbox, context.now)

    again = withdrawals.note_edits(context, lambda purpose: _answer_now(context, purpose))
    withdrawals.record(context, again, lambda purpose: _purge(context, purpose, withdrawn), reversed_)


def _answer_now(context: PassContext, purpose: Purpose) -> str:
    return answer_of(context.inputs.consent, purpose, context.inputs.notice, clone=context.inputs.clone)


def _record_answer(context: PassContext, purpose: Purpose, withdrawn: Withdrawn) -> None:
    """Records an answer that is no withdrawal: those are recorded already, and left `withdrawn` as the answer of before."""
    inputs, state = context.inputs, context.state
    before, now = state.answers.get(purpose, NO_FILE), _answer_now(context, purpose)
    if now == "given":
        withdrawals.note_grant(context, purpose)
    if before == now:
        # A new ledger (the old one was broken, or lost) begins with the grant that stands.
        if now == "given" and context.ledger.latest(EntryKind.CONSENT_GIVEN, purpose) is None:
            _record(context.outbox, inputs, EntryKind.CONSENT_GIVEN, purpose)
        elif now == "given" and _is_rewritten(context):
            _purge_before_grant(context, purpose, withdrawn)
            if _rewritten_last(context, purpose) <= inputs.now - DAY_S:
                _record(context.outbox, inputs, EntryKind.CONSENT_INVALIDATED, purpose, reason=Reason.CONSENT_REWRITTEN)
                _record(context.outbox, inputs, EntryKind.CONSENT_GIVEN, purpose)
        return
    if now in withdrawals.UNGRANTED and before not in withdrawals.UNGRANTED:
        # A withdrawal that could not be recorded: it is purged for all the same, and the next pass finds it again.
        _purge(context, purpose, withdrawn)
        return
    if now == "given":
        _purge_before_grant(context, purpose, withdrawn)
    kind = _KINDS.get((before in withdrawals.UNGRANTED, now))
    if kind is not None and (before, now) != ("withdrawn", "refused"):
        _record(context.outbox, inputs, kind, purpose)
    log_event("consent_changed", purpose=str(purpose), was=before, now=now)
    state.answers[purpose] = now


# (nothing was granted before, the answer now) -> the state of W3C DPV. What is missing is no change of consent.
_KINDS: Final = {
    (True, "given"): EntryKind.CONSENT_GIVEN,
    (False, "given"): EntryKind.CONSENT_GIVEN,
    (True, "refused"): EntryKind.CONSENT_REFUSED,
    (False, "stale"): EntryKind.CONSENT_INVALIDATED,
    (False, "faulty"): EntryKind.CONSENT_INVALIDATED,
}


def answer_of(consent: ConsentReading, purpose: Purpose, notice: str, *, clone: bool) -> str:
    """Returns the answer as the state keeps it.

    `given`, `refused`, `withdrawn` (the file's yes was), `stale` (to another notice, on another machine), `faulty` (a file
    is refused), `policy` (given, and denied by a file of consent.d), `none` (never asked).
    """
    if consent.faults():
        return "faulty"
    choice = None if consent.file is None else consent.file.purposes.get(purpose)
    if consent.file is None or choice is None:
        return NO_FILE
    if not choice.allow:
        return "refused"
    if consent.withdrawal(purpose) is not None:
        return "withdrawn"
    if consent.file.notice != notice or clone:
        return "stale"
    return "policy" if any(purpose in policy.denied for policy in consent.policies) else "given"


def _is_rewritten(context: PassContext) -> bool:
    """Tells whether consent.toml was written since the last pass and has the bytes of then.

    It may have said no in between, and whoever changed it back did not see to it that nothing of before leaves. A command
    that changes an answer changes bytes, and says itself what it withdraws.
    """
    state, consent = context.state, context.inputs.consent
    same = state.consent_sha256 == _digest_of(consent)
    return same and state.consent_stamp not in (None, "", consent.stamp)


def _rewritten_last(context: PassContext, purpose: Purpose) -> int:
    """Tells when the ledger last had that the file was rewritten: a program that does so every hour must not fill it."""
    entry = context.ledger.latest(EntryKind.CONSENT_INVALIDATED, purpose)
    return entry.at if entry is not None and entry.data.get("reason") == Reason.CONSENT_REWRITTEN else 0


def _record(outbox: Outbox, inputs: Inputs, kind: EntryKind, purpose: Purpose, *, reason: Reason | None = None) -> None:
    file = inputs.consent.file
    data: dict[str, Datum] = {"owner": outbox.paths.owner, "notice": inputs.notice}
    if file is not None:
        data["file_sha256"] = file.sha256
    if kind is EntryKind.CONSENT_GIVEN and file is not None and file.granted is not None:
        data |= {"by": file.granted.by, "role": file.granted.role, "on": file.granted.on}
    if kind is EntryKind.CONSENT_INVALIDATED:
        data["reason"] = str(reason or _invalid(inputs.consent, clone=inputs.clone))
    outbox.ledger.append(kind, inputs.now, purpose=str(purpose), **data)


def _invalid(consent: ConsentReading, *, clone: bool) -> Reason:
    if consent.faults():
        return Reason.CONSENT_REFUSED
    return Reason.CLONE if clone else Reason.NOTICE_CHANGED


def _purge(context: PassContext, purpose: Purpose, withdrawn: Withdrawn) -> None:
    """Purges held reports and names those that may have left, whose erasure request is written first.

    A report whose attempt nobody answered is held and may have left: it is named as the latter alone. One whose copy was
    purged is known by the ledger, as long as the authority may store it. Where the request cannot be written the reports
    are purged all the same, since their secrets stay; the next pass writes it. Raises Storage then.
    """
    outbox = context.outbox
    gone = context.rights.attempts(purpose)
    left = {record.id for record in gone}
    failed: Storage | None = None
    if gone:
        withdrawn.name_gone(purpose, gone)
        try:
            ready = context.rights.make_ready(left)
            withdrawn.ready = withdrawn.ready if ready is None else str(ready)
        except Storage as trouble:
            failed = trouble
    waiting = [sealed.id for sealed in outbox.held_reports() if sealed.purpose == purpose]
    withdrawn.purged += [name for name in waiting if name not in left]
    outbox.purge_held(waiting, context.now, reason="withdrawn")
    if failed is not None:
        raise failed


def _purge_before_grant(context: PassContext, purpose: Purpose, withdrawn: Withdrawn) -> None:
    """Purges whatever was held or noted before a consent, which is not retroactive.

    It goes and is collected anew under it.
    """
    waiting = [sealed.id for sealed in context.outbox.held_reports() if sealed.purpose == purpose]
    withdrawn.purged += waiting
    context.outbox.purge_held(waiting, context.now, reason="before_consent")
    if purpose is Purpose.CRASH_REPORTS:
        crash.forget(context.ports.files, context.ports.paths)


def _all_signals(signals: Signals, consent: ConsentReading) -> Iterator[Signal]:
    yield from signals.do_not_track
    yield from signals.offline
    yield from consent.signals()
    yield from consent.offline()


def _signal_name(signal: Signal) -> str:
    return f"{signal.what} in {signal.place}"[:200]


def _digest_of(consent: ConsentReading) -> str:
    """Returns the digest of the file's bytes; a refused file counts as none."""
    return NO_FILE if consent.file is None else consent.file.sha256
