"""Both distributions carry their license, their types and one version, as built by whichever setuptools is here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from sysconfig import get_path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
APACHE_2_SHA256: Final = (
    "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"  # as apache.org publishes it
)
FOLDERS: Final = {"opanel-agent": ROOT, "opanel-authority": ROOT / "authority"}
SOURCES: Final = {"opanel-agent": "agent", "opanel-authority": "opanel_authority"}
PACKAGES: Final = {"opanel-agent": "opanel_agent", "opanel-authority": "opanel_authority"}


def project(name: str) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((FOLDERS[name] / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def test_the_license_is_apache_2_to_the_letter() -> None:
    assert sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_SHA256
    assert (ROOT / "authority/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("name", FOLDERS)
def test_the_metadata_names_the_license_and_has_its_text(name: str) -> None:
    """What is installed here: built by the newest setuptools, or by Debian's where Debian's libraries are tested."""
    # By its place: an egg-info beside the sources, which setuptools leaves there, is found first where a test put them on
    # the path.
    (installed,) = (found for found in distributions(path=[get_path("purelib")]) if found.name == name)
    licenses = [installed.metadata.get_all(key, []) for key in ("License", "License-Expression")]
    assert ["Apache-2.0"] in licenses
    text = installed.read_text("licenses/LICENSE") or installed.read_text("LICENSE")
    assert text == (ROOT / "LICENSE").read_text("ascii")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_license_is_named_in_the_one_form_that_no_setuptools_complains_of(name: str) -> None:
    table = project(name)
    assert "license" not in table
    assert "license-files" not in table
    assert not [each for each in table.get("classifiers", ()) if each.startswith("License")]
    assert (FOLDERS[name] / "setup.cfg").read_bytes() == (ROOT / "setup.cfg").read_bytes()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_build_takes_along_the_types_and_every_module(name: str, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="this Python has no setuptools")
    copy, built = tmp_path / "copy", tmp_path / "built"
    unwanted = shutil.ignore_patterns("*.egg-info", "__pycache__", "build")
    shutil.copytree(FOLDERS[name] / SOURCES[name], copy / SOURCES[name], ignore=unwanted)
    for file in ("pyproject.toml", "setup.cfg", "LICENSE"):
        shutil.copy(FOLDERS[name] / file, copy)
    shutil.copy(ROOT / "README.md", copy)
    ran = subprocess.run(
        [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "build_py", "--build-lib", str(built)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (built / PACKAGES[name] / "py.typed").is_file()
    source = next(copy.rglob("py.typed")).parent
    assert files(built / PACKAGES[name]) == files(source)


def files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_there_is_one_version() -> None:
    version = project("opanel-agent")["version"]
    for source in ("agent/opanel_agent", "authority/opanel_authority"):
        text = (ROOT / source / "__init__.py").read_text("utf-8")
        assert re.findall(r'^__version__ = "(.*)"$', text, re.MULTILINE) == [version]
    assert project("opanel-authority")["version"] == version
    assert f"opanel-agent=={version}" in project("opanel-authority")["dependencies"]
