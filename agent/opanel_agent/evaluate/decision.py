"""Decides the license's state from the inputs, and records what the decision begins or ends.

`decide` is pure: it reads inputs and state and returns a value. `record` is its only effect.
"""

import time
from collections.abc import Iterable
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.bundle import Bundle, shards
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.license import binding, effective_time, license_key, status_history, verdict
from opanel_agent.core.license.status_history import Document
from opanel_agent.core.license.verdict import Evidence, Refusal, State, Verdict
from opanel_agent.core.values import frozen
from opanel_agent.evaluate.inputs import Inputs
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.system.log import log_event

_REASONS: Final = {str(reason): reason for reason in Reason}


@frozen
class Decision:
    """The verdict, and since when two of its causes hold (None: they do not).

    `warning` names a warning that is due for the first time. Times are effective seconds.
    """

    verdict: Verdict
    unmatched_since: int | None
    refused_since: int | None
    warning: str | None


def decide(inputs: Inputs, state: AgentState) -> Decision:
    """Returns the decision on these inputs; `state` says since when things were first seen."""
    match = match_of(inputs)
    unmatched_since = (
        None if match is None or match.ok else state.unmatched_since or _mismatch_began(inputs, lost=state.lost)
    )
    refused = inputs.bundle is None and inputs.documents.refused is not None
    refused_since = (state.refused_since or inputs.now) if refused else None
    found = verdict.judge(_evidence(inputs, state, match, unmatched_since, refused_since))
    warnings = frozenset(state.warnings)
    return Decision(
        verdict=found,
        unmatched_since=unmatched_since,
        refused_since=refused_since,
        warning=None if found.period is None else verdict.warning(found.period, inputs.now, warnings),
    )


def record(decision: Decision, state: AgentState) -> None:
    """Writes the decision into the state, and logs a warning that is due for the first time."""
    found = decision.verdict
    state.unmatched_since, state.refused_since = decision.unmatched_since, decision.refused_since
    if found.state != state.state:
        state.state, state.state_since = found.state, found.since
    if decision.warning is None or found.period is None:
        return
    state.warnings.append(decision.warning)
    if found.period.end_s < verdict.NEVER:  # else there is no date to give, and the change of state was logged
        end = time.strftime("%Y-%m-%d", time.gmtime(found.period.end_s))
        log_event(
            "license_warning",
            warning=decision.warning,
            reason=found.period.reason,
            end=end,
            until=found.period.end_s,
        )


def _mismatch_began(inputs: Inputs, *, lost: bool) -> int:
    """Returns when the mismatch began: now; where the state does not say any more since when, at the activation.

    Forgetting must not be a cure.
    """
    if not lost or inputs.bundle is None or inputs.bundle.activation is None:
        return inputs.now
    return min(inputs.now, inputs.bundle.activation.iat)


def _evidence(
    inputs: Inputs,
    state: AgentState,
    match: binding.Match | None,
    unmatched_since: int | None,
    refused_since: int | None,
) -> Evidence:
    bundle, now = inputs.bundle, inputs.now
    refused = inputs.documents.refused if bundle is None else None
    return Evidence(
        now=now,
        license=None if bundle is None else bundle.license,
        accepted_at=None if bundle is None else state.accepted.get(license_key.digest(bundle.license.sub), now),
        activated=bundle is not None and bundle.activation is not None,
        refused=None if refused is None else Refusal(reason=Reason(refused.code), since=refused_since or now),
        had_license=refused is not None,
        license_sighting=status_history.sighting_of(state.seen, Document.LICENSE),
        activation_sighting=status_history.sighting_of(state.seen, Document.ACTIVATION),
        delegation_sighting=status_history.sighting_of(state.seen, Document.DELEGATION),
        status_rules_until=None if bundle is None else rules_until(bundle, inputs, state),
        match=match,
        unmatched_since=unmatched_since,
        root_exp=inputs.root.exp,
        clock_suspect=effective_time.clock_suspect(inputs.clock_state),
        remarks=_remarks(inputs, state.failure),
        previous_state=None if state.state is None else State(state.state),
        previous_since=state.state_since,
    )


def rules_until(bundle: Bundle, inputs: Inputs, state: AgentState) -> int:
    """Returns until when the license holds without another status list, in effective seconds; verdict.NEVER for ever.

    The oldest of the lists that it needs counts: to keep one of them away must gain nothing. A list that was held once
    keeps its freshness when its bytes or its key are lost: neither expires a license.
    """
    return min(_list_rules_until(bundle, inputs, state, shard) for shard in shards(bundle, inputs.root))


def _list_rules_until(bundle: Bundle, inputs: Inputs, state: AgentState, shard: int) -> int:
    listed, list_iat = inputs.documents.status_lists.get(shard), state.held_iat(shard)
    once_held = None if list_iat is None else min(list_iat, inputs.now)
    return verdict.rules_until(
        once_held if listed is None else listed.iat,
        None if listed is None else listed.exp,
        stale_days=bundle.license.stale_days,
        newest_iat=bundle.newest_iat,
    )


def match_of(inputs: Inputs) -> binding.Match | None:
    """Returns how this machine compares with the activation; None without one."""
    if inputs.bundle is None or inputs.bundle.activation is None:
        return None
    return inputs.match(inputs.bundle.activation.bind)


def _remarks(inputs: Inputs, failure: str | None) -> tuple[Reason, ...]:
    """Returns what went wrong beside the license: shown with every state, and never the cause of one."""
    remarks: list[Reason] = []
    documents = inputs.documents
    if inputs.settings_refused is not None:
        remarks.append(Reason.SETTINGS_REFUSED)
    if documents.bundle is not None and documents.refused is not None:
        remarks.append(Reason(documents.refused.code))
    if failure is not None:
        remarks.append(_REASONS.get(failure, Reason.INTERNAL))
    if documents.bundle is not None:
        remarks += _not_listed(documents.bundle, documents.status_lists.values())
    if not inputs.isolated:
        remarks.append(Reason.ISOLATION_NONE)
    elif inputs.unprotected:
        remarks.append(Reason.ISOLATION_PARTIAL)
    return tuple(remarks)


def _not_listed(bundle: Bundle, lists: Iterable[StatusList]) -> list[Reason]:
    """Returns STATUS_UNAVAILABLE where an entry of the bundle lies beyond the end of its list."""
    by_name = {listed.sub: listed for listed in lists}
    links = [bundle.license.status, *(link.status for link in bundle.delegations)]
    beyond = any(by_name[link.uri].status(link.idx) is None for link in links if link.uri in by_name)
    return [Reason.STATUS_UNAVAILABLE] if beyond else []
