"""Bad input of every kind, end to end: the real daemon, its real jobs and the real command line, and a rude world.

Whatever comes, the command says one sentence, a cure and a code, with the exit status that interface.md names; and nothing
is lost: the license that was good is still there byte for byte, in force, and the panel is answered.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.daemon.live_agent import AGENT, JOSE, STATUS_LIST, Home, file, live_agent, powerless
from fixtures.daemon.live_daemon import Running, until
from fixtures.daemon.wire_server import Script, answer, dribbles, floods, is_silent, sends

pytestmark = pytest.mark.slow  # each starts processes, a second or two
Spoil = Callable[[Home], object]
HTML = b"<html>Welcome. Please log in.</html>"


@pytest.fixture(scope="module")
def alive() -> Iterator[Home]:
    """A home with a daemon and an accepted license."""
    with live_agent() as home, home.daemon():
        installed = home.type("license", "install", home.file("license.jws", home.issued.text.encode()))
        assert installed.status == 0, installed
        yield home


@pytest.fixture
def home(alive: Home) -> Iterator[Home]:
    """The same, well-behaved, and held to what must be true after every test: nothing was lost."""
    alive.rude.behave(alive.authority, alive.now)
    before = alive.bundle
    yield alive
    assert alive.bundle == before
    license_ = alive.license()
    assert license_["state"] == "active"
    assert license_["permits"] == {"run": True, "change": True, "create": True, "paid_features": True}
    assert license_["good_until"] > alive.now


@pytest.fixture
def still() -> Iterator[Home]:
    """A home where nothing runs."""
    with live_agent() as home:
        yield home


# documents


def foreign() -> bytes:
    """A whole and good bundle of another authority."""
    with live_agent() as other:
        return other.issued.text.encode()


BAD_BUNDLES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "format_invalid"),
    "cut in the middle of a line": (lambda good: good[:-200], "format_invalid"),
    "cut after a line": (lambda good: good.split(b"\n")[0] + b"\n", "format_invalid"),
    "foreign": (lambda _: foreign(), "chain_invalid"),
    "oversized": (lambda good: good + b"A" * 70_000, "format_invalid"),
    "too many lines": (lambda good: good + good * 5, "format_invalid"),
    "binary": (lambda _: bytes(range(256)) * 16, "format_invalid"),
    "zeros": (lambda good: good + bytes(64), "format_invalid"),
    "another encoding": (lambda good: good.decode().encode("utf-32"), "format_invalid"),
    "a web page": (lambda _: HTML, "format_invalid"),
    "JSON": (lambda _: b'{"license": true}', "format_invalid"),
    "one character changed": (lambda good: good[:50] + b"-" + good[51:], "format_invalid"),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused(home: Home, name: str) -> None:
    spoil, code = BAD_BUNDLES[name]
    bad = spoil(home.issued.text.encode())
    typed = home.type("license", "install", home.file("bad.jws", bad))
    assert (typed.status, typed.code) == (65, code)
    assert typed.out == ""
    assert home.type("license", "verify", "-", stdin=bad).status == 65


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused_with_the_agent_stopped(still: Home, name: str) -> None:
    spoil, code = BAD_BUNDLES[name]
    typed = still.type("license", "install", "-", stdin=spoil(still.issued.text.encode()))
    assert (typed.status, typed.code) == (65, code)
    assert list(still.config.iterdir()) == [still.settings]


@pytest.mark.parametrize(
    ("operand", "status", "code"),
    [
        ("absent.jws", 74, "io_failed"),
        ("state", 65, "file_refused"),
        ("pipe", 65, "file_refused"),
        ("enormous.jws", 65, "file_refused"),
    ],
)
def test_what_is_no_file_of_a_document_is_refused(home: Home, operand: str, status: int, code: str) -> None:
    home.file("enormous.jws", home.issued.text.encode() * 1000)
    with contextlib.suppress(FileExistsError):
        os.mkfifo(home.place / "pipe")
    typed = home.type("license", "install", operand)
    assert (typed.status, typed.code) == (status, code)


def test_a_file_that_may_not_be_read_is_told(home: Home) -> None:
    path = Path(home.file("mine.jws", home.issued.text.encode()))
    path.chmod(0)
    typed = home.type("license", "install", str(path), before=powerless())
    assert (typed.status, typed.code) == (74, "no_permission")


def test_an_error_is_the_same_for_a_script(home: Home) -> None:
    typed = home.type("license", "install", "-", "--json", stdin=b"\0")
    (error,) = typed.json["errors"]
    title, hint = (line.removeprefix("  what to do: ") for line in typed.err.splitlines()[:2])
    assert error == {"code": typed.code, "title": title, "hint": hint}
    assert (typed.status, typed.json["result"], typed.json["schema"]) == (65, None, 1)


# settings


def _appended(more: str) -> Spoil:
    return lambda home: home.settings.write_text(home.good_settings + more)


def _instead(make: Callable[[Path], object]) -> Spoil:
    """Something else than a file in the settings' place."""

    def spoil(home: Home) -> None:
        home.settings.unlink()
        make(home.settings)

    return spoil


SPOILT_SETTINGS: dict[str, tuple[Spoil, str]] = {
    "syntax": (_appended("proxy"), "line: 4"),
    "a schema of tomorrow": (lambda home: home.settings.write_text("schema = 2\n"), "line: 1"),
    "an unknown key": (_appended("mirors = []\n"), "mirors"),
    "a wrong type": (_appended('advisories = "no"\n'), "advisories"),
    "a wrong value": (_appended('mirrors = ["http://mirror.example"]\n'), "mirrors"),
    "another encoding": (lambda home: home.settings.write_bytes(b"schema = 1\n# T\xfcrk\xe7e\n"), "line: 2"),
    "binary": (lambda home: home.settings.write_bytes(bytes(range(256))), "agent.toml"),
    "oversized": (_appended("#" * 1_000_000), "agent.toml"),
    "a directory": (_instead(Path.mkdir), "agent.toml"),
    "a pipe": (_instead(os.mkfifo), "agent.toml"),
    "a link": (_instead(lambda path: path.symlink_to("elsewhere")), "agent.toml"),
    "writable for all": (lambda home: home.settings.chmod(0o666), "agent.toml"),
    "no root where it is named": (
        lambda home: home.settings.write_text('schema = 1\ntrust_root = "/nowhere/root.jws"\n'),
        "/nowhere/root.jws",
    ),
    "no root in what is named": (
        lambda home: home.settings.write_text(f'schema = 1\ntrust_root = "{home.file("x.jws", HTML)}"\n'),
        "x.jws",
    ),
}


def repair(home: Home) -> None:
    if home.settings.is_dir():
        home.settings.rmdir()
    home.settings.unlink(missing_ok=True)
    home.settings.write_text(home.good_settings)


@pytest.mark.parametrize("name", SPOILT_SETTINGS)
def test_settings_wrong_in_each_way(home: Home, name: str) -> None:
    spoil, named = SPOILT_SETTINGS[name]
    before = len(home.rude.heard)
    try:
        spoil(home)
        typed = home.type("license", "refresh")
        shown = home.type("status")
    finally:
        repair(home)
    assert (typed.status, typed.code) == (78, "settings_refused")
    assert named in typed.err
    assert re.search(r"^License +active", shown.out, re.MULTILINE)
    assert len(home.rude.heard) == before
    assert home.type("license", "refresh").status == 0


# the authority


def test_it_behaves_before_it_is_rude(home: Home) -> None:
    """What the tests below change is all that is wrong with it."""
    assert home.type("license", "refresh").status == 0


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: "


def rude(content_type: str) -> dict[str, tuple[Script, int, str]]:
    """How to answer a request for that type, the exit status and the code. No answer is read for longer than needed."""
    begun = GOOD + content_type.encode() + b"\r\n"
    return {
        "garbage": (file(content_type, b"\xff\0garbage" * 100), 65, "format_invalid"),
        "no HTTP": (sends(b"\xff\0garbage\r\n" * 10), 69, "server_error"),
        "nothing": (lambda _: None, 69, "server_error"),
        "an endless body": (floods(begun + b"\r\n", piece=b"A" * 65536), 69, "server_error"),
        "endless headers": (floods(begun, piece=b"X-Filler: " + b"A" * 4096 + b"\r\n"), 69, "server_error"),
        "a body that is cut": (sends(begun + b"Content-Length: 1000\r\n\r\nabc"), 69, "server_error"),
        "compressed": (
            sends(answer("200 OK", f"Content-Type: {content_type}", "Content-Encoding: gzip", body=b"\x1f\x8b")),
            69,
            "server_error",
        ),
        "a redirect": (sends(answer("302 Found", "Location: http://127.0.0.1:9/")), 69, "captive_portal"),
        "the wrong type": (file("text/html", HTML), 69, "captive_portal"),
        "an error": (file("text/html", HTML, "500 Internal Server Error"), 69, "server_error"),
    }


RUDE = tuple(rude(""))


@pytest.mark.parametrize("name", RUDE)
def test_a_rude_mirror(home: Home, name: str) -> None:
    script, status, code = rude(STATUS_LIST)[name]
    home.rude.scripts["/v1/status.jwt"] = script
    heard = len(home.rude.heard)
    typed = home.type("license", "refresh")
    assert (typed.status, typed.code) == (status, code), typed
    assert home.rude.heard[heard:].count("GET /v1/status.jwt") == 1
    assert code in home.license()["reasons"]
    home.rude.behave(home.authority, home.now)
    assert home.type("license", "refresh").status == 0
    assert code not in home.license()["reasons"]


@pytest.mark.parametrize("name", RUDE)
@pytest.mark.parametrize("command", ["activate", "key"])
def test_a_rude_authority(home: Home, name: str, command: str) -> None:
    path, words = {
        "activate": ("/v1/activations", ("license", "activate")),
        "key": ("/v1/bundles", ("license", "install", home.issued.key)),
    }[command]
    script, status, code = rude(JOSE)[name]
    home.rude.scripts[path] = script
    heard = len(home.rude.heard)
    typed = home.type(*words)
    assert (typed.status, typed.code) == (status, code), typed
    assert home.rude.heard[heard:] == [f"POST {path}"]


def test_a_list_of_another_authority(home: Home) -> None:
    with live_agent() as other:
        home.rude.scripts["/v1/status.jwt"] = other.rude.scripts["/v1/status.jwt"]
    typed = home.type("license", "refresh")
    assert (typed.status, typed.code) == (65, "chain_invalid")


@pytest.mark.parametrize("name", ["key_unknown", "seats_taken", "revoked"])
def test_a_refusal_by_name(home: Home, name: str) -> None:
    problem = json.dumps({"type": f"urn:opanel:problem:{name}", "title": "cannot", "status": 403}).encode()
    home.rude.scripts["/v1/activations"] = file("application/problem+json", problem, "403 Forbidden")
    typed = home.type("license", "activate")
    assert (typed.status, typed.code) == (65, name)


@pytest.mark.parametrize(
    ("script", "longest_s"),
    [(is_silent, 40), (dribbles(GOOD + STATUS_LIST.encode() + b"\r\n\r\n"), 90)],
    ids=["silent", "a byte now and then"],
)
def test_a_slow_mirror_is_left_and_the_panel_does_not_wait_for_it(home: Home, script: Script, longest_s: int) -> None:
    home.rude.scripts["/v1/status.jwt"] = script
    typed = home.type("license", "refresh", "--wait", "1")
    assert (typed.status, typed.code) == (75, "not_yet")
    begun = time.monotonic()
    assert home.license()["state"] == "active"
    assert time.monotonic() - begun < 5
    until(lambda: "server_error" in home.license()["reasons"], longest_s)


def test_nobody_at_the_address(still: Home) -> None:
    with live_agent() as gone:
        root = still.file("gone.jws", (gone.place / "vendor" / "root.jws").read_bytes())
    still.settings.write_text(f'schema = 1\ntrust_root = "{root}"\n')
    with still.daemon():
        typed = still.type("license", "refresh")
    assert (typed.status, typed.code) == (69, "unreachable_tcp")


# the machine


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.fixture
def small_disk() -> Iterator[Home]:
    """A home whose state lies on a disk of one megabyte."""
    with live_agent() as home:
        state = home.state.parent
        run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "rough", str(state))
        try:
            yield home
        finally:
            run("umount", "--lazy", str(state))


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file_, contextlib.suppress(OSError):
        while True:
            file_.write(bytes(4096))
    return filler


@pytest.mark.root
def test_a_full_disk(small_disk: Home) -> None:
    home = small_disk
    first = home.file("first.jws", home.issued.text.encode())
    second = home.file("second.jws", home.issue().text.encode())
    with home.daemon():
        assert home.type("license", "install", first).status == 0
        before = home.bundle
        filler = fill(home.state.parent)
        for words in (("install", second), ("refresh",), ("activate",)):
            typed = home.type("license", *words)
            assert (typed.status, typed.code) == (74, "disk_full"), typed
        assert home.bundle == before
        assert home.license()["state"] == "active"
        assert "could not be saved to the disk" in home.type("status").out
        assert home.type("status", "--check").status == 1
        filler.unlink()
        assert home.type("license", "install", second).status == 0
        assert home.type("license", "refresh").status == 0
        assert home.bundle != before


def test_a_result_that_cannot_be_written(home: Home) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*AGENT, "status"], env=home.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ran.returncode == 74
    assert ran.stderr.startswith("cannot ")
    assert "code: io_failed" in ran.stderr


def test_a_state_that_its_owner_may_not_write_is_opened_again(still: Home) -> None:
    """The folder is the agent's own: a mode that somebody set on it is mended, and nothing is lost."""
    home = still
    document = home.file("good.jws", home.issued.text.encode())
    with home.daemon(powerless()):
        assert home.type("license", "install", document).status == 0
        before = home.bundle
        home.state.chmod(0o500)
        try:
            typed = home.type("license", "install", home.file("new.jws", home.issue().text.encode()))
            assert home.license()["state"] == "active"
            assert home.state.stat().st_mode & 0o777 == 0o700
        finally:
            home.state.chmod(0o700)
        assert (typed.status, home.bundle == before) == (0, False), typed.err
        assert home.type("license", "refresh").status == 0


def test_no_permission_on_the_socket(home: Home) -> None:
    socket_path = home.run / "agent.sock"
    mode = socket_path.stat().st_mode
    socket_path.chmod(0)
    try:
        typed = home.type("license", "refresh", before=powerless())
    finally:
        socket_path.chmod(mode)
    assert (typed.status, typed.code) == (77, "no_permission")


# the daemon


def refusal(process: "subprocess.Popen[bytes]") -> tuple[int, list[str]]:
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors.decode().splitlines()


def test_a_second_daemon(home: Home) -> None:
    status, (title, hint) = refusal(home.start())
    assert status == 69
    assert title.startswith("cannot ")
    assert hint


def test_a_socket_that_another_program_uses(still: Home) -> None:
    still.run.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(still.run / "agent.sock"))
        other.listen()
        status, (title, hint) = refusal(still.start())
        assert other.getsockname() == str(still.run / "agent.sock")
    assert status == 69
    assert title.startswith("cannot ")
    assert hint


def test_no_permission_for_a_daemon(still: Home) -> None:
    still.run.parent.chmod(0o500)
    try:
        status, lines = refusal(still.start(powerless()))
    finally:
        still.run.parent.chmod(0o700)
    assert status == 74
    assert lines[0].startswith("cannot ")


BY_INTENT = """
if request["intent"] == "refresh":
    {}
else:
    reply()
"""


@pytest.mark.parametrize(
    ("job", "status", "code"),
    [
        ("time.sleep(60)", 69, "job_timeout"),
        ("while True: print('A' * 65536)", 70, "job_flooded"),
        ("x = bytes(2 * 10**9)", 70, "job_failed"),
        ("os.kill(os.getpid(), 9)", 70, "job_failed"),
        ("print('no frame')", 70, "protocol"),
    ],
    ids=["hangs", "floods", "eats memory", "is killed", "talks"],
)
def test_a_job_that_goes_wrong(still: Home, job: str, status: int, code: str) -> None:
    """The real loop with a job of the test's; `license refresh` tells what became of it, and the answer stands."""
    daemon = Running(still.run, BY_INTENT.format(job), job_limits={"deadline_s": 2.0})
    try:
        daemon.wait()
        typed = still.type("license", "refresh")
        assert (typed.status, typed.code) == (status, code)
        assert daemon.ask("GET", "/v1/license").status == 200
    finally:
        assert daemon.stop(signal.SIGTERM) == 0
