"""The chamber: a network of our own in which whatever tries to leave becomes packets that the kernel counts.

A plain counter in an empty network proves nothing: without a route, connecting outside ends in ENETUNREACH before any
packet, and a leaking program looks silent. So `lo` gets a local default route for IPv4 and one for IPv6: every address of
the world is then this machine's, and each attempt is seen. Names come from a hosts file of our own; any other name is
asked of the resolver's server, which is also here, and so counted. /run is hidden, because a path socket belongs to no
network: nscd, resolved and D-Bus would carry a name out uncounted.

The installed programs find everything where they look for it: the scenario's settings and state are bound over the real
folders, /etc is the real one with the scenario's opt-outs in the place of its own, and site-packages has one file more,
which moves the clock (`clock_overlay`). None of these mounts exists outside.

All of it needs a user, a network and a mount namespace of this process's own (`unshare -rnm`), which `prepare` checks
before it changes anything. Sources: netdevice(7), rtnetlink(7), proc(5), mount(2).
"""

import ctypes
import fcntl
import os
import socket
import struct
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.values import field, frozen
from opanel_agent.silence.judge import Traffic
from opanel_agent.system.storage.installation import NAME

LOOPBACK: Final = "lo"
ETC: Final = Path("/etc")
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
START_FILE: Final = "opanel-agent-prove-silence.pth"
# What of /etc is the scenario's to say: name services, and every place of an opt-out.
_ETC_REPLACED: Final = frozenset({"hosts", "nsswitch.conf", "do-not-track", "environment", "environment.d"})
_DEFAULTS: Final = ("default", "sysconfig")
RUN: Final = Path("/run")
UDEV: Final = RUN / "udev"
SETTLE_S: Final = 3.0
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_RTM_NEWROUTE, _NLMSG_ERROR = 24, 2
_REQUEST_ACK_CREATE: Final = 0x1 | 0x4 | 0x400
_TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL = 255, 3, 254, 2
_ATTRIBUTE_OIF: Final = 4


class NamespaceRefused(Exception):
    """The kernel does not let us make a chamber here. `step` is what it refused, in a word."""

    def __init__(self, step: str, detail: str) -> None:
        super().__init__(step, detail)
        self.step = step
        self.detail = detail


@frozen
class Layout:
    """What is mounted. `hosts`: an IPv4 and an IPv6 address by name; `bound`: a folder by the place that it is bound to.

    `packages` is the folder that gets START_FILE with the line `start`; `boot_id` the file that tells which boot this is.
    """

    hosts: Mapping[str, tuple[str, str]]
    bound: Mapping[Path, Path] = field(default_factory=dict)
    packages: Path | None = None
    start: str = ""
    boot_id: Path | None = None


def prepare(folder: Path, layout: Layout) -> bool:
    """Makes this process's own namespaces the chamber.

    What is written to `folder`/state stays in memory: thousands of small files, of which nothing is kept.
    Returns whether there is IPv6. Raises NamespaceRefused, at once where these are not namespaces of our own.
    """
    _judge_namespaces()
    try:
        _lift(LOOPBACK)
        local_route(socket.AF_INET)
    except OSError as exc:
        raise NamespaceRefused("network", str(exc)) from exc
    has_v6 = _try_v6()
    try:
        _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
        _mount("tmpfs", folder / "state", "tmpfs", 0)
        _hide_run(folder)
        _lay_etc(folder, hosts_file(layout.hosts, has_v6=has_v6))
        _lay_programs(folder, layout)
    except OSError as exc:
        raise NamespaceRefused("mounts", str(exc)) from exc
    return has_v6


def hosts_file(hosts: Mapping[str, tuple[str, str]], *, has_v6: bool) -> bytes:
    lines = ["127.0.0.1 localhost", *(["::1 localhost"] if has_v6 else [])]
    for name, (v4, v6) in sorted(hosts.items()):
        lines += [f"{v4} {name}", *([f"{v6} {name}"] if has_v6 else [])]
    return "".join(line + "\n" for line in lines).encode("ascii")


def local_route(family: int) -> None:
    """Does `ip route add local default dev lo` for one family."""
    scope = _SCOPE_HOST if family == socket.AF_INET else 0
    message = struct.pack("=8BI", family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, scope, _TYPE_LOCAL, 0)
    message += struct.pack("=HHI", 8, _ATTRIBUTE_OIF, socket.if_nametoindex(LOOPBACK))
    header = struct.pack("=IHHII", 16 + len(message), _RTM_NEWROUTE, _REQUEST_ACK_CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(header + message)
        answer = netlink.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    (error,) = struct.unpack_from("=i", answer, 16)
    if kind != _NLMSG_ERROR or error:
        raise OSError(-error, os.strerror(-error))


def traffic(net: Path = Path("/proc/self/net")) -> Traffic:
    """Returns what this network has seen until now. /sys/class/net would still show the old one's figures."""
    snmp = _table((net / "snmp").read_text("ascii"))
    datagrams = sum(snmp.get(name, 0) for name in ("Udp.OutDatagrams", "UdpLite.OutDatagrams"))
    return Traffic(
        packets=_sent_packets((net / "dev").read_text("ascii")),
        opens=snmp["Tcp.ActiveOpens"],
        datagrams=datagrams + _v6_datagrams(net / "snmp6"),
        segments=snmp["Tcp.OutSegs"] + snmp["Tcp.RetransSegs"],
    )


def settled() -> Traffic:
    """Returns the counters once they stand still: the last packets of a connection may come after its end."""
    ends_at = time.monotonic() + SETTLE_S
    before, seen = None, traffic()
    while before != seen and time.monotonic() < ends_at:
        time.sleep(0.1)
        before, seen = seen, traffic()
    return seen


def _sent_packets(text: str) -> int:
    """Returns the tenth figure of every interface: packets sent. On `lo` each is received, too."""
    return sum(int(line.partition(":")[2].split()[9]) for line in text.splitlines()[2:])


def _table(text: str) -> dict[str, int]:
    """Reads pairs of lines: names, then figures."""
    found: dict[str, int] = {}
    lines = text.splitlines()
    for names, figures in zip(lines[::2], lines[1::2], strict=True):
        group, _, rest = names.partition(":")
        values = figures.partition(":")[2].split()
        found |= {f"{group}.{name}": int(figure) for name, figure in zip(rest.split(), values, strict=True)}
    return found


def _v6_datagrams(path: Path) -> int:
    if not path.exists():
        return 0
    figures = dict(line.split() for line in path.read_text("ascii").splitlines())
    return sum(int(figures.get(name, 0)) for name in ("Udp6OutDatagrams", "UdpLite6OutDatagrams"))


# ---- steps


def _judge_namespaces() -> None:
    """Takes a second look before anything is changed: here nothing but `lo` exists, and it is down and has sent nothing."""
    names = [name for _, name in socket.if_nameindex()]
    quiet = names[:1] == [LOOPBACK] and not _flags(LOOPBACK) & _IFF_UP
    if not quiet or traffic() != Traffic():
        raise NamespaceRefused("namespaces", " ".join(names))


def _flags(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        ifreq = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("=16sH14x", name.encode(), 0))
    (flags,) = struct.unpack_from("=H", ifreq, 16)
    return int(flags)


def _lift(name: str) -> None:
    request = struct.pack("=16sH14x", name.encode(), _flags(name) | _IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def _try_v6() -> bool:
    """Tells whether there is IPv6; False where the kernel has no IPv6: then nothing can leave by it, either."""
    try:
        local_route(socket.AF_INET6)
    except OSError:
        if _reaches_v6():  # it is there, and we cannot see what leaves by it
            raise NamespaceRefused("network", "IPv6") from None
        return False
    return True


def _reaches_v6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("::1", 9))
    except OSError:
        return False
    return True


def _hide_run(folder: Path) -> None:
    """Mounts an empty /run, with udev's database back in it: the machine's components are read from there."""
    kept = folder / "udev"
    if UDEV.is_dir():
        kept.mkdir(exist_ok=True)
        _mount(str(UDEV), kept, "", _MS_BIND | _MS_REC)
    _mount("tmpfs", RUN, "tmpfs", 0)
    if kept.is_dir():
        UDEV.mkdir()
        _mount(str(kept), UDEV, "", _MS_BIND | _MS_REC)


def _lay_etc(folder: Path, hosts: bytes) -> None:
    """Lays the real /etc, but for name services and opt-outs: those are the scenario's."""
    real = folder / "etc.real"
    _relay(ETC, real, without=_ETC_REPLACED)
    for name in _DEFAULTS:
        if (real / name).is_dir():
            _relay(ETC / name, folder / f"{name}.real", without={NAME})
    (ETC / "hosts").write_bytes(hosts)
    (ETC / "nsswitch.conf").write_bytes(b"hosts: files dns\n")
    for source in sorted((folder / "etc").rglob("*")):
        target = ETC / source.relative_to(folder / "etc")
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(source.read_bytes())


def _lay_programs(folder: Path, layout: Layout) -> None:
    for target, source in layout.bound.items():
        if target.is_relative_to(folder) or target.is_relative_to(ETC) or target.is_relative_to(RUN):
            target.mkdir(parents=True, exist_ok=True)  # nothing is made outside
        _mount(str(source), target, "", _MS_BIND)
    if layout.packages is not None:
        _relay(layout.packages, folder / "packages.real", without=frozenset())
        (layout.packages / START_FILE).write_text(layout.start, "utf-8")
    if layout.boot_id is not None:
        # systemd-nspawn lays a file of its own there and removes it: a mount point that is gone takes no further mount.
        _relay(BOOT_ID.parent, folder / "random.real", without={BOOT_ID.name})
        BOOT_ID.touch()
        _mount(str(layout.boot_id), BOOT_ID, "", _MS_BIND)


def _relay(directory: Path, aside: Path, *, without: Collection[str]) -> None:
    """Puts a folder in memory in a folder's place, with everything bound into it that the real one has but `without`."""
    aside.mkdir()
    _mount(str(directory), aside, "", _MS_BIND | _MS_REC)
    _mount("tmpfs", directory, "tmpfs", 0)
    for entry in os.scandir(aside):
        target = directory / entry.name
        if entry.name in without:
            continue
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            target.mkdir()
            _mount(entry.path, target, "", _MS_BIND | _MS_REC)
        elif entry.is_file():
            target.touch()
            _mount(entry.path, target, "", _MS_BIND)


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), None)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def documentation_addresses(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns an address of each family for each name, out of the blocks for documentation (RFC 5737, RFC 3849)."""
    blocks = ("192.0.2", "198.51.100", "203.0.113")
    found: dict[str, tuple[str, str]] = {}
    for number, name in enumerate(sorted(names)):
        block, host = divmod(number, 254)
        found[name] = (f"{blocks[block % len(blocks)]}.{host + 1}", f"2001:db8::{number + 1:x}")
    return found
