"""Base64url without padding (RFC 7515 section 2, RFC 4648 section 5), in the one spelling that an encoder gives.

RFC 4648 section 3.5 lets a decoder ignore bits that carry nothing, and Python's skips foreign characters. Either way
several texts would name the same bytes and a signed document would have many spellings, so only the text that
re-encoding gives is taken.
"""

import binascii
from typing import Final

from opanel_agent.core.errors import Untrusted
from opanel_agent.core.reasons import Reason

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


def base64url(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode("ascii")


def unbase64url(text: str) -> bytes:
    """The bytes that `text` spells. Raises Untrusted for padding, white space, foreign characters, stray bits."""
    try:
        # Too much padding is ignored, as everything is that the comparison below will miss.
        data = binascii.a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"==")
    except ValueError as error:  # UnicodeEncodeError and binascii.Error are both
        raise Untrusted(Reason.FORMAT_INVALID, "base64url") from error
    if base64url(data) != text:
        raise Untrusted(Reason.FORMAT_INVALID, "base64url")
    return data
