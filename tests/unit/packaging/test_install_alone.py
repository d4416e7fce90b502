"""install.sh alone, as it comes from a pipe: it says where it would go, or why it cannot.

The package managers are played: small programs of their names on the PATH, which write down how they were called. The
repository is real, over loopback. How it goes there as root: test_install_system.
"""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = (ROOT / "install.sh").read_text("utf-8")
KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
DIGEST = hashlib.sha256(KEY).hexdigest()
TOOLS = (
    *("sh", "cat", "tr", "cut", "dirname", "id", "mktemp", "rm", "sha256sum", "uname", "curl", "wget", "env", "sed"),
    *("base64", "tail", "grep", "date", "tar", "xz", "gpgv", "install"),
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        self.server.heard.append((self.path, self.headers["User-Agent"]))  # type: ignore[attr-defined]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[HTTPServer]:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "opanel.asc").write_bytes(KEY)
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


def play(path: Path, name: str, text: str = "") -> None:
    (path / name).write_text(f'#!/bin/sh\n{text}\necho "{name} $*" >>{path}/calls\n', encoding="utf-8")
    (path / name).chmod(0o755)


def piped(path: Path, *arguments: str, shell: str = "sh", script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which(shell) or shell, "-s", "--", *arguments],
        input=script,
        cwd=ROOT,  # a kit, which is nothing to what comes from a pipe
        env={"PATH": str(path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        start_new_session=True,  # no terminal
    )


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_from_a_pipe_without_a_repository_it_says_why_not(path: Path, shell: str) -> None:
    for words in ((), ("--dry-run",), ("--demo",), ("--repository", "https://a.example")):
        ran = piped(path, *words, shell=shell)
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (78, "  code: repository"), ran.stderr
    assert "--repository URL --key SHA256" in ran.stderr


@pytest.mark.parametrize(
    ("manager", "gone", "cure"),
    [
        ("apt-get", "curl wget", "apt-get install curl"),
        ("dnf", "curl wget", "dnf install curl"),
        ("yum", "curl wget", "yum install curl"),
        ("zypper", "sha256sum", "zypper install coreutils"),
        ("pacman", "curl wget", "pacman -S curl"),
        ("pacman", "xz", "pacman -S xz"),
        ("pacman", "tar", "pacman -S tar"),
        ("pacman", "gpgv", "pacman -S gnupg"),
        (None, "xz", "this system's package manager"),
        (None, "gpgv", "this system's package manager"),
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="what has a Python of its own is made for x86-64")
def test_a_program_that_is_missing_is_told_with_the_cure_of_this_system(
    path: Path, repository: HTTPServer, manager: str | None, gone: str, cure: str
) -> None:
    if manager:
        play(path, manager)
    code, *_ = gone.split()
    for name in gone.split():
        (path / name).unlink(missing_ok=True)
    where = ("--repository", f"http://127.0.0.1:{repository.server_port}", "--key", DIGEST, "--dry-run")
    ran = piped(path, *where)
    assert (ran.returncode, ran.stderr.splitlines()[-3:]) == (
        78,
        [f"cannot go on without {code}; nothing was changed", f"  install it by: {cure}", "  code: missing"],
    )
    turkish = piped(path, *where, "--lang", "tr").stderr.splitlines()[-3:]
    assert turkish[0] == f"{code} olmadan sürdürülemiyor; hiçbir şey değişmedi"
    assert turkish[1].startswith("  şununla kurun: ")
    assert repository.heard == []  # type: ignore[attr-defined]


def test_wget_will_do_where_there_is_no_curl(path: Path, repository: HTTPServer) -> None:
    (path / "curl").unlink(missing_ok=True)
    where = ("--repository", f"http://127.0.0.1:{repository.server_port}", "--key", DIGEST, "--dry-run")
    play(path, "dnf")
    assert "code: missing" not in piped(path, *where).stderr


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        ("apt-get", "/etc/apt/sources.list.d/opanel.list"),
        ("dnf", "/etc/yum.repos.d/opanel.repo"),
        ("zypper", "/etc/zypp/repos.d/opanel.repo"),
        (None, "opanel-agent-…-x86_64.tar.xz"),
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="what has a Python of its own is made for x86-64")
def test_it_shows_the_way_and_whom_it_will_contact_and_contacts_nobody(
    path: Path, manager: str | None, expected: str, repository: HTTPServer
) -> None:
    if manager:
        play(path, manager)
    host = f"127.0.0.1:{repository.server_port}"
    ran = piped(path, "--repository", f"http://{host}/", "--key", DIGEST, "--dry-run")
    assert expected in ran.stderr
    assert f"Hosts that will be contacted: {host}, and those of {manager or 'tar'}'s own settings." in ran.stderr
    assert "Nothing was changed (--dry-run)." in ran.stderr
    assert repository.heard == []  # type: ignore[attr-defined]
    assert not (path / "calls").exists()


def test_the_published_copy_knows_its_repository(path: Path, repository: HTTPServer) -> None:
    host = f"127.0.0.1:{repository.server_port}"
    script = SCRIPT.replace("\nrepository= ", f"\nrepository=http://{host} ").replace("\nkey=\n", f"\nkey={DIGEST}\n")
    play(path, "dnf")
    ran = piped(path, "--dry-run", "--lang", "tr", script=script)
    assert f"Bağlanılacak sunucular: {host} ve dnf" in ran.stderr
