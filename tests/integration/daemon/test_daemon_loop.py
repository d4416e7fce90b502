"""The daemon as a process with real jobs and real clients: what it serves, survives, refuses, and leaves behind."""

import json
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from select import select
from typing import Any

import pytest

from fixtures.daemon.live_daemon import Reply, Running, gone, read_all, read_one, request, running, until

# Does what the intent says, so that one job serves many tests.
BY_INTENT = """
if request["intent"] == "tick":
    reply(result="ticked")
elif request["intent"] == "activate":
    {}
else:
    reply(result=request)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One daemon for the tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("shared") / "r", timeouts={"request_s": 0.8, "write_s": 1.0}) as daemon:
        yield daemon.wait()


# what it serves


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/license", {"schema": 1, "state": "active", "reasons": ["ok"], "as_of": 0, "good_until": 604_800}),
        ("/v1/consent", {"asked": []}),
    ],
)
def test_a_part_of_the_answer(shared: Running, path: str, wanted: Any) -> None:
    reply = shared.ask("GET", path)
    assert (reply.status, reply.json, reply.headers["content-type"]) == (200, wanted, "application/json")


def test_the_answer_is_also_a_file_but_for_what_is_the_owner_s(shared: Running) -> None:
    """The panel's group may read the file."""
    reply = shared.ask("GET", "/v1/answer")
    assert set(reply.json) == {"schema", "license", "consent", "advisories", "last_left"}
    kept = json.loads((shared.directory / "answer.json").read_bytes())
    assert kept == {name: value for name, value in reply.json.items() if name != "last_left"}


def test_a_document_reaches_the_job_as_it_is(shared: Running) -> None:
    reply = shared.ask("POST", "/v1/bundle", bytes(range(256)) * 256)
    assert (reply.status, reply.json["ok"]) == (200, True)
    assert reply.json["result"]["intent"] == "bundle"
    assert len(reply.json["result"]["document"]) == 87382
    assert reply.json["license"]["state"] == "active"


def test_options_reach_the_job(shared: Running) -> None:
    reply = shared.ask("POST", "/v1/activate", b'{"to_file": true}')
    assert reply.json["result"] == {"schema": 1, "intent": "activate", "to_file": True}


def test_a_connection_serves_many_requests(shared: Running) -> None:
    with closing(shared.connect()) as client:
        for _ in range(50):
            client.sendall(request("GET", "/v1/license"))
            assert read_one(client).status == 200


def test_pipelined_requests(shared: Running) -> None:
    with closing(shared.connect()) as client:
        client.sendall(request("GET", "/v1/license") * 300 + request("GET", "/v1/consent", close=True))
        got = read_all(client)
    assert got.count(b"HTTP/1.1 200") == 301
    assert got.endswith(b'{"asked":[]}')


def test_a_reply_is_pipelined_behind_a_job(shared: Running) -> None:
    with closing(shared.connect()) as client:
        client.sendall(request("POST", "/v1/remove") + request("GET", "/v1/consent", close=True))
        assert read_one(client).json["result"]["intent"] == "remove"
        assert read_one(client).json == {"asked": []}


def test_a_client_that_only_listens_on(shared: Running) -> None:
    """Half-closed: it has said all, and waits."""
    with closing(shared.connect()) as client:
        client.sendall(request("POST", "/v1/release"))
        client.shutdown(socket.SHUT_WR)
        assert b'"intent":"release"' in read_all(client)


# jobs that go wrong


def test_before_the_first_answer_it_says_so(place: Path) -> None:
    with running(place, "time.sleep(60)") as daemon:
        reply = daemon.ask("GET", "/v1/license")
        assert (reply.status, reply.problem) == (503, "answer_not_yet")


@pytest.mark.parametrize(
    ("job", "detail"),
    [
        ("time.sleep(60)", "job_timeout"),
        ("while True: os.write(1, b'x' * 65536)", "job_flooded"),
        ("os._exit(7)", "job_failed"),
        ("os.kill(os.getpid(), 9)", "job_killed"),
        ("bytearray(1 << 30)", "job_failed"),
        ("print('nonsense')", "job_frame"),
        ("reply(); reply()", "job_frame"),
        ("pass", "job_frame"),
    ],
)
def test_a_job_that_goes_wrong_changes_nothing(place: Path, job: str, detail: str) -> None:
    with running(place, BY_INTENT.format(job), job_limits={"deadline_s": 3.0}) as daemon:
        before = daemon.wait().ask("GET", "/v1/answer").json
        reply = daemon.ask("POST", "/v1/activate")
        assert (reply.status, reply.json["ok"], reply.json["error"]["detail"]) == (200, False, detail)
        assert reply.json["license"]["state"] == "active"
        marks = {"trouble": reply.json["error"], "outdated": True}  # the job before named no file to see a change by
        assert daemon.ask("GET", "/v1/answer").json == before | marks
        assert daemon.ask("POST", "/v1/release").json["ok"] is True
        assert daemon.ask("GET", "/v1/answer").json == before
        assert detail in daemon.log


def test_it_answers_while_a_job_hangs(place: Path) -> None:
    with running(place, BY_INTENT.format("time.sleep(60)"), retry_policy={"reply_s": 0.3}) as daemon:
        daemon.wait()
        reply = daemon.ask("POST", "/v1/activate")
        assert (reply.status, reply.json["ok"]) == (202, None)
        begun = time.monotonic()
        assert daemon.answers()
        assert time.monotonic() - begun < 0.5


def test_narrowing_ends_the_running_job_and_all_it_started(place: Path) -> None:
    job = BY_INTENT.format(
        'open(sys.argv[0] + ".pid", "w").write(str(subprocess.Popen(["sleep", "60"], process_group=0).pid)); time.sleep(60)'
    )
    with running(place, job) as daemon, closing(daemon.wait().connect()) as asker:
        asker.sendall(request("POST", "/v1/activate"))
        left = place.parent / "r.job.py.pid"
        until(lambda: left.exists() and left.read_text() != "")
        narrowed = daemon.ask("POST", "/v1/narrowed")
        assert (narrowed.json["ok"], narrowed.json["result"]["intent"]) == (True, "narrowed")
        ended = read_one(asker).json
        assert (ended["ok"], ended["error"]["detail"]) == (False, "job_narrowed")
        until(lambda: gone(int(left.read_text())))
        assert "event=job_failed" not in daemon.log


def test_a_failed_job_is_tried_again(place: Path) -> None:
    """And what failed once for want of anything works then."""
    job = "seen = sys.argv[0] + '.seen'\nif os.path.exists(seen): reply()\nelse: open(seen, 'w'); sys.exit(1)"
    with running(place, job, retry_policy={"retry_first_s": 0.2}) as daemon:
        daemon.wait()


def test_jobs_that_crash_for_good_leave_no_answer_once_the_last_one_is_good_no_longer(place: Path) -> None:
    once = "seen = sys.argv[0] + '.seen'\nif os.path.exists(seen): os.abort()\nopen(seen, 'w')\n"
    job = once + "reply(next_run_s=1, good_for_s=5)"
    with running(place, job, retry_policy={"retry_first_s": 0.2, "retry_last_s": 0.2}) as daemon:
        daemon.wait()
        until(lambda: daemon.ask("GET", "/v1/license").status == 503, 30)
        assert daemon.ask("GET", "/v1/license").problem == "evaluate_failed"
        until(lambda: "event=no_answer" in daemon.log, 30)


def test_evaluate_runs_again_when_it_said(place: Path) -> None:
    job = "open(sys.argv[0] + '.runs', 'a').write('x'); reply(next_run_s=1)"
    with running(place, job):
        runs = place.parent / "r.job.py.runs"
        until(lambda: runs.exists() and len(runs.read_text()) >= 2)


def test_a_changed_answer_is_one_line_in_the_log(place: Path) -> None:
    with running(place, "reply(state='grace' if request['intent'] == 'refresh' else 'active')") as daemon:
        daemon.wait()
        for path in ("/v1/release", "/v1/refresh", "/v1/refresh"):
            daemon.ask("POST", path)
        assert daemon.log.count("event=license") == 2


# signals, start and end


def test_hup_evaluates_now(place: Path) -> None:
    with running(place, "reply(reasons=[str(time.monotonic_ns())])") as daemon:
        before = daemon.wait().ask("GET", "/v1/license").body
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: daemon.ask("GET", "/v1/license").body != before)


def test_hup_sends_nothing(place: Path) -> None:
    """A change of consent or settings is read at once; only the passage of time sends by itself."""
    with running(place, "reply(reasons=[request['intent']])") as daemon:
        daemon.wait()
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: b'"narrowed"' in daemon.ask("GET", "/v1/license").body)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_without_a_socket_or_a_child(place: Path, number: int) -> None:
    with running(place, "time.sleep(60)", stop_s=0.2) as daemon:
        until(lambda: daemon.children() != [])
        children = daemon.children()
        begun = time.monotonic()
        assert daemon.stop(number) == 0
        assert time.monotonic() - begun < 2  # not the job's deadline, nor what the kernel gets to kill it
        assert not daemon.socket.exists()
        until(lambda: all(gone(pid) for pid in children))
        assert "event=stopped" in daemon.log


def test_a_job_that_is_nearly_done_may_finish_and_its_asker_hears_it(place: Path) -> None:
    job = BY_INTENT.format("open(sys.argv[0] + '.on', 'w'); time.sleep(0.4); reply(result='done')")
    with (
        running(place, job) as daemon,
        closing(daemon.wait().connect()) as asker,
        closing(daemon.connect()) as queued,
    ):
        asker.sendall(request("POST", "/v1/activate"))
        until((place.parent / "r.job.py.on").exists)
        queued.sendall(request("POST", "/v1/release"))
        time.sleep(0.1)
        daemon.process.send_signal(signal.SIGTERM)
        assert read_one(asker).json["result"] == "done"
        assert read_one(queued).json["error"]["detail"] == "daemon_stopping"
        assert daemon.process.wait(20) == 0


def test_a_second_daemon_is_refused_and_the_first_serves_on(shared: Running) -> None:
    second = Running(shared.directory)
    assert second.process.wait(10) == 69
    assert "already_running/daemon_running" in second.log
    assert shared.answers()


def test_after_a_kill_the_next_one_takes_over(place: Path) -> None:
    with running(place) as first:
        first.wait().process.kill()
        first.process.wait()
        assert first.socket.exists()
    with running(place) as second:
        second.wait()


def test_the_socket_is_for_owner_and_group(shared: Running) -> None:
    assert stat.S_IMODE(shared.socket.stat().st_mode) == 0o660


# a socket that systemd holds


@pytest.fixture
def held(place: Path) -> Iterator[socket.socket]:
    """As opanel-agent.socket does: bound and listened at by another process than the daemon."""
    place.mkdir(mode=0o700)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(place / "agent.sock"))
        listener.listen(512)
        yield listener


ANSWERED = """
now = int(time.time())
license_ = {"schema": 1, "state": "active", "reasons": ["ok"], "as_of": now, "good_until": now + 600}
answer = {"schema": 1, "consent": {}, "license": license_}
frame = {"schema": 1, "ok": True, "error": None, "answer": answer, "next_run_s": 3600, "result": None}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nobody_is_refused_while_it_is_started_anew(place: Path, held: socket.socket, number: int) -> None:
    """Who connects meanwhile is answered by the next one, from its first moment, with the answer of before."""
    with running(place, ANSWERED + "print(json.dumps(frame))", passed=held) as first:
        first.wait()
        assert "restored" not in first.ask("GET", "/v1/license").json
        assert first.stop(number) in (0, -number)
        with closing(first.connect()) as waiting:
            waiting.sendall(request("GET", "/v1/license", close=True))
            with running(place, "time.sleep(60)", passed=held):
                assert Reply(read_all(waiting)).json["restored"] is True
    assert (place / "agent.sock").exists()


def test_a_kept_connection_is_told_that_it_ends(place: Path, held: socket.socket) -> None:
    """And is answered to the last: a request is never cut off by a restart."""
    with running(place, passed=held, drain_s=5.0) as daemon, closing(daemon.wait().connect()) as client:
        client.sendall(request("GET", "/v1/license"))
        assert "connection" not in read_one(client).headers
        daemon.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        client.sendall(request("GET", "/v1/license"))
        assert Reply(read_all(client)).headers["connection"] == "close"
        assert daemon.process.wait(4) == 0  # nobody is left to wait for


def test_who_was_taken_in_and_asks_at_the_last_moment_is_answered(
    place: Path, held: socket.socket, tmp_path: Path
) -> None:
    """Whoever connects and then asks may be between the two when the daemon is told to end; nobody new is taken in."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(10)
        notified = {"NOTIFY_SOCKET": str(tmp_path / "n")}
        with running(place, passed=held, env=notified, drain_s=0.0, last_s=30.0) as daemon:
            daemon.wait()
            before = sockets(daemon)
            with closing(daemon.connect()) as taken_in:
                until(lambda: sockets(daemon) == before + 1)
                daemon.process.send_signal(signal.SIGTERM)
                until(lambda: b"STOPPING=1" in manager.recv(4096))
                with closing(daemon.connect()) as left_to_the_next:
                    taken_in.sendall(request("GET", "/v1/license"))
                    assert read_one(taken_in).status == 200
                    assert daemon.process.wait(20) == 0
                    assert not select([left_to_the_next], [], [], 0)[0]


def test_who_was_taken_in_and_says_nothing_keeps_it_from_its_end_for_a_moment_only(place: Path) -> None:
    with running(place, drain_s=0.0, last_s=0.1) as daemon, closing(daemon.wait().connect()) as silent:
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
        assert read_all(silent) == b""


def sockets(daemon: Running) -> int:
    return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{daemon.process.pid}/fd").iterdir())


@pytest.mark.parametrize(
    "environment", [{"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "x"}, {"LISTEN_FDS": "-1"}]
)
def test_what_is_meant_for_another_process_is_not_taken(place: Path, environment: dict[str, str]) -> None:
    with running(place, env=environment) as daemon:
        daemon.wait()


def test_a_socket_of_another_path_is_not_taken(place: Path, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(tmp_path / "other"))
        other.listen()
        with running(place, passed=other) as daemon:
            daemon.wait()


@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced"])
def test_a_deleted_socket_file_is_made_anew(place: Path, how: str) -> None:
    """At once where a name is deleted; else with the next thing that the daemon has to do."""
    with running(place, socket_check_s=0.0) as daemon, closing(daemon.wait().connect()) as kept:
        if how == "deleted":
            daemon.socket.unlink()
        else:
            daemon.socket.rename(place / "elsewhere")
        if how == "replaced":
            with closing(socket.socket(socket.AF_UNIX)) as dead:
                dead.bind(str(daemon.socket))
        if how != "deleted":
            kept.sendall(request("GET", "/v1/license"))
            assert read_one(kept).status == 200
        daemon.wait()
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
        kept.sendall(request("GET", "/v1/license"))
        assert read_one(kept).status == 200
        until(lambda: "event=socket_healed" in daemon.log)


def test_a_deleted_socket_of_systemd_s_is_made_anew_and_kept(place: Path, held: socket.socket, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(10)
        with running(place, passed=held, env={"NOTIFY_SOCKET": str(tmp_path / "n")}) as daemon:
            daemon.wait()
            daemon.socket.unlink()
            daemon.wait()
            while not (received := socket.recv_fds(manager, 1000, 1))[0].startswith(b"FDSTORE=1"):
                pass
            assert daemon.stop() == 0
        kept = socket.socket(fileno=received[1][0])
        with closing(kept), running(place, passed=kept) as daemon:
            daemon.wait()


def test_systemd_is_told(place: Path, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(10)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "400000"}
        job = "reply(state='active' if 'NOTIFY_SOCKET' not in os.environ else 'leaked')"
        with running(place, job, env=environment) as daemon:
            daemon.wait()
            time.sleep(1)
            daemon.stop()
        manager.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(manager.recv(1000).decode())
            except BlockingIOError:
                break
    assert messages[0] == "READY=1\nSTATUS=no answer yet"
    assert "STATUS=license active (ok)" in messages
    assert 5 <= messages.count("WATCHDOG=1") <= 8
    assert messages[-1] == "STOPPING=1\nSTATUS=stopping"


def test_an_idle_daemon_does_nothing(place: Path) -> None:
    def switches() -> str:
        status = (Path("/proc") / str(daemon.process.pid) / "status").read_text()
        return next(line for line in status.splitlines() if line.startswith("voluntary_ctxt"))

    with running(place) as daemon:
        daemon.wait()
        time.sleep(0.3)
        before = switches()
        time.sleep(0.7)
        assert switches() == before


@pytest.mark.slow
def test_nothing_grows(place: Path) -> None:
    """Descriptors and children after many clients and jobs."""
    with running(place) as daemon:
        daemon.wait()

        def held() -> int:
            return sum(1 for _ in Path(f"/proc/{daemon.process.pid}/fd").iterdir())

        time.sleep(0.2)
        before = held()
        for _ in range(20):
            daemon.ask("GET", "/v1/license")
            assert json.loads(daemon.ask("POST", "/v1/release").body)["ok"]
        until(lambda: held() == before and daemon.children() == [])
