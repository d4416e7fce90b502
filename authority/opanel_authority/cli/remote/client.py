"""A client of the management API: one request, one reply, and what is told where there is none.

A request that changes something carries an idempotency key, so it is sent again where no reply came, and is made once all
the same. TLS is verified with the system's certificates. No redirect is followed: the API key goes to the address that was
named and to no other. The proxy that the environment names is used, except for loopback.
"""

import http.client
import json
import os
import re
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import AgentError, Misconfigured, Unavailable, Untrusted, Usage
from opanel_agent.core.problems import MEDIA_TYPE, TYPE_PREFIX
from opanel_agent.core.wire import endpoints
from opanel_authority.redirects import NoRedirect
from opanel_authority.tls import client_context

KEY_VARIABLE: Final = "OPANEL_AUTHORITY_API_KEY"
KEY_FILE_VARIABLE: Final = "OPANEL_AUTHORITY_API_KEY_FILE"
SERVER_VARIABLE: Final = "OPANEL_AUTHORITY_SERVER"
_PREFIX: Final = "/api/v1"
_KEY: Final = re.compile("opk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
_MAX_KEY_BYTES: Final = 1024
_MAX_REPLY_BYTES: Final = 16 << 20
_TIMEOUT_S: Final = 30
_PAUSES_S: Final = (1, 3)  # before the second try, and the third
_AGAIN: Final = frozenset({502, 503, 504})
_EXIT_STATUS: Final[Mapping[int, int]] = {401: 77, 403: 77, 429: 69}
_FIRST_OF_SERVER: Final = 500


class Refused(Exception):
    """A problem (RFC 9457) that the service answered with: its sentence, what to do, its code, how the command ends."""

    def __init__(self, problem: Mapping[str, Any], status: int) -> None:
        super().__init__(status)
        self.title = str(problem["title"])
        self.hint = str(problem.get("detail", ""))
        self.code = str(problem["type"]).removeprefix(TYPE_PREFIX)
        self.exit_status = _EXIT_STATUS.get(status, 69 if status >= _FIRST_OF_SERVER else 65)


def idempotency_key() -> str:
    """Returns a new one: 128 bits of chance."""
    return secrets.token_hex(16)


def read_key(file: Path | None) -> str:
    """Returns the API key of a file, else of the one that the environment names, else of the environment itself.

    Raises Usage where there is none, Misconfigured for what is no API key.
    """
    named = os.environ.get(KEY_FILE_VARIABLE)
    path = file or (Path(named) if named else None)
    if path is None:
        secret, where = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
        if not secret:
            raise Usage(Fault.USAGE, "api_key_unnamed", file=KEY_FILE_VARIABLE, variable=KEY_VARIABLE)
    else:
        with path.open("rb") as opened:
            secret, where = opened.read(_MAX_KEY_BYTES).decode("ascii", "replace").strip(), str(path)
    if _KEY.fullmatch(secret) is None:
        raise Misconfigured(Fault.FILE_REFUSED, "api_key_shape", where=where)
    return secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An API key and where it is sent. `server` is the address in front of `/api/v1`.

    `pauses_s` are the seconds before each further try. Raises Usage for an address that is neither https nor on loopback.
    """

    server: str
    key: str = field(repr=False)
    pauses_s: Sequence[float] = _PAUSES_S

    def __post_init__(self) -> None:
        if not endpoints.admissible(self.server):
            raise Usage(Fault.USAGE, "server_inadmissible", url=self.server[:200])

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Json] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Returns the reply's JSON object, {} for one without a body.

        Raises Refused for a problem, Unavailable where no reply came, Untrusted for one that is none of this API's and for
        a certificate that the system does not trust.
        """
        url = self.server.rstrip("/") + _PREFIX + path
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = {"Authorization": f"Bearer {self.key}", "Accept": f"application/json, {MEDIA_TYPE}"}
        headers["User-Agent"] = "opanel-authority"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - https, or loopback
        return self._answered(request, idempotency_key)

    def _answered(self, request: urllib.request.Request, key: str | None) -> dict[str, Any]:
        for pause_s in self.pauses_s:
            try:
                status, media_type, reply = self._send(request)
            except Unavailable:
                time.sleep(pause_s)
                continue
            if status not in _AGAIN:
                return self._read(status, media_type, reply)
            time.sleep(pause_s)
        try:
            return self._read(*self._send(request))
        except Unavailable as error:
            raise error if key is None else Unavailable(error.code, "server_silent", **error.values, key=key) from error

    def _send(self, request: urllib.request.Request) -> tuple[int, str, bytes]:
        """Returns status, media type and body."""
        handlers: list[Any] = [NoRedirect, urllib.request.HTTPSHandler(context=client_context())]
        if self.server.startswith("http://"):
            handlers.append(urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        try:
            try:
                reply = opener.open(request, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as refusal:
                reply = refusal
            with reply:
                return reply.status, reply.headers.get_content_type(), reply.read(_MAX_REPLY_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> AgentError:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause) or type(cause).__name__
        match cause:
            case ssl.SSLCertVerificationError():
                return Untrusted(Reason.TLS_UNTRUSTED, "server_untrusted", url=self.server, why=cause.verify_message)
            case socket.gaierror():
                code = Reason.UNREACHABLE_DNS
            case _:
                code = Reason.UNREACHABLE_TCP
        return Unavailable(code, "server_unreachable", url=self.server, why=why)

    def _read(self, status: int, media_type: str, reply: bytes) -> dict[str, Any]:
        try:
            found = json.loads(reply) if reply else {}
        except ValueError:
            found = None
        if media_type == MEDIA_TYPE and isinstance(found, dict) and {"title", "type"} <= found.keys():
            raise Refused(found, status)
        if not isinstance(found, dict) or not 200 <= status < 300:
            raise Untrusted(Reason.SERVER_ERROR, "server_other", url=self.server, status=status)
        return found
