"""A job is fed, listened to, limited and ended: real processes that hang, flood, crash and leave others behind."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.daemon.live_daemon import gone, until
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Bug
from opanel_agent.daemon.jobs.job_process import JobLimits, JobProcess, JobResult
from opanel_agent.system.process import KernelLimits

Start = Callable[..., JobProcess]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python program as a job; whatever still runs at the end is ended."""
    started: list[tuple[JobProcess, list[JobResult]]] = []

    def one(program: str, stdin: bytes = b"", env: dict[str, str] | None = None, **limits: Any) -> JobProcess:
        kernel = KernelLimits(cpu_s=limits.pop("cpu_s", KernelLimits().cpu_s))
        limited = JobLimits(**limits, kernel=kernel)
        child = JobProcess([sys.executable, "-I", "-c", program], env or {}, stdin, limited, now_s=0)
        started.append((child, []))
        return child

    yield one
    for child, _ in started:
        if not gone(child.pid):
            child.end(Bug(Fault.JOB_FAILED, "test"))
            drive(child)


def drive(child: JobProcess, timeout_s: float = 10) -> JobResult:
    """What the loop does, for one child."""
    end = time.monotonic() + timeout_s
    while (ended := child.reap()) is None:
        assert time.monotonic() < end, "the job did not end"
        writes = [child.stdin] if child.stdin is not None else []
        reads = [child.stdout] if child.stdout is not None else []
        readable, writable, _ = select.select(reads, writes, [], 0.02)
        if writable:
            child.feed()
        if readable:
            child.listen()
    return ended


def fds() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_a_job_hears_and_says(start: Start) -> None:
    ended = drive(start("import sys; print(sys.stdin.read()[::-1])", b"hello"))
    assert ended == JobResult(output=b"olleh\n", error=None)


def test_more_than_a_pipe_holds_goes_both_ways(start: Start) -> None:
    data = b"0123456789" * 30_000
    ended = drive(start("import sys; sys.stdout.write(sys.stdin.read())", data))
    assert (ended.output, ended.error) == (data, None)


def test_a_job_that_does_not_listen(start: Start) -> None:
    ended = drive(start("import os; os.close(0); print('deaf')", b"x" * 300_000))
    assert (ended.output, ended.error) == (b"deaf\n", None)


def test_no_pipe_stays_open(start: Start) -> None:
    before = fds()
    drive(start("print(1)", b"x"))
    assert fds() == before


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import os; print('x'); os._exit(3)", "job_failed/job_failed exit=3"),
        ("raise SystemExit('a sentence')", "job_failed/job_failed exit=1"),
        ("import os; os.kill(os.getpid(), 11)", "job_failed/job_killed signal=11"),
    ],
)
def test_a_job_that_fails(start: Start, program: str, error: str) -> None:
    assert str(drive(start(program)).error) == error


def test_a_job_that_floods(start: Start) -> None:
    child = start("import os\nwhile True: os.write(1, b'x' * 65536)", output_max_bytes=1_000_000)
    ended = drive(child)
    assert str(ended.error) == "job_flooded/job_flooded max_bytes=1000000"
    assert len(ended.output) < 1_000_000 + 2 * 65536


def test_output_up_to_its_cap_counts(start: Start) -> None:
    program = "import sys; sys.stdout.write('x' * 100_000)"
    assert drive(start(program, output_max_bytes=100_000)).error is None
    assert drive(start(program, output_max_bytes=99_999)).error is not None


def test_a_job_that_eats_memory_is_refused_it(start: Start) -> None:
    program = "try: bytearray(1 << 30)\nexcept MemoryError: print('none')"
    assert drive(start(program)).output == b"none\n"


@pytest.mark.parametrize("limit", ["AS", "CPU", "FSIZE", "NOFILE", "CORE"])
def test_the_kernel_holds_the_limits(start: Start, limit: str) -> None:
    program = f"import resource, sys; sys.stdin.read(); print(resource.getrlimit(resource.RLIMIT_{limit})[1])"
    wanted = {"AS": 512 << 20, "CPU": 60, "FSIZE": 64 << 20, "NOFILE": 256, "CORE": 0}
    # The limits come right after the start: the job is told to look only then.
    assert int(drive(start(program, b"now")).output) == wanted[limit]


@pytest.mark.slow
def test_a_job_that_burns_the_processor_is_ended_by_the_kernel(start: Start) -> None:
    ended = drive(start("while True: pass", cpu_s=1))
    assert str(ended.error) in {f"job_failed/job_killed signal={n:d}" for n in (signal.SIGXCPU, signal.SIGKILL)}


def test_a_job_that_hangs_is_ended_with_the_error_of_who_ends_it(start: Start) -> None:
    child = start("import time; print('begun', flush=True); time.sleep(60)", deadline_s=7)
    assert child.deadline_s == 7
    error = Bug(Fault.JOB_TIMEOUT, "test")
    child.end(error)
    assert drive(child).error is error


LEAVES_OTHERS = """
import os, subprocess, sys, time
others = [
    subprocess.Popen(["sleep", "60"], **kind)
    for kind in ({}, {"process_group": 0})
]
print(*(other.pid for other in others), flush=True)
"""


@pytest.mark.parametrize("then", ["", "time.sleep(60)"])
def test_whatever_it_started_ends_with_it(start: Start, then: str) -> None:
    """In its process group or in another, and although they hold its stdout open."""
    child = start(LEAVES_OTHERS + then)
    if then:
        until(lambda: child.listen() or bool(child._output))
        child.end(Bug(Fault.JOB_TIMEOUT, "test"))
    others = [int(pid) for pid in drive(child).output.split()]
    assert len(others) == 2
    until(lambda: all(gone(pid) for pid in others))


def test_a_job_starts_with_default_signals_and_none_blocked() -> None:
    """Python ignores SIGPIPE; a job that inherited that would not end when nobody reads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = JobProcess(["/bin/cat", "/proc/self/status"], {}, b"", JobLimits(), now_s=0)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    status = dict(line.split(":\t") for line in drive(child).output.decode().splitlines())
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def test_a_program_that_is_not_there() -> None:
    before = fds()
    with pytest.raises(Bug, match="job_not_started errno=2"):
        JobProcess(["/nowhere/python"], {}, b"", JobLimits(), now_s=0)
    assert fds() == before


def test_the_environment_is_what_the_job_sees(start: Start) -> None:
    ended = drive(start("import json, os; print(json.dumps(dict(os.environ)))", env={"A": "b"}))
    assert json.loads(ended.output).items() >= {"A": "b"}.items()
    assert "HOME" not in json.loads(ended.output)


TIGHT = """
import os, resource, sys
from opanel_agent.daemon.jobs.job_process import JobLimits, JobProcess
if os.geteuid() == 0:
    os.setuid(65534)  # root may raise what it likes
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
child = JobProcess(["/bin/sh", "-c", "ulimit -n; ulimit -t"], {"PATH": "/usr/bin:/bin"}, b"", JobLimits(), now_s=0)
while (ended := child.reap()) is None:
    child.listen()
sys.stdout.buffer.write(ended.output)
"""


def test_limits_that_are_tighter_than_ours_stay() -> None:
    """As under `ulimit -Hn 64`: what may not be raised is not an error that ends the daemon."""
    finished = subprocess.run(
        [sys.executable, "-c", TIGHT],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (finished.stdout, finished.stderr) == (b"64\n5\n", b"")


def test_a_job_for_which_there_are_no_pipes_is_one_that_did_not_start() -> None:
    program = """
import os, resource
from opanel_agent.core.errors import Bug
from opanel_agent.daemon.jobs.job_process import JobLimits, JobProcess
first = os.dup(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (first + 2, first + 2))  # one pair, and no more
os.close(first)
before = os.listdir("/proc/self/fd")
try:
    JobProcess(["/bin/true"], {}, b"", JobLimits(), now_s=0)
except Bug as error:
    print(error.detail, os.listdir("/proc/self/fd") == before)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (finished.stdout, finished.stderr) == (b"job_not_started True\n", b"")
