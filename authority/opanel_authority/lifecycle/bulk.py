"""Many licenses at once, from a CSV file to a CSV file (RFC 4180), and on from where it stopped.

Each line has the reseller's own order id, which is what makes it resumable: an order that was issued is not issued again,
whether the line of the result is there or was lost with the power. A line that is refused is told in the result and stops
no other.
"""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import NotPermitted, Untrusted, Usage
from opanel_authority.authority import Authority
from opanel_authority.documents import issue
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.messages import sentence

COLUMNS: Final = (
    *("order_id", "tier", "days", "seats", "features", "limits", "renews", "activation"),
    *("networks", "grace_days", "stale_days"),
)
RESULT: Final = ("order_id", "id", "license_key", "error")
_YES_NO: Final = {"yes": True, "no": False}


class OrderRefused(Exception):
    """Refuses one order, with this sentence; the others go on."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.sentence = why


def count(path: Path) -> int:
    """Tells how many orders the file has. Raises Usage for columns that are none of `COLUMNS`, or without an order id."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return sum(1 for _ in _orders(file))


def issue_all(
    authority: Authority,
    reseller: str,
    orders: Path,
    result: Path,
    *,
    now: Callable[[], int],
    actor: str,
    reason: str | None = None,
    progress: Callable[[int], None],
) -> dict[str, int]:
    """Issue every order from the books (`sell_all`)."""

    def sell(terms: LicenseTerms) -> tuple[str, str]:
        try:
            made = issue.issue(authority, reseller, terms, now=now(), actor=actor, reason=reason)
        except (Untrusted, NotPermitted) as refused:
            raise OrderRefused(sentence(refused.detail, refused.values)) from refused
        return made.jti, made.key

    return sell_all(orders, result, sell, progress=progress)


def sell_all(
    orders: Path, result: Path, sell: Callable[[LicenseTerms], tuple[str, str]], *, progress: Callable[[int], None]
) -> dict[str, int]:
    """Sell every order that has no line in the result yet; how many were issued, were there before, were refused.

    `sell` returns id and license key, and raises OrderRefused for an order that stops no other. The result is of mode
    0600, since it has license keys, and each line is on the disk before the next order is sold.
    """
    _mend(result)
    done = _done(result)
    counts = {"issued": 0, "there_before": len(done), "refused": 0}
    descriptor = os.open(result, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with (
        os.fdopen(descriptor, "a", encoding="utf-8", newline="") as out,
        orders.open(encoding="utf-8-sig", newline="") as file,
    ):
        writer = csv.writer(out)
        if out.tell() == 0:
            writer.writerow(RESULT)
        for number, row in enumerate(_orders(file), start=1):
            if row["order_id"] not in done:
                outcome = _outcome(row, sell)
                writer.writerow(outcome)
                out.flush()
                os.fsync(out.fileno())
                counts["refused" if outcome[-1] else "issued"] += 1
            progress(number)
    return counts


def _outcome(row: dict[str, str], sell: Callable[[LicenseTerms], tuple[str, str]]) -> tuple[str, str, str, str]:
    """Returns the line of the result."""
    order_id = row["order_id"]
    try:
        license_id, key = sell(_terms(row))
    except OrderRefused as refused:
        return order_id, "", "", refused.sentence
    except Usage as wrong:
        if wrong.detail not in {"order_line", "order_id", "network", "networks_many"}:
            raise
        return order_id, "", "", sentence(wrong.detail, wrong.values)
    return order_id, license_id, key, ""


def _orders(file: TextIO) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(file)
    names = reader.fieldnames or ()
    if "order_id" not in names or not set(names) <= set(COLUMNS):
        raise Usage(Fault.USAGE, "order_columns", columns=", ".join(COLUMNS))
    for row in reader:
        yield {name: (value or "").strip() for name, value in row.items() if name is not None}


def _mend(result: Path) -> None:
    """Take a torn last line away: what is written next would become a part of it. Its order is told again."""
    with suppress(FileNotFoundError), result.open("r+b") as file:
        written = file.read()
        file.truncate(written.rfind(b"\n") + 1)


def _done(result: Path) -> set[str]:
    """Returns the orders that have a license in the result; a refused one is tried again."""
    try:
        with result.open(encoding="utf-8", newline="") as file:
            return {
                row["order_id"] for row in csv.DictReader(file) if row.get("license_key") and row.get("error") == ""
            }
    except FileNotFoundError:
        return set()


def _number(row: dict[str, str], name: str) -> int | None:
    return int(row[name]) if row.get(name) else None


def _terms(row: dict[str, str]) -> LicenseTerms:
    """Raises Usage (order_line) for a value that is none."""
    try:
        return LicenseTerms(
            order_id=row["order_id"],
            tier=row.get("tier") or None,
            days=_number(row, "days"),
            grace_days=_number(row, "grace_days"),
            stale_days=_number(row, "stale_days"),
            seats=int(row.get("seats") or 1),
            networks=tuple(row.get("networks", "").split()),
            features=tuple(row["features"].split()) if row.get("features") else None,
            limits={name: int(number) for name, number in (each.split("=") for each in row.get("limits", "").split())},
            renews=_YES_NO[row.get("renews") or "yes"],
            activation=_YES_NO[row.get("activation") or "yes"],
        )
    except (ValueError, KeyError) as error:
        raise Usage(Fault.USAGE, "order_line", order=row["order_id"][:64], why=str(error)[:100]) from error
