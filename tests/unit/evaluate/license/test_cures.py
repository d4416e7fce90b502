"""What a refusal or a state says to do is a command that exists, runs, and heals what raised it.

Each situation is a real authority and real agents. The cure is taken from the sentence as it is printed, and typed.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from fixtures import signing
from fixtures.authority.market import DAY, HOUR, Market
from fixtures.signing import NOW
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent import messages
from opanel_agent.core.commands import ACTIVATE, BUNDLE, COMMANDS, REFRESH, RELEASE, Command
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license import binding
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_authority.authority import open_home
from opanel_authority.documents import issue
from opanel_authority.documents.issue import Issued
from opanel_authority.documents.rotate import Rotation, rotate
from opanel_authority.lifecycle import changes
from opanel_authority.requests import licensing
from properties.lives import BOUND, license_

_TYPED: Final = re.compile(r"opanel-agent (?!package\b)([a-z-]+(?: [a-z-]+)*)")
_STEPS: Final = 4  # no cure asks for more commands than that
_ROUTES: Final = (ACTIVATE, BUNDLE, REFRESH, RELEASE)


class Server(NamedTuple):
    """An agent, its name in the market, and what its administrator has in the reseller's mail."""

    market: Market
    name: str
    issued: Issued

    @property
    def agent(self) -> Simulated:
        return self.market.servers[self.name]

    @property
    def license(self) -> dict[str, Any]:
        return self.market.license(self.name)

    def type(self, command: Command) -> dict[str, Any]:
        """Runs a command as its handler would ask for it; KEY|FILE is what the reseller sent."""
        (route,) = (each for each in command.asks if each in _ROUTES)
        if route is BUNDLE:
            return self.agent.install(self.issued.text.encode())
        return self.agent.run(route.intent)


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def server(market: Market, name: str = "a", issued: Issued | None = None, **terms: Any) -> Server:
    """A server on which nothing is installed."""
    market.server(name)
    return Server(market, name, issued or market.vendor.issue(**terms))


def activated(market: Market, name: str = "a", issued: Issued | None = None, **terms: Any) -> Server:
    made = server(market, name, issued, **terms)
    for frame in (made.agent.install(made.issued.text.encode()), made.agent.run("activate")):
        assert frame["ok"], frame["error"]
    return made


def commands_in(sentence: str) -> list[Command]:
    """The commands that a sentence names, in its order. One that does not exist fails."""
    found = []
    for words in (typed.split(" ") for typed in _TYPED.findall(sentence)):
        known = [each for each in COMMANDS if tuple(words[: len(each.words)]) == each.words]
        assert known, (words, sentence)
        found.append(max(known, key=lambda each: len(each.words)))
    return found


def cure_of(frame: dict[str, Any], detail: str) -> str:
    """What is printed under a refusal, which has to be this one."""
    assert frame["error"] is not None
    assert frame["error"]["detail"] == detail, frame["error"]
    sentence, cure = messages.describe_error(AgentError.from_json(frame["error"]), "en")
    assert sentence
    return cure


def action_of(server: Server) -> str:
    """What `status` says to do."""
    action = server.license["next_action"]
    return messages.translate(f"action.{action['code']}", "en", reseller="")


def follow(server: Server) -> list[str]:
    """Types what `status` says until it says nothing more; returns what was typed."""
    typed: list[str] = []
    while server.license["next_action"]["code"] != "none":
        assert len(typed) < _STEPS, (typed, server.license)
        (command,) = commands_in(action_of(server))
        frame = server.type(command)
        assert frame["ok"], (command.words, frame["error"])
        typed.append(" ".join(command.words))
    return typed


def is_healed(server: Server) -> bool:
    return bool(server.license["state"] == "active" and server.license["reasons"] == ["ok"])


# ---- what a refused command says


Attempt = Callable[[], dict[str, Any]]


def _activation(server: Server) -> bytes:
    text = server.agent.files.read(PATHS.bundle, max_bytes=10**6)
    assert isinstance(text, bytes)
    return text.split()[-1] + b"\n"


def no_license(market: Market) -> tuple[Server, Attempt]:
    made = server(market)
    return made, lambda: made.agent.run("activate")


def an_activation_before_its_license(market: Market) -> tuple[Server, Attempt]:
    made = server(market, "b", activated(market).issued)
    token = _activation(Server(market, "a", made.issued))
    return made, lambda: made.agent.install(token)


def an_activation_of_another_license(market: Market) -> tuple[Server, Attempt]:
    token, made = _activation(activated(market)), server(market, "b")
    made.agent.install(made.issued.text.encode())
    return made, lambda: made.agent.install(token)


def an_activation_of_another_server(market: Market) -> tuple[Server, Attempt]:
    first = activated(market)
    made = server(market, "b", first.issued)
    made.agent.install(made.issued.text.encode())
    return made, lambda: made.agent.install(_activation(first))


def an_activation_of_a_key_that_was_lost(market: Market) -> tuple[Server, Attempt]:
    made = activated(market)
    token = _activation(made)
    made.agent.files.remove(PATHS.activation_key)
    return made, lambda: made.agent.install(token)


def a_release_where_nothing_is_activated(market: Market) -> tuple[Server, Attempt]:
    made = server(market)
    made.agent.install(made.issued.text.encode())
    return made, lambda: made.agent.run("release")


def an_activation_that_was_carried_and_moved_since(market: Market) -> tuple[Server, Attempt]:
    """Its request was answered by hand, the answer was lost, and another server took the seat."""
    made = server(market)
    made.agent.install(made.issued.text.encode())
    body = made.agent.run("activate", preview=True)["result"]["body"].encode()
    licensing.signed(market.vendor.authority, body, requests.verify(body), now=market.vendor.now)
    activated(market, "b", made.issued)
    return made, lambda: made.agent.run("activate")


def an_activation_again_and_again(market: Market) -> tuple[Server, Attempt]:
    """By the key that holds the seat; the sentence must not look for another server."""
    made = activated(market)
    for _ in range(licensing.MOVES):
        assert made.agent.run("activate")["ok"]
    return made, lambda: made.agent.run("activate")


def a_root_that_has_ended(market: Market) -> tuple[Server, Attempt]:
    """Its successor was published while this server looked at no mirror."""
    made = server(market)
    _next_root(market, days=10)
    assert made.agent.run("refresh")["ok"]
    market.pass_time(9 * DAY)
    _next_root(market, days=400)
    market.pass_time(2 * DAY)
    return made, lambda: made.agent.install(made.issued.text.encode())


def _next_root(market: Market, *, days: int) -> None:
    authority = market.vendor.authority
    rotate(authority, Rotation(role=None, root_keys=authority.directory / "keys", days=days), now=market.vendor.now)


REFUSALS: Final = {
    "license_needed": no_license,
    "activation_without_license": an_activation_before_its_license,
    "activation_sub": an_activation_of_another_license,
    "activation_elsewhere": an_activation_of_another_server,
    "activation_other_key": an_activation_of_a_key_that_was_lost,
    "problem_superseded": a_release_where_nothing_is_activated,
    "problem_superseded, moved since": an_activation_that_was_carried_and_moved_since,
    "problem_seats_taken": an_activation_again_and_again,
    "root_expired": a_root_that_has_ended,
}


@pytest.mark.parametrize("case", REFUSALS)
def test_the_cure_of_a_refusal_heals_what_raised_it(market: Market, case: str) -> None:
    made, attempt = REFUSALS[case](market)
    cure = commands_in(cure_of(attempt(), case.partition(",")[0]))
    assert cure
    for command in cure:
        frame = made.type(command)
        assert frame["ok"], (command.words, frame["error"])
    follow(made)
    assert is_healed(made), made.license


def test_a_seat_that_others_took_is_released_there(market: Market) -> None:
    first = activated(market)
    second = activated(market, "b", first.issued)
    assert first.agent.run("activate")["ok"]
    assert second.agent.run("activate")["ok"]
    (release,) = commands_in(cure_of(first.agent.run("activate"), "problem_seats_taken"))
    assert second.type(release)["ok"]
    assert first.agent.run("activate")["ok"]
    assert is_healed(first)


def test_the_reseller_lifts_the_limit_of_moves(market: Market) -> None:
    made, attempt = an_activation_again_and_again(market)
    assert "reseller" in cure_of(attempt(), "problem_seats_taken")
    changes.lift_move_limit(market.vendor.authority, made.issued.jti, now=market.vendor.now)
    assert attempt()["ok"]
    assert is_healed(made)


def test_what_an_authority_does_not_know_any_more_is_replaced_by_what_it_knows(market: Market, tmp_path: Path) -> None:
    """Its books were put back from a backup; the edition that was issued since is on the server and nowhere else."""
    made = activated(market, days=90)
    shutil.copytree(tmp_path, tmp_path / "backup")
    market.pass_time(DAY)
    lost = issue.renew(open_home(tmp_path / "backup" / "vendor"), made.issued.jti, days=300, now=market.vendor.now)
    assert made.agent.install(lost.text.encode())["ok"]
    # license activate -> license install KEY -> license install FILE -> license activate
    by_key = commands_in(cure_of(made.agent.run("activate"), "problem_request_refused"))
    assert [each.words for each in by_key] == [("license", "install")]
    from_file = commands_in(cure_of(made.agent.run("exchange", key=made.issued.key), "bundle_older"))
    assert [each.words for each in from_file] == [("license", "install")]
    assert is_healed(made), "nothing was lost by asking"
    assert made.type(from_file[0])["ok"]
    assert made.agent.run("activate")["ok"]
    assert is_healed(made)


def of_ten_months(agent: Simulated) -> bytes:
    """A license that an activation of a hundred days is too short for: the one that the server has, renewed."""
    return license_(iat=agent.clock.wall_s, exp=NOW + 300 * DAY, jti="license-2", activation=BOUND)


def activated_for_a_hundred_days() -> Simulated:
    """By an authority whose activations end with the license that they are for."""
    agent = Simulated()
    ends = {"license": NOW + 100 * DAY}

    def sign(sealed: Sealed) -> Reply:
        asked = requests.verify(sealed.body)
        k, p = binding.quorum(asked.components)
        bind = signing.bind(components=asked.components, salt=asked.salt, k=k, p=p)
        token = signing.activation(bind=bind, cnf={"jkt": asked.jwk.kid}, exp=ends["license"])
        ends["license"] = NOW + 300 * DAY
        return ok(token, "application/jose")

    agent.network.on("POST", f"{signing.ENDPOINT}/v1/activations", sign)
    short = license_(iat=NOW - 10 * DAY, nbf=NOW - 10 * DAY, exp=NOW + 100 * DAY, activation=BOUND)
    for frame in (agent.install(short), agent.run("activate")):
        assert frame["ok"], frame["error"]
    return agent


def healed_by(agent: Simulated, cure: str, file: bytes) -> list[str]:
    """Types a cure; returns what was typed."""
    named = commands_in(cure)
    for command in named:
        frame = agent.install(file) if BUNDLE in command.asks else agent.run(command.words[-1])
        assert frame["ok"], (command.words, frame["error"])
    license_part = agent.run("narrowed")["answer"]["license"]
    assert (license_part["state"], license_part["reasons"]) == ("active", ["ok"]), license_part
    return [" ".join(command.words) for command in named]


def test_an_activation_that_ends_before_the_license_gives_way_to_a_new_one() -> None:
    agent = activated_for_a_hundred_days()
    text = agent.files.read(PATHS.bundle, max_bytes=10**6)
    assert text is not None
    longer = of_ten_months(agent)
    assert agent.install(longer)["ok"]
    cure = cure_of(agent.install(text.split()[-1] + b"\n"), "activation_ends_early")
    assert healed_by(agent, cure, longer) == ["license activate"]


def test_a_renewal_that_the_activation_does_not_reach_takes_nothing_and_is_installed_by_hand() -> None:
    agent = activated_for_a_hundred_days()
    agent.clock.advance(75 * DAY)
    longer = of_ten_months(agent)
    agent.network.on("POST", f"{signing.ENDPOINT}/v1/renewals", ok(longer, "application/jose"))
    asked: list[dict[str, Any]] = []
    for _ in range(12):  # no two requests within hours of each other: the status list first
        agent.publish({})
        asked += agent.run("tick")["result"]["asked"]
        agent.clock.advance(8 * HOUR)
    attempt = next(each for each in asked if each["url"].endswith("/v1/renewals"))
    assert not attempt["ok"]
    assert agent.run("narrowed")["answer"]["license"]["state"] == "active"
    cure = cure_of(attempt, "renewal_without_activation")
    assert healed_by(agent, cure, longer) == ["license install", "license activate"]


# ---- what a state says


def unlicensed(market: Market) -> Server:
    return server(market)


def not_activated(market: Market) -> Server:
    made = server(market, grace_days=5)
    made.agent.install(made.issued.text.encode())
    market.pass_time(60 * DAY)
    made.agent.run("refresh")
    return made


def stale(market: Market) -> Server:
    made = activated(market, stale_days=30, grace_days=14)
    market.down = True
    market.pass_time(50 * DAY)
    made.agent.run("tick")
    market.down = False
    return made


def on_new_hardware(market: Market) -> Server:
    """Nothing platform-borne is left, and the key is: it keeps its seat."""
    made = activated(market)
    made.agent.machine.parts = {
        **made.agent.machine.parts,
        "dmi_product_uuid": "99999999-1111-2222-3333-444444444445",
        "boot_disk": "wwn-0x5000c500aaaa9999",
        "cloud_instance_id": "i-0ffffffff1",
    }
    return _for_weeks(made)


def a_copied_server(market: Market) -> Server:
    """Nothing is as it was, and the key is drawn anew."""
    made = activated(market)
    made.agent.machine.parts = {kind: f"{value[:-2]}zz" for kind, value in made.agent.machine.parts.items()}
    return _for_weeks(made)


def _for_weeks(made: Server) -> Server:
    for _ in range(2):
        made.agent.run("refresh")
        made.market.pass_time(15 * DAY)
    made.agent.run("refresh")
    return made


def moved_away(market: Market) -> Server:
    made = activated(market)
    activated(market, "b", made.issued)
    for _ in range(2):
        market.pass_time(HOUR)
        made.agent.run("refresh")
        market.pass_time(4 * DAY)
    return made


def damaged(market: Market) -> Server:
    made = activated(market)
    for path in (PATHS.bundle, PATHS.previous_bundle):
        made.agent.files.put(path, b"damaged", mode=0o600)
    return _for_weeks(made)


STATES: Final = {
    "unlicensed": (unlicensed, ["license install", "license activate"]),
    "not_activated": (not_activated, ["license activate"]),
    "expired, status_stale": (stale, ["license refresh"]),
    "wrong_machine": (on_new_hardware, ["license activate"]),
    "wrong_machine, copied": (a_copied_server, ["license activate"]),
    "wrong_machine, superseded": (moved_away, ["license activate"]),
    "expired, format_invalid": (damaged, ["license install", "license activate"]),
}


@pytest.mark.parametrize("case", STATES)
def test_what_a_state_says_to_do_heals_it(market: Market, case: str) -> None:
    situation, commands = STATES[case]
    made = situation(market)
    assert made.license["state"] == case.partition(",")[0], made.license
    assert follow(made) == commands
    assert is_healed(made), made.license
