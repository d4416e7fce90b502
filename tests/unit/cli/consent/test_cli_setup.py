"""`setup` and `notice`: the questions as a person meets them, at a real terminal too. Where nobody can be asked, none is."""

import re
from pathlib import Path
from typing import Any

import pytest

import opanel_agent
from fixtures import signing
from fixtures.command_line import Printed, SetSignals, Terminal
from fixtures.daemon.fake_daemon import CannedReply, answer, fake_daemon
from fixtures.pseudo_terminal import TypedAt
from fixtures.simulated.memory_files import MemoryFiles, Stopped
from opanel_agent.core.consent.consent_file import parse
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.messages import translate
from opanel_agent.system.storage.resources import Resources, installed_notice, load_catalog

AGENT = Path(opanel_agent.__file__).parent.parent
NOTICE = installed_notice()
USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS
SILENCES = ("do_not_track", "ci", "noninteractive", "no_terminal")
GRANTED = '[granted]\nby = "Ayşe Yılmaz"\nrole = "veri sorumlusu temsilcisi"\non = "2026-12-02"\n'


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.paths.config_dir.mkdir(mode=0o755)
    return terminal


def asked(terminal: Terminal, *types: str, rows: int = 200, argv: tuple[str, ...] = ()) -> tuple[Printed, TypedAt]:
    """Runs setup with a person who types this; English unless the test says otherwise."""
    person = TypedAt(types=list(types), rows=rows)
    terminal.teletype = person
    lang = () if "--lang" in argv else ("--lang", terminal.lang)
    return terminal.type("setup", *lang, *argv), person


def answers(terminal: Terminal) -> dict[Purpose, bool]:
    return {purpose: choice.allow for purpose, choice in parse(terminal.paths.consent.read_bytes()).purposes.items()}


def before(terminal: Terminal, *, usage: str = "false", crash: str = "false", notice: str = NOTICE) -> bytes:
    text = (
        f'schema = 1 # ours\nnotice = "{notice}"\n[purposes.usage_statistics]\nallow = {usage}\nhold = "0h"\n'
        f"[purposes.crash_reports]\nallow = {crash}\n"
    )
    terminal.paths.consent.write_text(text)
    terminal.paths.consent.chmod(0o644)
    return text.encode()


def preseed(terminal: Terminal, text: str) -> Path:
    file = terminal.folder / "preseed.toml"
    file.write_text(text)
    return file


# what is asked


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), {USAGE: False, CRASH: False}),
        (("", ""), {USAGE: False, CRASH: False}),
        (("y", "n"), {USAGE: True, CRASH: False}),
        (("n", "yes"), {USAGE: False, CRASH: True}),
        (("Y", "YES"), {USAGE: True, CRASH: True}),
        (("later", "sonra"), {USAGE: False, CRASH: False}),
        (("hayır", "HAYIR"), {USAGE: False, CRASH: False}),
        (("maybe", "ok", "sure", "y"), {USAGE: False, CRASH: True}),
        (("1", "y", " y "), {USAGE: True, CRASH: True}),
    ],
)
def test_only_a_plain_yes_is_a_yes_and_each_consent_is_its_own_question(
    terminal: Terminal, types: tuple[str, ...], expected: dict[Purpose, bool]
) -> None:
    printed, _ = asked(terminal, *types)
    assert (printed.status, printed.err) == (0, "")
    assert answers(terminal) == expected
    file = parse(terminal.paths.consent.read_bytes())
    assert (file.notice, file.granted, file.do_not_track) == (NOTICE, None, False)
    assert terminal.paths.consent.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_notice_comes_first_then_one_question_a_consent(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    printed, person = asked(terminal)
    assert printed.status == 0
    heading = Resources().notice(lang).splitlines()[0].removeprefix("# ")
    assert person.seen[0] == heading
    places = [person.text.index(f"{number}/2  ") for number in (1, 2)]
    assert places == sorted(places)
    assert person.prompts == [translate("setup.prompt", lang)] * 2
    for purpose in CONSENT_BASED:
        for field in load_catalog().fields(purpose).values():
            assert field.label[lang] in " ".join(person.text.split())
            assert "_" not in field.name or field.name not in person.text  # a name that only a program has
    assert "180" in person.text
    assert "90" in person.text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_line_fits_into_80_columns_and_none_is_colored(terminal: Terminal, lang: Language) -> None:
    terminal.trust()
    terminal.lang = lang
    printed, person = asked(terminal)
    lines = [*person.seen, *printed.out.splitlines(), *terminal.type("notice", "--lang", lang).out.splitlines()]
    assert [line for line in lines if len(line) > 80 and str(terminal.folder) not in line] == []
    assert not any("\x1b" in line for line in lines)


def test_a_question_says_what_why_how_long_and_what_happens_if_not(terminal: Terminal) -> None:
    _, person = asked(terminal)
    questions = re.split(r"\n\d/2  ", person.text)[1:]
    assert len(questions) == len(CONSENT_BASED)
    for question in questions:
        for beginning in ("What is sent: ", "Why: ", "How often: ", "How long: ", "If you refuse: "):
            assert f"\n{beginning}" in question
        assert "IP address" in question
    assert "class of memory" in questions[0]


def test_a_small_screen_is_read_page_by_page(terminal: Terminal) -> None:
    _, person = asked(terminal, rows=24)
    pages = person.prompts.count("-- Enter: read on --")
    assert pages == (len(terminal.type("notice").out.splitlines()) - 1) // 22


def test_the_language_is_asked_for_only_where_nobody_said_it(terminal: Terminal) -> None:
    terminal.teletype = person = TypedAt(types=["t"], rows=200)
    printed = terminal.type("setup")
    assert person.prompts[0].startswith("Türkçe: t")
    assert person.seen[0].startswith("Aydınlatma")
    assert "Yanıtlar kaydedildi" in printed.out
    terminal.paths.settings.write_text('schema = 1\nlanguage = "tr"\n')
    terminal.paths.settings.chmod(0o600)
    terminal.teletype = person = TypedAt(rows=200)
    terminal.type("setup")
    assert not any(prompt.startswith("Türkçe: t") for prompt in person.prompts)


def test_what_is_no_language_leaves_the_locales(terminal: Terminal) -> None:
    terminal.teletype = person = TypedAt(types=["x"], rows=200)
    terminal.type("setup")
    assert person.seen[0].startswith("Privacy notice")


def test_that_the_notice_was_shown_is_recorded_and_then_the_answers_are_told(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/noticed", {"noticed": NOTICE})
        daemon.done("/v1/narrowed", {"consent": {}})
        printed, _ = asked(terminal, "y")
        assert daemon.posts() == [("/v1/noticed", {"version": NOTICE, "lang": "en"}), ("/v1/narrowed", b"")]
    assert (printed.status, printed.err) == (0, "")


def test_what_the_agent_could_not_record_is_said(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/noticed", CannedReply(body=b"?"))
        daemon.says_raw("/v1/narrowed", CannedReply(body=b"?"))
        printed, _ = asked(terminal, "y")
    assert printed.status == 69
    assert "could not be recorded" in printed.err
    assert "may not have been stopped" in printed.err
    assert answers(terminal) == {USAGE: True, CRASH: False}


# what stands already


def test_answers_to_the_same_notice_are_kept_unless_asked_for_again(terminal: Terminal) -> None:
    text = before(terminal, usage="true")
    printed, person = asked(terminal, "")
    assert terminal.paths.consent.read_bytes() == text
    assert "The answers are unchanged" in printed.out
    assert len(person.prompts) == 1
    again, person = asked(terminal, "y", "n", "y")
    assert again.status == 0
    assert answers(terminal) == {USAGE: False, CRASH: True}
    assert b"schema = 1 # ours" in terminal.paths.consent.read_bytes()


def test_a_no_to_an_older_notice_is_not_asked_again(terminal: Terminal) -> None:
    before(terminal, usage="true", notice="2020-01-01")
    _, person = asked(terminal, "y")
    assert len(person.prompts) == 1
    assert "1/2  Usage statistics" in person.text
    assert "Crash reports" not in person.text.split("1/2  ")[1]
    assert answers(terminal) == {USAGE: True, CRASH: False}
    assert parse(terminal.paths.consent.read_bytes()).notice == NOTICE


def test_a_refused_file_is_not_written_over(terminal: Terminal) -> None:
    text = before(terminal, usage="1")
    file = preseed(terminal, f'schema = 1\nnotice = "{NOTICE}"\n')
    at_terminal, person = asked(terminal, "y", "y")
    assert person.seen == []
    for printed in (at_terminal, terminal.type("setup", "--preseed", str(file))):
        assert printed.status == 78
        assert "line: 4" in printed.err
    assert terminal.paths.consent.read_bytes() == text


# where nobody is asked


def signals() -> SetSignals:
    found = SetSignals()
    found.signals = Signals(do_not_track=(Signal(kind=SignalKind.FILE, what="do-not-track", place="/etc"),))
    return found


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"CI": "true"}, "ci"),
        ({"CI": "1"}, "ci"),
        ({"DEBIAN_FRONTEND": "noninteractive"}, "noninteractive"),
    ],
)
def test_an_unattended_installation_asks_nothing(terminal: Terminal, environ: dict[str, str], why: str) -> None:
    terminal.environ = environ
    printed, person = asked(terminal, "y", "y")
    assert_silent(terminal, printed, person)
    assert asked(terminal, argv=("--json",))[0].json()["result"]["why"] == why


@pytest.mark.parametrize("environ", [{}, {"CI": "false"}, {"CI": "0"}, {"CI": ""}, {"DEBIAN_FRONTEND": "dialog"}])
def test_otherwise_a_terminal_is_asked(terminal: Terminal, environ: dict[str, str]) -> None:
    terminal.environ = environ
    assert len(asked(terminal)[1].prompts) == 2


def test_a_do_not_track_signal_asks_nothing(terminal: Terminal) -> None:
    terminal.optouts = signals()
    printed, person = asked(terminal, "y", "y")
    assert_silent(terminal, printed, person)
    assert "do-not-track" in printed.out


def test_do_not_track_in_the_file_asks_nothing_and_the_file_stands(terminal: Terminal) -> None:
    text = before(terminal, usage="true").replace(b"\n[", b"\ndo_not_track = true\n[", 1)
    terminal.paths.consent.write_bytes(text)
    printed, person = asked(terminal, "y", "y", "y")
    assert (printed.status, person.seen, person.prompts) == (0, [], [])
    assert "the answers are unchanged" in printed.out
    assert terminal.paths.consent.read_bytes() == text


@pytest.mark.parametrize("lang", LANGUAGES)
def test_without_a_terminal_one_line_says_how_to_change_it(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    printed = terminal.type("setup")
    assert printed.status == 0
    assert len(printed.out.splitlines()) == 1
    assert all(len(translate("setup.unasked", lang, why=translate(f"silence.{why}", lang))) <= 120 for why in SILENCES)
    assert "opanel-agent consent allow" in printed.out  # typed here, setup would say the same again
    assert translate("silence.no_terminal", lang) in printed.out
    assert not terminal.paths.consent.exists()
    assert terminal.type("consent", "why", "usage_statistics").status == 1


def test_another_user_is_not_asked(terminal: Terminal) -> None:
    terminal.euid = terminal.paths.owner + 1
    printed, person = asked(terminal, "y", "y")
    assert printed.status == 77
    assert person.seen == []


def assert_silent(terminal: Terminal, printed: Printed, person: TypedAt) -> None:
    assert printed.status == 0
    assert len(printed.out.splitlines()) == 1
    assert (person.seen, person.prompts) == ([], [])
    assert "no consent given" in printed.out
    assert not terminal.paths.consent.exists()


# a file that answers


def test_a_preseeded_file_that_names_who_granted_is_taken_byte_for_byte(terminal: Terminal) -> None:
    text = f'schema = 1\nnotice = "{NOTICE}" # fleet\n{GRANTED}[purposes.usage_statistics]\nallow = true\n'
    printed = terminal.type("setup", "--preseed", str(preseed(terminal, text)))
    assert printed.status == 0
    assert terminal.paths.consent.read_text() == text
    assert terminal.paths.consent.stat().st_mode & 0o777 == 0o644
    assert "usage statistics: yes" in printed.out
    assert "crash reports: no" in printed.out


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (f'schema = 1\nnotice = "{NOTICE}"\n[purposes.crash_reports]\nallow = true\n', "preseed_nobody"),
        (f'schema = 1\nnotice = "2020-01-01"\n{GRANTED}[purposes.crash_reports]\nallow = true\n', "preseed_notice"),
        (
            f'schema = 1\nnotice = "{NOTICE}"\n[granted]\nby = "A"\n[purposes.crash_reports]\nallow = true\n',
            "toml_missing",
        ),
        (f'schema = 1\nnotice = "{NOTICE}"\n[purposes.crash_reports]\nallow = "true"\n', "toml_type"),
    ],
)
def test_a_preseeded_file_that_is_not_good_changes_nothing(terminal: Terminal, text: str, detail: str) -> None:
    printed = terminal.type("setup", "--preseed", str(preseed(terminal, text)))
    assert printed.status == 78
    assert f"({detail})" in printed.err
    assert "preseed.toml" in printed.err
    assert not terminal.paths.consent.exists()


def test_a_preseeded_file_that_grants_nothing_needs_no_name(terminal: Terminal) -> None:
    text = 'schema = 1\nnotice = "2020-01-01"\n[purposes.crash_reports]\nallow = false\n'
    assert terminal.type("setup", "--preseed", str(preseed(terminal, text))).status == 0
    assert terminal.paths.consent.read_text() == text


def test_a_preseeded_file_does_not_replace_answers_to_the_same_notice(terminal: Terminal) -> None:
    text = before(terminal)
    file = preseed(terminal, f'schema = 1\nnotice = "{NOTICE}"\n{GRANTED}[purposes.crash_reports]\nallow = true\n')
    printed = terminal.type("setup", "--preseed", str(file), "--json")
    assert printed.status == 0
    assert printed.json()["result"]["kept"]
    assert printed.json()["result"]["answers"] == {"usage_statistics": False, "crash_reports": False}
    assert terminal.paths.consent.read_bytes() == text
    before(terminal, notice="2020-01-01")
    assert terminal.type("setup", "--preseed", str(file)).status == 0
    assert terminal.paths.consent.read_bytes() == file.read_bytes()


def test_a_preseeded_file_that_is_not_there_is_74(terminal: Terminal) -> None:
    assert terminal.type("setup", "--preseed", str(terminal.folder / "absent")).status == 74


def test_the_answers_survive_a_crash_once_they_are_told(tmp_path: Path) -> None:
    for step in range(60):
        files = MemoryFiles(uid=tmp_path.stat().st_uid)
        terminal = Terminal(folder=tmp_path, files=files, teletype=TypedAt(types=["y", "n"], rows=200))
        files.stop_at(step)
        try:
            printed = terminal.type("setup", "--lang", "en").out
        except Stopped:
            printed = ""
        files.crash()
        entry = files.entry(terminal.paths.consent)
        assert entry is not None or not printed
        assert entry is None or parse(entry.data).purposes[USAGE].allow
    assert printed


# the notice


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_notice_names_who_where_and_from_whom(terminal: Terminal, lang: Language) -> None:
    bare = terminal.type("notice", "--lang", lang)
    terminal.lang = lang
    bare = terminal.type("notice")
    assert bare.status == 0
    assert "{" not in bare.out
    terminal.trust()
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer())
        filled = terminal.type("notice").out
    fixed_lines = [line for line in Resources().notice(lang).splitlines() if "{" not in line]
    assert set(fixed_lines) <= set(filled.splitlines())
    assert f"\n  {signing.VENDOR}\n" in filled
    assert "Örnek Hosting" in filled
    assert "Örnek Hosting" not in bare.out
    assert filled.count("https://") > bare.out.count("https://")


def test_the_notice_names_whom_to_write_to(terminal: Terminal) -> None:
    """By the signed root, and for the reseller by the answer, which has it of the signed delegation."""
    by_root = {"name": "Örnek Yazılım A.Ş.", "address": "Örnek Sok. 1, Ankara", "email": "kvkk@vendor.example"}
    by_delegation: dict[str, Any] = {
        "name": "R Ltd.",
        "address": "İzmir",
        "email": "kvkk@r.example",
        "kep": None,
        "url": None,
    }
    terminal.trust(signing.root(controller=by_root, transfers={"eu": "adequacy"}, ip_retention_days=7))
    with fake_daemon(terminal.paths.socket) as daemon:
        seller: dict[str, Any] = {
            "name": "R",
            "email": "a@r.example",
            "phone": None,
            "url": None,
            "controller": by_delegation,
        }
        daemon.says("/v1/answer", answer(reseller=seller))
        filled = terminal.type("notice").out
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(reseller={**seller, "controller": None}))
        unnamed = terminal.type("notice").out
    assert f"\n  Örnek Yazılım A.Ş. ({signing.VENDOR})\n  Örnek Sok. 1, Ankara\n" in filled
    assert "\n  R Ltd. (R)\n  İzmir\n  e-mail: kvkk@r.example\n" in filled
    assert "adequacy decision" in filled
    assert "7 days at most" in filled
    assert "contact: a@r.example" in " ".join(unnamed.split())


def test_the_notice_names_only_servers_of_the_chosen_region(terminal: Terminal) -> None:
    terminal.trust()
    everywhere = terminal.type("notice").out
    settings = terminal.paths.settings.read_text()
    terminal.paths.settings.write_text(settings + 'region = "nowhere"\nmirrors = ["https://own.example/m"]\n')
    nowhere = terminal.type("notice").out
    assert everywhere.count("https://") > 1
    assert [line.strip() for line in nowhere.splitlines() if "https://" in line] == [
        "https://own.example/m (agent.toml: a mirror that you named)"
    ]
    result = terminal.type("notice", "--json").json()["result"]
    assert result["notice"] == NOTICE
    assert result["text"] == nowhere.rstrip("\n")


# what is a yes


@pytest.mark.parametrize(
    ("lang", "word"), [("en", "e"), ("en", "evet"), ("tr", "y"), ("tr", "yes"), ("en", "yy"), ("tr", "e!"), ("en", "j")]
)
def test_a_yes_is_one_of_the_language_that_asked_and_all_else_is_asked_again(
    tmp_path: Path, lang: Language, word: str
) -> None:
    typed = TypedAt(types=[word, word, word, word, "no"], rows=200)
    terminal = Terminal(folder=tmp_path, lang=lang, teletype=typed)
    assert terminal.type("setup", "--lang", lang, "--json").json()["result"]["answers"][USAGE] is False
    assert len(typed.prompts) == 5
    assert typed.text.count(translate("setup.not_understood", lang)) == 4


@pytest.mark.parametrize(("lang", "word"), [("en", "y"), ("en", "YES"), ("tr", "e"), ("tr", "Evet")])
def test_a_yes_in_the_language_that_asked(tmp_path: Path, lang: Language, word: str) -> None:
    terminal = Terminal(folder=tmp_path, lang=lang, teletype=TypedAt(types=[word, ""], rows=200))
    assert terminal.type("setup", "--lang", lang, "--json").json()["result"]["answers"] == {USAGE: True, CRASH: False}
