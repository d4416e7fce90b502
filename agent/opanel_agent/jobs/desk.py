"""The desk of one pass: everything that evaluate read before it decides, and what it will write when it is done.

Reading order matters: settings, opt-outs, roots, time, bundle, status list. Documents are verified from their bytes here,
every time. A file of the state's own that cannot be read any more is set aside under another name and said, never
silently replaced; one of a signed document's that is refused leaves the previous good one in place.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from opanel_agent.core import binding, effective_time, schedule, sightings
from opanel_agent.core.catalog import Catalog
from opanel_agent.core.consent import Asked, Signals, Snapshot
from opanel_agent.core.consent_file import ConsentReading
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.effective_time import Mark, Reading
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.core.reasons import Reason
from opanel_agent.core.schedule import Schedule
from opanel_agent.core.strict_json import Members, dumps, loads
from opanel_agent.jobs import agent_key, gate, own, trust
from opanel_agent.jobs.ledger import Book, open_book
from opanel_agent.jobs.memory import MAX_BYTES as MAX_MEMORY_BYTES
from opanel_agent.jobs.memory import Memory
from opanel_agent.jobs.outlet import Outlet
from opanel_agent.system.cage import Cage
from opanel_agent.system.chance import Chance
from opanel_agent.system.clock import Clock
from opanel_agent.system.consents import Consents
from opanel_agent.system.files import Files
from opanel_agent.system.log import line
from opanel_agent.system.machine import Machine
from opanel_agent.system.optouts import OptOuts
from opanel_agent.system.paths import Paths
from opanel_agent.system.settings import Settings, load, parse

MAX_BUNDLE_BYTES: Final = 64 * 1024
MAX_STATUS_BYTES: Final = 512 * 1024
MAX_SMALL_BYTES: Final = 16 * 1024
MAX_SETTINGS_BYTES: Final = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The outside, as evaluate needs it."""

    files: Files
    paths: Paths
    clock: Clock
    machine: Machine
    opt_outs: OptOuts
    consents: Consents
    catalog: Catalog
    notice: str
    outlet: Outlet
    cage: Cage
    chance: Chance


@dataclass(slots=True, kw_only=True)
class Desk:
    world: World
    settings: Settings
    settings_refused: AgentError | None
    signals: Signals
    first_root: Root
    root: Root
    reading: Reading
    mark: Mark
    memory: Memory
    schedule: Schedule
    consent: ConsentReading
    book: Book
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

    def snapshot(self, purpose: str, *, asked: Asked | None = None, commanded: bool = False) -> Snapshot:
        """What the gate is asked with. Opt-outs and consent are read afresh: a "no" may have come since the pass began."""
        self.signals = self.world.opt_outs.read()
        self.consent = self.world.consents.read()
        stand = gate.Stand(
            settings=self.settings,
            refused=self.settings_refused,
            signals=self.signals,
            consent=self.consent,
            notice=self.world.notice,
            root=self.root,
            ledger=self.unrecorded or (None if self.book.good else self._ledger_fault()),
            clone=self.clone,
        )
        return gate.snapshot(purpose, stand, asked=asked, commanded=commanded)

    def start_over(self, memory: Memory) -> None:
        """From here on this desk knows no license, and keeps nothing of this pass but `memory`."""
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


def sit_down(world: World) -> Desk:
    """Raises Misconfigured where there is no root to trust, Storage where the state cannot be read."""
    settings, refused = _settings(world)
    first = trust.first_root(world.files, world.paths, settings)
    root = _roots(world, first)
    reading = world.clock.read()
    mark = _mark(world, root, reading)
    memory = _own(world, world.paths.state, MAX_MEMORY_BYTES, Memory.decode)
    known = memory or Memory()
    desk = Desk(
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
        book=open_book(world.files, world.paths, effective_time.now(mark), at_least=known.ledger_seq or 0),
    )
    desk.remembered = desk.memory.encode()
    load_bundle(desk)
    if desk.bundle is not None:
        desk.memory.seen = sightings.here(desk.memory.seen, desk.bundle)
    load_status(desk)
    desk.components = machine_components(world)
    return desk


def load_bundle(desk: Desk) -> None:
    """The current bundle, or the previous good one where the current is refused; the first refusal is kept."""
    desk.bundle, desk.bundle_refused = None, None
    for path in (desk.world.paths.bundle, desk.world.paths.previous_bundle):
        try:
            text = _bundle_text(desk.world, path)
            desk.bundle = None if text is None else bundle_document.verify(text, desk.root, now=None)
        except Untrusted as refused:
            desk.bundle_refused = desk.bundle_refused or refused
        if desk.bundle is not None:
            return


def load_status(desk: Desk) -> None:
    """The held list; none where the root knows its key no more. Its own `exp` is not asked (see `verdict.rules_until`)."""
    desk.status = None
    token = own.read(desk.world.files, desk.world.paths.status_list, max_bytes=MAX_STATUS_BYTES)
    if token is None:
        return
    try:
        desk.status = status_document.accept(token, desk.root, floor={}, now=0)
    except Untrusted as refused:
        # It stays, because a root to come may know its key again, and is said once.
        if desk.memory.tell(hashlib.sha256(token).hexdigest()):
            line("status_list_refused", level="warning", code=str(refused.code), detail=refused.detail)


def _bundle_text(world: World, path: Path) -> bytes | None:
    """Raises Untrusted for what can be no bundle: it is a refused one, whose grace a lost one would not have."""
    try:
        return world.files.read(path, max_bytes=MAX_BUNDLE_BYTES)
    except Misconfigured as refused:
        raise Untrusted(Reason.FORMAT_INVALID, refused.detail, **refused.values) from refused


def _settings(world: World) -> tuple[Settings, AgentError | None]:
    """The settings; where they are refused, the last good ones (every request is then denied) and why."""
    kept = world.paths.last_settings
    try:
        settings = load(world.files, world.paths)
    except Misconfigured as refused:
        last_good = own.read(world.files, kept, max_bytes=MAX_SETTINGS_BYTES)
        return parse(b"schema = 1" if last_good is None else last_good), refused
    text = world.files.read(world.paths.settings, max_bytes=MAX_SETTINGS_BYTES, owners=world.paths.owners)
    if text is not None and text != own.read(world.files, kept, max_bytes=MAX_SETTINGS_BYTES):
        world.files.write(kept, text)
    return settings, None


def _roots(world: World, first: Root) -> Root:
    try:
        return trust.newest_root(world.files, world.paths, first)
    except (Untrusted, Misconfigured) as refused:
        own.set_aside(world.files, world.paths.roots, refused)
        return first


def _mark(world: World, root: Root, reading: Reading) -> Mark:
    kept = _own(
        world, world.paths.clock, MAX_SMALL_BYTES, lambda data: effective_time.from_json(_members(data, "clock.json"))
    )
    if kept is None:
        return effective_time.first(reading, root.iat)
    return effective_time.drop(effective_time.advance(kept, reading), root.kids)


def _schedule(world: World, now: int) -> Schedule:
    kept = _own(
        world, world.paths.schedule, MAX_SMALL_BYTES, lambda data: schedule.from_json(_members(data, "schedule.json"))
    )
    return kept or schedule.plan_first(now, world.chance.fraction())


def machine_components(world: World) -> dict[str, str]:
    """This machine's binding components, junk left out, the agent's own key among them."""
    raw = dict(world.machine.components())
    key = agent_key.load(world.files, world.paths)
    if key is not None:
        raw["agent_key"] = key.public.kid
    return dict(binding.normalize(raw))


def _own(world: World, path: Path, max_bytes: int, decode: Callable[[bytes], T]) -> T | None:
    """A file of the state's own; one that is not what this agent writes is set aside, and the count begins anew."""
    data = own.read(world.files, path, max_bytes=max_bytes)
    if data is None:
        return None
    try:
        return decode(data)
    except Untrusted as refused:
        own.set_aside(world.files, path, refused)
        return None


def _members(data: bytes, where: str) -> Members:
    return Members(loads(data, max_bytes=MAX_SMALL_BYTES), where)
