"""`agent.toml`: the administrator's settings, read whole or refused whole.

A key that we do not know, a value of another type or a path that is not absolute refuses the file, with the line: a
setting that is silently ignored is worse than one that is missing. No file means the defaults. What a refusal denies
is decided elsewhere (`core.consent`: every request; the last answer stands).
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.mirrors import admissible
from opanel_agent.core.reasons import Reason
from opanel_agent.system.files import Files
from opanel_agent.system.paths import Paths

T = TypeVar("T")

MAX_BYTES: Final = 64 * 1024
MAX_MIRRORS: Final = 16
LANGUAGES: Final = ("tr", "en")
_REGION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TOML_LINE: Final = re.compile(r"at line (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that `agent.toml` can say. The values here are the defaults: what an empty file means."""

    language: str | None = None
    region: str | None = None
    mirrors: tuple[str, ...] = ()
    proxy: str | None = None
    ca_file: Path | None = None
    trust_root: Path | None = None
    panel_version_file: Path | None = None
    advisories: bool = True
    license_check: bool = True
    license_renew: bool = True


def load(files: Files, paths: Paths) -> Settings:
    """The settings in force. Raises Misconfigured(settings_refused) for any fault, naming file and line."""
    file = str(paths.settings)
    try:
        data = files.read(paths.settings, max_bytes=MAX_BYTES, owners=paths.owners)
        return Settings() if data is None else parse(data)
    except AgentError as exc:
        raise Misconfigured(Reason.SETTINGS_REFUSED, exc.detail, **{"file": file, **exc.values}) from exc


def parse(data: bytes) -> Settings:
    """Raises Misconfigured(settings_refused, settings_…) with `line` and `name` of the first fault."""
    text = _text(data)
    table = _Table(_toml(text), text, "")
    if "schema" not in table.values or table.take("schema", _integer) != 1:
        raise table.refuse("settings_schema", "schema")
    license_table = table.table("license")
    settings = Settings(
        language=table.take("language", _language),
        region=table.take("region", _region),
        mirrors=table.take("mirrors", _mirrors) or (),
        proxy=table.take("proxy", _proxy),
        ca_file=table.take("ca_file", _path),
        trust_root=table.take("trust_root", _path),
        panel_version_file=table.take("panel_version_file", _path),
        advisories=_yes(table.take("advisories", _boolean)),
        license_check=_yes(license_table.take("check", _boolean)),
        license_renew=_yes(license_table.take("renew", _boolean)),
    )
    license_table.end()
    table.end()
    return settings


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise Misconfigured(Reason.SETTINGS_REFUSED, "settings_utf8", line=line) from exc


def _toml(text: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        found = _TOML_LINE.search(str(exc))  # "at end of document" names none
        line = int(found[1]) if found else text.count("\n") + 1
        raise Misconfigured(Reason.SETTINGS_REFUSED, "settings_syntax", line=line) from exc


class _Table:
    """A reader that remembers what was taken: the rest is unknown and refuses the file."""

    def __init__(self, values: Mapping[str, object], text: str, prefix: str) -> None:
        self.values = values
        self._text = text
        self._prefix = prefix
        self._taken: set[str] = set()

    def take(self, name: str, read: Callable[[object], T]) -> T | None:
        self._taken.add(name)
        if name not in self.values:
            return None
        try:
            return read(self.values[name])
        except TypeError as exc:
            raise self.refuse("settings_type", name) from exc
        except ValueError as exc:
            raise self.refuse("settings_value", name) from exc

    def table(self, name: str) -> "_Table":
        values = self.take(name, _mapping)
        return _Table(values or {}, self._text, f"{name}.")

    def end(self) -> None:
        for name in self.values:
            if name not in self._taken:
                raise self.refuse("settings_unknown", name)

    def refuse(self, detail: str, name: str) -> Misconfigured:
        line = _line_of(self._text, name)
        return Misconfigured(Reason.SETTINGS_REFUSED, detail, name=(self._prefix + name)[:80], line=line)


def _line_of(text: str, name: str) -> int:
    """Where a key or table is written; line 1 where it is written in a way that this does not find."""
    key = rf"""(?:\w+\s*\.\s*)*["']?{re.escape(name)}["']?"""
    written = re.compile(rf"\s*(?:\[+\s*{key}\s*[\].]|{key}\s*[=.])|.*[{{,]\s*{key}\s*=")
    lines = text.split("\n")
    return next((number for number, line in enumerate(lines, start=1) if written.match(line)), 1)


def _yes(value: bool | None) -> bool:  # noqa: FBT001 - the one thing that it is about
    return True if value is None else value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _language(value: object) -> str:
    if _string(value) not in LANGUAGES:
        raise ValueError
    return _string(value)


def _region(value: object) -> str:
    if not _REGION.fullmatch(_string(value)):
        raise ValueError
    return _string(value)


def _path(value: object) -> Path:
    text = _string(value)
    if not text.startswith("/") or "\0" in text:
        raise ValueError
    return Path(text)


def _mirrors(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    mirrors = tuple(_string(item) for item in value)
    if len(mirrors) > MAX_MIRRORS or len(set(mirrors)) != len(mirrors) or not all(map(admissible, mirrors)):
        raise ValueError
    return mirrors


def _proxy(value: object) -> str:
    """`http://[user:password@]host:port`; https likewise. Anything after the authority is a mistake."""
    text = _string(value)
    parts = urlsplit(text)  # itself a ValueError for a broken address or, at `.port`, for a broken port
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError
    if parts.path not in ("", "/") or parts.query or parts.fragment or not text.isascii() or " " in text:
        raise ValueError
    return text
