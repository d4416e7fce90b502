"""The private keys, and the only code in this project that signs.

A key is one PKCS #8 PEM file (RFC 8410), mode 0600, in a directory of mode 0700 that belongs to who runs the
authority. A key that anybody else can read or replace is refused, not used with a warning: what it signed could be
anybody's.

A key has one role and signs only what its role signs (license-format.md, "One envelope"). What was signed is verified
by the agent's own code before it is handed out, so a document that no agent would take never leaves here.

Where a passphrase is given (`passphrase`), whatever is written is encrypted under it (`key_encryption`), and is decrypted
once for each content: a file is still read at each use. Files from before stay readable until `encrypt` wrote them anew.

A key may stay on a token instead (`token_key`): in the place of its `.pem` is a file `.uri` then, under the same rules.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Bug, Misconfigured
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_authority.documents import key_encryption, token_key
from opanel_authority.documents.token_key import TokenKey

PASSPHRASE_VARIABLE: Final = "OPANEL_AUTHORITY_PASSPHRASE_FILE"  # noqa: S105 - names a file
_CREDENTIAL: Final = "opanel-authority-passphrase"
_MAX_PEM_BYTES: Final = 4096
_MAX_SIGNED_BYTES: Final = 1024 * 1024  # a line of a release manifest


@unique
class Role(StrEnum):
    """What a key is for. All but the reseller's stand in the root, under these names."""

    ROOT = "root"
    ISSUER = "issuer"
    ACTIVATION = "activation"
    STATUS = "status"
    RECEIPT = "receipt"
    ADVISORY = "advisory"
    RELEASE = "release"
    RESELLER = "reseller"


SIGNS: Final[Mapping[Role, frozenset[Typ]]] = {
    Role.ROOT: frozenset({Typ.ROOT}),
    Role.ISSUER: frozenset({Typ.DELEGATION}),
    Role.ACTIVATION: frozenset({Typ.ACTIVATION}),
    Role.STATUS: frozenset({Typ.STATUS_LIST}),
    Role.RECEIPT: frozenset({Typ.RECEIPT}),
    Role.ADVISORY: frozenset({Typ.ADVISORY}),
    Role.RELEASE: frozenset({Typ.RELEASE}),
    # a reseller's key signs licenses, and delegations where his own has depth
    Role.RESELLER: frozenset({Typ.LICENSE, Typ.DELEGATION}),
}


class Signer(Protocol):
    """Whatever signs with one Ed25519 key: the key itself, or a token that keeps it."""

    def sign(self, data: bytes, /) -> bytes:
        """Returns the 64 bytes of a signature over the data (RFC 8032)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKey:
    """One Ed25519 key and its role. Its repr shows the thumbprint, never the key."""

    role: Role
    public: PublicKey
    secret: Signer

    def __repr__(self) -> str:
        return f"PrivateKey(role={self.role.value!r}, kid={self.public.kid!r})"

    @classmethod
    def of(cls, role: Role, secret: Ed25519PrivateKey) -> Self:
        """Gives an Ed25519 key (RFC 8032) its role."""
        raw = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(role=role, public=PublicKey.from_raw(raw), secret=secret)

    @classmethod
    def on_token(cls, role: Role, uri: str) -> Self:
        """Returns the key that a PKCS #11 URI means. Raises Misconfigured or Storage."""
        secret = TokenKey(uri=token_key.parse(uri))
        return cls(role=role, public=secret.public(), secret=secret)

    @classmethod
    def make(cls, role: Role) -> Self:
        """Generates a key from the operating system's random numbers; it is nowhere but in memory until it is saved."""
        return cls.of(role, Ed25519PrivateKey.generate())

    def sign(self, typ: Typ, claims: Mapping[str, Json]) -> str:
        """Returns a compact JWS (RFC 7515) whose envelope the agent's code has verified."""
        return self.sign_payload(typ, dumps(dict(claims)))

    def sign_payload(self, typ: Typ, payload: bytes) -> str:
        """Signs as `sign` does, for a root: several keys sign byte-identical payloads."""
        if typ not in SIGNS[self.role]:
            raise Bug(Reason.INTERNAL, "role_signs_not", role=self.role.value, typ=typ.value)
        signing_input = jws.signing_input(typ, self.public.kid, payload)
        token = jws.assemble(signing_input, self.secret.sign(signing_input))
        jws.parse(token, max_bytes=_MAX_SIGNED_BYTES).open({self.public.kid: self.public}, typ)
        return token.decode("ascii")

    def pem(self) -> bytes:
        """Returns PKCS #8, encrypted where there is a passphrase. Never of a key on a token, which has no bytes."""
        return self.pem_under(passphrase())

    def pem_under(self, secret: bytes | None) -> bytes:
        """Returns the same as `pem`, under this passphrase; None for none."""
        if not isinstance(self.secret, Ed25519PrivateKey):
            raise Bug(Reason.INTERNAL, "token_key_bytes", role=self.role.value)
        if secret is None:
            return self.secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key_encryption.encrypted(
            self.secret.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), secret
        )


_typed: ContextVar[bytes | None] = ContextVar("typed", default=None)


@contextmanager
def using(secret: bytes) -> Iterator[None]:
    """Has `passphrase` return what a person typed, while the context lasts."""
    token = _typed.set(secret)
    try:
        yield
    finally:
        _typed.reset(token)


def passphrase() -> bytes | None:
    """Returns the passphrase of the key files; None where none is given.

    It is what a person typed (`using`), else the content of the file that $OPANEL_AUTHORITY_PASSPHRASE_FILE names, else that
    of systemd's credential `opanel-authority-passphrase` (systemd.exec(5), LoadCredentialEncrypted=). A variable could be
    read by others.
    """
    typed = _typed.get()
    if typed is not None:
        return typed
    named = os.environ.get(PASSPHRASE_VARIABLE)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(named) if named else None if credentials is None else Path(credentials) / _CREDENTIAL
    if path is None or (not named and not path.exists()):
        return None
    return read_passphrase(path)


def read_passphrase(path: Path) -> bytes:
    """Returns the passphrase in a file, without the white space around it. Raises Misconfigured for none."""
    secret = path.read_bytes().strip()
    if not secret:
        raise Misconfigured(Fault.FILE_REFUSED, "passphrase_empty", path=str(path))
    return secret


def encrypt(path: Path, role: Role, new: bytes | None = None) -> bool:
    """Writes a key file anew under the passphrase, or under a `new` one; False where it is so already.

    A file that was in the clear, or encrypted as `key_encryption` does not, is written anew. Raises Misconfigured without a
    passphrase, and for a file that neither opens.
    """
    secret = passphrase() if new is None else new
    if secret is None:
        raise Misconfigured(Fault.FILE_REFUSED, "passphrase_missing", path=str(path))
    pem = _read_tight(path)
    if key_encryption.is_current(pem) and _opens(pem, secret):
        return False
    replace_private(path, load(path, role).pem_under(secret))
    return True


def is_encrypted(path: Path) -> bool:
    """Tells whether a key file is encrypted as this version does it. Raises OSError."""
    return key_encryption.is_current(path.read_bytes())


def make_directory(directory: Path) -> None:
    """Makes a directory for keys, 0700. One that exists already must be as tight, or is refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _hold_tight(directory, directory.lstat(), directory=True)


@contextmanager
def new_private(path: Path) -> Iterator[BinaryIO]:
    """Yields a new file of mode 0600, on the disk at the end; gone again if anything fails.

    None that exists is overwritten.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_private(path: Path, data: bytes) -> None:
    """Writes a new file of mode 0600 and syncs it. Raises OSError, FileExistsError where there is one already."""
    with new_private(path) as file:
        file.write(data)


def replace_private(path: Path, data: bytes) -> None:
    """Replaces as `write_private`, in the place of a file that may be there: whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    write_private(temporary, data)
    temporary.replace(path)


def save(key: PrivateKey, path: Path) -> Path:
    """Writes a new key file, or the URI of a key on a token beside where it would be; returns what was written."""
    make_directory(path.parent)
    place, data = _file_of(key, path)
    write_private(place, data)
    return place


def replace_key(key: PrivateKey, path: Path) -> None:
    """Replaces a key as `save`, in the place of the key that is there."""
    make_directory(path.parent)
    place, data = _file_of(key, path)
    replace_private(place, data)
    for other in {path, reference(path)} - {place}:
        other.unlink(missing_ok=True)


def _file_of(key: PrivateKey, path: Path) -> tuple[Path, bytes]:
    if isinstance(key.secret, TokenKey):
        return reference(path), f"{key.secret.uri.text}\n".encode()
    return path, key.pem()


def reference(path: Path) -> Path:
    """Tells where the URI of a key on a token lies that has no key file at `path`."""
    return path.with_suffix(".uri")


def exists(path: Path) -> bool:
    """Tells whether there is a key: its file, or the URI of one on a token."""
    return path.exists() or reference(path).exists()


def named(text: str, role: Role) -> PrivateKey:
    """Returns the key that a person names: a file, or a PKCS #11 URI. Raises as `load` does."""
    return PrivateKey.on_token(role, text) if text.startswith(token_key.SCHEME) else load(Path(text), role)


def of_role(directory: Path, role: Role) -> list[PrivateKey]:
    """Returns every key of a role that lies in a folder, as its file or as the URI of one on a token.

    Raises as `load` does.
    """
    found = (path for suffix in ("pem", "uri") for path in directory.glob(f"{role.value}*.{suffix}"))
    return [load(path, role) for path in sorted({path.with_suffix(".pem") for path in found})]


def load(path: Path, role: Role) -> PrivateKey:
    """Returns the key of a file, or on the token that the URI beside it means.

    Raises Misconfigured for a file or directory that others may read or write, and for what is no Ed25519 key.
    """
    if not path.exists() and reference(path).exists():
        return PrivateKey.on_token(role, _read_tight(reference(path)).decode("utf-8", "replace").strip())
    pem = _read_tight(path)
    encrypted = key_encryption.MARK.encode("ascii") in pem
    password = passphrase() if encrypted else None
    if encrypted and password is None:
        raise Misconfigured(Fault.FILE_REFUSED, "passphrase_missing", path=str(path))
    try:
        secret = _decrypted(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        detail = "passphrase_wrong" if encrypted else "key_unreadable"
        raise Misconfigured(Fault.FILE_REFUSED, detail, path=str(path)) from error
    if not isinstance(secret, Ed25519PrivateKey):
        raise Misconfigured(Fault.FILE_REFUSED, "key_unreadable", path=str(path))
    return PrivateKey.of(role, secret)


def _read_tight(path: Path) -> bytes:
    """Returns the content of a file that only its owner can read or replace."""
    _hold_tight(path.parent, path.parent.lstat(), directory=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:  # what O_NOFOLLOW says of a link
            raise Misconfigured(Fault.FILE_REFUSED, "key_file_type", path=str(path)) from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        _hold_tight(path, os.fstat(descriptor), directory=False)
        return file.read(_MAX_PEM_BYTES)


def _opens(pem: bytes, password: bytes) -> bool:
    try:
        _decrypted(pem, password)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _decrypted(pem: bytes, password: bytes | None) -> object:
    """Returns the key of a file's content; to derive the key of a passphrase takes far longer than a signature."""
    return load_pem_private_key(pem, password=password)


def _hold_tight(path: Path, found: os.stat_result, *, directory: bool) -> None:
    right_type = stat.S_ISDIR(found.st_mode) if directory else stat.S_ISREG(found.st_mode)
    if not right_type:
        raise Misconfigured(Fault.FILE_REFUSED, "key_file_type", path=str(path))
    if found.st_uid != os.geteuid():
        raise Misconfigured(Fault.FILE_REFUSED, "key_owner", path=str(path))
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise Misconfigured(Fault.FILE_REFUSED, "key_readable", path=str(path))
