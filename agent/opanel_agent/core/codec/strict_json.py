"""Reads and writes JSON (RFC 8259) that can be read in one way only.

I-JSON (RFC 7493) and a little narrower: strict UTF-8 without a byte order mark,
no duplicate members, no fractions, exponents, NaN or Infinity, integers 0 <= n
< 2^53, no lone surrogates, bounded size and depth. What two parsers could read
differently is refused rather than interpreted.

`loads` and `dumps` know bytes and values; `reader` takes an object apart,
member by member. Canonical JSON (RFC 8785) is left out on purpose: signatures
are over the received bytes, never over something that was serialised again.
"""

import json
import re
from itertools import accumulate
from typing import Final, NoReturn

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted

MAX_INT: Final = 2**53 - 1  # RFC 7493 section 2.2: what every implementation reads exactly
MAX_DEPTH: Final = 8

_ESCAPE: Final = rb"(?s)\\."
_LONG: Final = rb"[0-9]{16,}"
# All digits alike, all brackets alike: what pairs with what is left to the
# parser.
_ALIKE: Final = bytes.maketrans(b"123456789[]", b"000000000{}")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"{}"))
_STEP: Final = {ord("{"): 1, ord("}"): -1}


def loads(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Json:
    """Returns the value of a JSON text of at most `max_bytes`, its containers nested at most `max_depth` deep.

    Raises Untrusted: `json_size`, `json_utf8`, `json_bom`, `json_depth`,
    `json_integer`, `json_syntax`, `json_duplicate`, `json_float` or
    `json_surrogate`, in this order of checks but for the last five, which the
    parser meets where they stand.
    """
    if len(data) > max_bytes:
        raise Untrusted(Reason.FORMAT_INVALID, "json_size", max_bytes=max_bytes)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_utf8") from error
    if text.startswith("\ufeff"):
        raise Untrusted(Reason.FORMAT_INVALID, "json_bom")
    _check_outside_of_strings(data, max_depth)
    try:
        value: Json = _DECODER.decode(text)
    except ValueError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_syntax") from error
    if "\\u" in text:  # only an escape can spell a lone surrogate: strict UTF-8 has none
        _check_surrogates(value)
    return value


def dumps(value: Json) -> bytes:
    """Returns the value as compact JSON, members sorted, UTF-8 unescaped; `loads` gives it back.

    The same value has the same bytes, which files and digests rely on. Raises
    UnicodeEncodeError for a lone surrogate.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode("utf-8")


def _check_outside_of_strings(data: bytes, max_depth: int) -> None:
    """Checks before parsing, because the parser recurses, and because a parsed 0 no longer says that it was -0.

    Up to the first syntax error the parser sees the same strings.
    """
    outside = b"".join(re.sub(_ESCAPE, b"", data).split(b'"')[::2])
    alike = outside.translate(_ALIKE)
    if alike.count(b"{") > max_depth and _depth(alike) > max_depth:
        raise Untrusted(Reason.FORMAT_INVALID, "json_depth", max_depth=max_depth)
    if b"-" in alike or (b"0" * 16 in alike and _exceeds(outside)):
        raise Untrusted(Reason.FORMAT_INVALID, "json_integer")


def _depth(alike: bytes) -> int:
    """Tells how deep brackets are nested, of which there is at least one."""
    return max(accumulate(map(_STEP.__getitem__, alike.translate(None, _NO_BRACKET))))


def _exceeds(outside: bytes) -> bool:
    """Tells whether an integer is over 2^53 - 1, which has 16 digits: longer ones are not even converted."""
    return any(len(number) > 16 or int(number) > MAX_INT for number in re.findall(_LONG, outside))


def _check_surrogates(value: Json) -> None:
    """Raises Untrusted for a lone surrogate, which UTF-8 cannot encode."""
    try:
        dumps(value)
    except UnicodeEncodeError as error:
        raise Untrusted(Reason.FORMAT_INVALID, "json_surrogate") from error


def _distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Returns the object of these members.

    RFC 8259 section 4 leaves open which of two of one name counts: none does
    here.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Untrusted(Reason.FORMAT_INVALID, "json_duplicate")
    return members


def _no_float(_digits: str) -> NoReturn:
    raise Untrusted(Reason.FORMAT_INVALID, "json_float")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_float=_no_float, parse_constant=_no_float)
