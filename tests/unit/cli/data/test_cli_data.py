"""`data …`: what could be said, what would be, what waits, what left; shown as it is on the wire and sent only after."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import CannedReply, fake_daemon, problem
from opanel_agent.cli.display.output import COLUMNS
from opanel_agent.cli.display.times import moment
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.purposes import FIXED, Purpose
from opanel_agent.core.errors import NotPermitted, Unavailable, Untrusted, Usage
from opanel_agent.core.ledger import export
from opanel_agent.core.ledger.chain import ChainHead
from opanel_agent.core.ledger.export import Part, PartKind
from opanel_agent.core.reporting import fleet
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.system.storage.resources import load_catalog

NOW = 1_795_510_800
ID = "usage-0123456789abcdef"
BODY = '{"agent_version":"0.1.0","os_id":"debian","schema":1}'
HEAD = "POST /v1/reports/usage_statistics HTTP/1.1\r\nHost: reports.example\r\nDNT: 1\r\n\r\n"
URL = "https://reports.example/v1/reports/usage_statistics"
SHOWN: dict[str, Any] = {
    "id": ID,
    "purpose": "usage_statistics",
    "method": "POST",
    "url": URL,
    "head": HEAD,
    "body": BODY,
    "leaves": ["schema", "os_id", "agent_version", "of_tomorrow"],
    "why": [],
}
DENIED = [
    {"reason": "denied_by_file", "what": None, "place": "consent.toml", "line": 7},
    {"reason": "opt_out", "what": "DO_NOT_TRACK=1", "place": "/etc/environment", "line": None},
]
REQUEST = [*(f"  {line}" for line in HEAD.split("\r\n")[:-1]), f"  {BODY}"]
RIGHT: dict[str, Any] = {
    "id": "rights-0123456789abcdef",
    "purpose": "data_rights",
    "method": "POST",
    "url": "https://reports.example/v1/rights",
    "head": "POST /v1/rights HTTP/1.1\r\nHost: reports.example\r\n\r\n",
    "body": '{"kind":"erase","reveals":["00"],"schema":1}',
    "leaves": ["kind", "reveals", "schema"],
    "why": [],
}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with contextlib.chdir(tmp_path):
        yield Terminal(folder=tmp_path)


def within(lines: list[str], part: list[str]) -> bool:
    return any(lines[n : n + len(part)] == part for n in range(len(lines)))


# catalog


@pytest.mark.parametrize("lang", ["tr", "en"])
def test_the_catalog_tells_every_field_of_every_purpose_without_daemon_or_root(terminal: Terminal, lang: str) -> None:
    terminal.euid = terminal.paths.owner + 1
    printed = terminal.type("data", "catalog", "--verbose", "--lang", lang)
    terminal.lang = "tr" if lang == "tr" else "en"
    words = " ".join(terminal.type("data", "catalog", "--verbose").out.split())
    assert (printed.status, printed.err) == (0, "")
    for purpose, sheet in load_catalog().sheets.items():
        assert f"[{purpose}]" in words
        for field in sheet.fields.values():
            assert " ".join(field.description[lang].split()) in words
            assert all(str(value) in words for value in field.values)
            assert field.pattern is None or field.pattern in words or " ".join(field.pattern.split()) in words


def test_the_catalog_says_what_is_permitted_kept_and_how_much_it_can_tell(terminal: Terminal) -> None:
    lines = terminal.type("data", "catalog", "--verbose").out.splitlines()
    bits = f"{load_catalog().bits('usage_statistics'):.1f}"
    at = lines.index("usage statistics [usage_statistics]")
    section = "\n".join(lines[at : lines.index("", at)])
    assert section.startswith("usage statistics [usage_statistics]\n  to: the vendor\n")
    words = " ".join(section.split())
    assert f"reveals at most {bits} bits about this server: log2" in words
    assert f"about {fleet.bits(fleet.ORDINARY):.1f} bits on average in a typical fleet" in words
    assert "33 bits identify one server among 8.6 billion" in words
    assert "\n  os_id: distribution (text)\n" in section
    assert "      allowed: almalinux, amzn," in section
    assert '      example: "debian"' in section
    assert "      source: /etc/os-release: ID; transform: one_of" in section
    assert "      kept: 90 days here, 180 days at the recipient" in section
    assert "      random, drawn for one request only: it links no two" in section
    crash = "\n".join(lines[lines.index("crash reports [crash_reports]") :])
    assert "      allowed: at most 32 items that match" in crash
    assert max(len(line) for line in lines if " " in line.strip()) <= COLUMNS


def test_of_a_fixed_get_the_catalog_says_that_it_says_nothing(terminal: Terminal) -> None:
    out = terminal.type("data", "catalog", "--verbose").out
    assert out.count("A fixed GET, the same bytes for everyone") == len(FIXED)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_catalog_is_a_line_a_field_and_can_be_of_one_purpose(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    fields = [each for each in load_catalog().fields("usage_statistics").values() if each.until is None]
    lines = terminal.type("data", "catalog", "usage_statistics").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [field.name for field in fields]
    assert all(field.label[lang] in line for field, line in zip(fields, lines[1:], strict=True))
    assert max(map(len, terminal.type("data", "catalog").out.splitlines())) <= 80
    assert list(terminal.type("data", "catalog", "crash_reports", "--json").json()["result"]) == ["crash_reports"]


@pytest.mark.parametrize("command", [("data", "catalog"), ("data", "sent"), ("consent", "history"), ("consent", "why")])
def test_a_mistyped_purpose_is_asked_back(terminal: Terminal, command: tuple[str, str]) -> None:
    printed = terminal.type(*command, "usage_statistic")
    assert printed.status == 64
    assert "did you mean “usage_statistics”?" in printed.err


def test_the_catalog_as_json(terminal: Terminal) -> None:
    result = terminal.type("data", "catalog", "--json").json()["result"]
    assert set(result) == set(Purpose)
    usage = result["usage_statistics"]
    assert (usage["recipients"], usage["bits"]) == (["vendor"], f"{load_catalog().bits('usage_statistics'):.1f}")
    assert usage["bits_ordinary_fleet"] == f"{fleet.bits(fleet.ORDINARY):.1f}"
    assert result["crash_reports"]["bits_ordinary_fleet"] is None
    assert list(usage["fields"]) == list(load_catalog().fields("usage_statistics"))
    assert usage["fields"]["os_id"]["values"][:2] == ["almalinux", "amzn"]
    assert set(usage["fields"]["os_id"]) == {*export_of_field(), "description", "label"}


def export_of_field() -> set[str]:
    return {
        *("type", "values", "pattern", "max_items", "example", "source", "transform"),
        *("retention_days_here", "retention_days_there", "since", "until", "optional", "drawn"),
    }


# preview, held


def test_a_preview_shows_the_exact_request_and_what_denies_it(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/preview", SHOWN | {"why": DENIED})
        printed = terminal.type("data", "preview", "usage_statistics")
        assert daemon.posts() == [("/v1/preview", {"purpose": "usage_statistics"})]
    lines = printed.out.splitlines()
    assert (printed.status, printed.err) == (0, "")
    assert lines[0] == f"The next report for usage statistics, as it would be sent to {URL}:"
    assert within(
        lines, ['  os_id: "debian"', "      The operating system's distribution; one that is not listed is only"]
    )
    assert "  of_tomorrow: ?" in lines
    assert within(lines, REQUEST)
    assert "  The recipient also sees this server's IP address, as with any connection." in lines
    denied = lines[lines.index("Not sent now:") :]
    assert any("consent.toml, line 7" in line for line in denied)
    assert any("DO_NOT_TRACK=1 in /etc/environment" in line for line in denied)
    assert f"It is kept as {ID}; exactly these bytes will be sent." in " ".join(lines)


def test_a_preview_that_nothing_denies_says_so(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/preview", SHOWN)
        printed = terminal.type("data", "preview", "usage_statistics")
        assert "Nothing blocks it" in printed.out
        assert "because" not in printed.out
        assert terminal.type("data", "preview", "usage_statistics", "--json").json()["result"] == SHOWN


def test_a_preview_in_turkish(terminal: Terminal) -> None:
    terminal.lang = "tr"
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/preview", SHOWN | {"why": DENIED})
        out = terminal.type("data", "preview", "usage_statistics").out
    assert "Sıradaki rapor (kullanım istatistiği)" in out
    assert "Şu anda gönderilmiyor; nedenleri:" in out
    assert "consent.toml, satır 7" in out


@pytest.mark.parametrize("purpose", ["license_activation", "x", "usage"])
def test_only_reports_have_a_preview(terminal: Terminal, purpose: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        assert terminal.type("data", "preview", purpose).status == 64
        assert daemon.posts() == []


HELD: dict[str, Any] = {
    "id": ID,
    "purpose": "usage_statistics",
    "stage": "sealed",
    "attempted_at": None,
    "held_since": NOW,
    "ready_at": NOW + 72 * 3600,
    "body_bytes": 321,
    "edited": False,
}


def test_held_lists_what_waits_and_why(terminal: Terminal) -> None:
    waiting: Any = [HELD | {"why": [{"reason": "held", "what": "hold", "place": "consent.toml", "line": None}]}]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", {"held": waiting})
        printed = terminal.type("data", "held")
        assert terminal.type("data", "held", "--json").json()["result"] == {"held": waiting}
        assert daemon.posts() == [("/v1/held", {"action": "list"})] * 2
    lines = printed.out.splitlines()
    assert lines[0] == f"{ID}  usage statistics"
    times = f"created {moment(NOW)}; ready {moment(NOW + 72 * 3600)}; bytes: 321"
    assert times in " ".join(" ".join(lines[1:]).split())
    assert "hold in consent.toml" in " ".join(printed.out.split())
    assert max(map(len, lines)) <= COLUMNS


def test_held_with_nothing_in_it(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", {"held": []})
        assert terminal.type("data", "held").out == "No reports are held.\n"


def test_held_show_and_drop(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", SHOWN | {"why": DENIED})
        assert within(terminal.type("data", "held", "show", ID).out.splitlines(), REQUEST)
        daemon.replies.clear()
        daemon.done("/v1/held", {"dropped": ID})
        printed = terminal.type("data", "held", "drop", ID)
        assert daemon.posts() == [
            ("/v1/held", {"action": "show", "id": ID}),
            ("/v1/held", {"action": "drop", "id": ID}),
        ]
    assert printed.out == f"Deleted: {ID}. It will not be sent.\n"


def test_held_drop_only_names_the_report_in_a_dry_run(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", SHOWN | {"why": DENIED})
        printed = terminal.type("data", "held", "drop", ID, "--dry-run")
        result = terminal.type("data", "held", "drop", ID, "--dry-run", "--json").json()["result"]
        assert daemon.posts() == [("/v1/held", {"action": "show", "id": ID})] * 2
    assert (printed.status, printed.out) == (0, f"To be deleted: {ID}\n")
    assert result == {"dropped": None, "would_drop": ID}


def test_held_drop_of_an_unknown_report_fails_in_a_dry_run_as_it_would_without(terminal: Terminal) -> None:
    unknown = Untrusted(Fault.USAGE, "held_report_unknown", id=ID)
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.failed("/v1/held", unknown.to_json())
        dry = terminal.type("data", "held", "drop", ID, "--dry-run")
        real = terminal.type("data", "held", "drop", ID)
    assert (dry.status, dry.out, dry.err) == (real.status, "", real.err)
    assert dry.status == unknown.exit_status


def test_held_send_shows_the_bytes_before_it_asks_for_them_to_leave(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done(
            "/v1/held", SHOWN | {"why": [{"reason": "held", "what": "hold", "place": "consent.toml", "line": None}]}
        )
        daemon.done("/v1/held", {"sent": True, "id": ID, "url": URL, "reply_status": 202})
        printed = terminal.type("data", "held", "send", ID)
        assert daemon.posts() == [
            ("/v1/held", {"action": "show", "id": ID}),
            ("/v1/held", {"action": "send", "id": ID}),
        ]
    lines = printed.err.splitlines()
    assert lines[0] == f"To be sent for usage statistics, to {URL}:"
    assert within(
        lines, ['  os_id: "debian"', "      The operating system's distribution; one that is not listed is only"]
    )
    assert within(lines, REQUEST)
    assert printed.out == f"Sent: {ID}, to {URL}; reply status: 202.\n"
    assert printed.status == 0


def test_held_send_that_the_gate_denies(terminal: Terminal) -> None:
    denied = NotPermitted(Reason.OPT_OUT, "gate_denied", purpose="usage_statistics", reason="opt_out", place="x")
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", SHOWN)
        daemon.failed("/v1/held", denied.to_json())
        assert terminal.type("data", "held", "send", ID).status == 77
        daemon.replies.clear()
        daemon.done("/v1/held", SHOWN)
        daemon.done("/v1/held", {"sent": False, "id": ID, "url": URL, "reply_status": None})
        printed = terminal.type("data", "held", "send", ID)
        assert (printed.status, printed.out) == (1, "Nothing was sent.\n")


@pytest.mark.parametrize("change", [{"id": "../x"}, {"head": None}, {"body": 1}, {"body": "[1"}, {"why": None}])
def test_what_cannot_be_shown_is_not_sent(terminal: Terminal, change: dict[str, Any]) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/held", SHOWN | change)
        assert terminal.type("data", "held", "send", ID).status == 69
        assert [body["action"] for _, body in daemon.posts()] == ["show"]


@pytest.mark.parametrize(
    "command", [["held", "show"], ["held", "drop"], ["held", "send"], ["sent"], ["request", "erase"]]
)
@pytest.mark.parametrize("name", ["x", "../../etc/passwd", "usage-0123", "usage-0123456789ABCDEF", "a" * 65, "status"])
def test_an_id_is_one_before_anything_is_asked(terminal: Terminal, command: list[str], name: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        printed = terminal.type("data", *command, name)
        assert (printed.status, "(id_shape)" in printed.err) == (64, True)
        assert daemon.posts() == []


# sent


LISTED: dict[str, Any] = {
    "id": ID,
    "purpose": "usage_statistics",
    "kind": "usage",
    "url": URL,
    "at": NOW,
    "stage": "answered",
    "status": 202,
    "reason": None,
    "copy": "kept",
    "sha256": "ab" * 32,
    "receipt": True,
}


def test_sent_lists_what_left(terminal: Terminal) -> None:
    left: Any = [
        LISTED,
        LISTED
        | {"id": "crash-0123456789abcdef", "kind": "crash", "purpose": "crash_reports", "at": None}
        | {"stage": "attempted", "status": None, "reason": "unreachable_tcp", "receipt": False},
        LISTED
        | {"id": "release-0123456789abcdef", "kind": "release", "purpose": "license_activation", "copy": "purged"}
        | {"stage": "sent", "status": 403, "reason": "server_error"},
        LISTED | {"id": "later-0123456789abcdef", "kind": "later", "stage": "attempted", "reason": "interrupted"},
    ]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/sent", {"sent": left, "of": 1200})
        brief = terminal.type("data", "sent").out.splitlines()
        some = terminal.type("data", "sent", "-n", "1")
        one_purpose = terminal.type("data", "sent", "license_activation", "--json").json()["result"]["sent"]
        cut = terminal.type("data", "sent", "-n", "2", "--json").json()["result"]["sent"]
        printed = terminal.type("data", "sent", "--verbose")
        daemon.replies.clear()
        daemon.done("/v1/sent", {"sent": []})
        none = terminal.type("data", "sent")
        assert daemon.posts() == [("/v1/sent", {})] * 6
    assert [line.split() for line in brief] == [
        ["WHEN", "ID", "RECEIPT", "OUTCOME"],
        [*moment(NOW).split(), ID, "yes", "answered", "(202)"],
        ["never", "crash-0123456789abcdef", "no", "attempted"],
        [*moment(NOW).split(), "release-0123456789abcdef", "yes", "not", "accepted", "(403);", "its"],
        ["copy", "here", "was", "deleted"],
        [*moment(NOW).split(), "later-0123456789abcdef", "yes", "attempted", "(202)"],
    ]
    assert max(map(len, brief)) <= 80
    assert some.out.splitlines()[-1] == "showing 1 of 4; all: -n 0"
    assert one_purpose == [left[2]]
    assert cut == left[:2]
    lines = printed.out.splitlines()
    assert (printed.status, none.status) == (0, 0)
    assert lines[0] == f"{ID}  usage statistics"
    assert f"{moment(NOW)}, to {URL}" in " ".join(" ".join(lines).split())
    text = " ".join(printed.out.split())
    assert "sent and answered (status 202); with a receipt" in text
    assert "attempted, no reply: possibly sent; " in text
    assert "release-0123456789abcdef license release" in text
    assert "sent, not accepted (status 403); " in text
    assert "its copy here was deleted" in text
    assert "later-0123456789abcdef usage statistics" in text
    assert "it was interrupted" in text
    assert "These are the newest 4 of 1200." in printed.err
    assert none.out.startswith("Nothing about this server has been sent")


LEFT: dict[str, Any] = LISTED | {
    "reply_copy": "kept",
    "head": HEAD,
    "body": BODY,
    "reply_status": 202,
    "reply_body": "e30.e30.AA\n",
    "receipt": "e30.e30.BB",
}


def test_sent_shows_the_same_bytes_as_the_preview(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/preview", SHOWN)
        daemon.done("/v1/sent", LEFT)
        before = terminal.type("data", "preview", "usage_statistics").out.splitlines()
        after = terminal.type("data", "sent", ID)
        assert daemon.posts()[-1] == ("/v1/sent", {"id": ID})
    lines = after.out.splitlines()
    assert within(before, REQUEST)
    assert within(lines, ["The request, byte for byte as sent:", *REQUEST])
    assert within(lines, ["The reply, status 202:", "  e30.e30.AA"])
    assert within(lines, ["The receipt, as signed by the authority:", "  e30.e30.BB"])


def test_sent_without_reply_or_receipt(terminal: Terminal) -> None:
    alone = LEFT | {"reply_status": None, "reply_body": None, "reply_copy": None, "receipt": None}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/sent", alone)
        out = terminal.type("data", "sent", ID).out
        assert terminal.type("data", "sent", ID, "--json").json()["result"] == alone
    assert "There is no reply." in out
    assert "There is no receipt." in out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"copy": "edited"}, "The copy here was modified: this is not what was sent"),
        ({"copy": "unrecorded"}, "This request is not in the ledger"),
        ({"copy": "purged", "head": None, "body": None}, "The copy here was deleted. The SHA-256 of the request"),
        ({"copy": "missing", "head": None, "body": None}, "There is no readable copy here"),
        ({"stage": "attempted"}, "The request, byte for byte as attempted:"),
        ({"reply_copy": "edited"}, "The reply here was modified: this is not what was received"),
        ({"reply_copy": "purged", "reply_body": None}, "The reply was deleted; its status was 202."),
        ({"reply_copy": "missing", "reply_body": None}, "There is no readable reply here; its status was 202."),
    ],
)
@pytest.mark.parametrize("lang", ["en", "tr"])
def test_only_what_the_ledger_bears_out_is_called_what_left(
    terminal: Terminal, change: dict[str, Any], sentence: str, lang: Language
) -> None:
    terminal.lang = lang
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/sent", LEFT | change)
        printed = terminal.type("data", "sent", ID)
    text = " ".join(printed.out.split())
    assert printed.status == 0
    if lang == "en":
        assert sentence in text
        assert ("byte for byte as sent" in text) == ("reply_copy" in change)
    else:
        assert ("Gönderilen istek, baytı baytına" in text) == ("reply_copy" in change)


@pytest.mark.parametrize("name", ["copy", "reply_copy"])
def test_a_copy_of_a_worth_that_nobody_knows_is_not_shown(terminal: Terminal, name: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/sent", LEFT | {name: "good"})
        assert terminal.type("data", "sent", ID).status == 69


def test_bytes_that_move_a_cursor_are_shown_as_what_they_are(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/sent", LEFT | {"reply_body": "a\x1b[2Jb\rc\u2028d"})
        out = terminal.type("data", "sent", ID).out
    assert "  a\\u001b[2Jb\\u000dc\\u2028d" in out.splitlines()


def test_an_id_that_nobody_knows(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.failed("/v1/held", Untrusted(Fault.USAGE, "held_report_unknown", id=ID).to_json())
        assert terminal.type("data", "held", "show", ID).status == 65


# export


def exported() -> bytes:
    """A small, good one: an empty ledger, and as much text as makes several pages."""
    parts = [
        Part.of(PartKind.LEDGER, "ledger.jsonl", b""),
        Part.of(PartKind.HEAD, "ledger.head", ChainHead().encode()),
        Part.of(PartKind.NOTICE, "notice.en.md", b"notice " * 1000),
    ]
    return export.assemble(parts, as_of=NOW, version="0.1.0")


def lay(daemon: Any, data: bytes, *, page: int = 3000) -> None:
    for start in range(0, len(data), page):
        end = start + page
        more = str(end) if end < len(data) else None
        daemon.done("/v1/export", {"export": base64url(data[start:end]), "more": more, "size": len(data)})


def test_an_export_is_gathered_page_by_page_and_written_as_a_whole(terminal: Terminal) -> None:
    data = exported()
    with fake_daemon(terminal.paths.socket) as daemon:
        lay(daemon, data)
        printed = terminal.type("data", "export", "-o", "export.jsonl", "--json")
        assert daemon.posts() == [("/v1/export", {}), ("/v1/export", {"id": "3000"}), ("/v1/export", {"id": "6000"})]
    file = Path("export.jsonl")
    assert file.read_bytes() == data
    assert file.stat().st_mode & 0o777 == 0o600
    result = printed.json()["result"]
    assert (result["bytes"], result["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_what_is_wrong_with_an_export_is_said_and_it_is_written_all_the_same(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        lay(daemon, exported(), page=100_000)
        printed = terminal.type("data", "export", "-o", "export.jsonl")
        daemon.replies.clear()
        lay(daemon, exported(), page=100_000)
        findings = terminal.type("data", "export", "-o", "export.jsonl", "--json").json()["result"]["findings"]
    assert printed.status == 0
    assert {each["what"] for each in findings} == {"absent", "root"}  # no root is in it
    assert printed.err.count("warning: ") == len(findings)
    assert "opanel-agent verify" in printed.out


def test_of_an_agent_that_is_stopped_its_files_are_exported(terminal: Terminal) -> None:
    terminal.at_rest = exported()
    assert terminal.type("data", "export", "-o", "export.jsonl").status == 0
    assert Path("export.jsonl").read_bytes() == exported()
    terminal.at_rest = exported()[:-9]
    assert terminal.type("data", "export", "-o", "other.jsonl").status == 69
    assert not Path("other.jsonl").exists()


def test_an_agent_that_refuses_is_not_gone_around(terminal: Terminal) -> None:
    terminal.at_rest = exported()
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.failed("/v1/export", Unavailable(Fault.BUSY, "busy").to_json())
        assert terminal.type("data", "export", "-o", "export.jsonl").status == 69
    assert not Path("export.jsonl").exists()


def test_pages_that_make_no_whole_leave_no_file(terminal: Terminal) -> None:
    one, other = exported(), exported().replace(b"notice notice", b"NOTICE NOTICE", 1)
    mixed = [
        {"export": base64url(one[:3000]), "more": "3000"},
        {"export": base64url(other[3000:]), "more": None},
    ]
    torn = [{"export": base64url(one[:3000]), "more": "3000"}, {"export": base64url(one[3000:-9]), "more": None}]
    strange = [{"export": base64url(one[:3000]), "more": "2999"}]
    endless = [{"export": "", "more": "0"}]
    none = [{"export": base64url(b"hello\n"), "more": None}]
    for pages in (torn, strange, endless, none, [mixed[1]]):
        with fake_daemon(terminal.paths.socket) as daemon:
            for page in pages:
                daemon.done("/v1/export", page)
            assert terminal.type("data", "export", "-o", "export.jsonl").status == 69
        assert not Path("export.jsonl").exists()


def test_an_export_needs_a_file(terminal: Terminal) -> None:
    printed = terminal.type("data", "export")
    assert (printed.status, "-o FILE" in printed.err) == (64, True)


# request


def test_a_right_is_shown_first_and_then_used(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/rights", RIGHT)
        answer = {"found": 1, "held": [{"seat": 0}]}
        daemon.done("/v1/rights", {"sent": True, "id": RIGHT["id"], "due": NOW, "answer": answer})
        printed = terminal.type("data", "request", "erase", ID, "--text", "Lütfen silin.")
        asked = {"kind": "erase", "ids": [ID], "text": "Lütfen silin."}
        assert daemon.posts() == [
            ("/v1/rights", asked | {"preview": True}),
            ("/v1/rights", asked | {"confirm": RIGHT["id"]}),
        ]
    assert printed.status == 0
    assert "To be sent for " in printed.err
    assert within(printed.err.splitlines(), [f"  {RIGHT['body']}"])
    assert printed.out.splitlines()[0] == "The request was sent."
    assert f"It must be answered by {moment(NOW)}." in printed.out
    assert "The authority's answer:" in printed.out
    assert json.loads("".join(printed.out.partition("{")[1:])) == answer


def test_a_right_without_a_valid_receipt_is_still_sent(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/rights", RIGHT)
        daemon.done("/v1/rights", {"sent": True, "id": RIGHT["id"], "due": None})
        printed = terminal.type("data", "request", "access")
        assert daemon.posts()[0] == ("/v1/rights", {"kind": "access", "preview": True})
    assert (printed.status, "within 30 days" in printed.out) == (0, True)


@pytest.mark.parametrize("argv", [["-o", "right.json"], []])
def test_under_a_signal_or_with_o_a_right_is_written_out(terminal: Terminal, argv: list[str]) -> None:
    why: Any = [] if argv else DENIED[1:]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/rights", RIGHT | {"why": why})
        daemon.done("/v1/rights", {"sent": False, "request": base64url(RIGHT["body"].encode()), "why": why})
        printed = terminal.type("data", "request", "erase", *argv)
        assert [options for _, options in daemon.posts()] == [
            {"kind": "erase", "preview": True},
            {"kind": "erase", "to_file": True},
        ]
    file = Path(argv[-1] if argv else f"{RIGHT['id']}.json")
    assert file.read_text() == RIGHT["body"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert printed.status == 0
    assert printed.out.startswith("Nothing was sent.")
    assert f"The request was saved to {file}" in printed.out
    assert "within 30 days of arrival" in " ".join(printed.out.split())
    assert ("DO_NOT_TRACK=1 in /etc/environment" in printed.out) is bool(why)


@pytest.mark.parametrize(
    ("argv", "detail"),
    [
        (["forget"], "rights_kind"),
        (["erase", "--text", "a\nb"], "rights_text"),
        (["erase", "--text", ""], "rights_text"),
        (["erase", "--text", "x" * 2001], "rights_text"),
        (["erase", *[ID] * 65], "operand_unexpected"),
        ([], "operand_missing"),
        (["erase", "--license", ID], "rights_license_ids"),
        (["forget", "--license"], "rights_kind"),
    ],
)
def test_a_mistake_in_a_right_is_told_before_anything_is_asked(
    terminal: Terminal, argv: list[str], detail: str
) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        printed = terminal.type("data", "request", *argv)
        assert (printed.status, f"({detail})" in printed.err) == (64, True)
        assert daemon.posts() == []


def test_a_right_over_license_data_names_no_report(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/rights", RIGHT | {"why": DENIED[1:]})
        daemon.done("/v1/rights", {"sent": False, "request": base64url(b"a.b.c"), "why": DENIED[1:]})
        printed = terminal.type("data", "request", "access", "--license", "--text", "Hepsi.")
        asked = {"kind": "access", "license": True, "text": "Hepsi."}
        assert [options for _, options in daemon.posts()] == [asked | {"preview": True}, asked | {"to_file": True}]
    assert printed.status == 0
    assert Path(f"{RIGHT['id']}.jwt").read_bytes() == b"a.b.c"


def test_every_right_of_the_catalog_can_be_used(terminal: Terminal) -> None:
    for kind in load_catalog().fields("data_rights")["right"].values:
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.done("/v1/rights", RIGHT)
            daemon.done("/v1/rights", {"sent": True, "id": RIGHT["id"], "due": NOW})
            assert terminal.type("data", "request", str(kind)).status == 0


# purge


def test_purge_names_what_went_and_what_lies_ready(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/purge", {"purged": [ID, "crash-0123456789abcdef"], "ready": "/var/lib/x/ready/erase-1"})
        printed = terminal.type("data", "purge")
        assert daemon.posts() == [("/v1/purge", {})]
        daemon.replies.clear()
        daemon.done("/v1/purge", {"purged": []})
        assert terminal.type("data", "purge").out == "There was nothing to delete.\n"
    assert printed.out.splitlines()[:2] == ["Deleted: crash-0123456789abcdef", f"Deleted: {ID}"]
    assert "/var/lib/x/ready/erase-1" in printed.out


# what the daemon says


ASKING = {
    "preview": ("/v1/preview", ["preview", "usage_statistics"]),
    "held": ("/v1/held", ["held"]),
    "show": ("/v1/held", ["held", "show", ID]),
    "sent": ("/v1/sent", ["sent"]),
    "sent one": ("/v1/sent", ["sent", ID]),
    "export": ("/v1/export", ["export", "-o", "x"]),
    "request": ("/v1/rights", ["request", "erase"]),
    "purge": ("/v1/purge", ["purge"]),
}


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (CannedReply(status=202, body=b'{"ok": null}'), 75),
        (problem(403, "no_permission"), 77),
        (CannedReply(body=b"?"), 69),
        (CannedReply(body=json.dumps({"ok": True, "result": {}}).encode()), 69),
        (
            CannedReply(body=dumps({"ok": False, "error": Usage(Fault.USAGE, "intent_unknown", intent="x").to_json()})),
            64,
        ),
    ],
)
def test_what_the_daemon_says_is_the_status(terminal: Terminal, name: str, reply: CannedReply, status: int) -> None:
    path, argv = ASKING[name]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw(path, reply)
        assert terminal.type("data", *argv).status == status


@pytest.mark.parametrize("name", sorted(ASKING.keys() - {"export"}))  # an export reads a stopped agent's files
def test_without_a_daemon_it_is_69_with_the_cure(terminal: Terminal, name: str) -> None:
    printed = terminal.type("data", *ASKING[name][1])
    assert (printed.status, "systemctl start opanel-agent" in printed.err) == (69, True)
