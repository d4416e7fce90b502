#!/usr/bin/env python3
"""Makes and uses a directory of wheels: all that a server gets, exact, checked by hash.

    packaging/wheels.py -o DIR [--python PY]…     fetch what agent.lock pins, build our own, for this Python or for PY
                        [--glibc 28]              and for a libc that is older than Debian 12's, from 2.28 on
    packaging/wheels.py -o DIR --kept FROM        the same from what FROM holds: nobody is contacted
    packaging/wheels.py -o DIR --copy FROM        FROM's wheels as they are
    packaging/wheels.py --fit DIR [--build]       69, and why, if DIR does not serve this Python (--build: and build ours)
    packaging/wheels.py --hosts                   the hosts that fetching would contact, one a line
    ENV/bin/python packaging/wheels.py --install DIR    into ENV; nobody is contacted

PY is an interpreter, or a version (3.13) for a Debian of that Python; several may be named. Whatever fetches is pip, with
the administrator's own settings for index, proxy and certificates, and two things changed, since pip offers no setting:
every request says the same User-Agent (pip's describes the machine: kernel, distribution, processor, libraries), and a
host that `--hosts` does not tell is not contacted. Both are checked on each request as it is sent.

pip is the one that every Python with ensurepip carries: it is run from its wheel and installed nowhere.
"""

import argparse
import base64
import contextlib
import csv
import ensurepip
import hashlib
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "packaging/agent.lock"
BUILD_LOCK: Final = ROOT / "packaging/build.lock"
OWN_LOCK: Final = "opanel-agent.lock"
USER_AGENT: Final = "opanel-agent-install"
# An index that keeps its files elsewhere says so only when it is asked; of the public one it is known.
FILES_OF: Final = {"pypi.org": "files.pythonhosted.org"}
GLIBC_MINOR: Final = 36  # Debian 12's; a newer system takes what an older one does
EPOCH: Final = "315532800"  # 1980, the zip format's first day: the same source gives the same wheel
BUILD: Final = """
import os, sys
builder, source, target = sys.argv[1:]
sys.path.insert(0, builder)
os.chdir(source)
from setuptools.build_meta import build_wheel
build_wheel(target)
"""


class CannotError(Exception):
    """A sentence for a person, and the exit status."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


# ---- pip


def load_pip() -> None:
    """Puts ensurepip's pip first on the path."""
    place = sysconfig.get_config_var("WHEEL_PKG_DIR") or Path(ensurepip.__file__).parent / "_bundled"
    sys.path.insert(0, str(Path(place) / f"pip-{ensurepip.version()}-py3-none-any.whl"))


def pip(*arguments: str) -> int:
    status: int = importlib.import_module("pip._internal.cli.main").main(["-qq", "--no-input", *arguments])
    return status


def offline_pip(*arguments: str) -> int:
    """No setting of this machine takes part, no index, and should pip think of a host nonetheless, it is refused."""
    guard(())
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        del os.environ[name]
    os.environ["PIP_CONFIG_FILE"] = os.devnull
    return pip(*arguments, "--no-index", "--disable-pip-version-check", "--no-cache-dir")


def sources() -> tuple[list[str], str | None]:
    """Every address that pip would look at, as its own settings say, and the proxy among them."""
    options, _ = importlib.import_module("pip._internal.commands").create_command("download").parse_args([])
    index = [] if options.no_index else [options.index_url, *options.extra_index_urls]
    return [*index, *options.find_links], options.proxy or None


def hosts() -> tuple[list[str], list[str]]:
    """Those that answer, and the proxies on the way to them."""
    urls, proxy = sources()
    names = [host for url in urls if (host := host_of(url))]
    names += [FILES_OF[name] for name in names if name in FILES_OF]
    schemes = {urlsplit(url).scheme for url in urls if host_of(url)}
    on_the_way = [proxy] if proxy else [url for scheme, url in getproxies().items() if scheme in {*schemes, "all"}]
    proxies = [host_of(url if "//" in url else f"//{url}") or url for url in on_the_way] if names else []
    return list(dict.fromkeys(names)), list(dict.fromkeys(proxies))


def host_of(url: str) -> str | None:
    """Nobody for a path, and for a file of this machine."""
    parts = urlsplit(url)
    return None if parts.scheme == "file" else parts.hostname


def guard(allowed: Sequence[str]) -> list[str]:
    """Has every request of pip's looked at as it leaves. Returns the hosts that were refused, as they come."""
    session: Any = importlib.import_module("pip._internal.network.session")
    failure = importlib.import_module("pip._vendor.requests.exceptions").ConnectionError
    send, refused = session.PipSession.send, []

    def checked(self: Any, request: Any, **rest: Any) -> Any:  # noqa: ANN401 - pip's own types
        host = host_of(request.url)
        if host is not None and host not in allowed:
            refused.append(host)
            message = f"{host} was not announced"
            raise failure(message)
        if request.headers.get("User-Agent") != USER_AGENT:
            message = "this pip does not say the User-Agent that it is told to"
            raise RuntimeError(message)
        return send(self, request, **rest)

    session.user_agent = lambda: USER_AGENT
    session.PipSession.send = checked
    return refused


# ---- making a directory


def make(out: Path, pythons: Sequence[str], kept: Path | None, glibc_minor: int) -> None:
    """Everything into `out`; whole, or not there at all."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        sentence = f"cannot make {out}: something lies there"
        raise CannotError(sentence, 74)
    with beside(out) as making:
        locks = [LOCK, BUILD_LOCK] if has_source() else [LOCK]
        if kept is None:
            fetch(making, locks, pythons, glibc_minor)
        elif download(making, locks, "--find-links", str(kept), run=offline_pip) != 0:
            sentence = f"cannot take from {kept} what {names_of(locks)} pins"
            raise CannotError(sentence, 69)
        else:
            keep_for_others(making, locks, kept)
        own(making, kept)


@contextlib.contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A new folder that takes the place of `out` in the end."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield making
        making.chmod(0o755)
        for file in making.iterdir():
            file.chmod(0o644)
        making.replace(out)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def fetch(making: Path, locks: Sequence[Path], pythons: Sequence[str], glibc_minor: int) -> None:
    allowed, proxies = hosts()
    refused = guard([*allowed, *proxies])
    for options in [target(version, glibc_minor) for version in pythons] or [()]:
        status = download(making, locks, *options, "--disable-pip-version-check", "--no-cache-dir", run=pip)
        if refused:
            elsewhere = ", ".join(sorted(set(refused)))
            sentence = f"cannot fetch the packages: the index sends to {elsewhere}, which was not announced"
            raise CannotError(sentence, 69)
        if status != 0:
            sentence = f"cannot fetch the packages from {', '.join(allowed) or 'where pip is told to look'}"
            raise CannotError(sentence, 69)


def keep_for_others(making: Path, locks: Sequence[Path], kept: Path) -> None:
    """What is pinned as well and was kept for another Python: the system's next one."""
    pins = "".join(lock.read_text(encoding="utf-8") for lock in locks)
    for wheel in kept.glob("*.whl"):
        if not (making / wheel.name).exists() and hashlib.sha256(wheel.read_bytes()).hexdigest() in pins:
            shutil.copy(wheel, making)


def target(version: str, glibc_minor: int = GLIBC_MINOR) -> tuple[str, ...]:
    """What pip must be told to choose for another Python, on a Linux of this processor with that libc."""
    machine, tag = platform.machine(), f"cp{version.replace('.', '')}"
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc_minor, 4, -1)]
    options = ["--python-version", version, "--implementation", "cp"]
    for abi in (tag, "abi3", "none"):
        options += ["--abi", abi]
    for each in (*platforms, f"manylinux2014_{machine}"):
        options += ["--platform", each]
    return tuple(options)


def download(where: Path, locks: Sequence[Path], *arguments: str, run: Any) -> int:  # noqa: ANN401 - pip or offline_pip
    asked = [word for lock in locks for word in ("--requirement", str(lock))]
    status: int = run(
        *("download", "--dest", str(where), "--no-deps", "--only-binary", ":all:", "--require-hashes"),
        *arguments,
        *asked,
    )
    return status


def own(making: Path, kept: Path | None) -> None:
    """Our own wheel: built where its source lies beside this script, else the one that was kept."""
    if has_source():
        build(making)
    else:
        shutil.copy(sealed_wheel(kept or ROOT / "wheels"), making)
    seal(making)


def build(making: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        builder, source = Path(name, "builder"), Path(name, "source")
        shutil.unpack_archive(next(making.glob("setuptools-*.whl")), builder, "zip")
        ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "build")
        shutil.copytree(ROOT / "agent", source / "agent", ignore=ignored)
        for file in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        ran = subprocess.run(
            [sys.executable, "-I", "-c", BUILD, str(builder), str(source), str(making)],
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ran.returncode != 0:
        sys.stderr.buffer.write(ran.stdout)
        sentence = "cannot build opanel-agent: the lines above say why"
        raise CannotError(sentence, 70)


def copy(out: Path, taken: Path) -> None:
    sealed_wheel(taken)
    with beside(out) as making:
        for wheel in taken.glob("*.whl"):
            shutil.copy(wheel, making)
        shutil.copy(taken / OWN_LOCK, making)


def seal(directory: Path) -> None:
    """The digest of our own wheel, so that it is installed as everything else is: pinned."""
    wheel = own_wheel(directory)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (directory / OWN_LOCK).write_text(f"opanel-agent=={version()} --hash=sha256:{digest}\n", encoding="ascii")


def own_wheel(directory: Path) -> Path:
    found = directory / f"opanel_agent-{version()}-py3-none-any.whl"
    if not found.is_file():
        sentence = f"cannot find {found.name} in {directory}"
        raise CannotError(sentence, 69)
    return found


def sealed_wheel(directory: Path) -> Path:
    """Our own wheel as it was sealed. Raises CannotError where it was altered, or where nothing says what it was.

    A folder without the lock is refused, not sealed anew: whoever alters the wheel would only have to delete it.
    """
    wheel, sealed = own_wheel(directory), directory / OWN_LOCK
    if not sealed.is_file():
        sentence = f"cannot use {wheel}: {sealed.name}, which pins it, is not beside it"
        raise CannotError(sentence, 69)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() not in sealed.read_text(encoding="ascii", errors="replace"):
        sentence = f"cannot use {wheel}: it is not the one that {sealed.name} names"
        raise CannotError(sentence, 69)
    return wheel


def version() -> str:
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return found


def has_source() -> bool:
    return (ROOT / "agent").is_dir()


def names_of(locks: Sequence[Path]) -> str:
    return " and ".join(lock.name for lock in locks)


# ---- using one


def fit(directory: Path, *, built: bool) -> None:
    """Raises CannotError unless `directory` holds all that this Python needs, with the hashes that are pinned."""
    if not built:
        sealed_wheel(directory)
    locks = [LOCK, BUILD_LOCK] if built else [LOCK]
    with tempfile.TemporaryDirectory() as place:
        if download(Path(place), locks, "--find-links", str(directory), run=offline_pip) != 0:
            sentence = f"cannot find in {directory} what {names_of(locks)} pins for Python {platform.python_version()}"
            raise CannotError(sentence, 69)


def install(directory: Path) -> None:
    status = offline_pip(
        *("install", "--no-deps", "--require-hashes", "--find-links", str(directory)),
        *("--requirement", str(LOCK), "--requirement", str(directory / OWN_LOCK)),
    )
    if status != 0:
        sentence = f"cannot install from {directory}: the lines above say why"
        raise CannotError(sentence, 70)
    (record,) = Path(sysconfig.get_path("purelib")).glob("opanel_agent-*.dist-info/RECORD")
    isolate(Path(sys.executable).parent / "opanel-agent", record)


def isolate(command: Path, record: Path) -> None:
    """Has a command that pip wrote see no PYTHONPATH and PYTHONHOME of its caller, and no module that lies beside it.

    Its row of the package's RECORD says so, too: by it a whole environment is told from a damaged one.
    """
    first, rest = command.read_bytes().split(b"\n", 1)
    isolated = first.removesuffix(b" -I") + b" -I\n" + rest
    command.write_bytes(isolated)
    with record.open(encoding="utf-8", newline="") as file:
        rows = [*csv.reader(file)]
    digest = base64.urlsafe_b64encode(hashlib.sha256(isolated).digest()).decode("ascii").rstrip("=")
    for row in rows:
        if (record.parents[1] / row[0]).resolve() == command.resolve():
            row[1:] = [f"sha256={digest}", str(len(isolated))]
    with record.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


# ---- the command


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.error = unusable  # type: ignore[assignment, method-assign] # the house's exit status
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", type=Path, dest="out")
    what.add_argument("--fit", type=Path)
    what.add_argument("--hosts", action="store_true")
    what.add_argument("--install", type=Path)
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--glibc", type=int, choices=range(28, GLIBC_MINOR + 1), default=GLIBC_MINOR)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--copy", type=Path)
    parser.add_argument("--build", action="store_true")
    return parser.parse_args(words)


def unusable(message: str) -> None:
    raise CannotError(f"{__doc__}\ncannot understand: {message}", 64)


def run(words: Sequence[str]) -> None:
    options = arguments_of(words)
    load_pip()
    if options.fit:
        fit(options.fit, built=options.build)
    elif options.install:
        install(options.install)
    elif options.hosts:
        names, proxies = hosts()
        print("\n".join([*names, *(f"{proxy} (proxy)" for proxy in proxies)]))
    elif options.copy:
        copy(options.out, options.copy)
    else:
        make(options.out, [version_of(python) for python in options.python], options.kept, options.glibc)


def version_of(python: str) -> str:
    """Of an interpreter, what it is; of a version, itself."""
    if re.fullmatch(r"3\.\d+", python):
        return python
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sentence = f"cannot run {python}"
        raise CannotError(sentence, 64)
    return ran.stdout.strip()


def main(words: Sequence[str]) -> int:
    try:
        run(words)
    except CannotError as cannot:
        sys.stderr.write(f"{cannot}\n")
        return cannot.status
    except OSError as error:
        sys.stderr.write(f"cannot write or read: {error}\n")
        return 74
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
