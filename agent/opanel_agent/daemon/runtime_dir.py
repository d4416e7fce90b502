"""Holds the daemon's runtime directory: its lock, its socket, and the files with the last answer.

The lock decides who is the daemon. The socket of a dead daemon is replaced, that of another program is not; a socket
file that was deleted is made anew. The directory must be ours: in a system installation tmpfiles.d makes it, so that
the group comes with it (the agent may not chown); a user installation makes its own, 0700.

The answer is kept twice: `answer.json` for the group, for when the socket is silent, and a whole one for the daemon
itself, which serves it from its first moment after a start. After a reboot both are gone; then it is the license's part
of it, as evaluate keeps it beside its state. The rest told of processes, opt-outs and plans of before the reboot.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Storage, Unavailable
from opanel_agent.daemon.listener import ListeningSocket, bind_listener, leads_to
from opanel_agent.system import errno_codes
from opanel_agent.system.storage import installation

SAVED_MAX_BYTES: Final = 1024 * 1024  # as the output of the job that it came from
_DN_DELETE: Final = 0x00000008  # fcntl(2): the names that Python has no constant for
_DN_MULTISHOT: Final = 0x80000000
_F_NOTIFY: Final = 1026
SAVED_ANSWER: Final = "answer.saved.json"


class InstancePaths(NamedTuple):
    """Holds the paths of an installation's daemon.

    `saved` is the daemon's own copy of the answer; `last_license` what evaluate keeps of it through a reboot, "" for
    nothing; `owner` is the uid that counts as root; `make` allows making `directory`.
    """

    directory: str
    lock: str
    socket: str
    answer: str
    saved: str
    owner: int
    make: bool
    last_license: str = ""


def find_instance_paths(code: str = installation.CODE) -> InstancePaths:
    """Returns the paths of the installation that `code`, a file of this package, belongs to."""
    if installation.is_system(code):
        last_license = f"{installation.SYSTEM_STATE}/{installation.LAST_LICENSE}"
        return _paths_in(installation.SYSTEM_RUNTIME, owner=0, make=False)._replace(last_license=last_license)
    uid = os.geteuid()
    return _paths_in(installation.runtime_of_session(uid) or _runtime_without_session(code), owner=uid, make=True)


def _paths_in(directory: str, *, owner: int, make: bool) -> InstancePaths:
    return InstancePaths(
        directory=directory,
        lock=f"{directory}/{installation.DAEMON_LOCK}",
        socket=f"{directory}/{installation.SOCKET}",
        answer=f"{directory}/{installation.ANSWER}",
        saved=f"{directory}/{SAVED_ANSWER}",
        owner=owner,
        make=make,
    )


def _runtime_without_session(code: str) -> str:
    """Returns the folder as `system.storage.paths` says, in a process that ends at once.

    Pathlib and platformdirs would stay, at 0.8 MB of 14.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        _write_runtime_dir(code, theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:  # noqa: PTH123 - a descriptor
        found = os.fsdecode(pipe.read())
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise Bug(Reason.INTERNAL, "paths_not_found", cause=found)
    return found


def _write_runtime_dir(code: str, pipe: int) -> NoReturn:
    directory, status = b"", 1
    try:
        from opanel_agent.system.storage.paths import find

        directory, status = os.fsencode(find(code).runtime_dir), 0
    except (ImportError, OSError) as error:
        directory = str(error).encode()
    finally:
        os.write(pipe, directory)
        os._exit(status)  # no handler, buffer or caller of the parent's may run here


class Healed(NamedTuple):
    """Holds the socket that was made anew, and the one that nobody can reach any more, where it is ours to close."""

    made: ListeningSocket
    unreachable: ListeningSocket | None


class RuntimeDir:
    """Is the hold on the runtime directory, from its construction to `release`."""

    def __init__(self, instance_paths: InstancePaths, passed: Sequence[ListeningSocket] = ()) -> None:
        """Takes the lock and the socket; `passed` are those that systemd holds.

        Raises Unavailable (a daemon runs already) or Storage.
        """
        self._paths = instance_paths
        _directory(instance_paths)
        self._lock = _lock(instance_paths.lock)
        self._own: ListeningSocket | None = None
        self._watched: int | None = None
        self.listeners = list(passed)
        if passed:  # whose path `heal` looks after, once it is served: a fault of the path is no reason not to start
            return
        try:
            self.heal()
        except AgentError:
            os.close(self._lock)
            raise

    @property
    def held_by_systemd(self) -> bool:
        """Tells whether the listening socket outlives this daemon."""
        return self._own is None or len(self.listeners) > 1

    def heal(self) -> Healed | None:
        """Binds a new socket where the path no longer leads to one of ours; returns None where nothing was wrong.

        Raises Unavailable or Storage.
        """
        if self.listeners and leads_to(self._paths.socket, self.listeners):
            return None
        _directory(self._paths)
        made, unreachable = bind_listener(self._paths.socket), self._own
        self.listeners = [*(listener for listener in self.listeners if listener is not unreachable), made]
        self._own = made
        return Healed(made=made, unreachable=unreachable)

    def watch(self) -> bool:
        """Asks the kernel for SIGIO when a name in the directory is deleted (dnotify); returns False where it has none."""
        try:
            watched = os.open(self._paths.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        self._unwatch()
        self._watched = watched
        try:
            fcntl.fcntl(self._watched, _F_NOTIFY, _DN_DELETE | _DN_MULTISHOT)
        except OSError:
            return False
        return True

    def publish(self, answer: bytes, whole: bytes) -> None:
        """Writes the answer where the group reads it when the socket is silent, and the whole one for the next start.

        Each whole or not at all. Not synced: the directory is memory. Raises Storage.
        """
        self._write(self._paths.saved, whole, 0o600)
        self._write(self._paths.answer, answer, 0o640)

    def saved(self) -> bytes:
        """Returns the whole answer as the last daemon left it; empty where there is none, or it cannot be read."""
        return _read(self._paths.saved)

    def last_license(self) -> bytes:
        """Returns the license's part of the last answer, also after a reboot; empty where there is none."""
        return _read(self._paths.last_license)

    def _write(self, path: str, data: bytes, mode: int) -> None:
        new = path + ".new"
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - as above
                os.fchmod(descriptor, mode)
                file.write(data)
            os.replace(new, path)  # noqa: PTH105 - as above
        except OSError as error:
            raise _storage(error, "answer_not_written", path) from error

    def unlink_socket(self) -> None:
        """Removes the socket's name, unless systemd goes on listening there."""
        if self.held_by_systemd:
            return
        try:
            os.unlink(self._paths.socket)  # noqa: PTH108 - as above
        except FileNotFoundError:
            return

    def release(self) -> None:
        """Gives up the socket and the lock."""
        self.unlink_socket()
        for listener in self.listeners:
            listener.close()
        self._unwatch()
        os.close(self._lock)

    def _unwatch(self) -> None:
        if self._watched is not None:
            os.close(self._watched)
            self._watched = None


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib is 0.7 MB that stay
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                return b""
            return file.read(SAVED_MAX_BYTES + 1)
    except OSError:
        return b""


def _directory(instance_paths: InstancePaths) -> None:
    before = os.umask(0o077)
    try:
        if instance_paths.make:
            os.makedirs(instance_paths.directory, exist_ok=True)  # noqa: PTH103 - pathlib is 0.7 MB that stay
        found = os.lstat(instance_paths.directory)
    except FileNotFoundError as error:
        raise Storage(Fault.IO_FAILED, "runtime_dir_missing", path=instance_paths.directory) from error
    except OSError as error:
        raise _storage(error, "runtime_dir_failed", instance_paths.directory) from error
    finally:
        os.umask(before)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Storage(Fault.FILE_REFUSED, "runtime_dir_refused", path=instance_paths.directory)


def _lock(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _storage(error, "daemon_lock_failed", path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise Unavailable(Fault.ALREADY_RUNNING, "daemon_running", path=path) from error
    return descriptor


def _storage(error: OSError, detail: str, path: str) -> Storage:
    return Storage(errno_codes.fault_of(error), detail, path=path, cause=errno_codes.name_of(error))
