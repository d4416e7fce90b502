"""Reads TOML of an administrator's: whole, or refused whole with the line of the first fault.

`tomllib` says what is TOML; this says what was asked for. A key that nobody
took, a value of another type (`1` and `"true"` are not `true`) or out of range
refuses the file: a setting that is silently ignored is worse than one that is
missing, because its owner believes in it. The caller says under which reason
(`settings_refused`, `consent_refused`), and adds which file it was.

`tomllib` keeps no positions. The line of a key is found by parsing beginnings
of the file (`line_of`), which costs parses only where something is wrong or an
objection names a place; a second parser that keeps positions would read some
files differently.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Misconfigured

T = TypeVar("T")

MAX_BYTES: Final = 64 * 1024
_RESEMBLANCE: Final = 0.8  # of difflib: one letter in five may be wrong
_MAX_TRIES: Final = 200  # lines of one statement that are looked back over: each costs a parse of the file
_TOML_LINE: Final = r"at line (\d+)"


def loads(data: bytes, reason: Reason, *, schema: int = 1) -> "Table":
    """Returns the outermost table of a file whose `schema` is the one asked for.

    Raises Misconfigured with `line`.

    The caller caps the size before (MAX_BYTES).
    """
    text = _text(data, reason)
    table = Table(_toml(text, reason), text, (), reason)
    if table.take("schema", integer) != schema:
        raise table.refuse("toml_schema", "schema")
    return table


def _text(data: bytes, reason: Reason) -> str:
    """Returns the file's text.

    Raises Misconfigured (`toml_utf8`) with the line of the first byte that is
    none.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Misconfigured(reason, "toml_utf8", line=data.count(b"\n", 0, exc.start) + 1) from exc


def _toml(text: str, reason: Reason) -> Mapping[str, object]:
    """Returns the file's values.

    Raises Misconfigured (`toml_syntax`), also for what is nested too deep for
    the parser.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # a ValueError of int() too: it reads no more than 4300 digits
        raise Misconfigured(reason, "toml_syntax", line=_line_in(str(exc), text)) from exc


def _line_in(message: str, text: str) -> int:
    """Returns the line at which the parser stopped.

    It names none at the end, nor for what is too long or too deep for it.
    """
    lines = text.split("\n")
    if found := re.search(_TOML_LINE, message):
        return int(found[1])
    if "end of document" in message:
        return len(lines)
    return lines.index(max(lines, key=len)) + 1


class Table:
    """Reads one table and remembers what was taken: whatever is left refuses the file at `end`."""

    def __init__(self, values: Mapping[str, object], text: str, path: tuple[str, ...], reason: Reason) -> None:
        self.values = values
        self._text = text
        self._path = path
        self._reason = reason
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        """Tells whether the table has the key."""
        return name in self.values

    def take(self, name: str, read: Callable[[object], T]) -> T | None:
        """Returns the value as `read` makes it, None where the key is absent.

        `read` raises TypeError for another type and ValueError for a value out
        of range; both become Misconfigured with `line`.
        """
        self._taken.add(name)
        if name not in self.values:
            return None
        try:
            return read(self.values[name])
        except TypeError as exc:
            raise self.refuse("toml_type", name) from exc
        except ValueError as exc:
            raise self.refuse("toml_value", name) from exc

    def need(self, name: str, read: Callable[[object], T]) -> T:
        """Returns the value as `take` does, of a key that must be there.

        Raises Misconfigured: `toml_missing`, or `toml_unknown` for a key that
        seems to be this one, mistyped.
        """
        value = self.take(name, read)
        if value is None:
            mistyped = self._resembling(name)
            raise self.refuse("toml_missing", name) if mistyped is None else self.refuse("toml_unknown", mistyped)
        return value

    def _resembling(self, name: str) -> str | None:
        """Returns the key of this table that is most like `name`.

        The table has not that one, and nobody else asked for it.
        """
        import difflib  # for who mistyped alone

        known = {key.lower(): key for key in self.values if key not in self._taken}
        return next(
            (known[key] for key in difflib.get_close_matches(name, sorted(known), n=1, cutoff=_RESEMBLANCE)), None
        )

    def table(self, name: str) -> "Table":
        """Returns the table within, empty where it is absent; it has its own `end`."""
        values = self.take(name, mapping)
        return Table(values or {}, self._text, (*self._path, name), self._reason)

    def end(self) -> None:
        """Raises Misconfigured (`toml_unknown`) for the first key that nobody asked for.

        Call it last.
        """
        for name in self.values:
            if name not in self._taken:
                raise self.refuse("toml_unknown", name)

    def line(self, name: str) -> int | None:
        """Returns the line, counted from 1, on which the key or table is written; None where it is absent."""
        return line_of(self._text, (*self._path, name))

    def refuse(self, detail: str, name: str) -> Misconfigured:
        """Returns the fault, with its line: that of the table where the key is the one that is missing."""
        line = self.line(name) or (line_of(self._text, self._path) if self._path else None) or 1
        return Misconfigured(self._reason, detail, name=".".join((*self._path, name))[:80], line=line)


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Returns the line on which the key or table at `path` begins, None where there is none.

    `text` is TOML.

    The parser is asked, because TOML can say one thing in many ways (dotted
    keys, inline tables). Every beginning of the file that ends between two
    statements is TOML too, so it is the line after the longest beginning that
    does not hold `path` yet. A binary search, with a bound on the parses that
    one long statement can cost.
    """
    lines = text.split("\n")
    if not _holds(lines, path):
        return None
    without, low, high, tries = 0, 0, len(lines), _MAX_TRIES
    while high - low > 1:
        middle = (low + high) // 2
        reach = max(low, middle - tries)
        end = next((end for end in range(middle, reach, -1) if _holds(lines[:end], path) is not None), None)
        tries -= middle - (end or reach)
        if end is None and reach > low:
            # A text of hundreds of lines: from the other side, where the
            # beginnings are short, as far as that reaches.
            after = range(low + 1, min(middle, low + _MAX_TRIES))
            return max((end for end in after if _holds(lines[:end], path) is False), default=without) + 1
        if end is None:
            low = middle
        elif _holds(lines[:end], path):
            high = end
        else:
            without, low = end, middle
    return without + 1


def _holds(lines: Sequence[str], path: tuple[str, ...]) -> bool | None:
    """Tells whether these lines say something at `path`; None where they end within a statement."""
    try:
        value: object = tomllib.loads("\n".join([*lines, ""]))
    except (ValueError, RecursionError):
        return None
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def boolean(value: object) -> bool:
    """Returns a boolean. Raises TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def integer(value: object) -> int:
    """Returns an integer.

    Raises TypeError for anything else, a boolean included, which Python counts
    among them.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def string(value: object) -> str:
    """Returns a string. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError
    return value


def mapping(value: object) -> Mapping[str, object]:
    """Returns a table's values. Raises TypeError for anything else."""
    if not isinstance(value, dict):
        raise TypeError
    return value
