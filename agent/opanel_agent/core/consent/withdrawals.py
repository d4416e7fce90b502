"""Defines the record of withdrawals: what was withdrawn, when, by what, and which grants each withdrawal ended.

A withdrawal holds by itself, whatever becomes of consent.toml. So a grant needs
an identity that a copy of the file does not renew: the digest of its table
`[granted]`, or of nothing where the file has none (`grant_id`). A withdrawal
names the grants that it ended; a yes in the file counts again only under a
`[granted]` that is none of these, or after the command that grants ended the
withdrawal. The bytes of the file are no such identity: a denial and a new
grant, a restored backup and a configuration management all lay the same ones.

Two files hold the record, each with one writer. The owner's has what was
withdrawn by command, and the ids of withdrawals that a grant ended: only the
owner may widen. The agent's has what was withdrawn by the panel or by an edit,
which ids the ledger has, and which grants were ever in force. Whoever may only
narrow writes only there.

A withdrawal that a grant ended stays until the ledger has it, so that one that
was reversed at once leaves its trace, too. Pure. Left out: the files
(`system.consent.withdrawal_store`) and what a withdrawal purges
(`evaluate.consent.withdrawals`).
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Annotated, Final, TypeVar

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.record import Integer, Items, Text
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.values import field, frozen, replace

MAX_BYTES: Final = 512 * 1024  # of MAX_WITHDRAWALS that each name MAX_GRANTS, and the grants of each subject
MAX_WITHDRAWALS: Final = 64
MAX_GRANTS: Final = 64
ID_BYTES: Final = 8
_ID: Final = "[0-9a-f]{16}"
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999, which a calendar still has


@unique
class Withdrawable(StrEnum):
    """Names what can be withdrawn: a purpose by its own name, and the two opt-outs, which a command may set."""

    USAGE_STATISTICS = "usage_statistics"
    CRASH_REPORTS = "crash_reports"
    DO_NOT_TRACK = "do_not_track"
    OFFLINE = "offline"


@unique
class Origin(StrEnum):
    """Names what withdrew. The values are shown to a person as the place of an objection."""

    # `opanel-agent consent deny`, `dnt on`, `offline on`, `setup`.
    COMMAND = "the withdrawing command"
    # consent.toml said yes before, and says no, or is gone.
    FILE = "the edited consent file"
    # The panel's group, through the socket.
    PANEL = "the panel"
    # A record of withdrawals that could not be read: what it said is unknown.
    DAMAGE = "the damaged record"


@frozen
class Withdrawal:
    """Holds one withdrawal.

    - `at`: when, in seconds since 1970, as the clock of who withdrew said.
    - `grants`: the grants that it ended; None for any, because it is not known
      which there were.
    - `file_sha256`: digest of the consent.toml that said yes then, in hex.
    - `stands`: it forbids still. False from the start for an opt-out by
      command, which forbids by its own file.
    """

    id: Annotated[str, Text(pattern=_ID)]
    subject: Withdrawable
    by: Origin
    at: Annotated[int, Integer(high=_LAST_SECOND)]
    grants: Annotated[tuple[str, ...] | None, Items(most=MAX_GRANTS), Text(pattern=SHA256_HEX)] = None
    file_sha256: Annotated[str | None, Text(pattern=SHA256_HEX)] = None
    stands: bool = True

    def covers(self, grant: str | None) -> bool:
        """Tells whether it ended this grant; an unknown one (None) counts as ended."""
        return self.grants is None or grant is None or grant in self.grants

    @property
    def day_and_time(self) -> str:
        """Returns when it was, in UTC, to the minute: 2026-12-05 10:00 UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M UTC")


Withdrawn = Annotated[tuple[Withdrawal, ...], Items(most=MAX_WITHDRAWALS)]
Ids = Annotated[tuple[str, ...], Items(most=4 * MAX_WITHDRAWALS), Text(pattern=_ID)]


@frozen
class OwnerRecord:
    """Holds owner.json: withdrawals by command, and in `ended` the ids of the agent's that a grant ended."""

    withdrawals: Withdrawn = ()
    ended: Ids = ()


@frozen
class AgentRecord:
    """Holds agent.json.

    - `withdrawals`: those by panel, by edit, and of a damaged record.
    - `recorded`: the ids of either file that the ledger has.
    - `given`: by purpose, the grants that were ever in force.
    """

    withdrawals: Withdrawn = ()
    recorded: Ids = ()
    given: Annotated[Mapping[str, tuple[str, ...]], Items(most=MAX_GRANTS), Text(pattern=SHA256_HEX)] = field(
        default_factory=dict
    )


Kept = TypeVar("Kept", OwnerRecord, AgentRecord)


def encode(kept: OwnerRecord | AgentRecord) -> bytes:
    """Returns the content of the file."""
    return record.encode(kept) + b"\n"


def decode(kind: type[Kept], data: bytes) -> Kept:
    """Returns what the file holds.

    Raises Untrusted for anything but what `encode` writes.
    """
    return record.decode(kind, data, "withdrawals", max_bytes=MAX_BYTES)


@frozen
class Withdrawals:
    """Holds both files as one reading."""

    owner: OwnerRecord = field(default_factory=OwnerRecord)
    agent: AgentRecord = field(default_factory=AgentRecord)

    def every(self) -> Iterator[Withdrawal]:
        """Yields every withdrawal that is kept, the agent's after the owner's, `stands` as a grant left it."""
        yield from self.owner.withdrawals
        for each in self.agent.withdrawals:
            yield replace(each, stands=each.stands and each.id not in self.owner.ended)

    def standing(self, subject: Withdrawable) -> tuple[Withdrawal, ...]:
        """Returns the withdrawals of a subject that no grant ended."""
        return tuple(each for each in self.every() if each.subject is subject and each.stands)

    def covering(self, subject: Withdrawable, grant: str | None) -> Withdrawal | None:
        """Returns the latest withdrawal that stands against this grant, None for none; `grant` None is an unknown one."""
        found = (each for each in self.standing(subject) if each.covers(grant))
        return max(found, key=lambda each: each.at, default=None)

    def unrecorded(self) -> tuple[Withdrawal, ...]:
        """Returns the withdrawals that the ledger has not yet, the earliest first."""
        known = frozenset(self.agent.recorded)
        return tuple(sorted((each for each in self.every() if each.id not in known), key=lambda each: each.at))

    def grants(self, subject: Withdrawable, current: str | None) -> tuple[str, ...] | None:
        """Returns the grants that a withdrawal of now ends: all that ever were, and `current`, where the file has one.

        None where they are more than can be listed: then any.
        """
        found = {*self.agent.given.get(subject, ()), *(() if current is None else (current,))}
        for each in self.standing(subject):
            if each.grants is None:
                return None
            found |= {*each.grants}
        return tuple(sorted(found)) if len(found) <= MAX_GRANTS else None


def grant_id(granted: Mapping[str, str] | None) -> str:
    """Returns the identity of a grant by file, in hex: of its `[granted]`, or of none."""
    import hashlib  # late, as for `ConsentFile.sha256`

    members: dict[str, Json] = {} if granted is None else {**granted}
    return hashlib.sha256(dumps(members)).hexdigest()


def of_damage(ids: Iterable[str], subjects: Iterable[Withdrawable], at: int) -> tuple[Withdrawal, ...]:
    """Returns what takes the place of a record that could not be read: each of these subjects withdrawn, any grant."""
    pairs = zip(ids, subjects, strict=True)
    return tuple(Withdrawal(id=name, subject=subject, by=Origin.DAMAGE, at=at) for name, subject in pairs)


# ---- what the owner's commands make of the record


def owner_withdraws(known: Withdrawals, new: Withdrawal) -> OwnerRecord:
    """Returns owner.json with one withdrawal more, which takes the place of the owner's own that stand.

    As it is where what stands already ended the same grants.
    """
    own = [each for each in known.owner.withdrawals if each.subject is new.subject and each.stands]
    if new.stands and any(each.grants == new.grants for each in own):
        return known.owner
    earlier = (_ended(each) if each in own and new.stands else each for each in known.owner.withdrawals)
    return _pruned_owner(known, (*earlier, new), known.owner.ended)


def owner_grants(known: Withdrawals, subject: Withdrawable) -> OwnerRecord:
    """Returns owner.json with every withdrawal of the subject ended, its own and the agent's."""
    own = tuple(_ended(each) if each.subject is subject else each for each in known.owner.withdrawals)
    ended = (each.id for each in known.agent.withdrawals if each.subject is subject)
    return _pruned_owner(known, own, (*known.owner.ended, *ended))


def _pruned_owner(known: Withdrawals, withdrawals: Iterable[Withdrawal], ended: Iterable[str]) -> OwnerRecord:
    """Returns the record without what a grant ended and the ledger has, and ids that the agent's file has no more."""
    agents = frozenset(each.id for each in known.agent.withdrawals)
    return OwnerRecord(
        withdrawals=_bounded(each for each in withdrawals if each.stands or each.id not in known.agent.recorded),
        ended=tuple(dict.fromkeys(name for name in ended if name in agents)),
    )


# ---- what the agent makes of the record


def agent_withdraws(known: Withdrawals, new: Withdrawal) -> AgentRecord:
    """Returns agent.json with one withdrawal more."""
    pruned = _pruned_agent(known)
    return replace(pruned, withdrawals=_bounded((*pruned.withdrawals, new)))


def agent_records(known: Withdrawals, ids: Iterable[str]) -> AgentRecord:
    """Returns agent.json once the ledger has these withdrawals."""
    recorded = replace(known.agent, recorded=tuple(dict.fromkeys((*known.agent.recorded, *ids))))
    return _pruned_agent(replace(known, agent=recorded))


def agent_gave(known: Withdrawals, subject: Withdrawable, grant: str) -> AgentRecord:
    """Returns agent.json with a grant that is in force, the latest MAX_GRANTS of the subject."""
    given = (*(each for each in known.agent.given.get(subject, ()) if each != grant), grant)
    return replace(known.agent, given={**known.agent.given, subject.value: given[-MAX_GRANTS:]})


def _pruned_agent(known: Withdrawals) -> AgentRecord:
    """Returns the record without what was ended or covered later and the ledger has, and ids of neither file.

    A yes by file ends no withdrawal of before: without this, each edit left one
    more, and each names all grants that ever were.
    """
    recorded = frozenset(known.agent.recorded)
    ended = frozenset(each.id for each in known.every() if not each.stands)
    every = known.agent.withdrawals
    covered = frozenset(
        each.id
        for number, each in enumerate(every)
        if any(later.id not in ended and _covers_all(later, each) for later in every[number + 1 :])
    )
    kept = tuple(each for each in every if each.id not in recorded & (ended | covered))
    here = frozenset(each.id for each in (*kept, *known.owner.withdrawals))
    return replace(known.agent, withdrawals=kept, recorded=tuple(name for name in known.agent.recorded if name in here))


def _covers_all(later: Withdrawal, each: Withdrawal) -> bool:
    """Tells whether a later withdrawal ended every grant that this one did."""
    if later.subject is not each.subject or not later.stands:
        return False
    return later.grants is None or (each.grants is not None and {*each.grants} <= {*later.grants})


def _ended(each: Withdrawal) -> Withdrawal:
    return replace(each, stands=False)


def _bounded(withdrawals: Iterable[Withdrawal]) -> tuple[Withdrawal, ...]:
    """Returns MAX_WITHDRAWALS at the most: the earliest of those that were ended go first, then the earliest."""
    ordered = tuple(withdrawals)
    spare = max(0, len(ordered) - MAX_WITHDRAWALS)
    going = sorted(ordered, key=lambda each: (each.stands, each.at))[:spare]
    return tuple(each for each in ordered if each not in going)
