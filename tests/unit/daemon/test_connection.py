"""One client's HTTP, without a socket: whatever bytes come, in whatever pieces, it ends in order."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.daemon.live_daemon import Reply, request
from opanel_agent.core.commands import Body, Route, Who
from opanel_agent.daemon.api import BODY_MAX_BYTES, HEAD_MAX_BYTES, Peer, Response, problem
from opanel_agent.daemon.connection import DRAIN_MAX_BYTES, Connection, Phase, Timeouts

TIMEOUTS = Timeouts(request_s=2, idle_s=60, write_s=5, linger_s=0.5)
PEER = Peer(uid=1, owner=False)


class Counter:
    """A handler that answers with the number of the request, refuses /no and makes /job wait."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    def peer(self, uid: int) -> Peer:
        return PEER

    def admit(self, method: str, target: str, peer: Peer, now_s: float) -> Route | Response:
        if method not in ("GET", "HEAD", "POST"):
            return problem("method_unknown")
        if target == "/no":
            return problem("owner_only")
        return Route(method, target, who=Who.PEERS, body=Body.DOCUMENT, intent=target)

    def take(self, route: Route, body: bytes, connection: Connection, now_s: float) -> Response | None:
        self.taken.append((route.intent, body))
        if route.intent == "/job":
            connection.wait(now_s + 30)
            return None
        return Response(status=200, body=str(len(self.taken)).encode())

    def late(self, connection: Connection, now_s: float) -> Response:
        return Response(status=202, body=b"late")


def new(beside: Connection | None = None) -> Connection:
    """A new connection, with the cache of another."""
    return Connection(PEER, TIMEOUTS, now_s=100, cache=beside.cache if beside else None)


def feed(connection: Connection, handler: Counter, data: bytes, now_s: float = 100) -> list[Reply]:
    """Receives and steps as `clients` does; the replies that were written."""
    connection.receive(data, now_s)
    got = replies(connection, now_s)
    while connection.step(handler, now_s) or connection.out:
        got += replies(connection, now_s)
    return got


def replies(connection: Connection, now_s: float = 100) -> list[Reply]:
    written = bytes(connection.out)
    if written:
        connection.written(len(written), now_s)
    return [Reply(part) for part in re.split(rb"(?=HTTP/1\.1 \d{3} )", written)[1:]]


def test_a_request_in_single_bytes() -> None:
    connection, handler = new(), Counter()
    got = [reply for byte in request("POST", "/x", b"hello") for reply in feed(connection, handler, bytes([byte]))]
    assert [(reply.status, reply.body) for reply in got] == [(200, b"1")]
    assert handler.taken == [("/x", b"hello")]
    assert connection.phase is Phase.READING


def test_pipelined_requests_are_answered_in_order_one_a_step() -> None:
    connection, handler = new(), Counter()
    connection.receive(request("GET", "/a") + request("POST", "/b", b"body") + request("GET", "/c"), 100)
    assert connection.step(handler, 100)
    assert handler.taken == [("/a", b"")]
    assert [reply.body for reply in replies(connection)] == [b"1"]
    assert connection.step(handler, 100)
    assert not connection.step(handler, 100)  # the client has not taken the last response yet
    assert [reply.body for reply in replies(connection)] == [b"2"]
    assert connection.step(handler, 100)
    assert not connection.step(handler, 100)
    assert [reply.body for reply in replies(connection)] == [b"3"]
    assert [body for _, body in handler.taken] == [b"", b"body", b""]


def test_what_is_pipelined_behind_a_job_waits_for_it() -> None:
    connection, handler = new(), Counter()
    assert feed(connection, handler, request("POST", "/job") + request("GET", "/a")) == []
    assert (connection.phase, connection.deadline_s) == (Phase.WAITING, 130)
    connection.answer(Response(status=200, body=b"done"), 110)
    assert [reply.body for reply in replies(connection)] == [b"done"]
    assert connection.step(handler, 110)
    assert [reply.body for reply in replies(connection)] == [b"2"]


def phase_of(connection: Connection) -> Phase:
    """It changes by what is called between two looks, which mypy does not see of an attribute."""
    return connection.phase


def test_a_refusal_before_the_body_is_read() -> None:
    connection, handler = new(), Counter()
    (reply,) = feed(connection, handler, b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
    assert (reply.status, reply.headers["connection"]) == (403, "close")
    assert handler.taken == []
    assert phase_of(connection) is Phase.LINGER
    assert feed(connection, handler, b"x" * 60000) == []
    assert phase_of(connection) is Phase.LINGER
    connection.receive(b"", 100)
    assert phase_of(connection) is Phase.CLOSED


def test_what_is_thrown_away_has_an_end() -> None:
    connection, handler = new(), Counter()
    feed(connection, handler, b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
    connection.receive(b"x" * DRAIN_MAX_BYTES, 100)
    assert phase_of(connection) is Phase.LINGER
    connection.receive(b"x", 100)
    assert phase_of(connection) is Phase.CLOSED


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\n folded: x\r\n\x00: y\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        *(
            b"POST /x HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n0\r\n\r\n"
            for framing in (
                b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                b"Transfer-Encoding : chunked\r\n",
                b"Transfer-Encoding: xchunked\r\n",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                b"Content-Length: +5\r\n",
                b"Content-Length: 5, 6\r\n",
            )
        ),
    ],
)
def test_what_is_not_http_gets_a_4xx_and_the_end(data: bytes) -> None:
    connection, handler = new(), Counter()
    (reply,) = feed(connection, handler, data + b"\r\n\r\n")
    assert (reply.status, reply.problem) == (400, "request_malformed")
    assert connection.phase is Phase.LINGER
    assert handler.taken == []


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("lines", "status"), [(64, 200), (65, 431)])
def test_a_head_of_many_lines(lines: int, status: int, end: bytes) -> None:
    """Whether it ends there or goes on; and what is pipelined behind it does not count."""
    head = end.join([b"GET /a HTTP/1.1", b"Host: a", *(b"a:b" for _ in range(lines - 2)), b"", b""])
    reply, *others = feed(new(), Counter(), head + head)
    assert (reply.status, len(others)) == (status, 1 if status == 200 else 0)
    endless = head[: -len(end)] + b"a:b" + end
    assert [each.problem for each in feed(new(), Counter(), endless * 2)] == ["head_too_large"]


def test_a_head_without_end() -> None:
    connection, handler = new(), Counter()
    feed(connection, handler, b"GET /x HTTP/1.1\r\nHost: a\r\n")
    (reply,) = feed(connection, handler, b"a: " + b"b" * 9000)
    assert (reply.status, reply.problem) == (431, "head_too_large")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(BODY_MAX_BYTES, 200), (BODY_MAX_BYTES + 1, 413)])
def test_a_body_is_taken_up_to_its_limit(chunked: bool, size: int, status: int) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    body = b"x" * size
    sent = f"{size:x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if chunked else body
    (reply,) = feed(new(), Counter(), f"POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + sent)
    assert reply.status == status


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    connection, handler = new(), Counter()
    (go_on,) = feed(
        connection, handler, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert go_on.status == 100
    (reply,) = feed(connection, handler, b"ab")
    assert reply.status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 70000", "Transfer-Encoding: chunked"])
def test_a_client_that_asks_first_is_refused_before_it_sends(framing: str) -> None:
    head = f"POST /no HTTP/1.1\r\nHost: a\r\n{framing}\r\nExpect: 100-continue\r\n\r\n"
    assert [reply.status for reply in feed(new(), Counter(), head.encode())] == [403]


def test_a_body_that_is_announced_too_large_is_not_waited_for() -> None:
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n"
    assert [reply.status for reply in feed(new(), Counter(), head)] == [413]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_expectation_without_a_body_or_of_an_old_client_is_ignored(version: str) -> None:
    head = f"GET /x HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
    assert [reply.status for reply in feed(new(), Counter(), head.encode())] == [200]


@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n" * 5])
def test_empty_lines_before_a_request_are_ignored(empty: bytes) -> None:
    connection, handler = new(), Counter()
    assert [reply.status for reply in feed(connection, handler, empty)] == []
    assert [reply.status for reply in feed(connection, handler, empty + request("GET", "/x"))] == [200]
    assert [reply.status for reply in feed(connection, handler, empty + request("POST", "/x", b"b") + empty)] == [200]
    assert [reply.status for reply in feed(connection, handler, request("GET", "/x"))] == [200]


@pytest.mark.parametrize(("size", "status"), [(HEAD_MAX_BYTES, 200), (HEAD_MAX_BYTES + 1, 431)])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_has_as_many_bytes_as_is_said_and_no_more(size: int, status: int, at_once: bool) -> None:
    frame = b"GET /x HTTP/1.1\r\nHost: a\r\nx: "
    head = frame + b"y" * (size - len(frame) - 4) + b"\r\n\r\n"
    connection, handler = new(), Counter()
    pieces = [head] if at_once else [head[:5000], head[5000:]]
    got = [reply for piece in pieces for reply in feed(connection, handler, piece)]
    assert [reply.status for reply in got] == [status]


def test_a_known_head_is_answered_as_a_new_one_is() -> None:
    """Whatever differs by a byte goes through the parser again."""
    connection, handler = new(), Counter()
    head = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    for _ in range(3):
        assert [reply.status for reply in feed(connection, handler, head)] == [200]
        assert [reply.status for reply in feed(connection, handler, head + head)] == [200, 200]
    assert handler.taken == [("/x", b"")] * 9
    for changed in (head.replace(b"Host", b"Host "), head.replace(b"1.1", b"9.1"), head.replace(b" /x", b" /\x00")):
        other = new(connection)
        assert [reply.status for reply in feed(other, handler, changed)] == [400]


def test_a_body_behind_a_known_head_is_the_next_request() -> None:
    """A head that announces a body is never a known one, so nothing can be hidden behind one."""
    connection, handler = new(), Counter()
    with_body = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    for _ in range(3):
        assert [reply.status for reply in feed(connection, handler, with_body + b"abc")] == [200]
    assert handler.taken == [("/x", b"abc")] * 3


def test_an_unfinished_request_at_its_deadline() -> None:
    connection, handler = new(), Counter()
    feed(connection, handler, b"GET /x HT")
    assert connection.deadline_s == 102
    connection.overdue(102)
    (reply,) = replies(connection)
    assert (reply.status, reply.problem) == (408, "request_slow")
    assert (connection.phase, connection.deadline_s) == (Phase.LINGER, 102.5)


def test_a_client_that_says_nothing_is_left_without_a_word() -> None:
    connection = new()
    connection.overdue(102)
    assert (connection.phase, bytes(connection.out)) == (Phase.CLOSED, b"")


def test_more_bytes_win_no_time_but_an_answer_does() -> None:
    connection, handler = new(), Counter()
    feed(connection, handler, b"GET /x HTTP/1.1\r\n", now_s=100)
    feed(connection, handler, b"Host: a\r\n", now_s=101.9)
    assert connection.deadline_s == 102
    feed(connection, handler, b"\r\n", now_s=101.9)
    assert connection.deadline_s == 101.9 + TIMEOUTS.idle_s


def test_a_client_that_takes_nothing_is_dropped() -> None:
    connection, handler = new(), Counter()
    connection.receive(request("GET", "/x"), 100)
    connection.step(handler, 100)
    assert connection.deadline_s == 105
    connection.overdue(105)
    assert (connection.phase, bytes(connection.out)) == (Phase.CLOSED, b"")


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"", []),
        (request("GET", "/x"), [200]),
        (b"GET /x HT", [400]),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", [400]),
    ],
)
def test_a_client_that_ends_its_side(data: bytes, statuses: list[int]) -> None:
    connection, handler = new(), Counter()
    got = feed(connection, handler, data) if data else []
    got += feed(connection, handler, b"")
    assert [reply.status for reply in got] == statuses
    assert connection.phase in (Phase.CLOSED, Phase.LINGER)


@pytest.mark.parametrize(
    ("head", "closed"),
    [(b"GET /x HTTP/1.0\r\n\r\n", True), (b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True)],
)
def test_a_connection_that_is_asked_to_close_closes(head: bytes, closed: bool) -> None:
    connection, handler = new(), Counter()
    (reply,) = feed(connection, handler, head)
    assert reply.status == 200
    assert connection.phase is Phase.CLOSED


def test_a_response_to_head_has_no_body() -> None:
    (reply,) = feed(new(), Counter(), request("HEAD", "/no"))
    assert (reply.status, reply.body) == (403, b"")
    assert int(reply.headers["content-length"]) > 0


def test_an_upgrade_is_not_taken_up() -> None:
    connection, handler = new(), Counter()
    head = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert [reply.status for reply in feed(connection, handler, head + request("GET", "/y"))] == [200, 200]


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            request("GET", "/a"),
            request("POST", "/job", b"x"),
            request("POST", "/no", b"yy"),
            request("HEAD", "/a"),
            b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"\r\n",
            b"",
        ]
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_no_bytes_in_no_pieces_raise(pieces: list[bytes]) -> None:
    connection, handler = new(), Counter()
    for piece in pieces:
        if connection.phase is Phase.CLOSED:
            return
        if connection.phase is Phase.WAITING:
            connection.answer(Response(status=200, body=b"done"), 100)
        statuses = [reply.status for reply in feed(connection, handler, piece)]
        assert all(status in (200, 400, 403, 405, 431) for status in statuses)
        if not piece:  # the end came: nothing else can
            return
