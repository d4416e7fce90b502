"""Files of the administrator's whose names or lines are no plain text: each still says its no, and the pass still judges."""

from dataclasses import replace

import pytest

from fixtures import signing
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.text_safety import escape, is_safe
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.storage.resources import installed_notice

YES = f'schema = 1\nnotice = "{installed_notice()}"\n[purposes.usage_statistics]\nallow = true\nhold = "0h"\n'.encode()
NO = b"schema = 1\ndo_not_track = true\n[purposes.usage_statistics]\nallow = false\n"
# Bytes that are no UTF-8, a line end, a change of the direction of writing, an escape sequence, a C1 control.
NAMES = ("\udcff", "a\nb", "x\u202ey", "\x1b[2J", "\x9b1")


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.world = replace(simulated.world, opt_outs=LocalOptOuts(simulated.files, PATHS, {}))
    simulated.install(signing.bundle())
    simulated.files.put(PATHS.consent, YES)
    return simulated


def grounds(agent: Simulated) -> set[tuple[str, str]]:
    """The reasons against a usage report, each with its place, after the passes of a week."""
    for _ in range(8):
        frame = agent.run("tick")
        assert frame["ok"], frame["error"]
        assert frame["answer"]["license"]["state"] != "unlicensed"
        agent.clock.advance(signing.DAY)
    assert not [name for name in agent.files.names(PATHS.state_dir) if name.endswith(".broken")]
    assert not [sealed for sealed in agent.network.sent if sealed.method == "POST"]
    found = agent.run("tick")["answer"]["consent"]["purposes"]["usage_statistics"]["reasons"]
    assert all(is_safe(each["place"]) for each in found)
    return {(each["reason"], each["place"]) for each in found}


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_of_any_name_denies(agent: Simulated, name: str) -> None:
    path = PATHS.consent_dir / f"{name}.toml"
    agent.files.put(path, NO)
    assert grounds(agent) >= {("policy", escape(str(path))), ("opt_out", escape(str(path)))}


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_a_policy_denies_under_any_name(agent: Simulated, name: str) -> None:
    path = PATHS.consent_dir / name
    agent.files.put(path, NO)
    assert grounds(agent) >= {("consent_refused", escape(str(path)))}


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_file_of_any_name_is_obeyed(agent: Simulated, name: str) -> None:
    path = PATHS.environment_dir / f"{name}.conf"
    agent.files.put(path, b"DO_NOT_TRACK=1\n")
    assert grounds(agent) == {("opt_out", escape(str(path)))}


@pytest.mark.parametrize("value", ["\u201c1\u201d".encode(), b"\x9b1", b"\xff", b"\xc2\xa01", b"\xe2\x80\xae1"])
def test_a_value_of_any_bytes_is_a_signal(agent: Simulated, value: bytes) -> None:
    """As from a page whose quotation marks were made typographic."""
    path = PATHS.etc / "environment"
    agent.files.put(path, b"DO_NOT_TRACK=" + value + b"\n")
    assert grounds(agent) == {("opt_out", str(path))}


def test_the_file_of_a_signal_that_cannot_be_read_may_have_any_name(agent: Simulated) -> None:
    path = PATHS.environment_dir / "\udcff\n.conf"
    agent.files.put(path, b"\0")
    assert grounds(agent) == {("opt_out", str(PATHS.environment_dir))}
