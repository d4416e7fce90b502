"""The local API as a table: who may ask what, and what it gets. No sockets, no processes."""

import base64
import json
import math
from typing import Any

import pytest

from opanel_agent.core.commands import OPTION_TYPES, ROUTES, Route
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.daemon.api import (
    PROBLEMS,
    Peer,
    PublishedAnswer,
    Response,
    Start,
    admit,
    body_json,
    problem,
    respond,
)

ROOT = Peer(uid=0, owner=True)
PANEL = Peer(uid=33, owner=False)
ANSWER = PublishedAnswer(
    whole=b'{"w":1}', peers=b'{"p":1}', license=b'{"l":1}', consent=b'{"c":1}', state="active", reasons="ok"
)

# interface.md "Local API", as far as it is built
GET = {"/", "/v1/license", "/v1/consent", "/v1/answer"}
POST_OF_ANYONE = {"/v1/refresh", "/v1/withdraw"}
ABOUT_REPORTS = {
    f"/v1/{name}"
    for name in (
        "preview",
        "held",
        "sent",
        "rights",
        "review",
        "purge",
        "export",
        "history",
        "receipts",
        "noticed",
        "reset",
    )
}
POST_OWNER_MEMBERS = {"/v1/bundle", "/v1/activate", "/v1/release", "/v1/remove", "/v1/narrowed"} | ABOUT_REPORTS


def name(response: Route | Response | Start) -> str:
    assert isinstance(response, Response)
    return str(json.loads(response.body)["type"]).removeprefix("urn:opanel:problem:")


def route(method: str, path: str) -> Route:
    found = admit(method, path, ROOT, since_refresh_s=math.inf)
    assert isinstance(found, Route)
    return found


def test_the_table_has_the_paths_of_the_specification_and_no_other() -> None:
    assert {path for path, rows in ROUTES.items() if "GET" in rows} == GET
    assert {path for path, rows in ROUTES.items() if "POST" in rows} == POST_OF_ANYONE | POST_OWNER_MEMBERS
    assert all(len(rows) == 1 for rows in ROUTES.values())


@pytest.mark.parametrize("path", sorted(GET | POST_OF_ANYONE))
def test_whoever_may_connect_may_read_and_refresh(path: str) -> None:
    method = next(iter(ROUTES[path]))
    assert isinstance(admit(method, path, PANEL, since_refresh_s=math.inf), Route)


@pytest.mark.parametrize("path", sorted(POST_OWNER_MEMBERS))
def test_only_the_owner_changes_anything(path: str) -> None:
    assert name(admit("POST", path, PANEL, since_refresh_s=math.inf)) == "owner_only"
    assert isinstance(admit("POST", path, ROOT, since_refresh_s=math.inf), Route)


@pytest.mark.parametrize("path", sorted(ABOUT_REPORTS))
def test_what_is_said_of_this_server_is_in_no_get(path: str) -> None:
    """A panel of the group may read every GET; the owner's things are not among them, not even for the owner."""
    assert name(admit("GET", path, ROOT, since_refresh_s=math.inf)) == "method_unknown"
    assert not route("POST", path).member


@pytest.mark.parametrize(
    "target",
    ["", "/v1/license/", "//v1/license", "/v1/LICENSE", "*", "/v1/license#x", "?/v1/license", "ftp://a/v1/license"],
)
def test_a_path_is_exactly_one_of_the_table(target: str) -> None:
    assert name(admit("GET", target, ROOT, since_refresh_s=math.inf)) == "path_unknown"


@pytest.mark.parametrize(
    "target",
    [
        *("/v1/license?", "/v1/license?a=b&c=/v1/answer", "http://localhost/v1/license", "HTTP://a:80/v1/license?x=1"),
        *("https://a/v1/license", "http:///v1/license"),
    ],
)
def test_a_query_is_ignored_and_the_absolute_form_is_taken(target: str) -> None:
    assert admit("GET", target, PANEL, since_refresh_s=math.inf) == route("GET", "/v1/license")


@pytest.mark.parametrize("target", ["http://localhost", "http://localhost/", "http://a?b/v1/license", "/?x"])
def test_a_target_without_a_path_is_the_index(target: str) -> None:
    assert admit("GET", target, PANEL, since_refresh_s=math.inf) == route("GET", "/")


def test_the_index_lists_the_paths_and_needs_no_answer() -> None:
    response = respond(route("GET", "/"), b"", None)
    assert isinstance(response, Response)
    assert json.loads(response.body) == {"schema": 1, "paths": [path for path in ROUTES if path != "/"]}


@pytest.mark.parametrize("path", sorted(GET))
def test_head_is_get(path: str) -> None:
    """The body is left out where the response is written (`http_cache`)."""
    assert admit("HEAD", path, PANEL, since_refresh_s=math.inf) == route("GET", path)


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        *(("/v1/license", "GET, HEAD, OPTIONS"), ("/v1/remove", "POST, OPTIONS"), ("/", "GET, HEAD, OPTIONS")),
        *(("*", "GET, POST, HEAD, OPTIONS"), ("http://a/v1/refresh?x", "POST, OPTIONS")),
    ],
)
def test_options_say_what_a_path_takes(target: str, allowed: str) -> None:
    """Of health checks: haproxy's `option httpchk` asks OPTIONS / and wants a 2xx."""
    response = admit("OPTIONS", target, PANEL, since_refresh_s=math.inf)
    assert isinstance(response, Response)
    assert (response.status, response.body, dict(response.headers)["Allow"]) == (200, b"", allowed)


def test_options_of_no_path_are_none() -> None:
    assert name(admit("OPTIONS", "/v2", PANEL, since_refresh_s=math.inf)) == "path_unknown"


@pytest.mark.parametrize("body", [b"{}", b" {} ", b"{ }\n"])
def test_an_empty_object_is_no_body(body: bytes) -> None:
    assert respond(route("POST", "/v1/refresh"), body, ANSWER) == Start(intent="refresh")
    assert respond(route("GET", "/v1/license"), body, ANSWER) == Response(status=200, body=ANSWER.license)


@pytest.mark.parametrize("body", [b'{"x":1}', b"[]", b"x", b" "])
def test_where_no_body_is_taken_another_is_refused(body: bytes) -> None:
    for method, path in (("POST", "/v1/refresh"), ("POST", "/v1/narrowed"), ("GET", "/v1/license"), ("GET", "/")):
        assert name(respond(route(method, path), body, ANSWER)) == "options_refused"


@pytest.mark.parametrize("method", ["POST", "get", "DELETE", "CONNECT", "PUT"])
def test_a_method_is_exactly_the_rows(method: str) -> None:
    refused = admit(method, "/v1/license", ROOT, since_refresh_s=math.inf)
    assert name(refused) == "method_unknown"
    assert isinstance(refused, Response)
    assert ("Allow", "GET, HEAD, OPTIONS") in refused.headers


@pytest.mark.parametrize(("since_s", "taken"), [(0.0, False), (59.9, False), (60.0, True), (math.inf, True)])
def test_the_group_refreshes_once_a_minute(since_s: float, taken: bool) -> None:
    assert isinstance(admit("POST", "/v1/refresh", PANEL, since_refresh_s=since_s), Route) is taken


def test_a_refresh_too_soon_says_when() -> None:
    refused = admit("POST", "/v1/refresh", PANEL, since_refresh_s=10.5)
    assert name(refused) == "refresh_too_soon"
    assert isinstance(refused, Response)
    assert ("Retry-After", "50") in refused.headers


def test_root_refreshes_any_time() -> None:
    assert isinstance(admit("POST", "/v1/refresh", ROOT, since_refresh_s=0), Route)


@pytest.mark.parametrize(
    ("path", "owner", "body"),
    [
        *(("/v1/license", owner, b'{"l":1}') for owner in (True, False)),
        *(("/v1/consent", owner, b'{"c":1}') for owner in (True, False)),
        ("/v1/answer", True, b'{"w":1}'),
        ("/v1/answer", False, b'{"p":1}'),
    ],
)
def test_what_is_read_comes_from_memory(path: str, owner: bool, body: bytes) -> None:
    assert respond(route("GET", path), b"", ANSWER, owner=owner) == Response(status=200, body=body)


@pytest.mark.parametrize("path", sorted(GET - {"/"}))
def test_without_an_answer_it_says_so(path: str) -> None:
    refused = respond(route("GET", path), b"", None)
    assert name(refused) == "answer_not_yet"


@pytest.mark.parametrize(
    ("path", "intent", "ends"),
    [
        ("/v1/refresh", "refresh", False),
        ("/v1/activate", "activate", False),
        ("/v1/release", "release", False),
        ("/v1/remove", "remove", False),
        ("/v1/narrowed", "narrowed", True),
        ("/v1/withdraw", "withdraw", True),
        *((path, path.removeprefix("/v1/"), False) for path in sorted(ABOUT_REPORTS)),
    ],
)
def test_a_post_starts_its_intent(path: str, intent: str, ends: bool) -> None:
    assert respond(route("POST", path), b"", ANSWER) == Start(intent=intent, ends_running_job=ends)


def test_a_bundle_is_handed_on_as_bytes() -> None:
    started = respond(route("POST", "/v1/bundle"), b"\xff\xfe\xfb?", None)
    assert started == Start(intent="bundle", document=b"\xff\xfe\xfb?")
    assert isinstance(started, Start)
    frame = json.loads(started.frame())
    assert base64.urlsafe_b64decode(frame["document"] + "==") == b"\xff\xfe\xfb?"
    assert set(frame) == {"schema", "intent", "document"}
    assert "+" not in frame["document"]
    assert "/" not in frame["document"]


def test_a_bundle_needs_a_document() -> None:
    assert name(respond(route("POST", "/v1/bundle"), b"", ANSWER)) == "document_missing"


@pytest.mark.parametrize(
    "options",
    [{}, {"to_file": True}, {"preview": True}, {"confirm": "activation-1"}, {"to_file": False, "preview": True}],
)
def test_options(options: dict[str, Any]) -> None:
    started = respond(route("POST", "/v1/activate"), json.dumps(options).encode(), ANSWER)
    assert started == Start(intent="activate", options=options)
    assert isinstance(started, Start)
    assert json.loads(started.frame()) == {"schema": 1, "intent": "activate", **options}


# every option that a path takes, with a value of the most that it may be
TAKEN: dict[str, dict[str, Any]] = {
    "/v1/bundle": {"key": "K" * 64, "preview": True, "confirm": "c" * 64, "to_file": False},
    "/v1/activate": {"preview": True, "confirm": "c" * 64, "to_file": False},
    "/v1/release": {"preview": True, "confirm": "c" * 64, "to_file": False},
    "/v1/preview": {"purpose": "p" * 64},
    "/v1/held": {"action": "a" * 64, "id": "i" * 64},
    "/v1/sent": {"id": "i" * 64},
    "/v1/rights": {
        "kind": "k" * 64,
        "ids": ["i" * 64] * 64,
        "text": "t" * 2000,
        "license": True,
        "preview": True,
        "confirm": "c" * 64,
        "to_file": False,
    },
    "/v1/review": {},
    "/v1/reset": {"preview": True},
    "/v1/purge": {},
    "/v1/export": {"id": "i" * 64},
    "/v1/history": {"id": "i" * 64},
    "/v1/receipts": {"id": "i" * 64},
    "/v1/noticed": {"version": "v" * 64, "lang": "l" * 64},
}
for options in TAKEN.values():
    options["do_not_track"] = ["d" * 64] * 2  # the asker's own opt-outs: every pass takes them
TAKEN["/v1/withdraw"] = {"purpose": "usage_statistics", "do_not_track": True}
TAKEN |= {path: {"do_not_track": ["d" * 64] * 64} for path in ("/v1/narrowed", "/v1/refresh", "/v1/remove")}
LONGER: dict[type, Any] = {
    bool: [0, "true", None],
    str: ["x" * 65, 1, None, ["x"]],
    list: [["x"] * 65, ["x" * 65], [1], [None], [["x"]], [True], "x", {}],
}


@pytest.mark.parametrize("path", sorted(TAKEN))
def test_a_path_takes_its_own_options_and_no_other(path: str) -> None:
    taken = TAKEN[path]
    started = respond(route("POST", path), json.dumps(taken).encode(), ANSWER)
    assert isinstance(started, Start)
    assert started.options == taken
    assert json.loads(started.frame()) == {"schema": 1, "intent": started.intent, **taken}
    assert set(route("POST", path).options) == set(taken)
    for option, kind in OPTION_TYPES.items():
        if option not in taken:
            strange = taken | {option: {bool: True, str: "x", list: ["x"]}[kind]}
            assert name(respond(route("POST", path), json.dumps(strange).encode(), ANSWER)) == "options_refused"


@pytest.mark.parametrize("path", sorted(TAKEN))
def test_an_option_of_another_type_or_longer_is_refused(path: str) -> None:
    for option, value in TAKEN[path].items():
        bad = ["x" * 2001] if option == "text" else LONGER[type(value)]
        for each in bad:
            wrong = TAKEN[path] | {option: each}
            assert name(respond(route("POST", path), json.dumps(wrong).encode(), ANSWER)) == "options_refused", wrong


def test_a_panel_withdraws_what_consent_is_asked_for_and_nothing_else() -> None:
    """Else whoever may connect could queue as many different jobs as there are texts."""
    assert set(route("POST", "/v1/withdraw").one_of) == set(CONSENT_BASED)
    for purpose in ("license_status", "everything", ""):
        body = json.dumps({"purpose": purpose}).encode()
        assert name(respond(route("POST", "/v1/withdraw"), body, ANSWER)) == "options_refused"


def test_every_option_belongs_somewhere() -> None:
    assert {option for taken in TAKEN.values() for option in taken} == set(OPTION_TYPES)
    assert {path for path, rows in ROUTES.items() if "POST" in rows and rows["POST"].options} == {
        path for path, taken in TAKEN.items() if taken
    }


def test_options_have_eight_kib_and_no_more() -> None:
    def padded(size: int) -> bytes:
        body = json.dumps({"text": "t"}).encode()
        return body + b" " * (size - len(body))

    assert isinstance(respond(route("POST", "/v1/rights"), padded(8192), ANSWER), Start)
    assert name(respond(route("POST", "/v1/rights"), padded(8193), ANSWER)) == "options_refused"
    assert route("POST", "/v1/rights").body.value == 8192


def test_without_a_body_there_are_no_options() -> None:
    assert respond(route("POST", "/v1/activate"), b"", ANSWER) == Start(intent="activate")


def test_a_license_key_is_exchanged_where_documents_are_taken() -> None:
    started = respond(route("POST", "/v1/bundle"), b'{"key":"K","preview":true}', ANSWER)
    assert started == Start(intent="exchange", options={"key": "K", "preview": True})


@pytest.mark.parametrize(("path", "body"), [("/v1/bundle", b'{"preview":true}'), ("/v1/activate", b'{"key":"K"}')])
def test_a_key_is_told_where_it_belongs(path: str, body: bytes) -> None:
    assert name(respond(route("POST", path), body, ANSWER)) == "options_refused"


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"1", b"{", b'{"to_file":1}', b'{"to_file":true,"x":1}', b"\xff", b"[" * 1000, b"null"),
        *(b'{"confirm":"\\ud800"}', b'{"confirm":NaN}'),
        *(b'{"confirm":true}', b'{"confirm":"' + b"a" * 65 + b'"}', b'{"to_file":"true"}'),
        b'{"to_file":true' + b" " * 8192 + b"}",
    ],
)
def test_options_that_are_none(body: bytes) -> None:
    assert name(respond(route("POST", "/v1/activate"), body, ANSWER)) == "options_refused"


def test_without_an_answer_the_reason_is_told() -> None:
    trouble = {"kind": "Storage", "code": "disk_full", "detail": "disk_full", "values": {}}
    response = respond(route("GET", "/v1/license"), b"", None, trouble)
    assert isinstance(response, Response)
    assert (response.status, json.loads(response.body)["error"]) == (503, trouble)


def test_with_an_answer_the_trouble_stands_beside_it() -> None:
    trouble = {"kind": "Storage", "code": "disk_full", "detail": "disk_full", "values": {}}
    for owner, member in ((True, "w"), (False, "p")):
        response = respond(route("GET", "/v1/answer"), b"", ANSWER, trouble, owner=owner)
        assert isinstance(response, Response)
        assert json.loads(response.body) == {member: 1, "trouble": trouble}
    assert respond(route("GET", "/v1/license"), b"", ANSWER, trouble) == Response(status=200, body=ANSWER.license)


@pytest.mark.parametrize("known", sorted(PROBLEMS))
def test_a_problem_is_one_of_rfc_9457(known: str) -> None:
    response = problem(known)
    body = json.loads(response.body)
    assert response.media == "application/problem+json"
    assert set(body) == {"type", "title", "status", "code"}
    assert body["status"] == response.status
    assert 400 <= response.status < 600


def test_the_reply_to_a_post_carries_the_license() -> None:
    done = body_json(ok=False, error={"code": "x"}, result=b"null", answer=ANSWER)
    assert (done.status, json.loads(done.body)) == (
        200,
        {"schema": 1, "ok": False, "error": {"code": "x"}, "result": None, "license": {"l": 1}},
    )
    later = body_json(ok=None, error=None, result=b"null", answer=None)
    assert later.status == 202
    assert json.loads(later.body)["license"] is None
