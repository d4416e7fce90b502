"""A program of another user's is heard for so long and so far, whatever it does."""

import os
import sys
import time
from pathlib import Path

import pytest

from fixtures.daemon.live_daemon import gone, until
from opanel_agent.system import process
from opanel_agent.system.process import Credentials, Finished, KernelLimits

HERE = {"PATH": "/usr/bin:/bin"}


def heard(code: str, *, max_bytes: int = 10, deadline_s: float = 20, stderr: str = "inherit") -> Finished:
    return process.run(
        (sys.executable, "-I", "-c", code),
        b"hello",
        environment=HERE,
        max_bytes=max_bytes,
        deadline_s=deadline_s,
        limits=KernelLimits(open_files=77),
        stderr=stderr,
    )


def test_it_is_heard_to_its_end() -> None:
    assert heard("import sys; print(sys.stdin.read()); sys.exit(3)") == Finished(3, b"hello\n")


def test_more_than_was_asked_for_is_not_kept() -> None:
    """It would go on for ever."""
    finished = heard("while True: print('x' * 9999)")
    assert (finished.status, len(finished.output)) == (-9, 11)
    flooding = heard("import sys\nwhile True: sys.stderr.write('x' * 9999)", stderr="capture")
    assert (flooding.status, flooding.output, len(flooding.errors)) == (-9, b"", 11)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import os, time\nif os.fork() == 0: time.sleep(60)",
    ],
    ids=["silent", "silent without an output", "what it left holds its output"],
)
def test_whoever_keeps_one_waiting_is_ended(code: str) -> None:
    with pytest.raises(TimeoutError):
        heard(code, deadline_s=0.5)


def test_what_is_not_listened_to_is_no_fault() -> None:
    assert heard("print('no')") == Finished(0, b"no\n")


def test_a_signal_that_ended_it_is_its_status() -> None:
    assert heard("import os, signal; os.kill(os.getpid(), signal.SIGTERM)") == Finished(-15, b"")


def test_what_it_says_on_its_other_stream_is_shown_captured_or_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; sys.stderr.write('why')"
    assert heard(program, stderr="capture") == Finished(0, b"", b"why")
    assert heard(program, stderr="discard") == Finished(0, b"")
    assert capfd.readouterr().err == ""
    assert heard(program) == Finished(0, b"")
    assert capfd.readouterr().err == "why"


def test_the_kernel_holds_its_limits() -> None:
    program = "import resource, sys; sys.stdin.read(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[1])"
    assert heard(program).output == b"77\n"


def test_what_it_left_running_ends_with_it(tmp_path: Path) -> None:
    """Although it made itself another process group and closed its output."""
    pids = tmp_path / "pid"
    program = f"""
import os, subprocess
other = subprocess.Popen(["sleep", "60"], process_group=0, stdout=subprocess.DEVNULL)
open({str(pids)!r}, "w").write(str(other.pid))
"""
    assert heard(program).status == 0
    until(lambda: gone(int(pids.read_text())))


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are what is wanted


def test_a_program_that_is_not_there_leaves_nothing_open() -> None:
    before = descriptors()
    for stderr in ("inherit", "discard", "capture"):
        with pytest.raises(FileNotFoundError):
            process.run(("/nowhere/program",), environment={}, max_bytes=1, deadline_s=5, stderr=stderr)
    assert descriptors() == before


@pytest.mark.root
def test_another_user_runs_it_with_no_right_and_no_descriptor_of_ours() -> None:
    program = "id -ru; id -u; id -G; pwd; ls /proc/self/fd; grep CapEff /proc/self/status"
    leaked = os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        finished = process.run(
            ("/bin/sh", "-c", program),
            environment=HERE,
            max_bytes=1000,
            deadline_s=20,
            limits=KernelLimits(),
            identity=Credentials(uid=65534, gid=65534),
        )
    finally:
        os.close(leaked)
    wanted = ["65534", "65534", "65534", "/", "0", "1", "2", "3", "CapEff:", "0000000000000000"]  # 3: what ls reads
    assert (finished.status, finished.output.decode().split()) == (0, wanted)


@pytest.mark.root
def test_a_program_that_another_user_may_not_start_is_an_error_here(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    with pytest.raises(PermissionError):
        process.run(
            (str(program),), environment={}, max_bytes=1, deadline_s=5, identity=Credentials(uid=65534, gid=65534)
        )


def test_the_deadline_holds_for_a_program_that_closed_its_output() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        heard("import os, time; os.close(1); time.sleep(60)", deadline_s=0.4)
    assert time.monotonic() - began < 5
