"""Rights on this machine: which reports a request means, the request itself, and what is owed for it.

`erasure/<report id>` holds the 32 random bytes of each report that was ever sealed. A report counts as sent when its attempt
is in `sent/`, its receipt in `receipts/`, or its attempt in the ledger, so one whose copy was purged can still be erased at
the other end; one that was dropped before it left reveals nothing. `rights.json` knows every request that was made.

Where an opt-out forbids sending, the same bytes go to a file (`evaluate.license.check`). `ready/` holds erasure requests
that nobody asked
for yet: of what had left when a consent was withdrawn. They stay when the copies of the reports are purged, until the
authority's answer was taken up.

A right over license data needs no random bytes: `activation.key` signs the request, and so proves which installation asks.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import rights
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.consent.rights import MAX_REVEALS, RightsRequest
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents import signed_request as request_document
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage, Untrusted, Usage
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.wire.message import JOSE, JSON, SIGNED, Sealed, seal
from opanel_agent.evaluate import state_files
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.ledger_file import digest
from opanel_agent.evaluate.license import agent_key, signed_request
from opanel_agent.evaluate.outbox import new_id
from opanel_agent.network import gate_inputs
from opanel_agent.system.log import log_event

PATH: Final = "/v1/rights"
PREFIX: Final = "rights"
READY: Final = "erase"
_SECRET_BYTES: Final = 32


def prepare(context: PassContext, kind: str, ids: Sequence[str] | None = None, text: str | None = None) -> Sealed:
    """The sealed request, held: of the reports `ids`, or of all that are still there. Raises Usage for what cannot be asked.

    The same request that was not answered yet is the same bytes under the same id. It waits without an end, as a license
    command does.
    """
    known = _load(context)
    meant = _not_erased(context, known) if ids is None else list(dict.fromkeys(ids))
    body = rights.body(context.world.catalog, kind, _secrets(context, meant), text)
    request = RightsRequest(
        id=_id_of_open(known, digest(body)) or new_id(context.world.chance, PREFIX),
        kind=kind,
        at=context.now,
        sha256=digest(body),
        reports=frozenset(meant),
    )
    return _hold(context, request, body, JSON)


def prepare_license(context: PassContext, kind: str, text: str | None = None) -> Sealed:
    """The sealed request about what the authority holds of this installation's license. Raises what `prepare` does.

    Raises Untrusted without a license, NotPermitted without the key that could prove whose it is. The same request that was
    not answered yet is the same bytes, as far as its copy is kept.
    """
    right = rights.right_of(context.world.catalog, kind, text)
    if context.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    signer = agent_key.load(context.world.files, context.world.paths)
    if signer is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "rights_no_key")
    for each in _load(context):
        body = _kept_body(context, each) if each.license and _is_open(each) else None
        if body is not None and _asks(body, right, text, context.bundle.license.digest, signer.public.kid):
            return _hold(context, each, body, JOSE)
    body = signed_request.request(
        context, context.bundle.license, signer, request_document.RequestKind.RIGHTS, right=right, text=text
    )
    request = RightsRequest(
        id=new_id(context.world.chance, PREFIX),
        kind=right,
        at=context.now,
        sha256=digest(body),
        reports=frozenset(),
        license=True,
    )
    return _hold(context, request, body, JOSE)


def reports_unerased(context: PassContext) -> list[str]:
    """The reports that are still at the other end, as far as it said, and whose secret proves something."""
    # A secret that the disk damaged proves nothing any more, and must not keep a withdrawal from being done.
    return [name for name in _not_erased(context, _load(context)) if _kept_secret(context, name) is not None]


def erasures(context: PassContext) -> list[bytes]:
    """Requests that have every report erased which is still at the other end: for whoever is about to lose the secrets."""
    return [
        rights.body(context.world.catalog, Right.ERASE, _secrets(context, meant))
        for meant in _portions(reports_unerased(context))
    ]


def make_ready(context: PassContext, ids: Iterable[str]) -> Path | None:
    """An erasure request for reports that are purged or withdrawn, to be carried when the administrator likes.

    The file's bytes are the request's. None where none of them left; the folder where one request could not hold all. Call
    it before the copies are purged. Reports whose erasure was answered are not asked for again.
    """
    known = _load(context)
    wanted = {*ids}
    meant = [name for name in reports_unerased(context) if name in wanted]
    made = [_make_ready(context, portion) for portion in _portions(meant)]
    _replace_smaller(context, known, frozenset(meant), made)
    return None if not made else made[0] if len(made) == 1 else context.world.paths.ready


def reports_sent(context: PassContext) -> list[str]:
    """The ids of all reports that may have left and whose secret is kept, their copies purged or not."""
    files, paths = context.world.files, context.world.paths
    kept = files.names(paths.erasure)
    left = {name.rpartition(".")[0] for name in files.names(paths.sent) if name.endswith(".attempted")}
    left |= {name.removesuffix(".jwt") for name in files.names(paths.receipts)}
    try:
        left |= {
            str(entry.data.get("id")) for entry in context.book.entries() if entry.kind == EntryKind.REQUEST_ATTEMPTED
        }
    except (Storage, Untrusted) as trouble:  # a right does not depend on the ledger: rather one report too many
        log_event("ledger_not_read", level="warning", code=str(trouble.code), detail=trouble.detail)
        left |= {*kept} - {*files.names(paths.held)}
    return [name for name in kept if name in left]


def received(context: PassContext, token: bytes) -> Receipt | None:
    """Takes up a receipt of the authority's: its date, or its answer. None where it is for no request of ours.

    Both are kept beside the receipts of reports. Raises Untrusted for what the authority did not sign.
    """
    receipt = receipt_document.verify(token.strip(), context.root)
    known = _load(context)
    mine = [_seen(context, each).told(receipt) for each in known if each.sha256 == receipt.sub]
    if not mine:
        return None
    answers = receipt.due == receipt.iat
    for each in mine:
        name = f"{each.id}.answer" if answers else each.id
        context.world.files.write(context.world.paths.receipts / f"{name}.jwt", token.strip() + b"\n")
        log_event("rights_receipt", id=each.id, answered=answers, due=receipt.due)
    after = {each.id: each for each in mine}
    _store(context, [after.get(each.id, each) for each in known])
    if answers:
        for each in mine:  # what was asked for is done: nothing has to be carried any more
            context.world.files.remove(_ready_path(context, each.id))
            context.world.files.remove(context.world.paths.held / each.id)
    return receipt


def answered(context: PassContext, token: bytes) -> dict[str, Json]:
    """`received`, for a document put here by hand: one that is for nothing of ours is refused."""
    receipt = received(context, token)
    if receipt is None:
        raise Untrusted(Reason.CHAIN_INVALID, "receipt_unasked")
    return next(each for each in owed(context) if each["sha256"] == receipt.sub)


def owed(context: PassContext) -> list[dict[str, Json]]:
    """Every request, newest first: who must answer it, and by when."""
    places = gate_inputs.destinations(Purpose.DATA_RIGHTS, context.settings, context.root)
    who: dict[str, Json] = {"name": context.root.sub, "url": places[0] if places else None}
    told = [rights.obligation(_seen(context, each), context.now) | {"sha256": each.sha256} for each in _load(context)]
    return [each | {"authority": who} for each in reversed(told)]


def _hold(context: PassContext, request: RightsRequest, body: bytes, content_type: str) -> Sealed:
    sealed = seal(
        request_id=request.id,
        purpose=Purpose.DATA_RIGHTS,
        url=_endpoint(context) + PATH,
        accept=SIGNED,
        body=body,
        content_type=content_type,
    )
    _remember(context, request)
    context.outbox.hold(sealed)
    return sealed


def _kept_body(context: PassContext, request: RightsRequest) -> bytes | None:
    """The bytes of a request that waits or has left; None where no copy of those very bytes is kept."""
    kept = context.outbox.held(request.id) or context.outbox.sent(request.id)
    return kept.body if kept is not None and digest(kept.body) == request.sha256 else None


def _asks(body: bytes, right: Right, text: str | None, license_sha256: str, kid: str) -> bool:
    claims = request_document.verify(body)
    return (claims.right, claims.text, claims.license_sha256, claims.jwk.kid) == (right, text, license_sha256, kid)


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    """As many as one request may reveal."""
    return [names[start : start + MAX_REVEALS] for start in range(0, len(names), MAX_REVEALS)]


def _make_ready(context: PassContext, meant: Sequence[str]) -> Path:
    body = rights.body(context.world.catalog, Right.ERASE, _secrets(context, meant))
    name = f"{READY}-{digest(body)[:16]}"
    _remember(
        context, RightsRequest(id=name, kind=Right.ERASE, at=context.now, sha256=digest(body), reports=frozenset(meant))
    )
    context.world.files.write(_ready_path(context, name), body)
    return _ready_path(context, name)


def _replace_smaller(
    context: PassContext, known: Iterable[RightsRequest], meant: frozenset[str], made: Collection[Path]
) -> None:
    """What a newer file asks for as well needs no file of its own. Its request is still known: it may be on its way."""
    for each in known:
        path = _ready_path(context, each.id)
        if each.reports <= meant and path not in made:
            context.world.files.remove(path)


def _secrets(context: PassContext, ids: Iterable[str]) -> list[bytes]:
    return [_secret(context, name) for name in ids]


def _secret(context: PassContext, report_id: str) -> bytes:
    # The id comes from a command: only what is in the folder is opened.
    if report_id not in context.world.files.names(context.world.paths.erasure):
        raise Usage(Fault.USAGE, "report_unknown", id=report_id[:64])
    secret = _kept_secret(context, report_id)
    if secret is None:
        raise Storage(Fault.IO_FAILED, "erasure_broken", id=report_id[:64])
    return secret


def _kept_secret(context: PassContext, report_id: str) -> bytes | None:
    """None where the disk has damaged it."""
    try:
        secret = context.world.files.read(context.world.paths.erasure / report_id, max_bytes=_SECRET_BYTES)
    except Misconfigured:
        return None
    return secret if secret is not None and len(secret) == _SECRET_BYTES else None


def _endpoint(context: PassContext) -> str:
    """Where an answer is owed. One in another region still gets its request, to a file: the gate forbids the sending."""
    places = gate_inputs.destinations(Purpose.DATA_RIGHTS, context.settings, context.root)
    elsewhere = [place.url for place in context.root.endpoints.get(Purpose.DATA_RIGHTS, ())]
    if not elsewhere:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=Purpose.DATA_RIGHTS.value)
    return [*places, *elsewhere][0]


def _not_erased(context: PassContext, known: Iterable[RightsRequest]) -> list[str]:
    """The reports that are still at the other end, as far as it said."""
    erased = {name for each in known if each.kind == Right.ERASE and each.answered_at for name in each.reports}
    return [name for name in reports_sent(context) if name not in erased]


def _id_of_open(known: Iterable[RightsRequest], sha256: str) -> str | None:
    return next((each.id for each in known if each.sha256 == sha256 and _is_open(each)), None)


def _is_open(request: RightsRequest) -> bool:
    return request.answered_at is None and request.id.startswith(f"{PREFIX}-")


def _seen(context: PassContext, request: RightsRequest) -> RightsRequest:
    """With the time of its sending, where this agent sent it and the copy is kept."""
    at = context.outbox.attempted_at(request.id)
    return request if at is None else replace(request, sent_at=at)


def _remember(context: PassContext, request: RightsRequest) -> None:
    """The first time counts: to ask again for the same does not begin the count anew."""
    known = _load(context)
    if all(each.id != request.id for each in known):
        _store(context, [*known, request])


def _ready_path(context: PassContext, name: str) -> Path:
    return context.world.paths.ready / f"{name}.json"


def _path(context: PassContext) -> Path:
    return context.world.paths.state_dir / "rights.json"


def _load(context: PassContext) -> tuple[RightsRequest, ...]:
    """A file that is not what `_store` writes is kept beside it, and said: the dates in it are owed to somebody."""
    try:
        data = context.world.files.read(_path(context), max_bytes=rights.MAX_BYTES)
        return () if data is None else rights.decode(data)
    except (Untrusted, Misconfigured) as refused:
        _purge_unknown(context)
        state_files.quarantine(context.world.files, _path(context), refused)
        return ()


def _purge_unknown(context: PassContext) -> None:
    """What the held requests ask for, nobody knows any more; asked again it is another one. They would wait for ever."""
    orphans = context.outbox.held_ids(PREFIX)
    try:
        context.outbox.purge_held(orphans, context.now, reason="unknown")
    except Storage as trouble:  # a right does not depend on the ledger
        log_event("ledger_not_written", level="error", error=str(trouble))


def _store(context: PassContext, requests: Iterable[RightsRequest]) -> None:
    context.world.files.write(_path(context), rights.encode(rights.kept(requests)))
