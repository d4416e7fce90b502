"""Prepares the requests by which a data-subject right is used, and tracks what the authority owes for each.

`erasure/<report id>` holds the 32 random bytes of each report that was ever sealed. A report counts as sent when the ledger
has its attempt, its mark is in `sent/` or its receipt in `receipts/`, so one whose copy was purged can still be erased at
the authority; one that was dropped, or withheld by the gate, before it left reveals nothing. `rights.json` lists every
request that was made.

Where an opt-out forbids sending, the same bytes go to a file (`evaluate.requests.commanded`). `ready/` holds erasure
requests that nobody asked for yet, of reports that had left when a consent was withdrawn. They outlive the copies of the
reports, until the authority's answer is installed.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import rights
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.consent.rights import MAX_REVEALS, RightsRequest
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.root import Root
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage, Unreadable, Untrusted, Usage
from opanel_agent.core.ledger.requests import RequestRecord
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.message import JOSE, JSON, SIGNED, Sealed, seal
from opanel_agent.evaluate.license import agent_key, signed_request
from opanel_agent.evaluate.requests import request_records
from opanel_agent.evaluate.requests.outbox import Outbox, new_id
from opanel_agent.evaluate.storage import state_files
from opanel_agent.evaluate.storage.ledger_file import digest
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event
from opanel_agent.system.randomness import RandomSource
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

PATH: Final = "/v1/rights"
PREFIX: Final = "rights"
READY: Final = "erase"
_SECRET_BYTES: Final = 32


@frozen
class DataRights:
    """The rights requests of this installation at one moment. `now` is effective time in seconds."""

    outbox: Outbox
    catalog: Catalog
    random: RandomSource
    settings: Settings
    root: Root
    bundle: Bundle | None
    now: int

    # ---- requests of the administrator's

    def prepare(self, kind: str, ids: Sequence[str] | None = None, text: str | None = None) -> Sealed:
        """Returns the sealed request, held: about the reports `ids`, or about all that the authority still stores.

        An unanswered request for the same is returned again, the same bytes under the same id. It is held without an end.
        Raises Usage for what cannot be asked, Storage where a secret is damaged.
        """
        known = self._load()
        meant = self._not_erased(known) if ids is None else list(dict.fromkeys(ids))
        body = rights.body(self.catalog, kind, self._secrets(meant), text)
        request = RightsRequest(
            id=_id_of_open(known, digest(body)) or new_id(self.random, PREFIX),
            kind=kind,
            at=self.now,
            sha256=digest(body),
            reports=frozenset(meant),
        )
        return self._hold(request, body, JSON)

    def prepare_license(self, kind: str, text: str | None = None) -> Sealed:
        """Returns the sealed request about what the authority stores of this installation's license, held.

        An unanswered request for the same is returned again, as far as its copy is kept. Raises Usage for what cannot be
        asked, Untrusted without a license, NotPermitted without the key that could prove whose it is.
        """
        right = rights.right_of(self.catalog, kind, text)
        if self.bundle is None:
            raise Untrusted(Reason.NO_LICENSE, "license_needed")
        signer = agent_key.load(self._files, self._paths)
        if signer is None:
            raise NotPermitted(Reason.NOT_PERMITTED, "rights_no_key")
        license_ = self.bundle.license
        for request in self._load():
            kept = self._kept_body(request) if request.license and _is_open(request) else None
            if kept is not None and _asks(kept, right, text, license_.digest, signer.public.kid):
                return self._hold(request, kept, JOSE)
        subject = signed_request.RequestSubject(kind=request_document.RequestKind.RIGHTS, right=right, text=text)
        body = signed_request.sign(subject, license_, signer, self.random, self.now)
        request = RightsRequest(
            id=new_id(self.random, PREFIX),
            kind=right,
            at=self.now,
            sha256=digest(body),
            reports=frozenset(),
            license=True,
        )
        return self._hold(request, body, JOSE)

    # ---- erasure of reports that have left

    def reports_unerased(self) -> list[str]:
        """Returns the reports that the authority still stores, as far as it answered, and whose secret is intact."""
        # A secret that the disk damaged proves nothing any more, and must not keep a withdrawal from being done.
        return [name for name in self._not_erased(self.known()) if self._kept_secret(name) is not None]

    def erasures(self) -> list[bytes]:
        """Returns the erasure requests for all reports still stored by the authority; before the secrets are deleted."""
        return [
            rights.body(self.catalog, Right.ERASE, self._secrets(portion))
            for portion in _portions(self.reports_unerased())
        ]

    def make_ready(self, ids: Iterable[str]) -> Path | None:
        """Writes an erasure request for purged or withdrawn reports to `ready/`, for the administrator to send or carry.

        The file's bytes are the request's. Returns its path; the folder where one request cannot hold all; None where none
        of them left. Call it before the copies are purged. Reports whose erasure was answered are not asked for again.
        """
        known = self._load()
        wanted = {*ids}
        meant = [name for name in self.reports_unerased() if name in wanted]
        made = [self._write_ready(portion) for portion in _portions(meant)]
        self._remove_smaller(known, frozenset(meant), made)
        return None if not made else made[0] if len(made) == 1 else self._paths.ready

    def reports_sent(self) -> list[str]:
        """Returns the ids of all reports that may have left and whose secret is kept, their copies purged or not."""
        kept = self._files.names(self._paths.erasure)
        left = {record.id for record in request_records.attempted(self.outbox)}
        left |= {name.removesuffix(".jwt") for name in self._files.names(self._paths.receipts)}
        if not self.outbox.ledger.read:  # a right does not depend on the ledger: rather one report too many
            left |= {*kept} - {*self._files.names(self._paths.held)}
        return [name for name in kept if name in left]

    def attempts(self, purpose: str) -> list[RequestRecord]:
        """Returns each report of a purpose that may have left and that the authority may still keep, oldest first.

        Without those whose erasure the authority has answered. The copies here are gone earlier: the ledger names them.
        """
        done = (request for request in self.known() if request.kind == Right.ERASE and request.answered_at)
        erased = {name for request in done for name in request.reports}
        kept_s = DAY_S * max((field.retention_days_there for field in self.catalog.fields(purpose).values()), default=0)
        return [
            record
            for record in reversed(request_records.attempted(self.outbox))
            if record.purpose == purpose and record.id not in erased and self.now - record.at <= kept_s
        ]

    # ---- what the authority answers

    def received(self, token: bytes) -> Receipt | None:
        """Installs a receipt of the authority's: a date, or an answer. Returns None where it is for no request of ours.

        It is kept beside the receipts of reports. Raises Untrusted for a document that the authority did not sign.
        """
        receipt = receipt_document.verify(token.strip(), self.root)
        known = self._load()
        mine = [self._with_sending(request).with_receipt(receipt) for request in known if request.sha256 == receipt.sub]
        if not mine:
            return None
        answered = receipt.due == receipt.iat
        for request in mine:
            name = f"{request.id}.answer" if answered else request.id
            self._files.write(self._paths.receipts / f"{name}.jwt", token.strip() + b"\n")
            log_event("rights_receipt", id=request.id, answered=answered, due=receipt.due)
        after = {request.id: request for request in mine}
        self._store([after.get(request.id, request) for request in known])
        if answered:
            for request in mine:  # it is done: nothing has to be carried any more
                self._files.remove(self._ready_path(request.id))
                self.outbox.end_hold(request.id)
        return receipt

    def answered(self, token: bytes) -> dict[str, Json]:
        """Installs a receipt that was put here by hand, and returns its request. Raises Untrusted where it is for none."""
        receipt = self.received(token)
        if receipt is None:
            raise Untrusted(Reason.CHAIN_INVALID, "receipt_unasked")
        return next(request for request in self.owed() if request["sha256"] == receipt.sub)

    def owed(self) -> list[dict[str, Json]]:
        """Returns every request, newest first: who must answer it, and by when."""
        places = gate_inputs.destinations(Purpose.DATA_RIGHTS, self.settings, self.root)
        authority: dict[str, Json] = {"name": self.root.sub, "url": places[0] if places else None}
        requests = [self._with_sending(request) for request in self.known()]
        owed = [rights.obligation(request, self.now) | {"sha256": request.sha256} for request in requests]
        return [request | {"authority": authority} for request in reversed(owed)]

    def known(self) -> tuple[RightsRequest, ...]:
        """Returns the requests that `rights.json` lists, () where it is none that `_store` wrote. Repairs nothing."""
        try:
            return self._decoded()
        except (Untrusted, Misconfigured, Unreadable):
            return ()

    def forget_unsent(self, ids: Collection[str]) -> None:
        """Takes those of these requests off the list that nobody is known to have: their files are gone, and owe nothing."""
        known = self.known()
        left = [each for each in known if each.id not in ids or (each.due_at or each.answered_at) is not None]
        if len(left) < len(known):
            self._store(left)

    def purge_unlisted(self) -> None:
        """Purges held requests that the list, which holds the newest, names no more: nobody could tell what is owed."""
        listed = {request.id for request in self.known()}
        unlisted = [name for name in self.outbox.held_ids(PREFIX) if name not in listed]
        if unlisted:
            self.outbox.purge_held(unlisted, self.now, reason="unknown")

    def repair(self) -> None:
        """Moves a broken `rights.json` aside and logs it; at the start of a pass, so that no question has to."""
        self._load()

    # ---- parts

    @property
    def _files(self) -> Files:
        return self.outbox.files

    @property
    def _paths(self) -> Paths:
        return self.outbox.paths

    def _hold(self, request: RightsRequest, body: bytes, content_type: str) -> Sealed:
        sealed = seal(
            request_id=request.id,
            purpose=Purpose.DATA_RIGHTS,
            url=self._endpoint() + PATH,
            accept=SIGNED,
            body=body,
            content_type=content_type,
        )
        self._remember(request)
        self.outbox.hold(sealed)
        return sealed

    def _kept_body(self, request: RightsRequest) -> bytes | None:
        """Returns the bytes of a held or attempted request; None where no copy of those very bytes is kept."""
        kept = self.outbox.copy(request.id)
        return kept.body if kept is not None and digest(kept.body) == request.sha256 else None

    def _write_ready(self, meant: Sequence[str]) -> Path:
        body = rights.body(self.catalog, Right.ERASE, self._secrets(meant))
        name = f"{READY}-{digest(body)[:16]}"
        self._remember(
            RightsRequest(id=name, kind=Right.ERASE, at=self.now, sha256=digest(body), reports=frozenset(meant))
        )
        self._files.write(self._ready_path(name), body)
        return self._ready_path(name)

    def _remove_smaller(self, known: Iterable[RightsRequest], meant: frozenset[str], made: Collection[Path]) -> None:
        """Removes a file that a newer one replaces, which asks for as much. The request stays listed.

        It may be on its way.
        """
        for request in known:
            path = self._ready_path(request.id)
            if request.reports <= meant and path not in made:
                self._files.remove(path)

    def _secrets(self, ids: Iterable[str]) -> list[bytes]:
        """Returns the secrets by their ids, which come from a command: only what is in the folder is opened.

        Raises Usage, Storage.
        """
        kept = frozenset(self._files.names(self._paths.erasure))
        secrets: list[bytes] = []
        for report_id in ids:
            if report_id not in kept:
                record = self.outbox.ledger.requests.get(report_id)
                past = record is not None and record.may_have_left  # its time is over (`evaluate.reporting.proofs`)
                raise Usage(Fault.USAGE, "report_past" if past else "report_unknown", id=report_id[:64])
            secret = self._kept_secret(report_id)
            if secret is None:
                raise Storage(Fault.IO_FAILED, "erasure_broken", id=report_id[:64])
            secrets.append(secret)
        return secrets

    def _kept_secret(self, report_id: str) -> bytes | None:
        """Returns a kept secret; None where the disk has damaged it."""
        try:
            secret = self._files.read(self._paths.erasure / report_id, max_bytes=_SECRET_BYTES)
        except (Misconfigured, Unreadable):
            return None
        return secret if secret is not None and len(secret) == _SECRET_BYTES else None

    def _endpoint(self) -> str:
        """Tells where an answer is owed. One in another region still gets its request, to a file.

        The gate forbids sending.
        """
        places = gate_inputs.destinations(Purpose.DATA_RIGHTS, self.settings, self.root)
        elsewhere = [place.url for place in self.root.endpoints.get(Purpose.DATA_RIGHTS, ())]
        if not elsewhere:
            raise NotPermitted(Reason.REGION, "no_endpoint", purpose=Purpose.DATA_RIGHTS.value)
        return [*places, *elsewhere][0]

    def _not_erased(self, known: Iterable[RightsRequest]) -> list[str]:
        """Returns the reports that the authority still stores, as far as it answered."""
        done = (request for request in known if request.kind == Right.ERASE and request.answered_at)
        erased = {name for request in done for name in request.reports}
        return [name for name in self.reports_sent() if name not in erased]

    def _with_sending(self, request: RightsRequest) -> RightsRequest:
        """Returns the request with the time of its attempt, where this agent sent it and the copy is kept."""
        at = self.outbox.attempted_at(request.id)
        return request if at is None else replace(request, sent_at=at)

    def _remember(self, request: RightsRequest) -> None:
        """Remembers a request; the first time counts: to ask again for the same does not begin the count anew."""
        known = self._load()
        if all(kept.id != request.id for kept in known):
            self._store([*known, request])

    def _ready_path(self, name: str) -> Path:
        return self._paths.ready / f"{name}.json"

    @property
    def _path(self) -> Path:
        return self._paths.state_dir / "rights.json"

    def _decoded(self) -> tuple[RightsRequest, ...]:
        data = self._files.read(self._path, max_bytes=rights.MAX_BYTES)
        return () if data is None else rights.decode(data)

    def _load(self) -> tuple[RightsRequest, ...]:
        """Loads the requests before a change.

        A file that `_store` did not write is moved aside, for the dates in it are owed to somebody.
        """
        try:
            return self._decoded()
        except (Untrusted, Misconfigured, Unreadable) as refused:
            self._purge_unknown()
            state_files.quarantine(self._files, self._path, refused)
            return ()

    def _purge_unknown(self) -> None:
        """Purges held requests that no list explains any more: they would wait for ever.

        Asked again, each is another one.
        """
        try:
            self.outbox.purge_held(self.outbox.held_ids(PREFIX), self.now, reason="unknown")
        except Storage as trouble:  # a right does not depend on the ledger
            log_event("ledger_not_written", level="error", error=str(trouble))

    def _store(self, requests: Iterable[RightsRequest]) -> None:
        self._files.write(self._path, rights.encode(rights.kept(requests)))


def _asks(body: bytes, right: Right, text: str | None, license_sha256: str, kid: str) -> bool:
    claims = request_document.verify(body)
    return (claims.right, claims.text, claims.license_sha256, claims.jwk.kid) == (right, text, license_sha256, kid)


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    """Splits names into as many as one request may reveal."""
    return [names[start : start + MAX_REVEALS] for start in range(0, len(names), MAX_REVEALS)]


def _id_of_open(known: Iterable[RightsRequest], sha256: str) -> str | None:
    return next((request.id for request in known if request.sha256 == sha256 and _is_open(request)), None)


def _is_open(request: RightsRequest) -> bool:
    return request.answered_at is None and request.id.startswith(f"{PREFIX}-")
