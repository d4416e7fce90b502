"""Commands about resellers: what they may sell, where their keys are, and the keys of their billing systems."""

import argparse
from pathlib import Path

from opanel_agent.core.codec.json_value import Json
from opanel_authority.cli.common import (
    AddCommand,
    Result,
    given,
    limit,
    logged,
    now_s,
    opened,
    shown_time,
    warned,
    words,
)
from opanel_authority.cli.controllers import add_controller, controller_of
from opanel_authority.cli.own_key import public_key
from opanel_authority.documents import delegate, publish
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.lifecycle import api_keys


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _delegate_arguments(add("delegate", _delegate, "make a reseller's key and delegation", changes=True))
    add("resellers", _resellers, "every reseller, and how much of his slots and entries is given out")
    changing = add(
        "reseller", _reseller, "a newer delegation: prolonged, widened or narrowed; --rekey after a theft", changes=True
    )
    changing.add_argument("name", metavar="NAME")
    changing.add_argument("--rekey", action="store_true", help="another key; the old delegation is revoked")
    changing.add_argument("--public-key", type=Path, metavar="FILE", help="with --rekey, of who keeps his key himself")
    changing.add_argument("--key", metavar="URI", help="with --rekey: the new key is on a token, pkcs11:…")
    for contact in ("email", "phone", "url"):
        changing.add_argument(f"--{contact}", help="shown to end users")
    add_controller(changing)
    for sets in ("products", "features", "tiers"):
        changing.add_argument(f"--{sets}", type=words, metavar="A,B", help="all that he may sell from now on")
    changing.add_argument("--limit", dest="limits", type=limit, action="append", metavar="NAME=MAX")
    for number in ("max-term-days", "grace-days", "stale-days", "days", "slots", "status-entries"):
        changing.add_argument(f"--{number}", type=int, metavar="N")
    moved = add("relocate", _relocate, "say where a reseller's key is now", changes=True)
    moved.add_argument("name", metavar="NAME")
    moved.add_argument("directory", type=Path, metavar="DIR")
    made = add("api-key", _make_key, "make a key for the management API; it is shown once", changes=True)
    made.add_argument("name", metavar="NAME", help="what it is for")
    made.add_argument(
        "--as", dest="reseller", metavar="RESELLER", help="it reaches only his licenses; else the vendor's"
    )
    made.add_argument("--scopes", type=words, default=api_keys.SCOPES, metavar="A,B", help=", ".join(api_keys.SCOPES))
    add("api-keys", _keys, "the keys of the management API, and on which day each was last used")
    revoking = add("revoke-api-key", _revoke_key, "end a key of the management API", changes=True)
    revoking.add_argument("id", metavar="ID")


def _delegate(arguments: argparse.Namespace) -> Result:
    named = given(
        arguments,
        *("name", "email", "phone", "url", "products", "features", "tiers", "max_term_days", "grace_days"),
        *("stale_days", "days", "slots", "depth", "status_entries"),
    )
    terms = DelegationTerms(limits=dict(arguments.limit), controller=controller_of(arguments), **named)
    public = None if arguments.public_key is None else public_key(arguments.public_key)
    authority = opened(arguments)
    made = delegate.delegate(
        authority, terms, arguments.output, now=now_s(), **logged(arguments), public=public, uri=arguments.key
    )
    return {
        "reseller": made.name,
        "id": made.jti,
        "key": "the reseller's own" if public is not None else str(arguments.output / "key.pem"),
        "delegation": str(arguments.output / "delegation.jws"),
        **warned(delegate.warnings_of(authority)),
    }


def _resellers(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    with authority.store.reading() as books:
        rows: list[Json] = []
        for row in books.delegations():
            drawn, entries = books.drawn_share(row.jti)
            may = delegate.last(authority, row.text).may
            rows.append(
                {
                    "name": row.name,
                    "id": row.jti,
                    "state": "revoked" if row.status else "active",
                    "issues_until": shown_time(may.issue_until),
                    "slots": f"{row.slots_drawn}/{may.slots.end - may.slots.start}",
                    "entries": f"{drawn}/{entries}",
                    "key": row.directory,
                }
            )
    return {"resellers": rows}


def _reseller(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    if arguments.rekey:
        public = None if arguments.public_key is None else public_key(arguments.public_key)
        made = delegate.rekey(authority, arguments.name, now=now, **logged(arguments), public=public, uri=arguments.key)
        publish.publish_again(authority, now=now)
    else:
        terms = given(
            arguments,
            *("email", "phone", "url", "products", "features", "tiers", "max_term_days", "grace_days"),
            *("stale_days", "days", "slots", "status_entries"),
        )
        if arguments.limits is not None:
            terms["limits"] = dict(arguments.limits)
        controller = controller_of(arguments)
        if controller is not None:
            terms["controller"] = controller
        made = delegate.change(authority, arguments.name, now=now, **logged(arguments), **terms)
    result: dict[str, Json] = {
        "reseller": made.name,
        "id": made.jti,
        "issues_until": shown_time(made.may.issue_until),
    }
    return result | warned(delegate.warnings_of(authority))


def _relocate(arguments: argparse.Namespace) -> Result:
    delegate.relocate(opened(arguments), arguments.name, arguments.directory, now=now_s(), **logged(arguments))
    return {"reseller": arguments.name, "key": str(arguments.directory / "key.pem")}


def _make_key(arguments: argparse.Namespace) -> Result:
    made = api_keys.make(
        opened(arguments),
        name=arguments.name,
        reseller=arguments.reseller,
        scopes=tuple(arguments.scopes),
        now=now_s(),
        **logged(arguments),
    )
    return {"id": made.id, "api_key": made.secret, "reseller": arguments.reseller, "scopes": " ".join(made.scopes)}


def _keys(arguments: argparse.Namespace) -> Result:
    rows: list[Json] = [dict(each) for each in api_keys.listed(opened(arguments))]
    return {"api_keys": rows}


def _revoke_key(arguments: argparse.Namespace) -> Result:
    api_keys.revoke(opened(arguments), arguments.id, now=now_s(), **logged(arguments))
    return {"id": arguments.id, "state": "revoked"}


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
    parser.add_argument("--key", metavar="URI", help="his key is on a token: pkcs11:… (RFC 7512)")
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
