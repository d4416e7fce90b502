"""What the authority takes, tells and forgets: only declared fields, erased is gone from every file, no sender is known.

All over real HTTP to `serve`, or on the books themselves where the clock has to move.
"""

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures import log_scan
from fixtures.authority.authority_records import answer_of, everywhere, given, kept, receipt_of, take, use
from fixtures.authority.authority_server import JOSE, JSON, Reply, Served, serving
from fixtures.authority.vendor import DAY, NOW, vendor
from fixtures.data import catalog_bodies
from fixtures.data.catalog_bodies import CATALOG, CATALOGS
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.errors import NotPermitted, Untrusted, Usage
from opanel_agent.core.reporting.catalog import Catalog, thaw
from opanel_authority.api import app
from opanel_authority.api import app as server
from opanel_authority.documents import keys
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.requests import receipts, reports, rights
from opanel_authority.requests.networks import CARRIED

USAGE = "/v1/reports/usage_statistics"
CRASH = "/v1/reports/crash_reports"
RIGHTS = "/v1/rights"
PLANTED = log_scan.EXCEPTION


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        yield running


# ---- what is taken


@pytest.mark.parametrize(("path", "purpose", "days"), [(USAGE, "usage_statistics", 180), (CRASH, "crash_reports", 90)])
def test_a_report_gets_a_receipt(served: Served, path: str, purpose: str, days: int) -> None:
    owed = given(served, path, catalog_bodies.report(path, Purpose(purpose)))
    assert (owed.kind, owed.iat % DAY, owed.due - owed.iat) == (purpose, 0, days * DAY)
    assert 0 <= time.time() - owed.iat < 2 * DAY


def test_the_same_report_is_stored_once(served: Served) -> None:
    body = catalog_bodies.report("twice")
    before = kept(served.vendor)["usage_statistics"]
    first, second = (served.ask("POST", USAGE, body, JSON).body for _ in range(2))
    assert first == second
    assert kept(served.vendor)["usage_statistics"] == before + 1


def test_a_report_is_kept_as_it_came(served: Served) -> None:
    body = catalog_bodies.report("as it came", kernel="6.9")
    answered = given(served, USAGE, body)
    one = reports.received_one(served.vendor.authority, answered.jti)
    assert (str(one["body"]).encode(), one["purpose"]) == (body, "usage_statistics")
    assert one["day"] == time.strftime("%Y-%m-%d", time.gmtime(answered.iat))
    assert set(one) == {"id", "purpose", "day", "erased_by", "body"}


def changed(**changes: Any) -> bytes:
    report_json = loads(catalog_bodies.report("changed"), max_bytes=4096)
    assert isinstance(report_json, dict)
    return dumps({name: value for name, value in {**report_json, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (changed(hostname=PLANTED), ["hostname"]),
        (changed(kernel="6.1.0-18-amd64"), ["kernel"]),
        (changed(kernel=None, os_id=1), ["kernel", "os_id"]),
        (changed(**{"Planted Name": 1}), ["?"]),
        (changed(erasure="0" * 63), ["erasure"]),
        (b"no json", ["body"]),
        (b"[]", ["body"]),
        (b" " + changed(), ["body"]),
    ],
)
def test_what_is_not_declared_is_refused_by_name_and_not_kept(served: Served, body: bytes, fields: list[str]) -> None:
    before = kept(served.vendor)
    reply = served.ask("POST", USAGE, body, JSON)
    assert (reply.status, reply.problem) == (400, "request_refused")
    problem = json.loads(reply.body)
    assert problem["fields"] == fields
    assert all(name in problem["title"] for name in fields)
    assert kept(served.vendor) == before
    assert PLANTED.encode() not in everywhere(served.log.parent) + reply.body


def test_a_purpose_is_taken_at_its_own_address_only(served: Served) -> None:
    assert served.ask("POST", CRASH, catalog_bodies.report("elsewhere"), JSON).problem == "request_refused"
    assert served.ask("POST", "/v1/reports/data_rights", catalog_bodies.right("erase"), JSON).status == 404
    assert served.ask("POST", RIGHTS, catalog_bodies.right("forget"), JSON).status == 400
    assert served.ask("POST", USAGE, catalog_bodies.report("typed"), JOSE).status == 415
    assert served.ask("POST", USAGE, b"1" * (64 * 1024 + 1), JSON).status == 413
    assert served.ask("GET", USAGE).status == 405


def test_many_offending_fields_are_named_in_part(served: Served) -> None:
    reply = served.ask("POST", USAGE, changed(**{f"field_{number}": 1 for number in range(40)}), JSON)
    assert len(json.loads(reply.body)["fields"]) == 17


def test_reports_are_limited_for_all_together(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    here = app.Served(authority=made.authority, elapsed=lambda: 0.0, now=lambda: NOW)
    for _ in range(app.REPORTS_BURST):
        here.reports.take("reports", 0.0)
    with pytest.raises(NotPermitted) as caught:
        server._report(here, Purpose.CRASH_REPORTS, catalog_bodies.report("late", Purpose.CRASH_REPORTS), CARRIED)
    assert (caught.value.detail, caught.value.values["retry_after_s"]) == ("too_many", 2)
    server._right(here, catalog_bodies.right("erase"), CARRIED)
    for _ in range(app.RIGHTS_BURST - 1):
        here.rights.take("rights", 0.0)
    with pytest.raises(NotPermitted):
        server._right(here, catalog_bodies.right("access"), CARRIED)


# ---- rights


def test_a_receipt_that_agents_would_refuse_is_not_given(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    path = tmp_path / "vendor" / "keys" / "receipt.pem"
    path.unlink()
    keys.save(PrivateKey.make(Role.RECEIPT), path)
    with pytest.raises(Untrusted):
        take(made, "a")
    assert kept(made)["usage_statistics"] == 0


def test_nobody_erases_what_he_cannot_reveal(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    body = dumps({"schema": 1, "kind": "erase", "reveals": [catalog_bodies.erasure("a")]})
    assert answer_of(rights.right(made.authority, CATALOG, body, now=NOW).body) == {"found": 0}
    assert kept(made)["usage_statistics"] == 1


def test_an_objection_erases_and_holds_for_what_has_not_come(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    assert use(made, "object", "a", "b")[1] == {"found": 1}
    for name in ("a", "b"):
        with pytest.raises(NotPermitted) as caught:
            take(made, name)
        assert caught.value.detail == "report_refused"
    take(made, "c")
    assert kept(made)["usage_statistics"] == 1


def test_an_erasure_does_not_hold_for_what_has_not_come(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    use(made, "erase", "a")
    take(made, "a")


def test_what_is_restricted_is_stored_and_nothing_else(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    first, second = take(made, "a"), take(made, "b")
    assert use(made, "restrict", "a")[1] == {"found": 1}
    stored = kept(made)
    assert (stored["usage_statistics"], stored["restricted"]) == (1, 1)
    assert [row["id"] for row in stored["reports"]] == [second.jti]
    with pytest.raises(NotPermitted) as caught:
        reports.received_one(made.authority, first.jti)
    assert caught.value.detail == "report_restricted"
    assert take(made, "a") == first


def test_access_tells_what_is_kept(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    bodies = [catalog_bodies.report(name) for name in ("a", "b")]
    take(made, "a")
    made.now += 3 * DAY
    take(made, "b")
    take(made, "c", Purpose.CRASH_REPORTS)
    take(made, "not meant")
    asked, held = use(made, "access", "a", "b", "c", "never came")
    days = [time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (NOW, made.now)]
    shown = [f"{day} {hashlib.sha256(body).hexdigest()[:16]}" for day, body in zip(days, bodies, strict=True)]
    assert (held["found"], held["kept"]["usage_statistics"], len(held["kept"]["crash_reports"])) == (3, shown, 1)
    one = reports.received_one(made.authority, asked.jti)
    assert set(map(str, bodies)) <= {str(str(each).encode()) for each in one["reports"]}  # type: ignore[union-attr]
    assert len(one["reports"]) == 3  # type: ignore[arg-type]


def test_the_longest_answer_is_still_a_receipt(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    names = [f"report {number}" for number in range(64)]
    for name in names:
        take(made, name)
    assert len(use(made, "access", *names)[1]["kept"]["usage_statistics"]) == 64


def test_a_text_is_kept_for_a_person(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    mine = take(made, "a")
    asked, held = use(made, "rectify", "a", text=log_scan.TEXT)
    one = reports.received_one(made.authority, asked.jti)
    assert (one["text"], one["kind"], one["found"], held) == (log_scan.TEXT, "rectify", 1, {"found": 1})
    assert one["reports"] == [reports.received_one(made.authority, mine.jti)["body"]]
    assert one["answer_by"] == time.strftime("%Y-%m-%d", time.gmtime(NOW + 30 * DAY))
    assert [row["id"] for row in kept(made)["rights"]] == [asked.jti]


@pytest.mark.parametrize("kind", ["access", "erase", "object", "rectify", "restrict"])
def test_the_same_request_is_one_request(tmp_path: Path, kind: str) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    first = use(made, kind, "a")
    made.now += DAY
    again = use(made, kind, "a")
    assert (again[0].jti, again[1]) == (first[0].jti, first[1])
    assert len(kept(made)["rights"]) == 1


@pytest.mark.parametrize("kind", ["erase", "object", "restrict"])
def test_what_is_done_at_once_is_answered_at_once(tmp_path: Path, kind: str) -> None:
    made = vendor(tmp_path, now=NOW + 12_345)
    done, _ = use(made, kind, "a")
    assert done.iat == done.due == made.now
    owed, _ = use(made, kind, "a", text="Lisans kaydını da siliniz.")
    assert (owed.iat, owed.due) == (NOW // DAY * DAY, NOW // DAY * DAY + 30 * DAY)


@pytest.mark.parametrize("kind", ["access", "rectify"])
def test_what_a_person_must_see_to_is_owed_until_he_answers(tmp_path: Path, kind: str) -> None:
    made = vendor(tmp_path)
    take(made, "a")
    owed, held = use(made, kind, "a")
    assert (owed.iat, owed.due) == (NOW // DAY * DAY, NOW // DAY * DAY + 30 * DAY)
    made.now += 40 * DAY  # late, which is no reason to say nothing
    assert use(made, kind, "a")[0] == owed
    settled = rights.settle(made.authority, owed.jti, now=made.now).body
    answer = receipt_of(made, catalog_bodies.right(kind, "a"), settled)
    assert (answer.iat, answer.due, answer.jti, answer_of(settled)) == (made.now, made.now, owed.jti, held)
    assert use(made, kind, "a")[0] == answer
    assert kept(made)["rights"][0]["answer_by"] == "-"


def test_only_what_came_in_can_be_settled(tmp_path: Path) -> None:
    with pytest.raises(Usage):
        rights.settle(vendor(tmp_path).authority, "0" * 32, now=NOW)


def test_a_request_without_reports_is_taken(tmp_path: Path) -> None:
    made = vendor(tmp_path)
    body = dumps({"schema": 1, "kind": "access", "text": "Bende ne var?"})
    signed = rights.right(made.authority, CATALOG, body, now=NOW)
    assert answer_of(signed.body) == {"found": 0, "kept": {}}


def test_what_nobody_sent_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(Usage):
        reports.received_one(vendor(tmp_path).authority, "0" * 32)


# ---- how long


# ---- who sent it


def test_no_address_is_kept_or_logged(served: Served) -> None:
    def speak(method: str, path: str, body: bytes | None = None) -> Reply:
        return served.ask(method, path, body, JSON, sender="127.0.0.2")

    assert speak("POST", USAGE, catalog_bodies.report("from elsewhere")).status == 202
    assert speak("POST", USAGE, b"{}").status == 400
    assert speak("POST", RIGHTS, catalog_bodies.right("access", "from elsewhere")).status == 202
    assert speak("GET", "/v1/status.jwt").status == 200
    assert speak("GET", "/nothing").status == 404
    assert b"127.0.0.2" not in everywhere(served.log.parent)
    assert f"POST {USAGE} 202" in served.logged()


def test_no_time_is_kept_that_is_finer_than_a_day(tmp_path: Path) -> None:
    made = vendor(tmp_path, now=NOW + 12_345)
    take(made, "a")
    use(made, "rectify", "a", text="?")
    with contextlib.closing(sqlite3.connect(tmp_path / "vendor" / "authority.sqlite")) as books:
        rows = [*books.execute("SELECT * FROM reports"), *books.execute("SELECT * FROM rights")]
        assert len(rows) == 2
        assert all(value < 100_000 for row in rows for value in row if isinstance(value, int))
        for table in ("reports", "rights", "refused"):
            with pytest.raises(sqlite3.OperationalError):  # nor does the order of rows tell which came first
                books.execute(f"SELECT rowid FROM {table}")  # noqa: S608 - names of ours


def test_a_refusal_of_the_catalog_is_no_retry(tmp_path: Path) -> None:
    with pytest.raises(Untrusted) as caught:
        reports.report(vendor(tmp_path).authority, CATALOGS, Purpose.USAGE_STATISTICS, b"{}", now=NOW)
    assert (str(caught.value.code), caught.value.detail) == ("field_undeclared", "fields_refused")


# ---- under an earlier notice


EARLIER, LATER = "2026-12-03", "2027-03-01"


def moved_on() -> dict[str, Catalog]:
    """An authority whose newest notice has no memory class any more, keeps a report for less long, and knows the earlier."""
    frozen = json.loads(CATALOG.freeze())
    fields = frozen["usage_statistics"]["fields"]
    del fields["memory_class"]
    fields["notice"] |= {"values": [LATER], "example": LATER}
    for each in fields.values():
        each["retention_days_there"] = 30
    return {EARLIER: CATALOG, LATER: thaw(json.dumps(frozen).encode())}


def test_a_report_is_judged_by_the_notice_that_its_sender_was_shown(tmp_path: Path) -> None:
    made, catalogs = vendor(tmp_path), moved_on()

    def take_(body: bytes) -> Receipt:
        token = reports.report(made.authority, catalogs, Purpose.USAGE_STATISTICS, body, now=made.now).body
        return receipt_of(made, body, token)

    report_json, kept_days = (
        json.loads(catalog_bodies.report("a")),
        receipts.retention_days(CATALOG, Purpose.USAGE_STATISTICS),
    )
    assert kept_days > 30
    assert take_(catalog_bodies.report("a")).due == (NOW // DAY + kept_days) * DAY  # as long as that notice said
    newer_json = {**report_json, "notice": LATER, "erasure": catalog_bodies.erasure("b")}
    for mixed in (
        newer_json,
        {**report_json, "notice": "2025-01-01"},
    ):  # a later notice's report with an earlier one's field
        with pytest.raises(Untrusted) as refused:
            take_(dumps(mixed))
        assert refused.value.code == Reason.FIELD_UNDECLARED
        assert "memory_class" in str(refused.value.values["fields"])
    del newer_json["memory_class"]
    assert take_(dumps(newer_json)).due == (NOW // DAY + 30) * DAY


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"notice":[]}', b'{"notice":"../2026-12-01"}'])
def test_what_names_no_notice_is_refused_by_the_newest(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(Untrusted):
        reports.report(vendor(tmp_path).authority, moved_on(), Purpose.USAGE_STATISTICS, body, now=NOW)
