"""The auditor's page of half a year, opened from its file in headless Chromium: axe-core finds nothing in it."""

from pathlib import Path
from typing import Final

import pytest

from fixtures.command_line import Terminal
from fixtures.simulated.audited_agent import audited_export
from fixtures.web.browser import LOOKS, Browser
from opanel_agent.core.units import Language

pytestmark = [pytest.mark.slow, pytest.mark.once]

LOOKED_AT: Final[tuple[tuple[Language, tuple[tuple[int, bool], ...]], ...]] = (("en", LOOKS[:2]), ("tr", LOOKS[2:]))


@pytest.fixture(params=LOOKED_AT, ids=["en", "tr"])
def opened(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Browser:
    language, looks = request.param
    terminal = Terminal(folder=tmp_path, lang=language, at_rest=audited_export())
    terminal.trust()
    file = tmp_path / "page.html"
    assert terminal.type("data", "export", "--html", str(file)).status == 0
    browser.visit()
    browser.open(file.as_uri())
    assert browser.judge(f"audit-{language}", looks) == []
    return browser


def test_it_is_read_by_everyone_closed_and_open(opened: Browser) -> None:
    assert opened.evaluate("document.querySelectorAll('details[open]').length") == 0
    opened.evaluate("document.querySelectorAll('section:not(:last-child) details').forEach((each) => each.open = true)")
    language = opened.evaluate("document.documentElement.lang")
    assert opened.judge(f"audit-open-{language}", LOOKS[1:2]) == []


def test_the_keyboard_opens_an_entry_and_shows_its_bytes(opened: Browser) -> None:
    for _ in range(2):  # the picture, which can be scrolled; then the first entry
        opened.press("Tab")
    assert opened.evaluate("document.activeElement.tagName") == "SUMMARY"
    opened.press("Enter")
    shown = opened.evaluate("document.activeElement.parentElement.querySelector('pre').innerText")
    assert '"kind":"NoticeShown"' in shown
