"""Proves that a consent receipt says what the ledger says, under the names of ISO/IEC TS 27560, and makes nothing up."""

import hashlib
import json
from dataclasses import replace
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.consent import consent_receipt
from opanel_agent.core.consent.consent_receipt import Notice, ReceiptSubject
from opanel_agent.core.errors import Value
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger.chain import ChainState, Entry, EntryKind
from opanel_agent.core.reporting.catalog import PurposeSchema
from opanel_agent.system.storage.resources import load_catalog

NOW: Final = signing.NOW
PURPOSE: Final = "usage_statistics"
SHEET: Final = load_catalog().sheets[PURPOSE]
NOTICE: Final = Notice(version="2026-12-01", language="tr", sha256=hashlib.sha256(b"notice").hexdigest())
REPORTS: Final = {PURPOSE: [{"url": "https://reports.example", "region": "eu"}]}


def subject(sheet: PurposeSchema = SHEET, notice: Notice = NOTICE, **root: Any) -> ReceiptSubject:
    trusted = signing.trusted_root(**{"endpoints": REPORTS, **root})
    return ReceiptSubject(purpose=PURPOSE, sheet=sheet, notice=notice, root=trusted)


def entries(*rows: tuple[EntryKind, str | None, dict[str, Any]]) -> list[Entry]:
    grown, made = ChainState(), []
    for n, (kind, purpose, data) in enumerate(rows):
        made.append(chain.entry_after(grown, kind, NOW + n * 60, purpose, data))
        grown = chain.after(grown, made[-1])
    return made


LIFE: Final = entries(
    (EntryKind.LEDGER_OPENED, None, {}),
    (EntryKind.CONSENT_REFUSED, PURPOSE, {"notice": "2026-12-01"}),
    (EntryKind.CONSENT_GIVEN, "crash_reports", {"notice": "2026-12-01"}),
    (EntryKind.CONSENT_GIVEN, PURPOSE, {"notice": "2026-12-01", "by": "Ayşe Yılmaz", "role": "admin"}),
    (EntryKind.REQUEST_SEALED, PURPOSE, {"bytes": 400}),
    (EntryKind.CONSENT_WITHDRAWN, PURPOSE, {"command": True}),
)


def build(**changes: Any) -> Any:
    """As a reader of JSON sees it."""
    return json.loads(dumps(consent_receipt.build(subject(**changes), LIFE)))


def test_a_receipt_tells_the_answers_of_its_purpose_in_their_order() -> None:
    receipt = build()
    events = receipt["consent_record"]["event"]
    assert [(event["event_state"], event["entity_id"]) for event in events] == [
        ("dpv:ConsentRefused", "administrator"),
        ("dpv:ConsentGiven", "Ayşe Yılmaz"),
        ("dpv:ConsentWithdrawn", "administrator"),
    ]
    assert [event["event_time"] for event in events] == [
        "2026-11-24T09:01:00Z",
        "2026-11-24T09:03:00Z",
        "2026-11-24T09:05:00Z",
    ]
    assert [event["ledger"] for event in events] == [{"seq": n + 1, "sha256": LIFE[n].digest} for n in (1, 3, 5)]
    assert receipt["receipt_id"] == LIFE[5].digest
    assert receipt["consent_record"]["record_id"] == LIFE[1].digest


def test_its_members_are_the_specifications() -> None:
    receipt = build()
    assert set(receipt) == {"schema_version", "receipt_id", "consent_record"}
    record = receipt["consent_record"]
    assert set(record) == {
        "schema_version",
        "record_id",
        "pii_principal_id",
        "pii_processing",
        "party_identification",
        "event",
    }
    assert record["pii_processing"]["privacy_notice"] == {"version": NOTICE.version, "sha256": NOTICE.sha256}
    (purpose,) = record["pii_processing"]["purposes"]
    assert purpose["purpose"] == PURPOSE
    assert purpose["withdrawal_method"] == "opanel-agent consent deny usage_statistics"
    assert (
        purpose["pii_controllers"]
        == [party["party_id"] for party in record["party_identification"]]
        == [signing.VENDOR]
    )


def test_it_names_every_field_that_can_leave_and_how_long_it_is_kept() -> None:
    purpose = build()["consent_record"]["pii_processing"]["purposes"][0]
    assert [each["pii_type"] for each in purpose["pii_information"]] == list(SHEET.fields)
    assert all(
        each["description"] == SHEET.fields[each["pii_type"]].description["tr"] for each in purpose["pii_information"]
    )
    assert purpose["retention_period"] == {"here": "P90D", "there": "P180D"}


def test_it_names_where_reports_go_and_no_place_that_the_root_does_not() -> None:
    record = build()["consent_record"]
    assert record["party_identification"][0]["party_url"] == ["https://reports.example"]
    assert record["pii_processing"]["purposes"][0]["storage_locations"] == ["eu"]
    nowhere = build(endpoints={})["consent_record"]
    assert nowhere["party_identification"][0]["party_url"] == []
    assert nowhere["pii_processing"]["purposes"][0]["storage_locations"] == []


def test_the_same_entries_give_the_same_receipt() -> None:
    assert consent_receipt.build(subject(), LIFE) == consent_receipt.build(subject(), list(LIFE))


@pytest.mark.parametrize("life", [[], LIFE[:1], [LIFE[2]], [LIFE[4]]])
def test_where_nothing_was_answered_there_is_no_receipt(life: list[Entry]) -> None:
    with refused("receipt_none", purpose=PURPOSE):
        consent_receipt.build(subject(), life)
    with refused("receipt_none", purpose=PURPOSE):
        consent_receipt.readable(subject(), life, spoken)


def test_a_retired_field_is_not_said_to_leave() -> None:
    retired = {
        name: replace(field, until="2027-01-01", retention_days_here=999) for name, field in SHEET.fields.items()
    }
    sheet = PurposeSchema(recipients=("vendor",), fields={**retired, "os_id": SHEET.fields["os_id"]})
    record = build(sheet=sheet)["consent_record"]["pii_processing"]["purposes"][0]
    assert [each["pii_type"] for each in record["pii_information"]] == ["os_id"]
    assert record["retention_period"] == {"here": "P90D", "there": "P180D"}


def test_a_time_beyond_every_calendar_is_a_number() -> None:
    far = entries((EntryKind.CONSENT_GIVEN, PURPOSE, {}))[0]
    last = Entry(seq=1, at=2**53 - 1, kind=far.kind, purpose=PURPOSE, data={}, prev=far.prev)
    receipt: Any = consent_receipt.build(subject(), [last])
    assert receipt["consent_record"]["event"][0]["event_time"] == str(2**53 - 1)


# ---- for a person


def spoken(text_id: str, /, **values: Value) -> str:
    return f"{text_id} " + " ".join(f"{name}={value}" for name, value in values.items())


def test_a_person_reads_the_same() -> None:
    lines = consent_receipt.readable(subject(), LIFE, spoken)
    text = "\n".join(lines)
    assert f"id={LIFE[5].digest}" in text
    assert "time=2026-11-24T09:03:00Z state=receipt.state.ConsentGiven" in text
    assert f"version={NOTICE.version} sha256={NOTICE.sha256}" in text
    assert "receipt.place url=https://reports.example region=eu" in lines
    assert "receipt.retention days_here=90 days_there=180" in lines
    assert all(f"  {name}: {field.description['tr']}" in lines for name, field in SHEET.fields.items())


def test_descriptions_are_in_the_language_of_the_notice() -> None:
    english = Notice(version="2020-01-01", language="en", sha256=None)
    lines = consent_receipt.readable(subject(notice=english), LIFE, spoken)
    assert "receipt.notice version=2020-01-01 sha256=-" in lines
    assert f"  os_id: {SHEET.fields['os_id'].description['en']}" in lines
