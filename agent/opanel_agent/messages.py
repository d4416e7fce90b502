"""Returns every sentence that a person reads, by id, in Turkish and English.

The sentences live in `locale/*/LC_MESSAGES/opanel-agent.po`; `packaging/generate` compiles them. An id names the
subject (`error.<detail>`, `cure.<detail>`, `state.<state>`, `reason.<code>`, `action.<code>`, …), never the wording, so that
no English stands in the code. A catalog is opened when its first sentence is asked for: importing this costs nothing, which
the daemon needs.

Left out: where a sentence goes, and making it safe for a terminal. That is `cli.display.output`.
"""

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from struct import unpack_from
from typing import Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import AgentError, Bug, Value
from opanel_agent.core.units import Language

DOMAIN: Final = "opanel-agent"
MO_MAGIC: Final = 0x950412DE


def translate(text_id: str, lang: Language, /, **values: Value) -> str:
    """Returns the sentence of that id. Raises Bug for an id that the catalog lacks and a placeholder without a value."""
    sentence = _sentence(text_id, lang)
    if sentence is None:
        raise Bug(Reason.INTERNAL, "text_missing", text=text_id)
    try:
        return sentence.format_map(values)
    except KeyError as exc:
        raise Bug(Reason.INTERNAL, "text_missing", text=f"{text_id} {exc.args[0]}") from exc


def translate_code(kind: str, code: str, lang: Language, /) -> str:
    """Returns what a published code means (`state.grace`); the bare code where it is unknown here, as a newer agent's."""
    return _sentence(f"{kind}.{code}", lang) or code


def translate_event(event: str, lang: Language, values: Mapping[str, object], /) -> str:
    """Returns what an event of the journal means; "" where it is unknown here."""
    sentence = _sentence(f"journal.{event}", lang)
    return "" if sentence is None else sentence.format_map(_Shown({name: str(value) for name, value in values.items()}))


def describe_error(error: AgentError, lang: Language) -> tuple[str, str]:
    """Returns an error as a person reads it: one sentence that names what cannot be done, and what to do about it.

    Values that neither uses (which file, which line) follow the sentence in parentheses. The error may come from
    another process, of another version: what is unknown here is shown as it came, and nothing raises.
    """
    known = all(_sentence(f"{part}.{error.detail}", lang) for part in ("error", "cure"))
    found_as = error.detail if known else "unknown_detail"
    values: dict[str, Value] = {name: _meant(name, value, lang) for name, value in error.values.items()}
    if not known:
        values["detail"] = error.detail
    sentence, hint = (_sentence(f"{part}.{found_as}", lang) or found_as for part in ("error", "cure"))
    unused = {name: value for name, value in values.items() if f"{{{name}}}" not in sentence + hint}
    rest = [f"{translate_code('value', name, lang)}: {value}" for name, value in unused.items()]
    title = sentence.format_map(_Shown(values))
    return (f"{title} ({', '.join(rest)})" if rest else title), hint.format_map(_Shown(values))


def language(lang_flag: str | None, settings_language: str | None, environ: Mapping[str, str]) -> Language:
    """Returns the language: the flag, else the settings, else the locale as POSIX orders its variables, else English."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    chosen = lang_flag or settings_language or locale
    return "tr" if chosen.lower().partition("_")[0].partition(".")[0] == "tr" else "en"


class _Shown(dict[str, Value]):
    """Values for a sentence; one that an older or newer process did not send shows as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def _meant(name: str, value: Value, lang: Language) -> Value:
    """Returns a published code among an error's values, as what it means."""
    return translate_code(name, str(value), lang) if name in ("reason", "purpose", "part") else value


def _sentence(text_id: str, lang: Language) -> str | None:
    return _catalog(lang).find(text_id)


class _Catalog:
    """The sentences of a .mo file (GNU gettext manual, section 10.3: little-endian, ids sorted), found by bisection.

    Not gettext.GNUTranslations: it decodes every sentence to find one, 4 of the 15 ms of user CPU that `--help` took
    (Python 3.11, 2026-11-29). packaging/generators/catalogs.py writes these files; plural forms and contexts are in none.
    """

    def __init__(self, data: bytes) -> None:
        """Raises Bug for what is no such file."""
        magic, _, self._count, self._ids, self._texts = unpack_from("<5I", data)
        if magic != MO_MAGIC:
            raise Bug(Reason.INTERNAL, "text_missing", text=DOMAIN)
        self._data = data

    def find(self, text_id: str) -> str | None:
        """Returns the sentence of that id, or None."""
        wanted = text_id.encode("utf-8", "replace")  # an id of another process may be no text that UTF-8 has
        place = bisect_left(range(self._count), wanted, key=self._id)
        if place == self._count or self._id(place) != wanted:
            return None
        return self._entry(self._texts, place).decode()

    def _id(self, place: int) -> bytes:
        return self._entry(self._ids, place)

    def _entry(self, table: int, place: int) -> bytes:
        length, offset = unpack_from("<2I", self._data, table + 8 * place)
        return self._data[offset : offset + length]


@cache
def _catalog(lang: Language) -> _Catalog:
    from pathlib import Path  # late: the daemon, which tells nothing before it ends, has no other use for it

    file = Path(__file__).parent / "locale" / lang / "LC_MESSAGES" / f"{DOMAIN}.mo"
    return _Catalog(file.read_bytes())
