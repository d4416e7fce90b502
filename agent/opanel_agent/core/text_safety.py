"""The one alphabet of what may reach a terminal, a log line or the ledger, and three ways to hold a text to it.

A name in a document, a path or another process's reply may hold characters that
act on the reader instead of being read: they move a cursor, end a line, turn
the direction of writing (CVE-2021-42574, "Trojan Source") or hide text
altogether. `is_safe` is for what may be refused (documents, settings), `escape`
for what must be shown as it is (a terminal, a log), `mask` for what is recorded
and may lose a character (the ledger); `escape_json` keeps a JSON text the same
value.

Unsafe is, of the Unicode Character Database (UAX #44):

- General_Category Cc (C0, DEL, C1), Zl and Zp (line and paragraph separators),
  Cs (lone surrogates),
- Cf, the format controls: bidirectional controls (UAX #9), zero-width
  characters, interlinear annotations, tags,
- Default_Ignorable_Code_Point, which is drawn as nothing: fillers, joiners,
  variation selectors, and what is reserved for more of them.

Two exceptions: U+FE0E and U+FE0F choose between the text and the emoji form of
the sign before them (UTS #51), as in a vendor's "warning" sign, and can do
nothing else; and the visible number signs among Cf
(Prepended_Concatenation_Mark) are letters to who writes with them. Zero-width
joiners are not excepted, so an emoji joined of several is shown as its parts.

The ranges are written out rather than asked of `unicodedata`: its version
differs between Pythons, and a document must not be accepted by one agent and
refused by another. `re` is all that is imported, because the daemon loads this.
"""

import re
from typing import Final

_UNSAFE_CLASS: Final = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\xad\u034f\u061c"  # soft hyphen, combining grapheme joiner, Arabic letter mark
    "\u070f\u115f\u1160\u17b4\u17b5"  # Syriac abbreviation mark, Hangul fillers, Khmer inherent vowels
    "\u180b-\u180f"  # Mongolian variation selectors and vowel separator
    "\u200b-\u200f\u2028-\u202e"  # zero-width characters, separators, direction marks, embeddings and overrides
    "\u2060-\u206f"  # word joiner, invisible operators, isolates
    "\u3164\ufe00-\ufe0d\ufeff\uffa0"  # Hangul filler, variation selectors, byte order mark, half-width Hangul filler
    "\ufff0-\ufffb"  # reserved ignorables, interlinear annotations
    "\ud800-\udfff"  # surrogates: as bytes that were no UTF-8 arrive (PEP 383)
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # format controls of hieroglyphs, shorthand, music
    "\U000e0000-\U000e0fff"  # tags, and variation selectors 17 to 256: text that is hidden in text
)
_UNSAFE: Final = f"[{_UNSAFE_CLASS}]"
# What no reader sees between characters: white space, no-break spaces, and the
# zero-width ones that editors leave.
_BLANKS: Final = "[\\s\u200b\u2060\ufeff]+"
_UNSAFE_IN_JSON: Final = f"(?!\n)[{_UNSAFE_CLASS}]"


def is_safe(text: str) -> bool:
    """Tells whether no character of the text acts on its reader.

    The empty text is safe; a line end is not.
    """
    return re.search(_UNSAFE, text) is None


def escape(text: str) -> str:
    r"""Returns the text with each unsafe character as its escape: `\u001b`, or eight digits above U+FFFF.

    For a person, not for a parser: a backslash that was in the text stays as it
    is.
    """
    return re.sub(_UNSAFE, _escaped, text)


def escape_lines(text: str) -> str:
    """Returns the text escaped as `escape` does, its line ends kept: for a text of several lines that are all our own."""
    return "\n".join(map(escape, text.split("\n")))


def escape_json(text: str) -> str:
    r"""Returns a JSON text that means the same value and has no unsafe character but the line ends between its tokens.

    RFC 8259 section 7: an unsafe character can only stand inside a string,
    where `\uXXXX` means the same; beyond U+FFFF a surrogate pair. `json.dumps`
    itself escapes C0 alone, so that a C1 control or U+202E would reach the
    terminal.
    """
    return re.sub(_UNSAFE_IN_JSON, _escaped_in_json, text)


def mask(text: str) -> str:
    """Returns the text with a question mark for each unsafe character: as long as it was, and encodable as UTF-8."""
    return re.sub(_UNSAFE, "?", text)


def remove_blanks(text: str) -> str:
    """Returns the text without white space, zero-width spaces and byte order marks: for what is pasted, as a license."""
    return re.sub(_BLANKS, "", text)


def _escaped(found: re.Match[str]) -> str:
    """Returns the escape of one character, as Python and JSON write it."""
    code = ord(found[0])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _escaped_in_json(found: re.Match[str]) -> str:
    # A lone surrogate has no encoding of its own in UTF-16 either;
    # `surrogatepass` spells it as the unit that it is.
    """Returns the escape of one character in UTF-16 units, as RFC 8259 section 7 wants it."""
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
