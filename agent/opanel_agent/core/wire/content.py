"""Recognises a signed document by its form, whatever a web server calls its type.

Form only: three base64url segments to a line (RFC 7515 7.1). Whether it
verifies is judged by `core.documents`. A portal's or a proxy's page never has
this form.
"""

import re
from typing import Final

_LINE: Final = rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"
_AROUND: Final = b"\xef\xbb\xbf \t\r\n"


def has_signed_form(body: bytes) -> bool:
    """Returns whether a body is one or more compact JWS, a line each; white space around them and a BOM are ignored."""
    lines = body.strip(_AROUND).split(b"\n")
    return all(re.fullmatch(_LINE, line.strip()) for line in lines)
