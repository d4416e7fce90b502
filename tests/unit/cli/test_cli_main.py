"""The command line itself: what is typed wrongly is one sentence, a cure and 64; no failure ends in a traceback."""

import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

import opanel_agent
from fixtures.command_line import Terminal, environment
from fixtures.daemon.fake_daemon import answer, fake_daemon
from fixtures.daemon.live_daemon import until
from opanel_agent.cli.display.output import CommandResult, Console, envelope
from opanel_agent.cli.main import PROCESSES, main, run
from opanel_agent.cli.parser import Options, read
from opanel_agent.core.codes import Fault
from opanel_agent.core.commands import COMMANDS, Command
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Storage, Usage
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.messages import translate

AFTER: dict[Language, str] = {"en": "started by systemd: ", "tr": "başlattığı süreçler: "}
AGENT = Path(opanel_agent.__file__).parent.parent


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def typed(folder: Path, *argv: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A real process of a user installation that lies in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "opanel_agent", *argv],
        env=environment(folder, **{"PYTHONPATH": str(AGENT), **more}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("argv", "detail"),
    [
        ([], "command_missing"),
        (["frob"], "command_unknown"),
        (["license", "frob"], "command_unknown"),
        (["statsu"], "command_like"),
        (["license", "instal", "x"], "command_like"),
        (["status", "--frob"], "option_unknown"),
        (["status", "--chec"], "option_like"),
        (["status", "--check=yes"], "option_like"),
        (["status", "-c"], "option_unknown"),
        (["status", "now"], "operand_unexpected"),
        (["license", "verify"], "operand_missing"),
        (["license", "verify", "a", "b"], "operand_unexpected"),
        (["license", "verify", "--", "--json", "x"], "operand_unexpected"),
        (["license", "activate", "-o"], "option_value"),
        (["license", "refresh", "--wait", "31"], "option_number"),
        (["license", "refresh", "--wait", "-1"], "option_number"),
        (["license", "refresh", "--wait=1.5"], "option_number"),
        (["license", "refresh", "--wait=²"], "option_number"),
        (["license", "refresh", "--wait="], "option_number"),
        (["status", "--lang", "de"], "language_unknown"),
        (["status", "--lang"], "option_value"),
        (["status", "--check", "--metrics"], "options_exclusive"),
        (["status", "--check", "--json"], "options_exclusive"),
        (["daemon", "--now"], "command_unknown"),
    ],
)
def test_what_is_typed_wrongly_is_a_sentence_a_cure_and_64(terminal: Terminal, argv: list[str], detail: str) -> None:
    printed = terminal.type(*argv)
    title, hint, code = printed.err.splitlines()
    assert printed.status == 64
    assert title.startswith("cannot ")
    assert hint.startswith("  what to do: ")
    assert code == f"  code: usage ({detail})"
    assert "--json" in argv or printed.out == ""


@pytest.mark.parametrize("argv", [["--lang", "tr", "status", "--frob"], ["status", "--frob", "--lang=tr"]])
def test_a_mistake_is_told_in_the_language_that_was_asked_for(tmp_path: Path, argv: list[str]) -> None:
    printed = typed(tmp_path, *argv)
    assert printed.returncode == 64
    assert printed.stderr.startswith("“--frob” seçeneği kullanılamıyor")


def test_an_option_may_stand_before_the_command(terminal: Terminal) -> None:
    assert terminal.type("--json", "dnt", "explain").status == 0


def test_the_language_comes_from_the_settings_before_the_locale(tmp_path: Path) -> None:
    folder = tmp_path / "xdg-config" / "opanel-agent"
    folder.mkdir(parents=True)
    (folder / "agent.toml").write_text('schema = 1\nlanguage = "tr"\n')
    assert "bulunamıyor" in typed(tmp_path, "license", "verify", "absent").stderr
    assert "cannot find" in typed(tmp_path, "license", "verify", "absent", "--lang", "en").stderr
    assert "bulunamıyor" in typed(tmp_path, "license", "verify", "absent", LANG="en_US.UTF-8").stderr


def test_settings_that_are_refused_leave_the_locale_to_decide(tmp_path: Path) -> None:
    folder = tmp_path / "xdg-config" / "opanel-agent"
    folder.mkdir(parents=True)
    (folder / "agent.toml").write_text('schema = 1\nlanguage = "xx"\n')
    finished = typed(tmp_path, "license", "show", "--urls", LANG="tr_TR.UTF-8")
    assert finished.returncode == 78
    assert "“language”" in finished.stderr
    assert "kullanılamıyor" in finished.stderr


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_tells_its_options(terminal: Terminal, command: Command, lang: Language) -> None:
    terminal.lang = lang
    for flag in ("--help", "-h"):
        printed = terminal.type(*command.words, flag)
        assert printed.status == 0
        assert " ".join(["opanel-agent", *command.words][:2]) in printed.out
        assert all(option in printed.out for option in (*command.flags, *command.valued))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_first_page_names_every_command(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    page = terminal.type("--help").out
    words = {word for command in COMMANDS for word in command.words}
    assert sorted(word for word in words if word not in page) == []
    assert terminal.type("license", "--help").out == translate("help.license", lang) + "\n"


@pytest.mark.parametrize("argv", [("help",), ("help", "license"), ("help", "license", "install"), ("help", "status")])
def test_help_is_a_word_too(terminal: Terminal, argv: tuple[str, ...]) -> None:
    assert terminal.type(*argv) == terminal.type(*argv[1:], "--help")
    assert terminal.type(*argv).status == 0


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_process_that_the_first_page_names_has_a_page(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    named = set(re.findall(r"[a-z]+", terminal.type("--help").out.partition(AFTER[lang])[2].partition(".")[0]))
    assert named == PROCESSES
    for process in PROCESSES:
        for argv in ((process, "--help"), ("help", process)):
            printed = terminal.type(*argv)
            assert printed.status == 0
            assert f"  {process}  " in printed.out


def test_a_number_that_is_refused_is_outside_of_the_range_that_is_named(terminal: Terminal) -> None:
    assert "from 1 to 366" in terminal.type("prove-silence", "--days", "0").err
    assert "from 0 to 30" in terminal.type("license", "refresh", "--wait", "31").err


def test_a_group_alone_shows_its_usage(terminal: Terminal) -> None:
    printed = terminal.type("license")
    assert (printed.status, printed.out) == (64, translate("help.license", "en") + "\n")


def test_what_was_nearly_typed_right_is_offered(terminal: Terminal) -> None:
    assert "Did you mean “opanel-agent license install”?" in terminal.type("license", "instal", "x").err
    assert "Did you mean “--metrics”?" in terminal.type("status", "--metric").err


def test_the_version(terminal: Terminal) -> None:
    assert terminal.type("version").out == terminal.type("-V").out == terminal.type("--version").out
    assert terminal.type("--version").out == f"opanel-agent {opanel_agent.__version__}\n"
    assert terminal.type("--version", "--json").json()["result"] == {"version": opanel_agent.__version__}


def test_an_error_is_in_the_envelope_too(terminal: Terminal) -> None:
    printed = terminal.type("status", "--json")
    assert printed.status == 69
    document = printed.json()
    assert (document["schema"], document["result"], document["warnings"]) == (1, None, [])
    assert [error["code"] for error in document["errors"]] == ["not_running"]
    assert set(document["errors"][0]) == {"code", "title", "hint"}
    assert printed.err.startswith("cannot reach opanel-agent")


class Unforeseen:
    """Opt-outs that break as nothing of ours may."""

    def read(self) -> None:
        raise ZeroDivisionError("secret-value")


def test_a_fault_of_ours_shows_its_place_and_neither_its_message_nor_a_traceback(terminal: Terminal) -> None:
    terminal.optouts = Unforeseen()  # type: ignore[assignment]
    printed = terminal.type("dnt", "explain")
    assert printed.status == 70
    assert "ZeroDivisionError at " not in printed.err
    assert "ZeroDivisionError gate_view.py:" in printed.err
    assert "secret-value" not in printed.err + printed.out
    assert "Traceback" not in printed.err
    assert "code: internal (internal)" in printed.err


def loading(folder: Path, package: str, code: str) -> "subprocess.CompletedProcess[str]":
    """A command during which another package of that name is loaded, which runs this code."""
    place = folder / "site" / package
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(code + "\n")
    return typed(folder, "status", PYTHONPATH=f"{place.parent}:{AGENT}")


def test_ctrl_c_while_it_is_still_loading_leaves_no_traceback(tmp_path: Path) -> None:
    finished = loading(tmp_path, "json", "raise KeyboardInterrupt")
    assert (finished.returncode, finished.stderr) == (130, "")


def test_a_fault_before_there_is_a_world_is_told_the_same_way(tmp_path: Path) -> None:
    finished = loading(tmp_path, "tomllib", "raise ZeroDivisionError('secret-value')")
    assert finished.returncode == 70
    assert "ZeroDivisionError strict_toml.py:" in finished.stderr
    assert "secret-value" not in finished.stderr


def test_ctrl_c_says_nothing_and_ends_with_130(terminal: Terminal) -> None:
    class Interrupted:
        def read(self) -> None:
            raise KeyboardInterrupt

    terminal.optouts = Interrupted()  # type: ignore[assignment]
    printed = terminal.type("dnt", "explain")
    assert (printed.status, printed.out, printed.err) == (130, "", "")


def test_a_closed_output_is_an_error_and_not_silence(terminal: Terminal) -> None:
    err = io.StringIO()
    assert run(["dnt", "explain"], terminal.world(Console(out=None, err=err))) == 74
    assert err.getvalue().startswith("cannot print the result")
    assert run(["dnt", "explain"], terminal.world(Console(out=None, err=None))) == 74
    assert run(["status", "--json"], terminal.world(Console(out=None, err=io.StringIO()))) == 69


class Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_an_output_that_cannot_be_written_is_an_error(terminal: Terminal) -> None:
    err = io.StringIO()
    assert run(["dnt", "explain"], terminal.world(Console(out=Full(), err=err))) == 74
    assert "output_failed" in err.getvalue()
    assert run(["frob"], terminal.world(Console(out=io.StringIO(), err=Full()))) == 64


def test_a_reader_who_leaves_ends_it_quietly(tmp_path: Path) -> None:
    """As `opanel-agent … | head -0` does."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "opanel_agent", "--help"],
            env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (74, b"")


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", ">&- 2>&-"])
def test_a_process_without_output_ends_with_74(tmp_path: Path, redirection: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m opanel_agent --version {redirection}', sys.executable],
        env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 74
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_letters_that_the_terminal_lacks_are_no_error(tmp_path: Path) -> None:
    done = typed(tmp_path, "--help", "--lang", "tr", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "??" in done.stdout


def _waiting(pipe: IO[bytes]) -> int:
    """Bytes that nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_ctrl_c_of_a_real_process_leaves_no_traceback(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "opanel_agent", "license", "verify", "-"],
        env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdin = child.stdin
    assert stdin is not None
    with child:
        stdin.write(b"x")
        stdin.flush()
        until(lambda: not _waiting(stdin) or child.poll() is not None)  # it has read that, and waits for more
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err == b""


def test_a_name_that_would_move_the_cursor_does_not(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(reseller={"name": "Evil\x1b[2J", "email": None, "phone": None, "url": None}))
        printed = terminal.type("status")
    assert "\x1b" not in printed.out
    assert "Evil\\u001b[2J" in printed.out


def test_the_envelope_is_the_documented_one() -> None:
    document = json.loads(envelope(CommandResult(result={"ö": [1, None, True]})))
    assert document == {"schema": 1, "result": {"ö": [1, None, True]}, "warnings": [], "errors": []}


def test_options_and_operands_may_be_mixed_and_dashes_end_the_options() -> None:
    command = Command(("x",), "", valued=frozenset({"-o"}), operands=(0, 9), operand="F")
    options = read(command, ["a", "-o", "b", "--json", "-", "--", "--json", "-o"])
    assert options == Options(flags=frozenset({"--json"}), values={"-o": "b"}, operands=("a", "-", "--json", "-o"))
    with pytest.raises(Usage):
        read(command, ["-ob"])


def test_console_tells_a_full_disk_apart_from_a_reader_who_left() -> None:
    with pytest.raises(Storage) as caught:
        Console(out=Full(), err=None).write_line("x")
    assert caught.value.code is Fault.IO_FAILED


def test_the_processes_are_told_apart_before_anything_is_loaded(tmp_path: Path) -> None:
    code = "import sys; from opanel_agent.__main__ import main\nbefore = set(sys.modules)\nprint(*before)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(AGENT)}, check=True, capture_output=True, text=True
    )
    assert "opanel_agent.__main__" in done.stdout.split()
    assert not {"argparse", "json", "http", "opanel_agent.cli", "opanel_agent.messages"} & set(done.stdout.split())


@pytest.mark.parametrize("word", ["--help", "fetch"])
def test_what_ends_now_is_not_searched_for_garbage(tmp_path: Path, word: str) -> None:
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: sys.stderr.write(f'frozen {gc.get_freeze_count() > 10_000}'))  # runs last\n"
        "from opanel_agent.__main__ import main\n"
        f"sys.exit(main([{word!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
        input="everything\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.endswith("frozen True")


def test_fetch_is_reached_through_the_one_program(tmp_path: Path) -> None:
    """Its whole input is one word; another one is refused in its own frame, which no command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "opanel_agent", "fetch"],
        env={**environment(tmp_path), "PYTHONPATH": str(AGENT)},
        input=b"everything\n",
        capture_output=True,
        check=False,
    )
    assert json.loads(done.stdout.partition(b"\n")[0])["ok"] is False


def test_main_never_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frob"]) == 64
    assert capsys.readouterr().out == ""


def test_every_purpose_is_explained(terminal: Terminal) -> None:
    result = terminal.type("dnt", "explain", "--json").json()["result"]["purposes"]
    assert set(result) == set(Purpose)
