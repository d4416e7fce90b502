"""The alphabet of what may be shown: held against the Unicode Character Database that this Python has."""

import json
import unicodedata
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.data.unsafe_text import UNSAFE
from opanel_agent.core.text_safety import escape, escape_json, escape_lines, is_safe, mask, remove_blanks

# Prepended_Concatenation_Mark (PropList.txt): drawn before the digits that they belong to.
NUMBER_SIGNS: Final = {*range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
CATEGORIES: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_every_control_format_character_separator_and_surrogate_is_unsafe() -> None:
    found = {code for code in range(0x110000) if unicodedata.category(chr(code)) in CATEGORIES}
    assert {code for code in found if is_safe(chr(code))} == {code for code in NUMBER_SIGNS if code in found}


def test_nothing_that_is_drawn_is_unsafe() -> None:
    drawn = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code))[0] in "LMNPSZ"}
    refused = {character for character in drawn if not is_safe(character)} - {"\u2028", "\u2029"}
    assert {unicodedata.category(character) for character in refused} == {"Mn", "Lo"}
    invisible = ("VARIATION SELECTOR", "FILLER", "GRAPHEME JOINER", "KHMER VOWEL INHERENT")
    assert all(any(part in unicodedata.name(character) for part in invisible) for character in refused)


@pytest.mark.parametrize("text", ["", " ", "Örnek ışık 🙂", "a\xa0b", "⚠️", "\ue000", "ünvan\u0308", "\\u001b"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert is_safe(text)
    assert escape(text) == escape_lines(text) == escape_json(text) == mask(text) == text


def test_an_escape_names_its_character() -> None:
    assert escape("a\x1b[2Jb\nc\x9b\u202ed\u2028") == "a\\u001b[2Jb\\u000ac\\u009b\\u202ed\\u2028"
    assert escape("\U000e0041\udcff") == "\\U000e0041\\udcff"
    assert escape_lines("one\r\ntwo\x85") == "one\\u000d\ntwo\\u0085"


@pytest.mark.parametrize("kind", UNSAFE)
def test_each_kind_is_found_escaped_and_masked(kind: str) -> None:
    text = f"a{UNSAFE[kind]}b"
    assert not is_safe(text)
    assert is_safe(escape(text))
    assert mask(text) == "a?b"
    assert all(map(is_safe, escape_lines(text).split("\n")))


@given(st.text(alphabet=st.characters()) | st.text(alphabet=st.sampled_from([*UNSAFE.values(), "\\", '"', "a"])))
def test_a_json_text_means_the_same_value_after_escaping(text: str) -> None:
    written = escape_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert all(map(is_safe, written.split("\n")))
    assert json.loads(written) == json.loads(json.dumps({text: [text]}))


@given(st.text())
def test_a_mask_can_be_encoded_and_keeps_the_length(text: str) -> None:
    assert len(mask(text).encode("utf-8").decode("utf-8")) == len(text)
    assert mask(mask(text)) == mask(text)


def test_blanks_are_removed_and_nothing_else() -> None:
    assert remove_blanks(" a\r\n\tb\xa0c\u200bd\u2060e\ufefff\u2003g\x1bh\u202e ") == "abcdefg\x1bh\u202e"
