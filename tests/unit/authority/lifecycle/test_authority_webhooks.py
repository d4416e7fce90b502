"""Webhooks: each event is told, signed, to whom it concerns, and again until it was taken."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, RESELLER, Vendor, vendor
from opanel_agent.core.errors import Misconfigured, NotPermitted, Usage
from opanel_authority.documents import delegate
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import changes, webhook_sending, webhooks
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.webhooks import Event


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A billing system's end; `statuses` are its next replies, then 204. `followed` counts who came by its Location."""

    url: str = ""
    followed: int = 0
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    received = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(received.statuses.pop(0) if received.statuses else 204)
            self.send_header("Location", received.url)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            received.followed += 1
            self.send_error(404)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


def added(made: Vendor, url: str, reseller: str | None = None, *, inside: bool = True) -> str:
    """The id of a new webhook for every event, as the vendor types it."""
    who = ChangedBy(actor="test")
    return webhooks.add(made.authority, url, reseller=reseller, events=tuple(Event), now=NOW, who=who, inside=inside)


def listed(made: Vendor) -> list[dict[str, Any]]:
    with made.authority.store.reading() as books:
        return [*webhooks.listed(books)]


def hook(made: Vendor, receiver: Receiver, reseller: str | None = RESELLER) -> str:
    """The secret of a new webhook for every event."""
    with made.authority.writing(NOW) as books:
        return webhooks.secret_of(books, added(made, receiver.url, reseller))


def test_every_event_is_told_and_signed(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    secret = hook(made, receiver)
    issued = made.issue(order_id="7")
    for machine in ("server a", "server b", "server a", "server b"):
        made.now += 1
        made.activate(issued, machine)
    with pytest.raises(NotPermitted):
        made.activate(issued)
    changes.change(made.authority, Change.SUSPEND, "7", now=made.now)
    made.now += 300 * DAY
    with pytest.raises(NotPermitted):
        made.renew(issued, "server b")
    while webhook_sending.send_due(made.authority, now=made.now):
        pass
    kinds = ["issued", "activated", "moved", "moved", "moved", "seats_taken", "suspended", "renewal_failed"]
    assert receiver.types == [f"license.{kind}" for kind in kinds]
    for headers, body in receiver.requests:
        message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        assert issued.key.encode() not in body
        assert json.loads(body)["license"]["order_id"] == "7"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(tmp_path: Path, receiver: Receiver, status: int) -> None:
    made = vendor(tmp_path)
    hook(made, receiver)
    made.issue()
    receiver.statuses = [status]
    assert webhook_sending.send_due(made.authority, now=made.now) == 1
    assert (len(receiver.requests), receiver.followed) == (1, 0)
    (row,) = listed(made)
    assert (row["waiting"], row["last"]) == (1, str(status))


def test_what_was_not_taken_is_sent_again_and_given_up_after_days(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hook(made, receiver)
    made.issue()
    receiver.statuses = [500, 302, 503]
    ends = made.now + 10 * DAY
    while made.now < ends:
        webhook_sending.send_due(made.authority, now=made.now)
        made.now += 60
        if len(receiver.requests) == 4:
            break
    assert [json.loads(body)["id"] for _, body in receiver.requests] == [json.loads(receiver.requests[0][1])["id"]] * 4
    assert webhook_sending.send_due(made.authority, now=made.now + DAY) == 0
    (row,) = listed(made)
    assert (row["waiting"], row["last"]) == (0, "204")


def test_a_receiver_that_is_gone_costs_ten_tries(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    added(made, "http://127.0.0.1:9/")
    made.issue()
    tries = 0
    for _ in range(200):
        tries += webhook_sending.send_due(made.authority, now=made.now)
        made.now += DAY // 4
    assert tries == webhook_sending.TRIES


@pytest.mark.slow
def test_a_receiver_that_is_gone_or_hangs_keeps_no_other_waiting(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hangs = socket.create_server(("127.0.0.1", 0))
    port = hangs.getsockname()[1]
    for url in ("http://127.0.0.1:9/", f"http://127.0.0.1:{port}/"):
        added(made, url)
    for _ in range(30):
        made.issue()
    hook(made, receiver)
    made.issue()
    with hangs:
        assert webhook_sending.send_due(made.authority, now=made.now) == 3, "one of each receiver: two are not there"
        assert receiver.types == ["license.issued"]
    tries = {row["url"]: row["waiting"] for row in listed(made)}
    assert sorted(map(int, map(str, tries.values()))) == [0, 31, 31]
    assert webhook_sending.send_due(made.authority, now=made.now) == 0, "nobody is tried again within the minute"


def test_what_waits_behind_a_failure_loses_no_try(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    url, receiver.url = receiver.url, "http://127.0.0.1:9/"
    hook(made, receiver)
    for _ in range(3):
        made.issue()
    assert webhook_sending.send_due(made.authority, now=made.now) == 1
    with made.authority.writing(made.now) as books:
        books.connection.exec_driver_sql(f"UPDATE webhooks SET url = '{url}'")  # noqa: S608 - of this test's own server
        tries = books.connection.exec_driver_sql("SELECT tries FROM deliveries ORDER BY number").scalars().all()
    assert tries == [1, 0, 0]
    made.now += 60
    assert webhook_sending.send_due(made.authority, now=made.now) == 3
    assert len(receiver.requests) == 3


def test_a_renewal_by_a_machine_is_logged_and_told(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hook(made, receiver)
    issued = made.issue(days=100)
    made.activate(issued)
    made.now += 80 * DAY
    made.renew(issued)
    while webhook_sending.send_due(made.authority, now=made.now):
        pass
    assert receiver.types[-1] == "license.renewed"
    with made.authority.store.reading() as books:
        newest = next(books.changes(subject=issued.jti))
    assert (newest["act"], newest["actor"]) == ("renew", "machine")


def test_what_keeps_a_due_renewal_from_being_made_is_told(tmp_path: Path, receiver: Receiver) -> None:
    """Each of them waited in silence: the machine was answered `not_yet` until its license had ended."""
    made = vendor(tmp_path)
    hook(made, receiver)
    issued = made.issue()
    made.activate(issued)

    def refused() -> str:
        with pytest.raises((NotPermitted, Misconfigured)) as caught:
            made.renew(issued)
        while webhook_sending.send_due(made.authority, now=made.now):
            pass
        body = json.loads(receiver.requests[-1][1])
        assert body["type"] == "license.renewal_failed"
        assert body["detail"] == caught.value.detail
        return str(caught.value.detail)

    made.now += 300 * DAY
    (tmp_path / "reseller").rename(tmp_path / "moved")
    assert refused() == "reseller_key_missing"
    (tmp_path / "moved").rename(tmp_path / "reseller")
    with made.authority.writing(made.now) as books:
        (row,) = books.delegations()
        books.update_delegation(row.number, directory="")
    assert refused() == "renewal_unsigned"
    with made.authority.writing(made.now) as books:
        books.update_delegation(row.number, directory=row.directory)
    made.now += 700 * DAY  # of 1095 for which he may issue
    issued = made.issue()
    made.activate(issued)
    made.now += 300 * DAY
    assert refused() == "renewal_delegation_ended"


def test_a_reseller_is_told_only_of_his_own(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name="Other", email="a@b.example"), tmp_path / "o", now=NOW)
    hook(made, receiver, "Other")
    made.issue()
    assert webhook_sending.send_due(made.authority, now=made.now) == 0
    hook(made, receiver, None)
    made.issue()
    assert webhook_sending.send_due(made.authority, now=made.now) == 1


def test_only_https_or_loopback(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    with pytest.raises(Usage):
        added(made, "http://a.example/")


def test_what_somebody_else_names_does_not_lead_inside(tmp_path: Path, receiver: Receiver) -> None:
    """The name is taken, since nobody resolves it yet; nobody connects to what it means."""
    made = vendor(tmp_path)
    with pytest.raises(Usage) as caught:
        added(made, receiver.url, RESELLER, inside=False)
    assert caught.value.detail == "url_not_public"
    port = receiver.url.split(":")[2].partition("/")[0]
    added(made, f"https://127.1:{port}/hook", RESELLER, inside=False)
    made.issue()
    assert webhook_sending.send_due(made.authority, now=made.now) == 1
    (row,) = listed(made)
    assert (row["waiting"], row["last"], receiver.requests) == (1, "no_public_address", [])


def signatures(secret: str, headers: dict[str, str], body: bytes) -> str:
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256)).decode()


def test_a_rotated_secret_signs_beside_the_one_before_for_a_day(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hook_id = added(made, receiver.url)
    secrets = []
    for _ in range(2):
        with made.authority.store.reading() as books:
            secrets.append(webhooks.secret_of(books, hook_id))
        until = webhooks.rotate(made.authority, hook_id, now=made.now, who=ChangedBy(actor="test"))
    with made.authority.store.reading() as books:
        secrets.append(webhooks.secret_of(books, hook_id))
    assert (len(set(secrets)), until) == (3, made.now + DAY)
    for at, good in ((made.now, secrets[:0:-1]), (until, secrets[2:])):
        made.now = at
        made.issue()
        assert webhook_sending.send_due(made.authority, now=made.now) == 1
        headers, body = receiver.requests[-1]
        assert headers["webhook-signature"] == " ".join(signatures(each, headers, body) for each in good)


def test_a_test_event_is_sent_and_seen_among_the_deliveries(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hook_id = added(made, receiver.url)
    number = webhooks.test(made.authority, hook_id, now=made.now, who=ChangedBy(actor="test"))
    receiver.statuses = [500]
    assert webhook_sending.send_due(made.authority, now=made.now) == 1
    made.issue()
    with made.authority.store.reading() as books:
        waiting, tried = webhooks.deliveries(books, hook_id)
    assert (waiting["state"], waiting["tries"], waiting["type"]) == ("waiting", 0, "license.issued")
    assert (tried["number"], tried["state"], tried["type"], tried["license_id"]) == (
        number,
        "waiting",
        "webhook.test",
        None,
    )
    assert (tried["last"], tried["next_at"]) == ("500", made.now + 60)
    made.now += 60
    assert webhook_sending.send_due(made.authority, now=made.now) == 2
    with made.authority.store.reading() as books:
        assert {each["state"] for each in webhooks.deliveries(books, hook_id)} == {"delivered"}
        (only,) = webhooks.deliveries(books, hook_id, before=number + 1)
    assert only["number"] == number


def test_one_owner_has_so_many_and_what_the_vendor_typed_is_the_vendors(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    typed = added(made, "http://127.0.0.1:9/", RESELLER)
    for _ in range(webhooks.MAX_OWN - 1):
        added(made, "https://billing.example/", RESELLER, inside=False)
    with pytest.raises(NotPermitted) as caught:
        added(made, "https://billing.example/", RESELLER, inside=False)
    assert caught.value.detail == "webhooks_many"
    added(made, "https://vendor.example/")
    with made.authority.store.reading() as books:
        (row,) = books.delegations()
    reseller = ChangedBy(actor="api:billing", delegation=row.number)
    for act in (webhooks.test, webhooks.rotate, webhooks.remove):
        with pytest.raises(NotPermitted) as caught:
            act(made.authority, typed, now=NOW, who=reseller)
        assert caught.value.detail == "vendor_only"
    webhooks.remove(made.authority, typed, now=NOW, who=ChangedBy(actor="test"))
    added(made, "https://billing.example/", RESELLER, inside=False)
