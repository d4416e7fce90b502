"""What is held of one installation: told to who holds its key, and erased as far as the contract lets go.

An installation is a license and the thumbprint of an activation key. Of it there are activations (seat, times, salted
digests of components) and the digests of the requests that they answered. What holds a seat is kept as long as it does: a
license runs on it, and to release it is free. What has ended is erased when its owner asks, with three things left that
name nobody: the status entry, which says 3 for ever; a digest of the digest of each request, so that an old copy of it
takes no seat; and that the license moved, for as long as moves are counted.

What is asked for and what is answered is `rights.license_right`.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.signed_request import RequestClaims
from opanel_agent.core.errors import NotPermitted
from opanel_agent.core.jose.jws import Typ, parse
from opanel_agent.core.units import DAY_S
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import ActivationRow
from opanel_authority.books.tables import activations as _activations
from opanel_authority.books.tables import answers as _answers
from opanel_authority.requests.licensing import COUNTED, MAX_REQUEST_BYTES, MOVES_WITHIN_S, license_row

# A receipt has at most 4 KiB; what does not fit is for a person to send.
MAX_HELD_BYTES: Final = 2100
_GROUND: Final = "GDPR 6(1)(b), KVKK m.5/2-c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """`activations` are those of this key for this license, the oldest first."""

    license: str
    activations: tuple[ActivationRow, ...]

    @property
    def running(self) -> tuple[ActivationRow, ...]:
        """Returns the activations that hold a seat."""
        return tuple(each for each in self.activations if each.ended is None)


def find(books: Books, claims: RequestClaims) -> Installation:
    """Tells whose request it is; with no activations where nothing is held of its key. Raises NotPermitted by name."""
    row = license_row(books, claims.key_sha256)
    if not books.has_edition(row.id, claims.license_sha256):
        raise NotPermitted(Reason.NOT_PERMITTED, "license_elsewhere")
    mine = tuple(each for each in books.activations(row.id) if each.jkt == claims.jwk.kid)
    return Installation(license=row.id, activations=mine)


def held(books: Books, row: ActivationRow) -> dict[str, Json]:
    """Returns all that is held of one activation; times in seconds."""
    bind = parse(row.line.encode("ascii"), max_bytes=MAX_REQUEST_BYTES).unverified(Typ.ACTIVATION).members("bind")
    return {
        "activation": row.jti,
        "seat": row.seat,
        "key": row.jkt,
        "since": row.iat,
        "ended": None if row.ended is None else row.ended.value,
        "ended_at": row.ended_at,
        "salt": bind.value("salt"),
        "components": bind.value("components"),
        "status_entry": row.idx,
        "requests": [*_requests(books, row.jti)],
    }


def newest_held(books: Books, rows: Iterable[ActivationRow]) -> list[Json]:
    """Returns as many as a receipt can hold, the newest first."""
    entries: list[Json] = []
    for row in reversed([*rows]):
        if len(dumps([*entries, held(books, row)])) > MAX_HELD_BYTES:
            break
        entries.append(held(books, row))
    return entries


def kept(one: Installation) -> dict[str, Json]:
    """Returns by name what an erasure leaves, and why it may."""
    names: list[Json] = [f"license {one.license}", *(f"activation {each.jti}" for each in one.running)]
    return {"kept": [*names, "status entries", "refusal of old requests", "count of moves"], "ground": _GROUND}


def erase(books: Books, one: Installation, *, now: int) -> None:
    """Erases everything that has ended. `Store.scrub`, after the transaction, takes its traces."""
    reports_kept = ReportRepository(books)
    for row in one.activations:
        if row.ended is None:
            continue
        reports_kept.refuse(_requests(books, row.jti), now // DAY_S)
        reports_kept.forget(row.jti)
        books.connection.execute(_answers.delete().where(_answers.c.activation == row.jti))
        chosen = _activations.c.jti == row.jti
        if row.ended in COUNTED and (row.ended_at or 0) > now - MOVES_WITHIN_S:
            blank = {"jti": secrets.token_hex(16), "jkt": "", "line": b""}
            books.connection.execute(_activations.update().where(chosen).values(**blank))
        else:
            books.connection.execute(_activations.delete().where(chosen))
        reports_kept.owe_scrub()


def _requests(books: Books, jti: str) -> tuple[str, ...]:
    """Returns the digests of the requests that an activation answered."""
    query = select(_answers.c.request_sha256).where(_answers.c.activation == jti)
    return tuple(str(row[0]) for row in books.connection.execute(query.order_by(_answers.c.request_sha256)))
