"""What people call a license by, and whose it is.

An id is what `issue` showed, or the jti of any edition; a license key is the customer's; eight hex digits are the beginning
of the key's SHA-256, which `opanel-agent doctor --report` shows; an order is the reseller's own name for the sale. Where a
reseller asks, only his own licenses exist.
"""

import re
from typing import Final

from sqlalchemy import select

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Untrusted, Usage
from opanel_agent.core.license import license_key
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind, LicenseRow, Subject
from opanel_authority.books.tables import licenses as _licenses

_EIGHT: Final = re.compile("[0-9a-f]{8}")
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def find_license(books: Books, handle: str, *, delegation: int | None = None) -> LicenseRow:
    """Returns the license that a handle means. Raises Usage where there is none (of this reseller), or more than one."""
    found = [row for row in _candidates(books, handle.strip(), delegation) if delegation in (None, row.delegation)]
    unique = {row.id: row for row in found}
    if not unique:
        raise Usage(Fault.USAGE, "license_unknown", id=handle[:64])
    if len(unique) > 1:
        raise Usage(Fault.USAGE, "license_ambiguous", id=handle[:64], count=len(unique))
    return next(iter(unique.values()))


def find_subject(books: Books, handle: str, *, delegation: int | None = None) -> Subject:
    """Returns a delegation, a license or an activation. A delegation is also meant by its reseller's name. Raises Usage."""
    handle = handle.strip()
    reseller = books.delegation(name=handle)
    found = books.subject(handle if reseller is None else reseller.jti)
    if found is None:
        row = find_license(books, handle, delegation=delegation)
        found = Subject(kind=Kind.LICENSE, id=row.id, idx=row.idx, status=row.status, delegation=row.delegation)
    if delegation not in (None, found.delegation):
        raise Usage(Fault.USAGE, "id_unknown", id=handle[:64])
    return found


def _candidates(books: Books, handle: str, delegation: int | None) -> list[LicenseRow]:
    by_edition = books.license_of_edition(handle)
    if by_edition is not None:
        return [by_edition]
    by_key = books.license_of_key(_digest(handle))
    if by_key is not None:
        return [by_key]
    mine = select(_licenses) if delegation is None else select(_licenses).where(_licenses.c.delegation == delegation)
    found = [*books.licenses(mine.where(_licenses.c.order_id == handle).limit(3))]
    if _EIGHT.fullmatch(handle.lower()):
        first = handle.lower()
        prefix = _licenses.c.key_sha256.between(first + "0" * 56, first + "f" * 56)
        found += books.licenses(mine.where(prefix).limit(3))
    return found


def _digest(handle: str) -> str:
    """Returns the digest of a license key, however it is written; a digest stands for itself."""
    if _DIGEST.fullmatch(handle.lower()):
        return handle.lower()
    try:
        return license_key.digest(license_key.parse(handle))
    except Untrusted:
        return ""
