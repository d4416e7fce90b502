"""Webhooks: what happened to a license, told to its reseller's system; signed, and sent again until it was taken.

An event is written in the transaction that makes it happen, so none is lost and none is told that did not happen. `serve`
sends what is due (`webhook_sending`): JSON by POST, signed as Standard Webhooks 1.0 does (`webhook-id`, `webhook-timestamp`,
`webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body>`). Any 2xx takes it; else it is sent again after a
minute, then ever later, ten times in about three days. It may come twice: the id is the same. It has no license key in it.

A webhook is a reseller's and tells what happens to his licenses, or the vendor's and tells everything. What a reseller
made over HTTP lies in the public Internet (`webhook_post`); what the vendor typed on this machine may lie inside, and only
the vendor changes that.

Left out: order. Two events of one license may arrive the other way round; `at` tells.
"""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from enum import StrEnum, unique
from typing import Any, Final

from sqlalchemy import func, or_, select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire import endpoints
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind, LicenseRow
from opanel_authority.books.tables import delegations as _delegations
from opanel_authority.books.tables import deliveries as _deliveries
from opanel_authority.books.tables import webhooks as _webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.webhook_post import names_public

MAX_OWN: Final = 16  # of one reseller, or of the vendor: each is a row and a POST for every event
TEST: Final = "webhook.test"
_OVERLAP_S: Final = DAY_S
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - Standard Webhooks, "Signature scheme"


@unique
class Event(StrEnum):
    """Events that a webhook tells, by their `type` on the wire."""

    ISSUED = "license.issued"
    ACTIVATED = "license.activated"
    MOVED = "license.moved"
    SUSPENDED = "license.suspended"
    RESUMED = "license.resumed"
    REVOKED = "license.revoked"
    RENEWED = "license.renewed"
    CHANGED = "license.changed"
    RENEWAL_FAILED = "license.renewal_failed"
    SEATS_TAKEN = "license.seats_taken"


# acts of the change log that are told
OF_ACTS: Final[Mapping[str, Event]] = {
    "issue": Event.ISSUED,
    "suspend": Event.SUSPENDED,
    "resume": Event.RESUMED,
    "revoke": Event.REVOKED,
    "renew": Event.RENEWED,
    "change": Event.CHANGED,
    "transfer": Event.CHANGED,
}


def add(
    authority: Authority,
    url: str,
    *,
    reseller: str | None,
    events: tuple[Event, ...],
    now: int,
    who: ChangedBy,
    inside: bool = False,
) -> str:
    """Adds a webhook of a reseller, or of the vendor for all; returns its id.

    `inside`: the vendor typed it, on this machine.

    Raises Usage for an address that is neither https nor loopback, or (unless `inside`) not public; NotPermitted beyond
    MAX_OWN.
    """
    if not (endpoints.admissible(url) if inside else names_public(url)):
        raise Usage(Fault.USAGE, "url_not_public" if not inside else "url_inadmissible", url=url[:200])
    webhook_id = secrets.token_hex(16)
    with authority.writing(now) as books:
        row = None if reseller is None else books.delegation(name=reseller)
        if reseller is not None and row is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        number = None if row is None else row.number
        own = select(func.count()).select_from(_webhooks).where(_of(number))
        if int(books.connection.execute(own).scalar_one()) >= MAX_OWN:
            raise NotPermitted(Reason.NOT_PERMITTED, "webhooks_many", most=MAX_OWN)
        values = {"id": webhook_id, "delegation": number, "url": url, "secret": secrets.token_hex(32), "created": now}
        books.connection.execute(_webhooks.insert().values(**values, events=" ".join(events), inside=int(inside)))
        _log(books, "add_webhook", _row(books, webhook_id, None), now, who)
    return webhook_id


def _of(delegation: int | None) -> Any:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
    return _webhooks.c.delegation.is_(None) if delegation is None else _webhooks.c.delegation == delegation


def _log(books: Books, act: str, row: Any, now: int, who: ChangedBy) -> None:  # noqa: ANN401 - as above
    books.log_change(
        at=now,
        actor=who.actor,
        act=act,
        kind=Kind.WEBHOOK,
        subject=row.id,
        delegation=row.delegation,
        reason=who.reason,
    )


def _row(books: Books, webhook_id: str, delegation: int | None) -> Any:  # noqa: ANN401 - as above
    """Returns a webhook; where a reseller asks, only his own exist. Raises Usage."""
    row = books.connection.execute(select(_webhooks).where(_webhooks.c.id == webhook_id)).first()
    if row is None or delegation not in (None, row.delegation):
        raise Usage(Fault.USAGE, "id_unknown", id=webhook_id[:64])
    return row


def _changeable(books: Books, webhook_id: str, who: ChangedBy) -> Any:  # noqa: ANN401 - as above
    row = _row(books, webhook_id, who.delegation)
    if row.inside and who.delegation is not None:
        raise NotPermitted(Reason.NOT_PERMITTED, "vendor_only")
    return row


def remove(authority: Authority, webhook_id: str, *, now: int, who: ChangedBy) -> None:
    """Removes a webhook; what is still to be sent to it is forgotten.

    Raises Usage for an unknown one, NotPermitted for one of the vendor's.
    """
    with authority.writing(now) as books:
        row = _changeable(books, webhook_id, who)
        books.connection.execute(_deliveries.delete().where(_deliveries.c.webhook == webhook_id))
        books.connection.execute(_webhooks.delete().where(_webhooks.c.id == webhook_id))
        _log(books, "remove_webhook", row, now, who)


def rotate(authority: Authority, webhook_id: str, *, now: int, who: ChangedBy) -> int:
    """Give it another secret; until when events are signed with the one before, too: a day. Raises as `remove`."""
    with authority.writing(now) as books:
        row, until = _changeable(books, webhook_id, who), now + _OVERLAP_S
        values = {"secret": secrets.token_hex(32), "previous_secret": row.secret, "previous_until": until}
        books.connection.execute(_webhooks.update().where(_webhooks.c.id == webhook_id).values(**values))
        _log(books, "rotate_webhook", row, now, who)
    return until


def secret_of(books: Books, webhook_id: str) -> str:
    """Returns the secret as Standard Webhooks writes it: whsec_ and base64."""
    secret = books.connection.execute(select(_webhooks.c.secret).where(_webhooks.c.id == webhook_id)).scalar_one()
    return _SECRET_PREFIX + base64.b64encode(bytes.fromhex(secret)).decode()


def test(authority: Authority, webhook_id: str, *, now: int, who: ChangedBy) -> int:
    """Have an event sent that says nothing; the number of its delivery. Raises as `remove`."""
    with authority.writing(now) as books:
        _log(books, "test_webhook", _changeable(books, webhook_id, who), now, who)
        return _deliver(books, webhook_id, TEST, None, now=now, detail=None)


def listed(books: Books, *, delegation: int | None = None, webhook_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Yields every webhook without its secret, with how many events wait and how the last one ended.

    Of a reseller, or all.
    """
    query = select(_webhooks, _delegations.c.name).outerjoin(
        _delegations, _delegations.c.number == _webhooks.c.delegation
    )
    if delegation is not None:
        query = query.where(_of(delegation))
    if webhook_id is not None:
        query = query.where(_webhooks.c.id == _row(books, webhook_id, delegation).id)
    for row in books.connection.execute(query.order_by(_webhooks.c.created, _webhooks.c.id)).all():
        mine = _deliveries.c.webhook == row.id
        waiting = select(func.count()).select_from(_deliveries).where(mine, _deliveries.c.due.is_not(None))
        tried = select(_deliveries.c.outcome).where(mine, _deliveries.c.outcome.is_not(None))
        yield {
            "id": row.id,
            "url": row.url,
            "reseller": row.name,
            "events": row.events.split(),
            "created": row.created,
            "inside": bool(row.inside),
            "waiting": books.connection.execute(waiting).scalar_one(),
            "last": books.connection.execute(tried.order_by(_deliveries.c.number.desc()).limit(1)).scalar(),
        }


def deliveries(
    books: Books, webhook_id: str, *, delegation: int | None = None, before: int | None = None, limit: int = 100
) -> Iterator[dict[str, Any]]:
    """Yields what was and is to be sent to a webhook, the newest first, for as long as it is kept. Raises Usage."""
    query = select(_deliveries).where(_deliveries.c.webhook == _row(books, webhook_id, delegation).id)
    if before is not None:
        query = query.where(_deliveries.c.number < before)
    for row in books.connection.execute(query.order_by(_deliveries.c.number.desc()).limit(limit)).all():
        event = json.loads(row.body)
        taken = (row.outcome or "").startswith("2")
        yield {
            "number": row.number,
            "event": event["id"],
            "type": event["type"],
            "at": event["at"],
            "license_id": None if event["license"] is None else event["license"]["id"],
            "state": "waiting" if row.due is not None else "delivered" if taken else "given_up",
            "tries": row.tries,
            "last": row.outcome,
            "next_at": row.due,
        }


def emit(books: Books, event: Event, row: LicenseRow, *, now: int, detail: str | None = None) -> None:
    """Have an event sent to whoever asked for it."""
    theirs = or_(_webhooks.c.delegation.is_(None), _webhooks.c.delegation == row.delegation)
    license_: Json = {"id": row.id, "order_id": row.order_id, "key_digits": row.key_sha256[:8]}
    for hook in books.connection.execute(select(_webhooks.c.id, _webhooks.c.events).where(theirs)).all():
        if event in hook.events.split():
            _deliver(books, hook.id, event, license_, now=now, detail=detail)


def _deliver(books: Books, webhook_id: str, event: str, license_: Json, *, now: int, detail: str | None) -> int:
    body = {"id": secrets.token_hex(16), "type": str(event), "at": now, "license": license_, "detail": detail}
    values = {"webhook": webhook_id, "body": json.dumps(body, separators=(",", ":")), "due": now, "tries": 0}
    books.connection.execute(_deliveries.insert().values(**values))
    return int(books.connection.execute(select(func.max(_deliveries.c.number))).scalar_one())
