"""`data catalog`: every field that can ever leave, as it is declared, and how much a report can tell at most.

It reads what ships with the agent, as the agent itself does when it builds a report: needs neither root nor the daemon.
"""

from collections.abc import Iterator, Mapping

from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import paragraph
from opanel_agent.cli.display.output import CommandResult, Shown
from opanel_agent.cli.parser import Options
from opanel_agent.cli.purposes import any_purpose
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED, Purpose
from opanel_agent.core.reporting import fleet, retention
from opanel_agent.core.reporting.catalog import Catalog, Field, PurposeSchema
from opanel_agent.core.reporting.retention import ProofFolder
from opanel_agent.evaluate.reporting import proofs
from opanel_agent.system.storage.resources import load_catalog


def show(options: Options, world: Context) -> CommandResult:
    """Shows a line a field, of every purpose or of one.

    `--verbose`: each as it is declared, and how much a report tells.
    """
    catalog = load_catalog()
    purposes = [any_purpose(options.operands[0])] if options.operands else [*Purpose]
    screen = _whole if "--verbose" in options.flags else _brief
    lines = [line for purpose in purposes for line in (*screen(world, catalog, purpose), "")]
    result = {str(purpose): _purpose_json(catalog, purpose) for purpose in purposes}
    return CommandResult(result=result, lines=tuple(lines[:-1]))


def _brief(world: Context, catalog: Catalog, purpose: Purpose) -> Iterator[str]:
    """Yields a line a field: its name and what it says. One that is not sent any more is left out."""
    yield world.sentence("catalog.purpose", purpose=world.sentence(f"brief.{purpose}"), code=str(purpose))
    if purpose in FIXED:
        yield from paragraph(world.sentence("catalog.nothing"), indent=2)
        return
    fields = [field for field in catalog.fields(purpose).values() if field.until is None]
    width = max(len(field.name) for field in fields)
    for field in fields:
        yield from paragraph(f"{field.name:{width}}  {field.label[world.lang]}", indent=2, hang=width + 2)


def _whole(world: Context, catalog: Catalog, purpose: Purpose) -> Iterator[str]:
    yield world.sentence("catalog.purpose", purpose=world.sentence(f"purpose.{purpose}"), code=str(purpose))
    if purpose in FIXED:
        yield from paragraph(world.sentence("catalog.nothing"), indent=2)
        return
    sheet = catalog.sheets[purpose]
    recipients = ", ".join(world.named("recipient", name) for name in sheet.recipients)
    yield from paragraph(world.sentence("catalog.recipients", recipients=recipients), indent=2, hang=2)
    for sentence in _identifiability(world, catalog, purpose):
        yield from paragraph(sentence, indent=2, hang=2)
    for field in sheet.fields.values():
        yield from _field_lines(world, field)
    if purpose in CONSENT_BASED:
        stored = proofs.stored_days(catalog)
        days = {str(folder): retention.proof_days(folder, stored) for folder in ProofFolder}
        kept = world.sentence("catalog.proofs", proof=days["erasure"], receipts=days["receipts"])
        yield from paragraph(kept, indent=2, hang=2)


def _identifiability(world: Context, catalog: Catalog, purpose: Purpose) -> Iterator[str]:
    """Yields the most that a request can tell, what an ordinary report does, and what such a figure means."""
    yield world.sentence("catalog.bits", bits=_bits(catalog, purpose))
    ordinary = _ordinary(purpose)
    if ordinary is not None:
        yield world.sentence("catalog.ordinary", bits=ordinary)
        yield world.sentence("catalog.meaning", single=fleet.SINGLES_OUT_BITS)


def _field_lines(world: Context, field: Field) -> Iterator[str]:
    kind = world.named("type", field.type)
    yield from paragraph(
        world.sentence("catalog.field", name=field.name, label=field.label[world.lang], type=kind), indent=2, hang=4
    )
    for sentence in (
        field.description[world.lang],
        _permitted(world, field),
        world.sentence("catalog.example", example=dumps(field.example).decode()),
        world.sentence("catalog.origin", source=field.source, transform=field.transform),
        world.sentence("catalog.kept", here=field.retention_days_here, there=field.retention_days_there),
        world.sentence("catalog.since", since=field.since),
        *([world.sentence("catalog.until", until=field.until)] if field.until else []),
        *([world.sentence("catalog.optional")] if field.optional else []),
        *([world.sentence("catalog.drawn")] if field.drawn else []),
    ):
        yield from paragraph(sentence, indent=6, hang=2)


def _permitted(world: Context, field: Field) -> str:
    if field.values:
        return world.sentence("catalog.values", values=", ".join(map(str, field.values)))
    if field.pattern is None:
        return world.sentence("catalog.boolean")
    if field.max_items > 1:
        return world.sentence("catalog.patterns", pattern=field.pattern, items=field.max_items)
    return world.sentence("catalog.pattern", pattern=field.pattern)


def _bits(catalog: Catalog, purpose: str) -> str:
    return f"{catalog.bits(purpose):.1f}"


def _ordinary(purpose: Purpose) -> str | None:
    """Returns the figure of an ordinary fleet; None for a purpose of which no distribution is assumed."""
    return f"{fleet.bits(fleet.ORDINARY):.1f}" if purpose is Purpose.USAGE_STATISTICS else None


def _purpose_json(catalog: Catalog, purpose: Purpose) -> Shown:
    sheet = catalog.sheets.get(purpose, PurposeSchema(recipients=(), fields={}))
    return {
        "recipients": list(sheet.recipients),
        "bits": _bits(catalog, purpose),
        "bits_ordinary_fleet": _ordinary(purpose),
        "fields": {name: _field_json(field) for name, field in sheet.fields.items()},
    }


def _field_json(field: Field) -> Mapping[str, Shown]:
    return {
        "type": str(field.type),
        "values": list(field.values),
        "pattern": field.pattern,
        "max_items": field.max_items,
        "example": field.example,
        "source": field.source,
        "transform": field.transform,
        "retention_days_here": field.retention_days_here,
        "retention_days_there": field.retention_days_there,
        "since": field.since,
        "until": field.until,
        "optional": field.optional,
        "drawn": field.drawn,
        "description": dict(field.description),
        "label": dict(field.label),
    }
