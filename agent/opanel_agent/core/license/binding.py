"""Binding a license to a machine: component types, junk, digests, the quorum (license-format.md, "Activation").

Theory of operation. A component is one fact that rarely changes, of a type in TYPES. Its digest is HMAC-SHA256(salt,
"opanel-bind-1" || type || 0x00 || value), cut to 16 bytes: types are words without a zero byte, so no two (type,
value) pairs hash alike. The activation document signs a list of digests with a quorum; the machine matches iff at
least `k` of them match and at least `p` of those are platform-borne. The denominator is the signed list: nothing that
a client brings can enlarge it.

A value that many machines share identifies none of them: junk of mainboards and constants of hypervisors are dropped
by `normalize` before anything is hashed, at activation and at every comparison alike. Changing the list can only take
components away from a machine, so a constant is added only where it is known to be one.

Not here: reading the components (system/machine.py), refusing an activation whose quorum is below a license's `min_p`
(the authority). Never a component: hostname, IP, MAC, kernel version, CPU or memory size.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from opanel_agent.core.documents.activation import Bind


@unique
class Class(Enum):
    """Where a component lives: a copied disk carries the first with it, not the second."""

    DISK = "disk"
    PLATFORM = "platform"


TYPES: Final[Mapping[str, Class]] = MappingProxyType(
    {
        "machine_id": Class.DISK,
        "root_fs_uuid": Class.DISK,
        "agent_key": Class.DISK,
        "dmi_product_uuid": Class.PLATFORM,
        "boot_disk": Class.PLATFORM,
        "cloud_instance_id": Class.PLATFORM,
    }
)

K_MAX: Final = 3
P_MAX: Final = 2
DIGEST_BYTES: Final = 16
_CONTEXT: Final = b"opanel-bind-1"

_SHAPE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")
# Compared without all but letters and digits, so "To be filled by O.E.M." is one entry in all its spellings.
_JUNK: Final = frozenset(
    {
        # mainboards' UUIDs as their makers left them
        "03000200040005000006000700080009",
        "00020003000400050006000700080009",
        "12345678123456789012123456789012",
        "12345678123456781234567812345678",
        "123456781234567890abcddeefaabbcc",
        "4c4c454400002010802080c04f202020",
        "4c4c4544002020108020a0c04f202020",
        "00112233445566778899aabbccddeeff",
        "0123456789abcdef0123456789abcdef",
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
        # hypervisors' disks: QEMU's NVMe examples, VirtualBox and GCE device names
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
    re.compile(r"(.)\1*"),  # one character again and again: zeros, f's
    re.compile(r"(..)\1+"),  # two in turn: fefefefe…
    re.compile(
        r"(?:\w*qemuharddisk)?drive(?:scsi|virtio|ide|sata)(?:disk)?\d+"
    ),  # QEMU's drive ids, as Proxmox and libvirt give them
    re.compile(r"qm\d{5}"),  # QEMU's default IDE and SATA serials
    re.compile(r"(?:google)?(?:localssd|localnvmessd)\d+"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """How a machine compares with a signed binding. `drift`: accepted, with fewer than all."""

    matched: frozenset[str]
    platform_matched: int
    of: int
    ok: bool
    drift: bool


def normalize(raw: Mapping[str, str]) -> Mapping[str, str]:
    """The components worth hashing: known types, trimmed and lower-case, without junk."""
    trimmed = {name: value.strip().lower() for name, value in raw.items() if name in TYPES}
    return {name: value for name, value in trimmed.items() if not _is_junk(value)}


def digest(salt: bytes, component: str, value: str) -> bytes:
    """16 bytes that say nothing of the value to whoever lacks it."""
    said = _CONTEXT + component.encode("ascii") + b"\0" + value.encode("ascii")
    return hmac.new(salt, said, sha256).digest()[:DIGEST_BYTES]


def digests(salt: bytes, components: Mapping[str, str]) -> dict[str, bytes]:
    """The digest of each of these normalized components."""
    return {name: digest(salt, name, value) for name, value in components.items()}


def quorum(components: Collection[str]) -> tuple[int, int]:
    """(k, p) that the authority signs for an activation with these component types."""
    return min(K_MAX, len(components)), min(P_MAX, _platform(components))


def match(bind: Bind, components: Mapping[str, str]) -> Match:
    """This machine's normalized components against a signed binding."""
    here = digests(bind.salt, components)
    matched = frozenset(
        name for name, signed in bind.components.items() if name in here and hmac.compare_digest(here[name], signed)
    )
    ok = len(matched) >= bind.k and _platform(matched) >= bind.p
    of = len(bind.components)
    return Match(matched=matched, platform_matched=_platform(matched), of=of, ok=ok, drift=ok and len(matched) < of)


def _platform(components: Collection[str]) -> int:
    return sum(TYPES.get(name) is Class.PLATFORM for name in components)


def _is_junk(value: str) -> bool:
    bare = re.sub(r"[^a-z0-9]", "", value)
    return (
        _SHAPE.fullmatch(value) is None
        or len(bare) < 4
        or bare in _JUNK
        or any(pattern.fullmatch(bare) for pattern in _JUNK_PATTERNS)
    )
