"""Proves that a release manifest holds only under the threshold of the root's release keys, and says only what it may."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import root as roots
from opanel_agent.core.documents.root import Root
from opanel_agent.core.errors import Misconfigured
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.release import manifest
from opanel_agent.core.release.manifest import InstallLayout, Manifest, Wheels

EXAMPLES = Path(__file__).resolve().parents[4] / "docs/examples"
SECOND, STRANGER = signing.signer("release 2"), signing.signer("release 3")
HEX = hashlib.sha256(b"").hexdigest()


def two_of_two() -> Root:
    keys = {**signing.role_keys(), "release": signing.release_role([signing.RELEASE, SECOND], 2)}
    return signing.trusted_root(keys=keys)


def verify(text: bytes | None = None, **changes: Any) -> Manifest:
    return manifest.verify(signing.release(**changes) if text is None else text, signing.trusted_root())


def test_a_manifest_reads_as_it_was_written() -> None:
    layout = signing.layout()
    assert verify() == Manifest(
        iss=signing.VENDOR,
        iat=signing.NOW - 3600,
        version="0.1.0",
        notice="2026-12-03",
        systemd=247,
        artifacts={"opanel-agent_0.1.0_all.deb": hashlib.sha256(b"deb").hexdigest()},
        layouts={
            "installer": InstallLayout(
                place="/opt/opanel-agent/env",
                folders=("modules",),
                files=layout["files"],
                links=layout["links"],
                wheels=Wheels(folder="/opt/opanel-agent/wheels", lock="/opt/opanel-agent/packaging/agent.lock"),
            )
        },
        signatures=1,
    )
    assert verify(layouts={"deb": signing.layout(wheels=signing.DROP)}).layouts["deb"].wheels is None
    assert verify(artifacts={}, layouts={}).layouts == {}


def test_what_the_environment_of_a_release_holds_is_a_part_of_each_layout_that_has_it() -> None:
    environment = {"files": {"env/bin/python3.13": HEX}, "links": {"env/bin/python": "python3.13"}}
    tar = signing.layout(folders=["env"], files={"/a": HEX}, links={"/b": "c"}, wheels=signing.DROP)
    read = verify(environment=environment, layouts={"tar": tar, "installer": signing.layout()}).layouts
    assert (read["tar"].files, read["tar"].links) == (
        {"/a": HEX, "env/bin/python3.13": HEX},
        {"/b": "c", "env/bin/python": "python3.13"},
    )
    assert (read["tar"].carries_interpreter, read["installer"].carries_interpreter) == (True, False)
    assert read["installer"].files == signing.layout()["files"]
    without = {**tar, "files": {"env/stamp": HEX}, "links": {}}
    assert verify(layouts={"tar": without}).layouts["tar"].files == {"env/stamp": HEX}


def test_the_published_example_verifies_under_the_published_root() -> None:
    root = roots.first((EXAMPLES / "root.jws").read_bytes())
    assert manifest.verify((EXAMPLES / "release.jws").read_bytes(), root).version == "0.1.0"


def test_a_root_without_the_role_stays_valid_and_says_so() -> None:
    keys = signing.role_keys()
    del keys["release"]
    root = signing.trusted_root(keys=keys)
    assert (root.keys_of("release"), root.release_threshold) == ({}, 0)
    with pytest.raises(Misconfigured) as raised:
        manifest.verify(signing.release(), root)
    assert (raised.value.code, raised.value.detail) == (Fault.NO_RELEASE, "release_role_absent")


@pytest.mark.parametrize(
    ("role", "detail"),
    [
        (signing.release_role([signing.RELEASE], 0), "member_value"),
        (signing.release_role([signing.RELEASE], 2), "member_value"),
        (signing.release_role([], 1), "member_value"),
        (signing.release_role([signing.ISSUER]), "key_duplicate"),
        (signing.release_role([signing.RELEASE, signing.RELEASE]), "key_duplicate"),
        ({**signing.release_role([signing.RELEASE]), "note": 1}, "member_unknown"),
        ([signing.RELEASE.jwk], "member_type"),
    ],
)
def test_what_a_root_may_say_of_the_role(role: Any, detail: str) -> None:
    with refused(detail, Reason.CHAIN_INVALID if detail == "key_duplicate" else Reason.FORMAT_INVALID):
        roots.first(signing.root(keys={**signing.role_keys(), "release": role}))


def test_a_threshold_counts_distinct_release_keys_alone() -> None:
    root, first = two_of_two(), signing.RELEASE
    assert manifest.verify(signing.release(by=[first, SECOND]), root).signatures == 2
    assert manifest.verify(signing.release(by=[first, STRANGER, SECOND]), root).signatures == 2
    for few in ([first], [first, first], [first, STRANGER], [signing.ROOTS[0], signing.ROOTS[1]], [signing.ADVISORY]):
        with refused("release_threshold", Reason.SIGNATURE_INVALID, threshold=2):
            manifest.verify(signing.release(by=few), root)
    half = signing.release(by=[first])
    assert (manifest.unverified(half, root).signatures, manifest.unverified(half, root).version) == (1, "0.1.0")
    broken = signing.release(by=[first])[:-5] + b"AAAA\n"
    with refused("release_threshold"):
        manifest.verify(broken + signing.release(by=[SECOND]), root)
    assert manifest.unverified(broken, root).signatures == 0


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"version": "1"}, "version"),
        ({"version": "1.0\n"}, "version"),
        ({"notice": "today"}, "notice"),
        ({"systemd": 0}, "systemd"),
        ({"artifacts": {"../up": HEX}}, "?"),
        ({"artifacts": {"a.deb": HEX.upper()}}, "a.deb"),
        ({"artifacts": {f"{n:02}.deb": HEX for n in range(65)}}, "64.deb"),
        ({"layouts": {str(n): signing.layout() for n in range(9)}}, "8"),
        ({"layouts": {"a": signing.layout(place="opt")}}, "place"),
        ({"layouts": {"a": signing.layout(folders=["/a", "/a"])}}, "folders"),
        ({"layouts": {"a": signing.layout(files={"/a/../b": HEX})}}, "?"),
        ({"layouts": {"a": signing.layout(files={"/a/.": HEX})}}, "?"),
        ({"layouts": {"a": signing.layout(files={"a/b": HEX})}}, "?"),
        ({"layouts": {"a": signing.layout(files={"/a//b": HEX})}}, "?"),
        ({"layouts": {"a": signing.layout(files={"/a b": HEX})}}, "?"),
        ({"layouts": {"a": signing.layout(links={"/a": "b c"})}}, "?"),
        ({"layouts": {"a": signing.layout(links={"modules/opanel_agent/__init__.py": "x"})}}, "links"),
        ({"layouts": {"a": signing.layout(files={})}}, "wheels"),
        ({"environment": {"files": {"/a": HEX}, "links": {}}}, "?"),
        ({"environment": {"files": {"env/../a": HEX}, "links": {}}}, "?"),
        ({"environment": {"files": {}, "links": {"modules/a": "b"}}}, "?"),
        (
            {
                "environment": {"files": {"env/a": HEX}, "links": {}},
                "layouts": {"a": signing.layout(folders=["env"], links={"env/a": "b"})},
            },
            "links",
        ),
    ],
)
def test_what_a_manifest_must_not_say(changes: dict[str, Any], name: str) -> None:
    with refused("member_value", name=name):
        verify(**changes)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"note": 1}, "member_unknown"),
        ({"layouts": {"a": signing.layout(note=1)}}, "member_unknown"),
        ({"environment": {"files": {}, "links": {}, "note": 1}}, "member_unknown"),
        ({"environment": {"files": {}}}, "member_missing"),
        ({"layouts": {"a": signing.layout(wheels={"folder": "/a", "lock": "/b", "note": 1})}}, "member_unknown"),
        *[
            ({"layouts": {"a": signing.layout(**{name: signing.DROP})}}, "member_missing")
            for name in signing.layout()
            if name != "wheels"
        ],
        *[({name: signing.DROP}, "member_missing") for name in signing.release_claims()],
    ],
)
def test_members_are_those_of_the_table(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        verify(**changes)


def test_another_vendor_s_manifest_is_none() -> None:
    with refused("release_iss", Reason.CHAIN_INVALID):
        verify(iss="else.example")


def test_shape_of_the_lines() -> None:
    with refused("release_payloads"):
        verify(signing.release() + signing.release(version="0.1.1"))
    with refused("jws_typ", where="release"):
        verify(signing.root())
    with refused("jws_typ", where="release"):
        verify(signing.lines(signing.RELEASE.sign(Typ.ADVISORY, signing.release_claims())))
    with refused("release_lines", max_lines=16):
        verify(signing.release() * 17)
    with refused("jws_size", max_bytes=manifest.MAX_BYTES):
        verify(b"a" * (manifest.MAX_BYTES + 1))
