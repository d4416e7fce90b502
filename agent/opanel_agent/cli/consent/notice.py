"""`notice`: the installed notice, with the names that this installation knows filled in.

It needs neither root nor the daemon; who is not known yet is said to be so.
"""

from opanel_agent.cli.context import Context
from opanel_agent.cli.display.markup import marked
from opanel_agent.cli.display.output import CommandResult, folded
from opanel_agent.cli.license import documents
from opanel_agent.cli.license import status_view as answers
from opanel_agent.cli.parser import Options
from opanel_agent.core.consent import notice
from opanel_agent.core.consent.notice import Circumstances, Party
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import AgentError
from opanel_agent.core.units import Language
from opanel_agent.system.storage.resources import Resources


def show(_: Options, world: Context) -> CommandResult:
    lines = page(world, world.lang)
    result = {"notice": Resources().installed_notice(), "lang": world.lang, "text": "\n".join(lines)}
    return CommandResult(result=result, lines=tuple(marked(lines)))


def page(world: Context, lang: Language) -> tuple[str, ...]:
    """Returns the notice's lines, none of them wider than a terminal of 80 columns."""
    text = notice.fill(Resources().notice(lang), lang, _circumstances(world, _root(world)))
    return tuple(line for each in text.splitlines() for line in folded(each))


def _root(world: Context) -> Root | None:
    """Returns whoever is trusted; None where nobody is yet, which the notice says."""
    try:
        return documents.trusted_root(world)
    except AgentError:
        return None


def _circumstances(world: Context, root: Root | None) -> Circumstances:
    """Tells who is responsible, and every server that may be contacted within the region that the settings choose."""
    if root is None:
        return Circumstances(reseller=_reseller(world))
    settings = world.settings()  # it was read to find the root
    named = (*root.mirrors, *(each for places in root.endpoints.values() for each in places))
    return Circumstances(
        vendor=Party(name=root.sub, controller=root.controller),
        reseller=_reseller(world),
        destinations=tuple(each for each in named if settings.region in (None, each.region)),
        own_mirrors=settings.mirrors,
        region=settings.region,
        transfers=root.transfers,
        ip_retention_days=root.ip_retention_days,
    )


def _reseller(world: Context) -> Party | None:
    try:
        found = answers.latest(world).license
    except AgentError:
        return None
    if "name" not in found.reseller:
        return None
    contact = tuple(found.reseller[way] for way in answers.CONTACT if way in found.reseller)
    return Party(name=found.reseller["name"], controller=found.reseller_controller, contact=contact)
