"""The management API's changes of licenses."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import NotPermitted
from opanel_authority.api.access import Managed
from opanel_authority.api.access import who as who_asks
from opanel_authority.api.idempotency import Caller
from opanel_authority.api.models import EditionBody, LicenseDetail, Renewal, Terms, Transfer, Why
from opanel_authority.documents import issue
from opanel_authority.lifecycle import changes, listing
from opanel_authority.lifecycle.api_keys import Holder
from opanel_authority.lifecycle.changes import Change, NewTerms
from opanel_authority.lifecycle.handles import find_license


def add_status_changes(app: FastAPI, managed: Managed, caller_: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    """Adds the routes to suspend, resume, revoke, and what concerns seats."""

    @app.post("/licenses/{handle}/suspend", response_model=LicenseDetail, operation_id="suspendLicense")
    def suspend(handle: str, why: Why, caller: Caller = caller_) -> Response:
        """Suspend: machines learn it from the status list within a day, and may run but change nothing."""
        return caller.once(why, lambda: status(Change.SUSPEND, handle, why, caller.holder))

    @app.post("/licenses/{handle}/resume", response_model=LicenseDetail, operation_id="resumeLicense")
    def resume(handle: str, why: Why, caller: Caller = caller_) -> Response:
        """Take a suspension or a revocation back."""
        return caller.once(why, lambda: status(Change.RESUME, handle, why, caller.holder))

    @app.post("/licenses/{handle}/revoke", response_model=LicenseDetail, operation_id="revokeLicense")
    def revoke(handle: str, why: Why, caller: Caller = caller_) -> Response:
        """End a license; its slot is free for another."""
        return caller.once(why, lambda: status(Change.REVOKE, handle, why, caller.holder))

    def status(what: Change, handle: str, why: Why, holder: Holder) -> LicenseDetail:
        with managed.authority.store.reading() as books:
            row = find_license(books, handle, delegation=holder.delegation)
        changes.change(managed.authority, what, row.id, now=managed.now(), who=who_asks(holder, why.reason))
        return _changed(managed, row.id, holder)

    @app.post("/licenses/{handle}/lift-move-limit", response_model=LicenseDetail, operation_id="liftMoveLimit")
    def lift(handle: str, why: Why, caller: Caller = caller_) -> Response:
        """Moves until now do not count toward the three in 30 days."""
        who = who_asks(caller.holder, why.reason)

        def act() -> LicenseDetail:
            row = changes.lift_move_limit(managed.authority, handle, now=managed.now(), who=who)
            return _changed(managed, row.id, caller.holder)

        return caller.once(why, act)

    @app.post("/activations/{activation_id}/supersede", status_code=204, operation_id="supersedeActivation")
    def supersede(activation_id: str, why: Why, caller: Caller = caller_) -> Response:
        """Free a seat: the machine that held it counts 72 hours of grace."""
        who = who_asks(caller.holder, why.reason)

        def act() -> None:
            changes.change(managed.authority, Change.SUPERSEDE, activation_id, now=managed.now(), who=who)

        return caller.once(why, act, status=204)


def add_term_changes(app: FastAPI, managed: Managed, caller_: Any) -> None:  # noqa: ANN401 - FastAPI's marker
    """Adds the routes for terms, renewals and transfers."""

    @app.patch("/licenses/{handle}", response_model=LicenseDetail, operation_id="changeLicense")
    def change_terms(handle: str, terms: Terms, caller: Caller = caller_) -> Response:
        """Change tier, features, limits, seats, the term, or whether it renews by itself."""
        return caller.once(terms, lambda: _change_terms(managed, handle, terms, caller.holder))

    @app.post("/licenses/{handle}/renew", response_model=EditionBody, operation_id="renewLicense")
    def renew(handle: str, renewal: Renewal, caller: Caller = caller_) -> Response:
        """A newer edition now; machines that ask are given it."""
        return caller.once(renewal, lambda: _renew(managed, handle, renewal, caller.holder))

    @app.post("/licenses/{handle}/transfer", response_model=EditionBody, operation_id="transferLicense")
    def transfer(handle: str, to: Transfer, caller: Caller = caller_) -> Response:
        """Give a license to another reseller; with the vendor's key only."""
        if caller.holder.delegation is not None:
            raise NotPermitted(Reason.NOT_PERMITTED, "vendor_only")
        who = who_asks(caller.holder, to.reason)

        def act() -> EditionBody:
            made = changes.transfer(managed.authority, handle, to.reseller, now=managed.now(), who=who)
            return EditionBody(id=made.jti, bundle=made.text)

        return caller.once(to, act)


def _change_terms(managed: Managed, handle: str, terms: Terms, holder: Holder) -> LicenseDetail:
    who = who_asks(holder, terms.reason)
    with managed.authority.store.reading() as books:
        row = find_license(books, handle, delegation=holder.delegation)
    wanted = NewTerms(
        tier=terms.tier,
        features=None if terms.features is None else tuple(terms.features),
        limits=terms.limits,
        seats=terms.seats,
        days=terms.days,
    )
    if wanted != NewTerms():
        changes.change_terms(managed.authority, row.id, wanted, now=managed.now(), who=who)
    if terms.renews is not None:
        changes.set_renewal(managed.authority, row.id, renews=terms.renews, now=managed.now(), who=who)
    if terms.networks is not None:
        changes.set_networks(managed.authority, row.id, terms.networks, now=managed.now(), who=who)
    return _changed(managed, row.id, holder)


def _renew(managed: Managed, handle: str, renewal: Renewal, holder: Holder) -> EditionBody:
    with managed.authority.store.reading() as books:
        row = find_license(books, handle, delegation=holder.delegation)
    who = who_asks(holder, renewal.reason)
    made = issue.renew(
        managed.authority,
        row.id,
        days=renewal.days,
        extend=renewal.extend,
        now=managed.now(),
        actor=who.actor,
        reason=who.reason,
    )
    return EditionBody(id=made.jti, bundle=made.text)


def _changed(managed: Managed, license_id: str, holder: Holder) -> LicenseDetail:
    """Returns the license after the change; one that was given away is told to the vendor alone."""
    with managed.authority.store.reading() as books:
        row = find_license(books, license_id, delegation=holder.delegation)
        detail: Mapping[str, Any] = listing.detail(books, row, now=managed.now())
        return LicenseDetail(**detail)
