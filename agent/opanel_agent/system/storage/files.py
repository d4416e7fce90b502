"""Reads and writes every file of the agent: bounded reads, durable writes, one writer at a time.

A read opens without following a link and without waiting (a FIFO put there must not hang us), then judges what it
*opened*: a regular file, not too long and, where `owners` are named, theirs and nobody else's to change. A write is:
temporary file in the same directory, write, fsync, rename, fsync of the directory; it has happened when the call
returns. At whichever step it fails or the machine stops, the old or the new value is readable, whole.

Temporary files have a name of their own that `names` never shows. What a crash left of them is cleared by `sweep`,
which only the holder of the directory's lock may call.

Left out: access lists, and what root could do between two of our calls.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Storage, Unreadable
from opanel_agent.system import errno_codes, file_stamp

ROOT_UID: Final = 0
LOCK_POLL_S: Final = 0.05
TEMPORARY_SUFFIX: Final = ".opanel-tmp"
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_OF_THE_PROCESS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
_NO_ROOM: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT})
# A folder that takes no new file may also be immutable (chattr(1)).
_NO_FILE: Final = _NO_ROOM | {errno.EPERM}
_READ_CHUNK: Final = 64 * 1024
_LONGEST_TAIL: Final = 1024 * 1024


class Files(Protocol):
    """What the agent asks of a file system. Every method raises Storage when the machine cannot do it."""

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        """Returns the whole content, or None when nothing is there.

        Raises Unreadable where it is there and cannot be read (EIO, EACCES). Raises Misconfigured for anything but a
        regular file of at most `max_bytes`; with `owners` also when the file or its directory belongs to another
        (root's directory will do), or when others could replace it. `follow` admits a symbolic link: only for what
        can narrow and never grant.
        """
        ...

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Replace the file as a whole. Durable when it returns."""
        ...

    def append(self, path: Path, line: bytes, *, mode: int = 0o600) -> None:
        """Add one line. Durable when it returns; an earlier line that a crash tore is cut off first."""
        ...

    def remove(self, path: Path) -> None:
        """Remove the file (a link, not its target). Durable when it returns; nothing there is no error."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove what lies there, a folder with all that is in it. Durable when it returns; nothing there is no error."""
        ...

    def move(self, path: Path, target: Path) -> None:
        """Give what lies there, whatever it is, another name in its directory. Durable; nothing there is no error."""
        ...

    def names(self, directory: Path, *, owners: frozenset[int] | None = None) -> tuple[str, ...]:
        """Returns the names in a directory, sorted, without our temporary files; () when it does not exist.

        Raises Unreadable where it cannot be listed, or is no directory.

        With `owners`, one that is none of theirs, or that others may write, is refused, and so is a link that leads nowhere.
        """
        ...

    def exists(self, path: Path) -> bool:
        """Tells whether anything has this name: a dangling link counts, and so does what cannot be examined."""
        ...

    def stamp(self, path: Path) -> str:
        """Returns what differs once the file or folder was changed (`system.file_stamp`). Never raises."""
        ...

    def make_dir(self, path: Path, *, mode: int = 0o700) -> None:
        """Make the directory and those above it that are missing. One that exists is left as it is."""
        ...

    def restore_access(self, path: Path) -> None:
        """Let this user into a folder of its own whose mode does not: rwx for itself. Anything else is left as it is."""
        ...

    def sweep(self, directory: Path) -> None:
        """Clear temporary files that a crash left. The caller holds the directory's lock."""
        ...

    def lock(self, path: Path, *, timeout_s: float = 10.0) -> AbstractContextManager[None]:
        """Be the one writer while the context lasts. Raises Storage(busy) after `timeout_s`.

        Raises Unreadable where what lies there cannot be locked: another's, a link, a folder.
        """
        ...


def is_temporary(name: str) -> bool:
    """Returns whether a name is that of a write's temporary file, which `names` hides and `sweep` clears."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


class Syscalls:
    """Makes the system calls of a write, one a method, so that a test can fail, stop or tear each."""

    def create(self, path: Path, mode: int) -> int:
        """Opens a new file for writing; an existing one, and a link, is an error."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, mode)
        os.fchmod(fd, mode)  # the umask must not decide who may read a key
        return fd

    def write(self, fd: int, data: bytes) -> int:
        """Writes some of `data` and returns how many bytes."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Makes what was written to a file durable."""
        os.fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Replaces `target` in one step."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Removes a name."""
        path.unlink()

    def fsync_dir(self, directory: Path) -> None:
        """Makes the names in a directory durable."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class LocalFiles:
    """This machine's file system."""

    def __init__(self, syscalls: Syscalls | None = None) -> None:
        self._sys = syscalls or Syscalls()

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        """Reads by one open(2) that neither follows a link nor waits, and judges what was opened."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
        try:
            fd = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _not_opened(path, exc) from exc
        try:
            with _closing(fd):
                _judge(path, os.fstat(fd), owners)
                return _read_all(path, fd, max_bytes)
        except OSError as exc:
            raise _not_read(path, exc) from exc

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Writes a temporary file beside it, syncs, renames and syncs the directory."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        try:
            temporary.unlink(missing_ok=True)  # a crash of an earlier process of this number may have left it
            self._fill(temporary, data, mode)
            self._sys.rename(temporary, path)
            self._sys.fsync_dir(path.parent)
        except OSError as exc:
            with contextlib.suppress(OSError):  # the first failure is the one to tell
                temporary.unlink()
            raise _failed("write_failed", path, exc) from exc

    def append(self, path: Path, line: bytes, *, mode: int = 0o600) -> None:
        """Appends after the last whole line, and syncs."""
        if b"\n" in line:
            raise Bug(Reason.INTERNAL, "append_newline", file=str(path))
        try:
            fd, is_new = self._open_for_append(path, mode)
            try:
                self._append(fd, line + b"\n")
            finally:
                os.close(fd)
            if is_new:
                self._sys.fsync_dir(path.parent)
        except OSError as exc:
            raise _failed("write_failed", path, exc) from exc

    def remove(self, path: Path) -> None:
        """Unlinks, and syncs the directory."""
        try:
            self._sys.unlink(path)
            self._sys.fsync_dir(path.parent)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise _failed("remove_failed", path, exc) from exc

    def remove_tree(self, path: Path) -> None:
        """Unlinks a file or link, or a whole folder, links not followed, and syncs the directory."""
        if path.is_symlink() or not path.is_dir():
            self.remove(path)
            return
        import shutil  # a pass that removes no folder, which is nearly every one, needs none of it

        try:
            with contextlib.suppress(OSError):  # a folder of ours may have lost the mode that lets us look into it
                path.chmod(0o700)
            shutil.rmtree(path)
            self._sys.fsync_dir(path.parent)
        except OSError as exc:
            raise _failed("remove_failed", path, exc) from exc

    def move(self, path: Path, target: Path) -> None:
        """Renames within the directory, and syncs it."""
        try:
            self._sys.rename(path, target)
            self._sys.fsync_dir(path.parent)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise _failed("write_failed", path, exc) from exc

    def names(self, directory: Path, *, owners: frozenset[int] | None = None) -> tuple[str, ...]:
        """Lists a directory, sorted, without temporary files; judges it, where `owners` asks for it, before it is listed."""
        try:
            if owners is not None and directory.is_symlink() and not directory.exists():
                raise _refused("folder_dangling", directory)
            if owners is not None and directory.is_dir():
                _judge_directories(directory / "in it", owners)
            return tuple(sorted(path.name for path in directory.iterdir() if not is_temporary(path.name)))
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise _not_read(directory, exc) from exc

    def exists(self, path: Path) -> bool:
        """Returns whether lstat(2) finds anything, or cannot tell."""
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # what cannot be looked at may be a "no", and unclear is a "no"
        return True

    def stamp(self, path: Path) -> str:
        """Returns the stamp of what has this name, links not followed."""
        return file_stamp.stamp(str(path))

    def make_dir(self, path: Path, *, mode: int = 0o700) -> None:
        """Makes each missing directory with `mode`, the setgid bit of its parent kept, and syncs its parent."""
        try:
            for missing in reversed([step for step in (path, *path.parents) if not step.exists()]):
                missing.mkdir(mode=mode)
                inherited = missing.stat().st_mode & stat.S_ISGID  # a folder above that passes its group on
                missing.chmod(mode | inherited)
                self._sys.fsync_dir(missing.parent)
        except OSError as exc:
            raise _failed("write_failed", path, exc) from exc

    def restore_access(self, path: Path) -> None:
        """Adds 0700 to the mode of a folder that this user owns and that lacks some of it."""
        try:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o700 == 0o700:
                return
            path.chmod(stat.S_IMODE(found.st_mode) | 0o700)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise _failed("write_failed", path, exc) from exc

    def sweep(self, directory: Path) -> None:
        """Unlinks every temporary file in a directory."""
        try:
            for path in [path for path in directory.iterdir() if is_temporary(path.name)]:
                self._sys.unlink(path)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise _failed("remove_failed", directory, exc) from exc

    @contextlib.contextmanager
    def lock(self, path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
        """Holds flock(2) on a file, tried every 50 ms. Raises Storage(busy) after `timeout_s`, and Unreadable."""
        try:
            fd = _open_to_lock(path)
        except OSError as exc:
            raise _unreadable("write_failed", path, exc) from exc
        with _closing(fd):  # which releases it
            _wait_for_lock(fd, path, timeout_s)
            yield

    def _fill(self, temporary: Path, data: bytes, mode: int) -> None:
        fd = self._sys.create(temporary, mode)
        try:
            self._write_all(fd, data)
            self._sys.fsync(fd)
        finally:
            os.close(fd)

    def _write_all(self, fd: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._sys.write(fd, bytes(rest)) :]

    def _open_for_append(self, path: Path, mode: int) -> tuple[int, bool]:
        try:
            return self._sys.create(path, mode), True
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC), False

    def _append(self, fd: int, line: bytes) -> None:
        end = _end_of_whole_lines(fd)
        os.ftruncate(fd, end)
        try:
            self._write_all(fd, line)
            self._sys.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):  # if this fails too, the next append cuts it
                os.ftruncate(fd, end)
            raise


def _judge(path: Path, found: os.stat_result, owners: frozenset[int] | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refused("file_type", path)
    if owners is None:
        return
    if found.st_uid not in owners:
        raise _refused("file_owner", path)
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise _refused("file_writable", path)
    _judge_directories(path, owners)


def _judge_directories(path: Path, owners: frozenset[int]) -> None:
    """Judges who can write a directory, for he can replace what is in it, unless its sticky bit says otherwise (/tmp).

    Its owner always can. In a user namespace root's own directories show as the overflow uid, which owns nothing there.
    """
    home = path.parent.resolve()
    for directory in (home, *home.parents):
        found = directory.stat()
        mode = found.st_mode
        if found.st_uid not in owners | {ROOT_UID} | (_unmapped_uids() if directory != home else frozenset()):
            raise _refused("file_owner", directory)
        if mode & _WRITABLE_BY_OTHERS and not mode & stat.S_ISVTX:
            raise _refused("file_writable", directory)


def _unmapped_uids() -> frozenset[int]:
    """Returns the overflow uid inside of a user namespace that does not map every uid; none outside of one.

    None as well where the kernel does not tell, this time: who owns a folder is then judged as outside of one.
    """
    try:
        return _read_unmapped_uids()
    except (OSError, ValueError):
        return frozenset()


@cache
def _read_unmapped_uids() -> frozenset[int]:
    inside, outside, count = map(int, Path("/proc/self/uid_map").read_text("ascii").split()[:3])
    if (inside, outside) == (0, 0) and count >= 2**32 - 1:
        return frozenset()
    return frozenset({int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))})


def _read_all(path: Path, fd: int, max_bytes: int) -> bytes:
    """Read one byte past the limit rather than trust a size that may grow while we read."""
    data = bytearray()
    while len(data) <= max_bytes:
        chunk = os.read(fd, min(_READ_CHUNK, max_bytes + 1 - len(data)))
        if not chunk:
            return bytes(data)
        data += chunk
    raise _refused("file_size", path).but(max_bytes=max_bytes)


def _end_of_whole_lines(fd: int) -> int:
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _LONGEST_TAIL, max(0, size - _LONGEST_TAIL)) if size else b""
    return size - (len(tail) - (tail.rfind(b"\n") + 1))


def _open_to_lock(path: Path) -> int:
    """Returns the lock file, or, where the file system takes no new file, the one that is there, else its folder."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno not in _NO_FILE:
            raise
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _wait_for_lock(fd: int, path: Path, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            if time.monotonic() >= until:
                raise Storage(Fault.BUSY, "locked", file=str(path)) from exc
            time.sleep(LOCK_POLL_S)
        except OSError as exc:
            raise _failed("write_failed", path, exc) from exc
        else:
            return


def _refused(detail: str, path: Path) -> Misconfigured:
    return Misconfigured(Fault.FILE_REFUSED, detail, file=str(path))


def _not_opened(path: Path, exc: OSError) -> AgentError:
    """Returns a symbolic link (ELOOP), a socket or a dead FIFO (ENXIO) is not a file of ours; the rest is the machine's."""
    if exc.errno in (errno.ELOOP, errno.ENXIO):
        return _refused("file_type", path)
    return _not_read(path, exc)


def _not_read(path: Path, exc: OSError) -> Storage:
    return _unreadable("read_failed", path, exc)


def _unreadable(detail: str, path: Path, exc: OSError) -> Storage:
    """Returns Unreadable where it is the file's fault or its file system's; Storage where this process lacks something."""
    if exc.errno in _OF_THE_PROCESS or exc.errno in _NO_ROOM:
        return _failed(detail, path, exc)
    return Unreadable(errno_codes.fault_of(exc), detail, file=str(path), errno=errno_codes.name_of(exc))


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[None]:
    """Closes a descriptor that was only read or locked. EIO from close(2) is no fault of what was read before."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def _failed(detail: str, path: Path, exc: OSError) -> Storage:
    fault, name = errno_codes.fault_of(exc), errno_codes.name_of(exc)
    if fault is Fault.DISK_FULL:
        return Storage(fault, "disk_full", file=str(path), errno=name)
    return Storage(fault, detail, file=str(path), errno=name)
