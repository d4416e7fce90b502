"""Changes files of the administrator's folder, one command at a time, and clears what a killed command left there.

The agent's own user may not write in that folder, so no pass can sweep it: the next command that changes something does.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opanel_agent.cli.context import Context
from opanel_agent.core.errors import Storage

DIRECTORY_MODE = 0o755


@contextmanager
def changing(world: Context, folder: Path) -> Iterator[None]:
    """Makes `folder`, the administrator's or one below it, and sweeps it while nobody else changes any of them.

    Raises Storage where another command holds the lock for long, or the folder cannot be made.
    """
    config_dir = world.paths.config_dir
    for each in (config_dir, folder):
        world.files.make_dir(each, mode=DIRECTORY_MODE)
    with world.files.lock(config_dir / ".consent.lock"):
        for each in (config_dir, world.paths.import_dir):
            with suppress(Storage):  # a leftover that cannot be removed must not keep a "no" from being written
                world.files.sweep(each)
        yield
