"""Addresses race: one that hangs or refuses delays nothing, and each is told by what became of it. Real sockets."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.wire.steps import Outcome, RequestTrace
from opanel_agent.system.http import dialing
from opanel_agent.system.http.dialing import Address


def at(port: int, host: str = "127.0.0.1") -> Address:
    return Address(socket.AF_INET, (host, port))


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.9", 0)) as server:
        yield int(server.getsockname()[1])


def good(port: int) -> Address:
    return at(port, "127.0.0.9")


def outcomes(trace: RequestTrace) -> list[tuple[str, Outcome]]:
    return [(each.address, each.outcome) for each in trace.attempts]


def test_six_addresses_that_hang_do_not_keep_the_good_one_from_being_reached(
    hanging: list[Address], listener: int
) -> None:
    trace, began = RequestTrace(), time.monotonic()
    dialing.connect([*hanging, good(listener)], 10, trace).close()
    assert time.monotonic() - began < len(hanging) * dialing.STAGGER_S + 1
    assert outcomes(trace)[-1] == ("127.0.0.9", Outcome.CONNECTED)
    assert {outcome for _, outcome in outcomes(trace)[:-1]} == {Outcome.UNDECIDED}


def test_an_address_that_refuses_is_followed_by_the_next_at_once(free_port: int, listener: int) -> None:
    trace, began = RequestTrace(), time.monotonic()
    addresses = [at(free_port, f"127.0.0.{n}") for n in range(2, 8)]
    dialing.connect([*addresses, good(listener)], 10, trace).close()
    assert time.monotonic() - began < dialing.STAGGER_S
    assert [outcome for _, outcome in outcomes(trace)] == [Outcome.REFUSED] * 6 + [Outcome.CONNECTED]


def test_where_all_hang_it_ends_in_time_and_names_them(hanging: list[Address]) -> None:
    trace, began = RequestTrace(), time.monotonic()
    with pytest.raises(Unavailable) as raised:
        dialing.connect(hanging, 1.0, trace)
    assert time.monotonic() - began < 2
    assert (raised.value.code, raised.value.detail) == (Reason.UNREACHABLE_TCP, "connect_slow")
    assert raised.value.values == {"address": "127.0.1.1, 127.0.1.2, 127.0.1.3 +3"}
    begun = [outcome for _, outcome in outcomes(trace)]
    assert begun.count(Outcome.SLOW) >= 4
    assert set(begun) <= {Outcome.SLOW, Outcome.UNDECIDED}


def test_one_that_hangs_is_the_cause_although_others_refuse(free_port: int, hanging: list[Address]) -> None:
    trace = RequestTrace()
    with pytest.raises(Unavailable) as raised:
        dialing.connect([at(free_port), hanging[0]], 0.5, trace)
    assert (raised.value.detail, raised.value.values) == ("connect_slow", {"address": "127.0.1.1"})
    assert outcomes(trace) == [("127.0.0.1", Outcome.REFUSED), ("127.0.1.1", Outcome.SLOW)]


def test_where_all_refuse_they_are_named(free_port: int) -> None:
    with pytest.raises(Unavailable) as raised:
        dialing.connect([at(free_port)], 5, RequestTrace())
    assert (raised.value.detail, raised.value.values) == ("connect_failed", {"address": "127.0.0.1"})


def test_an_address_that_no_route_leads_to_is_unreachable(listener: int) -> None:
    trace = RequestTrace()
    nowhere = Address(socket.AF_INET, ("255.255.255.255", 9))
    dialing.connect([nowhere, good(listener)], 5, trace).close()
    assert outcomes(trace) == [("255.255.255.255", Outcome.UNREACHABLE), ("127.0.0.9", Outcome.CONNECTED)]


def test_a_family_that_the_kernel_does_not_have_is_unreachable(listener: int) -> None:
    trace = RequestTrace()
    dialing.connect([Address(socket.AF_APPLETALK, ("x", 1)), good(listener)], 5, trace).close()
    assert outcomes(trace)[0] == ("x", Outcome.UNREACHABLE)


def test_a_diagnosis_tries_every_address_to_its_end(free_port: int, hanging: list[Address], listener: int) -> None:
    trace = RequestTrace(every_address=True)
    began = time.monotonic()
    connected = dialing.connect([good(listener), hanging[0], at(free_port)], 10, trace)
    with contextlib.closing(connected):
        assert connected.getpeername() == ("127.0.0.9", listener)
    assert time.monotonic() - began < dialing.EVERY_ADDRESS_S + 1
    assert outcomes(trace) == [
        ("127.0.0.9", Outcome.CONNECTED),
        ("127.0.1.1", Outcome.SLOW),
        ("127.0.0.1", Outcome.REFUSED),
    ]


# names


def test_addresses_come_alternately_by_family() -> None:
    six = [Address(socket.AF_INET6, (f"2001:db8::{n}", 443, 0, 0)) for n in (1, 2, 3)]
    four = [Address(socket.AF_INET, (f"192.0.2.{n}", 443)) for n in (1, 2)]
    found = dialing.resolve("x", 443, 5, look_up=lambda _host, _port: [*six, *four, six[0]])
    assert found == [six[0], four[0], six[1], four[1], six[2]]


def test_no_more_addresses_are_tried_than_have_a_turn() -> None:
    many = [at(1, f"127.0.2.{n}") for n in range(100)]
    assert len(dialing.resolve("x", 443, 5, look_up=lambda _host, _port: many)) == dialing.MAX_ADDRESSES


def test_a_name_service_that_hangs_is_left_in_time() -> None:
    def hangs(_host: str, _port: int) -> list[Address]:
        time.sleep(5)
        return []

    began = time.monotonic()
    with pytest.raises(Unavailable) as raised:
        dialing.resolve("license.example", 443, 0.3, look_up=hangs)
    assert time.monotonic() - began < 2
    assert (raised.value.code, raised.value.detail) == (Reason.UNREACHABLE_DNS, "resolver_silent")


@pytest.mark.parametrize(
    ("number", "detail"),
    [
        (socket.EAI_NONAME, "name_unknown"),
        (socket.EAI_NODATA, "name_unknown"),
        (socket.EAI_AGAIN, "resolver_failed"),
        (socket.EAI_FAIL, "resolver_failed"),
    ],
)
def test_a_name_that_is_unknown_is_told_from_a_name_service_that_fails(number: int, detail: str) -> None:
    def raises(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror(number, "")

    with pytest.raises(Unavailable) as raised:
        dialing.resolve("x", 443, 5, look_up=raises)
    assert raised.value.detail == detail


NO_ROOM = """
import resource
from opanel_agent.core.errors import Unavailable
from opanel_agent.system.http import dialing
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + (1 << 20)  # less than a thread's stack
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    dialing.resolve("localhost", 80, 5)
except Unavailable as error:
    print(error.detail)
"""


def test_where_no_thread_can_be_made_the_name_service_counts_as_silent() -> None:
    """A unit has room for 16 tasks, and each name that hangs leaves one behind."""
    finished = subprocess.run(
        [sys.executable, "-c", NO_ROOM],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (finished.stdout, finished.returncode) == ("resolver_silent\n", 0), finished.stderr


def test_a_real_name_is_resolved() -> None:
    assert "127.0.0.1" in [each.text for each in dialing.resolve("localhost", 80, 10)]
    assert [each.sockaddr[:2] for each in dialing.resolve("127.0.0.1", 81, 10)] == [("127.0.0.1", 81)]
    with pytest.raises(Unavailable, match="name_unknown"):
        dialing.resolve(f"{'a' * 64}.invalid", 80, 10)
