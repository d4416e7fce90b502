"""Decides which addresses may be asked, and in which order.

HTTPS, or plain HTTP to this very machine (the demo, a local mirror): with HTTP,
whoever is in between could tell two agents apart, although he could not forge a
document. An address is a base to which a fixed path is added, so it carries
nothing of its own: no user, query or fragment. Signed documents name mirrors
and endpoints with a region; the administrator's own mirrors have none and are
always in the allowed region, because he named them.

The shape is matched whole instead of parsed: a parser forgives (spaces,
backslashes, two @), and what one forgives another reads differently.

Left out: whether a request is permitted at all (the gate), and resolving names.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the settings' own check needs no document, nor what verifies one
    from opanel_agent.core.documents.root import Destination

MAX_LENGTH: Final = 255
_URL: Final = (
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*|\[[0-9A-Fa-f:]+\])"  # RFC 1035 2.3.4
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?"  # no segment begins with a dot, so none goes up
)
_DOMAIN: Final = r"\.?[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?"
_LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def admissible(url: str) -> bool:
    """Tells whether this may be a mirror's or an endpoint's address; MAX_LENGTH characters at most."""
    found = re.fullmatch(_URL, url) if len(url) <= MAX_LENGTH else None
    if found is None or int(found["port"] or 1) > 65535:
        return False
    host = found["host"]
    if host.startswith("[") and address(host) is None:
        return False
    return is_loopback(host) or found["scheme"] == "https"


def is_loopback(host: str) -> bool:
    """Tells whether a host is this very machine:

    `localhost`, 127.0.0.0/8 (RFC 1122 section 3.2.1.3) or ::1.
    """
    found = address(host)
    return host == "localhost" or any(found in network for network in _LOOPBACK if found is not None)


def address(host: str) -> IPv4Address | IPv6Address | None:
    """Returns the address that a host is, in brackets or not; None for a name, which has to be resolved."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def admissible_exception(text: str) -> bool:
    """Tells whether this may be an exception from the proxy: a domain, an address, or a network in CIDR notation."""
    return _network(text) is not None or (len(text) <= MAX_LENGTH and re.fullmatch(_DOMAIN, text) is not None)


def is_exempt(host: str, exceptions: Iterable[str]) -> bool:
    """Tells whether a host is reached without the proxy.

    A domain name stands for itself and for every name below it (a leading dot
    changes nothing), as in curl's NO_PROXY. Names are not resolved for this, so
    an address stands for hosts that are written as one.
    """
    found = address(host)
    if found is not None:
        return any(found in network for network in map(_network, exceptions) if network is not None)
    name = host.lower().rstrip(".")
    domains = (each.lower().strip(".") for each in exceptions)
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Returns the network that a text is in CIDR notation, an address being one of a single host; None for a name."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def order(
    root_mirrors: "Iterable[Destination]", settings_mirrors: Iterable[str], region: str | None
) -> tuple[str, ...]:
    """Returns the bases to try, each once, without a final slash: the root's, then the settings'.

    The root's are those within `region` (None: any). For a purpose with
    endpoints instead of mirrors, those are the root's, and the settings have
    none.
    """
    within = [each.url for each in root_mirrors if region is None or each.region == region]
    return tuple(dict.fromkeys(url.rstrip("/") for url in (*within, *settings_mirrors) if admissible(url)))
