"""The two switches that are a file's existence: `do-not-track` and `offline`.

A file that exists cannot be mistyped, and it works with the daemon stopped. Switching on only narrows, so it also cuts what
is under way; switching off removes our file and nothing else, and says what still denies.
"""

from collections.abc import Callable
from pathlib import Path

from opanel_agent.cli import config_folder
from opanel_agent.cli.consent import signals, write
from opanel_agent.cli.context import Context
from opanel_agent.cli.display.output import CommandResult
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Signal
from opanel_agent.core.consent.withdrawals import Withdrawable
from opanel_agent.core.errors import AgentError, Storage

FILE_MODE = 0o644
_EFFECT_MEMBERS = ("cut", "pending", "unsaved")  # of what a command that narrows tells


# By the first word of the command.
SUBJECTS = {"dnt": Withdrawable.DO_NOT_TRACK, "offline": Withdrawable.OFFLINE}


def on(world: Context, path: Path, name: str) -> CommandResult:
    """Creates the file durably, then has the daemon end its jobs. `name` is dnt or offline."""
    world.need_owner()
    unmade, unrecorded = _switch_on(world, path, SUBJECTS[name])
    text_id = f"{name}.on" if unmade is None else f"{name}.on_beside"
    lines = (world.sentence(text_id, file=str(path)), world.sentence(f"{name}.meaning"))
    effect = write.notify_agent(world)
    effect_json = effect.to_json()
    return CommandResult(
        result={name: True, "file": str(path), **{member: effect_json[member] for member in _EFFECT_MEMBERS}},
        lines=lines,
        warnings=(*write.warnings(world, effect), *write.failures(world, filter(None, (unmade, unrecorded)))),
        exit_status=write.exit_status(effect),
    )


def _switch_on(world: Context, path: Path, subject: Withdrawable) -> tuple[AgentError | None, AgentError | None]:
    """Makes the file, and leaves a trace. Returns what kept it from the one, and from the other.

    What no file can be made for, as where /etc is read-only, stands in the record of withdrawals. Raises Storage where
    neither can be written.
    """
    try:
        with config_folder.changing(world, path.parent):
            if world.files.exists(path):
                return None, None
            world.files.write(path, b"", mode=FILE_MODE)
    except Storage as unmade:
        if unmade.code is Fault.BUSY:
            raise
        write.opt_out_in_record(world, subject)
        return unmade, None
    return None, write.switched_on(world, subject)


def off(world: Context, path: Path, name: str, standing: Callable[[], tuple[Signal, ...]]) -> CommandResult:
    """Removes the file durably. Exit 1 where another signal still says the same."""
    world.need_owner()
    if world.files.exists(path):
        with config_folder.changing(world, path.parent):
            world.files.remove(path)
    write.switched_off(world, SUBJECTS[name])
    write.notify_agent(
        world
    )  # so that what the daemon shows follows; one that does not answer reads the file at its next pass
    left = standing()
    if left:
        lines = (world.sentence(f"{name}.still"), *signals.lines(world, left))
        return CommandResult(result={name: True, "signals": signals.shown(left)}, lines=lines, exit_status=1)
    return CommandResult(result={name: False, "signals": []}, lines=(world.sentence(f"{name}.off"),))
