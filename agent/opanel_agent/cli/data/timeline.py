"""Draws since when what was allowed: a bar for each time that a consent or an opt-out was in force, by the ledger."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from opanel_agent.cli.context import Context
from opanel_agent.cli.data.markup import Markup, tag
from opanel_agent.cli.display.times import day, moment
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen

OPT_OUTS: Final = "opt_outs"
_ENDINGS: Final = (EntryKind.CONSENT_REFUSED, EntryKind.CONSENT_WITHDRAWN, EntryKind.CONSENT_INVALIDATED)
_LABELS: Final = 220  # in units of the picture
_WIDTH: Final = 760
_ROW: Final = 40
_TICKS: Final = 4
_SHORTEST: Final = 3


@frozen
class Span:
    """Holds a time in which something was in force: `row` is its purpose or OPT_OUTS, `end` None: it still is."""

    row: str
    start: int
    end: int | None


def spans(entries: Iterable[Entry]) -> tuple[Span, ...]:
    """Returns every such time, in the order in which they began. Times are effective seconds since 1970."""
    found: list[Span] = []
    standing: dict[tuple[str, str], int] = {}  # row and name of what is in force, and where in `found`
    for entry in entries:
        begun = _begins(entry)
        if begun is not None and begun not in standing:
            standing[begun] = len(found)
            found.append(Span(row=begun[0], start=entry.at, end=None))
        for each in _ends(entry):
            place = standing.pop(each, None)
            if place is not None:
                found[place] = Span(row=each[0], start=found[place].start, end=entry.at)
    return tuple(found)


def _begins(entry: Entry) -> tuple[str, str] | None:
    if entry.kind == EntryKind.CONSENT_GIVEN and entry.purpose is not None:
        return entry.purpose, ""
    if entry.kind == EntryKind.OPT_OUT_SEEN:
        return OPT_OUTS, f"{entry.data.get('signal')} in {entry.data.get('place')}"
    return None


def _ends(entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.kind in _ENDINGS and entry.purpose is not None:
        yield entry.purpose, ""
    names = entry.data.get("ids")
    if entry.kind == EntryKind.OPT_OUT_GONE and isinstance(names, list | tuple):
        yield from ((OPT_OUTS, str(name)) for name in names)


def picture(world: Context, entries: Sequence[Entry], as_of: int) -> Markup:
    """Returns the SVG, from the first entry to the last: a row for each purpose by consent, and one for opt-outs."""
    rows = [*map(str, CONSENT_BASED), OPT_OUTS]
    begin = entries[0].at if entries else as_of
    scale = (_WIDTH - _LABELS - 40) / max(as_of - begin, DAY_S)
    height = _ROW * (len(rows) + 1)

    def x(at: int) -> float:
        return _LABELS + (at - begin) * scale

    bars = [_bar(world, span, x, rows.index(span.row), as_of) for span in spans(entries) if span.row in rows]
    labels = [_text(0, _ROW * n + 25, _name(world, row)) for n, row in enumerate(rows)]
    lines = [_line(_LABELS, _ROW * n + 36, _WIDTH - 40, _ROW * n + 36) for n in range(len(rows))]
    title = tag("title", {"id": "timeline"}, world.sentence("audit.timeline"))
    attributes = {"viewBox": f"0 0 {_WIDTH} {height}", "role": "img", "aria-labelledby": "timeline"}
    return tag("svg", attributes, title, *lines, *labels, *bars, *_axis(begin, as_of, height, scale))


def _bar(world: Context, span: Span, x: Callable[[int], float], row: int, as_of: int) -> Markup:
    end = as_of if span.end is None else span.end
    place = {"x": f"{x(span.start):.1f}", "y": str(_ROW * row + 8), "rx": "3", "height": "22"}
    width = max(_SHORTEST, x(end) - x(span.start))
    kind = "opt-out" if span.row == OPT_OUTS else "consent"
    shape = tag("rect", {**place, "width": f"{width:.1f}", "class": kind})
    return tag("g", None, tag("title", None, describe(world, span)), shape)


def describe(world: Context, span: Span) -> str:
    """Returns what a bar shows, as a sentence."""
    name = _name(world, span.row)
    if span.end is None:
        return world.sentence("audit.span_open", name=name, start=moment(span.start))
    return world.sentence("audit.span", name=name, start=moment(span.start), end=moment(span.end))


def _name(world: Context, row: str) -> str:
    return world.sentence("audit.opt_outs") if row == OPT_OUTS else world.named("purpose", row)


def _axis(begin: int, as_of: int, height: int, scale: float) -> Iterator[Markup]:
    """Yields the days at equal distances; at least a day apart."""
    length = max(as_of - begin, DAY_S)
    ticks = max(1, min(_TICKS, length // DAY_S))
    for n in range(ticks + 1):
        at = begin + length * n // ticks
        where = _LABELS + (at - begin) * scale
        yield _line(where, 4, where, height - _ROW + 4)
        yield _text(where, height - 16, day(at), anchor="start" if n == 0 else "end" if n == ticks else "middle")


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"})


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return tag("text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}, text)
