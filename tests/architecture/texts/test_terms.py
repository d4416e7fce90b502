"""One term for one concept, in English and in Turkish: docs/terms.md holds in everything that a person reads."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.system.storage.resources import Resources

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs/terms.md"
HEAD: Final = "| English | never | Turkish | stem | never | except |"
ENTRY: Final = re.compile(r'msgid "(.+)"\nmsgstr ((?:".*"\n)+)')
# What a person types or a program reads, which has names of its own; and the places of values.
CODE: Final = re.compile(
    r"“[^”]*”|`[^`]*`|\{\w+\}|opanel-agent(?: [a-z|-]+)+|(?<!\w)/\S+|\S+\.(?:toml|jws|jsonl?|head|d)\b", re.DOTALL
)
COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
SENTENCE: Final = re.compile(r"^\s+\w+\) (both|cannot) ")
USAGE: Final = re.compile(r"<<'END'(?: ;;)?\n(.*?)^END$", re.MULTILINE | re.DOTALL)


class Term(NamedTuple):
    """A row: the term in both languages, what stands for it nowhere, and where such a word is right."""

    english: tuple[str, ...]
    stem: str
    never: Mapping[Language, tuple[str, ...]]
    exceptions: tuple[str, ...]

    def found(self, text: str, lang: Language) -> Iterator[str]:
        """Yields each word of `never` that the text has."""
        for phrase in self.exceptions:
            text = re.sub(re.escape(lowered(phrase)), "", text)
        end = "" if lang == "tr" else r"s?\b"
        for word in self.never[lang]:
            if re.search(rf"\b{re.escape(lowered(word))}{end}", text):
                yield word


def lowered(text: str) -> str:
    """Returns the text in small letters, Turkish ones as well, with one space between words."""
    return " ".join(text.replace("İ", "i").replace("I", "ı").lower().replace("ı", "i").split())


def cells(cell: str, by: str = ",") -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(by) if part.strip())


def terms() -> list[Term]:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and line != HEAD]
    found = []
    for row in rows:
        if row.startswith("| ---"):
            continue
        english, never_en, _, stem, never_tr, exceptions = (cell.strip() for cell in row[1:-1].split("|"))
        never: dict[Language, tuple[str, ...]] = {"en": cells(never_en), "tr": cells(never_tr)}
        by = ";" if ";" in exceptions else ","
        found.append(Term(english=cells(english), stem=stem, never=never, exceptions=cells(exceptions, by)))
    return found


TERMS: Final = terms()


def messages(lang: Language) -> dict[str, str]:
    po = (ROOT / f"agent/opanel_agent/locale/{lang}/LC_MESSAGES/opanel-agent.po").read_text("utf-8")
    return {
        text_id: "".join(line[1:-1] for line in body.splitlines()).replace("\\n", "\n").replace('\\"', '"')
        for text_id, body in ENTRY.findall(po)
    }


def installer(lang: Language) -> Iterator[tuple[str, str]]:
    """Yields what install.sh prints, in one language, with the line where it stands."""
    script = (ROOT / "install.sh").read_text("utf-8")
    for number, line in enumerate(script.splitlines(), start=1):
        if SENTENCE.match(line):
            parts = [part for part in shlex.split(line)[2:] if not part.isdigit() and part != ";;"]
            half = len(parts) // 2
            yield f"install.sh:{number}", " ".join(parts[:half] if lang == "en" else parts[half:])
    table = tomllib.loads((ROOT / "packaging/installer/texts.toml").read_text("utf-8"))
    for name, row in {**table["sentences"], **table["problems"]}.items():
        yield f"installer: {name}", row[lang] if isinstance(row[lang], str) else " ".join(row[lang])
    turkish, english = USAGE.findall(script)[:2]
    yield "install.sh --help", turkish if lang == "tr" else english


def settings_page(lang: Language) -> Iterator[tuple[str, str]]:
    """Yields the settings page's sentences, with the line where each begins."""
    source = (ROOT / "docs/examples/panel/settings/texts.php").read_text("utf-8")
    begin = {each: source.index(f"    '{each}' => [") for each in LANGUAGES}
    end = min((place for place in begin.values() if place > begin[lang]), default=len(source))
    for number, line in enumerate(source[begin[lang] : end].splitlines(), source[: begin[lang]].count("\n") + 1):
        yield f"texts.php:{number}", line


def tables(lang: Language) -> Iterator[tuple[str, str]]:
    """Yields what the daemon writes to the journal and what the demo shows: tables of pairs in their sources."""
    for file, name, order in (
        ("agent/opanel_agent/daemon/reporter.py", "SENTENCES", ("en", "tr")),
        ("packaging/demo.py", "WORDS", ("tr", "en")),
    ):
        for node in ast.parse((ROOT / file).read_text("utf-8")).body:
            if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == name:
                for key, pair in ast.literal_eval(node.value).items():
                    yield f"{file}: {key}", pair[order.index(lang)]


def english_alone() -> Iterator[tuple[str, str]]:
    """Yields what is there in English alone: descriptions of packages and units, and of the metrics."""
    for file, pattern in (
        ("pyproject.toml", r'^description = "(.*)"'),
        ("packaging/deb/control", r"^Description: (.*(?:\n .*)*)"),
        ("packaging/deb/postinst", r'^\s+echo "(.*)"'),
        ("agent/opanel_agent/cli/license/metrics.py", r'_gauge\(\s*"\w+", "(.*?)"'),
        *((f"systemd/{path.name}", r"^Description=(.*)") for path in sorted((ROOT / "systemd").glob("*.*"))),
    ):
        for found in re.findall(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE):
            yield file, found


def texts(lang: Language) -> Iterator[tuple[str, str]]:
    """Yields every text that a person reads in this language, with its place."""
    yield from messages(lang).items()
    for path in sorted((ROOT / f"docs/man/{lang}").glob("*.md")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            yield f"man/{lang}/{path.name}:{number}", COMMENT.sub("", line)
    yield f"notice.{lang}", Resources().notice(lang)
    yield from installer(lang)
    yield from settings_page(lang)
    yield from tables(lang)
    if lang == "en":
        yield from english_alone()


def plain(text: str) -> str:
    """Returns the words of a sentence, without what is code in it."""
    return lowered(CODE.sub(" ", text))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_text_has_another_word_for_a_term(lang: Language) -> None:
    found = [
        f"{place}: “{word}” (docs/terms.md: {'/'.join(term.english)})"
        for place, text in texts(lang)
        for term in TERMS
        for word in term.found(plain(text), lang)
    ]
    assert found == []


def test_where_english_has_the_term_turkish_has_its_own() -> None:
    english, turkish = messages("en"), messages("tr")
    missing = [
        f"{text_id}: “{term.english[0]}” without “{term.stem}” (docs/terms.md)"
        for term in TERMS
        if term.stem
        for text_id, text in english.items()
        if has_term(term, plain(text)) and lowered(term.stem) not in plain(turkish[text_id])
    ]
    assert missing == []


def has_term(term: Term, text: str) -> bool:
    """Whether an English text, as `plain` gives it, has the term as a whole word."""
    for phrase in term.exceptions:
        text = text.replace(lowered(phrase), "")
    return any(re.search(rf"(?<![\w-]){re.escape(lowered(each))}s?(?![\w-])", text) for each in term.english)


def test_the_table_is_read_and_every_kind_of_text_is() -> None:
    assert len(TERMS) > 40
    assert len({each for term in TERMS for each in term.english}) == sum(len(term.english) for term in TERMS)
    for lang in LANGUAGES:
        places = [place for place, _ in texts(lang)]
        assert len(places) > 1500
        for kind in ("man/", "notice.", "install.sh:", "install.sh --help", "texts.php:", "error.", "help."):
            assert any(place.startswith(kind) for place in places), kind
    kinds = {place.partition(":")[0] for lang in LANGUAGES for place, _ in texts(lang)}
    assert {"pyproject.toml", "packaging/demo.py", "agent/opanel_agent/daemon/reporter.py"} <= kinds
    assert len([place for place, _ in english_alone() if place.startswith("systemd/")]) >= 8
    assert len([place for place, _ in english_alone() if place.endswith("metrics.py")]) > 20
    assert dict(installer("tr"))["install.sh --help"].startswith("kullanım:")
    assert "Kurulum tamamlandı" in " ".join(text for _, text in installer("tr"))


def test_a_word_that_may_not_be_is_found_with_its_suffix_and_its_exception_is_not() -> None:
    authority = next(term for term in TERMS if term.english == ("authority",))
    assert list(authority.found(plain("LİSANS MAKAMININ yanıtı"), "tr")) == ["makam"]
    assert list(authority.found(plain("ülkenizin denetim makamına"), "tr")) == []
    sandbox = next(term for term in TERMS if term.english == ("sandbox",))
    assert list(sandbox.found(plain("every wall holds; the firewall and {walls} are no such word"), "en")) == ["wall"]
    assert list(sandbox.found(plain("güvenlik duvarı"), "tr")) == []
    assert not has_term(authority, plain("run “opanel-authority issue”"))
