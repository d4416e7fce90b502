"""Keeps state.json: since when things hold, and nothing that was ever "verified".

Documents are verified from their bytes at every load. What cannot be read off them is when this installation first saw a
thing: that is kept here, in effective time. Losing the file costs the start of those counts; it never makes a document
good that is not.
"""

from typing import Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license import status_history
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.license.states import State
from opanel_agent.core.license.status_history import Document, StatusRecord
from opanel_agent.core.license.verdict import Sighting
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import field, mutable, replace

MAX_BYTES: Final = 64 * 1024
MAX_DIGESTS: Final = 64
MAX_WARNINGS: Final = 64
MAX_LICENSES: Final = 16
MAX_SIGNALS: Final = 64
MAX_TOLD: Final = 16
MAX_REPORT_WAIT_S: Final = 8 * DAY_S


@mutable
class AgentState:
    """Holds what outlives a pass. Mutable on purpose: the effects of a pass fill it in, and it is written once.

    All times are effective seconds. `accepted` tells when each license key (by its digest) was first accepted, `seen` what
    status lists said of entries that were ever ours. `floors` are the newest `iat` accepted per status key and shard (by
    `status_list.floor_name`), `list_iat` that of the last accepted list, whose bytes or key may be gone, `shard_iats` that
    of each shard after the first. `adopted` are SHA-256 of files of root's that were taken up or refused, so that each is
    looked at once; `told` those of kept documents whose refusal the journal has. `failure` is the reason of the last failed
    check, None after a success.

    Of the promise: `answers` is what was last recorded of each consent, `consent_sha256` the file it was read from,
    `ledger_seq` how many lines the ledger had (by it an older one in its place is seen), `signals` the opt-outs that stood,
    `reports` when the next report of a purpose is made, `retries` when one that failed is tried again. `identity` are
    digests of what makes the machine this one; where one changed, `clone_of` is the consent file that was answered for the
    other machine. `lost`: state.json was lost while a license was installed, and no status list was accepted since.
    Until `quiet_until` no run but of the purpose `quiet_but` is made.
    """

    version: str | None = None
    clone_of: str | None = None
    consent_sha256: str | None = None
    quiet_until: int | None = None
    quiet_but: str | None = None
    unmatched_since: int | None = None
    refused_since: int | None = None
    state: str | None = None
    state_since: int | None = None
    checked_at: int | None = None
    list_iat: int | None = None
    ledger_seq: int | None = None
    failure: str | None = None
    answers: dict[str, str] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    identity: dict[str, str] = field(default_factory=dict)
    reports: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    seen: status_history.StatusRecords = ()
    floors: dict[str, int] = field(default_factory=dict)
    shard_iats: dict[str, int] = field(default_factory=dict)
    adopted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    renewal: Plan | None = None
    lost: bool = False

    def note_refused(self, sha256: str) -> bool:
        """Notes a refused document; returns whether the journal has not had it yet. The latest are forgotten last."""
        known = sha256 in self.told
        self.told = [*(kept for kept in self.told if kept != sha256), sha256][-MAX_TOLD:]
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
        """After effective time went back: nothing began later than now, and no pause reaches further than from now on."""
        self.accepted = {key: min(at, now) for key, at in self.accepted.items()}
        for name in ("unmatched_since", "refused_since", "state_since", "checked_at"):
            moment = getattr(self, name)
            setattr(self, name, None if moment is None else min(moment, now))
        self.seen = tuple(
            replace(row, sighting=replace(row.sighting, seen_at=min(row.sighting.seen_at, now))) for row in self.seen
        )
        self.retries, self.quiet_until, self.quiet_but = {}, None, None
        self.reports = {purpose: min(at, now + MAX_REPORT_WAIT_S) for purpose, at in self.reports.items()}

    def accept(self, key_sha256: str, now: int) -> None:
        """The first acceptance of a license key counts, whatever comes and goes after it."""
        self.accepted.setdefault(key_sha256, now)

    def encode(self) -> bytes:
        """Returns the content of state.json, the newest items of every list that is bounded."""
        members: dict[str, Json] = {"schema": 1}
        members |= {name: getattr(self, name) for name in (*_TIMES, *_TEXTS)}
        members["seen"] = [_seen_json(seen) for seen in self.seen]
        members["answers"] = dict(self.answers)
        members["signals"] = list(self.signals[:MAX_SIGNALS])
        members["identity"] = dict(self.identity)
        members["reports"] = dict(self.reports)
        members["retries"] = dict(self.retries)
        members["accepted"] = dict(list(self.accepted.items())[-MAX_LICENSES:])
        members["floors"] = dict(self.floors)
        members["adopted"] = list(self.adopted[-MAX_DIGESTS:])
        members["warnings"] = list(self.warnings[-MAX_WARNINGS:])
        members["told"] = list(self.told)
        members["renewal"] = None if self.renewal is None else record.to_json(self.renewal)
        if self.shard_iats:
            members["shard_iats"] = dict(self.shard_iats)
        if self.lost:
            members["lost"] = True
        return dumps(members)

    @staticmethod
    def decode(data: bytes) -> "AgentState":
        """Raises Untrusted for anything but what `encode` writes."""
        members = Members(loads(data, max_bytes=MAX_BYTES), "state.json")
        members.constant("schema", 1)
        state = AgentState()
        for name in _TIMES:
            if members.has(name) or name not in _LATER:
                setattr(state, name, None if members.value(name) is None else members.integer(name))
        for name in _TEXTS:
            setattr(state, name, None if members.value(name) is None else members.text(name))
        if state.state is not None and state.state not in list(State):  # a newer version's
            raise members.refuse("state")
        state.seen = _all_seen(members)
        answers = members.members("answers")
        state.answers = {name: answers.text(name) for name in answers.names()}
        state.signals = _ordered(members, "signals", MAX_SIGNALS)
        identity = members.members("identity")
        state.identity = {name: identity.text(name) for name in identity.names()}
        state.retries = _by_purpose(members, "retries")
        state.reports = _by_purpose(members, "reports")
        state.accepted = dict(members.integers("accepted"))
        floors = members.members("floors")  # thumbprints: one in 32 begins as no name may
        state.floors = {kid: floors.integer(kid) for kid in floors.names()}
        state.adopted = _ordered(members, "adopted", MAX_DIGESTS)
        state.warnings = _ordered(members, "warnings", MAX_WARNINGS)
        state.told = _ordered(members, "told", MAX_TOLD) if members.has("told") else []
        if members.has("renewal") and members.value("renewal") is not None:  # not in an earlier version's
            state.renewal = _plan(members.members("renewal"))
        state.shard_iats = dict(members.integers("shard_iats")) if members.has("shard_iats") else {}
        state.lost = members.has("lost") and members.boolean("lost")
        members.end()
        return state


_TIMES: Final = (
    "quiet_until",
    "unmatched_since",
    "refused_since",
    "state_since",
    "checked_at",
    "list_iat",
    "ledger_seq",
)
_LATER: Final = frozenset({"list_iat", "ledger_seq"})  # what the first files had not
_TEXTS: Final = ("version", "clone_of", "consent_sha256", "quiet_but", "state", "failure")


def _plan(members: Members) -> Plan:
    plan = Plan(
        license=members.text("license"),
        next_s=members.integer("next_s"),
        asked_at=None if members.value("asked_at") is None else members.integer("asked_at"),
        failure=None if members.value("failure") is None else members.text("failure"),
    )
    members.end()
    return plan


def _by_purpose(members: Members, name: str) -> dict[str, int]:
    moments = members.integers(name)
    if not moments.keys() <= set(Purpose):
        raise members.refuse(name)
    return dict(moments)


def _ordered(members: Members, name: str, max_items: int) -> list[str]:
    value = members.value(name)
    items = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    if items != value or len(items) > max_items:
        raise Untrusted(Reason.FORMAT_INVALID, "member_type", where="state.json", name=name)
    return items


def _seen_json(seen: StatusRecord) -> Json:
    sighting = seen.sighting
    named: dict[str, Json] = {"jti": seen.jti}
    if seen.entry is not None:
        named = {"uri": seen.entry.uri, "idx": seen.entry.idx}
    return {
        "document": str(seen.document),
        "installed": seen.installed,
        **named,
        "status": sighting.status,
        "first_iat": sighting.first_iat,
        "last_iat": sighting.last_iat,
        "seen_at": sighting.seen_at,
    }


def _all_seen(members: Members) -> status_history.StatusRecords:
    """An array; until 0.1 an object by document, each with the `jti` of the one that was installed."""
    if isinstance(members.value("seen"), list):
        return tuple(_seen(row, row.text("document")) for row in members.each("seen", status_history.MAX_ROWS))
    by_document = members.members("seen")
    rows = tuple(_seen(by_document.members(name), name) for name in by_document.names())
    by_document.end()
    return rows


def _seen(members: Members, document: str) -> StatusRecord:
    if document not in list(Document):
        raise members.refuse("document")
    jti = members.text("jti") if members.has("jti") else None
    seen = StatusRecord(
        document=Document(document),
        entry=StatusRef(uri=members.text("uri"), idx=members.integer("idx")) if jti is None else None,
        jti=jti,
        installed=members.boolean("installed") if members.has("installed") else True,
        sighting=Sighting(
            status=Status(members.integer("status", low=Status.REVOKED, high=Status.SUPERSEDED)),
            first_iat=members.integer("first_iat"),
            last_iat=members.integer("last_iat"),
            seen_at=members.integer("seen_at"),
        ),
    )
    members.end()
    return seen
