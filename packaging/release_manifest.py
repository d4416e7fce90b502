#!/usr/bin/env python3
"""Drafts a release manifest: what this source installs, file by file (docs/license-format.md, "Release manifest").

    packaging/release_manifest.py --package TREE [--self-contained TREE] --source DIR --date SECONDS [--artifacts DIR]

TREE is what a package lays, below its root: the native one, and the one with a Python of its own. The rpm lays the files
of the latter, and the tar brings that Python. DIR is a source with the first root of trust in it. The draft goes to
standard output as JSON; `opanel-authority release sign` adds the issuer and signs it. The same source gives the same bytes.
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
OWN_ENV: Final = f"{INSTALLER}/env"
COMMAND: Final = {"/usr/local/bin/opanel-agent": f"{OWN_ENV}/bin/opanel-agent"}
PACKAGE_MODULES: Final = f"{PACKAGE}/env/lib/python3/site-packages"
# Of a package: code, units, accounts and folders. The rest of /usr/share is manual pages and the like.
OF_CODE: Final = ("/usr/lib/", "/usr/bin/", "/usr/share/python3/", f"{OWN_ENV}/")
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


def take_environment(layout: dict[str, Any]) -> dict[str, Any]:
    """Takes the files and links of the environment out of a layout, which has them by its folder `env`."""
    taken: dict[str, Any] = {}
    for kind in ("files", "links"):
        inside = {path: text for path, text in layout[kind].items() if path.startswith(f"{OWN_ENV}/")}
        taken[kind] = {f"env{path.removeprefix(OWN_ENV)}": text for path, text in inside.items()}
        layout[kind] = {path: text for path, text in layout[kind].items() if path not in inside}
    return taken


def installer_layout(source: Path) -> dict[str, Any]:
    """What install.sh lays, with the wheels of the libraries that it keeps."""
    package = source / "agent/opanel_agent"
    files = {f"modules/opanel_agent/{path.relative_to(package).as_posix()}": digest(path) for path in below(package)}
    wheels = {"folder": f"{INSTALLER}/wheels", "lock": f"{INSTALLER}/packaging/agent.lock"}
    laid = {"files": files | kit_files(source), "links": COMMAND, "wheels": wheels}
    return {"place": OWN_ENV, "folders": ["modules"], **laid}


def tar_layout(source: Path, command: Path) -> dict[str, Any]:
    """What install.sh lays from the tar: the environment that the packages lay, its command in it, and a stamp."""
    stamp = f"runtime\n{version_of(source)}\n".encode()  # packaging/installer/environment.py
    files = {"env/bin/opanel-agent": digest(command), "env/stamp": hashlib.sha256(stamp).hexdigest()}
    laid = {"files": files | kit_files(source), "links": COMMAND}
    return {"place": f"{OWN_ENV}-runtime-", "folders": ["env"], **laid}


def kit_files(source: Path) -> dict[str, str]:
    """What install.sh lays beside the environment: itself, and the units."""
    files = {f"{INSTALLER}/{name}": digest(source / name) for name in KIT}
    for path in (path for folder in KIT_FOLDERS for path in below(source / folder)):
        files[f"{INSTALLER}/{path.relative_to(source).as_posix()}"] = digest(path)
    for path in below(source / "systemd"):
        files[laid_at(path.name)] = digest(path)
    return files


def laid_at(name: str) -> str:
    """Where install.sh puts a file of systemd/ (packaging/installer/install.py)."""
    for kind in ("sysusers", "tmpfiles"):
        if name.endswith(f".{kind}.conf"):
            return f"/usr/lib/{kind}.d/{name.removesuffix(f'.{kind}.conf')}.conf"
    return f"/etc/systemd/system/{name}"


def layouts(package: Path, self_contained: Path | None, source: Path) -> dict[str, Any]:
    """Each way of installing, and the environment that the packages with a Python of their own and the tar have.

    install.sh has folders env-VERSION-N, from the tar env-runtime-VERSION-N, which do not begin as the package's `env`.
    """
    found = {"deb": package_layout(package, PACKAGE, f"{PACKAGE}/env"), "installer": installer_layout(source)}
    if self_contained is None:
        return {"layouts": found}
    found["self-contained"] = package_layout(self_contained, "env", f"{OWN_ENV}/lib")
    found["tar"] = tar_layout(source, self_contained / "usr/bin/opanel-agent")
    return {"layouts": found, "environment": take_environment(found["self-contained"])}


def version_of(source: Path) -> str:
    return str(tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def draft(date: int, source: Path, found: dict[str, Any], artifacts: Path | None) -> dict[str, Any]:
    """The claims of the manifest but `ver` and `iss`."""
    control = (source / "packaging/deb/control").read_text("utf-8")
    oldest = re.search(r"systemd \(>= (\d+)\)", control)
    if oldest is None:
        message = "packaging/deb/control does not say which systemd it needs"
        raise ValueError(message)
    return {
        "iat": date,
        "version": version_of(source),
        "notice": (source / "agent/opanel_agent/data/notices/current").read_text("ascii").strip(),
        "systemd": int(oldest[1]),
        "artifacts": {} if artifacts is None else published(artifacts),
        **found,
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
