"""How long a well-behaved client waits while another user does its worst to the local API.

The daemon is the real one (`opanel-agent daemon`, a user installation in a temporary home whose socket everybody
reaches, as the panel's group does). The well-behaved client and its attackers are users of their own, so this needs
root. The client asks `GET /v1/license` every two milliseconds, on a kept connection and on a new one each time, with a
time-out as real clients have one. Every request that fails is counted, root's too, and none is tried again; then
root's monitoring asks with `opanel-agent status --check`, which must not say "unknown". Beside the failures
stands the p99 of the client's waiting under each attack, the median of batches, to the same client's with
nobody else there and to a bare echo's with a program that only burns the processor. Daemon, client and attackers share the
processor as services of systemd do (`processor_groups`). The daemon's memory is weighed at the end
of each attack, while it still goes on, and once its connections are gone; and again after a second round of all of them,
since what the first round left behind for good must not grow. Run by tests/bench/run.

`--weight 100` shows what is lost where the daemon has no more of the processor than anybody else, as in a container
without systemd: the kernel's queue may be full, and only who waits for a place in it is served every time.
"""

import argparse
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.daemon import (
    ASK,
    ECHO,
    answered,
    connect,
    listens,
    memory_kb,
    of_unit,
    print_line,
    process,
    quantile_ms,
    ratio,
    settle,
    timed,
    unit_weight,
    verdict,
)
from bench.processor_groups import USUAL, Groups, processor_groups
from fixtures.daemon.live_daemon import request, until

CLIENT: Final = 2001
ATTACKER: Final = 2002
BATCHES: Final = 6
CALLS: Final = 200
CHECKS: Final = 10  # of monitoring under each attack: each starts an interpreter
UNKNOWN: Final = 3  # the exit status that monitoring takes for "no answer" (Nagios)
EVERY_S: Final = 0.002
CLIENT_TIMEOUT_S: Final = 5.0
P99_GOAL_MS: Final = 5.0
GROWTH_GOAL_MB: Final = 0.5  # from the first round of attacks to the second
OWN_SOCKETS: Final = 3  # of the daemon: one that listens, and the pair that signals come through
AGAIN_S: Final = 3.0  # each attack in the second round
MANY_LINES: Final = b"GET /v1/license HTTP/1.1\r\nHost: a\r\n" + b"a:b\r\n" * 1600 + b"\r\n"
ENDLESS: Final = b"POST /v1/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n" + b"x" * 200_000

Attack = Callable[[Path], object]
REFUSED: Final = multiprocessing.Value("Q")  # connections that an attacker was refused


def opened(path: Path) -> socket.socket | None:
    """A connection, made without waiting as a client with a time-out makes it; None, counted, where there is none."""
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        with REFUSED.get_lock():
            REFUSED.value += 1
        return None
    return client


def sends(text: bytes, *, at_once: int = 4, pause_s: float = 0.0, reads: bool = True) -> Attack:
    """So many connections that send this over and over, read what comes, and are made anew when they are closed."""

    def attack(path: Path) -> None:
        left: dict[socket.socket, memoryview] = {}
        while True:
            for _ in range(at_once - len(left)):
                if client := opened(path):
                    left[client] = memoryview(text)
            readable, writable, _ = select.select([*left] if reads else [], [*left], [], 0.001)
            for client in {*readable, *writable}:
                try:
                    if client in readable and not client.recv(65536):
                        raise ConnectionResetError
                    if client in writable:
                        left[client] = left[client][client.send(left[client][:65536]) :] or memoryview(text)
                except BlockingIOError:
                    continue
                except OSError:
                    del left[client]
                    client.close()
            time.sleep(pause_s)

    return attack


def drips(path: Path) -> None:
    """Four connections, a byte each at a time, never a whole request."""
    sends(ASK[:1], pause_s=0.005)(path)


def silent(path: Path) -> None:
    """Connections that say nothing: so many as are to be had, and new ones as soon as they are cut off."""
    while True:
        clients = [client for client in (opened(path) for _ in range(8)) if client]
        select.select(clients, [], [], 1.0)
        for client in clients:
            client.close()


def connects_and_closes(path: Path) -> None:
    """Nothing else, as fast as it can."""
    while True:
        if client := opened(path):
            client.close()


def thousand(path: Path) -> None:
    """A thousand connections, each kept as long as it lives; those that were refused are made again."""
    clients: list[socket.socket] = []
    while True:
        if client := opened(path):
            clients.append(client)
        if len(clients) >= 1000:
            for client in clients:
                client.close()
            clients.clear()


def everything(path: Path) -> None:
    """All that one uid gets, by four processes."""
    for each in (sends(request("GET", "/v1/answer") * 50), thousand, connects_and_closes):
        multiprocessing.Process(target=each, args=(path,), daemon=True).start()
    sends(MANY_LINES)(path)


def burns(_path: Path) -> None:
    while True:
        pass


ATTACKS: Final[dict[str, Attack]] = {
    "slow (a byte at a time)": drips,
    "half-open (says nothing)": silent,
    "huge heads (1,600 lines)": sends(MANY_LINES),
    "huge bodies (endless)": sends(ENDLESS),
    "pipelining": sends(request("GET", "/v1/answer") * 50),
    "never reading": sends(request("GET", "/v1/answer") * 50, at_once=50, reads=False),
    "1,000 connections": thousand,
    "connects and closes": connects_and_closes,
    "all it can get": everything,
}


@contextmanager
def under(attack: Attack, path: Path, groups: Groups) -> Iterator[None]:
    """While another user does that."""

    def begin() -> None:
        os.setsid()
        groups.put("attacker", os.getpid())
        os.setgid(ATTACKER)
        os.setuid(ATTACKER)
        attack(path)

    attacker = multiprocessing.Process(target=begin)
    attacker.start()
    try:
        time.sleep(0.5)
        yield
    finally:
        os.killpg(attacker.pid or 0, 9)
        attacker.join()


def attempt(call: Callable[[], object]) -> bool:
    """Whether a client with a time-out got its answer. A failure is counted and not tried again."""
    try:
        call()
    except (OSError, EOFError):
        return False
    return True


def whole_answer(client: socket.socket, size: int) -> None:
    client.sendall(ASK)
    got = 0
    while got < size:
        more = len(client.recv(size))
        if not more:
            raise EOFError
        got += more


def waits(path: Path, size: int, *, anew: bool) -> tuple[list[list[float]], int]:
    """Seconds of each call of a client that has other things to do in between, and how many failed."""
    failed = 0
    kept: socket.socket | None = None

    def connected() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(CLIENT_TIMEOUT_S)
        try:
            client.connect(str(path))
        except OSError:
            client.close()
            raise
        return client

    def call_anew() -> None:
        with closing(connected()) as client:
            whole_answer(client, size)

    def call_kept() -> None:
        nonlocal kept
        if kept is None:
            kept = connected()
        try:
            whole_answer(kept, size)
        except (OSError, EOFError):
            kept.close()
            kept = None
            raise

    def call() -> None:
        nonlocal failed
        failed += not attempt(call_anew if anew else call_kept)

    try:
        return [[paced(call) for _ in range(CALLS)] for _ in range(BATCHES)], failed
    finally:
        if kept is not None:
            kept.close()


def paced(call: Callable[[], object]) -> float:
    time.sleep(EVERY_S)
    return timed(call)


def p99_ms(path: Path, size: int, uid: int = CLIENT) -> list[tuple[float, int]]:
    """On a kept connection, and on a new one each time, with the number of failures; asked as a user of its own."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        measured = (waits(path, size, anew=anew) for anew in (False, True))
        return [(quantile_ms(batches, 0.99), failed) for batches, failed in measured]
    finally:
        os.seteuid(0)
        os.setegid(0)


def unknown(environment: Mapping[str, str]) -> int:
    """How many of root's checks say that there is no answer; what an answer says of the license is none of it."""
    command = (sys.executable, "-I", "-m", "opanel_agent", "status", "--check")
    ended = [
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        for _ in range(CHECKS)
    ]
    return sum(check.returncode not in range(UNKNOWN) for check in ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The daemon that is attacked, the echo beside it, and the size of the daemon's response."""

    socket: Path
    pid: int
    environment: Mapping[str, str]
    echo: Path
    size: int


def compare(target: Target, groups: Groups, attacks: Mapping[str, Attack]) -> None:
    daemon, pid, size = target.socket, target.pid, target.size
    alone = p99_ms(daemon, size)
    with under(burns, daemon, groups):
        busy = p99_ms(target.echo, size)
    before_mb = rss_mb(pid)
    for name, attack in attacks.items():
        REFUSED.value = 0
        with under(attack, daemon, groups):
            found = p99_ms(daemon, size)
            _, of_root = waits(daemon, size, anew=True)
            of_checks = unknown(target.environment)
            during_mb = rss_mb(pid)
        for which, (mine, failed), (before, _), (bare, _) in zip(("kept", "new"), found, alone, busy, strict=True):
            print_line(
                f"p99 on a {which} connection under attack, {name}: {ratio(mine, before, 'ms')} alone, "
                f"{mine / bare:.2f} × a bare echo on as busy a machine; "
                f"goal < {P99_GOAL_MS} ms: {verdict(mine < P99_GOAL_MS)}; "
                f"failed {failed} of {BATCHES * CALLS}, goal 0: {verdict(failed == 0)}"
            )
        print_line(
            f"root meanwhile, on new connections: failed {of_root} of {BATCHES * CALLS}, goal 0: {verdict(of_root == 0)}; "
            f"status --check: unknown {of_checks} of {CHECKS}, goal 0: {verdict(of_checks == 0)}; "
            f"the attacker was refused {REFUSED.value} connections; "
            f"memory {before_mb:.1f} MB before all, {during_mb:.1f} MB under it, {left_mb(daemon, pid):.1f} MB after it"
        )
    second_round(daemon, pid, groups, attacks)


def second_round(daemon: Path, pid: int, groups: Groups, attacks: Mapping[str, Attack]) -> None:
    """Everything once more, for the memory alone."""
    first_mb = left_mb(daemon, pid)
    for attack in attacks.values():
        with under(attack, daemon, groups):
            time.sleep(AGAIN_S)
    second_mb = left_mb(daemon, pid)
    print_line(
        f"memory after every attack {first_mb:.1f} MB, after a second round {second_mb:.1f} MB; "
        f"goal ≤ {GROWTH_GOAL_MB} MB more: {verdict(second_mb - first_mb <= GROWTH_GOAL_MB)}"
    )


def rss_mb(pid: int) -> float:
    return memory_kb(pid)[0] / 1024


def left_mb(daemon: Path, pid: int) -> float:
    """Once it has nobody else to serve."""
    until(lambda: connections(pid) == 0, 30)
    until(lambda: answered(daemon), 30)
    return rss_mb(pid)


def connections(pid: int) -> int:
    """How many accepted sockets it has beyond those that it always has."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += str(descriptor.readlink()).startswith("socket:")
    return found - OWN_SOCKETS


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Failed requests and waiting at the local API under attack.")
    parser.add_argument("--weight", type=int, default=unit_weight(), help="the daemon's CPUWeight= (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only the attacks named so")
    return parser.parse_args()


def main() -> int:
    options = read_options()
    if os.geteuid() != 0:
        print_line("the local API under attack: not measured (it needs root, for attackers of another user)")
        return 0
    weights = {"daemon": options.weight, "echo": options.weight, "client": USUAL, "attacker": USUAL}
    with ExitStack() as stack:
        groups = stack.enter_context(processor_groups(weights))
        if groups is None:
            print_line("the local API under attack: not measured (it needs control groups of the processor)")
            return 0
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settle(home)
        session = home / "session"
        session.mkdir(mode=0o700)
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(session), **of_unit()}
        started = stack.enter_context(process(sys.executable, "-I", "-m", "opanel_agent", "daemon", env=environment))
        run = session / "opanel-agent"
        until(lambda: answered(run / "agent.sock"), 30)
        with closing(connect(run / "agent.sock")) as client:
            client.sendall(ASK)
            size = len(client.recv(65536))
        for directory in (run, session, home):
            directory.chmod(0o755)
        (run / "agent.sock").chmod(0o666)
        echo = home / "echo.sock"
        echoing = stack.enter_context(process(sys.executable, "-I", "-c", ECHO, str(echo), str(size)))
        until(lambda: listens(echo))
        echo.chmod(0o666)
        groups.put("daemon", started.pid)
        groups.put("echo", echoing.pid)
        groups.put("client", os.getpid())
        target = Target(socket=run / "agent.sock", pid=started.pid, environment=environment, echo=echo, size=size)
        chosen = [name for name in ATTACKS if not options.only or any(word in name for word in options.only)]
        compare(target, groups, {name: ATTACKS[name] for name in chosen})
    return 0


if __name__ == "__main__":
    sys.exit(main())
