#!/usr/bin/env python3
"""Drafts a release manifest: what this source installs, file by file (docs/license-format.md, "Release manifest").

    packaging/release_manifest.py --package TREE [--self-contained TREE] --source DIR --date SECONDS [--artifacts DIR]

TREE is what a package lays, below its root: the native one, and the one with a Python of its own, whose files the rpm and
the tar lay, too. DIR is a source with the first root of trust in it. The draft goes to standard output as JSON;
`opanel-authority release sign` adds the issuer and signs it. The same source gives the same bytes.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "/usr/lib/opanel-agent"
INSTALLER: Final = "/opt/opanel-agent"
PACKAGE_MODULES: Final = f"{PACKAGE}/env/lib/python3/site-packages"
# Of a package: code, units, accounts and folders. The rest of /usr/share is manual pages and the like.
OF_CODE: Final = ("/usr/lib/", "/usr/bin/", "/usr/share/python3/", f"{INSTALLER}/env/")
PUBLISHED: Final = (".deb", ".rpm", ".tar.xz", "opanel.gpg", "opanel.asc")  # the last two are the repository's key
# What install.sh keeps of itself, to repair and to remove (packaging/installer/install.py).
KIT: Final = ("install.sh", "pyproject.toml", "packaging/wheels.py", "packaging/agent.lock", "config/agent.toml")
KIT_FOLDERS: Final = ("packaging/installer", "systemd")
NO_CODE: Final = ("__pycache__", ".mypy_cache")


def package_layout(tree: Path, folder: str, place: str) -> dict[str, Any]:
    """What a package lays. `folder` holds nothing else; the real path of its modules begins with `place`."""
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    for path in below(tree, without=()):
        named = f"/{path.relative_to(tree).as_posix()}"
        if not named.startswith(OF_CODE):
            continue
        if named.startswith(f"{PACKAGE_MODULES}/"):
            named = f"modules{named.removeprefix(PACKAGE_MODULES)}"
        if path.is_symlink():
            links[named] = str(path.readlink())
        else:
            files[named] = digest(path)
    return {"place": place, "folders": [folder], "files": files, "links": links}


def installer_layout(source: Path) -> dict[str, Any]:
    """What install.sh lays, with the wheels of the libraries that it keeps."""
    package = source / "agent/opanel_agent"
    files = {f"modules/opanel_agent/{path.relative_to(package).as_posix()}": digest(path) for path in below(package)}
    files |= {f"{INSTALLER}/{name}": digest(source / name) for name in KIT}
    for path in (path for folder in KIT_FOLDERS for path in below(source / folder)):
        files[f"{INSTALLER}/{path.relative_to(source).as_posix()}"] = digest(path)
    for path in below(source / "systemd"):
        files[laid_at(path.name)] = digest(path)
    wheels = {"folder": f"{INSTALLER}/wheels", "lock": f"{INSTALLER}/packaging/agent.lock"}
    return {"place": f"{INSTALLER}/env", "folders": ["modules"], "files": files, "links": {}, "wheels": wheels}


def laid_at(name: str) -> str:
    """Where install.sh puts a file of systemd/ (packaging/installer/install.py)."""
    for kind in ("sysusers", "tmpfiles"):
        if name.endswith(f".{kind}.conf"):
            return f"/usr/lib/{kind}.d/{name.removesuffix(f'.{kind}.conf')}.conf"
    return f"/etc/systemd/system/{name}"


def layouts(package: Path, self_contained: Path | None, source: Path) -> dict[str, Any]:
    """Each way of installing. install.sh has folders env-VERSION-N, which do not begin as the self-contained one's."""
    found = {"deb": package_layout(package, PACKAGE, f"{PACKAGE}/env"), "installer": installer_layout(source)}
    if self_contained is not None:
        env = f"{INSTALLER}/env"
        found["self-contained"] = package_layout(self_contained, env, f"{env}/lib")
    return found


def draft(date: int, source: Path, found: dict[str, Any], artifacts: Path | None) -> dict[str, Any]:
    """The claims of the manifest but `ver` and `iss`."""
    control = (source / "packaging/deb/control").read_text("utf-8")
    oldest = re.search(r"systemd \(>= (\d+)\)", control)
    if oldest is None:
        message = "packaging/deb/control does not say which systemd it needs"
        raise ValueError(message)
    return {
        "iat": date,
        "version": tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]["version"],
        "notice": (source / "agent/opanel_agent/data/notices/current").read_text("ascii").strip(),
        "systemd": int(oldest[1]),
        "artifacts": {} if artifacts is None else published(artifacts),
        "layouts": found,
    }


def published(folder: Path) -> dict[str, str]:
    """The digest of each package, of the tar, and of the repository's key; the index is signed anew each time."""
    return {path.name: digest(path) for path in below(folder) if path.name.endswith(PUBLISHED)}


def below(folder: Path, without: Sequence[str] = NO_CODE) -> Iterator[Path]:
    """Every file and link, in order; what Python and tools leave in a source is none of them."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in without and name not in linked)
        yield from (here / name for name in sorted([*files, *linked]))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--self-contained", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--date", type=int, required=True)
    parser.add_argument("--artifacts", type=Path)
    options = parser.parse_args(words)
    found = layouts(options.package, options.self_contained, options.source)
    claims = draft(options.date, options.source, found, options.artifacts)
    print(json.dumps(claims, sort_keys=True, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
