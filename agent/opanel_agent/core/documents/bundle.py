"""Verifies a license bundle: delegations, a license and perhaps an activation, one compact JWS a line.

Theory of operation. A bundle is taken whole or not at all, and the whole chain
is verified from bytes at every load: nothing stores "verified", so nothing on
the disk can claim it. Each line is opened with the keys that the line before it
names: the root's issuer keys sign the first delegation, a delegation's key the
next one or the license, the root's activation keys the activation. Each
delegation may only narrow the one above it
(`core.documents.delegation.within`).

What is decided here never changes with time, because a bundle that was good
must not turn bad by itself. The one exception is asked for by `now`: an expired
root accepts nothing *new*, and never unmakes what it accepted before (TUF
5.3.10 says when a root's expiry counts).

Left out: expiry of the documents (`core.license.verdict`), what the status list
says of them, and whether the machine matches (`core.license.binding`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, ParamSpec, TypeVar

from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import activation, delegation, license  # noqa: A004  the document's own name
from opanel_agent.core.documents.activation import Activation
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.status_list import SHARD_ENTRIES, shard_of
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ, parse
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.values import frozen

MAX_BYTES: Final = 64 * 1024
MAX_LINES: Final = 8

_P = ParamSpec("_P")
_T = TypeVar("_T")


@frozen
class Bundle:
    """Holds a verified bundle.

    - `delegations`: from the vendor's own down to the reseller's who signed the
      license, at least one.
    - `license`, `activation`: the latter None where the bundle has none.
    - `text`: the bytes that were verified.
    - `newest_iat`: the newest issue time of its documents, in seconds, which
      bounds how fresh a status can claim to be.

    Delegations below the vendor's are left out of `newest_iat`: a reseller
    could post-date `iat` and keep a missing status list "fresh" for as long as
    he likes, whereas a license with a date in the future is not valid yet.
    """

    delegations: tuple[Delegation, ...]
    license: License
    activation: Activation | None
    text: bytes
    newest_iat: int

    @property
    def entries(self) -> tuple[StatusRef, ...]:
        """The status entries of its documents: the license's first, the delegations', last the activation's."""
        own = () if self.activation is None else (self.activation.status,)
        return (self.license.status, *(link.status for link in self.delegations), *own)


@frozen
class _Link:
    """Who may sign the next line: an issuer's name and keys, and the delegations that they come through.

    `held` are all keys that have a role already.
    """

    iss: str
    keys: Mapping[str, PublicKey]
    chain: tuple[Delegation, ...]
    held: frozenset[bytes]


def verify(text: bytes, root: Root, *, now: int | None) -> Bundle:
    """Returns the bundle if every document in it holds under `root`.

    `now` is effective time in seconds for a bundle that is not installed yet,
    None for one that is: only then is the root's expiry asked. Raises Untrusted
    with `line` where one line is at fault; at most MAX_LINES lines and
    MAX_BYTES.
    """
    if now is not None and root.exp <= now:
        raise Untrusted(Reason.CHAIN_INVALID, "root_expired")
    envelopes = _envelopes(text)
    count = _count_delegations(envelopes)
    link = _first_link(root)
    for number, envelope in enumerate(envelopes[:count], start=1):
        link = _at_line(number, _next_link, envelope, link, root)
    license_ = _at_line(count + 1, _license, envelopes[count], link, root)
    activation_ = None
    if len(envelopes) == count + 2:
        activation_ = _at_line(count + 2, _activation, envelopes[-1], license_, root)
    issued_at = [license_.iat, link.chain[0].iat]
    if activation_ is not None:
        issued_at.append(activation_.iat)
    return Bundle(
        delegations=link.chain, license=license_, activation=activation_, text=text, newest_iat=max(issued_at)
    )


def shards(bundle: Bundle | None, root: Root) -> tuple[int, ...]:
    """Returns the shards of the status list that a server needs: the first, and those of its documents."""
    named = () if bundle is None else (shard_of(entry.uri, root.status_uri) for entry in bundle.entries)
    return tuple(sorted({0, *(shard for shard in named if shard is not None)}))


def _at_line(number: int, read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Returns what `read` returns; its refusal is raised again with the number of the line."""
    try:
        return read(*args, **kwargs)
    except Untrusted as error:
        raise error.but(line=number) from error


def _envelopes(text: bytes) -> Sequence[Envelope]:
    """Returns every line, parsed and not yet verified."""
    if len(text) > MAX_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_size", max_bytes=MAX_BYTES)
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) > MAX_LINES:
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_lines", max_lines=MAX_LINES)
    return [_at_line(number, parse, line, max_bytes=MAX_BYTES) for number, line in enumerate(lines, start=1)]


def _count_delegations(envelopes: Sequence[Envelope]) -> int:
    """Tells how many lines are delegations, which are followed by one license and at most one activation.

    The types come from unverified headers and only choose who must have signed;
    `Envelope.open` holds each line to its type again.
    """
    typs = [envelope.typ for envelope in envelopes]
    count = typs.count(Typ.DELEGATION)
    head = [Typ.DELEGATION] * count + [Typ.LICENSE]
    if count == 0 and typs[0] == Typ.LICENSE:
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_delegation_missing", line=1)
    if count == 0 or typs not in (head, [*head, Typ.ACTIVATION]):
        raise Untrusted(Reason.FORMAT_INVALID, "bundle_order")
    return count


def _first_link(root: Root) -> _Link:
    """Returns what the root says of the first line: its issuer keys sign it."""
    # A reseller's key must not be one of the vendor's, whatever its role: each
    # key signs one kind of document.
    held = frozenset(key.raw for keys in root.keys.values() for key in keys)
    return _Link(iss=root.sub, keys=root.keys_of("issuer"), chain=(), held=held)


def _next_link(envelope: Envelope, link: _Link, root: Root) -> _Link:
    """Returns what a delegation says of the line after it.

    Raises Untrusted unless it is within the one before it.
    """
    child = delegation.read(envelope, link.keys)
    _check_issuer(child.iss, link.iss, "delegation")
    entry = _entry(child.status, root, "delegation")
    if link.chain:
        _check_within(child, link.chain[-1], entry)
    # A key signs only the documents of its role, so it can have only one.
    if child.key.raw in link.held:
        raise Untrusted(Reason.CHAIN_INVALID, "key_duplicate", where="delegation.cnf.jwk")
    return _Link(
        iss=child.sub,
        keys={child.key.kid: child.key},
        chain=(*link.chain, child),
        held=link.held | {child.key.raw},
    )


def _check_within(child: Delegation, parent: Delegation, entry: int) -> None:
    """Raises Untrusted (`delegation_wider`) naming the first member in which a delegation is wider than its parent."""
    wider = delegation.within(child.may, parent.may)
    # Its entry too: a delegate must not be given one that somebody else
    # switches.
    if wider is None and entry not in parent.may.status_range:
        wider = "status"
    if wider is not None:
        raise Untrusted(Reason.CHAIN_INVALID, "delegation_wider", name=wider)


def _license(envelope: Envelope, link: _Link, root: Root) -> License:
    """Returns the license, within the last delegation and within the term of each."""
    license_ = license.read(envelope, link.keys)
    _check_issuer(license_.iss, link.iss, "license")
    entry = _entry(license_.status, root, "license")
    outside = license.outside(license_, link.chain[-1], entry=entry)
    # The term of every delegation: links need not nest in time, and the
    # shortest one counts.
    if outside is None and any(license_.nbf < parent.nbf for parent in link.chain):
        outside = "nbf"
    if outside is None and any(license_.exp > parent.exp for parent in link.chain):
        outside = "exp"
    if outside is not None:
        raise Untrusted(Reason.CHAIN_INVALID, "license_wider", name=outside)
    return license_


def _activation(envelope: Envelope, license_: License, root: Root) -> Activation:
    """Returns the activation.

    It must be for this license and outlive it, so that a valid license never lacks one by date.
    """
    found = activation.read(envelope, root.keys_of("activation"))
    _check_issuer(found.iss, root.sub, "activation")
    _entry(found.status, root, "activation")
    if found.sub != license_.sub:
        raise Untrusted(Reason.CHAIN_INVALID, "activation_sub")
    if found.exp < license_.exp:
        raise Untrusted(Reason.CHAIN_INVALID, "activation_ends_early")
    return found


def _check_issuer(iss: str, expected: str, where: str) -> None:
    """Raises Untrusted unless a document names the one as its issuer whose key signed it."""
    if iss != expected:
        raise Untrusted(Reason.CHAIN_INVALID, "issuer", where=where)


def _entry(status: StatusRef, root: Root, where: str) -> int:
    """Returns the number of a status entry through all shards.

    Raises Untrusted for one in another list than the root's, which nobody would
    fetch, and for an index beyond a shard, which has the number of another
    shard's entry and which no list would ever say anything of.
    """
    shard = shard_of(status.uri, root.status_uri)
    if shard is None:
        raise Untrusted(Reason.CHAIN_INVALID, "status_uri", where=where)
    if status.idx >= SHARD_ENTRIES:
        raise Untrusted(Reason.CHAIN_INVALID, "status_idx", where=where)
    return shard * SHARD_ENTRIES + status.idx
