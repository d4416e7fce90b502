"""Proves that the auditor's page shows what the export holds, byte for byte, and runs and refers to nothing."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from fixtures import signing
from fixtures.command_line import Terminal
from fixtures.simulated.audited_agent import audited_export
from opanel_agent.cli.data import timeline
from opanel_agent.cli.data.markup import joined, preformatted, tag
from opanel_agent.cli.data.timeline import OPT_OUTS, Span
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.ledger import chain, export
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.ledger.export import Part, PartKind
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.core.wire import message
from opanel_agent.core.wire.message import Sealed
from opanel_agent.messages import translate

USAGE: Final = "usage_statistics"
ELEMENTS: Final = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "h1", "h2", "h3", "p", "ul", "li"),
    *("dl", "div", "dt", "dd", "details", "summary", "pre", "code", "svg", "g", "rect", "line", "text"),
}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    made = Terminal(folder=tmp_path)
    made.at_rest = audited_export()
    return made


@dataclass
class Page(HTMLParser):
    """A page as a browser takes it apart: elements with their attributes, and the text of each <pre> and each <summary>."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=lambda: {"pre": [], "summary": [], "style": []})
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.texts:
            self.inside = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[self.inside][-1] += data


def written(terminal: Terminal) -> str:
    file = terminal.folder / "page.html"
    printed = terminal.type("data", "export", "--html", str(file))
    assert printed.status == 0, printed.err
    return file.read_text("utf-8")


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    return page


@cache
def parts() -> dict[tuple[str, str], bytes]:
    return {(part.holds, part.name): part.data for part in export.parts(audited_export()) if part.data is not None}


# the file


def test_the_page_is_its_owner_s_and_the_export_is_written_beside_it_where_both_are_asked_for(
    terminal: Terminal,
) -> None:
    page, file = terminal.folder / "page.html", terminal.folder / "export.jsonl"
    printed = terminal.type("data", "export", "-o", str(file), "--html", str(page), "--json")
    assert printed.json()["result"] == {
        "file": str(file),
        "html": str(page),
        "bytes": len(audited_export()),
        "sha256": hashlib.sha256(audited_export()).hexdigest(),
        "findings": [],
    }
    assert page.stat().st_mode & 0o777 == file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == audited_export()


def test_the_page_alone_is_written_where_it_alone_is_asked_for(terminal: Terminal) -> None:
    written(terminal)
    assert [path.name for path in terminal.folder.glob("*.*") if path.suffix in (".html", ".jsonl")] == ["page.html"]


def test_one_of_both_has_to_be_asked_for(terminal: Terminal) -> None:
    assert terminal.type("data", "export").status == 64


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_same_export_gives_the_same_page(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    assert written(terminal) == written(terminal)
    assert f'<html lang="{lang}">' in written(terminal)


# what it can do


@pytest.mark.parametrize("lang", LANGUAGES)
def test_it_runs_nothing_and_refers_to_nothing(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    page = parsed(written(terminal))
    assert {name for name, _ in page.elements} == ELEMENTS
    attributes = {name for _, each in page.elements for name in each}
    assert attributes <= {
        *("lang", "charset", "http-equiv", "content", "name", "id", "class", "role", "tabindex"),
        *("aria-label", "aria-labelledby", "viewbox", "x", "y", "x1", "y1", "x2", "y2", "rx", "width", "height"),
        "text-anchor",
    }
    (style,) = page.texts["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_its_policy_permits_its_own_style_alone(terminal: Terminal) -> None:
    page = parsed(written(terminal))
    digest = b64encode(hashlib.sha256(page.texts["style"][0].encode()).digest()).decode()
    policies = [each["content"] for name, each in page.elements if name == "meta" and "http-equiv" in each]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    ]


HOSTILE: Final = '</pre><script>alert(1)</script><img src="x">&lt;\u202e'


def test_no_byte_of_the_export_becomes_markup(terminal: Terminal) -> None:
    hostile = Part.of(PartKind.CONSENT, "consent.d/\"'><b>.toml", HOSTILE.encode())
    terminal.at_rest = export.assemble([*export.parts(audited_export()), hostile], as_of=signing.NOW, version="<i>")
    page = parsed(written(terminal))
    assert {name for name, _ in page.elements} == ELEMENTS
    assert HOSTILE.replace("\u202e", "\\u202e") in page.texts["pre"]
    assert "consent.d/\"'><b>.toml · consent" in page.texts["summary"]


def test_a_text_is_escaped_wherever_it_stands() -> None:
    assert tag("p", {"title": '"<'}, "<&", joined("a", tag("b"))).text == '<p title="&quot;&lt;">&lt;&amp;a<b></b></p>'
    assert preformatted(b"a\r\n\xff\x1b<").text == "<pre><code>a\n\\xff\\u001b&lt;</code></pre>"


# what it shows


def test_every_request_is_shown_as_it_left_with_its_reply_and_its_receipt(terminal: Terminal) -> None:
    shown = parsed(written(terminal)).texts["pre"]
    sent = {name: data for (holds, name), data in parts().items() if holds == PartKind.SENT}
    requests = [Sealed.decode(data) for name, data in sent.items() if name.endswith(".request")]
    assert len(requests) > 1
    for request in requests:
        assert (message.head(request) + request.body).decode().replace("\r\n", "\n") in shown
    for (holds, _), data in parts().items():
        if holds == PartKind.RECEIPT:
            assert data.decode() in shown


def test_every_entry_of_the_ledger_is_there_with_its_own_line(terminal: Terminal) -> None:
    shown = parsed(written(terminal)).texts["pre"]
    lines = [line.decode() for line in chain.lines(parts()[PartKind.LEDGER, "ledger.jsonl"])]
    assert len(lines) > 20
    assert set(lines) <= set(shown)


def test_every_other_part_is_there_with_its_digest(terminal: Terminal) -> None:
    text = written(terminal)
    for part in export.parts(audited_export()):
        assert part.sha256 in text or part.holds == PartKind.LEDGER


@pytest.mark.parametrize("lang", LANGUAGES)
def test_it_says_in_both_languages_what_happened(terminal: Terminal, lang: Language) -> None:
    terminal.trust()
    terminal.lang = lang
    text = written(terminal)
    ids = (
        "export.good",
        "audit.consents",
        "audit.requests",
        "event.ConsentWithdrawn",
        "event.Purged",
        "stage.answered",
    )
    assert [each for each in ids if translate(each, lang) not in text] == []
    assert "audit." not in text


def test_what_is_wrong_with_the_export_is_the_first_that_is_read(terminal: Terminal) -> None:
    ledger = parts()[PartKind.LEDGER, "ledger.jsonl"].replace(b"ConsentGiven", b"ConsentTaken", 1)
    changed = [
        Part.of(PartKind.LEDGER, "ledger.jsonl", ledger) if part.holds == PartKind.LEDGER else part
        for part in export.parts(audited_export())
    ]
    terminal.at_rest = export.assemble(changed, as_of=signing.NOW, version="0.1.0")
    text = written(terminal)
    assert '<p class="verdict bad">Not valid: ' in text
    assert "Valid: everything" not in text


def test_a_copy_that_is_none_of_this_version_s_is_shown_as_it_lies_there(terminal: Terminal) -> None:
    name = next(name for holds, name in parts() if name.endswith(".request"))
    other = name.removesuffix(".request")
    changed = [
        Part.of(PartKind.SENT, part.name, b"of tomorrow: " + part.name.encode())
        if part.name in (name, f"{other}.reply")
        else part
        for part in export.parts(audited_export())
    ]
    terminal.at_rest = export.assemble(changed, as_of=signing.NOW, version="0.1.0")
    shown = parsed(written(terminal)).texts["pre"]
    assert {f"of tomorrow: {name}", f"of tomorrow: {other}.reply"} <= set(shown)


def test_a_server_on_which_nothing_happened_says_so(terminal: Terminal) -> None:
    empty = [Part.of(PartKind.LEDGER, "ledger.jsonl", b""), Part.digest_of(PartKind.DOCUMENT, "bundle.jws", b"secret")]
    terminal.at_rest = export.assemble(empty, as_of=signing.NOW, version="0.1.0")
    text = written(terminal)
    assert "Nothing about this server has been sent." in text
    assert "No consent was ever given, and no opt-out was set." in text
    assert "The bytes are not kept here; the digest is." in text


# the picture


def entry(kind: EntryKind, at: int, purpose: str | None = None, **data: Json) -> Entry:
    return Entry(seq=1, at=at, kind=kind, purpose=purpose, data=data, prev=chain.NOTHING)


@pytest.mark.parametrize("ending", ["ConsentRefused", "ConsentWithdrawn", "ConsentInvalidated"])
def test_a_bar_goes_from_a_consent_to_its_end(ending: str) -> None:
    entries = [
        entry(EntryKind.CONSENT_GIVEN, 1, USAGE),
        entry(EntryKind.CONSENT_GIVEN, 2, USAGE),
        entry(EntryKind.CONSENT_GIVEN, 3, "crash_reports"),
        entry(EntryKind(ending), 5, USAGE),
        entry(EntryKind(ending), 6, USAGE),
        entry(EntryKind.CONSENT_GIVEN, 8, USAGE),
    ]
    assert timeline.spans(entries) == (
        Span(row=USAGE, start=1, end=5),
        Span(row="crash_reports", start=3, end=None),
        Span(row=USAGE, start=8, end=None),
    )


def test_a_bar_goes_from_an_opt_out_to_its_end() -> None:
    entries = [
        entry(EntryKind.OPT_OUT_SEEN, 1, signal="offline", place="/etc/opanel-agent"),
        entry(EntryKind.OPT_OUT_SEEN, 2, signal="do-not-track", place="/etc"),
        entry(EntryKind.OPT_OUT_GONE, 4, ids=["offline in /etc/opanel-agent", "unknown in /etc"]),
    ]
    assert timeline.spans(entries) == (Span(row=OPT_OUTS, start=1, end=4), Span(row=OPT_OUTS, start=2, end=None))


def test_every_bar_is_a_sentence_as_well(terminal: Terminal) -> None:
    text = written(terminal)
    entries = [chain.decode(line) for line in chain.lines(parts()[PartKind.LEDGER, "ledger.jsonl"])]
    found = timeline.spans(entries)
    assert {span.row for span in found} == {USAGE, OPT_OUTS}
    assert {span.end is None for span in found} == {True, False}
    assert text.count("<rect ") == len(found)
