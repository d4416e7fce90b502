"""`opanel-authority release sign`: keys of the root's role, a threshold over several machines, and roots from before it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.vendor import Vendor, vendor
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.errors import Misconfigured, Untrusted, Usage
from opanel_agent.core.jose import jws
from opanel_agent.core.release import manifest
from opanel_authority.cli.main import main
from opanel_authority.documents import keys, releases, root_claims
from opanel_authority.documents.keys import Role
from opanel_authority.documents.rotate import Rotation, rotate


def drafted(**changes: Any) -> bytes:
    claims = signing.release_claims(**changes)
    return dumps({name: value for name, value in claims.items() if name not in {"ver", "iss"}})


@pytest.fixture
def made(tmp_path: Path) -> Vendor:
    return vendor(tmp_path)


def turned(made: Vendor, *, threshold: int | None = None, compromised: bool = False) -> None:
    where = made.authority.directory / "keys"
    asked = Rotation(role=Role.RELEASE, root_keys=where, release_threshold=threshold, compromised=compromised)
    rotate(made.authority, asked, now=made.now)


def typed(made: Vendor, *words: str | Path) -> int:
    return main([*map(str, words), "--dir", str(made.authority.directory), "--json"])


def test_what_it_signs_is_what_agents_take(made: Vendor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft, out = tmp_path / "draft.json", tmp_path / "release.jws"
    draft.write_bytes(drafted())
    assert typed(made, "release", "sign", draft, "-o", out) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    read = manifest.verify(out.read_bytes(), made.authority.root)
    assert (read.version, read.signatures, read.iss) == ("0.1.0", 1, made.authority.root.sub)
    assert (result["version"], result["signatures"], result["threshold"]) == ("0.1.0", 1, 1)
    assert "next" not in result
    assert typed(made, "release", "show", out) == 0
    assert json.loads(capsys.readouterr().out)["result"]["files"] == {"installer": 3}


def test_a_threshold_is_met_by_who_signs_next(made: Vendor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turned(made, threshold=2)
    here = made.authority.directory / "keys"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (here / "release.pem").rename(elsewhere / "release.pem")
    draft, first, whole = tmp_path / "draft.json", tmp_path / "first.jws", tmp_path / "release.jws"
    draft.write_bytes(drafted())
    assert typed(made, "release", "sign", draft, "-o", first) == 0
    assert "--add" in json.loads(capsys.readouterr().out)["result"]["next"]
    with pytest.raises(Untrusted, match="release_threshold"):
        manifest.verify(first.read_bytes(), made.authority.root)
    assert typed(made, "release", "sign", draft, "-o", whole, "--add", first, "--keys", elsewhere) == 0
    assert manifest.verify(whole.read_bytes(), made.authority.root).signatures == 2
    again = releases.sign(
        made.authority.root, drafted(), releases.release_keys(here, made.authority.root), before=whole.read_bytes()
    )
    assert again.text == whole.read_bytes()
    with pytest.raises(Usage, match="release_other"):
        releases.sign(made.authority.root, drafted(version="0.1.1"), [], before=whole.read_bytes(), path="x")


def test_an_old_release_stays_one_after_a_new_key_and_not_after_a_theft(made: Vendor) -> None:
    here = made.authority.directory / "keys"
    old = releases.sign(made.authority.root, drafted(), releases.release_keys(here, made.authority.root)).text
    turned(made)
    assert manifest.verify(old, made.authority.root).signatures == 1
    turned(made, compromised=True)
    with pytest.raises(Untrusted, match="release_threshold"):
        manifest.verify(old, made.authority.root)


def test_a_theft_does_not_lower_the_threshold_by_itself(made: Vendor) -> None:
    turned(made, threshold=2)
    with pytest.raises(Usage, match="release_threshold_range"):
        turned(made, compromised=True)
    turned(made, compromised=True, threshold=1)
    assert made.authority.root.release_threshold == 1
    for threshold in (0, 3):
        with pytest.raises(Usage, match="release_threshold_range"):
            turned(made, threshold=threshold)


def without_the_role(made: Vendor) -> None:
    """The first root as an authority from before the role had it."""
    directory = made.authority.directory
    claims = loads(jws.parse(made.authority.root.lines.splitlines()[0], max_bytes=65_536).payload, max_bytes=65_536)
    assert isinstance(claims, dict)
    assert isinstance(claims["keys"], dict)
    del claims["keys"]["release"]
    signers = [keys.load(path, Role.ROOT) for path in sorted((directory / "keys").glob("root-*.pem"))]
    (directory / "root.jws").write_bytes(root_claims.signed(dumps(claims), signers))
    (directory / "keys/release.pem").unlink()


def test_a_root_from_before_the_role_gets_it_by_a_rotation(made: Vendor) -> None:
    without_the_role(made)
    assert "release" not in made.authority.root.keys
    with pytest.raises(Misconfigured, match="release_role_absent"):
        releases.sign(made.authority.root, drafted(), [])
    turned(made)
    own = releases.release_keys(made.authority.directory / "keys", made.authority.root)
    assert releases.sign(made.authority.root, drafted(), own).manifest.signatures == 1
    assert made.authority.key(Role.RELEASE).public == own[0].public


def test_what_cannot_be_signed(made: Vendor, tmp_path: Path) -> None:
    root = made.authority.root
    own = releases.release_keys(made.authority.directory / "keys", root)
    bad: list[Json] = [[], {"iss": "x"}, {"ver": 1}]
    for draft in bad:
        with pytest.raises(Untrusted, match="member_value"):
            releases.sign(root, dumps(draft), own)
    with pytest.raises(Untrusted, match="member_missing"):
        releases.sign(root, dumps({}), own)
    with pytest.raises(Untrusted, match="jws_size"):
        releases.sign(root, b" " * (releases.MAX_DRAFT_BYTES + 1), own)
    with pytest.raises(Misconfigured, match="release_keys_missing"):
        releases.release_keys(tmp_path / "nowhere", root)
