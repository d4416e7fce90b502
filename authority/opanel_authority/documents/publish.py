"""What agents poll: status lists and roots, the same bytes for everybody; and all that is published as files.

A list's `iat` is strictly greater than that of every list of its shard before it, whatever the clock does: agents keep a
floor for each key and refuse anything older. So a second list within one second is dated a second ahead, which they admit;
more than six minutes ahead the last one stands until the clock has caught up, however fast statuses change.

A change of status is in the very next list that anybody is given: whoever asks finds the change counted and has the list
signed, once for all changes until then. So neither activations nor changes cost anything that grows with the list.
"""

import zlib
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.status_list import shard_uri
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.units import DAY_S
from opanel_authority import clock
from opanel_authority.authority import Authority, write_public
from opanel_authority.books.repositories.status_repository import SignedShard
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.documents import advisories
from opanel_authority.documents.keys import Role

TTL_S: Final = 900
LIFETIME_S: Final = 7 * DAY_S
_AHEAD_S: Final = clock.BEHIND_S + 60  # a clock that was set back a little must not keep changes from anybody
_DIRECTORY: Final = "publish_directory"


def current_status_list(authority: Authority, shard: int = 0, *, now: int) -> bytes:
    """Returns a shard's list as last signed.

    Signed anew when a status changed since, or when it is older than its `ttl`.
    """
    kid = authority.root.keys[Role.STATUS.value][0].kid
    with authority.store.reading() as books:
        held = books.signed_shard(shard)
        if held is not None and _good(held, kid, now):
            return held.token.encode("ascii")
    with authority.writing(now) as books:
        held = books.signed_shard(shard)
        if held is not None and (_good(held, kid, now) or (held.kid == kid and held.iat > now + _AHEAD_S)):
            _require_near(held, now)
            return held.token.encode("ascii")
        return sign_status_list(authority, books, shard, now=now)


def served_status_list(authority: Authority, shard: int, *, now: int) -> bytes | None:
    """Returns the signed status list of a shard; None for a shard without an entry."""
    with authority.store.reading() as books:
        known = shard in books.shard_numbers()
    return current_status_list(authority, shard, now=now) if known else None


def _good(held: SignedShard, kid: str, now: int) -> bool:
    return held.current and held.kid == kid and held.iat <= now + _AHEAD_S and now < held.iat + TTL_S


def _require_near(held: SignedShard, now: int) -> None:
    """Raises Misconfigured where the last list is dated so far ahead that agents would take no other for days."""
    if held.iat > now + DAY_S:
        raise Misconfigured(Fault.CLOCK_WRONG, "list_ahead", dated=clock.shown(held.iat), now=clock.shown(now))


def sign_status_list(authority: Authority, books: Books, shard: int = 0, *, now: int) -> bytes:
    """Signs a list, verifies it as an agent does, and remembers it."""
    key = authority.key(Role.STATUS)
    held = books.signed_shard(shard)
    iat = now if held is None or held.kid != key.public.kid else max(now, held.iat + 1)
    uri = shard_uri(authority.root.status_uri, shard)
    claims: dict[str, Json] = {
        "ver": 1,
        "iss": authority.root.sub,
        "sub": uri,
        "iat": iat,
        "exp": iat + LIFETIME_S,
        "ttl": TTL_S,
        "status_list": {"bits": 2, "lst": pack(books.shard_bits(shard))},
    }
    token = key.sign(Typ.STATUS_LIST, claims)
    status_list.accept(token.encode("ascii"), authority.root, floor={}, now=now, shard=shard)
    books.set_signed_shard(shard, iat=iat, kid=key.public.kid, token=token)
    return token.encode("ascii")


def sign_changes(authority: Authority, books: Books, *, now: int) -> None:
    """Signs the lists of what this transaction changed.

    Where so many were signed lately that they run ahead, whoever asks next has them signed.
    """
    for shard in books.unsigned_shards():
        held = books.signed_shard(shard)
        if held is None or held.iat <= now + _AHEAD_S:
            sign_status_list(authority, books, shard, now=now)


def pack(bits: bytes) -> str:
    """Returns `lst` of a Token Status List: zlib (RFC 1950), then base64url."""
    return base64url(zlib.compress(bits, 6))


def roots_text(authority: Authority) -> bytes:
    """Returns every root since the first, a line a signature."""
    return authority.roots_text


def publish(authority: Authority, directory: Path, *, now: int) -> tuple[Path, ...]:
    """Writes the static files that any web server or CDN serves, and signs anew those that are due.

    A file whose bytes would be the same is left as it is. Raises OSError where one cannot be written; the others are.
    """
    with authority.store.reading() as books:
        shards = [*books.shard_numbers()]
    root_uri = authority.root.status_uri
    files = {_place(directory, root_uri, shard): current_status_list(authority, shard, now=now) for shard in shards}
    files |= {
        directory / "v1" / "roots.jws": roots_text(authority),
        directory / "v1" / "advisories.jws": advisories.published(authority, now=now),
    }
    for path, data in files.items():
        if not path.is_file() or path.read_bytes() != data:
            write_public(path, data)
    return tuple(files)


def remember_directory(
    authority: Authority, directory: Path, *, now: int, actor: str = "command", reason: str | None = None
) -> None:
    """Remembers where commands that change a status write the static files again (`publish_again`)."""
    with authority.writing(now) as books:
        if books.fact(_DIRECTORY) == str(directory):
            return
        books.set_fact(_DIRECTORY, str(directory))
        subject = directory.name
        books.log_change(
            at=now, actor=actor, act="publish", kind=Kind.BOOKS, subject=subject, delegation=None, reason=reason
        )


def publish_again(authority: Authority, *, now: int) -> None:
    """Writes the static files, where `publish` put them last and they still are.

    Raises OSError where they cannot be written.
    """
    with authority.store.reading() as books:
        directory = books.fact(_DIRECTORY)
    if directory is not None and Path(directory).is_dir():
        publish(authority, Path(directory), now=now)


def _place(directory: Path, status_uri: str, shard: int) -> Path:
    tail = shard_uri(status_uri, shard).removeprefix(status_uri.removesuffix("status.jwt"))
    return directory / "v1" / tail
