"""Builds a consent receipt (ISO/IEC TS 27560:2023): what was answered, to which notice, about which data.

The names of members are the specification's (clauses for record, PII
processing, party and event); states are those of the W3C Data Privacy
Vocabulary, as in the ledger, from whose entries a receipt is made. It is made
anew whenever it is asked for: the same entries and the same notice give the
same receipt, and `receipt_id` is the digest of the ledger entry that it speaks
of.

What the specification asks for and is not known here is not made up. The
principal is whoever administers this server: a name is there only where the
consent file gives one.

Left out: the JSON-LD context, which would make a reader fetch something, and a
signature, in whose place stand the ledger's chain and the authority's own
receipts.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Protocol

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import Untrusted, Value
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.reporting.catalog import Field, PurposeSchema
from opanel_agent.core.values import frozen

SCHEMA: Final = "ISO/IEC TS 27560:2023"
PRINCIPAL: Final = "administrator"
RIGHTS: Final = ("access", "rectify", "erase", "restrict", "object", "portability", "withdraw", "complain")
STATES: Final = (
    EntryKind.CONSENT_GIVEN,
    EntryKind.CONSENT_REFUSED,
    EntryKind.CONSENT_WITHDRAWN,
    EntryKind.CONSENT_INVALIDATED,
)
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999


class Translate(Protocol):
    """Returns a sentence by its id, with its values filled in:

    `messages.translate` in one language.
    """

    def __call__(self, text_id: str, /, **values: Value) -> str: ...


@frozen
class Notice:
    """Holds the text that an answer was given to: its version, the language it was read in, and its digest.

    `sha256` is in hex, None where the text of that version is not installed any
    more.
    """

    version: str
    language: str
    sha256: str | None


@frozen
class ReceiptSubject:
    """Holds what a receipt is about beside the answers: one purpose, as the catalog declares it, and who receives it."""

    purpose: str
    sheet: PurposeSchema
    notice: Notice
    root: Root


def build(subject: ReceiptSubject, entries: Iterable[Entry]) -> dict[str, Json]:
    """Returns the receipt of the newest answer for a purpose, with the answers before it as events.

    Raises Untrusted (`receipt_none`) where nothing was answered.
    """
    events = _answers(subject, entries)
    return {
        "schema_version": SCHEMA,
        "receipt_id": events[-1].digest,
        "consent_record": {
            "schema_version": SCHEMA,
            "record_id": events[0].digest,
            "pii_principal_id": PRINCIPAL,
            "pii_processing": _processing(subject),
            "party_identification": [_party(subject)],
            "event": [_event(entry) for entry in events],
        },
    }


def readable(subject: ReceiptSubject, entries: Iterable[Entry], translate: Translate) -> tuple[str, ...]:
    """Returns the receipt for a person, line by line, in the language of `translate`; fields are described in the notice's.

    Raises Untrusted (`receipt_none`) where nothing was answered.
    """
    events = _answers(subject, entries)
    days_here, days_there = _days(subject.sheet)
    lines = [
        translate("receipt.title", purpose=translate(f"purpose.{subject.purpose}")),
        translate("receipt.id", id=events[-1].digest),
        translate("receipt.notice", version=subject.notice.version, sha256=subject.notice.sha256 or "-"),
        *(
            translate("receipt.event", time=_iso(entry.at), state=translate(f"receipt.state.{entry.kind}"))
            for entry in events
        ),
        translate("receipt.controller", name=subject.root.sub),
        *(translate("receipt.place", url=each.url, region=each.region) for each in _places(subject)),
        translate("receipt.fields"),
        *(f"  {name}: {field.description[subject.notice.language]}" for name, field in _live(subject.sheet)),
        translate("receipt.retention", days_here=days_here, days_there=days_there),
        translate("receipt.withdraw", command=_withdraw(subject)),
        translate("receipt.rights"),
    ]
    return tuple(lines)


def _processing(subject: ReceiptSubject) -> Json:
    """Returns the section "PII processing": one purpose, one lawful basis.

    Technical data, none of it of a special category.

    KVKK m.5/1 and GDPR art. 6(1)(a) are consent. Storage and processing are
    where the root says that the authority's servers stand.
    """
    here, there = _days(subject.sheet)
    regions: list[Json] = [*dict.fromkeys(place.region for place in _places(subject))]
    notice = subject.notice
    return {
        "privacy_notice": {"version": notice.version, "sha256": notice.sha256},
        "language": notice.language,
        "purposes": [
            {
                "purpose": subject.purpose,
                "purpose_type": "dpv:ServiceOptimisation",
                "lawful_basis": ["GDPR 6(1)(a)", "KVKK m.5/1"],
                "pii_information": [
                    {
                        "pii_type": name,
                        "description": field.description[notice.language],
                        "pii_optional": field.optional,
                        "sensitive_pii_category": False,
                        "special_pii_category": False,
                    }
                    for name, field in _live(subject.sheet)
                ],
                "pii_controllers": [subject.root.sub],
                "recipient_third_parties": [],
                "collection_method": "opanel-agent, on this server",
                "storage_locations": regions,
                "processing_locations": regions,
                "geographic_restrictions": regions,
                "retention_period": {"here": f"P{here}D", "there": f"P{there}D"},
                "withdrawal_method": _withdraw(subject),
                "privacy_rights": [*RIGHTS],
            }
        ],
    }


def _party(subject: ReceiptSubject) -> Json:
    """Returns the section "party identification": the vendor, who alone receives what is sent."""
    urls: list[Json] = [place.url for place in _places(subject)]
    return {
        "party_id": subject.root.sub,
        "party_name": subject.root.sub,
        "party_role": "pii_controller",
        "party_url": urls,
    }


def _event(entry: Entry) -> Json:
    """Returns the section "event".

    `entity_id` is who answered: by name where the consent file says it, else
    the administrator.
    """
    return {
        "event_time": _iso(entry.at),
        "event_type": "explicit",
        "event_state": f"dpv:{entry.kind}",
        "validity_duration": "until withdrawn or a newer notice",
        "entity_id": str(entry.data.get("by", PRINCIPAL)),
        "notice": entry.data.get("notice"),
        "ledger": {"seq": entry.seq, "sha256": entry.digest},
    }


def _answers(subject: ReceiptSubject, entries: Iterable[Entry]) -> list[Entry]:
    """Returns the entries of answers for the purpose, oldest first.

    Raises Untrusted (`receipt_none`) where there is none.
    """
    events = [entry for entry in entries if entry.kind in STATES and entry.purpose == subject.purpose]
    if not events:
        raise Untrusted(Fault.USAGE, "receipt_none", purpose=subject.purpose)
    return events


def _places(subject: ReceiptSubject) -> tuple[Destination, ...]:
    """Tells where reports of the purpose go, as the root names it."""
    return subject.root.endpoints.get(subject.purpose, ())


def _live(sheet: PurposeSchema) -> list[tuple[str, Field]]:
    """Returns what a report can say today: a retired field is never built again, so a receipt must not name it."""
    return [(name, field) for name, field in sheet.fields.items() if field.until is None]


def _days(sheet: PurposeSchema) -> tuple[int, int]:
    """Returns the longest that any field is kept, here and there."""
    fields = [field for _, field in _live(sheet)]
    here = max((field.retention_days_here for field in fields), default=0)
    return here, max((field.retention_days_there for field in fields), default=0)


def _withdraw(subject: ReceiptSubject) -> str:
    """Returns the command that withdraws: as short as the one that gives (GDPR art. 7(3))."""
    return f"opanel-agent consent deny {subject.purpose}"


def _iso(at: int) -> str:
    """Formats a time by RFC 3339 in UTC; as a number where no calendar of Python's goes that far (the year 9999)."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") if at <= _LAST_SECOND else str(at)
