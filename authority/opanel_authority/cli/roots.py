"""Commands that make roots: the first one with the authority itself, each that follows it, and what is signed elsewhere.

`root key`, `root show` and `root sign` need no authority's directory: they are for the machines where the root's keys are.
"""

import argparse
import getpass
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents.root import Destination
from opanel_agent.core.errors import Usage
from opanel_authority import authority as home
from opanel_authority.cli.common import AddCommand, Result, logged, now_s, opened, shown_time
from opanel_authority.cli.controllers import add_vendor, vendor_of
from opanel_authority.cli.own_key import public_key
from opanel_authority.documents import keys, publish, root_request, rotate
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.documents.root_claims import RootChange
from opanel_authority.documents.root_request import RootRequest
from opanel_authority.documents.token_key import SCHEME

FIRST_REQUEST: Final = "root-1.request"
_TIMES: Final = frozenset({"iat", "exp"})


def register_init(add: AddCommand) -> None:
    """Add `init`, the one command that finds no authority yet."""
    _init_arguments(add("init", _init, "make keys, the first root, an empty status list", changes=True))


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _rotate_arguments(
        add(
            "rotate",
            _rotate,
            "the next root, signed here: a new key for a role, or other terms without ROLE",
            changes=True,
        )
    )
    making = add("root key", _key, "where a root key is to be: make it, and its public half for the authority")
    making.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    _ask_argument(making)
    making.add_argument("--key", metavar="URI", help="one that is on a token already: pkcs11:… (RFC 7512)")
    _request_arguments(add("root request", _request, "write what has to be signed for the next root", changes=True))
    showing = add("root show", _show, "what a request or a root says, and what is other than before")
    showing.add_argument("file", type=Path, metavar="FILE")
    signing = add("root sign", _sign, "where a root key is: sign a request; needs no authority's directory")
    signing.add_argument("request", type=Path, metavar="REQUEST")
    _ask_argument(signing)
    signing.add_argument("--key", required=True, metavar="KEY", help="the root key: its file, or its URI pkcs11:…")
    signing.add_argument(
        "--digest", metavar="HEX", help="sign only the request that `root show` shows with this digest"
    )
    signing.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    assembling = add(
        "root assemble", _assemble, "put the signatures together, install the root, publish it", changes=True
    )
    assembling.add_argument("request", type=Path, metavar="REQUEST")
    assembling.add_argument("signatures", type=Path, nargs="+", metavar="SIGNATURE")


def _init(arguments: argparse.Namespace) -> Result:
    elsewhere = [public_key(path) for path in arguments.root_public_keys]
    terms = home.RootTerms(
        name=arguments.name,
        url=arguments.url,
        region=arguments.region,
        threshold=arguments.threshold,
        keys=arguments.keys,
        days=arguments.days,
        database=arguments.database,
        mirrors=tuple(arguments.mirrors),
        role_keys=dict(arguments.role_keys),
        **vendor_of(arguments),
    )
    now, directory = now_s(), arguments.directory
    if elsewhere:
        asked = root_request.requested(home.prepare(directory, terms, elsewhere, now=now, **logged(arguments)))
        home.write_public(directory / FIRST_REQUEST, asked.encode())
        return {
            "request": str(directory / FIRST_REQUEST),
            "digest": asked.digest,
            "root_keys": f"{terms.threshold} of {len(elsewhere)}, none of them here",
            "keys": str(directory / "keys"),
            "next": "root sign, where the root's keys are; then root assemble here",
        }
    made = home.init(directory, terms, now=now, **logged(arguments))
    publish.current_status_list(made, now=now)
    return {
        "name": made.root.sub,
        "root": str(directory / "root.jws"),
        "thumbprint": made.root.digest,
        "root_keys": f"{terms.threshold} of {terms.keys}, keys/root-*.pem: carry them to offline media",
        "keys": str(directory / "keys"),
        "serves": made.root.mirrors[0].url,
        "status_uri": made.root.status_uri,
    }


def _rotate(arguments: argparse.Namespace) -> Result:
    asked = rotate.Rotation(
        role=None if arguments.role is None else Role(arguments.role),
        root_keys=arguments.root_keys or arguments.dir / "keys",
        replaced=frozenset(arguments.replaced),
        compromised=arguments.compromised,
        days=arguments.days,
        threshold=arguments.threshold,
        release_threshold=arguments.release_threshold,
        key=arguments.key,
        mirrors=tuple(arguments.mirrors),
        authority=tuple(arguments.authority),
        **vendor_of(arguments),
    )
    authority, now = opened(arguments), now_s()
    done = rotate.rotate(authority, asked, now=now, **logged(arguments))
    publish.publish_again(authority, now=now)
    made: list[Json] = [str(path) for path in done.made]
    retired: list[Json] = [*done.retired]
    return {
        **({} if arguments.role is None else {"role": arguments.role}),
        "seq": done.root.seq,
        "roots": str(arguments.dir / "roots.jws"),
        "new_keys": made,
        "of_no_use_any_more": retired,
    }


def _key(arguments: argparse.Namespace) -> Result:
    key = PrivateKey.make(Role.ROOT) if arguments.key is None else PrivateKey.on_token(Role.ROOT, arguments.key)
    with _passphrase(arguments, twice=True):
        place = keys.save(key, arguments.output / "key.pem")
    (arguments.output / "public.jwk").write_text(json.dumps(dict(key.public.jwk())) + "\n", "ascii")
    return {
        "key": str(place),
        "public_key": str(arguments.output / "public.jwk"),
        "thumbprint": key.public.kid,
    }


def _request(arguments: argparse.Namespace) -> Result:
    made: dict[Role, str | None] = {Role(each): None for each in arguments.roles}
    roles = {**made, **dict(arguments.role_keys)}
    root_keys = rotate.RootKeys(
        added=[public_key(path) for path in arguments.added], removed=frozenset(arguments.removed)
    )
    change = RootChange(
        days=arguments.days,
        threshold=arguments.threshold,
        release_threshold=arguments.release_threshold,
        mirrors=tuple(arguments.mirrors),
        authority=tuple(arguments.authority),
        **vendor_of(arguments),
    )
    asked, files = rotate.request(
        opened(arguments),
        roles,
        root_keys,
        change,
        compromised=arguments.compromised,
        now=now_s(),
        **logged(arguments),
    )
    home.write_public(arguments.output, asked.encode())
    new_keys: list[Json] = [str(path) for path in files]
    return {"request": str(arguments.output), "new_keys": new_keys, **_described(asked)}


def _show(arguments: argparse.Namespace) -> Result:
    data = arguments.file.read_bytes()
    if data.lstrip().startswith(b"{"):
        return _described(root_request.decode(data))
    root = root_request.newest(data)
    return {"digest": root.digest, **_dated(root_request.described(root_request.claims_of(root), None))}


def _sign(arguments: argparse.Namespace) -> Result:
    asked = root_request.decode(arguments.request.read_bytes())
    if arguments.digest is not None and arguments.digest.lower() != asked.digest:
        raise Usage(Fault.USAGE, "root_request_other", digest=asked.digest)
    with _passphrase(arguments):
        line = root_request.sign(asked, keys.named(arguments.key, Role.ROOT))
    home.write_public(arguments.output, f"{line}\n".encode("ascii"))
    return {"signature": str(arguments.output), **_described(asked)}


def _assemble(arguments: argparse.Namespace) -> Result:
    asked = root_request.decode(arguments.request.read_bytes())
    lines = [line for path in arguments.signatures for line in path.read_text("ascii").splitlines()]
    text, now = root_request.assembled(asked, lines), now_s()
    if asked.before is None:
        authority = home.complete(arguments.dir, text, now=now, **logged(arguments))
        publish.current_status_list(authority, now=now)
        return {"seq": 1, "root": str(arguments.dir / "root.jws"), "thumbprint": asked.digest}
    authority = opened(arguments)
    if root_request.newest(authority.roots_text).seq >= asked.before.seq + 1:
        raise Usage(Fault.USAGE, "root_request_outdated", seq=asked.before.seq + 1)
    done = rotate.install(authority, text, now=now, **logged(arguments))
    publish.publish_again(authority, now=now)
    retired: list[Json] = [*done.retired]
    return {"seq": done.root.seq, "roots": str(arguments.dir / "roots.jws"), "of_no_use_any_more": retired}


def _passphrase(arguments: argparse.Namespace, *, twice: bool = False) -> AbstractContextManager[None]:
    """Works under the passphrase that a person types, where `--ask-passphrase` says so.

    Raises Usage for none, or two others.
    """
    if not arguments.ask_passphrase:
        return nullcontext()
    try:
        typed = getpass.getpass("passphrase: ")
        again = getpass.getpass("again: ") if twice else typed
    except EOFError:
        typed = again = ""
    if not typed or typed != again:
        raise Usage(Fault.USAGE, "passphrase_typed")
    return keys.using(typed.encode("utf-8", "surrogateescape"))


def _described(asked: RootRequest) -> dict[str, Json]:
    before = None if asked.before is None else root_request.claims_of(asked.before)
    return {"digest": asked.digest, **_dated(root_request.described(asked.claims, before))}


def _dated(shown: dict[str, Json]) -> dict[str, Json]:
    """Returns the same with times as people read them."""
    return {
        name: shown_time(value) if name in _TIMES and isinstance(value, int) else value for name, value in shown.items()
    }


def _role_key(text: str) -> tuple[Role, str]:
    role, _, uri = text.partition("=")
    if role not in [each.value for each in rotate.ONLINE_ROLES] or not uri.startswith(SCHEME):
        raise argparse.ArgumentTypeError(f"{text!r} is not role=pkcs11:…")
    return Role(role), uri


def _place(text: str) -> Destination:
    region, equals, url = text.partition("=")
    if not (region and equals and url):
        raise argparse.ArgumentTypeError(f"{text!r} is not region=url")
    return Destination(url=url.rstrip("/"), region=region)


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--url", required=True, help="where agents reach this authority")
    parser.add_argument("--region", required=True, help="where that is, such as tr or eu")
    parser.add_argument("--name", default="OPanel", help="how the root is called")
    parser.add_argument("--threshold", type=int, default=2, help="how many root keys sign a root")
    parser.add_argument("--keys", type=int, default=3, help="how many root keys there are")
    parser.add_argument(
        "--root-public-key",
        dest="root_public_keys",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="instead of making root keys here: the public half of one that is elsewhere (root key)",
    )
    _mirror_argument(parser)
    _role_key_argument(parser)
    parser.add_argument("--days", type=int, default=1825, help="until the root expires")
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL database for the books, instead of SQLite")
    add_vendor(parser)


def _rotate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "role", choices=[role.value for role in rotate.ROLES], nargs="?", metavar="ROLE", help="which gets a new key"
    )
    parser.add_argument("--compromised", action="store_true", help="leave no old key of the role in the root")
    parser.add_argument(
        "--replace", dest="replaced", action="append", default=[], metavar="THUMBPRINT", help="these root keys only"
    )
    parser.add_argument("--key", metavar="URI", help="the role's new key is on a token: pkcs11:…")
    parser.add_argument("--root-keys", type=Path, metavar="DIR", help="where the root's keys are, if not in keys/")
    _change_arguments(parser)


def _request_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--rotate",
        dest="roles",
        action="append",
        default=[],
        choices=[role.value for role in rotate.ONLINE_ROLES],
        metavar="ROLE",
        help="make a new key for it here",
    )
    _role_key_argument(parser)
    parser.add_argument("--compromised", action="store_true", help="leave no old key of those roles in the root")
    parser.add_argument(
        "--add-root-key", dest="added", type=Path, action="append", default=[], metavar="FILE", help="its public half"
    )
    parser.add_argument("--remove-root-key", dest="removed", action="append", default=[], metavar="THUMBPRINT")
    _change_arguments(parser)


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options for what any next root may say otherwise."""
    parser.add_argument("--days", type=int, default=1825, help="until the new root expires")
    parser.add_argument("--threshold", type=int, metavar="N", help="how many root keys sign from now on")
    parser.add_argument("--release-threshold", type=int, metavar="N", help="how many release keys sign a release")
    _mirror_argument(parser)
    parser.add_argument(
        "--authority-url",
        dest="authority",
        type=_place,
        action="append",
        default=[],
        metavar="REGION=URL",
        help="where agents post from now on, instead of where they did",
    )
    add_vendor(parser)


def _role_key_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--role-key",
        dest="role_keys",
        type=_role_key,
        action="append",
        default=[],
        metavar="ROLE=URI",
        help="its key is on a token: pkcs11:…",
    )


def _ask_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ask-passphrase", action="store_true", help="type the passphrase of the key, instead of naming its file"
    )


def _mirror_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirror",
        dest="mirrors",
        type=_place,
        action="append",
        default=[],
        metavar="REGION=URL",
        help="where the static files lie, instead of all before",
    )
