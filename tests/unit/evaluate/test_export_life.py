"""Proves that what a whole agent did checks as good, and that the parts its export comes in fit together."""

from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import Checked
from opanel_agent.core.wire.message import Reply, Sealed

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
