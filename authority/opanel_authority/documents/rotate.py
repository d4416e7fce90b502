"""A new root: another key for a role, vouched for by the old root's threshold and the new one's (docs/authority.md).

What a role's key has signed decides what becomes of the key before it. Delegations, activations, receipts and advisories
live on in agents that verify them at every load, so their old keys stay in the root behind the new one, which signs from
now on. A status list is replaced every day: its old key goes at once, and with it the agents' floor for it. Root keys are
replaced as asked, all of them or some.

`compromised` leaves no old key of the role. What must hold all the same is signed anew: delegations, in every bundle of the
books (their owners install them again by their license key), and the set of advisories. Machines activate again.

The keys are on the disk before the root that names them; the root is the one step that counts. Left out: other addresses
(what reaches the network on a server knows the first root alone), and a root that grew too long for agents to fetch: for
both, a release with a newer first root begins anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import Misconfigured, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.units import DAY_S
from opanel_authority import authority as home
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.books.repository import Books
from opanel_authority.documents import keys, publish
from opanel_authority.documents.keys import PrivateKey, Role

ROLES: Final = tuple(role for role in Role if role is not Role.RESELLER)
MAX_KEYS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What is asked. `replaced` are thumbprints of root keys, none for all; `root_keys` is where the root's keys are.

    `threshold` is how many root keys sign from this root on; None for as many as before. `controller`, `transfers` and
    `ip_retention_days` replace what the old root says of them; not given, it stays.
    """

    role: Role
    root_keys: Path
    replaced: frozenset[str] = frozenset()
    compromised: bool = False
    days: int = 1825
    threshold: int | None = None
    controller: Controller | None = None
    transfers: Mapping[str, Mechanism] = field(default_factory=dict)
    ip_retention_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """`made` are the new keys' files, `retired` thumbprints that no root names any more."""

    root: Root
    made: tuple[Path, ...]
    retired: tuple[str, ...]


def rotate(authority: Authority, asked: Rotation, *, now: int) -> Rotated:
    """Raises Misconfigured without enough root keys, Usage for a thumbprint that is none of theirs."""
    with authority.writing(now) as books:
        old = authority.root
        at_hand = _root_keys(asked.root_keys, old)
        _require_threshold(old, asked)
        made = _new_keys(old, asked)
        public = _public(old, asked, [key.public for key in made])
        text = home.sign_root(_claims(old, public, asked, now), _signers(old, public, asked, [*at_hand, *made]))
        new = roots.next_after(old, text)
        whole = authority.roots_text + new.lines
        if len(whole) > home.MAX_ROOTS_BYTES:
            raise Misconfigured(Fault.FILE_REFUSED, "roots_full", seq=new.seq)
        files = tuple(home.key_file(authority.directory, asked.role, key.public) for key in made)
        for key, path in zip(made, files, strict=True):
            keys.save(key, path)
        home.write_public(authority.directory / "roots.jws", whole)
        _sign_again(authority, books, asked, now)
    retired = old.keys_of(asked.role.value).keys() - new.keys_of(asked.role.value).keys()
    return Rotated(root=new, made=files, retired=tuple(sorted(retired)))


def _require_threshold(old: Root, asked: Rotation) -> None:
    """Raises Usage for a threshold that the root's keys cannot meet, or that another role's rotation cannot set."""
    count = len(old.keys[Role.ROOT.value])
    if asked.threshold is not None and (asked.role is not Role.ROOT or not 2 <= asked.threshold <= count):
        raise Usage(Fault.USAGE, "threshold_range", threshold=asked.threshold, keys=count)


def _new_keys(old: Root, asked: Rotation) -> Sequence[PrivateKey]:
    if asked.role is not Role.ROOT:
        return [PrivateKey.make(asked.role)]
    unknown = asked.replaced - old.keys_of(Role.ROOT.value).keys()
    if unknown:
        known = ", ".join(sorted(old.keys_of(Role.ROOT.value)))
        raise Usage(Fault.USAGE, "root_key_unknown", kid=min(unknown), known=known)
    return [PrivateKey.make(Role.ROOT) for _ in asked.replaced or old.keys[Role.ROOT.value]]


def _public(old: Root, asked: Rotation, made: Sequence[PublicKey]) -> Mapping[str, Sequence[PublicKey]]:
    before = old.keys[asked.role.value]
    if asked.role is Role.ROOT:
        kept = [key for key in before if asked.replaced and key.kid not in asked.replaced]
        return {**old.keys, asked.role.value: [*kept, *made]}
    gone = asked.compromised or asked.role is Role.STATUS
    return {**old.keys, asked.role.value: [*made, *(() if gone else before)][:MAX_KEYS]}


def _signers(
    old: Root, public: Mapping[str, Sequence[PublicKey]], asked: Rotation, at_hand: Sequence[PrivateKey]
) -> list[PrivateKey]:
    """As many of the old root's keys as it asks for, and of the new one's. A key that is replaced vouches only at need."""
    trusted = sorted(at_hand, key=lambda key: key.public.kid in asked.replaced)
    vouching: dict[str, PrivateKey] = {}
    for every, threshold in (
        (old.keys[Role.ROOT.value], old.threshold),
        (public[Role.ROOT.value], asked.threshold or old.threshold),
    ):
        kids = {key.kid for key in every}
        mine = [key for key in trusted if key.public.kid in kids][:threshold]
        if len(mine) < threshold:
            raise Misconfigured(
                Fault.FILE_REFUSED,
                "root_keys_missing",
                path=str(asked.root_keys),
                found=len(mine),
                threshold=threshold,
            )
        vouching |= {key.public.kid: key for key in mine}
    return list(vouching.values())


def _root_keys(directory: Path, old: Root) -> Sequence[PrivateKey]:
    found = (keys.load(path, Role.ROOT) for path in sorted(directory.glob("root-*.pem")))
    return [key for key in found if key.public.kid in old.keys_of(Role.ROOT.value)]


def _claims(old: Root, public: Mapping[str, Sequence[PublicKey]], asked: Rotation, now: int) -> dict[str, Json]:
    days_kept = old.ip_retention_days if asked.ip_retention_days is None else asked.ip_retention_days
    return {
        "ver": 1,
        "iss": old.iss,
        "sub": old.sub,
        "iat": now,
        "exp": now + asked.days * DAY_S,
        "seq": old.seq + 1,
        "threshold": asked.threshold or old.threshold,
        "keys": {role: [dict(key.jwk()) for key in of_role] for role, of_role in public.items()},
        "status_uri": old.status_uri,
        "endpoints": {purpose: _places(there) for purpose, there in old.endpoints.items()},
        "mirrors": _places(old.mirrors),
        **home.notice_claims(asked.controller or old.controller, {**old.transfers, **asked.transfers}, days_kept),
    }


def _places(there: Collection[Destination]) -> Json:
    return [{"url": each.url, "region": each.region} for each in there]


def _sign_again(authority: Authority, books: Books, asked: Rotation, now: int) -> None:
    """What the new root would not admit any more, and must go on all the same."""
    if asked.role is Role.STATUS:
        for shard in books.shard_numbers():
            publish.sign_status_list(authority, books, shard, now=now)
    elif asked.compromised and asked.role is Role.ISSUER:
        for version, text in books.versions().items():
            books.replace_version(version, _again(authority.key(Role.ISSUER), Typ.DELEGATION, text) + "\n")
    elif asked.compromised and asked.role is Role.ADVISORY:
        reports_kept = ReportRepository(books)
        for each in reports_kept.advisories():
            reports_kept.replace_advisory(each.jti, _again(authority.key(Role.ADVISORY), Typ.ADVISORY, each.line))


def _again(key: PrivateKey, typ: Typ, line: str) -> str:
    """The same claims, byte for byte, under another key."""
    return key.sign_payload(typ, jws.parse(line.strip().encode("ascii"), max_bytes=bundles.MAX_BYTES).payload)
