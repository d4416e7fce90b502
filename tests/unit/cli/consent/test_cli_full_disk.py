"""A "no" on a disk that takes nothing: it holds by whichever of its two places could be written, and says what could not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.command_line import Printed, Terminal
from fixtures.daemon.fake_daemon import NOW
from fixtures.simulated.memory_files import MemoryFiles
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.consent.withdrawals import Origin, Withdrawable
from opanel_agent.core.errors import Storage
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts

USAGE = Purpose.USAGE_STATISTICS


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path, now_s=NOW)
    terminal.files = MemoryFiles(uid=terminal.paths.owner)
    assert terminal.type("consent", "allow", USAGE).status == 0
    return terminal


def full(terminal: Terminal, *below: Path) -> None:
    def fault(step: str, path: Path) -> None:
        if step in ("create", "write") and any(path.is_relative_to(folder) for folder in below):
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    terminal.files.fault = fault  # type: ignore[attr-defined]


def codes(printed: Printed) -> set[str]:
    return {warning["code"] for warning in printed.json()["warnings"]}


def is_withdrawn(terminal: Terminal) -> bool:
    """By the record or by the file, as every process that decides reads both."""
    reading = LocalConsents(terminal.files, terminal.paths).read()
    grant = reading.file.grant if reading.file is not None and reading.file.allows(USAGE) else None
    return grant is None or reading.withdrawals.covering(Withdrawable.USAGE_STATISTICS, grant) is not None


PLACES: tuple[Callable[[Terminal], Path], ...] = (
    lambda terminal: terminal.paths.withdrawals,
    lambda terminal: terminal.paths.config_dir,
)


@pytest.mark.parametrize("place", PLACES, ids=["no room for the record", "no room for consent.toml"])
def test_a_denial_holds_where_one_of_its_two_places_is_full(
    terminal: Terminal, place: Callable[[Terminal], Path]
) -> None:
    full(terminal, place(terminal))
    printed = terminal.type("consent", "deny", USAGE, "--json")
    assert printed.status == 0
    assert "disk_full" in codes(printed)
    assert is_withdrawn(terminal)


def test_a_denial_that_neither_place_takes_is_an_error_and_no_claim(terminal: Terminal) -> None:
    full(terminal, terminal.paths.withdrawals, terminal.paths.config_dir)
    printed = terminal.type("consent", "deny", USAGE)
    assert printed.status == 74
    assert printed.out == ""
    assert "disk_full" in printed.err
    assert not is_withdrawn(terminal)


@pytest.mark.parametrize("name", ["dnt", "offline"])
def test_an_opt_out_is_in_force_though_its_trace_cannot_be_kept(terminal: Terminal, name: str) -> None:
    full(terminal, terminal.paths.withdrawals)
    printed = terminal.type(name, "on", "--json")
    assert printed.status == 0
    assert "disk_full" in codes(printed)
    assert terminal.files.exists(terminal.paths.offline if name == "offline" else terminal.paths.do_not_track)


OPT_OUTS = [("dnt", Withdrawable.DO_NOT_TRACK, "opt_out"), ("offline", Withdrawable.OFFLINE, "offline")]


@pytest.mark.parametrize(("name", "subject", "reason"), OPT_OUTS, ids=["dnt", "offline"])
def test_an_opt_out_that_no_file_can_be_made_for_is_in_the_record(
    terminal: Terminal, name: str, subject: Withdrawable, reason: str
) -> None:
    """As where /etc is mounted read-only."""
    terminal.optouts = LocalOptOuts(terminal.files, terminal.paths, {})
    full(terminal, terminal.paths.config_dir)
    for _ in range(2):
        printed = terminal.type(name, "on", "--json")
        assert (printed.status, codes(printed)) == (0, {"disk_full"})
    assert not terminal.files.exists(terminal.paths.do_not_track)
    assert not terminal.files.exists(terminal.paths.offline)
    (standing,) = LocalConsents(terminal.files, terminal.paths).read().withdrawals.standing(subject)
    assert (standing.by, standing.at) == (Origin.COMMAND, NOW)
    why = terminal.type("consent", "why", USAGE, "--json").json()["result"]
    assert [each["reason"] for each in why["reasons"]] == [reason]
    assert "in the record of withdrawals" in terminal.type(name, "on").out
    explained = terminal.type("dnt", "explain", "--json").json()["result"]
    assert [each["place"] for each in explained["offline" if name == "offline" else "do_not_track"]] == [
        "the withdrawing command"
    ]
    assert terminal.type(name, "off").status == 0
    assert terminal.type("consent", "why", USAGE, "--json").json()["result"]["permitted"]


def test_a_grant_that_consent_toml_does_not_take_is_an_error_and_ends_no_withdrawal(terminal: Terminal) -> None:
    assert terminal.type("consent", "deny", USAGE).status == 0
    full(terminal, terminal.paths.config_dir)
    printed = terminal.type("consent", "allow", USAGE)
    assert (printed.status, printed.out) == (74, "")
    assert is_withdrawn(terminal)


def test_an_opt_out_that_neither_place_takes_is_an_error_and_no_claim(terminal: Terminal) -> None:
    full(terminal, terminal.paths.withdrawals, terminal.paths.config_dir)
    for name in ("dnt", "offline"):
        printed = terminal.type(name, "on")
        assert (printed.status, printed.out) == (74, "")
        assert "disk_full" in printed.err
