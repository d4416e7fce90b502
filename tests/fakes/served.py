"""`opanel-authority serve` as another process, and a client that speaks HTTP to it and nothing more clever."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fakes.logs import LOGS
from fakes.vendor import Vendor, vendor
from opanel_agent.core.documents.request import Kind
from opanel_agent.core.strict_json import loads
from opanel_authority.issue import Issued

JOSE: Final = "application/jose"
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The code of an RFC 9457 problem."""
        told = loads(self.body, max_bytes=64 * 1024)
        assert isinstance(told, dict)
        assert self.headers["content-type"] == PROBLEM
        assert told["status"] == self.status
        assert str(told["title"]).startswith("cannot ")
        return str(told["type"]).removeprefix("urn:opanel:problem:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    vendor: Vendor
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str | None = None,
        *,
        sender: str = "127.0.0.1",
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(sender, 0))
        with contextlib.closing(connection):
            connection.request(method, path, body, {} if content_type is None else {"Content-Type": content_type})
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Reply(status=reply.status, headers=headers, body=reply.read())

    def signed(self, path: str, issued: Issued, kind: Kind, machine: str = "server a", **changes: Any) -> Reply:
        return self.ask("POST", path, self.vendor.request(issued, kind, machine, **changes), JOSE)

    def logged(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}


@contextlib.contextmanager
def serving(directory: Path, made: Vendor | None = None) -> Iterator[Served]:
    """An authority that is served until the end of the block: `made`, which lies in `directory`, or a new one."""
    made = made or vendor(directory, now=int(time.time()))
    log = directory / "requests.log"
    command = [sys.executable, "-m", "opanel_authority", "serve", "--dir", str(directory / "vendor")]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--log", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        assert said.startswith("serving http://127.0.0.1:"), process.communicate()
        yield Served(vendor=made, process=process, port=int(said.rpartition(":")[2]), log=log)
    finally:
        process.kill()
        said_last, _ = process.communicate()
        LOGS.keep("opanel_authority", said_last + (log.read_bytes() if log.exists() else b""))
