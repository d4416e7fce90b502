"""Commands about what came in: requests that came as files, reports, rights, and how long each stays."""

import argparse
import re
from pathlib import Path
from typing import Final

from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.wire.message import Sealed
from opanel_agent.system.storage.resources import load_catalog
from opanel_authority.authority import Authority
from opanel_authority.books.rows import Kind
from opanel_authority.cli.common import AddCommand, Result, logged, now_s, opened
from opanel_authority.documents import keys
from opanel_authority.lifecycle import retention
from opanel_authority.requests import licensing, reports, rights

_RIGHT_ID: Final = re.compile("[0-9a-f]{32}")


def register(add: AddCommand) -> None:
    """Add this group's commands."""
    _answer_arguments(
        add("answer", _answer, "answer a request that came as a file, or a rights request by its id", changes=True)
    )
    add("received", _received, "what came in: counts and the newest, or one by its receipt's id").add_argument(
        "id", metavar="ID", nargs="?"
    )
    add("purge", _purge, "erase what is past its time (serve does it once a day)", changes=True)


def _answer(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    if _RIGHT_ID.fullmatch(arguments.request.name) and not arguments.request.exists():
        made, kind = rights.settle(authority, arguments.request.name, now=now_s()), Purpose.DATA_RIGHTS.value
        subject = arguments.request.name
    else:
        made, kind = _answer_file(authority, arguments.request)
        subject = kind
    with authority.writing(now := now_s()) as books:
        books.log_change(at=now, act="answer", kind=Kind.REQUEST, subject=subject, delegation=None, **logged(arguments))
    keys.write_private(arguments.output, made.body)
    return {"answered": kind, "file": str(arguments.output)}


def _answer_file(authority: Authority, request: Path) -> tuple[licensing.Answer, str]:
    with request.open("rb") as file:
        body = _body(file.read(2 * licensing.MAX_REQUEST_BYTES))
    if body.startswith(b"{") and b'"key_sha256"' in body:
        return licensing.bundle(authority, licensing.key_of(body), now=now_s()), "bundle"
    if body.startswith(b"{"):
        made = rights.right(authority, load_catalog(), body, now=now_s(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    claims = requests.verify(body)
    if claims.kind is RequestKind.RIGHTS:
        made = rights.license_right(authority, load_catalog(), body, now=now_s(), by_person=True)
        return made, Purpose.DATA_RIGHTS.value
    return licensing.signed(authority, body, claims, now=now_s()), str(claims.kind)


def _body(data: bytes) -> bytes:
    """Returns what the agent would have sent: of a sealed request its body, of anything else all of it."""
    line, newline, rest = data.partition(b"\n")
    if newline and rest and line.startswith(b"{"):
        return Sealed.decode(data).body
    return data.strip()


def _received(arguments: argparse.Namespace) -> Result:
    authority = opened(arguments)
    return reports.received(authority) if arguments.id is None else reports.received_one(authority, arguments.id)


def _purge(arguments: argparse.Namespace) -> Result:
    authority, now = opened(arguments), now_s()
    erased = retention.purge(authority, now=now)
    erased += reports.purge(authority, load_catalog(), now=now)
    retention.log_purge(authority, erased, now=now, **logged(arguments))
    return {"erased": erased}


def _answer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", type=Path, metavar="REQUEST")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
