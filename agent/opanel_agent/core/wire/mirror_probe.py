"""Carries what became of the status list's GET at each mirror: `fetch` makes it, `doctor` reads it.

It crosses their socket as the body of a reply. The reader trusts it for nothing: it is another process's word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.wire.message import error_values, read_error_values
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

EACH_MIRROR: Final = "mirrors"  # the word by which fetch is asked for it
PROBE: Final = "status"  # the fixed GET that is made
MAX_PROBES: Final = 64
MAX_ATTEMPTS: Final = 16
MAX_URL: Final = 512
MAX_ADDRESS: Final = 64
MAX_BYTES: Final = 128 * 1024
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorProbe:
    """Result of one GET. `code` and `detail` are those of its failure, None where a list came.

    `values` fill the failure's sentence (`message.ERROR_VALUES`). `passed` are the steps that were passed, `failed` the
    one that was not, `attempts` the addresses that were tried: the mirror's or, with a proxy, the proxy's. `served_s`
    is the server's own time, in seconds since 1970.
    """

    url: str
    code: str | None = None
    detail: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    served_s: int | None = None
    passed: frozenset[Step] = frozenset()
    failed: Step | None = None
    attempts: tuple[Attempt, ...] = ()


def encode(probes: Iterable[MirrorProbe]) -> bytes:
    """Returns the probes as strict JSON."""
    return dumps({"schema": 1, "mirrors": [_json(each) for each in probes]})


def decode(data: bytes) -> tuple[MirrorProbe, ...]:
    """Reads what `encode` wrote. Raises Untrusted for anything else, more than `MAX_BYTES` among it."""
    members = Members(loads(data, max_bytes=MAX_BYTES), "mirrors")
    members.constant("schema", 1)
    probes = tuple(_probe(each) for each in members.each("mirrors", MAX_PROBES))
    members.end()
    return probes


def _json(probe: MirrorProbe) -> Json:
    return {
        "url": probe.url,
        "code": probe.code,
        "detail": probe.detail,
        "values": dict(error_values(probe.values)),
        "served_s": probe.served_s,
        "passed": [*sorted(map(str, probe.passed))],
        "failed": None if probe.failed is None else str(probe.failed),
        "attempts": [{"address": each.address, "outcome": str(each.outcome)} for each in probe.attempts],
    }


def _probe(members: Members) -> MirrorProbe:
    failed = _optional(members, "failed")
    probe = MirrorProbe(
        url=members.text("url", max_length=MAX_URL),
        code=_optional(members, "code"),
        detail=_optional(members, "detail"),
        values=read_error_values(members.value("values"), "mirrors"),
        served_s=None if members.value("served_s") is None else members.integer("served_s"),
        passed=frozenset(_known(Step, name, "passed") for name in members.texts("passed", max_items=len(Step))),
        failed=None if failed is None else _known(Step, failed, "failed"),
        attempts=tuple(_attempt(each) for each in members.each("attempts", MAX_ATTEMPTS)),
    )
    members.end()
    return probe


def _attempt(members: Members) -> Attempt:
    attempt = Attempt(
        address=members.text("address", max_length=MAX_ADDRESS),
        outcome=_known(Outcome, members.text("outcome"), "outcome"),
    )
    members.end()
    return attempt


def _known(kind: type[E], name: str, member: str) -> E:
    try:
        return kind(name)
    except ValueError:
        raise Untrusted(Reason.FORMAT_INVALID, "member_value", where="mirrors", name=member) from None


def _optional(members: Members, name: str) -> str | None:
    return None if members.value(name) is None else members.text(name)
