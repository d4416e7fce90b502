"""Reads everything that a pass decides on: settings, opt-outs, roots, time, documents, consent, machine components.

Documents are verified from their bytes at every load. A file of the agent's own state that cannot be read any more is
renamed to `*.broken` and logged, never silently replaced; a refused document leaves the previous good one in place.

Loading writes in these cases only: the last good settings are kept, broken state files are moved aside, lost roots are
taken back from their copy, and a refused document is noted in the state so that the journal has it once.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import Signals
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.documents.advisory import Advisory
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unreadable, Untrusted
from opanel_agent.core.license import binding, effective_time, schedule
from opanel_agent.core.license.effective_time import ClockReading, ClockState
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.values import field, frozen, replace
from opanel_agent.evaluate.license import agent_key
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting.advisories import AdvisoryStore
from opanel_agent.evaluate.storage import state_files
from opanel_agent.evaluate.storage.state import MAX_BYTES as MAX_STATE_BYTES
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.system.log import log_event
from opanel_agent.system.machine import UnreadFile
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings, parse, read

MAX_BUNDLE_BYTES: Final = 64 * 1024
MAX_STATUS_BYTES: Final = 512 * 1024
MAX_SMALL_BYTES: Final = 16 * 1024
MAX_SETTINGS_BYTES: Final = 64 * 1024

T = TypeVar("T")


@frozen
class Documents:
    """The signed documents that hold under one root.

    `refused` is why the newest bundle does not verify. `status_lists` are kept by their shard.
    """

    bundle: Bundle | None = None
    refused: Untrusted | None = None
    status_lists: Mapping[int, StatusList] = field(default_factory=dict)
    advisories: tuple[Advisory, ...] = ()

    def with_list(self, listed: StatusList) -> "Documents":
        """Returns these documents with a newer list of one shard."""
        return replace(self, status_lists={**self.status_lists, listed.shard: listed})


class MachineIdentity(NamedTuple):
    """The members of `Inputs` that tell which machine this is."""

    components: Mapping[str, str]
    shared: Mapping[str, str]
    unread: Mapping[str, UnreadFile]
    key_id: str | None


@frozen
class Inputs:
    """Everything that a pass has read. An effect that changes one of them puts a changed copy in its place.

    `clock` is the raw reading, `clock_state` what it came to in effective time. `components` are this machine's binding
    components without junk, `shared` the junk, `unread` the types of which not everything could be read; `key_id` is the
    thumbprint of the agent's own key, None without one. `clone`: the consents were given for another machine. `isolated`:
    systemd runs fetch and courier; `unprotected` names the missing sandbox rules. `leapt_s`: by how much the clock went
    ahead since the last pass beyond the uptime.
    """

    settings: Settings
    settings_refused: AgentError | None
    signals: Signals
    consent: ConsentReading
    notice: str
    first_root: Root
    root: Root
    clock: ClockReading
    clock_state: ClockState
    documents: Documents
    components: Mapping[str, str]
    shared: Mapping[str, str]
    unread: Mapping[str, UnreadFile]
    key_id: str | None
    isolated: bool
    unprotected: tuple[str, ...] = field(default=())
    clone: bool = False
    leapt_s: int = 0

    @property
    def now(self) -> int:
        """Effective time in seconds."""
        return effective_time.now(self.clock_state)

    @property
    def bundle(self) -> Bundle | None:
        """The installed license with its chain and activation; None without a license that verifies."""
        return self.documents.bundle

    def match(self, bind: Bind) -> binding.Match:
        """Returns how this machine compares with a signed binding."""
        return binding.match(bind, self.components, self.unread, self.shared)


def load_inputs(ports: Ports, state: AgentState) -> Inputs:
    """Reads all inputs of a pass. Raises Misconfigured without a root to trust, Storage where a file cannot be read."""
    settings, refused = _settings(ports)
    first = trust.first_root(ports.files, ports.paths, settings)
    root = _newest_root(ports, first)
    clock = ports.clock.read()
    identity = machine_identity(ports)
    clock_state, leapt_s = _clock_state(ports, root, clock)
    return Inputs(
        settings=settings,
        settings_refused=refused,
        signals=ports.opt_outs.read(),
        consent=ports.consents.read(),
        notice=ports.notice,
        first_root=first,
        root=root,
        clock=clock,
        clock_state=clock_state,
        documents=load_documents(ports.files, ports.paths, root, state),
        components=identity.components,
        shared=identity.shared,
        unread=identity.unread,
        key_id=identity.key_id,
        isolated=ports.network.isolated,
        unprotected=ports.sandbox.missing() if ports.network.isolated else (),
        leapt_s=leapt_s,
    )


def load_state(ports: Ports) -> AgentState | None:
    """Returns state.json; None where there is none, or where it was moved aside because it is broken."""
    return _own(ports, ports.paths.state, MAX_STATE_BYTES, AgentState.decode)


def load_schedule(ports: Ports, now: int) -> Schedule:
    """Returns schedule.json; a first schedule with a drawn moment where there is none."""
    kept = _own(
        ports, ports.paths.schedule, MAX_SMALL_BYTES, lambda data: schedule.from_json(_members(data, "schedule.json"))
    )
    return kept or schedule.plan_first(now, ports.random.random())


def load_documents(files: Files, paths: Paths, root: Root, state: AgentState) -> Documents:
    """Verifies the kept documents under this root."""
    bundle, refused = _bundle(files, paths, root)
    return Documents(
        bundle=bundle,
        refused=refused,
        status_lists=_status_lists(files, paths, root, state, bundle_document.shards(bundle, root)),
        advisories=AdvisoryStore(files=files, paths=paths, root=root).load(state),
    )


def machine_identity(ports: Ports) -> MachineIdentity:
    """Returns the binding components, junk left out, the agent's own key among them; and that key's thumbprint."""
    found, unread = ports.machine.components()
    key_id: str | None = None
    try:
        key = agent_key.load(ports.files, ports.paths)
        key_id = None if key is None else key.public.kid
    except Unreadable as refused:
        why = str(refused.values.get("errno"))
        log_event("collector_failed", level="warning", collector="agent_key", kind=why)
        unread = {**unread, "agent_key": UnreadFile(str(ports.paths.activation_key), why)}
    raw = found if key_id is None else {**found, "agent_key": key_id}
    return MachineIdentity(binding.normalize(raw), binding.shared(found), unread, key_id)


def _bundle(files: Files, paths: Paths, root: Root) -> tuple[Bundle | None, Untrusted | None]:
    """Returns the current bundle, or the previous good one where the current is refused; the first refusal is kept."""
    first_refusal: Untrusted | None = None
    for path in (paths.bundle, paths.previous_bundle):
        try:
            text = _bundle_text(files, path)
            bundle = None if text is None else bundle_document.verify(text, root, now=None)
        except Untrusted as refused:
            first_refusal = first_refusal or refused
            continue
        if bundle is not None:
            return bundle, first_refusal
    return None, first_refusal


def _bundle_text(files: Files, path: Path) -> bytes | None:
    """Raises Untrusted for a file that can be no bundle: it is a refused one, whose grace a lost one would not have."""
    try:
        return files.read(path, max_bytes=MAX_BUNDLE_BYTES)
    except (Misconfigured, Unreadable) as refused:
        raise Untrusted(Reason.FORMAT_INVALID, refused.detail, **refused.values) from refused


def _status_lists(
    files: Files, paths: Paths, root: Root, state: AgentState, shards: tuple[int, ...]
) -> dict[int, StatusList]:
    read = {shard: _status_list(files, paths, root, state, shard) for shard in shards}
    return {shard: listed for shard, listed in read.items() if listed is not None}


def _status_list(files: Files, paths: Paths, root: Root, state: AgentState, shard: int) -> StatusList | None:
    """Returns the list; None where the root knows its key no more.

    Its own `exp` is not asked (see `verdict.rules_until`).
    """
    token = state_files.read(files, paths.status_shard(shard), max_bytes=MAX_STATUS_BYTES)
    if token is None:
        return None
    try:
        return status_document.accept(token, root, floor={}, now=0, shard=shard)
    except Untrusted as refused:
        # It stays, because a root to come may know its key again, and is logged once.
        if state.note_refused(hashlib.sha256(token).hexdigest()):
            log_event("status_list_refused", level="warning", code=str(refused.code), detail=refused.detail)
        return None


def _settings(ports: Ports) -> tuple[Settings, AgentError | None]:
    """Returns the settings; where they are refused, the last good ones (every request is then denied) and why."""
    kept = ports.paths.last_settings
    try:
        settings, text = read(ports.files, ports.paths)
    except (Misconfigured, Unreadable) as refused:
        return _last_settings(ports.files, kept), refused
    if text is not None and text != state_files.read(ports.files, kept, max_bytes=MAX_SETTINGS_BYTES):
        try:
            ports.files.write(kept, text)
        except Storage as error:  # a copy for worse days, which a full disk has no room for
            log_event("state_not_saved", level="error", file=kept.name, error=str(error))
    return settings, None


def _last_settings(files: Files, kept: Path) -> Settings:
    """Returns the last good settings, those without a file where there are none; a damaged copy is moved aside."""
    text = state_files.read(files, kept, max_bytes=MAX_SETTINGS_BYTES)
    try:
        return Settings() if text is None else parse(text)
    except Misconfigured as damaged:
        state_files.quarantine(files, kept, damaged)
        return Settings()


def _newest_root(ports: Ports, first: Root) -> Root:
    """Returns the newest that the state's roots lead to, or the copy of them.

    What was lost, or put back, begins anew from that.
    """
    files, paths = ports.files, ports.paths
    try:
        own = trust.newest_root(files, paths, first)
    except (Untrusted, Misconfigured, Unreadable) as refused:
        state_files.quarantine(files, paths.roots, refused)
        own = first
    copied = trust.walk_copy(files, paths, first)
    if copied is None or copied[0].seq <= own.seq:
        return own
    newest, text = copied
    try:
        files.write(paths.roots, text)
    except Storage as error:  # the copy stays, and the next pass tries again
        log_event("state_not_saved", level="error", file=paths.roots.name, error=str(error))
    return newest


def _clock_state(ports: Ports, root: Root, clock: ClockReading) -> tuple[ClockState, int]:
    """Returns the clock as it stands now, and by how much it leapt since it was kept."""
    kept = _own(
        ports, ports.paths.clock, MAX_SMALL_BYTES, lambda data: effective_time.from_json(_members(data, "clock.json"))
    )
    if kept is None:
        return effective_time.first(clock, max(root.iat, *_signed_dates(ports.files, ports.paths, root))), 0
    advanced = effective_time.drop(effective_time.advance(kept, clock), root.kids)
    return advanced, effective_time.leapt_s(kept, advanced)


def _signed_dates(files: Files, paths: Paths, root: Root) -> Iterator[int]:
    """Yields the dates of the documents at hand: what a lost clock begins anew from."""
    yield 0
    bundle, _ = _bundle(files, paths, root)
    if bundle is not None:
        yield bundle.newest_iat
    for shard in bundle_document.shards(bundle, root):
        token = state_files.read(files, paths.status_shard(shard), max_bytes=MAX_STATUS_BYTES)
        if token is not None:
            with suppress(Untrusted):
                yield status_document.accept(token, root, floor={}, now=0, shard=shard).iat


def _own(ports: Ports, path: Path, max_bytes: int, decode: Callable[[bytes], T]) -> T | None:
    """Returns a file of the agent's own state.

    One that this agent did not write is moved aside, and its counts begin anew.
    """
    data = state_files.read(ports.files, path, max_bytes=max_bytes)
    if data is None:
        return None
    try:
        return decode(data)
    except Untrusted as refused:
        state_files.quarantine(ports.files, path, refused)
        return None


def _members(data: bytes, where: str) -> Members:
    return Members(loads(data, max_bytes=MAX_SMALL_BYTES), where)
