"""What may leave is shown as it is now: by `status`, its JSON and its metrics, whatever the last pass saw."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Terminal
from fixtures.counters import CountedOptOuts
from fixtures.daemon.fake_daemon import answer, fake_daemon
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.opt_outs import PROCESS_ENVIRONMENT
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.errors import Unreadable
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.resources import installed_notice

USAGE = "usage_statistics"
YES = f'schema = 1\nnotice = "{installed_notice()}"\n[purposes.{USAGE}]\nallow = true\n'


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.optouts = LocalOptOuts(terminal.files, terminal.paths, {})
    write(terminal.paths.consent, YES)
    return terminal


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(exist_ok=True, mode=0o755)
    path.write_text(text)
    path.chmod(0o644)


def answer_of_the_last_pass(*, permitted: bool, **consent: Json) -> dict[str, Any]:
    purposes: dict[str, Json] = {str(purpose): {"permitted": permitted, "reasons": []} for purpose in POLICIES}
    return answer() | {"consent": {"schema": 1, "purposes": purposes, "do_not_track": [], "offline": [], **consent}}


def shown(terminal: Terminal, answered: dict[str, Any]) -> tuple[bool, bool, bool]:
    """What the screen, the JSON and the metrics say of usage statistics."""
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered)
        screen = terminal.type("status").out
        envelope = terminal.type("status", "--json").json()["result"]
        metrics = terminal.type("status", "--metrics").out
    return (
        bool(re.search("Sends (?:(?!Not sent).)*usage statistics", " ".join(screen.split()))),
        envelope["consent"]["purposes"][USAGE]["permitted"],
        f'opanel_agent_purpose_permitted{{purpose="{USAGE}"}} 1' in metrics,
    )


class CountedFiles(LocalFiles):
    """This machine's files; how often each was read."""

    def __init__(self) -> None:
        self.readings: Counter[Path] = Counter()

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        self.readings[path] += 1
        return super().read(path, max_bytes=max_bytes, owners=owners, follow=follow)


@pytest.mark.parametrize(
    "typed",
    [
        ("status",),
        ("status", "--json"),
        ("status", "--metrics"),
        ("consent", "show"),
        ("consent", "why", USAGE),
        ("dnt", "explain"),
    ],
)
def test_what_is_shown_together_rests_on_one_reading(terminal: Terminal, typed: tuple[str, ...]) -> None:
    """Else the rows of one screen could contradict each other, where a file changes while it is made."""
    files = terminal.files = CountedFiles()
    opt_outs = terminal.optouts = CountedOptOuts(LocalOptOuts(files, terminal.paths, {}))
    write(terminal.paths.settings, "schema = 1\n")
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer_of_the_last_pass(permitted=False))
        assert terminal.type(*typed).status == 0
        assert len(daemon.asked) == 1
    assert opt_outs.readings == 1
    assert {path: files.readings[path] for path in (terminal.paths.settings, terminal.paths.consent)} == {
        terminal.paths.settings: 1,
        terminal.paths.consent: 1,
    }


def _offline(terminal: Terminal) -> None:
    write(terminal.paths.offline)


def _do_not_track(terminal: Terminal) -> None:
    write(terminal.paths.do_not_track)


def _machine_do_not_track(terminal: Terminal) -> None:
    write(terminal.paths.machine_do_not_track)


def _typing_error(terminal: Terminal) -> None:
    write(terminal.paths.consent, YES.replace("allow", "alow"))


def _denied(terminal: Terminal) -> None:
    write(terminal.paths.consent, YES.replace("true", "false"))


def _policy(terminal: Terminal) -> None:
    write(terminal.paths.consent_dir / "10.toml", f"schema = 1\n[purposes.{USAGE}]\nallow = false\n")


def _environment(terminal: Terminal) -> None:
    write(terminal.paths.environment_files[0], "DO_NOT_TRACK=1\n")


NARROWINGS = (_offline, _do_not_track, _machine_do_not_track, _typing_error, _denied, _policy, _environment)


@pytest.mark.parametrize("narrow", NARROWINGS)
def test_a_no_is_shown_at_once_though_the_last_pass_saw_a_yes(
    terminal: Terminal, narrow: Callable[[Terminal], None]
) -> None:
    assert shown(terminal, answer_of_the_last_pass(permitted=True)) == (True, True, True)
    narrow(terminal)
    assert shown(terminal, answer_of_the_last_pass(permitted=True)) == (False, False, False)


def test_a_no_that_is_gone_is_shown_no_longer(terminal: Terminal) -> None:
    assert shown(terminal, answer_of_the_last_pass(permitted=False)) == (True, True, True)


@pytest.mark.parametrize("reason", ["ledger", "clone", "region"])
def test_what_only_the_agent_knows_still_denies(terminal: Terminal, reason: str) -> None:
    answered = answer_of_the_last_pass(permitted=True)
    answered["consent"]["purposes"][USAGE] = {
        "permitted": False,
        "reasons": [{"reason": reason, "what": None, "place": "ledger.jsonl", "line": None}],
    }
    assert shown(terminal, answered) == (False, False, False)


def test_the_daemons_own_environment_still_denies(terminal: Terminal) -> None:
    answered = answer_of_the_last_pass(
        permitted=True, do_not_track=[{"what": "DO_NOT_TRACK=1", "place": PROCESS_ENVIRONMENT, "line": None}]
    )
    answered["consent"]["purposes"][USAGE] = {
        "permitted": False,
        "reasons": [{"reason": "opt_out", "what": "DO_NOT_TRACK=1", "place": PROCESS_ENVIRONMENT, "line": None}],
    }
    assert shown(terminal, answered) == (False, False, False)


def test_without_a_daemon_its_last_word_is_corrected_too(terminal: Terminal) -> None:
    write(terminal.paths.answer, json.dumps(answer_of_the_last_pass(permitted=True)))
    terminal.paths.answer.parent.chmod(0o700)
    assert terminal.type("status", "--json").json()["result"]["consent"]["purposes"][USAGE]["permitted"]
    _offline(terminal)
    assert not terminal.type("status", "--json").json()["result"]["consent"]["purposes"][USAGE]["permitted"]


class NotForThisUser(LocalFiles):
    """Files that only root may read."""

    def __init__(self, forbidden: Path) -> None:
        super().__init__()
        self._forbidden = forbidden

    def read(self, path: Path, **how: Any) -> bytes | None:
        if path == self._forbidden:
            raise Unreadable(Fault.IO_FAILED, "read_failed", file=str(path), errno="EACCES")
        return super().read(path, **how)


@pytest.mark.parametrize("name", ["consent", "settings"])
def test_who_may_not_read_the_files_is_told_what_the_agent_read(terminal: Terminal, name: str) -> None:
    terminal.files = NotForThisUser(getattr(terminal.paths, name))
    for permitted in (True, False):
        assert shown(terminal, answer_of_the_last_pass(permitted=permitted)) == (permitted,) * 3
