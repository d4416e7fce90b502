"""Checks the license's status: the fixed GETs for roots, status list and advisories, through fetch.

They are the same bytes for every customer. A failed check is a remark in the state and a later try, never a worse license.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import SHARD_GETS, WORDS, Purpose, status_word
from opanel_agent.core.documents import bundle
from opanel_agent.core.errors import AgentError, Untrusted
from opanel_agent.core.license import schedule, status_history
from opanel_agent.core.license.schedule import Schedule
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire.message import Reply
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license import install
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.requests.quiet import begin_quiet, quiet_permits
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.network.client import NetworkClient

Result = dict[str, Json]
Install = Callable[[bytes], None]

# One fetch may take half of a pass's 120 s: after this long, further mirrors are left to the next pass.
OTHERS_WITHIN_S: Final = 20

# After one of these the same mirrors will not answer a second question either.
_UNREACHABLE: Final = frozenset(
    {Reason.UNREACHABLE_DNS, Reason.UNREACHABLE_TCP, Reason.TLS_UNTRUSTED, Reason.PROXY_ERROR}
)


def check(context: PassContext) -> Result:
    """Fetches roots, then the status list's shards that are needed, and installs them. Returns what became of each GET.

    Raises NotPermitted where the gate objects; every other failure is noted in the state and plans a later try.
    """
    sources = context.read_gate()
    sources.require(Purpose.LICENSE_STATUS)
    offline = bool(sources.signals.offline)
    asked: list[Json] = []
    failed: AgentError | None = None
    planned = context.schedule
    _plan_for_death(context)
    for fixed, take in _gets(context):
        attempts, error = _get(context.ports, context.outbox, context.now, fixed, take, offline=offline)
        asked += attempts
        failed = failed or error if fixed in SHARD_GETS else error  # one of the roots is of no consequence by itself
        if error is not None and error.code in _UNREACHABLE:
            break
    context.schedule = _after(failed, planned, context.state, context.now, context.ports.random.random())
    begin_quiet(context.state, Purpose.LICENSE_STATUS, context.now, context.ports.random.random())
    return {"asked": asked}


def _gets(context: PassContext) -> Iterator[tuple[str, Install]]:
    """Yields the word of each GET and what takes its document: the roots first, as they may name another status key."""
    yield "roots", partial(install.roots, context)
    for shard in bundle.shards(context.inputs.bundle, context.inputs.root):
        yield status_word(shard), partial(install.status, context, shard=shard)


def check_advisories(context: PassContext, *, commanded: bool) -> list[Json]:
    """Fetches the advisories once a day, or with a command, and returns what became of the GET at each mirror.

    Returns [] where it is not due or not permitted. A failure concerns nothing else.
    """
    purpose, state = Purpose.SECURITY_ADVISORIES, context.state
    waits = state.reports.get(purpose, 0) > context.now or not quiet_permits(state, purpose, context.now)
    if waits and not commanded:
        return []
    sources = context.read_gate()
    if not sources.permits(purpose):
        return []
    state.reports[purpose] = context.now + DAY_S // 2 + int(context.ports.random.random() * DAY_S)
    begin_quiet(state, purpose, context.now, context.ports.random.random())
    context.save_state()  # before it is asked for: a pass that dies under way must not be followed by the same at once
    ports, take, offline = context.ports, partial(install.advisory_set, context), bool(sources.signals.offline)
    attempts, _ = _get(ports, context.outbox, context.now, "advisories", take, offline=offline)
    begin_quiet(state, purpose, context.now, context.ports.random.random())
    return attempts


def _get(
    ports: Ports, outbox: Outbox, now: int, fixed: str, take: Install, *, offline: bool
) -> tuple[list[Json], AgentError | None]:
    """Makes one fixed GET; returns what became of it at each mirror that replied, and the error in the end.

    A mirror whose document is refused (garbage, another list, an older one) must not hide the others: the next one is
    asked, as long as this pass has time for it. fetch has passed over the mirrors that cannot be reached.
    """
    attempts: list[Json] = []
    refused: AgentError | None = None
    begun_s = ports.clock.read().boottime_s
    for word in (word for word, (means, _) in WORDS.items() if means == fixed):
        outbox.mark_get(fixed, now)
        reply, error = _get_from(ports.network, outbox, word, fixed, take, offline=offline)
        if refused is not None and error is not None and error.detail == "no_mirror":
            break
        attempts.append(attempt_json(reply, error))
        if error is None:
            return attempts, None
        refused = refused or error
        late = ports.clock.read().boottime_s - begun_s > OTHERS_WITHIN_S
        if late or not isinstance(error, Untrusted):
            break
    return attempts, refused


def _get_from(
    network: NetworkClient, outbox: Outbox, word: str, fixed: str, take: Install, *, offline: bool
) -> tuple[Reply, AgentError | None]:
    """Sends one word to fetch. Whatever kept it from a good document is an error, shown and planned around alike."""
    try:
        reply = network.fetch(word, signalled=offline)
    except AgentError as unanswered:  # fetch itself hung, died or was refused by systemd
        return Reply(ok=False, code=str(unanswered.code), detail=unanswered.detail), unanswered
    if reply.detail != "no_mirror":  # else nothing was asked: what was last is still the latest
        outbox.keep_get_reply(fixed, reply)
    error = error_of(reply)
    if error is not None:
        return reply, error
    try:
        take(reply.body)
    except Untrusted as refused:
        return reply, refused
    return reply, None


def attempt_json(reply: Reply, error: AgentError | None) -> Json:
    """Returns one attempt as the commands show it: where it went, its outcome, and the head that was sent."""
    return {
        "url": reply.url,
        "ok": error is None,
        "code": None if error is None else str(error.code),
        "error": None if error is None else error.to_json(),
        "head": reply.sent_head.decode("ascii"),
    }


def _plan_for_death(context: PassContext) -> None:
    """Stores the back-off before anything is asked: a pass or a fetch that dies counts as a failure.

    Raises Storage where it cannot be stored: then nothing is asked, as where the attempt cannot be marked.
    """
    now, random = context.now, context.ports.random
    context.schedule = schedule.before_asking(context.schedule, now, random.random())
    begin_quiet(context.state, Purpose.LICENSE_STATUS, now, random.random())
    context.save_schedule()
    context.save_state()


def _after(error: AgentError | None, planned: Schedule, state: AgentState, now: int, draw: float) -> Schedule:
    """Returns the next check after this one, whose outcome the state notes; `draw` in [0, 1)."""
    if error is None:
        state.failure, state.checked_at = None, now
        bad = status_history.any_bad(state.seen)
        return schedule.after_success(planned, now, draw, sighting=bad)
    state.failure = str(error.code)
    retry_after = error.values.get("retry_after_s")
    retry_after_s = retry_after if isinstance(retry_after, int) else None
    return schedule.after_failure(planned, now, draw, retry_after_s=retry_after_s)
