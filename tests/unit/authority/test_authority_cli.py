"""The vendor's command: the whole story typed, and each failure as one sentence, a hint, a code and its exit status."""

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority import vendor as vendors
from fixtures.authority.vendor import RESELLER, URL, Vendor
from fixtures.data import catalog_bodies
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.documents import advisory, receipt, status_list
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.documents.signed_request import RequestKind
from opanel_agent.core.license import license_key
from opanel_agent.core.wire.message import seal
from opanel_authority import authority as authority_home
from opanel_authority import messages
from opanel_authority.cli.main import _text, main
from opanel_authority.documents.issue import Issued
from opanel_authority.requests import reports, rights

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/authority.md"
Captured = pytest.CaptureFixture[str]


def run(capsys: Captured, *arguments: str | Path) -> dict[str, Any]:
    """A command that must succeed; its result."""
    assert main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert (printed["schema"], printed["warnings"], printed["errors"], err) == (1, [], [], "")
    result: dict[str, Any] = printed["result"]
    return result


def fail(capsys: Captured, status: int, *arguments: str | Path) -> str:
    """A command that must fail so; its code, after the form of what it said was checked."""
    assert main([*map(str, arguments)]) == status
    out, err = capsys.readouterr()
    sentence, hint, code = err.splitlines()
    assert (out, sentence[:7], hint[:2]) == ("", "cannot ", "  ")
    assert "{" not in err
    return code.removeprefix("  code: ")


def test_the_story(tmp_path: Path, capsys: Captured) -> None:
    made = run(capsys, "init", tmp_path / "v", "--url", URL, "--region", "tr")
    root = authority_home.open_home(tmp_path / "v").root
    assert (made["thumbprint"], made["root"]) == (root.digest, str(tmp_path / "v" / "root.jws"))
    there = ("--dir", tmp_path / "v")
    run(capsys, "delegate", RESELLER, *there, "--email", "a@b.example", "--limit", "accounts=9", "-o", tmp_path / "r")
    asked = ("--features", "dns,mail", "--limit", "accounts=5", "--tier", "basic", "--seats", "2", "--no-activation")
    issued = run(capsys, "issue", "--as", RESELLER, *there, *asked, "-o", tmp_path / "b.jws")
    license_ = bundles.verify((tmp_path / "b.jws").read_bytes(), root, now=None).license
    assert license_.sub == issued["license_key"] == license_key.parse(issued["license_key"])
    assert license_.features == {"dns", "mail"}
    assert (license_.jti, license_.limits) == (issued["id"], {"accounts": 5})
    assert (license_.tier, license_.activation.seats, license_.activation.required) == ("basic", 2, False)
    for change, status in (("suspend", 2), ("resume", 0), ("revoke", 1)):
        assert run(capsys, change, issued["id"], *there) == {"id": issued["id"], "kind": "license", "status": status}
    run(capsys, "publish", tmp_path / "www", *there)
    token = (tmp_path / "www" / "v1" / "status.jwt").read_bytes()
    assert status_list.accept(token, root, floor={}, now=0).status(license_.status.idx) == 1


def test_what_is_read_by_people(tmp_path: Path, capsys: Captured) -> None:
    assert main(["init", str(tmp_path / "v"), "--url", URL, "--region", "tr"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["name", "OPanel"]
    assert any(line.split()[0] == "thumbprint" for line in out)


def test_a_list_is_a_table_without_marks_of_python(tmp_path: Path, capsys: Captured) -> None:
    made, issued = prepared(tmp_path)
    made.issue()
    assert main(["list", "--dir", str(tmp_path / "vendor")]) == 0
    count, heads, *rows, cursor = capsys.readouterr().out.splitlines()
    assert (count.split(), cursor.split()) == (["licenses", "2"], ["next", "cursor", "-"])
    assert heads.split()[:2] == ["ID", "KEY"]
    assert {row.split()[0] for row in rows} >= {issued.jti}
    assert len({line.index(line.split()[1]) for line in (heads, *rows)}) == 1  # a column begins in one place
    assert not any(sign in line for line in rows for sign in "[]{}'")
    assert not any(word in ("None", "True", "False") for line in rows for word in line.split())


def test_a_value_is_shown_as_a_person_writes_it() -> None:
    values: list[Json] = [None, True, False, [], {}, ["a", "b"], {"accounts": 100}, 7, "x"]
    assert [*map(_text, values)] == ["-", "yes", "no", "-", "-", "a,b", "accounts=100", "7", "x"]


def test_init_publishes_an_empty_list(tmp_path: Path, capsys: Captured) -> None:
    run(capsys, "init", tmp_path / "v", "--url", URL, "--region", "tr")
    with authority_home.open_home(tmp_path / "v").store.reading() as books:
        assert books.signed_shard(0) is not None


def prepared(tmp_path: Path) -> tuple[Vendor, Issued]:
    made = vendors.vendor(tmp_path, now=int(time.time()))
    return made, made.issue()


def sealed(path: str, body: bytes, content_type: str) -> bytes:
    return seal(
        request_id="1", purpose="license_activation", url=URL + path, accept="*/*", body=body, content_type=content_type
    ).encode()


def test_a_license_is_renewed_by_command(tmp_path: Path, capsys: Captured) -> None:
    made = vendors.vendor(tmp_path, now=int(time.time()) - vendors.DAY)
    issued = made.issue()
    there = ("--dir", tmp_path / "vendor")
    result = run(capsys, "renew", issued.jti, *there, "--days", "30", "-o", tmp_path / "new.jws")
    new = bundles.verify((tmp_path / "new.jws").read_bytes(), made.authority.root, now=None).license
    assert (new.jti, new.sub, new.exp - new.nbf) == (result["id"], issued.key, 30 * vendors.DAY)
    assert fail(capsys, 64, "renew", "nothing", *there, "-o", tmp_path / "none.jws") == "usage"
    assert not (tmp_path / "none.jws").exists()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_request_that_came_as_a_file(tmp_path: Path, capsys: Captured, wrapped: bool) -> None:
    made, issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    for number, (kind, path) in enumerate(
        [(RequestKind.ACTIVATION, "/v1/activations"), (RequestKind.RELEASE, "/v1/releases")]
    ):
        token = made.request(issued, kind)
        request, reply = tmp_path / f"{number}.request", tmp_path / f"{number}.reply"
        request.write_bytes(sealed(path, token, "application/jose") if wrapped else token + b"\n")
        assert run(capsys, "answer", request, "-o", reply, *there)["answered"] == kind.value
    activation = made.bundle(issued, (tmp_path / "0.reply").read_text(encoding="ascii")).activation
    assert activation is not None
    assert json.loads((tmp_path / "1.reply").read_bytes()) == {"schema": 1, "released": activation.jti}


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_bundle_asked_for_by_file(tmp_path: Path, capsys: Captured, wrapped: bool) -> None:
    _made, issued = prepared(tmp_path)
    body = json.dumps({"schema": 1, "key_sha256": license_key.digest(issued.key)}).encode()
    (tmp_path / "request").write_bytes(sealed("/v1/bundles", body, "application/json") if wrapped else body)
    run(capsys, "answer", tmp_path / "request", "-o", tmp_path / "reply", "--dir", tmp_path / "vendor")
    assert (tmp_path / "reply").read_text(encoding="ascii") == issued.text


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_rights_request_that_came_as_a_file(tmp_path: Path, capsys: Captured, wrapped: bool) -> None:
    made, _issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    reports.report(
        made.authority,
        catalog_bodies.CATALOGS,
        Purpose.USAGE_STATISTICS,
        catalog_bodies.report("key_sha256"),
        now=made.now,
    )
    body = catalog_bodies.right("erase", "key_sha256")
    (tmp_path / "request").write_bytes(sealed("/v1/rights", body, "application/json") if wrapped else body + b"\n")
    assert run(capsys, "answer", tmp_path / "request", "-o", tmp_path / "reply", *there)["answered"] == "data_rights"
    reply = receipt.verify((tmp_path / "reply").read_bytes(), made.authority.root)
    assert (reply.kind, reply.answers(body), reply.due) == ("erase", True, reply.iat)
    assert run(capsys, "received", *there)["usage_statistics"] == 0


@pytest.mark.parametrize("by_id", [True, False])
def test_a_person_answers_what_is_owed(tmp_path: Path, capsys: Captured, by_id: bool) -> None:
    made, _issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    body = catalog_bodies.right("rectify", text="?")
    owed = rights.right(made.authority, catalog_bodies.CATALOG, body, now=made.now).body
    (tmp_path / "request").write_bytes(body)
    request = receipt.verify(owed, made.authority.root).jti if by_id else tmp_path / "request"
    run(capsys, "answer", request, "-o", tmp_path / "reply", *there)
    reply = receipt.verify((tmp_path / "reply").read_bytes(), made.authority.root)
    assert (reply.due, reply.answers(body)) == (reply.iat, True)
    assert run(capsys, "received", *there)["rights"][0]["answer_by"] == "-"


def test_what_came_in_is_shown(tmp_path: Path, capsys: Captured) -> None:
    made, _issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    body = catalog_bodies.report("a")
    reports.report(made.authority, catalog_bodies.CATALOGS, Purpose.USAGE_STATISTICS, body, now=made.now)
    listed = run(capsys, "received", *there)
    assert (listed["usage_statistics"], listed["crash_reports"], listed["restricted"], listed["rights"]) == (
        1,
        0,
        0,
        [],
    )
    (row,) = listed["reports"]
    assert run(capsys, "received", row["id"], *there) == {**row, "body": body.decode()}
    assert main(["received", "--dir", str(tmp_path / "vendor")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "usage statistics  1",
        "crash reports     0",
        "restricted        0",
        "reports           1",
        f"  {'ID':32}  PURPOSE           DAY         ERASED BY",
        f"  {row['id']}  usage_statistics  {row['day']}  {row['erased_by']}",
        "rights            0",
    ]


def test_what_is_past_its_time_is_erased_by_command(tmp_path: Path, capsys: Captured) -> None:
    then = int(time.time()) - 180 * vendors.DAY
    made = vendors.vendor(tmp_path, now=then)
    reports.report(
        made.authority, catalog_bodies.CATALOGS, Purpose.USAGE_STATISTICS, catalog_bodies.report("a"), now=then
    )
    made.now = int(time.time())
    for erased in (1, 0):
        assert run(capsys, "purge", "--dir", tmp_path / "vendor") == {"erased": erased}


def test_an_advisory_is_signed_and_published(tmp_path: Path, capsys: Captured) -> None:
    made, _issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    (tmp_path / "draft.toml").write_text(example[1], encoding="utf-8")
    signed = run(capsys, "advise", tmp_path / "draft.toml", *there)
    run(capsys, "publish", tmp_path / "www", *there)
    (read,) = advisory.read((tmp_path / "www/v1/advisories.jws").read_bytes(), made.authority.root, floors={})
    assert signed == {"id": read.jti, "seq": 1, "severity": read.severity.value, "title": read.title["en"]}


def test_sentences_name_documents_that_are_there() -> None:
    named = {name for row in messages._TABLE.values() for text in row for name in re.findall(r"[\w./-]+\.md", text)}
    assert "docs/authority.md" in named
    assert [name for name in named if not (DOCUMENT.parent.parent / name).is_file()] == []


def test_each_failure_is_a_sentence_a_hint_and_a_code(tmp_path: Path, capsys: Captured) -> None:
    made, issued = prepared(tmp_path)
    there = ("--dir", tmp_path / "vendor")
    (tmp_path / "taken").write_bytes(b"")
    issue = ("issue", "--as", RESELLER, *there)
    assert fail(capsys, 64, "dance") == "usage"
    assert fail(capsys, 64, "issue", *there) == "usage"
    assert fail(capsys, 64, *issue, "--limit", "accounts=many", "-o", tmp_path / "b") == "usage"
    assert fail(capsys, 64, "suspend", "nobody", *there) == "usage"
    assert fail(capsys, 64, "issue", "--as", "Nobody", *there, "-o", tmp_path / "b") == "usage"
    assert fail(capsys, 64, "delegate", "Other", *there, "-o", tmp_path / "other") == "usage"
    assert fail(capsys, 64, "init", tmp_path / "w", "--url", "http://v.example", "--region", "tr") == "usage"
    assert fail(capsys, 64, "serve", *there, "--listen", "8470") == "usage"
    assert fail(capsys, 65, *issue, "--tier", "platinum", "-o", tmp_path / "b") == "chain_invalid"
    assert fail(capsys, 65, "answer", tmp_path / "taken", "-o", tmp_path / "b", *there) == "format_invalid"
    assert fail(capsys, 64, "received", "0" * 32, *there) == "usage"
    assert fail(capsys, 65, "advise", tmp_path / "taken", *there) == "format_invalid"
    assert fail(capsys, 64, "answer", "0" * 32, "-o", tmp_path / "b", *there) == "usage"
    (tmp_path / "undeclared").write_bytes(b'{"hostname":"a"}')
    assert fail(capsys, 65, "answer", tmp_path / "undeclared", "-o", tmp_path / "b", *there) == "field_undeclared"
    assert fail(capsys, 74, *issue, "-o", tmp_path / "taken") == "io_failed"
    assert fail(capsys, 74, *issue, "-o", tmp_path / "no" / "where") == "io_failed"
    assert fail(capsys, 74, "answer", tmp_path / "missing", "-o", tmp_path / "b", *there) == "io_failed"
    assert fail(capsys, 77, "supersede", issued.jti, *there) == "not_permitted"
    assert fail(capsys, 78, "init", tmp_path / "vendor", "--url", URL, "--region", "tr") == "file_refused"
    assert fail(capsys, 78, "publish", tmp_path / "www", "--dir", tmp_path) == "file_refused"
    (tmp_path / "vendor" / "keys" / "status.pem").chmod(0o644)
    assert fail(capsys, 78, "suspend", issued.jti, *there) == "file_refused"
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "taken").read_bytes() == b""
    assert made.bundle(made.issue()).license.slot == made.bundle(issued).license.slot + 1


def test_a_failure_is_json_too(tmp_path: Path, capsys: Captured) -> None:
    assert main(["publish", str(tmp_path), "--dir", str(tmp_path), "--json"]) == 78
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema"], printed["result"]) == (1, None)
    assert printed["errors"][0]["code"] == "file_refused"
    assert printed["errors"][0]["title"].startswith("cannot ")
    assert printed["errors"][0]["hint"]


def test_a_port_in_use_is_told(tmp_path: Path, capsys: Captured) -> None:
    prepared(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert fail(capsys, 74, "serve", "--dir", tmp_path / "vendor", "--listen", address) == "io_failed"


def test_the_directory_may_come_from_the_environment(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    monkeypatch.setenv("OPANEL_AUTHORITY_DIR", str(tmp_path / "vendor"))
    run(capsys, "publish", tmp_path / "www")
