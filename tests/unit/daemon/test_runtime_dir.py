"""The daemon's place on disk: one daemon, a socket that only the group reaches, an answer that is whole."""

import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from opanel_agent.core.errors import AgentError, Storage, Unavailable
from opanel_agent.daemon.runtime_dir import InstancePaths, RuntimeDir, find_instance_paths
from opanel_agent.system.storage import paths
from opanel_agent.system.storage.paths import find


def instance_paths(directory: Path, *, make: bool = True) -> InstancePaths:
    return InstancePaths(
        directory=str(directory),
        lock=str(directory / "lock"),
        socket=str(directory / "sock"),
        answer=str(directory / "answer.json"),
        saved=str(directory / "saved.json"),
        owner=0,
        make=make,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "a" / "run"


@pytest.fixture
def runtime_dir(place: Path) -> Iterator[RuntimeDir]:
    made = RuntimeDir(instance_paths(place))
    yield made
    made.release()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def refused(wanted: InstancePaths, kind: type[AgentError]) -> str:
    with pytest.raises(kind) as caught:
        RuntimeDir(wanted)
    return f"{caught.value.code}/{caught.value.detail}"


def bound(path: Path) -> socket.socket:
    """A listening socket of another program."""
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen(1)
    return other


def test_a_user_installation_makes_its_directory_for_itself(runtime_dir: RuntimeDir, place: Path) -> None:
    assert (mode(place), mode(place.parent)) == (0o700, 0o700)
    assert mode(place / "lock") == 0o600


def test_the_socket_is_for_owner_and_group(runtime_dir: RuntimeDir, place: Path) -> None:
    assert mode(place / "sock") == 0o660


def test_the_umask_is_as_it_was(place: Path) -> None:
    before = os.umask(0o027)
    try:
        RuntimeDir(instance_paths(place)).release()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_second_daemon_is_refused_and_the_first_stays(runtime_dir: RuntimeDir, place: Path) -> None:
    assert refused(instance_paths(place), Unavailable) == "already_running/daemon_running"
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(place / "sock"))


def test_released_is_free(place: Path) -> None:
    RuntimeDir(instance_paths(place)).release()
    assert not (place / "sock").exists()
    RuntimeDir(instance_paths(place)).release()


def test_a_stale_socket_is_replaced(place: Path) -> None:
    place.mkdir(parents=True)
    bound(place / "sock").close()
    with closing(socket.socket(socket.AF_UNIX)) as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(str(place / "sock"))
        made = RuntimeDir(instance_paths(place))
        client.connect(str(place / "sock"))
        made.release()


def test_the_socket_of_another_program_is_left_alone(place: Path) -> None:
    place.mkdir(parents=True)
    with closing(bound(place / "sock")) as other, closing(socket.socket(socket.AF_UNIX)) as client:
        assert refused(instance_paths(place), Unavailable) == "already_running/socket_in_use"
        client.connect(str(place / "sock"))
        # and it was the socket that refused, not a lock that stayed
        assert refused(instance_paths(place), Unavailable) == "already_running/socket_in_use"
        assert other.fileno() >= 0


def test_a_program_that_listens_but_takes_nobody_is_in_use(place: Path) -> None:
    place.mkdir(parents=True)
    with closing(bound(place / "sock")):
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(str(place / "sock"))
        assert refused(instance_paths(place), Unavailable) == "already_running/socket_in_use"
        for client in waiting:
            client.close()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_no_socket_is_left_alone(place: Path, kind: str) -> None:
    place.mkdir(parents=True)
    path = place / "sock"
    {"file": path.touch, "link": lambda: path.symlink_to("/nowhere"), "directory": path.mkdir}[kind]()
    assert refused(instance_paths(place), Storage) == "file_refused/socket_path_taken"
    assert os.path.lexists(path)


def test_a_path_that_the_kernel_does_not_take(tmp_path: Path) -> None:
    assert refused(instance_paths(tmp_path / ("x" * 120)), Storage) == "io_failed/socket_path_long"


def test_a_system_installation_does_not_make_its_directory(place: Path) -> None:
    assert refused(instance_paths(place, make=False), Storage) == "io_failed/runtime_dir_missing"
    assert not place.exists()


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_write_in_is_refused(place: Path, bits: int) -> None:
    place.mkdir(parents=True)
    place.chmod(bits)
    assert refused(instance_paths(place), Storage) == "file_refused/runtime_dir_refused"


def test_the_directory_of_the_unit_is_taken(place: Path) -> None:
    place.mkdir(parents=True)
    place.chmod(0o2750)
    RuntimeDir(instance_paths(place, make=False)).release()


def test_a_link_for_a_directory_is_refused(place: Path, tmp_path: Path) -> None:
    place.parent.mkdir()
    place.symlink_to(tmp_path)
    assert refused(instance_paths(place), Storage) == "file_refused/runtime_dir_refused"


def test_a_file_for_a_directory(place: Path) -> None:
    place.parent.mkdir()
    place.touch()
    assert refused(instance_paths(place), Storage) == "io_failed/runtime_dir_failed"


def test_a_link_for_a_lock_is_not_followed(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    (place / "lock").symlink_to(tmp_path / "elsewhere")
    assert refused(instance_paths(place), Storage) == "io_failed/daemon_lock_failed"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be someone else")
def test_a_directory_of_someone_else_is_refused(place: Path) -> None:
    place.mkdir(parents=True)
    os.chown(place, 65534, 65534)
    assert refused(instance_paths(place), Storage) == "file_refused/runtime_dir_refused"


def test_the_answer_is_for_the_group_and_whole(runtime_dir: RuntimeDir, place: Path) -> None:
    before = os.umask(0o077)
    try:
        runtime_dir.publish(b"first, and longer", b"whole")
        runtime_dir.publish(b"second", b"whole")
    finally:
        os.umask(before)
    assert (place / "answer.json").read_bytes() == b"second"
    assert mode(place / "answer.json") == 0o640
    assert sorted(entry.name for entry in place.iterdir()) == ["answer.json", "lock", "saved.json", "sock"]


def test_a_link_in_the_way_of_the_answer_is_not_followed(runtime_dir: RuntimeDir, place: Path, tmp_path: Path) -> None:
    (place / "answer.json.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Storage, match="answer_not_written"):
        runtime_dir.publish(b"x", b"whole")
    assert not (tmp_path / "elsewhere").exists()


def test_an_answer_that_cannot_be_written_leaves_the_last(runtime_dir: RuntimeDir, place: Path) -> None:
    runtime_dir.publish(b"first", b"whole")
    (place / "answer.json.new").mkdir()
    with pytest.raises(Storage, match="answer_not_written"):
        runtime_dir.publish(b"second", b"whole")
    assert (place / "answer.json").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("code", "session"),
    [
        pytest.param("/usr/bin/env", "/nowhere", id="system", marks=pytest.mark.root),
        pytest.param(__file__, "", id="user"),
        pytest.param(__file__, "/nowhere", id="user-without-session"),
    ],
)
def test_the_ground_is_that_of_the_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, session: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", session or str(tmp_path))
    paths = find(code)
    assert find_instance_paths(code) == InstancePaths(
        directory=str(paths.runtime_dir),
        lock=str(paths.daemon_lock),
        socket=str(paths.socket),
        answer=str(paths.answer),
        saved=f"{paths.runtime_dir}/answer.saved.json",
        owner=paths.owner,
        make=not paths.system,
        last_license=str(paths.last_license) if paths.system else "",
    )


LOST = """
import sys
sys.path.insert(0, {agent!r})
from opanel_agent.core.errors import Bug
from opanel_agent.daemon.runtime_dir import find_instance_paths
try:
    find_instance_paths()
except Bug as refused:
    print(refused)
"""


def test_where_no_path_is_found_the_daemon_says_why() -> None:
    code = LOST.format(agent=str(Path(paths.__file__).parents[3]))
    nowhere = {"XDG_RUNTIME_DIR": "/nowhere"}
    without_packages = [sys.executable, "-I", "-S", "-c", code]
    ran = subprocess.run(without_packages, env=nowhere, capture_output=True, text=True, check=True, timeout=60)
    assert re.fullmatch(r"internal/paths_not_found cause=No module named 'platformdirs'\n", ran.stdout)
