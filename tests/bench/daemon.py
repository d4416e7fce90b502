"""What the daemon costs while it waits, and how fast it answers: against a bare interpreter, an exporter and an echo.

The daemon is the real one (`opanel-agent daemon` with its unit's variables, a user installation in a temporary
home and a login session, its first evaluation done). Its first day has passed in seconds (tests/bench/fast_clock.py), under
a watchdog, before it is weighed. READY is the time from the start of the process to its word to systemd, against that
of an interpreter that does nothing. Memory is RSS and PSS from /proc/PID/smaps_rollup after 1,000 `GET /v1/license`,
of all processes at the same moment, so that what they share is shared alike; beside a bare interpreter it is the
median of some, because RSS differs by 2 % from one to the next. prometheus-node-exporter, where it is installed, has
been scraped as many times. Speed is `GET /v1/license` against an echo of the same number of bytes, in turn, on a kept
connection and on a new one each time, as a panel does that keeps nothing. Run by tests/bench/run.
"""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from fixtures import signing
from fixtures.daemon.live_daemon import read_one, request, until

REQUESTS = 1000
BATCHES = 20
CALLS = 200
STARTS = 15
BARE = 9
RSS_GOAL = 1.8
READY_GOAL = 5.0
IDLE_S = 5
DAY_WAKE_UPS = 2880  # of a watchdog of 60 s
P99_GOAL_MS = 2.0
ASK = request("GET", "/v1/license")
UNIT = Path(__file__).parents[2] / "systemd/opanel-agent.service"

ECHO = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    client, _ = listener.accept()
    while client.recv(4096):
        client.sendall(b"x" * int(sys.argv[2]))
    client.close()
"""


@contextmanager
def process(*command: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended in the end, by its id."""
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()


def memory_kb(pid: int) -> tuple[int, int]:
    """RSS and PSS."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in rollup.splitlines()[1:])}
    return found["Rss"], found["Pss"]


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def listens(path: Path) -> bool:
    try:
        connect(path).close()
    except OSError:
        return False
    return True


def answered(path: Path) -> bool:
    if not listens(path):
        return False
    with closing(connect(path)) as client:
        client.sendall(ASK)
        return read_one(client).status == 200


def whole(client: socket.socket, size: int) -> None:
    got = 0
    while got < size:
        got += len(client.recv(size))


def kept(path: Path, size: int) -> list[float]:
    """Seconds of each call on one connection."""
    with closing(connect(path)) as client:

        def call() -> None:
            client.sendall(ASK)
            whole(client, size)

        return [timed(call) for _ in range(CALLS)]


def anew(path: Path, size: int) -> list[float]:
    def call() -> None:
        with closing(connect(path)) as client:
            client.sendall(ASK)
            whole(client, size)

    return [timed(call) for _ in range(CALLS)]


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def speed(daemon: Path, echo: Path, size: int) -> None:
    for name, call in (("a kept connection", kept), ("a new connection each", anew)):
        call(daemon, size)
        call(echo, size)
        pairs = [(call(daemon, size), call(echo, size)) for _ in range(BATCHES)]
        for which, at in (("p50", 0.5), ("p99", 0.99)):
            mine, bare = (quantile_ms(side, at) for side in zip(*pairs, strict=True))
            goal = f"; goal < {P99_GOAL_MS} ms: {verdict(mine < P99_GOAL_MS)}" if which == "p99" else ""
            print_line(f"GET /v1/license on {name}, {which} to a bare echo: {ratio(mine, bare, 'ms')}{goal}")


def quantile_ms(batches: Iterable[list[float]], at: float) -> float:
    """The median of the batches' own quantiles: a neighbour's burst spoils its batches, not the figure."""
    return statistics.median(sorted(batch)[int(at * len(batch))] for batch in batches) * 1e3


def ready(home: Path, environment: dict[str, str]) -> None:
    """In turn, the median of each."""
    place = home / "n"
    mine, bare = [], []
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(place))
        for _ in range(STARTS):
            bare.append(timed(lambda: subprocess.run([sys.executable, "-I", "-c", ""], check=True)))
            with ExitStack() as stack:

                def start(stack: ExitStack = stack) -> None:
                    with_socket = {**environment, "NOTIFY_SOCKET": str(place)}
                    stack.enter_context(process(sys.executable, "-I", "-m", "opanel_agent", "daemon", env=with_socket))
                    assert manager.recv(1000).startswith(b"READY=1")

                mine.append(timed(start))
            drained(manager)
    took, base = (statistics.median(side) * 1e3 for side in (mine, bare))
    print_line(
        f"READY, to a bare interpreter's start: {ratio(took, base, 'ms')}; "
        f"goal ≤ {READY_GOAL} ×: {verdict(took <= READY_GOAL * base)}"
    )


def drained(manager: socket.socket) -> None:
    manager.setblocking(False)
    with suppress(BlockingIOError):
        while manager.recv(1000):
            pass
    manager.setblocking(True)


def idle(pid: int) -> None:
    """With nothing due but the watchdog, twice a minute."""
    before = switches(pid)
    time.sleep(IDLE_S)
    woken = switches(pid) - before
    print_line(f"wake-ups in {IDLE_S} idle seconds: {woken}; goal ≤ 1, the watchdog's: {verdict(woken <= 1)}")


def switches(pid: int) -> int:
    """Each time it went to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt"))


def scrape(stack: ExitStack) -> int | None:
    """The exporter's pid after as many scrapes; None where it is not installed."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    exporter = stack.enter_context(process(program, f"--web.listen-address=127.0.0.1:{port}"))
    url = f"http://127.0.0.1:{port}/metrics"
    until(lambda: reached(port))
    for _ in range(REQUESTS):
        with urllib.request.urlopen(url) as page:
            page.read()
    return exporter.pid


def reached(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def weigh(daemon: int, bare: Path, exporter: int | None) -> None:
    """Beside one bare interpreter at a time, and the median of them; `bare` is the program."""
    weighed: dict[str, list[tuple[int, int]]] = {"daemon": [], "a bare interpreter": []}
    if exporter is not None:
        weighed[f"prometheus-node-exporter after {REQUESTS} scrapes"] = []
    for _ in range(BARE):
        with waiting(bare) as pid:
            pids = (daemon, pid) if exporter is None else (daemon, pid, exporter)
            for weights, each in zip(weighed.values(), pids, strict=True):
                weights.append(memory_kb(each))
    for index, kind in enumerate(("RSS", "PSS")):
        mine, *others = (statistics.median(weight[index] for weight in found) / 1024 for found in weighed.values())
        goals = (RSS_GOAL if kind == "RSS" else None, 1.0)
        for name, base, goal in zip(list(weighed)[1:], others, goals, strict=False):
            judged = f"; goal ≤ {goal} ×: {verdict(mine / base <= goal)}" if goal else ""
            print_line(f"daemon {kind} after {REQUESTS} requests, to {name}: {ratio(mine, base, 'MB')}{judged}")


@contextmanager
def waiting(program: Path) -> Iterator[int]:
    """The pid of an interpreter that has started and does nothing but wait for its end."""
    command = (program, "-I", "-c", "import os; os.write(1, b'.'); os.read(0, 1)")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.read(1)
        yield started.pid
        started.communicate(b".")


def settle(home: Path) -> None:
    """A trust root and the settings that name it: a test's, as a vendor's is not in the source."""
    settings = home / ".config/opanel-agent/agent.toml"
    settings.parent.mkdir(parents=True)
    root = home / "root.jws"
    root.write_bytes(signing.root())
    settings.write_text(f'schema = 1\ntrust_root = "{root}"\n')


def of_unit() -> dict[str, str]:
    """What the unit sets for the daemon."""
    assignments = [
        line.removeprefix("Environment=") for line in UNIT.read_text().splitlines() if line.startswith("Environment=")
    ]
    return dict(word.split("=", 1) for line in assignments for word in line.split())


def unit_weight() -> int:
    """The part of the processor that the unit asks for the daemon."""
    lines = UNIT.read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CPUWeight=")).removeprefix("CPUWeight="))


def ratio(mine: float, base: float, unit: str) -> str:
    return f"{mine / base:.2f} × ({mine:.3g} {unit} to {base:.3g} {unit})"


def verdict(reached_goal: bool) -> str:
    return "reached" if reached_goal else "MISSED"


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settle(home)
        session = home / "session"
        session.mkdir(mode=0o700)
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(session), **of_unit()}
        ready(home, environment)
        watched = {
            **environment,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "NOTIFY_SOCKET": str(home / "none"),
            "WATCHDOG_USEC": "60000000",
        }
        daemon = stack.enter_context(process(sys.executable, "-m", "bench.fast_clock", env=watched))
        # An environment of its own: what .pth files import (an editable install, coverage) is no part of bare.
        venv.create(home / "bare", symlinks=True)
        path = session / "opanel-agent/agent.sock"
        until(lambda: answered(path), 30)
        until(lambda: switches(daemon.pid) > DAY_WAKE_UPS, 120)
        with closing(connect(path)) as client:
            client.sendall(ASK)
            first = read_one(client)
            size = first.size
            for _ in range(REQUESTS - 1):
                client.sendall(ASK)
                whole(client, size)
        weigh(daemon.pid, home / "bare/bin/python", scrape(stack))
        idle(daemon.pid)
        echo = home / "echo.sock"
        stack.enter_context(process(sys.executable, "-I", "-c", ECHO, str(echo), str(size)))
        until(lambda: listens(echo))
        speed(path, echo, size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
