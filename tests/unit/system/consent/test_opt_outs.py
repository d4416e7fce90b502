"""Every place of the opt-out signals is looked at, anything unclear is a signal, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.simulated.memory_files import MemoryFiles
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.errors import Storage
from opanel_agent.system.consent.opt_outs import MAX_BYTES, LocalOptOuts
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import Paths

PATHS = Paths(
    system=True, owner=0, config_dir=Path("/etc/opanel-agent"), state_dir=Path("/var"), runtime_dir=Path("/run")
)
ENVIRONMENT_FILES = (
    "/etc/environment",
    "/etc/default/opanel-agent",
    "/etc/sysconfig/opanel-agent",
    "/etc/environment.d/50-privacy.conf",
)
VARIABLES = ("DO_NOT_TRACK", "OPANEL_AGENT_DO_NOT_TRACK", "do_not_track", "Opanel_Agent_Do_Not_Track")


def read(files: MemoryFiles, environ: dict[str, str] | None = None) -> Signals:
    return LocalOptOuts(files, PATHS, environ or {}).read()


def signals_of(text: str) -> tuple[Signal, ...]:
    files = MemoryFiles()
    files.put(Path("/etc/environment"), text.encode("latin-1"))
    return read(files).do_not_track


def test_a_quiet_machine_says_nothing() -> None:
    files = MemoryFiles()
    files.put(Path("/etc/opanel-agent/agent.toml"), b"schema = 1\n")
    files.put(Path("/etc/environment"), b"PATH=/usr/bin\n")
    assert read(files, {"PATH": "/usr/bin"}) == Signals()


@pytest.mark.parametrize("path", ["/etc/opanel-agent/do-not-track", "/etc/do-not-track"])
@pytest.mark.parametrize("kind", ["file", "link", "dir"])
def test_existence_is_enough(path: str, kind: str) -> None:
    files = MemoryFiles()
    files.put(Path(path), owner=4711, mode=0o666, kind=kind)
    signal = Signal(kind=SignalKind.FILE, what="do-not-track", place=str(Path(path).parent))
    assert read(files) == Signals(do_not_track=(signal,))


@pytest.mark.parametrize("kind", ["file", "link"])
def test_offline_is_its_own_signal(kind: str) -> None:
    files = MemoryFiles()
    files.put(Path("/etc/opanel-agent/offline"), kind=kind)
    signal = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")
    assert read(files) == Signals(offline=(signal,))


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", ["1", "true", "false", "no", " ", "00", "0 "])
def test_a_variable_of_the_process_counts_with_any_value(name: str, value: str) -> None:
    (signal,) = read(MemoryFiles(), {name: value}).do_not_track
    assert (signal.kind, signal.place, signal.line) == (SignalKind.ENVIRONMENT, "the process environment", None)
    assert signal.what.startswith(name)


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", ["", "0"])
def test_but_not_with_none_and_not_with_zero(name: str, value: str) -> None:
    assert read(MemoryFiles(), {name: value}) == Signals()


def test_other_programs_variables_are_theirs() -> None:
    assert read(MemoryFiles(), {"HOMEBREW_DO_NOT_TRACK": "1", "DO_NOT_TRACKING": "1"}) == Signals()


@pytest.mark.parametrize("path", ENVIRONMENT_FILES)
@pytest.mark.parametrize("name", VARIABLES)
def test_each_environment_file_is_read(path: str, name: str) -> None:
    files = MemoryFiles()
    files.put(Path(path), f"LANG=tr_TR.UTF-8\n\n{name}=1\n".encode())
    signal = Signal(kind=SignalKind.ENVIRONMENT, what=f"{name}=1", place=path, line=3)
    assert read(files) == Signals(do_not_track=(signal,))


def test_only_conf_files_of_the_directory_count() -> None:
    files = MemoryFiles()
    files.put(Path("/etc/environment.d/README"), b"DO_NOT_TRACK=1")
    assert read(files) == Signals()


@pytest.mark.parametrize(
    "line",
    [
        "DO_NOT_TRACK=1",
        "  DO_NOT_TRACK=yes",
        "export DO_NOT_TRACK=1",
        'DO_NOT_TRACK="1"',
        "DO_NOT_TRACK='1'",
        "DO_NOT_TRACK=false",
        "do_not_track=1",
        "export opanel_agent_do_not_track=true",
        "DO_NOT_TRACK = 1",
        "DO_NOT_TRACK=0 # later",
        "DO_NOT_TRACK=00",
        "DO_NOT_TRACK=\\",
        'DO_NOT_TRACK="',
        "DO_NOT_TRACK",
        "export DO_NOT_TRACK",
        "declare -x DO_NOT_TRACK=1",
        "A=1 DO_NOT_TRACK=1",
        "A=1;DO_NOT_TRACK=0",
        "DO_NOT_TRACK=0;DO_NOT_TRACK=1",
        "DO_NOT_TRACK=1\r",
        "DO_NOT_TRACK=0\v1",
        "\ufeffDO_NOT_TRACK=1".encode().decode("latin-1"),
    ],
)
def test_a_line_that_may_mean_it_is_a_signal(line: str) -> None:
    (signal,) = signals_of(f"# a file\n{line}\n")
    assert (signal.line, signal.place) == (2, "/etc/environment")


@pytest.mark.parametrize(
    "line",
    [
        "DO_NOT_TRACK=",
        "DO_NOT_TRACK=0",
        'export DO_NOT_TRACK="0"',
        "DO_NOT_TRACK='0'  ",
        "do_not_track=0",
        "DO_NOT_TRACK=''",
        'DO_NOT_TRACK=""',
        "DO_NOT_TRACK=0\r",
        "# DO_NOT_TRACK=1",
        "  ; DO_NOT_TRACK=1",
        "HOMEBREW_DO_NOT_TRACK=1",
        "DO_NOT_TRACK_ME=1",
        "DO_NOT=TRACK",
        "",
    ],
)
def test_a_line_that_says_nothing_is_none(line: str) -> None:
    assert signals_of(f"{line}\n") == ()


def test_one_yes_does_not_take_back_a_no() -> None:
    assert [signal.line for signal in signals_of("DO_NOT_TRACK=1\nDO_NOT_TRACK=0\nOPANEL_AGENT_DO_NOT_TRACK=1")] == [
        1,
        3,
    ]


@pytest.mark.parametrize("before", ["A=1", "# a comment"])
def test_a_carriage_return_ends_a_line_as_it_does_for_systemd(before: str) -> None:
    assert [signal.line for signal in signals_of(f"{before}\rDO_NOT_TRACK=1\r\nB=1\n")] == [2]


def test_a_secret_beside_the_variable_is_not_shown() -> None:
    (signal,) = signals_of("TOKEN=hunter2 DO_NOT_TRACK=1")
    assert signal.what == "DO_NOT_TRACK"


def test_letters_of_another_encoding_are_no_signal() -> None:
    assert signals_of("# T\xfcrk\xe7e\nLANG=tr\n") == ()


@pytest.mark.parametrize("path", ENVIRONMENT_FILES)
@pytest.mark.parametrize(
    "lay",
    [
        lambda files, path: files.put(path, kind="dir"),
        lambda files, path: files.put(path, kind="fifo"),
        lambda files, path: files.put(path, kind="link"),
        lambda files, path: files.put(path, b"x" * (MAX_BYTES + 1)),
        lambda files, path: files.put(path, "DO_NOT_TRACK=1".encode("utf-16")),
    ],
    ids=["dir", "fifo", "dangling", "too long", "utf-16"],
)
def test_what_cannot_be_read_is_a_signal(path: str, lay: Callable[[MemoryFiles, Path], None]) -> None:
    files = MemoryFiles()
    lay(files, Path(path))
    signal = Signal(kind=SignalKind.FILE, what=Path(path).name, place=str(Path(path).parent))
    assert read(files).do_not_track == (signal,)


@pytest.mark.parametrize("step", ["read", "names"])
def test_a_broken_disk_is_a_signal(step: str) -> None:
    def fault(name: str, path: Path) -> None:
        if name == step:
            raise Storage(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")

    places = {signal.place + "/" + signal.what for signal in read(MemoryFiles(fault=fault)).do_not_track}
    assert places == (set(ENVIRONMENT_FILES[:3]) if step == "read" else {"/etc/environment.d"})


def test_on_a_real_disk_a_link_is_followed_and_a_dangling_one_is_a_signal(tmp_path: Path) -> None:
    paths = Paths(
        system=False,
        owner=0,
        config_dir=tmp_path / "config",
        state_dir=tmp_path,
        runtime_dir=tmp_path,
        etc=tmp_path,
    )
    (tmp_path / "store").write_text("LANG=tr\n")
    (tmp_path / "environment").symlink_to(tmp_path / "store")
    opt_outs = LocalOptOuts(LocalFiles(), paths, {})
    assert opt_outs.read() == Signals()
    (tmp_path / "store").unlink()
    (tmp_path / "do-not-track").symlink_to(tmp_path / "nowhere")
    assert [signal.what for signal in opt_outs.read().do_not_track] == ["do-not-track", "environment"]
