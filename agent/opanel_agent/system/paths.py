"""Where everything lies, in the two kinds of installation.

A *system installation* is code under /opt/opanel-agent or /usr that root owns: its paths are constants and its owner
is root. Everything else is a *user installation* (the demo, tests, a developer): the user's own directories, and the
uid that runs it is the owner. Which of the two it is follows from where this file lies, never from a flag or a
variable: nobody can talk an installed agent into reading other settings.

The resident imports this module, so it imports nothing heavy; platformdirs is looked at for user installations only.
Nothing is created here.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CODE: Final = Path(__file__)
ETC: Final = Path("/etc")
SYSTEM_CONFIG: Final = Path("/etc/opanel-agent")
SYSTEM_STATE: Final = Path("/var/lib/opanel-agent")
SYSTEM_RUNTIME: Final = Path("/run/opanel-agent")
COURIER_RUNTIME: Final = Path("/run/opanel-courier")
SYSTEM_CODE: Final = (Path("/opt/opanel-agent"), Path("/usr"))
NAME: Final = "opanel-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Every path of the agent. `owner` is the uid whose settings and consent count, and who is root on the socket.

    `courier_dir` holds systemd's sockets to fetch and courier; a user installation has none and starts them itself.
    """

    system: bool
    owner: int
    config_dir: Path
    state_dir: Path
    runtime_dir: Path
    courier_dir: Path = COURIER_RUNTIME
    etc: Path = ETC

    @property
    def owners(self) -> frozenset[int]:
        return frozenset({self.owner})

    # the administrator's

    @property
    def settings(self) -> Path:
        return self.config_dir / "agent.toml"

    @property
    def consent(self) -> Path:
        return self.config_dir / "consent.toml"

    @property
    def consent_dir(self) -> Path:
        return self.config_dir / "consent.d"

    @property
    def offline(self) -> Path:
        return self.config_dir / "offline"

    @property
    def do_not_track(self) -> Path:
        return self.config_dir / "do-not-track"

    @property
    def license(self) -> Path:
        return self.config_dir / "license.jws"

    @property
    def import_dir(self) -> Path:
        return self.config_dir / "import.d"

    # the machine's: they count in both kinds of installation

    @property
    def machine_do_not_track(self) -> Path:
        return self.etc / "do-not-track"

    @property
    def environment_files(self) -> tuple[Path, ...]:
        """Where an administrator sets a variable for daemons; `environment.d` is beside them."""
        return (
            self.etc / "environment",
            self.etc / "default" / NAME,
            self.etc / "sysconfig" / NAME,
        )

    @property
    def environment_dir(self) -> Path:
        return self.etc / "environment.d"

    # the agent's own

    @property
    def bundle(self) -> Path:
        return self.state_dir / "bundle.jws"

    @property
    def previous_bundle(self) -> Path:
        return self.state_dir / "bundle.previous.jws"

    @property
    def roots(self) -> Path:
        return self.state_dir / "roots.jws"

    @property
    def status_list(self) -> Path:
        return self.state_dir / "status-list.jwt"

    @property
    def advisories(self) -> Path:
        return self.state_dir / "advisories.jws"

    @property
    def state(self) -> Path:
        return self.state_dir / "state.json"

    @property
    def schedule(self) -> Path:
        return self.state_dir / "schedule.json"

    @property
    def clock(self) -> Path:
        return self.state_dir / "clock.json"

    @property
    def activation_key(self) -> Path:
        return self.state_dir / "activation.key"

    @property
    def last_settings(self) -> Path:
        """The last settings that were not refused: what the answer stands on while the file is."""
        return self.state_dir / "agent.toml"

    @property
    def ledger(self) -> Path:
        return self.state_dir / "ledger.jsonl"

    @property
    def held(self) -> Path:
        return self.state_dir / "held"

    @property
    def sent(self) -> Path:
        return self.state_dir / "sent"

    @property
    def receipts(self) -> Path:
        return self.state_dir / "receipts"

    @property
    def erasure(self) -> Path:
        return self.state_dir / "erasure"

    @property
    def ready(self) -> Path:
        return self.state_dir / "ready"

    @property
    def export(self) -> Path:
        """An export while it is handed over in parts."""
        return self.state_dir / "export.part"

    @property
    def lock(self) -> Path:
        return self.state_dir / "lock"

    # what others meet

    @property
    def socket(self) -> Path:
        return self.runtime_dir / "agent.sock"

    @property
    def answer(self) -> Path:
        return self.runtime_dir / "answer.json"

    @property
    def resident_lock(self) -> Path:
        return self.runtime_dir / "resident.lock"

    @property
    def fetch_socket(self) -> Path:
        return self.courier_dir / "fetch.sock"

    @property
    def courier_socket(self) -> Path:
        return self.courier_dir / "courier.sock"


def find(code: Path = CODE) -> Paths:
    """The paths of the installation that `code`, a file of this package, belongs to."""
    if is_system(code.resolve(), code.stat().st_uid):
        return Paths(
            system=True,
            owner=0,
            config_dir=SYSTEM_CONFIG,
            state_dir=SYSTEM_STATE,
            runtime_dir=SYSTEM_RUNTIME,
        )
    return _of_user(os.geteuid())


def is_system(code: Path, code_owner: int) -> bool:
    return code_owner == 0 and any(code.is_relative_to(directory) for directory in SYSTEM_CODE)


def _of_user(uid: int) -> Paths:
    import platformdirs  # not in the resident of a system installation

    state = Path(platformdirs.user_state_dir(NAME))
    return Paths(
        system=False,
        owner=uid,
        config_dir=Path(platformdirs.user_config_dir(NAME)),
        state_dir=state,
        runtime_dir=_runtime_of_user(uid) or state / "run",
    )


def _runtime_of_user(uid: int) -> Path | None:
    """None without a login session (cron, a container, su).

    Not platformdirs: its newest falls back to /tmp with a warning, its older ones to what does not exist.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
    return runtime / NAME if runtime.is_absolute() and _is_own_directory(runtime, uid) else None


def _is_own_directory(path: Path, uid: int) -> bool:
    try:
        return path.is_dir() and path.stat().st_uid == uid
    except OSError:
        return False
