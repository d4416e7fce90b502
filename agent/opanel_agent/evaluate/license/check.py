"""What evaluate asks of the world: the fixed GETs through fetch, and the license requests through the courier.

Each request is decided by the gate before anything is collected for it, sealed, decided again on its own bytes, kept, and
only then handed over. Where an opt-out forbids sending, an administrator's own command gets the request to carry by other
ways: it never fails for that reason alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.strict_json import Json, dumps
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.gate import Denial, Permit, decide
from opanel_agent.core.consent.purposes import WORDS, Purpose
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.license import license_key, schedule, status_history
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire.message import JOSE, JSON, SIGNED, Reply, Sealed, fields_of, head, seal
from opanel_agent.evaluate.context import PassContext, machine_components
from opanel_agent.evaluate.license import agent_key, install
from opanel_agent.evaluate.license import signed_request as signed
from opanel_agent.evaluate.outbox import new_id
from opanel_agent.evaluate.reply_errors import error_of
from opanel_agent.evaluate.reporting import advisories
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event

Result = dict[str, Json]

QUIET_MIN_S: Final = 10 * 60
QUIET_MAX_S: Final = 60 * 60
# A pass has 120 s, and one word to fetch may take half of them: who is late by then leaves the others to the next pass.
OTHERS_WITHIN_S: Final = 20

# After one of these the same mirrors will not answer a second question either.
_UNREACHABLE: Final = frozenset(
    {Reason.UNREACHABLE_DNS, Reason.UNREACHABLE_TCP, Reason.TLS_UNTRUSTED, Reason.PROXY_ERROR}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One kind of request to an endpoint: where it goes, and what is done with the answer."""

    kind: str
    path: str


ACTIVATION: Final = Errand(kind="activation", path="/v1/activations")
RELEASE: Final = Errand(kind="release", path="/v1/releases")
EXCHANGE: Final = Errand(kind="exchange", path="/v1/bundles")


def check(context: PassContext) -> Result:
    """Roots, then the status list. Raises NotPermitted; every other failure is a remark in the memory and a later try."""
    gate_inputs.require(Purpose.LICENSE_STATUS, context.snapshot(Purpose.LICENSE_STATUS))
    asked: list[Json] = []
    missed: AgentError | None = None
    for word, take in (("roots", install.roots), ("status", install.status)):
        told, missed = _get(context, word, take)
        asked += told
        if missed is not None and missed.code in _UNREACHABLE:
            break
    _plan(context, missed)
    begin_quiet(context, Purpose.LICENSE_STATUS)
    return {"asked": asked}


def look_for_advisories(context: PassContext, *, commanded: bool) -> list[Json]:
    """The third fixed GET, once a day or with a command. A failure is said and concerns nothing else."""
    purpose = Purpose.SECURITY_ADVISORIES
    waits = context.memory.reports.get(purpose, 0) > context.now or not quiet_permits(context, purpose)
    if (waits and not commanded) or denied(context, purpose):
        return []
    told, _ = _get(context, "advisories", advisories.adopt)
    context.memory.reports[purpose] = context.now + DAY_S // 2 + int(context.world.chance.random() * DAY_S)
    begin_quiet(context, purpose)
    return told


def _get(
    context: PassContext, fixed: str, take: Callable[[PassContext, bytes], None]
) -> tuple[list[Json], AgentError | None]:
    """One fixed GET, through fetch: what became of it at each mirror that replied, and what is missed in the end.

    A mirror whose document is refused (garbage, another list, an older one) must not hide the others from us: the next
    one is asked, as long as this pass has time for it. Whoever cannot be reached was passed over by fetch already.
    """
    told: list[Json] = []
    refused: AgentError | None = None
    begun_s = context.world.clock.read().boottime_s
    for word in (word for word, (means, _) in WORDS.items() if means == fixed):
        reply, missed = _get_from(context, word, fixed, take)
        if refused is not None and missed is not None and missed.detail == "no_mirror":
            break
        told.append(_told(reply, missed))
        if missed is None:
            return told, None
        refused = refused or missed
        late = context.world.clock.read().boottime_s - begun_s > OTHERS_WITHIN_S
        if late or not isinstance(missed, Untrusted):
            break
    return told, refused


def _get_from(
    context: PassContext, word: str, fixed: str, take: Callable[[PassContext, bytes], None]
) -> tuple[Reply, AgentError | None]:
    """One word to fetch. Whatever kept it from a good document is an error, told and planned around alike."""
    context.outbox.mark_get(fixed, context.now)
    try:
        reply = context.world.outlet.fetch(word, signalled=bool(context.signals.offline))
    except AgentError as unanswered:  # fetch itself hung, died or was refused by systemd
        return Reply(ok=False, code=str(unanswered.code), detail=unanswered.detail), unanswered
    if reply.detail != "no_mirror":  # else nothing was asked: what was last is still the latest
        context.outbox.keep_get_reply(fixed, reply)
    missed = error_of(reply)
    if missed is not None:
        return reply, missed
    try:
        take(context, reply.body)
    except Untrusted as refused:
        return reply, refused
    return reply, None


def denied(context: PassContext, purpose: Purpose) -> bool:
    """Whether the gate would refuse this purpose now."""
    return isinstance(decide(purpose, context.snapshot(purpose)), Denial)


def prepare(context: PassContext, errand: Errand, key: str | None) -> Sealed:
    """The sealed request, held. An unanswered one for the same license is the same request: no second seat."""
    url = _endpoint(context) + errand.path
    body, content_type = _body(context, errand, key)
    sealed = seal(
        request_id=new_id(context.world.chance, errand.kind),
        purpose=Purpose.LICENSE_ACTIVATION,
        url=url,
        accept=SIGNED,
        body=body,
        content_type=content_type,
        held_since=context.now,
    )
    context.outbox.hold(sealed)
    return sealed


def command(context: PassContext, errand: Errand, options: Mapping[str, Json], key: str | None) -> Result:
    """A license command of the administrator's. An unanswered request is the same the second time: no second seat."""
    confirmed = options.get("confirm")
    if isinstance(confirmed, str) and not _is_for(context, errand, confirmed, key):
        raise Untrusted(Fault.USAGE, "held_unknown", id=confirmed[:64])

    def prepared() -> Sealed:
        return _unanswered(context, errand, key) or prepare(context, errand, key)

    def take(sealed: Sealed, reply: Reply) -> Result:
        return _take(context, errand, sealed, reply, key)

    return carry(context, Purpose.LICENSE_ACTIVATION, prepared, options, take)


def carry(
    context: PassContext,
    purpose: Purpose,
    prepared: Callable[[], Sealed],
    options: Mapping[str, Json],
    take: Callable[[Sealed, Reply], Result],
) -> Result:
    """An administrator's own command: shown first (`preview`), sent (`confirm` or neither), or written out (`to_file`)."""
    verdict = decide(purpose, context.snapshot(purpose, commanded=True))
    if isinstance(verdict, Denial) and not verdict.to_file:
        gate_inputs.require(purpose, context.snapshot(purpose, commanded=True))
    confirmed = options.get("confirm")
    sealed = context.outbox.require_held(confirmed) if isinstance(confirmed, str) else prepared()
    if sealed.purpose != purpose:  # `confirm` named a request of another kind
        raise Untrusted(Fault.USAGE, "held_unknown", id=sealed.id)
    if options.get("preview") is True:
        return show(sealed) | {"why": grounds(verdict)}
    if options.get("to_file") is True or isinstance(verdict, Denial):
        return {"sent": False, "id": sealed.id, "request": base64url(sealed.body), "why": grounds(verdict)}
    return _send(context, purpose, sealed, take)


def show(sealed: Sealed) -> Result:
    """What will leave, exactly."""
    leaves: list[Json] = [*sorted(fields_of(sealed))]
    return {
        "id": sealed.id,
        "purpose": sealed.purpose,
        "method": sealed.method,
        "url": sealed.url,
        "head": head(sealed).decode("ascii"),
        "body": sealed.body.decode("utf-8"),
        "leaves": leaves,
    }


def _send(context: PassContext, purpose: Purpose, sealed: Sealed, take: Callable[[Sealed, Reply], Result]) -> Result:
    asked = context.snapshot(
        purpose, asked=gate_inputs.view_request(sealed, context.world.catalog, context.now), commanded=True
    )
    gate_inputs.require(purpose, asked)
    reply = context.outbox.submit(sealed, context.world.outlet, context.now, signalled=context.signalled, command=True)
    refused = error_of(reply)
    if refused is not None:
        if isinstance(refused, Untrusted) and refused.code is not Fault.RATE_LIMITED:
            context.outbox.end_hold(sealed.id)  # it has its answer: the next command asks anew
        raise refused
    context.outbox.end_hold(sealed.id)
    told = take(sealed, reply)
    return {"sent": True, "id": sealed.id, "url": sealed.url, "reply_status": reply.status, **told}


def _take(context: PassContext, errand: Errand, sealed: Sealed, reply: Reply, key: str | None) -> Result:
    match errand.kind:
        case "activation":
            install.activation(context, reply.body)
        case "exchange":
            install.exchanged(context, reply.body, key_sha256=license_key.digest(license_key.parse(key or "")))
        case _:
            log_event("license_released", id=sealed.id)
            # The list says so by now; what holds after that is for the list to say.
            context.schedule = schedule.soon(context.schedule, context.now, context.world.chance.random())
    return {}


def _is_for(context: PassContext, errand: Errand, request_id: str, key: str | None) -> bool:
    """Whether what is confirmed is what this command would send; its answer would be taken for another's."""
    sealed = context.outbox.held(request_id)
    if sealed is None or not request_id.startswith(f"{errand.kind}-"):
        return False
    return errand is not EXCHANGE or sealed.body == _key_body(key)


def _unanswered(context: PassContext, errand: Errand, key: str | None) -> Sealed | None:
    """The held request of this kind, where it still says the same of the same license to the same place."""
    expected = None if context.bundle is None else context.bundle.license.digest

    def same(sealed: Sealed) -> bool:
        same_place = sealed.url == _endpoint(context) + errand.path
        return same_place and _license_of(sealed) == (expected or _key_body(key))

    return next(context.outbox.pending(errand.kind, same), None)


def _license_of(sealed: Sealed) -> str | bytes:
    if dict(sealed.headers)["Content-Type"] == JOSE:
        return request_document.verify(sealed.body).license_sha256
    return sealed.body


def _body(context: PassContext, errand: Errand, key: str | None) -> tuple[bytes, str]:
    if errand is EXCHANGE:
        return _key_body(key), JSON
    return signed_request(context, RequestKind(errand.kind)), JOSE


def signed_request(context: PassContext, kind: RequestKind) -> bytes:
    """A request about the installed license, by the agent's own key; only an activation says anything of the machine."""
    if context.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    signer = agent_key.load_or_make(context.world.files, context.world.paths, context.world.chance)
    context.components = machine_components(context.world)  # the key may be a new one
    return signed.request(context, context.bundle.license, signer, kind)


def _key_body(key: str | None) -> bytes:
    return dumps({"schema": 1, "key_sha256": license_key.digest(license_key.parse(key or ""))})


def _endpoint(context: PassContext) -> str:
    places = gate_inputs.destinations(Purpose.LICENSE_ACTIVATION, context.settings, context.root)
    if not places:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=Purpose.LICENSE_ACTIVATION.value)
    return places[0]


def _told(reply: Reply, failure: AgentError | None) -> Json:
    return {
        "url": reply.url,
        "ok": failure is None,
        "code": None if failure is None else str(failure.code),
        "error": None if failure is None else failure.to_json(),
        "head": reply.sent_head.decode("ascii"),
    }


def _plan(context: PassContext, failure: AgentError | None) -> None:
    draw = context.world.chance.random()
    if failure is None:
        context.memory.failure = None
        context.memory.checked_at = context.now
        bad = status_history.any_bad(context.memory.seen)
        context.schedule = schedule.after_success(context.schedule, context.now, draw, sighting=bad)
        return
    context.memory.failure = str(failure.code)
    retry_after = failure.values.get("retry_after_s")
    context.schedule = schedule.after_failure(
        context.schedule, context.now, draw, retry_after_s=retry_after if isinstance(retry_after, int) else None
    )


def grounds(verdict: Permit | Denial) -> list[Json]:
    """Every reason of a denial with its place, for a person; nothing for a permit."""
    if isinstance(verdict, Permit):
        return []
    return gate_inputs.objections_json(verdict.grounds)


def quiet_permits(context: PassContext, purpose: str) -> bool:
    """Runs of different purposes keep 10 to 60 minutes apart, so that the wire does not tell that they are one server's."""
    until = context.memory.quiet_until
    return until is None or context.now >= until or context.memory.quiet_but == purpose


def begin_quiet(context: PassContext, purpose: str) -> None:
    context.memory.quiet_until = (
        context.now + QUIET_MIN_S + int(context.world.chance.random() * (QUIET_MAX_S - QUIET_MIN_S))
    )
    context.memory.quiet_but = purpose
