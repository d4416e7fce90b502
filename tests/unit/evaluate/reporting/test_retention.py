"""Proves that payloads go when their time is over, whole, with a word in the ledger, and that nothing else goes.

And that no disk's failure keeps them: what cannot be written down is removed all the same, and the failure is told.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures.simulated.memory_files import MemoryFiles, Stopped
from fixtures.simulated.system_paths import PATHS
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.core.ledger import chain
from opanel_agent.core.ledger.chain import Entry
from opanel_agent.core.reporting import retention
from opanel_agent.core.reporting.retention import PayloadFolder, StoredItem
from opanel_agent.core.wire.message import Reply, Sealed, seal
from opanel_agent.evaluate.requests.outbox import Outbox, Purged
from opanel_agent.evaluate.storage.ledger_file import digest, open_ledger

DAY = 86_400
NOW = 1_795_510_800
ONE = "report-0000000000000001"
TWO = "report-0000000000000002"
REPLY = Reply(ok=True, status=202, body=b"a receipt").encode()


def sealed(name: str = ONE, *, since: int | None = NOW, purpose: str = "usage_statistics") -> Sealed:
    made = seal(
        request_id=name, purpose=purpose, url="https://a.example/v1/r", accept="application/jose", body=b"planted"
    )
    return replace(made, held_since=since)


class House:
    """A disk with what a test puts into held/ and sent/."""

    def __init__(self) -> None:
        self.files = MemoryFiles()
        self.rooms = self.open(NOW)

    def open(self, now_s: int) -> Outbox:
        return Outbox(files=self.files, paths=PATHS, ledger=open_ledger(self.files, PATHS, now_s))

    def hold(self, request: Sealed) -> None:
        self.files.put(PATHS.held / request.id, request.encode())

    def send(self, request: Sealed, *, at: int = NOW, reply: bool = True) -> None:
        self.files.put(PATHS.sent / f"{request.id}.request", request.encode())
        self.files.put(PATHS.sent / f"{request.id}.attempted", dumps({"schema": 1, "at": at}) + b"\n")
        if reply:
            self.files.put(PATHS.sent / f"{request.id}.reply", REPLY)

    def left(self) -> tuple[str, ...]:
        return self.files.names(PATHS.held) + self.files.names(PATHS.sent)

    def entries(self) -> list[Entry]:
        data = self.files.read(PATHS.ledger, max_bytes=10**6) or b""
        assert chain.verify(chain.lines(data)).ok
        return [entry for entry in chain.entries(chain.lines(data)) if entry.kind == "Purged"]


@pytest.fixture
def house() -> Iterator[House]:
    built = House()
    yield built
    # Whatever a test did: nothing that a payload says is in the ledger.
    assert b"planted" not in (built.files.read(PATHS.ledger, max_bytes=10**6) or b"")


@pytest.mark.parametrize(("room", "days"), [(PayloadFolder.HELD, 14), (PayloadFolder.SENT, 90)])
def test_what_is_due_is_due_to_the_second(room: PayloadFolder, days: int) -> None:
    kept = (StoredItem(id=ONE, folder=room, since_s=NOW), StoredItem(id=TWO, folder=room, since_s=None))
    assert retention.expired(kept, NOW + days * DAY - 1) == ()
    assert retention.expired(kept, NOW + days * DAY) == kept[:1]
    assert retention.expired(kept, NOW - days * DAY) == ()


def test_a_held_report_goes_after_fourteen_days(house: House) -> None:
    house.hold(sealed())
    assert house.rooms.sweep(NOW + 14 * DAY - 1) == ()
    assert house.left() == (ONE,)
    gone = house.rooms.sweep(NOW + 14 * DAY)
    assert gone == (Purged(id=ONE, room=PayloadFolder.HELD, purpose="usage_statistics"),)
    assert house.left() == ()
    (entry,) = house.entries()
    assert (entry.purpose, entry.at) == ("usage_statistics", NOW + 14 * DAY)
    assert entry.data == {"id": ONE, "room": "held", "reason": "retention", "sha256": digest(sealed().encode())}


def test_a_sent_copy_goes_after_ninety_days_and_its_digests_stay(house: House) -> None:
    house.send(sealed())
    house.send(sealed(TWO), at=NOW + 1)
    assert house.rooms.sweep(NOW + 90 * DAY - 1) == ()
    assert [gone.id for gone in house.rooms.sweep(NOW + 90 * DAY)] == [ONE]
    assert house.left() == tuple(f"{TWO}.{end}" for end in ("attempted", "reply", "request"))
    (entry,) = house.entries()
    assert (entry.data["sha256"], entry.data["reply_sha256"]) == (digest(sealed().encode()), digest(REPLY))


def test_a_request_that_does_not_say_since_when_waits_for_a_command(house: House) -> None:
    house.hold(sealed(since=None, purpose="license_activation"))
    assert house.rooms.sweep(NOW + 900 * DAY) == ()
    assert house.left() == (ONE,)


def test_a_copy_that_a_crash_left_before_the_attempt_goes_unless_its_request_still_waits(house: House) -> None:
    house.hold(sealed())
    house.files.put(PATHS.sent / f"{ONE}.request", sealed().encode())
    house.files.put(PATHS.sent / f"{TWO}.request", sealed(TWO).encode())
    assert [gone.id for gone in house.rooms.sweep(NOW)] == [TWO]
    assert house.left() == (ONE, f"{ONE}.request")


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"not a request", b"x" * (2 * 1024 * 1024)])
def test_what_nobody_could_read_or_send_any_more_goes_at_once(house: House, spoilt: bytes) -> None:
    house.files.put(PATHS.held / ONE, spoilt)
    house.send(sealed(TWO))
    house.files.put(PATHS.sent / f"{TWO}.attempted", spoilt)
    gone = house.rooms.sweep(NOW)
    assert gone[0] == Purged(id=ONE, room=PayloadFolder.HELD, purpose=None)
    assert gone[1] == Purged(id=TWO, room=PayloadFolder.SENT, purpose="usage_statistics")
    assert house.left() == ()
    assert ("sha256" in house.entries()[0].data) == (len(spoilt) < 10**6)


def test_names_and_purposes_that_are_none_do_not_reach_the_ledger(house: House) -> None:
    house.files.put(PATHS.held / "no name", b"spoilt")
    house.send(sealed(purpose="no purpose"), at=0)
    assert [gone.purpose for gone in house.rooms.sweep(NOW)] == [None, None]
    assert [(entry.purpose, "id" in entry.data) for entry in house.entries()] == [(None, False), (None, True)]


def test_a_foreign_file_beside_a_copy_goes_with_it(house: House) -> None:
    house.send(sealed())
    house.files.put(PATHS.sent / f"{ONE}.note", b"?")
    house.files.put(PATHS.sent / "nobody", b"?")
    assert sorted(gone.id for gone in house.rooms.sweep(NOW + 90 * DAY)) == ["nobody", ONE]
    assert house.left() == ()


def test_a_purge_by_command_takes_what_it_is_told_and_says_why(house: House) -> None:
    house.hold(sealed())
    house.hold(sealed(TWO, purpose="crash_reports"))
    mine = [kept for kept in house.rooms.held_items() if kept.id == TWO]
    house.rooms.purge(mine, NOW, reason="withdrawn")
    assert house.left() == (ONE,)
    assert (house.entries()[0].purpose, house.entries()[0].data["reason"]) == ("crash_reports", "withdrawn")


# ---- failures


def test_a_ledger_that_cannot_be_written_keeps_no_payload_and_the_failure_is_told(house: House) -> None:
    house.hold(sealed())
    house.hold(sealed(TWO))
    full = Storage(Fault.DISK_FULL, "disk_full")

    def fail(step: str, path: Path) -> None:
        if path == PATHS.ledger and step == "write":
            raise full

    house.files.fault = fail
    with pytest.raises(Storage) as caught:
        house.rooms.sweep(NOW + 14 * DAY)
    assert caught.value is full
    assert house.left() == ()
    house.files.fault = None
    assert house.entries() == []


def test_one_file_that_cannot_be_removed_holds_back_no_other(house: House) -> None:
    house.hold(sealed())
    house.hold(sealed(TWO))
    broken = Storage(Fault.IO_FAILED, "remove_failed")

    def fail(step: str, path: Path) -> None:
        if step == "unlink" and path.name == ONE:
            raise broken

    house.files.fault = fail
    with pytest.raises(Storage):
        house.rooms.sweep(NOW + 14 * DAY)
    assert house.left() == (ONE,)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(40))
def test_a_stop_at_any_step_is_finished_by_the_next_sweep(*, step: int, keep: bool, house: House) -> None:
    house.hold(sealed(TWO))
    house.send(sealed())
    house.files.stop_at(step)
    try:
        house.rooms.sweep(NOW + 90 * DAY)
    except Stopped:
        house.files.crash(keep=keep)
        house.open(NOW + 90 * DAY).sweep(NOW + 90 * DAY)
    house.files.crash(keep=True)
    assert house.left() == ()
    assert {entry.data["id"] for entry in house.entries()} == {ONE, TWO}
    assert {entry.data.get("sha256") for entry in house.entries()} >= {digest(sealed().encode())}
