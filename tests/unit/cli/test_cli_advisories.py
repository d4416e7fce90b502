"""`advisories`: the vendor's words in the reader's language, from the last answer, whoever asks."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import answer, fake_daemon
from opanel_agent.cli.display.output import COLUMNS

GRAVE: dict[str, Any] = {
    "id": "adv-2",
    "seq": 2,
    "severity": "critical",
    "title": {"tr": "Uzaktan kod çalıştırma", "en": "Remote code execution"},
    "body": {"tr": "Hemen güncelleyin. " * 20, "en": "Update at once. " * 20},
    "fixed_in": "1.2.4",
    "exp": 1,
}
OPEN: dict[str, Any] = GRAVE | {"id": "adv-3", "severity": "of_tomorrow", "fixed_in": None}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def typed(terminal: Terminal, *argv: str, advisories: Any, **more: Any) -> Any:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer() | {"advisories": advisories} | more)
        return terminal.type("advisories", *argv)


def test_each_is_told_in_english_on_80_columns(terminal: Terminal) -> None:
    printed = typed(terminal, advisories=[GRAVE, OPEN])
    lines = printed.out.splitlines()
    assert (printed.status, printed.err) == (0, "")
    assert lines[0] == "Remote code execution (critical) [adv-2]"
    assert "Remote code execution (of_tomorrow) [adv-3]" in lines
    assert " ".join(printed.out.split()).count("Update at once.") == 40
    assert "  Fixed in version 1.2.4." in lines
    assert "  Not fixed in any version yet." in lines
    assert max(map(len, lines)) <= COLUMNS


def test_and_in_turkish(terminal: Terminal) -> None:
    terminal.lang = "tr"
    lines = typed(terminal, advisories=[GRAVE]).out.splitlines()
    assert lines[0] == "Uzaktan kod çalıştırma (kritik) [adv-2]"
    assert "  Giderildiği sürüm: 1.2.4." in lines


def test_the_envelope_has_both_languages(terminal: Terminal) -> None:
    assert typed(terminal, "--json", advisories=[GRAVE]).json()["result"] == {"advisories": [GRAVE]}


def test_none_and_why_none_may_come(terminal: Terminal) -> None:
    assert typed(terminal, advisories=[]).out == "There are no security advisories.\n"
    denied = {"permitted": False, "reasons": [{"reason": "offline", "what": "offline", "place": "/etc", "line": None}]}
    printed = typed(terminal, advisories=[], consent={"purposes": {"security_advisories": denied}})
    assert printed.status == 0
    assert "Advisories are not being fetched: offline mode is in force." in printed.out


@pytest.mark.parametrize(
    "broken",
    [{"id": 1}, {"title": "x"}, {"title": {"tr": "x", "en": "a\nb"}}, {"severity": None}, {"body": {"tr": "x"}}],
)
def test_an_advisory_that_is_none_is_the_daemon_s_fault(terminal: Terminal, broken: dict[str, Any]) -> None:
    assert typed(terminal, advisories=[GRAVE | broken]).status == 69


def test_the_last_answer_tells_them_with_the_daemon_stopped(terminal: Terminal) -> None:
    assert terminal.type("advisories").status == 69
    terminal.paths.runtime_dir.mkdir()
    terminal.paths.answer.write_text(json.dumps(answer() | {"advisories": [GRAVE]}))
    printed = terminal.type("advisories")
    assert (printed.status, "Remote code execution" in printed.out) == (0, True)
    assert "not running" in printed.err
