"""What a process can reach from where it runs: one line a question, `question: what it could`.

`probe.py` alone tries everything, for a story to start in a unit's place. `probe.py ping SOCKET TEXT` says one thing to a
socket and tells what became of it. `probe.py leave` tries an address and a name outside. Standard library only: it runs
on the guest's own interpreter, which Debian 11 has of 3.9.
"""

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

CLONE_NEWUSER = 0x10000000
SECONDS = 20
FAMILIES = {
    "inet": (socket.AF_INET, socket.SOCK_STREAM),
    "inet6": (socket.AF_INET6, socket.SOCK_STREAM),
    "netlink": (socket.AF_NETLINK, socket.SOCK_DGRAM),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW),
}
READ = (
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/opanel-agent/agent.toml",
    "/etc/opanel-agent/for-the-agent",
    "/proc/1/status",
    "/proc/sys/kernel/random/boot_id",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/product_uuid",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/var/lib/opanel-agent/activation.key",
)
WRITE = ("/etc", "/opt/opanel-agent", "/run", "/run/opanel-agent", "/tmp", "/usr", "/var/lib/opanel-agent")  # noqa: S108
CONNECT = (
    "/run/dbus/system_bus_socket",
    "/run/opanel-agent/agent.sock",
    "/run/opanel-courier/courier.sock",
    "/run/systemd/private",
    "/run/systemd/userdb/io.systemd.DynamicUser",
)
CUSTOMER = "customer1.example"  # what stories plant where hosting servers have such names
NOT_WALKED = ("/dev", "/proc", "/sys", "/usr")
MAX_BYTES = 64 * 1024
AUTHORITY = ("192.0.2.1", 8443)
ELSEWHERE = "198.51.100.7"


def can(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def opens(name: str) -> None:
    socket.socket(*FAMILIES[name]).close()


def reaches() -> None:
    socket.create_connection(AUTHORITY, timeout=SECONDS).close()


def reads(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def writes(directory: str) -> None:
    file = Path(directory, ".probe")
    file.write_bytes(b"")
    file.unlink()


def connects(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)


def unshares() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def stays() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))


def credential() -> str:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory, "product_uuid").read_text("ascii").strip() if directory else "none"


def interfaces() -> str:
    lines = Path("/proc/self/net/dev").read_text("ascii").splitlines()[2:]
    return " ".join(sorted(line.partition(":")[0].strip() for line in lines))


def names_the_customer(path: Path) -> bool:
    if CUSTOMER in path.name:
        return True
    try:
        return path.is_file() and CUSTOMER.encode() in path.read_bytes()[:MAX_BYTES]
    except OSError:
        return False


def customers() -> Iterator[Path]:
    """Every path that says who the customer is, by its name or by its first bytes, in all that can be seen."""
    for place, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if str(Path(place, name)) not in NOT_WALKED]
        yield from filter(names_the_customer, (Path(place, name) for name in (*folders, *files)))


def everything() -> dict[str, str]:
    calls = {"priority": stays, "unshare": unshares}  # the second last: it changes who we are
    return {
        "families": " ".join(name for name in FAMILIES if can(partial(opens, name))),
        "network": "reached" if can(reaches) else "unreachable",
        "interfaces": interfaces(),
        "reads": " ".join(path for path in READ if can(partial(reads, path))),
        "writes": " ".join(path for path in WRITE if can(partial(writes, path))),
        "connects": " ".join(path for path in CONNECT if can(partial(connects, path))),
        "customers": " ".join(sorted(map(str, customers()))),
        "credential": credential(),
        "calls": " ".join(name for name, call in calls.items() if can(call)),
    }


def ping(path: str, text: str) -> str:
    """`replied`, or the name of the error that the other side's refusal is."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(path)
            connection.sendall(text.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            return "replied" if connection.recv(1) else "closed"
    except OSError as refused:
        return type(refused).__name__


def leave() -> None:
    for place in (ELSEWHERE, "elsewhere.example"):
        with contextlib.suppress(OSError):
            socket.create_connection((place, 443), timeout=1).close()


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["ping"]:
        _, path, text = arguments
        sys.stdout.write(ping(path, text) + "\n")
    elif arguments == ["leave"]:
        leave()
    else:
        sys.stdout.writelines(f"{question}: {could}\n" for question, could in everything().items())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
