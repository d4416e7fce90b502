"""Opens a tunnel through an HTTP proxy (CONNECT, RFC 9110 9.3.6), plain or over TLS.

Every way to fail has its own detail, because the cure differs: the proxy's name, its address, TLS where it speaks none, its
certificate, user and password, a login scheme that is not spoken here (NTLM, Negotiate), a page in place of a tunnel.
"""

import base64
import re
import ssl
from typing import Final, NoReturn, Self
from urllib.parse import unquote, urlsplit

import h11

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.values import frozen, replace
from opanel_agent.core.wire.steps import RequestTrace
from opanel_agent.system.http import dialing
from opanel_agent.system.http.limits import RequestContext
from opanel_agent.system.http.streams import (
    PROBE_S,
    TLS_RECORD,
    FirstRead,
    Pushback,
    SocketStream,
    Stream,
    TlsStream,
    objection,
    takes_tls,
    write_if_open,
)

MAX_HEAD_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 4096
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LOGIN: Final = 407
_ONWARD: Final = frozenset({502, 503, 504})
_NO_CONNECT: Final = frozenset({400, 404, 405, 501})  # what a web server that is no proxy says to CONNECT
_NETWORK_LOGIN: Final = 511  # RFC 6585 6
_OF_DATES: Final = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
MAX_SCHEMES: Final = 4
# IANA's registry of authentication schemes, and what companies' proxies call theirs beside it.
_USUAL_NAMES: Final = {
    name.lower(): name
    for name in (
        *("Basic", "NTLM", "Negotiate", "Kerberos", "Digest", "Bearer", "HOBA", "Mutual", "OAuth"),
        *("SCRAM-SHA-1", "SCRAM-SHA-256"),
    )
}
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"?'


@frozen
class Proxy:
    """Where a proxy is, and how it is spoken to. `login` is `user:password`, None without one."""

    host: str
    port: int
    tls: bool
    login: str | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads a URL that `settings` has admitted; user and password are percent-decoded."""
        parts = urlsplit(url)
        login = None
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(
            host=parts.hostname or "",
            port=parts.port or _DEFAULT_PORTS[parts.scheme],
            tls=parts.scheme == "https",
            login=login,
        )


def open_tunnel(proxy: Proxy, target: str, context: RequestContext, tls: ssl.SSLContext | None) -> Stream:
    """Returns a stream to `target` (`host:port`) through the proxy.

    `tls` verifies the proxy's own certificate; None for a proxy that is spoken to without TLS. Raises
    Unavailable(proxy_error) for every failure.
    """
    stream = _connect(proxy, context)
    try:
        if tls is not None:
            stream = _handshake(stream, proxy, tls, context.limits.connect_s)
        return _request_tunnel(stream, proxy, target, context.limits.read_s)
    except Unavailable as exc:
        stream.close()
        if exc.detail == "proxy_closed" and tls is None and _speaks_tls(proxy, context):
            raise Unavailable(Reason.PROXY_ERROR, "proxy_speaks_tls") from exc
        raise
    except BaseException:
        stream.close()
        raise


def _connect(proxy: Proxy, context: RequestContext) -> Stream:
    limits, deadline = context.limits, context.deadline
    try:
        addresses = dialing.resolve(proxy.host, proxy.port, deadline.left(limits.resolve_s))
    except Unavailable as exc:
        match exc.detail:
            case "resolver_silent":
                raise Unavailable(Reason.PROXY_ERROR, "proxy_resolver_silent") from exc
            case "resolver_failed":
                raise Unavailable(Reason.PROXY_ERROR, "proxy_resolver_failed") from exc
            case _:
                raise Unavailable(Reason.PROXY_ERROR, "proxy_name_unknown") from exc
    try:
        return SocketStream(dialing.connect(addresses, deadline.left(limits.connect_s), context.trace), deadline)
    except Unavailable as exc:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_unreachable", **exc.values) from exc


def _speaks_tls(proxy: Proxy, context: RequestContext) -> bool:
    """Returns whether a proxy that hung up on a plain request takes a TLS handshake; nothing is asked of it over that."""
    try:
        stream = _connect(proxy, replace(context, trace=RequestTrace()))  # not a step of the request
    except (Unavailable, TimeoutError):
        return False
    return takes_tls(stream, proxy.host, min(context.limits.connect_s, PROBE_S))


def _handshake(stream: Stream, proxy: Proxy, context: ssl.SSLContext, timeout_s: float) -> Stream:
    heard = FirstRead(stream)
    try:
        return TlsStream(heard, context, proxy.host, timeout_s)
    except ssl.SSLCertVerificationError as exc:
        detail = "proxy_dates" if exc.verify_code in _OF_DATES else "proxy_certificate"
        raise Unavailable(Reason.PROXY_ERROR, detail, why=str(exc.verify_message)) from exc
    except OSError as exc:  # a plain proxy may wait for the end of a line that never comes
        if isinstance(exc, ssl.SSLError) and heard.first.startswith(TLS_RECORD):
            raise Unavailable(Reason.PROXY_ERROR, "proxy_handshake", why=objection(exc)) from exc
        raise Unavailable(Reason.PROXY_ERROR, "proxy_no_tls") from exc


def _request_tunnel(stream: Stream, proxy: Proxy, target: str, timeout_s: float) -> Stream:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    headers = [("Host", target)]
    if proxy.login is not None:
        headers.append(("Proxy-Authorization", f"Basic {base64.b64encode(proxy.login.encode()).decode()}"))
    request = connection.send(h11.Request(method="CONNECT", target=target, headers=headers))
    try:
        write_if_open(stream, (request or b"") + (connection.send(h11.EndOfMessage()) or b""), timeout_s)
        response = _response(connection, stream, timeout_s)
    except TimeoutError as exc:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_silent") from exc
    except ssl.SSLError as exc:  # by TLS 1.3 a proxy says only now that it wants a certificate of the client's
        raise Unavailable(Reason.PROXY_ERROR, "proxy_handshake", why=objection(exc)) from exc
    except OSError as exc:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_closed") from exc
    if not 200 <= response.status_code < 300:
        _refused(response, proxy)
    early = connection.trailing_data[0]
    if _is_page(response, early):
        raise Unavailable(Reason.PROXY_ERROR, "proxy_page")
    return Pushback(stream, early) if early else stream


def _response(connection: h11.Connection, stream: Stream, timeout_s: float) -> h11.Response:
    first = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            detail = "proxy_speaks_tls" if first.startswith(TLS_RECORD) else "proxy_not_http"
            raise Unavailable(Reason.PROXY_ERROR, detail) from exc
        match event:
            case h11.Response():
                return event
            case h11.NEED_DATA:
                data = stream.read(_READ_BYTES, timeout_s)
                first = first or data
                if not data:
                    detail = "proxy_speaks_tls" if first.startswith(TLS_RECORD) else "proxy_closed"
                    raise Unavailable(Reason.PROXY_ERROR, detail)
                connection.receive_data(data)
            case h11.InformationalResponse():
                continue
            case _:
                raise Unavailable(Reason.PROXY_ERROR, "proxy_not_http")


def _is_page(response: h11.Response, early: bytes) -> bool:
    """Tells whether a 2xx is no tunnel: that has no body (RFC 9110 9.3.6), and what is at its end waits to be spoken to."""
    headers = {name: value.strip().lower() for name, value in response.headers}
    return (
        headers.get(b"content-length", b"0") != b"0"
        or b"transfer-encoding" in headers
        or headers.get(b"content-type", b"").startswith(b"text/html")
        or early.lstrip().startswith(b"<")
    )


def _refused(response: h11.Response, proxy: Proxy) -> NoReturn:
    status = response.status_code
    why = f"HTTP {status}"
    if status in _ONWARD:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_onward", status=status, why=why)
    if status in _NO_CONNECT:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_no_connect", status=status, why=why)
    if 300 <= status < 400 or status == _NETWORK_LOGIN:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_page", status=status, why=why)
    if status != _LOGIN:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_refused", status=status, why=why)
    schemes = _schemes(response)
    if schemes and "Basic" not in schemes:
        raise Unavailable(Reason.PROXY_ERROR, "proxy_login_scheme", schemes=", ".join(schemes), status=status)
    detail = "proxy_login_missing" if proxy.login is None else "proxy_login_wrong"
    raise Unavailable(Reason.PROXY_ERROR, detail, status=status)


def _schemes(response: h11.Response) -> list[str]:
    """Returns the names of the login schemes that a proxy offers, in their usual spelling.

    One header may list several, and their parameters are parted by commas, too (RFC 9110 11.6.1): a scheme is a word that
    begins an element and that no `=` follows. What is quoted is no scheme.
    """
    found: list[str] = []
    for name, value in response.headers:
        if name != b"proxy-authenticate":
            continue
        elements = re.sub(_QUOTED, "", value.decode("latin-1")).split(",")
        for word in filter(None, (element.split(maxsplit=1)[:1] for element in elements)):
            scheme = _USUAL_NAMES.get(word[0].lower())
            if scheme is not None and scheme not in found:
                found.append(scheme)
    return found[:MAX_SCHEMES]
