"""A real authority in a temporary folder, with one reseller and what his customers ask for.

Keys are drawn anew and everything is signed by `opanel_authority` itself; only the clock is the test's. Agents are played
by the signers of `forge`: one name, one machine.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fakes import forge
from opanel_agent.core import license_key
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import request as requests
from opanel_agent.core.documents import status_list
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.request import Kind
from opanel_agent.core.strict_json import loads
from opanel_authority import answer, home, issue, publish
from opanel_authority.answer import Answer
from opanel_authority.home import Authority, RootTerms
from opanel_authority.issue import DelegationTerms, Issued, LicenseTerms

NOW: Final = forge.NOW
DAY: Final = forge.DAY
URL: Final = "http://127.0.0.1:8470"
RESELLER: Final = "Örnek Barındırma"


@dataclass(slots=True, kw_only=True)
class Vendor:
    """`now` is the authority's clock; set it as you like."""

    authority: Authority
    now: int = NOW
    nonces: int = field(default=0)

    def issue(self, **terms: Any) -> Issued:
        return issue.issue(self.authority, RESELLER, LicenseTerms(**terms), now=self.now)

    def bundle(self, issued: Issued, activation: str = "") -> Bundle:
        """What the agent makes of it."""
        return bundles.verify((issued.text + activation).encode(), self.authority.root, now=self.now)

    def request(self, issued: Issued, kind: Kind, machine: str = "server a", **changes: Any) -> bytes:
        """A new request of a machine; no two are the same bytes."""
        self.nonces += 1
        values: Mapping[str, Any] = {
            "kind": kind,
            "jwk": forge.signer(machine).public,
            "key_sha256": license_key.digest(issued.key),
            "license_sha256": hashlib.sha256(issued.text.split()[-1].encode()).hexdigest(),
            "nonce": self.nonces.to_bytes(16, "big"),
            "iat": self.now,
        }
        return forge.request(by=forge.signer(machine), **{**values, **changes})

    def answer(self, request: bytes) -> Answer:
        return answer.signed(self.authority, request, requests.verify(request), now=self.now)

    def activate(self, issued: Issued, machine: str = "server a", **changes: Any) -> Activation:
        """An activation, as the agent reads it from its bundle."""
        line = self.answer(self.request(issued, Kind.ACTIVATION, machine, **changes)).body.decode()
        activation = self.bundle(issued, line).activation
        assert activation is not None
        return activation

    def release(self, issued: Issued, machine: str = "server a") -> object:
        return loads(self.answer(self.request(issued, Kind.RELEASE, machine)).body, max_bytes=1024)

    def renew(self, issued: Issued, machine: str = "server a") -> Bundle:
        text = self.answer(self.request(issued, Kind.RENEWAL, machine)).body
        return bundles.verify(text, self.authority.root, now=self.now)

    def status(self, idx: int) -> int | None:
        """What an agent learns from the list that is served now."""
        token = publish.current_status_list(self.authority, now=self.now)
        return status_list.accept(token, self.authority.root, floor={}, now=self.now).status(idx)


def vendor(directory: Path, *, now: int = NOW, **delegation: Any) -> Vendor:
    """An authority in `directory`/vendor and its reseller in `directory`/reseller. Processes need the real `now`."""
    terms = RootTerms(name="OPanel", url=URL, region="tr")
    authority = home.init(directory / "vendor", terms, now=now)
    allowed = DelegationTerms(name=RESELLER, **{"email": "destek@ornek.example", **delegation})
    issue.delegate(authority, allowed, directory / "reseller", now=now)
    publish.current_status_list(authority, now=now)  # so that a change which is not published is not seen
    return Vendor(authority=authority, now=now)
