"""No module needs, by whatever way, a module that needs it: each can be read, tested and moved by itself."""

from pathlib import Path

from architecture import import_rules

TREE = import_rules.read(Path(__file__).resolve().parents[2])


def test_no_modules_import_in_a_circle() -> None:
    assert import_rules.circles(TREE) == []


def test_a_circle_is_found_whatever_kind_of_import_closes_it() -> None:
    sources = {
        "a": "from b import f",
        "b": "def f():\n    import c",
        "c": "if TYPE_CHECKING:\n    from a import g",
        "d": "import a",
        "e": "import os",
    }
    assert import_rules.circles(sources) == [("a", "b", "c")]
    assert import_rules.circles({name: text for name, text in sources.items() if name != "b"}) == []
