"""Inspects paths for `doctor`: type, owner and mode, the free space of the file system, and user accounts.

Links are not followed and nothing is opened, so looking changes nothing. Left out: access lists, and quotas, which the
kernel tells nobody but by refusing.
"""

import grp
import os
import pwd
import stat
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.diagnosis import DiskSpace, PathFacts
from opanel_agent.core.errors import Storage
from opanel_agent.system import errno_codes

_KINDS: Final = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket", stat.S_IFLNK: "link"}


class FileInspector(Protocol):
    """Every method raises Storage where the kernel does not let us look."""

    def look(self, path: Path) -> PathFacts | None:
        """Returns what lies there; None where nothing does."""
        ...

    def names(self, directory: Path) -> tuple[str, ...]:
        """Returns what a folder holds, sorted; () where there is none."""
        ...

    def space(self, path: Path) -> DiskSpace | None:
        """Returns the space of the file system that the path lies on; None where there is no such path."""
        ...

    def user(self, name: str) -> tuple[int, frozenset[int]] | None:
        """Returns the uid and the gids of a user; None where there is no such user."""
        ...


class LocalFileInspector:
    """This machine's."""

    def look(self, path: Path) -> PathFacts | None:
        """Returns what lstat(2) says of a path; None where nothing lies there."""
        try:
            found = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _failed(path, exc) from exc
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "device")
        return PathFacts(kind=kind, uid=found.st_uid, gid=found.st_gid, mode=stat.S_IMODE(found.st_mode))

    def names(self, directory: Path) -> tuple[str, ...]:
        """Returns the names in a folder, sorted; () where there is none."""
        try:
            return tuple(sorted(os.listdir(directory)))  # noqa: PTH208 - names are what is wanted
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as exc:
            raise _failed(directory, exc) from exc

    def space(self, path: Path) -> DiskSpace | None:
        """Returns what statvfs(3) says of the file system of a path; None where there is no such path."""
        try:
            stats = os.statvfs(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise _failed(path, exc) from exc
        return DiskSpace(
            bytes_free=stats.f_bavail * stats.f_frsize,
            files_free=stats.f_favail if stats.f_files else None,
            read_only=bool(stats.f_flag & os.ST_RDONLY),
        )

    def user(self, name: str) -> tuple[int, frozenset[int]] | None:
        """Returns the uid and every gid of a user, of /etc/group too; None where there is none."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None
        groups = {each.gr_gid for each in grp.getgrall() if name in each.gr_mem}
        return found.pw_uid, frozenset({found.pw_gid, *groups})


def _failed(path: Path, exc: OSError) -> Storage:
    return Storage(errno_codes.fault_of(exc), "read_failed", file=str(path), errno=errno_codes.name_of(exc))
