"""What administrators, firmware, hypervisors and kernels change under a server that stays the same.

A kind lays a machine, is bound to it, lets its change happen and is matched again, on the product's own reading and
matching. `SAME` goes on as if nothing had happened. For `ACTIVATE` nothing platform-borne is left of what was bound, so the
server has its period of grace and is told to activate here; a copied disk is such a one, and cannot be told from it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.license import binding
from opanel_agent.core.license.binding import Match
from opanel_agent.system.machine import LocalMachine

SALT: Final = bytes(range(16))
KEY: Final = "nqD5d0xGkI1w3m0cQm7xVq2T4e8YbH6sLrUuWzJfA9o"
OTHER_KEY: Final = "aaD5d0xGkI1w3m0cQm7xVq2T4e8YbH6sLrUuWzJfA9o"
UUID: Final = "8f1f6f0a-3a60-4f1c-9f10-9d3b1f6a7c11"
DMI: Final = "3f9c2b10-7a41-11ee-8000-7cc255106b08"
OTHER_DMI: Final = "a1b2c3d4-7a41-11ee-8000-7cc255106b09"
NAA, OTHER_NAA = "naa.5000c500a1b2c3d4", "naa.5000c500ffeeddcc"
EUI, OTHER_EUI, NEW_EUI = "eui.0025385b21404d11", "eui.0025385b21404e7c", "eui.0025385b2140aa02"


class Host:
    """A machine as its files show it, in an empty folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = KEY
        self.text("etc/machine-id", "4c5f0d1e8a7b4c3d9e2f1a0b5c6d7e8f")
        self.text("etc/hostname", "server1")

    def text(self, path: str, content: str | None) -> None:
        file = self.root / path
        file.unlink(missing_ok=True)
        if content is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content + "\n")

    def link(self, path: str, target: Path) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)

    def dmi(self, uuid: str | None) -> None:
        self.text("sys/class/dmi/id/product_uuid", uuid)

    def block(self, name: str, number: str, below: tuple[str, ...] = (), **names: str | None) -> None:
        """A disk with its names, or a device that is stacked on others."""
        place = self.root / "sys/devices" / name
        self.text(f"sys/devices/{name}/dev", number)
        for attribute, value in names.items():
            self.text(f"sys/devices/{name}/{attribute.replace('__', '/')}", value)
        for old in (place / "slaves").glob("*"):
            old.unlink()
        for each in below:
            self.link(f"sys/devices/{name}/slaves/{each}", self.root / "sys/devices" / each)
        self.link(f"sys/dev/block/{number}", place)
        self.link(f"sys/class/block/{name}", place)

    def udev(self, number: str, **properties: str) -> None:
        self.text(f"run/udev/data/b{number}", "\n".join(f"E:{name}={value}" for name, value in properties.items()))

    def mount(self, number: str, source: str, fs_type: str = "ext4", *more: str) -> None:
        self.text("proc/self/mountinfo", "\n".join([f"29 1 {number} / / rw shared:1 - {fs_type} {source} rw", *more]))

    def components(self) -> dict[str, str]:
        return dict(binding.normalize({**LocalMachine({}, self.root).components().found, "agent_key": self.key}))

    def unread(self) -> frozenset[str]:
        return frozenset(LocalMachine({}, self.root).components().unread)


def plain(host: Host) -> None:
    """A dedicated server: DMI, one disk with a world wide name, ext4."""
    host.dmi(DMI)
    host.block("sda", "8:0", device__wwid=NAA)
    host.udev("8:0", ID_FS_UUID=UUID)
    host.mount("8:0", "/dev/sda")


def disk_only(host: Host) -> None:
    """A guest that shows no DMI: its disk alone is platform-borne."""
    plain(host)
    host.dmi(None)


def dmi_only(host: Host) -> None:
    """A guest whose virtual disk has no serial: the product UUID alone is platform-borne."""
    plain(host)
    host.block("sda", "8:0", device__wwid=None)


def raid(host: Host) -> None:
    """Two NVMe disks in an array below /, without DMI."""
    host.block("nvme0n1", "259:0", wwid=EUI)
    host.block("nvme1n1", "259:1", wwid=OTHER_EUI)
    host.block("md2", "9:2", ("nvme0n1", "nvme1n1"))
    host.udev("9:2", ID_FS_UUID=UUID)
    host.mount("9:2", "/dev/md2")


def nvme(host: Host) -> None:
    host.block("nvme0n1", "259:0", serial="S6B0NL0W123456", wwid=EUI)
    host.udev("259:0", ID_FS_UUID=UUID)
    host.mount("259:0", "/dev/nvme0n1")


def pool(host: Host) -> None:
    """ZFS over two disks, without DMI."""
    for name, number, wwid in (("sda", "8:0", NAA), ("sdb", "8:16", OTHER_NAA)):
        host.block(name, number, device__wwid=wwid)
        host.udev(number, ID_FS_TYPE="zfs_member", ID_FS_LABEL="rpool", ID_FS_UUID="1122334455667788990")
    host.mount("0:28", "rpool/ROOT/debian", "zfs")


def mirror_of_btrfs(host: Host) -> None:
    """Btrfs over two disks, without DMI."""
    for name, number, wwid in (("sda", "8:0", NAA), ("sdb", "8:16", OTHER_NAA)):
        host.block(name, number, device__wwid=wwid)
        host.udev(number, ID_FS_UUID=UUID)
        host.link(f"sys/fs/btrfs/{UUID}/devices/{name}", host.root / "sys/devices" / name)
    host.mount("0:25", "/dev/sda", "btrfs")


def logical_volume(host: Host) -> None:
    """LVM on a partition, without DMI."""
    host.block("sda", "8:0", device__wwid=NAA)
    host.text("sys/devices/sda/sda3/partition", "3")
    host.block("dm-0", "254:0", dm__name="vg0-root")
    host.link("sys/devices/dm-0/slaves/sda3", host.root / "sys/devices/sda/sda3")
    host.udev("254:0", ID_FS_UUID=UUID)
    host.mount("254:0", "/dev/mapper/vg0-root")


def virtio(host: Host) -> None:
    """A KVM guest: DMI, a virtio disk without a serial."""
    host.dmi(DMI)
    host.block("vda", "252:0", serial=None)
    host.udev("252:0", ID_FS_UUID=UUID)
    host.mount("252:0", "/dev/vda")


def xen(host: Host) -> None:
    """A paravirtual Xen guest: no DMI, a disk without a name."""
    host.block("xvda", "202:0")
    host.udev("202:0", ID_FS_UUID=UUID)
    host.mount("202:0", "/dev/xvda")


def scsi_in_a_cloud(host: Host) -> None:
    """A guest whose disk names are what QEMU gives to each of its guests: the product UUID alone is platform-borne."""
    plain(host)
    host.block("sda", "8:0", device__wwid="t10.QEMU    QEMU HARDDISK   drive-scsi0", device__serial="drive-scsi0")


def placeholders(host: Host) -> None:
    """A cheap board whose maker set no UUID, and a disk with a name of its own."""
    plain(host)
    host.dmi("03000200-0400-0500-0006-000700080009")


def container(host: Host) -> None:
    host.mount("0:55", "overlay", "overlay")


def container_on_a_volume(host: Host) -> None:
    """A container on a logical volume of its host: sysfs names the disks of the host below it."""
    host.block("sda", "8:0", device__wwid=NAA)
    host.block("dm-7", "254:7", ("sda",), dm__name="pve-vm--107--disk--0")
    host.mount("254:7", "/dev/mapper/pve-vm--107--disk--0")
    host.text("run/systemd/container", "lxc")


# ---- changes


def btrfs_member_replaced(host: Host) -> None:
    """The mount names the other disk then, and the first is a new one."""
    host.block("sda", "8:0", device__wwid="naa.5000c50011112222")
    host.mount("0:25", "/dev/sdb", "btrfs")


def order_of_disks_changed(host: Host) -> None:
    """A disk was added while the server ran, and is the first one after the boot."""
    host.block("sdb", "8:16", device__wwid=NAA)
    host.udev("8:16", ID_FS_UUID=UUID)
    host.block("sda", "8:0", device__wwid=OTHER_NAA)
    host.udev("8:0", ID_FS_UUID="00000000-1111-4222-8333-444444444444")
    host.mount("8:16", "/dev/sdb")


def encrypted_below(host: Host) -> None:
    """Cryptsetup reencrypt: the same file system on a mapped device, the disk below it."""
    host.block("dm-0", "254:0", ("sda",), dm__name="root")
    host.udev("254:0", ID_FS_UUID=UUID)
    host.mount("254:0", "/dev/mapper/root")


def multipath_added(host: Host) -> None:
    host.block("sdb", "8:16", device__wwid=NAA)
    host.block("dm-0", "254:0", ("sda", "sdb"), dm__name="mpatha")
    host.udev("254:0", ID_FS_UUID=UUID)
    host.mount("254:0", "/dev/mapper/mpatha")


def moved_to_a_new_disk(host: Host) -> None:
    """pvmove, or a copy to a larger disk: new hardware below the same server."""
    host.block("sda", "8:0", device__wwid=OTHER_NAA)


def copied_to_a_new_file_system(host: Host) -> None:
    moved_to_a_new_disk(host)
    host.udev("8:0", ID_FS_UUID="00000000-1111-4222-8333-444444444444")


def transient_machine_id(host: Host) -> None:
    host.text("etc/machine-id", "00112233445566778899aabbccddeef0")
    host.mount("8:0", "/dev/sda", "ext4", "61 29 0:24 /machine-id /etc/machine-id ro - tmpfs tmpfs rw")


def nothing_of_ours(host: Host) -> None:
    """What is never read: names, addresses, security chips, control groups, the kernel's release."""
    host.text("etc/hostname", "server2.example")
    host.text("sys/class/net/eth0/address", "52:54:00:aa:bb:cc")
    host.text("sys/class/net/eth1/address", "52:54:00:11:22:33")
    host.text("sys/class/tpm/tpm0/tpm_version_major", "2")
    host.text("sys/firmware/efi/efivars/SecureBoot-8be4df61", "1")
    host.text("proc/self/cgroup", "0::/system.slice/opanel-agent.service")


def renumbered(host: Host) -> None:
    host.block("nvme0n1", "259:0", wwid=OTHER_EUI)
    host.block("nvme1n1", "259:1", wwid=EUI)


def cloned_by_a_template_tool(host: Host) -> None:
    """What virt-sysprep and `cloud-init clean` draw anew in a guest that goes on as the same."""
    host.text("etc/machine-id", "ffeeddccbbaa99887766554433221100")
    host.text("var/lib/cloud/data/instance-id", "iid-9f8e7d6c")


def behind_a_usb_bridge(host: Host) -> None:
    """The bridge tells a name of its own; udev still reads the disk's serial (ata_id)."""
    host.block("sda", "8:0", device__wwid="t10.JMicron Generic DISK00  0123456789ABCDEF")
    host.udev("8:0", ID_FS_UUID=UUID, ID_SERIAL_SHORT="ZA1B2C3D")


def sys_hidden(host: Host) -> None:
    """A container or a sandbox that shows nothing below /sys and no database of udev."""
    host.dmi(None)
    for link in (*host.root.glob("sys/dev/block/*"), *host.root.glob("run/udev/data/*")):
        link.unlink()


def xen_to_kvm(host: Host) -> None:
    host.dmi(DMI)
    host.block("vda", "252:0")
    host.udev("252:0", ID_FS_UUID=UUID)
    host.mount("252:0", "/dev/vda")


def another_host_below(host: Host) -> None:
    host.block("sda", "8:0", device__wwid=OTHER_NAA)


def other_board_of_the_same_maker(host: Host) -> None:
    """A copied disk's new home: placeholders as before, and another disk."""
    host.block("sda", "8:0", device__wwid=OTHER_NAA)


def whole_new_machine(host: Host) -> None:
    host.dmi(OTHER_DMI)
    host.block("sda", "8:0", device__wwid=OTHER_NAA)


def reinstalled(host: Host) -> None:
    """Another installation on the same hardware: it shows nothing of the disk's own parts."""
    host.key = OTHER_KEY
    host.text("etc/machine-id", "ffeeddccbbaa99887766554433221100")
    host.udev("8:0", ID_FS_UUID="00000000-1111-4222-8333-444444444444")


Change = Callable[[Host], None]


class Kind(NamedTuple):
    """A machine, what changes under it, and whether it is the same machine afterwards."""

    lay: Change
    change: Change
    same: bool = True


def _all(*changes: Change) -> Change:
    def each(host: Host) -> None:
        for change in changes:
            change(host)

    return each


def _wwid(value: str, name: str = "sda", number: str = "8:0") -> Change:
    return lambda host: host.block(name, number, device__wwid=value)


KINDS: Final[dict[str, Kind]] = {
    "first member of an array replaced": Kind(raid, lambda host: host.block("nvme0n1", "259:0", wwid=NEW_EUI)),
    "second member of an array replaced": Kind(raid, lambda host: host.block("nvme1n1", "259:1", wwid=NEW_EUI)),
    "NVMe disks renumbered": Kind(raid, renumbered),
    "array degraded to one member": Kind(raid, lambda host: host.block("md2", "9:2", ("nvme1n1",))),
    "ZFS member replaced": Kind(pool, _wwid("naa.5000c50011112222")),
    "ZFS pool grown by a disk": Kind(pool, lambda host: host.block("sdc", "8:32", device__wwid="naa.5000c50011112222")),
    "btrfs member replaced": Kind(mirror_of_btrfs, btrfs_member_replaced),
    "a hot-added disk comes first": Kind(disk_only, order_of_disks_changed),
    "disk behind another controller": Kind(
        disk_only,
        _all(
            lambda host: host.block("vda", "252:0", serial="5000c500a1b2c3d4"),
            lambda host: host.mount("252:0", "/dev/vda"),
        ),
    ),
    "encrypted below": Kind(disk_only, encrypted_below),
    "a second path to the disk": Kind(disk_only, multipath_added),
    "the kernel writes the world wide name otherwise": Kind(disk_only, _wwid("0x5000C500A1B2C3D4")),
    "scsi_id's prefix": Kind(disk_only, _wwid("35000c500a1b2c3d4")),
    "the kernel tells the disk's model instead of its name": Kind(
        _all(disk_only, lambda host: host.udev("8:0", ID_FS_UUID=UUID, ID_SERIAL_SHORT="ZA1B2C3D")),
        _wwid("t10.ATA     ST4000NM0035-1V4107  ZA1B2C3D"),
    ),
    "udev tells the name that the kernel told": Kind(
        disk_only,
        _all(
            lambda host: host.block("sda", "8:0", device__wwid=None),
            lambda host: host.udev("8:0", ID_FS_UUID=UUID, ID_WWN="0x5000c500a1b2c3d4"),
        ),
    ),
    "an NVMe disk's bogus name is dropped by a quirk": Kind(
        nvme, lambda host: host.block("nvme0n1", "259:0", serial="S6B0NL0W123456", wwid="nvme.144d-5336-00000001")
    ),
    "mainboard replaced": Kind(plain, lambda host: host.dmi(OTHER_DMI)),
    "firmware that forgot its UUID": Kind(plain, lambda host: host.dmi("03000200-0400-0500-0006-000700080009")),
    "DMI readable no more": Kind(plain, lambda host: host.dmi(None)),
    "UUID in the other byte order": Kind(dmi_only, lambda host: host.dmi("102B9C3F-417A-EE11-8000-7CC255106B08")),
    "UUID in capitals": Kind(dmi_only, lambda host: host.dmi(DMI.upper())),
    "moved to a new disk": Kind(plain, moved_to_a_new_disk),
    "copied to a new file system on a new disk": Kind(plain, copied_to_a_new_file_system),
    "machine id drawn anew": Kind(
        disk_only, lambda host: host.text("etc/machine-id", "ffeeddccbbaa99887766554433221100")
    ),
    "template tool run by mistake": Kind(plain, cloned_by_a_template_tool),
    "file system UUID drawn anew": Kind(
        disk_only, lambda host: host.udev("8:0", ID_FS_UUID="00000000-1111-4222-8333-444444444444")
    ),
    "file system UUID drawn anew in a guest without disk names": Kind(
        virtio, lambda host: host.udev("252:0", ID_FS_UUID="00000000-1111-4222-8333-444444444444")
    ),
    "logical volume moved to a second disk as well": Kind(
        logical_volume,
        _all(
            lambda host: host.block("sdb", "8:16", device__wwid=OTHER_NAA),
            lambda host: host.link("sys/devices/dm-0/slaves/sdb", host.root / "sys/devices/sdb"),
        ),
    ),
    "logical volume renamed": Kind(
        logical_volume,
        _all(
            lambda host: host.text("sys/devices/dm-0/dm/name", "vg1-root"),
            lambda host: host.mount("254:0", "/dev/mapper/vg1-root"),
        ),
    ),
    "snapshots and subvolumes below the root": Kind(
        mirror_of_btrfs, lambda host: host.mount("0:31", "/dev/sda", "btrfs", "40 29 0:31 /@home /home rw - btrfs - rw")
    ),
    "NVMe firmware that pads and capitalizes": Kind(
        nvme, lambda host: host.block("nvme0n1", "259:0", serial="  s6b0nl0w123456      ", wwid="EUI.0025385B21404D11")
    ),
    "NVMe disk that the kernel moved below a subsystem": Kind(
        nvme, lambda host: host.block("nvme0n1", "259:0", serial=None, wwid=None, device__serial="S6B0NL0W123456")
    ),
    "disk behind a USB bridge": Kind(
        _all(disk_only, lambda host: host.udev("8:0", ID_FS_UUID=UUID, ID_SERIAL_SHORT="ZA1B2C3D")), behind_a_usb_bridge
    ),
    "guest moved to another host of the hypervisor": Kind(scsi_in_a_cloud, nothing_of_ours),
    "guest resized": Kind(virtio, lambda host: host.text("proc/meminfo", "MemTotal: 33554432 kB")),
    "virtio disk that became a SCSI disk": Kind(
        virtio,
        _all(
            lambda host: host.block("sda", "8:0", device__wwid="0QEMU    QEMU HARDDISK   drive-scsi0"),
            lambda host: host.udev("8:0", ID_FS_UUID=UUID),
            lambda host: host.mount("8:0", "/dev/sda"),
        ),
    ),
    "Xen guest that became a KVM guest": Kind(xen, xen_to_kvm),
    "UUID in the other byte order, as a hypervisor's upgrade of virtual hardware writes it": Kind(
        scsi_in_a_cloud, lambda host: host.dmi("102b9c3f-417a-ee11-8000-7cc255106b08")
    ),
    "firmware that begins to tell a UUID": Kind(placeholders, lambda host: host.dmi(DMI)),
    "firmware that wrote a placeholder, in the other byte order": Kind(
        placeholders, lambda host: host.dmi("00020003-0004-0005-0006-000700080009")
    ),
    "rescue kernel started by kexec, which shows no DMI": Kind(plain, lambda host: host.dmi(None)),
    "machine id uninitialized": Kind(disk_only, lambda host: host.text("etc/machine-id", "uninitialized")),
    "machine id gone": Kind(disk_only, lambda host: host.text("etc/machine-id", None)),
    "machine id of this boot alone": Kind(disk_only, transient_machine_id),
    "instance id drawn anew": Kind(
        _all(plain, lambda host: host.text("var/lib/cloud/data/instance-id", "i-0abc1234def567890")),
        lambda host: host.text("var/lib/cloud/data/instance-id", "i-0fff1234def567890"),
    ),
    "names, addresses, control groups, TPM, secure boot": Kind(plain, nothing_of_ours),
    "container on another host": Kind(container, nothing_of_ours),
    "container without the id of its host's disk": Kind(
        container, lambda host: host.mount("0:77", "overlay", "overlay")
    ),
    # Nothing platform-borne is left.
    "restored to a new virtual machine": Kind(plain, whole_new_machine, same=False),
    "the only platform part is readable no more": Kind(dmi_only, lambda host: host.dmi(None), same=False),
    "the only disk replaced where there is no DMI": Kind(disk_only, moved_to_a_new_disk, same=False),
    "copied by the hypervisor as another guest": Kind(virtio, lambda host: host.dmi(OTHER_DMI), same=False),
    "/sys hidden from now on": Kind(plain, sys_hidden, same=False),
    "container moved off its host's disks": Kind(container_on_a_volume, another_host_below, same=False),
    "copied disk below another board with placeholders": Kind(placeholders, other_board_of_the_same_maker, same=False),
    "another installation on the same hardware": Kind(plain, reinstalled, same=False),
}


def matched(kind: Kind, root: Path) -> Match:
    """Returns how the machine matches after its change."""
    host = Host(root)
    kind.lay(host)
    before = host.components()
    k, p = binding.quorum(before)
    bind = Bind(salt=SALT, components=binding.digests(SALT, before), k=k, p=p)
    assert binding.match(bind, before).ok, "it matches as it was bound"
    kind.change(host)
    return binding.match(bind, host.components())
