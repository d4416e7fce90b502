"""The panel's page in every state of license and agent, in both languages, looked at by axe-core in headless Chromium.

Each look leaves a picture in .env/screenshots, for a person to judge.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from fixtures.daemon import wire_server
from fixtures.daemon.fake_daemon import DAY, NOW, FakeDaemon, answer, fake_daemon, license_
from fixtures.web.browser import LOOKS, Browser
from fixtures.web.panel import REFUSAL, in_turn, is_silent
from fixtures.web.panel_page import PanelPage

pytestmark = [pytest.mark.slow, pytest.mark.once]

LANGUAGES: Final = {"en": LOOKS[:2], "tr": LOOKS[2:]}
CONTROLLER: Final = {
    "name": "Örnek Hosting Ltd. Şti.",
    "address": "Örnek Cad. No: 2, 34000 İstanbul",
    "email": "kvkk@hosting.example",
    "kep": None,
    "url": "https://hosting.example/kvkk",
}
RESELLER: Final = {
    "name": "Örnek Hosting",
    "email": "destek@hosting.example",
    "phone": "+90 212 000 00 00",
    "url": "https://hosting.example",
    "controller": CONTROLLER,
}
TERM: Final = {
    "id": "license-1",
    "product": "opanel",
    "tier": "pro",
    "issued": NOW - 200 * DAY,
    "expires": NOW + 165 * DAY,
    "renews_from": NOW + 55 * DAY,
    "offline_until": NOW + 30 * DAY,
}
ASK: Final = {
    "code": "contact_reseller",
    "tr": "Bayinizle (Örnek Hosting) iletişime geçin.",
    "en": "Contact your reseller (Örnek Hosting).",
}
LESS: Final = {"run": True, "change": True, "create": False, "paid_features": False}
PERIOD: Final = {
    "state": "grace",
    "reason": "status_stale",
    "start": NOW - 8 * DAY,
    "end": NOW + 6 * DAY,
    "days_left": 6,
}
# By state: what the license says of it.
LICENSES: Final[dict[str, dict[str, Any]]] = {
    "active": {},
    "grace": {"state": "grace", "reasons": ["status_stale"], "next_action": ASK, "warnings": [PERIOD]},
    "suspended": {"state": "suspended", "reasons": ["suspended"], "next_action": ASK, "permits": LESS},
    "unlicensed": {
        "state": "unlicensed",
        "reasons": ["no_license"],
        "permits": LESS | {"change": False},
        "license": None,
        "reseller": None,
        "features": [],
        "limits": {},
        "tier": None,
    },
}
OPT_OUT: Final = {"what": "DO_NOT_TRACK=1", "place": "/etc/environment", "line": 3}


def purposes(**changes: Any) -> dict[str, Any]:
    """Every purpose as it is where both consents are given, with what a test changes."""
    known = ("license_status", "security_advisories", "license_renewal", "license_activation", "data_rights")
    asked = ("usage_statistics", "crash_reports")
    return {name: {"permitted": True, "reasons": []} for name in (*known, *asked)} | changes


def refused(*reasons: str) -> dict[str, Any]:
    place = {"what": "allow = false", "place": "/etc/opanel-agent/consent.toml", "line": 6}
    return {"permitted": False, "reasons": [{"reason": each} | place for each in reasons]}


def answer_page(daemon: FakeDaemon, consent: dict[str, Any] | None = None, **license_members: Any) -> None:
    """Has the daemon answer the page."""
    members: dict[str, Any] = {"license": TERM, "reseller": RESELLER} | license_members
    consent_answer: dict[str, Any] = {"schema": 1, "purposes": purposes(), "do_not_track": [], "offline": []} | (
        consent or {}
    )
    daemon.says("/v1/license", license_(**members))
    daemon.says("/v1/answer", {**answer(**members), "consent": consent_answer})


@contextmanager
def answering(page: PanelPage, consent: dict[str, Any] | None = None, **license_members: Any) -> Iterator[FakeDaemon]:
    with fake_daemon(page.socket) as daemon:
        answer_page(daemon, consent, **license_members)
        yield daemon


@pytest.fixture(autouse=True)
def as_new(page: PanelPage) -> None:
    """A panel that has asked nothing yet."""
    for each in page.place.glob("license.last*"):
        each.unlink()
    page.configure()


@pytest.fixture(params=sorted(LANGUAGES))
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def look(browser: Browser, page: PanelPage, language: str, name: str) -> str:
    """What the page shows a new visitor, once axe-core has found nothing."""
    browser.visit()
    assert browser.open(page.url(language)) == 200
    assert browser.judge(f"{name}-{language}", LANGUAGES[language]) == []
    assert browser.evaluate("document.documentElement.lang") == language
    return browser.text


@pytest.mark.parametrize("state", LICENSES)
def test_a_state_shows_what_to_do_and_whom_to_call(
    browser: Browser, page: PanelPage, language: str, state: str
) -> None:
    with answering(page, **LICENSES[state]):
        text = look(browser, page, language, state)
    action = LICENSES[state].get(
        "next_action", {"en": "Nothing needs to be done", "tr": "Yapmanız gereken bir şey yok"}
    )
    assert action[language] in text
    links = browser.evaluate("[...document.querySelectorAll('#license ~ dl a')].map((a) => a.href)")
    called = ["tel:+902120000000", "mailto:destek@hosting.example", "https://hosting.example/"]
    assert links == (called if state != "unlicensed" else [])
    assert ("kvkk@hosting.example" in text) == (state != "unlicensed")


CONSENTS: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "not-asked": (
        {"purposes": purposes(usage_statistics=refused("not_asked"), crash_reports=refused("withdrawn"))},
        "No consent",
        "Rıza yok",
    ),
    "do-not-track": (
        {"purposes": purposes(usage_statistics=refused("opt_out")), "do_not_track": [OPT_OUT]},
        "Consent given, not sent",
        "Rıza verildi, gönderilmiyor",
    ),
    "offline": (
        {"purposes": purposes(license_status=refused("offline")), "offline": [OPT_OUT], "outdated": True},
        "no requests are made",
        "hiçbir istek gönderilmiyor",
    ),
}


@pytest.mark.parametrize("name", CONSENTS)
def test_what_may_leave_is_said_in_words(browser: Browser, page: PanelPage, language: str, name: str) -> None:
    consent, english, turkish = CONSENTS[name]
    with answering(page, consent):
        text = look(browser, page, language, name)
    assert {"en": english, "tr": turkish}[language] in text


def silent_socket(page: PanelPage) -> Any:
    return in_turn(page.socket, is_silent)


def busy_socket(page: PanelPage) -> Any:
    return in_turn(page.socket, wire_server.sends(REFUSAL))


def nonsense_socket(page: PanelPage) -> Any:
    return in_turn(page.socket, wire_server.sends(b"nonsense"))


@contextmanager
def closed_socket(page: PanelPage) -> Iterator[None]:
    with answering(page):
        page.socket.chmod(0)
        yield


def new_agent(page: PanelPage) -> Any:
    not_yet = wire_server.answer(
        "503 Service Unavailable", "Content-Type: application/json", body=b'{"code": "not_yet"}'
    )
    return in_turn(page.socket, wire_server.sends(not_yet))


@contextmanager
def no_agent(page: PanelPage) -> Iterator[None]:
    assert not page.socket.exists()
    yield


# By what failed: how, and what the page says of it in both languages.
SILENCES: Final[dict[str, tuple[Callable[[PanelPage], Any], str, str]]] = {
    "stopped": (no_agent, "The license agent is not running.", "Lisans ajanı çalışmıyor."),
    "forbidden": (closed_socket, "usermod -aG opanel", "usermod -aG opanel"),
    "busy": (busy_socket, "too many requests", "çok fazla istek"),
    "hung": (silent_socket, "was connected to and does not answer", "bağlanıldı ama yanıt gelmedi"),
    "not-ready": (new_agent, "has just started", "yeni başladı"),
    "invalid": (nonsense_socket, "gave no valid answer", "geçerli bir yanıt alınamadı"),
}


@pytest.mark.parametrize("name", SILENCES)
def test_an_agent_that_gives_no_answer_is_said_with_its_cure(
    browser: Browser, page: PanelPage, language: str, name: str
) -> None:
    failing, english, turkish = SILENCES[name]
    page.configure(timeoutS=1)  # the busy and the hung are waited for to the end
    with failing(page):
        text = look(browser, page, language, f"agent-{name}")
    assert {"en": english, "tr": turkish}[language] in text
    assert "opanel-agent consent deny --all" in text, "a consent can be withdrawn all the same"
    assert browser.evaluate("document.querySelectorAll('[role=alert]').length") == 1


def test_a_stopped_agent_s_last_answer_is_shown_as_such(browser: Browser, page: PanelPage, language: str) -> None:
    with answering(page, **LICENSES["suspended"]):
        browser.visit()
        browser.open(page.url(language))
    text = look(browser, page, language, "agent-stopped-after-an-answer")
    known = {"en": ("last answer, of 2026-11-24", "suspended"), "tr": ("24.11.2026", "askıya alındı")}
    assert all(each in text for each in known[language])


def test_only_the_administrator_sees_anything(browser: Browser, page: PanelPage, language: str) -> None:
    page.configure(administrator=False)
    with answering(page) as daemon:
        browser.visit()
        assert browser.open(page.url(language)) == 403
        found = browser.judge(f"denied-{language}", LANGUAGES[language])
        assert [each for each in found if "403" not in each] == []
        assert browser.evaluate("document.querySelectorAll('form, section').length") == 0
    assert daemon.asked == []


HOSTILE: Final = """"'><script>document.title='taken'</script><img src=x onerror=alert(1)><a href=javascript:x>&amp;"""


def poisoned(value: Any) -> Any:
    """The same value with every text in it hostile, and the names of limits and purposes too."""
    if isinstance(value, dict):
        return {key: poisoned(each) for key, each in value.items()} | {
            HOSTILE: poisoned(value.get("usage_statistics", 5))
        }
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return HOSTILE if isinstance(value, str) else value


def test_nothing_that_the_agent_says_becomes_markup(browser: Browser, page: PanelPage) -> None:
    """Whatever a document carried: every text of the answers is hostile, and stays text."""
    consent = {"purposes": purposes(usage_statistics=refused("opt_out")), "do_not_track": [OPT_OUT]}
    with fake_daemon(page.socket) as daemon:
        members: dict[str, Any] = {"license": TERM, "reseller": RESELLER, "next_action": ASK, "warnings": [PERIOD]}
        daemon.says("/v1/license", poisoned(license_(**members)))
        daemon.says("/v1/answer", poisoned(answer(**members) | {"consent": consent}))
        browser.visit()
        assert browser.open(page.url("en")) == 200
        assert browser.judge("hostile", LOOKS[:2]) == []
    counted = browser.evaluate("['script', 'img', 'iframe'].map((name) => document.querySelectorAll(name).length)")
    assert (counted, browser.evaluate("document.title")) == ([0, 0, 0], "License and privacy")
    assert (
        browser.evaluate("[...document.querySelectorAll('a')].filter((a) => a.protocol === 'javascript:').length") == 0
    )
    assert browser.text.count("<script>document.title='taken'</script>") > 10
