"""Makes HTML in which a value cannot become markup: every text is escaped, and only what `tag` made is taken as it is."""

from html import escape as escape_markup
from typing import Final, NamedTuple

from opanel_agent.core.text_safety import escape, escape_lines

_WITHOUT_CONTENT: Final = frozenset({"meta", "rect", "line"})


class Markup(NamedTuple):
    """Holds a piece of HTML or SVG."""

    text: str


def tag(name: str, attributes: dict[str, str] | None = None, *content: "str | Markup") -> Markup:
    """Returns an element. An attribute's and a content's text is escaped, unsafe characters of Unicode too."""
    pairs = "".join(f' {key}="{_escaped(value)}"' for key, value in (attributes or {}).items())
    if name in _WITHOUT_CONTENT:
        return Markup(f"<{name}{pairs}>" if name == "meta" else f"<{name}{pairs}/>")
    return Markup(f"<{name}{pairs}>{joined(*content).text}</{name}>")


def joined(*content: "str | Markup") -> Markup:
    """Returns the pieces one after the other."""
    return Markup("".join(part.text if isinstance(part, Markup) else _escaped(part) for part in content))


def preformatted(data: bytes) -> Markup:
    """Returns bytes as they are, line by line; what is no UTF-8 and what acts on its reader, as its escape."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return tag("pre", None, tag("code", None, Markup(escape_markup(escape_lines(text)))))


def document(lang: str, head: Markup, *body: Markup) -> str:
    """Returns a whole page."""
    return f"<!doctype html>\n{tag('html', {'lang': lang}, head, tag('body', None, *body)).text}\n"


def _escaped(text: str) -> str:
    return escape_markup(escape(text))
