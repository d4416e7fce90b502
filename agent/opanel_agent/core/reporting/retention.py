"""Defines how long payloads, and what proves whose they were, are kept on this server, and which of them have expired.

Held reports are kept 14 days; copies of what was sent, and its replies, 90
days, then the ledger has their digests (GDPR art. 5(1)(e) asks for a limit on
what is kept, art. 15 for the means to ask).

The random bytes that prove a report was ours, and the requests made ready of
them, are of use as long as the authority stores the report: they are kept 30
days longer than that. Receipts are evidence of what the authority promised:
they are kept for 1,095 days, as the authority keeps its own. The ledger itself
stays for the life of the installation. A folder that was set aside because it
could not be read is kept as long as what was in it would have been.

Ages are in effective time. What seems to come from the future is kept until its
age can be told.
"""

from collections.abc import Iterable
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen


@unique
class PayloadFolder(StrEnum):
    """Names the folders that hold payloads, as they are called below the state directory."""

    HELD = "held"
    SENT = "sent"


@unique
class ProofFolder(StrEnum):
    """Names the folders that hold what proves, as they are called below the state directory."""

    ERASURE = "erasure"
    READY = "ready"
    RECEIPTS = "receipts"


RECEIPT_DAYS: Final = 1095
PROOF_MARGIN_DAYS: Final = 30
KEPT_S: Final = {PayloadFolder.HELD: 14 * DAY_S, PayloadFolder.SENT: 90 * DAY_S}


@frozen
class StoredItem:
    """Holds one stored request.

    `since_s` is when it was sealed or attempted, in seconds since 1970; None
    where nothing says it: then it has no age and is kept.
    """

    id: str
    folder: PayloadFolder
    since_s: int | None


def expired(kept: Iterable[StoredItem], now_s: int) -> tuple[StoredItem, ...]:
    """Returns the items that have been kept for as long as their folder allows."""
    return tuple(each for each in kept if each.since_s is not None and now_s - each.since_s >= KEPT_S[each.folder])


def proof_days(folder: ProofFolder, stored_days: int) -> int:
    """Returns for how many days a proof is kept; `stored_days`: for how many the authority stores a report."""
    return RECEIPT_DAYS if folder is ProofFolder.RECEIPTS else stored_days + PROOF_MARGIN_DAYS


def aside_s(folder: str, stored_days: int) -> int | None:
    """Returns for how many seconds a folder that was set aside is kept; None for a name that is none of these folders."""
    if folder in [*PayloadFolder]:
        return KEPT_S[PayloadFolder(folder)]
    return proof_days(ProofFolder(folder), stored_days) * DAY_S if folder in [*ProofFolder] else None
