"""`opanel-authority remote webhook …`: what a reseller's systems are told of his licenses, over the management API."""

import argparse
from functools import partial
from urllib.parse import quote

from opanel_authority.cli.common import AddCommand, Result, given
from opanel_authority.cli.remote.commands import ask, changing, dated
from opanel_authority.cli.webhooks import events_argument, page_arguments


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    adding = changing(add, "remote webhook add", _add, "tell a URL what happens to licenses; its secret is shown once")
    adding.add_argument("url", metavar="URL", help="https://…, of a public address")
    adding.add_argument("--as", dest="reseller", metavar="RESELLER", help="with the vendor's key: only of his licenses")
    events_argument(adding)
    add("remote webhook list", _list, "the webhooks, and how the last event of each was taken")
    sent = add("remote webhook deliveries", _deliveries, "what was sent to it and how it was taken, the newest first")
    page_arguments(sent)
    for name, method, path, summary in (
        ("test", "POST", "/test", "send an event that says nothing"),
        ("rotate", "POST", "/rotate-secret", "another secret; events are signed with both for a day"),
        ("remove", "DELETE", "", "end it; what still waits for it is forgotten"),
    ):
        act = partial(_act, method, path)
        _identified(changing(add, f"remote webhook {name}", act, summary))
    for parser in (add("remote webhook show", _show, "one webhook"), sent):
        _identified(parser)


def _identified(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `remote webhook list` names it")


def _path(arguments: argparse.Namespace, action: str = "") -> str:
    return f"/webhooks/{quote(arguments.id, safe='')}{action}"


def _add(arguments: argparse.Namespace) -> Result:
    asked = given(arguments, "url", "reseller") | ({"events": [*arguments.events]} if arguments.events else {})
    return dated(ask(arguments, "POST", "/webhooks", asked))


def _list(arguments: argparse.Namespace) -> Result:
    return {"webhooks": dated(ask(arguments, "GET", "/webhooks"))["items"]}


def _show(arguments: argparse.Namespace) -> Result:
    return dated(ask(arguments, "GET", _path(arguments)))


def _deliveries(arguments: argparse.Namespace) -> Result:
    query = given(arguments, "before", "limit")
    found = dated(ask(arguments, "GET", _path(arguments, "/deliveries"), query=query))
    return {"deliveries": found["items"], "next_before": found["next_before"]}


def _act(method: str, action: str, arguments: argparse.Namespace) -> Result:
    reply = dated(ask(arguments, method, _path(arguments, action)))
    return reply or {"id": arguments.id, "state": "removed"}
