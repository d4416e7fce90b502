"""Years of a server under a real authority: a reseller who is revoked, and a server that never reaches anybody."""

from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.customer import DAY, HOUR, Customer, activated
from fixtures.authority.vendor import RESELLER, Vendor, vendor
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.license import license_key
from opanel_authority.documents import advisories, delegate, issue, publish
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.keys import Role
from opanel_authority.documents.rotate import Rotation, rotate
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests import licensing

ADVICE: Any = {"severity": "high", "title": {"tr": "Bilgi", "en": "Note"}, "body": {"tr": "Bilgi", "en": "Note"}}


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


@pytest.fixture
def customer(made: Vendor) -> Customer:
    return activated(made)


def reseller(made: Vendor, what: Change, customer: Customer) -> None:
    with made.authority.store.transaction() as books:
        row = books.delegation(name=RESELLER)
    assert row is not None
    changes.change(made.authority, what, row.jti, now=customer.agent.clock.wall_s)


# ---- a revoked delegation


def test_customers_of_a_revoked_reseller_have_thirty_days(made: Vendor, customer: Customer) -> None:
    reseller(made, Change.REVOKE, customer)
    license_ = customer.check()
    assert (license_["state"], license_["reasons"]) == ("grace", ["reseller_revoked"])
    assert license_["until"] == license_["as_of"] + 30 * DAY
    assert all(license_["permits"].values())
    assert license_["next_action"]["code"] == "contact_reseller"
    assert customer.days(29)["state"] == "grace"
    license_ = customer.days(1)
    assert (license_["state"], license_["reasons"][0]) == ("expired", "reseller_revoked")
    assert license_["permits"] == {"run": True, "change": True, "create": False, "paid_features": False}


@pytest.mark.slow
def test_a_reseller_who_is_resumed_is_as_before(made: Vendor, customer: Customer) -> None:
    reseller(made, Change.REVOKE, customer)
    customer.check()
    customer.days(40)
    reseller(made, Change.RESUME, customer)
    assert customer.check()["reasons"] == ["ok"], "an upgrade is instant"
    customer.days(2)
    reseller(made, Change.REVOKE, customer)
    license_ = customer.check()
    assert license_["until"] == license_["as_of"] + 30 * DAY, "and another revocation has its own thirty days"


def test_a_mistake_is_looked_for_every_fifteen_minutes(made: Vendor, customer: Customer) -> None:
    reseller(made, Change.REVOKE, customer)
    customer.check()
    reseller(made, Change.RESUME, customer)
    for _ in range(5):  # a run of another purpose may put the look off by up to an hour
        customer.agent.clock.advance(16 * 60)
        license_ = customer.agent.license()
    assert license_["reasons"] == ["ok"]


def test_the_license_ends_when_it_ends(made: Vendor) -> None:
    """Thirty days or to `exp`, whichever is first: a grace of the license's own does not come on top."""
    customer = Customer(made)
    customer.install(made.issue(days=20, activation=False).text)
    customer.check()
    reseller(made, Change.REVOKE, customer)
    license_ = customer.check()
    assert license_["until"] == made.now + 20 * DAY - (made.now - signing.NOW)
    assert customer.days(19)["state"] == "grace"
    assert customer.days(1)["state"] == "expired"


def test_a_license_of_another_reseller_ends_it(made: Vendor, customer: Customer) -> None:
    reseller(made, Change.REVOKE, customer)
    customer.check()
    other = DelegationTerms(name="Başka Bayi", email="a@b.example")
    delegate.delegate(made.authority, other, made.authority.directory / "other", now=made.now)
    fresh = issue.issue(made.authority, other.name, LicenseTerms(), now=made.now)
    customer.install(fresh.text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]


@pytest.mark.parametrize("revoked", [1, 150], ids=["the parent", "the child"])
def test_any_link_of_the_chain_counts(revoked: int) -> None:
    child_key = signing.signer("child reseller")
    child = signing.delegation(
        by=signing.DELEGATE,
        iss=signing.RESELLER,
        sub="child.example",
        jti="delegation-2",
        name="Alt Bayi",
        cnf={"jwk": child_key.jwk},
        may=signing.may(depth=0, status_range=[100, 200]),
        status=signing.status(150),
        iat=signing.ISSUED,
        nbf=signing.ISSUED,
    )
    agent = Simulated()
    text = signing.lines(
        signing.delegation(), child, signing.license(by=child_key, iss="child.example", iat=signing.NOW)
    )
    assert agent.install(text)["ok"]
    agent.publish({revoked: 1})
    license_ = agent.run("refresh")["answer"]["license"]
    assert (license_["state"], license_["reasons"][0]) == ("grace", "reseller_revoked")
    agent.clock.advance(HOUR)
    agent.publish({revoked: 2})
    assert agent.run("refresh")["answer"]["license"]["state"] == "active", "of a delegation only a revocation counts"


# ---- a server that lives on files


class OffTheNet:
    """Everything comes as a file in import.d, under a name of its own, and stays there until somebody tidies up."""

    def __init__(self, made: Vendor) -> None:
        self.made = made
        self.customer = Customer(made)
        self.agent = self.customer.agent
        self.agent.opt_outs.set_signals(offline=True)
        self.carried = 0

    def carry(self, text: bytes) -> None:
        self.carried += 1
        self.agent.files.put(PATHS.import_dir / f"{self.carried:04}.jws", text, mode=0o640)
        self.agent.run("tick")

    def tidy(self) -> None:
        for name in self.agent.files.names(PATHS.import_dir):
            self.agent.files.take_away(PATHS.import_dir / name)

    def list(self) -> bytes:
        self.made.now = self.agent.clock.wall_s
        return publish.current_status_list(self.made.authority, now=self.made.now)

    def activate(self) -> None:
        """The request is carried out by hand, and so is its answer."""
        result = self.agent.run("activate", to_file=True)["result"]
        assert (result["sent"], [each["reason"] for each in result["why"]]) == (False, ["offline"])
        body = unbase64url(result["request"])
        self.made.now = self.agent.clock.wall_s
        self.carry(licensing.signed(self.made.authority, body, requests.verify(body), now=self.made.now).body)

    def renew(self, issued: Issued) -> None:
        self.made.now = self.agent.clock.wall_s
        with self.made.authority.store.transaction() as books:
            row = books.license_of_key(license_key.digest(issued.key))
            assert row is not None
            text = issue.renewed(self.made.authority, books, row, now=self.made.now)
        self.carry(text.encode())

    def days(self, count: int) -> dict[str, Any]:
        """A pass a week is enough to see what time alone does."""
        for passing in (*[7] * (count // 7), count % 7):
            self.agent.clock.advance(passing * DAY)
            self.agent.run("tick")
        return self.agent.license()


@pytest.mark.parametrize("periods", [18, pytest.param(52, marks=pytest.mark.slow)], ids=["one year", "three years"])
def test_years_without_a_network(made: Vendor, periods: int) -> None:
    """A list every three weeks, a bundle a year, two rotations on the way: always active, and not one request."""
    server = OffTheNet(made)
    issued = made.issue(stale_days=30)
    server.carry(issued.text.encode())
    server.activate()
    for three_weeks in range(periods):
        server.carry(server.list())
        if three_weeks in (8, 30, 50):
            for role in (Role.STATUS, Role.ROOT, Role.ISSUER):
                rotate(made.authority, Rotation(role=role, root_keys=made.authority.directory / "keys"), now=made.now)
            server.carry(publish.roots_text(made.authority))
            server.carry(server.list())
        if three_weeks % 17 == 16:
            server.renew(issued)
        if three_weeks % 8 == 7:
            server.tidy()
        license_ = server.days(21)
        assert license_["state"] == "active", (three_weeks, license_)
        assert set(license_["reasons"]) <= {"ok", "renew_soon"}, (three_weeks, license_)
    assert server.agent.network.sent == []
    assert server.agent.run("tick")["answer"]["root"]["seq"] == (4 if periods == 18 else 10)


def test_a_list_that_does_not_come_is_missed_after_its_days(made: Vendor) -> None:
    server = OffTheNet(made)
    server.carry(made.issue(stale_days=30, activation=False).text.encode())
    server.carry(server.list())
    assert server.days(29)["state"] == "active"
    license_ = server.days(2)
    assert (license_["state"], license_["reasons"][0], license_["next_action"]["code"]) == (
        "grace",
        "status_stale",
        "check_network",
    )
    license_ = server.days(14)
    assert (license_["state"], license_["permits"]["run"], license_["permits"]["create"]) == ("expired", True, False)
    server.carry(server.list())
    assert server.agent.license()["reasons"] == ["ok"]
    assert server.agent.network.sent == []


def test_ten_years_of_patience_are_for_ever(made: Vendor) -> None:
    """`stale_days` 3650, for a data center that nothing enters: the term alone ends it."""
    server = OffTheNet(made)
    server.carry(made.issue(stale_days=3650, activation=False).text.encode())
    assert server.days(300)["state"] == "active"
    license_ = server.days(70)
    assert (license_["state"], license_["reasons"][0]) == ("grace", "expired")


def test_what_comes_by_file_is_judged_as_what_comes_by_wire(made: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    """An older list, another's roots, half a bundle: named once each, and nothing of it counts."""
    server = OffTheNet(made)
    server.carry(made.issue(activation=False).text.encode())
    old = server.list()
    server.days(2)
    server.carry(server.list())
    for text in (old, signing.root(), made.issue().text.encode()[:-10], b"\xff" * 600_000, signing.bundle()):
        server.carry(text)
    for _ in range(3):
        server.agent.run("tick")
    logged = [row for row in capsys.readouterr().err.splitlines() if "document_" in row]
    refused = [row for row in logged if "document_refused" in row or "document_unreadable" in row]
    assert len(refused) == 5
    for row, (number, detail) in zip(
        refused,
        ((3, "status_list_older"), (4, "root_"), (5, "jws_shape"), (6, "file_size"), (7, "key_unknown")),
        strict=True,
    ):
        assert f"{number:04}.jws" in row, row
        assert detail in row, row
    assert server.agent.license()["reasons"] == ["ok"]


def test_an_advisory_comes_by_file_too(made: Vendor) -> None:
    server = OffTheNet(made)
    advisories.advise(made.authority, dumps(ADVICE), now=made.now)
    server.carry(advisories.published(made.authority, now=made.now))
    assert [each["severity"] for each in server.agent.run("tick")["answer"]["advisories"]] == ["high"]
    assert server.agent.network.sent == []


def test_a_revocation_comes_by_file_too(made: Vendor) -> None:
    server = OffTheNet(made)
    issued = made.issue(activation=False)
    server.carry(issued.text.encode())
    changes.change(made.authority, Change.REVOKE, issued.jti, now=made.now)
    server.carry(server.list())
    assert server.agent.license()["reasons"] == ["revoked"]
    assert server.days(3)["state"] == "revoked"


# ---- a kernel that does not tell its boot


def test_a_server_whose_kernel_tells_no_boot_id_stays_active(customer: Customer) -> None:
    customer.agent.clock.boot_id = None
    assert customer.days(40)["state"] == "active"
