"""The two examples for panels where the agent is overloaded, hung, stopped or forbidden, and where the panel is strict.

What each failure is told from, what it costs, and that nothing in a panel's own settings turns it into an exception.
"""

import os
import pwd
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from fixtures.daemon import wire_server
from fixtures.daemon.fake_daemon import NOW
from fixtures.daemon.live_daemon import until
from fixtures.daemon.wire_server import Script
from fixtures.web.panel import (
    ANSWER,
    REFUSAL,
    Panel,
    answers,
    in_turn,
    is_silent,
    resets,
    started,
)

pytestmark = pytest.mark.slow  # each test starts PHP or Node

NOBODY: Final = "65534"
PAUSE_S: Final = 5  # the libraries' own


# overload is not death


def half(connection: socket.socket) -> None:
    wire_server.read_request(connection)
    connection.sendall(ANSWER[:-20])


def in_pieces(connection: socket.socket) -> None:
    wire_server.read_request(connection)
    for at in range(0, len(ANSWER), 7):
        connection.sendall(ANSWER[at : at + 7])
        time.sleep(0.001)


@pytest.mark.parametrize(
    "turned_away", [resets, half, wire_server.sends(b""), wire_server.sends(REFUSAL), wire_server.sends(REFUSAL[:40])]
)
def test_whoever_is_turned_away_asks_again(panel: Panel, turned_away: Script) -> None:
    with in_turn(panel.socket, *[turned_away] * 5, answers) as server:
        assert panel.at(NOW).gist == ("agent", "active")
    assert server.accepted == 6


def test_an_answer_in_pieces_is_one(panel: Panel) -> None:
    with in_turn(panel.socket, in_pieces):
        assert panel.at(NOW).gist == ("agent", "active")


@contextmanager
def full(path: Path) -> Iterator[socket.socket]:
    """A listener whose queue is full, as that of a stopped process soon is."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(1)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(str(path))
        yield listener


def test_a_full_queue_is_waited_for(panel: Panel) -> None:
    def empties(listener: socket.socket) -> None:
        for number in range(3):
            connection, _ = listener.accept()
            with connection:
                if number == 2:
                    answers(connection)

    with full(panel.socket) as listener:
        later = threading.Timer(0.15, empties, [listener])
        later.start()
        assert panel.at(NOW).gist == ("agent", "active")
        later.join()


def test_a_queue_that_stays_full_is_an_agent_too_busy(panel: Panel) -> None:
    with full(panel.socket):
        began = time.monotonic()
        assert panel.at(NOW, timeout_s=0.3).failed("busy")
        assert time.monotonic() - began < 0.3 + 2


# one time-out, not one a page


def note_of(panel: Panel) -> Path:
    return panel.file.with_name(panel.file.name + ".failure")


def pass_time(panel: Panel, seconds: float) -> None:
    """The note becomes as old as that."""
    earlier = time.time() - seconds
    os.utime(note_of(panel), (earlier, earlier))


def hang(panel: Panel) -> None:
    """Two pages in a row wait in vain, the second only for a moment."""
    assert panel.at(NOW, timeout_s=0.15).failed("hung")
    began = time.monotonic()
    assert panel.at(NOW, timeout_s=5).failed("hung")
    assert time.monotonic() - began < 4


def test_a_hung_agent_costs_one_time_out_for_all_pages(panel: Panel) -> None:
    panel.remember()
    with started(panel.program.command) as another:
        other = replace(panel, program=another)
        assert other.at(NOW).failed("stopped")
        with in_turn(panel.socket, is_silent, is_silent, answers) as server:
            began = time.monotonic()
            assert panel.at(NOW, timeout_s=0.4).failed("hung")
            assert time.monotonic() - began >= 0.4
            began = time.monotonic()
            pages = [each.at(NOW, timeout_s=5) for each in (panel, other) for _ in range(10)]
            assert time.monotonic() - began < 4
            assert all(page.failed("hung") and page.gist == ("file", "active") for page in pages)
            assert server.accepted == 2


def test_a_full_queue_costs_no_more(panel: Panel) -> None:
    with full(panel.socket):
        assert panel.at(NOW, timeout_s=0.4).failed("busy")
        began = time.monotonic()
        assert all(panel.at(NOW, timeout_s=5).failed("busy") for _ in range(60))
        assert time.monotonic() - began < 4  # a tenth of a second for each would be 6


def test_one_page_that_waited_in_vain_keeps_no_other_from_asking(panel: Panel) -> None:
    """Under overload others are answered, and an answer takes the note away."""
    with in_turn(panel.socket, is_silent, answers) as server:
        for _ in range(2):
            assert panel.at(NOW, timeout_s=0.1).failed("hung")
            assert panel.at(NOW).gist == ("agent", "active")
            assert not note_of(panel).exists()
            server.accepted = 0


def test_pages_that_waited_in_vain_at_the_same_time_keep_no_other_from_asking(panel: Panel) -> None:
    """As after a moment in which the whole machine stood still: each of them began before the others failed."""
    with ExitStack() as stack:
        pages = [replace(panel, program=stack.enter_context(started(panel.program.command))) for _ in range(4)]
        assert all(page.at(NOW).failed("stopped") for page in pages)
        stack.enter_context(in_turn(panel.socket, is_silent, answers))
        threads = stack.enter_context(ThreadPoolExecutor(4))
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(panel.socket))
            first.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert all(page.failed("hung") for page in threads.map(lambda page: page.at(NOW, timeout_s=0.4), pages))
        assert panel.at(NOW).gist == ("agent", "active")


def test_it_asks_again_after_a_moment_and_an_answer_ends_the_pause(panel: Panel) -> None:
    with in_turn(panel.socket, *[is_silent] * 3, answers) as server:
        hang(panel)
        pass_time(panel, PAUSE_S + 1)
        assert panel.at(NOW, timeout_s=0.1).failed("hung")
        assert panel.at(NOW).failed("hung")
        assert server.accepted == 3
        pass_time(panel, PAUSE_S + 1)
        assert panel.at(NOW).gist == ("agent", "active")
        assert [path.name for path in panel.folder.iterdir() if path != panel.socket] == ["license.last"]


def test_one_page_at_a_time_tries_a_hung_agent_again(panel: Panel) -> None:
    """While one tries, the others go by the note, however long the try takes."""
    with started(panel.program.command) as another, in_turn(panel.socket, is_silent) as server:
        hang(panel)
        pass_time(panel, PAUSE_S + 1)
        trying = threading.Thread(target=panel.at, args=(NOW,), kwargs={"timeout_s": 1.5})
        trying.start()
        until(lambda: server.accepted == 3)
        assert replace(panel, program=another).at(NOW).failed("hung")
        assert trying.is_alive()
        trying.join()
        assert server.accepted == 3


def test_a_note_from_before_the_machine_was_started_makes_no_pause(panel: Panel) -> None:
    note_of(panel).write_text(f"once {10**17}")
    with in_turn(panel.socket, is_silent, answers):
        assert panel.at(NOW).failed("hung")
        assert panel.at(NOW).gist == ("agent", "active")


@pytest.mark.parametrize("spoil", [Path.mkdir, os.mkfifo, Path.touch, lambda note: note.write_bytes(b"\xff" * 9999)])
def test_a_note_that_is_none_harms_nothing(panel: Panel, spoil: Callable[[Path], object]) -> None:
    panel.remember()
    spoil(note_of(panel))
    with in_turn(panel.socket, answers):
        assert panel.at(NOW).gist == ("agent", "active")
        assert panel.at(NOW).gist == ("agent", "active")


def test_a_note_of_a_clock_that_was_ahead_is_none(panel: Panel) -> None:
    note_of(panel).write_text("hung")
    later = time.time() + 4000
    os.utime(note_of(panel), (later, later))
    with in_turn(panel.socket, answers):
        assert panel.at(NOW).gist == ("agent", "active")


def test_what_costs_no_time_is_looked_at_on_every_page(panel: Panel) -> None:
    """Who starts the agent sees it on the next page."""
    assert panel.at(NOW).failed("stopped")
    assert not note_of(panel).exists()
    with in_turn(panel.socket, answers):
        assert panel.at(NOW).gist == ("agent", "active")


# each failure has its own cure


@pytest.fixture
def unprivileged(panel: Panel) -> Iterator[Panel]:
    """The same example as a user that no file mode makes way for."""
    panel.folder.chmod(0o777)
    library = Path(shutil.copy(panel.program.command[-1], panel.folder))
    library.chmod(0o644)
    drop = [] if os.geteuid() else ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    with started((*drop, *panel.program.command[:-1], library)) as program:
        yield replace(panel, program=program)


def test_who_may_not_connect_is_told_how_to_be_allowed(unprivileged: Panel) -> None:
    with in_turn(unprivileged.socket, answers):
        unprivileged.socket.chmod(0)
        result = unprivileged.at(NOW)
        assert result.failed("forbidden")
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        for text in (result.tr, result.en):
            assert f"usermod -aG opanel {user};" in str(text)
        unprivileged.socket.chmod(0o777)
        assert unprivileged.at(NOW).gist == ("agent", "active")


def test_a_folder_that_may_not_be_entered_is_told_from_an_agent_that_is_stopped(unprivileged: Panel) -> None:
    inner = unprivileged.folder / "run"
    inner.mkdir(mode=0)
    unprivileged.socket = inner / "agent.sock"
    assert unprivileged.at(NOW).failed("forbidden")
    inner.chmod(0o777)
    assert unprivileged.at(NOW).failed("stopped")


def is_new(connection: socket.socket) -> None:
    """Reads a request and answers as an agent does that has just started."""
    wire_server.read_request(connection)
    json = "Content-Type: application/json"
    connection.sendall(wire_server.answer("503 Service Unavailable", json, body=b'{"code": "not_yet"}'))


def test_a_last_try_that_is_cut_short_says_what_the_agent_said_before(panel: Panel) -> None:
    with in_turn(panel.socket, is_new, resets):
        assert panel.at(NOW, timeout_s=1).failed("not_ready")
