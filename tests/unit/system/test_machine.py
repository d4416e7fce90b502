"""What tells this machine apart is found where it is kept, is absent where it is not, and nothing else is looked at."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.simulated.fake_machine import FULL, FakeMachine
from opanel_agent.system.machine import LocalMachine, app_specific

MACHINE_ID = "0123456789abcdef0123456789abcdef"
UUID = "3b1f0d6e-5d5e-4a53-9a56-0c2a7d1e9f10"


class Layout:
    """The few files of /proc, /sys, /run and /etc that a machine shows, in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str, content: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(self.root / target)

    def mounted(self, device: str, source: str = "/dev/sda1", *, on: str = "/") -> None:
        """One more line of mountinfo, with an optional field as shared mounts have it."""
        file = self.root / "proc/self/mountinfo"
        before = file.read_text() if file.exists() else "22 1 0:21 / /proc rw - proc proc rw\n"
        self.text("proc/self/mountinfo", f"{before}25 1 {device} / {on} rw,relatime shared:1 - ext4 {source} rw\n")

    def disk(self, name: str, device: str, **files: str) -> None:
        self.text(f"sys/devices/{name}/dev", device + "\n")
        for file, content in files.items():
            self.text(f"sys/devices/{name}/{file.replace('__', '/')}", content)
        self.link(f"sys/dev/block/{device}", f"sys/devices/{name}")

    def partition(self, disk: str, name: str, device: str) -> None:
        self.text(f"sys/devices/{disk}/{name}/dev", device + "\n")
        self.text(f"sys/devices/{disk}/{name}/partition", "1\n")
        self.link(f"sys/dev/block/{device}", f"sys/devices/{disk}/{name}")
        self.link(f"sys/class/block/{name}", f"sys/devices/{disk}/{name}")

    def found(self, **environ: str) -> dict[str, str]:
        return dict(LocalMachine(environ, self.root).components().found)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_a_whole_machine(layout: Layout) -> None:
    layout.text("etc/machine-id", MACHINE_ID + "\n")
    layout.disk("sda", "8:0", device__wwid="naa.5000c500a1b2c3d4\n")
    layout.partition("sda", "sda1", "8:1")
    layout.mounted("8:1")
    layout.text("run/udev/data/b8:1", f"S:disk/by-uuid/{UUID}\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID={UUID}\nG:systemd\n")
    layout.text("sys/class/dmi/id/product_uuid", "8E3C1F7A-2B4D-4C6E-9A1B-5D7F9E0C2A4B\n")
    layout.text("var/lib/cloud/data/instance-id", "i-0abc123\n")
    assert layout.found() == {
        "machine_id": app_specific(bytes.fromhex(MACHINE_ID)),
        "root_fs_uuid": UUID,
        "dmi_product_uuid": "8E3C1F7A-2B4D-4C6E-9A1B-5D7F9E0C2A4B",
        "boot_disk": "naa.5000c500a1b2c3d4",
        "cloud_instance_id": "i-0abc123",
    }


def test_a_machine_that_tells_nothing(layout: Layout) -> None:
    assert layout.found() == {}


def test_this_machine_is_read_without_an_error() -> None:
    found = LocalMachine(os.environ).components().found
    assert set(found) <= set(FULL)
    assert all(found.values())


# the machine id


def test_the_derivation_is_systemds() -> None:
    """`systemd-id128 machine-id --app-specific=6f1f7c1e9b0d4c5a8f0e3a52c9d47b61` of systemd 252, on 2026-11-24."""
    assert app_specific(bytes.fromhex("3d1219c7c4c5404aaa1f6d2a48adfda4")) == "26ac5deca5cd44658a9fc3f2c2a3e1ca"


@pytest.mark.parametrize(
    "content", ["", "\n", "uninitialized\n", MACHINE_ID.upper(), MACHINE_ID[:31], MACHINE_ID + "0", b"\xff" * 32]
)
def test_what_is_no_machine_id_is_none(layout: Layout, content: str | bytes) -> None:
    layout.text("etc/machine-id", content)
    assert layout.found() == {}


def test_the_raw_machine_id_is_not_told(layout: Layout) -> None:
    layout.text("etc/machine-id", MACHINE_ID)
    assert MACHINE_ID not in layout.found().values()


# the file system at /


def test_the_mount_on_top_counts(layout: Layout) -> None:
    layout.mounted("0:2", "rootfs")
    layout.mounted("8:1")
    layout.mounted("8:2", on="/home")
    layout.text("run/udev/data/b8:1", f"E:ID_FS_UUID={UUID}\n")
    layout.text("run/udev/data/b8:2", "E:ID_FS_UUID=other\n")
    assert layout.found() == {"root_fs_uuid": UUID}


def test_without_udev_the_links_tell(layout: Layout) -> None:
    layout.disk("vda", "254:0", serial="")
    layout.partition("vda", "vda1", "254:1")
    layout.mounted("254:1")
    layout.link("dev/disk/by-uuid/0000-1111", "dev/vda2")
    layout.link(f"dev/disk/by-uuid/{UUID}", "dev/vda1")
    assert layout.found() == {"root_fs_uuid": UUID}


def test_btrfs_is_found_by_its_source(layout: Layout) -> None:
    layout.disk("sda", "8:0")
    layout.partition("sda", "sda2", "8:2")
    layout.mounted("0:31", "/dev/sda2")
    layout.text("run/udev/data/b8:2", f"E:ID_FS_UUID={UUID}\n")
    assert layout.found()["root_fs_uuid"] == UUID


@pytest.mark.parametrize("source", ["overlay", "tmpfs", "/dev/mapper/nowhere", ""])
def test_a_root_without_a_device_has_none(layout: Layout, source: str) -> None:
    layout.mounted("0:45", source)
    layout.text("run/udev/data/b0:45", f"E:ID_FS_UUID={UUID}\n")
    assert layout.found() == {}


@pytest.mark.parametrize("content", ["25 1 8:1 / / rw", "25 1", "\n\n", b"\xff"])
def test_an_odd_mountinfo_has_none(layout: Layout, content: str | bytes) -> None:
    layout.text("proc/self/mountinfo", content)
    layout.text("run/udev/data/b8:1", f"E:ID_FS_UUID={UUID}\n")
    assert layout.found() == {}


# DMI


def test_the_credential_is_asked_first(layout: Layout, tmp_path: Path) -> None:
    layout.text("sys/class/dmi/id/product_uuid", "from-sysfs")
    layout.text("credentials/product_uuid", "from-systemd\n")
    assert layout.found(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")) == {"dmi_product_uuid": "from-systemd"}


@pytest.mark.parametrize("content", ["absent", "absent\n", ""])
def test_an_absent_credential_is_final(layout: Layout, tmp_path: Path, content: str) -> None:
    layout.text("sys/class/dmi/id/product_uuid", "from-sysfs")
    layout.text("credentials/product_uuid", content)
    assert layout.found(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")) == {}


# the disk


def _scsi(layout: Layout) -> None:
    layout.disk("sda", "8:0", device__wwid="naa.1\n", device__serial="S\n")
    layout.partition("sda", "sda1", "8:1")
    layout.mounted("8:1")


def _nvme(layout: Layout) -> None:
    layout.disk("nvme0n1", "259:0", wwid="naa.1", device__serial="S")
    layout.partition("nvme0n1", "nvme0n1p1", "259:1")
    layout.mounted("259:1")


def _virtio_without_partitions(layout: Layout) -> None:
    layout.disk("vda", "254:0", serial="naa.1")
    layout.mounted("254:0")


def _lvm(layout: Layout) -> None:
    layout.disk("sda", "8:0", device__wwid="naa.1")
    layout.partition("sda", "sda3", "8:3")
    layout.disk("dm-0", "253:0")
    layout.link("sys/devices/dm-0/slaves/sda3", "sys/devices/sda/sda3")
    layout.mounted("253:0")


def _raid(layout: Layout) -> None:
    layout.disk("sda", "8:0", device__wwid="naa.2")
    layout.disk("sdb", "8:16", device__wwid="naa.1")
    layout.disk("md0", "9:0")
    layout.link("sys/devices/md0/slaves/sda", "sys/devices/sda")
    layout.link("sys/devices/md0/slaves/sdb", "sys/devices/sdb")
    layout.mounted("9:0")


def _only_udev_knows(layout: Layout) -> None:
    layout.disk("sda", "8:0")
    layout.mounted("8:0")
    layout.text("run/udev/data/b8:0", "E:ID_MODEL=X\nE:ID_SERIAL_SHORT=naa.1\n")


@pytest.mark.parametrize("lay", [_virtio_without_partitions, _lvm, _only_udev_knows])
def test_the_disk_below_the_root_is_named(layout: Layout, lay: Callable[[Layout], None]) -> None:
    lay(layout)
    assert layout.found() == {"boot_disk": "naa.1"}


@pytest.mark.parametrize(
    ("lay", "names"), [(_scsi, ["naa.1", "S"]), (_nvme, ["S", "naa.1"]), (_raid, ["naa.1", "naa.2"])]
)
def test_every_name_of_every_disk_is_told_what_is_known_to_stay_first(
    layout: Layout, lay: Callable[[Layout], None], names: list[str]
) -> None:
    lay(layout)
    assert list(layout.found().values()) == names
    assert list(layout.found()) == ["boot_disk", "boot_disk_2"]


def test_a_disk_without_a_name_has_none(layout: Layout) -> None:
    layout.disk("vda", "254:0", serial="\n")
    layout.mounted("254:0")
    assert layout.found() == {}


def test_the_fake_tells_what_it_is_told() -> None:
    machine = FakeMachine()
    machine.parts["boot_disk"] = "another"
    assert machine.components().found == {**FULL, "boot_disk": "another"}
    assert FULL["boot_disk"] != "another"


def test_a_machine_id_that_lasts_one_boot_is_none(layout: Layout) -> None:
    layout.text("etc/machine-id", MACHINE_ID + "\n")
    layout.mounted("8:1")
    assert "machine_id" in layout.found()
    layout.text("proc/self/mountinfo", "61 29 0:24 /machine-id /etc/machine-id ro - tmpfs tmpfs rw\n")
    assert "machine_id" not in layout.found()
    layout.text("proc/self/mountinfo", "61 29 8:1 /id /etc/machine-id ro - ext4 /dev/sda1 rw\n")
    assert "machine_id" in layout.found(), "a file that an administrator mounts there stays"


def test_a_pool_is_found_by_what_udev_read_on_its_members(layout: Layout) -> None:
    layout.text("proc/self/mountinfo", "29 1 0:28 / / rw - zfs rpool/ROOT/debian rw\n")
    for number, name in (("8:0", "sda"), ("8:16", "sdb"), ("8:32", "sdc")):
        layout.disk(name, number, device__wwid=f"naa.5000c500a1b2c3d{number[-1]}\n")
        label = "rpool" if name < "sdc" else "backup"
        layout.text(
            f"run/udev/data/b{number}", f"E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL={label}\nE:ID_FS_UUID=112233\n"
        )
    assert layout.found() == {
        "root_fs_uuid": "112233",
        "boot_disk": "naa.5000c500a1b2c3d0",
        "boot_disk_2": "naa.5000c500a1b2c3d6",
    }


def test_btrfs_on_a_mapped_device_is_found_by_its_name(layout: Layout) -> None:
    layout.text("proc/self/mountinfo", "29 1 0:25 / / rw - btrfs /dev/mapper/luks-root rw\n")
    layout.disk("sda", "8:0", device__wwid="naa.5000c500a1b2c3d4\n")
    layout.disk("dm-0", "254:0", dm__name="luks-root\n")
    layout.link("sys/devices/dm-0/slaves/sda", "sys/devices/sda")
    layout.link("sys/class/block/dm-0", "sys/devices/dm-0")
    layout.text("run/udev/data/b254:0", f"E:ID_FS_UUID={UUID}\n")
    assert layout.found() == {"root_fs_uuid": UUID, "boot_disk": "naa.5000c500a1b2c3d4"}


def test_udev_tells_what_the_kernel_does_not_and_one_number_counts_once(layout: Layout) -> None:
    layout.disk("sda", "8:0", device__wwid="naa.5000c500a1b2c3d4\n")
    layout.mounted("8:0", "/dev/sda")
    layout.text("run/udev/data/b8:0", "E:ID_SERIAL_SHORT=ZA1B2C3D\nE:ID_WWN=0x5000c500a1b2c3d4\n")
    assert layout.found() == {"boot_disk": "naa.5000c500a1b2c3d4", "boot_disk_2": "ZA1B2C3D"}
