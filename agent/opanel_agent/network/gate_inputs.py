"""The reading that a decision of the gate rests on: made afresh, by each process, from its own view of this machine."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.consent.consent_file import ConsentReading
from opanel_agent.core.consent.gate import (
    Denial,
    GateInputs,
    Objection,
    Permit,
    RequestView,
    SettingsView,
    Signals,
    decide,
)
from opanel_agent.core.consent.purposes import FIXED
from opanel_agent.core.documents import jws
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.wire import endpoints
from opanel_agent.core.wire.message import JOSE, Sealed, fields_of, said, written_by_us
from opanel_agent.system.storage.settings import Settings


def settings_view(settings: Settings, refused: AgentError | None) -> SettingsView:
    return SettingsView(
        check=settings.license_check,
        renew=settings.license_renew,
        advisories=settings.advisories,
        refused=None if refused is None else refused.detail,
    )


def destinations(purpose: str, settings: Settings, root: Root) -> tuple[str, ...]:
    """Base URLs, in the order in which they are tried, within the allowed region. A fixed GET may use any mirror."""
    if purpose in FIXED:
        return endpoints.order(root.mirrors, settings.mirrors, settings.region)
    return endpoints.order(root.endpoints.get(purpose, ()), (), settings.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSources:
    """What a process knows of this machine's word, before it is asked about one purpose."""

    settings: Settings
    refused: AgentError | None
    signals: Signals
    consent: ConsentReading
    notice: str
    root: Root
    ledger: str | None = None
    clone: bool = False


def gate_inputs(
    purpose: str, stand: GateSources, *, asked: RequestView | None = None, commanded: bool = False
) -> GateInputs:
    named = (*stand.root.mirrors, *stand.root.endpoints.get(purpose, ()))
    allowed = destinations(purpose, stand.settings, stand.root)
    return GateInputs(
        signals=stand.signals,
        standing=settings_view(stand.settings, stand.refused),
        destinations=allowed,
        elsewhere=tuple(place.url for place in named if place.url not in allowed),
        asked=asked,
        commanded=commanded,
        consent=stand.consent,
        installed_notice=stand.notice,
        ledger=stand.ledger,
        clone=stand.clone,
    )


def view_request(sealed: Sealed, catalog: Catalog, now_s: int) -> RequestView:
    """What a sealed request asks for, read from its own bytes. A body that cannot be read has no declared fields."""
    try:
        fields = fields_of(sealed)
        offending = catalog.check(sealed.purpose, said(sealed)) if catalog.fields(sealed.purpose) else None
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
    """Where a request says more than its body's fields: in its headers, or around the claims of a signed one."""
    if not written_by_us(sealed):
        yield "headers"
    elif dict(sealed.headers).get("Content-Type") == JOSE:
        claims = request_document.verify(sealed.body)
        signed = jws.signing_input(Typ.REQUEST, claims.jwk.kid, said(sealed))
        if not sealed.body.startswith(signed + b"."):
            yield "header"


def require(purpose: str, reading: GateInputs) -> None:
    """Raises NotPermitted with the first ground; `consent why` tells them all."""
    match decide(purpose, reading):
        case Permit():
            return
        case Denial(grounds=grounds):
            raise denial_error(purpose, grounds[0])


def denial_error(purpose: str, ground: Objection) -> NotPermitted:
    """The first ground, as an error."""
    what: dict[str, str] = {} if ground.what is None else {"what": ground.what}
    return NotPermitted(
        ground.reason, "gate_denied", purpose=str(purpose), reason=str(ground.reason), **what, place=ground.place
    )


def objections_json(grounds_: Iterable[Objection]) -> list[Json]:
    """As the answer and the commands carry them: words are the reader's, so what and where stay apart."""
    return [{"reason": str(g.reason), "what": g.what, "place": g.place, "line": g.line} for g in grounds_]
