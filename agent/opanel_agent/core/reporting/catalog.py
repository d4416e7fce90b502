"""Defines the field catalog: everything that a report can say, field by field, and the only way to build one.

A payload is built *from* the declarations, so a field that nobody declared, a
value outside of its permitted ones or of another type cannot come to be; the
authority asks `check` of the same declarations and refuses what they do not
admit. `bits` computes how much a report can tell at most. `widened` compares
two catalogs and names everything by which the later one could take more, keep
it longer or give it to more: that needs a new notice (docs/ARCHITECTURE.md,
"Consent").

Declarations are read from data/fields/*.toml (`load`) or from the copy that a
notice froze (`thaw`).

Left out: files, collecting the values (`system.machine`,
`core.reporting.fingerprint`), and whether anything may leave
(`core.consent.gate`).
"""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.reporting.cardinality import count, powers
from opanel_agent.core.units import LANGUAGES
from opanel_agent.core.values import frozen

MAX_BODY_BYTES: Final = 64 * 1024
MAX_FROZEN_BYTES: Final = 1024 * 1024
_NAME: Final = r"[a-z][a-z0-9_]{0,39}"
_DAY: Final = r"20[0-9]{2}-[0-9]{2}-[0-9]{2}"


@unique
class Type(StrEnum):
    """Names the JSON types of a field.

    `texts` is an array of strings, `object` an object of strings, each item of
    which must be permitted. An item of an object is matched as `name=value`, so
    that one pattern permits both.
    """

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXTS = "texts"
    OBJECT = "object"


@frozen
class Field:
    """Holds the declaration of one field.

    - `source`: where it is read; `transform`: what is done to it before
      anything else sees it. Both for people.
    - `values` or `pattern`: what is permitted, the pattern matching as a whole;
      a boolean has neither.
    - `max_items`: the most items of an array or object.
    - `retention_days_here`, `retention_days_there`: how long it is kept, on
      this server and at the authority.
    - `since`, `until`: days as YYYY-MM-DD. `until` retires a field: it is never
      built again, but admitted from older agents.
    - `optional`: a report may leave it out. `drawn`: random and drawn for one
      report alone, so it tells nothing about the server.
    - `description`: what it is, by language, as `data catalog` shows it.
    """

    name: str
    source: str
    transform: str
    type: Type
    values: tuple[str | int, ...]
    pattern: str | None
    max_items: int
    example: Json
    retention_days_here: int
    retention_days_there: int
    since: str
    until: str | None
    optional: bool
    drawn: bool
    description: Mapping[str, str]
    label: Mapping[str, str]

    @property
    def constant(self) -> bool:
        """Tells whether the field has the same value on every server, so that the builder fills it in."""
        return len(self.values) == 1 and self.required

    @property
    def required(self) -> bool:
        """Tells whether every report must have the field."""
        return not self.optional and self.until is None

    def admits(self, value: Json) -> bool:
        """Tells whether a value is of the field's type and permitted.

        A bool is no integer.
        """
        match value:
            case bool():
                return self.type is Type.BOOLEAN
            case str():
                return self.type is Type.TEXT and self.permits(value)
            case int():
                return self.type is Type.INTEGER and self.permits(value)
            case list():
                texts = [item for item in value if isinstance(item, str)]
                return self.type is Type.TEXTS and len(texts) == len(value) and self._permits_all(texts)
            case dict():
                items = [f"{name}={text}" for name, text in value.items() if isinstance(text, str)]
                return self.type is Type.OBJECT and len(items) == len(value) and self._permits_all(items)
            case _:
                return False

    def admitted(self) -> int:
        """Returns how many different things the field can say, its absence included; for objects an upper bound."""
        one = 2 if self.type is Type.BOOLEAN else len(self.values) or count(self.pattern or "")
        total = powers(one, 0, self.max_items) if self.type in (Type.TEXTS, Type.OBJECT) else one
        return total if self.required else total + 1

    def permits(self, value: str | int) -> bool:
        """Tells whether one value, or one item of several, is among the permitted ones."""
        return value in self.values if self.pattern is None else re.fullmatch(self.pattern, str(value)) is not None

    def _permits_all(self, items: list[str]) -> bool:
        return len(items) <= self.max_items and all(map(self.permits, items))


@frozen
class PurposeSchema:
    """Holds all that one purpose can say, and to whom."""

    recipients: tuple[str, ...]
    fields: Mapping[str, Field]


@frozen
class Catalog:
    """Holds the declarations of every purpose, and builds and checks reports by them."""

    sheets: Mapping[str, PurposeSchema]

    def fields(self, purpose: str) -> Mapping[str, Field]:
        """Returns the fields of a purpose by name, as declared; none for one whose requests have no body."""
        sheet = self.sheets.get(purpose)
        return {} if sheet is None else sheet.fields

    def collected(self, purpose: str) -> frozenset[str]:
        """Returns the names that `build` must be given: the required fields but the constants."""
        return frozenset(name for name, field in self.fields(purpose).items() if field.required and not field.constant)

    def build(self, purpose: str, facts: Mapping[str, Json]) -> bytes:
        """Returns the body that says exactly `facts` and the constants.

        Raises Untrusted (`field_undeclared`, `field_missing`, `field_value`)
        with the name of the first field that is wrong: a report that cannot be
        built is not sent in part.
        """
        fields = self.fields(purpose)
        if not fields:
            raise Untrusted(Reason.FIELD_UNDECLARED, "purpose_undeclared", purpose=purpose)
        constants = {name: field.values[0] for name, field in fields.items() if field.constant}
        report: dict[str, Json] = {**constants, **facts}
        _refuse("field_undeclared", purpose, [name for name in report if name not in fields or fields[name].until])
        _refuse("field_missing", purpose, self._missing(purpose, report))
        _refuse("field_value", purpose, self._wrong(purpose, report))
        return dumps(report)

    def check(self, purpose: str, body: bytes) -> tuple[str, ...]:
        """Returns the names of the fields that are undeclared, missing, or of another type or value; () for a good body.

        `body` stands for bytes that are not JSON as `build` writes it: blanks
        and the order of members can carry something too. A name that is not one
        of the format's is shown as `?`, so that it cannot carry anything
        either.
        """
        try:
            report = loads(body, max_bytes=MAX_BODY_BYTES)
        except Untrusted:
            return ("body",)
        fields = self.fields(purpose)
        if not isinstance(report, dict) or dumps(report) != body or not fields:
            return ("body",)
        undeclared = [name if re.fullmatch(NAME, name) else "?" for name in report if name not in fields]
        return tuple(dict.fromkeys([*undeclared, *self._missing(purpose, report), *self._wrong(purpose, report)]))

    def bits(self, purpose: str) -> float:
        """Returns how much a report can tell about its server at most: log2 of what each field can say, summed.

        An upper bound, as if all values were equally likely and independent;
        what an ordinary report tells is `core.reporting.fleet`.
        """
        fields = self.fields(purpose).values()
        return math.fsum(math.log2(field.admitted()) for field in fields if not field.drawn)

    def freeze(self) -> bytes:
        """Returns the catalog as a notice keeps it: readable, and the same bytes for the same declarations."""
        sheets = {purpose: _sheet_json(sheet) for purpose, sheet in self.sheets.items()}
        return (json.dumps(sheets, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")

    def _missing(self, purpose: str, report: Mapping[str, Json]) -> list[str]:
        """Returns the required fields that a report lacks."""
        return [name for name, field in self.fields(purpose).items() if field.required and name not in report]

    def _wrong(self, purpose: str, report: Mapping[str, Json]) -> list[str]:
        """Returns the declared fields whose value is not permitted."""
        fields = self.fields(purpose)
        return [name for name, value in report.items() if name in fields and not fields[name].admits(value)]


def _refuse(detail: str, purpose: str, names: list[str]) -> None:
    """Raises for the first of these names, if any.

    A name is told only where it is one of the format's.
    """
    for name in names:
        shown = name if re.fullmatch(NAME, name) else "?"
        raise Untrusted(Reason.FIELD_UNDECLARED, detail, purpose=purpose, name=shown)


def load(texts: Mapping[str, bytes]) -> Catalog:
    """Returns the catalog that `texts` declare, TOML by purpose.

    Raises Untrusted (`format_invalid`) naming the purpose, the field and its
    member.
    """
    return Catalog(sheets={purpose: _sheet(purpose, _toml(purpose, text)) for purpose, text in sorted(texts.items())})


def thaw(frozen: bytes) -> Catalog:
    """Returns the catalog that `freeze` wrote.

    Raises Untrusted for anything else.
    """
    sheets = Members(loads(frozen, max_bytes=MAX_FROZEN_BYTES), "catalog")
    return Catalog(sheets={purpose: _sheet(purpose, sheets.members(purpose)) for purpose in sorted(sheets.names())})


def widened(before: Catalog, after: Catalog) -> tuple[str, ...]:
    """Returns everything by which `after` could take more, keep it longer or give it to more, as `purpose.field what`.

    What cannot be judged counts as wider: another pattern, source or transform.
    Narrowing and other words pass.
    """
    found: list[str] = []
    for purpose, sheet in after.sheets.items():
        old = before.sheets.get(purpose)
        known = () if old is None else old.recipients
        found += [f"{purpose} recipient {name}" for name in sheet.recipients if name not in known]
        for name, field in sheet.fields.items():
            was = None if old is None else old.fields.get(name)
            found += [f"{purpose}.{name} {what}" for what in _wider(was, field)]
    return tuple(found)


def _wider(was: Field | None, now: Field) -> tuple[str, ...]:
    """Returns in which ways a field can tell more than it could, or is kept longer, by the names of its declaration."""
    if now.until is not None:
        return ()  # never built again
    if was is None:
        return ("added",)
    return tuple(
        what
        for what, wider in {
            "returned": was.until is not None,
            "source": now.source != was.source,
            "transform": now.transform != was.transform,
            "values": not _within(now, was),
            "required": was.optional and not now.optional,
            "drawn": now.drawn != was.drawn,
            "retention_days_here": now.retention_days_here > was.retention_days_here,
            "retention_days_there": now.retention_days_there > was.retention_days_there,
        }.items()
        if wider
    )


def _within(now: Field, was: Field) -> bool:
    """Tells whether everything that `now` permits was permitted before."""
    if now.type is not was.type or now.max_items > was.max_items:
        return False
    return now.pattern == was.pattern if now.pattern is not None else all(map(was.permits, now.values))


# ---- reading declarations


def _toml(purpose: str, text: bytes) -> Members:
    """Returns the declarations of a file, with what `[every]` says filled into each field."""
    try:
        table: dict[str, Json] = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Untrusted(Reason.FORMAT_INVALID, "catalog_toml", where=purpose) from error
    members = Members(table, purpose)
    members.constant("schema", 1)
    members.constant("purpose", purpose)
    every, fields = table.get("every", {}), table.get("fields")
    if isinstance(every, dict) and isinstance(fields, dict):
        # what [every] says holds for each field that does not say otherwise
        fields = {name: {**every, **field} if isinstance(field, dict) else field for name, field in fields.items()}
    rest = {name: value for name, value in table.items() if name not in ("schema", "purpose", "every")}
    return Members({**rest, "fields": fields}, purpose)


def _sheet(purpose: str, members: Members) -> PurposeSchema:
    """Returns one purpose from its declarations.

    Raises Untrusted for a purpose without recipients.
    """
    recipients = members.texts("recipients", pattern=_NAME)
    fields = members.members("fields")
    sheet = PurposeSchema(
        recipients=tuple(sorted(recipients)),
        fields={name: _field(name, fields.members(name)) for name in fields.names()},
    )
    members.end()
    if not recipients or not all(re.fullmatch(_NAME, name) for name in sheet.fields):
        raise Untrusted(Reason.FORMAT_INVALID, "catalog_field", where=purpose, name="recipients, fields")
    return sheet


def _field(name: str, members: Members) -> Field:
    """Returns one declaration.

    Raises Untrusted naming the field and the member that is wrong.
    """
    description = members.members("description")
    kind = members.text("type")
    if kind not in list(Type):
        raise members.refuse("type")
    field = Field(
        name=name,
        source=members.text("source"),
        transform=members.text("transform", pattern=_NAME),
        type=Type(kind),
        values=_values(members),
        pattern=members.text("pattern", max_length=512) if members.has("pattern") else None,
        max_items=members.integer("max_items", high=64) if members.has("max_items") else 1,
        example=members.value("example"),
        retention_days_here=members.integer("retention_days_here", low=1, high=3650),
        retention_days_there=members.integer("retention_days_there", low=1, high=3650),
        since=members.text("since", pattern=_DAY),
        until=members.text("until", pattern=_DAY) if members.has("until") else None,
        optional=members.has("optional") and members.boolean("optional"),
        drawn=members.has("drawn") and members.boolean("drawn"),
        description={language: description.text(language, max_length=600) for language in LANGUAGES},
        label=_label(members),
    )
    description.end()
    members.end()
    _consistent(field, members)
    return field


def _label(members: Members) -> Mapping[str, str]:
    if not members.has("label"):
        return {}
    texts = members.members("label")
    label: dict[str, str] = {language: texts.text(language, max_length=80) for language in LANGUAGES}
    texts.end()
    return label


def _values(members: Members) -> tuple[str | int, ...]:
    """Returns the permitted values: distinct strings or integers."""
    listed = members.value("values") if members.has("values") else []
    values = [value for value in listed if isinstance(value, str | int)] if isinstance(listed, list) else []
    if listed != values or len(set(values)) != len(values):
        raise members.refuse("values")
    return tuple(values)


def _consistent(field: Field, members: Members) -> None:
    """Requires either values or a pattern (a boolean has neither), values of the type, and an example that is admitted."""
    if [bool(field.values), field.pattern is not None].count(True) != (0 if field.type is Type.BOOLEAN else 1):
        raise members.refuse("values")
    if not all(type(value) is (int if field.type is Type.INTEGER else str) for value in field.values):
        raise members.refuse("values")
    try:
        field.admitted()
    except (ValueError, re.error) as error:
        raise members.refuse("pattern") from error
    if not field.admits(field.example):
        raise members.refuse("example")


def _sheet_json(sheet: PurposeSchema) -> Json:
    """Returns the JSON that `_sheet` reads."""
    return {
        "recipients": list(sheet.recipients),
        "fields": {name: _field_json(field) for name, field in sheet.fields.items()},
    }


def _field_json(field: Field) -> Json:
    """Returns a field as a notice keeps it, members that say nothing left out."""
    field_json: dict[str, Json] = {
        "source": field.source,
        "transform": field.transform,
        "type": field.type.value,
        "example": field.example,
        "retention_days_here": field.retention_days_here,
        "retention_days_there": field.retention_days_there,
        "since": field.since,
        "optional": field.optional,
        "drawn": field.drawn,
        "max_items": field.max_items,
        "description": dict(field.description),
    }
    where_given: dict[str, Json] = {
        "values": list(field.values),
        "pattern": field.pattern,
        "until": field.until,
        "label": dict(field.label),
    }
    return field_json | {name: value for name, value in where_given.items() if value}
