"""`verify FILE`: an export of any server, checked on any machine, without daemon, network or root.

All of the judging is `core.ledger.export`'s. This reads the file, compares the root that it begins at with the one that this
machine trusts (where it has one), and says what was found. Making an export is `data export`.
"""

from pathlib import Path
from typing import Final

from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult, Shown
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.parser import Options
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured, Storage, Untrusted
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import Checked, ExportFlaw
from opanel_agent.system.storage import trust

DISAGREES: Final = 1


def verify(options: Options, world: Context) -> CommandResult:
    checked = check_here(world, _read(world, options.operands[0]))
    return CommandResult(
        result=_result(world, checked),
        lines=tuple(report_lines(world, checked)),
        exit_status=0 if checked.good else DISAGREES,
    )


def check_here(world: Context, data: bytes) -> Checked:
    """Returns what is wrong with an export, its root compared with this machine's, where it has one."""
    return export.check(data, _trusted(world))


def _read(world: Context, name: str) -> bytes:
    """Returns the bytes of a file, or stdin's for `-`, which are cut (and then found to be) where they go on for too long.

    Raises Untrusted for what is no file, or too large to be an export.
    """
    if name == "-":
        return world.read_stdin(export.MAX_BYTES)
    try:
        data = world.files.read(Path(name), max_bytes=export.MAX_BYTES, follow=True)
    except Misconfigured as refused:
        raise Untrusted(refused.code, refused.detail, **refused.values) from refused
    if data is None:
        raise Storage(Fault.IO_FAILED, "file_absent", file=name)
    return data


def _trusted(world: Context) -> str | None:
    """Returns the digest of the first root here.

    A machine without one, or whose settings are refused, has nothing to compare.
    """
    try:
        return trust.first_root(world.files, world.paths, world.settings()).digest
    except (Misconfigured, Storage):
        return None


def report_lines(world: Context, checked: Checked) -> list[str]:
    """Returns what a check found, as a person reads it: the verdict, each finding after a dash, the counts and the root."""
    counts = world.sentence(
        "export.counts",
        moment=moment(checked.as_of),
        version=checked.version,
        entries=checked.entries,
        sent=checked.sent,
        receipts=checked.receipts,
        parts=checked.parts,
    )
    verdict = (
        world.sentence("export.good") if checked.good else world.sentence("export.bad", count=len(checked.findings))
    )
    gaps = [world.sentence("export.gaps", count=checked.gaps)] if checked.gaps else []
    return [
        verdict,
        *(f"- {_sentence(world, each)}" for each in checked.findings),
        counts,
        *gaps,
        _root(world, checked),
    ]


def _root(world: Context, checked: Checked) -> str:
    if checked.root is None:
        return world.sentence("export.root_none")
    known = {None: "export.root_unknown", True: "export.root_same", False: "export.root_other"}
    return world.sentence(known[checked.root_known], sha256=checked.root)


def _sentence(world: Context, finding: ExportFlaw) -> str:
    return world.sentence(f"finding.{finding.what}", name=finding.name, line=finding.line or 0)


def _result(world: Context, checked: Checked) -> Shown:
    return {
        "good": checked.good,
        "as_of": checked.as_of,
        "agent": checked.version,
        "parts": checked.parts,
        "entries": checked.entries,
        "sent": checked.sent,
        "receipts": checked.receipts,
        "gaps": checked.gaps,
        "root": checked.root,
        "root_known": checked.root_known,
        "findings": [
            {"code": str(each.what), "name": each.name, "line": each.line, "title": _sentence(world, each)}
            for each in checked.findings
        ],
    }
