"""Webhooks: what happened to a license, told to its reseller's system; signed, and sent again until it was taken.

An event is written in the transaction that makes it happen, so none is lost and none is told that did not happen. `serve`
sends what is due: JSON by POST, signed as Standard Webhooks 1.0 does (`webhook-id`, `webhook-timestamp`, `webhook-signature:
v1,<base64 of HMAC-SHA256 over id.timestamp.body>`). Any 2xx takes it; else it is sent again after a minute, then ever later,
ten times in about three days. It may come twice: the id is the same. It never has a license key in it.

Left out: order. Two events of one license may arrive the other way round; `at` tells.
"""

import base64
import hashlib
import hmac
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from sqlalchemy import or_, select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.wire import endpoints
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind, LicenseRow
from opanel_authority.books.tables import deliveries as _deliveries
from opanel_authority.books.tables import webhooks as _webhooks

TRIES: Final = 10
_FIRST_S: Final = 60
_SEND_S: Final = 10
_AT_ONCE: Final = 20


@unique
class Event(StrEnum):
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
    authority: Authority, url: str, *, reseller: str | None, events: tuple[Event, ...], now: int, actor: str
) -> Mapping[str, Json]:
    """A webhook of a reseller, or of the vendor for all; its secret is shown once. Raises Usage for http off loopback."""
    if not endpoints.admissible(url):
        raise Usage(Fault.USAGE, "url_inadmissible", url=url[:200])
    secret, webhook_id = secrets.token_bytes(32), secrets.token_hex(16)
    with authority.writing(now) as books:
        row = None if reseller is None else books.delegation(name=reseller)
        if reseller is not None and row is None:
            raise Usage(Fault.USAGE, "reseller_unknown", name=reseller)
        number = None if row is None else row.number
        values = {"id": webhook_id, "delegation": number, "url": url, "secret": secret.hex(), "created": now}
        books.connection.execute(_webhooks.insert().values(**values, events=" ".join(events)))
        books.log_change(
            at=now, actor=actor, act="add_webhook", kind=Kind.WEBHOOK, subject=webhook_id, delegation=number
        )
    return {"id": webhook_id, "url": url, "secret": "whsec_" + base64.b64encode(secret).decode()}


def remove(authority: Authority, webhook_id: str, *, now: int, actor: str) -> None:
    """What is still to be sent to it is forgotten. Raises Usage for an unknown one."""
    with authority.writing(now) as books:
        books.connection.execute(_deliveries.delete().where(_deliveries.c.webhook == webhook_id))
        if not books.connection.execute(_webhooks.delete().where(_webhooks.c.id == webhook_id)).rowcount:
            raise Usage(Fault.USAGE, "id_unknown", id=webhook_id[:64])
        books.log_change(
            at=now, actor=actor, act="remove_webhook", kind=Kind.WEBHOOK, subject=webhook_id, delegation=None
        )


def listed(authority: Authority) -> Iterator[Mapping[str, Json]]:
    """Every webhook without its secret, with how many events wait and how the last one ended."""
    with authority.store.reading() as books:
        for row in books.connection.execute(select(_webhooks).order_by(_webhooks.c.created)).all():
            mine = select(_deliveries).where(_deliveries.c.webhook == row.id).order_by(_deliveries.c.number.desc())
            sent = books.connection.execute(mine.limit(1000)).all()
            waiting = sum(each.due is not None for each in sent)
            last = next((each.outcome for each in sent if each.outcome), None)
            yield {"id": row.id, "url": row.url, "events": row.events, "waiting": waiting, "last": last}


def emit(books: Books, event: Event, row: LicenseRow, *, now: int, detail: str | None = None) -> None:
    """Have an event sent to whoever asked for it."""
    theirs = or_(_webhooks.c.delegation.is_(None), _webhooks.c.delegation == row.delegation)
    hooks = [each for each in books.connection.execute(select(_webhooks).where(theirs)) if event in each.events.split()]
    if not hooks:
        return
    license_ = {"id": row.id, "order_id": row.order_id, "key_digits": row.key_sha256[:8]}
    for hook in hooks:
        body = {"id": secrets.token_hex(16), "type": event.value, "at": now, "license": license_, "detail": detail}
        values = {"webhook": hook.id, "body": json.dumps(body, separators=(",", ":")), "due": now, "tries": 0}
        books.connection.execute(_deliveries.insert().values(**values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A delivery that this process has taken for a minute."""

    number: int
    url: str
    secret: bytes
    body: str
    tries: int


def send_due(authority: Authority, *, now: int) -> int:
    """Send what is due; how many were taken. Two processes never send one at the same time."""
    due = _take(authority, now)
    for each in due:
        outcome = _send(each, now)
        taken = outcome.startswith("2")
        again = None if taken or each.tries >= TRIES else now + _FIRST_S * 3 ** (each.tries - 1)
        with authority.writing(now) as books:
            done = _deliveries.update().where(_deliveries.c.number == each.number)
            books.connection.execute(done.values(due=again, outcome=outcome[:64]))
    return len(due)


def _take(authority: Authority, now: int) -> list[Due]:
    ready = (_deliveries.c.due <= now) & (_webhooks.c.id == _deliveries.c.webhook)
    query = select(_deliveries, _webhooks.c.url, _webhooks.c.secret).where(ready).order_by(_deliveries.c.due)
    with authority.store.reading() as books:
        if books.connection.execute(query.limit(1)).first() is None:
            return []
    with authority.writing(now) as books:
        rows = books.connection.execute(query.limit(_AT_ONCE)).all()
        for row in rows:
            mine = _deliveries.update().where(_deliveries.c.number == row.number)
            books.connection.execute(mine.values(due=now + _FIRST_S, tries=row.tries + 1))
    return [
        Due(number=row.number, url=row.url, secret=bytes.fromhex(row.secret), body=row.body, tries=row.tries + 1)
        for row in rows
    ]


def _send(due: Due, now: int) -> str:
    """The status, or the name of what went wrong."""
    event_id = json.loads(due.body)["id"]
    signed = hmac.digest(due.secret, f"{event_id}.{now}.{due.body}".encode(), hashlib.sha256)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "opanel-authority",
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    request = urllib.request.Request(due.url, due.body.encode(), headers, method="POST")  # noqa: S310 - https, or loopback
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SEND_S) as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)
    except (OSError, ValueError) as error:
        return type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Where it was to be sent is where it goes: a redirect is a failure."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None
