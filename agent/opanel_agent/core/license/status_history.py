"""Since when a status list has given a document of ours 1, 2 or 3: what 72 hours and 30 days are counted from.

Theory of operation. What is counted belongs to the *entry* of the status list
(the list's name and the index), not to the document that was installed when it
was seen: the editions of one license share their entry, and a count must not
begin anew because another edition, or another license, lay here for a day. So
every entry that was ever seen bad is remembered until a list says 0 of it,
whatever is installed. Evidence for the verdict are the rows that are
`installed`; where the installed bundle has become unreadable, those that were
when it still was.

An index beyond the list says nothing (a publisher's slip must not stop a
fleet). An activation that is bad in another way now keeps its beginning: to be
released after having been superseded is no second beginning.

Pure. The caller keeps the rows. Not here: what a sighting leads to (verdict).
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.status_list import Status, StatusList
from opanel_agent.core.license.verdict import Sighting
from opanel_agent.core.values import frozen, replace

MAX_ROWS: Final = 64


@unique
class Document(StrEnum):
    """Names the kinds of document that have an entry in a status list."""

    LICENSE = "license"
    ACTIVATION = "activation"
    DELEGATION = "delegation"


@frozen
class StatusRecord:
    """An entry that was seen bad.

    `jti` instead of `entry`: a row of an earlier version, which knew only the
    document's.
    """

    document: Document
    sighting: Sighting
    entry: StatusRef | None = None
    jti: str | None = None
    installed: bool = True


StatusRecords = tuple[StatusRecord, ...]


def mark_installed(rows: StatusRecords, bundle: Bundle) -> StatusRecords:
    """Returns the rows, marked by whether they are this bundle's; those of an earlier version move to the entry it names."""
    own = {entry for _, entry, _, _ in _documents(bundle)}
    entries = {jti: entry for _, entry, jti, _ in _documents(bundle)}
    known = {row.entry for row in rows}
    kept: list[StatusRecord] = []
    for row in rows:
        bundle_entry = None if row.jti is None else entries.get(row.jti)
        if bundle_entry is None:
            kept.append(replace(row, installed=row.entry in own))
        elif bundle_entry not in known:
            kept.append(replace(row, entry=bundle_entry, jti=None, installed=True))
    return tuple(kept)


def mark_removed(rows: StatusRecords) -> StatusRecords:
    """Returns the rows once nothing is installed any more."""
    return tuple(replace(row, installed=False) for row in rows)


def record_list(
    rows: StatusRecords, bundle: Bundle | None, listed: StatusList, now: int, *, lost: bool = False
) -> StatusRecords:
    """Returns the rows after this list and this bundle: begun, continued or dropped.

    `lost`: what was seen before is not known any more. An entry that is bad
    then counts as bad since its document was issued, the only signed date at
    hand: forgetting must not be a cure.
    """
    known = {row.entry: row for row in rows if row.entry is not None}
    asked = {entry: (row.document, row.installed) for entry, row in known.items()}
    if bundle is not None:
        asked |= {entry: (document, True) for document, entry, _, _ in _documents(bundle)}
    issued = {} if bundle is None or not lost else {entry: iat for _, entry, _, iat in _documents(bundle)}
    kept = [row for row in rows if row.entry is None]
    for entry, (document, installed) in asked.items():
        row, status = known.get(entry), _status(listed, entry)
        if status is None and row is not None:
            kept.append(row)
        elif status:
            since = min(now, issued.get(entry, now))
            sighting = _sighting(None if row is None else row.sighting, status, document, listed.iat, since)
            if row is None and entry in issued:
                sighting = replace(sighting, first_iat=min(listed.iat, issued[entry]))
            kept.append(StatusRecord(document=document, entry=entry, sighting=sighting, installed=installed))
    # As many as are kept: those of what is installed first, then the ones that
    # began last.
    return tuple(sorted(kept, key=lambda row: (not row.installed, -row.sighting.seen_at))[:MAX_ROWS])


def sighting_of(rows: StatusRecords, document: Document) -> Sighting | None:
    """Returns the sighting of what is installed.

    Of a chain of delegations one that is revoked, else one that is bad in
    another way.
    """
    found = [row.sighting for row in rows if row.installed and row.document is document]
    return next((seen for seen in found if seen.status is Status.REVOKED), next(iter(found), None))


def any_bad(rows: StatusRecords) -> bool:
    """Tells whether anything of what is installed was last seen bad."""
    return any(row.installed for row in rows)


def _documents(bundle: Bundle) -> Iterator[tuple[Document, StatusRef, str, int]]:
    """Yields what has an entry in a status list: kind, entry, `jti`, `iat`."""
    yield Document.LICENSE, bundle.license.status, bundle.license.jti, bundle.license.iat
    if bundle.activation is not None:
        yield Document.ACTIVATION, bundle.activation.status, bundle.activation.jti, bundle.activation.iat
    for link in bundle.delegations:
        yield Document.DELEGATION, link.status, link.jti, link.iat


def _status(listed: StatusList, entry: StatusRef) -> Status | None:
    """Returns an entry's status; None where the list says nothing of this entry: it is beyond it, or another list's."""
    return listed.status(entry.idx) if entry.uri == listed.sub else None


def _sighting(known: Sighting | None, status: Status, document: Document, iat: int, now: int) -> Sighting:
    if known is not None and known.status == status:
        return replace(known, last_iat=max(known.last_iat, iat))
    keeps_since = known is not None and document is Document.ACTIVATION
    seen_at = known.seen_at if known is not None and keeps_since else now
    return Sighting(status=status, first_iat=iat, last_iat=iat, seen_at=seen_at)
