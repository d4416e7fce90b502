"""Carries out the administrator's license commands: activate, release, and exchange of a license key for its bundle.

An unanswered request for the same license is found again and sent again, so that no second seat is taken. A kept answer
that was not installed, because the pass was killed or the disk was full, is installed by the next pass.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import NotPermitted, Untrusted
from opanel_agent.core.license import binding, license_key, schedule
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.message import JOSE, JSON, MAX_BODY_BYTES, SIGNED, Reply, Sealed, seal
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.inputs import machine_identity
from opanel_agent.evaluate.license import agent_key, install
from opanel_agent.evaluate.license import signed_request as signed
from opanel_agent.evaluate.requests.commanded import Result, carry_out, take
from opanel_agent.evaluate.requests.outbox import new_id
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.system.log import log_event
from opanel_agent.system.randomness import RandomSource


@frozen
class LicenseRequest:
    """A kind of request to the authority: `kind` begins the ids, `path` is appended to the endpoint's URL."""

    kind: str
    path: str


ACTIVATION: Final = LicenseRequest(kind="activation", path="/v1/activations")
RELEASE: Final = LicenseRequest(kind="release", path="/v1/releases")
EXCHANGE: Final = LicenseRequest(kind="exchange", path="/v1/bundles")


def run(context: PassContext, wanted: LicenseRequest, options: Mapping[str, Json], key: str | None) -> Result:
    """Carries out one license command; `key` is the license key of an exchange. Raises what `carry_out` does."""
    confirmed = options.get("confirm")
    if isinstance(confirmed, str) and not _matches(context.outbox.held(confirmed), wanted, key):
        raise Untrusted(Fault.USAGE, "held_unknown", id=confirmed[:64])

    def prepare() -> Sealed:
        url = _endpoint(context.gate.destinations(Purpose.LICENSE_ACTIVATION)) + wanted.path
        bundle = context.inputs.bundle
        subject = None if bundle is None else bundle.license.digest

        def same(sealed: Sealed) -> bool:
            return sealed.url == url and _subject(sealed) == (_key_body(key) if wanted is EXCHANGE else subject)

        pending = next(context.outbox.pending(wanted.kind, same), None)
        if pending is not None:
            return pending
        body = _key_body(key) if wanted is EXCHANGE else signed_request(context, RequestKind(wanted.kind))
        sealed = _seal(wanted, url, body, context.ports.random, context.now)
        context.outbox.hold(sealed)
        return sealed

    return carry_out(context, Purpose.LICENSE_ACTIVATION, prepare, options, partial(_install, context, wanted))


def finish_answered(context: PassContext) -> None:
    """Installs the good answers that were kept and not installed. Opens no connection. Raises Storage."""
    outbox = context.outbox
    for wanted in (ACTIVATION, RELEASE, EXCHANGE):
        for sealed in outbox.pending(wanted.kind, _is_ours):
            reply = outbox.reply(sealed.id)
            if reply is None or error_of(reply) is not None:
                continue
            outbox.record_outcome(sealed, reply, context.now)
            try:
                take(outbox, sealed, reply, partial(_install, context, wanted))
            except Untrusted as refused:
                log_event("command_failed", error=str(refused))


def signed_request(context: PassContext, kind: RequestKind) -> bytes:
    """Returns a signed request about the installed license; the agent's key is made where there is none.

    Only an activation has the machine's components, and replaces a key that cannot be read: for any other request that
    raises Unreadable, since a new key would prove nothing. Raises Untrusted without a license.
    """
    inputs, ports = context.inputs, context.ports
    if inputs.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    anew = kind is RequestKind.ACTIVATION
    signer = agent_key.load_or_make(ports.files, ports.paths, ports.random, replace_unreadable=anew)
    here = machine_identity(ports)  # the key may be a new one
    context.inputs = replace(
        inputs, components=here.components, shared=here.shared, unread=here.unread, key_id=here.key_id
    )
    activation = inputs.bundle.activation
    steady = binding.steady(here.components, None if activation is None else activation.bind)
    subject = signed.RequestSubject(kind=kind, components=steady if kind is RequestKind.ACTIVATION else {})
    return signed.sign(subject, inputs.bundle.license, signer, ports.random, context.now)


def _seal(wanted: LicenseRequest, url: str, body: bytes, random: RandomSource, now: int) -> Sealed:
    return seal(
        request_id=new_id(random, wanted.kind),
        purpose=Purpose.LICENSE_ACTIVATION,
        url=url,
        accept=SIGNED,
        body=body,
        content_type=JSON if wanted is EXCHANGE else JOSE,
        held_since=now,
    )


def _is_ours(sealed: Sealed) -> bool:
    return sealed.purpose == Purpose.LICENSE_ACTIVATION


def _install(context: PassContext, wanted: LicenseRequest, sealed: Sealed, reply: Reply) -> Result:
    match wanted.kind:
        case "activation":
            install.activation(context, reply.body)
        case "exchange":
            asked = Members(loads(sealed.body, max_bytes=MAX_BODY_BYTES), "request")
            install.exchanged(context, reply.body, key_sha256=asked.text("key_sha256"))
        case _:
            log_event("license_released", id=sealed.id)
            # The status list has the release by now; what holds after it is the list's to say.
            context.schedule = schedule.soon(context.schedule, context.now, context.ports.random.random())
    return {}


def _matches(sealed: Sealed | None, wanted: LicenseRequest, key: str | None) -> bool:
    """Tells whether the confirmed request is the one of this command; another's answer would be installed for it."""
    if sealed is None or not sealed.id.startswith(f"{wanted.kind}-"):
        return False
    return wanted is not EXCHANGE or sealed.body == _key_body(key)


def _subject(sealed: Sealed) -> str | bytes:
    """Returns the license that a request is about: its digest, or the body that has the key's digest.

    A damaged one has none.
    """
    if dict(sealed.headers)["Content-Type"] != JOSE:
        return sealed.body
    try:
        return request_document.verify(sealed.body).license_sha256
    except Untrusted:
        return b""


def _key_body(key: str | None) -> bytes:
    return dumps({"schema": 1, "key_sha256": license_key.digest(license_key.parse(key or ""))})


def _endpoint(places: tuple[str, ...]) -> str:
    if not places:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=Purpose.LICENSE_ACTIVATION.value)
    return places[0]
