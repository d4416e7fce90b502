"""Carries out an administrator's own request: shows it, sends it, or hands it over to be carried by other ways.

The same bytes are shown (`preview`), sent (`confirm` or no option), or returned (`to_file`). Where an opt-out forbids
sending, the request is returned instead: a command does not fail for that reason alone.
"""

from collections.abc import Callable, Mapping

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Denial
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.wire.message import Reply, Sealed, fields_of, head
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.network import gate_inputs
from opanel_agent.network.gate_inputs import objections_json, objections_of

Result = dict[str, Json]
Install = Callable[[Sealed, Reply], Result]


def options_of(intent: Members) -> Mapping[str, Json]:
    """Returns the options that every command of this kind has: `preview`, `confirm` (an id) and `to_file`."""
    return {name: intent.value(name) for name in ("preview", "confirm", "to_file") if intent.has(name)}


def carry_out(
    context: PassContext,
    purpose: Purpose,
    prepare: Callable[[], Sealed],
    options: Mapping[str, Json],
    install: Install,
) -> Result:
    """Returns what became of the request. `prepare` seals or finds it, `install` takes its answer.

    Raises NotPermitted where the gate objects for another reason than an opt-out, Untrusted for an unknown `confirm` and
    for a refusal by the server, Unavailable where nobody answered.
    """
    sources = context.read_gate()
    decision = sources.decide(purpose, commanded=True)
    if isinstance(decision, Denial) and not decision.to_file:
        raise gate_inputs.denial_error(purpose, decision.grounds[0])
    confirmed = options.get("confirm")
    sealed = context.outbox.require_held(confirmed) if isinstance(confirmed, str) else prepare()
    if sealed.purpose != purpose:  # `confirm` named a request of another kind
        raise Untrusted(Fault.USAGE, "held_unknown", id=sealed.id)
    why = objections_json(objections_of(decision))
    if options.get("preview") is True:
        return show(sealed) | {"why": why}
    if options.get("to_file") is True or isinstance(decision, Denial):
        return {"sent": False, "id": sealed.id, "request": base64url(sealed.body), "why": why}
    return _send(context, sealed, install)


def show(sealed: Sealed) -> Result:
    """Returns what will leave, exactly: head and body as they go over the wire, and the names of the fields."""
    leaves: list[Json] = [*sorted(fields_of(sealed))]
    return {
        "id": sealed.id,
        "purpose": sealed.purpose,
        "method": sealed.method,
        "url": sealed.url,
        "head": head(sealed).decode("ascii"),
        "body": sealed.body.decode("utf-8"),
        "leaves": leaves,
    }


def take(outbox: Outbox, sealed: Sealed, reply: Reply, install: Install) -> Result:
    """Installs a good answer, and only then holds the request no more.

    A pass that is killed here, or a disk that is full, leaves what the next pass takes up without asking again. Raises
    what `install` does; a refused answer ends the hold all the same.
    """
    try:
        installed = install(sealed, reply)
    except Untrusted:
        outbox.end_hold(sealed.id)
        raise
    outbox.end_hold(sealed.id)
    return installed


def _send(context: PassContext, sealed: Sealed, install: Install) -> Result:
    request = gate_inputs.view_request(sealed, context.ports.catalog, context.now)
    sources = context.read_gate()
    sources.require(sealed.purpose, request=request, commanded=True)
    outbox, network = context.outbox, context.ports.network
    reply = outbox.submit(sealed, network, context.now, signalled=sources.opted_out, command=True)
    error = error_of(reply)
    if error is not None:
        if isinstance(error, Untrusted) and error.code is not Fault.RATE_LIMITED:
            outbox.end_hold(sealed.id)  # it has its answer: the next command asks anew
        raise error
    installed = take(outbox, sealed, reply, install)
    return {"sent": True, "id": sealed.id, "url": sealed.url, "reply_status": reply.status, **installed}
