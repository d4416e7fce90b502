"""What is public explains itself, and the core gives its reasons: the two figures only rise."""

from typing import Final

import pytest

from architecture import import_rules, prose

SOURCES: Final = import_rules.read(prose.ROOT)
LEAST_SHARE: Final = 0.95  # of what is public in the agent, with a docstring
LEAST_SHARE_CORE: Final = 0.98
LEAST_SHARE_AUTHORITY: Final = 0.98
LEAST_RATIO_CORE: Final = 0.45  # explaining lines per code line
LEAST_VERB_SHARE: Final = 0.98  # of the functions with a docstring, that begin it with what they do

pytestmark = pytest.mark.once


def test_what_is_public_has_a_docstring() -> None:
    assert prose.total(SOURCES, import_rules.AGENT).share >= LEAST_SHARE
    assert prose.total(SOURCES, prose.CORE).share >= LEAST_SHARE_CORE
    assert prose.total(SOURCES, import_rules.AUTHORITY).share >= LEAST_SHARE_AUTHORITY


def test_the_core_gives_its_reasons() -> None:
    assert prose.total(SOURCES, prose.CORE).ratio >= LEAST_RATIO_CORE


@pytest.mark.parametrize("package", [import_rules.AGENT, import_rules.AUTHORITY])
def test_a_function_begins_with_what_it_does(package: str) -> None:
    found = prose.total(SOURCES, package)
    assert found.functions > 400
    assert found.verb_share >= LEAST_VERB_SHARE, found.verbless


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("Returns the key.", True),
        ("Add one line. Durable when it returns.", True),
        ("Lists what waits.", True),
        ("The key.", False),
        ("What waits.", False),
        ("Whether it waits.", False),
        ("Lists of what waits.", False),
        ("Seconds until the check.", False),
        ("returns the key.", False),
    ],
)
def test_a_verb_is_told_from_a_noun(text: str, held: bool) -> None:
    found = prose.measure("m", f'def f():\n    """{text}"""\n')
    assert (found.functions, found.verbless) == (1, () if held else ("m.f",))


@pytest.mark.parametrize("decorator", ["property", "functools.cached_property", "size.setter", "router.get('/x')"])
def test_what_reads_as_a_noun_owes_no_verb(decorator: str) -> None:
    assert prose.measure("m", f"@{decorator}\ndef f():\n    'The size.'\n").functions == 0


SOURCE: Final = '''"""A module.

Of three lines, one of them blank.
"""

# a comment of
# two lines
class Shown:
    """A class."""

    def told(self) -> int:  # noqa: ANN201
        return 1  # why

    def _hidden(self) -> int:
        """Counts as explaining, is not public."""
        return """not a docstring
        of two lines"""


def bare() -> None:
    def inner() -> None: ...
'''


def test_a_source_is_measured() -> None:
    found = prose.measure("m", SOURCE)
    assert found.explaining_lines == 3 + 2 + 1 + 1 + 0.5  # the blank line of the docstring explains nothing
    assert found.code_lines == 8
    assert (found.public, found.undocumented) == (4, ("m.Shown.told", "m.bare"))
    assert found.share == 0.5


def test_an_empty_module_owes_nothing() -> None:
    assert prose.measure("m", "") == prose.Prose()
    assert prose.Prose().share == 1.0
