"""The verdict on a month: every witness can speak against it, the process is named, and a month without life proves nothing.

Each row of the table has a case here that only it finds.
"""

from dataclasses import replace
from typing import Any

import pytest

from opanel_agent.silence.judge import (
    Call,
    CapturedRequest,
    Expected,
    Month,
    Observed,
    Report,
    Scenario,
    Sends,
    Traffic,
    Typed,
    Violation,
    ViolationKind,
    judge,
    violations_json,
)
from opanel_agent.silence.tls_greeting import Greeting

GET = CapturedRequest(
    address="192.0.2.1", port=443, data=b"GET /v1/status.jwt HTTP/1.1\r\nHost: mirror.example\r\n\r\n"
)
GET6 = replace(GET, address="2001:db8::1")
POST = CapturedRequest(address="192.0.2.2", port=443, data=b"POST /v1/reports/usage_statistics HTTP/1.1\r\n\r\n{}")
POST6 = replace(POST, address="2001:db8::2")
USAGE = Report(purpose="usage_statistics", requests=frozenset({POST, POST6}))

SILENT = Expected()
FIXED = Expected(fixed=(frozenset({GET, GET6}),), must_speak=True)
ALLOWED = replace(FIXED, purposes=frozenset({"usage_statistics"}))


def observed(*received: CapturedRequest, reports: tuple[Report, ...] = (), **changes: Any) -> Observed:
    """A month in which these requests were made, by whom they had to be, and nothing else happened."""
    posts = sum(request.data.startswith(b"POST") for request in received)
    gets = len(received) - posts
    started = {"daemon": 1, "evaluate": 1, "fetch": gets, "courier": posts}
    values: dict[str, Any] = {
        "traffic": Traffic(packets=12 * len(received), opens=len(received), segments=12 * len(received)),
        "received": received,
        "reports": reports,
        "month": Month(days=30, passes=100, started=started),
        "calls": (),
    }
    return Observed(**{**values, **changes})


def starting(seen: Observed, process: str, count: int) -> Observed:
    """The same month, in which that process was started more often."""
    before = seen.month.started
    return replace(seen, month=replace(seen.month, started={**before, process: before[process] + count}))


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        (SILENT, observed()),
        (FIXED, observed(GET)),
        (FIXED, observed(GET, GET6, GET)),
        (ALLOWED, observed(GET, POST, reports=(USAGE,))),
        (replace(ALLOWED, must_speak=False), observed()),  # as it stands: it may, and did not
    ],
)
def test_what_holds(expected: Expected, seen: Observed) -> None:
    assert judge(expected, seen) == ()
    assert violations_json(Scenario.OFFLINE, expected, seen)["ok"] is True


def test_without_an_end_nothing_is_proven() -> None:
    month = Month(days=0, passes=0, finished=False, fault="timeout")
    assert judge(SILENT, observed(month=month)) == (Violation(why=ViolationKind.MONTH_FAILED, what="timeout"),)


def test_what_is_left_running_is_found() -> None:
    found = judge(SILENT, observed(month=Month(days=30, passes=100, left=2)))
    assert found == (Violation(why=ViolationKind.PROCESS_LEFT, count=2),)


def test_a_second_thread_of_the_daemons_is_found() -> None:
    found = judge(SILENT, observed(month=Month(days=30, passes=100, threads=3)))
    assert found == (Violation(why=ViolationKind.THREAD_KEPT, process="daemon", count=2),)


def test_a_month_that_did_not_end_proves_nothing() -> None:
    month = Month(days=3, passes=9000, finished=False)
    assert [each.why for each in judge(SILENT, observed(month=month))] == [ViolationKind.UNFINISHED]


def test_failed_passes_count_but_where_this_server_fails_as_it_stands() -> None:
    month = Month(days=30, passes=9, failed=2)
    found = judge(SILENT, observed(month=month))
    assert found == (Violation(why=ViolationKind.PASSES_FAILED, process="evaluate", count=2),)
    assert judge(replace(SILENT, may_fail=True), observed(month=month)) == ()


def test_one_packet_breaks_a_silence() -> None:
    found = judge(SILENT, observed(traffic=Traffic(packets=1, segments=1)))
    assert found == (Violation(why=ViolationKind.PACKETS, count=1),)


def test_a_connection_that_nobody_heard_is_found() -> None:
    seen = observed(GET)
    seen = replace(seen, traffic=replace(seen.traffic, opens=3))
    assert judge(FIXED, seen) == (Violation(why=ViolationKind.CONNECTIONS, count=2),)


def test_a_datagram_is_found() -> None:
    seen = observed(GET)
    seen = replace(seen, traffic=replace(seen.traffic, datagrams=1))
    assert judge(FIXED, seen) == (Violation(why=ViolationKind.DATAGRAMS, count=1),)


def test_packets_that_are_neither_are_found() -> None:
    seen = observed(GET)
    seen = replace(seen, traffic=replace(seen.traffic, packets=seen.traffic.packets + 2))
    assert judge(FIXED, seen) == (Violation(why=ViolationKind.OTHER_PACKETS, count=2),)


@pytest.mark.parametrize(
    "other",
    [
        replace(GET, data=GET.data + b"x"),
        replace(GET, data=GET.data[:-2] + b"X-Id: 7\r\n\r\n"),
        replace(GET, data=GET.data.replace(b"v1", b"v2")),
        replace(GET, address="192.0.2.2"),
        replace(GET, port=8443),
        replace(GET, data=b""),
        replace(GET, tls=True),
    ],
)
def test_a_request_is_compared_byte_for_byte_and_by_where_it_went(other: CapturedRequest) -> None:
    (found,) = judge(FIXED, observed(GET, other))
    assert (found.why, found.process) == (ViolationKind.REQUEST_UNEXPECTED, "fetch")


@pytest.mark.parametrize(
    ("expected", "reports"),
    [
        (FIXED, (USAGE,)),  # kept, and not allowed
        (ALLOWED, ()),  # allowed, and not kept
        (ALLOWED, (replace(USAGE, requests=frozenset({replace(POST, data=POST.data + b" ")})),)),  # kept otherwise
        (ALLOWED, (replace(USAGE, purpose="crash_reports"),)),
    ],
)
def test_a_report_needs_its_purpose_and_its_copy(expected: Expected, reports: tuple[Report, ...]) -> None:
    found = judge(expected, observed(GET, POST, reports=reports))
    assert ViolationKind.REQUEST_UNEXPECTED in {each.why for each in found if each.process == "courier"}


def test_a_copy_is_for_one_sending() -> None:
    found = judge(ALLOWED, observed(GET, POST, POST6, reports=(USAGE,)))
    assert [(each.why, each.process) for each in found] == [(ViolationKind.REQUEST_UNEXPECTED, "courier")]


def test_what_was_kept_as_sent_and_not_heard_is_missing() -> None:
    found = judge(ALLOWED, observed(GET, reports=(USAGE,)))
    assert found == (Violation(why=ViolationKind.REQUEST_MISSING, process="courier", what="usage_statistics"),)


def test_a_month_in_which_nothing_was_asked_proves_nothing_of_requests() -> None:
    assert [each.why for each in judge(FIXED, observed())] == [ViolationKind.REQUEST_MISSING]
    assert [each.why for each in judge(Expected(must_speak=True), observed())] == [ViolationKind.REQUEST_MISSING]


def test_a_control_without_a_report_proves_nothing() -> None:
    found = judge(ALLOWED, observed(GET))
    assert found == (Violation(why=ViolationKind.REPORT_MISSING, process="courier", what="usage_statistics"),)


def test_a_renewal_may_be_asked_for_and_need_not() -> None:
    expected = replace(FIXED, besides=frozenset({"license_renewal"}))
    asked = replace(USAGE, purpose="license_renewal")
    assert judge(expected, observed(GET)) == ()
    assert judge(expected, observed(GET, POST, reports=(asked,))) == ()
    assert judge(FIXED, observed(GET, POST, reports=(asked,))) != ()
    assert judge(expected, observed(GET, POST, POST6, reports=(asked,))) == (), "the same again on another day"
    assert judge(expected, observed(GET, POST)) != (), "without its copy"
    assert not replace(SILENT, besides=expected.besides).silent


def test_what_may_not_send_is_not_even_started() -> None:
    assert judge(FIXED, starting(observed(GET), "courier", 1)) == (
        Violation(why=ViolationKind.COURIER_STARTED, process="courier", count=1),
    )
    assert judge(SILENT, starting(observed(), "fetch", 2)) == (
        Violation(why=ViolationKind.COURIER_STARTED, process="fetch", count=2),
    )


HELLO = Greeting(address="192.0.2.1", port=443, shape=b"hello", drawn=b"\x01\x02")
GREETED = replace(FIXED, greetings=frozenset({("192.0.2.1", 443, b"hello")}))


def test_a_greeting_is_the_librarys_own() -> None:
    assert judge(GREETED, observed(GET, greetings=(HELLO,))) == ()
    for other in (replace(HELLO, shape=b"hello with an id"), replace(HELLO, port=8443), replace(HELLO, shape=b"")):
        (found,) = judge(GREETED, observed(GET, greetings=(HELLO, other)))
        assert found.why is ViolationKind.GREETING_UNEXPECTED


def test_random_bytes_that_never_change_are_found() -> None:
    same = tuple(replace(HELLO, drawn=bytes([number, 7])) for number in range(5))
    assert judge(GREETED, observed(GET, greetings=same)) == (Violation(why=ViolationKind.GREETING_UNCHANGED, count=1),)
    assert judge(GREETED, observed(GET, greetings=same[:4])) == (), "too few to tell"


LOOKUP = Call(process="fetch", name="connect", place="/var/run/nscd/socket", failed=True)


@pytest.mark.parametrize(
    ("expected", "call"),
    [
        (FIXED, LOOKUP),
        (FIXED, Call(process="fetch", name="socket", family="AF_INET6")),
        (FIXED, Call(process="fetch", name="socket", family="AF_NETLINK")),
        (SILENT, Call(process="evaluate", name="socketpair", family="AF_UNIX")),
        (SILENT, Call(process="evaluate", name="sendto")),
        (replace(SILENT, places=frozenset({"/run/a.sock"})), Call(process="daemon", name="bind", place="/run/a.sock")),
        (
            replace(SILENT, programs=frozenset({"/bin/python"})),
            Call(process="daemon", name="execve", program="/bin/python"),
        ),
    ],
)
def test_calls_that_may_be(expected: Expected, call: Call) -> None:
    seen = observed(*([GET] if expected is FIXED else []), calls=(call,))
    assert judge(expected, seen) == ()


@pytest.mark.parametrize(
    ("expected", "call", "why", "what"),
    [
        (SILENT, LOOKUP, ViolationKind.PATH_SOCKET, "/var/run/nscd/socket"),
        (FIXED, replace(LOOKUP, failed=False), ViolationKind.PATH_SOCKET, "/var/run/nscd/socket"),
        (FIXED, replace(LOOKUP, process="evaluate"), ViolationKind.PATH_SOCKET, "/var/run/nscd/socket"),
        (
            FIXED,
            replace(LOOKUP, place="/run/dbus/system_bus_socket"),
            ViolationKind.PATH_SOCKET,
            "/run/dbus/system_bus_socket",
        ),
        (SILENT, Call(process="fetch", name="socket", family="AF_INET"), ViolationKind.INTERNET_SOCKET, "AF_INET"),
        (
            SILENT,
            Call(process="evaluate", name="socket", family="AF_NETLINK"),
            ViolationKind.INTERNET_SOCKET,
            "AF_NETLINK",
        ),
        (FIXED, Call(process="evaluate", name="socket", family="AF_INET"), ViolationKind.INTERNET_SOCKET, "AF_INET"),
        (
            SILENT,
            Call(process="evaluate", name="execve", program="/bin/true"),
            ViolationKind.PROGRAM_STARTED,
            "/bin/true",
        ),
        (FIXED, Call(process="fetch", name="socket", family="AF_PACKET"), ViolationKind.INTERNET_SOCKET, "AF_PACKET"),
    ],
)
def test_calls_that_may_not_be(expected: Expected, call: Call, why: ViolationKind, what: str) -> None:
    seen = observed(*([GET] if expected is FIXED else []), calls=(call, call))
    assert judge(expected, seen) == (Violation(why=why, process=call.process, count=2, what=what),)


def test_the_result_says_what_was_asked_and_whether_calls_were_looked_at() -> None:
    result: Any = violations_json(Scenario.DENIED, FIXED, observed(GET, GET6, calls=None))
    assert result["strace"] is False
    (request,) = result["requests"]
    assert (request["count"], request["line"], request["host"]) == (2, "GET /v1/status.jwt HTTP/1.1", "mirror.example")
    assert len(request["head_sha256"]) == 64
    assert result["processes"] == {"daemon": 1, "evaluate": 1, "fetch": 2, "courier": 0, "command": 0}


def test_bytes_that_are_no_text_do_not_reach_a_terminal() -> None:
    strange = replace(GET, data=b"\x1b]0;x\x07\xff")
    (found,) = [each for each in judge(FIXED, observed(GET, strange)) if each.why is ViolationKind.REQUEST_UNEXPECTED]
    assert found.what.isprintable()


# ---- what is typed


def typing(*typed: Typed, received: tuple[CapturedRequest, ...] = ()) -> Observed:
    seen = observed(*received, reports=(USAGE,) if POST in received else ())
    return replace(seen, month=replace(seen.month, typed=typed))


@pytest.mark.parametrize(
    ("typed", "received"),
    [
        (Typed(line="status", exit_status=0), (GET,)),
        (Typed(line="license refresh", exit_status=69, packets=12, sends=Sends.FIXED, heard=(0, 1)), (GET,)),
        (Typed(line="data held send x", exit_status=0, packets=12, sends=Sends.ORDERED, heard=(1, 2)), (GET, POST)),
    ],
)
def test_a_line_may_send_what_it_says(typed: Typed, received: tuple[CapturedRequest, ...]) -> None:
    assert judge(ALLOWED if POST in received else FIXED, typing(typed, received=received)) == ()


def test_a_packet_of_a_line_that_says_nothing_of_sending_is_found() -> None:
    found = judge(FIXED, typing(Typed(line="status", exit_status=0, packets=2, heard=(0, 1)), received=(GET,)))
    assert found == (Violation(why=ViolationKind.COMMAND_SENT, process="command", count=2, what="status"),)


@pytest.mark.parametrize("sends", [Sends.FIXED, Sends.PROBED])
def test_a_line_that_asks_and_posts_is_found(sends: Sends) -> None:
    typed = Typed(line="doctor", exit_status=0, packets=24, sends=sends, heard=(0, 2))
    found = judge(ALLOWED, typing(typed, received=(GET, POST)))
    assert found == (Violation(why=ViolationKind.COMMAND_SENT, process="command", what="doctor"),)


@pytest.mark.parametrize("status", [64, 70, -9])
def test_a_line_that_shows_nothing_of_its_command_is_found(status: int) -> None:
    found = judge(FIXED, typing(Typed(line="statsu", exit_status=status), received=(GET,)))
    assert found == (Violation(why=ViolationKind.COMMAND_FAILED, process="command", what="statsu"),)


def test_an_address_may_be_tried_once_by_the_line_that_says_so() -> None:
    bare = replace(GET6, data=b"")
    typed = Typed(line="doctor", exit_status=0, packets=30, sends=Sends.PROBED, heard=(1, 2))
    assert judge(FIXED, typing(typed, received=(GET, bare))) == ()
    for tried, received in [
        (replace(typed, sends=Sends.FIXED), (GET, bare)),  # by another line
        (replace(typed, heard=(1, 3)), (GET, bare, bare)),  # more than once
        (typed, (GET, replace(bare, address="192.0.2.9"))),  # at an address of no mirror
        (replace(typed, heard=(0, 1)), (GET, bare)),  # at another time
    ]:
        found = judge(FIXED, typing(tried, received=received))
        assert [each.why for each in found] == [ViolationKind.REQUEST_UNEXPECTED]


def test_a_shell_is_known_where_a_person_types_and_only_as_a_persons() -> None:
    expected = replace(FIXED, programs=frozenset({"/python"}), shells=frozenset({"/bash"}))
    cache = "/var/run/nscd/socket"
    persons = (
        Call(process="other", name="execve", program="/bash"),
        Call(process="other", name="connect", place=cache),
    )
    known = tuple(replace(call, failed=True) for call in persons)
    assert judge(expected, observed(GET, calls=known)) == ()
    ours = tuple(replace(call, process="command") for call in known)
    assert {each.why for each in judge(expected, observed(GET, calls=ours))} == {
        ViolationKind.PROGRAM_STARTED,
        ViolationKind.PATH_SOCKET,
    }
    assert judge(replace(expected, shells=frozenset()), observed(GET, calls=known)) != ()
