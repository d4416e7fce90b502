"""Defines the ledger: an append-only file of what was asked, answered, sealed, sent and purged, chained by digests.

One entry is one line of canonical JSON:

    {"at":…,"data":{…},"kind":"ConsentGiven","prev":"…","purpose":"usage_statistics","seq":7,"sha256":"…"}

`sha256` is over the line without that member, `prev` is the `sha256` of the
line before (64 zeros for the first), so that a shell and `sha256sum` can check
a ledger. `at` is effective time in seconds since 1970. Names of states are
those of the W3C Data Privacy Vocabulary.

What an entry may say is the table `_DATA`: digests, ids, counts, codes and
places. A payload has no name there, so nothing of it can come in, and purging
it breaks nothing here.

A chain alone does not show that its end was cut off. `ChainHead`, kept in a
file of its own, says where the end was: it is written after each line, so it is
behind by one line at most. Who owns the machine can write a whole new ledger
and its head; a secret would not help against him, since the agent would have to
keep it on the same machine. Against that stand the exports, the receipts and
the authority's own record.

Pure. Left out: the file, its lock and its fsync (`evaluate.storage.ledger_file`).
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, StrEnum, unique
from typing import Annotated, Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codec.record import Member, Text
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.errors import Bug, Untrusted
from opanel_agent.core.text_safety import mask
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import field, frozen, replace

NOTHING: Final = "0" * 64
MAX_LINE_BYTES: Final = 64 * 1024
MAX_TEXT: Final = 256
MAX_TEXTS: Final = 16
# A mark a day, so that a quiet ledger can be told from one that was stopped; two
# days without one are a gap, since a mark may come late by a missed check.
MARK_EVERY_S: Final = DAY_S
GAP_S: Final = 2 * DAY_S
_KIND: Final = r"[A-Za-z]{1,32}"

Datum = str | int | bool | tuple[str, ...]


@unique
class EntryKind(StrEnum):
    """Names what an entry records.

    The consent states are DPV's, the rest names events of this agent.

    A kind that this version does not know is read as any other word, so that an
    older agent can still verify a newer ledger.
    """

    # A person was shown a notice.
    NOTICE_SHOWN = "NoticeShown"
    # A purpose was allowed, to the notice that was installed.
    CONSENT_GIVEN = "ConsentGiven"
    # A purpose was denied that had not been allowed.
    CONSENT_REFUSED = "ConsentRefused"
    # A purpose that had been allowed was denied.
    CONSENT_WITHDRAWN = "ConsentWithdrawn"
    CONSENT_INVALIDATED = "ConsentInvalidated"  # a newer notice, another machine, a file rewritten
    # A signal not to be tracked, or to be offline, appeared.
    OPT_OUT_SEEN = "OptOutSeen"
    # A signal disappeared.
    OPT_OUT_GONE = "OptOutGone"
    # Every hold began anew, because a signal disappeared.
    HOLDS_RESTARTED = "HoldsRestarted"
    # A request was made, and nothing of it can change any more.
    REQUEST_SEALED = "RequestSealed"
    # Somebody looked at a report and released it.
    REQUEST_REVIEWED = "RequestReviewed"
    # A request is about to leave; written before its connection is opened. From
    # then on it may have left.
    REQUEST_ATTEMPTED = "RequestAttempted"
    # The gate's second decision, before the connection: nothing of it left.
    REQUEST_WITHHELD = "RequestWithheld"
    # Nobody answered: none was reached, or it was cut short (`interrupted`). It
    # may have left.
    REQUEST_FAILED = "RequestFailed"
    # It left: the other end replied, and did not take it.
    REQUEST_SENT = "RequestSent"
    # It left: the other end took it and answered.
    REQUEST_ANSWERED = "RequestAnswered"
    # An earlier version's, by the gate or by the other end: it may have left.
    REQUEST_REFUSED = "RequestRefused"
    # What came in the place of a receipt was refused.
    RECEIPT_REFUSED = "ReceiptRefused"
    # The authority's receipt for a body came.
    RECEIPT_KEPT = "ReceiptKept"
    # A payload was removed from this server.
    PURGED = "Purged"
    # Another version of the agent ran for the first time.
    UPGRADED = "Upgraded"
    # The agent ran on this day.
    DAILY_MARK = "DailyMark"
    # The last mark is too far from now.
    GAP_FOUND = "GapFound"
    # This machine is not the one that the state was written on.
    CLONE_FOUND = "CloneFound"
    # The first entry; with `broken`, in the place of a ledger that was set
    # aside.
    LEDGER_OPENED = "LedgerOpened"
    # A line that a crash tore was cut off.
    TORN_LINE_CUT = "TornLineCut"
    # Somebody looked at what was found in the ledger.
    REVIEWED = "Reviewed"


class _Is(Enum):
    """What a name of `_DATA` may have for a value."""

    DIGEST = "digest"  # SHA-256 in hex
    CODE = "code"  # an identifier
    TEXT = "text"  # a place, a version, a person's name as the consent file gives it
    TEXTS = "texts"
    COUNT = "count"
    FLAG = "flag"


# Every name that an entry's `data` may have. Whoever adds one says here that it
# can never hold a value of a payload.
_DATA: Final[Mapping[str, _Is]] = {
    "id": _Is.CODE,
    "sha256": _Is.DIGEST,
    "body_sha256": _Is.DIGEST,
    "reply_sha256": _Is.DIGEST,
    "file_sha256": _Is.DIGEST,
    "notice": _Is.CODE,
    "version": _Is.TEXT,
    "before": _Is.TEXT,
    "by": _Is.TEXT,
    "role": _Is.TEXT,
    "on": _Is.TEXT,
    "lang": _Is.CODE,
    "method": _Is.CODE,
    "owner": _Is.COUNT,
    "file": _Is.TEXT,
    "line": _Is.COUNT,
    "place": _Is.TEXT,
    "signal": _Is.TEXT,
    "reason": _Is.CODE,
    "reasons": _Is.TEXTS,
    "ids": _Is.TEXTS,
    "url": _Is.TEXT,
    "region": _Is.TEXT,
    "status": _Is.COUNT,
    "count": _Is.COUNT,
    "bytes": _Is.COUNT,
    "seconds": _Is.COUNT,
    "due": _Is.COUNT,
    "withdrawn_at": _Is.COUNT,
    "room": _Is.CODE,
    "broken": _Is.CODE,
    "kept_as": _Is.TEXT,
    "command": _Is.FLAG,
}


@unique
class FlawKind(StrEnum):
    """Names what is wrong with a line.

    The first line that is wrong is the one that is named, with its first fault.
    """

    FORM = "form"  # not a line that this agent writes
    DIGEST = "digest"  # the line is not what its own digest says: it was edited
    ORDER = "order"  # its number is not the next: a line is missing, moved or added
    LINK = "link"  # it does not follow from the line before it
    CUT = "cut"  # the end is missing
    AHEAD = "ahead"  # lines that this agent did not append
    HEAD = "head"  # the last line is not the one that was written


@frozen
class Flaw:
    """Holds the first thing that is wrong with a chain: the line, counted from 1, and what it is."""

    line: int
    what: FlawKind


@frozen
class Entry:
    """Holds one entry of the ledger.

    - `seq`: its number, from 1, and `prev`, the digest of the entry before.
    - `at`: effective time in seconds since 1970.
    - `kind`: an EntryKind, or a word of a newer version's.
    - `purpose`: the purpose that it is about, None for the whole agent.
    - `data`: what `_DATA` admits, already shortened and masked.
    """

    seq: int
    at: int
    kind: str
    purpose: str | None
    data: Mapping[str, Json]
    prev: str

    @property
    def digest(self) -> str:
        """Returns the SHA-256 of the entry's line without its last member, in hex."""
        return hashlib.sha256(_body(self)).hexdigest()

    def to_json(self) -> dict[str, Json]:
        """Returns the entry as its line has it.

        Shape: {seq, at, kind, purpose, data, prev, sha256}.
        """
        return {**_members(self), "sha256": self.digest}


@frozen
class ChainHead:
    """Holds where a ledger ends: its number of lines, and the digest of the last (64 zeros for none)."""

    seq: int = 0
    digest: Annotated[str, Text(pattern=SHA256_HEX), Member(name="sha256")] = NOTHING

    def encode(self) -> bytes:
        """Returns ledger.head: one line."""
        return record.encode(self) + b"\n"

    @staticmethod
    def decode(data: bytes) -> "ChainHead":
        """Returns the head of a ledger.head.

        Raises Untrusted for anything but what `encode` writes.
        """
        return record.decode(ChainHead, data, "ledger.head", max_bytes=256)


@frozen
class ChainState:
    """Holds what a chain came to, as far as it holds.

    - `head`: its end, and `before`, the end without the last line.
    - `at`: the time of the last line; `marked_at`: that of the newest daily
      mark, or of the opening where there is none.
    - `review_due`: it was opened in the place of a broken one, and nobody has
      looked at that.
    - `latest`: the newest entry of each kind, by kind and purpose.
    - `flaw`: why it does not hold any further, None for a chain that does.
    """

    head: ChainHead = field(default_factory=ChainHead)
    before: ChainHead = field(default_factory=ChainHead)
    at: int = 0
    marked_at: int | None = None
    review_due: bool = False
    latest: Mapping[tuple[str, str | None], Entry] = field(default_factory=dict)
    flaw: Flaw | None = None

    @property
    def ok(self) -> bool:
        """Tells whether the whole chain holds."""
        return self.flaw is None

    @property
    def entries(self) -> int:
        """Returns how many entries hold."""
        return self.head.seq


def entry_after(ledger: ChainState, kind: EntryKind, at: int, purpose: str | None, data: Mapping[str, Datum]) -> Entry:
    """Returns the next entry of a ledger.

    Texts are masked (`text_safety`) and cut to 256 characters, lists to 16
    items: what is recorded is never a reason to fail. Raises Bug for a name or
    a value that the table does not admit, which is a mistake of the caller's.
    """
    return Entry(
        seq=ledger.head.seq + 1,
        at=at,
        kind=kind,
        purpose=purpose,
        data={name: _datum(name, value) for name, value in data.items()},
        prev=ledger.head.digest,
    )


def encode(entry: Entry) -> bytes:
    """Returns the line of an entry, without its newline.

    Raises Bug for an entry that could not be read again.

    It is read again at once: a ledger that its own reader refuses would stop
    every report until somebody repaired it.
    """
    line = _with_digest(_body(entry), entry.digest)
    try:
        if decode(line) == entry:
            return line
    except Untrusted as error:
        raise Bug(Reason.INTERNAL, "ledger_entry", kind=entry.kind) from error
    raise Bug(Reason.INTERNAL, "ledger_entry", kind=entry.kind)


def decode(line: bytes) -> Entry:
    """Returns the entry of one line.

    Raises Untrusted where it is not canonical, or not what its digest says.
    """
    entry, declared, real = _read(line)
    if declared != real:
        raise Untrusted(Reason.LEDGER, "ledger_line")
    return entry


def lines(data: bytes) -> Iterator[bytes]:
    """Yields the whole lines of a file; what follows the last newline is a line that a crash tore, and is not one."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield data[start:end]
        start = end + 1


def torn_bytes(data: bytes) -> int:
    """Returns how many bytes follow the last newline: the length of the torn line, 0 for none."""
    return len(data) - (data.rfind(b"\n") + 1)


def _nobody(_: Entry) -> None:
    """Takes an entry for whoever wants none."""


def verify(
    chain: Iterable[bytes],
    head: ChainHead | None = None,
    *,
    note: Callable[[Entry], None] = _nobody,
    start: ChainState | None = None,
) -> ChainState:
    """Returns the state of a chain, read to its end or to its first flaw.

    With `start` the chain's lines are those that follow one that was verified
    (`checkpoint`).

    With `head`, the end must be the head's, or one line further: the head is
    written after the line, and a crash may come in between. `note` gets every
    entry that holds, so that nobody has to read them again. Takes 36 µs a line
    (Python 3.11, one of two busy cores, 2026-11-29); the lines are not kept.
    """
    ledger = _Growing(start, note=note)
    for number, line in enumerate(chain, ledger.head.seq + 1):
        if (what := ledger.take(line)) is not None:
            return replace(ledger.now(), flaw=Flaw(line=number, what=what))
    found = ledger.now()
    return found if head is None else replace(found, flaw=_flaw_at_end(found, head))


def after(ledger: ChainState, entry: Entry) -> ChainState:
    """Returns the state of a ledger with one entry more, which must be its next."""
    growing = _Growing(ledger)
    growing.add(entry, entry.digest)
    return growing.now()


def entries(chain: Iterable[bytes]) -> Iterator[Entry]:
    """Yields the entries, for who shows them.

    Raises Untrusted at a line that is none; `verify` is for the links.
    """
    return map(decode, chain)


def gap(ledger: ChainState, now_s: int) -> bool:
    """Tells whether the last mark is more than two days from now.

    A restored backup, a long sleep or a clock that was lost leave such a gap. A
    mark from the future counts as well: it says that the clock which wrote it
    is not the one that reads it.
    """
    return ledger.marked_at is not None and abs(now_s - ledger.marked_at) > GAP_S


def mark_due(ledger: ChainState, now_s: int) -> bool:
    """Tells whether the daily mark is to be written: none yet, or the last a day away in either direction."""
    return ledger.marked_at is None or abs(now_s - ledger.marked_at) >= MARK_EVERY_S


class _Growing:
    """A ledger while it is read: one mutable value instead of one new value a line."""

    def __init__(self, ledger: ChainState | None = None, *, note: Callable[[Entry], None] = _nobody) -> None:
        start = ledger or ChainState()
        self._note = note
        self.head, self.before = start.head, start.before
        self.at, self.marked_at, self.review_due = start.at, start.marked_at, start.review_due
        self.latest = dict(start.latest)

    def take(self, line: bytes) -> FlawKind | None:
        """Takes the next line; what is wrong with it, None where it holds."""
        try:
            entry, declared, real = _read(line)
        except Untrusted:
            return FlawKind.FORM
        if declared != real:
            return FlawKind.DIGEST
        if entry.seq != self.head.seq + 1:
            return FlawKind.ORDER
        if entry.prev != self.head.digest:
            return FlawKind.LINK
        self.add(entry, real)
        self._note(entry)
        return None

    def add(self, entry: Entry, digest: str) -> None:
        """Takes an entry that is known to hold."""
        self.before, self.head = self.head, ChainHead(seq=entry.seq, digest=digest)
        self.at = entry.at
        self.latest[entry.kind, entry.purpose] = entry
        if entry.kind in (EntryKind.DAILY_MARK, EntryKind.LEDGER_OPENED):
            self.marked_at = entry.at
        if entry.kind == EntryKind.LEDGER_OPENED:
            self.review_due = "broken" in entry.data
        if entry.kind == EntryKind.REVIEWED:
            self.review_due = False

    def now(self) -> ChainState:
        """Returns the state so far, as a value.

        `latest` is shared: it is made once for each chain.
        """
        return ChainState(
            head=self.head,
            before=self.before,
            at=self.at,
            marked_at=self.marked_at,
            review_due=self.review_due,
            latest=self.latest,
        )


def _flaw_at_end(found: ChainState, head: ChainHead) -> Flaw | None:
    """Returns what the head says of an end that is not the head's."""
    if head in (found.head, found.before):
        return None
    if found.head.seq < head.seq:
        return Flaw(line=found.head.seq + 1, what=FlawKind.CUT)
    if found.before.seq > head.seq:
        return Flaw(line=head.seq + 1, what=FlawKind.AHEAD)
    return Flaw(line=max(1, head.seq), what=FlawKind.HEAD)


def _body(entry: Entry) -> bytes:
    """Returns what the digest is over: the line without `sha256`, which sorts last."""
    return dumps(_members(entry))


def _members(entry: Entry) -> dict[str, Json]:
    """Returns the members that the digest is over, in the order of `dumps`."""
    return {
        "at": entry.at,
        "data": dict(entry.data),
        "kind": str(entry.kind),
        "prev": entry.prev,
        "purpose": entry.purpose,
        "seq": entry.seq,
    }


def _with_digest(body: bytes, digest: str) -> bytes:
    """Returns the line:

    `sha256` sorts behind all others, so it is put at the end without encoding
    the body again.
    """
    return body[:-1] + f',"sha256":"{digest}"}}'.encode("ascii")


def _read(line: bytes) -> tuple[Entry, str, str]:
    """Returns an entry, the digest that its line says, and the one that it has.

    Raises Untrusted for a spelling not ours.

    The line is compared with what `encode` would write, so two lines never
    differ and mean the same.
    """
    members = Members(loads(line, max_bytes=MAX_LINE_BYTES), "ledger")
    if not isinstance(data := members.value("data"), dict):
        raise members.refuse("data")
    entry = Entry(
        seq=members.integer("seq", low=1),
        at=members.integer("at"),
        kind=members.text("kind", pattern=_KIND),
        purpose=members.optional_text("purpose", pattern=NAME),
        data=data,
        prev=members.text("prev", pattern=SHA256_HEX),
    )
    declared = members.text("sha256", pattern=SHA256_HEX)
    members.end()
    body = _body(entry)
    if _with_digest(body, declared) != line:
        raise Untrusted(Reason.LEDGER, "ledger_line")
    return entry, declared, hashlib.sha256(body).hexdigest()


def _datum(name: str, value: Datum) -> Json:
    """Returns the value as it is recorded.

    Raises Bug (`ledger_datum`) for a name or type that the table does not have.
    """
    admitted = _DATA.get(name)
    match admitted, value:
        case _Is.FLAG, bool():
            return value
        case _Is.COUNT, int() if not isinstance(value, bool):
            return value
        case _Is.DIGEST, str() if re.fullmatch(SHA256_HEX, value):
            return value
        case _Is.CODE, str() if re.fullmatch(NAME, value):
            return str(value)
        case _Is.TEXT, str():
            return _shown(value)
        case _Is.TEXTS, tuple() if all(isinstance(each, str) for each in value):
            return [_shown(each) for each in value[:MAX_TEXTS]]
        case _:
            raise Bug(Reason.INTERNAL, "ledger_datum", name=name)


def _shown(text: str) -> str:
    """Returns a path as it can be read and encoded: it may hold anything, and more than a line should."""
    clean = mask(text)
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"
