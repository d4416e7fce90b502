"""The reading that a decision of the gate rests on: made afresh, by each process, from its own view of this machine."""

from opanel_agent.core import mirrors
from opanel_agent.core.consent import Asked, Denial, Permit, Signals, Snapshot, Standing, decide
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.purposes import TERMS, Purpose
from opanel_agent.core.request import Sealed, fields_of
from opanel_agent.system.settings import Settings


def standing(settings: Settings, refused: AgentError | None) -> Standing:
    return Standing(
        check=settings.license_check,
        renew=settings.license_renew,
        advisories=settings.advisories,
        refused=None if refused is None else refused.detail,
    )


def destinations(purpose: str, settings: Settings, root: Root) -> tuple[str, ...]:
    """Base URLs, in the order in which they are tried, within the allowed region. A fixed GET may use any mirror."""
    if purpose in TERMS and not TERMS[Purpose(purpose)].fields:
        return mirrors.order(root.mirrors, settings.mirrors, settings.region)
    return mirrors.order(root.endpoints.get(purpose, ()), (), settings.region)


def snapshot(
    purpose: str,
    *,
    settings: Settings,
    refused: AgentError | None,
    signals: Signals,
    root: Root,
    asked: Asked | None = None,
    commanded: bool = False,
) -> Snapshot:
    named = (*root.mirrors, *root.endpoints.get(purpose, ()))
    allowed = destinations(purpose, settings, root)
    return Snapshot(
        signals=signals,
        standing=standing(settings, refused),
        destinations=allowed,
        elsewhere=tuple(place.url for place in named if place.url not in allowed),
        asked=asked,
        commanded=commanded,
    )


def asked(sealed: Sealed) -> Asked:
    """What a sealed request asks for, read from its own bytes. A body that cannot be read has no declared fields."""
    try:
        fields = fields_of(sealed)
    except Untrusted:
        return Asked(method=sealed.method, url=sealed.url, fields=None)
    return Asked(method=sealed.method, url=sealed.url, fields=fields)


def require(purpose: str, reading: Snapshot) -> None:
    """Raises NotPermitted with the first ground; `consent why` tells them all."""
    match decide(purpose, reading):
        case Permit():
            return
        case Denial(grounds=grounds):
            first = grounds[0]
            raise NotPermitted(
                first.reason, "gate_denied", purpose=purpose, reason=str(first.reason), place=first.place
            )
