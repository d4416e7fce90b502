"""Starts processes with limits, a deadline, a clean environment and, where asked, another user's identity: the one way.

A process gets default signals, no signal blocked, no descriptor but its standard ones, and a session of its own (or a
process group within the caller's). Kernel limits come from prlimit(2) right after the start; the deadline and the cap
on output from whoever reads: `run` waits, the daemon's `JobProcess` does not and uses the parts. What a process leaves
behind is ended with its session (`end_session`), because a session outlives changes of process group.

The daemon loads this module: nothing heavier than os, select, signal and resource is imported (not `subprocess`).
"""

import os
import resource
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, NoReturn

_READ_BYTES: Final = 64 * 1024
_DEFAULT_SIGNALS: Final = (
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT),
    *(signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM),
)
_FIRST_OTHER_DESCRIPTOR: Final = 3


class KernelLimits(NamedTuple):
    """What one process and each of its children may use (setrlimit(2)). A limit that is tighter already stays."""

    memory_max_bytes: int = 512 * 1024 * 1024
    cpu_s: int = 60
    file_max_bytes: int = 64 * 1024 * 1024
    open_files: int = 256

    def apply(self, pid: int) -> None:
        """Limits a running process of this user's; one that has ended already is left alone."""
        values = {
            resource.RLIMIT_AS: self.memory_max_bytes,
            resource.RLIMIT_CPU: self.cpu_s,
            resource.RLIMIT_FSIZE: self.file_max_bytes,
            resource.RLIMIT_NOFILE: self.open_files,
            resource.RLIMIT_CORE: 0,
        }
        for limit, most in values.items():
            hard = resource.getrlimit(limit)[1]
            value = most if hard == resource.RLIM_INFINITY else min(most, hard)
            try:
                resource.prlimit(pid, limit, (value, value))
            except (ProcessLookupError, PermissionError):
                return


class Credentials(NamedTuple):
    """The user that a process runs as. It gets no supplementary group."""

    uid: int
    gid: int


class Streams(NamedTuple):
    """The caller's descriptors for a process's standard streams. `stderr` None: the caller's own is shared."""

    stdin: int
    stdout: int
    stderr: int | None = None

    def redirections(self) -> list[tuple[int, int]]:
        """Returns pairs of the caller's descriptor and the number that the process sees."""
        return [(ours, number) for number, ours in enumerate(self) if ours is not None]


class Finished(NamedTuple):
    """How a process ended: its exit status (negative: the signal), and what it wrote."""

    status: int
    output: bytes
    errors: bytes = b""


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    streams: Streams,
    *,
    limits: KernelLimits | None = None,
    new_session: bool = True,
    identity: Credentials | None = None,
) -> int:
    """Starts a program and returns its pid; the caller waits for it and ends it (`end_session`, `end_group`).

    `new_session` False: a process group of its own within the caller's session, so that it ends when that session is ended.
    `identity`: only root may change it. Raises OSError where the program cannot be started.
    """
    if identity is not None:
        pid = _fork(command, environment, streams, identity)
    else:
        pid = os.posix_spawnp(
            command[0],
            list(command),
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, number) for ours, number in streams.redirections()],
            setsigmask=[],
            setsigdef=_DEFAULT_SIGNALS,
            **({"setsid": True} if new_session else {"setpgroup": 0}),
        )
    if limits is not None:
        limits.apply(pid)
    return pid


def end_session(leader: int) -> None:
    """Kills every process of a session: the leader's process group at once, then whatever made itself another group.

    The caller has not yet waited for the leader: else its pid could be another process's.
    """
    for pid in {-leader, *_session(leader)}:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def end_group(leader: int) -> None:
    """Kills a process group and waits for its leader, a child of this process. A zombie keeps the group's id ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    os.waitpid(leader, 0)


def run(
    command: Sequence[str],
    stdin: bytes = b"",
    *,
    environment: Mapping[str, str],
    max_bytes: int,
    deadline_s: float,
    limits: KernelLimits | None = None,
    identity: Credentials | None = None,
    stderr: str = "inherit",
) -> Finished:
    """Runs a program to its end and returns its exit status and output.

    `stdin` is at most what a pipe holds (4 KiB). Output is kept up to one byte beyond `max_bytes`; more ends the
    program, and its status is then -9. `stderr`: `inherit` (the caller's), `discard`, or `capture` (bounded likewise).
    Whatever the program left running in its session is killed. Raises OSError where it cannot be started,
    TimeoutError after `deadline_s`.
    """
    ends_at = time.monotonic() + deadline_s
    with _pipes(capture=stderr == "capture", discard=stderr == "discard") as pipes:
        pid = start(command, environment, pipes.theirs, limits=limits, identity=identity)
        try:
            pipes.close_theirs()
            heard = pipes.exchange(stdin, max_bytes, ends_at)
            status = -signal.SIGKILL if any(len(text) > max_bytes for text in heard) else _wait(pid, ends_at)
        finally:
            end_session(pid)
            _reap(pid)
    return Finished(status, *heard)


class _Pipes:
    """Our ends and the program's ends of the pipes of one `run`."""

    def __init__(self, *, capture: bool, discard: bool) -> None:
        self._open: set[int] = set()
        try:
            stdin, self._writing = self._pipe()
            reading, stdout = self._pipe()
            self._reading = [reading]
            stderr: int | None = None
            if capture:
                reading, stderr = self._pipe()
                self._reading.append(reading)
            elif discard:
                stderr = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                self._open.add(stderr)
        except OSError:
            self.close()
            raise
        self.theirs = Streams(stdin, stdout, stderr)

    def _pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        self._open |= {reading, writing}
        return reading, writing

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        os.close(descriptor)

    def close_theirs(self) -> None:
        for ours, _ in self.theirs.redirections():
            self._close(ours)

    def close(self) -> None:
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def exchange(self, stdin: bytes, max_bytes: int, ends_at: float) -> list[bytes]:
        """Writes `stdin` and returns what came from each pipe, until all are closed or one exceeds `max_bytes`."""
        with suppress(BrokenPipeError):  # the program does not read
            os.write(self._writing, stdin)
        self._close(self._writing)
        heard = {descriptor: bytearray() for descriptor in self._reading}
        pending = set(heard)
        while pending and all(len(text) <= max_bytes for text in heard.values()):
            ready = select.select([*pending], [], [], max(0.0, ends_at - time.monotonic()))[0]
            if not ready:
                raise TimeoutError
            for descriptor in ready:
                piece = os.read(descriptor, min(_READ_BYTES, max_bytes + 1 - len(heard[descriptor])))
                heard[descriptor] += piece
                if not piece:
                    pending.discard(descriptor)
        return [bytes(text) for text in heard.values()]


@contextmanager
def _pipes(*, capture: bool, discard: bool) -> Iterator[_Pipes]:
    pipes = _Pipes(capture=capture, discard=discard)
    try:
        yield pipes
    finally:
        pipes.close()


def _wait(pid: int, ends_at: float) -> int:
    """Returns the exit status and leaves the zombie. Raises TimeoutError: it closed its output and stays."""
    while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() >= ends_at:
            raise TimeoutError
        time.sleep(0.005)
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def _fork(command: Sequence[str], environment: Mapping[str, str], streams: Streams, identity: Credentials) -> int:
    """Starts a program as another user: posix_spawn(3) cannot. Only for a process without threads (a command of root's)."""
    reading, writing = os.pipe()  # closed by a successful execve(2): to read nothing means that it started
    pid = os.fork()
    if pid == 0:
        _become(command, environment, streams, identity, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        failure = pipe.read()
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)), command[0])
    return pid


def _become(
    command: Sequence[str], environment: Mapping[str, str], streams: Streams, identity: Credentials, failures: int
) -> NoReturn:
    """Gives up, in the child, its rights before the first instruction of the program. Never returns."""
    try:
        os.setsid()
        os.umask(0o077)
        os.chdir("/")
        for each in _DEFAULT_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for ours, number in streams.redirections():
            os.dup2(ours, number)
        os.closerange(_FIRST_OTHER_DESCRIPTOR, failures)
        os.closerange(failures + 1, os.sysconf("SC_OPEN_MAX"))
        os.setgroups(())
        os.setgid(identity.gid)
        os.setuid(identity.uid)
        os.execve(command[0], list(command), environment)  # noqa: S606 - there is no shell that could help
    except OSError as error:
        os.write(failures, str(error.errno or 0).encode())
    finally:
        os._exit(127)  # no handler, buffer or caller of the parent's may run here


def _session(leader: int) -> set[int]:
    """Returns the processes of a session, from /proc. Only at an end, so that its cost does not count."""
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
