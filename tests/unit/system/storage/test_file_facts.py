"""What lies at a path is told as it is, without following or opening it."""

import os
import pwd
import socket
import stat
from pathlib import Path

import pytest

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.system.storage.file_facts import LocalFileInspector

HERE = LocalFileInspector()


def test_every_kind_of_thing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "file").chmod(0o4640)
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        seen = {name: HERE.look(tmp_path / name) for name in HERE.names(tmp_path)}
    assert {name: each.kind for name, each in seen.items() if each} == {
        "file": "file",
        "folder": "folder",
        "link": "link",
        "pipe": "device",
        "socket": "socket",
    }
    file = seen["file"]
    assert file is not None
    assert (file.uid, file.mode) == (os.geteuid(), 0o4640)
    assert file.gid == (tmp_path / "file").stat().st_gid


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for absent in (tmp_path / "x", tmp_path / "file" / "x"):
        assert (HERE.look(absent), HERE.names(absent), HERE.space(absent)) == (None, (), None)


def test_the_room_is_what_others_than_root_have(tmp_path: Path) -> None:
    statvfs, space = os.statvfs(tmp_path), HERE.space(tmp_path)
    assert space is not None
    assert abs(space.bytes_free - statvfs.f_bavail * statvfs.f_frsize) < 2**30  # others write at the same time
    assert space.read_only == bool(statvfs.f_flag & os.ST_RDONLY)
    assert (space.files_free is None) == (statvfs.f_files == 0)


@pytest.mark.parametrize("act", [HERE.look, HERE.names, HERE.space])
def test_what_the_kernel_refuses_is_storage_s(act: object) -> None:
    with pytest.raises(Storage) as caught:
        act(Path("/tmp/" + "x" * 300))  # type: ignore[operator]  # noqa: S108 - nothing is made there
    assert (caught.value.code, caught.value.values["errno"]) == (Fault.IO_FAILED, "ENAMETOOLONG")


def test_a_user_with_every_group() -> None:
    uid, gids = HERE.user("root") or (None, frozenset())
    assert (uid, 0 in gids) == (0, True)
    assert HERE.user("nobody-has-this-name") is None
    for each in pwd.getpwall():
        found = HERE.user(each.pw_name)
        assert found is not None
        assert each.pw_gid in found[1]


def test_modes_have_their_special_bits_and_no_kind(tmp_path: Path) -> None:
    tmp_path.chmod(0o3755)
    seen = HERE.look(tmp_path)
    assert seen is not None
    assert seen.mode == 0o3755 == stat.S_IMODE(tmp_path.stat().st_mode)
