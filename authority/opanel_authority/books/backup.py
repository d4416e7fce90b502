"""Copies of the books: every row as JSON lines, compressed; from any engine to any other.

A copy is one consistent view, taken while the service runs. Keys are not in it: they are files, and change only by
`delegate`, `reseller --rekey` and `rotate`. Licenses sold after the copy was made are lost with the books; so that none of
their slots, entries and seats is given again, a restore counts half of what was left of each range as given, and the
vendor's ranges as given whole; activations with one of those entries are superseded. Where `drawn/` survived beside the
books, it says exactly how many were given, and nothing more is skipped.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, text

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_authority import clock
from opanel_authority.books.database import Store
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.books.tables import META_DATA, VERSION
from opanel_authority.documents import keys

_FORMAT: Final = "opanel-authority-backup-1"
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Holds when the restored copy was made (`made_at`) and how many entries and slots count as given since (`skipped`)."""

    made_at: int
    rows: int
    skipped: int


def backup(store: Store, path: Path, *, now: int) -> int:
    """Write a copy to a new file of mode 0600; how many rows. Raises OSError where it cannot be written whole."""
    count = 0
    with (
        keys.new_private(path) as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed,
        store.reading() as books,
    ):
        packed.write(_line({"format": _FORMAT, "version": VERSION, "made_at": now}))
        for table in META_DATA.sorted_tables:
            for row in books.connection.execute(select(table)).mappings():
                packed.write(_line({"table": table.name, "row": {name: _packed(row[name]) for name in row}}))
                count += 1
        packed.write(_line({"rows": count}))
    return count


def restore(store: Store, path: Path, *, now: int, actor: str, exact: bool, reason: str | None = None) -> Restored:
    """Fill books that were just made. `exact`: the counts beside them are right, nothing need be skipped.

    Raises Untrusted for a file that is no copy, is cut off, or is of another version; then nothing is changed.
    """
    with store.transaction() as books:
        for table in reversed(META_DATA.sorted_tables):
            books.connection.execute(table.delete())
        made_at, rows = _fill(books, path)
        _reset_sequences(books, sqlite=store.is_sqlite)
        skipped = 0 if exact else _skip(books)
        clock.accept(books, now)
        books.log_change(
            at=now, actor=actor, act="restore", kind=Kind.BOOKS, subject=str(made_at), delegation=None, reason=reason
        )
    return Restored(made_at=made_at, rows=rows, skipped=skipped)


def _fill(books: Books, path: Path) -> tuple[int, int]:
    lines = _lines(path)
    head = next(lines, {})
    if head.get("format") != _FORMAT or head.get("version") != VERSION:
        raise Untrusted(Reason.FORMAT_INVALID, "backup_format", path=str(path))
    batch: list[dict[str, Any]] = []
    of = ""
    for count, line in enumerate(lines):
        if "rows" in line:
            _insert(books, of, batch)
            if line["rows"] != count:
                break
            return int(head["made_at"]), count
        if line["table"] != of or len(batch) >= _BATCH:
            _insert(books, of, batch)
            of, batch = line["table"], []
        batch.append({name: _unpacked(value) for name, value in line["row"].items()})
    raise Untrusted(Reason.FORMAT_INVALID, "backup_cut_off", path=str(path))


def _insert(books: Books, table: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        books.connection.execute(META_DATA.tables[table].insert(), rows)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (gzip.BadGzipFile, EOFError, ValueError) as error:
        raise Untrusted(Reason.FORMAT_INVALID, "backup_cut_off", path=str(path)) from error


def _reset_sequences(books: Books, *, sqlite: bool) -> None:
    """Resets PostgreSQL's sequences, which count numbers apart from the rows; SQLite takes the highest."""
    if sqlite:
        return
    for table in META_DATA.sorted_tables:
        column = table.c.get("number")
        if column is not None and column.primary_key and column.autoincrement is not False:
            last = f"SELECT setval(pg_get_serial_sequence('{table.name}', 'number'), COALESCE(MAX(number), 1)) FROM {table.name}"  # noqa: S608, E501 - names of our own tables
            books.connection.execute(text(last))


def _skip(books: Books) -> int:
    skipped = books.skip_entries()
    for row in books.delegations():
        claims = json.loads(base64.urlsafe_b64decode(row.text.split("\n")[-2].split(".")[1] + "=="))
        start, end = claims["may"]["slots"]
        skipped += books.skip_slots(row, end - start)
    return skipped


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _packed(value: Any) -> Any:  # noqa: ANN401 - a column of any type
    return {"b64": base64.b64encode(bytes(value)).decode()} if isinstance(value, bytes | memoryview) else value


def _unpacked(value: Any) -> Any:  # noqa: ANN401 - as above
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
