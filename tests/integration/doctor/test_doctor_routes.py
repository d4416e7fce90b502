"""`doctor` on the routes of company networks: proxies of every kind, interception, name services and addresses that hang.

Real processes and real sockets; what is not real is only that everything is on this machine.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.daemon import wire_server as w
from fixtures.daemon.live_agent import Home, Typed, live_agent
from fixtures.daemon.wire_server import answer, sends, wire

pytestmark = pytest.mark.slow  # each types commands at real processes

MIRROR: Final = "https://mirror.invalid"  # RFC 6761: never resolves; the proxy stands for it
GOOD: Final = answer("200 OK", "Content-Type: application/statuslist+jwt", body=b"a.b.c")
PAGE: Final = answer("200 OK", "Content-Type: text/html", body=b"<html>Please log in.</html>")
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
NOT_REACHED: Final = ("not_looked_at", "not_reached")
STEPS: Final = ("dns", "tcp", "proxy", "tls", "certificate", "http", "type", "content")


@pytest.fixture
def home() -> Iterator[Home]:
    with live_agent() as made:
        yield made


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> w.Authority:
    return w.authority(tmp_path_factory.mktemp("ca"))


def configure(home: Home, *lines: str, mirror: str = MIRROR) -> None:
    home.settings.write_text("\n".join([home.good_settings.rstrip(), f'mirrors = ["{mirror}"]', *lines, ""]))


def steps(typed: Typed) -> dict[str, tuple[str, str | None]]:
    """Status, and detail or why, of each step to the second mirror: the first, the root's, is served by the home."""
    assert "Traceback" not in typed.err
    rows: list[dict[str, Any]] = typed.json["result"]["checks"]
    found = {
        each["check"]: (each["status"], each["detail"] or each["why"])
        for each in rows
        if each["label"] == "mirror-2" and each["address"] is None
    }
    assert tuple(found) == STEPS
    return found


def addresses(typed: Typed) -> list[tuple[str, str, str | None]]:
    rows: list[dict[str, Any]] = typed.json["result"]["checks"]
    mine = [each for each in rows if each["label"] == "mirror-2" and each["address"] is not None]
    return [(each["address"], each["status"], each["detail"] or each["why"]) for each in mine]


def tunnels(context: w.Context, reply: bytes) -> w.Script:
    """A proxy's script: a tunnel, at the end of which a server with this certificate says `reply`."""

    def script(connection: socket.socket) -> None:
        connection.sendall(ESTABLISHED)
        with w.secured(connection, context) as speaking:
            w.read_request(speaking)
            speaking.sendall(reply)

    return script


def test_a_proxy_that_speaks_tls_with_a_company_s_certificate(home: Home, company: w.Authority, tmp_path: Path) -> None:
    script = tunnels(w.server_context(company, tmp_path, "mirror.invalid"), GOOD)
    with wire(script, w.server_context(company, tmp_path, "localhost")) as proxy:
        url = f'proxy = "https://localhost:{proxy.port}"'
        configure(home, url, f'ca_file = "{company.file}"')
        good = home.type("doctor", "--json")
        configure(home, url)
        untrusted = home.type("doctor", "--json")
    assert {status for status, _ in steps(good).values()} == {"ok", "not_needed"}
    assert ("127.0.0.1", "ok", None) in addresses(good)
    assert steps(untrusted)["proxy"] == ("warning", "proxy_certificate")
    assert [steps(untrusted)[step] for step in STEPS[3:]] == [NOT_REACHED] * 5


@pytest.mark.parametrize(
    ("scheme", "script", "detail"),
    [
        ("https", w.is_silent, "proxy_no_tls"),
        (
            "http",
            sends(answer("407 No", "Proxy-Authenticate: NTLM", "Proxy-Authenticate: Negotiate")),
            "proxy_login_scheme",
        ),
        ("http", sends(answer("407 No", 'Proxy-Authenticate: Basic realm="x"')), "proxy_login_missing"),
        ("http", sends(answer("403 No")), "proxy_refused"),
        ("http", sends(answer("504 No")), "proxy_onward"),
        ("http", sends(answer("405 No")), "proxy_no_connect"),
        ("http", sends(answer("302 No", "Location: http://login.example/")), "proxy_page"),
        ("http", sends(PAGE), "proxy_page"),
        ("http", sends(b"SSH-2.0-OpenSSH\r\n\r\n"), "proxy_not_http"),
        ("http", sends(b""), "proxy_closed"),
    ],
    ids=[
        "https:// for a plain one",
        "NTLM",
        "login",
        "refused",
        "onward",
        "no CONNECT",
        "portal",
        "page",
        "no HTTP",
        "closed",
    ],
)
def test_a_proxy_is_where_it_ends_and_nothing_behind_is_ok(
    home: Home, scheme: str, script: w.Script, detail: str
) -> None:
    with wire(script) as proxy:
        configure(home, f'proxy = "{scheme}://127.0.0.1:{proxy.port}"')
        typed = home.type("doctor", "--json")
    by_step = steps(typed)
    assert by_step["dns"] == by_step["tcp"] == ("not_needed", "by_proxy")
    assert by_step["proxy"] == ("warning", detail)
    assert [by_step[step] for step in STEPS[3:]] == [NOT_REACHED] * 5
    assert addresses(typed) == [("127.0.0.1", "ok", None)]


def test_a_scheme_that_is_written_wrongly_is_said(home: Home) -> None:
    configure(home, 'proxy = "proxy.example:3128"')
    typed = home.type("doctor")
    assert "does not begin with http:// or https://" in typed.out.replace("\n", " ")
    assert "http://host:port" in typed.out


def test_an_exception_goes_past_the_proxy(home: Home) -> None:
    with wire(sends(answer("403 No"))) as proxy:
        configure(home, f'proxy = "http://127.0.0.1:{proxy.port}"', 'no_proxy = ["invalid"]')
        by_step = steps(home.type("doctor", "--json"))
        assert proxy.received == []
    assert by_step["proxy"] == ("not_needed", "no_proxy")
    assert by_step["dns"][0] == "warning"
    assert {by_step[step] for step in ("tcp", "tls", "http")} == {NOT_REACHED}


@pytest.mark.parametrize(
    ("known", "reply", "step", "detail"),
    [
        (False, GOOD, "certificate", "tls_certificate"),
        (True, PAGE, "type", "wrong_type"),
        (True, answer("302 Found", "Location: http://login.example/"), "http", "redirected"),
        (
            True,
            answer("200 OK", "Content-Type: application/statuslist+jwt", body=b"<html>"),
            "content",
            "content_foreign",
        ),
    ],
    ids=["unknown CA", "page", "redirect", "a page that calls itself a list"],
)
def test_interception_ends_where_it_shows(  # noqa: PLR0917 - pytest's own way to hand over cases
    home: Home, company: w.Authority, tmp_path: Path, known: bool, reply: bytes, step: str, detail: str
) -> None:
    with wire(tunnels(w.server_context(company, tmp_path, "mirror.invalid"), reply)) as proxy:
        configure(home, f'proxy = "http://127.0.0.1:{proxy.port}"', *([f'ca_file = "{company.file}"'] if known else []))
        by_step = steps(home.type("doctor", "--json"))
    place = STEPS.index(step)
    assert by_step[step] == ("warning", detail)
    assert {by_step[each] for each in STEPS[2:place]} == {("ok", None)}
    assert {by_step[each] for each in STEPS[place + 1 :]} <= {NOT_REACHED}


@pytest.mark.parametrize("kind", ["text/plain", "", "binary/octet-stream", "application/octet-stream"])
def test_a_plain_web_server_is_a_mirror_whatever_it_calls_its_files(home: Home, kind: str) -> None:
    with wire(sends(answer("200 OK", *([f"Content-Type: {kind}"] if kind else []), body=b"a.b.c\n"))) as server:
        configure(home, mirror=f"http://127.0.0.1:{server.port}")
        by_step = steps(home.type("doctor", "--json"))
    assert by_step["type"] == by_step["content"] == ("ok", None)


@pytest.mark.parametrize(
    ("reply", "step", "detail"),
    [
        (answer("404 Not Found", "Content-Type: text/html"), "http", "not_found"),
        (answer("403 Forbidden", "Content-Type: text/html"), "http", "not_given_out"),
        (answer("503 Service Unavailable"), "http", "status_unexpected"),
        (answer("511 Network Authentication Required"), "http", "network_login"),
        (b"\x00\x00\x12\x04" + bytes(23), "http", "reply_not_http"),
        (
            answer("200 OK", "Content-Type: application/statuslist+jwt", "Content-Encoding: gzip"),
            "http",
            "content_encoding",
        ),
        (
            answer("200 OK", "Content-Type: application/statuslist+jwt", body=b"a.b", length=9),
            "content",
            "reply_broken",
        ),
        (
            answer("200 OK", "Content-Type: application/statuslist+jwt", body=b"a.b", length=1),
            "content",
            "content_foreign",
        ),
    ],
    ids=["404", "403", "503", "511", "HTTP/2", "gzip", "cut", "length that is a lie"],
)
def test_what_a_server_did_is_said_and_not_that_it_passes_by_itself(
    home: Home, reply: bytes, step: str, detail: str
) -> None:
    with wire(sends(reply)) as server:
        configure(home, mirror=f"http://127.0.0.1:{server.port}")
        by_step = steps(home.type("doctor", "--json"))
    place = STEPS.index(step)
    assert by_step[step] == ("warning", detail)
    assert {by_step[each][0] for each in STEPS[:place]} <= {"ok", "not_needed"}
    assert {by_step[each] for each in STEPS[place + 1 :]} <= {NOT_REACHED}


def test_a_mirror_that_speaks_tls_is_said_where_its_address_says_http(
    home: Home, company: w.Authority, tmp_path: Path
) -> None:
    with wire(sends(GOOD), w.server_context(company, tmp_path, "localhost")) as server:
        configure(home, mirror=f"http://127.0.0.1:{server.port}")
        by_step = steps(home.type("doctor", "--json"))
    assert (by_step["tcp"], by_step["http"]) == (("ok", None), ("warning", "server_speaks_tls"))
    assert by_step["type"] == by_step["content"] == NOT_REACHED


# ---- what only root can lay out


NAME_SERVER: Final = "127.0.0.77"
NO_ERROR, SERVER_FAILURE, NAME_ERROR, REFUSED = 0, 2, 3, 5  # RFC 1035 4.1.1


@contextmanager
def name_server(reply_code: int | None) -> Iterator[None]:
    """A name server that gives every question this reply code and no record; None: it takes them and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((NAME_SERVER, 53))

        def answers() -> None:
            while True:
                question, client = service.recvfrom(512)
                if not question:  # the end of the test
                    return
                if reply_code is not None:
                    head = question[:2] + bytes([0x81, 0x80 | reply_code]) + question[4:6] + bytes(6)
                    service.sendto(head + question[12:], client)

        answering = threading.Thread(target=answers)
        answering.start()
        try:
            yield
        finally:
            service.sendto(b"", service.getsockname())
            answering.join()


@pytest.mark.root
@pytest.mark.parametrize("behind", ["", "proxy_"], ids=["the mirror's name", "the proxy's name"])
@pytest.mark.parametrize(
    ("reply_code", "detail"),
    [
        (None, "resolver_silent"),
        (SERVER_FAILURE, "resolver_failed"),
        (REFUSED, "resolver_failed"),
        (NAME_ERROR, "name_unknown"),
        (NO_ERROR, "name_unknown"),
    ],
    ids=["hangs", "fails", "refuses", "knows no such name", "has no address for it"],
)
def test_what_the_name_service_did_is_named_and_the_other_mirror_is_asked(
    home: Home, tmp_path: Path, reply_code: int | None, detail: str, behind: str
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    resolv = tmp_path / "resolv.conf"
    resolv.write_text(f"nameserver {NAME_SERVER}\noptions timeout:30 attempts:3\n")
    configure(home, *(['proxy = "http://proxy.example:3128"'] if behind else []), mirror="https://license.example")
    bind = 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec "$@"'
    with name_server(reply_code):
        typed = home.type("doctor", "--json", before=("unshare", "-m", "sh", "-c", bind, str(resolv)))
    by_step = steps(typed)
    assert by_step["proxy" if behind else "dns"] == ("warning", behind + detail)
    assert [by_step[step] for step in ("tls", "http", "content")] == [NOT_REACHED] * 3
    if not behind:
        assert by_step["tcp"] == NOT_REACHED
        first = [each for each in typed.json["result"]["checks"] if each["label"] == "mirror-1"]
        assert {each["status"] for each in first} == {"ok", "not_needed"}


# Six IPv6 addresses that swallow every packet (a neighbour that is not there), and one good IPv4 address.
BLACKHOLED: Final = """
    set -e
    ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
    ip -6 addr add 2001:db8:1::2/64 dev v0 nodad
    ip -6 neigh add 2001:db8:1::1 lladdr 02:00:00:00:00:01 dev v0
    ip -6 route add default via 2001:db8:1::1 dev v0
    ip addr add 192.0.2.10/32 dev lo
    mount --bind "$1" /etc/hosts
    exec "$2" -c "$3"
"""
ASKS: Final = """
    import json, socket, time
    from opanel_agent.core.wire.steps import RequestTrace
    from opanel_agent.system.http import dialing

    server = socket.create_server(("192.0.2.10", 8443))
    timings = []
    for every in (False, True):
        trace, began = RequestTrace(every_address=every), time.monotonic()
        addresses = dialing.resolve("mirror.example", 8443, 10)
        dialing.connect(addresses, 10, trace).close()
        timings.append([time.monotonic() - began, [[each.address, each.outcome] for each in trace.attempts]])
    print(json.dumps(timings))
"""


@pytest.mark.root
def test_six_blackholed_addresses_leave_the_good_one_to_be_reached_at_once(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare or ip is not installed")
    hosts = tmp_path / "hosts"
    names = [f"2001:db8:5::{n} mirror.example" for n in range(1, 7)]
    hosts.write_text("\n".join([*names, "192.0.2.10 mirror.example", ""]))
    finished = subprocess.run(
        [
            *("unshare", "-n", "-m", "sh", "-c", textwrap.dedent(BLACKHOLED), "sh"),
            *(str(hosts), sys.executable, textwrap.dedent(ASKS)),
        ],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "v0" in finished.stderr:
        pytest.skip("this kernel makes no veth")
    (racing_s, racing), (whole_s, whole) = json.loads(finished.stdout)
    assert racing_s < 2
    assert ["192.0.2.10", "connected"] in racing
    assert whole_s < 8
    assert {outcome for address, outcome in whole if address != "192.0.2.10"} == {"slow"}
