"""prove-silence on real namespaces: proven on this code; with a leak in any process not proven, and the process is named.

Slow, because each case lives a day or two in a chamber. They run as root and as an ordinary user, and are skipped only
where the kernel forbids namespaces, which they say.
"""

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.silence import planted_agent, silence_server
from fixtures.silence.silence_server import Server, part, why
from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.license import binding
from opanel_agent.evaluate.license.agent_key import AgentKey
from opanel_agent.silence import strace
from opanel_agent.silence.judge import Scenario

pytestmark = pytest.mark.slow

CONSENT = """schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "0h"
"""


@pytest.fixture
def server(tmp_path: Path) -> Server:
    silence_server.namespaces_or_skip()
    return Server(tmp_path)


def strace_or_skip() -> None:
    unseen = strace.available()
    if unseen:
        pytest.skip(f"only strace sees a path socket: {unseen}")


def shown(proof: Any) -> list[Any]:
    """For the message of a test that fails."""
    return [proof.result["not_run"], *(each["why"] for each in proof.result["scenarios"] if not each["ok"])]


def test_this_code_is_silent(server: Server) -> None:
    proof = server.prove(days=3)
    assert proof.exit_status == 0, shown(proof)
    assert proof.result["verdict"] == "proven"
    offline = part(proof, "offline")
    assert (offline["packets"], offline["connections"], offline["udp"], offline["requests"]) == (0, 0, 0, [])
    assert offline["passes"] >= 3 * 8 - 4  # it looked whether it may, as often as it was woken
    for name in ("denied", "do_not_track"):
        result = part(proof, name)
        assert {each["line"] for each in result["requests"]} == {
            f"GET /v1/{document} HTTP/1.1" for document in ("roots.jws", "status.jwt", "advisories.jws")
        }
        assert result["connections"] == sum(each["count"] for each in result["requests"])
        processes = {name: result["processes"][name] for name in ("daemon", "fetch", "courier", "command")}
        assert processes == {"daemon": 2, "fetch": result["connections"], "courier": 0, "command": 1}
        assert result["udp"] == 0
    control = part(proof, "allowed")
    posts = {each["line"] for each in control["requests"] if each["line"].startswith("POST")}
    assert posts == {f"POST /v1/reports/{name} HTTP/1.1" for name in ("usage_statistics", "crash_reports")}
    assert control["packets"] > 0
    assert part(proof, "idle")["packets"] == 0
    assert all(part(proof, name)["packets"] > 0 for name in ("connect", "lookup"))


@pytest.mark.parametrize(
    ("leak", "code"),
    [
        ("daemon", "datagrams"),
        ("evaluate", "datagrams"),
        ("evaluate_lookup", "datagrams"),
        ("evaluate_ping", "other_packets"),
        ("import", "datagrams"),
        ("atexit", "datagrams"),
        ("child", "datagrams"),
        ("second_start", "datagrams"),
        ("untraced", "datagrams"),
    ],
)
def test_a_leak_breaks_the_silence_of_offline(server: Server, leak: str, code: str) -> None:
    """The kernel's counter is enough: without strace."""
    proof = server.prove(Scenario.OFFLINE, leak=leak, use_strace=False)
    assert proof.exit_status == 1
    assert part(proof, "offline")["packets"] > 0
    assert why(proof, "offline") >= {("packets", None), (code, None)}


def test_a_leak_of_one_weekday_is_found_within_a_week(server: Server) -> None:
    weekday = (datetime.now(UTC) + timedelta(days=3)).isoweekday()
    proof = server.prove(Scenario.OFFLINE, leak="weekday", days=7, use_strace=False, WEEKDAY=weekday)
    assert why(proof, "offline") >= {("packets", None), ("datagrams", None)}


@pytest.mark.parametrize(("leak", "code"), [("thread", "thread_kept"), ("late_child", "process_left")])
def test_what_waits_beside_the_daemon_is_found_though_it_sent_nothing_yet(server: Server, leak: str, code: str) -> None:
    proof = server.prove(Scenario.OFFLINE, leak=leak, use_strace=False)
    assert proof.exit_status == 1
    assert code in {each for each, _ in why(proof, "offline")}


def test_a_call_to_a_path_socket_is_seen_by_strace_alone(server: Server) -> None:
    strace_or_skip()
    seen = server.prove(Scenario.OFFLINE, leak="path_socket")
    assert why(seen, "offline") == {("path_socket", "evaluate")}
    assert part(seen, "offline")["why"][0]["what"] == "/dev/log-of-others"


def test_without_strace_it_is_said_that_nobody_looked(server: Server) -> None:
    unseen = server.prove(Scenario.OFFLINE, use_strace=False)
    assert unseen.exit_status == 0
    assert {"code": "strace_absent"} in shown(unseen)[0]
    assert part(unseen, "offline")["strace"] is False


@pytest.mark.parametrize(
    ("leak", "code", "process"),
    [
        ("evaluate", "internet_socket", "evaluate"),
        ("daemon", "internet_socket", "daemon"),
        ("program", "program_started", "evaluate"),
    ],
)
def test_strace_names_the_process(server: Server, leak: str, code: str, process: str) -> None:
    strace_or_skip()
    proof = server.prove(Scenario.OFFLINE, leak=leak)
    assert (code, process) in why(proof, "offline")


@pytest.mark.parametrize(
    ("leak", "code", "process"),
    [
        ("header", "request_unexpected", "fetch"),
        ("header_order", "request_unexpected", "fetch"),
        ("query", "request_unexpected", "fetch"),
        ("fetch", "datagrams", None),
        ("alpn", "greeting_unexpected", None),
        ("server_name", "greeting_unexpected", None),
        ("silent_connection", "request_unexpected", "fetch"),
    ],
)
def test_a_leak_of_fetch_is_found_where_only_fixed_requests_may_be(
    server: Server, leak: str, code: str, process: str | None
) -> None:
    proof = server.prove(Scenario.DENIED, leak=leak, use_strace=False)
    assert proof.exit_status == 1
    assert (code, process) in why(proof, "denied")


def test_a_leak_of_the_courier_is_found(server: Server) -> None:
    proof = server.prove(Scenario.ALLOWED, leak="courier", use_strace=False)
    assert why(proof, "allowed") >= {("datagrams", None)}


def test_a_leak_in_what_only_a_command_sends_is_found(server: Server) -> None:
    proof = server.prove(Scenario.COMMANDS, leak="activation", use_strace=False)
    assert why(proof, "commands") >= {("datagrams", None)}


def test_commands_send_what_they_show_and_nothing_else(server: Server) -> None:
    proof = server.prove(Scenario.COMMANDS, use_strace=False)
    assert proof.exit_status == 0, shown(proof)
    result = part(proof, "commands")
    posted = {each["line"]: each["posted"] for each in result["requests"] if each["posted"]}
    assert posted.keys() >= {
        "POST /v1/bundles HTTP/1.1",
        "POST /v1/rights HTTP/1.1",
        "POST /v1/reports/usage_statistics HTTP/1.1",
    }
    assert '"key_sha256":"' in posted["POST /v1/bundles HTTP/1.1"]


def test_every_other_command_is_typed_and_sends_nothing(server: Server) -> None:
    """By the files that are installed, completion included; what could not be typed is named with its reason."""
    proof = server.prove(Scenario.COMMANDS, leak=(), use_strace=False)
    assert proof.exit_status == 0, shown(proof)
    result = part(proof, "commands")
    typed = {each["line"]: each for each in result["commands"]}
    for command in COMMANDS:
        words = " ".join(command.words)
        assert words == "prove-silence" or any(f"{line} ".startswith(f"{words} ") for line in typed), words
    quiet = [each for each in result["commands"] if each["sends"] == "nothing"]
    assert len(quiet) > 70
    assert {(each["packets"], each["connections"]) for each in quiet} == {(0, 0)}
    assert sum(each["packets"] > 0 for each in result["commands"] if each["sends"] == "ordered") >= 3
    assert typed["opanel-agent <Tab>"]["exit_status"] == 0
    assert {each["line"]: each["code"] for each in result["not_typed"]} == {
        "prove-silence": "itself",
        "zsh": "other_shell",
        "fish": "other_shell",
    }


LEAKING_LINES: dict[str, tuple[str, ...]] = {
    "reading": ("status",),
    "group_import": ("data catalog",),
    "command_atexit": ("consent receipt",),
    "command_child": ("advisories",),
    "help": ("license --help",),
    "answered": ("setup",),
    "at_rest": ("consent history", "data sent"),
    planted_agent.ENTRY: ("verify",),
    planted_agent.COMPLETION: ("opanel-agent <Tab>",),
}


def test_a_leak_in_what_is_typed_is_found_and_told_by_its_line(server: Server) -> None:
    """All of them in one installation: each line is judged by itself, and no other is blamed."""
    proof = server.prove(Scenario.COMMANDS, leak=(*LEAKING_LINES,), use_strace=False)
    assert proof.exit_status == 1
    blamed = {each["what"] for each in part(proof, "commands")["why"] if each["code"] == "command_sent"}
    leaking = tuple(line for lines in LEAKING_LINES.values() for line in lines)
    assert [line for line in leaking if not any(each.startswith(line) for each in blamed)] == []
    assert [each for each in blamed if not each.startswith(leaking)] == []


def test_a_datagram_to_a_path_socket_from_a_command_that_reads_is_seen_by_strace(server: Server) -> None:
    strace_or_skip()
    proof = server.prove(Scenario.COMMANDS, leak="resolved")
    assert why(proof, "commands") == {("path_socket", "command")}
    assert part(proof, "commands")["why"][0]["what"] == "/run/systemd/resolve/io.systemd.Resolve"


def activated(server: Server) -> None:
    """A license whose end is near, activated for the key that the state holds."""
    now = int(time.time())
    seed = bytes(range(32))
    key = AgentKey(seed)
    components = binding.digests(signing.SALT, binding.normalize({"agent_key": key.public.kid}))
    dates: dict[str, Any] = {
        "nbf": now - 90 * signing.DAY,
        "iat": now - 90 * signing.DAY,
        "exp": now + signing.DAY // 4,
    }
    begun = dict.fromkeys(("iat", "nbf"), now - 100 * signing.DAY)
    delegated = signing.delegation(by=signing.ISSUER, **begun)
    licensed = signing.license(**dates, activation={"required": True, "within_days": 7, "min_p": 0, "seats": 1})
    bind = signing.bind(components=components, k=1, p=0)
    bound = signing.activation(bind=bind, cnf={"jkt": key.public.kid}, **{**dates, "exp": now + signing.DAY})
    server.write(server.state / "bundle.jws", signing.lines(delegated, licensed, bound))
    server.write(server.state / "activation.key", seed)


@pytest.mark.parametrize("scenario", [Scenario.AS_IT_STANDS, Scenario.DENIED])
def test_an_activated_license_lives_and_its_renewals_are_named(server: Server, scenario: Scenario) -> None:
    activated(server)
    proof = server.prove(scenario, use_strace=False)
    assert proof.exit_status == 0, shown(proof)
    lines = {each["line"] for each in part(proof, scenario)["requests"]}
    assert "POST /v1/renewals HTTP/1.1" in lines


def test_a_report_that_is_not_what_was_kept_is_found(server: Server) -> None:
    proof = server.prove(Scenario.ALLOWED, leak="header", use_strace=False)
    assert why(proof, "allowed") >= {("request_unexpected", "courier"), ("request_missing", "courier")}


def test_a_daemon_that_dies_proves_nothing(server: Server) -> None:
    proof = server.prove(Scenario.OFFLINE, leak="crash", use_strace=False)
    assert proof.exit_status == 1
    assert why(proof, "offline") == {("month_failed", None)}
    assert "ArithmeticError" in part(proof, "offline")["why"][0]["what"]


def test_as_it_stands_is_what_this_servers_own_word_allows(server: Server) -> None:
    server.settings("advisories = false")
    server.write(server.config / "consent.toml", CONSENT.encode())
    proof = server.prove(Scenario.AS_IT_STANDS, use_strace=False)
    assert proof.exit_status == 0, shown(proof)
    lines = {each["line"] for each in part(proof, "as_it_stands")["requests"]}
    assert lines == {
        "GET /v1/roots.jws HTTP/1.1",
        "GET /v1/status.jwt HTTP/1.1",
        "POST /v1/reports/usage_statistics HTTP/1.1",
    }


def test_an_opt_out_of_this_server_counts_as_it_stands(server: Server) -> None:
    server.write(server.config / "consent.toml", CONSENT.encode())
    server.write(server.etc / "environment", b"PASSWORD=secret\nDO_NOT_TRACK=1\n")
    proof = server.prove(Scenario.AS_IT_STANDS, use_strace=False)
    assert proof.exit_status == 0, shown(proof)
    lines = [each["line"] for each in part(proof, "as_it_stands")["requests"]]
    assert lines
    assert not any(line.startswith("POST") for line in lines)
    server.write(server.config / "offline", b"")
    assert part(server.prove(Scenario.AS_IT_STANDS, use_strace=False), "as_it_stands")["packets"] == 0


def test_a_root_that_names_no_place_for_reports_leaves_the_control_without_proof(tmp_path: Path) -> None:
    silence_server.namespaces_or_skip()
    server = Server(tmp_path, root=signing.root(endpoints={}))
    proof = server.prove(Scenario.ALLOWED, use_strace=False)
    assert proof.exit_status == 1
    assert ("report_missing", "courier") in why(proof, "allowed")


def as_nobody(*command: str) -> "subprocess.CompletedProcess[str]":
    by = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env")  # setpriv's own exec is still root's
    return subprocess.run([*by, *command], cwd="/", capture_output=True, text=True, check=False, timeout=300)


def test_plain_requests_to_this_very_machine_are_heard_too(tmp_path: Path) -> None:
    """As the demo's: http to a loopback address, and one port for everything."""
    silence_server.namespaces_or_skip()
    here = [{"url": "http://127.0.0.1:8470", "region": "tr"}]
    root = signing.root(mirrors=here, endpoints=dict.fromkeys(signing.root_claims()["endpoints"], here))
    proof = Server(tmp_path, root=root).prove(Scenario.DENIED, Scenario.ALLOWED)
    assert proof.exit_status == 0, shown(proof)
    assert {each["host"] for each in part(proof, "allowed")["requests"]} == {"127.0.0.1:8470"}


@pytest.mark.root
def test_an_ordinary_user_can_run_it() -> None:
    """With an installation of the user's own: the programs are started as they are installed."""
    silence_server.namespaces_or_skip()
    tests = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        pythons = [
            planted_agent.environment(Path(name) / str(number), [silence_server.AGENT, str(tests)], base)
            for number, base in enumerate((sys.executable, "/usr/bin/python3"))
            if Path(base).exists()
        ]
        able = [each for each in pythons if not as_nobody(each, "-I", "-c", IMPORTS).returncode]
        if not able:
            pytest.skip("no interpreter here that an ordinary user may start and that has the agent's libraries")
        ran = as_nobody(able[0], "-I", "-c", PROVE)
    assert ran.stdout.startswith("0 "), ran.stdout + ran.stderr


IMPORTS = "import pytest, fixtures.silence.silence_server, opanel_agent.silence.supervisor"
PROVE = """
import pathlib, tempfile
from fixtures.silence.silence_server import Server
from opanel_agent.silence.judge import Scenario
with tempfile.TemporaryDirectory() as folder:
    proof = Server(pathlib.Path(folder)).prove(Scenario.OFFLINE, Scenario.DENIED)
print(proof.exit_status, proof.result["not_run"])
"""
