"""A "no" also cuts what is under way: ending evaluate ends the fetch or courier that it asked, whoever started it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from fixtures.daemon.live_daemon import gone, until
from fixtures.simulated.system_paths import PATHS
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug, NotPermitted
from opanel_agent.core.wire.message import Reply
from opanel_agent.daemon.jobs.job_process import JobLimits, JobProcess
from opanel_agent.network.client import LocalNetworkClient
from opanel_agent.system import environment

# As evaluate does: one word to fetch, and waits for the reply.
ASKS = """
from opanel_agent.network.client import LocalNetworkClient as LocalOutlet
from opanel_agent.system.storage.paths import find
LocalOutlet(find()).fetch("status", signalled=False)
"""
# In the interpreter's place: a request that takes its time.
UNDER_WAY = """#!/bin/sh
echo $$ > "$HOME/started"
exec sleep 60
"""


def test_what_evaluate_started_ends_with_it(tmp_path: Path) -> None:
    slow, started = tmp_path / "slow", tmp_path / "started"
    slow.write_text(UNDER_WAY)
    slow.chmod(0o700)
    searched = json.dumps([path for path in sys.path if path])
    program = f"import sys; sys.path[:0] = {searched}; sys.executable = {str(slow)!r}\n{ASKS}"
    inherited = environment.select({"HOME": str(tmp_path)}, user_folders=True)
    child = JobProcess([sys.executable, "-c", program], inherited, b"", JobLimits(), now_s=0)
    until(lambda: started.exists() and started.read_text().endswith("\n"))
    courier = int(started.read_text())
    child.end(NotPermitted(Reason.NOT_PERMITTED, "job_narrowed"))
    until(lambda: child.reap() is not None)
    until(lambda: gone(courier))  # else it would go on sending


# What systemd starts for a connection, here for one end of a pair: a request that takes its time.
STARTED = """
import time
from opanel_agent.network.fetch import serve
def reply(word, _):
    print(word.decode(), end="", flush=True)
    time.sleep(60)
serve("fetch", 16, reply)
"""


def test_a_request_under_way_ends_when_its_asker_is_gone(tmp_path: Path) -> None:
    """Nothing else would end it: its unit is another than the agent's."""
    ours, theirs = socket.socketpair()
    program = subprocess.Popen(
        [sys.executable, "-c", STARTED],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)},
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
    )
    try:
        theirs.close()
        with ours:
            ours.sendall(b"status\n")
            ours.shutdown(socket.SHUT_WR)  # the end of the question is not the end of the asker
            assert ours.recv(16) == b"status\n"
            assert program.poll() is None
        assert program.wait(timeout=20) == 0
    finally:
        program.kill()
        program.wait()


def test_what_nobody_foresaw_is_a_reply_too(tmp_path: Path) -> None:
    """And neither a traceback nor what was in it: fetch and courier answer whatever happens."""
    program = "from opanel_agent.network.fetch import serve; serve('fetch', 16, lambda word, _: {}[word])"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)},
        input=b"secret\n",
        capture_output=True,
        check=False,
        timeout=20,
    )
    reply = Reply.decode(finished.stdout)
    assert (finished.returncode, reply.ok, reply.code, reply.detail) == (0, False, "internal", "reply_failed")
    assert b"kind=KeyError place=" in finished.stderr
    assert b"secret" not in finished.stderr
    assert b"Traceback" not in finished.stderr


def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalNetworkClient:
    """The real programs, in a home where nothing is set."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    return LocalNetworkClient(PATHS._replace(system=False), quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["fetch", "courier"])
def test_a_knock_is_answered_and_goes_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], program: str
) -> None:
    """Whoever refuses an empty question has read it; and quiet, what it says of that is not said among a command's lines."""
    reply = living(tmp_path, monkeypatch).ping(program, signalled=False)
    assert (reply.ok, reply.code, reply.url) == (False, "format_invalid", None)
    assert capfd.readouterr().err == ""


def closes_twice(door: socket.socket) -> None:
    for _ in range(2):
        door.accept()[0].close()


def test_a_door_that_nobody_opens_is_told_by_the_signal_that_explains_it(tmp_path: Path) -> None:
    """As systemd does where a condition does not hold: the connection is accepted and closed."""
    paths = PATHS._replace(courier_dir=tmp_path)
    with socket.socket(socket.AF_UNIX) as fetch, socket.socket(socket.AF_UNIX) as courier:
        for door, path in ((fetch, paths.fetch_socket), (courier, paths.courier_socket)):
            door.bind(str(path))
            door.listen()
        Thread(target=closes_twice, args=(fetch,), daemon=True).start()
        outlet = LocalNetworkClient(paths)
        assert outlet.isolated
        with pytest.raises(NotPermitted):
            outlet.ping("fetch", signalled=True)
        with pytest.raises(Bug) as caught:
            outlet.ping("fetch", signalled=False)
    assert caught.value.detail == "outlet_silent"


def test_a_missing_socket_does_not_take_the_other_program_out_of_its_cage(tmp_path: Path) -> None:
    paths = PATHS._replace(courier_dir=tmp_path)
    with socket.socket(socket.AF_UNIX) as fetch:
        fetch.bind(str(paths.fetch_socket))
        fetch.listen()
        outlet = LocalNetworkClient(paths)
        assert not outlet.isolated
        door = Thread(target=closes_twice, args=(fetch,), daemon=True)
        door.start()
        with pytest.raises(NotPermitted):  # asked at its socket, where nobody answered
            outlet.fetch("status", signalled=True)
        with pytest.raises(NotPermitted):
            outlet.ping("fetch", signalled=True)
        door.join(10)
        assert not door.is_alive()  # both came to the door
