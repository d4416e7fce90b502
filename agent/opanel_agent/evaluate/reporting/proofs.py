"""Purges what proves, once there is nothing left to prove with it, and folders of the state that were set aside.

Secrets of reports, requests made ready of them, receipts (`core.reporting.retention`): a name in one of these folders is a
request's, and its age counts from when the ledger says that it was attempted or sealed last. What the ledger does not name
was there before the ledger was opened, so it counts from then. While the ledger cannot be used, nothing here has an age.

Seconds that only the wall clock has said do not count: a clock that is years ahead for a day must not take away what a
right needs and nobody can make again.

A folder that could not be read lies beside its successor as `<name>.broken`, and nothing says how old what is in it is. So
its age counts from when it was first seen. It goes whole, and one that cannot be removed is tried again at each pass.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.ledger.chain import MAX_TEXTS, EntryKind
from opanel_agent.core.reporting import retention
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.reporting.retention import ProofFolder
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen
from opanel_agent.evaluate.consent.rights import DataRights
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.system.log import log_event

_ASIDE: Final = r"([a-z]+)\.broken(?:-[2-9])?"
_ENDS: Final = (".jwt", ".json", ".answer")


def stored_days(catalog: Catalog) -> int:
    """Returns for how many days the authority stores a report at the most, as the catalog says."""
    return max(field.retention_days_there for purpose in CONSENT_BASED for field in catalog.fields(purpose).values())


@frozen
class Proofs:
    """What proves, at one moment. `now` is effective time, `witnessed` the part of it that not only the wall clock said."""

    outbox: Outbox
    rights: DataRights
    state: AgentState
    now: int
    witnessed: int

    def sweep(self) -> None:
        """Purges what has expired, with an entry for each folder. Raises Storage where it could not be done or recorded."""
        for folder in ProofFolder:
            self._sweep_folder(folder)
        self.rights.purge_unlisted()
        self._sweep_aside()

    def _sweep_folder(self, folder: ProofFolder) -> None:
        place = self.outbox.paths.state_dir / folder
        kept_s = retention.proof_days(folder, stored_days(self.rights.catalog)) * DAY_S
        dates = {request.id: request.at for request in self.rights.known()}
        held = {*self.outbox.files.names(self.outbox.paths.held)}
        names = self.outbox.files.names(place)
        due = [name for name in names if self._expired(_id_of(name), held, dates, kept_s)]
        self._record(folder, due)
        for name in due:
            self.outbox.files.remove(place / name)
        if folder is ProofFolder.READY:
            self.rights.forget_unsent({_id_of(name) for name in due})

    def _expired(self, request_id: str, held: Collection[str], dates: Mapping[str, int], kept_s: int) -> bool:
        since = self._since(request_id, dates)
        return since is not None and request_id not in held and self.witnessed - since >= kept_s

    def _since(self, request_id: str, dates: Mapping[str, int]) -> int | None:
        ledger = self.outbox.ledger
        opened = ledger.latest(EntryKind.LEDGER_OPENED)
        if opened is None or not ledger.read:
            return None
        record = ledger.requests.get(request_id)
        return max(0 if record is None else record.at, dates.get(request_id, 0)) or opened.at

    def _record(self, folder: ProofFolder, names: Sequence[str]) -> None:
        """Records them by their ids, never by content.

        The ledger leaves this server in an export, and a secret must not.
        """
        for start in range(0, len(names), MAX_TEXTS):
            ids = tuple(map(_id_of, names[start : start + MAX_TEXTS]))
            self.outbox.ledger.append(
                EntryKind.PURGED, self.now, room=str(folder), reason="retention", count=len(ids), ids=ids
            )

    def _sweep_aside(self) -> None:
        """Removes what was set aside, as it may hold payloads: it goes before that is recorded, and where it cannot be."""
        files, paths = self.outbox.files, self.outbox.paths
        found = {name: found[1] for name in files.names(paths.state_dir) if (found := re.fullmatch(_ASIDE, name))}
        since = {name: self.state.aside.get(name, self.now) for name in found}
        self.state.aside = since
        for name, folder in found.items():
            kept_s = retention.aside_s(folder, stored_days(self.rights.catalog))
            if kept_s is None or self.now - since[name] < kept_s:
                continue
            files.remove_tree(paths.state_dir / name)
            log_event("aside_purged", file=name)
            self.outbox.ledger.append(EntryKind.PURGED, self.now, room=folder, reason="retention", file=name)


def _id_of(name: str) -> str:
    for end in _ENDS:
        name = name.removesuffix(end)
    return name
