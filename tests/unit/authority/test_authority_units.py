"""The service's units: systemd takes them, and the commands in them exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from opanel_authority.cli.main import _parser

UNITS = sorted((Path(__file__).parents[3] / "authority" / "systemd").iterdir())


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    ran = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    mine = [line for line in ran.stderr.splitlines() if unit.name in line and "not executable" not in line]
    assert mine == []


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_its_command_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=.*?/usr/bin/opanel-authority ([^'\n]*)", unit.read_text("utf-8"), re.MULTILINE)
    _parser().parse_args(re.sub(r'"[^"]*"', "file", line).split())
