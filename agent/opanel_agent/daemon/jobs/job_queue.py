"""Holds the last answer and the queue of jobs, and decides which job runs when and who gets which reply.

What may leave is served as it is now: where a file that the answer was computed from has changed since, by its stamp, a
job reads all again first, and whoever asked waits for it a little. One that does not end in time leaves the answer of
before, which says so.

No process and no socket is touched here. The loop asks `next_task`, runs it (`job_process`), and brings its end to
`finished`, which returns the effects. One job runs at a time. Whoever asks for what waits already joins it; a job that
runs may have read its inputs before the asking, so another one is queued. The queue's limit is for group members: a
command of the owner is always admitted. Whatever narrows is, too, and goes before all others; it ends the running job,
unless that narrows as well: whoever waits for that one would be told that it had failed.

What a job prints is checked whole before any of it counts (`result_frame`): a job that fails changes nothing but when
the next one runs. The last answer then stands as long as it said that it may be relied on, and no longer: from there on
there is none, which a panel takes as it takes silence (docs/json.md). Else a license whose evaluation crashes would never
expire. A job that could not use the state's folder brings an answer that is provisional, for when that time is over.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import NARROWED, Route
from opanel_agent.core.errors import AgentError, NotPermitted, Unavailable
from opanel_agent.core.units import HOUR_S
from opanel_agent.daemon.api import (
    OF_CONSENT,
    Peer,
    PublishedAnswer,
    Response,
    Start,
    admit,
    body_json,
    problem,
    respond,
    show_outdated,
)
from opanel_agent.daemon.connection import Connection
from opanel_agent.daemon.jobs.job_process import JobResult
from opanel_agent.daemon.jobs.result_frame import (
    Line,
    ResultFrame,
    error_text,
    good_for_s,
    read_frame,
    restore_answer,
    restore_license,
)
from opanel_agent.system import file_stamp

START = Start(intent="start")
TICK = Start(intent="tick")
LOOK = Start(intent=NARROWED.intent)  # reads all again and sends nothing: only the passage of time sends by itself
PEERS_OVERTAKE_EVERY_S = 60.0
_ROUTINE = ("start", "tick")

Replies = list[tuple[Connection, Response]]


class RetryPolicy(NamedTuple):
    """Says how long a POST waits for its job, when a failed job runs again, and how many jobs may wait."""

    reply_s: float = 30.0  # a POST that takes longer gets 202
    look_s: float = 3.0  # a GET of what may leave that takes longer gets the answer of before, marked
    retry_first_s: float = 60.0  # after a job that failed; doubled each time
    retry_last_s: float = HOUR_S
    queued_max: int = 8  # for group members; the owner is always admitted

    def retry_s(self, failures: int) -> float:
        """Returns the seconds until the next try after so many failures in a row (at least one)."""
        return min(self.retry_first_s * 2.0 ** min(failures - 1, 16), self.retry_last_s)


class QueuedJob:
    """Holds a job that waits or runs, and the connections that wait for it: POSTs for its end, GETs for its answer.

    `stamps` are those of the watched files when a GET found them changed.
    """

    __slots__ = ("readers", "stamps", "start", "waiting")

    def __init__(self, start: Start) -> None:
        self.start = start
        self.waiting: list[Connection] = []
        self.readers: list[tuple[Connection, Route]] = []
        self.stamps: Mapping[str, str] | None = None


class JobEffects(NamedTuple):
    """Holds what a job's end brings: the replies to give, the answer to publish, the lines for the journal.

    `trouble` is why there is no new answer, "" where there is one, None where the job was ended on purpose.
    """

    replies: Replies
    answer: PublishedAnswer | None = None
    trouble: str | None = ""
    lines: Sequence[Line] = ()
    language: str | None = None


class JobQueue:
    """Handles the requests of all connections (`RequestHandler`). Times are the loop's clock, in seconds."""

    def __init__(
        self, retry_policy: RetryPolicy, owner: int, *, stamp: Callable[[str], str] = file_stamp.stamp
    ) -> None:
        self.answer: PublishedAnswer | None = None
        self.running: QueuedJob | None = None
        self.narrowed = False  # a request wants the running job ended
        self._retry_policy = retry_policy
        self._owner = owner
        self._trouble: object = None  # the error of the last job, where it left no answer, or a provisional one
        self._queue: list[QueuedJob] = []
        self._routine = START  # what runs when nothing was asked for: the first time, and then TICK
        self._next_s = -math.inf
        self._failures = 0
        self._refreshed_s = -math.inf
        self._overtook_s = -math.inf  # when a peer's request last went before others
        self._gave_way = False  # the routine was due and another job ran instead
        self._stopping = False
        self._stamp = stamp
        self._watch: Mapping[str, str] = {}  # what the answer was computed from
        self._answered_s = -math.inf  # when the answer came, or was restored
        self._good_for_s = 0.0  # how long it may be relied on from then on
        self._provisional = False  # it is of a job that could not use the state's folder

    def restore(self, data: bytes, license_: bytes, *, wall_s: float, now_s: float) -> None:
        """Serves the answer that was saved before this start until there is a new one, where it is still good.

        Where there is none, as after a reboot, it is the license's part alone that was kept.
        """
        self.answer = restore_answer(data, wall_s) or restore_license(license_, wall_s)
        self._answered_s, self._good_for_s = now_s, good_for_s(self.answer, wall_s)

    def peer(self, uid: int) -> Peer:
        """Returns who has this uid: uid 0 and the user of a user installation are the owner."""
        return Peer(uid=uid, owner=uid in (0, self._owner))

    def admit(self, method: str, target: str, peer: Peer, now_s: float) -> Route | Response:
        """Returns the route of a request's head, or the refusal (`api.admit`)."""
        return admit(method, target, peer, since_refresh_s=now_s - self._refreshed_s)

    def take(self, route: Route, body: bytes, connection: Connection, now_s: float) -> Response | None:
        """Returns the response; or None where a job was queued, and the connection waits for it."""
        made = respond(route, body, self.served(now_s), self._trouble, owner=connection.peer.owner)
        if isinstance(made, Response):
            return self._as_of_now(route, made, connection, now_s) if route.member in OF_CONSENT else made
        ahead = made.ends_running_job and self._may_overtake(connection.peer, now_s)
        self.narrowed = self.narrowed or (ahead and self._runs_under_wider_permission())
        if self._stopping:
            return self._stopped_reply(now_s)
        if not self.ask(made, connection, always=connection.peer.owner or made.ends_running_job, ahead=ahead):
            return problem("jobs_taken", headers=(("Retry-After", "60"),))
        if route.min_interval_s and not connection.peer.owner:
            self._refreshed_s = now_s
        connection.wait(now_s + self._retry_policy.reply_s)
        return None

    def _runs_under_wider_permission(self) -> bool:
        """Tells whether the running job may do what no longer holds. One that narrows, too, sends nothing."""
        return self.running is not None and not self.running.start.ends_running_job

    def _may_overtake(self, peer: Peer, now_s: float) -> bool:
        """Tells whether what narrows ends the running job and goes before those that wait.

        For group members once a minute: who asks without end would keep every other job from its turn. Later ones queue.
        """
        if peer.owner:
            return True
        if now_s - self._overtook_s < PEERS_OVERTAKE_EVERY_S:
            return False
        self._overtook_s = now_s
        return True

    def _as_of_now(self, route: Route, made: Response, connection: Connection, now_s: float) -> Response | None:
        """Returns the response where nothing changed since; else None, and the connection waits for a job that reads all."""
        stamps = {path: self._stamp(path) for path in self._watch}
        if self._stopping or (stamps == self._watch and (self._watch or self._trouble is None)):
            return made
        if self._trouble is not None:  # what fails is not tried again for everyone who asks
            return self._outdated(route, connection, now_s)
        job = self._look_after(stamps)
        job.readers.append((connection, route))
        connection.wait(now_s + self._retry_policy.look_s)
        return None

    def _look_after(self, stamps: Mapping[str, str]) -> QueuedJob:
        """Returns a job that reads the files as these stamps have them: one that waits, the running one, or one more."""
        running = self.running
        if running is not None and running.start == LOOK and running.stamps == stamps:
            return running
        job = next((known for known in self._queue if known.start == LOOK), None)
        if job is None:
            job = QueuedJob(LOOK)
            self._queue.insert(0, job)
        job.stamps = stamps  # it has read nothing yet
        return job

    def late(self, connection: Connection, now_s: float) -> Response:
        """Returns the response to a client whose job goes on without it: 202 to a POST, the answer of before to a GET."""
        for task in (*self._queue, *([self.running] if self.running else [])):
            for reader in [reader for reader in task.readers if reader[0] is connection]:
                task.readers.remove(reader)
                return self._outdated(reader[1], connection, now_s)
            if connection in task.waiting:
                task.waiting.remove(connection)
        return body_json(ok=None, error=None, result=b"null", answer=self.served(now_s))

    def _outdated(self, route: Route, connection: Connection, now_s: float) -> Response:
        return show_outdated(route, self.served(now_s), self._trouble, owner=connection.peer.owner)

    def ask(
        self, start: Start, connection: Connection | None = None, *, always: bool = True, ahead: bool = False
    ) -> bool:
        """Queues a job, before all others with `ahead`, or joins an equal one that waits.

        Returns False where it may not: the queue is full.
        """
        job = next((known for known in self._queue if known.start == start), None)
        if job is None:
            if not always and len(self._queue) >= self._retry_policy.queued_max:
                return False
            job = QueuedJob(start)
            self._queue.append(job)
        if ahead:
            self._queue.remove(job)
            self._queue.insert(0, job)
        if connection is not None:
            job.waiting.append(connection)
        return True

    def due_s(self) -> float:
        """Returns when `next_task` has a job: -infinity for now, infinity while one runs."""
        if self.running is not None:
            return math.inf
        return -math.inf if self._queue else self._next_s

    def next_task(self, now_s: float) -> QueuedJob | None:
        """Returns the job to run now, which is then the running one; None where none is due.

        Requests go first; a routine that is due gives way to one of them.
        """
        if self.due_s() > now_s:
            return None
        requested = bool(self._queue) and not (self._gave_way and self._next_s <= now_s)
        self._gave_way = requested and self._next_s <= now_s
        self.running = self._queue.pop(0) if requested else QueuedJob(self._routine)
        self._routine = TICK if self.running.start == START else self._routine
        return self.running

    def finished(self, ended: JobResult, now_s: float) -> JobEffects:
        """Takes up the running job's result and returns what follows from it."""
        job, self.running, self.narrowed = self.running, None, False
        effects = self._finished(job, ended, now_s)
        readers = job.readers if job else []
        return effects._replace(replies=[*effects.replies, *self._shown(readers, now_s)])

    def _finished(self, job: QueuedJob | None, ended: JobResult, now_s: float) -> JobEffects:
        waiting = job.waiting if job else []
        try:
            frame = read_frame(ended)
        except AgentError as error:
            return self._failed(job, error, now_s)
        if job is not None and _is_callers_error(job.start, frame):
            return JobEffects(replies=self._replies(waiting, frame, now_s), trouble=None, lines=frame.lines)
        self._failures = 0
        self._plan(job, now_s + frame.next_run_s)
        answer = None if frame.provisional and not self._provisional and self._is_good(now_s) else frame.answer
        if answer is not None:
            self.answer, self._provisional = answer, frame.provisional
            self._answered_s, self._good_for_s = now_s, good_for_s(answer)
        self._watch = frame.watch
        failed = answer is None or frame.provisional
        self._trouble = frame.error if failed else None
        return JobEffects(
            replies=self._replies(waiting, frame, now_s),
            answer=answer,
            trouble=error_text(frame.error) if failed else "",
            lines=frame.lines,
            language=frame.language,
        )

    def served(self, now_s: float) -> PublishedAnswer | None:
        """Returns the answer; None where there is none yet, or where its time is over and no job brings another.

        One that is due anew is served while the job runs.
        """
        return self.answer if self._trouble is None or self._is_good(now_s) else None

    def _is_good(self, now_s: float) -> bool:
        """Tells whether the answer may still be relied on: by the loop's clock, which nobody can set back."""
        return now_s - self._answered_s < self._good_for_s

    def _plan(self, job: QueuedJob | None, at_s: float) -> None:
        """Plans the next routine. A request may bring it forward, and never puts it off: only it checks and sends."""
        routine = job is None or job.start.intent in _ROUTINE
        self._next_s = at_s if routine else min(self._next_s, at_s)

    def _failed(self, job: QueuedJob | None, error: AgentError, now_s: float) -> JobEffects:
        purposely = error.detail in _ON_PURPOSE
        if not purposely:
            self._failures += 1
            self._trouble = error.to_json()
            self._plan(job, now_s + self._retry_policy.retry_s(self._failures))
        reply = body_json(ok=False, error=error.to_json(), result=b"null", answer=self.served(now_s))
        replies = [(connection, reply) for connection in (job.waiting if job else [])]
        return JobEffects(replies=replies, trouble=None if purposely else str(error))

    def _shown(self, readers: Sequence[tuple[Connection, Route]], now_s: float) -> Replies:
        """Returns what each GET that waited gets, from the answer as it is now."""
        if self._trouble is not None:
            return [(connection, self._outdated(route, connection, now_s)) for connection, route in readers]
        owners = [(connection, route, connection.peer.owner) for connection, route in readers]
        shown = [(each, respond(route, b"", self.answer, owner=owner)) for each, route, owner in owners]
        return [(connection, response) for connection, response in shown if isinstance(response, Response)]

    def _replies(self, waiting: Sequence[Connection], frame: ResultFrame, now_s: float) -> Replies:
        served = self.served(now_s)
        return [(connection, self._reply(frame, served, owner=connection.peer.owner)) for connection in waiting]

    def _reply(self, frame: ResultFrame, served: PublishedAnswer | None, *, owner: bool) -> Response:
        result = frame.result if owner else frame.peer_result
        return body_json(ok=frame.ok, error=frame.error, result=result, answer=served)

    def _stopped_reply(self, now_s: float) -> Response:
        return body_json(ok=False, error=stopping().to_json(), result=b"null", answer=self.served(now_s))

    def abandon(self, now_s: float) -> Replies:
        """Empties the queue at the end and returns what everyone who waits in it is answered; later jobs are refused."""
        self._stopping = True
        reply = self._stopped_reply(now_s)
        queue, self._queue = self._queue, []
        shown = [entry for job in queue for entry in self._shown(job.readers, now_s)]
        return [*((connection, reply) for job in queue for connection in job.waiting), *shown]


def _is_callers_error(start: Start, frame: ResultFrame) -> bool:
    """Tells whether a command was refused for what its caller sent, which says nothing about the evaluation.

    Evaluate brings an answer with every error that arises in a pass; without one, a refused intent made no pass.
    """
    if start.intent in _ROUTINE or frame.answer is not None or frame.error is None:
        return False
    return frame.error["kind"] == "Untrusted" or frame.error["code"] == Fault.USAGE


def stopping() -> AgentError:
    """Returns the error of a job that the daemon's end cut short."""
    return Unavailable(Fault.NOT_RUNNING, "daemon_stopping")


def hung_job(deadline_s: float) -> AgentError:
    """Returns the error of a job that ran longer than it may."""
    return Unavailable(Fault.JOB_TIMEOUT, "job_timeout", seconds=int(deadline_s))


def consent_changed() -> AgentError:
    """Returns the error of a job that ended because what it was started under no longer holds."""
    return NotPermitted(Reason.NOT_PERMITTED, "job_narrowed")


_ON_PURPOSE: Final = frozenset({stopping().detail, consent_changed().detail})  # no failure of evaluation
