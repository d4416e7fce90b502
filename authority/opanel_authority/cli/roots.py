"""Commands that make roots: the first one with the authority itself, and each that follows it."""

import argparse
from pathlib import Path

from opanel_agent.core.codec.json_value import Json
from opanel_authority import authority as home
from opanel_authority.cli.common import AddCommand, Result, now_s, opened
from opanel_authority.cli.controllers import add_vendor, vendor_of
from opanel_authority.documents import publish, rotate
from opanel_authority.documents.keys import Role


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _rotate_arguments(
        add("rotate", _rotate, "a new key for a role, in a new root signed by the old threshold and the new")
    )


def register_init(add: AddCommand) -> None:
    """Add `init`, the one command that finds no authority yet."""
    _init_arguments(add("init", _init, "make keys, the first root, an empty status list"))


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
