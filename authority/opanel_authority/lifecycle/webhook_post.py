"""One POST to a receiver of webhooks, whoever named it.

A reseller names addresses that this service asks for him. None of them may be one that only this machine or its network
reaches (server-side request forgery, OWASP API7:2023). So a name is resolved once, each of its addresses is judged, and the
connection is made to the very address that was judged: a name that answers otherwise the next time (DNS rebinding) gains
nothing. No redirect is followed and no proxy is used; of a reply nothing but its status is read, and that is all that its
owner is told; a name that has no public address is told like one that has none at all. The whole exchange has one deadline,
however slowly a receiver answers.

Left out: addresses that are public and that a firewall lets only this machine reach. They look like any other
(docs/authority.md, "Webhooks", says how systemd keeps them away).
"""

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum, unique
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import h11

from opanel_agent.core.wire import endpoints
from opanel_authority.tls import client_context

TIMEOUT_S: Final = 10.0
_MAX_REPLY_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 4096
# Beside what `ipaddress` says of every version: protocol assignments (RFC 6890) and the relays of 6to4 (RFC 7526).
_SPECIAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))
# Global unicast (RFC 4291 section 2.4), without 6to4 (RFC 3056): that, NAT64 and mapped addresses lead to an IPv4 address.
_UNICAST: Final = IPv6Network("2000::/3")
_6TO4: Final = IPv6Network("2002::/16")

# What `socket.getaddrinfo` returns of a TCP service: family and address.
Place = tuple[int, Any]


@unique
class PostFailure(StrEnum):
    """What a receiver is told to have done where it sent no status."""

    NO_ADDRESS = "no_public_address"
    UNREACHABLE = "unreachable"
    TLS = "tls_untrusted"
    SILENT = "silent"
    NO_HTTP = "no_http"


class _Failed(Exception):
    def __init__(self, failure: PostFailure) -> None:
        super().__init__(failure)
        self.failure = failure


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tells whether an address is of the public Internet's hosts: reached the same way from everywhere."""
    if isinstance(address, IPv6Address):
        return address in _UNICAST and address not in _6TO4 and address.is_global
    special = address.is_multicast or address.is_reserved or any(address in network for network in _SPECIAL)
    return address.is_global and not special


def names_public(url: str) -> bool:
    """Tells whether a URL may be a receiver's that anybody named: https, and no address or name of this very machine.

    What its name resolves to is judged at each POST.
    """
    if not (endpoints.admissible(url) and url.startswith("https://")):
        return False
    host = urlsplit(url).hostname or ""
    address = endpoints.address(host)
    return host != "localhost" and (address is None or is_public(address))


def resolved(host: str, port: int) -> Sequence[Place]:
    """Returns the places of a host. Raises OSError where there are none."""
    return [(found[0], found[4]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    inside: bool,
    timeout_s: float = TIMEOUT_S,
    resolve: Callable[[str, int], Sequence[Place]] = resolved,
    context: ssl.SSLContext | None = None,
) -> str:
    """Sends a body; the status of the reply as digits, or a PostFailure. `inside`: places that are not public may be asked.

    The time to resolve a name is the resolver's own, and is not in `timeout_s`.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    try:
        places = _places(resolve, host, parts.port or (443 if secure else 80), inside=inside)
        ends_s = time.monotonic() + timeout_s
        connected = _connected(places, ends_s)
        try:
            if secure:
                connected = _encrypted(connected, context or client_context(), host, ends_s)
            own = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close"}
            request = h11.Request(method="POST", target=parts.path or "/", headers=[*own.items(), *headers.items()])
            return str(_status(connected, request, body, ends_s))
        finally:
            connected.close()
    except _Failed as failed:
        return failed.failure.value


def _places(resolve: Callable[[str, int], Sequence[Place]], host: str, port: int, *, inside: bool) -> Sequence[Place]:
    try:
        found = resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise _Failed(PostFailure.NO_ADDRESS) from error
    places = [place for place in found if inside or is_public(ip_address(str(place[1][0]).partition("%")[0]))]
    if not places:
        raise _Failed(PostFailure.NO_ADDRESS)
    return places


def _connected(places: Sequence[Place], ends_s: float) -> socket.socket:
    """Connects to the first place that takes the connection; each has its share of the time that is left."""
    for at, (family, place) in enumerate(places):
        share_s = _left_s(ends_s) / (len(places) - at)
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.settimeout(share_s)
            opened.connect(place)
        except OSError:
            opened.close()
        else:
            return opened
    raise _Failed(PostFailure.UNREACHABLE)


def _encrypted(plain: socket.socket, context: ssl.SSLContext, host: str, ends_s: float) -> socket.socket:
    try:
        plain.settimeout(_left_s(ends_s))
        return context.wrap_socket(plain, server_hostname=host)
    except TimeoutError as error:
        raise _Failed(PostFailure.SILENT) from error
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _Failed(PostFailure.TLS) from error


def _status(connected: socket.socket, request: h11.Request, body: bytes, ends_s: float) -> int:
    connection = h11.Connection(h11.CLIENT)
    head = connection.send(request) or b""
    sent = head + (connection.send(h11.Data(data=body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    received = 0
    try:
        connected.settimeout(_left_s(ends_s))
        connected.sendall(sent)
        while received < _MAX_REPLY_BYTES:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if event is h11.NEED_DATA:
                connected.settimeout(_left_s(ends_s))
                data = connected.recv(_READ_BYTES)
                received += len(data)
                connection.receive_data(data)
            elif not isinstance(event, h11.InformationalResponse):
                break
    except TimeoutError as error:
        raise _Failed(PostFailure.SILENT) from error
    except (h11.RemoteProtocolError, OSError) as error:
        raise _Failed(PostFailure.NO_HTTP) from error
    raise _Failed(PostFailure.NO_HTTP)


def _left_s(ends_s: float) -> float:
    """Returns the seconds that are left. Raises the silence that a receiver is told of where none are."""
    left_s = ends_s - time.monotonic()
    if left_s <= 0:
        raise _Failed(PostFailure.SILENT)
    return left_s
