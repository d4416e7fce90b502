"""What an administrator looks at and decides one by one: held and sent reports, receipts, the ledger, his rights requests.

Each intent is one small function from the context to a result; what they may do is the same as for any pass, through the
same
gate and the same book.
"""

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.strict_json import Json, Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents import receipt as receipt_document
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured, Untrusted, Usage
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.wire.message import Reply, Sealed, head
from opanel_agent.evaluate import export
from opanel_agent.evaluate.consent import rights
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.license import check
from opanel_agent.evaluate.reply_errors import error_of
from opanel_agent.evaluate.reporting import report
from opanel_agent.system.log import log_event
from opanel_agent.system.storage import trust

Result = dict[str, Json]

MAX_ENTRIES: Final = 1000
EXPORT_PART_BYTES: Final = 512 * 1024
MAX_EXPORT_BYTES: Final = 256 * 1024 * 1024
_OFFSET: Final = re.compile(r"[0-9]{1,12}")
_MAX_RECEIPT_BYTES: Final = receipt_document.MAX_BYTES + 1


def _preview(context: PassContext, intent: Members) -> Result:
    """The administrator's command to collect: what it shows is kept, and those bytes are the next report."""
    purpose = intent.text("purpose", max_length=32)
    if purpose != Purpose.USAGE_STATISTICS:
        raise Usage(Fault.USAGE, "preview_purpose", purpose=purpose)
    waiting = (sealed for sealed in context.outbox.held_reports() if sealed.purpose == purpose)
    return _shown(context, next(waiting, None) or report.usage(context))


def _held(context: PassContext, intent: Members) -> Result:
    action = intent.text("action", max_length=8) if intent.has("action") else "list"
    if action == "list":
        return {"held": [_waiting(context, sealed) for sealed in context.outbox.held_reports()]}
    sealed = context.outbox.require_held(intent.text("id", max_length=64))
    match action:
        case "show":
            return _shown(context, sealed)
        case "drop":
            context.outbox.purge_held([sealed.id], context.now, reason="dropped")
            return {"dropped": sealed.id}
        case "send":
            return _release(context, sealed)
        case _:
            raise Usage(Fault.USAGE, "held_action", action=action)


def _release(context: PassContext, sealed: Sealed) -> Result:
    """Looked at and let go: neither hold nor review stands in its way any more, everything else still does."""
    released = replace(sealed, reviewed=True)
    report.permitted(context, released)
    context.book.request(EntryKind.REQUEST_REVIEWED, context.now, released)
    context.outbox.hold(released)
    reply = report.send(context, released)
    if not reply.ok:
        raise error_of(reply) or Untrusted(Fault.PROTOCOL, "reply_failed")
    return {"sent": True, "id": released.id, "url": released.url, "reply_status": reply.status}


def _sent(context: PassContext, intent: Members) -> Result:
    if not intent.has("id"):
        return {"sent": [_left(context, name) for name in context.outbox.sent_ids()]}
    sealed = context.outbox.require_sent(intent.text("id", max_length=64))
    reply = context.outbox.reply(sealed.id)
    receipt = _receipt_token(context, sealed.id)
    return {
        "id": sealed.id,
        "purpose": sealed.purpose,
        "url": sealed.url,
        "at": context.outbox.attempted_at(sealed.id),
        "head": head(sealed).decode("ascii"),
        "body": sealed.body.decode("utf-8"),
        "reply_status": None if reply is None else reply.status,
        "reply_body": None if reply is None else reply.body.decode("utf-8", "replace"),
        "receipt": None if receipt is None else receipt.decode("ascii", "replace"),
    }


def _left(context: PassContext, name: str) -> Json:
    sealed, reply = context.outbox.require_sent(name), context.outbox.reply(name)
    return {
        "id": name,
        "purpose": sealed.purpose,
        "at": context.outbox.attempted_at(name),
        "url": sealed.url,
        "ok": reply is not None and reply.ok,
        "receipt": _receipt_token(context, name) is not None,
    }


def last_left(context: PassContext) -> Json:
    """The newest of what left, for `status`."""
    moments = [(context.outbox.attempted_at(name) or 0, name) for name in context.outbox.sent_ids()]
    if not moments:
        return None
    at, name = max(moments)
    sealed = context.outbox.require_sent(name)
    return {"id": name, "purpose": sealed.purpose, "at": at, "url": sealed.url}


def _rights(context: PassContext, intent: Members) -> Result:
    """A request by which a right is used: shown, sent, or written out, as every command of the administrator's."""
    ids = _texts(intent, "ids") if intent.has("ids") else None
    text = intent.text("text", max_length=2000) if intent.has("text") else None
    kind = intent.text("kind", max_length=16)
    over_license = intent.has("license") and intent.boolean("license")
    if over_license and ids is not None:
        raise Usage(Fault.USAGE, "rights_license_ids")

    def prepare() -> Sealed:
        if over_license:
            return rights.prepare_license(context, kind, text)
        return rights.prepare(context, kind, ids, text)

    def take(sealed: Sealed, reply: Reply) -> Result:
        try:
            receipt = rights.received(context, reply.body)
        except Untrusted as refused:  # it has left all the same; only the promise is missing
            log_event("receipt_refused", level="warning", id=sealed.id, error=str(refused))
            receipt = None
        if receipt is None:
            return {"due": None, "answer": None}
        context.book.append(EntryKind.RECEIPT_KEPT, context.now, purpose=sealed.purpose, id=sealed.id, due=receipt.due)
        return {"due": receipt.due, "answer": receipt.told}

    return check.carry(context, Purpose.DATA_RIGHTS, prepare, _options(intent), take)


def _purge(context: PassContext, _intent: Members) -> Result:
    """Every payload of a report goes; requests that would have them erased at the other end are made ready first."""
    gone = [name for purpose in CONSENT_BASED for name, _ in context.outbox.sent_reports(purpose)]
    ready = rights.make_ready(context, gone) if gone else None
    box = context.outbox
    waiting = {sealed.id for sealed in context.outbox.held_reports()}
    kept = [each for each in box.held_items() if each.id in waiting]
    kept += [each for each in box.sent_items() if each.id in gone]
    purged: list[Json] = [each.id for each in box.purge(kept, context.now, reason="purged")]
    return {"purged": purged, "ready": None if ready is None else str(ready)}


def _history(context: PassContext, _intent: Members) -> Result:
    entries: list[Json] = [_entry(entry) for entry in context.book.entries()]
    return {"entries": entries[-MAX_ENTRIES:], "of": len(entries)}


def _entry(entry: Entry) -> Json:
    told: dict[str, Json] = {"seq": entry.seq, "at": entry.at, "kind": entry.kind, "purpose": entry.purpose}
    return told | {"data": dict(entry.data), "sha256": entry.digest}


def _receipts(context: PassContext, _intent: Members) -> Result:
    told: list[Json] = []
    roots = trust.every_root(context.world.files, context.world.paths, context.first_root)
    for name in context.world.files.names(context.world.paths.receipts):
        token = _receipt_token(context, name.removesuffix(".jwt"))
        receipt = None if token is None else _verified(token, roots)
        if token is None or receipt is None:
            log_event("receipt_unreadable", level="warning", file=name)
            continue
        row: dict[str, Json] = {"id": name.removesuffix(".jwt"), "kind": receipt.kind, "iat": receipt.iat}
        told.append(row | {"due": receipt.due, "sub": receipt.sub, "token": token.decode("ascii")})
    owed: list[Json] = [*rights.owed(context)]
    return {"receipts": told, "owed": owed}


def _verified(token: bytes, roots: Sequence[Root]) -> Receipt | None:
    """A receipt outlives its key: it is asked of the root under which it was given, as an auditor will."""
    for root in reversed(roots):
        with contextlib.suppress(Untrusted):
            return receipt_document.verify(token, root)
    return None


def _review(context: PassContext, _intent: Members) -> Result:
    """A person has looked at a broken ledger, or at the answers that a copy brought along: consents count again.

    Of a copy from the next pass on, which first records whose word they are now.
    """
    context.book.append(EntryKind.REVIEWED, context.now)
    context.memory.clone_of = None
    return {"reviewed": True}


def _noticed(context: PassContext, intent: Members) -> Result:
    lang = intent.text("lang", max_length=2)
    context.book.append(EntryKind.NOTICE_SHOWN, context.now, lang=lang, notice=context.world.notice)
    return {"noticed": context.world.notice}


def _export(context: PassContext, intent: Members) -> Result:
    """The one file for an auditor, a part at a time: `id` is the offset, `more` the next one or null.

    The first part makes the file, and the others come from it, so that all of them are of one moment.
    """
    offset = int(intent.text("id", max_length=12, pattern=_OFFSET)) if intent.has("id") else 0
    files, made = context.world.files, context.world.paths.export
    if offset == 0:
        files.write(made, export.gather(files, context.world.paths, context.first_root))
    data = files.read(made, max_bytes=MAX_EXPORT_BYTES)
    if data is None:
        raise Usage(Fault.USAGE, "export_gone")
    end = offset + EXPORT_PART_BYTES
    if end >= len(data):
        files.remove(made)
    return {"export": base64url(data[offset:end]), "more": str(end) if end < len(data) else None, "size": len(data)}


def _shown(context: PassContext, sealed: Sealed) -> Result:
    return check.show(sealed) | {"why": report.why(context, sealed)}


def _waiting(context: PassContext, sealed: Sealed) -> Json:
    ready_at = (sealed.held_since or context.now) + context.consent.hold_s(Purpose(sealed.purpose))
    return {
        "id": sealed.id,
        "purpose": sealed.purpose,
        "held_since": sealed.held_since,
        "ready_at": ready_at,
        "body_bytes": len(sealed.body),
        "why": report.why(context, sealed),
    }


def _receipt_token(context: PassContext, name: str) -> bytes | None:
    try:
        data = context.world.files.read(context.world.paths.receipts / f"{name}.jwt", max_bytes=_MAX_RECEIPT_BYTES)
    except Misconfigured:  # the disk may be at fault
        return None
    return None if data is None else data.strip()


def _texts(intent: Members, name: str) -> list[str]:
    return sorted(intent.texts(name, max_items=64, max_length=64))


def _options(intent: Members) -> Mapping[str, Json]:
    return {name: intent.value(name) for name in ("preview", "confirm", "to_file") if intent.has(name)}


ACTS: Final[Mapping[str, Callable[[PassContext, Members], Result]]] = {
    "preview": _preview,
    "held": _held,
    "sent": _sent,
    "rights": _rights,
    "purge": _purge,
    "history": _history,
    "receipts": _receipts,
    "review": _review,
    "noticed": _noticed,
    "export": _export,
}
