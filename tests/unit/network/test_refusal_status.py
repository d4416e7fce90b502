"""A server's refusal says that the request has left; a proxy's does not."""

import pytest

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from opanel_agent.network.fetch import refusal


@pytest.mark.parametrize(
    ("code", "status", "crosses"),
    [
        (Reason.SERVER_ERROR, 503, 503),
        (Reason.CAPTIVE_PORTAL, 302, 302),
        (Reason.PROXY_ERROR, 407, None),
        (Reason.SERVER_ERROR, None, None),
        (Reason.SERVER_ERROR, "503", None),
    ],
)
def test_the_status_crosses_where_it_is_the_other_ends(
    code: Reason, status: int | str | None, crosses: int | None
) -> None:
    values = {} if status is None else {"status": status}
    assert refusal(Unavailable(code, "status_unexpected", **values)).status == crosses
