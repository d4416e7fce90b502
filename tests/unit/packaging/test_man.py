"""The manual pages: written from one source, naming everything that the code has, clean for both of their readers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.purposes import CONSENT_BASED, POLICIES, shown_paths
from opanel_agent.core.units import LANGUAGES
from opanel_agent.system.journal import MESSAGE_IDS
from opanel_agent.system.storage.resources import installed_notice

sys.path.insert(0, str(Path(__file__).parents[3] / "packaging"))
from generators import man  # found by that folder

ROOT: Final = Path(__file__).resolve().parents[3]
PAGES: Final = ROOT / man.PAGES
WRITTEN: Final = sorted(path for path in PAGES.rglob("*") if path.is_file())


def name(path: Path) -> str:
    return str(path.relative_to(PAGES))


def page(body: str) -> str:
    return man.page(f"# opanel-agent(1) 2026-01-01\n\n{body}\n", "en").split("\n", 2)[2]


def test_there_are_three_in_each_language_and_nothing_else() -> None:
    places = {"en": "", "tr": "tr/"}
    assert {name(path) for path in WRITTEN} == {
        f"{places[lang]}man{n}/opanel-agent.{n}" for lang in LANGUAGES for n in (1, 5, 8)
    }


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_mandoc_has_no_objection(path: Path) -> None:
    mandoc = shutil.which("mandoc")
    if mandoc is None:
        pytest.skip("mandoc is not installed (apt install mandoc)")
    ran = subprocess.run([mandoc, "-T", "lint", path], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.parametrize("path", WRITTEN, ids=name)
def test_groff_has_no_warning(path: Path) -> None:
    reader = shutil.which("man")
    if reader is None or shutil.which("groff") is None:
        pytest.skip("man is not installed (apt install man-db)")
    ran = subprocess.run(
        [reader, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "opanel" in ran.stdout


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_command_and_every_option_stands_in_section_1(lang: Any) -> None:
    text = "\n".join(man.commands(lang)).replace("\\-", "-")
    plain = re.sub(r"\\f[BIR]", "", text)
    for command in COMMANDS:
        usage = next(line for line in plain.split("\n") if f"{line} ".startswith(" ".join(command.words) + " "))
        assert all(option in usage for option in command.flags | command.valued), usage


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_purpose_stands_with_its_requests(lang: Any) -> None:
    text = " ".join(man.purposes(lang)).replace("\\-", "-")
    for purpose in POLICIES:
        assert f"\\fB{purpose}\\fR" in text
        assert all(path in text for path in shown_paths(purpose))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_event_of_the_journal_stands_with_its_id(lang: Any) -> None:
    text = "\n".join(man.messages(lang))
    for event, message_id in MESSAGE_IDS.items():
        assert f".TP\n\\fB{event}\\fR\n{message_id}\n.br\n" in text
    assert "{" not in text
    assert ("Lisans" in text) == (lang == "tr")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_example_of_a_consent_file_is_one(lang: str) -> None:
    prose = (man.PROSE / lang / "opanel-agent.5.md").read_text("utf-8")
    example = re.search(r"```\n(schema = 1.*?)```", prose, re.DOTALL)
    assert example is not None
    consent = consent_file.parse(example[1].encode())
    assert (consent.notice, consent.do_not_track) == (installed_notice(), False)
    assert {purpose: choice.allow for purpose, choice in consent.purposes.items()} == dict.fromkeys(
        CONSENT_BASED, False
    )


def test_both_languages_say_the_same_parts() -> None:
    def shape(lang: str, section: int) -> list[str]:
        """What needs no translation: headings, lists with their terms, code."""
        prose = (man.PROSE / lang / f"opanel-agent.{section}.md").read_text("utf-8")
        found = re.findall(r"^(## |<!-- every \w+ -->|\{\w+\}|- (?:`[^`]+`(?:, )?)+|```)", prose, re.MULTILINE)
        return [prose.partition("\n")[0], *found]

    for section in (1, 5, 8):
        assert shape("en", section) == shape("tr", section)


@pytest.mark.parametrize("every", sorted(man.EVERY))
def test_a_list_that_forgets_something_or_invents_it_is_refused(every: str) -> None:
    names = sorted(man.EVERY[every]())
    lines = [f"<!-- every {every} -->", *(f"- `{each}`: told." for each in names)]
    assert page("\n".join(lines)).count(".TP") == len(names)
    with pytest.raises(ValueError, match=re.escape(names[-1])):
        page("\n".join(lines[:-1]))
    with pytest.raises(ValueError, match="invented"):
        page("\n".join([*lines, "- `invented`: told."]))


@pytest.mark.parametrize(
    "body", ["- no term at all", "- `unfinished: text", "<!-- every exit -->\n- `0`", "<!-- every thing -->\n- `a`: b"]
)
def test_a_list_that_is_none_is_refused(body: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        page(body)
    with pytest.raises(ValueError, match="no title"):
        man.page("# opanel-agent\n", "en")


@pytest.mark.parametrize(
    ("markdown", "roff"),
    [
        ("## A part\n\nText.", ".SH A part\nText."),
        ("One.\n\nTwo.", ".PP\nOne.\n.PP\nTwo."),
        ("Run `a --b` or *WORD*.", ".PP\nRun \\fBa \\-\\-b\\fR or \\fIWORD\\fR."),
        ("See opanel-agent(5) and --help.", ".PP\nSee \\fBopanel\\-agent\\fR(5) and \\fB\\-\\-help\\fR."),
        ("`.hidden` and \\ and 'x'.", ".PP\n\\fB.hidden\\fR and \\e and 'x'."),
        (".control", ".PP\n\\&.control"),
        ("'control", ".PP\n\\&'control"),
        ("```\na -b\n\n.c\n```", ".PP\n.RS 4\n.EX\na \\-b\n\n\\&.c\n.EE\n.RE"),
        ("- `a`, `b`: text.", ".TP\n\\fBa\\fR, \\fBb\\fR\ntext."),
        ("## NAME\n\nopanel-agent - what it is", ".SH NAME\nopanel\\-agent \\- what it is"),
        ("A sentence. Another one.", ".PP\nA sentence.\nAnother one."),
    ],
)
def test_markdown_becomes_roff(markdown: str, roff: str) -> None:
    assert page(markdown) == f"{roff}\n"


def test_no_line_is_longer_than_mandoc_likes() -> None:
    long = page("ışık " * 60)
    assert len(long.splitlines()) > 10
    assert all(sum(1 if letter.isascii() else 8 for letter in line) <= 79 for line in long.splitlines())
