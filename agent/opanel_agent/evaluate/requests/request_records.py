"""Tells what became of every request of this installation: sealed, attempted, sent or answered.

The ledger is the source: it outlives the copies in `sent/`, and nobody edits it unseen. A copy that it does not name (the
ledger was set aside, or lost) speaks for itself, and is said to be unrecorded. Everything here only reads.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.ledger.requests import CopyState, RequestRecord, Stage, copy_state
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.storage.ledger_file import digest

_WITHHELD: Final = frozenset({"gate_denied", "outlet_refused"})


def all_records(outbox: Outbox) -> Mapping[str, RequestRecord]:
    """Returns every request by its id: those of the ledger, and those of which only a copy speaks."""
    found = {**outbox.ledger.requests}
    for name in outbox.attempted_ids():
        if name not in found:
            found |= {record.id: record for record in _by_copy(outbox, name)}
    return found


def attempted(outbox: Outbox) -> list[RequestRecord]:
    """Returns the requests that left, or may have, the newest first."""
    records = (record for record in all_records(outbox).values() if record.may_have_left)
    return sorted(records, key=lambda record: (record.at, record.id), reverse=True)


def record_of(outbox: Outbox, request_id: str) -> RequestRecord | None:
    """Returns one request by its id, None for one that nothing knows."""
    known = outbox.ledger.requests.get(request_id)
    return known or next(_by_copy(outbox, request_id), None)


def copy_of(outbox: Outbox, record: RequestRecord) -> CopyState:
    """Returns what the copy in `sent/` is worth, compared with the ledger's own word on the request."""
    return copy_state(outbox.ledger.requests.get(record.id), outbox.copy_digest(record.id))


def reply_is_kept(record: RequestRecord, reply: Reply) -> bool:
    """Tells whether a kept reply is the one that the ledger has the digest of; True where it has none."""
    return record.reply_sha256 in (None, digest(reply.body))


def newest_json(outbox: Outbox) -> dict[str, Json]:
    """Returns the newest request that left, the newest that may have left since, and when each stage was reached last.

    Shape: {last_left, may_have_left, requests}, the first two {id, purpose, kind, at, url, stage} or null; the second is
    null where something left after it. `requests` has a moment or null for each stage, by what a request came to.
    """
    every = [record for record in all_records(outbox).values() if record.purpose in POLICIES]
    rows = sorted(
        (record for record in every if record.may_have_left), key=lambda record: (record.at, record.id), reverse=True
    )
    reached: dict[str, Json] = {
        str(stage): max((record.at for record in every if record.stage is stage), default=None) for stage in Stage
    }
    left = next((record for record in rows if record.left), None)
    open_ = next((record for record in rows if record.stage is Stage.ATTEMPTED), None)
    if left is not None and open_ is not None and open_.at < left.at:
        open_ = None
    return {"last_left": _json(left), "may_have_left": _json(open_), "requests": reached}


def kind_of(request_id: str) -> str:
    """Returns the kind that an id begins with: usage, crash, activation, release, exchange, renewal, rights."""
    return request_id.partition("-")[0]


def _json(record: RequestRecord | None) -> Json:
    if record is None:
        return None
    return {
        "id": record.id,
        "purpose": record.purpose,
        "kind": kind_of(record.id),
        "at": record.at,
        "url": record.url,
        "stage": str(record.stage),
    }


def _by_copy(outbox: Outbox, request_id: str) -> Iterator[RequestRecord]:
    """Yields what lies in `sent/` says by itself of a request; nothing where nothing lies there, or nothing of it left.

    A mark whose copy cannot be read any more still says that there was an attempt.
    """
    sealed, at, reply = outbox.sent(request_id), outbox.attempted_at(request_id), outbox.reply(request_id)
    marked = at is not None or request_id in outbox.attempted_ids()
    if (sealed is None and not marked) or (reply is not None and reply.detail in _WITHHELD):
        return
    stage = Stage.ATTEMPTED
    if reply is not None and (reply.ok or reply.status is not None):
        stage = Stage.ANSWERED if reply.ok else Stage.SENT
    yield RequestRecord(
        id=request_id,
        purpose="" if sealed is None else sealed.purpose,
        url="" if sealed is None else sealed.url,
        at=at or 0,
        stage=stage,
        status=None if reply is None else reply.status,
    )
