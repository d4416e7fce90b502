"""What holds for every test: Hypothesis judges properties, never speed, and no log holds a value of a payload.

Hypothesis' deadline for one example is off, because a busy machine would fail good code; the suite's own time limit is
tests/run's. What is logged during each test is searched after it (fixtures/log_scan.py), and a finding fails that test
by name.

A shell that starts this in the background has it ignore SIGINT, and so would every program that a test interrupts.
"""

import signal
import sys
from collections import Counter
from collections.abc import Generator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from fixtures.log_scan import LOGS, Tee, watch_programs

settings.register_profile("house", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
signal.signal(signal.SIGINT, signal.default_int_handler)
watch_programs()

_found_late: Final[list[str]] = []
_sinks: Final[Counter[str]] = Counter()
_octets: Final[Counter[str]] = Counter()


def _tee() -> Generator[None, None, None]:
    sys.stderr = Tee(sys.stderr)
    try:
        yield
    finally:
        while isinstance(sys.stderr, Tee):
            sys.stderr = sys.stderr.inner


# Inside of pytest's own capture, whose order these ask for.
_hook: Final = pytest.hookimpl(hookwrapper=True, trylast=True)


@_hook
def pytest_runtest_setup() -> Generator[None, None, None]:
    yield from _tee()


@_hook
def pytest_runtest_call() -> Generator[None, None, None]:
    yield from _tee()


@_hook
def pytest_runtest_teardown() -> Generator[None, None, None]:
    yield from _tee()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """After the last phase of a test: by then what it started has ended, or is still being listened to."""
    report: pytest.TestReport = (yield).get_result()
    if call.when != "teardown":
        return
    LOGS.hear(text for name, text in report.sections if "stderr" in name)
    found = LOGS.look()
    if found:
        report.outcome = "failed"
        report.longrepr = "\n".join(["cannot have values of payloads in a log:", *found])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells its controller; the controller, and a run without workers, judge what came after the last test."""
    findings = {"found": LOGS.look(), "sinks": dict(LOGS.sinks), "octets": dict(LOGS.octets)}
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["logs"] = findings
        return
    _add(findings)
    if _found_late:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _add(getattr(node, "workeroutput", {}).get("logs", {"found": [], "sinks": {}, "octets": {}}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    searched = ", ".join(f"{_octets[kind]} bytes of {_sinks[kind]} {kind}" for kind in sorted(_sinks))
    terminalreporter.write_line(f"logs searched for values of payloads: {searched or 'none'}")
    for each in _found_late:
        terminalreporter.write_line(f"cannot have values of payloads in a log: {each}")


def _add(findings: dict[str, Any]) -> None:
    _found_late.extend(findings["found"])
    _sinks.update(findings["sinks"])
    _octets.update(findings["octets"])
