"""The command line's grammar: words that name a command, then options and operands in any order.

Not argparse: its messages and its help are English only and it ends with status 2, while here every message is in the
reader's language and a usage error is 64. What remains is one loop. There are no abbreviations and no bundled letters, so
that an option of a later version cannot change what a script of today means.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import LANGUAGES

if TYPE_CHECKING:
    from opanel_agent.cli.context import Context
    from opanel_agent.cli.output import CommandResult

HELP = frozenset({"--help", "-h"})
EVERYWHERE_FLAGS = HELP | {"--json"}
EVERYWHERE_VALUED = frozenset({"--lang"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A command line, read."""

    flags: frozenset[str] = frozenset()
    values: Mapping[str, str] = field(default_factory=dict)
    operands: tuple[str, ...] = ()

    def number(self, name: str, default: int, *, high: int) -> int:
        """A whole number from 0 to `high`. Raises Usage."""
        text = self.values.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= high):
            raise Usage(Fault.USAGE, "option_number", option=name, high=high)
        return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. `operands` is how many at least and at most; `operand` names them in a usage error."""

    words: tuple[str, ...]
    run: "Callable[[Options, Context], CommandResult]"
    flags: frozenset[str] = frozenset()
    valued: frozenset[str] = frozenset()
    operands: tuple[int, int] = (0, 0)
    operand: str = ""


def find(commands: Sequence[Command], arguments: Sequence[str]) -> tuple[Command | None, tuple[str, ...]]:
    """The command that the words name and everything else; None where there is none to run. Raises Usage.

    What every command takes may stand before its words, too.
    """
    first = _first_word(arguments)
    words = tuple(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments[first:]))
    for command in commands:
        if words[: len(command.words)] == command.words:
            return command, (*arguments[:first], *arguments[first + len(command.words) :])
    if words and (len(words) > 1 or all(command.words[0] != words[0] for command in commands)):
        raise Usage(Fault.USAGE, "command_unknown", command=" ".join(words[:2]))
    return None, words


def _first_word(arguments: Sequence[str]) -> int:
    place = 0
    while place < len(arguments) and arguments[place].startswith("-") and arguments[place] != "--":
        place += 2 if arguments[place] in EVERYWHERE_VALUED else 1
    return place


def read(command: Command, arguments: Sequence[str]) -> Options:
    """The options and operands of a command. Raises Usage for the first that is none of its own."""
    flags: set[str] = set()
    values: dict[str, str] = {}
    operands: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, given, value = argument.partition("=")
        if argument == "--":
            operands.extend(rest)
        elif argument == "-" or not argument.startswith("-"):
            operands.append(argument)
        elif not given and name in command.flags | EVERYWHERE_FLAGS:
            flags.add(name)
        elif name in command.valued | EVERYWHERE_VALUED:
            values[name] = value if given else _next(rest, name)
        else:
            raise Usage(Fault.USAGE, "option_unknown", option=name)
    if values.get("--lang", LANGUAGES[0]) not in LANGUAGES:
        raise Usage(Fault.USAGE, "language_unknown")
    low, high = command.operands
    if not flags & HELP and not low <= len(operands) <= high:
        _miscounted(command, operands)
    return Options(flags=frozenset(flags), values=values, operands=tuple(operands))


def one_of(options: Options, *names: str) -> str | None:
    """The one flag given of several that exclude each other. Raises Usage when two are."""
    given = [name for name in names if name in options.flags]
    if len(given) > 1:
        raise Usage(Fault.USAGE, "options_exclusive", first=given[0], second=given[1])
    return given[0] if given else None


def language_flag(arguments: Sequence[str]) -> str | None:
    """The language that --lang names, wherever it stands: a usage error is said in it, too."""
    for n, argument in enumerate(arguments):
        name, given, value = argument.partition("=")
        if argument == "--":
            break
        if name == "--lang":
            chosen = value if given else (*arguments, "")[n + 1]
            return chosen if chosen in LANGUAGES else None
    return None


def _next(rest: Iterator[str], name: str) -> str:
    for value in rest:
        return value
    raise Usage(Fault.USAGE, "option_value", option=name)


def _miscounted(command: Command, operands: Sequence[str]) -> NoReturn:
    low, high = command.operands
    if len(operands) < low:
        raise Usage(Fault.USAGE, "operand_missing", operand=command.operand)
    raise Usage(Fault.USAGE, "operand_unexpected", operand=operands[high])
