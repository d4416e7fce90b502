"""CPU of one operation of the authority, by how many licenses its books hold.

usage: PYTHONPATH=tests python tests/bench/authority_cost.py [N…]     1000 100000, when not said; 1000000 takes minutes

The books are filled as if N licenses were issued and activated, a tenth of them suspended or revoked; then each operation is
done some twenty times and its CPU (of this process, all threads) is shown as the median, in milliseconds.
"""

import hashlib
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fixtures.authority.vendor import NOW, RESELLER, Vendor, vendor
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.license import license_key
from opanel_authority.books import line_codec
from opanel_authority.books.repository import Books
from opanel_authority.books.status_allocation import Pool
from opanel_authority.books.tables import activations, changes, editions, licenses, pools
from opanel_authority.documents import publish
from opanel_authority.lifecycle import changes as lifecycle
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests import licensing

_TIMES: Final = 20
_BATCH: Final = 20_000


def fill(made: Vendor, count: int) -> None:
    """Add `count` licenses and as many activations, as issue and activation write them."""
    model = made.issue()
    activation = made.activate(model)
    text = model.text.split("\n")[-2]
    line = next(iter(_lines(made, activation.jti)))
    with made.authority.store.transaction() as books:
        row = books.delegation(name=RESELLER)
        assert row is not None
        first = books.reserved_entries()
        books.connection.execute(pools.insert().values(first=first, end=first + 2 * count, owner="bench", drawn=0))
        pool = Pool(key=b"bench", start=first, end=first + 2 * count)
        for start in range(0, count, _BATCH):
            _fill_batch(books, row, pool, range(start, min(count, start + _BATCH)), text=text, line=line)


def _lines(made: Vendor, jti: str) -> list[str]:
    with made.authority.store.reading() as books:
        found = books.activation(jti)
    return [] if found is None else [found.line]


def _fill_batch(books: Books, row: Any, pool: Pool, numbers: range, *, text: str, line: str) -> None:
    rows: dict[Any, list[dict[str, Any]]] = {licenses: [], editions: [], activations: [], changes: []}
    statuses = {}
    common = {
        "delegation": row.number,
        "renews": 1,
        "created": NOW,
        "ends": NOW,
        "free_at": NOW + 10**9,
        "moves_since": 0,
    }
    for number in numbers:
        jti, entry, status = secrets.token_hex(16), pool.entry(2 * number), number % 20 if number % 20 in (1, 2) else 0
        statuses[entry] = status
        digest = secrets.token_hex(32)
        own = {
            "id": jti,
            "key_sha256": digest,
            "slot": number + 10,
            "idx": entry,
            "status": status,
            "order_id": f"o{number}",
        }
        rows[licenses].append({**common, **own})
        signed = {"jti": jti, "license": jti, "version": row.version, "sha256": digest, "line": _unlike(text)}
        rows[editions].append(signed)
        seat = {
            "jkt": secrets.token_urlsafe(32),
            "seat": 0,
            "idx": pool.entry(2 * number + 1),
            "iat": NOW,
            "line": _unlike(line),
        }
        rows[activations].append({"jti": secrets.token_hex(16), "license": jti, **seat})
        act = {"at": NOW, "actor": "command:root", "act": "issue", "kind": "license", "subject": jti}
        rows[changes].append({**act, "delegation": row.number, "reason": None})
    for table, values in rows.items():
        books.connection.execute(table.insert(), values)
    books.set_statuses(statuses)


def _unlike(line: str) -> bytes:
    """The stored line, as long as one with identifiers and a signature of its own."""
    packed = line_codec.pack(line)
    return packed[:80] + os.urandom(max(0, len(packed) - 80))


def cost(act: Callable[[], object], times: int = _TIMES) -> float:
    """Milliseconds of CPU, the median."""
    spent = []
    for _ in range(times):
        begun = time.process_time()
        act()
        spent.append((time.process_time() - begun) * 1000)
    return statistics.median(spent)


def measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        made = vendor(Path(folder), slots=1 << 20)
        fill(made, count)
        books = Path(folder) / "vendor" / "authority.sqlite"
        with made.authority.store.pooled():
            return {**operations(made), "books, bytes a license": round(books.stat().st_size / count)}


def operations(made: Vendor) -> dict[str, float]:
    issued = [made.issue(days=10, order_id=f"order {each}") for each in range(_TIMES)]
    names = iter(range(10**6))
    acts: dict[str, Callable[[], object]] = {
        "issue": lambda: made.issue(order_id=f"more {next(names)}"),
        "exchange (bundle of a key)": lambda: licensing.bundle(
            made.authority, license_key.digest(issued[0].key), now=made.now
        ),
    }
    costs = {name: cost(act) for name, act in acts.items()}
    asks = [made.request(each, RequestKind.ACTIVATION) for each in issued]
    costs["activation"] = cost(lambda: made.answer(asks.pop()))
    moves = [made.request(each, RequestKind.ACTIVATION, "server b") for each in issued]
    costs["activation that moves a seat"] = cost(lambda: made.answer(moves.pop()))
    made.now += 9 * 86_400
    renewals = [
        made.request(
            each,
            RequestKind.RENEWAL,
            "server b",
            license_sha256=hashlib.sha256(each.text.split()[-1].encode()).hexdigest(),
        )
        for each in issued
    ]
    costs["renewal"] = cost(lambda: made.answer(renewals.pop()))
    costs["status list, unchanged"] = cost(lambda: publish.current_status_list(made.authority, now=made.now))
    suspended = [each.jti for each in issued]
    costs["suspend, and sign the list"] = cost(
        lambda: lifecycle.change(made.authority, Change.SUSPEND, suspended.pop(), now=made.now)
    )
    return costs


def main() -> None:
    counts = [int(each) for each in sys.argv[1:]] or [1_000, 100_000]
    figures = {count: measure(count) for count in counts}
    sys.stdout.write(f"{'ms of CPU each':32}" + "".join(f"{count:>12}" for count in counts) + "\n")
    for name in figures[counts[0]]:
        sys.stdout.write(f"{name:32}" + "".join(f"{figures[count][name]:12.2f}" for count in counts) + "\n")


if __name__ == "__main__":
    main()
