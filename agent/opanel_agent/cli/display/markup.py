"""Shows the few marks of a notice as a terminal can: `# title`, `**strong**`, `*emphasis*` and `` `code` ``.

A pair of marks may begin on one line and end on another, so each line carries what is open where it begins. A file or a pipe
gets the marks as they were written: there the text is Markdown.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Self

_STRONG, _EMPHASIS, _END = "\x1b[1m", "\x1b[4m", "\x1b[0m"
_MARK: Final = re.compile(r"\*\*|\*|`")
_SWITCHED: Final = {"**": _STRONG, "*": _EMPHASIS}


class Marked(str):
    """A line with its marks; `opened` are those of the lines above that are not closed yet."""

    __slots__ = ("opened",)
    opened: frozenset[str]

    def __new__(cls, line: str, opened: frozenset[str] = frozenset()) -> Self:
        made = super().__new__(cls, line)
        made.opened = opened
        return made


def marked(lines: Iterable[str]) -> Iterator[Marked]:
    """Yields each line with what is open where it begins. An empty line closes everything."""
    opened: frozenset[str] = frozenset()
    for line in lines:
        opened = opened if line.strip() else frozenset()
        yield Marked(line, opened)
        for mark in _MARK.findall(line):
            opened ^= {mark}


def rendered(line: str, opened: frozenset[str] = frozenset(), *, styles: bool) -> str:
    """Returns a line without its marks; with `styles` what they mean is bold or underlined."""
    title = line.startswith("# ")
    text = line.removeprefix("# ")
    if not styles:
        return _MARK.sub("", text)
    now = set(opened) | ({"**"} if title else set())
    shown = [_begin(now), *(_piece(piece, now) for piece in re.split(r"(\*\*|\*|`)", text))]
    return "".join([*shown, _END if _begin(now) else ""])


def _piece(piece: str, now: set[str]) -> str:
    """Returns a stretch of text as it is, a mark as the switch that it is; what stays open is opened again after an end."""
    if not _MARK.fullmatch(piece):
        return piece
    now ^= {piece}
    if piece not in _SWITCHED:
        return ""
    return _SWITCHED[piece] if piece in now else f"{_END}{_begin(now)}"


def _begin(now: set[str]) -> str:
    return "".join(code for mark, code in _SWITCHED.items() if mark in now)
