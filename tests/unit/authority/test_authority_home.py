"""`init`: a root that agents trust, keys that nobody else reads, and no second authority over a first."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fixtures.authority.vendor import DAY, NOW, URL
from opanel_agent.core.documents import root as roots
from opanel_agent.core.errors import AgentError, Misconfigured, Untrusted
from opanel_authority import authority as authority_home
from opanel_authority.authority import RootTerms
from opanel_authority.documents.keys import Role


def terms(**changes: Any) -> RootTerms:
    return RootTerms(**{"name": "OPanel", "url": URL, "region": "tr", **changes})


def test_the_first_root_is_signed_by_its_threshold(tmp_path: Path) -> None:
    authority_home.init(tmp_path / "a", terms(), now=NOW)
    text = (tmp_path / "a" / "root.jws").read_bytes()
    root = roots.first(text)
    assert (root.sub, root.seq, root.threshold, len(root.keys["root"])) == ("OPanel", 1, 2, 3)
    assert (root.iat, root.exp) == (NOW, NOW + 1825 * DAY)
    assert {role for role, keys in root.keys.items() if keys} == {role.value for role in Role} - {"reseller"}
    assert {purpose: [to.url for to in where] for purpose, where in root.endpoints.items()} == {
        "license_activation": [URL],
        "license_renewal": [URL],
        "usage_statistics": [URL],
        "crash_reports": [URL],
        "data_rights": [URL],
    }
    with pytest.raises(Untrusted):
        roots.first(text.splitlines(keepends=True)[0])


def test_three_of_five(tmp_path: Path) -> None:
    made = authority_home.init(tmp_path / "a", terms(threshold=3, keys=5), now=NOW)
    assert (made.root.threshold, len(made.root.keys["root"])) == (3, 5)
    assert len(made.root.lines.splitlines()) == 3
    assert len(list((tmp_path / "a" / "keys").glob("root-*.pem"))) == 5


def test_it_opens_again_with_the_same_keys(tmp_path: Path) -> None:
    made = authority_home.init(tmp_path / "a", terms(), now=NOW)
    again = authority_home.open_home(tmp_path / "a")
    assert again.root == made.root
    assert again.key(Role.STATUS).public.kid in again.root.keys_of("status")


def test_nobody_else_reads_what_is_secret(tmp_path: Path) -> None:
    authority_home.init(tmp_path / "a", terms(), now=NOW)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.rglob("*"))}
    assert modes.pop("a/root.jws") == 0o644
    assert modes.pop("a") == modes.pop("a/keys") == 0o700
    assert set(modes.values()) == {0o600}
    assert "a/authority.sqlite" in modes


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"url": "http://licensing.example"}, "url_inadmissible"),
        ({"url": "https://user@licensing.example"}, "url_inadmissible"),
        ({"threshold": 1}, "threshold_range"),
        ({"threshold": 4}, "threshold_range"),
        ({"name": "two words"}, "member_value"),
        ({"region": "a b"}, "member_value"),
        ({"days": 0}, "member_value"),
    ],
)
def test_what_no_agent_would_take_makes_nothing(tmp_path: Path, changes: dict[str, Any], detail: str) -> None:
    with pytest.raises(AgentError) as caught:
        authority_home.init(tmp_path / "a", terms(**changes), now=NOW)
    assert caught.value.detail == detail
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_second_init_changes_nothing(tmp_path: Path) -> None:
    made = authority_home.init(tmp_path / "a", terms(), now=NOW)
    with pytest.raises(Misconfigured) as caught:
        authority_home.init(tmp_path / "a", terms(), now=NOW)
    assert caught.value.detail == "directory_not_empty"
    assert authority_home.open_home(tmp_path / "a").root == made.root


@pytest.mark.parametrize(
    ("missing", "detail"),
    [("root.jws", "root_unsigned"), ("authority.sqlite", "store_missing")],
)
def test_half_an_authority_is_none(tmp_path: Path, missing: str, detail: str) -> None:
    authority_home.init(tmp_path / "a", terms(), now=NOW)
    (tmp_path / "a" / missing).unlink()
    with pytest.raises(Misconfigured) as caught:
        authority_home.open_home(tmp_path / "a")
    assert caught.value.detail == detail


def test_what_init_never_made_is_no_authority(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no_authority_here"):
        authority_home.open_home(tmp_path)


def test_a_damaged_root_is_refused(tmp_path: Path) -> None:
    authority_home.init(tmp_path / "a", terms(), now=NOW)
    path = tmp_path / "a" / "root.jws"
    path.write_bytes(path.read_bytes().replace(b".", b"!", 1))
    with pytest.raises(Untrusted):
        authority_home.open_home(tmp_path / "a")


def test_a_public_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "www" / "v1" / "status.jwt"
    before = os.umask(0o077)
    try:
        authority_home.write_public(path, b"old")
        authority_home.write_public(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]
    taken = tmp_path / "www" / "directory"
    (taken / "in it").mkdir(parents=True)
    with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's choice
        authority_home.write_public(taken, b"new")
    assert sorted(path.name for path in (tmp_path / "www").iterdir()) == ["directory", "v1"]
