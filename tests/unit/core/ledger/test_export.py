"""Proves that an export shows on any machine what was sent, and that nothing in it can be changed unseen.

One export of a server's life is made by the code that makes them, then broken in every way that the check knows a word
for. Damage on the way is found by the file's own end; a part that somebody changed with all digests mended is found
because the other parts say something else.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import signing
from fixtures.refusal import refused
from fixtures.simulated.memory_files import MemoryFiles
from fixtures.simulated.system_paths import PATHS
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.ledger.export import Checked, ExportFlaw, ExportFlawKind, Part, PartKind
from opanel_agent.core.wire.message import Reply, Sealed, seal
from opanel_agent.evaluate import export as gathering
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, open_ledger

NOW: Final = signing.NOW
ONE: Final = "report-0000000000000001"
TWO: Final = "report-0000000000000002"
GONE: Final = "report-0000000000000003"
ROOT: Final = signing.trusted_root()
READY: Final = b'{"schema":1,"kind":"erase"}'


def sealed(name: str) -> Sealed:
    return seal(
        request_id=name,
        purpose="usage_statistics",
        url="https://reports.example/v1/reports/usage_statistics",
        accept="application/jose",
        body=dumps({"schema": 1, "id": name}),
    )


def send(files: MemoryFiles, book: LedgerFile, request: Sealed) -> None:
    files.put(PATHS.sent / f"{request.id}.request", request.encode())
    book.request(EntryKind.REQUEST_ATTEMPTED, NOW, request)
    files.put(PATHS.sent / f"{request.id}.attempted", dumps({"schema": 1, "at": NOW}))
    files.put(PATHS.sent / f"{request.id}.reply", Reply(ok=True, status=202, body=b"\xff\x00").encode())
    files.put(PATHS.receipts / f"{request.id}.jwt", signing.receipt(request.body) + b"\n")


def life() -> tuple[MemoryFiles, LedgerFile]:
    """A server that sent two reports, purged one of them, and has a rights request ready to be carried."""
    files = MemoryFiles()
    book = open_ledger(files, PATHS, NOW)
    files.put(PATHS.consent, b"schema = 1  # bizim\n")
    files.put(PATHS.consent_dir / "company.toml", b"schema = 1\n")
    files.put(PATHS.consent_dir / "consent.toml", b"schema = 1\n")
    files.put(PATHS.bundle, signing.bundle())
    files.put(PATHS.activation_key, b"the private key")
    files.put(PATHS.erasure / ONE, b"a secret of 32 bytes, for one id")
    book.append(EntryKind.CONSENT_GIVEN, NOW, purpose="usage_statistics", notice="2026-12-01")
    send(files, book, sealed(ONE))
    send(files, book, sealed(GONE))
    book.append(EntryKind.PURGED, NOW, purpose="usage_statistics", id=GONE, room="sent")
    for end in ("request", "attempted", "reply"):
        files.take_away(PATHS.sent / f"{GONE}.{end}")
    files.put(PATHS.held / TWO, sealed(TWO).encode())
    files.put(PATHS.ready / "erase", READY)
    files.put(PATHS.receipts / "erase.jwt", signing.receipt(READY, kind="erase"))
    return files, book


def gathered(files: MemoryFiles) -> bytes:
    return gathering.gather(files, PATHS, ROOT)


FILE: Final = gathered(life()[0])


PARTS: Final = [*export.parts(FILE)]


def check(parts: Iterable[Part], trusted: str | None = ROOT.digest) -> Checked:
    return export.check(export.assemble(parts, as_of=NOW, version="0.1.0"), trusted)


def found(parts: Iterable[Part], trusted: str | None = ROOT.digest) -> list[tuple[ExportFlawKind, str]]:
    return [(finding.what, finding.name) for finding in check(parts, trusted).findings]


def changed(holds: PartKind, name: str, data: bytes) -> list[Part]:
    """The parts with one of them replaced, its digest mended."""
    assert any((part.holds, part.name) == (holds, name) for part in PARTS)
    return [Part.of(holds, name, data) if (part.holds, part.name) == (holds, name) else part for part in PARTS]


def without(holds: PartKind, name: str = "") -> list[Part]:
    return [part for part in PARTS if (part.holds, part.name) != (holds, name or part.name)]


def test_an_export_of_a_good_server_is_good() -> None:
    checked = export.check(FILE, ROOT.digest)
    assert checked.findings == ()
    assert checked.good
    assert checked == Checked(
        as_of=NOW,
        version="0.1.0",
        parts=len(PARTS),
        entries=5,
        sent=1,
        receipts=3,
        gaps=0,
        root=ROOT.digest,
        root_known=True,
        findings=(),
    )


def test_it_holds_what_proves_and_nothing_that_opens() -> None:
    assert {part.name for part in PARTS} == {
        "ledger.jsonl",
        "ledger.head",
        "root.jws",
        "consent.toml",
        "consent.d/company.toml",
        "consent.d/consent.toml",
        "notice.tr.md",
        "notice.en.md",
        "fields.json",
        f"{ONE}.request",
        f"{ONE}.attempted",
        f"{ONE}.reply",
        TWO,
        "erase",
        f"{ONE}.jwt",
        f"{GONE}.jwt",
        "erase.jwt",
        "bundle.jws",
    }
    for secret in (b"the private key", b"a secret of 32 bytes", signing.KEY.encode(), signing.license()):
        assert secret not in FILE
    assert "schema = 1  # bizim" in FILE.decode()


@given(st.lists(st.tuples(st.sampled_from(PartKind), st.text(max_size=9), st.binary(max_size=40))))
def test_what_is_written_down_is_read_back(parts: list[tuple[PartKind, str, bytes]]) -> None:
    written = {(holds, str(n)): Part.of(holds, str(n), data) for n, (holds, _, data) in enumerate(parts)}
    case = export._Case()
    data = export.assemble(written.values(), as_of=NOW, version="0.1.0")
    assert export._read(data, case) == written
    assert case.findings == []


# ---- damage on the way


@settings(max_examples=60)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_found(place: int, byte: int) -> None:
    edited = FILE[:place] + bytes([byte]) + FILE[place + 1 :]
    if edited == FILE:
        return
    try:
        assert not export.check(edited, ROOT.digest).good
    except Untrusted as refused:  # the header: no export any more
        assert refused.detail == "export_none"  # noqa: PT017 - one of two ways to be found
        assert place <= FILE.index(b"\n")


@settings(max_examples=60)
@given(st.integers(FILE.index(b"\n") + 1, len(FILE) - 1))
def test_any_cut_is_found(length: int) -> None:
    assert ExportFlawKind.END in {finding.what for finding in export.check(FILE[:length], None).findings}


def test_another_date_in_the_header_does_not_fit_the_end() -> None:
    edited = FILE.replace(f'"as_of":{NOW}'.encode(), f'"as_of":{NOW + 1}'.encode())
    assert [finding.what for finding in export.check(edited, ROOT.digest).findings] == [ExportFlawKind.END]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{}", b"hello", signing.license(), FILE.partition(b"\n")[2], b"\xff" * 9]
)
def test_what_is_no_export_is_refused(data: bytes) -> None:
    with refused("export_none", Reason.FORMAT_INVALID):
        export.check(data, None)


@pytest.mark.parametrize("more", [b"x", b"\n", b"{}\n", FILE])
def test_nothing_can_follow_the_end(more: bytes) -> None:
    assert ExportFlawKind.END in {finding.what for finding in export.check(FILE + more, ROOT.digest).findings}


@pytest.mark.parametrize(
    "line",
    [
        {"part": "notice", "name": "n", "sha256": "a" * 64, "text": 1},
        {"part": "notice", "name": "n", "sha256": "a" * 64, "base64": "a"},
        {"part": "notice", "name": "n", "sha256": "a" * 64, "text": "", "base64": ""},
        {"part": "notice", "name": "n"},
        {"part": "no part", "name": "n", "sha256": "a" * 64},
        {"part": "notice", "name": "\x1b", "sha256": "a" * 64},
        [],
    ],
)
def test_a_line_that_is_no_part_is_named(line: Any) -> None:
    lines = FILE.splitlines(keepends=True)
    lines.insert(3, dumps(line) + b"\n")
    findings = export.check(b"".join(lines), ROOT.digest).findings
    assert ExportFlaw(what=ExportFlawKind.LINE, name="export", line=4) in findings


# ---- parts that somebody changed


def test_a_part_that_is_not_what_its_digest_says_is_named_with_its_line() -> None:
    parts = [replace(part, sha256="0" * 64) if part.name == "notice.en.md" else part for part in PARTS]
    at = [part.name for part in PARTS].index("notice.en.md") + 2
    assert check(parts).findings == (ExportFlaw(what=ExportFlawKind.DIGEST, name="notice.en.md", line=at),)


def test_two_parts_of_one_name_are_one_too_many() -> None:
    assert found([*PARTS, PARTS[-1]]) == [(ExportFlawKind.TWICE, PARTS[-1].name)]


def test_a_kind_of_a_newer_version_is_carried() -> None:
    newer = replace(PARTS[-1], holds="something_new")
    assert found([*PARTS, newer]) == []


@pytest.mark.parametrize("holds", [PartKind.LEDGER, PartKind.HEAD, PartKind.ROOT])
def test_what_nothing_can_be_checked_without_must_be_there(holds: PartKind) -> None:
    assert (ExportFlawKind.ABSENT, str(holds)) in found(without(holds))


def ledger_lines() -> list[bytes]:
    (part,) = [part for part in PARTS if part.holds == PartKind.LEDGER]
    assert part.data is not None
    return part.data.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"".join(ledger_lines()).replace(b"ConsentGiven", b"ConsentTaken"), 2),
        (b"".join(ledger_lines()[:-1]), 5),
        (b"".join(ledger_lines()[1:]), 1),
        (b"".join(ledger_lines()) + b"{", 6),
    ],
)
def test_a_ledger_that_does_not_hold_is_named_with_its_line(data: bytes, line: int) -> None:
    findings = check(changed(PartKind.LEDGER, "ledger.jsonl", data)).findings
    assert ExportFlaw(what=ExportFlawKind.LEDGER, name="ledger", line=line) in findings


def test_a_head_that_is_none_is_no_end() -> None:
    findings = check(changed(PartKind.HEAD, "ledger.head", b"{}")).findings
    assert findings == (ExportFlaw(what=ExportFlawKind.LEDGER, name="ledger", line=1),)


def test_a_request_that_is_not_what_the_ledger_says_was_sent_is_found() -> None:
    other = replace(sealed(ONE), body=b"{}").encode()
    # The receipt is for what was really sent: the ledger still knows that body.
    assert found(changed(PartKind.SENT, f"{ONE}.request", other)) == [(ExportFlawKind.SENT_CHANGED, f"{ONE}.request")]


def test_a_request_that_left_unrecorded_is_found() -> None:
    more = [
        Part.of(PartKind.SENT, f"{TWO}.request", sealed(TWO).encode()),
        Part.of(PartKind.SENT, f"{TWO}.attempted", b"{}"),
    ]
    assert found([*PARTS, *more]) == [(ExportFlawKind.SENT_UNRECORDED, f"{TWO}.request")]
    assert found([*PARTS, more[0]]) == []  # written, and never marked: it did not leave


def test_a_request_that_was_sent_and_is_gone_is_missing_unless_it_waits_or_was_purged() -> None:
    left = without(PartKind.SENT, f"{ONE}.request")
    assert found(left) == [(ExportFlawKind.SENT_MISSING, ONE)]
    assert found([*left, Part.of(PartKind.HELD, ONE, sealed(ONE).encode())]) == []


# ---- a ledger that broke


def broken() -> list[Part]:
    files, _ = life()
    data = files.read(PATHS.ledger, max_bytes=10**6) or b""
    files.put(PATHS.ledger, data.replace(b"ConsentGiven", b"ConsentTaken"))
    open_ledger(files, PATHS, NOW)
    return [*export.parts(gathered(files))]


def test_what_an_older_ledger_says_still_counts() -> None:
    assert found(broken()) == []
    assert check(broken()).entries == 1


def test_a_broken_ledger_that_is_not_there_or_not_as_it_was_is_found() -> None:
    name = "ledger.1.broken"
    left = [part for part in broken() if part.name != name]
    assert (ExportFlawKind.BROKEN, name) in found(left)
    assert (ExportFlawKind.BROKEN, name) in found([*left, Part.of(PartKind.BROKEN, name, b"")])


def test_gaps_are_counted() -> None:
    files, book = life()
    book.append(EntryKind.GAP_FOUND, NOW, seconds=200_000)
    assert check(export.parts(gathered(files))).gaps == 1


# ---- roots and receipts


def test_another_root_than_this_machines_is_said() -> None:
    checked = check(PARTS, "0" * 64)
    assert checked.findings == (ExportFlaw(what=ExportFlawKind.ROOT_OTHER, name="root"),)
    assert (checked.root, checked.root_known) == (ROOT.digest, False)


def test_without_a_root_of_its_own_a_machine_can_only_say_which_it_is() -> None:
    checked = check(PARTS, None)
    assert checked.good
    assert (checked.root, checked.root_known) == (ROOT.digest, None)


def test_a_root_that_does_not_verify_is_none_and_proves_no_receipt() -> None:
    checked = check(changed(PartKind.ROOT, "root.jws", signing.root(signers=signing.ROOTS[:1])))
    assert checked.findings[0] == ExportFlaw(what=ExportFlawKind.ROOT, name="root")
    assert {finding.what for finding in checked.findings[1:]} == {ExportFlawKind.RECEIPT}
    assert (checked.root, checked.root_known) == (None, None)


def test_a_receipt_is_good_under_the_root_of_its_day() -> None:
    newer = signing.signer("receipt 2")
    second = signing.root(seq=2, keys=signing.role_keys(receipt=[newer]))
    late = Part.of(PartKind.RECEIPT, "late.jwt", signing.receipt(READY, by=newer))
    assert found([*PARTS, late]) == [(ExportFlawKind.RECEIPT, "late.jwt")]
    assert found([*PARTS, late, Part.of(PartKind.ROOTS, "roots.jws", second)]) == []
    assert found([*PARTS, Part.of(PartKind.ROOTS, "roots.jws", b"")]) == []
    assert (ExportFlawKind.ROOT, "root") in found([*PARTS, Part.of(PartKind.ROOTS, "roots.jws", b"x.y")])


def test_a_receipt_that_nobody_signed_and_one_for_nothing_sent_are_found() -> None:
    name = f"{ONE}.jwt"
    forged = signing.receipt(sealed(ONE).body, by=signing.AGENT)
    assert found(changed(PartKind.RECEIPT, name, forged)) == [(ExportFlawKind.RECEIPT, name)]
    assert found(changed(PartKind.RECEIPT, name, signing.receipt(b"never sent"))) == [
        (ExportFlawKind.RECEIPT_STRAY, name)
    ]
    assert found(without(PartKind.READY)) == [(ExportFlawKind.RECEIPT_STRAY, "erase.jwt")]


def test_a_receipt_for_a_body_that_only_its_copy_tells_is_no_stray() -> None:
    """A license request that was carried by hand has no word in the ledger."""
    more = [
        Part.of(PartKind.SENT, f"{TWO}.request", sealed(TWO).encode()),
        Part.of(PartKind.RECEIPT, f"{TWO}.jwt", signing.receipt(sealed(TWO).body)),
    ]
    assert found([*PARTS, *more]) == []
    assert found([*PARTS, replace(more[0], data=None), more[1]]) == [(ExportFlawKind.RECEIPT_STRAY, f"{TWO}.jwt")]


def test_an_auditor_can_read_it_with_any_json_reader() -> None:
    lines = [json.loads(line) for line in FILE.splitlines()]
    assert lines[0] == {"schema": 1, "export": "opanel-agent", "as_of": NOW, "agent": "0.1.0"}
    assert lines[-1]["parts"] == len(lines) - 2
    by_name = {line["name"]: line for line in lines[1:-1]}
    assert by_name["consent.toml"]["text"] == "schema = 1  # bizim\n"
    assert "base64" in by_name[f"{ONE}.reply"]
    assert set(by_name["bundle.jws"]) == {"part", "name", "sha256"}


def test_a_root_of_the_export_is_the_first_of_the_installation() -> None:
    assert root_document.first(signing.root()).digest == ROOT.digest
