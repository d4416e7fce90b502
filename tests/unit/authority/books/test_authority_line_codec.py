"""Signed lines as they are stored: whatever a version before this one wrote is read back, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.errors import Untrusted
from opanel_authority.books import line_codec

SIGNATURE = bytes(range(64))
PARTS = (
    b'{"alg":"EdDSA","kid":"k","typ":"opanel-license+jwt"}',
    b'{"aud":"opanel-agent","exp":1827527007,"tier":"pro","ver":1}',
    SIGNATURE,
)
LINE = ".".join(map(base64url, PARTS))
STORED = {
    "the first": "0178bbd54ddb6363306160646266616563e7e0e4e2e6e1e5e3171014121611151397909492969195935750545256515553d7d0d4d2"
    "d6d1d5d33730343236313533b7b0b4b2b6b1b5b3c76e69365e5babb1c70c24e55818999b1a991b1898630f1a00da682a37",
    "the second": "0263306160646266616563e7e0e4e2e6e1e5e3171014121611151397909492969195935750545256515553d7d0d4d2d6d1d5d337"
    "30343236313533b7b0b4b2b6b1b5b3c76e69365e5babf126192373532373030373ec410300",
}


@pytest.mark.parametrize("form", STORED)
def test_what_was_stored_in_any_form_is_the_line(form: str) -> None:
    assert line_codec.unpack(bytes.fromhex(STORED[form])) == LINE


@given(header=st.binary(max_size=200), payload=st.binary(max_size=3000))
def test_every_line_comes_back(header: bytes, payload: bytes) -> None:
    line = ".".join(map(base64url, (header, payload, SIGNATURE)))
    assert line_codec.unpack(line_codec.pack(line)) == line


def test_what_has_another_spelling_of_the_same_bytes_is_not_stored() -> None:
    with pytest.raises(Untrusted):
        line_codec.pack(LINE[:-1] + "x")


def test_nothing_is_left_of_what_was_erased() -> None:
    assert line_codec.unpack(b"") == ""
