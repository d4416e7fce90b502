"""What a list said of an entry is remembered by the entry: no edition or license that comes and goes resets a count."""

from dataclasses import replace
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license import status_history
from opanel_agent.core.license.status_history import MAX_ROWS, Document, StatusRecord, StatusRecords
from opanel_agent.core.license.verdict import Sighting
from opanel_agent.evaluate.storage.state import AgentState

HOUR = 3600
NOW = signing.NOW
BUNDLE = signing.verified()
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}


def edition(jti: str = "license-1", *, idx: int = signing.LICENSE_IDX, key: str = signing.KEY, iat: int = NOW) -> bytes:
    claims: dict[str, Any] = {"jti": jti, "sub": key, "status": signing.status(idx), "iat": iat, "nbf": iat}
    return signing.lines(signing.delegation(), signing.license(activation=FREE, **claims))


def looked(
    rows: StatusRecords, entries: dict[int, int], *, at: int = NOW, bundle: Bundle | None = BUNDLE, **claims: Any
) -> StatusRecords:
    listed = signing.accepted_list(entries, **{"iat": at, "exp": NOW + 30 * signing.DAY, **claims})
    return status_history.record_list(rows, bundle, listed, at)


def entry(idx: int = signing.LICENSE_IDX) -> StatusRef:
    return StatusRef(idx=idx, uri=signing.STATUS_URI)


def row(idx: int, *, seen_at: int = NOW, **changes: Any) -> StatusRecord:
    sighting = Sighting(status=Status.REVOKED, first_iat=NOW, last_iat=NOW, seen_at=seen_at)
    return replace(StatusRecord(document=Document.LICENSE, entry=entry(idx), sighting=sighting), **changes)


def test_nothing_is_seen_where_all_is_well() -> None:
    assert looked((), {}) == ()
    assert not status_history.any_bad(())
    assert status_history.sighting_of((), Document.LICENSE) is None


@pytest.mark.parametrize(
    ("idx", "document"),
    [
        (signing.LICENSE_IDX, Document.LICENSE),
        (signing.ACTIVATION_IDX, Document.ACTIVATION),
        (signing.DELEGATION_IDX, Document.DELEGATION),
    ],
)
def test_each_document_begins_goes_on_and_is_forgotten(idx: int, document: Document) -> None:
    rows = looked((), {idx: 2})
    assert status_history.any_bad(rows)
    again = looked(rows, {idx: 2}, at=NOW + HOUR)
    assert status_history.sighting_of(again, document) == Sighting(
        status=Status.SUSPENDED, first_iat=NOW, last_iat=NOW + HOUR, seen_at=NOW
    )
    assert looked(again, {}, at=NOW + 2 * HOUR) == ()


def test_an_older_list_moves_nothing_back() -> None:
    rows = looked(looked((), {signing.LICENSE_IDX: 2}), {signing.LICENSE_IDX: 2}, at=NOW - HOUR)
    assert status_history.sighting_of(rows, Document.LICENSE) == Sighting(
        status=Status.SUSPENDED, first_iat=NOW, last_iat=NOW, seen_at=NOW
    )


def test_only_an_activation_keeps_its_beginning_when_it_is_bad_in_another_way() -> None:
    both = {signing.LICENSE_IDX: 2, signing.ACTIVATION_IDX: 3}
    worse = {signing.LICENSE_IDX: 1, signing.ACTIVATION_IDX: 1}
    rows = looked(looked((), both), worse, at=NOW + HOUR)
    license_, activation = (
        status_history.sighting_of(rows, Document.LICENSE),
        status_history.sighting_of(rows, Document.ACTIVATION),
    )
    assert license_ is not None
    assert activation is not None
    assert (license_.status, license_.seen_at) == (1, NOW + HOUR)
    assert (activation.status, activation.seen_at) == (1, NOW)


def test_what_lies_beyond_a_list_or_in_another_says_nothing() -> None:
    rows = looked((), {signing.LICENSE_IDX: 1})
    short: dict[str, Any] = {"status_list": {"bits": 2, "lst": signing.lst({}, size=8)}}
    assert looked(rows, {}, at=NOW + HOUR, **short) == rows
    foreign = (replace(rows[0], entry=StatusRef(idx=signing.LICENSE_IDX, uri="urn:another:list")),)
    assert looked(foreign, {}, at=NOW + HOUR) == foreign
    assert looked((), {}, **short) == ()


def test_an_entry_is_remembered_while_something_else_is_installed() -> None:
    other = signing.verified(edition("license-9", idx=900))
    rows = status_history.mark_installed(looked((), {signing.LICENSE_IDX: 1}), other)
    assert not status_history.any_bad(rows)
    assert status_history.sighting_of(rows, Document.LICENSE) is None
    rows = looked(rows, {signing.LICENSE_IDX: 1}, at=NOW + HOUR, bundle=other)
    back = status_history.mark_installed(rows, BUNDLE)
    assert status_history.sighting_of(back, Document.LICENSE) == Sighting(
        status=Status.REVOKED, first_iat=NOW, last_iat=NOW + HOUR, seen_at=NOW
    )
    assert looked(rows, {}, bundle=other) == ()


def test_what_is_installed_nowhere_is_still_looked_after() -> None:
    rows = status_history.mark_removed(looked((), {signing.LICENSE_IDX: 1}))
    assert not status_history.any_bad(rows)
    (kept,) = looked(rows, {signing.LICENSE_IDX: 1}, at=NOW + HOUR, bundle=None)
    assert (kept.installed, kept.sighting.seen_at, kept.sighting.last_iat) == (False, NOW, NOW + HOUR)


def test_of_a_chain_the_revoked_link_counts() -> None:
    suspended = row(
        2, document=Document.DELEGATION, sighting=Sighting(status=Status.SUSPENDED, first_iat=1, last_iat=1, seen_at=1)
    )
    revoked = row(3, document=Document.DELEGATION)
    assert status_history.sighting_of((suspended, revoked), Document.DELEGATION) == revoked.sighting
    assert status_history.sighting_of((suspended,), Document.DELEGATION) == suspended.sighting


def test_those_of_what_is_installed_are_dropped_last() -> None:
    many = tuple(row(1000 + number, seen_at=NOW + number, installed=False) for number in range(MAX_ROWS))
    entries = {1000 + number: 1 for number in range(MAX_ROWS)} | {signing.LICENSE_IDX: 1}
    rows = looked(many, entries)
    assert len(rows) == MAX_ROWS
    assert rows[0].entry == entry()
    assert entry(1000) not in {each.entry for each in rows}, "the one that began first"


# ---- what an earlier version remembered


def test_rows_of_an_earlier_version_move_to_their_entry() -> None:
    old = row(0, entry=None, jti=BUNDLE.license.jti)
    stranger = row(0, entry=None, jti="license-of-another")
    rows = status_history.mark_installed((old, stranger), BUNDLE)
    assert rows == (replace(old, entry=entry(), jti=None), replace(stranger, installed=False))
    assert looked(rows, {signing.LICENSE_IDX: 1})[0].sighting.seen_at == NOW
    known = row(signing.LICENSE_IDX)
    assert status_history.mark_installed((known, old), BUNDLE) == (known,)


def old_state(agent: Simulated) -> None:
    """state.json as the version before this one wrote it: by document, with the jti of the one installed."""
    state_json = loads(agent.files.read(PATHS.state, max_bytes=10**6) or b"", max_bytes=10**6)
    assert isinstance(state_json, dict)
    rows = state_json["seen"]
    assert isinstance(rows, list)
    numbers = {name: rows[0][name] for name in ("status", "first_iat", "last_iat", "seen_at")}  # type: ignore[call-overload, index]
    state_json["seen"] = {"license": {"jti": "license-1", **numbers}}
    agent.files.put(PATHS.state, dumps(state_json))


def test_an_upgrade_begins_no_count_anew() -> None:
    agent = Simulated()
    agent.install(edition())
    agent.publish({signing.LICENSE_IDX: 1})
    until = agent.run("refresh")["answer"]["license"]["until"]
    agent.clock.advance(HOUR)
    old_state(agent)
    assert agent.license()["until"] == until
    assert agent.files.entry(PATHS.state.with_name("state.json.broken")) is None
    agent.install(edition("license-2", iat=NOW + 1))
    assert agent.license()["until"] == until


def test_an_upgrade_while_the_license_is_unreadable_neither() -> None:
    agent = Simulated()
    agent.install(edition())
    agent.publish({signing.LICENSE_IDX: 1})
    agent.run("refresh")
    old_state(agent)
    agent.files.put(PATHS.bundle, b"rot", owner=0, mode=0o600)
    agent.clock.advance(72 * HOUR)
    assert agent.license()["state"] == "revoked"


@pytest.mark.parametrize("what", [{"document": "root"}, {"status": 0}, {"idx": "1"}, {"uri": 1}, {"more": 1}])
def test_a_memory_that_is_not_ours_is_refused(what: dict[str, Any]) -> None:
    written = AgentState(seen=(row(7),)).encode()
    assert AgentState.decode(written).seen == (row(7),)
    state_json = loads(written, max_bytes=10**5)
    assert isinstance(state_json, dict)
    state_json["seen"][0] |= what  # type: ignore[index, operator]
    with pytest.raises(Untrusted):
        AgentState.decode(dumps(state_json))


# ---- nobody gains time by what he installs


def test_toggling_two_editions_of_a_revoked_license_resets_nothing() -> None:
    agent = Simulated()
    agent.install(edition())
    agent.publish({signing.LICENSE_IDX: 1})
    first = agent.run("refresh")["answer"]["license"]
    assert (first["state"], first["until"]) == ("grace", NOW + 72 * HOUR)
    for number in range(1, 8):
        agent.clock.advance(10 * HOUR)
        license_ = agent.install(edition(f"license-{1 + number % 2}", iat=NOW + number % 2))["answer"]["license"]
        assert (license_["state"], license_["until"]) == ("grace", first["until"]), number
    agent.clock.advance(2 * HOUR)
    assert agent.license()["state"] == "revoked"


def test_toggling_two_licenses_that_are_both_revoked_resets_nothing() -> None:
    agent = Simulated()
    texts = [edition(), edition("license-9", idx=900)]
    agent.publish({signing.LICENSE_IDX: 1, 900: 1})
    agent.run("refresh")
    states = []
    for number in range(20):
        states.append(agent.install(texts[number % 2])["answer"]["license"]["state"])
        agent.clock.advance(10 * HOUR)
    assert states[:8] == ["grace"] * 8
    assert set(states[9:]) == {"revoked"}


def test_a_good_license_beside_a_revoked_one_is_good_at_once() -> None:
    agent = Simulated()
    agent.install(edition())
    agent.publish({signing.LICENSE_IDX: 1})
    agent.run("refresh")
    agent.clock.advance(73 * HOUR)
    assert agent.license()["state"] == "revoked"
    frame = agent.install(edition("license-9", idx=900))
    assert frame["answer"]["license"]["reasons"] == ["ok"]
    agent.publish({signing.LICENSE_IDX: 1})
    assert agent.run("refresh")["next_run_s"] > 900, "what is not installed is not watched"
