"""Reads who answers for personal data, as the root (for the vendor) and a delegation (for a reseller) name him.

Both claims are optional: documents without them stay valid, and the notice then
says that nobody is named. What is named suffices to use a right without the
command line: KVKK art. 13 wants a written application, or one by registered
e-mail (KEP) or e-mail; GDPR art. 13(1)(a) the identity and the contact of the
controller.
"""

import re
from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.documents.claims import EMAIL, WEB
from opanel_agent.core.values import frozen

REGION: Final = r"[A-Za-z0-9-]{1,32}"
MAX_IP_RETENTION_DAYS: Final = 3650
_MAX_TRANSFERS: Final = 16


@unique
class Mechanism(StrEnum):
    """Names what makes a transfer abroad lawful:

    KVKK art. 9 as amended in 2024, GDPR art. 45 to 47.
    """

    ADEQUACY = "adequacy"
    STANDARD_CONTRACT = "standard_contract"
    BINDING_RULES = "binding_rules"
    UNDERTAKING = "undertaking"


@frozen
class Controller:
    """Holds a controller of personal data.

    - `name`: the one that the law knows, as in a commercial register.
    - `address`: where a letter reaches him; `email`, and `kep`, a registered
      e-mail address.
    - `url`: where there is a form or more to read.
    """

    name: str
    address: str
    email: str
    kep: str | None = None
    url: str | None = None

    def claim(self) -> dict[str, Json]:
        """Returns the claim, as `read_controller` reads it: members that are None are left out."""
        optional = (("kep", self.kep), ("url", self.url))
        return {
            "name": self.name,
            "address": self.address,
            "email": self.email,
            **{name: text for name, text in optional if text is not None},
        }


def read_controller(claims: Members) -> Controller | None:
    """Returns the `controller` claim, None in a document without one.

    Raises Untrusted for any other shape.
    """
    if not claims.has("controller"):
        return None
    members = claims.members("controller")
    controller = Controller(
        name=members.text("name"),
        address=members.text("address"),
        email=members.text("email", pattern=EMAIL),
        kep=members.text("kep", pattern=EMAIL) if members.has("kep") else None,
        url=members.text("url", pattern=WEB) if members.has("url") else None,
    )
    members.end()
    return controller


def read_transfers(claims: Members) -> Mapping[str, Mechanism]:
    """Returns the `transfers` claim: by region, the mechanism of a transfer there; empty without one.

    Raises Untrusted for an unknown mechanism: the notice has a sentence for
    each, and none for another.
    """
    if not claims.has("transfers"):
        return {}
    members = claims.members("transfers")
    names = members.names()
    if len(names) > _MAX_TRANSFERS or not all(re.fullmatch(REGION, each) for each in names):
        raise claims.refuse("transfers")
    return {name: _mechanism(members, name) for name in names}


def _mechanism(members: Members, name: str) -> Mechanism:
    """Returns the mechanism of one region."""
    try:
        return Mechanism(members.text(name))
    except ValueError:
        raise members.refuse(name) from None
