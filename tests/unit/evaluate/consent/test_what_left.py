"""What may have left is named as such: by its copy, and by the ledger where the copy is gone."""

import pytest

from fixtures import signing
from fixtures.fake_network import ok
from fixtures.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.system.storage.resources import installed_notice

REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
YES = f"""schema = 1
notice = "{installed_notice()}"
[purposes.usage_statistics]
allow = true
hold = "0h"
""".encode()
NO = YES.replace(b"true", b"false")


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, _receipt)
    simulated.files.put(PATHS.consent, YES)
    return simulated


def test_a_report_that_nobody_answered_is_not_both_unsent_and_sent(agent: Simulated) -> None:
    agent.network.on("POST", REPORTS, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))
    agent.change_consent()
    (waiting,) = agent.run("held")["result"]["held"]
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert [row["id"] for row in noted["gone"]] == [waiting["id"]]
    assert noted["purged"] == []
    assert agent.files.names(PATHS.held) == ()


def test_a_report_whose_copy_was_purged_is_still_named_and_can_be_erased(agent: Simulated) -> None:
    """The authority stores a report for longer than this server keeps its copy."""
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    for name in agent.files.names(PATHS.sent):
        agent.files.take_away(PATHS.sent / name)
    assert agent.run("start")["answer"]["last_left"]["id"] == left.id
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert [row["id"] for row in noted["gone"]] == [left.id]
    assert noted["gone"][0]["at"] >= signing.NOW
    assert noted["ready"] is not None


def test_what_was_sent_is_listed_newest_first(agent: Simulated) -> None:
    agent.change_consent()
    for _ in range(4):
        agent.clock.advance(20)
        shown = agent.run("preview", purpose="usage_statistics")["result"]
        agent.run("held", action="send", id=shown["id"])
    moments = [row["at"] for row in agent.run("sent")["result"]["sent"]]
    assert moments == sorted(moments, reverse=True)
    assert len({*moments}) == 5
