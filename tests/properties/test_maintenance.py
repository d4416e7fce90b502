"""Ordinary maintenance is not another machine; where nothing platform-borne is left, the key keeps the seat."""

from pathlib import Path

import pytest

from fixtures.unreadable import BY_ERRNO, FAULTS, spoil
from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.license import binding
from properties.maintenance import (
    KINDS,
    SALT,
    Change,
    Host,
    container,
    disk_only,
    dmi_only,
    matched,
    nvme,
    plain,
    raid,
    virtio,
)


@pytest.mark.parametrize("name", KINDS)
def test_a_server_stays_the_same_through_what_is_done_to_it(name: str, tmp_path: Path) -> None:
    found = matched(KINDS[name], tmp_path)
    assert found.ok is KINDS[name].same, found


@pytest.mark.parametrize(
    "name",
    [
        "restored to a new virtual machine",
        "the only platform part is readable no more",
        "the only disk replaced where there is no DMI",
    ],
)
def test_where_nothing_of_the_platform_is_left_it_still_shows_the_key_that_keeps_its_seat(
    name: str, tmp_path: Path
) -> None:
    found = matched(KINDS[name], tmp_path)
    assert "agent_key" in found.matched
    assert found.platform_matched == 0


def test_a_copied_disk_on_another_machine_is_found(tmp_path: Path) -> None:
    for number, (lay, other) in enumerate(((plain, "dmi"), (disk_only, "disk"))):
        host = Host(tmp_path / str(number))
        lay(host)
        known = binding.fingerprints(host.components())
        host.dmi("a1b2c3d4-7a41-11ee-8000-7cc255106b09")
        host.block("sda", "8:0", device__wwid="naa.5000c500ffeeddcc")
        assert binding.identity(known, host.components()) is binding.Identity.NEW_HARDWARE, other


def test_a_machine_id_that_lasts_one_boot_makes_no_copy_of_a_container(tmp_path: Path) -> None:
    """Such a container shows another at each boot: were it counted, its key would be drawn anew each time."""
    host = Host(tmp_path)
    container(host)
    transient = "61 29 0:24 /machine-id /etc/machine-id ro - tmpfs tmpfs rw"
    host.mount("0:55", "overlay", "overlay", transient)
    known = binding.fingerprints(host.components())
    host.text("etc/machine-id", "ffeeddccbbaa99887766554433221100")
    assert binding.identity(known, host.components()) is binding.Identity.SAME


def test_every_kind_changes_something_or_says_that_nothing_is_read(tmp_path: Path) -> None:
    """A case whose change the reading does not see would prove nothing."""
    unseen = set()
    for number, (name, kind) in enumerate(KINDS.items()):
        host = Host(tmp_path / str(number))
        kind.lay(host)
        before = host.components()
        kind.change(host)
        if host.components() == before:
            unseen.add(name)
    assert unseen <= {
        "NVMe disks renumbered",
        "UUID in capitals",
        "NVMe firmware that pads and capitalizes",
        "firmware that wrote a placeholder, in the other byte order",
        "logical volume renamed",
        "snapshots and subvolumes below the root",
        "virtio disk that became a SCSI disk",
        "guest moved to another host of the hypervisor",
        "guest resized",
        "a hot-added disk comes first",
        "ZFS pool grown by a disk",
        "encrypted below",
        "a second path to the disk",
        "names, addresses, control groups, TPM, secure boot",
        "container on another host",
        "container without the id of its host's disk",
    }


# ---- what cannot be read is no part that changed

HOSTS: dict[str, Change] = {
    "plain": plain,
    "disk only": disk_only,
    "DMI only": dmi_only,
    "RAID": raid,
    "NVMe": nvme,
    "virtio": virtio,
    "container": container,
}


def _files(host: Host) -> list[str]:
    """Every file that a machine of this kind tells something in; links into the kernel's tree are not among them."""
    return sorted(
        str(each.relative_to(host.root)) for each in host.root.rglob("*") if each.is_file() and not each.is_symlink()
    )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", HOSTS)
def test_no_file_that_fails_makes_another_machine_of_a_server_where_anything_else_tells(
    name: str, fault: str, tmp_path: Path
) -> None:
    """Each file by itself. At worst the only evidence of the platform is gone: then the key stays, and a bounded grace."""
    lay = HOSTS[name]
    pattern = Host(tmp_path / "pattern")
    lay(pattern)
    for number, path in enumerate(_files(pattern)):
        host = Host(tmp_path / str(number))
        lay(host)
        before = host.components()
        k, p = binding.quorum(before)
        bind = Bind(salt=SALT, components=binding.digests(SALT, before), k=k, p=p)
        spoil(host.root / path, fault)
        here, unread = host.components(), host.unread()
        found = binding.match(bind, here, unread)
        assert binding.identity(binding.fingerprints(before), here, unread) is binding.Identity.SAME, path
        assert "agent_key" in found.matched, path
        if fault in BY_ERRNO or path == "proc/self/mountinfo":
            assert found.ok or found.undecided, (path, found)
        else:
            assert found.ok or found.platform_matched == 0, (path, found)


def test_one_disk_that_cannot_be_read_leaves_the_match_undecided_until_it_can(tmp_path: Path) -> None:
    host = Host(tmp_path)
    disk_only(host)
    before = host.components()
    bind = Bind(salt=SALT, components=binding.digests(SALT, before), k=2, p=1)
    spoil(tmp_path / "sys/devices/sda/device/wwid", "EIO")
    assert host.unread() == {"boot_disk"}
    assert binding.match(bind, host.components(), host.unread()).undecided
    spoil(tmp_path / "sys/devices/sda/device/wwid", "ENOENT")
    assert host.unread() == frozenset()
    found = binding.match(bind, host.components(), host.unread())
    assert not found.ok
    assert not found.undecided
