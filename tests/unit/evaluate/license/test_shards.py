"""A license among ten million: its shard of the status list is fetched, judged, kept, and told from every other."""

from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.customer import Customer
from fixtures.authority.vendor import DAY, NOW, URL, Vendor, vendor
from fixtures.simulated.simulated_agent import PATHS, ROOTS_URL, STATUS_URL, Simulated
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.status_list import SHARD_ENTRIES
from opanel_agent.evaluate.storage.state import AgentState
from opanel_authority.documents import delegate, issue, publish
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change

LIST = "application/statuslist+jwt"
SHARD_URI = "urn:example:status/9.jwt"
SHARD_URL = signing.MIRROR + "/v1/status/9.jwt"
FAR = 9 * SHARD_ENTRIES + 100


def ten_millionth(made: Vendor) -> Issued:
    """Sold by a reseller whose entries begin at ten million."""
    with made.authority.store.transaction() as books:
        books.new_range("everybody before", 10_000_000 - books.reserved_entries())
    terms = DelegationTerms(name="Late", email="a@b.example")
    delegate.delegate(made.authority, terms, made.authority.directory.parent / "late", now=made.now)
    return issue.issue(made.authority, "Late", LicenseTerms(), now=made.now)


def test_the_ten_millionth_license_is_suspended_by_its_own_shard(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = ten_millionth(made)
    customer = Customer(made)
    customer.install(issued.text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]
    gets = {sealed.url for sealed in customer.agent.network.sent if sealed.method == "GET"}
    assert {URL + path for path in ("/v1/roots.jws", "/v1/status.jwt", "/v1/status/9.jwt")} <= gets
    assert len(gets) == 4, "and the advisories: no other shard's"
    changes.change(made.authority, Change.SUSPEND, issued.jti, now=made.now)
    license_ = customer.check()
    assert (license_["state"], license_["reasons"][0]) == ("grace", "suspended")
    customer.agent.clock.advance(2 * 3600)
    assert customer.check()["state"] == "suspended"
    changes.change(made.authority, Change.RESUME, issued.jti, now=made.now)
    assert customer.check()["state"] == "active"


def test_a_shards_list_is_the_same_for_everybody_in_it_and_small(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    ten_millionth(made)
    first = publish.current_status_list(made.authority, 9, now=made.now)
    assert publish.current_status_list(made.authority, 9, now=made.now) == first
    assert len(first) < 1024
    assert publish.served_status_list(made.authority, 10, now=made.now) is None


@pytest.fixture
def agent() -> Simulated:
    """One whose license is in shard 9, and both lists say nothing bad."""
    made = Simulated()
    serve(made, {})
    made.install(in_shard_9())
    return made


def in_shard_9() -> bytes:
    wide = signing.delegation(may=signing.may(status_range=[0, 64 * SHARD_ENTRIES]))
    unbound = {"min_p": 0, "required": False, "seats": 1, "within_days": 7}
    return signing.lines(wide, signing.license(status=signing.status(100, SHARD_URI), activation=unbound))


def serve(made: Simulated, entries: dict[int, int], **claims: Any) -> None:
    dates = {"iat": made.clock.wall_s, "exp": made.clock.wall_s + 7 * DAY}
    made.network.serve(SHARD_URL, signing.status_list(entries, **{"sub": SHARD_URI, **dates, **claims}), LIST)


def asked(made: Simulated) -> dict[str, str | None]:
    return {each["url"]: each["code"] for each in made.run("refresh")["result"]["asked"]}


@pytest.mark.parametrize("sub", [signing.STATUS_URI, "urn:example:status/8.jwt"])
def test_another_shards_list_in_its_place_is_refused(agent: Simulated, sub: str) -> None:
    serve(agent, {}, sub=sub)
    assert asked(agent) == {ROOTS_URL: None, STATUS_URL: None, SHARD_URL: "chain_invalid"}
    assert agent.license()["last_success"] is None
    serve(agent, {100: 2})
    assert asked(agent)[SHARD_URL] is None
    assert agent.license()["state"] == "grace"


def test_an_entry_with_its_index_in_another_shard_is_not_its_own(agent: Simulated) -> None:
    agent.publish({100: 1})
    assert set(asked(agent).values()) == {None}
    assert agent.license()["reasons"] == ["ok"]


def test_an_older_list_of_its_shard_is_refused_and_a_newer_of_another_is_no_floor(agent: Simulated) -> None:
    serve(agent, {100: 2})
    assert asked(agent)[SHARD_URL] is None
    old, agent.clock.wall_s = agent.clock.wall_s, agent.clock.wall_s
    agent.clock.advance(DAY)
    agent.publish({})
    serve(agent, {}, iat=old - 1)
    assert asked(agent) == {ROOTS_URL: None, STATUS_URL: None, SHARD_URL: "chain_invalid"}
    serve(agent, {100: 2}, iat=old + 1)
    assert asked(agent)[SHARD_URL] is None, "although the first shard's is dated later"


def test_to_keep_one_list_away_gains_nothing(agent: Simulated) -> None:
    """The license has 30 days without a list: the oldest of both counts, and a lost file changes nothing."""
    assert set(asked(agent).values()) == {None}
    agent.network.serve(SHARD_URL, b"", LIST)
    agent.clock.advance(31 * DAY)
    agent.publish({})
    assert asked(agent)[SHARD_URL] is not None
    assert agent.license()["reasons"][0] == "status_stale"
    agent.files.remove(PATHS.status_shard(9))
    assert asked(agent)[STATUS_URL] is None
    assert agent.license()["reasons"][0] == "status_stale"


def test_lost_state_begins_no_count_anew_before_every_list_was_seen(agent: Simulated) -> None:
    """A revoked one counts from its issue once state.json is gone, whichever list comes first."""
    serve(agent, {100: 1})
    agent.files.remove(PATHS.state)
    agent.network.serve(SHARD_URL, b"", LIST)
    assert asked(agent)[STATUS_URL] is None
    serve(agent, {100: 1})
    assert asked(agent)[SHARD_URL] is None
    assert agent.license()["state"] == "revoked"


def test_a_list_that_came_by_hand_before_its_license_is_kept(agent: Simulated) -> None:
    bare = Simulated()
    bare.files.put(PATHS.import_dir / "status.jwt", signing.status_list({}))
    bare.files.put(PATHS.import_dir / "status-9.jwt", signing.status_list({100: 2}, sub=SHARD_URI))
    bare.run("tick")
    assert bare.files.read(PATHS.status_shard(9), max_bytes=10**6)
    bare.install(in_shard_9())
    bare.run("tick")
    assert bare.license()["reasons"][0] == "suspended"


def test_a_license_of_before_is_judged_by_the_state_of_before() -> None:
    """The names of the files and of the floors of the first shard are as they were."""
    made = Simulated()
    made.install(signing.bundle())
    made.run("refresh")
    state = AgentState.decode(made.files.read(PATHS.state, max_bytes=10**6) or b"")
    assert (PATHS.status_shard(0).name, *state.floors) == ("status-list.jwt", signing.STATUS.kid)
    assert b"shard_iats" not in state.encode()
    assert bundles.shards(
        bundles.verify(signing.bundle(), signing.trusted_root(), now=None), signing.trusted_root()
    ) == (0,)
    assert NOW == signing.NOW
