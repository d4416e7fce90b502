"""The management API's webhooks: a reseller's own, and for the vendor's key everybody's."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from opanel_authority.api.access import Managed, named_seller
from opanel_authority.api.access import who as who_asks
from opanel_authority.api.idempotency import Caller
from opanel_authority.api.models import Why
from opanel_authority.books.tables import MAX_NUMBER
from opanel_authority.lifecycle import listing, webhooks
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.webhooks import Event


class NewWebhook(BaseModel, extra="forbid"):
    """Where events are told, and which."""

    url: str = Field(max_length=255, description="https, of an address that everybody reaches")
    events: list[Event] | None = Field(None, description="All of them where it is null")
    reseller: str | None = Field(
        None, description="For the vendor's keys: only of his licenses; of all where it is null"
    )
    reason: str | None = Field(None, max_length=500)


class WebhookBody(BaseModel):
    """`waiting` counts events that are still to be sent; `last` is how the last try ended: a status, or what went wrong."""

    id: str
    url: str
    reseller: str | None = None
    events: list[str]
    created: int
    inside: bool = Field(description="Named by the vendor himself, who alone changes it")
    waiting: int
    last: str | None = None


class MadeWebhook(WebhookBody):
    """A webhook right after it was made, with its secret."""

    secret: str = Field(description="Standard Webhooks: whsec_ and base64; shown once")


class WebhookList(BaseModel):
    """Every webhook that the key may see, on one page."""

    items: list[WebhookBody]


class RotatedSecret(BaseModel):
    """Until `previous_until` events are signed with the secret before, too."""

    id: str
    secret: str
    previous_until: int


class Queued(BaseModel):
    """The number of the delivery, which is tried within seconds."""

    id: str
    delivery: int


class DeliveryBody(BaseModel):
    """`next_at` is when it is tried next; null once it was delivered or given up."""

    number: int
    event: str
    type: str
    at: int
    license_id: str | None = None
    state: str = Field(description="waiting, delivered or given_up")
    tries: int
    last: str | None = None
    next_at: int | None = None


class DeliveryList(BaseModel):
    """The newest first; `next_before` is null on the last page."""

    items: list[DeliveryBody]
    next_before: int | None = None


def add_webhooks(app: FastAPI, managed: Managed, reader: Any, caller_: Any) -> None:  # noqa: ANN401 - FastAPI's markers
    """Adds the routes for webhooks: look-ups and changes."""
    _add_reading(app, managed, reader)

    @app.post("/webhooks", status_code=201, response_model=MadeWebhook, operation_id="addWebhook")
    def add(asked: NewWebhook, caller: Caller = caller_) -> Response:
        """Have events told to a URL. The secret that they are signed with is in this reply and in no other."""
        return caller.once(asked, lambda: _add(managed, asked, caller.holder), status=201)

    @app.post("/webhooks/{webhook_id}/test", status_code=202, response_model=Queued, operation_id="testWebhook")
    def test(webhook_id: str, why: Why, caller: Caller = caller_) -> Response:
        """Have an event of the type webhook.test sent."""
        who = who_asks(caller.holder, why.reason)

        def act() -> Queued:
            managed.webhook_tests.take(webhook_id, managed.elapsed())
            return Queued(
                id=webhook_id, delivery=webhooks.test(managed.authority, webhook_id, now=managed.now(), who=who)
            )

        return caller.once(why, act, status=202)

    @app.post("/webhooks/{webhook_id}/rotate-secret", response_model=RotatedSecret, operation_id="rotateWebhookSecret")
    def rotate(webhook_id: str, why: Why, caller: Caller = caller_) -> Response:
        """Another secret; for a day events are signed with both."""
        who = who_asks(caller.holder, why.reason)

        def act() -> RotatedSecret:
            now = managed.now()
            with managed.authority.writing(now) as books:
                until = webhooks.rotate(managed.authority, webhook_id, now=now, who=who)
                return RotatedSecret(id=webhook_id, secret=webhooks.secret_of(books, webhook_id), previous_until=until)

        return caller.once(why, act)

    @app.delete("/webhooks/{webhook_id}", status_code=204, operation_id="removeWebhook")
    def remove(webhook_id: str, caller: Caller = caller_, reason: str | None = Query(None, max_length=500)) -> Response:
        """End a webhook; what still waits for it is forgotten."""
        who = who_asks(caller.holder, reason)

        def act() -> None:
            webhooks.remove(managed.authority, webhook_id, now=managed.now(), who=who)

        return caller.once(Why(reason=reason), act, status=204)


def _add(managed: Managed, asked: NewWebhook, holder: Holder) -> MadeWebhook:
    now, who = managed.now(), who_asks(holder, asked.reason)
    with managed.authority.writing(now) as books:
        seller = named_seller(books, holder, asked.reseller)
        webhook_id = webhooks.add(
            managed.authority,
            asked.url,
            reseller=None if seller is None else seller.name,
            events=tuple(Event if asked.events is None else asked.events),
            now=now,
            who=who,
        )
        (made,) = webhooks.listed(books, webhook_id=webhook_id)
        whole: Mapping[str, Any] = made
        return MadeWebhook(**whole, secret=webhooks.secret_of(books, webhook_id))


def _add_reading(app: FastAPI, managed: Managed, reader: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    @app.get("/webhooks", response_model=WebhookList, operation_id="listWebhooks")
    def list_webhooks(holder: Holder = reader) -> Mapping[str, Any]:
        """Every webhook of the reseller; with the vendor's key everybody's."""
        with managed.authority.store.reading() as books:
            return {"items": [*webhooks.listed(books, delegation=holder.delegation)]}

    @app.get("/webhooks/{webhook_id}", response_model=WebhookBody, operation_id="showWebhook")
    def show(webhook_id: str, holder: Holder = reader) -> Mapping[str, Any]:
        """One webhook, without its secret."""
        with managed.authority.store.reading() as books:
            (found,) = webhooks.listed(books, delegation=holder.delegation, webhook_id=webhook_id)
        return found

    @app.get("/webhooks/{webhook_id}/deliveries", response_model=DeliveryList, operation_id="listDeliveries")
    def list_deliveries(
        webhook_id: str,
        holder: Holder = reader,
        before: int | None = Query(None, ge=0, le=MAX_NUMBER),
        limit: int = Query(100, ge=1, le=listing.MAX_PAGE),
    ) -> Mapping[str, Any]:
        """What was and is to be sent, the newest first: pass `next_before` as `before` for the next page."""
        with managed.authority.store.reading() as books:
            found = [
                *webhooks.deliveries(books, webhook_id, delegation=holder.delegation, before=before, limit=limit + 1)
            ]
        items = found[:limit]
        return {"items": items, "next_before": items[-1]["number"] if len(found) > limit else None}
