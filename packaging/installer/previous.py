"""What an upgrade replaces: kept in /opt/opanel-agent/.before until the new version has run, and put back where it does not.

The record says which environment it was and what ran. It is written before anything is replaced, so the way back is known
to the next run as well, should this one be cut short.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from installer.place import (
    ANSWER,
    DOORS,
    ENV,
    PENDING,
    PLACE,
    SERVICE,
    SOCKET,
    WATCH,
    WHEELS,
    forget,
    is_active,
    is_there,
    link,
    run,
    write,
)

BEFORE: Final = PLACE / ".before"
FILES: Final = BEFORE / "files"
RECORD: Final = BEFORE / "record"
OLD_WHEELS: Final = PLACE / "wheels.old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """`env` is the name of its environment, `running` its units that ran, `answered` whether it gave an answer.

    `own_socket` is whether systemd held its socket; `made` are the files that it did not have.
    """

    version: str
    env: str
    running: tuple[str, ...]
    answered: bool
    own_socket: bool
    made: tuple[str, ...]


def read() -> Previous | None:
    """Returns what was replaced by an upgrade that is not settled yet."""
    try:
        found = json.loads(RECORD.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Previous(**{**found, "running": tuple(found["running"]), "made": tuple(found["made"])})


def keep(version: str, files: list[Path], *, own_socket: bool) -> Previous:
    """Records what is here, and copies those files of it that will be replaced."""
    made = tuple(str(path) for path in files if not is_there(path))
    kept = Previous(
        version=version,
        env=str(ENV.readlink()),
        running=running(),
        answered=is_active(SERVICE) and ANSWER.exists(),
        own_socket=own_socket,
        made=made,
    )
    FILES.mkdir(parents=True, exist_ok=True)
    for path in files:
        if path.is_file() and not path.is_symlink():
            aside = FILES / path.relative_to("/")
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, aside)
    write(RECORD, json.dumps(asdict(kept)))
    return kept


def running() -> tuple[str, ...]:
    return tuple(unit for unit in (SOCKET, *DOORS, SERVICE, WATCH) if is_active(unit))


def put_back(previous: Previous) -> None:
    """Makes everything what it was, and starts what ran."""
    for aside in sorted(path for path in FILES.rglob("*") if path.is_file()):
        target = Path("/") / aside.relative_to(FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, aside.read_bytes(), aside.stat().st_mode & 0o777)
    for path in previous.made:
        Path(path).unlink(missing_ok=True)
    forget(*(f"f {path}" for path in previous.made))
    if OLD_WHEELS.is_dir():
        shutil.rmtree(WHEELS, ignore_errors=True)
        shutil.move(OLD_WHEELS, WHEELS)
    link(ENV, previous.env)
    run("systemctl", "daemon-reload")
    if not previous.own_socket:  # it binds the path itself
        run("systemctl", "-q", "disable", SOCKET)
        run("systemctl", "stop", SOCKET, SERVICE)
        forget(f"e {SOCKET}")
    for unit in previous.running:
        run("systemctl", "restart", unit)
    tidy()


def tidy() -> None:
    """Removes what is no longer used: earlier environments and packages, and what a run that was cut short left."""
    kept = ENV.readlink().name if ENV.is_symlink() else ""
    leftovers = [*PLACE.glob("env-*"), *PLACE.glob(".wheels.new.*"), PLACE / "wheels.new", OLD_WHEELS, BEFORE]
    for path in leftovers:
        if path.name != kept and is_there(path):
            shutil.rmtree(path, ignore_errors=True)
    PENDING.unlink(missing_ok=True)
