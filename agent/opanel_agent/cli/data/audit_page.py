"""Writes an export as a page for an auditor: one file, without scripts, that refers to nothing outside of itself.

It is a view of the export and proves nothing by itself, as it says: the digests in it lead back to the export, which
`verify` checks. Everything in it is from the export's bytes, so the same export gives the same page.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

from opanel_agent.cli.context import Context
from opanel_agent.cli.data import timeline
from opanel_agent.cli.data.audit_style import STYLE
from opanel_agent.cli.data.export import check_here, report_lines
from opanel_agent.cli.data.markup import Markup, document, joined, preformatted, tag
from opanel_agent.cli.data.pages import Whole
from opanel_agent.cli.display.times import moment
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.ledger import chain, export
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.ledger.export import Part, PartKind
from opanel_agent.core.ledger.requests import RequestLog, RequestRecord, Stage, copy_state
from opanel_agent.core.values import frozen
from opanel_agent.core.wire import message
from opanel_agent.core.wire.message import Reply, Sealed

_CONSENT_KINDS: Final = (
    EntryKind.NOTICE_SHOWN,
    EntryKind.CONSENT_GIVEN,
    EntryKind.CONSENT_REFUSED,
    EntryKind.CONSENT_WITHDRAWN,
    EntryKind.CONSENT_INVALIDATED,
    EntryKind.OPT_OUT_SEEN,
    EntryKind.OPT_OUT_GONE,
)


@frozen
class _Record:
    """Holds what the page shows: the parts by kind and name, the ledger's entries, and the requests in them."""

    parts: dict[tuple[str, str], Part]
    entries: tuple[Entry, ...]
    requests: tuple[RequestRecord, ...]


def page(world: Context, whole: Whole) -> str:
    """Returns the page, in the reader's language."""
    record = _read(whole.data)
    return document(
        world.lang,
        _head(world),
        tag("header", None, tag("h1", None, world.sentence("audit.title")), _origin(world, whole)),
        tag(
            "main",
            None,
            _section("verdict", world.sentence("audit.verdict"), *_verdict(world, whole)),
            _section("consents", world.sentence("audit.consents"), *_consents(world, record, whole.checked.as_of)),
            _section("requests", world.sentence("audit.requests"), *_requests(world, record)),
            _section("ledger", world.sentence("audit.ledger"), *(_entry(world, entry) for entry in record.entries)),
            _section("parts", world.sentence("audit.parts"), *_parts(world, record)),
        ),
    )


def _read(data: bytes) -> _Record:
    parts = {(part.holds, part.name): part for part in export.parts(data)}
    ledger = next((part.data or b"" for (holds, _), part in parts.items() if holds == PartKind.LEDGER), b"")
    entries = tuple(_readable(ledger))
    log = RequestLog()
    for entry in entries:
        log.note(entry)
    newest = sorted(log.records.values(), key=lambda each: each.at, reverse=True)
    return _Record(parts=parts, entries=entries, requests=tuple(newest))


def _readable(ledger: bytes) -> Iterator[Entry]:
    """Yields the entries that are what their own digest says; the verdict names the line from which on the chain breaks."""
    for line in chain.lines(ledger):
        try:
            yield chain.decode(line)
        except Untrusted:
            continue


def _head(world: Context) -> Markup:
    """Returns the head, by which nothing may be loaded or run, and only this style counts."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        None,
        tag("meta", {"charset": "utf-8"}),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        tag("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        tag("meta", {"name": "color-scheme", "content": "light dark"}),
        tag("title", None, world.sentence("audit.title")),
        tag("style", None, Markup(STYLE)),
    )


def _section(name: str, heading: str, *content: Markup) -> Markup:
    heading_element = tag("h2", {"id": name}, heading)
    return tag("section", {"aria-labelledby": name}, heading_element, *content)


def _origin(world: Context, whole: Whole) -> Markup:
    checked = whole.checked
    made = world.sentence("audit.origin", moment=moment(checked.as_of), version=checked.version)
    return joined(_paragraph(made), _paragraph(world.sentence("audit.view")), _digest(world, whole.sha256))


def _digest(world: Context, digest: str) -> Markup:
    return tag("p", None, world.sentence("audit.export_digest"), " ", tag("code", None, digest))


def _paragraph(text: str) -> Markup:
    return tag("p", None, text)


def _list(items: Sequence[str | Markup]) -> Markup:
    return tag("ul", None, *(tag("li", None, item) for item in items))


def _verdict(world: Context, whole: Whole) -> Iterator[Markup]:
    """Yields what `verify` says of the export here, word for word."""
    checked = check_here(world, whole.data)
    outcome = "good" if checked.good else "bad"
    verdict, *rest = report_lines(world, checked)
    yield tag("p", {"class": f"verdict {outcome}"}, verdict)
    yield _list([line.removeprefix("- ") for line in rest])
    yield _paragraph(world.sentence("audit.check"))


def _consents(world: Context, record: _Record, as_of: int) -> Iterator[Markup]:
    yield _paragraph(world.sentence("audit.consents_lead"))
    picture = timeline.picture(world, record.entries, as_of)
    label = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": world.sentence("audit.timeline")}
    yield tag("div", label, picture)
    spans = timeline.spans(record.entries)
    yield (
        _list([timeline.describe(world, span) for span in spans])
        if spans
        else _paragraph(world.sentence("audit.no_spans"))
    )
    yield from (_entry(world, entry) for entry in record.entries if entry.kind in _CONSENT_KINDS)


def _requests(world: Context, record: _Record) -> Iterator[Markup]:
    """Yields what was collected, and how far each came: newest first."""
    if not record.requests:
        yield _paragraph(world.sentence("sent.none"))
        return
    yield _paragraph(world.sentence("audit.requests_lead"))
    yield _counts(world, record)
    yield from (_request(world, record, each) for each in record.requests)


def _counts(world: Context, record: _Record) -> Markup:
    """Tells how many were made, how far they came, and what became of them here and at the authority."""
    made = record.requests
    rows = [
        (world.sentence("audit.collected"), len(made)),
        (world.sentence("audit.waiting"), sum(each.stage is Stage.SEALED and not each.purged for each in made)),
        *(
            (world.named("stage", stage), sum(each.stage is stage for each in made))
            for stage in Stage
            if stage is not Stage.SEALED
        ),
        (world.sentence("audit.purged"), sum(each.purged for each in made)),
        (world.sentence("audit.rights"), sum(each.purpose == Purpose.DATA_RIGHTS for each in made)),
    ]
    figures = (tag("div", None, tag("dt", None, name), tag("dd", None, str(count))) for name, count in rows)
    return tag("dl", {"class": "counts"}, *figures)


def _request(world: Context, record: _Record, request: RequestRecord) -> Markup:
    purpose = world.named("purpose", request.purpose)
    head = f"{moment(request.at)} · {purpose} · {world.named('stage', request.stage)} · {request.id}"
    return _folded(
        head,
        _facts(world, record, request),
        *_request_bytes(world, record, request),
        *_reply_bytes(world, record, request),
        *_receipt_bytes(world, record, request),
        *(_entry(world, entry) for entry in record.entries if entry.data.get("id") == request.id),
    )


def _facts(world: Context, record: _Record, request: RequestRecord) -> Markup:
    sent = record.parts.get((PartKind.SENT, f"{request.id}.request"))
    copy = copy_state(request, None if sent is None else sent.sha256)
    facts = [f"{world.sentence('audit.to')} {request.url}"]
    facts += [] if request.stage is Stage.SEALED else [world.named("copy", copy)]
    facts += [] if request.status is None else [f"HTTP {request.status}"]
    facts += [] if request.reason is None else [world.named("reason", request.reason)]
    facts += [f"SHA-256 {request.sha256}"] if request.sha256 else []
    return _list(facts)


def _request_bytes(world: Context, record: _Record, request: RequestRecord) -> Iterator[Markup]:
    """Yields a request as it went over the wire, or as it waits."""
    for key in ((PartKind.SENT, f"{request.id}.request"), (PartKind.HELD, request.id)):
        part = record.parts.get(key)
        if part is not None and part.data is not None:
            yield _bytes(world.sentence("audit.request_bytes"), _wire(part.data))
            return
    yield _paragraph(world.sentence("audit.no_bytes"))


def _wire(frame: bytes) -> bytes:
    """Returns head and body; the frame itself where it is none of this version's."""
    try:
        sealed = Sealed.decode(frame)
    except Untrusted:
        return frame
    return message.head(sealed) + sealed.body


def _reply_bytes(world: Context, record: _Record, request: RequestRecord) -> Iterator[Markup]:
    part = record.parts.get((PartKind.SENT, f"{request.id}.reply"))
    if part is not None and part.data is not None:
        yield _bytes(world.sentence("audit.reply_bytes"), _reply_body(part.data))


def _reply_body(frame: bytes) -> bytes:
    try:
        return Reply.decode(frame).body
    except Untrusted:
        return frame


def _receipt_bytes(world: Context, record: _Record, request: RequestRecord) -> Iterator[Markup]:
    part = record.parts.get((PartKind.RECEIPT, f"{request.id}.jwt"))
    if part is not None and part.data is not None:
        yield _bytes(world.sentence("audit.receipt_bytes"), part.data)


def _bytes(heading: str, data: bytes) -> Markup:
    return joined(tag("h3", None, heading), preformatted(data))


def _entry(world: Context, entry: Entry) -> Markup:
    """Returns one line to read, and the ledger's own line folded."""
    purpose = "" if entry.purpose is None else f": {world.named('purpose', entry.purpose)}"
    head = f"{entry.seq} · {moment(entry.at)} · {world.named('event', entry.kind)}{purpose}"
    return _folded(head, preformatted(dumps(entry.to_json())))


def _parts(world: Context, record: _Record) -> Iterator[Markup]:
    """Yields everything else: what consents were given by and to, receipts, roots; of the rest the digests."""
    yield _paragraph(world.sentence("audit.parts_lead"))
    for (holds, name), part in record.parts.items():
        if holds != PartKind.LEDGER:
            content = _paragraph(world.sentence("audit.no_bytes")) if part.data is None else preformatted(part.data)
            yield _folded(f"{name} · {holds}", tag("p", None, "SHA-256 ", tag("code", None, part.sha256)), content)


def _folded(head: str, *content: Markup) -> Markup:
    return tag("details", None, tag("summary", None, head), *content)
