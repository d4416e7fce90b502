"""Concludes findings about the route to a mirror for `doctor`, step by step and address by address.

Pure, as `core.diagnosis` is: what `fetch` recorded goes in (`core.wire.mirror_probe`), findings come out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.diagnosis import Check, Finding, SkipReason, failed, known_code, needless, unseen, warned
from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.core.wire.mirror_probe import MirrorProbe
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

LAYERS: Final = (
    *(Check.DNS, Check.TCP, Check.PROXY, Check.TLS),
    *(Check.CERTIFICATE, Check.HTTP, Check.TYPE, Check.CONTENT),
)
"""The steps of a request (`core.wire.steps`), in their order and by their names."""

_OF_DATES: Final = ("expired", "not yet valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRoute:
    """How a mirror is reached, as the settings say. `named`: its host is a name, so that it has to be resolved."""

    label: str
    named: bool
    tls: bool
    proxied: bool


def mirror(probe: MirrorProbe, route: MirrorRoute, *, another_good: bool) -> Iterator[Finding]:
    """Yields each step to a mirror: passed, failed, not part of this route, or not reached.

    Only what `probe` says was passed is ok. The addresses that were tried follow the step that connects. A failure is a
    warning where another mirror answers.
    """
    for layer in LAYERS:
        yield _about(probe, route, _of_step(layer, probe, route, another_good=another_good))
        if layer is (Check.PROXY if route.proxied else Check.TCP):
            for each in _attempts_shown(probe):
                severe = not another_good and not any(one.outcome is Outcome.CONNECTED for one in probe.attempts)
                yield _about(probe, route, _of_address(layer, each, probe.attempts, severe=severe))


def _about(probe: MirrorProbe, route: MirrorRoute, finding: Finding) -> Finding:
    return replace(finding, subject=probe.url, label=route.label)


def _of_step(layer: Check, probe: MirrorProbe, route: MirrorRoute, *, another_good: bool) -> Finding:
    if probe.code is not None and layer is Check(probe.failed or Step.HTTP):
        return (warned if another_good else failed)(layer, _error(probe))
    left_out = _left_out(layer, route)
    if left_out is not None:
        return needless(layer, left_out)
    if layer in map(Check, probe.passed):
        return Finding(check=layer)
    return unseen(layer, SkipReason.NOT_REACHED)


def _attempts_shown(probe: MirrorProbe) -> tuple[Attempt, ...]:
    """Returns the addresses to show: not the only one, where the step's own sentence names it."""
    return () if probe.code is not None and "address" in probe.values and len(probe.attempts) == 1 else probe.attempts


def _of_address(layer: Check, attempt: Attempt, attempts: Iterable[Attempt], *, severe: bool) -> Finding:
    """Returns the finding of one address. Beside one that connects, an address without a route is no fault (IPv4 alone)."""
    connected = any(each.outcome is Outcome.CONNECTED for each in attempts)
    match attempt.outcome:
        case Outcome.CONNECTED:
            finding = Finding(check=layer)
        case Outcome.UNDECIDED:
            finding = unseen(layer, SkipReason.ANOTHER_ADDRESS if connected else SkipReason.NO_TIME)
        case Outcome.UNREACHABLE if connected:
            finding = needless(layer, SkipReason.NO_ROUTE)
        case _:
            finding = (failed if severe else warned)(layer, _of_outcome(attempt.outcome))
    return replace(finding, address=attempt.address)


def _of_outcome(outcome: Outcome) -> Unavailable:
    match outcome:
        case Outcome.REFUSED:
            return Unavailable(Reason.UNREACHABLE_TCP, "address_refused")
        case Outcome.SLOW:
            return Unavailable(Reason.UNREACHABLE_TCP, "address_slow")
        case _:
            return Unavailable(Reason.UNREACHABLE_TCP, "address_unreachable")


def untried(url: str, label: str) -> Iterator[Finding]:
    """Yields each step to a mirror for which the ones before it left no time."""
    for layer in LAYERS:
        yield unseen(layer, SkipReason.NO_TIME, subject=url, label=label)


def fetch_silent() -> Finding:
    """Returns what it means that fetch gave no answer at all."""
    return failed(Check.DNS, Unavailable(Reason.UNREACHABLE_DNS, "resolver_silent"))


def _left_out(layer: Check, route: MirrorRoute) -> SkipReason | None:
    """Returns why a route does not have a step, or who makes it in its place; None where it has it."""
    match layer:
        case Check.DNS | Check.TCP if route.proxied:
            return SkipReason.BY_PROXY
        case Check.DNS if not route.named:
            return SkipReason.NO_NAME
        case Check.PROXY if not route.proxied:
            return SkipReason.NO_PROXY
        case Check.TLS | Check.CERTIFICATE if not route.tls:
            return SkipReason.NO_TLS
        case _:
            return None


def _error(probe: MirrorProbe) -> AgentError:
    if probe.detail == "tls_certificate" and any(word in probe.values.get("why", "") for word in _OF_DATES):
        return Unavailable(Reason.TLS_UNTRUSTED, "tls_dates", **probe.values)
    return Unavailable(known_code(str(probe.code)), probe.detail or "reply_failed", **probe.values)
