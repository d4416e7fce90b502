"""Which installation it is follows from where the code lies; the paths are those of the design, each once."""

import os
from pathlib import Path

import pytest

from opanel_agent.system.storage import paths as paths_module
from opanel_agent.system.storage.installation import belongs_to_system
from opanel_agent.system.storage.paths import Paths, find

SYSTEM_PATHS = {
    "settings": "/etc/opanel-agent/agent.toml",
    "consent": "/etc/opanel-agent/consent.toml",
    "consent_dir": "/etc/opanel-agent/consent.d",
    "offline": "/etc/opanel-agent/offline",
    "do_not_track": "/etc/opanel-agent/do-not-track",
    "machine_do_not_track": "/etc/do-not-track",
    "environment_dir": "/etc/environment.d",
    "license": "/etc/opanel-agent/license.jws",
    "import_dir": "/etc/opanel-agent/import.d",
    "bundle": "/var/lib/opanel-agent/bundle.jws",
    "previous_bundle": "/var/lib/opanel-agent/bundle.previous.jws",
    "roots": "/var/lib/opanel-agent/roots.jws",
    "status_list": "/var/lib/opanel-agent/status-list.jwt",
    "advisories": "/var/lib/opanel-agent/advisories.jws",
    "state": "/var/lib/opanel-agent/state.json",
    "schedule": "/var/lib/opanel-agent/schedule.json",
    "clock": "/var/lib/opanel-agent/clock.json",
    "activation_key": "/var/lib/opanel-agent/activation.key",
    "ledger": "/var/lib/opanel-agent/ledger.jsonl",
    "held": "/var/lib/opanel-agent/held",
    "sent": "/var/lib/opanel-agent/sent",
    "receipts": "/var/lib/opanel-agent/receipts",
    "erasure": "/var/lib/opanel-agent/erasure",
    "ready": "/var/lib/opanel-agent/ready",
    "lock": "/var/lib/opanel-agent/lock",
    "socket": "/run/opanel-agent/agent.sock",
    "answer": "/run/opanel-agent/answer.json",
    "daemon_lock": "/run/opanel-agent/daemon.lock",
    "fetch_socket": "/run/opanel-courier/fetch.sock",
    "courier_socket": "/run/opanel-courier/courier.sock",
}


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, and no variable of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_constants_of_a_system_installation() -> None:
    paths = Paths(
        system=True,
        owner=0,
        config_dir=paths_module.SYSTEM_CONFIG,
        state_dir=paths_module.SYSTEM_STATE,
        runtime_dir=paths_module.SYSTEM_RUNTIME,
    )
    assert {name: str(getattr(paths, name)) for name in SYSTEM_PATHS} == SYSTEM_PATHS
    assert [str(path) for path in paths.environment_files] == [
        "/etc/environment",
        "/etc/default/opanel-agent",
        "/etc/sysconfig/opanel-agent",
    ]
    assert paths.owners == {0}


@pytest.mark.parametrize(
    ("code", "owner", "system"),
    [
        ("/opt/opanel-agent/lib/python3.11/site-packages/opanel_agent/system/storage/paths.py", 0, True),
        ("/usr/lib/python3/dist-packages/opanel_agent/system/storage/paths.py", 0, True),
        ("/usr/local/lib/x.py", 0, True),
        ("/usr/lib/x.py", 1000, False),
        ("/opt/opanel-agent/x.py", 1000, False),
        ("/opt/opanel-agent-old/x.py", 0, False),
        ("/opt/opanel-agent", 0, False),
        ("/usrx/x.py", 0, False),
        ("/home/usr/x.py", 0, False),
        ("/root/x.py", 0, False),
    ],
)
def test_the_place_of_the_code_and_its_owner_decide(code: str, owner: int, system: bool) -> None:
    assert belongs_to_system(code, owner) is system


@pytest.mark.root
def test_code_of_root_under_usr_has_the_constants(at_home: Path) -> None:
    code = Path("/usr/bin/env")
    assert code.stat().st_uid == 0
    found = find(str(code))
    assert (found.system, found.owner, found.config_dir) == (True, 0, Path("/etc/opanel-agent"))
    assert (found.state_dir, found.runtime_dir) == (Path("/var/lib/opanel-agent"), Path("/run/opanel-agent"))


def test_a_link_into_the_system_is_judged_by_its_target(at_home: Path) -> None:
    code = at_home / "paths.py"
    code.symlink_to("/usr/bin/env")
    assert find(str(code)).system


def test_a_user_installation_lies_at_home(at_home: Path) -> None:
    code = at_home / "paths.py"
    code.touch()
    found = find(str(code))
    assert (found.system, found.owner) == (False, os.geteuid())
    assert found.settings == at_home / ".config" / "opanel-agent" / "agent.toml"
    assert found.state == at_home / ".local" / "state" / "opanel-agent" / "state.json"
    assert str(found.machine_do_not_track) == "/etc/do-not-track", "the machine's signals count for users too"


def test_the_users_variables_are_heeded(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = at_home / "run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(at_home / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(at_home / "s"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    code = at_home / "paths.py"
    code.touch()
    found = find(str(code))
    assert found.config_dir == at_home / "c" / "opanel-agent"
    assert found.state_dir == at_home / "s" / "opanel-agent"
    assert found.runtime_dir == run / "opanel-agent"


@pytest.mark.parametrize("runtime", ["/nowhere", "relative", "/dev/null"])
def test_without_a_runtime_directory_of_ones_own_it_is_in_the_state(
    at_home: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    (at_home / "relative").mkdir(mode=0o700)
    monkeypatch.chdir(at_home)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    code = at_home / "paths.py"
    code.touch()
    found = find(str(code))
    assert found.runtime_dir == found.state_dir / "run"


@pytest.mark.root
def test_a_runtime_directory_of_another_is_not_ones_own(at_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = at_home / "run"
    run.mkdir()
    os.chown(run, 12345, -1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    code = at_home / "paths.py"
    code.touch()
    assert find(str(code)).runtime_dir == find(str(code)).state_dir / "run"
