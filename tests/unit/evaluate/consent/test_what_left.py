"""What may have left is named as such: by its copy, and by the ledger where the copy is gone."""

from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Storage, Unavailable
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate.reporting import crash
from opanel_agent.system.storage.resources import installed_notice

REPORTS = signing.ENDPOINT + "/v1/reports/usage_statistics"
YES = f"""schema = 1
notice = "{installed_notice()}"
[purposes.usage_statistics]
allow = true
hold = "0h"
""".encode()
NO = YES.replace(b"true", b"false")
BOTH = (
    YES
    + b"""[purposes.crash_reports]
allow = true
"""
)


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.network.on("POST", REPORTS, _receipt)
    simulated.files.put(PATHS.consent, YES)
    return simulated


def test_a_report_that_nobody_answered_is_not_both_unsent_and_sent(agent: Simulated) -> None:
    agent.network.on("POST", REPORTS, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))
    agent.change_consent()
    (waiting,) = agent.run("held")["result"]["held"]
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert [row["id"] for row in noted["gone"]] == [waiting["id"]]
    assert noted["purged"] == []
    assert agent.files.names(PATHS.held) == ()


def test_a_report_whose_copy_was_purged_is_still_named_and_can_be_erased(agent: Simulated) -> None:
    """The authority stores a report for longer than this server keeps its copy."""
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    for name in agent.files.names(PATHS.sent):
        agent.files.take_away(PATHS.sent / name)
    assert agent.run("start")["answer"]["last_left"]["id"] == left.id
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert [row["id"] for row in noted["gone"]] == [left.id]
    assert noted["gone"][0]["at"] >= signing.NOW
    assert noted["ready"] is not None


def test_what_was_sent_is_listed_newest_first(agent: Simulated) -> None:
    agent.change_consent()
    for _ in range(4):
        agent.clock.advance(20)
        shown = agent.run("preview", purpose="usage_statistics")["result"]
        agent.run("held", action="send", id=shown["id"])
    moments = [row["at"] for row in agent.run("sent")["result"]["sent"]]
    assert moments == sorted(moments, reverse=True)
    assert len({*moments}) == 5


def _full(agent: Simulated, *below: Path) -> None:
    """The disk takes nothing more below these."""

    def fault(step: str, path: Path) -> None:
        if step in {"create", "write"} and any(path == each or path.is_relative_to(each) for each in below):
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    agent.files.fault = fault


@pytest.mark.parametrize(
    "below", [(PATHS.ready,), (PATHS.ledger,), (PATHS.state_dir,)], ids=["ready", "ledger", "the whole disk"]
)
def test_a_withdrawn_report_is_purged_though_the_disk_takes_nothing(agent: Simulated, below: tuple[Path, ...]) -> None:
    """Of both purposes, though an opt-out that was to be recorded first could not be: no step keeps another back."""
    agent.files.put(PATHS.consent, BOTH)
    agent.run("narrowed")
    agent.network.on("POST", REPORTS, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))
    crash.note(agent.files, PATHS, ArithmeticError())
    agent.change_consent()
    assert {name.partition("-")[0] for name in agent.files.names(PATHS.held)} == {"usage", "crash"}
    (attempted,) = (name for name in agent.files.names(PATHS.held) if name.startswith("usage-"))
    agent.opt_outs.set_signals(do_not_track=True)
    agent.files.put(PATHS.consent, BOTH.replace(b"true", b"false"))
    _full(agent, *below)
    noted = agent.run("narrowed")["result"]["consent"]
    assert agent.files.names(PATHS.held) == ()
    assert [row["id"] for row in noted["gone"]] == [attempted]
    assert len(noted["purged"]) == 1
    agent.files.fault = None
    assert agent.run("narrowed")["result"]["consent"]["ready"] is not None
    assert len(agent.files.names(PATHS.ready)) == 1


def test_to_purge_many_requests_lists_the_folder_once(agent: Simulated) -> None:
    agent.change_consent()
    (left,) = (sealed for sealed in agent.network.sent if sealed.method == "POST")
    for number in range(40):
        name = f"usage-{number:016x}"
        for end in ("request", "attempted", "reply"):
            data = agent.files.read(PATHS.sent / f"{left.id}.{end}", max_bytes=10**6) or b""
            agent.files.put(PATHS.sent / f"{name}.{end}", data.replace(left.id.encode(), name.encode()))
    agent.run("narrowed")
    listings = []
    for purge in (False, True):
        agent.files.steps.clear()
        if purge:
            assert len(agent.run("purge")["result"]["purged"]) == 41
        else:
            agent.run("narrowed")
        listings.append(agent.files.steps.count(("names", PATHS.sent)))
    assert listings[1] <= listings[0] + 5


# ---- how far a request came, in one word


def _usage(agent: Simulated) -> str:
    """The one usage report that was sealed."""
    (name,) = (name for name in agent.files.names(PATHS.erasure) if name.startswith("usage-"))
    return name


def _row(agent: Simulated) -> dict[str, Any]:
    (row,) = agent.run("sent")["result"]["sent"]
    assert isinstance(row, dict)
    return row


def _kinds(agent: Simulated, name: str) -> list[str]:
    entries = agent.run("history")["result"]["entries"]
    return [entry["kind"] for entry in entries if entry["data"].get("id") == name]


@pytest.mark.parametrize(
    ("reply", "stage", "kind"),
    [
        (_receipt, "answered", "RequestAnswered"),
        (Unavailable(Reason.SERVER_ERROR, "status_unexpected", status=503), "sent", "RequestSent"),
        (Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"), "attempted", "RequestFailed"),
    ],
    ids=["answered", "sent", "attempted"],
)
def test_one_word_says_how_far_a_request_came(agent: Simulated, reply: Any, stage: str, kind: str) -> None:
    """In the answer, in the list, among what waits, at the withdrawal and in the ledger."""
    agent.network.on("POST", REPORTS, reply)
    agent.change_consent()
    name = _usage(agent)
    answered = agent.run("start")["answer"]
    shown = answered["may_have_left" if stage == "attempted" else "last_left"]
    assert (shown["id"], shown["stage"], shown["kind"]) == (name, stage, "usage")
    assert answered["last_left" if stage == "attempted" else "may_have_left"] is None
    assert [word for word, at in answered["requests"].items() if at is not None] == [stage]
    assert _row(agent)["stage"] == stage
    assert [row["stage"] for row in agent.run("held")["result"]["held"]] == ([] if stage == "answered" else [stage])
    assert kind in _kinds(agent, name)
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert [(row["id"], row["stage"]) for row in noted["gone"]] == [(name, stage)]
    assert noted["purged"] == []


def test_a_sealed_report_left_nowhere(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"0h", b"72h"))
    frame = agent.run("narrowed")
    assert (frame["answer"]["last_left"], frame["answer"]["may_have_left"]) == (None, None)
    assert [word for word, at in frame["answer"]["requests"].items() if at is not None] == ["sealed"]
    assert agent.run("sent")["result"]["of"] == 0
    (row,) = agent.run("held")["result"]["held"]
    assert (row["stage"], row["attempted_at"], row["edited"]) == ("sealed", None, False)


def test_what_the_gate_withheld_at_the_last_moment_did_not_leave(agent: Simulated) -> None:
    """The courier's own reading denies: the ledger says so, and no erasure is asked for what nobody has."""

    def withheld(sealed: Sealed, *, signalled: bool) -> Reply:
        return Reply(ok=False, code=str(Reason.OPT_OUT), detail="gate_denied", url=REPORTS)

    agent.world.network.courier = withheld  # type: ignore[method-assign]
    agent.files.put(PATHS.consent, YES)
    agent.run("narrowed")
    name = _usage(agent)
    assert not agent.run("held", action="send", id=name)["ok"]
    assert _kinds(agent, name)[-2:] == ["RequestAttempted", "RequestWithheld"]
    assert agent.run("sent")["result"]["sent"] == []
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")
    assert noted["answer"]["may_have_left"] is None
    assert (noted["result"]["consent"]["purged"], noted["result"]["consent"]["gone"]) == ([name], [])
    assert agent.files.names(PATHS.ready) == ()


# ---- the ledger is the source


def test_after_the_copies_time_it_is_known_what_left_and_its_erasure_is_made_ready(agent: Simulated) -> None:
    """90 days here, 180 there: `status` and `data sent` still name it, and a withdrawal asks for its erasure."""
    agent.change_consent()
    name = _usage(agent)
    agent.files.put(PATHS.consent, YES.replace(b"allow = true", b"allow = true\nreview = true"))
    agent.clock.advance(100 * signing.DAY)
    agent.run("tick")
    assert not [each for each in agent.files.names(PATHS.sent) if each.startswith(name)]
    assert agent.run("start")["answer"]["last_left"]["id"] == name
    row = _row(agent)
    assert (row["id"], row["stage"], row["copy"]) == (name, "answered", "purged")
    shown = agent.run("sent", id=name)["result"]
    assert (shown["head"], shown["body"], shown["reply_copy"]) == (None, None, "purged")
    assert shown["sha256"] in (agent.files.read(PATHS.ledger, max_bytes=10**6) or b"").decode()
    assert shown["receipt"] is not None
    agent.files.put(PATHS.consent, NO)
    noted = agent.run("narrowed")["result"]["consent"]
    assert ([each["id"] for each in noted["gone"]], noted["ready"] is not None) == ([name], True)


def test_what_the_authority_has_erased_by_its_own_time_is_not_asked_for(agent: Simulated) -> None:
    agent.change_consent()
    agent.files.put(PATHS.consent, YES.replace(b"allow = true", b"allow = true\nreview = true"))
    agent.clock.advance(181 * signing.DAY)
    agent.run("tick")
    agent.files.put(PATHS.consent, NO)
    assert agent.run("narrowed")["result"]["consent"]["ready"] is None


def test_a_ledger_that_was_set_aside_still_says_what_left(agent: Simulated) -> None:
    agent.change_consent()
    name = _usage(agent)
    for each in agent.files.names(PATHS.sent):
        agent.files.take_away(PATHS.sent / each)
    ledger = agent.files.read(PATHS.ledger, max_bytes=10**6) or b""
    agent.files.put(PATHS.ledger, ledger.replace(b'"DailyMark"', b'"DailyMurk"', 1))
    for _ in range(2):
        assert agent.run("start")["answer"]["last_left"]["id"] == name


# ---- a copy is compared before it is shown


def test_an_edited_copy_is_said_to_be_edited(agent: Simulated) -> None:
    agent.change_consent()
    name = _usage(agent)
    assert (_row(agent)["copy"], agent.run("sent", id=name)["result"]["reply_copy"]) == ("kept", "kept")
    path = PATHS.sent / f"{name}.request"
    data = agent.files.read(path, max_bytes=10**6) or b""
    agent.files.put(path, data.replace(b"debian", b"fedora"))
    assert _row(agent)["copy"] == "edited"
    assert agent.run("sent", id=name)["result"]["copy"] == "edited"
    agent.files.put(path, b"?")  # no request at all any more
    shown = agent.run("sent", id=name)["result"]
    assert (shown["copy"], shown["body"]) == ("edited", None)
    agent.files.take_away(path)
    assert agent.run("sent", id=name)["result"]["copy"] == "missing"


def test_an_edited_reply_is_said_to_be_edited(agent: Simulated) -> None:
    agent.change_consent()
    name = _usage(agent)
    path = PATHS.sent / f"{name}.reply"
    agent.files.put(path, Reply(ok=True, status=202, url=REPORTS, body=b"another").encode())
    assert agent.run("sent", id=name)["result"]["reply_copy"] == "edited"
    agent.files.take_away(path)
    assert agent.run("sent", id=name)["result"]["reply_copy"] == "missing"


def test_an_edited_report_that_waits_is_said_to_be_edited(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES.replace(b"0h", b"72h"))
    agent.run("narrowed")
    path = PATHS.held / _usage(agent)
    data = agent.files.read(path, max_bytes=10**6) or b""
    agent.files.put(path, data.replace(b"debian", b"fedora"))
    assert [row["edited"] for row in agent.run("held")["result"]["held"]] == [True]
    assert agent.run("held", action="show", id=path.name)["result"]["edited"]
    assert agent.run("preview", purpose="usage_statistics")["result"]["edited"]


@pytest.mark.parametrize(
    ("reply", "stage"),
    [
        (Reply(ok=True, status=202), "answered"),
        (Reply(ok=False, code="server_error", detail="status_unexpected", status=500), "sent"),
        (Reply(ok=False, code="internal", detail="interrupted"), "attempted"),
        (Reply(ok=False, code="opt_out", detail="gate_denied"), None),
    ],
)
def test_a_copy_that_no_ledger_names_speaks_for_itself_and_is_said_to(
    agent: Simulated, reply: Reply, stage: str | None
) -> None:
    agent.change_consent()
    name, other = _usage(agent), "usage-00000000000000ff"
    for end in ("request", "attempted"):
        data = agent.files.read(PATHS.sent / f"{name}.{end}", max_bytes=10**6) or b""
        agent.files.put(PATHS.sent / f"{other}.{end}", data.replace(name.encode(), other.encode()))
    agent.files.put(PATHS.sent / f"{other}.reply", reply.encode())
    rows = {row["id"]: row for row in agent.run("sent")["result"]["sent"]}
    assert (rows[other]["stage"] if other in rows else None) == stage
    assert rows.get(other, {"copy": "unrecorded"})["copy"] == "unrecorded"
    assert agent.run("sent", id=other)["ok"] is (stage is not None)


def test_the_answer_to_a_right_is_found_as_its_receipt(agent: Simulated) -> None:
    """An answer at once has no receipt before it."""

    def answer(sealed: Sealed) -> Reply:
        return ok(signing.receipt(sealed.body, kind="erase", due=signing.NOW, iat=signing.NOW), "application/jose")

    agent.change_consent()
    agent.network.on("POST", signing.ENDPOINT + "/v1/rights", answer)
    shown = agent.run("rights", kind="erase", preview=True)["result"]
    assert agent.run("rights", kind="erase", confirm=shown["id"])["ok"]
    assert agent.files.exists(PATHS.receipts / f"{shown['id']}.answer.jwt")
    row = next(row for row in agent.run("sent")["result"]["sent"] if row["id"] == shown["id"])
    assert (row["receipt"], row["kind"]) == (True, "rights")
    assert agent.run("sent", id=shown["id"])["result"]["receipt"] is not None
