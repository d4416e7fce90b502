"""Which entry of the status lists the n-th document of a range gets.

Entries are numbered through all shards, as the agent's reader does (`core.documents.status_list`): entry = shard * 2^20 +
index in the shard. A shard has 2^20 entries of two bits, so its token fits into the 512 KiB that an agent takes even where
every entry differs from its neighbour (466 KB measured), and to fetch one tells the mirror: one of a million documents.

The lists are public. Were entries given in order, a neighbour's entry would tell when he bought, and a count of entries
how much was sold. So a range is walked in an order that only the authority knows: a keyed permutation of [start, end).

Theory: a balanced Feistel network of six rounds over an even number of bits (Luby and Rackoff 1988; NIST SP 800-38G
names more rounds for formats under attack with chosen inputs, which nobody has here), each round HMAC-SHA256 under
the key, the range and the round number. Where the range is no power of four, an output outside it is fed in again
("cycle walking", Black and Rogaway 2002): a permutation walks each cycle back into the range, in fewer than four
steps on average.

No table is kept and nothing can collide: the repository remembers only how many of a range are drawn.
"""

import hmac
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.consent.purposes import SHARDS
from opanel_agent.core.documents.status_list import SHARD_ENTRIES

VENDOR: Final = "vendor"
VENDOR_POOL: Final = 1 << 16
MAX_ENTRIES: Final = SHARDS * SHARD_ENTRIES
_ROUNDS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A range [start, end) of status entries and the key of its order."""

    key: bytes
    start: int
    end: int

    def entry(self, ordinal: int) -> int:
        """Returns the entry of the document that is `ordinal`-th (from 0) of this range. Raises IndexError beyond it."""
        if not 0 <= ordinal < self.end - self.start:
            raise IndexError(ordinal)
        drawn = self._permuted(ordinal)
        while drawn >= self.end - self.start:
            drawn = self._permuted(drawn)
        return self.start + drawn

    def _permuted(self, number: int) -> int:
        half_bits = max(1, ((self.end - self.start - 1).bit_length() + 1) // 2)
        mask = (1 << half_bits) - 1
        left, right = number >> half_bits, number & mask
        for round_number in range(_ROUNDS):
            left, right = right, left ^ (self._round(round_number, right) & mask)
        return left << half_bits | right

    def _round(self, round_number: int, half: int) -> int:
        message = b"opanel-status-order-1" + b"".join(
            part.to_bytes(8, "big") for part in (self.start, self.end, round_number, half)
        )
        return int.from_bytes(hmac.digest(self.key, message, "sha256")[:8], "big")


def shard_of(entry: int) -> tuple[int, int]:
    """Returns the shard that an entry is in, and its index there."""
    return divmod(entry, SHARD_ENTRIES)
