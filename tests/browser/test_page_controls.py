"""Every control of the panel's page, clicked in headless Chromium against a living agent: what it says is what happens."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.daemon.live_agent import Home, live_agent
from fixtures.web.browser import LOOKS, Browser
from fixtures.web.panel_page import PanelPage, helper_of, served

pytestmark = [pytest.mark.slow, pytest.mark.once]

USAGE: Final = "(Usage statistics)"
CRASHES: Final = "(Crash reports)"
WHAT: Final = "what it describes as: Usage statistics."
# The accessible names of all that can be clicked or reached by the keyboard, in the page's order.
CONTROLS: Final = [
    "Türkçe",
    "English",
    "destek@ornek.example",
    f"Withdraw consent {USAGE}",
    f"Show the exact bytes {USAGE}",
    f"Withdraw consent {CRASHES}",
    "Check now and show the bytes",
    "Turn do not track on",
    "Show what was sent",
    "Read the notice",
]
NAMES: Final = """[...document.querySelectorAll('a, button, input:not([type=hidden]), [tabindex="0"]')]
    .map((each) => each.innerText.replace(/\\s+/g, ' ').trim())"""
FOCUSED: Final = "document.activeElement.innerText.replace(/\\s+/g, ' ').trim()"
OUTLINE: Final = "getComputedStyle(document.activeElement).outlineStyle"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with live_agent() as made, made.daemon():
        assert made.type("license", "install", made.file("bundle.jws", made.issued.text.encode())).status == 0
        made.type("license", "activate")  # which the server does not know: it leaves, and is not accepted
        yield made


@pytest.fixture(scope="module")
def page(home: Home) -> Iterator[PanelPage]:
    with tempfile.TemporaryDirectory(prefix="page-") as place, served(Path(place)) as running:
        running.configure(socket=str(home.run / "agent.sock"), helper=helper_of(home, Path(place)))
        yield running


@pytest.fixture
def opened(browser: Browser, page: PanelPage, home: Home) -> Browser:
    """The page with both consents given."""
    assert home.type("consent", "allow", "usage_statistics", "crash_reports").status == 0
    home.type("dnt", "off")
    browser.visit()
    assert browser.open(page.url("en")) == 200
    return browser


def permitted(home: Home, purpose: str) -> bool:
    return home.type("consent", "why", purpose).status == 0


def entries(home: Home, kind: str) -> list[Any]:
    """The ledger's entries of that kind."""
    every = home.type("consent", "history", "--json").json["result"]["entries"]
    return [each for each in every if each["kind"] == kind]


def outcome(browser: Browser) -> str:
    """What the page says of the button before: it has the focus, and is the page's title."""
    sentence = str(browser.evaluate("document.activeElement.querySelector('strong').innerText"))
    assert browser.evaluate("document.title").startswith(sentence)
    return sentence


def test_there_is_no_control_that_is_not_clicked_here(opened: Browser) -> None:
    assert opened.evaluate(NAMES) == CONTROLS


@pytest.mark.parametrize("purpose", ["usage_statistics", "crash_reports"])
def test_one_click_withdraws_and_it_is_recorded(opened: Browser, page: PanelPage, home: Home, purpose: str) -> None:
    known = entries(home, "ConsentWithdrawn")
    opened.click("button", f"Withdraw consent {USAGE if purpose == 'usage_statistics' else CRASHES}")
    assert "consent withdrawn" in outcome(opened)
    assert opened.judge(f"withdrawn-{purpose}", LOOKS[:2]) == []
    assert not permitted(home, purpose)
    assert "withdrawn in the panel on" in home.type("consent", "why", purpose).out
    new = [each for each in entries(home, "ConsentWithdrawn") if each not in known]
    assert [each["purpose"] for each in new] == [purpose]
    opened.open(page.url("en"))
    assert "consent withdrawn" not in opened.text, "said once"


def test_a_withdrawal_purges_what_waited(opened: Browser, home: Home) -> None:
    assert home.type("data", "preview", "usage_statistics").status == 0
    assert home.type("data", "held", "--json").json["result"]["held"] != []
    opened.click("button", f"Withdraw consent {USAGE}")
    assert home.type("data", "held", "--json").json["result"]["held"] == []


def test_consent_is_given_below_the_notice_by_a_box_that_is_ticked(opened: Browser, home: Home) -> None:
    opened.click("button", f"Withdraw consent {USAGE}")
    opened.click("link", f"Give consent… {USAGE}")
    assert "Privacy notice · opanel-agent · version" in opened.text
    assert opened.judge("allow", LOOKS) == []
    opened.click("button", "Give consent", leads=False)  # without the box
    assert opened.evaluate("document.querySelector('form').checkValidity()") is False
    assert not permitted(home, "usage_statistics")
    opened.click("checkbox", f"I have read the notice, and I consent to {WHAT}", leads=False)
    opened.click("button", "Give consent")
    assert outcome(opened) == "Usage statistics: consent given."
    assert permitted(home, "usage_statistics")


def test_the_exact_bytes_of_the_next_report_are_one_click_away(opened: Browser, home: Home) -> None:
    opened.click("button", f"Show the exact bytes {USAGE}")
    assert "Nothing was sent by showing it" in outcome(opened)
    assert opened.judge("bytes", LOOKS[:2]) == []
    shown = opened.evaluate("document.querySelector('.banner pre').textContent")
    report = home.type("data", "preview", "usage_statistics", "--json").json["result"]
    assert shown == (report["head"] + report["body"]).replace("\r\n", "\n")


def test_a_check_shows_the_requests_as_they_left(opened: Browser, home: Home) -> None:
    before = len(home.rude.heard)
    opened.click("button", "Check now and show the bytes")
    assert outcome(opened).startswith("Checked.")
    assert opened.judge("checked", LOOKS[:2]) == []
    shown = opened.evaluate("[...document.querySelectorAll('.banner pre')].map((each) => each.textContent)")
    assert [each.split(" HTTP")[0] for each in shown] == home.rude.heard[before:]
    assert "GET /v1/status.jwt" in home.rude.heard[before:]


def test_do_not_track_is_turned_on_and_off(opened: Browser, home: Home) -> None:
    opened.click("button", "Turn do not track on")
    assert outcome(opened).startswith("Do not track is on.")
    assert opened.judge("do-not-track-on", LOOKS[:2]) == []
    assert not permitted(home, "usage_statistics")
    assert home.type("dnt", "explain", "--json").json["result"]["do_not_track"] != []
    opened.click("button", "Turn do not track off")
    assert outcome(opened) == "Do not track is off."
    assert home.type("dnt", "explain", "--json").json["result"]["do_not_track"] == []


def test_what_left_is_listed_and_the_notice_is_rendered(opened: Browser, home: Home) -> None:
    opened.click("link", "Show what was sent")
    assert "sent, not accepted (404)" in opened.text
    (sent,) = home.type("data", "sent", "--json").json["result"]["sent"]
    assert f"opanel-agent data sent {sent['id']}" in opened.text
    assert opened.judge("sent", LOOKS) == []
    opened.click("link", "Back to license and privacy")
    opened.click("link", "Read the notice")
    assert opened.judge("notice", LOOKS) == []
    assert "**" not in opened.text
    opened.click("link", "Türkçe")
    assert "Veri sorumluları" in opened.text
    assert opened.judge("notice-tr", LOOKS[:2]) == []
    opened.click("link", "Lisans ve gizlilik sayfasına dön")
    opened.click("link", "English")
    assert opened.evaluate(NAMES) == CONTROLS


def test_a_panel_without_the_helper_shows_the_commands_of_root(opened: Browser, page: PanelPage, home: Home) -> None:
    opened.click("button", f"Withdraw consent {USAGE}")
    kept = json.loads((page.place / "panel.json").read_text())
    page.configure(**{**kept, "helper": None})
    try:
        opened.open(page.url("en"))
        assert opened.judge("without-helper", LOOKS[:2]) == []
        text = opened.text
    finally:
        page.configure(**kept)
    for command in ("consent allow usage_statistics", "data preview usage_statistics", "data sent", "notice"):
        assert f"opanel-agent {command}" in text
    assert "Give consent…" not in text


def test_an_agent_that_stops_confirms_nothing(opened: Browser, page: PanelPage, home: Home) -> None:
    kept = json.loads((page.place / "panel.json").read_text())
    page.configure(**{**kept, "socket": str(page.place / "nobody.sock")})
    try:
        opened.click("button", f"Withdraw consent {USAGE}")
        assert outcome(opened).endswith("opanel-agent consent deny --all")
        assert opened.judge("not-confirmed", LOOKS[:2]) == []
    finally:
        page.configure(**kept)
    assert permitted(home, "usage_statistics")


def test_the_keyboard_reaches_every_control_in_order_and_shows_where_it_is(opened: Browser, home: Home) -> None:
    reached = []
    for _ in CONTROLS:
        opened.press("Tab")
        reached.append(opened.evaluate(FOCUSED))
        assert opened.evaluate(OUTLINE) == "solid", reached[-1]
    assert reached == CONTROLS
    for _ in range(len(CONTROLS) - 1 - CONTROLS.index(f"Withdraw consent {USAGE}")):
        opened.press("Shift+Tab")
    assert opened.evaluate(FOCUSED) == f"Withdraw consent {USAGE}"
    opened.press("Enter", leads=True)
    assert "consent withdrawn" in outcome(opened)
    assert not permitted(home, "usage_statistics")
