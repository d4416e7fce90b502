"""Runs the daemon's one thread: waits, and hands each event to the part that it concerns.

`Daemon.run` is a `selectors` loop over the clients (`connections`), the pipes of the running job (`job_process`), and
a socket pair into which the interpreter writes the signals. What to do is decided elsewhere (`job_queue`, `api`); here
is when. Nothing waits but `select`, so an idle daemon costs no context switch between deadlines.

Signals: SIGTERM and SIGINT end it (a running job gets a moment to finish, then it is killed with all it started; whoever
asks meanwhile is answered), SIGHUP makes it read everything again now and send nothing. The clock is CLOCK_BOOTTIME: it
counts the time a machine sleeps, and nobody can set it. Only the answer of before a start is judged by the wall clock, as
its dates are.
"""

import math
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, DefaultSelector
from typing import NamedTuple

from opanel_agent.core.errors import AgentError
from opanel_agent.core.text_safety import escape_lines
from opanel_agent.daemon.api import PublishedAnswer
from opanel_agent.daemon.connection import Timeouts
from opanel_agent.daemon.connections import ClientSockets, ConnectionLimits
from opanel_agent.daemon.jobs.job_process import JobLimits, JobProcess, JobResult
from opanel_agent.daemon.jobs.job_queue import (
    LOOK,
    JobQueue,
    QueuedJob,
    Replies,
    RetryPolicy,
    consent_changed,
    hung_job,
    stopping,
)
from opanel_agent.daemon.listener import passed_listeners
from opanel_agent.daemon.notify import Notifier
from opanel_agent.daemon.reporter import Reporter
from opanel_agent.daemon.runtime_dir import InstancePaths, RuntimeDir, find_instance_paths
from opanel_agent.system import environment
from opanel_agent.system.journal import Journal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_SLEEP_MAX_S = 600.0  # select counts no time asleep, so a machine that woke up is noticed within this
REFUSED_S = 5.0  # between two starts that were refused: what they lack comes by a person
DESCRIPTORS = 4096  # as many clients as the kernel lets wait in a listening socket's queue
DESCRIPTORS_KEPT = 64  # for jobs' pipes, the journal, files and sockets of the daemon's own
_KILL_S = 3.0  # what the kernel gets to end a killed job before the daemon leaves without it


class DaemonLimits(NamedTuple):
    """Holds every limit of the daemon in one place."""

    job_limits: JobLimits = JobLimits()
    timeouts: Timeouts = Timeouts()
    connection_limits: ConnectionLimits = ConnectionLimits()
    retry_policy: RetryPolicy = RetryPolicy()
    stop_s: float = 2.0  # what a running job gets to finish in at the end
    drain_s: float = 0.1  # at the least between the signal and the end: kept connections learn that it is theirs too
    last_s: float = 1.0  # at the most after that, for who was taken in and has not asked yet
    socket_check_s: float = 300.0  # between two looks at the socket's path; its deletion is noticed at once


class Job(NamedTuple):
    """Says how a job is started: evaluate, for everyone but the tests."""

    command: list[str]
    environment: Mapping[str, str]


def clock_s() -> float:
    """Returns the seconds since the machine's start, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Hooks(NamedTuple):
    """Holds the clock, the selector, and what starts a job: the real ones for everyone but the tests."""

    clock_s: Callable[[], float] = clock_s
    selector: Callable[[], BaseSelector] = DefaultSelector
    spawn: Callable[..., JobProcess] = JobProcess


REAL_HOOKS = Hooks()


class Daemon:
    """Is the daemon of one installation, from `run` to its end."""

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
        self._job_process: JobProcess | None = None
        self._watched: set[int] = set()  # the child's pipes
        self._alive_s = -math.inf if notifier.watchdog_s else math.inf
        self._end_s = math.inf  # when it is over, whatever still runs
        self._drained_s = math.inf  # when it is over, where no job runs
        self._checked_s = -math.inf  # when the socket's path was looked at

    def run(self) -> int:
        """Runs until a signal ends it, and returns the exit status. Raises what `RuntimeDir` raises, at once."""
        self._catch_signals()
        passed = passed_listeners(os.environ, os.getpid(), self._instance_paths.socket)
        self._runtime_dir = RuntimeDir(self._instance_paths, passed)
        try:
            self._clients = ClientSockets(
                self._selector,
                self._runtime_dir.listeners,
                self._job_queue,
                connection_limits=self._limits.connection_limits,
                timeouts=self._limits.timeouts,
            )
            saved, last_license = self._runtime_dir.saved(), self._runtime_dir.last_license()
            self._job_queue.restore(saved, last_license, wall_s=time.time(), now_s=self._clock_s())
            restored = self._job_queue.answer
            self._notifier.ready(f"license {restored.summary}, of before the start" if restored else "no answer yet")
            self._reporter.event("started")
            self._runtime_dir.watch()
            while self._turn(self._clock_s()):
                for key, mask in self._selector.select(self._sleep_s()):
                    key.data(mask, self._clock_s())
                self._live(self._clock_s())
        finally:
            self._leave()
        self._reporter.event("stopped")
        return 0

    def _turn(self, now_s: float) -> bool:
        """Does what is due; returns False when it is over."""
        self._clients.turn(now_s)
        if self._job_process is not None:
            self._judge(self._job_process, now_s)
        elif not self._is_stopping:
            self._begin(self._job_queue.next_task(now_s), now_s)
        if self._checked_s + self._limits.socket_check_s <= now_s:
            self._check_socket(now_s)
        if not self._is_stopping:
            return True
        if self._job_process is not None:
            return now_s < self._end_s
        return self._drains(now_s)

    def _drains(self, now_s: float) -> bool:
        """Tells whether somebody is still to be served. From the drain's end nobody new is taken in."""
        if now_s < self._drained_s:
            return len(self._clients) > 0
        self._clients.stop_accepting()
        return now_s < self._drained_s + self._limits.last_s and self._clients.unanswered

    @property
    def _is_stopping(self) -> bool:
        return self._end_s < math.inf

    def _live(self, now_s: float) -> None:
        """Tells the watchdog, once a whole turn is over: a turn that hangs is what it is there for."""
        if self._alive_s <= now_s:
            self._notifier.alive()
            self._alive_s = now_s + (self._notifier.watchdog_s or math.inf)

    def _sleep_s(self) -> float:
        child_s = self._job_process.deadline_s if self._job_process else math.inf
        now_s = self._clock_s()
        end_s = self._drained_s if now_s < self._drained_s else self._drained_s + self._limits.last_s
        end_s = self._end_s if self._job_process else end_s
        queue_s = math.inf if self._is_stopping else self._job_queue.due_s()
        due_s = min(self._clients.due_s(), queue_s, child_s, self._alive_s, end_s)
        return min(max(due_s - now_s, 0.0), _SLEEP_MAX_S)

    # jobs

    def _begin(self, task: QueuedJob | None, now_s: float) -> None:
        if task is None:
            return
        try:
            self._job_process = self._spawn(
                self._job.command, self._job.environment, task.start.frame(), self._limits.job_limits, now_s
            )
        except AgentError as error:
            self._finish(JobResult(output=b"", error=error), now_s)
            return
        self._watch(self._job_process, self._job_process.stdin, EVENT_WRITE)
        self._watch(self._job_process, self._job_process.stdout, EVENT_READ)

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
            child.end(stopping() if self._is_stopping else hung_job(self._limits.job_limits.deadline_s))

    def _reap(self, now_s: float) -> None:
        ended = self._job_process.reap() if self._job_process else None
        if ended is not None:
            self._job_process = None
            self._unwatch(set(self._watched))
            self._finish(ended, now_s)
        if self._job_process is None:
            _reap_orphans()

    def _finish(self, ended: JobResult, now_s: float) -> None:
        before = self._status(now_s)
        outcome = self._job_queue.finished(ended, now_s)
        self._reporter.set_language(outcome.language)
        for line in outcome.lines:
            self._reporter.job_event(*line, now_s)
        if outcome.trouble is not None:
            self._reporter.trouble(outcome.trouble, now_s)
        if outcome.answer is not None:
            self._publish(outcome.answer, now_s)
            self._reporter.license(outcome.answer.state, outcome.answer.reasons, now_s)
        elif outcome.trouble and self._job_queue.served(now_s) is None:
            self._reporter.no_answer(outcome.trouble, now_s)
        if before != self._status(now_s):
            self._notifier.status(self._status(now_s))
        self._reply(outcome.replies, now_s)

    def _status(self, now_s: float) -> str:
        served = self._job_queue.served(now_s)
        return "no answer" if served is None else f"license {served.summary}"

    def _publish(self, answer: PublishedAnswer, now_s: float) -> None:
        try:
            self._runtime_dir.publish(answer.peers, answer.whole)
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
        for number in (*SIGNALS, signal.SIGIO):
            signal.signal(number, _noted)
        self._selector.register(self._signals, EVENT_READ, self._signalled)

    def _signalled(self, _mask: int, now_s: float) -> None:
        for number in set(self._signals.recv(4096)):
            if number == signal.SIGCHLD:
                self._reap(now_s)
            elif number == signal.SIGIO:
                self._check_socket(now_s)
            elif number == signal.SIGHUP:
                self._job_queue.ask(LOOK)
            else:
                self._stop(now_s)

    def _check_socket(self, now_s: float) -> None:
        """Makes the socket anew where its path leads nowhere, and has systemd keep it for the next start."""
        self._checked_s = now_s
        if self._is_stopping:
            return
        try:
            healed = self._runtime_dir.heal()
        except AgentError as error:
            self._reporter.socket_not_healed(str(error), now_s)
            return
        if healed is None:
            return
        self._clients.listen(healed.made)
        if healed.unreachable is not None:
            self._clients.retire(healed.unreachable, now_s)
        self._notifier.keep(healed.made.fileno(), "healed")
        self._runtime_dir.watch()
        self._reporter.event("socket_healed", level="warning")

    def _stop(self, now_s: float) -> None:
        """Begins the end; a second signal changes nothing.

        Clients are served to the last. Where systemd holds the socket, new ones are too.
        """
        if self._is_stopping:
            return
        self._notifier.stopping()
        self._clients.finish()
        self._runtime_dir.unlink_socket()  # whoever waits there already is still taken in
        self._reply(self._job_queue.abandon(now_s), now_s)
        self._end_s = now_s + self._limits.stop_s + _KILL_S
        self._drained_s = now_s + self._limits.drain_s
        if self._job_process is not None:
            self._job_process.deadline_s = min(self._job_process.deadline_s, now_s + self._limits.stop_s)

    def _leave(self) -> None:
        if self._job_process is not None:
            self._job_process.end(stopping())
        if self._is_stopping:
            self._clients.stop_accepting()
            self._clients.turn(self._clock_s())
        self._clients.close()
        self._runtime_dir.release()
        self._notifier.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signals.close()
        self._wakeup.close()


def _noted(_number: int, _frame: object) -> None:
    """Does nothing: the interpreter has written it to the wakeup socket already."""


def _reap_orphans() -> None:
    """Reaps what jobs left behind, where this is PID 1 (a container)."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def allow_descriptors() -> int:
    """Raises the limit of open files as far as it may and is of use; returns how many connections that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - DESCRIPTORS_KEPT, 1)


def main(hooks: Hooks = REAL_HOOKS) -> int:
    """Runs `opanel-agent daemon` and returns the exit status."""
    try:
        instance_paths = find_instance_paths()
        job = Job(
            command=[sys.executable, "-I", "-m", "opanel_agent", "evaluate"],
            environment=environment.select(os.environ, user_folders=instance_paths.make, service=True),
        )
        limits = DaemonLimits(connection_limits=ConnectionLimits(at_once=allow_descriptors()))
        notifier = Notifier(os.environ, pid=os.getpid())
        reporter = Reporter(Journal(os.environ).write, _locale(os.environ))
        return Daemon(instance_paths, job, notifier=notifier, reporter=reporter, limits=limits, hooks=hooks).run()
    except AgentError as error:
        return _explain(error)


def _locale(environment: Mapping[str, str]) -> str:
    """Tells the language as POSIX orders its variables, and as `texts.language` does.

    Until evaluate tells what the settings say.
    """
    named = (environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name))
    return "tr" if next(named, "").lower().startswith("tr") else "en"


def _explain(error: AgentError) -> int:
    """Explains the refusal to start, in the words that commands use too: only here are they worth their memory."""
    from opanel_agent.messages import describe_error, language

    title, hint = describe_error(error, language(None, None, os.environ))
    sys.stderr.write(escape_lines(f"{title}\n{hint}\n"))
    if "NOTIFY_SOCKET" in os.environ:  # systemd starts it again at once, whatever it ended with
        time.sleep(REFUSED_S)
    return error.exit_status
