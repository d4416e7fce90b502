"""Whatever the agent can raise, decide or answer has a sentence in both languages, with the values that it always has.

The details are read out of the source, so that an error which a later commit adds fails here until both catalogs say it.
"""

import gettext
import re
import string
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

import opanel_agent
from fixtures import error_details
from opanel_agent import messages
from opanel_agent.cli.license.status_view import PERMITS
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.consent.consent_receipt import STATES
from opanel_agent.core.consent.purposes import CONSENT_BASED, POLICIES, Basis, Purpose, UnderDoNotTrack
from opanel_agent.core.diagnosis import Check, CheckStatus, SkipReason
from opanel_agent.core.documents.advisory import Severity
from opanel_agent.core.errors import AgentError, Bug, NotPermitted, Untrusted, Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.ledger.export import ExportFlawKind
from opanel_agent.core.ledger.requests import CopyState, Stage
from opanel_agent.core.license.binding import PARTS
from opanel_agent.core.license.states import Action, State
from opanel_agent.core.problems import REFUSALS
from opanel_agent.core.reporting.catalog import Type
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.evaluate.consent.rights import PREFIX as RIGHTS_PREFIX
from opanel_agent.evaluate.license.commands import ACTIVATION, EXCHANGE, RELEASE
from opanel_agent.evaluate.license.renew import KIND
from opanel_agent.evaluate.reporting.report import PREFIX
from opanel_agent.messages import describe_error, language, translate, translate_code
from opanel_agent.system import sandbox
from opanel_agent.system.journal import MESSAGE_IDS
from opanel_agent.system.storage.resources import load_catalog

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from generators import catalogs  # noqa: E402 - found by that folder

# Made from the name that a problem of the authority's has.
PROBLEMS = frozenset(problem.detail for problem in REFUSALS)
# What another version of the daemon raises is said with this one.
FOREIGN = "unknown_detail"
# The jobs on the network side answer with a frame that carries no values.
WITHOUT_VALUES = ("system/http/", "network/fetch.py", "network/courier.py", "network/gate_inputs.py")
RIGHTS = ("erase", "rectify", "restrict", "object", "access")
VERIFIED = (Typ.DELEGATION, Typ.ACTIVATION, Typ.STATUS_LIST, Typ.ROOT)


def po(lang: Language) -> dict[str, str]:
    source = catalogs.LOCALE / lang / "LC_MESSAGES" / "opanel-agent.po"
    return {text_id: text for text_id, text in catalogs.entries(source.read_text("utf-8")).items() if text_id}


ENGLISH, TURKISH = po("en"), po("tr")
KINDS_OF_REQUESTS = (*PREFIX.values(), RIGHTS_PREFIX, KIND, *(each.kind for each in (ACTIVATION, RELEASE, EXCHANGE)))


def placeholders(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def of_codes() -> dict[str, Iterable[str]]:
    """Every family of ids that is made from a set of codes."""
    groups = {command.words[0] for command in COMMANDS if len(command.words) > 1}
    return {
        "reason": Reason,
        "state": State,
        "action": Action,
        "purpose": Purpose,
        "brief": Purpose,
        "under_dnt": UnderDoNotTrack,
        "permit": PERMITS,
        "typ": VERIFIED,
        "yesno": ("True", "False"),
        "isolation": ("none", "partial", "kernel"),
        "missing": {"systemd_sockets", *sandbox.WALLS},
        "field": {field for terms in POLICIES.values() for field in terms.fields},
        "help": {"main", *groups, *(".".join(command.words) for command in COMMANDS)},
        "carry": ("activation", "release", "exchange"),
        "governor": (governor.name.lower() for governor in Basis if governor is not Basis.CONSENT),
        "question": CONSENT_BASED,
        "part": PARTS - {"agent_key"},
        "silence": ("do_not_track", "ci", "noninteractive", "no_terminal"),
        "event": EntryKind,
        "receipt.state": STATES,
        "receipt_kind": ("report", *RIGHTS),
        "type": Type,
        "recipient": {name for sheet in load_catalog().sheets.values() for name in sheet.recipients},
        "severity": Severity,
        "finding": ExportFlawKind,
        "stage": Stage,
        "copy": CopyState,
        "outcome": Stage,
        "request": KINDS_OF_REQUESTS,
        "consent.gone": {*Stage} - {Stage.SEALED},
        "sent.request": {*CopyState, Stage.ATTEMPTED},
        "sent.reply": CopyState,
        "level": CheckStatus,
        "examined": Check,
        "skipped": SkipReason,
    }


@cache
def details() -> frozenset[str]:
    """Returns what can be raised: by the agent's source, and from the problems of an authority."""
    return frozenset(each.detail for each in error_details.raised()) | PROBLEMS


def wanted() -> frozenset[str]:
    families = {f"{family}.{code}" for family, codes in of_codes().items() for code in codes}
    errors = {f"{part}.{detail}" for part in ("error", "cure") for detail in details() | {FOREIGN}}
    return frozenset(families | errors)


def literals() -> frozenset[str]:
    return frozenset(text for tree in error_details.trees().values() for text in error_details.literals(tree))


def test_the_details_are_read_out_of_every_room() -> None:
    found = {each.file.partition("/")[0] for each in error_details.raised()}
    assert {"core", "system", "evaluate", "network", "daemon", "cli", "messages.py"} <= found
    assert {"json_size", "file_owner", "disk_full", "toml_type", "runtime_dir_failed", "reply_failed"} <= details()


@pytest.mark.parametrize("catalog", [ENGLISH, TURKISH], ids=["en", "tr"])
def test_whatever_can_happen_has_a_sentence(catalog: Mapping[str, str]) -> None:
    assert sorted(wanted() - catalog.keys()) == []
    assert [text_id for text_id, text in catalog.items() if not text.strip()] == []


def test_whatever_the_commands_say_has_a_sentence() -> None:
    families = of_codes().keys() | {"error", "cure", "value", "claim", "status"}
    unknown = [
        text_id
        for text_id in error_details.text_ids()
        if text_id not in ENGLISH and text_id.rstrip(".") not in families
    ]
    assert sorted(unknown) == []
    assert {"status.renewed", "label.license", "purpose."} <= error_details.text_ids()


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    assert ENGLISH.keys() == TURKISH.keys()
    differing = [text_id for text_id in ENGLISH if placeholders(ENGLISH[text_id]) != placeholders(TURKISH[text_id])]
    assert differing == []


SWITCH_WORDS = ("on", "on_beside", "off", "still", "meaning")


def test_no_sentence_is_unused() -> None:
    """Whole ids stand in the source; the two switches and the commands that send put theirs together from two words."""
    named_in_source = literals()
    put_together = {f"{name}.{word}" for name in ("dnt", "offline") for word in SWITCH_WORDS} | {
        f"{errand}.done" for errand in ("activation", "release", "exchange")
    }
    put_together |= {f"journal.{event}" for event in MESSAGE_IDS}
    values = {f"value.{name}" for name in error_details.added().union(*(each.names for each in error_details.raised()))}
    claims = {text_id for text_id in ENGLISH if text_id.startswith("claim.") and text_id[6:] in named_in_source}
    used = wanted() | named_in_source | put_together | values | claims
    assert sorted(ENGLISH.keys() - used) == []


def test_a_sentence_needs_only_values_that_its_error_always_has() -> None:
    missing = [
        f"{each.file}: {part}.{each.detail}"
        for each in error_details.raised()
        for part in ("error", "cure")
        if not placeholders(ENGLISH[f"{part}.{each.detail}"])
        <= (frozenset() if each.file.startswith(WITHOUT_VALUES) else each.names)
    ]
    assert missing == []


def test_every_value_that_follows_a_sentence_has_a_label() -> None:
    following = {
        name
        for each in error_details.raised()
        for name in each.names
        if name not in placeholders(ENGLISH[f"error.{each.detail}"])
    } | error_details.added()
    assert sorted(name for name in following if f"value.{name}" not in ENGLISH) == []


# What `doctor` finds to be so, where nothing was tried that could not be done.
FINDINGS = frozenset({"error.license_state", "error.places_more", "error.disk_low", "error.inodes_low"})


def errors_of(catalog: Mapping[str, str]) -> dict[str, str]:
    assert catalog.keys() >= FINDINGS
    return {
        text_id: text for text_id, text in catalog.items() if text_id.startswith("error.") and text_id not in FINDINGS
    }


def test_an_error_says_what_cannot_be_done() -> None:
    errors = errors_of(ENGLISH)
    assert [text_id for text_id, text in errors.items() if not text.startswith("cannot ") or text.endswith(".")] == []


def test_turkish_errors_are_sentences_of_what_does_not_go() -> None:
    impossible = re.compile(r"(?:ı|i|u|ü|a|e)m[ıiuü]yor\b|anlaşılamıyor")
    errors = errors_of(TURKISH)
    assert [text_id for text_id, text in errors.items() if not impossible.search(text) or text.endswith(".")] == []


def test_no_turkish_suffix_hangs_on_a_value() -> None:
    """A suffix follows the vowels of its word, which a placeholder hides."""
    assert [text_id for text_id, text in TURKISH.items() if re.search(r"\}[”\"»]?['’]?[a-zçğıöşü]", text)] == []


def test_nothing_was_left_untranslated() -> None:
    """A sentence of words that is the same in both languages was forgotten; lines of values alone may be."""
    words = re.compile(r"[A-Za-z]{3,}")
    same = [
        text_id
        for text_id, text in ENGLISH.items()
        if TURKISH[text_id] == text and words.search(re.sub(r"\{\w+\}", "", text))
    ]
    assert same == ["check.unknown"]  # the word that Nagios reads


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_sentence_is_said_as_it_was_written(lang: Language) -> None:
    for text_id, text in po(lang).items():
        values = dict.fromkeys(placeholders(text), "…")
        assert translate(text_id, lang, **values) == text.format_map(values)


@pytest.mark.parametrize(
    "source",
    [
        'msgid "a"\nmsgstr "b"\n\nmsgid "a"\nmsgstr "c"\n',
        'msgid "a"\n',
        'msgid "a"\nmsgid "b"\nmsgstr "c"\n',
        'msgid "a"\nmsgstr[0] "b"\n',
        'msgctxt "x"\nmsgid "a"\nmsgstr "b"\n',
        '"lost"\n',
        'msgid "a"\nmsgstr b\n',
        'msgid "a"\nmsgstr "b" "c\n',
        'msgid "a"\nmsgstr 7\n',
    ],
)
def test_a_catalog_with_anything_unknown_in_it_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="line"):
        catalogs.entries(source)


def test_an_entry_may_go_over_several_lines_and_hold_escapes() -> None:
    assert catalogs.entries('# x\nmsgid ""\n"a."\n"b"\nmsgstr "c\\n"\n"\\"d\\""\n') == {"a.b": 'c\n"d"'}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_value_that_the_cure_names_does_not_follow_the_sentence_too(lang: Language) -> None:
    title, cure = describe_error(Usage(Fault.USAGE, "purpose_unknown", purposes="a, b", name="c"), lang)
    assert "a, b" not in title
    assert "a, b" in cure
    assert title.endswith("c)")


def test_an_unknown_id_and_a_missing_value_are_faults_of_ours() -> None:
    for text_id in ("no.such", "output.hint"):
        with pytest.raises(Bug) as caught:
            translate(text_id, "en")
        assert caught.value.detail == "text_missing"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_sentence_is_found_as_gettext_finds_it(lang: Language) -> None:
    path = Path(opanel_agent.__file__).parent / "locale" / lang / "LC_MESSAGES" / "opanel-agent.mo"
    with path.open("rb") as file:
        catalog = gettext.GNUTranslations(file)
    ids = [text_id for text_id in catalog._catalog if text_id]  # type: ignore[attr-defined]
    assert len(ids) > 500
    assert [messages._sentence(text_id, lang) for text_id in ids] == [catalog.gettext(text_id) for text_id in ids]
    assert [messages._sentence(text_id, lang) for text_id in ("zzz", "aaa", "help.mainn")] == [None] * 3


def test_a_value_may_have_any_name_and_hold_braces() -> None:
    assert translate("output.warning", "en", title="{x}") == "warning: {x}"
    error = Untrusted(Reason.FORMAT_INVALID, "member_value", name="{name}", where="{x}")
    assert describe_error(error, "en")[0].endswith("(name: {name}, part: {x})")


def test_a_code_that_only_a_newer_agent_knows_is_shown_as_it_is() -> None:
    assert translate_code("state", "hovering", "en") == "hovering"
    assert translate_code("state", "grace", "tr") == "ek süre"


def test_what_the_sentence_does_not_use_follows_it() -> None:
    error = Untrusted(Reason.CHAIN_INVALID, "license_wider", name="limits", line=2)
    title, hint = describe_error(error, "en")
    assert title == "cannot accept the license: it grants more than the reseller may grant in “limits” (line: 2)"
    assert hint == ENGLISH["cure.license_wider"]
    assert describe_error(error, "tr")[0].endswith("yetkisini aşıyor (satır: 2)")


def test_codes_among_the_values_are_said_in_words() -> None:
    error = NotPermitted(Reason.OPT_OUT, "gate_denied", purpose="license_activation", reason="opt_out", place="x")
    assert "purpose: license activation, reason: do-not-track is in force, place: x" in describe_error(error, "en")[0]


@pytest.mark.parametrize("lang", get_args(Language))
def test_an_error_of_another_version_is_shown_as_it_came(lang: Language) -> None:
    unknown = AgentError.from_json(
        {"kind": "Unavailable", "code": "new", "detail": "of_tomorrow", "values": {"colour": "red"}}
    )
    title, hint = describe_error(unknown, lang)
    assert "“of_tomorrow”" in title
    assert "(colour: red)" in title
    assert hint
    assert (
        "?" in describe_error(Bug(Fault.JOB_FAILED, "job_failed"), lang)[0]
    )  # the value that an older one does not send


@pytest.mark.parametrize(
    ("flag", "settings", "environ", "expected"),
    [
        ("tr", "en", {"LANG": "en_US.UTF-8"}, "tr"),
        ("en", "tr", {"LANG": "tr_TR.UTF-8"}, "en"),
        (None, "tr", {"LANG": "en_US.UTF-8"}, "tr"),
        (None, None, {"LANG": "tr_TR.UTF-8"}, "tr"),
        (None, None, {"LANG": "tr"}, "tr"),
        (None, None, {"LANG": "TR.utf8"}, "tr"),
        (None, None, {"LC_ALL": "C", "LANG": "tr_TR.UTF-8"}, "en"),
        (None, None, {"LC_ALL": "", "LC_MESSAGES": "tr_CY", "LANG": "C"}, "tr"),
        (None, None, {"LC_MESSAGES": "en_GB", "LANG": "tr_TR"}, "en"),
        (None, None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, None, {"LANG": "trv_TW"}, "en"),
        (None, None, {}, "en"),
    ],
)
def test_which_language_is_spoken(
    flag: str | None, settings: str | None, environ: Mapping[str, str], expected: Language
) -> None:
    assert language(flag, settings, environ) == expected


def test_importing_the_sentences_loads_no_catalog_and_no_parser() -> None:
    code = "import sys; before = set(sys.modules); import opanel_agent.messages; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "opanel_agent.messages" in loaded
    assert not loaded & {"gettext", "pathlib", "locale", "json", "opanel_agent.cli"}
    assert messages._catalog("en") is messages._catalog("en")
