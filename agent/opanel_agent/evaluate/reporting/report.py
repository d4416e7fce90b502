"""Makes reports and sends them: from declared fields to bytes that the administrator allowed, can inspect, and finds again.

Facts are collected only when a permitted purpose needs them, built by the catalog, sealed and held; the gate decides again
on the sealed bytes before they are sent. Each report has 32 random bytes of its own: their SHA-256 travels with it, and
whoever can show them may ask for its erasure without giving an identity.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import Denial, Permit
from opanel_agent.core.consent.purposes import POLICIES, Purpose
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import NotPermitted, Untrusted
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.license.states import State
from opanel_agent.core.reporting import fingerprint
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.core.values import frozen
from opanel_agent.core.wire.message import JOSE, JSON, MAX_BODY_BYTES, Reply, Sealed, seal
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting import crash
from opanel_agent.evaluate.requests.outbox import Outbox, new_id
from opanel_agent.evaluate.requests.quiet import begin_quiet, quiet_permits
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.network import gate_inputs
from opanel_agent.network.gate_inputs import GateSources, Permissions
from opanel_agent.system.storage.settings import Settings

PREFIX: Final[Mapping[Purpose, str]] = {Purpose.USAGE_STATISTICS: "usage", Purpose.CRASH_REPORTS: "crash"}
ERASURE_BYTES: Final = 32


# ---- questions


def next_s(
    state: AgentState,
    held: Iterable[Sealed],
    sources: GateSources,
    permissions: Permissions,
    now: int,
    *,
    purposes: Collection[Purpose],
) -> int | None:
    """Returns the effective second at which one of these purposes wants the next pass; None for never.

    One that is permitted is due by then, or a held report's hold and retry end.
    """
    quiet = state.quiet_until or 0
    moments = [
        max(moment, quiet)
        for name, moment in state.reports.items()
        if Purpose(name) in purposes and sources.destinations(name) and isinstance(permissions[Purpose(name)], Permit)
    ]
    for sealed in held:
        ready_s = (sealed.held_since or now) + sources.consent.hold_s(Purpose(sealed.purpose))
        moments.append(max(ready_s, state.retries.get(sealed.purpose, 0), quiet))
    return min((moment for moment in moments if moment > now), default=None)


def decide(sources: GateSources, sealed: Sealed, catalog: Catalog, now: int) -> Permit | Denial:
    """Returns the gate's decision on a held report, from one reading of its sources."""
    request = gate_inputs.view_request(sealed, catalog, now)
    return sources.decide(sealed.purpose, request=request, commanded=True)


# ---- effects


@frozen
class Reports:
    """Makes reports and sends them, with what both use of a pass: `now` is effective time in seconds.

    `save_state` writes the state before something is sent that this pass may not survive.

    The gate's sources are arguments: of the pass's own reading to show what would happen, of a fresh one before anything is
    collected or sent.
    """

    ports: Ports
    outbox: Outbox
    state: AgentState
    settings: Settings
    root: Root
    now: int
    save_state: Callable[[], None]

    def make(self, sources: GateSources, read_gate: Callable[[], GateSources]) -> None:
        """Seals what is due and permitted: a usage report every 7 days ± 1, and each crash that was noted.

        Before anything is collected the pass's own reading (`sources`) has to permit it, and then a fresh one.
        """
        ports, outbox = self.ports, self.outbox

        def may_collect(purpose: Purpose) -> bool:
            return _permits(sources, purpose) and _permits(read_gate(), purpose)

        waits = any(sealed.purpose == Purpose.USAGE_STATISTICS for sealed in outbox.held_reports())
        if _due(self.state, self.now) and not waits and may_collect(Purpose.USAGE_STATISTICS):
            self.make_usage(sources.destinations(Purpose.USAGE_STATISTICS))
        if not crash.waits(ports.files, ports.paths):
            return
        if not may_collect(Purpose.CRASH_REPORTS):
            crash.forget(ports.files, ports.paths)  # a consent is not retroactive
            return
        for facts in crash.pending(ports.files, ports.paths):
            kept = next(outbox.pending(PREFIX[Purpose.CRASH_REPORTS], partial(_has, facts)), None)
            if kept is None:
                self.seal(Purpose.CRASH_REPORTS, facts, sources.destinations(Purpose.CRASH_REPORTS))
            else:  # killed before it was taken off the list, or before it was recorded: rather twice than never
                outbox.ledger.request(EntryKind.REQUEST_SEALED, self.now, kept)

    def make_usage(self, places: tuple[str, ...]) -> Sealed:
        """Collects the minimal technical fingerprint now, field by declared field; returns it sealed and held."""
        facts = _usage_facts(self.ports, self.settings, self.state)
        sealed = self.seal(Purpose.USAGE_STATISTICS, facts, places)
        draw = self.ports.random.random()
        self.state.reports[Purpose.USAGE_STATISTICS] = self.now + 6 * DAY_S + int(draw * 2 * DAY_S)
        return sealed

    def draft_usage(self, places: tuple[str, ...]) -> Sealed:
        """Returns what a usage report would be, and keeps nothing of it: no copy, no secret, no entry, no next date."""
        facts = _usage_facts(self.ports, self.settings, self.state)
        sealed, _ = _seal(self.ports, Purpose.USAGE_STATISTICS, facts, places, self.now)
        return sealed

    def seal(self, purpose: Purpose, facts: Mapping[str, Json], places: tuple[str, ...]) -> Sealed:
        """Builds a report by the catalog with an erasure secret of its own; returns it held and recorded. Raises Storage."""
        sealed, secret = _seal(self.ports, purpose, facts, places, self.now)
        self.ports.files.write(self.ports.paths.erasure / sealed.id, secret)
        self.outbox.hold(sealed)
        self.outbox.ledger.request(EntryKind.REQUEST_SEALED, self.now, sealed)
        return sealed

    def finish_answered(self) -> None:
        """Finishes the held reports that have a good reply: a pass was killed before it did. Opens no connection."""
        for sealed in self.outbox.held_reports():
            answered = self.outbox.reply(sealed.id)
            if answered is not None and answered.ok:
                self.outbox.record_outcome(sealed, answered, self.now)
                self._finish(sealed, answered)

    def deliver(self, read_gate: Callable[[], GateSources]) -> None:
        """Sends each held report that the gate permits by a fresh reading. Runs of different purposes keep apart."""
        for sealed in self.outbox.held_reports():
            if not _may_try(self.state, sealed.purpose, self.now):
                continue
            sources = read_gate()
            if isinstance(decide(sources, sealed, self.ports.catalog, self.now), Permit):
                self.send(sealed, signalled=sources.opted_out)

    def ready(self, sources: GateSources) -> bool:
        """Returns whether a held report would be sent by a pass that time starts now."""
        held = (sealed for sealed in self.outbox.held_reports() if _may_try(self.state, sealed.purpose, self.now))
        return any(isinstance(decide(sources, sealed, self.ports.catalog, self.now), Permit) for sealed in held)

    def send(self, sealed: Sealed, *, signalled: bool) -> Reply:
        """Sends a report that the gate has permitted, and keeps its receipt. Raises Storage where it cannot be recorded.

        When it is tried again is stored first: a pass or a courier that dies counts as a failure.
        """
        state, random = self.state, self.ports.random
        begin_quiet(state, sealed.purpose, self.now, random.random())
        state.retries[sealed.purpose] = self.now + HOUR_S + int(random.random() * 5 * HOUR_S)
        self.save_state()
        reply = self.outbox.submit(sealed, self.ports.network, self.now, signalled=signalled)
        if not reply.ok:
            return reply
        self._finish(sealed, reply)
        return reply

    def _finish(self, sealed: Sealed, reply: Reply) -> None:
        """Keeps the receipt, and only then holds the report no longer.

        A pass that is killed here is taken up again.
        """
        self.state.retries.pop(sealed.purpose, None)
        keep_receipt(self.outbox, sealed, reply.body, self.root, self.now)
        self.outbox.end_hold(sealed.id)


def _usage_facts(ports: Ports, settings: Settings, state: AgentState) -> dict[str, Json]:
    needed = ports.catalog.collected(Purpose.USAGE_STATISTICS)
    facts: dict[str, Json] = dict(ports.machine.facts(needed, panel_version_file=settings.panel_version_file))
    return facts | {"license_state": fingerprint.license_class(state.state or State.UNLICENSED)}


def _seal(
    ports: Ports, purpose: Purpose, facts: Mapping[str, Json], places: tuple[str, ...], now: int
) -> tuple[Sealed, bytes]:
    """Returns a report built by the catalog, and its erasure secret; nothing is written."""
    secret = ports.random.token_bytes(ERASURE_BYTES)
    sealed = seal(
        request_id=new_id(ports.random, PREFIX[purpose]),
        purpose=purpose,
        url=_url(places, purpose),
        accept=JOSE,
        body=ports.catalog.build(purpose, {**facts, "erasure": hashlib.sha256(secret).hexdigest()}),
        content_type=JSON,
        held_since=now,
    )
    return sealed, secret


def keep_receipt(outbox: Outbox, sealed: Sealed, token: bytes, root: Root, now: int) -> None:
    """Keeps the authority's signed receipt for these bytes. Anything else is recorded as a refused reply."""
    try:
        receipt = receipt_document.verify(token.strip(), root)
    except Untrusted as refused:
        outbox.ledger.request(EntryKind.RECEIPT_REFUSED, now, sealed, reason=str(refused.code))
        return
    if not receipt.answers(sealed.body):
        outbox.ledger.request(EntryKind.RECEIPT_REFUSED, now, sealed, reason=str(Reason.CHAIN_INVALID))
        return
    outbox.files.write(outbox.paths.receipts / f"{sealed.id}.jwt", token.strip() + b"\n")
    outbox.ledger.append(EntryKind.RECEIPT_KEPT, now, purpose=sealed.purpose, id=sealed.id, due=receipt.due)


def _permits(sources: GateSources, purpose: Purpose) -> bool:
    return sources.permits(purpose) and bool(sources.destinations(purpose))


def _may_try(state: AgentState, purpose: str, now: int) -> bool:
    """Tells whether a report may be tried: not while a retry waits, nor shortly after a run of another purpose."""
    return state.retries.get(purpose, 0) <= now and quiet_permits(state, purpose, now)


def _due(state: AgentState, now: int) -> bool:
    return state.reports.get(Purpose.USAGE_STATISTICS, 0) <= now


def _has(facts: Mapping[str, Json], sealed: Sealed) -> bool:
    """Tells whether this held report is of this very crash."""
    try:
        body = loads(sealed.body, max_bytes=MAX_BODY_BYTES)
    except Untrusted:  # damaged: the gate will not let it out either
        return False
    return isinstance(body, dict) and all(body.get(name) == value for name, value in facts.items())


def _url(places: tuple[str, ...], purpose: Purpose) -> str:
    if not places:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=str(purpose))
    (path,) = POLICIES[purpose].paths
    return places[0] + path
