"""Signs documents for tests: a small authority whose keys come from their names, so that every run signs the same.

Each builder has sane defaults that verify together (`bundle()` under `root()` at `NOW`) and takes any claim by name, to
replace it; `DROP` leaves a claim out. Nothing is checked: that is what the tests are for.
"""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from opanel_agent.core import license_key
from opanel_agent.core.base64url import base64url
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents import status_list as status_document
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.jws import Typ, assemble, signing_input
from opanel_agent.core.documents.keys import PublicKey
from opanel_agent.core.documents.request import Kind, RequestClaims, claims_json
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.status_list import StatusList
from opanel_agent.core.strict_json import dumps

Claims = dict[str, Any]
DROP: Final = object()

DAY: Final = 86_400
NOW: Final = 1_795_510_800  # 2026-11-24T09:00:00Z, when everything here is in force
ISSUED: Final = NOW - 30 * DAY

VENDOR: Final = "vendor.example"
RESELLER: Final = "reseller.example"
STATUS_URI: Final = "urn:example:status"
MIRROR: Final = "https://mirror.example"
ENDPOINT: Final = "https://licensing.example"
DELEGATION_IDX: Final = 1
LICENSE_IDX: Final = 100
ACTIVATION_IDX: Final = 200
SALT: Final = b"salt of 16 bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A key pair that belongs to a name."""

    name: str

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"forge " + self.name.encode()).digest())

    @property
    def public(self) -> PublicKey:
        return PublicKey.from_raw(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def kid(self) -> str:
        return self.public.kid

    @property
    def jwk(self) -> Claims:
        return dict(self.public.jwk())

    def sign(self, typ: Typ, claims: Claims | bytes) -> bytes:
        """A compact JWS of claims, or of a payload as it is."""
        payload = claims if isinstance(claims, bytes) else dumps(claims)
        return self.seal(signing_input(typ, self.kid, payload))

    def seal(self, signed: bytes) -> bytes:
        """The JWS of any signing input, well-formed or not."""
        return assemble(signed, self.private.sign(signed))


def signer(name: str) -> Signer:
    return Signer(name=name)


ROOTS: Final = (signer("root 1"), signer("root 2"), signer("root 3"))
ISSUER: Final = signer("issuer")
ACTIVATION: Final = signer("activation")
STATUS: Final = signer("status")
RECEIPT: Final = signer("receipt")
ADVISORY: Final = signer("advisory")
DELEGATE: Final = signer("reseller")
AGENT: Final = signer("agent")

_key = license_key.make(hashlib.sha256(b"forge license").digest()[:16])
assert _key is not None
KEY: Final = _key


def overridden(claims: Claims, changes: Mapping[str, Any]) -> Claims:
    merged = {**claims, **changes}
    return {name: value for name, value in merged.items() if value is not DROP}


def root_claims(**changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "sub": VENDOR,
        "iat": ISSUED - 30 * DAY,
        "exp": NOW + 365 * DAY,
        "seq": 1,
        "threshold": 2,
        "keys": role_keys(),
        "status_uri": STATUS_URI,
        "endpoints": {
            "license_activation": [{"url": ENDPOINT, "region": "eu"}],
            "license_renewal": [{"url": ENDPOINT, "region": "eu"}],
            "usage_statistics": [{"url": ENDPOINT, "region": "eu"}],
            "crash_reports": [{"url": ENDPOINT, "region": "eu"}],
            "data_rights": [{"url": ENDPOINT, "region": "eu"}],
        },
        "mirrors": [{"url": MIRROR, "region": "eu"}],
    }
    return overridden(claims, changes)


def role_keys(**changes: Iterable[Signer]) -> Claims:
    """The `keys` of a root; a role given by name replaces the default's."""
    roles: dict[str, Iterable[Signer]] = {
        "root": ROOTS,
        "issuer": [ISSUER],
        "activation": [ACTIVATION],
        "status": [STATUS],
        "receipt": [RECEIPT],
        "advisory": [ADVISORY],
    }
    return {role: [each.jwk for each in signers] for role, signers in {**roles, **changes}.items()}


def root(*, signers: Iterable[Signer] = ROOTS[:2], **changes: Any) -> bytes:
    """A root's lines, one for each of `signers`, the last with its newline."""
    return root_lines(root_claims(**changes), signers)


def root_lines(claims: Claims | bytes, signers: Iterable[Signer]) -> bytes:
    return b"".join(each.sign(Typ.ROOT, claims) + b"\n" for each in signers)


def trusted_root(**changes: Any) -> Root:
    return root_document.first(root(**changes))


def may(**changes: Any) -> Claims:
    claims: Claims = {
        "products": ["opanel"],
        "features": ["backup", "mail", "dns"],
        "tiers": ["basic", "pro"],
        "limits": {"accounts": 500},
        "max_term_days": 400,
        "grace_days": 30,
        "stale_days": 60,
        "issue_until": NOW + 365 * DAY,
        "slots": [0, 1000],
        "depth": 2,
        "status_range": [100, 10_000],
    }
    return overridden(claims, changes)


def status(idx: int, uri: str = STATUS_URI) -> Claims:
    return {"status_list": {"idx": idx, "uri": uri}}


def delegation_claims(**changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "iat": ISSUED - 10 * DAY,
        "jti": "delegation-1",
        "sub": RESELLER,
        "name": "Örnek Hosting",
        "contact": {"email": "destek@reseller.example", "phone": "+90 212 000 00 00"},
        "cnf": {"jwk": DELEGATE.jwk},
        "may": may(),
        "nbf": ISSUED - 10 * DAY,
        "exp": NOW + 730 * DAY,
        "status": status(DELEGATION_IDX),
    }
    return overridden(claims, changes)


def delegation(*, by: Signer = ISSUER, **changes: Any) -> bytes:
    return by.sign(Typ.DELEGATION, delegation_claims(**changes))


def license_claims(**changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": RESELLER,
        "iat": ISSUED,
        "jti": "license-1",
        "sub": KEY,
        "aud": "opanel-agent",
        "nbf": ISSUED,
        "exp": NOW + 335 * DAY,
        "product": "opanel",
        "features": ["backup", "mail"],
        "limits": {"accounts": 100},
        "tier": "pro",
        "grace_days": 14,
        "stale_days": 30,
        "activation": {"required": True, "within_days": 7, "min_p": 1, "seats": 1},
        "reseller": {"name": "Örnek Hosting", "email": "destek@reseller.example", "phone": "+90 212 000 00 00"},
        "slot": 7,
        "status": status(LICENSE_IDX),
    }
    return overridden(claims, changes)


def license(*, by: Signer = DELEGATE, **changes: Any) -> bytes:  # noqa: A001  the document's own name
    return by.sign(Typ.LICENSE, license_claims(**changes))


def component(value: str) -> bytes:
    """16 bytes that stand for a component's digest, where a test does not care how it came about."""
    return hashlib.sha256(b"component " + value.encode()).digest()[:16]


COMPONENTS: Final = {
    "machine_id": component("machine id"),
    "root_fs_uuid": component("file system"),
    "agent_key": component("agent key"),
    "dmi_product_uuid": component("product"),
    "boot_disk": component("disk"),
}


def bind(*, components: Mapping[str, bytes] = COMPONENTS, salt: bytes = SALT, k: int = 3, p: int = 2) -> Claims:
    return {
        "salt": base64url(salt),
        "k": k,
        "p": p,
        "components": {name: base64url(digest) for name, digest in components.items()},
    }


def activation_claims(**changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "iat": ISSUED + DAY,
        "jti": "activation-1",
        "sub": KEY,
        "nbf": ISSUED + DAY,
        "exp": NOW + 335 * DAY,
        "bind": bind(),
        "cnf": {"jkt": AGENT.kid},
        "seat": 1,
        "status": status(ACTIVATION_IDX),
    }
    return overridden(claims, changes)


def activation(*, by: Signer = ACTIVATION, **changes: Any) -> bytes:
    return by.sign(Typ.ACTIVATION, activation_claims(**changes))


def lines(*documents: bytes) -> bytes:
    return b"".join(document + b"\n" for document in documents)


def bundle(*, activated: bool = True) -> bytes:
    """Delegation, license and, where `activated`, activation, all with their defaults."""
    return lines(delegation(), license(), *([activation()] if activated else []))


def verified(text: bytes | None = None) -> Bundle:
    """A bundle that was accepted under the default root."""
    return bundle_document.verify(bundle() if text is None else text, trusted_root(), now=NOW)


def lst(entries: Mapping[int, int], *, bits: int = 2, size: int = 16_384) -> str:
    """The compressed entries of a status list of `size` entries, 0 where `entries` does not say."""
    data = bytearray(size * bits // 8)
    for idx, value in entries.items():
        byte, bit = divmod(idx * bits, 8)
        data[byte] |= value << bit
    return base64url(zlib.compress(bytes(data), 9))


def status_list_claims(entries: Mapping[int, int] | None = None, **changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "iat": NOW - 3600,
        "sub": STATUS_URI,
        "exp": NOW + 7 * DAY,
        "ttl": 900,
        "status_list": {"bits": 2, "lst": lst(entries or {})},
    }
    return overridden(claims, changes)


def status_list(entries: Mapping[int, int] | None = None, *, by: Signer = STATUS, **changes: Any) -> bytes:
    """A status list token; `entries` as {index: status}."""
    return by.sign(Typ.STATUS_LIST, status_list_claims(entries, **changes))


def accepted_list(entries: Mapping[int, int] | None = None, **changes: Any) -> StatusList:
    return status_document.accept(status_list(entries, **changes), trusted_root(), floor={}, now=NOW)


def request_claims(**changes: Any) -> RequestClaims:
    values: dict[str, Any] = {
        "kind": Kind.ACTIVATION,
        "jti": "request-1",
        "key_sha256": license_key.digest(KEY),
        "license_sha256": hashlib.sha256(license()).hexdigest(),
        "jwk": AGENT.public,
        "salt": SALT,
        "components": COMPONENTS,
        "nonce": b"nonce of 16 byte",
        "iat": NOW,
    }
    return RequestClaims(**{**values, **changes})


def request(*, by: Signer = AGENT, **changes: Any) -> bytes:
    return by.sign(Typ.REQUEST, claims_json(request_claims(**changes)))


def receipt_claims(body: bytes = b"", **changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "iat": NOW,
        "jti": "receipt-1",
        "sub": hashlib.sha256(body).hexdigest(),
        "kind": "usage_statistics",
        "due": NOW + 180 * DAY,
    }
    return overridden(claims, changes)


def receipt(body: bytes = b"", *, by: Signer = RECEIPT, **changes: Any) -> bytes:
    """The authority's receipt for a body."""
    return by.sign(Typ.RECEIPT, receipt_claims(body, **changes))


def advisory_claims(**changes: Any) -> Claims:
    claims: Claims = {
        "ver": 1,
        "iss": VENDOR,
        "iat": NOW - 3600,
        "jti": "advisory-1",
        "seq": 1,
        "severity": "high",
        "title": {"tr": "Güncelleyin", "en": "Please update"},
        "body": {"tr": "Bir açık kapatıldı.", "en": "A hole was closed."},
        "fixed_in": "0.1.1",
        "exp": NOW + 90 * DAY,
    }
    return overridden(claims, changes)


def advisory(*, by: Signer = ADVISORY, **changes: Any) -> bytes:
    """One line of an `advisories.jws`, without its newline."""
    return by.sign(Typ.ADVISORY, advisory_claims(**changes))
