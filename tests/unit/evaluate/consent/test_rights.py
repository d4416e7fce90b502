"""Proves what a rights request reveals, that none is lost when copies are purged, and who is said to owe an answer."""

import hashlib
from typing import Any

import pytest

from fixtures import log_scan, signing
from fixtures.refusal import refused
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, ROOT_FILE, Simulated
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.consent import rights as core
from opanel_agent.core.consent.gate import Denial, Permit, decide
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.consent.rights import ANSWER_WITHIN_S, MAX_REQUESTS, MAX_REVEALS, RightsRequest
from opanel_agent.core.documents.receipt import Receipt
from opanel_agent.core.documents.signed_request import Right
from opanel_agent.core.errors import NotPermitted, Storage, Usage
from opanel_agent.core.ledger.chain import EntryKind
from opanel_agent.core.wire.message import Sealed, head
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.storage.ledger_file import open_ledger
from opanel_agent.network import gate_inputs
from opanel_agent.system.storage.resources import load_catalog

CATALOG = load_catalog()
DAY = signing.DAY
STATE = PATHS.state_dir / "rights.json"
ENDPOINTS = {"data_rights": [{"url": signing.ENDPOINT, "region": "eu"}]}


def secret(name: str) -> bytes:
    return hashlib.sha256(b"secret " + name.encode()).digest()


def named(number: int, kind: str = "usage") -> str:
    return f"{kind}-{number:016x}"


A, B, C, WAITS = named(1), named(2), named(3, "crash"), named(9)


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.files.put(ROOT_FILE, signing.root(endpoints=ENDPOINTS))
    return simulated


@pytest.fixture
def context(agent: Simulated) -> PassContext:
    return begin_pass(agent.world)


def sealed_report(agent: Simulated, name: str) -> None:
    agent.files.put(PATHS.erasure / name, secret(name))
    agent.files.put(PATHS.held / name, b"waits")


def left(agent: Simulated, *names: str) -> None:
    """Reports whose attempts are kept."""
    for name in names:
        agent.files.put(PATHS.erasure / name, secret(name))
        agent.files.put(PATHS.sent / f"{name}.attempted", dumps({"schema": 1, "at": signing.NOW}))


def body_of(sealed: Sealed) -> Any:
    return loads(sealed.body, max_bytes=2**16)


def hexed(*names: str) -> list[str]:
    return sorted(secret(name).hex() for name in names)


# ---- the request


@pytest.mark.parametrize("kind", list(Right))
def test_each_right_reveals_the_secrets_of_the_reports_that_left(
    agent: Simulated, context: PassContext, kind: Right
) -> None:
    left(agent, B, A)
    sealed_report(agent, WAITS)
    sealed = context.rights.prepare(kind)
    assert body_of(sealed) == {"schema": 1, "kind": str(kind), "reveals": hexed(A, B)}
    assert (sealed.method, sealed.url) == ("POST", signing.ENDPOINT + "/v1/rights")
    assert CATALOG.check("data_rights", sealed.body) == ()
    assert context.outbox.require_held(sealed.id) == sealed
    assert sealed.held_since is None  # it waits for the administrator, without an end
    assert A.encode() not in head(sealed) + sealed.body
    asked = gate_inputs.view_request(sealed, CATALOG, context.now)
    assert decide(sealed.purpose, context.read_gate().inputs(sealed.purpose, request=asked, commanded=True)) == Permit(
        purpose=Purpose.DATA_RIGHTS
    )


def test_only_what_is_meant_is_revealed(agent: Simulated, context: PassContext) -> None:
    left(agent, A, B, C)
    assert body_of(context.rights.prepare("erase", [C, A, C]))["reveals"] == hexed(A, C)


def test_what_was_written_goes_along_and_nothing_else(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    assert body_of(context.rights.prepare("rectify", [], "Sürüm yanlış: 4.2 değil.")) == {
        "schema": 1,
        "kind": "rectify",
        "text": "Sürüm yanlış: 4.2 değil.",
    }


@pytest.mark.parametrize("name", [named(7), "../state.json", "", "rights.json"])
def test_a_report_that_is_not_known_is_refused(agent: Simulated, context: PassContext, name: str) -> None:
    left(agent, A)
    with pytest.raises(Usage) as caught:
        context.rights.prepare("erase", [A, name])
    assert (caught.value.detail, caught.value.values["id"]) == ("report_unknown", name)
    assert agent.files.names(PATHS.held) == ()


def asked_wrongly(detail: str, kind: str, count: int, text: str | None = None) -> None:
    secrets = [secret(str(number)) for number in range(count)]
    with pytest.raises(Usage) as caught:
        core.body(CATALOG, kind, secrets, text)
    assert caught.value.detail == detail


def test_what_cannot_be_asked_is_told_to_whoever_asks() -> None:
    asked_wrongly("rights_kind", "forget", 1)
    asked_wrongly("rights_kind", "", 1)
    asked_wrongly("rights_nothing", "erase", 0)
    asked_wrongly("rights_too_many", "erase", MAX_REVEALS + 1)
    asked_wrongly("rights_text", "access", 1, "two\nlines")
    asked_wrongly("rights_text", "access", 1, "")
    asked_wrongly("rights_text", "access", 1, "a" * 2001)
    assert core.body(CATALOG, "erase", [secret(str(n)) for n in range(MAX_REVEALS)])


def test_the_order_of_what_is_revealed_says_nothing() -> None:
    one, two = secret("1"), secret("2")
    assert core.body(CATALOG, "erase", [one, two]) == core.body(CATALOG, "erase", [two, one, two])


def test_a_secret_that_is_no_secret_is_never_revealed(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    agent.files.put(PATHS.erasure / A, secret(A)[:31])
    with pytest.raises(Storage) as caught:
        context.rights.prepare("erase")
    assert caught.value.detail == "erasure_broken"


def test_the_same_request_is_the_same_bytes_until_it_is_answered(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    first = context.rights.prepare("access")
    assert begin_pass(agent.world).rights.prepare("access") == first
    assert context.rights.prepare("object").id != first.id
    context.rights.received(answer(first.body))
    again = context.rights.prepare("access")
    assert again.body == first.body
    assert again.id != first.id


def test_a_request_in_another_region_goes_to_a_file_only(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    agent.files.put(PATHS.settings, b'schema = 1\ntrust_root = "/etc/opanel-agent/root.jws"\nregion = "tr"\n')
    context = begin_pass(agent.world)
    sealed = context.rights.prepare("erase")
    asked = gate_inputs.view_request(sealed, CATALOG, context.now)
    decided = decide(sealed.purpose, context.read_gate().inputs(sealed.purpose, request=asked, commanded=True))
    assert isinstance(decided, Denial)
    assert [str(ground.reason) for ground in decided.grounds] == ["region"]


def test_of_several_places_one_in_the_allowed_region_is_asked(agent: Simulated) -> None:
    far, near = {"url": "https://far.example", "region": "us"}, {"url": signing.ENDPOINT, "region": "eu"}
    agent.files.put(ROOT_FILE, signing.root(endpoints={"data_rights": [far, near]}))
    agent.files.put(PATHS.settings, b'schema = 1\ntrust_root = "/etc/opanel-agent/root.jws"\nregion = "eu"\n')
    left(agent, A)
    assert begin_pass(agent.world).rights.prepare("erase").url == signing.ENDPOINT + "/v1/rights"


def test_nobody_to_ask_is_said(agent: Simulated) -> None:
    agent.files.put(ROOT_FILE, signing.root(endpoints={}))
    left(agent, A)
    with pytest.raises(NotPermitted) as caught:
        begin_pass(agent.world).rights.prepare("erase")
    assert caught.value.detail == "no_endpoint"


@pytest.mark.parametrize("signal", ["do_not_track", "offline"])
def test_under_an_opt_out_the_request_is_for_a_file(agent: Simulated, context: PassContext, signal: str) -> None:
    left(agent, A)
    agent.opt_outs.set_signals(**{signal: True})
    decided = decide(Purpose.DATA_RIGHTS, context.read_gate().inputs(Purpose.DATA_RIGHTS, commanded=True))
    assert isinstance(decided, Denial)
    assert decided.to_file
    assert body_of(context.rights.prepare("erase"))["reveals"] == hexed(A)
    assert agent.network.sent == []
    (owed,) = context.rights.owed()
    assert (owed["sent_at"], owed["due"], owed["overdue"]) == (None, None, False)


@pytest.mark.parametrize("kind", list(Right))
def test_each_right_leaves_byte_for_byte_and_its_receipt_is_taken_up(
    agent: Simulated, context: PassContext, kind: Right
) -> None:
    left(agent, A, B)
    sealed = context.rights.prepare(kind, text=log_scan.TEXT)
    due = signing.NOW + 30 * DAY
    reply = ok(receipt(sealed.body, kind=str(kind), due=due), "application/jose", status=202)
    agent.network.on("POST", sealed.url, reply)
    context.outbox.mark_attempted(sealed, context.now)
    came = agent.world.network.courier(sealed, signalled=False)
    assert came.ok, came.detail
    (out,) = agent.network.sent
    assert (out.body, head(out)) == (sealed.body, head(sealed))
    taken = context.rights.received(came.body)
    assert taken is not None
    assert taken.answers(out.body)
    assert (only(context)["kind"], only(context)["due"], only(context)["reports"]) == (str(kind), due, 2)


# ---- which reports left


def test_a_report_counts_as_sent_by_its_attempt_its_receipt_or_the_ledger(
    agent: Simulated, context: PassContext
) -> None:
    left(agent, A)
    for name in (B, C, named(4), WAITS):
        agent.files.put(PATHS.erasure / name, secret(name))
    agent.files.put(PATHS.receipts / f"{B}.jwt", b"")
    context.ledger.append(EntryKind.REQUEST_ATTEMPTED, context.now, purpose="crash_reports", id=C)
    context.ledger.append(EntryKind.REQUEST_SEALED, context.now, purpose="usage_statistics", id=named(4))
    agent.files.put(PATHS.sent / f"{named(5)}.attempted")  # its secret is gone: nobody can ask for it
    assert context.rights.reports_sent() == sorted([A, B, C])


def test_without_a_ledger_every_report_that_does_not_wait_counts(
    agent: Simulated, context: PassContext, capsys: pytest.CaptureFixture[str]
) -> None:
    left(agent, A)
    agent.files.put(PATHS.erasure / B, secret(B))
    sealed_report(agent, WAITS)
    agent.files.put(PATHS.ledger, b"", kind="dir")
    context.ledger = open_ledger(agent.files, PATHS, context.now)
    assert context.rights.reports_sent() == [A, B]
    assert "ledger_unusable" in capsys.readouterr().err


# ---- ready


def test_a_withdrawal_leaves_an_erasure_request_ready(agent: Simulated, context: PassContext) -> None:
    left(agent, A, B)
    sealed_report(agent, WAITS)
    path = context.rights.make_ready([A, B, WAITS])
    assert path is not None
    assert path.parent == PATHS.ready
    data = agent.files.read(path, max_bytes=2**16)
    assert data == core.body(CATALOG, "erase", [secret(A), secret(B)])
    for name in (A, B):  # the copies and the secrets may go: the request stays
        agent.files.take_away(PATHS.sent / f"{name}.attempted")
        agent.files.take_away(PATHS.erasure / name)
    assert agent.files.read(path, max_bytes=2**16) == data


def test_nothing_is_made_ready_for_what_never_left(agent: Simulated, context: PassContext) -> None:
    sealed_report(agent, WAITS)
    assert context.rights.make_ready([WAITS, named(7)]) is None
    assert agent.files.names(PATHS.ready) == ()
    assert context.rights.owed() == []


def test_the_same_reports_are_the_same_file_and_more_of_them_replace_it(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    first = context.rights.make_ready([A])
    assert context.rights.make_ready([A]) == first
    left(agent, B)
    second = context.rights.make_ready([A, B])
    assert second is not None
    assert second != first
    assert agent.files.names(PATHS.ready) == (second.name,)
    left(agent, C)
    third = context.rights.make_ready([C])
    assert third is not None
    assert set(agent.files.names(PATHS.ready)) == {second.name, third.name}
    # the one that was replaced may be on its way: its answer is still understood
    assert len(context.rights.owed()) == 3


def test_more_than_one_request_holds_are_parted(agent: Simulated, context: PassContext) -> None:
    names = [named(n) for n in range(1, MAX_REVEALS + 2)]
    left(agent, *names)
    assert context.rights.make_ready(names) == PATHS.ready
    revealed: list[str] = []
    for name in agent.files.names(PATHS.ready):
        body = agent.files.read(PATHS.ready / name, max_bytes=2**16)
        body_json: Any = loads(body or b"", max_bytes=2**16)
        revealed += body_json["reveals"]
    assert sorted(revealed) == hexed(*names)
    with pytest.raises(Usage) as caught:
        context.rights.prepare("erase")
    assert caught.value.detail == "rights_too_many"


def test_what_was_erased_is_not_asked_for_again(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    context.rights.make_ready([A])
    context.rights.received(answer(core.body(CATALOG, "erase", [secret(A)])))
    assert agent.files.names(PATHS.ready) == ()
    assert context.rights.make_ready([A]) is None
    with pytest.raises(Usage) as caught:
        context.rights.prepare("access")
    assert caught.value.detail == "rights_nothing"
    left(agent, B)
    assert body_of(context.rights.prepare("access"))["reveals"] == hexed(B)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(16))
def test_a_crash_never_costs_the_request_that_lay_ready(
    agent: Simulated, context: PassContext, step: int, *, keep: bool
) -> None:
    left(agent, A)
    first = context.rights.make_ready([A])
    assert first is not None
    left(agent, B)
    agent.files.stop_at(step)
    try:
        context.rights.make_ready([A, B])
    except Stopped:
        agent.files.crash(keep=keep)
    revealed = [agent.files.read(PATHS.ready / name, max_bytes=2**16) or b"" for name in agent.files.names(PATHS.ready)]
    assert any(secret(A).hex().encode() in body for body in revealed)
    after = begin_pass(agent.world)
    assert after.rights.make_ready([A, B]) is not None
    assert len(agent.files.names(PATHS.ready)) == 1


# ---- what is owed


def receipt(body: bytes, **claims: Any) -> bytes:
    token: bytes = signing.receipt(body, **{"kind": "erase", "due": signing.NOW + 30 * DAY, **claims})
    return token


def answer(body: bytes, **claims: Any) -> bytes:
    return receipt(body, **{"jti": "answer-00", "iat": signing.NOW + 5, "due": signing.NOW + 5, **claims})


def only(context: PassContext) -> dict[str, Any]:
    (owed,) = context.rights.owed()
    return dict(owed)


def test_it_is_shown_who_must_answer_and_by_when(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    sealed = context.rights.prepare("erase")
    assert only(context)["due"] is None
    context.outbox.mark_attempted(sealed, context.now)
    owed = only(context)
    assert (owed["sent_at"], owed["due"], owed["days_left"]) == (signing.NOW, signing.NOW + ANSWER_WITHIN_S, 30)
    context.rights.received(receipt(sealed.body, due=signing.NOW + 20 * DAY))
    agent.clock.advance(DAY + 1)
    assert only(begin_pass(agent.world)) == {
        "id": sealed.id,
        "kind": "erase",
        "at": signing.NOW,
        "license": False,
        "reports": 1,
        "sent_at": signing.NOW,
        "due": signing.NOW + 20 * DAY,
        "days_left": 18,
        "overdue": False,
        "answered_at": None,
        "sha256": hashlib.sha256(sealed.body).hexdigest(),
        "authority": {"name": signing.VENDOR, "url": signing.ENDPOINT},
    }


def test_when_the_date_is_past_that_is_said_until_there_is_an_answer(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    sealed = context.rights.prepare("erase")
    context.rights.received(receipt(sealed.body))
    agent.clock.advance(30 * DAY)
    late = begin_pass(agent.world)
    assert (only(late)["overdue"], only(late)["days_left"]) == (True, 0)
    answered = late.rights.answered(answer(sealed.body) + b"\n")
    assert (answered["overdue"], answered["days_left"], answered["answered_at"]) == (False, None, signing.NOW + 5)


def test_the_receipt_and_the_answer_are_both_kept(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    sealed = context.rights.prepare("erase")
    first, last = receipt(sealed.body), answer(sealed.body)
    context.rights.received(first)
    assert agent.files.names(PATHS.held) == (sealed.id,)
    context.rights.received(last)
    assert agent.files.read(PATHS.receipts / f"{sealed.id}.jwt", max_bytes=4096) == first + b"\n"
    assert agent.files.read(PATHS.receipts / f"{sealed.id}.answer.jwt", max_bytes=4096) == last + b"\n"
    assert agent.files.names(PATHS.held) == ()
    context.rights.received(first)  # once more, late: the answer stays one
    assert only(context)["answered_at"] == signing.NOW + 5
    assert agent.files.read(PATHS.receipts / f"{sealed.id}.answer.jwt", max_bytes=4096) == last + b"\n"


def test_an_answer_ends_the_file_that_lay_ready_too(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    context.rights.make_ready([A])
    sealed = context.rights.prepare("erase")
    context.rights.received(answer(sealed.body))
    assert [each["answered_at"] for each in context.rights.owed()] == [signing.NOW + 5] * 2
    assert agent.files.names(PATHS.ready) == agent.files.names(PATHS.held) == ()


def test_a_receipt_for_something_else_is_not_ours(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    sealed = context.rights.prepare("erase")
    assert context.rights.received(receipt(b"other")) is None
    with refused("receipt_unasked"):
        context.rights.answered(receipt(b"other"))
    with refused("key_unknown"):
        context.rights.answered(receipt(sealed.body, by=signing.STATUS))
    assert only(context)["due"] is None
    assert agent.files.names(PATHS.receipts) == ()


def test_a_later_date_does_not_delay_an_earlier_one() -> None:
    request = RightsRequest(id=named(1), kind="erase", at=1, sha256="0" * 64, reports=frozenset())
    due = [Receipt(jti="receipt-1", iss="a", iat=5, sub="0" * 64, kind="erase", due=due) for due in (90, 70, 80)]
    for each in due:
        request = request.with_receipt(each)
    assert request.due_at == 70


def test_the_first_answer_is_when_it_was_answered() -> None:
    request = RightsRequest(id=named(1), kind="erase", at=1, sha256="0" * 64, reports=frozenset())
    for moment in (5, 9):
        later = Receipt(jti="receipt-1", iss="a", iat=moment, sub="0" * 64, kind="erase", due=moment)
        request = request.with_receipt(later)
    assert request.answered_at == 5


def test_of_many_requests_the_answered_go_first(agent: Simulated, context: PassContext) -> None:
    left(agent, A)
    sealed = context.rights.prepare("access", [A], "0")
    context.rights.received(answer(sealed.body))
    for number in range(1, MAX_REQUESTS):
        context.rights.prepare("access", [A], str(number))
    assert len(context.rights.owed()) == MAX_REQUESTS
    context.rights.prepare("access", [A], "one more")
    owed = context.rights.owed()
    assert len(owed) == MAX_REQUESTS
    assert [each for each in owed if each["answered_at"]] == []


@pytest.mark.parametrize(
    "junk",
    [b"{", b'{"schema":2,"requests":[]}', b'{"schema":1,"requests":[],"more":1}', b'{"schema":1,"requests":[{}]}'],
)
def test_a_broken_state_is_kept_aside_and_said(
    agent: Simulated, junk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(STATE, junk)
    context = begin_pass(agent.world)
    assert context.rights.owed() == []
    assert "state_set_aside" in capsys.readouterr().err
    assert agent.files.read(STATE.with_name("rights.json.broken"), max_bytes=1024) == junk


def test_what_an_earlier_version_wrote_is_about_reports() -> None:
    (whole,) = core.decode(
        core.encode([RightsRequest(id=A, kind="erase", at=1, sha256="0" * 64, reports=frozenset({A}))])
    )
    earlier = core.encode([whole]).replace(b'"license":false,', b"")
    assert b"license" not in earlier
    assert core.decode(earlier) == (whole,)
    (over_license,) = core.decode(earlier.replace(b'"kind"', b'"license":true,"kind"'))
    assert over_license.license
    assert core.obligation(over_license, 1)["license"] is True


def test_what_is_written_reads_the_same() -> None:
    requests = (
        RightsRequest(id=named(1), kind="erase", at=1, sha256="0" * 64, reports=frozenset({A, B})),
        RightsRequest(
            id=named(2), kind="access", at=2, sha256="f" * 64, reports=frozenset(), sent_at=3, due=4, answered_at=5
        ),
    )
    assert core.decode(core.encode(requests)) == requests
    one: Any = loads(core.encode(requests), max_bytes=4096)
    one["requests"][0]["later"] = 1
    with refused("member_unknown"):
        core.decode(dumps(one))
