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
    said = claims.members("controller")
    controller = Controller(
        name=said.text("name"),
        address=said.text("address"),
        email=said.text("email", pattern=EMAIL),
        kep=said.text("kep", pattern=EMAIL) if said.has("kep") else None,
        url=said.text("url", pattern=WEB) if said.has("url") else None,
    )
    said.end()
    return controller


def read_transfers(claims: Members) -> Mapping[str, Mechanism]:
    """Returns the `transfers` claim: by region, the mechanism of a transfer there; empty without one.

    Raises Untrusted for an unknown mechanism: the notice has a sentence for
    each, and none for another.
    """
    if not claims.has("transfers"):
        return {}
    said = claims.members("transfers")
    names = said.names()
    if len(names) > _MAX_TRANSFERS or not all(re.fullmatch(REGION, each) for each in names):
        raise claims.refuse("transfers")
    return {name: _mechanism(said, name) for name in names}


def _mechanism(said: Members, name: str) -> Mechanism:
    """The mechanism of one region."""
    try:
        return Mechanism(said.text(name))
    except ValueError:
        raise said.refuse(name) from None
