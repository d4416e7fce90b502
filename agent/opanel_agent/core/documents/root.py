"""Verifies the root of trust: who may sign which kind of document, and where mirrors and endpoints are.

Theory of operation. The root is updated as TUF does it (specification 5.3). A
root is several lines with byte-identical payload segments, one signature each.
The first ships with the package (TUF 5.2) and is only asked whether it agrees
with itself. After it, from `seq` N only N+1 is accepted, signed by the
threshold of N's root keys *and* of N+1's (5.3.4), one step at a time (5.3.5),
so that a key can be replaced by keys that were trusted before.

Thresholds count distinct raw keys. A key id is only a name, and counting names
is how one key could vote twice (the flaw behind CVE-2020-6174 in TUF's own
implementation).

Left out: expiry (5.3.10 belongs to whoever accepts something new under a root),
storing roots, and replacing a root whose keys are lost or stolen beyond its
threshold: for that a release ships another first root.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.claims import URI
from opanel_agent.core.documents.controller import (
    MAX_IP_RETENTION_DAYS,
    REGION,
    Controller,
    Mechanism,
    read_controller,
    read_transfers,
)
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ, parse
from opanel_agent.core.jose.keys import PublicKey, by_kid
from opanel_agent.core.values import frozen

MAX_BYTES: Final = 64 * 1024
MAX_STEPS: Final = 64  # new roots in one run; python-tuf bounds them, too: max_root_rotations
ROLES: Final = ("root", "issuer", "activation", "status", "receipt", "advisory")
RELEASE: Final = "release"
"""The role that signs release manifests. Unlike the others it has a threshold of its own; a root need not have it."""
_MAX_LINES: Final = 32
_MAX_KEYS: Final = 16
_MAX_DESTINATIONS: Final = 16
_MIN_THRESHOLD: Final = 2
_BASE_URL: Final = r"https?://[!-~]{1,247}"


@frozen
class Destination:
    """Holds a base URL and the region that its server stands in."""

    url: str
    region: str


@frozen
class Root:
    """Holds one accepted root. Times in seconds since 1970.

    - `iss`, `sub`: the vendor's URI, twice: nobody stands above a root.
    - `iat`, `exp`: when it was issued, and after when nothing new is accepted
      under it.
    - `seq`: its number; `threshold`: how many of its root keys must sign, at
      least 2.
    - `keys`: by role; `release_threshold`: how many of the role `release` must
      sign, 0 where the root does not have it. `status_uri`: the name of the
      status list.
    - `endpoints`: by purpose, what the courier posts to; `mirrors`: what serves
      the fixed GETs.
    - `controller`, `transfers` (by region), `ip_retention_days`: what the
      privacy notice says of the vendor and of mirrors; a root need not say.
    - `digest`: SHA-256 of its payload in hex; `lines`: its bytes as received,
      from which it is verified again at every load.
    """

    iss: str
    sub: str
    iat: int
    exp: int
    seq: int
    threshold: int
    keys: Mapping[str, tuple[PublicKey, ...]]
    release_threshold: int
    status_uri: str
    endpoints: Mapping[str, tuple[Destination, ...]]
    mirrors: tuple[Destination, ...]
    controller: Controller | None
    transfers: Mapping[str, Mechanism]
    ip_retention_days: int | None
    digest: str
    lines: bytes

    @property
    def kids(self) -> frozenset[str]:
        """Returns the thumbprints of all keys of all roles."""
        return frozenset(key.kid for keys in self.keys.values() for key in keys)

    def keys_of(self, role: str) -> Mapping[str, PublicKey]:
        """Returns the keys of a role by thumbprint; none for a role that the root does not name."""
        return by_kid(self.keys.get(role, ()))


@lru_cache(maxsize=2)  # a pass asks several times for the root of the same bytes
def first(text: bytes) -> Root:
    """Returns the root that trust starts from.

    Its origin, the package, is the trust; that its own keys meet its own
    threshold only shows that it is whole. Raises Untrusted.
    """
    envelopes = _envelopes(text)
    root = _read(envelopes[0], text)
    if not threshold_met(envelopes, root.keys["root"], root.threshold):
        raise Untrusted(Reason.SIGNATURE_INVALID, "root_threshold_self", threshold=root.threshold)
    return root


def next_after(trusted: Root, text: bytes) -> Root:
    """Returns the successor of a trusted root (TUF 5.3.4 and 5.3.5).

    Raises Untrusted: `root_threshold_old`, `root_threshold_new`, `root_seq` for
    any number but the next.
    """
    envelopes = _envelopes(text)
    # The old keys first: nothing of the new root is read before they vouch for
    # it.
    if not threshold_met(envelopes, trusted.keys["root"], trusted.threshold):
        raise Untrusted(Reason.SIGNATURE_INVALID, "root_threshold_old", threshold=trusted.threshold)
    root = _read(envelopes[0], text)
    if not threshold_met(envelopes, root.keys["root"], root.threshold):
        raise Untrusted(Reason.SIGNATURE_INVALID, "root_threshold_new", threshold=root.threshold)
    if root.seq != trusted.seq + 1:
        raise Untrusted(Reason.CHAIN_INVALID, "root_seq", expected=trusted.seq + 1)
    return root


def threshold_met(envelopes: Iterable[Envelope], keys: Iterable[PublicKey], threshold: int) -> bool:
    """Tells whether `threshold` distinct keys or more signed.

    A signature of an unknown key, or one that does not hold, is not counted and
    is no fault: a root may carry signatures for an older root's keys. The
    envelopes must share one payload, which `first` and `next_after` see to.
    """
    by_id = {key.kid: key for key in keys}
    signers: set[bytes] = set()
    for envelope in envelopes:
        key = by_id.get(envelope.kid)
        if key is not None and key.raw not in signers and envelope.signed_by(key):
            signers.add(key.raw)
    return len(signers) >= threshold


def split(text: bytes) -> tuple[bytes, ...]:
    """Returns the roots of a `roots.jws`, each as its own lines, in the order of the file.

    Neighbouring lines with the same payload segment are one root. Raises
    Untrusted where a line is no compact JWS.
    """
    roots: list[bytes] = []
    before: bytes | None = None
    for line in text.removesuffix(b"\n").split(b"\n"):
        segments = line.split(b".")
        if len(segments) != 3:
            raise Untrusted(Reason.FORMAT_INVALID, "jws_shape", where="root")
        if segments[1] == before:
            roots[-1] += line + b"\n"
        else:
            roots.append(line + b"\n")
        before = segments[1]
    return tuple(roots)


def steps(trusted: Root, text: bytes, *, at_most: int | None = None) -> tuple[Root, ...]:
    """Returns the roots after `trusted` that a `roots.jws` holds, each verified by the one before it.

    `at_most` ends the walk after so many; what the file holds beyond is not
    looked at. A run that accepts new roots takes MAX_STEPS of them, and the
    next run goes on (TUF specification section 5.3). Roots that were accepted
    before are walked without a limit.

    The file may begin before `trusted`: `seq` is read before its signature only
    to pass over what is older, and whoever lies about it hides his own root.
    Raises Untrusted, also for two different roots of one number (`root_fork`).
    """
    walked = {trusted.seq: trusted.digest}
    taken: list[Root] = []
    newest = trusted
    for each in split(text):
        envelope = _envelopes(each)[0]
        seq = envelope.unverified(Typ.ROOT).integer("seq")
        if seq < trusted.seq:
            continue
        if seq in walked:
            if walked[seq] != _digest(envelope):
                raise Untrusted(Reason.CHAIN_INVALID, "root_fork", seq=seq)
            continue
        if len(taken) == at_most:
            break
        newest = next_after(newest, each)
        walked[newest.seq] = newest.digest
        taken.append(newest)
    return tuple(taken)


def walk(trusted: Root, text: bytes) -> Root:
    """Returns the newest root that `steps` reaches, `trusted` itself where there is none."""
    return (trusted, *steps(trusted, text))[-1]


def _envelopes(text: bytes) -> Sequence[Envelope]:
    """Returns the lines of one root.

    Raises Untrusted unless all have the same payload: a signature counts for
    what it is over.
    """
    if len(text) > MAX_BYTES:
        raise Untrusted(Reason.FORMAT_INVALID, "jws_size", max_bytes=MAX_BYTES)
    lines = text.removesuffix(b"\n").split(b"\n")
    if len(lines) > _MAX_LINES:
        raise Untrusted(Reason.FORMAT_INVALID, "root_lines", max_lines=_MAX_LINES)
    envelopes = [parse(line, max_bytes=MAX_BYTES) for line in lines]
    if any(envelope.typ != Typ.ROOT for envelope in envelopes):
        raise Untrusted(Reason.FORMAT_INVALID, "jws_typ", where="root")
    if any(envelope.payload != envelopes[0].payload for envelope in envelopes):
        raise Untrusted(Reason.FORMAT_INVALID, "root_payloads")
    return envelopes


def _digest(envelope: Envelope) -> str:
    """Returns the SHA-256 of the payload, which all lines share, in hex."""
    return hashlib.sha256(envelope.payload).hexdigest()


def _read(envelope: Envelope, text: bytes) -> Root:
    """Returns the claims of a root whose signatures the caller has counted or counts next."""
    claims = envelope.unverified(Typ.ROOT)
    iat, exp = claims.integer("iat"), claims.integer("exp")
    sub = claims.text("sub", pattern=URI)
    claims.constant("iss", sub)  # nobody stands above a root
    keys, release_threshold = _keys(claims.members("keys"))
    root = Root(
        iss=sub,
        sub=sub,
        iat=iat,
        exp=exp,
        seq=claims.integer("seq", low=1),
        threshold=claims.integer("threshold", low=_MIN_THRESHOLD, high=len(keys["root"])),
        keys=keys,
        release_threshold=release_threshold,
        status_uri=claims.text("status_uri", pattern=URI),
        endpoints=_endpoints(claims.members("endpoints")),
        mirrors=_destinations(claims, "mirrors"),
        controller=read_controller(claims),
        transfers=read_transfers(claims),
        ip_retention_days=_ip_retention_days(claims),
        digest=_digest(envelope),
        lines=text.removesuffix(b"\n") + b"\n",
    )
    claims.end()
    if iat >= exp:
        raise claims.refuse("exp")
    return root


def _ip_retention_days(claims: Members) -> int | None:
    if not claims.has("ip_retention_days"):
        return None
    return claims.integer("ip_retention_days", high=MAX_IP_RETENTION_DAYS)


def _keys(members: Members) -> tuple[Mapping[str, tuple[PublicKey, ...]], int]:
    """Returns the keys by role, and the threshold of the role `release`, 0 without it.

    There is no `end` here: a role that this version does not know is ignored,
    and so are its keys.
    """
    keys = {role: _key_array(members, role) for role in ROLES if members.has(role)}
    release_threshold = 0
    if members.has(RELEASE):
        role = members.members(RELEASE)
        keys[RELEASE] = _key_array(role, "keys")
        release_threshold = role.integer("threshold", low=1, high=len(keys[RELEASE]))
        role.end()
    if "root" not in keys:
        raise Untrusted(Reason.FORMAT_INVALID, "member_missing", where=members.where, name="root")
    every = [key.raw for of_role in keys.values() for key in of_role]
    # Across roles too: a key signs only the documents of its role, so it can
    # have only one.
    if len(set(every)) != len(every):
        raise Untrusted(Reason.CHAIN_INVALID, "key_duplicate", where=members.where)
    return keys, release_threshold


def _key_array(members: Members, name: str) -> tuple[PublicKey, ...]:
    return tuple(map(PublicKey.from_jwk, members.each(name, _MAX_KEYS)))


def _endpoints(members: Members) -> Mapping[str, tuple[Destination, ...]]:
    """Returns the destinations by purpose.

    A purpose that this version does not know is kept, and never asked.
    """
    if not all(re.fullmatch(NAME, purpose) for purpose in members.names()):
        raise members.refuse("purpose")
    return {purpose: _destinations(members, purpose) for purpose in members.names()}


def _destinations(members: Members, name: str) -> tuple[Destination, ...]:
    return tuple(_destination(each) for each in members.each(name, _MAX_DESTINATIONS))


def _destination(members: Members) -> Destination:
    """Returns one base URL with its region."""
    destination = Destination(url=members.text("url", pattern=_BASE_URL), region=members.text("region", pattern=REGION))
    members.end()
    return destination
