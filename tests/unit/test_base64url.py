"""Proves that bytes have exactly one text and a text at most one meaning."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.refusal import refused
from opanel_agent.core.base64url import base64url, unbase64url
from opanel_agent.core.errors import Untrusted


@given(st.binary(max_size=80))
def test_round_trip(data: bytes) -> None:
    text = base64url(data)
    assert unbase64url(text) == data
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "text", ["A", "QUJDR", "QQ==", "QUI=", "Q Q", "QQ\n", "+/+/", "QR", "QUJ", "Q?UJD", "ı", "\ud800"]
)
def test_every_other_spelling_is_refused(text: str) -> None:
    with refused("base64url"):
        unbase64url(text)


def test_of_all_two_letter_texts_each_byte_has_one() -> None:
    alphabet = [chr(code) for code in range(128)]
    read = []
    for pair in itertools.product(alphabet, repeat=2):
        try:
            read.append(unbase64url("".join(pair)))
        except Untrusted:
            continue
    assert sorted(read) == [bytes([byte]) for byte in range(256)]
