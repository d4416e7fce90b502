"""A report's whole life as an administrator sees it: the commands, the local API and evaluate together, on a fake machine.

What is shown, what leaves and what is found again are compared as bytes; nothing between command and network is invented.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.command_line import Printed, Terminal
from fixtures.daemon.fake_daemon import Asked, CannedReply, FakeDaemon, fake_daemon
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.commands import Route
from opanel_agent.core.consent.opt_outs import COMMAND_ENVIRONMENT
from opanel_agent.core.ledger import export
from opanel_agent.core.wire.message import Reply, Sealed, head
from opanel_agent.daemon import api

NO = """schema = 1
notice = "2026-12-03"

[purposes.usage_statistics]
allow = false
hold = "72h"
"""
YES = NO.replace("false", "true")
OWNER = api.Peer(uid=0, owner=True)


class Server:
    """A command line whose daemon is the API's table in front of the real evaluate."""

    def __init__(self, terminal: Terminal, daemon: FakeDaemon) -> None:
        self.agent = Simulated()
        self.terminal = terminal
        daemon.relay = self._relay
        for path in ("/v1/reports/usage_statistics", "/v1/rights"):
            self.agent.network.on("POST", signing.ENDPOINT + path, _receipt)

    def answers(self, text: str) -> None:
        self.agent.files.put(PATHS.consent, text.encode())
        self.agent.change_consent()

    def type(self, *argv: str) -> Printed:
        return self.terminal.type(*argv)

    def sent(self) -> list[Sealed]:
        """Everything that left but for the fixed GETs."""
        return [sealed for sealed in self.agent.network.sent if sealed.method == "POST"]

    def held(self) -> str:
        (waiting,) = self.agent.run("held")["result"]["held"]
        return str(waiting["id"])

    def _relay(self, asked: Asked) -> CannedReply:
        route = api.admit(asked.method, asked.path, OWNER, since_refresh_s=0)
        assert isinstance(route, Route), asked
        start = api.respond(route, asked.body, None)
        assert isinstance(start, api.Start), (asked, start)
        frame = self.agent.run(start.intent, **start.options)
        response = api.body_json(ok=frame["ok"], error=frame["error"], result=dumps(frame["result"]), answer=None)
        return CannedReply(status=response.status, body=response.body)


def _receipt(sealed: Sealed) -> Reply:
    kind = "erase" if sealed.purpose == "data_rights" else sealed.purpose
    return ok(signing.receipt(sealed.body, kind=kind), "application/jose", status=202)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    terminal = Terminal(folder=tmp_path)
    with contextlib.chdir(tmp_path), fake_daemon(terminal.paths.socket) as daemon:
        yield Server(terminal, daemon)


def lines_of(sealed: Sealed) -> str:
    """A request as it is shown: its bytes, each line indented."""
    wire = (head(sealed) + sealed.body).decode()
    return "".join(f"  {line}\n" for line in wire.split("\r\n"))


@pytest.mark.parametrize(
    "command", [("license", "activate"), ("data", "request", "access", "--text", "x"), ("data", "held", "send")]
)
def test_under_an_opt_out_of_the_shell_a_command_is_written_to_a_file(server: Server, command: tuple[str, ...]) -> None:
    """The daemon does not see that shell: with the same consents it sends, from any other."""
    server.answers(YES)
    server.agent.install(signing.bundle(activated=False))
    server.type("data", "preview", "usage_statistics")
    words = (*command, server.held()) if command[0:2] == ("data", "held") else command
    before = len(server.sent())
    server.terminal.environ = {"DO_NOT_TRACK": "1"}
    printed = server.type(*words, "--json")
    assert printed.status == 0, printed
    result = printed.json()["result"]
    assert result["sent"] is False
    assert Path(result["file"]).stat().st_mode & 0o777 == 0o600
    assert [each["place"] for each in result["why"]] == [COMMAND_ENVIRONMENT]
    assert len(server.sent()) == before


def test_what_the_preview_shows_leaves_and_is_found_again(server: Server) -> None:
    refused = server.type("data", "preview", "usage_statistics")
    assert refused.status == 0
    assert "Not sent now" in refused.out
    assert "This preview is not kept" in refused.out
    server.answers(YES)
    shown = server.type("data", "preview", "usage_statistics")
    assert server.sent() == []
    waiting = server.type("data", "held")
    assert server.held() in waiting.out
    let_go = server.type("data", "held", "send", server.held())
    assert (let_go.status, let_go.out.startswith("Sent: ")) == (0, True)
    (left,) = server.sent()
    found = server.type("data", "sent", left.id)
    assert lines_of(left) in shown.out
    assert lines_of(left) in let_go.err
    assert lines_of(left) in found.out
    assert f"  {signing.receipt(left.body, kind=left.purpose).decode().strip()}\n" in found.out
    assert "sent and answered (status 202); with a receipt" in server.type("data", "sent", "--verbose").out
    assert server.type("data", "held").out == "No reports are held.\n"


def test_a_refused_purpose_is_not_sent_by_hand_either(server: Server) -> None:
    server.answers(YES)
    waiting = server.held()
    server.agent.files.put(PATHS.consent, NO.encode())
    assert server.type("data", "held", "send", waiting).status == 65  # it was purged before it could be
    assert server.sent() == []


def test_a_dropped_report_does_not_leave(server: Server) -> None:
    server.answers(YES)
    name = server.held()
    assert server.type("data", "held", "drop", name).out == f"Deleted: {name}. It will not be sent.\n"
    assert name not in server.type("data", "held").out
    assert server.type("data", "held", "show", name).status == 65


def test_a_right_is_used_on_what_left(server: Server) -> None:
    server.answers(YES)
    server.type("data", "held", "send", server.held())
    (left,) = server.sent()
    used = server.type("data", "request", "erase", left.id, "--text", "Bu raporu siliniz.")
    _, asked = server.sent()
    assert used.status == 0
    assert lines_of(asked) in used.err
    assert "It must be answered by " in used.out
    secret = server.agent.files.read(PATHS.erasure / left.id, max_bytes=32) or b""
    assert secret.hex() in used.err
    assert hashlib.sha256(secret).hexdigest() in left.body.decode()


def test_under_do_not_track_a_right_goes_to_a_file_and_nowhere_else(server: Server) -> None:
    server.answers(YES)
    server.type("data", "held", "send", server.held())
    server.agent.opt_outs.set_signals(do_not_track=True)
    used = server.type("data", "request", "access")
    (left,) = server.sent()
    (file,) = Path().glob("rights-*.json")
    assert (used.status, f"The request was saved to {file}" in used.out) == (0, True)
    assert "/etc/do-not-track" in used.out
    secret = server.agent.files.read(PATHS.erasure / left.id, max_bytes=32) or b""
    assert file.read_bytes() == b'{"kind":"access","reveals":["' + secret.hex().encode() + b'"],"schema":1}'


def test_purge_takes_the_copies_and_leaves_a_request_ready(server: Server) -> None:
    server.answers(YES)
    server.type("data", "held", "send", server.held())
    (left,) = server.sent()
    purged = server.type("data", "purge")
    assert purged.status == 0
    assert f"Deleted: {left.id}\n" in purged.out
    assert str(PATHS.ready) in purged.out
    listed = server.type("data", "sent", "--verbose").out
    assert left.id in listed  # the ledger still says that it left
    assert "its copy here was deleted" in listed


def test_an_export_of_all_that_is_good(server: Server) -> None:
    server.answers(YES)
    server.type("data", "held", "send", server.held())
    printed = server.type("data", "export", "-o", "export.jsonl")
    assert (printed.status, printed.err) == (0, "")
    checked = export.check(Path("export.jsonl").read_bytes(), None)
    assert (checked.good, checked.sent, checked.receipts) == (True, 1, 1)
