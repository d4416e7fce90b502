"""What a list costs does not grow with the licenses that are not in it: SQLite's instructions are counted, not time."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import select, text

from fixtures.authority.vendor import Vendor, vendor
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import LicenseRow
from opanel_authority.books.tables import editions, licenses
from opanel_authority.lifecycle import changes as lifecycle
from opanel_authority.lifecycle import listing
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.listing import Filter, LicenseState

NOW = 1_800_000_000
MORE = 2_000


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    selling = vendor(tmp_path, now=NOW)
    for number in range(12):
        issued = selling.issue(order_id=f"order {number}")
        if number % 4 == 0:
            lifecycle.change(selling.authority, Change.SUSPEND, issued.jti, now=NOW)
        if number % 4 == 1:
            lifecycle.change(selling.authority, Change.REVOKE, issued.jti, now=NOW)
    return selling


def multiply(made: Vendor) -> None:
    """Many more licenses in force, sold later: copies of one, with its edition."""
    with made.authority.store.transaction() as books:
        run = books.connection.execute
        row = dict(run(select(licenses).where(licenses.c.order_id == "order 2")).mappings().one())
        edition = dict(run(select(editions).where(editions.c.license == row["id"])).mappings().one())
        del edition["number"]
        copies = [f"copy-{number}" for number in range(MORE)]
        later = {name: NOW + number for number, name in enumerate(copies)}
        sold = [row | {"id": each, "key_sha256": each, "order_id": each, "created": later[each]} for each in copies]
        run(licenses.insert(), sold)
        run(editions.insert(), [edition | {"jti": each, "license": each} for each in copies])


def steps(made: Vendor, act: Callable[[Books], object]) -> int:
    """How many instructions SQLite executes for it."""
    counted = [0]

    def step() -> int:
        counted[0] += 1
        return 0

    with made.authority.store.reading() as books:
        books.connection.connection.set_progress_handler(step, 1)
        act(books)
        books.connection.connection.set_progress_handler(None, 1)
    return counted[0]


def statements(made: Vendor, act: Callable[[Books], object]) -> int:
    """How many statements SQLite executes for it."""
    executed: list[str] = []
    with made.authority.store.reading() as books:
        books.connection.connection.set_trace_callback(executed.append)
        act(books)
        books.connection.connection.set_trace_callback(None)
    return len(executed)


def pages(wanted: Filter, limit: int, count: int = 2) -> Callable[[Books], list[str]]:
    """The ids on that many pages."""

    def look(books: Books) -> list[str]:
        cursor, ids = None, []
        for _ in range(count):
            found = listing.page(books, wanted, now=NOW, cursor=cursor, limit=limit)
            ids += [str(each["id"]) for each in found.items]
            cursor = found.next_cursor
        return ids

    return look


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(state=LicenseState.SUSPENDED),
        Filter(state=LicenseState.REVOKED),
        Filter(delegation=1, state=LicenseState.SUSPENDED),
        Filter(delegation=1, state=LicenseState.REVOKED),
        Filter(),
        Filter(delegation=1),
    ],
    ids=str,
)
def test_a_page_and_the_next_one_cost_what_is_on_them(made: Vendor, wanted: Filter) -> None:
    before = steps(made, pages(wanted, 1))
    multiply(made)
    assert steps(made, pages(wanted, 1)) < 2 * before


def test_what_an_audit_reads_costs_what_is_read(made: Vendor) -> None:
    def some(books: Books) -> list[LicenseRow]:
        return [*islice(books.every_license(1, licenses.c.status != 1, page=2), 6)]

    before = steps(made, some)
    multiply(made)
    assert steps(made, some) < 2 * before
    with made.authority.store.reading() as books:
        every = books.connection.execute(select(licenses.c.id).where(licenses.c.status != 1)).scalars()
        by_page = [each.id for each in books.every_license(1, licenses.c.status != 1, page=100)]
        assert sorted(by_page) == sorted(every)


def test_a_page_takes_as_many_statements_however_many_licenses_are_on_it(made: Vendor) -> None:
    multiply(made)
    assert statements(made, pages(Filter(), 100, 1)) == statements(made, pages(Filter(), 2, 1))


@pytest.mark.parametrize("delegation", [None, 1])
def test_pages_have_everything_once_and_in_order(made: Vendor, delegation: int | None) -> None:
    multiply(made)
    with made.authority.store.reading() as books:
        by_page = [each["id"] for each in listing.everything(books, Filter(delegation=delegation), now=NOW)]
        every = books.connection.execute(text("SELECT id FROM licenses ORDER BY delegation, created, id")).scalars()
        assert by_page == [*every]


def test_a_cursor_of_another_reseller_begins_or_ends_the_list(made: Vendor) -> None:
    with made.authority.store.reading() as books:
        cursor = listing.page(books, Filter(), now=NOW, limit=5).next_cursor
        later = Filter(delegation=2)
        assert listing.page(books, later, now=NOW, cursor=cursor).items == ()
        earlier = Filter(delegation=0)
        assert listing.page(books, earlier, now=NOW, cursor=cursor).items == ()
