"""The environment that the agent runs in: made of wheels with the system's Python, or brought whole with one of its own."""

import filecmp
import gzip
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from installer.place import ENV, PLACE, RUNTIME, WHEELS, printed
from installer.previous import OLD_WHEELS
from installer.texts import CannotError

NEW_WHEELS: Final = PLACE / "wheels.new"
FROM_TAR: Final = "env-runtime-"  # how the name of its environment begins
ROOT_OF_TRUST: Final = "opanel_agent/data/trust/root.jws"
LOCK: Final = "packaging/agent.lock"
Supply = Literal["none", "copy", "kept", "fetch", "runtime"]
# Whether every package is there, and every file of theirs as it was installed: so the same command repairs.
WHOLE: Final = """
import base64, csv, hashlib, pathlib, sys
import cryptography, h11, httpx, platformdirs, psutil, structlog, tomli_w
records = pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/*.dist-info/RECORD")
for record in records:
    for name, digest, _ in csv.reader(record.read_text("utf-8").splitlines()):
        if digest:
            found = hashlib.sha256((record.parents[1] / name).read_bytes()).digest()
            if digest != "sha256=" + base64.urlsafe_b64encode(found).decode().rstrip("="):
                sys.exit(1)
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """What install.sh lies in: a checkout, the unpacked tar, or /opt/opanel-agent itself.

    `kept` is the folder into which RUNTIME was unpacked, of the last of them.
    """

    place: Path
    kept: Path | None = None

    @property
    def version(self) -> str:
        return version_in(self.place / "pyproject.toml")

    @property
    def has_source(self) -> bool:
        return (self.place / "agent").is_dir()

    def files(self) -> list[str]:
        """Returns what is kept of it in /opt/opanel-agent, as paths below `place`."""
        names = ["install.sh", "pyproject.toml", "packaging/wheels.py", LOCK, "config/agent.toml"]
        names += ["release.jws"] if (self.place / "release.jws").is_file() else []
        for folder in ("packaging/installer", "systemd"):
            names += sorted(f"{folder}/{path.name}" for path in (self.place / folder).iterdir() if path.is_file())
        return [*names, *(f"packaging/share/{name}" for name in self.share())]

    def share(self) -> list[str]:
        """Returns manual pages, completion and schemas, as paths below packaging/share."""
        place = self.place / "packaging/share"
        return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())

    @property
    def runtime(self) -> Path | None:
        """The environment with a Python of its own, where the kit brings one."""
        found = (self.kept or self.place / "runtime") / "env"
        return found if found.is_dir() else None


def version_in(file: Path) -> str:
    """Returns the project's version. Raises CannotError `incomplete`."""
    for line in file.read_text("utf-8").splitlines():
        if line.startswith('version = "'):
            return line.split('"')[1]
    raise CannotError("incomplete", file)


def is_runtime_kept(kit: Kit) -> bool:
    """Whether /opt/opanel-agent itself is asked, and was made of the tar, whatever is left of that."""
    made = ENV.readlink().name if ENV.is_symlink() else ""
    return kit.place == PLACE and (made.startswith(FROM_TAR) or RUNTIME.exists())


def python_version() -> str:
    return platform.python_version()


def wheels_py(kit: Kit, *words: str | Path, quiet: bool = False) -> bool:
    command = [sys.executable, "-I", "-B", str(kit.place / "packaging/wheels.py"), *map(str, words)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL if quiet else None).returncode == 0


def stamp(kit: Kit) -> str:
    """What an environment is made from: where that has changed, it is made anew."""
    if kit.runtime or is_runtime_kept(kit):
        return f"runtime\n{kit.version}\n"
    lock = hashlib.sha256((kit.place / LOCK).read_bytes()).hexdigest()
    return f"{Path(sys.executable).resolve()}\n{sys.version}\n{lock}\n{kit.version}\n"


def is_current(kit: Kit, wheels: Path | None) -> bool:
    """Whether what is installed is whole, and what would be installed now."""
    python = ENV / "bin/python"
    if not os.access(python, os.X_OK) or _text(ENV / "stamp") != stamp(kit):
        return False
    if kit.runtime:
        return is_same_tree(kit.runtime, ENV, ignored={"stamp"})
    if subprocess.run([python, "-I", "-B", "-c", WHOLE], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        return False
    if is_runtime_kept(kit):
        return True
    if kit.has_source and wheels is None:
        installed = next(iter(ENV.glob("lib/python3*/site-packages/opanel_agent")), None)
        return (
            installed is not None
            and is_same_file(kit.place / "pyproject.toml", PLACE / "pyproject.toml")
            and is_same_tree(kit.place / "agent/opanel_agent", installed, ignored={"__pycache__"})
        )
    own = f"opanel_agent-{kit.version}-py3-none-any.whl"
    return kit.place == PLACE or is_same_file((wheels or kit.place / "wheels") / own, WHEELS / own)


def has_root(kit: Kit, supply: Supply, wheels: Path | None) -> bool:
    """Whether what will be installed brings a root of trust."""
    if supply == "runtime" and kit.runtime:
        return any(kit.runtime.glob(f"lib/python3*/site-packages/{ROOT_OF_TRUST}"))
    if supply == "none":
        return any(ENV.glob(f"lib/python3*/site-packages/{ROOT_OF_TRUST}"))
    if kit.has_source and wheels is None:
        return (kit.place / "agent" / ROOT_OF_TRUST).is_file()
    wheel = (wheels or kit.place / "wheels") / f"opanel_agent-{kit.version}-py3-none-any.whl"
    return wheel.is_file() and ROOT_OF_TRUST in zipfile.ZipFile(wheel).namelist()


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def is_same_file(first: Path, second: Path) -> bool:
    return first.is_file() and second.is_file() and filecmp.cmp(first, second, shallow=False)


def is_same_tree(first: Path, second: Path, *, ignored: set[str]) -> bool:
    """Whether both folders have the same files with the same bytes, and the same links."""
    return _tree(first, ignored) == _tree(second, ignored)


def _tree(folder: Path, ignored: set[str]) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    for place, folders, files in os.walk(folder):
        here = Path(place)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in ignored and name not in linked]
        for name in [*files, *linked]:
            if name in ignored:
                continue
            path = here / name
            content = str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).digest()
            found[str(path.relative_to(folder))] = content
    return found


def pack(runtime: Path) -> bytes:
    """Returns an environment with a Python of its own as RUNTIME has it: a tar of the folder `env`."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in (runtime, *sorted(runtime.rglob("*"))):
            tar.add(path, str(Path("env") / path.relative_to(runtime)), recursive=False, filter=_of_root)
    return packed.getvalue()


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def is_packed(runtime: Path, archive: Path) -> bool:
    """Whether an archive holds an environment: the same files with the same bytes, and the same links."""
    found: dict[str, str | bytes] = {}
    try:
        with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped) as tar:
            for member in tar:
                name = member.name.removeprefix("env/")
                if member.issym():
                    found[name] = member.linkname
                elif content := tar.extractfile(member):
                    found[name] = hashlib.sha256(content.read()).digest()
            unzipped.seek(0, os.SEEK_END)  # the sum of all is its end
    except (OSError, EOFError, tarfile.TarError, zlib.error):
        return False
    return found == _tree(runtime, set())


def choose(kit: Kit, wheels: Path | None) -> tuple[Supply, Path | None, tuple[str, ...]]:
    """Returns how the packages come, from which folder, and which hosts are contacted for them.

    Not at all, brought whole, from a folder as it is, built with those that were kept, or fetched. Raises CannotError.
    """
    if is_current(kit, wheels):
        return "none", wheels, ()
    if kit.runtime:
        return "runtime", None, ()
    if is_runtime_kept(kit):
        raise CannotError("no_runtime", ENV)
    if wheels is not None:
        if not wheels_py(kit, "--fit", wheels):
            raise CannotError("wheels", wheels, python_version())
        return "copy", wheels, ()
    if not kit.has_source and wheels_py(kit, "--fit", kit.place / "wheels", quiet=True):
        return "copy", kit.place / "wheels", ()
    if kit.has_source and WHEELS.is_dir() and wheels_py(kit, "--fit", WHEELS, "--build", quiet=True):
        return "kept", None, ()
    command = [sys.executable, "-I", "-B", str(kit.place / "packaging/wheels.py"), "--hosts"]
    ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        raise CannotError("packages")
    return "fetch", None, tuple(ran.stdout.splitlines())


def bring(kit: Kit, supply: Supply, wheels: Path | None) -> None:
    """Fills NEW_WHEELS. Raises CannotError `packages`."""
    shutil.rmtree(NEW_WHEELS, ignore_errors=True)
    source: tuple[str | Path, ...] = ()
    match supply:
        case "copy":
            source = ("--copy", wheels or "")
        case "kept":
            source = ("--kept", WHEELS)
    if not wheels_py(kit, "-o", NEW_WHEELS, *source):
        raise CannotError("packages")


def make(kit: Kit, new: Path, supply: Supply, packages: Path) -> None:
    """Makes the environment `new`, and runs its agent once. Raises CannotError `env`."""
    python = new / "bin/python"
    if supply == "runtime":
        made = _copied(kit, new)
    else:
        made = _succeeds(sys.executable, "-I", "-m", "venv", "--without-pip", new) and _succeeds(
            python, "-I", kit.place / "packaging/wheels.py", "--install", packages
        )
    version = printed(python, "-I", "-m", "opanel_agent", "--version").strip() if made else ""
    if version != f"opanel-agent {kit.version}":
        raise CannotError("env", new)
    (new / "stamp").write_text(stamp(kit), "utf-8")


def _copied(kit: Kit, new: Path) -> bool:
    if kit.runtime is None:
        return False
    shutil.copytree(kit.runtime, new, symlinks=True)
    for path in (new, *new.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)
    return True


def _succeeds(*command: str | Path) -> bool:
    return subprocess.run([str(word) for word in command], check=False).returncode == 0


def take_wheels(packages: Path) -> None:
    """Puts the packages that the new environment was made from in their place; those of before stay beside them."""
    if packages != NEW_WHEELS:
        return
    shutil.rmtree(OLD_WHEELS, ignore_errors=True)
    try:
        if WHEELS.is_dir():
            shutil.move(WHEELS, OLD_WHEELS)  # copied where a file system renames no folder (overlayfs: EXDEV)
        shutil.move(NEW_WHEELS, WHEELS)
    except OSError as error:
        raise CannotError("write", WHEELS) from error


def new_name(kit: Kit) -> Path:
    """By its name, `verify-install` knows one with a Python of its own."""
    name = f"{FROM_TAR}{kit.version}" if kit.runtime else f"env-{kit.version}"
    number = 1
    while (PLACE / f"{name}-{number}").exists():
        number += 1
    return PLACE / f"{name}-{number}"
