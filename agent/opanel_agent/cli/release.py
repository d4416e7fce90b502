"""`verify-install`: whether the installed code is the code that was published, file by file.

The manifest that lies beside the code is verified under the root of trust, and each file of code compared with it
(`core.release`). The verifier is itself a part of what it verifies, which the screen says: it finds what decayed or was
changed by somebody who did not think of it. `doctor` and `prove-silence` ask the same.
"""

from collections.abc import Iterator
from typing import Final

from opanel_agent import __version__
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph
from opanel_agent.cli.display.output import CommandResult, Shown, Style, Styled
from opanel_agent.cli.display.times import day
from opanel_agent.cli.license import documents
from opanel_agent.cli.parser import Options
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.release import comparison, manifest
from opanel_agent.core.release.comparison import CodeDifference
from opanel_agent.core.release.manifest import InstallLayout, Manifest
from opanel_agent.core.values import frozen
from opanel_agent.messages import describe_error
from opanel_agent.system.storage.installed_code import InstalledCode, LocalInstalledCode

MANY: Final = 24
NOT_COVERED: Final = {
    "interpreter": "release.beyond_interpreter",
    "libraries": "release.beyond_libraries",
    "verifier": "release.beyond_verifier",
}


@frozen
class ReleaseCheck:
    """Holds what the comparison came to. `files` is how many paths were compared."""

    manifest: Manifest
    layout: InstallLayout
    root: str
    files: int
    differences: tuple[CodeDifference, ...]
    overrides: tuple[str, ...]

    @property
    def not_covered(self) -> tuple[str, ...]:
        """Returns the codes of what the comparison says nothing about."""
        own = self.layout.carries_interpreter
        covered = {"interpreter": own, "libraries": own or self.layout.wheels is not None, "verifier": False}
        return tuple(code for code in NOT_COVERED if not covered[code])


def verify_install(options: Options, world: Context, means: InstalledCode | None = None) -> CommandResult:
    """Compares every installed file of code with the release manifest. Exit 1 where one differs. Raises as `check` does."""
    del options
    found = check(world, means)
    lines = tuple(_lines(world, found))
    return CommandResult(result=_json(world, found), lines=lines, exit_status=1 if found.differences else 0)


def check(world: Context, means: InstalledCode | None = None) -> ReleaseCheck:
    """Returns what the comparison came to.

    Raises Misconfigured (`no_release`) where nothing says what the code has to be, Untrusted for a manifest that does not
    hold, Storage for a file that cannot be read.
    """
    code = means or LocalInstalledCode()
    if code.manifest_path is None:
        raise Misconfigured(Fault.NO_RELEASE, "release_none", folder=code.modules)
    text = code.manifest()
    if text is None:
        raise Misconfigured(Fault.NO_RELEASE, "release_absent", file=code.manifest_path, again=code.again)
    root = documents.trusted_root(world)
    read = manifest.verify(text, root)
    layout = comparison.layout_for(read, code.modules, version=__version__, again=code.again)
    survey = code.survey(layout)
    return ReleaseCheck(
        manifest=read,
        layout=layout,
        root=root.digest,
        files=len(survey.wanted),
        differences=comparison.differences(survey.wanted, survey.seen, foreign=survey.foreign, again=code.again),
        overrides=survey.overrides,
    )


def _lines(world: Context, found: ReleaseCheck) -> Iterator[str]:
    columns = world.console.columns
    sentence = "release.differs" if found.differences else "release.same"
    values = {"version": found.manifest.version, "date": day(found.manifest.iat)}
    text = world.sentence(sentence, files=found.files, count=len(found.differences), **values)
    style = Style.BAD if found.differences else Style.GOOD
    yield from (Styled(line, part=line, style=style) for line in paragraph(text, columns=columns))
    signed = world.sentence("release.signed", count=found.manifest.signatures, root=found.root[:16])
    yield from paragraph(signed, columns=columns)
    for difference in found.differences[:MANY]:
        title, cure = describe_error(difference.error, world.lang)
        yield from paragraph(f"- {title} [{difference.error.code}]", hang=2, columns=columns)
        yield from paragraph(world.sentence("doctor.cure", cure=cure), indent=4, columns=columns)
    if len(found.differences) > MANY:
        yield from paragraph(world.sentence("release.more", count=len(found.differences) - MANY), columns=columns)
    for path in found.overrides:
        yield from paragraph(world.sentence("release.override", file=path), hang=2, columns=columns)
    yield from paragraph(world.sentence("release.not_covered"), columns=columns)
    for code in found.not_covered:
        yield from paragraph(f"- {world.sentence(NOT_COVERED[code])}", hang=2, columns=columns)


def _json(world: Context, found: ReleaseCheck) -> Shown:
    return {
        "good": not found.differences,
        "version": found.manifest.version,
        "date": found.manifest.iat,
        "notice": found.manifest.notice,
        "systemd": found.manifest.systemd,
        "signatures": found.manifest.signatures,
        "root": found.root,
        "files": found.files,
        "differences": [_difference(world, each) for each in found.differences],
        "overrides": list(found.overrides),
        "not_covered": list(found.not_covered),
    }


def _difference(world: Context, difference: CodeDifference) -> Shown:
    error: AgentError = difference.error
    title, hint = describe_error(error, world.lang)
    return {
        "kind": str(difference.kind),
        "path": difference.path,
        "code": str(error.code),
        "title": title,
        "hint": hint,
    }
