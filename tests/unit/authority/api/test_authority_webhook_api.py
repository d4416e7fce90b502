"""A reseller's own webhooks over HTTP: made, looked at, tried out, rotated, ended; and what is another's does not exist."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from fixtures.authority.authority_server import Served, serving
from fixtures.authority.billing_system import Client, client
from fixtures.authority.vendor import RESELLER
from opanel_authority.books.tables import idempotent_replies
from opanel_authority.documents import delegate
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import webhooks
from opanel_authority.lifecycle.api_keys import HOOKS_READ, HOOKS_WRITE, READ, WRITE
from opanel_authority.lifecycle.changed_by import ChangedBy
from opanel_authority.lifecycle.webhooks import Event

OTHER = "Other"
URL = "https://billing.example/hooks"
PATIENCE_S = 60


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        terms = DelegationTerms(name=OTHER, email="a@b.example")
        delegate.delegate(running.vendor.authority, terms, running.log.parent / "other", now=int(time.time()))
        yield running


def made(billing: Client, **more: Any) -> dict[str, Any]:
    status, hook = billing.ask("POST", "/webhooks", {"url": URL, **more})
    assert status == 201, hook
    found: dict[str, Any] = hook
    return found


def deliveries(billing: Client, hook: dict[str, Any], wanted: int) -> list[dict[str, Any]]:
    """Once so many were tried: what is sent to nobody is tried within seconds, too."""
    for _ in range(PATIENCE_S * 5):
        items: list[dict[str, Any]] = billing.ask("GET", f"/webhooks/{hook['id']}/deliveries")[1]["items"]
        if sum(each["last"] is not None for each in items) >= wanted:
            return items
        time.sleep(0.2)
    raise AssertionError(items)


def test_a_webhook_through_its_life(served: Served) -> None:
    billing = client(served)
    hook = made(billing, events=["license.issued", "license.suspended"], reason="the new billing system")
    assert hook["secret"].startswith("whsec_")
    assert (hook["reseller"], hook["events"], hook["inside"]) == (
        RESELLER,
        ["license.issued", "license.suspended"],
        False,
    )
    path = f"/webhooks/{hook['id']}"
    shown = {name: value for name, value in hook.items() if name != "secret"}
    assert billing.ask("GET", path) == (200, shown)
    assert billing.ask("GET", "/webhooks")[1]["items"] == [shown]
    rotated = billing.ask("POST", f"{path}/rotate-secret", {})[1]
    assert rotated["secret"] not in {hook["secret"], None}
    assert rotated["previous_until"] > time.time() + 80_000
    assert billing.ask("DELETE", path + "?reason=moved") == (204, None)
    assert billing.ask("GET", path)[0] == 404
    assert billing.ask("DELETE", path)[0] == 404
    acts = [(each["act"], each["reason"]) for each in billing.ask("GET", "/changes?limit=3")[1]["items"]]
    assert acts == [
        ("remove_webhook", "moved"),
        ("rotate_webhook", None),
        ("add_webhook", "the new billing system"),
    ]


def test_he_is_told_of_his_own_licenses_alone(served: Served) -> None:
    """Nobody is reached, since the name stands for nothing: what would have been sent is seen all the same."""
    billing, other = client(served), client(served, OTHER)
    mine, theirs = made(billing), made(other)
    sold = billing.issue(order_id=f"w{time.monotonic_ns()}")
    billing.ask("POST", f"/licenses/{sold['id']}/suspend", {})
    status, queued = billing.ask("POST", f"/webhooks/{mine['id']}/test", {})
    assert (status, queued["id"]) == (202, mine["id"])
    found = billing.ask("GET", f"/webhooks/{mine['id']}/deliveries")[1]["items"]
    assert [(each["type"], each["license_id"]) for each in found] == [
        ("webhook.test", None),
        ("license.suspended", sold["id"]),
        ("license.issued", sold["id"]),
    ]
    assert found[0]["number"] == queued["delivery"]
    assert other.ask("GET", f"/webhooks/{theirs['id']}/deliveries")[1]["items"] == []
    first = billing.ask("GET", f"/webhooks/{mine['id']}/deliveries?limit=2")[1]
    assert [each["number"] for each in first["items"]] == [each["number"] for each in found[:2]]
    rest = billing.ask("GET", f"/webhooks/{mine['id']}/deliveries?before={first['next_before']}")[1]
    assert ([each["number"] for each in rest["items"]], rest["next_before"]) == ([found[2]["number"]], None)
    for each in (mine, theirs):
        client(served, None).ask("DELETE", f"/webhooks/{each['id']}")


def test_another_resellers_does_not_exist_for_him_and_the_vendor_has_all(served: Served) -> None:
    hook = made(client(served))
    path = f"/webhooks/{hook['id']}"
    other, vendor = client(served, OTHER), client(served, None)
    for method, more, body in (
        ("GET", "", None),
        ("GET", "/deliveries", None),
        ("POST", "/test", {}),
        ("POST", "/rotate-secret", {}),
        ("DELETE", "", None),
    ):
        assert other.ask(method, path + more, body)[0] == 404, (method, more)
    assert hook["id"] not in {each["id"] for each in other.ask("GET", "/webhooks")[1]["items"]}
    assert other.ask("POST", "/webhooks", {"url": URL, "reseller": RESELLER})[0] == 403
    assert hook["id"] in {each["id"] for each in vendor.ask("GET", "/webhooks")[1]["items"]}
    assert made(vendor, reseller=OTHER)["reseller"] == OTHER
    everything = made(vendor)
    assert everything["reseller"] is None
    assert everything["id"] not in {each["id"] for each in other.ask("GET", "/webhooks")[1]["items"]}
    assert vendor.ask("POST", "/webhooks", {"url": URL, "reseller": "Nobody"})[0] == 404
    for each in vendor.ask("GET", "/webhooks")[1]["items"]:
        assert vendor.ask("DELETE", f"/webhooks/{each['id']}")[0] == 204


def test_each_scope_opens_what_it_says(served: Served) -> None:
    hook = made(client(served))
    licenses, looks, changes = (client(served, scopes=each) for each in ((READ, WRITE), (HOOKS_READ,), (HOOKS_WRITE,)))
    path = f"/webhooks/{hook['id']}"
    assert {licenses.ask("GET", path)[0], licenses.ask("DELETE", path)[0], looks.ask("DELETE", path)[0]} == {403}
    assert {looks.ask("GET", "/licenses")[0], changes.ask("POST", "/licenses", {})[0]} == {403}
    assert looks.ask("GET", path)[0] == 200
    assert changes.ask("DELETE", path)[0] == 204


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://billing.example/",
            "http://127.0.0.1:8470/",
            "https://127.0.0.1/",
            "https://localhost/",
            "https://10.0.0.1/",
        ),
        *(
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "file:///etc/passwd",
            "billing.example",
        ),
        *("https://a:b@billing.example/", "https://billing.example/?a=b", ""),
    ],
)
@pytest.mark.parametrize("whose", [RESELLER, None])
def test_no_key_names_an_address_that_is_not_public(served: Served, url: str, whose: str | None) -> None:
    status, refused = client(served, whose).ask("POST", "/webhooks", {"url": url})
    assert (status, refused["type"]) == (422, "urn:opanel:problem:request_refused")


def test_what_resolves_to_this_machine_is_never_connected_to(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        billing = client(served, OTHER)
        hook = made(billing, url=f"https://127.1:{listening.getsockname()[1]}/")
        billing.ask("POST", f"/webhooks/{hook['id']}/test", {})
        (tried,) = deliveries(billing, hook, 1)
        assert (tried["state"], tried["last"]) == ("waiting", "no_public_address")
        with pytest.raises(TimeoutError):
            listening.accept()
    billing.ask("DELETE", f"/webhooks/{hook['id']}")


def test_what_the_vendor_typed_for_him_he_sees_and_does_not_change(served: Served) -> None:
    authority, who = served.vendor.authority, ChangedBy(actor="test")
    hook_id = webhooks.add(
        authority,
        "http://127.0.0.1:9/",
        reseller=RESELLER,
        events=(Event.ISSUED,),
        now=int(time.time()),
        who=who,
        inside=True,
    )
    billing = client(served)
    assert billing.ask("GET", f"/webhooks/{hook_id}")[1]["inside"]
    for method, more in (("POST", "/test"), ("POST", "/rotate-secret"), ("DELETE", "")):
        assert billing.ask(method, f"/webhooks/{hook_id}{more}", {})[0] == 403
    assert client(served, None).ask("DELETE", f"/webhooks/{hook_id}")[0] == 204


def test_what_is_sent_again_is_made_once_and_its_secret_is_kept_in_no_reply(served: Served) -> None:
    billing, key = client(served), {"Idempotency-Key": f"k{time.monotonic_ns()}"}
    first, again = (billing.ask("POST", "/webhooks", {"url": URL}, **key) for _ in range(2))
    assert first == again
    with served.vendor.authority.store.reading() as books:
        kept = books.connection.execute(select(idempotent_replies.c.body)).scalars().all()
    assert not [each for each in kept if first[1]["secret"] in each]
    removing = {"Idempotency-Key": f"r{time.monotonic_ns()}"}
    path = f"/webhooks/{first[1]['id']}"
    assert [billing.ask("DELETE", path, **removing)[0] for _ in range(2)] == [204, 204]


def test_test_events_are_limited(served: Served) -> None:
    billing = client(served, OTHER)
    hook = made(billing)
    replies = [billing.ask("POST", f"/webhooks/{hook['id']}/test", {})[0] for _ in range(12)]
    assert (replies[:10], replies[-1]) == ([202] * 10, 429)
    billing.ask("DELETE", f"/webhooks/{hook['id']}")
