"""Every way in which the daemon can fail to answer is its own error; what it does answer arrives whole."""

import os
import socket
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fixtures.daemon.fake_daemon import CannedReply, answer, fake_daemon, license_, problem
from opanel_agent.cli.client import MAX_REPLY_BYTES, DaemonClient
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, NotPermitted, NotYet, Unavailable, Untrusted


@pytest.fixture
def client(tmp_path: Path) -> DaemonClient:
    return DaemonClient(socket_path=tmp_path / "run" / "agent.sock")


def failure(client: DaemonClient, method: str = "GET", *, wait_s: int = 30) -> AgentError:
    with pytest.raises(AgentError) as caught:
        _ = client.get("/x") if method == "GET" else client.post("/x", wait_s=wait_s)
    return caught.value


def test_an_answer_arrives_whole(client: DaemonClient) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.says("/v1/answer", answer())
        assert client.get("/v1/answer").value("license") == license_()
        assert [(each.method, each.path, each.body) for each in daemon.asked] == [("GET", "/v1/answer", b"")]


def test_a_document_goes_as_it_is_and_options_as_json(client: DaemonClient) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.done("/x", {"typ": "y"})
        assert client.post("/x", b"\x00doc").result.text("typ") == "y"
        client.post("/x", {"preview": True})
        client.post("/x")
        assert [(each.media, each.body) for each in daemon.asked] == [
            ("application/octet-stream", b"\x00doc"),
            ("application/json", b'{"preview":true}'),
            ("", b""),
        ]


def test_where_nothing_listens_it_is_not_running(client: DaemonClient) -> None:
    absent = failure(client)
    client.socket_path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(client.socket_path))
    refused = failure(client)
    for error in (absent, refused):
        assert (type(error), error.code, error.detail) == (Unavailable, Fault.NOT_RUNNING, "not_running")


def test_a_full_queue_is_waited_for(client: DaemonClient) -> None:
    """As behind a busy panel: the place comes free, and the answer is had without a second try."""
    body = b'{"schema":1}'
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + body
    client.socket_path.parent.mkdir()
    with ExitStack() as stack:
        busy = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
        busy.bind(str(client.socket_path))
        busy.listen(0)
        before = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
        before.connect(str(client.socket_path))

        def serve() -> None:
            time.sleep(0.2)
            busy.accept()[0].close()
            with closing(busy.accept()[0]) as asking:
                asking.recv(4096)
                asking.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        assert client.get("/v1/answer").value("schema") == 1
        thread.join()


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    error = failure(DaemonClient(socket_path=tmp_path / ("x" * 120) / "agent.sock"))
    assert (type(error), error.detail) == (Misconfigured, "socket_path_long")


@pytest.mark.parametrize(
    ("reply", "kind", "code", "detail"),
    [
        (problem(403, "no_permission"), NotPermitted, Fault.NO_PERMISSION, "daemon_refuses"),
        (problem(429, "rate_limited"), Unavailable, Fault.RATE_LIMITED, "refresh_too_soon"),
        (problem(503, "not_yet"), NotYet, Fault.NOT_YET, "no_answer_yet"),
        (problem(503, "busy"), Unavailable, Fault.BUSY, "daemon_busy"),
        (
            problem(503, "job_failed", error=Bug(Fault.JOB_FAILED, "job_killed", signal=9).to_json()),
            Bug,
            Fault.JOB_FAILED,
            "job_killed",
        ),
        (problem(404, "usage"), Unavailable, Fault.PROTOCOL, "daemon_problem"),
        (CannedReply(status=500, body=b"\xff"), Unavailable, Fault.PROTOCOL, "daemon_problem"),
        (CannedReply(body=b"[]"), Unavailable, Fault.PROTOCOL, "daemon_garbled"),
        (CannedReply(body=b'{"a": 1.5}'), Unavailable, Fault.PROTOCOL, "daemon_garbled"),
        (CannedReply(body=b" " * (MAX_REPLY_BYTES + 1)), Unavailable, Fault.PROTOCOL, "daemon_garbled"),
        (CannedReply(raw=b"SSH-2.0-x\r\n"), Unavailable, Fault.PROTOCOL, "daemon_garbled"),
        (
            CannedReply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            Unavailable,
            Fault.PROTOCOL,
            "daemon_garbled",
        ),
        (CannedReply(raw=b""), Unavailable, Fault.BUSY, "daemon_busy"),
    ],
)
def test_a_reply_that_is_no_answer(
    client: DaemonClient, reply: CannedReply, kind: type[AgentError], code: Fault, detail: str
) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.says_raw("/x", reply)
        error = failure(client)
    assert (type(error), error.code, error.detail) == (kind, code, detail)


def test_a_job_that_failed_is_its_own_error(client: DaemonClient) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.failed("/x", Untrusted(Reason.SIGNATURE_INVALID, "signature", where="license", line=2).to_json())
        error = failure(client, "POST")
    assert isinstance(error, Untrusted)
    assert (error.code, error.detail, error.values) == (
        Reason.SIGNATURE_INVALID,
        "signature",
        {"where": "license", "line": 2},
    )


def test_a_job_that_goes_on_and_one_that_says_nothing_in_time(client: DaemonClient) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.says("/x", {"schema": 1, "ok": None, "error": None, "result": None, "license": None}, status=202)
        daemon.says_raw("/x", CannedReply(after_s=30))
        for _ in range(2):
            error = failure(client, "POST", wait_s=-4)  # one second in all
            assert (type(error), error.detail) == (NotYet, "goes_on")


def test_what_is_missing_from_a_reply_is_empty(client: DaemonClient) -> None:
    with fake_daemon(client.socket_path) as daemon:
        daemon.says("/x", {"ok": True})
        done = client.post("/x")
    assert (done.result.names(), done.license.names()) == ((), ())
    with fake_daemon(client.socket_path) as daemon:
        daemon.says("/x", {"ok": False, "error": "?"})
        assert failure(client, "POST").detail == "internal"


@pytest.mark.root
def test_a_user_who_may_not_is_told_so() -> None:
    """Root itself may connect anywhere, so this asks as nobody."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        client = DaemonClient(socket_path=Path(folder) / "agent.sock")
        with fake_daemon(client.socket_path):
            client.socket_path.chmod(0o600)
            os.seteuid(65534)
            try:
                error = failure(client)
            finally:
                os.seteuid(0)
    assert (type(error), error.detail) == (NotPermitted, "socket_permission")
