"""Undoes what mail programs, editors and terminals do to a signed document on its way.

Every document is one or more compact JWS (RFC 7515 section 3.1), one a line,
signed with Ed25519. Its characters are letters, digits, `-`, `_` and `.`, and
its signature has 86 of them (RFC 8032 section 5.1.6: 64 bytes), so where a line
ends can be told without its line breaks. So whatever white space stands in
between may go: CR LF, blank lines, tabs, no-break spaces, lines that were
wrapped at 76 columns, the `=` of a soft line break (RFC 2045 section 6.7), a
byte-order mark, UTF-16 as an editor saves it, a soft hyphen, the end-of-file
character of DOS, and the `>` or `|` of a quotation.

Not here: any judgment. What comes out is verified as what comes in would be;
text around a document is not looked past.
"""

import re
from typing import Final

from opanel_agent.core.text_safety import remove_blanks

_SIGNATURE_CHARACTERS: Final = 86
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_SOFT_BREAK: Final = r"=[ \t]*\r?\n"
_QUOTED: Final = r"(?m)^[ \t]*(?:[>|][ \t]?)+"
_SOFT_HYPHEN_AND_END_OF_FILE: Final = "[\u00ad\x1a]"  # U+001A ends a text of DOS, as `copy a+b` joins files
_ONE: Final = rf"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{{{_SIGNATURE_CHARACTERS}}}"


def unwrap(data: bytes) -> bytes:
    """Returns the document with one compact JWS a line, each ended by LF.

    Returns `data` as it is where it is no such document: whoever reads it then
    says what is wrong with it.
    """
    text = re.sub(_SOFT_HYPHEN_AND_END_OF_FILE, "", _decoded(data))
    bare = remove_blanks(re.sub(_QUOTED, "", re.sub(_SOFT_BREAK, "", text)))
    lines, at = [], 0
    while at < len(bare):
        found = re.compile(_ONE).match(bare, at)
        if found is None:
            return data
        lines.append(found[0])
        at = found.end()
    return data if not lines else "".join(f"{line}\n" for line in lines).encode("ascii")


def _decoded(data: bytes) -> str:
    """Returns the text; what is neither UTF-8 nor UTF-16 is of an 8-bit code, whose no-break space is one byte."""
    utf_16 = data.startswith(_UTF16_MARKS)
    try:
        return data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
