"""Rights requests: over reports by what is revealed, over license data by the key of an activation (docs/authority.md).

A rights request proves by the 32 bytes behind an `erasure` that a report is its sender's. Of the request its kind, day,
text and how many reports it meant are kept, to show that it was answered in time; the bytes it revealed are not, because
they would link what its sender has just had erased.

A request about **license data** is signed by the key of an activation, which proves whose that is. Access is answered at
once with what is held (`installation`), erasure at once with what must be kept; everything else is for a person.
"""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import NotPermitted, Untrusted, Usage
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository, ReportRow, RightRow
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import ActivationRow
from opanel_authority.requests import data_subject
from opanel_authority.requests.data_subject import Installation
from opanel_authority.requests.licensing import Answer
from opanel_authority.requests.receipts import Admit, admit_all, date_of, declared, made_receipt, span
from opanel_authority.requests.scrubbing import scrub

DUE_DAYS: Final = 30
_ERASING: Final = frozenset({"erase", "object"})
_FOR_A_PERSON: Final = frozenset({"access", "rectify"})


def right(
    authority: Authority,
    catalog: Catalog,
    body: bytes,
    *,
    now: int,
    by_person: bool = False,
    admit: Admit = admit_all,
) -> Answer:
    """Do what a rights request asks, at once and really; the receipt's `x.found` tells how many reports it meant.

    What is thereby done owes nothing more: the receipt is the answer (`due` is its `iat`). What a person must see to (a
    text, access, rectification) is owed within 30 days, until he answers: with this request as a file (`by_person`), or
    with its id (`settle`); from then on the same request gets the answer.
    """
    members = declared(catalog, Purpose.DATA_RIGHTS, body)
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
        answer = made_receipt(authority, _right_claims(row, _extra(row, meant), now))
    scrub(authority)
    return answer


def _bucket(authority: Authority, erasures: Collection[str]) -> str:
    """Returns the bucket: whoever proves that a report is his has a bucket of his own.

    Nobody who proves nothing can empty it.
    """
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
    admit: Admit = admit_all,
) -> Answer:
    """Returns the same over license data: `token` is a request signed by the key of an activation.

    Raises Untrusted for what nobody signed, NotPermitted by name for a key that no activation of the license names. The
    same request again has the same answer as far as there is something to tell.
    """
    claims = requests.verify(token)
    if claims.right is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "kind_elsewhere")
    declared(catalog, Purpose.DATA_RIGHTS, requests.claims_json(claims))
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
        answer = made_receipt(authority, _right_claims(row, _license_extra(books, row, one), now))
    scrub(authority)
    return answer


def _new_license_right(
    books: Books, claims: requests.RequestClaims, token: bytes, one: Installation, day: int
) -> RightRow:
    if not one.activations:
        raise NotPermitted(Reason.SUPERSEDED, "not_activated_here")
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
    """Returns a person's answer to a request that came by the network. Raises Usage for an unknown one."""
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        row = reports_kept.right(right_id=right_id)
        if row is None:
            raise Usage(Fault.USAGE, "received_unknown", id=right_id[:64])
        return made_receipt(authority, _right_claims(_answered(reports_kept, row), _settled_extra(books, row), now))


def _settled_extra(books: Books, row: RightRow) -> dict[str, Json]:
    activations = activations_meant(books, row)
    if row.kind == Right.ACCESS and activations:
        return {"found": row.found, "held": data_subject.newest_held(books, activations)}
    return _extra(row, reports_meant(ReportRepository(books), row))


def activations_meant(books: Books, row: RightRow) -> tuple[ActivationRow, ...]:
    """Returns the activations that a person must look at, as far as they are still there."""
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


def reports_meant(reports_kept: ReportRepository, row: RightRow) -> tuple[ReportRow, ...]:
    """Returns the reports that a person must look at, as far as they are still there."""
    found = (reports_kept.report(report_id=each) for each in row.means.split())
    return tuple(each for each in found if each is not None)


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
            kept.setdefault(each.purpose, []).append(f"{date_of(each.day)} {each.sha256[:16]}")
        extra["kept"] = {purpose: [*sorted(map(str, each))] for purpose, each in kept.items()}
    return extra


def _right_claims(row: RightRow, extra: dict[str, Json], now: int) -> dict[str, Json]:
    times: dict[str, Json] = {"iat": now, "due": now} if row.answered else span(row.day, row.due)
    return {"jti": row.id, "sub": row.sha256, "kind": row.kind, **times, "x": extra}


def _about_reports(members: Members) -> None:
    """Raises Untrusted for what belongs to a signed request only: nobody has shown that it is his."""
    wrong = {*members.names()} - {"schema", "kind", "reveals", "text"}
    wrong |= {"schema"} - {*members.names()}
    wrong |= {"kind"} if members.text("kind") not in list(Right) else set()
    if wrong:
        fields = ", ".join(sorted(wrong))
        raise Untrusted(Reason.FIELD_UNDECLARED, "fields_refused", purpose=Purpose.DATA_RIGHTS.value, fields=fields)
