"""Activations, releases and bundles: seats are counted, repeating is harmless, and what cannot be bound is not signed."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.vendor import DAY, NOW, Vendor, vendor
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.license import license_key
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests import licensing


def refused(made: Vendor, request: bytes) -> str:
    with pytest.raises(NotPermitted) as caught:
        made.answer(request)
    return str(caught.value.code)


def some(*names: str) -> dict[str, bytes]:
    return {name: signing.component(name) for name in names}


# ---- what is signed


def test_an_activation_binds_what_the_machine_showed(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    assert activation.jkt == signing.signer("server a").kid
    assert activation.bind.components == signing.COMPONENTS
    assert activation.bind.salt == signing.SALT
    assert activation.exp > made.bundle(issued).license.exp
    assert made.status(activation.status.idx) == 0


@pytest.mark.parametrize(
    ("names", "k", "p"),
    [
        (("machine_id", "root_fs_uuid", "agent_key", "dmi_product_uuid", "boot_disk", "cloud_instance_id"), 3, 1),
        (("machine_id", "agent_key", "boot_disk"), 2, 1),
        (("machine_id", "agent_key"), 1, 0),
        (("agent_key",), 1, 0),
    ],
)
def test_the_quorum_follows_from_what_is_there(tmp_path: Path, names: tuple[str, ...], k: int, p: int) -> None:
    made = vendor(tmp_path)
    activation = made.activate(made.issue(), components=some(*names))
    assert (activation.bind.k, activation.bind.p) == (k, p)


@pytest.mark.parametrize(
    ("min_p", "names", "code"),
    [
        (1, ("machine_id", "agent_key"), "binding_impossible"),
        (2, ("machine_id", "agent_key", "boot_disk"), "binding_impossible"),
        (4, ("dmi_product_uuid", "boot_disk", "cloud_instance_id"), "binding_impossible"),
        (0, (), "binding_impossible"),
        (0, ("machine_id", "hostname"), "not_permitted"),
    ],
)
def test_what_cannot_be_bound_takes_no_seat(tmp_path: Path, min_p: int, names: tuple[str, ...], code: str) -> None:
    made = vendor(tmp_path)
    issued = made.issue(min_p=min_p)
    assert refused(made, made.request(issued, RequestKind.ACTIVATION, components=some(*names))) == code
    with made.authority.store.transaction() as books:
        assert books.activations(issued.jti) == ()


# ---- seats


def test_the_same_request_has_the_same_answer_and_no_second_seat(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(seats=2)
    request = made.request(issued, RequestKind.ACTIVATION)
    first = made.answer(request)
    made.now += DAY
    assert made.answer(request) == first
    assert made.activate(issued, "server b").seat == 1
    assert made.answer(request) == first


def test_the_same_machine_keeps_its_seat(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(seats=2)
    other = made.activate(issued, "server b")
    first, second = made.activate(issued), made.activate(issued)
    assert (first.seat, second.seat) == (1, 1)
    assert [made.status(each.status.idx) for each in (first, second, other)] == [3, 0, 0]


def test_activating_elsewhere_supersedes_the_oldest(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(seats=2)
    taken = []
    for machine in ("server a", "server b", "server c"):
        made.now += 1
        taken.append(made.activate(issued, machine))
    assert [each.seat for each in taken] == [0, 1, 0]
    assert [made.status(each.status.idx) for each in taken] == [3, 0, 0]


def test_a_moved_activation_is_not_given_again(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    request = made.request(issued, RequestKind.ACTIVATION)
    made.answer(request)
    there = made.activate(issued, "server b")
    assert refused(made, request) == "superseded"
    assert made.status(there.status.idx) == 0


def test_a_license_moves_three_times_in_thirty_days(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    for machine in ("server a", "server b", "server a", "server b"):
        made.now += 60
        last = made.activate(issued, machine)
    assert refused(made, made.request(issued, RequestKind.ACTIVATION)) == "seats_taken"
    assert made.status(last.status.idx) == 0
    made.now += 30 * DAY
    made.activate(issued)


def test_a_release_frees_the_seat_and_is_no_move(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    for machine in ("server a", "server b", "server a", "server b", "server a", "server b"):
        there = made.activate(issued, machine)
        assert made.release(issued, machine) == {"schema": 1, "released": there.jti}
        assert made.status(there.status.idx) == 3


def test_an_old_release_does_not_free_what_was_taken_since(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    first = made.activate(issued)
    request = made.request(issued, RequestKind.RELEASE)
    reply = made.answer(request)
    again = made.activate(issued)
    assert made.answer(request) == reply
    assert [made.status(each.status.idx) for each in (first, again)] == [3, 0]


@pytest.mark.parametrize("kind", [RequestKind.RELEASE, RequestKind.RENEWAL])
def test_only_the_machine_itself_releases_and_renews(tmp_path: Path, kind: RequestKind) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    assert refused(made, made.request(issued, kind, "server b")) == "superseded"
    assert made.status(activation.status.idx) == 0


def test_a_license_without_activation_renews_for_who_has_the_key(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(activation=False)
    made.now += 340 * DAY
    assert made.renew(issued).activation is None


def test_a_renewal_is_given_again_and_never_twice(tmp_path: Path) -> None:
    """The reply was lost: the same bytes get the same edition."""
    made = vendor(tmp_path)
    issued = made.issue()
    made.activate(issued)
    made.now += 340 * DAY
    request = made.request(issued, RequestKind.RENEWAL)
    first = made.answer(request).body
    made.now += 2 * DAY
    assert made.answer(request).body == first
    assert made.answer(made.request(issued, RequestKind.RENEWAL)).body == first
    newest = first.decode().split()[-2].encode()
    asked = made.request(issued, RequestKind.RENEWAL, license_sha256=hashlib.sha256(newest).hexdigest())
    assert refused(made, asked) == "not_yet"


def test_who_was_moved_or_released_is_told_so_instead_of_a_renewal(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    made.activate(issued)
    made.activate(issued, "server b")
    made.now += 340 * DAY
    assert refused(made, made.request(issued, RequestKind.RENEWAL)) == "superseded"
    made.renew(issued, "server b")
    made.release(issued, "server b")
    assert refused(made, made.request(issued, RequestKind.RENEWAL, "server b")) == "superseded"


# ---- which license


def revoked(made: Vendor, issued: Issued) -> None:
    changes.change(made.authority, Change.REVOKE, issued.jti, now=made.now)


def suspended(made: Vendor, issued: Issued) -> None:
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=made.now)


def ended(made: Vendor, _issued: Issued) -> None:
    made.now += 365 * DAY


@pytest.mark.parametrize(("event", "code"), [(revoked, "revoked"), (ended, "expired"), (suspended, "suspended")])
def test_what_has_ended_is_not_activated(tmp_path: Path, event: Any, code: str) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    event(made, issued)
    assert refused(made, made.request(issued, RequestKind.ACTIVATION)) == code


def test_the_request_names_a_license_of_its_key(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued, other = made.issue(), made.issue()
    foreign = made.bundle(other).license.digest
    assert refused(made, made.request(issued, RequestKind.ACTIVATION, license_sha256=foreign)) == "not_permitted"


def test_an_edition_before_the_renewal_still_activates(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(activation=False)
    made.now += 340 * DAY
    made.renew(issued)
    made.answer(made.request(issued, RequestKind.ACTIVATION))


@pytest.mark.parametrize("kind", [kind for kind in RequestKind if kind is not RequestKind.RIGHTS])
def test_an_unknown_key_is_told(tmp_path: Path, kind: RequestKind) -> None:
    made = vendor(tmp_path)
    assert refused(made, made.request(made.issue(), kind, key_sha256="0" * 64)) == "key_unknown"


def test_a_key_has_its_bundle_as_often_as_needed(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    digest = license_key.digest(issued.key)
    assert [licensing.bundle(made.authority, digest, now=NOW).body for _ in range(3)] == [issued.text.encode()] * 3
    with pytest.raises(NotPermitted):
        licensing.bundle(made.authority, "0" * 64, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"schema":1}',
        b'{"schema":2,"key_sha256":"%s"}' % (b"a" * 64),
        b'{"schema":1,"key_sha256":"%s"}' % (b"A" * 64),
        b'{"schema":1,"key_sha256":"%s","hostname":"a"}' % (b"a" * 64),
        b'{"schema":true,"key_sha256":"%s"}' % (b"a" * 64),
    ],
)
def test_a_request_for_a_bundle_says_a_digest_and_nothing_else(body: bytes) -> None:
    with pytest.raises(Untrusted):
        licensing.key_of(body)
    assert licensing.key_of(b'{"schema":1,"key_sha256":"%s"}' % (b"a" * 64)) == "a" * 64


# ---- at once


def test_twelve_machines_at_once_get_three_seats(tmp_path: Path) -> None:
    """Each seat, status entry and list date is given once, whoever comes at the same moment."""
    made = vendor(tmp_path)
    issued = made.issue(seats=3)
    asked = [made.request(issued, RequestKind.ACTIVATION, f"server {number}") for number in range(12)]
    outcomes: list[object] = []

    def ask(request: bytes) -> None:
        try:
            outcomes.append(licensing.signed(made.authority, request, requests.verify(request), now=NOW))
        except AgentError as error:
            outcomes.append(str(error.code))

    threads = [threading.Thread(target=ask, args=[request]) for request in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("seats_taken") == 12 - 3 - licensing.MOVES
    with made.authority.store.transaction() as books:
        rows = books.activations(issued.jti)
    live = [row for row in rows if row.ended is None]
    assert sorted(row.seat for row in live) == [0, 1, 2]
    assert len({row.idx for row in rows}) == len(rows) == 3 + licensing.MOVES
