"""Looks at the installed code: what lies at each path of a release's layout, and what lies beside it.

Links are not followed and nothing is imported or run. Two things need more than a digest:

- *compiled files* are made on this machine, so no manifest names them, and Python runs them in the place of the source.
  One that it would run is compared with what the source compiles to. Those of another Python, and those that Python
  itself takes for outdated, are never run.
- *libraries* of an installation that keeps its wheels: the lock pins each wheel by its digest, and a pinned wheel says
  what it installed.

Left out: an interpreter and a standard library that the release did not bring, as the system's package manager answers
for them; notes of pip's (`*.dist-info`), which are no code; and scripts of libraries, which nothing here starts.
"""

import hashlib
import io
import os
import pkgutil
import re
import stat
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import opanel_agent
from opanel_agent.core.errors import Storage
from opanel_agent.core.release.comparison import COMPILED, COMPILED_OTHERWISE, LINK, absolute, expected
from opanel_agent.core.release.manifest import MAX_BYTES, InstallLayout
from opanel_agent.core.values import frozen
from opanel_agent.system import errno_codes

CODE: Final = Path(opanel_agent.__file__).parent
# Beside the code of a package, and of the installer.
MANIFESTS: Final = {
    "/usr/": "/usr/share/opanel-agent/release.jws",
    "/opt/opanel-agent/": "/opt/opanel-agent/release.jws",
}
_NATIVE: Final = "/usr/lib/opanel-agent/"
_PACKAGE_MARK: Final = "/opt/opanel-agent/package"  # in which a package with a Python of its own says who laid it
_RPM_MANAGERS: Final = {
    "dnf": "dnf reinstall opanel-agent",
    "zypper": "zypper install --force opanel-agent",
    "yum": "yum reinstall opanel-agent",
}
_CACHE: Final = "__pycache__"
_HEADER_BYTES: Final = 16  # PEP 552
_OF_CODE: Final = frozenset({".py", ".pyc", ".pth", ".so"})
_UNIT_FOLDERS: Final = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system")
_UNIT_SUFFIXES: Final = (".service", ".socket", ".path")
_PIN: Final = rb"--hash=sha256:([0-9a-f]{64})"


@frozen
class CodeSurvey:
    """Holds what is wanted and what was seen, each by absolute path as `core.release.comparison` has it.

    `foreign` are folders from which this process would import, and that are nobody's part of the release; `overrides`
    the files by which an administrator changes the units.
    """

    wanted: Mapping[str, str]
    seen: Mapping[str, str]
    foreign: tuple[str, ...]
    overrides: tuple[str, ...]


class InstalledCode(Protocol):
    """The code of this installation. Every method raises Storage where a file cannot be read."""

    @property
    def modules(self) -> str:
        """The real path of the folder that the package lies in."""
        ...

    @property
    def manifest_path(self) -> str | None:
        """Where the release manifest has to lie; None for code that no package and no installer laid."""
        ...

    @property
    def again(self) -> str:
        """The command that installs this release again: of the package manager that laid it, or install.sh."""
        ...

    def manifest(self) -> bytes | None:
        """Returns the manifest's bytes; None where there is none."""
        ...

    def survey(self, layout: InstallLayout) -> CodeSurvey:
        """Returns what lies at the paths of a layout, and beside them."""
        ...


class LocalInstalledCode:
    """This machine's. `code` is the package's folder; `root` stands for /, and `path` for the folders of modules."""

    def __init__(self, code: Path = CODE, root: Path = Path("/"), path: tuple[str, ...] | None = None) -> None:
        self._root = Path(os.path.realpath(root))
        self._modules = Path(os.path.realpath(code)).parent
        self._path = tuple(sys.path) if path is None else path

    @property
    def modules(self) -> str:
        """Returns the real path of the folder that the package lies in."""
        return self._named(self._modules)

    @property
    def manifest_path(self) -> str | None:
        """Returns where the release manifest has to lie; None for code that no package and no installer laid."""
        return next((path for place, path in MANIFESTS.items() if self.modules.startswith(place)), None)

    @property
    def again(self) -> str:
        """Returns the command that installs this release again: of the package manager that laid it, or install.sh."""
        if self.modules.startswith(_NATIVE):
            return "apt install --reinstall opanel-agent"
        mark = self._at(_PACKAGE_MARK)
        laid_by = mark.read_text("utf-8", "replace").strip() if mark.is_file() else ""
        if laid_by == "rpm":
            return _RPM_MANAGERS[next((name for name in _RPM_MANAGERS if self._at(f"/usr/bin/{name}").exists()), "dnf")]
        return "apt install --reinstall opanel-agent-self-contained" if laid_by else "./install.sh"

    def manifest(self) -> bytes | None:
        """Returns the manifest's bytes, MAX_BYTES and one more at most; None where there is none. Raises Storage."""
        path = self.manifest_path
        if path is None:
            return None
        try:
            with self._at(path).open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _failed(path, exc) from exc

    def survey(self, layout: InstallLayout) -> CodeSurvey:
        """Returns what lies at the paths of a layout, and beside them. Raises Storage where a file cannot be read."""
        wanted = expected(layout, self.modules)
        try:
            seen = self._seen(wanted)
            if layout.wheels is not None:
                lock = absolute(layout.wheels.lock, self.modules)
                pins = re.findall(_PIN, self._at(lock).read_bytes()) if seen.get(lock) == wanted[lock] else []
                of_wheels = self._of_wheels(
                    absolute(layout.wheels.folder, self.modules), {pin.decode() for pin in pins}
                )
                seen |= self._seen(of_wheels)
                wanted |= of_wheels
            for folder in layout.folders:
                seen |= self._beside(absolute(folder, self.modules), wanted, seen)
            return CodeSurvey(
                wanted=wanted, seen=seen, foreign=self._foreign(wanted), overrides=tuple(self._overrides(wanted))
            )
        except OSError as exc:
            raise _failed(str(exc.filename), exc) from exc

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _named(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}" if path.is_relative_to(self._root) else str(path)

    def _seen(self, wanted: Mapping[str, str]) -> dict[str, str]:
        found = {path: _what_lies_at(self._at(path)) for path in wanted}
        return {path: text for path, text in found.items() if text is not None}

    # ---- libraries

    def _of_wheels(self, folder: str, pins: set[str]) -> dict[str, str]:
        """Returns what the libraries have to be: the files of each pinned wheel that is installed here."""
        wanted: dict[str, str] = {}
        for path in sorted(self._at(folder).glob("*.whl")):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() in pins:
                wanted |= self._of_wheel(data)
        return wanted

    def _of_wheel(self, data: bytes) -> dict[str, str]:
        """Returns the modules of a wheel, by path; {} for one that is for another Python, or not installed at all."""
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            names = [name for name in wheel.namelist() if not name.endswith("/")]
            note = next(name for name in names if re.fullmatch(r"[^/]+\.dist-info/WHEEL", name))
            installed = self._modules / note
            if not installed.is_file() or installed.read_bytes() != wheel.read(note):
                return {}
            return {
                f"{self.modules}/{place}": hashlib.sha256(wheel.read(name)).hexdigest()
                for name in names
                if (place := _place_of(name)) is not None
            }

    # ---- what lies beside

    def _beside(self, folder: str, wanted: Mapping[str, str], seen: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for place, names in _files_below(self._at(folder)):
            for name in names:
                path = self._named(place / name)
                if path not in wanted and (text := self._unnamed(place / name, wanted, seen)) is not None:
                    found[path] = text
        return found

    def _unnamed(self, path: Path, wanted: Mapping[str, str], seen: Mapping[str, str]) -> str | None:
        """Returns what a file is that no manifest names; None for one that Python does not run."""
        if path.parent.name == _CACHE and path.suffix == ".pyc":
            name, _, tag = path.stem.partition(".")
            source = path.parent.parent / f"{name}.py"
            named = self._named(source)
            if tag != sys.implementation.cache_tag or named not in wanted or seen.get(named) != wanted[named]:
                return None  # never run, or a difference already
            return COMPILED if _says_the_same(path, source) else COMPILED_OTHERWISE
        note = any(part.endswith(".dist-info") for part in path.parent.parts)
        return None if note and path.suffix not in _OF_CODE else _what_lies_at(path)

    def _foreign(self, wanted: Mapping[str, str]) -> tuple[str, ...]:
        """Returns folders of modules that neither the release, the standard library nor a .pth of the release names."""
        admitted = {str(self._modules), *_standard_library()}
        for path in wanted:
            if path.endswith(".pth") and str(Path(path).parent) == self.modules and self._at(path).is_file():
                lines = self._at(path).read_text("utf-8", "replace").splitlines()
                admitted |= {line for line in lines if line.startswith("/")}
        real = {os.path.realpath(folder) for folder in admitted}
        return tuple(folder for folder in self._path if os.path.realpath(folder) not in real)

    def _overrides(self, wanted: Mapping[str, str]) -> Iterator[str]:
        for unit in sorted(Path(path).name for path in wanted if path.endswith(_UNIT_SUFFIXES)):
            for folder in _UNIT_FOLDERS:
                named = f"{folder}/{unit}"
                if named not in wanted and os.path.lexists(self._at(named)):
                    yield named
                yield from (self._named(path) for path in sorted(self._at(f"{named}.d").glob("*.conf")))


def _what_lies_at(path: Path) -> str | None:
    """Returns the digest of a file, the target of a link, the word for anything else; None where nothing lies there."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return f"{LINK}{path.readlink()}"
    if not stat.S_ISREG(mode):
        return "folder" if stat.S_ISDIR(mode) else "special"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields each folder with its files and links; a link to a folder is a file here, and not entered."""

    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        yield Path(place), files + [name for name in folders if (Path(place) / name).is_symlink()]


def _place_of(name: str) -> str | None:
    """Tells where a member of a wheel lies below the folder of modules.

    None for what is no module (wheel format, "data").
    """
    top, _, rest = name.partition("/")
    if top.endswith(".dist-info"):
        return None
    if not top.endswith(".data"):
        return name
    scheme, _, inner = rest.partition("/")
    return inner if scheme in {"purelib", "platlib"} else None


def _says_the_same(compiled: Path, source: Path) -> bool:
    """Tells whether a compiled file is what its source compiles to, or is one that Python would not run."""
    data, text, found = compiled.read_bytes(), source.read_bytes(), source.stat()
    dated = int(found.st_mtime).to_bytes(8, "little")[:4] + (len(text) & 0xFFFFFFFF).to_bytes(4, "little")
    if data[4:8] == bytes(4) and data[8:_HEADER_BYTES] != dated:
        return True  # outdated: Python compiles anew
    try:
        code = pkgutil.read_code(io.BytesIO(data))
    except (EOFError, ValueError, TypeError):
        return False
    # None is another Python's, and compiled anew as well. What was read is compared, and never run.
    return code is None or bool(code == compile(text, str(source), "exec", dont_inherit=True, optimize=0))


def _standard_library() -> Iterator[str]:
    """Yields where Python finds its own library, as one archive too, whether that is there or not."""
    for name in ("stdlib", "platstdlib"):
        yield from (sysconfig.get_path(name), f"{sysconfig.get_path(name)}/lib-dynload")
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    yield str(Path(sys.base_prefix) / sys.platlibdir / archive)
    yield str(Path(sys.base_exec_prefix) / "lib" / archive)


def _failed(path: str, exc: OSError) -> Storage:
    return Storage(errno_codes.fault_of(exc), "read_failed", file=path, errno=errno_codes.name_of(exc))
