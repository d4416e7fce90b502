"""Carries out the administrator's commands on records: held and sent reports, receipts, ledger, rights requests, export.

Each command is one function with the values that it uses; sending obeys the gate and the ledger as in any other pass.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Denial
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Unreadable, Untrusted, Usage
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.ledger.requests import CopyState, RequestRecord, Stage
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.values import replace
from opanel_agent.core.wire.message import Reply, Sealed, head
from opanel_agent.evaluate import export
from opanel_agent.evaluate.consent.rights import DataRights
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.reporting import report
from opanel_agent.evaluate.requests import request_records
from opanel_agent.evaluate.requests.commanded import carry_out, options_of, show
from opanel_agent.evaluate.requests.outbox import Outbox
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.evaluate.storage.ledger_file import LedgerFile, digest
from opanel_agent.network.gate_inputs import GateSources, denial_error, objections_json, objections_of
from opanel_agent.system.log import log_event
from opanel_agent.system.storage import trust
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

Result = dict[str, Json]

MAX_ENTRIES: Final = 1000
MAX_LIST_BYTES: Final = 512 * 1024  # of a list in a result: with the answer beside it a job's output has room for it
EXPORT_PART_BYTES: Final = 512 * 1024
MAX_EXPORT_BYTES: Final = 256 * 1024 * 1024
_OFFSET: Final = r"[0-9]{1,12}"
_MAX_RECEIPT_BYTES: Final = receipt_document.MAX_BYTES + 1


# ---- reports


def preview(context: PassContext, intent: Members) -> Result:
    """Shows the next usage report. One that is held is shown as it will leave; else it is collected now.

    Where the gate objects to usage reports, what is shown is kept nowhere: collecting for later needs a consent of before.
    """
    purpose = intent.text("purpose", max_length=32)
    if purpose != Purpose.USAGE_STATISTICS:
        raise Usage(Fault.USAGE, "preview_purpose", purpose=purpose)
    sealed = next((held for held in context.outbox.held_reports() if held.purpose == purpose), None)
    kept = sealed is not None or context.read_gate().permits(purpose)
    if sealed is None:
        reports, places = context.reports, context.gate.destinations(purpose)
        sealed = reports.make_usage(places) if kept else reports.draft_usage(places)
    why = _why(context.gate, sealed, context.ports.catalog, context.now)
    return show(sealed) | {"why": why, "kept": kept, "edited": _is_edited(context.outbox, sealed)}


def held(context: PassContext, intent: Members) -> Result:
    """Lists, shows, drops or sends held reports. Raises Usage for another action, Untrusted for an unknown id."""
    sources, catalog, now = context.gate, context.ports.catalog, context.now
    action = intent.text("action", max_length=8) if intent.has("action") else "list"
    if action == "list":
        return {
            "held": [
                _held_json(sealed, context) | {"why": _why(sources, sealed, catalog, now)}
                for sealed in context.outbox.held_reports()
            ]
        }
    report_id = intent.text("id", max_length=64)
    sealed = context.outbox.held(report_id)
    if sealed is None:  # not `held_unknown`, whose cure is for a request that a command has just shown
        raise Untrusted(Fault.USAGE, "held_report_unknown", id=report_id)
    match action:
        case "show":
            edited = _is_edited(context.outbox, sealed)
            return show(sealed) | {"why": _why(sources, sealed, catalog, now), "edited": edited}
        case "drop":
            context.outbox.purge_held([sealed.id], context.now, reason="dropped")
            return {"dropped": sealed.id}
        case "send":
            return _send_reviewed(context, sealed)
        case _:
            raise Usage(Fault.USAGE, "held_action", action=action)


def sent(outbox: Outbox, intent: Members) -> Result:
    """Lists what left or may have, newest first, or shows one with its reply and receipt. Raises Untrusted (`sent_unknown`).

    The ledger says what left; a copy is compared with it before it is shown.
    """
    if intent.has("id"):
        return _sent_one(outbox, intent.text("id", max_length=64))
    records = request_records.attempted(outbox)
    rows = (_sent_json(outbox, record) for record in records)
    return {"sent": _first_that_fit(rows), "of": len(records)}


def purge(outbox: Outbox, data_rights: DataRights, now: int) -> Result:
    """Purges all payloads of reports; erasure requests for those that may have left are written to `ready/` first."""
    gone = [record.id for record in request_records.attempted(outbox) if record.purpose in set(CONSENT_BASED)]
    ready = data_rights.make_ready(gone) if gone else None
    waiting = {sealed.id for sealed in outbox.held_reports()}
    items = [item for item in outbox.held_items() if item.id in waiting]
    items += [item for item in outbox.sent_items() if item.id in {*gone}]
    purged: list[Json] = [item.id for item in outbox.purge(items, now, reason="purged")]
    return {"purged": purged, "ready": None if ready is None else str(ready)}


# ---- rights, receipts, ledger


def use_right(context: PassContext, intent: Members) -> Result:
    """Prepares a request by which a right is used, and carries it out as every command of the administrator's."""
    ids = sorted(intent.texts("ids", max_items=64, max_length=64)) if intent.has("ids") else None
    text = intent.text("text", max_length=2000) if intent.has("text") else None
    kind = intent.text("kind", max_length=16)
    over_license = intent.has("license") and intent.boolean("license")
    if over_license and ids is not None:
        raise Usage(Fault.USAGE, "rights_license_ids")

    def prepare() -> Sealed:
        return context.rights.prepare_license(kind, text) if over_license else context.rights.prepare(kind, ids, text)

    def install(sealed: Sealed, reply: Reply) -> Result:
        try:
            receipt = context.rights.received(reply.body)
        except Untrusted as refused:  # it has left all the same; only the promise is missing
            log_event("receipt_refused", level="warning", id=sealed.id, error=str(refused))
            receipt = None
        if receipt is None:
            return {"due": None, "answer": None}
        context.ledger.append(
            EntryKind.RECEIPT_KEPT, context.now, purpose=sealed.purpose, id=sealed.id, due=receipt.due
        )
        return {"due": receipt.due, "answer": receipt.answer}

    return carry_out(context, Purpose.DATA_RIGHTS, prepare, options_of(intent), install)


def history(ledger: LedgerFile) -> Result:
    """Returns the newest entries of the ledger, 1000 at most, oldest first, and how many there are. Raises Storage."""
    newest = deque(ledger.entries(), maxlen=MAX_ENTRIES)
    entries = _first_that_fit(_entry(entry) for entry in reversed(newest))
    return {"entries": [*reversed(entries)], "of": ledger.head.seq}


def receipts(
    files: Files, paths: Paths, first_root: Root, data_rights: DataRights, wanted: str | None = None
) -> Result:
    """Returns the receipts that verify, the newest where not all fit, and what is owed for the rights requests.

    `wanted` is the id of the one that is asked for.
    """
    rows: list[tuple[int, Json]] = []
    roots = trust.every_root(files, paths, first_root)
    for name in files.names(paths.receipts):
        if wanted not in (None, name.removesuffix(".jwt")):
            continue
        token = _receipt_token(files, paths, name.removesuffix(".jwt"))
        receipt = None if token is None else _verified(token, roots)
        if token is None or receipt is None:
            log_event("receipt_unreadable", level="warning", file=name)
            continue
        row: dict[str, Json] = {"id": name.removesuffix(".jwt"), "kind": receipt.kind, "iat": receipt.iat}
        rows.append((receipt.iat, row | {"due": receipt.due, "sub": receipt.sub, "token": token.decode("ascii")}))
    owed: list[Json] = [*data_rights.owed()]
    fitting = _first_that_fit(row for _, row in sorted(rows, key=lambda dated: dated[0], reverse=True))
    return {"receipts": [row for _, row in rows if row in fitting], "of": len(rows), "owed": owed}


def notice_shown(ledger: LedgerFile, notice: str, now: int, intent: Members) -> Result:
    """Records that the installed notice was shown, and in which language. Raises Storage."""
    ledger.append(EntryKind.NOTICE_SHOWN, now, lang=intent.text("lang", max_length=2), notice=notice)
    return {"noticed": notice}


def export_part(files: Files, paths: Paths, first_root: Root, intent: Members) -> Result:
    """Returns one part of the export for an auditor: `id` is its offset, `more` the next one or null.

    The first part makes the file, and the others come from it, so that all of them are of one moment.
    """
    offset = int(intent.text("id", max_length=12, pattern=_OFFSET)) if intent.has("id") else 0
    if offset == 0:
        files.write(paths.export, export.gather(files, paths, first_root))
    data = files.read(paths.export, max_bytes=MAX_EXPORT_BYTES)
    if data is None:
        raise Usage(Fault.USAGE, "export_gone")
    end = offset + EXPORT_PART_BYTES
    if end >= len(data):
        files.remove(paths.export)
    return {"export": base64url(data[offset:end]), "more": str(end) if end < len(data) else None, "size": len(data)}


# ---- parts


def _first_that_fit(rows: Iterable[Json]) -> list[Json]:
    """Returns the first of a list, as many as a job's output has room for."""
    fitting: list[Json] = []
    left = MAX_LIST_BYTES
    for row in islice(rows, MAX_ENTRIES):
        left -= len(dumps(row)) + 1
        if left < 0:
            break
        fitting.append(row)
    return fitting


def _send_reviewed(context: PassContext, sealed: Sealed) -> Result:
    """Releases a reviewed report: neither hold nor review stands in its way any more, everything else still does."""
    released = replace(sealed, reviewed=True)
    sources = context.read_gate()
    decision = report.decide(sources, released, context.ports.catalog, context.now)
    if isinstance(decision, Denial):
        raise denial_error(released.purpose, decision.grounds[0])
    context.ledger.request(EntryKind.REQUEST_REVIEWED, context.now, released)
    context.outbox.hold(released)
    reply = context.reports.send(released, signalled=sources.opted_out)
    if not reply.ok:
        raise error_of(reply) or Untrusted(Fault.PROTOCOL, "reply_failed")
    return {"sent": True, "id": released.id, "url": released.url, "reply_status": reply.status}


def _why(sources: GateSources, sealed: Sealed, catalog: Catalog, now: int) -> list[Json]:
    """Returns what objects to a held report now, from the reading of this pass."""
    return objections_json(objections_of(report.decide(sources, sealed, catalog, now)))


def _held_json(sealed: Sealed, context: PassContext) -> Result:
    """Returns a report that waits: how far it came (one that nobody answered may have left), and when its hold ends."""
    record = context.outbox.ledger.requests.get(sealed.id)
    hold_s = context.inputs.consent.hold_s(Purpose(sealed.purpose))
    return {
        "id": sealed.id,
        "purpose": sealed.purpose,
        "stage": str(Stage.SEALED if record is None else record.stage),
        "attempted_at": record.at if record is not None and record.may_have_left else None,
        "held_since": sealed.held_since,
        "ready_at": (sealed.held_since or context.now) + hold_s,
        "body_bytes": len(sealed.body),
        "edited": _is_edited(context.outbox, sealed),
    }


def _is_edited(outbox: Outbox, sealed: Sealed) -> bool:
    """Tells whether a held report says something else than what the ledger has the digest of."""
    record = outbox.ledger.requests.get(sealed.id)
    return record is not None and record.body_sha256 not in (None, digest(sealed.body))


def _sent_json(outbox: Outbox, record: RequestRecord) -> Result:
    """Returns a request that left or may have: how far it came, by the ledger, and what its copy here is worth."""
    return {
        "id": record.id,
        "purpose": record.purpose,
        "kind": request_records.kind_of(record.id),
        "url": record.url,
        "at": record.at,
        "stage": str(record.stage),
        "status": record.status,
        "reason": record.reason,
        "copy": str(request_records.copy_of(outbox, record)),
        "sha256": record.sha256,
        "receipt": _receipt_name(outbox, record.id) is not None,
    }


def _sent_one(outbox: Outbox, request_id: str) -> Result:
    record = request_records.record_of(outbox, request_id)
    if record is None or not record.may_have_left:
        raise Untrusted(Fault.USAGE, "sent_unknown", id=request_id)
    sealed, reply = outbox.sent(request_id), outbox.reply(request_id)
    name = _receipt_name(outbox, request_id)
    token = None if name is None else _receipt_token(outbox.files, outbox.paths, name)
    replied = reply is not None and reply.status is not None
    return _sent_json(outbox, record) | {
        "head": None if sealed is None else head(sealed).decode("ascii"),
        "body": None if sealed is None else sealed.body.decode("utf-8", "replace"),
        "reply_status": reply.status if replied and reply is not None else record.status,
        "reply_body": reply.body.decode("utf-8", "replace") if replied and reply is not None else None,
        "reply_copy": _reply_copy(record, reply if replied else None),
        "receipt": None if token is None else token.decode("ascii", "replace"),
    }


def _reply_copy(record: RequestRecord, reply: Reply | None) -> Json:
    """Returns what the kept reply is worth, null where nobody replied."""
    if reply is None:
        return str(CopyState.PURGED if record.purged else CopyState.MISSING) if record.left else None
    return str(CopyState.KEPT if request_records.reply_is_kept(record, reply) else CopyState.EDITED)


def _receipt_name(outbox: Outbox, request_id: str) -> str | None:
    """Returns the receipt of a request: of a right's, the answer before the receipt that announced it."""
    names = (f"{request_id}.answer", request_id)
    return next((name for name in names if _receipt_token(outbox.files, outbox.paths, name) is not None), None)


def _entry(entry: Entry) -> Json:
    members: dict[str, Json] = {"seq": entry.seq, "at": entry.at, "kind": entry.kind, "purpose": entry.purpose}
    return members | {"data": dict(entry.data), "sha256": entry.digest}


def _verified(token: bytes, roots: Sequence[Root]) -> Receipt | None:
    """Verifies a receipt, which outlives its key.

    It is verified under the root under which it was given, as an auditor will.
    """
    for root in reversed(roots):
        with contextlib.suppress(Untrusted):
            return receipt_document.verify(token, root)
    return None


def _receipt_token(files: Files, paths: Paths, name: str) -> bytes | None:
    try:
        data = files.read(paths.receipts / f"{name}.jwt", max_bytes=_MAX_RECEIPT_BYTES)
    except (Misconfigured, Unreadable):  # the disk may be at fault
        return None
    return None if data is None else data.strip()
