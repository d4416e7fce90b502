"""`data preview | held | export | request | purge`: all that is or would be said of this server.

It is the owner's to see and in the daemon's hands; it is shown as it is on the wire, byte for byte, before and after.
What could ever be said (`data catalog`) is in `cli.data.catalog`, what left in `cli.data.sent`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opanel_agent.cli import send
from opanel_agent.cli.client import Done, decode_reply
from opanel_agent.cli.consent.locations import where
from opanel_agent.cli.context import Context
from opanel_agent.cli.data import pages
from opanel_agent.cli.data.sent import MAX_ROWS, stage
from opanel_agent.cli.display.layout import paragraph, verbatim
from opanel_agent.cli.display.output import CommandResult, Shown, Warned, escaped
from opanel_agent.cli.display.prompter import agreed
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.parser import Options
from opanel_agent.cli.purposes import consent_purpose
from opanel_agent.cli.send import Leaving, SendObstacle, known_id, wait_s
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent import rights
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.errors import Usage
from opanel_agent.core.ledger.export import ExportFlaw
from opanel_agent.core.ledger.requests import CopyState, Stage
from opanel_agent.core.reporting.catalog import Field
from opanel_agent.system.storage.resources import load_catalog

EXPORT_MODE: Final = 0o600
MAX_HELD: Final = 256
NO: Final = 1
_NO_COPY: Final = frozenset({CopyState.PURGED, CopyState.MISSING})
SIGNALLED: Final = frozenset({Reason.OPT_OUT, Reason.OFFLINE})


def preview(options: Options, world: Context) -> CommandResult:
    """Shows the next report of a purpose, as it would leave. Without a consent nothing of it is kept."""
    purpose = consent_purpose(options.operands[0])
    return _report(world, world.client.post("/v1/preview", {"purpose": purpose}, wait_s=wait_s(options)))


def held(options: Options, world: Context) -> CommandResult:
    done = world.client.post("/v1/held", {"action": "list"}, wait_s=wait_s(options))
    lines: list[str] = []
    with decode_reply():
        for each in done.result.each("held", MAX_HELD):
            lines += _held_lines(world, each)
    return CommandResult(result=done.plain, lines=tuple(lines) or (world.sentence("held.none"),))


def held_show(options: Options, world: Context) -> CommandResult:
    return _report(world, _held_post(options, world, "show"))


def held_drop(options: Options, world: Context) -> CommandResult:
    """Drops a held report. `--dry-run` only finds it and names it, and fails as the drop would where it is unknown."""
    if "--dry-run" in options.flags:
        shown = _held_post(options, world, "show").result
        with decode_reply():
            found = shown.text("id")
        result: dict[str, Json] = {"dropped": None, "would_drop": found}
        return CommandResult(result=result, lines=(world.sentence("purge.would", id=found),))
    done = _held_post(options, world, "drop")
    return CommandResult(result=done.plain, lines=(world.sentence("held.dropped", id=_id(options)),))


def held_send(options: Options, world: Context) -> CommandResult:
    """Shows a held report, then sends those very bytes without waiting for hold or review; all else may still deny it.

    Under an opt-out it is written to a file instead, as every command that sends does.
    """
    shown = _held_post(options, world, "show").result
    with decode_reply():
        leaving = send.read(shown)
    forbidden = tuple(each for each in leaving.why if each.reason in SIGNALLED)
    if forbidden:
        body = send.text_of(shown, "body").encode()
        return send.write_out(world, Path(f"{leaving.id}.json"), body, forbidden)
    for line in _leaving_lines(world, leaving, "leaves.head"):
        world.console.note(escaped(line))
    done = _held_post(options, world, "send")
    with decode_reply():
        if not done.result.boolean("sent"):
            return CommandResult(result=done.plain, lines=(world.sentence("carry.not_sent"),), exit_status=NO)
        return CommandResult(result=done.plain, lines=(_sent_line(world, done.result),))


def export(options: Options, world: Context) -> CommandResult:
    """Writes the one file for an auditor, also as a page.

    What a check finds is printed, and both are written all the same.
    """
    file, html = (Path(options.values[name]) if name in options.values else None for name in ("-o", "--html"))
    if file is None and html is None:
        raise Usage(Fault.USAGE, "operand_missing", operand="-o FILE")
    whole = pages.gather(world, wait_s(options))
    lines: list[str] = []
    if file is not None:
        world.files.write(file, whole.data, mode=EXPORT_MODE)
        lines.append(world.sentence("export.written", file=str(file), bytes=len(whole.data)))
    if html is not None:
        from opanel_agent.cli.data import audit_page  # for who wants the page alone

        world.files.write(html, audit_page.page(world, whole).encode("utf-8"), mode=EXPORT_MODE)
        lines.append(world.sentence("export.page_written", file=str(html)))
    lines.append(world.sentence("export.sha256", sha256=whole.sha256))
    lines += paragraph(world.sentence("export.verify", file=str(file))) if file is not None else []
    findings = whole.checked.findings
    return CommandResult(
        result={
            "file": None if file is None else str(file),
            "html": None if html is None else str(html),
            "bytes": len(whole.data),
            "sha256": whole.sha256,
            "findings": _found(findings),
        },
        lines=tuple(lines),
        warnings=tuple(
            Warned(
                code=str(Reason.LEDGER),
                title=world.sentence(f"finding.{each.what}", name=each.name, line=each.line or 0),
            )
            for each in findings
        ),
    )


def request(options: Options, world: Context) -> CommandResult:
    """Uses a right: shown first, then sent; or written to a file, to be carried by other ways."""
    suffix = "jwt" if "--license" in options.flags else "json"
    sent_ = send.send(options, world, "/v1/rights", _right(options), suffix=suffix)
    if isinstance(sent_, Done):
        return CommandResult(result=sent_.plain, lines=tuple(_promise_lines(world, sent_.result)))
    return sent_._replace(lines=(*sent_.lines, *paragraph(world.sentence("carry.rights"))))


def purge(options: Options, world: Context) -> CommandResult:
    """Takes away every payload that is kept here. The ledger still says that there was one.

    A person at a terminal is shown which, and asked. `--dry-run` only shows.
    """
    if "--dry-run" in options.flags:
        kept = _kept(options, world)
        return CommandResult(result={"purged": [], "would_purge": kept}, lines=tuple(_kept_lines(world, kept)))
    if not agreed(options, world, lambda: _kept_lines(world, _kept(options, world)), "purge.question"):
        return CommandResult(result={"purged": []}, lines=(world.sentence("prompt.nothing_done"),), exit_status=NO)
    done = world.client.post("/v1/purge", {}, wait_s=wait_s(options))
    with decode_reply():
        purged = sorted(done.result.texts("purged", max_items=1024))
        ready = done.result.value("ready") if done.result.has("ready") else None
    lines = [world.sentence("purge.one", id=name) for name in purged] or [world.sentence("purge.none")]
    if isinstance(ready, str):
        lines += paragraph(world.sentence("purge.ready", file=ready))
    return CommandResult(result=done.plain, lines=tuple(lines))


def _kept(options: Options, world: Context) -> list[str]:
    """Returns the ids of the reports that wait, and of those that left and of which a copy is here."""
    waiting = world.client.post("/v1/held", {"action": "list"}, wait_s=wait_s(options)).result
    left = world.client.post("/v1/sent", {}, wait_s=wait_s(options)).result
    with decode_reply():
        found = {each.text("id") for each in waiting.each("held", MAX_HELD)}
        found |= {
            each.text("id")
            for each in left.each("sent", MAX_ROWS)
            if each.text("purpose") in set(CONSENT_BASED) and each.text("copy") not in _NO_COPY
        }
    return sorted(found)


def _kept_lines(world: Context, ids: list[str]) -> Iterator[str]:
    for name in ids:
        yield world.sentence("purge.would", id=name)
    yield world.sentence("purge.ledger" if ids else "purge.nothing_kept")


def _report(world: Context, done: Done) -> CommandResult:
    with decode_reply():
        leaving = send.read(done.result)
        kept = done.result.boolean("kept") if done.result.has("kept") else True
        edited = done.result.has("edited") and done.result.boolean("edited")
    lines = [*_leaving_lines(world, leaving, "preview.head")]
    lines += [world.sentence("held.edited")] if edited else []
    lines += [
        "",
        world.sentence("preview.denied" if leaving.why else "preview.permitted"),
        *_why_lines(world, leaving.why),
    ]
    lines += paragraph(world.sentence("preview.kept", id=leaving.id) if kept else world.sentence("preview.not_kept"))
    return CommandResult(result=done.plain, lines=tuple(lines))


def _leaving_lines(world: Context, leaving: Leaving, head: str) -> Iterator[str]:
    """Yields what a report says, field by field as the catalog describes it, and then its bytes."""
    fields = load_catalog().fields(leaving.purpose)
    yield world.sentence(head, purpose=world.named("purpose", leaving.purpose), url=leaving.url)
    for name in leaving.names:
        yield from _value_lines(world, leaving, name, fields.get(name))
    yield from send.raw_lines(world, leaving)


def _value_lines(world: Context, leaving: Leaving, name: str, field: Field | None) -> Iterator[str]:
    yield from paragraph(f"{name}: {send.value_of(leaving, name)}", indent=2, hang=4)
    if field is not None:
        yield from paragraph(field.description[world.lang], indent=6)


def _why_lines(world: Context, why: tuple[SendObstacle, ...]) -> Iterator[str]:
    for each in why:
        reason = world.named("reason", each.reason)
        line = world.sentence("ground.line", reason=reason, where=where(world, each))
        yield from paragraph(line.strip(), indent=2, hang=4)


def _found(findings: tuple[ExportFlaw, ...]) -> Shown:
    return [{"what": str(each.what), "name": each.name, "line": each.line} for each in findings]


def _held_post(options: Options, world: Context, action: str) -> Done:
    return world.client.post("/v1/held", {"action": action, "id": _id(options)}, wait_s=wait_s(options))


def _held_lines(world: Context, each: Members) -> Iterator[str]:
    yield f"{each.text('id')}  {world.named('purpose', each.text('purpose'))}"
    since, ready = moment(each.integer("held_since")), moment(each.integer("ready_at"))
    yield from paragraph(
        world.sentence("held.times", since=since, ready=ready, bytes=each.integer("body_bytes")), indent=2, hang=2
    )
    if each.text("stage") != Stage.SEALED:
        progress = world.sentence("held.stage", stage=stage(world, each), at=moment(each.integer("attempted_at")))
        yield from paragraph(progress, indent=2, hang=2)
    if each.boolean("edited"):
        yield f"  {world.sentence('held.edited')}"
    yield from _why_lines(world, send.grounds(each))


def _sent_line(world: Context, sent: Members) -> str:
    return world.sentence("held.sent", id=sent.text("id"), url=sent.text("url"), status=sent.integer("reply_status"))


def _right(options: Options) -> dict[str, Json]:
    """Returns what is asked, as the daemon takes it. Judged here as it will be built, so that a mistake is told at once."""
    kind, *ids = options.operands
    text = options.values.get("--text")
    rights.right_of(load_catalog(), kind, text)
    asked: dict[str, Json] = {"kind": kind}
    if "--license" in options.flags:
        asked["license"] = True
        if ids:
            raise Usage(Fault.USAGE, "rights_license_ids")
    if ids:
        asked["ids"] = [known_id(each) for each in ids]
    return asked if text is None else asked | {"text": text}


def _promise_lines(world: Context, reply: Members) -> Iterator[str]:
    yield world.sentence("rights.sent")
    if reply.has("due") and isinstance(due := reply.value("due"), int):
        yield world.sentence("rights.due", due=moment(due))
    else:
        yield from paragraph(world.sentence("rights.no_receipt"))
    if reply.has("answer") and (answer := reply.value("answer")) is not None:
        yield world.sentence("rights.answer")
        yield from verbatim(json.dumps(answer, ensure_ascii=False, indent=1))


def _id(options: Options) -> str:
    return known_id(options.operands[0])
