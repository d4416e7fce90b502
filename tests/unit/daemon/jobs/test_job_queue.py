"""What the daemon wants done and when, as values: queue, joins, frames, back-off."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from opanel_agent.core.codes import Fault
from opanel_agent.core.commands import NARROWED, Route, Who
from opanel_agent.core.errors import AgentError, Bug
from opanel_agent.daemon.api import Peer, Response, Start
from opanel_agent.daemon.connection import Connection, Phase, Timeouts
from opanel_agent.daemon.jobs.job_process import JobResult
from opanel_agent.daemon.jobs.job_queue import TICK, JobEffects, JobQueue, RetryPolicy, stopping
from opanel_agent.daemon.jobs.job_queue import consent_changed as job_narrowed
from opanel_agent.daemon.reporter import Reporter

OWNER = 1000
GOOD_FOR_S = 7 * 86_400


def frame(**changes: Any) -> dict[str, Any]:
    answer = {
        "schema": 1,
        "license": {
            "schema": 1,
            "state": "grace",
            "reasons": ["suspended", "root_old"],
            "as_of": 0,
            "good_until": GOOD_FOR_S,
        },
        "consent": {"asked": []},
    }
    return {"schema": 1, "ok": True, "error": None, "answer": answer, "next_run_s": 100, "result": 7} | changes


def ended(output: Any = None, error: AgentError | None = None) -> JobResult:
    return JobResult(output=output if isinstance(output, bytes) else json.dumps(output).encode(), error=error)


def connection(*, owner: bool = False) -> Connection:
    return Connection(Peer(uid=OWNER if owner else 33, owner=owner), Timeouts(), 0)


def post(work: JobQueue, path: str, asker: Connection, now_s: float, body: bytes = b"") -> Response | None:
    route = work.admit("POST", path, asker.peer, now_s)
    return work.take(route, body, asker, now_s) if isinstance(route, Route) else route


def get(work: JobQueue, path: str, now_s: float = 0) -> Response:
    asker = connection()
    route = work.admit("GET", path, asker.peer, now_s)
    assert isinstance(route, Route)
    response = work.take(route, b"", asker, now_s)
    assert response is not None
    return response


def begun(queued_max: int = 8) -> JobQueue:
    """A queue whose routine is not due for an hour."""
    work = JobQueue(RetryPolicy(queued_max=queued_max), OWNER)
    run(work, 0, ended(frame(next_run_s=3600)))
    return work


def run(work: JobQueue, now_s: float, outcome: JobResult | None = None) -> JobEffects:
    assert work.next_task(now_s) is not None
    return work.finished(outcome or ended(frame()), now_s)


def intents(work: JobQueue, now_s: float) -> list[str]:
    """Runs everything that waits."""
    seen = []
    while (task := work.next_task(now_s)) is not None:
        seen.append(task.start.intent)
        work.finished(ended(frame()), now_s)
    return seen


@pytest.mark.parametrize(("uid", "owner"), [(0, True), (OWNER, True), (33, False), (65534, False)])
def test_who_is_the_owner(uid: int, owner: bool) -> None:
    assert JobQueue(RetryPolicy(), OWNER).peer(uid).owner is owner


def test_a_start_at_once_and_then_a_tick_when_evaluate_said() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    assert intents(work, 10) == ["start"]
    assert work.due_s() == 110
    assert work.next_task(109) is None
    assert intents(work, 110) == ["tick"]


@pytest.mark.parametrize(("next_run_s", "due_s"), [(0, 1), (-5, 1), (86_400, 86_400), (10**12, 86_400)])
def test_evaluate_is_asked_within_a_day_and_not_in_a_circle(next_run_s: int, due_s: int) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, ended(frame(next_run_s=next_run_s)))
    assert work.due_s() == due_s


def test_one_job_at_a_time() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    assert work.next_task(0) is not None
    work.ask(TICK)
    assert work.due_s() == math.inf
    assert work.next_task(10) is None


def test_what_waits_already_is_joined_by_its_equal_and_by_nothing_else() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    for intent in ("tick", "refresh", "tick", "refresh", "activate", "activate"):
        assert work.ask(Start(intent=intent))
    for options in ({"id": "a"}, {"id": "b"}, {"id": "a"}):
        assert work.ask(Start(intent="sent", options=options))
    for document in (b"x", b"y", b"x"):
        assert work.ask(Start(intent="bundle", document=document))
    assert intents(work, 0) == ["tick", "refresh", "activate", "sent", "sent", "bundle", "bundle"]


def test_a_tick_asked_for_while_one_runs_is_another() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.next_task(0)
    work.ask(TICK)
    work.finished(ended(frame()), 0)
    assert intents(work, 0) == ["tick"]


def test_those_who_joined_all_get_the_reply() -> None:
    work, first, second = JobQueue(RetryPolicy(), OWNER), connection(owner=True), connection(owner=True)
    assert post(work, "/v1/refresh", first, 5) is None
    assert post(work, "/v1/refresh", second, 6) is None
    assert (first.phase, first.deadline_s) == (Phase.WAITING, 35)
    outcome = run(work, 6)
    assert [asker for asker, _ in outcome.replies] == [first, second]
    assert json.loads(outcome.replies[0][1].body) == {
        "schema": 1,
        "ok": True,
        "error": None,
        "result": 7,
        "license": frame()["answer"]["license"],
    }


def test_the_groups_refresh_is_counted_and_the_owners_is_not() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    assert post(work, "/v1/refresh", connection(owner=True), 100) is None
    assert post(work, "/v1/refresh", connection(), 101) is None
    refused = post(work, "/v1/refresh", connection(), 110)
    assert refused is not None
    assert refused.status == 429
    assert post(work, "/v1/refresh", connection(), 161) is None


def test_a_full_queue_refuses_the_group_and_never_the_owner() -> None:
    work, askers = begun(queued_max=2), [connection(owner=True) for _ in range(5)]
    for asker, path in zip(askers, ("release", "activate", "remove", "narrowed", "narrowed"), strict=True):
        assert post(work, f"/v1/{path}", asker, 0) is None
    refused = post(work, "/v1/refresh", connection(), 0)
    assert refused is not None
    assert refused.status == 503
    assert post(work, "/v1/refresh", connection(owner=True), 0) is None
    assert post(work, "/v1/refresh", connection(), 0) is None  # joins the one that waits
    assert intents(work, 0) == ["narrowed", "release", "activate", "remove", "refresh"]


def test_who_joins_gets_the_same_reply() -> None:
    work, first, second = JobQueue(RetryPolicy(), OWNER), connection(owner=True), connection(owner=True)
    for asker in (first, second):
        assert post(work, "/v1/remove", asker, 0) is None
    assert [asker for asker, _ in run(work, 0).replies] == [first, second]


def test_whoever_was_told_that_it_takes_longer_is_not_told_again() -> None:
    work, queued, begun = JobQueue(RetryPolicy(), OWNER), connection(owner=True), connection(owner=True)
    post(work, "/v1/remove", begun, 0)
    assert work.next_task(0) is not None
    post(work, "/v1/release", queued, 0)
    assert work.late(begun, 0).status == work.late(queued, 0).status == 202
    assert work.finished(ended(frame()), 40).replies == []
    assert run(work, 40).replies == []


def narrowed(work: JobQueue) -> bool:
    """It changes by what is called between two looks, which mypy does not see of an attribute."""
    return work.narrowed


def test_narrowing_ends_what_runs_and_evaluates_anew() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.next_task(0)
    assert not narrowed(work)
    assert post(work, "/v1/narrowed", connection(owner=True), 1) is None
    assert narrowed(work)
    work.finished(ended(b"", Bug(Fault.JOB_FAILED, "x")), 2)
    assert not narrowed(work)
    assert intents(work, 2) == ["narrowed"]


def test_narrowing_ends_no_job_that_narrows_too() -> None:
    """Whoever waits for that one would be told that it had failed."""
    work, first, second = begun(), connection(owner=True), connection(owner=True)
    post(work, "/v1/narrowed", first, 0)
    work.next_task(0)
    assert post(work, "/v1/narrowed", second, 1) is None
    assert not work.narrowed
    assert [asker for asker, _ in work.finished(ended(frame()), 2).replies] == [first]
    assert [asker for asker, _ in run(work, 2).replies] == [second]


def test_whatever_narrows_is_admitted_to_a_full_queue_and_joins_what_waits() -> None:
    work = begun(queued_max=1)
    for_peers = NARROWED._replace(who=Who.PEERS)
    assert post(work, "/v1/release", connection(owner=True), 0) is None
    assert post(work, "/v1/refresh", connection(), 0) is not None
    first, second = connection(), connection()
    for asker in (first, second):
        assert work.take(for_peers, b"", asker, 0) is None
    assert [asker for asker, _ in run(work, 0).replies] == [first, second]
    assert intents(work, 0) == ["release"]


def test_narrowing_ends_what_runs_even_at_the_end() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.next_task(0)
    work.abandon(0)
    refused = post(work, "/v1/narrowed", connection(owner=True), 1)
    assert refused is not None
    assert json.loads(refused.body)["error"]["detail"] == "daemon_stopping"
    assert work.narrowed


def test_narrowing_with_nothing_running_only_evaluates() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    post(work, "/v1/narrowed", connection(owner=True), 1)
    assert not work.narrowed


def withdraw(work: JobQueue, asker: Connection, now_s: float, purpose: str = "usage_statistics") -> None:
    assert post(work, "/v1/withdraw", asker, now_s, json.dumps({"purpose": purpose}).encode()) is None


def test_the_group_withdraws_before_all_others_and_ends_what_runs() -> None:
    work = begun()
    post(work, "/v1/remove", connection(owner=True), 0)
    work.next_task(0)
    post(work, "/v1/release", connection(owner=True), 1)
    withdraw(work, connection(), 1)
    assert narrowed(work)
    work.finished(ended(error=job_narrowed()), 1)
    assert intents(work, 1) == ["withdraw", "release"]


def test_the_group_ends_what_runs_once_a_minute_and_the_owner_always() -> None:
    work = begun()
    for now_s, asker, ends in (
        (0.0, connection(), True),
        (59.0, connection(), False),
        (59.0, connection(owner=True), True),
        (60.0, connection(), True),
        (61.0, connection(), False),
    ):
        post(work, "/v1/remove", connection(owner=True), now_s)
        work.next_task(now_s)
        withdraw(work, asker, now_s)
        assert narrowed(work) is ends
        work.finished(ended(frame()), now_s)
        assert intents(work, now_s)[0] == "withdraw", "first either way"


def test_at_the_end_those_who_wait_hear_so() -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    post(work, "/v1/release", asker, 0)
    ((asker_of_it, response),) = work.abandon(0)
    assert asker_of_it is asker
    assert json.loads(response.body)["error"]["detail"] == "daemon_stopping"
    assert work.abandon(0) == []


def test_an_answer_is_kept_in_the_parts_that_are_served() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    outcome = run(work, 0)
    assert outcome.answer is not None
    assert outcome.answer == work.answer
    assert json.loads(outcome.answer.whole) == frame()["answer"]
    assert json.loads(outcome.answer.license) == frame()["answer"]["license"]
    assert json.loads(outcome.answer.consent) == {"asked": []}
    assert outcome.answer.summary == "grace (suspended, root_old)"


def test_what_left_is_the_owner_s_to_see() -> None:
    """Of the answer, and of the reply to a refresh that both asked for and one job answered."""
    work, owner, peer = JobQueue(RetryPolicy(), OWNER), connection(owner=True), connection()
    post(work, "/v1/refresh", peer, 0)
    post(work, "/v1/refresh", owner, 0)
    mine = {"last_left": {"id": "x"}, "reports": {"held": 1}}
    done = {"asked": ["status"], "consent": {"purged": ["x"]}}
    outcome = run(work, 0, ended(frame(answer=frame()["answer"] | mine, result=done)))
    assert outcome.answer is not None
    assert json.loads(outcome.answer.whole) == frame()["answer"] | mine
    assert json.loads(outcome.answer.peers) == frame()["answer"]
    results = {asker: json.loads(reply.body)["result"] for asker, reply in outcome.replies}
    assert results == {owner: done, peer: {"asked": ["status"]}}


def test_a_job_that_says_no_brings_its_answer_all_the_same() -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    post(work, "/v1/bundle", asker, 0, b"x")
    error = {"kind": "Untrusted", "code": "format_invalid", "detail": "jws_shape", "values": {}}
    outcome = run(work, 0, ended(frame(ok=False, error=error, result=None)))
    assert json.loads(outcome.replies[0][1].body)["error"] == error
    assert work.answer is not None
    assert outcome.trouble == ""


def test_a_frame_without_answer_leaves_the_last() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0)
    before = work.answer
    outcome = run(work, 100, ended(frame(answer=None, error=JOB_ERROR, ok=False)))
    assert outcome.answer is None
    assert work.answer is before is not None


JOB_ERROR = {"kind": "Bug", "code": "internal", "detail": "unforeseen", "values": {}}

JOURNAL_CHANGES: list[dict[str, Any]] = [
    {"fields": {"event": 1}},
    {"fields": {"level": 1}},
    {"fields": {"state": "x"}},
    {"fields": {"message": "x"}},
    {"fields": {"A=B": "x"}},
    {"fields": {"a\nPRIORITY": "0"}},
    {"fields": {"x" * 65: 1}},
    {"fields": {"id": "\ud800"}},
    {"fields": []},
    {"level": "loud"},
    {"message": None},
    {"event": "\ud800"},
]
GARBAGE: list[Any] = [
    b"",
    b"\n",
    b"nonsense",
    b"\xff\xfe",
    b"[" * 100_000,
    b"{}",
    json.dumps(frame()).encode() * 2,
    frame(schema=2),
    frame(answer=None),
    frame(ok=None),
    frame(error="x"),
    frame(error={"kind": "Bug"}),
    frame(next_run_s="1"),
    frame(next_run_s=1.5),
    frame(next_run_s=True),
    frame(result=math.nan),
    frame(result=[math.inf]),
    frame(result="\ud800"),
    json.dumps(frame(result="DEEP")).encode().replace(b'"DEEP"', b"[" * 100_000 + b"]" * 100_000),
    json.dumps(frame(result="HUGE")).encode().replace(b'"HUGE"', b"9" * 5000),
    json.dumps(frame(next_run_s="HUGE")).encode().replace(b'"HUGE"', b"1e400"),
    frame(error={"kind": "Bug", "code": "x", "detail": "\ud800", "values": {}}),
    frame(error={"kind": "Bug", "code": "x", "detail": "y", "values": {"\udfff": 1}}),
    frame(error={"kind": "Bug", "code": ["x"], "detail": "y", "values": {}}),
    frame(answer={**frame()["answer"], "license": {"state": "\ud800", "reasons": ["ok"]}}),
    frame(answer={**frame()["answer"], "license": {"state": "active", "reasons": [1]}}),
    frame(language="\ud800"),
    frame(language=["tr"]),
    frame(journal={}),
    frame(journal=["x"]),
    *(
        frame(journal=[{"event": "purged", "level": "info", "message": "m", "fields": {}} | changed])
        for changed in JOURNAL_CHANGES
    ),
    frame(answer=[]),
    frame(answer={"schema": 1, "license": {}, "consent": {}}),
    frame(answer={**frame()["answer"], "consent": None}),
    frame(answer={**frame()["answer"], "x": math.nan}),
    json.dumps(frame(answer={**frame()["answer"], "x": "y"})).encode().replace(b'"y"', b'"\\ud800"'),
    {key: value for key, value in frame().items() if key != "result"},
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_frame_that_is_none_changes_nothing(garbage: Any) -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    run(work, 0)
    before = work.answer
    post(work, "/v1/release", asker, 1)
    outcome = run(work, 1, ended(garbage))
    assert outcome.answer is None
    assert outcome.trouble == "protocol/job_frame"
    assert work.answer is before
    assert json.loads(outcome.replies[0][1].body)["error"]["detail"] == "job_frame"


# JSON that can be read and not written again, of another type than is meant, or larger than anybody expects.
NASTY = (
    *("1e400", "-1e400", "NaN", "-Infinity", '"\\ud800"', '"\\u0000\\n\\u001b"', '{"\\udfff": 1}', '{"": {"": []}}'),
    *("null", "true", "0", "-1", "1.5", "1e5", '""', '"x"', "[]", "[[]]", "{}", "9" * 4300, "[" * 900 + "]" * 900),
)


def whole_frame() -> dict[str, Any]:
    line = {"event": "purged", "level": "info", "message": "m", "fields": {"count": 1}}
    error = {"kind": "Unavailable", "code": "x", "detail": "y", "values": {"z": 1}}
    return frame(journal=[line], language="tr", error=error, ok=False, result={"consent": 1, "held": []})


def with_each_place_replaced(value: Any, by: Any) -> Iterator[Any]:
    yield by
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        for changed in with_each_place_replaced(member, by):
            if isinstance(value, dict):
                yield {**value, key: changed}
            else:
                yield [*value[:key], changed, *value[key + 1 :]]


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_whatever_evaluate_prints_in_whatever_place_it_is_taken_whole_or_refused_and_all_are_answered(
    nasty: str,
) -> None:
    for whole in with_each_place_replaced(whole_frame(), "PLACE"):
        work, askers = JobQueue(RetryPolicy(), OWNER), [connection(owner=True), connection()]
        for asker in askers:
            post(work, "/v1/refresh", asker, 0)
        effects = run(work, 0, ended(json.dumps(whole).replace('"PLACE"', nasty).encode()))
        effects = (
            effects if effects.replies else run(work, 0, ended(json.dumps(whole).replace('"PLACE"', nasty).encode()))
        )
        replies = [response for _, response in effects.replies]
        replies += [get(work, path) for path in ("/v1/license", "/v1/consent", "/v1/answer")]
        for response in replies:
            json.loads(response.body.decode(), parse_constant=pytest.fail)
        Reporter(lambda *_, **__: None, "en").set_language(effects.language)


def test_jobs_that_fail_are_tried_less_and_less_often() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    waits = []
    for _ in range(9):
        run(work, max(0, work.due_s()), ended(b"", Bug(Fault.JOB_FAILED, "job_failed", exit=1)))
        waits.append(work.due_s())
    assert [round(after - before) for before, after in zip([0, *waits], waits, strict=False)] == [
        60,
        120,
        240,
        480,
        960,
        1920,
        3600,
        3600,
        3600,
    ]


@pytest.mark.parametrize("why", [job_narrowed(), stopping()], ids=str)
def test_a_job_that_was_ended_on_purpose_has_not_failed(why: AgentError) -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    run(work, 0)
    post(work, "/v1/activate", asker, 1)
    outcome = run(work, 1, ended(b"", why))
    assert json.loads(outcome.replies[0][1].body)["error"]["detail"] == why.detail
    assert outcome.trouble is None
    assert work.due_s() == 100, "no sooner and no later than the last evaluation said"


def test_a_success_ends_the_back_off() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, ended(b"x"))
    run(work, 60)
    run(work, 160, ended(b"x"))
    assert work.due_s() == 220


@pytest.mark.parametrize(
    ("kind", "code"), [("Untrusted", "format_invalid"), ("Misconfigured", "usage"), ("Untrusted", "usage")]
)
def test_a_command_that_was_refused_for_what_its_caller_sent_is_no_failed_evaluation(kind: str, code: str) -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    run(work, 0)
    post(work, "/v1/history", asker, 1)
    error = {"kind": kind, "code": code, "detail": "member_type", "values": {}}
    outcome = run(work, 1, ended(frame(ok=False, error=error, result=None, answer=None, next_run_s=300)))
    assert json.loads(outcome.replies[0][1].body)["error"] == error
    assert outcome.trouble is None
    assert work.due_s() == 100, "the next evaluation is due when it was"
    response = work.take(Route("GET", "/", who=Who.PEERS, member=""), b"", connection(owner=True), 2)
    assert response is not None
    assert "trouble" not in json.loads(response.body)


def test_an_evaluation_that_nobody_asked_for_and_that_fails_is_one() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    error = {"kind": "Untrusted", "code": "format_invalid", "detail": "x", "values": {}}
    assert run(work, 0, ended(frame(ok=False, error=error, answer=None))).trouble == "format_invalid/x"


def test_a_command_at_the_end_is_refused_at_once() -> None:
    work, asker = JobQueue(RetryPolicy(), OWNER), connection(owner=True)
    work.abandon(0)
    response = post(work, "/v1/remove", asker, 0)
    assert response is not None
    assert json.loads(response.body)["error"]["detail"] == "daemon_stopping"


# the answer of before a start


def saved(**license_members: Any) -> bytes:
    """As the last daemon left it."""
    answer = frame()["answer"]
    answer["license"] |= {"as_of": 1000, "good_until": 2000} | license_members
    return json.dumps(answer | {"last_left": {"id": "x"}}).encode()


@pytest.mark.parametrize("now_s", [700, 1000, 1999])
def test_the_last_answer_is_served_from_the_start_and_marked(now_s: int) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(saved(), b"", wall_s=now_s, now_s=0)
    assert work.answer is not None
    assert json.loads(work.answer.license)["restored"] is True
    assert "last_left" not in json.loads(work.answer.peers)
    assert json.loads(work.answer.whole)["last_left"] == {"id": "x"}
    run(work, 0)
    assert "restored" not in json.loads(work.answer.license)


@pytest.mark.parametrize(
    ("data", "now_s"),
    [
        *((saved(), now_s) for now_s in (2000, 10_000, 699)),
        *((data, 1500) for data in (b"", b"x", b"{}", b"[]", b"\xff", b"[" * 100_000, saved()[:-1])),
        *((saved(**wrong), 1500) for wrong in ({"as_of": None}, {"good_until": "3000"}, {"state": 1}, {"reasons": 1})),
        (saved().replace(b'"x"', b"NaN"), 1500),
        (saved().replace(b'"x"', b'"\\ud800"'), 1500),
    ],
)
def test_an_answer_that_may_not_be_relied_on_is_not_served(data: bytes, now_s: int) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(data, b"", wall_s=now_s, now_s=0)
    assert work.answer is None


def kept(**license_members: Any) -> bytes:
    """As evaluate keeps it through a reboot."""
    return json.dumps(json.loads(saved(**license_members))["license"]).encode()


@pytest.mark.parametrize("data", [b"", saved(good_until=1200)])
def test_after_a_reboot_it_is_the_license_alone_that_is_served_and_nothing_else_is_claimed(data: bytes) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(data, kept(), wall_s=1500, now_s=0)
    for path, status in (("/v1/license", 200), ("/v1/consent", 503), ("/v1/answer", 503)):
        response = get(work, path)
        assert response.status == status
        if status == 200:
            assert json.loads(response.body) == json.loads(kept()) | {"restored": True}
        else:
            assert json.loads(response.body)["code"] == "not_yet"
    run(work, 0)
    assert "restored" not in json.loads(get(work, "/v1/license").body)
    assert get(work, "/v1/answer").status == 200


@pytest.mark.parametrize(
    ("data", "now_s"),
    [
        *((kept(), now_s) for now_s in (2000, 10_000, 699)),
        *((data, 1500) for data in (b"", b"x", b"{}", b"[]", b"7", b"null", b"\xff", b"[" * 100_000, kept()[:-1])),
        *((kept(**wrong), 1500) for wrong in ({"as_of": None}, {"good_until": "3000"}, {"state": 1}, {"reasons": 1})),
        (kept(tier=7).replace(b"7", b"NaN"), 1500),
        (kept(tier="x").replace(b'"x"', b'"\\ud800"'), 1500),
    ],
)
def test_a_license_that_may_not_be_relied_on_is_not_served_after_a_reboot_either(data: bytes, now_s: int) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(b"", data, wall_s=now_s, now_s=0)
    assert work.answer is None


# what may leave, as of now


class Disk:
    """The stamps of the watched files, as a test sets them."""

    def __init__(self) -> None:
        self.stamps = {"/etc/opanel-agent/consent.toml": "1", "/etc/do-not-track": ""}

    def stamp(self, path: str) -> str:
        return self.stamps[path]


def ask(work: JobQueue, path: str, asker: Connection, now_s: float = 0) -> Response | None:
    route = work.admit("GET", path, asker.peer, now_s)
    assert isinstance(route, Route)
    return work.take(route, b"", asker, now_s)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def fresh(disk: Disk) -> JobQueue:
    """A queue whose answer was computed from the files as they are."""
    work = JobQueue(RetryPolicy(), OWNER, stamp=disk.stamp)
    run(work, 0, ended(frame(watch=disk.stamps)))
    return work


def consented(*, permitted: bool, disk: Disk) -> JobResult:
    output = frame(watch=disk.stamps)
    output["answer"]["consent"] = {"permitted": permitted}
    return ended(output)


@pytest.mark.parametrize("path", ["/v1/consent", "/v1/answer"])
def test_what_may_leave_is_read_again_once_a_file_has_changed(fresh: JobQueue, disk: Disk, path: str) -> None:
    """Nothing changed: from memory. A file changed: a pass first, and the one that asked gets what it brought."""
    assert ask(fresh, path, connection()) is not None
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    asker, other = connection(), connection()
    assert ask(fresh, path, asker, 50) is None
    assert ask(fresh, path, other, 50) is None
    assert (asker.phase, asker.deadline_s) == (Phase.WAITING, 53)
    task = fresh.next_task(50)
    assert task is not None
    assert (task.start.intent, task.start.ends_running_job) == ("narrowed", False)
    late = connection()
    assert ask(fresh, path, late, 51) is None  # it joins: the job that runs was begun after the change
    replies = fresh.finished(consented(permitted=False, disk=disk), 51).replies
    assert [client for client, _ in replies] == [asker, other, late]
    assert all(b'"permitted":false' in reply.body and b"outdated" not in reply.body for _, reply in replies)
    assert fresh.due_s() > 51
    assert ask(fresh, path, connection(), 52) is not None


def test_the_license_is_answered_from_memory_whatever_changed(fresh: JobQueue, disk: Disk) -> None:
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    assert ask(fresh, "/v1/license", connection()) is not None
    assert fresh.due_s() == 100


def test_a_job_that_began_before_the_change_is_not_waited_for(fresh: JobQueue, disk: Disk) -> None:
    fresh.ask(TICK)
    assert fresh.next_task(10) is not None
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    asker = connection()
    assert ask(fresh, "/v1/consent", asker, 10) is None
    old = {"/etc/opanel-agent/consent.toml": "1", "/etc/do-not-track": ""}
    assert fresh.finished(ended(frame(watch=old)), 11).replies == []
    assert run(fresh, 11, consented(permitted=False, disk=disk)).replies[0][0] is asker


def test_a_job_that_takes_too_long_leaves_the_answer_of_before_which_says_so(fresh: JobQueue, disk: Disk) -> None:
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    for path in ("/v1/consent", "/v1/answer"):
        asker = connection()
        assert ask(fresh, path, asker, 10) is None
        answer = json.loads(fresh.late(asker, 10).body)
        assert answer["outdated"] is True
        assert answer.get("license", answer) == answer["license"] if path == "/v1/answer" else "asked" in answer
    assert run(fresh, 10, consented(permitted=False, disk=disk)).replies == []


def test_a_job_that_fails_is_not_tried_again_for_everyone_who_asks(fresh: JobQueue, disk: Disk) -> None:
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    asker = connection()
    assert ask(fresh, "/v1/answer", asker, 10) is None
    effects = run(fresh, 10, ended(error=Bug(Fault.JOB_FAILED, "job_status", status=1)))
    assert [client for client, _ in effects.replies] == [asker]
    assert b'"trouble"' in effects.replies[0][1].body
    for path in ("/v1/answer", "/v1/consent"):
        shown = ask(fresh, path, connection(), 11)
        assert shown is not None
        assert json.loads(shown.body)["outdated"] is True, "the files say something else, and no job has read it"
    assert "outdated" not in json.loads(get(fresh, "/v1/license").body)


def test_at_the_end_whoever_waits_for_what_may_leave_is_answered(fresh: JobQueue, disk: Disk) -> None:
    disk.stamps = disk.stamps | {"/etc/do-not-track": "2"}
    asker = connection()
    assert ask(fresh, "/v1/consent", asker, 10) is None
    assert [client for client, _ in fresh.abandon(0)] == [asker]
    assert ask(fresh, "/v1/consent", connection(), 10) is not None


@pytest.mark.parametrize("watch", [1, [], {"a": 1}, {1: "a"}, {str(number): "" for number in range(129)}])
def test_a_frame_that_names_no_files_is_none(watch: Any) -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    output = frame(watch={str(key): value for key, value in watch.items()} if isinstance(watch, dict) else watch)
    taken = run(work, 0, ended(output))
    assert (taken.trouble == "") == (watch == {1: "a"})


def test_files_that_go_on_changing_queue_one_job(fresh: JobQueue, disk: Disk) -> None:
    """One that waits has read nothing yet, so whoever asks after a further change joins it."""
    askers = [connection() for _ in range(5)]
    for number, asker in enumerate(askers):
        disk.stamps = disk.stamps | {"/etc/do-not-track": str(number)}
        assert ask(fresh, "/v1/consent", asker, 10) is None
    effects = run(fresh, 10, consented(permitted=False, disk=disk))
    assert {connected for connected, _ in effects.replies} == {*askers}
    assert fresh.next_task(10) is None


# who asks without end


def flooded(work: JobQueue, now_s: float, jobs: int) -> list[str]:
    """What runs while a group member asks anew before each job ends."""
    ran = []
    for number in range(jobs):
        for purpose in ("usage_statistics", "crash_reports"):
            withdraw(work, connection(), now_s + number / 10, purpose)
        job = work.next_task(now_s + number / 10)
        assert job is not None
        ran.append(job.start.intent)
        work.finished(ended(frame(next_run_s=900)), now_s + number / 10)
    return ran


def test_who_withdraws_without_end_keeps_no_check_from_being_made() -> None:
    """A routine that is due waits for one request, and no request puts off what was planned."""
    work = begun()
    assert "tick" not in flooded(work, 3590, 20)
    assert flooded(work, 3600, 20).count("tick") == 1
    assert work.due_s() <= 3600 + 900 + 20


def test_who_withdraws_without_end_overtakes_nobody_but_once_a_minute() -> None:
    work = begun()
    flooded(work, 1, 2)
    waiting = connection(owner=True)
    post(work, "/v1/release", waiting, 2)
    assert "release" in flooded(work, 2, 3)


# a job that could not use the state's folder


def provisional() -> JobResult:
    answer = frame()["answer"]
    answer["license"] |= {"state": "unlicensed", "reasons": ["state_unreadable", "no_license"]}
    error = {"kind": "Storage", "code": "io_failed", "detail": "state_unusable", "values": {}}
    return ended(frame(ok=False, error=error, answer=answer, provisional=True))


def state_of(work: JobQueue) -> str:
    assert work.answer is not None
    return work.answer.state


def good(state: str) -> JobResult:
    answer = frame()["answer"]
    answer["license"] |= {"state": state, "as_of": 1000, "good_until": 2000}
    return ended(frame(answer=answer))


def test_the_answer_of_before_stands_for_as_long_as_it_said_and_no_longer() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, good("active"))
    effects = run(work, 999, provisional())
    assert (state_of(work), effects.answer) == ("active", None)
    assert effects.trouble == "io_failed/state_unusable"
    assert get(work, "/v1/license", 999).status == 200
    for later_s in (1100, 1200):
        effects = run(work, later_s, provisional())
        assert state_of(work) == "unlicensed"
        assert get(work, "/v1/license", later_s).status == 200
    assert effects.answer is not None
    assert effects.trouble == "io_failed/state_unusable"
    assert json.loads(get(work, "/v1/answer").body)["trouble"]["detail"] == "state_unusable"
    run(work, 1300, good("active"))
    assert state_of(work) == "active"
    assert json.loads(get(work, "/v1/answer").body).get("trouble") is None


def test_one_that_was_restored_stands_for_what_was_left_of_its_time() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(saved(), b"", wall_s=1900, now_s=0)
    run(work, 50, provisional())
    assert state_of(work) == "grace"
    run(work, 151, provisional())
    assert state_of(work) == "unlicensed"


def test_without_an_answer_of_before_the_provisional_one_is_served_at_once() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, provisional())
    assert state_of(work) == "unlicensed"


# an evaluation that crashes, for good


CRASHES = {
    "it is killed": ended(error=Bug(Fault.JOB_FAILED, "job_killed", signal=9)),
    "it raises": ended(frame(ok=False, error=JOB_ERROR, answer=None)),
    "it prints nonsense": ended(b"x"),
}


def crashing(work: JobQueue, crash: JobResult, from_s: float, until_s: float) -> None:
    """Every job from one moment to another; the loop runs each as soon as it is due."""
    now_s = max(from_s, work.due_s())
    while now_s < until_s:
        run(work, now_s, crash)
        now_s = work.due_s()


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_a_license_whose_evaluation_crashes_is_answered_as_long_as_the_last_answer_said_and_no_longer(
    crash: JobResult,
) -> None:
    """Else it would stay `active` for ever. Short of it a crash costs an honest server nothing."""
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, good("active"))
    crashing(work, crash, 100, 999)
    assert json.loads(get(work, "/v1/license", 999).body)["state"] == "active"
    for path in ("/v1/license", "/v1/answer", "/v1/consent"):
        response = get(work, path, 1000)
        problem = json.loads(response.body)
        assert (response.status, problem["code"], "error" in problem) == (503, "job_failed", True), path
    asker = connection()
    post(work, "/v1/refresh", asker, 1000)
    ((_, reply),) = run(work, 1000, crash).replies
    assert json.loads(reply.body)["license"] is None
    crashing(work, crash, 1100, 100_000)
    assert get(work, "/v1/license", 100_000).status == 503
    run(work, work.due_s(), good("grace"))
    assert json.loads(get(work, "/v1/license", 200_000).body)["state"] == "grace"


def test_an_answer_whose_time_is_over_is_served_until_the_evaluation_that_is_due_has_ended() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    run(work, 0, good("active"))
    assert work.next_task(1000) is not None
    assert json.loads(get(work, "/v1/license", 1060).body)["state"] == "active"
    work.finished(CRASHES["it is killed"], 1061)
    assert get(work, "/v1/license", 1061).status == 503


def test_a_restart_gives_a_crashing_evaluation_no_more_time() -> None:
    work = JobQueue(RetryPolicy(), OWNER)
    work.restore(saved(), b"", wall_s=1900, now_s=50)
    run(work, 50, CRASHES["it raises"])
    assert get(work, "/v1/license", 149).status == 200
    assert get(work, "/v1/license", 150).status == 503
