"""The authority's clock, held against what it already did.

A list that is dated years ahead cannot be taken back: agents keep the newest date of each key as their floor. So whatever
writes to the books first compares the wall clock with the newest time at which they were written. Earlier than that by
more than five minutes, or later by more than 30 days, is refused: the service itself writes every hour, and lists end after
seven days, so a clock that is right is never that far ahead of a running authority. After a longer pause, or once the
clock was mended, `opanel-authority clock --accept` takes the clock as it is.
"""

from datetime import UTC, datetime
from typing import Final

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.units import DAY_S
from opanel_authority.books.repository import Books

BEHIND_S: Final = 300
AHEAD_S: Final = 30 * DAY_S
_FACT: Final = "clock"
_EVERY_S: Final = 60


def last_write(books: Books) -> int | None:
    """Tells when the books were last written to, within a minute; None before the first time."""
    mark = books.fact(_FACT)
    return None if mark is None else int(mark)


def hold(books: Books, now: int) -> None:
    """Raises Misconfigured (clock_wrong) for a clock that cannot be right; else remembers the time."""
    mark = last_write(books)
    if mark is not None and now < mark - BEHIND_S:
        raise Misconfigured(Fault.CLOCK_WRONG, "clock_behind", now=shown(now), last=shown(mark))
    if mark is not None and now > mark + AHEAD_S:
        raise Misconfigured(Fault.CLOCK_WRONG, "clock_ahead", now=shown(now), last=shown(mark))
    if mark is None or now >= mark + _EVERY_S:
        accept(books, now)


def accept(books: Books, now: int) -> None:
    """Take `now` as the time, whatever was before."""
    books.set_fact(_FACT, str(now))


def shown(at: int) -> str:
    """Formats a time by RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat().replace("+00:00", "Z")
