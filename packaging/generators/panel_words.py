"""Makes docs/examples/panel/settings/words.php: what states and reasons mean, from the catalogs, for the panel's page.

So that the page and the agent's own screens use the same words.
"""

from collections.abc import Iterator

from generators.catalogs import LOCALE, entries

TARGET = "docs/examples/panel/settings/words.php"
LANGUAGES = ("tr", "en")
KINDS = ("state.", "reason.")
HEAD = """<?php

/** What a license state and a reason mean. Made by packaging/generate from the agent's own sentences. */

declare(strict_types=1);

return [
"""


def outputs() -> Iterator[tuple[str, bytes]]:
    """The file's path in the repository, and its bytes."""
    yield TARGET, (HEAD + "".join(map(_language, LANGUAGES)) + "];\n").encode()


def _language(lang: str) -> str:
    po = (LOCALE / lang / "LC_MESSAGES" / "opanel-agent.po").read_text("utf-8")
    rows = [
        f"        {_quoted(key)} => {_quoted(text)},\n" for key, text in entries(po).items() if key.startswith(KINDS)
    ]
    return f"    '{lang}' => [\n{''.join(rows)}    ],\n"


def _quoted(text: str) -> str:
    """A PHP string in single quotes, which knows two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
