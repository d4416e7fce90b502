"""Commands that issue a license and renew it, and those that suspend, resume, revoke and supersede what was issued."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from opanel_authority.cli.common import (
    AddCommand,
    Result,
    given,
    handle_argument,
    limit,
    logged,
    now_s,
    opened,
    warned,
    who,
    words,
    write_bundle,
)
from opanel_authority.documents import issue, keys, publish
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.handles import find_license


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _issue_arguments(add("issue", _issue, "make a license: its key for the e-mail, its bundle as a file", changes=True))
    _renew_arguments(
        add(
            "renew", _renew, "make a newer edition of a license: agents that ask get it, and it is a file", changes=True
        )
    )
    for change in Change:
        handle_argument(add(change.value, _change, f"{change.value} and publish at once", changes=True))


def _issue(arguments: argparse.Namespace) -> Result:
    terms = LicenseTerms(**named_terms(arguments))
    authority = opened(arguments)
    with keys.new_private(arguments.output) as file:
        made = issue.issue(
            authority, arguments.reseller, terms, now=now_s(), **logged(arguments), deliver=partial(write_bundle, file)
        )
    return {
        "license_key": made.key,
        "id": made.jti,
        "bundle": str(arguments.output),
        **({"issued_before": True} if made.again else {}),
        **warned(made.warnings),
    }


def named_terms(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `order_arguments` was given, by the names that terms and orders of the API have."""
    named = given(
        arguments,
        *("features", "tier", "days", "grace_days", "stale_days", "within_days", "min_p", "seats", "activation"),
        *("renews", "order_id", "networks"),
    )
    return {"limits": dict(arguments.limit), **named}


def _renew(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with authority.store.reading() as books:
        row = find_license(books, arguments.id)
    with keys.new_private(arguments.output) as file:
        made = issue.renew(
            authority,
            row.id,
            days=arguments.days,
            extend=arguments.extend,
            now=now_s(),
            **logged(arguments),
            deliver=partial(write_bundle, file),
        )
    return {"id": made.jti, "bundle": str(arguments.output)}


def _change(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    subject = changes.change(authority, Change(arguments.change), arguments.id, now=now_s(), who=who(arguments))
    publish.publish_again(authority, now=now_s())
    return {"id": subject.id, "kind": subject.kind.value, "status": subject.status}


def _issue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="reseller", required=True, metavar="RESELLER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    order_arguments(parser)


def order_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is sold, as `named_terms` reads it."""
    parser.add_argument("--features", type=words, metavar="A,B")
    parser.add_argument("--limit", type=limit, action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--tier")
    for number, meaning in (
        ("days", "the term"),
        ("grace-days", "everything goes on that long after the end"),
        ("stale-days", "that long without a status list"),
        ("within-days", "activation is due within"),
        ("min-p", "platform components that an activation must show"),
        ("seats", "servers at a time"),
    ):
        parser.add_argument(f"--{number}", type=int, metavar="N", help=meaning)
    parser.add_argument(
        "--order", dest="order_id", metavar="ID", help="your own id; sent again, it is the same license"
    )
    parser.add_argument(
        "--network",
        dest="networks",
        action="append",
        metavar="CIDR",
        help="exchanged, activated and renewed only from there",
    )
    parser.add_argument(
        "--no-renewal", dest="renews", action="store_false", default=None, help="a trial, a prepaid term"
    )
    parser.add_argument("--no-activation", dest="activation", action="store_false", default=None)


def _renew_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--days", type=int, metavar="N", help="the term; as long as the last one where not given")
    extend_argument(parser)


def extend_argument(parser: argparse.ArgumentParser) -> None:
    """Add --extend: what is left of the last term is not lost."""
    parser.add_argument("--extend", action="store_true", help="add what is left of the last term")
