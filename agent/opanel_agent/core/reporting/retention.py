"""Defines how long payloads are kept on this server, and which of them have expired.

Held reports are kept 14 days; copies of what was sent, and its replies, 90
days, then the ledger has their digests. The ledger itself, receipts, and the
random bytes that prove a report was ours stay for the life of the installation:
without them a right could not be used (GDPR art. 5(1)(e) asks for a limit on
what is kept, art. 15 for the means to ask).

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
