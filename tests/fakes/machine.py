"""A machine that is what a test says it is."""

from collections.abc import Mapping

FULL: Mapping[str, str] = {
    "machine_id": "0d3f3a5c1b2e4f60a1b2c3d4e5f60718",
    "root_fs_uuid": "3b1f0d6e-5d5e-4a53-9a56-0c2a7d1e9f10",
    "dmi_product_uuid": "8e3c1f7a-2b4d-4c6e-9a1b-5d7f9e0c2a4b",
    "boot_disk": "naa.5000c500a1b2c3d4",
    "cloud_instance_id": "i-0abc123def4567890",
}


class FakeMachine:
    def __init__(self, parts: Mapping[str, str] = FULL) -> None:
        self.parts = dict(parts)

    def components(self) -> Mapping[str, str]:
        return dict(self.parts)
