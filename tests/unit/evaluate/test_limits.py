"""Limits agree with each other: whatever a server's files may hold can be exported, listed and carried to the command."""

import json
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.cli.client import MAX_REPLY_BYTES as CLIENT_MAX_BYTES
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger import export as export_file
from opanel_agent.core.ledger.chain import ChainHead, ChainState, EntryKind
from opanel_agent.daemon.jobs.job_process import JobLimits
from opanel_agent.evaluate import export
from opanel_agent.evaluate.consent import records
from opanel_agent.evaluate.storage import ledger_file
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, open_ledger

OUTPUT = JobLimits().output_max_bytes


def ledger_of(count: int, **data: Any) -> tuple[bytes, ChainHead]:
    """A whole ledger of entries that say as much as one can."""
    state, lines = ChainState(), []
    for at in range(count):
        entry = chain.entry_after(state, EntryKind.OPT_OUT_GONE if at else EntryKind.LEDGER_OPENED, at, None, data)
        lines.append(chain.encode(entry) + b"\n")
        state = chain.after(state, entry)
    return b"".join(lines), state.head


def test_a_ledger_and_all_that_is_carried_fit_into_an_export_however_json_spells_them() -> None:
    """A control character takes six bytes; the ledger is JSON already, of which a quote or a backslash takes two."""
    assert 2 * ledger_file.MAX_BYTES + 6 * export.MAX_CARRIED_BYTES <= export_file.MAX_BYTES - 32 * 1024 * 1024
    assert records.MAX_EXPORT_BYTES == export_file.MAX_BYTES


def test_a_page_and_a_list_fit_into_a_jobs_output_beside_the_answer_and_into_a_reply() -> None:
    answer_bytes = 300 * 1024  # advisories of 256 KiB among it
    assert records.EXPORT_PART_BYTES * 4 // 3 + answer_bytes < OUTPUT <= CLIENT_MAX_BYTES
    assert records.MAX_LIST_BYTES + answer_bytes < OUTPUT


def test_the_history_of_a_ledger_of_long_entries_fits() -> None:
    agent = Simulated()
    agent.run("start")
    data, head = ledger_of(1200, ids=("x" * 256,) * 16)
    agent.files.put(PATHS.ledger, data)
    agent.files.put(PATHS.ledger.with_name("ledger.head"), head.encode())
    frame = agent.run("history")
    assert len(json.dumps(frame)) < OUTPUT
    entries = frame["result"]["entries"]
    assert entries[-1]["seq"] == frame["result"]["of"]
    assert 0 < len(entries) < 1000
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)


def test_of_many_receipts_the_newest_are_listed_and_each_is_found() -> None:
    agent = Simulated()
    for number in range(11):
        token = signing.receipt(b"", iat=signing.NOW + number, jti=f"receipt-{number}")
        agent.files.put(PATHS.receipts / f"usage-{number:016x}.jwt", token)
    every = agent.run("receipts")["result"]
    assert (len(every["receipts"]), every["of"]) == (11, 11)
    one = agent.run("receipts", id=f"usage-{5:016x}")["result"]
    assert [row["id"] for row in one["receipts"]] == [f"usage-{5:016x}"]
    assert records._first_that_fit({"token": "x" * 1024} for _ in range(2000)) == [{"token": "x" * 1024}] * 505


def fill(book: LedgerFile) -> None:
    for _ in range(100):
        book.append(EntryKind.DAILY_MARK, signing.NOW)


def test_a_ledger_never_outgrows_what_can_be_read_again() -> None:
    agent = Simulated()
    agent.run("start")
    small = 2000
    agent.files.take_away(PATHS.ledger)
    agent.files.take_away(PATHS.ledger.with_name("ledger.head"))
    book = LedgerFile(agent.files, PATHS, max_bytes=small)
    book.open(signing.NOW)
    with pytest.raises(Storage, match="ledger_full"):
        fill(book)
    assert len(agent.files.read(PATHS.ledger, max_bytes=small) or b"") > small - 300
    again = open_ledger(agent.files, PATHS, signing.NOW)
    assert (again.good, again.head.seq > 2) == (True, True)


def test_what_does_not_fit_into_an_export_is_proven_by_its_digest() -> None:
    agent = Simulated()
    agent.run("start")
    for number in range(4):
        agent.files.put(PATHS.held / f"usage-{number:016x}", b"x" * 1000)
    root = root_document.first(signing.root())
    whole, cut = (export.gather(agent.files, PATHS, root, max_carried_bytes=size) for size in (10_000, 2500))
    held = [
        [part for part in map(json.loads, data.splitlines()) if part.get("part") == "held"] for data in (whole, cut)
    ]
    assert [["text" in part for part in parts] for parts in held] == [[True] * 4, [True, True, False, False]]
    assert [part["sha256"] for part in held[0]] == [part["sha256"] for part in held[1]]
    for data in (whole, cut):
        assert export_file.check(data, None).good
