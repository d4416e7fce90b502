"""Each thing that can be wrong with a proxy has its own name, because each has its own cure."""

import socket
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest

from fixtures.daemon import wire_server as w
from fixtures.daemon.wire_server import answer, sends, wire
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.core.wire.message import Reply, fixed_get, head
from opanel_agent.core.wire.steps import Outcome, RequestTrace, Step
from opanel_agent.system.http import HttpxTransport, TransferLimits
from opanel_agent.system.http.proxy import Proxy

AFAR = fixed_get("status", "https://license.invalid")
QUICK = TransferLimits(connect_s=0.5, read_s=0.5, whole_s=3)
GOOD = answer("200 OK", "Content-Type: application/statuslist+jwt", body=b"a.b.c")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> w.Authority:
    return w.authority(tmp_path_factory.mktemp("ca"))


def send(proxy: str, ca_file: Path | None = None, trace: RequestTrace | None = None) -> Reply:
    return HttpxTransport(ca_file=ca_file, proxy=proxy).send(AFAR, QUICK, trace)


def fails(proxy: str, ca_file: Path | None = None) -> tuple[AgentError, RequestTrace]:
    trace = RequestTrace()
    with pytest.raises(Unavailable) as raised:
        send(proxy, ca_file, trace)
    return raised.value, trace


def fails_on(data: bytes, login: str = "") -> AgentError:
    with wire(sends(data)) as proxy:
        error, trace = fails(f"http://{login}127.0.0.1:{proxy.port}")
    assert (error.code, trace.failed, trace.passed) == (Reason.PROXY_ERROR, Step.PROXY, [])
    return error


@pytest.mark.parametrize("tls", [False, True], ids=["plain proxy", "proxy that speaks TLS"])
def test_a_proxy_carries_the_same_bytes(company: w.Authority, tmp_path: Path, *, tls: bool) -> None:
    """The second one has a certificate of a company's authority, which `ca_file` names."""
    context = w.server_context(company, tmp_path, "license.invalid")
    inside: list[bytes] = []

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(ESTABLISHED)
        with w.secured(connection, context) as speaking:
            inside.append(w.read_request(speaking))
            speaking.sendall(GOOD)

    trace = RequestTrace()
    with wire(tunnel, w.server_context(company, tmp_path, "localhost") if tls else None) as proxy:
        url = f"https://localhost:{proxy.port}" if tls else f"http://127.0.0.1:{proxy.port}"
        assert send(url, company.file, trace).body == b"a.b.c"
    assert inside == [head(AFAR)]
    assert proxy.received[0].startswith(b"CONNECT license.invalid:443 HTTP/1.1\r\nHost: license.invalid:443\r\n")
    assert trace.passed == [Step.PROXY, Step.TLS, Step.CERTIFICATE, Step.HTTP, Step.TYPE, Step.CONTENT]
    assert trace.failed is None
    assert Outcome.CONNECTED in [each.outcome for each in trace.attempts]


@pytest.mark.parametrize("login", ["user:secret", "user:p@ss:w/rd#", "CORP\\user:secret", "user:päss"])
def test_user_and_password_are_percent_decoded(login: str) -> None:
    import base64

    user, _, password = login.partition(":")
    with wire(sends(answer("403 No"))) as proxy:
        fails(f"http://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{proxy.port}")
    wanted = b"proxy-authorization: basic " + base64.b64encode(login.encode()).lower()
    assert wanted in proxy.received[0].lower()


def challenge(*schemes: str) -> bytes:
    return answer("407 Proxy Authentication Required", *(f"Proxy-Authenticate: {scheme}" for scheme in schemes))


@pytest.mark.parametrize(
    ("reply", "login", "detail", "values"),
    [
        (challenge('Basic realm="x"'), "", "proxy_login_missing", {"status": 407}),
        (challenge(), "", "proxy_login_missing", {"status": 407}),
        (challenge('Basic realm="x"'), "u:p@", "proxy_login_wrong", {"status": 407}),
        (challenge("NTLM", "Negotiate"), "", "proxy_login_scheme", {"status": 407, "schemes": "NTLM, Negotiate"}),
        (challenge("Negotiate oRQwEqADCgEB"), "u:p@", "proxy_login_scheme", {"status": 407, "schemes": "Negotiate"}),
        (challenge("NTLM", "BASIC realm=x"), "u:p@", "proxy_login_wrong", {"status": 407}),
        (challenge('NTLM, Basic realm="x"'), "", "proxy_login_missing", {"status": 407}),
        (
            challenge("Negotiate, NTLM ,Kerberos"),
            "",
            "proxy_login_scheme",
            {"status": 407, "schemes": "Negotiate, NTLM, Kerberos"},
        ),
        (
            challenge('Digest realm="a, Basic", nonce="Basic \\", Basic"'),
            "",
            "proxy_login_scheme",
            {"status": 407, "schemes": "Digest"},
        ),
        *(
            (
                answer(f"{status} No", "Content-Type: text/html", body=b"no"),
                "",
                detail,
                {"status": status, "why": f"HTTP {status}"},
            )
            for statuses, detail in (
                ((401, 403, 429, 500), "proxy_refused"),
                ((400, 404, 405, 501), "proxy_no_connect"),
                ((302, 511), "proxy_page"),
                ((502, 503, 504), "proxy_onward"),
            )
            for status in statuses
        ),
        (answer("200 OK", "Content-Type: text/html", body=b"<p>no"), "", "proxy_page", {}),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n", "", "proxy_page", {}),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<p>no\r\n0\r\n\r\n", "", "proxy_page", {}),
        (b"HTTP/1.1 200 OK\r\n\r\n\n<!DOCTYPE html>", "", "proxy_page", {}),
        (b"", "", "proxy_closed", {}),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "", "proxy_not_http", {}),
        (b"\x05\xff", "", "proxy_not_http", {}),
        (b"\x15\x03\x03\x00\x02\x02\x46", "", "proxy_speaks_tls", {}),
    ],
)
def test_what_a_proxy_says_has_a_name(reply: bytes, login: str, detail: str, values: dict[str, object]) -> None:
    error = fails_on(reply, login)
    assert (error.detail, error.values) == (detail, values)


def test_an_interim_response_is_passed_over() -> None:
    assert fails_on(b"HTTP/1.1 100 Continue\r\n\r\n" + challenge("Basic")).detail == "proxy_login_missing"


def test_a_proxy_that_says_nothing() -> None:
    with wire(w.is_silent) as proxy:
        assert fails(f"http://127.0.0.1:{proxy.port}")[0].detail == "proxy_silent"


def test_a_proxy_that_speaks_tls_and_is_written_without(company: w.Authority, tmp_path: Path) -> None:
    with wire(sends(b""), w.server_context(company, tmp_path, "localhost")) as proxy:
        error, _ = fails(f"http://localhost:{proxy.port}", company.file)
    assert error.detail == "proxy_speaks_tls"


def waits_for_a_line(connection: socket.socket) -> None:
    connection.settimeout(20)
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["answers", "waits"])
def test_a_plain_proxy_that_is_written_with_https(greeting: bytes) -> None:
    with wire(waits_for_a_line, greeting=greeting) as proxy:
        error, trace = fails(f"https://localhost:{proxy.port}")
    assert (error.code, error.detail, trace.passed) == (Reason.PROXY_ERROR, "proxy_no_tls", [])


def test_a_proxy_that_speaks_only_tls_that_is_too_old() -> None:
    with wire(sends(b""), greeting=b"\x15\x03\x01\x00\x02\x02\x46") as proxy:  # the alert protocol_version
        error, _ = fails(f"https://localhost:{proxy.port}")
    assert error.detail == "proxy_handshake"
    assert "protocol version" in str(error.values["why"])


def test_a_proxy_that_wants_a_certificate_of_the_agent_s(company: w.Authority, tmp_path: Path) -> None:
    context = w.server_context(company, tmp_path, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(company.file)
    with wire(sends(b""), context) as proxy:
        error, _ = fails(f"https://localhost:{proxy.port}", ca_file=company.file)
    assert error.detail == "proxy_handshake"
    assert "certificate required" in str(error.values["why"])


@pytest.mark.parametrize("age_days", [20, -5], ids=["expired", "not yet valid"])
def test_the_dates_of_a_proxy_s_certificate_are_the_clock_s_matter(
    company: w.Authority, tmp_path: Path, age_days: int
) -> None:
    with wire(sends(b""), w.server_context(company, tmp_path, "localhost", age_days=age_days)) as proxy:
        error, _ = fails(f"https://localhost:{proxy.port}", ca_file=company.file)
    assert error.detail == "proxy_dates"


def test_a_proxy_whose_certificate_is_not_trusted_says_why(company: w.Authority, tmp_path: Path) -> None:
    with wire(sends(b""), w.server_context(company, tmp_path, "localhost")) as proxy:
        error, _ = fails(f"https://localhost:{proxy.port}")
    assert error.detail == "proxy_certificate"
    assert "certificate" in str(error.values["why"])


def test_a_proxy_that_is_not_there(free_port: int) -> None:
    error, trace = fails(f"http://127.0.0.1:{free_port}")
    assert (error.detail, error.values) == ("proxy_unreachable", {"address": "127.0.0.1"})
    assert [each.outcome for each in trace.attempts] == [Outcome.REFUSED]


def test_a_proxy_whose_name_is_unknown() -> None:
    error, trace = fails("http://proxy.invalid:3128")
    names = {"proxy_name_unknown", "proxy_resolver_failed", "proxy_resolver_silent"}  # as this machine puts it
    assert error.detail in names
    assert (trace.failed, trace.attempts) == (Step.PROXY, [])


def intercepts(context: w.Context) -> w.Script:
    """Ends the tunnel's TLS itself, with a certificate of its own, and answers with a page."""

    def script(connection: socket.socket) -> None:
        connection.sendall(ESTABLISHED)
        with w.secured(connection, context) as speaking:
            w.read_request(speaking)
            speaking.sendall(answer("200 OK", "Content-Type: text/html", body=b"<p>"))

    return script


def test_a_proxy_that_intercepts_fails_at_the_certificate_or_at_what_it_answers(
    company: w.Authority, tmp_path: Path
) -> None:
    context = w.server_context(company, tmp_path, "license.invalid")
    with wire(intercepts(context)) as proxy:
        error, trace = fails(f"http://127.0.0.1:{proxy.port}")
        assert (error.detail, trace.failed, trace.passed) == (
            "tls_certificate",
            Step.CERTIFICATE,
            [Step.PROXY, Step.TLS],
        )
        error, trace = fails(f"http://127.0.0.1:{proxy.port}", company.file)
        assert (error.code, error.detail, trace.failed) == (Reason.CAPTIVE_PORTAL, "wrong_type", Step.TYPE)


def test_a_tunnel_that_is_cut_fails_at_tls_and_not_at_the_proxy() -> None:
    with wire(sends(ESTABLISHED)) as proxy:
        error, trace = fails(f"http://127.0.0.1:{proxy.port}")
    assert (trace.passed, trace.failed) == ([Step.PROXY], Step.TLS)
    assert error.detail == "tls_cut"


# exceptions


def test_an_exempt_host_is_asked_past_the_proxy(free_port: int) -> None:
    transport = HttpxTransport(proxy=f"http://127.0.0.1:{free_port}", no_proxy=["license.invalid"])
    trace = RequestTrace()
    with pytest.raises(Unavailable):
        transport.send(AFAR, QUICK, trace)
    assert trace.failed is Step.DNS


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://p.example", Proxy(host="p.example", port=80, tls=False, login=None)),
        ("https://p.example", Proxy(host="p.example", port=443, tls=True, login=None)),
        ("http://u@[2001:db8::1]:3128/", Proxy(host="2001:db8::1", port=3128, tls=False, login="u:")),
    ],
)
def test_a_proxy_is_read_from_its_address(url: str, wanted: Proxy) -> None:
    assert Proxy.parse(url) == wanted
