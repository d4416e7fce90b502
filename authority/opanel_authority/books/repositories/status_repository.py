"""Status entries: who may draw which, what each says, and the lists that were signed of them.

What entries say is kept as the lists have it, two bits each, in chunks of 4,096; a chunk of zeros has no row. So a list
is put together from at most 256 rows, and a change of status rewrites one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.status_list import SHARD_ENTRIES, Status
from opanel_agent.core.errors import NotPermitted
from opanel_authority.books.rows import Rows
from opanel_authority.books.status_allocation import MAX_ENTRIES, VENDOR, VENDOR_POOL, Pool, shard_of
from opanel_authority.books.tables import licenses as _licenses
from opanel_authority.books.tables import pools as _pools
from opanel_authority.books.tables import shards as _shards
from opanel_authority.books.tables import status_chunks as _chunks

ENTRY: Final = "entry"
_CHUNK_ENTRIES: Final = 4096
_CHUNK_BYTES: Final = _CHUNK_ENTRIES // 4
_CHUNKS_A_SHARD: Final = SHARD_ENTRIES // _CHUNK_ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedShard:
    """A shard's list as last signed. `current`: it tells every change of status."""

    iat: int
    kid: str
    token: str
    current: bool


class StatusRepository(Rows):
    """Rows of `pools`, `status_chunks` and `shards`."""

    def fact(self, name: str) -> str | None:
        """Returns the value of a fact, or None; `Books` keeps them."""
        raise NotImplementedError

    def new_range(self, owner: str, size: int) -> tuple[int, int]:
        """Returns the next free range [start, end) of status entries, now the owner's.

        Raises NotPermitted where none is left.
        """
        start = self.reserved_entries()
        if start + size > MAX_ENTRIES:
            raise NotPermitted(Reason.NOT_PERMITTED, "status_entries_full", asked=size, left=MAX_ENTRIES - start)
        self._connection.execute(_pools.insert().values(first=start, end=start + size, owner=owner, drawn=0))
        return start, start + size

    def reserved_entries(self) -> int:
        """Tells how many entries belong to somebody: up to the end of the last range."""
        return int(self._connection.execute(select(func.coalesce(func.max(_pools.c.end), 0))).scalar_one())

    def drawn_share(self, owner: str) -> tuple[int, int]:
        """Returns (drawn, all) of the owner's entries."""
        query = select(func.sum(_pools.c.drawn), func.sum(_pools.c.end - _pools.c.first)).where(_pools.c.owner == owner)
        drawn, size = self._connection.execute(query).one()
        return int(drawn or 0), int(size or 0)

    def extend_range(self, owner: str, size: int) -> bool:
        """Make the owner's range `size` entries long, where nobody has what lies behind it. False where somebody has."""
        row = self._connection.execute(select(_pools).where(_pools.c.owner == owner)).first()
        if row is None or row.end != self.reserved_entries() or row.first + size > MAX_ENTRIES:
            return False
        # its order is a permutation of the whole range: a longer one is another pool, for what is drawn from now on
        self.new_range(owner, row.first + size - row.end)
        return True

    def draw(self, owner: str, now: int) -> int:
        """Returns a status entry that says 0 and is nobody's. The vendor's ranges grow.

        A reseller's stand in his delegation.

        Raises NotPermitted where a reseller's range is given out and none of it is free again.
        """
        query = select(_pools).where(_pools.c.owner == owner, _pools.c.drawn < _pools.c.end - _pools.c.first)
        for row in self._connection.execute(query.order_by(_pools.c.first)).all():
            pool = Pool(key=bytes.fromhex(self.fact("status_order_key") or ""), start=row.first, end=row.end)
            size, name = row.end - row.first, f"entries-{row.first}"
            ordinal = min(size, max(int(row.drawn), self._mark(name)))
            if owner == VENDOR and ordinal > row.drawn:
                # given out after the copy that these books were restored from: what nobody knows holds no seat
                self.set_statuses({pool.entry(lost): Status.SUPERSEDED for lost in range(row.drawn, ordinal)})
            drawn = min(size, ordinal + 1)
            self._connection.execute(_pools.update().where(_pools.c.first == row.first).values(drawn=drawn))
            self._pending_marks[name] = drawn
            if ordinal < size:
                return pool.entry(ordinal)
        freed = self.take_freed(ENTRY, owner)
        if freed is not None:
            self.set_statuses({freed: Status.VALID})
            return freed
        if owner == VENDOR:
            self.new_range(VENDOR, min(VENDOR_POOL, max(1, MAX_ENTRIES - self.reserved_entries())))
            return self.draw(owner, now)
        return self._draw_again(owner, now)

    def _draw_again(self, owner: str, now: int) -> int:
        """Returns the entry of the license that ended first, once no agent can hold it as valid any more."""
        delegation = select(_licenses.c.id, _licenses.c.idx).where(
            _licenses.c.delegation == self.delegation_number(owner),
            _licenses.c.idx.is_not(None),
            _licenses.c.free_at <= now,
        )
        row = self._connection.execute(delegation.order_by(_licenses.c.free_at).limit(1)).first()
        if row is None:
            raise NotPermitted(Reason.NOT_PERMITTED, "status_range_full")
        self._connection.execute(_licenses.update().where(_licenses.c.id == row.id).values(idx=None))
        self.set_statuses({int(row.idx): Status.VALID})
        return int(row.idx)

    def delegation_number(self, jti: str) -> int:
        """Returns a reseller's number by the jti of his first delegation; `DelegationRepository` does, in `Books`."""
        raise NotImplementedError

    def free_entry(self, idx: int) -> None:
        """Frees an entry that no document names any more may be drawn again by whose range it is in."""
        query = select(_pools.c.owner).where(_pools.c.first <= idx, _pools.c.end > idx)
        self.free_number(ENTRY, str(self._connection.execute(query).scalar_one()), idx)

    def skip_entries(self) -> int:
        """Counts, after a restore, half of what is left of each range as given; the vendor's is counted as given whole.

        Whoever was activated with one of the vendor's entries meanwhile is superseded. Returns how many were skipped.
        """
        skipped = 0
        for row in self._connection.execute(select(_pools).where(_pools.c.drawn < _pools.c.end - _pools.c.first)).all():
            size = row.end - row.first
            left = size - row.drawn
            drawn = size if row.owner == VENDOR else row.drawn + (left + 1) // 2
            if row.owner == VENDOR:
                pool = Pool(key=bytes.fromhex(self.fact("status_order_key") or ""), start=row.first, end=row.end)
                self.set_statuses({pool.entry(lost): Status.SUPERSEDED for lost in range(row.drawn, size)})
            self._connection.execute(_pools.update().where(_pools.c.first == row.first).values(drawn=drawn))
            skipped += drawn - row.drawn
        return skipped

    # ---- what entries say

    def set_statuses(self, changes: dict[int, int]) -> None:
        """Change entries; the lists that tell it are signed by `documents.publish`."""
        by_chunk: dict[int, dict[int, int]] = {}
        for entry, status in changes.items():
            number, place = divmod(entry, _CHUNK_ENTRIES)
            by_chunk.setdefault(number, {})[place] = status
        for number, places in by_chunk.items():
            held = self._connection.execute(select(_chunks.c.bits).where(_chunks.c.number == number)).scalar()
            bits = bytearray(_CHUNK_BYTES if held is None else held)
            for place, status in places.items():
                shift = 2 * (place % 4)
                bits[place // 4] = bits[place // 4] & ~(3 << shift) | status << shift
            if held is None:
                self._connection.execute(_chunks.insert().values(number=number, bits=bytes(bits)))
            elif bits != held:
                self._connection.execute(_chunks.update().where(_chunks.c.number == number).values(bits=bytes(bits)))
        for shard in {shard_of(entry)[0] for entry in changes}:
            self._changed(shard)

    def _changed(self, shard: int) -> None:
        touched = _shards.update().where(_shards.c.number == shard).values(changes=_shards.c.changes + 1)
        if not self._connection.execute(touched).rowcount:
            unsigned = {"number": shard, "changes": 1, "signed_changes": 0, "iat": 0, "kid": "", "token": ""}
            self._connection.execute(_shards.insert().values(**unsigned))

    def shard_bits(self, shard: int) -> bytes:
        """Returns the bits of a shard as its list has them: 256 KiB."""
        bits = bytearray(SHARD_ENTRIES // 4)
        first = shard * _CHUNKS_A_SHARD
        mine = _chunks.c.number.between(first, first + _CHUNKS_A_SHARD - 1)
        for row in self._connection.execute(select(_chunks).where(mine)):
            start = (row.number - first) * _CHUNK_BYTES
            bits[start : start + _CHUNK_BYTES] = row.bits
        return bytes(bits)

    def shard_numbers(self) -> Iterable[int]:
        """Returns every shard that has an entry of somebody."""
        return range(max(1, -(-self.reserved_entries() // SHARD_ENTRIES)))

    # ---- what was signed

    def signed_shard(self, shard: int) -> SignedShard | None:
        """Returns the list that was last signed of a shard, stale or not; None before the first."""
        row = self._connection.execute(select(_shards).where(_shards.c.number == shard)).first()
        if row is None or not row.token:
            return None
        current = row.changes == row.signed_changes
        return SignedShard(iat=int(row.iat), kid=str(row.kid), token=str(row.token), current=current)

    def unsigned_shards(self) -> list[int]:
        """Lists the shards whose statuses changed since their list was signed."""
        query = select(_shards.c.number).where(_shards.c.changes != _shards.c.signed_changes)
        return [int(row.number) for row in self._connection.execute(query)]

    def set_signed_shard(self, shard: int, *, iat: int, kid: str, token: str) -> None:
        """Keeps a list that tells every change of a shard so far; `iat` in seconds since the epoch, `kid` its signer's."""
        columns = {"iat": iat, "kid": kid, "token": token, "signed_changes": _shards.c.changes}
        signed = _shards.update().where(_shards.c.number == shard).values(**columns)
        if not self._connection.execute(signed).rowcount:
            fresh = {"number": shard, "changes": 0, "signed_changes": 0, "iat": iat, "kid": kid, "token": token}
            self._connection.execute(_shards.insert().values(**fresh))
