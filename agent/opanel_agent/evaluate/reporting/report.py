"""The way of a report: from declared fields to bytes that the administrator allowed, looked at, and finds again.

Collected only when an allowed purpose needs it, built from the catalog, sealed, held, decided again on its own bytes,
written to the ledger and to `sent/`, and only then handed to the courier. Each report has 32 random bytes of its own: their
SHA-256 travels with it, and whoever can show them may ask for its erasure, without saying who he is.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.strict_json import Json, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import Denial, GateInputs, Permit, decide
from opanel_agent.core.consent.purposes import POLICIES, Purpose
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.errors import NotPermitted, Untrusted
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.license.states import State
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.wire.message import JOSE, JSON, MAX_BODY_BYTES, Reply, Sealed, seal
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license import check
from opanel_agent.evaluate.outbox import new_id
from opanel_agent.evaluate.reporting import crash
from opanel_agent.network import gate_inputs

PREFIX: Final[Mapping[Purpose, str]] = {Purpose.USAGE_STATISTICS: "usage", Purpose.CRASH_REPORTS: "crash"}
ERASURE_BYTES: Final = 32


def make(context: PassContext) -> None:
    """Seals what is due and allowed: a usage report every 7 days ± 1, and each crash that was noted."""
    if _due(context) and _allowed(context, Purpose.USAGE_STATISTICS) and not _waits(context, Purpose.USAGE_STATISTICS):
        usage(context)
    if not _allowed(context, Purpose.CRASH_REPORTS):
        crash.forget(context)  # a consent is not retroactive
        return
    for facts in crash.pending(context):
        kept = _kept(context, facts)
        if kept is None:
            seal_report(context, Purpose.CRASH_REPORTS, facts)
        else:  # killed before it was taken off the list, or before it was recorded: rather twice than never
            context.book.request(EntryKind.REQUEST_SEALED, context.now, kept)


def _kept(context: PassContext, facts: Mapping[str, Json]) -> Sealed | None:
    """The held report of this very crash, where it was sealed before."""
    reports = (sealed for sealed in context.outbox.held_reports() if sealed.purpose == Purpose.CRASH_REPORTS)
    return next((sealed for sealed in reports if _says(sealed, facts)), None)


def _says(sealed: Sealed, facts: Mapping[str, Json]) -> bool:
    try:
        told = loads(sealed.body, max_bytes=MAX_BODY_BYTES)
    except Untrusted:  # damaged: the gate will not let it out either
        return False
    return isinstance(told, dict) and all(told.get(name) == value for name, value in facts.items())


def deliver(context: PassContext, *, commanded: bool) -> None:
    """Hands over every held report that the gate lets pass now. Runs of different purposes keep apart, unless commanded."""
    for sealed in context.outbox.held_reports():
        answered = context.outbox.reply(sealed.id)
        if answered is not None and answered.ok:  # killed before all was done that follows
            context.outbox.record_outcome(sealed, answered, context.now)
            _finish(context, sealed, answered)
            continue
        if not commanded and (not check.quiet_permits(context, sealed.purpose) or _retry_later(context, sealed)):
            continue
        if isinstance(decide(sealed.purpose, _reading(context, sealed)), Permit):
            send(context, sealed)


def usage(context: PassContext) -> Sealed:
    """The minimal technical fingerprint, collected now, field by declared field."""
    needed = context.world.catalog.collected(Purpose.USAGE_STATISTICS)
    facts: dict[str, Json] = dict(
        context.world.machine.facts(needed, panel_version_file=context.settings.panel_version_file)
    )
    facts["license_state"] = context.memory.state or str(State.UNLICENSED)
    sealed = seal_report(context, Purpose.USAGE_STATISTICS, facts)
    context.memory.reports[Purpose.USAGE_STATISTICS] = (
        context.now + 6 * DAY_S + int(context.world.chance.random() * 2 * DAY_S)
    )
    return sealed


def seal_report(context: PassContext, purpose: Purpose, facts: Mapping[str, Json]) -> Sealed:
    """Built from the catalog, with an erasure of its own, and held."""
    name = new_id(context.world.chance, PREFIX[purpose])
    secret = context.world.chance.token_bytes(ERASURE_BYTES)
    sealed = seal(
        request_id=name,
        purpose=purpose,
        url=_endpoint(context, purpose),
        accept=JOSE,
        body=context.world.catalog.build(purpose, {**facts, "erasure": hashlib.sha256(secret).hexdigest()}),
        content_type=JSON,
        held_since=context.now,
    )
    context.world.files.write(context.world.paths.erasure / name, secret)
    context.outbox.hold(sealed)
    context.book.request(EntryKind.REQUEST_SEALED, context.now, sealed)
    return sealed


def send(context: PassContext, sealed: Sealed) -> Reply:
    """Recorded, then sent. Raises Storage where it cannot be recorded: then nothing is sent."""
    reply = context.outbox.submit(sealed, context.world.outlet, context.now, signalled=context.signalled)
    check.begin_quiet(context, sealed.purpose)
    if not reply.ok:
        context.memory.retries[sealed.purpose] = context.now + HOUR_S + int(context.world.chance.random() * 5 * HOUR_S)
        return reply
    _finish(context, sealed, reply)
    return reply


def _finish(context: PassContext, sealed: Sealed, reply: Reply) -> None:
    """The receipt kept, and only then no longer held: so that a pass that is killed here is taken up again."""
    context.memory.retries.pop(sealed.purpose, None)
    keep_receipt(context, sealed, reply.body)
    context.outbox.end_hold(sealed.id)


def keep_receipt(context: PassContext, sealed: Sealed, token: bytes) -> receipt_document.Receipt | None:
    """The other end's signed word, where it is one and is for these bytes; None, and an entry that says so, where not."""
    try:
        receipt = receipt_document.verify(token.strip(), context.root)
    except Untrusted as refused:
        context.book.request(EntryKind.REQUEST_REFUSED, context.now, sealed, reason=str(refused.code))
        return None
    if not receipt.answers(sealed.body):
        context.book.request(EntryKind.REQUEST_REFUSED, context.now, sealed, reason=str(Reason.CHAIN_INVALID))
        return None
    context.world.files.write(context.world.paths.receipts / f"{sealed.id}.jwt", token.strip() + b"\n")
    context.book.append(EntryKind.RECEIPT_KEPT, context.now, purpose=sealed.purpose, id=sealed.id, due=receipt.due)
    return receipt


def why(context: PassContext, sealed: Sealed) -> list[Json]:
    """What stands in the way of a held report now."""
    decided = decide(sealed.purpose, _reading(context, sealed))
    return check.grounds(decided)


def permitted(context: PassContext, sealed: Sealed) -> None:
    """Raises NotPermitted with the first ground."""
    match decide(sealed.purpose, _reading(context, sealed)):
        case Denial(grounds=grounds):
            raise gate_inputs.denial_error(sealed.purpose, grounds[0])
        case Permit():
            return


def _reading(context: PassContext, sealed: Sealed) -> GateInputs:
    return context.snapshot(
        sealed.purpose, asked=gate_inputs.view_request(sealed, context.world.catalog, context.now), commanded=True
    )


def _due(context: PassContext) -> bool:
    return context.memory.reports.get(Purpose.USAGE_STATISTICS, 0) <= context.now


def _allowed(context: PassContext, purpose: Purpose) -> bool:
    """Asked before anything is collected."""
    decided = decide(purpose, context.snapshot(purpose))
    return isinstance(decided, Permit) and bool(gate_inputs.destinations(purpose, context.settings, context.root))


def _waits(context: PassContext, purpose: Purpose) -> bool:
    return any(sealed.purpose == purpose for sealed in context.outbox.held_reports())


def _retry_later(context: PassContext, sealed: Sealed) -> bool:
    return context.memory.retries.get(sealed.purpose, 0) > context.now


def _endpoint(context: PassContext, purpose: Purpose) -> str:
    places = gate_inputs.destinations(purpose, context.settings, context.root)
    if not places:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=str(purpose))
    (path,) = POLICIES[purpose].paths
    return places[0] + path


def next_s(context: PassContext) -> int | None:
    """When a report, or the look for advisories, wants the next pass: it is due to be made, or its hold ends."""
    quiet = context.memory.quiet_until or 0
    moments = [max(at, quiet) for name, at in context.memory.reports.items() if _allowed(context, Purpose(name))]
    for sealed in context.outbox.held_reports():
        hold_s = context.consent.hold_s(Purpose(sealed.purpose))
        ready_s = (sealed.held_since or context.now) + hold_s
        moments.append(max(ready_s, context.memory.retries.get(sealed.purpose, 0), quiet))
    later = [moment for moment in moments if moment > context.now]
    return min(later, default=None)
