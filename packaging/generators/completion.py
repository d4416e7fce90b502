"""Makes packaging/share/bash-completion/completions/opanel-agent from the command line's grammar.

The script holds the grammar as one `case` and walks along what was typed. It runs no program, the agent least of all:
pressing Tab shall cost nothing and ask nobody. Left out: the processes (daemon and the like), which nobody types, and
ids of reports, which only the agent knows.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opanel_agent.core.commands import Command

COMPLETION: Final = "packaging/share/bash-completion/completions/opanel-agent"
FILES: Final = "@files"
# The commands whose purpose is one that consent is asked for; the others take any.
OF_CONSENT: Final = (("consent", "allow"), ("consent", "deny"), ("consent", "withdraw"), ("data", "preview"))
# What an option's value is; of any other nothing can be offered.
VALUES: Final = {"--lang": "tr en", "-o": FILES, "--preseed": FILES}

HEAD: Final = """\
# bash completion for opanel-agent(1). Written by packaging/generate from the command line's grammar; what you change here
# is lost. It runs no program.
# shellcheck shell=bash

# Sets what may follow these words: `next` words, `options`, those of them that are `valued`, and `operands`.
_opanel_agent_after() {
    next='' options='' valued='' operands=''
    case $1 in
"""
TAIL: Final = """\
    esac
    options="$options {everywhere}"
    valued="$valued {everywhere_valued}"
}

# Offers those of the words that begin as what was typed.
_opanel_agent_offer() {
    local word
    for word in $1; do
        [[ $word != "$2"* ]] || COMPREPLY+=("$word")
    done
}

_opanel_agent_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_opanel_agent_value() {
    case $1 in
{values}
    esac
}

_opanel_agent() {
    local next options valued operands
    local typed='' option='' ended='' count=0 word
    local cur=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    _opanel_agent_after ''
    # `option` is one that still waits for its value. Bash parts --lang=tr into three words.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == = && -n $option ]]; then
            continue
        elif [[ -n $option ]]; then
            option=''
        elif [[ -n $ended || $word == - ]]; then
            count=$((count + 1))
        elif [[ $word == -- ]]; then
            ended=1
        elif [[ $word == -* ]]; then
            [[ " $valued " != *" $word "* ]] || option=$word
        elif [[ $count == 0 && " $next " == *" $word "* ]]; then
            typed=${typed:+$typed }$word
            _opanel_agent_after "$typed"
        else
            count=$((count + 1))
        fi
    done
    if [[ -n $option ]]; then
        _opanel_agent_value "$option" "${cur#=}"
    elif [[ -z $ended && $cur == -* ]]; then
        _opanel_agent_offer "$options" "$cur"
    elif [[ $count == 0 && -n $next ]]; then
        _opanel_agent_offer "$next" "$cur"
    elif [[ $operands == @files ]]; then
        _opanel_agent_files "$cur"
    elif [[ $operands == @one\\ * ]]; then
        [[ $count != 0 ]] || _opanel_agent_offer "${operands#@one }" "$cur"
    else
        _opanel_agent_offer "$operands" "$cur"
    fi
}

complete -F _opanel_agent opanel-agent
"""


def script() -> str:
    # needs the path that the command has set
    from opanel_agent.core.commands import COMMANDS, EVERYWHERE_FLAGS, EVERYWHERE_VALUED

    paths = {command.words[:length] for command in COMMANDS for length in range(len(command.words) + 1)}
    known = {command.words: command for command in COMMANDS}
    cases = [line for path in sorted(paths) for line in _case(path, paths, known.get(path))]
    values = [_value(option, offered) for option, offered in sorted(VALUES.items())]
    tail = TAIL.replace("{everywhere}", _words(EVERYWHERE_FLAGS | EVERYWHERE_VALUED))
    tail = tail.replace("{everywhere_valued}", _words(EVERYWHERE_VALUED)).replace("{values}", "\n".join(values))
    return HEAD + "\n".join([*cases, tail])


def _case(path: tuple[str, ...], paths: set[tuple[str, ...]], command: "Command | None") -> Iterator[str]:
    following = _words({words[len(path)] for words in paths if words[: len(path)] == path and len(words) > len(path)})
    variables = {"next": following}
    if command is not None:
        variables |= {
            "options": _words(command.flags | command.valued),
            "valued": _words(command.valued),
            "operands": operands(command),
        }
    if not path:
        variables["options"] = "--version"
    assignments = " ".join(f"{name}='{value}'" for name, value in variables.items() if value)
    if assignments:
        yield f"    '{' '.join(path)}') {assignments} ;;"


def operands(command: "Command") -> str:
    """The words that may stand where an operand does. `@files`: any file; `@one`: only as the first operand."""
    from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
    from opanel_agent.core.documents.signed_request import Right

    match command.operand:
        case "PURPOSE" if command.words in OF_CONSENT:
            return _words(CONSENT_BASED)
        case "PURPOSE" | "ID|PURPOSE":
            return _words(Purpose)
        case "KIND":
            return f"@one {_words(Right)}"
        case "FILE" | "KEY|FILE":
            return FILES
        case _:
            return ""


def _value(option: str, offered: str) -> str:
    act = '_opanel_agent_files "$2"' if offered == FILES else f"_opanel_agent_offer '{offered}' \"$2\""
    return f"    {option}) {act} ;;"


def _words(names: Iterable[str]) -> str:
    return " ".join(sorted(map(str, names)))


def outputs() -> Iterator[tuple[str, bytes]]:
    """The completion's path in the repository, and its bytes."""
    yield COMPLETION, script().encode()
