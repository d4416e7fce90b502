"""Proves that a stamp differs after every change of a file or folder, and tells without reading."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from opanel_agent.system.file_stamp import ABSENT, UNKNOWN, stamp
from opanel_agent.system.storage.files import LocalFiles


def _rewrite(path: Path) -> None:
    path.write_bytes(b"other")


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def _open_to_others(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("change", [_rewrite, _replace, _open_to_others, Path.unlink])
def test_every_change_of_a_file_is_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "consent.toml"
    path.write_bytes(b"bytes")
    path.chmod(0o644)
    before = LocalFiles().stamp(path)
    assert before == stamp(str(path))
    change(path)
    assert stamp(str(path)) != before


def test_a_name_that_is_made_or_taken_away_changes_its_folder(tmp_path: Path) -> None:
    before = stamp(str(tmp_path))
    (tmp_path / "offline").touch()
    made = stamp(str(tmp_path))
    (tmp_path / "offline").unlink()
    assert len({before, made, stamp(str(tmp_path))}) == 3


def test_what_is_not_there_or_cannot_be_looked_at_has_a_stamp(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert stamp(str(tmp_path / "nothing")) == ABSENT
    assert stamp(str(tmp_path / "file" / "below")) == ABSENT
    assert stamp("/" + "n" * 5000) == UNKNOWN
    assert stamp("a\0b") == UNKNOWN
