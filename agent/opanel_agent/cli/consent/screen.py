"""Lays out `consent show`: whose answers they are, a row a purpose, and what lies in the folder and counts for nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from opanel_agent.cli.consent.locations import place_name
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import grid, paragraph
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import Objection
from opanel_agent.core.consent.purposes import CONSENT_BASED, POLICIES, Purpose
from opanel_agent.core.units import HOUR_S
from opanel_agent.messages import describe_error

_HEAD = ("head.purpose", "head.decided_by", "head.now", "head.why")


def lines(
    world: Context, consent: ConsentReading, objections: Mapping[Purpose, tuple[Objection, ...]]
) -> Iterator[str]:
    """Yields the screen. `objections` are the gate's to each purpose, in the order of the rows."""
    columns = world.console.columns
    for text in _file(world, consent):
        yield from paragraph(text, hang=2, columns=columns)
    yield ""
    rows = (_row(world, purpose, consent, found) for purpose, found in objections.items())
    yield from grid([world.sentence(name) for name in _HEAD], rows, columns)
    yield ""
    yield from paragraph(world.sentence("consent.details"), columns=columns)


def _file(world: Context, consent: ConsentReading) -> Iterator[str]:
    """Yields where the answers stand and who gave them; each file that is refused, with line and cure."""
    if consent.file is not None:
        yield world.sentence("consent.file", file=consent.place, notice=consent.file.notice)
        if consent.file.granted is not None:
            granted = consent.file.granted
            yield world.sentence("consent.granted", by=granted.by, role=granted.role, on=granted.on)
    elif consent.refused is None:
        yield world.sentence("consent.no_file", file=consent.place)
    for fault in consent.faults():
        title, hint = describe_error(fault, world.lang)
        yield world.sentence("consent.refused", problem=title)
        yield f"  {hint}"
    yield from ignored(world, consent)


def ignored(world: Context, consent: ConsentReading) -> Iterator[str]:
    """Yields what lies in consent.d and counts for nothing."""
    for path in consent.ignored:
        yield world.sentence("consent.ignored", file=path)


def _row(world: Context, purpose: Purpose, consent: ConsentReading, objections: tuple[Objection, ...]) -> Sequence[str]:
    now = world.sentence(f"yesno.{not objections}")
    return str(purpose), _decided_by(world, purpose, consent), now, _why(world, purpose, consent, objections)


def _decided_by(world: Context, purpose: Purpose, consent: ConsentReading) -> str:
    """Returns the setting, the command, or the answer's file and line."""
    if purpose not in CONSENT_BASED:
        return place_name(world, POLICIES[purpose].governor.value)
    name = Path(consent.place).name
    if consent.refused is not None:
        return name
    answer = consent.locate("allow", f"purposes.{purpose}.allow")
    if answer.line is None:
        return world.sentence("consent.nobody")
    return world.sentence("where.line", place=name, line=answer.line)


def _why(world: Context, purpose: Purpose, consent: ConsentReading, objections: tuple[Objection, ...]) -> str:
    """Returns the first objection and how many more there are; of what consent lets out, what a report still waits for."""
    if not objections:
        return _waiting(world, purpose, consent)
    reasons = tuple(dict.fromkeys(each.reason for each in objections))
    refused = reasons[0] is Reason.CONSENT_REFUSED  # which file, the lines above the table say
    first = world.sentence("consent.see_above") if refused else world.named("reason", reasons[0])
    return world.sentence("consent.more", reason=first, count=len(reasons) - 1) if len(reasons) > 1 else first


def _waiting(world: Context, purpose: Purpose, consent: ConsentReading) -> str:
    if purpose not in CONSENT_BASED:
        return ""
    if consent.review(purpose):
        return world.sentence("consent.may_reviewed")
    hold_s = consent.hold_s(purpose)
    return (
        world.sentence("consent.may_held", hours=hold_s // HOUR_S) if hold_s else world.sentence("consent.may_at_once")
    )
