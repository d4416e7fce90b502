"""Proves that secrets, requests made ready, receipts and folders that were set aside go when their time is over.

And not before: not for a clock that was ahead, not while the ledger cannot say how old they are, not while a report waits.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fixtures import signing
from fixtures.signing import DAY, NOW
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger.chain import Entry, EntryKind
from opanel_agent.core.reporting import retention
from opanel_agent.core.reporting.retention import ProofFolder
from opanel_agent.core.wire.message import seal
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.reporting import proofs
from opanel_agent.system.storage.files import LocalFiles

PROOF: Final = 210
RECEIPT: Final = 1095


def name(number: int) -> str:
    return f"usage-{number:016x}"


@pytest.fixture
def agent() -> Iterator[Simulated]:
    """One report left at NOW: its secret, its receipt, and a request for its erasure made ready."""
    simulated = Simulated()
    context = begin_pass(simulated.world)
    put_report(context, 1, NOW)
    simulated.files.put(PATHS.receipts / f"{name(1)}.jwt", b"a receipt")
    assert context.rights.make_ready([name(1)]) is not None
    context.save()
    yield simulated
    laid = simulated.files.entry(PATHS.ledger)
    assert laid is not None
    assert secret(1).hex().encode() not in laid.data, "an export carries the ledger, and must carry no secret"


def secret(number: int) -> bytes:
    return hashlib.sha256(name(number).encode()).digest()


def put_report(context: PassContext, number: int, at: int) -> None:
    context.ports.files.write(PATHS.erasure / name(number), secret(number))
    sealed = seal(
        request_id=name(number),
        purpose="usage_statistics",
        url=f"{signing.ENDPOINT}/v1/reports/usage_statistics",
        accept="application/jose",
        body=b"{}",
        content_type="application/json",
    )
    context.ledger.request(EntryKind.REQUEST_ATTEMPTED, at, sealed)


def after(agent: Simulated, days: float) -> None:
    """A pass so many days after NOW, which the machine ran through."""
    agent.clock.advance(int(NOW + days * DAY) - agent.clock.wall_s)
    agent.publish({})
    assert agent.run("refresh")["ok"]


def kept(agent: Simulated, folder: ProofFolder) -> tuple[str, ...]:
    return agent.files.names(PATHS.state_dir / folder)


def purges(agent: Simulated) -> list[Entry]:
    return [entry for entry in begin_pass(agent.world).ledger.entries() if entry.kind == "Purged"]


def test_a_secret_and_what_was_made_ready_of_it_go_thirty_days_after_the_authority_has_erased(agent: Simulated) -> None:
    after(agent, PROOF - 0.1)
    assert len(kept(agent, ProofFolder.ERASURE)) == len(kept(agent, ProofFolder.READY)) == 1
    after(agent, PROOF)
    assert kept(agent, ProofFolder.ERASURE) == kept(agent, ProofFolder.READY) == ()
    assert kept(agent, ProofFolder.RECEIPTS) == (f"{name(1)}.jwt",)
    found = {str(entry.data["room"]): entry.data for entry in purges(agent)}
    assert found["erasure"]["ids"] == [name(1)]
    assert found["ready"]["count"] == 1
    assert begin_pass(agent.world).rights.known() == (), "nobody was asked, and nobody can be any more"


def test_to_ask_about_a_report_of_long_ago_is_told_that_its_time_is_over(agent: Simulated) -> None:
    after(agent, PROOF)
    for report, detail in ((name(1), "report_past"), (name(2), "report_unknown")):
        frame = agent.run("rights", kind="erase", ids=[report], preview=True)
        assert frame["error"]["detail"] == detail


def test_a_held_request_that_the_list_has_no_room_for_is_purged(agent: Simulated) -> None:
    context = begin_pass(agent.world)
    wanted = [context.rights.prepare("access", ids=[name(1)], text=f"number {each}").id for each in range(70)]
    context.proofs.sweep()
    left = [each for each in agent.files.names(PATHS.held) if each.startswith("rights-")]
    assert sorted(left) == sorted({request.id for request in context.rights.known()} & {*wanted})
    assert 60 < len(left) <= 64


def test_a_receipt_goes_after_three_years(agent: Simulated) -> None:
    after(agent, RECEIPT - 0.1)
    assert kept(agent, ProofFolder.RECEIPTS) == (f"{name(1)}.jwt",)
    after(agent, RECEIPT)
    assert kept(agent, ProofFolder.RECEIPTS) == ()
    assert begin_pass(agent.world).ledger.requests[name(1)].may_have_left, "the ledger knows of it all the same"


def test_a_clock_that_was_ahead_for_a_day_takes_nothing_away(agent: Simulated) -> None:
    agent.run("tick")
    agent.clock.wall_s += 2000 * DAY
    for _ in range(24):
        agent.clock.advance(3600)
        agent.run("tick")
    assert kept(agent, ProofFolder.ERASURE) == (name(1),)
    assert kept(agent, ProofFolder.RECEIPTS) == (f"{name(1)}.jwt",)


def test_what_the_ledger_does_not_name_counts_from_when_the_ledger_was_opened(agent: Simulated) -> None:
    agent.files.put(PATHS.erasure / name(7), bytes(32))
    after(agent, PROOF - 0.1)
    assert name(7) in kept(agent, ProofFolder.ERASURE)
    after(agent, PROOF)
    assert kept(agent, ProofFolder.ERASURE) == ()


def test_a_secret_stays_while_its_report_waits(agent: Simulated) -> None:
    agent.files.put(PATHS.held / name(1), b"waits")
    context = begin_pass(agent.world)
    agent.clock.advance(PROOF * DAY)
    begin_pass(agent.world).proofs.sweep()
    assert kept(agent, ProofFolder.ERASURE) == (name(1),)
    assert context.ledger.good


def test_while_the_ledger_cannot_be_read_nothing_has_an_age(agent: Simulated) -> None:
    agent.clock.advance(5000 * DAY)
    agent.files.put(PATHS.ledger, kind="dir")
    begin_pass(agent.world).proofs.sweep()
    assert kept(agent, ProofFolder.ERASURE) == (name(1),)


def test_twenty_at_once_are_named_in_two_entries(agent: Simulated) -> None:
    context = begin_pass(agent.world)
    for number in range(2, 21):
        put_report(context, number, NOW)
    context.save()
    after(agent, PROOF)
    assert [entry.data["count"] for entry in purges(agent) if entry.data["room"] == "erasure"] == [16, 4]


@pytest.mark.parametrize(("folder", "days"), [("sent", 90), ("held", 14), ("erasure", 210), ("receipts", 1095)])
@pytest.mark.parametrize("end", [".broken", ".broken-3"])
def test_a_folder_that_was_set_aside_goes_with_what_was_in_it(
    agent: Simulated, folder: str, days: int, end: str
) -> None:
    inside = PATHS.state_dir / f"{folder}{end}" / "usage-0000000000000001.request"
    agent.files.put(inside, b"a payload")
    after(agent, 1)
    after(agent, days + 0.9)
    assert agent.files.exists(inside)
    after(agent, days + 1)
    assert not agent.files.exists(inside)
    assert f"{folder}{end}" in {entry.data.get("file") for entry in purges(agent)}
    assert begin_pass(agent.world).state.aside.get(f"{folder}{end}") is not None
    agent.run("tick")
    assert begin_pass(agent.world).state.aside == {}


def test_other_files_that_were_set_aside_stay(agent: Simulated) -> None:
    for other in ("state.json.broken", "ledger.1.broken", "sent.brokenish", "other.broken"):
        agent.files.put(PATHS.state_dir / other, b"evidence")
    after(agent, 1)
    after(agent, 4000)
    assert all(agent.files.exists(PATHS.state_dir / other) for other in ("state.json.broken", "other.broken"))


def test_one_that_cannot_be_removed_keeps_no_pass_from_its_end(agent: Simulated) -> None:
    inside = PATHS.state_dir / "sent.broken" / "a.request"
    agent.files.put(inside, b"a payload")
    after(agent, 1)

    def stuck(step: str, path: Path) -> None:
        if step == "unlink" and path == inside:
            raise Storage(Fault.IO_FAILED, "remove_failed", file=str(path), errno="EIO")

    agent.files.fault = stuck
    after(agent, 100)
    agent.files.fault = None
    after(agent, 101)
    assert not agent.files.exists(inside)


def test_the_state_keeps_since_when_it_is_aside(agent: Simulated) -> None:
    agent.files.put(PATHS.state_dir / "sent.broken" / "a.request", b"a payload")
    after(agent, 3)
    assert begin_pass(agent.world).state.aside == {"sent.broken": NOW + 3 * DAY}


def test_how_long_each_is_kept() -> None:
    stored = proofs.stored_days(Simulated().world.catalog)
    assert {folder: retention.proof_days(folder, stored) for folder in ProofFolder} == {
        ProofFolder.ERASURE: PROOF,
        ProofFolder.READY: PROOF,
        ProofFolder.RECEIPTS: RECEIPT,
    }
    assert retention.aside_s("ledger", stored) is None


def test_a_folder_without_a_mode_is_removed_from_a_real_disk(tmp_path: Path) -> None:
    folder = tmp_path / "sent.broken"
    folder.mkdir()
    (folder / "a.request").write_bytes(b"a payload")
    (folder / "link").symlink_to(tmp_path)
    folder.chmod(0)
    LocalFiles().remove_tree(folder)
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    LocalFiles().remove_tree(tmp_path / "file")
    LocalFiles().remove_tree(tmp_path / "link")
    LocalFiles().remove_tree(tmp_path / "nothing")
    assert [*tmp_path.iterdir()] == []
