"""What people look for in a repository is there, in the form that they know, and says what is so."""

import os
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
CHANGELOG: Final = (ROOT / "CHANGELOG.md").read_text("utf-8")
KINDS: Final = (
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
)  # Keep a Changelog 1.1.0, in its order
RELEASE: Final = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (20\d\d-\d\d-\d\d)")


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_it_is_there_and_says_something(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8")) > 500


def test_the_changelog_begins_with_what_is_not_released_and_then_goes_back_in_time() -> None:
    first, *releases = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert first == "[Unreleased]"
    known = [found.groups() for found in map(RELEASE.fullmatch, releases) if found]
    assert len(known) == len(releases), releases
    order = [(tuple(map(int, numbers)), day) for *numbers, day in known]
    assert all(older[0] < newer[0] and older[1] <= newer[1] for newer, older in pairwise(order))


def test_the_changelog_tells_the_version_in_the_tree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    unreleased = CHANGELOG.partition("## [Unreleased]")[2].partition("\n## ")[0]
    assert f"## [{version}] - " in CHANGELOG or version in unreleased


def test_the_changelog_has_only_the_usual_kinds_each_with_entries() -> None:
    for release in CHANGELOG.split("\n## ")[1:]:
        parts = release.split("\n### ")[1:]
        names = [part.partition("\n")[0] for part in parts]
        assert names == [kind for kind in KINDS if kind in names]
        assert all(re.search(r"^- \S", part, re.MULTILINE) for part in parts)


def test_the_hooks_before_a_commit_are_this_repository_s_own_commands() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    repositories = re.findall(r"\brepo: (\S+)", text)
    entries = re.findall(r"^ +entry: (\S+)", text, re.MULTILINE)
    assert repositories == ["local"]
    assert re.findall(r"^ +language: (\S+)", text, re.MULTILINE) == ["system"] * len(entries)
    assert entries != []
    assert all(os.access(ROOT / entry, os.X_OK) for entry in entries)
