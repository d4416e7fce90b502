"""Security advisories: signed one by one, published as one set, the same bytes for everybody (docs/authority.md).

Agents refuse a set whose newest `seq` is older than one they took. So numbers only grow, the newest advisory stays in the
set even after its end, and one is withdrawn by the next that `replaces` it. What agents would not take is refused here,
by their own reader, over the whole set: nothing is dropped from it to make room.
"""

import secrets
import tomllib
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import advisory
from opanel_agent.core.documents.advisory import Advisory
from opanel_agent.core.documents.claims import JTI
from opanel_agent.core.errors import Untrusted, Usage
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.units import DAY_S, LANGUAGES
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import AdvisoryRow, ReportRepository
from opanel_authority.books.rows import Kind
from opanel_authority.documents.keys import Role

MAX_DRAFT_BYTES: Final = 64 * 1024
USUAL_DAYS: Final = 90
_MAX_DAYS: Final = 3650


def advise(
    authority: Authority, draft: bytes, *, now: int, actor: str = "command", reason: str | None = None
) -> Advisory:
    """Sign what a draft says, TOML or JSON, and add it to the set.

    Shape: {severity, title{tr,en}, body{tr,en}, fixed_in?, days?, replaces[jti]?}; line breaks in texts become spaces.
    """
    members = Members(_parsed(draft), "advisory")
    days = members.integer("days", low=1, high=_MAX_DAYS) if members.has("days") else USUAL_DAYS
    replaced = members.texts("replaces", pattern=JTI) if members.has("replaces") else frozenset()
    claims: dict[str, Json] = {
        "ver": 1,
        "iss": authority.root.sub,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + days * DAY_S,
        "severity": members.text("severity", max_length=16),
        "title": _texts(members.members("title")),
        "body": _texts(members.members("body")),
        "fixed_in": members.text("fixed_in", max_length=32) if members.has("fixed_in") else None,
    }
    members.end()
    with authority.writing(now) as books:
        reports_kept = ReportRepository(books)
        claims["seq"] = max((row.seq for row in reports_kept.advisories()), default=0) + 1
        for jti in sorted(replaced):
            if not reports_kept.drop_advisory(jti):
                raise Usage(Fault.USAGE, "id_unknown", id=jti)
        line = authority.key(Role.ADVISORY).sign(Typ.ADVISORY, claims)
        signed = advisory.read(f"{line}\n".encode("ascii"), authority.root, floors={})[0]
        reports_kept.add_advisory(AdvisoryRow(seq=signed.seq, jti=signed.jti, exp=signed.exp, line=line))
        advisory.read(_set(reports_kept, now), authority.root, floors={})
        books.log_change(
            at=now, actor=actor, act="advise", kind=Kind.BOOKS, subject=signed.jti, delegation=None, reason=reason
        )
    return signed


def published(authority: Authority, *, now: int) -> bytes:
    """Returns `advisories.jws`: a line each, oldest first; empty before the first."""
    with authority.store.reading() as books:
        return _set(ReportRepository(books), now)


def _set(reports_kept: ReportRepository, now: int) -> bytes:
    rows = reports_kept.advisories()
    return "".join(f"{row.line}\n" for row in rows if row.exp > now or row is rows[-1]).encode("ascii")


def _parsed(draft: bytes) -> Json:
    if len(draft) > MAX_DRAFT_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "draft_size", max_bytes=MAX_DRAFT_BYTES)
    if draft.lstrip().startswith(b"{"):
        return loads(draft.strip(), max_bytes=MAX_DRAFT_BYTES)
    try:
        table: dict[str, Json] = tomllib.loads(draft.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Untrusted(Reason.FORMAT_INVALID, "draft_toml", why=str(error)) from error
    return table


def _texts(members: Members) -> dict[str, Json]:
    """Returns in each language one paragraph."""
    texts: dict[str, Json] = {}
    for language in LANGUAGES:
        text = members.value(language)
        if not isinstance(text, str):
            raise members.refuse(language)
        texts[language] = " ".join(text.split())
    members.end()
    return texts
