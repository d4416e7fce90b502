"""The vendor's and the reseller's command (docs/authority.md).

Each command is one function from its arguments to what it made, as names and values: shown a line each (rows of a list
below their name), or with `--json` as the envelope that the agent's commands use. Results go to stdout, everything else
to stderr. An error is one sentence that starts with "cannot", a hint and a code, and the exit status of docs/json.md;
never a traceback.
"""

import argparse
import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, cast

from opanel_agent.core.codec.strict_json import Json
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
from opanel_authority.documents import advisories, delegate, issue, keys, publish, rotate
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.keys import Role
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.lifecycle.handles import find_license
from opanel_authority.messages import cure, say
from opanel_authority.requests import licensing, reports

Result = Mapping[str, Json]
Command = Callable[[argparse.Namespace], Result]
_RIGHT_ID: Final = re.compile("[0-9a-f]{32}")
_DIRECTORY_VARIABLE: Final = "OPANEL_AUTHORITY_DIR"


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit status."""
    as_json = "--json" in argv
    try:
        told = _parser().parse_args(argv)
        result = cast("Command", told.command)(told)
    except AgentError as error:
        return _fail(error, as_json=as_json)
    except OSError as error:
        path = str(error.filename or "a file")
        return _fail(Storage(Fault.IO_FAILED, "io_failed", path=path, why=str(error.strerror)), as_json=as_json)
    except KeyboardInterrupt:
        return 130
    _show(result, as_json=as_json)
    return 0


def _init(told: argparse.Namespace) -> Result:
    terms = home.RootTerms(
        name=told.name,
        url=told.url,
        region=told.region,
        threshold=told.threshold,
        keys=told.keys,
        days=told.days,
        database=told.database,
    )
    now = _now()
    made = home.init(told.directory, terms, now=now)
    publish.current_status_list(made, now=now)
    return {
        "name": made.root.sub,
        "root": str(told.directory / "root.jws"),
        "thumbprint": made.root.digest,
        "root_keys": f"{terms.threshold} of {terms.keys}, keys/root-*.pem: carry them to offline media",
        "keys": str(told.directory / "keys"),
        "serves": made.root.mirrors[0].url,
        "status_uri": made.root.status_uri,
    }


def _delegate(told: argparse.Namespace) -> Result:
    given = _given(
        told,
        *("name", "email", "phone", "url", "products", "features", "tiers", "max_term_days", "grace_days"),
        *("stale_days", "days", "slots", "depth", "status_entries"),
    )
    terms = DelegationTerms(limits=dict(told.limit), **given)
    made = delegate.delegate(home.open_home(told.dir), terms, told.output, now=_now())
    return {
        "reseller": made.name,
        "id": made.jti,
        "key": str(told.output / "key.pem"),
        "delegation": str(told.output / "delegation.jws"),
    }


def _issue(told: argparse.Namespace) -> Result:
    given = _given(
        told,
        *("features", "tier", "days", "grace_days", "stale_days", "within_days", "min_p", "seats", "activation"),
        *("renews", "order_id"),
    )
    terms = LicenseTerms(limits=dict(told.limit), **given)
    authority = home.open_home(told.dir)
    with keys.new_private(told.output) as file:
        made = issue.issue(
            authority, told.reseller, terms, now=_now(), actor=_actor(), deliver=partial(_write_bundle, file)
        )
    return {
        "license_key": made.key,
        "id": made.jti,
        "bundle": str(told.output),
        **({"issued_before": True} if made.again else {}),
        **({"warnings": [say(each, {}) for each in made.warnings]} if made.warnings else {}),
    }


def _write_bundle(file: BinaryIO, made: Issued) -> None:
    """On the disk before the license counts: one that could not be handed out is not issued."""
    file.write(made.text.encode("ascii"))
    file.flush()
    os.fsync(file.fileno())


def _actor() -> str:
    """ChangedBy types this command, for the change log."""
    try:
        return f"command:{os.environ.get('SUDO_USER') or getpass.getuser()}"
    except (KeyError, OSError):
        return f"command:{os.getuid()}"


def _who(told: argparse.Namespace) -> changes.ChangedBy:
    return changes.ChangedBy(actor=_actor(), reason=told.reason)


def _relocate(told: argparse.Namespace) -> Result:
    delegate.relocate(home.open_home(told.dir), told.name, told.directory, now=_now(), actor=_actor())
    return {"reseller": told.name, "key": str(told.directory / "key.pem")}


def _clock(told: argparse.Namespace) -> Result:
    authority, now = home.open_home(told.dir), _now()
    with authority.store.reading() as books:
        last, held = clock.last_write(books), books.signed_shard(0)
    if told.accept:
        with authority.store.transaction() as books:
            clock.accept(books, now)
    return {
        "now": clock.shown(now),
        "last_write": None if last is None else clock.shown(last),
        "status_list": None if held is None else clock.shown(held.iat),
        "accepted": told.accept,
    }


def _renew(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    with authority.store.reading() as books:
        row = find_license(books, told.id)
    with keys.new_private(told.output) as file:
        made = issue.renew(
            authority, row.id, days=told.days, now=_now(), actor=_actor(), deliver=partial(_write_bundle, file)
        )
    return {"id": made.jti, "bundle": str(told.output)}


def _change(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    subject = changes.change(authority, Change(told.change), told.id, now=_now(), who=_who(told))
    publish.publish_again(authority, now=_now())
    return {"id": subject.id, "kind": subject.kind.value, "status": subject.status}


def _answer(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    if _RIGHT_ID.fullmatch(told.request.name) and not told.request.exists():
        made, kind = reports.settle(authority, told.request.name, now=_now()), Purpose.DATA_RIGHTS.value
    else:
        made, kind = _answer_file(authority, told.request)
    keys.write_private(told.output, made.body)
    return {"answered": kind, "file": str(told.output)}


def _answer_file(authority: home.Authority, request: Path) -> tuple[licensing.Answer, str]:
    with request.open("rb") as file:
        body = _body(file.read(2 * licensing.MAX_REQUEST_BYTES))
    if body.startswith(b"{") and b'"key_sha256"' in body:
        return licensing.bundle(authority, licensing.key_of(body), now=_now()), "bundle"
    if body.startswith(b"{"):
        made = reports.right(authority, load_catalog(), body, now=_now(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    claims = requests.verify(body)
    if claims.kind is RequestKind.RIGHTS:
        made = reports.license_right(authority, load_catalog(), body, now=_now(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    return licensing.signed(authority, body, claims, now=_now()), str(claims.kind)


def _body(data: bytes) -> bytes:
    """What the agent would have sent: of a sealed request its body, of anything else all of it."""
    line, newline, rest = data.partition(b"\n")
    if newline and rest and line.startswith(b"{"):
        return Sealed.decode(data).body
    return data.strip()


def _advise(told: argparse.Namespace) -> Result:
    with told.file.open("rb") as file:
        made = advisories.advise(home.open_home(told.dir), file.read(advisories.MAX_DRAFT_BYTES + 1), now=_now())
    return {"id": made.jti, "seq": made.seq, "severity": made.severity.value, "title": made.title["en"]}


def _received(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    return reports.received(authority) if told.id is None else reports.received_one(authority, told.id)


def _purge(told: argparse.Namespace) -> Result:
    return {"erased": reports.purge(home.open_home(told.dir), load_catalog(), now=_now())}


def _publish(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    made = publish.publish(authority, told.directory, now=_now())
    publish.remember_directory(authority, told.directory.resolve(), now=_now())
    return {path.name: str(path) for path in made}


def _rotate(told: argparse.Namespace) -> Result:
    authority = home.open_home(told.dir)
    asked = rotate.Rotation(
        role=Role(told.role),
        root_keys=told.root_keys or told.dir / "keys",
        replaced=frozenset(told.replaced),
        compromised=told.compromised,
        days=told.days,
    )
    done = rotate.rotate(authority, asked, now=_now())
    made: list[Json] = [str(path) for path in done.made]
    retired: list[Json] = [*done.retired]
    return {
        "role": told.role,
        "seq": done.root.seq,
        "roots": str(told.dir / "roots.jws"),
        "new_keys": made,
        "of_no_use_any_more": retired,
    }


def _serve(told: argparse.Namespace) -> Result:
    serve.run(home.open_home(told.dir), told.listen, log_file=told.log, publish_to=told.publish)
    return {}


def _now() -> int:
    return int(time.time())


def _given(told: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options that were given; the terms know the defaults of the others."""
    return {name: value for name in names if (value := getattr(told, name)) is not None}


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
    sentence, hint = say(error.detail, error.values), cure(error.detail, error.values)
    print("\n  ".join(map(escape, (sentence, hint, f"code: {error.code}"))), file=sys.stderr)
    if as_json:
        told: Json = {"code": str(error.code), "title": sentence, "hint": hint}
        print(_envelope(None, [told]))
    return error.exit_status


def _envelope(result: Json, errors: list[Json]) -> str:
    """Returns the JSON envelope of a command. A file's name may hold a lone surrogate, so this is not `strict_json`."""
    told = {"schema": 1, "result": result, "warnings": [], "errors": errors}
    return escape_json(json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(Fault.USAGE, "command_line", why=message)


def _parser_of(**given: Any) -> argparse.ArgumentParser:
    return _Parser(**given)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _limit(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not (name and equals and number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not name=number")
    return name, int(number)


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
        changing = add(change.value, _change, f"{change.value} and publish at once")
        changing.add_argument("id", metavar="ID", help="an id, a license key, its eight hex digits, or an order id")
        changing.add_argument("--reason", metavar="TEXT", help="why, for the change log")
    _relocate_arguments(add("relocate", _relocate, "say where a reseller's key is now"))
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


def _relocate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("directory", type=Path, metavar="DIR")


def _answer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", type=Path, metavar="REQUEST")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", default="127.0.0.1:8470", metavar="ADDRESS:PORT")
    parser.add_argument("--log", type=Path, metavar="FILE", help="a line for each request, instead of on stderr")
    parser.add_argument("--publish", type=Path, metavar="DIR", help="keep the static files there up to date")


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--url", required=True, help="where agents reach this authority")
    parser.add_argument("--region", required=True, help="where that is, such as tr or eu")
    parser.add_argument("--name", default="OPanel", help="how the root is called")
    parser.add_argument("--threshold", type=int, default=2, help="how many root keys sign a root")
    parser.add_argument("--keys", type=int, default=3, help="how many root keys there are")
    parser.add_argument("--days", type=int, default=1825, help="until the root expires")
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL database for the books, instead of SQLite")


def _delegate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    for contact in ("email", "phone", "url"):
        parser.add_argument(f"--{contact}", help="shown to end users")
    for sets in ("products", "features", "tiers"):
        parser.add_argument(f"--{sets}", type=_words, metavar="A,B", help="all that he may sell")
    parser.add_argument("--limit", type=_limit, action="append", default=[], metavar="NAME=MAX")
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


def _issue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="reseller", required=True, metavar="RESELLER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--features", type=_words, metavar="A,B")
    parser.add_argument("--limit", type=_limit, action="append", default=[], metavar="NAME=NUMBER")
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
        "--no-renewal", dest="renews", action="store_false", default=None, help="a trial, a prepaid term"
    )
    parser.add_argument("--no-activation", dest="activation", action="store_false", default=None)
