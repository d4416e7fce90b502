"""What comes in by consent: reports, how long each stays, and what a person sees of all that came (docs/authority.md).

A report says what the agent's own field catalog admits, or it is refused and nothing of it is kept. It is kept as it
came, under its `erasure`, with its purpose and the day. Nothing says from where.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.errors import NotPermitted, Untrusted, Usage
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository, ReportRow, RightRow
from opanel_authority.requests import data_subject
from opanel_authority.requests.licensing import MAX_REQUEST_BYTES, Answer
from opanel_authority.requests.receipts import Admit, admit_all, date_of, declared, made_receipt, retention_days, span
from opanel_authority.requests.rights import activations_meant, reports_meant
from opanel_authority.requests.scrubbing import scrub

MAX_LISTED: Final = 500


def report(
    authority: Authority,
    catalogs: Mapping[str, Catalog],
    purpose: Purpose,
    body: bytes,
    *,
    now: int,
    admit: Admit = admit_all,
) -> Answer:
    """Keep a report; its receipt says by when it is erased. Raises Untrusted (field_undeclared) naming what may not be.

    `catalogs` by the version of the notice: a report is judged by the one that its sender was shown, and kept as long as
    that one says. One under a notice that is not known here is judged by the newest, which refuses its `notice`.
    """
    catalog = catalogs.get(_notice_of(body), catalogs[max(catalogs)])
    members = declared(catalog, purpose, body)
    erasure, digest, day = members.text("erasure", pattern=SHA256_HEX), hashlib.sha256(body).hexdigest(), now // DAY_S
    admit("reports")
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        if reports_kept.refuses(erasure):
            raise NotPermitted(Reason.NOT_PERMITTED, "report_refused")
        row = reports_kept.report(sha256=digest)
        if row is None:
            row = ReportRow(
                id=secrets.token_hex(16),
                sha256=digest,
                erasure=erasure,
                purpose=purpose.value,
                day=day,
                due=day + retention_days(catalog, purpose),
                restricted=False,
                body=body.decode("utf-8"),
            )
            reports_kept.add_report(row)
        claims = {"jti": row.id, "sub": digest, "kind": row.purpose, **span(row.day, row.due)}
        return made_receipt(authority, claims)


def _notice_of(body: bytes) -> str:
    """Returns what the body says it is under; whether it may be that is judged afterwards, as everything in it."""
    try:
        parsed = loads(body, max_bytes=MAX_REQUEST_BYTES)
    except Untrusted:
        return ""
    return str(parsed.get("notice", "")) if isinstance(parsed, dict) else ""


def purge(authority: Authority, catalog: Catalog, *, now: int) -> int:
    """Erase what is past its time: by the receipt's word, or by the catalog's where that has become shorter. How many."""
    today = now // DAY_S
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        purged = reports_kept.purge_rights(today - retention_days(catalog, Purpose.DATA_RIGHTS))
        for purpose in CONSENT_BASED:
            before = today - retention_days(catalog, purpose)
            purged += reports_kept.purge_reports(purpose.value, today=today, before=before)
        if purged:
            reports_kept.owe_scrub()
    scrub(authority)
    return purged


def received(authority: Authority) -> dict[str, Json]:
    """Counts by purpose, and the newest reports and requests. What is restricted is stored and nothing else."""
    with authority.store.reading() as books:
        reports_kept = ReportRepository(books)
        return {
            **{purpose.value: reports_kept.counts().get(purpose.value, 0) for purpose in CONSENT_BASED},
            "restricted": reports_kept.count_restricted(),
            "reports": [_report_line(row) for row in reports_kept.reports(MAX_LISTED)],
            "rights": [_right_line(row) for row in reports_kept.rights(MAX_LISTED)],
        }


def received_one(authority: Authority, found_id: str) -> dict[str, Json]:
    """Returns one report or rights request by the `jti` of its receipt. Usage: unknown; NotPermitted: restricted."""
    with authority.store.reading() as books:
        reports_kept = ReportRepository(books)
        row = reports_kept.report(report_id=found_id)
        if row is not None:
            if row.restricted:
                raise NotPermitted(Reason.NOT_PERMITTED, "report_restricted", id=found_id)
            return {**_report_line(row), "body": row.body}
        asked = reports_kept.right(right_id=found_id)
        if asked is None:
            raise Usage(Fault.USAGE, "received_unknown", id=found_id[:64])
        bodies: list[Json] = [each.body for each in reports_meant(reports_kept, asked)]
        held: list[Json] = [data_subject.held(books, each) for each in activations_meant(books, asked)]
        return {**_right_line(asked), "text": asked.text or "", "reports": bodies, "activations": held}


def _report_line(row: ReportRow) -> dict[str, Json]:
    return {"id": row.id, "purpose": row.purpose, "day": date_of(row.day), "erased_by": date_of(row.due)}


def _right_line(row: RightRow) -> dict[str, Json]:
    return {
        "id": row.id,
        "kind": row.kind,
        "day": date_of(row.day),
        "answer_by": "-" if row.answered else date_of(row.due),
        "found": row.found,
    }
