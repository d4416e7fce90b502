"""Problem types (RFC 9457): the one table of refusals between the authority, which sends them, and the agent.

A refusal is a body of `application/problem+json` whose `type` is
`urn:opanel:problem:<name>`. A row says which stable code that is, with which
HTTP status it is sent, and which error it becomes here, which decides whether
the same bytes are tried again: Untrusted never, NotYet and Unavailable later.
The sentence for a person is `error.problem_<name>` of the catalogs.

The daemon's own socket speaks the same format with names of its own
(`daemon.api.PROBLEMS`); a test keeps the two apart. A `type` that is not in the
table says no more than the HTTP status does, so a newer authority may add one.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from opanel_agent.core.codes import Code, Fault, Reason
from opanel_agent.core.errors import AgentError, NotYet, Unavailable, Untrusted

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:opanel:problem:"
DETAIL_PREFIX: Final = "problem_"


class Problem(NamedTuple):
    """One row: `name` ends the `type`, `status` is the HTTP status, `error` the class that the agent raises."""

    name: str
    code: Code
    status: int
    error: type[AgentError]

    @property
    def detail(self) -> str:
        """The `detail` of the error, by which the catalogs know its sentence and its cure."""
        return DETAIL_PREFIX + self.name


# What is malformed or not permitted in no way that has a row of its own; sent
# with 400, 403, 404, 413 or 415.
REQUEST_REFUSED: Final = Problem("request_refused", Reason.SERVER_ERROR, 403, Unavailable)
REFUSALS: Final = (
    Problem("key_unknown", Fault.KEY_UNKNOWN, 404, Untrusted),
    Problem("seats_taken", Fault.SEATS_TAKEN, 409, Untrusted),
    Problem("binding_impossible", Fault.BINDING_IMPOSSIBLE, 422, Untrusted),
    Problem("rate_limited", Fault.RATE_LIMITED, 429, Untrusted),
    Problem("superseded", Reason.SUPERSEDED, 409, Untrusted),
    Problem("revoked", Reason.REVOKED, 403, Untrusted),
    Problem("expired", Reason.EXPIRED, 403, Untrusted),
    Problem("suspended", Reason.SUSPENDED, 403, Untrusted),
    Problem("not_yet", Fault.NOT_YET, 409, NotYet),
    REQUEST_REFUSED,
)
_BY_CODE: Final[Mapping[Code, Problem]] = {row.code: row for row in REFUSALS}
_BY_TYPE: Final[Mapping[str, Problem]] = {TYPE_PREFIX + row.name: row for row in REFUSALS}
_BY_DETAIL: Final[Mapping[str, Problem]] = {row.detail: row for row in REFUSALS}


def type_of(name: str) -> str:
    """Returns the `type` member of a problem by its name: a URN (RFC 8141), which nobody is expected to dereference."""
    return TYPE_PREFIX + name


def by_code(code: Code) -> Problem:
    """Returns the row that the authority answers with where a decision ended in this code, else REQUEST_REFUSED."""
    return _BY_CODE.get(code, REQUEST_REFUSED)


def by_type(type_: object) -> Problem | None:
    """Returns the row of a received `type` member, None where it is unknown or no string."""
    return _BY_TYPE.get(type_) if isinstance(type_, str) else None


def by_detail(detail: str) -> Problem | None:
    """Returns the row of an error's `detail` that another process of ours reported, None where it names no problem."""
    return _BY_DETAIL.get(detail)
