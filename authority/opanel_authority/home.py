"""One authority's directory: where its keys, its root and its books are, and how it comes to be.

    DIR/                  0700
      root.jws            the first root, for the package or the agents' `trust_root`
      authority.sqlite    0600, the books
      keys/               0700: root-1.pem … (used here only), issuer, activation, status, receipt, advisory .pem

`root.jws` is written last: a directory without it is no authority, and `init` refuses one that has anything in it.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opanel_agent.core import mirrors
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Usage
from opanel_agent.core.purposes import FIXED, Purpose
from opanel_agent.core.reasons import Fault
from opanel_agent.core.strict_json import Json, dumps
from opanel_authority import keys
from opanel_authority.keys import PrivateKey, Role
from opanel_authority.store import Store

DAY_S: Final = 86_400
_ONE_KEY_ROLES: Final = (Role.ISSUER, Role.ACTIVATION, Role.STATUS, Role.RECEIPT, Role.ADVISORY)
_ENDPOINTS: Final = tuple(purpose for purpose in Purpose if purpose not in FIXED)  # the fixed GETs go to mirrors
_MAX_ROOT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTerms:
    """What `init` is told. `url` is where agents reach `serve` and the static files; `days` until the root expires."""

    name: str
    url: str
    region: str
    threshold: int = 2
    keys: int = 3
    days: int = 1825


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """An opened directory."""

    directory: Path
    root: Root
    store: Store

    def key(self, role: Role) -> PrivateKey:
        """Read at each use: a key that was carried away is missed then, and not before."""
        return keys.load(_key_file(self.directory, role), role)


def init(directory: Path, terms: RootTerms, *, now: int) -> Authority:
    """Make keys, books and the first root. Raises Usage for terms that no agent would accept."""
    if not mirrors.admissible(terms.url):
        raise Usage(Fault.USAGE, "url_inadmissible", url=terms.url)
    if not 2 <= terms.threshold <= terms.keys:
        raise Usage(Fault.USAGE, "threshold_range", threshold=terms.threshold, keys=terms.keys)
    keys.make_directory(directory)
    if any(directory.iterdir()):
        raise Misconfigured(Fault.FILE_REFUSED, "directory_not_empty", path=str(directory))
    signers = [PrivateKey.make(Role.ROOT) for _ in range(terms.keys)]
    others = {role: PrivateKey.make(role) for role in _ONE_KEY_ROLES}
    text = _sign_root(_root_claims(terms, signers, others, now), signers[: terms.threshold])
    root = roots.first(text)
    for number, signer in enumerate(signers, start=1):
        keys.save(signer, directory / "keys" / f"root-{number}.pem")
    for role, key in others.items():
        keys.save(key, _key_file(directory, role))
    store = Store.create(_database(directory), status_order_key=secrets.token_bytes(32))
    write_public(directory / "root.jws", text)
    return Authority(directory=directory, root=root, store=store)


def open_home(directory: Path) -> Authority:
    """Raises Misconfigured for a directory that `init` did not make, or whose root is damaged."""
    path = directory / "root.jws"
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_ROOT_BYTES)
    except FileNotFoundError as error:
        raise Misconfigured(Fault.FILE_REFUSED, "no_authority_here", path=str(directory)) from error
    return Authority(directory=directory, root=roots.first(text), store=Store.open(_database(directory)))


def write_public(path: Path, data: bytes) -> None:
    """A file for others to read, replaced whole or not at all: who polls it never sees half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _root_claims(
    terms: RootTerms, signers: list[PrivateKey], others: dict[Role, PrivateKey], now: int
) -> dict[str, Json]:
    base = terms.url.rstrip("/")
    here: Json = [{"url": base, "region": terms.region}]
    public: dict[str, Json] = {role.value: [dict(key.public.jwk())] for role, key in others.items()}
    public[Role.ROOT.value] = [dict(signer.public.jwk()) for signer in signers]
    return {
        "ver": 1,
        "iss": terms.name,
        "sub": terms.name,
        "iat": now,
        "exp": now + terms.days * DAY_S,
        "seq": 1,
        "threshold": terms.threshold,
        "keys": public,
        "status_uri": f"{base}/v1/status.jwt",
        "endpoints": {purpose.value: here for purpose in _ENDPOINTS},
        "mirrors": here,
    }


def _sign_root(claims: dict[str, Json], signers: list[PrivateKey]) -> bytes:
    payload = dumps(claims)
    return "".join(signer.sign_payload(Typ.ROOT, payload) + "\n" for signer in signers).encode("ascii")


def _database(directory: Path) -> Path:
    return directory / "authority.sqlite"


def _key_file(directory: Path, role: Role) -> Path:
    return directory / "keys" / f"{role.value}.pem"
