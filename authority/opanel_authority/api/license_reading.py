"""The management API's look-ups."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Query

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.api.access import Managed
from opanel_authority.api.models import ChangeRow, Changes, EditionBody, LicenseDetail, Licenses
from opanel_authority.books.tables import MAX_NUMBER
from opanel_authority.lifecycle import listing
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.lifecycle.listing import Filter, LicenseState


def add_reading(app: FastAPI, managed: Managed, reader: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    """Lists, one license, its bundle, the change log."""
    _add_list(app, managed, reader)
    _add_license(app, managed, reader)
    _add_changes(app, managed, reader)


def _add_list(app: FastAPI, managed: Managed, reader: Any) -> None:  # noqa: ANN401 - as above
    @app.get("/licenses", response_model=Licenses, operation_id="listLicenses")
    def list_licenses(  # noqa: PLR0917 - a filter each
        holder: Holder = reader,
        reseller: str | None = None,
        state: LicenseState | None = None,
        order_id: str | None = None,
        created_from: int | None = Query(None, ge=0, le=MAX_NUMBER),
        created_to: int | None = Query(None, ge=0, le=MAX_NUMBER),
        ends_from: int | None = Query(None, ge=0, le=MAX_NUMBER),
        ends_to: int | None = Query(None, ge=0, le=MAX_NUMBER),
        cursor: str | None = None,
        limit: int = Query(100, ge=1, le=listing.MAX_PAGE),
    ) -> Mapping[str, Any]:
        """Licenses, a page at a time: pass `next_cursor` as `cursor` for the next one. `reseller` is for the vendor."""
        wanted = Filter(
            delegation=_delegation(managed, holder, reseller),
            state=state,
            order_id=order_id,
            created_from=created_from,
            created_to=created_to,
            ends_from=ends_from,
            ends_to=ends_to,
        )
        with managed.authority.store.reading() as books:
            found = listing.page(books, wanted, now=managed.now(), cursor=cursor, limit=limit)
        return {"items": [*found.items], "next_cursor": found.next_cursor}


def _add_license(app: FastAPI, managed: Managed, reader: Any) -> None:  # noqa: ANN401 - as above
    @app.get("/licenses/{handle}", response_model=LicenseDetail, operation_id="showLicense")
    def show_license(handle: str, holder: Holder = reader) -> Mapping[str, Any]:
        """One license, by its id, its key, the key's eight hex digits or SHA-256, or the order id."""
        with managed.authority.store.reading() as books:
            row = find_license(books, handle, delegation=holder.delegation)
            return listing.detail(books, row, now=managed.now())

    @app.get("/licenses/{handle}/bundle", response_model=EditionBody, operation_id="licenseBundle")
    def bundle(handle: str, holder: Holder = reader) -> Mapping[str, Any]:
        """The newest edition, as a file for a server that is offline."""
        with managed.authority.store.reading() as books:
            row = find_license(books, handle, delegation=holder.delegation)
            return {"id": str(listing.claims_of(row)["jti"]), "bundle": row.text}


def _add_changes(app: FastAPI, managed: Managed, reader: Any) -> None:  # noqa: ANN401 - as above
    @app.get("/changes", response_model=Changes, operation_id="listChanges")
    def list_changes(
        holder: Holder = reader,
        license_id: str | None = None,
        before: int | None = Query(None, ge=0, le=MAX_NUMBER),
        limit: int = Query(100, ge=1, le=listing.MAX_PAGE),
    ) -> Mapping[str, Any]:
        """Who changed what, when and why, the newest first: pass `next_before` as `before` for the next page."""
        with managed.authority.store.reading() as books:
            found = [*books.changes(subject=license_id, delegation=holder.delegation, before=before, limit=limit + 1)]
        names = _names(ChangeRow)
        items = [{name: row[name] for name in names} for row in found[:limit]]
        return {"items": items, "next_before": items[-1]["number"] if len(found) > limit else None}


def _delegation(managed: Managed, holder: Holder, named: str | None) -> int | None:
    """Tells whose licenses are listed: the reseller's own, those of him whom the vendor names, or everybody's."""
    if named is None:
        return holder.delegation
    with managed.authority.store.reading() as books:
        row = books.delegation(name=named)
    if holder.delegation is not None and (row is None or row.number != holder.delegation):
        raise NotPermitted(Reason.NOT_PERMITTED, "reseller_elsewhere")
    if row is None:
        raise Usage(Fault.USAGE, "reseller_unknown", name=named[:128])
    return row.number


def _names(model: type[Any]) -> list[str]:
    """Returns the fields of a model, in pydantic 1 and 2."""
    return [*(getattr(model, "model_fields", None) or model.__fields__)]
