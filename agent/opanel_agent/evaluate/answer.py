"""Composes the answer that the panel, the administrator and monitoring read (docs/json.md). Pure: values in, JSON out."""

from collections.abc import Mapping
from typing import Final

from opanel_agent import messages
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.gate import Signal
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.root import Root
from opanel_agent.core.license import binding, renewal, verdict
from opanel_agent.core.license.states import ACTIONS
from opanel_agent.core.license.verdict import Verdict
from opanel_agent.core.units import DAY_S, LANGUAGES
from opanel_agent.core.values import frozen
from opanel_agent.evaluate.decision import match_of, rules_until
from opanel_agent.evaluate.inputs import Inputs
from opanel_agent.evaluate.reporting import advisories
from opanel_agent.evaluate.storage.state import AgentState
from opanel_agent.network.gate_inputs import Permissions, objections_json, objections_of

GOOD_FOR_S: Final = 7 * DAY_S


@frozen
class Outlook:
    """What waits on this machine, and when it acts next. Moments are effective seconds, None for never.

    `next_check_s` is when the status list is checked, `next_report_s` when a report is made or ready,
    `next_advisories_s` and `next_renewal_s` when those are asked for, `next_license_s` when the license that waits begins.
    `newest` is what left last, and what may have left since (`request_records.newest_json`).
    """

    held_reports: int
    newest: Mapping[str, Json]
    next_check_s: int
    next_report_s: int | None
    next_advisories_s: int | None
    next_license_s: int | None
    next_renewal_s: int | None
    renewal: Json


def compose(
    inputs: Inputs, state: AgentState, found: Verdict, permissions: Permissions, outlook: Outlook
) -> dict[str, Json]:
    """Returns the answer. The same values give the same answer; nothing is read or written."""
    return {
        "schema": 1,
        "license": _license(inputs.bundle, found, inputs.now, state.checked_at) | {"license": _terms(inputs, state)},
        "consent": _consent(inputs, permissions),
        "advisories": advisories.in_force(inputs.documents.advisories, inputs.now),
        "last_left": outlook.newest.get("last_left"),
        "may_have_left": outlook.newest.get("may_have_left"),
        "requests": outlook.newest.get("requests"),
        "reports": {"held": outlook.held_reports, "next": outlook.next_report_s},
        "machine": _machine(inputs, state),
        "isolation": _isolation(isolated=inputs.isolated, unprotected=inputs.unprotected),
        "next_run": {"at": outlook.next_check_s},
        "root": _root(inputs.root),
        "renewal": outlook.renewal,
        "last_check": {"at": state.checked_at, "failure": state.failure},
    }


def _root(root: Root) -> Json:
    return {"name": root.sub, "seq": root.seq, "sha256": root.digest, "exp": root.exp}


def _license(bundle: Bundle | None, found: Verdict, now: int, checked_at: int | None) -> dict[str, Json]:
    terms = None if bundle is None else bundle.license
    good_until = now + GOOD_FOR_S
    warnings: list[Json] = [] if found.period is None else [_period(found.period, now)]
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
        "features": [] if terms is None else [*sorted(terms.features)],
        "limits": {} if terms is None else dict(terms.limits),
        "tier": None if terms is None else terms.tier,
        "reseller": _reseller(bundle),
        "next_action": _next_action(terms, found),
        "as_of": now,
        "good_until": good_until if found.until is None else min(found.until, good_until),
        "last_success": checked_at,
        "warnings": warnings,
    }


def _terms(inputs: Inputs, state: AgentState) -> Json:
    """Returns the installed license itself: which it is, and its dates.

    `offline_until` is null where no check is ever needed.
    """
    if inputs.bundle is None:
        return None
    terms = inputs.bundle.license
    offline_until = rules_until(inputs.bundle, inputs, state)
    return {
        "id": terms.jti,
        "product": terms.product,
        "tier": terms.tier,
        "issued": terms.iat,
        "expires": terms.exp,
        "renews_from": renewal.begins_s(terms.nbf, terms.exp),
        "offline_until": None if offline_until == verdict.NEVER else offline_until,
    }


def _period(period: verdict.Period, now: int) -> Json:
    return {
        "state": str(period.state),
        "reason": str(period.reason),
        "start": period.start_s,
        "end": None if period.end_s == verdict.NEVER else period.end_s,
        "days_left": None if period.end_s == verdict.NEVER else max(0, (period.end_s - now) // DAY_S),
    }


def _reseller(bundle: Bundle | None) -> Json:
    """Tells whom to call, by the license, and who answers for personal data, by the delegation that it was issued under."""
    if bundle is None:
        return None
    reseller, controller = bundle.license.reseller, bundle.delegations[-1].controller
    return {
        "name": reseller.name,
        "email": reseller.email,
        "phone": reseller.phone,
        "url": reseller.url,
        "controller": None if controller is None else {"kep": None, "url": None, **controller.claim()},
    }


def _next_action(terms: License | None, found: Verdict) -> Json:
    action: dict[str, Json] = {"code": str(found.next_action)}
    for language in LANGUAGES:
        name = messages.translate("reseller.unknown", language) if terms is None else terms.reseller.name
        action[language] = messages.translate(f"action.{found.next_action}", language, reseller=name)
    return action


def _consent(inputs: Inputs, permissions: Permissions) -> dict[str, Json]:
    """Returns every purpose and whether the gate would let it pass now.

    A command's purposes as if the command were given.
    """
    purposes: dict[str, Json] = {}
    for purpose, decision in permissions.items():
        objections = objections_of(decision)
        purposes[str(purpose)] = {"permitted": not objections, "reasons": objections_json(objections)}
    return {
        "schema": 1,
        "purposes": purposes,
        "do_not_track": [_signal(signal) for signal in (*inputs.signals.do_not_track, *inputs.consent.signals())],
        "offline": [_signal(signal) for signal in (*inputs.signals.offline, *inputs.consent.offline())],
    }


def _signal(signal: Signal) -> Json:
    return {"what": signal.what, "place": signal.place, "line": signal.line}


def _machine(inputs: Inputs, state: AgentState) -> dict[str, Json]:
    """Returns what keeps this server from being recognized as the one that was activated, before it shows in the state."""
    activation, match = None if inputs.bundle is None else inputs.bundle.activation, match_of(inputs)
    if activation is None or match is None:
        return {"key": None, "unread": [], "undecided": None}
    bound = binding.unread_parts(activation.bind, inputs.unread)
    unread: list[Json] = [{"part": part, "file": why.file, "errno": why.errno} for part, why in bound.items()]
    key = "unread" if "agent_key" in inputs.unread else "ok" if inputs.key_id == activation.jkt else "lost"
    since = inputs.now if state.unmatched_since is None else state.unmatched_since
    undecided: Json = None
    if match.undecided:
        undecided = {"since": since, "grace": since + verdict.UNDECIDED_S, "until": since + verdict.MISMATCH_S}
    return {"key": key, "unread": unread, "undecided": undecided}


def _isolation(*, isolated: bool, unprotected: tuple[str, ...]) -> Json:
    if not isolated:
        return {"level": "none", "missing": ["systemd_sockets"]}
    return {"level": "partial" if unprotected else "kernel", "missing": [*unprotected]}


def without_state(answered: dict[str, Json]) -> dict[str, Json]:
    """Returns the answer of a pass that could not use the state's folder: that comes first, and to mend it is next."""
    found = with_reason(answered, Reason.STATE_UNREADABLE)
    license_ = found["license"]
    if not isinstance(license_, dict) or not isinstance(reasons := license_["reasons"], list):
        raise TypeError(type(license_))  # as below
    first: list[Json] = [str(Reason.STATE_UNREADABLE), *reasons[:-1]]
    code = ACTIONS[Reason.STATE_UNREADABLE]
    action: dict[str, Json] = {"code": str(code)}
    action |= {language: messages.translate(f"action.{code}", language) for language in LANGUAGES}
    return {**found, "license": {**license_, "reasons": first, "next_action": action}}


def with_reason(answered: dict[str, Json], reason: Reason) -> dict[str, Json]:
    """Returns the answer with one reason more, behind the license's others."""
    license_ = answered["license"]
    reasons = license_["reasons"] if isinstance(license_, dict) else None
    if isinstance(license_, dict) and isinstance(reasons, list):
        more: list[Json] = [*(known for known in reasons if known != Reason.OK), str(reason)]
        return {**answered, "license": {**license_, "reasons": more}}
    raise TypeError(type(license_))  # `compose` has written it
