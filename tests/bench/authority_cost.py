"""CPU of one operation of the authority, by how many licenses its books hold.

usage: PYTHONPATH=tests python tests/bench/authority_cost.py [N|DIR…]     1000 100000, when not said

DIR has books that `authority_books.py` filled (a million take it half an hour); for N it fills some and removes them. Each
operation is done some twenty times on one open connection and its CPU (of this process, all threads; PostgreSQL's own is
not in it) is shown as the median, in milliseconds. DIR has a few more licenses and suspensions after it.
"""

import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.authority_books import made_books
from fixtures.authority.vendor import Vendor
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.license import license_key
from opanel_authority.authority import open_home
from opanel_authority.books.repository import Books
from opanel_authority.documents import publish
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes as lifecycle
from opanel_authority.lifecycle import health, listing
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.lifecycle.listing import Filter, LicenseState
from opanel_authority.requests import licensing

_TIMES: Final = 20


def cost(act: Callable[[], object], times: int = _TIMES) -> float:
    """Milliseconds of CPU, the median."""
    spent = []
    for _ in range(times):
        begun = time.process_time()
        act()
        spent.append((time.process_time() - begun) * 1000)
    return statistics.median(spent)


def measure(books: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        now = int(time.time())
        if books.isdigit():
            made = made_books(Path(folder), int(books), now=now)
        else:
            made = Vendor(authority=open_home(Path(books) / "vendor"), now=now)
        with made.authority.store.pooled():
            return operations(made)


def reads(made: Vendor, key: str) -> dict[str, Callable[[], object]]:
    """What looks into the books and changes nothing."""

    def listed(**wanted: object) -> Callable[[], object]:
        def look() -> object:
            with made.authority.store.reading() as books:
                return listing.page(books, Filter(**wanted), now=made.now, limit=100)  # type: ignore[arg-type]

        return look

    def found(handle: str) -> Callable[[], object]:
        def look() -> object:
            with made.authority.store.reading() as books:
                return find_license(books, handle)

        return look

    digest = license_key.digest(key)
    return {
        "exchange (bundle of a key)": lambda: licensing.bundle(made.authority, digest, now=made.now),
        "find by key": found(key),
        "find by eight digits": found(digest[:8]),
        "find by order": found("o0"),
        "list 100": listed(),
        "list 100 of a reseller": listed(delegation=1),
        "list 100 suspended": listed(delegation=1, state=LicenseState.SUSPENDED),
        "list 100 revoked": listed(delegation=1, state=LicenseState.REVOKED),
        "list 100 that end soon": listed(delegation=1, ends_to=made.now + 30 * 86_400),
        "metrics": lambda: health.examine(made.authority, now=made.now),
    }


def operations(made: Vendor) -> dict[str, float]:
    run = int(time.time())
    issued = [made.issue(days=1, order_id=f"{run} order {each}") for each in range(_TIMES)]
    stopped = [made.issue().jti for _ in range(_TIMES)]
    names = iter(range(10**6))
    costs = {"issue": cost(lambda: made.issue(order_id=f"{run} more {next(names)}"))}
    costs |= {name: cost(act) for name, act in reads(made, issued[0].key).items()}
    asks = [made.request(each, RequestKind.ACTIVATION) for each in issued]
    costs["activation"] = cost(lambda: made.answer(asks.pop()))
    moves = [made.request(each, RequestKind.ACTIVATION, "server b") for each in issued]
    costs["activation that moves a seat"] = cost(lambda: made.answer(moves.pop()))
    costs["status list, unchanged"] = cost(lambda: publish.current_status_list(made.authority, now=made.now))
    costs["suspend, and sign the list"] = cost(
        lambda: lifecycle.change(made.authority, Change.SUSPEND, stopped.pop(), now=made.now)
    )
    costs["renewal"] = _renewal(made, issued)
    with made.authority.store.reading() as books:
        for shard in books.shard_numbers():
            held = books.signed_shard(shard)
            costs[f"bytes of list {shard}"] = 0 if held is None else len(held.token)
        costs |= books_bytes(made, books)
    return costs


def _renewal(made: Vendor, issued: list[Issued]) -> float:
    """Of licenses that run a day, eighteen hours later. Nothing is signed then that has to be newer than what is served."""
    before = made.now
    made.now += 18 * 3600
    signed = [hashlib.sha256(each.text.split()[-1].encode()).hexdigest() for each in issued]
    renewals = [
        made.request(each, RequestKind.RENEWAL, "server b", license_sha256=digest)
        for each, digest in zip(issued, signed, strict=True)
    ]
    spent = cost(lambda: made.answer(renewals.pop()))
    made.now = before
    return spent


def books_bytes(made: Vendor, books: Books) -> dict[str, float]:
    """How large the database is, and that by license."""
    size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    if not made.authority.store.is_sqlite:
        size = "SELECT pg_database_size(current_database())"
    whole = int(books.connection.exec_driver_sql(size).scalar_one())
    count = int(books.connection.exec_driver_sql("SELECT count(*) FROM licenses").scalar_one())
    return {"licenses": count, "bytes of the books a license": whole / count}


def main() -> None:
    names = sys.argv[1:] or ["1000", "100000"]
    figures = [measure(name) for name in names]
    columns = [Path(name).name for name in names]
    sys.stdout.write(f"{'ms of CPU each':32}" + "".join(f"{column:>12}" for column in columns) + "\n")
    for name in dict.fromkeys(each for found in figures for each in found):
        shown = (f"{found[name]:12.2f}" if name in found else f"{'-':>12}" for found in figures)
        sys.stdout.write(f"{name:32}" + "".join(shown) + "\n")


if __name__ == "__main__":
    main()
