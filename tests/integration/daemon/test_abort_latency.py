"""A "no" that is typed while a report is on the wire: the connection ends, and what had gone is known.

Everything is real: the daemon, its evaluate, the courier, the command, and a server that takes the request and never
answers. How long it takes is measured by tests/bench/abort_latency.py; here it is compared with how long the request
would have lived.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fixtures.authority.slow_authority import ALLOWED, REPORTS, allowing
from fixtures.daemon.live_agent import Home, live_agent
from fixtures.log_scan import PANEL_VERSION
from opanel_agent.network.fetch import WHOLE_S

pytestmark = pytest.mark.slow  # each starts processes, for seconds

DENY = ("consent", "deny", "usage_statistics")
NO: dict[str, tuple[str, ...]] = {"deny": DENY, "offline": ("offline", "on"), "do not track": ("dnt", "on")}


@pytest.fixture
def home() -> Iterator[Home]:
    with live_agent() as made:
        version = made.file("panel-version", PANEL_VERSION.encode() + b"\n")
        made.settings.write_text(f'{made.good_settings}panel_version_file = "{version}"\n')
        yield made


def entries(home: Home, name: str) -> list[str]:
    """What the ledger says of one request, in order, with the reason where it has one."""
    lines = map(json.loads, (home.state / "ledger.jsonl").read_text().splitlines())
    about = [each for each in lines if each["data"].get("id") == name or name in each["data"].get("ids", [])]
    return [" ".join([each["kind"], *filter(None, [each["data"].get("reason")])]) for each in about]


def posts(home: Home) -> list[str]:
    return [each for each in home.rude.heard if each.startswith("POST")]


def sent(home: Home) -> dict[str, Any]:
    (one,) = home.type("data", "sent", "--json").json["result"]["sent"]
    copy: dict[str, Any] = home.type("data", "sent", one["id"], "--json").json["result"]
    return copy


@pytest.mark.parametrize("no", NO)
def test_a_no_cuts_what_is_under_way(home: Home, no: str, record_property: Callable[[str, object], None]) -> None:
    with home.daemon(), allowing(home) as slow:
        begun = time.monotonic()
        typed = home.type(*NO[no])
        ended = slow.closed()
        record_property("cut_s", round(ended - begun, 3))
        assert typed.status == 0, typed
        assert ended - begun < WHOLE_S / 2  # nobody waited for a deadline
        copy = sent(home)
        assert copy["body"].encode() in slow.received
        assert (copy["reply_status"], copy["receipt"]) == (None, None)
        assert f'"panel_version":"{PANEL_VERSION.rpartition(".")[0]}"' in copy["body"]
        recorded = entries(home, copy["id"])
        assert recorded[:2] == ["RequestSealed", "RequestReviewed"]  # whoever types the sending has looked at it
        assert recorded[2:4] == ["RequestAttempted", "RequestFailed interrupted"]
        home.type("license", "refresh")
        assert len(posts(home)) == 1
        if no == "deny":
            assert copy["id"] in typed.out  # it had gone: named to whoever said no
            assert entries(home, copy["id"])[4:] == ["Purged withdrawn"]
            (ready,) = (home.state / "ready").glob("erase-*.json")
            (secret,) = (home.state / "erasure").iterdir()
            assert json.loads(ready.read_text())["reveals"] == [secret.read_bytes().hex()]


def test_a_hand_edit_counts_before_the_next_request(home: Home) -> None:
    """It cuts nothing: no process watches a file. What was under way ends as it would, and is the last."""
    with home.daemon(), allowing(home) as slow:
        (home.config / "consent.toml").write_text(ALLOWED.replace("true", "false"))
        slow.answer.set()
        slow.closed()
        home.type("license", "refresh", "--wait", "30")
        (one,) = home.type("data", "sent", "--json").json["result"]["sent"]
        assert entries(home, one["id"])[-1] == "Purged withdrawn"
        assert posts(home) == [f"POST {REPORTS}"]
        assert list((home.state / "held").iterdir()) == []
