"""Builds the gate's inputs from settings, opt-outs, consent and root.

evaluate, fetch and courier each read these sources themselves and build the inputs of every decision here, so that a "no"
that one of them did not see yet still counts in the next.
"""

from collections.abc import Iterable, Iterator

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import (
    Denial,
    GateInputs,
    Objection,
    Permit,
    RequestView,
    Signals,
    decide,
    decide_all,
)
from opanel_agent.core.consent.purposes import FIXED, POLICIES, Purpose
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.values import frozen
from opanel_agent.core.wire import endpoints
from opanel_agent.core.wire.message import JOSE, Sealed, body_json, fields_of, written_by_us
from opanel_agent.system.consent.settings_view import settings_view
from opanel_agent.system.storage.settings import Settings

Permissions = dict[Purpose, Permit | Denial]


def destinations(purpose: str, settings: Settings, root: Root) -> tuple[str, ...]:
    """Returns the base URLs for a purpose in the allowed region, in the order in which they are tried.

    A fixed GET may use any mirror of the root or the settings; every other request only the root's endpoint.
    """
    if purpose in FIXED:
        return endpoints.order(root.mirrors, settings.mirrors, settings.region)
    return endpoints.order(root.endpoints.get(purpose, ()), (), settings.region)


@frozen
class GateSources:
    """One reading of everything that a decision rests on, but for the request itself.

    `refused` is why the settings are refused. `ledger` says what is wrong with the ledger, `clone` that the consents were
    given for another machine; both only narrow, and fetch and courier know neither.
    """

    settings: Settings
    refused: AgentError | None
    signals: Signals
    consent: ConsentReading
    notice: str
    root: Root
    ledger: str | None = None
    clone: bool = False

    @property
    def opted_out(self) -> bool:
        """Whether any signal stands, offline or do-not-track."""
        return bool(self.signals.offline or self.signals.do_not_track)

    def inputs(self, purpose: str, *, request: RequestView | None = None, commanded: bool = False) -> GateInputs:
        """Returns the gate's inputs for a purpose. `request` is None before anything is collected.

        `commanded`: an administrator's command started this run.
        """
        named = (*self.root.mirrors, *self.root.endpoints.get(purpose, ()))
        allowed = destinations(purpose, self.settings, self.root)
        return GateInputs(
            signals=self.signals,
            standing=settings_view(self.settings, self.refused),
            destinations=allowed,
            elsewhere=tuple(place.url for place in named if place.url not in allowed),
            asked=request,
            commanded=commanded,
            consent=self.consent,
            installed_notice=self.notice,
            ledger=self.ledger,
            clone=self.clone,
        )

    def decide(self, purpose: str, *, request: RequestView | None = None, commanded: bool = False) -> Permit | Denial:
        """Returns the gate's decision from this reading."""
        return decide(purpose, self.inputs(purpose, request=request, commanded=commanded))

    def permits(self, purpose: str) -> bool:
        """Returns whether the gate would let this purpose pass without a command."""
        return isinstance(self.decide(purpose), Permit)

    def require(self, purpose: str, *, request: RequestView | None = None, commanded: bool = False) -> None:
        """Raises NotPermitted with the first objection, if there is one."""
        require(purpose, self.inputs(purpose, request=request, commanded=commanded))

    def permissions(self) -> Permissions:
        """Returns the decision on every purpose, as if its command were given: for what is shown."""
        return decide_all({purpose: self.inputs(purpose, commanded=True) for purpose in POLICIES})

    def destinations(self, purpose: str) -> tuple[str, ...]:
        """Returns the base URLs that this purpose may use (see `destinations` of this module)."""
        return destinations(purpose, self.settings, self.root)


def view_request(sealed: Sealed, catalog: Catalog, now_s: int) -> RequestView:
    """Returns what a sealed request says, read from its own bytes. An unreadable body has no declared fields.

    `now_s` is effective time; a hold that seems to begin in the future has waited for 0 s.
    """
    try:
        fields = fields_of(sealed)
        offending = catalog.check(sealed.purpose, body_json(sealed)) if catalog.fields(sealed.purpose) else None
        beside = tuple(_beside_the_body(sealed))
    except (Untrusted, ValueError):  # a ValueError of urlsplit
        return RequestView(method=sealed.method, url=sealed.url, fields=None)
    return RequestView(
        method=sealed.method,
        url=sealed.url,
        fields=fields,
        offending=(*offending, *beside) if offending is not None else beside or None,
        waited_s=max(0, now_s - sealed.held_since) if sealed.held_since is not None else 0,
        reviewed=sealed.reviewed,
    )


def _beside_the_body(sealed: Sealed) -> Iterator[str]:
    """Yields where a request carries more than its body's fields: in its headers, or around the claims of a signed one."""
    if not written_by_us(sealed):
        yield "headers"
    elif dict(sealed.headers).get("Content-Type") == JOSE:
        claims = request_document.verify(sealed.body)
        signed = jws.signing_input(Typ.REQUEST, claims.jwk.kid, body_json(sealed))
        if not sealed.body.startswith(signed + b"."):
            yield "header"


def require(purpose: str, inputs: GateInputs) -> None:
    """Raises NotPermitted with the first objection; `consent why` shows them all."""
    match decide(purpose, inputs):
        case Permit():
            return
        case Denial(grounds=objections):
            raise denial_error(purpose, objections[0])


def denial_error(purpose: str, objection: Objection) -> NotPermitted:
    """Returns an objection as the error that ends a command."""
    what: dict[str, str] = {} if objection.what is None else {"what": objection.what}
    return NotPermitted(
        objection.reason,
        "gate_denied",
        purpose=str(purpose),
        reason=str(objection.reason),
        **what,
        place=objection.place,
    )


def objections_of(decision: Permit | Denial) -> tuple[Objection, ...]:
    """Returns every objection of a decision, () for a permit."""
    return decision.grounds if isinstance(decision, Denial) else ()


def objections_json(objections: Iterable[Objection]) -> list[Json]:
    """Returns objections as the answer and the commands carry them: reason, what stands there, and its place apart."""
    return [
        {"reason": str(item.reason), "what": item.what, "place": item.place, "line": item.line} for item in objections
    ]
