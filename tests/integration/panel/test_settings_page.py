"""The panel's page as a client sees it that is no browser: what it refuses, and its root helper, word by word."""

import http.client
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from fixtures.daemon.fake_daemon import NOW, FakeDaemon, answer, fake_daemon, license_
from fixtures.web.panel import PHP_LIBRARY
from fixtures.web.panel_page import HELPER, PAGE, PanelPage, served
from opanel_agent.core.codes import Reason
from opanel_agent.core.license.states import State

SUDOERS: Final = HELPER.with_name("opanel-privacy.sudoers").read_text("utf-8")
WORDS: Final = {
    "notice tr": "notice --lang tr --json",
    "notice en": "notice --lang en --json",
    "sent": "data sent --json",
    "preview usage_statistics": "data preview usage_statistics --json",
    "allow usage_statistics": "consent allow usage_statistics --json",
    "allow crash_reports": "consent allow crash_reports --json",
    "dnt off": "dnt off --json",
}


@pytest.fixture(scope="module")
def page() -> Iterator[PanelPage]:
    with tempfile.TemporaryDirectory(prefix="page-") as place, served(Path(place)) as running:
        yield running


@pytest.fixture
def daemon(page: PanelPage) -> Iterator[FakeDaemon]:
    page.configure()
    with fake_daemon(page.socket) as running:
        running.says("/v1/license", license_())
        running.says("/v1/answer", answer())
        running.done("/v1/withdraw", {"withdrawn": "usage_statistics", "at": NOW})
        yield running


class Client:
    """A client with the cookie and the token that the page gave it."""

    def __init__(self, page: PanelPage) -> None:
        self.address = page.origin.removeprefix("http://")
        self.headers = {"Origin": page.origin}
        status, headers, body = self.ask("GET", "/?lang=en")
        assert status == 200
        self.policy = headers
        self.headers["Cookie"] = headers["set-cookie"].partition(";")[0]
        self.token = re.search(r'name="token" value="([0-9a-f]{64})"', body)[1]  # type: ignore[index]

    def ask(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self.address, timeout=20)
        form = {"Content-Type": "application/x-www-form-urlencoded"} if fields else {}
        try:
            connection.request(method, path, urlencode(fields or {}), self.headers | form)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read().decode()
        finally:
            connection.close()

    def post(self, **fields: str) -> int:
        return self.ask("POST", "/?lang=en", {"token": self.token, "action": "withdraw-usage_statistics", **fields})[0]


def test_a_button_counts_with_the_token_and_from_the_panel_s_own_origin(page: PanelPage, daemon: FakeDaemon) -> None:
    client = Client(page)
    assert client.post() == 303
    assert daemon.posts() == [("/v1/withdraw", b'{"purpose":"usage_statistics"}')]


@pytest.mark.parametrize("origin", [None, "null", "https://elsewhere.example", "http://127.0.0.1"])
def test_no_other_origin_s_request_does_anything(page: PanelPage, daemon: FakeDaemon, origin: str | None) -> None:
    client = Client(page)
    client.headers = {"Cookie": client.headers["Cookie"], **({"Origin": origin} if origin else {})}
    assert client.post() == 403
    assert daemon.posts() == []


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_no_other_token_does_anything(page: PanelPage, daemon: FakeDaemon, token: str) -> None:
    client = Client(page)
    assert client.post(token=token) == 403
    other = Client(page)
    assert client.post(token=other.token) == 403, "a token is its session's"
    del client.headers["Cookie"]
    assert client.post() == 403
    assert daemon.posts() == []


def test_who_is_no_administrator_can_click_nothing(page: PanelPage, daemon: FakeDaemon) -> None:
    client = Client(page)
    page.configure(administrator=False)
    assert client.post() == 403
    assert daemon.posts() == []


@pytest.mark.parametrize("action", ["", "withdraw", "respond", "withdraw-data_rights", "__construct", "allow-"])
def test_only_the_buttons_actions_exist(page: PanelPage, daemon: FakeDaemon, action: str) -> None:
    assert Client(page).post(action=action) == 303
    assert daemon.posts() == []


def test_the_page_is_kept_framed_and_scripted_by_nobody(page: PanelPage, daemon: FakeDaemon) -> None:
    headers = Client(page).policy
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    )
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert {"HttpOnly", "SameSite=Strict"} <= {each.strip() for each in headers["set-cookie"].split(";")}


@pytest.mark.parametrize(
    ("distance_s", "shown"),
    [
        (364 * 86400 + 80000, "in 365 days"),
        (5 * 3600 + 1800, "in 6 hours"),
        (20 * 60 + 30, "in 21 minutes"),
        (-(5 * 3600 + 1800), "5 hours ago"),
        (-(3 * 86400 + 80000), "3 days ago"),
    ],
)
def test_what_is_ahead_is_rounded_up_as_the_command_line_does(
    page: PanelPage, daemon: FakeDaemon, distance_s: int, shown: str
) -> None:
    daemon.says("/v1/license", license_(license={"expires": int(time.time()) + distance_s}))
    _, _, body = Client(page).ask("GET", "/?lang=en")
    assert f"({shown})" in body


def test_a_check_that_comes_too_soon_is_said(page: PanelPage, daemon: FakeDaemon) -> None:
    daemon.says("/v1/refresh", {"type": "urn:opanel:problem:refresh_too_soon", "code": "rate_limited"}, status=429)
    client = Client(page)
    assert client.post(action="check") == 303
    assert "A check can be made once a minute." in client.ask("GET", "/?lang=en")[2]


# the root helper


def helper(folder: Path, *words: str) -> tuple[int, str]:
    """Its exit status, and what it would have opanel-agent do."""
    agent = folder / "agent"
    agent.write_text('#!/bin/sh\necho "$*"; env | grep -c "^HOSTILE="\nexit 0\n')
    copy = folder / "helper"
    copy.write_text(HELPER.read_text("utf-8").replace("/usr/local/bin/opanel-agent", str(agent)), "utf-8")
    agent.chmod(0o755)
    hostile = {**os.environ, "HOSTILE": "1"}
    done = subprocess.run(
        ["/bin/sh", copy, *words], env=hostile, capture_output=True, text=True, check=False, timeout=20
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("words", WORDS)
def test_the_helper_runs_the_command_of_its_words_without_the_caller_s_environment(tmp_path: Path, words: str) -> None:
    assert helper(tmp_path, *words.split()) == (0, f"{WORDS[words]}\n0\n")


def test_the_helper_runs_nothing_else(tmp_path: Path) -> None:
    known = sorted({word for words in WORDS for word in words.split()})
    pairs = [pair for pair in itertools.product(known, repeat=2) if " ".join(pair) not in WORDS]
    singles = [(word,) for word in (*known, "") if word not in WORDS]
    odd = [
        (),
        ("sent", ""),
        ("sent", "1"),
        ("notice tr",),
        ("notice,tr",),
        ("", "notice,tr"),
        ("notice", "tr", ""),
        ("allow", "usage_statistics", "--all"),
        ("allow", "usage_statistics;id"),
        ("allow", "*"),
        ("--help",),
    ]
    for words in [*pairs, *singles, *odd]:
        assert helper(tmp_path, *words) == (64, ""), words


def test_sudo_permits_exactly_the_helper_s_words_and_no_pattern() -> None:
    rules = re.sub(r"^#.*\n", "", SUDOERS, flags=re.MULTILINE)
    assert sorted(re.findall(r"/usr/local/sbin/opanel-privacy ([a-z_ ]+?)(?:,|\n|$)", rules)) == sorted(WORDS)
    assert not set(rules) & set("*?[]!^")
    assert rules.count("/usr/local/sbin/opanel-privacy") == len(WORDS)
    visudo = shutil.which("visudo")
    if visudo is None:
        pytest.skip("visudo is not installed (.ci/run installs sudo): sudo did not read the file")
    done = subprocess.run([visudo, "-cf", "-"], input=SUDOERS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# its source


def test_it_is_written_as_psr_12_asks() -> None:
    phpcs = shutil.which("phpcs")
    if phpcs is None:
        pytest.skip("phpcs is not installed (.ci/run does): the page's style was not checked")
    done = subprocess.run(
        [phpcs, "--standard=PSR12", "--warning-severity=0", str(PAGE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def texts() -> dict[str, dict[str, str]]:
    php = shutil.which("php")
    if php is None:
        pytest.skip("php is not installed: the page's sentences were not read")
    code = "echo json_encode(require $argv[1]);"
    read: dict[str, dict[str, str]] = json.loads(subprocess.check_output([php, "-r", code, str(PAGE / "texts.php")]))
    return read


def test_both_languages_have_the_same_sentences_with_the_same_values() -> None:
    found = texts()
    assert {name: each.count("%") for name, each in found["tr"].items() if each.count("%")} == {
        name: each.count("%") for name, each in found["en"].items() if each.count("%")
    }
    assert list(found["tr"]) == list(found["en"])


def test_every_state_and_every_reason_has_its_words() -> None:
    """Those of the agent's own screens, which packaging/generate writes into the page's words.php."""
    words = (PAGE / "words.php").read_text("utf-8")
    for code in (*(f"state.{each}" for each in State), *(f"reason.{each}" for each in Reason)):
        assert words.count(f"'{code}' => ") == 2, code


def test_the_page_embeds_nothing_from_elsewhere() -> None:
    for name in ("style.css", *(path.name for path in PAGE.glob("*.php"))):
        assert not re.search(r"url\(|@import|src=|<script", (PAGE / name).read_text("utf-8")), name


# what the library gives the page


def asked(page: PanelPage, method: str) -> Any:
    php = shutil.which("php")
    assert php is not None
    code = "require $argv[1]; echo json_encode((new OPanel\\Agent\\LicenseClient('', $argv[2], 5))->{$argv[3]}());"
    command = [php, "-d", "display_errors=stderr", "-r", code, str(PHP_LIBRARY), str(page.socket), method]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_library_gives_the_answer_or_why_there_is_none(page: PanelPage, daemon: FakeDaemon) -> None:
    assert asked(page, "answer") == [answer(), None]
    daemon.replies.clear()
    daemon.says("/v1/answer", {"schema": 1, "consent": []})
    assert asked(page, "answer") == [None, "invalid_answer"]


def test_the_library_gives_the_requests_of_a_check(page: PanelPage, daemon: FakeDaemon) -> None:
    one, two = ({"url": f"https://mirror.example/{name}", "ok": True, "head": "GET"} for name in "ab")
    daemon.done("/v1/refresh", {"asked": [one], "advisories": two})
    assert asked(page, "refresh") == [[one, two], None]
    daemon.replies.clear()
    daemon.done("/v1/refresh", {"asked": [one], "advisories": None})
    assert asked(page, "refresh") == [[one], None]
    daemon.replies.clear()
    daemon.failed("/v1/refresh", {"kind": "NotPermitted"})
    assert asked(page, "refresh") == [None, "invalid_answer"]


# sudo itself

UID: Final = "64999"
AS_THE_PANEL: Final = """
cd "$1"
mount --bind passwd /etc/passwd
mount --bind sudoers.d /etc/sudoers.d
mount --bind sbin /usr/local/sbin
mount --bind bin /usr/local/bin
uid=$2
shift 2
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups sudo -n /usr/local/sbin/opanel-privacy "$@"
"""


@pytest.fixture
def as_root_installs_it(tmp_path: Path) -> Path:
    """The files of a system on which root has installed the helper; mounted over this one's where nobody else sees it."""
    for name in ("sudoers.d", "sbin", "bin"):
        (tmp_path / name).mkdir()
    users = f"opanel-panel:*:{UID}:{UID}::/:/bin/sh\nother:*:64998:64998::/:/bin/sh\n"
    (tmp_path / "passwd").write_text(Path("/etc/passwd").read_text() + users)
    for source, target, mode in (
        (HELPER, "sbin/opanel-privacy", 0o755),
        (HELPER.with_name("opanel-privacy.sudoers"), "sudoers.d/opanel-privacy", 0o440),
    ):
        shutil.copyfile(source, tmp_path / target)
        (tmp_path / target).chmod(mode)
    agent = tmp_path / "bin" / "opanel-agent"
    agent.write_text('#!/bin/sh\necho "$(id -u) $*"\n')
    agent.chmod(0o755)
    return tmp_path


def through_sudo(folder: Path, uid: str, *words: str) -> tuple[int, str]:
    for program in ("unshare", "setpriv", "sudo"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (.ci/run does): sudo was not asked")
    command = ["/usr/bin/env", "unshare", "--mount", "bash", "-euc", AS_THE_PANEL, "bash", str(folder), uid, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "mount:" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.root
def test_sudo_runs_the_panel_s_words_as_root_and_refuses_all_else(as_root_installs_it: Path) -> None:
    for words, command in WORDS.items():
        assert through_sudo(as_root_installs_it, UID, *words.split()) == (0, f"0 {command}\n"), words
    for refused in ((), ("sent", "x"), ("allow", "license_renewal"), ("notice", "tr", "en")):
        status, printed = through_sudo(as_root_installs_it, UID, *refused)
        assert (status, printed) == (1, ""), refused
    assert through_sudo(as_root_installs_it, UID, "notice tr") == (64, ""), "sudo joins words; the helper counts them"
    assert through_sudo(as_root_installs_it, "64998", "sent") == (1, ""), "nobody else may"
