"""Finds a mount that consent.d is to be on and is not: the folder that lies below it then is not the policies' own.

Looked at are fstab(5) and the names of systemd's mount units, for the folder and each directory above it; what is mounted
is in proc_pid_mountinfo(5). An automount needs no rule: the folder is mounted by being listed. Left out: a mount that
nothing on this machine names.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from opanel_agent.core.errors import AgentError
from opanel_agent.system.storage.files import Files

FSTAB: Final = Path("/etc/fstab")
MOUNTINFO: Final = Path("/proc/self/mountinfo")
UNIT_FOLDERS: Final = tuple(map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")))
_MAX_BYTES: Final = 4 * 1024 * 1024
_OCTAL: Final = r"\\([0-7]{3})"
_ESCAPED: Final = r"[^A-Za-z0-9:_.]"


class Missing(NamedTuple):
    """`mount` is what is not mounted, `named` the file that names it."""

    mount: Path
    named: Path


def missing_mount(files: Files, folder: Path) -> Missing | None:
    """Returns the mount that `folder`, links resolved, is to be on and is not; None where there is none."""
    candidates = [place for place in (folder, *folder.parents) if place != Path("/")]
    named = dict.fromkeys(_mount_points(files, FSTAB, 1), FSTAB)
    for place in candidates:
        unit = next(filter(files.exists, _unit_files(place)), None)
        if unit is not None:
            named.setdefault(place, unit)
    wanted = next((place for place in candidates if place in named), None)
    if wanted is None or wanted in set(_mount_points(files, MOUNTINFO, 4)):
        return None
    return Missing(mount=wanted, named=named[wanted])


def is_mount(files: Files, folder: Path) -> bool:
    """Tells whether something is mounted at `folder`, links resolved."""
    return folder in set(_mount_points(files, MOUNTINFO, 4))


def _mount_points(files: Files, path: Path, column: int) -> Iterator[Path]:
    """Yields the mount points of a table, its octal escapes undone. A table that cannot be read has none."""
    try:
        data = files.read(path, max_bytes=_MAX_BYTES, follow=True) or b""
    except AgentError:
        return
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split()
        if len(fields) > column and not fields[0].startswith("#") and fields[column].startswith("/"):
            yield Path(re.sub(_OCTAL, lambda found: chr(int(found[1], 8)), fields[column]))


@lru_cache(maxsize=64)
def _unit_files(place: Path) -> tuple[Path, ...]:
    """Returns where systemd looks for a path's mount unit. A pass asks for the same few paths again and again."""
    return tuple(folder / _unit(place) for folder in UNIT_FOLDERS)


def _unit(place: Path) -> str:
    """Returns the name of a path's mount unit (systemd.unit(5), "String escaping for inclusion in unit names")."""
    text = str(place).strip("/")
    escaped = "-".join(
        re.sub(
            _ESCAPED,
            lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode("utf-8", "surrogateescape")),
            part,
        )
        for part in text.split("/")
    )
    return ("\\x2e" + escaped[1:] if escaped.startswith(".") else escaped) + ".mount"
