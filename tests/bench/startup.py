"""What starting costs: the commands and the pass that run most often, against a bare interpreter's start.

User CPU of whole processes, of the installed program as an administrator and the daemon start it, in turn with `python -I -c
pass`; the figure is the ratio of the sums, since the kernel tells user from system time by samples, too few in one
short process for a median. `status` asks a daemon that answers from memory; `evaluate` makes a pass with
nothing due, on a license that was installed before it (no request can leave: the file `offline` is there). Run by
tests/bench/run. The environment is made for it, as a server has one: that of the tests starts three times as slowly, for
what coverage and editable installs run at each start, and would flatter every ratio.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

import opanel_agent
from bench.daemon import print_line, ratio, settle, verdict
from fixtures import signing
from fixtures.daemon import fake_daemon

ROUNDS = 40
AGENT = Path(opanel_agent.__file__).parents[1]
HELP_GOAL = STATUS_GOAL = 6.0
TICK_GOAL = 10.0


def cpu_ms(command: tuple[str, ...], environment: Mapping[str, str], stdin: bytes = b"") -> float:
    """User CPU of one process and all that it waited for. Raises CalledProcessError where it fails."""
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.write(stdin)
        started.stdin.close()
        started.stdout.read()
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise subprocess.CalledProcessError(started.returncode, command)
    return used.ru_utime * 1e3


def installed(place: Path) -> str:
    """An interpreter in an environment with the agent and what it imports, and nothing that runs at each start."""
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python3*/site-packages")
    libraries = sysconfig.get_path("purelib")
    (site / "installed.pth").write_text(f"{AGENT}\n{libraries}\n", encoding="utf-8")
    return str(place / "bin/python")


def compare(name: str, command: tuple[str, ...], environment: Mapping[str, str], stdin: bytes, goal: float) -> None:
    """In turn, so that a noisy machine disturbs both alike."""
    bare = (command[0], "-I", "-c", "pass")
    pairs = [(cpu_ms(command, environment, stdin), cpu_ms(bare, environment)) for _ in range(ROUNDS + 1)][1:]
    mine, base = (sum(side) / len(side) for side in zip(*pairs, strict=True))
    print_line(
        f"{name}, user CPU to a bare interpreter's start: {ratio(mine, base, 'ms')}; "
        f"goal ≤ {goal:g} ×: {verdict(mine <= goal * base)}"
    )


def intent(name: str, **options: str) -> bytes:
    return json.dumps({"schema": 1, "intent": name, **options}).encode() + b"\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        settle(home)
        session = home / "session"
        session.mkdir(mode=0o700)
        (home / ".config/opanel-agent/offline").touch()
        (home / ".config/opanel-agent/license.jws").write_bytes(signing.bundle())
        environment = {"HOME": place, "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(session), "LANG": "C.UTF-8"}
        environment |= {"XDG_CONFIG_HOME": f"{place}/.config", "XDG_STATE_HOME": f"{place}/.local/state"}
        program = (installed(home / "environment"), "-I", "-m", "opanel_agent")
        evaluate = (*program, "evaluate")
        cpu_ms(evaluate, environment, intent("start"))
        with fake_daemon.fake_daemon(session / "opanel-agent/agent.sock") as daemon:
            daemon.says("/v1/answer", fake_daemon.answer())
            compare("opanel-agent --help", (*program, "--help"), environment, b"", HELP_GOAL)
            compare("opanel-agent status", (*program, "status"), environment, b"", STATUS_GOAL)
        compare("evaluate, nothing due", evaluate, environment, intent("tick"), TICK_GOAL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
