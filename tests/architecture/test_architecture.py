"""docs/ARCHITECTURE.md stays a page, and its table of layers is what the import rules hold."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from architecture import import_rules

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/ARCHITECTURE.md").read_text("utf-8")
SMALL: Final = frozenset({f"{import_rules.AGENT}.__main__", import_rules.AGENT})  # no layers, said under "Processes"

# About twelve: whoever opens a folder sees at a glance what is in it. The scripts of tests/bench are each a page of its own.
MOST_MODULES: Final = 14


def table(title: str) -> dict[str, tuple[str, ...]]:
    """The rows of a section's table, by their first cell."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, title
    rows = [
        tuple(cell.strip() for cell in row.split("|")) for row in re.findall(r"^\| (.*) \|$", section[1], re.MULTILINE)
    ]
    return {row[0]: row[1:] for row in rows[2:]}


LAYERS: Final = {name.strip("`/").removesuffix(".py"): cells[1] for name, cells in table("Layers").items()}
RULES: Final = {layer.prefix.rpartition(".")[2]: layer for layer in import_rules.LAYERS if layer.prefix not in SMALL}


def test_every_layer_is_told() -> None:
    assert LAYERS.keys() == {name.removeprefix("opanel_") for name in RULES}


@pytest.mark.parametrize("name", RULES)
def test_what_a_layer_may_import_is_what_the_rules_say(name: str) -> None:
    layer = RULES[name]
    cell = LAYERS[name.removeprefix("opanel_")].replace("and in functions: ", "")
    permitted = {each.strip() for each in re.split("[,;]", cell)} - {"standard modules of values"}
    assert permitted == {*layer.own, *layer.only_lazily, *layer.foreign} - {name}


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= 130
    assert len(PAGE) <= 10_500


def test_it_says_where_a_field_and_a_command_are_changed() -> None:
    rows = table("Where to change what")
    for name in ("a field of a report", "a command"):
        assert len(re.findall(r"`[^`]+`", rows[name][0])) >= 4


@pytest.mark.once
def test_no_folder_has_more_modules_than_one_sees_at_a_glance() -> None:
    modules = [path for layer in ("agent", "authority", "tests") for path in (ROOT / layer).rglob("*.py")]
    folders = Counter(path.parent.relative_to(ROOT) for path in modules if path.name != "__init__.py")
    assert len(folders) > 60
    too_full = {str(folder): count for folder, count in folders.items() if count > MOST_MODULES}
    assert too_full.keys() <= {"tests/bench"}
