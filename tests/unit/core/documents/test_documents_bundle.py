"""Proves that a bundle is taken whole or not at all, each line verified by the one above it, and from bytes each time."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.bundle import MAX_BYTES, Bundle, shards, verify
from opanel_agent.core.documents.status_list import SHARD_ENTRIES, shard_uri
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Typ

ROOT = signing.trusted_root()
MIDDLE = signing.signer("middle")


def verified(*documents: bytes) -> Bundle:
    return verify(signing.lines(*documents), ROOT, now=signing.NOW)


def child(**changes: Any) -> bytes:
    """A second link, from the reseller to one of his own, as wide as it may be."""
    defaults: dict[str, Any] = {
        "by": signing.DELEGATE,
        "iss": signing.RESELLER,
        "sub": "sub.example",
        "jti": "delegation-2",
        "cnf": {"jwk": MIDDLE.jwk},
        "may": signing.may(depth=1),
        "status": signing.status(150),
    }
    return signing.delegation(**{**defaults, **changes})


def under_child(**changes: Any) -> bytes:
    return signing.license(**{"by": MIDDLE, "iss": "sub.example", **changes})


def test_a_bundle_reads_as_it_was_written() -> None:
    text = signing.bundle()
    bundle = verify(text, ROOT, now=signing.NOW)
    assert [each.sub for each in bundle.delegations] == [signing.RESELLER]
    assert bundle.license.sub == signing.KEY
    assert bundle.activation is not None
    assert bundle.activation.sub == signing.KEY
    assert bundle.text == text
    assert bundle.newest_iat == signing.ISSUED + signing.DAY
    assert verify(text[:-1], ROOT, now=None).license == bundle.license


def test_an_activation_is_not_required() -> None:
    bundle = verify(signing.bundle(activated=False), ROOT, now=signing.NOW)
    assert bundle.activation is None
    assert bundle.newest_iat == signing.ISSUED


def test_the_newest_document_counts_wherever_it_stands() -> None:
    assert verified(signing.delegation(iat=signing.NOW), signing.license()).newest_iat == signing.NOW


def test_a_resellers_delegation_says_nothing_of_how_fresh_the_status_is() -> None:
    found = verified(signing.delegation(), child(iat=signing.NOW + 300 * signing.DAY), under_child())
    assert found.newest_iat == signing.ISSUED


# ---------------------------------------------------------------------------------------------------------- the lines


@pytest.mark.parametrize(
    "documents",
    [
        [],
        [signing.delegation()],
        [signing.license(), signing.delegation()],
        [signing.delegation(), signing.activation()],
        [signing.delegation(), signing.activation(), signing.license()],
        [signing.delegation(), signing.license(), signing.license()],
        [signing.delegation(), signing.license(), signing.activation(), signing.activation()],
        [signing.delegation(), signing.license(), signing.status_list()],
        [signing.delegation(), signing.license(), child()],
        [signing.activation(), signing.delegation(), signing.license()],
    ],
)
def test_the_order_is_fixed(documents: list[bytes]) -> None:
    with refused("bundle_order" if documents else "jws_shape", Reason.FORMAT_INVALID):
        verified(*documents)


def test_a_license_without_its_delegation_says_which_line_is_missing() -> None:
    with refused("bundle_delegation_missing", Reason.FORMAT_INVALID, line=1):
        verified(signing.license())


def test_size_and_lines_are_capped() -> None:
    with refused("bundle_size", max_bytes=MAX_BYTES):
        verify(b"a" * (MAX_BYTES + 1), ROOT, now=None)
    with refused("bundle_lines", max_lines=8):
        verify(b"\n" * 9, ROOT, now=None)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", 1),
        (b"\x7fELF\x00\x01", 1),
        (signing.bundle() + b"\n", 4),
        (signing.bundle().replace(b"\n", b"\r\n"), 1),
        (b"\xef\xbb\xbf" + signing.bundle(), 1),
        (signing.bundle().replace(b"\n", b"\n\n", 1), 2),
        (signing.bundle()[:-100], 3),
    ],
)
def test_what_is_no_jws_is_told_with_its_line(text: bytes, line: int) -> None:
    with refused("jws_shape", line=line):
        verify(text, ROOT, now=None)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    text = signing.bundle()
    place = data.draw(st.integers(0, len(text) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != text[place]))
    with pytest.raises(Untrusted):
        verify(text[:place] + bytes([byte]) + text[place + 1 :], ROOT, now=None)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(signing.bundle()) - 2))
def test_nothing_can_be_cut_but_a_whole_last_line(length: int) -> None:
    text = signing.bundle()
    without_activation = signing.bundle(activated=False)
    if length in (len(without_activation), len(without_activation) - 1):
        return
    with pytest.raises(Untrusted):
        verify(text[:length], ROOT, now=None)


# ---------------------------------------------------------------------------------------------------------- the chain


def test_each_line_is_signed_by_the_key_that_the_line_above_names() -> None:
    with refused("key_unknown", Reason.CHAIN_INVALID, line=1):
        verified(signing.delegation(by=signing.DELEGATE), signing.license())
    with refused("key_unknown", line=2):
        verified(signing.delegation(), signing.license(by=signing.ISSUER))
    with refused("key_unknown", line=3):
        verified(signing.delegation(), child(), signing.license())
    with refused("key_unknown", line=3):
        verified(signing.delegation(), signing.license(), signing.activation(by=signing.DELEGATE))


@pytest.mark.parametrize(
    "role", [signing.ACTIVATION, signing.STATUS, signing.RECEIPT, signing.ADVISORY, *signing.ROOTS]
)
def test_only_the_issuer_role_delegates(role: signing.Signer) -> None:
    with refused("key_unknown", line=1):
        verified(signing.delegation(by=role), signing.license())


@pytest.mark.parametrize("role", [signing.ISSUER, signing.STATUS, signing.RECEIPT, signing.ADVISORY, *signing.ROOTS])
def test_only_the_activation_role_activates(role: signing.Signer) -> None:
    with refused("key_unknown", line=3):
        verified(signing.delegation(), signing.license(), signing.activation(by=role))


def test_a_delegates_key_signs_no_delegation_as_a_license() -> None:
    with refused("member_missing", where="license", line=2):
        verified(signing.delegation(), signing.DELEGATE.sign(Typ.LICENSE, signing.delegation_claims()))


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([signing.delegation(iss="other.example"), signing.license()], 1),
        ([signing.delegation(), signing.license(iss=signing.VENDOR)], 2),
        ([signing.delegation(), child(iss=signing.VENDOR), under_child()], 2),
        ([signing.delegation(), child(), under_child(iss=signing.RESELLER)], 3),
        ([signing.delegation(), signing.license(), signing.activation(iss=signing.RESELLER)], 3),
    ],
)
def test_the_issuer_is_the_parents_subject(documents: list[bytes], line: int) -> None:
    with refused("issuer", Reason.CHAIN_INVALID, line=line):
        verified(*documents)


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([signing.delegation(status=signing.status(1, "urn:other")), signing.license()], 1),
        ([signing.delegation(), signing.license(status=signing.status(100, "urn:other"))], 2),
        ([signing.delegation(), signing.license(), signing.activation(status=signing.status(200, "urn:other"))], 3),
    ],
)
def test_every_status_is_in_the_roots_list(documents: list[bytes], line: int) -> None:
    with refused("status_uri", Reason.CHAIN_INVALID, line=line):
        verified(*documents)


def in_shard(shard: int, idx: int) -> Any:
    return signing.status(idx, shard_uri(signing.STATUS_URI, shard))


def wide(start: int, end: int) -> bytes:
    return signing.delegation(may=signing.may(status_range=[start, end]))


def test_an_entry_counts_through_all_shards() -> None:
    """The 10 millionth is in shard 9, and a range may reach over the end of a shard."""
    far = 10_000_000
    held = verified(wide(far, far + 1), signing.license(status=in_shard(9, far - 9 * SHARD_ENTRIES)))
    assert shards(held, ROOT) == (0, 9)
    over = wide(SHARD_ENTRIES - 1, SHARD_ENTRIES + 1)
    for status in (in_shard(0, SHARD_ENTRIES - 1), in_shard(1, 0)):
        assert verified(over, signing.license(status=status)).license.status.uri == status["status_list"]["uri"]
    with refused("license_wider", Reason.CHAIN_INVALID, line=2, name="status"):
        verified(over, signing.license(status=in_shard(1, 1)))


def test_a_delegations_own_entry_counts_through_all_shards_too() -> None:
    parent = signing.delegation(may=signing.may(status_range=[SHARD_ENTRIES, 2 * SHARD_ENTRIES]))
    within = signing.may(depth=1, status_range=[SHARD_ENTRIES, SHARD_ENTRIES + 9])
    held = verified(
        parent, child(status=in_shard(1, 150), may=within), under_child(status=in_shard(1, 5)), signing.activation()
    )
    assert shards(held, ROOT) == (0, 1)
    with refused("delegation_wider", Reason.CHAIN_INVALID, line=2, name="status"):
        verified(parent, child(status=in_shard(0, 150), may=within), under_child(status=in_shard(1, 5)))


def test_a_server_without_a_license_needs_the_first_shard() -> None:
    assert shards(None, ROOT) == (0,)
    assert shards(verified(signing.delegation(), signing.license()), ROOT) == (0,)


@pytest.mark.parametrize("shard", [0, 1])
def test_an_index_beyond_a_shard_is_refused(shard: int) -> None:
    """It would be another shard's number, and no list would ever say anything of it."""
    with refused("status_idx", Reason.CHAIN_INVALID, line=2):
        verified(wide(0, 64 * SHARD_ENTRIES), signing.license(status=in_shard(shard, SHARD_ENTRIES)))


@pytest.mark.parametrize("uri", ["urn:example:status/0.jwt", "urn:example:status/64.jwt", "urn:example:status/01.jwt"])
def test_what_is_no_shards_name_is_refused(uri: str) -> None:
    with refused("status_uri", Reason.CHAIN_INVALID, line=2):
        verified(wide(0, 64 * SHARD_ENTRIES), signing.license(status=signing.status(5, uri)))


def test_a_chain_of_two() -> None:
    bundle = verified(signing.delegation(), child(), under_child(), signing.activation())
    assert [each.sub for each in bundle.delegations] == [signing.RESELLER, "sub.example"]


def test_a_chain_as_long_as_the_lines_hold() -> None:
    people = [signing.DELEGATE, *(signing.signer(f"link {depth}") for depth in range(5))]
    links = [signing.delegation(may=signing.may(depth=9))]
    for number, (parent, heir) in enumerate(itertools.pairwise(people)):
        iss = signing.RESELLER if number == 0 else f"link{number}.example"
        links.append(
            child(
                by=parent,
                iss=iss,
                sub=f"link{number + 1}.example",
                cnf={"jwk": heir.jwk},
                may=signing.may(depth=8 - number),
            )
        )
    last = signing.license(by=people[-1], iss="link5.example")
    assert len(verified(*links, last, signing.activation()).delegations) == 6
    with refused("bundle_lines"):
        verified(*links, child(), last, signing.activation())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"may": signing.may()}, "depth"),
        ({"may": signing.may(depth=1, features=["everything"])}, "features"),
        ({"may": signing.may(depth=1, limits={})}, "limits"),
        ({"may": signing.may(depth=1, slots=[500, 1001])}, "slots"),
        ({"status": signing.status(99)}, "status"),
    ],
)
def test_a_wider_child_is_refused_not_trimmed(changes: dict[str, Any], name: str) -> None:
    with refused("delegation_wider", Reason.CHAIN_INVALID, name=name, line=2):
        verified(signing.delegation(), child(**changes), under_child())


def test_depth_0_delegates_no_further() -> None:
    with refused("delegation_wider", name="depth"):
        verified(signing.delegation(may=signing.may(depth=0)), child(may=signing.may(depth=0)), under_child())
    assert verified(signing.delegation(may=signing.may(depth=0)), signing.license()).license.slot == 7


def test_a_license_is_held_to_the_last_link() -> None:
    with refused("license_wider", Reason.CHAIN_INVALID, name="slot", line=3):
        verified(signing.delegation(), child(may=signing.may(depth=1, slots=[100, 200])), under_child())
    with refused("license_wider", name="iat", line=2):
        verified(signing.delegation(may=signing.may(issue_until=signing.ISSUED - 1)), signing.license())


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ({"nbf": signing.ISSUED + 1}, {}, "nbf"),
        ({}, {"nbf": signing.ISSUED + 1}, "nbf"),
        ({"exp": signing.NOW + 335 * signing.DAY - 1}, {}, "exp"),
        ({}, {"exp": signing.NOW + 335 * signing.DAY - 1}, "exp"),
    ],
)
def test_a_license_lies_within_every_delegations_term(first: dict[str, Any], second: dict[str, Any], name: str) -> None:
    with refused("license_wider", name=name, line=3):
        verified(signing.delegation(**first), child(**second), under_child())


def test_a_license_may_fill_the_term() -> None:
    term: dict[str, Any] = {"nbf": signing.ISSUED, "exp": signing.NOW + 335 * signing.DAY}
    assert verified(signing.delegation(**term), signing.license()).license.exp == term["exp"]


def test_a_license_outlives_the_date_to_issue() -> None:
    bundle = verified(signing.delegation(may=signing.may(issue_until=signing.ISSUED)), signing.license())
    assert bundle.license.exp > signing.NOW


@pytest.mark.parametrize("key", [signing.ISSUER, signing.ACTIVATION, signing.STATUS, signing.ROOTS[0]])
def test_a_key_has_one_role(key: signing.Signer) -> None:
    with refused("key_duplicate", Reason.CHAIN_INVALID, line=1):
        verified(signing.delegation(cnf={"jwk": key.jwk}), signing.license(by=key))


def test_a_key_appears_once_in_a_chain() -> None:
    with refused("key_duplicate", line=2):
        verified(signing.delegation(), child(cnf={"jwk": signing.DELEGATE.jwk}), under_child(by=signing.DELEGATE))


def test_a_published_key_is_nobodys() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    with refused("key_published", line=1):
        verified(signing.delegation(cnf={"jwk": jwk}), signing.license())


# ------------------------------------------------------------------------------------------------- activation and root


def test_an_activation_belongs_to_its_license_and_lasts_as_long() -> None:
    with refused("activation_sub", Reason.CHAIN_INVALID, line=3):
        verified(signing.delegation(), signing.license(), signing.activation(sub="somebody else's"))
    with refused("activation_ends_early", Reason.CHAIN_INVALID, line=3):
        verified(signing.delegation(), signing.license(), signing.activation(exp=signing.NOW + 335 * signing.DAY - 1))


def test_a_renewed_license_keeps_its_activation_if_it_lasts() -> None:
    renewed = signing.license(iat=signing.NOW, jti="license-2", exp=signing.NOW + 350 * signing.DAY)
    bundle = verified(signing.delegation(), renewed, signing.activation(exp=signing.NOW + 700 * signing.DAY))
    assert bundle.license.jti == "license-2"


def test_an_expired_root_accepts_nothing_new_and_unmakes_nothing() -> None:
    root = signing.trusted_root(exp=signing.NOW)
    with refused("root_expired", Reason.CHAIN_INVALID):
        verify(signing.bundle(), root, now=signing.NOW)
    assert verify(signing.bundle(), root, now=signing.NOW - 1).license.jti == "license-1"
    assert verify(signing.bundle(), root, now=None).license.jti == "license-1"


def test_an_expired_license_is_still_a_true_one() -> None:
    ended = signing.license(exp=signing.ISSUED + 1)
    assert verified(signing.delegation(), ended).license.exp < signing.NOW


def test_another_authoritys_bundle_is_foreign() -> None:
    other = signing.trusted_root(keys=signing.role_keys(issuer=[signing.signer("another issuer")]))
    with refused("key_unknown", Reason.CHAIN_INVALID, line=1):
        verify(signing.bundle(), other, now=signing.NOW)
