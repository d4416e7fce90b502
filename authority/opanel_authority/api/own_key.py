"""The management API's two steps for resellers who keep their key themselves."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.responses import Response

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import NotPermitted
from opanel_authority.api.access import Managed
from opanel_authority.api.access import who as who_asks
from opanel_authority.api.idempotency import Caller
from opanel_authority.books.rows import DelegationRow
from opanel_authority.lifecycle import own_key
from opanel_authority.lifecycle.api_keys import Holder


class Reserve(BaseModel, extra="forbid"):
    """The reseller's own id of the sale."""

    order_id: str | None = Field(None, min_length=1, max_length=128)


class StatusEntry(BaseModel):
    """An index into the status list at `uri` (Token Status List)."""

    idx: int
    uri: str


class StatusReference(BaseModel):
    """Where the license's status stands (Token Status List)."""

    status_list: StatusEntry


class Reservation(BaseModel):
    """What the license has to say; `chain` is the delegation that it is under."""

    id: str
    slot: int
    status: StatusReference
    chain: str
    good_until: int


class SignedLicense(BaseModel, extra="forbid"):
    """One compact JWS of the type `opanel-license+jwt`."""

    line: str = Field(max_length=65_536)
    renews: bool = True
    reason: str | None = Field(None, max_length=500, description="Why, for the change log")


class Stored(BaseModel):
    """A license that the service took, as `opanel-agent license install` takes it."""

    id: str
    bundle: str


def add_own_key(app: FastAPI, managed: Managed, caller_: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    """Reserve, and store what was signed."""

    @app.post("/reservations", status_code=201, response_model=Reservation, operation_id="reserveLicense")
    def reserve(asked: Reserve, caller: Caller = caller_) -> Response:
        """An id, a slot and a status entry for a license that the reseller signs within a day."""
        row = _seller(managed, caller.holder)

        def act() -> Reservation:
            made: Mapping[str, Any] = own_key.reserve(
                managed.authority, row, order_id=asked.order_id, now=managed.now()
            )
            return Reservation(**made)

        return caller.once(asked, act, status=201)

    @app.post("/signed-licenses", status_code=201, response_model=Stored, operation_id="storeSignedLicense")
    def store(signed: SignedLicense, caller: Caller = caller_) -> Response:
        """Store a license that was reserved, or a newer edition of one; machines that ask are given it."""
        row, who = _seller(managed, caller.holder), who_asks(caller.holder, signed.reason)

        def act() -> Stored:
            made = own_key.store(managed.authority, row, signed.line, renews=signed.renews, now=managed.now(), who=who)
            return Stored(id=made.jti, bundle=made.text)

        return caller.once(signed, act, status=201)


def _seller(managed: Managed, holder: Holder) -> DelegationRow:
    with managed.authority.store.reading() as books:
        row = None if holder.delegation is None else books.delegation(number=holder.delegation)
    if row is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "reseller_only")
    return row
