"""Sends renewal requests and installs the result; `core.license.renewal` decides when.

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

from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import AgentError, NotYet, Untrusted
from opanel_agent.core.license import binding, renewal, status_history
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.wire.message import SIGNED, Reply, Sealed, seal
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license import agent_key, check, install
from opanel_agent.evaluate.outbox import new_id
from opanel_agent.evaluate.reply_errors import error_of
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event

PURPOSE: Final = Purpose.LICENSE_RENEWAL
PATH: Final = "/v1/renewals"
KIND: Final = RequestKind.RENEWAL.value


def renew(context: PassContext) -> Json:
    """The request as it went, where one was due and allowed; else None."""
    try:
        _take_up(context)
        planned = plan(context)
        if planned is None or not renewal.due(planned, context.now) or not check.quiet_permits(context, PURPOSE):
            return None
        if _endpoint(context) is None or check.denied(context, PURPOSE):
            return None
        if renewal.asked_today(context.outbox.last_attempt(KIND), context.now):
            context.memory.renewal = renewal.tomorrow(planned, context.now, context.world.chance.random())
            return None
        return _ask(context)
    except AgentError as error:
        _remember(context, error)
        return None


def plan(context: PassContext) -> Plan | None:
    """The plan for the installed license, made where there is none; None where this installation does not ask."""
    key = agent_key.load(context.world.files, context.world.paths)
    held = context.bundle
    activated = None if held is None else held.activation
    matches = activated is None or binding.match(activated.bind, context.components).ok
    bad = status_history.any_bad(context.memory.seen)
    kid = None if key is None else key.public.kid
    if held is None or not renewal.wanted(held, kid=kid, matches=matches, bad=bad):
        return None
    kept = context.memory.renewal
    context.memory.renewal = renewal.plan(kept, held.license, context.now, context.world.chance.random())
    return context.memory.renewal


def told(context: PassContext) -> dict[str, Json]:
    """For status: when it asks next (None: it does not, or may not), when it asked last, and why that brought nothing."""
    planned = plan(context)
    if planned is None:
        return {"next": None, "at": None, "failure": None}
    return {"next": planned.next_s if _may(context) else None, "at": planned.asked_at, "failure": planned.failure}


def next_s(context: PassContext) -> int | None:
    """When this wants the next pass."""
    planned = plan(context)
    if planned is None or not _may(context):
        return None
    moment = max(planned.next_s, context.memory.quiet_until or 0)
    return moment if moment > context.now else None


def _ask(context: PassContext) -> Json:
    """Recorded, then sent. Raises Storage where it cannot be recorded: then nothing is sent."""
    sealed = next(_pending(context), None) or _prepare(context)
    asked = gate_inputs.view_request(sealed, context.world.catalog, context.now)
    gate_inputs.require(PURPOSE, context.snapshot(PURPOSE, asked=asked))
    check.begin_quiet(context, PURPOSE)
    reply = context.outbox.submit(sealed, context.world.outlet, context.now, signalled=context.signalled)
    missed = _answered(context, sealed, reply)
    return {
        "url": reply.url,
        "ok": missed is None,
        "code": None if missed is None else str(missed.code),
        "error": None if missed is None else missed.to_json(),
        "head": reply.sent_head.decode("ascii"),
    }


def _answered(context: PassContext, sealed: Sealed, reply: Reply) -> AgentError | None:
    """What came of it. Whoever did not answer is asked the same again on another day."""
    missed = error_of(reply)
    if missed is None:
        try:
            install.renewed(context, reply.body)
        except (Untrusted, NotYet) as refused:
            missed = refused
    _remember(context, missed, retry_after_s=reply.retry_after_s)
    by_name = isinstance(missed, Untrusted | NotYet) and missed.code is not Fault.RATE_LIMITED
    if missed is None or by_name:
        context.outbox.end_hold(sealed.id)
    return missed


def _remember(context: PassContext, missed: AgentError | None, *, retry_after_s: int | None = None) -> None:
    """The plan for the license as it is now: a new one, or the same one and why."""
    planned = plan(context)
    if planned is None:
        return
    if missed is not None:
        draw = context.world.chance.random()
        planned = renewal.tomorrow(planned, context.now, draw, retry_after_s=retry_after_s)
    code = None if missed is None else str(missed.code)
    context.memory.renewal = replace(planned, asked_at=context.now, failure=code)
    if code is None:
        log_event("license_renewed", next=planned.next_s)
    elif code != planned.failure:  # the journal hears of it once
        log_event("license_not_renewed", reason=code, next=planned.next_s)


def _take_up(context: PassContext) -> None:
    """A reply that was kept when the pass was killed; what is pending for another license or key is dropped."""
    pending = list(_pending(context))
    for name in context.outbox.held_ids(KIND):
        if name not in {sealed.id for sealed in pending}:
            context.outbox.end_hold(name)
    for sealed in pending:
        reply = context.outbox.reply(sealed.id)
        if reply is not None and reply.ok:
            context.outbox.record_outcome(sealed, reply, context.now)
            _answered(context, sealed, reply)


def _pending(context: PassContext) -> Iterator[Sealed]:
    """The held requests that still ask for the installed license, by the key at hand, at the place that the root names."""
    key = agent_key.load(context.world.files, context.world.paths)
    endpoint = _endpoint(context)
    if context.bundle is None or key is None or endpoint is None:
        return
    asks_for = (context.bundle.license.digest, key.public.kid)

    def same(sealed: Sealed) -> bool:
        if sealed.purpose != PURPOSE or sealed.url != endpoint + PATH:
            return False
        try:
            claims = request_document.verify(sealed.body)
        except Untrusted:  # damaged, or nothing of ours
            return False
        return (claims.license_sha256, claims.jwk.kid) == asks_for

    yield from context.outbox.pending(KIND, same)


def _prepare(context: PassContext) -> Sealed:
    sealed = seal(
        request_id=new_id(context.world.chance, KIND),
        purpose=PURPOSE,
        url=f"{_endpoint(context)}{PATH}",
        accept=SIGNED,
        body=check.signed_request(context, RequestKind.RENEWAL),
        held_since=context.now,
    )
    context.outbox.hold(sealed)
    return sealed


def _may(context: PassContext) -> bool:
    return _endpoint(context) is not None and not check.denied(context, PURPOSE)


def _endpoint(context: PassContext) -> str | None:
    return next(iter(gate_inputs.destinations(PURPOSE, context.settings, context.root)), None)
