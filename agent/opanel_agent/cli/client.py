"""Asks the daemon: HTTP/1.1 over its Unix socket, one request a connection.

Every way in which it may fail to answer is one of our errors, with what to do about it. The reply is size-capped and read
with the strict JSON of everything else; it is still another process's word, perhaps of another version, so members that are
unknown here are ignored.
"""

import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opanel_agent.core.codec.strict_json import Json, Members, dumps, loads
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import AgentError, Misconfigured, NotPermitted, NotYet, Unavailable, Untrusted

MAX_REPLY_BYTES: Final = 1024 * 1024
ANSWER_TIMEOUT_S: Final = 5
# The daemon itself answers 202 after 30 s; beyond that it has a little time to say so.
GRACE_S: Final = 5
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"


@contextmanager
def decode_reply() -> Iterator[None]:
    """Reads a reply's members: what is not as agreed is the daemon's fault, and no refused document."""
    try:
        yield
    except Untrusted as exc:
        raise Unavailable(Fault.PROTOCOL, "daemon_garbled") from exc


Body = bytes | Mapping[str, Json] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a POST came to: the job's result, and the license as it stands after it."""

    result: Members
    license: Members

    @property
    def plain(self) -> dict[str, Json]:
        """The whole result as it came."""
        return {name: self.result.value(name) for name in self.result.names()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonClient:
    socket_path: Path

    def get(self, path: str) -> Members:
        """One of the answers held in memory. Raises NotYet, Unavailable, NotPermitted."""
        return self._members(self._exchange("GET", path, None, ANSWER_TIMEOUT_S))

    def post(self, path: str, body: Body = None, *, wait_s: int = 30) -> Done:
        """Asks for a job and waits for it. `body`: a document's bytes, or options.

        Raises the job's own error, or NotYet when it goes on without us.
        """
        told = self._members(self._exchange("POST", path, body, wait_s + GRACE_S))
        match _value(told, "ok"):
            case True:
                return Done(result=_object(told, "result"), license=_object(told, "license"))
            case False:
                raise AgentError.from_json(_mapping(told, "error"))
            case _:
                raise NotYet(Fault.NOT_YET, "goes_on")

    def _exchange(self, method: str, path: str, body: Body, timeout_s: int) -> bytes:
        connection = _Connection(self.socket_path, timeout_s)
        data, headers = _carried(body)
        try:
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            read = response.read(MAX_REPLY_BYTES + 1)
        except TimeoutError as exc:
            raise NotYet(Fault.NOT_YET, "goes_on" if method == "POST" else "daemon_silent") from exc
        except (http.client.HTTPException, OSError) as exc:
            raise _failure(exc, str(self.socket_path)) from exc
        finally:
            connection.close()
        if response.status not in (200, 202):
            raise _refusal(response.status, read)
        return read

    def _members(self, read: bytes) -> Members:
        with decode_reply():
            return Members(loads(read, max_bytes=MAX_REPLY_BYTES), "reply")


def _carried(body: Body) -> tuple[bytes | None, dict[str, str]]:
    match body:
        case None:
            return None, {}
        case bytes():
            return body, {"Content-Type": OCTETS}
        case _:
            return dumps(dict(body)), {"Content-Type": JSON}


class _Connection(http.client.HTTPConnection):
    """http.client over AF_UNIX: only how it connects differs."""

    def __init__(self, path: Path, timeout_s: int) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


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
    """An RFC 9457 problem of the daemon, as the error that it stands for, or that it tells of."""
    try:
        told = Members(loads(read, max_bytes=MAX_REPLY_BYTES), "problem")
    except Untrusted:
        told = Members({}, "problem")
    match status:
        case 403:
            return NotPermitted(Fault.NO_PERMISSION, "daemon_refuses")
        case 429:
            return Unavailable(Fault.RATE_LIMITED, "refresh_too_soon")
        case 503 if _mapping(told, "error"):
            return AgentError.from_json(_mapping(told, "error"))
        case 503 if _value(told, "code") == Fault.NOT_YET:
            return NotYet(Fault.NOT_YET, "no_answer_yet")
        case 503:
            return Unavailable(Fault.BUSY, "daemon_busy")
        case _:
            return Unavailable(Fault.PROTOCOL, "daemon_problem", status=status)


def _value(told: Members, name: str) -> Json:
    return told.value(name) if told.has(name) else None


def _mapping(told: Members, name: str) -> dict[str, Json]:
    value = _value(told, name)
    return value if isinstance(value, dict) else {}


def _object(told: Members, name: str) -> Members:
    return Members(_mapping(told, name), name)
