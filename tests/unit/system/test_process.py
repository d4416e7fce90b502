"""A program of another user's is heard for so long and so far, whatever it does."""

import sys

import pytest

from opanel_agent.system import process

HERE = {"PATH": "/usr/bin:/bin"}


def heard(code: str, *, max_bytes: int = 10, deadline_s: float = 20) -> tuple[int, bytes]:
    return process.run(
        (sys.executable, "-I", "-c", code), b"hello", environment=HERE, max_bytes=max_bytes, deadline_s=deadline_s
    )


def test_it_is_heard_to_its_end() -> None:
    assert heard("import sys; print(sys.stdin.read()); sys.exit(3)") == (3, b"hello\n")


def test_more_than_was_asked_for_is_not_kept() -> None:
    """It would go on for ever."""
    status, said = heard("while True: print('x' * 9999)")
    assert (status, len(said)) == (-9, 11)


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import os, time\nif os.fork() == 0: time.sleep(60)",
    ],
    ids=["silent", "silent without an output", "what it left holds its output"],
)
def test_whoever_keeps_one_waiting_is_ended(code: str) -> None:
    with pytest.raises(TimeoutError):
        heard(code, deadline_s=0.5)


def test_what_is_not_listened_to_is_no_fault() -> None:
    assert heard("print('no')") == (0, b"no\n")
