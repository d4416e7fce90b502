"""Nothing but what is declared can be built or passes, what that can tell is computed, and what widens is named.

The declarations that ship are held to the notice that ships: its frozen copy is the same, and a published one never
changes again.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.refusal import refused
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license.states import State
from opanel_agent.core.reporting import catalog, fingerprint
from opanel_agent.core.reporting.catalog import Catalog, Field, Type, load, thaw, widened
from opanel_agent.core.units import LANGUAGES
from opanel_agent.system.storage.resources import Resources, installed_notice, load_catalog

SHIPPED = load_catalog()
USAGE = "usage_statistics"
FIELDS = [(purpose, field) for purpose, sheet in SHIPPED.sheets.items() for field in sheet.fields.values()]
EACH_FIELD = pytest.mark.parametrize(("purpose", "field"), FIELDS, ids=[f"{p}.{f.name}" for p, f in FIELDS])

# Published notices, for ever. Whoever has to change a line here is about to change what people have agreed to.
PUBLISHED = {
    "2026-12-01": "83ef99da2ec73aeca4dd696229b26471f16ef16425c904084148774029763403",
    "2026-12-02": "e40ccd1d8edf049e4c420c919833a28d85df6d0650988f93ff5fbfe1ee3db5fd",
    "2026-12-03": "c539cc4fbb91e2b3513d742b2bb81fb2099385e2e5dec4e7133bed16e261b837",
}

# consent.md, "The field catalog", word for word; `schema` and `notice` are the same for everyone.
FINGERPRINT = {
    "agent_version",
    "panel_version",
    "os_id",
    "os_version",
    "kernel",
    "architecture",
    "virtualization",
    "cpu_class",
    "memory_class",
    "install_channel",
    "license_state",
    "erasure",
}


def examples(purpose: str) -> dict[str, Any]:
    return {name: field.example for name, field in SHIPPED.fields(purpose).items()}


# ---- what ships


def test_the_fingerprint_is_the_designs_list_and_not_a_field_more() -> None:
    assert SHIPPED.collected(USAGE) == FINGERPRINT
    assert set(SHIPPED.fields(USAGE)) - FINGERPRINT == {"schema", "notice"}
    assert all(SHIPPED.fields(USAGE)[name].constant for name in ("schema", "notice"))


def test_the_purposes_with_fields_are_those_whose_requests_have_a_body() -> None:
    assert set(SHIPPED.sheets) <= {purpose.value for purpose in POLICIES}
    for purpose, terms in POLICIES.items():
        if terms.fields:
            assert set(SHIPPED.fields(purpose)) == terms.fields


def test_no_license_state_that_few_servers_are_in_is_named() -> None:
    """The authority knows which licenses it revoked or suspended: such a word would name the license with the report."""
    assert set(SHIPPED.fields(USAGE)["license_state"].values) == {"active", "grace", "unlicensed", "other"}
    assert {fingerprint.license_class(state) for state in State} == set(SHIPPED.fields(USAGE)["license_state"].values)


@pytest.mark.parametrize("purpose", [USAGE, "crash_reports"])
def test_a_report_names_the_installed_notice(purpose: str) -> None:
    assert SHIPPED.fields(purpose)["notice"].values == (installed_notice(),)


@pytest.mark.parametrize("purpose", sorted(SHIPPED.sheets))
def test_the_examples_pass(purpose: str) -> None:
    assert SHIPPED.check(purpose, dumps(examples(purpose))) == ()


@EACH_FIELD
def test_a_field_is_described_in_both_languages(purpose: str, field: Field) -> None:
    assert set(field.description) == set(LANGUAGES)
    assert field.description["tr"] != field.description["en"]
    assert all(text.endswith((".", '"unknown".')) and len(text) > 15 for text in field.description.values())


@EACH_FIELD
def test_a_field_has_a_label_in_both_languages(purpose: str, field: Field) -> None:
    """What a question of consent lists: words, not the names that a program gives."""
    assert set(field.label) == set(LANGUAGES)
    assert field.label["tr"] != field.label["en"]
    assert not any("_" in label or label.endswith(".") for label in field.label.values())


def test_a_catalog_of_before_has_no_labels_and_is_read() -> None:
    for version in ("2026-12-01", "2026-12-02"):
        fields = thaw(Resources().notice_catalog(version)).fields(USAGE)
        assert {dict(field.label) == {} for field in fields.values()} == {True}


@EACH_FIELD
def test_only_what_is_drawn_for_one_request_is_left_out_of_the_count(purpose: str, field: Field) -> None:
    assert field.drawn == ("random bytes, drawn for" in field.source)


NEVER = ("hostname", "address", "mac", "serial", "machine_id", "domain", "account", "mail", "path", "time", "user")


@pytest.mark.parametrize("purpose", [USAGE, "crash_reports"])
def test_a_report_has_no_field_for_what_never_leaves(purpose: str) -> None:
    assert not [name for name in SHIPPED.fields(purpose) if any(word in name for word in NEVER)]


@pytest.mark.parametrize(
    "frame",
    [
        "django.core:run:1",
        "/usr/lib/python3/dist-packages/opanel_agent/x.py:run:1",
        "opanel_agent.core.x:run:1 secret=1",
        "opanel_agent.core.x:run:0",
        "opanel_agent.core.x:run",
        "opanel_agent_evil:run:1",
    ],
)
def test_a_crash_tells_no_frame_but_our_own(frame: str) -> None:
    assert not SHIPPED.fields("crash_reports")["frames"].admits([frame])


# ---- building and checking


def any_value(field: Field) -> st.SearchStrategy[Any]:
    one = st.sampled_from(field.values) if field.values else st.from_regex(field.pattern or "", fullmatch=True)
    match field.type:
        case Type.TEXT:
            return one
        case Type.INTEGER:
            return one.map(int)
        case Type.BOOLEAN:
            return st.booleans()
        case Type.TEXTS:
            return st.lists(one, max_size=min(field.max_items, 4))
        case Type.OBJECT:
            pairs = one.map(lambda item: str(item).partition("=")[::2])
            return st.lists(pairs, max_size=field.max_items).map(dict)


def any_report(purpose: str) -> st.SearchStrategy[dict[str, Any]]:
    fields = SHIPPED.fields(purpose)
    given_ = {name: any_value(field) for name, field in fields.items() if not field.constant}
    return st.fixed_dictionaries(
        {name: value for name, value in given_.items() if fields[name].required},
        optional={name: value for name, value in given_.items() if fields[name].optional},
    )


REPORTS = st.sampled_from(sorted(SHIPPED.sheets)).flatmap(lambda p: st.tuples(st.just(p), any_report(p)))


def test_only_required_constants_are_filled_in() -> None:
    """An optional one belongs to some of a purpose's requests only."""
    assert SHIPPED.build("license_activation", {"key_sha256": "0" * 64}) == dumps({"key_sha256": "0" * 64})
    assert SHIPPED.build("data_rights", {"kind": "access"}) == b'{"kind":"access"}'
    fields = SHIPPED.fields("license_renewal")
    facts = {name: fields[name].example for name in SHIPPED.collected("license_renewal")}
    assert b'"iss":"opanel-agent"' in SHIPPED.build("license_renewal", facts)


@settings(max_examples=30, deadline=None)
@given(REPORTS)
def test_what_is_built_passes_and_says_what_was_given(report: tuple[str, dict[str, Any]]) -> None:
    purpose, facts = report
    body = SHIPPED.build(purpose, facts)
    assert SHIPPED.check(purpose, body) == ()
    report_json = json.loads(body)
    constants = {n: f.values[0] for n, f in SHIPPED.fields(purpose).items() if f.constant}
    assert report_json == {**constants, **facts}


@settings(max_examples=60, deadline=None)
@given(REPORTS, st.data())
def test_one_value_of_another_kind_is_refused_and_named(
    report: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    purpose, facts = report
    report_json = json.loads(SHIPPED.build(purpose, facts))
    name = data.draw(st.sampled_from(sorted(report_json)))
    field = SHIPPED.fields(purpose)[name]
    wrong = data.draw(
        st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.text(max_size=9), st.just([None]), st.just({"": 1}))
    )
    if field.admits(wrong):
        return
    assert SHIPPED.check(purpose, dumps({**report_json, name: wrong})) == (name,)
    with pytest.raises(Untrusted) as caught:
        SHIPPED.build(purpose, {**facts, name: wrong})
    assert (caught.value.code, caught.value.values["name"]) == (Reason.FIELD_UNDECLARED, name)


@EACH_FIELD
def test_a_field_refuses_every_other_type(purpose: str, field: Field) -> None:
    of_each_type: dict[Any, Any] = {
        Type.TEXT: "1",
        Type.INTEGER: 1,
        Type.BOOLEAN: True,
        Type.TEXTS: ["1"],
        Type.OBJECT: {"a": "1"},
        "null": None,
    }
    for kind, value in of_each_type.items():
        if kind is not field.type:
            assert not replace(field, values=("1", 1, "a=1"), pattern=None).admits(value), (kind, value)


SMALL = Field(
    name="x", source="s", transform="t", type=Type.TEXT, values=("a", "b"), pattern=None, max_items=1, example="a",
    retention_days_here=1, retention_days_there=1, since="2026-12-01", until=None, optional=False, drawn=False,
    description={"tr": "t", "en": "e"}, label={},
)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "admitted"),
    [
        (SMALL, "a", True),
        (SMALL, "c", False),
        (SMALL, "a\n", False),
        (replace(SMALL, type=Type.INTEGER, values=(1,)), 1, True),
        (replace(SMALL, type=Type.INTEGER, values=(1,)), True, False),
        (replace(SMALL, type=Type.INTEGER, values=(), pattern="[1-3]"), 3, True),
        (replace(SMALL, type=Type.INTEGER, values=(), pattern="[1-3]"), 13, False),
        (replace(SMALL, values=(), pattern="[ab]"), "b", True),
        (replace(SMALL, values=(), pattern="[ab]"), "ab", False),
        (replace(SMALL, values=(), pattern="[ab]"), "b\n", False),
        (replace(SMALL, type=Type.BOOLEAN, values=()), False, True),
        (replace(SMALL, type=Type.TEXTS, max_items=2), [], True),
        (replace(SMALL, type=Type.TEXTS, max_items=2), ["a", "b"], True),
        (replace(SMALL, type=Type.TEXTS, max_items=2), ["a", "b", "a"], False),
        (replace(SMALL, type=Type.TEXTS, max_items=2), ["a", "c"], False),
        (replace(SMALL, type=Type.TEXTS, max_items=2), ["a", 1], False),
        (replace(SMALL, type=Type.TEXTS, values=(), pattern="[0-9]"), ["1"], True),
        (replace(SMALL, type=Type.TEXTS, values=(), pattern="[0-9]"), [1], False),
        (replace(SMALL, type=Type.OBJECT, values=(), pattern="k=[0-9]"), {"k": "1"}, True),
        (replace(SMALL, type=Type.OBJECT, values=(), pattern="k=[0-9]"), {"k": 1}, False),
        (replace(SMALL, type=Type.OBJECT, values=("k=a",)), {"k": "a"}, True),
        (replace(SMALL, type=Type.OBJECT, values=("k=a",)), {"k": "b"}, False),
        (replace(SMALL, type=Type.OBJECT, values=("k=a",)), {"k": "a", "l": 1}, False),
        (replace(SMALL, type=Type.OBJECT, values=("k=a", "l=a")), {"k": "a", "l": "a"}, False),
    ],
)
def test_what_a_field_admits(field: Field, value: Any, admitted: bool) -> None:
    assert field.admits(value) is admitted


def without(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in facts.items() if other != name}


@pytest.mark.parametrize(
    ("change", "detail", "name"),
    [
        (lambda facts: {**facts, "hostname": "web1"}, "field_undeclared", "hostname"),
        (lambda facts: {**facts, "host name\x1b": "web1"}, "field_undeclared", "?"),
        (lambda facts: without(facts, "kernel"), "field_missing", "kernel"),
        (lambda facts: {**facts, "kernel": "6.1.0-25-amd64"}, "field_value", "kernel"),
        (lambda facts: {**facts, "schema": 2}, "field_value", "schema"),
        (lambda facts: {**facts, "notice": "2020-01-01"}, "field_value", "notice"),
        (lambda facts: {**facts, "memory_class": 3}, "field_value", "memory_class"),
    ],
)
def test_an_undeclared_missing_or_wrong_field_cannot_be_built(
    change: Callable[[dict[str, Any]], dict[str, Any]], detail: str, name: str
) -> None:
    with refused(detail, Reason.FIELD_UNDECLARED, purpose=USAGE, name=name):
        SHIPPED.build(USAGE, change(examples(USAGE)))
    assert SHIPPED.check(USAGE, dumps(change(examples(USAGE)))) == (name,)


def test_every_offence_is_named() -> None:
    report_json = without({**examples(USAGE), "ip": "192.0.2.1", "kernel": 6, "os_id": "Debian"}, "erasure")
    assert set(SHIPPED.check(USAGE, dumps(report_json))) == {"ip", "kernel", "os_id", "erasure"}


@pytest.mark.parametrize("purpose", ["license_status", "nothing", ""])
def test_a_purpose_without_fields_can_say_nothing(purpose: str) -> None:
    with refused("purpose_undeclared", Reason.FIELD_UNDECLARED):
        SHIPPED.build(purpose, {})
    assert SHIPPED.check(purpose, b"{}") == ("body",)


GOOD = dumps(examples(USAGE))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.replace(b":", b": "),
        json.dumps(dict(reversed(list(json.loads(GOOD).items()))), separators=(",", ":")).encode(),
        GOOD.replace(b'"debian"', b'"\\u0064ebian"'),
        GOOD[:-1] + b',"kernel":"6.1"}',
        GOOD[:-1] + b',"pad":"' + b"a" * 70_000 + b'"}',
    ],
)
def test_bytes_that_we_would_not_write_are_refused_as_a_whole(body: bytes) -> None:
    assert SHIPPED.check(USAGE, GOOD) == ()
    assert SHIPPED.check(USAGE, body) == ("body",)


def with_field(field: Field, purpose: str = "p", recipients: tuple[str, ...] = ("vendor",)) -> Catalog:
    return Catalog(sheets={purpose: catalog.PurposeSchema(recipients=recipients, fields={field.name: field})})


def test_a_retired_field_is_never_built_again_but_read_from_older_agents() -> None:
    both = Catalog(
        sheets={
            "p": catalog.PurposeSchema(
                recipients=("v",), fields={"x": SMALL, "y": replace(SMALL, name="y", until="2027-01-01")}
            )
        }
    )
    assert both.build("p", {"x": "a"}) == b'{"x":"a"}'
    assert both.collected("p") == {"x"}
    with refused("field_undeclared", Reason.FIELD_UNDECLARED):
        both.build("p", {"x": "a", "y": "a"})
    assert both.check("p", b'{"x":"a","y":"a"}') == both.check("p", b'{"x":"a"}') == ()


# ---- how much it can tell


@pytest.mark.parametrize(
    ("field", "things"),
    [
        (SMALL, 2),
        (replace(SMALL, optional=True), 3),
        (replace(SMALL, type=Type.BOOLEAN, values=()), 2),
        (replace(SMALL, values=(), pattern="[a-d]{2}"), 16),
        (replace(SMALL, type=Type.TEXTS, max_items=2), 7),
        (replace(SMALL, drawn=True), 1),
        (replace(SMALL, values=("a",)), 1),
    ],
)
def test_the_bits_of_one_field(field: Field, things: int) -> None:
    assert with_field(field).bits("p") == pytest.approx(math.log2(things))


def test_the_bits_of_the_fingerprint_are_what_counting_by_hand_gives() -> None:
    """Every permitted value of every field, spelled out by this test and admitted or not by the field itself."""
    numbers = [str(number) for number in range(200)]
    versions = [f"{a}.{b}.{c}" for a in numbers[:12] for b in numbers[:60] for c in numbers[:60]]
    two = [f"{a}.{b}" for a in numbers for b in [*numbers[:60], "04", "06"]]
    candidates = ["unknown", *numbers, *two, *versions]
    ways = 1
    for name, field in SHIPPED.fields(USAGE).items():
        if name != "erasure":
            ways *= len(field.values) or sum(map(field.admits, candidates))
    assert SHIPPED.bits(USAGE) == pytest.approx(math.log2(ways))
    assert SHIPPED.bits(USAGE) <= 48


# ---- widening


PATTERNED = replace(SMALL, values=(), pattern="[ab]{2}")
LIST = replace(SMALL, type=Type.TEXTS, max_items=2)

WIDER = [
    (SMALL, replace(SMALL, values=("a", "b", "c")), "values"),
    (SMALL, replace(SMALL, values=(), pattern="[ab]"), "values"),
    (SMALL, replace(SMALL, values=("a", "c")), "values"),
    (PATTERNED, replace(PATTERNED, pattern="[ab]{3}"), "values"),
    (PATTERNED, replace(PATTERNED, pattern=None, values=("ab", "abc")), "values"),
    (SMALL, replace(SMALL, type=Type.TEXTS), "values"),
    (LIST, replace(LIST, max_items=3), "values"),
    (SMALL, replace(SMALL, transform="as_is"), "transform"),
    (SMALL, replace(SMALL, source="elsewhere"), "source"),
    (SMALL, replace(SMALL, retention_days_here=2), "retention_days_here"),
    (SMALL, replace(SMALL, retention_days_there=2), "retention_days_there"),
    (replace(SMALL, optional=True), SMALL, "required"),
    (SMALL, replace(SMALL, drawn=True), "drawn"),
    (replace(SMALL, until="2026-12-02"), SMALL, "returned"),
]


@pytest.mark.parametrize(("was", "now", "what"), WIDER)
def test_each_widening_is_named(was: Field, now: Field, what: str) -> None:
    assert f"p.x {what}" in widened(with_field(was), with_field(now))


def test_a_field_a_purpose_or_a_recipient_more_is_a_widening() -> None:
    more = Catalog(
        sheets={"p": catalog.PurposeSchema(recipients=("vendor",), fields={"x": SMALL, "y": replace(SMALL, name="y")})}
    )
    assert widened(with_field(SMALL), more) == ("p.y added",)
    assert widened(with_field(SMALL), with_field(SMALL, recipients=("vendor", "reseller"))) == ("p recipient reseller",)
    assert widened(Catalog(sheets={}), with_field(SMALL)) == ("p recipient vendor", "p.x added")


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (SMALL, SMALL),
        (SMALL, replace(SMALL, values=("b",))),
        (SMALL, replace(SMALL, values=("b", "a"))),
        (PATTERNED, replace(PATTERNED, pattern=None, values=("ab", "ba"))),
        (LIST, replace(LIST, max_items=1)),
        (replace(SMALL, retention_days_here=9, retention_days_there=9), SMALL),
        (SMALL, replace(SMALL, optional=True)),
        (SMALL, replace(SMALL, until="2027-01-01", values=("a", "b", "c"))),
        (SMALL, replace(SMALL, description={"tr": "başka", "en": "other"}, label={"tr": "l", "en": "m"}, example="b")),
    ],
)
def test_what_takes_no_more_is_none(was: Field, now: Field) -> None:
    assert widened(with_field(was, recipients=("vendor", "reseller")), with_field(now)) == ()


def test_a_field_or_purpose_less_is_none() -> None:
    assert widened(with_field(SMALL), Catalog(sheets={})) == ()
    assert widened(SHIPPED, Catalog(sheets={USAGE: catalog.PurposeSchema(recipients=("vendor",), fields={})})) == ()


# ---- what the notice froze


def test_the_catalog_that_ships_is_the_one_that_the_installed_notice_froze() -> None:
    """Red after a change to data/fields: run packaging/generate --notice, which asks for a new version where it widens."""
    frozen = thaw(Resources().notice_catalog())
    assert widened(frozen, SHIPPED) == ()
    assert frozen == SHIPPED


def test_a_published_notice_never_changes() -> None:
    assert installed_notice() in PUBLISHED
    for version, digest in PUBLISHED.items():
        assert sha256(Resources().notice_catalog(version)).hexdigest() == digest, version


def test_a_frozen_catalog_thaws_to_itself() -> None:
    assert thaw(SHIPPED.freeze()) == SHIPPED
    assert thaw(SHIPPED.freeze()).freeze() == SHIPPED.freeze()


# ---- reading declarations

TOML = """
schema = 1
purpose = "p"
recipients = ["vendor"]
[every]
since = "2026-12-01"
retention_days_here = 14
retention_days_there = 30
type = "text"
[fields.x]
source = "s"
transform = "t"
values = ["a", "b"]
example = "a"
description.tr = "t"
description.en = "e"
"""


def test_a_declaration_is_read_and_what_holds_for_every_field_holds() -> None:
    field = load({"p": TOML.encode()}).fields("p")["x"]
    assert field == replace(SMALL, retention_days_here=14, retention_days_there=30)
    own = load({"p": TOML.replace('source = "s"', 'source = "s"\nretention_days_there = 7').encode()}).fields("p")["x"]
    assert own.retention_days_there == 7


def test_every_member_of_a_declaration_can_be_said() -> None:
    more = 'label = { tr = "l", en = "m" }\n'
    more += 'until = "2027-01-01"\noptional = true\ndrawn = true\nmax_items = 3\ntype = "boolean"\n'
    text = TOML.replace('values = ["a", "b"]\nexample = "a"', f"{more}example = true")
    assert load({"p": text.encode()}).fields("p")["x"] == replace(
        SMALL,
        type=Type.BOOLEAN,
        values=(),
        example=True,
        retention_days_here=14,
        retention_days_there=30,
        until="2027-01-01",
        optional=True,
        drawn=True,
        max_items=3,
        label={"tr": "l", "en": "m"},
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("schema = 1", "schema = 2"),
        ('purpose = "p"', 'purpose = "q"'),
        ('recipients = ["vendor"]', "recipients = []"),
        ('recipients = ["vendor"]', ""),
        ('recipients = ["vendor"]', 'recipients = ["vendor"]\nmore = 1'),
        ("[fields.x]", "[fields.X]"),
        ("[fields.x]", "[[fields]]"),
        ('source = "s"', ""),
        ('source = "s"', 'source = "s"\nmore = 1'),
        ('type = "text"', 'type = "float"'),
        ('values = ["a", "b"]', 'values = ["a", "a"]'),
        ('values = ["a", "b"]', 'values = ["a", 1.5]'),
        ('values = ["a", "b"]', 'values = ["a", 1]'),
        ('values = ["a", "b"]', 'values = "ab"'),
        ('values = ["a", "b"]', "values = 1"),
        ('values = ["a", "b"]', 'values = [["a"]]'),
        ('values = ["a", "b"]', ""),
        ('values = ["a", "b"]', 'values = ["a"]\npattern = "a"'),
        ('values = ["a", "b"]', 'pattern = "a*"'),
        ('values = ["a", "b"]', 'pattern = "a["'),
        ('values = ["a", "b"]', 'type = "boolean"\nvalues = [true]'),
        ('example = "a"', 'example = "c"'),
        ('example = "a"', ""),
        ('description.tr = "t"', ""),
        ('description.tr = "t"', 'description.tr = "t"\ndescription.de = "d"'),
        ('description.tr = "t"', 'description.tr = "t"\nlabel.tr = "l"'),
        ('description.tr = "t"', 'description.tr = "t"\nlabel = { tr = "l", en = "m", de = "n" }'),
        ('since = "2026-12-01"', 'since = "soon"'),
        ("retention_days_there = 30", "retention_days_there = 0"),
        ("schema = 1", "schema ="),
        ("[every]", "[[every]]"),
        ("[fields.x]", "[fields]\ny = 1\n[fields.x]"),
    ],
)
def test_a_faulty_declaration_is_refused(before: str, after: str) -> None:
    assert before in TOML
    with pytest.raises(Untrusted):
        load({"p": TOML.replace(before, after, 1).encode()})


def test_bytes_that_are_no_text_are_refused() -> None:
    with refused("catalog_toml", Reason.FORMAT_INVALID):
        load({"p": b"\xff"})
