"""The status list: what changed is in the very next list, every list is newer than the last, and anyone can read it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.authority.vendor import DAY, NOW, vendor
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import SHARD_ENTRIES, StatusList
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.authority import Authority
from opanel_authority.books.status_allocation import VENDOR, VENDOR_POOL
from opanel_authority.documents import publish
from opanel_authority.documents.publish import LIFETIME_S, TTL_S
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change


def current(authority: Authority, now: int) -> StatusList:
    token = publish.current_status_list(authority, now=now)
    return status_list.accept(token, authority.root, floor={}, now=now)


def test_an_empty_list_has_a_decent_size(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    served = current(made.authority, NOW)
    assert len(served.statuses) == SHARD_ENTRIES
    assert not any(served.statuses.data)
    # What docs/authority.md and README.md say.
    assert 800 < len(publish.current_status_list(made.authority, now=NOW)) < 1000
    assert (served.ttl, served.exp - served.iat) == (TTL_S, LIFETIME_S)


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 3), max_size=40))
def test_the_agents_decoder_reads_what_was_packed(entries: dict[int, int]) -> None:
    bits = bytearray(64)
    for idx, status in entries.items():
        bits[idx // 4] |= status << 2 * (idx % 4)
    statuses = status_list.decode(2, publish.pack(bytes(bits)), 1024)
    assert [statuses.at(idx) for idx in range(256)] == [entries.get(idx, 0) for idx in range(256)]


def test_a_slot_is_never_two_licenses(tmp_path: Path) -> None:
    """To revoke, issue and resume would sell more than the delegation has."""
    made = vendor(tmp_path, slots=1)
    first = made.issue()
    changes.change(made.authority, Change.REVOKE, first.jti, now=NOW)
    second = made.issue()
    assert made.bundle(first).license.slot == made.bundle(second).license.slot
    with pytest.raises(NotPermitted, match="slot_given_away"):
        changes.change(made.authority, Change.RESUME, first.jti, now=NOW)
    changes.change(made.authority, Change.SUSPEND, second.jti, now=NOW)
    with pytest.raises(NotPermitted, match="slot_given_away"):
        changes.change(made.authority, Change.RESUME, first.jti, now=NOW)
    changes.change(made.authority, Change.REVOKE, second.jti, now=NOW)
    changes.change(made.authority, Change.RESUME, first.jti, now=NOW)
    assert made.status(made.bundle(first).license.status.idx) == 0


def test_suspending_and_resuming_publish_at_once(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued, other = made.issue(), made.issue()
    idx, others = (made.bundle(each).license.status.idx for each in (issued, other))
    statuses = [made.status(idx)]
    for change in (Change.SUSPEND, Change.RESUME, Change.REVOKE, Change.RESUME):
        changes.change(made.authority, change, issued.jti, now=NOW)
        statuses.append(made.status(idx))
    assert statuses == [0, 2, 0, 1, 0]
    assert made.status(others) == 0


def test_a_delegation_can_be_revoked(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    delegation = made.bundle(made.issue()).delegations[0]
    changes.change(made.authority, Change.REVOKE, delegation.jti, now=NOW)
    assert made.status(delegation.status.idx) == 1


def test_a_superseded_activation_frees_its_seat(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    changes.change(made.authority, Change.SUPERSEDE, activation.jti, now=NOW)
    changes.change(made.authority, Change.SUPERSEDE, activation.jti, now=NOW)
    assert made.status(activation.status.idx) == 3
    assert made.activate(issued, "server b").seat == activation.seat


@pytest.mark.parametrize("change", list(Change))
@pytest.mark.parametrize("kind", ["license", "delegation", "activation"])
def test_only_what_the_table_says_can_change(tmp_path: Path, change: Change, kind: str) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    activation = made.activate(issued)
    bundle = made.bundle(issued)
    documents: dict[str, License | Delegation | Activation] = {
        "license": bundle.license,
        "delegation": bundle.delegations[0],
        "activation": activation,
    }
    document = documents[kind]
    allowed = {
        "license": {Change.SUSPEND, Change.RESUME, Change.REVOKE},
        "delegation": {Change.REVOKE, Change.RESUME},
        "activation": {Change.SUPERSEDE},
    }[kind]
    if change in allowed:
        changes.change(made.authority, change, document.jti, now=NOW)
    else:
        with pytest.raises(NotPermitted):
            changes.change(made.authority, change, document.jti, now=NOW)
        assert made.status(document.status.idx) == 0


def test_a_revoked_license_is_not_merely_suspended(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    changes.change(made.authority, Change.REVOKE, issued.jti, now=NOW)
    with pytest.raises(NotPermitted):
        changes.change(made.authority, Change.SUSPEND, issued.jti, now=NOW)
    assert made.status(made.bundle(issued).license.status.idx) == 1


def test_an_unknown_id_changes_nothing(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    before = publish.current_status_list(made.authority, now=NOW)
    with pytest.raises(Usage):
        changes.change(made.authority, Change.REVOKE, "nobody", now=NOW)
    assert publish.current_status_list(made.authority, now=NOW) == before


def test_every_list_is_newer_whatever_the_clock_does(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    dates = [current(made.authority, NOW).iat]
    for now in (NOW, NOW, NOW - 200, NOW + 1, NOW + DAY):
        changes.change(made.authority, Change.SUSPEND, issued.jti, now=now)
        dates.append(current(made.authority, now).iat)
    assert dates == sorted(set(dates))
    assert dates[-1] == NOW + DAY


def test_the_same_bytes_until_they_are_old(tmp_path: Path) -> None:
    authority = vendor(tmp_path).authority
    first = publish.current_status_list(authority, now=NOW)
    assert publish.current_status_list(authority, now=NOW + TTL_S - 1) == first
    second = publish.current_status_list(authority, now=NOW + TTL_S)
    assert second != first
    assert current(authority, NOW + TTL_S).iat == NOW + TTL_S


def test_a_full_range_of_the_vendor_grows_the_list(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    with made.authority.store.transaction() as books:
        drawn = {books.draw(VENDOR, NOW) for _ in range(200)}
    assert max(drawn) < VENDOR_POOL
    with made.authority.store.transaction() as books:
        books._connection.exec_driver_sql("UPDATE pools SET drawn = \"end\" - first WHERE owner = 'vendor'")
    idx = made.activate(issued).status.idx
    assert idx >= VENDOR_POOL + (1 << 14)
    assert made.status(idx) == 0


def test_the_static_files_are_what_is_served(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    files = publish.publish(made.authority, tmp_path / "www", now=NOW)
    assert [path.relative_to(tmp_path / "www").as_posix() for path in files] == [
        "v1/status.jwt",
        "v1/roots.jws",
        "v1/advisories.jws",
    ]
    assert files[0].read_bytes() == publish.current_status_list(made.authority, now=NOW)
    assert roots.walk(made.authority.root, files[1].read_bytes()) == made.authority.root
    publish.publish(made.authority, tmp_path / "www", now=NOW + TTL_S)
    again = status_list.accept(files[0].read_bytes(), made.authority.root, floor={}, now=NOW)
    assert again.iat == NOW + TTL_S
