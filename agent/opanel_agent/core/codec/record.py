"""Turns values (`core.values`) into strict JSON and back, from nothing but the types of their fields.

A record is read whole or refused: `read` takes every member through
`reader.Members`, so a fault raises Untrusted with the object's path and the
member's name, and an unknown member is a fault. What `to_json` writes, `read`
gives back equal.

    @frozen
    class Plan:
        license: Annotated[str, Text(pattern=SHA256_HEX)]
        next_s: int                               # 0 <= n < 2^53
        asked_at: int | None = None               # null where None; the member must be there
        failure: Annotated[str | None, OMITTED_IF_NONE] = None

| type of a field | JSON |
| --- | --- |
| bool, int, str | as they are; bounds by Integer and Text |
| an Enum | its value; any other value is a fault |
| bytes | base64url (RFC 4648 section 5) without padding; bounds by Octets |
| X or None | X or null |
| tuple[X, ...], list[X] | an array, in its order; bounds by Items |
| tuple[X, Y] | an array of exactly these |
| frozenset[str] | a sorted array of distinct strings |
| Mapping[str, X], dict[str, X] | an object whose names are data; at most Items.most of them |
| a class of values | an object within |

Marks in Annotated say what the type cannot: bounds, another name on disk, and
how an older file differs. Left out: floats, dates and unions, which no format
of ours has; other defaults than the class's own; and migrating a value,
which is for the caller before `read`. The rules of a class are worked out once,
at its first use.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Final,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import MAX_BASE64URL, MAX_ITEMS, MAX_TEXT, Members
from opanel_agent.core.codec.strict_json import MAX_INT, dumps, loads
from opanel_agent.core.values import FieldRule, Record, frozen, is_value_class, rules

T = TypeVar("T", bound=Record)


@frozen
class Integer:
    """Bounds of an int, both included."""

    low: int = 0
    high: int = MAX_INT


@frozen
class Text:
    """Bounds of a str: characters, and a pattern that must match it whole.

    It is always safe to show (`text_safety`).
    """

    max_length: int = MAX_TEXT
    pattern: str | None = None


@frozen
class Octets:
    """Bounds of bytes: their exact number, None for any; `max_length` in characters of base64url."""

    size: int | None = None
    max_length: int = MAX_BASE64URL


@frozen
class Items:
    """The most items of an array or members of an object whose names are data."""

    most: int = MAX_ITEMS


@frozen
class Member:
    """How a field differs on disk.

    `name`: the member's, where it is not the field's. `omitted_if_none`: no
    member instead of null. `may_be_absent`: an older file has no such member,
    and the field's default holds. `apart`: no member at all; `read` is given
    the value.
    """

    name: str | None = None
    omitted_if_none: bool = False
    may_be_absent: bool = False
    apart: bool = False


OMITTED_IF_NONE: Final = Member(omitted_if_none=True)
MAY_BE_ABSENT: Final = Member(may_be_absent=True)
APART: Final = Member(apart=True)

Read = Callable[[Json, Members, str], object]
Write = Callable[[object], Json]
Marks = tuple[object, ...]


class _Converter(NamedTuple):
    """Reads and writes the values of one type."""

    read: Read
    write: Write


class _Rule(NamedTuple):
    """One field of a class: its name in Python and on disk, how it may be absent, and how its values are converted."""

    field: str
    member: str
    mark: Member
    converter: _Converter


def to_json(record: Record) -> dict[str, Json]:
    """Returns the record as a JSON object.

    Raises TypeError for a field of a type that the table does not have.
    """
    found: dict[str, Json] = {}
    for rule in _rules(type(record)):
        value: object = getattr(record, rule.field)
        if not (rule.mark.omitted_if_none and value is None):
            found[rule.member] = rule.converter.write(value)
    return found


def read(kind: type[T], members: Members, **apart: object) -> T:
    """Returns the record that the members spell, and ends the reading.

    `apart` are the fields that have no member. Members that the caller took
    before (`schema`) are no fault. Raises Untrusted for anything but what
    `to_json` writes, TypeError for a field of a type that the table does not
    have.
    """
    found: dict[str, object] = dict(apart)
    for rule in _rules(kind):
        absent = rule.mark.omitted_if_none or rule.mark.may_be_absent
        if absent and not members.has(rule.member):
            continue
        value = members.value(rule.member)
        if value is None and rule.mark.omitted_if_none:
            raise members.refuse(rule.member)  # a second spelling of what is not there
        found[rule.field] = rule.converter.read(value, members, rule.member)
    members.end()
    return kind(**found)


def encode(record: Record, *, schema: int = 1) -> bytes:
    """Returns the record as a JSON text with the version of its format, `schema`, as a member."""
    return dumps({"schema": schema, **to_json(record)})


def decode(kind: type[T], data: bytes, where: str, *, max_bytes: int, schema: int = 1) -> T:
    """Returns the record that `encode` wrote.

    Raises Untrusted, whose values name `where` (a file) and the member.
    """
    members = Members(loads(data, max_bytes=max_bytes), where)
    members.constant("schema", schema)
    return read(kind, members)


@cache
def _rules(kind: type[Record]) -> tuple[_Rule, ...]:
    """Returns the rules of a class, in the order of its fields."""
    hints: dict[str, object] = get_type_hints(kind, include_extras=True)
    found = [_rule(field, *_split(hints[field.name])) for field in rules(kind)]
    return tuple(rule for rule in found if rule is not None)


def _rule(field: FieldRule, type_: object, marks: Marks) -> _Rule | None:
    """Returns the rule of a field, None where it has no member.

    Raises TypeError where it may be absent and has no default.
    """
    mark = next((mark for mark in marks if isinstance(mark, Member)), Member())
    if mark.apart:
        return None
    if (mark.omitted_if_none or mark.may_be_absent) and not field.has_default:
        raise _unsupported(f"a field that may be absent and has no default: {field.name}")
    return _Rule(field.name, mark.name or field.name, mark, _converter(type_, marks))


def _split(hint: object) -> tuple[object, Marks]:
    """Returns the type and the marks of an annotation."""
    if get_origin(hint) is Annotated:
        type_, *marks = get_args(hint)
        return type_, tuple(marks)
    return hint, ()


def _converter(hint: object, outer: Marks = ()) -> _Converter:
    """Returns the converter of a type.

    The marks of an array or an optional hold for what is within, unless that
    has its own.
    """
    type_, marks = _split(hint)
    make = _MAKERS.get(get_origin(type_) or type_)
    if make is not None:
        return make(get_args(type_), (*marks, *outer))
    if isinstance(type_, type) and issubclass(type_, Enum):
        return _enum(type_)
    if isinstance(type_, type) and is_value_class(type_):
        return _nested(type_)
    raise _unsupported(type_)


M = TypeVar("M", Integer, Text, Octets, Items)
V = TypeVar("V")


def _mark(kind: type[M], marks: Marks) -> M:
    """Returns the innermost mark of this kind, else one with its defaults."""
    return next((mark for mark in marks if isinstance(mark, kind)), kind())


def _unsupported(what: object) -> TypeError:
    """Returns the error for a mistake of the programmer's, found by the first test that writes or reads the class."""
    return TypeError(f"no JSON for {what}")


def _as(kind: type[V], value: object) -> V:
    """Returns the value, whose field's annotation says that it is of this kind.

    Raises TypeError where it is not.
    """
    if not isinstance(value, kind):
        raise _unsupported(f"{value!r}, which is no {kind.__name__}")
    return value


def _boolean(_arguments: Marks, _marks: Marks) -> _Converter:
    return _Converter(
        lambda value, members, name: members.as_boolean(value, name),
        lambda value: _as(bool, value),
    )


def _integer(_arguments: Marks, marks: Marks) -> _Converter:
    mark = _mark(Integer, marks)
    return _Converter(
        lambda value, members, name: members.as_integer(value, name, low=mark.low, high=mark.high),
        lambda value: _as(int, value),
    )


def _text(_arguments: Marks, marks: Marks) -> _Converter:
    mark = _mark(Text, marks)
    return _Converter(
        lambda value, members, name: members.as_text(value, name, max_length=mark.max_length, pattern=mark.pattern),
        lambda value: _as(str, value),
    )


def _octets(_arguments: Marks, marks: Marks) -> _Converter:
    mark = _mark(Octets, marks)
    return _Converter(
        lambda value, members, name: members.as_bytes(value, name, size=mark.size, max_length=mark.max_length),
        lambda value: base64url(_as(bytes, value)),
    )


def _enum(kind: type[Enum]) -> _Converter:
    """Returns the converter of an enum, by value and type, because 1 and true are equal.

    A value that an enum does not have is a fault, not a default.
    """
    known: dict[tuple[type, object], Enum] = {(type(member.value), member.value): member for member in kind}

    def read_enum(value: Json, members: Members, name: str) -> object:
        found = known.get((type(value), value)) if isinstance(value, int | str) else None
        if found is None:
            raise members.refuse(name)
        return found

    def write_enum(value: object) -> Json:
        plain: object = _as(kind, value).value
        return plain if isinstance(plain, int) else _as(str, plain)

    return _Converter(read_enum, write_enum)


def _optional(arguments: Marks, marks: Marks) -> _Converter:
    """Returns the converter of X or None; a choice between two other types has no JSON that tells them apart."""
    kinds = [argument for argument in arguments if argument is not NoneType]
    if len(kinds) > 1:
        raise _unsupported(f"a choice of {kinds}")
    inner = _converter(kinds[0], marks)
    return _Converter(
        lambda value, members, name: None if value is None else inner.read(value, members, name),
        lambda value: None if value is None else inner.write(value),
    )


def _array(arguments: Marks, marks: Marks) -> _Converter:
    """Returns the converter of a tuple of any length, or of exactly these types."""
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _sequence(tuple, _converter(arguments[0], marks), _mark(Items, marks))
    return _fixed(tuple(_converter(argument, marks) for argument in arguments))


def _list(arguments: Marks, marks: Marks) -> _Converter:
    return _sequence(list, _converter(arguments[0], marks), _mark(Items, marks))


def _fixed(inner: tuple[_Converter, ...]) -> _Converter:
    """Returns the converter of an array of exactly as many items as the tuple has types."""

    def read_fixed(value: Json, members: Members, name: str) -> object:
        items = members.as_items(value, name)
        if len(items) != len(inner):
            raise members.refuse(name)
        return tuple(converter.read(item, members, name) for converter, item in zip(inner, items, strict=True))

    def write_fixed(value: object) -> Json:
        return [converter.write(item) for converter, item in zip(inner, _as(tuple, value), strict=True)]

    return _Converter(read_fixed, write_fixed)


def _sequence(kind: type[tuple[object, ...]] | type[list[object]], inner: _Converter, mark: Items) -> _Converter:
    """Returns the converter of an array of any length up to the mark's."""

    def read_sequence(value: Json, members: Members, name: str) -> object:
        items = members.as_items(value, name, max_items=mark.most)
        return kind([inner.read(item, members, name) for item in items])

    return _Converter(read_sequence, lambda value: [inner.write(item) for item in _as(kind, value)])


def _set(arguments: Marks, marks: Marks) -> _Converter:
    """Returns the converter of an array of distinct strings."""
    inner, mark = _converter(arguments[0], marks), _mark(Items, marks)

    def read_set(value: Json, members: Members, name: str) -> object:
        items = members.as_items(value, name, max_items=mark.most)
        found = frozenset([inner.read(item, members, name) for item in items])
        if len(found) != len(items):
            raise members.refuse(name)
        return found

    # Sorted, so that one value has one spelling: files are compared and hashed
    # by their bytes.
    return _Converter(read_set, lambda value: [*sorted(_as(str, inner.write(item)) for item in _as(frozenset, value))])


def _mapping(arguments: Marks, marks: Marks) -> _Converter:
    """Returns the converter of an object whose names are data.

    Keys are held to be safe to print by no rule but that of the values' errors.
    """
    inner, mark = _converter(arguments[1], marks), _mark(Items, marks)

    def read_mapping(value: Json, members: Members, name: str) -> object:
        within = members.as_members(value, name)
        if len(within.names()) > mark.most:
            raise members.refuse(name)
        return {key: inner.read(within.value(key), within, key) for key in within.names()}

    def write_mapping(value: object) -> Json:
        if not isinstance(value, Mapping):
            raise _unsupported(f"{value!r}, which is no mapping")
        return {_as(str, key): inner.write(item) for key, item in value.items()}

    return _Converter(read_mapping, write_mapping)


def _nested(kind: type[Record]) -> _Converter:
    """Returns the converter of an object within, by the rules of its own class."""
    return _Converter(
        lambda value, members, name: read(kind, members.as_members(value, name)),
        lambda value: to_json(_as(kind, value)),
    )


_MAKERS: Final[Mapping[object, Callable[[Marks, Marks], _Converter]]] = {
    bool: _boolean,
    int: _integer,
    str: _text,
    bytes: _octets,
    Union: _optional,  # Optional[X], and X | None where X is written as a string
    UnionType: _optional,
    tuple: _array,
    list: _list,
    frozenset: _set,
    dict: _mapping,
    Mapping: _mapping,
}
