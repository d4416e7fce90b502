"""Sends one sealed request over one connection and returns one reply: the only importer of httpx.

What goes over the wire is `core.wire.message.head` and the body and nothing else: httpx is driven below its client,
which would add headers, follow redirects, keep cookies and read the environment. The connection is made here and not
by httpx: names, addresses, proxy and TLS each have their part of the time and codes of their own (`dialing`, `proxy`,
`streams`).

Left out: retries and mirrors (fetch and evaluate decide), redirects, cookies, caches, content codings, HTTP/2.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpcore
import httpx

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug, Unavailable
from opanel_agent.core.values import replace
from opanel_agent.core.wire.endpoints import is_exempt, is_loopback
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.core.wire.steps import RequestTrace, Step
from opanel_agent.system.http import dialing, replies, trust
from opanel_agent.system.http.deadline import Deadline
from opanel_agent.system.http.limits import RequestContext, TransferLimits
from opanel_agent.system.http.proxy import Proxy, open_tunnel
from opanel_agent.system.http.replies import Received
from opanel_agent.system.http.streams import (
    PROBE_S,
    TLS_RECORD,
    FirstRead,
    SocketStream,
    Stream,
    TlsStream,
    objection,
    takes_tls,
    write_if_open,
)

_PORTS: Final = {"http": 80, "https": 443}
_BAD_REQUEST: Final = 400
_OF_ANOTHER_NAME: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OF_THE_VERSION: Final = frozenset({"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER"})


class Transport(Protocol):
    """Sends sealed requests. Tests replace it."""

    def send(self, sealed: Sealed, limits: TransferLimits, trace: RequestTrace | None = None) -> Reply:
        """Sends a request and returns the reply. `trace` is filled with the steps that were passed.

        Raises Unavailable with the code of what failed and, where the server asked for it, `retry_after_s`;
        Misconfigured for a `ca_file` that cannot be used; Bug for a request that is none.
        """
        ...


class HttpxTransport:
    """HTTP/1.1 over httpx, directly or through the proxy that the settings name."""

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        no_proxy: Sequence[str] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Takes `proxy` and `no_proxy` as the settings have admitted them; `wall` reads a Retry-After that is a date."""
        self._ca_file = ca_file
        self._proxy = None if proxy is None else Proxy.parse(proxy)
        self._no_proxy = no_proxy
        self._wall = wall

    def send(self, sealed: Sealed, limits: TransferLimits, trace: RequestTrace | None = None) -> Reply:
        """Makes one connection, sends the request and reads the reply, as `Transport.send` says."""
        _judge_length(sealed)
        context = RequestContext(limits=limits, deadline=Deadline(limits.whole_s), trace=trace or RequestTrace())
        stream = self._open(sealed, context)
        try:
            return self._exchange(stream, sealed, context)
        except Unavailable as exc:
            if _may_want_tls(sealed, exc) and _speaks_tls(sealed, context):
                raise Unavailable(Reason.SERVER_ERROR, "server_speaks_tls") from exc
            raise
        finally:
            stream.close()

    def _open(self, sealed: Sealed, context: RequestContext) -> Stream:
        """Returns a stream to the server, through the proxy and TLS where they are asked for."""
        parts = urlsplit(sealed.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        tls = trust.for_servers(self._ca_file) if parts.scheme == "https" else None
        proxy = self._proxy_for(host)
        try:
            if proxy is None:
                stream = _connect(host, port, context)
            else:
                proxy_tls = trust.for_proxies(self._ca_file) if proxy.tls else None
                target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                with context.trace.step(Step.PROXY):
                    stream = open_tunnel(proxy, target, context, proxy_tls)
            return stream if tls is None else _secure(stream, tls, host, context)
        except TimeoutError as exc:  # the whole time is over before anything was asked
            raise Unavailable(Reason.SERVER_ERROR, "reply_slow") from exc

    def _proxy_for(self, host: str) -> Proxy | None:
        """Returns the proxy for a host; None for a loopback address, which would mean the proxy's own machine."""
        return None if is_loopback(host) or is_exempt(host, self._no_proxy) else self._proxy

    def _exchange(self, stream: Stream, sealed: Sealed, context: RequestContext) -> Reply:
        limits, trace = context.limits, context.trace
        heard = FirstRead(stream)
        try:
            with trace.step(Step.HTTP):
                received = _receive(heard, sealed, limits.read_s)
                replies.judge_head(received, self._wall)
            return replies.read_body(received, sealed, max_bytes=limits.max_bytes, trace=trace)
        except TimeoutError as exc:
            detail = "reply_stalled" if Step.HTTP in trace.passed else "reply_slow"
            raise Unavailable(Reason.SERVER_ERROR, detail) from exc
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as exc:
            raise Bug(Reason.INTERNAL, "request_malformed") from exc
        except (httpx.TransportError, OSError) as exc:
            raise _broken(exc, heard) from exc


def _broken(failure: Exception, heard: FirstRead) -> Unavailable:
    """Returns why a reply could not be read: what TLS objects to, bytes that are no HTTP, or an end in the middle."""
    if isinstance(failure, ssl.SSLError) and not isinstance(failure, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Unavailable(Reason.SERVER_ERROR, "tls_ended", why=objection(failure))
    malformed = isinstance(failure, httpx.RemoteProtocolError) or isinstance(
        failure.__cause__, httpx.RemoteProtocolError
    )
    if malformed and heard.first and not (heard.ended and heard.first.startswith(b"HTTP/")):
        return Unavailable(Reason.SERVER_ERROR, "reply_not_http")
    return Unavailable(Reason.SERVER_ERROR, "reply_broken")


def _may_want_tls(sealed: Sealed, refusal: Unavailable) -> bool:
    """Returns whether this is how a server that speaks TLS takes a plain request: it hangs up, or answers 400."""
    broken = refusal.detail in {"reply_broken", "reply_not_http"} or refusal.values.get("status") == _BAD_REQUEST
    return broken and urlsplit(sealed.url).scheme == "http"


def _speaks_tls(sealed: Sealed, context: RequestContext) -> bool:
    """Asks by a handshake on a connection of its own, which is no step of the request. The address is a loopback one."""
    parts = urlsplit(sealed.url)
    host = parts.hostname or ""
    try:
        stream = _connect(host, parts.port or _PORTS[parts.scheme], replace(context, trace=RequestTrace()))
    except (Unavailable, TimeoutError):
        return False
    return takes_tls(stream, host, min(context.limits.connect_s, PROBE_S))


def _judge_length(sealed: Sealed) -> None:
    """Judges the length before connecting.

    h11 would notice only after the head had left, and httpx passes its error on as it is.
    """
    declared = [text for name, text in sealed.headers if name.lower() == "content-length"]
    if declared != ([str(len(sealed.body))] if sealed.method == "POST" else []):
        raise Bug(Reason.INTERNAL, "request_malformed")


def _connect(host: str, port: int, context: RequestContext) -> Stream:
    limits, deadline, trace = context.limits, context.deadline, context.trace
    with trace.step(Step.DNS):
        addresses = dialing.resolve(host, port, deadline.left(limits.resolve_s))
    with trace.step(Step.TCP):
        try:
            return SocketStream(dialing.connect(addresses, deadline.left(limits.connect_s), trace), deadline)
        except Unavailable as exc:
            if is_loopback(host) or not all(address.is_own for address in addresses):
                raise
            raise Unavailable(Reason.UNREACHABLE_TCP, "connect_own", **exc.values) from exc


def _secure(stream: Stream, tls: ssl.SSLContext, host: str, context: RequestContext) -> Stream:
    """Returns TLS over a stream with the server's certificate verified; else closes it and raises Unavailable."""
    try:
        with context.trace.step(Step.TLS):
            secured = _handshake(stream, tls, host, context)
    except BaseException:
        stream.close()
        raise
    context.trace.passed.append(Step.CERTIFICATE)
    return secured


def _handshake(stream: Stream, tls: ssl.SSLContext, host: str, context: RequestContext) -> Stream:
    remembering = FirstRead(stream)
    try:
        return TlsStream(remembering, tls, host, context.limits.connect_s)
    except ssl.SSLCertVerificationError as exc:
        context.trace.passed.append(Step.TLS)  # it spoke TLS well enough to show a certificate
        context.trace.failed = Step.CERTIFICATE
        detail = "tls_name" if exc.verify_code in _OF_ANOTHER_NAME else "tls_certificate"
        raise Unavailable(Reason.TLS_UNTRUSTED, detail, why=str(exc.verify_message)) from exc
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:  # the latter is how Python 3.11.2 takes it
        raise Unavailable(Reason.UNREACHABLE_TCP, "tls_cut") from exc
    except ssl.SSLError as exc:
        if remembering.first and not remembering.first.startswith(TLS_RECORD):
            raise Unavailable(Reason.TLS_UNTRUSTED, "tls_not_spoken") from exc
        detail = "tls_version" if exc.reason in _OF_THE_VERSION else "tls_handshake"
        raise Unavailable(Reason.TLS_UNTRUSTED, detail, why=objection(exc)) from exc
    except TimeoutError as exc:
        raise Unavailable(Reason.SERVER_ERROR, "handshake_slow") from exc
    except OSError as exc:
        raise Unavailable(Reason.UNREACHABLE_TCP, "tls_cut") from exc


def _receive(stream: Stream, sealed: Sealed, timeout_s: float) -> Received:
    """Sends the request and reads the head of the response."""
    response = _StreamTransport(stream, timeout_s).handle_request(_request(sealed))
    return Received(
        status=response.status_code,
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw),
        chunks=_broken_as_oserror(response.iter_raw()),
    )


def _request(sealed: Sealed) -> httpx.Request:
    """Returns the request for httpcore, whose scheme is http: the stream that it gets is already secured."""
    parts = urlsplit(sealed.url)
    return httpx.Request(
        sealed.method,
        f"http://{parts.netloc}{parts.path or '/'}",
        headers=list(sealed.headers),
        stream=httpx.ByteStream(sealed.body),  # given as a stream, httpx adds no header of its own
    )


def _broken_as_oserror(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields a body; a reply that ends or breaks in the middle raises OSError."""
    try:
        yield from chunks
    except httpx.TransportError as exc:
        raise OSError from exc


class _StreamTransport(httpx.HTTPTransport):
    """httpx's transport on a stream that is already open.

    httpx has no parameter for httpcore's documented `network_backend`, so the pool is replaced, under the name that it
    has had in every release since 0.18; the tests send over it with the oldest and the newest one.
    """

    def __init__(self, stream: Stream, timeout_s: float) -> None:
        super().__init__(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)  # it trusts nobody
        backend: Any = _OpenStream(stream, timeout_s)
        self._pool = httpcore.ConnectionPool(network_backend=backend, max_connections=1, retries=0)


class _OpenStream:
    """httpcore's network backend and network stream in one, by their methods (both of its versions agree on these)."""

    def __init__(self, stream: Stream, timeout_s: float) -> None:
        self._stream = stream
        self._timeout_s = timeout_s

    def connect_tcp(self, *_: object, **__: object) -> "_OpenStream":
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's own signature
        return self._stream.read(max_bytes, self._timeout_s)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as above
        write_if_open(self._stream, buffer, self._timeout_s)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, _info: str) -> None:
        return None
