"""The small HTTP side: the static files, and answers to agents (docs/authority.md).

Each handler is: bounded body, strict types, one decision of `answer`. What is refused is an RFC 9457 problem whose
code the agent knows. The fixed GETs are the same bytes for everybody: no ETag, no cookie, no variation, nothing to
condition on.

It keeps no address; one is looked at where a license is limited to networks (`requests.networks`). uvicorn's access log is
off; instead each request is one line, "method path status", and that is all that is ever written about it. The rate limits
count license keys, reports, and rights requests, after they were found to be in order; never peers.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opanel_agent.core import problems
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import CONSENT_BASED, SHARDS, Purpose
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.errors import AgentError, NotPermitted, Untrusted
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.system.storage.resources import load_catalog, noticed_catalogs
from opanel_authority.api import management
from opanel_authority.api.access import Managed
from opanel_authority.api.limits import Limiter
from opanel_authority.api.problems import problem
from opanel_authority.api.workers import Admission, Shared, Workers
from opanel_authority.authority import Authority
from opanel_authority.documents import advisories, publish
from opanel_authority.lifecycle import health
from opanel_authority.requests import licensing, networks, reports, rights
from opanel_authority.requests.licensing import JOSE, JSON, Answer
from opanel_authority.requests.networks import Network, Sender

# For all senders together: nothing tells them apart. A report a second is a fleet of 600 000 that report weekly.
REPORTS_BURST: Final = 240
RIGHTS_BURST: Final = 60
# License keys that were never issued: mistyped ones in an ordinary day, and no more of a machine that tries them out.
GUESSES_BURST: Final = 600
# Test events of one webhook: enough to set a receiver up, too few to trouble one who never asked for them.
TESTS_BURST: Final = 10
STATUS_LIST: Final = "application/statuslist+jwt"
_MAX_SHOWN: Final = 200
_OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SHARDS: Final = {"": 0, **{f"{shard}.jwt": shard for shard in range(1, SHARDS)}}
_HANDLE: Final = 4  # of /api/v1/licenses/<handle>/…


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the handlers need.

    `proxies` are trusted to say who connected to them. `now` is the wall clock in seconds, `elapsed` a clock that only goes
    forward.
    """

    authority: Authority
    catalog: Catalog = field(default_factory=load_catalog)
    catalogs: Mapping[str, Catalog] = field(default_factory=noticed_catalogs)
    limiter: Limiter = field(default_factory=Limiter)
    reports: Limiter = field(default_factory=lambda: Limiter(burst=REPORTS_BURST, refill_s=1, detail="too_many"))
    wrong_keys: Limiter = field(default_factory=management.limiter)
    webhook_tests: Limiter = field(default_factory=lambda: Limiter(burst=TESTS_BURST, refill_s=60, detail="too_many"))
    guesses: Limiter = field(default_factory=lambda: Limiter(burst=GUESSES_BURST, refill_s=1))
    rights: Limiter = field(default_factory=lambda: Limiter(burst=RIGHTS_BURST, refill_s=10, detail="too_many"))
    proxies: tuple[Network, ...] = ()
    workers: Workers = field(default_factory=Workers)
    admission: Admission = field(default_factory=Admission)
    now: Callable[[], int] = field(default=lambda: int(time.time()))
    elapsed: Callable[[], float] = time.monotonic


def app(served: Served, log: Callable[[str], None]) -> ASGIApp:
    """Returns the ASGI application; `log` gets one line for each request that was answered."""

    async def broken(_request: Request, error: Exception) -> Response:
        log(f"error {error}")  # an AgentError: a code, a detail and values of ours, never a payload's
        return problem("unavailable", 503, "unavailable_here")

    managed = Managed(
        authority=served.authority,
        now=served.now,
        elapsed=served.elapsed,
        log=log,
        wrong_keys=served.wrong_keys,
        webhook_tests=served.webhook_tests,
    )
    manage = Mount(management.PREFIX, management.application(managed))
    handlers = {AgentError: broken, HTTPException: _no_such}
    routes = [*_published(served), *_received(served), *_watched(served), manage]
    inner = Starlette(routes=routes, exception_handlers=handlers)
    inner.router.redirect_slashes = False  # one address each; nothing here redirects
    return _Logged(inner, log)


def _published(served: Served) -> list[BaseRoute]:
    """Returns signed documents, the same bytes for everybody: the status lists, the roots, the advisories."""
    lists = {shard: _shared(served, partial(publish.served_status_list, shard=shard)) for shard in _SHARDS.values()}
    advised = _shared(served, advisories.published)

    async def status(request: Request) -> Response:
        shard = _SHARDS.get(request.path_params.get("name", ""))
        token = None if shard is None else await served.admission.take(lists[shard].result)
        return await _no_such(request, HTTPException(404)) if token is None else Response(token, media_type=STATUS_LIST)

    async def roots(_request: Request) -> Response:
        return Response(publish.roots_text(served.authority), media_type=JOSE)

    async def advisory_set(_request: Request) -> Response:
        return Response(await served.admission.take(advised.result), media_type=JOSE)

    return [
        Route("/v1/status.jwt", status),
        Route("/v1/status/{name}", status),
        Route("/v1/roots.jws", roots),
        Route("/v1/advisories.jws", advisory_set),
    ]


def _shared(served: Served, look: Callable[..., bytes | None]) -> Shared[bytes | None]:
    """Returns what `look` finds in the authority, looked up once for all who ask at the same time."""
    return Shared(lambda: served.workers.read(lambda: look(served.authority, now=served.now())))


def _received(served: Served) -> list[BaseRoute]:
    """Returns what agents send.

    License requests, rights requests, and a report for each purpose that is based on consent.
    """
    routes: list[BaseRoute] = [
        Route("/v1/bundles", _post(served, JSON, partial(_bundle, served), writes=False), methods=["POST"]),
        Route("/v1/activations", _post(served, JOSE, partial(_signed, served, "activation")), methods=["POST"]),
        Route("/v1/releases", _post(served, JOSE, partial(_signed, served, "release")), methods=["POST"]),
        Route("/v1/renewals", _post(served, JOSE, partial(_signed, served, "renewal")), methods=["POST"]),
        Route("/v1/rights", _rights(served), methods=["POST"]),
    ]
    for purpose in CONSENT_BASED:
        report = _post(served, JSON, partial(_report, served, purpose))
        routes.append(Route(f"/v1/reports/{purpose.value}", report, methods=["POST"]))
    return routes


def _watched(served: Served) -> list[BaseRoute]:
    """Returns health, readiness and metrics: for the machine itself, not for the proxy in front."""
    examined = Shared(lambda: served.workers.read(lambda: health.examine(served.authority, now=served.now())))

    async def alive(_request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def ready(_request: Request) -> Response:
        problems_found = await served.workers.read(partial(health.ready, served.authority))
        return Response("\n".join([*problems_found, ""]) or "ok\n", status_code=503 if problems_found else 200)

    async def metrics(_request: Request) -> Response:
        found = await examined.result()
        return Response(health.metrics(found), media_type=_OPEN_METRICS)

    return [Route("/livez", alive), Route("/readyz", ready), Route("/metrics", metrics)]


def _bundle(served: Served, body: bytes, peer: Sender) -> Answer:
    key_sha256 = licensing.key_of(body)
    _hold_back(served, key_sha256)
    return licensing.bundle(served.authority, key_sha256, now=served.now(), peer=peer)


def _signed(served: Served, kind: str, body: bytes, peer: Sender) -> Answer:
    claims = requests.verify(body)
    if claims.kind != kind:
        raise NotPermitted(Reason.NOT_PERMITTED, "kind_elsewhere")
    _hold_back(served, claims.key_sha256)
    return licensing.signed(served.authority, body, claims, now=served.now(), peer=peer)


def _report(served: Served, purpose: Purpose, body: bytes, _peer: Sender) -> Answer:
    admit = partial(served.reports.admit, served.elapsed())
    return reports.report(served.authority, served.catalogs, purpose, body, now=served.now(), admit=admit)


def _right(served: Served, body: bytes, _peer: Sender) -> Answer:
    admit = partial(served.rights.admit, served.elapsed())
    return rights.right(served.authority, served.catalog, body, now=served.now(), admit=admit)


def _license_right(served: Served, body: bytes, _peer: Sender) -> Answer:
    admit = partial(served.rights.admit, served.elapsed())
    return rights.license_right(served.authority, served.catalog, body, now=served.now(), admit=admit)


def _rights(served: Served) -> Callable[[Request], Awaitable[Response]]:
    """Returns the handler of rights: over reports in JSON, over license data as a signed document."""
    over_reports, over_license = (
        _post(served, JSON, partial(_right, served)),
        _post(served, JOSE, partial(_license_right, served)),
    )

    async def handler(request: Request) -> Response:
        signed = request.headers.get("content-type", "").lower() == JOSE
        return await (over_license if signed else over_reports)(request)

    return handler


def _hold_back(served: Served, key_sha256: str) -> None:
    """Holds back a key that exists, as only those have a bucket: guesses (of 128 bits) cannot fill the memory.

    All guesses share one.
    """
    try:
        licensing.hold_known(served.authority, key_sha256)
    except NotPermitted:
        served.guesses.take("guesses", served.elapsed())
        raise
    served.limiter.take(key_sha256, served.elapsed())


def _post(
    served: Served, content_type: str, decide: Callable[[bytes, Sender], Answer], *, writes: bool = True
) -> Callable[[Request], Awaitable[Response]]:
    work = served.workers.write if writes else served.workers.read

    async def handler(request: Request) -> Response:
        connected = None if request.client is None else request.client.host
        peer = networks.peer_of(connected, request.headers.getlist("x-forwarded-for"), served.proxies)

        async def decided(body: bytes) -> Answer:
            return await served.admission.take(lambda: work(partial(decide, body, peer)))

        return await _answered(request, content_type, decided)

    return handler


async def _answered(request: Request, content_type: str, decide: Callable[[bytes], Awaitable[Answer]]) -> Response:
    if request.headers.get("content-type", "").lower() != content_type:
        return problem(problems.REQUEST_REFUSED.name, 415, "content_type")
    body = await _body(request)
    if body is None:
        return problem(problems.REQUEST_REFUSED.name, 413, "body_size")
    try:
        made = await decide(body)
    except Untrusted as error:
        return problem(problems.REQUEST_REFUSED.name, 400, error.detail, error.values)
    except NotPermitted as error:
        refusal = problems.by_code(error.code)
        return problem(refusal.name, refusal.status, error.detail, error.values)
    return Response(made.body, status_code=made.status, media_type=made.content_type)


async def _body(request: Request) -> bytes | None:
    """Returns the whole body, or None as soon as it is larger than any request of an agent."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > licensing.MAX_REQUEST_BYTES:
                return None
    except ClientDisconnect:
        return None  # nobody is there to read what we answer
    return body


async def _no_such(_request: Request, error: Exception) -> Response:
    """Answers that there is no such path, or not this method there."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    return problem(problems.REQUEST_REFUSED.name, status, "no_such_request")


def _shown(path: str) -> str:
    """Returns a path as the log has it: the management API's may hold a license key, and keeps its shape alone."""
    parts = path.split("/")
    return "/".join(
        "*" if at == _HANDLE and path.startswith(management.PREFIX) else part for at, part in enumerate(parts)
    )


class _Logged:
    """One line for each request: method, path, status, written before the reply leaves: what was answered is in the log.

    The path is quoted: a client cannot write a line of its own.
    """

    def __init__(self, inner: ASGIApp, log: Callable[[str], None]) -> None:
        self._inner = inner
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        line = f"{quote(scope['method'], safe='')[:16]} {quote(_shown(scope['path']), safe='/-._~*')[:_MAX_SHOWN]}"

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._log(f"{line} {message['status']}")
            await send(message)

        await self._inner(scope, receive, watched)
