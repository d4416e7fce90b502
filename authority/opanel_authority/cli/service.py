"""Commands that publish and serve, and the clock that both go by."""

import argparse
from pathlib import Path

from opanel_authority import clock
from opanel_authority.api import serve
from opanel_authority.books.rows import Kind
from opanel_authority.cli.common import AddCommand, Result, logged, now_s, opened
from opanel_authority.documents import advisories, publish
from opanel_authority.requests import networks


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    add(
        "clock", _clock, "show the clock and the books' time; --accept takes a clock that is right", changes=True
    ).add_argument("--accept", action="store_true")
    add("advise", _advise, "sign a security advisory and add it to the set", changes=True).add_argument(
        "file", type=Path, metavar="FILE", help="TOML or JSON, as docs/authority.md shows"
    )
    add("publish", _publish, "write the static files", changes=True).add_argument("directory", type=Path, metavar="DIR")
    _serve_arguments(
        add("serve", _serve, "serve static files, bundles, activations, releases, renewals, reports, rights")
    )


def _clock(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    with authority.store.reading() as books:
        last, held = clock.last_write(books), [books.signed_shard(shard) for shard in books.shard_numbers()]
    if arguments.accept:
        with authority.store.transaction() as books:
            clock.accept(books, now)
            before = "never" if last is None else clock.shown(last)
            books.log_change(
                at=now,
                act="accept_clock",
                kind=Kind.BOOKS,
                subject=f"after {before}",
                delegation=None,
                **logged(arguments),
            )
    return {
        "now": clock.shown(now),
        "last_write": None if last is None else clock.shown(last),
        "status_list": max((clock.shown(each.iat) for each in held if each is not None), default=None),
        "accepted": arguments.accept,
    }


def _advise(arguments: argparse.Namespace) -> Result:
    with arguments.file.open("rb") as file:
        made = advisories.advise(
            opened(arguments), file.read(advisories.MAX_DRAFT_BYTES + 1), now=now_s(), **logged(arguments)
        )
    return {"id": made.jti, "seq": made.seq, "severity": made.severity.value, "title": made.title["en"]}


def _publish(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    made = publish.publish(authority, arguments.directory, now=now_s())
    publish.remember_directory(authority, arguments.directory.resolve(), now=now_s(), **logged(arguments))
    return {path.name: str(path) for path in made}


def _serve(arguments: argparse.Namespace) -> Result:
    serve.run(
        opened(arguments),
        arguments.listen,
        log_file=arguments.log,
        publish_to=arguments.publish,
        proxies=networks.parse(arguments.proxies),
    )
    return {}


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:8470", metavar="ADDRESS:PORT")
    parser.add_argument("--log", type=Path, metavar="FILE", help="a line for each request, instead of on stderr")
    parser.add_argument("--publish", type=Path, metavar="DIR", help="keep the static files there up to date")
    parser.add_argument(
        "--trusted-proxy",
        dest="proxies",
        action="append",
        default=[],
        metavar="CIDR",
        help="a reverse proxy in front, whose X-Forwarded-For counts",
    )
