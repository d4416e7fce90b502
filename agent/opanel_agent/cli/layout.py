"""Long sentences on a screen of 80 columns; bytes that are shown as they are, on lines as long as they have."""

import textwrap
from typing import Final

COLUMNS: Final = 80


def paragraph(text: str, *, indent: int = 0, hang: int = 0) -> tuple[str, ...]:
    """The text in lines; every line after the first is `hang` columns further in. A word that is longer stays whole."""
    return tuple(
        textwrap.wrap(
            text,
            width=COLUMNS,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def verbatim(text: str, *, indent: int = 2) -> tuple[str, ...]:
    """Lines as they went over the wire; whatever else a terminal would obey is escaped where it is printed."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return tuple(" " * indent + line for line in lines)
