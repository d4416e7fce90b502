"""The one place that reaches the network, and the only importer of httpx.

One sealed request, one connection, one reply. What goes over the wire is `core.wire.message.head` and the body and nothing
else: the transport is driven below httpx's client, which would add headers, follow redirects, keep cookies and read
the environment. The reply is capped while it is read and is trusted for nothing.

Every way to fail has its own code, because the cure differs: the name, the connection, the certificate, the proxy, a
portal in between, the server. `deadline` ends what no timeout of a single read can: a server that sends a byte now
and then. It uses SIGALRM, so it works in a program's main thread only, which is all that fetch and courier have.

Left out: retries and mirrors (evaluate decides), redirects, cookies, caches, content codings, HTTP/2. A resolver that
hangs is ended by whoever started this process: a signal is not noticed inside the C library.
"""

import contextlib
import email.utils
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Protocol
from urllib.parse import urlsplit

import httpx

from opanel_agent.core import problems
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import FIXED_GETS, MAX_REPLY_BYTES
from opanel_agent.core.errors import AgentError, Bug, Misconfigured, Unavailable, Untrusted
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire.endpoints import is_loopback
from opanel_agent.core.wire.message import Headers, Reply, Sealed, head

MAX_PROBLEM_BYTES: Final = 16 * 1024
MAX_HEADERS_BYTES: Final = 12 * 1024  # as JSON; a frame's line holds 16 KiB
MAX_RETRY_AFTER_S: Final = DAY_S
OCTETS: Final = "application/octet-stream"  # what a web server calls a file whose ending it does not know
HANDSHAKE: Final = "start_tls.started"  # how httpcore names the step, after the connection's kind
_DONE: Final = (200, 202)
# OpenSSL's own default first; then where the distributions keep it, for a Python that was built elsewhere.
_CA_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferLimits:
    """How long each part may take and how much may come."""

    connect_s: float = 10.0
    read_s: float = 20.0  # to the first byte, and between any two
    whole_s: float = 60.0
    max_bytes: int = MAX_REPLY_BYTES


class Transport(Protocol):
    def send(self, sealed: Sealed, limits: TransferLimits) -> Reply:
        """The reply; or Unavailable with the code of what failed and, where one was told, `retry_after_s`."""
        ...


def limits_for(sealed: Sealed) -> TransferLimits:
    """What the purpose of a request admits."""
    path = urlsplit(sealed.url).path
    return TransferLimits(
        max_bytes=min((g.max_bytes for g in FIXED_GETS.values() if path.endswith(g.path)), default=64 * 1024)
    )


class DeadlinePassed(Exception):
    """The deadline passed."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise Overdue in the main thread once `seconds` have passed, and again each second until it is heard."""

    def ring(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise DeadlinePassed

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class HttpxTransport:
    """HTTP/1.1 over httpx. `wall` is only asked to read a Retry-After that is a date where the server tells none."""

    def __init__(
        self, *, ca_file: Path | None = None, proxy: str | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        self._ca_file = ca_file
        self._proxy = proxy
        self._wall = wall

    def send(self, sealed: Sealed, limits: TransferLimits) -> Reply:
        _judge_length(sealed)
        steps: list[str] = []
        try:
            with deadline(limits.whole_s), self._open(sealed) as transport:
                return self._exchange(transport, sealed, limits, steps)
        except DeadlinePassed as exc:
            raise Unavailable(Reason.SERVER_ERROR, "reply_slow") from exc
        except UnicodeError as exc:  # what Python says of a name that DNS could not carry
            raise Unavailable(Reason.UNREACHABLE_DNS, "name_unknown") from exc
        except httpx.TransportError as exc:
            if isinstance(exc, httpx.ConnectTimeout) and any(step.endswith(HANDSHAKE) for step in steps):
                raise Unavailable(Reason.SERVER_ERROR, "handshake_slow") from exc
            raise _translate(exc, proxied=self._proxy_for(sealed) is not None) from exc

    def _open(self, sealed: Sealed) -> httpx.HTTPTransport:
        proxy = self._proxy_for(sealed)
        return httpx.HTTPTransport(
            verify=self._trust(sealed),
            trust_env=False,
            http1=True,
            http2=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
            proxy=httpx.Proxy(proxy) if proxy is not None else None,
            retries=0,
        )

    def _proxy_for(self, sealed: Sealed) -> str | None:
        """None for a loopback address: it would mean the proxy's own machine."""
        return None if is_loopback(urlsplit(sealed.url).hostname or "") else self._proxy

    def _trust(self, sealed: Sealed) -> ssl.SSLContext:
        """Certificates and names are verified, from TLS 1.2 on. No file and no variable of the environment is asked."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not sealed.url.startswith("https:"):
            return context
        try:
            if self._ca_file is not None:
                context.load_verify_locations(cafile=self._ca_file)
            else:
                context.load_verify_locations(**_system_trust())
        except OSError as exc:  # ssl.SSLError is one
            raise Misconfigured(Reason.SETTINGS_REFUSED, "ca_file", file=str(self._ca_file or "")) from exc
        return context

    def _exchange(
        self, transport: httpx.HTTPTransport, sealed: Sealed, limits: TransferLimits, steps: list[str]
    ) -> Reply:
        """`steps` is filled with what httpcore begins and ends, by which one timeout can be told from another."""
        request = httpx.Request(
            sealed.method,
            sealed.url,
            headers=list(sealed.headers),
            stream=httpx.ByteStream(sealed.body),  # given as a stream, httpx adds no header of its own
            extensions={
                "timeout": {
                    "connect": limits.connect_s,
                    "read": limits.read_s,
                    "write": limits.read_s,
                    "pool": limits.connect_s,
                },
                "trace": lambda name, _: steps.append(name),
            },
        )
        response = transport.handle_request(request)
        try:
            self._judge(response, sealed)
            body = _body(response, limits.max_bytes)
        finally:
            response.close()
        return Reply(
            ok=True,
            status=response.status_code,
            url=sealed.url,
            headers=_headers(response),
            sent_head=head(sealed),
            body=body,
        )

    def _judge(self, response: httpx.Response, sealed: Sealed) -> None:
        """Raise Unavailable for every answer but the one that was asked for."""
        status = response.status_code
        if 300 <= status < 400:
            raise Unavailable(Reason.CAPTIVE_PORTAL, "redirected", status=status)
        if status == 511:  # RFC 6585: Network Authentication Required
            raise Unavailable(Reason.CAPTIVE_PORTAL, "network_login", status=status)
        if status == 407:
            raise Unavailable(Reason.PROXY_ERROR, "proxy_refused", status=status)
        if status not in _DONE:
            raise self._refusal(response)
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Unavailable(Reason.SERVER_ERROR, "content_encoding")
        if _content_type(response) not in _expected(sealed):
            raise Unavailable(Reason.CAPTIVE_PORTAL, "wrong_type")

    def _refusal(self, response: httpx.Response) -> Unavailable:
        """What a server's no means: its problem (RFC 9457) where it tells one of ours, else only its status."""
        refusal = _problem(response) or Unavailable(Reason.SERVER_ERROR, "status_unexpected")
        refusal = refusal.but(status=response.status_code)
        wait_s = self._retry_after_s(response)
        return refusal if wait_s is None else refusal.but(retry_after_s=wait_s)

    def _retry_after_s(self, response: httpx.Response) -> int | None:
        """RFC 9110 10.2.3: seconds, or a date, which we count from the server's own Date where it tells one."""
        told = response.headers.get("retry-after", "").strip()
        if told.isascii() and told.isdigit():
            return min(int(told[:10]), MAX_RETRY_AFTER_S)
        until = served_at(told)
        if until is None:
            return None
        now = served_at(response.headers.get("date", ""))
        return max(0, min(int(until - (self._wall() if now is None else now)), MAX_RETRY_AFTER_S))


def _judge_length(sealed: Sealed) -> None:
    """Before connecting: h11 would notice only after the head had left, and httpx passes its error on as it is."""
    declared = [text for name, text in sealed.headers if name.lower() == "content-length"]
    if declared != ([str(len(sealed.body))] if sealed.method == "POST" else []):
        raise Bug(Reason.INTERNAL, "request_malformed")


def _system_trust() -> dict[str, str]:
    paths = ssl.get_default_verify_paths()
    for file in (paths.openssl_cafile, *_CA_FILES):
        if Path(file).is_file():
            return {"cafile": file}
    return {"capath": paths.openssl_capath}


def _expected(sealed: Sealed) -> frozenset[str]:
    """The types that the request's own Accept names; and for a static file what a plain web server calls it."""
    accept = next((text for name, text in sealed.headers if name.lower() == "accept"), "")
    named = {part.split(";")[0].strip().lower() for part in accept.split(",")} - {problems.MEDIA_TYPE}
    return frozenset(named | ({OCTETS} if sealed.method == "GET" else set()))


def _content_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).split(";")[0].strip().lower()


def _body(response: httpx.Response, max_bytes: int) -> bytes:
    """Read at most `max_bytes`: the declared length is only a reason to stop earlier."""
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:15]) > max_bytes:
        raise Unavailable(Reason.SERVER_ERROR, "reply_too_long", max_bytes=max_bytes)
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise Unavailable(Reason.SERVER_ERROR, "reply_too_long", max_bytes=max_bytes)
    return bytes(body)


def _headers(response: httpx.Response) -> Headers:
    pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw)
    if len(dumps([list(pair) for pair in pairs])) > MAX_HEADERS_BYTES:
        raise Unavailable(Reason.SERVER_ERROR, "reply_head_too_long", max_bytes=MAX_HEADERS_BYTES)
    return pairs


def _problem(response: httpx.Response) -> Unavailable | None:
    if _content_type(response) != problems.MEDIA_TYPE:
        return None
    try:
        told = loads(_body(response, MAX_PROBLEM_BYTES), max_bytes=MAX_PROBLEM_BYTES)
    except (Untrusted, Unavailable, httpx.TransportError):
        return None  # the status alone says that it was refused
    problem = problems.by_type(told.get("type")) if isinstance(told, dict) else None
    return None if problem is None else Unavailable(problem.code, problem.detail)


def served_at(text: str) -> float | None:
    """The moment that a header's date names (RFC 9110 5.6.7); None where it names none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):  # TypeError: what Python 3.9 raised, and some dates still do
        return None


def _translate(exc: httpx.TransportError, *, proxied: bool) -> AgentError:
    """Which of the causes it was, from the exception's kind and from what lies under it."""
    match exc:
        case httpx.ProxyError():
            status = str(exc)[:3]  # "407 Proxy Authentication Required"
            told = {"status": int(status)} if status.isdigit() else {}
            return Unavailable(Reason.PROXY_ERROR, "proxy_refused", **told)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return _not_connected(exc, proxied=proxied)
        case httpx.TimeoutException():
            return Unavailable(Reason.SERVER_ERROR, "reply_slow")
        case httpx.LocalProtocolError() | httpx.UnsupportedProtocol():
            return Bug(Reason.INTERNAL, "request_malformed")
        case _:
            return Unavailable(Reason.SERVER_ERROR, "reply_broken")


def _not_connected(exc: httpx.TransportError, *, proxied: bool) -> Unavailable:
    causes = tuple(_causes(exc))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unavailable(Reason.TLS_UNTRUSTED, "tls_certificate", why=str(cause.verify_message))
        if isinstance(cause, ssl.SSLError):
            return Unavailable(Reason.TLS_UNTRUSTED, "tls_handshake")
    if proxied:
        return Unavailable(Reason.PROXY_ERROR, "proxy_unreachable")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Unavailable(Reason.UNREACHABLE_DNS, "name_unknown")
    if isinstance(exc, httpx.ConnectTimeout):
        return Unavailable(Reason.UNREACHABLE_TCP, "connect_slow")
    return Unavailable(Reason.UNREACHABLE_TCP, "connect_failed")


def _causes(exc: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
