"""A user installation that lives: the real resident, its real jobs and the real command line, in a home of its own.

Its authority's documents are signed by `opanel_authority` itself; what answers on the wire is whoever the test puts at the
address that the root names. Every process starts with a clean environment. The code has to be installed, as it is in the
environments that tests/run makes: the resident starts its jobs as an isolated interpreter would.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from fakes import wire
from fakes.logs import LOGS
from fakes.resident import until
from fakes.wire import Script, Wire
from opanel_authority import home, issue, publish
from opanel_authority.home import Authority, RootTerms
from opanel_authority.issue import DelegationTerms, Issued, LicenseTerms

AGENT: Final = (sys.executable, "-I", "-m", "opanel_agent")
RESELLER: Final = "Örnek Barındırma"
STATUS_LIST: Final = "application/statuslist+jwt"
JOSE: Final = "application/jose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def code(self) -> str:
        """The code of the error it told, which must be one sentence, its cure and its code, and the last thing said."""
        title, hint, code = self.err.splitlines()[-3:]
        assert title.startswith("cannot "), self.err
        assert hint.startswith("  what to do: "), self.err
        assert code.startswith("  code: "), self.err
        assert "Traceback" not in self.err
        return code.removeprefix("  code: ").partition(" ")[0]


class Home:
    """`place` must be short: a socket's path has 107 bytes. `rude` is what answers at the authority's address."""

    def __init__(self, place: Path, rude: "Rude") -> None:
        self.place = place
        self.rude = rude
        self.config = place / "config" / "opanel-agent"
        self.state = place / "state" / "opanel-agent"
        self.run = place / "run" / "opanel-agent"
        self.settings = self.config / "agent.toml"
        self.authority = _authority(place / "vendor", rude.url, self.now)
        self.issued = self.issue()
        for directory in (self.config, place / "run", place / "state"):
            directory.mkdir(parents=True, mode=0o700)
        self.settings.write_text(self.good_settings)

    @property
    def now(self) -> int:
        return int(time.time())

    @property
    def good_settings(self) -> str:
        return f'schema = 1\nlanguage = "en"\ntrust_root = "{self.place / "vendor" / "root.jws"}"\n'

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place),
            "XDG_CONFIG_HOME": str(self.place / "config"),
            "XDG_STATE_HOME": str(self.place / "state"),
            "XDG_RUNTIME_DIR": str(self.place / "run"),
        }

    @property
    def bundle(self) -> bytes:
        return (self.state / "bundle.jws").read_bytes()

    def issue(self) -> Issued:
        """A license that counts a new machine as one: no `min_p`, since a container has no platform's identity."""
        return issue.issue(self.authority, RESELLER, LicenseTerms(min_p=0), now=self.now)

    def file(self, name: str, data: bytes) -> str:
        path = self.place / name
        path.write_bytes(data)
        return str(path)

    def type(self, *argv: str, stdin: bytes = b"", before: Sequence[str] = ()) -> Typed:
        """One command, in English."""
        ran = subprocess.run(
            [*before, *AGENT, *argv, "--lang", "en"],
            env=self.environment,
            cwd=self.place,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return Typed(status=ran.returncode, out=ran.stdout.decode(), err=ran.stderr.decode())

    def license(self) -> dict[str, Any]:
        """The license as the panel would be told it now."""
        told: dict[str, Any] = self.type("license", "show", "--json").json["result"]
        return told

    def start(self, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """A resident; it may refuse."""
        return subprocess.Popen(
            [*before, *AGENT, "resident"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def resident(self, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """A resident that has answered once; ended whatever happens."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*before, *AGENT, "resident"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                until(lambda: self.type("status", "--check").status != 3, 30)
                yield process
            finally:
                process.terminate()
                process.wait(20)
                for erasure in (self.state / "erasure").glob("*"):
                    LOGS.plant_secret(erasure.read_bytes(), "what a report is erased by")


def _authority(directory: Path, url: str, now: int) -> Authority:
    made = home.init(directory, RootTerms(name="OPanel", url=url, region="tr"), now=now)
    terms = DelegationTerms(name=RESELLER, email="destek@ornek.example")
    issue.delegate(made, terms, directory.parent / "reseller", now=now)
    return made


class Rude:
    """Whoever answers at an address, path by path; what no path is named for is not found."""

    def __init__(self, stack: ExitStack) -> None:
        self.says: dict[str, Script] = {}
        self._wire: Wire = stack.enter_context(wire.wire(self._answer))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._wire.port}"

    @property
    def heard(self) -> list[str]:
        """Method and path of every request so far."""
        return [" ".join(each.decode("latin-1").split(" ", 2)[:2]) for each in self._wire.received]

    @property
    def last(self) -> bytes:
        """The latest request, as it came."""
        return self._wire.received[-1]

    def _answer(self, connection: Any) -> None:
        path = self.heard[-1].split(" ")[1]
        self.says.get(path, wire.says(wire.answer("404 Not Found")))(connection)

    def behave(self, made: Authority, now: int) -> None:
        """The fixed files, as an authority serves them."""
        listed, roots = publish.current_status_list(made, now=now), publish.roots_text(made)
        self.says = {
            "/v1/status.jwt": file(STATUS_LIST, listed),
            "/v1/roots.jws": file(JOSE, roots),
            "/v1/advisories.jws": file(JOSE, b""),
        }


def file(content_type: str, body: bytes, status: str = "200 OK") -> Script:
    return wire.says(wire.answer(status, f"Content-Type: {content_type}", body=body))


@contextmanager
def living() -> Iterator[Home]:
    """A home and its authority, which behaves; nothing runs yet."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rough-")))
        made = Home(place, Rude(stack))
        made.rude.behave(made.authority, made.now)
        yield made


def powerless() -> tuple[str, ...]:
    """What to begin a command with so that a mode counts for it, though it is root's."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root without setpriv (util-linux): no mode would count")
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
