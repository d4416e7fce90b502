"""What an installed agent costs a server: memory of the daemon, CPU and bytes on the wire of an ordinary day.

The agent is the real one, as the unit starts it (`python -I -m opanel_agent daemon` with the unit's variables and
watchdog), with a license, no consent, and one mirror that speaks HTTPS, as a server is that nobody touches. Memory is RSS
and PSS from /proc/PID/smaps_rollup after 1,000 `GET /v1/license`. Then the clock is moved as `opanel-agent prove-silence`
moves it, so that the days pass in a minute or two with every wait as long as the daemon means it; CPU is the kernel's
count for the daemon and for every process that it started, less what the start took. Bytes are those of the TCP
connections with their TLS, both ways, counted by a relay in front of the mirror; headers of TCP and IP are not in it, and
a public certificate authority's chain has some kB more a connection than the one made here.

Told apart is the status list, because it grows with the number of licenses that are suspended: nothing is here. Run by
`tests/bench/run cost`.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench.daemon import ASK, REQUESTS, answered, connect, memory_kb, of_unit, print_line, whole
from fixtures.daemon import wire_server
from fixtures.daemon.live_agent import RESELLER, Home, Rude
from fixtures.daemon.live_daemon import read_one, until
from opanel_agent.silence.life import clock_overlay
from opanel_agent.silence.life.clock_overlay import IDLE, SIZE, STRIDE, UNTIL, WALL_SHIFT, SharedClock
from opanel_authority.documents import issue, publish
from opanel_authority.documents.claims import LicenseTerms

DAY_S: Final = 86_400
DAYS: Final = 7
HOST: Final = "localhost"
UNIT: Final = Path(__file__).parents[2] / "systemd/opanel-agent.service"
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
DEADLINE_S: Final = 900
POLL_S: Final = 0.2


class Relay:
    """Carries connections to a port of this machine, one after the other, and counts their bytes both ways."""

    def __init__(self) -> None:
        self.target = 0
        self.sent = self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                with client, socket.create_connection(("127.0.0.1", self.target)) as server, suppress(OSError):
                    while self._carried(client, server):
                        pass

    def _carried(self, client: socket.socket, server: socket.socket) -> bool:
        """Whether both ends are still there after what was ready was carried."""
        ready, _, _ = select.select([client, server], [], [], POLL_S)
        for source, sink in ((client, server), (server, client)):
            if source in ready:
                data = source.recv(65536)
                if not data:
                    return False
                sink.sendall(data)
                self.sent += len(data) if source is client else 0
                self.received += len(data) if source is server else 0
        return not self._ended.is_set()


class SecureMirror(Rude):
    """A mirror behind the relay that speaks HTTPS, with a certificate of an authority made for it."""

    def __init__(self, stack: ExitStack, place: Path) -> None:
        self.scripts = {}
        self.relay = stack.enter_context(closing(Relay()))
        self.company = wire_server.authority(place)
        context = wire_server.server_context(self.company, place, HOST)
        self._wire = stack.enter_context(wire_server.wire(self._answer, context))
        self.relay.target = self._wire.port

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.relay.port}"


class Cpu(NamedTuple):
    """Seconds of a process, and of all that it started and that has ended."""

    own_s: float
    started_s: float


def cpu(pid: int) -> Cpu:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) / TICKS_PER_S for field in fields[11:15])
    return Cpu(user + system, child_user + child_system)


def environment_of(measured: Path, place: Path) -> tuple[Path, Path]:
    """An environment with the packages of the measured interpreter: its interpreter, and where a start file can be laid."""
    folder = place / "env"
    subprocess.run([measured, "-I", "-m", "venv", "--without-pip", "--symlinks", folder], check=True)
    packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs, mine = (
        Path(subprocess.run([python, "-I", "-c", packages], check=True, capture_output=True, text=True).stdout.strip())
        for python in (measured, folder / "bin/python")
    )
    (mine / "measured.pth").write_text(f"import site; site.addsitedir({str(theirs)!r})\n", "utf-8")
    return folder / "bin/python", mine


def watchdog_usec() -> int:
    """The unit's watchdog, which wakes the daemon more often than all else."""
    setting = next(line for line in UNIT.read_text("utf-8").splitlines() if line.startswith("WatchdogSec="))
    return int(setting.removeprefix("WatchdogSec=").removesuffix("s")) * 1_000_000


@contextmanager
def daemon(python: Path, home: Home) -> Iterator[int]:
    """The daemon's pid, once it has answered."""
    watched = {"NOTIFY_SOCKET": str(home.place / "notify"), "WATCHDOG_USEC": str(watchdog_usec())}
    command: list[str | Path] = [python, "-I", "-m", "opanel_agent", "daemon"]
    log = home.place / "daemon.log"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command,
            env={**home.environment, **of_unit(), **watched},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as started,
    ):
        try:
            until(lambda: answered(home.run / "agent.sock"), 60)
            yield started.pid
        finally:
            started.send_signal(signal.SIGTERM)
            started.wait(20)


def weigh(python: Path, home: Home) -> tuple[int, int]:
    """RSS and PSS in kB after the requests."""
    with daemon(python, home) as pid, closing(connect(home.run / "agent.sock")) as client:
        client.sendall(ASK)
        size = read_one(client).size
        for _ in range(REQUESTS - 1):
            client.sendall(ASK)
            whole(client, size)
        return memory_kb(pid)


def live(clock: SharedClock, until_s: float) -> None:
    """Lets the clock move on to then, each wait as long as the daemon means it."""
    clock.set(STRIDE, 0.0)
    clock.set(UNTIL, until_s)
    ends_at = time.monotonic() + DEADLINE_S
    while clock.get(IDLE) < until_s:
        assert time.monotonic() < ends_at, f"only {clock.get(WALL_SHIFT) / DAY_S:.1f} days passed"
        time.sleep(0.01)


def lay_clock(place: Path, packages: Path) -> SharedClock:
    """Moves the clock of every process of that environment from now on."""
    clock_file, starts_file = place / "clock", place / "starts"
    clock_file.write_bytes(bytes(SIZE))
    starts_file.touch()
    files = (str(clock_file), str(starts_file))
    source = str(Path(clock_overlay.__file__))
    start = f"import sys; parts = {{}}; exec(open({source!r}).read(), parts); parts['install'](*{files!r})\n"
    (packages / "clock.pth").write_text(start, "utf-8")
    return SharedClock(str(clock_file))


def starts(place: Path) -> dict[str, int]:
    """How often each process was started."""
    words = [line.split()[1] for line in (place / "starts").read_text("utf-8").splitlines()]
    return {word: words.count(word) for word in sorted(set(words))}


class Cost(NamedTuple):
    """What `days` ordinary days took. `asked` are the requests, method and path, as the mirror read them."""

    days: int
    cpu: Cpu
    started: dict[str, int]
    sent: int
    received: int
    asked: list[str]


def lived(python: Path, home: Home, mirror: SecureMirror, clock: SharedClock, days: int) -> Cost:
    """Lives these days after a first one, in which a new server makes its first check."""
    with daemon(python, home) as pid:
        live(clock, DAY_S)
        cpu_then, starts_then = cpu(pid), starts(home.place)
        sent, received, asked = mirror.relay.sent, mirror.relay.received, len(mirror.heard)
        live(clock, (1 + days) * DAY_S)
        cpu_now = cpu(pid)
    return Cost(
        days=days,
        cpu=Cpu(cpu_now.own_s - cpu_then.own_s, cpu_now.started_s - cpu_then.started_s),
        started={word: count - starts_then.get(word, 0) for word, count in starts(home.place).items()},
        sent=mirror.relay.sent - sent,
        received=mirror.relay.received - received,
        asked=mirror.heard[asked:],
    )


def print_cost(cost: Cost) -> None:
    """Prints the figures of a day."""
    days, (own_s, started_s) = cost.days, cost.cpu
    whole_s = own_s + started_s
    print_line(
        f"CPU of a day: {whole_s / days:.1f} s ({own_s / days:.2f} s the daemon, {started_s / days:.2f} s what it "
        f"starts), {whole_s / days / DAY_S:.4%} of one core"
    )
    started = (f"{word} {count / days:.1f}" for word, count in cost.started.items() if count)
    print_line(f"processes started in a day: {', '.join(started)}")
    sent, received = cost.sent / days, cost.received / days
    print_line(
        f"bytes of a day: {sent + received:.0f} ({sent:.0f} sent, {received:.0f} received) in "
        f"{len(cost.asked) / days:.1f} requests: {', '.join(sorted(set(cost.asked)))}"
    )


class Server(NamedTuple):
    """A server with a license, and its mirror. `packages` is where a start file can be laid."""

    home: Home
    mirror: SecureMirror
    python: Path
    packages: Path


@contextmanager
def server(measured: Path) -> Iterator[Server]:
    """A server whose agent runs on the packages of the measured interpreter; nothing runs yet."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cost-")))
        mirror = SecureMirror(stack, place)
        home = Home(place, mirror)
        mirror.behave(home.authority, home.now)
        home.settings.write_text(f'{home.good_settings}ca_file = "{mirror.company.file}"\n', "utf-8")
        sold = issue.issue(home.authority, RESELLER, LicenseTerms(activation=False), now=home.now)
        (home.config / "license.jws").write_bytes(sold.text.encode("ascii"))
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(str(place / "notify"))  # nobody reads: what does not fit is lost, as it may be
        yield Server(home, mirror, *environment_of(measured, place))


def main() -> int:
    """Prints the figures of the interpreter that is named first, for as many days as are named second."""
    measured = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(sys.executable)
    days = int(sys.argv[2]) if len(sys.argv) > 2 else DAYS
    with server(measured) as (home, mirror, python, packages):
        rss, pss = weigh(python, home)
        print_line(f"memory of the daemon: {rss / 1024:.1f} MB RSS, {pss / 1024:.1f} MB PSS after {REQUESTS} requests")
        print_cost(lived(python, home, mirror, lay_clock(home.place, packages), days))
        listed = publish.current_status_list(home.authority, now=home.now)
        print_line(f"of these the status list: {len(listed)} bytes, with nothing suspended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
