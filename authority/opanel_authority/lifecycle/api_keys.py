"""Keys of the management API: 256 random bits that are shown once, kept as their SHA-256, scoped, and revoked by name.

A key is `opk_<id>_<secret>`: the id may be told to anybody, and what finds the row. The digest needs no salt and no
stretching, because there is nothing to guess in 256 bits. When a key was last used is kept as a day.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.books.tables import api_keys as _keys
from opanel_authority.books.tables import delegations as _delegations

READ: Final = "licenses:read"
WRITE: Final = "licenses:write"
HOOKS_READ: Final = "webhooks:read"
HOOKS_WRITE: Final = "webhooks:write"
SCOPES: Final = (READ, WRITE, HOOKS_READ, HOOKS_WRITE)
_SHAPE: Final = re.compile("opk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """`secret` is the whole key, which is kept nowhere."""

    id: str
    secret: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose key was shown. `delegation` is None for the vendor's."""

    key_id: str
    name: str
    delegation: int | None
    scopes: frozenset[str]


def make(
    authority: Authority,
    *,
    name: str,
    reseller: str | None,
    scopes: tuple[str, ...],
    now: int,
    actor: str,
    reason: str | None = None,
) -> MadeKey:
    """Returns a key for a reseller, or for the vendor. Raises Usage for an unknown reseller or scope."""
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise Usage(Fault.USAGE, "scope_unknown", scope=min(unknown, default=""), known=", ".join(SCOPES))
    with authority.writing(now) as books:
        row = None if reseller is None else books.delegation(name=reseller)
        if reseller is not None and row is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        key_id = secrets.token_hex(8)
        secret = f"opk_{key_id}_{secrets.token_urlsafe(32)}"
        number = None if row is None else row.number
        values = {"id": key_id, "name": name[:128], "sha256": _digest(secret), "delegation": number}
        books.connection.execute(_keys.insert().values(**values, scopes=" ".join(scopes), created=now))
        books.log_change(
            at=now,
            actor=actor,
            act="make_api_key",
            kind=Kind.API_KEY,
            subject=key_id,
            delegation=number,
            reason=reason,
        )
    return MadeKey(id=key_id, secret=secret, scopes=scopes)


def revoke(authority: Authority, key_id: str, *, now: int, actor: str, reason: str | None = None) -> None:
    """Revokes a key, which opens nothing from now on. Raises Usage for an unknown one."""
    with authority.writing(now) as books:
        row = books.connection.execute(select(_keys).where(_keys.c.id == key_id)).first()
        if row is None:
            raise Usage(Fault.USAGE, "id_unknown", id=key_id[:64])
        books.connection.execute(_keys.update().where(_keys.c.id == key_id).values(revoked=now))
        books.log_change(
            at=now,
            actor=actor,
            act="revoke_api_key",
            kind=Kind.API_KEY,
            subject=key_id,
            delegation=row.delegation,
            reason=reason,
        )


def holder(books: Books, secret: str) -> Holder | None:
    """Tells whose key this is; None for none, and for a revoked one."""
    shape = _SHAPE.fullmatch(secret)
    if shape is None:
        return None
    row = books.connection.execute(select(_keys).where(_keys.c.id == shape[1])).first()
    if row is None or row.revoked is not None or not hmac.compare_digest(row.sha256, _digest(secret)):
        return None
    return Holder(key_id=row.id, name=row.name, delegation=row.delegation, scopes=frozenset(row.scopes.split()))


def note_use(authority: Authority, key_id: str, *, now: int) -> None:
    """Keep the day of the last use: one write a day and key."""
    with authority.store.reading() as books:
        used = books.connection.execute(select(_keys.c.used_on).where(_keys.c.id == key_id)).scalar()
    if used != now // DAY_S:
        with authority.writing(now) as books:
            books.connection.execute(_keys.update().where(_keys.c.id == key_id).values(used_on=now // DAY_S))


def listed(authority: Authority) -> Iterator[Mapping[str, Json]]:
    """Yields every key without its digest, the oldest first."""
    with authority.store.reading() as books:
        query = select(_keys, _delegations.c.name.label("reseller")).outerjoin(
            _delegations, _delegations.c.number == _keys.c.delegation
        )
        for row in books.connection.execute(query.order_by(_keys.c.created, _keys.c.id)).all():
            used = (
                None if row.used_on is None else datetime.fromtimestamp(row.used_on * DAY_S, tz=UTC).date().isoformat()
            )
            yield {
                "id": row.id,
                "name": row.name,
                "reseller": row.reseller,
                "scopes": row.scopes,
                "state": "active" if row.revoked is None else "revoked",
                "used_on": used,
            }


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii", "replace")).hexdigest()
