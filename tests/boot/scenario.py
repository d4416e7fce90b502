"""What every story is told in: the guest, the world outside of it, the link between, and the list of what was proved."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from boot.checks import Checks, until
from boot.file_tree import Tree
from boot.guest import TOOLS, Guest
from boot.link import OUTSIDE, Link
from boot.outside import HOST, PORT, Outside
from opanel_agent.messages import language, translate

PYTHON: Final = "/usr/bin/python3"
CLOCK: Final = f"{TOOLS}/ahead_s"
STANDS: Final = "kernel; all sandbox restrictions are active"
SETTINGS: Final = """schema = 1
trust_root = "/etc/opanel-agent/root.jws"
ca_file = "/etc/opanel-agent/ca.pem"
"""
WORDS: Final = {"status": "status.jwt", "roots": "roots.jws", "advisories": "advisories.jws"}
REFUSED: Final = frozenset({"ConnectionResetError", "BrokenPipeError"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    checks: Checks
    guest: Guest
    outside: Outside
    link: Link
    before: Tree  # the system as it was before anything was installed

    # the administrator's files

    def settle(self) -> None:
        """What an administrator with an authority of his own does before anything else."""
        guest = self.guest
        guest.sh("install -d -m 755 /etc/opanel-agent")
        for name, source in (("root.jws", self.outside.root), ("ca.pem", self.outside.ca)):
            self.put(f"/etc/opanel-agent/{name}", source.read_text())
        self.put("/etc/opanel-agent/agent.toml", SETTINGS)

    def put(self, path: str, text: str) -> None:
        self.guest.must("sh", "-c", 'cat >"$0"', path, stdin=text)

    # what is asked of the agent, and of its doors

    def probe(self, *argv: str) -> str:
        return self.guest.must(PYTHON, "-I", f"{TOOLS}/probe.py", *argv)

    def ping(self, program: str, user: str = "opanel-agent", group: str = "opanel-agent") -> str:
        """What becomes of a word said at a door."""
        return self.ping_at(f"/run/opanel-courier/{program}.sock", user, group)

    def ping_at(self, path: str, user: str, group: str) -> str:
        as_user = ("setpriv", "--reuid", user, "--regid", group, "--clear-groups")
        return self.guest.must(*as_user, PYTHON, "-I", f"{TOOLS}/probe.py", "ping", path, "status")

    def isolation(self) -> str:
        """As `status` words it where it has a line for it."""
        found, lang = self.guest.status(), language(self.guest.lang, None, {})
        if found is None or found["isolation"] is None:  # it is not there yet, or has not made its first pass
            return ""
        held = found["isolation"]
        text = translate(f"isolation.{held['level']}", lang)
        if held["level"] != "partial":
            return text
        missing = ", ".join(translate(f"missing.{code}", lang) for code in held["missing"])
        return translate("status.isolation_missing", lang, isolation=text, missing=missing)

    # time

    def fake_clock(self) -> None:
        """Every process of the installed Python tells the time by boot.clock, and the authority goes with it."""
        self.put(CLOCK, self.outside.clock.read_text())
        packages = self.guest.sh("echo /opt/opanel-agent/env/lib/python3.*/site-packages")
        started = f"import sys; sys.path.append({TOOLS!r}); import clock; clock.fake({CLOCK!r})\n"
        self.put(f"{packages}/opanel-boot-clock.pth", started)
        self.guest.must("systemctl", "restart", "opanel-agent.service")
        until(self.guest.answers, 20)

    def pass_time(self, hours: int, step_s: int = 900) -> int:
        """So many hours of the agent's life; how often it had something to do in them. The authority follows daily."""
        return sum(self._pass(min(24, hours - passed), step_s) for passed in range(0, hours, 24))

    def _pass(self, hours: int, step_s: int) -> int:
        steps = hours * 3600 // step_s
        passed = self.guest.run(PYTHON, "-I", f"{TOOLS}/days.py", CLOCK, str(step_s), str(steps), timeout_s=900)
        if passed.status != 0:
            raise RuntimeError(passed.both)
        self.outside.set_clock(int(self.guest.must("cat", CLOCK)))
        return int(passed.out)

    # the wire

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """The requests that reach the authority meanwhile: method and path of each."""
        before, lines = len(self.outside.front.heard), list[str]()
        yield lines
        lines += self.outside.front.lines[before:]

    @staticmethod
    def fixed_get(word: str) -> bytes:
        """What fetch may say: these bytes, the same for every server. The only word of it that differs is the host."""
        lines = (
            f"GET /v1/{WORDS[word]} HTTP/1.1",
            f"Host: {HOST}:{PORT}",
            "User-Agent: opanel-agent",
            "Accept: application/" + ("statuslist+jwt" if word == "status" else "jose"),
            "Accept-Encoding: identity",
            "DNT: 1",
            "Sec-GPC: 1",
            "Connection: close",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def hosts(root: Path) -> None:
    """The guest's only name, and a name service that nobody answers for: a question to it would be seen on the link."""
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{OUTSIDE} {HOST}\n")
    (root / "etc/resolv.conf").write_text(f"nameserver {OUTSIDE}\noptions timeout:1 attempts:1\n")


def version_of(tree: Path) -> str:
    version: str = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["version"]
    return version
