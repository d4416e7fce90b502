"""Provides byte streams over a connected socket: plain, and TLS on top of any other stream.

TLS works on memory buffers (ssl.SSLObject), because an HTTPS proxy needs TLS within TLS, which a wrapped socket cannot do.
No read, write or handshake outlasts the request's `Deadline`; all raise TimeoutError and OSError (ssl.SSLError is one).
"""

import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeVar

from opanel_agent.system.http.deadline import Deadline

T = TypeVar("T")
_RECORD_BYTES = 16 * 1024
TLS_RECORD: Final = (b"\x15\x03", b"\x16\x03")  # alert or handshake, SSL 3.0 and later (RFC 8446 5.1)
PROBE_S: Final = 2.0
"""How long it may take to find out whether a server that was spoken to without TLS speaks it."""


class Stream(Protocol):
    """A connection that bytes go over. Every method raises TimeoutError and OSError."""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Returns what comes next; b"" at the end."""
        ...

    def write(self, data: bytes, timeout_s: float) -> None:
        """Writes all of it."""
        ...

    def close(self) -> None:
        """Closes the socket below. Never raises."""
        ...


class SocketStream:
    """TCP, without TLS."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Returns what comes next within `timeout_s`; b"" at the end."""
        self._socket.settimeout(self._deadline.left(timeout_s))
        return self._socket.recv(max_bytes)

    def write(self, data: bytes, timeout_s: float) -> None:
        """Writes all of `data` within `timeout_s`."""
        self._socket.settimeout(self._deadline.left(timeout_s))
        self._socket.sendall(data)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


def takes_tls(stream: Stream, host: str, timeout_s: float) -> bool:
    """Returns whether the other end takes a TLS handshake, whoever it is; nothing is asked over it. Closes the stream."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        TlsStream(stream, anyone, host, timeout_s)
    except OSError:
        return False
    finally:
        stream.close()
    return True


def objection(error: ssl.SSLError) -> str:
    """Returns OpenSSL's reason in words: of an alert, what the other end gave as its own."""
    return str(error.reason or "unknown").replace("_", " ").lower()


def write_if_open(stream: Stream, data: bytes, timeout_s: float) -> None:
    """Writes `data`. Where the other end has left already, what it said before still waits to be read: why it did.

    Raises TimeoutError.
    """
    try:
        stream.write(data, timeout_s)
    except TimeoutError:
        raise
    except OSError:  # the next read ends, or raises it again
        return


class Pushback:
    """A stream that first gives back bytes that were read too early."""

    def __init__(self, below: Stream, early: bytes) -> None:
        self._below = below
        self._early = early

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Returns the early bytes first, then what the stream below gives."""
        if not self._early:
            return self._below.read(max_bytes, timeout_s)
        data, self._early = self._early[:max_bytes], self._early[max_bytes:]
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """Writes to the stream below."""
        self._below.write(data, timeout_s)

    def close(self) -> None:
        """Closes the stream below."""
        self._below.close()


class FirstRead:
    """A stream that remembers the first bytes that were read from it, and whether its end was."""

    def __init__(self, below: Stream) -> None:
        self._below = below
        self.first = b""
        self.ended = False

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Returns what the stream below gives."""
        data = self._below.read(max_bytes, timeout_s)
        self.first = self.first or data
        self.ended = self.ended or not data
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """Writes to the stream below."""
        self._below.write(data, timeout_s)

    def close(self) -> None:
        """Closes the stream below."""
        self._below.close()


class TlsStream:
    """TLS over another stream. The constructor makes the handshake, which verifies what `context` asks for."""

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str, handshake_s: float) -> None:
        """Raises ssl.SSLCertVerificationError, ssl.SSLError, TimeoutError or OSError; `below` stays open."""
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._run(self._tls.do_handshake, handshake_s)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """Returns decrypted bytes; b"" at the end, whether or not the other end said that it is one."""
        try:
            return self._run(partial(self._tls.read, max_bytes), timeout_s)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""  # many servers just close; HTTP's own framing tells a reply that was cut

    def write(self, data: bytes, timeout_s: float) -> None:
        """Encrypts and writes all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._run(partial(self._tls.write, rest), timeout_s) :]

    def close(self) -> None:
        """Closes the stream below, without a close_notify: nothing follows a reply here."""
        self._below.close()

    def _run(self, operation: Callable[[], T], timeout_s: float) -> T:
        """Runs an operation of OpenSSL's, and moves bytes until it is done."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                self._flush(timeout_s)
                data = self._below.read(_RECORD_BYTES, timeout_s)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._flush_alert(timeout_s)
                raise
            else:
                self._flush(timeout_s)
                return result

    def _flush(self, timeout_s: float) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read(), timeout_s)

    def _flush_alert(self, timeout_s: float) -> None:
        """Tells the other end why (RFC 8446 6.2), as far as it still listens: the first failure is the one that counts."""
        try:
            self._flush(timeout_s)
        except OSError:
            return
