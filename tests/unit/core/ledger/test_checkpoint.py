"""Proves that a checkpoint gives what verifying the whole ledger gives, and nothing for other bytes."""

import hashlib
import random

import pytest

from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.ledger import chain, checkpoint
from opanel_agent.core.ledger.chain import ChainHead, ChainState, EntryKind, FlawKind, entry_after
from opanel_agent.core.ledger.checkpoint import Checkpoint
from opanel_agent.core.ledger.requests import RequestLog
from opanel_agent.core.units import DAY_S

NOW = 1_795_510_800
KINDS = (
    EntryKind.REQUEST_SEALED,
    EntryKind.REQUEST_ATTEMPTED,
    EntryKind.REQUEST_WITHHELD,
    EntryKind.REQUEST_ANSWERED,
    EntryKind.REQUEST_FAILED,
    EntryKind.PURGED,
    EntryKind.CONSENT_GIVEN,
    EntryKind.DAILY_MARK,
)


def ledger(seed: int, count: int) -> tuple[list[bytes], ChainHead]:
    """A drawn ledger: requests that come back, consents, marks, one opening in the place of a broken one."""
    draw = random.Random(seed)  # noqa: S311 - drawn the same twice on purpose
    state, lines = ChainState(), []
    for number in range(count):
        kind = EntryKind.LEDGER_OPENED if number == 0 else draw.choice(KINDS)
        data: dict[str, str | int] = {"broken": "digest"} if number == 0 and seed % 2 else {}
        if kind.startswith(("Request", "Purged")):
            data = {"id": f"usage-{draw.randrange(6):016x}", "sha256": f"{draw.randrange(3)}" * 64}
            data |= {"room": draw.choice(["held", "sent"]), "body_sha256": "b" * 64}
            data |= {"status": 202, "reply_sha256": "c" * 64, "reason": "server_error"} if draw.random() < 0.5 else {}
        entry = entry_after(state, kind, NOW + number, draw.choice([None, "usage_statistics"]), data)
        state = chain.after(state, entry)
        lines.append(chain.encode(entry))
    return lines, state.head


def taken(lines: list[bytes], verified_at: int = NOW) -> Checkpoint:
    log, data = RequestLog(), b"".join(line + b"\n" for line in lines)
    state = chain.verify(lines, note=log.note)
    assert state.ok
    return Checkpoint(
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        verified_at=verified_at,
        ledger=state,
        requests=tuple(log.records.values()),
        aside={"ledger.1.broken": "12.34"},
        version="0.1.0",
    )


@pytest.mark.parametrize("seed", range(8))
def test_from_any_line_on_it_comes_to_what_the_whole_comes_to(seed: int) -> None:
    lines, head = ledger(seed, 40)
    every = RequestLog()
    expected = chain.verify(lines, head, note=every.note)
    for cut in range(1, len(lines)):
        kept = Checkpoint.decode(taken(lines[:cut]).encode())
        log = RequestLog(kept.requests)
        assert chain.verify(lines[cut:], head, note=log.note, start=kept.ledger) == expected
        assert log.records == every.records


def test_it_is_read_as_it_was_written() -> None:
    kept = taken(ledger(1, 30)[0])
    assert Checkpoint.decode(kept.encode()) == kept


def test_it_holds_for_the_bytes_that_were_verified_and_for_no_others() -> None:
    lines, _ = ledger(2, 20)
    data = b"".join(line + b"\n" for line in lines)
    kept = taken(lines[:10])
    assert kept.holds(data)
    for at in range(0, kept.size, 7):
        assert not kept.holds(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert not kept.holds(data[: kept.size - 1])
    assert kept.holds(data[: kept.size] + b"anything, which is verified line by line")


def test_a_flaw_after_it_is_named_by_its_line_in_the_whole_ledger() -> None:
    lines, head = ledger(3, 30)
    kept = taken(lines[:20])
    lines[24] = lines[24].replace(b'"kind":"', b'"kind":"X')
    found = chain.verify(lines[20:], head, start=kept.ledger)
    assert found.flaw is not None
    assert (found.flaw.line, found.flaw.what) == (25, FlawKind.DIGEST)
    assert chain.verify(lines[21:], head, start=kept.ledger).flaw == chain.Flaw(line=21, what=FlawKind.ORDER)


@pytest.mark.parametrize(("later_s", "recent"), [(-1, False), (0, True), (DAY_S - 1, True), (DAY_S, False)])
def test_it_counts_for_a_day_and_never_from_the_future(later_s: int, recent: bool) -> None:
    assert taken(ledger(1, 3)[0]).recent(NOW + later_s) is recent


def resealed(body: bytes) -> bytes:
    return body + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n"


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        b"{}\n",
        resealed(b"{}"),
        resealed(dumps({"schema": 2})),
        taken(ledger(1, 9)[0]).encode().replace(b'"size":', b'"size":1'),
        taken(ledger(1, 9)[0]).encode() + b"\n",
    ],
)
def test_what_this_agent_did_not_write_is_no_checkpoint(changed: bytes) -> None:
    with pytest.raises(Untrusted):
        Checkpoint.decode(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"requests":[[', b'"requests":[1,['),
        (b'"requests":[["usage-', b'"requests":[["more","usage-'),
        (b'"answered"', b'"unheard"'),
        (b'"aside":{"ledger.1.broken":"12.34"}', b'"aside":{"ledger.1.broken":12}'),
        (b'"marked_at":', b'"marked_at":"x'),
    ],
)
def test_other_shapes_are_refused_even_with_a_digest_that_is_right(before: bytes, after: bytes) -> None:
    body = next(
        found for seed in range(1, 99) if before in (found := taken(ledger(seed, 60)[0]).encode().partition(b"\n")[0])
    )
    changed = body.replace(before, after, 1)
    with pytest.raises(Untrusted):
        Checkpoint.decode(resealed(changed))


def test_a_checkpoint_is_far_smaller_than_what_may_be_read_of_one() -> None:
    assert len(taken(ledger(1, 400)[0]).encode()) < checkpoint.MAX_BYTES / 100
