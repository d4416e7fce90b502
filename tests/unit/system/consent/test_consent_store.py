"""consent.toml and consent.d are read from the disk as they lie there; whatever is wrong with them is a "no"."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.simulated.memory_files import MemoryFiles
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.consent_file import ConsentReading, parse, parse_policy
from opanel_agent.core.consent.opt_outs import Signal, SignalKind
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Misconfigured, Storage
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import Paths

PATHS = Paths(
    system=True, owner=0, config_dir=Path("/etc/opanel-agent"), state_dir=Path("/var"), runtime_dir=Path("/run")
)
GOOD = b"""schema = 1
notice = "2026-12-03"
do_not_track = false
[purposes.usage_statistics]
allow = true
"""
OPTED_OUT = GOOD.replace(b"do_not_track = false", b"do_not_track = true")
POLICY = b"schema = 1\n[purposes.crash_reports]\nallow = false\n"
UNREAD = Signal(kind=SignalKind.FILE, what="consent.toml", place="/etc/opanel-agent")


def read(files: MemoryFiles) -> ConsentReading:
    return LocalConsents(files, PATHS, mounts=True).read()


def laid(data: bytes = GOOD, **lay: object) -> MemoryFiles:
    files = MemoryFiles()
    files.put(PATHS.consent, data, **lay)  # type: ignore[arg-type]
    return files


def refusal(reading: ConsentReading) -> tuple[str, object, object]:
    """Of a consent.toml that is refused: nothing of it may count."""
    fault = reading.refused
    assert fault is not None
    assert reading.file is None
    assert fault.code is Reason.CONSENT_REFUSED
    return fault.detail, fault.values["file"], fault.values.get("line")


# ---- consent.toml


def test_no_file_is_no_answer_and_no_fault() -> None:
    assert read(MemoryFiles()) == ConsentReading(place="/etc/opanel-agent/consent.toml")


def test_a_good_file_is_read_anew_each_time() -> None:
    files = laid()
    consents = LocalConsents(files, PATHS)
    assert consents.read() == ConsentReading(place="/etc/opanel-agent/consent.toml", file=parse(GOOD))
    files.put(PATHS.consent, GOOD.replace(b"allow = true", b"allow = false"))
    file = consents.read().file
    assert file is not None
    assert not file.purposes[Purpose.USAGE_STATISTICS].allow


@pytest.mark.parametrize(
    ("lay", "detail"),
    [
        ({"owner": 1000}, "file_owner"),
        ({"mode": 0o664}, "file_writable"),
        ({"mode": 0o646}, "file_writable"),
        ({"kind": "link"}, "file_type"),
        ({"kind": "fifo"}, "file_type"),
        ({"kind": "dir"}, "file_type"),
        ({"data": GOOD + b"#" * 64 * 1024}, "file_size"),
    ],
)
def test_a_file_that_is_not_the_owners_alone_is_refused(lay: dict[str, object], detail: str) -> None:
    assert refusal(read(laid(**lay))) == (detail, "/etc/opanel-agent/consent.toml", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "detail", "line"),
    [
        (b"", "toml_schema", 1),
        (GOOD.replace(b"schema = 1", b"schema = 2"), "toml_schema", 1),
        (GOOD + b"x = 1\n", "toml_unknown", 6),
        (GOOD + b"# \xfc\n", "toml_utf8", 6),
        (GOOD + b"x\n", "toml_syntax", 6),
        (GOOD.replace(b"allow = true", b'allow = "true"'), "toml_type", 5),
        (GOOD.replace(b"allow = true", b"allow = 1"), "toml_type", 5),
    ],
)
def test_a_fault_within_names_file_and_line(data: bytes, detail: str, line: int) -> None:
    assert refusal(read(laid(data))) == (detail, "/etc/opanel-agent/consent.toml", line)


def test_exactly_64_kib_are_read() -> None:
    assert read(laid(GOOD + b"#" * (64 * 1024 - len(GOOD)))).refused is None


def test_an_unreadable_file_is_refused() -> None:
    def fault(name: str, path: Path) -> None:
        if path == PATHS.consent:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    reading = read(MemoryFiles(fault=fault))
    assert refusal(reading) == ("read_failed", "/etc/opanel-agent/consent.toml", None)
    assert reading.in_doubt == (UNREAD,)


# ---- consent.d


def policies(**laid: bytes) -> MemoryFiles:
    files = MemoryFiles()
    files.put(PATHS.consent, GOOD)
    for name, data in laid.items():
        files.put(PATHS.consent_dir / f"{name}.toml", data)
    return files


def test_policies_are_read_in_the_order_of_their_names() -> None:
    files = policies(b=POLICY, a=b"schema = 1\ndo_not_track = true\n")
    files.put(PATHS.consent_dir / "README", b"no TOML")
    files.put(PATHS.consent_dir / "c.toml.bak", b"no TOML")
    a, b = "/etc/opanel-agent/consent.d/a.toml", "/etc/opanel-agent/consent.d/b.toml"
    assert read(files) == ConsentReading(
        place="/etc/opanel-agent/consent.toml",
        file=parse(GOOD),
        policies=(parse_policy(b"schema = 1\ndo_not_track = true\n", a), parse_policy(POLICY, b)),
        ignored=("/etc/opanel-agent/consent.d/README", "/etc/opanel-agent/consent.d/c.toml.bak"),
    )


def test_a_faulty_policy_is_told_and_takes_nothing_back_from_the_others() -> None:
    files = policies(a=POLICY, b=POLICY.replace(b"false", b"true"), c=b"schema = 1\ndo_not_track = true\n")
    files.put(PATHS.consent_dir / "d.toml", POLICY, owner=1000)
    reading = read(files)
    assert [policy.place[-6:] for policy in reading.policies] == ["a.toml", "c.toml"]
    assert [(fault.detail, fault.values) for fault in reading.policies_refused] == [
        (
            "consent_policy_grants",
            {"file": "/etc/opanel-agent/consent.d/b.toml", "name": "purposes.crash_reports.allow", "line": 3},
        ),
        ("file_owner", {"file": "/etc/opanel-agent/consent.d/d.toml"}),
    ]
    assert all(fault.code is Reason.CONSENT_REFUSED for fault in reading.policies_refused)
    assert (reading.refused, reading.file) == (None, parse(GOOD))


def test_policies_count_without_a_consent_file() -> None:
    files = policies(a=POLICY)
    files.take_away(PATHS.consent)
    reading = read(files)
    assert (reading.file, reading.refused, len(reading.policies)) == (None, None, 1)


def test_a_directory_that_cannot_be_listed_is_a_fault() -> None:
    def fault(name: str, path: Path) -> None:
        if path == PATHS.consent_dir:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    files = MemoryFiles(fault=fault)
    files.put(PATHS.consent, GOOD)
    reading = read(files)
    (policy_fault,) = reading.policies_refused
    assert (policy_fault.detail, policy_fault.values["file"]) == ("read_failed", "/etc/opanel-agent/consent.d")
    assert reading.in_doubt == (Signal(kind=SignalKind.FILE, what="consent.d", place="/etc/opanel-agent"),)


@pytest.mark.parametrize(
    "name", ["10-fleet.TOML", "fleet.conf", "fleet", "fleet.yaml", "fleet.toml ", "fleet.Toml", "toml", "fleet.json"]
)
def test_a_name_that_may_be_meant_as_a_policy_and_is_none_is_a_fault(name: str) -> None:
    """Nobody knows what the file was meant to deny."""
    files = policies(a=POLICY)
    files.put(PATHS.consent_dir / name, POLICY)
    reading = read(files)
    (fault,) = reading.policies_refused
    assert (fault.code, fault.detail) == (Reason.CONSENT_REFUSED, "policy_name")
    assert fault.values == {"file": str(PATHS.consent_dir / name)}
    assert len(reading.policies) == 1


@pytest.mark.parametrize(
    "name",
    [
        *(
            "README",
            "README.md",
            "readme.txt",
            ".gitkeep",
            ".fleet.toml.swp",
            "fleet.toml~",
            "fleet.toml.bak",
            "lost+found",
        ),
        *(
            "fleet.toml.dpkg-old",
            "fleet.toml.dpkg-dist",
            "fleet.toml.rpmsave",
            "fleet.toml.rpmnew",
            "fleet.toml.disabled",
        ),
        *("fleet.toml.orig", "fleet.toml.old", "fleet.toml.example", "#fleet.toml#"),
    ],
)
def test_a_name_that_was_put_aside_is_ignored_and_said(name: str) -> None:
    files = policies(a=POLICY)
    files.put(PATHS.consent_dir / name, POLICY)
    reading = read(files)
    assert reading.policies_refused == ()
    assert reading.ignored == (str(PATHS.consent_dir / name),)


FSTAB = (
    b"# a comment\nbad line\nnas:/policy  /etc/opanel-agent/consent.d nfs ro 0 0\n/dev/sdb1 /srv ext4 defaults 0 2\n"
)
MOUNTED = b"40 29 0:36 / /etc/opanel-agent/consent.d ro,relatime shared:1 - nfs nas:/policy ro\n"


OTHER_MOUNT = MOUNTED.replace(b"consent.d", b"x")


def test_who_reaches_the_network_reads_nothing_that_tells_the_machine() -> None:
    def fault(step: str, path: Path) -> None:
        assert path not in (Path("/etc/fstab"), Path("/proc/self/mountinfo")), step

    files = MemoryFiles(fault=fault)
    files.put(PATHS.consent, GOOD)
    files.put(Path("/etc/fstab"), FSTAB)
    assert LocalConsents(files, PATHS).read().policies_refused == ()


@pytest.mark.parametrize(("mountinfo", "refused"), [(b"", True), (MOUNTED, False), (OTHER_MOUNT, True)])
def test_a_folder_that_is_to_be_mounted_and_is_not_is_a_fault(mountinfo: bytes, refused: bool) -> None:
    files = policies()
    files.put(Path("/etc/fstab"), FSTAB)
    files.put(Path("/proc/self/mountinfo"), mountinfo)
    faults = [(fault.detail, fault.values) for fault in read(files).policies_refused]
    place = str(PATHS.consent_dir)
    assert faults == ([("folder_unmounted", {"file": place, "mount": place, "named": "/etc/fstab"})] if refused else [])


def test_a_mount_above_the_folder_counts_and_others_do_not() -> None:
    files = policies()
    files.put(
        Path("/etc/fstab"), b"/dev/sda1 / ext4 defaults 0 1\nnone swap swap sw 0 0\nx /etc/opanel\\040agent auto\n"
    )
    assert read(files).policies_refused == ()
    files.put(Path("/etc/fstab"), b"nas:/etc /etc/opanel-agent nfs ro,noauto 0 0\n")
    (fault,) = read(files).policies_refused
    assert (fault.detail, fault.values["mount"]) == ("folder_unmounted", "/etc/opanel-agent")


def test_a_unit_of_systemd_names_a_mount_too() -> None:
    files = policies()
    unit = Path("/etc/systemd/system") / r"etc-opanel\x2dagent-consent.d.mount"
    files.put(unit, b"[Mount]\n")
    (fault,) = read(files).policies_refused
    assert (fault.detail, fault.values["named"]) == ("folder_unmounted", str(unit))
    files.put(Path("/proc/self/mountinfo"), MOUNTED)
    assert read(files).policies_refused == ()


def test_a_policy_that_goes_while_it_is_read_is_none() -> None:
    class Going(MemoryFiles):
        def names(self, directory: Path, *, owners: frozenset[int] | None = None) -> tuple[str, ...]:
            return ("gone.toml",)

    assert read(Going()) == ConsentReading(place="/etc/opanel-agent/consent.toml")


# ---- a refused file must not lose a "no"


@pytest.mark.parametrize("lay", [{"owner": 1000}, {"mode": 0o666}, {"kind": "link"}])
def test_an_opt_out_counts_whoever_wrote_it(lay: dict[str, object]) -> None:
    signal = Signal(kind=SignalKind.SETTING, what="do_not_track", place="/etc/opanel-agent/consent.toml", line=3)
    assert list(read(laid(OPTED_OUT, **lay)).signals()) == [signal]
    assert list(read(laid(GOOD, **lay)).signals()) == []


def test_an_opt_out_beside_a_typing_error_counts() -> None:
    (signal,) = read(laid(OPTED_OUT + b"x = 1\n")).signals()
    assert (signal.what, signal.line) == ("do_not_track", 3)
    files = policies(a=b"schema = 1\ndo_not_track = true\nx = 1\n")
    (signal,) = read(files).signals()
    assert (signal.place, signal.line) == ("/etc/opanel-agent/consent.d/a.toml", 2)


@pytest.mark.parametrize(
    "lay", [{"kind": "fifo"}, {"kind": "dir"}, {"data": b"#" * 70_000}, {"data": b"", "kind": "link"}]
)
def test_what_cannot_be_read_may_say_it(lay: dict[str, object]) -> None:
    assert list(read(laid(**lay)).signals()) == [UNREAD]  # type: ignore[arg-type]


# ---- on a real disk


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "above" / "opanel-agent"
    directory.mkdir(parents=True, mode=0o755)
    (directory / "consent.toml").write_bytes(GOOD)
    (directory / "consent.toml").chmod(0o644)
    return directory


def on_disk(home: Path, *, owner: int | None = None) -> ConsentReading:
    paths = Paths(
        system=False,
        owner=os.geteuid() if owner is None else owner,
        config_dir=home,
        state_dir=home,
        runtime_dir=home,
    )
    return LocalConsents(LocalFiles(), paths).read()


def test_a_good_file_on_a_disk_is_read(home: Path) -> None:
    (home / "consent.d").mkdir()
    (home / "consent.d" / "fleet.toml").write_bytes(POLICY)
    (home / "consent.d" / "fleet.toml").chmod(0o644)
    reading = on_disk(home)
    assert (reading.file, reading.faults()) == (parse(GOOD), ())
    assert reading.policies == (parse_policy(POLICY, str(home / "consent.d" / "fleet.toml")),)


def test_no_directory_is_no_answer(tmp_path: Path) -> None:
    assert on_disk(tmp_path / "none") == ConsentReading(place=str(tmp_path / "none" / "consent.toml"))


def link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "detail", "at"),
    [
        (lambda path: path.chmod(0o664), "file_writable", "consent.toml"),
        (lambda path: path.chmod(0o646), "file_writable", "consent.toml"),
        (lambda path: path.parent.chmod(0o775), "file_writable", ""),
        (lambda path: path.parent.chmod(0o757), "file_writable", ""),
        (lambda path: path.parent.parent.chmod(0o777), "file_writable", ".."),
        (link, "file_type", "consent.toml"),
        (dangling, "file_type", "consent.toml"),
        (fifo, "file_type", "consent.toml"),
        (directory, "file_type", "consent.toml"),
        (lambda path: path.write_bytes(GOOD + b"#" * 64 * 1024), "file_size", "consent.toml"),
        (lambda path: path.write_bytes(b"\xff"), "toml_utf8", "consent.toml"),
        (lambda path: path.write_bytes(GOOD + b"x = 1"), "toml_unknown", "consent.toml"),
    ],
)
def test_what_is_wrong_on_a_disk_is_told_with_its_place(
    home: Path, spoil: Callable[[Path], object], detail: str, at: str
) -> None:
    spoil(home / "consent.toml")
    found, file, _ = refusal(on_disk(home))
    assert (found, file) == (detail, str((home / at).resolve() if at != "consent.toml" else home / at))


def test_another_owner_s_file_is_refused(home: Path) -> None:
    assert refusal(on_disk(home, owner=os.geteuid() + 1))[0] == "file_owner"


def test_a_fifo_that_others_write_to_is_not_waited_for(home: Path) -> None:
    (home / "consent.d").mkdir()
    os.mkfifo(home / "consent.d" / "a.toml")
    writer = os.open(home / "consent.d" / "a.toml", os.O_RDWR | os.O_NONBLOCK)
    try:
        (fault,) = on_disk(home).policies_refused
    finally:
        os.close(writer)
    assert fault.detail == "file_type"


def test_an_unreadable_file_on_a_disk_is_refused(home: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (home / "consent.toml").chmod(0)
    assert refusal(on_disk(home))[0] == "read_failed"


def test_a_policy_directory_that_is_none_is_a_fault(home: Path) -> None:
    (home / "consent.d").write_bytes(b"")
    (fault,) = on_disk(home).policies_refused
    assert isinstance(fault, Misconfigured)
    assert (fault.code, fault.detail) == (Reason.CONSENT_REFUSED, "read_failed")


# ---- consent.d on this machine's disk


@pytest.fixture
def disk(tmp_path: Path) -> Paths:
    paths = Paths(
        system=False, owner=os.getuid(), config_dir=tmp_path / "c", state_dir=tmp_path / "s", runtime_dir=tmp_path
    )
    paths.config_dir.mkdir(mode=0o755)
    return paths


def faults(paths: Paths) -> list[tuple[str, object]]:
    reading = LocalConsents(LocalFiles(), paths).read()
    return [(fault.detail, fault.values["file"]) for fault in reading.policies_refused]


def test_no_folder_and_an_empty_one_are_no_policies(disk: Paths) -> None:
    assert faults(disk) == []
    disk.consent_dir.mkdir(mode=0o755)
    assert faults(disk) == []


def test_a_folder_that_is_a_link_to_nowhere_is_a_fault(disk: Paths, tmp_path: Path) -> None:
    """The policy was there until what it points to was not mounted, or went away."""
    target = tmp_path / "policies"
    disk.consent_dir.symlink_to(target)
    assert faults(disk) == [("folder_dangling", str(disk.consent_dir))]
    target.mkdir(mode=0o755)
    assert faults(disk) == []
    (target / "a.toml").write_bytes(POLICY)
    (target / "a.toml").chmod(0o644)
    assert len(LocalConsents(LocalFiles(), disk).read().policies) == 1


def test_a_folder_that_others_may_write_is_a_fault(disk: Paths) -> None:
    """Whoever may write it may take a policy away."""
    disk.consent_dir.mkdir()
    disk.consent_dir.chmod(0o777)
    assert faults(disk) == [("file_writable", str(disk.consent_dir))]


def test_a_circle_of_links_is_a_fault(disk: Paths) -> None:
    disk.consent_dir.symlink_to(disk.consent_dir)
    assert [detail for detail, _ in faults(disk)] == ["folder_dangling"]


@pytest.mark.parametrize("kind", ["dangling", "folder", "fifo"])
def test_a_policy_that_is_no_file_is_a_fault(disk: Paths, kind: str) -> None:
    disk.consent_dir.mkdir(mode=0o755)
    policy = disk.consent_dir / "a.toml"
    match kind:
        case "dangling":
            policy.symlink_to("gone")
        case "folder":
            policy.mkdir()
        case _:
            os.mkfifo(policy)
    assert faults(disk) == [("file_type", str(policy))]
