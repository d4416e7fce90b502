"""`opanel-authority rotate`, and the servers that live through it: awake, asleep for years, and after a theft."""

import json
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.authority.authority_server import JSON, serving
from fixtures.authority.customer import DAY, Customer, activated
from fixtures.authority.vendor import RESELLER, Vendor, vendor
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import root as roots
from opanel_agent.core.errors import Misconfigured, Untrusted, Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import license_key
from opanel_authority.cli.main import main
from opanel_authority.documents import advisories, delegate, issue, keys, publish, root_claims
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.keys import Role
from opanel_authority.documents.rotate import ROLES, Rotated, Rotation, rotate

ADVICE: Json = {"severity": "low", "title": {"tr": "Bilgi", "en": "Note"}, "body": {"tr": "Bilgi", "en": "Note"}}


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


@pytest.fixture
def customer(made: Vendor) -> Customer:
    return activated(made)


def turned(made: Vendor, role: Role, *, replaced: frozenset[str] = frozenset(), compromised: bool = False) -> Rotated:
    where = made.authority.directory / "keys"
    asked = Rotation(role=role, root_keys=where, replaced=replaced, compromised=compromised)
    return rotate(made.authority, asked, now=made.now)


def seq(customer: Customer) -> int:
    root = customer.agent.run("tick")["answer"]["root"]
    return int(root["seq"])


@pytest.mark.parametrize("role", ROLES)
def test_a_server_lives_through_a_new_key(made: Vendor, customer: Customer, role: Role) -> None:
    done = turned(made, role)
    assert customer.check()["reasons"] == ["ok"]
    assert seq(customer) == done.root.seq == 2
    assert [path.stat().st_mode & 0o777 for path in done.made] == [0o600] * (3 if role is Role.ROOT else 1)
    assert customer.days(3)["reasons"] == ["ok"]
    # What is made from now on is of the new key, and the server takes it as it took the old.
    fresh = made.issue()
    customer.install(fresh.text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]


def test_a_new_key_signs_from_now_on(made: Vendor) -> None:
    for role in ROLES:
        if role is not Role.ROOT:
            before = made.authority.key(role)
            turned(made, role)
            after = made.authority.key(role)
            assert after.public == made.authority.root.keys[role.value][0] != before.public
            stays = before.public in made.authority.root.keys[role.value]
            assert stays == (role is not Role.STATUS), role


def test_who_slept_through_them_all_wakes_up(made: Vendor, customer: Customer) -> None:
    for _ in range(2):
        for role in ROLES:
            made.now += DAY
            turned(made, role)
    customer.agent.clock.advance(13 * DAY)
    assert customer.check()["reasons"] == ["ok"]
    assert seq(customer) == 1 + 2 * len(ROLES)


def test_an_agent_that_comes_later_walks_from_the_first_root(made: Vendor) -> None:
    for role in (Role.ROOT, Role.ISSUER, Role.ROOT):
        turned(made, role)
    delegate.delegate(
        made.authority,
        DelegationTerms(name="Yeni", email="a@b.example"),
        made.authority.directory / "y",
        now=made.now,
    )
    customer = Customer(made)
    assert customer.check()["state"] == "unlicensed"
    customer.install(issue.issue(made.authority, "Yeni", LicenseTerms(), now=made.now).text)
    assert customer.check()["state"] == "active"


def test_a_stolen_root_key_is_replaced_and_vouches_for_nothing_any_more(made: Vendor, customer: Customer) -> None:
    first = made.authority.root
    stolen, other = (keys.load(made.authority.directory / f"keys/root-{n}.pem", Role.ROOT) for n in (1, 2))
    done = turned(made, Role.ROOT, replaced=frozenset({stolen.public.kid}))
    assert done.retired == (stolen.public.kid,)
    kids = {line.split(b".")[0] for line in done.root.lines.splitlines()}
    assert len(kids) == 2, "two that stay vouch for both, and the stolen one is not asked"
    customer.check()
    claims = signing.root_claims(sub=first.sub, iss=first.sub, seq=3)
    forged = root_claims.signed(dumps(claims), [stolen, other])
    with pytest.raises(Untrusted, match="root_threshold_old"):
        roots.next_after(done.root, forged)
    assert turned(made, Role.STATUS).root.seq == 3, "and what is left still makes roots"
    assert customer.check()["reasons"] == ["ok"]


def test_a_lost_root_key_is_replaced_by_those_that_are_left(made: Vendor, customer: Customer) -> None:
    lost = made.authority.root.keys["root"][2].kid
    (made.authority.directory / "keys/root-3.pem").unlink()
    assert turned(made, Role.ROOT, replaced=frozenset({lost})).retired == (lost,)
    assert customer.check()["reasons"] == ["ok"]


def test_fewer_root_keys_than_the_threshold_make_no_root(made: Vendor) -> None:
    for number in (1, 2):
        (made.authority.directory / f"keys/root-{number}.pem").unlink()
    before = made.authority.root
    with pytest.raises(Misconfigured, match="root_keys_missing") as caught:
        turned(made, Role.STATUS)
    assert (caught.value.values["found"], caught.value.values["threshold"]) == (1, 2)
    assert made.authority.root == before


def test_only_a_root_key_is_replaced(made: Vendor) -> None:
    with pytest.raises(Usage, match="root_key_unknown"):
        turned(made, Role.ROOT, replaced=frozenset({made.authority.root.keys["status"][0].kid}))


def test_a_stolen_issuer_key(made: Vendor, customer: Customer) -> None:
    """The old signature is nobody's: the bundle has its 14 days, in which the license key brings the one signed anew."""
    issued = made.issue()
    customer.install(issued.text)
    assert customer.agent.run("activate")["ok"]
    thief = made.authority.key(Role.ISSUER)
    turned(made, Role.ISSUER, compromised=True)
    license_ = customer.check()
    assert (license_["state"], license_["permits"]["create"]) == ("grace", True)
    assert license_["next_action"]["code"] == "reinstall_bundle"
    assert thief.public not in made.authority.root.keys["issuer"]
    with made.authority.store.transaction() as books:
        row = books.license_of_key(license_key.digest(issued.key))
    assert row is not None
    assert row.text != issued.text
    assert row.text.split()[-1] == issued.text.split()[-1], "the reseller's own signature stands"
    customer.install(row.text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]
    assert issue.issue(made.authority, RESELLER, LicenseTerms(), now=made.now).text.startswith(row.text.split()[0])


def test_a_stolen_issuer_key_and_nobody_does_anything(made: Vendor, customer: Customer) -> None:
    turned(made, Role.ISSUER, compromised=True)
    customer.check()
    assert customer.days(13)["state"] == "grace"
    license_ = customer.days(2)
    assert (license_["state"], license_["permits"]["run"], license_["permits"]["create"]) == ("expired", True, False)


def test_a_stolen_activation_key(made: Vendor, customer: Customer) -> None:
    """The license alone goes on, and is activated again."""
    turned(made, Role.ACTIVATION, compromised=True)
    license_ = customer.check()
    assert (license_["state"], "activation_due" in license_["reasons"]) == ("active", True)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]


def test_a_stolen_status_key_had_signed_next_month(made: Vendor, customer: Customer) -> None:
    thief = made.authority.key(Role.STATUS)
    ahead = made.now + 20 * DAY
    claims = signing.status_list_claims(
        {}, iss="OPanel", iat=ahead, exp=ahead + 7 * DAY, sub=made.authority.root.status_uri
    )
    assert customer.agent.install(thief.sign(Typ.STATUS_LIST, claims).encode())["ok"]
    assert customer.agent.run("refresh")["result"]["asked"][1]["error"]["detail"] == "status_list_older"
    turned(made, Role.STATUS)
    assert customer.check()["as_of"] < ahead, "the floor and the time went with the key"


@pytest.mark.parametrize("lost", ["key", "bytes"])
@pytest.mark.slow
def test_a_list_that_is_lost_expires_nobody(made: Vendor, customer: Customer, lost: str) -> None:
    """A license of ten months lives on its lists. One that goes while the next cannot be had takes no day away."""
    assert customer.days(300)["reasons"] == ["ok"]
    agent = customer.agent
    if lost == "key":
        turned(made, Role.STATUS)
        assert agent.run("bundle", document=base64url(publish.roots_text(made.authority)))["ok"]
    else:
        agent.files.put(agent.world.paths.status_list, bytes(10**6))
    agent.opt_outs.set_signals(offline=True)
    assert (agent.license()["state"], customer.days(28)["state"]) == ("active", "active")
    assert customer.days(3)["state"] == "grace", "and no day is given"
    agent.opt_outs.set_signals()
    assert customer.check()["state"] == "active"


def test_a_stolen_advisory_key_leaves_the_set_as_it_was(made: Vendor, customer: Customer) -> None:
    advisories.advise(made.authority, dumps(ADVICE), now=made.now)
    before = advisories.published(made.authority, now=made.now)
    turned(made, Role.ADVISORY, compromised=True)
    after = advisories.published(made.authority, now=made.now)
    assert before.split(b".")[1] == after.split(b".")[1]
    assert before != after
    customer.check()
    assert [each["seq"] for each in customer.agent.run("refresh")["answer"]["advisories"]] == [1]


def test_a_stolen_receipt_key_leaves_the_other_receipts_listed(made: Vendor, customer: Customer) -> None:
    body = b"a report"
    token = made.authority.key(Role.RECEIPT).sign(
        Typ.RECEIPT, signing.receipt_claims(body, iss=made.authority.root.sub)
    )
    agent = customer.agent
    agent.files.write(agent.world.paths.receipts / "usage-0123456789abcdef.jwt", token.encode() + b"\n")
    (before,) = agent.run("receipts")["result"]["receipts"]
    turned(made, Role.RECEIPT, compromised=True)
    customer.check()
    assert agent.run("receipts")["result"]["receipts"] == [before]


def test_sixteen_keys_of_a_role_and_the_oldest_goes(made: Vendor) -> None:
    first = made.authority.root.keys["receipt"][0]
    for _ in range(15):
        turned(made, Role.RECEIPT)
    assert first in made.authority.root.keys["receipt"]
    assert turned(made, Role.RECEIPT).retired == (first.kid,)


def _turn_for_ever(made: Vendor) -> None:
    while True:
        turned(made, Role.STATUS)


@pytest.mark.slow
def test_as_many_roots_as_agents_read_are_made_and_walked_in_steps(made: Vendor) -> None:
    with pytest.raises(Misconfigured, match="roots_full"):
        _turn_for_ever(made)
    last = made.authority.root.seq
    assert last > 65
    customer = Customer(made)
    for reached in range(65, last, 64):
        asked_roots, asked_list = customer.agent.run("refresh")["result"]["asked"]
        assert (asked_roots["ok"], asked_list["error"]["detail"]) == (True, "key_unknown"), (
            "the list is of a later root"
        )
        assert seq(customer) == reached
    customer.check()
    assert seq(customer) == last


def test_the_command(made: Vendor, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    away = tmp_path / "media"
    keys.make_directory(away)
    for number in (1, 2):
        path = made.authority.directory / f"keys/root-{number}.pem"
        path.rename(away / path.name)
    there = ("--dir", str(made.authority.directory))
    assert main(["rotate", "status", *there]) == 78
    assert "cannot sign a root with 1 of its keys" in capsys.readouterr().err
    assert main(["rotate", "status", *there, "--root-keys", str(away), "--days", "100", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert (result["role"], result["seq"], len(result["new_keys"]), len(result["of_no_use_any_more"])) == (
        "status",
        2,
        1,
        1,
    )
    assert Path(result["roots"]).read_bytes() == publish.roots_text(made.authority)
    assert main(["rotate", "reseller", *there]) == 64
    assert main(["rotate", "root", *there, "--replace", "nobody"]) == 64
    assert "it is no root key" in capsys.readouterr().err


def test_who_serves_meanwhile_serves_the_new_root_and_list(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        made = served.vendor
        turned(made, Role.STATUS)
        assert served.ask("GET", "/v1/roots.jws").body == publish.roots_text(made.authority)
        token = served.ask("GET", "/v1/status.jwt").body
        customer = Customer(made)
        assert customer.agent.run("bundle", document=base64url(publish.roots_text(made.authority)))["ok"]
        assert customer.agent.run("bundle", document=base64url(token))["ok"]
        issued = made.issue()
        asked = dumps({"schema": 1, "key_sha256": license_key.digest(issued.key)})
        assert served.ask("POST", "/v1/bundles", asked, JSON).body == issued.text.encode()


def test_another_threshold_holds_from_the_next_root_on(made: Vendor, customer: Customer) -> None:
    where = made.authority.directory / "keys"
    done = rotate(made.authority, Rotation(role=Role.ROOT, root_keys=where, threshold=3), now=made.now)
    assert done.root.threshold == 3
    assert customer.check()["reasons"] == ["ok"]
    assert seq(customer) == 2
    done.made[0].rename(made.authority.directory / "away.pem")
    with pytest.raises(Misconfigured, match="root_keys_missing"):
        turned(made, Role.STATUS)
    (made.authority.directory / "away.pem").rename(done.made[0])
    assert turned(made, Role.STATUS).root.threshold == 3


def test_a_root_may_say_something_else_without_a_new_key(made: Vendor, customer: Customer) -> None:
    before = made.authority.root
    done = rotate(
        made.authority, Rotation(role=None, root_keys=made.authority.directory / "keys", threshold=3), now=made.now
    )
    assert (done.root.threshold, done.root.keys, done.made, done.retired) == (3, before.keys, (), ())
    assert customer.check()["reasons"] == ["ok"]
    assert seq(customer) == 2


@pytest.mark.parametrize(("role", "threshold"), [(Role.ROOT, 1), (Role.ROOT, 4), (Role.STATUS, 4), (None, 1)])
def test_a_threshold_that_cannot_be_met_is_refused(made: Vendor, role: Role | None, threshold: int) -> None:
    where = made.authority.directory / "keys"
    with pytest.raises(Usage, match="threshold_range"):
        rotate(made.authority, Rotation(role=role, root_keys=where, threshold=threshold), now=made.now)
