"""Over-selling, from signed documents alone: what the books say beside them is not asked.

A delegation permits so many slots, one license each at a time. Two licenses that are good at one time and name one slot are
one too many; so are a slot, an entry, a term or a feature outside of the delegation, which the agent's own verifier finds.

A reseller who keeps his key himself can sign what he never stored. So bundles that were seen elsewhere, with customers or in
support, are examined beside those of the books: one whose license the books do not have was sold past them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Untrusted
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow
from opanel_authority.books.tables import licenses as _licenses


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBreach:
    """`rule` is a detail of the verifier's, `slot_sold_twice` or `not_in_books`; `licenses` are ids."""

    reseller: str
    rule: str
    licenses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Sold:
    """Holds what is compared of each license: a million of them are in memory."""

    slot: int
    nbf: int
    exp: int
    id: str

    @classmethod
    def of(cls, license_id: str, signed: License) -> Self:
        return cls(signed.slot, signed.nbf, signed.exp, license_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """`examined` counts licenses."""

    examined: int
    violations: tuple[LimitBreach, ...]


def audit(authority: Authority, reseller: str | None = None, seen: Sequence[bytes] = ()) -> Audited:
    """Returns the newest edition of every license, of one reseller or of all, and bundles that were seen elsewhere.

    Raises Untrusted for one of those that no delegation of this vendor's signed: it proves nothing.
    """
    examined, violations = 0, []
    found = [bundles.verify(each, authority.root, now=None) for each in seen]
    with authority.store.reading() as books:
        for row in books.delegations():
            if reseller in (None, row.name):
                held, refused = _verified(authority, books, row)
                strange = [*_not_in_books(books, row, found)]
                examined += len(held) + len(refused) + len(strange)
                violations += [
                    LimitBreach(reseller=row.name, rule="not_in_books", licenses=(each.id,)) for each in strange
                ]
                violations += [*refused, *_sold_twice(row.name, [*held, *strange])]
    return Audited(examined=examined, violations=tuple(violations))


def _not_in_books(books: Books, row: DelegationRow, found: Iterable[Bundle]) -> Iterator[_Sold]:
    """Yields those under this reseller's delegation whose edition was never stored, each once."""
    mine = {each.license.jti: each for each in found if books.delegation(jti=each.delegations[-1].jti) == row}
    for jti, each in mine.items():
        if books.license_of_edition(jti) is None:
            yield _Sold.of(jti, each.license)


def _verified(authority: Authority, books: Books, row: DelegationRow) -> tuple[list[_Sold], list[LimitBreach]]:
    """Returns all that are not revoked, and what the verifier refused."""
    held, refused = [], []
    root = authority.root
    for each in books.every_license(row.number, _licenses.c.status != int(Status.REVOKED)):
        try:
            held.append(_Sold.of(each.id, bundles.verify(each.text.encode("ascii"), root, now=None).license))
        except Untrusted as error:
            refused.append(LimitBreach(reseller=row.name, rule=error.detail, licenses=(each.id,)))
    return held, refused


def _sold_twice(name: str, held: list[_Sold]) -> Iterator[LimitBreach]:
    longest: _Sold | None = None
    for each in sorted(held, key=lambda one: (one.slot, one.nbf)):
        if longest is None or longest.slot != each.slot:
            longest = each
            continue
        if each.nbf < longest.exp:
            yield LimitBreach(reseller=name, rule="slot_sold_twice", licenses=(longest.id, each.id))
        longest = max(longest, each, key=lambda one: one.exp)
