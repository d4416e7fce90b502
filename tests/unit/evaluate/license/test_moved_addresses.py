"""Mirrors and endpoints change by the next root: evaluate, fetch and courier follow it together, over many steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures.authority.customer import Customer, activated, connect
from fixtures.authority.vendor import URL, Vendor, stranger, vendor
from fixtures.simulated.simulated_agent import PATHS
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.root import Destination
from opanel_agent.core.errors import Storage
from opanel_agent.network import fetch
from opanel_agent.system.storage import trust
from opanel_authority.documents.keys import Role
from opanel_authority.documents.rotate import Rotated, Rotation, rotate


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


@pytest.fixture
def customer(made: Vendor) -> Customer:
    return activated(made)


def place(port: int) -> tuple[Destination, ...]:
    return (Destination(url=f"http://127.0.0.1:{port}", region="tr"),)


def move(made: Vendor, *, mirror: int | None = None, authority: int | None = None, role: Role | None = None) -> Rotated:
    asked = Rotation(
        role=role,
        root_keys=made.authority.directory / "keys",
        mirrors=() if mirror is None else place(mirror),
        authority=() if authority is None else place(authority),
    )
    return rotate(made.authority, asked, now=made.now)


def asked_since(customer: Customer, count: int) -> set[tuple[str, int | None]]:
    return {(each.method, urlsplit(each.url).port) for each in customer.agent.network.sent[count:]}


def test_an_agent_follows_a_service_that_moves_again_and_again(made: Vendor, customer: Customer) -> None:
    network, before = customer.agent.network, URL
    for port, role in ((9001, None), (9002, Role.ROOT), (9003, Role.STATUS), (9004, Role.ACTIVATION)):
        connect(customer.agent, made, url=f"http://127.0.0.1:{port}")
        done = move(made, mirror=port, authority=port, role=role)
        assert customer.check()["reasons"] == ["ok"], "it learns at the old address where the new one is"
        network.close(before)
        before = f"http://127.0.0.1:{port}"
        count = len(network.sent)
        assert customer.check()["reasons"] == ["ok"]
        customer.install(made.issue().text)
        assert customer.agent.run("activate")["ok"]
        assert asked_since(customer, count) == {("GET", port), ("POST", port)}
        assert customer.agent.run("tick")["answer"]["root"]["seq"] == done.root.seq
    assert customer.days(3)["reasons"] == ["ok"]


def test_who_slept_through_all_moves_catches_up_in_one_check(made: Vendor, customer: Customer) -> None:
    for port in (9001, 9002, 9003):
        move(made, mirror=port, authority=port)
    connect(customer.agent, made, url="http://127.0.0.1:9003")
    count = len(customer.agent.network.sent)
    assert customer.check()["reasons"] == ["ok"]
    assert asked_since(customer, count) == {("GET", 8470), ("GET", 9003)}, "the roots there, and the list here"


def test_mirrors_may_move_without_the_authority(made: Vendor, customer: Customer) -> None:
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    move(made, mirror=9001)
    customer.check()
    count = len(customer.agent.network.sent)
    customer.check()
    assert customer.agent.run("activate")["ok"]
    assert asked_since(customer, count) == {("GET", 9001), ("POST", 8470)}


def test_an_address_that_only_the_administrator_named_stays(made: Vendor, customer: Customer) -> None:
    files = customer.agent.files
    settings = files.read(PATHS.settings, max_bytes=10**4) or b""
    files.put(PATHS.settings, settings + b'mirrors = ["http://127.0.0.1:9009"]\n')
    connect(customer.agent, made, url="http://127.0.0.1:9009")
    customer.agent.network.close(URL)
    move(made, mirror=9001, authority=9001)
    customer.check()
    count = len(customer.agent.network.sent)
    customer.check()
    assert asked_since(customer, count) == {("GET", 9001), ("GET", 9009)}


def test_the_copy_is_read_by_all_and_goes_with_the_roots(made: Vendor, customer: Customer) -> None:
    files = customer.agent.files
    assert not files.exists(PATHS.shared_roots)
    move(made, mirror=9001)
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    customer.check()
    assert files.read(PATHS.shared_roots, max_bytes=10**6) == files.read(PATHS.roots, max_bytes=10**6)
    entry = files.entry(PATHS.shared_roots)
    assert entry is not None
    assert entry.mode == 0o644
    files.put(PATHS.shared_roots, b"of another authority")
    files.remove(PATHS.roots)
    customer.agent.run("tick")
    assert not files.exists(PATHS.shared_roots)


LOSSES: Mapping[str, dict[str, Any] | None] = {
    "lost": None,
    "damaged": {"data": b"rot"},
    "no file": {"kind": "dir"},
    "of a backup": {"data": b""},
}


@pytest.mark.parametrize("full", [False, True], ids=["room", "no room"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_roots_that_are_lost_begin_anew_from_their_copy(
    made: Vendor, customer: Customer, loss: dict[str, Any] | None, *, full: bool
) -> None:
    """Else the license, whose keys only the newest root names, would be refused until a mirror answers."""
    files, network = customer.agent.files, customer.agent.network
    move(made, mirror=9001, role=Role.STATUS)
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    customer.check()
    kept = files.read(PATHS.roots, max_bytes=10**6)

    def fault(step: str, path: Path) -> None:
        if full and step in ("create", "write", "rename") and path.name == PATHS.roots.name:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path), errno="ENOSPC")

    files.remove(PATHS.roots)
    if loss is not None:
        files.put(PATHS.roots, **loss)
    files.fault = fault
    for url in (URL, "http://127.0.0.1:9001"):
        network.close(url)
    for _ in range(2):
        answer = customer.agent.run("start")["answer"]
        assert (answer["root"]["seq"], answer["license"]["state"]) == (2, "active")
        assert files.read(PATHS.shared_roots, max_bytes=10**6) == kept
    files.fault = None
    customer.agent.run("start")
    assert files.read(PATHS.roots, max_bytes=10**6) == kept


@pytest.mark.parametrize("damage", [b"x", b"", b"forged"])
def test_a_copy_that_does_not_follow_asks_nobody_and_is_mended_by_the_next_pass(
    made: Vendor, customer: Customer, tmp_path: Path, damage: bytes
) -> None:
    files, network = customer.agent.files, customer.agent.network
    move(made, mirror=9001)
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    customer.check()
    if damage == b"forged":
        other = stranger(tmp_path / "stranger")
        damage = move(other, mirror=9999).root.lines
    files.put(PATHS.shared_roots, damage)
    count = len(network.sent)
    reply = fetch.answer(b"status\n", customer.agent.outlet.reading)
    assert (reply.ok, len(network.sent)) == (False, count)
    assert customer.check()["reasons"] == ["ok"]
    assert asked_since(customer, count) == {("GET", 9001)}


def test_a_disk_without_room_for_the_copy_stops_no_pass(
    made: Vendor, customer: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    files = customer.agent.files

    def full(step: str, path: Path) -> None:
        if step == "create" and path == PATHS.shared_roots:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path), errno="ENOSPC")

    move(made, mirror=9001, authority=9001)
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    files.fault, count = full, len(customer.agent.network.sent)
    assert customer.check()["reasons"] == ["ok"]
    assert asked_since(customer, count) == {("GET", 8470)}, "it goes on asking where it did"
    assert "event=state_not_saved" in capsys.readouterr().err
    files.fault = None
    customer.check()
    assert trust.shared_root(files, PATHS, customer.agent.outlet.reading.settings).seq == 2


def test_what_is_no_file_in_the_place_of_the_copy_is_put_aside(made: Vendor, customer: Customer) -> None:
    files = customer.agent.files
    files.put(PATHS.shared_roots, bytes(trust.MAX_ROOTS_BYTES + 1))
    move(made, mirror=9001)
    connect(customer.agent, made, url="http://127.0.0.1:9001")
    customer.check()
    assert files.exists(PATHS.shared_roots.with_name("roots.jws.broken"))
    assert trust.shared_root(files, PATHS, customer.agent.outlet.reading.settings).seq == 2
