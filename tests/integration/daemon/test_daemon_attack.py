"""The local API under attack: what each attacker is told, what is closed, and that everybody else is served all the same.

How long the others wait meanwhile is measured in tests/bench/attack.py; nothing here looks at a clock.
"""

import errno
import math
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from selectors import DefaultSelector
from tempfile import TemporaryDirectory

import pytest

from fixtures.daemon.live_daemon import Running, as_uid, read_all, read_one, request, running, until
from opanel_agent.daemon.connection import Timeouts
from opanel_agent.daemon.connections import ClientSockets, ConnectionLimits
from opanel_agent.daemon.jobs.job_queue import JobQueue, RetryPolicy
from opanel_agent.daemon.listener import ListeningSocket

ASK = request("GET", "/v1/license")

root = pytest.mark.root
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")


@pytest.fixture
def public() -> Iterator[Running]:
    """A daemon whose socket everyone reaches, as the group does in a system installation."""
    with TemporaryDirectory() as base, running(Path(base) / "r", timeouts={"request_s": 4.0}) as daemon:
        yield daemon.wait().open_to_all()


def descriptors(daemon: Running) -> int:
    return sum(1 for _ in Path(f"/proc/{daemon.process.pid}/fd").iterdir())


def queued(daemon: Running) -> socket.socket:
    """A connection that waits for its place in the queue: with a timeout, Python would not."""
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(daemon.socket))
    connected.settimeout(10)
    return connected


# one uid and the others


@root
@only_root
def test_who_pipelines_without_end_gets_every_answer_in_the_end() -> None:
    """On all its connections; meanwhile another uid is answered."""
    count = 300
    with TemporaryDirectory() as base, running(Path(base) / "r") as daemon:
        daemon.wait().open_to_all()
        with ExitStack() as stack:
            with as_uid(2001):
                greedy = [stack.enter_context(closing(daemon.connect())) for _ in range(4)]
            for client in greedy:
                client.sendall(ASK * (count - 1) + request("GET", "/v1/license", close=True))
            with as_uid(2002), closing(daemon.connect()) as other:
                other.sendall(ASK)
                assert read_one(other).status == 200
            assert all(read_all(client).count(b"HTTP/1.1 200") == count for client in greedy)


def test_whoever_keeps_its_connections_busy_keeps_no_new_one_of_its_own_uid_waiting(place: Path) -> None:
    """A panel's kept connections and its new ones: both get their turn, before the first have asked everything."""
    with ExitStack() as stack:
        listener = stack.enter_context(ListeningSocket(socket.AF_UNIX))
        listener.bind(str(place))
        listener.listen()
        listener.setblocking(False)
        selector = stack.enter_context(DefaultSelector())
        clients = ClientSockets(
            selector, [listener], JobQueue(RetryPolicy(), 0), connection_limits=ConnectionLimits(), timeouts=Timeouts()
        )
        stack.callback(clients.close)
        greedy, other = (stack.enter_context(closing(socket.socket(socket.AF_UNIX))) for _ in range(2))
        for client, asked in ((greedy, 1000), (other, 1)):
            client.connect(str(place))
            client.setblocking(False)
            client.send(ASK * asked)
        clients.turn(100.0)
        assert other.recv(12) == b"HTTP/1.1 503"  # there is no answer yet
        assert greedy.recv(65536).count(b"HTTP/1.1 503") < 1000


def test_a_crowd_that_has_left_is_ended_before_it_has_its_turn(place: Path) -> None:
    """Who only connects and leaves makes nobody wait, and nothing of it stays; what it asked before is carried out."""
    with ExitStack() as stack:
        listener = stack.enter_context(ListeningSocket(socket.AF_UNIX))
        listener.bind(str(place))
        listener.listen(200)
        listener.setblocking(False)
        selector = stack.enter_context(DefaultSelector())
        queue = JobQueue(RetryPolicy(), 0)
        clients = ClientSockets(selector, [listener], queue, connection_limits=ConnectionLimits(), timeouts=Timeouts())
        stack.callback(clients.close)
        crowd = [stack.enter_context(closing(socket.socket(socket.AF_UNIX))) for _ in range(100)]
        for client in crowd:
            client.connect(str(place))
        while len(clients) < 100:
            clients.turn(100.0)
        crowd[50].send(request("POST", "/v1/narrowed"))
        for client in crowd:
            client.close()
        clients.turn(100.0)
        clients.turn(100.0)
        assert len(clients) == 1
        job = queue.next_task(100.0)
        assert job is not None
        assert job.start.intent == "narrowed"


# many connections


def test_a_thousand_connections_are_served_and_leave_nothing_behind(place: Path) -> None:
    """More than there is room for: each is answered, and those that nobody used for longest are ended."""
    with running(place, connection_limits={"at_once": 200}) as daemon:
        daemon.wait()
        until(daemon.answers)
        before = descriptors(daemon)
        with ExitStack() as stack:
            for _ in range(1000):
                client = stack.enter_context(closing(queued(daemon)))
                client.sendall(ASK)
                assert read_one(client).status == 200
            assert descriptors(daemon) <= before + 200
        until(lambda: descriptors(daemon) == before)
        assert daemon.answers()


@pytest.mark.slow
@root
@only_root
def test_a_uid_that_takes_all_it_can_get_keeps_neither_root_nor_the_panel_out(public: Running) -> None:
    before = descriptors(public)
    with ExitStack() as stack:
        with as_uid(2001):
            clients = [stack.enter_context(closing(queued(public))) for _ in range(200)]
        clients[0].sendall(ASK[:5])  # slow
        clients[1].sendall(b"POST /v1/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n" + b"x" * 9999)
        clients[2].sendall(ASK * 199 + request("GET", "/v1/license", close=True))
        for uid in (0, 2002):
            with as_uid(uid), closing(queued(public)) as client:
                client.sendall(ASK)
                assert read_one(client).status == 200
        assert read_all(clients[0]).startswith(b"HTTP/1.1 408")
        assert read_all(clients[1]).startswith(b"HTTP/1.1 413")
        assert read_all(clients[2]).count(b"HTTP/1.1 200") == 200
        for client in clients[3:]:
            client.sendall(ASK)
            assert read_one(client).status == 200
    until(lambda: descriptors(public) == before)


# no descriptor left


def served(selector: DefaultSelector, listener: ListeningSocket) -> ClientSockets:
    queue = JobQueue(RetryPolicy(), 0)
    limits, timeouts = ConnectionLimits(), Timeouts()
    return ClientSockets(selector, [listener], queue, connection_limits=limits, timeouts=timeouts)


class Starved(ListeningSocket):
    """A listener for whose clients the kernel has no descriptor."""

    fault = errno.EMFILE

    def accept_client(self) -> socket.socket:
        raise OSError(self.fault, os.strerror(self.fault))


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_a_descriptor_it_does_not_ask_again_at_once(place: Path, fault: int) -> None:
    with Starved(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client, DefaultSelector() as selector:
        listener.fault = fault
        listener.bind(str(place))
        listener.listen()
        client.connect(str(place))
        clients = served(selector, listener)
        assert len(selector.select(0)) == 1
        clients.turn(100.0)
        assert selector.select(0) == []  # although somebody waits
        assert clients.due_s() == pytest.approx(100.1)
        clients.turn(100.05)
        assert selector.select(0) == []
        clients.turn(clients.due_s())
        assert clients.due_s() == pytest.approx(100.2)


def test_nobody_is_accepted_after_the_end_however_it_stood(place: Path) -> None:
    with Starved(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client, DefaultSelector() as selector:
        listener.bind(str(place))
        listener.listen()
        client.connect(str(place))
        clients = served(selector, listener)
        clients.turn(100.0)
        clients.stop_accepting()
        clients.stop_accepting()
        clients.turn(200.0)
        assert (selector.select(0), clients.due_s()) == ([], math.inf)


def test_the_last_descriptor_costs_nobody_his_connection(place: Path) -> None:
    """Where nobody waits for it: accept(2) says EMFILE of an empty queue too."""
    with running(place) as daemon, closing(daemon.wait().connect()) as first:
        for _ in range(3):  # by then those that asked before it are gone
            first.sendall(ASK)
            read_one(first)
        taken = descriptors(daemon)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (taken + 1, taken + 1))
        with closing(daemon.connect()) as last:
            until(lambda: descriptors(daemon) == taken + 1)
            for client in (last, first, last):
                client.sendall(ASK)
                assert read_one(client).status == 200


def test_it_lives_through_the_want_of_descriptors(place: Path) -> None:
    """Who waits in the queue is served when there is room; a job that cannot be started is said so."""
    job = (
        "if request['intent'] == 'release':\n"
        "    open(sys.argv[0] + '.on', 'w')\n"
        "    while not os.path.exists(sys.argv[0] + '.go'): time.sleep(0.01)\n"
        "reply()"
    )
    with running(place, job, timeouts={"request_s": 20.0}) as daemon, closing(daemon.wait().connect()) as asker:
        asker.sendall(ASK)
        read_one(asker)
        before = descriptors(daemon)
        pid = daemon.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        asker.sendall(request("POST", "/v1/release"))
        until(Path(f"{place}.job.py.on").exists)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(daemon), limits[1]))
        with closing(daemon.connect()) as waiting:
            waiting.sendall(ASK)
            Path(f"{place}.job.py.go").touch()
            assert read_one(asker).json["ok"] is True  # the job's end is seen although /proc cannot be opened
            assert read_one(waiting).status == 200  # in the place of one of the job's pipes
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + 1, limits[1]))
            asker.sendall(request("POST", "/v1/activate"))
            assert read_one(asker).json["error"]["detail"] == "job_not_started"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        asker.sendall(request("POST", "/v1/activate"))
        assert read_one(asker).json["ok"] is True
        until(lambda: descriptors(daemon) == before)
