"""Names the adapters of one pass: every file, clock, machine fact, socket and random byte comes through them."""

from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.values import frozen
from opanel_agent.network.client import NetworkClient
from opanel_agent.system.clock import Clock
from opanel_agent.system.consent.consent_store import Consents
from opanel_agent.system.consent.opt_outs import OptOuts
from opanel_agent.system.machine import Machine
from opanel_agent.system.randomness import RandomSource
from opanel_agent.system.sandbox import Sandbox
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths


@frozen
class Ports:
    """The adapters of one pass. `catalog` and `notice` are the installed ones, fixed for the life of the process."""

    files: Files
    paths: Paths
    clock: Clock
    machine: Machine
    opt_outs: OptOuts
    consents: Consents
    catalog: Catalog
    notice: str
    network: NetworkClient
    sandbox: Sandbox
    random: RandomSource
