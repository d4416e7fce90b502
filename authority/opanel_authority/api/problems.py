"""RFC 9457 problems: what the service says when it cannot, to agents and to billing systems alike."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from opanel_agent.core import problems
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted, Usage, Value
from opanel_authority.messages import cure, sentence

_NOT_FOUND: Final = frozenset({"license_unknown", "id_unknown", "reseller_unknown"})


def problem(
    code: str, status: int, detail: str, values: Mapping[str, Value] | None = None, *, hint: bool = False
) -> Response:
    """Returns a problem; `title` is the sentence; with `hint` `detail` says what to do about it."""
    known = {} if values is None else values
    body: dict[str, Json] = {"type": problems.type_of(code), "title": sentence(detail, known), "status": status}
    if hint:
        body["detail"] = cure(detail, known)
    if "fields" in known:
        body["fields"] = [*str(known["fields"]).split(", ")]
    headers = {"Retry-After": str(known["retry_after_s"])} if "retry_after_s" in known else {}
    return Response(dumps(body), status_code=status, media_type=problems.MEDIA_TYPE, headers=headers)


def of_error(error: AgentError) -> Response:
    """Returns what a management request is told of an error; a storage or configuration fault is told by its name alone."""
    match error:
        case NotPermitted():
            refusal = problems.by_code(error.code)
            return problem(refusal.name, refusal.status, error.detail, error.values, hint=True)
        case Usage():
            found = error.detail in _NOT_FOUND
            status = 404 if found else 409 if error.detail == "license_ambiguous" else 422
            return problem(
                "not_found" if found else problems.REQUEST_REFUSED.name, status, error.detail, error.values, hint=True
            )
        case Untrusted():
            return problem(problems.REQUEST_REFUSED.name, 422, error.detail, error.values, hint=True)
        case _:
            return problem("unavailable", 503, "unavailable_here", hint=True)
