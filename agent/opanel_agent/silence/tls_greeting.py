"""Compares the clear text that opens a TLS connection with what the same library says by itself (RFC 8446 4.1.2).

A ClientHello is readable to everyone on the way. Its *shape* is everything in it but what is drawn at random: random,
session id and the public values of the key shares, which are set to zero. The shape has to be that of a reference, made
here for the same name with the settings that the agent uses; so a name, protocol, ticket or extension more is found, and
so is data sent early. What is random can only be required to change: a byte that is the same in every greeting is no chance.

Left out: what somebody could hide in bytes that look random, and the lengths of the encrypted records after it.
"""

import ipaddress
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from opanel_agent.core.values import frozen

RECORD_HEAD: Final = 5
MAX_RECORD_BYTES: Final = 16 * 1024
ENOUGH: Final = 5  # greetings, before a byte that never changes is no chance: 1 in 2^32 for each place
_RANDOM_AT, _RANDOM_BYTES, _HEADER = 6, 32, 4
_KEY_SHARE: Final = 51


@frozen
class Greeting:
    """`shape` is empty for what is no ClientHello; `drawn` are its random bytes, in order."""

    address: str
    port: int
    shape: bytes
    drawn: bytes


def split(record: bytes) -> tuple[bytes, bytes]:
    """Returns the shape of a record with a ClientHello, and what was drawn. ("", "") for any other."""
    try:
        return _split(bytearray(record[RECORD_HEAD:]), record[:RECORD_HEAD])
    except (struct.error, IndexError):
        return b"", b""


def reference(host: str) -> bytes:
    """Returns the shape of what this library says to a host by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return split(outgoing.read())[0]


def unchanged(drawn: Sequence[bytes]) -> int:
    """Tells how many random bytes are the same in every greeting; 0 where there are too few to tell."""
    if len(drawn) < ENOUGH:
        return 0
    return sum(len(set(column)) == 1 for column in zip(*drawn, strict=False))


def is_name(host: str) -> bool:
    """Tells whether a host is a name, which a greeting tells."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _split(hello: bytearray, head: bytes) -> tuple[bytes, bytes]:
    if hello[0] != 1 or int.from_bytes(hello[1:4], "big") + _HEADER != len(hello):
        return b"", b""
    drawn = bytearray()

    def draw(start: int, size: int) -> None:
        drawn.extend(hello[start : start + size])
        hello[start : start + size] = bytes(size)

    draw(_RANDOM_AT, _RANDOM_BYTES)
    place = _RANDOM_AT + _RANDOM_BYTES
    draw(place + 1, hello[place])
    place += 1 + hello[place]
    place += 2 + _u16(hello, place)  # cipher suites
    place += 1 + hello[place]  # compression
    end = place + 2 + _u16(hello, place)
    place += 2
    while place < end:
        kind, size = struct.unpack_from("!HH", hello, place)
        if kind == _KEY_SHARE:
            share, last = place + 6, place + 4 + size
            while share < last:
                draw(share + 4, _u16(hello, share + 2))
                share += 4 + _u16(hello, share + 2)
        place += 4 + size
    return head + bytes(hello), bytes(drawn)


def _u16(data: bytearray, place: int) -> int:
    (value,) = struct.unpack_from("!H", data, place)
    return int(value)
