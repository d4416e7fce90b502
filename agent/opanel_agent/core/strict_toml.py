"""TOML of an administrator's, read whole or refused whole, with the line of the first fault.

tomllib says what is TOML; this says what was asked for. A key that nobody took, a value of another type (`1` and `"true"`
are not `true`) or out of range refuses the file: a word that is silently ignored is worse than one that is missing. The
caller says under which reason (`settings_refused`, `consent_refused`), and adds which file it was.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.reasons import Reason

T = TypeVar("T")

MAX_BYTES: Final = 64 * 1024
_TOML_LINE: Final = re.compile(r"at line (\d+)")


def loads(data: bytes, reason: Reason, *, schema: int = 1) -> "Table":
    """The outermost table of a file whose `schema` is the one asked for. Raises Misconfigured."""
    table = Table(_toml(_text(data, reason), reason), data.decode("utf-8"), "", reason)
    if table.take("schema", integer) != schema:
        raise table.refuse("toml_schema", "schema")
    return table


def _text(data: bytes, reason: Reason) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Misconfigured(reason, "toml_utf8", line=data.count(b"\n", 0, exc.start) + 1) from exc


def _toml(text: str, reason: Reason) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        found = _TOML_LINE.search(str(exc))  # "at end of document" names none
        line = int(found[1]) if found else text.count("\n") + 1
        raise Misconfigured(reason, "toml_syntax", line=line) from exc


class Table:
    """A reader that remembers what was taken: the rest is unknown and refuses the file."""

    def __init__(self, values: Mapping[str, object], text: str, prefix: str, reason: Reason) -> None:
        self.values = values
        self._text = text
        self._prefix = prefix
        self._reason = reason
        self._taken: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self.values

    def take(self, name: str, read: Callable[[object], T]) -> T | None:
        """The value as `read` makes it, None where the key is absent. `read` raises TypeError or ValueError."""
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
        """As `take`, of a key that must be there."""
        value = self.take(name, read)
        if value is None:
            raise self.refuse("toml_missing", name)
        return value

    def table(self, name: str) -> "Table":
        """A table within, empty where it is absent; it has its own `end`."""
        values = self.take(name, mapping)
        return Table(values or {}, self._text, f"{self._prefix}{name}.", self._reason)

    def end(self) -> None:
        """Refuse every key that nobody asked for."""
        for name in self.values:
            if name not in self._taken:
                raise self.refuse("toml_unknown", name)

    def refuse(self, detail: str, name: str) -> Misconfigured:
        line = line_of(self._text, name)
        return Misconfigured(self._reason, detail, name=(self._prefix + name)[:80], line=line)


def line_of(text: str, name: str) -> int:
    """Where a key or table is written; line 1 where it is written in a way that this does not find."""
    key = rf"""(?:\w+\s*\.\s*)*["']?{re.escape(name)}["']?"""
    written = re.compile(rf"\s*(?:\[+\s*{key}\s*[\].]|{key}\s*[=.])|.*[{{,]\s*{key}\s*=")
    lines = text.split("\n")
    return next((number for number, line in enumerate(lines, start=1) if written.match(line)), 1)


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value
