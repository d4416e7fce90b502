#!/usr/bin/env python3
"""Makes a runtime of the agent's own: DIR/opt/opanel-agent/env, an interpreter with the wheels of agent.lock.

    packaging/runtime/assemble.py --out DIR [--agent FOLDER]      a copy of it, and in it this opanel_agent

It runs on any Linux of glibc 2.28 or newer, with nothing but libc, and is made from sources.toml (by `compile`) once for
each state of the files that decide its bytes: it is kept below .env/runtime, and two that are made of the same files are
the same, byte for byte, wherever they are made. What nothing of the agent can reach is left out; what is left is
stripped, compiled, and refused if it wants a newer libc.
"""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import wheels  # noqa: E402 - found by that folder
from runtime import sources  # noqa: E402 - likewise

KEPT: Final = HERE.parents[1] / ".env/runtime"
ZIG_LOCK: Final = HERE / "zig.lock"
ENV: Final = "opt/opanel-agent/env"
MINOR: Final = "3.13"
GLIBC_MINOR: Final = 28  # EL 8's
COMPILED_OF: Final = (sources.PINNED, sources.LOCK, ZIG_LOCK, HERE / "compile")
ASSEMBLED_OF: Final = (wheels.LOCK, Path(__file__))
# Of the standard library: what draws, asks, tests, installs, or wants a module that is not built.
UNUSED: Final = (
    *("idlelib", "tkinter", "turtledemo", "turtle.py", "curses", "_pyrepl", "sqlite3", "dbm", "xml", "xmlrpc"),
    *("ensurepip", "venv", "test", "unittest", "doctest.py", "pdb.py", "pydoc.py", "pydoc_data", "wsgiref"),
    *(
        "multiprocessing",
        "__phello__",
        "_ios_support.py",
        "_android_support.py",
    ),
)
IMPORTS: Final = """
import importlib, pkgutil, opanel_agent
for module in pkgutil.walk_packages(opanel_agent.__path__, "opanel_agent."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
# Of the wheels: cffi's compiler of C; cryptography needs its `_cffi_backend` alone.
UNUSED_PACKAGES: Final = ("cffi", "pycparser")


def runtime() -> Path:
    """Returns the folder that holds ENV, made now if these files made none yet. Raises CannotError of sources or wheels."""
    return kept("runtime", assemble, (*COMPILED_OF, *ASSEMBLED_OF))


def kept(name: str, make: Callable[[Path], None], deciding: Sequence[Path], under: Path = KEPT) -> Path:
    """Returns what `make` lays into a folder, kept by what decides it; made whole, or not there, and by one at a time."""
    key = sha256(b"\0".join(file.read_bytes() for file in deciding)).hexdigest()[:16]
    place = under / f"{name}-{key}"
    under.mkdir(parents=True, exist_ok=True)
    with (under / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists():
            return place
        making = Path(tempfile.mkdtemp(prefix=f"making-{name}-", dir=under))
        try:
            make(making)
            making.chmod(0o755)
            making.replace(place)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return place


def compile_sources(out: Path) -> None:
    """Lays the interpreter as its sources' own build makes it, and the licenses."""
    sources.fetch(KEPT / "downloads")
    with tempfile.TemporaryDirectory(dir=KEPT) as name:
        place, log = Path(name), KEPT / "compile.log"
        (place / "sources").mkdir()
        sources.unpack(KEPT / "downloads", place / "sources")
        with log.open("wb") as written:
            ran = subprocess.run(
                [HERE / "compile", place / "sources", out, zig(), place / "work"],
                env={**os.environ, "SOURCE_DATE_EPOCH": wheels.EPOCH},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                check=False,
            )
        if ran.returncode != 0:
            raise sources.CannotError(f"cannot compile the runtime; all of it is in {log}:\n{log.read_text()[-2000:]}")
        lay_licenses(place / "sources", out / ENV / "share/licenses")


def assemble(out: Path) -> None:
    """Lays the runtime: what is compiled without what is not used, with the wheels, checked."""
    compiled = kept("compiled", compile_sources, COMPILED_OF)
    shutil.copytree(compiled, out, symlinks=True, dirs_exist_ok=True)
    library = out / ENV / f"lib/python{MINOR}"
    leave_out(library)
    lay_wheels(library / "site-packages")
    (out / ENV / "bin/python").symlink_to(f"python{MINOR}")
    for file in machine_code(out):
        file.chmod(0o755)
        sources.run("strip", "--strip-unneeded", "--remove-section=.comment", str(file))
    if wanting := list(too_new(out)):
        raise sources.CannotError(f"cannot run on glibc 2.{GLIBC_MINOR}: {', '.join(wanting)}")
    byte_compile(out, library)
    if naming := list(naming_this_machine(out, KEPT)):
        raise sources.CannotError(f"cannot use what names {KEPT}: {', '.join(naming)}")


# ---- what it is made with, and of


def zig() -> Path:
    """Returns the compiler, fetched by pip, by its hash."""
    place = KEPT / f"zig-{sha256(ZIG_LOCK.read_bytes()).hexdigest()[:16]}"
    if not place.exists():
        wheels.load_pip()
        with tempfile.TemporaryDirectory(dir=KEPT) as name:
            fetched = Path(name)
            announced, proxies = wheels.hosts()
            wheels.guard([*announced, *proxies])
            options = ("--disable-pip-version-check", "--no-cache-dir")
            if wheels.download(fetched, [ZIG_LOCK], *options, run=wheels.pip) != 0:
                raise sources.CannotError("cannot fetch the compiler that zig.lock pins")
            shutil.unpack_archive(next(fetched.glob("ziglang-*.whl")), fetched / "unpacked", "zip")
            (fetched / "unpacked/ziglang/zig").chmod(0o755)
            (fetched / "unpacked").replace(place)
    return place / "ziglang/zig"


def lay_wheels(packages: Path) -> None:
    """Unpacks what agent.lock pins, for this interpreter and libc. RECORD would speak of files as they no longer are."""
    shutil.rmtree(packages, ignore_errors=True)
    packages.mkdir()
    fetched = KEPT / f"wheels-{sha256(wheels.LOCK.read_bytes()).hexdigest()[:16]}"
    if not fetched.exists():
        options = ("--python", MINOR, "--glibc", str(GLIBC_MINOR))
        fetching = [sys.executable, str(HERE.parent / "wheels.py"), "-o", str(fetched), *options]
        if subprocess.run(fetching, check=False).returncode != 0:
            raise sources.CannotError("cannot fetch the wheels that agent.lock pins")
    for wheel in sorted(fetched.glob("*.whl")):
        if not wheel.name.startswith(("opanel_agent-", "setuptools-")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(packages)
    for name in UNUSED_PACKAGES:
        shutil.rmtree(packages / name)
    for each in packages.glob("pycparser-*.dist-info"):
        shutil.rmtree(each)
    for record in packages.glob("*.dist-info/RECORD"):
        record.unlink()


def lay_agent(out: Path, agent: Path, library: Path) -> None:
    """Lays the agent among the wheels, compiled; whether all that it imports is there is asked of it."""
    if not (agent / "data/trust/root.jws").is_file():
        raise sources.CannotError(f"cannot use {agent}: it has no root of trust")
    laid = library / "site-packages/opanel_agent"
    shutil.copytree(agent, laid, ignore=shutil.ignore_patterns("__pycache__", "*.po"))
    byte_compile(out, laid)
    asked: list[str | Path] = [out / ENV / "bin/python", "-I", "-B", "-c", IMPORTS]
    ran = subprocess.run(asked, env={}, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise sources.CannotError(f"cannot import all of the agent in its runtime: {ran.stderr.strip()[-1000:]}")


def lay_licenses(unpacked: Path, place: Path) -> None:
    """Copies the license of each source package; those of the wheels lie in their own folders."""
    place.mkdir(parents=True)
    for source in sources.pinned()[1]:
        shutil.copyfile(unpacked / source["name"] / source["license_file"], place / f"{source['name']}.txt")


def leave_out(library: Path) -> None:
    """Removes what is not used, and what the build's own runs compiled; each name has to be there: none is misspelled."""
    for folder in list(library.rglob("__pycache__")):
        shutil.rmtree(folder)
    for name in UNUSED:
        path = library / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# ---- what must hold of it


def machine_code(out: Path) -> Iterator[Path]:
    """Yields every program and shared library."""
    for file in sorted(out.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                if opened.read(4) == b"\x7fELF":
                    yield file


def too_new(out: Path, glibc_minor: int = GLIBC_MINOR) -> Iterator[str]:
    """Yields each symbol that such a libc does not have, and each library that is neither libc's nor ours."""
    ours = {file.name for file in machine_code(out)}
    libc = {
        f"lib{name}" for name in ("c.so.6", "m.so.6", "dl.so.2", "pthread.so.0", "util.so.1", "rt.so.1", "gcc_s.so.1")
    }
    for file in machine_code(out):
        shown = subprocess.run(["objdump", "-p", file], capture_output=True, text=True, check=True).stdout
        for minor in set(re.findall(r"\bGLIBC_2\.(\d+)", shown)):
            if int(minor) > glibc_minor:
                yield f"{file.name} wants GLIBC_2.{minor}"
        for name in re.findall(r"^ +NEEDED +(\S+)$", shown, re.MULTILINE):
            if name not in libc | ours and not name.startswith("ld-linux"):
                yield f"{file.name} wants {name}"


def naming_this_machine(out: Path, folder: Path) -> Iterator[str]:
    """Yields each file that holds a folder's path: made elsewhere it would be another."""
    wanted = os.fsencode(folder)
    for file in sorted(out.rglob("*")):
        if file.is_file() and not file.is_symlink() and wanted in file.read_bytes():
            yield str(file.relative_to(out))


def byte_compile(out: Path, place: Path) -> None:
    """Compiles every module below a folder of `out`, for where it will lie; nobody looks at the source's date again."""
    ran = subprocess.run(
        [
            *(out / ENV / "bin/python", "-I", "-B", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"),
            *("-s", out, "-p", "/", place),
        ],
        env={"PYTHONHASHSEED": "0", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise sources.CannotError(f"cannot compile the modules: {ran.stdout[-1000:]}{ran.stderr[-1000:]}")


def main(words: Sequence[str]) -> int:
    """Copies the runtime to where it is asked for."""
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--agent", type=Path)
    try:
        options = parser.parse_args(words)
    except SystemExit:
        return os.EX_USAGE
    try:
        made = runtime()
        shutil.copytree(made, options.out, symlinks=True, dirs_exist_ok=True)
        if options.agent:
            lay_agent(options.out, options.agent, options.out / ENV / f"lib/python{MINOR}")
    except (sources.CannotError, wheels.CannotError) as cannot:
        sys.stderr.write(f"{cannot}\n")
        return os.EX_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
