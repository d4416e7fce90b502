"""A server whose silence is to be proven, in a folder, and the means to prove it with a leak of the test's choice."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import opanel_agent
from fakes import forge
from opanel_agent.silence import outside
from opanel_agent.silence.outside import Means, Proof
from opanel_agent.silence.proof import Scenario
from opanel_agent.system.files import LocalFiles
from opanel_agent.system.paths import Paths

AGENT: Final = str(Path(opanel_agent.__file__).parent.parent)
LEAKY: Final = str(Path(__file__).with_name("leaky.py"))


def program(leak: str = "none", python: str = sys.executable) -> list[str]:
    return [python, "-I", LEAKY, AGENT, leak]


def namespaces_or_skip() -> None:
    """Skips where this kernel forbids what the proof is made of."""
    try:
        ran = subprocess.run(
            [outside.UNSHARE, *outside.NAMESPACES, "true"], capture_output=True, text=True, check=False, timeout=30
        )
    except FileNotFoundError:
        pytest.skip("unshare (util-linux) is not installed")
    if ran.returncode != 0:
        pytest.skip(f"this kernel lets this user make no namespaces: {ran.stderr.strip()}")


class Server:
    """Settings that name a root of forge's; `config` and `etc` to put more into."""

    def __init__(self, folder: Path, *, root: bytes | None = None) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.etc = folder / "etc"
        self.state = folder / "state"
        for each in (self.config, self.etc, self.state):
            each.mkdir(mode=0o700)
        self.root = folder / "root.jws"
        self.write(self.root, forge.root() if root is None else root)
        self.settings()

    @property
    def paths(self) -> Paths:
        return Paths(
            system=False,
            owner=self.folder.stat().st_uid,
            config_dir=self.config,
            state_dir=self.state,
            runtime_dir=self.folder / "run",
            etc=self.etc,
        )

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        path.parent.mkdir(exist_ok=True, mode=0o700)
        path.write_bytes(data)
        path.chmod(mode)

    def settings(self, *lines: str) -> None:
        text = "\n".join(["schema = 1", f'trust_root = "{self.root}"', *lines, ""])
        self.write(self.config / "agent.toml", text.encode())

    def prove(self, *scenarios: Scenario, leak: str = "none", days: int = 1, **means: Any) -> Proof:
        given = {"program": program(leak), "scenarios": scenarios or tuple(Scenario), **means}
        return outside.prove(LocalFiles(), self.paths, days, Means(**given))


def part(proof: Proof, name: str) -> dict[str, Any]:
    """One scenario's or control's part of the result."""
    result: Any = proof.result
    (found,) = [each for each in (*result["scenarios"], *result["controls"]) if each["name"] == name]
    assert isinstance(found, dict)
    return found


def why(proof: Proof, name: str) -> set[tuple[str, str | None]]:
    """What speaks against a scenario: code and process."""
    return {(each["code"], each["process"]) for each in part(proof, name)["why"]}
