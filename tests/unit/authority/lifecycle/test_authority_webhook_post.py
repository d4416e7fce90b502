"""Where a webhook may lead, and what a receiver can do to who sends it: nothing."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from fixtures.daemon import wire_server
from fixtures.daemon.wire_server import wire
from opanel_authority.lifecycle import webhook_post
from opanel_authority.lifecycle.webhook_post import Place, PostFailure, is_public, names_public
from opanel_authority.tls import client_context

PUBLIC = ("8.8.8.8", "193.140.0.1", "2001:4860:4860::8888", "2a00:1450:4001::1")
INSIDE = (
    *("127.0.0.1", "127.1.2.3", "0.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:db8::1", "2002:a00:1::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "fd00:ec2::254"),
)


@pytest.mark.parametrize("address", PUBLIC)
def test_hosts_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_what_only_a_machine_or_its_network_reaches_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://billing.example/hooks", True),
        ("https://billing.example:8443", True),
        ("https://8.8.8.8/", True),
        ("https://[2a00:1450:4001::1]/", True),
        ("http://billing.example/", False),
        ("http://127.0.0.1/", False),
        ("https://localhost/", False),
        ("https://127.0.0.1:9/", False),
        ("https://10.1.2.3/", False),
        ("https://169.254.169.254/latest", False),
        ("https://[::1]/", False),
        ("https://[::ffff:127.0.0.1]/", False),
        ("https://user@billing.example/", False),
        ("https://billing.example@10.0.0.1/", False),
        ("https://billing.example\\@10.0.0.1/", False),
        ("https://[::1", False),
        ("file:///etc/passwd", False),
        ("gopher://billing.example/", False),
        ("", False),
    ],
)
def test_what_anybody_may_name(url: str, *, may: bool) -> None:
    assert names_public(url) == may


def post(url: str, *, inside: bool = True, timeout_s: float = 30, **more: object) -> str:
    return webhook_post.post(url, b"{}", {"webhook-id": "1"}, inside=inside, timeout_s=timeout_s, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["https://127.1:{}/", "https://2130706433:{}/", "https://0x7f.1:{}/", "http://localhost:{}/"]
)
def test_however_this_machine_is_spelled_nobody_connects_to_it(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        port = listening.getsockname()[1]
        assert post(url.format(port), inside=False) == PostFailure.NO_ADDRESS
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_name_is_resolved_once_and_its_addresses_inside_are_not_asked() -> None:
    """The second answer of a name that is rebound lies inside; it is judged as the first was, each for one POST."""
    asked: list[tuple[str, int]] = []

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)

        def resolve(host: str, port: int) -> list[Place]:
            asked.append((host, port))
            public: list[Place] = [(socket.AF_INET, ("8.8.8.8", port))] if len(asked) == 1 else []
            return [(socket.AF_INET, listening.getsockname()), *public]

        # no time at all: there is somebody to ask, and nobody is
        assert post("https://rebound.example/", inside=False, timeout_s=0, resolve=resolve) == PostFailure.SILENT
        assert asked == [("rebound.example", 443)]
        assert post("https://rebound.example/", inside=False, resolve=resolve) == PostFailure.NO_ADDRESS
        with pytest.raises(TimeoutError):
            listening.accept()


def test_a_name_that_lies_inside_is_told_like_one_that_is_none() -> None:
    def unknown(_host: str, _port: int) -> list[Place]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def inside(_host: str, port: int) -> list[Place]:
        return [(socket.AF_INET, ("10.0.0.1", port))]

    outcomes = {post("https://db.internal/", inside=False, resolve=each) for each in (unknown, inside)}
    assert outcomes == {PostFailure.NO_ADDRESS}


@contextmanager
def receiver(*pieces: bytes, pause_s: float = 0.0, hold: bool = False) -> Iterator[str]:
    """Whatever is asked, it sends these pieces with a pause after each, then ends the connection or holds it."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with closing(connection):
            connection.recv(65536)
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                if ended.wait(pause_s):
                    return
            if hold:
                ended.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), "204"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), "200"),
        ((b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",), "302"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n",), "no_http"),
        ((b"",), "no_http"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,), "no_http"),
    ],
)
def test_of_a_reply_its_status_is_all(pieces: tuple[bytes, ...], outcome: str) -> None:
    with receiver(*pieces) as url:
        assert post(url) == outcome


@pytest.mark.parametrize(
    ("piece", "times"),
    [(b"", 0), (b"x", 10_000), (b"HTTP/1.1 100 Continue\r\n\r\n", 10_000)],
    ids=["nothing", "drips", "continues"],
)
def test_however_slowly_it_answers_the_time_is_kept(piece: bytes, times: int) -> None:
    """By itself each byte would begin the wait anew, and one receiver would hold the sender for hours."""
    first = b"HTTP/1.1 200 OK\r\nX: " if piece == b"x" else b""
    with receiver(first, *[piece] * times, pause_s=0.1, hold=True) as url:
        begun = time.monotonic()
        assert post(url, timeout_s=1) == PostFailure.SILENT
        assert time.monotonic() - begun < 30


def test_a_body_goes_to_who_can_prove_his_name(tmp_path: Path) -> None:
    by = wire_server.authority(tmp_path)
    served = wire_server.server_context(by, tmp_path, "localhost")
    reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    with wire(lambda connection: connection.sendall(reply), served) as running:
        url = f"https://localhost:{running.port}/hook"
        assert post(url) == PostFailure.TLS
        assert running.received == []
        trusting = client_context(by.file)
        assert post(url, context=trusting) == "204"
        assert running.received[0].startswith(b"POST /hook HTTP/1.1\r\n")
        assert post(f"https://127.0.0.1:{running.port}/hook", context=trusting) == PostFailure.TLS


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/") == PostFailure.UNREACHABLE
