"""Commands on the machine of a reseller who keeps his key himself; they need no authority's directory."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import delegation as delegations
from opanel_agent.core.documents import root as roots
from opanel_agent.core.errors import Untrusted, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_authority.cli.common import AddCommand, Result, given, limit, now_s, words
from opanel_authority.documents import claims, keys
from opanel_authority.documents.claims import LicenseTerms
from opanel_authority.documents.delegate import new_license_key
from opanel_authority.documents.keys import PrivateKey, Role

_MAX_BYTES: Final = 64 * 1024


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    making = add(
        "reseller-key", _make_key, "on a reseller's own machine: make his key, and its public half for the vendor"
    )
    making.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    making.add_argument("--key", metavar="URI", help="one that is on a token already: pkcs11:… (RFC 7512)")
    signing = add("sign", _sign, "on a reseller's own machine: sign a license that was reserved")
    signing.add_argument(
        "reservation",
        type=Path,
        metavar="FILE",
        help="what `remote reserve` wrote",
    )
    signing.add_argument("--key", type=Path, required=True, metavar="DIR", help="where reseller-key made his key")
    signing.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="for `remote store`")
    signing.add_argument("--root", type=Path, required=True, metavar="FILE", help="the vendor's root.jws")
    signing.add_argument("--roots", type=Path, metavar="FILE", help="the vendor's roots.jws, once a key was rotated")
    signing.add_argument("--tier")
    signing.add_argument("--features", type=words, metavar="A,B")
    signing.add_argument("--limit", type=limit, action="append", default=[], metavar="NAME=NUMBER")
    for number in ("days", "seats", "min-p", "within-days"):
        signing.add_argument(f"--{number}", type=int, metavar="N")


def public_key(path: Path) -> PublicKey:
    """Returns a JWK file (RFC 8037). Raises Usage for any other."""
    try:
        read = Members(loads(path.read_bytes(), max_bytes=_MAX_BYTES), "jwk")
        return PublicKey.from_jwk(read)
    except Untrusted as error:
        raise Usage(Fault.USAGE, "public_key", path=str(path)) from error


def members_of(path: Path, *names: str, made_by: str) -> dict[str, Any]:
    """Return the JSON object of a file that `made_by` wrote. Raises Usage where it is none, or lacks one of the names."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() >= {*names}:
        raise Usage(Fault.USAGE, "file_other", path=str(path), made_by=made_by)
    return found


def _make_key(arguments: argparse.Namespace) -> Result:
    key = PrivateKey.make(Role.RESELLER) if arguments.key is None else PrivateKey.on_token(Role.RESELLER, arguments.key)
    place = keys.save(key, arguments.output / "key.pem")
    (arguments.output / "public.jwk").write_text(json.dumps(dict(key.public.jwk())) + "\n", "ascii")
    return {"key": str(place), "public_key": str(arguments.output / "public.jwk")}


def _sign(arguments: argparse.Namespace) -> Result:
    reserved = members_of(arguments.reservation, "id", "slot", "status", "chain", made_by="remote reserve")
    root = roots.first(arguments.root.read_bytes())
    if arguments.roots is not None:
        root = roots.walk(root, arguments.roots.read_bytes())
    envelope = jws.parse(reserved["chain"].strip().encode("ascii"), max_bytes=_MAX_BYTES)
    parent = delegations.read(envelope, root.keys_of(Role.ISSUER))
    key = keys.load(arguments.key / "key.pem", Role.RESELLER)
    terms = LicenseTerms(
        limits=dict(arguments.limit), **given(arguments, "tier", "features", "days", "seats", "min_p", "within_days")
    )
    number = new_license_key()
    license_claims = claims.license_(parent, terms, now_s())
    license_claims |= {"jti": reserved["id"], "sub": number, "slot": reserved["slot"], "status": reserved["status"]}
    line = key.sign(Typ.LICENSE, license_claims)
    bundles.verify(f"{reserved['chain']}{line}\n".encode("ascii"), root, now=now_s())
    keys.write_private(arguments.output, json.dumps({"line": line}).encode() + b"\n")
    return {"license_key": number, "id": str(reserved["id"]), "file": str(arguments.output)}
