"""A newer edition of the license, asked for by itself: `core.renewal` says when and of what, this is the way there and back.

A request is *pending* from when it is sealed (`held/renewal-…`) until it has an answer: a document or a refusal by name. It
is about one license and by one key; where either is another now, it is dropped. Its steps, each durable before the next:
held · ledger · bytes and mark in `sent/` · connection · reply in `sent/` · ledger · bundle · no longer held · plan. Killed
before the reply was kept, the very same request is sent on another day and gets the same answer (or a newer one). Killed
after it, the reply is taken up in the next pass without asking again. The marks in `sent/` keep it at one request a day even
where the plan that said so was lost.

Nothing here ends a pass or changes a state by failing: what went wrong is remembered in the plan and told.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from opanel_agent.core import binding, renewal, sightings
from opanel_agent.core.documents import request as request_document
from opanel_agent.core.documents.request import Kind
from opanel_agent.core.errors import AgentError, NotYet, Untrusted
from opanel_agent.core.purposes import Purpose
from opanel_agent.core.reasons import Fault
from opanel_agent.core.renewal import Plan
from opanel_agent.core.request import SIGNED, Reply, Sealed, seal
from opanel_agent.core.strict_json import Json
from opanel_agent.jobs import adopt, agent_key, ask, gate, sent
from opanel_agent.jobs.desk import Desk
from opanel_agent.jobs.handover import failure, hand_over, record_end
from opanel_agent.system.log import line

PURPOSE: Final = Purpose.LICENSE_RENEWAL
PATH: Final = "/v1/renewals"
KIND: Final = Kind.RENEWAL.value


def renew(desk: Desk) -> Json:
    """The request as it went, where one was due and allowed; else None."""
    try:
        _take_up(desk)
        planned = plan(desk)
        if planned is None or not renewal.due(planned, desk.now) or not ask.quiet_permits(desk, PURPOSE):
            return None
        if _endpoint(desk) is None or ask.denied(desk, PURPOSE):
            return None
        if renewal.asked_today(sent.last_attempt(desk, KIND), desk.now):
            desk.memory.renewal = renewal.tomorrow(planned, desk.now, desk.world.chance.fraction())
            return None
        return _ask(desk)
    except AgentError as error:
        _remember(desk, error)
        return None


def plan(desk: Desk) -> Plan | None:
    """The plan for the installed license, made where there is none; None where this installation does not ask."""
    key = agent_key.load(desk.world.files, desk.world.paths)
    held = desk.bundle
    activated = None if held is None else held.activation
    matches = activated is None or binding.match(activated.bind, desk.components).ok
    bad = sightings.any_bad(desk.memory.seen)
    kid = None if key is None else key.public.kid
    if held is None or not renewal.wanted(held, kid=kid, matches=matches, bad=bad):
        return None
    kept = desk.memory.renewal
    desk.memory.renewal = renewal.plan(kept, held.license, desk.now, desk.world.chance.fraction())
    return desk.memory.renewal


def told(desk: Desk) -> dict[str, Json]:
    """For status: when it asks next (None: it does not, or may not), when it asked last, and why that brought nothing."""
    planned = plan(desk)
    if planned is None:
        return {"next": None, "at": None, "failure": None}
    return {"next": planned.next_s if _may(desk) else None, "at": planned.asked_at, "failure": planned.failure}


def next_s(desk: Desk) -> int | None:
    """When this wants the next pass."""
    planned = plan(desk)
    if planned is None or not _may(desk):
        return None
    moment = max(planned.next_s, desk.memory.quiet_until or 0)
    return moment if moment > desk.now else None


def _ask(desk: Desk) -> Json:
    """Recorded, then sent. Raises Storage where it cannot be recorded: then nothing is sent."""
    sealed = next(_pending(desk), None) or _prepare(desk)
    asked = gate.asked(sealed, desk.world.catalog, desk.now)
    gate.require(PURPOSE, desk.snapshot(PURPOSE, asked=asked))
    ask.begin_quiet(desk, PURPOSE)
    reply = hand_over(desk, sealed)
    missed = _answered(desk, sealed, reply)
    return {
        "url": reply.url,
        "ok": missed is None,
        "code": None if missed is None else str(missed.code),
        "error": None if missed is None else missed.to_json(),
        "head": reply.sent_head.decode("ascii"),
    }


def _answered(desk: Desk, sealed: Sealed, reply: Reply) -> AgentError | None:
    """What came of it. Whoever did not answer is asked the same again on another day."""
    missed = failure(reply)
    if missed is None:
        try:
            adopt.renewed(desk, reply.body)
        except (Untrusted, NotYet) as refused:
            missed = refused
    _remember(desk, missed, retry_after_s=reply.retry_after_s)
    by_name = isinstance(missed, Untrusted | NotYet) and missed.code is not Fault.RATE_LIMITED
    if missed is None or by_name:
        sent.end_wait(desk, sealed)
    return missed


def _remember(desk: Desk, missed: AgentError | None, *, retry_after_s: int | None = None) -> None:
    """The plan for the license as it is now: a new one, or the same one and why."""
    planned = plan(desk)
    if planned is None:
        return
    if missed is not None:
        draw = desk.world.chance.fraction()
        planned = renewal.tomorrow(planned, desk.now, draw, retry_after_s=retry_after_s)
    code = None if missed is None else str(missed.code)
    desk.memory.renewal = replace(planned, asked_at=desk.now, failure=code)
    if code is None:
        line("license_renewed", next=planned.next_s)
    elif code != planned.failure:  # the journal hears of it once
        line("license_not_renewed", reason=code, next=planned.next_s)


def _take_up(desk: Desk) -> None:
    """A reply that was kept when the pass was killed; what is pending for another license or key is dropped."""
    pending = list(_pending(desk))
    for name in _held(desk):
        if name not in {sealed.id for sealed in pending}:
            desk.world.files.remove(desk.world.paths.held / name)
    for sealed in pending:
        reply = sent.reply(desk, sealed.id)
        if reply is not None and reply.ok:
            record_end(desk, sealed, reply)
            _answered(desk, sealed, reply)


def _pending(desk: Desk) -> Iterator[Sealed]:
    """The held requests that still ask for the installed license, by the key at hand, at the place that the root names."""
    key = agent_key.load(desk.world.files, desk.world.paths)
    endpoint = _endpoint(desk)
    if desk.bundle is None or key is None or endpoint is None:
        return
    for name in _held(desk):
        sealed = sent.waiting(desk, name)
        if sealed is None or sealed.purpose != PURPOSE or sealed.url != endpoint + PATH:
            continue
        try:
            claims = request_document.verify(sealed.body)
        except Untrusted:  # damaged, or nothing of ours
            continue
        if (claims.license_sha256, claims.jwk.kid) == (desk.bundle.license.digest, key.public.kid):
            yield sealed


def _held(desk: Desk) -> list[str]:
    return [name for name in desk.world.files.names(desk.world.paths.held) if name.startswith(f"{KIND}-")]


def _prepare(desk: Desk) -> Sealed:
    sealed = seal(
        request_id=sent.new_id(desk, KIND),
        purpose=PURPOSE,
        url=f"{_endpoint(desk)}{PATH}",
        accept=SIGNED,
        body=ask.signed_request(desk, Kind.RENEWAL),
        held_since=desk.now,
    )
    sent.hold(desk, sealed)
    return sealed


def _may(desk: Desk) -> bool:
    return _endpoint(desk) is not None and not ask.denied(desk, PURPOSE)


def _endpoint(desk: Desk) -> str | None:
    return next(iter(gate.destinations(PURPOSE, desk.settings, desk.root)), None)
