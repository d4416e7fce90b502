"""A part of the activated server that cannot be read is named from the first pass on, with what heals it; and so is its key.

The parts are files of a laid-out machine that the kernel refuses to read, the authority is a real one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.market import DAY, Market
from fixtures.doctor_host import DoctorHost, doctor_host
from fixtures.simulated.simulated_agent import PATHS, Simulated
from fixtures.unreadable import BY_ERRNO, refuse_to_read, spoil
from opanel_agent.core.license import verdict
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.core.values import replace
from opanel_agent.messages import translate
from opanel_agent.system.machine import LocalMachine
from properties.maintenance import NAA, Host, disk_only, plain

WWID = "sys/devices/sda/device/wwid"


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[DoctorHost]:
    with doctor_host(tmp_path) as made:
        yield made


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path / "machine")
    disk_only(made)
    return made


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path / "market")


def activated(market: Market, host: Host) -> Simulated:
    agent = market.server("a")
    agent.world = replace(agent.world, machine=LocalMachine({}, host.root))
    for frame in (agent.install(market.vendor.issue(min_p=0).text.encode()), agent.run("activate")):
        assert frame["ok"], frame["error"]
    return agent


def refreshed(agent: Simulated) -> tuple[dict[str, Any], dict[str, Any]]:
    """The license of a pass that somebody asked for, and what it says of the machine."""
    answered = agent.run("refresh")["answer"]
    return answered["license"], answered["machine"]


def days(market: Market, agent: Simulated, count: int) -> str:
    for _ in range(count):
        market.pass_time(DAY)
        state = refreshed(agent)[0]["state"]
    return str(state)


def doctor(sick: DoctorHost, agent: Simulated, lang: Language = "en") -> str:
    sick.lang = lang
    answered = agent.run("tick")["answer"]
    sick.answer |= {"machine": answered["machine"], "license": answered["license"]}
    return re.sub(r"\s+", " ", sick.see().out)


SOUND: dict[str, Any] = {"key": "ok", "unread": [], "undecided": None}


@pytest.mark.parametrize("fault", BY_ERRNO)
def test_the_part_its_file_and_the_days_are_told_while_the_state_says_nothing_yet(
    market: Market, host: Host, sick: DoctorHost, fault: str
) -> None:
    agent = activated(market, host)
    assert refreshed(agent)[1] == SOUND
    assert doctor(sick, agent).startswith("No problems found")
    spoil(host.root / WWID, fault)
    license_, machine = refreshed(agent)
    since = license_["as_of"]
    assert (license_["state"], license_["reasons"]) == ("active", ["ok"])
    assert machine == {
        "key": "ok",
        "unread": [{"part": "boot_disk", "file": str(host.root / WWID), "errno": fault}],
        "undecided": {"since": since, "grace": since + verdict.UNDECIDED_S, "until": since + verdict.MISMATCH_S},
    }
    assert days(market, agent, 3) == "active"
    assert refreshed(agent)[1]["undecided"] == machine["undecided"], "it counts from the first pass"
    for lang in LANGUAGES:
        shown = doctor(sick, agent, lang)
        for what in (translate("part.boot_disk", lang), WWID, fault, "io_failed", "license refresh"):
            assert what in shown, (what, shown)


def test_what_is_mended_within_the_fortnight_leaves_nothing_behind(
    market: Market, host: Host, sick: DoctorHost
) -> None:
    agent = activated(market, host)
    spoil(host.root / WWID, "EIO")
    assert days(market, agent, 9) == "grace"
    (host.root / WWID).unlink()
    host.text(WWID, NAA)
    license_, machine = refreshed(agent)  # license refresh, as doctor says
    assert (license_["state"], license_["reasons"], machine) == ("active", ["ok"], SOUND)
    assert doctor(sick, agent).startswith("No problems found")


def test_what_stays_unreadable_is_left_out_by_an_activation(market: Market, host: Host, sick: DoctorHost) -> None:
    agent = activated(market, host)
    spoil(host.root / WWID, "EIO")
    assert days(market, agent, 2) == "active"
    assert "license activate" in doctor(sick, agent)
    assert agent.run("activate")["ok"]
    assert days(market, agent, 20) == "active"
    assert refreshed(agent)[1] == SOUND
    assert doctor(sick, agent).startswith("No problems found")


def test_a_part_that_the_license_does_not_need_is_a_warning_without_days(
    market: Market, host: Host, sick: DoctorHost
) -> None:
    plain(host)  # with the mainboard, which still tells
    agent = activated(market, host)
    spoil(host.root / WWID, "EACCES")
    license_, machine = refreshed(agent)
    assert (license_["reasons"], machine["undecided"]) == (["ok"], None)
    shown = doctor(sick, agent)
    assert translate("part.boot_disk", "en") in shown
    assert "still valid" in shown


def test_a_part_that_was_never_signed_is_nobodys_business(market: Market, host: Host) -> None:
    """A program that runs as no root never reads the mainboard's UUID."""
    spoil(host.root / "sys/class/dmi/id/product_uuid", "EACCES")
    assert refreshed(activated(market, host))[1] == SOUND


def test_the_license_is_renewed_while_it_is_open_which_server_this_is(market: Market, host: Host) -> None:
    agent = activated(market, host)
    assert agent.run("tick")["answer"]["renewal"]["next"] is not None
    spoil(host.root / WWID, "EIO")
    assert agent.run("tick")["answer"]["renewal"]["next"] is not None
    spoil(host.root / WWID, "ENOENT")  # now it is another disk
    assert agent.run("tick")["answer"]["renewal"]["next"] is None


# ---- the key


@pytest.mark.parametrize("errno", BY_ERRNO)
def test_a_key_that_cannot_be_read_for_weeks_stays_and_is_taken_up_again(
    market: Market, host: Host, sick: DoctorHost, errno: str
) -> None:
    agent = activated(market, host)
    key = agent.files.entry(PATHS.activation_key)
    refuse_to_read(agent.files, PATHS.activation_key, errno)
    assert days(market, agent, 20) == "active"
    answered = agent.run("tick")["answer"]
    unread = {"part": "agent_key", "file": str(PATHS.activation_key), "errno": errno}
    assert answered["machine"] == {"key": "unread", "unread": [unread], "undecided": None}
    assert answered["license"]["reasons"] == ["ok"]
    assert answered["renewal"]["next"] is None
    shown = doctor(sick, agent)
    for what in ("not renewed", str(PATHS.activation_key), errno, "license refresh", "license activate"):
        assert what in shown, (what, shown)
    agent.files.fault = None
    assert refreshed(agent)[1] == SOUND
    assert agent.run("tick")["answer"]["renewal"]["next"] is not None
    assert agent.files.entry(PATHS.activation_key) == key


def test_an_activation_replaces_a_key_that_stays_unreadable_and_no_other_request_does(
    market: Market, host: Host
) -> None:
    agent = activated(market, host)
    key = agent.files.entry(PATHS.activation_key)
    assert key is not None
    refuse_to_read(agent.files, PATHS.activation_key, "EIO")
    released = agent.run("release")
    assert (released["ok"], released["error"]["detail"]) == (False, "read_failed")
    assert agent.files.entry(PATHS.activation_key) == key
    assert agent.run("activate")["ok"]
    license_, machine = refreshed(agent)
    assert (license_["state"], license_["reasons"], machine) == ("active", ["ok"], SOUND)
    kept = agent.files.entry(PATHS.activation_key.with_name("activation.key.broken"))
    assert kept is not None
    assert kept.data == key.data


KEYS = {"empty": b"", "cut short": bytes(31), "too long": bytes(33), "another's": bytes(range(32)), "gone": None}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_lost_is_told_and_an_activation_heals_it(
    market: Market, host: Host, sick: DoctorHost, name: str
) -> None:
    agent = activated(market, host)
    data = KEYS[name]
    if data is None:
        agent.files.take_away(PATHS.activation_key)
    else:
        agent.files.put(PATHS.activation_key, data, mode=0o600)
    license_, machine = refreshed(agent)
    assert (license_["state"], machine["key"]) == ("active", "lost")
    assert translate("error.key_lost", "en") in doctor(sick, agent)
    assert (agent.files.entry(PATHS.activation_key.with_name("activation.key.broken")) is not None) is (
        data is not None and len(data) != 32
    )
    assert days(market, agent, 20) == "active"
    assert agent.run("activate")["ok"]  # as doctor says
    license_, machine = refreshed(agent)
    assert (license_["state"], license_["reasons"], machine) == ("active", ["ok"], SOUND)


@pytest.mark.parametrize("key_too", [False, True])
def test_the_grace_of_what_cannot_be_read_names_the_activation_that_keeps_the_seat(
    market: Market, host: Host, *, key_too: bool
) -> None:
    agent = activated(market, host)
    spoil(host.root / WWID, "EIO")
    if key_too:
        refuse_to_read(agent.files, PATHS.activation_key, "EIO")
    assert days(market, agent, 9) == "grace"
    assert refreshed(agent)[0]["next_action"]["code"] == "activate"
    assert agent.run("activate")["ok"]
    assert refreshed(agent)[0]["reasons"] == ["ok"]
