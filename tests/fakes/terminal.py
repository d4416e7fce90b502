"""Types commands at an agent of a temporary folder, in this process, and reads what they print."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import forge
from opanel_agent.cli.client import Client
from opanel_agent.cli.main import run
from opanel_agent.cli.output import Console
from opanel_agent.cli.world import World
from opanel_agent.core.consent import Signals
from opanel_agent.system.files import Files, LocalFiles
from opanel_agent.system.optouts import OptOuts
from opanel_agent.system.paths import Paths
from opanel_agent.system.teletype import Teletype
from opanel_agent.texts import Language


class SetSignals:
    """Opt-outs as a test sets them."""

    def __init__(self) -> None:
        self.signals = Signals()

    def read(self) -> Signals:
        return self.signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True, kw_only=True)
class Terminal:
    """`folder` holds config, state and run. `euid` None is the owner's."""

    folder: Path
    lang: Language = "en"
    euid: int | None = None
    now_s: float = forge.NOW
    files: Files = field(default_factory=LocalFiles)
    optouts: OptOuts = field(default_factory=SetSignals)
    environ: Mapping[str, str] = field(default_factory=dict)
    teletype: Teletype | None = None
    at_rest: bytes = b""

    @property
    def paths(self) -> Paths:
        return Paths(
            system=False,
            owner=self.folder.stat().st_uid,
            config_dir=self.folder / "config",
            state_dir=self.folder / "state",
            runtime_dir=self.folder / "run",
            etc=self.folder / "etc",
        )

    def trust(self, root: bytes | None = None) -> None:
        """Settings that name a root of trust: forge's."""
        self.paths.config_dir.mkdir(exist_ok=True, mode=0o700)
        file = self.folder / "root.jws"
        file.write_bytes(forge.root() if root is None else root)
        file.chmod(0o600)
        self.paths.settings.write_text(f'schema = 1\ntrust_root = "{file}"\n')
        self.paths.settings.chmod(0o600)

    def type(self, *argv: str, stdin: bytes = b"") -> Printed:
        out, err = io.StringIO(), io.StringIO()
        status = run(argv, self.world(Console(out=out, err=err), stdin))
        return Printed(status=status, out=out.getvalue(), err=err.getvalue())

    def world(self, console: Console, stdin: bytes = b"") -> World:
        return World(
            paths=self.paths,
            files=self.files,
            optouts=self.optouts,
            client=Client(socket_path=self.paths.socket),
            console=console,
            stdin=io.BytesIO(stdin),
            lang=self.lang,
            euid=self.paths.owner if self.euid is None else self.euid,
            now_s=lambda: self.now_s,
            environ=self.environ,
            teletype=lambda: self.teletype,
            at_rest=lambda: self.at_rest,
        )


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    """For a real process: a user installation that lies in `folder`."""
    run_dir = folder / "xdg-run"
    run_dir.mkdir(exist_ok=True, mode=0o700)
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "xdg-config"),
        "XDG_STATE_HOME": str(folder / "xdg-state"),
        "XDG_RUNTIME_DIR": str(run_dir),
        **more,
    }
