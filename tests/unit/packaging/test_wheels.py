"""packaging/wheels.py says one User-Agent, contacts whom it names, takes what is pinned, and can do without anyone.

It runs as a copy beside a lock of its own, against an index on loopback that writes down every request.
"""

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "packaging"))
import wheels  # found by that folder

ROOT = Path(__file__).resolve().parents[3]
TINY = "tiny-1.0-py3-none-any.whl"
OWN = "opanel_agent-0.1.0-py3-none-any.whl"
HARMLESS = {"Host", "User-Agent", "Accept", "Accept-Encoding", "Cache-Control", "Connection"}


class Index(ThreadingHTTPServer):
    """`pages` by path; `heard` is each request's path and headers."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.heard: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def offer(self, package: str, files: dict[str, bytes], at: str = "") -> None:
        """`at` is where its files lie: here, if empty."""
        links = "".join(f'<a href="{at}/files/{name}">{name}</a>\n' for name in files)
        self.pages[f"/simple/{package}/"] = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        self.pages |= {f"/files/{name}": data for name, data in files.items()}


class Answer(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.heard.append((self.path, dict(self.headers.items())))
        page = self.server.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the standard library's name
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def wheel(path: Path, name: str, tag: str = "py3-none-any") -> bytes:
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr(f"{name}.py", f"TAG = {tag!r}\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        made.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        made.writestr(f"{info}/RECORD", "")
    return path.read_bytes()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What lies on a server: no source, our own wheel, and a lock that pins one package."""
    here = tmp_path / "copy"
    (here / "packaging").mkdir(parents=True)
    (here / "wheels").mkdir()
    shutil.copy(ROOT / "packaging/wheels.py", here / "packaging")
    (here / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n', encoding="utf-8")
    seal(here, wheel(here / "wheels" / OWN, "opanel_agent"))
    return here


def seal(copy: Path, own: bytes) -> None:
    digest = hashlib.sha256(own).hexdigest()
    (copy / "wheels/opanel-agent.lock").write_text(f"opanel-agent==0.1.0 --hash=sha256:{digest}\n", encoding="ascii")


def pin(copy: Path, *files: bytes) -> None:
    hashes = "".join(f" \\\n    --hash=sha256:{hashlib.sha256(data).hexdigest()}" for data in files)
    (copy / "packaging/agent.lock").write_text(f"tiny==1.0{hashes}\n", encoding="ascii")


@pytest.fixture
def tiny(copy: Path, tmp_path: Path) -> bytes:
    data = wheel(tmp_path / TINY, "tiny")
    pin(copy, data)
    return data


def run(copy: Path, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if "PIP_" not in name and "proxy" not in name.lower()
    }
    return subprocess.run(
        [sys.executable, "-I", str(copy / "packaging/wheels.py"), *map(str, arguments)],
        env={**environment, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", **settings},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_what_leaves_is_one_user_agent_and_nothing_about_the_machine(copy: Path, index: Index, tiny: bytes) -> None:
    index.offer("tiny", {TINY: tiny})
    ran = run(copy, "-o", "out", PIP_INDEX_URL=f"{index.url}/simple", PIP_USER_AGENT_USER_DATA="a server of mine")
    assert ran.returncode == 0, ran.stderr
    assert [path for path, _ in index.heard] == ["/simple/tiny/", f"/files/{TINY}"]
    for _, headers in index.heard:
        assert headers["User-Agent"] == "opanel-agent-install"
        assert headers.keys() <= HARMLESS
        sent = " ".join(headers.values())
        assert not [word for word in (platform.release(), platform.python_version(), "pip/", "mine") if word in sent]
    digest = hashlib.sha256((copy / "wheels" / OWN).read_bytes()).hexdigest()
    assert names(copy / "out") == ["opanel-agent.lock", OWN, TINY]
    assert (copy / "out/opanel-agent.lock").read_text("ascii") == f"opanel-agent==0.1.0 --hash=sha256:{digest}\n"


@pytest.mark.slow
def test_a_host_that_was_not_announced_is_not_contacted(copy: Path, index: Index, tiny: bytes) -> None:
    index.offer("tiny", {TINY: tiny}, at=f"http://localhost:{index.server_port}")
    hosts = run(copy, "--hosts", PIP_INDEX_URL=f"{index.url}/simple")
    assert hosts.stdout.split() == ["127.0.0.1"]
    ran = run(copy, "-o", "out", PIP_INDEX_URL=f"{index.url}/simple")
    assert (ran.returncode, "sends to localhost, which was not announced" in ran.stderr) == (69, True), ran.stderr
    assert [path for path, _ in index.heard] == ["/simple/tiny/"]
    assert names(copy) == ["packaging", "pyproject.toml", "wheels"]


@pytest.mark.slow
def test_what_is_not_as_pinned_is_refused(copy: Path, index: Index, tiny: bytes) -> None:
    index.offer("tiny", {TINY: tiny + b"!"})
    assert run(copy, "-o", "out", PIP_INDEX_URL=f"{index.url}/simple").returncode == 69
    assert not (copy / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        ({}, ["pypi.org", "files.pythonhosted.org"]),
        ({"PIP_EXTRA_INDEX_URL": "https://u:p@own.example/"}, ["pypi.org", "own.example", "files.pythonhosted.org"]),
        ({"PIP_INDEX_URL": "file:///srv/simple"}, []),
        ({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels https://links.example/"}, ["links.example"]),
        ({"PIP_PROXY": "http://proxy.example:3128"}, ["pypi.org", "files.pythonhosted.org", "proxy.example (proxy)"]),
        ({"https_proxy": "http://proxy.example:3128"}, ["pypi.org", "files.pythonhosted.org", "proxy.example (proxy)"]),
        ({"PIP_INDEX_URL": "file:///srv/simple", "https_proxy": "http://proxy.example:3128"}, []),
    ],
)  # fmt: skip
def test_the_hosts_are_those_of_the_administrator_s_settings(
    copy: Path, settings: dict[str, str], hosts: list[str]
) -> None:
    ran = run(copy, "--hosts", **settings)
    assert (ran.returncode, [line for line in ran.stdout.splitlines() if line]) == (0, hosts), ran.stderr


@pytest.mark.slow
def test_settings_in_a_file_count_too(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n", encoding="ascii")
    assert run(copy, "--hosts", PIP_CONFIG_FILE=str(tmp_path / "pip.conf")).stdout.split() == ["mirror.example"]


@pytest.mark.slow
def test_for_another_python_its_own_files_are_taken(copy: Path, index: Index, tmp_path: Path) -> None:
    files = {}
    for tag in ("cp311-cp311", "cp313-cp313", "cp399-abi3"):
        name = f"tiny-1.0-{tag}-manylinux_2_17_{platform.machine()}.whl"
        files[name] = wheel(tmp_path / name, "tiny", tag)
    pin(copy, *files.values())
    index.offer("tiny", files)
    settings = {"PIP_INDEX_URL": f"{index.url}/simple"}
    assert run(copy, "-o", "one", "--python", "3.13", **settings).returncode == 0
    assert [name for name in names(copy / "one") if name.startswith("tiny")] == [sorted(files)[1]]
    assert run(copy, "-o", "two", "--python", "3.11", "--python", "3.13", **settings).returncode == 0
    assert [name for name in names(copy / "two") if name.startswith("tiny")] == sorted(files)[:2]
    assert run(copy, "-o", "none", "--python", "3.12", **settings).returncode == 69


@pytest.mark.slow
def test_for_an_older_libc_its_own_files_are_taken(copy: Path, index: Index, tmp_path: Path) -> None:
    files = {}
    for minor in (28, 31, 36):
        name = f"tiny-1.0-cp313-cp313-manylinux_2_{minor}_{platform.machine()}.whl"
        files[name] = wheel(tmp_path / name, "tiny")
    pin(copy, *files.values())
    index.offer("tiny", files)
    settings = {"PIP_INDEX_URL": f"{index.url}/simple"}
    for minor, taken in ((28, 28), (34, 31), (36, 36)):
        ran = run(copy, "-o", f"for-{minor}", "--python", "3.13", "--glibc", str(minor), **settings)
        assert ran.returncode == 0, ran.stderr
        assert [name for name in names(copy / f"for-{minor}") if f"_2_{taken}_" in name] == [
            name for name in names(copy / f"for-{minor}") if name.startswith("tiny")
        ]
    assert run(copy, "-o", "older", "--python", "3.13", "--glibc", "17", **settings).returncode == 64


@pytest.mark.slow
def test_from_what_was_kept_nobody_is_contacted(copy: Path, index: Index, tiny: bytes) -> None:
    index.offer("tiny", {TINY: tiny})
    settings = {"PIP_INDEX_URL": f"{index.url}/simple", "PIP_FIND_LINKS": f"{index.url}/files/"}
    (copy / "wheels" / TINY).write_bytes(tiny)
    for how in ("--kept", "--copy"):
        ran = run(copy, "-o", f"out{how}", how, copy / "wheels", **settings)
        assert ran.returncode == 0, ran.stderr
        assert names(copy / f"out{how}") == ["opanel-agent.lock", OWN, TINY]
    assert run(copy, "--fit", copy / "out--copy", **settings).returncode == 0
    assert index.heard == []


@pytest.mark.slow
def test_what_is_missing_or_damaged_does_not_fit(copy: Path, tiny: bytes) -> None:
    wheels = copy / "wheels"
    fitted = run(copy, "--fit", wheels)
    assert (fitted.returncode, "agent.lock pins" in fitted.stderr) == (69, True)
    (wheels / TINY).write_bytes(tiny + b"!")
    assert run(copy, "--fit", wheels).returncode == 69
    (wheels / TINY).write_bytes(tiny)
    assert run(copy, "--fit", wheels).returncode == 0
    (wheels / "opanel-agent.lock").write_text("opanel-agent==0.1.0 --hash=sha256:00\n", encoding="ascii")
    fitted = run(copy, "--fit", wheels)
    assert (fitted.returncode, "is not the one that opanel-agent.lock names" in fitted.stderr) == (69, True)
    (wheels / OWN).unlink()
    fitted = run(copy, "--fit", wheels)
    assert (fitted.returncode, f"cannot find {OWN}" in fitted.stderr) == (69, True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--fit", "--kept", "--copy"])
def test_an_altered_wheel_is_refused_with_its_lock_and_without(copy: Path, tiny: bytes, how: str) -> None:
    """To delete the lock is no way to have another wheel taken."""
    wheels = copy / "wheels"
    (wheels / TINY).write_bytes(tiny)
    with (wheels / OWN).open("ab") as own:
        own.write(b"!")
    words = ("--fit", wheels) if how == "--fit" else ("-o", "out", how, wheels)
    beside = run(copy, *words)
    assert (beside.returncode, "is not the one that opanel-agent.lock names" in beside.stderr) == (69, True)
    (wheels / "opanel-agent.lock").unlink()
    deleted = run(copy, *words)
    assert (deleted.returncode, "opanel-agent.lock, which pins it, is not beside it" in deleted.stderr) == (69, True)
    assert not (copy / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status"), [((), 64), (("--frobnicate",), 64), (("--hosts", "-o", "x"), 64), (("-o", "wheels"), 74)]
)
def test_what_it_cannot_do_is_one_sentence(copy: Path, tiny: bytes, arguments: tuple[str, ...], status: int) -> None:
    ran = run(copy, *arguments)
    assert ran.returncode == status
    assert ran.stderr.splitlines()[-1].startswith("cannot ")
    assert "Traceback" not in ran.stderr


def test_an_installed_command_is_deaf_to_its_caller_s_python_settings(tmp_path: Path) -> None:
    """As pip writes it, any PYTHONHOME ends it, and a module beside it is taken before the standard library's."""
    command = tmp_path / "opanel-agent"
    command.write_text(f"#!{sys.executable}\nimport json, sys\nprint(sys.flags.isolated, json.__file__)\n")
    command.chmod(0o755)
    (tmp_path / "json.py").write_text("")
    record = tmp_path / "site-packages/opanel_agent-1.dist-info/RECORD"
    record.parent.mkdir(parents=True)
    record.write_text('../opanel-agent,sha256=of_before,1\n"a, b.py",sha256=kept,2\n')
    settings = {"PYTHONHOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    bare = subprocess.run([command], env=settings, capture_output=True, text=True, check=False, timeout=60)
    assert bare.returncode != 0
    for _ in range(2):  # whoever installs again finds it so already
        wheels.isolate(command, record)
        ran = subprocess.run([command], env=settings, capture_output=True, text=True, check=False, timeout=60)
        assert ran.stderr == ""
        isolated, place = ran.stdout.split()
        assert (isolated, Path(place).parent == tmp_path) == ("1", False)
    digest = base64.urlsafe_b64encode(hashlib.sha256(command.read_bytes()).digest()).decode().rstrip("=")
    size = command.stat().st_size
    assert record.read_text() == f'../opanel-agent,sha256={digest},{size}\n"a, b.py",sha256=kept,2\n'
