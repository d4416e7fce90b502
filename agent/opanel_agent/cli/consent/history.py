"""`consent history | receipt | review`: what happened, as the ledger has it. Its owner's to see, so the agent is asked."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from opanel_agent.cli import records
from opanel_agent.cli.client import decode_reply
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.layout import grid, paragraph
from opanel_agent.cli.display.output import CommandResult, Warned
from opanel_agent.cli.display.times import moment
from opanel_agent.cli.license import documents
from opanel_agent.cli.parser import Options
from opanel_agent.cli.purposes import any_purpose
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.consent_receipt import STATES, Notice, ReceiptSubject, build, readable
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.errors import Usage
from opanel_agent.core.ledger.chain import NOTHING, Entry, EntryKind
from opanel_agent.system.storage import resources

MAX_ENTRIES: Final = 1000  # that the agent tells at once
TOKEN_CHARACTERS: Final = 64 * 1024
_HEAD: Final = ("head.number", "head.when", "head.event", "head.purpose")
_WIDE: Final = 200  # an entry is one line, whatever the terminal


def history(options: Options, world: Context) -> CommandResult:
    """Shows the ledger's entries, newest first: number, time, event, purpose.

    `--verbose`: every day's mark, and what each says.

    For a program the entries are in the ledger's own order.
    """
    purpose = any_purpose(options.operands[0]) if options.operands else None
    verbose = "--verbose" in options.flags
    found = records.read(world, "/v1/history")
    with decode_reply():
        entries = found.result.each("entries", MAX_ENTRIES)
        of = found.result.integer("of") if found.result.has("of") else len(entries)
        newest = [entry for entry in reversed(entries) if purpose is None or entry.value("purpose") == purpose]
        wanted = [entry for entry in newest if verbose or entry.text("kind") != EntryKind.DAILY_MARK]
        shown = wanted[: records.limit(options)]
        lines = list(_lines(world, shown, verbose=verbose)) or [world.sentence("history.none")]
        named: list[Json] = [_plain(entry) for entry in reversed(records.in_json(options, newest))]
    lines += records.left_out(world, shown=len(shown), of=len(wanted))
    warnings = found.warnings
    if of > len(entries):
        title = world.sentence("history.more", shown=len(entries), of=of)
        warnings = (*warnings, Warned(code="history_cut", title=title))
    return CommandResult(result={"entries": named, "of": of}, lines=tuple(lines), warnings=warnings)


def receipt(options: Options, world: Context) -> CommandResult:
    """Shows the receipts that are kept; of one the whole, as it was signed. For a purpose, the receipt of its consent."""
    if options.operands and options.operands[0] in CONSENT_BASED:
        return _of_consent(world, Purpose(options.operands[0]))
    asked: dict[str, Json] = {"id": options.operands[0]} if options.operands else {}
    done = world.client.post("/v1/receipts", asked)
    with decode_reply():
        receipts = done.result.each("receipts", MAX_ENTRIES)
        if not options.operands:
            lines = [_receipt_line(world, each) for each in receipts]
            rows: list[Json] = [_plain(each) for each in receipts]
            return CommandResult(result={"receipts": rows}, lines=tuple(lines or [world.sentence("receipt.none")]))
        found = next((each for each in receipts if each.value("id") == options.operands[0]), None)
        if found is None:
            raise Usage(Fault.USAGE, "receipt_unknown", id=options.operands[0][:64])
        lines = [_receipt_line(world, found), *(f"  {name}: {value}" for name, value in _plain(found).items())]
    return CommandResult(result=_plain(found), lines=tuple(lines))


def _of_consent(world: Context, purpose: Purpose) -> CommandResult:
    """Shows the receipt in the structure of ISO/IEC TS 27560, made from the ledger's entries.

    Raises Untrusted where nothing was answered.
    """
    done = world.client.post("/v1/history")
    with decode_reply():
        entries = list(_chained(done.result.each("entries", MAX_ENTRIES)))
    subject = ReceiptSubject(
        purpose=purpose,
        sheet=resources.load_catalog().sheets[purpose],
        notice=_notice(world, purpose, entries),
        root=documents.trusted_root(world),
    )
    lines = tuple(part for line in readable(subject, entries, world.sentence) for part in paragraph(line, hang=2))
    return CommandResult(result=build(subject, entries), lines=lines)


def _notice(world: Context, purpose: Purpose, entries: list[Entry]) -> Notice:
    """Returns the one that the newest answer was given to."""
    shipped = resources.Resources()
    answers = [entry for entry in entries if entry.purpose == purpose and entry.kind in STATES]
    version = answers[-1].data.get("notice") if answers else None
    if version != shipped.installed_notice() and isinstance(version, str):
        return Notice(version=version, language=world.lang, sha256=None)
    digest = sha256(shipped.notice(world.lang).encode()).hexdigest()
    return Notice(version=shipped.installed_notice(), language=world.lang, sha256=digest)


def _chained(entries: Iterable[Members]) -> Iterator[Entry]:
    """Yields the entries as they were written; of a list that was cut, all but the first, whose forerunner is not there."""
    before = NOTHING
    for each in entries:
        purpose, digest = each.value("purpose"), each.text("sha256")
        data = each.members("data")
        entry = Entry(
            seq=each.integer("seq"),
            at=each.integer("at"),
            kind=each.text("kind"),
            purpose=purpose if isinstance(purpose, str) else None,
            data={name: data.value(name) for name in data.names()},
            prev=before,
        )
        if entry.digest == digest:
            yield entry
        before = digest


def review(_: Options, world: Context) -> CommandResult:
    """Records that a person has looked at a ledger that was set aside, so that consents count again."""
    done = world.client.post("/v1/review")
    return CommandResult(result=_plain(done.result), lines=(world.sentence("review.done"),))


def _lines(world: Context, entries: Sequence[Members], *, verbose: bool) -> Iterator[str]:
    if not entries:
        return
    head, *rows = grid([world.sentence(name) for name in _HEAD], [_row(world, each) for each in entries], columns=_WIDE)
    yield head
    for row, entry in zip(rows, entries, strict=True):
        yield row
        data = entry.value("data") if verbose else None
        for name, value in data.items() if isinstance(data, dict) else ():
            yield f"  {name}: {_shown(value)}"


def _row(world: Context, entry: Members) -> Sequence[str]:
    purpose = entry.value("purpose")
    return (
        str(entry.integer("seq")),
        moment(entry.integer("at")),
        world.named("event", entry.text("kind")),
        purpose if isinstance(purpose, str) else "",
    )


def _shown(value: Json) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _receipt_line(world: Context, members: Members) -> str:
    """Returns one receipt: what it is of, and when it was answered or is due.

    One that owes nothing more is due as it is given.
    """
    kind = members.text("kind")
    line = world.sentence("receipt.line", id=members.text("id"), kind=world.named("receipt_kind", kind))
    due = members.value("due")
    if not isinstance(due, int):
        return line
    sentence = "receipt.answered" if due == members.value("iat") else "receipt.due"
    return f"{line}; {world.sentence(sentence, at=moment(due))}"


def _plain(members: Members) -> dict[str, Json]:
    return {name: members.value(name) for name in members.names()}
