"""Names the steps of one request over the network, and what became of each address that was tried.

A request passes the steps in the order of `Step`: name resolution, connection,
proxy, TLS, certificate, HTTP, content type, content. Those that a route does
not have (no proxy, no TLS) are neither passed nor failed. `RequestTrace` is
filled by `system.http` while a request is made and read by `fetch` for
`doctor`, which so reports what was passed instead of concluding it from an
error's code.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum, unique
from typing import Annotated, Final

from opanel_agent.core.codec.record import Text
from opanel_agent.core.values import field, frozen, mutable

MAX_ADDRESS: Final = 64


@unique
class Step(StrEnum):
    """In the order in which a request passes them."""

    DNS = "dns"
    TCP = "tcp"
    PROXY = "proxy"
    TLS = "tls"
    CERTIFICATE = "certificate"
    HTTP = "http"
    TYPE = "type"
    CONTENT = "content"


@unique
class Outcome(StrEnum):
    """Holds how the attempt at one address ended."""

    CONNECTED = "connected"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    SLOW = "slow"
    UNDECIDED = "undecided"  # another address had connected before this one answered


@frozen
class Attempt:
    """One address of the server or, with a proxy, of the proxy."""

    address: Annotated[str, Text(max_length=MAX_ADDRESS)]
    outcome: Outcome


@mutable
class RequestTrace:
    """Records one request.

    `every_address`: each address is tried to its end although one has connected
    already.
    """

    every_address: bool = False
    passed: list[Step] = field(default_factory=list)
    failed: Step | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @contextmanager
    def step(self, step: Step) -> Iterator[None]:
        """Records the step as passed, or as the one that failed where the block raises.

        The innermost failure counts.
        """
        try:
            yield
        except BaseException:
            self.failed = self.failed or step
            raise
        self.passed.append(step)
