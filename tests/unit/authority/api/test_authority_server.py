"""`opanel-authority serve`, another process over real HTTP: what agents get, what they are told, what is kept of it."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.authority.authority_server import JOSE, JSON, Served, environment, serving
from fixtures.authority.vendor import DAY, RESELLER, vendor
from fixtures.processes import ended
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.documents import advisory, status_list
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.errors import NotPermitted
from opanel_agent.core.license import license_key
from opanel_authority.api import app
from opanel_authority.api import app as server
from opanel_authority.api.limits import Limiter
from opanel_authority.documents import advisories, issue
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change
from opanel_authority.requests.networks import CARRIED

pytestmark = pytest.mark.slow  # real services are started


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        yield running


def bundle_request(key: str) -> bytes:
    return dumps({"schema": 1, "key_sha256": license_key.digest(key)})


def test_the_fixed_files_are_the_same_bytes_for_everybody(served: Served) -> None:
    for path, content_type in (("/v1/status.jwt", "application/statuslist+jwt"), ("/v1/roots.jws", JOSE)):
        first, second = served.ask("GET", path), served.ask("GET", f"{path}?who=me")
        assert (first.status, first.headers["content-type"]) == (200, content_type)
        assert first.body == second.body
        assert set(first.headers) == {"date", "content-length", "content-type"}


def test_what_is_served_verifies(served: Served) -> None:
    root = served.vendor.authority.root
    assert roots.walk(root, served.ask("GET", "/v1/roots.jws").body) == root
    token = served.ask("GET", "/v1/status.jwt").body
    assert not any(status_list.accept(token, root, floor={}, now=0).statuses.data)
    issued = served.vendor.issue()
    changes.change(served.vendor.authority, Change.SUSPEND, issued.jti, now=served.vendor.now)
    changed = status_list.accept(served.ask("GET", "/v1/status.jwt").body, root, floor={}, now=0)
    assert changed.status(served.vendor.bundle(issued).license.status.idx) == 2


def test_advisories_are_served_from_the_moment_they_are_signed(served: Served) -> None:
    made = served.vendor
    before = served.ask("GET", "/v1/advisories.jws")
    assert (before.status, before.headers["content-type"], before.body) == (200, JOSE, b"")
    words = {"tr": "Güncelleyin", "en": "Update"}
    draft = dumps({"severity": "high", "title": {**words}, "body": {**words}})
    signed = advisories.advise(made.authority, draft, now=made.now)
    served_now = served.ask("GET", "/v1/advisories.jws").body
    assert advisory.read(served_now, made.authority.root, floors={}) == (signed,)


def test_a_license_that_has_ended_is_told_by_name(tmp_path: Path) -> None:
    made = vendor(tmp_path, now=int(time.time()) - 2 * DAY)
    revoked, ended = made.issue(), made.issue(days=1)
    changes.change(made.authority, Change.REVOKE, revoked.jti, now=made.now)
    with serving(tmp_path, made) as running:
        for issued, name in ((revoked, "revoked"), (ended, "expired")):
            reply = running.signed("/v1/activations", issued, RequestKind.ACTIVATION)
            assert (reply.status, reply.problem) == (403, name)


def test_a_license_through_its_life(served: Served) -> None:
    issued = served.vendor.issue()
    bundle = served.ask("POST", "/v1/bundles", bundle_request(issued.key), JSON)
    assert (bundle.status, bundle.headers["content-type"], bundle.body) == (200, JOSE, issued.text.encode())
    request = served.vendor.request(issued, RequestKind.ACTIVATION)
    activated = served.ask("POST", "/v1/activations", request, JOSE)
    assert (activated.status, activated.headers["content-type"]) == (200, JOSE)
    activation = served.vendor.bundle(issued, activated.body.decode()).activation
    assert activation is not None
    assert served.ask("POST", "/v1/activations", request, JOSE).body == activated.body
    early = served.signed("/v1/renewals", issued, RequestKind.RENEWAL)
    assert (early.status, early.problem) == (409, "not_yet")
    newer = issue.renew(served.vendor.authority, issued.jti, now=served.vendor.now + 1)
    renewed = served.signed("/v1/renewals", issued, RequestKind.RENEWAL)
    assert (renewed.status, renewed.body) == (200, newer.text.encode() + activated.body)
    suspended = served.vendor.issue(activation=False)
    changes.change(served.vendor.authority, Change.SUSPEND, suspended.jti, now=served.vendor.now)
    reply = served.signed("/v1/renewals", suspended, RequestKind.RENEWAL)
    assert (reply.status, reply.problem) == (403, "suspended")
    released = served.signed("/v1/releases", issued, RequestKind.RELEASE)
    assert (released.headers["content-type"], loads(released.body, max_bytes=1024)) == (
        JSON,
        {"schema": 1, "released": activation.jti},
    )
    superseded = served.ask("POST", "/v1/activations", request, JOSE)
    assert (superseded.status, superseded.problem) == (409, "superseded")


def test_refusals_are_problems_that_agents_know(served: Served) -> None:
    issued = served.vendor.issue(min_p=2)
    unknown = served.ask("POST", "/v1/bundles", dumps({"schema": 1, "key_sha256": "0" * 64}), JSON)
    assert (unknown.status, unknown.problem) == (404, "key_unknown")
    unbound = served.signed("/v1/activations", issued, RequestKind.ACTIVATION, components={})
    assert (unbound.status, unbound.problem) == (422, "binding_impossible")
    foreign = served.signed("/v1/activations", issued, RequestKind.ACTIVATION, license_sha256="0" * 64)
    assert (foreign.status, foreign.problem) == (403, "request_refused")
    for machine in ("a", "b", "c", "d"):
        assert served.signed("/v1/activations", issued, RequestKind.ACTIVATION, machine).status == 200
    taken = served.signed("/v1/activations", issued, RequestKind.ACTIVATION, "e")
    assert (taken.status, taken.problem) == (409, "seats_taken")


@pytest.mark.parametrize("kind", list(RequestKind))
def test_each_kind_has_its_own_address(served: Served, kind: RequestKind) -> None:
    issued = served.vendor.issue()
    for path in ("/v1/activations", "/v1/releases", "/v1/renewals"):
        if not path.startswith(f"/v1/{kind.value}"):
            assert served.signed(path, issued, kind).problem == "request_refused"


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("GET", "/", None, None, 404),
        ("GET", "/v1/status.jwt/", None, None, 404),
        ("GET", "/v1/activations", None, None, 405),
        ("POST", "/v1/status.jwt", b"", JSON, 405),
        ("POST", "/v1/bundles", b"{}", None, 415),
        ("POST", "/v1/bundles", b"{}", JOSE, 415),
        ("POST", "/v1/bundles", b"{}", JSON, 400),
        ("POST", "/v1/bundles", b"\x00\xff", JSON, 400),
        ("POST", "/v1/activations", b"a.b.c", JOSE, 400),
        ("POST", "/v1/activations", b"", JOSE, 400),
        ("POST", "/v1/activations", b"A" * (64 * 1024), JOSE, 400),
        ("POST", "/v1/activations", b"A" * (64 * 1024 + 1), JOSE, 413),
    ],
)
def test_anything_else_is_refused(  # noqa: PLR0917 - a row of the table
    served: Served, method: str, path: str, body: bytes | None, content_type: str | None, status: int
) -> None:
    reply = served.ask(method, path, body, content_type)
    assert (reply.status, reply.problem) == (status, "request_refused")


def test_one_character_changed_is_refused(served: Served) -> None:
    request = served.vendor.request(served.vendor.issue(), RequestKind.ACTIVATION)
    for position in (5, len(request) // 2, len(request) - 5):
        changed = bytearray(request)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        assert served.ask("POST", "/v1/activations", bytes(changed), JOSE).problem == "request_refused"


def test_a_key_is_not_asked_for_too_often(served: Served) -> None:
    issued, other = served.vendor.issue(), served.vendor.issue()
    replies = [served.ask("POST", "/v1/bundles", bundle_request(issued.key), JSON) for _ in range(21)]
    assert [reply.status for reply in replies] == [200] * 20 + [429]
    assert replies[-1].problem == "rate_limited"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    assert served.signed("/v1/activations", issued, RequestKind.ACTIVATION).status == 429
    assert served.ask("POST", "/v1/bundles", bundle_request(other.key), JSON).status == 200


def test_a_bucket_fills_again_and_is_forgotten() -> None:
    limiter = Limiter(burst=2, refill_s=10)
    limiter.take("a", 100.0)
    limiter.take("a", 100.0)
    with pytest.raises(NotPermitted) as caught:
        limiter.take("a", 105.0)
    assert caught.value.values["retry_after_s"] == 6
    limiter.take("a", 111.0)
    limiter.take("b", 131.0)
    assert set(limiter.spent) == {"b"}


def test_guesses_fill_no_memory(tmp_path: Path) -> None:
    here = app.Served(authority=vendor(tmp_path).authority)
    for number in range(3):
        with pytest.raises(NotPermitted):
            server._bundle(here, dumps({"schema": 1, "key_sha256": f"{number:064x}"}), CARRIED)
    assert here.limiter.spent == {}


def test_a_line_for_each_request_and_no_address(served: Served) -> None:
    before = len(served.logged())
    served.ask("GET", "/v1/roots.jws?secret=1")
    served.ask("GET", "/%0aGET%20/forged%20200")
    served.ask("POST", "/v1/bundles", b"{}", JSON)
    assert served.logged()[before:] == [
        "GET /v1/roots.jws 200",
        "GET /%0AGET%20/forged%20200 404",
        "POST /v1/bundles 400",
    ]
    assert "127.0.0.1" not in served.log.read_text(encoding="utf-8")
    kept = b"".join(path.read_bytes() for path in served.log.parent.rglob("*.sqlite*"))
    assert RESELLER.encode() in kept
    assert b"127.0.0.1:" not in kept.replace(b"127.0.0.1:8470", b"")


def test_a_hung_client_keeps_nobody_waiting(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.sendall(
            b"POST /v1/activations HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\nContent-Length: 9\r\n\r\n"
        )
        assert served.ask("GET", "/v1/roots.jws").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as running:
        assert running.ask("GET", "/v1/roots.jws").status == 200
        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=20)
        assert (running.process.returncode, out, err) == (0, b"", b"")


def test_damaged_books_are_one_line_and_a_503(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        (tmp_path / "vendor" / "authority.sqlite").write_bytes(b"no database" * 1000)
        reply = running.ask("GET", "/v1/status.jwt")
        assert (reply.status, reply.problem) == (503, "unavailable")
        assert [line.split()[:2] for line in running.logged()] == [
            ["error", "io_failed/store_failed"],
            ["GET", "/v1/status.jwt"],
        ]
        assert running.ask("GET", "/v1/roots.jws").status == 200


def test_requests_go_to_stderr_without_a_log_file(tmp_path: Path) -> None:
    vendor(tmp_path, now=int(time.time()))
    command = [sys.executable, "-m", "opanel_authority", "serve", "--dir", str(tmp_path / "vendor")]
    command += ["--listen", "127.0.0.1:0"]
    piped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    with piped as process, ended(process):
        assert process.stdout is not None
        port = int(process.stdout.readline().decode().rpartition(":")[2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request("GET", "/v1/roots.jws")
            assert connection.getresponse().status == 200
        process.terminate()
        assert process.communicate(timeout=20)[1].endswith(b"+00:00 GET /v1/roots.jws 200\n")
