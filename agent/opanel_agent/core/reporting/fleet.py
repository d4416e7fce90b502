"""Computes how much an ordinary usage report tells: its mean information, over an assumed fleet of servers.

`Catalog.bits` counts every value alike, so it is the most that a report can
tell, and no server comes near. Servers are alike in most things: an ordinary
report tells less, a rare one more than this mean (Shannon entropy, in bits).

The shares are an assumption and no measurement. Nobody knows how OPanel's
servers are distributed, as nothing is collected without consent; they are round
figures for servers that a hosting panel runs on. Fields that depend on each
other are one group, and groups count as independent: where they are not, the
mean is below the figure.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WHOLE: Final = 1000
# Tells one among 2^33, 8.6 billion: more than there are servers in the world.
SINGLES_OUT_BITS: Final = 33

# Shares in thousandths, by the names of the fields and by their values in that
# order.
ORDINARY: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "agent_version": {"1.4": 600, "1.3": 250, "1.2": 100, "1.1": 50},
        "panel_version": {"4.2": 480, "4.1": 200, "4.0": 100, "3.9": 20, "unknown": 200},
        "os_id os_version kernel": {
            "ubuntu 24 6.8": 160,
            "ubuntu 22 5.15": 150,
            "ubuntu 22 6.8": 20,
            "ubuntu 20 5.4": 20,
            "debian 12 6.1": 140,
            "debian 13 6.12": 60,
            "debian 11 5.10": 20,
            "almalinux 9 5.14": 150,
            "almalinux 8 4.18": 70,
            "almalinux 10 6.12": 30,
            "rocky 9 5.14": 50,
            "rocky 8 4.18": 20,
            "cloudlinux 9 5.14": 25,
            "cloudlinux 8 4.18": 35,
            "rhel 9 5.14": 15,
            "centos 9 5.14": 10,
            "ol 9 5.15": 10,
            "pardus 23 6.1": 5,
            "other unknown unknown": 10,
        },
        "architecture": {"x86_64": 970, "aarch64": 30},
        "virtualization": {
            "kvm": 560,
            "cloud": 150,
            "vmware": 100,
            "none": 100,
            "container": 60,
            "vm-other": 20,
            "unknown": 10,
        },
        "cpu_class": {"1-2": 350, "3-4": 330, "5-8": 190, "9-16": 80, "17+": 50},
        "memory_class": {"1": 250, "2": 300, "3": 230, "4": 120, "5": 60, "6": 40},
        "install_channel": {"installer": 900, "package": 90, "user": 10},
        "license_state": {"active": 930, "grace": 30, "unlicensed": 20, "other": 20},
    }
)


def bits(shares: Mapping[str, Mapping[str, int]]) -> float:
    """Returns the Shannon entropy of a report, in bits: that of each group of fields, summed."""
    return math.fsum(-share / WHOLE * math.log2(share / WHOLE) for group in shares.values() for share in group.values())
