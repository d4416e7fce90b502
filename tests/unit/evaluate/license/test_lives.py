"""Ordinary and dishonest lives of a server under a wrong clock, a lost state and licenses of tomorrow.

An honest server ends `active`; one that cheats gains nothing.
"""

import itertools
from typing import Any

import pytest

from fixtures import signing
from fixtures.signing import DAY, NOW
from fixtures.simulated.fake_machine import FULL
from fixtures.simulated.simulated_agent import PATHS, ROOTS_URL, STATUS_URL, Simulated
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from properties.test_simulation import activation_reply

pytestmark = pytest.mark.slow  # weeks of simulated lives

HOUR = 3600
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
LONG: dict[str, Any] = {
    "iat": NOW - 500 * DAY,
    "nbf": NOW - 500 * DAY,
    "may": signing.may(max_term_days=4000, issue_until=NOW + 800 * DAY),
    "exp": NOW + 2000 * DAY,
}


NEXT_STATUS = signing.signer("status 2")
ROTATED = signing.root() + signing.root(seq=2, keys=signing.role_keys(status=[NEXT_STATUS]))


def license_(**claims: Any) -> bytes:
    return signing.lines(signing.delegation(**LONG), signing.license(**{"activation": FREE, **claims}))


def block(agent: Simulated) -> None:
    for url in (STATUS_URL, ROOTS_URL):
        agent.network.on("GET", url, Unavailable(Reason.UNREACHABLE_TCP, "simulated"))


def state(agent: Simulated, intent: str = "tick") -> str:
    return str(agent.run(intent)["answer"]["license"]["state"])


# ---- a clock that was wrong


@pytest.mark.parametrize("ahead_s", [8 * DAY, 10 * DAY, 3650 * DAY])
def test_a_first_start_under_a_clock_that_is_ahead_is_forgotten_with_the_first_list(ahead_s: int) -> None:
    agent = Simulated()
    agent.clock.wall_s = NOW + ahead_s
    agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY, exp=NOW + 300 * DAY))
    agent.run("tick")
    agent.clock.advance(30)
    agent.clock.wall_s = NOW + 30
    agent.publish({})
    agent.run("refresh")
    agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY, exp=NOW + 300 * DAY))  # refused before, ten years ahead
    for _ in range(60):
        agent.publish({})
        assert agent.run("refresh")["ok"]
        status = agent.license()
        assert (status["state"], status["as_of"]) == ("active", agent.clock.wall_s)
        agent.clock.advance(DAY)


def test_a_clock_that_runs_a_year_ahead_for_days_is_forgotten_with_the_next_list() -> None:
    agent = Simulated()
    agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY))
    agent.run("refresh")
    block(agent)
    agent.clock.wall_s += 365 * DAY
    for _ in range(84):
        agent.clock.advance(HOUR)
        agent.run("tick")
    agent.clock.wall_s = NOW + 84 * HOUR
    agent.publish({})
    assert agent.run("refresh")["ok"]
    assert agent.license()["as_of"] == NOW + 84 * HOUR


def test_a_server_that_was_off_for_a_weekend_takes_a_license_of_this_morning() -> None:
    for off_s in (20 * HOUR, 60 * HOUR, 14 * DAY, 90 * DAY):
        agent = Simulated()
        agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY, stale_days=60, exp=NOW + 300 * DAY))
        block(agent)
        agent.run("tick")
        agent.clock.reboot(off_s=off_s)
        agent.clock.boottime_s = 60
        agent.run("start")
        issued = agent.clock.wall_s - HOUR
        assert agent.install(license_(jti="license-2", iat=issued, nbf=issued, stale_days=60))["ok"]
        status = agent.license()
        assert (status["state"], status["as_of"]) == ("active", agent.clock.wall_s), off_s


def test_a_list_of_ten_years_ahead_is_the_publishers_to_cure_and_says_so() -> None:
    """No mirror and no clock of this server can mend the floor that it left."""
    agent = Simulated()
    agent.install(license_(iat=NOW - DAY, nbf=NOW - DAY))
    agent.publish({}, iat=NOW + 3650 * DAY, exp=NOW + 3660 * DAY)
    agent.run("refresh")
    agent.publish({})
    (_, got) = agent.run("refresh")["result"]["asked"]
    assert got["error"]["detail"] == "status_list_floor_ahead"
    assert agent.license()["permits"]["create"]
    agent.publish({})
    agent.network.serve(ROOTS_URL, ROTATED, "application/jose")
    token = signing.status_list({}, by=NEXT_STATUS, iat=NOW, exp=NOW + 7 * DAY)
    agent.network.serve(STATUS_URL, token, "application/statuslist+jwt")
    assert all(each["ok"] for each in agent.run("refresh")["result"]["asked"])
    status = agent.license()
    assert (status["state"], status["as_of"]) == ("active", NOW)


# ---- a license that begins later


def this_year(agent: Simulated) -> None:
    agent.install(license_(iat=NOW - 300 * DAY, nbf=NOW - 300 * DAY, exp=NOW + 20 * DAY, grace_days=0))
    agent.run("refresh")


def next_year(**claims: Any) -> bytes:
    return license_(**{"jti": "license-2", "iat": NOW - 60, "nbf": NOW + 20 * DAY, "exp": NOW + 385 * DAY, **claims})


@pytest.mark.parametrize("by_file", [False, True])
def test_next_years_license_waits_while_this_years_is_good(*, by_file: bool) -> None:
    agent = Simulated()
    this_year(agent)
    if by_file:
        agent.files.put(PATHS.license, next_year())
    else:
        assert agent.install(next_year())["ok"]
    frame = agent.run("tick")
    assert frame["answer"]["license"]["permits"]["create"]
    agent.clock.advance(20 * DAY - HOUR)
    agent.publish({})
    frame = agent.run("refresh")
    assert frame["next_run_s"] <= HOUR  # it begins by itself
    agent.clock.advance(HOUR)
    assert state(agent) == "active"
    assert not agent.files.exists(PATHS.next_bundle)
    agent.clock.advance(100 * DAY)
    agent.publish({})
    assert state(agent, "refresh") == "active"


@pytest.mark.parametrize("fast_s", [301, 600, DAY])
def test_a_license_of_a_reseller_whose_clock_is_fast_waits(fast_s: int) -> None:
    agent = Simulated()
    this_year(agent)
    assert agent.install(next_year(iat=NOW + fast_s, nbf=NOW + fast_s))["ok"]
    assert agent.license()["permits"]["create"]
    agent.clock.advance(fast_s)
    agent.run("tick")
    assert not agent.files.exists(PATHS.next_bundle)
    assert agent.license()["permits"]["create"]


def test_where_nothing_good_is_installed_it_does_not_wait() -> None:
    agent = Simulated()
    assert agent.install(next_year())["ok"]
    assert state(agent) == "not_yet_valid"
    assert agent.install(license_(jti="license-3", iat=NOW - DAY, nbf=NOW - DAY))["ok"]
    assert state(agent) == "active"


def test_a_license_that_is_put_there_later_replaces_the_one_that_waits() -> None:
    agent = Simulated()
    this_year(agent)
    agent.install(next_year())
    agent.install(license_(jti="license-3", iat=NOW - 30, nbf=NOW - 30, exp=NOW + 300 * DAY))
    assert not agent.files.exists(PATHS.next_bundle)


def test_removing_the_license_removes_the_one_that_waits() -> None:
    agent = Simulated()
    this_year(agent)
    agent.install(next_year())
    assert agent.files.exists(PATHS.next_bundle)
    agent.run("remove")
    agent.clock.advance(21 * DAY)
    assert state(agent) == "unlicensed"


def test_a_waiting_license_that_is_damaged_is_set_aside() -> None:
    agent = Simulated()
    this_year(agent)
    agent.files.put(PATHS.next_bundle, b"rot", mode=0o600)
    frame = agent.run("tick")
    assert frame["ok"]
    assert not agent.files.exists(PATHS.next_bundle)
    assert agent.files.exists(PATHS.next_bundle.with_name("bundle.next.jws.broken"))


# ---- documents as people send them


def test_a_license_that_a_mail_program_wrapped_is_installed() -> None:
    agent = Simulated()
    text = license_(iat=NOW - DAY, nbf=NOW - DAY)
    wrapped = b"\xef\xbb\xbf" + b"\r\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    assert agent.install(wrapped)["ok"]
    assert agent.files.read(PATHS.bundle, max_bytes=10**5) == text
    other = Simulated()
    other.files.put(PATHS.license, text.replace(b"\n", b"\r\n\r\n"))
    assert state(other) == "active"


def test_a_license_without_its_delegation_says_which_line_is_missing() -> None:
    agent = Simulated()
    error = agent.install(signing.lines(signing.license(activation=FREE)))["error"]
    assert (error["detail"], error["values"]) == ("bundle_delegation_missing", {"line": 1})


# ---- a state that was lost

KEPT = (PATHS.state, PATHS.clock, PATHS.schedule, PATHS.status_list)
LOST = [names for n in range(1, 5) for names in itertools.combinations(KEPT, n)]


def listed(status: int) -> Simulated:
    """A server whose license the list has called 1 or 2 for so long that it counts, and whose mirror is out of reach."""
    agent = Simulated()
    agent.install(license_(iat=NOW - 25 * DAY, nbf=NOW - 25 * DAY))
    agent.run("refresh")
    for later_s in (2 * DAY, 2 * HOUR, 73 * HOUR):
        agent.clock.advance(later_s)
        agent.publish({100: status})
        agent.run("refresh")
    block(agent)
    return agent


@pytest.mark.parametrize("names", LOST, ids=lambda names: "+".join(path.name for path in names))
@pytest.mark.parametrize(("status", "expected"), [(1, "revoked"), (2, "suspended")])
def test_losing_files_of_the_state_is_no_cure(status: int, expected: str, names: tuple[Any, ...]) -> None:
    agent = listed(status)
    assert state(agent) == expected
    for path in names:
        agent.files.take_away(path)
    if not {PATHS.state, PATHS.status_list} <= {*names}:
        assert state(agent) == expected
    # Without state and list nothing at hand tells it; the next list does, and gives no second time of grace.
    agent.run("tick")
    agent.clock.advance(HOUR)
    agent.publish({100: status})
    assert state(agent, "refresh") == expected


def test_an_older_list_that_is_put_back_gives_no_second_grace() -> None:
    agent = listed(1)
    good = Simulated()
    good.install(license_(iat=NOW - 25 * DAY, nbf=NOW - 25 * DAY))
    good.run("refresh")
    old = good.files.read(PATHS.status_list, max_bytes=10**6)
    assert old is not None
    for _ in range(20):
        agent.files.take_away(PATHS.state)
        agent.files.put(PATHS.status_list, old, mode=0o600)
        agent.run("tick")
        agent.clock.advance(2 * DAY)
        agent.publish({100: 1})
        assert state(agent, "refresh") == "revoked"


def test_an_honest_server_that_loses_its_state_keeps_what_it_had() -> None:
    for names in LOST:
        agent = Simulated()
        agent.install(license_(iat=NOW - 25 * DAY, nbf=NOW - 25 * DAY))
        agent.run("refresh")
        for path in names:
            agent.files.take_away(path)
        assert state(agent) == "active", names
        agent.clock.advance(DAY)
        agent.publish({})
        assert state(agent, "refresh") == "active", names


def test_forgetting_again_and_again_keeps_no_license_unactivated() -> None:
    agent = Simulated()
    agent.install(signing.lines(signing.delegation(), signing.license(grace_days=14)))
    seen = []
    for day in range(60):
        agent.clock.advance(DAY)
        agent.publish({})
        seen.append(state(agent, "refresh"))
        if day % 6 == 5:
            agent.files.take_away(PATHS.state)
    assert seen[-30:] == ["not_activated"] * 30


def test_forgetting_again_and_again_keeps_no_copied_disk_alive() -> None:
    agent = Simulated()
    agent.network.on("POST", f"{signing.ENDPOINT}/v1/activations", activation_reply)
    agent.install(signing.lines(signing.delegation(), signing.license()))
    assert agent.run("activate")["ok"]
    agent.machine.parts = {
        **FULL,
        "dmi_product_uuid": "99999999-1111-2222-3333-444444444445",
        "boot_disk": "wwn-0x999",
        "cloud_instance_id": "i-0ffffffff1",
    }
    seen = []
    for day in range(60):
        agent.clock.advance(DAY)
        agent.publish({})
        seen.append(state(agent, "refresh"))
        if day % 13 == 12:
            agent.files.take_away(PATHS.state)
    assert seen[-30:] == ["wrong_machine"] * 30


def test_a_lost_clock_begins_at_the_newest_signed_date() -> None:
    agent = Simulated()
    agent.install(license_(iat=NOW - 30 * DAY, nbf=NOW - 30 * DAY, exp=NOW + 2 * DAY, grace_days=1))
    agent.run("refresh")
    agent.clock.advance(4 * DAY)
    agent.publish({})
    assert state(agent, "refresh") == "expired"
    block(agent)
    agent.clock.wall_s = NOW - 40 * DAY
    agent.files.take_away(PATHS.clock)
    assert state(agent) == "expired"
