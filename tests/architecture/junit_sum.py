"""Adds up what the test runs did, from the reports that pytest wrote.

`junit_sum.py REPORT…` (JUnit XML files, or folders of them) prints one line, `N passed, N failed, N skipped`, and exits 1
when nothing passed or anything failed: a run that proved nothing must not look like one that did. Errors in set-up
count as failed. A run that died before it wrote its report is not seen here; its exit status is the caller's to judge.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    @property
    def good(self) -> bool:
        return self.passed > 0 and self.failed == 0


def of_report(text: bytes) -> Tally:
    """The sum over the report's suites; one test can have failed and failed to clean up, and counts once."""
    passed = failed = skipped = 0
    for case in ET.fromstring(text).iter("testcase"):  # noqa: S314  # our own pytest wrote it
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed += 1
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return Tally(passed=passed, failed=failed, skipped=skipped)


def total(tallies: list[Tally]) -> Tally:
    return Tally(
        passed=sum(tally.passed for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        skipped=sum(tally.skipped for tally in tallies),
    )


def reports(paths: list[Path]) -> list[Path]:
    return [report for path in paths for report in (sorted(path.glob("*.xml")) if path.is_dir() else [path])]


def main(arguments: list[str]) -> int:
    tally = total([of_report(report.read_bytes()) for report in reports([Path(argument) for argument in arguments])])
    sys.stdout.write(f"{tally}\n")
    return 0 if tally.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
