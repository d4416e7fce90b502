"""The cases of tuf-conformance that are no data, by their names there, on a whole agent; and the fifteen that are.

What a served file cannot do to an agent: lead it past the threshold of the roots it trusts, back, or so far that it stops
working. Whatever is refused leaves the root that it had, and the license goes on.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from fixtures import signing
from fixtures.data.vectors import vectors
from fixtures.simulated.simulated_agent import ROOT_FILE, ROOTS_URL, STATUS_URL, Simulated

CASES = "tuf-conformance/root_rotation_cases.json"
JOSE = "application/jose"
FREE = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
FRESH = signing.lines(signing.delegation(), signing.license(iat=signing.NOW, activation=FREE))
R1, R2, R3 = signing.ROOTS
NEW_STATUS = signing.signer("status 2")


@pytest.fixture
def agent() -> Simulated:
    simulated = Simulated()
    simulated.install(FRESH)
    return simulated


def offered(agent: Simulated, *roots: bytes) -> tuple[int, str | None]:
    """A check with this roots.jws: the agent's root after it, and why the file was refused."""
    agent.network.serve(ROOTS_URL, b"".join(roots), JOSE)
    frame = agent.run("refresh")
    asked = frame["result"]["asked"][0]
    assert frame["answer"]["license"]["state"] == "active"
    return frame["answer"]["root"]["seq"], None if asked["ok"] else asked["error"]["detail"]


def people(indices: Sequence[int]) -> list[signing.Signer]:
    return [signing.signer(f"tuf {index}") for index in indices]


def case(versions: Sequence[dict[str, Any]]) -> list[bytes]:
    """Our roots know no threshold of 1, so one more key signs everything and each threshold is one more."""
    also = signing.signer("tuf also")
    return [
        signing.root(
            seq=seq,
            threshold=version["threshold"] + 1,
            keys=signing.role_keys(root=[*people(version["keys"]), also]),
            signers=[*people(version["sigs"]), also],
        )
        for seq, version in enumerate(versions, start=1)
    ]


def test_root_rotation_cases_on_an_agent() -> None:
    """Fetched after each version, and once for whoever slept through them all."""
    for name, versions in vectors(CASES)["cases"].items():
        roots = case(versions)
        awake, asleep = Simulated(), Simulated()
        for each in (awake, asleep):
            each.files.put(ROOT_FILE, roots[0])
            each.install(FRESH)
        reached = 1
        for seq, version in enumerate(versions[1:], start=2):
            reached = seq if version["accept"] else reached
            assert offered(awake, *roots[:seq])[0] == reached, name
        # A file that is false somewhere is refused whole: who slept stays where he is.
        assert offered(asleep, *roots)[0] == (len(roots) if versions[-1]["accept"] else 1), name


def test_max_root_rotations(agent: Simulated) -> None:
    roots = [signing.root(seq=seq) for seq in range(1, 67)]
    assert offered(agent, *roots) == (65, None), "64 with one check"
    assert agent.run("tick")["answer"]["root"]["seq"] == 65, "and all are walked again at each load"
    assert offered(agent, *roots) == (66, None), "the others with the next"
    assert agent.run("tick")["answer"]["root"]["seq"] == 66


def test_root_version_does_not_fit(agent: Simulated) -> None:
    assert offered(agent, signing.root(), signing.root(seq=3)) == (1, "root_seq")
    assert offered(agent, signing.root(), signing.root(seq=2), signing.root(seq=2, exp=signing.NOW + 9)) == (
        1,
        "root_fork",
    )


def test_root_rollback(agent: Simulated) -> None:
    """A mirror that lags, or lies about what there is, takes nothing back."""
    roots = [signing.root(seq=seq) for seq in (1, 2, 3)]
    assert offered(agent, *roots) == (3, None)
    assert offered(agent, *roots[:2]) == (3, None)
    assert offered(agent, roots[0]) == (3, None)
    assert offered(agent, *roots[:2], signing.root(seq=3, exp=signing.NOW + 9))[0] == 3


def test_intermediate_root_expired(agent: Simulated) -> None:
    expired = signing.root(seq=2, exp=signing.NOW - 1)
    assert offered(agent, signing.root(), expired, signing.root(seq=3)) == (3, None)


def test_expired_local_root(agent: Simulated) -> None:
    """An expired root admits no new license; the installed one, the next root and status lists go on."""
    assert offered(agent, signing.root(), signing.root(seq=2, exp=signing.NOW + 60)) == (2, None)
    agent.clock.advance(600)
    agent.publish({})
    license_ = agent.run("refresh")["answer"]["license"]
    assert (license_["state"], license_["last_success"]) == ("active", agent.clock.wall_s)
    assert "root_old" in license_["reasons"]
    refused = agent.install(signing.lines(signing.delegation(), signing.license(jti="license-2", iat=signing.NOW)))
    assert refused["error"]["detail"] == "root_expired"
    whole = (signing.root(), signing.root(seq=2, exp=signing.NOW + 60), signing.root(seq=3))
    assert offered(agent, *whole) == (3, None)
    assert agent.install(signing.lines(signing.delegation(), signing.license(jti="license-2", iat=signing.NOW)))["ok"]


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"keys": signing.role_keys(root=[R1, R2, R2])}, "key_duplicate"),
        ({"threshold": 4}, "member_value"),
        ({"signers": [R1, R1]}, "root_threshold_old"),
        ({"signers": [R1, signing.STATUS]}, "root_threshold_old"),
    ],
    ids=["duplicate_keys", "threshold_larger_than_keys", "duplicate_signatures", "key_of_another_role"],
)
def test_root_that_must_not_count(agent: Simulated, changes: dict[str, Any], detail: str) -> None:
    assert offered(agent, signing.root(), signing.root(seq=2, **changes)) == (1, detail)


def status(agent: Simulated, by: signing.Signer, iat: int) -> str | None:
    """A check that brings this list: None where it was accepted, else why it was not."""
    token = signing.status_list({}, by=by, iat=iat, exp=iat + 7 * signing.DAY)
    agent.network.serve(STATUS_URL, token, "application/statuslist+jwt")
    asked = agent.run("refresh")["result"]["asked"][1]
    return None if asked["ok"] else str(asked["error"]["detail"])


def test_timestamp_rollback(agent: Simulated) -> None:
    assert status(agent, signing.STATUS, signing.NOW) is None
    assert status(agent, signing.STATUS, signing.NOW - 1) == "status_list_older"
    assert status(agent, signing.STATUS, signing.NOW) is None, "the same again is no step back"


def test_fast_forward_recovery(agent: Simulated) -> None:
    """A stolen status key signed a list of next month: its floor, and the time that it proved, go with the key."""
    ahead = signing.NOW + 20 * signing.DAY
    assert status(agent, signing.STATUS, ahead) is None
    assert agent.license()["as_of"] == ahead
    assert status(agent, signing.STATUS, signing.NOW + 1) == "status_list_older"
    assert offered(agent, signing.root(), signing.root(seq=2, keys=signing.role_keys(status=[NEW_STATUS]))) == (2, None)
    assert status(agent, NEW_STATUS, signing.NOW + 2) is None
    assert agent.license()["as_of"] == signing.NOW + 2
    assert status(agent, signing.STATUS, ahead + 1) is not None, "and the thief's list is nobody's"


def test_cached_role_is_verified_against_current_delegator(agent: Simulated) -> None:
    """A list is asked at every load whether the newest root still knows its key."""
    agent.publish({signing.LICENSE_IDX: 2})
    agent.run("refresh")
    assert agent.license()["state"] == "grace"
    agent.network.serve(
        ROOTS_URL, signing.root() + signing.root(seq=2, keys=signing.role_keys(status=[NEW_STATUS])), JOSE
    )
    agent.run("refresh")
    agent.publish({})
    frame = agent.run("refresh")
    assert frame["result"]["asked"][1]["ok"] is False
    assert status(agent, NEW_STATUS, signing.NOW + 1) is None
    assert agent.license()["state"] == "active"
