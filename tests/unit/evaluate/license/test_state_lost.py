"""The memory of what was taken up is lost: what lies in /etc since long does not come back over what is newer."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import signed_request
from opanel_agent.core.license import license_key
from opanel_agent.core.wire.message import Reply, Sealed

NOW = signing.NOW
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
OTHER = next(key for number in range(99) if (key := license_key.make(bytes([number] * 16))) is not None)


def license_(jti: str, *, issued: int, **claims: Any) -> bytes:
    dates = {"iat": NOW - issued, "nbf": NOW - issued}
    return signing.lines(signing.delegation(), signing.license(**{"jti": jti, "activation": FREE, **dates, **claims}))


OLD, NEW = license_("license-1", issued=900), license_("license-2", issued=300, tier="basic")


def lose(agent: Simulated, how: str) -> None:
    if how == "gone":
        agent.files.take_away(PATHS.state)
    else:
        agent.files.put(PATHS.state, b"rot", owner=0, mode=0o600)


def kept(agent: Simulated) -> str:
    text = agent.files.read(PATHS.bundle, max_bytes=10**6)
    assert text is not None
    return bundle_document.verify(text, signing.trusted_root(), now=None).license.jti


@pytest.fixture
def agent() -> Simulated:
    """Installed from a file of root's long ago; a newer edition came since, as a renewal does."""
    simulated = Simulated()
    simulated.files.put(PATHS.license, OLD)
    assert simulated.license()["tier"] == "pro"
    simulated.install(NEW)
    assert simulated.license()["tier"] == "basic"
    return simulated


@pytest.mark.parametrize("how", ["gone", "set aside"])
def test_an_old_file_does_not_come_back_over_a_newer_license(agent: Simulated, how: str) -> None:
    lose(agent, how)
    for _ in range(2):
        assert agent.license()["tier"] == "basic"
    assert kept(agent) == "license-2"


def test_neither_when_it_is_killed_before_it_remembers_anything(agent: Simulated) -> None:
    lose(agent, "gone")
    for step in range(0, 60, 3):
        agent.files.stop_at(step)
        try:
            agent.run("tick")
        except Stopped:
            agent.files.crash()
        agent.files.stop_at(10**9)
        assert kept(agent) == "license-2", step


def test_a_file_that_is_newer_than_what_is_kept_counts_even_then(agent: Simulated) -> None:
    agent.files.put(PATHS.license, license_("license-3", issued=100))
    lose(agent, "gone")
    assert agent.license()["tier"] == "pro"
    assert kept(agent) == "license-3"


def test_a_license_of_another_key_that_is_older_does_not(agent: Simulated) -> None:
    """Perhaps it is meant to; perhaps it was replaced last year. What is kept was certainly meant."""
    agent.files.put(PATHS.import_dir / "other.jws", license_("license-9", issued=600, sub=OTHER))
    lose(agent, "gone")
    agent.license()
    assert kept(agent) == "license-2"


def test_a_file_of_roots_may_go_back_as_long_as_the_memory_is_there(agent: Simulated) -> None:
    agent.files.put(PATHS.license, license_("license-0", issued=1200))
    agent.license()
    assert kept(agent) == "license-0"


def test_what_was_passed_over_counts_when_it_is_put_there_again_on_purpose(agent: Simulated) -> None:
    lose(agent, "gone")
    agent.license()
    agent.install(OLD)
    assert kept(agent) == "license-1"
    agent.files.put(PATHS.license, license_("license-0", issued=1200))
    agent.license()
    assert kept(agent) == "license-0"


@pytest.mark.parametrize("rot", [None, b"rot"])
def test_with_no_license_kept_the_file_of_roots_is_the_license(agent: Simulated, rot: bytes | None) -> None:
    for path in (PATHS.bundle, PATHS.previous_bundle):
        agent.files.take_away(path)
        if rot is not None:
            agent.files.put(path, rot, owner=0, mode=0o600)
    lose(agent, "gone")
    assert agent.license()["tier"] == "pro"
    assert kept(agent) == "license-1"


def test_of_two_files_on_the_first_look_the_newer_counts() -> None:
    for names in (("a", "b"), ("b", "a")):
        agent = Simulated()
        for name, text in zip(names, (OLD, NEW), strict=True):
            agent.files.put(PATHS.import_dir / name, text)
        agent.license()
        assert kept(agent) == "license-2"


def test_an_old_activation_does_not_come_back_over_a_newer_one() -> None:
    agent = Simulated()
    given: list[bytes] = []

    def activate(sealed: Sealed) -> Reply:
        asked = signed_request.verify(sealed.body)
        number = len(given)
        claims: dict[str, Any] = {
            "jti": f"activation-{number}",
            "iat": NOW + number,
            "status": signing.status(200 + number),
        }
        bind = signing.bind(components=asked.components, salt=asked.salt)
        given.append(signing.activation(bind=bind, cnf={"jkt": asked.jwk.kid}, **claims))
        return ok(given[-1], "application/jose")

    agent.network.on("POST", signing.ENDPOINT + "/v1/activations", activate)
    agent.install(signing.lines(signing.delegation(), signing.license()))
    agent.run("activate")
    agent.files.put(PATHS.import_dir / "activation", given[0])
    agent.run("tick")
    agent.clock.advance(3600)
    agent.publish({200: 3})
    agent.run("activate")
    assert agent.run("refresh")["answer"]["license"]["reasons"] == ["ok"]
    lose(agent, "gone")
    assert agent.run("refresh")["answer"]["license"]["reasons"] == ["ok"], "the old one has status 3"


def test_a_key_is_not_exchanged_for_an_older_edition_of_what_is_kept(agent: Simulated) -> None:
    agent.network.on("POST", signing.ENDPOINT + "/v1/bundles", ok(OLD, "application/jose"))
    frame = agent.run("exchange", key=signing.KEY)
    assert (frame["error"]["code"], frame["error"]["detail"]) == ("chain_invalid", "bundle_older")
    assert kept(agent) == "license-2"
    newer = license_("license-3", issued=100)
    agent.network.on("POST", signing.ENDPOINT + "/v1/bundles", ok(newer, "application/jose"))
    assert agent.run("exchange", key=signing.KEY)["ok"]
    assert kept(agent) == "license-3"
