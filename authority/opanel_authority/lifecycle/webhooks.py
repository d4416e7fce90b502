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
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import partial
from itertools import chain
from typing import Final

from sqlalchemy import func, or_, select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.wire import endpoints
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind, LicenseRow
from opanel_authority.books.tables import deliveries as _deliveries
from opanel_authority.books.tables import webhooks as _webhooks
from opanel_authority.redirects import NoRedirect

TRIES: Final = 10
_FIRST_S: Final = 60
_SEND_S: Final = 10
AT_ONCE: Final = 20  # of one webhook
_WEBHOOKS_AT_ONCE: Final = 64
_SIDE_BY_SIDE: Final = 16
_TURN_S: Final = 20  # for all events of one webhook, and the one that is being sent then
_TAKEN_S: Final = 300  # longer than 64 webhooks take, 16 at a time


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
    authority: Authority,
    url: str,
    *,
    reseller: str | None,
    events: tuple[Event, ...],
    now: int,
    actor: str,
    reason: str | None = None,
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
            at=now,
            actor=actor,
            act="add_webhook",
            kind=Kind.WEBHOOK,
            subject=webhook_id,
            delegation=number,
            reason=reason,
        )
    return {"id": webhook_id, "url": url, "secret": "whsec_" + base64.b64encode(secret).decode()}


def remove(authority: Authority, webhook_id: str, *, now: int, actor: str, reason: str | None = None) -> None:
    """What is still to be sent to it is forgotten. Raises Usage for an unknown one."""
    with authority.writing(now) as books:
        books.connection.execute(_deliveries.delete().where(_deliveries.c.webhook == webhook_id))
        if not books.connection.execute(_webhooks.delete().where(_webhooks.c.id == webhook_id)).rowcount:
            raise Usage(Fault.USAGE, "id_unknown", id=webhook_id[:64])
        books.log_change(
            at=now,
            actor=actor,
            act="remove_webhook",
            kind=Kind.WEBHOOK,
            subject=webhook_id,
            delegation=None,
            reason=reason,
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
    """A delivery that this process has taken for `_TAKEN_S`; `tries` counts this one."""

    number: int
    webhook: str
    url: str
    secret: bytes
    body: str
    tries: int


def send_due(authority: Authority, *, now: int, ending: Callable[[], bool] = lambda: False) -> int:
    """Send what is due; how many were tried. Two processes never send one at the same time.

    Once it is `ending` nothing more is begun, and what was not tried is due again.

    Receivers are asked side by side, and one that is gone is tried once: its other events wait a minute.
    """
    due = _take(authority, now)
    if not due:
        return 0
    by_webhook: dict[str, list[Due]] = {}
    for each in due:
        by_webhook.setdefault(each.webhook, []).append(each)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        outcomes = dict(
            chain.from_iterable(pool.map(partial(_send_in_turn, now=now, ending=ending), by_webhook.values()))
        )
    with authority.writing(now) as books:
        for each in due:
            done = _deliveries.update().where(_deliveries.c.number == each.number)
            books.connection.execute(done.values(**_after(each, outcomes.get(each.number), now)))
        gone = [each.webhook for each in due if not outcomes.get(each.number, "0").isdigit()]
        theirs = _deliveries.update().where(_deliveries.c.webhook.in_(gone), _deliveries.c.due <= now)
        books.connection.execute(theirs.values(due=now + _FIRST_S))
    return len(outcomes)


def _after(due: Due, outcome: str | None, now: int) -> dict[str, object]:
    """The row of a delivery once it was tried; None: its turn did not come."""
    if outcome is None:
        return {"due": now, "tries": due.tries - 1}
    ended = outcome.startswith("2") or due.tries >= TRIES
    return {"due": None if ended else now + _FIRST_S * 3 ** (due.tries - 1), "outcome": outcome[:64]}


def _take(authority: Authority, now: int) -> list[Due]:
    """At most `AT_ONCE` of each webhook, of those first whose events wait for longest."""
    ready = (_deliveries.c.due <= now) & (_webhooks.c.id == _deliveries.c.webhook)
    waiting = select(_deliveries.c.webhook).where(_deliveries.c.due <= now).group_by(_deliveries.c.webhook)
    waiting = waiting.order_by(func.min(_deliveries.c.due)).limit(_WEBHOOKS_AT_ONCE)
    with authority.store.reading() as books:
        if not [*books.connection.execute(waiting)]:
            return []
    query = select(_deliveries, _webhooks.c.url, _webhooks.c.secret).where(ready)
    query = query.order_by(_deliveries.c.due, _deliveries.c.number).limit(AT_ONCE)
    with authority.writing(now) as books:
        hooks = [*books.connection.execute(waiting).scalars()]
        found = [books.connection.execute(query.where(_webhooks.c.id == each)).all() for each in hooks]
        rows = [*chain.from_iterable(found)]
        for row in rows:
            mine = _deliveries.update().where(_deliveries.c.number == row.number)
            books.connection.execute(mine.values(due=now + _TAKEN_S, tries=row.tries + 1))
    return [
        Due(
            number=row.number,
            webhook=row.webhook,
            url=row.url,
            secret=bytes.fromhex(row.secret),
            body=row.body,
            tries=row.tries + 1,
        )
        for row in rows
    ]


def _send_in_turn(due: list[Due], *, now: int, ending: Callable[[], bool]) -> list[tuple[int, str]]:
    """What became of the events of one webhook, by number, as far as its receiver is there and its time goes."""
    outcomes: list[tuple[int, str]] = []
    ends_s = time.monotonic() + _TURN_S
    for each in due:
        if ending():
            break
        outcomes.append((each.number, _send(each, now)))
        if not outcomes[-1][1].isdigit() or time.monotonic() > ends_s:
            break
    return outcomes


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
    opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SEND_S) as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)
    except (OSError, ValueError) as error:
        return type(error).__name__
