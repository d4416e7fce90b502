"""The daemon's one thread: waits, and gives what happened to whom it concerns.

`Daemon.run` is a `selectors` loop over the listening socket and its clients (`clients`), the pipes of the running
job (`children`), and a socket pair into which the interpreter writes the signals. What to do is decided elsewhere
(`work`, `api`); here is when. Nothing waits but `select`, so an idle daemon costs no context switch between
deadlines.

Signals: SIGTERM and SIGINT end it (a running job gets a moment to finish, then it is killed with all it started),
SIGHUP makes it evaluate now. The clock is CLOCK_BOOTTIME: it counts the time a machine sleeps, and nobody can set it.
"""

import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, DefaultSelector
from typing import NamedTuple

from opanel_agent.core.errors import AgentError
from opanel_agent.core.text_safety import escape_lines
from opanel_agent.daemon.connection import Timeouts
from opanel_agent.daemon.connections import ClientSockets, ConnectionLimits, TokenBucket
from opanel_agent.daemon.job_process import JobLimits, JobProcess, JobResult
from opanel_agent.daemon.job_queue import (
    TICK,
    JobQueue,
    QueuedJob,
    Replies,
    RetryPolicy,
    consent_changed,
    hung_job,
    stopping,
)
from opanel_agent.daemon.notify import Notifier
from opanel_agent.daemon.reporter import Reporter
from opanel_agent.daemon.runtime_dir import InstancePaths, RuntimeDir, find_instance_paths
from opanel_agent.system import environment
from opanel_agent.system.journal import Journal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SLEEP_MAX_S = 600.0  # select counts no time asleep, so a machine that woke up is noticed within this
_KILL_S = 3.0  # what the kernel gets to end a killed job before the daemon leaves without it


class DaemonLimits(NamedTuple):
    """Every figure of the daemon in one place."""

    job_limits: JobLimits = JobLimits()
    timeouts: Timeouts = Timeouts()
    connection_limits: ConnectionLimits = ConnectionLimits()
    token_bucket: TokenBucket = TokenBucket()
    retry_policy: RetryPolicy = RetryPolicy()
    stop_s: float = 2.0  # what a running job gets to finish in at the end


class Job(NamedTuple):
    """How a job is started: evaluate, for everyone but the tests."""

    command: list[str]
    environment: Mapping[str, str]


def clock_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Hooks(NamedTuple):
    """The clock, how it waits, and how a job is started: the real ones for everyone but the tests."""

    clock_s: Callable[[], float] = clock_s
    selector: Callable[[], BaseSelector] = DefaultSelector
    spawn: Callable[..., JobProcess] = JobProcess


REAL_HOOKS = Hooks()


class Daemon:
    def __init__(
        self,
        instance_paths: InstancePaths,
        job: Job,
        *,
        notifier: Notifier,
        reporter: Reporter,
        limits: DaemonLimits,
        hooks: Hooks = REAL_HOOKS,
    ) -> None:
        self._instance_paths = instance_paths
        self._job = job
        self._notifier = notifier
        self._reporter = reporter
        self._limits = limits
        self._clock_s = hooks.clock_s
        self._spawn = hooks.spawn
        self._selector = hooks.selector()
        self._job_queue = JobQueue(limits.retry_policy, instance_paths.owner)
        self._child: JobProcess | None = None
        self._watched: set[int] = set()  # the child's pipes
        self._alive_s = -math.inf if notifier.watchdog_s else math.inf
        self._end_s = math.inf  # when it is over, whatever still runs

    def run(self) -> int:
        """Until a signal ends it. Raises what `Claim` raises, before anything is touched."""
        self._catch_signals()
        self._runtime_dir = RuntimeDir(self._instance_paths)
        try:
            self._clients = ClientSockets(
                self._selector,
                self._runtime_dir.listener,
                self._job_queue,
                connection_limits=self._limits.connection_limits,
                token_bucket=self._limits.token_bucket,
                timeouts=self._limits.timeouts,
            )
            self._notifier.ready("no answer yet")
            self._reporter.event("started")
            while self._turn(self._clock_s()):
                for key, mask in self._selector.select(self._sleep_s()):
                    key.data(mask, self._clock_s())
                self._live(self._clock_s())
        finally:
            self._leave()
        self._reporter.event("stopped")
        return 0

    def _turn(self, now_s: float) -> bool:
        """What time brings. False when it is over."""
        self._clients.turn(now_s)
        if self._child is not None:
            self._judge(self._child, now_s)
        elif self._end_s == math.inf:
            self._begin(self._job_queue.next_task(now_s), now_s)
        return self._end_s == math.inf or (self._child is not None and now_s < self._end_s)

    def _live(self, now_s: float) -> None:
        """Tells the watchdog, once a whole turn is over: a turn that hangs is what it is there for."""
        if self._alive_s <= now_s:
            self._notifier.alive()
            self._alive_s = now_s + (self._notifier.watchdog_s or math.inf)

    def _sleep_s(self) -> float:
        child_s = self._child.deadline_s if self._child else math.inf
        work_s = self._job_queue.due_s() if self._end_s == math.inf else math.inf
        due_s = min(self._clients.due_s(), work_s, child_s, self._alive_s, self._end_s)
        return min(max(due_s - self._clock_s(), 0.0), _SLEEP_MAX_S)

    # jobs

    def _begin(self, task: QueuedJob | None, now_s: float) -> None:
        if task is None:
            return
        try:
            self._child = self._spawn(
                self._job.command, self._job.environment, task.start.frame(), self._limits.job_limits, now_s
            )
        except AgentError as error:
            self._finish(JobResult(output=b"", error=error), now_s)
            return
        self._watch(self._child, self._child.stdin, EVENT_WRITE)
        self._watch(self._child, self._child.stdout, EVENT_READ)

    def _watch(self, child: JobProcess, pipe: int | None, events: int) -> None:
        if pipe is not None:
            self._watched.add(pipe)
            self._selector.register(pipe, events, lambda mask, _now_s: self._pipe(child, mask))

    def _pipe(self, child: JobProcess, mask: int) -> None:
        if mask & EVENT_WRITE:
            child.feed()
        else:
            child.listen()
        self._unwatch(self._watched - {child.stdin, child.stdout})

    def _unwatch(self, pipes: set[int]) -> None:
        for pipe in pipes:
            self._watched.discard(pipe)
            self._selector.unregister(pipe)

    def _judge(self, child: JobProcess, now_s: float) -> None:
        if self._job_queue.narrowed:
            self._job_queue.narrowed = False
            child.end(consent_changed())
        elif child.deadline_s <= now_s:
            child.end(hung_job(self._limits.job_limits.deadline_s) if self._end_s == math.inf else stopping())

    def _reap(self, now_s: float) -> None:
        ended = self._child.reap() if self._child else None
        if ended is not None:
            self._child = None
            self._unwatch(set(self._watched))
            self._finish(ended, now_s)
        if self._child is None:
            _reap_orphans()

    def _finish(self, ended: JobResult, now_s: float) -> None:
        before = self._job_queue.answer
        outcome = self._job_queue.finished(ended, now_s)
        self._reporter.set_language(outcome.language)
        for line in outcome.lines:
            self._reporter.job_event(*line, now_s)
        if outcome.trouble is not None:
            self._reporter.trouble(outcome.trouble, now_s)
        if outcome.answer is not None:
            self._publish(outcome.answer.peers, now_s)
            self._reporter.license(outcome.answer.state, outcome.answer.reasons, now_s)
            if before is None or before.summary != outcome.answer.summary:
                self._notifier.status(f"license {outcome.answer.summary}")
        self._reply(outcome.replies, now_s)

    def _publish(self, answer: bytes, now_s: float) -> None:
        try:
            self._runtime_dir.publish(answer)
        except AgentError as error:  # the socket still gives it
            self._reporter.answer_not_written(str(error), now_s)

    def _reply(self, replies: Replies, now_s: float) -> None:
        for connection, response in replies:
            self._clients.answer(connection, response, now_s)

    # signals and the end

    def _catch_signals(self) -> None:
        self._signals, wakeup = socket.socketpair()
        self._wakeup = wakeup
        for end in (self._signals, wakeup):
            end.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _noted)
        self._selector.register(self._signals, EVENT_READ, self._signalled)

    def _signalled(self, _mask: int, now_s: float) -> None:
        for number in set(self._signals.recv(4096)):
            if number == signal.SIGCHLD:
                self._reap(now_s)
            elif number == signal.SIGHUP:
                self._job_queue.ask(TICK)
            else:
                self._stop(now_s)

    def _stop(self, now_s: float) -> None:
        """The beginning of the end; a second signal changes nothing."""
        if self._end_s < math.inf:
            return
        self._notifier.stopping()
        self._clients.stop_accepting()
        self._runtime_dir.unlink_socket()
        self._reply(self._job_queue.abandon(), now_s)
        self._end_s = now_s + self._limits.stop_s + _KILL_S
        if self._child is not None:
            self._child.deadline_s = min(self._child.deadline_s, now_s + self._limits.stop_s)

    def _leave(self) -> None:
        if self._child is not None:
            self._child.end(stopping())
        self._clients.close()
        self._runtime_dir.release()
        self._notifier.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signals.close()
        self._wakeup.close()


def _noted(_number: int, _frame: object) -> None:
    """The interpreter has written it to the wakeup socket already."""


def _reap_orphans() -> None:
    """What jobs left behind, where this is PID 1 (a container)."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def main(hooks: Hooks = REAL_HOOKS) -> int:
    """`opanel-agent daemon`. Returns the exit status."""
    try:
        instance_paths = find_instance_paths()
        job = Job(
            command=[sys.executable, "-I", "-m", "opanel_agent", "evaluate"],
            environment=environment.select(os.environ, user_folders=instance_paths.make, service=True),
        )
        notifier = Notifier(os.environ, pid=os.getpid())
        reporter = Reporter(Journal(os.environ).tell, _locale(os.environ))
        return Daemon(
            instance_paths, job, notifier=notifier, reporter=reporter, limits=DaemonLimits(), hooks=hooks
        ).run()
    except AgentError as error:
        return _explain(error)


def _locale(environment: Mapping[str, str]) -> str:
    """As POSIX orders its variables, and as `texts.language` does: until evaluate tells what the settings say."""
    named = (environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name))
    return "tr" if next(named, "").lower().startswith("tr") else "en"


def _explain(error: AgentError) -> int:
    """The refusal to start, in the words that commands use too: only here are they worth their memory."""
    from opanel_agent.messages import describe_error, language

    title, hint = describe_error(error, language(None, None, os.environ))
    sys.stderr.write(escape_lines(f"{title}\n{hint}\n"))
    return error.exit_status
