"""Base64url without padding (RFC 7515 section 2, RFC 4648 section 5), in the one spelling that an encoder gives.

RFC 4648 section 3.5 lets a decoder ignore bits that carry nothing, and Python's skips foreign characters. Either way
several texts would name the same bytes and a signed document would have many spellings, so only the text that
re-encoding gives is taken.
"""

import base64
import binascii

from opanel_agent.core.errors import Untrusted
from opanel_agent.core.reasons import Reason


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unbase64url(text: str) -> bytes:
    """The bytes that `text` spells. Raises Untrusted for padding, white space, foreign characters, stray bits."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise Untrusted(Reason.FORMAT_INVALID, "base64url") from error
    if base64url(data) != text:
        raise Untrusted(Reason.FORMAT_INVALID, "base64url")
    return data
