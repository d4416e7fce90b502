"""Computes from the ledger what became of each request: sealed, attempted, sent or answered.

A copy in `sent/` is kept for 90 days and may be edited; the ledger is neither.
So it is the source of what left this server, and of the digest that a copy is
compared with before it is shown.

Of two attempts of one request, the one that came further counts: what has left
once has left, whatever came after it.

Pure, but for `RequestLog`, which grows while a ledger is read.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.values import frozen, replace

_NO_DIGESTS: Final[frozenset[str]] = frozenset()


@unique
class Stage(StrEnum):
    """Names how far a request has come, in this order."""

    SEALED = "sealed"  # finished: nothing of it has left
    ATTEMPTED = "attempted"  # it may have left, whole or in part: nobody answered
    SENT = "sent"  # it has left: the other end replied, and did not take it
    ANSWERED = "answered"  # it has left: the other end took it and answered


@unique
class CopyState(StrEnum):
    """Names what the copy of a request is worth, compared with the ledger."""

    KEPT = "kept"  # byte for byte what the ledger has the digest of
    EDITED = "edited"  # other bytes than those
    UNRECORDED = "unrecorded"  # the ledger says nothing of it
    PURGED = "purged"  # removed on purpose, as the ledger says
    MISSING = "missing"  # not here, and not purged


@frozen
class RequestRecord:
    """Holds what the ledger says of one request.

    - `at`: when it was attempted last, or sealed; effective seconds.
    - `sealed_at`: when it was sealed, None for one that was sent at once.
    - `sha256`: in hex, of the form in which it was sealed or attempted last;
      `digests`: of each such form; `body_sha256`: of its body, which never
      changes.
    - `status`, `reason`: the HTTP status of the reply, and the code of what
      kept it from being taken; `reply_sha256` of a good reply's body.
    - `purged`: its copies were removed.
    """

    id: str
    purpose: str
    url: str
    at: int
    stage: Stage
    sealed_at: int | None = None
    sha256: str | None = None
    digests: frozenset[str] = _NO_DIGESTS
    body_sha256: str | None = None
    reply_sha256: str | None = None
    status: int | None = None
    reason: str | None = None
    purged: bool = False
    before: "RequestRecord | None" = None  # as it was before the newest attempt

    @property
    def left(self) -> bool:
        """Tells whether it is known to have left."""
        return self.stage in (Stage.SENT, Stage.ANSWERED)

    @property
    def may_have_left(self) -> bool:
        """Tells whether it left, or may have."""
        return self.stage is not Stage.SEALED


class RequestLog:
    """The requests of a ledger, by id, while it is read or appended to."""

    def __init__(self, known: Iterable[RequestRecord] = ()) -> None:
        self._records = {record.id: record for record in known}

    @property
    def records(self) -> Mapping[str, RequestRecord]:
        """Returns every request, in the order in which the ledger names them first."""
        return MappingProxyType(self._records)

    def note(self, entry: Entry) -> None:
        """Takes the next entry; one that is about no request changes nothing."""
        request_id = entry.data.get("id")
        if not isinstance(request_id, str):
            return
        known = self._records.get(request_id)
        after = _purged(known, entry) if entry.kind == EntryKind.PURGED else _after(known, request_id, entry)
        if after is not None:
            self._records[request_id] = after


def copy_state(record: RequestRecord | None, sha256: str | None) -> CopyState:
    """Returns what a copy is worth; `sha256` is its digest, None where there is none that can be read."""
    if sha256 is None:
        return CopyState.PURGED if record is not None and record.purged else CopyState.MISSING
    if record is None or not record.digests:
        return CopyState.UNRECORDED
    return CopyState.KEPT if sha256 in record.digests else CopyState.EDITED


def _after(known: RequestRecord | None, request_id: str, entry: Entry) -> RequestRecord | None:
    """Returns the record after an entry about a request; None for a kind that is about none."""
    if entry.kind not in _STAGES:
        return None
    reached = _STAGES[entry.kind]
    record = known or RequestRecord(
        id=request_id,
        purpose=entry.purpose or "",
        url=str(entry.data.get("url", "")),
        at=entry.at,
        stage=Stage.SEALED,
    )
    sha256 = _text(entry, "sha256")
    digests = record.digests if sha256 is None else record.digests | {sha256}
    record = replace(record, sha256=sha256 or record.sha256, digests=digests)
    if entry.kind == EntryKind.REQUEST_WITHHELD:  # nothing of this attempt left: it is as it was before it
        earlier = record.before or replace(record, stage=Stage.SEALED)
        return replace(earlier, digests=record.digests, reason=_text(entry, "reason"), before=None)
    if entry.kind == EntryKind.REQUEST_SEALED:
        return replace(
            record, sealed_at=record.sealed_at or entry.at, body_sha256=_text(entry, "body_sha256"), purged=False
        )
    if entry.kind == EntryKind.REQUEST_ATTEMPTED:
        earlier = replace(record, before=None)
        body_sha256 = _text(entry, "body_sha256")
        record = replace(record, at=entry.at, before=earlier, body_sha256=body_sha256, reason=None, status=None)
        return replace(record, stage=_further(record.stage, reached), purged=False)
    status = entry.data.get("status")
    return replace(
        record,
        stage=_further(record.stage, reached),
        status=status if isinstance(status, int) else None,
        reason=_text(entry, "reason"),
        reply_sha256=_text(entry, "reply_sha256") or record.reply_sha256,
    )


def _purged(known: RequestRecord | None, entry: Entry) -> RequestRecord | None:
    """Returns the record after a purge.

    One of what waits leaves the copy of what was attempted, and the other way round.
    """
    room = entry.data.get("room")
    if known is None or (room == "held" and known.may_have_left):
        return known
    return replace(known, purged=True)


def _further(one: Stage, other: Stage) -> Stage:
    order = [*Stage]
    return max(one, other, key=order.index)


def _text(entry: Entry, name: str) -> str | None:
    value: Json = entry.data.get(name)
    return value if isinstance(value, str) else None


# How far a request has come by each kind of entry about it.
# `RequestRefused` and `RequestSent` with a good status are an earlier version's.
_STAGES: Final[Mapping[str, Stage]] = {
    EntryKind.REQUEST_SEALED: Stage.SEALED,
    EntryKind.REQUEST_WITHHELD: Stage.SEALED,
    EntryKind.REQUEST_ATTEMPTED: Stage.ATTEMPTED,
    EntryKind.REQUEST_FAILED: Stage.ATTEMPTED,
    EntryKind.REQUEST_REFUSED: Stage.ATTEMPTED,
    EntryKind.REQUEST_SENT: Stage.SENT,
    EntryKind.REQUEST_ANSWERED: Stage.ANSWERED,
}
