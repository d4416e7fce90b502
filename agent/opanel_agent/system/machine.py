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

import errno
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from opanel_agent import __version__
from opanel_agent.core.license.binding import BOOT_DISKS, TYPES, canonical
from opanel_agent.core.reporting import fingerprint
from opanel_agent.core.values import frozen
from opanel_agent.system import errno_codes
from opanel_agent.system.log import log_event
from opanel_agent.system.storage import installation

T = TypeVar("T")
# Drawn once for this program. It separates our derived machine id from every other program's (machine-id(5)).
APP_ID: Final = bytes.fromhex("6f1f7c1e9b0d4c5a8f0e3a52c9d47b61")
MAX_BYTES: Final = 4096
MAX_MOUNTINFO_BYTES: Final = 1024 * 1024
MAX_CPUINFO_BYTES: Final = 16 * 1024  # the first processor's flags; the others have the same
_MACHINE_ID: Final = r"[0-9a-f]{32}"
# Laid by a package that has an interpreter of its own, and so lies where install.sh lays the agent.
_PACKAGE_MARK: Final = "opt/opanel-agent/package"
# In the order in which they are preferred: what is known to stay first. A world wide name is a disk's own; of NVMe disks
# kernels have changed it (a quirk for a maker's bogus ones), while the serial stayed.
_DISK_NAMES: Final = ("wwid", "device/wwid", "serial", "device/serial")
_NVME_NAMES: Final = ("serial", "device/serial", "wwid", "device/wwid")
# With which the kernel says that there is nothing to tell; a disk without a name answers the last four (sd, scsi_dh).
_ABSENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP}
)


class UnreadFile(NamedTuple):
    """What could not be read, and why: `file` None where no file is known, `errno` (`EIO`) None for what is no text."""

    file: str | None
    errno: str | None


class Components(NamedTuple):
    """`found`: raw values by component type. `unread`: the types of which not everything could be read, each with a file.

    What is not there is evidence: it may be another machine. What could not be read is none, as an input/output error or
    a missing permission. A type may be both: some disks of several, a machine id that may be one boot's.
    """

    found: Mapping[str, str]
    unread: Mapping[str, UnreadFile]


class Machine(Protocol):
    """Collects facts of a machine. Tests replace it."""

    def components(self) -> Components:
        """Returns raw values by component type; a type that this machine does not tell is missing.

        Without the agent's key.
        """
        ...

    def facts(self, names: Collection[str], *, panel_version_file: Path | None) -> Mapping[str, str]:
        """Returns those of `names` that a machine knows, each already as coarse as a report may say it."""
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


class _Mount(NamedTuple):
    """A line of mountinfo, of which these four count."""

    device: str
    place: str
    fs_type: str
    source: str


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
        self._failed: UnreadFile | None = None  # the first file that the present collector could not read

    def components(self) -> Components:
        """Returns the raw identifiers that this machine has, by component type."""
        unread: dict[str, UnreadFile] = {}

        def collect(name: str, read: Callable[[], T]) -> T | None:
            self._failed = None
            value = _collected(name, lambda: (read(),))
            if self._failed is not None or value is None:
                unread[name] = self._failed or UnreadFile(None, None)
            return None if value is None else value[0]

        devices = collect("root_device", self._root_devices) or ()
        disks = collect(BOOT_DISKS[0], lambda: self._disk_names(devices))
        found = {
            "machine_id": collect("machine_id", self._machine_id),
            "root_fs_uuid": collect("root_fs_uuid", lambda: self._file_system_uuid(devices)),
            "dmi_product_uuid": collect("dmi_product_uuid", self._product_uuid),
            **dict(zip(BOOT_DISKS, disks or (), strict=False)),
            "cloud_instance_id": collect("cloud_instance_id", lambda: self._text("var/lib/cloud/data/instance-id")),
        }
        if "root_device" in unread:
            unread = dict.fromkeys(("root_fs_uuid", BOOT_DISKS[0]), unread["root_device"]) | unread
        return Components(
            {kind: value for kind, value in found.items() if value},
            {kind: why for kind, why in unread.items() if kind in TYPES},
        )

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
        return fingerprint.series(self._read(path) if path.is_file() else None)  # a FIFO would make us wait for ever

    def _os_release(self) -> Mapping[str, str]:
        return fingerprint.os_release(self._text("etc/os-release") or self._text("usr/lib/os-release"))

    def _install_channel(self) -> str:
        """Tells the channel as install.sh and packages lay their code (docs/ARCHITECTURE.md, "On disk")."""
        code = self._code.resolve()
        if code.is_relative_to("/opt/opanel-agent"):
            return "package" if (self._root / _PACKAGE_MARK).is_file() else "installer"
        return "package" if code.is_relative_to("/usr") else "user"

    def _hints(self) -> fingerprint.Hints:
        """Returns what systemd-detect-virt(1) looks at, as far as it is readable without root."""
        marks = ("run/systemd/container", ".dockerenv", "run/.containerenv")
        maker = [self._text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
        openvz = (self._root / "proc/vz").exists() and not (self._root / "proc/bc").exists()
        return fingerprint.Hints(
            marked_container=openvz or any((self._root / mark).exists() for mark in marks),
            cgroup=self._text("proc/self/cgroup"),
            maker=" ".join(filter(None, maker)) or None,
            hypervisor=self._text("sys/hypervisor/type"),
            cpu=self._read(self._root / "proc/cpuinfo", MAX_CPUINFO_BYTES),
        )

    def _machine_id(self) -> str | None:
        text = self._text("etc/machine-id")
        if text is None or not re.fullmatch(_MACHINE_ID, text):
            return None  # "uninitialized" during a first boot
        if any(mount.place == "/etc/machine-id" and mount.fs_type == "tmpfs" for mount in self._mounts()):
            return None  # drawn for this boot alone, because /etc cannot be written (machine-id(5))
        return app_specific(bytes.fromhex(text))

    def _product_uuid(self) -> str | None:
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            return self._text("sys/class/dmi/id/product_uuid")
        text = self._read(Path(directory) / "product_uuid")
        return None if text == "absent" else text  # SetCredential= says so where the machine has no DMI

    def _mounts(self) -> list[_Mount]:
        """Returns the lines of mountinfo that can be understood (proc_pid_mountinfo(5))."""
        path = self._root / "proc/self/mountinfo"
        text = self._read(path, MAX_MOUNTINFO_BYTES) or ""
        lines = (line.split(" ") for line in text.split("\n"))
        mounts = [
            _Mount(fields[2], fields[4], fields[dash + 1], fields[dash + 2])
            for fields in lines
            if "-" in fields and 5 < (dash := fields.index("-")) < len(fields) - 2
        ]
        if not mounts:  # something is mounted wherever we run
            self._failed = self._failed or UnreadFile(str(path), None)
        return mounts

    def _root_devices(self) -> tuple[str, ...]:
        """Returns `major:minor` of what is mounted at /, by the last such line, and of the other members of a pool."""
        roots = [mount for mount in self._mounts() if mount.place == "/"]
        if not roots:
            return ()
        root = roots[-1]
        if not root.device.startswith("0:"):
            return (root.device,)
        # btrfs and ZFS show an anonymous device; their source names the real ones. An overlay or tmpfs has none.
        if root.fs_type == "zfs":
            return self._pool_members(root.source.partition("/")[0])
        return self._btrfs_members(root.source) if root.source.startswith("/dev/") else ()

    def _btrfs_members(self, source: str) -> tuple[str, ...]:
        """Returns the device that the mount names, and the others of its file system, of which the kernel names any."""
        named = self._block_named(source.removeprefix("/dev/"))
        if named is None:
            return ()
        systems = (self._entries(each / "devices") for each in self._entries(self._root / "sys/fs/btrfs"))
        members = next((found for found in systems if named.name in {each.name for each in found}), [])
        devices = (self._read(each / "dev") for each in (named, *members))
        return tuple(dict.fromkeys(device for device in devices if device))

    def _block_named(self, name: str) -> Path | None:
        """Returns the block device with this name below /dev; one of the device mapper's has two."""
        blocks = self._root / "sys/class/block"
        mapped = name.removeprefix("mapper/")
        if mapped == name:
            return blocks / name if self._resolved(blocks / name) else None
        return next((each for each in self._entries(blocks) if self._read(each / "dm/name") == mapped), None)

    def _pool_members(self, pool: str) -> tuple[str, ...]:
        """Returns the devices that udev found to be of this ZFS pool; the kernel tells nobody but root."""
        known = [
            each.name.removeprefix("b") for each in self._entries(self._root / "run/udev/data") if each.name[0] == "b"
        ]
        members = (each for each in known if self._udev(each, "ID_FS_TYPE") == "zfs_member")
        return tuple(each for each in members if self._udev(each, "ID_FS_LABEL") == pool)

    def _file_system_uuid(self, devices: Sequence[str]) -> str | None:
        return (self._udev(devices[0], "ID_FS_UUID") or self._by_uuid(devices[0])) if devices else None

    def _by_uuid(self, device: str) -> str | None:
        """Finds a device outside of the sandbox, and where udev keeps no database: the links that it or mdev made."""
        block = self._block(device)
        for link in self._entries(self._root / "dev/disk/by-uuid"):
            if block is not None and link.is_symlink() and link.readlink().name == block.name:
                return link.name
        return None

    def _disk_names(self, devices: Sequence[str]) -> list[str]:
        """Returns the names of the disks below /: the preferred one of each, sorted, then every other that one has.

        Sorted, because the order of the disks may change at a boot. Each may be what an activation was bound to.
        """
        blocks = [block for device in devices if (block := self._block(device)) is not None]
        disks = dict.fromkeys(disk for block in blocks for disk in self._disks(block))
        by_disk = [names for disk in disks if (names := self._names_of(disk))]
        preferred = sorted({names[0] for names in by_disk})
        others = sorted({name for names in by_disk for name in names[1:]} - {*preferred})
        return [*preferred, *others]

    def _names_of(self, disk: Path) -> list[str]:
        """Returns the kernel's names first, then udev's.

        Either may write a number in another way one day, or not at all.
        """
        order = _NVME_NAMES if disk.name.startswith("nvme") else _DISK_NAMES
        names = [text for name in order if (text := self._read(disk / name))]
        device = self._read(disk / "dev")
        by_udev = (self._udev(device, name) for name in ("ID_SERIAL_SHORT", "ID_WWN")) if device else ()
        one_each: dict[str, str] = {}
        for name in (*names, *filter(None, by_udev)):
            one_each.setdefault(canonical(BOOT_DISKS[0], name.strip().lower()), name)
        return [*one_each.values()]

    def _block(self, device: str) -> Path | None:
        return self._resolved(self._root / "sys/dev/block" / device)

    def _udev(self, device: str, name: str) -> str | None:
        text = self._read(self._root / "run/udev/data" / f"b{device}", MAX_MOUNTINFO_BYTES) or ""
        start = f"E:{name}="
        return next((line.removeprefix(start) for line in text.split("\n") if line.startswith(start)), None)

    def _text(self, path: str) -> str | None:
        return self._read(self._root / path)

    def _read(self, path: Path, max_bytes: int = MAX_BYTES) -> str | None:
        """Returns the text of a small file, or None where it is not there, not ours to read, or no text."""
        try:
            with path.open("rb") as file:
                text = file.read(max_bytes).decode("utf-8").strip(" \t\r\n\0")
        except (OSError, UnicodeDecodeError) as failed:
            self._note(path, failed)
            return None
        return text or None

    def _entries(self, directory: Path) -> list[Path]:
        try:
            return sorted(directory.iterdir())
        except OSError as failed:
            self._note(directory, failed)
            return []

    def _resolved(self, path: Path) -> Path | None:
        """Returns the path without links; None where nothing is there, or cannot be looked at."""
        try:
            return path.resolve(strict=True)
        except (OSError, RuntimeError) as failed:  # links in a circle
            self._note(path, failed)
            return None

    def _disks(self, block: Path) -> Iterator[Path]:
        """Yields the whole disks under a partition, a mapped device or an array."""
        if self._resolved(block / "partition"):
            yield from self._disks(block.parent)
            return
        slaves = self._entries(block / "slaves")
        for slave in slaves:
            if (below := self._resolved(slave)) is not None:
                yield from self._disks(below)
        if not slaves:
            yield block

    def _note(self, path: Path, failed: Exception) -> None:
        if isinstance(failed, OSError) and failed.errno in _ABSENT:
            return
        why = errno_codes.name_of(failed) if isinstance(failed, OSError) else None
        self._failed = self._failed or UnreadFile(str(path), why)


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
    """Returns what sd_id128_get_machine_app_specific(3) returns: nobody can go back from it to the machine id."""
    digest = bytearray(hmac.new(machine_id, app_id, hashlib.sha256).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()
