"""Rude, slow, many and foreign clients of a real daemon: each gets its answer and nobody else waits for it."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

import pytest

from fixtures.daemon.live_daemon import Reply, Running, as_uid, read_all, read_one, request, running, until

root = pytest.mark.root
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One daemon for the tests that leave it as it was."""
    with running(
        tmp_path_factory.mktemp("shared") / "r", timeouts={"request_s": 0.8, "write_s": 1.0, "idle_s": 0.8}
    ) as daemon:
        yield daemon.wait()


# what it refuses


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /v1/license HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /v1/license HTTP/2.0\r\nHost: a\r\n\r\n", b"400"),
        (b"GET /v1/license HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (request("GET", "/v1/licence"), b"404"),
        (request("DELETE", "/v1/license"), b"405"),
        (request("PUT", "/v1/license"), b"405"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (request("GET", "/v1/license", b"a body"), b"400"),
        (request("GET", "/v1/license", b"x" * 65), b"413"),
        (b"POST /v1/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (request("POST", "/v1/bundle", b"x" * (64 * 1024 + 1)), b"413"),
        (request("POST", "/v1/activate", b"[1]"), b"400"),
    ],
    ids=range(13),
)
def test_a_wrong_request_gets_a_4xx_that_can_be_read_and_the_end(shared: Running, sent: bytes, status: bytes) -> None:
    with closing(shared.connect()) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 " + status)
    assert got.count(b"HTTP/1.1 4") == 1
    assert shared.answers()


def test_a_client_that_floods(shared: Running) -> None:
    """An endless body: refused, drained for a moment, cut off."""
    endless = b"x" * 16_000_000
    begun = time.monotonic()
    with closing(shared.connect()) as client:
        client.sendall(b"POST /v1/bundle HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(endless)
        assert read_all(client).startswith(b"HTTP/1.1 413")
    assert time.monotonic() < begun + 5
    assert shared.answers()


@pytest.mark.parametrize(
    ("sent", "head"),
    [(b"", b""), (b"GET /v1/lic", b"HTTP/1.1 408"), (b"POST /v1/bundle HTTP/1.1\r\n", b"HTTP/1.1 408")],
)
def test_a_slow_client(shared: Running, sent: bytes, head: bytes) -> None:
    begun = time.monotonic()
    with closing(shared.connect()) as client:
        client.sendall(sent)
        got = read_all(client)
    assert got[:12] == head
    assert 0.7 < time.monotonic() - begun < 3


def test_a_client_that_drips_wins_no_time(shared: Running) -> None:
    begun = time.monotonic()
    with closing(shared.connect()) as client:
        for byte in request("GET", "/v1/license"):
            if select([client], [], [], 0.02)[0]:
                break
            client.send(bytes([byte]))
        assert read_all(client).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun < 3


def test_a_client_that_takes_nothing_holds_nobody_up(shared: Running) -> None:
    with closing(shared.connect()) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        rude.setblocking(False)
        try:
            for _ in range(2000):
                rude.send(request("GET", "/v1/answer") * 10)
        except (BlockingIOError, BrokenPipeError):
            pass
        begun = time.monotonic()
        assert shared.answers()
        assert time.monotonic() - begun < 0.5
        rude.settimeout(10)
        read_all(rude)  # it is cut off in the end
        with pytest.raises(BrokenPipeError):
            rude.send(b"x")


def test_clients_that_leave(shared: Running) -> None:
    for sent in (b"", b"GET /v1", request("GET", "/v1/license"), request("POST", "/v1/release")):
        with closing(shared.connect()) as client:
            client.sendall(sent)
    until(shared.answers)


def test_two_hundred_workers_of_one_uid_are_all_answered(shared: Running) -> None:
    """At once, each on a connection of its own, as a panel's are; nobody is refused, nobody has to try again."""
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(shared.connect())) for _ in range(200)]
        for client in clients:
            client.sendall(request("GET", "/v1/license", close=True))
        assert all(read_all(client).startswith(b"HTTP/1.1 200 ") for client in clients)


def test_idle_connections_keep_nobody_out(place: Path) -> None:
    """Where there is room for no more, the one that was used longest ago makes way."""
    with running(place, connection_limits={"at_once": 4}) as daemon, ExitStack() as stack:
        daemon.wait()
        clients = [stack.enter_context(closing(daemon.connect())) for _ in range(4)]
        for client in (*clients, clients[0]):
            client.sendall(request("GET", "/v1/license"))
            assert read_one(client).status == 200
        assert daemon.answers()
        assert read_all(clients[1]) == b""  # 0 has asked since
        clients[0].sendall(request("GET", "/v1/license"))
        assert read_one(clients[0]).status == 200


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HEAD /v1/license HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, False),
        (b"OPTIONS / HTTP/1.0\r\n\r\n", 200, False),  # haproxy's `option httpchk`
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, True),  # monit's `protocol http`
        (b"GET /v1/license HTTP/1.0\r\n\r\n", 200, True),  # a proxy
        (b"GET http://agent/v1/license?_=1 HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n", 200, True),
        (b"\r\nGET /v1/license HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, True),
        (request("POST", "/v1/refresh", b"{}", close=True), 200, True),
        (request("GET", "/v1/license", b"{}", close=True), 200, True),
    ],
)
def test_http_as_clients_speak_it(shared: Running, sent: bytes, status: int, body: bool) -> None:
    with closing(shared.connect()) as client:
        client.sendall(sent)
        reply = Reply(read_all(client))
    assert (reply.status, reply.body != b"") == (status, body)


def test_a_client_that_asks_before_it_sends(shared: Running) -> None:
    with closing(shared.connect()) as client:
        client.sendall(b"POST /v1/bundle HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n")
        client.sendall(b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert Reply(read_all(client)).json["result"]["intent"] == "bundle"


# other people


@pytest.fixture
def public() -> Iterator[Running]:
    """A daemon whose socket everyone reaches, as the group does in a system installation."""
    with TemporaryDirectory() as base, running(Path(base) / "r", timeouts={"request_s": 10.0}) as daemon:
        yield daemon.wait().open_to_all()


def connect_as(daemon: Running, uid: int) -> socket.socket:
    with as_uid(uid):
        return daemon.connect()


@root
@only_root
def test_others_read_and_refresh_but_change_nothing(public: Running) -> None:
    for method, path, status in [
        ("GET", "/v1/license", 200),
        ("POST", "/v1/bundle", 403),
        ("POST", "/v1/activate", 403),
        ("POST", "/v1/release", 403),
        ("POST", "/v1/remove", 403),
        ("POST", "/v1/narrowed", 403),
        ("POST", "/v1/refresh", 200),
        ("POST", "/v1/refresh", 429),
    ]:
        with closing(connect_as(public, 65534)) as client:
            client.sendall(request(method, path, close=True))
            assert (path, read_one(client).status) == (path, status)
    assert public.ask("POST", "/v1/refresh").status == 200
    assert public.ask("POST", "/v1/refresh").status == 200


@root
@only_root
def test_the_panel_does_not_see_what_left(public: Running) -> None:
    with closing(connect_as(public, 65534)) as client:
        client.sendall(request("GET", "/v1/answer", close=True))
        answer = read_one(client).json
    assert answer == {
        name: value for name, value in public.ask("GET", "/v1/answer").json.items() if name != "last_left"
    }


@root
@only_root
def test_who_one_is_was_decided_at_connect(public: Running) -> None:
    with closing(connect_as(public, 65534)) as client:
        client.sendall(request("POST", "/v1/remove"))  # written by root, and of no use
        assert read_one(client).status == 403


@root
@only_root
def test_root_loses_no_connection_and_the_others_by_how_many_they_have() -> None:
    with (
        TemporaryDirectory() as base,
        running(Path(base) / "r", connection_limits={"at_once": 8}) as daemon,
        ExitStack() as stack,
    ):
        daemon.wait()
        for path, mode in ((Path(base), 0o755), (daemon.directory, 0o755), (daemon.socket, 0o666)):
            path.chmod(mode)

        def kept(uid: int, count: int) -> list[socket.socket]:
            clients = [stack.enter_context(closing(connect_as(daemon, uid))) for _ in range(count)]
            for client in clients:
                client.sendall(request("GET", "/v1/license"))
                assert read_one(client).status == 200
            return clients

        mine, one, many = kept(0, 3), kept(2001, 1), kept(2002, 4)
        others = kept(2003, 2)
        assert [read_all(client) for client in many[:2]] == [b"", b""]
        for client in (*mine, *one, *many[2:], *others):
            client.sendall(request("GET", "/v1/license"))
            assert read_one(client).status == 200
