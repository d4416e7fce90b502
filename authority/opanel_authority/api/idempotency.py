"""Idempotency keys: the reply to a request that was sent before is the reply that it had.

A reply is kept for a day, per API key, with the digest of its request; the same key with another request is refused. The
change and its reply are one transaction, so that a crash in between can neither lose the reply nor make the change twice.
What is kept has no license key, no signed license and no secret in it: those are filled in from the license or the webhook
itself when they are asked for again. What was refused is not kept: it changed nothing, and may be tried again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends, Header, Request
from sqlalchemy import select
from starlette.responses import Response

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import DAY_S
from opanel_authority.api.access import Managed
from opanel_authority.books.repository import Books
from opanel_authority.books.tables import idempotent_replies as _replies
from opanel_authority.lifecycle import webhooks
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.handles import find_license

_KEPT_S: Final = DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a reply: JSON."""

    body: str


def canonical(model: Any) -> str:  # noqa: ANN401 - a pydantic model of either version
    """Returns the JSON of a body as it was understood: white space and order of members do not make another request."""
    return str(model.model_dump_json() if hasattr(model, "model_dump_json") else model.json())


def digest(*parts: str) -> str:
    """Returns the SHA-256 of a request's parts."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def find(books: Books, api_key: str, key: str | None, request: str, *, now: int) -> Kept | None:
    """Returns the reply that this request had. Raises Usage where another one had the same key."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks for a change, and under which idempotency key."""

    managed: Managed
    holder: Holder
    key: str | None
    request: str

    def once(self, body: Any, act: Callable[[], Any], *, status: int = 200) -> Response:  # noqa: ANN401 - pydantic's
        """Carries out a change, or gives the reply that it had; `act` returns a model of pydantic's, or None for no body."""
        now = self.managed.now()
        asked = digest(self.request, canonical(body))
        with self.managed.authority.writing(now) as books:
            before = find(books, self.holder.key_id, self.key, asked, now=now)
            if before is None:
                made = act()
                reply = {} if made is None else json.loads(canonical(made))
                keep(books, self.holder.key_id, self.key, asked, json.dumps(_without_secrets(reply)), now=now)
            else:
                reply = _with_secrets(books, json.loads(before.body))
        return Response(json.dumps(reply) if reply else b"", status_code=status, media_type="application/json")


def caller_of(managed: Managed, writer: Any) -> Any:  # noqa: ANN401 - FastAPI's marker of a dependency
    """Returns the dependency of every path that changes something."""

    def caller(
        request: Request,
        holder: Holder = writer,
        idempotency_key: str | None = Header(None, min_length=1, max_length=128),
    ) -> Caller:
        return Caller(
            managed=managed, holder=holder, key=idempotency_key, request=f"{request.method} {request.url.path}"
        )

    return Depends(caller)


def _without_secrets(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if name in {"bundle", "secret"} else value for name, value in reply.items()}


def _with_secrets(books: Books, kept: dict[str, Any]) -> dict[str, Any]:
    """Returns the reply with the license's bundle, or the webhook's secret, as it is now."""
    if "bundle" in kept:
        return {**kept, "bundle": find_license(books, kept["id"]).text}
    return {**kept, "secret": webhooks.secret_of(books, kept["id"])} if "secret" in kept else kept
