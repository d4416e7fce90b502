"""Proves that what a whole agent did checks as good, and that the parts its export comes in fit together."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import Checked
from opanel_agent.core.wire.message import Reply, Sealed

AUDITORS: Final = Path(__file__).parents[3] / "docs/auditors.md"
REPORTS: Final = signing.ENDPOINT + "/v1/reports/usage_statistics"
AT_ONCE: Final = b"""schema = 1
notice = "2026-12-03"

[purposes.usage_statistics]
allow = true
hold = "0h"

[purposes.crash_reports]
allow = false
"""


def receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, receipt)
    return simulated


def exported(agent: Simulated) -> bytes:
    data, more = b"", ""
    while True:
        page: dict[str, Any] = agent.run("export", **({"id": more} if more else {}))["result"]
        data += unbase64url(page["export"])
        if page["more"] is None:
            return data
        more = page["more"]


def checked(agent: Simulated) -> Checked:
    return export.check(exported(agent), signing.trusted_root().digest)


def live(agent: Simulated, days: int) -> None:
    """Passes are run when the last one said, as the daemon does, and once a day at least."""
    left = days * signing.DAY
    while left > 0:
        step = min(left, agent.run("tick")["next_run_s"], signing.DAY)
        agent.clock.advance(step)
        left -= step
    agent.run("tick")


def test_a_server_that_says_no_exports_its_silence(agent: Simulated) -> None:
    live(agent, 1)
    checkup = checked(agent)
    assert checkup.findings == ()
    assert (checkup.sent, checkup.receipts) == (0, 0)


def test_a_report_checks_as_good_with_its_receipt(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, AT_ONCE)
    live(agent, 1)
    left = [sealed for sealed in agent.network.sent if sealed.purpose == "usage_statistics"]
    checkup = checked(agent)
    assert checkup.findings == ()
    assert checkup.sent == checkup.receipts == len(left) == 1


def test_what_was_purged_by_its_age_is_missed_by_nobody(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, AT_ONCE)
    live(agent, 1)
    assert checked(agent).sent == 1
    agent.clock.advance(90 * signing.DAY)  # switched off for so long
    agent.run("tick")
    checkup = checked(agent)
    assert checkup.findings == ()
    assert (checkup.sent, checkup.receipts, checkup.gaps) == (0, 1, 1)


def test_a_withdrawal_and_a_broken_ledger_are_told_by_the_export(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, AT_ONCE)
    live(agent, 1)
    ledger = agent.files.read(PATHS.ledger, max_bytes=10**6) or b""
    agent.files.put(PATHS.ledger, ledger.replace(b"RequestAnswered", b"RequestAnswerer"))
    agent.files.put(PATHS.consent, AT_ONCE.replace(b"true", b"false"))
    live(agent, 1)
    data = exported(agent)
    assert export.check(data, None).findings == ()
    assert b'"ledger.1.broken"' in data
    assert b"ConsentRefused" in data or b"ConsentWithdrawn" in data


# the page for auditors has a program of its own, which uses nothing of ours


def by_the_page(file: Path) -> tuple[int, str]:
    """What the program of docs/auditors.md says of an export: its exit status, and its last line of output or error."""
    found = re.search(r"^```python\n(.*?)^```$", AUDITORS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    ran = subprocess.run(
        [sys.executable, "-I", "-c", found[1], str(file)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    return ran.returncode, (ran.stdout + ran.stderr).splitlines()[-1]


def mended(parts: list[dict[str, Any]], header: bytes) -> bytes:
    """An export of these parts, with every digest around them right."""
    for part in parts:
        if "text" in part:
            part["sha256"] = hashlib.sha256(part["text"].encode()).hexdigest()
    lines = [header, *(json.dumps(part).encode() for part in parts)]
    whole = b"".join(line + b"\n" for line in lines)
    end = {"parts": len(parts), "sha256": hashlib.sha256(whole).hexdigest()}
    return whole + json.dumps(end).encode() + b"\n"


def test_the_program_of_the_page_for_auditors_finds_what_ours_finds(agent: Simulated, tmp_path: Path) -> None:
    agent.files.put(PATHS.consent, AT_ONCE)
    live(agent, 1)
    good = exported(agent)
    header, *lines, _end = good.splitlines()
    file = tmp_path / "audit.json"

    def judged(old: str, new: str, *, of: str) -> tuple[int, str]:
        parts = [json.loads(line) for line in lines]
        (changed,) = (part for part in parts if part["name"].endswith(of))
        assert old in changed["text"]
        changed["text"] = changed["text"].replace(old, new, 1)
        file.write_bytes(mended(parts, header))
        return by_the_page(file)

    file.write_bytes(good)
    assert by_the_page(file) == (0, "everything agrees")
    file.write_bytes(good.replace(b"usage_statistics", b"usage_statistik!", 1))
    assert by_the_page(file) == (1, "AssertionError: the file was damaged")
    assert judged('"kind":"ConsentGiven"', '"kind":"ConsentRefused"', of="ledger.jsonl")[1].startswith(
        "AssertionError: ledger entry "
    )
    assert judged('"sha256":"', '"sha256":"0', of="ledger.head") == (
        1,
        "AssertionError: the end of the ledger is missing",
    )
    (name,) = (json.loads(line)["name"] for line in lines if b'.request"' in line and b'"usage-' in line)
    assert judged('"os_id"', '"os_ID"', of=name) == (1, f"AssertionError: {name}")
