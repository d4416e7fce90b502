"""Names every path of the agent, in the two kinds of installation (`installation`).

platformdirs is asked for user installations only, and where the session does not name its folders. Nothing is created here.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

from opanel_agent.system.storage import installation
from opanel_agent.system.storage.installation import NAME

ETC: Final = Path("/etc")
SYSTEM_CONFIG: Final = Path("/etc/opanel-agent")
SYSTEM_STATE: Final = Path(installation.SYSTEM_STATE)
SYSTEM_RUNTIME: Final = Path(installation.SYSTEM_RUNTIME)
COURIER_RUNTIME: Final = Path("/run/opanel-courier")


class Paths(NamedTuple):
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
        """The uids whose files may grant something: the owner of this installation."""
        return frozenset({self.owner})

    # the administrator's

    @property
    def settings(self) -> Path:
        """The administrator's settings."""
        return self.config_dir / "agent.toml"

    @property
    def consent(self) -> Path:
        """The consent file."""
        return self.config_dir / "consent.toml"

    @property
    def consent_dir(self) -> Path:
        """The policies beside the consent file."""
        return self.config_dir / "consent.d"

    @property
    def offline(self) -> Path:
        """Its existence opts out of every request."""
        return self.config_dir / "offline"

    @property
    def do_not_track(self) -> Path:
        """Its existence opts out of every request that is not the same for everyone."""
        return self.config_dir / "do-not-track"

    @property
    def license(self) -> Path:
        """A license document that the administrator put there."""
        return self.config_dir / "license.jws"

    @property
    def import_dir(self) -> Path:
        """Documents that the administrator put there to be imported."""
        return self.config_dir / "import.d"

    # the machine's: they count in both kinds of installation

    @property
    def machine_do_not_track(self) -> Path:
        """Returns the file by which every program on this machine is not to track, /etc/do-not-track."""
        return self.etc / "do-not-track"

    @property
    def environment_files(self) -> tuple[Path, ...]:
        """Returns the files in which an administrator sets variables for daemons, `environment.d` apart."""
        return (
            self.etc / "environment",
            self.etc / "default" / NAME,
            self.etc / "sysconfig" / NAME,
        )

    @property
    def environment_dir(self) -> Path:
        """Drop-ins that set variables for daemons (environment.d(5))."""
        return self.etc / "environment.d"

    # the agent's own

    @property
    def bundle(self) -> Path:
        """The installed license with its delegation and activation."""
        return self.state_dir / "bundle.jws"

    @property
    def previous_bundle(self) -> Path:
        """The bundle before that."""
        return self.state_dir / "bundle.previous.jws"

    @property
    def next_bundle(self) -> Path:
        """A license that is not valid yet, while another one is."""
        return self.state_dir / "bundle.next.jws"

    @property
    def roots(self) -> Path:
        """Every root after the first, oldest first."""
        return self.state_dir / "roots.jws"

    @property
    def status_list(self) -> Path:
        """The last accepted status list, or its first shard."""
        return self.status_shard(0)

    def status_shard(self, shard: int) -> Path:
        """Returns the last accepted list of a shard."""
        return self.state_dir / ("status-list.jwt" if shard == 0 else f"status-list.{shard}.jwt")

    @property
    def advisories(self) -> Path:
        """The last accepted security advisories."""
        return self.state_dir / "advisories.jws"

    @property
    def state(self) -> Path:
        """Dates that decisions count from."""
        return self.state_dir / "state.json"

    @property
    def schedule(self) -> Path:
        """When the next check is due."""
        return self.state_dir / "schedule.json"

    @property
    def clock(self) -> Path:
        """Effective time."""
        return self.state_dir / "clock.json"

    @property
    def activation_key(self) -> Path:
        """This server's private key."""
        return self.state_dir / "activation.key"

    @property
    def last_settings(self) -> Path:
        """The last settings that were not refused: what the answer stands on while the file is."""
        return self.state_dir / "agent.toml"

    @property
    def last_license(self) -> Path:
        """The license's part of the last answer, which is served after a reboot until there is a new one."""
        return self.state_dir / installation.LAST_LICENSE

    @property
    def ledger(self) -> Path:
        """What was allowed, denied, sent and purged, chained by SHA-256."""
        return self.state_dir / "ledger.jsonl"

    @property
    def held(self) -> Path:
        """Reports that wait until they may be sent."""
        return self.state_dir / "held"

    @property
    def sent(self) -> Path:
        """Requests as they left, and what came back."""
        return self.state_dir / "sent"

    @property
    def receipts(self) -> Path:
        """Signed receipts of reports."""
        return self.state_dir / "receipts"

    @property
    def erasure(self) -> Path:
        """Returns the folder of the random numbers that prove whose a report is."""
        return self.state_dir / "erasure"

    @property
    def ready(self) -> Path:
        """Requests written to be carried by hand."""
        return self.state_dir / "ready"

    @property
    def export(self) -> Path:
        """An export while it is handed over in parts."""
        return self.state_dir / "export.part"

    @property
    def lock(self) -> Path:
        """Returns the file that is locked while the state is written."""
        return self.state_dir / "lock"

    # the record of withdrawals, and the roots: apart from the state, which the processes that reach the network may not read

    @property
    def withdrawals(self) -> Path:
        """The folder of the record: only the owner writes in it, everyone may read it."""
        return self.state_dir.with_name(f"{self.state_dir.name}-withdrawals")

    @property
    def withdrawals_of_owner(self) -> Path:
        """What was withdrawn by command, and which withdrawals a grant ended."""
        return self.withdrawals / "owner.json"

    @property
    def withdrawals_of_agent(self) -> Path:
        """What was withdrawn by panel or edit; the agent's user writes in its folder."""
        return self.withdrawals / "agent" / "agent.json"

    @property
    def shared_roots(self) -> Path:
        """A copy of `roots` beside it: fetch and courier find mirrors and endpoints by it."""
        return self.withdrawals_of_agent.with_name("roots.jws")

    # what others meet

    @property
    def socket(self) -> Path:
        """The local API."""
        return self.runtime_dir / installation.SOCKET

    @property
    def answer(self) -> Path:
        """The last answer, for readers without the socket."""
        return self.runtime_dir / installation.ANSWER

    @property
    def daemon_lock(self) -> Path:
        """Locked by the one daemon."""
        return self.runtime_dir / installation.DAEMON_LOCK

    @property
    def fetch_socket(self) -> Path:
        """Systemd's socket that starts fetch."""
        return self.courier_dir / "fetch.sock"

    @property
    def courier_socket(self) -> Path:
        """Systemd's socket that starts the courier."""
        return self.courier_dir / "courier.sock"


def find(code: str = installation.CODE) -> Paths:
    """Returns the paths of the installation that `code`, a file of this package, belongs to."""
    if installation.is_system(code):
        return Paths(
            system=True,
            owner=0,
            config_dir=SYSTEM_CONFIG,
            state_dir=SYSTEM_STATE,
            runtime_dir=SYSTEM_RUNTIME,
        )
    return _of_user(os.geteuid())


def _of_user(uid: int) -> Paths:
    config, state = _folder_of_session("XDG_CONFIG_HOME"), _folder_of_session("XDG_STATE_HOME")
    if config is None or state is None:
        # Not in a system installation, nor where the session names both: it is a third of a short command's user CPU.
        import platformdirs

        config, state = Path(platformdirs.user_config_dir(NAME)), Path(platformdirs.user_state_dir(NAME))
    runtime = installation.runtime_of_session(uid)
    return Paths(
        system=False,
        owner=uid,
        config_dir=config,
        state_dir=state,
        runtime_dir=state / "run" if runtime is None else Path(runtime),
    )


def _folder_of_session(variable: str) -> Path | None:
    """Returns our folder where the session names an absolute one (XDG Base Directory Specification, section 2), or None."""
    named = os.environ.get(variable, "")
    return Path(named) / NAME if named.startswith("/") else None
