"""One line an event, in one format for the daemon and for the jobs; a value can neither break it nor forge a field."""

import io
import os
import subprocess
import sys

import pytest

from opanel_agent.system import log


@pytest.fixture(autouse=True)
def _no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


def test_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.log_event("job ended", level="warning", status=1, path="/run/a.sock")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", 'warning: event="job ended" status=1 path=/run/a.sock\n')


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1.0", "plain-1.0"),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('a" level=x', r'"a\" level=x"'),
        ("a\\", r'"a\\"'),
        ("a\nevent=b\x1b[2J\u2028", r'"a\u000aevent=b\u001b[2J\u2028"'),
        ("şifre", '"şifre"'),
        (None, "None"),
    ],
)
def test_a_value_stays_one_value(value: object, shown: str) -> None:
    assert log.render("info", "e", {"v": value}) == f"info: event=e v={shown}"


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("odd", 6)])
def test_the_journal_is_told_the_priority(monkeypatch: pytest.MonkeyPatch, level: str, priority: int) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert log.render(level, "e", {}) == f"<{priority}>event=e"


def test_a_jobs_logger_writes_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    logger = log.get(job="evaluate")
    logger.warning("job ended", status=1)
    logger.debug("too much to say")
    log.log_event("job ended", level="warning", job="evaluate", status=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == second == 'warning: event="job ended" job=evaluate status=1'


class Full(io.StringIO):
    """A stream that takes nothing, as a pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_nobody_reading_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    log.log_event("lost")


def test_nobody_may_be_there_to_read() -> None:
    """A process that was started with its stderr closed has none at all."""
    finished = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f"exec {sys.executable} -c 'from opanel_agent.system import log; log.log_event(1); print(2)' 2>&-",
        ],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=False,
        timeout=20,
    )
    assert (finished.returncode, finished.stdout) == (0, b"2\n")
