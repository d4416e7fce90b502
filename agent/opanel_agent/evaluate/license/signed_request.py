"""Signs a request about the installed license with the agent's own key; only an activation describes the machine.

Where it goes and what its answer means is the caller's: `license.commands`, `license.renew` and `consent.rights`.
"""

from collections.abc import Mapping

from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.signed_request import RequestClaims, RequestKind, Right
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import binding, license_key
from opanel_agent.core.values import field, frozen
from opanel_agent.evaluate.license.agent_key import AgentKey
from opanel_agent.system.randomness import RandomSource

_SALT_BYTES = 16


@frozen
class RequestSubject:
    """What a request asks for. `components` belong to an activation only, `right` and `text` to a request about rights."""

    kind: RequestKind
    components: Mapping[str, str] = field(default_factory=dict)
    right: Right | None = None
    text: str | None = None


def sign(subject: RequestSubject, license_: License, signer: AgentKey, random: RandomSource, now: int) -> bytes:
    """Returns a new request as a compact JWS (RFC 7515): salt, `jti` and nonce are drawn for it alone.

    Of the machine it holds salted digests of `components`, and of the license key its SHA-256. `now` is effective time.
    """
    salt = random.token_bytes(_SALT_BYTES)
    claims = RequestClaims(
        kind=subject.kind,
        jti=random.token_bytes(16).hex(),
        iat=now,
        key_sha256=license_key.digest(license_.sub),
        license_sha256=license_.digest,
        jwk=signer.public,
        salt=salt,
        components=binding.digests(salt, subject.components) if subject.components else {},
        nonce=random.token_bytes(16),
        right=subject.right,
        text=subject.text,
    )
    signing_input = jws.signing_input(Typ.REQUEST, signer.public.kid, request_document.claims_json(claims))
    return jws.assemble(signing_input, signer.sign(signing_input))
