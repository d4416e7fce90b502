"""The units in systemd/ hold the walls that docs and design promise, and systemd scores them as low as they must be.

A unit is read as systemd does: sections, repeated keys, an empty value that begins anew. That the walls stand on a
booted system is shown by tests/boot/run.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opanel_agent.daemon.jobs.job_process import JobLimits
from opanel_agent.daemon.listener import BACKLOG
from opanel_agent.network.client import DEADLINE_S
from opanel_agent.network.fetch import WHOLE_S
from opanel_agent.system import environment
from opanel_agent.system.storage import installation, paths
from opanel_agent.system.storage.paths import Paths

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "systemd"
AGENT, FETCH, COURIER = "opanel-agent.service", "opanel-agent-fetch@.service", "opanel-agent-courier@.service"
SOCKETS = {"fetch": "opanel-agent-fetch.socket", "courier": "opanel-agent-courier.socket"}
OWN_SOCKET = "opanel-agent.socket"
SERVICES = (AGENT, FETCH, COURIER)
WATCH, CHANGED = "opanel-agent-changed.path", "opanel-agent-changed.service"
CONFINED = (*SERVICES, CHANGED)
SYSUSERS, TMPFILES = "opanel-agent.sysusers.conf", "opanel-agent.tmpfiles.conf"
EVERY = sorted((*SERVICES, *SOCKETS.values(), OWN_SOCKET, WATCH, CHANGED, SYSUSERS, TMPFILES))
PLACES = Paths(
    system=True,
    owner=0,
    config_dir=paths.SYSTEM_CONFIG,
    state_dir=paths.SYSTEM_STATE,
    runtime_dir=paths.SYSTEM_RUNTIME,
)
HEADINGS = ("What it does", "When", "What it contacts", "How to switch it off")
NO_SYSTEMD = "systemd-analyze is not installed (apt install systemd)"

Unit = dict[str, dict[str, list[str]]]


def unit(name: str) -> Unit:
    """Sections to keys to values, in their order."""
    found: Unit = {}
    section = ""
    for line in (UNITS / name).read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, _, value = line.partition("=")
        values = found.setdefault(section, {}).setdefault(key, [])
        values.append(value)
    return found


def words(unit_file: Unit, key: str) -> list[str]:
    return [word for value in unit_file["Service"].get(key, []) for word in value.split()]


def rows(name: str) -> list[list[str]]:
    lines = (UNITS / name).read_text("utf-8").splitlines()
    return [re.findall(r'"[^"]*"|\S+', line) for line in lines if line and not line.startswith("#")]


def test_every_file_is_known_here() -> None:
    assert sorted(path.name for path in UNITS.iterdir()) == EVERY


@pytest.mark.parametrize("name", EVERY)
def test_each_opens_with_what_it_does_when_what_it_contacts_and_how_to_switch_it_off(name: str) -> None:
    opening = (UNITS / name).read_text("utf-8").partition("\n\n")[0].splitlines()
    assert all(line.startswith("#") for line in opening)
    headings = [
        found[1] for line in opening if (found := re.match(r"# (\w[\w ]+): +\S", line)) and found[1] in HEADINGS
    ]
    assert headings == list(HEADINGS)


# ---- all three services


@pytest.mark.parametrize(("name", "program"), [(AGENT, "daemon"), (FETCH, "fetch"), (COURIER, "courier")])
def test_each_runs_the_installed_program_and_no_other(name: str, program: str) -> None:
    started = unit(name)["Service"]["ExecStart"]
    assert started == [f"/opt/opanel-agent/env/bin/python -I -m opanel_agent {program}"]
    assert installation.belongs_to_system(started[0].split()[0], 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((name, "yes") for name in ("NoNewPrivileges", "LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC")),
        *((f"Private{name}", "yes") for name in ("Devices", "IPC", "Mounts", "Tmp")),
        *((f"Protect{name}", "yes") for name in ("Clock", "ControlGroups", "Home", "Hostname")),
        *((f"ProtectKernel{name}", "yes") for name in ("Logs", "Modules", "Tunables")),
        *((f"Restrict{name}", "yes") for name in ("Namespaces", "Realtime", "SUIDSGID")),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
        ("DevicePolicy", "closed"),
        ("KeyringMode", "private"),
        ("LimitCORE", "0"),
        ("ProtectProc", "invisible"),
        ("SystemCallArchitectures", "native"),
        ("SystemCallErrorNumber", "EPERM"),
    ],
)
@pytest.mark.parametrize("name", CONFINED)
def test_each_wall_stands_in_every_service(name: str, key: str, value: str) -> None:
    assert unit(name)["Service"][key] == [value]


@pytest.mark.parametrize("name", [AGENT, CHANGED])
def test_who_sees_the_machine_s_files_changes_none(name: str) -> None:
    service = unit(name)["Service"]
    assert (service["ProtectSystem"], service["UMask"]) == (["strict"], ["0077"])


@pytest.mark.parametrize("name", CONFINED)
def test_the_filter_of_system_calls(name: str) -> None:
    """The second line takes from the first; fchown among what it takes, so nothing here relies on it."""
    allowed, denied = unit(name)["Service"]["SystemCallFilter"]
    assert allowed == "@system-service"
    assert set(denied.removeprefix("~").split()) == {
        *("@privileged", "@resources", "@mount", "@debug", "@cpu-emulation", "@obsolete"),
        *("@swap", "@reboot", "@raw-io", "@module", "@clock"),
    }


@pytest.mark.parametrize("name", SERVICES)
def test_peers_are_seen_as_who_they_are(name: str) -> None:
    """PrivateUsers= shows every peer on the socket but root as uid 65534."""
    assert "PrivateUsers" not in unit(name)["Service"]


def test_no_single_file_is_bound_for_the_process_that_stays() -> None:
    """A file that is replaced by renaming would stay the old one inside. The manager's own socket is never replaced."""
    bound = [word.lstrip("-") for key in ("BindReadOnlyPaths", "BindPaths") for word in words(unit(AGENT), key)]
    directories = {"/run/systemd/journal", "/run/udev", "/run/opanel-courier", "/run/opanel-agent"}
    assert set(bound) == directories | {"/run/systemd/notify"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_variable_reaches_a_process_from_a_unit(name: str) -> None:
    """But glibc's own, in the one process that stays."""
    service = unit(name)["Service"]
    assert not {"EnvironmentFile", "PassEnvironment"} & service.keys()
    names = {word.partition("=")[0] for word in words(unit(name), "Environment")}
    assert names == ({"MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"} if name == AGENT else set())


# ---- the agent


def test_the_agent_has_no_network_and_no_way_to_another_service() -> None:
    unit_file = unit(AGENT)
    service = unit_file["Service"]
    assert service["PrivateNetwork"] == ["yes"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert service["IPAddressDeny"] == ["any"]
    assert service["TemporaryFileSystem"] == ["/run:ro /run/systemd:ro,mode=0755"]
    assert {"-/run/dbus", "-/run/systemd/private"} <= set(
        words(unit_file, "InaccessiblePaths")
    )  # where /run shows through
    assert words(unit_file, "BindPaths") == [str(paths.SYSTEM_RUNTIME)]
    assert f"-{paths.COURIER_RUNTIME}" in words(unit_file, "BindReadOnlyPaths")


def test_the_agent_is_watched_and_outlives_its_jobs() -> None:
    unit_file = unit(AGENT)
    service = unit_file["Service"]
    assert service["Type"] == ["notify"]
    assert service["NotifyAccess"] == ["main"]
    assert service["WatchdogSec"] == ["20s"]
    assert service["OOMPolicy"] == ["continue"]
    assert service["Restart"] == ["always"]
    assert service["RestartSec"] == ["200ms"]  # clients wait for it
    assert unit_file["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert "HUP" in service["ExecReload"][0]
    assert int(service["MemoryMax"][0].removesuffix("M")) * 1024**2 > JobLimits().kernel.memory_max_bytes


def test_the_agent_s_state_is_its_own() -> None:
    service = unit(AGENT)["Service"]
    assert service["User"] == service["Group"] == service["StateDirectory"] == ["opanel-agent"]
    assert Path("/var/lib", service["StateDirectory"][0]) == paths.SYSTEM_STATE
    assert service["StateDirectoryMode"] == ["0700"]
    assert "RuntimeDirectory" not in service  # it vanishes at a stop, and has no setgid
    assert service["ReadWritePaths"] == [
        f"-{PLACES.withdrawals_of_agent.parent}"
    ]  # with the minus, none stops the start


def test_the_hardware_s_name_comes_as_a_credential_and_its_absence_is_no_failure() -> None:
    service = unit(AGENT)["Service"]
    (loaded,) = service["LoadCredential"]
    name, _, path = loaded.partition(":")
    assert service["SetCredential"] == [f"{name}:absent"]  # what system.machine takes for none
    # Not from sysfs: a file that is there and may not be read (an unprivileged container) stops the start.
    (copied,) = [row for row in rows(TMPFILES) if row[1] == path]
    assert copied == ["C-", path, "0400", "root", "root", "-", "/sys/class/dmi/id/product_uuid"]


def test_enabling_the_agent_enables_the_doors_and_starting_it_opens_none_that_was_closed() -> None:
    unit_file = unit(AGENT)
    assert unit_file["Install"]["Also"][0].split() == [OWN_SOCKET, *SOCKETS.values(), WATCH]
    assert unit_file["Unit"]["Wants"] == [OWN_SOCKET]
    assert not {"Requires", "BindsTo"} & unit_file["Unit"].keys()


def test_systemd_holds_the_agent_s_socket_for_the_group_and_never_closes_it() -> None:
    unit_file = unit(OWN_SOCKET)
    socket = unit_file["Socket"]
    assert socket["ListenStream"] == [str(PLACES.socket)]
    assert "Accept" not in socket  # one daemon for all connections
    assert (socket["SocketUser"], socket["SocketGroup"], socket["SocketMode"]) == (
        ["opanel-agent"],
        ["opanel"],
        ["0660"],
    )
    assert socket["Backlog"] == [str(BACKLOG)]
    assert socket["TriggerLimitIntervalSec"] == ["0"]
    assert unit_file["Install"]["WantedBy"] == ["sockets.target"]
    assert OWN_SOCKET in unit(AGENT)["Unit"]["After"][0].split()
    assert int(unit(AGENT)["Service"]["FileDescriptorStoreMax"][0]) >= 1
    assert "Nice" not in unit(AGENT)["Service"]  # what an unprivileged container may not have stops no start


# ---- fetch and courier


@pytest.mark.parametrize("name", [FETCH, COURIER])
def test_who_reaches_the_network_knows_nothing_of_the_machine(name: str) -> None:
    unit_file = unit(name)
    service = unit_file["Service"]
    assert service["User"] == service["Group"] == ["opanel-courier"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]  # no AF_NETLINK, no AF_PACKET
    assert service["ProcSubset"] == ["pid"]
    assert service["TemporaryFileSystem"] == ["/:ro /run:ro,mode=0755"]
    assert "ProtectSystem" not in service  # systemd keeps one entry for /, and that one would replace the empty one
    assert "-/sys" in words(unit_file, "InaccessiblePaths")
    shown = [word for word in words(unit_file, "BindReadOnlyPaths") if not word.startswith("-")]
    assert shown == ["/usr", "/opt/opanel-agent"]  # without the minus, one that is absent stops the start
    places = {word.lstrip("-") for word in words(unit_file, "BindReadOnlyPaths")}
    read = {PLACES.config_dir, PLACES.withdrawals, PLACES.machine_do_not_track, PLACES.environment_dir}
    assert {*map(str, read), *map(str, PLACES.environment_files)} <= places  # what the gate decides by
    assert not {"/", "/etc", "/run", "/var", "/var/lib", "/run/dbus", "/etc/machine-id", "/etc/passwd"} & places
    assert not {str(path) for path in (paths.SYSTEM_STATE, paths.SYSTEM_RUNTIME, paths.COURIER_RUNTIME)} & places
    assert service["UMask"] == ["0022"]  # systemd 247 makes what lies above the binds with it
    assert service["LimitFSIZE"] == ["0"]
    assert not {"StateDirectory", "LoadCredential", "SetCredential", "BindPaths"} & service.keys()


@pytest.mark.parametrize("name", [FETCH, COURIER])
def test_a_request_is_a_connection_and_leaves_nothing(name: str) -> None:
    unit_file = unit(name)
    service = unit_file["Service"]
    assert service["StandardInput"] == service["StandardOutput"] == ["socket"]
    assert service["StandardError"] == ["journal"]
    assert unit_file["Unit"]["CollectMode"] == ["inactive-or-failed"]
    assert "Restart" not in service
    assert "Install" not in unit_file
    assert int(service["RuntimeMaxSec"][0].removesuffix("s")) > DEADLINE_S > WHOLE_S


def refusals(name: str) -> set[tuple[str, str]]:
    conditions = unit(name)["Unit"]
    assert not any("|" in value for key in conditions if key.startswith("Condition") for value in conditions[key])
    return {(key, value) for key in conditions if key.startswith("Condition") for value in conditions[key]}


def pairs(*files: Path) -> Iterator[tuple[str, str]]:
    """A dangling link exists for only one of the two."""
    for file in files:
        yield "ConditionPathExists", f"!{file}"
        yield "ConditionPathIsSymbolicLink", f"!{file}"


def test_systemd_refuses_fetch_while_offline_and_only_then() -> None:
    assert refusals(FETCH) == set(pairs(PLACES.offline))


def test_systemd_refuses_the_courier_under_every_signal_that_it_can_see() -> None:
    variables = {("ConditionEnvironment", f"!{name}") for name in environment.OPT_OUT_VARIABLES}
    files = pairs(PLACES.offline, PLACES.do_not_track, PLACES.machine_do_not_track)
    assert refusals(COURIER) == {*files, *variables}


@pytest.mark.parametrize("program", SOCKETS)
def test_only_the_agent_may_connect(program: str) -> None:
    unit_file = unit(SOCKETS[program])
    socket = unit_file["Socket"]
    assert socket["Accept"] == ["yes"]
    assert socket["SocketUser"] == ["opanel-agent"]
    assert socket["SocketMode"] == ["0600"]
    assert Path(socket["ListenStream"][0]) == {"fetch": PLACES.fetch_socket, "courier": PLACES.courier_socket}[program]
    assert unit_file["Install"]["WantedBy"] == ["sockets.target"]
    assert not any(key.startswith("Condition") for key in unit_file["Unit"])  # the door stays; who knocks is refused


# ---- a change


def test_a_change_of_what_an_administrator_writes_reloads_the_agent() -> None:
    watch, changed = unit(WATCH), unit(CHANGED)
    watched = {Path(path) for path in watch["Path"]["PathChanged"]}
    assert {PLACES.config_dir, PLACES.consent_dir, PLACES.machine_do_not_track, PLACES.environment_dir} <= watched
    assert PLACES.do_not_track.parent in watched
    assert PLACES.offline.parent in watched
    assert PLACES.machine_do_not_track.parent in watched, "a link that leads nowhere is not there for systemd"
    assert watched - {
        PLACES.config_dir,
        PLACES.consent_dir,
        PLACES.machine_do_not_track,
        PLACES.environment_dir,
        PLACES.machine_do_not_track.parent,
    } <= set(PLACES.environment_files)
    assert watch["Path"]["Unit"] == [CHANGED]
    assert watch["Install"]["WantedBy"] == ["paths.target"]
    assert changed["Service"]["ExecStart"] == [f"systemctl --no-block try-reload-or-restart {AGENT}"]
    assert "ExecReload" in unit(AGENT)["Service"], "else it would be a restart"


def test_no_number_of_changes_ends_the_watch() -> None:
    assert unit(WATCH)["Path"]["TriggerLimitIntervalSec"] == ["0"]
    assert unit(CHANGED)["Unit"]["StartLimitIntervalSec"] == ["0"]


def test_what_reloads_has_no_network_and_sees_no_state() -> None:
    service = unit(CHANGED)["Service"]
    assert service["PrivateNetwork"] == ["yes"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert f"-{paths.SYSTEM_STATE}" in service["InaccessiblePaths"][0].split()


# ---- users and directories


def test_whoever_sends_reads_the_record_of_withdrawals() -> None:
    for name in (FETCH, COURIER):
        assert f"-{PLACES.withdrawals}" in words(unit(name), "BindReadOnlyPaths")


def test_the_users_are_made_without_a_shell_or_a_home() -> None:
    made = {(row[0], row[1]): row[2:] for row in rows(SYSUSERS)}
    assert made.keys() == {("u", "opanel-agent"), ("u", "opanel-courier"), ("g", "opanel")}
    for (kind, _name), rest in made.items():
        assert rest[0] == "-"
        assert rest[2:] == (["-"] if kind == "u" else [])


def test_no_user_is_another_s_member() -> None:
    assert [row for row in rows(SYSUSERS) if row[0] == "m"] == []


def test_the_directories_are_who_may_come_in() -> None:
    assert {row[1]: row[2:5] for row in rows(TMPFILES) if row[0] == "d"} == {
        str(paths.SYSTEM_RUNTIME): ["2750", "opanel-agent", "opanel"],  # setgid: the agent may not chown
        str(paths.COURIER_RUNTIME): ["0700", "opanel-agent", "opanel-agent"],
        str(paths.SYSTEM_CONFIG): ["2755", "root", "opanel-agent"],  # setgid: 0640 is readable by the agent
        str(PLACES.import_dir): ["2750", "root", "opanel-agent"],
        "/run/opanel-machine": ["0700", "root", "root"],
        str(PLACES.withdrawals): ["0755", "root", "root"],
        str(PLACES.withdrawals_of_agent.parent): ["0755", "opanel-agent", "opanel-agent"],
    }
    assert all(row[5] == "-" for row in rows(TMPFILES))  # no age: a socket is not swept away


@pytest.mark.root
def test_a_hardware_name_that_may_not_be_read_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    """As in an unprivileged container: its root has no power over a file that is nobody's there."""
    systemd_tmpfiles, setpriv = shutil.which("systemd-tmpfiles"), shutil.which("setpriv")
    if systemd_tmpfiles is None or setpriv is None:
        pytest.skip(NO_SYSTEMD)
    uuid, made, config = tmp_path / "product_uuid", tmp_path / "made", tmp_path / "own.conf"
    uuid.write_text("3f9c2b10\n")
    uuid.chmod(0o400)
    lines = "".join(" ".join(row) + "\n" for row in rows(TMPFILES) if row[1].startswith("/run/opanel-machine"))
    lines = lines.replace("/run/opanel-machine", str(made)).replace("/sys/class/dmi/id/product_uuid", str(uuid))
    config.write_text(lines)
    command = (systemd_tmpfiles, "--create", str(config))
    os.chown(uuid, 65534, 65534)
    subprocess.run((setpriv, "--bounding-set", "-dac_override,-dac_read_search", *command), check=True, timeout=60)
    assert [*made.iterdir()] == []
    subprocess.run(command, check=True, timeout=60)
    assert (made / "product_uuid").read_text() == "3f9c2b10\n"


# ---- systemd's own judgement


Analyze = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def analyze() -> Analyze:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip(NO_SYSTEMD)
    return lambda *arguments: subprocess.run(
        [program, "--no-pager", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(("name", "most"), [(AGENT, 0.6), (FETCH, 1.4), (COURIER, 1.4)])
def test_the_exposure_is_low(analyze: Analyze, name: str, most: float) -> None:
    printed = analyze("security", "--offline=true", str(UNITS / name))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+) ", printed.stdout)
    assert found is not None, printed.stderr
    assert 0 < float(found[1]) <= most


@pytest.mark.parametrize("name", [AGENT, OWN_SOCKET, *SOCKETS.values(), FETCH, COURIER])
def test_systemd_understands_every_line(analyze: Analyze, name: str, tmp_path: Path) -> None:
    """It names what it ignores. What it cannot find here is the installed program and its manual."""
    for path in UNITS.glob("opanel-agent*"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"))
    printed = analyze("verify", "--man=no", str(tmp_path / name))
    ours = [line for line in printed.stderr.splitlines() if "opanel" in line and "is not executable" not in line]
    assert ours == []


def test_a_line_that_systemd_does_not_know_would_be_seen(analyze: Analyze, tmp_path: Path) -> None:
    text = (UNITS / AGENT).read_text("utf-8").replace("PrivateNetwork=yes", "PrivateNetwrok=yes")
    (tmp_path / AGENT).write_text(text)
    assert "PrivateNetwrok" in analyze("verify", "--man=no", str(tmp_path / AGENT)).stderr
