"""A pass names the files that say what may leave, with their stamps, so that the daemon sees a change by itself."""

from pathlib import Path

import pytest

from fixtures.simulated.simulated_agent import PATHS, SETTINGS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.evaluate import watched
from opanel_agent.system.consent.policy_mounts import MOUNTINFO


@pytest.mark.parametrize(
    "path",
    [
        PATHS.consent,
        PATHS.settings,
        PATHS.offline,
        PATHS.do_not_track,
        PATHS.machine_do_not_track,
        *PATHS.environment_files,
        PATHS.environment_dir / "90-private.conf",
        PATHS.consent_dir / "10-group.toml",
    ],
    ids=str,
)
def test_each_file_that_decides_is_named_and_its_change_is_seen(path: Path) -> None:
    agent = Simulated()
    text = SETTINGS if path == PATHS.settings else b"schema = 1\n"
    agent.files.put(path, text)
    before = agent.run("start")["watch"]
    assert before == agent.run("narrowed")["watch"]
    agent.files.put(path, text + b"\n")
    changed = watched.stamps(agent.files, PATHS)
    assert {name for name in before if before[name] != changed.get(name)} >= {str(path)}
    agent.files.take_away(path)
    assert watched.stamps(agent.files, PATHS) != changed


def test_a_folder_of_policies_on_another_disk_is_not_the_daemons_to_wait_for() -> None:
    agent = Simulated()
    agent.files.put(PATHS.consent_dir / "10-group.toml", b"schema = 1\n")
    mounted = f"36 35 98:0 / {PATHS.consent_dir} rw - nfs server:/policies rw\n"
    assert str(PATHS.consent_dir) in watched.stamps(agent.files, PATHS)
    agent.files.put(MOUNTINFO, mounted.encode())
    assert not [name for name in watched.stamps(agent.files, PATHS) if name.startswith(str(PATHS.consent_dir))]


def test_a_folder_that_cannot_be_listed_and_a_heap_of_files_end_no_pass() -> None:
    agent = Simulated()
    for number in range(300):
        agent.files.put(PATHS.consent_dir / f"{number}.toml", b"schema = 1\n")
    assert len(agent.run("start")["watch"]) == watched.MAX_FILES

    def fault(step: str, path: Path) -> None:
        if step == "names" and path == PATHS.environment_dir:
            raise Storage(Fault.IO_FAILED, "read_failed", file=str(path))

    agent.files.fault = fault
    assert str(PATHS.consent) in watched.stamps(agent.files, PATHS)
