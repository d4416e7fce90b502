"""Compiles the sentence catalogs: each `opanel-agent.po` to the `.mo` beside it.

The standard library reads .mo files and has nothing that writes them, and msgfmt is not on every machine that builds this.
The same .po gives the same bytes everywhere: entries sorted, no date, no hash table. Left out, because the catalogs use
none of it: plural forms, contexts, fuzzy and obsolete entries; a line that is none of those known here is an error.
"""

import ast
import struct
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "agent" / "opanel_agent" / "locale"
MAGIC = 0x950412DE
HEADER_WORDS = 7


def entries(po: str) -> dict[str, str]:
    """Every msgid with its msgstr; the header is the entry of the empty id. Raises ValueError naming the line."""
    found: dict[str, str] = {}
    parts: dict[str, str] = {}
    part = ""
    for number, line in enumerate([*po.splitlines(), ""], start=1):
        keyword, _, quoted = line.partition(" ")
        if line.startswith("#"):
            continue
        if not line:
            _keep(found, parts, number)
            parts = {}
        elif keyword in ("msgid", "msgstr") and keyword not in parts:
            part = keyword
            parts[part] = _text(quoted, number)
        elif line.startswith('"') and parts:
            parts[part] += _text(line, number)
        else:
            message = f"line {number}: neither a comment, nor msgid, nor msgstr, nor a string"
            raise ValueError(message)
    return found


def _keep(found: dict[str, str], parts: dict[str, str], number: int) -> None:
    if not parts:
        return
    if set(parts) != {"msgid", "msgstr"} or parts["msgid"] in found:
        message = f"before line {number}: an entry without both msgid and msgstr, or one that is there twice"
        raise ValueError(message)
    found[parts["msgid"]] = parts["msgstr"]


def _text(quoted: str, number: int) -> str:
    try:
        text = ast.literal_eval(quoted) if quoted.startswith('"') else None
    except (SyntaxError, ValueError):
        text = None
    if isinstance(text, str):
        return text
    message = f"line {number}: not a string in double quotes"
    raise ValueError(message)


def compiled(po: str) -> bytes:
    """A .mo file (GNU gettext manual, 10.3) with no hash table."""
    pairs = [(msgid.encode(), msgstr.encode()) for msgid, msgstr in sorted(entries(po).items())]
    table_size = 8 * len(pairs)
    ids_at = 4 * HEADER_WORDS
    offset = ids_at + 2 * table_size
    tables = b""
    texts = b""
    for column in (0, 1):
        for pair in pairs:
            tables += struct.pack("<II", len(pair[column]), offset + len(texts))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", MAGIC, 0, len(pairs), ids_at, ids_at + table_size, 0, ids_at + 2 * table_size)
    return head + tables + texts


def outputs() -> Iterator[tuple[str, bytes]]:
    """Each .mo file's path in the repository, and its bytes. Raises ValueError naming file and line."""
    for source in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")):
        name = source.relative_to(ROOT)
        try:
            data = compiled(source.read_text("utf-8"))
        except ValueError as exc:
            message = f"{name}, {exc}"
            raise ValueError(message) from exc
        yield name.with_suffix(".mo").as_posix(), data
