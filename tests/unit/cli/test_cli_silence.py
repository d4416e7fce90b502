"""`prove-silence` as it is typed: one screen in both languages, every finding in words, what is missing said."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Terminal
from fixtures.silence import planted_agent, silence_server
from fixtures.silence.silence_server import Server
from opanel_agent.cli import silence
from opanel_agent.cli.display.output import CommandResult, Console
from opanel_agent.cli.parser import Options
from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.messages import translate
from opanel_agent.silence import runner, strace
from opanel_agent.silence.judge import Scenario, ViolationKind
from opanel_agent.silence.life import typed_lines
from opanel_agent.silence.runner import ProofTools

ROWS, COLUMNS = 24, 80


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def typed(server: Server, lang: Language, means: ProofTools, **values: str) -> tuple[CommandResult, str]:
    """What the command came to, and what it said on stderr before."""
    err = io.StringIO()
    world = Terminal(folder=server.folder, lang=lang).world(Console(out=io.StringIO(), err=err))
    options = Options(values={f"--{name}": value for name, value in values.items()})
    return silence.prove(options, world, means), err.getvalue()


def rendered(server: Server, lang: Language, result: dict[str, Any]) -> list[str]:
    world = Terminal(folder=server.folder, lang=lang).world(Console(out=io.StringIO(), err=io.StringIO()))
    return [part for line in silence._lines(world, result) for part in line]


def scenario(name: str = "denied", *why: str) -> dict[str, Any]:
    return {
        "name": name,
        "ok": not why,
        "packets": 7552,
        "connections": 486,
        "udp": 0,
        "requests": [{"count": 240, "line": "GET /v1/status.jwt HTTP/1.1", "host": "mirror.example"}] * 3,
        "strace": True,
        "why": [{"code": code, "process": "evaluate", "count": 3, "what": "AF_INET"} for code in why],
    }


def result(*scenarios: dict[str, Any], not_run: tuple[str, ...] = ()) -> dict[str, Any]:
    names = ("idle", "connect", "connect6", "lookup", "path_socket")
    return {
        "verdict": "proven" if all(each["ok"] for each in scenarios) else "not_proven",
        "days": 30,
        "scenarios": list(scenarios),
        "controls": [{"name": name, "ok": True, "packets": 0, "strace": True} for name in names],
        "not_run": [{"code": code} for code in not_run],
    }


def test_the_command_is_there() -> None:
    assert [command.words for command in COMMANDS].count(("prove-silence",)) == 1


@pytest.mark.parametrize("lang", LANGUAGES)
def test_it_fits_one_screen(server: Server, lang: Language) -> None:
    """But for the requests of commands, which are listed one by one, and what no run covers."""
    lines = rendered(server, lang, result(*map(scenario, Scenario), not_run=("cage", "answers")))
    commands = rendered(server, lang, {**result(scenario("commands")), "controls": []})
    assert len(lines) - len(commands) <= ROWS
    assert [line for line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("code", ViolationKind)
def test_every_finding_has_words_and_names_the_process(server: Server, lang: Language, code: str) -> None:
    lines = rendered(server, lang, result(scenario("offline", code)))
    text = " ".join(" ".join(lines).split())
    assert "(evaluate: AF_INET)" in text
    assert translate(silence.FINDINGS[code], lang, count="3") in text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_codes_of_everything_left_out_have_words(server: Server, lang: Language) -> None:
    codes = {*runner.MISSING, runner.RUN_FAILED, "strace_absent", "strace_refused", "ipv6_absent", runner.CAGE}
    assert codes <= silence.LEFT_OUT.keys()
    assert {*Scenario} == {*silence.SCENARIOS}
    for code in silence.LEFT_OUT:
        assert any(line.startswith("- ") for line in rendered(server, lang, result(not_run=(code,))))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_no_run_covers_is_said_in_words(server: Server, lang: Language) -> None:
    assert {*runner.NOT_COVERED, runner.WEEKDAYS} == {*silence.NOT_COVERED}
    proof = {**result(scenario()), "not_covered": [*silence.NOT_COVERED]}
    text = " ".join(" ".join(rendered(server, lang, proof)).split())
    for sentence in silence.NOT_COVERED.values():
        assert translate(sentence, lang) in text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_what_could_not_be_typed_is_named_with_its_reason(server: Server, lang: Language) -> None:
    assert {*typed_lines.NOT_TYPED} == {*silence.NOT_TYPED}
    not_typed = [{"line": f"line {code}", "code": code} for code in silence.NOT_TYPED]
    proof = {**result({**scenario("commands"), "not_typed": not_typed}), "not_covered": ["kernel"]}
    text = " ".join(" ".join(rendered(server, lang, proof)).split())
    for code, sentence in silence.NOT_TYPED.items():
        assert f"{translate('prove.not_typed', lang, line=f'line {code}')}: {translate(sentence, lang)}" in text


def test_how_many_lines_were_typed_and_how_many_sent_nothing_is_said(server: Server) -> None:
    lines = [{"line": name, "sends": sends, "packets": packets} for name, sends, packets in TYPED]
    text = "\n".join(rendered(server, "en", result({**scenario("commands"), "commands": lines})))
    assert "Commands run: 3; of these, documented as sending nothing, with 0 packets: 1" in text


TYPED = (("status", "nothing", 0), ("notice", "nothing", 2), ("license refresh", "fixed", 0))


def test_only_the_servers_own_requests_are_listed(server: Server) -> None:
    lines = rendered(server, "en", result(scenario("as_it_stands"), scenario("denied")))
    assert lines.count("    240 × GET /v1/status.jwt HTTP/1.1 (mirror.example)") == 3


def test_a_control_that_saw_nothing_is_named(server: Server) -> None:
    proof = result(scenario())
    proof["controls"][3]["ok"] = False
    assert "  The kernel or strace missed what it had to see: lookup" in rendered(server, "en", proof)


def test_without_calls_watched_it_does_not_say_that_they_were(server: Server) -> None:
    watched = "strace also watched every process"
    proof = result(scenario())
    assert any(line.startswith(watched) for line in rendered(server, "en", proof))
    proof["scenarios"][0]["strace"] = False
    assert not any(line.startswith(watched) for line in rendered(server, "en", proof))


@pytest.mark.parametrize(("lang", "verdict"), [("en", "Not proven."), ("tr", "Kanıtlanamadı.")])
def test_what_is_missing_is_said_with_69(server: Server, lang: Language, verdict: str) -> None:
    outcome, err = typed(server, lang, ProofTools(unshare="no-such-unshare"))
    assert outcome.exit_status == 69
    assert outcome.lines[0] == verdict
    assert "util-linux" in " ".join(outcome.lines)
    assert "30" in err  # it takes a while: that is said before


@pytest.mark.parametrize("days", ["0", "367", "x", "-1"])
def test_the_days_are_a_number_that_can_be_lived(server: Server, days: str) -> None:
    with pytest.raises(Usage):
        typed(server, "en", ProofTools(unshare="no-such-unshare"), days=days)


@pytest.mark.slow
@pytest.mark.parametrize(("leak", "status", "first"), [(None, 0, "Proven: offline"), ("evaluate", 1, "Not proven.")])
def test_the_whole_command(server: Server, leak: str | None, status: int, first: str) -> None:
    silence_server.namespaces_or_skip()
    python = sys.executable if leak is None else planted_agent.plant(server.folder, leak)
    means = ProofTools(program=silence_server.program(python), scenarios=(Scenario.OFFLINE,))
    err = Screen()
    world = Terminal(folder=server.folder).world(Console(out=io.StringIO(), err=err))
    outcome = silence.prove(Options(values={"--days": "1"}), world, means)
    runs = 3 if strace.available() is None else 2  # the controls, the scenario, and that again under strace
    shown = [text.strip() for text in err.getvalue().split("\r")]
    assert [f"{done} of {runs} runs finished" in shown for done in range(1, runs + 1)] == [True] * runs
    assert shown[-1] == ""
    assert outcome.exit_status == status
    assert outcome.lines[0].startswith(first)
    watched = [line for line in outcome.lines if line.startswith("strace also watched")]
    assert bool(watched) is (strace.available() is None)


@pytest.mark.slow
def test_the_program_that_is_installed_runs_itself(server: Server) -> None:
    """As a person's command does, where the package is installed for this interpreter."""
    silence_server.namespaces_or_skip()
    proof = runner.prove(
        Terminal(folder=server.folder).files,
        server.paths,
        1,
        ProofTools(scenarios=(Scenario.OFFLINE,), use_strace=False),
    )
    not_run: Any = proof.result["not_run"]
    if any("No module named" in each.get("told", "") for each in not_run):
        pytest.skip("the package is not installed for this interpreter (tests/run installs it)")
    assert proof.exit_status == 0, proof.result
