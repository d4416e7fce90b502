"""Translates a reply that failed into the error that it stands for: of the network, of the gate, or of the server."""

from typing import Final

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, NotPermitted, NotYet, Unavailable, Untrusted
from opanel_agent.core.wire.message import Reply

# What a server may give as the `type` of an RFC 9457 problem to explain its refusal.
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


def error_of(reply: Reply) -> AgentError | None:
    """Returns the error that a reply reports, None for a good one.

    NotYet and Untrusted are the server's own refusals, NotPermitted the second decision of the gate (or of systemd),
    Unavailable everything else, with `url` and `retry_after_s` where they are known.
    """
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
