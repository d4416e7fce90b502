"""The management API over real HTTP: who may what, orders that are sent twice, pages, problems, and its own description."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest

from fixtures.authority.authority_server import Served, serving
from fixtures.authority.billing_system import Client, client
from fixtures.authority.vendor import RESELLER
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import license_key
from opanel_authority.cli.main import main
from opanel_authority.documents import claims, delegate
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.lifecycle import api_keys
from opanel_authority.lifecycle.api_keys import READ

OTHER = "Other"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        terms = DelegationTerms(name=OTHER, email="a@b.example")
        delegate.delegate(running.vendor.authority, terms, running.log.parent / "other", now=int(time.time()))
        yield running


def test_a_license_through_its_life(served: Served) -> None:
    billing = client(served)
    sold = billing.issue(order_id="whmcs-1", tier="basic", seats=2, days=30, limits={"accounts": 5})
    assert license_key.parse(sold["license_key"]) == sold["license_key"]
    for handle in ("whmcs-1", sold["id"], license_key.digest(sold["license_key"])[:8]):
        status, shown = billing.ask("GET", f"/licenses/{handle}")
        assert (status, shown["id"], shown["state"], shown["tier"]) == (200, sold["id"], "active", "basic")
    for act, state in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked"), ("resume", "active")):
        status, shown = billing.ask("POST", f"/licenses/whmcs-1/{act}", {"reason": "because"})
        assert (status, shown["state"]) == (200, state)
    status, shown = billing.ask("PATCH", "/licenses/whmcs-1", {"tier": "pro", "seats": 3, "renews": False})
    assert (status, shown["tier"], shown["seats"], shown["renews"]) == (200, "pro", 3, False)
    time.sleep(1.1)
    status, renewed = billing.ask("POST", "/licenses/whmcs-1/renew", {"days": 60})
    assert (status, billing.ask("GET", "/licenses/whmcs-1/bundle")[1]) == (200, renewed)
    assert billing.ask("POST", "/licenses/whmcs-1/lift-move-limit", {})[0] == 200
    status, log = billing.ask("GET", f"/changes?license_id={sold['id']}")
    assert [row["act"] for row in log["items"]][::-1] == [
        *("issue", "suspend", "resume", "revoke", "resume", "change", "renewal_off", "renew", "lift_move_limit")
    ]
    assert {(row["actor"], row["reason"]) for row in log["items"] if row["act"] == "suspend"} == {
        ("api:billing", "because")
    }


def test_an_order_that_is_sent_again_is_the_same_license(served: Served) -> None:
    billing = client(served)
    order = {"order_id": "twice"}
    first, again = billing.ask("POST", "/licenses", order), billing.ask("POST", "/licenses", order)
    assert (first[0], again[0], again[1]["issued_before"]) == (201, 200, True)
    assert first[1]["license_key"] == again[1]["license_key"]


def test_an_idempotency_key_has_one_reply(served: Served) -> None:
    billing = client(served)
    headers = {"Idempotency-Key": "k1"}
    first, again = billing.ask("POST", "/licenses", {"days": 9}, **headers), None
    again = billing.ask("POST", "/licenses", {"days": 9}, **headers)
    assert first == again
    status, refused = billing.ask("POST", "/licenses", {"days": 10}, **headers)
    assert (status, refused["type"]) == (422, "urn:opanel:problem:request_refused")
    assert client(served).ask("POST", "/licenses", {"days": 9}, **headers)[1]["id"] != first[1]["id"]
    for path in served.log.parent.rglob("authority.sqlite*"):
        assert str(first[1]["license_key"]).encode() not in path.read_bytes()


CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "suspend": ("POST", "/licenses/{id}/suspend", {"reason": "unpaid"}),
    "resume": ("POST", "/licenses/{id}/resume", {}),
    "revoke": ("POST", "/licenses/{id}/revoke", {}),
    "lift": ("POST", "/licenses/{id}/lift-move-limit", {}),
    "change": ("PATCH", "/licenses/{id}", {"seats": 3}),
    "renew": ("POST", "/licenses/{id}/renew", {"days": 40}),
    "reserve": ("POST", "/reservations", {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_sent_again_has_its_reply_and_is_made_once(served: Served, change: str) -> None:
    one = client(served)
    sold = one.issue()
    method, path, body = CHANGES[change]
    path, key = path.format(id=sold["id"]), {"Idempotency-Key": f"{change} {sold['id']}"}
    first, again = one.ask(method, path, body, **key), one.ask(method, path, body, **key)
    assert first == again
    assert first[0] in {200, 201}
    _, log = one.ask("GET", f"/changes?license_id={sold['id']}")
    acts = [each["act"] for each in log["items"]]
    assert len(acts) == len(set(acts)), "each was logged once"
    status, problem = one.ask(
        method, path, {**body, "reason": "other"} if change != "reserve" else {"order_id": "o"}, **key
    )
    assert (status, problem["title"]) == (422, "cannot take this Idempotency-Key again")
    other = one.ask(method, path, body, **{"Idempotency-Key": "other " + key["Idempotency-Key"]})
    assert (other[1] != first[1]) == (change in {"change", "renew", "reserve"}), "another key is another request"


def test_a_seat_is_freed_once_under_one_key(served: Served) -> None:
    one = client(served)
    sold = one.issue()
    made = served.vendor.activate(Issued(jti=sold["id"], key=sold["license_key"], text=sold["bundle"]))
    key = {"Idempotency-Key": f"supersede {made.jti}"}
    assert [one.ask("POST", f"/activations/{made.jti}/supersede", {}, **key) for _ in range(2)] == [(204, None)] * 2


def test_no_kept_reply_has_a_license_key_in_it(served: Served) -> None:
    one = client(served)
    sold = one.issue()
    _, renewed = one.ask("POST", f"/licenses/{sold['id']}/renew", {}, **{"Idempotency-Key": f"kept {sold['id']}"})
    with served.vendor.authority.store.reading() as books:
        kept = books.connection.exec_driver_sql("SELECT body FROM idempotent_replies").scalars().all()
    assert kept
    licenses = [text.split("\n")[1] for text in (sold["bundle"], renewed["bundle"])]
    assert not [body for body in kept for secret in (*licenses, sold["license_key"]) if secret in body]


def test_a_change_that_fails_in_its_middle_leaves_nothing(served: Served) -> None:
    """A transaction within another is a part of it, and what is read there is what was written."""
    authority, sold = served.vendor.authority, client(served).issue()

    def renews() -> bool:
        with authority.store.reading() as books:
            row = books.license(sold["id"])
        assert row is not None
        return row.renews

    def fail() -> None:
        with authority.writing(int(time.time())):
            with authority.writing(int(time.time())) as inner:
                inner.update_license(sold["id"], renews=0)
            assert not renews()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert renews()


def test_a_reseller_sees_and_changes_only_what_is_his(served: Served) -> None:
    ours, theirs, vendor = client(served), client(served, OTHER), client(served, None)
    sold = ours.issue(order_id="ours")
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/bundle", None),
        ("POST", "/suspend", {}),
        ("POST", "/renew", {}),
        ("PATCH", "", {"seats": 9}),
    ):
        for handle in ("ours", sold["id"], sold["license_key"]):
            status, problem = theirs.ask(method, f"/licenses/{handle}{path}", body)
            assert (status, problem["type"]) == (404, "urn:opanel:problem:not_found"), (method, path)
    assert theirs.ask("GET", "/licenses")[1]["items"] == []
    assert sold["id"] not in json.dumps(theirs.ask("GET", f"/changes?license_id={sold['id']}")[1])
    assert theirs.ask("POST", "/licenses", {"reseller": RESELLER})[0] == 403
    assert ours.ask("POST", "/licenses/ours/transfer", {"reseller": OTHER})[0] == 403
    assert vendor.ask("POST", "/licenses", {})[0] == 422
    assert vendor.ask("POST", "/licenses/ours/transfer", {"reseller": OTHER})[0] == 200
    assert theirs.ask("GET", f"/licenses/{sold['license_key']}")[1]["reseller"] == OTHER
    assert ours.ask("GET", f"/licenses/{sold['id']}")[0] == 404


def test_seats_are_freed_by_the_id_of_their_activation(served: Served) -> None:
    billing, theirs = client(served), client(served, OTHER)
    served.vendor.now = int(time.time())
    issued = served.vendor.issue(order_id="seats")
    activation = served.vendor.activate(issued)
    assert theirs.ask("POST", f"/activations/{activation.jti}/supersede", {})[0] == 404
    assert billing.ask("POST", f"/activations/{activation.jti}/supersede", {"reason": "gone"}) == (204, None)
    assert billing.ask("GET", "/licenses/seats")[1]["activations"] == []


def test_a_list_has_pages(served: Served) -> None:
    billing = client(served, OTHER)
    ids = {billing.issue()["id"] for _ in range(5)}
    found: list[str] = []
    more: Any = ""
    while more is not None:
        status, page = billing.ask("GET", f"/licenses?limit=2&created_from=1{more}")
        assert (status, len(page["items"]) <= 2) == (200, True)
        found += [each["id"] for each in page["items"]]
        more = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert len(found) == len(set(found))
    assert ids <= set(found)
    assert billing.ask("GET", "/licenses?cursor=nonsense")[0] == 422
    for place in (f"0 {2**63} x", f"{2**63} 0 x", "-1 0 x", f"0 {'9' * 5000} x", "0 0"):
        cursor = base64url(place.encode("ascii"))
        assert billing.ask("GET", f"/licenses?cursor={cursor}")[0] == 422, place


@pytest.mark.parametrize("number", [str(2**63), "-1", "9" * 400, "1.5", "x"])
@pytest.mark.parametrize(
    "where", ["/licenses?created_from", "/licenses?created_to", "/licenses?ends_from", "/changes?before"]
)
def test_a_number_that_no_column_holds_is_refused(served: Served, where: str, number: str) -> None:
    assert client(served).ask("GET", f"{where}={number}")[0] == 422
    assert client(served).ask("GET", f"{where}={2**63 - 1}")[0] == 200


@pytest.mark.parametrize("key", ["", "opk_0000000000000000_" + "a" * 43, "nonsense"])
def test_without_a_key_that_opens_nothing_is_told(served: Served, key: str) -> None:
    status, problem = Client(port=served.port, key=key).ask("GET", "/licenses")
    assert (status, problem["type"], problem["status"]) == (401, "urn:opanel:problem:unauthorized", 401)


def test_a_key_that_may_read_changes_nothing_and_a_revoked_one_opens_nothing(served: Served) -> None:
    reader = client(served, scopes=(READ,))
    assert reader.ask("GET", "/licenses")[0] == 200
    assert reader.ask("POST", "/licenses", {})[0] == 403
    key_id = reader.key.split("_")[1]
    authority = served.vendor.authority
    (row,) = [each for each in api_keys.listed(authority) if each["id"] == key_id]
    assert row["used_on"] == time.strftime("%Y-%m-%d", time.gmtime())
    api_keys.revoke(authority, key_id, now=int(time.time()), actor="test")
    assert reader.ask("GET", "/licenses")[0] == 401


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"days": 0}, ["days"]),
        ({"seats": "many"}, ["seats"]),
        ({"unknown": 1}, ["unknown"]),
        ({"order_id": ""}, ["order_id"]),
        ([], ["body"]),
    ],
)
def test_what_is_not_as_described_is_named(served: Served, body: Any, fields: list[str]) -> None:
    status, problem = client(served).ask("POST", "/licenses", body)
    assert (status, problem["fields"]) == (422, fields)
    assert problem["title"].startswith("cannot ")


@pytest.mark.parametrize("terms", [{"tier": "platinum"}, {"days": 4000}, {"features": ["telepathy"]}])
def test_what_is_wider_than_the_delegation_is_refused(served: Served, terms: dict[str, Any]) -> None:
    status, problem = client(served).ask("POST", "/licenses", terms)
    assert (status, "outside the delegation" in problem["title"]) == (422, True)


def test_the_log_has_no_handle(served: Served) -> None:
    billing = client(served)
    sold = billing.issue(order_id="secret-order")
    billing.ask("GET", f"/licenses/{sold['license_key']}")
    text = served.log.read_text("utf-8")
    assert "GET /api/v1/licenses/* 200" in text
    assert "secret-order" not in text
    assert sold["license_key"] not in text
    assert billing.key not in text


def test_the_description_names_every_path_and_reply(served: Served) -> None:
    status, document = client(served).ask("GET", "/openapi.json")
    modern = tuple(map(int, fastapi.__version__.split(".")[:2])) >= (0, 99)
    assert (status, document["openapi"]) == (200, "3.1.0" if modern else "3.0.2")
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    operations = {
        (method.upper(), path): described
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }
    assert ("POST", "/licenses") in operations
    for (method, path), described in operations.items():
        assert described["operationId"]
        assert {"401", "403", "404", "422"} <= set(described["responses"]), (method, path)
        assert described["security"], "with an API key alone"
        assert not [each for each in described.get("parameters", ()) if each["name"].lower() == "authorization"]
        # as described: without a key each is refused as the document says, none is unknown
        refused_status, _ = Client(port=served.port, key="").ask(method, path.replace("{", "").replace("}", ""), {})
        assert refused_status == 401, (method, path)


def test_a_reply_that_is_not_as_described_would_be_seen(served: Served) -> None:
    description = client(served).description()
    sold = client(served).issue()
    assert description.faults("POST", "/licenses", 201, sold | {"id": 7})
    assert description.faults("POST", "/licenses", 201, sold | {"surprise": 1})
    assert description.faults("POST", "/licenses", 201, {name: sold[name] for name in sold if name != "bundle"})
    assert description.faults("POST", "/licenses", 418, sold)


def test_the_vendor_lists_one_resellers_licenses_and_a_reseller_nobody_elses(served: Served) -> None:
    sold = client(served, OTHER).issue()
    vendor, path = client(served, None), "/licenses?limit=1000&reseller="
    assert sold["id"] in {each["id"] for each in vendor.ask("GET", path + OTHER)[1]["items"]}
    assert vendor.ask("GET", path + "Nobody")[0] == 404
    assert client(served).ask("GET", path + OTHER)[0] == 403
    assert client(served).ask("GET", path + "Nobody")[0] == 403
    assert client(served, OTHER).ask("GET", path + OTHER)[0] == 200


def test_wrong_keys_are_limited_and_right_ones_are_not(served: Served) -> None:
    right = client(served)
    wrong = Client(port=served.port, key="opk_0000000000000000_" + "b" * 43)
    statuses = {wrong.ask("GET", "/licenses")[0] for _ in range(150)}
    assert statuses == {401, 429}
    assert right.ask("GET", "/licenses")[0] == 200


# ---- resellers who keep their key themselves


def test_a_reseller_who_keeps_his_key_signs_what_was_reserved(served: Served, tmp_path: Path) -> None:
    there = ("--dir", str(served.vendor.authority.directory))
    assert main(["reseller-key", "-o", str(tmp_path / "own")]) == 0
    public = str(tmp_path / "own" / "public.jwk")
    terms = ("--email", "a@b.example", "--public-key", public, "-o", str(tmp_path / "d"))
    assert main(["delegate", "Own", *there, *terms]) == 0
    assert not (tmp_path / "d" / "key.pem").exists()
    own = client(served, "Own")
    assert own.ask("POST", "/licenses", {})[0] == 403
    status, reserved = own.ask("POST", "/reservations", {"order_id": "mine"})
    assert status == 201
    assert own.ask("POST", "/reservations", {"order_id": "mine"}) == (201, reserved)
    (tmp_path / "reserved").write_text(json.dumps(reserved), "utf-8")
    root = str(served.vendor.authority.directory / "root.jws")
    options = ("--key", str(tmp_path / "own"), "--root", root, "--seats", "2", "-o", str(tmp_path / "signed"))
    assert main(["sign", str(tmp_path / "reserved"), *options]) == 0
    signed = json.loads((tmp_path / "signed").read_bytes())
    status, stored = own.ask("POST", "/signed-licenses", signed)
    assert (status, stored["id"]) == (201, reserved["id"])
    assert own.ask("GET", "/licenses/mine")[1]["seats"] == 2
    assert own.ask("POST", "/reservations", {"order_id": "mine"})[0] == 422, "one order is one sale"
    bundle = bundles.verify(stored["bundle"].encode(), served.vendor.authority.root, now=None)
    issued = Issued(jti=stored["id"], key=bundle.license.sub, text=stored["bundle"])
    served.vendor.now = int(time.time())
    assert served.vendor.activate(issued).seat == 0
    assert own.ask("POST", "/licenses/mine/suspend", {})[1]["state"] == "suspended"
    assert own.ask("POST", "/signed-licenses", signed)[0] == 403, "no newer edition than the one that is there"
    assert client(served).ask("POST", "/signed-licenses", signed)[0] == 422, "nor signed by another reseller's key"


def test_what_was_not_reserved_is_not_stored(served: Served, tmp_path: Path) -> None:
    key = PrivateKey.make(Role.RESELLER)
    now = int(time.time())
    terms = DelegationTerms(name="Own too", email="a@b.example")
    delegate.delegate(served.vendor.authority, terms, tmp_path / "d", now=now, public=key.public)
    own = client(served, "Own too")
    reserved = own.ask("POST", "/reservations", {})[1]
    with served.vendor.authority.store.reading() as books:
        row = books.delegation(name="Own too")
    assert row is not None
    parent = delegate.last(served.vendor.authority, row.text)
    good = claims.license_(parent, LicenseTerms(), now) | {"sub": delegate.new_license_key(), "jti": reserved["id"]}
    good |= {"slot": reserved["slot"], "status": reserved["status"]}
    entry = reserved["status"]["status_list"]
    others: list[dict[str, Any]] = [
        {"jti": "0" * 32},
        {"slot": reserved["slot"] + 1},
        {"status": {"status_list": {**entry, "idx": parent.may.status_range.start}}},
    ]
    for wrong in others:
        line = key.sign(Typ.LICENSE, good | wrong)
        assert own.ask("POST", "/signed-licenses", {"line": line})[0] == 403, wrong
    wider = key.sign(Typ.LICENSE, good | {"tier": "platinum"})
    assert own.ask("POST", "/signed-licenses", {"line": wider})[0] == 422
    assert own.ask("POST", "/signed-licenses", {"line": key.sign(Typ.LICENSE, good)})[0] == 201
