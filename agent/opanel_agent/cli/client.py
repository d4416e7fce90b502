"""Sends requests to the daemon: HTTP/1.1 (RFC 9112) over its Unix socket, one request a connection.

Every way in which it may fail to answer is one of our errors, with what to do about it. The reply is limited in size and
read with the strict JSON of everything else; it comes from another process, perhaps of another version, so unknown members
are ignored.

Not http.client: it loads the whole mail parser, which is half of what `status` would cost (14 of 29 ms of user CPU, Python
3.11, 2026-11-29). One server with one form of reply needs a status line, a Content-Length and a body. Left out: chunks,
redirections, interim responses, connections that are kept.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.commands import SIGNALS
from opanel_agent.core.errors import AgentError, Misconfigured, NotPermitted, NotYet, Unavailable, Untrusted

MAX_REPLY_BYTES: Final = 1024 * 1024
MAX_LINE_BYTES: Final = 8 * 1024
MAX_HEAD_LINES: Final = 64
STATUS_DIGITS: Final = 3
ANSWER_TIMEOUT_S: Final = 5
# The daemon itself answers 202 after 30 s; beyond that it has a little time to say so.
GRACE_S: Final = 5
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"


@contextmanager
def decode_reply() -> Iterator[None]:
    """Turns a reply that is not as agreed into Unavailable: the daemon's fault, and no refused document."""
    try:
        yield
    except Untrusted as exc:
        raise Unavailable(Fault.PROTOCOL, "daemon_garbled") from exc


Body = bytes | Mapping[str, Json] | None


class Done(NamedTuple):
    """Holds the reply to a POST: the job's result, and the license as it stands after it."""

    result: Members
    license: Members

    @property
    def plain(self) -> dict[str, Json]:
        """Returns the whole result as it came."""
        return {name: self.result.value(name) for name in self.result.names()}


class Taken(NamedTuple):
    """A POST that the daemon took: the job's result, and its own error; NotYet while the job goes on."""

    result: Members
    license: Members
    error: AgentError | None = None


class DaemonClient(NamedTuple):
    """Sends requests to the daemon whose socket lies at `socket_path` (107 bytes at most, unix(7)).

    `signals` are the opt-outs of this command's own environment, `DO_NOT_TRACK=1`: they go with every request but a
    document's bytes, of which nothing leaves, because the daemon sees another environment.
    """

    socket_path: Path
    signals: tuple[str, ...] = ()

    def get(self, path: str) -> Members:
        """Returns one of the answers that the daemon holds in memory. Raises NotYet, Unavailable, NotPermitted."""
        return self._members(self._exchange("GET", path, None, ANSWER_TIMEOUT_S))

    def post(self, path: str, body: Body = None, *, wait_s: int = 30) -> Done:
        """Starts a job and waits for it, `wait_s` seconds and a little. `body`: a document's bytes, or options.

        Raises the job's own error, or NotYet when the job goes on after that time.
        """
        taken = self.hand_over(path, body, wait_s=wait_s)
        if taken.error is not None:
            raise taken.error
        return Done(result=taken.result, license=taken.license)

    def hand_over(self, path: str, body: Body = None, *, wait_s: int = 30) -> Taken:
        """Starts a job as `post` does, and returns its own error instead of raising it.

        Raises only where it is not known that the daemon took the request.
        """
        reply = self._members(self._exchange("POST", path, body, wait_s + GRACE_S))
        error: AgentError | None = None
        match _value(reply, "ok"):
            case True:
                error = None
            case False:
                error = AgentError.from_json(_mapping(reply, "error"))
            case _:
                error = NotYet(Fault.NOT_YET, "goes_on")
        return Taken(result=_object(reply, "result"), license=_object(reply, "license"), error=error)

    def _exchange(self, method: str, path: str, body: Body, timeout_s: int) -> bytes:
        request = _request(method, path, self._with_signals(method, body))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                _connect(connection, str(self.socket_path), timeout_s)
                connection.sendall(request)
                with connection.makefile("rb") as reply:
                    status, read = _read_response(reply)
        except TimeoutError as exc:
            raise NotYet(Fault.NOT_YET, "goes_on" if method == "POST" else "daemon_silent") from exc
        except (ValueError, OSError) as exc:
            raise _failure(exc, str(self.socket_path)) from exc
        if status not in (200, 202):
            raise _refusal(status, read)
        return read

    def _with_signals(self, method: str, body: Body) -> Body:
        if not self.signals or method != "POST" or isinstance(body, bytes):
            return body
        return {**(body or {}), SIGNALS: list(self.signals)}

    def _members(self, read: bytes) -> Members:
        with decode_reply():
            return Members(loads(read, max_bytes=MAX_REPLY_BYTES), "reply")


def _request(method: str, path: str, body: Body) -> bytes:
    """Returns the bytes of a request. `path` is one of `core.commands.ROUTES`: nothing in it needs escaping."""
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    match body:
        case None:
            data = b""
        case bytes():
            data = body
            head.append(f"Content-Type: {OCTETS}")
        case _:
            data = dumps(dict(body))
            head.append(f"Content-Type: {JSON}")
    if method == "POST":
        head.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*head, "", ""]).encode("ascii") + data


def _read_response(reply: BinaryIO) -> tuple[int, bytes]:
    """Returns the status and the body, of which MAX_REPLY_BYTES + 1 at most.

    Raises ConnectionResetError where the connection ends before the status line, ValueError for what is no such response.
    """
    line = reply.readline(MAX_LINE_BYTES)
    if not line:
        raise ConnectionResetError
    version, status, *_ = line.decode("ascii").split(None, 2)
    if not version.startswith("HTTP/1.") or not (len(status) == STATUS_DIGITS and status.isdigit()):
        raise ValueError(version)
    length = _content_length(reply)
    read = reply.read(MAX_REPLY_BYTES + 1 if length is None else min(length, MAX_REPLY_BYTES + 1))
    if length is not None and len(read) < min(length, MAX_REPLY_BYTES):
        raise ValueError(length)
    return int(status), read


def _content_length(reply: BinaryIO) -> int | None:
    """Reads the header lines; returns Content-Length, or None where the body ends with the connection. Raises ValueError."""
    length = None
    for _ in range(MAX_HEAD_LINES):
        line = reply.readline(MAX_LINE_BYTES)
        if line in (b"\r\n", b"\n"):
            return length
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            break
        if name.lower() == "content-length":
            length = _length(value.strip())
    raise ValueError(length)


def _length(digits: str) -> int:
    """Returns a Content-Length (RFC 9110 section 8.6: digits alone). Raises ValueError."""
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(digits)
    return int(digits)


def _connect(connection: socket.socket, path: str, timeout_s: int) -> None:
    """Connects, and waits while the daemon's queue is full. Raises OSError.

    Only a blocking connect waits there (unix(7)); one with Python's time-out gets EAGAIN at once, so that a busy panel
    would turn monitoring to "unknown".
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", timeout_s, 0))
    connection.connect(path)
    connection.settimeout(timeout_s)


def _failure(exc: Exception, path: str) -> AgentError:
    match exc:
        case FileNotFoundError() | ConnectionRefusedError() | NotADirectoryError():
            return Unavailable(Fault.NOT_RUNNING, "not_running")
        case PermissionError():
            return NotPermitted(Fault.NO_PERMISSION, "socket_permission", path=path)
        case ConnectionError() | BlockingIOError():  # it closed on us, or its queue is full
            return Unavailable(Fault.BUSY, "daemon_busy")
        case OSError(errno=None):  # Python's own check of the length of sun_path
            return Misconfigured(Fault.IO_FAILED, "socket_path_long", path=path)
        case OSError():
            return Unavailable(Fault.IO_FAILED, "socket_failed", path=path)
        case _:
            return Unavailable(Fault.PROTOCOL, "daemon_garbled")


def _refusal(status: int, read: bytes) -> AgentError:
    """Returns the error that a problem (RFC 9457) of the daemon stands for, or carries."""
    try:
        problem = Members(loads(read, max_bytes=MAX_REPLY_BYTES), "problem")
    except Untrusted:
        problem = Members({}, "problem")
    match status:
        case 403:
            return NotPermitted(Fault.NO_PERMISSION, "daemon_refuses")
        case 429:
            return Unavailable(Fault.RATE_LIMITED, "refresh_too_soon")
        case 503 if _mapping(problem, "error"):
            return AgentError.from_json(_mapping(problem, "error"))
        case 503 if _value(problem, "code") == Fault.NOT_YET:
            return NotYet(Fault.NOT_YET, "no_answer_yet")
        case 503:
            return Unavailable(Fault.BUSY, "daemon_busy")
        case _:
            return Unavailable(Fault.PROTOCOL, "daemon_problem", status=status)


def _value(members: Members, name: str) -> Json:
    return members.value(name) if members.has(name) else None


def _mapping(members: Members, name: str) -> dict[str, Json]:
    value = _value(members, name)
    return value if isinstance(value, dict) else {}


def _object(members: Members, name: str) -> Members:
    return Members(_mapping(members, name), name)
