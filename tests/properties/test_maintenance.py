"""Ordinary maintenance is not another machine; where nothing platform-borne is left, the key keeps the seat."""

from pathlib import Path

import pytest

from opanel_agent.core.license import binding
from properties.maintenance import KINDS, Host, container, disk_only, matched, plain


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
