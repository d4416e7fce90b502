"""What a program said in its time, and no more of it than was asked for.

For a command of root's that has the agent's own user do something: whoever holds that user's processes must neither fill
root's memory nor keep it waiting. Left out: what may be said to the program is short enough for a pipe to hold (4 KiB).
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose process it is, without any group but this."""

    uid: int
    gid: int


def run(
    command: Sequence[str],
    said: bytes = b"",
    *,
    environment: Mapping[str, str],
    max_bytes: int,
    deadline_s: float,
    identity: Identity | None = None,
    stderr: int | None = None,
) -> tuple[int, bytes]:
    """Its exit status and output; an output of more than `max_bytes` is cut one byte after, and its program ended.

    Raises OSError where it cannot be started, TimeoutError after `deadline_s`.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd="/",
        env=environment,
        umask=0o077,
        start_new_session=True,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=() if identity else None,
    ) as program:
        try:
            output = _listen(program, said, max_bytes, time.monotonic() + deadline_s)
            status = program.wait(1) if len(output) <= max_bytes else -signal.SIGKILL
        except subprocess.TimeoutExpired:  # it closed its output and stays
            raise TimeoutError from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    return status, output


def _listen(program: "subprocess.Popen[bytes]", said: bytes, max_bytes: int, ends_at: float) -> bytes:
    assert program.stdin is not None and program.stdout is not None  # noqa: S101, PT018 - asked for above
    with suppress(BrokenPipeError), program.stdin:
        program.stdin.write(said)
    heard = bytearray()
    while len(heard) <= max_bytes:
        if not select.select([program.stdout], [], [], max(0.0, ends_at - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(program.stdout.fileno(), min(65_536, max_bytes + 1 - len(heard)))
        if not piece:
            break
        heard += piece
    return bytes(heard)
