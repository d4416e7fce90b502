"""The daemon's place on disk: one lock, one socket, one file with the last answer.

Each refusal is an error of its own.

The lock decides who is the daemon; the socket of one that is gone is replaced, that of another program is not. The
directory must be ours: in a system installation tmpfiles.d makes it, so that the group comes with it (the agent may
not chown); a user installation makes its own, 0700.
"""

import fcntl
import os
import socket
import stat
from typing import NamedTuple, NoReturn

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Storage, Unavailable
from opanel_agent.system import errno_codes
from opanel_agent.system.storage import installation

_BACKLOG = 32  # who comes last waits for all before: 128 make the p99 under attack 3 ms instead of 1.5 (2026-11-24)
_PATH_MAX_BYTES = 107  # sun_path, less its NUL


class InstancePaths(NamedTuple):
    """Where the daemon stands. `owner` is the uid that counts as root; `make` allows making `directory`."""

    directory: str
    lock: str
    socket: str
    answer: str
    owner: int
    make: bool


def find_instance_paths(code: str = installation.CODE) -> InstancePaths:
    """The instance_paths of the installation that `code`, a file of this package, belongs to."""
    if installation.is_system(code):
        return _paths_in(installation.SYSTEM_RUNTIME, owner=0, make=False)
    uid = os.geteuid()
    return _paths_in(installation.runtime_of_session(uid) or _runtime_without_session(code), owner=uid, make=True)


def _paths_in(directory: str, *, owner: int, make: bool) -> InstancePaths:
    return InstancePaths(
        directory=directory,
        lock=f"{directory}/{installation.DAEMON_LOCK}",
        socket=f"{directory}/{installation.SOCKET}",
        answer=f"{directory}/{installation.ANSWER}",
        owner=owner,
        make=make,
    )


def _runtime_without_session(code: str) -> str:
    """As `system.storage.paths` says, in a process that ends at once.

    Pathlib and platformdirs would stay, at 0.8 MB of 14.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tell_runtime(code, theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:  # noqa: PTH123 - a descriptor
        found = os.fsdecode(pipe.read())
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise Bug(Reason.INTERNAL, "paths_not_found", cause=found)
    return found


def _tell_runtime(code: str, pipe: int) -> NoReturn:
    directory, status = b"", 1
    try:
        from opanel_agent.system.storage.paths import find

        directory, status = os.fsencode(find(code).runtime_dir), 0
    except (ImportError, OSError) as error:
        directory = str(error).encode()
    finally:
        os.write(pipe, directory)
        os._exit(status)  # no handler, buffer or caller of the parent's may run here


class RuntimeDir:
    """Being the daemon here, until `release`."""

    def __init__(self, instance_paths: InstancePaths) -> None:
        """Raises Unavailable (already running) or Storage."""
        self._instance_paths = instance_paths
        _directory(instance_paths)
        self._lock = _lock(instance_paths.lock)
        try:
            self.listener = _listener(instance_paths.socket)
        except AgentError:
            os.close(self._lock)
            raise

    def publish(self, answer: bytes) -> None:
        """Leaves the answer where the group reads it when the socket is silent; whole or not at all.

        Not synced: the directory is memory, and the next start makes the answer anew. Raises Storage.
        """
        path, new = self._instance_paths.answer, self._instance_paths.answer + ".new"
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - pathlib is 0.7 MB that stay
                os.fchmod(descriptor, 0o640)
                file.write(answer)
            os.replace(new, path)  # noqa: PTH105 - as above
        except OSError as error:
            raise _storage(error, "answer_not_written", path) from error

    def unlink_socket(self) -> None:
        """Nobody finds the socket any more."""
        try:
            os.unlink(self._instance_paths.socket)  # noqa: PTH108 - pathlib is 0.7 MB that stay
        except FileNotFoundError:
            return

    def release(self) -> None:
        self.unlink_socket()
        self.listener.close()
        os.close(self._lock)


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


def _listener(path: str) -> socket.socket:
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise Storage(Fault.IO_FAILED, "socket_path_long", path=path, max_bytes=_PATH_MAX_BYTES)
    _remove_stale_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)  # 0660 from its first moment: a chmod after bind would leave a gap
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _storage(error, "socket_failed", path) from error
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    return listener


def _remove_stale_socket(path: str) -> None:
    """Removes a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Storage(Fault.FILE_REFUSED, "socket_path_taken", path=path)
        if _has_listener(path):
            raise Unavailable(Fault.ALREADY_RUNNING, "socket_in_use", path=path)
        os.unlink(path)  # noqa: PTH108 - pathlib is 0.7 MB that stay
    except FileNotFoundError:
        return
    except OSError as error:
        raise _storage(error, "socket_failed", path) from error


def _has_listener(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its queue is full, so there is someone
            return True
        return True


def _storage(error: OSError, detail: str, path: str) -> Storage:
    return Storage(errno_codes.fault_of(error), detail, path=path, cause=errno_codes.name_of(error))
