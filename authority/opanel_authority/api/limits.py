"""Rate limits: token buckets by what is asked about, never by who asks.

A bucket is taken from only after a request was found to be in order: what is refused for its form costs nobody's share.
"""

import heapq
import threading
from dataclasses import dataclass, field

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import NotPermitted


@dataclass(slots=True, kw_only=True)
class Limiter:
    """A bucket of `burst` requests for each key, one more every `refill_s`. Only full buckets are forgotten."""

    burst: int = 20
    refill_s: int = 60
    detail: str = "rate_limited"
    spent: dict[str, float] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)
    _due: list[tuple[float, str]] = field(default_factory=list)

    def take(self, key: str, now_s: float) -> None:
        """Raises NotPermitted (rate_limited) with `retry_after_s`. `spent` holds when each bucket is full again."""
        with self.guard:
            self._forget(now_s)
            full_at = max(self.spent.get(key, now_s), now_s) + self.refill_s
            over_s = full_at - now_s - self.burst * self.refill_s
            if over_s > 0:
                raise NotPermitted(Fault.RATE_LIMITED, self.detail, retry_after_s=int(over_s) + 1)
            self.spent[key] = full_at
            heapq.heappush(self._due, (full_at, key))

    def admit(self, now_s: float, key: str) -> None:
        """Does `take` with the time first, for `functools.partial`."""
        self.take(key, now_s)

    def _forget(self, now_s: float) -> None:
        """Forgets in logarithmic time for each bucket that is full again, however many there are."""
        while self._due and self._due[0][0] <= now_s:
            full_at, key = heapq.heappop(self._due)
            if self.spent.get(key) == full_at:
                del self.spent[key]
