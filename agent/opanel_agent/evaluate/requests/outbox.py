"""Keeps every request that leaves this machine: held until it may go, marked as attempted, answered, purged.

Life of a request, each step durable before the next: sealed bytes in `held/<id>` · entry `RequestAttempted` in the ledger
· `sent/<id>.request` · `sent/<id>.attempted` · the connection · `sent/<id>.reply` · entry of the outcome · what the caller
does with the answer · out of `held/`. A crash anywhere in between leaves a state that the next pass recognises: an attempt
without a reply is recorded as interrupted, a held request with a good reply is finished without asking again.

Of each fixed GET, which is the same bytes for every customer, only the latest attempt and the head of its reply are kept.

Purging: what is removed is named in the ledger by id and digests, never by content, so the chain stays valid. The entry
comes first; where it cannot be written the payload is removed all the same, and the failure is raised at the end. Held
requests without `held_since` (an administrator's own commands) do not expire.

Not here: whether a request may leave (the gate) and what its answer means (the caller).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import CONSENT_BASED, MAX_REPLY_BYTES
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage, Unreadable, Untrusted
from opanel_agent.core.ledger.chain import Datum, EntryKind
from opanel_agent.core.reporting import retention
from opanel_agent.core.reporting.retention import PayloadFolder, StoredItem
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.message import MAX_BODY_BYTES, MAX_LINE_BYTES, Reply, Sealed
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, digest
from opanel_agent.network.client import NetworkClient
from opanel_agent.system.log import log_event
from opanel_agent.system.randomness import RandomSource
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

_MAX_REQUEST_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_BODY_BYTES
_MAX_REPLY_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_REPLY_BYTES
_MAX_MARK_BYTES: Final = 1024
_MAX_PURGED_BYTES: Final = 1024 * 1024
_REQUEST, _ATTEMPTED, _REPLY = ".request", ".attempted", ".reply"
_ID: Final = r"[a-z]{1,16}-[0-9a-f]{16}"


def new_id(random: RandomSource, kind: str) -> str:
    """Returns `<kind>-<16 hex digits>`: unpredictable, and never on the wire."""
    return f"{kind}-{random.token_bytes(8).hex()}"


@frozen
class Purged:
    """One removed request. `purpose` is None where the file could no longer be read."""

    id: str
    room: PayloadFolder
    purpose: str | None


@frozen
class Outbox:
    """The folders `held/` and `sent/`, and the ledger that records what happens to their requests.

    The caller holds the state's lock. Times are effective seconds.
    """

    files: Files
    paths: Paths
    ledger: LedgerFile

    # ---- held requests

    def hold(self, sealed: Sealed) -> None:
        """Writes the request to `held/`, in the place of an earlier copy under the same id."""
        self.files.write(self.paths.held / sealed.id, sealed.encode())

    def held(self, request_id: str) -> Sealed | None:
        """Returns the held request; None for an unknown id and for a file that is no request of that id."""
        return self._sealed(self.paths.held / request_id, request_id)

    def require_held(self, request_id: str) -> Sealed:
        """Returns the held request. Raises Untrusted (`held_unknown`) where there is none."""
        sealed = self.held(request_id)
        if sealed is None:
            raise Untrusted(Fault.USAGE, "held_unknown", id=request_id[:64])
        return sealed

    def held_reports(self) -> tuple[Sealed, ...]:
        """Returns the reports that wait, in the order of their ids."""
        found = (self.held(name) for name in self.files.names(self.paths.held))
        return tuple(sealed for sealed in found if sealed is not None and sealed.purpose in CONSENT_BASED)

    def pending(self, kind: str, matches: Callable[[Sealed], bool]) -> Iterator[Sealed]:
        """Yields the held requests of this kind that `matches` accepts: asked again, they are the same bytes.

        This is how an unanswered request is found instead of being made a second time.
        """
        for name in self.held_ids(kind):
            sealed = self.held(name)
            if sealed is not None and matches(sealed):
                yield sealed

    def held_ids(self, kind: str) -> tuple[str, ...]:
        """Returns the names in `held/` that begin with this kind, readable or not."""
        return tuple(name for name in self.files.names(self.paths.held) if name.partition("-")[0] == kind)

    def end_hold(self, request_id: str) -> None:
        """Removes the request from `held/`: it has its answer, or asks for nothing any more."""
        self.files.remove(self.paths.held / request_id)

    def drop(self, *kinds: str) -> None:
        """Removes every held request of these kinds."""
        for kind in kinds:
            for name in self.held_ids(kind):
                self.end_hold(name)

    def restart_hold(self, sealed: Sealed, now_s: int) -> None:
        """Lets a held request wait its whole time again."""
        self.hold(replace(sealed, held_since=now_s))

    # ---- the attempt

    def submit(self, sealed: Sealed, network: NetworkClient, now_s: int, *, signalled: bool, **data: Datum) -> Reply:
        """Records the attempt, sends the request once, and records the outcome. Returns the reply, good or bad.

        The caller has asked the gate about these very bytes. `signalled`: an opt-out is in force, which explains a refusal
        by systemd. `data` goes into the entry of the attempt. Raises Storage where the attempt cannot be recorded: then
        nothing is sent.
        """
        self.ledger.request(EntryKind.REQUEST_ATTEMPTED, now_s, sealed, **data)
        self.mark_attempted(sealed, now_s)
        reply = network.courier(sealed, signalled=signalled)
        self.keep_reply(sealed, reply)
        self.record_outcome(sealed, reply, now_s)
        return reply

    def mark_attempted(self, sealed: Sealed, now_s: int) -> None:
        """Writes the copy and then the mark to `sent/`, durable before the first packet.

        What an earlier attempt came to is taken away between the two: without a reply, a second attempt that is cut short
        is found by `interrupted` as the first was.
        """
        self.files.write(self.paths.sent / (sealed.id + _REQUEST), sealed.encode())
        self.files.remove(self.paths.sent / (sealed.id + _REPLY))
        self._mark(sealed.id, now_s)

    def keep_reply(self, sealed: Sealed, reply: Reply) -> None:
        """Writes the reply beside the copy in `sent/`."""
        self.files.write(self.paths.sent / (sealed.id + _REPLY), reply.encode())

    def record_outcome(self, sealed: Sealed, reply: Reply, now_s: int) -> None:
        """Records what the attempt came to: answered, sent but not taken, withheld by the gate, or answered by nobody."""
        error, status = error_of(reply), reply.status
        if error is None:
            reply_sha256 = digest(reply.body)
            self.ledger.request(
                EntryKind.REQUEST_ANSWERED, now_s, sealed, status=status or 0, reply_sha256=reply_sha256
            )
        elif status is not None:
            self.ledger.request(EntryKind.REQUEST_SENT, now_s, sealed, status=status, reason=str(error.code))
        else:
            withheld = isinstance(error, NotPermitted)
            kind = EntryKind.REQUEST_WITHHELD if withheld else EntryKind.REQUEST_FAILED
            self.ledger.request(kind, now_s, sealed, reason=str(error.code))

    def mark_get(self, word: str, now_s: int) -> None:
        """Marks a fixed GET as attempted now."""
        self._mark(word, now_s)

    def keep_get_reply(self, word: str, reply: Reply) -> None:
        """Writes the head of a fixed GET's reply; the body is kept as the document that it is."""
        self.files.write(self.paths.sent / (word + _REPLY), replace(reply, body=b"").encode())

    # ---- sent requests

    def sent(self, request_id: str) -> Sealed | None:
        """Returns the copy of an attempted request, None where none is kept."""
        return self._sealed(self.paths.sent / (request_id + _REQUEST), request_id)

    def require_sent(self, request_id: str) -> Sealed:
        """Returns the copy of an attempted request. Raises Untrusted (`sent_unknown`) where none is kept."""
        sealed = self.sent(request_id)
        if sealed is None:
            raise Untrusted(Fault.USAGE, "sent_unknown", id=request_id[:64])
        return sealed

    def copy(self, request_id: str) -> Sealed | None:
        """Returns the request under this id, held or attempted."""
        return self.held(request_id) or self.sent(request_id)

    def reply(self, request_id: str) -> Reply | None:
        """Returns the kept reply; None where there is none or it cannot be read."""
        data = self._read(self.paths.sent / (request_id + _REPLY), _MAX_REPLY_BYTES)
        try:
            return None if data is None else Reply.decode(data)
        except Untrusted:
            return None

    def attempted_at(self, request_id: str) -> int | None:
        """Returns when the connection was opened; None without a readable mark."""
        data = self._read(self.paths.sent / (request_id + _ATTEMPTED), _MAX_MARK_BYTES)
        try:
            return None if data is None else Members(loads(data, max_bytes=_MAX_MARK_BYTES), "attempted").integer("at")
        except Untrusted:
            return None

    def last_attempt(self, kind: str) -> int | None:
        """Returns when a request of this kind was attempted last, as far as its mark is kept."""
        marks = (name.removesuffix(_ATTEMPTED) for name in self.files.names(self.paths.sent))
        moments = (
            self.attempted_at(name) for name in marks if name.partition("-")[0] == kind and re.fullmatch(_ID, name)
        )
        return max((moment for moment in moments if moment is not None), default=None)

    def interrupted(self) -> list[Sealed]:
        """Returns the attempted requests without a reply: a crash or a "no" ended them under way."""
        names = {*self.files.names(self.paths.sent)}
        attempted = sorted(name.removesuffix(_ATTEMPTED) for name in names if name.endswith(_ATTEMPTED))
        known = (self.sent(name) for name in attempted if name + _REPLY not in names)
        return [sealed for sealed in known if sealed is not None]

    def sent_ids(self) -> list[str]:
        """Returns the ids of all attempted requests whose copies are kept, the fixed GETs left out."""
        names = (name.removesuffix(_REQUEST) for name in self.files.names(self.paths.sent))
        return sorted(name for name in names if self.sent(name) is not None)

    def attempted_ids(self) -> list[str]:
        """Returns the ids of all requests that are marked as attempted, their copies readable or not."""
        marks = (
            name.removesuffix(_ATTEMPTED) for name in self.files.names(self.paths.sent) if name.endswith(_ATTEMPTED)
        )
        return [name for name in marks if re.fullmatch(_ID, name)]

    def copy_digest(self, request_id: str) -> str | None:
        """Returns the SHA-256 of the copy in `sent/` as it lies there, None where there is none that can be read."""
        data = self._read(self.paths.sent / (request_id + _REQUEST), _MAX_REQUEST_BYTES)
        return None if data is None or not re.fullmatch(_ID, request_id) else digest(data)

    # ---- purging

    def sweep(self, now_s: int) -> tuple[Purged, ...]:
        """Purges what is older than its retention period. Raises Storage as `purge` does."""
        return self.purge(retention.expired([*self.held_items(), *self.sent_items()], now_s), now_s, reason="retention")

    def purge(self, items: Iterable[StoredItem], now_s: int, *, reason: str) -> tuple[Purged, ...]:
        """Removes these requests with everything that belongs to them; `reason` is the code that the ledger keeps.

        Raises Storage when something could not be removed or recorded, after everything else is gone.
        """
        purged: list[Purged] = []
        failed: list[Storage] = []
        chosen = tuple(items)
        copies = self._copies() if any(item.folder is PayloadFolder.SENT for item in chosen) else {}
        for item in chosen:
            paths = self._paths_of(item, copies.get(item.id, ()))
            removed = Purged(id=item.id, room=item.folder, purpose=self._purpose(paths[0]))
            steps = [
                partial(self._record, removed, paths, now_s, reason),
                *(partial(self.files.remove, p) for p in paths),
            ]
            failed += [error for error in map(_storage_error, steps) if error is not None]
            log_event("purged", id=item.id, room=str(item.folder), reason=reason)
            purged.append(removed)
        if failed:
            raise failed[0]
        return tuple(purged)

    def purge_held(self, ids: Iterable[str], now_s: int, *, reason: str) -> tuple[Purged, ...]:
        """Purges the held requests with these ids. Raises Storage as `purge` does."""
        wanted = {*ids}
        return self.purge([item for item in self.held_items() if item.id in wanted], now_s, reason=reason)

    def held_items(self) -> tuple[StoredItem, ...]:
        """Returns what lies in `held/`. A file that is no request any more has age 0: nobody can look at it or send it."""
        return tuple(self._held_item(name) for name in self.files.names(self.paths.held))

    def sent_items(self) -> tuple[StoredItem, ...]:
        """Returns what was attempted, answered or not. What a crash left before the attempt has age 0."""
        ids = dict.fromkeys(map(_id_of, self.files.names(self.paths.sent)))
        return tuple(StoredItem(id=name, folder=PayloadFolder.SENT, since_s=self._since(name)) for name in ids)

    def _held_item(self, name: str) -> StoredItem:
        sealed = self._decoded(self.paths.held / name)
        return StoredItem(id=name, folder=PayloadFolder.HELD, since_s=0 if sealed is None else sealed.held_since)

    def _since(self, request_id: str) -> int | None:
        """Tells since when a request counts as left; None for one not attempted yet.

        While the request waits in `held/` its age counts there.
        """
        if self._read(self.paths.sent / (request_id + _ATTEMPTED), _MAX_PURGED_BYTES) is None:
            return None if self.files.exists(self.paths.held / request_id) else 0
        return self.attempted_at(request_id) or 0

    def _copies(self) -> Mapping[str, list[str]]:
        """Returns the names in `sent/` by request: one listing, however many requests are purged."""
        found: dict[str, list[str]] = {}
        for name in self.files.names(self.paths.sent):
            found.setdefault(_id_of(name), []).append(name)
        return found

    def _paths_of(self, item: StoredItem, copies: Iterable[str]) -> tuple[Path, ...]:
        """Returns the request first, its mark last.

        What a crash leaves is found by the mark and purged at the next sweep.
        """
        if item.folder is PayloadFolder.HELD:
            return (self.paths.held / item.id,)
        folder = self.paths.sent
        known = tuple(folder / (item.id + end) for end in (_REQUEST, _REPLY, _ATTEMPTED))
        named = (folder / name for name in copies)
        return (*known[:2], *(path for path in named if path not in known), known[2])

    def _record(self, removed: Purged, paths: Iterable[Path], now_s: int, reason: str) -> None:
        data: dict[str, Datum] = {"room": str(removed.room), "reason": reason, **_digests(self._contents(paths))}
        if re.fullmatch(NAME, removed.id):
            data["id"] = removed.id
        self.ledger.append(EntryKind.PURGED, now_s, purpose=removed.purpose, **data)

    def _contents(self, paths: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
        for path in paths:
            data = self._read(path, _MAX_PURGED_BYTES)
            if data is not None:
                yield path.suffix, data

    def _purpose(self, path: Path) -> str | None:
        sealed = self._decoded(path)
        return sealed.purpose if sealed is not None and re.fullmatch(NAME, sealed.purpose) else None

    # ---- files

    def _mark(self, name: str, now_s: int) -> None:
        self.files.write(self.paths.sent / (name + _ATTEMPTED), dumps({"schema": 1, "at": now_s}) + b"\n")

    def _sealed(self, path: Path, request_id: str) -> Sealed | None:
        sealed = self._decoded(path) if re.fullmatch(_ID, request_id) else None
        return sealed if sealed is not None and sealed.id == request_id else None

    def _decoded(self, path: Path) -> Sealed | None:
        data = self._read(path, _MAX_REQUEST_BYTES)
        try:
            return None if data is None else Sealed.decode(data)
        except Untrusted:
            return None

    def _read(self, path: Path, max_bytes: int) -> bytes | None:
        """Reads a file; None also for what is no regular file of a sane size.

        A damaged disk must not stop the judging of the license.
        """
        try:
            return self.files.read(path, max_bytes=max_bytes)
        except (Misconfigured, Unreadable):
            return None


def _id_of(name: str) -> str:
    """Returns the request that a file of `sent/` belongs to; a name of no such form is its own."""
    return name.rpartition(".")[0] or name


def _storage_error(step: Callable[[], None]) -> Storage | None:
    try:
        step()
    except Storage as error:
        return error
    return None


def _digests(contents: Iterable[tuple[str, bytes]]) -> dict[str, Datum]:
    """Returns `sha256` of the request as it was kept, `reply_sha256` of its reply."""
    names = {_REPLY: "reply_sha256", _ATTEMPTED: None}
    found = ((names.get(suffix, "sha256"), data) for suffix, data in contents)
    return {name: digest(data) for name, data in found if name}
