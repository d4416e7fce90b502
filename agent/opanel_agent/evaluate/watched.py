"""Stamps the files that say what may leave, so that the daemon sees by stat(2) alone that its answer is of before a change.

A pass stamps them before it reads them for what it shows: what changes while it reads is seen as changed. Only files of the
administrator's folder and of /etc are named, and of these only such as a text can hold: what another name hides is seen when
its folder changes, and by a pass. A consent.d that is a link or a mount of its own is left out, because the
daemon must not wait for another machine's disk; a pass sees it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.errors import AgentError
from opanel_agent.core.text_safety import is_safe
from opanel_agent.system.consent.policy_mounts import is_mount
from opanel_agent.system.storage.files import Files
from opanel_agent.system.storage.paths import Paths

MAX_FILES: Final = 128


def stamps(files: Files, paths: Paths) -> dict[str, Json]:
    """Returns each path with its stamp; a hundred at most. Never raises."""
    return {str(path): files.stamp(path) for path in [*_paths(files, paths)][:MAX_FILES]}


def _paths(files: Files, paths: Paths) -> Iterator[Path]:
    yield from (paths.config_dir, paths.consent, paths.settings, paths.offline, paths.do_not_track)
    yield from (paths.machine_do_not_track, *paths.environment_files, paths.environment_dir)
    yield from _within(files, paths.environment_dir)
    if _is_local(files, paths.consent_dir):
        yield paths.consent_dir
        yield from _within(files, paths.consent_dir)


def _within(files: Files, folder: Path) -> Iterator[Path]:
    try:
        yield from (folder / name for name in files.names(folder) if is_safe(name))
    except AgentError:
        return


def _is_local(files: Files, folder: Path) -> bool:
    return os.path.realpath(folder) == str(Path(os.path.realpath(folder.parent)) / folder.name) and not is_mount(
        files, Path(os.path.realpath(folder))
    )
