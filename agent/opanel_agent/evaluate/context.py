"""The context of one pass: everything that evaluate read before it decides, and what it will write when it is done.

Reading order matters: settings, opt-outs, roots, time, bundle, status list. Documents are verified from their bytes here,
every time. A file of the state's own that cannot be read any more is set aside under another name and said, never
silently replaced; one of a signed document's that is refused leaves the previous good one in place.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from opanel_agent.core.codec.strict_json import Members, dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import GateInputs, RequestView, Signals
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.core.license import binding, effective_time, schedule, status_history
from opanel_agent.core.license.effective_time import ClockReading, ClockState
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.evaluate import state_files
from opanel_agent.evaluate.ledger_file import LedgerFile, open_ledger
from opanel_agent.evaluate.license import agent_key
from opanel_agent.evaluate.outbox import Outbox
from opanel_agent.evaluate.state import MAX_BYTES as MAX_MEMORY_BYTES
from opanel_agent.evaluate.state import AgentState
from opanel_agent.network import gate_inputs
from opanel_agent.network.client import NetworkClient
from opanel_agent.system.clock import Clock
from opanel_agent.system.consent.consent_store import Consents
from opanel_agent.system.consent.opt_outs import OptOuts
from opanel_agent.system.log import log_event
from opanel_agent.system.machine import Machine
from opanel_agent.system.randomness import RandomSource
from opanel_agent.system.sandbox import Sandbox
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings, load, parse

MAX_BUNDLE_BYTES: Final = 64 * 1024
MAX_STATUS_BYTES: Final = 512 * 1024
MAX_SMALL_BYTES: Final = 16 * 1024
MAX_SETTINGS_BYTES: Final = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside, as evaluate needs it."""

    files: Files
    paths: Paths
    clock: Clock
    machine: Machine
    opt_outs: OptOuts
    consents: Consents
    catalog: Catalog
    notice: str
    outlet: NetworkClient
    cage: Sandbox
    chance: RandomSource


@dataclass(slots=True, kw_only=True)
class PassContext:
    world: Ports
    settings: Settings
    settings_refused: AgentError | None
    signals: Signals
    first_root: Root
    root: Root
    reading: ClockReading
    mark: ClockState
    memory: AgentState
    schedule: Schedule
    consent: ConsentReading
    book: LedgerFile
    forgetful: bool = False  # there is no memory of what was taken up before: the first pass, or state.json was lost
    blank: bool = False  # all was forgotten in this pass: what it still learns is not kept
    clone: bool = False
    unrecorded: str | None = None  # what kept a change of the administrator's word from being recorded in this pass
    bundle: Bundle | None = None
    bundle_refused: Untrusted | None = None
    status: StatusList | None = None
    components: dict[str, str] = field(default_factory=dict)
    remembered: bytes = b""  # the memory as it was written last

    @property
    def now(self) -> int:
        return effective_time.now(self.mark)

    @property
    def outbox(self) -> Outbox:
        return Outbox(files=self.world.files, paths=self.world.paths, ledger=self.book)

    @property
    def signalled(self) -> bool:
        """Whether an opt-out was in force at the last reading: it explains a refusal by systemd."""
        return bool(self.signals.offline or self.signals.do_not_track)

    def snapshot(self, purpose: str, *, asked: RequestView | None = None, commanded: bool = False) -> GateInputs:
        """What the gate is asked with. Opt-outs and consent are read afresh: a "no" may have come since the pass began."""
        self.signals = self.world.opt_outs.read()
        self.consent = self.world.consents.read()
        stand = gate_inputs.GateSources(
            settings=self.settings,
            refused=self.settings_refused,
            signals=self.signals,
            consent=self.consent,
            notice=self.world.notice,
            root=self.root,
            ledger=self.unrecorded or (None if self.book.good else self._ledger_fault()),
            clone=self.clone,
        )
        return gate_inputs.gate_inputs(purpose, stand, asked=asked, commanded=commanded)

    def start_over(self, memory: AgentState) -> None:
        """From here on this context knows no license, and keeps nothing of this pass but `memory`."""
        self.memory, self.blank = memory, True
        self.bundle, self.bundle_refused = None, None

    def trust(self, root: Root) -> None:
        """A newer root from here on. The time that a key proved which it drops goes with the key."""
        self.root = root
        self.mark = effective_time.drop(self.mark, root.kids)

    def _ledger_fault(self) -> str:
        return "review_due" if self.book.trouble is None else self.book.trouble.detail

    def remember(self) -> None:
        """Writes the memory before something long begins, where it changed: a "no" ends a pass at its request."""
        told = self.memory.encode()
        if told != self.remembered:
            self.world.files.write(self.world.paths.state, told)
            self.remembered = told

    def save(self) -> None:
        """Writes what this pass learned. Documents were written when they were adopted."""
        if self.blank:
            return
        files, paths = self.world.files, self.world.paths
        if self.book.head.seq:
            self.memory.ledger_seq = self.book.head.seq
        files.write(paths.clock, dumps(effective_time.to_json(self.mark)))
        files.write(paths.schedule, dumps(schedule.to_json(self.schedule)))
        files.write(paths.state, self.memory.encode())


def load_context(world: Ports) -> PassContext:
    """Raises Misconfigured where there is no root to trust, Storage where the state cannot be read."""
    settings, refused = _settings(world)
    first = trust.first_root(world.files, world.paths, settings)
    root = _roots(world, first)
    reading = world.clock.read()
    mark = _mark(world, root, reading)
    memory = _own(world, world.paths.state, MAX_MEMORY_BYTES, AgentState.decode)
    known = memory or AgentState()
    context = PassContext(
        world=world,
        settings=settings,
        settings_refused=refused,
        signals=world.opt_outs.read(),
        first_root=first,
        root=root,
        reading=reading,
        mark=mark,
        memory=known,
        forgetful=memory is None or memory.state is None,
        schedule=_schedule(world, effective_time.now(mark)),
        consent=world.consents.read(),
        book=open_ledger(world.files, world.paths, effective_time.now(mark), at_least=known.ledger_seq or 0),
    )
    context.remembered = context.memory.encode()
    load_bundle(context)
    if context.bundle is not None:
        context.memory.seen = status_history.mark_installed(context.memory.seen, context.bundle)
    load_status(context)
    context.components = machine_components(world)
    return context


def load_bundle(context: PassContext) -> None:
    """The current bundle, or the previous good one where the current is refused; the first refusal is kept."""
    context.bundle, context.bundle_refused = None, None
    for path in (context.world.paths.bundle, context.world.paths.previous_bundle):
        try:
            text = _bundle_text(context.world, path)
            context.bundle = None if text is None else bundle_document.verify(text, context.root, now=None)
        except Untrusted as refused:
            context.bundle_refused = context.bundle_refused or refused
        if context.bundle is not None:
            return


def load_status(context: PassContext) -> None:
    """The held list; none where the root knows its key no more. Its own `exp` is not asked (see `verdict.rules_until`)."""
    context.status = None
    token = state_files.read(context.world.files, context.world.paths.status_list, max_bytes=MAX_STATUS_BYTES)
    if token is None:
        return
    try:
        context.status = status_document.accept(token, context.root, floor={}, now=0)
    except Untrusted as refused:
        # It stays, because a root to come may know its key again, and is said once.
        if context.memory.tell(hashlib.sha256(token).hexdigest()):
            log_event("status_list_refused", level="warning", code=str(refused.code), detail=refused.detail)


def _bundle_text(world: Ports, path: Path) -> bytes | None:
    """Raises Untrusted for what can be no bundle: it is a refused one, whose grace a lost one would not have."""
    try:
        return world.files.read(path, max_bytes=MAX_BUNDLE_BYTES)
    except Misconfigured as refused:
        raise Untrusted(Reason.FORMAT_INVALID, refused.detail, **refused.values) from refused


def _settings(world: Ports) -> tuple[Settings, AgentError | None]:
    """The settings; where they are refused, the last good ones (every request is then denied) and why."""
    kept = world.paths.last_settings
    try:
        settings = load(world.files, world.paths)
    except Misconfigured as refused:
        last_good = state_files.read(world.files, kept, max_bytes=MAX_SETTINGS_BYTES)
        return parse(b"schema = 1" if last_good is None else last_good), refused
    text = world.files.read(world.paths.settings, max_bytes=MAX_SETTINGS_BYTES, owners=world.paths.owners)
    if text is not None and text != state_files.read(world.files, kept, max_bytes=MAX_SETTINGS_BYTES):
        world.files.write(kept, text)
    return settings, None


def _roots(world: Ports, first: Root) -> Root:
    try:
        return trust.newest_root(world.files, world.paths, first)
    except (Untrusted, Misconfigured) as refused:
        state_files.quarantine(world.files, world.paths.roots, refused)
        return first


def _mark(world: Ports, root: Root, reading: ClockReading) -> ClockState:
    kept = _own(
        world, world.paths.clock, MAX_SMALL_BYTES, lambda data: effective_time.from_json(_members(data, "clock.json"))
    )
    if kept is None:
        return effective_time.first(reading, root.iat)
    return effective_time.drop(effective_time.advance(kept, reading), root.kids)


def _schedule(world: Ports, now: int) -> Schedule:
    kept = _own(
        world, world.paths.schedule, MAX_SMALL_BYTES, lambda data: schedule.from_json(_members(data, "schedule.json"))
    )
    return kept or schedule.plan_first(now, world.chance.random())


def machine_components(world: Ports) -> dict[str, str]:
    """This machine's binding components, junk left out, the agent's own key among them."""
    raw = dict(world.machine.components())
    key = agent_key.load(world.files, world.paths)
    if key is not None:
        raw["agent_key"] = key.public.kid
    return dict(binding.normalize(raw))


def _own(world: Ports, path: Path, max_bytes: int, decode: Callable[[bytes], T]) -> T | None:
    """A file of the state's own; one that is not what this agent writes is set aside, and the count begins anew."""
    data = state_files.read(world.files, path, max_bytes=max_bytes)
    if data is None:
        return None
    try:
        return decode(data)
    except Untrusted as refused:
        state_files.quarantine(world.files, path, refused)
        return None


def _members(data: bytes, where: str) -> Members:
    return Members(loads(data, max_bytes=MAX_SMALL_BYTES), where)
