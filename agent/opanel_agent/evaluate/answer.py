"""From what lies on the context to the answer that the panel, the administrator and monitoring read (docs/json.md)."""

import time
from typing import Final

from opanel_agent import messages
from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import Denial, Signal, decide
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.license import binding, effective_time, license_key, schedule, status_history, verdict
from opanel_agent.core.license.status_history import Document
from opanel_agent.core.license.verdict import Evidence, Refusal, State, Verdict
from opanel_agent.core.units import DAY_S, LANGUAGES
from opanel_agent.evaluate.consent import records
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license import renew
from opanel_agent.evaluate.reporting import advisories, report
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event

GOOD_FOR_S: Final = 7 * DAY_S


def judge(context: PassContext) -> Verdict:
    """The verdict on this context; what it begins or ends is noted in the memory."""
    match = _match(context)
    memory = context.memory
    memory.unmatched_since = None if match is None or match.ok else memory.unmatched_since or context.now
    refused = context.bundle is None and context.bundle_refused is not None
    memory.refused_since = (memory.refused_since or context.now) if refused else None
    found = verdict.judge(_evidence(context, match))
    if found.state != memory.state:
        memory.state, memory.state_since = str(found.state), found.since
    _warn(context, found)
    return found


def compose(context: PassContext, found: Verdict) -> dict[str, Json]:
    return {
        "schema": 1,
        "license": _license(context, found),
        "consent": _consent(context),
        "advisories": advisories.load(context),
        "last_left": records.last_left(context),
        "reports": {"held": len(context.outbox.held_reports()), "next": report.next_s(context)},
        "isolation": _isolation(context),
        "next_run": {"at": context.now + schedule.wait_s(context.schedule, context.now)},
        "root": {
            "name": context.root.sub,
            "seq": context.root.seq,
            "sha256": context.root.digest,
            "exp": context.root.exp,
        },
        "renewal": renew.told(context),
        "last_check": {"at": context.memory.checked_at, "failure": context.memory.failure},
    }


def _evidence(context: PassContext, match: binding.Match | None) -> Evidence:
    held, memory = context.bundle, context.memory
    refused = context.bundle_refused if held is None else None
    return Evidence(
        now=context.now,
        license=None if held is None else held.license,
        accepted_at=None if held is None else memory.accepted.get(license_key.digest(held.license.sub), context.now),
        activated=held is not None and held.activation is not None,
        refused=None
        if refused is None
        else Refusal(reason=Reason(refused.code), since=memory.refused_since or context.now),
        had_license=refused is not None,
        license_sighting=status_history.sighting_of(memory.seen, Document.LICENSE),
        activation_sighting=status_history.sighting_of(memory.seen, Document.ACTIVATION),
        delegation_sighting=status_history.sighting_of(memory.seen, Document.DELEGATION),
        status_rules_until=None if held is None else _rules_until(context, held),
        match=match,
        unmatched_since=memory.unmatched_since,
        root_exp=context.root.exp,
        clock_suspect=effective_time.clock_suspect(context.mark),
        remarks=_remarks(context),
        previous_state=None if memory.state is None else State(memory.state),
        previous_since=memory.state_since,
    )


def _rules_until(context: PassContext, held: Bundle) -> int:
    """A list that was held once keeps its freshness when its bytes or its key are lost: neither expires a license."""
    listed, known = context.status, context.memory.list_iat
    once_held = None if known is None else min(known, context.now)
    return verdict.rules_until(
        once_held if listed is None else listed.iat,
        None if listed is None else listed.exp,
        stale_days=held.license.stale_days,
        newest_iat=held.newest_iat,
    )


def _match(context: PassContext) -> binding.Match | None:
    if context.bundle is None or context.bundle.activation is None:
        return None
    return binding.match(context.bundle.activation.bind, context.components)


def _remarks(context: PassContext) -> tuple[Reason, ...]:
    """What went wrong beside the license: told with every state, and never the cause of one."""
    told: list[Reason] = []
    if context.settings_refused is not None:
        told.append(Reason.SETTINGS_REFUSED)
    if context.bundle is not None and context.bundle_refused is not None:
        told.append(Reason(context.bundle_refused.code))
    known = {str(reason): reason for reason in Reason}
    if context.memory.failure is not None:
        told.append(known.get(context.memory.failure, Reason.INTERNAL))
    if context.status is not None and context.bundle is not None and _beyond(context.bundle, context.status):
        told.append(Reason.STATUS_UNAVAILABLE)
    if not context.world.outlet.isolated:
        told.append(Reason.ISOLATION_NONE)
    elif context.world.cage.missing():
        told.append(Reason.ISOLATION_PARTIAL)
    return tuple(told)


def _beyond(held: Bundle, listed: StatusList) -> bool:
    links = [held.license.status, *(link.status for link in held.delegations)]
    return any(listed.status(link.idx) is None for link in links)


def _warn(context: PassContext, found: Verdict) -> None:
    if found.period is None:
        return
    key = verdict.warning(found.period, context.now, frozenset(context.memory.warnings))
    if key is not None:
        context.memory.warnings.append(key)
        if found.period.end_s < verdict.NEVER:  # else there is no date to tell, and the change of state was told
            end = time.strftime("%Y-%m-%d", time.gmtime(found.period.end_s))
            log_event("license_warning", warning=key, reason=found.period.reason, end=end, until=found.period.end_s)


def _license(context: PassContext, found: Verdict) -> dict[str, Json]:
    terms = None if context.bundle is None else context.bundle.license
    good_until = context.now + GOOD_FOR_S
    warnings: list[Json] = [] if found.period is None else [_period(context, found.period)]
    return {
        "schema": 1,
        "state": str(found.state),
        "reasons": [str(reason) for reason in found.reasons],
        "since": found.since,
        "until": found.until,
        "permits": {
            "run": found.permits.run,
            "change": found.permits.change,
            "create": found.permits.create,
            "paid_features": found.permits.paid_features,
        },
        "features": _names(terms),
        "limits": {} if terms is None else dict(terms.limits),
        "tier": None if terms is None else terms.tier,
        "reseller": _reseller(context),
        "next_action": _next_action(context, found),
        "as_of": context.now,
        "good_until": good_until if found.until is None else min(found.until, good_until),
        "last_success": context.memory.checked_at,
        "warnings": warnings,
    }


def _names(terms: License | None) -> list[Json]:
    return [] if terms is None else [*sorted(terms.features)]


def _period(context: PassContext, period: verdict.Period) -> Json:
    return {
        "state": str(period.state),
        "reason": str(period.reason),
        "start": period.start_s,
        "end": None if period.end_s == verdict.NEVER else period.end_s,
        "days_left": None if period.end_s == verdict.NEVER else max(0, (period.end_s - context.now) // DAY_S),
    }


def _reseller(context: PassContext) -> Json:
    if context.bundle is None:
        return None
    told = context.bundle.license.reseller
    return {"name": told.name, "email": told.email, "phone": told.phone, "url": told.url}


def _next_action(context: PassContext, found: Verdict) -> Json:
    reseller = None if context.bundle is None else context.bundle.license.reseller
    told: dict[str, Json] = {"code": str(found.next_action)}
    for language in LANGUAGES:
        name = messages.translate("reseller.unknown", language) if reseller is None else reseller.name
        told[language] = messages.translate(f"action.{found.next_action}", language, reseller=name)
    return told


def _consent(context: PassContext) -> dict[str, Json]:
    """Every purpose and whether the gate would let it pass now; a command's purposes as if the command were given."""
    purposes: dict[str, Json] = {}
    for purpose in POLICIES:
        decided = decide(purpose, context.snapshot(purpose, commanded=True))
        grounds = decided.grounds if isinstance(decided, Denial) else ()
        purposes[str(purpose)] = {
            "permitted": not grounds,
            "reasons": gate_inputs.objections_json(grounds),
        }
    return {
        "schema": 1,
        "purposes": purposes,
        "do_not_track": [_signal(signal) for signal in (*context.signals.do_not_track, *context.consent.signals())],
        "offline": [_signal(signal) for signal in context.signals.offline],
    }


def _signal(signal: Signal) -> Json:
    return {"what": signal.what, "place": signal.place, "line": signal.line}


def _isolation(context: PassContext) -> Json:
    if not context.world.outlet.isolated:
        return {"level": "none", "missing": ["systemd_sockets"]}
    missing = context.world.cage.missing()
    return {"level": "partial" if missing else "kernel", "missing": [*missing]}
