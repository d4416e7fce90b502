"""The count that CI reads is honest: nothing passed is no success, and a failure is never added away."""

from pathlib import Path

import pytest

from architecture import junit_sum

GOOD = b'<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite></testsuites>'
BAD = b'<testsuites><testsuite><testcase name="a"/><testcase name="c"><failure/></testcase></testsuite></testsuites>'
ERROR = b'<testsuites><testsuite><testcase name="d"><error/></testcase></testsuite></testsuites>'
EMPTY = b"<testsuites><testsuite></testsuite></testsuites>"
SKIPPED = b'<testsuites><testsuite><testcase name="b"><skipped/></testcase></testsuite></testsuites>'


@pytest.mark.parametrize(
    ("reports", "line", "status"),
    [
        ([GOOD], "1 passed, 0 failed, 1 skipped", 0),
        ([GOOD, GOOD], "2 passed, 0 failed, 2 skipped", 0),
        ([GOOD, BAD], "2 passed, 1 failed, 1 skipped", 1),
        ([GOOD, ERROR], "1 passed, 1 failed, 1 skipped", 1),
        ([EMPTY], "0 passed, 0 failed, 0 skipped", 1),
        ([SKIPPED], "0 passed, 0 failed, 1 skipped", 1),
        ([], "0 passed, 0 failed, 0 skipped", 1),
    ],
)
def test_sums_what_the_reports_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reports: list[bytes], line: str, status: int
) -> None:
    for number, report in enumerate(reports):
        (tmp_path / f"{number}.xml").write_bytes(report)
    assert junit_sum.main([str(tmp_path)]) == status
    assert capsys.readouterr().out == f"{line}\n"


def test_takes_single_reports_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "one.xml"
    report.write_bytes(GOOD)
    assert junit_sum.main([str(report)]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed, 1 skipped\n"
