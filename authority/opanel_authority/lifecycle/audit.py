"""Over-selling, from signed documents alone: what the books say beside them is not asked.

A delegation permits so many slots, one license each at a time. Two licenses that are good at one time and name one slot are
one too many; so are a slot, an entry, a term or a feature outside of the delegation, which the agent's own verifier finds.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Untrusted
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow
from opanel_authority.books.tables import licenses as _licenses


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBreach:
    """`rule` is a detail of the verifier's, or `slot_sold_twice`; `licenses` are ids."""

    reseller: str
    rule: str
    licenses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """`examined` counts licenses."""

    examined: int
    violations: tuple[LimitBreach, ...]


def audit(authority: Authority, reseller: str | None = None) -> Audited:
    """The newest edition of every license, of one reseller or of all."""
    examined, violations = 0, []
    with authority.store.reading() as books:
        for row in books.delegations():
            if reseller in (None, row.name):
                held, refused = _verified(authority, books, row)
                examined += len(held) + len(refused)
                violations += [*refused, *_sold_twice(row.name, held)]
    return Audited(examined=examined, violations=tuple(violations))


def _verified(
    authority: Authority, books: Books, row: DelegationRow
) -> tuple[list[tuple[str, License]], list[LimitBreach]]:
    """(id, license) of all that are not revoked, and what the verifier refused."""
    held, refused = [], []
    root = authority.root
    query = select(_licenses).where(_licenses.c.delegation == row.number, _licenses.c.status != int(Status.REVOKED))
    for each in books.licenses(query):
        try:
            held.append((each.id, bundles.verify(each.text.encode("ascii"), root, now=None).license))
        except Untrusted as error:
            refused.append(LimitBreach(reseller=row.name, rule=error.detail, licenses=(each.id,)))
    return held, refused


def _sold_twice(name: str, held: list[tuple[str, License]]) -> Iterator[LimitBreach]:
    by_slot: dict[int, list[tuple[str, License]]] = {}
    for license_id, license_ in held:
        by_slot.setdefault(license_.slot, []).append((license_id, license_))
    for sold in by_slot.values():
        in_order = sorted(sold, key=lambda each: each[1].nbf)
        for (first_id, first), (second_id, second) in itertools.pairwise(in_order):
            if second.nbf < first.exp:
                yield LimitBreach(reseller=name, rule="slot_sold_twice", licenses=(first_id, second_id))
