"""`doctor` as it is typed, against real faults on the wire and on this machine: each is found, by its code."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cryptography
import pytest

import opanel_agent
from fixtures.daemon import wire_server as w
from fixtures.daemon.live_agent import Home, Typed, live_agent
from fixtures.daemon.wire_server import answer, sends, wire
from opanel_agent.core.license import license_key

pytestmark = pytest.mark.slow  # each types commands at real processes

HTML: Final = b"<html>Welcome. Please log in.</html>"
DEAD: Final = "https://mirror.invalid"  # RFC 6761: never resolves


@pytest.fixture
def still() -> Iterator[Home]:
    """A home where nothing runs."""
    with live_agent() as home:
        yield home


def checks(typed: Typed, label: str | None = None) -> dict[str, tuple[str, str | None]]:
    """Status, and code or why, of each check, of that label where one is named."""
    assert "Traceback" not in typed.err
    rows: list[dict[str, Any]] = typed.json["result"]["checks"]
    return {
        each["check"]: (each["status"], each["code"] or each["why"])
        for each in rows
        if (label is None or each["label"] == label) and each["address"] is None
    }


# the ways to seven mirrors


def refused_port() -> int:
    """A port that nobody listens at, as far as anybody can know."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        return int(once.getsockname()[1])


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Typed]]:
    """One that is well, which the root names, and six that are not; and what was typed."""
    folder = tmp_path_factory.mktemp("wires")
    interceptor = w.authority(folder)
    html = answer("200 OK", "Content-Type: text/html", body=HTML)
    elsewhere = answer("302 Found", "Location: http://login.example/")
    with (
        live_agent() as home,
        wire(w.is_silent) as hanging,
        wire(sends(html), w.server_context(interceptor, folder, "localhost")) as intercepted,
        wire(sends(html)) as portal,
        wire(sends(elsewhere)) as redirecting,
    ):
        mirrors = (
            DEAD,
            f"http://127.0.0.1:{refused_port()}",
            f"http://127.0.0.1:{hanging.port}",
            f"https://localhost:{intercepted.port}",
            f"http://127.0.0.1:{portal.port}",
            f"http://127.0.0.1:{redirecting.port}",
        )
        home.settings.write_text(f"{home.good_settings}mirrors = {list(mirrors)}\n".replace("'", '"'))
        yield home, home.type("doctor", "--json", "--verbose")
        assert intercepted.received == []  # nothing was said to whoever is in between


@pytest.mark.parametrize(
    ("number", "layer", "code"),
    [
        (2, "dns", "unreachable_dns"),
        (3, "tcp", "unreachable_tcp"),
        (4, "http", "server_error"),
        (5, "certificate", "tls_untrusted"),
        (6, "type", "captive_portal"),
        (7, "http", "captive_portal"),
    ],
    ids=["dead DNS", "refused port", "hanging server", "intercepted TLS", "captive portal", "redirect"],
)
def test_the_layer_that_broke_is_named(seven: tuple[Home, Typed], number: int, layer: str, code: str) -> None:
    _, typed = seven
    by_check = checks(typed, f"mirror-{number}")
    order = [*by_check]
    assert order == ["dns", "tcp", "proxy", "tls", "certificate", "http", "type", "content"]
    assert by_check[layer] == ("warning", code)  # the first mirror is well
    after = {by_check[each] for each in order[order.index(layer) + 1 :]}
    assert after <= {("not_looked_at", "not_reached"), ("not_needed", "no_proxy"), ("not_needed", "no_tls")}
    before = {each: by_check[each] for each in order[: order.index(layer)]}
    assert {status for status, _ in before.values()} <= {"ok", "not_needed"}


def test_the_one_that_is_well_is_well_and_each_was_asked_once(seven: tuple[Home, Typed]) -> None:
    home, typed = seven
    assert {status for status, _ in checks(typed, "mirror-1").values()} == {"ok", "not_needed"}
    assert home.rude.heard == ["GET /v1/status.jwt"]
    assert typed.status == 1
    assert typed.err.count("GET /v1/status.jwt HTTP/1.1") == 7


@pytest.mark.parametrize(
    ("script", "layer", "code"),
    [
        (sends(answer("503 Service Unavailable")), "http", "server_error"),
        (sends(answer("200 OK", "Content-Type: text/html", body=HTML)), "type", "captive_portal"),
        (sends(answer("511 Network Authentication Required")), "http", "captive_portal"),
        (sends(b"SSH-2.0-OpenSSH\r\n"), "http", "server_error"),
    ],
)
def test_where_no_mirror_is_well_it_has_failed(still: Home, script: w.Script, layer: str, code: str) -> None:
    still.rude.scripts["/v1/status.jwt"] = script
    typed = still.type("doctor", "--json")
    assert checks(typed)[layer] == ("failed", code)
    assert typed.status == 1


def test_a_handshake_that_hangs_is_a_fault_of_tls(still: Home) -> None:
    with wire(w.is_silent) as hanging:
        mirrors = [f"https://localhost:{hanging.port}", *(f"http://127.0.0.1:{refused_port()}" for _ in range(8))]
        still.settings.write_text(f"{still.good_settings}mirrors = {mirrors}\n".replace("'", '"'))
        by_check = checks(still.type("doctor", "--json"), "mirror-2")
    assert by_check["tcp"] == ("ok", None)
    assert by_check["tls"] == ("warning", "server_error")


@pytest.mark.parametrize(
    "refusal", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 403 Forbidden\r\n\r\n", None]
)
def test_a_proxy_that_refuses_or_is_not_there(still: Home, refusal: bytes | None) -> None:
    with wire(sends(refusal or b"")) as proxy:
        port = proxy.port if refusal else refused_port()
        still.settings.write_text(
            f'{still.good_settings}mirrors = ["{DEAD}"]\nproxy = "http://user:hunter2@127.0.0.1:{port}"\n'
        )
        typed = still.type("doctor", "--json")
        by_check = checks(typed, "mirror-2")
        asked = [*proxy.received]
    assert by_check["dns"] == by_check["tcp"] == ("not_needed", "by_proxy")  # the name is the proxy's to resolve
    assert by_check["proxy"] == ("warning", "proxy_error")
    assert by_check["tls"] == ("not_looked_at", "not_reached")
    assert [each.split(b" ")[0] for each in asked] == ([b"CONNECT"] if refusal else [])
    assert "hunter2" not in typed.out + typed.err


# this machine


def test_nothing_is_asked_under_offline(still: Home) -> None:
    (still.config / "offline").touch()
    typed = still.type("doctor", "--json")
    assert checks(typed)["http"] == ("not_looked_at", "offline")
    assert still.rude.heard == []
    assert "Request to be sent now" not in typed.err


def test_with_the_agent_stopped_it_says_so_and_looks_at_the_rest(still: Home) -> None:
    typed = still.type("doctor", "--json")
    by_check = checks(typed)
    assert by_check["daemon"] == ("failed", "not_running")
    assert by_check["license"] == by_check["isolation"] == ("not_looked_at", "no_answer")
    assert by_check["http"] == by_check["fetch_door"] == by_check["courier_door"] == by_check["files"] == ("ok", None)


@pytest.fixture(scope="module")
def alive() -> Iterator[Home]:
    """A daemon whose license is good; this machine was not activated, which is all that is to be found."""
    with live_agent() as home, home.daemon():
        home.type("license", "install", home.file("license.jws", home.issued.text.encode()))
        home.type("license", "refresh")
        yield home


def found(home: Home, *before: str) -> dict[str, tuple[str, str | None]]:
    """What is not in order beside the license, which was not activated."""
    by_check = checks(home.type("doctor", "--json", before=before))
    assert by_check.pop("license") == ("warning", "activation_due")
    return {name: each for name, each in by_check.items() if each[0] in ("warning", "failed")}


def test_a_living_agent_is_in_order(alive: Home) -> None:
    assert found(alive) == {}
    assert checks(alive.type("doctor", "--json"))["clock"] == ("ok", None)


def test_an_agent_that_hangs() -> None:
    with live_agent() as home, home.daemon() as process:
        process.send_signal(signal.SIGSTOP)
        try:
            by_check = checks(home.type("doctor", "--json"))
        finally:
            process.send_signal(signal.SIGCONT)
    assert by_check["daemon"] == ("failed", "not_yet")
    assert by_check["license"] == ("not_looked_at", "no_answer")
    assert by_check["http"] == ("ok", None)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("offset", ["+3d", "-3d"])
def test_a_wrong_clock(alive: Home, offset: str) -> None:
    faked = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", offset)
    faults = found(alive, *faked)
    assert faults.pop("clock") == ("failed", "clock_wrong")
    assert faults.keys() <= {"status_list"}  # by a clock that is ahead, the next check is overdue


@pytest.mark.parametrize(
    ("name", "mode"), [("bundle.jws", 0o644), ("activation.key", 0o640), ("held", 0o755), ("clock.json", 0o666)]
)
def test_a_mode_that_lets_others_in(alive: Home, name: str, mode: int) -> None:
    path = alive.state / name
    if not path.exists():
        path.write_bytes(b"")
        path.chmod(0o600)
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        wrong = wrong_file(alive)
    finally:
        path.chmod(before)
    assert wrong["subject"] == str(path)
    assert f"its mode is {mode:04o}, not {before & 0o7700:04o}" in wrong["title"]
    assert f"chmod {before & 0o7700:04o} {path}" in wrong["hint"]


def wrong_file(home: Home) -> dict[str, Any]:
    """The one thing that is found."""
    rows: list[dict[str, Any]] = home.type("doctor", "--json").json["result"]["checks"]
    (wrong,) = [each for each in rows if each["code"] not in (None, "activation_due")]
    assert (wrong["check"], wrong["status"], wrong["code"]) == ("files", "failed", "file_refused")
    return wrong


@pytest.mark.root
def test_a_file_of_another_user(alive: Home) -> None:
    path = alive.state / "bundle.jws"
    os.chown(path, 65534, -1)
    try:
        wrong = wrong_file(alive)
    finally:
        os.chown(path, 0, -1)
    assert (wrong["subject"], f"chown 0 {path}" in wrong["hint"]) == (str(path), True)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if (
        not (mount and umount)
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this container may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run([umount, place], check=True)


@pytest.mark.root
def test_a_full_disk(still: Home) -> None:
    mounted = still.place / "state"
    with small_disk(mounted):
        still.state.mkdir(mode=0o700)
        assert checks(still.type("doctor", "--json"), "state")["disk"] == ("ok", None)
        with contextlib.suppress(OSError), (mounted / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(1024 * 1024))
        assert checks(still.type("doctor", "--json"), "state")["disk"] == ("failed", "disk_full")


# a system installation, laid out in a mount namespace of its own

LAY_OUT: Final = """
set -eu
code=$1 python=$2 libraries=$3 place=$4
mkdir -p "$place/etc"
for name in passwd group hosts nsswitch.conf; do [ ! -e /etc/$name ] || cp /etc/$name "$place/etc/"; done
mount --bind "$place/etc" /etc
mkdir -m 2755 /etc/opanel-agent
cp "$place/config/opanel-agent/agent.toml" /etc/opanel-agent/
chmod 0644 /etc/opanel-agent/agent.toml
for folder in /opt /run /var/lib; do mount -t tmpfs -o mode=0755 tmpfs $folder; done
mkdir -m 0700 /var/lib/opanel-agent
mkdir -m 2750 /run/opanel-agent
"$python" -m venv --without-pip /opt/opanel-agent/env
packages=$(echo /opt/opanel-agent/env/lib/python3*/site-packages)
cp -r "$code" "$packages/"
echo "$libraries" >"$packages/libraries.pth"
agent="/opt/opanel-agent/env/bin/python -I -m opanel_agent"
$agent doctor --json >"$place/stopped" || true
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
: >"$place/nobody"
if $nobody $agent --version; then $nobody $agent doctor --json >"$place/nobody" || true; fi
$agent daemon &
daemon=$!
for _ in $(seq 100); do [ ! -s /run/opanel-agent/answer.json ] || break; sleep 0.2; done
$agent doctor --json >"$place/running" || true
kill $daemon
wait $daemon || true
"""


@pytest.fixture(scope="module")
def laid_out() -> Iterator[dict[str, str]]:
    """What `doctor --json` said there: with the agent stopped, to nobody, with it running; and what the mirror heard."""
    unshare, shell = shutil.which("unshare"), shutil.which("sh")
    if not (unshare and shell) or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this container may not make a mount namespace")
    code, libraries = Path(opanel_agent.__file__).parent, Path(cryptography.__file__).parent.parent
    with live_agent() as home:
        home.place.chmod(0o755)
        ran = subprocess.run(
            [unshare, "-m", shell, "-c", LAY_OUT, shell, code, sys.executable, libraries, home.place],
            env=home.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in ran.stderr
        assert ran.returncode == 0, ran.stderr
        outputs = {name: (home.place / name).read_text("utf-8") for name in ("stopped", "nobody", "running")}
        yield outputs | {"heard": "\n".join(home.rude.heard)}


def in_the_namespace(output: str) -> dict[str, tuple[str, str | None]]:
    return checks(Typed(status=1, out=output, err=""))


@pytest.mark.root
def test_a_system_installation_without_its_isolation(laid_out: dict[str, str]) -> None:
    stopped, running = (in_the_namespace(laid_out[name]) for name in ("stopped", "running"))
    missing = ("failed", "isolation_none")
    assert stopped["fetch_door"] == stopped["courier_door"] == missing
    assert stopped["isolation"] == ("not_looked_at", "no_answer")
    assert running["isolation"] == running["fetch_door"] == missing
    assert running["daemon"] == running["files"] == running["disk"] == ("ok", None)
    assert laid_out["heard"].split("\n") == ["GET /v1/status.jwt"] * 2  # root's two, and none of nobody's


@pytest.mark.root
def test_without_root_it_says_what_it_could_not_look_at(laid_out: dict[str, str]) -> None:
    if not laid_out["nobody"]:
        pytest.skip("nobody may run this interpreter, which lies in root's home")
    by_check = in_the_namespace(laid_out["nobody"])
    for check in ("clock", "files", "fetch_door", "courier_door", "dns", "http"):
        assert by_check[check] == ("not_looked_at", "need_root"), check
    assert by_check["settings"] == by_check["consent"] == ("ok", None)


# the report


def test_the_report_of_a_living_agent_names_nothing_of_it(alive: Home) -> None:
    typed = alive.type("doctor", "--report")
    first, *rest = typed.out.splitlines()
    key = alive.issued.key
    digest = license_key.digest(key)
    assert first.split(" ")[:2] == [digest[:8], "active"]
    private = (
        *(str(alive.place), socket.gethostname(), "127.0.0.1", "http:", "https", "ornek", key, digest[:12]),
        *(Path("/etc/machine-id").read_text("ascii").strip() if Path("/etc/machine-id").exists() else "machine-id",),
    )
    assert [word for word in private if word and word.lower() in typed.out.lower()] == []
    user = getpass.getuser()
    assert user == "root" or user not in typed.out
    assert len(rest) >= 18
