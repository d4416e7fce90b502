"""`data sent`: what left this server or may have, as a table of the newest; of one, the bytes as far as they are kept.

With the daemon stopped the files say it. What is due to be sent is `data held`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from opanel_agent.cli import records, send
from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import grid, paragraph, verbatim
from opanel_agent.cli.display.output import CommandResult, Shown, Warned
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.license.screen import request_name
from opanel_agent.cli.parser import Options
from opanel_agent.cli.purposes import any_purpose, is_like_purpose
from opanel_agent.cli.send import known_id, wait_s
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.ledger.requests import CopyState, Stage

MAX_ROWS: Final = 1024
_HEAD: Final = ("head.when", "head.id", "head.receipt", "head.outcome")


def sent(options: Options, world: Context) -> CommandResult:
    """Shows the newest of all, or of one purpose; or the one that an id names.

    What `-n` and PURPOSE leave out, JSON does, too.
    """
    operand = options.operands[0] if options.operands else None
    if operand is None or is_like_purpose(operand):
        return _list(options, world, None if operand is None else any_purpose(operand))
    found = records.read(world, "/v1/sent", known_id(operand), wait_s=wait_s(options))
    with decode_reply():
        lines = [*_long(world, found.result), "", *_bytes_lines(world, found.result)]
    return CommandResult(result=found.plain, lines=tuple(lines), warnings=found.warnings)


def _list(options: Options, world: Context, purpose: Purpose | None) -> CommandResult:
    found = records.read(world, "/v1/sent", wait_s=wait_s(options))
    with decode_reply():
        rows = found.result.each("sent", MAX_ROWS)
        of = found.result.integer("of") if found.result.has("of") else len(rows)
        wanted = [row for row in rows if purpose is None or row.text("purpose") == purpose]
        shown = wanted[: records.limit(options)]
        lines = list(_lines(world, shown, verbose="--verbose" in options.flags))
        named: Shown = [{name: row.value(name) for name in row.names()} for row in records.in_json(options, wanted)]
    lines += records.left_out(world, shown=len(shown), of=len(wanted))
    warnings = found.warnings
    if of > len(rows):
        warnings = (*warnings, Warned(code="list_cut", title=world.sentence("sent.more", shown=len(rows), of=of)))
    return CommandResult(result={**found.plain, "sent": named}, lines=tuple(lines), warnings=warnings)


def _lines(world: Context, rows: Sequence[Members], *, verbose: bool) -> Iterator[str]:
    if not rows:
        yield world.sentence("sent.none")
    elif verbose:
        for each in rows:
            yield from _long(world, each)
    else:
        yield from grid(
            [world.sentence(name) for name in _HEAD], [_row(world, each) for each in rows], world.console.columns
        )


def _row(world: Context, request: Members) -> Sequence[str]:
    """Tells when, which, whether a receipt came, and how far it got; what is amiss with its copy."""
    status = request.value("status") if request.has("status") else None
    outcome = world.named("outcome", request.text("stage"))
    if isinstance(status, int) and status:
        outcome = world.sentence("outcome.status", outcome=outcome, status=status)
    if (copy := request.text("copy")) != CopyState.KEPT:
        outcome = f"{outcome}; {world.named('copy', copy)}"
    return _at(world, request), request.text("id"), world.sentence(f"yesno.{bool(request.value('receipt'))}"), outcome


def _long(world: Context, each: Members) -> Iterator[str]:
    """Yields a request in three lines: which, when and whereto, how far it came and why not further."""
    yield f"{each.text('id')}  {request_name(world, each.text('kind'), each.text('purpose'))}"
    yield from paragraph(world.sentence("sent.where", at=_at(world, each), url=each.text("url")), indent=2, hang=2)
    receipt = "sent.with_receipt" if each.value("receipt") else "sent.no_receipt"  # of one, the receipt itself
    parts = [stage(world, each), world.sentence(receipt)]
    if (copy := each.text("copy")) != CopyState.KEPT:
        parts.append(world.named("copy", copy))
    yield from paragraph("; ".join(parts), indent=2, hang=2)


def stage(world: Context, request: Members) -> str:
    """Returns how far a request came, and why not further."""
    text = world.named("stage", request.text("stage"))
    status, reason = (request.value(name) if request.has(name) else None for name in ("status", "reason"))
    if isinstance(status, int) and status:
        text += world.sentence("sent.status", status=status)
    return text if not isinstance(reason, str) else text + world.sentence("sent.reason", reason=_reason(world, reason))


def _reason(world: Context, code: str) -> str:
    """Returns a reason of the gate or the network; `interrupted` is the ledger's own."""
    return world.sentence("sent.interrupted") if code == "interrupted" else world.named("reason", code)


def _bytes_lines(world: Context, request: Members) -> Iterator[str]:
    """Yields the bytes as far as they are kept. Only what has the ledger's digest is called what left."""
    copy, left = _copy(request, "copy"), request.text("stage") != Stage.ATTEMPTED
    variant = "attempted" if copy is CopyState.KEPT and not left else str(copy)
    yield from paragraph(world.sentence(f"sent.request.{variant}", sha256=str(request.value("sha256") or "?")))
    if request.value("head") is not None:
        yield from verbatim(send.text_of(request, "head") + send.text_of(request, "body"))
    yield ""
    if request.value("reply_copy") is None:
        yield world.sentence("sent.unanswered")
    else:
        yield world.sentence(
            f"sent.reply.{_copy(request, 'reply_copy')}", status=str(request.value("reply_status") or "?")
        )
    if request.value("reply_body") is not None:
        yield from verbatim(send.text_of(request, "reply_body"))
    yield ""
    if request.value("receipt") is None:
        yield world.sentence("sent.receipt_none")
    else:
        yield world.sentence("sent.receipt")
        yield from verbatim(send.text_of(request, "receipt"))


def _copy(request: Members, name: str) -> CopyState:
    """Returns what a copy is worth. Raises Untrusted for a word that is none."""
    if request.text(name) not in set(CopyState):
        raise request.refuse(name)
    return CopyState(request.text(name))


def _at(world: Context, request: Members) -> str:
    return world.sentence("status.never") if request.value("at") is None else moment(request.integer("at"))
