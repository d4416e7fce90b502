"""Commands about licenses after their sale: look them up, change them, hand them over, issue many."""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_authority.books.repository import Books
from opanel_authority.cli.common import (
    AddCommand,
    Result,
    given,
    handle_argument,
    limit,
    logged,
    moment,
    now_s,
    number,
    opened,
    shown_time,
    who,
    words,
    write_bundle,
)
from opanel_authority.documents import keys, publish
from opanel_authority.lifecycle import audit, bulk, changes, listing
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.lifecycle.listing import Filter, LicenseState
from opanel_authority.requests import networks


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    listing_ = add("list", _list, "licenses, a page at a time")
    _filter_arguments(listing_)
    listing_.add_argument("--cursor", metavar="CURSOR", help="where the last page ended")
    listing_.add_argument("--limit", type=number, default=100, metavar="N", help="how many a page, at most 1000")
    handle_argument(add("show", _show, "one license: its terms, its seats, what was done with it"))
    exporting = add("export", _export, "every license that matches, as CSV; never its key")
    _filter_arguments(exporting)
    exporting.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    log = add("log", _log, "who changed what, when and why, the newest first")
    log.add_argument("id", metavar="ID", nargs="?")
    log.add_argument("--limit", type=number, default=100, metavar="N")
    auditing = add("audit", _audit, "find what was sold beyond the delegations, from the signed documents alone")
    auditing.add_argument("--as", dest="reseller", metavar="RESELLER")
    auditing.add_argument("seen", nargs="*", type=Path, metavar="BUNDLE", help="bundles that were seen elsewhere")
    changing = add(
        "change", _change_terms, "a newer edition with other terms, to the end that was paid for", changes=True
    )
    handle_argument(changing)
    _terms_arguments(changing)
    for switch in ("on", "off"):
        renewal = add(
            f"renewal-{switch}", partial(_renewal, renews=switch == "on"), f"renewal by itself: {switch}", changes=True
        )
        handle_argument(renewal)
    handle_argument(add("lift-move-limit", _lift, "moves until now do not count toward three in 30 days", changes=True))
    limiting = add(
        "networks", _networks, "from which networks a license is exchanged, activated, renewed; none: all", changes=True
    )
    handle_argument(limiting)
    limiting.add_argument("networks", nargs="*", metavar="CIDR", help="such as 192.0.2.0/24 or 2001:db8::/48")
    transfer = add("transfer", _transfer, "give a license to another reseller; its key and seats stay", changes=True)
    handle_argument(transfer)
    transfer.add_argument("--to", dest="reseller", required=True, metavar="RESELLER")
    transfer.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    many = add(
        "bulk", _bulk, "issue every order of a CSV file; run it again and it goes on where it stopped", changes=True
    )
    many.add_argument("orders", type=Path, metavar="CSV", help=f"columns: {', '.join(bulk.COLUMNS)}")
    many.add_argument("--as", dest="reseller", required=True, metavar="RESELLER")
    many.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="order, id, license key, error")


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="reseller", metavar="RESELLER", help="only his")
    parser.add_argument(
        "--state", type=LicenseState, choices=[*LicenseState], metavar="STATE", help="active, suspended, …"
    )
    parser.add_argument("--order", dest="order_id", metavar="ID")
    for name in ("created-from", "created-to", "ends-from", "ends-to"):
        parser.add_argument(f"--{name}", type=moment, metavar="DATE")


def _terms_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tier")
    parser.add_argument("--features", type=words, metavar="A,B")
    parser.add_argument("--limit", dest="limits", type=limit, action="append", metavar="NAME=NUMBER")
    parser.add_argument("--seats", type=int, metavar="N")
    parser.add_argument("--days", type=int, metavar="N", help="another term, from now on")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def _filter(books: Books, arguments: argparse.Namespace) -> Filter:
    named = given(arguments, "state", "order_id", "created_from", "created_to", "ends_from", "ends_to")
    if arguments.reseller is None:
        return Filter(**named)
    row = books.delegation(name=arguments.reseller)
    if row is None:
        raise Usage(Fault.USAGE, "reseller_unknown", name=arguments.reseller)
    return Filter(delegation=row.number, **named)


def _list(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        found = listing.page(
            books, _filter(books, arguments), now=now_s(), cursor=arguments.cursor, limit=arguments.limit
        )
    licenses: list[Json] = [_dated(each) for each in found.items]
    return {"licenses": licenses, "next_cursor": found.next_cursor}


def _dated(row: dict[str, Json]) -> dict[str, Json]:
    times = {name: shown_time(at) for name in ("created", "ends") if isinstance(at := row[name], int)}
    return {**row, **times}


def _show(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        row = find_license(books, arguments.id)
        log: list[Json] = [_logged(each) for each in books.changes(subject=row.id)]
        return {**_dated(listing.detail(books, row, now=now_s())), "log": log}


def _logged(row: dict[str, Json]) -> dict[str, Json]:
    at = row["at"]
    when = shown_time(at) if isinstance(at, int) else ""
    return {"at": when, **{name: row[name] for name in ("actor", "act", "kind", "subject", "reason")}}


def _export(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        rows = listing.everything(books, _filter(books, arguments), now=now_s())
        return {"licenses": write_csv(arguments.output, map(_dated, rows)), "file": str(arguments.output)}


def write_csv(path: Path, rows: Iterable[Mapping[str, Json]]) -> int:
    """Write licenses to a new file of mode 0600; how many."""
    count = 0
    with _csv(path) as out:
        writer = None
        for each in rows:
            if writer is None:
                writer = csv.DictWriter(out, [*each])
                writer.writeheader()
            writer.writerow({name: _cell(value) for name, value in each.items()})
            count += 1
    return count


def _cell(value: Json) -> str:
    """Returns a value as a spreadsheet's cell; text that one would run as a formula is quoted."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={number}" for name, number in value.items())
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text


@contextmanager
def _csv(path: Path) -> Iterator[TextIO]:
    with keys.new_private(path) as file:
        yield (text := os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", newline=""))
        text.close()


def _log(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        subject = None if arguments.id is None else _subject(books, arguments.id)
        rows: list[Json] = [_logged(each) for each in books.changes(subject=subject, limit=arguments.limit)]
    return {"changes": rows}


def _subject(books: Books, handle: str) -> str:
    reseller = books.delegation(name=handle)
    return reseller.jti if reseller is not None else find_license(books, handle).id


def _audit(arguments: argparse.Namespace) -> Result:
    seen = [path.read_bytes() for path in arguments.seen]
    found = audit.audit(opened(arguments), arguments.reseller, seen)
    violations: list[Json] = [
        {"reseller": each.reseller, "rule": each.rule, "licenses": " ".join(each.licenses)} for each in found.violations
    ]
    return {"examined": found.examined, "violations": violations}


def _change_terms(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    terms = given(arguments, "tier", "features", "seats", "days")
    if arguments.limits is not None:
        terms["limits"] = dict(arguments.limits)
    with keys.new_private(arguments.output) as file:
        made = changes.change_terms(
            authority,
            arguments.id,
            changes.NewTerms(**terms),
            now=now_s(),
            who=who(arguments),
            deliver=partial(write_bundle, file),
        )
    publish.publish_again(authority, now=now_s())
    return {"id": made.jti, "bundle": str(arguments.output)}


def _renewal(arguments: argparse.Namespace, *, renews: bool) -> Result:
    row = changes.set_renewal(opened(arguments), arguments.id, renews=renews, now=now_s(), who=who(arguments))
    return {"id": row.id, "renews": renews}


def _networks(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    changes.set_networks(authority, arguments.id, arguments.networks, now=now_s(), who=who(arguments))
    with authority.store.reading() as books:
        row = find_license(books, arguments.id)
    kept: list[Json] = [*networks.shown(row.networks)]
    return {"id": row.id, "networks": kept}


def _lift(arguments: argparse.Namespace) -> Result:
    return {"id": changes.lift_move_limit(opened(arguments), arguments.id, now=now_s(), who=who(arguments)).id}


def _transfer(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with keys.new_private(arguments.output) as file:
        made = changes.transfer(
            authority,
            arguments.id,
            arguments.reseller,
            now=now_s(),
            who=who(arguments),
            deliver=partial(write_bundle, file),
        )
    return {"id": made.jti, "bundle": str(arguments.output), "reseller": arguments.reseller}


def _bulk(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with authority.store.pooled():
        counts = bulk.issue_all(
            authority,
            arguments.reseller,
            arguments.orders,
            arguments.output,
            now=now_s,
            progress=progress_of(arguments.orders),
            **logged(arguments),
        )
    return {**counts, "file": str(arguments.output)}


def progress_of(orders: Path) -> Callable[[int], None]:
    """Return what shows on a terminal how many of the orders are done. Raises Usage for a file that is none."""
    total = bulk.count(orders)

    def progress(number: int) -> None:
        if sys.stderr.isatty() and (number % 50 == 0 or number == total):
            sys.stderr.write(f"\r{number} of {total}" + ("\n" if number == total else ""))
            sys.stderr.flush()

    return progress
