"""The clients and reverse proxies of the load benchmark: how each is started, and what it reports.

Every client takes a target, a file, a number of seconds and another file. It says that it is ready, begins as soon as the
first file is there, and writes into the second [{outcome: number},
[seconds of each request]]. Nothing is asked again but by the libraries, which say that they do, and by Go's net/http on
a kept connection.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
GOOD: Final = "200"
STARTS_S: Final = 60.0  # who is not ready by then is counted as one that ended early


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of all requests of a run; times in milliseconds, of failed requests too."""

    requests: int
    failed: int
    kinds: Counter[str]
    p50_ms: float
    p99_ms: float
    per_s: float

    def line(self) -> str:
        shown = ", ".join(f"{kind} {number}" for kind, number in self.kinds.most_common(4) if kind != GOOD)
        share = 100 * self.failed / self.requests if self.requests else 100.0
        rate = f"{self.per_s:7.0f}/s  failed {self.failed:6d} ({share:5.1f} %)"
        times = f"p50 {self.p50_ms:7.1f}  p99 {self.p99_ms:7.1f} ms"
        return f"{rate}  {times}" + (f"  [{shown}]" if shown else "")


def outcome_of(files: Sequence[Path], seconds: float) -> Outcome:
    """Adds up what the workers wrote. A worker that wrote nothing is a failed request of its own kind."""
    kinds: Counter[str] = Counter()
    latencies: list[float] = []
    for file in files:
        try:
            counts, took = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            kinds["a worker that ended early"] += 1
            continue
        kinds.update(counts)
        latencies += took
    return outcome(kinds, latencies, seconds)


def outcome(kinds: Counter[str], latencies: list[float], seconds: float) -> Outcome:
    """The figures of a run; `latencies` are in seconds."""
    ordered = sorted(latencies) or [float("nan")]
    total = sum(kinds.values())
    return Outcome(
        requests=total,
        failed=total - kinds[GOOD],
        kinds=kinds,
        p50_ms=statistics.median(ordered) * 1e3,
        p99_ms=ordered[int(0.99 * len(ordered))] * 1e3,
        per_s=total / seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder that every user may enter, with copies of the clients and libraries; `uid` is whom the clients run as."""

    folder: Path
    uid: int | None

    def fill(self) -> None:
        """Copies what the clients need, and builds what must be built."""
        for source in (ROOT / "tests/bench/clients", ROOT / "docs/examples/panel"):
            for file in source.iterdir():
                if file.is_file():
                    shutil.copy(file, self.folder)
        if shutil.which("go"):
            build = ["go", "build", "-o", str(self.folder / "go_client"), str(self.folder / "client.go")]
            subprocess.run(build, check=True, env={**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"})
        for file in (self.folder, *self.folder.iterdir()):
            file.chmod(0o777)

    def as_user(self, command: Sequence[str]) -> list[str]:
        if self.uid is None:
            return [*command]
        user = str(self.uid)
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One kind of client. `arguments` follow what every client takes; `processes`: one for each worker.

    With `probe` its program prints a version, and ends with 0 only where everything that the client needs is there;
    `package` is Debian's name of what is missing otherwise.
    """

    name: str
    program: str
    before: tuple[str, ...]
    package: str
    arguments: tuple[str, ...] = ()
    probe: tuple[str, ...] = ("--version",)
    processes: bool = False

    def missing(self, place: Place) -> str | None:
        """What is not installed where the clients' user may run it."""
        return None if self.probed(place).returncode == 0 else self.package

    def version(self, place: Place) -> str:
        """What the probe prints of it, in short."""
        return self.probed(place).stdout.partition("\n")[0].partition(" (")[0].strip()

    def probed(self, place: Place) -> "subprocess.CompletedProcess[str]":
        # Run rather than looked for: an interpreter may lie where only root may go.
        command = place.as_user([self.path(place), *self.probe])
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
            )
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, "", str(error))

    def path(self, place: Place) -> str:
        return str(place.folder / self.program) if self.program == "go_client" else self.program

    def commands(self, place: Place, run: "Run") -> list[list[str]]:
        more = [argument.format(folder=place.folder) for argument in self.arguments]
        command = [self.path(place), *(argument.format(folder=place.folder) for argument in self.before)]
        workers = [] if self.processes else [str(run.workers)]
        return [
            place.as_user([*command, run.target, str(run.begin), str(run.seconds), str(file), *workers, *more])
            for file in run.files(place)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """So many workers, for so long, against one target: a socket's path, or a URL."""

    target: str
    workers: int
    seconds: float
    begin: Path
    processes: int

    def files(self, place: Place) -> list[Path]:
        return [place.folder / f"out.{number}" for number in range(self.processes)]


PHP: Final = ("-d", "opcache.enable_cli=0")
PRINT_CURL: Final = "echo PHP_VERSION, ', curl ', curl_version()['version'];"
OF_CURL: Final = ("-r", f"extension_loaded('curl') || exit(1); {PRINT_CURL}")
PRINT_GUZZLE: Final = "echo GuzzleHttp\\ClientInterface::MAJOR_VERSION, ', PHP ';"
OF_GUZZLE: Final = ("-r", f"include 'GuzzleHttp/autoload.php'; {PRINT_GUZZLE} {PRINT_CURL}")
CLIENTS: Final = (
    Client(name="PHP stream", program="php", before=(*PHP, "{folder}/stream.php"), package="php-cli", processes=True),
    *(
        Client(
            name=f"PHP curl, {connections}",
            program="php",
            before=(*PHP, "{folder}/curl.php"),
            arguments=(connections,),
            package="php-curl",
            probe=OF_CURL,
            processes=True,
        )
        for connections in ("new", "kept")
    ),
    Client(
        name="Guzzle",
        program="php",
        before=(*PHP, "{folder}/guzzle.php"),
        package="php-guzzlehttp-guzzle",
        probe=OF_GUZZLE,
        processes=True,
    ),
    Client(
        name="PHP library",
        program="php",
        before=(*PHP, "{folder}/library.php"),
        arguments=("{folder}/opanel_license.php", "{folder}/php.last"),
        package="php-cli",
        processes=True,
    ),
    Client(name="node:http", program="node", before=("{folder}/node.mjs",), package="nodejs"),
    Client(
        name="Node library",
        program="node",
        before=("{folder}/node.mjs",),
        arguments=("{folder}/opanel-license.mjs", "{folder}/node.last"),
        package="nodejs",
    ),
    Client(
        name="httpx",
        program=sys.executable,
        before=("{folder}/httpx_client.py",),
        package="python3-httpx, where the clients' user may run it,",
        probe=("-c", "import httpx; print(httpx.__version__)"),
    ),
    Client(name="Go net/http", program="go_client", before=(), package="golang-go", probe=("version",)),
)
OF_PROXIES: Final = next(client for client in CLIENTS if client.name == "PHP curl, new")


def measured(client: Client, place: Place, target: str, workers: int, seconds: float) -> Outcome:
    """One run, from nothing left of an earlier one to the end of every worker."""
    with working(client, place, target, workers, seconds) as finish:
        return finish()


@contextmanager
def working(client: Client, place: Place, target: str, workers: int, seconds: float) -> Iterator[Callable[[], Outcome]]:
    """From the moment at which the workers begin; what it gives waits for their end."""
    processes = workers if client.processes else 1
    run = Run(target=target, workers=workers, seconds=seconds, begin=place.folder / "begin", processes=processes)
    files = run.files(place)
    for path in [run.begin, *place.folder.glob("out.*"), *place.folder.glob("*.last*")]:
        path.unlink(missing_ok=True)
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=place.folder)
        for command in client.commands(place, run)
    ]

    def finish() -> Outcome:
        for process in started:
            process.wait(seconds + 60)
        return outcome_of(files, seconds)

    try:
        end = time.monotonic() + STARTS_S
        while not all(file.with_name(f"{file.name}.ready").exists() for file in files) and time.monotonic() < end:
            time.sleep(0.01)
        run.begin.touch()
        yield finish
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()


# reverse proxies

NGINX: Final = """
daemon off; pid {folder}/{name}.pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen {listen}; location {location} }}
}}
"""
HAPROXY: Final = """
global
    maxconn 2048
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend panel
    bind 127.0.0.1:{port}
    default_backend agent
backend agent
    server agent unix@{socket}
"""
APACHE: Final = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
ErrorLog /dev/null
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass / unix:{socket}|http://agent/
"""
CADDY: Final = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy unix/{socket}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One reverse proxy: `before` are its options before the file with the settings; `package` is Debian's."""

    program: str
    before: tuple[str, ...]
    settings: str
    package: str
    probe: str = "-v"

    def missing(self) -> str | None:
        return None if shutil.which(self.program) else self.package

    def version(self) -> str:
        """The first number with a dot that it says of itself."""
        finished = subprocess.run([self.program, self.probe], capture_output=True, text=True, check=False)
        words = [word.strip("v,()") for word in (finished.stdout + finished.stderr).replace("/", " ").split()]
        return next(word for word in words if word[:1].isdecimal() and "." in word).partition("-")[0]


PROXIES: Final = {
    "nginx": Proxy(
        program="nginx",
        before=("-c",),
        settings=NGINX.replace("{listen}", "127.0.0.1:{port}"),
        package="nginx-light",
    ),
    "haproxy": Proxy(program="haproxy", before=("-db", "-f"), settings=HAPROXY, package="haproxy"),
    "Apache": Proxy(program="apache2", before=("-X", "-f"), settings=APACHE, package="apache2-bin"),
    "Caddy": Proxy(
        program="caddy",
        before=("run", "--adapter", "caddyfile", "--config"),
        settings=CADDY,
        package="caddy",
        probe="version",
    ),
}


@contextmanager
def proxy(name: str, place: Place, backend: Path) -> Iterator[str]:
    """A reverse proxy before a Unix socket, run as the clients' user; gives the URL at which it is asked."""
    made = PROXIES[name]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    location = f"/ {{ proxy_pass http://unix:{backend}:; }}"
    file = place.folder / f"{made.program}.settings"
    file.write_text(
        made.settings.format(folder=place.folder, name="proxy", port=port, socket=backend, location=location),
        encoding="utf-8",
    )
    with running(place.as_user([made.program, *made.before, str(file)]), place):
        until_connected(port)
        yield f"http://127.0.0.1:{port}/v1/license"


@contextmanager
def static_nginx(place: Place, body: bytes) -> Iterator[Path]:
    """Serves these bytes from a file on a Unix socket, by nginx."""
    path, file = place.folder / "nginx.sock", place.folder / "license.json"
    path.unlink(missing_ok=True)
    file.write_bytes(body)
    settings = place.folder / "static.settings"
    location = f"= /v1/license {{ default_type application/json; alias {file}; }}"
    settings.write_text(
        NGINX.format(folder=place.folder, name="static", listen=f"unix:{path}", location=location), encoding="utf-8"
    )
    with running(place.as_user(["nginx", "-c", str(settings)]), place):
        while not path.exists():
            time.sleep(0.01)
        yield path


@contextmanager
def running(command: Sequence[str], place: Place) -> Iterator[None]:
    environment = {**os.environ, "HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def until_connected(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    message = f"cannot reach what should listen on port {port}"
    raise TimeoutError(message)
