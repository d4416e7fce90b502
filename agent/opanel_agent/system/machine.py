"""Collects this machine's identifiers and the coarse facts of a usage report: two things that never meet.

`components` are the raw values that an activation's digests are made of. Each is looked up on its own and is simply
absent where the machine does not tell it (a container has no DMI, a virtual disk no serial); which are junk, and how many
must match, is decided in `core.license.binding`. Raw values never leave the process that called this.

`facts` are the coarse classes of a usage report (`core.reporting.fingerprint`). Only what is asked for by name is read
at all, and psutil is loaded only for the two facts that need it.

Whatever a collector raises, its value is absent or `unknown`, and a line in the log says which.

Sources, as readable inside the service's sandbox: /etc, /proc, /run/udev/data, sysfs, the credential `product_uuid` that
systemd loads for us, and cloud-init's instance-id. Hostname, addresses and MAC are never read.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

from opanel_agent import __version__
from opanel_agent.core.license.binding import BOOT_DISKS
from opanel_agent.core.reporting import fingerprint
from opanel_agent.core.values import frozen
from opanel_agent.system.log import log_event
from opanel_agent.system.storage import installation

T = TypeVar("T")
# Drawn once for this program. It separates our derived machine id from every other program's (machine-id(5)).
APP_ID: Final = bytes.fromhex("6f1f7c1e9b0d4c5a8f0e3a52c9d47b61")
MAX_BYTES: Final = 4096
MAX_MOUNTINFO_BYTES: Final = 1024 * 1024
MAX_CPUINFO_BYTES: Final = 16 * 1024  # the first processor's flags; the others have the same
_MACHINE_ID: Final = r"[0-9a-f]{32}"
# In the order in which they are preferred: what is known to stay first. A world wide name is a disk's own; of NVMe disks
# kernels have changed it (a quirk for a maker's bogus ones), while the serial stayed.
_DISK_NAMES: Final = ("wwid", "device/wwid", "serial", "device/serial")
_NVME_NAMES: Final = ("serial", "device/serial", "wwid", "device/wwid")


class Machine(Protocol):
    """Collects facts of a machine. Tests replace it."""

    def components(self) -> Mapping[str, str]:
        """Raw values by component type; a type that this machine does not tell is missing. Without the agent's key."""
        ...

    def facts(self, names: Collection[str], *, panel_version_file: Path | None) -> Mapping[str, str]:
        """Those of `names` that a machine knows, each already as coarse as a report may say it."""
        ...


def _processors() -> int | None:
    import psutil  # evaluate runs many times a day, and a report is made once a week

    count: int | None = psutil.cpu_count()
    return count


def _memory_bytes() -> int | None:
    import psutil  # as above

    total: int = psutil.virtual_memory().total
    return total


@frozen
class Kernel:
    """What is asked of the kernel by call instead of by file."""

    uname: Callable[[], os.uname_result] = os.uname
    processors: Callable[[], int | None] = _processors
    memory_bytes: Callable[[], int | None] = _memory_bytes


class LocalMachine:
    """This machine. The parameters are so that a test can lay out another; `code` is a file of this package."""

    def __init__(
        self,
        environ: Mapping[str, str],
        root: Path = Path("/"),
        *,
        kernel: Kernel = Kernel(),
        code: Path = Path(installation.CODE),
    ) -> None:
        self._environ = environ
        self._root = root
        self._kernel = kernel
        self._code = code

    def components(self) -> Mapping[str, str]:
        """Returns the raw identifiers that this machine has, by component type."""
        device = _collected("root_device", self._root_device)
        disks = _collected("boot_disk", lambda: self._disk_names(device)) if device else None
        found = {
            "machine_id": _collected("machine_id", self._machine_id),
            "root_fs_uuid": _collected("root_fs_uuid", lambda: self._file_system_uuid(device)) if device else None,
            "dmi_product_uuid": _collected("dmi_product_uuid", self._product_uuid),
            **dict(zip(BOOT_DISKS, disks or (), strict=False)),
            "cloud_instance_id": self._text("var/lib/cloud/data/instance-id"),
        }
        return {kind: value for kind, value in found.items() if value}

    def facts(self, names: Collection[str], *, panel_version_file: Path | None) -> Mapping[str, str]:
        """Returns the coarse facts of the given names; `unknown` for what cannot be found out."""
        readers: dict[str, Callable[[], str]] = {
            "agent_version": lambda: fingerprint.series(__version__),
            "panel_version": lambda: self._panel_version(panel_version_file),
            "os_id": lambda: fingerprint.os_id(self._os_release()),
            "os_version": lambda: fingerprint.os_version(self._os_release()),
            "kernel": lambda: fingerprint.kernel(self._kernel.uname().release),
            "architecture": lambda: fingerprint.architecture(self._kernel.uname().machine),
            "virtualization": lambda: fingerprint.virtualization(self._hints()),
            "cpu_class": lambda: fingerprint.cpu_class(self._kernel.processors()),
            "memory_class": lambda: fingerprint.memory_class(self._kernel.memory_bytes()),
            "install_channel": self._install_channel,
        }
        return {
            name: _collected(name, read) or fingerprint.unknown(name) for name, read in readers.items() if name in names
        }

    def _panel_version(self, file: Path | None) -> str:
        if file is None:
            return fingerprint.UNKNOWN
        path = self._root / file.relative_to("/")
        return fingerprint.series(_text(path) if path.is_file() else None)  # a FIFO would make us wait for ever

    def _os_release(self) -> Mapping[str, str]:
        return fingerprint.os_release(self._text("etc/os-release") or self._text("usr/lib/os-release"))

    def _install_channel(self) -> str:
        """As install.sh and packages lay their code (docs/ARCHITECTURE.md, "On disk")."""
        code = self._code.resolve()
        if code.is_relative_to("/opt/opanel-agent"):
            return "installer"
        return "package" if code.is_relative_to("/usr") else "user"

    def _hints(self) -> fingerprint.Hints:
        """What systemd-detect-virt(1) looks at, as far as it is readable without root."""
        marks = ("run/systemd/container", ".dockerenv", "run/.containerenv")
        maker = [self._text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
        openvz = (self._root / "proc/vz").exists() and not (self._root / "proc/bc").exists()
        return fingerprint.Hints(
            marked_container=openvz or any((self._root / mark).exists() for mark in marks),
            cgroup=self._text("proc/self/cgroup"),
            maker=" ".join(filter(None, maker)) or None,
            hypervisor=self._text("sys/hypervisor/type"),
            cpu=_text(self._root / "proc/cpuinfo", MAX_CPUINFO_BYTES),
        )

    def _machine_id(self) -> str | None:
        text = self._text("etc/machine-id")
        if text is None or not re.fullmatch(_MACHINE_ID, text):
            return None  # "uninitialized" during a first boot
        return app_specific(bytes.fromhex(text))

    def _product_uuid(self) -> str | None:
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            return self._text("sys/class/dmi/id/product_uuid")
        text = _text(Path(directory) / "product_uuid")
        return None if text == "absent" else text  # SetCredential= says so where the machine has no DMI

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

    def _disk_names(self, device: str) -> list[str]:
        """The names of the disks below /: the preferred one of each, sorted, then every other that one has.

        Sorted, because the order of the disks may change at a boot. Each may be what an activation was bound to.
        """
        block = self._block(device)
        by_disk = [names for disk in _disks(block) if (names := self._names_of(disk))] if block else []
        preferred = sorted({names[0] for names in by_disk})
        others = sorted({name for names in by_disk for name in names[1:]} - {*preferred})
        return [*preferred, *others]

    def _names_of(self, disk: Path) -> list[str]:
        order = _NVME_NAMES if disk.name.startswith("nvme") else _DISK_NAMES
        names = [text for name in order if (text := _text(disk / name))]
        device = _text(disk / "dev")
        by_udev = self._udev(device, "ID_SERIAL_SHORT") if device else None
        return names or ([by_udev] if by_udev else [])

    def _block(self, device: str) -> Path | None:
        path = self._root / "sys/dev/block" / device
        return path.resolve() if path.exists() else None

    def _udev(self, device: str, name: str) -> str | None:
        text = _text(self._root / "run/udev/data" / f"b{device}", MAX_MOUNTINFO_BYTES) or ""
        start = f"E:{name}="
        return next((line.removeprefix(start) for line in text.split("\n") if line.startswith(start)), None)

    def _text(self, path: str) -> str | None:
        return _text(self._root / path)


def _collected(name: str, read: Callable[[], T]) -> T | None:
    """Returns what a collector found; None, and a line in the log, where it raised.

    Kernels, containers and libraries over their files fail in ways of their own (psutil raises IndexError for the
    /proc/meminfo of some container hosts), and nothing that is optional may keep the license from being judged.
    """
    try:
        return read()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the value is unknown
        log_event("collector_failed", level="warning", collector=name, kind=type(exc).__name__)
        return None


def app_specific(machine_id: bytes, app_id: bytes = APP_ID) -> str:
    """What sd_id128_get_machine_app_specific(3) returns: nobody can go back from it to the machine id."""
    digest = bytearray(hmac.new(machine_id, app_id, hashlib.sha256).digest()[:16])
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
