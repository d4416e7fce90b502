"""The raw control: a chamber in which nothing is counted while idle, and in which every way out is.

Without it a chamber that sees nothing would prove everything. Each probe tries one way with a bare socket call: an outside
address of each family, a name that nobody has, and a path socket, which only strace can see.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.silence import namespace, strace
from opanel_agent.system import process

OUTSIDE: Final = {"connect": "192.0.2.1", "connect6": "2001:db8::1"}
DISCARD: Final = 9
NAME: Final = "prove-silence.invalid"  # RFC 6761: nobody can have registered it
PATH_SOCKET: Final = "/run/prove-silence.sock"
IDLE_S: Final = 0.3
PROBE_S: Final = 60
_MAX_BYTES: Final = 64 * 1024


def run(folder: Path, probe: Callable[[str], Sequence[str]], *, has_v6: bool, traced: bool) -> Iterator[Json]:
    """Yields each control's part of the result. `probe` is the command that tries one."""
    before = namespace.traffic()
    time.sleep(IDLE_S)
    packets = namespace.traffic().since(before).packets
    yield {"name": "idle", "ok": packets == 0, "packets": packets, "strace": None}
    names = ["connect", *(["connect6"] if has_v6 else []), "lookup", *(["path_socket"] if traced else [])]
    for name in names:
        here = folder / name
        here.mkdir()
        yield _one(name, here, probe(name), traced=traced)


def _one(name: str, folder: Path, command: Sequence[str], *, traced: bool) -> Json:
    before = namespace.traffic()
    process.run(
        strace.command(folder, command) if traced else command,
        environment=os.environ,
        max_bytes=_MAX_BYTES,
        deadline_s=PROBE_S,
        stderr="capture",
    )
    packets = namespace.settled().since(before).packets
    seen = _seen(name, folder) if traced else None
    counted = packets > 0 or name == "path_socket"
    return {"name": name, "ok": counted and seen is not False, "packets": packets, "strace": seen}


def _seen(name: str, folder: Path) -> bool:
    calls = strace.calls(folder, {})
    if name == "path_socket":
        return any(call.place == PATH_SOCKET for call in calls)
    return any(call.family in ("AF_INET", "AF_INET6") for call in calls)


def attempt(name: str) -> None:
    """Tries one way out. That it leads nowhere is not what is asked."""
    with contextlib.suppress(OSError):
        match name:
            case "lookup":
                socket.getaddrinfo(NAME, 443)
            case "path_socket":
                with socket.socket(socket.AF_UNIX) as tried:
                    tried.connect(PATH_SOCKET)
            case _:
                socket.create_connection((OUTSIDE[name], DISCARD), timeout=2).close()
