"""Reads and appends the ledger on disk: `ledger.jsonl`, and `ledger.head`, which holds where it ends.

A pass opens the book once, under the state's lock. The chain is verified then: from the first line at a start and once a
day, else from `ledger.checkpoint` on, where the lines before it are byte for byte those that were verified
(`core.ledger.checkpoint`). What a crash tore off the last line is cut, and an entry says so. A ledger that is broken in
any other way is set aside whole, as `ledger.<n>.broken`; a new one opens with its digest, and the book is not `good` (no
consent counts) until a person has reviewed it. Of those MAX_ASIDE are kept; a further one stays where it is, unusable,
until somebody has moved them away.

`append` is durable when it returns. When it raises, the caller acts as if nothing had been recorded: the line may be there
or not, as with every write that was not acknowledged, and either way the chain holds. The order is line, then head, and
the head is made current before the next line, so that it is never ahead and never more than one line behind.

Trouble here never ends a pass: a license has nothing to do with the ledger. It makes the book not `good`, and every
`append` raise. The file is read whole, up to 32 MiB, and never outgrows what can be read: at the few entries of a day that
is half a century.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from opanel_agent import __version__
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unreadable, Untrusted
from opanel_agent.core.ledger import chain, checkpoint
from opanel_agent.core.ledger.chain import ChainHead, ChainState, Datum, Entry, EntryKind, Flaw, FlawKind
from opanel_agent.core.ledger.checkpoint import Checkpoint
from opanel_agent.core.ledger.requests import RequestLog, RequestRecord
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.message import Sealed
from opanel_agent.evaluate.storage import state_files
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_BYTES: Final = 32 * 1024 * 1024  # twice as much as JSON, at the most: an export holds it (`evaluate.export`)
_MAX_HEAD_BYTES: Final = 256
MAX_ASIDE: Final = 9  # what damages that many damages more; nothing that proves is removed to make room
CHECKPOINT_LINES: Final = 256  # as many are verified in the time that a checkpoint takes to be read
BROKEN_NAME: Final = r"ledger\.([0-9]{1,6})\.broken"


@frozen
class _Found:
    """What lies on the disk: the bytes, what they came to, and whether `ledger.head` is at the last line.

    `verified`: how many lines were verified for it, those of ledgers that were set aside among them; `whole_at`: when all
    of them were, in effective seconds.
    """

    data: bytes
    ledger: ChainState
    head_current: bool
    requests: RequestLog
    verified: int
    whole_at: int


class LedgerFile:
    """The ledger of one pass; `open_ledger` makes it."""

    def __init__(
        self, files: Files, paths: Paths, *, at_least: int = 0, whole: bool = True, max_bytes: int = MAX_BYTES
    ) -> None:
        self._files = files
        self._paths = paths
        self._at_least = at_least  # lines that it had when the state was last written
        self._whole = whole  # no checkpoint is believed
        self._ledger: ChainState | None = None  # None until it was read, and again after a write that failed
        self._head_current = False
        self._max_bytes, self._size = max_bytes, 0
        self._requests = RequestLog()
        self.read = False  # whether `requests` has all that it names
        self.verified = 0  # how many lines this pass had to verify, a checkpoint having stood for the others
        self.trouble: AgentError | None = None

    @property
    def good(self) -> bool:
        """Tells whether the chain holds, can be written as far as is known, and no broken ledger waits for a person."""
        return self._ledger is not None and not self._ledger.review_due

    @property
    def review_due(self) -> bool:
        """Whether a broken ledger was moved aside and no person has reviewed it yet."""
        return self._ledger is not None and self._ledger.review_due

    @property
    def fault(self) -> str | None:
        """What keeps consents from counting: the detail of the last error, `review_due`, or None for a good ledger."""
        if self.good:
            return None
        return "review_due" if self.trouble is None else self.trouble.detail

    @property
    def head(self) -> ChainHead:
        """Where the ledger ends; an empty head where it cannot be read."""
        return ChainHead() if self._ledger is None else self._ledger.head

    def latest(self, kind: EntryKind, purpose: str | None = None) -> Entry | None:
        """Returns the newest entry of a kind for a purpose, None where there is none or the book cannot be read."""
        return None if self._ledger is None else self._ledger.latest.get((kind, purpose))

    @property
    def requests(self) -> Mapping[str, RequestRecord]:
        """What became of each request that this ledger names, by id; what was read last where it cannot be used."""
        return self._requests.records

    def gap(self, now_s: int) -> bool:
        """Tells whether more than 48 h lie between the last daily mark and now. It stays true until `mark`."""
        return self._ledger is not None and chain.gap(self._ledger, now_s)

    def mark(self, now_s: int) -> None:
        """Writes the daily mark, at most once a day.

        What a gap calls for is done before, so that a crash does not skip it.
        """
        if self._ledger is None or chain.mark_due(self._ledger, now_s):
            self.append(EntryKind.DAILY_MARK, now_s)

    def append(self, kind: EntryKind, now_s: int, *, purpose: str | None = None, **data: Datum) -> None:
        """Appends one entry, durably. Raises Storage: then nothing that depends on it may happen."""
        try:
            if self._ledger is None:
                self._begin(now_s)
            self._append(kind, now_s, purpose, data)
        except AgentError as error:
            self._ledger = None  # what is on the disk now is read again before anything else is written
            self.trouble = error
            if isinstance(error, Misconfigured):
                raise _as_storage(error) from error
            raise
        self.trouble = None

    def request(self, kind: EntryKind, now_s: int, sealed: Sealed, **data: Datum) -> None:
        """Appends an entry about a request: id, address, digests and size, never content. Raises Storage."""
        self.append(
            kind,
            now_s,
            purpose=sealed.purpose,
            id=sealed.id,
            url=sealed.url,
            sha256=digest(sealed.encode()),
            body_sha256=digest(sealed.body),
            bytes=len(sealed.body),
            **data,
        )

    def entries(self) -> Iterator[Entry]:
        """Yields all entries from the first, read from the disk one at a time. Raises Storage where that cannot be read."""
        try:
            yield from chain.entries(chain.lines(self._read(0).data))
        except (Misconfigured, Untrusted) as error:
            raise _as_storage(error) from error

    def open(self, now_s: int) -> None:
        """Reads, repairs what a crash left, sets aside what is broken. Trouble is kept in `trouble`, not raised."""
        try:
            self._begin(now_s)
        except (Storage, Misconfigured) as error:
            self._ledger = None
            self.trouble = error
            log_event("ledger_unusable", level="error", code=str(error.code), detail=error.detail)

    def look(self) -> None:
        """Reads what is there and writes nothing, for a process that is not the agent. Raises Storage."""
        try:
            found = self._read(0)
        except Misconfigured as error:
            raise _as_storage(error) from error
        self._ledger = found.ledger if found.ledger.flaw is None else None
        self._requests, self.read = found.requests, True

    def _begin(self, now_s: int) -> None:
        found = self._read(now_s)
        if found.ledger.flaw is not None:
            self._set_aside(found, found.ledger.flaw, now_s)
            return
        self._ledger, self._head_current, self.verified = found.ledger, found.head_current, found.verified
        self._size = len(found.data)
        self._requests, self.read = found.requests, True
        if found.verified >= CHECKPOINT_LINES:
            self._keep_checkpoint(found)
        if not found.ledger.entries:
            self._append(EntryKind.LEDGER_OPENED, now_s, None, {})
        torn = chain.torn_bytes(found.data)
        if torn:
            log_event("ledger_torn_line_cut", level="warning", bytes=torn)
            self._append(EntryKind.TORN_LINE_CUT, now_s, None, {"bytes": torn})

    def _read(self, now_s: int) -> _Found:
        data = self._files.read(self._paths.ledger, max_bytes=MAX_BYTES) or b""
        kept = self._files.read(self._head_path, max_bytes=_MAX_HEAD_BYTES)
        known = None if self._whole else self._checkpoint(data, now_s)
        requests, older = self._older_requests() if known is None else (RequestLog(known.requests), 0)
        start, verified_bytes = (ChainState(), 0) if known is None else (known.ledger, known.size)
        try:
            head = ChainHead() if kept is None else ChainHead.decode(kept)
        except Untrusted:
            head = None
        found = chain.verify(chain.lines(data[verified_bytes:]), head, note=requests.note, start=start)
        if head is None:
            found = replace(found, flaw=found.flaw or Flaw(line=max(1, found.entries), what=FlawKind.HEAD))
        if found.flaw is None and found.head.seq < self._at_least:  # an older one was put in its place, whole
            found = replace(found, flaw=Flaw(line=found.head.seq + 1, what=FlawKind.CUT))
        return _Found(
            data=data,
            ledger=found,
            head_current=head == found.head,
            requests=requests,
            verified=older + found.entries - start.entries,
            whole_at=now_s if known is None else known.verified_at,
        )

    def _checkpoint(self, data: bytes, now_s: int) -> Checkpoint | None:
        """Returns the checkpoint; None where the ledger has to be verified whole.

        It has to without a checkpoint of ours, and with an old one or one of other bytes.
        """
        kept = state_files.read(self._files, self._checkpoint_path, max_bytes=checkpoint.MAX_BYTES)
        try:
            known = None if kept is None else Checkpoint.decode(kept)
        except Untrusted:  # it is written anew as soon as the whole was verified
            return None
        if known is None or known.version != __version__ or not known.recent(now_s):
            return None
        return known if known.aside == self._aside() and known.holds(data) else None

    def _keep_checkpoint(self, found: _Found) -> None:
        """Keeps a checkpoint; without one the next pass takes longer, and that is all."""
        whole_lines = found.data[: len(found.data) - chain.torn_bytes(found.data)]
        kept = Checkpoint(
            size=len(whole_lines),
            sha256=digest(whole_lines),
            verified_at=found.whole_at,
            ledger=found.ledger,
            requests=tuple(found.requests.records.values()),
            aside=self._aside(),
            version=__version__,
        )
        encoded = kept.encode()
        if len(encoded) <= checkpoint.MAX_BYTES:
            with suppress(Storage):
                self._files.write(self._checkpoint_path, encoded)

    def _aside(self) -> dict[str, str]:
        """Returns the ledgers that were set aside, each with its file's stamp."""
        here = self._paths.ledger.parent
        names = (f"ledger.{number}.broken" for number in self._broken_numbers())
        return {name: self._files.stamp(here / name) for name in names}

    def _append(self, kind: EntryKind, now_s: int, purpose: str | None, data: dict[str, Datum]) -> None:
        """Appends a line; a torn one is cut by `Files.append`."""
        current = self._ledger or ChainState()
        entry = chain.entry_after(current, kind, now_s, purpose, data)
        text = chain.encode(entry)
        if self._size + len(text) + 1 > self._max_bytes:
            raise Storage(Fault.DISK_FULL, "ledger_full", file=str(self._paths.ledger), max_bytes=self._max_bytes)
        if not self._head_current:
            self._files.write(self._head_path, current.head.encode())
        self._files.append(self._paths.ledger, text)
        self._size += len(text) + 1
        self._requests.note(entry)
        self._ledger, self._head_current = chain.after(current, entry), False
        self._files.write(self._head_path, self._ledger.head.encode())
        self._head_current = True

    def _set_aside(self, found: _Found, flaw: Flaw, now_s: int) -> None:
        """Sets the ledger aside; the copy is durable before the new ledger takes the place.

        A crash in between begins again, and loses nothing.
        """
        kept_as = self._copy(found.data)
        self._at_least = 0
        self._requests, self.read = self._older_requests()[0], True
        log_event("ledger_broken", level="error", what=str(flaw.what), at_line=flaw.line, kept_as=kept_as)
        record: dict[str, Datum] = {"broken": str(flaw.what), "line": flaw.line, "bytes": len(found.data)}
        record |= {"sha256": digest(found.data), "kept_as": kept_as}
        entry = chain.entry_after(ChainState(), EntryKind.LEDGER_OPENED, now_s, None, record)
        self._files.write(self._paths.ledger, chain.encode(entry) + b"\n")
        self._size = len(chain.encode(entry)) + 1
        self._ledger, self._head_current = chain.after(ChainState(), entry), False
        self._files.write(self._head_path, self._ledger.head.encode())
        self._head_current = True

    def _copy(self, data: bytes) -> str:
        """Keeps the bytes under the next free name, or the last name where a crash came after they were kept."""
        here = self._paths.ledger.parent
        numbers = self._broken_numbers()
        last = numbers[-1] if numbers else 0
        if last and self._files.read(here / f"ledger.{last}.broken", max_bytes=MAX_BYTES) == data:
            return f"ledger.{last}.broken"
        if len(numbers) >= MAX_ASIDE:
            raise Storage(Fault.DISK_FULL, "ledger_asides", file=str(here), count=len(numbers))
        kept_as = f"ledger.{last + 1}.broken"
        self._files.write(here / kept_as, data)
        return kept_as

    def _broken_numbers(self) -> list[int]:
        names = self._files.names(self._paths.ledger.parent)
        return sorted(int(found[1]) for found in (re.fullmatch(BROKEN_NAME, name) for name in names) if found)

    def _older_requests(self) -> tuple[RequestLog, int]:
        """Returns the requests of ledgers that were set aside, as far as each line is one by itself: what left has left.

        And how many lines these ledgers have.
        """
        requests, count = RequestLog(), 0
        for name in self._aside():
            with suppress(Misconfigured, Unreadable):  # a damaged disk; the ledger in force is judged by itself
                data = self._files.read(self._paths.ledger.parent / name, max_bytes=MAX_BYTES)
                for line in chain.lines(data or b""):
                    count += 1
                    with suppress(Untrusted):
                        requests.note(chain.decode(line))
        return requests, count

    @property
    def _head_path(self) -> Path:
        return self._paths.ledger.with_name("ledger.head")

    @property
    def _checkpoint_path(self) -> Path:
        return self._paths.ledger.with_name("ledger.checkpoint")


def open_ledger(files: Files, paths: Paths, now_s: int, *, at_least: int = 0, whole: bool = False) -> LedgerFile:
    """Opens the ledger of this pass. The caller holds the state's lock; `now_s` is effective time.

    `at_least`: how many lines it is known to have had. One that has fewer is broken, however whole it looks. `whole`: all
    of it is verified, whatever was verified before.
    """
    book = LedgerFile(files, paths, at_least=at_least, whole=whole)
    book.open(now_s)
    return book


def digest(data: bytes) -> str:
    """Returns the SHA-256 of the bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _as_storage(error: Misconfigured | Untrusted) -> Storage:
    """Returns the error of a ledger that is no readable file: this machine's trouble to whoever wants to write a line."""
    return Storage(Fault.IO_FAILED, error.detail, **error.values)
