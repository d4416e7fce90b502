"""Keys that never leave a token: PKCS #11 through python-pkcs11, found by their URI (RFC 7512).

    pkcs11:token=root-1;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/run/keys/pin

The attributes before the question mark say which token and which key; together they must mean one. `module-path` names the
maker's library; $OPANEL_AUTHORITY_PKCS11_MODULE does where it is not given. The PIN is the content of the file that
`pin-source` names, else of $OPANEL_AUTHORITY_PIN_FILE, else of systemd's credential `opanel-authority-pin`. A `pin-value` is
refused: a URI stands in files and process lists.

A token signs Ed25519 by CKM_EDDSA without parameters (PKCS #11 3.0, section 2.3.14). The public half is read from it, and
whatever it signs is verified before it is handed out (`keys`), as with every other key.

One session for each token is kept while the process lives, because a login costs more than a signature (6 ms to 0.5 ms with
SoftHSM 2.6, 2026-11-29), and one thread at a time uses it. Where it fails, it is closed, and another is asked once more.

Left out: making keys on a token, for which every maker has a tool.
"""

import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import unquote_to_bytes

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured, Storage
from opanel_agent.core.jose.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from pkcs11 import Session, Token

SCHEME: Final = "pkcs11:"
MODULE_VARIABLE: Final = "OPANEL_AUTHORITY_PKCS11_MODULE"
PIN_VARIABLE: Final = "OPANEL_AUTHORITY_PIN_FILE"
PIN_CREDENTIAL: Final = "opanel-authority-pin"
_TOKEN_ATTRIBUTES: Final = frozenset({"token", "serial", "model", "manufacturer", "slot-id"})
_KEY_ATTRIBUTES: Final = frozenset({"object", "id"})
_PIECE: Final = re.compile(r"([a-z-]+)=([A-Za-z0-9._~:\[\]@!'()*+,=&/?%-]*)")
_POINT: Final = re.compile(rb"(?:\x04\x20|\x03\x21\x00)?(.{32})", re.DOTALL)  # as makers encode CKA_EC_POINT


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUri:
    """`text` as it was given; `token` and `key` say which, by attribute; `pin_file` is where its PIN lies."""

    text: str
    token: Mapping[str, bytes]
    key: Mapping[str, bytes]
    module: Path
    pin_file: Path | None


def parse(text: str) -> KeyUri:
    """Reads a URI. Raises Misconfigured for what is none, and for an attribute that is not known here."""
    path, _, query = text.strip().removeprefix(SCHEME).partition("?")
    attributes, options = _pieces(path, ";", text), _pieces(query, "&", text)
    kind = attributes.pop("type", b"private")
    unknown = {*attributes} - _TOKEN_ATTRIBUTES - _KEY_ATTRIBUTES | {*options} - {"module-path", "pin-source"}
    if not text.startswith(SCHEME) or kind != b"private" or unknown:
        raise _refused(text, f"unknown: {', '.join(sorted(unknown)) or 'type or scheme'}")
    if not attributes.keys() & _TOKEN_ATTRIBUTES or not attributes.keys() & _KEY_ATTRIBUTES:
        raise _refused(text, "it names no token, or no key")
    module = os.fsdecode(options.get("module-path", b"")) or os.environ.get(MODULE_VARIABLE, "")
    if not module.startswith("/"):
        raise _refused(text, f"module-path or ${MODULE_VARIABLE} names no library")
    return KeyUri(
        text=text.strip(),
        token={name: value for name, value in attributes.items() if name in _TOKEN_ATTRIBUTES},
        key={name: value for name, value in attributes.items() if name in _KEY_ATTRIBUTES},
        module=Path(module),
        pin_file=_pin_file(options.get("pin-source"), text),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKey:
    """A private key on a token."""

    uri: KeyUri

    def sign(self, data: bytes) -> bytes:
        """Returns the Ed25519 signature. Raises Misconfigured for a token, key or PIN that is not there, else Storage."""
        pkcs11 = _library()

        def signature(session: "Session") -> bytes:
            key = _found(session, self.uri, pkcs11.ObjectClass.PRIVATE_KEY)
            return bytes(key.sign(data, mechanism=pkcs11.Mechanism.EDDSA))

        return _on_token(self.uri, signature)

    def public(self) -> PublicKey:
        """Returns the public half, as the token has it. Raises as `sign` does."""
        pkcs11 = _library()

        def point(session: "Session") -> bytes:
            key = _found(session, self.uri, pkcs11.ObjectClass.PUBLIC_KEY)
            return bytes(key[pkcs11.Attribute.EC_POINT])

        found = _POINT.fullmatch(_on_token(self.uri, point))
        if found is None:
            raise Misconfigured(Fault.FILE_REFUSED, "token_key_type", uri=self.uri.text)
        return PublicKey.from_raw(found[1])


class _TokenObject(Protocol):
    """What is used of an object on a token: a private key signs, a public key has attributes."""

    def sign(self, data: bytes, *, mechanism: object) -> bytes: ...

    def __getitem__(self, attribute: object) -> bytes: ...


def _library() -> "ModuleType":
    """Returns python-pkcs11, an extra of this distribution. Raises Misconfigured where it is not installed."""
    try:
        import pkcs11
    except ImportError as error:
        raise Misconfigured(Fault.FILE_REFUSED, "pkcs11_missing") from error
    return pkcs11


_LOCK: Final = threading.Lock()
_Place = tuple[Path, tuple[tuple[str, bytes], ...]]
_sessions: Final[dict[_Place, "Session"]] = {}


def _on_token(uri: KeyUri, act: "Callable[[Session], bytes]") -> bytes:
    """Returns what `act` does with the token's session, one thread at a time. Raises Misconfigured or Storage."""
    errors = _library().exceptions
    place = (uri.module, tuple(sorted(uri.token.items())))
    with _LOCK:
        if place in _sessions:
            try:
                return act(_sessions[place])
            except errors.PKCS11Error:  # it may have ended: the token was unplugged, or somebody logged out
                _close(place)
        try:
            _sessions[place] = _opened(uri)
            return act(_sessions[place])
        except errors.PKCS11Error as error:
            _close(place)
            raise _translated(uri, error) from error


def close_sessions() -> None:
    """Ends every session that this process keeps; the next signature logs in again."""
    with _LOCK:
        for place in [*_sessions]:
            _close(place)


def _close(place: _Place) -> None:
    session = _sessions.pop(place, None)
    with suppress(_library().exceptions.PKCS11Error):
        if session is not None:
            session.close()


def _opened(uri: KeyUri) -> "Session":
    """Opens a session in which the user is logged in."""
    pkcs11 = _library()
    found = [token for token in pkcs11.lib(str(uri.module)).get_tokens() if _matches(token, uri)]
    if len(found) != 1:
        raise Misconfigured(Fault.FILE_REFUSED, "token_missing", uri=uri.text, found=len(found))
    try:
        session: Session = found[0].open(user_pin=_pin(uri))
    except (
        pkcs11.exceptions.UserAlreadyLoggedIn
    ):  # by the session of another URI: a login is the token's, not the session's
        session = found[0].open()
    return session


def _matches(token: "Token", uri: KeyUri) -> bool:
    has = {
        "token": token.label.encode(),
        "serial": token.serial,
        "model": token.model.encode(),
        "manufacturer": token.manufacturer_id.encode(),
        "slot-id": str(token.slot.slot_id).encode(),
    }
    return all(has[name].rstrip() == wanted for name, wanted in uri.token.items())


def _found(session: "Session", uri: KeyUri, kind: object) -> _TokenObject:
    """Returns the one object of a class that the URI means. Raises Misconfigured where there is none, or more."""
    attribute = _library().Attribute
    wanted: dict[Any, object] = {attribute.CLASS: kind}
    if "object" in uri.key:
        wanted[attribute.LABEL] = uri.key["object"].decode("utf-8", "replace")
    if "id" in uri.key:
        wanted[attribute.ID] = uri.key["id"]
    found = [*session.get_objects(wanted)]  # to the end: a search that is left open keeps the session busy
    if len(found) != 1:
        raise Misconfigured(Fault.FILE_REFUSED, "token_key_missing", uri=uri.text)
    return cast("_TokenObject", found[0])


def _translated(uri: KeyUri, error: Exception) -> AgentError:
    errors = _library().exceptions
    if isinstance(error, errors.PinIncorrect | errors.PinInvalid | errors.PinLenRange | errors.PinLocked):
        return Misconfigured(Fault.FILE_REFUSED, "pin_wrong", uri=uri.text)
    if isinstance(error, errors.MechanismInvalid | errors.KeyTypeInconsistent | errors.AttributeTypeInvalid):
        return Misconfigured(Fault.FILE_REFUSED, "token_key_type", uri=uri.text)
    return Storage(Fault.IO_FAILED, "token_failed", uri=uri.text, why=f"{type(error).__name__} {error}".strip())


def _pin(uri: KeyUri) -> str:
    named, credentials = os.environ.get(PIN_VARIABLE), os.environ.get("CREDENTIALS_DIRECTORY")
    places = [uri.pin_file, None if not named else Path(named)]
    places.append(None if credentials is None else Path(credentials) / PIN_CREDENTIAL)
    path = next((each for each in places if each is not None), None)
    if path is None or not path.exists():
        raise Misconfigured(Fault.FILE_REFUSED, "pin_missing", uri=uri.text)
    return path.read_text("utf-8").strip()


def _pieces(text: str, separator: str, uri: str) -> dict[str, bytes]:
    """Returns the attributes by name, decoded. Raises Misconfigured for one that is none, or that is there twice."""
    pieces: dict[str, bytes] = {}
    for piece in text.split(separator) if text else []:
        found = _PIECE.fullmatch(piece)
        if found is None or found[1] in pieces:
            raise _refused(uri, "an attribute is malformed, or there twice")
        pieces[found[1]] = unquote_to_bytes(found[2])
    return pieces


def _pin_file(source: bytes | None, uri: str) -> Path | None:
    if source is None:
        return None
    path = os.fsdecode(source).removeprefix("file:").removeprefix("//")
    if not path.startswith("/"):
        raise _refused(uri, "pin-source is no file")
    return Path(path)


def _refused(uri: str, why: str) -> Misconfigured:
    return Misconfigured(Fault.FILE_REFUSED, "key_uri", uri=uri.partition("?")[0][:256], why=why)
