"""What an authority took: reports and rights of people who are called by a name, and what is left of them."""

import json
from pathlib import Path
from typing import Any

from fakes import declared
from fakes.declared import CATALOG, CATALOGS
from fakes.served import JOSE, JSON, Served
from fakes.vendor import Vendor
from opanel_agent.core.base64url import unbase64url
from opanel_agent.core.documents import receipt
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.purposes import Purpose
from opanel_authority import reports


def receipt_of(vendor_: Vendor, body: bytes, token: bytes) -> Receipt:
    """The receipt, as the agent reads it."""
    read = receipt.verify(token, vendor_.authority.root)
    assert read.answers(body)
    return read


def told_x(token: bytes) -> dict[str, Any]:
    extra: dict[str, Any] = json.loads(unbase64url(token.split(b".")[1].decode()))["x"]
    return extra


def take(made: Vendor, name: str, purpose: Purpose = Purpose.USAGE_STATISTICS, **facts: Any) -> Receipt:
    body = declared.report(name, purpose, **facts)
    return receipt_of(made, body, reports.report(made.authority, CATALOGS, purpose, body, now=made.now).body)


def use(made: Vendor, kind: str, *names: str, **more: Any) -> tuple[Receipt, dict[str, Any]]:
    """Use a right; its receipt and what that tells beside."""
    body = declared.right(kind, *names, **more)
    token = reports.right(made.authority, CATALOG, body, now=made.now).body
    return receipt_of(made, body, token), told_x(token)


def kept(made: Vendor) -> dict[str, Any]:
    return reports.received(made.authority)


def everywhere(directory: Path) -> bytes:
    """All bytes of all files: the database, what lies beside it, the log."""
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def given(served: Served, path: str, body: bytes, **how: Any) -> Receipt:
    reply = served.ask("POST", path, body, JSON, **how)
    assert (reply.status, reply.headers["content-type"]) == (202, JOSE), reply.body
    return receipt_of(served.vendor, body, reply.body)
