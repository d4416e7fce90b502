"""Runs the application on a socket of ours, under uvicorn.

We bind ourselves, so that a port in use is one sentence instead of a log, port 0 can be asked for, and "serving" is
said only when connections are already accepted. TLS belongs to the web server in front; this listens on loopback.

Beside the requests run: once a day the erasure of what is past its time, once an hour a sign of life in the books (by which
a wrong clock is known), and, where a directory for static files is named, their publication a second after each change.
"""

import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import uvicorn

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Storage, Usage
from opanel_agent.core.text_safety import escape
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_authority.api.app import Served, app
from opanel_authority.api.connections import MAX_CONNECTIONS, protocol
from opanel_authority.authority import Authority
from opanel_authority.documents import publish
from opanel_authority.lifecycle import retention, webhook_sending
from opanel_authority.requests import reports
from opanel_authority.requests.networks import Network

_LOOK_S: Final = HOUR_S
_PUBLISH_EVERY_S: Final = 1.0
_NOTIFY_EVERY_S: Final = 2.0
_ROUNDS: Final = 50  # of webhooks, while each has as much as one takes
_GRACE_S: Final = 15.0
_SPARE_FILES: Final = 256

Line = Callable[[str], None]


def run(
    authority: Authority,
    listen: str,
    *,
    log_file: Path | None,
    publish_to: Path | None = None,
    proxies: tuple[Network, ...] = (),
) -> None:
    """Serve until SIGTERM or SIGINT. `listen` is ADDRESS:PORT; an IPv6 address stands in brackets.

    `publish_to` is where the static files are kept up to date; `proxies` are the reverse proxies in front.
    """
    with ExitStack() as stack:
        bound, log = stack.enter_context(_bound(listen)), stack.enter_context(_log(log_file))

        def line(text: str) -> None:
            print(f"{datetime.now(tz=UTC).isoformat(timespec='seconds')} {escape(text)}", file=log, flush=True)

        host, port = bound.getsockname()[:2]
        # uvicorn raises the signal again after its shutdown, for whoever stood there before: us, and we are done
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _done)
        _admit_connections()
        stack.enter_context(authority.store.pooled())
        served = Served(authority=authority, proxies=proxies)
        stack.enter_context(_purging(served, line))
        stack.enter_context(_notifying(served, line))
        if publish_to is not None:
            stack.enter_context(_publishing(served, publish_to, line))
        sys.stdout.write(f"serving http://{f'[{host}]' if ':' in host else host}:{port}\n")
        sys.stdout.flush()
        _Server(_config(app(served, line))).run(sockets=[bound])


@contextmanager
def _repeating(name: str, every_s: float, act: Callable[[], None], *, at_once: bool = True) -> Iterator[None]:
    """Run `act` in a thread until the block ends; with `at_once` the first time before the block begins."""
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.wait(every_s):
            act()

    if at_once:
        act()
    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _purging(served: Served, line: Line, *, look_s: float = _LOOK_S) -> Iterator[None]:
    """Purge now, and once on every later day; a day on which that failed is tried again at the next look."""
    done: list[int | None] = [None]

    def look() -> None:
        _show_life(served, line)
        if done[0] != served.now() // DAY_S:
            done[0] = _purge(served, line)

    with _repeating("purge", look_s, look):
        yield


def _show_life(served: Served, line: Line) -> None:
    try:
        with served.authority.writing(served.now()):
            pass
    except AgentError as error:
        line(f"error {error}")


def _purge(served: Served, line: Line) -> int | None:
    """Returns the day on which it was done; None where it could not be. How many is all that is said."""
    now = served.now()
    try:
        erased = retention.purge(served.authority, now=now)
        erased += reports.purge(served.authority, served.catalog, now=now)
        retention.log_purge(served.authority, erased, now=now, actor="serve")
    except AgentError as error:
        line(f"error {error}")
        return None
    if erased:
        line(f"purged {erased}")
    return now // DAY_S


@contextmanager
def _publishing(served: Served, directory: Path, line: Line, *, every_s: float = _PUBLISH_EVERY_S) -> Iterator[None]:
    """Keep the static files up to date. A failure is said once, until another comes or it goes well again."""
    reported: list[str] = [""]

    def write() -> None:
        try:
            publish.publish(served.authority, directory, now=served.now())
            failure = ""
        except (AgentError, OSError) as error:
            failure = f"error publish {error}"
        if failure != reported[0]:
            line(failure or "published again")
            reported[0] = failure

    with _repeating("publish", every_s, write):
        yield


@contextmanager
def _notifying(served: Served, line: Line, *, every_s: float = _NOTIFY_EVERY_S) -> Iterator[None]:
    """Send the webhooks that are due; neither the start nor the end waits for receivers that do not answer."""
    ending = threading.Event()

    def send() -> None:
        try:
            for _ in range(_ROUNDS):
                tried = webhook_sending.send_due(served.authority, now=served.now(), ending=ending.is_set)
                if tried < webhook_sending.AT_ONCE or ending.is_set():
                    break
        except AgentError as error:
            line(f"error {error}")

    with _repeating("notify", every_s, send, at_once=False):
        try:
            yield
        finally:
            ending.set()


class _Server(uvicorn.Server):
    """Ends `_GRACE_S` after it was asked to, however slow the clients are that it still answers."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        timer = threading.Timer(_GRACE_S, setattr, (self, "force_exit", True))
        timer.daemon = True
        timer.start()


def _config(application: object) -> uvicorn.Config:
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        loop="asyncio",
        http=protocol(),
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `networks.peer_of` reads them, and of whom `--trusted-proxy` names alone
        backlog=MAX_CONNECTIONS,
    )


def _admit_connections() -> None:
    """Raise the soft limit of open files to what the connections need, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _SPARE_FILES
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def _done(_number: int, _frame: FrameType | None) -> None:
    pass


def _bound(listen: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit()):
        raise Usage(Fault.USAGE, "command_line", why=f"{listen!r} is not ADDRESS:PORT")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen(MAX_CONNECTIONS)
    except (OSError, OverflowError) as error:
        bound.close()
        raise Storage(Fault.IO_FAILED, "listen_failed", address=listen, why=str(error)) from error
    return bound


def _log(log_file: Path | None) -> TextIO:
    """Tells where the lines go. Closing it leaves stderr open."""
    if log_file is not None:
        return log_file.open("a", encoding="utf-8")
    return open(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)
