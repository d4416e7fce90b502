"""The way of a report: from declared fields to bytes that the administrator allowed, looked at, and finds again.

Collected only when an allowed purpose needs it, built from the catalog, sealed, held, decided again on its own bytes,
written to the ledger and to `sent/`, and only then handed to the courier. Each report has 32 random bytes of its own: their
SHA-256 travels with it, and whoever can show them may ask for its erasure, without saying who he is.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.consent import Denial, Permit, Snapshot, decide
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.errors import NotPermitted, Untrusted
from opanel_agent.core.ledger import Kind
from opanel_agent.core.purposes import TERMS, Purpose
from opanel_agent.core.reasons import Reason
from opanel_agent.core.request import JOSE, JSON, MAX_BODY_BYTES, Reply, Sealed, seal
from opanel_agent.core.states import State
from opanel_agent.core.strict_json import Json, loads
from opanel_agent.jobs import ask, consents, crash, gate, sent
from opanel_agent.jobs.desk import Desk
from opanel_agent.jobs.handover import hand_over, record_end

DAY_S: Final = 86400
MINUTE_S: Final = 60
PREFIX: Final[Mapping[Purpose, str]] = {Purpose.USAGE_STATISTICS: "usage", Purpose.CRASH_REPORTS: "crash"}
ERASURE_BYTES: Final = 32


def make(desk: Desk) -> None:
    """Seals what is due and allowed: a usage report every 7 days ± 1, and each crash that was noted."""
    if _due(desk) and _allowed(desk, Purpose.USAGE_STATISTICS) and not _waits(desk, Purpose.USAGE_STATISTICS):
        usage(desk)
    if not _allowed(desk, Purpose.CRASH_REPORTS):
        crash.forget(desk)  # a consent is not retroactive
        return
    for facts in crash.pending(desk):
        kept = _kept(desk, facts)
        if kept is None:
            seal_report(desk, Purpose.CRASH_REPORTS, facts)
        else:  # killed before it was taken off the list, or before it was recorded: rather twice than never
            desk.book.request(Kind.REQUEST_SEALED, desk.now, kept)


def _kept(desk: Desk, facts: Mapping[str, Json]) -> Sealed | None:
    """The held report of this very crash, where it was sealed before."""
    reports = (sealed for sealed in consents.held_reports(desk) if sealed.purpose == Purpose.CRASH_REPORTS)
    return next((sealed for sealed in reports if _says(sealed, facts)), None)


def _says(sealed: Sealed, facts: Mapping[str, Json]) -> bool:
    try:
        told = loads(sealed.body, max_bytes=MAX_BODY_BYTES)
    except Untrusted:  # damaged: the gate will not let it out either
        return False
    return isinstance(told, dict) and all(told.get(name) == value for name, value in facts.items())


def deliver(desk: Desk, *, commanded: bool) -> None:
    """Hands over every held report that the gate lets pass now. Runs of different purposes keep apart, unless commanded."""
    for sealed in list(consents.held_reports(desk)):
        answered = sent.reply(desk, sealed.id)
        if answered is not None and answered.ok:  # killed before all was done that follows
            record_end(desk, sealed, answered)
            _finish(desk, sealed, answered)
            continue
        if not commanded and (not ask.quiet_permits(desk, sealed.purpose) or _retry_later(desk, sealed)):
            continue
        if isinstance(decide(sealed.purpose, _reading(desk, sealed)), Permit):
            send(desk, sealed)


def usage(desk: Desk) -> Sealed:
    """The minimal technical fingerprint, collected now, field by declared field."""
    needed = desk.world.catalog.collected(Purpose.USAGE_STATISTICS)
    facts: dict[str, Json] = dict(desk.world.machine.facts(needed, panel_version_file=desk.settings.panel_version_file))
    facts["license_state"] = desk.memory.state or str(State.UNLICENSED)
    sealed = seal_report(desk, Purpose.USAGE_STATISTICS, facts)
    desk.memory.reports[Purpose.USAGE_STATISTICS] = desk.now + 6 * DAY_S + int(desk.world.chance.fraction() * 2 * DAY_S)
    return sealed


def seal_report(desk: Desk, purpose: Purpose, facts: Mapping[str, Json]) -> Sealed:
    """Built from the catalog, with an erasure of its own, and held."""
    name = sent.new_id(desk, PREFIX[purpose])
    secret = desk.world.chance.octets(ERASURE_BYTES)
    sealed = seal(
        request_id=name,
        purpose=purpose,
        url=_endpoint(desk, purpose),
        accept=JOSE,
        body=desk.world.catalog.build(purpose, {**facts, "erasure": hashlib.sha256(secret).hexdigest()}),
        content_type=JSON,
        held_since=desk.now,
    )
    desk.world.files.write(desk.world.paths.erasure / name, secret)
    sent.hold(desk, sealed)
    desk.book.request(Kind.REQUEST_SEALED, desk.now, sealed)
    return sealed


def send(desk: Desk, sealed: Sealed) -> Reply:
    """Recorded, then sent. Raises Storage where it cannot be recorded: then nothing is sent."""
    reply = hand_over(desk, sealed)
    ask.begin_quiet(desk, sealed.purpose)
    if not reply.ok:
        desk.memory.retries[sealed.purpose] = desk.now + 3600 + int(desk.world.chance.fraction() * 5 * 3600)
        return reply
    _finish(desk, sealed, reply)
    return reply


def _finish(desk: Desk, sealed: Sealed, reply: Reply) -> None:
    """The receipt kept, and only then no longer held: so that a pass that is killed here is taken up again."""
    desk.memory.retries.pop(sealed.purpose, None)
    keep_receipt(desk, sealed, reply.body)
    sent.end_wait(desk, sealed)


def keep_receipt(desk: Desk, sealed: Sealed, token: bytes) -> receipt_document.Receipt | None:
    """The other end's signed word, where it is one and is for these bytes; None, and an entry that says so, where not."""
    try:
        receipt = receipt_document.verify(token.strip(), desk.root)
    except Untrusted as refused:
        desk.book.request(Kind.REQUEST_REFUSED, desk.now, sealed, reason=str(refused.code))
        return None
    if not receipt.answers(sealed.body):
        desk.book.request(Kind.REQUEST_REFUSED, desk.now, sealed, reason=str(Reason.CHAIN_INVALID))
        return None
    desk.world.files.write(desk.world.paths.receipts / f"{sealed.id}.jwt", token.strip() + b"\n")
    desk.book.append(Kind.RECEIPT_KEPT, desk.now, purpose=sealed.purpose, id=sealed.id, due=receipt.due)
    return receipt


def why(desk: Desk, sealed: Sealed) -> list[Json]:
    """What stands in the way of a held report now."""
    decided = decide(sealed.purpose, _reading(desk, sealed))
    return ask.grounds(decided)


def permitted(desk: Desk, sealed: Sealed) -> None:
    """Raises NotPermitted with the first ground."""
    match decide(sealed.purpose, _reading(desk, sealed)):
        case Denial(grounds=grounds):
            raise gate.denied(sealed.purpose, grounds[0])
        case Permit():
            return


def _reading(desk: Desk, sealed: Sealed) -> Snapshot:
    return desk.snapshot(sealed.purpose, asked=gate.asked(sealed, desk.world.catalog, desk.now), commanded=True)


def _due(desk: Desk) -> bool:
    return desk.memory.reports.get(Purpose.USAGE_STATISTICS, 0) <= desk.now


def _allowed(desk: Desk, purpose: Purpose) -> bool:
    """Asked before anything is collected."""
    decided = decide(purpose, desk.snapshot(purpose))
    return isinstance(decided, Permit) and bool(gate.destinations(purpose, desk.settings, desk.root))


def _waits(desk: Desk, purpose: Purpose) -> bool:
    return any(sealed.purpose == purpose for sealed in consents.held_reports(desk))


def _retry_later(desk: Desk, sealed: Sealed) -> bool:
    return desk.memory.retries.get(sealed.purpose, 0) > desk.now


def _endpoint(desk: Desk, purpose: Purpose) -> str:
    places = gate.destinations(purpose, desk.settings, desk.root)
    if not places:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=str(purpose))
    (path,) = TERMS[purpose].paths
    return places[0] + path


def next_s(desk: Desk) -> int | None:
    """When a report, or the look for advisories, wants the next pass: it is due to be made, or its hold ends."""
    quiet = desk.memory.quiet_until or 0
    moments = [max(at, quiet) for name, at in desk.memory.reports.items() if _allowed(desk, Purpose(name))]
    for sealed in consents.held_reports(desk):
        hold_s = desk.consent.hold_s(Purpose(sealed.purpose))
        ready_s = (sealed.held_since or desk.now) + hold_s
        moments.append(max(ready_s, desk.memory.retries.get(sealed.purpose, 0), quiet))
    later = [moment for moment in moments if moment > desk.now]
    return min(later, default=None)
