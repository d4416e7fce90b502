"""Proves that a ledger cannot be changed unseen: whatever is edited, cut, moved or added is found and its line named.

And that nothing gets in that the table of names does not admit, however odd a path or a name may be.
"""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.refusal import refused
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import Bug, Untrusted
from opanel_agent.core.ledger import chain as ledger
from opanel_agent.core.ledger.chain import ChainHead, ChainState, Entry, EntryKind, Flaw, FlawKind

DAY = 86_400
NOW = 1_795_510_800

Row = tuple[EntryKind, str | None, dict[str, ledger.Datum]]

ROWS: tuple[Row, ...] = (
    (EntryKind.LEDGER_OPENED, None, {}),
    (EntryKind.NOTICE_SHOWN, None, {"notice": "2026-12-01", "lang": "tr"}),
    (EntryKind.CONSENT_GIVEN, "usage_statistics", {"file": "/etc/opanel-agent/consent.toml", "line": 6, "owner": 0}),
    (
        EntryKind.REQUEST_SEALED,
        "usage_statistics",
        {"id": "report-0123456789abcdef", "sha256": "ab" * 32, "bytes": 417},
    ),
    (EntryKind.REQUEST_REFUSED, "usage_statistics", {"reasons": ("opt_out /etc/environment:3", "held")}),
    (EntryKind.DAILY_MARK, None, {}),
    (EntryKind.CONSENT_WITHDRAWN, "usage_statistics", {"command": True}),
)


def chain(rows: tuple[Row, ...] = ROWS) -> tuple[list[bytes], ChainState]:
    lines: list[bytes] = []
    grown = ChainState()
    for n, (kind, purpose, data) in enumerate(rows):
        entry = ledger.entry_after(grown, kind, NOW + n * 60, purpose, data)
        lines.append(ledger.encode(entry))
        grown = ledger.after(grown, entry)
    return lines, grown


LINES, GROWN = chain()


def test_a_ledger_reads_as_it_was_written() -> None:
    read = ledger.verify(LINES, GROWN.head)
    assert read == GROWN
    assert read.ok
    assert (read.entries, read.marked_at, read.at) == (7, NOW + 5 * 60, NOW + 6 * 60)
    assert read.latest[EntryKind.CONSENT_GIVEN, "usage_statistics"].data["line"] == 6
    assert [entry.kind for entry in ledger.entries(LINES)] == [kind for kind, _, _ in ROWS]
    assert [entry.to_json() for entry in ledger.entries(LINES)] == [json.loads(line) for line in LINES]


def test_a_shell_can_check_a_line() -> None:
    """The digest is over the line without it, and the next line names it: no program of ours is needed."""
    before = "0" * 64
    for line in LINES:
        entry_json = json.loads(line)
        bare = line.replace(f',"sha256":"{entry_json["sha256"]}"'.encode(), b"")
        assert hashlib.sha256(bare).hexdigest() == entry_json["sha256"]
        assert entry_json["prev"] == before
        before = entry_json["sha256"]
    assert before == GROWN.head.digest


def test_an_empty_chain_is_a_ledger_and_its_head_is_nothing() -> None:
    assert ledger.verify([], ChainHead()) == ChainState()
    assert ChainState().head.digest == "0" * 64


# ---- every change is found


def flaw_of(lines: list[bytes], head: ChainHead | None = GROWN.head) -> Flaw:
    found = ledger.verify(lines, head)
    assert not found.ok
    assert found.flaw is not None
    return found.flaw


def resealed(line: bytes, **changes: Any) -> bytes:
    """The line changed by somebody who knows how digests are made."""
    entry_json = {**json.loads(line), **changes}
    del entry_json["sha256"]
    return dumps({**entry_json, "sha256": hashlib.sha256(dumps(entry_json)).hexdigest()})


@settings(max_examples=100)
@given(st.integers(0, len(LINES) - 1), st.data())
def test_any_changed_byte_is_found_in_its_own_line(at: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(LINES[at]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != LINES[at][place]))
    edited = LINES[at][:place] + bytes([byte]) + LINES[at][place + 1 :]
    flaw = flaw_of([*LINES[:at], edited, *LINES[at + 1 :]], None)
    assert flaw.line == at + 1
    assert flaw.what in (FlawKind.FORM, FlawKind.DIGEST, FlawKind.ORDER, FlawKind.LINK)


@pytest.mark.parametrize("at", range(len(LINES)))
def test_an_edit_that_mends_its_own_digest_is_found_at_the_link_that_follows(at: int) -> None:
    flaw = flaw_of([*LINES[:at], resealed(LINES[at], at=1), *LINES[at + 1 :]])
    last = at == len(LINES) - 1
    assert flaw == (Flaw(line=at + 1, what=FlawKind.HEAD) if last else Flaw(line=at + 2, what=FlawKind.LINK))


@pytest.mark.parametrize("left", range(len(LINES)))
def test_a_cut_is_named_by_the_first_line_that_is_missing(left: int) -> None:
    assert flaw_of(LINES[:left]) == Flaw(line=left + 1, what=FlawKind.CUT)


@pytest.mark.parametrize("at", range(len(LINES) - 1))
def test_a_line_taken_out_is_found_where_it_stood(at: int) -> None:
    assert flaw_of([*LINES[:at], *LINES[at + 1 :]]) == Flaw(line=at + 1, what=FlawKind.ORDER)


@given(st.permutations(range(len(LINES))).filter(lambda order: order != sorted(order)))
def test_any_other_order_is_found_at_the_first_line_out_of_place(order: list[int]) -> None:
    first = next(n for n, place in enumerate(order) if n != place)
    assert flaw_of([LINES[n] for n in order], None) == Flaw(line=first + 1, what=FlawKind.ORDER)


@pytest.mark.parametrize("at", range(len(LINES)))
def test_a_forged_line_in_between_is_found_right_after_it(at: int) -> None:
    forged = ledger.verify(LINES[:at])
    entry = ledger.entry_after(forged, EntryKind.CONSENT_GIVEN, NOW, "crash_reports", {})
    flaw = flaw_of([*LINES[:at], ledger.encode(entry), *LINES[at:]])
    assert flaw == Flaw(line=at + 2, what=FlawKind.ORDER)


def test_one_line_beyond_the_head_is_a_crash_and_two_are_a_stranger() -> None:
    assert ledger.verify(LINES, GROWN.before).ok
    shorter = ledger.verify(LINES[:-2]).head
    assert flaw_of(LINES, shorter) == Flaw(line=6, what=FlawKind.AHEAD)
    assert flaw_of(LINES, ChainHead()) == Flaw(line=1, what=FlawKind.AHEAD)
    assert ledger.verify(LINES[:1], ChainHead()).ok


def test_a_whole_other_ledger_of_the_same_length_is_not_the_one_that_was_written() -> None:
    others, _ = chain((*ROWS[:-1], (EntryKind.CONSENT_GIVEN, "crash_reports", {})))
    assert flaw_of(others) == Flaw(line=7, what=FlawKind.HEAD)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        LINES[0] + b" ",
        LINES[0] + b"\r",
        LINES[0].replace(b'"at":', b'"at": '),
        LINES[0][:-1] + b',"x":{}}',
        resealed(LINES[0], data=[]),
        resealed(LINES[0], data=None),
        resealed(LINES[0], kind="no kind"),
        resealed(LINES[0], seq=0),
        resealed(LINES[0], purpose=""),
        resealed(LINES[0], prev="short"),
        b"x" * (ledger.MAX_LINE_BYTES + 1),
    ],
)
def test_what_is_no_line_of_ours_is_said_to_be_none(line: bytes) -> None:
    assert flaw_of([line], None) == Flaw(line=1, what=FlawKind.FORM)
    with pytest.raises(Untrusted):
        ledger.decode(line)


def test_a_line_that_is_not_what_its_digest_says_cannot_be_read_as_an_entry() -> None:
    edited = LINES[5].replace(b"DailyMark", b"Reviewed!"[:-1])
    with refused("ledger_line"):
        ledger.decode(edited)


def test_a_kind_of_a_newer_version_is_read_and_kept_in_the_chain() -> None:
    newer = resealed(LINES[0], kind="SomethingNew", data={"unheard": {"of": [1]}})
    assert ledger.verify([newer]).ok


# ---- lines of a file


@given(st.lists(st.binary(max_size=8).filter(lambda line: b"\n" not in line)), st.binary(max_size=8))
def test_a_file_is_its_whole_lines_and_what_a_crash_tore(whole: list[bytes], torn: bytes) -> None:
    torn = torn.replace(b"\n", b"")
    data = b"".join(line + b"\n" for line in whole) + torn
    assert list(ledger.lines(data)) == whole
    assert ledger.torn_bytes(data) == len(torn)


# ---- the head


def test_a_head_reads_as_it_was_written() -> None:
    assert ChainHead.decode(GROWN.head.encode()) == GROWN.head


@pytest.mark.parametrize("data", [b"", b"{}", b'{"schema":2,"seq":1,"sha256":""}', GROWN.head.encode() * 2, b" " * 300])
def test_what_is_no_head_is_refused(data: bytes) -> None:
    with pytest.raises(Untrusted):
        ChainHead.decode(data)


def test_a_head_that_says_more_is_refused() -> None:
    with refused("member_unknown"):
        ChainHead.decode(dumps({"schema": 1, "seq": 1, "sha256": "a" * 64, "more": 1}))


# ---- marks, gaps, reviews


@pytest.mark.parametrize(
    ("days", "due", "gap"), [(0, False, False), (1, True, False), (2, True, False), (9, True, True)]
)
@pytest.mark.parametrize("direction", [1, -1])
def test_a_mark_is_due_daily_and_two_days_without_one_are_a_gap(
    *, days: int, due: bool, gap: bool, direction: int
) -> None:
    assert GROWN.marked_at is not None
    now = GROWN.marked_at + direction * days * DAY
    assert (ledger.mark_due(GROWN, now), ledger.gap(GROWN, now)) == (due, gap)


def test_the_second_after_two_days_is_a_gap() -> None:
    assert GROWN.marked_at is not None
    assert ledger.gap(GROWN, GROWN.marked_at + 2 * DAY + 1)
    assert not ledger.mark_due(GROWN, GROWN.marked_at + DAY - 1)


def test_an_empty_ledger_owes_a_mark_and_has_no_gap() -> None:
    assert ledger.mark_due(ChainState(), NOW)
    assert not ledger.gap(ChainState(), NOW)


def test_a_ledger_in_the_place_of_a_broken_one_waits_for_a_review() -> None:
    broken: Row = (EntryKind.LEDGER_OPENED, None, {"broken": "digest", "line": 3, "kept_as": "ledger.1.broken"})
    assert chain((broken,))[1].review_due
    assert chain((broken, ROWS[5]))[1].review_due
    assert not chain((broken, (EntryKind.REVIEWED, None, {})))[1].review_due
    assert not GROWN.review_due


# ---- what may be said


def entry(**data: Any) -> Entry:
    return ledger.entry_after(ChainState(), EntryKind.PURGED, NOW, None, data)


@pytest.mark.parametrize(
    "data",
    [
        {"hostname": "web1"},
        {"sha256": "not a digest"},
        {"sha256": 1},
        {"id": "two words"},
        {"id": True},
        {"count": True},
        {"count": "7"},
        {"command": 1},
        {"file": 7},
        {"reasons": "opt_out"},
        {"reasons": ("opt_out", 7)},
    ],
)
def test_what_the_table_does_not_name_cannot_be_recorded(data: dict[str, Any]) -> None:
    with pytest.raises(Bug) as caught:
        entry(**data)
    assert (caught.value.detail, caught.value.values) == ("ledger_datum", {"name": next(iter(data))})


@settings(max_examples=100)
@given(st.text(), st.lists(st.text(), max_size=40))
def test_no_text_makes_recording_fail(place: str, reasons: list[str]) -> None:
    """A path may hold anything a file system admits, surrogates and line ends included."""
    made = entry(place=place, reasons=tuple(reasons))
    assert ledger.decode(ledger.encode(made)) == made
    assert len(str(made.data["place"])) <= ledger.MAX_TEXT
    assert b"\n" not in ledger.encode(made)


def test_what_turns_a_readers_cursor_is_replaced_and_what_is_too_long_is_shortened() -> None:
    made = entry(file="/srv/\x1b[2J\u202eevil\udcff", place="é" * 300, reasons=("a",) * 20)
    assert made.data["file"] == "/srv/?[2J?evil?"
    assert made.data["place"] == "é" * 255 + "…"
    assert made.data["reasons"] == ["a"] * 16


def test_the_longest_entry_that_can_be_said_fits_a_line() -> None:
    longest: dict[str, Any] = {}
    for name, admitted in ledger._DATA.items():
        longest[name] = {
            "digest": "a" * 64,
            "code": "a" * 64,
            "text": "\U0001f40d" * 300,
            "texts": ("\U0001f40d" * 300,) * 20,
            "count": 2**53 - 1,
            "flag": True,
        }[admitted.value]
    assert len(ledger.encode(entry(**longest))) <= ledger.MAX_LINE_BYTES


@pytest.mark.parametrize("change", [{"at": -1}, {"at": 2**53}, {"kind": "two words"}, {"data": {"pair": (1, 2)}}])
def test_an_entry_that_could_not_be_read_again_is_a_bug_and_not_a_line(change: dict[str, Any]) -> None:
    with pytest.raises(Bug) as caught:
        ledger.encode(replace(entry(), **change))
    assert caught.value.detail == "ledger_entry"
