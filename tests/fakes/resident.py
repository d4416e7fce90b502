"""Starts a real resident with real jobs, and speaks to its socket. The jobs are small programs; nothing is patched."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import opanel_agent

MAIN = Path(__file__).with_name("resident_main.py")
AGENT = Path(opanel_agent.__file__).parent.parent

# Every job begins with this: it reads its intent, and `say` writes a frame as evaluate does.
PRELUDE = """
import json, os, subprocess, sys, time
told = json.loads(sys.stdin.readline())
def say(ok=True, error=None, result=None, next_run_s=3600, state="active", reasons=("ok",)):
    license_part = {"schema": 1, "state": state, "reasons": list(reasons)}
    answer = {"schema": 1, "license": license_part, "consent": {"asked": []}, "advisories": []}
    answer["last_left"] = {"id": "r1"}
    frame = {"schema": 1, "ok": ok, "error": error, "answer": answer, "next_run_s": next_run_s, "result": result}
    print(json.dumps(frame), flush=True)
"""
ECHO = "say(result=told)"


class Reply:
    def __init__(self, raw: bytes) -> None:
        self.size = len(raw)
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        return str(self.json["type"]).removeprefix("urn:opanel:problem:")


class Running:
    """One resident process. `directory` must be short: a socket's path has 107 bytes."""

    def __init__(
        self,
        directory: Path,
        job: str = ECHO,
        *,
        env: Mapping[str, str] | None = None,
        owner: int | None = None,
        **terms: Any,
    ) -> None:
        self.directory = directory
        self.socket = directory / "agent.sock"
        self.log_file = directory.parent / f"{directory.name}.log"
        script = directory.parent / f"{directory.name}.job.py"
        script.write_text(PRELUDE + job)
        told = {
            "agent": str(AGENT),
            "directory": str(directory),
            "job": [sys.executable, "-I", str(script)],
            "owner": os.getuid() if owner is None else owner,
            "terms": terms,
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(MAIN), json.dumps(told)], stderr=log, env={**os.environ, **(env or {})}
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(10)
        try:
            connected.connect(str(self.socket))
        except OSError:
            connected.close()
            raise
        return connected

    def listens(self) -> bool:
        try:
            self.connect().close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def ask(self, method: str, path: str, body: bytes = b"") -> Reply:
        with self.connect() as connected:
            connected.sendall(request(method, path, body, close=True))
            return Reply(read_all(connected))

    def wait(self, *, answered: bool = True) -> "Running":
        """Until it listens, and has an answer."""
        until(self.listens)
        if answered:
            until(lambda: self.ask("GET", "/v1/license").status == 200)
        return self

    def children(self) -> list[int]:
        """Everything below it, zombies too."""
        return [pid for pid, parent in _parents() if parent == self.process.pid]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def running(directory: Path, job: str = ECHO, **terms: Any) -> Iterator[Running]:
    """A resident that listens, ended whatever happens."""
    resident = Running(directory, job, **terms)
    try:
        yield resident.wait(answered=False)
    finally:
        if resident.process.poll() is None:
            resident.process.kill()
        resident.process.wait(20)


@contextmanager
def as_uid(uid: int) -> Iterator[None]:
    """Whoever connects in here is `uid` to the other side: the kernel takes the effective uid at connect."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def request(method: str, path: str, body: bytes = b"", *, close: bool = False) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: agent\r\nContent-Length: {len(body)}\r\n"
    return (head + ("Connection: close\r\n" if close else "") + "\r\n").encode() + body


def read_all(connected: socket.socket) -> bytes:
    """To the end, or to a reset."""
    got = bytearray()
    try:
        while data := connected.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return bytes(got)


def read_one(connected: socket.socket) -> Reply:
    """One response with a Content-Length."""
    got = bytearray()
    while b"\r\n\r\n" not in got:
        got += _some(connected)
    size = int(Reply(bytes(got)).headers["content-length"])
    while len(got) < got.index(b"\r\n\r\n") + 4 + size:
        got += _some(connected)
    return Reply(bytes(got))


def _some(connected: socket.socket) -> bytes:
    data = connected.recv(1)
    assert data, "the connection was closed"
    return data


def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """No such process, or one that waits to be collected by whoever inherited it."""
    return dict(_states()).get(pid, "Z") == "Z"


def _stat_fields() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                yield int(entry.name), (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue


def _states() -> Iterator[tuple[int, str]]:
    return ((pid, fields[0]) for pid, fields in _stat_fields())


def _parents() -> Iterator[tuple[int, int]]:
    return ((pid, int(fields[1])) for pid, fields in _stat_fields())
