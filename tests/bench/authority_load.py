"""How long `opanel-authority serve` keeps 200 clients waiting who ask at once, each on a connection of its own.

usage: PYTHONPATH=tests python tests/bench/authority_load.py [LICENSES]     1000, when not said

Each license is exchanged and activated once, and two status lists are fetched for each, in an order that is drawn: 200
requests are under way at any moment. The clients share the machine with the service; their requests are signed before. The
goal is no 503 and nothing unanswered, and p99 < 1 s.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from fixtures.authority.authority_server import JOSE, JSON, Served, serving
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.license import license_key

CLIENTS: Final = 200
GOAL_S: Final = 1.0
TIMEOUT_S: Final = 60.0
LIST: Final = "/v1/status.jwt"


def request(method: str, path: str, body: bytes = b"", content_type: str = "") -> tuple[str, bytes]:
    """The name that its times are shown under, and its bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
    more = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n" if body else ""
    return path, f"{head}{more}\r\n".encode() + body


def requests(served: Served, licenses: int) -> list[tuple[str, bytes]]:
    """Every request, signed, in a drawn order."""
    made: list[tuple[str, bytes]] = [request("GET", LIST)] * (2 * licenses)
    for number in range(licenses):
        issued = served.vendor.issue()
        key = dumps({"schema": 1, "key_sha256": license_key.digest(issued.key)})
        signed = served.vendor.request(issued, RequestKind.ACTIVATION, f"machine {number % 16}")
        made += [request("POST", "/v1/bundles", key, JSON), request("POST", "/v1/activations", signed, JOSE)]
    random.Random(7).shuffle(made)  # noqa: S311 - the same order in every run
    return made


async def ask(port: int, sent: bytes) -> int:
    """The status of one reply, read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        reply = await reader.read(-1)
        return int(reply.split(b" ", 2)[1])
    finally:
        writer.close()


async def run(port: int, asked: list[tuple[str, bytes]]) -> tuple[dict[str, list[float]], Counter[str]]:
    """Times in seconds by path, and how many ended in which way."""
    times: dict[str, list[float]] = {}
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        while asked:
            path, sent = asked.pop()
            begun = time.monotonic()
            try:
                outcomes[str(await asyncio.wait_for(ask(port, sent), TIMEOUT_S))] += 1
            except (OSError, TimeoutError, IndexError, ValueError) as error:
                outcomes[type(error).__name__] += 1
            times.setdefault(path, []).append(time.monotonic() - begun)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times, outcomes


def processor_s(pid: int) -> float:
    """CPU of a process until now, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def p99_s(times: list[float]) -> float:
    """The time that 99 of 100 stay below."""
    return sorted(times)[min(len(times) - 1, len(times) * 99 // 100)]


def main() -> int:
    licenses = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as served:
        served.vendor.now = int(time.time())
        asked = requests(served, licenses)
        begun = time.monotonic()
        times, outcomes = asyncio.run(run(served.port, asked))
        took, cpu_s = time.monotonic() - begun, processor_s(served.process.pid)
    every = [each for found in times.values() for each in found]
    for path, found in sorted(times.items()):
        sys.stdout.write(
            f"{path:18} {len(found):6d}  p50 {sorted(found)[len(found) // 2]:.3f} s  p99 {p99_s(found):.3f} s\n"
        )
    sys.stdout.write(f"{len(every)} requests in {took:.1f} s ({len(every) / took:.0f}/s); outcomes {dict(outcomes)}\n")
    sys.stdout.write(
        f"CPU of the service {1000 * cpu_s / len(every):.2f} ms a request, start included; load {os.getloadavg()[0]:.1f}\n"
    )
    good = {*outcomes} == {"200"} and p99_s(every) < GOAL_S
    sys.stdout.write(f"goal no failure, p99 < {GOAL_S:.0f} s: {'met' if good else 'missed'} ({p99_s(every):.3f} s)\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
