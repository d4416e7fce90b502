"""strace's view: every network call of every process of the month, and the path sockets that no counter sees.

One file for each process (`-ff`), so that no line is cut in two by another's. Written for strace 5.3 and later, which can
leave all other calls alone (`--seccomp-bpf`); what is not understood is not dropped but kept as a call without a family.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from opanel_agent.silence.judge import EVALUATE, Call
from opanel_agent.system import process

PROGRAM: Final = "strace"
PREFIX: Final = "calls"
_OPTIONS: Final = ("-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-e", "signal=none", "-s", "256")
_PROBE_S: Final = 20
_MAX_BYTES: Final = 64 * 1024
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?).*")
_SOCKET: Final = re.compile(r"(?:socket|socketpair)\((AF_\w+|0x[0-9a-f]+|\d+)")
_PLACE: Final = re.compile(r'sun_path=@?"((?:[^"\\]|\\.)*)"')


def available() -> str | None:
    """None where strace can be used, else why not: `strace_absent` or `strace_refused`."""
    if shutil.which(PROGRAM) is None:
        return "strace_absent"
    try:
        ran = process.run(
            [PROGRAM, *_OPTIONS, "-o", "/dev/null", "true"],
            environment=os.environ,
            max_bytes=_MAX_BYTES,
            deadline_s=_PROBE_S,
            stderr="capture",
        )
    except OSError:  # TimeoutError is one
        return "strace_refused"
    return None if ran.status == 0 else "strace_refused"


def command(folder: Path, traced: Sequence[str]) -> list[str]:
    return [PROGRAM, *_OPTIONS, "-ff", "-o", str(folder / PREFIX), "--", *traced]


def calls(folder: Path, pids: Mapping[int, str]) -> tuple[Call, ...]:
    """What was seen. A process that the month did not start as a fetch or a courier is evaluate, or its."""
    found: list[Call] = []
    for path in sorted(folder.glob(PREFIX + ".*")):
        process = pids.get(int(path.suffix[1:]), EVALUATE)
        found += read(process, path.read_text("utf-8", "replace"))
    return tuple(found)


def read(process: str, text: str) -> Iterator[Call]:
    for line in text.splitlines():
        call = _CALL.fullmatch(line)
        socket, place = _SOCKET.match(line), _PLACE.search(line)
        name = line.partition("(")[0]
        receives = name in {"recvfrom", "recvmsg", "getpeername", "getsockname", "accept", "accept4"}
        yield Call(
            process=process,
            name=name,
            family="" if socket is None else socket[1],
            place="" if place is None or receives else place[1],
            failed=call is not None and call["result"].startswith("-"),
        )
