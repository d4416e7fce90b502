"""What comes in by consent or by right: reports, rights requests, and how long each stays (docs/authority.md).

A report says what the agent's own field catalog admits, or it is refused and nothing of it is kept. It is kept as it
came, under its `erasure`, with its purpose and the day. Nothing says from where.

A rights request proves by the 32 bytes behind an `erasure` that a report is its sender's. Of the request its kind, day,
text and how many reports it meant are kept, to show that it was answered in time; the bytes it revealed are not, because
they would link what its sender has just had erased.

Both get a receipt. It is made of the stored row (its time is the start of a day), so the same bytes get the same receipt,
and no receipt has to be stored. A request for which nothing is owed any more gets one of now, which is its answer.

A request about **license data** is signed by the key of an activation, which proves whose that is. Access is answered at
once with what is held (`installation`), erasure at once with what must be kept; everything else is for a person.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents import receipt
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import NotPermitted, Untrusted, Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository, ReportRow, RightRow
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import ActivationRow
from opanel_authority.documents.keys import Role
from opanel_authority.requests import data_subject
from opanel_authority.requests.data_subject import Installation
from opanel_authority.requests.licensing import JOSE, MAX_REQUEST_BYTES, Answer

DUE_DAYS: Final = 30
ACCEPTED: Final = 202
MAX_LISTED: Final = 500
_MAX_NAMED: Final = 16
# Takes one from the named bucket of whoever limits requests; raises NotPermitted where it is empty.
Admit = Callable[[str], None]
_ERASING: Final = frozenset({"erase", "object"})
_FOR_A_PERSON: Final = frozenset({"access", "rectify"})


def _admit_all(_bucket: str) -> None:
    """No limit: for a person at the authority's own command line."""


def report(
    authority: Authority,
    catalogs: Mapping[str, Catalog],
    purpose: Purpose,
    body: bytes,
    *,
    now: int,
    admit: Admit = _admit_all,
) -> Answer:
    """Keep a report; its receipt says by when it is erased. Raises Untrusted (field_undeclared) naming what may not be.

    `catalogs` by the version of the notice: a report is judged by the one that its sender was shown, and kept as long as
    that one says. One under a notice that is not known here is judged by the newest, which refuses its `notice`.
    """
    catalog = catalogs.get(_notice_of(body), catalogs[max(catalogs)])
    members = _declared(catalog, purpose, body)
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
        claims = {"jti": row.id, "sub": digest, "kind": row.purpose, **_days(row.day, row.due)}
        return _receipt(authority, claims)


def right(
    authority: Authority,
    catalog: Catalog,
    body: bytes,
    *,
    now: int,
    by_person: bool = False,
    admit: Admit = _admit_all,
) -> Answer:
    """Do what a rights request asks, at once and really; the receipt's `x.found` tells how many reports it meant.

    What is thereby done owes nothing more: the receipt is the answer (`due` is its `iat`). What a person must see to (a
    text, access, rectification) is owed within 30 days, until he answers: with this request as a file (`by_person`), or
    with its id (`settle`); from then on the same request gets the answer.
    """
    members = _declared(catalog, Purpose.DATA_RIGHTS, body)
    _about_reports(members)
    revealed = members.texts("reveals") if members.has("reveals") else frozenset()
    erasures = {hashlib.sha256(bytes.fromhex(secret)).hexdigest() for secret in revealed}
    admit(_bucket(authority, erasures))
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        meant = reports_kept.reports_of(erasures)
        row = reports_kept.right(sha256=hashlib.sha256(body).hexdigest())
        if row is None:
            row = _new_right(members, body, meant, now // DAY_S)
            reports_kept.add_right(row)
        _act(reports_kept, row.kind, erasures, meant, now // DAY_S)
        if by_person:
            row = _answered(reports_kept, row)
        answer = _receipt(authority, _right_claims(row, _extra(row, meant), now))
    _scrub(authority)
    return answer


def _bucket(authority: Authority, erasures: Collection[str]) -> str:
    """Whoever proves that a report is his has a bucket of his own: nobody who proves nothing can empty it."""
    with authority.store.reading() as books:
        meant = ReportRepository(books).reports_of(erasures)
    return f"rights of {min(each.erasure for each in meant)}" if meant else "rights"


def license_right(
    authority: Authority,
    catalog: Catalog,
    token: bytes,
    *,
    now: int,
    by_person: bool = False,
    admit: Admit = _admit_all,
) -> Answer:
    """The same over license data: `token` is a request signed by the key of an activation.

    Raises Untrusted for what nobody signed, NotPermitted by name for a key that no activation of the license names. The
    same request again has the same answer as far as there is something to tell.
    """
    claims = requests.verify(token)
    if claims.right is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "kind_elsewhere")
    _declared(catalog, Purpose.DATA_RIGHTS, requests.claims_json(claims))
    with authority.store.reading() as books:
        known = data_subject.find(books, claims)
    admit(f"rights of {claims.jwk.kid}" if known.activations else "rights")
    with authority.writing(now) as books:
        reports_kept, one = ReportRepository(books), data_subject.find(books, claims)
        row = reports_kept.right(sha256=hashlib.sha256(token).hexdigest())
        if row is None:
            row = _new_license_right(books, claims, token, one, now // DAY_S)
            reports_kept.add_right(row)
        if claims.right is Right.ERASE:
            data_subject.erase(books, one, now=now)
        if by_person:
            row = _answered(reports_kept, row)
        answer = _receipt(authority, _right_claims(row, _license_extra(books, row, one), now))
    _scrub(authority)
    return answer


def _new_license_right(
    books: Books, claims: requests.RequestClaims, token: bytes, one: Installation, day: int
) -> RightRow:
    if not one.activations:
        raise NotPermitted(Reason.NOT_PERMITTED, "not_activated_here")
    whole = len(data_subject.newest_held(books, one.activations)) == len(one.activations)
    at_once = claims.text is None and (claims.right is Right.ERASE or (claims.right is Right.ACCESS and whole))
    meant = one.running if claims.right is Right.ERASE else one.activations
    return RightRow(
        id=secrets.token_hex(16),
        sha256=hashlib.sha256(token).hexdigest(),
        kind=str(claims.right),
        day=day,
        due=day + DUE_DAYS,
        answered=at_once,
        found=len(one.activations),
        means="" if at_once else " ".join(each.jti for each in meant),
        text=claims.text,
    )


def _license_extra(books: Books, row: RightRow, one: Installation) -> dict[str, Json]:
    extra: dict[str, Json] = {"found": row.found}
    match row.kind:
        case Right.ACCESS:
            return extra | {"held": data_subject.newest_held(books, one.activations)}
        case Right.ERASE:
            return extra | data_subject.kept(one)
        case _:
            return extra


def settle(authority: Authority, right_id: str, *, now: int) -> Answer:
    """A person's answer to a request that came by the network. Raises Usage for an unknown one."""
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        row = reports_kept.right(right_id=right_id)
        if row is None:
            raise Usage(Fault.USAGE, "received_unknown", id=right_id[:64])
        return _receipt(authority, _right_claims(_answered(reports_kept, row), _settled_extra(books, row), now))


def _settled_extra(books: Books, row: RightRow) -> dict[str, Json]:
    activations = _activations_meant(books, row)
    if row.kind == Right.ACCESS and activations:
        return {"found": row.found, "held": data_subject.newest_held(books, activations)}
    return _extra(row, _meant(ReportRepository(books), row))


def _activations_meant(books: Books, row: RightRow) -> tuple[ActivationRow, ...]:
    found = (books.activation(each) for each in row.means.split())
    return tuple(each for each in found if each is not None)


def _new_right(members: Members, body: bytes, meant: Collection[ReportRow], day: int) -> RightRow:
    kind = members.text("kind")
    text = members.text("text", max_length=2000) if members.has("text") else None
    return RightRow(
        id=secrets.token_hex(16),
        sha256=hashlib.sha256(body).hexdigest(),
        kind=kind,
        day=day,
        due=day + DUE_DAYS,
        answered=text is None and kind not in _FOR_A_PERSON,
        found=len(meant),
        means=" ".join(each.id for each in meant) if kind in _FOR_A_PERSON else "",
        text=text,
    )


def _answered(reports_kept: ReportRepository, row: RightRow) -> RightRow:
    reports_kept.set_answered(row.id)
    return replace(row, answered=True)


def _meant(reports_kept: ReportRepository, row: RightRow) -> tuple[ReportRow, ...]:
    """The reports that a person must look at, as far as they are still there."""
    found = (reports_kept.report(report_id=each) for each in row.means.split())
    return tuple(each for each in found if each is not None)


def _scrub(authority: Authority) -> None:
    """Take the traces of what was deleted, now or before a crash. Raises Storage; then it is still owed."""
    with authority.store.reading() as books:
        owed = ReportRepository(books).scrub_owed()
    if owed is None:
        return
    authority.store.scrub()
    with authority.store.transaction() as books:
        ReportRepository(books).scrubbed(owed)


def _act(
    reports_kept: ReportRepository, kind: str, erasures: Collection[str], meant: Collection[ReportRow], day: int
) -> None:
    if kind == "restrict":
        reports_kept.restrict(erasures)
    elif kind in _ERASING:
        reports_kept.erase(erasures)
        # a copy that is still on its way must not bring back what was erased; an objection holds for what never came, too
        reports_kept.refuse(erasures if kind == "object" else {each.erasure for each in meant}, day)


def _extra(row: RightRow, meant: Collection[ReportRow]) -> dict[str, Json]:
    extra: dict[str, Json] = {"found": row.found}
    if row.kind == "access":
        kept: dict[str, list[Json]] = {}
        for each in meant:  # enough to find the very report among what the sender keeps, short enough for a receipt
            kept.setdefault(each.purpose, []).append(f"{_date(each.day)} {each.sha256[:16]}")
        extra["kept"] = {purpose: [*sorted(map(str, each))] for purpose, each in kept.items()}
    return extra


def _right_claims(row: RightRow, extra: dict[str, Json], now: int) -> dict[str, Json]:
    times: dict[str, Json] = {"iat": now, "due": now} if row.answered else _days(row.day, row.due)
    return {"jti": row.id, "sub": row.sha256, "kind": row.kind, **times, "x": extra}


def _receipt(authority: Authority, claims: dict[str, Json]) -> Answer:
    receipt_claims: dict[str, Json] = {"ver": 1, "iss": authority.root.sub, **claims}
    token = authority.key(Role.RECEIPT).sign(Typ.RECEIPT, receipt_claims).encode("ascii")
    receipt.verify(token, authority.root)
    return Answer(content_type=JOSE, body=token, status=ACCEPTED)


def _declared(catalog: Catalog, purpose: Purpose, body: bytes) -> Members:
    offending = catalog.check(purpose, body)
    if offending:
        more = "" if len(offending) <= _MAX_NAMED else ", …"
        fields = ", ".join(offending[:_MAX_NAMED]) + more
        raise Untrusted(Reason.FIELD_UNDECLARED, "fields_refused", purpose=purpose.value, fields=fields)
    return Members(loads(body, max_bytes=MAX_REQUEST_BYTES), "body")


def _about_reports(members: Members) -> None:
    """Raises Untrusted for what belongs to a signed request only: nobody has shown that it is his."""
    wrong = {*members.names()} - {"schema", "kind", "reveals", "text"}
    wrong |= {"schema"} - {*members.names()}
    wrong |= {"kind"} if members.text("kind") not in list(Right) else set()
    if wrong:
        fields = ", ".join(sorted(wrong))
        raise Untrusted(Reason.FIELD_UNDECLARED, "fields_refused", purpose=Purpose.DATA_RIGHTS.value, fields=fields)


def _notice_of(body: bytes) -> str:
    """What the body says it is under; whether it may be that is judged afterwards, as everything in it."""
    try:
        parsed = loads(body, max_bytes=MAX_REQUEST_BYTES)
    except Untrusted:
        return ""
    return str(parsed.get("notice", "")) if isinstance(parsed, dict) else ""


def _days(day: int, due: int) -> dict[str, Json]:
    return {"iat": day * DAY_S, "due": due * DAY_S}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, tz=UTC).date().isoformat()


# ---- how long


def retention_days(catalog: Catalog, purpose: Purpose) -> int:
    """How long what came in for a purpose stays: as long as the first of its fields may."""
    return min(field.retention_days_there for field in catalog.fields(purpose).values())


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
    _scrub(authority)
    return purged


# ---- what came in


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
    """One report or rights request by the `jti` of its receipt. Usage: unknown; NotPermitted: restricted."""
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
        bodies: list[Json] = [each.body for each in _meant(reports_kept, asked)]
        held: list[Json] = [data_subject.held(books, each) for each in _activations_meant(books, asked)]
        return {**_right_line(asked), "text": asked.text or "", "reports": bodies, "activations": held}


def _report_line(row: ReportRow) -> dict[str, Json]:
    return {"id": row.id, "purpose": row.purpose, "day": _date(row.day), "erased_by": _date(row.due)}


def _right_line(row: RightRow) -> dict[str, Json]:
    return {
        "id": row.id,
        "kind": row.kind,
        "day": _date(row.day),
        "answer_by": "-" if row.answered else _date(row.due),
        "found": row.found,
    }
