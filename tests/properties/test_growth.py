"""What an ordinary server keeps grows so slowly that ten years stay far within every limit."""

from opanel_agent.core.consent import withdrawals
from opanel_agent.core.ledger import export
from opanel_agent.evaluate.storage import ledger_file, state
from properties import growth

DAYS = 22
TEN_YEARS = 3650 / DAYS


def test_ten_years_of_the_growth_of_the_first_weeks_stay_within_the_limits() -> None:
    server = growth.Server(7)
    server.allow()
    for day in range(DAYS):
        server.day()
        if day == DAYS - 6:
            server.deny()
    found = server.figures(1)
    assert found.posts >= 2, "reports are sent, and erased"
    assert found.files["held"] <= 2
    assert found.files["sent"] <= 3 * (found.posts + 3), "of each request its copy, its mark and its reply"
    assert TEN_YEARS * found.ledger < ledger_file.MAX_BYTES / 4
    assert TEN_YEARS * found.export < export.MAX_BYTES / 4
    assert found.state < state.MAX_BYTES / 8, "it holds dates, and no list of what was"
    assert found.withdrawals < withdrawals.MAX_BYTES / 8
