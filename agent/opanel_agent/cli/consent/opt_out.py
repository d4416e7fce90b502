"""The two switches that are a file's existence: `do-not-track` and `offline`.

A file that exists cannot be mistyped, and it works with the daemon stopped. Switching on only narrows, so it also cuts what
is under way; switching off removes our file and nothing else, and says what still denies.
"""

from collections.abc import Callable
from pathlib import Path

from opanel_agent.cli.consent import signals
from opanel_agent.cli.context import Context
from opanel_agent.cli.output import CommandResult, Warned
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Signal
from opanel_agent.core.errors import AgentError
from opanel_agent.messages import describe_error

FILE_MODE = 0o644


def on(world: Context, path: Path, name: str) -> CommandResult:
    """Creates the file durably, then has the daemon end its jobs. `name` is dnt or offline."""
    world.need_owner()
    world.files.make_dir(path.parent, mode=0o755)
    if not world.files.exists(path):
        world.files.write(path, b"", mode=FILE_MODE)
    lines = (world.say(f"{name}.on", file=str(path)), world.say(f"{name}.meaning"))
    error = _cut(world)
    return CommandResult(
        result={name: True, "file": str(path), "cut": error is None},
        lines=lines,
        warnings=() if error is None else (Warned(code=str(error.code), title=_not_cut(world, error)),),
        exit_status=0 if error is None else error.exit_status,
    )


def off(world: Context, path: Path, name: str, standing: Callable[[], tuple[Signal, ...]]) -> CommandResult:
    """Removes the file durably. Exit 1 where another signal still says the same."""
    world.need_owner()
    if world.files.exists(path):
        world.files.remove(path)
    _cut(world)  # so that what the daemon shows follows; where it does not answer, it reads the file at its next pass
    left = standing()
    if left:
        lines = (world.say(f"{name}.still"), *signals.lines(world, left))
        return CommandResult(result={name: True, "signals": signals.shown(left)}, lines=lines, exit_status=1)
    return CommandResult(result={name: False, "signals": []}, lines=(world.say(f"{name}.off"),))


def _cut(world: Context) -> AgentError | None:
    """Ends what is under way. The file is in force whether or not a daemon runs; one that runs must also obey it now."""
    try:
        world.client.post("/v1/narrowed")
    except AgentError as error:
        return None if error.code is Fault.NOT_RUNNING else error
    return None


def _not_cut(world: Context, error: AgentError) -> str:
    title, _ = describe_error(error, world.lang)
    return world.say("switch.not_cut", problem=title)
