"""A machine that is what a test says it is."""

from collections.abc import Collection, Mapping
from pathlib import Path

from fakes.logs import LOGS, PANEL_VERSION

FULL: Mapping[str, str] = {
    "machine_id": "0d3f3a5c1b2e4f60a1b2c3d4e5f60718",
    "root_fs_uuid": "3b1f0d6e-5d5e-4a53-9a56-0c2a7d1e9f10",
    "dmi_product_uuid": "8e3c1f7a-2b4d-4c6e-9a1b-5d7f9e0c2a4b",
    "boot_disk": "naa.5000c500a1b2c3d4",
    "cloud_instance_id": "i-0abc123def4567890",
}

FACTS: Mapping[str, str] = {
    "agent_version": "0.1.0",
    "panel_version": PANEL_VERSION,
    "os_id": "debian",
    "os_version": "12",
    "kernel": "6.1",
    "architecture": "x86_64",
    "virtualization": "kvm",
    "cpu_class": "3-4",
    "memory_class": "3",
    "install_channel": "installer",
}


for _name, _part in FULL.items():
    LOGS.plant(_part, f"the machine's {_name}")


class FakeMachine:
    """`asked` are the names of all the facts that were ever collected."""

    def __init__(self, parts: Mapping[str, str] = FULL, facts: Mapping[str, str] = FACTS) -> None:
        self.parts = dict(parts)
        self.told = dict(facts)
        self.asked: set[str] = set()

    def components(self) -> Mapping[str, str]:
        return dict(self.parts)

    def facts(self, names: Collection[str], *, panel_version_file: Path | None) -> Mapping[str, str]:
        self.asked |= set(names)
        return {name: value for name, value in self.told.items() if name in names}
