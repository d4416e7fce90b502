"""Rights on this machine: which reports a request means, the request itself, and what is owed for it.

`erasure/<report id>` holds the 32 random bytes of each report that was ever sealed. A report counts as sent when its attempt
is in `sent/`, its receipt in `receipts/`, or its attempt in the ledger, so one whose copy was purged can still be erased at
the other end; one that was dropped before it left reveals nothing. `rights.json` knows every request that was made.

Where an opt-out forbids sending, the same bytes go to a file (`jobs.ask`). `ready/` holds erasure requests that nobody asked
for yet: of what had left when a consent was withdrawn. They stay when the copies of the reports are purged, until the
authority's answer was taken up.

A right over license data needs no random bytes: `activation.key` signs the request, and so proves which installation asks.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from opanel_agent.core import rights
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents import request as request_document
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.request import Right
from opanel_agent.core.errors import Misconfigured, NotPermitted, Storage, Untrusted, Usage
from opanel_agent.core.ledger import Kind
from opanel_agent.core.purposes import Purpose
from opanel_agent.core.reasons import Fault, Reason
from opanel_agent.core.request import JOSE, JSON, SIGNED, Sealed, seal
from opanel_agent.core.rights import MAX_REVEALS, Request
from opanel_agent.core.strict_json import Json
from opanel_agent.jobs import agent_key, gate, own, sent, signed
from opanel_agent.jobs.desk import Desk
from opanel_agent.jobs.ledger import digest
from opanel_agent.jobs.retention import Rooms
from opanel_agent.system.log import line

PATH: Final = "/v1/rights"
PREFIX: Final = "rights"
READY: Final = "erase"
_SECRET_BYTES: Final = 32


def prepare(desk: Desk, kind: str, ids: Sequence[str] | None = None, text: str | None = None) -> Sealed:
    """The sealed request, held: of the reports `ids`, or of all that are still there. Raises Usage for what cannot be asked.

    The same request that was not answered yet is the same bytes under the same id. It waits without an end, as a license
    command does.
    """
    known = _load(desk)
    meant = _not_erased(desk, known) if ids is None else list(dict.fromkeys(ids))
    body = rights.body(desk.world.catalog, kind, _secrets(desk, meant), text)
    request = Request(
        id=_id_of_open(known, digest(body)) or sent.new_id(desk, PREFIX),
        kind=kind,
        at=desk.now,
        sha256=digest(body),
        reports=frozenset(meant),
    )
    return _hold(desk, request, body, JSON)


def prepare_license(desk: Desk, kind: str, text: str | None = None) -> Sealed:
    """The sealed request about what the authority holds of this installation's license. Raises what `prepare` does.

    Raises Untrusted without a license, NotPermitted without the key that could prove whose it is. The same request that was
    not answered yet is the same bytes, as far as its copy is kept.
    """
    right = rights.right_of(desk.world.catalog, kind, text)
    if desk.bundle is None:
        raise Untrusted(Reason.NO_LICENSE, "license_needed")
    signer = agent_key.load(desk.world.files, desk.world.paths)
    if signer is None:
        raise NotPermitted(Reason.NOT_PERMITTED, "rights_no_key")
    for each in _load(desk):
        body = _kept_body(desk, each) if each.license and _is_open(each) else None
        if body is not None and _asks(body, right, text, desk.bundle.license.digest, signer.public.kid):
            return _hold(desk, each, body, JOSE)
    body = signed.request(desk, desk.bundle.license, signer, request_document.Kind.RIGHTS, right=right, text=text)
    request = Request(
        id=sent.new_id(desk, PREFIX), kind=right, at=desk.now, sha256=digest(body), reports=frozenset(), license=True
    )
    return _hold(desk, request, body, JOSE)


def reports_unerased(desk: Desk) -> list[str]:
    """The reports that are still at the other end, as far as it said, and whose secret proves something."""
    # A secret that the disk damaged proves nothing any more, and must not keep a withdrawal from being done.
    return [name for name in _not_erased(desk, _load(desk)) if _kept_secret(desk, name) is not None]


def erasures(desk: Desk) -> list[bytes]:
    """Requests that have every report erased which is still at the other end: for whoever is about to lose the secrets."""
    return [
        rights.body(desk.world.catalog, Right.ERASE, _secrets(desk, meant))
        for meant in _portions(reports_unerased(desk))
    ]


def make_ready(desk: Desk, ids: Iterable[str]) -> Path | None:
    """An erasure request for reports that are purged or withdrawn, to be carried when the administrator likes.

    The file's bytes are the request's. None where none of them left; the folder where one request could not hold all. Call
    it before the copies are purged. Reports whose erasure was answered are not asked for again.
    """
    known = _load(desk)
    wanted = {*ids}
    meant = [name for name in reports_unerased(desk) if name in wanted]
    made = [_make_ready(desk, portion) for portion in _portions(meant)]
    _replace_smaller(desk, known, frozenset(meant), made)
    return None if not made else made[0] if len(made) == 1 else desk.world.paths.ready


def reports_sent(desk: Desk) -> list[str]:
    """The ids of all reports that may have left and whose secret is kept, their copies purged or not."""
    files, paths = desk.world.files, desk.world.paths
    kept = files.names(paths.erasure)
    left = {name.rpartition(".")[0] for name in files.names(paths.sent) if name.endswith(".attempted")}
    left |= {name.removesuffix(".jwt") for name in files.names(paths.receipts)}
    try:
        left |= {str(entry.data.get("id")) for entry in desk.book.entries() if entry.kind == Kind.REQUEST_ATTEMPTED}
    except (Storage, Untrusted) as trouble:  # a right does not depend on the ledger: rather one report too many
        line("ledger_not_read", level="warning", code=str(trouble.code), detail=trouble.detail)
        left |= {*kept} - {*files.names(paths.held)}
    return [name for name in kept if name in left]


def received(desk: Desk, token: bytes) -> Receipt | None:
    """Takes up a receipt of the authority's: its date, or its answer. None where it is for no request of ours.

    Both are kept beside the receipts of reports. Raises Untrusted for what the authority did not sign.
    """
    receipt = receipt_document.verify(token.strip(), desk.root)
    known = _load(desk)
    mine = [_seen(desk, each).told(receipt) for each in known if each.sha256 == receipt.sub]
    if not mine:
        return None
    answers = receipt.due == receipt.iat
    for each in mine:
        name = f"{each.id}.answer" if answers else each.id
        desk.world.files.write(desk.world.paths.receipts / f"{name}.jwt", token.strip() + b"\n")
        line("rights_receipt", id=each.id, answered=answers, due=receipt.due)
    after = {each.id: each for each in mine}
    _store(desk, [after.get(each.id, each) for each in known])
    if answers:
        for each in mine:  # what was asked for is done: nothing has to be carried any more
            desk.world.files.remove(_ready_path(desk, each.id))
            desk.world.files.remove(desk.world.paths.held / each.id)
    return receipt


def answered(desk: Desk, token: bytes) -> dict[str, Json]:
    """`received`, for a document put here by hand: one that is for nothing of ours is refused."""
    receipt = received(desk, token)
    if receipt is None:
        raise Untrusted(Reason.CHAIN_INVALID, "receipt_unasked")
    return next(each for each in owed(desk) if each["sha256"] == receipt.sub)


def owed(desk: Desk) -> list[dict[str, Json]]:
    """Every request, newest first: who must answer it, and by when."""
    places = gate.destinations(Purpose.DATA_RIGHTS, desk.settings, desk.root)
    who: dict[str, Json] = {"name": desk.root.sub, "url": places[0] if places else None}
    told = [rights.standing(_seen(desk, each), desk.now) | {"sha256": each.sha256} for each in _load(desk)]
    return [each | {"authority": who} for each in reversed(told)]


def _hold(desk: Desk, request: Request, body: bytes, content_type: str) -> Sealed:
    sealed = seal(
        request_id=request.id,
        purpose=Purpose.DATA_RIGHTS,
        url=_endpoint(desk) + PATH,
        accept=SIGNED,
        body=body,
        content_type=content_type,
    )
    _remember(desk, request)
    sent.hold(desk, sealed)
    return sealed


def _kept_body(desk: Desk, request: Request) -> bytes | None:
    """The bytes of a request that waits or has left; None where no copy of those very bytes is kept."""
    kept = sent.waiting(desk, request.id) or sent.left(desk, request.id)
    return kept.body if kept is not None and digest(kept.body) == request.sha256 else None


def _asks(body: bytes, right: Right, text: str | None, license_sha256: str, kid: str) -> bool:
    claims = request_document.verify(body)
    return (claims.right, claims.text, claims.license_sha256, claims.jwk.kid) == (right, text, license_sha256, kid)


def _portions(names: Sequence[str]) -> list[Sequence[str]]:
    """As many as one request may reveal."""
    return [names[start : start + MAX_REVEALS] for start in range(0, len(names), MAX_REVEALS)]


def _make_ready(desk: Desk, meant: Sequence[str]) -> Path:
    body = rights.body(desk.world.catalog, Right.ERASE, _secrets(desk, meant))
    name = f"{READY}-{digest(body)[:16]}"
    _remember(desk, Request(id=name, kind=Right.ERASE, at=desk.now, sha256=digest(body), reports=frozenset(meant)))
    desk.world.files.write(_ready_path(desk, name), body)
    return _ready_path(desk, name)


def _replace_smaller(desk: Desk, known: Iterable[Request], meant: frozenset[str], made: Collection[Path]) -> None:
    """What a newer file asks for as well needs no file of its own. Its request is still known: it may be on its way."""
    for each in known:
        path = _ready_path(desk, each.id)
        if each.reports <= meant and path not in made:
            desk.world.files.remove(path)


def _secrets(desk: Desk, ids: Iterable[str]) -> list[bytes]:
    return [_secret(desk, name) for name in ids]


def _secret(desk: Desk, report_id: str) -> bytes:
    # The id comes from a command: only what is in the folder is opened.
    if report_id not in desk.world.files.names(desk.world.paths.erasure):
        raise Usage(Fault.USAGE, "report_unknown", id=report_id[:64])
    secret = _kept_secret(desk, report_id)
    if secret is None:
        raise Storage(Fault.IO_FAILED, "erasure_broken", id=report_id[:64])
    return secret


def _kept_secret(desk: Desk, report_id: str) -> bytes | None:
    """None where the disk has damaged it."""
    try:
        secret = desk.world.files.read(desk.world.paths.erasure / report_id, max_bytes=_SECRET_BYTES)
    except Misconfigured:
        return None
    return secret if secret is not None and len(secret) == _SECRET_BYTES else None


def _endpoint(desk: Desk) -> str:
    """Where an answer is owed. One in another region still gets its request, to a file: the gate forbids the sending."""
    places = gate.destinations(Purpose.DATA_RIGHTS, desk.settings, desk.root)
    elsewhere = [place.url for place in desk.root.endpoints.get(Purpose.DATA_RIGHTS, ())]
    if not elsewhere:
        raise NotPermitted(Reason.REGION, "no_endpoint", purpose=Purpose.DATA_RIGHTS.value)
    return [*places, *elsewhere][0]


def _not_erased(desk: Desk, known: Iterable[Request]) -> list[str]:
    """The reports that are still at the other end, as far as it said."""
    erased = {name for each in known if each.kind == Right.ERASE and each.answered_at for name in each.reports}
    return [name for name in reports_sent(desk) if name not in erased]


def _id_of_open(known: Iterable[Request], sha256: str) -> str | None:
    return next((each.id for each in known if each.sha256 == sha256 and _is_open(each)), None)


def _is_open(request: Request) -> bool:
    return request.answered_at is None and request.id.startswith(f"{PREFIX}-")


def _seen(desk: Desk, request: Request) -> Request:
    """With the time of its sending, where this agent sent it and the copy is kept."""
    at = sent.attempted_at(desk, request.id)
    return request if at is None else replace(request, sent_at=at)


def _remember(desk: Desk, request: Request) -> None:
    """The first time counts: to ask again for the same does not begin the count anew."""
    known = _load(desk)
    if all(each.id != request.id for each in known):
        _store(desk, [*known, request])


def _ready_path(desk: Desk, name: str) -> Path:
    return desk.world.paths.ready / f"{name}.json"


def _path(desk: Desk) -> Path:
    return desk.world.paths.state_dir / "rights.json"


def _load(desk: Desk) -> tuple[Request, ...]:
    """A file that is not what `_store` writes is kept beside it, and said: the dates in it are owed to somebody."""
    try:
        data = desk.world.files.read(_path(desk), max_bytes=rights.MAX_BYTES)
        return () if data is None else rights.decode(data)
    except (Untrusted, Misconfigured) as refused:
        _purge_unknown(desk)
        own.set_aside(desk.world.files, _path(desk), refused)
        return ()


def _purge_unknown(desk: Desk) -> None:
    """What the held requests ask for, nobody knows any more; asked again it is another one. They would wait for ever."""
    rooms = Rooms(files=desk.world.files, paths=desk.world.paths, book=desk.book)
    orphans = [each for each in rooms.held() if each.id.startswith(f"{PREFIX}-")]
    try:
        rooms.purge(orphans, desk.now, reason="unknown")
    except Storage as trouble:  # a right does not depend on the ledger
        line("ledger_not_written", level="error", error=str(trouble))


def _store(desk: Desk, requests: Iterable[Request]) -> None:
    desk.world.files.write(_path(desk), rights.encode(rights.kept(requests)))
