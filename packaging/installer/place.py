"""Where everything lies, and the manifest: what was laid, a line each.

`f` a file, `l` a link, `d` a folder, `e` a unit that was enabled once, `g` the group; then its path or name.
"""

import contextlib
import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from installer.texts import CannotError

PLACE: Final = Path("/opt/opanel-agent")
ENV: Final = PLACE / "env"
WHEELS: Final = PLACE / "wheels"
RUNTIME: Final = PLACE / "runtime.tar.gz"  # what the tar brought, kept to repair
MANIFEST: Final = PLACE / "manifest"
PENDING: Final = PLACE / ".pending"
CONFIG: Final = Path("/etc/opanel-agent")
STATE: Final = Path("/var/lib/opanel-agent")
WITHDRAWALS: Final = Path("/var/lib/opanel-agent-withdrawals")
UNITS: Final = Path("/etc/systemd/system")
SYSUSERS: Final = Path("/usr/lib/sysusers.d/opanel-agent.conf")
TMPFILES: Final = Path("/usr/lib/tmpfiles.d/opanel-agent.conf")
SHARE: Final = Path("/usr/local/share")
COMMAND: Final = Path("/usr/local/bin/opanel-agent")
ANSWER: Final = Path("/run/opanel-agent/answer.json")
SERVICE: Final = "opanel-agent.service"
SOCKET: Final = "opanel-agent.socket"
DOORS: Final = ("opanel-agent-fetch.socket", "opanel-agent-courier.socket")
WATCH: Final = "opanel-agent-changed.path"
TRIAL: Final = "opanel-agent-trial.service"
RUNTIME_FOLDERS: Final = (Path("/run/opanel-agent"), Path("/run/opanel-courier"), Path("/run/opanel-machine"))
# Owner and mode of each folder that tmpfiles.d makes.
FOLDERS: Final[Mapping[Path, str]] = {
    CONFIG: "root:opanel-agent 2755",
    CONFIG / "import.d": "root:opanel-agent 2750",
    RUNTIME_FOLDERS[0]: "opanel-agent:opanel 2750",
    RUNTIME_FOLDERS[1]: "opanel-agent:opanel-agent 700",
    RUNTIME_FOLDERS[2]: "root:root 700",
    WITHDRAWALS: "root:root 755",
    WITHDRAWALS / "agent": "opanel-agent:opanel-agent 755",
}


def noted() -> list[str]:
    """Every line of the manifest, in the order of laying; none where nothing was laid."""
    try:
        return MANIFEST.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []


def is_noted(line: str) -> bool:
    return line in noted()


def note(line: str) -> None:
    if not is_noted(line):
        with MANIFEST.open("a", encoding="utf-8") as manifest:
            manifest.write(f"{line}\n")


def forget(*lines: str) -> None:
    """Takes lines out of the manifest, in one step."""
    kept = [line for line in noted() if line not in lines]
    if MANIFEST.exists() and kept != noted():
        write(MANIFEST, "".join(f"{line}\n" for line in kept))


def laid() -> Iterator[Path]:
    """Every file and link of the manifest."""
    for line in noted():
        kind, _, path = line.partition(" ")
        if kind in {"f", "l"}:
            yield Path(path)


def write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Writes a file of root's in one step. Raises CannotError `write`."""
    new = path.with_name(f"{path.name}.opanel-new")
    try:
        new.unlink(missing_ok=True)
        with new.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), 0, 0)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _keep_name(path)
    except OSError as error:
        raise CannotError("write", path) from error


def link(path: Path, target: str | Path) -> None:
    """Makes a link in one step, whatever lies there. Raises CannotError `write`."""
    new = path.with_name(f"{path.name}.opanel-new")
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(path)
        _keep_name(path)
    except OSError as error:
        raise CannotError("write", path) from error


def _keep_name(path: Path) -> None:
    """Has a power cut not undo a rename: the record of an upgrade has to be there before what it records is replaced."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_there(path: Path) -> bool:
    """Whether anything lies there, also a link that leads nowhere."""
    return os.path.lexists(path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def run(*command: str | Path) -> bool:
    """Whether a program of the system's succeeded; what it says is for the person to read. One that is missing did not."""
    try:
        return subprocess.run([str(word) for word in command], check=False).returncode == 0
    except OSError:
        return False


def printed(*command: str | Path) -> str:
    """What a program prints; nothing where it is missing or fails."""
    try:
        ran = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return ran.stdout if ran.returncode == 0 else ""


@contextlib.contextmanager
def one_at_a_time(*, really: bool = True) -> Iterator[None]:
    """Raises CannotError `busy`. Not held while a person reads and answers."""
    if not really:
        yield
        return
    place = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CannotError("busy") from error
    finally:
        os.close(place)


def is_active(unit: str) -> bool:
    return run("systemctl", "-q", "is-active", unit)
