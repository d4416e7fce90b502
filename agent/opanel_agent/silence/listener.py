"""A server at every address of the chamber: it keeps every byte of every connection, and answers as an authority would.

It speaks plain HTTP or, when the first byte says so, TLS with a certificate of an authority that is made for the occasion
and that only the copied settings name. After its answer it goes on reading until the other side has left, so that nothing
said late is missed. It knows no HTTP beyond finding the end of a request.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opanel_agent.core.values import frozen
from opanel_agent.silence import tls_greeting
from opanel_agent.silence.judge import CapturedRequest
from opanel_agent.silence.tls_greeting import MAX_RECORD_BYTES, RECORD_HEAD, Greeting

PATIENCE_S: Final = 30.0  # a busy machine is slow, and a request cut short by us would look like a leak
_MAX_REQUEST_BYTES: Final = 1024 * 1024
_TLS_HANDSHAKE: Final = b"\x16"  # RFC 8446 5.1
_DAYS: Final = 30


@frozen
class CannedReply:
    status: str
    content_type: str = "text/plain"
    body: bytes = b""

    def encode(self) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + self.body


NOT_THERE: Final = CannedReply(status="404 Not Found")


class Listener:
    """Started by making it. `answers` by the end of the path asked for."""

    def __init__(
        self, ports: Iterable[int], context: ssl.SSLContext, answers: Mapping[str, CannedReply], *, has_v6: bool
    ) -> None:
        self._context = context
        self._answers = answers
        self._lock = threading.Lock()
        self._talks: list[_Talk] = []
        self._doors = [_door(port, has_v6=has_v6) for port in sorted(set(ports))]
        for door in self._doors:
            threading.Thread(target=self._accept, args=(door,), daemon=True).start()

    def heard(self) -> int:
        """Tells how many connections there were until now."""
        with self._lock:
            return len(self._talks)

    def received(self) -> tuple[CapturedRequest, ...]:
        """Returns every connection, once all have ended or PATIENCE_S has passed; one that said nothing is there, too."""
        ends_at = time.monotonic() + PATIENCE_S
        with self._lock:
            talks = list(self._talks)
        for talk in talks:
            talk.thread.join(max(0.0, ends_at - time.monotonic()))
        return tuple(
            CapturedRequest(address=talk.address, port=talk.port, data=bytes(talk.data), tls=talk.opening is not None)
            for talk in talks
        )

    def greetings(self) -> tuple[Greeting, ...]:
        """Returns the clear text that opened each TLS connection. Call it after `received`."""
        with self._lock:
            opened = [(talk, talk.opening) for talk in self._talks if talk.opening is not None]
        split = [(talk, tls_greeting.split(opening)) for talk, opening in opened]
        return tuple(
            Greeting(address=talk.address, port=talk.port, shape=shape, drawn=drawn) for talk, (shape, drawn) in split
        )

    def close(self) -> None:
        for door in self._doors:
            door.close()

    def _accept(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = door.accept()
                talk = _Talk(connection, self._context, self._answers)
                with self._lock:
                    self._talks.append(talk)
                talk.thread.start()


class _Talk:
    """One connection."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, answers: Mapping[str, CannedReply]) -> None:
        address, self.port = connection.getsockname()[:2]
        self.address = address.removeprefix("::ffff:")
        self.data = bytearray()
        self.opening: bytes | None = None  # None: not TLS
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._connection = connection
        self._context = context
        self._answers = answers

    def _run(self) -> None:
        self._connection.settimeout(PATIENCE_S)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each handshake takes 40 ms more
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent data is data as well
        with self._connection, contextlib.suppress(OSError):  # whoever leaves in the middle has said what there is
            first = self._connection.recv(1, socket.MSG_PEEK)
            if first != _TLS_HANDSHAKE:
                self._talk(self._connection)
                return
            self.opening = b""
            self.opening = self._first_record()
            with self._context.wrap_socket(self._connection, server_side=True) as secured:
                self._talk(secured)

    def _first_record(self) -> bytes:
        """Returns the first TLS record, whole, left where it is."""
        flags = socket.MSG_PEEK | socket.MSG_WAITALL
        head = self._connection.recv(RECORD_HEAD, flags)
        size = min(int.from_bytes(head[3:5], "big"), MAX_RECORD_BYTES)
        return self._connection.recv(RECORD_HEAD + size, flags)

    def _talk(self, connection: socket.socket) -> None:
        while not whole(self.data) and self._more(connection):
            pass
        if whole(self.data):
            connection.sendall(self._answer().encode())
        while self._more(connection):
            pass

    def _more(self, connection: socket.socket) -> bool:
        part = connection.recv(65536)
        self.data += part
        return bool(part) and len(self.data) < _MAX_REQUEST_BYTES

    def _answer(self) -> CannedReply:
        words = bytes(self.data).partition(b"\r\n")[0].decode("latin-1").split(" ")
        path = words[1] if len(words) > 1 else ""
        return next((answer for end, answer in self._answers.items() if path.endswith(end)), NOT_THERE)


def whole(data: bytes | bytearray) -> bool:
    """Tells whether a request has arrived with the body that its Content-Length declares."""
    head, end, body = bytes(data).partition(b"\r\n\r\n")
    if not end:
        return False
    lines = (line.lower() for line in head.split(b"\r\n"))
    length = next((line[15:].strip() for line in lines if line.startswith(b"content-length:")), b"0")
    return not length.isdigit() or len(body) >= int(length)


def _door(port: int, *, has_v6: bool) -> socket.socket:
    if has_v6:
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    return socket.create_server(("", port), backlog=128)


# ---- the certificate authority of one chamber


def server_context(hosts: Iterable[str], folder: Path, ca_file: Path) -> ssl.SSLContext:
    """Returns a server's side of TLS for these names and addresses. `ca_file` is written: what its client has to trust."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("prove-silence authority")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        _builder(_name("prove-silence"), ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in sorted(set(hosts))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    chain = folder / "server.pem"
    chain.write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    began = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=_DAYS))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
