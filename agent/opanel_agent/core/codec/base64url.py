"""Encodes and decodes base64url without padding (RFC 7515 section 2, RFC 4648 section 5), in one spelling.

Foreign characters, padding, white space and non-zero trailing bits are refused,
so decode(encode(x)) is the only accepted spelling. RFC 4648 section 3.5 lets a
decoder ignore trailing bits, and Python's skips foreign characters; either way
several texts would name the same bytes, and a signed document would have many
spellings and many digests.
"""

import binascii
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
# What the other alphabet and padding would say becomes a character of neither.
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/***")
# By the length of the last, incomplete group of four: the characters that it
# may end with. One alone spells no byte.
_ENDS: Final = (b"", b"", b"AQgw", b"AEIMQUYcgkosw048")


def base64url(data: bytes) -> str:
    """Returns the bytes as base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode("ascii")


def unbase64url(text: str | bytes) -> bytes:
    """Returns the bytes that `text` spells.

    Raises Untrusted for padding, white space, foreign characters, stray bits.
    """
    try:
        spelled = text if isinstance(text, bytes) else text.encode("ascii")
        over = len(spelled) % 4
        if over and spelled[-1] not in _ENDS[over]:
            raise Untrusted(Reason.FORMAT_INVALID, "base64url")
        return binascii.a2b_base64(spelled.translate(_FROM_URL) + b"=" * (-over % 4), strict_mode=True)
    except ValueError as error:  # UnicodeEncodeError and binascii.Error are both
        raise Untrusted(Reason.FORMAT_INVALID, "base64url") from error
