"""Takes payloads away when their time is over, or when somebody says so, and writes down that it did.

What is purged is named in the ledger by its id and its digests; the payload was never in there, so the chain holds. The
entry comes first. Where it cannot be written, the payload goes all the same (keeping it would break the promise that
matters more) and the failure is raised once everything is gone.

Left as they are: requests in held/ that do not say since when (an activation waits for the administrator's next command),
receipts, the secrets in erasure/, and the requests in ready/.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import NAME, Members, loads
from opanel_agent.core.errors import Misconfigured, Storage, Untrusted
from opanel_agent.core.ledger.chain import Datum, EntryKind
from opanel_agent.core.reporting import retention
from opanel_agent.core.reporting.retention import Store, StoredItem
from opanel_agent.core.wire.message import MAX_BODY_BYTES, MAX_LINE_BYTES, Sealed
from opanel_agent.evaluate.ledger_file import LedgerFile, digest
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

_MAX_BYTES: Final = 1024 * 1024
_MAX_REQUEST_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_BODY_BYTES
_REQUEST, _ATTEMPTED, _REPLY = ".request", ".attempted", ".reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was taken away: `purpose` None where the file could not be read any more."""

    id: str
    room: Store
    purpose: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadStore:
    """held/ and sent/, and the book that says what became of them."""

    files: Files
    paths: Paths
    book: LedgerFile

    def sweep(self, now_s: int) -> tuple[Purged, ...]:
        """Everything whose time is over. Raises Storage when something could not be removed or written down."""
        return self.purge(retention.expired([*self.held(), *self.sent()], now_s), now_s, reason="retention")

    def purge(self, kept: Iterable[StoredItem], now_s: int, *, reason: str) -> tuple[Purged, ...]:
        """These requests, each with everything that belongs to it; `reason` is the code that the ledger keeps."""
        purged: list[Purged] = []
        failed: list[Storage] = []
        for each in kept:
            paths = self._paths_of(each)
            gone = Purged(id=each.id, room=each.room, purpose=self._purpose(paths[0]))
            steps = [partial(self._record, gone, paths, now_s, reason), *(partial(self.files.remove, p) for p in paths)]
            failed += [error for error in map(_failure, steps) if error is not None]
            log_event("purged", id=each.id, room=str(each.room), reason=reason)
            purged.append(gone)
        if failed:
            raise failed[0]
        return tuple(purged)

    def held(self) -> tuple[StoredItem, ...]:
        """What waits. A file that is no sealed request any more counts as old: nobody can look at it or send it."""
        return tuple(self._held(name) for name in self.files.names(self.paths.held))

    def sent(self) -> tuple[StoredItem, ...]:
        """What was attempted, with or without a reply. Pieces that a crash left before the attempt count as old."""
        names = self.files.names(self.paths.sent)
        ids = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
        return tuple(StoredItem(id=each, room=Store.SENT, since_s=self._attempted(each)) for each in ids)

    def _held(self, name: str) -> StoredItem:
        sealed = self._sealed(self.paths.held / name)
        return StoredItem(id=name, room=Store.HELD, since_s=0 if sealed is None else sealed.held_since)

    def _attempted(self, request_id: str) -> int | None:
        if (data := self._read(self.paths.sent / (request_id + _ATTEMPTED))) is None:
            # Not attempted yet: while it waits in held/ its age is told there.
            return None if self.files.exists(self.paths.held / request_id) else 0
        try:
            return Members(loads(data, max_bytes=_MAX_BYTES), "attempted").integer("at")
        except Untrusted:
            return 0

    def _paths_of(self, kept: StoredItem) -> tuple[Path, ...]:
        """The request first, its mark last: what a crash leaves is found by it, and purged at the next sweep."""
        if kept.room is Store.HELD:
            return (self.paths.held / kept.id,)
        here = self.paths.sent
        known = tuple(here / (kept.id + end) for end in (_REQUEST, _REPLY, _ATTEMPTED))
        belonging = (here / name for name in self.files.names(here) if (name.rpartition(".")[0] or name) == kept.id)
        return (*known[:2], *(path for path in belonging if path not in known), known[2])

    def _record(self, gone: Purged, paths: Iterable[Path], now_s: int, reason: str) -> None:
        told: dict[str, Datum] = {"room": str(gone.room), "reason": reason, **_digests(self._contents(paths))}
        if NAME.fullmatch(gone.id):
            told["id"] = gone.id
        self.book.append(EntryKind.PURGED, now_s, purpose=gone.purpose, **told)

    def _contents(self, paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            data = self._read(path)
            if data is not None:
                yield path.suffix, data

    def _purpose(self, path: Path) -> str | None:
        sealed = self._sealed(path)
        return sealed.purpose if sealed is not None and NAME.fullmatch(sealed.purpose) else None

    def _sealed(self, path: Path) -> Sealed | None:
        data = self._read(path, max_bytes=_MAX_REQUEST_BYTES)
        try:
            return None if data is None else Sealed.decode(data)
        except Untrusted:
            return None

    def _read(self, path: Path, max_bytes: int = _MAX_BYTES) -> bytes | None:
        """None for what is no regular file of a sane size as well: it can be neither shown nor sent."""
        try:
            return self.files.read(path, max_bytes=max_bytes)
        except Misconfigured:
            return None


def _failure(step: Callable[[], None]) -> Storage | None:
    try:
        step()
    except Storage as error:
        return error
    return None


def _digests(contents: Iterable[tuple[str, bytes]]) -> dict[str, Datum]:
    """`sha256` of the request as it was kept, `reply_sha256` of its reply."""
    names = {_REPLY: "reply_sha256", _ATTEMPTED: None}
    found = ((names.get(suffix, "sha256"), data) for suffix, data in contents)
    return {name: digest(data) for name, data in found if name}
