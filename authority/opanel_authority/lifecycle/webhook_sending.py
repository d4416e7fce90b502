"""Sends the events that are due to their webhooks: side by side, each receiver in turn, and again until it took them."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final

from sqlalchemy import func, select

from opanel_authority.authority import Authority
from opanel_authority.books.tables import deliveries as _deliveries
from opanel_authority.books.tables import webhooks as _webhooks
from opanel_authority.lifecycle import webhook_post

TRIES: Final = 10
AT_ONCE: Final = 20  # of one webhook
_FIRST_S: Final = 60
_WEBHOOKS_AT_ONCE: Final = 64
_SIDE_BY_SIDE: Final = 16
_TURN_S: Final = 20  # for all events of one webhook, and the one that is being sent then
_TAKEN_S: Final = 300  # longer than 64 webhooks take, 16 at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Holds a delivery that this process has reserved for `_TAKEN_S` seconds; `tries` counts this one.

    `secrets` are those that it is signed with: the newest, and for a day the one before. `inside`: as `webhook_post.post`.
    """

    number: int
    webhook: str
    url: str
    inside: bool
    secrets: tuple[bytes, ...]
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
    """Returns the row of a delivery once it was tried; None: its turn did not come."""
    if outcome is None:
        return {"due": now, "tries": due.tries - 1}
    ended = outcome.startswith("2") or due.tries >= TRIES
    return {"due": None if ended else now + _FIRST_S * 3 ** (due.tries - 1), "outcome": outcome[:64]}


def _take(authority: Authority, now: int) -> list[Due]:
    """Takes at most `AT_ONCE` of each webhook, of those first whose events wait for longest."""
    ready = (_deliveries.c.due <= now) & (_webhooks.c.id == _deliveries.c.webhook)
    waiting = select(_deliveries.c.webhook).where(_deliveries.c.due <= now).group_by(_deliveries.c.webhook)
    waiting = waiting.order_by(func.min(_deliveries.c.due)).limit(_WEBHOOKS_AT_ONCE)
    with authority.store.reading() as books:
        if not [*books.connection.execute(waiting)]:
            return []
    hook = (
        _webhooks.c.url,
        _webhooks.c.secret,
        _webhooks.c.previous_secret,
        _webhooks.c.previous_until,
        _webhooks.c.inside,
    )
    query = select(_deliveries, *hook).where(ready)
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
            inside=bool(row.inside),
            secrets=_secrets(row, now),
            body=row.body,
            tries=row.tries + 1,
        )
        for row in rows
    ]


def _secrets(row: Any, now: int) -> tuple[bytes, ...]:  # noqa: ANN401 - its type's name differs between SQLAlchemy 1.4 and 2
    before = row.previous_secret if row.previous_until is not None and now < row.previous_until else None
    return tuple(bytes.fromhex(each) for each in (row.secret, before) if each is not None)


def _send_in_turn(due: list[Due], *, now: int, ending: Callable[[], bool]) -> list[tuple[int, str]]:
    """Returns what became of the events of one webhook, by number, as far as its receiver is there and its time goes."""
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
    """Returns the status, or the name of what went wrong."""
    event_id = json.loads(due.body)["id"]
    message = f"{event_id}.{now}.{due.body}".encode()
    signatures = (base64.b64encode(hmac.digest(secret, message, hashlib.sha256)).decode() for secret in due.secrets)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "opanel-authority",
        "webhook-id": event_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }
    return webhook_post.post(due.url, due.body.encode(), headers, inside=due.inside)
