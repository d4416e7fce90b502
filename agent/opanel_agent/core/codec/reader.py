"""Takes JSON objects apart, member by member, and refuses whatever is missing, of another type or value, or not asked for.

A reader states which members it wants, and `end` refuses the others, so that no
two versions can read one object in two ways: RFC 7515 section 4.1 would have
unknown header members ignored, and what is ignored here could matter there.
Every fault raises Untrusted (format_invalid) with `where`, the path of the
object, and `name`, the member; never a value that the bytes carried. `record`
reads whole values by these means.
"""

import re
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import MAX_INT
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.text_safety import is_safe

# The identifiers of the format: products, features, limits, roles, component
# types.
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAX_ITEMS: Final = 64
MAX_TEXT: Final = 256
MAX_BASE64URL: Final = 64 * 1024  # characters


class Members:
    """Reads one JSON object by its members' names; each fault raises Untrusted with `where` and `name`.

    `where` is the object's path, as a sentence shows it: `license.status`. A
    member that was never asked for is refused by `end`. Only an outermost
    object may have `x`, an object whose members are ignored: the place for
    private use. Reading a member twice is allowed. The methods `as_…` check a
    value that is the member `name` or lies within it.
    """

    __slots__ = ("_outermost", "_taken", "_values", "where")

    def __init__(self, value: Json, where: str, *, outermost: bool = True) -> None:
        """Raises Untrusted where the value is no object."""
        if not isinstance(value, dict):
            raise Untrusted(Reason.FORMAT_INVALID, "member_type", where=where, name="")
        self.where = where
        self._values = value
        self._taken: set[str] = set()
        self._outermost = outermost

    def has(self, name: str) -> bool:
        """Tells whether the object has the member, null included."""
        return name in self._values

    def names(self) -> tuple[str, ...]:
        """Returns the names of all members, for an object whose names are data.

        They still have to be taken.
        """
        return tuple(self._values)

    def value(self, name: str) -> Json:
        """Returns the member unchecked. Raises Untrusted (member_missing)."""
        try:
            value = self._values[name]
        except KeyError:
            raise self._fault("member_missing", name) from None
        self._taken.add(name)
        return value

    def text(self, name: str, *, max_length: int = MAX_TEXT, pattern: str | None = None) -> str:
        """Returns a string of at most `max_length` characters, all safe (`text_safety`), that `pattern` matches whole."""
        return self.as_text(self.value(name), name, max_length=max_length, pattern=pattern)

    def optional_text(self, name: str, *, max_length: int = MAX_TEXT, pattern: str | None = None) -> str | None:
        """Returns the string as `text` does, or None for null.

        The member itself must be there.
        """
        value = self.value(name)
        return None if value is None else self.as_text(value, name, max_length=max_length, pattern=pattern)

    def integer(self, name: str, *, low: int = 0, high: int = MAX_INT) -> int:
        """Returns an integer, low <= n <= high; true and false are none."""
        return self.as_integer(self.value(name), name, low=low, high=high)

    def optional_integer(self, name: str, *, low: int = 0, high: int = MAX_INT) -> int | None:
        """Returns the integer as `integer` does, or None for null.

        The member itself must be there.
        """
        value = self.value(name)
        return None if value is None else self.as_integer(value, name, low=low, high=high)

    def boolean(self, name: str) -> bool:
        """Returns true or false; 0, 1 and "true" are neither."""
        return self.as_boolean(self.value(name), name)

    def constant(self, name: str, wanted: str | int) -> None:
        """Raises Untrusted unless the member is this very value, of this very type."""
        value = self.value(name)
        if type(value) is not type(wanted) or value != wanted:
            raise self._fault("member_value", name)

    def texts(
        self,
        name: str,
        *,
        max_items: int = MAX_ITEMS,
        max_length: int = MAX_TEXT,
        pattern: str | None = None,
    ) -> frozenset[str]:
        """Returns an array of at most `max_items` distinct strings, in no order; each is checked as `text` does."""
        items = self.as_items(self.value(name), name, max_items=max_items)
        texts = frozenset([self.as_text(item, name, max_length=max_length, pattern=pattern) for item in items])
        if len(texts) != len(items):
            raise self._fault("member_value", name)
        return texts

    def integers(self, name: str, *, max_items: int = MAX_ITEMS) -> Mapping[str, int]:
        """Returns an object of at most `max_items` members from NAME to integer."""
        inner = self.members(name)
        names = inner.names()
        if len(names) > max_items or not all(re.fullmatch(NAME, each) for each in names):
            raise self._fault("member_value", name)
        return {key: inner.integer(key) for key in names}

    def members(self, name: str) -> "Members":
        """Returns a reader of the object within, which has its own `end`."""
        return self.as_members(self.value(name), name)

    def each(self, name: str, max_items: int) -> "tuple[Members, ...]":
        """Returns a reader for each object of an array of at most `max_items`."""
        items = self.as_items(self.value(name), name, max_items=max_items)
        return tuple(self.as_members(item, name) for item in items)

    def b64(self, name: str, *, size: int | None) -> bytes:
        """Returns base64url of `size` bytes (where None any number, up to 64 KiB of text)."""
        return self.as_bytes(self.value(name), name, size=size)

    def end(self) -> None:
        """Refuse every member that was not taken: call it last, or what is unknown passes."""
        if len(self._taken) == len(self._values):
            return
        if self._outermost and "x" in self._values:
            self.members("x")
        for name in self._values:
            if name not in self._taken:
                raise self._fault("member_unknown", name)

    def refuse(self, name: str) -> Untrusted:
        """Returns the error (member_value) for a member that breaks a rule which only the caller knows."""
        return self._fault("member_value", name)

    def as_text(self, value: Json, name: str, *, max_length: int = MAX_TEXT, pattern: str | None = None) -> str:
        """Returns the value if it is such a string as `text` wants."""
        if not isinstance(value, str):
            raise self._fault("member_type", name)
        if len(value) > max_length or not is_safe(value) or (pattern is not None and not re.fullmatch(pattern, value)):
            raise self._fault("member_value", name)
        return value

    def as_integer(self, value: Json, name: str, *, low: int = 0, high: int = MAX_INT) -> int:
        """Returns the value if it is such an integer as `integer` wants."""
        if type(value) is not int:
            raise self._fault("member_type", name)
        if not low <= value <= high:
            raise self._fault("member_value", name)
        return value

    def as_boolean(self, value: Json, name: str) -> bool:
        """Returns the value if it is true or false."""
        if not isinstance(value, bool):
            raise self._fault("member_type", name)
        return value

    def as_bytes(self, value: Json, name: str, *, size: int | None, max_length: int = MAX_BASE64URL) -> bytes:
        """Returns the bytes that base64url of at most `max_length` characters spells, `size` of them unless None."""
        try:
            data = unbase64url(self.as_text(value, name, max_length=max_length))
        except Untrusted as error:
            raise error.but(where=self.where, name=name) from error
        if size is not None and len(data) != size:
            raise self._fault("member_value", name)
        return data

    def as_items(self, value: Json, name: str, *, max_items: int = MAX_ITEMS) -> list[Json]:
        """Returns the value if it is an array of at most `max_items`, its items unchecked."""
        if not isinstance(value, list):
            raise self._fault("member_type", name)
        if len(value) > max_items:
            raise self._fault("member_value", name)
        return value

    def as_members(self, value: Json, name: str) -> "Members":
        """Returns a reader of the value if it is an object; `where` is then this object's, a dot and the name."""
        if not isinstance(value, dict):
            raise self._fault("member_type", name)
        return Members(value, f"{self.where}.{name}", outermost=False)

    def _fault(self, detail: str, name: str) -> Untrusted:
        # A name that the bytes chose is shown only where it is one of the
        # format's: it could be any text.
        shown = name if re.fullmatch(NAME, name) else "?"
        return Untrusted(Reason.FORMAT_INVALID, detail, where=self.where, name=shown)
