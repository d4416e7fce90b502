"""The wire, on the wire: what leaves is what was sealed, and every way a server can fail has its own code and an end."""

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from fixtures.daemon import wire_server as w
from fixtures.daemon.wire_server import answer, sends, wire
from fixtures.simulated.fake_network import FakeNetwork, ok
from opanel_agent.core.codes import Code, Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Unavailable
from opanel_agent.core.problems import MEDIA_TYPE as PROBLEM
from opanel_agent.core.wire.message import JOSE, Reply, Sealed, fixed_get, head, seal
from opanel_agent.system.http import HttpxTransport, TransferLimits, limits_for
from opanel_agent.system.http.deadline import Deadline
from opanel_agent.system.http.streams import SocketStream, write_if_open

LIST = "application/statuslist+jwt"
QUICK = TransferLimits(connect_s=0.4, read_s=0.3, whole_s=0.5, max_bytes=1000)
PATIENT = TransferLimits(connect_s=5, read_s=5, whole_s=5, max_bytes=100_000)
GOOD = answer("200 OK", f"Content-Type: {LIST}", body=b"a.b.c")


def get(port: int, scheme: str = "http", host: str = "127.0.0.1") -> Sealed:
    return fixed_get("status", f"{scheme}://{host}:{port}/base")


def post(port: int, body: bytes = b"x.y.z") -> Sealed:
    return seal(
        request_id="1",
        purpose="license_activation",
        url=f"http://127.0.0.1:{port}/v1/activations",
        accept=f"{JOSE}, {PROBLEM}",
        body=body,
    )


def send(
    sealed: Sealed, limits: TransferLimits = PATIENT, ca_file: Path | None = None, proxy: str | None = None
) -> Reply:
    return HttpxTransport(ca_file=ca_file, proxy=proxy, wall=lambda: 1_800_000_000.0).send(sealed, limits)


def fails(
    sealed: Sealed, limits: TransferLimits = PATIENT, ca_file: Path | None = None, proxy: str | None = None
) -> AgentError:
    with pytest.raises(AgentError) as caught:
        send(sealed, limits, ca_file, proxy)
    return caught.value


def fails_on(data: bytes, limits: TransferLimits = PATIENT) -> AgentError:
    with wire(sends(data)) as server:
        return fails(get(server.port), limits)


def code_and_detail(error: AgentError) -> tuple[Code, str]:
    return error.code, error.detail


# what leaves


def test_the_bytes_of_a_get_are_those_that_were_shown() -> None:
    with wire(sends(GOOD)) as server:
        sealed = get(server.port)
        reply = send(sealed)
    assert server.received == [head(sealed)]
    assert (reply.ok, reply.status, reply.body, reply.url) == (True, 200, b"a.b.c", sealed.url)
    assert reply.sent_head == head(sealed)
    assert ("Content-Type", LIST) in reply.headers


@pytest.mark.parametrize("body", [b"", b"x.y.z", bytes(60_000)])
def test_the_bytes_of_a_post_are_those_that_were_shown(body: bytes) -> None:
    with wire(sends(answer("200 OK", f"Content-Type: {JOSE}", body=b"a.b.c"))) as server:
        sealed = post(server.port, body)
        send(sealed)
    assert server.received == [head(sealed) + body]


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with wire(sends(GOOD)) as server:
        assert send(get(server.port)).ok


def test_one_request_is_one_connection_and_is_never_repeated() -> None:
    with wire(sends(b"")) as server:
        fails(get(server.port))
        time.sleep(0.1)
    assert len(server.received) == 1


@pytest.mark.parametrize("headers", [(), (("Host", "a"), ("Bad Name", ""))], ids=["no host is added", "bad name"])
def test_a_malformed_request_is_our_fault(headers: tuple[tuple[str, str], ...]) -> None:
    with wire(sends(GOOD)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        error = fails(Sealed(id="1", purpose="p", method="GET", url=url, headers=headers, body=b""))
    assert (type(error), *code_and_detail(error)) == (Bug, Reason.INTERNAL, "request_malformed")
    assert server.received == []


@pytest.mark.parametrize("declared", [(), (("Content-Length", "2"),), (("Content-Length", "0"),)])
def test_a_body_of_another_length_than_sealed_does_not_leave(declared: tuple[tuple[str, str], ...]) -> None:
    """Refused, rather than declared by a library or cut off in the middle."""
    with wire(sends(GOOD)) as server:
        host = f"127.0.0.1:{server.port}"
        headers = (("Host", host), *declared)
        error = fails(Sealed(id="1", purpose="p", method="POST", url=f"http://{host}/", headers=headers, body=b"x"))
    assert (type(error), *code_and_detail(error)) == (Bug, Reason.INTERNAL, "request_malformed")
    assert server.received == []


# what may come


@pytest.mark.parametrize(
    "content_type", [LIST, f"{LIST.upper()}; v=1", "application/octet-stream", "text/plain", "binary/octet-stream", "x"]
)
def test_the_named_type_is_taken_and_what_a_plain_web_server_calls_it(content_type: str) -> None:
    with wire(sends(answer("200 OK", f"Content-Type: {content_type}", body=b"a.b.c"))) as server:
        assert send(get(server.port)).body == b"a.b.c"


def test_chunks_and_an_open_end_are_taken() -> None:
    chunked = f"HTTP/1.1 200 OK\r\nContent-Type: {LIST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with wire(sends(chunked + b"3\r\na.b\r\n2\r\n.c\r\n0\r\n\r\n")) as server:
        assert send(get(server.port)).body == b"a.b.c"
    with wire(sends(f"HTTP/1.1 200 OK\r\nContent-Type: {LIST}\r\n\r\na.b.c".encode())) as server:
        assert send(get(server.port)).body == b"a.b.c"


def test_the_identity_coding_is_taken() -> None:
    with wire(sends(answer("200 OK", f"Content-Type: {LIST}", "Content-Encoding: identity", body=b"a"))) as server:
        assert send(get(server.port)).ok


def test_a_body_as_long_as_admitted_is_taken_and_one_byte_more_is_not() -> None:
    limits = TransferLimits(max_bytes=1000)
    with wire(sends(answer("200 OK", f"Content-Type: {LIST}", body=b"x" * 1000))) as server:
        assert len(send(get(server.port), limits).body) == 1000
    error = fails_on(answer("200 OK", f"Content-Type: {LIST}", body=b"x" * 1001), limits)
    assert (*code_and_detail(error), error.values) == (Reason.SERVER_ERROR, "reply_too_long", {"max_bytes": 1000})


@pytest.mark.parametrize(
    ("data", "code", "detail"),
    [
        (answer("200 OK", "Content-Type: text/html", body=b"<p>sign in"), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("200 OK", body=b"<p>sign in"), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("200 OK", "Content-Type: application/octet-stream", body=b"<p>"), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("200 OK", "Content-Type: text/html", body=b"x" * 600_000), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("200 OK", body=b""), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("200 OK", f"Content-Type: {PROBLEM}", body=b"{}"), Reason.CAPTIVE_PORTAL, "wrong_type"),
        (answer("302 Found", "Location: http://127.0.0.1:9/"), Reason.CAPTIVE_PORTAL, "redirected"),
        (answer("308 Permanent Redirect", "Location: /other"), Reason.CAPTIVE_PORTAL, "redirected"),
        (answer("304 Not Modified"), Reason.SERVER_ERROR, "not_given_out"),
        (answer("511 Network Authentication Required"), Reason.CAPTIVE_PORTAL, "network_login"),
        (answer("407 Proxy Authentication Required"), Reason.PROXY_ERROR, "proxy_refused"),
        (
            answer("500 Internal Server Error", "Content-Type: text/html", body=b"oh"),
            Reason.SERVER_ERROR,
            "status_unexpected",
        ),
        *((answer(f"{status} Later"), Reason.SERVER_ERROR, "status_unexpected") for status in (408, 429, 502, 503)),
        *((answer(f"{status} No"), Reason.SERVER_ERROR, "not_found") for status in (404, 410)),
        *((answer(f"{status} No"), Reason.SERVER_ERROR, "not_given_out") for status in (401, 403, 451)),
        (answer("204 No Content"), Reason.SERVER_ERROR, "not_given_out"),
        (answer("206 Partial Content", f"Content-Type: {LIST}", body=b"a."), Reason.SERVER_ERROR, "not_given_out"),
        (
            answer("200 OK", f"Content-Type: {LIST}", "Content-Encoding: gzip", body=b"x"),
            Reason.SERVER_ERROR,
            "content_encoding",
        ),
        (answer("200 OK", f"Content-Type: {LIST}", body=b"a.b", length=10), Reason.SERVER_ERROR, "reply_broken"),
        (answer("200 OK", f"Content-Type: {LIST}", length=10**15), Reason.SERVER_ERROR, "reply_too_long"),
        (
            answer("200 OK", f"Content-Type: {LIST}", "Cookie: " + "x" * 13_000, body=b"a"),
            Reason.SERVER_ERROR,
            "reply_head_too_long",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, Reason.SERVER_ERROR, "reply_not_http"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", Reason.SERVER_ERROR, "reply_not_http"),
        (b"a.b.c", Reason.SERVER_ERROR, "reply_not_http"),
        (b"\x00\x00\x12\x04" + bytes(23), Reason.SERVER_ERROR, "reply_not_http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reason.SERVER_ERROR, "reply_not_http"),
        (b"HTTP/1.1 200 OK\r\nConte", Reason.SERVER_ERROR, "reply_broken"),
        (b"", Reason.SERVER_ERROR, "reply_broken"),
    ],
)
def test_every_other_answer_has_its_code(data: bytes, code: Code, detail: str) -> None:
    error = fails_on(data)
    assert (type(error), error.code, error.detail) == (Unavailable, code, detail)


def test_broken_chunks_are_a_broken_reply() -> None:
    start = f"HTTP/1.1 200 OK\r\nContent-Type: {LIST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert code_and_detail(fails_on(start + b"3\r\nabc\r\nzz\r\n")) == (Reason.SERVER_ERROR, "reply_not_http")
    assert code_and_detail(fails_on(start + b"3\r\nabc\r\n")) == (Reason.SERVER_ERROR, "reply_broken")


def test_a_redirect_is_not_followed() -> None:
    with (
        wire(sends(GOOD)) as target,
        wire(sends(answer("301 Moved", f"Location: http://127.0.0.1:{target.port}/"))) as server,
    ):
        error = fails(get(server.port))
    assert (*code_and_detail(error), error.values) == (Reason.CAPTIVE_PORTAL, "redirected", {"status": 301})
    assert target.received == []


@pytest.mark.parametrize("content_type", ["application/octet-stream", PROBLEM, LIST])
def test_a_posts_answer_must_be_what_it_asked_for(content_type: str) -> None:
    with wire(sends(answer("200 OK", f"Content-Type: {content_type}", body=b"{}"))) as server:
        assert code_and_detail(fails(post(server.port))) == (Reason.CAPTIVE_PORTAL, "wrong_type")


def test_what_a_server_said_before_it_left_counts_although_the_request_did_not_reach_it() -> None:
    """As one that answers at once and closes: the request then meets a connection that is reset."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer("503 Busy", "Retry-After: 7"))
        theirs.close()
        stream = SocketStream(ours, Deadline(30))
        write_if_open(stream, b"GET / HTTP/1.1\r\n\r\n", 5)
        assert stream.read(100, 5).startswith(b"HTTP/1.1 503 Busy")


def test_a_request_that_nobody_reads_is_left_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        write_if_open(SocketStream(ours, Deadline(30)), b"x" * 10_000_000, 0.05)


# how long it may take


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        (w.is_silent, "reply_slow"),
        (w.dribbles(b"HTTP/1.1 200 OK\r\n", piece=b"X"), "reply_slow"),
        (w.dribbles(answer("200 OK", f"Content-Type: {LIST}", length=900)), "reply_stalled"),
        (w.dribbles(answer("200 OK", "Content-Type: text/plain", length=900)), "reply_stalled"),
        (w.dribbles(answer("500 Oh", f"Content-Type: {PROBLEM}", length=900)), "reply_slow"),
    ],
    ids=["silent", "slow header", "slow body", "slow body of another type", "slow problem"],
)
def test_a_slow_server_is_left(script: w.Script, detail: str) -> None:
    began = time.monotonic()
    with wire(script) as server:
        error = fails(get(server.port), QUICK)
        took_s = time.monotonic() - began
    assert code_and_detail(error) == (Reason.SERVER_ERROR, detail)
    assert took_s < 2


@pytest.mark.parametrize("framing", ["Connection: close", "Transfer-Encoding: chunked"])
def test_an_endless_body_is_left_at_the_limit(framing: str) -> None:
    start = f"HTTP/1.1 200 OK\r\nContent-Type: {LIST}\r\n{framing}\r\n\r\n".encode()
    with wire(w.floods(start, piece=b"64\r\n" + b"x" * 100 + b"\r\n")) as server:
        assert code_and_detail(fails(get(server.port), TransferLimits(max_bytes=5000))) == (
            Reason.SERVER_ERROR,
            "reply_too_long",
        )


# who is reached


def test_an_unknown_name() -> None:
    assert code_and_detail(fails(get(80, "https", "status.invalid"))) == (Reason.UNREACHABLE_DNS, "name_unknown")


def test_a_name_that_dns_cannot_carry() -> None:
    """A root may name what no settings may: it is an unknown name, not an error of ours."""
    assert code_and_detail(fails(get(80, "https", f"{'a' * 64}.invalid"))) == (Reason.UNREACHABLE_DNS, "name_unknown")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_refused_port() -> None:
    assert code_and_detail(fails(get(free_port()))) == (Reason.UNREACHABLE_TCP, "connect_failed")


@pytest.mark.parametrize("host", ["127.1", "2130706433"])
def test_a_name_that_leads_to_this_machine_itself(host: str) -> None:
    """As a filter in the name service answers; neither is a loopback address as one is written."""
    error = fails(get(free_port(), "https", host))
    assert code_and_detail(error) == (Reason.UNREACHABLE_TCP, "connect_own")
    assert error.values["address"] == "127.0.0.1"


@pytest.fixture
def full_port() -> Iterator[int]:
    """A listener that takes no more connections: the kernel drops what knocks, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            assert each.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
        yield int(listener.getsockname()[1])
        for each in waiting:
            each.close()


def test_a_port_that_never_answers(full_port: int) -> None:
    assert code_and_detail(fails(get(full_port), TransferLimits(connect_s=0.3, whole_s=5))) == (
        Reason.UNREACHABLE_TCP,
        "connect_slow",
    )


# TLS


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> w.Authority:
    return w.authority(tmp_path_factory.mktemp("ca"))


def test_a_certificate_of_our_own_authority_is_trusted(trusted: w.Authority, tmp_path: Path) -> None:
    with wire(sends(GOOD), w.server_context(trusted, tmp_path, "localhost")) as server:
        sealed = get(server.port, "https", "localhost")
        assert send(sealed, ca_file=trusted.file).body == b"a.b.c"
    assert server.received == [head(sealed)]


def test_an_unknown_authority_is_not_trusted_whatever_the_environment_sends(
    trusted: w.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with wire(sends(GOOD), w.server_context(trusted, tmp_path, "localhost")) as server:
        error = fails(get(server.port, "https", "localhost"))
    assert code_and_detail(error) == (Reason.TLS_UNTRUSTED, "tls_certificate")
    assert server.received == []


@pytest.mark.parametrize(
    ("name", "age_days", "objection"),
    [
        ("other.invalid", 0, ("tls_name", "mismatch")),
        ("localhost", 20, ("tls_certificate", "expired")),
        ("localhost", -5, ("tls_certificate", "not yet valid")),
    ],
)
def test_a_certificate_for_another_name_or_time_is_not_trusted(
    trusted: w.Authority, tmp_path: Path, name: str, age_days: int, objection: tuple[str, str]
) -> None:
    with wire(sends(GOOD), w.server_context(trusted, tmp_path, name, age_days=age_days)) as server:
        error = fails(get(server.port, "https", "localhost"), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.TLS_UNTRUSTED, objection[0])
    assert objection[1] in str(error.values["why"])
    assert server.received == []


def test_a_server_that_speaks_tls_is_named_where_the_address_says_http(trusted: w.Authority, tmp_path: Path) -> None:
    with wire(sends(GOOD), w.server_context(trusted, tmp_path, "localhost")) as server:
        error = fails(get(server.port))
    assert code_and_detail(error) == (Reason.SERVER_ERROR, "server_speaks_tls")
    assert server.received == []


@pytest.mark.parametrize(
    ("plain", "detail", "connections"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x46", "server_speaks_tls", 2),  # an alert of the protocol's version
        (answer("400 Bad Request", "Content-Type: text/html", body=b"plain HTTP, to HTTPS"), "server_speaks_tls", 2),
        (answer("404 Not Found"), "not_found", 1),
    ],
    ids=["alert", "400", "404"],
)
def test_so_is_one_that_answers_a_plain_request(
    trusted: w.Authority, tmp_path: Path, plain: bytes, detail: str, connections: int
) -> None:
    context = w.server_context(trusted, tmp_path, "localhost")
    begun: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while True:
                connection, _ = listener.accept()
                begun.append(connection.recv(3, socket.MSG_PEEK))
                with connection:
                    if begun[-1] == b"GET":
                        w.read_request(connection)
                        connection.sendall(plain)
                    else:
                        context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        error = fails(get(listener.getsockname()[1]))
        listener.shutdown(socket.SHUT_RDWR)
    assert code_and_detail(error) == (Reason.SERVER_ERROR, detail)
    assert (begun[0], len(begun)) == (b"GET", connections)


def test_what_speaks_no_tls(trusted: w.Authority) -> None:
    with wire(sends(GOOD), greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        error = fails(get(server.port, "https", "localhost"), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.TLS_UNTRUSTED, "tls_not_spoken")


def test_a_server_that_speaks_only_tls_that_is_too_old(trusted: w.Authority) -> None:
    with wire(sends(GOOD), greeting=b"\x15\x03\x01\x00\x02\x02\x46") as server:  # the alert protocol_version
        error = fails(get(server.port, "https", "localhost"), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.TLS_UNTRUSTED, "tls_version")
    assert "protocol version" in str(error.values["why"])


def test_a_server_that_refuses_the_name(trusted: w.Authority) -> None:
    with wire(sends(GOOD), greeting=b"\x15\x03\x03\x00\x02\x02\x70") as server:  # the alert unrecognized_name
        error = fails(get(server.port, "https", "localhost"), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.TLS_UNTRUSTED, "tls_handshake")
    assert "unrecognized name" in str(error.values["why"])


def test_a_server_that_wants_a_certificate_of_the_agent_s(trusted: w.Authority, tmp_path: Path) -> None:
    """By TLS 1.3 it says so only after the handshake, when the request has left."""
    context = w.server_context(trusted, tmp_path, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(trusted.file)
    with wire(sends(GOOD), context) as server:
        error = fails(get(server.port, "https", "localhost"), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.SERVER_ERROR, "tls_ended")
    assert "certificate required" in str(error.values["why"])


def test_a_silent_handshake_is_left_and_is_no_failed_connection(trusted: w.Authority) -> None:
    """The firewall lets it through, and whoever looks for the fault there looks in the wrong place."""
    with wire(w.is_silent) as server:
        error = fails(get(server.port, "https", "localhost"), TransferLimits(connect_s=0.3), ca_file=trusted.file)
    assert code_and_detail(error) == (Reason.SERVER_ERROR, "handshake_slow")


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_broken_ca_file_is_the_settings_fault(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    error = fails(get(9, "https", "localhost"), ca_file=file)
    assert (type(error), *code_and_detail(error), error.values) == (
        Misconfigured,
        Reason.SETTINGS_REFUSED,
        "ca_file",
        {"file": str(file)},
    )


# a proxy


AFAR = "https://license.invalid"


def test_a_proxy_carries_the_same_bytes(trusted: w.Authority, tmp_path: Path) -> None:
    context = w.server_context(trusted, tmp_path, "license.invalid")
    inside: list[bytes] = []

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as speaking:
            inside.append(w.read_request(speaking))
            speaking.sendall(GOOD)

    sealed = fixed_get("status", AFAR)
    with wire(tunnel) as proxy:
        assert send(sealed, ca_file=trusted.file, proxy=f"http://127.0.0.1:{proxy.port}").body == b"a.b.c"
    assert inside == [head(sealed)]
    assert proxy.received[0].startswith(b"CONNECT license.invalid:443 HTTP/1.1\r\n")


def test_a_loopback_address_goes_past_the_proxy() -> None:
    with wire(sends(GOOD)) as server:
        assert send(get(server.port), proxy=f"http://127.0.0.1:{free_port()}").ok


# a server's no


def problem(name: str, *headers: str, status: str = "409 Conflict") -> bytes:
    body = b'{"type":"urn:opanel:problem:%s","title":"no"}' % name.encode()
    return answer(status, f"Content-Type: {PROBLEM}", *headers, body=body)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("key_unknown", Fault.KEY_UNKNOWN),
        ("seats_taken", Fault.SEATS_TAKEN),
        ("binding_impossible", Fault.BINDING_IMPOSSIBLE),
        ("rate_limited", Fault.RATE_LIMITED),
        ("superseded", Reason.SUPERSEDED),
        ("revoked", Reason.REVOKED),
        ("expired", Reason.EXPIRED),
        ("request_refused", Reason.SERVER_ERROR),
    ],
)
def test_a_problem_of_ours_is_told_apart(name: str, code: Code) -> None:
    error = fails_on(problem(name))
    assert (*code_and_detail(error), error.values) == (code, f"problem_{name}", {"status": 409})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"type":1}', b'{"type":"about:blank"}', b'{"type":"urn:opanel:problem:new"}', b"x" * 20_000]
)
def test_any_other_problem_is_a_status(body: bytes) -> None:
    error = fails_on(answer("418 Teapot", f"Content-Type: {PROBLEM}", body=body))
    assert (*code_and_detail(error), error.values) == (
        Reason.SERVER_ERROR,
        "not_given_out",
        {"status": 418, "why": "HTTP 418"},
    )


def test_a_problem_that_ends_early_is_a_status() -> None:
    error = fails_on(answer("400 Bad", f"Content-Type: {PROBLEM}", body=b"{", length=50))
    assert (*code_and_detail(error), error.values) == (
        Reason.SERVER_ERROR,
        "not_given_out",
        {"status": 400, "why": "HTTP 400"},
    )


NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        (["Retry-After: 120"], 120),
        (["Retry-After: 0"], 0),
        (["Retry-After: 999999999999999999999"], 86400),
        (["Retry-After: Tue, 24 Nov 2026 12:05:00 GMT", f"Date: {format_datetime(NOW, usegmt=True)}"], 300),
        (["Retry-After: Tue, 24 Nov 2026 11:00:00 GMT", f"Date: {format_datetime(NOW, usegmt=True)}"], 0),
        (["Retry-After: Fri, 24 Nov 2028 12:05:00 GMT", f"Date: {format_datetime(NOW, usegmt=True)}"], 86400),
        (["Retry-After: Fri, 15 Jan 2027 08:01:00 GMT"], 60),  # from the wall clock, 1800000000
        (["Retry-After: soon"], None),
        (["Retry-After: -5"], None),
        (["Retry-After: ٣"], None),
        ([], None),
    ],
)
def test_retry_after(headers: list[str], wait_s: int | None) -> None:
    for data in (answer("503 Busy", *headers), problem("rate_limited", *headers, status="429 Slow")):
        assert fails_on(data).values.get("retry_after_s") == wait_s


# limits and the fake


def test_each_purpose_has_its_size() -> None:
    assert limits_for(fixed_get("status", AFAR)).max_bytes == 512 * 1024
    assert limits_for(fixed_get("advisories", AFAR)).max_bytes == 256 * 1024
    assert limits_for(post(9)).max_bytes == 64 * 1024


def test_the_fake_network_remembers_and_answers_in_order() -> None:
    network = FakeNetwork()
    sealed = get(80)
    with pytest.raises(Unavailable, match="connect_failed"):
        network.send(sealed, PATIENT)
    network.on("GET", sealed.url, Unavailable(Reason.UNREACHABLE_DNS, "name_unknown"), ok(b"a.b.c", LIST))
    with pytest.raises(Unavailable, match="name_unknown"):
        network.send(sealed, PATIENT)
    assert [network.send(sealed, PATIENT).body for _ in range(2)] == [b"a.b.c"] * 2
    with pytest.raises(Unavailable, match="reply_too_long"):
        network.send(sealed, TransferLimits(max_bytes=1))
    assert network.sent == [sealed] * 5
    assert network.send(sealed, PATIENT).sent_head == head(sealed)
