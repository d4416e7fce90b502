"""Runs the command `doctor`: what is wrong, with code and cure, and how many checks passed; `--verbose` lists them all.

`cli.doctor.probes` looks and `core.diagnosis` concludes. `--report` is for the reseller and made of this code's own words
alone: codes, the labels of files and mirrors, a date, a version, and eight digits of a digest. Nothing that was read is
copied into it, so that there is nothing to redact; a test plants values in every field all the same.
"""

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from opanel_agent import __version__
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph, verbatim
from opanel_agent.cli.display.output import CommandResult, Shown, Style, Styled, escaped
from opanel_agent.cli.doctor.probes import Probes, run_checks
from opanel_agent.cli.license import documents
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.parser import Options, one_of
from opanel_agent.core import diagnosis, route_diagnosis
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.diagnosis import CheckStatus, Finding, SkipReason
from opanel_agent.core.documents import bundle
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license import license_key
from opanel_agent.core.license.states import State
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import fixed_get, head
from opanel_agent.core.wire.mirror_probe import PROBE
from opanel_agent.messages import describe_error

DIGITS: Final = 8
UNKNOWN: Final = "unknown"
MAX_BUNDLE_BYTES: Final = 64 * 1024


def doctor(options: Options, world: Context, means: Probes | None = None) -> CommandResult:
    """Runs every check. `means` are what looks; a test has its own. Exit 1 where a check failed."""
    mode = one_of(options, "--verbose", "--report")
    findings = run_checks(world, means or Probes(), show=_show_bytes if mode == "--verbose" else _show_urls)
    status = 0 if diagnosis.sound(findings) else 1
    if mode == "--report":
        return _report(world, findings, status)
    lines = tuple(_screen(world, findings, verbose=mode == "--verbose"))
    result: dict[str, Shown] = {
        "good": status == 0,
        "checks": [_json(world, finding) for finding in findings],
    }
    return CommandResult(result=result, lines=lines, exit_status=status)


# ---- what leaves, before it does


def _show_urls(world: Context, bases: tuple[str, ...]) -> None:
    for base in bases:
        world.note("doctor.asks", url=fixed_get(PROBE, base).url)


def _show_bytes(world: Context, bases: tuple[str, ...]) -> None:
    """Shows the very bytes, as the commands that send show theirs."""
    for base in bases:
        sealed = fixed_get(PROBE, base)
        world.note("doctor.leaves", url=sealed.url)
        for line in verbatim(head(sealed).decode("ascii")):
            world.console.note(escaped(line))
    world.note("leaves.address")


# ---- the screen


def _screen(world: Context, findings: tuple[Finding, ...], *, verbose: bool) -> Iterator[str]:
    """Yields what is wrong, the broken before the doubtful; what was not looked at, and why; how many checks passed."""
    for status in (CheckStatus.FAILED, CheckStatus.WARNING):
        for finding in findings:
            if finding.status is status:
                yield from _problem(world, finding)
                yield ""
    yield from _unseen(world, findings)
    yield _sum(world, findings, verbose=verbose)
    if verbose:
        yield ""
        yield from _every(world, findings)


def _problem(world: Context, finding: Finding) -> Iterator[str]:
    """Yields one that failed, with its code and what to do."""
    name = world.named("examined", finding.check)
    if finding.address is not None:
        name = world.sentence("doctor.at_address", name=name, address=finding.address)
    level = world.named("level", finding.status)
    style = Style.BAD if finding.status is CheckStatus.FAILED else Style.WARNING
    for line in _line(world, finding, name, indent=0):
        yield Styled(line, part=level, style=style)
    yield from _cure(world, finding, indent=4)


def _unseen(world: Context, findings: tuple[Finding, ...]) -> Iterator[str]:
    """Yields what was not looked at, a line for each reason and place, but what a step that failed is reason enough for."""
    found: dict[tuple[SkipReason, str | None], list[str]] = {}
    for each in findings:
        if each.status is CheckStatus.NOT_LOOKED_AT and each.why not in (None, SkipReason.NOT_REACHED):
            name = "doctor.mirrors" if each.check in route_diagnosis.LAYERS else f"examined.{each.check}"
            found.setdefault((each.why, each.subject), []).append(world.sentence(name))
    for (why, subject), names in found.items():
        level = world.named("level", CheckStatus.NOT_LOOKED_AT)
        where = f" ({subject})" if subject else ""
        text = f"[{level}] {', '.join(dict.fromkeys(names))}: {world.named('skipped', why)}{where}"
        yield from paragraph(text, hang=4, columns=world.console.columns)
    if found:
        yield ""


def _sum(world: Context, findings: tuple[Finding, ...], *, verbose: bool) -> str:
    """Tells how many checks passed, each counted once however many things it looked at. Those not needed are neither."""
    looked = {each.check for each in findings if each.status is not CheckStatus.NOT_NEEDED}
    passed = looked - {each.check for each in findings if each.status not in (CheckStatus.OK, CheckStatus.NOT_NEEDED)}
    sound = all(each.error is None for each in findings)
    text = world.sentence("doctor.sound" if sound else "doctor.passed", count=len(passed))
    return text if verbose else world.sentence("doctor.verbose", text=text)


def _every(world: Context, findings: tuple[Finding, ...]) -> Iterator[str]:
    """Yields each check in a line; those of a mirror under its address, or in one line where no mirror was asked."""
    for (subject, layered), group in groupby(
        findings, lambda each: (each.subject, each.check in route_diagnosis.LAYERS)
    ):
        together = tuple(group)
        if layered and together[0].label is not None:
            yield world.sentence("doctor.mirror", url=subject or "")
            yield from (
                line
                for each in together
                for line in _brief(world, replace(each, subject=None), indent=4 if each.address else 2)
            )
        elif layered and together[0].error is None:
            yield from _line(world, together[0], world.sentence("doctor.mirrors"), indent=0)
        else:
            yield from (line for each in together for line in _brief(world, each, indent=0))


def _brief(world: Context, finding: Finding, *, indent: int) -> Iterator[str]:
    if finding.address is not None:
        name = world.sentence("doctor.address", address=finding.address)
    else:
        name = world.named("examined", finding.check)
    return _line(world, finding, name, indent=indent)


def _line(world: Context, finding: Finding, name: str, *, indent: int) -> Iterator[str]:
    level = world.named("level", finding.status)
    why = "" if finding.why is None else f": {world.named('skipped', finding.why)}"
    where = f" ({finding.subject})" if finding.subject else ""
    yield from paragraph(f"[{level}] {name}{why}{where}", indent=indent, hang=4, columns=world.console.columns)


def _cure(world: Context, finding: Finding, *, indent: int) -> Iterator[str]:
    if finding.error is not None:
        title, cure = describe_error(finding.error, world.lang)
        for text in (f"{title} [{finding.error.code}]", world.sentence("doctor.cure", cure=cure)):
            yield from paragraph(text, indent=indent, columns=world.console.columns)


def _json(world: Context, finding: Finding) -> Shown:
    title, hint = (None, None) if finding.error is None else describe_error(finding.error, world.lang)
    return {
        **_coded(world, finding),
        "subject": finding.subject,
        "address": finding.address,
        "title": title,
        "hint": hint,
    }


def _coded(world: Context, finding: Finding) -> dict[str, Shown]:
    error = finding.error
    return {
        "check": str(finding.check),
        "label": finding.label,
        "status": str(finding.status),
        "code": None if error is None else str(error.code),
        "detail": None if error is None else _detail(world, error),
        "why": None if finding.why is None else str(finding.why),
    }


def _detail(world: Context, error: AgentError) -> str:
    """Returns a detail that this version knows: another process's, of another version, may say anything."""
    return error.detail if world.named("error", error.detail) != error.detail else UNKNOWN


# ---- the report


def _report(world: Context, findings: tuple[Finding, ...], status: int) -> CommandResult:
    """Shows what can be pasted into an e-mail. The beginning is fixed: digits, state, since, reasons, version."""
    digits = _digits(world)
    state, since, reasons = _state(world)
    first = " ".join((digits or "-" * DIGITS, state, since, ",".join(reasons) or UNKNOWN, __version__))
    world.note("doctor.report")
    result: dict[str, Shown] = {
        "key": digits,
        "state": state,
        "since": since,
        "reasons": list(reasons),
        "version": __version__,
        "checks": [_coded(world, finding) for finding in findings],
    }
    # An address is nobody's business but this machine's; that one has a fault is.
    reported = (finding for finding in findings if finding.address is None or finding.error is not None)
    lines = (first, *(_report_line(world, finding) for finding in reported))
    return CommandResult(result=result, lines=lines, exit_status=status)


def _report_line(world: Context, finding: Finding) -> str:
    words = [f"[{world.named('level', finding.status)}]", finding.check, *((finding.label,) if finding.label else ())]
    if finding.error is not None:
        words.append(f"{finding.error.code}/{_detail(world, finding.error)}")
    if finding.why is not None:
        words.append(finding.why)
    return f"{' '.join(words)} - {world.named('examined', finding.check)}"


def _state(world: Context) -> tuple[str, str, tuple[str, ...]]:
    """Returns the state of the last answer, as far as it is words in words that this version knows.

    What is not a code is not passed on.
    """
    try:
        license_ = answers.latest(world).license
    except AgentError:
        return UNKNOWN, UNKNOWN, ()
    known = {str(code) for code in (*Reason, *Fault)}
    state = license_.state if license_.state in set(State) else UNKNOWN
    reasons = tuple(reason if reason in known else UNKNOWN for reason in license_.reasons)
    return state, _utc(license_.since), reasons


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _digits(world: Context) -> str | None:
    """Returns the first of the license key's SHA-256, by which the reseller finds the license.

    None where no bundle can be read.
    """
    for path in (world.paths.bundle, world.paths.previous_bundle):
        try:
            text = world.files.read(path, max_bytes=MAX_BUNDLE_BYTES)
            if text is not None:
                found = bundle.verify(text, documents.trusted_root(world), now=None)
                return license_key.digest(found.license.sub)[:DIGITS]
        except AgentError:
            continue
    return None
