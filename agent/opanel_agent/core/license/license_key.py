"""The license key: what an end user types, and a license's `sub`.

128 random bits in Crockford's base32 (26 characters, big end first) and his
check character (value mod 37), in groups: `XXXXX-XXXXX-XXXXX-XXXXX-XXXXX-XC`.
Reading forgives case, spaces, hyphens, O for 0, I and L for 1. Four of the 37
check characters are punctuation that mail programs and shells maul; an issuer
draws again instead, and reading knows none.

What is ever sent of a key is its `digest`.
"""

import hashlib
import re
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHECK: Final = _ALPHABET + "*~$=U"
_SPELLING: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
_KEY: Final = f"[{_ALPHABET}]{{26}}[{_ALPHABET}U]"
_MAX_TYPED: Final = 64


def parse(text: str) -> str:
    """Returns the canonical form of what was typed.

    Raises Untrusted when it is no key, or one with a typing error.
    """
    compact = text.strip().upper().translate(_SPELLING)
    # 26 characters hold 130 bits; a first character above 7 would need more
    # than 128.
    if len(text) > _MAX_TYPED or not re.fullmatch(_KEY, compact) or compact[0] > "7":
        raise Untrusted(Reason.FORMAT_INVALID, "license_key_shape")
    if _check(_value(compact[:26])) != compact[26]:
        raise Untrusted(Reason.FORMAT_INVALID, "license_key_check")
    return _grouped(compact)


def make(random16: bytes) -> str | None:
    """Returns the key of 16 random bytes; None where its check character would be punctuation: draw again."""
    value = int.from_bytes(random16, "big")
    check = _check(value)
    if check in "*~$=":
        return None
    return _grouped("".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)) + check)


def digest(key: str) -> str:
    """Returns the SHA-256, in hex, of the canonical form without its hyphens."""
    return hashlib.sha256(parse(key).replace("-", "").encode("ascii")).hexdigest()


def _value(characters: str) -> int:
    value = 0
    for character in characters:
        value = value * 32 + _ALPHABET.index(character)
    return value


def _check(value: int) -> str:
    return _CHECK[value % 37]


def _grouped(compact: str) -> str:
    return "-".join(compact[start : start + 5] for start in range(0, 27, 5))
