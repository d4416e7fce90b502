"""What install.sh was asked for, checked: which options go together, and that files can be read. Nothing is changed."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import install, remove
from installer.texts import CannotError

KEY: Final = re.compile(rb" *[0-9A-Za-z -]{24,48} *")
KEY_BYTES: Final = 64
# Each option, and what it belongs to; `install` is neither of the others.
BELONGS: Final = {
    "keep": "demo",
    "purge": "uninstall",
    "no_export": "purge",
    "wheels": "install",
    "license": "install",
    "preseed": "install",
}


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Returns the words of install.sh, which knows them already; an empty value is none."""
    parser = argparse.ArgumentParser(prog="packaging/installer")
    parser.add_argument("--lang", choices=("en", "tr"), default="en")
    for name in ("demo", "keep", "dry-run", "uninstall", "purge", "no-export", "lang-asked"):
        parser.add_argument(f"--{name}", action="store_true")
    for name in ("wheels", "preseed", "license", "released", "runtime"):
        parser.add_argument(f"--{name}", type=lambda word: word or None)
    return parser.parse_args(words)


def check(options: argparse.Namespace) -> None:
    """Raises CannotError `together`."""
    used = {name for name, value in vars(options).items() if value}
    if not {"demo", "uninstall"} & used:
        used.add("install")
    for name in ("uninstall", "dry_run"):
        if {"demo", name} <= used:
            raise CannotError("together", f"--{name.replace('_', '-')}")
    for name, owner in BELONGS.items():
        if name in used and owner not in used:
            raise CannotError("together", f"--{name.replace('_', '-')}")


def of_install(options: argparse.Namespace) -> install.Wishes:
    """Raises CannotError `license` or `preseed`."""
    preseed = Path(options.preseed).absolute() if options.preseed else None
    if preseed is not None and not is_readable(preseed):
        raise CannotError("preseed", options.preseed)
    license_file, license_key = of_license(options.license)
    return install.Wishes(
        wheels=Path(options.wheels).absolute() if options.wheels else None,
        license_file=license_file,
        license_key=license_key,
        preseed=preseed,
        dry_run=options.dry_run,
    )


def of_license(word: str | None) -> tuple[Path | None, str | None]:
    """Returns the file of a document, or a key or the file that holds one. Raises CannotError `license`.

    A file that is there is a file, with a document or a key; else it must look like a key.
    """
    if word is None:
        return None, None
    path = Path(word).absolute()
    if is_readable(path):
        with path.open("rb") as file:
            return (None, str(path)) if is_like_key(file.read(KEY_BYTES)) else (path, None)
    if is_like_key(word.encode()):
        return None, word
    raise CannotError("license", word)


def is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def is_like_key(text: bytes) -> bool:
    return KEY.fullmatch(text.replace(b"\r", b"").replace(b"\n", b"")) is not None


def of_removal(options: argparse.Namespace) -> remove.Wishes:
    return remove.Wishes(purge=options.purge, export=not options.no_export, dry_run=options.dry_run)
