"""An export is larger than one reply: it is asked for page by page, and taken only as a whole.

What lies on the disk may change between two pages. The export's own end has a digest over all before it, so that pages
which do not belong together are found and nothing half is ever written.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Unavailable, Untrusted
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.export import Checked, ExportFlawKind
from opanel_agent.core.values import frozen

MAX_PAGE_CHARACTERS: Final = 1024 * 1024


@frozen
class Whole:
    """The file, and what a check of it found."""

    data: bytes
    sha256: str
    checked: Checked


def gather(world: Context, wait_s: int) -> Whole:
    """Returns every page, checked; of an agent that is stopped, what its files say.

    Raises Unavailable where they make no whole.
    """
    try:
        return _whole(b"".join(_pages(world, wait_s)))
    except Unavailable as error:
        if error.code is not Fault.NOT_RUNNING:
            raise
    return _whole(world.at_rest())


def _whole(data: bytes) -> Whole:
    with decode_reply():
        checked = export.check(data, None)
    if any(found.what in (ExportFlawKind.END, ExportFlawKind.LINE) for found in checked.findings):
        raise Unavailable(Fault.BUSY, "export_torn")
    return Whole(data=data, sha256=hashlib.sha256(data).hexdigest(), checked=checked)


def _pages(world: Context, wait_s: int) -> Iterator[bytes]:
    offset: int | None = 0
    while offset is not None:
        asked: dict[str, Json] = {"id": str(offset)} if offset else {}
        done = world.client.post("/v1/export", asked, wait_s=wait_s)
        with decode_reply():
            page = unbase64url(done.result.text("export", max_length=MAX_PAGE_CHARACTERS))
            more = done.result.value("more")
            after = offset + len(page)
            if more not in (None, str(after)) or after > export.MAX_BYTES or not page:
                raise Untrusted(Reason.FORMAT_INVALID, "member_value", where="export", name="more")
        yield page
        offset = None if more is None else after
