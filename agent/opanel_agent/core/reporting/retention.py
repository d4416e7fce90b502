"""How long what is kept here is kept: a table, and what of it is due.

Held reports 14 days; copies of what was sent, and its replies, 90 days, then
the ledger has their digests. The ledger itself, receipts, and the secrets that
prove a report was ours stay for the life of the installation.

Ages are in effective time. What seems to come from the future is kept until its
age can be told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.units import DAY_S


@unique
class PayloadFolder(StrEnum):
    """Where a payload waits or is kept, as the folder is called."""

    HELD = "held"
    SENT = "sent"


KEPT_S: Final = {PayloadFolder.HELD: 14 * DAY_S, PayloadFolder.SENT: 90 * DAY_S}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredItem:
    """One request.

    `since_s` is when it was sealed or attempted; None where nothing says it,
    which is no age.
    """

    id: str
    folder: PayloadFolder
    since_s: int | None


def expired(kept: Iterable[StoredItem], now_s: int) -> tuple[StoredItem, ...]:
    """What has been kept for as long as its folder allows."""
    return tuple(each for each in kept if each.since_s is not None and now_s - each.since_s >= KEPT_S[each.folder])
