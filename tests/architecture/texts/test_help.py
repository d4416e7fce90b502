"""No help text forgets a command, a word or an option, or names one that is not there."""

import re

import pytest

from opanel_agent.core.commands import COMMANDS, EVERYWHERE_FLAGS, EVERYWHERE_VALUED, Command
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.messages import translate

GROUPS = sorted({command.words[:length] for command in COMMANDS for length in range(1, len(command.words))})
NAME = re.compile(r"(?<![\w-])[a-z][a-z-]*(?![\w-])")
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def following(words: tuple[str, ...]) -> set[str]:
    """Every word that may come next."""
    return {
        command.words[len(words)]
        for command in COMMANDS
        if command.words[: len(words)] == words and len(command.words) > len(words)
    }


def listed(lang: Language) -> dict[str, str]:
    """What `--help` alone says: the first word of each command, with all of its lines."""
    commands: dict[str, str] = {}
    for line in re.findall(r"^ {2}(\S.*)$", translate("help.main", lang), re.MULTILINE):
        first = line.partition(" ")[0]
        commands[first] = f"{commands.get(first, '')}\n{line}"
    return commands


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_first_help_lists_every_command_and_nothing_else(lang: Language) -> None:
    commands = listed(lang)
    assert set(commands) == following(())
    for first, lines in commands.items():
        missing = [
            command.words
            for command in COMMANDS
            if command.words[0] == first and not set(command.words) <= set(NAME.findall(lines))
        ]
        assert missing == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_first_help_names_what_goes_everywhere(lang: Language) -> None:
    every = (EVERYWHERE_FLAGS | EVERYWHERE_VALUED) - {"-h"}
    assert every <= set(OPTION.findall(translate("help.main", lang)))


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_group_s_help_names_its_commands_and_no_other(words: tuple[str, ...], lang: Language) -> None:
    usage = translate(f"help.{'.'.join(words)}", lang).partition("\n")[0].partition(" opanel-agent ")[2]
    rest = re.sub(rf"^{' '.join(words)}", "", usage)
    assert set(NAME.findall(OPTION.sub("", rest))) == following(words)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_a_command_s_help_names_its_options_and_no_other(command: Command, lang: Language) -> None:
    text = translate(f"help.{'.'.join(command.words)}", lang)
    usage = text.partition("\n")[0]
    assert usage.partition(" opanel-agent ")[2].startswith(" ".join(command.words))
    own = command.flags | command.valued
    everywhere = EVERYWHERE_FLAGS | EVERYWHERE_VALUED
    assert own <= set(OPTION.findall(usage))
    assert set(OPTION.findall(usage)) <= own | everywhere
