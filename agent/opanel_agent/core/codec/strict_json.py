"""JSON (RFC 8259) that can be read in one way only, and a reader of objects that refuses what it was not asked for.

I-JSON (RFC 7493) and a little narrower: strict UTF-8 without a byte order mark, no duplicate members, no fractions,
exponents, NaN or Infinity, integers 0 <= n < 2^53, no lone surrogates, bounded size and depth. What two parsers could
read differently is refused rather than interpreted.

`loads` and `dumps` know bytes and values; `Members` takes one object apart, name by name, and `end` refuses the rest.
Canonical JSON is left out on purpose: signatures are over the received bytes, never over something re-serialised.
"""

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Final, NoReturn

from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import is_safe

__all__ = ["MAX_DEPTH", "MAX_INT", "NAME", "Json", "Members", "dumps", "loads"]

MAX_INT: Final = 2**53 - 1  # RFC 7493 section 2.2: what every implementation reads exactly
MAX_DEPTH: Final = 8

# The identifiers of this format: products, features, limits, roles, component types.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_LONG: Final = re.compile(rb"[0-9]{16,}")
# All digits alike, all brackets alike: what pairs with what is left to the parser.
_ALIKE: Final = bytes.maketrans(b"123456789[]", b"000000000{}")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"{}"))
_STEP: Final = {ord("{"): 1, ord("}"): -1}


def loads(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Json:
    """The value of a JSON text of at most `max_bytes`, its containers nested at most `max_depth` deep."""
    if len(data) > max_bytes:
        raise Untrusted(Reason.FORMAT_INVALID, "json_size", max_bytes=max_bytes)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_utf8") from error
    if text.startswith("\ufeff"):
        raise Untrusted(Reason.FORMAT_INVALID, "json_bom")
    _check_outside_of_strings(data, max_depth)
    try:
        value: Json = _DECODER.decode(text)
    except ValueError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_syntax") from error
    if "\\u" in text:  # only an escape can spell a lone surrogate: strict UTF-8 has none
        _check_surrogates(value)
    return value


def dumps(value: Json) -> bytes:
    """Compact, members sorted, UTF-8 unescaped; `loads` gives the value back."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode("utf-8")


def _check_outside_of_strings(data: bytes, max_depth: int) -> None:
    """Before parsing, because the parser recurses, and because a parsed 0 no longer says that it was -0.

    Up to the first syntax error the parser sees the same strings.
    """
    outside = b"".join(_ESCAPE.sub(b"", data).split(b'"')[::2])
    alike = outside.translate(_ALIKE)
    if alike.count(b"{") > max_depth and _depth(alike) > max_depth:
        raise Untrusted(Reason.FORMAT_INVALID, "json_depth", max_depth=max_depth)
    if b"-" in alike or (b"0" * 16 in alike and _exceeds(outside)):
        raise Untrusted(Reason.FORMAT_INVALID, "json_integer")


def _depth(alike: bytes) -> int:
    """How deep brackets go, of which there is one at least."""
    return max(accumulate(map(_STEP.__getitem__, alike.translate(None, _NO_BRACKET))))


def _exceeds(outside: bytes) -> bool:
    """2^53 - 1 has 16 digits."""
    return any(len(number) > 16 or int(number) > MAX_INT for number in _LONG.findall(outside))


def _check_surrogates(value: Json) -> None:
    try:
        dumps(value)
    except UnicodeEncodeError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_surrogate") from error


def _distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    said = dict(pairs)
    if len(said) != len(pairs):
        raise Untrusted(Reason.FORMAT_INVALID, "json_duplicate")
    return said


def _no_float(_digits: str) -> NoReturn:
    raise Untrusted(Reason.FORMAT_INVALID, "json_float")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_float=_no_float, parse_constant=_no_float)


class Members:
    """One JSON object, taken apart by name; every fault raises Untrusted with `where` and `name`.

    A member that was never asked for is refused by `end`. Only an outermost object may have `x`, an object whose
    members are ignored.
    """

    __slots__ = ("_outermost", "_said", "_taken", "where")

    def __init__(self, value: Json, where: str, *, outermost: bool = True) -> None:
        if not isinstance(value, dict):
            raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="")
        self.where = where
        self._said = value
        self._taken: set[str] = set()
        self._outermost = outermost

    def has(self, name: str) -> bool:
        return name in self._said

    def names(self) -> tuple[str, ...]:
        """The names of all members, for an object whose names are data. They still have to be taken."""
        return tuple(self._said)

    def value(self, name: str) -> Json:
        """The member as it is."""
        try:
            value = self._said[name]
        except KeyError:
            raise self._fault("member_missing", name) from None
        self._taken.add(name)
        return value

    def text(self, name: str, *, max_length: int = 256, pattern: re.Pattern[str] | None = None) -> str:
        """A string of at most `max_length` characters that matches `pattern` as a whole; none is unsafe (`text_safety`)."""
        return self._text(self.value(name), name, max_length, pattern)

    def integer(self, name: str, *, low: int = 0, high: int = MAX_INT) -> int:
        """`low` <= n <= `high`; a bool is not an integer."""
        value = self.value(name)
        if type(value) is not int:
            raise self._fault("member_type", name)
        if not low <= value <= high:
            raise self._fault("member_value", name)
        return value

    def boolean(self, name: str) -> bool:
        value = self.value(name)
        if not isinstance(value, bool):
            raise self._fault("member_type", name)
        return value

    def constant(self, name: str, wanted: str | int) -> None:
        value = self.value(name)
        if type(value) is not type(wanted) or value != wanted:
            raise self._fault("member_value", name)

    def texts(
        self, name: str, *, max_items: int = 64, max_length: int = 256, pattern: re.Pattern[str] | None = None
    ) -> frozenset[str]:
        """An array of distinct strings."""
        items = self._list(name, max_items)
        texts = frozenset([self._text(item, name, max_length, pattern) for item in items])
        if len(texts) != len(items):
            raise self._fault("member_value", name)
        return texts

    def integers(self, name: str, *, max_items: int = 64) -> Mapping[str, int]:
        """An object from names to integers."""
        inner = self.members(name)
        names = inner.names()
        if len(names) > max_items or not all(map(NAME.fullmatch, names)):
            raise self._fault("member_value", name)
        return {each: inner.integer(each) for each in names}

    def members(self, name: str) -> "Members":
        """An object within; its reader has its own `end`."""
        value = self.value(name)
        if not isinstance(value, dict):
            raise self._fault("member_type", name)
        return Members(value, f"{self.where}.{name}", outermost=False)

    def each(self, name: str, max_items: int) -> "tuple[Members, ...]":
        """An array of objects."""
        items = self._list(name, max_items)
        if not all(isinstance(item, dict) for item in items):
            raise self._fault("member_type", name)
        return tuple(Members(item, f"{self.where}.{name}", outermost=False) for item in items)

    def b64(self, name: str, *, size: int | None) -> bytes:
        """Base64url of `size` bytes (any number, up to 64 KiB of text, where None)."""
        try:
            data = unbase64url(self.text(name, max_length=64 * 1024))
        except Untrusted as error:
            raise error.but(where=self.where, name=name) from error
        if size is not None and len(data) != size:
            raise self._fault("member_value", name)
        return data

    def end(self) -> None:
        """Refuse every member that nobody asked for."""
        if len(self._taken) == len(self._said):
            return
        if self._outermost and "x" in self._said:
            self.members("x")
        for name in self._said:
            if name not in self._taken:
                raise self._fault("member_unknown", name)

    def refuse(self, name: str) -> Untrusted:
        """The error for a member whose value breaks a rule that only the caller knows."""
        return self._fault("member_value", name)

    def _text(self, value: Json, name: str, max_length: int, pattern: re.Pattern[str] | None) -> str:
        """`value`, which is the member `name` or within it, as `text` wants it."""
        if not isinstance(value, str):
            raise self._fault("member_type", name)
        if len(value) > max_length or not is_safe(value) or (pattern is not None and not pattern.fullmatch(value)):
            raise self._fault("member_value", name)
        return value

    def _list(self, name: str, max_items: int) -> list[Json]:
        value = self.value(name)
        if not isinstance(value, list):
            raise self._fault("member_type", name)
        if len(value) > max_items:
            raise self._fault("member_value", name)
        return value

    def _fault(self, detail: str, name: str) -> Untrusted:
        # A name that we did not choose is shown only where it cannot say anything to a terminal.
        shown = name if NAME.fullmatch(name) else "?"
        return Untrusted(Reason.FORMAT_INVALID, detail, where=self.where, name=shown)
