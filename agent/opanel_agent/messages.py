"""Every sentence a person reads, by id, in Turkish and English.

The sentences live in `locale/*/LC_MESSAGES/opanel-agent.po`; `packaging/generate` compiles them. An id names what is
said (`error.<detail>`, `cure.<detail>`, `state.<state>`, `reason.<code>`, `action.<code>`, …), never how, so that no
English stands in the code. A catalog is opened when its first sentence is asked for: importing this costs nothing, which
the daemon needs.

Left out: where a sentence goes, and making it safe for a terminal. That is `cli.output`.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import AgentError, Bug, Value
from opanel_agent.core.units import Language

if TYPE_CHECKING:
    from gettext import GNUTranslations

DOMAIN: Final = "opanel-agent"


def translate(text_id: str, lang: Language, /, **values: Value) -> str:
    """The sentence of that id. Raises Bug for an id that the catalog lacks and for a placeholder without a value."""
    sentence = _sentence(text_id, lang)
    if sentence is None:
        raise Bug(Reason.INTERNAL, "text_missing", text=text_id)
    try:
        return sentence.format_map(values)
    except KeyError as exc:
        raise Bug(Reason.INTERNAL, "text_missing", text=f"{text_id} {exc.args[0]}") from exc


def translate_code(kind: str, code: str, lang: Language, /) -> str:
    """What a published code means (`state.grace`); the bare code where a newer agent's word is unknown here."""
    return _sentence(f"{kind}.{code}", lang) or code


def translate_event(event: str, lang: Language, values: Mapping[str, object], /) -> str:
    """What an event of the journal means; "" where it is unknown here."""
    sentence = _sentence(f"journal.{event}", lang)
    return "" if sentence is None else sentence.format_map(_Shown({name: str(value) for name, value in values.items()}))


def describe_error(error: AgentError, lang: Language) -> tuple[str, str]:
    """An error as a person reads it: one sentence that says what cannot be done, and what to do about it.

    Values that neither uses (which file, which line) follow the sentence in parentheses. The error may come from
    another process, of another version: what is unknown here is shown as it came, and nothing raises.
    """
    known = all(_sentence(f"{part}.{error.detail}", lang) for part in ("error", "cure"))
    said_as = error.detail if known else "unknown_detail"
    values: dict[str, Value] = {name: _meant(name, value, lang) for name, value in error.values.items()}
    if not known:
        values["detail"] = error.detail
    sentence, hint = (_sentence(f"{part}.{said_as}", lang) or said_as for part in ("error", "cure"))
    unsaid = {name: value for name, value in values.items() if f"{{{name}}}" not in sentence + hint}
    rest = [f"{translate_code('value', name, lang)}: {value}" for name, value in unsaid.items()]
    title = sentence.format_map(_Shown(values))
    return (f"{title} ({', '.join(rest)})" if rest else title), hint.format_map(_Shown(values))


def language(lang_flag: str | None, settings_language: str | None, environ: Mapping[str, str]) -> Language:
    """Turkish or English: the flag, else the settings, else the locale as POSIX orders its variables, else English."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    chosen = lang_flag or settings_language or locale
    return "tr" if chosen.lower().partition("_")[0].partition(".")[0] == "tr" else "en"


class _Shown(dict[str, Value]):
    """Values for a sentence; one that an older or newer process did not send shows as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def _meant(name: str, value: Value, lang: Language) -> Value:
    """A published code among an error's values, as what it means."""
    return translate_code(name, str(value), lang) if name in ("reason", "purpose") else value


def _sentence(text_id: str, lang: Language) -> str | None:
    sentence = _catalog(lang).gettext(text_id)
    # gettext answers an unknown id with the id itself. No sentence reads like one.
    return None if sentence == text_id else sentence


@cache
def _catalog(lang: Language) -> "GNUTranslations":
    # Imported late: only a process that says something pays for them.
    from gettext import GNUTranslations
    from pathlib import Path

    with (Path(__file__).parent / "locale" / lang / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        return GNUTranslations(file)
