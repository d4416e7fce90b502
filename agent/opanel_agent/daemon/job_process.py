"""One job: a process that is fed, listened to, limited, and ended.

`os.posix_spawn` with a clean environment, default signals and a session of its own, because a job starts processes
too (fetch, courier) and whatever it leaves behind is ended with it: a session outlives changes of process group.
Kernel limits on memory, CPU time, file size and open files come from `prlimit`; the deadline and the cap on output
from here. The job's stderr is ours.

A `Child` never waits: the loop calls `feed` and `listen` when its pipes are ready, `reap` when a child has ended, and
looks at `deadline_s`. What the output means is not decided here (`work`).
"""

import os
import resource
import signal
from collections.abc import Mapping
from typing import NamedTuple

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Bug

_READ_BYTES = 64 * 1024
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PASSED = ("LANG", "JOURNAL_STREAM", "CREDENTIALS_DIRECTORY", "DO_NOT_TRACK", "OPANEL_AGENT_DO_NOT_TRACK")
_PASSED_OF_A_USER = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class JobLimits(NamedTuple):
    """What one job may use. The caller keeps the deadline."""

    deadline_s: float = 120.0
    output_max_bytes: int = 1024 * 1024
    memory_max_bytes: int = 512 * 1024 * 1024
    cpu_s: int = 60
    file_max_bytes: int = 64 * 1024 * 1024
    open_files: int = 256

    def of_kernel(self) -> Mapping[int, int]:
        return {
            resource.RLIMIT_AS: self.memory_max_bytes,
            resource.RLIMIT_CPU: self.cpu_s,
            resource.RLIMIT_FSIZE: self.file_max_bytes,
            resource.RLIMIT_NOFILE: self.open_files,
            resource.RLIMIT_CORE: 0,
        }


class JobResult(NamedTuple):
    """A job's end: all it wrote, or why that does not count."""

    output: bytes
    error: AgentError | None


def clean_environment(environment: Mapping[str, str], *, system: bool) -> dict[str, str]:
    """What a job inherits: nothing that steers Python, the loader, a proxy or systemd's notification."""
    passed = _PASSED if system else _PASSED + _PASSED_OF_A_USER
    return {"PATH": _PATH} | {name: environment[name] for name in passed if name in environment}


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
        self._kill()

    def reap(self) -> JobResult | None:
        """The end, if it has come; all that it left running ends too."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        # Before the pid is free for another process: nothing else can be in its session yet.
        self._kill()
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
            pid = os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs_in, 0), (os.POSIX_SPAWN_DUP2, theirs_out, 1)],
                setsid=True,
                setsigmask=[],
                setsigdef=_DEFAULT_SIGNALS,
            )
        except OSError as error:
            self._close()
            raise Bug(Fault.JOB_FAILED, "job_not_started", errno=error.errno or 0) from error
        finally:
            for end in theirs:
                os.close(end)
        self._limit(pid)
        return pid

    def _limit(self, pid: int) -> None:
        """As far as may be: a hard limit of ours that is tighter already may not be raised."""
        for limit, most in self._limits.of_kernel().items():
            hard = resource.getrlimit(limit)[1]
            value = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(pid, limit, (value, value))

    def _kill(self) -> None:
        """Kills its session: its own process group at once, then whatever made itself another group."""
        for pid in {-self.pid, *_session(self.pid)}:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def _close(self) -> None:
        for ours in (self.stdin, self.stdout):
            if ours is not None:
                os.close(ours)
        self.stdin = self.stdout = None


def _failure(exit_code: int) -> AgentError | None:
    if exit_code < 0:
        return Bug(Fault.JOB_FAILED, "job_killed", signal=-exit_code)
    return Bug(Fault.JOB_FAILED, "job_failed", exit=exit_code) if exit_code else None


def _session(leader: int) -> set[int]:
    """The processes of a session, from /proc. Only at a job's end, so its cost does not count."""
    found: set[int] = set()
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - pathlib is 0.7 MB that stay
    except OSError:  # no descriptor is left to look with: its own group is ended all the same
        return found
    for name in names:
        if name.isdecimal() and _session_of(int(name)) == leader:
            found.add(int(name))
    return found


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
