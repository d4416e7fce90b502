"""A Debian that runs: systemd as PID 1 in a container, its network the link's far end, and hands inside it.

systemd-nspawn boots it, without a register of machines (our own PID 1 need not be systemd) and in control groups of its
own, so that two can run beside each other. Commands enter through nsenter with a clean environment. A reboot is off and
on again: nspawn restarts nothing without that register.
"""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from boot.checks import Ran, until

AGENT: Final = "opanel-agent"  # install.sh links it in /usr/local/bin, a package has it in /usr/bin
TOOLS: Final = "/usr/local/lib/opanel-boot"  # what a test brings along; not the product's
UNITS: Final = (
    *("opanel-agent.service", "opanel-agent.socket"),
    *("opanel-agent-fetch.socket", "opanel-agent-courier.socket"),
    "opanel-agent-changed.path",
)
PERMIT_NETWORKS: Final = "--capability=CAP_NET_ADMIN"  # without it systemd may not make PrivateNetwork='s
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


@dataclass(slots=True, kw_only=True)
class Guest:
    root: Path
    name: str
    namespace: Path  # of network
    console: Path
    lang: str = "en"
    _nspawn: "subprocess.Popen[bytes] | None" = field(default=None)
    _leader: int = field(default=0)

    # on and off

    def boot(self, *options: str) -> None:
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                [
                    *("systemd-nspawn", "-q", "-D", str(self.root), "-M", self.name, "--register=no", "--keep-unit"),
                    *(f"--network-namespace-path={self.namespace}", "--resolv-conf=off", "--timezone=off"),
                    *(*options, "-b"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        if not until(self._is_up, 90):
            raise RuntimeError(f"it does not boot:\n{self.console.read_text(errors='replace')[-2000:]}")

    def power_off(self) -> None:
        if self._nspawn is None:
            return
        self._nspawn.send_signal(signal.SIGTERM)  # nspawn has PID 1 shut down in order
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
            self._nspawn.wait(30)
        self._nspawn = None

    def _is_up(self) -> bool:
        assert self._nspawn
        if self._nspawn.poll() is not None:
            return False
        self._leader = next(iter(children(self._nspawn.pid)), 0)
        if not self._leader:
            return False
        return self.run("systemctl", "is-system-running").out.strip() in {"running", "degraded"}

    # hands inside

    def enter(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", *argv]

    def run(self, *argv: str, stdin: str = "", timeout_s: float = 180) -> Ran:
        ran = subprocess.run(
            self.enter(*argv),
            env=_ENVIRONMENT,
            input=stdin.encode(),
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
        return Ran(
            status=ran.returncode, out=ran.stdout.decode(errors="replace"), err=ran.stderr.decode(errors="replace")
        )

    def start(self, *argv: str) -> "subprocess.Popen[bytes]":
        """A command that goes on; the caller waits for its end."""
        return subprocess.Popen(
            self.enter(*argv),
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def must(self, *argv: str, stdin: str = "") -> str:
        """What it prints; a failure of it is a fault of the test."""
        ran = self.run(*argv, stdin=stdin)
        if ran.status != 0:
            raise RuntimeError(f"{' '.join(argv)}: exit {ran.status}\n{ran.both}")
        return ran.out.strip()

    def sh(self, script: str) -> str:
        return self.must("sh", "-c", script)

    def agent(self, *argv: str) -> Ran:
        return self.run(AGENT, *argv, "--lang", self.lang)

    def status(self) -> Any:
        return self.agent("status", "--json").json

    def state(self) -> tuple[str, list[str]]:
        license_ = self.status()["license"]
        return license_["state"], license_["reasons"]

    def unit(self, unit: str, name: str) -> str:
        return self.must("systemctl", "show", "-p", name, "--value", unit)

    def accepted(self, program: str) -> int:
        """How many connections systemd let in at a door, since it was opened."""
        return int(self.unit(f"opanel-agent-{program}.socket", "NAccepted"))

    def daemon(self) -> int:
        return int(self.unit(UNITS[0], "MainPID"))

    def seen_from_here(self, pid: int) -> int:
        """Our number for a child of the guest's PID 1."""
        for child in children(self._leader):
            numbers = re.search(r"^NSpid:.*\s(\d+)$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
            if numbers is not None and int(numbers[1]) == pid:
                return child
        raise RuntimeError(f"{pid} is no child of PID 1")

    def answers(self) -> bool:
        return self.agent("status", "--check").status in {0, 1, 2}

    def journal(self, *options: str) -> str:
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "-o", "cat", *options).out

    def path(self, inside: str) -> Path:
        """Where a file of the guest's is for us. Not for one that the guest may have made a link of."""
        return self.root / inside.lstrip("/")

    def converse(self, argv: tuple[str, ...], answers: Mapping[str, str], *, timeout_s: float = 180) -> tuple[int, str]:
        """Runs a command on a terminal of its own and types at each prompt (a pattern) what `answers` says."""
        return converse(self.enter(*argv), answers, _ENVIRONMENT, timeout_s=timeout_s)


def converse(
    argv: list[str], answers: Mapping[str, str], environment: Mapping[str, str], *, timeout_s: float = 180
) -> tuple[int, str]:
    """What became of it, and everything that was to be read on the terminal, which is the command's session's own."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=dict(environment)
        )
        os.close(theirs)
        seen = _typed(ours, answers, time.monotonic() + timeout_s)
        return process.wait(30), seen
    finally:
        os.close(ours)


def _typed(terminal: int, answers: Mapping[str, str], ends_s: float) -> str:
    """Until nobody is left at the other end."""
    seen, since = "", 0
    while select.select([terminal], [], [], max(0, ends_s - time.monotonic()))[0]:
        try:
            seen += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # EIO
            return seen.replace("\r\n", "\n")
        for prompt, typed in answers.items():
            if re.search(rf"(?:{prompt})\s*$", seen[since:]):
                since = len(seen)
                os.write(terminal, f"{typed}\n".encode())
    raise RuntimeError(f"nobody knows what to type:\n{seen[-1000:]}")


def children(pid: int) -> Iterator[int]:
    """Of a process, as we see it."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text("latin-1").rpartition(")")[2].split()[1]) == pid:
                yield int(stat.parent.name)


# ---- control groups


@contextmanager
def own_groups(name: str) -> Iterator[None]:
    """This process, and what it starts, in groups of its own: two guests in one would be one tree for two systemds."""
    made = [_group(mount, name) for mount in _hierarchies("", "name=systemd")]
    try:
        yield
    finally:
        for place in made:
            _leave(place)


def _group(parent: Path, name: str) -> Path:
    place = parent / name
    place.mkdir()
    (place / "cgroup.procs").write_text(str(os.getpid()))
    return place


def _leave(place: Path) -> None:
    (place.parent / "cgroup.procs").write_text(str(os.getpid()))
    for inner in sorted(place.rglob("*/"), reverse=True):  # the deepest first
        _remove(inner)
    _remove(place)


def _remove(group: Path) -> None:
    if group.is_dir() and not until(lambda: _removed(group), 5):
        sys.stderr.write(f"a control group stays: {group}\n")


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def short_of_memory(name: str, pid: int, limit_bytes: int) -> Iterator[Callable[[], int] | None]:
    """What this process (as we see it) starts meanwhile gets so much memory together; how often the kernel killed for it.

    None where memory is not the old hierarchy's to control: beneath the unified one, groups are the guest's systemd's.
    """
    ours = next(_hierarchies("memory"), None)
    if ours is None:
        yield None
        return
    group = ours / name
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(pid))
        yield lambda: int((group / "memory.oom_control").read_text().rpartition("oom_kill ")[2])
    finally:
        (ours / "cgroup.procs").write_text(str(pid))
        _remove(group)


def _hierarchies(*wanted: str) -> Iterator[Path]:
    """Our group in each of these: "" is the unified hierarchy, "name=systemd" systemd's own of the old kind."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers not in wanted:
            continue
        kind = "cgroup" if controllers else "cgroup2"
        for fields in mounts:
            after = fields[fields.index("-") + 1 :]
            place = f"/{controllers.removeprefix('name=')}"
            if after[0] == kind and (
                not controllers or controllers in after[-1].split(",") or fields[4].endswith(place)
            ):
                yield Path(fields[4]) / group.removeprefix(fields[3]).lstrip("/")
                break
