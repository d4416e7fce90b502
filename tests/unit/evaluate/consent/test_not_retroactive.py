"""A consent counts from when it is given: what was held or noted before it never leaves, whatever turns it to yes."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate.reporting import crash
from opanel_agent.system.storage.resources import installed_notice

PURPOSES = ("usage_statistics", "crash_reports")
POLICY = PATHS.consent_dir / "10-group.toml"
HELD = "usage-0123456789abcdef"


def answers(*, allow: bool, notice: str | None = None) -> bytes:
    allowed = str(allow).lower()
    return (
        f'schema = 1\nnotice = "{notice or installed_notice()}"\n'
        f'[purposes.usage_statistics]\nallow = {allowed}\nhold = "0h"\n'
        f"[purposes.crash_reports]\nallow = {allowed}\nreview = false\n"
    ).encode()


def deny_by_policy(agent: Simulated) -> None:
    agent.files.put(
        POLICY, b"schema = 1\n" + b"".join(f"[purposes.{name}]\nallow = false\n".encode() for name in PURPOSES)
    )


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    for name in PURPOSES:
        simulated.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{name}", _receipt)
    return simulated


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), "application/jose", status=202)


def posts(agent: Simulated) -> list[Sealed]:
    return [sealed for sealed in agent.network.sent if sealed.method == "POST"]


def crashed(agent: Simulated) -> None:
    crash.note(agent.files, PATHS, ArithmeticError())


def held_of_before(agent: Simulated) -> None:
    """A report that an earlier version collected under a no, long ago."""
    other = Simulated(seed=7)
    other.files.put(PATHS.consent, answers(allow=True))
    other.run("narrowed")
    (name,) = (name for name in other.files.names(PATHS.held) if name.startswith("usage-"))
    entry = other.files.entry(PATHS.held / name)
    assert entry is not None
    agent.files.put(PATHS.held / HELD, entry.data.replace(name.encode(), HELD.encode()))


def by_file(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True))


def by_policy(agent: Simulated) -> None:
    agent.files.take_away(POLICY)


def by_notice(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True))


def no_by_file(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=False))


def no_by_policy(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True))
    deny_by_policy(agent)


def no_by_notice(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True, notice="2026-12-01"))


WAYS: Any = {
    "file": (no_by_file, by_file),
    "policy": (no_by_policy, by_policy),
    "notice": (no_by_notice, by_notice),
    "never asked": (lambda _: None, by_file),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_held_or_noted_before_the_yes_never_leaves(agent: Simulated, way: str) -> None:
    no, yes = WAYS[way]
    no(agent)
    agent.run("narrowed")
    held_of_before(agent)
    crashed(agent)
    yes(agent)
    purged = agent.run("narrowed")["result"]["consent"]["purged"]
    assert HELD in purged
    for _ in range(20):
        agent.clock.advance(3600)
        agent.run("tick")
    assert HELD not in {sealed.id for sealed in posts(agent)}
    assert [sealed for sealed in posts(agent) if sealed.purpose == "crash_reports"] == []
    assert [sealed.purpose for sealed in posts(agent)] == ["usage_statistics"], "and one of after the yes does"


@pytest.mark.parametrize("way", WAYS)
def test_a_preview_without_a_consent_shows_a_report_and_keeps_nothing(agent: Simulated, way: str) -> None:
    WAYS[way][0](agent)
    agent.run("narrowed")
    before = {path: agent.files.names(path) for path in (PATHS.held, PATHS.sent, PATHS.erasure)}
    entries = agent.run("history")["result"]["of"]
    shown = agent.run("preview", purpose="usage_statistics")["result"]
    assert (shown["kept"], bool(shown["why"]), '"erasure"' in shown["body"]) == (False, True, True)
    assert {path: agent.files.names(path) for path in (PATHS.held, PATHS.sent, PATHS.erasure)} == before
    assert agent.run("history")["result"]["of"] == entries


def test_a_hold_begins_with_the_yes(agent: Simulated) -> None:
    no_by_file(agent)
    agent.run("preview", purpose="usage_statistics")
    agent.clock.advance(100 * 3600)
    agent.files.put(PATHS.consent, answers(allow=True).replace(b'"0h"', b'"72h"'))
    given_s = agent.clock.wall_s
    agent.run("narrowed")
    (waiting,) = agent.run("held")["result"]["held"]
    assert waiting["held_since"] >= given_s
    for _ in range(71):
        agent.clock.advance(3600)
        agent.run("tick")
    assert posts(agent) == []


def test_an_export_holds_no_secret_of_a_report(agent: Simulated) -> None:
    """Neither the secrets nor the requests that reveal them; what was sent has its digest in the ledger."""
    by_file(agent)
    agent.change_consent()
    (left,) = posts(agent)
    secret = agent.files.read(PATHS.erasure / left.id, max_bytes=32)
    assert secret is not None
    agent.run("rights", kind="erase", ids=[left.id], to_file=True)
    no_by_file(agent)
    assert agent.run("narrowed")["result"]["consent"]["ready"]
    whole = unbase64url(agent.run("export")["result"]["export"])
    assert b'"part":"ready"' in whole
    assert b'"part":"held"' in whole
    for spelling in (secret.hex().encode(), secret.hex().upper().encode(), secret):
        assert spelling not in whole


@pytest.mark.parametrize("signal", ["do_not_track", "offline"])
def test_a_crash_that_was_noted_under_an_opt_out_is_never_reported(agent: Simulated, signal: str) -> None:
    agent.files.put(PATHS.consent, answers(allow=True))
    agent.run("narrowed")
    agent.opt_outs.set_signals(**{signal: True})
    agent.run("narrowed")
    crashed(agent)
    agent.opt_outs.set_signals()
    agent.run("narrowed")
    for _ in range(20):
        agent.clock.advance(3600)
        agent.run("tick")
    assert [sealed.purpose for sealed in posts(agent)] == ["usage_statistics"]


def test_what_waited_while_the_ledger_was_broken_goes_with_the_review(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True).replace(b'"0h"', b'"72h"'))
    agent.run("narrowed")
    (held,) = agent.files.names(PATHS.held)
    ledger = agent.files.entry(PATHS.ledger)
    assert ledger is not None
    agent.files.put(PATHS.ledger, b"garbage\n" + ledger.data[8:])
    agent.run("tick")
    crashed(agent)
    assert agent.run("review")["result"]["reviewed"] is True
    assert agent.files.names(PATHS.held) == ()
    for _ in range(12 * 24):
        agent.clock.advance(3600)
        agent.run("tick")
    assert {sealed.purpose for sealed in posts(agent)} == {"usage_statistics"}  # collected since
    assert held not in {sealed.id for sealed in posts(agent)}


def test_a_review_of_nothing_purges_nothing(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True).replace(b'"0h"', b'"72h"'))
    agent.run("narrowed")
    held = agent.files.names(PATHS.held)
    assert agent.run("review")["ok"]
    assert agent.files.names(PATHS.held) == held != ()


def lasted_h(agent: Simulated, *, hurry_s: int) -> int:
    """How many hours this machine ran until the first report left; in each its wall clock ran ahead by so much."""
    for hour in range(200):
        if posts(agent):
            return hour
        agent.clock.advance(3600)
        agent.clock.wall_s += hurry_s
        agent.publish({})
        agent.run("tick")
    return 200


@pytest.mark.parametrize("step_s", [0, 25 * 3600, 40 * 86400, -40 * 86400])
@pytest.mark.parametrize("hurry_s", [0, 7200])
def test_a_hold_lasts_as_long_whatever_the_clock_does(agent: Simulated, step_s: int, hurry_s: int) -> None:
    """A clock that is set ahead, or that runs too fast, gives nobody time to look at the report."""
    agent.files.put(PATHS.consent, answers(allow=True).replace(b'"0h"', b'"72h"'))
    agent.run("narrowed")
    agent.clock.wall_s += step_s
    assert 71 <= lasted_h(agent, hurry_s=hurry_s) <= 90


def test_the_time_that_a_machine_was_off_is_no_time_to_look(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, answers(allow=True).replace(b'"0h"', b'"72h"'))
    agent.run("narrowed")
    agent.clock.reboot(off_s=5 * 86400)
    agent.publish({})
    agent.run("start")
    assert 71 <= lasted_h(agent, hurry_s=0) <= 90
