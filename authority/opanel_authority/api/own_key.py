"""The management API's two steps for resellers who keep their key themselves."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import NotPermitted
from opanel_authority.api.access import Managed
from opanel_authority.api.access import who as who_asks
from opanel_authority.books.rows import DelegationRow
from opanel_authority.lifecycle import own_key
from opanel_authority.lifecycle.api_keys import Holder


class Reserve(BaseModel, extra="forbid"):
    """The reseller's own id of the sale."""

    order_id: str | None = Field(None, min_length=1, max_length=128)


class Reservation(BaseModel):
    """What the license has to say; `chain` is the delegation that it is under."""

    id: str
    slot: int
    status: dict[str, Any]
    chain: str
    good_until: int


class SignedLicense(BaseModel, extra="forbid"):
    """One compact JWS of the type `opanel-license+jwt`."""

    line: str = Field(max_length=65_536)
    renews: bool = True


class Stored(BaseModel):
    id: str
    bundle: str


def add_own_key(app: FastAPI, managed: Managed, writer: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    """Reserve, and store what was signed."""

    @app.post("/reservations", status_code=201, response_model=Reservation, operation_id="reserveLicense")
    def reserve(asked: Reserve, holder: Holder = writer) -> Mapping[str, Any]:
        """An id, a slot and a status entry for a license that the reseller signs within a day."""
        return own_key.reserve(managed.authority, _seller(managed, holder), order_id=asked.order_id, now=managed.now())

    @app.post("/signed-licenses", status_code=201, response_model=Stored, operation_id="storeSignedLicense")
    def store(signed: SignedLicense, holder: Holder = writer) -> Mapping[str, Any]:
        """Store a license that was reserved, or a newer edition of one; machines that ask are given it."""
        made = own_key.store(
            managed.authority,
            _seller(managed, holder),
            signed.line,
            renews=signed.renews,
            now=managed.now(),
            who=who_asks(holder),
        )
        return {"id": made.jti, "bundle": made.text}


def _seller(managed: Managed, holder: Holder) -> DelegationRow:
    with managed.authority.store.reading() as books:
        row = None if holder.delegation is None else books.delegation(number=holder.delegation)
    if row is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "reseller_only")
    return row
