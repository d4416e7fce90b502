"""What the guests are made of: a Debian of each kind, kept under .env/boot, and what is installed in them.

`debian(suite)` is made once by debootstrap, from the archive that this machine's own apt is set up with. What would use
the network by itself is masked in it: apt's and other timers, and networkd; the counter is to count the agent.
`builds(place)` are copies of this repository, each with its wheels: as it is, one that calls itself older, and one that
dies; of the first two an apt repository each, signed, and a draft of the release manifest; and one repository that has
the package with a Python, too. `self_contained(place)` are repositories and drafts of that package: its Python is compiled
once for each state of packaging/runtime, and kept under .env/runtime.
`cannot()` says why nothing can be booted here at all, or nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from boot.guest import TOOLS

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FIRST_ROOT: Final = str(REPOSITORY / "docs/examples/root.jws")  # which the settings of every story replace
KEPT: Final = REPOSITORY / ".env" / "boot"
SUITES: Final = {"bookworm": "3.11", "trixie": "3.13"}  # and their Python, which the agent runs on
SELF_CONTAINED: Final = ("bullseye",)  # whose Python is too old: the package brings one
ALL: Final = (*SUITES, *SELF_CONTAINED)
NEEDED: Final = "debootstrap systemd-container iproute2 util-linux debhelper dpkg-dev apt-utils gnupg"
PREVIOUS: Final = "0.0.9"
DYING: Final = "99.0.0"  # of its first work, once it has said READY
PROGRAMS: Final = (
    *("debootstrap", "systemd-nspawn", "ip", "nsenter", "unshare", "setpriv"),
    *("dh", "dpkg-buildpackage", "apt-ftparchive", "gpg"),
)
_BASE: Final = ("systemd", "systemd-sysv", "dbus", "python3", "ca-certificates", "gpgv")
_LIBRARIES: Final = (
    "python3-venv",
    *(
        f"python3-{name}"
        for name in ("cffi-backend", "cryptography", "h11", "httpx", "platformdirs", "psutil", "structlog", "tomli-w")
    ),
)
_MASKED: Final = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service"),
    *("systemd-resolved.service", "systemd-timesyncd.service"),
)
_INSTALLED: Final = (
    *("README.md", "LICENSE", "agent", "config", "docs", "install.sh", "packaging", "pyproject.toml", "setup.cfg"),
    "systemd",
)


class CannotBootError(Exception):
    """In a sentence, why."""


def cannot(suites: list[str]) -> str | None:
    """Looked at before anything is made: rights, programs, and the archive. One program is run in a container."""
    if os.geteuid() != 0:
        return "booting a system needs root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)}: not installed (apt install {NEEDED})"
    tried = [
        (["unshare", "--net", "--mount", "true"], "this machine lets nobody make namespaces"),
        (_CONTAINER, "this machine lets nobody start a container"),
    ]
    for argv, sentence in tried:
        ran = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            return f"{sentence}: {ran.stderr.strip()[-200:]}"
    needed = [suite for suite in suites if not _stamp(suite).exists()]
    return None if not needed else _unreachable(needed)


_CONTAINER: Final = [
    *("systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network", "-M", f"opanel-try-{os.getpid()}"),
    *("-D", "/", "--volatile=yes", "/usr/bin/true"),
]


def _unreachable(suites: list[str]) -> str | None:
    try:
        for suite in suites:
            address = f"{_archive()}/dists/{suite}/InRelease"
            with urllib.request.urlopen(address, timeout=30) as release:  # noqa: S310 - apt's own setting
                release.read(64)
    except (CannotBootError, OSError, ValueError) as error:
        return f"no Debian archive can be reached: {error}"
    return None


@cache
def _archive() -> str:
    """The address of the first archive of Debian's own that apt is set up with; and apt's proxy becomes ours."""
    asked = ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(ORIGIN)/$(LABEL) $(REPO_URI)"]
    found = re.compile("Packages Debian/Debian (http.*)")
    for attempt in ("as it is", "with its lists"):
        if attempt == "with its lists":
            subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        for line in subprocess.run(asked, check=False, capture_output=True, text=True).stdout.splitlines():
            if match := found.fullmatch(line):
                _take_proxy(match[1])
                return match[1].rstrip("/")
    raise CannotBootError("apt is set up with none")


def _take_proxy(address: str) -> None:
    scheme = address.partition(":")[0]
    shown = ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"]
    printed = subprocess.run(shown, check=False, capture_output=True, text=True).stdout.strip()
    if match := re.fullmatch("PROXY='(http[^']+)'", printed):
        os.environ.setdefault(f"{scheme}_proxy", match[1])


# ---- a Debian


def _packages(suite: str) -> str:
    """What a guest has: of the system's Python the libraries where the agent runs on it, else the bare one for our tools."""
    return ",".join(_BASE if suite in SELF_CONTAINED else (*_BASE, *_LIBRARIES))


def _stamp(suite: str) -> Path:
    return KEPT / suite / f"made-of-{sha256(_packages(suite).encode()).hexdigest()[:16]}"


def debian(suite: str) -> Path:
    """Its root, whole or not there."""
    root, stamp = KEPT / suite / "root", _stamp(suite)
    if stamp.exists():
        return root
    shutil.rmtree(KEPT / suite, ignore_errors=True)
    root.parent.mkdir(parents=True)
    with (KEPT / suite / "debootstrap.log").open("wb") as log:
        made = subprocess.run(
            # With mounts of its own, so that one that is interrupted leaves none behind.
            [
                *("unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={_packages(suite)}"),
                *(suite, str(root), _archive()),
            ],
            stdout=log,
            stderr=log,
            check=False,
        )
    if made.returncode != 0:
        raise CannotBootError(f"debootstrap {suite} failed:\n{(KEPT / suite / 'debootstrap.log').read_text()[-1500:]}")
    for unit in _MASKED:
        place = root / "etc/systemd/system" / unit
        place.unlink(missing_ok=True)
        place.symlink_to("/dev/null")
    for name in ("etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    shutil.rmtree(root / "var/cache/apt/archives")
    shutil.rmtree(root / "var/lib/apt/lists")
    stamp.touch()
    return root


@contextmanager
def copy(suite: str, root: Path | None) -> Iterator[Path]:
    """A fresh copy for one run, gone with it; `root` is where it is made and kept instead."""
    KEPT.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"run-{suite}-", dir=KEPT)) if root is None else root
    place.mkdir(exist_ok=True)
    try:
        subprocess.run(["cp", "-a", "--reflink=auto", f"{debian(suite)}/.", str(place)], check=True)
        yield place
    finally:
        if root is None:
            shutil.rmtree(place)


def bring_tools(root: Path) -> None:
    """What the tests themselves use in the guest."""
    place = root / TOOLS.lstrip("/")
    place.mkdir(parents=True)
    for name in ("clock", "days", "herd", "memory_hog", "probe"):
        shutil.copy(Path(__file__).with_name(f"{name}.py"), place)


# ---- what is installed


def builds(place: Path) -> None:
    """`current`, `previous` and `dying` in `place`, as a release would be unpacked, with `wheels/` for every suite."""
    for name in ("current", "previous", "dying"):
        tree(place / name)
    call(place / "previous", PREVIOUS)
    call(place / "dying", DYING)
    work = place / "dying/agent/opanel_agent/daemon/jobs/job_queue.py"
    _replace(work, r"^(    def finished\(.*:)$", r"\1\n        raise RuntimeError")
    pythons = [word for version in SUITES.values() for word in ("--python", version)]
    _wheels(place / "current", *pythons)
    for name in ("previous", "dying"):
        _wheels(place / name, "--kept", str(place / "current" / "wheels"), *pythons)
    with _keys() as home:
        for name in ("previous", "current"):
            _repository(place, name, home)
        _draft(place, "previous")
        shutil.copytree(place / "repository-current", place / "repository-both")
        _bring_runtime(place / "current")
        _repository(place, "current", home, "--self-contained", into="both")
        _draft(place, "current", "--self-contained")
        shutil.rmtree(place / "current/.env")


def self_contained(place: Path) -> None:
    """The repositories and the tar: nothing of the source is in such a guest."""
    with _keys() as home:
        for name in ("previous", "current"):
            tree(place / name)
            _bring_runtime(place / name)
            if name == "previous":
                call(place / name, PREVIOUS)
            _repository(place, name, home, "--self-contained")
            _draft(place, name, "--self-contained")
            if name == "current":
                _tar(place, name)
            shutil.rmtree(place / name)


def tree(place: Path) -> None:
    """Copies into a new folder what of this repository is unpacked of a release."""
    place.mkdir(parents=True)
    for each in _INSTALLED:
        source = REPOSITORY / each
        if source.is_dir():
            shutil.copytree(source, place / each, ignore=_made_here)
        else:
            shutil.copy(source, place)


def _bring_runtime(tree: Path) -> None:
    """One interpreter for all builds: this repository's."""
    kept = REPOSITORY / ".env/runtime"
    kept.mkdir(parents=True, exist_ok=True)
    (tree / ".env").mkdir()
    (tree / ".env/runtime").symlink_to(kept)


@contextmanager
def _keys() -> Iterator[str]:
    """A home of gpg's with the key that signs the repositories."""
    with tempfile.TemporaryDirectory(prefix="opanel-gpg-") as home:
        _gpg(home, "--quick-generate-key", "--passphrase", "", "packages@opanel.example")
        yield home


def _gpg(home: str, *options: str) -> None:
    subprocess.run(["gpg", "--batch", "--quiet", *options], check=True, env={**os.environ, "GNUPGHOME": home})


def _repository(place: Path, name: str, keys: str, *options: str, into: str = "") -> None:
    """An apt repository of one build, in `repository-NAME`, or `repository-INTO` with what is there already."""
    build, out = str(place / name / "packaging/build"), str(place / f"repository-{into or name}")
    building = [build, "deb", *options, "--root", FIRST_ROOT, "--out", out]
    subprocess.run(building, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        [build, "repository", out, "--key", "packages@opanel.example"],
        check=True,
        env={**os.environ, "GNUPGHOME": keys},
        capture_output=True,
    )


def _tar(place: Path, name: str) -> None:
    build, out = str(place / name / "packaging/build"), str(place / "tar")
    subprocess.run([build, "tar", "--root", FIRST_ROOT, "--out", out], check=True, stdout=subprocess.DEVNULL)


def _draft(place: Path, name: str, *options: str) -> None:
    """What the release manifest of one build says, in `draft-NAME.json`, which the stories have signed."""
    build, out = str(place / name / "packaging/build"), str(place / f"draft-{name}.json")
    building = [build, "manifest", *options, "--root", FIRST_ROOT, "--out", out]
    subprocess.run(building, check=True, stdout=subprocess.DEVNULL)


def _made_here(folder: str, names: list[str]) -> set[str]:
    """What building leaves in a source tree."""
    built = {name for name in names if name == "build" and Path(folder, name).is_dir()}
    return built | shutil.ignore_patterns("__pycache__", "*.egg-info")(folder, names)


def call(tree: Path, version: str) -> None:
    """The same program, by its own account another version: what it keeps must survive a change of that."""
    _replace(tree / "pyproject.toml", r'^version = ".*"$', f'version = "{version}"')
    _replace(tree / "agent/opanel_agent/__init__.py", r'^__version__ = ".*"$', f'__version__ = "{version}"')


def _replace(file: Path, line: str, by: str) -> None:
    text, count = re.subn(line, by, file.read_text(), flags=re.MULTILINE)
    if count != 1:
        raise RuntimeError(f"{file.name} has {count} lines like {line}")
    file.write_text(text)


def _wheels(tree: Path, *options: str) -> None:
    subprocess.run(
        [sys.executable, str(tree / "packaging/wheels.py"), "-o", str(tree / "wheels"), *options], check=True
    )
