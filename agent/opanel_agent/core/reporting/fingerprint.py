"""Maps what a machine tells to the coarse classes that a usage report may say (data/fields/usage_statistics.toml).

Each function makes one transform and is total: what it does not know is
`unknown` or `other`, never the value itself. A class is as wide as it must be
for many servers to be in it: rare values would single a server out, so they
have no word of their own.

Left out: reading the machine (`system.machine`). No identifier is ever given to
this module.
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from opanel_agent.core.values import frozen

UNKNOWN: Final = "unknown"
OTHER: Final = "other"

OS_IDS: Final = frozenset(
    ["almalinux", "amzn", "centos", "cloudlinux", "debian", "ol", "pardus", "rhel", "rocky", "sles", "ubuntu"]
)
ARCHITECTURES: Final = frozenset({"x86_64", "aarch64"})
# The other states are of few licenses, and whoever issued them knows which:
# such a word would name the license.
LICENSE_CLASSES: Final = frozenset({"active", "grace", "unlicensed"})
_CPU_CLASSES: Final = ((2, "1-2"), (4, "3-4"), (8, "5-8"), (16, "9-16"))
_MEMORY_CLASSES: Final = (1, 6)

# The same ranges as the catalog's patterns, so that a number out of the
# ordinary cannot single a server out.
_RELEASE: Final = r"(?s)([0-9]\.(?:[0-9]|[1-4][0-9]))(\.(?:[0-9]|[1-4][0-9]))?(?:[-+~ ].*)?"
_SERIES: Final = r"[0-9]\.(?:[0-9]|[12][0-9])"
_OS_VERSION: Final = r"([1-9]|[1-3][0-9])(?:\.[0-9]+)*"
_KERNEL: Final = r"(?s)([4-9]\.(?:[0-9]|[12][0-9]))(?:[^0-9].*)?"
_OS_RELEASE_LINE: Final = r"""([A-Z_]+)=["']?([^"']*)["']?"""
_CONTAINER: Final = r"docker|kubepods|libpod|containerd|\blxc\b|garden"

# Where the firmware names its maker. The first that fits: a cloud says more
# than the hypervisor that it is built on.
_MAKERS: Final = (
    ("amazon ec2", "cloud"),
    ("google", "cloud"),
    ("digitalocean", "cloud"),
    ("hetzner", "cloud"),
    ("vultr", "cloud"),
    ("linode", "cloud"),
    ("akamai", "cloud"),
    ("alibaba", "cloud"),
    ("openstack", "cloud"),
    ("scaleway", "cloud"),
    ("upcloud", "cloud"),
    ("microsoft corporation virtual machine", "vm-other"),
    ("vmware", "vmware"),
    ("virtualbox", "vm-other"),
    ("innotek", "vm-other"),
    ("xen", "vm-other"),
    ("qemu", "kvm"),
    ("kvm", "kvm"),
    ("ovirt", "kvm"),
    ("bochs", "vm-other"),
    ("bhyve", "vm-other"),
    ("parallels", "vm-other"),
    ("nutanix", "vm-other"),
)


@frozen
class Hints:
    """Holds what a process without privileges can see of what it runs in; None is what the machine does not tell.

    `maker` is the firmware's vendor and product (/sys/class/dmi), `cpu` the
    text of /proc/cpuinfo, `hypervisor` that of /sys/hypervisor/type, `cgroup`
    that of /proc/self/cgroup.
    """

    marked_container: bool
    cgroup: str | None = None
    maker: str | None = None
    hypervisor: str | None = None
    cpu: str | None = None


def unknown(name: str) -> str:
    """Returns the word for a fact that the machine does not tell:

    `other` where the field has no `unknown`.
    """
    return OTHER if name in ("os_id", "architecture") else UNKNOWN


def release(text: str | None) -> str:
    """Returns `major.minor.patch` of a program's version; what follows (a build, a commit) is cut off."""
    found = re.fullmatch(_RELEASE, text or "")
    return UNKNOWN if found is None else found[1] + (found[2] or ".0")


def series(text: str | None) -> str:
    """Returns `major.minor` of a program's version, which is all that a usage report says of one."""
    found = re.fullmatch(_SERIES, release(text).rpartition(".")[0])
    return UNKNOWN if found is None else found[0]


def license_class(state: str) -> str:
    """Returns the name of a license state that many servers are in, `other` for the rest."""
    return state if state in LICENSE_CLASSES else OTHER


def os_release(text: str | None) -> Mapping[str, str]:
    """Returns the assignments of an os-release(5); a line that is none is passed over."""
    found = (re.fullmatch(_OS_RELEASE_LINE, line.strip()) for line in (text or "").split("\n"))
    return MappingProxyType({match[1]: match[2] for match in found if match})


def os_id(os_release: Mapping[str, str]) -> str:
    """Returns the distribution, `other` for one that is not listed."""
    return os_release["ID"] if os_release.get("ID") in OS_IDS else OTHER


def os_version(os_release: Mapping[str, str]) -> str:
    """Returns the major version of a distribution that is listed, `unknown` for every other.

    The version of a rare distribution would say more than its name may.
    """
    found = re.fullmatch(_OS_VERSION, os_release.get("VERSION_ID", ""))
    return found[1] if found and os_release.get("ID") in OS_IDS else UNKNOWN


def kernel(kernel_release: str) -> str:
    """Returns `major.minor` of the kernel's release; the rest names a build."""
    found = re.fullmatch(_KERNEL, kernel_release)
    return UNKNOWN if found is None else found[1]


def architecture(machine: str) -> str:
    """Returns the machine's architecture as uname(2) names it, `other` for a rare one."""
    return machine if machine in ARCHITECTURES else OTHER


def cpu_class(processors: int | None) -> str:
    """Returns the range that the number of processors is in."""
    if not processors:
        return UNKNOWN
    return next((name for most, name in _CPU_CLASSES if processors <= most), "17+")


def memory_class(memory_bytes: int | None) -> str:
    """Returns log2 of the memory in GiB, rounded, between 1 and 6: powers of two, as memory is sold."""
    if not memory_bytes:
        return UNKNOWN
    low, high = _MEMORY_CLASSES
    return str(min(max(round(math.log2(memory_bytes / 2**30)), low), high))


def virtualization(hints: Hints) -> str:
    """Returns what the system runs in.

    A container first, whatever its host is. `none` only where firmware and
    processor both speak and neither says so: a silent one is `unknown`.
    """
    if hints.marked_container or re.search(_CONTAINER, hints.cgroup or ""):
        return "container"
    maker = (hints.maker or "").casefold()
    named = next((kind for needle, kind in _MAKERS if needle in maker), None)
    if named is not None:
        return named
    if hints.hypervisor == "xen":
        return "vm-other"
    flags = next((line for line in (hints.cpu or "").split("\n") if line.startswith("flags")), "")
    if "hypervisor" in flags.split():
        return "vm-other"
    return "none" if maker and flags else UNKNOWN
