"""What tells this machine from another: the raw values that an activation's digests are made of.

Each is looked up on its own and is simply absent where the machine does not tell it (a container has no DMI, a
virtual disk no serial); which are junk, and how many must match, is decided in `core.binding`. Raw values never leave
the process that called this. Hostname, addresses, MAC, kernel, processor and memory size are never read.

Sources, as readable inside the service's sandbox: /etc/machine-id, /proc/self/mountinfo, /run/udev/data, sysfs, the
credential `product_uuid` that systemd loads for us, and cloud-init's instance-id.
"""

import hashlib
import hmac
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

# Drawn once for this program. It separates our derived machine id from every other program's (machine-id(5)).
APP_ID: Final = uuid.UUID("6f1f7c1e-9b0d-4c5a-8f0e-3a52c9d47b61")
MAX_BYTES: Final = 4096
MAX_MOUNTINFO_BYTES: Final = 1024 * 1024
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")
_DISK_NAMES: Final = ("wwid", "device/wwid", "serial", "device/serial")  # a world wide name before a serial


class Machine(Protocol):
    def components(self) -> Mapping[str, str]:
        """Raw values by component type; a type that this machine does not tell is missing. Without the agent's key."""
        ...


class LocalMachine:
    """This machine. `root` and `environ` are parameters so that a test can lay out another."""

    def __init__(self, environ: Mapping[str, str], root: Path = Path("/")) -> None:
        self._environ = environ
        self._root = root

    def components(self) -> Mapping[str, str]:
        device = self._root_device()
        found = {
            "machine_id": self._machine_id(),
            "root_fs_uuid": self._file_system_uuid(device) if device else None,
            "dmi_product_uuid": self._product_uuid(),
            "boot_disk": self._disk_name(device) if device else None,
            "cloud_instance_id": self._text("var/lib/cloud/data/instance-id"),
        }
        return {kind: value for kind, value in found.items() if value}

    def _machine_id(self) -> str | None:
        told = self._text("etc/machine-id")
        if told is None or not _MACHINE_ID.fullmatch(told):
            return None  # "uninitialized" during a first boot
        return app_specific(bytes.fromhex(told))

    def _product_uuid(self) -> str | None:
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            return self._text("sys/class/dmi/id/product_uuid")
        told = _text(Path(directory) / "product_uuid")
        return None if told == "absent" else told  # SetCredential= says so where the machine has no DMI

    def _root_device(self) -> str | None:
        """`major:minor` of what is mounted at /; the last such line is the one on top (proc_pid_mountinfo(5))."""
        mounts = _text(self._root / "proc/self/mountinfo", MAX_MOUNTINFO_BYTES) or ""
        fields = [fields for fields in (line.split(" ") for line in mounts.split("\n")) if fields[4:5] == ["/"]]
        if not fields or "-" not in fields[-1]:
            return None
        device, rest = fields[-1][2], fields[-1][fields[-1].index("-") + 1 :]
        if not device.startswith("0:"):
            return device
        # btrfs shows an anonymous device; its source names the real one. An overlay or tmpfs has none
        source = rest[1] if len(rest) > 1 else ""
        return self._text(f"sys/class/block/{source.removeprefix('/dev/')}/dev") if source.startswith("/dev/") else None

    def _file_system_uuid(self, device: str) -> str | None:
        return self._udev(device, "ID_FS_UUID") or self._by_uuid(device)

    def _by_uuid(self, device: str) -> str | None:
        """Outside of the sandbox, and where udev keeps no database: the links that it or mdev made."""
        block = self._block(device)
        for link in _entries(self._root / "dev/disk/by-uuid"):
            if block is not None and link.is_symlink() and link.readlink().name == block.name:
                return link.name
        return None

    def _disk_name(self, device: str) -> str | None:
        """The name of the disk below /. Of several (RAID) the least, because their order may change at a boot."""
        block = self._block(device)
        names = [name for disk in _disks(block) if (name := self._name_of(disk))] if block else []
        return min(names, default=None)

    def _name_of(self, disk: Path) -> str | None:
        told = next((text for name in _DISK_NAMES if (text := _text(disk / name))), None)
        device = _text(disk / "dev")
        return told or (self._udev(device, "ID_SERIAL_SHORT") if device else None)

    def _block(self, device: str) -> Path | None:
        path = self._root / "sys/dev/block" / device
        return path.resolve() if path.exists() else None

    def _udev(self, device: str, name: str) -> str | None:
        told = _text(self._root / "run/udev/data" / f"b{device}", MAX_MOUNTINFO_BYTES) or ""
        start = f"E:{name}="
        return next((line.removeprefix(start) for line in told.split("\n") if line.startswith(start)), None)

    def _text(self, path: str) -> str | None:
        return _text(self._root / path)


def app_specific(machine_id: bytes, app_id: uuid.UUID = APP_ID) -> str:
    """What sd_id128_get_machine_app_specific(3) returns: nobody can go back from it to the machine id."""
    digest = bytearray(hmac.new(machine_id, app_id.bytes, hashlib.sha256).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def _disks(block: Path) -> Iterator[Path]:
    """The whole disks under a partition, a mapped device or an array."""
    if (block / "partition").exists():
        yield from _disks(block.parent)
        return
    slaves = list(_entries(block / "slaves"))
    for slave in slaves:
        yield from _disks(slave.resolve())
    if not slaves:
        yield block


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _text(path: Path, max_bytes: int = MAX_BYTES) -> str | None:
    """The text of a small file, or None where it is not there, not ours to read, or no text."""
    try:
        with path.open("rb") as file:
            text = file.read(max_bytes).decode("utf-8").strip(" \t\r\n\0")
    except (OSError, UnicodeDecodeError):
        return None
    return text or None
