"""The management API: what a reseller's billing system and the vendor's own do with licenses over HTTP.

Who asks is told by an API key (`Authorization: Bearer opk_…`). A reseller's reaches what is his and nothing else; what is
another's does not exist for him. A POST or PATCH may carry an `Idempotency-Key`: sent again within a day, it has the same
reply, and sent with another body it is refused.

The paths are written with pydantic's models and validated by FastAPI (docs/adr); what is refused is RFC 9457.
"""

import json
from typing import Any, Final

from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Usage
from opanel_agent.core.problems import MEDIA_TYPE
from opanel_authority.api import idempotency
from opanel_authority.api.access import Managed, NoKey, named_seller, requires
from opanel_authority.api.access import who as who_asks
from opanel_authority.api.license_changes import add_status_changes, add_term_changes
from opanel_authority.api.license_reading import add_reading
from opanel_authority.api.limits import Limiter
from opanel_authority.api.models import (
    Order,
    ProblemBody,
    Sold,
)
from opanel_authority.api.own_key import add_own_key
from opanel_authority.api.problems import of_error, problem
from opanel_authority.api.webhooks import add_webhooks
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow
from opanel_authority.documents import issue
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.lifecycle import listing
from opanel_authority.lifecycle.api_keys import HOOKS_READ, HOOKS_WRITE, READ, WRITE, Holder
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.messages import sentence

PREFIX: Final = "/api/v1"
JSON: Final = "application/json"
_UNKNOWN_KEYS_BURST: Final = 120
_FIRST_PROBLEM: Final = 400
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ProblemBody, "description": text}
    for status, text in (
        (401, "No API key, or none that opens anything"),
        (403, "Not with this key, or not in this state"),
        (404, "No such license of this reseller"),
        (409, "Refused in this state"),
        (422, "The request is not as described, or wider than the delegation"),
        (429, "Too many wrong API keys"),
        (503, "Try again later"),
    )
}


def application(managed: Managed) -> FastAPI:
    """Returns the ASGI application, to be mounted at `PREFIX`."""
    app = FastAPI(
        title="OPanel authority: management API",
        version="1",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        servers=[{"url": PREFIX}],
        responses=_PROBLEMS,
        dependencies=[Depends(_require_object)],
    )
    app.router.redirect_slashes = False
    _describe_problems(app)
    _add_errors(app, managed)
    reader, writer = requires(managed, READ), requires(managed, WRITE)
    caller = idempotency.caller_of(managed, writer)
    _add_sales(app, managed, writer)
    add_own_key(app, managed, caller)
    add_reading(app, managed, reader)
    add_status_changes(app, managed, caller)
    add_term_changes(app, managed, caller)
    hooks_writer = idempotency.caller_of(managed, requires(managed, HOOKS_WRITE))
    add_webhooks(app, managed, requires(managed, HOOKS_READ), hooks_writer)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Have the OpenAPI document name the media type that problems have: FastAPI knows one for every reply."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status, response in operation["responses"].items():
                    if int(status) >= _FIRST_PROBLEM and JSON in response["content"]:
                        response["content"] = {MEDIA_TYPE: response["content"][JSON]}
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way (docs: Extending OpenAPI)


async def _require_object(request: Request) -> None:
    """Raises Usage for a body that is no JSON object: pydantic 1 takes an empty list for an object with nothing in it."""
    body = (await request.body()).lstrip()
    if body and not body.startswith(b"{"):
        raise Usage(Fault.USAGE, "request_invalid", fields="body")


def limiter() -> Limiter:
    """Returns a bucket for wrong API keys, of all senders together."""
    return Limiter(burst=_UNKNOWN_KEYS_BURST, refill_s=1, detail="too_many")


def _add_errors(app: FastAPI, managed: Managed) -> None:
    async def refused(_request: Request, error: Exception) -> Response:
        if isinstance(error, Misconfigured | Storage) or not isinstance(error, AgentError):
            managed.log(f"error {error}")
        return of_error(error) if isinstance(error, AgentError) else problem("unavailable", 503, "unavailable_here")

    async def no_key(_request: Request, _error: Exception) -> Response:
        reply = problem("unauthorized", 401, "api_key_missing", hint=True)
        reply.headers["WWW-Authenticate"] = "Bearer"
        return reply

    async def invalid(_request: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        fields = sorted({".".join(str(part) for part in each["loc"][1:]) or "body" for each in found})
        return problem("request_refused", 422, "request_invalid", {"fields": ", ".join(fields[:16])}, hint=True)

    async def elsewhere(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        return problem("request_refused", status, "no_such_request", hint=True)

    app.add_exception_handler(AgentError, refused)
    app.add_exception_handler(NoKey, no_key)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, elsewhere)


# ---- sales


def _add_sales(app: FastAPI, managed: Managed, writer: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    again: dict[int | str, dict[str, Any]] = {200: {"model": Sold, "description": "The order was issued before"}}

    @app.post("/licenses", status_code=201, response_model=Sold, responses=again, operation_id="issueLicense")
    def issue_license(
        order: Order,
        holder: Holder = writer,
        idempotency_key: str | None = Header(None, min_length=1, max_length=128),
    ) -> Response:
        """Issue a license. An order that was issued before has its license again, with 200."""
        now = managed.now()
        asked = idempotency.digest("POST", "/licenses", idempotency.canonical(order))
        with managed.authority.writing(now) as books:
            before = idempotency.find(books, holder.key_id, idempotency_key, asked, now=now)
            if before is not None:
                return _sold_before(books, json.loads(before.body))
            row = _seller(books, holder, order.reseller)
            who = who_asks(holder, order.reason)
            terms = _terms(order)
            made = issue.sell_once(managed.authority, books, row, terms, now=now, actor=who.actor, reason=who.reason)
            record: dict[str, Any] = {
                "status": 200 if made.again else 201,
                "id": made.jti,
                "issued_before": made.again,
                "warnings": [sentence(each, {}) for each in made.warnings],
            }
            idempotency.keep(books, holder.key_id, idempotency_key, asked, json.dumps(record), now=now)
            return _sold_before(books, record)


def _sold_before(books: Books, kept: dict[str, Any]) -> Response:
    """Returns the reply to a sale: what is kept of it, with key and bundle from the license itself."""
    row = find_license(books, kept["id"])
    whole = {"license_key": listing.claims_of(row)["sub"], "bundle": row.text}
    body = {name: value for name, value in kept.items() if name != "status"} | whole
    return Response(dumps(body), status_code=kept["status"], media_type=JSON)


def _seller(books: Books, holder: Holder, named: str | None) -> DelegationRow:
    """Tells whose license it becomes: the reseller's own, or the one that the vendor names."""
    row = named_seller(books, holder, named)
    if row is None:
        raise Usage(Fault.USAGE, "reseller_missing")
    return row


def _terms(order: Order) -> LicenseTerms:
    return LicenseTerms(
        features=None if order.features is None else tuple(order.features),
        limits=order.limits,
        tier=order.tier,
        days=order.days,
        grace_days=order.grace_days,
        stale_days=order.stale_days,
        activation=order.activation,
        within_days=order.within_days,
        min_p=order.min_p,
        seats=order.seats,
        renews=order.renews,
        order_id=order.order_id,
        networks=tuple(order.networks),
    )
