"""Proves that the ledger's entries say of each request how far it came, and what a copy of it is worth."""

import pytest

from opanel_agent.core.ledger.chain import ChainState, Entry, EntryKind, entry_after
from opanel_agent.core.ledger.requests import CopyState, RequestLog, RequestRecord, Stage, copy_state

ID = "usage-0123456789abcdef"
ONE, OTHER, BODY = "11" * 32, "22" * 32, "33" * 32
KINDS = {
    "sealed": EntryKind.REQUEST_SEALED,
    "attempted": EntryKind.REQUEST_ATTEMPTED,
    "withheld": EntryKind.REQUEST_WITHHELD,
    "failed": EntryKind.REQUEST_FAILED,
    "refused": EntryKind.REQUEST_REFUSED,
    "sent": EntryKind.REQUEST_SENT,
    "answered": EntryKind.REQUEST_ANSWERED,
    "reviewed": EntryKind.REQUEST_REVIEWED,
    "receipt": EntryKind.RECEIPT_KEPT,
}


def entry(kind: EntryKind, at: int = 1, **data: str | int) -> Entry:
    named: dict[str, str | int] = {"id": ID, **data}
    return entry_after(ChainState(), kind, at, "usage_statistics", named)


def after(*steps: str) -> RequestRecord | None:
    log = RequestLog()
    for at, step in enumerate(steps, 1):
        log.note(entry(KINDS[step], at, url="https://a.example/v1/r", sha256=ONE, body_sha256=BODY))
    return log.records.get(ID)


@pytest.mark.parametrize(
    ("steps", "stage"),
    [
        ("sealed", Stage.SEALED),
        ("sealed reviewed", Stage.SEALED),
        ("sealed attempted", Stage.ATTEMPTED),
        ("attempted", Stage.ATTEMPTED),
        ("sealed attempted withheld", Stage.SEALED),
        ("withheld", Stage.SEALED),
        ("sealed attempted failed", Stage.ATTEMPTED),
        ("sealed attempted refused", Stage.ATTEMPTED),
        ("sealed attempted sent", Stage.SENT),
        ("sealed attempted answered receipt", Stage.ANSWERED),
        ("attempted failed attempted withheld", Stage.ATTEMPTED),
        ("attempted sent attempted failed", Stage.SENT),
        ("attempted sent attempted withheld", Stage.SENT),
        ("attempted failed attempted answered", Stage.ANSWERED),
    ],
)
def test_what_has_left_once_has_left(steps: str, stage: Stage) -> None:
    record = after(*steps.split())
    assert record is not None
    assert record.stage is stage
    assert record.left == (stage in (Stage.SENT, Stage.ANSWERED))
    assert record.may_have_left == (stage is not Stage.SEALED)
    assert (record.purpose, record.url) == ("usage_statistics", "https://a.example/v1/r")


def test_the_time_is_that_of_the_newest_attempt_that_was_not_withheld() -> None:
    times = {
        steps: record.at
        for steps in ("sealed", "sealed attempted failed attempted", "sealed attempted failed attempted withheld")
        if (record := after(*steps.split())) is not None
    }
    assert list(times.values()) == [1, 4, 2]


def test_why_it_was_not_taken_is_kept_until_the_next_attempt() -> None:
    log = RequestLog()
    log.note(entry(EntryKind.REQUEST_SEALED, sha256=ONE, body_sha256=BODY))
    log.note(entry(EntryKind.REQUEST_ATTEMPTED, 2, sha256=OTHER, body_sha256=BODY))
    log.note(entry(EntryKind.REQUEST_SENT, 3, status=503, reason="server_error"))
    record = log.records[ID]
    assert (record.status, record.reason, record.reply_sha256) == (503, "server_error", None)
    assert (record.sealed_at, record.sha256, sorted(record.digests)) == (1, OTHER, [ONE, OTHER])
    log.note(entry(EntryKind.REQUEST_ATTEMPTED, 4, sha256=OTHER))
    assert (log.records[ID].status, log.records[ID].reason) == (None, None)
    log.note(entry(EntryKind.REQUEST_ANSWERED, 5, status=202, reply_sha256=ONE))
    assert (log.records[ID].status, log.records[ID].reply_sha256) == (202, ONE)


def test_an_entry_about_no_request_changes_nothing() -> None:
    log = RequestLog()
    log.note(entry_after(ChainState(), EntryKind.DAILY_MARK, 1, None, {}))
    log.note(entry(EntryKind.RECEIPT_KEPT))
    log.note(entry(EntryKind.PURGED, room="sent"))
    assert not log.records


@pytest.mark.parametrize(
    ("steps", "room", "purged"),
    [("sealed", "held", True), ("attempted", "held", False), ("attempted", "sent", True), ("answered", "sent", True)],
)
def test_a_purge_of_what_waits_is_none_of_what_left(steps: str, room: str, *, purged: bool) -> None:
    log = RequestLog()
    log.note(entry(KINDS[steps], sha256=ONE))
    log.note(entry(EntryKind.PURGED, 2, room=room, reason="retention"))
    assert log.records[ID].purged is purged
    assert copy_state(log.records[ID], None) is (CopyState.PURGED if purged else CopyState.MISSING)


def test_a_copy_is_worth_what_the_ledger_bears_out() -> None:
    record = after("attempted")
    assert record is not None
    assert copy_state(record, ONE) is CopyState.KEPT
    assert copy_state(record, OTHER) is CopyState.EDITED
    assert copy_state(None, ONE) is CopyState.UNRECORDED
    log = RequestLog()
    log.note(entry(EntryKind.REQUEST_ATTEMPTED))
    assert copy_state(log.records[ID], ONE) is CopyState.UNRECORDED
    assert copy_state(None, None) is CopyState.MISSING
