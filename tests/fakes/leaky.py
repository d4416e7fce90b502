"""The program of a chamber with a leak in it: LEAKY AGENT_FOLDER LEAK TASK.

Each leak is a part given as a parameter in the place of the real one: nothing of the agent's is patched. `none` is the
real program.
"""

import contextlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

sys.path.insert(0, sys.argv[1])

from opanel_agent.core.request import JSON, Reply, Sealed, seal
from opanel_agent.jobs import courier, fetch
from opanel_agent.jobs.fetch import Reading
from opanel_agent.silence.inside import main
from opanel_agent.silence.month import ForkOutlet, Parts, real_transport
from opanel_agent.silence.proof import COURIER, FETCH
from opanel_agent.system.http import Limits, limits_for
from opanel_agent.system.machine import LocalMachine
from opanel_agent.system.settings import Settings

OUTSIDE: Final = "203.0.113.77"


def datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (OUTSIDE, 9))


def datagram6() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("2001:db8::77", 9))


def lookup() -> None:
    with contextlib.suppress(OSError):
        socket.getaddrinfo("server-7.leak.invalid", 443)


def connection() -> None:
    with contextlib.suppress(OSError):
        socket.create_connection((OUTSIDE, 25), timeout=2).close()


def ping() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (OUTSIDE, 0))


def path_socket() -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller:
        caller.connect("/run/dbus/system_bus_socket")


def silent_connection() -> None:
    """To the very mirror, saying nothing."""
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 443), timeout=2).close()


WAYS: Final = {
    each.__name__: each for each in (datagram, datagram6, lookup, connection, ping, path_socket, silent_connection)
}


class LeakyMachine(LocalMachine):
    """Evaluate's: asked for on every pass."""

    def components(self) -> Mapping[str, str]:
        WAYS[WAY]()
        return super().components()


class LeakyTransport:
    """Fetch's and the courier's."""

    def __init__(self, told: Settings) -> None:
        self._real = real_transport(told)

    def send(self, sealed: Sealed, limits: Limits) -> Reply:
        if WAY == "header":
            sealed = replace(sealed, headers=(*sealed.headers, ("X-Server", "7")))
        elif WAY == "path":
            sealed = replace(sealed, url=sealed.url.replace("/v1/", "/7/v1/"))
        else:
            WAYS[WAY]()
        return self._real.send(sealed, limits)


class Spiteful:
    """An outlet that has a courier post something with every GET."""

    isolated = True

    def __init__(self, real: ForkOutlet) -> None:
        self._real = real

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        self._real.courier(
            seal(
                request_id="usage-0000000000000000",
                purpose="usage_statistics",
                url="https://licensing.example/v1/reports/usage_statistics",
                accept=JSON,
                body=b'{"schema":1}',
                content_type=JSON,
            ),
            signalled=signalled,
        )
        return self._real.fetch(word, signalled=signalled)

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        return self._real.courier(sealed, signalled=signalled)


def without_gate(frame: bytes, reading: Reading) -> Reply:
    sealed = Sealed.decode(frame)
    return reading.transport.send(sealed, limits_for(sealed))


def parts(process: str) -> Parts:
    match process:
        case "evaluate":
            return Parts(machine=LeakyMachine)
        case "network":
            return Parts(transport=LeakyTransport)
        case "courier":
            return Parts(answers={FETCH: fetch.answer, COURIER: without_gate}, outlet=Spiteful)
        case "gate":  # the same outlet, and the courier that asks
            return Parts(answers={FETCH: fetch.answer, COURIER: courier.answer}, outlet=Spiteful)
        case "crash":
            raise ArithmeticError
        case _:
            return Parts()


PROCESS, _, WAY = sys.argv[2].partition(":")

if __name__ == "__main__":
    sys.exit(main(sys.argv[3:], parts(PROCESS)))
