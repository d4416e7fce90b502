"""Makes docs/troubleshooting/, a page for each language: every code of a failure, its sentence and its cure.

By the words that the programs print, so that whoever searches for a code or a sentence finds what to do: the agent's from
the catalogs, install.sh's and the authority's from their own tables.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from generators import failure_codes
from generators.catalogs import LOCALE, entries
from generators.failure_codes import Failure


class Page(NamedTuple):
    """The page of one language: its file, and what stands before each table."""

    language: str
    path: str
    head: str
    reasons: str
    errors: str
    faults: str
    installer: str
    authority: str


PAGES: Final = (
    Page(
        "en",
        "docs/troubleshooting/en.md",
        """# Troubleshooting

What the agent prints when something is wrong, and what to do. Made by `packaging/generate` from the agent's own sentences;
in Turkish: [tr.md](tr.md).

`opanel-agent doctor` finds out by itself which of these it is, and names the cure; start there. A word in *italics* stands
for a value: a file, an address, a date. An error ends in `code: CODE (DETAIL)`: look for the detail under
[Errors](#errors). In JSON the word of the first column is in `reasons`, `error.code` or `error.detail`
([json.md](../json.md)). Elsewhere: what a panel's library says when the agent is silent
([panel-integration.md](../panel-integration.md#when-the-agent-is-silent)), what the socket refuses
([json.md](../json.md#problems)).
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
        """
## Codes of a failure

The code of an error is one of the reasons above, or one of these. The detail in brackets behind it says what to do.

| code | details |
| --- | --- |
""",
        """
## install.sh

| code | what is printed | what to do |
| --- | --- | --- |
""",
        """
## opanel-authority

For vendors and resellers. What the agent's own verification refuses is under [Errors](#errors).

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

Bunlardan hangisinin söz konusu olduğunu `opanel-agent doctor` bulur ve yapılacakları gösterir; önce onu çalıştırın. *Eğik*
yazılmış sözcük bir değerin yerini tutar: dosya, adres, tarih. Her hata `kod: KOD (AYRINTI)` satırıyla biter: ayrıntıyı
[Hatalar](#hatalar) bölümünde arayın. JSON çıktısında ilk sütundaki sözcük `reasons`, `error.code` ya da `error.detail`
alanındadır ([json.md](../json.md)). Ajan yanıt vermediğinde panel kitaplığının bildirdikleri
[panel-integration.md](../panel-integration.md#when-the-agent-is-silent), soketin geri çevirdikleri
[json.md](../json.md#problems) sayfasındadır.
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
        """
## Hata kodları

Bir hatanın kodu ya yukarıdaki nedenlerden ya da bunlardan biridir. Yapılacak işi, kodun yanında ayraç içinde yazan ayrıntı
belirler.

| kod | ayrıntılar |
| --- | --- |
""",
        """
## install.sh

| kod | yazılan | yapılacak |
| --- | --- | --- |
""",
        """
## opanel-authority

Üretici ve bayiler içindir; bu program yalnızca İngilizce yazar. Ajanın doğrulamasının reddettikleri
[Hatalar](#hatalar) bölümündedir.

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
    errors = [Failure(detail, text, sentences[f"cure.{detail}"]) for detail, text in _of("error", sentences)]
    faults = "".join(
        f"| `{code}` | {', '.join(f'`{detail}`' for detail in details)} |\n"
        for code, details in failure_codes.of_agent().items()
    )
    return (
        f"{page.head}{page.reasons}{reasons}{page.errors}{_table(errors)}{page.faults}{faults}"
        f"{page.installer}{_table(failure_codes.of_installer(page.language))}"
        f"{page.authority}{_table(failure_codes.of_authority())}"
    )


def _table(rows: Iterable[Failure]) -> str:
    return "".join(f"| `{row.code}` | {_cell(row.sentence)} | {_cell(row.cure)} |\n" for row in rows)


def _of(kind: str, sentences: Mapping[str, str]) -> list[tuple[str, str]]:
    """The entries of a kind without it, in the order of their words."""
    return sorted((key.removeprefix(f"{kind}."), text) for key, text in sentences.items() if key.startswith(f"{kind}."))


def _cell(text: str) -> str:
    """One cell of a Markdown table, in which a placeholder stands as the name of its value."""
    named = re.sub(r"\{(\w+|…)[^}]*\}", r"*\1*", text)
    return named.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
