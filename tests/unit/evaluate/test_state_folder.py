"""Proves that a state folder that cannot be used leaves a license that is judged, and an answer that names the cure.

On a real disk. What only a mode keeps out is mended by the pass: the folder is the agent's own.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.signing import DAY, NOW
from fixtures.simulated.simulated_agent import Simulated
from opanel_agent.core.values import replace
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import Paths

FREE: Final = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
LICENSE: Final = signing.lines(signing.delegation(), signing.license(activation=FREE))
Harm = Callable[[Path], None]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(
        system=True,
        owner=os.getuid(),
        config_dir=tmp_path / "etc",
        state_dir=tmp_path / "var" / "state",
        runtime_dir=tmp_path / "run",
    )
    for folder in (found.config_dir, found.state_dir.parent, found.runtime_dir):
        folder.mkdir()
    (found.config_dir / "root.jws").write_bytes(signing.root())
    found.settings.write_text(f'schema = 1\ntrust_root = "{found.config_dir}/root.jws"\n')
    return found


@pytest.fixture
def agent(paths: Paths) -> Simulated:
    """With a license that was installed and checked."""
    simulated, files = Simulated(), LocalFiles()
    consents = LocalConsents(files, paths, mounts=True)
    simulated.outlet.reading = dataclass_replace(simulated.outlet.reading, files=files, paths=paths, consents=consents)
    simulated.world = replace(simulated.world, files=files, paths=paths, consents=consents)
    assert simulated.install(LICENSE)["ok"]
    assert simulated.run("refresh")["answer"]["license"]["state"] == "active"
    return simulated


def aside(state: Path) -> Path:
    return state.rename(state.with_name("old"))


def file_(state: Path) -> None:
    aside(state)
    state.write_text("x")


def pipe(state: Path) -> None:
    aside(state)
    os.mkfifo(state)


def dangling(state: Path) -> None:
    aside(state)
    state.symlink_to(state.with_name("none"))


def loop(state: Path) -> None:
    aside(state)
    state.symlink_to(state)


HARMS: Final[dict[str, Harm]] = {each.__name__: each for each in (file_, pipe, dangling, loop)}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_no_folder_leaves_an_answer_that_says_so_and_what_to_do(
    agent: Simulated, paths: Paths, harm: str
) -> None:
    HARMS[harm](paths.state_dir)
    asked = len(agent.network.sent)
    for intent in ("start", "tick", "refresh"):
        frame = agent.run(intent)
        license_ = frame["answer"]["license"]
        assert (license_["state"], license_["reasons"][0]) == ("unlicensed", "state_unreadable")
        assert license_["next_action"]["code"] == "check_storage"
        assert "doctor" in license_["next_action"]["en"]
        assert frame["provisional"] is True
        assert frame["error"]["detail"] == "state_unusable"
        assert frame["error"]["values"]["file"] == str(paths.state_dir)
        assert frame["next_run_s"] <= 300
    assert len(agent.network.sent) == asked, "nothing is asked that could not be kept"


@pytest.mark.parametrize("harm", HARMS)
def test_what_was_learned_counts_again_once_the_folder_is_back(agent: Simulated, paths: Paths, harm: str) -> None:
    HARMS[harm](paths.state_dir)
    agent.run("tick")
    paths.state_dir.unlink()
    paths.state_dir.with_name("old").rename(paths.state_dir)
    frame = agent.run("tick")
    assert frame["ok"]
    assert frame["answer"]["license"]["reasons"] == ["ok"]


def test_the_copy_of_the_roots_that_fetch_and_courier_follow_stays(agent: Simulated, paths: Paths) -> None:
    """What cannot be read is no reason to ask at the addresses of before again."""
    paths.shared_roots.parent.mkdir(parents=True, exist_ok=True)
    file_(paths.state_dir)
    paths.shared_roots.write_bytes(b"of the state that was")
    agent.run("tick")
    assert paths.shared_roots.read_bytes() == b"of the state that was"


def test_a_license_that_root_laid_in_the_configuration_is_judged_without_the_state(
    agent: Simulated, paths: Paths
) -> None:
    paths.license.write_bytes(LICENSE)
    file_(paths.state_dir)
    license_ = agent.run("tick")["answer"]["license"]
    assert (license_["state"], license_["reasons"][:2]) == ("grace", ["state_unreadable", "status_stale"])
    agent.clock.advance(4000 * DAY)
    assert agent.run("tick")["answer"]["license"]["state"] == "expired", "its own dates bound it"


def test_one_that_must_be_activated_gains_nothing_by_it(agent: Simulated, paths: Paths) -> None:
    """No state says since when, so the license's own date does, at each pass anew."""
    bound = {"required": True, "within_days": 7, "min_p": 0, "seats": 1}
    terms: dict[str, Any] = {"activation": bound, "iat": NOW - 30 * DAY, "nbf": NOW - 30 * DAY}
    paths.license.write_bytes(
        signing.lines(signing.delegation(iat=NOW - 40 * DAY, nbf=NOW - 40 * DAY), signing.license(**terms))
    )
    file_(paths.state_dir)
    assert agent.run("tick")["answer"]["license"]["state"] == "not_activated"


@pytest.mark.parametrize("mode", [0o000, 0o500, 0o600, 0o300, 0o077])
def test_a_folder_of_its_own_that_lost_its_mode_gets_it_back(agent: Simulated, paths: Paths, mode: int) -> None:
    paths.state_dir.chmod(mode)
    frame = agent.run("tick")
    assert frame["ok"]
    assert frame["answer"]["license"]["reasons"] == ["ok"]
    assert paths.state_dir.stat().st_mode & 0o777 == 0o700 | mode


def test_a_folder_inside_that_lost_its_mode_is_mended_and_not_set_aside(agent: Simulated, paths: Paths) -> None:
    (paths.sent / "kept.request").write_bytes(b"")
    paths.sent.chmod(0)
    agent.run("tick")
    assert not paths.state_dir.joinpath("sent.broken").exists()
    assert paths.sent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_gone_is_made_anew(agent: Simulated, paths: Paths) -> None:
    shutil.rmtree(paths.state_dir)
    frame = agent.run("tick")
    assert frame["ok"]
    assert frame["answer"]["license"]["reasons"] == ["no_license"]
