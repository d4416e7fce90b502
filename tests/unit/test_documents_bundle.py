"""Proves that a bundle is taken whole or not at all, each line verified by the one above it, and from bytes each time."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import forge
from fakes.refusal import refused
from opanel_agent.core.documents.bundle import MAX_BYTES, Bundle, verify
from opanel_agent.core.documents.jws import Typ
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.reasons import Reason

ROOT = forge.trusted_root()
MIDDLE = forge.signer("middle")


def verified(*documents: bytes) -> Bundle:
    return verify(forge.lines(*documents), ROOT, now=forge.NOW)


def child(**changes: Any) -> bytes:
    """A second link, from the reseller to one of his own, as wide as it may be."""
    defaults: dict[str, Any] = {
        "by": forge.DELEGATE,
        "iss": forge.RESELLER,
        "sub": "sub.example",
        "jti": "delegation-2",
        "cnf": {"jwk": MIDDLE.jwk},
        "may": forge.may(depth=1),
        "status": forge.status(150),
    }
    return forge.delegation(**{**defaults, **changes})


def under_child(**changes: Any) -> bytes:
    return forge.license(**{"by": MIDDLE, "iss": "sub.example", **changes})


def test_a_bundle_reads_as_it_was_written() -> None:
    text = forge.bundle()
    bundle = verify(text, ROOT, now=forge.NOW)
    assert [each.sub for each in bundle.delegations] == [forge.RESELLER]
    assert bundle.license.sub == forge.KEY
    assert bundle.activation is not None
    assert bundle.activation.sub == forge.KEY
    assert bundle.text == text
    assert bundle.newest_iat == forge.ISSUED + forge.DAY
    assert verify(text[:-1], ROOT, now=None).license == bundle.license


def test_an_activation_is_not_required() -> None:
    bundle = verify(forge.bundle(activated=False), ROOT, now=forge.NOW)
    assert bundle.activation is None
    assert bundle.newest_iat == forge.ISSUED


def test_the_newest_document_counts_wherever_it_stands() -> None:
    assert verified(forge.delegation(iat=forge.NOW), forge.license()).newest_iat == forge.NOW


def test_a_resellers_delegation_says_nothing_of_how_fresh_the_status_is() -> None:
    found = verified(forge.delegation(), child(iat=forge.NOW + 300 * forge.DAY), under_child())
    assert found.newest_iat == forge.ISSUED


# ---------------------------------------------------------------------------------------------------------- the lines


@pytest.mark.parametrize(
    "documents",
    [
        [],
        [forge.license()],
        [forge.delegation()],
        [forge.license(), forge.delegation()],
        [forge.delegation(), forge.activation()],
        [forge.delegation(), forge.activation(), forge.license()],
        [forge.delegation(), forge.license(), forge.license()],
        [forge.delegation(), forge.license(), forge.activation(), forge.activation()],
        [forge.delegation(), forge.license(), forge.status_list()],
        [forge.delegation(), forge.license(), child()],
        [forge.activation(), forge.delegation(), forge.license()],
    ],
)
def test_the_order_is_fixed(documents: list[bytes]) -> None:
    with refused("bundle_order" if documents else "jws_shape", Reason.FORMAT_INVALID):
        verified(*documents)


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
        (forge.bundle() + b"\n", 4),
        (forge.bundle().replace(b"\n", b"\r\n"), 1),
        (b"\xef\xbb\xbf" + forge.bundle(), 1),
        (forge.bundle().replace(b"\n", b"\n\n", 1), 2),
        (forge.bundle()[:-100], 3),
    ],
)
def test_what_is_no_jws_is_told_with_its_line(text: bytes, line: int) -> None:
    with refused("jws_shape", line=line):
        verify(text, ROOT, now=None)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    text = forge.bundle()
    place = data.draw(st.integers(0, len(text) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != text[place]))
    with pytest.raises(Untrusted):
        verify(text[:place] + bytes([byte]) + text[place + 1 :], ROOT, now=None)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(forge.bundle()) - 2))
def test_nothing_can_be_cut_but_a_whole_last_line(length: int) -> None:
    text = forge.bundle()
    without_activation = forge.bundle(activated=False)
    if length in (len(without_activation), len(without_activation) - 1):
        return
    with pytest.raises(Untrusted):
        verify(text[:length], ROOT, now=None)


# ---------------------------------------------------------------------------------------------------------- the chain


def test_each_line_is_signed_by_the_key_that_the_line_above_names() -> None:
    with refused("key_unknown", Reason.CHAIN_INVALID, line=1):
        verified(forge.delegation(by=forge.DELEGATE), forge.license())
    with refused("key_unknown", line=2):
        verified(forge.delegation(), forge.license(by=forge.ISSUER))
    with refused("key_unknown", line=3):
        verified(forge.delegation(), child(), forge.license())
    with refused("key_unknown", line=3):
        verified(forge.delegation(), forge.license(), forge.activation(by=forge.DELEGATE))


@pytest.mark.parametrize("role", [forge.ACTIVATION, forge.STATUS, forge.RECEIPT, forge.ADVISORY, *forge.ROOTS])
def test_only_the_issuer_role_delegates(role: forge.Signer) -> None:
    with refused("key_unknown", line=1):
        verified(forge.delegation(by=role), forge.license())


@pytest.mark.parametrize("role", [forge.ISSUER, forge.STATUS, forge.RECEIPT, forge.ADVISORY, *forge.ROOTS])
def test_only_the_activation_role_activates(role: forge.Signer) -> None:
    with refused("key_unknown", line=3):
        verified(forge.delegation(), forge.license(), forge.activation(by=role))


def test_a_delegates_key_signs_no_delegation_as_a_license() -> None:
    with refused("member_missing", where="license", line=2):
        verified(forge.delegation(), forge.DELEGATE.sign(Typ.LICENSE, forge.delegation_claims()))


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([forge.delegation(iss="other.example"), forge.license()], 1),
        ([forge.delegation(), forge.license(iss=forge.VENDOR)], 2),
        ([forge.delegation(), child(iss=forge.VENDOR), under_child()], 2),
        ([forge.delegation(), child(), under_child(iss=forge.RESELLER)], 3),
        ([forge.delegation(), forge.license(), forge.activation(iss=forge.RESELLER)], 3),
    ],
)
def test_the_issuer_is_the_parents_subject(documents: list[bytes], line: int) -> None:
    with refused("issuer", Reason.CHAIN_INVALID, line=line):
        verified(*documents)


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([forge.delegation(status=forge.status(1, "urn:other")), forge.license()], 1),
        ([forge.delegation(), forge.license(status=forge.status(100, "urn:other"))], 2),
        ([forge.delegation(), forge.license(), forge.activation(status=forge.status(200, "urn:other"))], 3),
    ],
)
def test_every_status_is_in_the_roots_list(documents: list[bytes], line: int) -> None:
    with refused("status_uri", Reason.CHAIN_INVALID, line=line):
        verified(*documents)


def test_a_chain_of_two() -> None:
    bundle = verified(forge.delegation(), child(), under_child(), forge.activation())
    assert [each.sub for each in bundle.delegations] == [forge.RESELLER, "sub.example"]


def test_a_chain_as_long_as_the_lines_hold() -> None:
    people = [forge.DELEGATE, *(forge.signer(f"link {depth}") for depth in range(5))]
    links = [forge.delegation(may=forge.may(depth=9))]
    for number, (parent, heir) in enumerate(itertools.pairwise(people)):
        iss = forge.RESELLER if number == 0 else f"link{number}.example"
        links.append(
            child(
                by=parent,
                iss=iss,
                sub=f"link{number + 1}.example",
                cnf={"jwk": heir.jwk},
                may=forge.may(depth=8 - number),
            )
        )
    last = forge.license(by=people[-1], iss="link5.example")
    assert len(verified(*links, last, forge.activation()).delegations) == 6
    with refused("bundle_lines"):
        verified(*links, child(), last, forge.activation())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"may": forge.may()}, "depth"),
        ({"may": forge.may(depth=1, features=["everything"])}, "features"),
        ({"may": forge.may(depth=1, limits={})}, "limits"),
        ({"may": forge.may(depth=1, slots=[500, 1001])}, "slots"),
        ({"status": forge.status(99)}, "status"),
    ],
)
def test_a_wider_child_is_refused_not_trimmed(changes: dict[str, Any], name: str) -> None:
    with refused("delegation_wider", Reason.CHAIN_INVALID, name=name, line=2):
        verified(forge.delegation(), child(**changes), under_child())


def test_depth_0_delegates_no_further() -> None:
    with refused("delegation_wider", name="depth"):
        verified(forge.delegation(may=forge.may(depth=0)), child(may=forge.may(depth=0)), under_child())
    assert verified(forge.delegation(may=forge.may(depth=0)), forge.license()).license.slot == 7


def test_a_license_is_held_to_the_last_link() -> None:
    with refused("license_wider", Reason.CHAIN_INVALID, name="slot", line=3):
        verified(forge.delegation(), child(may=forge.may(depth=1, slots=[100, 200])), under_child())
    with refused("license_wider", name="iat", line=2):
        verified(forge.delegation(may=forge.may(issue_until=forge.ISSUED - 1)), forge.license())


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ({"nbf": forge.ISSUED + 1}, {}, "nbf"),
        ({}, {"nbf": forge.ISSUED + 1}, "nbf"),
        ({"exp": forge.NOW + 335 * forge.DAY - 1}, {}, "exp"),
        ({}, {"exp": forge.NOW + 335 * forge.DAY - 1}, "exp"),
    ],
)
def test_a_license_lies_within_every_delegations_term(first: dict[str, Any], second: dict[str, Any], name: str) -> None:
    with refused("license_wider", name=name, line=3):
        verified(forge.delegation(**first), child(**second), under_child())


def test_a_license_may_fill_the_term() -> None:
    term: dict[str, Any] = {"nbf": forge.ISSUED, "exp": forge.NOW + 335 * forge.DAY}
    assert verified(forge.delegation(**term), forge.license()).license.exp == term["exp"]


def test_a_license_outlives_the_date_to_issue() -> None:
    bundle = verified(forge.delegation(may=forge.may(issue_until=forge.ISSUED)), forge.license())
    assert bundle.license.exp > forge.NOW


@pytest.mark.parametrize("key", [forge.ISSUER, forge.ACTIVATION, forge.STATUS, forge.ROOTS[0]])
def test_a_key_has_one_role(key: forge.Signer) -> None:
    with refused("key_duplicate", Reason.CHAIN_INVALID, line=1):
        verified(forge.delegation(cnf={"jwk": key.jwk}), forge.license(by=key))


def test_a_key_appears_once_in_a_chain() -> None:
    with refused("key_duplicate", line=2):
        verified(forge.delegation(), child(cnf={"jwk": forge.DELEGATE.jwk}), under_child(by=forge.DELEGATE))


def test_a_published_key_is_nobodys() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    with refused("key_published", line=1):
        verified(forge.delegation(cnf={"jwk": jwk}), forge.license())


# ------------------------------------------------------------------------------------------------- activation and root


def test_an_activation_belongs_to_its_license_and_lasts_as_long() -> None:
    with refused("activation_sub", Reason.CHAIN_INVALID, line=3):
        verified(forge.delegation(), forge.license(), forge.activation(sub="somebody else's"))
    with refused("activation_ends_early", Reason.CHAIN_INVALID, line=3):
        verified(forge.delegation(), forge.license(), forge.activation(exp=forge.NOW + 335 * forge.DAY - 1))


def test_a_renewed_license_keeps_its_activation_if_it_lasts() -> None:
    renewed = forge.license(iat=forge.NOW, jti="license-2", exp=forge.NOW + 350 * forge.DAY)
    bundle = verified(forge.delegation(), renewed, forge.activation(exp=forge.NOW + 700 * forge.DAY))
    assert bundle.license.jti == "license-2"


def test_an_expired_root_accepts_nothing_new_and_unmakes_nothing() -> None:
    root = forge.trusted_root(exp=forge.NOW)
    with refused("root_expired", Reason.CHAIN_INVALID):
        verify(forge.bundle(), root, now=forge.NOW)
    assert verify(forge.bundle(), root, now=forge.NOW - 1).license.jti == "license-1"
    assert verify(forge.bundle(), root, now=None).license.jti == "license-1"


def test_an_expired_license_is_still_a_true_one() -> None:
    ended = forge.license(exp=forge.ISSUED + 1)
    assert verified(forge.delegation(), ended).license.exp < forge.NOW


def test_another_authoritys_bundle_is_foreign() -> None:
    other = forge.trusted_root(keys=forge.role_keys(issuer=[forge.signer("another issuer")]))
    with refused("key_unknown", Reason.CHAIN_INVALID, line=1):
        verify(forge.bundle(), other, now=forge.NOW)
