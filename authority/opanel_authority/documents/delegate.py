"""Delegations: what a reseller may sell, from the first to the last version of it.

Nothing here judges whether a document is within its parent: the agent's own verifier does, on a license that is thrown
away. A mistake surfaces here, as the sentence that the customer would have read.

A changed delegation is another version with the same name, slots and status range. Licenses that were issued under an
older one live on under it; the next edition of each is signed under the newest. After a theft the reseller gets another
key and another status entry, and the old entry is revoked: what the thief signs is not taken for long, and what was sold
is signed anew the next time its machine or owner asks.
"""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents import delegation as delegations
from opanel_agent.core.documents.delegation import Delegation
from opanel_agent.core.documents.status_list import Status
from opanel_agent.core.errors import Misconfigured, NotPermitted, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.license import license_key
from opanel_authority.authority import Authority
from opanel_authority.books.repository import Books
from opanel_authority.books.rows import DelegationRow, Kind
from opanel_authority.books.status_allocation import MAX_ENTRIES, VENDOR
from opanel_authority.documents import claims, keys
from opanel_authority.documents.claims import DelegationTerms, LicenseTerms
from opanel_authority.documents.keys import PrivateKey, Role

_MAX_NUMBER: Final = 1 << 40


def delegate(
    authority: Authority,
    terms: DelegationTerms,
    directory: Path,
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
    public: PublicKey | None = None,
    uri: str | None = None,
) -> Delegation:
    """Makes a reseller's key and delegation in `directory` (key.pem 0600, delegation.jws).

    `public` is the key of a reseller who keeps it himself: no private key is made, and he signs (`lifecycle.own_key`).
    `uri` is the URI of his key, where it is on a token of the vendor's.
    """
    keys.make_directory(directory)
    key = _new_key(uri)
    with authority.writing(now) as books:
        _require_new(books, terms)
        jti = secrets.token_hex(16)
        idx = books.draw(VENDOR, now)
        status_range = books.new_range(jti, terms.status_entries)
        _try_out(authority, terms, status_range, now)
        line = _sign(authority, terms, status_range, public or key.public, jti=jti, idx=idx, now=now)
        delegation = last(authority, f"{line}\n")
        if public is None:
            keys.save(key, directory / "key.pem")
        keys.write_private(directory / "delegation.jws", f"{line}\n".encode("ascii"))
        where = str(directory.resolve()) if public is None else ""
        number = books.add_delegation(jti=jti, name=terms.name, idx=idx, directory=where, text=f"{line}\n")
        books.log_change(
            at=now,
            actor=actor,
            act="delegate",
            kind=Kind.DELEGATION,
            subject=jti,
            delegation=number,
            reason=reason,
        )
    return delegation


def change(
    authority: Authority,
    name: str,
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
    **changes: Any,
) -> Delegation:
    """Signs a new version with some terms of DelegationTerms changed; `days` counts from now on.

    Raises Usage for an unknown reseller, NotPermitted where his delegation is revoked, his range of entries cannot grow,
    or slots that are taken would be outside.
    """
    with authority.writing(now) as books:
        row = _of_name(books, name)
        require_valid(row)
        old = last(authority, row.text)
        terms = replace(claims.terms_of(old, now=now), **changes)
        start, end = old.may.status_range.start, old.may.status_range.end
        if terms.slots < row.slots_drawn:
            raise NotPermitted(Reason.NOT_PERMITTED, "slots_taken", slots=terms.slots, taken=row.slots_drawn)
        if terms.status_entries < end - start:
            raise NotPermitted(Reason.NOT_PERMITTED, "status_range_shrinks", entries=end - start)
        if terms.status_entries > end - start and not books.extend_range(row.jti, terms.status_entries):
            raise NotPermitted(Reason.NOT_PERMITTED, "status_range_fixed", entries=end - start)
        jti = secrets.token_hex(16)
        status_range = (start, start + terms.status_entries)
        _try_out(authority, terms, status_range, now)
        line = _sign(authority, terms, status_range, old.key, jti=jti, idx=row.idx, now=now)
        delegation = last(authority, f"{line}\n")
        books.add_version(row.number, jti=jti, text=f"{line}\n")
        books.log_change(
            at=now,
            actor=actor,
            act="change_delegation",
            kind=Kind.DELEGATION,
            subject=row.jti,
            delegation=row.number,
            reason=reason,
        )
        if row.directory:
            keys.replace_private(Path(row.directory) / "delegation.jws", f"{line}\n".encode("ascii"))
    return delegation


def rekey(
    authority: Authority,
    name: str,
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
    public: PublicKey | None = None,
    uri: str | None = None,
) -> Delegation:
    """Makes another key after a theft, under another status entry; the old entry is revoked.

    `public` is the new key of a reseller who keeps it himself, `uri` that of one on a token.
    """
    with authority.writing(now) as books:
        row = _of_name(books, name)
        old = last(authority, row.text)
        terms = claims.terms_of(old, now=now)
        if not row.directory and public is None:
            raise Usage(Fault.USAGE, "public_key_missing", name=name)
        key = _new_key(uri)
        jti, idx = secrets.token_hex(16), books.draw(VENDOR, now)
        status_range = (old.may.status_range.start, old.may.status_range.end)
        _try_out(authority, terms, status_range, now)
        line = _sign(authority, terms, status_range, public or key.public, jti=jti, idx=idx, now=now)
        delegation = last(authority, f"{line}\n")
        books.mark_stolen(row.number)
        books.set_statuses({row.idx: Status.REVOKED})
        books.add_version(row.number, jti=jti, text=f"{line}\n")
        books.update_delegation(row.number, idx=idx, status=0)
        books.log_change(
            at=now,
            actor=actor,
            act="rekey",
            kind=Kind.DELEGATION,
            subject=row.jti,
            delegation=row.number,
            reason=reason,
        )
        if public is not None:
            books.update_delegation(row.number, directory="")
            return delegation
        directory = Path(row.directory)
        keys.replace_key(key, directory / "key.pem")
        keys.replace_private(directory / "delegation.jws", f"{line}\n".encode("ascii"))
    return delegation


def warnings_of(authority: Authority) -> tuple[str, ...]:
    """Returns what fills up, as details of `messages`: told from half of all status entries on."""
    with authority.store.reading() as books:
        return ("all_entries_half",) if 2 * books.reserved_entries() >= MAX_ENTRIES else ()


def relocate(
    authority: Authority,
    name: str,
    directory: Path,
    *,
    now: int,
    actor: str = "command",
    reason: str | None = None,
) -> None:
    """Say where a reseller's key is now. Raises Misconfigured where the key there is not his."""
    with authority.writing(now) as books:
        row = _of_name(books, name)
        found = keys.load(directory / "key.pem", Role.RESELLER)
        if found.public.kid != last(authority, row.text).key.kid:
            raise Misconfigured(Fault.FILE_REFUSED, "reseller_key_other", path=str(directory / "key.pem"), name=name)
        books.update_delegation(row.number, directory=str(directory.resolve()))
        books.log_change(
            at=now,
            actor=actor,
            act="relocate",
            kind=Kind.DELEGATION,
            subject=row.jti,
            delegation=row.number,
            reason=reason,
        )


def last(authority: Authority, chain: str) -> Delegation:
    """Returns the delegation that a chain ends in; chains are one link long as yet (a reseller cannot delegate here)."""
    envelope = jws.parse(chain.strip().encode("ascii"), max_bytes=bundles.MAX_BYTES)
    return delegations.read(envelope, authority.root.keys_of(Role.ISSUER))


def key_of(row: DelegationRow) -> PrivateKey:
    """Returns the reseller's key, where `delegate` or `relocate` put it. Raises Misconfigured where it is not."""
    if not row.directory:
        raise NotPermitted(Reason.NOT_PERMITTED, "reseller_signs_himself", name=row.name)
    path = Path(row.directory) / "key.pem"
    try:
        return keys.load(path, Role.RESELLER)
    except FileNotFoundError as error:
        raise Misconfigured(Fault.FILE_REFUSED, "reseller_key_missing", path=str(path), name=row.name) from error


def require_valid(row: DelegationRow) -> None:
    """Raises NotPermitted for a revoked delegation: nothing is issued, activated or renewed under it any more."""
    if row.status == Status.REVOKED:
        raise NotPermitted(Reason.REVOKED, "delegation_revoked", name=row.name)


def new_license_key() -> str:
    """Draws a license key of 128 random bits (`license_key`)."""
    while (key := license_key.make(secrets.token_bytes(16))) is None:
        pass  # one draw in seven has a check character that is hard to type
    return key


def _of_name(books: Books, name: str) -> DelegationRow:
    row = books.delegation(name=name)
    if row is None:
        raise Usage(Fault.USAGE, "reseller_unknown", name=name)
    return row


def _new_key(uri: str | None) -> PrivateKey:
    return PrivateKey.make(Role.RESELLER) if uri is None else PrivateKey.on_token(Role.RESELLER, uri)


def _require_new(books: Books, terms: DelegationTerms) -> None:
    """Raises Usage for terms that could issue nothing, or too much for the status lists."""
    if books.delegation(name=terms.name) is not None:
        raise Usage(Fault.USAGE, "reseller_exists", name=terms.name)
    if terms.email is None and terms.phone is None and terms.url is None:
        raise Usage(Fault.USAGE, "contact_missing", name=terms.name)
    if not 1 <= terms.status_entries <= MAX_ENTRIES:
        raise Usage(Fault.USAGE, "status_entries_range", asked=terms.status_entries, most=MAX_ENTRIES)
    if terms.slots > _MAX_NUMBER:
        raise Usage(Fault.USAGE, "slots_range", asked=terms.slots)


def _sign(
    authority: Authority,
    terms: DelegationTerms,
    status_range: tuple[int, int],
    key: PublicKey,
    *,
    jti: str,
    idx: int,
    now: int,
) -> str:
    delegation_claims = {**claims.delegation(authority, terms, status_range, now), "jti": jti}
    delegation_claims["cnf"] = {"jwk": dict(key.jwk())}
    delegation_claims["status"] = claims.status(authority, idx)
    return authority.key(Role.ISSUER).sign(Typ.DELEGATION, delegation_claims)


def _try_out(authority: Authority, terms: DelegationTerms, status_range: tuple[int, int], now: int) -> None:
    """Verify a license under these terms, with a key and an entry that are thrown away.

    Raises Untrusted for terms that could issue none. The reseller's own key need not be here for that.
    """
    key = PrivateKey.make(Role.RESELLER)
    line = _sign(authority, terms, status_range, key.public, jti=secrets.token_hex(16), idx=0, now=now)
    delegation = last(authority, f"{line}\n")
    license_claims = claims.license_(delegation, LicenseTerms(), now)
    license_claims |= {"jti": secrets.token_hex(16), "sub": new_license_key(), "slot": delegation.may.slots.start}
    license_claims["status"] = claims.status(authority, delegation.may.status_range.start)
    text = f"{line}\n{key.sign(Typ.LICENSE, license_claims)}\n"
    bundles.verify(text.encode("ascii"), authority.root, now=now)
