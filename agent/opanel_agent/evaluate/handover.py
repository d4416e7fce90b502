"""The one way by which evaluate hands a sealed request to the courier: recorded, marked, handed over, and the reply kept.

A report and a license command differ in what comes before (consent, or the administrator's word) and in what is done with
the answer; neither is known here. Who calls this has asked the gate on these very bytes.
"""

from typing import Final

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, NotPermitted, NotYet, Unavailable, Untrusted
from opanel_agent.core.ledger.chain import Datum, EntryKind
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate import outbox
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.ledger_file import digest

# What a server may tell of why it refused, as the `type` of an RFC 9457 problem names it.
_REFUSALS: Final = {
    str(code): code
    for code in (
        Fault.KEY_UNKNOWN,
        Fault.SEATS_TAKEN,
        Fault.BINDING_IMPOSSIBLE,
        Fault.RATE_LIMITED,
        Fault.NOT_YET,
        Reason.SUPERSEDED,
        Reason.REVOKED,
        Reason.EXPIRED,
        Reason.SUSPENDED,
    )
}


def submit(context: PassContext, sealed: Sealed, **data: Datum) -> Reply:
    """What the request came to. `data` goes into the entry that it was attempted.

    Raises Storage where that cannot be recorded: then nothing is sent.
    """
    context.book.request(EntryKind.REQUEST_ATTEMPTED, context.now, sealed, **data)
    outbox.attempted(context, sealed)
    opted_out = bool(context.signals.offline or context.signals.do_not_track)
    reply = context.world.outlet.courier(sealed, signalled=opted_out)
    outbox.keep_reply(context, sealed, reply)
    record_end(context, sealed, reply)
    return reply


def record_end(context: PassContext, sealed: Sealed, reply: Reply) -> None:
    """Sent; refused, by the gate's second look or by the other end; or failed, where nobody answered."""
    told = failure(reply)
    if told is None:
        status, reply_sha256 = reply.status or 0, digest(reply.body)
        context.book.request(EntryKind.REQUEST_SENT, context.now, sealed, status=status, reply_sha256=reply_sha256)
        return
    refused = reply.status is not None or isinstance(told, NotPermitted)
    kind = EntryKind.REQUEST_REFUSED if refused else EntryKind.REQUEST_FAILED
    context.book.request(kind, context.now, sealed, reason=str(told.code))


def failure(reply: Reply) -> AgentError | None:
    """The reply's failure as an error: of the network, of the gate's second look, or the server's own refusal."""
    if reply.ok:
        return None
    detail = reply.detail or "reply_failed"
    known = {str(reason): reason for reason in Reason}.get(reply.code or "", Reason.INTERNAL)
    kind = NotPermitted if detail in {"gate_denied", "outlet_refused"} else Unavailable
    refusal = _REFUSALS.get(detail.removeprefix("problem_"))
    if refusal is not None:
        return NotYet(refusal, detail) if refusal is Fault.NOT_YET else Untrusted(refusal, detail)
    values: dict[str, str | int] = {} if reply.url is None else {"url": reply.url}
    if reply.retry_after_s is not None:
        values["retry_after_s"] = reply.retry_after_s
    return kind(known, detail, **values)
