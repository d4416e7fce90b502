"""The bytes of today's files and frames: an agent must read what the one before it wrote, and the other way round.

Whoever changes a line here changes a format: that takes a new `schema`, or a field that may be absent.
"""

from dataclasses import replace

import pytest

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.consent import rights
from opanel_agent.core.consent.rights import RightsRequest
from opanel_agent.core.consent.withdrawals import (
    AgentRecord,
    Origin,
    OwnerRecord,
    Withdrawable,
    Withdrawal,
    decode,
    encode,
)
from opanel_agent.core.ledger.chain import ChainHead
from opanel_agent.core.license import effective_time, schedule
from opanel_agent.core.license.effective_time import ClockState
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.wire import mirror_probe
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.core.wire.mirror_probe import MirrorProbe
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

SCHEDULE = b'{"failures":2,"next_check_s":1,"not_before_s":3,"schema":1,"watching":true}'
AGREEING = b'{"allowance_s":93600,"boot_id":"b","boottime_s":2,"lifts":{"-k":3},"own_s":1,"schema":1}'
DISAGREEING = b'{"allowance_s":4,"boot_id":"b","boottime_s":2,"disagreed_s":5,"lifts":{},"own_s":1,"schema":1}'
RIGHTS = (
    b'{"requests":[{"answered_at":null,"at":1,"due":null,"id":"request-1","kind":"erase","license":true,'
    b'"reports":["report-a1","report-b2"],"sent_at":2,"sha256":"%(a)b"},{"answered_at":null,"at":1,"due":null,'
    b'"id":"request-2","kind":"access","license":false,"reports":[],"sent_at":null,"sha256":"%(b)b"}],"schema":1}'
) % {b"a": b"a" * 64, b"b": b"b" * 64}
BY_COMMAND = (
    b'{"ended":["00000000000000cd"],"schema":1,"withdrawals":[{"at":1,"by":"the withdrawing command","file_sha256":"%(a)b",'
    b'"grants":["%(b)b"],"id":"00000000000000ab","stands":true,"subject":"usage_statistics"}]}\n'
) % {b"a": b"a" * 64, b"b": b"b" * 64}
BY_PANEL = (
    b'{"given":{"crash_reports":["%(a)b"]},"recorded":["00000000000000ab"],"schema":1,"withdrawals":[{"at":2,'
    b'"by":"the panel","file_sha256":null,"grants":null,"id":"00000000000000cd","stands":true,'
    b'"subject":"do_not_track"}]}\n'
) % {b"a": b"a" * 64}
MIRRORS = (
    b'{"mirrors":[{"attempts":[{"address":"::1","outcome":"refused"}],"code":"c","detail":"d","failed":"tcp",'
    b'"passed":["dns"],"served_s":null,"url":"https://m","values":{"why":"w"}},{"attempts":[],"code":null,'
    b'"detail":null,"failed":null,"passed":[],"served_s":9,"url":"u","values":{}}],"schema":1}'
)
HEAD = b'{"schema":1,"seq":7,"sha256":"%b"}\n' % (b"c" * 64)
SEALED = (
    b'{"body_bytes":2,"headers":[["Host","u"]],"held_since":5,"id":"i","method":"POST","purpose":"p","reviewed":true,'
    b'"schema":1,"url":"https://u/"}\n{}'
)
REPLY = (
    b'{"body_bytes":1,"code":"c","detail":"d","headers":[["A","\xc3\xbcb"]],"ok":false,"retry_after_s":6,"schema":1,'
    b'"sent_head":"R0VU","status":429,"url":"https://u/","values":{"why":"w"}}\nx'
)


def members(data: bytes) -> Members:
    return Members(loads(data, max_bytes=4096), "file")


def test_schedule_json() -> None:
    value = Schedule(next_check_s=1, failures=2, not_before_s=3, watching=True)
    assert dumps(schedule.to_json(value)) == SCHEDULE
    assert schedule.from_json(members(SCHEDULE)) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (ClockState(own_s=1, boottime_s=2, boot_id="b", lifts={"-k": 3}), AGREEING),
        (ClockState(own_s=1, boottime_s=2, boot_id="b", allowance_s=4, disagreed_s=5), DISAGREEING),
    ],
)
def test_clock_json(value: ClockState, data: bytes) -> None:
    assert dumps(effective_time.to_json(value)) == data
    assert effective_time.from_json(members(data)) == value


def test_rights_json() -> None:
    first = RightsRequest(
        id="request-1",
        kind="erase",
        at=1,
        sha256="a" * 64,
        reports=frozenset({"report-b2", "report-a1"}),
        sent_at=2,
        license=True,
    )
    second = RightsRequest(id="request-2", kind="access", at=1, sha256="b" * 64, reports=frozenset())
    assert rights.encode([first, second]) == RIGHTS
    assert rights.decode(RIGHTS) == (first, second)
    assert rights.decode(RIGHTS.replace(b',"license":false', b"")) == (first, second)  # of an earlier version


def test_the_probes_of_mirrors() -> None:
    failed = MirrorProbe(
        url="https://m",
        code="c",
        detail="d",
        values={"why": "w"},
        passed=frozenset({Step.DNS}),
        failed=Step.TCP,
        attempts=(Attempt(address="::1", outcome=Outcome.REFUSED),),
    )
    probes = (failed, MirrorProbe(url="u", served_s=9))
    assert mirror_probe.encode(probes) == MIRRORS
    assert mirror_probe.decode(MIRRORS) == probes


def test_ledger_head() -> None:
    assert ChainHead(seq=7, digest="c" * 64).encode() == HEAD
    assert ChainHead.decode(HEAD) == ChainHead(seq=7, digest="c" * 64)


def test_a_sealed_request() -> None:
    value = Sealed(
        id="i",
        purpose="p",
        method="POST",
        url="https://u/",
        headers=(("Host", "u"),),
        body=b"{}",
        held_since=5,
        reviewed=True,
    )
    assert value.encode() == SEALED
    assert Sealed.decode(SEALED) == value


def test_a_reply() -> None:
    value = Reply(
        ok=False,
        code="c",
        detail="d",
        retry_after_s=6,
        status=429,
        url="https://u/",
        values={"why": "w"},
        headers=(("A", "\xfcb"),),
        sent_head=b"GET",
        body=b"x",
    )
    assert value.encode() == REPLY
    assert Reply.decode(REPLY) == value
    assert Reply.decode(REPLY.replace(b',"values":{"why":"w"}', b"")) == replace(
        value, values={}
    )  # of an earlier version


def test_the_record_of_withdrawals() -> None:
    by_command = Withdrawal(
        id="00000000000000ab",
        subject=Withdrawable.USAGE_STATISTICS,
        by=Origin.COMMAND,
        at=1,
        grants=("b" * 64,),
        file_sha256="a" * 64,
    )
    owner = OwnerRecord(withdrawals=(by_command,), ended=("00000000000000cd",))
    assert encode(owner) == BY_COMMAND
    assert decode(OwnerRecord, BY_COMMAND) == owner
    by_panel = Withdrawal(id="00000000000000cd", subject=Withdrawable.DO_NOT_TRACK, by=Origin.PANEL, at=2)
    agent = AgentRecord(withdrawals=(by_panel,), recorded=("00000000000000ab",), given={"crash_reports": ("a" * 64,)})
    assert encode(agent) == BY_PANEL
    assert decode(AgentRecord, BY_PANEL) == agent
