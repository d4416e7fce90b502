"""Runs one command: finds it, runs it, prints what it came to, and turns every failure into a sentence and a status.

No traceback reaches a person. An exception that is none of ours is our mistake and says so, with its place in the code but
never with its message, which may hold what must not be printed.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from opanel_agent import __version__
from opanel_agent.cli import advisories, silence
from opanel_agent.cli.consent import commands as consent_commands
from opanel_agent.cli.consent import do_not_track, history, notice, offline, setup
from opanel_agent.cli.context import Context, local
from opanel_agent.cli.data import catalog, export, reset
from opanel_agent.cli.data import commands as data_commands
from opanel_agent.cli.doctor import command as doctor_command
from opanel_agent.cli.license import commands as license_
from opanel_agent.cli.license import status
from opanel_agent.cli.output import CommandResult, Console, complain, publish, standard_streams
from opanel_agent.cli.parser import HELP, Command, find, language_flag, read
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Bug, Usage
from opanel_agent.core.units import Language
from opanel_agent.messages import language, translate

COMMANDS: Final[tuple[Command, ...]] = (
    *status.COMMANDS,
    *license_.COMMANDS,
    *consent_commands.COMMANDS,
    *history.COMMANDS,
    *do_not_track.COMMANDS,
    *offline.COMMANDS,
    *notice.COMMANDS,
    *advisories.COMMANDS,
    *catalog.COMMANDS,
    *data_commands.COMMANDS,
    *export.COMMANDS,
    *doctor_command.COMMANDS,
    *silence.COMMANDS,
    *setup.COMMANDS,
    *reset.COMMANDS,
)
INTERRUPTED: Final = 130
OUTPUT_GONE: Final = 74


def main(argv: Sequence[str]) -> int:
    """The whole life of a command, to its exit status."""
    console, flag = standard_streams(), language_flag(argv)
    lang = language(flag, None, os.environ)
    status_ = _ending(lambda: run(argv, local(console, flag, os.environ)), console, lang, as_json="--json" in argv)
    _settle()
    return status_


def run(argv: Sequence[str], world: Context) -> int:
    """One command in the given world, to its exit status. Raises nothing."""
    as_json = "--json" in argv

    def act() -> int:
        outcome = _outcome(argv, world)
        publish(world.console, outcome, world.lang, as_json=as_json)
        return outcome.exit_status

    return _ending(act, world.console, world.lang, as_json=as_json)


def _ending(act: Callable[[], int], console: Console, lang: Language, *, as_json: bool) -> int:
    """What `act` returns, or the exit status of what went wrong once it has been said."""
    try:
        return act()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return OUTPUT_GONE
    except AgentError as error:
        return _complain(console, error, lang, as_json=as_json)
    except Exception as exc:  # noqa: BLE001 - the last line before a traceback would reach a person
        return _complain(console, Bug(Reason.INTERNAL, "internal", place=_place(exc)), lang, as_json=as_json)


def _outcome(argv: Sequence[str], world: Context) -> CommandResult:
    command, rest = find(COMMANDS, argv)
    if command is None:
        return _without_command(argv, rest, world.lang)
    options = read(command, rest)
    if options.flags & HELP:
        return _help(".".join(command.words), world.lang)
    return command.run(options, world)


def _without_command(argv: Sequence[str], words: Sequence[str], lang: Language) -> CommandResult:
    if "--version" in argv:
        return CommandResult(result={"version": __version__}, lines=(f"opanel-agent {__version__}",))
    if HELP.intersection(argv):
        return _help(words[0] if words else "main", lang)
    raise Usage(Fault.USAGE, "command_missing")


def _help(topic: str, lang: Language) -> CommandResult:
    text = translate(f"help.{topic}", lang)
    return CommandResult(result={"help": text}, lines=tuple(text.splitlines()))


def _complain(console: Console, error: AgentError, lang: Language, *, as_json: bool) -> int:
    """Says what went wrong and returns its exit status, even where there is nobody left to say it to."""
    # Where stdout is gone, stderr has the sentence, and the status tells it, too.
    with contextlib.suppress(AgentError, BrokenPipeError):
        complain(console, error, lang, as_json=as_json)
    return error.exit_status


def _settle() -> None:
    """What could not be written is given up here: Python would try again at exit, complain, and change the status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _place(exc: Exception) -> str:
    """Where in our code: the innermost frame of this package."""
    package = str(Path(__file__).parent.parent)
    ours = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename.startswith(package)]
    at = f" {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(exc).__name__}{at}"
