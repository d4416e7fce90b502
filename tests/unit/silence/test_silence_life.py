"""What is typed in a proof: every command of the table, in a terminal where somebody says yes, while the clock stands."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import opanel_agent
from fixtures.silence import planted_agent
from fixtures.silence.planted_agent import BASH_COMPLETION, ROOT
from opanel_agent.core.commands import COMMANDS
from opanel_agent.silence.judge import Sends
from opanel_agent.silence.life import clock_overlay, pseudo_terminal, typed_lines
from opanel_agent.silence.life.clock_overlay import SIZE, WALL_SHIFT, WALL_STOPPED, SharedClock
from opanel_agent.silence.life.typed_lines import Line
from opanel_agent.silence.life.typist import Program, Typist
from opanel_agent.system.storage.paths import Paths

EVERYTHING = tuple(line for group in (*typed_lines.GROUPS, typed_lines.AT_REST) for line in group)
# What says of itself that it sends (`help`), and may: all else is typed as sending nothing.
MAY_SEND = {
    "license install",
    "license refresh",
    "license activate",
    "license release",
    "data held send",
    "data request",
    "doctor",
}


def test_every_command_is_typed_or_named() -> None:
    typed = typed_lines.commands_in(EVERYTHING)
    assert {" ".join(words) for words in {command.words for command in COMMANDS} - typed} == {"prove-silence"}
    assert "prove-silence" in typed_lines.NEVER_TYPED


def test_only_what_says_so_may_send() -> None:
    sending = typed_lines.commands_in(line for line in EVERYTHING if line.sends is not Sends.NOTHING)
    assert {" ".join(words) for words in sending} == MAY_SEND


def test_a_line_whose_id_is_not_there_is_not_typed() -> None:
    line = Line(text="data held show {usage}")
    assert line.words({"usage": "usage-1"}) == ["data", "held", "show", "usage-1"]
    assert line.words({"crash": "crash-1"}) is None


# ---- the terminal


def in_terminal(code: str, deadline_s: float = 20) -> int:
    return pseudo_terminal.run([sys.executable, "-I", "-c", code], {"PATH": os.environ["PATH"]}, deadline_s)


def test_who_sits_there_says_yes_to_each_question() -> None:
    asked = "import sys; sys.exit(input('one? ') == 'y' and input('two? ') == 'y' and sys.stdin.isatty() and 7)"
    assert in_terminal(asked) == 7


def test_what_was_typed_before_the_question_is_typed_again() -> None:
    code = """
import sys, termios, time
print("working", end="", flush=True)
time.sleep(1)
termios.tcflush(0, termios.TCIFLUSH)
sys.exit(9 if input("sure? ") == "y" else 1)
"""
    assert in_terminal(code) == 9


def test_who_is_killed_and_who_never_ends_is_told() -> None:
    assert in_terminal("import os; os.kill(os.getpid(), 9)") == -9
    with pytest.raises(TimeoutError):
        in_terminal("import time; time.sleep(60)", deadline_s=0.5)


# ---- the clock


def test_a_stopped_clock_stands_still_and_goes_on_as_after_a_pause(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_bytes(bytes(SIZE))
    clock = SharedClock(str(file))
    clock.set(WALL_SHIFT, 1000.0)
    clock.stop(5000.0, 70.0)
    code = f"""
import time
parts = {{}}
exec(open({clock_overlay.__file__!r}).read(), parts)
parts["install"]({str(file)!r}, "/dev/null")
import datetime
read = lambda: (time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), datetime.datetime.now(datetime.UTC).timestamp())
first = read()
time.sleep(0.05)
assert first == read() == (6000.0, 70.0, 6000.0), (first, read())
parts["SharedClock"]({str(file)!r}).stop(0.0, 0.0)
print(time.time())
"""
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert abs(float(ran.stdout) - 1000.0 - time.time()) < 60


def test_what_is_typed_begins_once_all_is_quiet_and_a_line_that_needs_another_user_is_named(tmp_path: Path) -> None:
    (tmp_path / "clock").write_bytes(bytes(SIZE))
    clock = SharedClock(str(tmp_path / "clock"))
    paths = Paths(
        system=True, owner=os.geteuid(), config_dir=tmp_path, state_dir=tmp_path / "state", runtime_dir=tmp_path
    )
    program = Program(folder=tmp_path, environ={"PATH": os.environ["PATH"]}, traced=False)
    typist = Typist(program, paths, clock, heard=lambda: 0)
    stopped_at: list[float] = []
    typist.type((Line(text="reset --image", as_agent=True),), lambda: stopped_at.append(clock.get(WALL_STOPPED)))
    assert abs(stopped_at[0] - time.time()) < 60  # it stands already, and nothing was typed
    assert (typist.typed, typist.not_typed) == ((), {"reset --image": typed_lines.OTHER_USER})
    assert clock.get(WALL_STOPPED) == 0


# ---- completion


def test_the_completion_of_every_command_is_asked_for(tmp_path: Path) -> None:
    lines = typed_lines.tab_input().decode().splitlines()
    assert {"opanel-agent", "opanel-agent data held", "opanel-agent data held send"} <= {*lines}
    assert typed_lines.completion_file((tmp_path,)) is None
    assert typed_lines.completion_file((tmp_path, ROOT / "packaging")) == BASH_COMPLETION
    bash = "/bin/bash"
    if not Path(bash).exists():
        pytest.skip("bash is not installed")
    asked = subprocess.run(
        typed_lines.tab_command(bash, BASH_COMPLETION),
        input=typed_lines.tab_input(),
        capture_output=True,
        check=False,
        env={"PATH": "/nowhere"},
    )
    assert asked.returncode == 0, asked.stderr
    assert {"consent", "usage_statistics", "--preseed"} <= {*asked.stdout.decode().split()}


@pytest.mark.parametrize("leak", planted_agent.LEAKS)
def test_each_leak_of_the_slow_tests_has_a_line_to_be_planted_at(leak: str) -> None:
    """Else what they prove would be found out only when they run."""
    planted = planted_agent.LEAKS[leak]
    assert planted.line in (Path(opanel_agent.__file__).parent / planted.file).read_text("utf-8")
