"""Makes the demo's environment, .env/demo, anew when what it was made from has changed, and hands over to demo.py."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Final

from installer.checks import complete, has_free, nearest
from installer.texts import CannotError, Voice

NEEDED_MB: Final = 200
NEEDED: Final = (
    *("README.md", "LICENSE", "pyproject.toml", "setup.cfg", "authority/pyproject.toml"),
    *("packaging/demo.py", "packaging/demo.lock"),
)
SOURCES: Final = ("install.sh", "pyproject.toml", "setup.cfg", "packaging/demo.lock", "agent", "authority")


def demo(kit: Path, voice: Voice, *words: str) -> int:
    """Never returns but by an error: the story takes the place of this program. Raises CannotError."""
    check(kit)
    env = kit / ".env/demo"
    make(kit, env, voice)
    python = env / "bin/python"
    os.execv(python, [str(python), "-I", str(kit / "packaging/demo.py"), *words])  # noqa: S606 - as a shell's exec


def check(kit: Path, megabytes: int = NEEDED_MB) -> None:
    if kit.is_relative_to("/usr") or kit.is_relative_to("/opt/opanel-agent"):
        raise CannotError("demo_place", kit)
    near = nearest(kit / ".env/demo")
    if not near.is_dir() or not os.access(near, os.W_OK | os.X_OK):
        raise CannotError("demo_write", near)
    if not has_free(near, megabytes):
        raise CannotError("demo_full", near)
    complete(kit, *NEEDED)


def stamp(kit: Path) -> str:
    """The sources count by content, since the environment holds a copy of them, compiled."""
    lines = [sys.version, str(kit)]
    for name in SOURCES:
        found = [kit / name] if (kit / name).is_file() else sorted((kit / name).rglob("*"))
        lines += [f"{path} {zlib.crc32(path.read_bytes())}" for path in found if path.is_file() and counts(path, kit)]
    return "\n".join(lines)


def counts(path: Path, kit: Path) -> bool:
    parts = path.relative_to(kit).parts
    return path.suffix != ".pyc" and "build" not in parts and not any(part.endswith(".egg-info") for part in parts)


def make(kit: Path, env: Path, voice: Voice) -> None:
    wanted, kept = stamp(kit), env / "stamp"
    if kept.is_file() and kept.read_text("utf-8") == wanted:
        return
    voice.show("demo_env", f"Python {sys.version.split()[0]}")
    shutil.rmtree(env, ignore_errors=True)
    if subprocess.run([sys.executable, "-I", "-m", "venv", str(env)], check=False).returncode != 0:
        raise CannotError("demo_venv", env)
    if not pip(env, "--require-hashes", "--requirement", kit / "packaging/demo.lock"):
        raise CannotError("demo_packages")
    copy = env / "source"
    copy.mkdir()
    ignored = shutil.ignore_patterns(
        "build", "*.egg-info", "__pycache__"
    )  # what an earlier build left would be taken along
    for name in ("agent", "authority"):
        shutil.copytree(kit / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(kit / name, copy)
    if not pip(env, "--no-index", "--no-deps", "--no-build-isolation", copy, copy / "authority"):
        raise CannotError("demo_install")
    shutil.rmtree(copy)
    kept.write_text(wanted, "utf-8")


def pip(env: Path, *words: str | Path) -> bool:
    quiet = ("-qq", "--disable-pip-version-check", "--no-input")
    command = [str(env / "bin/python"), "-I", "-m", "pip", *quiet, "install", *map(str, words)]
    return subprocess.run(command, check=False).returncode == 0
