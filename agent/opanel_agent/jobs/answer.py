"""From what lies on the desk to the answer that the panel, the administrator and monitoring read (docs/json.md)."""

import time
from typing import Final

from opanel_agent import texts
from opanel_agent.core import binding, effective_time, license_key, schedule, sightings, verdict
from opanel_agent.core.consent import Denial, Signal, decide
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.purposes import TERMS
from opanel_agent.core.reasons import Reason
from opanel_agent.core.sightings import Document
from opanel_agent.core.strict_json import Json
from opanel_agent.core.verdict import Evidence, Refusal, State, Verdict
from opanel_agent.jobs import advisories, consents, gate, records, renew, report
from opanel_agent.jobs.desk import Desk
from opanel_agent.system.log import line

GOOD_FOR_S: Final = 7 * 86400
LANGUAGES: Final = ("tr", "en")


def judge(desk: Desk) -> Verdict:
    """The verdict on this desk; what it begins or ends is noted in the memory."""
    match = _match(desk)
    memory = desk.memory
    memory.unmatched_since = None if match is None or match.ok else memory.unmatched_since or desk.now
    refused = desk.bundle is None and desk.bundle_refused is not None
    memory.refused_since = (memory.refused_since or desk.now) if refused else None
    found = verdict.judge(_evidence(desk, match))
    if found.state != memory.state:
        memory.state, memory.state_since = str(found.state), found.since
    _warn(desk, found)
    return found


def compose(desk: Desk, found: Verdict) -> dict[str, Json]:
    return {
        "schema": 1,
        "license": _license(desk, found),
        "consent": _consent(desk),
        "advisories": advisories.load(desk),
        "last_left": records.last_left(desk),
        "reports": {"held": len(list(consents.held_reports(desk))), "next": report.next_s(desk)},
        "isolation": _isolation(desk),
        "next_run": {"at": desk.now + schedule.wait_s(desk.schedule, desk.now)},
        "root": {"name": desk.root.sub, "seq": desk.root.seq, "sha256": desk.root.digest, "exp": desk.root.exp},
        "renewal": renew.told(desk),
        "last_check": {"at": desk.memory.checked_at, "failure": desk.memory.failure},
    }


def _evidence(desk: Desk, match: binding.Match | None) -> Evidence:
    held, memory = desk.bundle, desk.memory
    refused = desk.bundle_refused if held is None else None
    return Evidence(
        now=desk.now,
        license=None if held is None else held.license,
        accepted_at=None if held is None else memory.accepted.get(license_key.digest(held.license.sub), desk.now),
        activated=held is not None and held.activation is not None,
        refused=None
        if refused is None
        else Refusal(reason=Reason(refused.code), since=memory.refused_since or desk.now),
        had_license=refused is not None,
        license_sighting=sightings.of(memory.seen, Document.LICENSE),
        activation_sighting=sightings.of(memory.seen, Document.ACTIVATION),
        delegation_sighting=sightings.of(memory.seen, Document.DELEGATION),
        status_rules_until=None if held is None else _rules_until(desk, held),
        match=match,
        unmatched_since=memory.unmatched_since,
        root_exp=desk.root.exp,
        clock_suspect=effective_time.clock_suspect(desk.mark),
        remarks=_remarks(desk),
        previous_state=None if memory.state is None else State(memory.state),
        previous_since=memory.state_since,
    )


def _rules_until(desk: Desk, held: Bundle) -> int:
    """A list that was held once keeps its freshness when its bytes or its key are lost: neither expires a license."""
    listed, known = desk.status, desk.memory.list_iat
    once_held = None if known is None else min(known, desk.now)
    return verdict.rules_until(
        once_held if listed is None else listed.iat,
        None if listed is None else listed.exp,
        stale_days=held.license.stale_days,
        newest_iat=held.newest_iat,
    )


def _match(desk: Desk) -> binding.Match | None:
    if desk.bundle is None or desk.bundle.activation is None:
        return None
    return binding.match(desk.bundle.activation.bind, desk.components)


def _remarks(desk: Desk) -> tuple[Reason, ...]:
    """What went wrong beside the license: told with every state, and never the cause of one."""
    told: list[Reason] = []
    if desk.settings_refused is not None:
        told.append(Reason.SETTINGS_REFUSED)
    if desk.bundle is not None and desk.bundle_refused is not None:
        told.append(Reason(desk.bundle_refused.code))
    known = {str(reason): reason for reason in Reason}
    if desk.memory.failure is not None:
        told.append(known.get(desk.memory.failure, Reason.INTERNAL))
    if desk.status is not None and desk.bundle is not None and _beyond(desk.bundle, desk.status):
        told.append(Reason.STATUS_UNAVAILABLE)
    if not desk.world.outlet.isolated:
        told.append(Reason.ISOLATION_NONE)
    elif desk.world.cage.missing():
        told.append(Reason.ISOLATION_PARTIAL)
    return tuple(told)


def _beyond(held: Bundle, listed: StatusList) -> bool:
    links = [held.license.status, *(link.status for link in held.delegations)]
    return any(listed.status(link.idx) is None for link in links)


def _warn(desk: Desk, found: Verdict) -> None:
    if found.period is None:
        return
    key = verdict.warning(found.period, desk.now, frozenset(desk.memory.warnings))
    if key is not None:
        desk.memory.warnings.append(key)
        if found.period.end_s < verdict.NEVER:  # else there is no date to tell, and the change of state was told
            end = time.strftime("%Y-%m-%d", time.gmtime(found.period.end_s))
            line("license_warning", warning=key, reason=found.period.reason, end=end, until=found.period.end_s)


def _license(desk: Desk, found: Verdict) -> dict[str, Json]:
    terms = None if desk.bundle is None else desk.bundle.license
    good_until = desk.now + GOOD_FOR_S
    warnings: list[Json] = [] if found.period is None else [_period(desk, found.period)]
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
        "reseller": _reseller(desk),
        "next_action": _next_action(desk, found),
        "as_of": desk.now,
        "good_until": good_until if found.until is None else min(found.until, good_until),
        "last_success": desk.memory.checked_at,
        "warnings": warnings,
    }


def _names(terms: License | None) -> list[Json]:
    return [] if terms is None else [*sorted(terms.features)]


def _period(desk: Desk, period: verdict.Period) -> Json:
    return {
        "state": str(period.state),
        "reason": str(period.reason),
        "start": period.start_s,
        "end": None if period.end_s == verdict.NEVER else period.end_s,
        "days_left": None if period.end_s == verdict.NEVER else max(0, (period.end_s - desk.now) // 86400),
    }


def _reseller(desk: Desk) -> Json:
    if desk.bundle is None:
        return None
    told = desk.bundle.license.reseller
    return {"name": told.name, "email": told.email, "phone": told.phone, "url": told.url}


def _next_action(desk: Desk, found: Verdict) -> Json:
    reseller = None if desk.bundle is None else desk.bundle.license.reseller
    told: dict[str, Json] = {"code": str(found.next_action)}
    for language in LANGUAGES:
        name = texts.say("reseller.unknown", language) if reseller is None else reseller.name
        told[language] = texts.say(f"action.{found.next_action}", language, reseller=name)
    return told


def _consent(desk: Desk) -> dict[str, Json]:
    """Every purpose and whether the gate would let it pass now; a command's purposes as if the command were given."""
    purposes: dict[str, Json] = {}
    for purpose in TERMS:
        decided = decide(purpose, desk.snapshot(purpose, commanded=True))
        grounds = decided.grounds if isinstance(decided, Denial) else ()
        purposes[str(purpose)] = {
            "permitted": not grounds,
            "reasons": gate.shown(grounds),
        }
    return {
        "schema": 1,
        "purposes": purposes,
        "do_not_track": [_signal(signal) for signal in (*desk.signals.do_not_track, *desk.consent.signals())],
        "offline": [_signal(signal) for signal in desk.signals.offline],
    }


def _signal(signal: Signal) -> Json:
    return {"what": signal.what, "place": signal.place, "line": signal.line}


def _isolation(desk: Desk) -> Json:
    if not desk.world.outlet.isolated:
        return {"level": "none", "missing": ["systemd_sockets"]}
    missing = desk.world.cage.missing()
    return {"level": "partial" if missing else "kernel", "missing": [*missing]}
