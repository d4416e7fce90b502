"""Reads security advisories: notices of the vendor, the same bytes for every customer (`advisories.jws`).

The file is a compact JWS a line (RFC 7515 section 7.1), each signed by a key of
the role `advisory`; `seq` grows from line to line. A newly read set takes the
place of the one before, whole, so that the vendor can withdraw an advisory by
leaving it out.

Against a mirror that serves an older set, or an empty one, stands a floor: the
newest `seq` ever taken from a key (the rollback check of TUF 5.4.4, for one
file). The floor goes when the root drops the key, which is the way back after
somebody else has signed with it.

Left out: expiry is for the caller, who knows the time; an advisory that has
ended is still part of a good set. A line that a mirror leaves away below the
newest cannot be missed here, because each is signed alone: a vendor who needs
that signs a set with a higher `seq`.
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import JTI, URI
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ, parse
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.units import LANGUAGES
from opanel_agent.core.values import frozen

MAX_BYTES: Final = 256 * 1024  # as interface.md and `purposes.FIXED_GETS` say
MAX_ADVISORIES: Final = 64
MAX_TITLE: Final = 200
MAX_BODY: Final = 4000
_MAX_LINE_BYTES: Final = 64 * 1024
_FILLED: Final = r".+"
_VERSION: Final = r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}"


@unique
class Severity(StrEnum):
    """Names how urgent an advisory is, in the five words of CVSS 3.1 section 5, `info` for its `none`."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@frozen
class Advisory:
    """Holds one verified advisory. Times in seconds since 1970.

    - `jti`, `iss`: its name, and the vendor, who is the root's subject.
    - `iat`, `exp`: when it was issued, and when it need not be shown any more.
    - `seq`: its number, which only grows; `kid`: the key whose floor it raises.
    - `severity`: how urgent it is.
    - `title`, `body`: by language, at most 200 and 4000 characters, one line
      each and safe to print.
    - `fixed_in`: the version of the panel or agent that mends it, None where
      there is none yet.
    """

    jti: str
    iss: str
    iat: int
    exp: int
    seq: int
    severity: Severity
    title: Mapping[str, str]
    body: Mapping[str, str]
    fixed_in: str | None
    kid: str


def read(text: bytes, root: Root, *, floors: Mapping[str, int]) -> tuple[Advisory, ...]:
    """Returns the whole set, oldest first; () for an empty file.

    `floors` is the newest `seq` taken by key; a floor of a key that the root
    does not name (any more) does not count. Raises Untrusted: one bad line
    refuses all of them, and so does a newest `seq` below a floor
    (`advisories_older`). At most MAX_ADVISORIES lines, MAX_BYTES altogether.
    """
    if len(text) > MAX_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=MAX_BYTES)
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    if len(lines) > MAX_ADVISORIES:
        raise Untrusted(Reason.FORMAT_INVALID, "advisory_count", max_lines=MAX_ADVISORIES)
    keys = root.keys_of("advisory")
    advisories = tuple(_read(parse(line, max_bytes=_MAX_LINE_BYTES), keys, root) for line in lines)
    newest = _newest(advisories)
    if newest < max((floors.get(kid, 0) for kid in keys), default=0):
        raise Untrusted(Reason.CHAIN_INVALID, "advisories_older")
    return advisories


def raised(floors: Mapping[str, int], advisories: tuple[Advisory, ...], root: Root) -> dict[str, int]:
    """Returns the floors after this set was taken; a key that the root dropped loses its floor."""
    alive = root.keys_of("advisory")
    after = {kid: seq for kid, seq in floors.items() if kid in alive}
    for each in advisories:
        after[each.kid] = max(each.seq, after.get(each.kid, 0))
    return after


def _newest(advisories: tuple[Advisory, ...]) -> int:
    """Returns the last `seq`, 0 for an empty set.

    Raises Untrusted where they do not grow, or two advisories have one `jti`.
    """
    last = 0
    for each in advisories:
        if each.seq <= last:
            raise Untrusted(Reason.FORMAT_INVALID, "advisory_seq", seq=each.seq)
        last = each.seq
    if len({each.jti for each in advisories}) != len(advisories):
        raise Untrusted(Reason.FORMAT_INVALID, "advisory_jti")
    return last


def _read(envelope: Envelope, keys: Mapping[str, PublicKey], root: Root) -> Advisory:
    """Returns one advisory.

    Raises Untrusted for another issuer than the root's, so a key is good for
    its own vendor alone.
    """
    claims = envelope.open(keys, Typ.ADVISORY)
    iat, exp = claims.integer("iat"), claims.integer("exp")
    severity = claims.text("severity", max_length=16)
    if severity not in list(Severity):
        raise claims.refuse("severity")
    advisory = Advisory(
        jti=claims.text("jti", pattern=JTI),
        iss=claims.text("iss", pattern=URI),
        iat=iat,
        exp=exp,
        seq=claims.integer("seq", low=1),
        severity=Severity(severity),
        title=_texts(claims.members("title"), MAX_TITLE),
        body=_texts(claims.members("body"), MAX_BODY),
        fixed_in=claims.optional_text("fixed_in", pattern=_VERSION),
        kid=envelope.kid,
    )
    claims.end()
    if iat >= exp:
        raise claims.refuse("exp")
    if advisory.iss != root.sub:
        raise Untrusted(Reason.CHAIN_INVALID, "advisory_iss")
    return advisory


def _texts(members: Members, max_length: int) -> Mapping[str, str]:
    """Returns a text in every language, none of them empty: a reader of either language must get the same news."""
    texts: dict[str, str] = {
        language: members.text(language, max_length=max_length, pattern=_FILLED) for language in LANGUAGES
    }
    members.end()
    return texts
