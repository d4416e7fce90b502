"""How many requests of the local API fail under ordinary load, and how long they take: beside nginx, in the same run.

50 and 200 workers of one uid, as a panel's are, ask in a loop with clients and reverse proxies as they come, against the
real daemon (a user installation in a temporary home whose socket everybody reaches, as the panel's group does) and
against nginx, which serves the same bytes from a file on a Unix socket. Every failed request is counted, and nothing is
asked again but by the libraries of docs/examples/panel, whose purpose that is. Then: what a second user waits who asks
every two milliseconds while the first takes all it can get (`processor_groups` says how the processor is shared), and what
fails while the daemon is restarted and killed.

It needs root for a uid of the clients' own; without, they are the owner. What is not installed is left out, and said.
All of it, on Debian: apt install nginx-light php-cli php-curl php-guzzlehttp-guzzle nodejs golang-go haproxy apache2-bin
caddy; httpx is the measured environment's own, which the clients' user must be able to enter.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.daemon import ASK, of_unit, print_line, settle, unit_weight, verdict
from bench.load_clients import (
    CLIENTS,
    GOOD,
    OF_PROXIES,
    PROXIES,
    Client,
    Outcome,
    Place,
    measured,
    outcome,
    proxy,
    static_nginx,
    working,
)
from bench.processor_groups import USUAL, Groups, processor_groups
from fixtures.daemon.live_daemon import read_all, until

PANEL: Final = 2001
SECOND: Final = 2002
P99_GOAL: Final = 3.0  # × nginx's, for 50 workers
SECOND_GOAL_MS: Final = 5.0
EVERY_S: Final = 0.002
TIMEOUT_S: Final = 5.0
RESTARTED_S: Final = 0.7  # from one to the next; a start takes a tenth of it
GREEDY: Final = CLIENTS[0]
LIBRARY: Final = next(client for client in CLIENTS if client.name == "PHP library")

# Starts the daemon as systemd does one whose socket it holds: descriptor 3, and who it is meant for.
ACTIVATE: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
DAEMON: Final = ("-I", "-m", "opanel_agent", "daemon")


@dataclass(slots=True, kw_only=True)
class Agent:
    """The real daemon, which can be ended and started again. `held` is a listening socket that outlives it."""

    home: Path
    held: socket.socket | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.session / "opanel-agent/agent.sock"

    @property
    def session(self) -> Path:
        """Where a login session has its sockets, so that none of this machine's own counts."""
        return self.home / "session"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.session.mkdir(mode=0o700, exist_ok=True)
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(self.session),
            **of_unit(),
        }
        command = [sys.executable, *DAEMON]
        descriptors: tuple[int, ...] = ()
        if self.held is not None:
            descriptors = (self.held.fileno(),)
            command = [sys.executable, "-I", "-c", ACTIVATE, str(self.held.fileno()), *DAEMON]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=descriptors
        )

    def ready(self) -> "Agent":
        """Once it answers; its socket is then everybody's."""
        until(lambda: ask(self.socket)[0] == GOOD, 30)
        for directory in (self.socket.parent, self.session, self.home):
            directory.chmod(0o755)
        self.socket.chmod(0o666)
        return self

    def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(30)


@contextmanager
def agent(home: Path, held: socket.socket | None = None) -> Iterator[Agent]:
    started = Agent(home=home, held=held)
    started.start()
    try:
        yield started
    finally:
        started.end(signal.SIGKILL)


def ask(path: Path, timeout_s: float = TIMEOUT_S) -> tuple[str, bytes]:
    """One request on a new connection: its outcome as the clients name them, and the body."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
            client.sendall(ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            head, _, body = read_all(client).partition(b"\r\n\r\n")
        except OSError as error:
            return type(error).__name__, b""
    return (head.split(b" ", 2)[1].decode("latin-1"), body) if head else ("no answer", b"")


# the tables


def compare(name: str, workers: int, mine: Outcome, base: Outcome) -> None:
    times = mine.p99_ms / base.p99_ms
    goals = [f"goal 0 failed: {verdict(mine.failed == 0)}"]
    if workers == 50:  # what the goal is set for
        goals.append(f"p99 ≤ {P99_GOAL:.0f} ×: {verdict(times <= P99_GOAL and mine.failed == 0)}")
    print_line(f"{name:16} {workers:4d}  agent {mine.line()}")
    print_line(f"{'':21}  nginx {base.line()}")
    print_line(f"{'':21}  p99 {times:.2f} ×, {mine.per_s / base.per_s:.2f} × the rate; {'; '.join(goals)}")


def clients(options: argparse.Namespace, place: Place, target: Path, static: Path) -> None:
    for client in CLIENTS:
        if not chosen(options, client.name):
            continue
        if missing := client.missing(place):
            print_line(f"{client.name}: left out, {missing} is not installed")
            continue
        print_line(f"{client.name} {client.version(place)}; {machine_load()}")
        for workers in options.workers:
            mine, base = (measured(client, place, str(path), workers, options.seconds) for path in (target, static))
            compare(client.name, workers, mine, base)


def proxies(options: argparse.Namespace, place: Place, target: Path, static: Path) -> None:
    """Workers that ask a reverse proxy on loopback with curl, a new connection each time."""
    for name, made in PROXIES.items():
        if not chosen(options, name):
            continue
        if missing := OF_PROXIES.missing(place) or made.missing():
            print_line(f"{name} as a proxy: left out, {missing} is not installed")
            continue
        print_line(f"{name} {made.version()} as a proxy; {machine_load()}")
        for workers in options.workers:
            outcomes = []
            for path in (target, static):
                with proxy(name, place, path) as url:
                    outcomes.append(measured(OF_PROXIES, place, url, workers, options.seconds))
            compare(f"by {name}", workers, *outcomes)


def machine_load() -> str:
    """What else the machine does, as far as it can be told: how many processes want its processors now."""
    running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
    return f"{int(running) - 1} other processes want one of {os.cpu_count()} processors"


def chosen(options: argparse.Namespace, name: str) -> bool:
    return not options.only or any(word.lower() in name.lower() for word in options.only)


# a second user


def second_user(options: argparse.Namespace, place: Place, running: Agent, idle: Agent) -> None:
    """What another uid waits, asking every two milliseconds, while 200 workers of the first ask all they can.

    Workers, daemons and asker are groups of their own with the weights of their services. Beside it:
    what the asker waits at a second daemon that nobody else asks, which is the machine's part; and at the first while the
    workers get only what is left over, which is that daemon's own queue.
    """
    weights = {"workers": USUAL, "daemon": unit_weight(), "idle": unit_weight(), "second": USUAL}
    with processor_groups(weights) as groups:
        if groups is None:
            print_line("a second uid: left out, this needs control groups of the processor")
            return
        groups.put("daemon", running.pid)
        groups.put("idle", idle.pid)
        alone = as_second(groups, running.socket, options.seconds)
        print_line(f"a second uid alone: {alone.line()}")
        for client in (client for client in CLIENTS if not client.missing(place)):
            groups.put("workers", os.getpid())
            with working(client, place, str(running.socket), 200, 3 * options.seconds + 1):
                beside = as_second(groups, running.socket, options.seconds)
                elsewhere = as_second(groups, idle.socket, options.seconds)
                groups.yields("workers", idle=True)
                queue = as_second(groups, running.socket, options.seconds)
                groups.yields("workers", idle=False)
            judge_second(f"200 workers of {client.name}", beside, elsewhere, queue)


def judge_second(whom: str, beside: Outcome, elsewhere: Outcome, queue: Outcome) -> None:
    print_line(
        f"a second uid beside {whom}: {beside.line()}; "
        f"goal 0 failed: {verdict(beside.failed == 0)}; < {SECOND_GOAL_MS} ms: {verdict(beside.p99_ms < SECOND_GOAL_MS)}"
    )
    print_line(f"  at an idle daemon meanwhile: {elsewhere.line()}")
    print_line(f"  where they yield it the processor, the daemon's own part: {queue.line()}")


def as_second(groups: Groups, path: Path, seconds: float) -> Outcome:
    groups.put("second", os.getpid())
    os.setegid(SECOND)
    os.seteuid(SECOND)
    try:
        return paced(path, seconds)
    finally:
        os.seteuid(0)
        os.setegid(0)


def paced(path: Path, seconds: float) -> Outcome:
    """Asks every two milliseconds, on a new connection each time."""
    kinds: Counter[str] = Counter()
    latencies: list[float] = []
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        kinds[ask(path)[0]] += 1
        latencies.append(time.monotonic() - begun)
        time.sleep(EVERY_S)
    return outcome(kinds, latencies, seconds)


# restarts


def restarts(options: argparse.Namespace, place: Place, home: Path) -> None:
    """50 workers of the owner while the daemon is restarted and killed: once with its own socket, often with a held one.

    A client that tries nothing again, and then the library: a kill takes along what the daemon has read. A socket of its
    own has a gap, so it has no goal.
    """
    owner = Place(folder=place.folder, uid=None)
    for how in ("a socket of its own", "a socket that systemd holds"):
        with ExitStack() as stack:
            held = None
            if how != "a socket of its own":
                held = stack.enter_context(held_socket(home))
            running = stack.enter_context(agent(home, held))
            if held is not None and not takes(running):
                print_line(f"restarts with {how}: left out, the daemon does not take it")
                continue
            running.ready()
            times = 1 if held is None else options.restarts
            for client in (GREEDY, LIBRARY):
                for number in (signal.SIGTERM, signal.SIGKILL):
                    found = ended_under(client, owner, running, number, times)
                    goal = "" if held is None else f"; goal 0 failed: {verdict(found.failed == 0)}"
                    print_line(
                        f"{how}, {times} × {number.name} under 50 workers of {client.name}: {found.line()}{goal}"
                    )


def ended_under(client: Client, place: Place, running: Agent, number: signal.Signals, times: int) -> Outcome:
    """What becomes of 50 workers' requests while the daemon is ended so many times, each time while it serves them."""
    with working(client, place, str(running.socket), 50, times * RESTARTED_S + 1) as finish:
        for _ in range(times):
            time.sleep(RESTARTED_S)
            running.end(number)
            running.start()
        return finish()


@contextmanager
def held_socket(home: Path) -> Iterator[socket.socket]:
    """Listens where the daemon would, as systemd does for opanel-agent.socket."""
    path = Agent(home=home).socket
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen(4096)
        yield listener


def takes(running: Agent) -> bool:
    """Whether the daemon accepts from the socket that it was given; one that does not ends, since somebody listens."""
    end = time.monotonic() + 15
    while running.process is not None and running.process.poll() is None and time.monotonic() < end:
        if ask(running.socket, timeout_s=0.5)[0] != "TimeoutError":
            return True
    return False


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Failed requests and latencies of the local API under ordinary load.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[50, 200], help="at once (%(default)s)")
    parser.add_argument("--restarts", type=int, default=20, help="and as many kills (%(default)s)")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="only clients, proxies and parts named so: second, restarts"
    )
    return parser.parse_args()


def main() -> int:
    options = read_options()
    root = os.geteuid() == 0
    if not root:
        print_line("the clients are the owner: a uid of their own needs root")
    with ExitStack() as stack:
        home, folder = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        home.chmod(0o755)
        settle(home)
        place = Place(folder=folder, uid=PANEL if root else None)
        place.fill()
        with agent(home) as running:
            path = running.ready().socket
            status, body = ask(path)
            assert status == GOOD, status
            with static_nginx(place, body) as static:
                print_line(
                    f"GET /v1/license, {len(body)} bytes, {options.seconds} s each, and nginx {PROXIES['nginx'].version()}"
                )
                clients(options, place, path, static)
                proxies(options, place, path, static)
            if root and chosen(options, "second"):
                other = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                other.chmod(0o755)
                settle(other)
                with agent(other) as idle:
                    second_user(options, place, running, idle.ready())
        if chosen(options, "restarts"):
            restarts(options, place, home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
