"""`opanel-authority remote …`: a reseller's commands against the real service, and what they do where it does not answer."""

import argparse
import csv
import http.client
import json
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.authority.authority_server import Served, serving
from fixtures.authority.openapi import Description
from fixtures.authority.vendor import RESELLER
from fixtures.daemon import wire_server
from fixtures.daemon.wire_server import Wire, wire
from opanel_agent.core.documents import bundle as bundles
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.license import license_key
from opanel_authority import messages
from opanel_authority.cli import main as command_line
from opanel_authority.cli.remote import client
from opanel_authority.cli.remote.client import Client
from opanel_authority.documents import delegate
from opanel_authority.documents.claims import DelegationTerms
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import api_keys
from opanel_authority.lifecycle.api_keys import SCOPES

Captured = pytest.CaptureFixture[str]
PAGE: Final = Path(__file__).parents[4] / "docs" / "authority.md"
OTHER: Final = "Other"
OWN: Final = "Own"
WHY: Final = "as the letter of 3 May asks"
HOOK: Final = "https://billing.example/hooks"
A_KEY: Final = "opk_0000000000000000_" + "b" * 43


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("authority")
    with serving(folder) as running:
        terms = DelegationTerms(name=OTHER, email="a@b.example")
        delegate.delegate(running.vendor.authority, terms, folder / "other", now=int(time.time()))
        assert command_line.main(["reseller-key", "-o", str(folder / "own")]) == 0
        public = str(folder / "own" / "public.jwk")
        there = ("--dir", str(folder / "vendor"), "-o", str(folder / "own delegation"))
        assert command_line.main(["delegate", OWN, "--email", "a@b.example", "--public-key", public, *there]) == 0
        yield running


class Desk:
    """A reseller's machine: the service's address in the environment, a key in a file."""

    def __init__(self, served: Served, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
        self.served, self.folder, self.capsys, self.monkeypatch = served, folder, capsys, monkeypatch
        monkeypatch.setenv(client.SERVER_VARIABLE, f"http://127.0.0.1:{served.port}")
        self.holder(RESELLER)

    def holder(self, reseller: str | None) -> None:
        """Have another key from now on: a reseller's, or the vendor's."""
        authority = self.served.vendor.authority
        made = api_keys.make(
            authority, name="desk", reseller=reseller, scopes=SCOPES, now=int(time.time()), actor="test"
        )
        path = self.folder / "api key"
        path.write_text(made.secret + "\n", "ascii")
        self.monkeypatch.setenv(client.KEY_FILE_VARIABLE, str(path))

    def new(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, text: str) -> Path:
        path = self.new(name)
        path.write_text(text, "utf-8")
        return path

    def run(self, *typed: str | Path, exits: int = 0) -> Any:
        """The result of a command; of one that must fail its error."""
        first, *rest = map(str, typed)
        assert command_line.main([*first.split(), *rest, "--json"]) == exits
        read = json.loads(self.capsys.readouterr().out.splitlines()[-1])
        return read["result"] if exits == 0 else read["errors"][0]

    def sold(self, **options: str) -> str:
        named = [word for name, value in options.items() for word in (f"--{name}", value)]
        return str(self.run("remote issue", *named)["id"])


@pytest.fixture
def desk(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> Desk:
    return Desk(served, tmp_path, monkeypatch, capsys)


def _sold(name: str, *options: str) -> Callable[[Desk], tuple[str | Path, ...]]:
    return lambda desk: (f"remote {name}", desk.sold(), *options)


def _hook(name: str) -> Callable[[Desk], tuple[str | Path, ...]]:
    return lambda desk: (f"remote webhook {name}", str(desk.run("remote webhook add", HOOK)["id"]))


def _supersede(desk: Desk) -> tuple[str | Path, ...]:
    sold = desk.run("remote issue", "-o", desk.new("b"))
    with desk.served.vendor.authority.store.reading() as books:
        row = books.license(sold["id"])
    assert row is not None
    vendor = desk.served.vendor
    vendor.now = int(time.time())
    issued = Issued(jti=sold["id"], key=sold["license_key"], text=row.text)
    return ("remote supersede", vendor.activate(issued).jti)


def _transfer(desk: Desk) -> tuple[str | Path, ...]:
    license_id = desk.sold()
    desk.holder(None)
    return ("remote transfer", license_id, "--to", OTHER)


def _renew(desk: Desk) -> tuple[str | Path, ...]:
    license_id = desk.sold()
    time.sleep(1.1)
    return ("remote renew", license_id, "--days", "40")


def _reserve(desk: Desk) -> tuple[str | Path, ...]:
    desk.holder(OWN)
    return ("remote reserve", "-o", desk.new("reservation"))


def _store(desk: Desk) -> tuple[str | Path, ...]:
    desk.run(*_reserve(desk))
    folder = desk.served.log.parent
    root, key = folder / "vendor" / "root.jws", folder / "own"
    desk.run("sign", desk.new("reservation"), "--key", key, "--root", root, "-o", desk.new("signed"))
    return ("remote store", desk.new("signed"))


# command -> what is typed, the operation that it asks for, the act that the service logs
COMMANDS: Final[dict[str, tuple[Callable[[Desk], tuple[str | Path, ...]], str, str | None]]] = {
    "issue": (lambda _desk: ("remote issue",), "issueLicense", "issue"),
    "bulk": (
        lambda desk: ("remote bulk", desk.write("orders", f"order_id\n{time.monotonic_ns()}\n"), "-o", desk.new("out")),
        "issueLicense",
        "issue",
    ),
    "export": (lambda desk: ("remote export", "-o", desk.new("all.csv")), "listLicenses", None),
    "list": (lambda _desk: ("remote list",), "listLicenses", None),
    "show": (_sold("show"), "showLicense", None),
    "bundle": (lambda desk: ("remote bundle", desk.sold(), "-o", desk.new("b")), "licenseBundle", None),
    "log": (lambda _desk: ("remote log",), "listChanges", None),
    "suspend": (_sold("suspend"), "suspendLicense", "suspend"),
    "resume": (_sold("resume"), "resumeLicense", "resume"),
    "revoke": (_sold("revoke"), "revokeLicense", "revoke"),
    "lift-move-limit": (_sold("lift-move-limit"), "liftMoveLimit", "lift_move_limit"),
    "supersede": (_supersede, "supersedeActivation", "supersede"),
    "change": (_sold("change", "--seats", "3"), "changeLicense", "change"),
    "renew": (_renew, "renewLicense", "renew"),
    "transfer": (_transfer, "transferLicense", "transfer"),
    "webhook add": (lambda _desk: ("remote webhook add", HOOK), "addWebhook", "add_webhook"),
    "webhook list": (lambda _desk: ("remote webhook list",), "listWebhooks", None),
    "webhook show": (_hook("show"), "showWebhook", None),
    "webhook deliveries": (_hook("deliveries"), "listDeliveries", None),
    "webhook test": (_hook("test"), "testWebhook", "test_webhook"),
    "webhook rotate": (_hook("rotate"), "rotateWebhookSecret", "rotate_webhook"),
    "webhook remove": (_hook("remove"), "removeWebhook", "remove_webhook"),
    "reserve": (_reserve, "reserveLicense", None),  # it is logged once it is a license
    "store": (_store, "storeSignedLicense", "issue"),
}


def parsers() -> Mapping[str, argparse.ArgumentParser]:
    (groups,) = (each for each in command_line._parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(commands_of(groups.choices["remote"]))


def commands_of(parser: argparse.ArgumentParser, group: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    (found,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    for name, inner in found.choices.items():
        if inner.get_default("command") is None:
            yield from commands_of(inner, f"{group}{name} ")
        else:
            yield group + name, inner


def description(served: Served) -> Description:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.request("GET", "/api/v1/openapi.json")
        return Description(document=json.loads(connection.getresponse().read()))


def test_every_operation_of_the_api_has_a_command(served: Served) -> None:
    operations = {
        each["operationId"] for methods in description(served).document["paths"].values() for each in methods.values()
    }
    assert operations == {operation for _, operation, _ in COMMANDS.values()}
    assert parsers().keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_asks_for_its_operation_and_leaves_its_row(name: str, desk: Desk) -> None:
    typed, operation, act = COMMANDS[name]
    arguments = typed(desk)
    before = len(desk.served.logged())
    desk.run(*arguments, *(() if act is None else ("--reason", WHY)))
    (line,) = desk.served.logged()[before:]
    method, path, _status = line.split()
    asked = description(desk.served).operation(method, path.removeprefix("/api/v1"))
    assert asked["operationId"] == operation
    with desk.served.vendor.authority.store.reading() as books:
        newest = next(books.changes(limit=1))
    if act is not None:
        assert (newest["act"], newest["actor"], newest["reason"]) == (act, "api:desk", WHY)


@pytest.mark.parametrize("name", [each for each in COMMANDS if each not in {"bulk", "export"}])
def test_whatever_the_api_takes_is_an_option(name: str, served: Served) -> None:
    described = description(served)
    (operation,) = (
        each
        for methods in described.document["paths"].values()
        for each in methods.values()
        if each["operationId"] == COMMANDS[name][1]
    )
    takes = {each["name"].replace("-", "_").lower().replace("handle", "id") for each in operation.get("parameters", ())}
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        takes |= described.document["components"]["schemas"][schema]["properties"].keys()
    options = {action.dest for action in parsers()[name]._actions}
    same = {"limits": "limit", "line": "signed", **dict.fromkeys(("license_id", "activation_id", "webhook_id"), "id")}
    missing = {each for each in takes if each not in options and same.get(each) not in options}
    assert missing - {"authorization"} <= ({"reason"} if name == "reserve" else set())


def test_the_commands_of_the_page_are_what_it_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```\n(export OPANEL_AUTHORITY_SERVER=.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names, *lines = block.splitlines()
    assert re.findall(r"(\w+)=", names) == [client.SERVER_VARIABLE, client.KEY_FILE_VARIABLE]
    monkeypatch.chdir(desk.folder)
    results = {}
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "opanel-authority"
        assert command_line.main([*words, *([] if "--json" in words else ["--json"])]) == 0
        results[words[1]] = json.loads(desk.capsys.readouterr().out)["result"]
    sold = bundles.verify((desk.folder / "4711.jws").read_bytes(), desk.served.vendor.authority.root, now=None).license
    assert sold.sub == results["issue"]["license_key"] == license_key.parse(results["issue"]["license_key"])
    assert (sold.tier, sold.activation.seats) == ("pro", 2)
    assert results["suspend"]["state"] == "suspended"
    assert results["issue"]["id"] in {each["id"] for each in results["list"]["licenses"]}
    assert results["resume"]["state"] == "active"
    assert (results["change"]["seats"], results["change"]["renews"]) == (3, False)
    assert [each["act"] for each in results["log"]["changes"]] == [
        *("renewal_off", "change", "resume", "suspend", "issue")
    ]
    assert results["log"]["changes"][3]["reason"] == "invoice 88 is not paid"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", results["show"]["ends"])


def test_a_refusal_is_a_sentence_a_cure_and_a_code(desk: Desk) -> None:
    assert command_line.main(["remote", "show", "nobody's"]) == 65
    sentence, cure, code = desk.capsys.readouterr().err.splitlines()
    assert (sentence[:7], cure[:2], code) == ("cannot ", "  ", "  code: not_found")
    theirs = desk.sold()
    desk.holder(OTHER)
    assert desk.run("remote suspend", theirs, exits=65)["code"] == "not_found"
    assert desk.run("remote transfer", desk.sold(), "--to", RESELLER, exits=77)["code"] == "request_refused"
    assert desk.run("remote issue", "--tier", "platinum", "-o", desk.new("none"), exits=65)["hint"]
    assert not desk.new("none").exists()
    key = desk.new("api key")
    key.write_text(A_KEY, "ascii")
    assert desk.run("remote list", exits=77)["code"] == "unauthorized"


def test_where_the_key_is_and_where_it_goes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {each for parser in parsers().values() for each in parser._option_string_actions} & {
        "--key",
        "--api-key",
    }
    secret = desk.new("api key").read_text("ascii").strip()
    monkeypatch.delenv(client.KEY_FILE_VARIABLE)
    assert desk.run("remote list", exits=64)["title"] == "cannot ask without an API key"
    assert desk.run("remote list", "--key-file", desk.new("api key"), "--limit", "1")["licenses"]
    monkeypatch.setenv(client.KEY_VARIABLE, secret)
    assert desk.run("remote list", "--limit", "1")["licenses"]
    desk.new("other").write_text("opk_\r\nX-Other: 1", "ascii")
    refused = desk.run("remote list", "--key-file", desk.new("other"), exits=78)
    assert (refused["code"], "X-Other" in json.dumps(refused)) == ("file_refused", False)
    assert desk.run("remote list", "--server", "http://lic.example", exits=64)["code"] == "usage"
    monkeypatch.delenv(client.SERVER_VARIABLE)
    assert desk.run("remote list", exits=64)["title"] == "cannot ask: no server is named"


def test_an_order_that_is_typed_again_is_made_once(desk: Desk) -> None:
    first, again = (desk.run("remote issue", "--idempotency-key", "k", "--days", "9") for _ in range(2))
    assert first == again
    assert desk.run("remote issue", "--idempotency-key", "k", "--days", "8", exits=65)["code"] == "request_refused"


def test_a_page_follows_the_last(desk: Desk) -> None:
    ids = {desk.sold() for _ in range(3)}
    seen: list[str] = []
    cursor: tuple[str, ...] = ()
    while True:
        page = desk.run("remote list", "--limit", "2", *cursor)
        seen += [each["id"] for each in page["licenses"]]
        if page["next_cursor"] is None:
            break
        cursor = ("--cursor", page["next_cursor"])
    assert len(seen) == len(set(seen))
    assert ids <= set(seen)


def test_a_file_of_orders_is_sold_once_however_often_it_is_run(desk: Desk) -> None:
    columns, whole = "order_id,tier,days,seats,limits,renews,networks", "m1,pro,30,2,accounts=5,no,192.0.2.0/24"
    orders = f"{columns}\n{whole}\nm2,platinum,,,,,\nm3,,,x,,,\n"
    command = ("remote bulk", desk.write("orders", orders), "-o", desk.new("sold.csv"))
    counts = desk.run(*command)
    assert (counts["issued"], counts["refused"], counts["there_before"]) == (1, 2, 0)
    lines = {each["order_id"]: each for each in csv.DictReader(desk.new("sold.csv").read_text("utf-8").splitlines())}
    shown = desk.run("remote show", "m1")
    assert (lines["m1"]["id"], shown["seats"], shown["limits"]) == (shown["id"], 2, {"accounts": 5})
    assert (shown["renews"], shown["networks"]) == (False, ["192.0.2.0/24"])
    assert license_key.parse(lines["m1"]["license_key"]) == lines["m1"]["license_key"]
    assert lines["m2"]["error"].startswith("cannot issue this license: its tier")
    again = desk.run(*command)
    assert (again["issued"], again["there_before"]) == (0, 1)
    desk.new("sold.csv").unlink()
    assert desk.run(*command)["issued"] == 1
    assert lines["m1"]["license_key"] in desk.new("sold.csv").read_text("utf-8"), "one order is one license"


def test_a_file_of_orders_ends_where_the_key_opens_nothing(desk: Desk) -> None:
    desk.new("api key").write_text(A_KEY, "ascii")
    typed = ("remote bulk", desk.write("orders", "order_id\nn1\nn2\n"), "-o", desk.new("sold.csv"))
    assert desk.run(*typed, exits=77)["code"] == "unauthorized"
    assert desk.new("sold.csv").read_text("utf-8").splitlines() == ["order_id,id,license_key,error"]


def test_all_licenses_are_exported_without_their_keys(desk: Desk) -> None:
    sold = [desk.run("remote issue", "--order", f"x{number}") for number in range(3)]
    found = desk.run("remote export", "-o", desk.new("all.csv"))
    text = desk.new("all.csv").read_text("utf-8")
    rows = {each["id"]: each for each in csv.DictReader(text.splitlines())}
    assert found["licenses"] == len(rows)
    assert [rows[each["id"]]["order_id"] for each in sold] == ["x0", "x1", "x2"]
    assert not any(each["license_key"] in text for each in sold)


def test_what_is_no_file_of_ours_is_told(desk: Desk) -> None:
    for name, text in (("a", "no JSON"), ("b", "[]"), ("c", "{}")):
        desk.new(name).write_text(text, "ascii")
        assert desk.run("remote store", desk.new(name), exits=64)["title"].endswith("it is not what `sign` writes")
        root = desk.served.log.parent / "vendor" / "root.jws"
        typed = ("sign", desk.new(name), "--key", desk.folder, "--root", root, "-o", desk.new("out"))
        assert desk.run(*typed, exits=64)["title"].endswith("it is not what `remote reserve` writes")


# ---- a service that does not answer, or is another


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(client.KEY_VARIABLE, A_KEY)
    monkeypatch.delenv(client.KEY_FILE_VARIABLE, raising=False)


SUSPENDED: Final = b'{"id":"1","state":"suspended"}'


def json_reply(status: str, body: bytes, media_type: str = "application/json") -> bytes:
    return wire_server.answer(status, f"Content-Type: {media_type}", "Connection: close", body=body)


def in_turn(*replies: bytes) -> Callable[[socket.socket], None]:
    """The first connection gets the first reply, the next one the next; b"" is none."""
    left, turn = list(replies), threading.Lock()

    def script(connection: socket.socket) -> None:
        with turn:
            connection.sendall(left.pop(0))

    return script


def typed(
    running: Wire,
    *more: str,
    words: Sequence[str] = ("suspend", "1"),
    scheme: str = "http",
    host: str = "127.0.0.1",
) -> list[str]:
    return ["remote", *words, "--server", f"{scheme}://{host}:{running.port}", "--json", *more]


def keys_sent(running: Wire) -> list[str]:
    return [re.findall(rb"(?i)\r\nidempotency-key: (\S+)", each)[0].decode() for each in running.received]


def hasty(running: Wire) -> Client:
    """A client that waits for nothing before it tries again."""
    return Client(server=f"http://127.0.0.1:{running.port}", key=A_KEY, pauses_s=(0, 0))


@pytest.mark.parametrize("first", [b"", json_reply("503 Service Unavailable", b"{}"), b"HTTP/1.1 no\r\n\r\n"])
def test_what_had_no_reply_is_sent_again_under_one_key(first: bytes) -> None:
    with wire(in_turn(first, json_reply("200 OK", SUSPENDED))) as running:
        assert hasty(running).ask("POST", "/licenses/1/suspend", body={}, idempotency_key="k")["state"] == "suspended"
        assert keys_sent(running) == ["k", "k"]


def test_a_change_without_a_reply_names_its_key() -> None:
    with wire(in_turn(b"", b"", b"")) as running:
        with pytest.raises(Unavailable) as caught:
            hasty(running).ask("POST", "/licenses/1/suspend", body={}, idempotency_key="k")
        assert keys_sent(running) == ["k", "k", "k"]
    assert (caught.value.code, caught.value.exit_status) == ("unreachable_tcp", 69)
    assert "--idempotency-key k;" in messages.cure(caught.value.detail, caught.value.values)


@pytest.mark.usefixtures("keyed")
def test_each_change_has_a_key_of_its_own() -> None:
    with wire(in_turn(json_reply("200 OK", SUSPENDED), json_reply("200 OK", SUSPENDED))) as running:
        assert [command_line.main(typed(running)) for _ in range(2)] == [0, 0]
        one, other = keys_sent(running)
    assert one != other
    assert len(one) == len(other) == 32


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize("words", [("suspend", "1"), ("list",)], ids=["a change", "a question"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(words: tuple[str, ...], status: int, capsys: Captured) -> None:
    """By itself urllib follows most of them, and takes the API key along."""
    with wire(in_turn(json_reply("200 OK", SUSPENDED))) as elsewhere:
        moved = wire_server.answer(f"{status} Moved", f"Location: http://127.0.0.1:{elsewhere.port}/")
        with wire(in_turn(moved)) as running:
            assert command_line.main(typed(running, words=words)) == 65
        assert elsewhere.received == []
    assert f"HTTP status {status}" in json.loads(capsys.readouterr().out)["errors"][0]["title"]


@pytest.mark.usefixtures("keyed")
@pytest.mark.parametrize(
    "reply",
    [
        json_reply("200 OK", b"<html>", "text/html"),
        json_reply("200 OK", b"[]"),
        json_reply("404 Not Found", b'{"title":"x","type":"y"}'),
        json_reply("404 Not Found", b"{}", "application/problem+json"),
    ],
)
def test_another_service_is_told_from_this_one(reply: bytes, capsys: Captured) -> None:
    with wire(in_turn(reply)) as running:
        assert command_line.main(typed(running)) == 65
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "server_error"


@pytest.mark.usefixtures("keyed")
def test_only_a_certificate_that_the_system_trusts_gets_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    by = wire_server.authority(tmp_path)
    context = wire_server.server_context(by, tmp_path, "localhost")
    monkeypatch.setenv("no_proxy", "localhost")
    with wire(in_turn(json_reply("200 OK", SUSPENDED)), context) as running:
        assert command_line.main(typed(running, scheme="https", host="localhost")) == 65
        assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "tls_untrusted"
        assert running.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(by.file))
        assert command_line.main(typed(running, scheme="https", host="localhost")) == 0
        assert f"Bearer {A_KEY}".encode() in running.received[0]
