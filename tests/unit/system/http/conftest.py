"""Ports and addresses that refuse or hang."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from opanel_agent.system.http.dialing import Address


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def hanging() -> Iterator[list[Address]]:
    """Six addresses with a listener that takes no more connections: the kernel drops what knocks, as a firewall does."""
    with ExitStack() as stack:
        yield [_hanging(stack, f"127.0.1.{n}") for n in range(1, 7)]


def _hanging(stack: ExitStack, host: str) -> Address:
    listener = stack.enter_context(socket.socket())
    listener.bind((host, 0))
    listener.listen(0)
    for _ in range(4):
        waiting = stack.enter_context(socket.socket())
        waiting.setblocking(False)
        assert waiting.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
    return Address(socket.AF_INET, listener.getsockname())
