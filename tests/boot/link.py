"""The guest's one way out, and what the kernel counted on it.

Two network namespaces, one cable (veth): our end `outside` with the authority behind it, the guest's end `host0`. Nothing
else is on it, and nothing speaks by itself: IPv6 is off at both ends before they come up (no neighbour discovery, no
listener reports), and each end knows the other's hardware address for good (no ARP). The guest's default route leads over
it, so whatever tries to leave to anywhere is a packet here. The namespace lives with `holder`, not with the guest: the
counters run on through its reboots.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OUTSIDE: Final = "192.0.2.1"
GUEST: Final = "192.0.2.2"
_MACS: Final = {"outside": "02:00:00:00:02:01", "host0": "02:00:00:00:02:02"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Since the link was made. `packets`: both ways, on our end. The others are the guest's own protocol counters."""

    packets: int
    connections: int  # TCP connections that it began, whatever became of them
    datagrams: int  # UDP that it sent: questions to a name service
    ip: int  # IPv4 packets that it sent or took
    ip6: int  # IPv6 packets that it tried to send

    def since(self, before: "Count") -> "Count":
        return Count(**{name: getattr(self, name) - getattr(before, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    namespace: Path

    def count(self) -> Count:
        tcp_and_udp = counters(_in(self.namespace, "cat", "/proc/net/snmp"))
        ip6 = dict(line.split() for line in _in(self.namespace, "cat", "/proc/net/snmp6").splitlines())
        return Count(
            packets=packets(Path("/proc/net/dev").read_text("ascii"), "outside"),
            connections=tcp_and_udp["Tcp", "ActiveOpens"],
            datagrams=tcp_and_udp["Udp", "OutDatagrams"],
            ip=tcp_and_udp["Ip", "OutRequests"] + tcp_and_udp["Ip", "InReceives"],
            ip6=int(ip6["Ip6OutRequests"]),
        )


@contextmanager
def link() -> Iterator[Link]:
    """Made in the network namespace that we are in, which must be ours alone; gone with its end."""
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdin
        assert holder.stdout
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        holder.stdout.read(1)  # it says it back: the namespace is there
        namespace = Path(f"/proc/{holder.pid}/ns/net")
        _run("ip", "link", "add", "outside", "type", "veth", "peer", "name", "host0", "netns", str(holder.pid))
        _set_up(("nsenter", f"--net={namespace}"), "host0", GUEST, peer=(OUTSIDE, _MACS["outside"]))
        _set_up((), "outside", OUTSIDE, peer=(GUEST, _MACS["host0"]))
        _run("nsenter", f"--net={namespace}", "ip", "route", "add", "default", "via", OUTSIDE)
        yield Link(namespace=namespace)
    finally:
        holder.communicate()


def _set_up(inside: tuple[str, ...], name: str, address: str, *, peer: tuple[str, str]) -> None:
    for which in ("all", "default", name):
        _run(*inside, "sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
    _run(*inside, "ip", "link", "set", name, "address", _MACS[name])
    _run(*inside, "ip", "address", "add", f"{address}/24", "dev", name)
    _run(*inside, "ip", "neighbour", "add", peer[0], "lladdr", peer[1], "dev", name, "nud", "permanent")
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "link", "set", name, "up")


def _in(namespace: Path, *argv: str) -> str:
    return subprocess.run(
        ["nsenter", f"--net={namespace}", *argv], check=True, capture_output=True, encoding="ascii"
    ).stdout


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def counters(text: str) -> dict[tuple[str, str], int]:
    """/proc/net/snmp: a line of names and a line of numbers for each protocol."""
    lines = [line.split() for line in text.splitlines()]
    return {
        (names[0].rstrip(":"), name): int(number)
        for names, numbers in zip(lines[::2], lines[1::2], strict=True)
        for name, number in zip(names[1:], numbers[1:], strict=True)
    }


def packets(text: str, name: str) -> int:
    """/proc/net/dev: packets are the second number of eight, received and sent."""
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{name}:"))
    numbers = [int(number) for number in line.partition(":")[2].split()]
    return numbers[1] + numbers[9]
