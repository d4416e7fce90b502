"""Proves that advisories are kept and told as signed, once each, and that no older set takes their place."""

import pytest

from fixtures import signing
from fixtures.refusal import refused
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.license import install
from opanel_agent.evaluate.reporting import advisories
from opanel_agent.system.storage import resources

NOTICE = resources.installed_notice().encode()
STATE = PATHS.advisories.with_suffix(".json")
HIGH = signing.advisory()
LOW = signing.advisory(jti="advisory-2", seq=2, severity="low", fixed_in=None)
LAST = signing.advisory(jti="advisory-3", seq=3, severity="critical")


@pytest.fixture
def agent() -> Simulated:
    return Simulated()


@pytest.fixture
def context(agent: Simulated) -> PassContext:
    return begin_pass(agent.world)


def ids(context: PassContext) -> list[object]:
    return [
        each["id"]
        for each in advisories.in_force(context.inputs.documents.advisories, context.now)
        if isinstance(each, dict)
    ]


def test_before_the_first_there_are_none(context: PassContext) -> None:
    assert advisories.in_force(context.inputs.documents.advisories, context.now) == []


def test_they_are_told_as_they_were_signed_newest_first(context: PassContext) -> None:
    install.advisory_set(context, signing.lines(HIGH, LOW))
    newest, oldest = advisories.in_force(context.inputs.documents.advisories, context.now)
    assert oldest == {
        "id": "advisory-1",
        "seq": 1,
        "severity": "high",
        "title": {"tr": "Güncelleyin", "en": "Please update"},
        "body": {"tr": "Bir açık kapatıldı.", "en": "A hole was closed."},
        "fixed_in": "0.1.1",
        "exp": signing.NOW + 90 * signing.DAY,
    }
    assert isinstance(newest, dict)
    assert (newest["id"], newest["fixed_in"]) == ("advisory-2", None)


def test_the_next_pass_reads_them_from_the_disk(agent: Simulated, context: PassContext) -> None:
    install.advisory_set(context, signing.lines(HIGH))
    assert ids(begin_pass(agent.world)) == ["advisory-1"]


def test_one_that_has_ended_is_not_told(agent: Simulated, context: PassContext) -> None:
    install.advisory_set(context, signing.lines(signing.advisory(exp=signing.NOW + 100), LOW))
    agent.clock.advance(99)
    assert ids(begin_pass(agent.world)) == ["advisory-2", "advisory-1"]
    agent.clock.advance(1)
    assert ids(begin_pass(agent.world)) == ["advisory-2"]


def test_a_set_replaces_the_one_before_whole(context: PassContext) -> None:
    install.advisory_set(context, signing.lines(HIGH, LOW))
    install.advisory_set(context, signing.lines(LOW))
    assert ids(context) == ["advisory-2"]


@pytest.mark.parametrize("older", [signing.lines(HIGH), b""])
def test_an_older_set_takes_nothing_away(context: PassContext, older: bytes) -> None:
    install.advisory_set(context, signing.lines(HIGH, LOW))
    with refused("advisories_older"):
        install.advisory_set(context, older)
    assert ids(context) == ["advisory-2", "advisory-1"]


def test_the_floor_holds_when_the_kept_set_or_the_state_is_lost(agent: Simulated, context: PassContext) -> None:
    install.advisory_set(context, signing.lines(HIGH, LOW))
    agent.files.take_away(PATHS.advisories)
    with refused("advisories_older"):
        install.advisory_set(context, signing.lines(HIGH))
    install.advisory_set(context, signing.lines(HIGH, LOW))
    agent.files.take_away(STATE)
    with refused("advisories_older"):
        install.advisory_set(context, signing.lines(HIGH))


@pytest.mark.parametrize("junk", [b"{", b'{"schema":1,"floors":{},"told":[],"more":1}', b'{"schema":2}'])
def test_a_broken_state_is_said_and_written_anew(
    agent: Simulated, context: PassContext, junk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(STATE, junk)
    install.advisory_set(context, signing.lines(HIGH))
    assert "advisories_state_lost" in capsys.readouterr().err
    install.advisory_set(context, signing.lines(HIGH))
    assert "advisories_state_lost" not in capsys.readouterr().err


def test_a_set_whose_key_the_root_dropped_is_said_and_not_told(
    agent: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(PATHS.advisories, signing.lines(signing.advisory(by=signing.STATUS)))
    context = begin_pass(agent.world)
    assert advisories.in_force(context.inputs.documents.advisories, context.now) == []
    assert "advisories_refused" in capsys.readouterr().err


def advisory_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [each for each in capsys.readouterr().err.splitlines() if "security_advisory" in each]


def test_the_journal_has_each_once_and_what_is_grave_as_a_warning(
    agent: Simulated, context: PassContext, capsys: pytest.CaptureFixture[str]
) -> None:
    install.advisory_set(context, signing.lines(HIGH, LOW))
    high, low = advisory_lines(capsys)
    assert high.startswith("warning: ")
    assert 'id=advisory-1 severity=high title="Please update" fixed_in=0.1.1' in high
    assert low.startswith("info: ")
    assert "fixed_in=none" in low
    install.advisory_set(begin_pass(agent.world), signing.lines(HIGH, LOW, LAST))
    (last,) = advisory_lines(capsys)
    assert last.startswith("warning: ")
    assert "advisory-3" in last


def test_one_that_has_ended_is_not_news(context: PassContext, capsys: pytest.CaptureFixture[str]) -> None:
    install.advisory_set(context, signing.lines(signing.advisory(exp=signing.NOW)))
    assert advisory_lines(capsys) == []


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(11))
def test_a_crash_leaves_the_old_set_or_the_new_and_the_floor(
    agent: Simulated, context: PassContext, step: int, *, keep: bool
) -> None:
    install.advisory_set(context, signing.lines(HIGH))
    agent.files.stop_at(step)
    with pytest.raises(Stopped):
        install.advisory_set(context, signing.lines(HIGH, LOW))
    agent.files.crash(keep=keep)
    after = begin_pass(agent.world)
    assert ids(after) in (["advisory-1"], ["advisory-2", "advisory-1"])
    install.advisory_set(after, signing.lines(HIGH, LOW))
    with refused("advisories_older"):
        install.advisory_set(after, signing.lines(HIGH))


def test_their_next_request_is_no_report_s(agent: Simulated) -> None:
    """While reports are denied none is due, whatever else wants a pass; allowed, theirs is."""
    agent.run("tick")
    assert "security_advisories" in begin_pass(agent.world).state.reports
    assert agent.run("tick")["answer"]["reports"] == {"held": 0, "next": None}
    agent.files.put(PATHS.consent, b'schema = 1\nnotice = "%s"\n[purposes.usage_statistics]\nallow = true\n' % NOTICE)
    agent.run("narrowed")
    assert agent.run("tick")["answer"]["reports"]["next"] is not None
