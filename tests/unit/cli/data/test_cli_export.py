"""Proves what `verify FILE` says of an export, in both languages, on a machine with a root of its own and on one without.

That the check finds what is wrong is proven in test_export; here, that nothing found is left unsaid or said with status 0.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fixtures import signing
from fixtures.command_line import Terminal, environment
from fixtures.simulated.memory_files import MemoryFiles
from fixtures.simulated.system_paths import PATHS
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.ledger.export import ExportFlawKind
from opanel_agent.core.units import LANGUAGES
from opanel_agent.evaluate import export
from opanel_agent.evaluate.storage.ledger_file import open_ledger
from opanel_agent.messages import translate

ROOT: Final = signing.trusted_root()
AGENT: Final = Path(__file__).parents[4] / "agent"


def made(*, gap: bool = False) -> bytes:
    files = MemoryFiles()
    book = open_ledger(files, PATHS, signing.NOW)
    book.append(EntryKind.CONSENT_GIVEN, signing.NOW, purpose="usage_statistics")
    if gap:
        book.append(EntryKind.GAP_FOUND, signing.NOW, seconds=200_000)
    return export.gather(files, PATHS, ROOT)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def laid(terminal: Terminal, data: bytes) -> str:
    file = terminal.folder / "export.jsonl"
    file.write_bytes(data)
    return str(file)


def test_a_good_export_is_good_and_its_root_is_this_machines(terminal: Terminal) -> None:
    terminal.trust()
    printed = terminal.type("verify", laid(terminal, made()))
    assert (printed.status, printed.err) == (0, "")
    first, counts, root = printed.out.splitlines()
    assert first == "Valid: everything in this export is consistent."
    assert "2 ledger entries, 0 sent requests, 0 receipts" in counts
    assert root == f"Root of trust: {ROOT.digest}, the same that this machine trusts."


def test_a_machine_without_an_agent_prints_the_digest_to_compare(terminal: Terminal) -> None:
    printed = terminal.type("verify", laid(terminal, made()))
    assert printed.status == 0
    assert f"Root of trust: {ROOT.digest}. This machine has no root" in printed.out


def test_settings_that_are_refused_are_no_root_to_compare_with(terminal: Terminal) -> None:
    terminal.trust()
    terminal.paths.settings.write_text("schema = 2\n")
    assert "This machine has no root" in terminal.type("verify", laid(terminal, made())).out


def test_another_root_is_said_and_is_not_good(terminal: Terminal) -> None:
    terminal.trust(signing.root(seq=2))
    printed = terminal.type("verify", laid(terminal, made()))
    assert printed.status == 1
    assert printed.out.splitlines()[:2] == [
        "Not valid: 1 inconsistencies.",
        "- The roots of trust start from a different root than this machine's.",
    ]
    assert "NOT the one that this machine trusts" in printed.out


def test_an_edited_ledger_is_named_with_its_line(terminal: Terminal) -> None:
    edited = made().replace(b"ConsentGiven", b"ConsentTaken")
    printed = terminal.type("verify", laid(terminal, edited))
    assert printed.status == 1
    assert "- The ledger is not valid from its line 2 on" in printed.out
    result = terminal.type("verify", laid(terminal, edited), "--json").json()["result"]
    assert result["good"] is False
    assert {"code": "ledger", "name": "ledger", "line": 2} in [
        {name: each[name] for name in ("code", "name", "line")} for each in result["findings"]
    ]


def test_a_root_that_is_none_and_a_gap_are_said(terminal: Terminal) -> None:
    broken = made(gap=True).replace(b'"part":"root"', b'"part":"rout"')
    printed = terminal.type("verify", laid(terminal, broken))
    assert printed.status == 1
    assert "none could be verified" in printed.out
    assert "records 1 intervals of more than 48 hours without a daily mark" in printed.out


def test_as_json_it_says_everything(terminal: Terminal) -> None:
    terminal.trust()
    result = terminal.type("verify", laid(terminal, made()), "--json").json()["result"]
    assert result == {
        "good": True,
        "as_of": signing.NOW,
        "agent": result["agent"],
        "parts": 6,
        "entries": 2,
        "sent": 0,
        "receipts": 0,
        "gaps": 0,
        "root": ROOT.digest,
        "root_known": True,
        "findings": [],
    }


def test_it_reads_standard_input(terminal: Terminal) -> None:
    assert terminal.type("verify", "-", stdin=made()).status == 0


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("what", ExportFlawKind)
def test_every_finding_has_a_sentence(lang: str, what: ExportFlawKind) -> None:
    sentence = translate(f"finding.{what}", "tr" if lang == "tr" else "en", name="ledger.jsonl", line=7)
    assert sentence.endswith(".")


def test_what_is_no_export_no_file_or_not_there_is_refused(terminal: Terminal) -> None:
    printed = terminal.type("verify", laid(terminal, b"hello"))
    assert printed.status == 65
    assert "cannot check this file: it is not an export of opanel-agent" in printed.err
    assert terminal.type("verify", str(terminal.folder / "absent")).status == 74
    assert terminal.type("verify", str(terminal.folder)).status == 65
    assert terminal.type("verify").status == 64


@pytest.mark.slow
def test_a_process_without_any_installation_verifies(tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_bytes(made())
    ran = subprocess.run(
        [sys.executable, "-m", "opanel_agent", "verify", str(file), "--json"],
        env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(ran.stdout)["result"]["good"] is True
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("xdg")] == ["xdg-run"]
