"""Runs one job without waiting: a process that is fed, listened to, limited, and ended (`system.process` starts it).

A `JobProcess` never blocks: the loop calls `feed` and `listen` when its pipes are ready, `reap` when a child has ended,
and looks at `deadline_s`. A job starts processes too (fetch, courier), and whatever it leaves behind in its session is
ended with it. The job's stderr is the daemon's. What the output means is not decided here (`job_queue`).
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Bug
from opanel_agent.system import process
from opanel_agent.system.process import KernelLimits, Streams

_READ_BYTES = 64 * 1024


class JobLimits(NamedTuple):
    """Holds what one job may use: the caller enforces the deadline, the kernel what is in `kernel`."""

    deadline_s: float = 120.0
    output_max_bytes: int = 1024 * 1024
    kernel: KernelLimits = KernelLimits()


class JobResult(NamedTuple):
    """A job's end: all it wrote, or why that does not count."""

    output: bytes
    error: AgentError | None


class JobProcess:
    """A running job. `stdin` and `stdout` are our ends of its pipes, None once closed."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], stdin_data: bytes, limits: JobLimits, now_s: float
    ) -> None:
        self.deadline_s = now_s + limits.deadline_s
        self.stdin: int | None = None
        self.stdout: int | None = None
        self._limits = limits
        self._stdin_data = memoryview(stdin_data)
        self._output = bytearray()
        self._error: AgentError | None = None
        self.pid = self._spawn(command, environment)

    def feed(self) -> None:
        """Writes what its stdin takes, and closes it after the last byte."""
        if self.stdin is None:
            return
        try:
            self._stdin_data = self._stdin_data[os.write(self.stdin, self._stdin_data) :]
        except BlockingIOError:
            return
        except OSError:  # it does not want to hear more
            self._stdin_data = self._stdin_data[:0]
        if not self._stdin_data:
            os.close(self.stdin)
            self.stdin = None

    def listen(self) -> bool:
        """Reads what it wrote; False when there is nothing more at the moment, or at all."""
        if self.stdout is None:
            return False
        try:
            data = os.read(self.stdout, _READ_BYTES)
        except BlockingIOError:
            return False
        self._output += data
        if len(self._output) > self._limits.output_max_bytes:
            self.end(Bug(Fault.JOB_FLOODED, "job_flooded", max_bytes=self._limits.output_max_bytes))
        elif data:
            return True
        os.close(self.stdout)
        self.stdout = None
        return False

    def end(self, error: AgentError) -> None:
        """Kills it; its output no longer counts. `reap` follows when the kernel says so."""
        self._error = self._error or error
        self.deadline_s = float("inf")
        process.end_session(self.pid)

    def reap(self) -> JobResult | None:
        """Returns the end, if it has come; all that it left running ends too."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        # Before the pid is free for another process: nothing else can be in its session yet.
        process.end_session(self.pid)
        while self.listen():
            pass
        self._close()
        _pid, status = os.waitpid(self.pid, 0)
        return JobResult(output=bytes(self._output), error=self._error or _failure(os.waitstatus_to_exitcode(status)))

    def _spawn(self, command: list[str], environment: Mapping[str, str]) -> int:
        theirs: list[int] = []
        try:
            theirs_in, self.stdin = os.pipe()
            theirs.append(theirs_in)
            self.stdout, theirs_out = os.pipe()
            theirs.append(theirs_out)
            for ours in (self.stdin, self.stdout):
                os.set_blocking(ours, False)
            return process.start(command, environment, Streams(theirs_in, theirs_out), limits=self._limits.kernel)
        except OSError as error:
            self._close()
            raise Bug(Fault.JOB_FAILED, "job_not_started", errno=error.errno or 0) from error
        finally:
            for end in theirs:
                os.close(end)

    def _close(self) -> None:
        for ours in (self.stdin, self.stdout):
            if ours is not None:
                os.close(ours)
        self.stdin = self.stdout = None


def _failure(exit_code: int) -> AgentError | None:
    if exit_code < 0:
        return Bug(Fault.JOB_FAILED, "job_killed", signal=-exit_code)
    return Bug(Fault.JOB_FAILED, "job_failed", exit=exit_code) if exit_code else None
