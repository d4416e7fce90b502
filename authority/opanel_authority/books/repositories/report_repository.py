"""The rows of what came in by consent or by right, and of the advisories that go out; inside a transaction of `store`.

A report is found by its own digest (the same report is stored once) and by its `erasure`, which only who holds the 32
bytes behind it can name. That a report must not come (again) is kept as a digest of its `erasure`: after an erasure the
`erasure` itself is gone too.

What to erase, restrict or refuse is decided in `reports`.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import func, select

from opanel_authority.books.repository import Books
from opanel_authority.books.tables import advisories as _advisories
from opanel_authority.books.tables import refused as _refused
from opanel_authority.books.tables import reports as _reports
from opanel_authority.books.tables import rights as _rights

_SCRUB: Final = "scrub"
_REFUSED_LABEL: Final = b"opanel-refused-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """`day` and `due` are days since 1970 (UTC): when it came, and when it is erased at the latest."""

    id: str
    sha256: str
    erasure: str
    purpose: str
    day: int
    due: int
    restricted: bool
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RightRow:
    """`answered`: nothing is owed any more. `found` is how many reports, or activations, it meant.

    `means` names those for a person, by the ids of reports or the jtis of activations.
    """

    id: str
    sha256: str
    kind: str
    day: int
    due: int
    answered: bool
    found: int
    means: str
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryRow:
    """`line` is the signed advisory; `exp` in seconds."""

    seq: int
    jti: str
    exp: int
    line: str


class ReportRepository:
    """The rows, inside one transaction."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._connection = books.connection

    # ---- traces of what was deleted: owed with the deletion, so that a crash in between is made up for

    def scrub_owed(self) -> str | None:
        """Returns a name of the newest deletion whose traces are still to be taken."""
        return self._books.fact(_SCRUB)

    def owe_scrub(self) -> None:
        """Notes, in the transaction that deletes, that SQLite's write-ahead log still has what was deleted."""
        self._books.remove_fact(_SCRUB)
        self._books.add_fact(_SCRUB, secrets.token_hex(8))

    def scrubbed(self, owed: str) -> None:
        """Notes that the scrubbing is paid, unless something was deleted since it was read."""
        if self.scrub_owed() == owed:
            self._books.remove_fact(_SCRUB)

    # ---- reports

    def add_report(self, row: ReportRow) -> None:
        """Adds a report. Raises IntegrityError where one of the same `sha256` is there already."""
        self._connection.execute(_reports.insert().values(**{**asdict(row), "restricted": int(row.restricted)}))

    def report(self, *, sha256: str | None = None, report_id: str | None = None) -> ReportRow | None:
        """Finds a report, restricted or not, by its body's SHA-256 (hex) or else by its receipt's jti."""
        wanted = _reports.c.id == report_id if sha256 is None else _reports.c.sha256 == sha256
        found = self._reports(wanted)
        return found[0] if found else None

    def reports(self, newest: int) -> tuple[ReportRow, ...]:
        """Returns the `newest` reports that nobody restricted, the latest day first."""
        query = select(_reports).where(_reports.c.restricted == 0).order_by(_reports.c.day.desc(), _reports.c.id)
        return tuple(_report(row) for row in self._connection.execute(query.limit(newest)).mappings())

    def reports_of(self, erasures: Collection[str]) -> tuple[ReportRow, ...]:
        """Returns the reports of these `erasure`, restricted or not, the earliest day first."""
        return self._reports(_reports.c.erasure.in_(sorted(erasures)))

    def counts(self) -> dict[str, int]:
        """Tells how many reports there are of each purpose; those that are restricted are not counted."""
        query = select(_reports.c.purpose, func.count()).where(_reports.c.restricted == 0).group_by(_reports.c.purpose)
        return {str(row[0]): int(row[1]) for row in self._connection.execute(query.order_by(_reports.c.purpose))}

    def count_restricted(self) -> int:
        """Counts the reports whose sender had them restricted (GDPR, article 18)."""
        query = select(func.count()).select_from(_reports).where(_reports.c.restricted == 1)
        return int(self._connection.execute(query).scalar_one())

    def restrict(self, erasures: Collection[str]) -> None:
        """Restricts reports: they stay until they are due, in no list and no count (GDPR, article 18)."""
        chosen = _reports.c.erasure.in_(sorted(erasures))
        self._connection.execute(_reports.update().where(chosen).values(restricted=1))

    def erase(self, erasures: Iterable[str]) -> None:
        """Deletes the rows; `Store.scrub`, after the transaction, takes their traces."""
        if self._connection.execute(_reports.delete().where(_reports.c.erasure.in_(sorted(erasures)))).rowcount:
            self.owe_scrub()

    def refuse(self, erasures: Collection[str], day: int) -> None:
        """Refuses reports with these `erasure`: they are not taken from now on."""
        for digest in map(_refused_digest, sorted(erasures)):
            self._connection.execute(_refused.delete().where(_refused.c.digest == digest))
            self._connection.execute(_refused.insert().values(digest=digest, day=day))

    def refuses(self, erasure: str) -> bool:
        """Tells whether reports with this `erasure` are refused. Raises ValueError where it is not hex."""
        query = select(_refused.c.digest).where(_refused.c.digest == _refused_digest(erasure))
        return self._connection.execute(query).first() is not None

    # ---- rights

    def add_right(self, row: RightRow) -> None:
        """Adds a rights request. Raises IntegrityError where one of the same `sha256` is there already."""
        self._connection.execute(_rights.insert().values(**{**asdict(row), "answered": int(row.answered)}))

    def right(self, *, sha256: str | None = None, right_id: str | None = None) -> RightRow | None:
        """Finds a rights request by its body's SHA-256 (hex) or else by its receipt's jti."""
        wanted = _rights.c.id == right_id if sha256 is None else _rights.c.sha256 == sha256
        row = self._connection.execute(select(_rights).where(wanted)).mappings().first()
        return None if row is None else _right(row)

    def set_answered(self, right_id: str) -> None:
        """Marks a rights request as answered, so that nothing is owed to it any more."""
        self._connection.execute(_rights.update().where(_rights.c.id == right_id).values(answered=1))

    def rights(self, newest: int) -> tuple[RightRow, ...]:
        """Returns the `newest` rights requests, the latest day first."""
        query = select(_rights).order_by(_rights.c.day.desc(), _rights.c.id).limit(newest)
        return tuple(_right(row) for row in self._connection.execute(query).mappings())

    def forget(self, means: str) -> None:
        """Forgets what is erased: it is not named by a request that means it, either."""
        named = _rights.c.means.like(f"%{means}%")
        self._connection.execute(_rights.update().where(named).values(means=func.replace(_rights.c.means, means, "")))

    # ---- what is past its time

    def purge_reports(self, purpose: str, *, today: int, before: int) -> int:
        """Erases the purpose's reports that are due today or came before the day `before`; how many."""
        over = (_reports.c.due <= today) | (_reports.c.day <= before)
        return self._connection.execute(_reports.delete().where(_reports.c.purpose == purpose).where(over)).rowcount

    def purge_rights(self, before: int) -> int:
        """Erases rights requests, and what was refused for them, of the day `before` or earlier; how many requests."""
        self._connection.execute(_refused.delete().where(_refused.c.day <= before))
        return self._connection.execute(_rights.delete().where(_rights.c.day <= before)).rowcount

    # ---- advisories

    def advisories(self) -> tuple[AdvisoryRow, ...]:
        """Returns all that stand, oldest first."""
        query = select(_advisories).order_by(_advisories.c.seq)
        return tuple(AdvisoryRow(**row) for row in self._connection.execute(query).mappings())

    def add_advisory(self, row: AdvisoryRow) -> None:
        """Adds a signed advisory. Raises IntegrityError where its `seq` or `jti` is there already."""
        self._connection.execute(_advisories.insert().values(**asdict(row)))

    def replace_advisory(self, jti: str, line: str) -> None:
        """Puts in its place the same advisory under another signature."""
        self._connection.execute(_advisories.update().where(_advisories.c.jti == jti).values(line=line))

    def drop_advisory(self, jti: str) -> bool:
        """Tells whether there was one."""
        return self._connection.execute(_advisories.delete().where(_advisories.c.jti == jti)).rowcount == 1

    def _reports(self, wanted: Any) -> tuple[ReportRow, ...]:  # noqa: ANN401 - its type's name differs between 1.4 and 2.x
        query = select(_reports).where(wanted).order_by(_reports.c.day, _reports.c.id)
        return tuple(_report(row) for row in self._connection.execute(query).mappings())


def _report(row: Any) -> ReportRow:  # noqa: ANN401 - a row mapping, as above
    return ReportRow(**{**row, "restricted": bool(row["restricted"])})


def _right(row: Any) -> RightRow:  # noqa: ANN401 - as above
    return RightRow(**{**row, "answered": bool(row["answered"])})


def _refused_digest(erasure: str) -> str:
    return hashlib.sha256(_REFUSED_LABEL + bytes.fromhex(erasure)).hexdigest()
