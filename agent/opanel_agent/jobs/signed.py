"""A request about the installed license, signed by the agent's own key; only an activation says anything of the machine.

What it is for and where it goes is the caller's: `ask`, `renew` and `rights`.
"""

from opanel_agent.core import binding, license_key
from opanel_agent.core.documents import jws
from opanel_agent.core.documents import request as request_document
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.request import Kind, RequestClaims, Right
from opanel_agent.jobs.agent_key import AgentKey
from opanel_agent.jobs.desk import Desk


def request(
    desk: Desk, license_: License, signer: AgentKey, kind: Kind, *, right: Right | None = None, text: str | None = None
) -> bytes:
    """A new one: its random parts are drawn for it alone. `right` and `text` belong to a request about rights."""
    salt = desk.world.chance.octets(16)
    claims = RequestClaims(
        kind=kind,
        jti=desk.world.chance.octets(16).hex(),
        iat=desk.now,
        key_sha256=license_key.digest(license_.sub),
        license_sha256=license_.digest,
        jwk=signer.public,
        salt=salt,
        components=binding.digests(salt, desk.components) if kind is Kind.ACTIVATION else {},
        nonce=desk.world.chance.octets(16),
        right=right,
        text=text,
    )
    signing_input = jws.signing_input(Typ.REQUEST, signer.public.kid, request_document.claims_json(claims))
    return jws.assemble(signing_input, signer.sign(signing_input))
