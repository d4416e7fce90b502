"""Keeps state.json: since when things hold, and nothing that was ever "verified".

Documents are verified from their bytes at every load. What cannot be read off them is when this installation first saw a
thing: that is kept here, in effective time. Losing the file costs the start of those counts; it never makes a document
good that is not.
"""

from typing import Annotated, Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.record import APART, MAY_BE_ABSENT, OMITTED_IF_NONE, Items, Member
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.license import status_history
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.license.states import State
from opanel_agent.core.license.status_history import Document, StatusRecord
from opanel_agent.core.license.verdict import Sighting
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import field, frozen, mutable, replace

MAX_BYTES: Final = 64 * 1024
MAX_DIGESTS: Final = 64
MAX_WARNINGS: Final = 64
MAX_LICENSES: Final = 16
MAX_SIGNALS: Final = 64
MAX_LOGGED: Final = 16
MAX_REPORT_WAIT_S: Final = 8 * DAY_S
_LOGGED: Final = Member(name="told", may_be_absent=True)


@mutable
class AgentState:
    """Holds what outlives a pass. Mutable on purpose: the effects of a pass fill it in, and it is written once.

    All times are effective seconds. `accepted` tells when each license key (by its digest) was first accepted, `seen` what
    status lists said of entries that were ever ours. `floors` are the newest `iat` accepted per status key and shard (by
    `status_list.floor_name`), `list_iat` that of the last accepted list, whose bytes or key may be gone, `shard_iats` that
    of each shard after the first. `adopted` are SHA-256 of files of root's that were taken up or refused, so that each is
    looked at once; `logged` those of kept documents whose refusal the journal has. `failure` is the reason of the last
    failed check, None after a success.

    Of the promise: `answers` is what was last recorded of each consent, `consent_sha256` the file it was read from,
    `consent_stamp` when that was written (`system.file_stamp`),
    `ledger_seq` how many lines the ledger had (by it an older one in its place is seen), `signals` the opt-outs that stood,
    `reports` when the next report of a purpose is made, `retries` when one that failed is tried again. `identity` are
    digests of what makes the machine this one; where one changed, `clone_of` is the consent file that was answered for the
    other machine. `lost`: state.json was lost while a license was installed, and no status list was accepted since.
    `aside` tells when each folder that was set aside was first seen, by name. Until `quiet_until` no run but of the purpose
    `quiet_but` is made.
    """

    version: str | None = None
    clone_of: str | None = None
    consent_sha256: str | None = None
    consent_stamp: Annotated[str | None, MAY_BE_ABSENT] = None
    quiet_until: int | None = None
    quiet_but: str | None = None
    unmatched_since: int | None = None
    refused_since: int | None = None
    state: State | None = None
    state_since: int | None = None
    checked_at: int | None = None
    list_iat: Annotated[int | None, MAY_BE_ABSENT] = None
    ledger_seq: Annotated[int | None, MAY_BE_ABSENT] = None
    failure: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    signals: Annotated[list[str], Items(most=MAX_SIGNALS)] = field(default_factory=list)
    identity: dict[str, str] = field(default_factory=dict)
    reports: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    seen: Annotated[status_history.StatusRecords, APART] = ()
    floors: dict[str, int] = field(default_factory=dict)
    shard_iats: Annotated[dict[str, int], APART] = field(default_factory=dict)
    adopted: Annotated[list[str], Items(most=MAX_DIGESTS)] = field(default_factory=list)
    warnings: Annotated[list[str], Items(most=MAX_WARNINGS)] = field(default_factory=list)
    logged: Annotated[list[str], Items(most=MAX_LOGGED), Member(name="told", may_be_absent=True)] = field(
        default_factory=list
    )
    renewal: Annotated[Plan | None, MAY_BE_ABSENT] = None
    lost: Annotated[bool, APART] = False
    aside: Annotated[dict[str, int], APART] = field(default_factory=dict)

    def note_refused(self, sha256: str) -> bool:
        """Notes a refused document; returns whether the journal has not had it yet. The latest are forgotten last."""
        known = sha256 in self.logged
        self.logged = [*(kept for kept in self.logged if kept != sha256), sha256][-MAX_LOGGED:]
        return not known

    def note_list(self, shard: int, iat: int) -> None:
        """Notes the date of the newest list that was held of a shard."""
        newest = max(iat, self.held_iat(shard) or 0)
        if shard == 0:
            self.list_iat = newest
        else:
            self.shard_iats[str(shard)] = newest

    def held_iat(self, shard: int) -> int | None:
        """Returns the date of the newest list that was ever held of a shard; None where none was."""
        return self.list_iat if shard == 0 else self.shard_iats.get(str(shard))

    def forget_future(self, now: int) -> None:
        """Forgets the future after effective time went back.

        Nothing began later than now, and no pause reaches further than from now on.
        """
        self.accepted = {key: min(at, now) for key, at in self.accepted.items()}
        self.aside = {name: min(at, now) for name, at in self.aside.items()}
        for name in ("unmatched_since", "refused_since", "state_since", "checked_at"):
            moment = getattr(self, name)
            setattr(self, name, None if moment is None else min(moment, now))
        self.seen = tuple(
            replace(row, sighting=replace(row.sighting, seen_at=min(row.sighting.seen_at, now))) for row in self.seen
        )
        self.retries, self.quiet_until, self.quiet_but = {}, None, None
        self.reports = {purpose: min(at, now + MAX_REPORT_WAIT_S) for purpose, at in self.reports.items()}

    def accept(self, key_sha256: str, now: int) -> None:
        """Records the first acceptance of a license key, which counts whatever comes and goes after it."""
        self.accepted.setdefault(key_sha256, now)

    def encode(self) -> bytes:
        """Returns the content of state.json, the newest items of every list that is bounded."""
        bounded = replace(
            self,
            signals=self.signals[:MAX_SIGNALS],
            accepted=dict(list(self.accepted.items())[-MAX_LICENSES:]),
            adopted=self.adopted[-MAX_DIGESTS:],
            warnings=self.warnings[-MAX_WARNINGS:],
        )
        seen: list[Json] = [record.to_json(_row(each)) for each in self.seen]
        later: dict[str, Json] = {"lost": True} if self.lost else {}
        if self.shard_iats:
            later["shard_iats"] = dict(self.shard_iats)
        if self.aside:
            later["aside"] = dict(self.aside)
        return dumps({"schema": 1, **record.to_json(bounded), "seen": seen, **later})

    @staticmethod
    def decode(data: bytes) -> "AgentState":
        """Raises Untrusted for anything but what `encode` writes, or an earlier version wrote."""
        members = Members(loads(data, max_bytes=MAX_BYTES), "state.json")
        members.constant("schema", 1)
        seen = _all_seen(members)
        lost = members.has("lost") and members.boolean("lost")
        shard_iats = dict(members.integers("shard_iats")) if members.has("shard_iats") else {}
        aside = dict(members.integers("aside")) if members.has("aside") else {}
        state = record.read(AgentState, members, seen=seen, lost=lost, shard_iats=shard_iats, aside=aside)
        for name, moments in (("reports", state.reports), ("retries", state.retries)):
            if not moments.keys() <= set(Purpose):
                raise members.refuse(name)
        return state


@frozen
class _SeenRow:
    """One row of `seen`: an entry of a status list, or the `jti` of a document where an earlier version knew no entry."""

    document: Annotated[Document | None, OMITTED_IF_NONE] = None
    installed: Annotated[bool, MAY_BE_ABSENT] = True
    uri: Annotated[str | None, OMITTED_IF_NONE] = None
    idx: Annotated[int | None, OMITTED_IF_NONE] = None
    jti: Annotated[str | None, OMITTED_IF_NONE] = None
    status: Status
    first_iat: int
    last_iat: int
    seen_at: int


def _row(seen: StatusRecord) -> _SeenRow:
    entry, sighting = seen.entry, seen.sighting
    return _SeenRow(
        document=seen.document,
        installed=seen.installed,
        uri=None if entry is None else entry.uri,
        idx=None if entry is None else entry.idx,
        jti=seen.jti if entry is None else None,
        status=sighting.status,
        first_iat=sighting.first_iat,
        last_iat=sighting.last_iat,
        seen_at=sighting.seen_at,
    )


def _all_seen(members: Members) -> status_history.StatusRecords:
    """Reads an array; until 0.1 an object by document, each with the `jti` of the one that was installed."""
    if isinstance(members.value("seen"), list):
        return tuple(_seen(row) for row in members.each("seen", status_history.MAX_ROWS))
    by_document = members.members("seen")
    rows = tuple(_seen(by_document.members(name), document=name) for name in by_document.names())
    by_document.end()
    return rows


def _seen(members: Members, *, document: str | None = None) -> StatusRecord:
    """Reads one record; `document` is given where the row itself does not name it."""
    row = record.read(_SeenRow, members)
    kind = row.document or {str(each): each for each in Document}.get(document or "")
    if kind is None or (row.document is not None and document is not None):
        raise members.refuse("document")
    if row.status is Status.VALID:
        raise members.refuse("status")
    entry = None
    if row.jti is None:
        if row.uri is None or row.idx is None:
            raise members.refuse("uri")
        entry = StatusRef(uri=row.uri, idx=row.idx)
    sighting = Sighting(status=row.status, first_iat=row.first_iat, last_iat=row.last_iat, seen_at=row.seen_at)
    return StatusRecord(document=kind, entry=entry, jti=row.jti, installed=row.installed, sighting=sighting)
