"""The JSON Schemas that ship are what the agent really answers: no member and no code more or less."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.command_line import Terminal
from fixtures.data.json_schema import SCHEMAS, faults, named
from fixtures.simulated.simulated_agent import PATHS, STATUS_URL, Simulated
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codes import Reason
from opanel_agent.core.commands import ROUTES
from opanel_agent.core.errors import AgentError, Unavailable
from opanel_agent.system.storage.resources import installed_notice

YES: Final = (
    f'schema = 1\nnotice = "{installed_notice()}"\n[purposes.usage_statistics]\nallow = true\nhold = "0h"\n'
).encode()
ASKED: Final[dict[str, dict[str, Any]]] = {
    "refresh": {},
    "bundle": {"document": base64url(signing.bundle())},
    "activate": {"preview": True},
    "remove": {},
    "preview": {"purpose": "usage_statistics"},
    "held": {"action": "list"},
    "sent": {},
    "rights": {"kind": "access", "preview": True},
    "reset": {"preview": True},
    "review": {},
    "purge": {},
    "export": {},
    "history": {},
    "receipts": {},
    "noticed": {"lang": "en"},
    "narrowed": {},
    "withdraw": {"purpose": "usage_statistics"},
}


def allowed(agent: Simulated) -> None:
    agent.files.put(PATHS.consent, YES)
    agent.install(signing.bundle())
    agent.change_consent()


def offline(agent: Simulated) -> None:
    agent.install(signing.bundle())
    agent.opt_outs.set_signals(offline=True, do_not_track=True)


def unreachable(agent: Simulated) -> None:
    agent.install(signing.bundle())
    agent.network.on("GET", STATUS_URL, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))


def expired(agent: Simulated) -> None:
    agent.install(signing.bundle())
    agent.clock.advance(2000 * signing.DAY)


LIVES: Final[dict[str, Callable[[Simulated], object]]] = {
    "fresh": lambda _: None,
    "licensed": lambda agent: agent.install(signing.bundle()),
    "allowed": allowed,
    "offline": offline,
    "unreachable": unreachable,
    "expired": expired,
}


@pytest.mark.parametrize("life", LIVES)
def test_every_answer_is_as_its_schema_says(life: str) -> None:
    agent = Simulated()
    LIVES[life](agent)
    answer = agent.run("refresh")["answer"]
    assert [*faults(answer, named("answer"))] == []
    assert [*faults(answer["license"], named("license"))] == []
    assert [*faults(answer["consent"], named("consent"))] == []


def test_every_post_has_a_schema() -> None:
    posts = {path.rpartition("/")[2] for path, methods in ROUTES.items() if "POST" in methods}
    found = {path.stem for path in SCHEMAS.glob("*.json")}
    assert found == {f"post-{name}" for name in posts} | {"license", "consent", "answer", "error", "command"}


@pytest.mark.parametrize("life", ["licensed", "allowed"])
@pytest.mark.parametrize("intent", ASKED)
def test_every_post_s_result_has_members_of_its_schema(intent: str, life: str) -> None:
    agent = Simulated()
    LIVES[life](agent)
    frame = agent.run(intent, **ASKED[intent])
    reply = {name: frame[name] for name in ("ok", "error", "result")} | {"schema": 1}
    reply["license"] = frame["answer"]["license"]
    assert [*faults(reply, named(f"post-{intent}"))] == []


def test_a_command_s_envelope_is_as_its_schema_says(tmp_path: Path) -> None:
    terminal = Terminal(folder=tmp_path)
    for command in (("consent", "show"), ("data", "catalog"), ("status",), ("license", "show"), ("consent", "check")):
        assert [*faults(terminal.type(*command, "--json").json(), named("command"))] == []


def test_what_is_missing_unknown_or_of_another_type_is_found() -> None:
    error = AgentError.from_json(Unavailable(Reason.OFFLINE, "gate_denied").to_json()).to_json()
    right: dict[str, Any] = {"schema": 1, "ok": False, "error": error, "result": None, "license": None}
    assert [*faults(right, named("post-remove"))] == []
    for wrong in (right | {"ok": 1}, right | {"result": {"x": 1}}, right | {"new": 1}, right | {"error": {}}):
        assert [*faults(wrong, named("post-remove"))]
    assert [*faults({name: right[name] for name in ("schema", "ok")}, named("post-remove"))]
    error["code"] = "of_tomorrow"
    assert [*faults(right | {"error": error}, named("post-remove"))] == ["$.error.code: 'of_tomorrow' is no known code"]
