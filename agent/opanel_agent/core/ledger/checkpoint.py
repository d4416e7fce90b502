"""Keeps what a verified ledger came to, so that a pass need not work it out again from the first line.

A checkpoint holds the length and the SHA-256 of the bytes that were verified,
and what they came to: the state of their chain and the requests that they name.
The same bytes come to the same. So a pass hashes the beginning of the ledger,
which costs a hundredth of verifying it, and verifies only the lines after it. A
ledger of which one byte is another is verified from the first line, and the
line is named as before.

Who edits the ledger and its checkpoint alike is found when the whole ledger is
verified: at each start, in an export, by whoever reads the records of a stopped
agent, and `WHOLE_EVERY_S` after the last time. He could as well have written the
chain anew (`chain`).

The file is one line of JSON and the SHA-256 of that line; what is not what this
version writes counts as no checkpoint. Pure. Left out: reading and writing it
(`evaluate.storage.ledger_file`).
"""

import hashlib
from collections.abc import Mapping
from typing import Final, TypeVar

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger.chain import ChainHead, ChainState
from opanel_agent.core.ledger.requests import RequestRecord, Stage
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen

T = TypeVar("T")
WHOLE_EVERY_S: Final = DAY_S
MAX_BYTES: Final = 8 * 1024 * 1024
_FIELDS: Final = 14


@frozen
class Checkpoint:
    """Holds what the first `size` bytes of a ledger came to; `sha256` is over them, in hex.

    - `verified_at`: when they were last verified whole, or their beginning was
      that of an earlier checkpoint: effective seconds.
    - `aside`: the ledgers that were set aside and whose requests are among
      `requests`, by name, with the stamp of each file.
    - `version`: of the agent that wrote it.
    """

    size: int
    sha256: str
    verified_at: int
    ledger: ChainState
    requests: tuple[RequestRecord, ...]
    aside: Mapping[str, str]
    version: str

    def holds(self, data: bytes) -> bool:
        """Tells whether a ledger begins with the very bytes that were verified."""
        return len(data) >= self.size and hashlib.sha256(memoryview(data)[: self.size]).hexdigest() == self.sha256

    def recent(self, now_s: int) -> bool:
        """Tells whether the whole was verified in the last day; a checkpoint from the future was not."""
        return 0 <= now_s - self.verified_at < WHOLE_EVERY_S

    def encode(self) -> bytes:
        """Returns the file's bytes."""
        ledger = self.ledger
        body = dumps(
            {
                "schema": 1,
                "version": self.version,
                "size": self.size,
                "sha256": self.sha256,
                "verified_at": self.verified_at,
                "head": record.to_json(ledger.head),
                "before": record.to_json(ledger.before),
                "at": ledger.at,
                "marked_at": ledger.marked_at,
                "review_due": ledger.review_due,
                "latest": [chain.encode(entry).decode("utf-8") for entry in ledger.latest.values()],
                "requests": [_row(each) for each in self.requests],
                "aside": dict(self.aside),
            }
        )
        return body + b"\n" + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"

    @staticmethod
    def decode(data: bytes) -> "Checkpoint":
        """Returns the checkpoint of a file. Raises Untrusted for anything but what `encode` writes."""
        body, _, digest = data.partition(b"\n")
        if digest != hashlib.sha256(body).hexdigest().encode("ascii") + b"\n":
            raise _refused()
        members = Members(loads(body, max_bytes=MAX_BYTES), "ledger.checkpoint")
        members.constant("schema", 1)
        return Checkpoint(
            version=_of(members.value("version"), str),
            size=members.integer("size"),
            sha256=_of(members.value("sha256"), str),
            verified_at=members.integer("verified_at"),
            ledger=_ledger(members),
            requests=tuple(_record(row) for row in _of(members.value("requests"), list)),
            aside={name: _of(stamp, str) for name, stamp in _of(members.value("aside"), dict).items()},
        )


def _ledger(members: Members) -> ChainState:
    found = [chain.decode(_of(line, str).encode("utf-8")) for line in _of(members.value("latest"), list)]
    return ChainState(
        head=record.read(ChainHead, members.members("head")),
        before=record.read(ChainHead, members.members("before")),
        at=members.integer("at"),
        marked_at=_or_none(members.value("marked_at"), int),
        review_due=members.boolean("review_due"),
        latest={(entry.kind, entry.purpose): entry for entry in found},
    )


def _row(request: RequestRecord) -> list[Json]:
    """Returns the fields in their order, without names: an object of twelve members takes three times as long to read."""
    return [
        request.id,
        request.purpose,
        request.url,
        request.at,
        str(request.stage),
        request.sealed_at,
        request.sha256,
        [*sorted(request.digests)],
        request.body_sha256,
        request.reply_sha256,
        request.status,
        request.reason,
        request.purged,
        None if request.before is None else _row(request.before),
    ]


def _record(row: Json) -> RequestRecord:
    fields = _of(row, list)
    if len(fields) != _FIELDS or fields[4] not in _STAGES:
        raise _refused()
    return RequestRecord(
        id=_of(fields[0], str),
        purpose=_of(fields[1], str),
        url=_of(fields[2], str),
        at=_of(fields[3], int),
        stage=_STAGES[fields[4]],
        sealed_at=_or_none(fields[5], int),
        sha256=_or_none(fields[6], str),
        digests=frozenset(_of(each, str) for each in _of(fields[7], list)),
        body_sha256=_or_none(fields[8], str),
        reply_sha256=_or_none(fields[9], str),
        status=_or_none(fields[10], int),
        reason=_or_none(fields[11], str),
        purged=_of(fields[12], bool),
        before=None if fields[13] is None else _record(fields[13]),
    )


_STAGES: Final[Mapping[Json, Stage]] = {str(stage): stage for stage in Stage}


def _of(value: Json, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise _refused()
    return value


def _or_none(value: Json, kind: type[T]) -> T | None:
    return None if value is None else _of(value, kind)


def _refused() -> Untrusted:
    return Untrusted(Reason.LEDGER, "ledger_line")
