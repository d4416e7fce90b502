"""Assembles and checks the export: one file with everything that proves what was consented to and what left.

It is text, one JSON object a line: a header, the parts, an end.

    {"agent":"0.1.0","as_of":1795510800,"export":"opanel-agent","schema":1}
    {"name":"ledger.jsonl","part":"ledger","sha256":"…","text":"…"}
    {"parts":12,"sha256":"…"}

A part has its bytes as `text` where they are UTF-8, else as `base64`, or only
their digest (a license bundle holds the license key, which is nobody's to carry
around). The end's `sha256` is over all lines before it: it shows damage on the
way.

That the contents belong together is what `check` finds out: the ledger's chain
and its end, what was sent against what the ledger says of it, receipts under
the authority's root and against the bodies they were given for. It runs on any
machine: nothing of this one is needed.

What it rests on is the first root in the file, whose digest an auditor compares
with the one that the vendor publishes, and the ledger's own limit
(`core.ledger.chain`): it shows that the parts agree, not that the machine's
owner is honest.

A line for each part rather than one JSON text, so that a file of any size can
be written without holding it twice and a person can `grep` in it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger.chain import ChainHead, ChainState, Entry, EntryKind
from opanel_agent.core.values import field, frozen, mutable
from opanel_agent.core.wire.message import Sealed

MAX_BYTES: Final = 256 * 1024 * 1024
_FORMAT: Final = "opanel-agent"
_MAX_NAME: Final = 512


@unique
class PartKind(StrEnum):
    """Names what a part is.

    A kind that this version does not know is read, and its digest checked.
    """

    LEDGER = "ledger"
    HEAD = "head"
    BROKEN = "broken"  # a ledger that was set aside
    ROOT = "root"  # the first, where trust begins
    ROOTS = "roots"  # those since
    SENT = "sent"  # <id>.request, <id>.attempted, <id>.reply
    HELD = "held"
    READY = "ready"  # requests to be carried by other ways
    RECEIPT = "receipt"
    CONSENT = "consent"
    NOTICE = "notice"
    DOCUMENT = "document"


@unique
class ExportFlawKind(StrEnum):
    """Names what is wrong with an export.

    `ExportFlaw.name` says with which part, `line` at which line.
    """

    LINE = "line"  # a line of the file is none of an export
    END = "end"  # the file was cut, added to or edited
    DIGEST = "digest"  # a part is not what its digest says
    TWICE = "twice"  # two parts of the same name
    ABSENT = "absent"  # a part without which nothing can be checked
    LEDGER = "ledger"  # the chain breaks here
    BROKEN = "broken"  # the ledger names a broken one that is not in the file, or not as it was
    ROOT = "root"  # the roots do not verify
    ROOT_OTHER = "root_other"  # they begin at another root than this machine's
    RECEIPT = "receipt"  # does not verify under any of the roots
    RECEIPT_STRAY = "receipt_stray"  # is for something that never left here
    SENT_UNRECORDED = "sent_unrecorded"  # left, and the ledger does not know
    SENT_CHANGED = "sent_changed"  # is not what the ledger says was sent
    SENT_MISSING = "sent_missing"  # the ledger says it was sent; it is neither here nor purged


@frozen
class Part:
    """Holds one part of an export.

    `holds` is a PartKind or a word of a newer version's, `sha256` the digest in
    hex. `data` None: the part stays where it is, and only its digest is
    carried.
    """

    holds: str
    name: str
    data: bytes | None
    sha256: str

    @staticmethod
    def of(holds: PartKind, name: str, data: bytes) -> "Part":
        """Returns a part with its bytes."""
        return Part(holds=holds, name=name, data=data, sha256=_sha256(data))

    @staticmethod
    def digest_of(holds: PartKind, name: str, data: bytes) -> "Part":
        """Returns a part of which only the digest is carried."""
        return Part(holds=holds, name=name, data=None, sha256=_sha256(data))


@frozen
class ExportFlaw:
    """Holds one thing that is wrong; `line` counts from 1, in the part or, for the file's own flaws, in the file."""

    what: ExportFlawKind
    name: str
    line: int | None = None


@frozen
class Checked:
    """Holds what a check came to.

    - `as_of`: effective time of the ledger's last entry; `version`: the agent
      that assembled the file.
    - `parts`, `entries`, `sent`, `receipts`, `gaps`: how many of each.
    - `root`: digest of the first root in the file, None where there is none;
      `root_known`: whether it is the expected one, None where nothing was given
      to compare it with.
    - `findings`: everything that is wrong, in the order in which it was looked
      for.
    """

    as_of: int
    version: str
    parts: int
    entries: int
    sent: int
    receipts: int
    gaps: int
    root: str | None
    root_known: bool | None
    findings: tuple[ExportFlaw, ...]

    @property
    def good(self) -> bool:
        """Tells whether nothing is wrong."""
        return not self.findings


def assemble(parts: Iterable[Part], *, as_of: int, version: str) -> bytes:
    """Returns the file, the same bytes for the same parts.

    `as_of` is when the ledger's last entry was made.
    """
    header: dict[str, Json] = {"schema": 1, "export": _FORMAT, "as_of": as_of, "agent": version}
    lines = [dumps(header), *(dumps(_part_json(part)) for part in parts)]
    body = b"".join(line + b"\n" for line in lines)
    return body + dumps({"parts": len(lines) - 1, "sha256": _sha256(body)}) + b"\n"


def check(data: bytes, trusted: str | None) -> Checked:
    """Returns everything that is wrong with an export.

    `trusted` is the digest of the root that this machine trusts, None for any.
    Raises Untrusted (`export_none`) for a file that is no export at all; every
    other fault is a finding, so that one damaged part does not hide the rest.
    """
    as_of, version = _header(data.split(b"\n", 1)[0])
    case = _Case()
    case.parts = _read(data, case)
    case.judge_ledger()
    case.judge_broken()
    case.judge_sent()
    roots = case.judge_roots(trusted)
    case.judge_receipts(roots)
    root = roots[0].digest if roots else None
    return Checked(
        as_of=as_of,
        version=version,
        parts=len(case.parts),
        entries=case.ledger.entries,
        sent=sum(name.endswith(".request") for name in case.names(PartKind.SENT)),
        receipts=len(case.names(PartKind.RECEIPT)),
        gaps=sum(entry.kind == EntryKind.GAP_FOUND for entry in case.entries),
        root=root,
        root_known=None if root is None or trusted is None else root == trusted,
        findings=tuple(case.findings),
    )


def parts(data: bytes) -> tuple[Part, ...]:
    """Returns every part of an export that can be read, in its order; what cannot be read is `check`'s to find."""
    return tuple(_read(data, _Case()).values())


@mutable
class _Case:
    """One export while it is judged: what is in it, and what was found so far.

    Each `judge_…` looks at one kind of evidence and adds what is wrong to
    `findings`; none stops the others.
    """

    parts: Mapping[tuple[str, str], Part] = field(default_factory=dict)
    findings: list[ExportFlaw] = field(default_factory=list)
    ledger: ChainState = field(default_factory=ChainState)
    entries: list[Entry] = field(default_factory=list)
    older: list[Entry] = field(default_factory=list)  # what can still be read of ledgers that were set aside

    def find(self, what: ExportFlawKind, name: str, line: int | None = None) -> None:
        """Notes that something is wrong."""
        self.findings.append(ExportFlaw(what=what, name=name, line=line))

    def names(self, holds: PartKind) -> list[str]:
        """Returns the names of the parts of a kind."""
        return [name for kind, name in self.parts if kind == holds]

    def data(self, holds: PartKind, name: str) -> bytes | None:
        """Returns the bytes of a part, None where it is not there or only its digest is."""
        part = self.parts.get((holds, name))
        return None if part is None else part.data

    def only(self, holds: PartKind) -> bytes:
        """Returns the one part of a kind; what is missing is found, and reads as empty."""
        for name in self.names(holds):
            return self.data(holds, name) or b""
        self.find(ExportFlawKind.ABSENT, holds)
        return b""

    def judge_ledger(self) -> None:
        """Judges the chain, its end against the head that was written, and a torn last line."""
        data, head_data = self.only(PartKind.LEDGER), self.only(PartKind.HEAD)
        try:
            head = ChainHead.decode(head_data)
        except Untrusted:
            head = ChainHead()
        self.ledger = chain.verify(chain.lines(data), head)
        whole = list(chain.lines(data))
        if self.ledger.flaw is not None:
            self.find(ExportFlawKind.LEDGER, PartKind.LEDGER, self.ledger.flaw.line)
        elif chain.torn_bytes(data):
            self.find(ExportFlawKind.LEDGER, PartKind.LEDGER, len(whole) + 1)
        self.entries = [*chain.entries(whole[: self.ledger.entries])]

    def judge_broken(self) -> None:
        """Judges whether each broken ledger that this one names is there as it was.

        Its readable entries count as recorded.
        """
        for entry in self.entries:
            if entry.kind == EntryKind.LEDGER_OPENED and "broken" in entry.data:
                name = str(entry.data.get("kept_as"))
                part = self.parts.get((PartKind.BROKEN, name))
                if part is None or part.sha256 != entry.data.get("sha256"):
                    self.find(ExportFlawKind.BROKEN, name)
        for name in self.names(PartKind.BROKEN):
            self.older += _readable(self.data(PartKind.BROKEN, name) or b"")

    def judge_sent(self) -> None:
        """Compares what was marked as attempted with the ledger, and what the ledger says with what is here.

        Both ways: a request that left unrecorded is the worse fault, a recorded
        one that is missing and was not purged the likelier.
        """
        mine, older = _attempts(self.entries), _attempts(self.older)
        known = {request_id for request_id, _ in mine | older}
        ids = {request_id for request_id, _ in mine}
        here = {name.removesuffix(".request") for name in self.names(PartKind.SENT) if name.endswith(".request")}
        marked = {name.removesuffix(".attempted") for name in self.names(PartKind.SENT) if name.endswith(".attempted")}
        purged = {str(each.data.get("id")) for each in self.entries if each.kind == EntryKind.PURGED}
        for request_id in sorted(here & marked):
            part = self.parts[PartKind.SENT, f"{request_id}.request"]
            if request_id not in known:
                self.find(ExportFlawKind.SENT_UNRECORDED, part.name)
            elif (request_id, part.sha256) not in mine | older:
                self.find(ExportFlawKind.SENT_CHANGED, part.name)
        # A purged request is gone on purpose, and the ledger says so.
        # A crash between the ledger's word and the copy leaves it where it
        # waited.
        for request_id in sorted(ids - here - purged - set(self.names(PartKind.HELD))):
            self.find(ExportFlawKind.SENT_MISSING, request_id)

    def judge_roots(self, trusted: str | None) -> tuple[Root, ...]:
        """Returns the roots, first to newest; () where the first is none."""
        try:
            first = root_document.first(self.only(PartKind.ROOT))
            later = next((self.data(PartKind.ROOTS, name) for name in self.names(PartKind.ROOTS)), None)
            roots = (first, *(root_document.steps(first, later) if later else ()))
        except Untrusted:
            self.find(ExportFlawKind.ROOT, PartKind.ROOT)
            return ()
        if trusted not in (None, first.digest):
            self.find(ExportFlawKind.ROOT_OTHER, PartKind.ROOT)
        return roots

    def judge_receipts(self, roots: tuple[Root, ...]) -> None:
        """Judges each receipt by the root of its day: keys change, and what they signed stays signed."""
        bodies = self._bodies()
        for name in self.names(PartKind.RECEIPT):
            token = (self.data(PartKind.RECEIPT, name) or b"").strip()
            subs = {sub for root in roots for sub in _sub(token, root)}
            if not subs:
                self.find(ExportFlawKind.RECEIPT, name)
            elif not subs & bodies:
                self.find(ExportFlawKind.RECEIPT_STRAY, name)

    def _bodies(self) -> frozenset[str]:
        """Returns the digest of every body that left or was made to be carried, of those that were purged as well."""
        recorded = {
            str(entry.data["body_sha256"]) for entry in self.entries + self.older if "body_sha256" in entry.data
        }
        ready = {part.sha256 for (kind, _), part in self.parts.items() if kind == PartKind.READY}
        sent = {_sha256(body) for name in self.names(PartKind.SENT) for body in _body(self.data(PartKind.SENT, name))}
        return frozenset(recorded | ready | sent)


def _attempts(entries: Iterable[Entry]) -> frozenset[tuple[str, str]]:
    """Returns id and digest of every request that was about to leave."""
    attempts = (entry.data for entry in entries if entry.kind == EntryKind.REQUEST_ATTEMPTED)
    return frozenset((str(data.get("id")), str(data.get("sha256"))) for data in attempts)


def _readable(data: bytes) -> Iterator[Entry]:
    """Yields the entries of a broken ledger, as far as each is one by itself."""
    for line in chain.lines(data):
        try:
            yield chain.decode(line)
        except Untrusted:
            continue


def _header(line: bytes) -> tuple[int, str]:
    """Returns the time and the version of the first line.

    Raises Untrusted (`export_none`).
    """
    try:
        members = Members(loads(line, max_bytes=1024), "export")
        members.constant("schema", 1)
        members.constant("export", _FORMAT)
        as_of, version = members.integer("as_of"), members.text("agent")
        members.end()
    except Untrusted as error:
        raise Untrusted(Reason.FORMAT_INVALID, "export_none") from error
    return as_of, version


def _read(data: bytes, case: _Case) -> Mapping[tuple[str, str], Part]:
    """Returns the parts that can be read; every line that cannot be, and an end that does not fit, is found."""
    whole = [*chain.lines(data)]
    parts: dict[tuple[str, str], Part] = {}
    for number, line in enumerate(whole[1:-1], 2):
        try:
            part, true = _part(line)
        except Untrusted:
            case.find(ExportFlawKind.LINE, "export", number)
            continue
        if not true:
            case.find(ExportFlawKind.DIGEST, part.name, number)
        if (part.holds, part.name) in parts:
            case.find(ExportFlawKind.TWICE, part.name, number)
        parts[part.holds, part.name] = part
    body = data[: len(data) - len(whole[-1]) - 1] if whole else b""
    end = dumps({"parts": len(whole) - 2, "sha256": _sha256(body)})
    if len(whole) < 2 or whole[-1] != end or chain.torn_bytes(data):
        case.find(ExportFlawKind.END, "export", len(whole))
    return parts


def _part_json(part: Part) -> Json:
    """Returns a part as a line of the file."""
    part_json: dict[str, Json] = {"part": str(part.holds), "name": part.name, "sha256": part.sha256}
    if part.data is not None:
        try:
            part_json["text"] = part.data.decode("utf-8")
        except UnicodeDecodeError:
            part_json["base64"] = base64url(part.data)
    return part_json


def _part(line: bytes) -> tuple[Part, bool]:
    """Returns a part, and whether its bytes are what its digest says.

    Raises Untrusted for a line that is no part.
    """
    members = Members(loads(line, max_bytes=MAX_BYTES), "export")
    holds, name = members.text("part", pattern=NAME), members.text("name", max_length=_MAX_NAME)
    sha256 = members.text("sha256", pattern=SHA256_HEX)
    data: bytes | None = None
    if members.has("text"):
        data = _text(members)
    elif members.has("base64"):
        data = unbase64url(members.text("base64", max_length=MAX_BYTES))
    members.end()
    part = Part(holds=holds, name=name, data=data, sha256=sha256)
    return part, data is None or _sha256(data) == sha256


def _text(members: Members) -> bytes:
    """Returns the text of a part, of any characters: a consent file is shown as it was written, line ends and all."""
    value = members.value("text")
    if not isinstance(value, str):
        raise members.refuse("text")
    return value.encode("utf-8")


def _sub(token: bytes, root: Root) -> tuple[str, ...]:
    """Returns the digest that a receipt is for, if it verifies under this root."""
    try:
        return (receipt_document.verify(token, root).sub,)
    except Untrusted:
        return ()


def _body(frame: bytes | None) -> tuple[bytes, ...]:
    """Returns the body of a sealed request; nothing for the mark and the reply beside it."""
    try:
        return () if frame is None else (Sealed.decode(frame).body,)
    except Untrusted:
        return ()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
