"""The bytes of state.json: an update of the agent reads what the version before wrote, and writes the same again."""

import pytest

from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.license.states import State
from opanel_agent.evaluate.storage.state import AgentState

FULL = AgentState(
    version="0.1.0",
    clone_of="a" * 64,
    consent_sha256="b" * 64,
    consent_stamp="7.1.2",
    quiet_until=1,
    quiet_but="license_status",
    unmatched_since=2,
    refused_since=3,
    state=State.ACTIVE,
    state_since=4,
    checked_at=5,
    list_iat=6,
    ledger_seq=7,
    failure="unreachable_tcp",
    answers={"usage_statistics": "given"},
    signals=["existence in /etc/do-not-track"],
    identity={"machine_id": "c" * 64},
    reports={"usage_statistics": 8},
    retries={"crash_reports": 9},
    accepted={"d" * 64: 10},
    floors={"1kid": 11, "1kid/9": 14},
    shard_iats={"9": 15},
    adopted=["e" * 64],
    warnings=["w"],
    logged=["f" * 64],
    renewal=Plan(license="0" * 64, next_s=12, asked_at=13, failure="not_yet"),
)
WRITTEN = (
    b'{"accepted":{"' + b"d" * 64 + b'":10},"adopted":["' + b"e" * 64 + b'"],"answers":{"usage_statistics":"given"},'
    b'"checked_at":5,"clone_of":"' + b"a" * 64 + b'","consent_sha256":"' + b"b" * 64 + b'","consent_stamp":"7.1.2",'
    b'"failure":"unreachable_tcp",'
    b'"floors":{"1kid":11,"1kid/9":14},"identity":{"machine_id":"' + b"c" * 64 + b'"},"ledger_seq":7,"list_iat":6,'
    b'"quiet_but":"license_status","quiet_until":1,"refused_since":3,'
    b'"renewal":{"asked_at":13,"failure":"not_yet","license":"' + b"0" * 64 + b'","next_s":12},'
    b'"reports":{"usage_statistics":8},"retries":{"crash_reports":9},"schema":1,"seen":[],"shard_iats":{"9":15},'
    b'"signals":["existence in /etc/do-not-track"],"state":"active","state_since":4,"told":["' + b"f" * 64 + b'"],'
    b'"unmatched_since":2,"version":"0.1.0","warnings":["w"]}'
)
LATER = ("consent_stamp", "list_iat", "ledger_seq", "told", "renewal", "shard_iats")


def test_the_bytes_on_disk_are_these() -> None:
    assert FULL.encode() == WRITTEN


def test_what_was_written_is_read_back_equal() -> None:
    assert AgentState.decode(WRITTEN) == FULL
    assert AgentState.decode(AgentState().encode()) == AgentState()


@pytest.mark.parametrize("name", LATER)
def test_a_member_that_the_first_files_had_not_may_be_missing(name: str) -> None:
    members = loads(WRITTEN, max_bytes=10**6)
    assert isinstance(members, dict)
    del members[name]
    assert AgentState.decode(dumps(members)).version == "0.1.0"


@pytest.mark.parametrize("name", ["version", "accepted", "signals", "seen", "state"])
def test_any_other_member_may_not(name: str) -> None:
    members = loads(WRITTEN, max_bytes=10**6)
    assert isinstance(members, dict)
    del members[name]
    with pytest.raises(Untrusted):
        AgentState.decode(dumps(members))
