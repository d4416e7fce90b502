"""Writes and checks the lock files: every package that a release or the demo installs, exact, with its files' hashes.

`write` pins the newest releases (needs `uv` on the PATH, and a package index); `check` needs nothing.

agent.lock is what a customer's server gets, build.lock what builds its wheel; demo.lock is for the demo: both of them, and
the authority's packages.
One file serves every Python from 3.11 on and every platform: markers stand in it. pip installs from it with
`--require-hashes`. The tests use neither: they run on the newest and on Debian's own.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = "# Made by packaging/generate --locks. Install with: pip install --require-hashes -r {name}\n"
OURS = re.compile(r"opanel[-_]", re.IGNORECASE)
NAME = re.compile(r"[A-Za-z0-9._-]+")
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}\b", re.MULTILINE)
BUILDERS = ["setuptools>=77"]  # builds wheels without the wheel package


def asked(pyproject: Path) -> list[str]:
    """What a distribution needs to run, our own other distribution left out."""
    dependencies: list[str] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [requirement for requirement in dependencies if not OURS.match(requirement)]


def locks(root: Path) -> dict[str, list[str]]:
    """Each lock file's name and what it must hold."""
    agent = asked(root / "pyproject.toml")
    return {
        "agent.lock": agent,
        "build.lock": BUILDERS,
        "demo.lock": [*agent, *asked(root / "authority/pyproject.toml"), *BUILDERS],
    }


def canonical(requirement: str) -> str:
    match = NAME.match(requirement)
    if match is None:
        raise ValueError(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def pinned(text: str) -> dict[str, str]:
    """Name and version of every package in a lock, one that has at least one hash."""
    return {canonical(name): version for name, version in ENTRY.findall(text)}


def missing(name: str, requirements: list[str], text: str) -> list[str]:
    """Which requirement the lock does not pin; a floor is compared by its numbers."""
    have = pinned(text)
    return [
        f"packaging/{name}: {requirement} (locked: {have.get(canonical(requirement), 'not at all')})"
        for requirement in requirements
        if not satisfied(requirement, have.get(canonical(requirement)))
    ]


def satisfied(requirement: str, version: str | None) -> bool:
    floor = requirement.partition(">=")[2]
    return version is not None and numbers(version) >= numbers(floor)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


class CannotPinError(Exception):
    """A sentence for a person: what keeps the locks from being written."""


def _compiled(name: str, requirements: list[str]) -> str:
    if shutil.which("uv") is None:
        sentence = "cannot pin the packages: uv is not installed (pip install uv)"
        raise CannotPinError(sentence)
    command = "uv pip compile - --universal --python-version 3.11 --generate-hashes --upgrade --no-header --no-annotate"
    quiet = "--no-emit-index-url --no-emit-find-links --no-build --quiet"  # a lock names no place it came from
    ran = subprocess.run(
        [*command.split(), *quiet.split()],
        input="\n".join(requirements),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        sentence = f"cannot pin the packages of {name}: the lines above, which are uv's, say why"
        raise CannotPinError(sentence)
    return HEADER.format(name=name) + ran.stdout


def write(target: Path = ROOT) -> None:
    """Pins the newest releases in every lock file below `target`. Raises CannotPinError before any is written."""
    texts = {name: _compiled(name, requirements) for name, requirements in locks(ROOT).items()}
    for name, text in texts.items():
        path = target / "packaging" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote packaging/{name}")


def check(root: Path = ROOT) -> bool:
    """Names on standard error what the pyproject.toml files ask for and a lock does not pin. Returns whether any is."""
    found = False
    for name, requirements in locks(root).items():
        for line in missing(name, requirements, (root / "packaging" / name).read_text(encoding="utf-8")):
            found = True
            sys.stderr.write(f"{line} is not pinned: run packaging/generate --locks\n")
    return found
