"""What the daemon knows and wants done: the last answer, the jobs that wait and who for.

No process and no socket is touched here. The loop asks `next_task`, runs it (`children`), and brings its end to
`finished`, which says what to tell whom. One job runs at a time. A tick or refresh that is asked for while the same
waits already joins it; one that runs already may have read the world before the asking, so another is made.

A job that fails changes nothing but when the next one runs: the last answer stands.
"""

import json
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import Route
from opanel_agent.core.errors import AgentError, Bug, NotPermitted, Unavailable
from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.daemon.api import (
    OWNER_MEMBERS,
    Peer,
    PublishedAnswer,
    Response,
    Start,
    admit,
    body_json,
    problem,
    respond,
)
from opanel_agent.daemon.connection import Connection
from opanel_agent.daemon.job_process import JobResult

START = Start(intent="start")
TICK = Start(intent="tick")
_JOINED = ("tick", "refresh")

Replies = list[tuple[Connection, Response]]


class RetryPolicy(NamedTuple):
    reply_s: float = 30.0  # a POST that takes longer gets 202
    retry_first_s: float = 60.0  # after a job that failed; doubled each time
    retry_last_s: float = HOUR_S
    tasks: int = 8  # that may wait

    def retry_s(self, failures: int) -> float:
        return min(self.retry_first_s * 2.0 ** min(failures - 1, 16), self.retry_last_s)


class QueuedJob:
    """A job that waits or runs, and those who wait for it."""

    __slots__ = ("start", "waiting")

    def __init__(self, start: Start) -> None:
        self.start = start
        self.waiting: list[Connection] = []


# What evaluate has to tell the journal: event, level, message, fields.
Line = tuple[str, str, str, dict[str, object]]


class ResultFrame(NamedTuple):
    """What evaluate said. `answer` None: the last one stands. `language`: as the settings say."""

    ok: bool
    error: object
    result: object
    next_run_s: int
    answer: PublishedAnswer | None
    lines: list[Line]
    language: str | None


class JobEffects(NamedTuple):
    """A job's end, as things to do: the replies to give, the answer to publish, what to tell the journal.

    `trouble`: why there is no new answer, "" where there is one, None where the job was ended on purpose.
    """

    replies: Replies
    answer: PublishedAnswer | None = None
    trouble: str | None = ""
    lines: Sequence[Line] = ()
    language: str | None = None


class JobQueue:
    """The handler that the connections come to. Times are the loop's clock, in seconds."""

    def __init__(self, retry_policy: RetryPolicy, owner: int) -> None:
        self.answer: PublishedAnswer | None = None
        self.running: QueuedJob | None = None
        self.narrowed = False  # a request wants the running job ended
        self._retry_policy = retry_policy
        self._owner = owner
        self._trouble: object = None  # the error of the last job, while it left no answer
        self._queue: list[QueuedJob] = []
        self._routine = START  # what runs when nothing was asked for: the first time, and then TICK
        self._next_s = -math.inf
        self._failures = 0
        self._refreshed_s = -math.inf

    def peer(self, uid: int) -> Peer:
        return Peer(uid=uid, owner=uid in (0, self._owner))

    def admit(self, method: str, target: str, peer: Peer, now_s: float) -> Route | Response:
        return admit(method, target, peer, since_refresh_s=now_s - self._refreshed_s)

    def take(self, route: Route, body: bytes, connection: Connection, now_s: float) -> Response | None:
        made = respond(route, body, self.answer, self._trouble, owner=connection.peer.owner)
        if isinstance(made, Response):
            return made
        if not self.ask(made, connection):
            return problem("jobs_taken", headers=(("Retry-After", "60"),))
        if route.min_interval_s and not connection.peer.owner:
            self._refreshed_s = now_s
        self.narrowed = self.narrowed or (made.ends_running_job and self.running is not None)
        connection.wait(now_s + self._retry_policy.reply_s)
        return None

    def late(self, connection: Connection) -> Response:
        for task in (*self._queue, *([self.running] if self.running else [])):
            if connection in task.waiting:
                task.waiting.remove(connection)
        return body_json(ok=None, error=None, result=None, answer=self.answer)

    def ask(self, start: Start, connection: Connection | None = None) -> bool:
        """Puts a job in the queue, or its asker beside one who asked the same; False when the queue is full."""
        # An asker's opt-outs are among the options: who asks under one waits for a pass of the same.
        task = next((known for known in self._queue if known.start == start and start.intent in _JOINED), None)
        if task is None:
            if len(self._queue) >= self._retry_policy.tasks:
                return False
            task = QueuedJob(start)
            self._queue.append(task)
        if connection is not None:
            task.waiting.append(connection)
        return True

    def due_s(self) -> float:
        """When `next_task` has one."""
        if self.running is not None:
            return math.inf
        return -math.inf if self._queue else self._next_s

    def next_task(self, now_s: float) -> QueuedJob | None:
        """The job to run now, which is then the running one."""
        if self.due_s() > now_s:
            return None
        self.running = self._queue.pop(0) if self._queue else QueuedJob(self._routine)
        self._routine = TICK if self.running.start == START else self._routine
        return self.running

    def finished(self, ended: JobResult, now_s: float) -> JobEffects:
        """Takes up what the running job brought."""
        task, self.running, self.narrowed = self.running, None, False
        waiting = task.waiting if task else []
        try:
            frame = _frame(ended)
        except AgentError as error:
            reply = body_json(ok=False, error=error.to_json(), result=None, answer=self.answer)
            replies = [(connection, reply) for connection in waiting]
            if error.detail in _ON_PURPOSE:
                return JobEffects(replies=replies, trouble=None)
            self._failures += 1
            self._trouble = error.to_json()
            self._next_s = now_s + self._retry_policy.retry_s(self._failures)
            return JobEffects(replies=replies, trouble=str(error))
        self._failures = 0
        self._next_s = now_s + min(max(frame.next_run_s, 1), DAY_S)
        self.answer = frame.answer or self.answer
        self._trouble = frame.error if frame.answer is None else None
        replies = [(asker, self._reply(frame, owner=asker.peer.owner)) for asker in waiting]
        return JobEffects(
            replies=replies,
            answer=frame.answer,
            trouble=_error_text(frame.error) if frame.answer is None else "",
            lines=frame.lines,
            language=frame.language,
        )

    def _reply(self, frame: ResultFrame, *, owner: bool) -> Response:
        """To whoever asked. What a pass did to reports (its member `consent`) is the owner's to see."""
        result = frame.result
        if not owner and isinstance(result, dict):
            result = {name: value for name, value in result.items() if name != "consent"}
        return body_json(ok=frame.ok, error=frame.error, result=result, answer=self.answer)

    def abandon(self) -> Replies:
        """The end is near: whoever waits for a job that has not begun hears so."""
        reply = body_json(ok=False, error=stopping().to_json(), result=None, answer=self.answer)
        queue, self._queue = self._queue, []
        return [(connection, reply) for task in queue for connection in task.waiting]


def stopping() -> AgentError:
    return Unavailable(Fault.NOT_RUNNING, "daemon_stopping")


def hung_job(deadline_s: float) -> AgentError:
    return Unavailable(Fault.JOB_TIMEOUT, "job_timeout", seconds=int(deadline_s))


def consent_changed() -> AgentError:
    """What the job was started under no longer holds."""
    return NotPermitted(Reason.NOT_PERMITTED, "job_narrowed")


_ON_PURPOSE: Final = frozenset({stopping().detail, consent_changed().detail})  # no failure of evaluation


def _frame(ended: JobResult) -> ResultFrame:
    if ended.error is not None:
        raise ended.error
    try:
        return _read(json.loads(ended.output))
    except (ValueError, RecursionError) as error:
        raise Bug(Fault.PROTOCOL, "job_frame") from error


def _read(frame: object) -> ResultFrame:
    match frame:
        case {
            "schema": 1,
            "ok": bool(ok),
            "error": None | {"kind": str(), "code": str(), "detail": str(), "values": {}} as error,
            "answer": answer,
            "next_run_s": int(next_run_s),
            "result": result,
            **rest,
        }:
            return ResultFrame(
                ok=ok,
                error=error,
                result=result,
                next_run_s=next_run_s,
                answer=_answer(answer),
                lines=[_line(each) for each in _list(rest.get("journal", []))],
                language=str(rest["language"]) if rest.get("language") else None,
            )
    raise ValueError


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError  # noqa: TRY004 - whatever a frame should not say is one and the same
    return value


def _line(line: object) -> Line:
    match line:
        case {"event": str(event), "level": str(level), "message": str(message), "fields": {**fields}}:
            return event, level, message, {str(name): value for name, value in fields.items()}
    raise ValueError


def _error_text(error: object) -> str:
    """An error of another process as `str` of ours reads."""
    match error:
        case {"code": str(code), "detail": str(detail)}:
            return f"{code}/{detail}"
    return "internal"


def _answer(answer: object) -> PublishedAnswer | None:
    match answer:
        case None:
            return None
        case {
            "schema": 1,
            "license": {"state": str(state), "reasons": [*reasons]} as license_part,
            "consent": {} as consent,
            **rest,
        }:
            shown = {name: value for name, value in rest.items() if name not in OWNER_MEMBERS}
            return PublishedAnswer(
                whole=_bytes(answer),
                peers=_bytes({"schema": 1, "license": license_part, "consent": consent, **shown}),
                license=_bytes(license_part),
                consent=_bytes(consent),
                state=state,
                reasons=", ".join(str(reason) for reason in reasons),
            )
    raise ValueError


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
