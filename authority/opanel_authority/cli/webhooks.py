"""Commands about webhooks, for the vendor: his own, and those of every reseller."""

import argparse

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_authority.cli.common import AddCommand, Result, now_s, number, opened, shown_time, who, words
from opanel_authority.lifecycle import webhooks
from opanel_authority.lifecycle.webhooks import Event


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    hook = add("webhook", _add, "tell a URL what happens to licenses; its secret is shown once", changes=True)
    hook.add_argument("url", metavar="URL")
    hook.add_argument("--as", dest="reseller", metavar="RESELLER", help="only of his licenses; else of all")
    events_argument(hook)
    add("webhooks", _list, "the webhooks, and how the last event of each was taken")
    sent = add("webhook-deliveries", _deliveries, "what was sent to a webhook and how it was taken, the newest first")
    sent.add_argument("id", metavar="ID")
    page_arguments(sent)
    for name, command, summary in (
        ("test-webhook", _test, "send an event that says nothing"),
        ("rotate-webhook", _rotate, "another secret; events are signed with both for a day"),
        ("remove-webhook", _remove, "end a webhook; what still waits for it is forgotten"),
    ):
        add(name, command, summary, changes=True).add_argument("id", metavar="ID")


def events_argument(parser: argparse.ArgumentParser) -> None:
    """Add --events: all of them, where it is not given."""
    parser.add_argument("--events", type=words, metavar="A,B", help=", ".join(Event))


def page_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which page of deliveries."""
    parser.add_argument("--before", type=number, metavar="NUMBER", help="where the last page ended")
    parser.add_argument("--limit", type=number, default=100, metavar="N")


def _add(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    try:
        events = tuple(Event(each) for each in arguments.events or Event)
    except ValueError as error:
        raise Usage(Fault.USAGE, "command_line", why=str(error)) from error
    with authority.writing(now) as books:
        webhook_id = webhooks.add(
            authority,
            arguments.url,
            reseller=arguments.reseller,
            events=events,
            now=now,
            who=who(arguments),
            inside=True,
        )
        return {"id": webhook_id, "url": arguments.url, "secret": webhooks.secret_of(books, webhook_id)}


def _list(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        rows: list[Json] = [
            {**each, "events": " ".join(each["events"]), "created": shown_time(each["created"])}
            for each in webhooks.listed(books)
        ]
    return {"webhooks": rows}


def _deliveries(arguments: argparse.Namespace) -> Result:
    with opened(arguments).store.reading() as books:
        found = webhooks.deliveries(books, arguments.id, before=arguments.before, limit=arguments.limit)
        rows: list[Json] = [dated(each) for each in found]
    return {"deliveries": rows}


def dated(row: dict[str, Json]) -> dict[str, Json]:
    """Returns a delivery with its times as people read them."""
    return row | {name: shown_time(at) for name in ("at", "next_at") if isinstance(at := row[name], int)}


def _test(arguments: argparse.Namespace) -> Result:
    number = webhooks.test(opened(arguments), arguments.id, now=now_s(), who=who(arguments))
    return {"id": arguments.id, "delivery": number}


def _rotate(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    with authority.writing(now) as books:
        until = webhooks.rotate(authority, arguments.id, now=now, who=who(arguments))
        secret = webhooks.secret_of(books, arguments.id)
    return {"id": arguments.id, "secret": secret, "previous_until": shown_time(until)}


def _remove(arguments: argparse.Namespace) -> Result:
    webhooks.remove(opened(arguments), arguments.id, now=now_s(), who=who(arguments))
    return {"id": arguments.id, "state": "removed"}
