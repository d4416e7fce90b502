"""A license bundle: delegations, a license, perhaps an activation, one compact JWS a line. Taken whole or not at all.

The whole chain is verified from bytes, at every load; nothing remembers "verified". What is decided here never changes
with time. The one exception is asked for by `now`: an expired root accepts nothing *new*, and never unmakes what it
accepted before.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from opanel_agent.core.documents import activation, delegation, license  # noqa: A004  the document's own name
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.jws import Envelope, Typ, parse
from opanel_agent.core.documents.keys import PublicKey
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.parts import StatusRef
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.reasons import Reason

MAX_BYTES: Final = 64 * 1024
MAX_LINES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle. `delegations` from the vendor's down; `newest_iat` is the newest of all its documents."""

    delegations: tuple[Delegation, ...]
    license: License
    activation: Activation | None
    text: bytes
    newest_iat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """Who may sign the next line: an issuer's name, his keys, and the delegation they come from."""

    iss: str
    keys: Mapping[str, PublicKey]
    delegation: Delegation | None


def verify(text: bytes, root: Root, *, now: int | None) -> Bundle:
    """The bundle, iff every document in it holds under `root`. `now`, in seconds, for a bundle that is not yet ours."""
    if now is not None and root.exp <= now:
        raise Untrusted(Reason.CHAIN_INVALID, "root_expired")
    envelopes = _envelopes(text)
    count = _count_delegations(envelopes)
    chain = _chain(envelopes[:count], root)
    with _at_line(count + 1):
        license_ = _license(envelopes[count], chain, root)
    activation_ = None
    if len(envelopes) == count + 2:
        with _at_line(count + 2):
            activation_ = _activation(envelopes[-1], license_, root)
    issued_at = [license_.iat, *(link.iat for link in chain)]
    if activation_ is not None:
        issued_at.append(activation_.iat)
    return Bundle(
        delegations=chain,
        license=license_,
        activation=activation_,
        text=text,
        newest_iat=max(issued_at),
    )


@contextmanager
def _at_line(number: int) -> Iterator[None]:
    try:
        yield
    except Untrusted as error:
        raise error.but(line=number) from error


def _envelopes(text: bytes) -> Sequence[Envelope]:
    if len(text) > MAX_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_size", max_bytes=MAX_BYTES)
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) > MAX_LINES:
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_lines", max_lines=MAX_LINES)
    envelopes = []
    for number, line in enumerate(lines, start=1):
        with _at_line(number):
            envelopes.append(parse(line, max_bytes=MAX_BYTES))
    return envelopes


def _count_delegations(envelopes: Sequence[Envelope]) -> int:
    """Delegations, one license, at most one activation, in this order; `open` holds each line to it again."""
    typs = [envelope.typ for envelope in envelopes]
    count = typs.count(Typ.DELEGATION)
    head = [Typ.DELEGATION] * count + [Typ.LICENSE]
    if count == 0 or typs not in (head, [*head, Typ.ACTIVATION]):
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_order")
    return count


def _chain(envelopes: Sequence[Envelope], root: Root) -> tuple[Delegation, ...]:
    link = _Link(iss=root.sub, keys=root.keys_of("issuer"), delegation=None)
    held = {key.raw for keys in root.keys.values() for key in keys}
    chain: list[Delegation] = []
    for number, envelope in enumerate(envelopes, start=1):
        with _at_line(number):
            child = _delegation(envelope, link, root)
            # A key signs only the documents of its role, so it can have only one.
            if child.key.raw in held:
                raise Untrusted(Reason.CHAIN_INVALID, "key_duplicate", where="delegation.cnf.jwk")
        held.add(child.key.raw)
        chain.append(child)
        link = _link(child)
    return tuple(chain)


def _link(parent: Delegation) -> _Link:
    return _Link(iss=parent.sub, keys={parent.key.kid: parent.key}, delegation=parent)


def _delegation(envelope: Envelope, link: _Link, root: Root) -> Delegation:
    child = delegation.read(envelope, link.keys)
    _check_issuer(child.iss, link.iss, "delegation")
    _check_status(child.status, root, "delegation")
    if link.delegation is not None:
        may = link.delegation.may
        wider = delegation.within(child.may, may)
        # Its entry too: a delegate must not be given one that somebody else switches.
        if wider is None and child.status.idx not in may.status_range:
            wider = "status"
        if wider is not None:
            raise Untrusted(Reason.CHAIN_INVALID, "delegation_wider", name=wider)
    return child


def _license(envelope: Envelope, chain: Sequence[Delegation], root: Root) -> License:
    link = _link(chain[-1])
    license_ = license.read(envelope, link.keys)
    _check_issuer(license_.iss, link.iss, "license")
    _check_status(license_.status, root, "license")
    outside = license.outside(license_, chain[-1])
    if outside is not None:
        raise Untrusted(Reason.CHAIN_INVALID, "license_wider", name=outside)
    # Every delegation's term: links need not nest in time, and the shortest one counts.
    if any(license_.nbf < parent.nbf for parent in chain):
        raise Untrusted(Reason.CHAIN_INVALID, "license_wider", name="nbf")
    if any(license_.exp > parent.exp for parent in chain):
        raise Untrusted(Reason.CHAIN_INVALID, "license_wider", name="exp")
    return license_


def _activation(envelope: Envelope, license_: License, root: Root) -> Activation:
    found = activation.read(envelope, root.keys_of("activation"))
    _check_issuer(found.iss, root.sub, "activation")
    _check_status(found.status, root, "activation")
    if found.sub != license_.sub:
        raise Untrusted(Reason.CHAIN_INVALID, "activation_sub")
    if found.exp < license_.exp:
        raise Untrusted(Reason.CHAIN_INVALID, "activation_ends_early")
    return found


def _check_issuer(iss: str, expected: str, where: str) -> None:
    if iss != expected:
        raise Untrusted(Reason.CHAIN_INVALID, "issuer", where=where)


def _check_status(status: StatusRef, root: Root, where: str) -> None:
    if status.uri != root.status_uri:
        raise Untrusted(Reason.CHAIN_INVALID, "status_uri", where=where)
