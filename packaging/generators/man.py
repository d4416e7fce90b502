"""Makes packaging/share/man/: opanel-agent(1), (5) and (8), in English and in Turkish.

The prose is docs/man/<language>/*.md; what the code already says is put in from there: `{commands}` from the command line's
grammar and its help texts, `{purposes}` and `{messages}` from the tables of purposes and of the journal. A list below
`<!-- every NAME -->` has to name exactly what the code has of it, else nothing is written. So no command, option, setting or
unit can be forgotten.

Of Markdown it knows headings, paragraphs, lists of "term: text", code blocks, `bold` and *italic*.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from generators import catalogs

if TYPE_CHECKING:
    from opanel_agent.core.units import Language
    from opanel_agent.system.storage.paths import Paths

ROOT: Final = Path(__file__).resolve().parents[2]
PROSE: Final = ROOT / "docs" / "man"
PAGES: Final = "packaging/share/man"
LINE_MAX: Final = 79
MANUAL: Final[Mapping["Language", str]] = {"en": "OPanel license agent", "tr": "OPanel lisans ajanı"}
PLACES: Final[Mapping["Language", str]] = {"en": "", "tr": "tr/"}
WRITTEN_BY: Final = "packaging/generate, from docs/man and what the code says"

_TITLE: Final = re.compile(r"# opanel-agent\((\d)\) (\d{4}-\d{2}-\d{2})")
_EVERY: Final = re.compile(r"<!-- every (\w+) -->")
_TERM: Final = re.compile(r"- ((?:`[^`]+`(?:, )?)+): (.+)")
_INLINE: Final = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*|\b([a-z][a-z-]*)\((\d)\)|(?<!\S)(--[a-z]+)")
_CAPITAL: Final = "A-ZÇĞİÖŞÜ"
_OPTION: Final = re.compile(rf" {{2}}(-\S*(?: [{_CAPITAL}]+)?|[a-z]+) +(\S.*)")
_USAGE_WORD: Final = re.compile(rf"(--?[a-z-]+|[a-z][a-z_-]*)|([{_CAPITAL}]+…?)")


# ---- roff


def escaped(text: str) -> str:
    return text.replace("\\", "\\e")


def bold(text: str) -> str:
    hyphens = escaped(text).replace("-", "\\-")
    return f"\\fB{hyphens}\\fR"


def italic(text: str) -> str:
    return f"\\fI{escaped(text)}\\fR"


def inline(text: str) -> str:
    """A line of Markdown as one of roff."""

    def marked(found: re.Match[str]) -> str:
        code, stressed, page, number, option = found.groups()
        if page is not None:
            return f"{bold(page)}({number})"
        return italic(stressed) if stressed is not None else bold(code or option)

    parts: list[str] = []
    end = 0
    for found in _INLINE.finditer(text):
        parts += [escaped(text[end : found.start()]), marked(found)]
        end = found.end()
    return "".join([*parts, escaped(text[end:])])


def filled(text: str) -> Iterator[str]:
    """The text in lines, each sentence begun on its own. A control character at a line's start is disarmed."""
    for sentence in re.split(rf"(?<=[.!?:;]) (?=[{_CAPITAL}“\\])", text):
        line = ""
        for word in sentence.split(" "):
            longer = f"{line} {word}" if line else word
            if line and _width(longer) > LINE_MAX:
                yield _safe(line)
                longer = word
            line = longer
        yield _safe(line)


def _width(line: str) -> int:
    """As mandoc counts, to whom a letter beyond ASCII is eight characters: its number in brackets."""
    return sum(1 if letter.isascii() else 8 for letter in line)


def _safe(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def paragraph(text: str) -> Iterator[str]:
    yield ".PP"
    yield from filled(inline(text))


def item(term: str, text: str) -> Iterator[str]:
    """`term` is roff already."""
    yield ".TP"
    yield _safe(term)
    yield from filled(inline(text))


def example(lines: list[str]) -> Iterator[str]:
    yield from (".PP", ".RS 4", ".EX")
    yield from (_safe(escaped(line).replace("-", "\\-")) for line in lines)
    yield from (".EE", ".RE")


# ---- what the code says


def commands(lang: "Language") -> Iterator[str]:
    """Every command of the grammar, as its help describes it. Raises ValueError for an option that no help names."""
    from opanel_agent.core.commands import COMMANDS  # needs the path that the command has set

    for command in COMMANDS:
        head, body = help_text(".".join(command.words), lang)
        unnamed = [option for option in command.flags | command.valued if option not in re.split(r"[\s\[\]|]+", head)]
        if unnamed:
            message = f"help.{'.'.join(command.words)} ({lang}) does not name {unnamed[0]}"
            raise ValueError(message)
        yield ".TP"
        yield _USAGE_WORD.sub(_usage_word, escaped(head))
        yield from described(body)


def help_text(topic: str, lang: "Language") -> tuple[str, list[str]]:
    """The usage, without the program's name, and the lines below it."""
    from opanel_agent.messages import translate

    usage, _, body = translate(f"help.{topic}", lang).partition("\n")
    return usage.partition(" opanel-agent ")[2], body.strip("\n").split("\n")


def _usage_word(found: re.Match[str]) -> str:
    return bold(found[1]) if found[1] else italic(found[2])


def described(lines: list[str]) -> Iterator[str]:
    """A help's lines below the usage: prose, then options."""
    prose = " ".join(line for line in lines if line and not line.startswith("  "))
    yield from filled(inline(prose)) if prose else ()
    options = [found for found in map(_OPTION.fullmatch, lines) if found]
    if not options:
        return
    yield ".RS"
    for found in options:
        name, _, value = found[1].partition(" ")
        yield from item(bold(name) + (f" {italic(value)}" if value else ""), found[2])
    yield ".RE"


def purposes(lang: "Language") -> Iterator[str]:
    """Every purpose: what it asks for, what governs it, what do-not-track does to it."""
    from opanel_agent.core.consent.purposes import FIXED, POLICIES, Basis, shown_paths
    from opanel_agent.messages import translate

    words = {
        "en": ("Requests", "Governed by", "your consent", "Under do-not-track"),
        "tr": ("İstekler", "Belirleyen", "rızanız", "İzlenmeme yürürlükteyken"),
    }[lang]
    for purpose, terms in POLICIES.items():
        method = "GET" if purpose in FIXED else "POST"
        requests = ", ".join(f"`{method} {path}`" for path in shown_paths(purpose))
        consent = terms.governor is Basis.CONSENT
        governor = words[2] if consent else translate(f"governor.{terms.governor.name.lower()}", lang)
        name, under = translate(f"purpose.{purpose}", lang), translate(f"under_dnt.{terms.under_do_not_track}", lang)
        yield from item(
            bold(str(purpose)),
            f"{name[0].upper()}{name[1:]}. {words[0]}: {requests}. {words[1]}: {governor}. {words[3]}: {under}.",
        )


def messages(lang: "Language") -> Iterator[str]:
    """Every event of the journal: its MESSAGE_ID, and what it says with whatever belongs there as an ellipsis."""
    from opanel_agent.daemon.reporter import SENTENCES
    from opanel_agent.system.journal import MESSAGE_IDS

    catalog = catalogs.LOCALE / lang / "LC_MESSAGES" / "opanel-agent.po"
    sentences = catalogs.entries(catalog.read_text("utf-8"))
    for event, message_id in sorted(MESSAGE_IDS.items()):
        own = SENTENCES.get(event)
        sentence = sentences[f"journal.{event}"] if own is None else own[0 if lang == "en" else 1]
        yield ".TP"
        yield bold(event)
        yield message_id
        yield ".br"
        yield from filled(inline(re.sub(r"\{\w+\}", "…", sentence)))


def settings() -> set[str]:
    """The keys of agent.toml, those of its table with the table's name."""
    from opanel_agent.system.storage.settings import Settings

    return {"schema"} | {re.sub("^license_", "[license] ", name) for name in Settings._fields}


def exits() -> set[str]:
    from opanel_agent.cli.main import INTERRUPTED
    from opanel_agent.core.errors import _KINDS

    return {"0", "1", str(INTERRUPTED), *(str(kind.exit_status) for kind in _KINDS.values())}


def files() -> set[str]:
    """What an administrator may put where."""
    paths = _paths()
    one = (paths.settings, paths.consent, paths.offline, paths.do_not_track, paths.machine_do_not_track, paths.license)
    return {*map(str, one), f"{paths.consent_dir}/*.toml", f"{paths.import_dir}/"}


def environment() -> set[str]:
    """Where a variable that says do-not-track is looked for."""
    paths = _paths()
    return {*map(str, paths.environment_files), f"{paths.environment_dir}/*.conf"}


def _paths() -> "Paths":
    from opanel_agent.system.storage import paths

    where = (paths.SYSTEM_CONFIG, paths.SYSTEM_STATE, paths.SYSTEM_RUNTIME)
    return paths.Paths(system=True, owner=0, config_dir=where[0], state_dir=where[1], runtime_dir=where[2])


def signals() -> set[str]:
    """What can be said to the daemon; a child's end is its own affair."""
    from opanel_agent.daemon.loop import SIGNALS

    return {number.name for number in SIGNALS} - {"SIGCHLD"}


def processes() -> set[str]:
    source = (ROOT / "agent" / "opanel_agent" / "__main__.py").read_text("utf-8")
    return set(re.findall(r'case \["(\w+)"[],]', source))


def units() -> set[str]:
    return {path.name for kind in ("service", "socket", "path") for path in (ROOT / "systemd").glob(f"*.{kind}")}


EVERY: Final[Mapping[str, Callable[[], set[str]]]] = {
    "environment": environment,
    "exit": exits,
    "file": files,
    "process": processes,
    "setting": settings,
    "signal": signals,
    "unit": units,
}
PUT_IN: Final[Mapping[str, Callable[["Language"], Iterator[str]]]] = {
    "{commands}": commands,
    "{messages}": messages,
    "{purposes}": purposes,
}


# ---- a page


def page(prose: str, lang: "Language") -> str:
    """The manual page that this prose makes. Raises ValueError where it is not what the code has."""
    from opanel_agent import __version__

    title, _, text = prose.partition("\n")
    found = _TITLE.fullmatch(title)
    if found is None:
        message = f"no title: {title}"
        raise ValueError(message)
    head = f'.TH OPANEL\\-AGENT {found[1]} {found[2]} "opanel-agent {__version__}" "{MANUAL[lang]}"'
    body = [line for block in _blocks(text) for line in _block(block, lang)]
    # A heading begins a paragraph by itself.
    kept = [line for n, line in enumerate(body) if not (line == ".PP" and n and body[n - 1].startswith((".SH", ".SS")))]
    return "\n".join([f'.\\" Written by {WRITTEN_BY}; what you change here is lost.', head, *kept, ""])


def _blocks(text: str) -> Iterator[list[str]]:
    """The parts between empty lines; a code block is one."""
    block: list[str] = []
    code = False
    for line in [*text.split("\n"), ""]:
        code ^= line.startswith("```")
        if line or code:
            block.append(line)
        elif block:
            yield block
            block = []


def _block(block: list[str], lang: "Language") -> Iterator[str]:
    first = block[0]
    every = _EVERY.fullmatch(first)
    if first.startswith("## "):
        yield f".SH {first[3:]}"
    elif first.startswith("```"):
        yield from example(block[1:-1])
    elif first in PUT_IN:
        yield from PUT_IN[first](lang)
    elif every or first.startswith("- "):
        yield from _list(block[1:] if every else block, every[1] if every else None)
    elif first.startswith("opanel-agent - "):
        yield from filled("opanel\\-agent \\- " + inline(first.removeprefix("opanel-agent - ")))
    else:
        yield from paragraph(" ".join(block))


def _list(lines: list[str], every: str | None) -> Iterator[str]:
    terms = [_term(line) for line in lines]
    named = {code for term, _ in terms for code in re.findall("`([^`]+)`", term)}
    if every is not None and named != EVERY[every]():
        message = f"every {every}: the code and the page differ in {sorted(named ^ EVERY[every]())}"
        raise ValueError(message)
    for term, text in terms:
        yield from item(inline(term), text)


def _term(line: str) -> tuple[str, str]:
    found = _TERM.fullmatch(line)
    if found is None:
        message = f"no term: {line}"
        raise ValueError(message)
    return found[1], found[2]


def outputs() -> Iterator[tuple[str, bytes]]:
    """Every page's path in the repository, and its bytes. Raises ValueError where page and code differ."""
    for lang, place in PLACES.items():
        for source in sorted((PROSE / lang).glob("*.md")):
            section = source.stem.rpartition(".")[2]
            try:
                text = page(source.read_text("utf-8"), lang)
            except ValueError as exc:
                message = f"{source.relative_to(ROOT)}, {exc}"
                raise ValueError(message) from exc
            yield f"{PAGES}/{place}man{section}/{source.stem}", text.encode()
