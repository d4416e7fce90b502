"""What agents poll: the status list and the roots, the same bytes for everybody; and all that is published as files.

A list's `iat` is strictly greater than that of every list before it, whatever the clock does: agents keep a floor for
each key and refuse anything older. So a second list within one second is dated a second ahead, which they admit.

A change of status is committed together with the list that tells it; nobody can see the one without the other.

What each status may become is a table. A revocation can be taken back (the agent waits 72 hours before it acts on
one); an activation that ended stays ended, because its seat may be somebody else's: activating again takes a minute.
"""

import zlib
from collections.abc import Mapping
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.units import DAY_S
from opanel_authority import advise
from opanel_authority.home import Authority, write_public
from opanel_authority.keys import Role
from opanel_authority.store import Books, Ended, Kind, Subject

TTL_S: Final = 900
LIFETIME_S: Final = 7 * DAY_S
_STATUS: Final = "status"
_REVOKED: Final = 1


@unique
class Change(StrEnum):
    SUSPEND = "suspend"
    RESUME = "resume"
    REVOKE = "revoke"
    SUPERSEDE = "supersede"


# whose status a change may change, from which to which
CHANGES: Final[Mapping[tuple[Change, Kind], tuple[frozenset[int], int]]] = {
    (Change.SUSPEND, Kind.LICENSE): (frozenset({0, 2}), 2),
    (Change.RESUME, Kind.LICENSE): (frozenset({0, 1, 2}), 0),
    (Change.REVOKE, Kind.LICENSE): (frozenset({0, 1, 2}), 1),
    (Change.REVOKE, Kind.DELEGATION): (frozenset({0, 1}), 1),
    (Change.RESUME, Kind.DELEGATION): (frozenset({0, 1}), 0),
    (Change.SUPERSEDE, Kind.ACTIVATION): (frozenset({0, 3}), 3),
}


def change(authority: Authority, what: Change, jti: str, *, now: int) -> Subject:
    """Change a status and publish at once. Raises Usage for an unknown id, NotPermitted where the table has no row."""
    with authority.store.transaction() as books:
        subject = books.subject(jti)
        if subject is None:
            raise Usage(Fault.USAGE, "id_unknown", id=jti)
        row = CHANGES.get((what, subject.kind))
        if row is None or subject.status not in row[0]:
            raise NotPermitted(Reason.NOT_PERMITTED, "change_refused", change=what.value, kind=subject.kind.value)
        if what is Change.RESUME and subject.status == _REVOKED and books.slot_given_away(subject.id):
            raise NotPermitted(Reason.NOT_PERMITTED, "slot_given_away")
        activation = books.activation(subject.id)
        if activation is not None and activation.ended is None:
            books.end_activation(activation, Ended.SUPERSEDED, now)
        books.set_status(subject.idx, row[1], now)
        sign_status_list(authority, books, now=now)
    return Subject(kind=subject.kind, id=subject.id, idx=subject.idx, status=row[1])


def current_status_list(authority: Authority, *, now: int) -> bytes:
    """The list as last signed, or signed anew when that is older than its `ttl`."""
    with authority.store.transaction() as books:
        last = books.published(_STATUS)
        if last is not None and now < last[0] + TTL_S:
            return last[1].encode("ascii")
        return sign_status_list(authority, books, now=now)


def sign_status_list(authority: Authority, books: Books, *, now: int) -> bytes:
    """Sign what the books say, dated after every list before it, and keep it as the one that is served."""
    last = books.published(_STATUS)
    iat = now if last is None else max(now, last[0] + 1)
    root = authority.root
    claims: dict[str, Json] = {
        "ver": 1,
        "iss": root.sub,
        "sub": root.status_uri,
        "iat": iat,
        "exp": iat + LIFETIME_S,
        "ttl": TTL_S,
        "status_list": {"bits": 2, "lst": pack(books.not_valid(), books.list_entries())},
    }
    token = authority.key(Role.STATUS).sign(Typ.STATUS_LIST, claims)
    status_list.accept(token.encode("ascii"), root, floor={}, now=now)
    books.set_published(_STATUS, iat, token)
    return token.encode("ascii")


def pack(not_valid: Mapping[int, int], entries: int) -> str:
    """`lst` of a Token Status List with `bits` 2: four entries a byte, the first lowest, then zlib, then base64url."""
    packed = bytearray(entries // 4)
    for idx, status in not_valid.items():
        packed[idx // 4] |= status << 2 * (idx % 4)
    return base64url(zlib.compress(bytes(packed), 9))


def roots_text(authority: Authority) -> bytes:
    """Every root since the first, a line a signature."""
    return authority.roots_text


def publish(authority: Authority, directory: Path, *, now: int) -> tuple[Path, ...]:
    """The static files that any web server or CDN serves as they are, freshly signed where they are due."""
    files = {
        directory / "v1" / "status.jwt": current_status_list(authority, now=now),
        directory / "v1" / "roots.jws": roots_text(authority),
        directory / "v1" / "advisories.jws": advise.published(authority, now=now),
    }
    for path, data in files.items():
        write_public(path, data)
    return tuple(files)
