"""Runs one command: finds its row, loads its group alone, prints its result, and turns every failure into a sentence.

No traceback reaches a person. An exception that is none of ours is our mistake and is reported as one, with its place in
the code but never with its message, which may hold what must not be printed.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from opanel_agent import __version__
from opanel_agent.cli.display.output import CommandResult, Console, complain, publish, standard_streams
from opanel_agent.cli.parser import Options, find, language_flag, read, spelled_out
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import COMMANDS, HELP, Command
from opanel_agent.core.errors import AgentError, Bug, Usage
from opanel_agent.core.units import Language
from opanel_agent.messages import language, translate

if TYPE_CHECKING:
    from types import ModuleType

    from opanel_agent.cli.context import Context

Handler = Callable[[Options, "Context"], CommandResult]

# What the first page names beside the commands; without an option each is started before this is loaded.
PROCESSES: Final = frozenset({"daemon", "evaluate", "fetch", "courier"})
INTERRUPTED: Final = 130
OUTPUT_GONE: Final = 74


def main(argv: Sequence[str]) -> int:
    """Runs the command of this process and returns its exit status. Raises nothing."""
    console, flag = standard_streams(os.environ), language_flag(argv)
    lang = language(flag, None, os.environ)

    def act() -> int:
        from opanel_agent.cli.context import local

        return run(argv, local(console, flag, os.environ))

    status = _ending(act, console, lang, as_json="--json" in argv)
    _settle()
    return status


def run(argv: Sequence[str], world: "Context") -> int:
    """Runs one command in the given context and returns its exit status. Raises nothing."""
    as_json = "--json" in argv

    def act() -> int:
        outcome = _outcome(argv, world)
        publish(world.console, outcome, world.lang, as_json=as_json)
        return outcome.exit_status

    return _ending(act, world.console, world.lang, as_json=as_json)


def handler(command: Command) -> Handler:
    """Returns the function that a row names. Loads its group and no other."""
    module, _, name = command.handler.partition(":")
    found: Handler = getattr(_group(module), name)
    return found


def _group(module: str) -> "ModuleType":
    """Imports a module of handlers. Each import stands here in full: the import rules read the source."""
    match module:
        case "license.status":
            from opanel_agent.cli.license import status

            return status
        case "license.commands":
            from opanel_agent.cli.license import commands as license_commands

            return license_commands
        case "advisories":
            from opanel_agent.cli import advisories

            return advisories
        case "doctor.command" | "release" | "silence":
            return _proof_group(module)
        case _:
            return _data_group(module) if module.startswith("data.") else _consent_group(module)


def _proof_group(module: str) -> "ModuleType":
    match module:
        case "doctor.command":
            from opanel_agent.cli.doctor import command as doctor

            return doctor
        case "release":
            from opanel_agent.cli import release

            return release
        case _:
            from opanel_agent.cli import silence

            return silence


def _data_group(module: str) -> "ModuleType":
    match module:
        case "data.catalog":
            from opanel_agent.cli.data import catalog

            return catalog
        case "data.export":
            from opanel_agent.cli.data import export

            return export
        case "data.sent":
            from opanel_agent.cli.data import sent

            return sent
        case "data.reset":
            from opanel_agent.cli.data import reset

            return reset
        case _:
            from opanel_agent.cli.data import commands

            return commands


def _consent_group(module: str) -> "ModuleType":
    match module:
        case "consent.history":
            from opanel_agent.cli.consent import history

            return history
        case "consent.do_not_track":
            from opanel_agent.cli.consent import do_not_track

            return do_not_track
        case "consent.offline":
            from opanel_agent.cli.consent import offline

            return offline
        case "consent.notice":
            from opanel_agent.cli.consent import notice

            return notice
        case "consent.setup":
            from opanel_agent.cli.consent import setup

            return setup
        case _:
            from opanel_agent.cli.consent import commands

            return commands


def _ending(act: Callable[[], int], console: Console, lang: Language, *, as_json: bool) -> int:
    """Returns what `act` returns, or reports the error and returns its exit status."""
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


def _outcome(argv: Sequence[str], world: "Context") -> CommandResult:
    argv = spelled_out(argv)
    if argv and argv[0] in PROCESSES and HELP.intersection(argv):
        return _page(translate("help.processes", world.lang))
    command, rest = find(COMMANDS, argv)
    if command is None:
        return _without_command(argv, rest, world.lang)
    options = read(command, rest)
    if options.flags & HELP:
        return _help(".".join(command.words), world.lang)
    return handler(command)(options, world)


def _without_command(argv: Sequence[str], words: Sequence[str], lang: Language) -> CommandResult:
    if "--version" in argv:
        return CommandResult(result={"version": __version__}, lines=(f"opanel-agent {__version__}",))
    if HELP.intersection(argv):
        return _help(words[0] if words else "main", lang)
    if words:  # a group alone: its commands, and the status of a usage error
        return _help(words[0], lang)._replace(exit_status=Usage.exit_status)
    raise Usage(Fault.USAGE, "command_missing")


def _help(topic: str, lang: Language) -> CommandResult:
    return _page(translate(f"help.{topic}", lang))


def _page(text: str) -> CommandResult:
    return CommandResult(result={"help": text}, lines=tuple(text.splitlines()))


def _complain(console: Console, error: AgentError, lang: Language, *, as_json: bool) -> int:
    """Reports an error and returns its exit status, even where no stream is left to report to."""
    # Where stdout is gone, stderr has the sentence and the exit status its kind.
    with contextlib.suppress(AgentError, BrokenPipeError):
        complain(console, error, lang, as_json=as_json)
    return error.exit_status


def _settle() -> None:
    """Gives up what could not be written: Python would try again at exit, complain, and change the status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _place(exc: Exception) -> str:
    """Returns where in our code it was raised: the innermost frame of this package."""
    # Imported late: only a mistake of ours pays for it.
    import traceback
    from pathlib import Path

    package = str(Path(__file__).parent.parent)
    ours = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename.startswith(package)]
    at = f" {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(exc).__name__}{at}"
