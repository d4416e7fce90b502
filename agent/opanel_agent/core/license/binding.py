"""Recognises the machine that a license was activated on: component types, junk values, digests and the quorum.

Theory of operation. A *component* is one fact that rarely changes, of a type in
TYPES. Its digest is HMAC-SHA256(salt, "opanel-bind-1" || type || 0x00 ||
value), cut to 16 bytes: types are words without a zero byte, so no two (type,
value) pairs hash alike. The activation document signs a list of digests with a
quorum; the machine matches iff at least `k` parts match and at least `p` of
those are platform-borne. The denominator is the signed list: nothing that a
client brings can enlarge it.

Ordinary maintenance is not another machine. So

- **half of the parts, rounded up, are enough, and one platform-borne part among
  them**: a mainboard, a disk or an instance id may change while the rest stays.
  A copied disk brings no platform-borne part along and is found. Where an
  earlier activation signed more (three parts, two of the platform), these
  figures count instead: `match` takes the lesser of both.
- **the disks below / are one part**, matched by any member: the components
  `boot_disk`, `boot_disk_2` … are names of all of them. At most BOUND_DISKS are
  signed, all are compared.
- **a value has one canonical form** (`canonical`), however firmware, kernel or
  udev writes it: with or without dashes and prefixes, and a product UUID in
  either byte order (SMBIOS 2.6 changed it, hypervisors change it on upgrade). A
  digest of the value as it was written, which earlier activations signed,
  matches as well.
- **an instance id counts only where nothing better exists**: cloud-init draws a
  new one when its configuration is edited.

A value that many machines share identifies none of them: junk of mainboards and
constants of hypervisors are dropped by `normalize` before anything is hashed,
at activation and at every comparison alike. A constant that the list came to
know later may have been signed before: while the machine shows it, that part
speaks neither for the machine nor against it (`shared`), and the quorum is that
of the other parts. A constant is added only where it is known to be one.

What could not be read is no part that changed. Where such parts could make the
quorum, the match is undecided: nothing is said of it for half of the time that
a mismatch has (verdict), and the other half is counted on.

Not here: reading the components (system/machine.py), refusing an activation of
a machine that shows fewer platform-borne parts than a license's `min_p` (the
authority). Never a component: hostname, IP, MAC, kernel version, CPU or memory
size.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from enum import Enum, unique
from hashlib import sha256
from types import MappingProxyType
from typing import Final, TypeVar

from opanel_agent.core.documents.activation import Bind
from opanel_agent.core.values import frozen

T = TypeVar("T")


@unique
class Class(Enum):
    """Where a component lives: a copied disk carries the first with it, not the second."""

    DISK = "disk"
    PLATFORM = "platform"


BOOT_DISKS: Final = ("boot_disk", *(f"boot_disk_{number}" for number in range(2, 17)))
"""One type for each name of a disk below /; together they are the part `boot_disk`."""
BOUND_DISKS: Final = 4
"""How many of them an activation signs."""

TYPES: Final[Mapping[str, Class]] = MappingProxyType(
    {
        "machine_id": Class.DISK,
        "root_fs_uuid": Class.DISK,
        "agent_key": Class.DISK,
        "dmi_product_uuid": Class.PLATFORM,
        **dict.fromkeys(BOOT_DISKS, Class.PLATFORM),
        "cloud_instance_id": Class.PLATFORM,
    }
)

PARTS: Final = frozenset(TYPES) - {*BOOT_DISKS[1:]}
"""The types as parts: all disks are one."""

P_MAX: Final = 1
DIGEST_BYTES: Final = 16
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_CONTEXT: Final = b"opanel-bind-1"

_SHAPE: Final = r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?"
# Compared without all but letters and digits, so "To be filled by O.E.M." is
# one entry in all its spellings.
_JUNK: Final = frozenset(
    {
        # mainboards' UUIDs as their makers left them, in either byte order
        "03000200040005000006000700080009",
        "12345678123456789012123456789012",
        "123456781234567890abcddeefaabbcc",
        "4c4c454400002010802080c04f202020",
        "4c4c4544002020108020a0c04f202020",
        "00112233445566778899aabbccddeeff",
        "10000000000000000000000000000000",
        "01020304050607080900010203040506",
        "0102030405060708090a0b0c0d0e0f10",
        "000102030405060708090a0b0c0d0e0f",
        "12345678123412341234123456789abc",
        "12345678123412341234123456789012",
        "ffffffff000000000000000000000000",
        "112233445566778899aabbccddeeff00",
        # words in place of a serial
        "defaultstring",
        "tobefilledbyoem",
        "systemserialnumber",
        "systemproductname",
        "notapplicable",
        "notspecified",
        "notsettable",
        "notpresent",
        "notavailable",
        "unknown",
        "none",
        "null",
        "invalid",
        "serialnumber",
        "uninitialized",
        "0123456789",
        "1234567890",
        "123456789",
        "123456789abcdef0",
        "0123456789abcdef",
        "xxxxxxxx",
        "empty",
        "standard",
        "chassisserialnumber",
        "baseboardserialnumber",
        "oem",
        "oemserial",
        "tobefilledbyoemorodm",
        "nodiskserial",
        # a world wide name that whole series of cheap solid-state disks share
        "502b2a201d1c1b1a",
        # hypervisors' disks: QEMU's NVMe examples, VirtualBox and GCE device
        # names
        "deadbeef",
        "vboxharddisk",
        "qemuharddisk",
        "virtualdisk",
        "googlepersistentdisk0",
        "persistentdisk0",
        "nvmecardpd",
        # cloud-init without a cloud
        "iiddatasourcenone",
        "iiddatasourcenocloud",
        "iidlocal01",
        "nocloud",
    }
)
_JUNK_PATTERNS: Final = (
    r"(.)\1*",  # one character again and again: zeros, f's
    r"(..)\1+",  # two in turn: fefefefe…
    r"(.{8,16})\1+",  # a longer piece again and again: 0123456789abcdef0123456789abcdef
    r"(.)\1{7}(.)\2{3}(.)\3{3}(.)\4{3}(.)\5{11}",  # each group of a UUID one character: 11111111-2222-3333-…
    r"(?:\w*qemuharddisk)?drive(?:scsi|virtio|ide|sata)(?:disk)?\d+",  # QEMU's drive ids, as Proxmox and libvirt give them
    # QEMU's default IDE and SATA serials, alone and as the kernel's wwid writes
    # them
    r"(?:\w*qemu(?:harddisk|dvdrom))?qm\d{5}",
    r"(?:t10)?(?:ata)?(?:qemu|vbox|vmware|msft|xen)\w*(?:harddisk|virtualdisk|disk)",  # a model, no serial
    r"nvme1b36\w*",  # QEMU's NVMe controller, whose default serial is a constant
    r"(?:google)?(?:localssd|localnvmessd|persistentdisk)\d+",
    r"(?:eui|naa|uuid|0x)?0+[0-9a-f]?",  # zeros behind a prefix, and a counter that was never set
)


# What firmware, kernel and udev write before the number itself: 0x5000c500…,
# wwn-0x5000c500…, naa.5000c500…, eui.….
_DISK_PREFIX: Final = r"(?:nvme-|wwn-|naa\.|eui\.|uuid\.|t10\.|0x)+"
# scsi_id(8) puts the type of the designator (3 is NAA) before the number.
_SCSI_ID: Final = r"3(?=[256][0-9a-f]{15}(?:[0-9a-f]{16})?$)"
_UUID: Final = r"[0-9a-f]{32}"


@frozen
class Match:
    """How a machine compares with a signed binding.

    `matched`: the parts that match, all disks together as `boot_disk`; `of`:
    how many were signed and count. `drift`: accepted, with fewer than all that could be
    read. `undecided`: not accepted, and would be if the parts that could not
    be read matched.
    """

    matched: frozenset[str]
    platform_matched: int
    of: int
    ok: bool
    drift: bool
    undecided: bool = False


def normalize(raw: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the components worth hashing: known types, trimmed and lower-case, without junk."""
    trimmed = {name: value.strip().lower() for name, value in raw.items() if name in TYPES}
    return {name: value for name, value in trimmed.items() if not _is_junk(name, value)}


def shared(raw: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the values that `normalize` drops as shared by many machines, trimmed and lower-case, as one may be signed."""
    trimmed = {name: value.strip().lower() for name, value in raw.items() if name in TYPES}
    return {name: value for name, value in trimmed.items() if _is_junk(name, value) and re.fullmatch(_SHAPE, value)}


def canonical(component: str, value: str) -> str:
    """Returns the one form of a normalized value that is hashed, however the machine writes it."""
    if component == "agent_key":  # a thumbprint that we write ourselves: its punctuation tells keys apart
        return value
    if component in BOOT_DISKS:
        value = re.sub(_SCSI_ID, "", re.sub(_DISK_PREFIX, "", value, count=1))
    bare = re.sub(r"[^a-z0-9]", "", value)
    if component == "dmi_product_uuid" and re.fullmatch(_UUID, bare):
        return min(bare, _other_byte_order(bare))
    return bare


def digest(salt: bytes, component: str, value: str) -> bytes:
    """Returns a salted digest of 16 bytes, which tells nothing about the value to whoever lacks it.

    Every disk is hashed as `boot_disk`.
    """
    message = _CONTEXT + _part(component).encode("ascii") + b"\0" + value.encode("ascii")
    return hmac.new(salt, message, sha256).digest()[:DIGEST_BYTES]


def digests(salt: bytes, components: Mapping[str, str]) -> dict[str, bytes]:
    """Returns the digests of these normalized components that an activation asks to have signed."""
    return {name: digest(salt, name, canonical(name, components[name])) for name in _bound(components)}


def quorum(components: Collection[str]) -> tuple[int, int]:
    """Returns (k, p) that the authority signs for an activation with these component types."""
    bound = _bound(components)
    parts = {_part(name) for name in bound}
    return (len(parts) + 1) // 2, min(P_MAX, platform_parts(bound))


def unread_parts(bind: Bind, unread: Mapping[str, T]) -> dict[str, T]:
    """Returns the parts of a signed binding of which not everything could be read, each with its reason."""
    signed = {_part(name) for name in bind.components}
    return {_part(name): why for name, why in sorted(unread.items(), reverse=True) if _part(name) in signed}


def platform_parts(components: Collection[str]) -> int:
    """Tells how many platform-borne parts these component types are."""
    return len({_part(name) for name in components if TYPES.get(name) is Class.PLATFORM})


def match(
    bind: Bind, components: Mapping[str, str], unread: Collection[str] = (), shared: Mapping[str, str] = _NOTHING
) -> Match:
    """Compares this machine's normalized components with a signed binding.

    `unread`: the types of which not everything could be read. `shared`: what
    this machine shows of values that identify none (the function `shared`).
    """
    by_name, constants = _signed_here(bind, components), _signed_here(bind, shared)
    matched = frozenset(map(_part, by_name))
    # A part that a disk's own name is signed for as well still counts by that.
    others = {_part(name) for name in bind.components.keys() - constants}
    counted = others | matched
    possible = matched | counted & {_part(name) for name in unread}
    ok = _suffice(bind, counted, matched)
    return Match(
        matched=matched,
        platform_matched=platform_parts(matched),
        of=len(counted),
        ok=ok,
        drift=ok and possible != counted,
        undecided=not ok and _suffice(bind, counted, possible),
    )


def _signed_here(bind: Bind, values: Mapping[str, str]) -> set[str]:
    """The signed components whose digest one of these normalized values of the same part has, in either form."""
    here: dict[str, set[bytes]] = {}
    for name, value in values.items():
        forms = {canonical(name, value), value}
        here.setdefault(_part(name), set()).update(digest(bind.salt, name, form) for form in forms)
    return {
        name
        for name, signed in bind.components.items()
        if any(hmac.compare_digest(found, signed) for found in here.get(_part(name), ()))
    }


def steady(components: Mapping[str, str], bind: Bind | None) -> Mapping[str, str]:
    """Returns the components for a new activation: those that have not changed since `bind`, the present one, was made.

    A part that changed under a server that still holds its key may change
    again. All components where the key is another one (it is another
    installation), and where no platform-borne part would be left.
    """
    if bind is None:
        return components
    matched = match(bind, components).matched
    changed = {_part(name) for name in bind.components} - matched
    kept = {name: value for name, value in components.items() if _part(name) not in changed}
    if "agent_key" not in matched or platform_parts(kept) < min(1, platform_parts(components)):
        return components
    return kept


@unique
class Identity(Enum):
    """Whether this is the machine that the state was written on.

    `NEW_HARDWARE`: nothing platform-borne is as it was, and the machine id is:
    a moved disk, new hardware below a guest, or a copy of the whole disk.
    `COPY`: the machine id is another one, too.
    """

    SAME = "same"
    NEW_HARDWARE = "new_hardware"
    COPY = "copy"


def fingerprints(components: Mapping[str, str], unread: Collection[str] = ()) -> dict[str, str]:
    """Returns the SHA-256 in hex of each normalized component but the agent's own key.

    What the state remembers of its machine.

    Without the parts of which not everything could be read.
    """
    left_out = {"agent_key", *map(_part, unread)}
    return {
        name: sha256(canonical(name, value).encode("ascii")).hexdigest()
        for name, value in components.items()
        if _part(name) not in left_out
    }


def identity(known: Mapping[str, str], components: Mapping[str, str], unread: Collection[str] = ()) -> Identity:
    """Compares what the state remembers (`fingerprints`, of earlier versions of the values as written) with this machine.

    A part of which not everything could be read has not changed.
    """
    here: dict[str, set[str]] = {}
    for name, value in components.items():
        forms = {canonical(name, value), value}
        here.setdefault(_part(name), set()).update(sha256(form.encode("ascii")).hexdigest() for form in forms)
    same = {_part(name) for name, digest_ in known.items() if digest_ in here.get(_part(name), ())}
    changed = ({_part(name) for name in known} & here.keys()) - same - {_part(name) for name in unread}
    new_hardware = platform_parts(changed) > 0 and platform_parts(same) == 0
    if "machine_id" not in changed:
        return Identity.NEW_HARDWARE if new_hardware else Identity.SAME
    # A hypervisor copies a disk's serial with its description, but neither the
    # machine id nor the product UUID.
    if new_hardware or "dmi_product_uuid" in changed:
        return Identity.COPY
    return Identity.SAME if same & {"root_fs_uuid", "boot_disk", "dmi_product_uuid"} else Identity.COPY


def _bound(components: Collection[str]) -> list[str]:
    """Returns the types that are signed.

    Few enough disks, and an instance id only where no other platform part is there.
    """
    better = platform_parts(set(components) - {"cloud_instance_id"}) > 0
    left_out = {*BOOT_DISKS[BOUND_DISKS:], *({"cloud_instance_id"} if better else ())}
    return [name for name in components if name not in left_out]


def _suffice(bind: Bind, counted: Collection[str], parts: Collection[str]) -> bool:
    """Whether `parts` are enough of those that count; one at least, even where nothing else was signed than constants."""
    constants_alone = platform_parts(bind.components) > 0 and platform_parts(counted) == 0
    platform = 0 if constants_alone else min(bind.p, P_MAX)
    return len(parts) >= max(1, min(bind.k, (len(counted) + 1) // 2)) and platform_parts(parts) >= platform


def _part(component: str) -> str:
    return "boot_disk" if component in BOOT_DISKS else component


def _other_byte_order(uuid: str) -> str:
    """Returns a UUID of 32 hex digits with the bytes of its first three fields reversed."""
    octets = bytes.fromhex(uuid)
    return (octets[3::-1] + octets[5:3:-1] + octets[7:5:-1] + octets[8:]).hex()


def _is_junk(component: str, value: str) -> bool:
    """Tells whether many machines show this normalized value, with or without a prefix, and in either byte order."""
    bare = re.sub(r"[^a-z0-9]", "", value)
    if re.fullmatch(_SHAPE, value) is None or len(bare) < 4:
        return True
    forms = {bare, canonical(component, value), *([_other_byte_order(bare)] if re.fullmatch(_UUID, bare) else [])}
    return any(form in _JUNK or any(re.fullmatch(each, form) for each in _JUNK_PATTERNS) for form in forms)
