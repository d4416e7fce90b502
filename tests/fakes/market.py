"""A real authority and any number of simulated servers that ask it, on one calendar.

Each server is a `Simulated`; what its courier and fetch let out goes, in process, to the ASGI application that
`opanel-authority serve` runs, and what comes back is judged as the real transport judges it. `live` lets days pass: every
server has its passes when it asked for them, as its resident would run them.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx

from fakes import vendor as vendors
from fakes.agent import ROOT_FILE, Simulated
from fakes.vendor import URL, Vendor
from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.core.purposes import TERMS
from opanel_agent.core.reasons import Reason
from opanel_agent.core.request import Reply, Sealed
from opanel_agent.system.http import HttpxTransport
from opanel_authority.server import Served, app

HOUR: Final = 3600
DAY: Final = 86_400


class Market:
    """`log` has a line for each request that was answered: method, path, status."""

    def __init__(self, directory: Path) -> None:
        self.vendor: Vendor = vendors.vendor(directory)
        self.log: list[str] = []
        self.down = False
        self.servers: dict[str, Simulated] = {}
        self._due: dict[str, int] = {}
        self.served = Served(
            authority=self.vendor.authority,
            now=lambda: self.vendor.now,
            elapsed=lambda: float(self.vendor.now),
        )
        self._app = app(self.served, self.log.append)

    def server(self, name: str, *, trusted: bool = True) -> Simulated:
        """A new server that trusts this authority, with hardware of its own."""
        made = Simulated(seed=len(self.servers) + 1)
        made.clock.wall_s = self.vendor.now
        made.machine.parts = {kind: f"{value}-{name}" for kind, value in made.machine.parts.items()}
        if trusted:
            made.files.put(ROOT_FILE, self.vendor.authority.root.lines)
        for terms in TERMS.values():
            for path in terms.paths:
                for method in ("GET", "POST"):
                    made.network.on(method, URL + path, self.answer)
        self.servers[name] = made
        self._due[name] = self.vendor.now
        return made

    def answer(self, sealed: Sealed) -> Reply:
        """What the real transport would make of the application's answer."""
        if self.down:
            raise Unavailable(Reason.UNREACHABLE_TCP, "connect_failed")
        response = asyncio.run(self._ask(sealed))
        try:
            HttpxTransport()._judge(response, sealed)
        except AgentError as refused:
            raise refused.but(url=sealed.url) from refused
        return Reply(ok=True, status=response.status_code, body=response.read())

    async def _ask(self, sealed: Sealed) -> httpx.Response:
        """Through httpx's own transport for ASGI applications, below its client."""
        request = httpx.Request(sealed.method, sealed.url, headers=list(sealed.headers), content=sealed.body)
        response = await httpx.ASGITransport(app=self._app).handle_async_request(request)
        body = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))

    def pass_time(self, seconds: int) -> None:
        """Nobody does anything meanwhile."""
        self.vendor.now += seconds
        for each in self.servers.values():
            each.clock.advance(seconds)

    def live(self, seconds: int) -> None:
        """Every server's passes, each when its last one asked for it."""
        ends = self.vendor.now + seconds
        while self._due and (at := min(self._due.values())) <= ends:
            name = min(self._due, key=lambda each: self._due[each])
            self.pass_time(max(0, at - self.vendor.now))
            frame = self.servers[name].run("tick")
            self._due[name] = self.vendor.now + int(frame["next_run_s"])
        self.pass_time(ends - self.vendor.now)

    def license(self, name: str) -> dict[str, Any]:
        """As its panel is told now, by a pass that asks nothing."""
        told: dict[str, Any] = self.servers[name].run("narrowed")["answer"]["license"]
        return told

    def asked(self, path: str) -> list[str]:
        """The statuses that requests to this path were answered with."""
        return [line.rpartition(" ")[2] for line in self.log if line.split(" ")[1] == path]
