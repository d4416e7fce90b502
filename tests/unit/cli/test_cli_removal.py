"""`license remove` and `data purge`: a person at a terminal is shown what goes and asked; a script is not."""

from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import FakeDaemon, answer, fake_daemon
from fixtures.pseudo_terminal import TypedAt
from opanel_agent.core.units import LANGUAGES, Language

WAITS, LEFT, GONE, KEY = (f"{kind}-0123456789abcdef" for kind in ("crash", "usage", "usage", "activation"))
GONE = GONE.replace("0", "9")
COMMANDS: Final = {("license", "remove"): "/v1/remove", ("data", "purge"): "/v1/purge"}
YES: Final = {"en": "y", "tr": "e"}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def says_all(daemon: FakeDaemon) -> None:
    daemon.says("/v1/answer", answer(license={"id": "c66a710d", "product": "opanel", "tier": "pro"}))
    daemon.done("/v1/held", {"held": [{"id": WAITS}]})
    rows: Any = [
        {"id": LEFT, "purpose": "usage_statistics", "copy": "kept"},
        {"id": GONE, "purpose": "usage_statistics", "copy": "purged"},
        {"id": KEY, "purpose": "license_activation", "copy": "kept"},
    ]
    daemon.done("/v1/sent", {"sent": rows, "of": 3})
    daemon.done("/v1/purge", {"purged": [WAITS, LEFT], "ready": None})
    daemon.done("/v1/remove", {"removed": True})


def removed(daemon: FakeDaemon, command: tuple[str, str]) -> bool:
    return COMMANDS[command] in [path for path, _ in daemon.posts()]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("agrees", [True, False])
def test_who_sits_at_it_is_shown_what_goes_and_asked(
    terminal: Terminal, command: tuple[str, str], lang: Language, *, agrees: bool
) -> None:
    terminal.lang, terminal.sits = lang, True
    terminal.teletype = person = TypedAt(types=[YES[lang] if agrees else ""])
    with fake_daemon(terminal.paths.socket) as daemon:
        says_all(daemon)
        printed = terminal.type(*command)
        assert removed(daemon, command) is agrees
    assert printed.status == (0 if agrees else 1)
    assert person.prompts[0].endswith("[y/N]" if lang == "en" else "[e/H]")
    shown = person.text
    if command == ("license", "remove"):
        assert "c66a710d" in shown
    else:
        assert [name in shown for name in (WAITS, LEFT, GONE, KEY)] == [True, True, False, False]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flags", [("--yes",), ("--json",), ("--wait", "3", "--yes")])
def test_who_sits_at_it_can_forgo_the_question(
    terminal: Terminal, command: tuple[str, str], flags: tuple[str, ...]
) -> None:
    terminal.sits = True
    terminal.teletype = person = TypedAt()
    with fake_daemon(terminal.paths.socket) as daemon:
        says_all(daemon)
        assert terminal.type(*command, *flags).status == 0
        assert removed(daemon, command)
    assert person.prompts == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_is_not_asked_although_its_session_has_a_terminal(
    terminal: Terminal, command: tuple[str, str]
) -> None:
    terminal.teletype = person = TypedAt()
    with fake_daemon(terminal.paths.socket) as daemon:
        says_all(daemon)
        assert terminal.type(*command).status == 0
        assert removed(daemon, command)
    assert person.prompts == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_shows_what_would_go_and_changes_nothing(terminal: Terminal, command: tuple[str, str]) -> None:
    terminal.sits = True
    terminal.teletype = person = TypedAt()
    with fake_daemon(terminal.paths.socket) as daemon:
        says_all(daemon)
        printed = terminal.type(*command, "--dry-run")
        result = terminal.type(*command, "--dry-run", "--json").json()["result"]
        assert not removed(daemon, command)
    assert (printed.status, person.prompts) == (0, [])
    if command == ("license", "remove"):
        assert "License c66a710d (opanel, tier pro)" in printed.out
        assert result == {"removed": False, "license": "c66a710d"}
    else:
        assert f"To be deleted: {LEFT}\n" in printed.out
        assert result == {"purged": [], "would_purge": [WAITS, LEFT]}


def test_a_dry_run_says_that_there_is_nothing(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer())
        daemon.done("/v1/held", {"held": []})
        daemon.done("/v1/sent", {"sent": []})
        assert terminal.type("license", "remove", "--dry-run").out == "No license is installed.\n"
        assert "No report" in terminal.type("data", "purge", "--dry-run").out
