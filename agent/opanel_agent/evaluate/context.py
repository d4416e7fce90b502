"""Holds one pass of evaluate: what it has read (frozen), and the little that its effects change.

`Inputs` are frozen. Whoever changes something durably (installs a document, makes a key) puts a changed copy in their
place with the same step. `AgentState` and `Schedule` are written once, at the end, and before anything long begins.

Only functions with effects take the context. Whatever asks a question takes the values that it needs.
"""

from typing import Final

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import Storage
from opanel_agent.core.license import effective_time, license_key, schedule, status_history
from opanel_agent.core.license.effective_time import ClockState
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.values import field, mutable, replace
from opanel_agent.evaluate.consent.rights import DataRights
from opanel_agent.evaluate.inputs import Documents, Inputs, load_inputs, load_schedule, load_state
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting.proofs import Proofs
from opanel_agent.evaluate.reporting.report import Reports
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, open_ledger
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.network.gate_inputs import GateSources
from opanel_agent.system.log import log_event

LEAP_S: Final = 60  # what is less is a clock that is being adjusted


@mutable
class PassContext:
    """One pass. `first_pass`: nothing says what was installed before, in the first pass or after state.json was lost.

    `lists_accepted`: the shards of which this pass accepted a status list that is newer than any before it. `reset`: all
    was forgotten in this pass, and what it still learns is not kept. `unrecorded` is what kept a change of the consents
    from being recorded in this pass; it denies as a broken ledger does.
    """

    ports: Ports
    inputs: Inputs
    state: AgentState
    schedule: Schedule
    ledger: LedgerFile
    first_pass: bool = False
    reset: bool = False
    lists_accepted: set[int] = field(default_factory=set)
    unrecorded: str | None = None
    written: bytes = b""  # state.json as it was written last

    @property
    def now(self) -> int:
        """Effective time in seconds."""
        return self.inputs.now

    @property
    def outbox(self) -> Outbox:
        """Held and sent requests."""
        return Outbox(files=self.ports.files, paths=self.ports.paths, ledger=self.ledger)

    @property
    def rights(self) -> DataRights:
        """Requests by which a right is used, as of now."""
        return DataRights(
            outbox=self.outbox,
            catalog=self.ports.catalog,
            random=self.ports.random,
            settings=self.inputs.settings,
            root=self.inputs.root,
            bundle=self.inputs.bundle,
            now=self.now,
        )

    @property
    def reports(self) -> Reports:
        """Reports, as of now."""
        return Reports(
            ports=self.ports,
            outbox=self.outbox,
            state=self.state,
            settings=self.inputs.settings,
            root=self.inputs.root,
            now=self.now,
            save_state=self.save_state,
        )

    @property
    def proofs(self) -> Proofs:
        """What proves whose the reports were, as of now."""
        witnessed = self.now - self.inputs.clock_state.unwitnessed_s
        return Proofs(outbox=self.outbox, rights=self.rights, state=self.state, now=self.now, witnessed=witnessed)

    @property
    def gate(self) -> GateSources:
        """The gate's sources as they were read last: for what is shown, never for a decision to send."""
        inputs = self.inputs
        return GateSources(
            settings=inputs.settings,
            refused=inputs.settings_refused,
            signals=inputs.signals,
            consent=inputs.consent,
            notice=inputs.notice,
            root=inputs.root,
            ledger=self.unrecorded or self.ledger.fault,
            clone=inputs.clone,
        )

    def read_gate(self) -> GateSources:
        """Reads opt-outs and consent afresh: a "no" may have come since the pass began. Before collecting and sending."""
        return replace(self.gate, signals=self.ports.opt_outs.read(), consent=self.ports.consents.read())

    def refresh(self) -> None:
        """Reads opt-outs and consent once more, for everything that the pass shows in the end."""
        self.inputs = replace(self.inputs, signals=self.ports.opt_outs.read(), consent=self.ports.consents.read())

    def install(self, documents: Documents) -> None:
        """Puts changed documents in the place of those that were read."""
        self.inputs = replace(self.inputs, documents=documents)

    def set_clock(self, clock_state: ClockState) -> None:
        """Takes over the clock once a signed date was heard; it may have gone back by what only the wall clock said."""
        before = self.inputs.clock_state
        self.inputs = replace(self.inputs, clock_state=clock_state)
        if self.now < effective_time.now(before):
            self.state.forget_future(self.now)
        try:
            self.extend_holds(effective_time.leapt_s(before, clock_state))
        except Storage as trouble:
            self.unrecorded = self.unrecorded or trouble.detail

    def extend_holds(self, leapt_s: int) -> None:
        """Lets every hold go on by the seconds that the clock leapt: it is time in which a report could be looked at.

        Raises Storage.
        """
        if leapt_s < LEAP_S:
            return
        for sealed in self.outbox.held_reports():
            if sealed.held_since is not None and not sealed.reviewed:
                self.outbox.restart_hold(sealed, sealed.held_since + leapt_s)
                log_event("hold_extended", id=sealed.id, seconds=leapt_s)

    def save_state(self) -> None:
        """Writes state.json before something long begins, where it changed: a "no" ends a pass at its request."""
        encoded = self.state.encode()
        if encoded != self.written:
            self.ports.files.write(self.ports.paths.state, encoded)
            self.written = encoded

    def save_schedule(self) -> None:
        """Writes schedule.json before something is asked that this pass may not survive."""
        self.ports.files.write(self.ports.paths.schedule, dumps(schedule.to_json(self.schedule)))

    def save(self) -> None:
        """Writes what this pass learned. Documents were written when they were installed."""
        if self.reset:
            return
        files, paths = self.ports.files, self.ports.paths
        if self.ledger.head.seq:
            self.state.ledger_seq = self.ledger.head.seq
        files.write(paths.clock, dumps(effective_time.to_json(self.inputs.clock_state)))
        self.save_schedule()
        files.write(paths.state, self.state.encode())


def begin_pass(ports: Ports, *, whole_ledger: bool = False) -> PassContext:
    """Reads everything. Raises Misconfigured without a root to trust, Storage where the state cannot be read.

    `whole_ledger`: the ledger is verified from its first line, whatever was verified before.
    """
    kept = load_state(ports)
    state = kept or AgentState()
    inputs = load_inputs(ports, state)
    written = state.encode()
    _recover(inputs, state, lost=kept is None)
    context = PassContext(
        ports=ports,
        inputs=inputs,
        state=state,
        schedule=load_schedule(ports, inputs.now),
        ledger=open_ledger(ports.files, ports.paths, inputs.now, at_least=state.ledger_seq or 0, whole=whole_ledger),
        first_pass=kept is None or kept.state is None,
        written=written,
    )
    context.rights.repair()
    return context


def _recover(inputs: Inputs, state: AgentState, *, lost: bool) -> None:
    """Records what the documents at hand prove whatever became of the state: an older copy of it, or none, is no cure."""
    bundle = inputs.bundle
    if bundle is None:
        return
    state.seen = status_history.mark_installed(state.seen, bundle)
    if lost:
        state.lost = True
        state.accept(license_key.digest(bundle.license.sub), min(inputs.now, bundle.license.iat))
    for listed in inputs.documents.status_lists.values():
        state.seen = status_history.record_list(state.seen, bundle, listed, inputs.now, lost=state.lost)
        state.note_list(listed.shard, listed.iat)
