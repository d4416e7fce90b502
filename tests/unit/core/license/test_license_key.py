"""Proves the key's one written form, its forgiveness in reading, and that a typing error is told."""

import hashlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.refusal import refused
from opanel_agent.core.license import license_key

# Worked by hand: zero is all zeros and checks as 0; 2**128 - 1 is 7 and 25 Z, and 2**128 - 1 mod 37 = 33, no letter.
ZERO = "00000-00000-00000-00000-00000-00"
ONE = "00000-00000-00000-00000-00000-11"

drawn = st.binary(min_size=16, max_size=16).map(license_key.make).filter(bool)


def test_known_keys() -> None:
    assert license_key.make(bytes(16)) == ZERO
    assert license_key.make(bytes(15) + b"\1") == ONE
    assert license_key.make(bytes(15) + b"\x24") == "00000-00000-00000-00000-00001-4U"
    assert license_key.make((2**128 - 1).to_bytes(16, "big")) is None


@pytest.mark.parametrize("value", [32, 33, 34, 35])
def test_a_check_character_that_mail_mauls_is_drawn_again(value: int) -> None:
    assert license_key.make(value.to_bytes(16, "big")) is None


def test_the_four_punctuation_checks_are_never_read() -> None:
    for check in "*~$=":
        with refused("license_key_shape"):
            license_key.parse("0" * 25 + "1" + check)


@settings(max_examples=100)
@given(drawn)
def test_what_is_made_is_canonical(key: str) -> None:
    assert license_key.parse(key) == key
    assert len(key) == 32
    assert [len(group) for group in key.split("-")] == [5, 5, 5, 5, 5, 2]


@settings(max_examples=100)
@given(drawn, st.randoms(use_true_random=False))
def test_reading_forgives_how_people_write(key: str, random: Random) -> None:
    swaps = {"0": "0Oo", "1": "1IiLl"}
    typed = "".join(random.choice(swaps.get(each, each + each.lower())) for each in key if each != "-")
    spaced = "".join(each + random.choice(["", "", "-", " "]) for each in typed)[:60]
    assert license_key.parse(f" {spaced}\n") == key


@settings(max_examples=100)
@given(drawn, st.integers(0, 26), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_one_wrong_character_is_told(key: str, place: int, wrong: str) -> None:
    compact = key.replace("-", "")
    if compact[place] == wrong:
        return
    with pytest.raises(Exception, match=r"license_key_(check|shape)"):
        license_key.parse(compact[:place] + wrong + compact[place + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        ZERO + "0",
        ZERO[:-1],
        ZERO.replace("0", "U", 1),
        "8" + "0" * 26,
        "0" * 26 + "İ",
        "-" * 40 + ZERO,
        "٠" * 27,
    ],
)
def test_what_is_no_key(text: str) -> None:
    with refused("license_key_shape"):
        license_key.parse(text)


def test_a_typing_error_is_told_apart() -> None:
    with refused("license_key_check"):
        license_key.parse(ONE[:-1] + "2")


def test_the_digest_is_of_the_canonical_form_without_hyphens() -> None:
    assert license_key.digest(" oOOOO" + "0" * 22) == hashlib.sha256(b"0" * 27).hexdigest()
