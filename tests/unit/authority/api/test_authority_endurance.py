"""Nobody stops it: idle and slow clients, crowds, guesses, empty requests; and how soon a change is in the files."""

import contextlib
import json
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from fixtures.authority.authority_records import given
from fixtures.authority.authority_server import JOSE, JSON, Served, environment, serving
from fixtures.authority.vendor import vendor
from fixtures.data import catalog_bodies
from fixtures.processes import ended
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.license import license_key
from opanel_authority.api.connections import BODY_S, HEADERS_S, MAX_CONNECTIONS, protocol
from opanel_authority.cli.main import main
from opanel_authority.lifecycle import webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.webhooks import Event

pytestmark = pytest.mark.slow  # real services are started


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        yield running


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=HEADERS_S + 10)


def test_a_crowd_that_says_nothing_shuts_nobody_out(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(served)) for _ in range(300)]
        assert served.ask("GET", "/v1/status.jwt").status == 200
        crowd += [stack.enter_context(connected(served)) for _ in range(MAX_CONNECTIONS - 300 + 20)]
        assert served.ask("GET", "/v1/status.jwt").status == 200, "who is silent for longest made room"


def test_lists_are_served_while_a_crowd_of_writers_waits_for_the_books(served: Served) -> None:
    assert served.ask("GET", "/v1/status.jwt").status == 200, "signed: the next needs no writer"
    several = [served.vendor.request(served.vendor.issue(), RequestKind.ACTIVATION) for _ in range(3)]
    books = sqlite3.connect(served.vendor.authority.directory / "authority.sqlite", isolation_level=None)
    with contextlib.closing(books), contextlib.ExitStack() as stack:
        books.execute("BEGIN IMMEDIATE")  # as another process does that writes for long
        for asked in several * 20:  # of one key no more are admitted
            head = f"POST /v1/activations HTTP/1.1\r\nHost: x\r\nContent-Type: {JOSE}\r\nContent-Length: {len(asked)}"
            stack.enter_context(connected(served)).sendall(f"{head}\r\n\r\n".encode() + asked)
        assert served.ask("GET", "/v1/status.jwt").status == 200
        books.execute("ROLLBACK")


@pytest.mark.slow
@pytest.mark.parametrize("partial", [b"", b"GET /v1/status.jwt HTTP/1.1\r\nHost: x\r\n", b"GET "])
def test_who_does_not_ask_in_time_is_cut_off(served: Served, partial: bytes) -> None:
    with connected(served) as slow:
        slow.sendall(partial)
        begun = time.monotonic()
        assert slow.recv(1024) == b""
        assert time.monotonic() - begun < HEADERS_S + 5


@pytest.mark.slow
def test_who_sends_no_body_in_time_is_cut_off(served: Served) -> None:
    with connected(served) as slow:
        slow.sendall(b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        begun = time.monotonic()
        slow.settimeout(BODY_S + 10)
        assert slow.recv(1024) == b""
        assert BODY_S - 1 < time.monotonic() - begun < BODY_S + 5


class Service:
    """An HTTP service with those limits alone, which replies `reply` to everybody, in a thread of its own."""

    def __init__(self, reply: bytes, **limits: float) -> None:
        async def application(_scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass
            length = (b"content-length", str(len(reply)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": reply})

        kept: dict[str, Any] = {"lifespan": "off", "log_level": "error", "access_log": False}
        made = protocol(max_connections=4, **limits)
        self.server = uvicorn.Server(uvicorn.Config(application, http=made, loop="asyncio", ws="none", **kept))
        self.listener = socket.create_server(("127.0.0.1", 0))

    def connected(self) -> socket.socket:
        """A client whose buffer is small: what it does not read stays with the service."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(10)
        client.connect(self.listener.getsockname())
        return client

    def is_open(self) -> bool:
        with self.connected() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                return client.recv(15) == b"HTTP/1.1 200 OK"
            return False

    @contextlib.contextmanager
    def running(self) -> Iterator["Service"]:
        thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})
        thread.start()
        try:
            yield self
        finally:
            self.server.should_exit = self.server.force_exit = True
            thread.join()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=["silent", "no-body", "unread", "unread-last"],
)
def test_whoever_keeps_a_connection_keeps_nobody_out(sent: bytes) -> None:
    """Twice as many as there is room for, that say nothing, send no body or do not read: the next one is answered."""
    with Service(bytes(16_000_000)).running() as service, contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(service.connected())
            client.sendall(sent)
            time.sleep(0.05)
        assert service.is_open()


def test_a_reply_that_nobody_reads_is_given_up() -> None:
    with Service(bytes(16_000_000), reply_s=0.5).running() as service, service.connected() as deaf:
        deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        deaf.recv(1)
        time.sleep(1.5)
        assert not service.server.server_state.connections


def test_a_reply_that_is_read_slowly_arrives_whole() -> None:
    """Longer than a client may take to ask: the limits of asking are not those of reading."""
    with Service(bytes(4_000_000), headers_s=0.3, body_s=0.3).running() as service, service.connected() as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
        got = 0
        for _ in range(10):
            got += len(slow.recv(2048))
            time.sleep(0.1)
        while got < 4_000_000:
            got += len(slow.recv(65536))
        assert got > 4_000_000


@pytest.mark.slow
def test_it_starts_and_stops_in_time_beside_clients_and_receivers_that_hang(tmp_path: Path) -> None:
    """What takes longer than 30 seconds to stop, systemd kills."""
    made = vendor(tmp_path, now=int(time.time()))
    with contextlib.ExitStack() as stack:
        hangs = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        url = f"http://127.0.0.1:{hangs.getsockname()[1]}/"
        webhooks.add(
            made.authority,
            url,
            reseller=None,
            events=tuple(Event),
            now=made.now,
            who=ChangedBy(actor="test"),
            inside=True,
        )
        for _ in range(5):
            made.issue()
        running = stack.enter_context(serving(tmp_path, made))
        assert running.ask("GET", "/livez").status == 200
        with made.authority.store.reading() as books:
            (hook,) = webhooks.listed(books)
        assert hook["last"] is None, "it answers before the receiver's ten seconds are over"
        slow = stack.enter_context(connected(running))
        slow.sendall(b"POST /v1/bundles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        hangs.settimeout(60)
        stack.enter_context(hangs.accept()[0])
        begun = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=60) == 0
        assert time.monotonic() - begun < 28


def test_two_hundred_clients_at_once_are_answered(served: Served) -> None:
    def ask(_number: int) -> int:
        return served.ask("GET", "/v1/status.jwt").status

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(ask, range(400))) == {200}


def test_empty_requests_take_nobodys_share(served: Served) -> None:
    given(served, "/v1/reports/usage_statistics", catalog_bodies.report("mine"))
    assert {served.ask("POST", "/v1/rights", b"{}", JSON).status for _ in range(80)} == {400}
    assert {served.ask("POST", "/v1/reports/usage_statistics", b"{}", JSON).status for _ in range(250)} == {400}
    assert given(served, "/v1/rights", catalog_bodies.right("erase", "mine")).kind == "erase"


def test_who_proves_nothing_empties_only_the_common_bucket(served: Served) -> None:
    given(served, "/v1/reports/usage_statistics", catalog_bodies.report("proven"))
    statuses = [
        served.ask("POST", "/v1/rights", catalog_bodies.right("erase", f"nothing {each}"), JSON).status
        for each in range(70)
    ]
    assert set(statuses) == {202, 429}
    assert given(served, "/v1/rights", catalog_bodies.right("erase", "proven")).kind == "erase"


def test_guessing_keys_has_a_limit_and_knowing_one_has_not(served: Served) -> None:
    served.vendor.now = int(time.time())
    issued = served.vendor.issue()

    def guess(_number: int) -> int:
        body = dumps({"schema": 1, "key_sha256": secrets.token_hex(32)})
        return served.ask("POST", "/v1/bundles", body, JSON).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(guess, range(700))) == {404, 429}
    known = dumps({"schema": 1, "key_sha256": license_key.digest(issued.key)})
    assert served.ask("POST", "/v1/bundles", known, JSON).status == 200


def test_it_tells_whether_it_is_well(served: Served) -> None:
    assert [served.ask("GET", path).status for path in ("/livez", "/readyz")] == [200, 200]
    text = served.ask("GET", "/metrics").body.decode()
    assert text.endswith("# EOF\n")
    assert "\nopanel_authority_resellers 1\n" in text
    key = served.vendor.authority.directory / "keys" / "status.pem"
    key.chmod(0o644)
    try:
        reply = served.ask("GET", "/readyz")
        assert (reply.status, b"status key" in reply.body) == (503, True)
    finally:
        key.chmod(0o600)


def test_a_reader_waits_for_no_writer(served: Served) -> None:
    holding, done = threading.Event(), threading.Event()

    def write() -> None:
        with served.vendor.authority.store.transaction():
            holding.set()
            done.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert holding.wait(20)
        begun = time.monotonic()
        for path in ("/v1/roots.jws", "/v1/advisories.jws"):
            assert served.ask("GET", path).status == 200
        assert time.monotonic() - begun < 15
    finally:
        done.set()
        thread.join()


# ---- what a command changes, in the static files


def test_a_suspension_is_in_the_static_files_while_it_serves(tmp_path: Path) -> None:
    made = vendor(tmp_path, now=int(time.time()))
    issued = made.issue()
    idx = made.bundle(issued).license.status.idx
    command = [sys.executable, "-m", "opanel_authority", "serve", "--dir", str(tmp_path / "vendor")]
    www = tmp_path / "www"
    options = ["--listen", "127.0.0.1:0", "--publish", str(www), "--log", str(tmp_path / "log")]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, env=environment()) as process, ended(process):
        assert process.stdout is not None
        process.stdout.readline()
        assert main(["suspend", issued.jti, "--dir", str(tmp_path / "vendor")]) == 0
        until = time.monotonic() + 30
        while published(www, made.authority.root, idx) != 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def published(www: Path, root: object, idx: int) -> int | None:
    token = (www / "v1" / "status.jwt").read_bytes()
    return status_list.accept(token, root, floor={}, now=0).status(idx)  # type: ignore[arg-type]


def test_a_command_writes_the_files_where_they_were_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = vendor(tmp_path, now=int(time.time()))
    issued = made.issue()
    there = ("--dir", str(tmp_path / "vendor"))
    assert main(["publish", str(tmp_path / "www"), *there]) == 0
    assert main(["suspend", issued.jti, *there, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["status"] == 2
    assert published(tmp_path / "www", made.authority.root, made.bundle(issued).license.status.idx) == 2
