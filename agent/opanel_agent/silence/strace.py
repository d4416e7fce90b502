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

from opanel_agent.silence.judge import OTHER, Call
from opanel_agent.system import process

PROGRAM: Final = "strace"
PREFIX: Final = "calls"
_OPTIONS: Final = ("-f", "--seccomp-bpf", "-qq", "-e", "trace=network,%process", "-e", "signal=none", "-s", "256")
_PROBE_S: Final = 20
_MAX_BYTES: Final = 64 * 1024
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+|\?).*")
_SOCKET: Final = re.compile(r"(?:socket|socketpair)\((AF_\w+|0x[0-9a-f]+|\d+)")
_MADE: Final = re.compile(r"^(?:clone|clone3|fork|vfork)\(.*\)\s+= (\d+)$", re.MULTILINE)
_PROGRAM: Final = re.compile(r'execve(?:at)?\((?:[^"]*, )?"((?:[^"\\]|\\.)*)"')
_PLACE: Final = re.compile(r'sun_path=@?"((?:[^"\\]|\\.)*)"')


def available() -> str | None:
    """Tells why strace cannot be used, None where it can: `strace_absent` or `strace_refused`."""
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
    """Returns what was seen. A thread, or a process that never started a program of its own, is as who made it."""
    texts = {int(path.suffix[1:]): path.read_text("utf-8", "replace") for path in folder.glob(PREFIX + ".*")}
    makers = {int(made): pid for pid, text in texts.items() for made in _MADE.findall(text)}

    def name(pid: int) -> str:
        seen: set[int] = set()
        while pid not in pids and pid in makers and pid not in seen:
            seen.add(pid)
            pid = makers[pid]
        return pids.get(pid, OTHER)

    return tuple(call for pid, text in sorted(texts.items()) for call in read(name(pid), text))


def read(process: str, text: str) -> Iterator[Call]:
    for line in text.splitlines():
        call = _CALL.fullmatch(line)
        socket, place, program = _SOCKET.match(line), _PLACE.search(line), _PROGRAM.match(line)
        name = line.partition("(")[0]
        receives = name in {"recvfrom", "recvmsg", "getpeername", "getsockname", "accept", "accept4"}
        yield Call(
            process=process,
            name=name,
            family="" if socket is None else socket[1],
            place="" if place is None or receives else place[1],
            program="" if program is None else program[1],
            failed=call is not None and call["result"].startswith("-"),
        )
