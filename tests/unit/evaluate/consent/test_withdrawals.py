"""A withdrawal holds by itself: by command, by file or by the panel, reversed or not, until a later grant ends it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.commanded_agent import command
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.consent_receipt import STATES
from opanel_agent.core.consent.withdrawals import AgentRecord, OwnerRecord, decode, encode
from opanel_agent.core.errors import Storage
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.network import fetch
from opanel_agent.system.storage.resources import installed_notice

USAGE, CRASH = "usage_statistics", "crash_reports"


def text(*, usage: bool = True, crash: bool = False, granted: str = "", hold: str = "72h", comment: str = "") -> bytes:
    grant = "" if not granted else f'[granted]\nby = "Ada"\nrole = "admin"\non = "{granted}"\n'
    return (
        f'{comment}schema = 1\nnotice = "{installed_notice()}"\n{grant}'
        f'[purposes.{USAGE}]\nallow = {str(usage).lower()}\nhold = "{hold}"\n'
        f"[purposes.{CRASH}]\nallow = {str(crash).lower()}\nreview = false\n"
    ).encode()


def lay(agent: Simulated, data: bytes) -> None:
    agent.files.put(PATHS.consent, data)


@pytest.fixture
def agent() -> Simulated:
    """Usage reports are allowed, and one waits."""
    simulated = Simulated()
    simulated.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{USAGE}", _receipt)
    lay(simulated, text())
    simulated.run("narrowed")
    assert held(simulated)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def held(agent: Simulated) -> list[str]:
    return [each["id"] for each in agent.run("held")["result"]["held"]]


def answers(agent: Simulated, purpose: str = USAGE) -> list[str]:
    return [each["kind"] for each in entries(agent) if each["purpose"] == purpose and each["kind"] in STATES]


def entries(agent: Simulated) -> list[Any]:
    listed: list[Any] = agent.run("history")["result"]["entries"]
    return listed


def reasons(agent: Simulated, purpose: str = USAGE) -> list[str]:
    listed = agent.run("narrowed")["answer"]["consent"]["purposes"][purpose]["reasons"]
    return [each["reason"] for each in listed]


def posts(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.method == "POST"]


def pass_days(agent: Simulated, days: int = 9) -> None:
    for _ in range(days * 4):
        agent.clock.advance(6 * 3600)
        agent.run("tick")


# ---- how a consent can be withdrawn; each but the panel's says no in consent.toml, where that can be written

Way = Callable[[Simulated, Path], None]


def by_command(agent: Simulated, folder: Path) -> None:
    assert command(agent, folder, "consent", "deny", USAGE).status == 0


def by_command_for_all(agent: Simulated, folder: Path) -> None:
    assert command(agent, folder, "consent", "withdraw", "--all").status == 0


def by_file(agent: Simulated, _: Path) -> None:
    lay(agent, text(usage=False))
    agent.run("narrowed")


def by_removal(agent: Simulated, _: Path) -> None:
    agent.files.take_away(PATHS.consent)
    agent.run("narrowed")


def by_panel(agent: Simulated, _: Path) -> None:
    frame = agent.run("withdraw", purpose=USAGE)
    assert frame["ok"]
    assert frame["result"]["withdrawn"] == USAGE


WAYS: dict[str, Way] = {
    "command": by_command,
    "command for all": by_command_for_all,
    "file": by_file,
    "removal": by_removal,
    "panel": by_panel,
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@every_way
def test_it_enters_the_ledger_once_and_purges_what_waits(agent: Simulated, tmp_path: Path, way: Way) -> None:
    way(agent, tmp_path)
    for _ in range(3):
        agent.run("narrowed")
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn"]
    assert held(agent) == []
    pass_days(agent)
    assert posts(agent) == []


def test_a_no_by_hand_that_no_pass_saw_purges_what_waits_and_leaves_its_trace(agent: Simulated) -> None:
    """With the agent stopped, or quicker than it looks. What the file said is not known; that it was written is."""
    waited = held(agent)
    lay(agent, text(usage=False))
    lay(agent, text())
    agent.run("narrowed")
    assert held(agent) == []
    assert waited
    assert answers(agent) == ["ConsentGiven", "ConsentInvalidated", "ConsentGiven"]
    trace = next(each for each in entries(agent) if each["kind"] == "ConsentInvalidated")
    assert trace["data"]["reason"] == "consent_rewritten"
    assert reasons(agent) == []
    pass_days(agent, days=14)
    assert waited[0] not in {sealed.id for sealed in posts(agent)}
    assert answers(agent) == ["ConsentGiven", "ConsentInvalidated", "ConsentGiven"]
    assert posts(agent), "the yes of now counts"


def test_a_file_that_is_written_every_hour_does_not_fill_the_ledger(agent: Simulated) -> None:
    for _ in range(50):
        agent.clock.advance(3600)
        lay(agent, text())
        agent.run("narrowed")
    assert answers(agent) == ["ConsentGiven"] + 3 * ["ConsentInvalidated", "ConsentGiven"]
    assert held(agent) == []


def test_a_file_that_nobody_wrote_leaves_what_waits(agent: Simulated) -> None:
    waited = held(agent)
    for _ in range(3):
        agent.run("narrowed")
    assert held(agent) == waited
    assert answers(agent) == ["ConsentGiven"]


def test_an_answer_to_another_question_leaves_what_waits(agent: Simulated, tmp_path: Path) -> None:
    """A command writes the file, too, and says itself what it withdraws."""
    waited = held(agent)
    for argv in (("allow", CRASH), ("deny", CRASH)):
        assert command(agent, tmp_path, "consent", *argv).status == 0
        agent.run("narrowed")
    assert held(agent) == waited
    assert answers(agent) == ["ConsentGiven"]


@every_way
def test_an_older_copy_of_the_file_grants_nothing(agent: Simulated, tmp_path: Path, way: Way) -> None:
    """From a backup, from configuration management that lays the same allow again, with another comment or hold."""
    way(agent, tmp_path)
    agent.run("narrowed")
    for again in (text(), text(comment="# managed, 2027-01-01\n"), text(hold="0h"), text(crash=True)):
        lay(agent, again)
        assert reasons(agent) == ["withdrawn"]
        pass_days(agent, days=1)
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn"]
    assert posts(agent) == []


@every_way
@pytest.mark.parametrize("restored", [True, False])
def test_only_a_later_grant_ends_it(agent: Simulated, tmp_path: Path, way: Way, restored: bool) -> None:
    way(agent, tmp_path)
    agent.run("narrowed")
    if restored:
        lay(agent, text())
    assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
    assert reasons(agent) == []
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn", "ConsentGiven"]
    pass_days(agent, days=12)
    assert len(posts(agent)) == 1, "a report of after the grant"


@every_way
def test_an_edit_that_names_a_new_grant_ends_it_and_an_older_one_does_not(
    agent: Simulated, tmp_path: Path, way: Way
) -> None:
    lay(agent, text(granted="2026-11-01"))
    agent.run("narrowed")
    way(agent, tmp_path)
    agent.run("narrowed")
    for older in (text(), text(granted="2026-11-01")):
        lay(agent, older)
        assert reasons(agent) == ["withdrawn"]
    lay(agent, text(granted="2026-12-24"))
    assert reasons(agent) == []
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn", "ConsentGiven"]


@every_way
def test_one_that_was_reversed_before_the_next_pass_leaves_its_trace(
    agent: Simulated, tmp_path: Path, way: Way
) -> None:
    (waiting,) = held(agent)
    way(agent, tmp_path)
    assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
    agent.run("start")
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn", "ConsentGiven"]
    assert waiting not in held(agent)
    assert waiting in {each["data"].get("id") for each in entries(agent) if each["kind"] == "Purged"}
    pass_days(agent)
    assert waiting not in {sealed.id for sealed in posts(agent)}


@pytest.mark.parametrize("times", [1, 70])
def test_however_often_it_was_reversed(agent: Simulated, tmp_path: Path, times: int) -> None:
    for _ in range(times):
        by_command(agent, tmp_path)
        assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
        agent.clock.advance(1)
    by_command(agent, tmp_path)
    assert reasons(agent) == ["denied_by_file"]
    assert answers(agent)[:2] == ["ConsentGiven", "ConsentWithdrawn"]
    lay(agent, text())
    assert reasons(agent) == ["withdrawn"]


@pytest.mark.parametrize(
    "broken",
    [text().replace(b"allow = true", b'allow = "true"'), b"\xff", b"schema = 2\n"],
    ids=["value", "text", "schema"],
)
@pytest.mark.parametrize("way", [by_command, by_command_for_all, by_panel])
@pytest.mark.parametrize("seen", [True, False])
def test_it_outlives_a_refused_file_that_is_mended(
    agent: Simulated,
    tmp_path: Path,
    broken: bytes,
    way: Way,
    seen: bool,
) -> None:
    lay(agent, broken)
    if seen:
        agent.run("narrowed")
    way(agent, tmp_path)
    for mended in (text(), text(granted="2027-01-01")):  # nobody knows what the refused one granted
        lay(agent, mended)
        assert reasons(agent) == ["withdrawn"]
    assert "ConsentWithdrawn" in answers(agent)
    assert answers(agent).count("ConsentGiven") == 1
    assert held(agent) == []
    assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
    assert reasons(agent) == []


def test_of_a_refused_file_it_is_told_beside_the_refusal(agent: Simulated, tmp_path: Path) -> None:
    lay(agent, b"schema =")
    by_command(agent, tmp_path)
    assert reasons(agent) == ["consent_refused", "withdrawn"]


def test_it_outlives_a_file_that_is_a_link(agent: Simulated, tmp_path: Path) -> None:
    agent.files.take_away(PATHS.consent)
    agent.files.put(PATHS.consent, text(), kind="link")
    printed = command(agent, tmp_path, "consent", "deny", USAGE)
    assert printed.status == 0
    assert "whatever /etc/opanel-agent/consent.toml contains, until you allow it again" in printed.out
    assert "consent_refused" not in printed.out
    assert printed.err
    lay(agent, text())
    assert reasons(agent) == ["withdrawn"]


def test_it_is_durable_before_it_is_acknowledged(agent: Simulated) -> None:
    """Power is lost the moment the panel has its answer."""
    agent.run("withdraw", purpose=USAGE)
    agent.files.crash()
    assert reasons(agent) == ["withdrawn"]


def test_one_that_cannot_be_kept_is_not_acknowledged(agent: Simulated) -> None:
    def full(step: str, path: Path) -> None:
        if step == "create" and path.parent == PATHS.withdrawals_of_agent.parent:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    agent.files.fault = full
    frame = agent.run("withdraw", purpose=USAGE)
    assert (frame["ok"], frame["error"]["code"]) == (False, "disk_full")
    agent.files.fault = None
    assert reasons(agent) == []


def test_it_holds_although_the_ledger_cannot_be_written(agent: Simulated) -> None:
    def read_only(step: str, path: Path) -> None:
        if path.name.startswith((".ledger", "ledger")):
            raise Storage(Fault.IO_FAILED, "write_failed", file=str(path))

    agent.files.fault = read_only
    assert agent.run("withdraw", purpose=USAGE)["ok"]
    agent.files.fault = None
    assert reasons(agent) == ["withdrawn"]
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn"]


def test_the_courier_reads_it_itself(agent: Simulated) -> None:
    """Evaluate decided before the withdrawal; the process that sends decides after it."""
    lay(agent, text(hold="0h"))
    sealed = agent.run("preview", purpose=USAGE)["result"]
    by_panel(agent, Path())
    waiting = Sealed.decode(signed_bytes(agent, sealed["id"])) if held(agent) else None
    assert waiting is None
    other = Simulated(seed=5)
    lay(other, text(hold="0h"))
    other.run("narrowed")
    (name,) = (each for each in other.files.names(PATHS.held) if each.startswith("usage-"))
    reply = agent.outlet.courier(Sealed.decode(signed_bytes(other, name)), signalled=False)
    assert (reply.ok, reply.code) == (False, "withdrawn")
    assert posts(agent) == []


def signed_bytes(agent: Simulated, name: str) -> bytes:
    entry = agent.files.entry(PATHS.held / name)
    assert entry is not None
    return entry.data


# ---- the panel


def test_the_panel_is_named_with_the_time(agent: Simulated, tmp_path: Path) -> None:
    by_panel(agent, tmp_path)
    (reason,) = agent.run("narrowed")["answer"]["consent"]["purposes"][USAGE]["reasons"]
    assert (reason["reason"], reason["place"]) == ("withdrawn", "the panel")
    why = command(agent, tmp_path, "consent", "why", USAGE)
    assert why.status == 1
    assert f"withdrawn in the panel on {reason['what']}" in why.out
    assert "opanel-agent consent allow" in why.out
    withdrawal = next(each for each in entries(agent) if each["kind"] == "ConsentWithdrawn")
    assert withdrawal["data"]["method"] == "panel"
    assert withdrawal["data"]["withdrawn_at"] == agent.clock.wall_s
    assert withdrawal["data"]["file_sha256"]


@pytest.mark.parametrize(("way", "place"), [(by_command, "by a command on"), (by_file, "in consent.toml on")])
def test_why_names_what_withdrew_where_configuration_management_lays_the_same_allow_again(
    agent: Simulated, tmp_path: Path, way: Way, place: str
) -> None:
    way(agent, tmp_path)
    lay(agent, text())
    assert f"withdrawn {place}" in command(agent, tmp_path, "consent", "why", USAGE).out


def test_the_panel_withdraws_twice_and_it_is_recorded_once(agent: Simulated, tmp_path: Path) -> None:
    by_panel(agent, tmp_path)
    by_panel(agent, tmp_path)
    assert answers(agent) == ["ConsentGiven", "ConsentWithdrawn"]


def test_what_the_panel_withdraws_of_a_refused_file_is_whatever_it_grants(agent: Simulated, tmp_path: Path) -> None:
    """Although an older grant stands withdrawn already."""
    by_panel(agent, tmp_path)
    lay(agent, text(granted="2026-12-24"))
    assert reasons(agent) == []
    lay(agent, b"?")
    by_panel(agent, tmp_path)
    lay(agent, text(granted="2026-12-24"))
    assert reasons(agent) == ["withdrawn"]


def test_the_panel_withdraws_one_purpose_alone(agent: Simulated, tmp_path: Path) -> None:
    lay(agent, text(crash=True))
    by_panel(agent, tmp_path)
    assert reasons(agent, CRASH) == []


def test_what_the_panel_withdraws_again_after_a_grant_is_withdrawn_again(agent: Simulated, tmp_path: Path) -> None:
    for _ in range(2):
        by_panel(agent, tmp_path)
        assert reasons(agent) == ["withdrawn"]
        assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
        assert reasons(agent) == []
    assert answers(agent) == ["ConsentGiven", *["ConsentWithdrawn", "ConsentGiven"] * 2]


def test_do_not_track_of_the_panel_stands_until_the_owner_ends_it(agent: Simulated, tmp_path: Path) -> None:
    assert agent.run("withdraw", do_not_track=True)["result"]["withdrawn"] == "do_not_track"
    assert reasons(agent) == ["opt_out"]
    assert reasons(agent, "license_renewal") == ["opt_out"]
    assert reasons(agent, "license_status") == []
    seen = [each for each in entries(agent) if each["kind"] == "OptOutSeen"]
    assert [each["data"]["place"] for each in seen] == ["the panel"]
    shown = command(agent, tmp_path, "dnt", "explain").out
    assert "withdrawn in the panel on" in shown
    assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
    assert reasons(agent) == ["opt_out"], "a grant of a purpose is no word on tracking"
    assert command(agent, tmp_path, "dnt", "off").status == 0
    assert reasons(agent) == []
    assert [each["kind"] for each in entries(agent)].count("OptOutGone") == 1


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"do_not_track": False},
        {"purpose": "license_status"},
        {"purpose": "everything"},
        {"purpose": USAGE, "do_not_track": True},
        {"purpose": USAGE, "do_not_track": False},
        {"do_not_track": ["DO_NOT_TRACK=1"]},
    ],
)
def test_the_panel_names_one_purpose_or_do_not_track(agent: Simulated, asked: dict[str, Any]) -> None:
    frame = agent.run("withdraw", **asked)
    assert not frame["ok"]
    assert reasons(agent) == []


# ---- opt-outs by command


@pytest.mark.parametrize("switch", ["dnt", "offline"])
def test_an_opt_out_that_came_and_went_while_the_agent_was_stopped_leaves_its_trace(
    agent: Simulated, tmp_path: Path, switch: str
) -> None:
    (before,) = agent.run("held")["result"]["held"]
    agent.clock.advance(3600)
    assert command(agent, tmp_path, switch, "on").status == 0
    assert command(agent, tmp_path, switch, "off").status == 0
    for _ in range(2):
        agent.run("start")
    kinds = [each["kind"] for each in entries(agent)]
    assert (kinds.count("OptOutSeen"), kinds.count("OptOutGone"), kinds.count("HoldsRestarted")) == (1, 1, 1)
    (after,) = agent.run("held")["result"]["held"]
    assert after["held_since"] == before["held_since"] + 3600


# ---- the records themselves


def test_a_record_of_the_agents_that_cannot_be_read_withdraws_everything(agent: Simulated, tmp_path: Path) -> None:
    agent.files.put(PATHS.withdrawals_of_agent, b"{")
    assert agent.outlet.reading.consents.read().faults()
    assert reasons(agent) == ["opt_out", "withdrawn"]
    assert agent.files.exists(PATHS.withdrawals_of_agent.with_name("agent.json.broken"))
    assert command(agent, tmp_path, "dnt", "off").status == 0
    assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
    assert reasons(agent) == []


@pytest.mark.parametrize("lay_", [{"data": b"{"}, {"owner": 1}, {"mode": 0o666}], ids=["text", "owner", "mode"])
def test_a_record_of_the_owners_that_cannot_be_trusted_withdraws_everything(
    agent: Simulated, tmp_path: Path, lay_: dict[str, Any]
) -> None:
    agent.files.put(PATHS.withdrawals_of_owner, **{"data": encode(OwnerRecord()), **lay_})
    assert reasons(agent) == ["opt_out", "consent_refused"]
    assert agent.run("refresh")["ok"], "but for what tells nobody apart: without it a license would lapse"
    assert command(agent, tmp_path, "consent", "allow", CRASH).status == 0
    assert reasons(agent, CRASH) == ["opt_out"]
    assert command(agent, tmp_path, "dnt", "off").status == 0
    assert reasons(agent, CRASH) == []
    assert reasons(agent) == ["withdrawn"]


def test_offline_in_the_record_alone_lets_nothing_out_until_a_command_ends_it(agent: Simulated, tmp_path: Path) -> None:
    """As `offline on` leaves it where /etc is read-only; fetch and courier, which systemd starts then, refuse by it, too."""

    def read_only(step: str, path: Path) -> None:
        if step in ("create", "write", "remove") and path.is_relative_to(PATHS.config_dir):
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path), errno="EROFS")

    agent.files.fault = read_only
    assert command(agent, tmp_path, "offline", "on").status == 0
    agent.files.fault = None
    sent = len(agent.network.sent)
    assert fetch.answer(b"status\n", agent.outlet.reading).code == "offline"
    for intent in ("start", "tick", "refresh"):
        frame = agent.run(intent)
        assert frame["answer"]["consent"]["purposes"]["license_status"]["reasons"][0]["reason"] == "offline"
        assert [each["place"] for each in frame["answer"]["consent"]["offline"]] == ["the withdrawing command"]
    assert len(agent.network.sent) == sent
    assert entries(agent)[-1]["kind"] == "OptOutSeen"
    assert command(agent, tmp_path, "offline", "off").status == 0
    assert agent.run("refresh")["ok"]
    assert len(agent.network.sent) > sent
    assert "OptOutGone" in [each["kind"] for each in entries(agent)]


def test_the_records_stay_small(agent: Simulated, tmp_path: Path) -> None:
    for number in range(12):
        by_panel(agent, tmp_path)
        assert command(agent, tmp_path, "consent", "allow", USAGE).status == 0
        lay(agent, text(granted=f"2026-10-{number % 30 + 1:02}", comment=f"#{number}\n"))
        agent.run("narrowed")
    owner = decode(OwnerRecord, agent.files.read(PATHS.withdrawals_of_owner, max_bytes=10**6) or b"")
    mine = decode(AgentRecord, agent.files.read(PATHS.withdrawals_of_agent, max_bytes=10**6) or b"")
    assert len(owner.ended) <= 2
    assert len(mine.withdrawals) <= 2
    assert len(mine.recorded) <= 2
