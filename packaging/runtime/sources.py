#!/usr/bin/env python3
"""Fetches, checks and unpacks the source packages of sources.toml, and says which of them are no longer the newest.

    packaging/runtime/sources.py --fetch DIR      what is pinned, into DIR, by apt; what is there is only checked
    packaging/runtime/sources.py --pin DIR        the same unchecked, and writes sources.lock: after a change of version
    packaging/runtime/sources.py --newer          a line for each source package, and each wheel with machine code, of which
                                                  there is a newer one: read their changelogs for what was mended

apt is used with lists of its own, so that this machine needs no source entries; the archive's signatures are checked by
apt, with the distribution's keys. exit: 0 done, nothing newer · 1 something is newer · 64 usage · 69 cannot be had
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PINNED: Final = HERE / "sources.toml"
LOCK: Final = HERE / "sources.lock"
AGENT_LOCK: Final = HERE.parent / "agent.lock"
KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
COMPILED: Final = ("cryptography", "cffi", "psutil")  # wheels with machine code; the first has an OpenSSL of its own


class CannotError(Exception):
    """A sentence for a person."""


def pinned() -> tuple[str, list[dict[str, Any]]]:
    """Returns the distribution's name, and each source package: name, version, license, patches that are left out."""
    read = tomllib.loads(PINNED.read_text(encoding="utf-8"))
    return read["distribution"], read["source"]


def hashes(lock: Path = LOCK) -> dict[str, str]:
    """Returns the SHA-256 of each file of the lock, by its name."""
    lines = (line.split() for line in lock.read_text(encoding="ascii").splitlines() if not line.startswith("#"))
    return {name: digest for digest, name in lines}


# ---- apt


@contextmanager
def apt(distribution: str) -> Iterator[list[str]]:
    """Yields the options with which apt knows the sources of the distribution; lists of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="opanel-apt-") as name:
        place = Path(name)
        place.chmod(0o755)
        lines = [f"deb-src [signed-by={KEYS}] {archive} {suite} main\n" for archive, suite in archives(distribution)]
        (place / "sources.list").write_text("".join(lines))
        (place / "lists/partial").mkdir(parents=True)
        settings = {
            "Dir::Etc::sourcelist": place / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": place / "lists",
            "Dir::Cache": place,
            "APT::Sandbox::User": "root",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        ran = subprocess.run(["apt-get", *options, "update", "-qq"], capture_output=True, text=True, check=False)
        if ran.returncode != 0 or "Failed to fetch" in ran.stderr:
            raise CannotError(f"cannot read the archive's list of sources: {ran.stderr.strip()[-400:]}")
        yield options


def archives(distribution: str) -> Iterator[tuple[str, str]]:
    """Yields address and suite of what this machine's apt is set up with, for another distribution of the same archive."""
    asked = ["apt-get", "indextargets", "--format", "$(CREATED_BY) $(LABEL) $(REPO_URI)"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    addresses = dict(re.findall(r"^Packages (Debian|Debian-Security) (http\S+)$", found, re.MULTILINE))
    if "Debian" not in addresses:
        raise CannotError(
            "cannot find a Debian archive: apt is set up with none, or was never updated (apt-get update)"
        )
    yield addresses["Debian"], distribution
    yield addresses["Debian"], f"{distribution}-updates"
    if "Debian-Security" in addresses:
        yield addresses["Debian-Security"], f"{distribution}-security"


def files_of(source: dict[str, Any]) -> str:
    """Returns how the names of a source package's own files begin, but for the upstream archive's."""
    return f"{source['name']}_{source['version'].partition(':')[2] or source['version']}"


def fetch(downloads: Path, *, checked: bool = True) -> None:
    """Brings what is missing of the pinned sources into a folder. Raises CannotError where a file is not as pinned."""
    distribution, sources = pinned()
    downloads.mkdir(parents=True, exist_ok=True)
    if checked and not wrong(downloads):
        return
    with apt(distribution) as options:
        for source in sources:
            asked = f"{source['name']}={source['version']}"
            command = ["apt-get", *options, "source", "-qq", "--download-only", asked]
            ran = subprocess.run(command, cwd=downloads, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                raise CannotError(f"cannot fetch {asked}, see --newer: {ran.stderr.strip()[-400:]}")
    if checked and (names := wrong(downloads)):
        raise CannotError(f"cannot use {', '.join(names)}: not what sources.lock pins")


def wrong(downloads: Path, lock: Path = LOCK) -> list[str]:
    """Returns the names of the lock whose file is missing, or another."""
    return [name for name, digest in hashes(lock).items() if digest_of(downloads / name) != digest]


def digest_of(file: Path) -> str | None:
    """Returns a file's SHA-256; None where there is none."""
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def pin(downloads: Path) -> None:
    """Writes the lock from what apt brings, whose hashes the archive has signed."""
    fetch(downloads, checked=False)
    lines = ["# Made by packaging/runtime/sources.py --pin. SHA-256 and name of each file of the source packages.\n"]
    for source in pinned()[1]:
        description = downloads / f"{files_of(source)}.dsc"
        _, _, files = description.read_text(encoding="utf-8").partition("Checksums-Sha256:\n")
        listed = re.findall(r"^ ([0-9a-f]{64}) \d+ (\S+)$", files, re.MULTILINE)
        lines += [f"{digest}  {name}\n" for digest, name in listed if not name.endswith(".asc")]
        lines.append(f"{digest_of(description)}  {description.name}\n")
    LOCK.write_text("".join(lines), encoding="ascii")


# ---- unpacked


def unpack(downloads: Path, into: Path) -> None:
    """Lays each source package into a folder of its name, with the distribution's patches but for those left out."""
    for source in pinned()[1]:
        folder = into / source["name"]
        description = downloads / f"{files_of(source)}.dsc"
        run("dpkg-source", "-q", "--no-check", "--no-copy", "--skip-patches", "-x", str(description), str(folder))
        for patch in series(folder, source.get("left_out", ())):
            run("patch", "-s", "-p1", "-d", str(folder), "-i", f"debian/patches/{patch}")


def series(folder: Path, left_out: Sequence[str]) -> list[str]:
    """Returns the patches to apply, in order. Raises CannotError where one that is left out is not there at all."""
    file = folder / "debian/patches/series"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    names = [line.partition("#")[0].strip() for line in lines]
    if unknown := sorted(set(left_out) - set(names)):
        raise CannotError(f"cannot leave out {', '.join(unknown)}: {folder.name} has no such patch")
    return [name for name in names if name and name not in left_out]


def run(*argv: str) -> None:
    """Runs a program. Raises CannotError with its last words."""
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise CannotError(f"cannot {argv[0]}: {(ran.stdout + ran.stderr).strip()[-400:]}")


# ---- newer ones


def newer() -> list[str]:
    """Returns a line for each thing that is pinned and has been replaced."""
    distribution, sources = pinned()
    lines: list[str] = []
    with apt(distribution) as options:
        for source in sources:
            shown = subprocess.run(
                ["apt-cache", *options, "showsrc", source["name"]], capture_output=True, text=True, check=True
            ).stdout
            newest = source["version"]
            for version in re.findall(r"^Version: (\S+)$", shown, re.MULTILINE):
                if is_newer(version, newest):
                    newest = version
            if newest != source["version"]:
                lines.append(f"{source['name']}: {source['version']} is pinned, {distribution} has {newest}")
    return lines + list(newer_wheels())


def is_newer(version: str, than: str) -> bool:
    """Returns how dpkg compares two versions."""
    return subprocess.run(["dpkg", "--compare-versions", version, "gt", than], check=False).returncode == 0


def newer_wheels() -> Iterator[str]:
    """Yields a line for each wheel with machine code whose index has another newest version."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", AGENT_LOCK.read_text(encoding="ascii"), re.MULTILINE))
    for name in COMPILED:
        asked = [sys.executable, "-m", "pip", "index", "versions", name]
        ran = subprocess.run(asked, capture_output=True, text=True, check=False)
        found = re.match(rf"{name} \((\S+)\)", ran.stdout)
        if found is None:
            raise CannotError(f"cannot ask for the versions of {name}: {ran.stderr.strip()[-400:]}")
        if found[1] != locked[name]:
            yield f"{name}: {locked[name]} is pinned, the index has {found[1]}"


def main(words: Sequence[str]) -> int:
    """Runs one of the three."""
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False, exit_on_error=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--fetch", type=Path)
    what.add_argument("--pin", type=Path)
    what.add_argument("--newer", action="store_true")
    try:
        options = parser.parse_args(words)
    except (argparse.ArgumentError, SystemExit):
        sys.stderr.write(f"{__doc__}\n")
        return os.EX_USAGE
    try:
        if options.fetch:
            fetch(options.fetch)
        elif options.pin:
            pin(options.pin)
        else:
            lines = newer()
            print("\n".join(lines) or "nothing newer")
            return 1 if lines else 0
    except CannotError as cannot:
        sys.stderr.write(f"{cannot}\n")
        return os.EX_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
