"""Reads the command line: words that name a command, then options and operands in any order.

Not argparse: its messages and its help are English only and it ends with status 2, while here every message is in the
reader's language and a usage error is 64. What remains is one loop. There are no abbreviations and no bundled letters, so
that an option of a later version cannot change what a script of today means. The commands are in `core.commands`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn

from opanel_agent.core.codes import Fault
from opanel_agent.core.commands import EVERYWHERE_FLAGS, EVERYWHERE_VALUED, HELP, Command
from opanel_agent.core.errors import Usage
from opanel_agent.core.units import LANGUAGES

MAX_NUMBER_DIGITS: Final = 9
RESEMBLANCE: Final = 0.8  # of difflib: one letter in five may be wrong


class Options(NamedTuple):
    """The options and operands of a command line."""

    flags: frozenset[str] = frozenset()
    values: Mapping[str, str] = MappingProxyType({})
    operands: tuple[str, ...] = ()

    def number(self, name: str, default: int, *, high: int) -> int:
        """Returns the value of an option, a whole number from 0 to `high`. Raises Usage."""
        text = self.values.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_NUMBER_DIGITS and int(text) <= high):
            raise Usage(Fault.USAGE, "option_number", option=name, low=0, high=high)
        return int(text)


def find(commands: Sequence[Command], arguments: Sequence[str]) -> tuple[Command | None, tuple[str, ...]]:
    """Returns the command that the words name, with the other arguments; None and the words where they name none.

    What every command takes may stand before its words, too. Raises Usage for words that begin no command.
    """
    first = _first_word(arguments)
    words = tuple(takewhile(lambda argument: not argument.startswith("-"), arguments[first:]))
    for command in commands:
        if words[: len(command.words)] == command.words:
            return command, (*arguments[:first], *arguments[first + len(command.words) :])
    if words and (len(words) > 1 or all(command.words[0] != words[0] for command in commands)):
        given = " ".join(words[:2])
        like = resembling(given, (" ".join(command.words) for command in commands))
        if like is not None:
            raise Usage(Fault.USAGE, "command_like", command=given, like=like)
        raise Usage(Fault.USAGE, "command_unknown", command=given)
    return None, words


def spelled_out(arguments: Sequence[str]) -> Sequence[str]:
    """Returns the arguments with `help`, `version` and `-V` as the options that they are other names of."""
    match arguments:
        case ["help", *words]:
            return [*words, "--help"]
        case ["version" | "-V", *rest]:
            return ["--version", *rest]
        case _:
            return arguments


def resembling(given: str, known: Iterable[str]) -> str | None:
    """Returns the known word that a mistyped one resembles most, or None."""
    import difflib  # for who mistyped alone

    return next(iter(difflib.get_close_matches(given, sorted(known), n=1, cutoff=RESEMBLANCE)), None)


def _first_word(arguments: Sequence[str]) -> int:
    place = 0
    while place < len(arguments) and arguments[place].startswith("-") and arguments[place] != "--":
        place += 2 if arguments[place] in EVERYWHERE_VALUED else 1
    return place


def read(command: Command, arguments: Sequence[str]) -> Options:
    """Returns the options and operands of a command. Raises Usage for the first that it does not take."""
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
            raise _strange_option(command, name)
    if values.get("--lang", LANGUAGES[0]) not in LANGUAGES:
        raise Usage(Fault.USAGE, "language_unknown")
    low, high = command.operands
    if not flags & HELP and not low <= len(operands) <= high:
        _miscounted(command, operands)
    return Options(flags=frozenset(flags), values=values, operands=tuple(operands))


def _strange_option(command: Command, name: str) -> Usage:
    like = resembling(name, command.flags | command.valued | EVERYWHERE_FLAGS | EVERYWHERE_VALUED)
    if like is not None:
        return Usage(Fault.USAGE, "option_like", option=name, like=like)
    return Usage(Fault.USAGE, "option_unknown", option=name)


def one_of(options: Options, *names: str) -> str | None:
    """Returns the one flag given of several that exclude each other. Raises Usage when two are."""
    given = [name for name in names if name in options.flags]
    if len(given) > 1:
        raise Usage(Fault.USAGE, "options_exclusive", first=given[0], second=given[1])
    return given[0] if given else None


def language_flag(arguments: Sequence[str]) -> str | None:
    """Returns the language that --lang names, wherever it stands: usage errors are in that language, too."""
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
