"""What a chamber is made of: the copy of a server says what the server says; the kernel's and strace's figures are read."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.silence import silence_server
from fixtures.silence.silence_server import Server
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.network import gate_inputs
from opanel_agent.silence import listener, namespace, server_copy, strace, tls_greeting
from opanel_agent.silence.expected import ScenarioFiles
from opanel_agent.silence.judge import Scenario, Traffic
from opanel_agent.silence.runner import ProofTools, prove
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.storage import resources, settings
from opanel_agent.system.storage.files import LocalFiles
from opanel_agent.system.storage.paths import Paths

FILES = LocalFiles()
YES = b'schema = 1\nnotice = "2026-12-03"\n[purposes.usage_statistics]\nallow = true\nhold = "0h"\n'
LOUD = tuple(scenario for scenario in Scenario if scenario is not Scenario.AS_IT_STANDS)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def copied(server: Server, scenario: Scenario = Scenario.AS_IT_STANDS) -> Paths:
    folder = server.folder / f"copy-{scenario}"
    folder.mkdir()
    server_copy.lay_out(server_copy.look(FILES, server.paths), scenario, folder)
    return server_copy.paths_in(folder, server.paths.owner, system=False)


def permitted(paths: Paths) -> set[Purpose]:
    """What the gate permits of the word that lies there."""
    loaded = settings.load(FILES, paths)
    sources = gate_inputs.GateSources(
        settings=loaded,
        refused=None,
        signals=LocalOptOuts(FILES, paths, {}).read(),
        consent=LocalConsents(FILES, paths).read(),
        notice=resources.installed_notice(),
        root=signing.trusted_root(),
    )
    return {purpose for purpose in Purpose if sources.permits(purpose)}


# ---- the copy


def test_the_copy_says_what_the_server_says(server: Server) -> None:
    server.settings("advisories = false", 'region = "eu"', "[license]", "renew = false")
    server.write(server.config / "consent.toml", YES)
    loaded = settings.load(FILES, copied(server))
    assert (loaded.advisories, loaded.region, loaded.license_renew) == (False, "eu", False)
    assert loaded.ca_file is not None
    assert loaded.ca_file.name == "ca.pem"
    assert permitted(server.paths) == {Purpose.LICENSE_STATUS, Purpose.USAGE_STATISTICS}
    folder = server.folder / "copy-as_it_stands"
    assert permitted(server_copy.paths_in(folder, server.paths.owner, system=False)) == permitted(server.paths)


@pytest.mark.parametrize(
    ("place", "content", "mode"),
    [
        ("config/consent.toml", YES, 0o666),
        ("config/consent.toml", YES + b"surprise = 1\n", 0o600),
        ("config/consent.d/10.toml", b"schema = 1\n[purposes.usage_statistics]\nallow = false\n", 0o600),
        ("config/consent.d/10.toml", b"schema = 1\n", 0o666),
        ("config/do-not-track", b"", 0o600),
        ("etc/do-not-track", b"", 0o600),
        ("etc/environment", b"A=1\nDO_NOT_TRACK=1\n", 0o600),
        ("etc/environment", b"\0", 0o600),
        ("etc/default/opanel-agent", b"OPANEL_AGENT_DO_NOT_TRACK=yes", 0o600),
        ("etc/environment.d/9.conf", b"# x\rDO_NOT_TRACK=1", 0o600),
    ],
)
def test_every_no_of_the_servers_is_the_copys_too(server: Server, place: str, content: bytes, mode: int) -> None:
    server.write(server.config / "consent.toml", YES)
    assert Purpose.USAGE_STATISTICS in permitted(server.paths)
    server.write(server.folder / place, content, mode=mode)
    assert Purpose.USAGE_STATISTICS not in permitted(server.paths)
    assert permitted(copied(server)) == permitted(server.paths)


def test_a_dangling_link_is_a_signal_in_the_copy_too(server: Server) -> None:
    server.write(server.config / "consent.toml", YES)
    (server.etc / "do-not-track").symlink_to("nowhere")
    assert permitted(copied(server)) == permitted(server.paths) != set()


def test_a_link_to_a_consent_is_refused_there_too(server: Server) -> None:
    server.write(server.folder / "elsewhere.toml", YES)
    (server.config / "consent.toml").symlink_to(server.folder / "elsewhere.toml")
    assert Purpose.USAGE_STATISTICS not in permitted(server.paths)
    assert permitted(copied(server)) == permitted(server.paths)


def test_other_programs_secrets_stay_where_they_are(server: Server) -> None:
    server.write(server.etc / "environment", b"PASSWORD=secret\nDO_NOT_TRACK=1\n")
    copy = copied(server)
    assert (copy.etc / "environment").read_bytes() == b"DO_NOT_TRACK=1\n"


def test_refused_settings_are_refused_there_too_and_said(server: Server) -> None:
    server.settings()
    looked = server_copy.look(FILES, server.paths)
    assert "settings_refused" not in looked.left_out
    (server.config / "agent.toml").chmod(0o666)
    with pytest.raises(server_copy.NoRoot):  # the root is named by the file that does not count
        server_copy.look(FILES, server.paths)


def test_what_is_left_out_is_said(server: Server) -> None:
    server.settings('proxy = "http://user:word@proxy.example:3128"')
    looked = server_copy.look(FILES, server.paths)
    assert {"proxy", "answers"} <= set(looked.left_out)
    folder = server.folder / "copy"
    folder.mkdir()
    server_copy.lay_out(looked, Scenario.AS_IT_STANDS, folder)
    assert settings.load(FILES, server_copy.paths_in(folder, server.paths.owner, system=False)).proxy is None
    assert not any(b"user:word" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_servers_own_documents_are_its_answers(server: Server) -> None:
    server.write(server.state / "status-list.jwt", b"a list")
    looked = server_copy.look(FILES, server.paths)
    assert looked.answers["/v1/status.jwt"] == b"a list"
    assert looked.answers["/v1/roots.jws"] == signing.root()


@pytest.mark.parametrize("scenario", Scenario)
def test_the_license_goes_along(server: Server, scenario: Scenario) -> None:
    server.write(server.config / "license.jws", signing.bundle())
    server.write(server.config / "import.d" / "list.jwt", b"a list")
    copy = copied(server, scenario)
    assert copy.license.read_bytes() == signing.bundle()
    assert (copy.import_dir / "list.jwt").read_bytes() == b"a list"


@pytest.mark.parametrize("scenario", LOUD)
def test_every_other_scenario_takes_one_thing_back_from_everything(server: Server, scenario: Scenario) -> None:
    """Whatever this server says against it, so that each "no" is seen to be enough by itself."""
    server.settings("advisories = false", 'region = "nowhere"', "[license]", "check = false")
    server.write(server.config / "do-not-track", b"")
    server.write(server.config / "offline", b"")
    consents = {Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS}
    fixed = {Purpose.LICENSE_STATUS, Purpose.SECURITY_ADVISORIES}
    everything = consents | fixed | {Purpose.LICENSE_RENEWAL}
    assert permitted(server.paths) == set()
    assert permitted(copied(server, scenario)) == {
        Scenario.OFFLINE: set(),
        Scenario.DENIED: fixed | {Purpose.LICENSE_RENEWAL},
        Scenario.DO_NOT_TRACK: fixed,
        Scenario.COMMANDS: everything,
        Scenario.ALLOWED: everything,
    }.get(scenario)


def test_everything_that_can_be_asked_is_listened_for(server: Server) -> None:
    server.settings('mirrors = ["https://own.example:8443/x", "http://127.0.0.1:8470", "http://localhost:81"]')
    copied(server)
    ground = ScenarioFiles(server.folder / "copy-as_it_stands")
    assert ground.ports == {443, 8443, 8470, 81}
    assert set(ground.addresses) == {"mirror.example", "licensing.example", "own.example"}
    addresses = [address for pair in ground.addresses.values() for address in pair]
    assert len(set(addresses)) == len(addresses)  # so that where a request went can be told
    expected = ground.expected(Scenario.DENIED, {}, server.paths)
    assert len(expected.fixed) == 3
    places = {(each.address, each.port) for each in expected.fixed[0]}
    assert {(ground.addresses["own.example"][0], 8443), ("127.0.0.1", 8470), ("127.0.0.1", 81)} <= places
    assert any(
        b"GET /x/v1/status.jwt HTTP/1.1\r\nHost: own.example:8443\r\n" in each.data for each in expected.fixed[0]
    )


# ---- the kernel's and strace's words


def test_the_hosts_file_names_each_host_in_both_families() -> None:
    text = namespace.hosts_file({"b.example": ("192.0.2.2", "2001:db8::2")}, has_v6=True).decode()
    assert text.splitlines() == ["127.0.0.1 localhost", "::1 localhost", "192.0.2.2 b.example", "2001:db8::2 b.example"]
    assert b"::" not in namespace.hosts_file({"b.example": ("192.0.2.2", "2001:db8::2")}, has_v6=False)


def test_addresses_are_of_documentation_and_go_round() -> None:
    found = namespace.documentation_addresses(f"h{number}.example" for number in range(600))
    assert len({v6 for _, v6 in found.values()}) == 600
    assert len({v4 for v4, _ in found.values()}) == 600
    assert {v4.rpartition(".")[0] for v4, _ in found.values()} == {"192.0.2", "198.51.100", "203.0.113"}


SNMP = """Ip: Forwarding OutRequests
Ip: 2 900
Tcp: MaxConn ActiveOpens OutSegs RetransSegs
Tcp: -1 7 100 3
Udp: InDatagrams OutDatagrams
Udp: 5 2
UdpLite: InDatagrams OutDatagrams
UdpLite: 0 1
"""
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1000      20    0    0    0     0          0         0     1000      20    0    0    0     0       0          0
  sit0:       0       0    0    0    0     0          0         0       50       1    0    0    0     0       0          0
"""


def test_the_counters_are_read_of_every_interface_and_both_families(tmp_path: Path) -> None:
    (tmp_path / "snmp").write_text(SNMP)
    (tmp_path / "dev").write_text(DEV)
    assert namespace.traffic(tmp_path) == Traffic(packets=21, opens=7, datagrams=3, segments=103)
    (tmp_path / "snmp6").write_text("Ip6OutRequests 8\nUdp6OutDatagrams 4\nUdpLite6OutDatagrams 1\n")
    assert namespace.traffic(tmp_path).datagrams == 8


def test_namespaces_of_others_are_left_alone(tmp_path: Path) -> None:
    """This test's own network is no chamber: nothing in it is touched."""
    with pytest.raises(namespace.NamespaceRefused) as caught:
        namespace.prepare(tmp_path, namespace.Layout(hosts={}))
    assert caught.value.step == "namespaces"
    assert list(tmp_path.iterdir()) == []


def test_stracs_lines_are_understood() -> None:
    text = """socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = 3
connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
socketpair(AF_UNIX, SOCK_STREAM, 0, [4, 5]) = 0
connect(3, {sa_family=AF_UNIX, sun_path=@"hidden"}, 9) = 0
sendto(3, "x (y) = -1", 10, 0, {sa_family=AF_UNIX, sun_path="/dev/log"}, 110) = 10
socket(AF_INET, SOCK_STREAM, IPPROTO_TCP <unfinished ...>
getsockname(3, {sa_family=AF_UNIX, sun_path="/run/x"}, [128 => 20]) = 0
+++ killed by SIGKILL +++
"""
    calls = list(strace.read("fetch", text))
    assert [call.family for call in calls if call.family] == ["AF_UNIX", "AF_UNIX", "AF_INET"]
    assert [(call.place, call.failed) for call in calls if call.place] == [
        ("/var/run/nscd/socket", True),
        ("hidden", False),
        ("/dev/log", False),
    ]


def test_a_process_is_told_by_the_list_of_starts_and_by_who_made_it(tmp_path: Path) -> None:
    sockets = "socket(AF_INET, SOCK_STREAM, 0) = 3\n"
    thread = "clone3({flags=CLONE_VM|CLONE_THREAD, stack_size=0x7fff00} => {parent_tid=[12]}, 88) = 12\n"
    for pid, text in {
        10: sockets,
        11: thread + sockets,
        12: "clone(child_stack=NULL, flags=SIGCHLD) = 13\n",
        13: sockets,
    }.items():
        (tmp_path / f"calls.{pid}").write_text(text)
    found = [call.process for call in strace.calls(tmp_path, {11: "fetch"}) if call.family]
    assert found == ["other", "fetch", "fetch"]


def test_a_program_that_was_started_is_read() -> None:
    text = """execve("/usr/bin/true", ["true"], 0x7ffd /* 8 vars */) = 0
execveat(AT_FDCWD, "/bin/x", ["x"], 0x1, 0) = -1 ENOENT (No such file or directory)
"""
    assert [call.program for call in strace.read("daemon", text)] == ["/usr/bin/true", "/bin/x"]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"GET / HTTP/1.1\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", False),
        (b"POST / HTTP/1.1\r\ncontent-length:2\r\n\r\nab", True),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", True),
    ],
)
def test_the_listener_knows_where_a_request_ends(data: bytes, whole: bool) -> None:
    assert listener.whole(data) is whole


# ---- the clear text before the encryption


def hello(host: str, *protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=host).do_handshake()
    return outgoing.read()


def test_the_shape_of_a_greeting_is_what_is_not_drawn_at_random() -> None:
    (first, drawn), (second, other) = (tls_greeting.split(hello("mirror.example")) for _ in range(2))
    assert first == second == tls_greeting.reference("mirror.example")
    assert b"mirror.example" in first
    assert len(drawn) >= 32 + 32 + 32
    assert tls_greeting.unchanged([drawn, other] * 3) < 8


def test_an_id_in_a_greeting_changes_its_shape() -> None:
    assert tls_greeting.split(hello("mirror.example", "id-7"))[0] != tls_greeting.reference("mirror.example")
    assert tls_greeting.split(hello("id-7.mirror.example"))[0] != tls_greeting.reference("mirror.example")


@pytest.mark.parametrize("record", [b"", b"\x16\x03\x01\x00\x02\x01\x00", b"\x16\x03\x01\x00\x01\x02", b"GET / HTTP"])
def test_what_is_no_greeting_has_no_shape(record: bytes) -> None:
    assert tls_greeting.split(record) == (b"", b"")


# ---- what is missing


def missing(server: Server, **means: Any) -> tuple[int, list[Any]]:
    proof = prove(FILES, server.paths, 1, ProofTools(**{"program": silence_server.program(), **means}))
    assert proof.result["verdict"] == "not_proven"
    not_run: Any = proof.result["not_run"]
    return proof.exit_status, not_run


def test_without_unshare_the_answer_is_not_proven(server: Server) -> None:
    assert missing(server, unshare="no-such-unshare") == (
        69,
        [{"code": "cage"}, {"code": "unshare_absent", "told": ""}],
    )


def test_where_the_kernel_refuses_namespaces_it_is_said(server: Server) -> None:
    refusing = server.folder / "unshare"
    server.write(refusing, b"#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n", mode=0o700)
    status, not_run = missing(server, unshare=str(refusing))
    assert (status, not_run[-1]["code"]) == (69, "unshare_refused")
    assert "Operation not permitted" in not_run[-1]["told"]


def test_where_namespaces_are_given_without_power_in_them_it_is_said(server: Server) -> None:
    """As a kernel does that restricts what an ordinary user may do there: our own network is still in view."""
    idle = server.folder / "unshare"
    server.write(idle, b'#!/bin/sh\nshift 2\nexec "$@"\n', mode=0o700)
    status, not_run = missing(server, unshare=str(idle), use_strace=False)
    assert (status, not_run[-1]["code"]) == (69, "chamber_refused")


def test_without_a_root_of_trust_there_is_nothing_to_prove(server: Server) -> None:
    server.root.unlink()
    status, not_run = missing(server, unshare=str(yes(server)))
    assert (status, not_run[-1]["code"]) == (69, "root_absent")


def test_a_chamber_without_a_result_proves_nothing(server: Server) -> None:
    status, not_run = missing(server, unshare=str(yes(server)), use_strace=False)
    assert (status, not_run[-1]["code"]) == (1, "run_failed")


def yes(server: Server) -> Path:
    """An unshare that says yes to `true` and then starts nothing."""
    file = server.folder / "unshare"
    server.write(file, b'#!/bin/sh\n[ "$3" = true ]\n', mode=0o700)
    return file
