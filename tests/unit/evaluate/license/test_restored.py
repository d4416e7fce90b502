"""A state that is older than what happened since: a backup that was put back, whole or in part.

The license goes on. No word of the administrator's is undone that anything on this machine still shows; of what nothing
shows any more, every hold starts again in full, so that he has his time once more.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.customer import DAY, HOUR, Customer
from fixtures.authority.vendor import vendor
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Entry
from fixtures.simulated.simulated_agent import PATHS, STATUS_URL, Simulated
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.wire.message import Reply, Sealed

YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "72h"
"""
NO = YES.replace(b"true", b"false")
LEDGER = (PATHS.ledger, PATHS.ledger.with_name("ledger.head"))
Backup = dict[Path, Entry]


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.fixture
def agent() -> Simulated:
    """Licensed, allowed, and a report waits since an hour."""
    simulated = Simulated()
    simulated.network.on("POST", signing.ENDPOINT + "/v1/reports/usage_statistics", _receipt)
    free = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
    simulated.install(signing.lines(signing.delegation(), signing.license(iat=signing.NOW, activation=free)))
    simulated.run("refresh")
    simulated.files.put(PATHS.consent, YES)
    simulated.change_consent()
    assert len(waiting(simulated)) == 1
    passes(simulated, HOUR)
    return simulated


def waiting(agent: Simulated) -> list[Any]:
    held: list[Any] = agent.run("held")["result"]["held"]
    return held


def passes(agent: Simulated, seconds: int) -> None:
    agent.clock.advance(seconds)
    agent.publish({})
    agent.run("tick")


def days(agent: Simulated, count: int) -> None:
    for _ in range(count):
        passes(agent, 22 * HOUR)
        passes(agent, 2 * HOUR)


def reports(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.purpose in CONSENT_BASED]


def kinds(agent: Simulated) -> list[str]:
    return [each["kind"] for each in agent.run("history")["result"]["entries"]]


def put_back(agent: Simulated, backup: Backup, directory: Path = PATHS.state_dir, *, off_s: int = 600) -> None:
    """With the machine switched off, as one does."""
    agent.files.restore(backup, directory)
    agent.clock.reboot(off_s=off_s)
    agent.publish({})


def test_a_withdrawal_since_is_not_undone(agent: Simulated) -> None:
    backup = agent.files.snapshot()
    agent.files.put(PATHS.consent, NO)
    assert agent.change_consent()["result"]["consent"]["purged"] != []
    days(agent, 1)
    put_back(agent, backup)
    assert agent.run("start")["result"]["consent"]["purged"] != [], "what came back is purged once more"
    days(agent, 10)
    assert reports(agent) == []
    assert kinds(agent)[-1] == "DailyMark"
    assert "ConsentWithdrawn" in kinds(agent)


def test_an_opt_out_since_is_not_undone(agent: Simulated) -> None:
    backup = agent.files.snapshot()
    agent.opt_outs.set_signals(do_not_track=True)
    put_back(agent, backup)
    days(agent, 10)
    assert reports(agent) == []
    agent.opt_outs.set_signals()
    passes(agent, HOUR)
    assert "HoldsRestarted" in kinds(agent)


@pytest.mark.parametrize("how", ["checks", "is given a list", "is told"])
def test_a_dropped_report_that_is_back_has_its_whole_hold_again(agent: Simulated, how: str) -> None:
    """Nothing shows any more that it was dropped; a gap of days does show that something is missing."""
    backup = agent.files.snapshot()
    (report,) = waiting(agent)
    agent.run("held", action="drop", id=report["id"])
    days(agent, 5)
    put_back(agent, backup)
    match how:
        case "checks":
            for _ in range(27):
                passes(agent, HOUR)
        case "is given a list":
            token = signing.status_list({}, iat=agent.clock.wall_s, exp=agent.clock.wall_s + 7 * DAY)
            assert agent.run("bundle", document=base64url(token))["ok"]
        case _:
            agent.run("refresh")
            agent.change_consent()
    assert [each["id"] for each in waiting(agent)] == [report["id"]]
    assert reports(agent) == []
    recorded = kinds(agent)
    assert recorded.index("GapFound") < recorded.index("HoldsRestarted")
    agent.run("held", action="drop", id=report["id"])
    days(agent, 3)
    assert report["id"] not in [each.id for each in reports(agent)]


def test_a_whole_disk_that_is_put_back_has_every_hold_again(agent: Simulated) -> None:
    """/etc too, with the yes that was withdrawn since: three days in which to withdraw it again."""
    backup = agent.files.snapshot()
    agent.files.put(PATHS.consent, NO)
    agent.change_consent()
    days(agent, 30)
    put_back(agent, backup, Path("/"))
    agent.run("start")
    days(agent, 2)
    assert "GapFound" in kinds(agent)
    assert reports(agent) == []


def test_a_ledger_that_is_put_back_alone_denies_until_somebody_looks(agent: Simulated) -> None:
    backup = {path: entry for path, entry in agent.files.snapshot().items() if path == PATHS.ledger}
    days(agent, 2)
    agent.files.put(PATHS.ledger, backup[PATHS.ledger].data, mode=0o600)
    days(agent, 10)
    answer = agent.run("tick")["answer"]
    assert [each["reason"] for each in answer["consent"]["purposes"]["usage_statistics"]["reasons"]] == ["ledger"]
    assert reports(agent) == []
    assert answer["license"]["reasons"] == ["ok"]
    agent.run("review")
    days(agent, 4)
    assert reports(agent) != []


def test_a_ledger_that_is_put_back_with_its_head_denies_until_somebody_looks(agent: Simulated) -> None:
    """The state knows how far the ledger had come: one that is shorter was not written by this agent last."""
    backup = agent.files.snapshot()
    days(agent, 2)
    for path in LEDGER:
        agent.files.put(path, backup[path].data, mode=0o600)
    days(agent, 10)
    answer = agent.run("tick")["answer"]
    assert [each["reason"] for each in answer["consent"]["purposes"]["usage_statistics"]["reasons"]] == ["ledger"]
    assert reports(agent) == []
    agent.run("review")
    days(agent, 4)
    assert reports(agent) != []


def test_a_memory_that_is_put_back_alone_takes_no_no_back(agent: Simulated) -> None:
    backup = agent.files.snapshot()
    agent.files.put(PATHS.consent, NO)
    agent.change_consent()
    days(agent, 1)
    agent.files.put(PATHS.state, backup[PATHS.state].data, mode=0o600)
    days(agent, 10)
    assert reports(agent) == []
    assert agent.license()["reasons"] == ["ok"]


def test_floors_hold_as_far_as_the_backup_shows(agent: Simulated) -> None:
    oldest = signing.status_list({}, iat=signing.NOW - HOUR, exp=signing.NOW + 30 * DAY)
    backup = agent.files.snapshot()
    agent.clock.advance(2 * DAY)
    agent.publish({signing.LICENSE_IDX: 2})
    agent.run("refresh")
    assert agent.license()["state"] == "grace"
    put_back(agent, backup)
    agent.network.serve(STATUS_URL, oldest, "application/statuslist+jwt")
    assert agent.run("refresh")["result"]["asked"][1]["error"]["detail"] == "status_list_older"
    agent.publish({signing.LICENSE_IDX: 2})
    assert agent.run("refresh")["answer"]["license"]["state"] == "grace", "and the next list says it again"


def test_an_older_clock_catches_up_with_the_first_list(agent: Simulated) -> None:
    backup = agent.files.snapshot()
    days(agent, 20)
    put_back(agent, backup)
    behind = agent.run("start")["answer"]["license"]
    assert behind["as_of"] < agent.clock.wall_s - 10 * DAY, "a wall clock that is far ahead is not believed alone"
    assert behind["state"] == "active"
    assert agent.run("refresh")["answer"]["license"]["as_of"] == agent.clock.wall_s


def test_an_activation_that_was_younger_is_asked_for_again(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    customer = Customer(made)
    customer.install(made.issue().text)
    customer.check()
    backup = customer.agent.files.snapshot()
    assert customer.agent.run("activate")["ok"]
    customer.days(5)
    put_back(customer.agent, backup)
    license_ = customer.check()
    assert (license_["state"], license_["reasons"][0]) == ("active", "activation_due")
    assert customer.agent.run("activate")["ok"]
    assert customer.days(5)["reasons"] == ["ok"]


@pytest.mark.slow
def test_a_license_that_was_younger_gives_way_to_the_older_until_it_is_installed_again(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    customer = Customer(made)
    customer.install(made.issue(days=90, activation=False).text)
    customer.check()
    backup = customer.agent.files.snapshot()
    fresh = made.issue(activation=False)
    customer.install(fresh.text)
    customer.days(5)
    put_back(customer.agent, backup)
    assert customer.check()["state"] == "active"
    customer.install(fresh.text)
    assert customer.days(100)["reasons"] == ["ok"]


def test_a_state_from_before_the_list_of_members_is_read(agent: Simulated) -> None:
    """An older agent's memory has no word for what this one keeps besides."""
    kept = json.loads(agent.files.read(PATHS.state, max_bytes=10**5) or b"")
    for name in ("told", "list_iat", "ledger_seq"):
        del kept[name]
    agent.files.put(PATHS.state, json.dumps(kept).encode(), mode=0o600)
    passes(agent, DAY)
    assert agent.files.entry(PATHS.state.with_name("state.json.broken")) is None
    assert agent.license()["reasons"] == ["ok"]
