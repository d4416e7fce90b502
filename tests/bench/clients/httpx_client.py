"""Asks with httpx, many workers in one process, connections kept as httpx keeps them, no retries."""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import httpx


async def measure(path: str, seconds: float, workers: int) -> tuple[Counter[str], list[float]]:
    outcomes: Counter[str] = Counter()
    latencies: list[float] = []
    transport = httpx.AsyncHTTPTransport(uds=path, limits=httpx.Limits(max_connections=None))
    async with httpx.AsyncClient(transport=transport, timeout=5) as client:

        async def worker() -> None:
            while (begun := time.monotonic()) < end:
                try:
                    outcome = str((await client.get("http://agent/v1/license")).status_code)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                latencies.append(time.monotonic() - begun)
                outcomes[outcome] += 1

        end = time.monotonic() + seconds
        await asyncio.gather(*(worker() for _ in range(workers)))
    return outcomes, latencies


if __name__ == "__main__":
    path, begin, seconds, out, workers = sys.argv[1:6]
    Path(f"{out}.ready").touch()
    while not Path(begin).exists():
        time.sleep(0.002)
    found = asyncio.run(measure(path, float(seconds), int(workers)))
    Path(out).write_text(json.dumps(found), encoding="ascii")
