"""Makes docs/troubleshooting/, a page for each language: every sentence of a failure with its cure, from the catalogs.

By the words that the program prints, so that whoever searches for a code or a sentence finds what to do.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from generators.catalogs import LOCALE, entries


class Page(NamedTuple):
    """The page of one language: its file, and what stands around the tables."""

    language: str
    path: str
    head: str
    reasons: str
    errors: str


PAGES: Final = (
    Page(
        "en",
        "docs/troubleshooting/en.md",
        """# Troubleshooting

What the agent prints when something is wrong, and what to do. Made by `packaging/generate` from the agent's own sentences;
in Turkish: [tr.md](tr.md).

`opanel-agent doctor` finds out by itself which of these it is, and names the cure; start there. A word in *italics* stands
for a value: a file, an address, a date. In JSON the word of the first column is in `reasons` or in `error.detail`
([json.md](../json.md)).
""",
        """
## Reasons of a license state

| reason | meaning |
| --- | --- |
""",
        """
## Errors

| detail | what is printed | what to do |
| --- | --- | --- |
""",
    ),
    Page(
        "tr",
        "docs/troubleshooting/tr.md",
        """# Sorun giderme

Bir şey yolunda gitmediğinde ajanın yazdıkları ve yapılacaklar. `packaging/generate` bu sayfayı ajanın kendi cümlelerinden
üretir; İngilizcesi: [en.md](en.md).

Bunlardan hangisinin söz konusu olduğunu `opanel-agent doctor` kendisi bulur ve çaresini söyler; önce onu çalıştırın. *Eğik*
yazılmış sözcük bir değerin yerini tutar: dosya, adres, tarih. JSON çıktısında ilk sütundaki sözcük `reasons` ya da
`error.detail` alanındadır ([json.md](../json.md)).
""",
        """
## Lisans durumunun nedenleri

| neden | anlamı |
| --- | --- |
""",
        """
## Hatalar

| ayrıntı | yazılan | yapılacak |
| --- | --- | --- |
""",
    ),
)


def outputs() -> Iterator[tuple[str, bytes]]:
    """Each page's path in the repository, and its bytes."""
    for page in PAGES:
        yield page.path, _page(page, _sentences(page.language)).encode()


def _sentences(language: str) -> Mapping[str, str]:
    return entries((LOCALE / language / "LC_MESSAGES" / "opanel-agent.po").read_text("utf-8"))


def _page(page: Page, sentences: Mapping[str, str]) -> str:
    reasons = "".join(f"| `{code}` | {_cell(text)} |\n" for code, text in _of("reason", sentences))
    errors = "".join(
        f"| `{detail}` | {_cell(text)} | {_cell(sentences[f'cure.{detail}'])} |\n"
        for detail, text in _of("error", sentences)
    )
    return f"{page.head}{page.reasons}{reasons}{page.errors}{errors}"


def _of(kind: str, sentences: Mapping[str, str]) -> list[tuple[str, str]]:
    """The entries of a kind without it, in the order of their words."""
    return sorted((key.removeprefix(f"{kind}."), text) for key, text in sentences.items() if key.startswith(f"{kind}."))


def _cell(text: str) -> str:
    """One cell of a Markdown table, in which a placeholder stands as the name of its value."""
    named = re.sub(r"\{(\w+)[^}]*\}", r"*\1*", text)
    return named.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
