"""Lays text out on a screen: paragraphs, tables of labels, and bytes on lines as long as they have."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from opanel_agent.cli.display.output import COLUMNS, Style, Styled, Verbatim

_GAP: Final = 2
_NARROWEST_LAST: Final = 16  # a last column of fewer characters goes below its row instead


class Row(NamedTuple):
    """One label and its text; without either, an empty line. `mark` is the part of the text that `style` colours.

    `rank` is how soon the row is left out where there are too many, 0 for never; `command` shows what it says.
    """

    label: str = ""
    text: str = ""
    style: Style = Style.PLAIN
    mark: str = ""
    rank: int = 0
    command: str = ""


def fitted(rows: Iterable[Row], most: int, columns: int, more: Callable[[str], Row]) -> tuple[str, ...]:
    """Returns the rows as at most `most` lines, without those of the highest rank; a row names the commands that show them.

    They are more lines only where the rows that may not be left out have as many.
    """
    kept = [*rows]
    left_out: list[Row] = []
    while len(lines := table([*kept, *_more(left_out, more)], columns)) > most:
        spare = max((row for row in kept if row.rank), key=lambda row: row.rank, default=None)
        if spare is None:
            break
        kept.remove(spare)
        left_out.append(spare)
    return lines


def _more(left_out: Sequence[Row], more: Callable[[str], Row]) -> Iterator[Row]:
    commands = dict.fromkeys(row.command for row in reversed(left_out) if row.command)
    if commands:
        yield more("; ".join(commands))


def table(rows: Iterable[Row], columns: int = COLUMNS) -> tuple[str, ...]:
    """Returns the rows as lines: labels in one column, texts wrapped beside them."""
    listed = tuple(rows)
    width = max((len(row.label) for row in listed), default=0) + _GAP
    return tuple(line for row in listed for line in _row(row, width, columns))


def _row(row: Row, width: int, columns: int) -> Iterable[str]:
    if not (row.label or row.text):
        return ("",)
    lines = _wrap(row.text, columns, row.label.ljust(width), " " * width)
    return (Styled(line, part=row.mark, style=row.style) for line in lines) if row.mark else lines


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], columns: int = COLUMNS) -> tuple[str, ...]:
    """Returns rows of cells under a head: each column as wide as its widest cell, the last wrapped in what is left."""
    listed = (head, *rows)
    widths = [max(len(row[n]) for row in listed) + _GAP for n in range(len(head) - 1)]
    return tuple(line for row in listed for line in _cells(row, widths, columns))


def _cells(row: Sequence[str], widths: Sequence[int], columns: int) -> Iterator[str]:
    line = "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True))
    if columns - len(line) >= _NARROWEST_LAST:
        yield from _wrap(row[-1], columns, line, " " * len(line)) or (line.rstrip(),)
    else:
        yield line.rstrip()
        yield from _wrap(row[-1], columns, " " * 2 * _GAP, " " * 2 * _GAP)


def paragraph(text: str, *, indent: int = 0, hang: int = 0, columns: int = COLUMNS) -> tuple[str, ...]:
    """Returns the text in lines, every one after the first indented by `hang` columns. A longer word stays whole."""
    return _wrap(text, columns, " " * indent, " " * (indent + hang))


def _wrap(text: str, columns: int, first: str, others: str) -> tuple[str, ...]:
    return tuple(
        textwrap.wrap(
            text,
            width=columns,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def verbatim(text: str, *, indent: int = 2) -> tuple[Verbatim, ...]:
    """Returns lines as they went over the wire; whatever else a terminal would obey is escaped where it is printed."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return tuple(Verbatim(" " * indent + line) for line in lines)
