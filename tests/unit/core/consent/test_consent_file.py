"""consent.toml is read whole or refused whole with the line; a policy only narrows; an edit changes one literal alone."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
import tomli_w
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import (
    Choice,
    ConsentFile,
    ConsentReading,
    Granted,
    Policy,
    edit,
    fresh,
    in_doubt,
    parse,
    parse_policy,
)
from opanel_agent.core.consent.gate import Denial, GateInputs, Permit, RequestView, SettingsView, Signals, decide
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.consent.purposes import CONSENT_BASED, FIXED, Purpose
from opanel_agent.core.consent.purposes import POLICIES as TERMS
from opanel_agent.core.errors import Misconfigured

HOUR_S = 3600
USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS
SHIPPED = """\
schema = 1
notice = "2026-12-01"            # the notice that these answers were given to
do_not_track = false

[purposes.usage_statistics]
allow = false                    # literal true or false
hold = "72h"                     # a finished report waits this long

[purposes.crash_reports]
allow = false
review = true
"""
LEAST = 'schema = 1\nnotice = "2026-12-01"\n'
NO = Choice(allow=False, hold_s=72 * HOUR_S, review=False)


def refusal(text: str | bytes) -> tuple[str, int, str]:
    with pytest.raises(Misconfigured) as caught:
        parse(text.encode() if isinstance(text, str) else text)
    return named(caught.value)


def named(fault: Misconfigured) -> tuple[str, int, str]:
    assert fault.code is Reason.CONSENT_REFUSED
    return fault.detail, int(fault.values["line"]), str(fault.values.get("name", ""))


def test_the_page_s_own_example_is_read() -> None:
    assert parse(SHIPPED.encode()) == ConsentFile(
        notice="2026-12-01",
        do_not_track=False,
        purposes={USAGE: NO, CRASH: Choice(allow=False, hold_s=0, review=True)},
        granted=None,
    )


def test_every_key_says_where_it_is_written() -> None:
    assert parse(SHIPPED.encode()).lines == {
        "notice": 2,
        "do_not_track": 3,
        "purposes.usage_statistics.allow": 6,
        "purposes.usage_statistics.hold": 7,
        "purposes.crash_reports.allow": 10,
        "purposes.crash_reports.review": 11,
    }


def test_the_least_file_asks_nothing_and_grants_nothing() -> None:
    assert parse(LEAST.encode()) == ConsentFile(notice="2026-12-01", do_not_track=False, purposes={}, granted=None)


def test_what_is_left_out_waits() -> None:
    text = LEAST + "[purposes]\nusage_statistics.allow = true\ncrash_reports = { allow = true }\n"
    assert parse(text.encode()).purposes == {
        USAGE: Choice(allow=True, hold_s=72 * HOUR_S, review=False),
        CRASH: Choice(allow=True, hold_s=0, review=True),
    }


def test_what_is_said_is_taken() -> None:
    text = SHIPPED.replace("false", "true").replace("72h", "0h").replace("review = true", "review = false")
    file = parse(text.encode())
    assert file.do_not_track
    assert file.purposes == {
        USAGE: Choice(allow=True, hold_s=0, review=False),
        CRASH: Choice(allow=True, hold_s=0, review=False),
    }


PRESEEDED = SHIPPED + '\n[granted]\nby = "Ayşe Yılmaz"\nrole = "sistem yöneticisi"\non = "2026-12-02"\n'


def test_a_preseeded_grant_names_a_person() -> None:
    granted = Granted(by="Ayşe Yılmaz", role="sistem yöneticisi", on="2026-12-02")
    assert parse(PRESEEDED.encode()).granted == granted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("toml_schema", 1, "schema")),
        (SHIPPED.replace("schema = 1", "schema = 2"), ("toml_schema", 1, "schema")),
        (SHIPPED.replace("schema = 1", "schema = true"), ("toml_type", 1, "schema")),
        (SHIPPED.replace("schema = 1", 'schema = "1"'), ("toml_type", 1, "schema")),
        (SHIPPED.replace("schema = 1", "schema = 1.0"), ("toml_type", 1, "schema")),
        (SHIPPED.replace("schema = 1", "#"), ("toml_schema", 1, "schema")),
        (SHIPPED.replace('notice = "2026-12-01"', "#"), ("toml_missing", 1, "notice")),
        (SHIPPED.replace('"2026-12-01"', "2026-12-01"), ("toml_type", 2, "notice")),
        (SHIPPED.replace('"2026-12-01"', '"1 December"'), ("toml_value", 2, "notice")),
        (SHIPPED.replace('"2026-12-01"', '"2026-02-30"'), ("toml_value", 2, "notice")),
        (SHIPPED.replace('"2026-12-01"', '"20261201"'), ("toml_value", 2, "notice")),
        (SHIPPED.replace('"2026-12-01"', '"2026-12-01\\n"'), ("toml_value", 2, "notice")),
        (SHIPPED.replace("do_not_track = false", "do_not_track = 0"), ("toml_type", 3, "do_not_track")),
        (SHIPPED.replace("do_not_track = false", 'do_not_track = "false"'), ("toml_type", 3, "do_not_track")),
        (SHIPPED.replace("do_not_track = false", "do_not_trak = false"), ("toml_unknown", 3, "do_not_trak")),
        (SHIPPED.replace("do_not_track = false", "purposes = 1\n[x]"), ("toml_syntax", 6, "")),
        (LEAST + "purposes = true", ("toml_type", 3, "purposes")),
        (LEAST + "purposes = []", ("toml_type", 3, "purposes")),
        (LEAST + "[[purposes.usage_statistics]]\nallow = true", ("toml_type", 3, "purposes.usage_statistics")),
        (LEAST + "[purposes]\nusage_statistics = true", ("toml_type", 4, "purposes.usage_statistics")),
        (SHIPPED.replace("usage_statistics", "usage"), ("toml_unknown", 5, "purposes.usage")),
        (LEAST + "[purposes.license_status]\nallow = true", ("toml_unknown", 3, "purposes.license_status")),
        (LEAST + "[purposes.data_rights]\nallow = true", ("toml_unknown", 3, "purposes.data_rights")),
        (SHIPPED + 'hold = "1h"\n', ("toml_unknown", 12, "purposes.crash_reports.hold")),
        (SHIPPED.replace("hold =", "review = false\nhold ="), ("toml_unknown", 7, "purposes.usage_statistics.review")),
        (
            SHIPPED.replace("allow = false    ", "Allow = false    "),
            ("toml_unknown", 6, "purposes.usage_statistics.Allow"),
        ),
        (
            SHIPPED.replace("allow = false    ", "alow = false    "),
            ("toml_unknown", 6, "purposes.usage_statistics.alow"),
        ),
        (
            SHIPPED.replace("allow = false    ", "# allow = false    "),
            ("toml_missing", 5, "purposes.usage_statistics.allow"),
        ),
        (SHIPPED.replace("notice =", "Notice ="), ("toml_unknown", 2, "Notice")),
        (SHIPPED.replace("review = true", "review = 1"), ("toml_type", 11, "purposes.crash_reports.review")),
        (SHIPPED.replace("review = true", 'review = "no"'), ("toml_type", 11, "purposes.crash_reports.review")),
        (SHIPPED + "granted = 1\n", ("toml_unknown", 12, "purposes.crash_reports.granted")),
        ("granted = 1\n" + SHIPPED, ("toml_type", 1, "granted")),
        (PRESEEDED + 'at = "x"', ("toml_unknown", 17, "granted.at")),
        (PRESEEDED.replace("by =", "# by ="), ("toml_missing", 13, "granted.by")),
        (PRESEEDED.replace("role =", "# role ="), ("toml_missing", 13, "granted.role")),
        (PRESEEDED.replace("on =", "# on ="), ("toml_missing", 13, "granted.on")),
        (PRESEEDED.replace("Ayşe Yılmaz", "  "), ("toml_value", 14, "granted.by")),
        (PRESEEDED.replace("Ayşe Yılmaz", "a" * 201), ("toml_value", 14, "granted.by")),
        (PRESEEDED.replace("Ayşe Yılmaz", "a\\u202eb"), ("toml_value", 14, "granted.by")),
        (PRESEEDED.replace("sistem yöneticisi", "a\\nb"), ("toml_value", 15, "granted.role")),
        (PRESEEDED.replace("2026-12-02", "yesterday"), ("toml_value", 16, "granted.on")),
        (PRESEEDED.replace('"2026-12-02"', "2026-12-02"), ("toml_type", 16, "granted.on")),
        (SHIPPED + "allow = true\n", ("toml_syntax", 12, "")),
        (SHIPPED.replace("allow = false\nreview", "allow = yes\nreview"), ("toml_syntax", 10, "")),
        (SHIPPED.replace("allow = false\nreview", "allow = True\nreview"), ("toml_syntax", 10, "")),
        ("\ufeff" + SHIPPED, ("toml_syntax", 1, "")),
    ],
)
def test_every_fault_is_refused_with_its_line_and_its_name(text: str, expected: tuple[str, int, str]) -> None:
    assert refusal(text) == expected


@pytest.mark.parametrize("value", ['"true"', "1", "0", '"false"', "1.0", "[true]", "{}", '""', "2026-12-01"])
@pytest.mark.parametrize(("purpose", "line"), [("usage_statistics", 6), ("crash_reports", 10)])
def test_only_the_two_literals_answer(purpose: str, line: int, value: str) -> None:
    lines = SHIPPED.split("\n")
    lines[line - 1] = f"allow = {value}"
    assert refusal("\n".join(lines)) == ("toml_type", line, f"purposes.{purpose}.allow")


def test_another_encoding_is_refused_with_its_line() -> None:
    assert refusal(SHIPPED.encode() + "# Türkçe".encode("iso8859-9")) == ("toml_utf8", 12, "")
    assert refusal(SHIPPED.encode("utf-16"))[0] == "toml_utf8"


def test_windows_line_ends_are_read() -> None:
    file = parse(SHIPPED.replace("\n", "\r\n").encode())
    assert (file, file.lines) == (parse(SHIPPED.encode()), parse(SHIPPED.encode()).lines)


# ---- hold


@pytest.mark.parametrize(
    ("hold", "hours"),
    [("0h", 0), ("0d", 0), ("1h", 1), ("72h", 72), ("3d", 72), ("30d", 720), ("720h", 720), ("007h", 7)],
)
def test_a_hold_is_in_hours_or_days(hold: str, hours: int) -> None:
    file = parse(SHIPPED.replace("72h", hold).encode())
    assert file.purposes[USAGE].hold_s == hours * HOUR_S


@pytest.mark.parametrize(
    "hold",
    [
        "",
        "72",
        "h",
        "72 h",
        " 72h",
        "72h ",
        "72H",
        "72m",
        "-1h",
        "+1h",
        "1.5h",
        "1h30m",
        "31d",
        "721h",
        "99999h",
        "٧٢h",
        "72h\\n",
    ],
)
def test_another_hold_refuses(hold: str) -> None:
    assert refusal(SHIPPED.replace("72h", hold)) == ("toml_value", 7, "purposes.usage_statistics.hold")


def test_a_hold_is_a_text() -> None:
    assert refusal(SHIPPED.replace('"72h"', "72")) == ("toml_type", 7, "purposes.usage_statistics.hold")


# ---- policies


POLICY = """\
schema = 1
do_not_track = true
[purposes.usage_statistics]
allow = false
hold = "10d"
[purposes.crash_reports]
allow = false
"""


def test_a_policy_is_read() -> None:
    policy = parse_policy(POLICY.encode(), "/etc/opanel-agent/consent.d/fleet.toml")
    assert policy == Policy(
        place="/etc/opanel-agent/consent.d/fleet.toml",
        denied=frozenset({USAGE, CRASH}),
        holds={USAGE: 240 * HOUR_S},
        do_not_track=True,
    )
    assert policy.locate("hold", "purposes.usage_statistics.hold") == Signal(
        kind=SignalKind.SETTING, what="hold", place="/etc/opanel-agent/consent.d/fleet.toml", line=5
    )


@pytest.mark.parametrize("text", ["schema = 1", "schema = 1\ndo_not_track = false\n[purposes.crash_reports]"])
def test_a_policy_may_say_nothing(text: str) -> None:
    assert parse_policy(text.encode(), "x") == Policy(place="x", denied=frozenset(), holds={}, do_not_track=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            POLICY.replace("allow = false", "allow = true", 1),
            ("consent_policy_grants", 4, "purposes.usage_statistics.allow"),
        ),
        (
            "schema = 1\npurposes.crash_reports.allow = true",
            ("consent_policy_grants", 2, "purposes.crash_reports.allow"),
        ),
        ("", ("toml_schema", 1, "schema")),
        ("schema = 1\nnotice = '2026-12-01'", ("toml_unknown", 2, "notice")),
        ("schema = 1\n[granted]\nby = 'x'", ("toml_unknown", 2, "granted")),
        ("schema = 1\ndo_not_track = 1", ("toml_type", 2, "do_not_track")),
        ("schema = 1\n[purposes.x]\nallow = false", ("toml_unknown", 2, "purposes.x")),
        ("schema = 1\n[purposes.license_status]\nallow = false", ("toml_unknown", 2, "purposes.license_status")),
        (POLICY.replace("allow = false", "allow = 0", 1), ("toml_type", 4, "purposes.usage_statistics.allow")),
        (POLICY.replace("10d", "31d"), ("toml_value", 5, "purposes.usage_statistics.hold")),
        (POLICY + "review = false", ("toml_unknown", 8, "purposes.crash_reports.review")),
        (POLICY + 'hold = "1h"', ("toml_unknown", 8, "purposes.crash_reports.hold")),
        (POLICY + "x", ("toml_syntax", 8, "")),
    ],
)
def test_a_policy_that_grants_or_errs_is_refused_with_its_line(text: str, expected: tuple[str, int, str]) -> None:
    with pytest.raises(Misconfigured) as fault:
        parse_policy(text.encode(), "x")
    assert named(fault.value) == expected


# ---- a reading


def reading(**changed: object) -> ConsentReading:
    return ConsentReading(**{"place": "/c/consent.toml", "file": parse(SHIPPED.encode()), **changed})  # type: ignore[arg-type]


def policy(place: str = "/c/p.toml", **changes: object) -> Policy:
    usual: dict[str, object] = {"place": place, "denied": frozenset(), "holds": {}, "do_not_track": False}
    return Policy(**(usual | changes))  # type: ignore[arg-type]


def test_the_longest_hold_counts_and_is_named() -> None:
    short, long = policy("short", holds={USAGE: HOUR_S}), policy("long", holds={USAGE: 100 * HOUR_S})
    both = reading(policies=(short, long))
    assert (both.hold_s(USAGE), both.longest_hold(USAGE).place) == (100 * HOUR_S, "long")
    one = reading(policies=(short,))
    assert (one.hold_s(USAGE), one.longest_hold(USAGE)) == (
        72 * HOUR_S,
        Signal(kind=SignalKind.SETTING, what="hold", place="/c/consent.toml", line=7),
    )
    same = reading(policies=(policy("same", holds={USAGE: 72 * HOUR_S}),))
    assert same.longest_hold(USAGE).place == "/c/consent.toml"
    assert both.hold_s(CRASH) == 0


def test_without_a_file_or_an_answer_the_defaults_wait() -> None:
    for nothing in (ConsentReading(), reading(file=parse(LEAST.encode()))):
        assert (nothing.hold_s(USAGE), nothing.hold_s(CRASH)) == (72 * HOUR_S, 0)
        assert (nothing.review(USAGE), nothing.review(CRASH)) == (False, True)
    assert reading(file=parse(SHIPPED.replace("review = true", "review = false").encode())).review(CRASH) is False


def test_every_fault_is_told() -> None:
    own, other = (Misconfigured(Reason.CONSENT_REFUSED, detail) for detail in ("own", "other"))
    assert reading().faults() == ()
    assert reading(refused=own, policies_refused=(other,)).faults() == (own, other)


def test_every_opt_out_in_these_files_is_told() -> None:
    assert list(reading().signals()) == []
    doubt = Signal(kind=SignalKind.FILE, what="consent.toml", place="/c")
    files = reading(
        file=parse(SHIPPED.replace("do_not_track = false", "do_not_track = true").encode()),
        policies=(policy(), parse_policy(POLICY.encode(), "/c/fleet.toml")),
        in_doubt=(doubt,),
    )
    setting = Signal(kind=SignalKind.SETTING, what="do_not_track = true", place="/c/consent.toml", line=3)
    assert list(files.signals()) == [setting, setting._replace(place="/c/fleet.toml", line=2), doubt]


CHOICES = st.builds(Choice, allow=st.booleans(), hold_s=st.integers(0, 5), review=st.booleans())
FILES = st.builds(
    ConsentFile,
    notice=st.sampled_from(["2026-12-01", "2025-01-01"]),
    do_not_track=st.booleans(),
    purposes=st.dictionaries(st.sampled_from(CONSENT_BASED), CHOICES),
    granted=st.none(),
)
POLICIES = st.builds(
    Policy,
    place=st.just("p"),
    denied=st.frozensets(st.sampled_from(CONSENT_BASED)),
    holds=st.dictionaries(st.sampled_from(CONSENT_BASED), st.integers(0, 5)),
    do_not_track=st.booleans(),
)
READINGS = st.builds(
    ConsentReading,
    file=st.none() | FILES,
    refused=st.none() | st.just(Misconfigured(Reason.CONSENT_REFUSED, "x")),
    policies=st.lists(POLICIES, max_size=2).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(READINGS, POLICIES | st.just(None), st.integers(0, 6))
def test_no_policy_ever_turns_a_no_into_a_yes(before: ConsentReading, added: Policy | None, waited_s: int) -> None:
    if added is None:
        after = replace(before, policies_refused=(Misconfigured(Reason.CONSENT_REFUSED, "y"),))
    else:
        after = replace(before, policies=(*before.policies, added))
    for purpose in Purpose:
        if isinstance(decision(purpose, before, waited_s), Denial):
            assert isinstance(decision(purpose, after, waited_s), Denial)
    for purpose in CONSENT_BASED:
        assert after.hold_s(purpose) >= before.hold_s(purpose)
        assert after.review(purpose) >= before.review(purpose)


def decision(purpose: Purpose, consent: ConsentReading, waited_s: int) -> Permit | Denial:
    url = "https://a.example" + min(TERMS[purpose].paths)
    asked = RequestView(method="GET" if purpose in FIXED else "POST", url=url, offending=(), waited_s=waited_s)
    return decide(
        purpose,
        GateInputs(
            signals=Signals(),
            standing=SettingsView(),
            destinations=("https://a.example",),
            asked=asked,
            commanded=True,
            consent=consent,
            installed_notice="2026-12-01",
        ),
    )


# ---- a refused file may still say no


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        (SHIPPED, None),
        (SHIPPED.replace("\n", "\r\n"), None),
        ("# do_not_track = true", None),
        ('"do_not_track"=false# no', None),
        ("schema = 2\ndo_not_track = true", 2),
        ("\ndo_not_track = 1", 2),
        ("\n\ndo_not_track", 3),
        ("do_not_track = false true", 1),
        ("do_not_track = falsee", 1),
        ("do_not_track = false\ndo_not_track = true", 2),
        ("a = { do_not_track = true }", 1),
        ("[do_not_track]", 1),
        ("DO_NOT_TRACK = true", 1),
        ("do-not-track = true", 1),
        ("Do Not Track = yes", 1),
        ("donottrack = true", 1),
        ("DO_NOT_TRACK = false", 1),
        ("a\0b", 1),
    ],
)
def test_a_refused_file_s_opt_out_is_found(text: str, line: int | None) -> None:
    assert in_doubt(text.encode()) == line
    assert in_doubt(text.encode() + b"\n\xff") == line


# ---- edit


@pytest.mark.parametrize("purpose", CONSENT_BASED)
def test_an_edit_changes_one_literal_and_back(purpose: Purpose) -> None:
    before = SHIPPED.encode()
    after = edit(before, purpose, allow=True)
    assert parse(after).purposes[purpose].allow
    assert len(changed_lines(before, after)) == 1
    assert edit(after, purpose, allow=False) == before
    assert edit(before, purpose, allow=False) == before


@pytest.mark.parametrize(
    "purposes",
    [
        "[purposes.usage_statistics]\nallow=false#false",
        "[purposes.usage_statistics]\n\tallow\t=  false  # = false, or false",
        "[ purposes . usage_statistics ]\n# allow = false\nallow = false",
        '[purposes."usage_statistics"]\n"allow" = false',
        "[purposes]\nusage_statistics.allow = false",
        "[purposes]\nusage_statistics = {allow = false}",
        "purposes.usage_statistics.allow = false",
        "purposes = {crash_reports = {review = false, allow = false}, usage_statistics = {allow = false}}",
        "[purposes.crash_reports]\nallow = false\n[purposes.usage_statistics]\nallow = false",
        (
            "[granted]\nby = '[purposes.usage_statistics] allow = false'\nrole = 'false'\non = '2026-12-01'\n"
            "[purposes.usage_statistics]\nallow = false"
        ),
        (
            '[granted]\nby = """a\\\n[purposes.usage_statistics]\\\nallow = false\\\n"""\nrole = "r"\non = "2026-12-01"\n'
            "[purposes.usage_statistics]\nallow = false"
        ),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_literal_is_found_however_it_is_written(purposes: str, end: str) -> None:
    data = (LEAST + purposes).replace("\n", end).encode()
    before, after = parse(data), edit(data, USAGE, allow=True)
    expected = replace(before.purposes[USAGE], allow=True)
    assert parse(after) == replace(before, purposes={**before.purposes, USAGE: expected})
    assert len(after) == len(data) - 1
    assert edit(after, USAGE, allow=False) == data


def test_a_purpose_without_an_answer_is_refused_with_what_to_type() -> None:
    data = SHIPPED.encode()[: SHIPPED.index("[purposes.crash_reports]")]
    with pytest.raises(Misconfigured) as caught:
        edit(data, CRASH, allow=True)
    assert (caught.value.code, caught.value.detail) == (Reason.CONSENT_REFUSED, "consent_edit")
    assert caught.value.values == {
        "line": 9,
        "name": "crash_reports",
        "under": "[purposes.crash_reports]",
        "type": "allow = true",
    }
    typed = f"{caught.value.values['under']}\n{caught.value.values['type']}\n".encode()
    assert parse(data + typed).purposes[CRASH].allow


def test_a_literal_that_is_not_on_its_keys_line_is_left_to_the_administrator() -> None:
    text = LEAST + 'purposes = { usage_statistics = { hold = """\\\n72h""", allow = false } } # false\n'
    assert parse(text.encode()).purposes == {USAGE: NO}
    with pytest.raises(Misconfigured) as caught:
        edit(text.encode(), USAGE, allow=True)
    assert (caught.value.detail, caught.value.values["line"], caught.value.values["type"]) == (
        "consent_edit",
        3,
        "allow = true",
    )


def test_a_refused_file_is_not_edited() -> None:
    with pytest.raises(Misconfigured) as caught:
        edit(SHIPPED.replace("schema = 1", "schema = 2").encode(), USAGE, allow=True)
    assert caught.value.detail == "toml_schema"


def changed_lines(before: bytes, after: bytes) -> list[tuple[bytes, bytes]]:
    pairs = zip(before.split(b"\n"), after.split(b"\n"), strict=True)
    return [(old, new) for old, new in pairs if old != new]


COMMENT = st.sampled_from(["", " # allow = false", " # true", "\t# [purposes.crash_reports]", " #= false"])
BLANK = st.sampled_from(
    ["", "   ", "# allow = true", "#[purposes.usage_statistics]", "# do_not_track = true", "# Ayşe"]
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A good file in any order, with comments, blanks and either line end."""

    def line(text: str) -> list[str]:
        return [*draw(st.lists(BLANK, max_size=2)), text + draw(COMMENT)]

    def literal() -> str:
        return draw(st.sampled_from(["true", "false"]))

    top = ["schema = 1", 'notice = "2026-12-01"', f"do_not_track{draw(st.sampled_from(['=', ' = ']))}{literal()}"]
    tables = [
        ["[purposes.usage_statistics]", f"allow = {literal()}", f'hold = "{draw(st.integers(0, 30))}d"'],
        ["[purposes.crash_reports]", f"allow = {literal()}", f"review = {literal()}"],
        ["[granted]", 'by = "false = true"', 'role = "r"', 'on = "2026-12-01"'],
    ]
    written = [text for entry in draw(st.permutations(top)) for text in line(entry)]
    for head, *entries in draw(st.permutations(tables))[: draw(st.integers(1, 3))]:
        written += [text for entry in (head, *draw(st.permutations(entries))) for text in line(entry)]
    return draw(st.sampled_from(["\n", "\r\n"])).join([*written, *draw(st.sampled_from([[], [""]]))]).encode()


@settings(max_examples=80, deadline=None)
@given(files(), st.sampled_from(CONSENT_BASED), st.booleans())
def test_an_edit_of_any_file_differs_in_exactly_one_literal(data: bytes, purpose: Purpose, allow: bool) -> None:
    before = parse(data)
    assume(purpose in before.purposes)
    after = edit(data, purpose, allow=allow)
    file = parse(after)
    assert file == replace(
        before, purposes={**before.purposes, purpose: replace(before.purposes[purpose], allow=allow)}
    )
    if before.purposes[purpose].allow is allow:
        assert after == data
        return
    ((old, new),) = changed_lines(data, after)
    wanted = (b"false", b"true") if allow else (b"true", b"false")
    assert (old, new) in {
        (old, old[: found.start()] + wanted[1] + old[found.end() :]) for found in re.finditer(wanted[0], old)
    }


# ---- fresh


@pytest.mark.parametrize("answers", [{}, {USAGE: True}, {USAGE: False, CRASH: True}])
def test_a_fresh_file_is_read_as_it_was_answered(answers: Mapping[Purpose, bool]) -> None:
    granted = Granted(by="Ayşe Yılmaz", role="sistem yöneticisi", on="2026-12-02")
    for by in (None, granted):
        file = parse(tomli_w.dumps(fresh("2026-12-01", answers, granted=by)).encode())
        assert file == ConsentFile(
            notice="2026-12-01",
            do_not_track=False,
            purposes={
                USAGE: replace(NO, allow=answers.get(USAGE, False)),
                CRASH: Choice(allow=answers.get(CRASH, False), hold_s=0, review=True),
            },
            granted=by,
        )
