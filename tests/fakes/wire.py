"""A real server on loopback that says exactly the bytes it is told to, plain or over TLS, and keeps what it received.

Nothing here knows HTTP beyond finding the end of a request: a rude server must be able to say anything. Certificates are
made for the occasion, by a certificate authority that nobody else trusts.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Script = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority. `file` is its certificate, for a client's `ca_file`."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path


def authority(directory: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("test authority", key)
        .issuer_name(_name("test authority"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "ca.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(key=key, certificate=certificate, file=file)


def server_context(by: Authority, directory: Path, name: str, *, age_days: int = 0) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for `name` that ends ten days after it began, `age_days` ago."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(name, key, age_days=age_days)
        .issuer_name(by.certificate.subject)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(by.key, hashes.SHA256())
    )
    chain, private = directory / f"{name}.pem", directory / f"{name}.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context


def _builder(name: str, key: ec.EllipticCurvePrivateKey, *, age_days: int = 0) -> x509.CertificateBuilder:
    began = datetime.now(UTC) - timedelta(days=age_days, hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=10))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Wire:
    """A running server: `port` to reach it, `received` what each connection sent, in order."""

    def __init__(self, script: Script, context: ssl.SSLContext | None, greeting: bytes, at: Path | None) -> None:
        self.received: list[bytes] = []
        self._script = script
        self._context = context
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0)) if at is None else _unix_server(at)
        self._listener.settimeout(0.05)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(5)
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client may leave in the middle: that is what is being tested
            speaking = self._context.wrap_socket(connection, server_side=True) if self._context else connection
            with speaking:
                speaking.sendall(self._greeting)
                self.received.append(read_request(speaking))
                self._script(speaking)


@contextlib.contextmanager
def wire(
    script: Script, context: ssl.SSLContext | None = None, *, greeting: bytes = b"", at: Path | None = None
) -> Iterator[Wire]:
    """`greeting` is said before anything was asked. With `at` it is a Unix socket there."""
    server = Wire(script, context, greeting, at)
    try:
        yield server
    finally:
        server.close()


def _unix_server(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def read_request(connection: socket.socket) -> bytes:
    """One request, to the end of the body that its Content-Length declares."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = (line.lower() for line in head.split(b"\r\n"))
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError
    return data


def answer(status: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def says(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def dribbles(first: bytes, *, piece: bytes = b"x", pause_s: float = 0.05) -> Script:
    """Says something, then a little now and then, for ever: no single read ever times out."""

    def script(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            time.sleep(pause_s)
            connection.sendall(piece)

    return script


def floods(first: bytes, *, piece: bytes) -> Script:
    return dribbles(first, piece=piece, pause_s=0)


def is_silent(connection: socket.socket) -> None:
    """Waits until the client goes away, longer than any client does."""
    connection.settimeout(120)
    connection.recv(1)
