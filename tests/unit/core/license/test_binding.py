"""Proves how a machine is recognised.

Digests as the format defines them, junk that binds nothing, the quorum, and for every subset of components whether the
machine still matches.
"""

import hmac
from hashlib import sha256
from itertools import chain, combinations

import pytest

from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.license import binding
from opanel_agent.core.license.binding import TYPES, Class, Identity

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


def test_the_table_has_three_parts_of_each_class_and_nothing_that_changes_or_names() -> None:
    assert {"machine_id", "root_fs_uuid", "agent_key"} == DISK
    assert set(TYPES) - DISK == {"dmi_product_uuid", *binding.BOOT_DISKS, "cloud_instance_id"}
    assert binding.platform_parts(TYPES) == 3


def test_a_digest_is_as_the_format_defines_it() -> None:
    message = b"opanel-bind-1" + b"machine_id" + b"\x00" + b"value"
    assert binding.digest(SALT, "machine_id", "value") == hmac.digest(SALT, message, "sha256")[:16]


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
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "78563412-3412-7856-90ab-cddeefaabbcc",
        "12345678-1234-5678-1234-567812345678",
        "AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE",
        "11223344-5566-7788-99aa-bbccddeeff00",
        "0123456789ABCDEF0123456789ABCDEF",
        "Standard",
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
        "google-persistent-disk-7",
        "t10.ATA     QEMU HARDDISK                           QM00001",
        "t10.ATA     VBOX HARDDISK",
        "nvme.1b36-deadbeef-51454d55204e564d65204374726c-00000001",
        "eui.0000000000000000",
        "naa.0000000000000001",
        "11111111-2222-3333-4444-555555555555",
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


@pytest.mark.parametrize("prefix", ["", "0x", "naa.", "wwn-0x", "eui.", "nvme-eui."])
@pytest.mark.parametrize("junk", ["502b2a201d1c1b1a", "0123456789ABCDEF", "deadbeef", "ffffffffffffffff"])
def test_a_prefix_makes_no_name_of_junk(junk: str, prefix: str) -> None:
    assert binding.normalize({"boot_disk_3": prefix + junk}) == {}


@pytest.mark.parametrize(
    "value",
    [
        "vol-0123456789abcdef0",
        "S3Z9NB0K123456",
        "eui.0025388b71b0a1c2",
        "VB5c1b2d3e-4f5a6b7c",
        "x" * 64 + "y" * 64,
        "iid-1a2b",
        "t10.ATA     QEMU HARDDISK                           vm-107-disk-0-serial",
        "nvme.144d-53334e",
        "naa.502b2a201d1c1b1b",
        "11111111-2222-3333-4444-555555555556",
        "S6B0NL0WS6B0NL0W1",
    ],
)
def test_what_looks_a_little_like_junk_and_is_none_stays(value: str) -> None:
    assert binding.normalize({"boot_disk": value}) == {"boot_disk": value.lower()}


def better(names: set[str]) -> set[str]:
    """What is signed of these: an instance id only where no other platform-borne part is there."""
    return names - ({"cloud_instance_id"} if names & {"dmi_product_uuid", "boot_disk"} else set())


@pytest.mark.parametrize("present", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "nothing")
def test_the_quorum_is_half_of_the_parts_and_one_of_the_platform_where_there_is_one(present: set[str]) -> None:
    k, p = binding.quorum(present)
    assert k == (len(better(present)) + 1) // 2
    assert p == min(1, len(better(present) - DISK))
    assert p <= k


@pytest.mark.parametrize("here", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "nothing")
def test_a_machine_matches_iff_half_match_and_one_of_them_is_platform_borne(here: set[str]) -> None:
    match = binding.match(bound_to(MACHINE), part(here))
    signed = here - {"cloud_instance_id"}
    assert match.matched == signed
    assert match.platform_matched == len(signed - DISK)
    assert match.of == 5
    assert match.ok is (len(signed) >= 3 and len(signed - DISK) >= 1)
    assert match.drift is (match.ok and len(signed) < 5)


@pytest.mark.parametrize("here", SUBSETS, ids=lambda names: "+".join(sorted(names)) or "nothing")
def test_what_an_earlier_activation_signed_counts_by_the_rule_of_today(here: set[str]) -> None:
    """Three of six and two of the platform, of values as they were written, an instance id among them."""
    earlier = Bind(
        salt=SALT, k=3, p=2, components={name: binding.digest(SALT, name, value) for name, value in MACHINE.items()}
    )
    match = binding.match(earlier, part(here))
    assert match.ok is (len(here) >= 3 and len(here - DISK) >= 1)


@pytest.mark.parametrize("changed", sorted(MACHINE))
@pytest.mark.parametrize(
    "bound",
    [
        {"machine_id", "root_fs_uuid", "agent_key", "dmi_product_uuid", "boot_disk"},
        {"machine_id", "root_fs_uuid", "agent_key", "boot_disk", "cloud_instance_id"},
        {"machine_id", "root_fs_uuid", "agent_key"},
        {"machine_id", "agent_key"},
    ],
    ids=["metal", "cloud", "container with a file system", "container"],
)
def test_one_part_that_changed_is_the_same_machine(bound: set[str], changed: str) -> None:
    """A mainboard, a disk, a new machine id, a lost key: unless it is the only part that is platform-borne."""
    signed = bound_to(part(bound))
    platform = set(signed.components) - DISK
    here = part(bound) | ({changed: "changed-" + MACHINE[changed]} if changed in bound else {})
    assert binding.match(signed, here).ok is (platform != {changed})


def disks(*names: str) -> dict[str, str]:
    return dict(zip(binding.BOOT_DISKS, names, strict=False))


def test_a_set_of_disks_matches_by_any_member_wherever_it_is_told() -> None:
    others = part({"machine_id", "root_fs_uuid", "agent_key"})
    bind = bound_to(others | disks("eui.0025385b21404d11", "eui.0025385b21404e7c"))
    assert (bind.k, bind.p) == (2, 1)
    for here in (
        disks("eui.0025385b21404d11", "new-disk-1"),
        disks("a-new-disk", "eui.0025385b21404d11"),
        disks("new-disk-1", "new-disk-2", "new-disk-3", "eui.0025385b21404e7c"),
        disks("eui.0025385b21404e7c"),
    ):
        match = binding.match(bind, others | here)
        assert (match.ok, match.of, match.platform_matched) == (True, 4, 1)
    assert not binding.match(bind, others | disks("new-disk-1", "new-disk-2")).ok
    assert not binding.match(bind, others).ok


def test_many_disks_are_bound_by_four_and_compared_by_all() -> None:
    array = disks(*(f"serial-{number:04}" for number in range(16)))
    bind = bound_to(array)
    assert len(bind.components) == binding.BOUND_DISKS == 4
    assert binding.match(bind, array).ok
    moved = disks("a-first", "b-second", "c-third", *(f"serial-{number:04}" for number in range(3, 16)))
    assert binding.match(bind, moved).ok


@pytest.mark.parametrize(
    ("component", "forms"),
    [
        (
            "dmi_product_uuid",
            [
                "4C4C4544-0051-3610-8048-B7C04F4B3533",
                "{4c4c4544-0051-3610-8048-b7c04f4b3533}",
                "4c4c4544005136108048b7c04f4b3533",
                "44454C4C-5100-1036-8048-B7C04F4B3533",
            ],
        ),
        (
            "boot_disk",
            [
                "naa.5000c500a1b2c3d4",
                "0x5000C500A1B2C3D4",
                "wwn-0x5000c500a1b2c3d4",
                "5000c500a1b2c3d4",
                "35000c500a1b2c3d4",
            ],
        ),
        ("boot_disk", ["eui.0025385b21404d11", "nvme-eui.0025385b21404d11", "0025385B21404D11"]),
        ("boot_disk", ["WD-WCC4N0123456", "WDWCC4N0123456", "wd_wcc4n0123456"]),
        ("root_fs_uuid", ["3b1f0d6e-5d5e-4a53-9a56-0c2a7d1e9f10", "3B1F0D6E5D5E4A539A560C2A7D1E9F10"]),
        ("machine_id", ["0123456789abcdef0123456789abcd00", "01234567-89ab-cdef-0123-456789abcd00"]),
    ],
)
def test_an_identifier_is_the_same_however_it_is_written(component: str, forms: list[str]) -> None:
    normalized = [binding.normalize({component: form})[component] for form in forms]
    assert len({binding.canonical(component, form) for form in normalized}) == 1
    for signed in normalized:
        for here in normalized:
            assert binding.match(bound_to({component: signed}), {component: here}).matched == {component}


def test_keys_that_differ_in_punctuation_alone_are_two() -> None:
    assert binding.canonical("agent_key", "a-b_c") == "a-b_c"


def test_an_instance_id_counts_where_nothing_better_is_there() -> None:
    few = part({"machine_id", "agent_key", "cloud_instance_id"})
    assert set(binding.digests(SALT, few)) == set(few)
    assert binding.quorum(few) == (2, 1)
    assert set(binding.digests(SALT, MACHINE)) == set(MACHINE) - {"cloud_instance_id"}


def test_a_part_that_changed_under_the_same_key_is_left_out_the_next_time() -> None:
    bind = bound_to(MACHINE)
    changed = MACHINE | {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888"}
    assert binding.steady(MACHINE, None) == MACHINE
    assert binding.steady(MACHINE, bind) == MACHINE
    assert set(binding.steady(changed, bind)) == set(MACHINE) - {"dmi_product_uuid"}


def test_all_parts_are_asked_for_where_the_key_is_new_or_none_of_the_platform_would_be_left() -> None:
    bind = bound_to(part(DISK | {"dmi_product_uuid"}))
    changed = part(DISK) | {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888"}
    assert binding.steady(changed, bind) == changed
    another = MACHINE | {"agent_key": "another", "machine_id": "0123456789abcdef0123456789abcd00"}
    assert binding.steady(another, bind) == another


def test_a_copied_disk_alone_is_another_machine() -> None:
    elsewhere = part(DISK) | {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888", "boot_disk": "naa.other"}
    match = binding.match(bound_to(MACHINE), elsewhere)
    assert match.matched == DISK
    assert not match.ok


def test_what_cannot_be_read_decides_nothing_and_what_changed_does() -> None:
    bind, platform = bound_to(MACHINE), {"dmi_product_uuid", "boot_disk"}
    hidden = binding.match(bind, part(DISK), platform)
    assert (hidden.ok, hidden.undecided, hidden.matched) == (False, True, frozenset(DISK))
    assert not binding.match(bind, part(DISK)).undecided
    replaced = part(DISK) | {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888", "boot_disk": "naa.other"}
    assert not binding.match(bind, replaced).undecided
    assert not binding.match(bind, part({"machine_id"}), {"root_fs_uuid", "boot_disk_2"}).ok
    assert binding.match(bind, part({"machine_id"}), {"root_fs_uuid", "boot_disk_2"}).undecided
    assert not binding.match(bind, part({"machine_id"}), {"boot_disk"}).undecided, "two of five are too few"


def test_what_cannot_be_read_is_no_drift_where_the_rest_is_enough() -> None:
    bind, rest = bound_to(MACHINE), {name: value for name, value in MACHINE.items() if name != "boot_disk"}
    match = binding.match(bind, rest, {"boot_disk"})
    assert (match.ok, match.drift, match.undecided) == (True, False, False)
    assert binding.match(bind, rest).drift


def test_what_may_not_have_been_read_whole_makes_no_copy() -> None:
    known = binding.fingerprints(part({"machine_id", "root_fs_uuid", "boot_disk"}))
    here = part({"root_fs_uuid"}) | {"machine_id": "0123456789abcdef0123456789abcd00", "boot_disk": "naa.other"}
    assert binding.identity(known, here) is Identity.COPY
    assert binding.identity(known, here, {"machine_id"}) is Identity.NEW_HARDWARE
    assert binding.identity(known, here, {"machine_id", "boot_disk"}) is Identity.SAME
    some = {"root_fs_uuid": "0d3f", "boot_disk": "naa.one", "boot_disk_2": "naa.two"}
    assert binding.fingerprints(some, {"boot_disk"}).keys() == {"root_fs_uuid"}


JUNK = {
    "dmi_product_uuid": "03000200-0400-0500-0006-000700080009",
    "boot_disk": "QM00001",
    "cloud_instance_id": "nocloud",
}


def bound_by_an_earlier_version(components: dict[str, str], **more: bytes) -> Bind:
    """By one to which none of these values was known to be shared."""
    trimmed = {name: value.lower() for name, value in components.items()}
    k, p = binding.quorum(trimmed)
    return Bind(salt=SALT, k=k, p=p, components={**binding.digests(SALT, trimmed), **more})


def compared(bind: Bind, raw: dict[str, str]) -> binding.Match:
    return binding.match(bind, binding.normalize(raw), shared=binding.shared(raw))


@pytest.mark.parametrize("junk", [set(each) for n in (1, 2, 3) for each in combinations(sorted(JUNK), n)])
def test_a_value_that_came_to_be_known_as_shared_neither_binds_nor_unbinds(junk: set[str]) -> None:
    raw = MACHINE | {name: JUNK[name] for name in junk}
    bind = bound_by_an_earlier_version(raw)
    found = compared(bind, raw)
    assert (found.ok, found.drift, found.undecided) == (True, False, False)
    assert found.matched.isdisjoint(junk)
    assert found.of == len(bind.components.keys() - junk)
    # It does not help either: the parts that are left are judged as if no other had been signed.
    assert not compared(bind, {"machine_id": MACHINE["machine_id"]} | {name: JUNK[name] for name in junk}).ok


def test_a_server_whose_only_platform_part_is_shared_keeps_its_license() -> None:
    raw = part(DISK) | {"dmi_product_uuid": JUNK["dmi_product_uuid"]}
    bind = bound_by_an_earlier_version(raw)
    assert (bind.k, bind.p) == (2, 1)
    assert compared(bind, raw).ok
    assert not compared(bind, part(DISK)).ok, "it is gone: this may be a copy"
    assert not compared(bind, part(DISK) | {"dmi_product_uuid": "12345678-1234-5678-90ab-cddeefaabbcc"}).ok, "another's"


def test_a_disk_with_a_name_of_its_own_counts_by_that() -> None:
    raw = part(DISK) | {"boot_disk": "QM00001", "boot_disk_2": MACHINE["boot_disk"]}
    bind = bound_by_an_earlier_version(raw)
    assert compared(bind, raw).matched == DISK | {"boot_disk"}
    assert not compared(bind, part(DISK) | {"boot_disk": "QM00001"}).ok


def test_where_nothing_but_shared_values_was_signed_nothing_matches() -> None:
    bind = bound_by_an_earlier_version({"dmi_product_uuid": JUNK["dmi_product_uuid"]})
    assert not compared(bind, {"dmi_product_uuid": JUNK["dmi_product_uuid"]}).ok


def test_a_platform_part_of_a_later_version_is_still_asked_for() -> None:
    bind = bound_by_an_earlier_version(part(DISK), tpm_ek=bytes(16))
    bind = Bind(salt=SALT, k=bind.k, p=1, components=bind.components)
    assert not compared(bind, part(DISK)).ok


def test_losing_the_key_costs_one_component_and_nothing_else() -> None:
    match = binding.match(bound_to(MACHINE), MACHINE | {"agent_key": "another"})
    assert (len(match.matched), match.ok, match.drift) == (4, True, True)


def test_the_denominator_is_the_signed_list() -> None:
    few = part({"machine_id", "dmi_product_uuid"})
    match = binding.match(bound_to(few), MACHINE)
    assert (match.of, match.matched, match.ok, match.drift) == (2, frozenset(few), True, False)
    assert not binding.match(bound_to(few), part({"machine_id", "boot_disk", "cloud_instance_id"})).ok


def test_a_value_under_another_type_does_not_match() -> None:
    match = binding.match(bound_to(MACHINE), {"boot_disk": MACHINE["machine_id"]})
    assert match.matched == frozenset()


def test_a_component_of_a_type_unknown_here_counts_in_the_denominator_only() -> None:
    bind = bound_to(MACHINE)
    newer = Bind(salt=SALT, k=bind.k, p=bind.p, components={**bind.components, "tpm_ek": bytes(16)})
    match = binding.match(newer, MACHINE)
    assert (match.of, len(match.matched), match.ok, match.drift) == (6, 5, True, True)


# ---- whether this is the machine that the state was written on

NEW = {"dmi_product_uuid": "11112222-3333-4444-5555-666677778888", "boot_disk": "naa.other", "cloud_instance_id": "i-9"}
OTHER_ID = {"machine_id": "0123456789abcdef0123456789abcd00"}


@pytest.mark.parametrize(
    ("known", "here", "expected"),
    [
        (MACHINE, MACHINE, Identity.SAME),
        ({}, MACHINE, Identity.SAME),
        (MACHINE, {}, Identity.SAME),
        (MACHINE, MACHINE | {"dmi_product_uuid": NEW["dmi_product_uuid"]}, Identity.SAME),
        (MACHINE, MACHINE | {"boot_disk": "naa.other"}, Identity.SAME),
        (MACHINE, MACHINE | {"boot_disk": "naa.other", "boot_disk_2": MACHINE["boot_disk"]}, Identity.SAME),
        (MACHINE, MACHINE | OTHER_ID, Identity.SAME),
        (MACHINE, MACHINE | NEW, Identity.NEW_HARDWARE),
        (MACHINE, MACHINE | NEW | OTHER_ID, Identity.COPY),
        (MACHINE, MACHINE | OTHER_ID | {"dmi_product_uuid": NEW["dmi_product_uuid"]}, Identity.COPY),
        (part({"machine_id", "root_fs_uuid"}), part({"root_fs_uuid"}) | OTHER_ID, Identity.SAME),
        (part({"machine_id"}), OTHER_ID, Identity.COPY),
        (MACHINE, part({"machine_id", "root_fs_uuid"}), Identity.SAME),
        (MACHINE, part({"root_fs_uuid"}) | OTHER_ID, Identity.SAME),
    ],
)
def test_a_copy_is_told_from_maintenance(known: dict[str, str], here: dict[str, str], expected: Identity) -> None:
    assert binding.identity(binding.fingerprints(known), here) is expected


def test_what_an_earlier_version_remembers_is_compared_too() -> None:
    """SHA-256 of the value as it was written, of two components."""
    earlier = {name: sha256(MACHINE[name].encode()).hexdigest() for name in ("machine_id", "dmi_product_uuid")}
    assert binding.identity(earlier, MACHINE) is Identity.SAME
    assert binding.identity(earlier, MACHINE | NEW) is Identity.NEW_HARDWARE
    assert binding.identity(earlier, MACHINE | NEW | OTHER_ID) is Identity.COPY


def test_the_key_is_not_remembered() -> None:
    assert set(binding.fingerprints(MACHINE)) == set(MACHINE) - {"agent_key"}
