"""What a reseller's support desk types: list, show, export, log, audit, bulk, keys of the management API."""

import csv
import json
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from fixtures.authority import vendor as vendors
from fixtures.authority.vendor import RESELLER, Vendor
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.license import license_key
from opanel_authority.authority import open_home
from opanel_authority.books.tables import licenses as licenses_table
from opanel_authority.cli.main import main
from opanel_authority.lifecycle import audit, listing
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.lifecycle.listing import Filter, LicenseState

Captured = pytest.CaptureFixture[str]
ADVICE = {"severity": "low", "title": {"tr": "Başlık", "en": "Title"}, "body": {"tr": "Metin", "en": "Text"}}


def run(capsys: Captured, *arguments: str | Path, exits: int = 0) -> Any:
    """The result of a command; of one that must fail its errors."""
    assert main([*map(str, arguments), "--json"]) == exits
    read = json.loads(capsys.readouterr().out)
    return read["result"] if exits == 0 else read["errors"]


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendors.vendor(tmp_path, now=int(time.time()) - 100, limits={"accounts": 10})


@pytest.mark.parametrize("number", ["-1", "9223372036854775808", "9" * 400, "1.5", "٣"])
@pytest.mark.parametrize("line", ["list --limit", "log --limit", "webhook-deliveries x --before"])
def test_a_number_that_no_column_holds_is_refused(made: Vendor, capsys: Captured, line: str, number: str) -> None:
    assert main([*line.split(), number, "--dir", str(made.authority.directory)]) == 64
    assert capsys.readouterr().err.splitlines()[-1] == "  code: usage"


def test_a_license_is_listed_shown_and_exported_without_its_key(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    issued = [made.issue(order_id=f"o{each}") for each in range(5)]
    made.activate(issued[1])
    run(capsys, "suspend", "o1", *there, "--reason", "not paid")
    first = run(capsys, "list", *there, "--limit", "3")
    rest = run(capsys, "list", *there, "--limit", "3", "--cursor", first["next_cursor"])
    assert {each["id"] for each in first["licenses"] + rest["licenses"]} == {each.jti for each in issued}
    assert (len(first["licenses"]), rest["next_cursor"]) == (3, None)
    (suspended,) = run(capsys, "list", *there, "--state", "suspended", "--as", RESELLER)["licenses"]
    shown = run(capsys, "show", license_key.digest(issued[1].key)[:8], *there)
    assert (suspended["id"], shown["state"], shown["order_id"]) == (issued[1].jti, "suspended", "o1")
    assert [each["seat"] for each in shown["activations"]] == [0]
    assert [(each["act"], each["reason"]) for each in shown["log"]] == [("suspend", "not paid"), ("issue", None)]
    assert run(capsys, "export", *there, "-o", tmp_path / "all.csv")["licenses"] == 5
    text = (tmp_path / "all.csv").read_text("utf-8")
    assert {row["order_id"] for row in csv.DictReader(text.splitlines())} == {f"o{each}" for each in range(5)}
    for secret in (issued[1].key, issued[1].key.replace("-", "")):
        assert secret not in text + json.dumps([first, rest, shown])
    assert stat.S_IMODE((tmp_path / "all.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(state=LicenseState.ACTIVE), {"a"}),
        (Filter(state=LicenseState.ENDED), {"ended"}),
        (Filter(state=LicenseState.REVOKED), {"revoked"}),
        (Filter(order_id="ended"), {"ended"}),
        (Filter(created_from=2**40), set()),
        (Filter(ends_to=2**40), {"a", "ended", "revoked"}),
    ],
)
def test_a_list_is_filtered(made: Vendor, wanted: Filter, found: set[str]) -> None:
    made.issue(order_id="a")
    made.issue(order_id="ended", days=1)
    main(["revoke", made.issue(order_id="revoked").jti, "--dir", str(made.authority.directory)])
    made.now += 10 * vendors.DAY
    with made.authority.store.reading() as books:
        assert {str(each["order_id"]) for each in listing.everything(books, wanted, now=made.now)} == found


def test_overselling_is_found_in_the_signed_documents(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    first, second = made.issue(), made.issue()
    assert run(capsys, "audit", *there) == {"examined": 2, "violations": []}
    with made.authority.store.transaction() as books:  # the books are put back: its slot is given again
        row = books.delegation(name=RESELLER)
        assert row is not None
        books.update_delegation(row.number, slots_drawn=1)
    (tmp_path / "vendor" / "drawn" / f"slots-{row.jti}").unlink()
    third = made.issue()
    (violation,) = audit.audit(made.authority).violations
    assert (violation.rule, set(violation.licenses)) == ("slot_sold_twice", {second.jti, third.jti})
    with made.authority.store.transaction() as books:  # what the books say of it changes nothing
        books.connection.execute(licenses_table.update().values(slot=None))
    assert len(audit.audit(made.authority).violations) == 1
    run(capsys, "revoke", third.jti, *there)
    assert run(capsys, "audit", *there) == {"examined": 2, "violations": []}
    assert first.jti


def test_a_long_license_is_found_beside_each_that_shares_its_slot(made: Vendor) -> None:
    long = made.issue(days=300)
    sold = []
    for _ in range(2):
        with made.authority.store.transaction() as books:
            (row,) = books.delegations()
            books.update_delegation(row.number, slots_drawn=0)
        (made.authority.directory / "drawn" / f"slots-{row.jti}").unlink()
        sold.append(made.issue(days=20))
        made.now += 30 * vendors.DAY
    found = {frozenset(each.licenses) for each in audit.audit(made.authority).violations}
    assert found == {frozenset({long.jti, each.jti}) for each in sold}  # two of one second may come in either order


def test_what_was_sold_past_the_books_is_found_by_its_bundle(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    """As a reseller who keeps his key himself can: he signs and never stores."""
    there = ("--dir", tmp_path / "vendor")
    shutil.copytree(tmp_path / "vendor", tmp_path / "elsewhere")
    other = vendors.Vendor(authority=open_home(tmp_path / "elsewhere"), now=made.now)
    past, stored = other.issue(), made.issue()
    for name, issued in (("past", past), ("stored", stored)):
        (tmp_path / name).write_text(issued.text)
    found = run(capsys, "audit", *there, tmp_path / "past", tmp_path / "stored")
    rules = {(each["rule"], each["licenses"]) for each in found["violations"]}
    assert found["examined"] == 2
    assert ("not_in_books", past.jti) in rules
    assert {rule for rule, _ in rules} == {"not_in_books", "slot_sold_twice"}
    stranger = vendors.vendor(tmp_path / "stranger", now=made.now)
    (tmp_path / "strange").write_text(stranger.issue().text)
    run(capsys, "audit", *there, tmp_path / "strange", exits=65)


def test_what_the_vendor_sets_is_in_the_change_log(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    (tmp_path / "advice.json").write_text(json.dumps(ADVICE))
    run(capsys, "retention", *there, "--licenses", "400")
    run(capsys, "clock", *there, "--accept")
    run(capsys, "advise", tmp_path / "advice.json", *there)
    log = run(capsys, "log", *there)["changes"]
    assert [each["act"] for each in log[:3]] == ["advise", "accept_clock", "retention"]
    assert {each["actor"][:8] for each in log[:3]} == {"command:"}
    assert log[2]["subject"] == "licenses 400 days, changes 1095"


def test_a_file_of_orders_names_networks_and_periods(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    orders = "order_id,networks,grace_days,stale_days\na,192.0.2.0/24 2001:db8::/48,3,7\nb,nowhere,,\n"
    (tmp_path / "orders.csv").write_text(orders, "utf-8")
    there = ("--dir", tmp_path / "vendor")
    done = run(capsys, "bulk", tmp_path / "orders.csv", "--as", RESELLER, *there, "-o", tmp_path / "out.csv")
    assert (done["issued"], done["refused"]) == (1, 1)
    assert run(capsys, "show", "a", *there)["networks"] == ["192.0.2.0/24", "2001:db8::/48"]
    with made.authority.store.reading() as books:
        text = find_license(books, "a").text
    sold = bundles.verify(text.encode(), made.authority.root, now=None).license
    assert (sold.grace_days, sold.stale_days) == (3, 7)


ORDERS = "order_id,tier,days,seats,limits,renews\n1,pro,30,2,accounts=5,no\n2,platinum,,,,\n3,,,x,,\n4,,,,,\n"


def test_a_file_of_orders_is_issued_once_however_often_it_is_run(
    made: Vendor, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS, "utf-8")
    command = (
        "bulk",
        tmp_path / "orders.csv",
        "--as",
        RESELLER,
        "--dir",
        tmp_path / "vendor",
        "-o",
        tmp_path / "out.csv",
    )
    counts = run(capsys, *command)
    assert (counts["issued"], counts["refused"]) == (2, 2)
    rows = {row["order_id"]: row for row in csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines())}
    assert [bool(rows[each]["license_key"]) for each in "1234"] == [True, False, False, True]
    assert rows["2"]["error"].startswith("cannot issue this license: its tier")
    lines = (tmp_path / "out.csv").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "out.csv").write_text(
        "".join(lines[:-1]) + lines[-1][:9], "utf-8"
    )  # the power went off in the last line
    again = run(capsys, *command)
    assert (again["issued"], again["there_before"], again["refused"]) == (1, 1, 2)
    with made.authority.store.reading() as books:
        assert len([*listing.everything(books, Filter(), now=made.now)]) == 2
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
    (tmp_path / "wrong.csv").write_text("name\nx\n", "utf-8")
    (error,) = run(capsys, "bulk", tmp_path / "wrong.csv", *command[2:], exits=64)
    assert error["title"] == "cannot read the orders: other columns"


def test_many_orders_open_the_books_no_more_often_than_few(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    opened: list[object] = []

    def connected(connection: object, _record: object) -> None:
        opened.append(connection)

    event.listen(Engine, "connect", connected)
    try:
        counts = []
        for name, count in (("few", 2), ("many", 20)):
            orders = "".join(f"{name} {number}\n" for number in range(count))
            (tmp_path / name).write_text(f"order_id\n{orders}", "utf-8")
            opened.clear()
            there = ("--as", RESELLER, "--dir", tmp_path / "vendor", "-o", tmp_path / f"{name}.csv")
            assert run(capsys, "bulk", tmp_path / name, *there)["issued"] == count
            counts.append(len(opened))
    finally:
        event.remove(Engine, "connect", connected)
    assert counts[0] == counts[1]


def test_terms_owner_and_renewal_change_by_command(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    issued = made.issue(order_id="7")
    run(capsys, "delegate", "Other", *there, "--email", "a@b.example", "--limit", "accounts=10", "-o", tmp_path / "o")
    run(capsys, "change", "7", *there, "--seats", "3", "--limit", "accounts=7", "-o", tmp_path / "1.jws")
    run(capsys, "renewal-off", "7", *there)
    run(capsys, "lift-move-limit", issued.key, *there)
    run(capsys, "transfer", "7", *there, "--to", "Other", "-o", tmp_path / "2.jws")
    shown = run(capsys, "show", issued.jti, *there)
    assert (shown["seats"], shown["limits"], shown["reseller"], shown["renews"]) == (3, {"accounts": 7}, "Other", False)
    acts = [each["act"] for each in run(capsys, "log", issued.jti, *there)["changes"]]
    assert acts == ["transfer", "lift_move_limit", "renewal_off", "change", "issue"]


@pytest.mark.parametrize("command", [("change", "7", "--seats", "3"), ("transfer", "7", "--to", "Other")])
def test_what_cannot_be_written_is_not_changed(
    made: Vendor, tmp_path: Path, capsys: Captured, command: tuple[str, ...]
) -> None:
    there = ("--dir", tmp_path / "vendor")
    issued = made.issue(order_id="7")
    run(capsys, "delegate", "Other", *there, "--email", "a@b.example", "-o", tmp_path / "o")
    (tmp_path / "there").write_text("")
    run(capsys, *command, *there, "-o", tmp_path / "there", exits=74)
    shown = run(capsys, "show", issued.jti, *there)
    assert (shown["seats"], shown["reseller"], len(shown["log"])) == (1, RESELLER, 1)


def test_resellers_are_listed_widened_and_given_another_key(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    made.issue()
    run(capsys, "reseller", RESELLER, *there, "--slots", "20000", "--tiers", "pro")
    (row,) = run(capsys, "resellers", *there)["resellers"]
    assert (row["slots"], row["entries"], row["state"]) == ("1/20000", "1/16384", "active")
    run(capsys, "reseller", RESELLER, *there, "--rekey", "--reason", "stolen laptop")
    made.now = int(time.time())
    made.issue()
    run(capsys, "revoke", RESELLER, *there)
    (row,) = run(capsys, "resellers", *there)["resellers"]
    assert row["state"] == "revoked"


def test_keys_of_the_management_api_are_shown_once(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    there = ("--dir", tmp_path / "vendor")
    key = run(capsys, "api-key", "billing", "--as", RESELLER, *there)
    secret = key["api_key"]
    assert secret.startswith(f"opk_{key['id']}_")
    for path in (tmp_path / "vendor").glob("authority.sqlite*"):
        assert secret.encode() not in path.read_bytes()
    (row,) = run(capsys, "api-keys", *there)["api_keys"]
    assert (row["name"], row["reseller"], row["state"], row["used_on"]) == ("billing", RESELLER, "active", None)
    run(capsys, "revoke-api-key", key["id"], *there)
    assert run(capsys, "api-keys", *there)["api_keys"][0]["state"] == "revoked"
    run(capsys, "api-key", "x", "--scopes", "everything", *there, exits=64)


@pytest.mark.root
def test_a_bundle_that_does_not_fit_on_the_disk_is_no_license(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)], check=True)  # noqa: S607
    try:
        (full / "fills").write_bytes(bytes(4096))
        command = ("issue", "--as", RESELLER, "--dir", tmp_path / "vendor", "-o", full / "1.jws")
        assert run(capsys, *command, exits=74)[0]["code"] == "io_failed"
        assert not (full / "1.jws").exists()
        assert run(capsys, "list", "--dir", tmp_path / "vendor")["licenses"] == []
    finally:
        subprocess.run(["umount", str(full)], check=True)  # noqa: S607


def test_books_that_others_could_read_are_closed_to_them(made: Vendor, tmp_path: Path, capsys: Captured) -> None:
    books = tmp_path / "vendor" / "authority.sqlite"
    books.chmod(0o644)
    run(capsys, "list", "--dir", tmp_path / "vendor")
    assert stat.S_IMODE(books.stat().st_mode) == 0o600
