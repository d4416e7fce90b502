"""Counts how many strings a pattern admits, so that what a field can tell is computed and not estimated.

The patterns of the field catalog are Python's, cut down to what can be counted
by multiplying: literal characters, classes of characters and ranges, `(?:a|b)`
groups, `?`, `{n}` and `{m,n}`. Nothing is unbounded, so a field's length is
bounded too.

A pattern that can spell one string in two ways counts it twice: the figure is
then an upper bound, which is the safe side. Counting exactly would take an
automaton.

It is a recursive descent, a function for each rule of this grammar:

    alternatives = sequence *("|" sequence)
    sequence     = *(atom [bounds])
    atom         = "(?:" alternatives ")" / "[" members "]" / character
    bounds       = "?" / "{" n ["," m] "}"
"""

import re
from typing import Final

_BOUNDS: Final = r"\?|\{(\d{1,4})(?:,(\d{1,4}))?\}"
_SPECIAL: Final = frozenset(".^$*+?{}[]\\|()")


def count(pattern: str) -> int:
    r"""Returns the number of strings that `re.fullmatch(pattern, …)` admits.

    Raises ValueError or re.error for a pattern outside of the subset: `.`, `*`,
    `+`, anchors, negated classes, `\d` and its like.
    """
    re.compile(pattern)  # what is not closed, or closed too often, ends here; re.error is no ValueError
    return _alternatives(_Rest(pattern))


class _Rest:
    """What of the pattern is still to be read."""

    def __init__(self, text: str) -> None:
        self.text = text

    def take(self, start: str) -> bool:
        """Tells whether the rest begins with a text, and consumes it if it does."""
        taken = self.text.startswith(start)
        self.text = self.text.removeprefix(start)
        return taken

    def character(self) -> str:
        """Returns one literal character, written as itself or after a backslash."""
        escaped = self.take("\\")
        character, self.text = self.text[:1], self.text[1:]
        if escaped and character.isalnum():  # \d, \w, \1 … stand for more than themselves
            raise ValueError(self.text)
        return character


def _alternatives(rest: _Rest) -> int:
    """Adds up the alternatives of a group, or of the whole pattern."""
    total = _sequence(rest)
    while rest.take("|"):
        total += _sequence(rest)
    return total


def _sequence(rest: _Rest) -> int:
    """Multiplies what stands one after the other."""
    product = 1
    while rest.text and rest.text[0] not in "|)":
        product *= _repeated(_atom(rest), rest)
    return product


def _atom(rest: _Rest) -> int:
    """Counts one character, class or group."""
    if rest.take("(?:"):
        inner = _alternatives(rest)
        rest.take(")")
        return inner
    if rest.take("["):
        return len(_members(rest))
    if rest.text[0] in _SPECIAL - {"\\"}:
        raise ValueError(rest.text)
    rest.character()
    return 1


def _members(rest: _Rest) -> set[str]:
    """Returns the characters of a class.

    Raises ValueError for a negated one, which has no number.
    """
    if rest.text.startswith("^"):
        raise ValueError(rest.text)
    members: set[str] = set()
    while not rest.take("]"):
        first = rest.character()
        last = rest.character() if rest.text[1:2] != "]" and rest.take("-") else first
        members |= {chr(point) for point in range(ord(first), ord(last) + 1)}
    return members


def _repeated(each: int, rest: _Rest) -> int:
    """Counts an atom with its bounds."""
    found = re.match(_BOUNDS, rest.text)
    if found is None:
        return each
    rest.text = rest.text[found.end() :]
    low, high = (0, 1) if found[0] == "?" else (int(found[1]), int(found[2] or found[1]))
    return powers(each, low, high)


def powers(base: int, low: int, high: int) -> int:
    """Returns base^low + … + base^high: how many sequences of `low` to `high` things there are, each one of `base`.

    0 where high < low. By the sum of a geometric series: term by term it is
    most of the time that the catalog takes to load.
    """
    if high < low:
        return 0
    if base == 1:
        return high - low + 1
    return int((base ** (high + 1) - base**low) // (base - 1))
