"""`opanel-authority remote …`: what a reseller does with his licenses over HTTP, with his own API key.

The commands are those of `issuing` and `licenses` with the same options, at least one for each operation of the management
API (a test holds the two together). They need no authority's directory.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Untrusted, Usage
from opanel_authority.cli.common import AddCommand, Result, given, handle_argument, limit, moment, shown_time, words
from opanel_authority.cli.issuing import extend_argument, named_terms, order_arguments
from opanel_authority.cli.licenses import progress_of, write_csv
from opanel_authority.cli.own_key import members_of
from opanel_authority.cli.remote.client import (
    KEY_FILE_VARIABLE,
    SERVER_VARIABLE,
    Client,
    Refused,
    idempotency_key,
    read_key,
)
from opanel_authority.documents import keys
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.lifecycle import bulk
from opanel_authority.lifecycle.listing import MAX_PAGE, LicenseState

_TIMES: Final = frozenset({"created", "ends", "since", "at", "good_until", "next_at", "previous_until"})
_FILTERS: Final = ("reseller", "state", "order_id", "created_from", "created_to", "ends_from", "ends_to")
_SIMPLE: Final = {
    "suspend": "suspend a license; machines learn it from the status list",
    "resume": "take a suspension or a revocation back",
    "revoke": "end a license; its slot is free for another",
    "lift-move-limit": "moves until now do not count toward three in 30 days",
}


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add where the service is, and the file with the API key; never the key itself, which others would see."""
    parser.add_argument("--server", metavar="URL", help=f"the service, such as https://NAME (or ${SERVER_VARIABLE})")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help=f"the API key's (or ${KEY_FILE_VARIABLE})")


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _register_reading(add)
    issuing = changing(add, "remote issue", _issue, "sell a license: its key for the e-mail, its bundle as a file")
    issuing.add_argument("--as", dest="reseller", metavar="RESELLER", help="with the vendor's key: whose it is")
    order_arguments(issuing)
    _output(issuing)
    many = add("remote bulk", _bulk, "sell every order of a CSV file; run again, it goes on", changes=True)
    many.add_argument("orders", type=Path, metavar="CSV", help=f"columns: {', '.join(bulk.COLUMNS)}")
    many.add_argument("--as", dest="reseller", metavar="RESELLER", help="with the vendor's key: whose they are")
    many.add_argument("-o", "--output", type=Path, required=True, metavar="CSV", help="order, id, license key, error")
    for name, summary in _SIMPLE.items():
        handle_argument(changing(add, f"remote {name}", partial(_act, name), summary))
    freeing = changing(add, "remote supersede", _supersede, "free a seat: its machine counts 72 hours of grace")
    freeing.add_argument("id", metavar="ACTIVATION", help="as `remote show` names it")
    _change_arguments(changing(add, "remote change", _change, "other terms, to the end that was paid for"))
    renewing = changing(add, "remote renew", _renew, "a newer edition now; machines that ask are given it")
    handle_argument(renewing)
    renewing.add_argument("--days", type=int, metavar="N", help="the term; as long as the last one where not given")
    extend_argument(renewing)
    _output(renewing)
    moving = changing(add, "remote transfer", _transfer, "with the vendor's key: give a license to another reseller")
    handle_argument(moving)
    moving.add_argument("--to", dest="reseller", required=True, metavar="RESELLER")
    _output(moving)
    reserving = add("remote reserve", _reserve, "for who keeps his key himself: an id, a slot and a status entry")
    _key_argument(reserving)
    reserving.add_argument("--order", dest="order_id", metavar="ID")
    _output(reserving, required=True)
    storing = changing(add, "remote store", _store, "for who keeps his key himself: hand in what `sign` wrote")
    storing.add_argument("signed", type=Path, metavar="FILE")
    storing.add_argument("--no-renewal", dest="renews", action="store_false", help="a trial, a prepaid term")
    _output(storing)


def _register_reading(add: AddCommand) -> None:
    listing = add("remote list", _list, "licenses, a page at a time")
    _filter_arguments(listing)
    listing.add_argument("--cursor", metavar="CURSOR", help="where the last page ended")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="how many a page, at most 1000")
    exporting = add("remote export", _export, "every license that matches, as CSV; never its key")
    _filter_arguments(exporting)
    _output(exporting, required=True)
    handle_argument(add("remote show", _show, "one license: its terms, its seats"))
    taking = add("remote bundle", _bundle, "the newest edition, as a file for a server that is offline")
    handle_argument(taking)
    _output(taking, required=True)
    log = add("remote log", _log, "who changed what, when and why, the newest first")
    log.add_argument("id", metavar="ID", nargs="?")
    log.add_argument("--before", type=int, metavar="NUMBER", help="where the last page ended")
    log.add_argument("--limit", type=int, default=100, metavar="N")


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="reseller", metavar="RESELLER", help="with the vendor's key: only his")
    parser.add_argument("--state", choices=[each.value for each in LicenseState], metavar="STATE")
    parser.add_argument("--order", dest="order_id", metavar="ID")
    for name in ("created-from", "created-to", "ends-from", "ends-to"):
        parser.add_argument(f"--{name}", type=moment, metavar="DATE")


def changing(
    add: AddCommand, name: str, command: Callable[[argparse.Namespace], Result], summary: str
) -> argparse.ArgumentParser:
    """Adds a command that changes something, with `--idempotency-key`: sent twice, it is carried out once."""
    parser = add(name, command, summary, changes=True)
    _key_argument(parser)
    return parser


def _key_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="sent again with the same one, it is made once; drawn where not given"
    )


def _output(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument("-o", "--output", type=Path, required=required, metavar="FILE")


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    handle_argument(parser)
    parser.add_argument("--tier")
    parser.add_argument("--features", type=words, metavar="A,B")
    parser.add_argument("--limit", dest="limits", type=limit, action="append", metavar="NAME=NUMBER")
    parser.add_argument("--seats", type=int, metavar="N")
    parser.add_argument("--days", type=int, metavar="N", help="another term, from now on")
    parser.add_argument("--network", dest="networks", action="append", metavar="CIDR", help="only from there")
    parser.add_argument("--any-network", dest="networks", action="store_const", const=[], help="from everywhere")
    for switch in ("on", "off"):
        parser.add_argument(
            f"--renewal-{switch}", dest="renews", action="store_const", const=switch == "on", help="renewal by itself"
        )


def ask(
    arguments: argparse.Namespace,
    method: str,
    path: str,
    body: Mapping[str, Json] | None = None,
    query: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Returns the reply; what changes something is sent with the reason and with an idempotency key."""
    client = _client(arguments)
    if method == "GET":
        return client.ask(method, path, query=query)
    key = arguments.idempotency_key or idempotency_key()
    if method == "DELETE":  # has no body (RFC 9110 section 9.3.5)
        return client.ask(method, path, query=_reason(arguments), idempotency_key=key)
    return client.ask(method, path, body={**(body or {}), **_reason(arguments)}, idempotency_key=key)


def _client(arguments: argparse.Namespace) -> Client:
    server = arguments.server or os.environ.get(SERVER_VARIABLE)
    if not server:
        raise Usage(Fault.USAGE, "server_unnamed", variable=SERVER_VARIABLE)
    return Client(server=server, key=read_key(arguments.key_file))


def _reason(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the reason as a member of a body, where the command takes one and it was given."""
    return {} if getattr(arguments, "reason", None) is None else {"reason": arguments.reason}


def _license(arguments: argparse.Namespace, action: str = "") -> str:
    return f"/licenses/{quote(arguments.id, safe='')}{action}"


def _file(arguments: argparse.Namespace) -> AbstractContextManager[BinaryIO | None]:
    """Returns the file that the reply goes to, opened before anything is sent: what cannot be kept is not asked for."""
    return nullcontext() if arguments.output is None else keys.new_private(arguments.output)


def _kept(arguments: argparse.Namespace, file: BinaryIO | None, reply: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the reply with its bundle in the file, and the file's name in the bundle's place."""
    if file is None:
        return {name: value for name, value in reply.items() if name != "bundle"}
    file.write(str(reply["bundle"]).encode("ascii"))
    return {**reply, "bundle": str(arguments.output)}


def dated(reply: Mapping[str, Any]) -> dict[str, Json]:
    """Returns the same with times as people read them, in rows of rows too."""
    return {name: _shown(name, value) for name, value in reply.items()}


def _shown(name: str, value: Any) -> Json:  # noqa: ANN401 - JSON
    if name in _TIMES and isinstance(value, int):
        return shown_time(value)
    if isinstance(value, list):
        return [dated(each) if isinstance(each, dict) else each for each in value]
    shown: Json = value
    return shown


def _issue(arguments: argparse.Namespace) -> Result:
    order = {**named_terms(arguments), **given(arguments, "reseller")}
    with _file(arguments) as file:
        return _kept(arguments, file, ask(arguments, "POST", "/licenses", order))


def _list(arguments: argparse.Namespace) -> Result:
    query = {**given(arguments, *_FILTERS, "cursor"), "limit": arguments.limit}
    found = ask(arguments, "GET", "/licenses", query=query)
    return {"licenses": dated(found)["items"], "next_cursor": found["next_cursor"]}


def _export(arguments: argparse.Namespace) -> Result:
    return {"licenses": write_csv(arguments.output, _every(arguments)), "file": str(arguments.output)}


def _every(arguments: argparse.Namespace) -> Iterator[Mapping[str, Json]]:
    client, query = _client(arguments), {**given(arguments, *_FILTERS), "limit": MAX_PAGE}
    while True:
        page = client.ask("GET", "/licenses", query=query)
        yield from map(dated, page["items"])
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def _bulk(arguments: argparse.Namespace) -> Result:
    client, same = _client(arguments), {**given(arguments, "reseller"), **_reason(arguments)}

    def sell(terms: LicenseTerms) -> tuple[str, str]:
        order = {name: value for name, value in asdict(terms).items() if value is not None} | same
        try:
            sold = client.ask("POST", "/licenses", body=order, idempotency_key=idempotency_key())
        except Refused as refused:
            if refused.exit_status != Untrusted.exit_status:  # not of this order alone
                raise
            raise bulk.OrderRefused(refused.title) from refused
        return str(sold["id"]), str(sold["license_key"])

    counts = bulk.sell_all(arguments.orders, arguments.output, sell, progress=progress_of(arguments.orders))
    return {**counts, "file": str(arguments.output)}


def _show(arguments: argparse.Namespace) -> Result:
    return dated(ask(arguments, "GET", _license(arguments)))


def _bundle(arguments: argparse.Namespace) -> Result:
    with _file(arguments) as file:
        return _kept(arguments, file, ask(arguments, "GET", _license(arguments, "/bundle")))


def _log(arguments: argparse.Namespace) -> Result:
    query = given(arguments, "before", "limit")
    if arguments.id is not None:
        query["license_id"] = ask(arguments, "GET", _license(arguments))["id"]
    found = ask(arguments, "GET", "/changes", query=query)
    return {"changes": dated(found)["items"], "next_before": found["next_before"]}


def _act(name: str, arguments: argparse.Namespace) -> Result:
    return dated(ask(arguments, "POST", _license(arguments, f"/{name}")))


def _supersede(arguments: argparse.Namespace) -> Result:
    ask(arguments, "POST", f"/activations/{quote(arguments.id, safe='')}/supersede")
    return {"id": arguments.id, "state": "superseded"}


def _change(arguments: argparse.Namespace) -> Result:
    terms = given(arguments, "tier", "features", "seats", "days", "networks", "renews")
    if arguments.limits is not None:
        terms["limits"] = dict(arguments.limits)
    return dated(ask(arguments, "PATCH", _license(arguments), terms))


def _renew(arguments: argparse.Namespace) -> Result:
    with _file(arguments) as file:
        return _kept(
            arguments, file, ask(arguments, "POST", _license(arguments, "/renew"), given(arguments, "days", "extend"))
        )


def _transfer(arguments: argparse.Namespace) -> Result:
    to: dict[str, Json] = {"reseller": arguments.reseller}
    with _file(arguments) as file:
        return _kept(arguments, file, ask(arguments, "POST", _license(arguments, "/transfer"), to))


def _reserve(arguments: argparse.Namespace) -> Result:
    with keys.new_private(arguments.output) as file:
        reserved = ask(arguments, "POST", "/reservations", given(arguments, "order_id"))
        file.write(json.dumps(reserved).encode() + b"\n")
    shown = {name: reserved[name] for name in ("id", "slot", "good_until")}
    return {**dated(shown), "reservation": str(arguments.output)}


def _store(arguments: argparse.Namespace) -> Result:
    line = members_of(arguments.signed, "line", made_by="sign")["line"]
    with _file(arguments) as file:
        made = ask(arguments, "POST", "/signed-licenses", {"line": line, "renews": arguments.renews})
        return _kept(arguments, file, made)
