"""Options that name who answers for personal data, and on what ground it goes abroad: what people read in the notice."""

import argparse
from typing import Any

from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.errors import Usage

_PARTS = {
    "name": "the company's or person's name in law",
    "address": "the postal address, in one line",
    "email": "where applications go",
    "kep": "the registered e-mail address (KEP)",
    "url": "a page with a form, or more",
}


def add_controller(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a controller, of the vendor or of a reseller."""
    group = parser.add_argument_group("who answers for personal data, as the notice names him")
    for part, meaning in _PARTS.items():
        group.add_argument(f"--controller-{part}", metavar=part.upper(), help=meaning)


def add_vendor(parser: argparse.ArgumentParser) -> None:
    """Add what a root says to people: its controller, transfers abroad, and for how long mirrors keep IP addresses."""
    add_controller(parser)
    parser.add_argument(
        "--transfer",
        dest="transfers",
        type=_transfer,
        action="append",
        default=[],
        metavar="REGION=MECHANISM",
        help=f"on what ground data go to that region: {', '.join(Mechanism)}",
    )
    parser.add_argument(
        "--ip-retention-days", type=int, metavar="N", help="for how long the mirrors keep IP addresses at most"
    )


def controller_of(arguments: argparse.Namespace) -> Controller | None:
    """Returns the controller that the options name; None without any. Raises Usage where name, address or e-mail lacks."""
    given = {part: text for part in _PARTS if (text := getattr(arguments, f"controller_{part}")) is not None}
    missing = [part for part in ("name", "address", "email") if part not in given]
    if given and missing:
        raise Usage(Fault.USAGE, "controller_incomplete", missing=missing[0])
    return Controller(**given) if given else None


def vendor_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the terms of a root that `add_vendor` added."""
    return {
        "controller": controller_of(arguments),
        "transfers": dict(arguments.transfers),
        "ip_retention_days": arguments.ip_retention_days,
    }


def _transfer(text: str) -> tuple[str, Mechanism]:
    region, _, mechanism = text.partition("=")
    try:
        return region, Mechanism(mechanism)
    except ValueError:
        known = ", ".join(Mechanism)
        raise argparse.ArgumentTypeError(f"{text!r} is not region=mechanism, with one of {known}") from None
