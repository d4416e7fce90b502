"""A disk in memory that can fail at any step and lose what was not made durable.

Two states: what a reader sees now, and what is on the platter. A write goes through the same named steps as the real
one (create, write, fsync, rename, fsync_dir; append: write, fsync, fsync_dir; remove: unlink, fsync_dir). `fault` is
called before each and may raise; `stop_at` raises at the n-th step from now. `crash` throws away what was not
durable; of a rename that happened without its fsync_dir a disk may keep either side, and `keep` says which.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Storage
from opanel_agent.core.reasons import Fault, Reason
from opanel_agent.system.files import is_temporary


class Stopped(BaseException):
    """The process was killed here. Not an Exception: nothing may handle it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`kind`: file, link (dangling unless `data` says what is behind it), dir or fifo."""

    data: bytes = b""
    owner: int = 0
    mode: int = 0o600
    kind: str = "file"


class MemoryFiles:
    """Implements Files. `uid` is who this process is: the owner of what it writes."""

    def __init__(self, *, uid: int = 0, fault: Callable[[str, Path], None] | None = None) -> None:
        self.uid = uid
        self.fault = fault
        self.steps: list[tuple[str, Path]] = []
        self.locked: set[Path] = set()
        self._now: dict[Path, Entry] = {}
        self._disk: dict[Path, Entry] = {}
        self._dirs: set[Path] = set()
        self._stop_in: int | None = None
        self._stop_with: BaseException = Stopped()

    # for tests

    def put(self, path: Path, data: bytes = b"", *, owner: int = 0, mode: int = 0o644, kind: str = "file") -> None:
        """Lay a file, durably, as an administrator or another program would."""
        self._now[path] = self._disk[path] = Entry(data=data, owner=owner, mode=mode, kind=kind)

    def take_away(self, path: Path) -> None:
        self._now.pop(path, None)
        self._disk.pop(path, None)

    def stop_at(self, step: int, with_: BaseException | None = None) -> None:
        """Raise at the `step`-th step from now (0 is the next): Stopped, or an error such as Storage."""
        self._stop_in = step
        self._stop_with = with_ or Stopped()

    def crash(self, *, keep: bool = False) -> None:
        """The machine loses power. With `keep` the disk happened to hold what was written but not yet durable."""
        if keep:
            self._disk = dict(self._now)
        self._now = {path: entry for path, entry in self._disk.items() if not is_temporary(path.name)}
        self.locked.clear()
        self._stop_in = None

    def durable(self, path: Path) -> bytes | None:
        """What a loss of power now would leave of it."""
        kept = self._disk.get(path)
        return None if kept is None else kept.data

    def snapshot(self) -> dict[Path, Entry]:
        """What a backup made now would hold."""
        return dict(self._disk)

    def restore(self, backup: dict[Path, Entry], directory: Path) -> None:
        """Everything below `directory` as it was in the backup, and nothing else there."""
        for kept in (self._now, self._disk):
            for path in [path for path in kept if path.is_relative_to(directory)]:
                del kept[path]
            kept.update({path: entry for path, entry in backup.items() if path.is_relative_to(directory)})

    def entry(self, path: Path) -> Entry | None:
        return self._now.get(path)

    # Files

    def read(
        self, path: Path, *, max_bytes: int, owners: frozenset[int] | None = None, follow: bool = False
    ) -> bytes | None:
        self._step("read", path)
        entry = self._now.get(path)
        if entry is None:
            return None
        if entry.kind == "link" and follow:
            return entry.data or None
        if entry.kind != "file":
            raise _refused("file_type", path)
        if owners is not None and entry.owner not in owners:
            raise _refused("file_owner", path)
        if owners is not None and entry.mode & 0o022:
            raise _refused("file_writable", path)
        if len(entry.data) > max_bytes:
            raise _refused("file_size", path).but(max_bytes=max_bytes)
        return entry.data

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        for step in ("create", "write", "fsync", "rename"):
            self._step(step, path)
        self._now[path] = Entry(data=data, owner=self.uid, mode=mode)
        self._step("fsync_dir", path)
        self._disk[path] = self._now[path]

    def append(self, path: Path, line: bytes, *, mode: int = 0o600) -> None:
        if b"\n" in line:
            raise Bug(Reason.INTERNAL, "append_newline", file=str(path))
        before = self._now.get(path) or Entry(owner=self.uid, mode=mode)
        whole = before.data[: before.data.rfind(b"\n") + 1]
        self._step("write", path)
        self._now[path] = Entry(data=whole + line + b"\n", owner=before.owner, mode=before.mode)
        try:
            self._step("fsync", path)
        except AgentError:
            self._now[path] = before
            raise
        self._step("fsync_dir", path)
        self._disk[path] = self._now[path]

    def remove(self, path: Path) -> None:
        if path not in self._now:
            return
        self._step("unlink", path)
        del self._now[path]
        self._step("fsync_dir", path)
        self._disk.pop(path, None)

    def move(self, path: Path, target: Path) -> None:
        if path not in self._now:
            return
        self._step("rename", path)
        self._now[target] = self._now.pop(path)
        self._step("fsync_dir", path)
        self._disk[target] = self._now[target]
        self._disk.pop(path, None)

    def names(self, directory: Path) -> tuple[str, ...]:
        self._step("names", directory)
        parts, depth = directory.parts, len(directory.parts)  # `parents` would be walked anew for each path
        below = {path.parts[depth] for path in self._now if path.parts[:depth] == parts and len(path.parts) > depth}
        return tuple(sorted(name for name in below if not is_temporary(name)))

    def exists(self, path: Path) -> bool:
        return path in self._now or path in self._dirs or any(path in other.parents for other in self._now)

    def make_dir(self, path: Path, *, mode: int = 0o700) -> None:
        self._step("make_dir", path)
        self._dirs.update({path, *path.parents})

    def sweep(self, directory: Path) -> None:
        self._step("sweep", directory)

    @contextlib.contextmanager
    def lock(self, path: Path, *, timeout_s: float = 10.0) -> Iterator[None]:
        self._step("lock", path)
        if path in self.locked:
            raise Storage(Fault.BUSY, "locked", file=str(path))
        self.locked.add(path)
        try:
            yield
        finally:
            self.locked.discard(path)

    def _step(self, name: str, path: Path) -> None:
        self.steps.append((name, path))
        if self.fault is not None:
            self.fault(name, path)
        if self._stop_in is not None:
            self._stop_in -= 1
            if self._stop_in < 0:
                self._stop_in = None
                raise self._stop_with


def _refused(detail: str, path: Path) -> Misconfigured:
    return Misconfigured(Fault.FILE_REFUSED, detail, file=str(path))
