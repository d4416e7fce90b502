"""Runs the app on a socket of ours, under uvicorn.

We bind ourselves, so that a port in use is one sentence instead of a log, port 0 can be asked for, and "serving" is
said only when connections are already accepted. What is past its time is erased before that, and then once a day. TLS
and slow clients belong to the web server in front; this listens on loopback.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import uvicorn

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Storage, Usage
from opanel_agent.core.text_safety import escape
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_authority import reports
from opanel_authority.home import Authority
from opanel_authority.server import Served, app

_AT_ONCE: Final = 256
_LOOK_S: Final = HOUR_S


def run(authority: Authority, listen: str, *, log_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. `listen` is ADDRESS:PORT; an IPv6 address stands in brackets."""
    with _bound(listen) as bound, _log(log_file) as log:

        def line(text: str) -> None:
            print(escape(text), file=log, flush=True)

        host, port = bound.getsockname()[:2]
        # uvicorn raises the signal again after its shutdown, for whoever stood there before: us, and we are done
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _done)
        served = Served(authority=authority)
        with _purging(served, line):
            sys.stdout.write(f"serving http://{f'[{host}]' if ':' in host else host}:{port}\n")
            sys.stdout.flush()
            uvicorn.Server(_config(app(served, line))).run(sockets=[bound])


@contextmanager
def _purging(served: Served, line: Callable[[str], None], *, look_s: float = _LOOK_S) -> Iterator[None]:
    """Purge now, and once on every later day; a day on which that failed is tried again at the next look."""
    purged_on = _purge(served, line)
    stopped = threading.Event()

    def daily() -> None:
        done = purged_on
        while not stopped.wait(look_s):
            if done != served.now() // DAY_S:
                done = _purge(served, line)

    thread = threading.Thread(target=daily, name="purge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _purge(served: Served, line: Callable[[str], None]) -> int | None:
    """The day on which it was done; None where it could not be. How many is all that is said."""
    now = served.now()
    try:
        erased = reports.purge(served.authority, served.catalog, now=now)
    except AgentError as error:
        line(f"error {error}")
        return None
    if erased:
        line(f"purged {erased}")
    return now // DAY_S


def _config(application: object) -> uvicorn.Config:
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_AT_ONCE,
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
        bound.listen(128)
    except (OSError, OverflowError) as error:
        bound.close()
        raise Storage(Fault.IO_FAILED, "listen_failed", address=listen, why=str(error)) from error
    return bound


def _log(log_file: Path | None) -> TextIO:
    """Where the lines go. Closing it leaves stderr open."""
    if log_file is not None:
        return log_file.open("a", encoding="utf-8")
    return open(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)
