"""Reads and writes the record of withdrawals, two files in a folder that every process of the agent may read.

owner.json is the owner's alone, since it says what a grant ended: another's, or one that others may write, is refused.
agent.json can only narrow. A write is durable when it returns, as every write of `Files`.
"""

from pathlib import Path

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.consent.withdrawals import MAX_BYTES, AgentRecord, Kept, OwnerRecord, Withdrawals, decode, encode
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

READABLE: int = 0o644
DIRECTORY: int = 0o755


class WithdrawalStore:
    """This machine's record of withdrawals."""

    def __init__(self, files: Files, paths: Paths) -> None:
        self._files = files
        self._paths = paths

    def read(self) -> tuple[Withdrawals, tuple[Misconfigured, ...], tuple[Signal, ...]]:
        """Returns what both files say, what is wrong with each, and where a refused one may ask not to be tracked.

        Never fails. A file that is not there holds nothing; of a refused one nothing is known.
        """
        faults: list[Misconfigured] = []
        doubts: list[Signal] = []
        owner, agent = OwnerRecord(), AgentRecord()
        try:
            owner = self._load(self._paths.withdrawals_of_owner, OwnerRecord, self._paths.owners) or owner
        except Misconfigured as fault:
            faults.append(fault)
            doubts.append(_in_doubt(self._paths.withdrawals_of_owner))
        try:
            agent = self._load(self._paths.withdrawals_of_agent, AgentRecord, None) or agent
        except Misconfigured as fault:
            faults.append(fault)
            doubts.append(_in_doubt(self._paths.withdrawals_of_agent))
        return Withdrawals(owner=owner, agent=agent), tuple(faults), tuple(doubts)

    def write_owner(self, record: OwnerRecord) -> None:
        """Writes owner.json durably, as its owner. Raises Storage."""
        self._files.make_dir(self._paths.withdrawals, mode=DIRECTORY)
        self._files.write(self._paths.withdrawals_of_owner, encode(record), mode=READABLE)

    def write_agent(self, record: AgentRecord) -> None:
        """Writes agent.json durably, as the agent's user. Raises Storage."""
        self._files.make_dir(self._paths.withdrawals_of_agent.parent, mode=DIRECTORY)
        self._files.write(self._paths.withdrawals_of_agent, encode(record), mode=READABLE)

    def _load(self, path: Path, kind: type[Kept], owners: frozenset[int] | None) -> Kept | None:
        """Raises Misconfigured for a file that is there and cannot be read, or was not written by this agent."""
        try:
            data = self._files.read(path, max_bytes=MAX_BYTES, owners=owners)
            return None if data is None else decode(kind, data)
        except Untrusted as fault:
            raise Misconfigured(Reason.CONSENT_REFUSED, "withdrawals_refused", file=str(path)) from fault
        except AgentError as fault:
            raise Misconfigured(Reason.CONSENT_REFUSED, fault.detail, **{"file": str(path), **fault.values}) from fault


def _in_doubt(path: Path) -> Signal:
    return Signal(kind=SignalKind.FILE, what=path.name, place=str(path.parent))
