"""Compares what is installed with what was published, and says what a difference is.

What lies at a path is one text: SHA-256 in hex for a file, `link:` and the
target for a link, another word for anything else. So a file that became a link
to itself elsewhere is altered, as one with other bytes is.

Pure. Left out: looking (`system.storage.installed_code`), and judging files
that no layout names, such as an administrator's drop-ins for the units.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum, unique
from typing import Final, assert_never

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.release.manifest import ENVIRONMENT, MODULES, InstallLayout, Manifest
from opanel_agent.core.values import frozen

LINK: Final = "link:"
COMPILED: Final = "compiled"
"""What a compiled file is that says what its source says."""
COMPILED_OTHERWISE: Final = "compiled_otherwise"
"""What a compiled file is that says anything else, and that Python would run."""


@unique
class DifferenceKind(StrEnum):
    """Names how a path differs from the release."""

    ALTERED = "altered"
    MISSING = "missing"
    EXTRA = "extra"
    COMPILED = "compiled"
    FOREIGN = "foreign"


@frozen
class CodeDifference:
    """Holds one path that is not as it was published. `again` is the command that installs the release again."""

    path: str
    kind: DifferenceKind
    again: str

    @property
    def error(self) -> AgentError:
        """Returns the difference as an error: with a code, a sentence and a cure."""
        match self.kind:
            case DifferenceKind.ALTERED:
                return Misconfigured(Fault.CODE_DIFFERS, "code_altered", file=self.path, again=self.again)
            case DifferenceKind.MISSING:
                return Misconfigured(Fault.CODE_DIFFERS, "code_missing", file=self.path, again=self.again)
            case DifferenceKind.EXTRA:
                return Misconfigured(Fault.CODE_DIFFERS, "code_extra", file=self.path)
            case DifferenceKind.COMPILED:
                return Misconfigured(Fault.CODE_DIFFERS, "code_compiled", file=self.path)
            case DifferenceKind.FOREIGN:
                return Misconfigured(Fault.CODE_DIFFERS, "code_foreign", file=self.path)
            case _:
                assert_never(self.kind)


def expected(layout: InstallLayout, modules: str) -> dict[str, str]:
    """Returns what has to lie where, by absolute path. `modules` is the folder that the package lies in."""
    named = {**layout.files, **{path: f"{LINK}{target}" for path, target in layout.links.items()}}
    return {absolute(path, modules): text for path, text in named.items()}


def absolute(path: str, modules: str) -> str:
    """Returns a path of a layout as an absolute one."""
    if path.startswith("/"):
        return path
    if path.startswith(MODULES):
        return modules + path.removeprefix(MODULES)
    return modules.rsplit("/", 3)[0] + path.removeprefix(ENVIRONMENT)


def differences(
    wanted: Mapping[str, str], seen: Mapping[str, str], *, foreign: Iterable[str], again: str
) -> tuple[CodeDifference, ...]:
    """Returns every difference, by path. `foreign` are folders of modules that are nobody's part of the release.

    `again` is the command that installs the release again.

    What is seen and not wanted is one more than was published, but for a
    compiled file: `seen` says of it whether it is its source's.
    """
    kinds = {path: _kind(wanted.get(path), seen.get(path)) for path in wanted.keys() | seen.keys()}
    found = [CodeDifference(path=path, kind=kind, again=again) for path, kind in kinds.items() if kind is not None]
    found += [CodeDifference(path=path, kind=DifferenceKind.FOREIGN, again=again) for path in foreign]
    return tuple(sorted(found, key=lambda each: (each.path, each.kind)))


def _kind(wanted: str | None, seen: str | None) -> DifferenceKind | None:
    if wanted is not None:
        return None if wanted == seen else DifferenceKind.MISSING if seen is None else DifferenceKind.ALTERED
    if seen == COMPILED:
        return None
    return DifferenceKind.COMPILED if seen == COMPILED_OTHERWISE else DifferenceKind.EXTRA


def layout_for(manifest: Manifest, modules: str, *, version: str, again: str) -> InstallLayout:
    """Returns the layout of this installation: the one whose place the folder of modules begins with.

    Of several it is the longest place's.
    Raises Misconfigured (`release_version`) where the manifest is of another
    version than the code, and (`release_layout`) where it has no such layout.
    """
    if manifest.version != version:
        raise Misconfigured(
            Fault.CODE_DIFFERS, "release_version", release=manifest.version, version=version, again=again
        )
    found = [layout for layout in manifest.layouts.values() if modules.startswith(layout.place)]
    if not found:
        raise Misconfigured(Fault.NO_RELEASE, "release_layout", folder=modules)
    return max(found, key=lambda layout: len(layout.place))
