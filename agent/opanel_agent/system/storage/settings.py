"""Reads `agent.toml`, the administrator's settings, whole or not at all.

A key that we do not know, a value of another type or a path that is not absolute refuses the file, with the line: a
setting that is silently ignored is worse than one that is missing. No file means the defaults. What a refusal denies
is decided elsewhere (`core.consent.gate`: every request; the last answer stands).
"""

import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from opanel_agent.core.codec.strict_toml import MAX_BYTES, Table, boolean, loads, string
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import AgentError, Misconfigured
from opanel_agent.core.units import LANGUAGES
from opanel_agent.core.wire.endpoints import admissible, admissible_exception
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_MIRRORS: Final = 16
MAX_EXCEPTIONS: Final = 64
_SCHEME: Final = "(?i)https?://"
_REGION: Final = r"[a-z0-9][a-z0-9-]{0,31}"


class Settings(NamedTuple):
    """Everything that `agent.toml` can say. The values here are the defaults: what an empty file means."""

    language: str | None = None
    region: str | None = None
    mirrors: tuple[str, ...] = ()
    proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None
    trust_root: Path | None = None
    panel_version_file: Path | None = None
    advisories: bool = True
    license_check: bool = True
    license_renew: bool = True


def load(files: Files, paths: Paths) -> Settings:
    """Returns the settings in force. Raises Misconfigured(settings_refused) for any fault, naming file and line."""
    return read(files, paths)[0]


def read(files: Files, paths: Paths) -> tuple[Settings, bytes | None]:
    """Returns the settings in force and the file that says them, None where there is none. Raises as `load` does."""
    file = str(paths.settings)
    try:
        data = files.read(paths.settings, max_bytes=MAX_BYTES, owners=paths.owners)
        return (Settings() if data is None else parse(data)), data
    except AgentError as exc:
        raise Misconfigured(Reason.SETTINGS_REFUSED, exc.detail, **{"file": file, **exc.values}) from exc


def parse(data: bytes) -> Settings:
    """Raises Misconfigured(settings_refused, toml_…) with `line` and `name` of the first fault."""
    table = loads(data, Reason.SETTINGS_REFUSED)
    license_table = table.table("license")
    settings = Settings(
        language=table.take("language", _language),
        region=table.take("region", _region),
        mirrors=table.take("mirrors", _mirrors) or (),
        proxy=_proxy(table),
        no_proxy=table.take("no_proxy", _no_proxy) or (),
        ca_file=table.take("ca_file", _path),
        trust_root=table.take("trust_root", _path),
        panel_version_file=table.take("panel_version_file", _path),
        advisories=_yes(table.take("advisories", boolean)),
        license_check=_yes(license_table.take("check", boolean)),
        license_renew=_yes(license_table.take("renew", boolean)),
    )
    license_table.end()
    table.end()
    return settings


def _yes(value: bool | None) -> bool:  # noqa: FBT001 - the one thing that it is about
    return True if value is None else value


def _language(value: object) -> str:
    if string(value) not in LANGUAGES:
        raise ValueError
    return string(value)


def _region(value: object) -> str:
    if not re.fullmatch(_REGION, string(value)):
        raise ValueError
    return string(value)


def _path(value: object) -> Path:
    text = string(value)
    if not text.startswith("/") or "\0" in text:
        raise ValueError
    return Path(text)


def _mirrors(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    mirrors = tuple(string(item) for item in value)
    if len(mirrors) > MAX_MIRRORS or len(set(mirrors)) != len(mirrors) or not all(map(admissible, mirrors)):
        raise ValueError
    return mirrors


def _no_proxy(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    exceptions = tuple(string(item) for item in value)
    if len(exceptions) > MAX_EXCEPTIONS or not all(map(admissible_exception, exceptions)):
        raise ValueError
    return exceptions


def _proxy(table: Table) -> str | None:
    """Reads `http://[user:password@]host[:port]`, https likewise. What is wrong with it has a detail of its own."""
    text = table.take("proxy", string)
    if text is None:
        return None
    if re.match(_SCHEME, text) is None:
        raise table.refuse("proxy_scheme", "proxy")
    if not _is_authority(text):
        raise table.refuse("proxy_address", "proxy")
    return text


def _is_authority(url: str) -> bool:
    """Returns whether nothing follows the host and port: a password with a bare `/`, `?` or `#` would end them early."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    rest = parts.path not in ("", "/") or parts.query or parts.fragment
    return bool(parts.hostname) and port != 0 and not rest and url.isascii() and " " not in url
