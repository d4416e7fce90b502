"""Receipts of what came in, and when it is due: what reports and rights requests have in common.

A receipt is made of the stored row (its time is the start of a day), so the same bytes get the same receipt, and no receipt
has to be stored. A request for which nothing is owed any more gets one of now, which is its answer.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import receipt
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.documents.keys import Role
from opanel_authority.requests.licensing import JOSE, MAX_REQUEST_BYTES, Answer

ACCEPTED: Final = 202
_MAX_NAMED: Final = 16
# Takes one from the named bucket of whoever limits requests; raises NotPermitted where it is empty.
Admit = Callable[[str], None]


def admit_all(_bucket: str) -> None:
    """Sets no limit: for a person at the authority's own command line."""


def made_receipt(authority: Authority, claims: dict[str, Json]) -> Answer:
    """Returns a signed receipt that the agent's own code takes, as an answer."""
    receipt_claims: dict[str, Json] = {"ver": 1, "iss": authority.root.sub, **claims}
    token = authority.key(Role.RECEIPT).sign(Typ.RECEIPT, receipt_claims).encode("ascii")
    receipt.verify(token, authority.root)
    return Answer(content_type=JOSE, body=token, status=ACCEPTED)


def declared(catalog: Catalog, purpose: Purpose, body: bytes) -> Members:
    """Returns a body's members. Raises Untrusted (field_undeclared) naming what the catalog does not admit."""
    offending = catalog.check(purpose, body)
    if offending:
        more = "" if len(offending) <= _MAX_NAMED else ", …"
        fields = ", ".join(offending[:_MAX_NAMED]) + more
        raise Untrusted(Reason.FIELD_UNDECLARED, "fields_refused", purpose=purpose.value, fields=fields)
    return Members(loads(body, max_bytes=MAX_REQUEST_BYTES), "body")


def span(day: int, due: int) -> dict[str, Json]:
    """Returns the times of a receipt: the start of the day on which something came, and of the day when it is due."""
    return {"iat": day * DAY_S, "due": due * DAY_S}


def date_of(day: int) -> str:
    """Returns a day since 1970 as YYYY-MM-DD."""
    return datetime.fromtimestamp(day * DAY_S, tz=UTC).date().isoformat()


def retention_days(catalog: Catalog, purpose: Purpose) -> int:
    """Tells how long what came in for a purpose stays: as long as the first of its fields may."""
    return min(field.retention_days_there for field in catalog.fields(purpose).values())
