"""Answers to what agents ask: a key's bundle, an activation, a release, a renewal. Online and offline alike.

Seats. A license has `seats` activations that count. The same request, byte for byte, has the same answer and takes no
second seat. The same machine (its activation key) that activates anew keeps its seat. Another machine takes a free
seat; where none is free it takes the seat of the *oldest* activation, whose status becomes 3: that is how a license
moves when the old server is gone, and the old server counts 72 hours of grace if it is not. So that servers cannot hand one
seat to and fro for ever, whether each with a key of its own or all with a copy of one, a seat is taken from an activation
that holds it at most three times in 30 days; after that it is `seats_taken`, until a server releases its seat or the
reseller lifts the limit. A release is free and never counted.

A license that has networks is exchanged, activated and renewed from these alone (`networks`). One that is suspended or
revoked, or whose reseller's delegation is revoked, is not activated and not renewed.

The agent's components are digests under its own salt. Whether they are the machine's is not known here and not asked;
how many there are decides `k` and `p` (license-format.md, "Activation").

Every refusal is an error with the code that the problem document carries.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, assert_never

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.claims import SHA256_HEX
from opanel_agent.core.documents.license import License
from opanel_agent.core.documents.signed_request import RequestClaims, RequestKind
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Misconfigured, NotPermitted
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license import binding
from opanel_agent.core.units import DAY_S
from opanel_authority.authority import Authority
from opanel_authority.books.repositories.report_repository import ReportRepository
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import ActivationRow, Ended, LicenseRow
from opanel_authority.books.status_allocation import VENDOR
from opanel_authority.documents import claims as documents
from opanel_authority.documents.issue import renewal_hindrance, renewed
from opanel_authority.documents.keys import Role
from opanel_authority.lifecycle import webhooks
from opanel_authority.requests import networks
from opanel_authority.requests.networks import CARRIED, Sender

MOVES: Final = 3
MOVES_WITHIN_S: Final = 30 * DAY_S
# Activations outlast the renewals of their license; an end nearer than this would be a second thing to renew.
ACTIVATION_DAYS: Final = 3650
MAX_REQUEST_BYTES: Final = 64 * 1024
# A seat that was taken from whom held it.
COUNTED: Final = frozenset({Ended.MOVED, Ended.REPLACED})
# Details of a refused renewal that somebody must see to; the others pass by themselves.
_FAILED: Final = frozenset({"address_outside", "renewal_delegation_ended", "renewal_unsigned"})
# A seat is released from anywhere.
_FROM_NETWORKS: Final = frozenset({RequestKind.ACTIVATION, RequestKind.RENEWAL})
JOSE: Final = "application/jose"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply's body, its content type and its status."""

    content_type: str
    body: bytes
    status: int = 200


def key_of(body: bytes) -> str:
    """Returns `key_sha256` of a request for a bundle: `{"schema":1,"key_sha256":…}`."""
    asked = Members(loads(body, max_bytes=1024), "body")
    asked.constant("schema", 1)
    digest = asked.text("key_sha256", max_length=64, pattern=SHA256_HEX)
    asked.end()
    return digest


def hold_known(authority: Authority, key_sha256: str) -> None:
    """Raises NotPermitted (key_unknown) for a license key that was never issued."""
    with authority.store.reading() as books:
        if not books.has_key(key_sha256):
            raise _unknown()


def bundle(authority: Authority, key_sha256: str, *, now: int, peer: Sender = CARRIED) -> Answer:
    """Returns the newest bundle of a license key. It takes no seat and may be asked as often as needed.

    Where the reseller's key was stolen since, the license is signed anew first.
    """
    with authority.store.reading() as books:
        row = license_row(books, key_sha256)
    networks.require(row.networks, peer)
    if row.stale_chain:
        with authority.writing(now) as books:
            text = renewed(authority, books, license_row(books, key_sha256), now=now)
        return Answer(content_type=JOSE, body=text.encode("ascii"))
    return Answer(content_type=JOSE, body=row.text.encode("ascii"))


def signed(authority: Authority, token: bytes, claims: RequestClaims, *, now: int, peer: Sender = CARRIED) -> Answer:
    """Returns the answer to a verified request, by its kind. `token` is what was verified, `peer` who sent it.

    Where a reseller may want to know of a refusal, he is told (`lifecycle.webhooks`).
    """
    try:
        return _signed(authority, token, claims, now=now, peer=peer)
    except NotPermitted as refused:
        event = _refusal_event(claims.kind, refused)
        if event is not None:
            _emit_refusal(authority, claims, event, refused.detail, now)
        raise
    except Misconfigured as broken:  # the reseller's key is not where it was put
        if claims.kind is RequestKind.RENEWAL:
            _emit_refusal(authority, claims, webhooks.Event.RENEWAL_FAILED, broken.detail, now)
        raise


def _emit_refusal(authority: Authority, claims: RequestClaims, event: webhooks.Event, detail: str, now: int) -> None:
    with authority.writing(now) as books:
        webhooks.emit(books, event, license_row(books, claims.key_sha256), now=now, detail=detail)


def _refusal_event(kind: RequestKind, refused: NotPermitted) -> webhooks.Event | None:
    if refused.code == Fault.SEATS_TAKEN:
        return webhooks.Event.SEATS_TAKEN
    failed = refused.code in {Reason.SUSPENDED, Reason.REVOKED, Reason.EXPIRED} or refused.detail in _FAILED
    return webhooks.Event.RENEWAL_FAILED if kind is RequestKind.RENEWAL and failed else None


def _signed(authority: Authority, token: bytes, claims: RequestClaims, *, now: int, peer: Sender) -> Answer:
    with authority.writing(now) as books:
        row = license_row(books, claims.key_sha256)
        if claims.kind in _FROM_NETWORKS:
            networks.require(row.networks, peer)
        verified = bundles.verify(row.text.encode("ascii"), authority.root, now=None)
        asked = _Case(authority=authority, books=books, row=row, license=verified.license, claims=claims, now=now)
        digest = hashlib.sha256(token).hexdigest()
        match claims.kind:
            case RequestKind.ACTIVATION:
                return _activation(asked, digest)
            case RequestKind.RELEASE:
                return _release(asked, digest)
            case RequestKind.RENEWAL:
                return _renewal(asked)
            case RequestKind.RIGHTS:
                raise NotPermitted(Reason.NOT_PERMITTED, "kind_elsewhere")  # `rights.license_right` answers it
            case _:
                assert_never(claims.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A request and what it is about, within one transaction. `license` is the newest edition."""

    authority: Authority
    books: Books
    row: LicenseRow
    license: License
    claims: RequestClaims
    now: int

    @property
    def jkt(self) -> str:
        """The thumbprint of the key of the machine that asks."""
        return self.claims.jwk.kid


def _activation(case: _Case, digest: str) -> Answer:
    before = case.books.answered(digest)
    if before is not None:
        return _same_again(case.books, before)
    _not_erased(case, digest)
    _hold_in_force(case, "license")
    if not case.books.has_edition(case.row.id, case.claims.license_sha256):
        raise NotPermitted(Reason.NOT_PERMITTED, "license_foreign")
    if case.license.exp <= case.now:
        raise NotPermitted(Reason.EXPIRED, "license_expired")
    quorum = _quorum(case)
    seat = _take_seat(case)
    made = _sign(case, quorum, seat, case.books.draw(VENDOR, case.now))
    case.books.add_activation(made)
    case.books.add_answer(digest, made.jti)
    moved = any(one.ended_at == case.now and one.ended is Ended.MOVED for one in case.books.activations(case.row.id))
    event = webhooks.Event.MOVED if moved else webhooks.Event.ACTIVATED
    webhooks.emit(case.books, event, case.row, now=case.now)
    return _line(made)


def _hold_in_force(case: _Case, act: str) -> None:
    """Raises NotPermitted for what its reseller or the vendor has stopped; `act` begins the detail."""
    if case.row.status == Status.REVOKED:
        raise NotPermitted(Reason.REVOKED, f"{act}_revoked")
    reseller = case.books.delegation(number=case.row.delegation)
    if reseller is None or reseller.status == Status.REVOKED:
        raise NotPermitted(Reason.REVOKED, "reseller_revoked")
    if case.row.status == Status.SUSPENDED and act == "license":
        raise NotPermitted(Reason.SUSPENDED, "license_suspended")


def _not_erased(case: _Case, digest: str) -> None:
    """Raises NotPermitted for a copy of a request whose answer its owner has had erased: it must not be acted on again."""
    if ReportRepository(case.books).refuses(digest):
        raise NotPermitted(Reason.SUPERSEDED, "activation_ended")


def _same_again(books: Books, jti: str) -> Answer:
    row = books.activation(jti)
    if row is None or row.ended is not None:
        raise NotPermitted(Reason.SUPERSEDED, "activation_ended")
    return _line(row)


def _quorum(case: _Case) -> tuple[int, int]:
    """Returns `k` and `p` for what the machine shows, if that is enough for the license."""
    components, min_p = case.claims.components, case.license.activation.min_p
    if not components.keys() <= binding.TYPES.keys():
        raise NotPermitted(Reason.NOT_PERMITTED, "component_unknown")  # it would raise k and never match
    k, p = binding.quorum(components)
    shown = binding.platform_parts(components)
    if k < 1 or shown < min_p:
        raise NotPermitted(Fault.BINDING_IMPOSSIBLE, "binding_impossible", min_p=min_p, p=shown)
    return k, p


def _take_seat(case: _Case) -> int:
    """Returns a free seat, freed first where it must be.

    Raises NotPermitted (seats_taken) for the fourth taking in 30 days.
    """
    every = case.books.activations(case.row.id)
    live = [one for one in every if one.ended is None]
    own = next((one for one in live if one.jkt == case.jkt), None)
    seats = case.license.activation.seats
    free = set(range(seats)) - {one.seat for one in live}
    if own is None and free:
        return min(free)
    since = max(case.now - MOVES_WITHIN_S, case.row.moves_since)
    taken = [one for one in every if one.ended in COUNTED and (one.ended_at or 0) > since]
    if len(taken) >= MOVES:
        raise NotPermitted(Fault.SEATS_TAKEN, "seats_taken", seats=seats)
    old = live[0] if own is None else own
    case.books.end_activation(old, Ended.MOVED if own is None else Ended.REPLACED, case.now)
    return old.seat


def _sign(case: _Case, quorum: tuple[int, int], seat: int, idx: int) -> ActivationRow:
    """Signs an activation, verified as part of the bundle that the agent will hold."""
    jti = secrets.token_hex(16)
    root, claims = case.authority.root, case.claims
    components: dict[str, Json] = {name: base64url(digest) for name, digest in claims.components.items()}
    activation_claims: dict[str, Json] = {
        "ver": 1,
        "iss": root.sub,
        "jti": jti,
        "sub": case.license.sub,
        "iat": case.now,
        "nbf": case.now,
        "exp": max(case.license.exp, case.now + ACTIVATION_DAYS * DAY_S),
        "bind": {"salt": base64url(claims.salt), "k": quorum[0], "p": quorum[1], "components": components},
        "cnf": {"jkt": case.jkt},
        "seat": seat,
        "status": documents.status(case.authority, idx),
    }
    line = case.authority.key(Role.ACTIVATION).sign(Typ.ACTIVATION, activation_claims)
    bundles.verify(f"{case.row.text}{line}\n".encode("ascii"), root, now=case.now)
    return ActivationRow(jti=jti, license=case.row.id, jkt=case.jkt, seat=seat, idx=idx, iat=case.now, line=line)


def _release(case: _Case, digest: str) -> Answer:
    """Frees the seat of the machine that asks. A second copy of the request cannot free what was taken since."""
    before = case.books.answered(digest)
    if before is not None:
        return _released(before)
    _not_erased(case, digest)
    own = [one for one in case.books.activations(case.row.id) if one.jkt == case.jkt]
    if not own:
        raise NotPermitted(Reason.SUPERSEDED, "not_activated_here")
    if own[-1].ended is None:
        case.books.end_activation(own[-1], Ended.RELEASED, case.now)
    case.books.add_answer(digest, own[-1].jti)
    return _released(own[-1].jti)


def _released(jti: str) -> Answer:
    return Answer(content_type=JSON, body=dumps({"schema": 1, "released": jti}))


def _renewal(case: _Case) -> Answer:
    """Returns a newer bundle than the one asked about, for who holds the key of an activation that counts, and with that.

    Where a license asks for no activation, its key is enough. What is there already is given again and again: the same
    request gets the newest edition. Raises NotPermitted by name where there is none.
    """
    mine = [one for one in case.books.activations(case.row.id) if one.jkt == case.jkt]
    own = next((one for one in mine if one.ended is None), None)
    if own is None and case.license.activation.required:
        if mine:
            raise NotPermitted(Reason.SUPERSEDED, "renewal_superseded")
        raise NotPermitted(Reason.SUPERSEDED, "not_activated_here")
    _hold_in_force(case, "renewal")
    text = renewed(case.authority, case.books, case.row, now=case.now)
    if text == case.row.text and case.claims.license_sha256 == case.license.digest:
        raise _nothing_newer(case)
    return Answer(content_type=JOSE, body=(text + ("" if own is None else f"{own.line}\n")).encode("ascii"))


def _nothing_newer(case: _Case) -> NotPermitted:
    if case.row.status == Status.SUSPENDED:
        return NotPermitted(Reason.SUSPENDED, "renewal_suspended")
    if case.license.exp <= case.now:
        return NotPermitted(Reason.EXPIRED, "renewal_expired")
    hindrance = renewal_hindrance(case.authority, case.books, case.row, now=case.now)
    return NotPermitted(Fault.NOT_YET, hindrance or "renewal_not_yet")


def license_row(books: Books, key_sha256: str) -> LicenseRow:
    """Raises NotPermitted (key_unknown) for a license key that was never issued."""
    row = books.license_of_key(key_sha256)
    if row is None:
        raise _unknown()
    return row


def _unknown() -> NotPermitted:
    return NotPermitted(Fault.KEY_UNKNOWN, "key_unknown")


def _line(row: ActivationRow) -> Answer:
    return Answer(content_type=JOSE, body=f"{row.line}\n".encode("ascii"))
