"""Makes the completions of bash, zsh and fish below packaging/share/ from the command line's grammar.

Each script holds the grammar as one `case` and walks along what was typed. It runs no program, the agent least of all:
pressing Tab shall cost nothing and ask nobody. Left out: the processes (daemon and the like), which nobody types, ids of
reports, which only the agent knows, and descriptions, which would be in one language for readers of two.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opanel_agent.core.commands import Command

BASH: Final = "packaging/share/bash-completion/completions/opanel-agent"
ZSH: Final = "packaging/share/zsh/site-functions/_opanel-agent"
FISH: Final = "packaging/share/fish/vendor_completions.d/opanel-agent.fish"
FILES: Final = "@files"
# The commands whose purpose is one that consent is asked for; the others take any.
OF_CONSENT: Final = (("consent", "allow"), ("consent", "deny"), ("consent", "withdraw"), ("data", "preview"))
# What an option's value is; of any other nothing can be offered.
VALUES: Final = {"--lang": "tr en", "-o": FILES, "--html": FILES, "--preseed": FILES}

BASH_HEAD: Final = """\
# bash completion for opanel-agent(1). Written by packaging/generate from the command line's grammar; what you change here
# is lost. It runs no program.
# shellcheck shell=bash

# Sets what may follow these words: `next` words, `options`, those of them that are `valued`, and `operands`.
_opanel_agent_after() {
    next='' options='' valued='' operands=''
    case $1 in
"""
BASH_TAIL: Final = """\
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


ZSH_HEAD: Final = """\
#compdef opanel-agent
# zsh completion for opanel-agent(1). Written by packaging/generate from the command line's grammar; what you change here is
# lost. It runs no program.

# Sets what may follow these words: `next` words, `options`, those of them that are `valued`, and `operands`.
_opanel_agent_after() {
    next='' options='' valued='' operands=''
    case $1 in
"""
ZSH_TAIL: Final = """\
    esac
    options="$options {everywhere}"
    valued="$valued {everywhere_valued}"
}

_opanel_agent_value() {
    case $1 in
{values}
    esac
}

_opanel_agent() {
    emulate -L zsh
    local next options valued operands
    local typed='' option='' ended='' word
    local cur=${words[CURRENT]}
    integer count=0
    _opanel_agent_after ''
    # `option` is one that still waits for its value.
    for word in "${(@)words[2,CURRENT-1]}"; do
        if [[ -n $option ]]; then
            option=''
        elif [[ -n $ended || $word == - ]]; then
            count+=1
        elif [[ $word == -- ]]; then
            ended=1
        elif [[ $word == -* ]]; then
            [[ " $valued " != *" $word "* ]] || option=$word
        elif [[ $count == 0 && " $next " == *" $word "* ]]; then
            typed=${typed:+$typed }$word
            _opanel_agent_after "$typed"
        else
            count+=1
        fi
    done
    if [[ -n $option ]]; then
        _opanel_agent_value "$option"
    elif [[ -z $ended && $cur == --*=* && " $valued " == *" ${cur%%=*} "* ]]; then
        compset -P '*='
        _opanel_agent_value "${cur%%=*}"
    elif [[ -z $ended && $cur == -* ]]; then
        compadd -- ${=options}
    elif [[ $count == 0 && -n $next ]]; then
        compadd -- ${=next}
    elif [[ $operands == @files ]]; then
        _files
    elif [[ $operands == '@one '* ]]; then
        [[ $count != 0 ]] || compadd -- ${=operands#@one }
    elif [[ -n $operands ]]; then
        compadd -- ${=operands}
    fi
}

_opanel_agent "$@"
"""

FISH_HEAD: Final = """\
# fish completion for opanel-agent(1). Written by packaging/generate from the command line's grammar; what you change here is
# lost. It runs no program.

# Prints what may follow these words, in four lines: next words, options, those of them that are valued, and operands.
function __opanel_agent_after
    set -l next
    set -l options
    set -l valued
    set -l operands
    switch "$argv"
"""
FISH_TAIL: Final = """\
    end
    printf '%s\\n' "$next" "$options {everywhere}" "$valued {everywhere_valued}" "$operands"
end

function __opanel_agent_files
    for each in $argv[1]*
        test -d $each; and set each $each/
        printf '%s\\n' $each
    end
end

function __opanel_agent_value
    switch $argv[1]
{values}
    end
end

function __opanel_agent_complete
    set -l cur (commandline -ct)
    set -l typed
    set -l option
    set -l ended
    set -l count 0
    set -l after (__opanel_agent_after '')
    # `option` is one that still waits for its value.
    for word in (commandline -opc)[2..-1]
        if set -q option[1]
            set option
        else if set -q ended[1]; or test "$word" = -
            set count (math $count + 1)
        else if test "$word" = --
            set ended yes
        else if string match -q -- '-*' $word
            contains -- $word (string split ' ' -- $after[3]); and set option $word
        else if test $count = 0; and contains -- $word (string split ' ' -- $after[1])
            set -a typed $word
            set after (__opanel_agent_after $typed)
        else
            set count (math $count + 1)
        end
    end
    set -l operands (string split -n ' ' -- $after[4])
    if set -q option[1]
        __opanel_agent_value $option
    else if not set -q ended[1]; and string match -q -- '--*=*' $cur
        set -l name (string split -m 1 = -- $cur)[1]
        contains -- $name (string split ' ' -- $after[3]); and printf '%s\\n' $name=(__opanel_agent_value $name)
    else if not set -q ended[1]; and string match -q -- '-*' $cur
        printf '%s\\n' (string split -n ' ' -- $after[2])
    else if test $count = 0; and test -n "$after[1]"
        printf '%s\\n' (string split ' ' -- $after[1])
    else if test "$operands[1]" = @files
        __opanel_agent_files $cur
    else if test "$operands[1]" = @one
        test $count = 0; and printf '%s\\n' $operands[2..-1]
    else if set -q operands[1]
        printf '%s\\n' $operands
    end
end

complete -c opanel-agent -f -a '(__opanel_agent_complete)'
"""


def bash() -> str:
    """Returns the script for bash."""
    cases = (f"    '{words}') {_assigned(variables)} ;;" for words, variables in _grammar())
    values = (f"    {option}) {_bash_value(offered)} ;;" for option, offered in sorted(VALUES.items()))
    return _script(BASH_HEAD, cases, BASH_TAIL, values)


def zsh() -> str:
    """Returns the script for zsh."""
    cases = (f"    '{words}') {_assigned(variables)} ;;" for words, variables in _grammar())
    values = (
        f"    {option}) {'_files' if offered == FILES else f'compadd -- {offered}'} ;;"
        for option, offered in sorted(VALUES.items())
    )
    return _script(ZSH_HEAD, cases, ZSH_TAIL, values)


def fish() -> str:
    """Returns the script for fish."""
    cases = (
        "\n".join(
            [f"        case '{words}'", *(f"            set {name} {value}" for name, value in variables.items())]
        )
        for words, variables in _grammar()
    )
    values = (
        f"        case {option}\n            "
        + ("__opanel_agent_files (commandline -ct)" if offered == FILES else "")
        + ("" if offered == FILES else f"printf '%s\\n' {offered}")
        for option, offered in sorted(VALUES.items())
    )
    return _script(FISH_HEAD, cases, FISH_TAIL, values)


def _script(head: str, cases: Iterable[str], tail: str, values: Iterable[str]) -> str:
    from opanel_agent.core.commands import EVERYWHERE_FLAGS, EVERYWHERE_VALUED

    tail = tail.replace("{everywhere}", _words(EVERYWHERE_FLAGS | EVERYWHERE_VALUED))
    tail = tail.replace("{everywhere_valued}", _words(EVERYWHERE_VALUED)).replace("{values}", "\n".join(values))
    return head + "\n".join([*cases, tail])


def _grammar() -> Iterator[tuple[str, dict[str, str]]]:
    """What may follow each beginning of a command: `next`, `options`, `valued` and `operands`, as far as there are any."""
    # needs the path that the command has set
    from opanel_agent.core.commands import COMMANDS

    paths = {command.words[:length] for command in COMMANDS for length in range(len(command.words) + 1)}
    known = {command.words: command for command in COMMANDS}
    for path in sorted(paths):
        following = {words[len(path)] for words in paths if words[: len(path)] == path and len(words) > len(path)}
        variables = {"next": _words(following), "options": "" if path else "--version"}
        if (command := known.get(path)) is not None:
            variables |= {
                "options": _words(command.flags | command.valued),
                "valued": _words(command.valued),
                "operands": operands(command),
            }
        if any(variables.values()):
            yield " ".join(path), {name: value for name, value in variables.items() if value}


def _assigned(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}='{value}'" for name, value in variables.items())


def _bash_value(offered: str) -> str:
    return '_opanel_agent_files "$2"' if offered == FILES else f"_opanel_agent_offer '{offered}' \"$2\""


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


def _words(names: Iterable[str]) -> str:
    return " ".join(sorted(map(str, names)))


def outputs() -> Iterator[tuple[str, bytes]]:
    """Each completion's path in the repository, and its bytes."""
    for path, script in ((BASH, bash), (ZSH, zsh), (FISH, fish)):
        yield path, script().encode()
