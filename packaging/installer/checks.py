"""What is looked at before anything is laid. Each raises CannotError, and changes nothing."""

import os
import re
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

from installer.place import CONFIG, MANIFEST, PLACE, STATE, is_there, printed
from installer.texts import CannotError, Voice

OLDEST_SYSTEMD = 247
PLACE_MB, STATE_MB, CONFIG_MB = 200, 50, 10
PACKAGED = (PLACE / "package", Path("/usr/lib/opanel-agent"))  # self-contained, native
PLACE_INODES = 5000  # 4,200 files of Python's environment and its wheels, seen on Debian 12


def nearest(path: Path) -> Path:
    """The path itself, or the folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def has_free(path: Path, megabytes: int, inodes: int = 0) -> bool:
    """Whether root may still write so much there; a file system that does not count (btrfs: inodes) has enough."""
    found = os.statvfs(nearest(path))
    room = found.f_bavail * found.f_frsize >= megabytes * 1_000_000 or found.f_blocks == 0
    return room and (found.f_favail >= inodes or found.f_files == 0)


def complete(kit: Path, *names: str) -> None:
    for name in names:
        if not os.access(kit / name, os.R_OK):
            raise CannotError("incomplete", kit / name)


def root(*, only_looking: bool) -> None:
    if os.geteuid() != 0 and not only_looking:
        raise CannotError("root")


def runs_systemd() -> bool:
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def systemd_runs() -> None:
    if not runs_systemd():
        raise CannotError("systemd")


def clock(released: str) -> None:
    """Whether today is the day on which this was made, or a later one."""
    today = datetime.now(UTC).date()
    if today < date.fromisoformat(released):
        raise CannotError("clock", today, released)


def systemd(voice: Voice) -> None:
    """Tells of one that is older than the units are written for."""
    words = printed("systemctl", "--version").split()
    if len(words) > 1 and words[1].isdigit() and int(words[1]) < OLDEST_SYSTEMD:
        voice.show("old_systemd", words[1])


def disk() -> None:
    for path, megabytes in ((PLACE, PLACE_MB), (STATE, STATE_MB), (CONFIG, CONFIG_MB)):
        if not has_free(path, megabytes):
            raise CannotError("full", path, megabytes)
    if not has_free(PLACE, 0, PLACE_INODES):
        raise CannotError("inodes", PLACE, PLACE_INODES)
    if os.statvfs(nearest(PLACE)).f_flag & os.ST_NOEXEC:
        raise CannotError("noexec", nearest(PLACE))


def owner() -> None:
    """Whoever can change a folder above the code could change the code; behind a link the agent would not find itself."""
    if PLACE.parent.is_symlink():
        raise CannotError("linked", PLACE.parent)
    for folder in (PLACE.parent, PLACE):
        if folder.is_dir() and (folder.stat().st_uid != 0 or folder.stat().st_mode & 0o022):
            raise CannotError("writable", folder)


def free_way() -> None:
    """What a package manager laid is its own; what lies where the installation is to lie is an installation, or nothing."""
    if any(is_there(path) for path in PACKAGED):
        raise CannotError("packaged")
    if is_there(PLACE):
        known = PLACE.is_dir() and not PLACE.is_symlink() and (MANIFEST.is_file() or not any(PLACE.iterdir()))
        if not known:
            raise CannotError("in_the_way", PLACE)
    if is_there(CONFIG) and (CONFIG.is_symlink() or not CONFIG.is_dir()):
        raise CannotError("in_the_way", CONFIG)


def not_older(version: str, here: str) -> None:
    if here and numbers(version) < numbers(here):
        raise CannotError("downgrade", here, version)


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]
