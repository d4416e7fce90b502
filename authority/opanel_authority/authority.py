"""One authority's directory: where its keys, its root and its books are, and how it comes to be.

    DIR/                  0700
      root.jws            the first root, for the package or the agents' `trust_root`
      roots.jws           every root since, once there is a second (`rotate`)
      authority.sqlite    0600, the books; or database.url, 0600, which names a PostgreSQL database that has them
      drawn/              0700, how many entries and slots were given out (`books.draw_marks`)
      keys/               0700: root-1.pem … (used for roots only), issuer, activation, status, receipt, advisory,
                          release .pem;
                          a key that came by rotation has the beginning of its public half in its name; `.uri` stands
                          in the place of `.pem` where the key is on a token (`documents.token_key`)

`root.jws` is written last: a directory without it is no authority, and `init` refuses one that has anything in it. Where the
root's keys are elsewhere, `init` makes everything else (`prepare`), and `complete` writes the root once it was signed there.
"""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_agent.core.documents.root import Destination, Root
from opanel_agent.core.errors import Misconfigured, Usage
from opanel_agent.core.jose.keys import PublicKey
from opanel_authority import clock
from opanel_authority.books.database import Store, parsed_url
from opanel_authority.books.draw_marks import DrawMarks
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import Kind
from opanel_authority.documents import keys, root_claims
from opanel_authority.documents.keys import PrivateKey, Role
from opanel_authority.documents.root_claims import Claims, RootChange

_ONE_KEY_ROLES: Final = (Role.ISSUER, Role.ACTIVATION, Role.STATUS, Role.RECEIPT, Role.ADVISORY, Role.RELEASE)
MAX_ROOTS_BYTES: Final = 512 * 1024  # what an agent fetches
_MAX_ROOT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTerms:
    """What `init` is told. `url` is where agents reach `serve` and the static files; `days` until the root expires.

    `database` is a PostgreSQL URL; SQLite in the directory where there is none. `controller`, `transfers` by region and
    `ip_retention_days` at mirrors are what the notice tells people. `mirrors` serve the static files, if not `url`.
    `role_keys` are URIs of keys that are on tokens (`token_key`); the others are made here.
    """

    name: str
    url: str
    region: str
    threshold: int = 2
    keys: int = 3
    days: int = 1825
    database: str | None = None
    controller: Controller | None = None
    transfers: Mapping[str, Mechanism] = field(default_factory=dict)
    ip_retention_days: int | None = None
    mirrors: Sequence[Destination] = ()
    role_keys: Mapping[Role, str] = field(default_factory=dict)

    @property
    def says(self) -> RootChange:
        """What the first root says beside its keys and its place."""
        return RootChange(
            days=self.days,
            threshold=self.threshold,
            mirrors=self.mirrors,
            controller=self.controller,
            transfers=self.transfers,
            ip_retention_days=self.ip_retention_days,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """An opened directory."""

    directory: Path
    store: Store

    @contextmanager
    def writing(self, now: int) -> Iterator[Books]:
        """Opens a writing transaction under a clock that can be right. Raises Misconfigured (clock_wrong) for any other."""
        with self.store.transaction() as books:
            clock.hold(books, now)
            yield books

    @property
    def root(self) -> Root:
        """The newest, from the files at each use: another process may have rotated a key since."""
        return _walked(_read_root(self.directory), _read_roots(self.directory))

    @property
    def roots_text(self) -> bytes:
        """Every root since the first, as agents fetch them."""
        return _read_roots(self.directory) or roots.first(_read_root(self.directory)).lines

    def key(self, role: Role) -> PrivateKey:
        """Read at each use: a key that was carried away is missed then, and not before."""
        current = self.root.keys[role.value][0]
        made_first = current in _walked(_read_root(self.directory), b"").keys.get(role.value, ())
        path = first_key_file(self.directory, role) if made_first else key_file(self.directory, role, current)
        return keys.load(path, role)


def init(
    directory: Path, terms: RootTerms, *, now: int, actor: str = "command", reason: str | None = None
) -> Authority:
    """Make keys, books and the first root. Raises Usage or Untrusted for terms that no agent would accept."""
    root_claims.require_threshold(terms.threshold, terms.keys)
    signers = [PrivateKey.make(Role.ROOT) for _ in range(terms.keys)]
    claims = prepare(directory, terms, [signer.public for signer in signers], now=now, actor=actor, reason=reason)
    for number, signer in enumerate(signers, start=1):
        keys.save(signer, directory / "keys" / f"root-{number}.pem")
    text = root_claims.signed(dumps(claims), signers[: terms.threshold])
    return complete(directory, text, now=now, actor=actor, reason=reason)


def prepare(
    directory: Path,
    terms: RootTerms,
    root_keys: Sequence[PublicKey],
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
) -> Claims:
    """Make the other keys and the books; the claims of the first root, which whoever holds the root's keys must sign."""
    on_tokens = {role: PrivateKey.on_token(role, uri) for role, uri in terms.role_keys.items()}
    others = {role: on_tokens.get(role) or PrivateKey.make(role) for role in _ONE_KEY_ROLES}
    public = {Role.ROOT: root_keys, **{role: [key.public] for role, key in others.items()}}
    place = Destination(url=terms.url.rstrip("/"), region=terms.region)
    claims = root_claims.first(terms.name, place, public, terms.says, now=now)
    root_claims.require_acceptable(claims)
    where = _database(directory) if terms.database is None else parsed_url(terms.database)
    keys.make_directory(directory)
    if any(directory.iterdir()):
        raise Misconfigured(Fault.FILE_REFUSED, "directory_not_empty", path=str(directory))
    for role, key in others.items():
        keys.save(key, first_key_file(directory, role))
    marks = DrawMarks(directory / "drawn") if terms.database is None else None
    store = Store.create(where, status_order_key=secrets.token_bytes(32), marks=marks)
    with store.transaction() as books:
        books.log_change(
            at=now, actor=actor, act="init", kind=Kind.BOOKS, subject=terms.name, delegation=None, reason=reason
        )
    if terms.database is not None:
        keys.write_private(_database_url(directory), f"{terms.database}\n".encode())
    return claims


def complete(directory: Path, text: bytes, *, now: int, actor: str = "command", reason: str | None = None) -> Authority:
    """Writes the first root. Raises Usage where there is one, Misconfigured where a key that it names is not here."""
    if (directory / "root.jws").exists():
        raise Usage(Fault.USAGE, "root_exists", path=str(directory))
    root = roots.first(text)
    for role in _ONE_KEY_ROLES:
        require_key(first_key_file(directory, role), role, root)
    store = open_store(directory)
    with store.transaction() as books:
        log_root(books, None, root, now=now, actor=actor, reason=reason)
        write_public(directory / "root.jws", text)
    return Authority(directory=directory, store=store)


def log_root(
    books: Books, before: Root | None, new: Root, *, now: int, actor: str, reason: str | None, act: str = "install_root"
) -> None:
    """Keep in the change log which root it is, and which roles have other keys in it than `before`."""
    old = {} if before is None else before.keys
    roles = ",".join(sorted(role for role, held in new.keys.items() if held and held != old.get(role, ())))
    subject = f"root {new.seq} {roles}".rstrip()
    books.log_change(at=now, actor=actor, act=act, kind=Kind.ROOT, subject=subject, delegation=None, reason=reason)


def require_key(path: Path, role: Role, root: Root) -> None:
    """Raises Misconfigured unless this is the key that the root names for the role: nothing else is signed under it."""
    wanted = root.keys[role.value][0]
    try:
        found = keys.load(path, role).public
    except FileNotFoundError:
        found = None
    if found != wanted:
        raise Misconfigured(Fault.FILE_REFUSED, "role_key_missing", role=role.value, kid=wanted.kid, path=str(path))


def open_home(directory: Path) -> Authority:
    """Raises Misconfigured for a directory that `init` did not make, or whose root is damaged."""
    _walked(_read_root(directory), _read_roots(directory))
    return Authority(directory=directory, store=open_store(directory))


def make_store(directory: Path) -> Store:
    """Makes empty books where there are none: `restore` fills them.

    Raises Misconfigured or OSError where there are some.
    """
    order_key = secrets.token_bytes(32)
    try:
        url = _database_url(directory).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return Store.create(_database(directory), status_order_key=order_key, marks=DrawMarks(directory / "drawn"))
    return Store.create(parsed_url(url), status_order_key=order_key)


def open_store(directory: Path, *, any_version: bool = False) -> Store:
    """Returns the books of a directory.

    Raises Misconfigured where they are missing, or (unless `any_version`) another version's.
    """
    try:
        url = _database_url(directory).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return Store.open(_database(directory), marks=DrawMarks(directory / "drawn"), any_version=any_version)
    return Store.open(parsed_url(url), any_version=any_version)


@lru_cache(maxsize=8)
def _walked(first: bytes, text: bytes) -> Root:
    return roots.walk(roots.first(first), text) if text else roots.first(first)


def _read_root(directory: Path) -> bytes:
    try:
        with (directory / "root.jws").open("rb") as file:
            return file.read(_MAX_ROOT_BYTES)
    except FileNotFoundError as error:
        detail = "root_unsigned" if first_key_file(directory, Role.STATUS).exists() else "no_authority_here"
        raise Misconfigured(Fault.FILE_REFUSED, detail, path=str(directory)) from error


def _read_roots(directory: Path) -> bytes:
    """Reads the later roots; empty while the first root is the only one."""
    try:
        with (directory / "roots.jws").open("rb") as file:
            return file.read(MAX_ROOTS_BYTES)
    except FileNotFoundError:
        return b""


def write_public(path: Path, data: bytes) -> None:
    """Writes a file for others to read, replaced whole or not at all: who polls it never sees half.

    Others enter the folders that it makes, too, whatever the umask: a web server is another user.
    """
    for folder in reversed([each for each in path.parents if not each.exists()]):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
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


def _database(directory: Path) -> Path:
    return directory / "authority.sqlite"


def _database_url(directory: Path) -> Path:
    return directory / "database.url"


def first_key_file(directory: Path, role: Role) -> Path:
    """Returns where `init` put a role's key."""
    return directory / "keys" / f"{role.value}.pem"


def key_file(directory: Path, role: Role, key: PublicKey) -> Path:
    """Returns the file of a key that came by rotation."""
    return directory / "keys" / f"{role.value}-{key.raw.hex()[:16]}.pem"
