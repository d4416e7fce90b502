"""A durable write leaves the old or the new value at every step; a read takes nothing but a bounded file of its owner.

The owner's rules are tried by naming other owners, because the suite may run as root.
"""

import errno
import fcntl
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.simulated.memory_files import MemoryFiles, Stopped
from fixtures.unreadable import FAULTS, spoil
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Storage, Unreadable
from opanel_agent.system.storage.files import Files, LocalFiles, Syscalls

OLD, NEW = b"old value\n", b"the new value, which is longer\n"
ME = frozenset({os.geteuid()})
WRITE_STEPS = ("create", "write", "fsync", "rename", "fsync_dir")


class Broken(Syscalls):
    """The steps of the real disk, of which one raises. With `torn`, half of the bytes are written before."""

    def __init__(self, step: str, failure: BaseException, *, torn: bool = False) -> None:
        self._step = step
        self._failure = failure
        self._torn = torn

    def _reach(self, step: str) -> None:
        if step == self._step:
            raise self._failure

    def create(self, path: Path, mode: int) -> int:
        self._reach("create")
        return super().create(path, mode)

    def write(self, fd: int, data: bytes) -> int:
        if self._torn:
            super().write(fd, data[: len(data) // 2])
        self._reach("write")
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._reach("fsync")
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self._reach("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._reach("unlink")
        super().unlink(path)

    def fsync_dir(self, directory: Path) -> None:
        self._reach("fsync_dir")
        super().fsync_dir(directory)


class Recorded(Syscalls):
    def __init__(self) -> None:
        self.steps: list[str] = []

    def write(self, fd: int, data: bytes) -> int:
        self.steps.append("write")
        return super().write(fd, data[:7])  # a disk may take less than it was given

    def fsync(self, fd: int) -> None:
        self.steps.append("fsync")
        super().fsync(fd)

    def rename(self, source: Path, target: Path) -> None:
        self.steps.append("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self.steps.append("unlink")
        super().unlink(path)

    def fsync_dir(self, directory: Path) -> None:
        self.steps.append("fsync_dir")
        super().fsync_dir(directory)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def read(path: Path) -> bytes | None:
    return LocalFiles().read(path, max_bytes=1000)


def on_disk(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_written_bytes_come_back(path: Path) -> None:
    LocalFiles().write(path, NEW)
    assert read(path) == NEW


def test_a_write_reaches_the_disk_before_it_is_renamed_and_the_directory_after(path: Path) -> None:
    disk = Recorded()
    LocalFiles(disk).write(path, b"12345678901234567890")
    assert disk.steps == ["write", "write", "write", "fsync", "rename", "fsync_dir"]
    assert read(path) == b"12345678901234567890"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EINTR])
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_failing_step_is_told_and_leaves_one_whole_value(path: Path, step: str, torn: bool, number: int) -> None:
    LocalFiles().write(path, OLD)
    with pytest.raises(Storage) as caught:
        LocalFiles(Broken(step, OSError(number, "broken"), torn=torn and step == "write")).write(path, NEW)
    assert caught.value.values == {"file": str(path), "errno": errno.errorcode[number]}
    assert read(path) == (NEW if step == "fsync_dir" else OLD)
    assert on_disk(path.parent) == [path.name], "a failed write cleans up after itself"
    LocalFiles().write(path, NEW)
    assert read(path) == NEW


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("step", WRITE_STEPS)
def test_a_stop_at_any_step_leaves_one_whole_value(path: Path, step: str, torn: bool) -> None:
    LocalFiles().write(path, OLD)
    with pytest.raises(Stopped):
        LocalFiles(Broken(step, Stopped(), torn=torn and step == "write")).write(path, NEW)
    assert read(path) == (NEW if step == "fsync_dir" else OLD)
    assert LocalFiles().names(path.parent) == (path.name,), "what the stop left is never shown"
    LocalFiles().write(path, NEW)
    assert read(path) == NEW


def test_what_a_stop_left_is_swept_and_nothing_else(path: Path) -> None:
    LocalFiles().write(path, OLD)
    (path.parent / ".hidden").write_bytes(b"the administrator's")
    with pytest.raises(Stopped):
        LocalFiles(Broken("rename", Stopped())).write(path, NEW)
    assert len(on_disk(path.parent)) == 3
    LocalFiles().sweep(path.parent)
    assert on_disk(path.parent) == [".hidden", path.name]


def test_sweeping_what_does_not_exist_is_no_error(tmp_path: Path) -> None:
    LocalFiles().sweep(tmp_path / "nothing")


def test_sweeping_tells_a_failure(path: Path) -> None:
    with pytest.raises(Stopped):
        LocalFiles(Broken("rename", Stopped())).write(path, NEW)
    with pytest.raises(Storage):
        LocalFiles(Broken("unlink", OSError(errno.EIO, ""))).sweep(path.parent)


@pytest.mark.parametrize(
    ("number", "code", "detail"),
    [
        (errno.ENOSPC, Fault.DISK_FULL, "disk_full"),
        (errno.EDQUOT, Fault.DISK_FULL, "disk_full"),
        (errno.EACCES, Fault.NO_PERMISSION, "write_failed"),
        (errno.EROFS, Fault.NO_PERMISSION, "write_failed"),
        (errno.EIO, Fault.IO_FAILED, "write_failed"),
    ],
)
def test_each_failure_has_its_code(path: Path, number: int, code: Fault, detail: str) -> None:
    with pytest.raises(Storage) as caught:
        LocalFiles(Broken("write", OSError(number, ""))).write(path, NEW)
    assert (caught.value.code, caught.value.detail) == (code, detail)


def test_the_mode_is_as_asked_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        LocalFiles().write(path, NEW, mode=0o644)
        LocalFiles().make_dir(path.parent / "a" / "b", mode=0o755)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o644
    assert (path.parent / "a" / "b").stat().st_mode & 0o7777 == 0o755


def test_a_new_file_is_private(path: Path) -> None:
    LocalFiles().write(path, NEW)
    LocalFiles().append(path.with_name("log"), b"one")
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.with_name("log").stat().st_mode & 0o7777 == 0o600


def test_a_link_in_the_way_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    LocalFiles().write(path, NEW)
    assert (victim.read_bytes(), path.is_symlink(), read(path)) == (OLD, False, NEW)


def test_a_link_laid_at_the_temporary_name_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    with pytest.raises(Stopped):
        LocalFiles(Broken("rename", Stopped())).write(path, NEW)
    (left,) = [name for name in on_disk(tmp_path) if name != "victim"]
    (tmp_path / left).unlink()
    (tmp_path / left).symlink_to(victim)
    LocalFiles().write(path, NEW)
    assert victim.read_bytes() == OLD


# append


def test_lines_are_added_in_order_and_the_directory_is_made_durable_once(path: Path) -> None:
    disk = Recorded()
    LocalFiles(disk).append(path, b"one")
    LocalFiles(disk).append(path, b"two")
    assert read(path) == b"one\ntwo\n"
    assert disk.steps == ["write", "fsync", "fsync_dir", "write", "fsync"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EINTR])
@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_failed_append_takes_back_what_it_wrote(path: Path, step: str, number: int) -> None:
    LocalFiles().append(path, b"one")
    with pytest.raises(Storage):
        LocalFiles(Broken(step, OSError(number, ""), torn=step == "write")).append(path, b"two")
    assert read(path) == b"one\n"


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_torn_line_is_cut_by_the_next_append(path: Path, step: str) -> None:
    LocalFiles().append(path, b"one")
    with pytest.raises(Stopped):
        LocalFiles(Broken(step, Stopped(), torn=step == "write")).append(path, b"two")
    assert (read(path) or b"").startswith(b"one\n")
    LocalFiles().append(path, b"three")
    assert read(path) == (b"one\nthree\n" if step == "write" else b"one\ntwo\nthree\n")


def test_a_torn_first_line_is_cut(path: Path) -> None:
    path.write_bytes(b"torn")
    LocalFiles().append(path, b"one")
    assert read(path) == b"one\n"


def test_a_line_holds_no_newline(path: Path) -> None:
    with pytest.raises(Bug):
        LocalFiles().append(path, b"one\ntwo")


def test_an_append_follows_no_link(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    with pytest.raises(Storage):
        LocalFiles().append(path, b"one")
    assert victim.read_bytes() == OLD


# remove, names, exists, directories


def test_a_removal_is_durable_and_removes_the_link(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    path.symlink_to(victim)
    disk = Recorded()
    LocalFiles(disk).remove(path)
    LocalFiles(disk).remove(path)
    assert disk.steps == ["unlink", "fsync_dir", "unlink"]
    assert victim.exists()
    assert not path.is_symlink()


@pytest.mark.parametrize("step", ["unlink", "fsync_dir"])
def test_a_failed_removal_is_told(path: Path, step: str) -> None:
    LocalFiles().write(path, OLD)
    with pytest.raises(Storage, match="remove_failed"):
        LocalFiles(Broken(step, OSError(errno.EIO, ""))).remove(path)
    assert path.exists() == (step == "unlink")


def test_a_move_is_durable_and_takes_whatever_lies_there(path: Path, tmp_path: Path) -> None:
    disk = Recorded()
    target = tmp_path / "aside"
    path.symlink_to(tmp_path / "nowhere")
    LocalFiles(disk).move(path, target)
    LocalFiles(disk).move(path, target)  # nothing there is no error
    assert disk.steps == ["rename", "fsync_dir", "rename"]
    assert (path.is_symlink(), target.is_symlink()) == (False, True)
    path.mkdir()
    with pytest.raises(Storage, match="write_failed"):  # a folder takes no file's place
        LocalFiles().move(path, target)
    assert path.is_dir()


def test_names_are_sorted_and_a_missing_directory_has_none(tmp_path: Path) -> None:
    for name in ("b", "a", ".dot"):
        (tmp_path / name).touch()
    assert LocalFiles().names(tmp_path) == (".dot", "a", "b")
    assert LocalFiles().names(tmp_path / "missing") == ()


def test_what_is_no_directory_has_no_names_to_tell(path: Path) -> None:
    path.touch()
    with pytest.raises(Storage):
        LocalFiles().names(path)


def test_existence_is_of_the_name(path: Path, tmp_path: Path) -> None:
    assert not LocalFiles().exists(path)
    path.symlink_to(tmp_path / "nowhere")
    assert LocalFiles().exists(path)
    assert not LocalFiles().exists(tmp_path / "missing" / "deep")


def test_what_cannot_be_looked_at_exists(tmp_path: Path) -> None:
    assert LocalFiles().exists(tmp_path / ("x" * 300))


def test_directories_are_made_where_missing_and_else_left(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    LocalFiles().make_dir(deep)
    assert [step.stat().st_mode & 0o7777 for step in (deep, deep.parent)] == [0o700, 0o700]
    LocalFiles().make_dir(deep, mode=0o755)
    assert deep.stat().st_mode & 0o7777 == 0o700


def test_a_directory_hands_its_group_on_where_the_one_above_does(tmp_path: Path) -> None:
    """/etc/opanel-agent is setgid, so that the agent can read what root puts there for it."""
    tmp_path.chmod(0o2755)
    LocalFiles().make_dir(tmp_path / "a" / "b", mode=0o755)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o2755


def test_a_file_in_the_way_of_a_directory_is_told(path: Path) -> None:
    path.touch()
    with pytest.raises(Storage):
        LocalFiles().make_dir(path / "below")


# read


def test_what_is_missing_reads_as_none(path: Path) -> None:
    assert read(path) is None
    assert read(path / "deep") is None


def test_the_limit_is_met_exactly(path: Path) -> None:
    path.write_bytes(b"x" * 10)
    assert LocalFiles().read(path, max_bytes=10) == b"x" * 10
    with pytest.raises(Misconfigured, match="file_size"):
        LocalFiles().read(path, max_bytes=9)


def test_an_endless_file_is_cut_off() -> None:
    """Procfs says size 0 and gives more: the size is never trusted."""
    with pytest.raises(Misconfigured, match="file_size"):
        LocalFiles().read(Path("/proc/self/smaps"), max_bytes=100)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.with_name("target").write_bytes(OLD)
    path.symlink_to(path.with_name("target"))


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _directory, _link, _dangling, _device])
def test_only_a_regular_file_is_read(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(Misconfigured, match="file_type"):
        read(path)


def test_a_link_is_followed_only_where_asked(path: Path) -> None:
    _link(path)
    assert LocalFiles().read(path, max_bytes=100, follow=True) == OLD


def test_a_device_behind_a_followed_link_is_no_file(path: Path) -> None:
    _device(path)
    with pytest.raises(Misconfigured, match="file_type"):
        LocalFiles().read(path, max_bytes=100, follow=True)


def test_the_owner_must_be_among_the_named(path: Path) -> None:
    path.write_bytes(OLD)
    assert LocalFiles().read(path, max_bytes=100, owners=ME) == OLD
    with pytest.raises(Misconfigured, match="file_owner"):
        LocalFiles().read(path, max_bytes=100, owners=frozenset({os.geteuid() + 1}))


@pytest.mark.root
def test_the_directory_must_be_of_the_owner_or_of_root(path: Path) -> None:
    path.write_bytes(OLD)
    os.chown(path.parent, 12345, -1)
    with pytest.raises(Misconfigured, match="file_owner"):
        LocalFiles().read(path, max_bytes=100, owners=ME)
    os.chown(path, 12345, -1)
    assert LocalFiles().read(path, max_bytes=100, owners=frozenset({12345})) == OLD
    os.chown(path.parent, 0, -1)
    assert LocalFiles().read(path, max_bytes=100, owners=frozenset({12345})) == OLD


JUDGE = """
import os, sys
from pathlib import Path
from opanel_agent.system.storage.files import LocalFiles
print(LocalFiles().read(Path(sys.argv[1]), max_bytes=100, owners=frozenset({os.geteuid()})))
"""


@pytest.mark.root
@pytest.mark.parametrize("fault", sorted({*FAULTS} - {"ENOENT", "EIO"}))  # /proc/self is another process's there
def test_where_the_kernel_does_not_tell_of_a_user_namespace_owners_are_judged_as_outside(
    path: Path, tmp_path: Path, fault: str
) -> None:
    """Bound over the real uid_map, in a mount namespace: exec keeps the process's number."""
    unshare, odd = shutil.which("unshare"), tmp_path / "odd"
    if unshare is None:
        pytest.skip("unshare is not installed")
    path.write_bytes(OLD)
    spoil(odd, fault)
    script = 'mount --bind "$(realpath "$1")" /proc/$$/uid_map && exec "$2" -c "$3" "$4"'
    for owner, expected in ((0, f"{OLD!r}\n"), (65534, "")):
        os.chown(path.parent, owner, -1)
        finished = subprocess.run(
            [unshare, "-m", "sh", "-c", script, "sh", str(odd), sys.executable, JUDGE, str(path)],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert finished.stdout == expected, finished.stderr
        assert ("file_owner" in finished.stderr) is (owner != 0), finished.stderr


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(path: Path, mode: int) -> None:
    path.write_bytes(OLD)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="file_writable"):
        LocalFiles().read(path, max_bytes=100, owners=ME)
    assert read(path) == OLD


@pytest.mark.parametrize("above", [1, 2])
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_directory_that_others_can_write_is_refused_at_any_height(tmp_path: Path, above: int, mode: int) -> None:
    path = tmp_path / "a" / "b" / "file"
    LocalFiles().make_dir(path.parent)
    path.write_bytes(OLD)
    directory = path.parents[above - 1]
    directory.chmod(mode)
    with pytest.raises(Misconfigured, match="file_writable") as caught:
        LocalFiles().read(path, max_bytes=100, owners=ME)
    assert caught.value.values["file"] == str(directory)
    directory.chmod(mode | 0o1000)  # sticky, as /tmp is: others cannot replace what is not theirs
    assert LocalFiles().read(path, max_bytes=100, owners=ME) == OLD


# lock


def test_a_second_writer_waits_and_is_told(path: Path) -> None:
    with LocalFiles().lock(path), pytest.raises(Storage) as caught, LocalFiles().lock(path, timeout_s=0.1):
        pass
    assert (caught.value.code, caught.value.detail) == (Fault.BUSY, "locked")
    with LocalFiles().lock(path, timeout_s=0):
        pass


def test_a_second_writer_goes_on_when_the_first_has_done(path: Path) -> None:
    done: list[str] = []
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        def finish() -> None:
            done.append("first")
            fcntl.flock(held, fcntl.LOCK_UN)

        release = threading.Timer(0.15, finish)
        release.start()
        with LocalFiles().lock(path, timeout_s=5):
            done.append("second")
        release.join()
    assert done == ["first", "second"]


def test_a_lock_in_a_missing_directory_is_told(path: Path) -> None:
    with pytest.raises(Storage), LocalFiles().lock(path / "deep" / "lock"):
        pass


# the fake keeps the same promises


def both(path: Path) -> list[Files]:
    return [LocalFiles(), MemoryFiles(uid=os.geteuid())]


def test_the_fake_reads_writes_and_lists_as_the_real_one(tmp_path: Path) -> None:
    def story(files: Files) -> list[object]:
        file, log = tmp_path / "file", tmp_path / "log"
        files.make_dir(tmp_path)
        files.write(file, OLD)
        files.append(log, b"one")
        files.append(log, b"two")
        seen: list[object] = [
            files.read(file, max_bytes=100, owners=ME),
            files.read(log, max_bytes=100),
            files.read(tmp_path / "nothing", max_bytes=1),
            files.names(tmp_path),
            files.names(tmp_path / "missing"),
            files.exists(file),
            files.exists(tmp_path),
        ]
        for owners, max_bytes in ((frozenset({os.geteuid() + 1}), 100), (None, 1)):
            with pytest.raises(Misconfigured) as caught:
                files.read(file, max_bytes=max_bytes, owners=owners)
            seen.append((caught.value.code, caught.value.detail, caught.value.values))
        files.remove(file)
        files.remove(file)
        with files.lock(tmp_path / "lock"), pytest.raises(Storage) as busy, files.lock(tmp_path / "lock", timeout_s=0):
            pass
        return [*seen, busy.value.detail, files.exists(file)]

    real, fake = (story(files) for files in both(tmp_path))
    assert real == fake


def test_the_fake_lists_as_the_real_one_whatever_came_and_went(tmp_path: Path) -> None:
    def story(files: Files) -> list[tuple[str, ...]]:
        folder, other = tmp_path / "folder", tmp_path / "other"
        seen: list[tuple[str, ...]] = []

        def look() -> None:
            seen.extend(files.names(each) for each in (tmp_path, folder, folder / "deep", other, other / "deep"))

        files.make_dir(folder / "deep")
        for path in (folder / "a", folder / "deep" / "a", folder / "deep" / "b"):
            files.write(path, OLD)
            files.write(path, NEW)
        look()
        files.remove(folder / "deep" / "a")
        files.write(folder / "deep" / "c", OLD)
        files.move(folder / "deep" / "b", folder / "b")
        look()
        files.move(folder, other)
        look()
        files.remove_tree(other)
        look()
        return seen

    real, fake = (story(files) for files in both(tmp_path))
    assert real == fake
    assert any(real)


@pytest.mark.parametrize("step", range(len(WRITE_STEPS)))
@pytest.mark.parametrize("keep", [False, True])
def test_the_fake_loses_power_at_each_step(path: Path, step: int, keep: bool) -> None:
    files = MemoryFiles()
    files.write(path, OLD)
    files.stop_at(step)
    with pytest.raises(Stopped):
        files.write(path, NEW)
    files.crash(keep=keep)
    renamed = WRITE_STEPS[step] == "fsync_dir"
    assert files.read(path, max_bytes=100) == (NEW if renamed and keep else OLD)


def test_the_fake_keeps_what_was_acknowledged(path: Path) -> None:
    files = MemoryFiles()
    files.write(path, OLD)
    files.append(path.with_name("log"), b"one")
    files.write(path.with_name("gone"), OLD)
    files.remove(path.with_name("gone"))
    files.crash()
    assert files.names(path.parent) == ("log", "state.json")


def test_the_fake_fails_where_told(path: Path) -> None:
    full = Storage(Fault.DISK_FULL, "disk_full", file=str(path), errno="ENOSPC")
    files = MemoryFiles()
    files.append(path, b"one")
    files.stop_at(1, full)
    with pytest.raises(Storage):
        files.append(path, b"two")
    assert files.read(path, max_bytes=100) == b"one\n"


# what is there and cannot be read


def test_a_file_that_the_disk_does_not_give_is_unreadable() -> None:
    """/proc/self/mem has nothing at its beginning: read(2) ends in EIO."""
    with pytest.raises(Unreadable) as caught:
        LocalFiles().read(Path("/proc/self/mem"), max_bytes=100)
    assert (caught.value.code, caught.value.detail, caught.value.values["errno"]) == (
        Fault.IO_FAILED,
        "read_failed",
        "EIO",
    )


@pytest.mark.root
def test_a_file_that_this_user_may_not_read_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "held"
    path.write_bytes(b"x")
    path.chmod(0o000)
    os.seteuid(65534)
    try:
        with pytest.raises(Unreadable) as caught:
            LocalFiles().read(path, max_bytes=100)
    finally:
        os.seteuid(0)
    assert (caught.value.code, caught.value.values["errno"]) == (Fault.NO_PERMISSION, "EACCES")


def test_a_process_without_a_descriptor_left_says_nothing_about_the_file(tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(b"x")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        with pytest.raises(Storage) as caught:
            LocalFiles().read(path, max_bytes=100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert type(caught.value) is Storage
    assert LocalFiles().read(path, max_bytes=100) == b"x"


def test_an_unreadable_file_is_a_storage_error_for_others() -> None:
    error_json = Unreadable(Fault.IO_FAILED, "read_failed", file="/x", errno="EIO").to_json()
    assert error_json["kind"] == "Storage"
    assert type(AgentError.from_json(error_json)) is Storage


def test_a_close_that_fails_is_no_failure_of_what_was_done(tmp_path: Path) -> None:
    """As EIO from close(2) of a lock; here its descriptor is already gone."""
    path = tmp_path / "lock"
    with LocalFiles().lock(path):
        found = [fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd, path)]  # noqa: PTH208 - names are wanted
        os.close(int(found[0]))


def _leads_to(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)  # noqa: PTH115 - as it is written there
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_to_lock_is_unreadable_and_not_locked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    path.mkdir() if kind == "folder" else path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable), LocalFiles().lock(path):
        pytest.fail("it was locked")


def test_a_file_in_a_folder_s_place_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b"x")
    with pytest.raises(Unreadable):
        LocalFiles().names(tmp_path / "sent")
