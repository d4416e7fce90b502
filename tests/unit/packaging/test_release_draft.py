"""`packaging/build manifest` names every file of code that the package lays, and the package carries what was signed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents import root as roots
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.release import comparison, manifest
from opanel_agent.system.storage.installed_code import LocalInstalledCode

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from installer import environment  # noqa: E402 - found by that folder

BUILD = ROOT / "packaging/build"
FIRST_ROOT = ROOT / "docs/examples/root.jws"
MODULES = "usr/lib/opanel-agent/env/lib/python3/site-packages"

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("dh") is None, reason="debhelper is not installed (apt install debhelper dpkg-dev)"
    ),
]


def built(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [str(BUILD), *map(str, arguments)], env=os.environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("draft") / "draft.json"
    built("manifest", "--root", FIRST_ROOT, "--out", out)
    return out


def signed(draft: Path) -> bytes:
    claims: dict[str, Any] = {**json.loads(draft.read_bytes()), "ver": 1, "iss": signing.VENDOR}
    return signing.lines(signing.RELEASE.sign(Typ.RELEASE, dumps(claims)))


def test_the_same_source_gives_the_same_draft(draft: Path, tmp_path: Path) -> None:
    built("manifest", "--root", FIRST_ROOT, "--out", tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == draft.read_bytes()


def test_what_the_package_lays_is_what_was_signed(draft: Path, tmp_path: Path) -> None:
    release = tmp_path / "release.jws"
    release.write_bytes(signed(draft))
    package = built("deb", "--root", FIRST_ROOT, "--release", release, "--out", tmp_path).stdout.strip()
    laid = tmp_path / "laid"
    subprocess.run(["dpkg-deb", "-x", package, str(laid)], check=True, timeout=60)  # noqa: S607 - as test_deb.py
    code = LocalInstalledCode(code=laid / MODULES / "opanel_agent", root=laid, path=(str(laid / MODULES),))
    text = code.manifest()
    assert text == release.read_bytes()
    read = manifest.verify(text, roots.first(FIRST_ROOT.read_bytes()))
    survey = code.survey(comparison.layout_for(read, code.modules, version=read.version, again=""))
    assert comparison.differences(survey.wanted, survey.seen, foreign=survey.foreign, again="") == ()
    assert len(survey.wanted) > 200
    for path in (laid / "usr/lib").rglob("*"):
        named = f"/{path.relative_to(laid).as_posix()}"
        assert path.is_dir() or named in survey.wanted, f"{named} is laid, and not in the manifest"


def test_the_installer_s_files_are_those_of_this_source(draft: Path) -> None:
    layout = json.loads(draft.read_bytes())["layouts"]["installer"]
    names = {name.removeprefix("modules/") for name in layout["files"] if name.startswith("modules/")}
    package = ROOT / "agent/opanel_agent"
    wanted = {
        f"opanel_agent/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted | {"opanel_agent/data/trust/root.jws"}
    assert "/etc/systemd/system/opanel-agent-fetch@.service" in layout["files"]
    assert "/usr/lib/tmpfiles.d/opanel-agent.conf" in layout["files"]
    laid = {
        name.removeprefix("/opt/opanel-agent/") for name in layout["files"] if name.startswith("/opt/opanel-agent/")
    }
    kit = environment.Kit(ROOT).files()
    assert laid == {name for name in kit if not name.startswith("packaging/share/")}
