"""Concludes what is wrong on the way to a mirror, step by step and address by address, for `doctor`.

What `fetch` recorded of one request goes in (`core.wire.mirror_probe`),
findings come out. Nothing is concluded from an error's code about steps that
nobody saw: a step is ok only where the probe says that it was passed, and one
behind a failure is *not reached*.

Where another mirror answers, a failure is a warning: the agent works. Where
none does, it has failed.

Pure. Left out: making the requests (`network.fetch`) and wording.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.diagnosis import Check, Finding, SkipReason, failed, known_code, needless, unseen, warned
from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.mirror_probe import MirrorProbe
from opanel_agent.core.wire.steps import Attempt, Outcome, Step

LAYERS: Final = (
    *(Check.DNS, Check.TCP, Check.PROXY, Check.TLS),
    *(Check.CERTIFICATE, Check.HTTP, Check.TYPE, Check.CONTENT),
)
"""The steps of a request (`core.wire.steps`), in their order and by their names."""

_OF_DATES: Final = ("expired", "not yet valid")


@frozen
class MirrorRoute:
    """Holds how a mirror is reached, as the settings say.

    - `label`: the mirror in words of this code's own, for the report that names
      no address.
    - `named`: its host is a name, so that it has to be resolved.
    - `tls`: it is asked by HTTPS. `proxied`: through the proxy of the settings.
    """

    label: str
    named: bool
    tls: bool
    proxied: bool


def mirror(probe: MirrorProbe, route: MirrorRoute, *, another_good: bool) -> Iterator[Finding]:
    """Yields each step to a mirror: passed, failed, not part of this route, or not reached.

    The addresses that were tried follow the step that connects, because several
    may be tried at once (RFC 8305) and only one has to connect. `another_good`:
    some other mirror gave a list.
    """
    for layer in LAYERS:
        yield _about(probe, route, _of_step(layer, probe, route, another_good=another_good))
        if layer is (Check.PROXY if route.proxied else Check.TCP):
            for each in _attempts_shown(probe):
                severe = not another_good and not any(one.outcome is Outcome.CONNECTED for one in probe.attempts)
                yield _about(probe, route, _of_address(layer, each, probe.attempts, severe=severe))


def _about(probe: MirrorProbe, route: MirrorRoute, finding: Finding) -> Finding:
    """Returns the finding, about this mirror."""
    return replace(finding, subject=probe.url, label=route.label)


def _of_step(layer: Check, probe: MirrorProbe, route: MirrorRoute, *, another_good: bool) -> Finding:
    """Returns the finding on one step of the route."""
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
    """Returns the finding of one address.

    Beside one that connects, an address without a route is no fault: most
    servers have IPv4 alone, and most names have both.
    """
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
    """Returns the error of an address that was tried in vain."""
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
    """Returns what it means that fetch gave no answer at all: name resolution is the one step that it cannot interrupt."""
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
    """Returns the error of a failed probe.

    Of a certificate's dates the cure is the clock, so they have a detail of
    their own.
    """
    if probe.detail == "tls_certificate" and any(word in probe.values.get("why", "") for word in _OF_DATES):
        return Unavailable(Reason.TLS_UNTRUSTED, "tls_dates", **probe.values)
    return Unavailable(known_code(str(probe.code)), probe.detail or "reply_failed", **probe.values)
