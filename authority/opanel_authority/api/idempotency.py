"""Idempotency keys: the reply to a request that was sent before is the reply that it had.

A reply is kept for a day, per API key, with the digest of its request; the same key with another request is refused. What is
kept of a sale has no license key in it: that is filled in from the license itself when it is asked for again.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import DAY_S
from opanel_authority.books.repository import Books
from opanel_authority.books.tables import idempotent_replies as _replies

_KEPT_S: Final = DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a reply: JSON."""

    body: str


def canonical(model: Any) -> str:  # noqa: ANN401 - a pydantic model of either version
    """The JSON of a body as it was understood: white space and order of members do not make another request."""
    return str(model.model_dump_json() if hasattr(model, "model_dump_json") else model.json())


def digest(*parts: str) -> str:
    """SHA-256 of a request's parts."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def find(books: Books, api_key: str, key: str | None, request: str, *, now: int) -> Kept | None:
    """The reply that this request had. Raises Usage where another one had the same key."""
    if key is None:
        return None
    mine = (_replies.c.api_key == api_key) & (_replies.c.idempotency_key == key) & (_replies.c.at > now - _KEPT_S)
    row = books.connection.execute(select(_replies).where(mine)).first()
    if row is None:
        return None
    if row.request_sha256 != request:
        raise Usage(Fault.USAGE, "idempotency_key_used")
    return Kept(body=str(row.body))


def keep(books: Books, api_key: str, key: str | None, request: str, reply: str, *, now: int) -> None:
    """Keep what is needed to reply again, and forget those that are older than a day."""
    books.connection.execute(_replies.delete().where(_replies.c.at <= now - _KEPT_S))
    if key is not None:
        values = {"api_key": api_key, "idempotency_key": key, "request_sha256": request, "at": now}
        books.connection.execute(_replies.insert().values(**values, body=reply))
