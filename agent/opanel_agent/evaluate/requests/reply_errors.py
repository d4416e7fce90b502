"""Translates a reply that failed into the error that it stands for: of the network, of the gate, or of the server."""

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import AgentError, NotPermitted, Unavailable
from opanel_agent.core.problems import by_detail
from opanel_agent.core.wire.message import Reply


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
    problem = by_detail(detail)
    if problem is not None and problem.error is not Unavailable:
        return problem.error(problem.code, problem.detail)
    values: dict[str, str | int] = {} if reply.url is None else {"url": reply.url}
    values |= reply.values
    if reply.retry_after_s is not None:
        values["retry_after_s"] = reply.retry_after_s
    return kind(known, detail, **values)
