"""Proves that this environment runs on Debian's own libraries, and that they satisfy what the distributions ask for.

Run by the environment's interpreter (`tests/run --all` does). An environment that quietly took a library from elsewhere
would make the floors in pyproject.toml a guess. Not judged: whether the versions work; the tests do that.
"""

import sys
from collections.abc import Iterator
from importlib import metadata

from pip._vendor.packaging.requirements import Requirement  # pip's copy: Debian's python3-packaging need not be there

DEBIANS = "/usr/lib/python3/dist-packages"
OURS = ("opanel-agent", "opanel-authority")


def required(extras: tuple[str, ...] = ("", "test")) -> Iterator[Requirement]:
    for ours in OURS:
        for text in metadata.requires(ours) or []:
            requirement = Requirement(text)
            if requirement.name in OURS:
                continue
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                yield requirement


def objection(requirement: Requirement) -> str | None:
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement}: not installed"
    place = str(found.locate_file(""))
    if place.rstrip("/") != DEBIANS:
        return f"{requirement}: {found.version} comes from {place}, not from {DEBIANS}"
    if not requirement.specifier.contains(found.version, prereleases=True):
        return f"{requirement}: Debian has {found.version}"
    return None


def main() -> int:
    requirements = list(required())
    objections = [sentence for sentence in map(objection, requirements) if sentence]
    for sentence in objections:
        sys.stderr.write(f"{sentence}\n")
    if objections or not requirements:
        return 1
    shown = sorted({f"{r.name} {metadata.version(r.name)}" for r in requirements})
    sys.stdout.write(f"Debian's own: {', '.join(shown)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
