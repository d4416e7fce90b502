"""The marks of a notice: shown on a terminal as what they mean, kept where the text goes to a file, never both."""

import io
import re
from pathlib import Path

import pytest

from fixtures.command_line import Terminal
from opanel_agent.cli.display.markup import marked, rendered
from opanel_agent.cli.display.output import Console
from opanel_agent.cli.main import run
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.system.storage.resources import Resources

STRONG, EMPHASIS, END = "\x1b[1m", "\x1b[4m", "\x1b[0m"


@pytest.mark.parametrize(
    ("line", "styled", "plain"),
    [
        ("plain - line", "plain - line", "plain - line"),
        ("# Title", f"{STRONG}Title{END}", "Title"),
        ("a **b** c", f"a {STRONG}b{END} c", "a b c"),
        ("*a*: `b = true`", f"{EMPHASIS}a{END}: b = true", "a: b = true"),
        ("**a *b* c**", f"{STRONG}a {EMPHASIS}b{END}{STRONG} c{END}", "a b c"),
        ("**not closed", f"{STRONG}not closed{END}", "not closed"),
    ],
)
def test_a_mark_is_shown_as_what_it_means(line: str, styled: str, plain: str) -> None:
    assert rendered(line, styles=True) == styled
    assert rendered(line, styles=False) == plain


def test_what_is_open_goes_on_in_the_next_line_and_ends_with_the_paragraph() -> None:
    lines = [*marked(["see **the", "address**; *no", "", "more"])]
    assert [rendered(line, line.opened, styles=True) for line in lines] == [
        f"see {STRONG}the{END}",
        f"{STRONG}address{END}; {EMPHASIS}no{END}",
        "",
        "more",
    ]


def shown(folder: Path, lang: Language, *, terminal: bool, colours: bool) -> str:
    out = io.StringIO()
    console = Console(out=out, err=io.StringIO(), terminal=terminal, colours=colours)
    assert run(["notice"], Terminal(folder=folder, lang=lang).world(console)) == 0
    return out.getvalue()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_terminal_sees_no_mark_of_a_notice_and_a_file_every_one(tmp_path: Path, lang: Language) -> None:
    styled = shown(tmp_path, lang, terminal=True, colours=True)
    plain = shown(tmp_path, lang, terminal=True, colours=False)
    written = shown(tmp_path, lang, terminal=False, colours=False)
    assert not re.search("[*`]|^#", styled + plain, re.MULTILINE)
    assert re.sub("\x1b\\[[0-9]m", "", styled) == plain
    assert written.count("**") == Resources().notice(lang).count("**")
    assert all(line.count("\x1b") % 2 == 0 or END in line for line in styled.splitlines())


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_overwrites_itself_on_a_terminal_and_is_nowhere_else() -> None:
    screen, log = Screen(), io.StringIO()
    for err in (screen, log):
        console = Console(out=None, err=err)
        console.progress("1 of 3")
        console.progress("\x1b[2J")
        console.progress("")
    assert log.getvalue() == ""
    first, second, third = screen.getvalue().split("\r")[1:4]
    assert (first.rstrip(), third.strip()) == ("1 of 3", "")
    assert "\x1b" not in second
    assert {len(first), len(second), len(third)} == {79}
