"""Sends renewal requests and installs the result; `core.license.renewal` decides when.

A request is *pending* from when it is sealed (`held/renewal-…`) until it has an answer: a document or a refusal by name. It
is about one license and by one key; where either is another now, it is dropped. The outbox describes its steps. Killed
before the reply was kept, the very same request is sent on another day and gets the same answer (or a newer one). Killed
after it, the reply is installed by the next pass without asking again. The marks in `sent/` keep it at one request a day
even where the plan in the state was lost.

Nothing here ends a pass or changes a state by failing: what went wrong is kept in the plan and shown.
"""

from collections.abc import Iterator
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import AgentError, NotYet, Untrusted
from opanel_agent.core.license import renewal, status_history
from opanel_agent.core.license.renewal import Plan
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import SIGNED, Reply, Sealed, seal
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.inputs import Inputs
from opanel_agent.evaluate.license import check, commands, install
from opanel_agent.evaluate.requests.outbox import Outbox, new_id
from opanel_agent.evaluate.requests.quiet import begin_quiet, quiet_permits
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event
from opanel_agent.system.randomness import RandomSource

PURPOSE: Final = Purpose.LICENSE_RENEWAL
PATH: Final = "/v1/renewals"
KIND: Final = RequestKind.RENEWAL.value


# ---- questions


def current_plan(inputs: Inputs, state: AgentState) -> Plan | None:
    """Returns the plan for the installed license; None where this installation does not ask, or has none yet."""
    plan = state.renewal
    if inputs.bundle is None or plan is None or plan.license != inputs.bundle.license.digest:
        return None
    return plan if _wanted(inputs, state) else None


def renewal_json(plan: Plan | None, *, permitted: bool) -> dict[str, Json]:
    """Returns the renewal as the answer has it: when it asks next (null: it does not, or may not), the last time, why not.

    `permitted`: the gate lets it pass, and the root names an endpoint.
    """
    if plan is None:
        return {"next": None, "at": None, "failure": None}
    return {"next": plan.next_s if permitted else None, "at": plan.asked_at, "failure": plan.failure}


def next_s(plan: Plan | None, state: AgentState, now: int, *, permitted: bool) -> int | None:
    """Returns the effective second at which a renewal wants the next pass, None for never."""
    if plan is None or not permitted:
        return None
    moment = max(plan.next_s, state.quiet_until or 0)
    return moment if moment > now else None


def _wanted(inputs: Inputs, state: AgentState) -> bool:
    bundle = inputs.bundle
    activation = None if bundle is None else bundle.activation
    match = None if activation is None else inputs.match(activation.bind)
    # Undecided is no reason to let a license run out: the authority judges the request, and the days of grace go on.
    matches = match is None or match.ok or match.undecided
    bad = status_history.any_bad(state.seen)
    return bundle is not None and renewal.wanted(bundle, kid=inputs.key_id, matches=matches, bad=bad)


# ---- effects


def update_plan(state: AgentState, inputs: Inputs, random: RandomSource) -> None:
    """Draws the plan for the installed license, where this installation asks and has none for it."""
    if inputs.bundle is not None and _wanted(inputs, state):
        state.renewal = renewal.plan(state.renewal, inputs.bundle.license, inputs.now, random.random())


def renew(context: PassContext) -> Json:
    """Sends the renewal request where it is due and permitted, and returns the attempt; else None. Raises nothing."""
    try:
        _finish_answered(context)
        update_plan(context.state, context.inputs, context.ports.random)
        plan = current_plan(context.inputs, context.state)
        if plan is None or not renewal.due(plan, context.now):
            return None
        if not quiet_permits(context.state, PURPOSE, context.now):
            return None
        sources = context.read_gate()
        if not sources.destinations(PURPOSE) or not sources.permits(PURPOSE):
            return None
        if renewal.asked_today(context.outbox.last_attempt(KIND), context.now):
            context.state.renewal = renewal.tomorrow(plan, context.now, context.ports.random.random())
            return None
        return _ask(context)
    except AgentError as error:
        _note_outcome(error, context.state, context.inputs, context.ports.random)
        return None


def _ask(context: PassContext) -> Json:
    """Records the request, then sends it. Raises Storage where it cannot be recorded: then nothing is sent."""
    outbox, state, ports = context.outbox, context.state, context.ports
    places = context.gate.destinations(PURPOSE)
    sealed = next(_pending(outbox, context.inputs, places), None)
    if sealed is None:
        sealed = _seal(
            commands.signed_request(context, RequestKind.RENEWAL), places[0] + PATH, ports.random, context.now
        )
        outbox.hold(sealed)
    sources = context.read_gate()
    sources.require(PURPOSE, request=gate_inputs.view_request(sealed, ports.catalog, context.now))
    begin_quiet(state, PURPOSE, context.now, ports.random.random())
    reply = outbox.submit(sealed, ports.network, context.now, signalled=sources.opted_out)
    return check.attempt_json(reply, _install(context, sealed, reply))


def _install(context: PassContext, sealed: Sealed, reply: Reply) -> AgentError | None:
    """Returns what kept the answer from being installed. Where nobody answered, the same is asked on another day."""
    error = error_of(reply)
    if error is None:
        try:
            install.renewed(context, reply.body)
        except (Untrusted, NotYet) as refused:
            error = refused
    _note_outcome(error, context.state, context.inputs, context.ports.random, retry_after_s=reply.retry_after_s)
    by_name = isinstance(error, Untrusted | NotYet) and error.code is not Fault.RATE_LIMITED
    if error is None or by_name:
        context.outbox.end_hold(sealed.id)
    return error


def _note_outcome(
    error: AgentError | None,
    state: AgentState,
    inputs: Inputs,
    random: RandomSource,
    *,
    retry_after_s: int | None = None,
) -> None:
    """Puts the outcome into the plan for the license as it is now: a new plan, or the same one and why it failed."""
    update_plan(state, inputs, random)
    plan = current_plan(inputs, state)
    if plan is None:
        return
    if error is not None:
        plan = renewal.tomorrow(plan, inputs.now, random.random(), retry_after_s=retry_after_s)
    code = None if error is None else str(error.code)
    state.renewal = replace(plan, asked_at=inputs.now, failure=code)
    if code is None:
        log_event("license_renewed", next=plan.next_s)
    elif code != plan.failure:  # the journal has it once
        log_event("license_not_renewed", reason=code, next=plan.next_s)


def _finish_answered(context: PassContext) -> None:
    """Installs a reply that was kept when a pass was killed; drops what is pending for another license or key."""
    outbox = context.outbox
    pending = list(_pending(outbox, context.inputs, context.gate.destinations(PURPOSE)))
    for name in sorted({*outbox.held_ids(KIND)} - {sealed.id for sealed in pending}):
        outbox.end_hold(name)
    for sealed in pending:
        reply = outbox.reply(sealed.id)
        if reply is not None and reply.ok:
            outbox.record_outcome(sealed, reply, context.now)
            _install(context, sealed, reply)


def _pending(outbox: Outbox, inputs: Inputs, places: tuple[str, ...]) -> Iterator[Sealed]:
    """Yields the held requests for the installed license, by the key at hand, to the endpoint that the root names."""
    if inputs.bundle is None or inputs.key_id is None or not places:
        return iter(())
    subject, url = (inputs.bundle.license.digest, inputs.key_id), places[0] + PATH
    return outbox.pending(KIND, lambda sealed: sealed.url == url and _subject(sealed) == subject)


def _subject(sealed: Sealed) -> tuple[str, str] | None:
    """Returns the license that a renewal is about, and the key that signed it; None for a damaged or foreign one."""
    if sealed.purpose != PURPOSE:
        return None
    try:
        claims = request_document.verify(sealed.body)
    except Untrusted:
        return None
    return claims.license_sha256, claims.jwk.kid


def _seal(body: bytes, url: str, random: RandomSource, now: int) -> Sealed:
    return seal(request_id=new_id(random, KIND), purpose=PURPOSE, url=url, accept=SIGNED, body=body, held_since=now)
