"""Signs release manifests: what was published as one version, file by file (docs/license-format.md, "Release manifest").

The draft says everything but the issuer, and its date is the source's, so that who signs on another machine signs the same
bytes: a manifest collects signatures until the root's threshold is met. What agents would not take is refused here, by their
own reader. Nothing goes into the books: a release needs no authority's service, and its keys may lie elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Untrusted, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.release import manifest
from opanel_agent.core.release.manifest import Manifest
from opanel_authority.documents import keys
from opanel_authority.documents.keys import PrivateKey, Role

MAX_DRAFT_BYTES: Final = manifest.MAX_LINE_BYTES
_OWN: Final = frozenset({"ver", "iss"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRelease:
    """`text` is the manifest, a line for each signature; `threshold` how many of them agents ask for."""

    text: bytes
    manifest: Manifest
    threshold: int


def sign(root: Root, draft: bytes, signers: list[PrivateKey], *, before: bytes = b"", path: str = "") -> SignedRelease:
    """Signs a draft with each of `signers` whose signature is not in `before` already.

    Shape of the draft: the claims but `ver` and `iss`, as JSON. `before` is a manifest that others signed, `path` its name.
    Raises Misconfigured without the role or without a signer, Usage where `before` says something else, Untrusted for claims
    that agents refuse.
    """
    if not root.keys_of(Role.RELEASE.value):
        raise Misconfigured(Fault.NO_RELEASE, "release_role_absent", seq=root.seq)
    payload = dumps(_claims(draft, root))
    lines = before.splitlines()
    envelopes = [jws.parse(line, max_bytes=manifest.MAX_LINE_BYTES) for line in lines]
    if any(envelope.payload != payload for envelope in envelopes):
        raise Usage(Fault.USAGE, "release_other", path=path)
    there = {envelope.kid for envelope in envelopes}
    lines += [key.sign_payload(Typ.RELEASE, payload).encode("ascii") for key in signers if key.public.kid not in there]
    text = b"".join(line + b"\n" for line in lines)
    return SignedRelease(text=text, manifest=manifest.unverified(text, root), threshold=root.release_threshold)


def release_keys(directory: Path, root: Root) -> list[PrivateKey]:
    """Returns the private keys of the root's role `release` that lie in a folder. Raises Misconfigured where none does."""
    named = [key for key in keys.of_role(directory, Role.RELEASE) if key.public.kid in root.keys_of(Role.RELEASE.value)]
    if not named:
        raise Misconfigured(Fault.FILE_REFUSED, "release_keys_missing", path=str(directory))
    return named


def _claims(draft: bytes, root: Root) -> dict[str, Json]:
    if len(draft) > MAX_DRAFT_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=MAX_DRAFT_BYTES)
    drafted = loads(draft.strip(), max_bytes=MAX_DRAFT_BYTES)
    if not isinstance(drafted, dict) or _OWN & drafted.keys():
        raise Untrusted(Reason.FORMAT_INVALID, "member_value", where="release", name="iss")
    return {**drafted, "ver": 1, "iss": root.sub}
