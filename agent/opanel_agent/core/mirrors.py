"""Which addresses may be asked, and in which order.

HTTPS, or plain HTTP to this very machine (the demo, a local mirror). An address is a base to which a fixed path is
added, so it carries nothing of its own: no user, query or fragment. Signed documents name mirrors and endpoints with
a region; the administrator's own mirrors have none and are always in the allowed region, because he named them.

The shape is matched whole instead of parsed: a parser forgives (spaces, backslashes, two @), and what one forgives
another reads differently. Not here: whether a request is permitted at all (the gate), and resolving names.
"""

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from opanel_agent.core.documents.root import Destination, Root

MAX_LENGTH: Final = 255
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)|\[(?P<six>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?:/[A-Za-z0-9._~-]+)*/?"
)
_DOTS: Final = re.compile(r"/\.{1,2}(?=/|$)|\.\.")


def admissible(url: str) -> bool:
    """Whether this may be a mirror's or an endpoint's address."""
    found = _URL.fullmatch(url)
    if found is None or len(url) > MAX_LENGTH or _DOTS.search(url) or int(found["port"] or 1) > 65535:
        return False
    if found["six"] is not None and _six(found["six"]) is None:
        return False
    return found["scheme"] == "https" or _loopback(found["name"], found["six"])


def order(root_mirrors: Iterable[Destination], settings_mirrors: Iterable[str], region: str | None) -> tuple[str, ...]:
    """The mirrors to try, each once, no final slash: the root's within `region` (None: any), then the settings'."""
    urls = [*_within(root_mirrors, region), *settings_mirrors]
    return tuple(dict.fromkeys(url.rstrip("/") for url in urls if admissible(url)))


def endpoint(root: Root, purpose: str, region: str | None) -> str | None:
    """Where a request of this purpose goes; None where the root names no place for it within `region`."""
    urls = (url for url in _within(root.endpoints.get(purpose, ()), region) if admissible(url))
    first = next(urls, None)
    return None if first is None else first.rstrip("/")


def _within(destinations: Iterable[Destination], region: str | None) -> list[str]:
    return [each.url for each in destinations if region is None or each.region == region]


def _loopback(name: str | None, six: str | None) -> bool:
    if name is None:
        address = _six(six or "")
        return address is not None and address.is_loopback
    try:
        return name == "localhost" or IPv4Address(name).is_loopback
    except AddressValueError:
        return False


def _six(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text)
    except AddressValueError:
        return None
