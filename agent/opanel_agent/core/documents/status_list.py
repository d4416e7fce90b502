"""Verifies and reads a status list (draft-ietf-oauth-status-list-20): one signed array with two bits for each document.

A list is fetched whole, the same bytes for everyone, so that a publisher learns
nothing about who asks. An index beyond the list is *unavailable*, not revoked:
a publisher's slip must not stop a fleet of servers.

One list has at most 2^20 entries, so that it fits into a reply whatever they
say. There are SHARDS such lists, the *shards*, and every document names the
list of its entry by `uri`: the root's `status_uri` is shard 0, and
`status_uri` without `.jwt` and with `/N.jwt` is shard N. Through all of them an
entry has one number, shard * 2^20 + index, which is what the `status_range` of
a delegation counts.

Against an older list, which would undo a revocation, stands a floor: the newest
`iat` accepted from each status key for each shard. Against a compressed bomb stands a limit of
16 MiB, enough for 67 million documents.

Left out: fetching by `uri` (section 8.1; here it is the list's name), caching
by `ttl` (section 13.7; when to look again is `core.license.schedule`), the CWT
form (section 5.2), and what a status leads to (`core.license.verdict`).
"""

import zlib
from collections.abc import Mapping
from enum import IntEnum, unique
from typing import Final

from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import SHARDS
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ, parse
from opanel_agent.core.values import frozen

MAX_TOKEN_BYTES: Final = 512 * 1024
SHARD_ENTRIES: Final = 1 << 20
MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024
BITS: Final = 2
_WIDTHS: Final = frozenset({1, 2, 4, 8})


@unique
class Status(IntEnum):
    """Names the values of an entry.

    Section 7.1 of the draft defines VALID, REVOKED (its INVALID) and SUSPENDED;
    3 is left to applications, and here it is an activation that was released or
    moved to another server.
    """

    VALID = 0
    REVOKED = 1
    SUSPENDED = 2
    SUPERSEDED = 3


@frozen
class Statuses:
    """Holds the entries of a list (section 4.1):

    `bits` bits each, the first in the lowest bits of the first byte.

    `bits` is 1, 2, 4 or 8, and the length counts entries, not bytes.
    """

    bits: int
    data: bytes

    def __len__(self) -> int:
        return len(self.data) * 8 // self.bits

    def at(self, idx: int) -> int | None:
        """Returns the value of an entry, counted from 0; None beyond the list."""
        byte, bit = divmod(idx * self.bits, 8)
        if not 0 <= byte < len(self.data):
            return None
        return self.data[byte] >> bit & (1 << self.bits) - 1


@frozen
class StatusList:
    """Holds an accepted list. Times in seconds since 1970.

    - `sub`: its name, which documents refer to; `shard`: the number that this
      name means.
    - `iat`, `exp`: when it was issued, and when its word ends.
    - `ttl`: for how many seconds it may be cached, None where it does not say.
    - `kid`: the key that signed it, whose floor its `iat` raises.
    - `statuses`: the entries.
    """

    sub: str
    shard: int
    iat: int
    exp: int
    ttl: int | None
    kid: str
    statuses: Statuses

    @property
    def floor(self) -> str:
        """The name under which its `iat` is kept as a floor."""
        return floor_name(self.kid, self.shard)

    def status(self, idx: int) -> Status | None:
        """Returns the status of the entry, None beyond the list, which says nothing at all.

        `accept` admits two bits an entry alone, so each of its four values is a
        Status.
        """
        entry = self.statuses.at(idx)
        return None if entry is None else Status(entry)


def shard_uri(status_uri: str, shard: int) -> str:
    """Returns the name of a shard's list: `status_uri` itself for shard 0."""
    return status_uri if shard == 0 else f"{status_uri.removesuffix('.jwt')}/{shard}.jwt"


def shard_of(uri: str, status_uri: str) -> int | None:
    """Returns the shard whose list has this name, None for the name of no shard."""
    return next((shard for shard in range(SHARDS) if shard_uri(status_uri, shard) == uri), None)


def floor_name(kid: str, shard: int) -> str:
    """Returns the name of a key's floor: the thumbprint for shard 0, as it was before there were shards."""
    return kid if shard == 0 else f"{kid}/{shard}"


def accept(token: bytes, root: Root, *, floor: Mapping[str, int], now: int, shard: int | None = None) -> StatusList:
    """Returns the list if a status key signed it, it is ours, not older than the newest seen, and has not expired.

    `floor` is the newest `iat` accepted by `floor_name`; what is not in it has
    none. `now` is effective time in seconds. `shard` is the one that was asked
    for; None admits each. Raises Untrusted:
    `status_list_sub`, `status_list_older`, `status_list_expired`, or as
    `Envelope.open` and `decode` do. Section 8.3 lets a list live without `exp`;
    here it must say when its word ends, or a mirror could serve it for ever.
    """
    envelope = parse(token, max_bytes=MAX_TOKEN_BYTES)
    claims = envelope.open(root.keys_of("status"), Typ.STATUS_LIST)
    sub = claims.text("sub")
    found = shard_of(sub, root.status_uri)
    if found is None or shard not in (None, found):
        raise Untrusted(Reason.CHAIN_INVALID, "status_list_sub")
    iat, exp = claims.integer("iat"), claims.integer("exp")
    ttl = claims.integer("ttl", low=1) if claims.has("ttl") else None
    _admit_foreign(claims)
    bits, lst = _list(claims.members("status_list"))
    claims.end()
    if iat < floor.get(floor_name(envelope.kid, found), 0):
        raise Untrusted(Reason.CHAIN_INVALID, "status_list_older")
    if exp <= now:
        raise Untrusted(Reason.STATUS_STALE, "status_list_expired")
    statuses = decode(bits, lst, MAX_INFLATED_BYTES)
    return StatusList(sub=sub, shard=found, iat=iat, exp=exp, ttl=ttl, kid=envelope.kid, statuses=statuses)


def decode(bits: int, lst: str, max_bytes: int) -> Statuses:
    """Returns the entries of `lst` (sections 4.1 and 4.2): base64url of exactly one whole zlib stream (RFC 1950).

    Raises Untrusted: `status_list_bits` for another width, `status_list_size`
    over `max_bytes` inflated, `status_list_zlib` for a stream that is broken,
    cut or followed by anything. At most `max_bytes` + 1 bytes are ever
    inflated.
    """
    if bits not in _WIDTHS:
        raise Untrusted(Reason.FORMAT_INVALID, "status_list_bits")
    compressed = unbase64url(lst)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(compressed, max_bytes + 1)
    except zlib.error as error:
        raise Untrusted(Reason.FORMAT_INVALID, "status_list_zlib") from error
    if len(data) > max_bytes:
        raise Untrusted(Reason.FORMAT_INVALID, "status_list_size", max_bytes=max_bytes)
    if not inflater.eof or inflater.unused_data:
        raise Untrusted(Reason.FORMAT_INVALID, "status_list_zlib")
    return Statuses(bits=bits, data=data)


def _admit_foreign(claims: Members) -> None:
    """Admits what somebody else's publisher may add, and ours may leave out."""
    if claims.has("ver"):
        claims.constant("ver", 1)
    for name in ("iss", "jti"):
        if claims.has(name):
            claims.text(name)


def _list(members: Members) -> tuple[int, str]:
    """Returns the width and the compressed entries.

    Raises Untrusted for another width than two bits, which Status needs.
    """
    if members.has("aggregation_uri"):  # sections 4.2 and 9.2
        members.text("aggregation_uri")
    lst = members.text("lst", max_length=MAX_TOKEN_BYTES)
    bits = members.integer("bits")
    members.end()
    if bits != BITS:
        raise Untrusted(Reason.FORMAT_INVALID, "status_list_bits")
    return bits, lst
