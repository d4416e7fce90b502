"""Limits by IP address: judged by the connection, through trusted proxies alone, and in no row and no line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.authority.authority_server import Served, serving
from fixtures.authority.vendor import DAY, Vendor, vendor
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import signed_request
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.license import license_key
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.requests import licensing, networks
from opanel_authority.requests.networks import CARRIED, Sender, parse, peer_of, require, stored

PROXY = parse(["127.0.0.1", "2001:db8::/64"])


@pytest.mark.parametrize(
    ("connected", "forwarded", "trusted", "address"),
    [
        ("192.0.2.9", [], (), "192.0.2.9"),
        ("::ffff:192.0.2.9", [], (), "192.0.2.9"),
        ("2001:db8:1::5", [], (), "2001:db8:1::5"),
        ("127.0.0.1", ["198.51.100.7"], (), "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], PROXY, "198.51.100.7"),
        ("192.0.2.9", ["198.51.100.7"], PROXY, "192.0.2.9"),
        ("127.0.0.1", ["203.0.113.1, 198.51.100.7"], PROXY, "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.1", "198.51.100.7, 2001:db8::3"], PROXY, "198.51.100.7"),
        ("127.0.0.1", ["[2001:db8:1::7]"], PROXY, "2001:db8:1::7"),
        ("127.0.0.1", ["unknown"], PROXY, None),
        ("127.0.0.1", [""], PROXY, None),
        ("127.0.0.1", [], PROXY, "127.0.0.1"),
        (None, ["198.51.100.7"], PROXY, None),
    ],
)
def test_who_asks_is_the_last_address_that_no_trusted_proxy_has(
    connected: str | None, forwarded: list[str], trusted: tuple[networks.Network, ...], address: str | None
) -> None:
    found = peer_of(connected, forwarded, trusted).address
    assert (None if found is None else str(found)) == address


@pytest.mark.parametrize(
    ("allowed", "address", "admitted"),
    [
        (["192.0.2.0/24"], "192.0.2.255", True),
        (["192.0.2.0/24"], "192.0.3.0", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["2001:db8::/48"], "2001:db8:0:ffff::1", True),
        (["2001:db8::/48"], "2001:db8:1::1", False),
        (["192.0.2.7", "2001:db8::/48"], "2001:db8::1", True),
        (["192.0.2.7"], None, False),
        ([], "203.0.113.5", True),
        ([], None, True),
    ],
)
def test_a_network_admits_its_own_addresses(allowed: list[str], address: str | None, admitted: bool) -> None:
    peer = peer_of(address, [], ())
    require(stored(allowed), CARRIED)
    if admitted:
        require(stored(allowed), peer)
    else:
        with pytest.raises(NotPermitted, match="address_outside"):
            require(stored(allowed), peer)


@pytest.mark.parametrize("texts", [["example.com"], ["192.0.2.0/33"], [""], [f"192.0.2.{host}" for host in range(65)]])
def test_what_is_no_network_is_refused_when_it_is_said(texts: list[str]) -> None:
    with pytest.raises(Usage):
        parse(texts)


def test_exchange_activation_and_renewal_are_limited_and_a_release_is_not(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue(days=10, networks=("192.0.2.0/24",))
    inside, outside = peer_of("192.0.2.1", [], ()), peer_of("203.0.113.1", [], ())
    digest = license_key.digest(issued.key)
    assert licensing.bundle(made.authority, digest, now=made.now, peer=inside).body == issued.text.encode()
    refused(lambda: licensing.bundle(made.authority, digest, now=made.now, peer=outside))
    activation = made.request(issued, RequestKind.ACTIVATION)
    refused(lambda: asked(made, activation, outside))
    assert asked(made, activation, inside)
    made.now += 9 * DAY
    renewal = made.request(issued, RequestKind.RENEWAL)
    refused(lambda: asked(made, renewal, outside))
    refused(lambda: asked(made, renewal, Sender()))
    assert asked(made, renewal, CARRIED), "a file is carried by a person"
    assert asked(made, made.request(issued, RequestKind.RELEASE), outside)


def asked(made: Vendor, request: bytes, peer: Sender) -> bytes:
    claims = signed_request.verify(request)
    return licensing.signed(made.authority, request, claims, now=made.now, peer=peer).body


def refused(act: Callable[[], object]) -> None:
    with pytest.raises(NotPermitted) as caught:
        act()
    assert caught.value.detail == "address_outside"


def test_networks_change_after_the_sale_and_are_logged_without_them(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    issued = made.issue()
    changes.set_networks(made.authority, issued.jti, ["198.51.100.0/24"], now=made.now)
    with made.authority.store.reading() as books:
        row = books.license(issued.jti)
        assert row is not None
        assert row.networks == "198.51.100.0/24"
        logged = next(books.changes(subject=issued.jti))
    assert logged["act"] == "set_networks"
    assert "198.51" not in str(logged)
    changes.set_networks(made.authority, issued.jti, [], now=made.now)
    with made.authority.store.reading() as books:
        row = books.license(issued.jti)
    assert row is not None
    assert row.networks is None


def exchange(served: Served, issued: Issued, *, sender: str = "127.0.0.2", forwarded: str | None = None) -> int:
    body = dumps({"schema": 1, "key_sha256": license_key.digest(issued.key)})
    return served.ask("POST", "/v1/bundles", body, "application/json", sender=sender, forwarded=forwarded).status


def test_over_http_the_connection_counts_and_no_header(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        issued = served.vendor.issue(networks=("127.0.0.2", "198.51.100.0/24"))
        assert [exchange(served, issued, sender=f"127.0.0.{host}") for host in (2, 3)] == [200, 403]
        assert exchange(served, issued, sender="127.0.0.3", forwarded="198.51.100.7") == 403
        kept_nowhere(served)


def test_behind_a_proxy_that_is_trusted_its_client_counts(tmp_path: Path) -> None:
    with serving(tmp_path, None, "--trusted-proxy", "127.0.0.3/32") as served:
        issued = served.vendor.issue(networks=("198.51.100.0/24",))
        assert exchange(served, issued, sender="127.0.0.3", forwarded="203.0.113.1, 198.51.100.7") == 200
        assert exchange(served, issued, sender="127.0.0.3", forwarded="198.51.100.7, 203.0.113.1") == 403
        assert exchange(served, issued, sender="127.0.0.2", forwarded="198.51.100.7") == 403
        kept_nowhere(served)


def kept_nowhere(served: Served) -> None:
    """Neither who connected nor whom a proxy named; the networks themselves are in the books, with the license."""
    written = served.log.read_bytes()
    for path in (served.log.parent / "vendor").glob("authority.sqlite*"):
        written += path.read_bytes()
    assert [each for each in (b"127.0.0.3", b"198.51.100.7", b"203.0.113.1") if each in written] == []
