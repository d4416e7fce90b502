"""One server becomes many: a disk that was reset first, and one that was simply copied.

Two servers made from one disk must not say the same, ask at the same time, or send by the word of the one before them.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.customer import DAY, Customer, connect
from fixtures.authority.vendor import Vendor, vendor
from fixtures.simulated.fake_machine import FULL
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, SeededRandom, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.errors import Storage
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_authority.documents.issue import Issued

pytestmark = pytest.mark.slow  # weeks of simulated lives

YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "1h"
"""
NO = YES.replace(b"true", b"false")
REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
EVERYONES = {"roots.jws", "status-list.jwt", "advisories.jws", "state.json", "lock"}
ELSEWHERE = {
    "machine_id": "c4e19b7d02fa4d6e8b35a1f07c92de48",
    "dmi_product_uuid": "1c9f2d3e-0a1b-4c2d-8e3f-4a5b6c7d8e9f",
}


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def lived_in(seed: int = 1) -> Simulated:
    """Licensed, a report left and another one waits, a right was used."""
    agent = Simulated(seed=seed)
    agent.network.on("POST", REPORTS, _receipt)
    agent.install(signing.lines(signing.delegation(), signing.license(iat=signing.NOW)))
    agent.run("refresh")
    agent.files.put(PATHS.consent, YES.replace(b"1h", b"0h"))
    agent.change_consent()
    agent.files.put(PATHS.consent, YES)
    agent.clock.advance(8 * DAY)
    agent.run("tick")
    agent.run("rights", kind="access", preview=True)
    agent.run("activate", preview=True)
    assert len(reports(agent)) == 1
    assert len(agent.files.names(PATHS.held)) == 3
    return agent


def reports(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.purpose in CONSENT_BASED]


def copied(template: Simulated, seed: int, parts: dict[str, str] | None = None) -> Simulated:
    """Another machine that boots from this disk."""
    server = Simulated(seed=seed)
    server.files.restore(template.files.snapshot(), Path("/"))
    server.clock.wall_s = template.clock.wall_s + 3600
    server.clock.boot_id, server.clock.boottime_s = f"boot of {seed}", 30
    server.machine.parts = {**FULL, **(parts or {})}
    server.network.on("POST", REPORTS, _receipt)
    return server


def schedule(agent: Simulated) -> int:
    kept = agent.files.read(PATHS.schedule, max_bytes=10**4)
    assert kept is not None
    return int(json.loads(kept)["next_check_s"])


# ---- a disk that was reset


def test_nothing_of_this_server_is_left() -> None:
    agent = lived_in()
    before = agent.files.snapshot()
    frame = agent.run("reset")
    assert frame["ok"]
    assert (frame["answer"]["license"]["state"], frame["next_run_s"]) == ("unlicensed", 86_400)
    left = {path for path in agent.files.snapshot() if path.is_relative_to(PATHS.state_dir)}
    assert {path.name for path in left} <= EVERYONES
    state = json.loads(agent.files.read(PATHS.state, max_bytes=10**5) or b"")
    kept = {name: value for name, value in state.items() if value}
    assert set(kept) == {"schema", "floors", "list_iat", "clone_of"}, "public dates, and whose yes consent.toml holds"
    for path in left - {PATHS.state}:
        assert agent.files.entry(path) == before[path], "the same bytes for everyone"
    for path in (PATHS.settings, PATHS.consent):
        assert agent.files.entry(path) == before[path], "root's files are root's"


def test_what_would_be_forgotten_is_said_and_changes_nothing() -> None:
    agent = lived_in()
    agent.files.put(PATHS.license, signing.bundle(activated=False))
    agent.run("tick")
    before = set(agent.files.snapshot())
    preview = agent.run("reset", preview=True)["result"]
    assert set(agent.files.snapshot()) == before
    entries = agent.run("history")["result"]["of"]
    assert preview == {
        "forgotten": False,
        "license": True,
        "activated": False,
        "held": 1,
        "sent": 1,
        "unerased": 1,
        "receipts": 1,
        "entries": entries,
        "stays": [str(PATHS.license), str(PATHS.consent)],
        "consent": {"gone": [], "purged": [], "ready": None, "unsaved": []},  # of every pass
    }


def test_who_loses_the_proof_gets_the_request_that_it_was_for() -> None:
    agent = lived_in()
    (left,) = reports(agent)
    secret = agent.files.read(PATHS.erasure / left.id, max_bytes=32) or b""
    (body,) = agent.run("reset")["result"]["erase"]
    asked = json.loads(unbase64url(body))
    assert (asked["kind"], asked["reveals"]) == ("erase", [secret.hex()])
    assert json.loads(left.body)["erasure"] == hashlib.sha256(secret).hexdigest()


@pytest.mark.parametrize("meanwhile", [False, True], ids=["stopped", "the daemon went on"])
def test_a_template_that_boots_twice_is_two_servers(meanwhile: bool, tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(seats=3)
    first = Customer(made)
    first.install(issued.text)
    assert first.agent.run("activate")["ok"]
    first.agent.files.put(PATHS.license, issued.text.encode())
    first.agent.run("reset")
    if meanwhile:
        first.days(2)
    servers = [copied(first.agent, seed, {**ELSEWHERE, "machine_id": f"fedcba98{seed:024x}"}) for seed in (11, 12)]
    keys, plans = set(), set()
    for server in servers:
        connect(server, made)
        server.run("start")
        plans.add(schedule(server))
        license_ = server.license()
        assert (license_["state"], license_["reasons"][0]) == ("active", "activation_due"), (
            "licensed by the file in /etc"
        )
        assert server.run("activate")["ok"]
        assert server.run("refresh")["answer"]["license"]["reasons"] == ["ok"]
        keys.add(server.files.read(PATHS.activation_key, max_bytes=32))
    assert (len(keys), len(plans)) == (2, 2)


def test_a_server_of_the_template_sends_nothing_by_the_templates_word() -> None:
    agent = lived_in()
    agent.run("reset")
    server = copied(agent, 5, ELSEWHERE)
    for _ in range(10):
        server.clock.advance(DAY)
        consent = server.run("tick")["answer"]["consent"]["purposes"]["usage_statistics"]
        assert [each["reason"] for each in consent["reasons"]] == ["clone"]
    assert reports(server) == []
    assert server.run("held")["result"]["held"] == []
    kinds = [each["kind"] for each in server.run("history")["result"]["entries"]]
    assert "ConsentGiven" not in kinds
    assert server.run("review")["ok"]
    server.run("tick")
    server.clock.advance(2 * 3600)
    server.change_consent()
    assert len(reports(server)) == 1
    kinds = [each["kind"] for each in server.run("history")["result"]["entries"]]
    assert kinds.index("Reviewed") < kinds.index("ConsentGiven") < kinds.index("RequestSealed")


def test_an_answer_given_after_the_reset_counts() -> None:
    agent = lived_in()
    agent.run("reset")
    server = copied(agent, 5, ELSEWHERE)
    server.files.put(PATHS.consent, YES + b"# answered here\n")
    server.run("start")
    server.clock.advance(2 * 3600)
    server.change_consent()
    assert len(reports(server)) == 1


def test_a_refusal_needs_no_second_look() -> None:
    agent = lived_in()
    agent.files.put(PATHS.consent, NO)
    agent.run("reset")
    server = copied(agent, 5, ELSEWHERE)
    listed = server.run("start")["answer"]["consent"]["purposes"]["usage_statistics"]["reasons"]
    assert [each["reason"] for each in listed] == ["denied_by_file"]


@pytest.mark.parametrize("step", range(0, 60, 3))
def test_a_reset_that_is_cut_short_is_finished_by_the_next(step: int) -> None:
    agent = lived_in()
    agent.files.stop_at(step, Storage(Fault.IO_FAILED, "remove_failed", file="x", errno="EIO"))
    try:
        agent.run("reset")
    except Storage:
        agent.files.crash()
    agent.files.stop_at(10**9)
    assert agent.run("reset")["ok"]
    left = {path.name for path in agent.files.snapshot() if path.is_relative_to(PATHS.state_dir)}
    assert left <= EVERYONES


def test_what_could_not_be_removed_is_told() -> None:
    agent = lived_in()

    def stuck(step: str, path: Path) -> None:
        if step == "unlink" and path == PATHS.clock:
            raise Storage(Fault.IO_FAILED, "remove_failed", file=str(path), errno="EIO")

    agent.files.fault = stuck
    frame = agent.run("reset")
    assert (frame["ok"], frame["error"]["detail"]) == (False, "remove_failed")
    assert {path.name for path in agent.files.snapshot() if path.is_relative_to(PATHS.state_dir)} <= {
        *EVERYONES,
        PATHS.clock.name,
    }, "all the rest went"
    assert agent.run("tick")["answer"]["license"]["state"] == "unlicensed"


# ---- a disk that was copied


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


@pytest.fixture
def issued(made: Vendor) -> Issued:
    return made.issue(seats=2)


@pytest.fixture
def original(made: Vendor, issued: Issued) -> Customer:
    customer = Customer(made)
    customer.install(issued.text)
    assert customer.agent.run("activate")["ok"]
    customer.agent.files.put(PATHS.consent, YES.replace(b"1h", b"72h"))
    customer.agent.network.on("POST", "http://127.0.0.1:8470/v1/reports/usage_statistics", _receipt)
    customer.agent.change_consent()
    assert customer.agent.run("held")["result"]["held"] != []
    assert customer.check()["reasons"] == ["ok"]
    return customer


def twin(original: Customer, made: Vendor, seed: int = 7) -> Customer:
    """The original's disk in another machine: other platform, other ids."""
    other = {**ELSEWHERE, "boot_disk": "naa.5000c500ffffffff", "cloud_instance_id": "i-0fffffffffffffff1"}
    copy = Customer(made, seed=seed)
    copy.agent = copied(original.agent, seed, other)
    connect(copy.agent, made)
    copy.agent.network.on("POST", "http://127.0.0.1:8470/v1/reports/usage_statistics", _receipt)
    return copy


def together(days: int, *customers: Customer) -> list[dict[str, Any]]:
    """So many days of several servers of one authority; the license of each after the last."""
    for _ in range(days - 1):
        for each in customers:
            each.days(1)
    return [each.days(1) for each in customers]


def test_a_copy_has_fourteen_days_and_the_original_goes_on(made: Vendor, original: Customer) -> None:
    copy = twin(original, made)
    license_ = copy.check()
    assert (license_["state"], license_["permits"]["create"]) == ("grace", True)
    assert "machine_mismatch" in license_["reasons"]
    at_home, license_ = together(13, original, copy)
    assert (at_home["reasons"], license_["state"]) == (["ok"], "grace")
    at_home, license_ = together(2, original, copy)
    assert (license_["state"], license_["permits"]["run"], license_["permits"]["create"]) == (
        "wrong_machine",
        True,
        False,
    )
    assert license_["next_action"]["code"] == "move_back_or_release", "its key is its own"
    assert at_home["reasons"] == ["ok"]


def test_a_copy_activates_itself_and_takes_nothing_from_the_original(made: Vendor, original: Customer) -> None:
    copy = twin(original, made)
    key = original.agent.files.read(PATHS.activation_key, max_bytes=32)
    together(3, original, copy)
    assert copy.agent.run("activate")["ok"]
    assert [each["reasons"] for each in together(5, original, copy)] == [["ok"], ["ok"]]
    assert copy.agent.files.read(PATHS.activation_key, max_bytes=32) not in (None, key)


@pytest.mark.slow
def test_a_copy_sends_nothing_until_somebody_looks(made: Vendor, original: Customer) -> None:
    copy = twin(original, made)
    together(20, original, copy)
    assert reports(copy.agent) == []
    assert copy.agent.run("held")["result"]["held"] == [], "the original's report is the original's to send"
    kinds = [each["kind"] for each in copy.agent.run("history")["result"]["entries"]]
    assert ("CloneFound" in kinds, "ConsentInvalidated" in kinds) == (True, True)
    assert reports(original.agent) != []
    copy.agent.run("review")
    together(20, original, copy)
    sent = [each.body for each in reports(copy.agent)]
    assert sent != []
    assert not {*sent} & {each.body for each in reports(original.agent)}, "and then its own, drawn anew"


def test_a_copy_does_not_send_the_originals_request(made: Vendor, original: Customer) -> None:
    """An activation that waited was signed by a key that the copy has no more."""
    original.agent.opt_outs.set_signals(do_not_track=True)
    original.agent.run("activate", to_file=True)
    copy = twin(original, made)
    assert copy.agent.run("activate")["ok"]
    (sent,) = [each for each in copy.agent.network.sent if each.method == "POST"]
    assert original.agent.files.entry(PATHS.held / sent.id) is None


def test_a_copy_asks_at_a_time_of_its_own(made: Vendor, original: Customer) -> None:
    plans = {schedule(original.agent)}
    for seed in (21, 22):
        copy = twin(original, made, seed)
        copy.agent.run("tick")
        plans.add(schedule(copy.agent))
    assert len(plans) == 3


def test_a_disk_that_comes_home_is_no_copy(made: Vendor, original: Customer) -> None:
    original.agent.clock.reboot()
    original.agent.run("start")
    assert original.days(5)["reasons"] == ["ok"]
    kinds = [each["kind"] for each in original.agent.run("history")["result"]["entries"]]
    assert "CloneFound" not in kinds


def test_a_machine_that_tells_less_is_no_copy(made: Vendor, original: Customer) -> None:
    """What cannot be read today was not changed: DMI without its credential."""
    original.agent.machine.parts.pop("dmi_product_uuid")
    license_ = original.days(3)
    assert (license_["state"], license_["reasons"]) == ("active", ["binding_drift"])
    kinds = [each["kind"] for each in original.agent.run("history")["result"]["entries"]]
    assert "CloneFound" not in kinds


def test_hardware_that_cannot_be_read_for_some_days_changes_nothing(made: Vendor, original: Customer) -> None:
    machine, key = original.agent.machine, original.agent.files.read(PATHS.activation_key, max_bytes=32)
    machine.unread = frozenset({"root_fs_uuid", "dmi_product_uuid", "boot_disk", "cloud_instance_id"})
    license_ = original.days(6)
    assert (license_["state"], license_["reasons"]) == ("active", ["ok"])
    machine.unread = frozenset()
    license_ = original.days(1)
    assert (license_["state"], license_["reasons"]) == ("active", ["ok"])
    machine.unread = frozenset({"boot_disk", "dmi_product_uuid"})  # the week begins anew
    assert original.days(6)["state"] == "active"
    kinds = [each["kind"] for each in original.agent.run("history")["result"]["entries"]]
    assert "CloneFound" not in kinds
    assert original.agent.files.read(PATHS.activation_key, max_bytes=32) == key


def test_a_copy_that_hides_its_hardware_has_fourteen_days_as_any(made: Vendor, original: Customer) -> None:
    original.agent.machine.unread = frozenset({"dmi_product_uuid", "boot_disk", "cloud_instance_id"})
    seen = [original.days(1)["state"] for _ in range(16)]
    assert (seen[5], seen[7], seen[12]) == ("active", "grace", "grace")
    assert seen[14:] == ["wrong_machine", "wrong_machine"]


def test_a_seeded_world_is_told_apart_by_its_chance_alone() -> None:
    """What the two-servers tests rest on: the same draws for the same seed, others for another."""
    world = Simulated(seed=1).world
    assert (
        replace(world, random=SeededRandom(1)).random.token_bytes(8)
        == SeededRandom(1).token_bytes(8)
        != SeededRandom(2).token_bytes(8)
    )
