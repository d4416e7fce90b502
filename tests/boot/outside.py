"""The world outside the guest: a real authority, and in front of it the end of TLS, where every byte is kept.

The authority listens on the loopback of our namespace, as docs/authority.md says: TLS belongs to the server in front.
That server is here: it ends TLS with a certificate made for the occasion, keeps what each connection sent, and hands it
on unchanged. It can hold a request back, and then sees when the other end hangs up.
"""

import base64
import contextlib
import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from boot.checks import until
from boot.link import OUTSIDE
from fixtures.daemon import wire_server

HOST: Final = "license.example"
PORT: Final = 8443
URL: Final = f"https://{HOST}:{PORT}"
RESELLER: Final = "Örnek Barındırma"
UPSTREAM: Final = ("127.0.0.1", 8470)
_MAIN: Final = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import clock; clock.fake(sys.argv.pop(1));"
    "from opanel_authority.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(slots=True, kw_only=True)
class Heard:
    """What came on one connection, in full. `ended_s` (monotonic): when the other end was gone."""

    data: bytearray = field(default_factory=bytearray)
    ended_s: float | None = None

    @property
    def line(self) -> str:
        """Method and path."""
        return " ".join(self.data.split(b"\r\n", 1)[0].decode("latin-1").split(" ")[:2])


class Front:
    """Answers from the moment it is made. While `held` is a request's path, such a request waits for its reply."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.heard: list[Heard] = []
        self.held: str | None = None
        self._context = context
        self._open()

    @property
    def lines(self) -> list[str]:
        return [each.line for each in self.heard]

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody listens meanwhile: the kernel refuses each connection."""
        self._listener.shutdown(socket.SHUT_RDWR)  # which ends a wait for the next one, as closing does not
        self._listener.close()
        try:
            yield
        finally:
            self._open()

    def _open(self) -> None:
        self._listener = socket.create_server((OUTSIDE, PORT), backlog=64)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        heard = Heard()
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            with self._context.wrap_socket(connection, server_side=True) as speaking:
                heard.data += wire_server.read_request(speaking)
                self.heard.append(heard)
                if not self._waits(speaking, heard):
                    _hand_on(speaking, heard)
        heard.ended_s = time.monotonic()

    def _waits(self, speaking: ssl.SSLSocket, heard: Heard) -> bool:
        """True if the other end hung up while it was held."""
        while self.held is not None and heard.line.endswith(self.held):
            if select.select([speaking], [], [], 0.01)[0]:
                return not speaking.recv(1)
        return False


def _hand_on(speaking: ssl.SSLSocket, heard: Heard) -> None:
    """The question upstream, and all that comes back; whatever else is said on the way is kept, too."""
    with socket.create_connection(UPSTREAM, 30) as upstream:
        upstream.sendall(heard.data)
        while True:
            ready = select.select([speaking, upstream], [], [], 60)[0]
            if upstream in ready:
                data = upstream.recv(65536)
                if not data:
                    return
                speaking.sendall(data)
            elif speaking in ready:
                more = speaking.recv(65536)
                if not more:
                    return
                heard.data += more
                upstream.sendall(more)
            else:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """`clock` is a file of seconds: by how much the authority's clock is ahead (boot.clock)."""

    folder: Path
    clock: Path
    front: Front

    @property
    def root(self) -> Path:
        return self.folder / "authority" / "root.jws"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def type(self, *argv: str) -> dict[str, Any]:
        """One command of opanel-authority's; its result."""
        ran = subprocess.run([*_command(self.clock), *argv, "--json"], cwd=self.folder, check=True, capture_output=True)
        result: dict[str, Any] = json.loads(ran.stdout)["result"]
        return result

    def issue(self, name: str) -> dict[str, Any]:
        """A license; its key, and its bundle as a file in the folder. A container shows no platform's identity."""
        options = ("--features", "backup,mail", "--limit", "accounts=100", "--days", "365", "--min-p", "0")
        return self.type("issue", "--dir", "authority", "--as", RESELLER, *options, "-o", name)

    def set_clock(self, ahead_s: int) -> None:
        """In one stroke: the authority reads it every second, and half a number would be its end."""
        moved = self.clock.with_suffix(".new")
        moved.write_text(f"{ahead_s}\n", "ascii")
        moved.replace(self.clock)
        self.type(
            "clock", "--dir", "authority", "--accept"
        )  # a jump of months is a wrong clock, unless somebody says it is right

    def set_clock_back(self) -> None:
        """To this machine's time. The last status list is dated ahead by then, which ends with its key."""
        self.set_clock(0)
        self.type("rotate", "status", "--dir", "authority")

    def jti(self, bundle: str) -> str:
        """The license's id, from the bundle's last document."""
        payload = (self.folder / bundle).read_text("ascii").split()[-1].split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])


def _command(clock: Path) -> list[str]:
    return [sys.executable, "-I", "-c", _MAIN, str(clock)]


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    clock = folder / "ahead_s"
    clock.write_text("0\n")
    made = wire_server.authority(folder)
    front = Front(wire_server.server_context(made, folder, HOST))
    world = Outside(folder=folder, clock=clock, front=front)
    world.type("init", "authority", "--url", URL, "--region", "tr", "--name", "OPanel")
    terms = ("--features", "backup,mail,dns", "--limit", "accounts=1000", "--email", "destek@ornek.example")
    world.type("delegate", RESELLER, "--dir", "authority", *terms, "-o", "reseller")
    serving = subprocess.Popen(
        [*_command(clock), "serve", "--dir", "authority", "--listen", "{}:{}".format(*UPSTREAM)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "authority.log").open("wb"),
    )
    try:
        assert until(_answers, 30), (folder / "authority.log").read_text()
        yield world
    finally:
        serving.terminate()
        serving.wait(20)


def _answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(UPSTREAM) == 0
