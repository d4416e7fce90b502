"""The vendor's and the reseller's command (docs/authority.md).

Each command is one function from its arguments to what it made, as names and values: shown a line each (rows of a list
below their name), or with `--json` as the envelope that the agent's commands use. Results go to stdout, everything else
to stderr. An error is one sentence that starts with "cannot", a hint and a code, and the exit status of docs/json.md;
never a traceback.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, cast

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import AgentError, Storage, Usage
from opanel_agent.core.text_safety import escape, escape_json
from opanel_agent.core.wire.message import Sealed
from opanel_agent.system.storage.resources import load_catalog
from opanel_authority import authority as home
from opanel_authority import clock
from opanel_authority.api import serve
from opanel_authority.cli import licenses, operations, own_key, resellers
from opanel_authority.cli.common import (
    Command,
    Result,
    actor,
    given,
    handle_argument,
    limit,
    now_s,
    opened,
    warned,
    who,
    words,
)
from opanel_authority.cli.controllers import add_controller, add_vendor, controller_of, vendor_of
from opanel_authority.documents import advisories, delegate, issue, keys, publish, rotate
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.keys import Role
from opanel_authority.lifecycle import changes, retention
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.messages import cure, sentence
from opanel_authority.requests import licensing, networks, reports

_RIGHT_ID: Final = re.compile("[0-9a-f]{32}")
_DIRECTORY_VARIABLE: Final = "OPANEL_AUTHORITY_DIR"


def main(argv: Sequence[str]) -> int:
    """Runs one command; the exit status: 1 for a `health` that found something."""
    as_json = "--json" in argv
    try:
        arguments = _parser().parse_args(argv)
        result = cast("Command", arguments.command)(arguments)
    except AgentError as error:
        return _fail(error, as_json=as_json)
    except OSError as error:
        path = str(error.filename or "a file")
        return _fail(Storage(Fault.IO_FAILED, "io_failed", path=path, why=str(error.strerror)), as_json=as_json)
    except KeyboardInterrupt:
        return 130
    _show(result, as_json=as_json)
    return 0 if result.get("healthy", True) else 1


def _init(arguments: argparse.Namespace) -> Result:
    terms = home.RootTerms(
        name=arguments.name,
        url=arguments.url,
        region=arguments.region,
        threshold=arguments.threshold,
        keys=arguments.keys,
        days=arguments.days,
        database=arguments.database,
        **vendor_of(arguments),
    )
    now = now_s()
    made = home.init(arguments.directory, terms, now=now)
    publish.current_status_list(made, now=now)
    return {
        "name": made.root.sub,
        "root": str(arguments.directory / "root.jws"),
        "thumbprint": made.root.digest,
        "root_keys": f"{terms.threshold} of {terms.keys}, keys/root-*.pem: carry them to offline media",
        "keys": str(arguments.directory / "keys"),
        "serves": made.root.mirrors[0].url,
        "status_uri": made.root.status_uri,
    }


def _delegate(arguments: argparse.Namespace) -> Result:
    named = given(
        arguments,
        *("name", "email", "phone", "url", "products", "features", "tiers", "max_term_days", "grace_days"),
        *("stale_days", "days", "slots", "depth", "status_entries"),
    )
    terms = DelegationTerms(limits=dict(arguments.limit), controller=controller_of(arguments), **named)
    public = None if arguments.public_key is None else own_key.public_key(arguments.public_key)
    authority = opened(arguments)
    made = delegate.delegate(authority, terms, arguments.output, now=now_s(), actor=actor(), public=public)
    return {
        "reseller": made.name,
        "id": made.jti,
        "key": "the reseller's own" if public is not None else str(arguments.output / "key.pem"),
        "delegation": str(arguments.output / "delegation.jws"),
        **warned(delegate.warnings_of(authority)),
    }


def _issue(arguments: argparse.Namespace) -> Result:
    named = given(
        arguments,
        *("features", "tier", "days", "grace_days", "stale_days", "within_days", "min_p", "seats", "activation"),
        *("renews", "order_id", "networks"),
    )
    terms = LicenseTerms(limits=dict(arguments.limit), **named)
    authority = opened(arguments)
    with keys.new_private(arguments.output) as file:
        made = issue.issue(
            authority, arguments.reseller, terms, now=now_s(), actor=actor(), deliver=partial(_write_bundle, file)
        )
    return {
        "license_key": made.key,
        "id": made.jti,
        "bundle": str(arguments.output),
        **({"issued_before": True} if made.again else {}),
        **warned(made.warnings),
    }


def _write_bundle(file: BinaryIO, made: Issued) -> None:
    """On the disk before the license counts: one that could not be handed out is not issued."""
    file.write(made.text.encode("ascii"))
    file.flush()
    os.fsync(file.fileno())


def _clock(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    with authority.store.reading() as books:
        last, held = clock.last_write(books), [books.signed_shard(shard) for shard in books.shard_numbers()]
    if arguments.accept:
        with authority.store.transaction() as books:
            clock.accept(books, now)
    return {
        "now": clock.shown(now),
        "last_write": None if last is None else clock.shown(last),
        "status_list": max((clock.shown(each.iat) for each in held if each is not None), default=None),
        "accepted": arguments.accept,
    }


def _renew(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with authority.store.reading() as books:
        row = find_license(books, arguments.id)
    with keys.new_private(arguments.output) as file:
        made = issue.renew(
            authority, row.id, days=arguments.days, now=now_s(), actor=actor(), deliver=partial(_write_bundle, file)
        )
    return {"id": made.jti, "bundle": str(arguments.output)}


def _change(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    subject = changes.change(authority, Change(arguments.change), arguments.id, now=now_s(), who=who(arguments))
    publish.publish_again(authority, now=now_s())
    return {"id": subject.id, "kind": subject.kind.value, "status": subject.status}


def _answer(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    if _RIGHT_ID.fullmatch(arguments.request.name) and not arguments.request.exists():
        made, kind = reports.settle(authority, arguments.request.name, now=now_s()), Purpose.DATA_RIGHTS.value
    else:
        made, kind = _answer_file(authority, arguments.request)
    keys.write_private(arguments.output, made.body)
    return {"answered": kind, "file": str(arguments.output)}


def _answer_file(authority: home.Authority, request: Path) -> tuple[licensing.Answer, str]:
    with request.open("rb") as file:
        body = _body(file.read(2 * licensing.MAX_REQUEST_BYTES))
    if body.startswith(b"{") and b'"key_sha256"' in body:
        return licensing.bundle(authority, licensing.key_of(body), now=now_s()), "bundle"
    if body.startswith(b"{"):
        made = reports.right(authority, load_catalog(), body, now=now_s(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    claims = requests.verify(body)
    if claims.kind is RequestKind.RIGHTS:
        made = reports.license_right(authority, load_catalog(), body, now=now_s(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    return licensing.signed(authority, body, claims, now=now_s()), str(claims.kind)


def _body(data: bytes) -> bytes:
    """What the agent would have sent: of a sealed request its body, of anything else all of it."""
    line, newline, rest = data.partition(b"\n")
    if newline and rest and line.startswith(b"{"):
        return Sealed.decode(data).body
    return data.strip()


def _advise(arguments: argparse.Namespace) -> Result:
    with arguments.file.open("rb") as file:
        made = advisories.advise(opened(arguments), file.read(advisories.MAX_DRAFT_BYTES + 1), now=now_s())
    return {"id": made.jti, "seq": made.seq, "severity": made.severity.value, "title": made.title["en"]}


def _received(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    return reports.received(authority) if arguments.id is None else reports.received_one(authority, arguments.id)


def _purge(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    erased = retention.purge(authority, now=now)
    return {"erased": erased + reports.purge(authority, load_catalog(), now=now)}


def _publish(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    made = publish.publish(authority, arguments.directory, now=now_s())
    publish.remember_directory(authority, arguments.directory.resolve(), now=now_s())
    return {path.name: str(path) for path in made}


def _rotate(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    asked = rotate.Rotation(
        role=Role(arguments.role),
        root_keys=arguments.root_keys or arguments.dir / "keys",
        replaced=frozenset(arguments.replaced),
        compromised=arguments.compromised,
        days=arguments.days,
        threshold=arguments.threshold,
        **vendor_of(arguments),
    )
    done = rotate.rotate(authority, asked, now=now_s())
    made: list[Json] = [str(path) for path in done.made]
    retired: list[Json] = [*done.retired]
    return {
        "role": arguments.role,
        "seq": done.root.seq,
        "roots": str(arguments.dir / "roots.jws"),
        "new_keys": made,
        "of_no_use_any_more": retired,
    }


def _serve(arguments: argparse.Namespace) -> Result:
    serve.run(
        opened(arguments),
        arguments.listen,
        log_file=arguments.log,
        publish_to=arguments.publish,
        proxies=networks.parse(arguments.proxies),
    )
    return {}


def _show(result: Result, *, as_json: bool) -> None:
    if as_json:
        print(_envelope(dict(result), []))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        rows = value if isinstance(value, list) else []
        shown = len(rows) if isinstance(value, list) else value
        print(escape(f"{name.replace('_', ' '):{width}}  {shown}"))
        for row in rows:
            print("  " + escape("  ".join(map(str, row.values())) if isinstance(row, dict) else str(row)))


def _fail(error: AgentError, *, as_json: bool) -> int:
    title, hint = sentence(error.detail, error.values), cure(error.detail, error.values)
    print("\n  ".join(map(escape, (title, hint, f"code: {error.code}"))), file=sys.stderr)
    if as_json:
        arguments: Json = {"code": str(error.code), "title": title, "hint": hint}
        print(_envelope(None, [arguments]))
    return error.exit_status


def _envelope(result: Json, errors: list[Json]) -> str:
    """Returns the JSON envelope of a command. A file's name may hold a lone surrogate, so this is not `strict_json`."""
    arguments = {"schema": 1, "result": result, "warnings": [], "errors": errors}
    return escape_json(json.dumps(arguments, ensure_ascii=False, separators=(",", ":"), sort_keys=True))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(Fault.USAGE, "command_line", why=message)


def _parser_of(**named: Any) -> argparse.ArgumentParser:
    return _Parser(**named)


def _parser() -> argparse.ArgumentParser:
    parser = _parser_of(prog="opanel-authority", description="Delegates, issues, activates and publishes licenses.")
    common = _parser_of(add_help=False)
    common.add_argument("--json", action="store_true", help="the result as JSON")
    here = _parser_of(add_help=False, parents=[common])
    directory = os.environ.get(_DIRECTORY_VARIABLE, ".")
    here.add_argument(
        "--dir", type=Path, default=Path(directory), help=f"the authority's directory (or ${_DIRECTORY_VARIABLE})"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Command, summary: str, *, parent: argparse.ArgumentParser = here
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, parents=[parent])
        added.set_defaults(command=command, change=name)
        return added

    _init_arguments(add("init", _init, "make keys, the first root, an empty status list", parent=common))
    _delegate_arguments(add("delegate", _delegate, "make a reseller's key and delegation"))
    _issue_arguments(add("issue", _issue, "make a license: its key for the e-mail, its bundle as a file"))
    _renew_arguments(
        add("renew", _renew, "make a newer edition of a license: agents that ask get it, and it is a file")
    )
    for change in Change:
        handle_argument(add(change.value, _change, f"{change.value} and publish at once"))
    licenses.register(add)
    resellers.register(add)
    operations.register(add)
    own_key.register(add)
    add("clock", _clock, "show the clock and the books' time; --accept takes a clock that is right").add_argument(
        "--accept", action="store_true"
    )
    _answer_arguments(add("answer", _answer, "answer a request that came as a file, or a rights request by its id"))
    add("advise", _advise, "sign a security advisory and add it to the set").add_argument(
        "file", type=Path, metavar="FILE", help="TOML or JSON, as docs/authority.md shows"
    )
    add("received", _received, "what came in: counts and the newest, or one by its receipt's id").add_argument(
        "id", metavar="ID", nargs="?"
    )
    add("purge", _purge, "erase what is past its time (serve does it once a day)")
    add("publish", _publish, "write the static files").add_argument("directory", type=Path, metavar="DIR")
    _rotate_arguments(
        add("rotate", _rotate, "a new key for a role, in a new root signed by the old threshold and the new")
    )
    _serve_arguments(
        add("serve", _serve, "serve static files, bundles, activations, releases, renewals, reports, rights")
    )
    return parser


def _renew_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--days", type=int, metavar="N", help="the term; as long as the last one where not given")


def _answer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", type=Path, metavar="REQUEST")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


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


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--url", required=True, help="where agents reach this authority")
    parser.add_argument("--region", required=True, help="where that is, such as tr or eu")
    parser.add_argument("--name", default="OPanel", help="how the root is called")
    parser.add_argument("--threshold", type=int, default=2, help="how many root keys sign a root")
    parser.add_argument("--keys", type=int, default=3, help="how many root keys there are")
    parser.add_argument("--days", type=int, default=1825, help="until the root expires")
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL database for the books, instead of SQLite")
    add_vendor(parser)


def _delegate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    for contact in ("email", "phone", "url"):
        parser.add_argument(f"--{contact}", help="shown to end users")
    add_controller(parser)
    for sets in ("products", "features", "tiers"):
        parser.add_argument(f"--{sets}", type=words, metavar="A,B", help="all that he may sell")
    parser.add_argument("--limit", type=limit, action="append", default=[], metavar="NAME=MAX")
    parser.add_argument(
        "--public-key", type=Path, metavar="FILE", help="he keeps his key himself: its JWK (reseller-key)"
    )
    for number, meaning in (
        ("max-term-days", "the longest license"),
        ("grace-days", "the longest grace"),
        ("stale-days", "the longest time without a status list; 3650 is for ever"),
        ("days", "how long he may issue"),
        ("slots", "how many licenses at a time"),
        ("depth", "how many levels of resellers below him"),
        ("status-entries", "how many licenses in all"),
    ):
        parser.add_argument(f"--{number}", type=int, metavar="N", help=meaning)


def _rotate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", choices=[role.value for role in rotate.ROLES], metavar="ROLE")
    parser.add_argument("--compromised", action="store_true", help="leave no old key of the role in the root")
    parser.add_argument(
        "--replace", dest="replaced", action="append", default=[], metavar="THUMBPRINT", help="these root keys only"
    )
    parser.add_argument("--root-keys", type=Path, metavar="DIR", help="where the root's keys are, if not in keys/")
    parser.add_argument("--days", type=int, default=1825, help="until the new root expires")
    parser.add_argument("--threshold", type=int, metavar="N", help="with root: how many keys sign from now on")
    add_vendor(parser)


def _issue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="reseller", required=True, metavar="RESELLER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
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
