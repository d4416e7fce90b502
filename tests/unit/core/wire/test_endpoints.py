"""Proves which addresses may be asked (everything odd is refused) and in which order mirrors are tried."""

import pytest

from opanel_agent.core.documents.root import Destination
from opanel_agent.core.wire.endpoints import MAX_LENGTH, admissible, admissible_exception, is_exempt, order

ADMITTED = [
    "https://status.example",
    "https://status.example/",
    "https://Status.Example:8443/opanel/v1_2/~a.b",
    "https://192.0.2.1",
    "https://[2001:db8::1]:443/x",
    "https://localhost",
    "http://localhost:8470",
    "http://127.0.0.1:8470/demo",
    "http://127.255.0.9",
    "http://[::1]:1",
    "https://a.example:65535",
]

REFUSED = [
    "",
    "status.example",
    "//status.example",
    "ftp://status.example",
    "HTTPS://status.example",
    "http://status.example",
    "http://10.0.0.1",
    "http://128.0.0.1",
    "http://127.1",
    "http://[::2]",
    "http://[::ffff:7f00:1]",
    "http://localhost.example",
    "http://LOCALHOST.",
    "https://user@status.example",
    "https://user:secret@status.example",
    "https://status.example?q=1",
    "https://status.example/?",
    "https://status.example#f",
    "https://status.example/a//b",
    "https://status.example/../b",
    "https://status.example/a/..",
    "https://status.example/./b",
    "https://status.example/%2e%2e",
    "https://status.example\\@evil.example",
    "https://status.example\n",
    " https://status.example",
    "https://status.example /a",
    "https://status..example",
    "https://.example",
    "https://-a.example",
    "https://status.example:",
    "https://status.example:0",
    "https://status.example:080",
    "https://status.example:65536",
    "https://status.example:443:443",
    "https://[2001:db8::1",
    "https://[1:2]",
    "https://[]",
    "https://2001:db8::1",
    "https://şirket.example",
]


@pytest.mark.parametrize("url", ADMITTED)
def test_a_plain_address_is_admissible(url: str) -> None:
    assert admissible(url)


@pytest.mark.parametrize("url", REFUSED)
def test_anything_else_is_not(url: str) -> None:
    assert not admissible(url)


def test_a_label_has_at_most_63_characters() -> None:
    assert admissible(f"https://{'a' * 63}.example")
    assert not admissible(f"https://{'a' * 64}.example")
    assert not admissible(f"https://mirror.{'a' * 64}")


def test_an_address_has_at_most_255_characters() -> None:
    base = "https://status.example/"
    assert admissible(base + "a" * (MAX_LENGTH - len(base)))
    assert not admissible(base + "a" * (MAX_LENGTH - len(base) + 1))


EU = Destination(url="https://eu.example/", region="eu")
TR = Destination(url="https://tr.example", region="tr")
OWN = "https://own.example"


def test_the_roots_mirrors_come_first_in_the_roots_order_then_the_settings() -> None:
    assert order([EU, TR], [OWN], None) == ("https://eu.example", "https://tr.example", OWN)
    assert order([TR, EU], [OWN], None) == ("https://tr.example", "https://eu.example", OWN)


def test_a_region_leaves_out_the_roots_mirrors_elsewhere_and_none_of_the_administrators() -> None:
    assert order([EU, TR], [OWN], "tr") == ("https://tr.example", OWN)
    assert order([EU], [], "tr") == ()


def test_each_is_tried_once_whatever_its_final_slash() -> None:
    assert order([EU, EU], ["https://eu.example", OWN, OWN + "/"], None) == ("https://eu.example", OWN)


def test_what_is_not_admissible_is_not_tried() -> None:
    plain = Destination(url="http://eu.example", region="eu")
    assert order([plain, TR], ["https://u@own.example"], None) == ("https://tr.example",)


@pytest.mark.parametrize(
    ("host", "exceptions", "exempt"),
    [
        ("mirror.example", ["mirror.example"], True),
        ("MIRROR.example.", ["Mirror.Example"], True),
        ("a.mirror.example", ["mirror.example"], True),
        ("a.mirror.example", [".mirror.example"], True),
        ("mirror.example", [".mirror.example"], True),
        ("notmirror.example", ["mirror.example"], False),
        ("mirror.example", ["10.0.0.0/8", "other.example"], False),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8", "example"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("[2001:db8::1]", ["2001:db8::1"], True),
        ("10.1.2.3", [], False),
    ],
)
def test_exceptions_are_names_below_names_addresses_and_networks(
    host: str, exceptions: list[str], *, exempt: bool
) -> None:
    assert is_exempt(host, exceptions) is exempt


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("mirror.example", True),
        (".internal.example", True),
        ("localhost", True),
        ("10.0.0.0/8", True),
        ("10.1.2.3", True),
        ("2001:db8::/32", True),
        ("*", False),
        ("", False),
        ("a b", False),
        ("10.0.0.0/64", False),
        ("https://mirror.example", False),
        ("mirror.example:443", False),
        ("a" * 300, False),
    ],
)
def test_an_exception_is_a_name_an_address_or_a_network(text: str, *, admitted: bool) -> None:
    assert admissible_exception(text) is admitted
