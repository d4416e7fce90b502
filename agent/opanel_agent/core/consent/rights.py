"""Builds requests by which a data subject's right is used (KVKK art. 11, GDPR art. 15 to 21), and computes what is owed.

A request says which right, reveals the 32 random bytes of the reports that it
means, and holds what the administrator wrote, where he wrote something. Who can
show the bytes owns the reports; nothing else says who he is. It is built
through the field catalog like everything that leaves. What it means may be
license data instead: such a request is signed by the key of the activation
(`core.documents.signed_request`) and reveals nothing.

What is owed: the authority's receipt (`core.documents.receipt`) says until
when. A receipt that owes nothing any more (`due` is its own `iat`) is the
answer. Until a first receipt came, the thirty days of KVKK art. 13 (GDPR art.
12(3): one month) count from the sending. Times in seconds since 1970.

Left out: keeping the random bytes, sending, and reminding the administrator
(`evaluate.consent.rights`).
"""

from collections.abc import Iterable
from typing import Annotated, Final

from opanel_agent.core.codec import record
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.record import MAY_BE_ABSENT, Items, Text
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents.claims import JTI, SHA256_HEX
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import Usage
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen, replace

ANSWER_WITHIN_S: Final = 30 * DAY_S
MAX_REVEALS: Final = 64
MAX_REQUESTS: Final = 64
MAX_BYTES: Final = 256 * 1024
_NEVER: Final = 2**53


def right_of(catalog: Catalog, kind: str, text: str | None) -> Right:
    """Returns the right that is asked for.

    Raises Usage for another kind, and for a text that may not leave.
    """
    if kind not in list(Right):
        raise Usage(Fault.USAGE, "rights_kind", kinds=", ".join(Right))
    if text is not None and not catalog.fields(Purpose.DATA_RIGHTS)["text"].admits(text):
        raise Usage(Fault.USAGE, "rights_text")
    return Right(kind)


def body(catalog: Catalog, kind: str, secrets: Iterable[bytes], text: str | None = None) -> bytes:
    """Returns the body of a request, in the one spelling that the catalog admits.

    The order of what is revealed is that of the random bytes themselves, so it
    tells nothing about the reports. Raises Usage: `rights_nothing` for neither
    a report nor a text, `rights_too_many` over MAX_REVEALS reports, and as
    `right_of`.
    """
    right = right_of(catalog, kind, text)
    reveals = sorted({secret.hex() for secret in secrets})
    if not reveals and text is None:
        raise Usage(Fault.USAGE, "rights_nothing")
    if len(reveals) > MAX_REVEALS:
        raise Usage(Fault.USAGE, "rights_too_many", max_items=MAX_REVEALS)
    facts: dict[str, Json] = {"schema": 1, "kind": right.value}
    if reveals:
        facts["reveals"] = [*reveals]
    if text is not None:
        facts["text"] = text
    return catalog.build(Purpose.DATA_RIGHTS, facts)


@frozen
class RightsRequest:
    """Holds one request that was made:

    `sha256` of its body in hex, and `reports`, the ids that it means.

    With `license` it means license data. `sent_at` is None where this agent did
    not send it: it may have been carried by other ways. `due` is what a receipt
    said, `answered_at` when the answer was made.
    """

    id: Annotated[str, Text(pattern=JTI)]
    kind: str
    at: int
    sha256: Annotated[str, Text(pattern=SHA256_HEX)]
    reports: Annotated[frozenset[str], Items(most=MAX_REVEALS), Text(pattern=JTI)]
    sent_at: int | None = None
    due: int | None = None
    answered_at: int | None = None
    license: Annotated[bool, MAY_BE_ABSENT] = False  # not there in what an earlier version wrote

    @property
    def due_at(self) -> int | None:
        """Returns when the answer is owed at the latest; None while nobody is known to have the request."""
        if self.due is not None or self.sent_at is None:
            return self.due
        return self.sent_at + ANSWER_WITHIN_S

    def with_receipt(self, receipt: Receipt) -> "RightsRequest":
        """Returns the request after a receipt for its body came.

        An answer stays one, whatever comes after it, and a later receipt can
        bring the date forward but never delay it.
        """
        if receipt.due == receipt.iat:
            return replace(self, answered_at=self.answered_at or receipt.iat)
        return replace(self, due=min(receipt.due, _NEVER if self.due is None else self.due))


def obligation(request: RightsRequest, now: int) -> dict[str, Json]:
    """Returns what is owed for a request now, as a JSON object of docs/json.md.

    `days_left` counts whole days and stops at 0; `overdue` says what is past.
    """
    due = request.due_at
    open_due = due if request.answered_at is None else None
    return {
        "id": request.id,
        "kind": request.kind,
        "at": request.at,
        "license": request.license,
        "reports": len(request.reports),
        "sent_at": request.sent_at,
        "due": due,
        "days_left": None if open_due is None else max(0, (open_due - now) // DAY_S),
        "overdue": open_due is not None and now >= open_due,
        "answered_at": request.answered_at,
    }


def kept(requests: Iterable[RightsRequest]) -> tuple[RightsRequest, ...]:
    """Returns the MAX_REQUESTS requests that are kept, in their order: what was answered long ago goes first."""
    ordered = tuple(requests)
    spare = max(0, len(ordered) - MAX_REQUESTS)
    going = sorted(ordered, key=lambda each: (each.answered_at is None, each.at))[:spare]
    return tuple(each for each in ordered if each not in going)


def encode(requests: Iterable[RightsRequest]) -> bytes:
    """Returns rights.json, which holds MAX_REQUESTS at the most:

    `kept` sees to that.
    """
    return record.encode(_RightsFile(requests=tuple(requests)))


def decode(data: bytes) -> tuple[RightsRequest, ...]:
    """Returns the requests of rights.json.

    Raises Untrusted for anything but what `encode` writes.
    """
    return record.decode(_RightsFile, data, "rights.json", max_bytes=MAX_BYTES).requests


@frozen
class _RightsFile:
    requests: Annotated[tuple[RightsRequest, ...], Items(most=MAX_REQUESTS)]
