"""The net under the whole suite catches: a test that logs a payload's value fails by name, whichever way it was logged.

Each leak is planted in a run of pytest of its own, with this suite's conftest.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures import log_scan, signing
from fixtures.data import catalog_bodies
from fixtures.log_scan import Logs

TESTS = Path(__file__).parent.parent
HEAD = """
import subprocess, sys, tempfile
from fixtures import log_scan as logs, signing as forge
from fixtures.data import catalog_bodies as declared
from fixtures.simulated.fake_machine import FULL
from opanel_agent.system.log import get
from opanel_agent.system.log import log_event as line
CODE = "import sys; sys.stderr.write(sys.stdin.read())"
BODY = declared.report("somebody")
"""


def run(arguments: list[str], directory: Path) -> tuple[int, str]:
    """Another pytest, with the suite's own conftest."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return ran.returncode, ran.stdout


LEAKS = {
    "fact": "line('sealed', panel=logs.PANEL_VERSION)",
    "component": "line('bound', value=FULL['machine_id'])",
    "key": "get().info('exchanged', key=forge.KEY)",
    "document": "line('installed', text=forge.bundle().split()[-1].decode())",
    "body": "line('sealed', body=BODY.decode())",
    "secret": "line('erased', by=declared.secret('somebody'))",
    "text": "line('asked', text=logs.TEXT)",
    "right": "line('asked', body=declared.right('erase', 'somebody').decode())",
    "consumed": "line('sealed', body=BODY.decode()); capsys.readouterr()",
    "program": "subprocess.run([sys.executable, '-c', CODE, 'courier'], input=BODY, stderr=subprocess.PIPE)",
    "inherited": "subprocess.run([sys.executable, '-c', CODE], input=b'info: event=a body=' + BODY)",
    "file": "subprocess.run([sys.executable, '-c', CODE, 'daemon'], input=BODY, stderr=tempfile.TemporaryFile())",
}


@pytest.mark.slow
def test_a_leak_fails_the_test_that_leaked(tmp_path: Path) -> None:
    """Twelve leaks in one run, and one test that says only what may be said."""
    tests = [f"def test_{name}(capsys):\n    {leak}\n" for name, leak in LEAKS.items() if name != "inherited"]
    tests.append(f"def test_inherited():\n    {LEAKS['inherited']}\n")
    tests.append("def test_good():\n    line('sealed', id='usage-1', bytes=len(BODY), sha256=64 * 'a')\n")
    (tmp_path / "test_planted.py").write_text(HEAD + "\n".join(tests))
    status, printed = run(["-p", "conftest", "-rfE", "-W", "ignore", "test_planted.py"], tmp_path)
    failed = set(re.findall(r"^(?:FAILED|ERROR) test_planted\.py::test_(\w+)", printed, re.MULTILINE))
    assert (status, failed) == (1, set(LEAKS)), printed
    assert "AssertionError" not in printed  # each failed for what was found, and for nothing else
    assert f"{len(LEAKS) + 1} passed" in printed


@pytest.mark.slow
def test_a_leak_after_the_last_test_fails_the_run(tmp_path: Path) -> None:
    """A session's end comes after every report; each worker says what it found then."""
    (tmp_path / "test_late.py").write_text("def test_good():\n    pass\n")
    (tmp_path / "late.py").write_text(
        f"{HEAD}\nimport pytest\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish():\n"
        "    logs.LOGS.keep('whoever was late', BODY)\n"
    )
    for more in ([], ["-n", "1"]):
        status, printed = run(["-p", "conftest", "-p", "late", "test_late.py", *more], tmp_path)
        assert status == 1, printed
        assert "the log of whoever was late holds a report" in printed


@pytest.mark.slow
def test_what_the_suite_logs_is_really_collected() -> None:
    """Agents in one process, a daemon with its jobs, an authority: each net has something in it, and says so."""
    chosen = [
        "tests/unit/evaluate/reporting/test_reports.py::test_a_report_that_leaves_is_logged_without_its_values",
        "tests/unit/authority/requests/test_authority_erasure.py",
        "tests/integration/daemon/test_daemon_loop.py",
    ]
    status, printed = run(["-m", "not root and not slow", *chosen], TESTS.parent)
    assert status == 0, printed
    (summary,) = (each for each in printed.splitlines() if each.startswith("logs searched for values of payloads: "))
    counted = {
        kind: (int(octets), int(sinks)) for octets, sinks, kind in re.findall(r"(\d+) bytes of (\d+) ([^,]+)", summary)
    }
    for kind in (log_scan.HERE, "daemon", "opanel_authority"):
        octets, sinks = counted[kind]
        assert octets > 100, summary
        assert sinks > 0, summary


def test_what_may_be_in_a_log_is_not_found() -> None:
    """Digests, ids, hosts, versions of documents, and a date: else every second line would be a finding."""
    net = Logs()
    net.plant(log_scan.PANEL_VERSION, "a machine fact")
    net.plant_secret(bytes.fromhex(catalog_bodies.secret("somebody")), "what a report is erased by")
    net.keep(
        "x", f"info: event=a sha256={catalog_bodies.erasure('somebody')} id=usage-0011 version=9.27.3 9.27.8\n".encode()
    )
    assert net.look() == []
    net.keep("x", f"info: event=a what={catalog_bodies.secret('somebody')}\n".encode())
    (found,) = net.look()
    assert found.startswith("the log of x holds what a report is erased by: info: event=a what=")
    assert net.look() == []  # each is told once


@pytest.mark.parametrize("key", [signing.KEY, signing.KEY.lower()])
def test_a_license_key_is_known_by_its_shape(key: str) -> None:
    net = Logs()
    net.keep("x", f"cannot use {key}\n".encode())
    assert len(net.look()) == 1
