"""Proves where trust starts and how it moves: thresholds of raw keys, one step at a time, old keys and new."""

from collections.abc import Sequence
from typing import Any

import pytest

from fixtures import signing
from fixtures.data.vectors import vectors
from fixtures.refusal import refused
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import FIXED, Purpose
from opanel_agent.core.documents import root as root_document
from opanel_agent.core.documents.root import Destination, first, next_after, split, steps, threshold_met, walk
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ, parse

R1, R2, R3 = signing.ROOTS
R4, R5 = signing.signer("root 4"), signing.signer("root 5")


def test_a_root_reads_as_it_was_written() -> None:
    text = signing.root()
    root = first(text)
    assert (root.iss, root.sub, root.seq, root.threshold) == (signing.VENDOR, signing.VENDOR, 1, 2)
    assert (root.iat, root.exp) == (signing.ISSUED - 30 * signing.DAY, signing.NOW + 365 * signing.DAY)
    assert root.keys["root"] == tuple(each.public for each in signing.ROOTS)
    assert root.keys_of("issuer") == {signing.ISSUER.kid: signing.ISSUER.public}
    assert root.keys_of("nobody") == {}
    assert root.status_uri == signing.STATUS_URI
    assert root.mirrors == (Destination(url=signing.MIRROR, region="eu"),)
    assert set(root.endpoints) == {purpose for purpose in Purpose if purpose not in FIXED}
    assert root.lines == text
    assert first(text[:-1]).lines == text
    assert root.digest == first(signing.root(signers=[R2, R3])).digest


def test_a_role_may_be_absent_and_an_unknown_one_is_ignored() -> None:
    keys = signing.role_keys(oracle=[R4])
    keys["oracle"].append({"kty": "nonsense"})
    del keys["advisory"]
    root = first(signing.root(keys=keys))
    assert "oracle" not in root.keys
    assert root.keys_of("advisory") == {}


def test_x_may_hold_anything() -> None:
    assert first(signing.root(x={"note": [1]})).seq == 1


@pytest.mark.parametrize("signers", [[R1], [R1, R1], [R1, R4], [R4, R5], [signing.ISSUER, R1]])
def test_too_few_of_its_own_keys(signers: Sequence[signing.Signer]) -> None:
    """1 of 3 signatures is refused; so are the same one twice, strangers' and those of other roles."""
    with refused("root_threshold_self", Reason.SIGNATURE_INVALID, threshold=2):
        first(signing.root(signers=signers))


def test_a_signature_that_does_not_hold_counts_nothing() -> None:
    claims = signing.root_claims()
    lines = signing.root_lines(claims, [R1, R2])
    broken = lines[:-5] + b"AAAA\n"
    with refused("root_threshold_self"):
        first(broken)
    assert first(broken + R3.sign(Typ.ROOT, claims)).seq == 1


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"threshold": 1}, "member_value"),
        ({"threshold": 4}, "member_value"),
        ({"threshold": True}, "member_type"),
        ({"seq": 0}, "member_value"),
        ({"iss": "other.example"}, "member_value"),
        ({"exp": signing.ISSUED - 30 * signing.DAY}, "member_value"),
        ({"ver": 2}, "member_value"),
        ({"note": "?"}, "member_unknown"),
        ({"keys": {}}, "member_missing"),
        ({"keys": signing.role_keys(root=[R1, R2, R2])}, "key_duplicate"),
        ({"keys": signing.role_keys(status=[signing.ISSUER])}, "key_duplicate"),
        ({"keys": signing.role_keys(issuer=[R1])}, "key_duplicate"),
        ({"keys": signing.role_keys(status=[signing.signer(str(n)) for n in range(17)])}, "member_value"),
        ({"mirrors": [{"url": "ftp://mirror.example", "region": "eu"}]}, "member_value"),
        ({"mirrors": [{"url": signing.MIRROR}]}, "member_missing"),
        ({"mirrors": [{"url": signing.MIRROR, "region": "eu", "x": {}}]}, "member_unknown"),
        ({"mirrors": [{"url": signing.MIRROR, "region": ""}]}, "member_value"),
        ({"endpoints": {"a b": []}}, "member_value"),
        ({"endpoints": []}, "member_type"),
        ({"status_uri": ""}, "member_value"),
        ({"iss": "a b", "sub": "a b"}, "member_value"),
        *[({name: signing.DROP}, "member_missing") for name in signing.root_claims() if name != "ver"],
    ],
)
def test_what_a_root_must_say(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        first(signing.root(**changes))


def test_the_published_key_is_nobodys() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    with refused("key_published"):
        first(signing.root(keys={**signing.role_keys(), "status": [jwk]}))


def test_shape_of_the_lines() -> None:
    good = signing.root()
    one, two, _ = good.split(b"\n")
    other = R2.sign(Typ.ROOT, signing.root_claims(exp=signing.NOW))
    with refused("root_payloads"):
        first(one + b"\n" + other)
    with refused("jws_typ", where="root"):
        first(one + b"\n" + R2.sign(Typ.LICENSE, signing.root_claims()))
    with refused("root_lines"):
        first(signing.root(endpoints={}, mirrors=[], signers=[R1] * 33))
    with refused("jws_size"):
        first(b"a" * (64 * 1024 + 1))
    padded = signing.root_lines(signing.root_claims(x={"padding": "a" * 30_000}), [R1, R2])
    with refused("jws_size"):
        first(padded)
    for text in (b"", one + b"\n\n" + two, one + b"\r\n" + two, good + b"\n"):
        with refused("jws_shape"):
            first(text)


# ------------------------------------------------------------------------------------------------------------ the walk


def successor(**changes: Any) -> bytes:
    return signing.root(**{"seq": 2, **changes})


def test_the_next_root_needs_the_old_threshold_and_the_new() -> None:
    trusted = first(signing.root())
    moved = {"keys": signing.role_keys(root=[R3, R4, R5])}
    with refused("root_threshold_old", Reason.SIGNATURE_INVALID):
        next_after(trusted, successor(signers=[R4, R5, R3], **moved))
    with refused("root_threshold_new", Reason.SIGNATURE_INVALID):
        next_after(trusted, successor(signers=[R1, R2, R4], **moved))
    assert next_after(trusted, successor(signers=[R1, R3, R4], **moved)).seq == 2


@pytest.mark.parametrize("seq", [1, 3])
def test_only_the_next_number(seq: int) -> None:
    with refused("root_seq", Reason.CHAIN_INVALID, expected=2):
        next_after(first(signing.root()), signing.root(seq=seq))


def test_nothing_is_read_before_the_old_keys_vouch_for_it() -> None:
    with refused("root_threshold_old"):
        next_after(first(signing.root()), signing.root_lines(b"not even json", [R4, R5]))
    with refused("json_syntax"):
        next_after(first(signing.root()), signing.root_lines(b"not even json", [R1, R2]))


def test_an_expired_root_is_followed_all_the_same() -> None:
    """TUF 5.3.10: expiry is asked of the last root only, and not by the walk."""
    trusted = first(signing.root(exp=signing.ISSUED))
    assert next_after(trusted, successor(exp=signing.ISSUED)).seq == 2


def history(count: int) -> tuple[bytes, ...]:
    return tuple(signing.root(seq=seq) for seq in range(1, count + 1))


def test_split_parts_what_it_was_joined_from() -> None:
    roots = history(3)
    assert split(b"".join(roots)) == roots
    assert split(b"".join(roots)[:-1]) == roots
    with refused("jws_shape"):
        split(b"a.b\n")


def test_walk_finds_the_newest_wherever_the_file_begins() -> None:
    roots = history(4)
    trusted = first(roots[1])
    for text in (b"".join(roots), b"".join(roots[1:]), b"".join(roots[2:])):
        assert [each.seq for each in steps(trusted, text)] == [3, 4]
        assert walk(trusted, text).digest == first(roots[3]).digest
    assert walk(trusted, b"".join(roots[:2])) == trusted
    assert walk(trusted, roots[0]) == trusted
    assert walk(trusted, roots[2] + roots[2]).seq == 3


def test_walk_takes_no_step_over_a_gap_and_no_second_root_of_one_number() -> None:
    roots = history(4)
    trusted = first(roots[0])
    with refused("root_seq"):
        walk(trusted, roots[2])
    fork = signing.root(seq=2, exp=signing.NOW + 1)
    with refused("root_fork", Reason.CHAIN_INVALID, seq=2):
        walk(trusted, roots[1] + fork)
    with refused("root_fork"):
        walk(trusted, signing.root(exp=signing.NOW + 1))


def test_walk_refuses_whole_what_is_partly_false() -> None:
    roots = history(3)
    with refused("root_threshold_old"):
        walk(first(roots[0]), roots[1] + signing.root(seq=3, signers=[R1, R4]))


def test_a_walk_ends_after_the_steps_that_it_is_given() -> None:
    roots = history(6)
    assert [root.seq for root in steps(first(roots[0]), b"".join(roots), at_most=3)] == [2, 3, 4]
    forged = roots[1] + signing.root(seq=3, signers=[R1, R4])
    assert steps(first(roots[0]), forged, at_most=1)[-1].seq == 2, "what is beyond is not looked at"
    assert walk(first(roots[0]), b"".join(roots)).seq == 6


# ---------------------------------------------------------------------------------- the fifteen cases of tuf-conformance

CASES = "tuf-conformance/root_rotation_cases.json"


def cases() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = vectors(CASES)["cases"]
    assert len(found) == 15
    return found


def people(indices: Sequence[int]) -> list[signing.Signer]:
    return [signing.signer(f"tuf {index}") for index in indices]


def test_tuf_counting() -> None:
    """The vectors as they are, thresholds of 1 included, against the one function that counts."""
    for name, versions in cases().items():
        before: dict[str, Any] | None = None
        for version in versions:
            lines = [parse(each.sign(Typ.ROOT, dumps(name)), max_bytes=4096) for each in people(version["sigs"])]
            asked = [version] if before is None else [before, version]
            met = all(threshold_met(lines, [s.public for s in people(v["keys"])], v["threshold"]) for v in asked)
            assert met == version["accept"], name
            before = version


def test_tuf_walking() -> None:
    """The whole walk. Our roots know no threshold of 1, so one more key signs everything and each threshold is one more."""
    also = signing.signer("tuf also")
    for versions in cases().values():
        trusted: root_document.Root | None = None
        for seq, version in enumerate(versions, start=1):
            text = signing.root(
                seq=seq,
                threshold=version["threshold"] + 1,
                keys=signing.role_keys(root=[*people(version["keys"]), also]),
                signers=[*people(version["sigs"]), also],
            )
            if version["accept"]:
                trusted = first(text) if trusted is None else next_after(trusted, text)
                continue
            assert trusted is not None
            with pytest.raises(Untrusted, match=r"root_threshold_(old|new)"):
                next_after(trusted, text)
