"""What was proved, one line a check.

Said as it is found, counted, and written as a JUnit report for tests/architecture/junit_sum.py.
"""

import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def both(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)["result"]


def until(true: Callable[[], bool], within_s: float) -> bool:
    """Whether it came true in time; looked at ten times a second."""
    ends_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.1)
    return True


@dataclass(slots=True, kw_only=True)
class Checks:
    """`failure` of a case is None where it passed. Nothing is said twice: a name is a sentence of its own."""

    suite: str
    cases: list[tuple[str, str | None]] = field(default_factory=list)

    def true(self, what: str, *, found: bool, reason: str = "it is not so") -> None:
        self.cases.append((what, None if found else reason))
        self.print_line(f"ok      {what}" if found else f"FAILED  {what}: {reason}")

    def same(self, what: str, expected: object, found: object) -> None:
        self.true(what, found=found == expected, reason=f"expected {expected!r}, found {found!r}")

    def like(self, what: str, pattern: str, found: str) -> None:
        """`pattern` has to match all of it."""
        reason = f"expected {pattern!r}, found {found!r}"
        self.true(what, found=re.fullmatch(pattern, found, re.DOTALL) is not None, reason=reason)

    def succeeds(self, what: str, ran: Ran) -> None:
        self.true(what, found=ran.status == 0, reason=f"exit {ran.status}: {ran.both.strip()}")

    def soon(self, what: str, true: Callable[[], bool], within_s: float = 20) -> None:
        self.true(what, found=until(true, within_s), reason=f"not within {within_s} s")

    def print_line(self, text: str) -> None:
        sys.stdout.write(f"{self.suite:8}  {text}\n")
        sys.stdout.flush()

    @contextmanager
    def story(self, name: str) -> Iterator[None]:
        """What ends a story early is a failure with its place, and ends the whole: the next would stand on nothing."""
        begun_s = time.monotonic()
        try:
            yield
        except Exception:
            self.true(f"the story '{name}' came to its end", found=False, reason=traceback.format_exc())
            raise
        self.print_line(f"--      {name}: {time.monotonic() - begun_s:.0f} s")

    @property
    def passed(self) -> int:
        return sum(failure is None for _, failure in self.cases)

    @property
    def failed(self) -> int:
        return len(self.cases) - self.passed

    def write(self, report: Path) -> None:
        suite = ET.Element("testsuite", name=f"boot-{self.suite}")
        for what, failure in self.cases:
            case = ET.SubElement(suite, "testcase", classname=f"boot.{self.suite}", name=what)
            if failure is not None:
                ET.SubElement(case, "failure", message=failure)
        ET.ElementTree(suite).write(report, encoding="unicode")
