"""Proves how a machine is recognised.

Digests as the format defines them, junk that binds nothing, the quorum, and for every subset of components whether the
machine still matches.
"""

import hmac
from itertools import chain, combinations

import pytest

from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.license import binding
from opanel_agent.core.license.binding import TYPES, Class

SALT = bytes(range(16))
MACHINE = {
    "machine_id": "5f9b1d3c7a2e4f608d1c2b3a49586776",
    "root_fs_uuid": "0d3f6f0e-91a1-4f1d-8a35-7b0f0f6f2a11",
    "agent_key": "kpfyzbz0q6l9m1",
    "dmi_product_uuid": "4c4c4544-0051-3610-8048-b7c04f4b3533",
    "boot_disk": "naa.5002538e40a1b2c3",
    "cloud_instance_id": "i-0abcd1234ef567890",
}
DISK = {name for name, where in TYPES.items() if where is Class.DISK}
SUBSETS = [set(each) for each in chain.from_iterable(combinations(sorted(MACHINE), n) for n in range(7))]


def bound_to(components: dict[str, str]) -> Bind:
    k, p = binding.quorum(components)
    return Bind(salt=SALT, k=k, p=p, components=binding.digests(SALT, components))


def part(names: set[str]) -> dict[str, str]:
    return {name: MACHINE[name] for name in names}


def test_the_table_has_three_components_of_each_class_and_nothing_that_changes_or_names() -> None:
    assert {"machine_id", "root_fs_uuid", "agent_key"} == DISK
    assert set(TYPES) - DISK == {"dmi_product_uuid", "boot_disk", "cloud_instance_id"}


def test_a_digest_is_as_the_format_defines_it() -> None:
    said = b"opanel-bind-1" + b"machine_id" + b"\x00" + b"value"
    assert binding.digest(SALT, "machine_id", "value") == hmac.digest(SALT, said, "sha256")[:16]


def test_a_digest_known_from_the_command_line() -> None:
    # HEX=000102030405060708090a0b0c0d0e0f
    # printf 'opanel-bind-1boot_disk\0disk-1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$HEX
    assert binding.digest(SALT, "boot_disk", "disk-1").hex() == "fb94adf5ce1207984db43e0b3ee84aa9"


def test_salt_type_and_value_each_change_it() -> None:
    digests = {
        binding.digest(salt, component, value)
        for salt in (SALT, SALT[::-1])
        for component in ("machine_id", "boot_disk")
        for value in ("a", "b")
    }
    assert len(digests) == 8


def test_normalizing_trims_lowers_and_drops_unknown_types() -> None:
    raw = {"boot_disk": "  WWN-0x5000C500 \n", "hostname": "web1.example", "mac": "02:00:00:00:00:01"}
    assert binding.normalize(raw) == {"boot_disk": "wwn-0x5000c500"}


def test_normalizing_a_real_machine_changes_nothing() -> None:
    assert binding.normalize(MACHINE) == MACHINE


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "abc",
        "----",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "To be filled by O.E.M.",
        "Default string",
        "System Serial Number",
        "Not Settable",
        "None",
        "QEMU_QEMU_HARDDISK_drive-scsi0-0-0-0",
        "0QEMU_QEMU_HARDDISK_drive-scsi0",
        "drive-virtio-disk0",
        "QM00001",
        "deadbeef",
        "google-persistent-disk-0",
        "google-local-nvme-ssd-3",
        "iid-datasource-none",
        "uninitialized",
        "disk\x00one",
        "dïsk-serial",
        "x" * 64 + "y" * 65,
    ],
)
@pytest.mark.parametrize("component", ["dmi_product_uuid", "boot_disk", "machine_id"])
def test_junk_binds_nothing(component: str, value: str) -> None:
    assert binding.normalize({component: value}) == {}


@pytest.mark.parametrize(
    "value",
    [
        "vol-0123456789abcdef0",
        "S3Z9NB0K123456",
        "eui.0025388b71b0a1c2",
        "VB5c1b2d3e-4f5a6b7c",
        "x" * 64 + "y" * 64,
        "iid-1a2b",
    ],
)
def test_what_looks_a_little_like_junk_and_is_none_stays(value: str) -> None:
    assert binding.normalize({"boot_disk": value}) == {"boot_disk": value.lower()}


@pytest.mark.parametrize("present", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "nothing")
def test_the_quorum_is_three_of_n_and_two_of_the_platform_or_all_there_are(present: set[str]) -> None:
    k, p = binding.quorum(present)
    assert k == min(3, len(present))
    assert p == min(2, len(present - DISK))
    assert p <= k


@pytest.mark.parametrize("here", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "nothing")
def test_a_machine_matches_iff_three_match_and_two_of_them_are_platform_borne(here: set[str]) -> None:
    match = binding.match(bound_to(MACHINE), part(here))
    assert match.matched == here
    assert match.platform_matched == len(here - DISK)
    assert match.of == 6
    assert match.ok is (len(here) >= 3 and len(here - DISK) >= 2)
    assert match.drift is (match.ok and len(here) < 6)


def test_a_copied_disk_alone_is_another_machine() -> None:
    elsewhere = part(DISK) | {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888", "boot_disk": "naa.other"}
    match = binding.match(bound_to(MACHINE), elsewhere)
    assert match.matched == DISK
    assert not match.ok


def test_losing_the_key_costs_one_component_and_nothing_else() -> None:
    match = binding.match(bound_to(MACHINE), MACHINE | {"agent_key": "another"})
    assert (len(match.matched), match.ok, match.drift) == (5, True, True)


def test_the_denominator_is_the_signed_list() -> None:
    few = part({"machine_id", "dmi_product_uuid"})
    match = binding.match(bound_to(few), MACHINE)
    assert (match.of, match.matched, match.ok, match.drift) == (2, frozenset(few), True, False)
    assert not binding.match(bound_to(few), part({"machine_id", "boot_disk", "cloud_instance_id"})).ok


def test_a_value_under_another_type_does_not_match() -> None:
    match = binding.match(bound_to(MACHINE), {"boot_disk": MACHINE["cloud_instance_id"]})
    assert match.matched == frozenset()


def test_a_component_of_a_type_unknown_here_counts_in_the_denominator_only() -> None:
    bind = bound_to(MACHINE)
    newer = Bind(salt=SALT, k=bind.k, p=bind.p, components={**bind.components, "tpm_ek": bytes(16)})
    match = binding.match(newer, MACHINE)
    assert (match.of, len(match.matched), match.ok, match.drift) == (7, 6, True, True)
