"""The next root: other keys, another threshold, other addresses, another controller; signed here or elsewhere.

Each is vouched for by the old root's threshold and the new one's (docs/authority.md). `rotate` signs it with root keys that
are brought here; `request` makes what is signed where they are (`root_request`), and `install` takes what came of it.

What a role's key has signed decides what becomes of the key before it. Delegations, activations, receipts and advisories
live on in agents that verify them at every load, so their old keys stay in the root behind the new one, which signs from
now on. A status list is replaced every day: its old key goes at once, and with it the agents' floor for it. Root keys are
replaced as asked, all of them or some.

`compromised` leaves no old key of the role. What must hold all the same is signed anew: delegations, in every bundle of the
books (their owners install them again by their license key), and the set of advisories. Machines activate again.

The keys are on the disk before the root that names them; the root is the one step that counts. A key of a request that
nobody signed stays there and is never used. Left out: a root that grew too long for agents to fetch; for that, a release
with a newer first root begins anew.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import Misconfigured, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_authority import authority as home
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.documents import keys, publish, root_claims, root_request
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.documents.root_claims import MAX_KEYS, Keys, RootChange
from opanel_authority.documents.root_request import RootRequest

ROLES: Final = tuple(role for role in Role if role is not Role.RESELLER)
ONLINE_ROLES: Final = tuple(role for role in ROLES if role is not Role.ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What is asked of `rotate`. `role` gets a new key; None: no role does. `root_keys` is where the root's keys are.

    `key` is the URI of the new key, where it is on a token; not for the root's own, which `request` adds.

    `replaced` are thumbprints of root keys, none for all. `threshold` is how many root keys sign from this root on; None
    for as many as before, and so `release_threshold` for the role `release`. `mirrors`, `authority`, `controller`,
    `transfers` and `ip_retention_days` replace what the old root says of them; not given, it stays.
    """

    role: Role | None
    root_keys: Path
    replaced: frozenset[str] = frozenset()
    compromised: bool = False
    days: int = 1825
    threshold: int | None = None
    release_threshold: int | None = None
    key: str | None = None
    mirrors: Sequence[Destination] = ()
    authority: Sequence[Destination] = ()
    controller: Controller | None = None
    transfers: Mapping[str, Mechanism] = field(default_factory=dict)
    ip_retention_days: int | None = None

    def says(self, changed: Keys) -> RootChange:
        """Returns what the next root says, with these keys of the roles that change."""
        return RootChange(
            days=self.days,
            keys=changed,
            threshold=self.threshold,
            release_threshold=self.release_threshold,
            mirrors=self.mirrors,
            authority=self.authority,
            controller=self.controller,
            transfers=self.transfers,
            ip_retention_days=self.ip_retention_days,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKeys:
    """How the root's own keys change in a request: public keys that are added, and thumbprints of those that go."""

    added: Sequence[PublicKey] = ()
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """`made` are the new keys' files, `retired` thumbprints that no root names any more."""

    root: Root
    made: tuple[Path, ...]
    retired: tuple[str, ...]


def rotate(
    authority: Authority, asked: Rotation, *, now: int, actor: str = "command", reason: str | None = None
) -> Rotated:
    """Makes, signs and installs the next root.

    Raises Misconfigured without enough root keys, Usage or Untrusted for what no agent would accept.
    """
    old = authority.root
    at_hand = _root_keys(asked.root_keys, old)
    made = _new_keys(old, asked)
    public = [key.public for key in made]
    changed: Keys = {} if asked.role is None else {asked.role: _public(old, asked, public)}
    claims = root_claims.following(old, asked.says(changed), now=now)
    root_claims.require_acceptable(claims)
    own = changed.get(Role.ROOT, old.keys[Role.ROOT.value])
    text = root_claims.signed(dumps(claims), _signers(old, own, asked, [*at_hand, *made]))
    _require_room(authority, text)
    files = _saved(authority, made)
    return replace(install(authority, text, now=now, actor=actor, reason=reason), made=files)


def request(
    authority: Authority,
    roles: Mapping[Role, str | None],
    root_keys: RootKeys,
    change: RootChange,
    *,
    compromised: bool = False,
    now: int,
    actor: str = "command",
    reason: str | None = None,
) -> tuple[RootRequest, tuple[Path, ...]]:
    """Returns what has to be signed for the next root, and the files of the keys of `roles`: made here, or a token's by URI.

    Raises Usage or Untrusted for what no agent would accept; then no key was made.
    """
    old = authority.root
    made = [PrivateKey.make(role) if uri is None else PrivateKey.on_token(role, uri) for role, uri in roles.items()]
    changed: dict[Role, Sequence[PublicKey]] = {
        key.role: _behind(old, key.role, [key.public], compromised=compromised) for key in made
    }
    if root_keys.added or root_keys.removed:
        _require_root_keys(old, root_keys.removed)
        kept = [key for key in old.keys[Role.ROOT.value] if key.kid not in root_keys.removed]
        changed[Role.ROOT] = [*kept, *root_keys.added]
    claims = root_claims.following(old, replace(change, keys=changed), now=now)
    asked = root_request.requested(claims, authority.roots_text)
    with authority.writing(now) as books:
        subject = f"root {old.seq + 1} {','.join(sorted(changed))}".rstrip()
        books.log_change(
            at=now, actor=actor, act="request_root", kind=Kind.ROOT, subject=subject, delegation=None, reason=reason
        )
        files = _saved(authority, made)
    return asked, files


def install(
    authority: Authority, text: bytes, *, now: int, actor: str = "command", reason: str | None = None
) -> Rotated:
    """Installs a root that was signed, here or elsewhere, and signs anew what its keys would not admit any more.

    Raises Untrusted for a root that agents would not follow to, Misconfigured where a key that it names for the service is
    not here: then nothing has changed.
    """
    with authority.writing(now) as books:
        old = authority.root
        new = roots.next_after(old, text)
        _require_room(authority, text)
        for role in ONLINE_ROLES:
            signing = new.keys.get(role.value, ())[:1]  # a root from before the role `release` gets it by a rotation
            if signing and signing != old.keys.get(role.value, ())[:1]:
                home.require_key(home.key_file(authority.directory, role, signing[0]), role, new)
        home.log_root(books, old, new, now=now, actor=actor, reason=reason)
        home.write_public(authority.directory / "roots.jws", authority.roots_text + new.lines)
        _sign_again(authority, books, old, new, now)
    return Rotated(root=new, made=(), retired=tuple(sorted(old.kids - new.kids)))


def _saved(authority: Authority, made: Collection[PrivateKey]) -> tuple[Path, ...]:
    return tuple(keys.save(key, home.key_file(authority.directory, key.role, key.public)) for key in made)


def _require_room(authority: Authority, text: bytes) -> None:
    """Raises Misconfigured for a root with which all of them would be longer than agents fetch."""
    if len(authority.roots_text) + len(text) > home.MAX_ROOTS_BYTES:
        raise Misconfigured(Fault.FILE_REFUSED, "roots_full", seq=authority.root.seq + 1)


def _new_keys(old: Root, asked: Rotation) -> Sequence[PrivateKey]:
    if asked.role is None:
        return []
    if asked.role is not Role.ROOT:
        return [PrivateKey.make(asked.role) if asked.key is None else PrivateKey.on_token(asked.role, asked.key)]
    _require_root_keys(old, asked.replaced)
    return [PrivateKey.make(Role.ROOT) for _ in asked.replaced or old.keys[Role.ROOT.value]]


def _require_root_keys(old: Root, thumbprints: Collection[str]) -> None:
    unknown = set(thumbprints) - old.keys_of(Role.ROOT.value).keys()
    if unknown:
        known = ", ".join(sorted(old.keys_of(Role.ROOT.value)))
        raise Usage(Fault.USAGE, "root_key_unknown", kid=min(unknown), known=known)


def _public(old: Root, asked: Rotation, made: Sequence[PublicKey]) -> Sequence[PublicKey]:
    """Returns all keys of the role that changes, in the next root."""
    if asked.role is Role.ROOT:
        kept = [key for key in old.keys[Role.ROOT.value] if asked.replaced and key.kid not in asked.replaced]
        return [*kept, *made]
    return _behind(old, asked.role or Role.ROOT, made, compromised=asked.compromised)


def _behind(old: Root, role: Role, made: Sequence[PublicKey], *, compromised: bool) -> Sequence[PublicKey]:
    """Returns the new keys of a role, and behind them the old ones that go on to be believed."""
    gone = compromised or role is Role.STATUS
    return [*made, *(() if gone else old.keys.get(role.value, ()))][:MAX_KEYS]


def _signers(old: Root, own: Sequence[PublicKey], asked: Rotation, at_hand: Sequence[PrivateKey]) -> list[PrivateKey]:
    """Returns as many of the old root's keys as it asks for, and of the new one's.

    A key that is replaced vouches only at need.
    """
    trusted = sorted(at_hand, key=lambda key: key.public.kid in asked.replaced)
    vouching: dict[str, PrivateKey] = {}
    for every, threshold in (
        (old.keys[Role.ROOT.value], old.threshold),
        (own, asked.threshold or old.threshold),
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
    return [key for key in keys.of_role(directory, Role.ROOT) if key.public.kid in old.keys_of(Role.ROOT.value)]


def _sign_again(authority: Authority, books: Books, old: Root, new: Root, now: int) -> None:
    """Signs again what the new root would not admit any more, and must go on all the same."""
    gone = old.kids - new.kids
    if new.keys[Role.STATUS.value][0] != old.keys[Role.STATUS.value][0]:
        for shard in books.shard_numbers():
            publish.sign_status_list(authority, books, shard, now=now)
    if gone & old.keys_of(Role.ISSUER.value).keys():
        for version, text in books.versions().items():
            if _signer(text) in gone:
                books.replace_version(version, _again(authority.key(Role.ISSUER), Typ.DELEGATION, text) + "\n")
    if gone & old.keys_of(Role.ADVISORY.value).keys():
        reports_kept = ReportRepository(books)
        for each in reports_kept.advisories():
            if _signer(each.line) in gone:
                reports_kept.replace_advisory(each.jti, _again(authority.key(Role.ADVISORY), Typ.ADVISORY, each.line))


def _signer(line: str) -> str:
    return jws.parse(line.strip().encode("ascii"), max_bytes=bundles.MAX_BYTES).kid


def _again(key: PrivateKey, typ: Typ, line: str) -> str:
    """Returns the same claims, byte for byte, under another key."""
    return key.sign_payload(typ, jws.parse(line.strip().encode("ascii"), max_bytes=bundles.MAX_BYTES).payload)
