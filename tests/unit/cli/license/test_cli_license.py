"""`license …`: documents verified offline or handed to the daemon, and nothing sent that was not shown first."""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.command_line import SetSignals, Terminal
from fixtures.daemon.fake_daemon import CannedReply, FakeDaemon, answer, fake_daemon, license_, problem
from fixtures.simulated.memory_files import MemoryFiles
from fixtures.simulated.simulated_agent import FakeOptOuts
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.errors import AgentError, Storage, Unavailable, Untrusted
from opanel_agent.core.license import license_key
from opanel_agent.messages import translate

KEY = license_key.make(bytes(range(16))) or license_key.make(bytes(range(1, 17))) or ""
CLAIMS = b'{"salt":"c2FsdA","components":{"disk":"ZGlzaw"}}'
BODY = f"e30.{base64url(CLAIMS)}.AA"
SHOWN: dict[str, Any] = {
    "id": "activation-0123456789abcdef",
    "purpose": "license_activation",
    "method": "POST",
    "url": "https://licensing.example/v1/activations",
    "head": "POST /v1/activations HTTP/1.1\r\nHost: licensing.example\r\n\r\n",
    "body": BODY,
    "leaves": ["salt", "components", "of_tomorrow"],
    "why": [],
}
FORBIDDEN = {"reason": "opt_out", "what": "DO_NOT_TRACK=1", "place": "/etc/environment", "line": 3}
WRITTEN = {"sent": False, "id": SHOWN["id"], "request": base64url(b"e30.e30.AA"), "why": []}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder=tmp_path)
    terminal.trust()
    with contextlib.chdir(tmp_path):
        yield terminal


def lay(terminal: Terminal, data: bytes, name: str = "document") -> str:
    file = terminal.folder / name
    file.write_bytes(data)
    return str(file)


DOCUMENTS = {
    "bundle": (signing.bundle(), "license bundle"),
    "license alone": (signing.bundle(activated=False), "license bundle"),
    "activation": (signing.activation(), "activation"),
    "status list": (signing.status_list(), "status list"),
    "root": (signing.root(), "roots of trust"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_verify_tells_documents_apart_by_content_without_a_daemon(terminal: Terminal, name: str) -> None:
    data, kind = DOCUMENTS[name]
    printed = terminal.type("license", "verify", lay(terminal, data))
    assert (printed.status, printed.err) == (0, "")
    assert printed.out.startswith(f"Valid: {kind}\n")
    assert terminal.type("license", "verify", "-", stdin=data).out == printed.out
    assert terminal.type("license", "verify", "-", "--json", stdin=data).json()["result"]["typ"]


def test_verify_says_what_the_license_says(terminal: Terminal) -> None:
    result = terminal.type("license", "verify", "-", "--json", stdin=signing.bundle()).json()["result"]
    license_ = signing.verified().license
    assert result["license"] == license_.jti
    assert result["exp"] == license_.exp
    assert result["features"] == sorted(license_.features)
    assert result["limits"] == dict(license_.limits)
    assert result["activated"] is True
    assert result["status_lists"] == [signing.STATUS_URI]
    out = terminal.type("license", "verify", "-", stdin=signing.bundle()).out
    assert f"  reseller: {license_.reseller.name}" in out
    assert "  with an activation: yes" in out
    assert license_.sub not in out


@pytest.mark.parametrize(
    ("data", "code", "detail"),
    [
        (b"", "format_invalid", "jws_shape"),
        (b"hello\n", "format_invalid", "jws_shape"),
        (b"\x7fELF" + bytes(range(256)) * 9, "format_invalid", "jws_shape"),
        (signing.bundle()[:-9], "format_invalid", "jws_shape"),
        (signing.bundle()[:-9] + b"AAAAAAAA\n", "signature_invalid", "signature"),
        (signing.bundle() * 9, "format_invalid", "bundle_size"),
        (b"A" * (512 * 1024 + 1), "format_invalid", "jws_size"),
        (signing.request(), "format_invalid", "document_kind"),
        (signing.status_list(by=signing.signer("stranger")), "chain_invalid", "key_unknown"),
        (signing.status_list(exp=signing.NOW), "status_stale", "status_list_expired"),
    ],
)
def test_what_is_refused_is_refused_with_a_reason_and_65(
    terminal: Terminal, data: bytes, code: str, detail: str
) -> None:
    printed = terminal.type("license", "verify", "-", stdin=data)
    assert printed.status == 65
    assert printed.out == ""
    assert f"  code: {code} (" in printed.err
    if detail != "bundle_size":
        assert f"({detail})" in printed.err


def test_a_file_that_can_be_no_document(terminal: Terminal) -> None:
    assert terminal.type("license", "verify", str(terminal.folder)).status == 65
    assert terminal.type("license", "verify", lay(terminal, b"A" * (512 * 1024 + 1))).status == 65
    absent = terminal.type("license", "verify", "absent")
    assert (absent.status, "(file_absent)" in absent.err) == (74, True)
    link = terminal.folder / "link"
    link.symlink_to(lay(terminal, signing.bundle()))
    assert terminal.type("license", "verify", str(link)).status == 0


def test_verify_without_a_root_of_trust_or_with_settings_that_are_refused(terminal: Terminal) -> None:
    (terminal.folder / "root.jws").unlink()
    assert "(root_absent)" in terminal.type("license", "verify", "-", stdin=signing.bundle()).err
    terminal.paths.settings.write_text("schema = 2\n")
    printed = terminal.type("license", "verify", "-", stdin=signing.bundle())
    assert (printed.status, "code: settings_refused (" in printed.err) == (78, True)


def test_the_owner_verifies_under_the_newest_root_and_others_under_the_first(terminal: Terminal) -> None:
    terminal.paths.state_dir.mkdir()
    terminal.paths.roots.write_bytes(b"broken\n")
    assert terminal.type("license", "verify", "-", stdin=signing.bundle()).status == 65
    terminal.euid = terminal.paths.owner + 1
    assert terminal.type("license", "verify", "-", stdin=signing.bundle()).status == 0


def test_install_hands_the_bytes_to_the_daemon(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/bundle", {"typ": "opanel-delegation+jwt"}, reasons=["activation_due"])
        printed = terminal.type("license", "install", lay(terminal, signing.bundle()))
        assert daemon.posts() == [("/v1/bundle", signing.bundle())]
    assert printed.status == 0
    assert printed.out.startswith("Accepted:")
    assert "the license still has to be activated" in printed.out
    assert not terminal.paths.license.exists()


def test_install_of_what_the_daemon_refuses(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.failed("/v1/bundle", Untrusted(Reason.SIGNATURE_INVALID, "signature", line=2).to_json())
        printed = terminal.type("license", "install", lay(terminal, signing.bundle()))
    assert printed.status == 65
    assert "its signature is not valid" in printed.err
    assert "(line: 2)" in printed.err


def test_install_of_several_stops_at_the_first_that_is_refused(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/bundle", {"typ": "x"})
        daemon.failed("/v1/bundle", Untrusted(Reason.FORMAT_INVALID, "jws_shape").to_json())
        documents = [signing.activation(jti=name) for name in ("a", "b", "c")]
        files = [lay(terminal, document, str(number)) for number, document in enumerate(documents)]
        assert terminal.type("license", "install", *files).status == 65
        assert [body for _, body in daemon.posts()] == documents[:2]


@pytest.mark.parametrize("data", [b"", b'{"key": "x"}', b"\0"])
def test_what_is_no_document_does_not_reach_the_daemon(terminal: Terminal, data: bytes) -> None:
    """Its API would take it for another request, and the refusal for a fault of the agent's."""
    with fake_daemon(terminal.paths.socket) as daemon:
        printed = terminal.type("license", "install", "-", stdin=data)
        assert daemon.posts() == []
    assert (printed.status, "code: format_invalid (" in printed.err) == (65, True)


def test_with_the_daemon_stopped_a_bundle_is_verified_and_lies_ready(terminal: Terminal) -> None:
    printed = terminal.type("license", "install", "-", stdin=signing.bundle())
    assert printed.status == 75
    assert "at its next start" in printed.out
    assert terminal.paths.license.read_bytes() == signing.bundle()
    assert terminal.paths.license.stat().st_mode & 0o777 == 0o640
    result = terminal.type("license", "install", "-", "--json", stdin=signing.bundle()).json()["result"]
    assert (result["adopted"], result["file"]) == (False, str(terminal.paths.license))


def test_with_the_daemon_stopped_another_document_lies_in_the_import_folder(terminal: Terminal) -> None:
    assert terminal.type("license", "install", "-", stdin=signing.status_list()).status == 75
    digest = hashlib.sha256(signing.status_list()).hexdigest()
    assert [path.name for path in terminal.paths.import_dir.iterdir()] == [f"{digest[:16]}.jws"]
    assert not terminal.paths.license.exists()


def test_a_bad_bundle_never_replaces_a_good_one_that_lies_ready(terminal: Terminal) -> None:
    terminal.type("license", "install", "-", stdin=signing.bundle())
    bad = signing.bundle().replace(b".", b"A.", 1)
    assert terminal.type("license", "install", "-", stdin=bad).status == 65
    assert terminal.paths.license.read_bytes() == signing.bundle()


def test_only_the_owner_may_lay_a_document_ready(terminal: Terminal) -> None:
    terminal.euid = terminal.paths.owner + 1
    assert terminal.type("license", "install", "-", stdin=signing.bundle()).status == 77
    assert not terminal.paths.license.exists()


def test_a_document_larger_than_the_socket_takes_goes_by_way_of_the_import_folder(terminal: Terminal) -> None:
    large = signing.status_list(status_list={"bits": 2, "lst": signing.lst(noise(), size=300_000)})
    assert len(large) > 64 * 1024
    with fake_daemon(terminal.paths.socket) as daemon:
        printed = terminal.type("license", "install", "-", stdin=large)
        assert daemon.posts() == []
    assert printed.status == 75
    assert "at its next evaluation" in printed.out
    assert len(list(terminal.paths.import_dir.iterdir())) == 1


def noise() -> dict[int, int]:
    """Entries that no compression makes small."""
    stream = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(9000))
    return {n: byte & 3 for n, byte in enumerate(stream)}


def full(step: str, path: Path) -> None:
    if step == "write":
        raise Storage(Fault.DISK_FULL, "disk_full", file=str(path), errno="ENOSPC")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    files = MemoryFiles(uid=tmp_path.stat().st_uid, fault=full)
    terminal = Terminal(folder=tmp_path, files=files, optouts=FakeOptOuts())
    root = tmp_path / "root.jws"
    files.put(root, signing.root(), owner=files.uid)
    files.put(terminal.paths.settings, f'schema = 1\ntrust_root = "{root}"\n'.encode(), owner=files.uid)
    printed = terminal.type("license", "install", "-", stdin=signing.bundle())
    assert (printed.status, "code: disk_full (disk_full)" in printed.err) == (74, True)
    assert not files.exists(terminal.paths.license)


@pytest.mark.parametrize("command", ["activate", "release"])
def test_what_leaves_is_shown_first_and_then_sent_by_its_id(terminal: Terminal, command: str) -> None:
    path = f"/v1/{command}"
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done(path, SHOWN)
        daemon.done(path, {"sent": True, "id": SHOWN["id"], "url": SHOWN["url"], "reply_status": 200})
        printed = terminal.type("license", command)
        assert daemon.posts() == [(path, {"preview": True}), (path, {"confirm": SHOWN["id"]})]
    assert printed.status == 0
    assert re.search(r"^License +active", printed.out, re.MULTILINE)
    for line in (
        "To be sent for license activation, to https://licensing.example/v1/activations:",
        '  components: salted digests of machine components, never their values: {"disk":"ZGlzaw"}',
        '  salt: random salt for the digests: "c2FsdA"',
        "  of_tomorrow: of_tomorrow: ?",
        "  The recipient also sees this server's IP address, as with any connection.",
        "  POST /v1/activations HTTP/1.1",
        f"  {BODY}",
    ):
        assert line in printed.err.splitlines()


@pytest.mark.parametrize(
    "change",
    [{"id": 7}, {"id": "../../etc/x"}, {"head": None}, {"body": 1}, {"body": "?"}, {"leaves": "x"}, {"why": None}],
)
def test_nothing_is_sent_where_it_could_not_be_shown(terminal: Terminal, change: dict[str, Any]) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/activate", SHOWN | change)
        assert terminal.type("license", "activate").status == 69
        assert [body for _, body in daemon.posts()] == [{"preview": True}]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "x", ""])
def test_nothing_that_the_daemon_says_becomes_a_path(terminal: Terminal, name: str) -> None:
    """It runs as another user, and this as root."""
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/activate", SHOWN | {"why": [FORBIDDEN]})
        daemon.done("/v1/activate", WRITTEN | {"id": name})
        before = set(terminal.folder.rglob("*"))
        assert terminal.type("license", "activate").status == 0
        assert set(terminal.folder.rglob("*")) - before == {terminal.folder / f"{SHOWN['id']}.jwt"}


@pytest.mark.parametrize("why", [[], [FORBIDDEN]])
def test_a_request_for_a_file_is_written_and_not_sent(terminal: Terminal, why: list[Any]) -> None:
    argv = ["-o", "request.jwt"] if not why else []
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/activate", {**SHOWN, "why": why})
        daemon.done("/v1/activate", {**WRITTEN, "why": why})
        printed = terminal.type("license", "activate", *argv)
        assert daemon.posts() == [("/v1/activate", {"preview": True}), ("/v1/activate", {"to_file": True})]
    name = "request.jwt" if not why else f"{SHOWN['id']}.jwt"
    assert printed.status == 0
    assert Path(name).read_bytes() == b"e30.e30.AA"
    assert Path(name).stat().st_mode & 0o777 == 0o600
    assert "Nothing was sent." in printed.out
    assert ("  blocked by: DO_NOT_TRACK=1 in /etc/environment, line 3" in printed.out) is bool(why)


def test_a_request_that_may_not_be_sent_says_so_in_json(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/release", {**SHOWN, "why": [FORBIDDEN]})
        daemon.done("/v1/release", {**WRITTEN, "why": [FORBIDDEN]})
        result = terminal.type("license", "release", "--json").json()["result"]
    assert result == {"sent": False, "file": f"{SHOWN['id']}.jwt", "why": [FORBIDDEN]}


@pytest.mark.parametrize("how", ["typed", "file", "stdin"])
def test_a_key_is_exchanged_and_only_its_digest_is_shown(terminal: Terminal, how: str) -> None:
    given = KEY.lower().replace("-", " ")
    operand = {"typed": given, "file": lay(terminal, f"{given}\n".encode(), "key"), "stdin": "-"}[how]
    body = f'{{"key_sha256":"{license_key.digest(KEY)}","schema":1}}'
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/bundle", {**SHOWN, "body": body, "leaves": ["key_sha256", "schema"]})
        daemon.done("/v1/bundle", {"sent": True})
        printed = terminal.type("license", "install", operand, stdin=f"{given}\n".encode())
        assert daemon.posts() == [
            ("/v1/bundle", {"key": KEY, "preview": True}),
            ("/v1/bundle", {"key": KEY, "confirm": SHOWN["id"]}),
        ]
    assert printed.status == 0
    assert license_key.digest(KEY) in printed.err
    assert KEY not in printed.err + printed.out


@pytest.mark.parametrize("in_file", [False, True])
def test_a_mistyped_key_is_told_before_anything_is_asked(terminal: Terminal, in_file: bool) -> None:
    mistyped = KEY[:-1] + ("B" if KEY[-1] != "B" else "C")
    printed = terminal.type("license", "install", lay(terminal, mistyped.encode(), "key") if in_file else mistyped)
    assert (printed.status, "(license_key_check)" in printed.err) == (65, True)


def test_a_file_with_a_name_like_a_key_is_a_file(terminal: Terminal) -> None:
    lay(terminal, signing.bundle(), KEY)
    assert terminal.type("license", "install", KEY).status == 75


def test_refresh_shows_the_requests_as_they_went(terminal: Terminal) -> None:
    head = "GET /v1/status.jwt HTTP/1.1\r\nHost: mirror.example\r\n\r\n"
    asked = [
        {"url": "https://mirror.example/v1/roots.jws", "ok": True, "code": None, "head": head},
        {"url": "https://mirror.example/v1/status.jwt", "ok": True, "code": None, "head": head},
    ]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/refresh", {"asked": asked})
        printed = terminal.type("license", "refresh")
        assert daemon.posts() == [("/v1/refresh", b"")]
    assert printed.status == 0
    assert "the same bytes for everyone" in printed.err
    assert "Fetched: https://mirror.example/v1/status.jwt" in printed.out
    assert printed.out.count("    GET /v1/status.jwt HTTP/1.1\n    Host: mirror.example\n") == 2


@pytest.mark.parametrize("offline", [True, False])
def test_refresh_announces_what_leaves_only_where_something_may(terminal: Terminal, *, offline: bool) -> None:
    signal = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")
    terminal.optouts = SetSignals()
    terminal.optouts.signals = Signals(offline=(signal,) if offline else ())
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/refresh", {"asked": []})
        assert (translate("refresh.leaves", "en") in terminal.type("license", "refresh").err) is not offline


def test_refresh_shows_the_request_for_advisories_too(terminal: Terminal) -> None:
    beside = {"url": "https://mirror.example/v1/advisories.jws", "ok": True, "code": None, "head": "GET /v1/adv\r\n"}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/refresh", {"asked": [], "advisories": beside})
        printed = terminal.type("license", "refresh")
    assert "Fetched: https://mirror.example/v1/advisories.jws\n    GET /v1/adv\n" in printed.out


CONNECT = Unavailable(Reason.UNREACHABLE_TCP, "connect_failed", url="https://mirror.example/v1/roots.jws")
LIST = Untrusted(Reason.FORMAT_INVALID, "jws_shape")


def asked(error: AgentError | None, **more: object) -> dict[str, object]:
    code, error_json = (None, None) if error is None else (str(error.code), error.to_json())
    return {"url": None, "ok": error is None, "code": code, "error": error_json, "head": "", **more}


def test_a_refresh_that_reached_nobody_is_69_and_the_state_stands(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/refresh", {"asked": [asked(CONNECT)]}, reasons=["unreachable_tcp"])
        printed = terminal.type("license", "refresh")
        as_json = terminal.type("license", "refresh", "--json")
        daemon.replies.clear()
        daemon.failed("/v1/refresh", CONNECT.to_json())
        assert terminal.type("license", "refresh").status == 69
    assert printed.status == 69
    assert "the server could not be reached [unreachable_tcp]" in printed.out
    assert re.search(r"^License +active", printed.out, re.MULTILINE)
    title, hint, code = printed.err.splitlines()[-3:]
    assert title.startswith("cannot reach the server")
    assert hint.startswith("  what to do: ")
    assert code == "  code: unreachable_tcp (connect_failed)"
    assert as_json.status == 69
    assert as_json.json()["result"]["license"]["state"] == "active"
    assert [each["code"] for each in as_json.json()["errors"]] == ["unreachable_tcp"]
    assert as_json.json()["errors"][0]["title"] == title


@pytest.mark.parametrize(
    ("requests", "status"),
    [
        ([asked(None), asked(LIST)], 65),  # garbage in the place of a list
        ([asked(LIST), asked(None)], 0),  # the list came: nothing is missed
        ([asked(None), asked(None, ok=False)], 69),  # whoever says no more than that
        ([], 0),
    ],
)
def test_the_status_list_decides_what_a_refresh_came_to(
    terminal: Terminal, requests: list[dict[str, object]], status: int
) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/refresh", {"asked": requests})
        printed = terminal.type("license", "refresh", "--json")
    assert printed.status == status
    assert bool(printed.json()["errors"]) == bool(status)


def test_remove_asks_the_daemon(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/remove", {"removed": True}, state="unlicensed", reasons=["no_license"])
        printed = terminal.type("license", "remove", "--json")
        assert daemon.posts() == [("/v1/remove", b"")]
    result = printed.json()["result"]
    assert (result["removed"], result["license"]["state"]) == (True, "unlicensed")


@pytest.mark.parametrize("command", ["activate", "release", "remove", "refresh"])
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (CannedReply(status=202, body=b'{"ok": null}'), 75),
        (problem(403, "no_permission"), 77),
        (problem(429, "rate_limited"), 69),
        (CannedReply(body=b"?"), 69),
    ],
)
def test_what_the_daemon_says_is_the_status(terminal: Terminal, command: str, reply: CannedReply, status: int) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw(f"/v1/{command}", reply)
        assert terminal.type("license", command).status == status


@pytest.mark.parametrize("command", ["activate", "release", "remove", "refresh", "show"])
def test_without_a_daemon_it_is_69_with_the_cure(terminal: Terminal, command: str) -> None:
    printed = terminal.type("license", command)
    assert printed.status == 69
    assert "systemctl start opanel-agent" in printed.err


def test_show(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer())
        assert re.search(r"^License +active", terminal.type("license", "show").out, re.MULTILINE)
        assert terminal.type("license", "show", "--json").json()["result"] == license_()


def test_show_urls_lists_every_address_by_purpose_without_a_daemon(terminal: Terminal) -> None:
    result = terminal.type("license", "show", "--urls", "--json").json()["result"]
    assert set(result) == set(POLICIES)
    assert result["license_status"] == [
        {"method": "GET", "url": f"{signing.MIRROR}/v1/roots.jws"},
        {"method": "GET", "url": f"{signing.MIRROR}/v1/status.jwt"},
        {"method": "GET", "url": f"{signing.MIRROR}/v1/status/{{shard}}.jwt"},
    ]
    assert {"method": "POST", "url": f"{signing.ENDPOINT}/v1/activations"} in result["license_activation"]
    out = terminal.type("license", "show", "--urls").out
    assert f"  POST {signing.ENDPOINT}/v1/activations" in out
    with terminal.paths.settings.open("a") as settings:
        settings.write('region = "nowhere"\n')
    assert "(none in the allowed region)" in terminal.type("license", "show", "--urls").out


def test_a_job_done_without_an_answer_is_done(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says(
            "/v1/remove", {"schema": 1, "ok": True, "error": None, "result": {"removed": True}, "license": None}
        )
        assert terminal.type("license", "remove").status == 0


def test_the_porter_notes_what_is_asked(tmp_path: Path) -> None:
    """The proof that nothing was sent rests on this."""
    assert FakeDaemon(socket_path=tmp_path).posts() == []
