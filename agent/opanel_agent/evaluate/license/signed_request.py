"""A request about the installed license, signed by the agent's own key; only an activation says anything of the machine.

What it is for and where it goes is the caller's: `ask`, `renew` and `rights`.
"""

from opanel_agent.core.documents import jws
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.signed_request import RequestClaims, RequestKind, Right
from opanel_agent.core.license import binding, license_key
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license.agent_key import AgentKey


def request(
    context: PassContext,
    license_: License,
    signer: AgentKey,
    kind: RequestKind,
    *,
    right: Right | None = None,
    text: str | None = None,
) -> bytes:
    """A new one: its random parts are drawn for it alone. `right` and `text` belong to a request about rights."""
    salt = context.world.chance.token_bytes(16)
    claims = RequestClaims(
        kind=kind,
        jti=context.world.chance.token_bytes(16).hex(),
        iat=context.now,
        key_sha256=license_key.digest(license_.sub),
        license_sha256=license_.digest,
        jwk=signer.public,
        salt=salt,
        components=_components(context, salt) if kind is RequestKind.ACTIVATION else {},
        nonce=context.world.chance.token_bytes(16),
        right=right,
        text=text,
    )
    signing_input = jws.signing_input(Typ.REQUEST, signer.public.kid, request_document.claims_json(claims))
    return jws.assemble(signing_input, signer.sign(signing_input))


def _components(context: PassContext, salt: bytes) -> dict[str, bytes]:
    held = None if context.bundle is None or context.bundle.activation is None else context.bundle.activation.bind
    return binding.digests(salt, binding.steady(context.components, held))
