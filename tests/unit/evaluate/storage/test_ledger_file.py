"""Proves the ledger on a disk that stops, fails or tears at any step: it always verifies, and nothing is hidden.

Each step of each write is made to fail in turn, on the disk in memory and on the real one. After it the chain holds, the
next entry goes on from where it ends, and an entry whose `append` returned is there for good.
"""

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.simulated.memory_files import MemoryFiles, Stopped
from fixtures.simulated.system_paths import PATHS
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Bug, Storage
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger.chain import ChainHead, Entry, EntryKind
from opanel_agent.core.ledger.checkpoint import Checkpoint
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import seal
from opanel_agent.evaluate.storage import ledger_file
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, digest, open_ledger
from opanel_agent.system.storage.files import Files, LocalFiles, Syscalls
from opanel_agent.system.storage.paths import Paths

NOW: Final = 1_795_510_800
HOUR: Final = 3600
DAY: Final = 24 * HOUR
LEDGER: Final = PATHS.ledger
HEAD: Final = PATHS.ledger.with_name("ledger.head")


def kept(files: Files, paths: Paths = PATHS) -> list[Entry]:
    data = files.read(paths.ledger, max_bytes=10**6) or b""
    return [*chain.entries(chain.lines(data))]


def kinds(files: Files, paths: Paths = PATHS) -> list[str]:
    return [entry.kind for entry in kept(files, paths)]


def whole(files: Files, paths: Paths = PATHS) -> bool:
    """Whether ledger and head agree, told by the core and not by the book."""
    data = files.read(paths.ledger, max_bytes=10**6) or b""
    head = files.read(paths.ledger.with_name("ledger.head"), max_bytes=10**3)
    return chain.verify(chain.lines(data), ChainHead.decode(head) if head else ChainHead()).ok


def written(*, entries: int = 3) -> tuple[MemoryFiles, LedgerFile]:
    files = MemoryFiles()
    book = open_ledger(files, PATHS, NOW)
    for n in range(entries):
        book.append(EntryKind.PURGED, NOW + n, id=f"report-{n}", count=n)
    return files, book


def test_a_new_book_opens_its_ledger_and_is_good() -> None:
    files, book = written(entries=0)
    assert kinds(files) == ["LedgerOpened"]
    assert book.good
    assert not book.review_due
    assert whole(files)


def test_the_chain_goes_on_in_the_next_pass() -> None:
    files, book = written()
    again = open_ledger(files, PATHS, NOW + DAY)
    again.append(EntryKind.UPGRADED, NOW + DAY, version="0.2.0", before="0.1.0")
    assert [entry.seq for entry in again.entries()] == [1, 2, 3, 4, 5]
    assert kept(files)[4].prev == book.head.digest
    assert whole(files)


def test_the_newest_of_a_kind_is_remembered_by_purpose() -> None:
    _, book = written(entries=0)
    book.append(EntryKind.CONSENT_GIVEN, NOW, purpose="usage_statistics", notice="2026-12-01")
    book.append(EntryKind.CONSENT_GIVEN, NOW + 5, purpose="crash_reports", notice="2026-12-01")
    found = book.latest(EntryKind.CONSENT_GIVEN, "usage_statistics")
    assert found is not None
    assert found.at == NOW
    assert book.latest(EntryKind.CONSENT_WITHDRAWN, "usage_statistics") is None


def test_a_request_is_recorded_by_its_digests_and_never_by_what_it_says() -> None:
    files, book = written(entries=0)
    body = b'{"schema":1,"os_id":"planted-value"}'
    sealed = seal(
        request_id="report-0123456789abcdef",
        purpose="usage_statistics",
        url="https://reports.example/v1/reports/usage_statistics",
        accept="application/jose",
        body=body,
    )
    book.request(EntryKind.REQUEST_ATTEMPTED, NOW, sealed, region="eu")
    data = kept(files)[-1].data
    assert data["sha256"] == digest(sealed.encode())
    assert data["body_sha256"] == digest(body)
    assert (data["id"], data["bytes"], data["region"]) == (sealed.id, len(body), "eu")
    assert b"planted-value" not in (files.read(LEDGER, max_bytes=10**6) or b"")


# ---- the daily mark


def test_a_mark_is_made_once_a_day() -> None:
    files, book = written(entries=0)
    for hour in range(73):
        book.mark(NOW + hour * HOUR)
    assert [entry.at for entry in kept(files)[1:]] == [NOW + DAY, NOW + 2 * DAY, NOW + 3 * DAY]


def test_a_gap_is_seen_until_the_next_mark() -> None:
    _, book = written(entries=0)
    late = NOW + 2 * DAY + 1
    assert not book.gap(late - 1)
    assert book.gap(late)
    book.append(EntryKind.GAP_FOUND, late, seconds=2 * DAY + 1)
    assert book.gap(late)
    book.mark(late)
    assert not book.gap(late)


# ---- what a crash leaves


def test_a_torn_last_line_is_cut_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    files, _ = written()
    before = files.read(LEDGER, max_bytes=10**6) or b""
    files.put(LEDGER, before + b'{"at":17955108')
    book = open_ledger(files, PATHS, NOW + DAY)
    assert book.good
    assert kept(files)[-1].kind == "TornLineCut"
    assert kept(files)[-1].data == {"bytes": 14}
    assert "ledger_torn_line_cut bytes=14" in capsys.readouterr().err
    assert (files.read(LEDGER, max_bytes=10**6) or b"").startswith(before)
    assert whole(files)


def test_a_first_line_that_was_torn_is_cut_and_said() -> None:
    files = MemoryFiles()
    files.put(LEDGER, b'{"at"')
    assert open_ledger(files, PATHS, NOW).good
    assert kinds(files) == ["LedgerOpened", "TornLineCut"]


def test_an_acknowledged_line_that_was_torn_later_is_no_crash() -> None:
    """The head says that it had been whole."""
    files, _ = written()
    data = files.read(LEDGER, max_bytes=10**6) or b""
    files.put(LEDGER, data[:-5])
    assert open_ledger(files, PATHS, NOW).review_due


def refusal(book: LedgerFile, now_s: int) -> Storage | None:
    """What an append came to: None when the entry is there."""
    try:
        book.append(EntryKind.REQUEST_ATTEMPTED, now_s, id="report-9")
    except Storage as error:
        return error
    return None


STEPS: Final = 16  # more than one append with its head takes


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_stop_at_any_step_of_an_append_leaves_a_chain_that_goes_on(*, step: int, keep: bool) -> None:
    files, book = written()
    before = kept(files)
    files.stop_at(step)
    try:
        book.append(EntryKind.CONSENT_WITHDRAWN, NOW, purpose="usage_statistics")
    except Stopped:
        acknowledged = False
    else:
        acknowledged = True
    files.crash(keep=keep)
    assert kept(files)[:4] == before
    assert len(kept(files)) == 5 or not acknowledged
    again = open_ledger(files, PATHS, NOW + 60)
    assert again.good
    again.append(EntryKind.REVIEWED, NOW + 60)
    assert whole(files)
    assert [entry.seq for entry in kept(files)] == [*range(1, len(kept(files)) + 1)]


@pytest.mark.parametrize("step", range(STEPS))
@pytest.mark.parametrize("fault", [Fault.DISK_FULL, Fault.IO_FAILED])
def test_a_failure_at_any_step_is_told_and_the_same_book_goes_on(step: int, fault: Fault) -> None:
    files, book = written()
    files.stop_at(step, Storage(fault, "write_failed"))
    error = refusal(book, NOW)
    files.crash(keep=True)  # where the step lies beyond the last, nothing is to fail later
    assert book.good == (error is None)
    assert error is None or (error.code == fault and book.trouble is error)
    assert whole(files)
    assert len(kept(files)) in ((5,) if error is None else (4, 5))
    book.append(EntryKind.PURGED, NOW)
    assert book.good
    assert book.trouble is None
    assert whole(files)
    assert kinds(files)[-1] == "Purged"


def test_the_steps_above_reach_beyond_the_last() -> None:
    files, book = written()
    files.steps.clear()
    book.append(EntryKind.PURGED, NOW)
    assert len(files.steps) < STEPS
    assert [name for name, path in files.steps if path == LEDGER] == ["write", "fsync", "fsync_dir"]


@pytest.mark.parametrize("step", range(STEPS))
def test_a_stop_while_the_first_ledger_is_opened_is_begun_again(step: int) -> None:
    files = MemoryFiles()
    files.stop_at(step)
    with contextlib.suppress(Stopped):
        open_ledger(files, PATHS, NOW)
    files.crash(keep=True)
    assert open_ledger(files, PATHS, NOW + 60).good
    assert kinds(files) == ["LedgerOpened"]
    assert whole(files)


# ---- a broken ledger


def lines_of(files: MemoryFiles) -> list[bytes]:
    return (files.read(LEDGER, max_bytes=10**6) or b"").splitlines(keepends=True)


def edit(files: MemoryFiles) -> None:
    files.put(LEDGER, (files.read(LEDGER, max_bytes=10**6) or b"").replace(b"report-1", b"report-7"))


def cut(files: MemoryFiles) -> None:
    files.put(LEDGER, b"".join(lines_of(files)[:2]))


def swap(files: MemoryFiles) -> None:
    one, two, *others = lines_of(files)
    files.put(LEDGER, b"".join([two, one, *others]))


def add(files: MemoryFiles) -> None:
    files.put(LEDGER, b"".join([*lines_of(files), lines_of(files)[-1]]))


def take_away(files: MemoryFiles) -> None:
    files.take_away(LEDGER)


def lose_head(files: MemoryFiles) -> None:
    files.take_away(HEAD)


def spoil_head(files: MemoryFiles) -> None:
    files.put(HEAD, b"{}\n")


BREAKS: Final = [
    (edit, "digest", 3),
    (cut, "cut", 3),
    (swap, "order", 1),
    (add, "order", 5),
    (take_away, "cut", 1),
    (lose_head, "ahead", 1),
    (spoil_head, "head", 4),
]


@pytest.mark.parametrize(("break_", "what", "line"), BREAKS)
def test_a_broken_ledger_is_set_aside_whole_and_waits_for_a_review(
    break_: Any, what: str, line: int, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = written()
    break_(files)
    broken = files.read(LEDGER, max_bytes=10**6) or b""
    book = open_ledger(files, PATHS, NOW + DAY)
    aside = LEDGER.with_name("ledger.1.broken")
    assert files.read(aside, max_bytes=10**6) == broken
    assert [entry.data for entry in kept(files)] == [
        {"broken": what, "line": line, "bytes": len(broken), "sha256": digest(broken), "kept_as": aside.name}
    ]
    assert f"ledger_broken what={what} at_line={line} kept_as={aside.name}" in capsys.readouterr().err
    assert not book.good
    assert book.review_due
    assert whole(files)


def test_it_waits_through_every_pass_until_it_was_reviewed() -> None:
    files, _ = written()
    edit(files)
    open_ledger(files, PATHS, NOW)
    for day in range(3):
        again = open_ledger(files, PATHS, NOW + day * DAY)
        again.mark(NOW + day * DAY)
        assert not again.good
    again.append(EntryKind.REVIEWED, NOW + 3 * DAY, owner=0)
    assert again.good
    assert open_ledger(files, PATHS, NOW + 3 * DAY).good
    assert files.exists(LEDGER.with_name("ledger.1.broken"))


def test_a_second_break_is_kept_beside_the_first() -> None:
    files, _ = written()
    edit(files)
    open_ledger(files, PATHS, NOW)
    cut_away = files.read(LEDGER, max_bytes=10**6) or b""
    files.put(LEDGER, b"\n" + cut_away)
    assert not open_ledger(files, PATHS, NOW).good
    assert [name for name in files.names(LEDGER.parent) if "broken" in name] == ["ledger.1.broken", "ledger.2.broken"]
    assert kept(files)[0].data["kept_as"] == "ledger.2.broken"


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(24))
def test_a_stop_while_it_is_set_aside_loses_neither_the_bytes_nor_the_break(*, step: int, keep: bool) -> None:
    files, _ = written()
    edit(files)
    broken = files.read(LEDGER, max_bytes=10**6) or b""
    files.stop_at(step)
    with contextlib.suppress(Stopped):
        open_ledger(files, PATHS, NOW)
    files.crash(keep=keep)
    again = open_ledger(files, PATHS, NOW + 60)
    assert not again.good
    assert again.review_due
    assert whole(files)
    asides = [files.read(LEDGER.parent / name, max_bytes=10**6) for name in files.names(LEDGER.parent)]
    assert broken in asides
    assert files.names(LEDGER.parent)[0] == "ledger.1.broken"
    assert asides.count(broken) == 1


def test_a_disk_that_cannot_take_the_copy_leaves_the_broken_ledger_where_it_is() -> None:
    files, _ = written()
    edit(files)
    broken = files.read(LEDGER, max_bytes=10**6)
    full = Storage(Fault.DISK_FULL, "disk_full")

    def fail(step: str, path: Path) -> None:
        if step == "create" and "broken" in path.name:
            raise full

    files.fault = fail
    book = open_ledger(files, PATHS, NOW)
    assert book.trouble is full
    assert not book.good
    assert not book.review_due
    assert files.read(LEDGER, max_bytes=10**6) == broken
    with pytest.raises(Storage):
        book.append(EntryKind.REQUEST_ATTEMPTED, NOW)
    files.fault = None
    book.append(EntryKind.DAILY_MARK, NOW)
    assert kinds(files) == ["LedgerOpened", "DailyMark"]
    assert book.review_due


# ---- a ledger that is no file


@pytest.mark.parametrize("path", [LEDGER, HEAD])
@pytest.mark.parametrize("kind", ["link", "dir", "fifo"])
def test_a_ledger_that_is_no_regular_file_ends_no_pass_and_takes_no_entry(
    path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files, _ = written()
    files.put(path, kind=kind)
    book = open_ledger(files, PATHS, NOW)
    assert not book.good
    assert book.latest(EntryKind.LEDGER_OPENED) is None
    assert book.head == ChainHead()
    assert not book.gap(NOW + 9 * DAY)
    assert "ledger_unusable code=file_refused detail=file_type" in capsys.readouterr().err
    with pytest.raises(Storage) as caught:
        book.append(EntryKind.REQUEST_ATTEMPTED, NOW)
    assert caught.value.detail == "file_type"
    with pytest.raises(Storage):
        book.mark(NOW)
    with pytest.raises(Storage):
        [*book.entries()]


def test_entries_end_with_storage_at_a_line_that_is_none() -> None:
    files, book = written()
    files.put(LEDGER, lines_of(files)[0] + b"not a line\n")
    with pytest.raises(Storage) as caught:
        [*book.entries()]
    assert caught.value.detail == "json_syntax"


def test_a_mistake_of_ours_stays_one() -> None:
    files, book = written()
    with pytest.raises(Bug):
        book.append(EntryKind.PURGED, NOW, hostname="web1")
    assert len(kept(files)) == 4
    book.append(EntryKind.PURGED, NOW)
    assert whole(files)


# ---- the real disk


class Failing(Syscalls):
    """Fails the call of number `at`, counted over all of them; a write may take half of its bytes first."""

    def __init__(self, at: int, code: int) -> None:
        self.at, self.code = at, code
        self.count = -1
        self.armed = False

    def _next(self) -> bool:
        self.count += self.armed
        return self.armed and self.count == self.at

    def _fail(self) -> None:
        if self._next():
            raise OSError(self.code, os.strerror(self.code))

    def create(self, path: Path, mode: int) -> int:
        self._fail()
        return super().create(path, mode)

    def write(self, fd: int, data: bytes) -> int:
        if self._next():
            os.write(fd, data[: len(data) // 2])
            raise OSError(self.code, os.strerror(self.code))
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._fail()
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._fail()
        super().rename(source, target)

    def fsync_dir(self, directory: Path) -> None:
        self._fail()
        super().fsync_dir(directory)


def real(tmp_path: Path) -> Paths:
    return Paths(system=False, owner=os.geteuid(), config_dir=tmp_path, state_dir=tmp_path, runtime_dir=tmp_path)


@pytest.mark.parametrize("at", range(16))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_on_a_real_disk_a_failure_at_any_call_leaves_a_ledger_that_verifies(tmp_path: Path, at: int, code: int) -> None:
    paths = real(tmp_path)
    calls = Failing(at, code)
    files = LocalFiles(calls)
    book = open_ledger(files, paths, NOW)
    calls.armed = True
    errors = [error for error in (refusal(book, NOW), refusal(book, NOW + 1)) if error]
    assert len(errors) == (calls.count >= at)
    assert all(error.code is (Fault.DISK_FULL if code == errno.ENOSPC else Fault.IO_FAILED) for error in errors)
    assert whole(files, paths)
    assert len(kept(files, paths)) >= 3 - len(errors)
    again = open_ledger(files, paths, NOW + 60)
    again.append(EntryKind.REVIEWED, NOW + 60)
    assert again.good
    assert whole(files, paths)


def test_a_real_ledger_is_its_owners_alone_and_one_json_object_a_line(tmp_path: Path) -> None:
    paths = real(tmp_path)
    book = open_ledger(LocalFiles(), paths, NOW)
    book.append(EntryKind.PURGED, NOW, file="/srv/a\nb")
    assert paths.ledger.stat().st_mode & 0o777 == 0o600
    lines = paths.ledger.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2]


@pytest.mark.parametrize("left", [1, 40, 200])
def test_a_line_torn_on_a_real_disk_is_cut_by_the_next(tmp_path: Path, left: int) -> None:
    paths = real(tmp_path)
    book = open_ledger(LocalFiles(), paths, NOW)
    whole_lines = paths.ledger.read_bytes()
    head = paths.ledger.with_name("ledger.head").read_bytes()
    book.append(EntryKind.PURGED, NOW, id="report-1")
    paths.ledger.write_bytes(paths.ledger.read_bytes()[: len(whole_lines) + left])
    paths.ledger.with_name("ledger.head").write_bytes(head)
    again = open_ledger(LocalFiles(), paths, NOW)
    assert again.good
    assert kinds(LocalFiles(), paths) == ["LedgerOpened", "TornLineCut"]
    assert paths.ledger.read_bytes().startswith(whole_lines)


CHECKPOINT: Final = PATHS.ledger.with_name("ledger.checkpoint")


def long_ledger() -> MemoryFiles:
    """A ledger of which a checkpoint is kept, verified at NOW, with a few lines after it."""
    files, _ = written(entries=ledger_file.CHECKPOINT_LINES)
    open_ledger(files, PATHS, NOW).append(EntryKind.PURGED, NOW, id="after-it")
    assert files.entry(CHECKPOINT) is not None
    return files


def test_a_pass_verifies_what_came_since_the_checkpoint() -> None:
    files = long_ledger()
    book = open_ledger(files, PATHS, NOW + HOUR)
    assert book.verified == 1
    assert book.good
    assert book.head.seq == len(kept(files))
    assert book.requests == open_ledger(files, PATHS, NOW, whole=True).requests


@pytest.mark.parametrize(("now_s", "whole_"), [(NOW + DAY, False), (NOW - 1, False), (NOW + HOUR, True)])
def test_the_whole_ledger_is_verified_daily_and_when_it_is_asked_for(now_s: int, whole_: bool) -> None:
    files = long_ledger()
    assert open_ledger(files, PATHS, now_s, whole=whole_).verified == len(kept(files))


@pytest.mark.parametrize("at_line", [1, 100, ledger_file.CHECKPOINT_LINES, ledger_file.CHECKPOINT_LINES + 2])
def test_an_edit_of_any_line_is_found_and_named_by_the_next_pass(at_line: int) -> None:
    files = long_ledger()
    lines = (files.read(LEDGER, max_bytes=10**7) or b"").split(b"\n")
    lines[at_line - 1] = lines[at_line - 1].replace(b'"at":1', b'"at":2', 1)
    files.put(LEDGER, b"\n".join(lines))
    assert open_ledger(files, PATHS, NOW + HOUR).review_due
    opened = kept(files)[0]
    assert (opened.data["broken"], opened.data["line"]) == ("digest", at_line)


def test_an_edit_that_its_checkpoint_was_made_to_agree_with_is_found_within_a_day() -> None:
    files = long_ledger()
    edited = (files.read(LEDGER, max_bytes=10**7) or b"").replace(b'"id":"report-7"', b'"id":"report-8"', 1)
    files.put(LEDGER, edited)
    forged = Checkpoint.decode(files.read(CHECKPOINT, max_bytes=10**7) or b"")
    forged = replace(forged, sha256=digest(edited[: forged.size]))
    files.put(CHECKPOINT, forged.encode())
    assert open_ledger(files, PATHS, NOW + HOUR).good
    assert open_ledger(files, PATHS, NOW + DAY).review_due


def test_lines_that_were_taken_off_are_missed_though_a_checkpoint_holds() -> None:
    files = long_ledger()
    data = files.read(LEDGER, max_bytes=10**7) or b""
    files.put(LEDGER, data[: data.rindex(b"\n", 0, len(data) - 1) + 1])
    assert open_ledger(files, PATHS, NOW + HOUR).review_due
    assert kept(files)[0].data["broken"] == "cut"


@pytest.mark.parametrize("content", [b"", b"rot", b"{}\n" + b"0" * 64 + b"\n"])
def test_a_damaged_checkpoint_only_makes_the_pass_longer(content: bytes) -> None:
    files = long_ledger()
    files.put(CHECKPOINT, content)
    book = open_ledger(files, PATHS, NOW + HOUR)
    assert book.verified == len(kept(files))
    assert book.good
    assert open_ledger(files, PATHS, NOW + 2 * HOUR).verified == 0, "it was written anew"


def test_a_full_disk_has_no_room_for_a_checkpoint_and_the_ledger_is_good_all_the_same() -> None:
    files = long_ledger()
    files.take_away(CHECKPOINT)

    def full(step: str, path: Path) -> None:
        if step == "create" and path == CHECKPOINT:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    files.fault = full
    assert open_ledger(files, PATHS, NOW + HOUR).good
    assert files.entry(CHECKPOINT) is None


def test_the_requests_of_a_ledger_that_was_set_aside_are_known_without_reading_it_again() -> None:
    files = long_ledger()
    book = open_ledger(files, PATHS, NOW)
    sealed = seal(
        request_id="usage-0123456789abcdef",
        purpose="usage_statistics",
        url="https://a.example/v1/r",
        accept="a",
        body=b"{}",
        content_type="application/json",
        held_since=NOW,
    )
    book.request(EntryKind.REQUEST_ATTEMPTED, NOW, sealed)
    files.put(LEDGER, (files.read(LEDGER, max_bytes=10**7) or b"").replace(b'"at":1', b'"at":2', 1))
    open_ledger(files, PATHS, NOW)
    open_ledger(files, PATHS, NOW)
    book = open_ledger(files, PATHS, NOW + HOUR)
    assert book.verified == 0
    assert book.requests["usage-0123456789abcdef"].may_have_left
    files.put(PATHS.ledger.with_name("ledger.1.broken"), b"another\n")
    assert "usage-0123456789abcdef" not in open_ledger(files, PATHS, NOW + HOUR).requests


def test_no_more_than_nine_damaged_ledgers_are_kept_and_none_is_removed() -> None:
    files = MemoryFiles()
    for number in range(1, ledger_file.MAX_ASIDE + 1):
        files.put(LEDGER, b"damage %d\n" % number)
        assert open_ledger(files, PATHS, NOW).review_due
    files.put(LEDGER, b"one damage more\n")
    book = open_ledger(files, PATHS, NOW)
    assert (book.good, book.fault) == (False, "ledger_asides")
    assert files.read(LEDGER, max_bytes=10**3) == b"one damage more\n"
    with pytest.raises(Storage, match="ledger_asides"):
        book.append(EntryKind.PURGED, NOW, id="report-1")
    kept_names = [name for name in files.names(PATHS.state_dir) if name.endswith(".broken")]
    assert len(kept_names) == ledger_file.MAX_ASIDE
    for name in kept_names:
        files.take_away(PATHS.state_dir / name)
    assert open_ledger(files, PATHS, NOW).review_due
