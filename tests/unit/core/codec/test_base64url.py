"""Proves that bytes have exactly one text and a text at most one meaning."""

import base64
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.errors import Untrusted

ASCII = [chr(code) for code in range(128)]


@given(st.binary(max_size=80))
def test_round_trip(data: bytes) -> None:
    text = base64url(data)
    assert unbase64url(text) == data
    assert unbase64url(text.encode()) == data
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "text", ["A", "QUJDR", "QQ==", "QUI=", "Q Q", "QQ\n", "+/+/", "QR", "QUJ", "Q?UJD", "ı", "\ud800"]
)
def test_every_other_spelling_is_refused(text: str) -> None:
    with refused("base64url"):
        unbase64url(text)


def test_bytes_are_held_to_the_same() -> None:
    for text in (b"QQ==", b"QR", b"QU\xff", b"\xff\xff\xff\xff"):
        with refused("base64url"):
            unbase64url(text)


def test_of_all_two_letter_texts_each_byte_has_one() -> None:
    assert read("".join(pair) for pair in itertools.product(ASCII, repeat=2)) == [bytes([byte]) for byte in range(256)]


def test_of_all_three_letter_texts_each_pair_of_bytes_has_one() -> None:
    endings = read("AA" + letter for letter in ASCII)
    assert endings == [bytes([0, byte]) for byte in range(16)]


def read(texts: Iterable[str]) -> list[bytes]:
    """What those of `texts` say that are taken, in order."""
    taken = []
    for text in texts:
        try:
            taken.append(unbase64url(text))
        except Untrusted:
            continue
    return sorted(taken)
