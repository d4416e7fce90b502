"""Limits by IP address: from which networks a license may be exchanged, activated and renewed.

The networks are terms of the sale, kept with the license in the books. The address that is compared with them is that of the
connection of this very request. It is in no row, no log line, no document and no reply; a reply says that it was outside.

Behind a reverse proxy the connection is the proxy's. Only where its network is named as trusted (`serve --trusted-proxy`)
does `X-Forwarded-For` count, read from its right end: the last address that no trusted proxy has is the client's. What any
client can write itself stands further left and is never looked at.

Left out: requests that come as files (`opanel-authority answer`). They have no connection, and a person carries them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import NotPermitted, Usage

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
MAX_NETWORKS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Where a request comes from. `address` is None where that is not known; `carried`: it came as a file."""

    address: Address | None = None
    carried: bool = False


CARRIED: Final = Sender(carried=True)


def parse(texts: Iterable[str]) -> tuple[Network, ...]:
    """Returns networks in CIDR notation, an address being one of a single host. Raises Usage."""
    read: list[Network] = []
    for text in texts:
        try:
            read.append(ip_network(text.strip(), strict=False))
        except ValueError as error:
            raise Usage(Fault.USAGE, "network", network=text[:64]) from error
    if len(read) > MAX_NETWORKS:
        raise Usage(Fault.USAGE, "networks_many", most=MAX_NETWORKS)
    return tuple(dict.fromkeys(read))


def stored(texts: Iterable[str]) -> str | None:
    """Returns what the books keep: networks with a space between them, None for every network. Raises Usage."""
    return " ".join(map(str, parse(texts))) or None


def shown(kept: str | None) -> list[str]:
    """Returns what the books keep as a list; none for every network."""
    return [] if kept is None else kept.split()


def require(kept: str | None, peer: Sender) -> None:
    """Raises NotPermitted where a license's networks do not have this peer in them."""
    if kept is None or peer.carried:
        return
    address = peer.address
    if address is None or not any(address in network for network in parse(shown(kept))):
        raise NotPermitted(Reason.NOT_PERMITTED, "address_outside")


def peer_of(connected: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> Sender:
    """Returns the peer of a connection, seen through the proxies that are trusted. `forwarded` are lines of the header."""
    hops = [hop for line in forwarded for hop in line.split(",")]
    address = _read(connected or "")
    while address is not None and hops and any(address in network for network in trusted):
        address = _read(hops.pop())
    return Sender(address=address)


def _read(text: str) -> Address | None:
    """Returns an address; of an IPv6 socket's IPv4 peer (RFC 4291 section 2.5.5.2) the IPv4 address.

    None for anything else.
    """
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
