"""Webhooks: each event is told, signed, to whom it concerns, and again until it was taken."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, RESELLER, Vendor, vendor
from opanel_agent.core.errors import NotPermitted, Usage
from opanel_authority.documents import delegate
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import changes, webhooks
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.webhooks import Event


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A billing system's end; `statuses` are its next replies, then 204."""

    url: str = ""
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
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


def hook(made: Vendor, receiver: Receiver, reseller: str | None = RESELLER) -> str:
    """The secret of a new webhook for every event."""
    added = webhooks.add(made.authority, receiver.url, reseller=reseller, events=tuple(Event), now=NOW, actor="test")
    return str(added["secret"])


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
    while webhooks.send_due(made.authority, now=made.now):
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


def test_what_was_not_taken_is_sent_again_and_given_up_after_days(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    hook(made, receiver)
    made.issue()
    receiver.statuses = [500, 302, 503]
    ends = made.now + 10 * DAY
    while made.now < ends:
        webhooks.send_due(made.authority, now=made.now)
        made.now += 60
        if len(receiver.requests) == 4:
            break
    assert [json.loads(body)["id"] for _, body in receiver.requests] == [json.loads(receiver.requests[0][1])["id"]] * 4
    assert webhooks.send_due(made.authority, now=made.now + DAY) == 0
    (row,) = webhooks.listed(made.authority)
    assert (row["waiting"], row["last"]) == (0, "204")


def test_a_receiver_that_is_gone_costs_ten_tries(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    webhooks.add(made.authority, "http://127.0.0.1:9/", reseller=None, events=(Event.ISSUED,), now=NOW, actor="test")
    made.issue()
    tries = 0
    for _ in range(200):
        tries += webhooks.send_due(made.authority, now=made.now)
        made.now += DAY // 4
    assert tries == webhooks.TRIES


def test_a_reseller_is_told_only_of_his_own(tmp_path: Path, receiver: Receiver) -> None:
    made = vendor(tmp_path)
    delegate.delegate(made.authority, DelegationTerms(name="Other", email="a@b.example"), tmp_path / "o", now=NOW)
    hook(made, receiver, "Other")
    made.issue()
    assert webhooks.send_due(made.authority, now=made.now) == 0
    hook(made, receiver, None)
    made.issue()
    assert webhooks.send_due(made.authority, now=made.now) == 1


def test_only_https_or_loopback(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    with pytest.raises(Usage):
        webhooks.add(made.authority, "http://a.example/", reseller=None, events=tuple(Event), now=NOW, actor="test")
