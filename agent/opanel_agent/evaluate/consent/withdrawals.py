"""Keeps the agent's part of the record of withdrawals: what the panel withdrew, what an edit did, what the ledger has.

A withdrawal is in its record, durably, before anything follows from it: so it holds although the ledger cannot be written,
the file that says yes cannot be read, or the grant comes back before the next pass. Each is purged for and recorded once,
whether or not it still stands. What a purge or an entry of the ledger raises, the next pass does again: rather twice than
never.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent import withdrawals
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.consent.withdrawals import AgentRecord, Origin, Withdrawable, Withdrawal
from opanel_agent.core.errors import Misconfigured, Storage, Usage
from opanel_agent.core.ledger.chain import Datum, EntryKind
from opanel_agent.core.values import replace
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.storage import state_files
from opanel_agent.system.consent.withdrawal_store import WithdrawalStore
from opanel_agent.system.log import log_event

Result = dict[str, Json]

_CONSENTS: Final = tuple(Withdrawable(purpose.value) for purpose in CONSENT_BASED)
# Of a record of the agent's that could not be read, all of these may have been withdrawn.
_OF_THE_AGENT: Final = (*_CONSENTS, Withdrawable.DO_NOT_TRACK)
UNGRANTED: Final = frozenset({"none", "refused", "withdrawn"})


def by_panel(context: PassContext, intent: Members) -> Withdrawable:
    """Withdraws what a peer names, durably; returns what it was. Raises Usage, and Storage where it could not be kept.

    What stands withdrawn already is left as it is.
    """
    subject = _subject(intent)
    if not _stands_already(context, subject):
        _add(context, subject, Origin.PANEL)
    return subject


def repair(context: PassContext) -> None:
    """Moves a record of the agent's that cannot be read aside; all that it may have held is then withdrawn."""
    path = context.ports.paths.withdrawals_of_agent
    fault = next((each for each in context.inputs.consent.withdrawals_refused if _is_about(each, path)), None)
    if fault is None:
        return
    state_files.quarantine(context.ports.files, path, fault)
    ids = [_new_id(context) for _ in _OF_THE_AGENT]
    _write(context, AgentRecord(withdrawals=withdrawals.of_damage(ids, _OF_THE_AGENT, context.now)))


def note_edits(context: PassContext, answer: Callable[[Purpose], str]) -> tuple[Withdrawal, ...]:
    """Keeps what consent.toml itself withdrew since the last pass: it said yes, and says no or is gone. Raises Storage.

    `answer` gives the answer of now, in the words of the state. Returns the withdrawals that stand already and are recorded,
    of which an older state that was put back knows nothing.
    """
    again: list[Withdrawal] = []
    known = context.inputs.consent.withdrawals
    unrecorded = {each.subject for each in known.unrecorded()}
    for purpose in CONSENT_BASED:
        subject = Withdrawable(purpose.value)
        was_granted = context.state.answers.get(purpose, "none") not in UNGRANTED
        if not was_granted or answer(purpose) not in UNGRANTED or subject in unrecorded:
            continue
        standing = known.covering(subject, None)
        if standing is not None and _stands_already(context, subject):
            again.append(standing)
        else:
            _add(context, subject, Origin.FILE)
    return tuple(again)


def record(
    context: PassContext,
    again: tuple[Withdrawal, ...],
    purge: Callable[[Purpose], None],
    reverse: Callable[[str, Withdrawal], None],
) -> None:
    """Purges for each withdrawal that the ledger has not yet, and records it, whether it stands or was reversed.

    `purge` is for a purpose; `reverse` is for an opt-out that came and went, by its subject. Raises Storage.
    """
    recorded: list[str] = []
    failed: Storage | None = None
    for each in (*again, *context.inputs.consent.withdrawals.unrecorded()):
        try:
            if each.subject in _CONSENTS:
                _record_one(context, Purpose(each.subject.value), each, purge)
            elif not each.stands:
                reverse(each.subject.value, each)
            recorded.append(each.id)
        except Storage as trouble:  # what the ledger does not take for one purpose keeps no other from being purged
            failed = failed or trouble
    if recorded:
        _write(context, withdrawals.agent_records(context.inputs.consent.withdrawals, recorded))
    if failed is not None:
        raise failed


def _record_one(context: PassContext, purpose: Purpose, each: Withdrawal, purge: Callable[[Purpose], None]) -> None:
    purge(purpose)
    _append(context, purpose, each)
    before, context.state.answers[purpose] = context.state.answers.get(purpose, "none"), "withdrawn"
    log_event("consent_changed", purpose=purpose.value, was=before, now="withdrawn")


def note_grant(context: PassContext, purpose: Purpose) -> None:
    """Keeps which grant is in force, so that a withdrawal of later ends it, too. Raises Storage."""
    file, known = context.inputs.consent.file, context.inputs.consent.withdrawals
    if file is not None and file.grant not in known.agent.given.get(purpose, ()):
        _write(context, withdrawals.agent_gave(known, Withdrawable(purpose.value), file.grant))


def _append(context: PassContext, purpose: Purpose, each: Withdrawal) -> None:
    before = context.state.answers.get(purpose, "none")
    kind = EntryKind.CONSENT_REFUSED if before in UNGRANTED else EntryKind.CONSENT_WITHDRAWN
    data: dict[str, Datum] = {"owner": context.ports.paths.owner, "notice": context.inputs.notice}
    data |= {"method": each.by.name.lower(), "withdrawn_at": each.at}
    if each.file_sha256 is not None:
        data["file_sha256"] = each.file_sha256
    context.ledger.append(kind, context.now, purpose=purpose.value, **data)


def _add(context: PassContext, subject: Withdrawable, by: Origin) -> None:
    reading = context.inputs.consent
    file = reading.file
    new = Withdrawal(
        id=_new_id(context),
        subject=subject,
        by=by,
        at=context.now,
        grants=_ended_grants(context, subject),
        file_sha256=None if file is None else file.sha256,
    )
    _write(context, withdrawals.agent_withdraws(reading.withdrawals, new))


def _ended_grants(context: PassContext, subject: Withdrawable) -> tuple[str, ...] | None:
    """Returns what a withdrawal of now ends; None, any grant, where it is not known what was granted."""
    reading = context.inputs.consent
    was_granted = context.state.answers.get(subject.value, "none") not in UNGRANTED
    if reading.refused is not None or (was_granted and subject.value not in reading.withdrawals.agent.given):
        return None
    return reading.withdrawals.grants(subject, _grant(reading, subject))


def _stands_already(context: PassContext, subject: Withdrawable) -> bool:
    """Tells whether one that stands ended all that a withdrawal of now would end."""
    ends = _ended_grants(context, subject)
    standing = context.inputs.consent.withdrawals.standing(subject)
    return any(each.grants is None or (ends is not None and {*ends} <= {*each.grants}) for each in standing)


def _grant(reading: ConsentReading, subject: Withdrawable) -> str | None:
    """Returns the grant that the file gives for a purpose; None where it gives none, or cannot be read."""
    file = reading.file
    if file is None or subject not in _CONSENTS or not file.allows(Purpose(subject.value)):
        return None
    return file.grant


def _subject(intent: Members) -> Withdrawable:
    """Returns exactly one purpose that consent is asked for, or do-not-track."""
    named = intent.text("purpose", max_length=64) if intent.has("purpose") else None
    everything = intent.has("do_not_track") and intent.boolean("do_not_track")
    if everything and named is None:
        return Withdrawable.DO_NOT_TRACK
    if not intent.has("do_not_track") and named in CONSENT_BASED:
        return Withdrawable(named)
    raise Usage(Fault.USAGE, "withdraw_what", purposes=", ".join(CONSENT_BASED))


def _write(context: PassContext, record_: AgentRecord) -> None:
    """Writes the record durably; and the pass goes on with what is then read, the owner's latest word among it."""
    WithdrawalStore(context.ports.files, context.ports.paths).write_agent(record_)
    context.inputs = replace(context.inputs, consent=context.ports.consents.read())


def _new_id(context: PassContext) -> str:
    return context.ports.random.token_bytes(withdrawals.ID_BYTES).hex()


def _is_about(fault: Misconfigured, path: Path) -> bool:
    return fault.values.get("file") == str(path)
